"""Actions, approval requests, decisions and grants, and the one place that verifies a grant.

The workflow verifies before it goes on, the activity verifies again before it runs. Both call
`verify_decision` and `verify_grant`; neither has rules of its own.
"""

from collections.abc import Mapping, Sequence
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
    TaskRef,
    digest_of,
)
from goalkeeper.domain.dsse import Envelope, PublicKeys, open_envelope
from goalkeeper.domain.errors import GrantMismatch
from goalkeeper.domain.evidence import Evidence
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
    task_id: TaskRef
    generation: Annotated[int, Field(ge=0)] = 0
    """How often the task was retried by a person: each retry is a new action."""
    plan_digest: Digest
    """Of the plan as it was made; what has been changed since shows in the inputs."""
    operation: OperationName
    inputs: dict[str, Json]
    environment: Name
    risk: Risk
    credentials: dict[str, Name] = {}
    egress: tuple[str, ...] = ()
    """``host:port`` that the sandbox may reach; nothing else."""
    compensation: OperationName | None = None
    undoes: str | None = None
    """The ledger's key of what this undoes, in a rollback."""
    policy_version: Digest

    @property
    def digest(self) -> str:
        """SHA-256 over the canonical form."""
        return digest_of(self)


class Question(StrEnum):
    """What people are asked."""

    RUN = "run"
    """May this run? Approve or deny."""
    OUTCOME = "outcome"
    """An attempt was lost: did it happen? `Answer.HAPPENED` or `Answer.DID_NOT_HAPPEN`."""


class Change(Model):
    """One value that differs from what was asked before."""

    task_id: TaskRef
    place: str
    """JSON Pointer into the action, for example ``/inputs/replicas``."""
    before: Json = None
    after: Json = None


class ApprovalRequest(Model):
    """What people are asked: one or more actions that stand or fall together."""

    id: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,255}$")]
    """``GOAL/TASK.GENERATION``, with ``-REVISION`` when it was asked anew and ``-outcome`` when the
    question is what happened."""
    question: Question = Question.RUN
    goal_id: GoalId
    task_id: TaskRef
    contract: Name
    environment: Name
    requester: Requester
    actions: Annotated[tuple[Action, ...], Field(min_length=1)]
    requirement: Requirement
    reasons: tuple[str, ...] = ()
    """Why policy asks."""
    shown: dict[TaskRef, Json] = {}
    """Outputs of earlier tasks that the approver should see, for example a preview."""
    evidence: tuple[Evidence, ...] = ()
    """Of an outcome question: what the lost attempt left behind."""
    replaces: str = ""
    """The id of the request that this one takes the place of."""
    changes: tuple[Change, ...] = ()
    """What is different from that one."""
    created_at: Instant
    expires_at: Instant

    @property
    def digest(self) -> str:
        """SHA-256 over the canonical form: this is what a decision names."""
        return digest_of(self)


class Answer(StrEnum):
    """The two answers to each question."""

    APPROVE = "approve"
    DENY = "deny"
    HAPPENED = "happened"
    DID_NOT_HAPPEN = "did_not_happen"


ANSWERS: Mapping[Question, tuple[Answer, Answer]] = {
    Question.RUN: (Answer.APPROVE, Answer.DENY),
    Question.OUTCOME: (Answer.HAPPENED, Answer.DID_NOT_HAPPEN),
}


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
        GrantMismatch: not signed by the gateway, for another request, question or digest, made
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
    if decision.answer not in ANSWERS[request.question]:
        raise GrantMismatch(
            f"'{decision.answer}' is no answer to '{request.id}'; it is "
            + " or ".join(f"'{a}'" for a in ANSWERS[request.question])
        )
    why = objection(decision.person, decision.groups, decision.decided_at, request)
    if why is not None:
        raise GrantMismatch(why)
    if not decision.reason and (
        request.requirement.reason_required or decision.answer is not Answer.APPROVE
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
    if request.question is not Question.RUN:
        raise GrantMismatch(f"'{request.id}' asked what happened, and lets nothing run")
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


def verify_outcome(grant: Grant, action: Action, keys: PublicKeys) -> Answer:
    """What people say became of a lost attempt at an action, once enough of them agree.

    Raises:
        GrantMismatch: it is about another action, a decision does not count, they contradict one
            another, or there are too few distinct people.
    """
    request = grant.request
    if request.question is not Question.OUTCOME or action not in request.actions:
        raise GrantMismatch(f"'{request.id}' does not say what became of '{action.task_id}'")
    decisions = [verify_decision(e, request, keys) for e in grant.decisions]
    answers = {d.answer for d in decisions}
    if len(answers) != 1 or len({d.person for d in decisions}) < needed_approvals(request):
        raise GrantMismatch(f"'{request.id}' has no answer that enough people agree on")
    return answers.pop()
