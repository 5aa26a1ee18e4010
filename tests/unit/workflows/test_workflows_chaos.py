"""Random goals under random interference: whatever people and Temporal do, some things hold."""

from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import Any

from hypothesis import given, note
from hypothesis import strategies as st

from goalkeeper.contracts.goal import (
    SIGNAL_DECISION,
    CancelInput,
    ControlInput,
    GoalInput,
    Progress,
    TaskChangeInput,
    TaskControlInput,
)
from goalkeeper.domain.audit import AuditKind
from goalkeeper.domain.goal import Skip, TaskStatus
from goalkeeper.domain.plan import GoalState, OnFailure, RunRule, TaskState
from goalkeeper.simulation.goal_world import Work
from goalkeeper.simulation.replay import check_replay
from goalkeeper.simulation.stage import Stage
from tests.unit.workflows.cases import Case, TaskCase, cases, stage_of
from tests.unit.workflows.effort import effort
from tests.unit.workflows.reference import predict
from tests.unit.workflows.running import GOAL, carry_out, expected, told

_ENDED = {
    TaskState.SUCCEEDED,
    TaskState.FAILED,
    TaskState.SKIPPED,
    TaskState.CANCELLED,
    TaskState.COMPENSATED,
    TaskState.UNKNOWN,
}
_BAD = {TaskState.FAILED, TaskState.CANCELLED, TaskState.UNKNOWN}
_OURS = {"GrantMismatch", "GrantSpent", "ApprovalNeeded", "InternalError", "Conflict", "NotFound"}
"""What a goal of these never fails with, unless the interpreter has a defect."""
_KINDS = (
    "pause",
    "resume",
    "cancel",
    "cancel by Temporal",
    "cancel_task",
    "retry_task",
    "retry_task",
    "skip_task",
    "change_task",
    "forged decision",
)


@dataclass(frozen=True)
class Blow:
    """Something that people do to a goal."""

    after: timedelta
    kind: str
    task_id: str
    compensate: bool = True


_RESUME = Blow(timedelta(), "resume", "")


@st.composite
def blows(draw: st.DrawFn, case: Case) -> list[Blow]:
    """A few of them, and in the end a resume so that nothing waits for ever."""
    ids = [t.id for t in case.tasks] + [f"{t.id}.0" for t in case.tasks if t.items]
    moments = st.integers(0, 400) | st.integers(0, 20_000)
    made = draw(
        st.lists(
            st.builds(
                Blow,
                moments.map(lambda s: timedelta(seconds=s, milliseconds=13)),
                st.sampled_from(_KINDS),
                st.sampled_from(ids),
                st.booleans(),
            ),
            max_size=5,
        )
    )
    return made


def strike(stage: Stage, blow: Blow) -> None:
    """Do it; whether the goal takes it is for the goal to say."""
    update, control = stage.driver.update, {"actor": "chaos", "reason": "why not"}
    match blow.kind:
        case "pause" | "resume":
            update(GOAL, blow.kind, ControlInput(**control))
        case "cancel":
            update(GOAL, "cancel", CancelInput(compensate=blow.compensate, **control))
        case "cancel by Temporal":
            stage.driver.cancel(GOAL, "chaos")
        case "forged decision":
            stage.driver.signal(GOAL, SIGNAL_DECISION, {"envelope": {"payload": "e30="}})
        case "change_task":
            change = TaskChangeInput(
                task_id=blow.task_id.partition(".")[0], inputs={"value": "other"}, **control
            )
            update(GOAL, "change_task", change)
        case kind:
            update(GOAL, kind, TaskControlInput(task_id=blow.task_id, **control))


@effort()
@given(st.data(), cases(window=True))
def test_a_goal_keeps_its_promises_under_interference(data: st.DataObject, case: Case) -> None:
    """People pause, cancel, retry, skip and change at any time; the history is cut anywhere."""
    options: dict[str, Any] = {
        "scattered": data.draw(st.booleans(), "scattered"),
        "events_until_new": data.draw(st.sampled_from([4096, 40, 15]), "events_until_new"),
        "seed": data.draw(st.integers(0, 5), "seed"),
    }
    stage = stage_of(case, **options)
    struck = data.draw(blows(case), "blows")
    for blow in struck:
        stage.driver.after(blow.after, partial(strike, stage, blow))
    for day in (30, 60):
        # Lest it waits for ever.
        stage.driver.after(timedelta(days=day), partial(strike, stage, _RESUME))
    execution = stage.start(GOAL, GoalInput(contract="random"))
    stage.driver.run()
    for glance in stage.glances[GOAL]:
        note(f"{glance.at} {glance.progress.state.value} {told(glance.progress)}")
    if not execution.closed:
        stage.driver.close()
        raise AssertionError("the goal does not end")
    check_promises(case, stage, struck)
    check_replay(execution)


def check_promises(case: Case, stage: Stage, struck: list[Blow]) -> None:
    """What holds of every goal."""
    progress, world = stage.last(GOAL), stage.world
    statuses = {t.id: t for t in progress.tasks}
    assert all(t.state in _ENDED for t in progress.tasks), "a task has no end"
    assert not [t for t in progress.tasks if t.failure and t.failure.code in _OURS]
    assert len(set(world.begun)) == len(world.begun), "a task ran twice in one generation"
    assert len(set(world.done)) == len(world.done)
    order = [world.done.index(w) for w in world.undone]
    assert order == sorted(order, reverse=True), "not undone last-in-first-out"
    assert all(r.closed is not None for r in progress.requests), "a request stays open"
    assert [e.kind for e in world.events].count(AuditKind.GOAL_ENDED) == 1
    check_finally(case, statuses)
    check_end(case, progress, world.undone)
    check_way(case, stage, struck)


def check_finally(case: Case, statuses: dict[str, TaskStatus]) -> None:
    """Tasks that always run did run, unless their own condition or rule was against it."""
    for task in case.tasks:
        if task.always:
            assert statuses[task.id].skipped not in (Skip.STOPPED, Skip.PERSON)
            assert statuses[task.id].state is not TaskState.CANCELLED


def check_end(case: Case, progress: Progress, undone: list[Work]) -> None:
    """The goal's state says what became of its tasks."""
    # What always runs may fail a goal that had succeeded, and nothing else.
    bad = {
        t.id
        for t in progress.tasks
        if t.state in _BAD
        and case.by_id[t.id.partition(".")[0]].on_failure is not OnFailure.CONTINUE
    }
    if progress.state is GoalState.SUCCEEDED:
        assert not bad
        assert not undone
    if progress.state is GoalState.ROLLED_BACK:
        assert undone
    early = {t for t in bad if not case.by_id[t.partition(".")[0]].always}
    unknown = [t for t in progress.tasks if t.state is TaskState.UNKNOWN and t.id in early]
    if unknown:
        assert not undone, "undone although something is unknown"
    assert (progress.failure is None) <= (
        progress.state in (GoalState.SUCCEEDED, GoalState.CANCELLED, GoalState.ROLLED_BACK)
    )


def check_way(case: Case, stage: Stage, struck: list[Blow]) -> None:
    """At every moment: no more at work than the window allows, nothing before its needs."""
    # Whoever has waited for people goes on at once, whatever has begun meanwhile.
    asked = any(t.asks or "lost" in t.fates for t in case.tasks)
    again = {"retry_task", "change_task", "skip_task"} & {b.kind for b in struck}
    started: set[tuple[str, int]] = set()
    for glance in stage.glances[GOAL]:
        statuses = {t.id: t for t in glance.progress.tasks}
        running = [t for t in glance.progress.tasks if t.state is TaskState.RUNNING]
        work = [t for t in running if _works(case, t)]
        assert asked or len(work) <= case.window, "more at work than the window allows"
        for status in running:
            if (status.id, status.generation) not in started:
                started.add((status.id, status.generation))
                if not again:
                    check_needs(case.by_id[status.id.partition(".")[0]], statuses)


def _works(case: Case, status: TaskStatus) -> bool:
    task = case.by_id[status.id.partition(".")[0]]
    return task.kind == "operation" and (task.items is None or "." in status.id)


def check_needs(task: TaskCase, statuses: dict[str, TaskStatus]) -> None:
    """A task that begins has needs that ended as its rule wants."""
    needs = [statuses[n] for n in task.needs]
    assert all(n.state in _ENDED for n in needs), f"'{task.id}' began before its needs ended"
    if task.run is RunRule.ANY_FAILED:
        assert any(n.state in _BAD for n in needs)
    elif task.run is RunRule.ALL_SUCCEEDED and not task.always:
        fine = (Skip.CONDITION, Skip.PERSON)
        assert all(n.state is TaskState.SUCCEEDED or n.skipped in fine for n in needs)


@effort()
@given(cases(), st.sampled_from([40, 20, 12]), st.booleans(), st.integers(0, 5))
def test_continuing_as_new_changes_nothing(
    case: Case, events: int, scattered: bool, seed: int
) -> None:
    """Where no failure stops a goal, how it ends does not depend on when things happen."""
    tolerant = tuple(replace(t, on_failure=OnFailure.CONTINUE) for t in case.tasks)
    case = replace(case, tasks=tolerant)
    prediction = predict(case)
    stage, _ = carry_out(case, events_until_new=events, scattered=scattered, seed=seed)
    assert told(stage.last(GOAL)) == expected(prediction)
    assert stage.last(GOAL).state.value == prediction.goal
    assert {(w.task_id, w.generation) for w in stage.world.begun} == prediction.begun
    assert len(stage.world.begun) == len(prediction.begun)
