"""One engine and one intruder for all attacks: none of them may leave a trace in the others."""

from collections.abc import AsyncIterator

import pytest

from goalkeeper.embedded.temporal import TemporalServer
from tests.security.intruder import Intruder, intruding
from tests.support.engine import running_engine


@pytest.fixture(scope="session")
async def intruder(
    temporal_server: TemporalServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Intruder]:
    """Somebody who can start workflows of their own on the same Temporal."""
    folder = tmp_path_factory.mktemp("intruder")
    async with (
        running_engine(temporal_server.address, folder) as engine,
        intruding(engine) as made,
    ):
        yield made
