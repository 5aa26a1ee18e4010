"""What counts as news about a goal."""

import itertools

from goalkeeper.client.events import EventKind, changes
from goalkeeper.contracts.goal import RefusedDecision
from goalkeeper.domain.goal import Failure
from goalkeeper.domain.plan import GoalState, TaskState
from tests.unit.client.conftest import Samples


def test_the_first_look_tells_the_goal_and_every_task_that_has_begun(samples: Samples) -> None:
    """Pending tasks are no news."""
    now = samples.progress(tasks={"a": TaskState.SUCCEEDED, "b": TaskState.PENDING})
    events = list(changes(None, now))
    assert [(e.kind, e.task.id if e.task else None) for e in events] == [
        (EventKind.TASK, "a"),
        (EventKind.GOAL, None),
    ]


def test_nothing_is_told_twice(samples: Samples) -> None:
    """Two equal looks differ by no event, whatever they hold."""
    refused = (RefusedDecision(at="t", why="forged"),)
    now = samples.progress(
        tasks={"a": TaskState.RUNNING}, requests=(samples.request(),), refused_decisions=refused
    )
    assert list(changes(now, now)) == []


def test_a_retry_is_news_even_when_the_state_looks_the_same(samples: Samples) -> None:
    """A task that failed, was retried and failed again between two looks is told."""
    before = samples.progress(tasks={"a": samples.task("a", TaskState.FAILED)})
    after = samples.progress(tasks={"a": samples.task("a", TaskState.FAILED, generation=1)})
    [event] = changes(before, after)
    assert event.task is not None
    assert event.task.generation == 1
    assert "retry 1" in event.text


def test_an_approval_is_asked_counted_and_closed(samples: Samples) -> None:
    """Each step of a request is one event."""
    none = samples.progress()
    asked = samples.progress(requests=(samples.request(),))
    counted = samples.progress(requests=(samples.request(approved_by=("amy",)),))
    closed = samples.progress(
        requests=(samples.request(approved_by=("amy", "bob"), closed="approved"),)
    )
    steps = [none, asked, counted, closed]
    kinds = [[e.kind for e in changes(a, b)] for a, b in itertools.pairwise(steps)]
    assert kinds == [
        [EventKind.APPROVAL_ASKED],
        [EventKind.APPROVAL_COUNTED],
        [EventKind.APPROVAL_CLOSED],
    ]


def test_a_request_that_came_and_went_between_looks_is_told_whole(samples: Samples) -> None:
    """Nobody misses that something was asked because the answer was quick."""
    closed = samples.progress(requests=(samples.request(approved_by=("amy",), closed="denied"),))
    kinds = [e.kind for e in changes(samples.progress(), closed)]
    assert kinds == [EventKind.APPROVAL_ASKED, EventKind.APPROVAL_CLOSED]


def test_a_new_refused_decision_is_told_even_when_old_ones_were_dropped(samples: Samples) -> None:
    """The goal keeps only the latest; their number says nothing."""
    before = samples.progress(refused_decisions=(RefusedDecision(at="1", why="forged"),))
    after = samples.progress(refused_decisions=(RefusedDecision(at="2", why="late"),))
    [event] = changes(before, after)
    assert event.kind is EventKind.DECISION_REFUSED
    assert "late" in event.text


def test_the_goals_end_comes_last_and_says_why(samples: Samples) -> None:
    """Whoever stops listening at the goal's event has heard everything."""
    before = samples.progress(tasks={"a": TaskState.RUNNING})
    after = samples.progress(
        GoalState.FAILED,
        tasks={"a": TaskState.FAILED},
        failure=Failure(code="CheckFailed", message="2 tests failed"),
    )
    events = list(changes(before, after))
    assert [e.kind for e in events] == [EventKind.TASK, EventKind.GOAL]
    assert "2 tests failed" in events[-1].text
