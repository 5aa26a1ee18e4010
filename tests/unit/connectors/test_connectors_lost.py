"""What connectors say of an attempt that was lost: it happened, it did not, or nobody can tell."""

import asyncio
from pathlib import Path

import httpx
import pytest

from connectors.apps import AppsConnector
from connectors.apps_models import DeployDone, Restored
from connectors.base import ServiceConnector
from connectors.core import CoreConnector
from connectors.notify import NotifyConnector
from connectors.registry import SHIPPED
from goalkeeper.contracts.connector import Connector, Happened
from goalkeeper.domain.base import Json
from goalkeeper.domain.operation import Risk
from tests.unit.connectors.conftest import COMMIT, Caller, FakeContainers


def inputs(image: str, replicas: int = 2) -> dict[str, Json]:
    """What to deploy."""
    return {
        "app": "greeter",
        "environment": "production",
        "image": image,
        "commit": COMMIT,
        "replicas": replicas,
        "health_path": "/ready",
    }


@pytest.mark.parametrize("connector", SHIPPED, ids=lambda c: c.service)
def test_every_change_can_be_looked_for(connector: type[Connector]) -> None:
    """A worker that dies in the middle of it must not leave people with a riddle."""
    assert issubclass(connector, ServiceConnector)
    for name, operation in connector.operations.items():
        if operation.risk is not Risk.READ:
            assert hasattr(connector, f"look_for_{name.partition('.')[2]}")


async def test_of_what_has_no_look_nobody_can_tell(call: Caller) -> None:
    """Reading leaves no trace."""
    found = await CoreConnector().reconcile(call("core.echo", {}), {})
    assert found.happened is Happened.CANNOT_TELL


async def test_doing_nothing_never_happened(call: Caller) -> None:
    """So it may be done again."""
    found = await CoreConnector().reconcile(call("core.noop", {}), {})
    assert found.happened is Happened.NO


class TestNotify:
    """The feed remembers by key."""

    async def test_what_is_in_the_feed_was_told(self, tmp_path: Path, call: Caller) -> None:
        """And what is not, was not: also where there is no feed yet."""
        notify = NotifyConnector(tmp_path)
        sent = call("notify.send", {"message": "one"})
        assert (await notify.reconcile(sent, {})).happened is Happened.NO
        done = await notify.execute(sent, {})
        found = await notify.reconcile(sent, {})
        assert (found.happened, found.result) == (Happened.YES, done)
        other = call("notify.send", {"message": "one"}, task="other")
        assert (await notify.reconcile(other, {})).happened is Happened.NO

    async def test_whether_a_webhook_has_it_nobody_can_tell(
        self, tmp_path: Path, call: Caller
    ) -> None:
        """Only that it was not posted yet is certain: the feed comes first."""
        asked: list[httpx.Request] = []

        def answer(request: httpx.Request) -> httpx.Response:
            asked.append(request)
            return httpx.Response(200)

        transport = httpx.MockTransport(answer)
        notify = NotifyConnector(tmp_path, "https://hooks.example.org/x", transport=transport)
        sent = call("notify.send", {"message": "one"})
        assert (await notify.reconcile(sent, {})).happened is Happened.NO
        await notify.execute(sent, {})
        assert (await notify.reconcile(sent, {})).happened is Happened.CANNOT_TELL
        assert len(asked) == 1


class TestApps:
    """The engine's containers are the memory."""

    async def test_a_deployment_happened_when_its_replicas_run(
        self, apps: AppsConnector, call: Caller, engine: FakeContainers
    ) -> None:
        """With the same answer, so that it can be undone in the same way."""
        await apps.execute(call("apps.deploy", inputs(engine.image("old"))), {})
        asked = call("apps.deploy", inputs(engine.image("new")), goal="goal-2")
        assert (await apps.reconcile(asked, {})).happened is Happened.NO
        done = await apps.execute(asked, {})
        before = dict(engine.containers)
        found = await apps.reconcile(asked, {})
        assert (found.happened, found.result) == (Happened.YES, done)
        assert engine.containers == before

    async def test_half_a_deployment_is_for_people(
        self, apps: AppsConnector, call: Caller, engine: FakeContainers
    ) -> None:
        """A replica that does not run is neither here nor there."""
        asked = call("apps.deploy", inputs(engine.image("new")))
        await apps.execute(asked, {})
        engine.stop(next(iter(engine.containers)))
        assert (await apps.reconcile(asked, {})).happened is Happened.CANNOT_TELL

    async def test_a_cancelled_deployment_did_not_happen(
        self, apps: AppsConnector, call: Caller, engine: FakeContainers
    ) -> None:
        """It has taken away what it had started."""
        asked = call("apps.deploy", inputs(engine.image("ill", 503)))
        task = asyncio.create_task(apps.execute(asked, {}))
        while not engine.containers:  # noqa: ASYNC110 - the fake has no event
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert (await apps.reconcile(asked, {})).happened is Happened.NO

    @pytest.mark.parametrize("first", [True, False])
    async def test_a_deployment_was_taken_back_when_what_ran_before_runs_alone(
        self, apps: AppsConnector, call: Caller, engine: FakeContainers, first: bool
    ) -> None:
        """Or nothing, where nothing ran."""
        if not first:
            await apps.execute(call("apps.deploy", inputs(engine.image("old")), goal="g0"), {})
        new = inputs(engine.image("new"))
        done = (await apps.execute(call("apps.deploy", new), {})).outputs
        assert isinstance(done, DeployDone)
        undo = AppsConnector.operations["apps.deploy"].compensation
        assert undo is not None
        given = call("apps.deploy", new).inputs
        asked = call("apps.restore", undo.inputs(given, done))
        assert (await apps.reconcile(asked, {})).happened is Happened.NO
        restored = await apps.execute(asked, {})
        found = await apps.reconcile(asked, {})
        assert (found.happened, found.result) == (Happened.YES, restored)
        assert isinstance(restored.outputs, Restored)
        if not first:
            engine.stop(next(iter(engine.containers)))
            assert (await apps.reconcile(asked, {})).happened is Happened.CANNOT_TELL
