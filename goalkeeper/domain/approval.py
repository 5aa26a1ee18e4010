"""Actions, approval requests, decisions and grants, and the one place that verifies a grant.

The workflow verifies before it goes on, the activity verifies again before it runs. Both call
`verify_decision` and `verify_grant`; neither has rules of its own.
"""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import Field, StringConstraints

from goalkeeper.domain.base import (
    Digest,
    GoalId,
    Instant,
    Json,
    Model,
    Name,
    OperationName,
    Reason,
    TaskId,
    digest_of,
)
from goalkeeper.domain.dsse import Envelope, PublicKeys, open_envelope
from goalkeeper.domain.errors import GrantMismatch
from goalkeeper.domain.operation import Risk
from goalkeeper.domain.policy import Requirement

DECISION_TYPE = "application/vnd.goalkeeper.decision+json"
SUBMISSION_TYPE = "application/vnd.goalkeeper.submission+json"

PersonId = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9._-]{0,62}$")]
"""An internal identity of the identities file."""


class Requester(Model):
    """Who asked for a goal."""

    id: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    proven: bool = False
    """The gateway authenticated this person and signed the submission; else `id` is a claim."""


class Submission(Model):
    """The gateway's statement that a person submitted exactly this goal."""

    goal_id: GoalId
    person: PersonId
    input_digest: Digest
    """Of ``{"contract", "definition", "inputs"}`` of the goal's input."""
    at: Instant


class Action(Model):
    """Exactly what will run. Its digest is what an approval is bound to."""

    goal_id: GoalId
    task_id: TaskId
    generation: Annotated[int, Field(ge=0)] = 0
    """How often the task was retried by a person: each retry is a new action."""
    plan_digest: Digest
    operation: OperationName
    inputs: dict[str, Json]
    environment: Name
    risk: Risk
    credentials: dict[str, Name] = {}
    egress: tuple[str, ...] = ()
    """``host:port`` that the sandbox may reach; nothing else."""
    compensation: OperationName | None = None
    policy_version: Digest

    @property
    def digest(self) -> str:
        """SHA-256 over the canonical form."""
        return digest_of(self)


class ApprovalRequest(Model):
    """What people are asked: one or more actions that stand or fall together."""

    id: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,255}$")]
    """``GOAL/TASK.GENERATION``."""
    goal_id: GoalId
    task_id: TaskId
    contract: Name
    environment: Name
    requester: Requester
    actions: Annotated[tuple[Action, ...], Field(min_length=1)]
    requirement: Requirement
    reasons: tuple[str, ...] = ()
    """Why policy asks."""
    shown: dict[TaskId, Json] = {}
    """Outputs of earlier tasks that the approver should see, for example a preview."""
    created_at: Instant
    expires_at: Instant

    @property
    def digest(self) -> str:
        """SHA-256 over the canonical form: this is what a decision names."""
        return digest_of(self)


class Answer(StrEnum):
    """The two answers."""

    APPROVE = "approve"
    DENY = "deny"


class Decision(Model):
    """What a person answered. Only the gateway makes one, and signs it."""

    id: Annotated[str, StringConstraints(min_length=8, max_length=200)]
    request_id: str
    request_digest: Digest
    goal_id: GoalId
    answer: Answer
    person: PersonId
    groups: tuple[Name, ...] = ()
    """The person's groups when deciding."""
    reason: Reason = ""
    channel: Annotated[str, StringConstraints(max_length=40)]
    """``cli``, ``console``, ``slack``."""
    decided_at: Instant


class Grant(Model):
    """What the worker checks: the request, and the signed decisions that approve it."""

    request: ApprovalRequest
    decisions: Annotated[tuple[Envelope, ...], Field(min_length=1, max_length=40)]

    @property
    def id(self) -> str:
        """Under which the grant is spent."""
        return self.request.digest


def verify_decision(envelope: Envelope, request: ApprovalRequest, keys: PublicKeys) -> Decision:
    """The decision inside, once it may count for this request.

    Raises:
        GrantMismatch: not signed by the gateway, for another request or another digest, made
            after the request expired, by the requester, by somebody outside the groups, or
            without the reason that policy wants.
    """
    decision = open_envelope(envelope, Decision, DECISION_TYPE, keys)
    if decision.request_id != request.id or decision.goal_id != request.goal_id:
        raise GrantMismatch(
            f"the decision is for request '{decision.request_id}', not '{request.id}'"
        )
    if decision.request_digest != request.digest:
        raise GrantMismatch(
            "the decision is for another version of this request: what would run has changed since"
        )
    why = objection(decision.person, decision.groups, decision.decided_at, request)
    if why is not None:
        raise GrantMismatch(why)
    if not decision.reason and (
        request.requirement.reason_required or decision.answer is Answer.DENY
    ):
        raise GrantMismatch("the decision gives no reason, and one is required")
    return decision


def objection(
    person: str, groups: Sequence[str], at: datetime, request: ApprovalRequest
) -> str | None:
    """Why this person may not decide this request now, or nothing."""
    if at >= request.expires_at:
        until = request.expires_at.isoformat()
        return f"the request expired at {until}: silence until then means no"
    if person == request.requester.id:
        return f"'{person}' asked for this goal and so may not decide on it"
    wanted = request.requirement.groups
    if wanted and not set(wanted) & set(groups):
        return f"'{person}' is in none of the groups that may decide: {', '.join(wanted)}"
    return None


def needed_approvals(request: ApprovalRequest) -> int:
    """How many distinct people must say yes.

    Where the requester is only a claim, one more: then at least the required number of the
    approvers are not the person who really asked.
    """
    return request.requirement.approvals + (0 if request.requester.proven else 1)


def verify_grant(grant: Grant, action: Action, keys: PublicKeys) -> tuple[Decision, ...]:
    """The approvals behind an action, once there are enough of them.

    Raises:
        GrantMismatch: the action is not among those approved, a decision does not count, one
            of them is a denial, or there are too few distinct people.
    """
    request = grant.request
    if action.digest not in {a.digest for a in request.actions}:
        raise GrantMismatch(
            f"what task '{action.task_id}' would run is not what was approved in '{request.id}': "
            "its digest differs, so the approval is void. Submit the goal again."
        )
    decisions = tuple(verify_decision(e, request, keys) for e in grant.decisions)
    if any(d.answer is Answer.DENY for d in decisions):
        raise GrantMismatch(f"request '{request.id}' was denied")
    people = {d.person for d in decisions}
    if len(people) < needed_approvals(request):
        raise GrantMismatch(
            f"request '{request.id}' has {len(people)} approval(s) of distinct people and "
            f"needs {needed_approvals(request)}"
        )
    return decisions
