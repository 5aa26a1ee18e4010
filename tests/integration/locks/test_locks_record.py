"""Locks on a real worker: what a lock may write into the record, and who may ask for one."""

from pathlib import Path

import pytest
from temporalio.testing import ActivityEnvironment

from activities.locks import LockActivities
from goalkeeper.contracts.activities import HolderInput, LockRequest
from goalkeeper.contracts.locks import SIGNAL_ACQUIRE, WORKFLOW, LockInput, workflow_id
from goalkeeper.domain.errors import GrantMismatch
from goalkeeper.embedded.temporal import TemporalServer
from tests.support.engine import running_engine
from tests.support.locks import Stand


async def test_a_workers_audit_log_takes_a_locks_entries(
    temporal_server: TemporalServer, tmp_path: Path
) -> None:
    """Granted, and taken back from a goal that is not there."""
    async with running_engine(temporal_server.address, tmp_path) as engine:
        name = tmp_path.name.replace("_", "-")[:60]
        request = LockRequest(name=name, goal_id="nobody", owner="nobody")
        handle = await engine.client.start_workflow(
            WORKFLOW,
            LockInput(name=name),
            id=workflow_id(name),
            task_queue=engine.settings.task_queue,
            start_signal=SIGNAL_ACQUIRE,
            start_signal_args=[request],
        )
        while len(engine.kinds(handle.id)) < 2:
            await handle.query("view")
        assert engine.kinds(handle.id) == ["lock.granted", "lock.released"]
        await handle.terminate()


async def test_a_workflow_asks_for_locks_in_its_own_name_alone(stand: Stand) -> None:
    """Otherwise one goal could put another into a queue, or share what is not its own."""
    request = LockRequest(name=stand.name, goal_id="another", owner="another")
    environment = ActivityEnvironment(client=stand.client)
    with pytest.raises(GrantMismatch, match="another"):
        await environment.run(LockActivities("unused").request, request)


async def test_a_goal_that_temporal_does_not_know_does_not_run(stand: Stand) -> None:
    """One that does, runs until it has ended."""
    holds = LockActivities("unused").holds
    environment = ActivityEnvironment(client=stand.client)
    assert (await environment.run(holds, HolderInput(goal_id="never-was"))).running is False
    goal = await stand.goal(want=False)
    assert (await environment.run(holds, HolderInput(goal_id=goal.id))).running is True
    await goal.end()
    assert (await environment.run(holds, HolderInput(goal_id=goal.id))).running is False
