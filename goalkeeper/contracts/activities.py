"""The activities as the workflow sees them: their names, one model in, one model out."""

from goalkeeper.contracts.goal import GoalInput
from goalkeeper.domain.approval import Action, Grant, Requester
from goalkeeper.domain.audit import AuditEvent
from goalkeeper.domain.base import Digest, GoalId, Instant, Json, Model
from goalkeeper.domain.dsse import Envelope
from goalkeeper.domain.evidence import Evidence
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


class ExecuteInput(Model):
    """One action, and the grant where policy wants one."""

    action: Action
    asker: Asker
    grant: Grant | None = None


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
