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
    Action,
    Answer,
    ApprovalRequest,
    Grant,
    needed_approvals,
    verify_decision,
)
from goalkeeper.domain.audit import AuditEvent, AuditKind
from goalkeeper.domain.base import Json
from goalkeeper.domain.dsse import Envelope
from goalkeeper.domain.errors import (
    ApprovalDenied,
    ApprovalExpired,
    GoalkeeperError,
    GrantMismatch,
    PolicyDenied,
)
from goalkeeper.domain.goal import Failure
from goalkeeper.domain.policy import Effect
from workflows import calls
from workflows.state import Asked, GoalRecord

_SOONEST = timedelta(milliseconds=1)
_RECORDED_REFUSALS = 100
"""Refused signals of one goal that reach the audit log: a flood must not fill it."""


class CarriedOver(Exception):
    """The wait for people ends here because the workflow continues as new."""


class Approvals:
    """The open and closed requests of one goal."""

    def __init__(self, record: GoalRecord, *, carrying: Callable[[], bool]) -> None:
        self._record = record
        self._carrying = carrying
        self._goal_id = workflow.info().workflow_id

    async def grant(
        self, task_id: str, actions: Sequence[Action], shown: dict[str, Json]
    ) -> Grant | None:
        """The grant for these actions, asking people where policy wants it; None: not needed.

        Raises:
            PolicyDenied: policy refuses one of the resolved actions.
            ApprovalDenied: somebody said no.
            ApprovalExpired: nobody decided in time.
            CarriedOver: the workflow continues as new.
        """
        generation = actions[0].generation
        request_id = f"{self._goal_id}/{task_id}.{generation}"
        asked = self._record.asked.get(request_id)
        if asked is None:
            judged = await calls.authorise(
                activities.AuthoriseInput(
                    asker=self._record.asker,
                    actions=tuple(actions),
                )
            )
            if judged.verdict.effect is Effect.DENY:
                raise PolicyDenied("policy refuses it: " + "; ".join(judged.verdict.reasons))
            if judged.verdict.requirement is None:
                return None
            current = [
                a.model_copy(update={"policy_version": judged.policy_version}) for a in actions
            ]
            asked = await self._ask(request_id, task_id, current, judged, shown)
        try:
            await self._wait(asked)
        except asyncio.CancelledError:
            # Nobody need answer for a task that will not run; a retry asks anew.
            self._close(asked, "the task was cancelled before anybody decided")
            raise
        return asked.grant()

    async def _ask(
        self,
        request_id: str,
        task_id: str,
        actions: Sequence[Action],
        judged: activities.AuthoriseResult,
        shown: dict[str, Json],
    ) -> Asked:
        requirement = judged.verdict.requirement
        assert requirement is not None
        request = ApprovalRequest(
            id=request_id,
            goal_id=self._goal_id,
            task_id=task_id,
            contract=self._record.plan.contract,
            environment=self._record.plan.environment,
            requester=self._record.planned.requester,
            actions=tuple(actions),
            requirement=requirement,
            reasons=judged.verdict.reasons,
            shown=shown,
            # Not `workflow.now()`: after a local activity it differs by milliseconds when the
            # goal is replayed, and with it the digest that people have approved.
            created_at=judged.at,
            expires_at=judged.at + requirement.expires_in,
        )
        asked = Asked(request=request, digest=request.digest)
        detail: dict[str, Json] = {
            "request": request.id,
            "request_digest": asked.digest,
            "actions": [a.digest for a in request.actions],
            "needed": needed_approvals(request),
            "groups": list(requirement.groups),
            "expires_at": request.expires_at.isoformat(),
        }
        # On record before anybody can see it.
        await self._record_event(
            AuditKind.APPROVAL_REQUESTED, f"{request.id}/requested", detail, task_id
        )
        self._record.asked[request_id] = asked
        self._record.version += 1
        return asked

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
        if asked.failure is not None:
            raised = ApprovalExpired if asked.closed == "expired" else ApprovalDenied
            raise raised(asked.failure.message)

    async def _expire(self, asked: Asked) -> None:
        request = asked.request
        message = (
            f"nobody decided on '{request.id}' until "
            f"{request.expires_at.isoformat(timespec='seconds')}, and silence means no. "
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

    def withdraw(self) -> None:
        """The goal stops: whoever is still asked need not answer any more."""
        for asked in self._record.asked.values():
            self._close(asked, "the goal stopped before anybody decided")

    def _close(self, asked: Asked, why: str) -> None:
        if asked.closed is None:
            asked.closed = "withdrawn"
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
            if decision.person in asked.envelopes and decision.answer is Answer.APPROVE:
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
        asked.envelopes.setdefault(decision.person, envelope)
        if len(asked.envelopes) >= needed_approvals(asked.request):
            asked.closed = "approved"

    def _match(self, envelope: Envelope) -> tuple[Asked, Any]:
        why: GrantMismatch | None = None
        for asked in self._record.asked.values():
            try:
                return asked, verify_decision(envelope, asked.request, self._record.keys)
            except GrantMismatch as error:
                # Of several requests, the one that it was made for has the useful reason.
                if why is None or "is for request" in why.message:
                    why = error
        raise why or GrantMismatch("nothing is waiting for a decision here")

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
