"""Servers that the tests share: each starts once a run, on loopback and free ports."""

from collections.abc import AsyncIterator

import pytest

from goalkeeper.embedded.openbao import OpenBaoServer
from goalkeeper.embedded.ports import Ports
from goalkeeper.embedded.temporal import TemporalServer


@pytest.fixture(scope="session")
async def temporal_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[TemporalServer]:
    """A real Temporal dev server, tuned as the embedded one."""
    server = TemporalServer(tmp_path_factory.mktemp("temporal"), Ports.free())
    await server.start()
    yield server
    await server.stop()


@pytest.fixture(scope="session")
async def openbao_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[OpenBaoServer]:
    """A real OpenBao node, initialised, unsealed and set up."""
    server = OpenBaoServer(tmp_path_factory.mktemp("openbao"), Ports.free())
    await server.start()
    yield server
    await server.stop()
