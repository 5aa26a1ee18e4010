"""Shapes that random goals do not have: children, events, locks, and what was found to go wrong."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from goalkeeper.contracts.activities import Asker, PlanInput
from goalkeeper.contracts.goal import (
    SIGNAL_EVENT,
    CancelInput,
    EventSignal,
    GoalInput,
    PlannedGoal,
    TaskControlInput,
)
from goalkeeper.domain.approval import Action, Answer, Requester
from goalkeeper.domain.base import Json
from goalkeeper.domain.errors import OperationFailed
from goalkeeper.domain.plan import (
    GOAL as CHILD,
)
from goalkeeper.domain.plan import (
    WAIT,
    LockUse,
    OnFailure,
    Plan,
    PlanTask,
    RunRule,
    TaskState,
)
from goalkeeper.domain.policy import Effect, Requirement, Verdict
from goalkeeper.simulation.goal_world import Deed
from goalkeeper.simulation.people import Answering, Gateway
from goalkeeper.simulation.replay import check_replay
from goalkeeper.simulation.stage import Stage
from tests.unit.workflows.cases import VERSION, Case, TaskCase, stage_of
from tests.unit.workflows.running import GOAL, told

_CUT = [4096, 40, 15]
"""Events until continue-as-new is suggested."""


@dataclass(frozen=True)
class Plans:
    """Plans by contract; what writes is asked about."""

    plans: Mapping[str, tuple[PlanTask, ...]]
    asking: frozenset[str] = frozenset()

    def plan(self, given: PlanInput, gateway: Gateway) -> PlannedGoal:
        """The plan of that name."""
        plan = Plan(
            contract=given.goal.contract or "none",
            contract_digest=VERSION,
            environment="development",
            tasks=self.plans[given.goal.contract or ""],
        )
        return PlannedGoal(
            plan=plan,
            requester=Requester(id="dana", proven=True),
            verdicts={t.id: self._verdict(t.id) for t in plan.tasks},
            policy_version=VERSION,
            plan_digest=plan.digest,
            decision_keys=gateway.keys,
        )

    def judge(self, action: Action, asker: Asker) -> tuple[Verdict, str]:
        """What is asked about is asked about."""
        return self._verdict(action.task_id), VERSION

    def _verdict(self, task_id: str) -> Verdict:
        if task_id in self.asking:
            return Verdict(effect=Effect.ASK, requirement=Requirement(groups=("operators",)))
        return Verdict(effect=Effect.ALLOW)


@dataclass(frozen=True)
class TenSeconds:
    """Operations that take ten seconds each."""

    failing: str = ""
    """The task that fails; the others go well."""

    def perform(self, action: Action, attempt: int) -> Deed:
        """Ten seconds."""
        error = OperationFailed("it fails") if action.task_id == self.failing else None
        outputs: Json = {"value": action.task_id}
        return Deed(timedelta(seconds=10), outputs, error, compensable=True)

    def undo(self, action: Action, attempt: int) -> Deed:
        """One second."""
        return Deed(timedelta(seconds=1))


def _task(ident: str, operation: str = "fake.write", **changes: Any) -> PlanTask:
    return PlanTask(id=ident, operation=operation, idempotent=False, **changes)


def _ran(
    plans: Mapping[str, tuple[PlanTask, ...]],
    *,
    asking: frozenset[str] = frozenset(),
    failing: str = "",
    after: Mapping[int, Callable[[Stage], Any]] | None = None,
    **options: Any,
) -> Stage:
    def answers(_: object) -> Answering:
        return Answering()

    stage = Stage(Plans(plans, asking), TenSeconds(failing), answers, **options)
    for seconds, strike in (after or {}).items():
        stage.driver.after(timedelta(seconds=seconds), lambda s=strike: s(stage))  # type: ignore[misc]
    stage.start(GOAL, GoalInput(contract="top"))
    stage.driver.run()
    for execution in stage.driver.executions.values():
        assert execution.closed, f"{execution.workflow_id} does not end"
        check_replay(execution)
    return stage


_CHILD = {
    "top": (
        _task("first"),
        _task("child", CHILD, needs=("first",), inputs={"contract": "below"}),
        _task("last", needs=("child",)),
    ),
    "below": (_task("one"), _task("two", needs=("one",)), _task("three", needs=("two",))),
}


@pytest.mark.parametrize("events", _CUT)
def test_a_child_goal_outlives_its_parents_history(events: int) -> None:
    """However often parent and child continue as new, the child runs once."""
    stage = _ran(_CHILD, events_until_new=events)
    progress = stage.last(GOAL)
    assert set(told(progress).values()) == {"Succeeded"}
    assert len(stage.world.begun) == 5
    [child] = [t for t in progress.tasks if t.id == "child"]
    assert isinstance(child.outputs, dict)
    assert child.outputs["state"] == "Succeeded"


@pytest.mark.parametrize("events", _CUT)
def test_what_a_child_did_is_undone_with_its_parent(events: int) -> None:
    """By a child that rolls it back, before what the parent did earlier."""
    stage = _ran(_CHILD, failing="last", events_until_new=events)
    assert [w.task_id for w in stage.world.undone] == ["three", "two", "one", "first"]
    assert stage.last(GOAL).state.value == "RolledBack"


@pytest.mark.parametrize("events", _CUT)
def test_cancelling_a_goal_cancels_and_undoes_its_child(events: int) -> None:
    """And waits for the child's end."""

    def cancel(stage: Stage) -> None:
        stage.driver.update(GOAL, "cancel", CancelInput())

    stage = _ran(_CHILD, after={23: cancel}, events_until_new=events)
    assert [w.task_id for w in stage.world.undone] == ["one", "first"]
    assert all(e.closed for e in stage.driver.executions.values())


@pytest.mark.parametrize("events", _CUT)
@pytest.mark.parametrize("moment", [3, 15, 25])
def test_an_event_is_not_lost_whenever_it_comes(events: int, moment: int) -> None:
    """Before anything waits for it, while something does, and over continue-as-new."""
    plans = {
        "top": (
            _task("first"),
            _task("event", WAIT, needs=("first",), inputs={"signal": "go"}),
            _task("last", needs=("event",)),
        )
    }

    def send(stage: Stage) -> None:
        stage.driver.signal(GOAL, SIGNAL_EVENT, EventSignal(name="go", payload={"n": 1}))

    stage = _ran(plans, after={moment: send}, events_until_new=events)
    progress = stage.last(GOAL)
    assert set(told(progress).values()) == {"Succeeded"}
    [waited] = [t for t in progress.tasks if t.id == "event"]
    assert waited.outputs == {"payload": {"n": 1}}


@pytest.mark.parametrize("events", _CUT)
def test_a_goal_gives_its_locks_back(events: int) -> None:
    """While people are asked, and when it has ended."""
    plans = {
        "top": (
            _task("look", risk="read", lock=LockUse(name="prod")),
            _task("write", needs=("look",), lock=LockUse(name="prod")),
            _task("after", needs=("write",)),
        )
    }
    stage = _ran(plans, asking=frozenset({"write"}), events_until_new=events)
    assert set(told(stage.last(GOAL)).values()) == {"Succeeded"}
    assert not stage.world.locks
    assert stage.world.tokens["prod"] == 2, "taken, given back while people were asked, taken"


# What the model found, each as small as it could be made.


def test_a_cancelled_operation_is_not_run_again() -> None:
    """Its cancellation is an answer, and not the loss of one."""
    for update, argument in (
        ("cancel", CancelInput()),
        ("cancel_task", TaskControlInput(task_id="t0")),
    ):
        stage = stage_of(Case((TaskCase("t0", weight=100_000),)))
        execution = stage.start(GOAL, GoalInput(contract="random"))
        stage.driver.after(
            timedelta(seconds=10),
            lambda s=stage, u=update, a=argument: s.driver.update(GOAL, u, a),  # type: ignore[misc]
        )
        stage.driver.run()
        assert execution.closed
        assert [w.task_id for w in stage.world.begun] == ["t0"]
        assert told(stage.last(GOAL)) == {"t0": "Cancelled"}
        assert not stage.world.done


def test_what_an_item_did_can_be_undone_after_continuing_as_new() -> None:
    """The items' ids are carried over like any other."""
    tasks = (
        TaskCase("t0", items=3, width=1, weight=5000),
        TaskCase("t1", needs=("t0",), fates=("fail",), weight=3000),
    )
    stage = stage_of(Case(tasks), events_until_new=15)
    stage.start(GOAL, GoalInput(contract="random"))
    stage.driver.run()
    assert [w.task_id for w in stage.world.undone] == ["t0.2", "t0.1", "t0.0"]
    assert stage.last(GOAL).state.value == "RolledBack"


def test_every_item_of_a_denied_task_that_always_runs_has_an_end() -> None:
    """As it has where the task is an ordinary one."""
    tasks = (
        TaskCase("t0", weight=3000),
        TaskCase("t1", items=1, asks=True, answer=Answer.DENY, always=True, weight=5000),
    )
    stage = stage_of(Case(tasks))
    stage.start(GOAL, GoalInput(contract="random"))
    stage.driver.run()
    assert TaskState.PENDING not in {t.state for t in stage.last(GOAL).tasks}


def test_what_did_not_happen_does_not_run_again_once_the_goal_stops() -> None:
    """Nothing further starts but what handles failures."""
    tasks = (
        TaskCase("t0", fates=("lost",), told=Answer.DID_NOT_HAPPEN, weight=5000),
        TaskCase("t1", fates=("fail",), on_failure=OnFailure.STOP, weight=20_000),
        TaskCase("t2", needs=("t1",), run=RunRule.ANY_FAILED, weight=7000),
    )
    stage = stage_of(Case(tasks))
    stage.start(GOAL, GoalInput(contract="random"))
    stage.driver.run()
    assert ("t0", 1) not in {(w.task_id, w.generation) for w in stage.world.begun}
    assert ("t2", 0) in {(w.task_id, w.generation) for w in stage.world.begun}


@pytest.mark.parametrize("events", _CUT)
def test_a_list_that_people_are_asked_about_is_asked_about_once(events: int) -> None:
    """Also where the goal continues as new meanwhile: no item begins before it is approved."""
    tasks = (
        *(TaskCase(f"t{n}", kind="wait", weight=3000 * (n + 1)) for n in range(3)),
        TaskCase("t3", items=2, asks=True, weight=7000),
    )
    stage = stage_of(Case(tasks), events_until_new=events)
    stage.start(GOAL, GoalInput(contract="random"))
    stage.driver.run()
    assert list(stage.asked) == [f"{GOAL}/t3.0"]
    assert stage.last(GOAL).state.value == "Succeeded"
