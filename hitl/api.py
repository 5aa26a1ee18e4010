"""The JSON API, version 1: what the CLI and the Python client speak.

It translates between HTTP and the services, and decides nothing.
"""

from typing import Annotated

from fastapi import APIRouter
from pydantic import Field

from goalkeeper.contracts.goal import OpenRequest
from goalkeeper.domain.approval import Answer
from goalkeeper.domain.base import Digest, GoalId, Model
from goalkeeper.domain.dsse import Envelope
from hitl.decisions import Decided
from hitl.signin import ApiPerson, Parts


class Refusal(Model):
    """Every answer that is not a success."""

    code: str
    """The name of an error class, stable."""
    message: str
    """A sentence for the person."""


class Me(Model):
    """The person whose token came with the call."""

    id: str
    name: str
    groups: tuple[str, ...]


class SubmissionCall(Model):
    """What a person is about to start."""

    goal_id: GoalId
    input_digest: Digest
    """`GoalInput.digest` of the goal's input."""


class DecisionCall(Model):
    """A person's answer."""

    request_id: Annotated[str, Field(min_length=3, max_length=256)]
    request_digest: Digest | None = None
    """Of the request as the person saw it; without it, the request as it is now."""
    answer: Answer
    reason: Annotated[str, Field(max_length=2000)] = ""
    """Required for a denial, and where policy wants one."""


router = APIRouter(
    prefix="/api/v1",
    responses={s: {"model": Refusal} for s in (401, 403, 404, 409, 410, 413, 422, 429, 503)},
)


@router.get("/me")
async def me(person: ApiPerson) -> Me:
    """Who I am here."""
    return Me(id=person.id, name=person.name, groups=person.groups)


@router.post("/submissions")
async def attest(call: SubmissionCall, person: ApiPerson, parts: Parts) -> Envelope:
    """The gateway's signed statement that I submit this goal."""
    return await parts.submissions.attest(person, call.goal_id, call.input_digest)


@router.get("/requests")
async def requests(person: ApiPerson, parts: Parts) -> list[OpenRequest]:
    """Approval requests that are open, the one that expires first at the top."""
    return await parts.inbox.open_requests()


@router.get("/requests/{request_id:path}")
async def one_request(request_id: str, person: ApiPerson, parts: Parts) -> OpenRequest:
    """One approval request, open or closed."""
    return await parts.inbox.find(request_id)


@router.post("/decisions")
async def decide(call: DecisionCall, person: ApiPerson, parts: Parts) -> Decided:
    """Answer a request; the same answer given twice is one decision."""
    return await parts.decisions.decide(
        person,
        call.request_id,
        digest=call.request_digest,
        answer=call.answer,
        reason=call.reason,
        channel="cli",
    )
