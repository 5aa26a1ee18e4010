"""What was found to go wrong where people's hands, lists and continue-as-new meet."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from goalkeeper.contracts.activities import AUTHORISE, REPLAN, RESOLVE
from goalkeeper.contracts.goal import (
    ControlInput,
    EventSignal,
    GoalInput,
    TaskChangeInput,
    TaskControlInput,
)
from goalkeeper.domain.approval import Action, Answer
from goalkeeper.domain.audit import AuditKind
from goalkeeper.domain.errors import GrantMismatch, OutcomeUnknown
from goalkeeper.domain.plan import WAIT, ForEach, PlanTask, TaskState
from goalkeeper.simulation.goal_world import Deed
from goalkeeper.simulation.people import Answering
from goalkeeper.simulation.replay import check_replay
from goalkeeper.simulation.stage import Stage
from goalkeeper.simulation.world import Attempt
from tests.unit.workflows.running import GOAL, told
from tests.unit.workflows.test_workflows_shapes import Plans

_CUT = [4096, 40, 15]


@dataclass(frozen=True)
class Seen:
    """Operations that take ten seconds each, and what they were given."""

    given: list[tuple[str, Any]]
    lost: str = ""
    """The task of whose first attempt nobody knows what became."""

    def perform(self, action: Action, attempt: int) -> Deed:
        """Ten seconds."""
        self.given.append((action.task_id, action.inputs.get("value")))
        unknown = action.task_id == self.lost
        error = OutcomeUnknown("who knows") if unknown else None
        return Deed(timedelta(seconds=10), {"value": 1}, error, compensable=True)

    def undo(self, action: Action, attempt: int) -> Deed:
        """One second."""
        return Deed(timedelta(seconds=1))


Strikes = dict[int, Callable[[Stage], Any]]


def _task(ident: str, operation: str = "fake.write", **changes: Any) -> PlanTask:
    return PlanTask(id=ident, operation=operation, idempotent=False, **changes)


def _staged(
    tasks: tuple[PlanTask, ...],
    seen: Seen,
    after: Strikes,
    answer: Answer | None = None,
    **options: Any,
) -> Stage:
    def answering(_: object) -> Answering:
        return Answering(answer=answer, after=timedelta(seconds=20))

    stage = Stage(Plans({"top": tasks}), seen, answering, **options)
    for seconds, strike in after.items():
        stage.driver.after(timedelta(seconds=seconds), lambda s=strike: s(stage))  # type: ignore[misc]
    stage.start(GOAL, GoalInput(contract="top"))
    return stage


def _ended(stage: Stage) -> Stage:
    stage.driver.run()
    execution = stage.driver.executions[GOAL]
    assert execution.closed, "the goal does not end"
    check_replay(execution)
    return stage


def _slow(stage: Stage, activity: str, takes: timedelta, error: Exception | None = None) -> None:
    """Have an activity take its time, and perhaps fail."""
    attempt = stage.world.attempt

    def slowly(call: Any, now: Any) -> Attempt:
        def fails() -> Any:
            assert error is not None
            raise error

        made = attempt(call, now)
        if call.activity_type != activity:
            return made
        return Attempt(takes, made.finish if error is None else fails)

    stage.world.attempt = slowly  # type: ignore[method-assign]


def _hand(update: str, task_id: str = "") -> Callable[[Stage], Any]:
    control = (
        TaskControlInput(task_id=task_id, reason="why not") if task_id else ControlInput(reason="x")
    )
    return lambda stage: stage.driver.update(GOAL, update, control)


@pytest.mark.parametrize("events", _CUT)
def test_every_item_of_a_changed_task_runs_with_the_new_inputs(events: int) -> None:
    """Also those that begin after the goal has continued as new."""
    tasks = (
        _task("hold", WAIT, inputs={"signal": "go"}),
        _task(
            "each",
            needs=("hold",),
            inputs={"value": "old"},
            for_each=ForEach(items=tuple(range(12)), width=1),
        ),
    )
    seen = Seen([])
    change = TaskChangeInput(task_id="each", inputs={"value": "new"}, reason="better")
    strikes: Strikes = {
        1: lambda s: s.driver.update(GOAL, "change_task", change),
        2: lambda s: s.driver.signal(GOAL, "event", EventSignal(name="go")),
    }
    stage = _ended(_staged(tasks, seen, strikes, events_until_new=events))
    assert set(told(stage.last(GOAL)).values()) == {"Succeeded"}
    assert seen.given == [(f"each.{n}", "new") for n in range(12)]


@pytest.mark.parametrize("events", _CUT)
def test_items_that_are_retried_keep_to_the_width(events: int) -> None:
    """A rollout one at a time stays one at a time after `cancel_task` and `retry_task`."""
    tasks = (_task("each", for_each=ForEach(items=tuple(range(6)), width=1)),)
    strikes = {
        5: _hand("pause"),
        6: _hand("cancel_task", "each"),
        20: _hand("retry_task", "each"),
        25: _hand("resume"),
    }
    stage = _ended(_staged(tasks, Seen([]), strikes, events_until_new=events))
    assert set(told(stage.last(GOAL)).values()) == {"Succeeded"}
    for glance in stage.glances[GOAL]:
        items = [t for t in glance.progress.tasks if "." in t.id and t.state is TaskState.RUNNING]
        assert len(items) <= 1


def test_cancelled_and_retried_items_take_no_turn_from_the_others() -> None:
    """Whatever is cancelled, skipped and retried: all others come to their turn."""
    tasks = (_task("each", on_failure="continue", for_each=ForEach(items=(0,) * 9, width=2)),)
    strikes = {
        3: _hand("cancel_task", "each.4"),
        4: _hand("cancel_task", "each.5"),
        5: _hand("cancel_task", "each.0"),
        6: _hand("skip_task", "each.7"),
        12: _hand("retry_task", "each.4"),
        13: _hand("retry_task", "each.0"),
    }
    stage = _ended(_staged(tasks, Seen([]), strikes))
    ends = told(stage.last(GOAL))
    assert ends.pop("each.5") == "Cancelled"
    assert ends.pop("each.7") == "Skipped person"
    assert set(ends.values()) == {"Succeeded"}
    for glance in stage.glances[GOAL]:
        items = [t for t in glance.progress.tasks if "." in t.id and t.state is TaskState.RUNNING]
        assert len(items) <= 2


def test_an_item_whose_outcome_is_unknown_is_not_run_again_with_its_task() -> None:
    """It never runs blindly again, whether it is retried itself or with all others."""
    tasks = (_task("each", for_each=ForEach(items=(0, 1, 2), width=3)),)
    seen = Seen([], lost="each.1")
    strikes = {
        1: _hand("pause"),
        # Whoever was asked what happened need not answer any more.
        30: _hand("cancel_task", "each"),
        40: _hand("retry_task", "each"),
        41: _hand("skip_task", "each"),
        50: _hand("resume"),
    }
    stage = _ended(_staged(tasks, seen, strikes))
    assert told(stage.last(GOAL))["each.1"] == "Unknown"
    assert [name for name, _ in seen.given].count("each.1") == 1


def test_a_wait_that_is_retried_waits_for_its_whole_time_again() -> None:
    """Not only for what was left when it was cancelled."""
    tasks = (_task("soak", WAIT, inputs={"duration": "PT1M"}), _task("last", needs=("soak",)))
    strikes = {
        1: _hand("pause"),
        30: _hand("cancel_task", "soak"),
        300: _hand("retry_task", "soak"),
        301: _hand("resume"),
    }
    stage = _ended(_staged(tasks, Seen([]), strikes))
    assert set(told(stage.last(GOAL)).values()) == {"Succeeded"}
    assert stage.elapsed >= timedelta(seconds=360)


def test_a_cancellation_is_not_lost_while_the_goal_waits_to_continue_as_new() -> None:
    """A slow update holds the new run up; what the goal did is undone nevertheless."""
    tasks = tuple(
        _task(f"t{n}", needs=(f"t{n - 1}",) if n else (), inputs={"value": 1}) for n in range(20)
    )
    change = TaskChangeInput(task_id="t19", inputs={"value": 2}, reason="better")
    strikes: Strikes = {
        3: lambda s: s.driver.update(GOAL, "change_task", change),
        290: lambda s: s.driver.cancel(GOAL, "enough"),
    }
    stage = _staged(tasks, Seen([]), strikes, events_until_new=40)
    # Longer than it takes until the goal is to continue as new.
    _slow(stage, REPLAN, timedelta(seconds=300))
    _ended(stage)
    kinds = [e.kind for e in stage.world.events]
    assert kinds.count(AuditKind.GOAL_ENDED) == 1
    assert stage.last(GOAL).state.value == "RolledBack"


def test_a_lost_attempt_stays_unknown_where_nobody_can_be_asked() -> None:
    """As a failed task it could be retried blindly."""
    tasks = (_task("first"), _task("once", needs=("first",)))
    stage = _staged(tasks, Seen([], lost="once"), {})
    _slow(stage, AUTHORISE, timedelta(), GrantMismatch("not this run"))
    _ended(stage)
    assert told(stage.last(GOAL))["once"] == "Unknown"


def test_an_answer_that_does_not_count_leaves_the_outcome_unknown() -> None:
    """As when policy wants more by now than it did when people were asked."""
    tasks = (_task("first"), _task("once", needs=("first",)))
    stage = _staged(tasks, Seen([], lost="once"), {}, Answer.HAPPENED)
    _slow(stage, RESOLVE, timedelta(), GrantMismatch("asked for less than policy wants"))
    _ended(stage)
    assert told(stage.last(GOAL))["once"] == "Unknown"
    assert stage.world.undone == []


@pytest.mark.parametrize(
    ("answer", "state"),
    [(Answer.HAPPENED, "Succeeded"), (Answer.DID_NOT_HAPPEN, "Skipped stopped")],
)
def test_what_people_said_counts_though_the_goal_is_cancelled(answer: Answer, state: str) -> None:
    """It is written down first."""
    tasks = (_task("once"),)
    stage = _staged(tasks, Seen([], lost="once"), {35: _hand("cancel")}, answer)
    _slow(stage, RESOLVE, timedelta(seconds=10))
    _ended(stage)
    assert told(stage.last(GOAL))["once"] == state
