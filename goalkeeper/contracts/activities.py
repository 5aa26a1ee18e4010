"""The activities as the workflow sees them: their names, one model in, one model out."""

from typing import Any

from pydantic import SerializerFunctionWrapHandler, model_serializer

from goalkeeper.contracts.goal import ClaimId, GoalInput
from goalkeeper.domain.approval import Action, Grant, Requester
from goalkeeper.domain.audit import AuditEvent
from goalkeeper.domain.base import (
    Digest,
    GoalId,
    Instant,
    Json,
    Model,
    Name,
    OperationName,
    TaskRef,
)
from goalkeeper.domain.dsse import Envelope
from goalkeeper.domain.evidence import Evidence
from goalkeeper.domain.operation import Risk
from goalkeeper.domain.plan import PlanTask
from goalkeeper.domain.policy import Verdict

PLAN = "goal.plan"
"""`PlanInput` → `PlannedGoal`: compile, pin, judge. Raises when policy refuses a task."""
AUTHORISE = "goal.authorise"
"""`AuthoriseInput` → `AuthoriseResult`: policy again, on resolved actions."""
DECISION_KEYS = "goal.decision_keys"
"""→ `KeysResult`: the gateway's public keys as they are now."""
RECORD = "audit.record"
"""`RecordInput`: append what the workflow itself decided."""
EXECUTE = "connector.execute"
"""`ExecuteInput` → `ExecuteResult`: one governed attempt at one operation."""
REPLAN = "goal.replan"
"""`ReplanInput` → `ChangedTask`: a task with other inputs, validated, pinned and judged."""
RESOLVE = "connector.resolve"
"""`ResolveInput` → `ExecuteResult`: write down what people say became of a lost attempt."""
CHILD_RESULT = "goal.child_result"
"""`HolderInput` → `GoalResult`: wait for a child goal that an earlier run has started."""
LOCK = "lock.request"
"""`LockRequest`: start the lock's workflow where needed, and queue up."""
HOLDS = "lock.holds"
"""`HolderInput` → `HolderResult`: whether a goal still runs, asked by a lock's workflow."""
COMPENSATE = "connector.compensate"
"""`CompensateInput` → `ExecuteResult`: undo one task by what the ledger says it did."""
CLEAN_UP = "goal.clean_up"
"""`CleanUpInput`: revoke leases and remove containers that lost attempts left."""


class PlanInput(Model):
    """What to plan."""

    goal_id: GoalId
    goal: GoalInput


class Asker(Model):
    """On whose behalf an activity acts, with the proof where there is one."""

    requester: Requester
    attestation: Envelope | None = None
    """None: the one that the goal was planned with, which the ledger has."""
    contract: str
    run: str
    """The first run id of the goal's workflow."""


class AuthoriseInput(Model):
    """Actions to judge now, on their resolved inputs."""

    asker: Asker
    actions: tuple[Action, ...]


class AuthoriseResult(Model):
    """One verdict for all of them, the strictest."""

    verdict: Verdict
    policy_version: Digest
    at: Instant
    """When: a request's times come from here, since history keeps it to the millisecond. The
    workflow's own clock after a local activity differs by some when it is replayed."""


class KeysResult(Model):
    """Public keys: key id → base64."""

    keys: dict[str, str]


class RecordInput(Model):
    """Events to append."""

    events: tuple[AuditEvent, ...]


class GoalOnRecord(Model):
    """What all actions of a goal have in common; the ledger keeps it from planning on."""

    asker: Asker
    plan_digest: Digest
    environment: Name
    policy_version: Digest


class Step(Model):
    """An action without what all actions of its goal have in common: history's bytes are dear."""

    task_id: TaskRef
    generation: int = 0
    operation: OperationName
    inputs: dict[str, Json] = {}
    credentials: dict[str, Name] = {}
    egress: tuple[str, ...] = ()
    undoes: str | None = None
    policy_version: Digest | None = None
    """Of the policy that asked people; None: of the one that the goal was planned under."""

    @classmethod
    def of(cls, action: Action, planned_under: Digest) -> "Step":
        """What is particular about an action."""
        version = action.policy_version
        return cls(
            task_id=action.task_id,
            generation=action.generation,
            operation=action.operation,
            inputs=action.inputs,
            credentials=action.credentials,
            egress=action.egress,
            undoes=action.undoes,
            policy_version=None if version == planned_under else version,
        )

    def action(self, goal_id: GoalId, goal: GoalOnRecord) -> Action:
        """The whole action; risk and compensation are the operation's, which the worker knows."""
        return Action(
            goal_id=goal_id,
            task_id=self.task_id,
            generation=self.generation,
            plan_digest=goal.plan_digest,
            operation=self.operation,
            inputs=self.inputs,
            environment=goal.environment,
            risk=Risk.PRIVILEGED,
            credentials=self.credentials,
            egress=self.egress,
            undoes=self.undoes,
            policy_version=self.policy_version or goal.policy_version,
        )


class ExecuteInput(Model):
    """One action, and the grant where policy wants one."""

    action: Action | Step
    asker: Asker | None = None
    """None: whom the goal was planned for, which the ledger has."""
    grant: Grant | None = None

    @model_serializer(mode="wrap")
    def _briefly(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without what is left open, in here and in a step."""
        written: dict[str, Any] = write(self)
        brief = {k: v for k, v in written.items() if v is not None}
        if isinstance(self.action, Step):
            brief["action"] = {k: v for k, v in written["action"].items() if v or k == "inputs"}
        return brief


class ExecuteResult(Model):
    """What history may hold: small, redacted, with large things by reference."""

    outputs: Json = None
    evidence: tuple[Evidence, ...] = ()
    compensable: bool = False
    """The ledger knows how to undo it."""


class CompensateInput(Model):
    """Which action to undo. How is in the ledger, written when it succeeded."""

    action: Action
    asker: Asker


class CleanUpInput(Model):
    """Whose leases and leftovers to clear away."""

    goal_id: GoalId
    containers: bool = True
    """False where nothing ran in a sandbox: then the end need not wait for the engine."""


class ReplanInput(Model):
    """A task to change."""

    asker: Asker
    goal_id: GoalId
    environment: Name
    task: PlanTask
    inputs: dict[str, Json]
    """Input → new value."""


class ResolveInput(Model):
    """A lost attempt, and what people say."""

    action: Action
    asker: Asker
    grant: Grant
    """Of a request whose question is the outcome."""


class LockRequest(Model):
    """A goal wants a lock."""

    name: Name
    goal_id: GoalId
    """Who is told when it is granted."""
    owner: GoalId
    """The goal at the top: a child goal shares its parent's locks."""
    claim: ClaimId = ""
    """Repeating the request with the same claim changes nothing."""


class HolderInput(Model):
    """A goal to look for."""

    goal_id: GoalId


class HolderResult(Model):
    """Whether it is still going."""

    running: bool
