"""`kill -9` of the gateway between a click and its signal: one decision counts, and only once.

The gateway is held at a known place, while it signs or while it writes the decision down, by
holding the write lock of the audit log. Nothing here depends on how fast anything is.
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager

import pytest

from goalkeeper.client import Client, Goal
from goalkeeper.client.gateway import Decided
from goalkeeper.contracts.goal import OpenRequest
from goalkeeper.domain.audit import AuditKind
from goalkeeper.domain.errors import TransientError
from goalkeeper.domain.plan import GoalState
from goalkeeper.settings import Settings
from tests.chaos.contracts import MERGE
from tests.chaos.soundness import Chaos
from tests.support.live import asked, decide, recorded, until


@contextmanager
def _audit_held(settings: Settings) -> Iterator[None]:
    """Nobody can write the audit log for the length of the block; reading goes on."""
    with closing(sqlite3.connect(settings.audit_file, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")


def _signatures(settings: Settings) -> int:
    """How often Vault's own log says that it has signed a decision."""
    lines = (settings.state / "vault" / "audit.log").read_text().splitlines()
    return sum('"type":"response"' in line and "transit/sign/decisions" in line for line in lines)


@asynccontextmanager
async def _signed_not_recorded(
    chaos: Chaos, operator: Client, request: OpenRequest
) -> AsyncIterator["asyncio.Task[Decided]"]:
    """A click whose decision is signed, and cannot be written down within the block."""
    before = _signatures(chaos.settings)

    async def signed() -> bool:
        return _signatures(chaos.settings) > before

    with _audit_held(chaos.settings):
        click = asyncio.create_task(
            operator.decide(request.request.id, "approve", "seen", digest=request.digest)
        )
        await until(signed, "a signed decision")
        yield click


async def _asking(chaos: Chaos, developer: Client, name: str) -> Goal:
    branch = chaos.host.repository.feature(f"feature/{name}", f"{name} died!")
    return await developer.submit(
        MERGE, repository=chaos.host.url, branch=branch, environment="production"
    )


async def test_a_click_that_was_not_recorded_may_be_made_again(
    chaos: Chaos, developer: Client, operator: Client
) -> None:
    """Killed before the decision was on record: the person sees an error, and clicks again."""
    goal = await _asking(chaos, developer, "unrecorded")
    request = await asked(goal)
    async with _signed_not_recorded(chaos, operator, request) as click:
        before = await chaos.victims.kill("gateway")
    with pytest.raises(TransientError):
        await click
    await chaos.victims.back(before)
    assert recorded(chaos.settings, goal.id, AuditKind.APPROVAL_DECIDED) == []
    assert (await goal.progress()).state is GoalState.AWAITING_APPROVAL
    await decide(operator, request)
    await chaos.sound(goal)
    chaos.decided_once(goal.id, actions=1)


async def test_a_recorded_click_reaches_its_goal_although_the_gateway_died(
    chaos: Chaos, developer: Client, operator: Client
) -> None:
    """Killed after the record and before the signal: the next gateway signals it unasked.

    Temporal is dead meanwhile, so that the signal cannot slip out, and the supervisor stands
    still, so that neither is back too early.
    """
    goal = await _asking(chaos, developer, "unsignalled")
    request = await asked(goal)
    supervisor = await chaos.victims.supervisor()

    async def on_record() -> bool:
        return bool(recorded(chaos.settings, goal.id, AuditKind.APPROVAL_DECIDED))

    try:
        async with _signed_not_recorded(chaos, operator, request) as click:
            supervisor.suspend()
            temporal = await chaos.victims.kill("temporal")
        await until(on_record, "the decision on record")
        gateway = await chaos.victims.kill("gateway")
    finally:
        supervisor.resume()
    with pytest.raises(TransientError):
        await click
    await chaos.victims.back(temporal)
    await chaos.victims.back(gateway)
    await chaos.sound(goal)
    chaos.decided_once(goal.id, actions=1)
    (answered,) = await goal.approvals()
    assert (answered.closed, answered.approved_by) == ("approved", ("operator",))


async def test_a_second_click_after_the_gateways_death_is_the_same_decision(
    chaos: Chaos, developer: Client, operator: Client
) -> None:
    """Whoever clicks again although the decision is on record gets that one, not another."""
    goal = await _asking(chaos, developer, "impatient")
    request = await asked(goal)
    async with _signed_not_recorded(chaos, operator, request) as click:
        pass
    first = await click
    before = await chaos.victims.kill("gateway")
    await chaos.victims.back(before)
    await chaos.sound(goal)
    again = await decide(operator, request)
    assert (again.decision_id, again.counted) == (first.decision_id, True)
    chaos.decided_once(goal.id, actions=1)
