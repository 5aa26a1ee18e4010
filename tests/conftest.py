"""Servers that the tests share: each starts once a run, on loopback and free ports."""

import logging
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta

import pytest
import structlog
from hypothesis import settings

from deploy.demo.hosting import DemoHost, running_git_host, store_tokens
from goalkeeper import embedded
from goalkeeper.embedded.openbao import OpenBaoServer
from goalkeeper.embedded.ports import Ports
from goalkeeper.embedded.temporal import TemporalServer
from goalkeeper.settings import Settings, load_settings

# A busy machine is no failure.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """What a test, or a command that it runs, configures ends with the test."""
    root = logging.getLogger()
    handlers, level, config = list(root.handlers), root.level, structlog.get_config()
    yield
    structlog.configure(**config)
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture(scope="session")
async def temporal_server(
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[TemporalServer]:
    """A real Temporal dev server, tuned as the embedded one."""
    server = TemporalServer(tmp_path_factory.mktemp("temporal"), Ports.free())
    await server.start()
    yield server
    await server.stop()


@pytest.fixture(scope="session")
async def impatient_server(
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[TemporalServer]:
    """A server that suggests continue-as-new after 50 events."""
    server = TemporalServer(
        tmp_path_factory.mktemp("impatient"),
        Ports.free(),
        options=("--dynamic-config-value", "limit.historyCount.suggestContinueAsNew=50"),
    )
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


@pytest.fixture(scope="session")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Settings]:
    """The whole embedded stack, as `goalkeeper up` starts it, and its settings."""
    folder = tmp_path_factory.mktemp("stack")
    settings = load_settings(folder, environ={})
    await embedded.up(settings, wait=timedelta(minutes=3), progress=lambda _: None)
    yield load_settings(folder, environ={})
    await embedded.down(settings)


@pytest.fixture(scope="session")
async def git_host(
    stack: Settings, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[DemoHost]:
    """The demo's git host, its tokens in the stack's Vault."""
    async with running_git_host(tmp_path_factory.mktemp("githost")) as host:
        await store_tokens(stack, host)
        yield host
