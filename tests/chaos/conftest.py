"""A stack to be killed, and people on it.

The stack is this suite's own: what happens to it must surprise no other test.
"""

import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from datetime import timedelta

import docker
import pytest

from deploy.demo.hosting import DemoHost, running_git_host, store_tokens
from goalkeeper import embedded
from goalkeeper.client import Client
from goalkeeper.embedded.ports import Ports
from goalkeeper.settings import Settings, load_settings
from sandbox.runner import installation
from sandbox.spec import LABEL_INSTALLATION
from tests.chaos.contracts import POLICY
from tests.chaos.soundness import Chaos
from tests.chaos.victims import Victims
from tests.chaos.witnesses import Receiver, Starts
from tests.support.apps import DeployedApp


@pytest.fixture(scope="package")
def receiver() -> Iterator[Receiver]:
    """Where notifications are counted."""
    it = Receiver()
    yield it
    it.close()


@pytest.fixture(scope="package")
async def mortal(
    tmp_path_factory: pytest.TempPathFactory, receiver: Receiver
) -> AsyncIterator[Settings]:
    """A whole stack on a folder of its own; its settings."""
    folder = tmp_path_factory.mktemp("mortal")
    policy = folder / "policy.cedar"
    policy.write_text(POLICY)
    ports = Ports.free()
    settings = load_settings(
        folder,
        environ={},
        webhook_url=receiver.url,
        policy=policy,
        temporal_address=f"127.0.0.1:{ports.temporal}",
        temporal_ui_url=f"http://127.0.0.1:{ports.temporal_ui}",
        vault_address=f"http://127.0.0.1:{ports.vault}",
        gateway_url=f"http://127.0.0.1:{ports.gateway}",
        worker_metrics_port=ports.worker,
    )
    await embedded.up(settings, wait=timedelta(minutes=3), progress=lambda _: None)
    yield load_settings(folder, environ={}, webhook_url=receiver.url)
    await embedded.down(settings)
    # Of goals that a failed test left in the middle.
    with closing(docker.APIClient(base_url=settings.docker_host, version="auto")) as api:
        label = f"{LABEL_INSTALLATION}={installation(settings)}"
        for left in api.containers(all=True, filters={"label": label}):
            api.remove_container(left["Id"], force=True, v=True)


@pytest.fixture(scope="package")
async def host(
    mortal: Settings, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[DemoHost]:
    """A git host that nothing happens to."""
    async with running_git_host(tmp_path_factory.mktemp("chaoshost")) as it:
        await store_tokens(mortal, it)
        yield it


@pytest.fixture(scope="package")
def starts(mortal: Settings) -> Iterator[Starts]:
    """What the engine starts."""
    it = Starts(mortal.docker_host)
    yield it
    it.close()


@pytest.fixture(scope="package")
def engine(mortal: Settings) -> Iterator[docker.APIClient]:
    """The engine, as Docker's own client sees it."""
    api = docker.APIClient(base_url=mortal.docker_host, version="auto")
    yield api
    api.close()


@pytest.fixture
def app(engine: docker.APIClient) -> Iterator[DeployedApp]:
    """An app that nobody else has; nothing of it is left behind."""
    it = DeployedApp(f"chaos-{secrets.token_hex(4)}", engine)
    yield it
    it.remove()


@pytest.fixture
def chaos(
    mortal: Settings, host: DemoHost, receiver: Receiver, starts: Starts, engine: docker.APIClient
) -> Chaos:
    """Everything that a test needs in order to kill and to count."""
    return Chaos(mortal, host, Victims(mortal), receiver, starts, engine)


@pytest.fixture
async def developer(mortal: Settings) -> AsyncIterator[Client]:
    """A client of the person who asks."""
    async with Client.connect(mortal, as_person="developer") as client:
        yield client


@pytest.fixture
async def operator(mortal: Settings) -> AsyncIterator[Client]:
    """A client of the person who decides."""
    async with Client.connect(mortal, as_person="operator") as client:
        yield client
