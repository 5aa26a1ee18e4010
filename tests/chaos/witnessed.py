"""Goalkeeper's command line with the suite's connectors in it: what the storm's processes run.

Nothing else about the product is changed.
"""

import os
import sys
from pathlib import Path
from typing import Any

from connectors import registry
from goalkeeper.settings import Settings
from tests.chaos.witness import BlindConnector, Book, WitnessConnector

BOOK = "CHAOS_BOOK"
"""The environment variable that names the book."""


def install(book: Path) -> None:
    """Make the suite's connectors known in this process, before a worker is built in it."""
    if WitnessConnector not in registry.SHIPPED:
        registry.SHIPPED = (*registry.SHIPPED, WitnessConnector, BlindConnector)
    build = registry.build_registry

    def build_registry(settings: Settings, **parts: Any) -> registry.Registry:
        built = build(settings, **parts)
        ours = WitnessConnector(Book(book)), BlindConnector(Book(book))
        return registry.Registry([*built.values(), *ours])

    registry.build_registry = build_registry


def main() -> int:
    """Run one command; the exit code."""
    install(Path(os.environ[BOOK]))
    from goalkeeper.cli.app import run

    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
