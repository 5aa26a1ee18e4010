"""One worker for all tests of this folder."""

from collections.abc import AsyncIterator

import pytest

from goalkeeper.embedded.temporal import TemporalServer
from tests.integration.activities.standing_in import Desk, desk_of


@pytest.fixture(scope="session")
async def desk(
    temporal_server: TemporalServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Desk]:
    """Real Temporal, real stores, fake connector and Vault."""
    async with desk_of(temporal_server.address, tmp_path_factory.mktemp("desk")) as made:
        yield made
