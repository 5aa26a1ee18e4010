"""`GoalWorkflow` as its callers see it: input, signal, updates, queries, search attributes."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import ConfigDict, Field

from goalkeeper.domain.approval import ApprovalRequest, Requester
from goalkeeper.domain.base import Digest, GoalId, Json, Model, Name, Reason, TaskId, digest_of
from goalkeeper.domain.contract import Contract
from goalkeeper.domain.dsse import Envelope
from goalkeeper.domain.goal import Failure, TaskStatus
from goalkeeper.domain.plan import GoalState, Plan
from goalkeeper.domain.policy import Verdict

WORKFLOW = "GoalWorkflow"
TASK_QUEUE = "goalkeeper"
SIGNAL_DECISION = "decision_made"
UPDATE_PAUSE = "pause"
UPDATE_RESUME = "resume"
UPDATE_CANCEL_TASK = "cancel_task"
UPDATE_RETRY_TASK = "retry_task"
QUERY_PROGRESS = "progress"
QUERY_APPROVALS = "approvals"

SEARCH_ATTRIBUTES: Mapping[str, str] = {
    "GoalState": "Keyword",
    "GoalContract": "Keyword",
    "GoalEnvironment": "Keyword",
    "GoalRequester": "Keyword",
}


class PlannedGoal(Model):
    """A goal after planning: frozen for its whole life, carried over continue-as-new."""

    plan: Plan
    requester: Requester
    attestation: Envelope | None = None
    """The gateway's proof of the requester, which every activity checks again."""
    verdicts: dict[TaskId, Verdict]
    policy_version: Digest
    decision_keys: dict[str, str]
    """The gateway's public keys (key id → base64) that decisions are verified with."""
    window: Annotated[int, Field(ge=1, le=500)] = 200
    """Tasks that run at a time."""


class CarriedRequest(Model):
    """An approval request and what has been decided on it so far."""

    request: ApprovalRequest
    approvers: tuple[str, ...] = ()
    """Who has approved, in order."""
    envelopes: tuple[Envelope, ...] = ()
    """Their signed decisions, in the same order."""
    closed: str | None = None
    """``approved``, ``denied`` or ``expired``."""
    failure: Failure | None = None


class Carried(Model):
    """What a goal takes with it over continue-as-new."""

    planned: PlannedGoal
    tasks: tuple[TaskStatus, ...]
    requests: tuple[CarriedRequest, ...] = ()
    effects: tuple[TaskId, ...] = ()
    """Tasks that can be compensated, in the order in which they succeeded."""
    paused: bool = False
    version: int = 0
    runs: int = 1
    """How many workflow runs the goal has had, this one included."""


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
    carried: Carried | None = None
    """Set by continue-as-new alone."""

    @property
    def digest(self) -> str:
        """What a submission's attestation is bound to."""
        body = self.model_dump(mode="json", include={"contract", "definition", "inputs"})
        return digest_of(body)


class DecisionSignal(Model):
    """The argument of ``decision_made``: loose, since an undecodable signal would vanish."""

    model_config = ConfigDict(frozen=True, extra="allow")

    envelope: Json = None


class ControlInput(Model):
    """The argument of ``pause`` and ``resume``."""

    reason: Reason = ""
    actor: Annotated[str, Field(max_length=200)] = "unknown"


class TaskControlInput(ControlInput):
    """The argument of ``cancel_task`` and ``retry_task``."""

    task_id: TaskId


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
