"""An engine for each test: a worker on its own task queue of the shared Temporal server."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from goalkeeper.embedded.temporal import TemporalServer
from tests.support.engine import Engine, running_engine


@pytest.fixture
async def engine(temporal_server: TemporalServer, tmp_path: Path) -> AsyncIterator[Engine]:
    """A worker with fresh stores, a fake connector and a fake Vault."""
    async with running_engine(temporal_server.address, tmp_path) as made:
        yield made
