"""Locks as people reach them: listed and broken through the Python client."""

import pytest
from temporalio.client import Client as Temporal

from goalkeeper.client import Client
from goalkeeper.client.locks import break_lock, list_locks
from goalkeeper.contracts.locks import LockView
from goalkeeper.domain.errors import Conflict, InvalidGoal, NotFound
from tests.support.locks import Stand


class Unproven(Client):
    """A client in nobody's name on the connection of the test."""

    def __init__(self, stand: Stand) -> None:
        super().__init__(stand.settings)
        self._connection = stand.client

    async def temporal(self) -> Temporal:
        """The test's own."""
        return self._connection


@pytest.fixture
def gk(stand: Stand) -> Client:
    """A client in nobody's name."""
    return Unproven(stand)


async def test_held_locks_are_listed_before_free_ones(stand: Stand, gk: Client) -> None:
    """With the goal that has one and those that wait, as the lock says at this moment."""
    free, held = f"a{stand.name}", f"b{stand.name}"
    await (await stand.holder(free)).end()
    await stand.until(lambda v: not v.holders, free)
    holder, waiting = await stand.holder(held), await stand.goal(held)
    await stand.until(lambda v: len(v.queue) == 1, held)
    found: list[LockView] = []
    while len(found) < 2:
        # Temporal lists a workflow a moment after it has started.
        found = [v for v in await list_locks(gk) if v.name in (free, held)]
    assert [v.name for v in found] == [held, free]
    assert [h.goal_id for h in found[0].holders] == [holder.id]
    assert [c.goal_id for c in found[0].queue] == [waiting.id]
    assert found[1].holders == ()


async def test_a_lock_is_broken_in_the_name_of_who_asks(stand: Stand, gk: Client) -> None:
    """The answer is the lock as it is afterwards; the record has name and reason."""
    await stand.holder()
    view = await break_lock(gk, stand.name, " its host is gone ")
    assert view.holders == ()
    last = [e.event for e in stand.audit.entries(goal_id=stand.lock().id)][-1]
    assert last.kind == "lock.broken"
    assert last.actor == f"claimed:{await gk.who()}"
    assert last.detail["reason"] == "its host is gone"


async def test_what_cannot_be_broken_is_said_with_what_to_do(stand: Stand, gk: Client) -> None:
    """No such lock, no such name, no reason, no holder."""
    with pytest.raises(NotFound, match="goalkeeper locks"):
        await break_lock(gk, "never-asked-for", "x")
    with pytest.raises(InvalidGoal, match="cannot be a lock's name"):
        await break_lock(gk, "Not A Name", "x")
    with pytest.raises(InvalidGoal, match="reason"):
        await break_lock(gk, stand.name, "  ")
    await (await stand.holder()).end()
    await stand.until(lambda v: not v.holders)
    with pytest.raises(Conflict, match="free"):
        await break_lock(gk, stand.name, "x")
