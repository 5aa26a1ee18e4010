"""How plans and goals look."""

import io
from datetime import UTC, datetime

import pytest
from rich.console import Console, RenderableType

from goalkeeper.cli.render import duration, goal_tree, plain, plan_tree, stages
from goalkeeper.domain.goal import Failure, TaskStatus
from goalkeeper.domain.operation import Risk
from goalkeeper.domain.plan import APPROVAL, GoalState, PlanTask, TaskState
from goalkeeper.domain.policy import Effect, Requirement, Verdict
from tests.unit.cli.conftest import open_request, plan_of, progress_of


def _text(shown: RenderableType, width: int = 160) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(shown)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


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
    shown = _text(goal_tree(progress_of(plan=plan_of(*tasks), tasks=tuple(states))))
    assert "CheckFailed: this one" in shown
    assert "975 more: 975 Pending" in shown
    assert len(shown.splitlines()) < 40


def test_a_goal_that_asks_says_how_to_answer() -> None:
    """The command to type stands there."""
    shown = _text(goal_tree(progress_of(GoalState.AWAITING_APPROVAL, requests=(open_request(),))))
    assert "goalkeeper approve g/approve.0" in shown


def test_a_goal_without_a_plan_shows_its_state() -> None:
    """It is being planned, or was refused."""
    shown = _text(goal_tree(progress_of(GoalState.PLANNING, plan=None, tasks=())))
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
    assert "1 min 15 s" in _text(
        goal_tree(progress, now=datetime(2030, 1, 1, 0, 1, 15, tzinfo=UTC))
    )


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
    shown = _text(goal_tree(progress_of(failure=failure)))
    assert "\x1b" not in shown
    assert "[bold]x[/bold]" in shown
