"""Goals in trouble: signals nobody should send, crowds, full disks, and a cancellation in between.

What is killed is in `tests/chaos`; here everything is alive and misbehaves.
"""

import asyncio
import os
import subprocess
import uuid
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import WorkflowFailureError, WorkflowHandle, WorkflowUpdateFailedError
from temporalio.service import RPCError
from temporalio.worker import Plugin, Replayer

from goalkeeper.contracts.connector import OperationResult
from goalkeeper.contracts.goal import (
    SIGNAL_DECISION,
    SIGNAL_EVENT,
    SIGNAL_LOCK,
    UPDATE_CANCEL,
    UPDATE_CHANGE_TASK,
    UPDATE_PAUSE,
    UPDATE_RETRY_TASK,
    UPDATE_SKIP_TASK,
    WORKFLOW,
    DecisionSignal,
    EventSignal,
)
from goalkeeper.domain.approval import Answer
from goalkeeper.domain.audit import AuditKind
from goalkeeper.domain.goal import GoalResult
from goalkeeper.domain.plan import GoalState, TaskState
from goalkeeper.embedded.temporal import TemporalServer
from tests.support.engine import Engine, plan_of, running_engine
from workflows.goal import GoalWorkflow

GATED = plan_of(
    {"id": "look", "uses": "fake.read"},
    {"id": "event", "uses": "wait", "with": {"signal": "go"}},
    {"id": "act", "uses": "fake.destroy", "needs": ["look", "event"]},
)
SIGNALS = (SIGNAL_DECISION, SIGNAL_EVENT, SIGNAL_LOCK)
UPDATES = (UPDATE_PAUSE, UPDATE_RETRY_TASK, UPDATE_SKIP_TASK, UPDATE_CHANGE_TASK, UPDATE_CANCEL)
RUBBISH: tuple[Any, ...] = (
    None,
    7,
    "yes",
    [],
    [[[]]],
    {},
    {"envelope": {"payload": 7}},
    {"envelope": "x" * 200_000},
    {"name": None, "payload": {}},
    {"name": {"name": "go"}},
    {"name": "no such lock", "token": -1},
    {"name": "prod", "token": "many"},
    {"a": {"b": {"c": {"d": [None] * 1000}}}},
)


async def approved(engine: Engine, handle: WorkflowHandle[Any, Any]) -> GoalResult:
    """Let it go on, and approve what it asks."""
    await handle.signal(SIGNAL_EVENT, EventSignal(name="go"))
    # Asked of the record first: a goal that is kept nowhere replays itself for each query.
    await _reached(lambda: AuditKind.APPROVAL_REQUESTED in engine.kinds(handle.id))
    asked = await engine.asked(handle)
    await engine.decide(handle, asked.request)
    return await engine.result(handle)


@pytest.mark.parametrize("name", SIGNALS)
async def test_no_malformed_signal_stops_a_goal(engine: Engine, name: str) -> None:
    """While it waits for people: it is ignored, and the goal comes to its end as ever."""
    handle = await engine.submit(GATED)
    for rubbish in RUBBISH:
        await handle.signal(name, rubbish)
    await handle.signal(name)
    await handle.signal(name, args=[1, 2, 3])
    await handle.signal("nobody_listens_to_this", {"x": 1})
    assert (await approved(engine, handle)).state is GoalState.SUCCEEDED
    assert [t for t, _, _ in engine.fake.done] == ["look", "act"]


@pytest.mark.parametrize("arguments", [[], [None, 1, "x"]])
async def test_a_start_with_no_input_or_with_too_much_fails_the_goal_and_not_its_workflow_task(
    engine: Engine, arguments: list[Any]
) -> None:
    """`temporal workflow start` without --input is answered, and not tried for ever."""
    handle: WorkflowHandle[Any, Any] = await engine.client.start_workflow(
        WORKFLOW,
        args=arguments,
        id=f"test-{uuid.uuid4().hex[:12]}",
        task_queue=engine.settings.task_queue,
    )
    with pytest.raises(WorkflowFailureError):
        await handle.result()


@pytest.mark.parametrize("arguments", [[], [7], [{"reason": 7}], [None, 1, "x"]])
async def test_a_malformed_update_is_refused_and_the_goal_goes_on(
    engine: Engine, arguments: list[Any]
) -> None:
    """Nothing of it gets into the goal."""
    handle = await engine.submit(GATED)
    await engine.until(handle, lambda p: bool(p.tasks) and p.tasks[0].state is TaskState.SUCCEEDED)
    for update in UPDATES:
        with pytest.raises((WorkflowUpdateFailedError, RPCError)):
            await handle.execute_update(update, args=arguments)
    assert (await approved(engine, handle)).state is GoalState.SUCCEEDED


@pytest.mark.parametrize("name", SIGNALS)
async def test_a_signal_that_comes_before_the_goal_has_a_plan_is_no_trouble(
    engine: Engine, name: str
) -> None:
    """It comes with the start itself, so the workflow has not done anything yet."""
    goal_id = f"test-{uuid.uuid4().hex[:12]}"
    handle: WorkflowHandle[Any, Any] = await engine.client.start_workflow(
        WORKFLOW,
        await engine.goal_input(GATED, goal_id, requester="dana"),
        id=goal_id,
        task_queue=engine.settings.task_queue,
        start_signal=name,
        start_signal_args=[{"envelope": {"rubbish": True}, "name": 7}],
    )
    for rubbish in RUBBISH:
        await handle.signal(name, rubbish)
    assert (await approved(engine, handle)).state is GoalState.SUCCEEDED


async def test_a_decision_that_comes_again_or_late_changes_nothing(engine: Engine) -> None:
    """The same yes many times, a no after it, and one when everything is over."""
    handle = await engine.submit(
        plan_of(
            {"id": "act", "uses": "fake.destroy"},
            {"id": "hold", "uses": "wait", "needs": ["act"], "with": {"signal": "go"}},
        )
    )
    asked = await engine.asked(handle)
    envelope = await engine.decide(handle, asked.request)
    again = DecisionSignal(envelope=envelope.model_dump(mode="json"))
    for _ in range(5):
        await engine.signal(handle, again)
    await engine.decide(
        handle, asked.request, person="oscar", answer=Answer.DENY, reason="too late"
    )
    await engine.until(handle, lambda p: p.requests[0].closed == "approved")
    await handle.signal(SIGNAL_EVENT, EventSignal(name="go"))
    assert (await engine.result(handle)).state is GoalState.SUCCEEDED
    assert [t for t, _, _ in engine.fake.done] == ["act"]
    assert engine.kinds(handle.id).count(AuditKind.GRANT_SPENT) == 1
    with pytest.raises(RPCError, match=r"already completed|not found"):
        await engine.signal(handle, again)


async def test_more_than_a_hundred_tasks_that_end_at_the_same_moment_are_all_counted(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Temporal fails a workflow task that more than a hundred events pile up behind."""
    together = asyncio.Barrier(181)
    execute = engine.fake.execute

    async def at_once(*call: Any) -> OperationResult:
        result = await execute(*call)
        await together.wait()
        return result

    monkeypatch.setattr(engine.fake, "execute", at_once)
    tasks = [{"id": f"t{n}", "uses": "fake.write", "with": {"value": n}} for n in range(180)]
    handle = await engine.submit(plan_of(*tasks))
    await _reached(lambda: together.n_waiting == 180)
    for n in range(120):
        # A crowd of events on top of it.
        await handle.signal(SIGNAL_EVENT, EventSignal(name="noise", payload=n))
    await together.wait()
    result = await engine.result(handle)
    assert result.state is GoalState.SUCCEEDED
    assert [t.outputs for t in result.tasks] == [{"value": n} for n in range(180)]
    assert len(engine.fake.done) == 180


@pytest.mark.parametrize("cached", [0, 100])
@pytest.mark.parametrize("after", [1, 7, 8, 9, 16])
async def test_a_goal_that_is_cancelled_around_its_continuation_undoes_everything_once(
    impatient_server: TemporalServer, tmp_path: Path, after: int, cached: int
) -> None:
    """Before, at and after the moment when one run hands over to the next."""
    tasks: list[dict[str, Any]] = [{"id": "t0", "uses": "fake.write", "with": {"value": 0}}]
    tasks += [
        {"id": f"t{n}", "uses": "fake.write", "needs": [f"t{n - 1}"], "with": {"value": n}}
        for n in range(1, 25)
    ]
    async with running_engine(
        impatient_server.address, tmp_path, worker_cached_workflows=cached
    ) as engine:
        handle = await engine.submit(plan_of(*tasks))
        await _reached(lambda: len(engine.fake.done) >= after)
        # Whichever run is current: the handle names none.
        await engine.client.get_workflow_handle(handle.id).cancel()
        result = await engine.result(handle)
        assert result.state is GoalState.ROLLED_BACK
        done = [value for _, operation, value in engine.fake.done if operation == "fake.write"]
        undone = [value for _, operation, value in engine.fake.done if operation == "fake.undo"]
        assert done == list(range(len(done)))
        assert undone == done[::-1]
        assert {t.state for t in result.tasks} <= {TaskState.COMPENSATED, TaskState.CANCELLED}


async def test_a_goal_that_waits_for_a_task_before_its_continuation_can_be_cancelled(
    impatient_server: TemporalServer, tmp_path: Path
) -> None:
    """Nothing further starts, one task still runs, and the cancellation reaches it."""
    tasks: list[dict[str, Any]] = [{"id": "slow", "uses": "fake.read", "with": {"do": "hang"}}]
    tasks += [
        {"id": f"t{n}", "uses": "fake.write", "needs": [f"t{n - 1}"] if n else []}
        for n in range(30)
    ]
    async with running_engine(impatient_server.address, tmp_path) as engine:
        handle = await engine.submit(plan_of(*tasks))
        await engine.fake.started.wait()
        # Far enough for the server to suggest a new run, which waits for the slow one.
        await _reached(lambda: len(engine.fake.done) >= 6)
        await handle.cancel()
        assert (await engine.result(handle)).state is GoalState.ROLLED_BACK
        assert engine.fake.cancelled == ["slow"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of four megabytes."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a file system that is small enough to fill")
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ("mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder))
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("this machine does not let root mount a tmpfs")
    try:
        yield folder
    finally:
        subprocess.run(("umount", "--lazy", str(folder)), check=True)


async def test_a_goal_waits_out_a_full_disk_and_loses_nothing(
    temporal_server: TemporalServer, small_disk: Path
) -> None:
    """No effect without its record: nothing runs while nothing can be written, and then it does."""
    async with running_engine(temporal_server.address, small_disk) as engine:
        handle = await engine.submit(
            plan_of(
                {"id": "before", "uses": "fake.write"},
                {"id": "event", "uses": "wait", "needs": ["before"], "with": {"signal": "go"}},
                {"id": "after", "uses": "fake.write", "needs": ["event"], "retry": PATIENT},
            )
        )
        await _reached(lambda: len(engine.fake.done) == 1)
        filler = small_disk / "filler"
        await asyncio.to_thread(_fill, filler)
        await handle.signal(SIGNAL_EVENT, EventSignal(name="go"))
        await engine.until(handle, lambda p: p.tasks[2].state is TaskState.RUNNING)
        await _refused(handle)
        assert len(engine.fake.done) == 1, "it ran although nothing could be recorded"
        filler.unlink()
        result = await engine.result(handle)
        assert result.state is GoalState.SUCCEEDED
        assert [t for t, _, _ in engine.fake.done] == ["before", "after"]
        engine.parts.audit.verify()
        events = [e.event for e in engine.parts.audit.entries(goal_id=handle.id)]
        meant = {e.id.removesuffix("/intent") for e in events if e.kind is AuditKind.TASK_INTENT}
        done = [e for e in events if e.detail.get("outcome") == "succeeded"]
        assert [e.task_id for e in done] == ["before", "after"]
        assert {e.id.removesuffix("/outcome") for e in done} <= meant


PATIENT = {"maximum_attempts": 100, "initial_interval": "PT0.1S", "maximum_interval": "PT0.5S"}


def everything(lock: str) -> Any:
    """A plan with a little of every shape."""
    return plan_of(
        {"id": "list", "uses": "fake.write", "with": {"value": [3, 1, 2]}, "lock": lock},
        {
            "id": "each",
            "uses": "fake.write",
            "for_each": "${{ tasks.list.value }}",
            "width": 2,
            "with": {"value": "${{ each.item }}"},
        },
        {"id": "quick", "uses": "fake.quick", "with": {"value": "${{ tasks.each[*].value }}"}},
        {"id": "bad", "uses": "fake.read", "with": {"do": "fail"}, "on_failure": "continue"},
        {"id": "never", "uses": "fake.write", "needs": ["bad"]},
        {"id": "anyway", "uses": "fake.read", "needs": ["bad"], "run": "any_failed"},
        {"id": "not", "uses": "fake.read", "when": "${{ tasks.list.value[0] == `7` }}"},
        {"id": "pause", "uses": "wait", "needs": ["quick"], "with": {"for": "PT0.1S"}},
        {"id": "event", "uses": "wait", "with": {"signal": "go"}},
        {"id": "act", "uses": "fake.destroy", "needs": ["pause", "event"], "lock": lock},
        *(
            {"id": f"t{n}", "uses": "fake.write", "needs": [f"t{n - 1}" if n else "act"]}
            for n in range(12)
        ),
    )


@pytest.mark.parametrize("cached", [0, 100])
async def test_a_goal_of_every_shape_ends_the_same_however_often_it_is_replayed(
    impatient_server: TemporalServer,
    temporal_server: TemporalServer,
    tmp_path: Path,
    cached: int,
) -> None:
    """Continued as new every fifty events or not, kept in memory or not; its histories replay."""
    found: list[dict[str, tuple[TaskState, Any]]] = []
    for number, server in enumerate((impatient_server, temporal_server)):
        folder = tmp_path / str(number)
        folder.mkdir()
        async with running_engine(server.address, folder, worker_cached_workflows=cached) as engine:
            handle = await engine.submit(everything(f"lock-{uuid.uuid4().hex[:8]}"))
            result = await approved(engine, handle)
            assert result.state is GoalState.SUCCEEDED, result.failure
            found.append({t.id: (t.state, t.outputs) for t in result.tasks})
            assert len({t for t, _, _ in engine.fake.done}) == len(engine.fake.done)
            await _replayed(engine, handle)
    assert found[0] == found[1]
    assert found[0]["quick"][1] == {"value": [3, 1, 2]}
    assert found[0]["never"][0] is found[0]["not"][0] is TaskState.SKIPPED


async def _replayed(engine: Engine, handle: WorkflowHandle[Any, Any]) -> None:
    plugins = [p for p in engine.client.config()["plugins"] if isinstance(p, Plugin)]
    replayer = Replayer(workflows=[GoalWorkflow], plugins=plugins)
    first = handle.first_execution_run_id
    run = first
    while run:
        one = engine.client.get_workflow_handle(handle.id, run_id=run)
        history = await one.fetch_history()
        await replayer.replay_workflow(history)
        last = history.events[-1].workflow_execution_continued_as_new_event_attributes
        run = last.new_execution_run_id or None


def _fill(file: Path) -> None:
    """Take the rest of the file system, to the last byte."""
    with file.open("wb", buffering=0) as out:
        for size in (65_536, 512, 1):
            try:
                while out.write(b"x" * size):
                    pass
            except OSError:
                continue


async def _refused(handle: WorkflowHandle[Any, Any]) -> None:
    """Wait until an attempt has found the disk full, by Temporal's own count."""

    async def look() -> bool:
        described = (await handle.describe()).raw_description
        return any(a.attempt > 1 for a in described.pending_activities)

    await _until(look)


async def _reached(condition: Callable[[], bool]) -> None:
    async def look() -> bool:
        return condition()

    await _until(look)


async def _until(look: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(60):
        while not await look():  # noqa: ASYNC110 - Temporal tells nobody when it has changed
            await asyncio.sleep(0.01)
