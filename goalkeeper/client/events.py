"""What happens to a goal, as typed events: the difference between two looks at its progress.

It fetches nothing; `goalkeeper.client.goal` does the looking.
"""

from collections.abc import Iterator
from enum import StrEnum

from goalkeeper.client.troubles import Trouble
from goalkeeper.contracts.goal import OpenRequest, Progress, RefusedDecision
from goalkeeper.domain.approval import Question
from goalkeeper.domain.base import GoalId, Model, Name
from goalkeeper.domain.goal import Failure, TaskStatus
from goalkeeper.domain.plan import GoalState, TaskState
from hitl.choices import names
from hitl.overview import why_skipped

ENDED = frozenset(
    {
        GoalState.SUCCEEDED,
        GoalState.FAILED,
        GoalState.DENIED,
        GoalState.CANCELLED,
        GoalState.ROLLED_BACK,
    }
)
"""States that a goal does not leave."""


class EventKind(StrEnum):
    """What an event is about."""

    GOAL = "goal"
    """The goal changed its state."""
    TASK = "task"
    """A task changed its state, or was retried by a person."""
    APPROVAL_ASKED = "approval.asked"
    APPROVAL_COUNTED = "approval.counted"
    """One more person approved; more are needed."""
    APPROVAL_CLOSED = "approval.closed"
    DECISION_REFUSED = "decision.refused"
    """Somebody sent a decision that does not count."""
    TROUBLE = "trouble"
    """An attempt failed and will be repeated."""
    LOCKS = "locks"
    """The goal waits for locks, or does not any more."""


class GoalEvent(Model):
    """One change. Which of the optional fields are set follows from `kind`."""

    kind: EventKind
    goal_id: GoalId
    state: GoalState
    """The goal's state after the change."""
    task: TaskStatus | None = None
    request: OpenRequest | None = None
    refused: RefusedDecision | None = None
    failure: Failure | None = None
    trouble: Trouble | None = None
    locks: tuple[Name, ...] = ()
    """Those that the goal waits for now."""

    @property
    def text(self) -> str:
        """The event as one line for people."""
        match self.kind:
            case EventKind.TASK if self.task is not None:
                return _task_text(self.task)
            case EventKind.GOAL:
                why = f": {self.failure.message}" if self.failure else ""
                return f"goal {self.goal_id} is {self.state}{why}"
            case EventKind.DECISION_REFUSED if self.refused is not None:
                return f"a decision does not count: {self.refused.why}"
            case EventKind.LOCKS:
                locks = ", ".join(f"'{n}'" for n in self.locks)
                waits = f"waits for {locks}" if locks else "waits for no lock any more"
                return f"goal {self.goal_id} {waits}"
            case EventKind.TROUBLE if self.trouble is not None:
                return self.trouble.text
            case _ if self.request is not None:
                return _request_text(self.kind, self.request)
        return f"{self.kind} {self.goal_id}"


def _task_text(task: TaskStatus) -> str:
    why = task.failure.message if task.failure else why_skipped(task)
    again = f" (retry {task.generation})" if task.generation else ""
    earlier = " (the earlier goal's result)" if task.reused else ""
    return f"task {task.id} is {task.state}{again}{earlier}{f': {why}' if why else ''}"


def _request_text(kind: EventKind, asked: OpenRequest) -> str:
    request = asked.request
    lost = request.question is Question.OUTCOME
    noun = "question" if lost else "approval"
    if kind is EventKind.APPROVAL_ASKED:
        groups = ", ".join(request.requirement.groups) or "anyone"
        tasks = names([a.task_id for a in request.actions])
        what = f"asks whether {tasks} happened" if lost else f"asked for {tasks}"
        return f"{noun} {request.id} {what}: {asked.needed} of {groups}"
    people = ", ".join(asked.approved_by)
    if kind is EventKind.APPROVAL_COUNTED:
        return f"{noun} {request.id}: {len(asked.approved_by)} of {asked.needed} ({people})"
    by = f" by {people}" if people and asked.closed in ("approved", "answered") else ""
    return f"{noun} {request.id} is {asked.closed}{by}"


def changes(before: Progress | None, after: Progress) -> Iterator[GoalEvent]:
    """The events that lead from one look to the next: tasks, approvals, then the goal itself.

    Args:
        before: the earlier look; None at the first, when everything not pending is news.
        after: the later look.
    """
    common = {"goal_id": after.goal_id, "state": after.state}
    known = {t.id: (t.state, t.generation) for t in before.tasks} if before else {}
    for task in after.tasks:
        if known.get(task.id, (TaskState.PENDING, 0)) != (task.state, task.generation):
            yield GoalEvent(kind=EventKind.TASK, task=task, failure=task.failure, **common)
    earlier = {r.request.id: r for r in before.requests} if before else {}
    for request in after.requests:
        for kind in _request_changes(earlier.get(request.request.id), request):
            yield GoalEvent(kind=kind, request=request, **common)
    # Only the latest are kept, so that their number says nothing about which are new.
    told = set(before.refused_decisions) if before else set()
    for refused in after.refused_decisions:
        if refused not in told:
            yield GoalEvent(kind=EventKind.DECISION_REFUSED, refused=refused, **common)
    if before is None or before.state is not after.state:
        yield GoalEvent(kind=EventKind.GOAL, failure=after.failure, **common)


def _request_changes(before: OpenRequest | None, after: OpenRequest) -> Iterator[EventKind]:
    if before is None:
        yield EventKind.APPROVAL_ASKED
    if after.closed is not None:
        if before is None or before.closed is None:
            yield EventKind.APPROVAL_CLOSED
    elif len(after.approved_by) > (len(before.approved_by) if before else 0):
        yield EventKind.APPROVAL_COUNTED
