import json
from collections.abc import AsyncIterator
from itertools import count

import httpx
import pytest

from connectors.apps import AppsConnector
from connectors.apps_models import DeployDone, Previewed
from connectors.git import GitConnector
from deploy.demo.repository import MAIN, NEW_GREETING, DemoRepository
from goalkeeper.contracts.connector import OperationCall, OperationResult
from goalkeeper.domain.base import Json
from goalkeeper.domain.credential import Credentials
from goalkeeper.domain.errors import CheckFailed
from goalkeeper.settings import Settings
from sandbox.containers import ServiceContainers
from sandbox.engine import Engine

Repository = tuple[DemoRepository, str]
_names = count(1)


class Shop:
    """One app on the real engine, with its operations as short calls."""

    def __init__(self, connector: AppsConnector, engine: ServiceContainers, name: str) -> None:
        self.connector = connector
        self.engine = engine
        self.name = name
        self.lines: list[str] = []

    async def do(
        self,
        operation: str,
        goal: str,
        inputs: dict[str, Json],
        credentials: Credentials | None = None,
    ) -> OperationResult:
        """Carry one operation out."""
        model = AppsConnector.operations[operation].inputs
        given = {"app": self.name, "environment": "staging"} | inputs
        call = OperationCall(
            goal_id=goal,
            task_id="task",
            generation=0,
            attempt=1,
            operation=operation,
            inputs=model.model_validate(given),
            environment="staging",
            log=self.lines.append,
        )
        return await self.connector.execute(call, credentials or {})

    async def ship(self, url: str, commit: str, goal: str, tokens: Credentials) -> DeployDone:
        """Preview a commit, then deploy what was previewed."""
        asked: dict[str, Json] = {"repository": url, "commit": commit, "replicas": 2}
        seen = (await self.do("apps.preview", goal, asked, tokens)).outputs
        assert isinstance(seen, Previewed)
        wanted = {"image", "commit", "replicas", "port", "health_path"}
        done = await self.do("apps.deploy", goal, seen.model_dump(mode="json", include=wanted))
        assert isinstance(done.outputs, DeployDone)
        return done.outputs


@pytest.fixture
async def shop(git: GitConnector) -> AsyncIterator[Shop]:
    """An app of the test's own; its containers go at the end."""
    settings = Settings()
    engine = Engine(settings.docker_host)
    containers = ServiceContainers(engine)
    connector = AppsConnector(containers, git.export, base_image=settings.sandbox_image)
    shop = Shop(connector, containers, f"greeter-test-{next(_names)}")
    try:
        yield shop
    finally:
        for container in await containers.list({"goalkeeper.app": shop.name}):
            await containers.stop_and_remove(container.name)
        engine.close()


def greetings(done: DeployDone) -> set[str]:
    """What the replicas say."""
    with httpx.Client(trust_env=False) as client:
        return {client.get(e + "/version").json()["greeting"] for e in done.endpoints}


async def test_a_branch_is_deployed_and_taken_back(
    shop: Shop, repository: Repository, reader: Credentials
) -> None:
    """Real containers of a real image: the greeting changes, and changes back."""
    bare, url = repository
    first = await shop.ship(url, bare.head(MAIN), "goal-1", reader)
    assert greetings(first) == {"Hello from Goalkeeper!"}
    second = await shop.ship(url, bare.head(bare.feature()), "goal-2", reader)
    assert greetings(second) == {NEW_GREETING}
    assert second.previous is not None
    assert second.previous.release == first.release
    assert len(await shop.engine.list({"goalkeeper.app": shop.name})) == 2

    undo = AppsConnector.operations["apps.deploy"].compensation
    assert undo is not None
    previous = second.previous.model_dump(mode="json")
    result = await shop.do(
        "apps.restore", "goal-2", {"release": second.release, "previous": previous}
    )
    endpoints = json.loads(result.outputs.model_dump_json())["endpoints"]
    assert greetings(second.model_copy(update={"endpoints": endpoints})) == {
        "Hello from Goalkeeper!"
    }


async def test_monitoring_sees_a_service_that_falls_ill(
    shop: Shop, repository: Repository, reader: Credentials
) -> None:
    """It is healthy when it is deployed, and is not some moments later."""
    bare, url = repository
    branch = bare.unhealthy(seconds=2)
    done = await shop.ship(url, bare.head(branch), "goal-1", reader)
    watch: dict[str, Json] = {"release": done.release, "seconds": 60, "interval": 0.2}
    with pytest.raises(CheckFailed, match="answered 503"):
        await shop.do("apps.monitor", "goal-1", watch)
    assert any("healthy" in line for line in shop.lines)
