"""What one goal knows about itself between two steps, and how it is carried over.

It holds and derives; it never starts an activity or waits.
"""

from base64 import b64decode
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from temporalio import workflow

from goalkeeper.contracts.activities import Asker
from goalkeeper.contracts.goal import (
    Carried,
    CarriedRequest,
    ChangedTask,
    OpenRequest,
    ParentGoal,
    Phase,
    PlannedGoal,
    RefusedDecision,
)
from goalkeeper.domain.approval import (
    Action,
    Answer,
    ApprovalRequest,
    Decision,
    Grant,
    Question,
    needed_approvals,
)
from goalkeeper.domain.base import Json, iso
from goalkeeper.domain.dsse import Envelope
from goalkeeper.domain.goal import Failure, Skip, TaskStatus
from goalkeeper.domain.plan import OnFailure, PlanTask, RunRule, TaskState
from goalkeeper.domain.policy import Verdict

_REFUSED_KEPT = 50
ENDED = frozenset(
    {
        TaskState.SUCCEEDED,
        TaskState.FAILED,
        TaskState.SKIPPED,
        TaskState.CANCELLED,
        TaskState.COMPENSATED,
        TaskState.UNKNOWN,
    }
)
BAD = frozenset({TaskState.FAILED, TaskState.CANCELLED, TaskState.UNKNOWN})
HANDLERS = frozenset({RunRule.ALL_DONE, RunRule.ANY_FAILED})
"""Tasks with these rules run although the goal stops."""
_WITH_OUTPUTS = frozenset({TaskState.SUCCEEDED, TaskState.COMPENSATED})
_PASSED_OVER = frozenset({Skip.CONDITION, Skip.PERSON})


@dataclass
class Asked:
    """A question to people, and what has been answered so far."""

    request: ApprovalRequest
    digest: str
    envelopes: dict[str, Envelope] = field(default_factory=dict)
    """The answers that count and agree: person → envelope."""
    answer: Answer | None = None
    """What they agree on."""
    closed: str | None = None
    """See `CarriedRequest.closed`; ``replaced`` when the same is asked anew."""
    failure: Failure | None = None

    def grant(self) -> Grant:
        """The request with its signed answers."""
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

    def __init__(
        self, planned: PlannedGoal, carried: Carried | None, parent: ParentGoal | None = None
    ) -> None:
        info = workflow.info()
        self.goal_id = info.workflow_id
        self.root = parent.root if parent else info.workflow_id
        self.depth = parent.depth if parent else 0
        self.planned = planned
        self.plan = planned.plan
        self.plan_digest = planned.plan_digest
        # Without the gateway's proof, which would stand in history again and again: the worker has
        # kept it since the goal was planned.
        self.asker = Asker(
            requester=planned.requester,
            contract=planned.plan.contract,
            run=info.first_execution_run_id,
        )
        self.by_id: dict[str, PlanTask] = {t.id: t for t in planned.plan.tasks}
        self.verdicts: dict[str, Verdict] = planned.verdicts
        self.tasks: dict[str, TaskStatus] = {
            t.id: TaskStatus(id=t.id, operation=t.operation) for t in planned.plan.tasks
        }
        self._untouched = dict(self.tasks)
        self.items: dict[str, tuple[Json, ...]] = {}
        self.each: dict[str, dict[str, Json]] = {}
        """Instance of a task with `for_each` → what expressions see as ``each``."""
        self.changed: dict[str, ChangedTask] = {}
        self.events: dict[str, Json] = {}
        self.deadlines: dict[str, datetime] = {}
        self.keys: dict[str, str] = dict(planned.decision_keys)
        self.asked: dict[str, Asked] = {}
        self.latest: dict[str, Asked] = {}
        """``TASK.GENERATION``, for outcomes with ``-outcome`` → the last question about it."""
        self._covering: dict[tuple[str, int], Asked] = {}
        """Task and generation → who was asked last whether it may run."""
        self.effects: list[str] = []
        """Tasks that can be undone, in the order in which they succeeded."""
        self.ran: dict[str, Action] = {}
        """Task → what it ran, where what it used has been read anew since."""
        self.refused: list[RefusedDecision] = []
        self.refusals = 0
        self.phase = Phase.TASKS
        self.seen: dict[str, Json] = {"id": self.goal_id, "state": "", "failure": None}
        """What the tasks that always run see as ``goal``."""
        self.runs = 1
        self.version = 0
        self.moved: Callable[[], None] = lambda: None
        """Told after each change of a task's state."""
        self._stoppers: dict[str, None] = {}
        """Tasks whose end stops the goal, in the order in which they ended."""
        self._counts: dict[TaskState, int] = dict.fromkeys(TaskState, 0)
        self._reuse(planned.reused)
        if carried is not None:
            self._restore(carried)
        self._counts = dict.fromkeys(TaskState, 0)
        for task in self.tasks.values():
            self._counts[task.state] += 1
            self._note(task.id)

    def _reuse(self, statuses: Sequence[TaskStatus]) -> None:
        """Begin with an earlier goal's results; what its items were nobody needs any more."""
        items = Counter(s.id.partition(".")[0] for s in statuses if "." in s.id)
        for task_id, count in items.items():
            self.expand(task_id, [None] * count)
        self.tasks.update({s.id: s for s in statuses})

    def _restore(self, carried: Carried) -> None:
        # Before the lists: an item runs what its task is by now.
        for change in carried.changed:
            self.change(change)
        for task_id, items in carried.items.items():
            self.expand(task_id, items)
        self.tasks.update({s.id: s for s in carried.tasks})
        self.events, self.deadlines = dict(carried.events), dict(carried.deadlines)
        self.effects = list(carried.effects)
        self.ran = {a.task_id: a for a in carried.ran}
        self.phase = carried.phase
        self.version, self.runs = carried.version, carried.runs + 1
        for old in carried.requests:
            asked = Asked(
                request=old.request,
                digest=old.request.digest,
                envelopes=dict(zip(old.approvers, old.envelopes, strict=True)),
                answer=_answer_of(old.envelopes),
                closed=old.closed,
                failure=old.failure,
            )
            self.remember(asked)

    def carry(self, **changes: Any) -> Carried:
        """Everything that the next run needs; what the record does not know is in `changes`."""
        return Carried(
            planned=self.planned,
            # The rest is as the plan makes it.
            tasks=tuple(t for i, t in self.tasks.items() if t is not self._untouched.get(i)),
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
            ran=tuple(self.ran.values()),
            items=self.items,
            changed=tuple(self.changed.values()),
            events=self.events,
            deadlines=self.deadlines,
            phase=self.phase,
            version=self.version,
            runs=self.runs,
            **changes,
        )

    # Tasks.

    def set(self, task_id: str, state: TaskState, **changes: Any) -> None:
        """Move a task to a state."""
        now = iso(workflow.now())
        if state is TaskState.RUNNING:
            changes.setdefault("started_at", now)
        if state in ENDED and state is not TaskState.COMPENSATED:
            changes.setdefault("ended_at", now)
        before = self.tasks[task_id]
        self.tasks[task_id] = before.model_copy(update={"state": state, **changes})
        self._counts[before.state] -= 1
        self._counts[state] += 1
        self._note(task_id)
        self.version += 1
        self.moved()

    def _note(self, task_id: str) -> None:
        tolerated = self.by_id[task_id].on_failure is OnFailure.CONTINUE
        if self.tasks[task_id].state in BAD and not tolerated:
            self._stoppers.setdefault(task_id)
        else:
            self._stoppers.pop(task_id, None)

    def again(self, task_id: str) -> None:
        """A task is to run again: a new generation, which is approved anew."""
        self.ran.pop(task_id, None)
        self.set(
            task_id,
            TaskState.PENDING,
            generation=self.tasks[task_id].generation + 1,
            outputs=None,
            failure=None,
            skipped=None,
            reason="",
            started_at=None,
            ended_at=None,
        )

    def skip(self, task_id: str, why: Skip, reason: str = "") -> None:
        """A task does not run."""
        self.set(task_id, TaskState.SKIPPED, skipped=why, reason=reason, failure=None)

    def count(self, *states: TaskState) -> int:
        """How many tasks are in any of these states, without looking at each."""
        return sum(self._counts[s] for s in states)

    @property
    def counts(self) -> dict[TaskState, int]:
        """State → how many tasks are in it, those without any left out."""
        return {state: n for state, n in self._counts.items() if n}

    @property
    def bad(self) -> bool:
        """Whether a task ended in a way that stops the goal."""
        return any(not self.questioned(t) for t in self._stoppers)

    def stops(self, task_id: str) -> bool:
        """Whether the end of this task stops the goal."""
        return task_id in self._stoppers

    def stoppers(self) -> list[str]:
        """The tasks whose end stops the goal, first what is unknown, then in the order of ends."""
        unknown = [t for t in self._stoppers if self.state(t) is TaskState.UNKNOWN]
        return unknown + [t for t in self._stoppers if self.state(t) is not TaskState.UNKNOWN]

    def questioned(self, task_id: str) -> bool:
        """Whether people are asked what became of a lost attempt, or their answer is taken in."""
        status = self.tasks[task_id]
        if status.state is not TaskState.UNKNOWN:
            return False
        asked = self.latest.get(f"{task_id}.{status.generation}-outcome")
        return asked is not None and asked.closed in (None, "answered")

    def state(self, task_id: str) -> TaskState:
        """Where a task stands."""
        return self.tasks[task_id].state

    def settled(self, task_id: str) -> bool:
        """Whether a task has ended for good, so that what needs it may be looked at."""
        return self.tasks[task_id].state in ENDED and not self.questioned(task_id)

    def fulfilled(self, task_id: str) -> bool:
        """Whether it succeeded, or was passed over in a way that lets others go on."""
        status = self.tasks[task_id]
        if status.state is TaskState.SKIPPED:
            return status.skipped in _PASSED_OVER
        return status.state is TaskState.SUCCEEDED

    def in_state(self, *states: TaskState) -> Iterable[TaskStatus]:
        """The tasks in any of these states, in plan order."""
        return [t for t in self.tasks.values() if t.state in states]

    # Tasks that run for each item of a list.

    def expand(self, task_id: str, items: Sequence[Json]) -> list[str]:
        """Make a task's instances, one an item, and return their ids."""
        parent = self.by_id[task_id]
        self.items[task_id] = tuple(items)
        made = []
        for index, item in enumerate(items):
            ident = f"{task_id}.{index}"
            self.by_id[ident] = parent.model_copy(update={"id": ident, "for_each": None})
            self.each[ident] = {"item": item, "index": index}
            self.tasks.setdefault(ident, TaskStatus(id=ident, operation=parent.operation))
            made.append(ident)
            self._counts[TaskState.PENDING] += 1
        return made

    def forget_lists(self) -> None:
        """Lists of tasks that have not begun are evaluated anew when their turn comes."""
        for task_id in list(self.items):
            if self.state(task_id) is not TaskState.PENDING:
                continue
            for ident in self.instances(task_id):
                self._counts[self.tasks.pop(ident).state] -= 1
                self._stoppers.pop(ident, None)
                del self.by_id[ident], self.each[ident]
            del self.items[task_id]

    def instances(self, task_id: str) -> list[str]:
        """The ids of a task's instances; none where it has no list, or not yet."""
        return [f"{task_id}.{n}" for n in range(len(self.items.get(task_id, ())))]

    def parent_of(self, task_id: str) -> str | None:
        """The task that an instance belongs to."""
        return task_id.partition(".")[0] if task_id in self.each else None

    def change(self, change: ChangedTask) -> None:
        """Take a task as a person has changed it."""
        ident = change.task.id
        self.changed[ident] = change
        self.by_id[ident] = change.task
        self.verdicts = {**self.verdicts, ident: change.verdict}
        self.version += 1

    def verdict(self, task_id: str) -> Verdict | None:
        """What policy said of a task when the plan was made or the task changed."""
        return self.verdicts.get(self.parent_of(task_id) or task_id)

    # Expressions.

    def scope(self, task_id: str) -> dict[str, Any]:
        """What the expressions of a task see."""
        scope: dict[str, Any] = {"tasks": _Outputs(self.tasks), "states": _States(self.tasks)}
        if task_id in self.each:
            scope["each"] = self.each[task_id]
        if self.by_id[task_id].always:
            scope["goal"] = self.seen
        return scope

    def outputs(self) -> Mapping[str, Json]:
        """The outputs of every task that succeeded."""
        return _Outputs(self.tasks)

    # People.

    def remember(self, asked: Asked) -> None:
        """Keep a question, so that the last one about each action is found at once."""
        request = asked.request
        self.asked[request.id] = asked
        self.latest[_about(request.id)] = asked
        if request.question is Question.RUN:
            self._covering.update({(a.task_id, a.generation): asked for a in request.actions})
        self.version += 1

    def approved(self, action: Action) -> tuple[Action, Grant] | None:
        """The same action as people approved it, with their grant.

        The two differ at most in the version of policy, which may be newer than the plan.
        """
        asked = self._covering.get((action.task_id, action.generation))
        if asked is None or asked.closed != "approved":
            return None
        for covered in asked.request.actions:
            if covered == action.model_copy(update={"policy_version": covered.policy_version}):
                return covered, asked.grant()
        return None

    def open_requests(self) -> list[Asked]:
        """What people have yet to answer."""
        return [a for a in self.asked.values() if a.closed is None]

    def refuse(self, why: str) -> None:
        """Keep a decision that does not count, for whoever asks why."""
        self.refusals += 1
        self.version += 1
        if len(self.refused) < _REFUSED_KEPT:
            self.refused.append(RefusedDecision(at=iso(workflow.now()), why=why))


def _answer_of(envelopes: Sequence[Envelope]) -> Answer | None:
    """What counted answers say; they were verified before they were carried over."""
    if not envelopes:
        return None
    return Decision.model_validate_json(b64decode(envelopes[0].payload)).answer


def _about(request_id: str) -> str:
    """What a request is about: its id without the goal and the revision."""
    tail = request_id.partition("/")[2]
    head, _, suffix = tail.rpartition("-")
    return head if head and suffix.isdigit() else tail


class _Outputs(Mapping[str, Json]):
    """Outputs by task id, without copying them all for each task.

    What was undone still shows what it had been: tasks that always run may clear up after it.
    """

    def __init__(self, tasks: Mapping[str, TaskStatus]) -> None:
        self._tasks = tasks

    def __getitem__(self, key: str) -> Json:
        task = self._tasks[key]
        if task.state not in _WITH_OUTPUTS:
            raise KeyError(key)
        return task.outputs

    def __iter__(self) -> Iterator[str]:
        return (k for k, t in self._tasks.items() if t.state in _WITH_OUTPUTS)

    def __len__(self) -> int:
        return sum(1 for _ in self)


class _States(Mapping[str, str]):
    """States by task id."""

    def __init__(self, tasks: Mapping[str, TaskStatus]) -> None:
        self._tasks = tasks

    def __getitem__(self, key: str) -> str:
        return self._tasks[key].state.value

    def __iter__(self) -> Iterator[str]:
        return iter(self._tasks)

    def __len__(self) -> int:
        return len(self._tasks)
