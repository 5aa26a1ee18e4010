"""`GoalWorkflow` as its callers see it: input, signal, updates, queries, search attributes."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BeforeValidator, ConfigDict, Field, PlainSerializer, StringConstraints

from goalkeeper.domain.approval import Action, ApprovalRequest, Requester
from goalkeeper.domain.base import (
    Digest,
    GoalId,
    Instant,
    Json,
    Model,
    Name,
    Reason,
    TaskId,
    TaskRef,
    digest_of,
)
from goalkeeper.domain.contract import Contract
from goalkeeper.domain.dsse import Envelope
from goalkeeper.domain.goal import Failure, TaskStatus
from goalkeeper.domain.plan import GoalState, Plan, PlanTask, TaskState
from goalkeeper.domain.policy import Verdict

WORKFLOW = "GoalWorkflow"
TASK_QUEUE = "goalkeeper"
SIGNAL_DECISION = "decision_made"
UPDATE_PAUSE = "pause"
UPDATE_RESUME = "resume"
UPDATE_CANCEL_TASK = "cancel_task"
UPDATE_RETRY_TASK = "retry_task"
UPDATE_SKIP_TASK = "skip_task"
UPDATE_CHANGE_TASK = "change_task"
UPDATE_CANCEL = "cancel"
SIGNAL_EVENT = "event"
"""`EventSignal`: lets a task that waits for a signal of that name go on."""
SIGNAL_LOCK = "lock_granted"
"""`LockGranted`, from the lock's own workflow."""
QUERY_PROGRESS = "progress"
QUERY_SUMMARY = "summary"
QUERY_APPROVALS = "approvals"

SEARCH_ATTRIBUTES: Mapping[str, str] = {
    "GoalState": "Keyword",
    "GoalContract": "Keyword",
    "GoalEnvironment": "Keyword",
    "GoalRequester": "Keyword",
}


Pool = Literal["workflows", "connectors", "sandbox"]
"""A kind of worker. A pool named in the setting `pools` polls the queue ``TASK_QUEUE-POOL``."""


ClaimId = Annotated[str, StringConstraints(max_length=64)]
"""One claim of a goal on its locks: from when it first asks to when it gives them back."""


def planning_queue(task_queue: str) -> str:
    """Where goals are planned: apart, and a few at a time.

    Planning is the door: a storm of new goals waits in front of it, and not among the steps of
    the goals that are under way, where a person's decision would have to wait behind it.
    """
    return f"{task_queue}-planning"


class Phase(StrEnum):
    """How far a goal is."""

    TASKS = "tasks"
    COMPENSATION = "compensation"
    FINALLY = "finally"
    """The tasks that always run."""


class ChangedTask(Model):
    """A task as it is after a person changed its inputs."""

    task: PlanTask
    verdict: Verdict


class PlannedGoal(Model):
    """A goal after planning: frozen for its whole life, carried over continue-as-new."""

    plan: Plan
    requester: Requester
    attestation: Envelope | None = None
    """The gateway's proof of the requester, which every activity checks again; child goals act on
    it too."""
    verdicts: dict[TaskId, Verdict]
    policy_version: Digest
    plan_digest: Digest
    decision_keys: dict[str, str]
    """The gateway's public keys (key id → base64) that decisions are verified with."""
    window: Annotated[int, Field(ge=1, le=500)] = 200
    """Tasks that run at a time."""
    pools: tuple[Pool, ...] = ()
    """The worker pools that have a task queue of their own."""
    reused: tuple[TaskStatus, ...] = ()
    """Of a rerun: earlier results that are not made again, checked against the record."""


class CarriedRequest(Model):
    """An approval request and what has been decided on it so far."""

    request: ApprovalRequest
    approvers: tuple[str, ...] = ()
    """Who has approved, in order."""
    envelopes: tuple[Envelope, ...] = ()
    """Their signed decisions, in the same order."""
    closed: str | None = None
    """``approved``, ``denied``, ``expired``, ``withdrawn``, ``replaced`` (it is asked
    anew) or ``answered`` (an outcome)."""
    failure: Failure | None = None


class CarriedLocks(Model):
    """Which locks a goal has."""

    wanted: bool = False
    held: dict[Name, int] = {}
    """Lock → the token it was granted with."""
    lost: dict[Name, int] = {}
    """Lock → the token of the grant that was given back while people were asked."""
    claim: ClaimId = ""
    moves: Annotated[int, Field(ge=0)] = 0
    """How often somebody else had one of the locks while people were asked."""
    heard: dict[str, int] = {}
    """Task → of how many of these it knows."""
    hold_until: Instant | None = None


class Carried(Model):
    """What a goal takes with it over continue-as-new."""

    planned: PlannedGoal
    tasks: tuple[TaskStatus, ...]
    requests: tuple[CarriedRequest, ...] = ()
    effects: tuple[TaskRef, ...] = ()
    """Tasks that can be compensated, in the order in which they succeeded."""
    ran: tuple[Action, ...] = ()
    """What some of them ran, where it cannot be resolved again: what they used was read anew."""
    items: dict[TaskId, tuple[Json, ...]] = {}
    """The lists of the tasks that run for each item of one, once they are known."""
    changed: tuple[ChangedTask, ...] = ()
    """Tasks whose inputs a person changed."""
    events: dict[Name, Json] = {}
    """Events that came before anything waited for them."""
    deadlines: dict[TaskRef, Instant] = {}
    """When running waits end."""
    locks: CarriedLocks = CarriedLocks()
    phase: Phase = Phase.TASKS
    failure: Failure | None = None
    ending: GoalState | None = None
    """Once the tasks are over: how the goal ends."""
    cancelled: bool = False
    compensate: bool = True
    """Whether a cancelled goal is undone."""
    paused: bool = False
    version: int = 0
    runs: int = 1
    """How many workflow runs the goal has had, this one included."""
    definition: str = ""
    """The contract, if it was given whole, as JSON text: only a rerun reads it."""


def _from_text(value: object) -> object:
    return Carried.model_validate_json(value) if isinstance(value, str) else value


def _as_text(carried: Carried | None) -> str | None:
    return None if carried is None else carried.model_dump_json()


class ParentGoal(Model):
    """Whose child a goal is."""

    goal_id: GoalId
    task_id: TaskRef
    root: GoalId
    """The goal at the top, which the locks belong to."""
    depth: Annotated[int, Field(ge=1, le=8)] = 1


class RerunOf(Model):
    """Which goal to run again, and from where."""

    goal_id: GoalId
    from_task: TaskId
    """This task and everything that comes after it runs anew; the rest keeps its result."""


_ATTESTED = {"contract", "definition", "inputs", "rerun", "rollback"}


class GoalInput(Model):
    """The one argument of ``GoalWorkflow``: ``{"contract": "read-file", "inputs": {…}}``."""

    contract: Name | None = None
    """A contract that the worker knows by name."""
    definition: Contract | None = None
    """A contract given whole, instead of a name."""
    inputs: dict[str, Json] = {}
    requester: Annotated[str, Field(max_length=200)] = "unknown"
    """Who says to be asking; believed only with an `attestation`."""
    attestation: Envelope | None = None
    """The gateway's signed `Submission`."""
    parent: ParentGoal | None = None
    """Of a child goal: whose."""
    rerun: RerunOf | None = None
    """Instead of a contract: run a finished goal again from one task on."""
    rollback: GoalId | None = None
    """Instead of a contract: undo what a finished goal did."""
    carried: Annotated[
        Carried | None,
        BeforeValidator(_from_text),
        PlainSerializer(_as_text, return_type=str | None, when_used="json"),
    ] = None
    """Set by continue-as-new alone. As JSON text within the JSON: otherwise the SDK makes Python
    objects of every value first, which costs a large goal more than all else in a new run."""

    def carrying(self, carried: Carried) -> "GoalInput":
        """The input of the next run: of the contract, which is planned, only the text goes on."""
        text = self.definition.model_dump_json() if self.definition else ""
        earlier = self.carried.definition if self.carried else ""
        kept = carried.model_copy(update={"definition": text or earlier})
        return self.model_copy(update={"definition": None, "carried": kept})

    def whole(self) -> "GoalInput":
        """The input as it was before it was carried over."""
        text = self.carried.definition if self.carried else ""
        definition = Contract.model_validate_json(text) if text else self.definition
        return self.model_copy(update={"definition": definition, "carried": None})

    @property
    def digest(self) -> str:
        """What a submission's attestation is bound to."""
        body = self.model_dump(mode="json", include=_ATTESTED)
        return digest_of(body)


class DecisionSignal(Model):
    """The argument of ``decision_made``: loose, since an undecodable signal would vanish."""

    model_config = ConfigDict(frozen=True, extra="allow")

    envelope: Json = None


class ControlInput(Model):
    """The argument of ``pause`` and ``resume``."""

    reason: Reason = ""
    actor: Annotated[str, Field(max_length=200)] = "unknown"


class CancelInput(ControlInput):
    """The argument of ``cancel``; Temporal's own cancellation does the same with `compensate`."""

    compensate: bool = True


class TaskControlInput(ControlInput):
    """The argument of ``cancel_task``, ``retry_task`` and ``skip_task`` (which wants a reason)."""

    task_id: TaskRef


class TaskChangeInput(ControlInput):
    """The argument of ``change_task``."""

    task_id: TaskId
    inputs: Annotated[dict[str, Json], Field(min_length=1)]
    """Input → new value; the others stay."""


class EventSignal(Model):
    """The argument of the signal ``event``: loose, since an undecodable signal would vanish."""

    model_config = ConfigDict(frozen=True, extra="allow")

    name: Json = None
    payload: Json = None


class LockGranted(Model):
    """The argument of the signal ``lock_granted``."""

    name: Name
    token: Annotated[int, Field(ge=1)]
    """Rises by one with each grant: one more than the last means nobody had the lock since."""
    claim: ClaimId = ""
    """Which claim it answers: a goal gives back a grant of one that it has withdrawn."""


class OpenRequest(Model):
    """One approval request as ``approvals`` answers it."""

    request: ApprovalRequest
    digest: Digest
    needed: int
    approved_by: tuple[str, ...] = ()
    closed: str | None = None


class RefusedDecision(Model):
    """A decision that did not count, kept for whoever asks why."""

    at: str
    why: str


class Summary(Model):
    """The answer of the query ``summary``: small, whatever the goal's size."""

    goal_id: GoalId
    contract: str
    environment: str = ""
    state: GoalState
    version: int
    counts: dict[TaskState, int] = {}
    open_requests: int = 0
    waits_for_locks: tuple[Name, ...] = ()
    failure: Failure | None = None


class Progress(Model):
    """The answer of the query ``progress``."""

    goal_id: GoalId
    contract: str
    environment: str = ""
    state: GoalState
    version: int
    """Rises with every change."""
    requester: Requester
    plan: Plan | None = None
    verdicts: dict[TaskId, Verdict] = {}
    tasks: tuple[TaskStatus, ...] = ()
    requests: tuple[OpenRequest, ...] = ()
    refused_decisions: tuple[RefusedDecision, ...] = ()
    failure: Failure | None = None
