"""Following goals on a running stack, through whatever is restarted meanwhile.

It uses the client as anybody would and looks at the stack's own record; it changes neither.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from goalkeeper.audit import AuditLog
from goalkeeper.client import Client, Goal
from goalkeeper.client.gateway import Decided
from goalkeeper.contracts.goal import OpenRequest
from goalkeeper.domain.approval import Answer
from goalkeeper.domain.audit import AuditEvent, AuditKind
from goalkeeper.domain.errors import TransientError
from goalkeeper.domain.goal import GoalResult
from goalkeeper.settings import Settings

T = TypeVar("T")

_PATIENCE = 90.0
_LOOK_EVERY = 0.05


async def until(
    look: Callable[[], Awaitable[T | None]], what: str, *, patience: float = _PATIENCE
) -> T:
    """Look again and again until there is something to see; then what was seen.

    An outage is nothing to see yet: whatever was killed comes back.
    """
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        try:
            seen = await look()
        except TransientError:
            seen = None
        if seen:
            return seen
        await asyncio.sleep(_LOOK_EVERY)
    raise AssertionError(f"not seen within {patience:g} s: {what}")


async def asked(goal: Goal) -> OpenRequest:
    """The first request of a goal that waits for an answer."""

    async def look() -> OpenRequest | None:
        progress = await goal.progress()
        assert progress.failure is None, progress.failure
        return next((r for r in progress.requests if r.closed is None), None)

    return await until(look, f"a request of {goal.id}")


async def ended(goal: Goal) -> GoalResult:
    """The goal's result, however often Temporal was away in between."""

    async def look() -> GoalResult | None:
        return await goal.result(timeout=_PATIENCE)

    return await until(look, f"the end of {goal.id}", patience=2 * _PATIENCE)


async def decide(
    client: Client, request: OpenRequest, answer: Answer = Answer.APPROVE, reason: str = "seen"
) -> Decided:
    """Answer as a person who clicks again while something is down."""

    async def look() -> Decided | None:
        return await client.decide(request.request.id, answer, reason=reason, digest=request.digest)

    return await until(look, f"an answer to {request.request.id}")


def recorded(settings: Settings, goal_id: str, kind: AuditKind) -> list[AuditEvent]:
    """What the audit log holds of one kind about a goal."""
    log = AuditLog.open(settings.audit_file, readonly=True)
    return [e.event for e in log.entries(goal_id=goal_id, kind=kind)]
