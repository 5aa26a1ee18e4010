"""Pools: which task queues a process serves, and with what settings.

It opens nothing; what activities work with is handed in.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from importlib.metadata import version
from typing import Any, get_args

from temporalio.client import Client
from temporalio.common import VersioningBehavior, WorkerDeploymentVersion
from temporalio.worker import Worker, WorkerDeploymentConfig

from activities.goal import GoalActivities
from activities.locks import LockActivities
from activities.parts import Parts
from goalkeeper.contracts.goal import Pool, planning_queue
from goalkeeper.domain.errors import InvalidSettings
from goalkeeper.settings import DEPLOYMENT, Settings
from workflows.goal import GoalWorkflow
from workflows.locks import LockWorkflow

ALL_POOLS: tuple[Pool, ...] = get_args(Pool)
PLANS = 4
"""Goals that one process plans at a time. It bounds how many new goals are between their start and
their first wait, and so how long a person's decision waits behind the steps of a storm of them."""
_BEAT = timedelta(seconds=5)
"""A cancellation reaches the activity with the answer to a heartbeat."""


def served(settings: Settings, chosen: Collection[str] = ()) -> tuple[Pool, ...]:
    """The pools that a process serves when it is told to serve the chosen ones.

    A pool without a queue of its own shares the goals' queue, so whoever serves the one serves
    the other too.

    Args:
        settings: which pools have a queue of their own.
        chosen: pools; none, or ``all``, means all of them.

    Raises:
        InvalidSettings: there is no such pool, or it has no queue of its own.
    """
    wanted = set(ALL_POOLS) if not chosen or "all" in chosen else set(chosen)
    unknown = wanted - set(ALL_POOLS)
    if unknown:
        raise InvalidSettings(
            f"there is no pool '{min(unknown)}'; there are {', '.join(ALL_POOLS)}"
        )
    shared = {p for p in ALL_POOLS if p not in settings.pools}
    if "workflows" in wanted:
        wanted |= shared
    alone = wanted & shared
    if "workflows" not in wanted and alone:
        raise InvalidSettings(
            f"pool '{min(alone)}' has no task queue of its own, so no worker can serve it alone: "
            f"add it to the setting 'pools', for all workers alike (pools = [\"{min(alone)}\"])"
        )
    return tuple(p for p in ALL_POOLS if p in wanted)


@asynccontextmanager
async def running_workers(
    settings: Settings, client: Client, parts: Parts, pools: Collection[Pool] = ALL_POOLS
) -> AsyncIterator[None]:
    """One Temporal worker for each queue that these pools have, for the length of the block."""
    workers = _workers(settings, client, parts, pools)
    async with AsyncExitStack() as stack:
        for worker in workers:
            await stack.enter_async_context(worker)
        try:
            yield
        finally:
            # At once, so that they share one grace instead of each having its own in turn.
            await asyncio.gather(*(w.shutdown() for w in workers))


def _workers(
    settings: Settings, client: Client, parts: Parts, pools: Collection[Pool]
) -> list[Worker]:
    goal = GoalActivities(parts)
    workers = []
    if "workflows" in pools:
        locks = LockActivities(settings.task_queue)
        workers.append(_goals_worker(settings, client, [*goal.all, *locks.all]))
        workers.append(_planning_worker(settings, client, goal))
    for pool in settings.pools:
        if pool in pools:
            workers.append(_pool_worker(settings, client, pool, goal.operations))
    return workers


def _goals_worker(
    settings: Settings, client: Client, activities: Sequence[Callable[..., Any]]
) -> Worker:
    return Worker(
        client,
        task_queue=settings.task_queue,
        workflows=[GoalWorkflow, LockWorkflow],
        activities=activities,
        max_concurrent_activities=settings.worker_activities,
        max_concurrent_local_activities=settings.worker_activities,
        max_cached_workflows=settings.worker_cached_workflows,
        # The default of 3 costs 8 % on a fan-out and a third more of the server's CPU.
        max_eager_activity_reservations_per_workflow_task=settings.window,
        max_heartbeat_throttle_interval=_BEAT,
        default_heartbeat_throttle_interval=_BEAT,
        graceful_shutdown_timeout=timedelta(seconds=settings.graceful_shutdown_seconds),
        **_version(settings),
    )


def _planning_worker(settings: Settings, client: Client, goal: GoalActivities) -> Worker:
    return Worker(
        client,
        task_queue=planning_queue(settings.task_queue),
        activities=[goal.plan],
        max_concurrent_activities=PLANS,
        max_concurrent_activity_task_polls=PLANS,
        graceful_shutdown_timeout=timedelta(seconds=settings.graceful_shutdown_seconds),
        **_version(settings),
    )


def _pool_worker(
    settings: Settings, client: Client, pool: Pool, activities: Sequence[Callable[..., Any]]
) -> Worker:
    # What finds no room here stays in the queue, where another machine's worker can take it.
    sandboxes = pool == "sandbox"
    return Worker(
        client,
        task_queue=f"{settings.task_queue}-{pool}",
        activities=activities,
        max_concurrent_activities=(
            settings.sandbox_concurrency if sandboxes else settings.worker_activities
        ),
        max_heartbeat_throttle_interval=_BEAT,
        default_heartbeat_throttle_interval=_BEAT,
        graceful_shutdown_timeout=timedelta(seconds=settings.graceful_shutdown_seconds),
        **_version(settings),
    )


def _version(settings: Settings) -> dict[str, Any]:
    """What Temporal is told about this worker's code.

    Left to itself, the SDK hashes every loaded module at each start (1.5 s of CPU), and the hash
    stands in the history of each task.
    """
    versioned = deployment(settings)
    return {"deployment_config": versioned} if versioned else {"build_id": version("goalkeeper")}


def deployment(settings: Settings) -> WorkerDeploymentConfig | None:
    """The version that this worker says it is, where the installation tells versions apart.

    Goals live for days and follow the current version at their next step (auto-upgrade): pinned
    ones would need every old worker kept until the last of its goals has ended. That an open goal
    goes on under newer code is what the replay tests hold.
    """
    if settings.deployment_version is None:
        return None
    return WorkerDeploymentConfig(
        version=WorkerDeploymentVersion(DEPLOYMENT, settings.deployment_version),
        use_worker_versioning=True,
        default_versioning_behavior=VersioningBehavior.AUTO_UPGRADE,
    )
