import asyncio

import pytest

from connectors.apps import AppsConnector
from connectors.apps_models import DeployDone, Deployed, Monitored, Previewed, Restored
from goalkeeper.domain.base import Json
from goalkeeper.domain.errors import CheckFailed, Conflict, EngineUnavailable, InvalidGoal, NotFound
from tests.unit.connectors.conftest import COMMIT, Caller, FakeContainers, Source


async def deploy(
    apps: AppsConnector, call: Caller, image: str, *, goal: str = "goal-1", replicas: int = 2
) -> DeployDone:
    """Deploy an image of the greeter."""
    asked = call("apps.deploy", inputs(image, replicas), goal=goal)
    result = await apps.execute(asked, {})
    assert isinstance(result.outputs, DeployDone)
    return result.outputs


def inputs(image: str, replicas: int = 2) -> dict[str, Json]:
    """What the fake containers of the greeter are deployed with."""
    return {
        "app": "greeter",
        "environment": "production",
        "image": image,
        "commit": COMMIT,
        "replicas": replicas,
        "health_path": "/ready",
    }


async def restore(apps: AppsConnector, call: Caller, image: str, done: DeployDone) -> Restored:
    """Undo a deployment by the inputs that its compensation names."""
    compensation = AppsConnector.operations["apps.deploy"].compensation
    assert compensation is not None
    before = call("apps.deploy", inputs(image)).inputs
    asked = call(compensation.operation, compensation.inputs(before, done))
    result = await apps.execute(asked, {})
    assert isinstance(result.outputs, Restored)
    return result.outputs


def images(engine: FakeContainers) -> list[str]:
    """What runs."""
    return [c.image for c in engine.containers.values()]


class TestPreview:
    """Building, and saying what would change."""

    async def preview(self, apps: AppsConnector, call: Caller, **more: Json) -> Previewed:
        """Preview the greeter at the commit."""
        given: dict[str, Json] = {
            "app": "greeter",
            "repository": "https://git.example.org/greeter.git",
            "commit": COMMIT,
            "environment": "production",
            "replicas": 2,
        }
        result = await apps.execute(call("apps.preview", given | more), {})
        assert isinstance(result.outputs, Previewed)
        return result.outputs

    async def test_the_image_is_built_as_the_source_says(
        self, apps: AppsConnector, call: Caller, engine: FakeContainers, source: Source
    ) -> None:
        """Command, port and health path come from goalkeeper-app.json; nothing is started."""
        seen = await self.preview(apps, call)
        assert engine.built == [("base:1", ["python3", "app.py"])]
        assert source.asked == [("https://git.example.org/greeter.git", COMMIT, "")]
        assert (seen.port, seen.health_path) == (8081, "/ready")
        assert seen.current is None
        assert "nothing runs yet" in seen.changes[0]
        assert not engine.containers

    async def test_inputs_go_before_the_file(self, apps: AppsConnector, call: Caller) -> None:
        """A contract may choose another port or path."""
        seen = await self.preview(apps, call, port=9000, health_path="/up")
        assert (seen.port, seen.health_path) == (9000, "/up")

    async def test_what_runs_is_compared(
        self, apps: AppsConnector, call: Caller, engine: FakeContainers
    ) -> None:
        """The changes name the image and the replicas."""
        old = engine.image("old")
        done = await deploy(apps, call, old, replicas=1)
        seen = await self.preview(apps, call)
        assert seen.current is not None
        assert (seen.current.image, seen.current.release) == (old, done.release)
        assert any("Replaces image" in c for c in seen.changes)
        assert "Changes the replicas from 1 to 2." in seen.changes

    @pytest.mark.parametrize("first", ["old", "new"])
    async def test_a_release_that_is_coming_up_is_not_what_runs(
        self, apps: AppsConnector, call: Caller, engine: FakeContainers, first: str
    ) -> None:
        """Half a deployment stands beside the old release, in whatever order they are listed."""
        old, ill = engine.image("old"), engine.image("ill", 503)
        await deploy(apps, call, old)
        asked = call("apps.deploy", inputs(ill), goal="g", detaching=lambda: True)
        task = asyncio.create_task(apps.execute(asked, {}))
        while images(engine).count(ill) < 2:  # noqa: ASYNC110 - the fake has no event
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        if first == "new":
            engine.containers = dict(reversed(engine.containers.items()))
        seen = await self.preview(apps, call)
        assert seen.current is not None
        assert seen.current.image == old

    @pytest.mark.parametrize(
        ("files", "says"),
        [
            ({}, "has no 'goalkeeper-app.json'"),
            ({"goalkeeper-app.json": "{"}, "is wrong at the file"),
            ({"goalkeeper-app.json": '{"command": []}'}, "is wrong at command"),
            ({"goalkeeper-app.json": '{"command": ["x"], "prot": 1}'}, "is wrong at prot"),
        ],
    )
    async def test_a_source_that_does_not_say_how_it_starts_is_refused(
        self, apps: AppsConnector, call: Caller, source: Source, files: dict[str, str], says: str
    ) -> None:
        """The message says which file and which place."""
        source.files = files
        with pytest.raises(InvalidGoal, match=says):
            await self.preview(apps, call)


class TestDeploy:
    """New first, then the old away."""

    async def test_the_first_deployment_starts_healthy_replicas(
        self, apps: AppsConnector, call: Caller, engine: FakeContainers
    ) -> None:
        """Each replica has an endpoint; there is nothing to go back to."""
        done = await deploy(apps, call, engine.image("one"))
        assert len(done.endpoints) == len(set(done.endpoints)) == 2
        assert done.previous is None

    async def test_the_next_replaces_it(
        self, apps: AppsConnector, call: Caller, engine: FakeContainers
    ) -> None:
        """Only the new one is left, and the answer tells what ran before."""
        old, new = engine.image("old"), engine.image("new")
        first = await deploy(apps, call, old)
        second = await deploy(apps, call, new, goal="goal-2")
        assert images(engine) == [new, new]
        assert second.previous == Deployed(
            release=first.release, image=old, commit=COMMIT, replicas=2, health_path="/ready"
        )

    async def test_a_repeated_key_changes_nothing_and_answers_the_same(
        self, apps: AppsConnector, call: Caller, engine: FakeContainers
    ) -> None:
        """Also about what ran before, although that is gone by now."""
        await deploy(apps, call, engine.image("old"))
        new = engine.image("new")
        first = await deploy(apps, call, new, goal="goal-2")
        started = list(engine.started)
        assert await deploy(apps, call, new, goal="goal-2") == first
        assert engine.started == started

    @pytest.mark.parametrize(("health", "says"), [(503, "answered 503"), (None, "is exited")])
    async def test_a_release_that_does_not_become_healthy_leaves_the_old_one(
        self, apps: AppsConnector, call: Caller, engine: FakeContainers, health: int, says: str
    ) -> None:
        """What was started is removed, and its last words are in the log."""
        old = engine.image("old")
        await deploy(apps, call, old)
        with pytest.raises(CheckFailed, match=says):
            await deploy(apps, call, engine.image("ill", health), goal="goal-2")
        assert images(engine) == [old, old]
        assert any("the last words" in line for line in call.lines)

    async def test_an_engine_that_fails_half_way_leaves_the_old_one(
        self,
        apps: AppsConnector,
        call: Caller,
        engine: FakeContainers,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """The second replica cannot be started: the first goes again, the error is the engine's."""
        old, new = engine.image("old"), engine.image("new")
        await deploy(apps, call, old)
        run = engine.run

        async def failing(name: str, *given: str, **named: Json) -> object:
            if name.endswith("-2"):
                raise EngineUnavailable("the engine does not answer")
            return await run(name, *given, **named)  # type: ignore[arg-type]  # passed on as given

        monkeypatch.setattr(engine, "run", failing)
        with pytest.raises(EngineUnavailable):
            await deploy(apps, call, new, goal="goal-2")
        assert images(engine) == [old, old]

    async def test_an_image_that_is_gone_is_not_found(
        self, apps: AppsConnector, call: Caller, engine: FakeContainers
    ) -> None:
        """Nothing else is built in its place: what was approved cannot run any more."""
        with pytest.raises(NotFound, match="submit the goal again"):
            await deploy(apps, call, "sha256:" + "0" * 64)
        assert not engine.containers

    @pytest.mark.parametrize("detaching", [True, False])
    async def test_a_cancelled_deployment_goes_unless_only_the_worker_stops(
        self, apps: AppsConnector, call: Caller, engine: FakeContainers, detaching: bool
    ) -> None:
        """A worker that shuts down leaves the new release for the next attempt to adopt."""
        old, ill = engine.image("old"), engine.image("ill", 503)
        await deploy(apps, call, old)
        asked = call("apps.deploy", inputs(ill), goal="g", detaching=lambda: detaching)
        task = asyncio.create_task(apps.execute(asked, {}))
        while images(engine).count(ill) < 2:  # noqa: ASYNC110 - the fake has no event
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert task.cancelled()
        assert images(engine).count(ill) == (2 if detaching else 0)
        assert images(engine).count(old) == 2

    async def test_an_attempt_that_died_beside_the_old_release_is_taken_up(
        self, apps: AppsConnector, call: Caller, engine: FakeContainers
    ) -> None:
        """Old and new run side by side; the retry finishes with the same answer about before."""
        old, new = engine.image("old"), engine.image("new", 503)
        first = await deploy(apps, call, old)
        asked = call("apps.deploy", inputs(new), goal="g", detaching=lambda: True)
        task = asyncio.create_task(apps.execute(asked, {}))
        while images(engine).count(new) < 2:  # noqa: ASYNC110 - the fake has no event
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        engine.health[new] = 200
        started = list(engine.started)
        done = await deploy(apps, call, new, goal="g")
        assert done.previous is not None
        assert done.previous.release == first.release
        assert engine.started == started
        assert images(engine) == [new, new]


class TestRestore:
    """Taking a deployment back."""

    async def test_the_previous_release_runs_again(
        self, apps: AppsConnector, call: Caller, engine: FakeContainers
    ) -> None:
        """With its image and its replicas; the other is gone."""
        old, new = engine.image("old"), engine.image("new")
        await deploy(apps, call, old, replicas=3)
        done = await deploy(apps, call, new, goal="goal-2")
        restored = await restore(apps, call, new, done)
        assert images(engine) == [old] * 3
        assert len(restored.endpoints) == 3

    async def test_restoring_again_changes_nothing(
        self, apps: AppsConnector, call: Caller, engine: FakeContainers
    ) -> None:
        """A retried compensation answers as the first did."""
        await deploy(apps, call, engine.image("old"))
        new = engine.image("new")
        done = await deploy(apps, call, new, goal="goal-2")
        first = await restore(apps, call, new, done)
        started = list(engine.started)
        assert await restore(apps, call, new, done) == first
        assert engine.started == started

    async def test_an_app_that_was_not_there_goes(
        self, apps: AppsConnector, call: Caller, engine: FakeContainers
    ) -> None:
        """Before the deployment nothing ran, so afterwards nothing runs."""
        image = engine.image("one")
        done = await deploy(apps, call, image)
        assert (await restore(apps, call, image, done)).endpoints == ()
        assert not engine.containers
        assert (await restore(apps, call, image, done)).endpoints == ()

    @pytest.mark.parametrize("first", [True, False])
    async def test_a_later_deployment_is_not_thrown_away(
        self, apps: AppsConnector, call: Caller, engine: FakeContainers, first: bool
    ) -> None:
        """Somebody deployed again meanwhile: people decide."""
        if not first:
            await deploy(apps, call, engine.image("old"), goal="goal-0")
        image, later = engine.image("one"), engine.image("later")
        done = await deploy(apps, call, image)
        await deploy(apps, call, later, goal="goal-2")
        with pytest.raises(Conflict, match="deployed again"):
            await restore(apps, call, image, done)
        assert images(engine) == [later, later]


class TestMonitor:
    """Watching."""

    async def monitor(
        self, apps: AppsConnector, call: Caller, release: str, **more: Json
    ) -> Monitored:
        """Watch the greeter for a moment."""
        given: dict[str, Json] = {
            "app": "greeter",
            "environment": "production",
            "release": release,
            "seconds": 0.1,
            "interval": 0.05,
        }
        result = await apps.execute(call("apps.monitor", given | more), {})
        assert isinstance(result.outputs, Monitored)
        return result.outputs

    async def test_a_healthy_app_passes_and_each_check_is_logged(
        self, apps: AppsConnector, call: Caller, engine: FakeContainers
    ) -> None:
        """Every replica is asked in every round."""
        done = await deploy(apps, call, engine.image("one"))
        call.lines.clear()
        seen = await self.monitor(apps, call, done.release)
        assert seen.healthy
        assert seen.failures == 0
        assert seen.checks == len([line for line in call.lines if "healthy" in line]) >= 4

    async def test_an_app_that_falls_ill_fails_the_check(
        self, apps: AppsConnector, call: Caller, engine: FakeContainers
    ) -> None:
        """At the first failure that is one too many, with what was answered."""
        image = engine.image("one")
        done = await deploy(apps, call, image)
        engine.health[image] = 503
        with pytest.raises(CheckFailed, match=r"1 of 1 checks failed.*answered 503"):
            await self.monitor(apps, call, done.release, seconds=3600)
        assert any("the last words" in line for line in call.lines)

    async def test_some_failures_may_be_allowed(
        self, apps: AppsConnector, call: Caller, engine: FakeContainers
    ) -> None:
        """They are counted in the answer."""
        image = engine.image("one")
        done = await deploy(apps, call, image, replicas=1)
        engine.health[image] = 503
        seen = await self.monitor(apps, call, done.release, seconds=0, max_failures=1)
        assert (seen.checks, seen.failures) == (1, 1)

    async def test_a_missing_replica_is_a_failure(
        self, apps: AppsConnector, call: Caller, engine: FakeContainers
    ) -> None:
        """What is gone cannot be asked, and does not count as healthy."""
        done = await deploy(apps, call, engine.image("one"))
        await engine.stop_and_remove(next(iter(engine.containers)))
        with pytest.raises(CheckFailed, match="a replica is missing"):
            await self.monitor(apps, call, done.release)

    async def test_a_replica_that_stopped_is_a_failure(
        self, apps: AppsConnector, call: Caller, engine: FakeContainers
    ) -> None:
        """It has no port to ask."""
        done = await deploy(apps, call, engine.image("one"))
        engine.stop(next(iter(engine.containers)))
        with pytest.raises(CheckFailed, match="is exited"):
            await self.monitor(apps, call, done.release)

    async def test_a_release_that_is_not_there_is_a_failure(
        self, apps: AppsConnector, call: Caller, engine: FakeContainers
    ) -> None:
        """Somebody removed it."""
        with pytest.raises(CheckFailed, match="no container"):
            await self.monitor(apps, call, "0" * 12)
