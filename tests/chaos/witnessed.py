"""Goalkeeper's command line with the suite's connectors in it: what the storm's processes run.

Nothing else about the product is changed.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from connectors import registry
from goalkeeper.settings import Settings
from tests.chaos.witness import BlindConnector, Book, WitnessConnector

BOOK = "CHAOS_BOOK"
"""The environment variable that names the book."""


@contextmanager
def installed(book: Path) -> Iterator[None]:
    """Make the suite's connectors known in this process for the length of the block."""
    shipped, build = registry.SHIPPED, registry.build_registry

    def build_registry(settings: Settings, **parts: Any) -> registry.Registry:
        built = build(settings, **parts)
        ours = WitnessConnector(Book(book)), BlindConnector(Book(book))
        return registry.Registry([*built.values(), *ours])

    registry.SHIPPED = (*shipped, WitnessConnector, BlindConnector)
    registry.build_registry = build_registry
    try:
        yield
    finally:
        registry.SHIPPED, registry.build_registry = shipped, build


def main() -> int:
    """Run one command; the exit code."""
    with installed(Path(os.environ[BOOK])):
        from goalkeeper.cli.app import run

        return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
