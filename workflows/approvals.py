"""Approvals inside a workflow: asking, verifying what is signalled, expiring.

It believes nothing that the gateway has not signed; what does not count is recorded and changes
nothing.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

from pydantic import ValidationError
from temporalio import workflow

from goalkeeper.contracts import activities
from goalkeeper.domain.approval import (
    DECISION_TYPE,
    Action,
    Answer,
    ApprovalRequest,
    Change,
    Decision,
    Grant,
    Question,
    needed_approvals,
    verify_decision,
)
from goalkeeper.domain.audit import AuditEvent, AuditKind
from goalkeeper.domain.base import Json
from goalkeeper.domain.dsse import Envelope, open_envelope
from goalkeeper.domain.errors import (
    ApprovalDenied,
    ApprovalExpired,
    GoalkeeperError,
    GrantMismatch,
    PolicyDenied,
)
from goalkeeper.domain.evidence import Evidence
from goalkeeper.domain.goal import Failure
from goalkeeper.domain.policy import Effect, Requirement
from workflows import calls
from workflows.state import Asked, GoalRecord

_SOONEST = timedelta(milliseconds=1)
_WHAT_HAPPENED = Requirement(expires_in=timedelta(hours=24))
"""Who says what became of a lost attempt at something that policy lets run unasked."""
_SHOWN = {"operation", "inputs", "environment", "risk", "credentials", "egress", "generation"}
_CHANGES_SHOWN = 200
_RECORDED_REFUSALS = 100
"""Refused signals of one goal that reach the audit log: a flood must not fill it."""


class CarriedOver(Exception):
    """The wait ends here because the workflow continues as new."""


class Withdrawn(Exception):
    """Nobody need answer any more: the goal stops."""


class Approvals:
    """The open and closed requests of one goal."""

    def __init__(self, record: GoalRecord, *, carrying: Callable[[], bool]) -> None:
        self._record = record
        self._carrying = carrying
        self._goal_id = record.goal_id

    async def grant(
        self,
        task_id: str,
        actions: Callable[[], Sequence[Action]],
        shown: Callable[[], dict[str, Json]] = dict,
    ) -> Grant | None:
        """The grant for these actions, asking people where policy wants it; None: not needed.

        Args:
            task_id: who asks.
            actions: what would run now; asked again when something of it has been changed.
            shown: outputs of earlier tasks that stand on the card.

        Raises:
            PolicyDenied: policy refuses one of the resolved actions.
            ApprovalDenied: somebody said no.
            ApprovalExpired: nobody decided in time.
            Withdrawn: the goal stops.
            CarriedOver: the workflow continues as new.
        """
        while True:
            wanted = actions()
            if not wanted:
                return None
            asked = self._record.latest.get(f"{task_id}.{self._generation(task_id)}")
            if asked is not None and not _same(asked, wanted):
                self._close(asked, "replaced", "what would run has changed since it was asked")
            if asked is None or asked.closed == "replaced":
                asked = await self._judge(task_id, wanted, shown(), asked)
                if asked is None:
                    return None
            await self._until_closed(asked)
            if asked.closed != "replaced":
                break
        if asked.closed == "withdrawn":
            raise Withdrawn
        if asked.failure is not None:
            raised = ApprovalExpired if asked.closed == "expired" else ApprovalDenied
            raise raised(asked.failure.message)
        return asked.grant()

    async def outcome(
        self,
        task_id: str,
        action: Action | None,
        evidence: tuple[Evidence, ...],
        *,
        asked: Callable[[], None],
    ) -> tuple[Answer, Grant] | None:
        """What people say became of a lost attempt; None when nobody said in time.

        Args:
            task_id: whose attempt.
            action: what was attempted; None where it has been asked before.
            evidence: what the attempt left behind.
            asked: told as soon as the question is open.

        Raises:
            CarriedOver: the workflow continues as new.
        """
        about = f"{task_id}.{self._generation(task_id)}-outcome"
        question = self._record.latest.get(about)
        if question is None:
            assert action is not None
            judged = await self._authorise([action])
            requirement = judged.verdict.requirement or _WHAT_HAPPENED
            question = await self._ask(
                self._request(
                    about,
                    task_id,
                    [action],
                    judged,
                    requirement,
                    question=Question.OUTCOME,
                    evidence=evidence,
                )
            )
        asked()
        await self._until_closed(question)
        if question.closed != "answered" or question.answer is None:
            return None
        return question.answer, question.grant()

    def void(self, task_id: str, why: str, *, granted: bool) -> list[str]:
        """What was asked about a task no longer holds.

        Args:
            task_id: the task.
            why: what became of it.
            granted: also what was granted.

        Returns:
            The tasks that had asked, which ask anew about what is left.
        """
        closed = (None, "approved") if granted else (None,)
        generation = self._generation(task_id)
        askers = []
        for asked in self._record.latest.values():
            about = {(a.task_id.partition(".")[0], a.generation) for a in asked.request.actions}
            if (task_id, generation) in about and asked.closed in closed:
                self._close(asked, "replaced", why)
                askers.append(asked.request.task_id)
        return askers

    def _generation(self, task_id: str) -> int:
        return self._record.tasks[task_id].generation

    async def _authorise(self, actions: Sequence[Action]) -> activities.AuthoriseResult:
        return await calls.authorise(
            activities.AuthoriseInput(asker=self._record.asker, actions=tuple(actions))
        )

    async def _judge(
        self,
        task_id: str,
        actions: Sequence[Action],
        shown: dict[str, Json],
        before: Asked | None,
    ) -> Asked | None:
        judged = await self._authorise(actions)
        verdict = judged.verdict
        if verdict.effect is Effect.DENY:
            raise PolicyDenied("policy refuses it: " + "; ".join(verdict.reasons))
        if verdict.requirement is None:
            return None
        current = [a.model_copy(update={"policy_version": judged.policy_version}) for a in actions]
        about = f"{task_id}.{self._generation(task_id)}"
        more: dict[str, Any] = {"shown": shown}
        if before is not None:
            about += f"-{self._revision(before) + 1}"
            more["replaces"] = before.request.id
            more["changes"] = changes(before.request.actions, current)
        return await self._ask(
            self._request(about, task_id, current, judged, verdict.requirement, **more)
        )

    def _revision(self, asked: Asked) -> int:
        suffix = asked.request.id.rpartition("-")[2]
        return int(suffix) if "/" not in suffix and suffix.isdigit() else 1

    def _request(
        self,
        about: str,
        task_id: str,
        actions: Sequence[Action],
        judged: activities.AuthoriseResult,
        requirement: Requirement,
        **more: Any,
    ) -> ApprovalRequest:
        return ApprovalRequest(
            id=f"{self._goal_id}/{about}",
            goal_id=self._goal_id,
            task_id=task_id,
            contract=self._record.plan.contract,
            environment=self._record.plan.environment,
            requester=self._record.planned.requester,
            actions=tuple(actions),
            requirement=requirement,
            reasons=judged.verdict.reasons,
            # Not `workflow.now()`: after a local activity it differs by milliseconds when the
            # goal is replayed, and with it the digest that people have approved.
            created_at=judged.at,
            expires_at=judged.at + requirement.expires_in,
            **more,
        )

    async def _ask(self, request: ApprovalRequest) -> Asked:
        asked = Asked(request=request, digest=request.digest)
        detail: dict[str, Json] = {
            "request": request.id,
            "request_digest": asked.digest,
            "question": request.question.value,
            "actions": [a.digest for a in request.actions],
            "needed": needed_approvals(request),
            "groups": list(request.requirement.groups),
            "expires_at": request.expires_at.isoformat(),
        }
        if request.replaces:
            detail["replaces"] = request.replaces
        # On record before anybody can see it.
        await self._record_event(
            AuditKind.APPROVAL_REQUESTED, f"{request.id}/requested", detail, request.task_id
        )
        self._record.remember(asked)
        return asked

    async def _until_closed(self, asked: Asked) -> None:
        try:
            await self._wait(asked)
        except asyncio.CancelledError:
            # Nobody need answer for a task that will not run; a retry asks anew.
            self._close(asked, "withdrawn", "the task was cancelled before anybody decided")
            raise

    async def _wait(self, asked: Asked) -> None:
        if asked.closed is None:
            # Always a timer, never a branch on the clock: that would not replay.
            left = max(asked.request.expires_at - workflow.now(), _SOONEST)
            try:
                await workflow.wait_condition(
                    lambda: asked.closed is not None or self._carrying(),
                    timeout=left,
                    timeout_summary=f"expiry of {asked.request.id}",
                )
            except TimeoutError:
                # A decision that ties with the time-out has been counted before this line.
                if asked.closed is None:
                    await self._expire(asked)
        if asked.closed is None:
            raise CarriedOver

    async def _expire(self, asked: Asked) -> None:
        request = asked.request
        until = request.expires_at.isoformat(timespec="seconds")
        message = (
            f"nobody decided on '{request.id}' until {until}, and silence means no. "
            "Nothing of it has run. Submit the goal again to ask again."
        )
        asked.closed, asked.failure = "expired", Failure(code="ApprovalExpired", message=message)
        self._record.version += 1
        await self._record_event(
            AuditKind.APPROVAL_EXPIRED,
            f"{request.id}/expired",
            {"request": request.id, "request_digest": asked.digest},
            request.task_id,
        )

    def withdraw(self, *, outcomes: bool = True) -> None:
        """The goal stops: whoever is still asked need not answer any more.

        Args:
            outcomes: also those who were asked what happened.
        """
        for asked in self._record.open_requests():
            if outcomes or asked.request.question is Question.RUN:
                self._close(asked, "withdrawn", "the goal stopped before anybody decided")

    def _close(self, asked: Asked, closed: str, why: str) -> None:
        """Close what is open, or void what was approved and will not run like that."""
        if asked.closed is None or (closed == "replaced" and asked.closed == "approved"):
            asked.closed = closed
            asked.failure = Failure(code="ApprovalDenied", message=why)
            self._record.version += 1

    async def consider(self, signal: Json) -> None:
        """Count a signalled decision, or record why it does not count."""
        try:
            await self._count(_envelope(signal))
        except GoalkeeperError as error:
            self._record.refuse(error.message)
            if self._record.refusals <= _RECORDED_REFUSALS:
                await self._record_event(
                    AuditKind.APPROVAL_REFUSED,
                    f"{self._goal_id}/refused/{workflow.uuid4()}",
                    {"why": error.message},
                    "",
                )

    async def _count(self, envelope: Envelope) -> None:
        known = any(s.keyid in self._record.keys for s in envelope.signatures)
        if not known and self._record.refusals < _RECORDED_REFUSALS:
            # Perhaps a key that was made after this goal was planned.
            self._record.keys.update(await calls.decision_keys(self._goal_id))
        asked, decision = self._match(envelope)
        if asked.closed is not None:
            if decision.person in asked.envelopes and decision.answer is asked.answer:
                return
            raise GrantMismatch(f"'{asked.request.id}' is closed already: {asked.closed}")
        self._record.version += 1
        if decision.answer is Answer.DENY:
            asked.closed = "denied"
            asked.failure = Failure(
                code="ApprovalDenied",
                message=f"'{decision.person}' denied '{asked.request.id}': {decision.reason}",
            )
            return
        if asked.answer not in (None, decision.answer):
            # They contradict one another: it takes enough people of one opinion in a row.
            asked.envelopes.clear()
        asked.answer = decision.answer
        asked.envelopes.setdefault(decision.person, envelope)
        if len(asked.envelopes) >= needed_approvals(asked.request):
            asked.closed = "approved" if decision.answer is Answer.APPROVE else "answered"

    def _match(self, envelope: Envelope) -> tuple[Asked, Decision]:
        said = open_envelope(envelope, Decision, DECISION_TYPE, self._record.keys)
        asked = self._record.asked.get(said.request_id)
        if asked is None:
            raise GrantMismatch(
                f"the decision is for request '{said.request_id}', and this goal asks nothing "
                "of that name"
            )
        return asked, verify_decision(envelope, asked.request, self._record.keys)

    async def _record_event(
        self, kind: AuditKind, ident: str, detail: dict[str, Json], task_id: str
    ) -> None:
        await calls.record(
            AuditEvent(
                id=f"{workflow.info().first_execution_run_id}/{ident}",
                time=workflow.now(),
                kind=kind,
                actor="workflow",
                goal_id=self._goal_id,
                task_id=task_id,
                detail=detail,
            )
        )


def _same(asked: Asked, wanted: Sequence[Action]) -> bool:
    """Whether a question is about exactly these actions, whatever policy's version."""
    before = asked.request.actions
    return len(before) == len(wanted) and all(
        b == w.model_copy(update={"policy_version": b.policy_version})
        for b, w in zip(before, wanted, strict=True)
    )


def changes(before: Sequence[Action], after: Sequence[Action]) -> tuple[Change, ...]:
    """What differs between two versions of a request, value by value."""
    old = {a.task_id: a.model_dump(mode="json", include=_SHOWN) for a in before}
    new = {a.task_id: a.model_dump(mode="json", include=_SHOWN) for a in after}
    found: list[Change] = []
    for task_id in [*old, *(t for t in new if t not in old)]:
        found += _differences(task_id, "", old.get(task_id), new.get(task_id))
    return tuple(found[:_CHANGES_SHOWN])


def _differences(task_id: str, place: str, before: Any, after: Any) -> list[Change]:
    if before == after:
        return []
    if not (isinstance(before, dict) and isinstance(after, dict)):
        return [Change(task_id=task_id, place=place or "/", before=before, after=after)]
    found: list[Change] = []
    for key in [*before, *(k for k in after if k not in before)]:
        at = f"{place}/" + key.replace("~", "~0").replace("/", "~1")
        found += _differences(task_id, at, before.get(key), after.get(key))
    return found


def _envelope(signal: Json) -> Envelope:
    """The envelope inside a signal, which may be anything at all."""
    body = signal.get("envelope") if isinstance(signal, dict) else None
    if body is None:
        raise GrantMismatch(
            "a signal without a signed decision: only the approval gateway can approve or deny. "
            "Use `goalkeeper approve`, the console or Slack."
        )
    try:
        return Envelope.model_validate(body)
    except ValidationError:
        raise GrantMismatch("a signal whose 'envelope' is not a DSSE envelope") from None
