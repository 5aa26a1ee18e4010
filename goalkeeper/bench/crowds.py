"""The benchmarks with many goals at once: a crowd that waits, and a storm that arrives.

Goals are told apart by their ids alone; none is asked anything that would wake it up.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import psutil
from temporalio.client import WorkflowHandle

from goalkeeper.audit import AuditLog
from goalkeeper.bench.measure import Limit, Progress, Row, judged, percentiles, rounded
from goalkeeper.bench.stand import Stand, finish
from goalkeeper.bench.work import (
    approved_seconds,
    asked_on_record,
    asking,
    contract_of,
    submitted,
)
from goalkeeper.client.starting import AT_ONCE
from goalkeeper.contracts.goal import WORKFLOW
from goalkeeper.domain.audit import AuditKind
from goalkeeper.domain.contract import Contract
from goalkeeper.domain.errors import ServiceUnavailable
from goalkeeper.domain.plan import GoalState

WAITING = 10_000
FEW_WAITING = 1_000
STORM = 1_000
_WAIT = f'GoalState = "{GoalState.AWAITING_APPROVAL}" AND ExecutionStatus = "Running"'
_ARRIVED = f'GoalState = "{GoalState.SUCCEEDED}" AND GoalEnvironment = "development"'
_RESUMED = 60
_DECIDED = 400
"""Goals that wait before the storm: enough for a decision every quarter of a second of it."""
_DECISION_EVERY = 0.25
_STALLED = 60
"""Seconds without a further goal that waits, after which something is wrong."""


async def waiting(stand: Stand, goals: int, progress: Progress) -> Row:
    """Goals that wait for people: the worker's memory, and how fast any one of them goes on."""
    audit = AuditLog.open(stand.settings.audit_file, readonly=True)
    handles = await _waiting_goals(stand, goals, audit, progress)
    peak = resident_mib(stand.worker.pid)
    # Spread over all of them: those that came first have long been out of the worker's cache.
    chosen = handles[:: max(1, goals // _RESUMED)]
    resumed = [await _resumed(stand, handle, audit) for handle in chosen]
    peak = max(peak, resident_mib(stand.worker.pid))
    row: Row = {
        "ours": rounded(peak),
        "unit": "MiB of worker",
        "goals": goals,
        "rounds": len(resumed),
        "resumed": "ms from the decision's signal to the attempt",
        **percentiles(resumed),
    }
    return judged(row, Limit("ours", 400), Limit("p95", 150))


async def storm(stand: Stand, goals: int, progress: Progress) -> Row:
    """Milliseconds from a decision to what it lets run, while goals arrive in a storm."""
    audit = AuditLog.open(stand.settings.audit_file, readonly=True)
    handles = await _waiting_goals(stand, min(_DECIDED, goals), audit, progress)
    contract = contract_of(1, chained=False)
    arriving = asyncio.create_task(_all_through(stand, contract, goals))
    decided: list[asyncio.Task[float]] = []
    loop = asyncio.get_running_loop()
    began = loop.time()
    while handles and not arriving.done():
        decided.append(asyncio.create_task(_resumed(stand, handles.pop(), audit)))
        await asyncio.sleep(_DECISION_EVERY)
    await arriving
    took = loop.time() - began
    latencies = list(await asyncio.gather(*decided))
    progress(f"storm: {goals} goals ended within {took:.0f} s, {len(latencies)} decisions in it")
    row: Row = {
        "ours": percentiles(latencies)["p95"],
        "unit": "ms, 95th percentile",
        "goals": goals,
        "goals_a_second": rounded(goals / took),
        "rounds": len(latencies),
        **percentiles(latencies),
    }
    return judged(row, Limit("p95", 1000))


def resident_mib(pid: int | None) -> float:
    """Memory of a process and its children that is in RAM."""
    if pid is None:
        return 0.0
    process = psutil.Process(pid)
    return sum(p.memory_info().rss for p in (process, *process.children(recursive=True))) / 2**20


async def _waiting_goals(
    stand: Stand, goals: int, audit: AuditLog, progress: Progress
) -> list[WorkflowHandle[Any, Any]]:
    """Goals that have asked for approval and wait, by Temporal's own count."""
    handles = await _submit_all(stand, asking(), goals, progress)
    loop = asyncio.get_running_loop()
    seen, since = -1, loop.time()
    while (now := await _count(stand, _WAIT)) < goals:
        if now != seen:
            seen, since = now, loop.time()
        elif loop.time() - since > _STALLED:
            raise ServiceUnavailable(f"only {now} of {goals} goals wait for approval")
        await asyncio.sleep(0.5)
    assert next(audit.entries(kind=AuditKind.APPROVAL_REQUESTED)), "none on record"
    progress(f"{goals} goals wait for approval")
    return handles


async def _count(stand: Stand, where: str) -> int:
    query = f'WorkflowType = "{WORKFLOW}" AND {where}'
    return (await stand.client.count_workflows(query)).count


async def _submit_all(
    stand: Stand, contract: Contract, goals: int, progress: Progress
) -> list[WorkflowHandle[Any, Any]]:
    handles: list[WorkflowHandle[Any, Any]] = []

    async def one() -> None:
        handles.append(await submitted(stand, contract))
        if len(handles) % 1000 == 0:
            progress(f"{len(handles)} of {goals} goals submitted")

    await _in_turns([one] * goals)
    return handles


async def _all_through(stand: Stand, contract: Contract, goals: int) -> None:
    """Submit as fast as the server takes them from one client; until the last has ended."""
    handles = await _submit_all(stand, contract, goals, lambda _: None)
    # By count: a thousand callers that wait for their results would be a storm of their own.
    while await _count(stand, _ARRIVED) < goals:  # noqa: ASYNC110 - a count on the server
        await asyncio.sleep(1)
    await finish(handles[-1])


async def _in_turns(doing: Sequence[Callable[[], Awaitable[None]]]) -> None:
    free = asyncio.Semaphore(AT_ONCE)

    async def one(do: Callable[[], Awaitable[None]]) -> None:
        async with free:
            await do()

    async with asyncio.TaskGroup() as group:
        for do in doing:
            group.create_task(one(do))


async def _resumed(stand: Stand, handle: WorkflowHandle[Any, Any], audit: AuditLog) -> float:
    request = asked_on_record(audit, handle.id)
    return await approved_seconds(stand, handle, request, audit) * 1000
