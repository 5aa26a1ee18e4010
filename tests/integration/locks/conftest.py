"""Locks for each test: a worker on its own task queue of the shared Temporal server."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from goalkeeper.embedded.temporal import TemporalServer
from tests.support.locks import Stand, running_stand


@pytest.fixture
async def stand(temporal_server: TemporalServer, tmp_path: Path) -> AsyncIterator[Stand]:
    """Locks of a test's own."""
    async with running_stand(temporal_server.address, tmp_path) as made:
        yield made
