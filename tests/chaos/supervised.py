"""The supervisor of `goalkeeper up` in the foreground, made for a stack that is killed all day.

Two things differ from an installation's: worker and gateway know the suite's connectors, and
nobody waits long before starting again what was killed.
"""

import argparse
import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

from goalkeeper.embedded import own, stack, supervisor
from goalkeeper.embedded.process import Process
from goalkeeper.settings import load_settings
from goalkeeper.telemetry import configure_logging

_BACK_OFF = (0.1, 0.3, 1.0)


class _Witnessed(Process):
    """A process of Goalkeeper's own, with the suite's connectors."""

    async def spawn(self, command: Sequence[str]) -> None:
        changed = ["tests.chaos.witnessed" if part == "goalkeeper" else part for part in command]
        await super().spawn(changed)


def main() -> int:
    """Run until SIGTERM; the exit code."""
    parser = argparse.ArgumentParser(prog="tests.chaos.supervised", description=__doc__)
    parser.add_argument("--state", type=Path, required=True)
    settings = load_settings(parser.parse_args().state)
    configure_logging("supervisor", level=settings.log_level)
    # What the two modules look up when they need it; neither has a setting for a test's sake.
    setattr(own, "Process", _Witnessed)  # noqa: B010 - as above
    setattr(supervisor, "_BACK_OFF", _BACK_OFF)  # noqa: B010 - as above
    asyncio.run(stack.up(settings, foreground=True))
    return 0


if __name__ == "__main__":
    sys.exit(main())
