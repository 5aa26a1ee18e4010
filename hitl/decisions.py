"""The one path of an answer, whatever channel it came by: check, sign, record, signal, confirm.

A channel authenticates the person and renders the outcome; it decides nothing that is decided
here. Nothing is signalled that has not been recorded.
"""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from weakref import WeakValueDictionary

import structlog

from goalkeeper.contracts.goal import OpenRequest
from goalkeeper.domain.approval import (
    ANSWERS,
    DECISION_TYPE,
    Answer,
    ApprovalRequest,
    Decision,
    Question,
    objection,
)
from goalkeeper.domain.base import Model, iso
from goalkeeper.domain.dsse import Signer, seal
from goalkeeper.domain.errors import (
    ApprovalExpired,
    Conflict,
    GoalkeeperError,
    InvalidGoal,
    NotAllowed,
    NotFound,
    PermanentError,
    ServiceUnavailable,
)
from goalkeeper.identities import Person
from goalkeeper.telemetry import DECISIONS, task_context
from hitl.choices import COUNTED, SILENCE
from hitl.delivery import Delivery
from hitl.inbox import Inbox
from hitl.metrics import REFUSED
from hitl.record import Record, Recorded, decision_id

_log = structlog.get_logger(__name__)

_LOOKS = (0.01, 0.02, 0.05, 0.1, 0.25)
"""Seconds between looks at the goal; the last one repeats."""
_LONGEST_REASON = 2000
_CLOSED = {
    "approved": {Answer.APPROVE},
    "denied": {Answer.DENY},
    "answered": {Answer.HAPPENED, Answer.DID_NOT_HAPPEN},
}
"""How a request was closed, and by which answers."""


class Decided(Model):
    """What became of an answer."""

    decision_id: str
    request_id: str
    request_digest: str
    answer: Answer
    person: str
    decided_at: datetime
    counted: bool
    """The goal has taken it in; otherwise it is recorded and will be."""
    approved_by: tuple[str, ...] = ()
    needed: int = 1
    closed: str | None = None
    message: str
    """A sentence for the person."""


class Decisions:
    """Takes answers of authenticated people."""

    def __init__(
        self,
        inbox: Inbox,
        record: Record,
        signer: Signer,
        delivery: Delivery,
        now: Callable[[], datetime],
        *,
        patience: timedelta = timedelta(seconds=5),
    ) -> None:
        self._inbox = inbox
        self._record = record
        self._signer = signer
        self._delivery = delivery
        self._now = now
        self._patience = patience
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def decide(
        self,
        person: Person,
        request_id: str,
        *,
        digest: str | None,
        answer: Answer,
        reason: str,
        channel: str,
    ) -> Decided:
        """Record a person's answer and tell the goal.

        Args:
            person: who was authenticated, with the groups of now.
            request_id: ``GOAL/TASK.GENERATION``.
            digest: of the request as the person saw it; None takes it as it is now.
            answer: one of the two that the request's question has.
            reason: required for all but an approval, and where policy wants one for that.
            channel: ``cli``, ``console`` or ``slack``.

        Raises:
            NotFound: no such request.
            NotAllowed: this person may not, or a reason is missing.
            InvalidGoal: the answer belongs to another question.
            ApprovalExpired: too late.
            Conflict: decided already by others, or no longer what the person saw.
            TransientError: Temporal, Vault or the audit log does not answer; the same answer may
                be given again and stays one decision.
        """
        # One answer to a request at a time: a double click finds what the first click made.
        lock = self._locks.setdefault(request_id, asyncio.Lock())
        async with lock:
            found = await self._inbox.find(request_id)
            request = found.request
            with task_context(workflow_id=request.goal_id, task_id=request.task_id):
                try:
                    decision = await self._check(person, found, digest, answer, reason.strip())
                except PermanentError as error:
                    await self._refuse(person, request, answer, channel, error)
                    raise
                if decision is None:
                    decision = await self._sign(person, request, answer, reason.strip(), channel)
                if not _counted(decision, found):
                    await self._delivery.deliver(decision)
                    found = await self._seen(decision, found)
                return outcome(decision, found)

    async def _check(
        self, person: Person, found: OpenRequest, digest: str | None, answer: Answer, reason: str
    ) -> Recorded | None:
        """The same decision if it was recorded before; raises where it may not be made."""
        request = found.request
        if digest is not None and digest != request.digest:
            raise Conflict(
                f"request '{request.id}' is no longer what you were shown: what would run has "
                "changed. Nothing was recorded; look at it again before you answer."
            )
        if answer not in ANSWERS[request.question]:
            raise InvalidGoal(_other_question(request))
        earlier = await self._record.known(decision_id(request.digest, person.id, answer))
        if found.closed is not None:
            if earlier is not None and _counted(earlier, found):
                return earlier
            raise await self._closed(found)
        why = objection(person.id, person.groups, self._now(), request)
        if why is not None:
            expired = self._now() >= request.expires_at
            raise ApprovalExpired(_sentence(why)) if expired else NotAllowed(_sentence(why))
        if earlier is None:
            _require_reason(request, answer, reason)
            await self._require_first(person, request, answer)
        return earlier

    async def _require_first(
        self, person: Person, request: ApprovalRequest, answer: Answer
    ) -> None:
        """Nobody says both that something happened and that it did not."""
        if request.question is not Question.OUTCOME:
            return
        for other in ANSWERS[Question.OUTCOME]:
            known = decision_id(request.digest, person.id, other)
            if other is not answer and await self._record.known(known) is not None:
                raise Conflict(
                    f"You have answered '{other}' to '{request.id}' already. If that was wrong, "
                    "let nobody else confirm it: unanswered, the task stays Unknown. Nothing was "
                    "recorded."
                )

    async def _closed(self, found: OpenRequest) -> PermanentError:
        request = found.request
        if found.closed == "expired":
            return ApprovalExpired(
                f"Request '{request.id}' expired at {iso(request.expires_at)}: "
                f"{SILENCE[request.question]}."
            )
        if found.closed not in _CLOSED:
            return Conflict(f"Request '{request.id}' needs no answer any more: {found.closed}.")
        wanted = _CLOSED[found.closed]
        made = [d for d in await self._record.of(request) if d.answer in wanted]
        people = ", ".join(d.person for d in made) or ", ".join(found.approved_by)
        by = f" by {people}" if people else ""
        at = f" at {iso(made[-1].at)}" if made else ""
        return Conflict(f"Request '{request.id}' was already {found.closed}{by}{at}.")

    async def _refuse(
        self,
        person: Person,
        request: ApprovalRequest,
        answer: Answer,
        channel: str,
        error: GoalkeeperError,
    ) -> None:
        REFUSED.labels(code=error.code, channel=channel).inc()
        _log.warning(
            "answer refused", request=request.id, person=person.id, answer=answer, why=error.message
        )
        at = self._now()
        await self._record.refused(person, request, answer, channel, error.message, at)

    async def _sign(
        self, person: Person, request: ApprovalRequest, answer: Answer, reason: str, channel: str
    ) -> Recorded:
        decision = Decision(
            id=decision_id(request.digest, person.id, answer),
            request_id=request.id,
            request_digest=request.digest,
            goal_id=request.goal_id,
            answer=answer,
            person=person.id,
            groups=person.groups,
            reason=reason,
            channel=channel,
            decided_at=self._now(),
        )
        envelope = await seal(decision, DECISION_TYPE, self._signer)
        recorded = await self._record.decided(decision, request.task_id, envelope)
        DECISIONS.labels(answer=answer.value, channel=channel).inc()
        _log.info(
            "decision recorded",
            request=request.id,
            person=person.id,
            answer=answer,
            decision=decision.id,
            audit_entry=recorded.index,
        )
        return recorded

    async def _seen(self, decision: Recorded, found: OpenRequest) -> OpenRequest:
        """The request once the goal shows the decision, or as it is when patience ends."""
        try:
            async with asyncio.timeout(self._patience.total_seconds()):
                look = 0
                while not _counted(decision, found) and found.closed is None:
                    await asyncio.sleep(_LOOKS[min(look, len(_LOOKS) - 1)])
                    look += 1
                    found = await self._inbox.find(decision.request_id)
        except (TimeoutError, ServiceUnavailable, NotFound):
            _log.warning("decision not seen to be counted yet", decision=decision.decision_id)
        return found


def _require_reason(request: ApprovalRequest, answer: Answer, reason: str) -> None:
    if len(reason) > _LONGEST_REASON:
        raise NotAllowed(
            f"The reason is longer than {_LONGEST_REASON} characters. Nothing was recorded."
        )
    if not reason and answer is Answer.DENY:
        raise NotAllowed(
            "A denial needs a reason: say why, for whoever asked. Nothing was recorded."
        )
    if not reason and request.question is Question.OUTCOME:
        raise NotAllowed("Say how you know, for the record. Nothing was recorded.")
    if not reason and request.requirement.reason_required:
        raise NotAllowed("Policy wants a reason for this approval: say why. Nothing was recorded.")


def _counted(decision: Recorded, found: OpenRequest) -> bool:
    if decision.answer is Answer.DENY:
        return found.closed == "denied"
    return decision.person in found.approved_by and found.closed in (None, "approved", "answered")


def outcome(decision: Recorded, found: OpenRequest) -> Decided:
    """What has become of a recorded decision, going by the request as the goal shows it."""
    counted = _counted(decision, found)
    return Decided(
        decision_id=decision.decision_id,
        request_id=decision.request_id,
        request_digest=decision.request_digest,
        answer=decision.answer,
        person=decision.person,
        decided_at=decision.at,
        counted=counted,
        approved_by=found.approved_by,
        needed=found.needed,
        closed=found.closed,
        message=_message(decision, found, counted=counted),
    )


def _message(decision: Recorded, found: OpenRequest, *, counted: bool) -> str:
    if not counted and found.closed is not None:
        return f"Recorded, but too late to count: the request is {found.closed}."
    if not counted:
        return "Recorded and sent to the goal, which has not confirmed it yet. Nothing more to do."
    missing = found.needed - len(found.approved_by)
    if decision.answer is not Answer.DENY and missing > 0:
        same = "must follow" if decision.answer is Answer.APPROVE else "must say the same"
        return f"Your answer is counted; {missing} more of other people {same}."
    return COUNTED[decision.answer]


def _other_question(request: ApprovalRequest) -> str:
    answers = " or ".join(f"'{a}'" for a in ANSWERS[request.question])
    if request.question is Question.OUTCOME:
        return (
            f"Request '{request.id}' asks whether a lost attempt happened: the answer is {answers} "
            "(`goalkeeper resolve`). Nothing was recorded."
        )
    return f"Request '{request.id}' takes {answers} for an answer. Nothing was recorded."


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}. Nothing was recorded as a decision."
