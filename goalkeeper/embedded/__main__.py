"""The supervisor as a process of its own: what `up` starts in the background.

It may not decide anything; it is the composition root that configures logging.
"""

import argparse
import asyncio
import sys
from pathlib import Path

import structlog

from goalkeeper.domain.errors import GoalkeeperError
from goalkeeper.embedded.stack import up
from goalkeeper.settings import load_settings
from goalkeeper.telemetry import configure_logging


def main() -> int:
    """Run until SIGTERM; the exit code."""
    parser = argparse.ArgumentParser(prog="goalkeeper.embedded", description="The supervisor.")
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("services", nargs="*")
    chosen = parser.parse_args()
    log = structlog.get_logger("goalkeeper.embedded")
    try:
        settings = load_settings(chosen.state)
        configure_logging("supervisor", level=settings.log_level)
        asyncio.run(up(settings, foreground=True, services=chosen.services or None))
    except GoalkeeperError as error:
        log.error("stack.failed", code=error.code, error=error.message)
        sys.stderr.write(f"{error.message}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
