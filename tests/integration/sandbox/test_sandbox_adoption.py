import asyncio
import os
import signal
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from goalkeeper.domain.errors import EngineUnavailable
from goalkeeper.settings import Settings
from sandbox import reaper
from sandbox.runner import SandboxConnector
from sandbox.spec import container_name
from tests.integration.sandbox.conftest import Sandboxes

TICKING = ("sh", "-c", "i=0; while :; do i=$((i+1)); echo tick $i; sleep 0.05; done")
UNIQUE = ("python3", "-c", "import uuid; print(uuid.uuid4())")
UNTIL_TOLD = ("sh", "-c", "echo begun; while [ ! -e go ]; do sleep 0.05; done; echo ended")
WORKER = """
import asyncio, functools, sys
from pathlib import Path
from goalkeeper.contracts.connector import OperationCall
from goalkeeper.settings import Settings
from sandbox.model import SandboxInputs
from sandbox.runner import SandboxConnector

async def main():
    connector = SandboxConnector(Settings(state=Path(sys.argv[1])), None)
    inputs = SandboxInputs(command=tuple(sys.argv[3:]))
    log = functools.partial(print, flush=True)
    call = OperationCall(
        goal_id="goal", task_id=sys.argv[2], generation=0, attempt=1, operation="sandbox.run",
        inputs=inputs, environment="test", log=log,
    )
    await connector.execute(call, {})

asyncio.run(main())
"""


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition; a test that never sees it fails by time-out."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110  (the engine has no event for it here)
            await asyncio.sleep(0.02)


def tell(sandboxes: Sandboxes, container: str) -> None:
    """Let a container that runs UNTIL_TOLD end."""
    execution = sandboxes.api.exec_create(container, ["touch", "/workspace/go"])
    sandboxes.api.exec_start(execution["Id"])


async def test_a_cancelled_command_is_killed_and_removed(sandboxes: Sandboxes) -> None:
    """By the time the cancellation is through, nothing of it is left."""
    running = asyncio.create_task(sandboxes.run(sandboxes.call(*TICKING)))
    await until(lambda: len(sandboxes.lines) > 2)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert not sandboxes.containers()


async def test_a_worker_that_shuts_down_leaves_the_command_to_the_next_one(
    sandboxes: Sandboxes,
) -> None:
    """The next attempt adopts it and hears its output from the start."""
    call = sandboxes.call(*UNTIL_TOLD, task="detached", detaching=lambda: True)
    running = asyncio.create_task(sandboxes.run(call))
    await until(lambda: sandboxes.lines == ["begun"])
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    (left,) = sandboxes.containers("running")

    heard: list[str] = []
    again = sandboxes.call(*UNTIL_TOLD, task="detached", attempt=2, log=heard.append)
    adopting = asyncio.create_task(sandboxes.run(again))
    await until(lambda: heard == ["begun"])
    tell(sandboxes, left["Id"])
    assert (await adopting).exit_code == 0
    assert heard == ["begun", "ended"]
    assert [c["Id"] for c in sandboxes.containers()] == [left["Id"]]


async def test_a_killed_workers_container_is_adopted_and_runs_once(sandboxes: Sandboxes) -> None:
    """`kill -9`: nothing had a chance to clean up or to hand over."""
    arguments = [sys.executable, "-c", WORKER, str(sandboxes.settings.state), "orphan"]
    worker = await asyncio.create_subprocess_exec(
        *arguments, *UNTIL_TOLD, cwd=Path.cwd(), stdout=asyncio.subprocess.PIPE
    )
    assert worker.stdout
    while await worker.stdout.readline() != b"begun\n":
        assert not worker.stdout.at_eof()
    os.kill(worker.pid, signal.SIGKILL)
    await worker.wait()
    (orphan,) = sandboxes.containers("running")

    again = sandboxes.call(*UNTIL_TOLD, task="orphan", attempt=2)
    adopting = asyncio.create_task(sandboxes.run(again))
    await until(lambda: sandboxes.lines == ["begun"])
    tell(sandboxes, orphan["Id"])
    assert (await adopting).exit_code == 0
    assert sandboxes.lines == ["begun", "ended"]
    assert [c["Id"] for c in sandboxes.containers()] == [orphan["Id"]]


async def test_what_has_finished_is_collected_and_not_run_again(sandboxes: Sandboxes) -> None:
    """A worker that died between the end and the workflow's hearing of it repeats nothing."""
    first = await sandboxes.run(sandboxes.call(*UNIQUE, task="once"))
    second = await sandboxes.run(sandboxes.call(*UNIQUE, task="once", attempt=2))
    assert first == second
    assert sandboxes.lines == [first.output_tail.strip()] * 2


async def test_two_attempts_at_once_share_one_container(sandboxes: Sandboxes) -> None:
    """The engine lets one of them have the name; the other adopts."""
    other = SandboxConnector(sandboxes.settings, sandboxes.fetch)
    results = await asyncio.gather(
        sandboxes.run(sandboxes.call(*UNIQUE, task="twice")),
        other.execute(sandboxes.call(*UNIQUE, task="twice", attempt=2), {}),
    )
    other.close()
    assert results[0] == results[1].outputs
    assert len(sandboxes.containers()) == 1


async def test_an_old_attempts_cancellation_leaves_the_container_to_the_new_one(
    sandboxes: Sandboxes,
) -> None:
    """A heartbeat that came late ends the old attempt when the new one has already adopted."""
    old = asyncio.create_task(sandboxes.run(sandboxes.call(*UNTIL_TOLD, task="late")))
    await until(lambda: sandboxes.lines == ["begun"])
    heard: list[str] = []
    call = sandboxes.call(*UNTIL_TOLD, task="late", attempt=2, log=heard.append)
    new = asyncio.create_task(sandboxes.run(call))
    await until(lambda: heard == ["begun"])
    old.cancel()
    with pytest.raises(asyncio.CancelledError):
        await old
    (container,) = sandboxes.containers("running")
    tell(sandboxes, container["Id"])
    assert (await new).exit_code == 0


async def test_a_container_that_never_started_is_replaced(sandboxes: Sandboxes) -> None:
    """A worker died between creating and starting: its workspace may be half filled."""
    call = sandboxes.call("echo", "anew", task="half")
    name = container_name(sandboxes.connector.installation, call.key)
    sandboxes.api.create_container(sandboxes.settings.sandbox_image, ["true"], name=name)
    await sandboxes.run(call)
    assert sandboxes.lines == ["anew"]


async def test_a_container_of_another_command_is_replaced(sandboxes: Sandboxes) -> None:
    """The same name with other inputs is not the same work."""
    await sandboxes.run(sandboxes.call("echo", "one", task="changed"))
    await sandboxes.run(sandboxes.call("echo", "two", task="changed"))
    assert sandboxes.lines == ["one", "two"]
    assert len(sandboxes.containers()) == 1


async def test_a_command_killed_from_outside_is_run_again_by_a_retry(
    sandboxes: Sandboxes,
) -> None:
    """An engine restart says nothing about the command."""
    call = sandboxes.call("sh", "-c", "echo begun; sleep ${WAIT:-60}", task="outside")
    running = asyncio.create_task(sandboxes.run(call))
    await until(lambda: sandboxes.lines == ["begun"])
    sandboxes.api.kill(sandboxes.containers()[0]["Id"])
    with pytest.raises(EngineUnavailable, match="killed from outside"):
        await running
    assert not sandboxes.containers()


async def test_no_more_commands_run_at_a_time_than_the_settings_say(tmp_path: Path) -> None:
    """The next one waits without a container."""
    settings = Settings(state=tmp_path, sandbox_concurrency=1)
    boxes = Sandboxes(None, None, settings)  # type: ignore[arg-type]  # only its call is used
    connector = SandboxConnector(settings, boxes.fetch)
    first = asyncio.create_task(connector.execute(boxes.call(*TICKING), {}))
    await until(lambda: len(boxes.lines) > 0)
    heard: list[str] = []
    second = asyncio.create_task(
        connector.execute(boxes.call("echo", "second", log=heard.append), {})
    )
    seen = len(boxes.lines)
    await until(lambda: len(boxes.lines) > seen + 5)
    assert not heard
    first.cancel()
    await second
    assert heard == ["second"]
    await connector.release("goal")
    connector.close()


async def test_releasing_a_goal_removes_its_containers_and_volumes(sandboxes: Sandboxes) -> None:
    """Those of another goal stay."""
    source = {"repository": "http://host/r.git", "commit": "0" * 40}
    await sandboxes.run(sandboxes.call("true", source=source))
    inspected = sandboxes.api.inspect_container(sandboxes.containers()[0]["Id"])
    (volume,) = [m["Name"] for m in inspected["Mounts"] if m["Type"] == "volume"]
    assert await sandboxes.connector.release("another") == 0
    assert await sandboxes.connector.release("goal") == 1
    assert not sandboxes.containers()
    volumes = sandboxes.api.volumes()["Volumes"] or []
    assert volume not in [v["Name"] for v in volumes]


async def test_the_reaper_ends_what_is_overdue_and_removes_what_nobody_collected(
    sandboxes: Sandboxes,
) -> None:
    """By labels and deadlines alone: it never saw the containers before."""
    call = sandboxes.call(*TICKING, timeout="PT60S")
    running = asyncio.create_task(sandboxes.run(call))
    await until(lambda: len(sandboxes.containers("running")) == 1)
    engine, now = sandboxes.connector.engine, datetime.now(UTC)
    mine = sandboxes.connector.installation

    await reaper.reap(engine, mine, now)
    assert sandboxes.containers("running")
    late = now + timedelta(seconds=60) + reaper.OVERDUE + timedelta(seconds=10)
    await reaper.reap(engine, mine, late)
    with pytest.raises(EngineUnavailable):
        await running

    await sandboxes.run(sandboxes.call("true", timeout="PT60S"))
    await reaper.reap(engine, mine, late)
    assert sandboxes.containers("exited")
    assert await reaper.reap(engine, mine, late + reaper.KEPT) == 1
    assert not sandboxes.containers()
