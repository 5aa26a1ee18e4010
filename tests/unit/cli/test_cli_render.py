"""How plans and goals look."""

import io
from datetime import UTC, datetime
from typing import Any

import pytest
from rich.console import Console, RenderableType

from goalkeeper.cli.goalview import goal_view
from goalkeeper.cli.render import duration, plain, plan_tree, stages
from goalkeeper.contracts.goal import Progress
from goalkeeper.domain.approval import Question
from goalkeeper.domain.goal import Failure, TaskStatus
from goalkeeper.domain.operation import Risk
from goalkeeper.domain.plan import APPROVAL, GoalState, PlanTask, TaskState
from goalkeeper.domain.policy import Effect, Requirement, Verdict
from hitl.overview import overview
from tests.unit.cli.conftest import open_request, plan_of, progress_of


def _text(shown: RenderableType, width: int = 160) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(shown)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def _goal(progress: Progress, **options: Any) -> RenderableType:
    return goal_view(progress, overview(progress), **options)


def _task(name: str, *needs: str, operation: str = "core.noop", **more: object) -> PlanTask:
    return PlanTask.model_validate({"id": name, "operation": operation, "needs": needs, **more})


def test_tasks_stand_in_the_order_of_their_steps() -> None:
    """A step holds what may run side by side."""
    plan = plan_of(_task("a"), _task("b", "a"), _task("c", "a"), _task("d", "b", "c"))
    assert [[t.id for t in s] for s in stages(plan)] == [["a"], ["b", "c"], ["d"]]


def test_a_plan_shows_each_verdict_and_who_would_be_asked() -> None:
    """The requirement stands at the gate, once more person when nobody knows who asks."""
    plan = plan_of(
        _task("look"),
        _task("gate", "look", operation=APPROVAL, covers=["merge"]),
        _task("merge", "gate", risk=Risk.WRITE),
        _task("drop", "merge", risk=Risk.DESTRUCTIVE),
    )
    ask = Verdict(effect=Effect.ASK, requirement=Requirement(groups=("operators",)))
    verdicts = {
        "look": Verdict(effect=Effect.ALLOW, reasons=("reads",)),
        "gate": ask,
        "merge": ask,
        "drop": Verdict(effect=Effect.DENY, reasons=("never here",)),
    }
    shown = _text(plan_tree(plan, verdicts))
    assert "goes  reads" in shown
    assert "asks 1 of operators about merge, within 4 h" in shown
    assert "refused  never here" in shown
    assert "asks 2 of operators about merge" in _text(plan_tree(plan, verdicts, proven=False))


def test_a_wide_step_is_cut_and_what_matters_stays() -> None:
    """Of a thousand tasks, the one that failed is shown."""
    tasks = [_task(f"t{i}") for i in range(1000)]
    states = [TaskStatus(id=t.id, operation=t.operation) for t in tasks]
    failure = Failure(code="CheckFailed", message="this one")
    states[700] = TaskStatus(
        id="t700", operation="core.noop", state=TaskState.FAILED, failure=failure
    )
    shown = _text(_goal(progress_of(plan=plan_of(*tasks), tasks=tuple(states))))
    assert "CheckFailed: this one" in shown
    assert "1 Failed, 999 Pending" in shown
    assert len(shown.splitlines()) < 40


def test_a_step_of_more_than_a_few_tasks_shows_those_that_matter() -> None:
    """The others are counted by state."""
    tasks = [_task(f"t{i}") for i in range(60)]
    states = [TaskStatus(id=t.id, operation=t.operation) for t in tasks]
    states[50] = states[50].model_copy(update={"state": TaskState.RUNNING})
    shown = _text(_goal(progress_of(plan=plan_of(*tasks), tasks=tuple(states))))
    assert "60 side by side" in shown
    assert "t50" in shown
    assert "35 more: 35 Pending" in shown


def test_a_goal_that_asks_says_how_to_answer() -> None:
    """The command to type stands there."""
    shown = _text(_goal(progress_of(GoalState.AWAITING_APPROVAL, requests=(open_request(),))))
    assert "goalkeeper approve g/approve.0" in shown


def test_a_goal_without_a_plan_shows_its_state() -> None:
    """It is being planned, or was refused."""
    shown = _text(_goal(progress_of(GoalState.PLANNING, plan=None, tasks=())))
    assert "Planning" in shown


def test_a_running_tasks_time_goes_on() -> None:
    """Counted to now; a finished task's stands still."""
    started = TaskStatus(
        id="a",
        operation="core.noop",
        state=TaskState.RUNNING,
        started_at="2030-01-01T00:00:00.000Z",
    )
    progress = progress_of(plan=plan_of(_task("a")), tasks=(started,))
    assert "1 min 15 s" in _text(_goal(progress, now=datetime(2030, 1, 1, 0, 1, 15, tzinfo=UTC)))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0.0 s"), (0.44, "0.4 s"), (59.6, "1 min"), (200, "3 min 20 s"), (7500, "2 h 5 min")],
)
def test_durations_are_for_people(seconds: float, text: str) -> None:
    """Rounded to what one reads at a glance."""
    assert duration(seconds) == text


def test_text_from_outside_cannot_steer_the_terminal() -> None:
    """Escape sequences, line ends and right-to-left marks lose their power; markup has none."""
    assert plain("a\x1b[31mb\nc\u202ed") == "a�[31mb c�d"
    failure = Failure(code="CheckFailed", message="\x1b]0;title\x07[bold]x[/bold]")
    shown = _text(_goal(progress_of(failure=failure)))
    assert "\x1b" not in shown
    assert "[bold]x[/bold]" in shown


def test_items_are_counted_under_their_task_and_failures_named() -> None:
    """A hundred items take a few lines."""
    each = _task("each", for_each={"expression": "tasks.a", "width": 5})
    items = [TaskStatus(id=f"each.{i}", operation="core.noop") for i in range(100)]
    failure = Failure(code="CheckFailed", message="host is down")
    items[70] = items[70].model_copy(update={"state": TaskState.FAILED, "failure": failure})
    status = TaskStatus(id="each", operation="core.noop", state=TaskState.RUNNING)
    shown = _text(_goal(progress_of(plan=plan_of(each), tasks=(status, *items))))
    assert "1 Failed, 99 Pending" in shown
    assert "each.70" in shown
    assert "CheckFailed: host is down" in shown
    assert len(shown.splitlines()) < 8


def test_a_plan_says_when_and_how_often_its_tasks_run() -> None:
    """Conditions, lists, locks, and what runs at the end whatever happened."""
    plan = plan_of(
        _task("tidy", always=True),
        _task("each", for_each={"expression": "tasks.a.list", "width": 5}),
        _task("alarm", "each", run="any_failed"),
        _task("maybe", when="inputs.extra", on_failure="continue"),
        _task("deploy", lock={"name": "prod"}),
    )
    assert [t.id for t in stages(plan)[-1]] == ["tidy"]
    shown = _text(plan_tree(plan))
    for words in (
        "always, at the end",
        "for each of tasks.a.list, 5 at a time",
        "runs when any failed",
        "if inputs.extra  may fail",
        "with the lock 'prod'",
    ):
        assert words in shown


def test_a_view_keeps_to_the_lines_that_there_are() -> None:
    """A live view that is taller than its terminal hides its end."""
    tasks = [_task(f"t{i}") for i in range(300)]
    states = [TaskStatus(id=t.id, operation=t.operation, state=TaskState.RUNNING) for t in tasks]
    progress = progress_of(plan=plan_of(*tasks), tasks=tuple(states))
    assert len(_text(_goal(progress, lines=24)).splitlines()) <= 24


def test_a_lost_attempt_says_how_to_answer() -> None:
    """With the other command."""
    asked = open_request("g", Question.OUTCOME)
    shown = _text(_goal(progress_of(GoalState.AWAITING_APPROVAL, requests=(asked,))))
    assert "asks what happened g/merge.0.outcome" in shown
    assert "goalkeeper resolve g/merge.0.outcome" in shown
