"""People, apps and goals on the whole stack."""

import secrets
from collections.abc import AsyncIterator, Iterator

import docker
import pytest

from deploy.demo.hosting import DemoHost
from goalkeeper.client import Client, Goal
from goalkeeper.domain.base import Json
from goalkeeper.settings import Settings
from tests.support.apps import DeployedApp


@pytest.fixture(scope="session")
async def developer(stack: Settings) -> AsyncIterator[Client]:
    """A client of the person who asks."""
    async with Client.connect(stack, as_person="developer") as client:
        yield client


@pytest.fixture(scope="session")
async def operator(stack: Settings) -> AsyncIterator[Client]:
    """A client of the person who decides."""
    async with Client.connect(stack, as_person="operator") as client:
        yield client


@pytest.fixture(scope="session")
def engine(stack: Settings) -> Iterator[docker.APIClient]:
    """The engine, as Docker's own client sees it."""
    api = docker.APIClient(base_url=stack.docker_host, version="auto")
    yield api
    api.close()


@pytest.fixture
def app(engine: docker.APIClient) -> Iterator[DeployedApp]:
    """An app that nobody else has; nothing of it is left behind."""
    it = DeployedApp(f"e2e-{secrets.token_hex(4)}", engine)
    yield it
    it.remove()


class Deploying:
    """Submits `deploy-branch` for one person."""

    def __init__(self, client: Client, host: DemoHost) -> None:
        self._client = client
        self.host = host

    async def __call__(self, app: DeployedApp, branch: str, **inputs: Json) -> Goal:
        """Ask for a branch to be deployed as an app."""
        given: dict[str, Json] = {"replicas": 1, "monitor_seconds": 1, **inputs}
        return await self._client.submit(
            "deploy-branch",
            inputs=given,
            repository=self.host.url,
            branch=branch,
            app=app.name,
        )


@pytest.fixture
def deploying(developer: Client, git_host: DemoHost) -> Deploying:
    """The demo's goal, ready to be asked for."""
    return Deploying(developer, git_host)
