"""Workers of different pools: each takes what is its own, and together they carry goals out."""

from typing import Any

from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowHandle

from goalkeeper.domain.plan import GoalState
from tests.integration.worker.conftest import Installation


async def queues(goal: WorkflowHandle[Any, Any]) -> dict[str, str]:
    """Activity id → the task queue that it went to, of what carried an operation out."""
    found = {}
    async for event in goal.fetch_history_events():
        if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
            scheduled = event.activity_task_scheduled_event_attributes
            if scheduled.activity_type.name.startswith("connector."):
                found[scheduled.activity_id] = scheduled.task_queue.name
    return found


async def test_each_pool_does_its_own_part_of_a_goal(installation: Installation) -> None:
    """Sandboxes on their queue, other operations on theirs, and the goal itself on its own."""
    apart = installation.with_settings(pools=("connectors", "sandbox"))
    for pool in ("workflows", "connectors", "sandbox"):
        await apart.start("--pool", pool)
    goal = await apart.submit(
        {"id": "call", "uses": "core.noop"},
        {"id": "box", "uses": "sandbox.run", "with": {"command": ["true"]}},
    )
    assert (await goal.result())["state"] == GoalState.SUCCEEDED
    main = apart.settings.task_queue
    assert await queues(goal) == {"call.0": f"{main}-connectors", "box.0": f"{main}-sandbox"}


async def test_one_worker_serves_all_queues_unless_told_otherwise(
    installation: Installation,
) -> None:
    """So an embedded stack needs no more than the setting."""
    apart = installation.with_settings(pools=("sandbox",))
    await apart.start()
    goal = await apart.submit(
        {"id": "call", "uses": "core.noop"},
        {"id": "box", "uses": "sandbox.run", "with": {"command": ["true"]}},
    )
    assert (await goal.result())["state"] == GoalState.SUCCEEDED
    main = apart.settings.task_queue
    assert await queues(goal) == {"call.0": main, "box.0": f"{main}-sandbox"}
