"""Decisions in the audit log: written before they are signalled, and read back afterwards.

The audit log is the gateway's only memory. It is asked, never cached.
"""

import asyncio
import hashlib
from collections.abc import Iterable
from datetime import datetime
from typing import Protocol
from uuid import uuid4

from goalkeeper.domain.approval import Answer, ApprovalRequest, Decision
from goalkeeper.domain.audit import AuditEvent, AuditKind
from goalkeeper.domain.base import Model
from goalkeeper.domain.dsse import Envelope
from goalkeeper.domain.errors import NotFound
from goalkeeper.identities import Person


class Entry(Protocol):
    """One leaf of the audit log."""

    @property
    def index(self) -> int:
        """Its place in the log."""
        ...

    @property
    def event(self) -> AuditEvent:
        """What happened."""
        ...


class Log(Protocol):
    """What the gateway needs of `goalkeeper.audit.AuditLog`."""

    async def append(self, *events: AuditEvent) -> tuple[int, ...]:
        """Durable when it returns; an id that is there already changes nothing."""
        ...

    def entry(self, key: str, /) -> Entry:
        """The event with this id; raises `NotFound`."""
        ...

    def entries(
        self, *, goal_id: str | None = None, kind: AuditKind | None = None
    ) -> Iterable[Entry]:
        """Events in the order of the log."""
        ...


class Recorded(Model):
    """A decision as the log holds it, with the envelope to signal."""

    index: int
    decision_id: str
    request_id: str
    request_digest: str
    goal_id: str
    answer: Answer
    person: str
    reason: str
    channel: str
    at: datetime
    envelope: Envelope


class Record:
    """Decisions and refusals in an audit log."""

    def __init__(self, log: Log) -> None:
        self._log = log

    async def decided(self, decision: Decision, task_id: str, envelope: Envelope) -> Recorded:
        """Write a decision down; the one recorded first wins where two clicks race."""
        detail = decision.model_dump(
            mode="json", include={"request_id", "request_digest", "answer", "reason", "channel"}
        )
        await self._log.append(
            AuditEvent(
                id=decision.id,
                time=decision.decided_at,
                kind=AuditKind.APPROVAL_DECIDED,
                actor=f"person:{decision.person}",
                goal_id=decision.goal_id,
                task_id=task_id,
                # With its envelope the entry proves itself, and a decision whose signal was lost
                # can be signalled again.
                detail={**detail, "envelope": envelope.model_dump(mode="json")},
            )
        )
        return await self.find(decision.id)

    async def refused(
        self,
        person: Person,
        request: ApprovalRequest,
        answer: Answer,
        channel: str,
        why: str,
        at: datetime,
    ) -> None:
        """Write down that somebody's answer was turned away."""
        await self._log.append(
            AuditEvent(
                id=f"refused-{uuid4().hex}",
                time=at,
                kind=AuditKind.APPROVAL_REFUSED,
                actor=f"person:{person.id}",
                goal_id=request.goal_id,
                task_id=request.task_id,
                detail={
                    "request_id": request.id,
                    "request_digest": request.digest,
                    "answer": answer.value,
                    "channel": channel,
                    "why": why,
                },
            )
        )

    async def find(self, decision_id: str) -> Recorded:
        """One decision.

        Raises:
            NotFound: the log has no such decision.
        """
        entry = await asyncio.to_thread(self._log.entry, decision_id)
        if entry.event.kind is not AuditKind.APPROVAL_DECIDED:
            raise NotFound(f"'{decision_id[:80]}' is not a decision")
        return _recorded(entry)

    async def known(self, decision_id: str) -> Recorded | None:
        """One decision, or nothing."""
        try:
            return await self.find(decision_id)
        except NotFound:
            return None

    async def of(self, request: ApprovalRequest) -> list[Recorded]:
        """Every decision on exactly this request, oldest first."""

        def read() -> list[Recorded]:
            found = self._log.entries(goal_id=request.goal_id, kind=AuditKind.APPROVAL_DECIDED)
            decisions = (_recorded(e) for e in found)
            return [d for d in decisions if d.request_digest == request.digest]

        return await asyncio.to_thread(read)


def decision_id(request_digest: str, person: str, answer: Answer) -> str:
    """The same person's same answer to the same request is the same decision."""
    named = f"{request_digest}\n{person}\n{answer}".encode()
    return "decision-" + hashlib.sha256(named).hexdigest()[:40]


def _recorded(entry: Entry) -> Recorded:
    event = entry.event
    return Recorded.model_validate(
        {
            **event.detail,
            "index": entry.index,
            "decision_id": event.id,
            "goal_id": event.goal_id,
            "person": event.actor.removeprefix("person:"),
            "at": event.time,
        }
    )
