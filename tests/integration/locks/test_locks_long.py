"""Locks that outlive one workflow run, and locks that are replayed from their history."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from temporalio.client import WorkflowExecutionStatus
from temporalio.worker import Replayer

from goalkeeper.contracts.locks import SIGNAL_ACQUIRE, UPDATE_BREAK, workflow_id
from goalkeeper.embedded.temporal import TemporalServer
from goalkeeper.temporal import plugin
from tests.support.holder import Holder
from tests.support.locks import Stand, running_stand
from workflows.locks import LockWorkflow


@pytest.fixture
async def impatient(impatient_server: TemporalServer, tmp_path: Path) -> AsyncIterator[Stand]:
    """Locks that continue as new after a few grants."""
    async with running_stand(impatient_server.address, tmp_path) as made:
        yield made


async def runs_of(stand: Stand) -> list[str]:
    """The runs of the lock `name`, in no order."""
    found = []
    async for each in stand.client.list_workflows(f'WorkflowId = "{workflow_id(stand.name)}"'):
        found.append(each.run_id)
    return found


async def test_nobody_is_lost_while_a_lock_continues_as_new(impatient: Stand) -> None:
    """Many goals at once: each has the lock once, never two at a time, tokens without a gap."""
    goals = await asyncio.gather(*(impatient.goal(want=False, work=True) for _ in range(20)))
    async with asyncio.timeout(150):
        for goal in goals:
            await goal.handle.result()
    view = await impatient.until(lambda v: not v.holders)
    assert view.token == 20
    record = impatient.record()[:39]
    assert [kind for kind, _ in record] == ["lock.granted", "lock.released"] * 19 + ["lock.granted"]
    assert sorted(g for kind, g in record if kind == "lock.granted") == sorted(g.id for g in goals)
    first = await impatient.lock().describe()
    assert first.raw_description.workflow_execution_info.first_run_id != first.run_id


async def test_holder_and_queue_are_carried_over(impatient: Stand) -> None:
    """And the next run goes on to watch, to grant and to know its duplicates."""
    holder = await impatient.holder()
    waiting = [await impatient.goal() for _ in range(2)]
    for goal in waiting:
        await goal.queued()
    before = await impatient.view()
    run = (await impatient.lock().describe()).run_id
    again = {"name": impatient.name, **before.queue[0].model_dump(mode="json", exclude={"since"})}
    while (await impatient.lock().describe()).run_id == run:
        await impatient.lock().signal(SIGNAL_ACQUIRE, again)
    after = await impatient.until(lambda v: bool(v.holders))
    assert after == before
    await holder.handle.terminate("out of memory")
    await impatient.lock().signal(SIGNAL_ACQUIRE, again)
    await waiting[0].until(lambda v: v.held)
    await impatient.lock().execute_update(UPDATE_BREAK, {"reason": "it hangs"})
    await waiting[1].until(lambda v: v.held)


async def test_a_goal_that_continues_as_new_keeps_its_locks(stand: Stand) -> None:
    """The lock knows it by its workflow id, whichever run it is in."""
    goal = await stand.holder()
    run = (await goal.view()).run
    await goal.handle.signal(Holder.carry)
    view = await goal.until(lambda v: v.run != run)
    assert view.held
    assert (await goal.until(lambda v: len(v.moves) == 2)).moves == (False, False)
    assert (await stand.view()).token == 1
    await goal.handle.execute_update(Holder.release)
    await stand.until(lambda v: not v.holders)


async def test_a_goal_that_continues_as_new_keeps_its_place_in_the_queue(stand: Stand) -> None:
    """A grant that comes to the next run is taken as if nothing had been in between."""
    holder = await stand.holder()
    goal = await stand.goal()
    await goal.queued()
    place = (await stand.view()).queue
    run = (await goal.view()).run
    await goal.handle.signal(Holder.carry)
    await goal.until(lambda v: v.run != run)
    await holder.end()
    await goal.until(lambda v: v.moves == (False,))
    view = await stand.view()
    assert view.holders[0].claim == place[0].claim
    assert view.token == 2


async def test_what_was_lost_is_remembered_over_continue_as_new(stand: Stand) -> None:
    """So that the goal looks again although another run of it let go."""
    goal = await stand.holder()
    await goal.handle.execute_update(Holder.let_go)
    other = await stand.holder()
    run = (await goal.view()).run
    await goal.handle.signal(Holder.carry)
    await goal.until(lambda v: v.run != run)
    await goal.handle.signal(Holder.want)
    await goal.queued()
    await other.end()
    assert (await goal.until(lambda v: len(v.moves) == 2)).moves == (False, True)


async def test_locks_replay_from_their_whole_history(
    temporal_server: TemporalServer, tmp_path: Path
) -> None:
    """A holder that died, a family, a broken lock: a replayer agrees with what was done."""
    async with running_stand(temporal_server.address, tmp_path) as stand:
        gone, after, child = await stand.holder(), await stand.goal(), await stand.goal(owner="x")
        await after.queued()
        await gone.handle.terminate("out of memory")
        await stand.lock().signal(SIGNAL_ACQUIRE, "nonsense")
        last = await stand.goal(owner="x")
        await after.until(lambda v: v.held)
        await last.queued()
        await after.handle.execute_update(Holder.let_go)
        await child.until(lambda v: v.held)
        await after.handle.signal(Holder.want)
        await after.queued()
        await stand.lock().execute_update(UPDATE_BREAK, {"reason": "it hangs"})
        view = await after.until(lambda v: len(v.moves) == 2)
        assert view.moves == (False, True)
        await after.end()
        await stand.until(lambda v: not v.holders and not v.queue)
        replayer = Replayer(workflows=[LockWorkflow, Holder], plugins=[plugin()])
        for handle in (stand.lock(), after.handle, child.handle):
            await replayer.replay_workflow(await handle.fetch_history())


async def test_a_free_lock_does_nothing(stand: Stand) -> None:
    """No timer runs and no event is added; it is there when somebody asks."""
    goal = await stand.holder()
    await goal.end()
    await stand.until(lambda v: not v.holders)
    described = await stand.lock().describe()
    assert described.status is WorkflowExecutionStatus.RUNNING
    history = await stand.lock().fetch_history()
    timers = [e.timer_started_event_attributes for e in history.events if e.event_type == 17]
    ended = [e for e in history.events if e.event_type in (18, 19)]
    assert len(timers) == len(ended)
