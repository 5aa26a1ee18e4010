"""What the routes work with, put together once.

It holds no logic of its own.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

from goalkeeper.domain.dsse import Signer
from goalkeeper.identities import Identities
from goalkeeper.payloads.access import PayloadAccess
from hitl.decisions import Decisions
from hitl.delivery import BACKOFF, Delivery
from hitl.goals import Goals
from hitl.guards import Throttle
from hitl.inbox import Inbox
from hitl.record import Log, Record
from hitl.sessions import Sessions
from hitl.submissions import Submissions


class Evidence(Protocol):
    """What the gateway needs of `goalkeeper.evidence.EvidenceStore`."""

    async def get(self, digest: str) -> bytes:
        """The artifact with this digest; raises `NotFound`, `AuditBroken`, `StoreUnavailable`."""
        ...


def utc_now() -> datetime:
    """The time, to the millisecond: what is signed is what is shown."""
    now = datetime.now(UTC)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)


@dataclass(frozen=True)
class Services:
    """The gateway's parts."""

    identities: Identities
    goals: Goals
    inbox: Inbox
    record: Record
    decisions: Decisions
    delivery: Delivery
    submissions: Submissions
    sessions: Sessions
    throttle: Throttle
    vault_healthy: Callable[[], Awaitable[bool]]
    evidence: Evidence
    now: Callable[[], datetime]
    workflow_url: str
    """Where Temporal's UI shows a workflow, with ``{}`` for its id."""
    payloads: PayloadAccess | None = None
    """For the codec server; None opens nothing."""


def assemble(
    *,
    identities: Identities,
    goals: Goals,
    log: Log,
    signer: Signer,
    vault_healthy: Callable[[], Awaitable[bool]],
    evidence: Evidence,
    workflow_url: str = "",
    payloads: PayloadAccess | None = None,
    now: Callable[[], datetime] = utc_now,
    patience: timedelta = timedelta(seconds=5),
    backoff: Sequence[float] = BACKOFF,
) -> Services:
    """Put the parts together over what differs between production and tests.

    Args:
        identities: the people.
        goals: Temporal.
        log: the audit log.
        signer: who holds the decision key.
        vault_healthy: for the health check.
        evidence: what lost attempts left behind.
        workflow_url: see `Services`.
        payloads: see `Services`.
        now: the clock.
        patience: how long an answer waits to be seen counted.
        backoff: seconds between attempts to deliver what could not be delivered.
    """
    inbox = Inbox(goals, now)
    record = Record(log)
    delivery = Delivery(goals, inbox, record, backoff=backoff)
    return Services(
        identities=identities,
        goals=goals,
        inbox=inbox,
        record=record,
        decisions=Decisions(inbox, record, signer, delivery, now, patience=patience),
        delivery=delivery,
        submissions=Submissions(signer, now),
        sessions=Sessions(identities, now),
        throttle=Throttle(),
        vault_healthy=vault_healthy,
        evidence=evidence,
        now=now,
        workflow_url=workflow_url,
        payloads=payloads,
    )
