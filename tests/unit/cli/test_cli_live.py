"""Following a goal line by line."""

from goalkeeper.cli.live import lines
from goalkeeper.client import EventKind, GoalEvent
from goalkeeper.domain.approval import Question
from goalkeeper.domain.goal import Failure, TaskStatus
from goalkeeper.domain.plan import GoalState, TaskState
from tests.unit.cli.conftest import open_request


def _task(name: str, state: TaskState, **more: Failure) -> GoalEvent:
    status = TaskStatus(id=name, operation="core.noop", state=state, **more)
    return GoalEvent(kind=EventKind.TASK, goal_id="g", state=GoalState.RUNNING, task=status)


def test_a_thousand_tasks_that_move_at_once_are_counted() -> None:
    """Each failure has its line all the same, and the goal's own line comes last."""
    events = [_task(f"t{i}", TaskState.SUCCEEDED) for i in range(1000)]
    events += [_task(f"f{i}", TaskState.FAILED) for i in range(30)]
    end = GoalEvent(kind=EventKind.GOAL, goal_id="g", state=GoalState.FAILED)
    told = [line.plain for line in lines([*events, end])]
    assert told[:2] == ["task t0 is Succeeded", "task t1 is Succeeded"]
    assert told.count("980 more tasks are Succeeded") == 1
    assert sum(line.endswith("is Failed") and "task f" in line for line in told) == 30
    assert told[-1] == "goal g is Failed"
    assert len(told) == 20 + 1 + 30 + 1


def test_a_question_is_told_with_the_command_that_answers_it() -> None:
    """One for each kind."""

    def told(question: Question) -> str:
        event = GoalEvent(
            kind=EventKind.APPROVAL_ASKED,
            goal_id="g",
            state=GoalState.AWAITING_APPROVAL,
            request=open_request("g", question),
        )
        [line] = lines([event])
        return line.plain

    assert "approval g/approve.0 asked for merge" in told(Question.RUN)
    assert told(Question.RUN).endswith("(goalkeeper approve g/approve.0)")
    assert "asks whether merge happened" in told(Question.OUTCOME)
    assert "goalkeeper resolve g/merge.0.outcome --happened" in told(Question.OUTCOME)
