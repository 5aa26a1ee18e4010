"""What one goal knows about itself between two steps, and how it is carried over.

It holds and derives; it never starts an activity or waits.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from temporalio import workflow

from goalkeeper.contracts.activities import Asker
from goalkeeper.contracts.goal import (
    Carried,
    CarriedRequest,
    OpenRequest,
    PlannedGoal,
    RefusedDecision,
)
from goalkeeper.domain.approval import (
    Action,
    ApprovalRequest,
    Grant,
    needed_approvals,
)
from goalkeeper.domain.base import Json, iso
from goalkeeper.domain.dsse import Envelope
from goalkeeper.domain.goal import Failure, TaskStatus
from goalkeeper.domain.plan import PlanTask, TaskState

_REFUSED_KEPT = 50
FINAL = frozenset(
    {
        TaskState.SUCCEEDED,
        TaskState.FAILED,
        TaskState.SKIPPED,
        TaskState.CANCELLED,
        TaskState.COMPENSATED,
        TaskState.UNKNOWN,
    }
)


@dataclass
class Asked:
    """An approval request, and what has been decided on it."""

    request: ApprovalRequest
    digest: str
    envelopes: dict[str, Envelope] = field(default_factory=dict)
    """Approvals that count: person → envelope."""
    closed: str | None = None
    failure: Failure | None = None

    def grant(self) -> Grant:
        """The request with its signed approvals."""
        return Grant(request=self.request, decisions=tuple(self.envelopes.values()))

    def view(self) -> OpenRequest:
        """As queries show it."""
        return OpenRequest(
            request=self.request,
            digest=self.digest,
            needed=needed_approvals(self.request),
            approved_by=tuple(self.envelopes),
            closed=self.closed,
        )


class GoalRecord:
    """The state of a planned goal."""

    def __init__(self, planned: PlannedGoal, carried: Carried | None) -> None:
        self.planned = planned
        self.plan = planned.plan
        self.by_id: dict[str, PlanTask] = {t.id: t for t in planned.plan.tasks}
        self.tasks: dict[str, TaskStatus] = {
            t.id: TaskStatus(id=t.id, operation=t.operation) for t in planned.plan.tasks
        }
        self.keys: dict[str, str] = dict(planned.decision_keys)
        self.asked: dict[str, Asked] = {}
        self.effects: list[str] = []
        self.refused: list[RefusedDecision] = []
        self.refusals = 0
        self.runs = 1
        self.version = 0
        self.plan_digest = planned.plan.digest
        self.asker = Asker(
            requester=planned.requester,
            attestation=planned.attestation,
            contract=planned.plan.contract,
            run=workflow.info().first_execution_run_id,
        )
        if carried is not None:
            self._restore(carried)
        self._counts: dict[TaskState, int] = dict.fromkeys(TaskState, 0)
        for task in self.tasks.values():
            self._counts[task.state] += 1

    def _restore(self, carried: Carried) -> None:
        self.tasks.update({s.id: s for s in carried.tasks})
        self.effects = list(carried.effects)
        self.version, self.runs = carried.version, carried.runs + 1
        for old in carried.requests:
            self.asked[old.request.id] = Asked(
                request=old.request,
                digest=old.request.digest,
                envelopes=dict(zip(old.approvers, old.envelopes, strict=True)),
                closed=old.closed,
                failure=old.failure,
            )

    def carry(self, *, paused: bool) -> Carried:
        """Everything that the next run needs."""
        return Carried(
            planned=self.planned,
            tasks=tuple(self.tasks.values()),
            requests=tuple(
                CarriedRequest(
                    request=a.request,
                    approvers=tuple(a.envelopes),
                    envelopes=tuple(a.envelopes.values()),
                    closed=a.closed,
                    failure=a.failure,
                )
                for a in self.asked.values()
            ),
            effects=tuple(self.effects),
            paused=paused,
            version=self.version,
            runs=self.runs,
        )

    def set(self, task_id: str, state: TaskState, **changes: Any) -> None:
        """Move a task to a state."""
        now = iso(workflow.now())
        if state is TaskState.RUNNING:
            changes.setdefault("started_at", now)
        if state in FINAL and state is not TaskState.COMPENSATED:
            changes.setdefault("ended_at", now)
        before = self.tasks[task_id]
        self.tasks[task_id] = before.model_copy(update={"state": state, **changes})
        self._counts[before.state] -= 1
        self._counts[state] += 1
        self.version += 1

    def count(self, *states: TaskState) -> int:
        """How many tasks are in any of these states, without looking at each."""
        return sum(self._counts[s] for s in states)

    @property
    def bad(self) -> bool:
        """Whether a task ended in a way that stops the goal."""
        return self.count(TaskState.FAILED, TaskState.CANCELLED, TaskState.UNKNOWN) > 0

    def state(self, task_id: str) -> TaskState:
        """Where a task stands."""
        return self.tasks[task_id].state

    def outputs(self) -> Mapping[str, Json]:
        """The outputs of every task that succeeded."""
        return _Outputs(self.tasks)

    def in_state(self, *states: TaskState) -> Iterable[TaskStatus]:
        """The tasks in any of these states, in plan order."""
        return [t for t in self.tasks.values() if t.state in states]

    def approved(self, action: Action) -> tuple[Action, Grant] | None:
        """The same action as people approved it, with their grant.

        The two differ at most in the version of policy, which may be newer than the plan.
        """
        for asked in self.asked.values():
            for covered in asked.request.actions if asked.closed == "approved" else ():
                if covered == action.model_copy(update={"policy_version": covered.policy_version}):
                    return covered, asked.grant()
        return None

    def refuse(self, why: str) -> None:
        """Keep a decision that does not count, for whoever asks why."""
        self.refusals += 1
        self.version += 1
        if len(self.refused) < _REFUSED_KEPT:
            self.refused.append(RefusedDecision(at=iso(workflow.now()), why=why))


class _Outputs(Mapping[str, Json]):
    """Outputs by task id, without copying them all for each task."""

    def __init__(self, tasks: Mapping[str, TaskStatus]) -> None:
        self._tasks = tasks

    def __getitem__(self, key: str) -> Json:
        task = self._tasks[key]
        if task.state is not TaskState.SUCCEEDED:
            raise KeyError(key)
        return task.outputs

    def __iter__(self) -> Any:
        return (k for k, t in self._tasks.items() if t.state is TaskState.SUCCEEDED)

    def __len__(self) -> int:
        return sum(1 for _ in self)
