"""The benchmarks on Temporal: a chain, a fan-out, and from a decision to what it lets run.

Both sides run on one server; what a side does before its clock starts is the same for both.
"""

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from temporalio.client import WorkflowHandle

from goalkeeper.audit import AuditLog
from goalkeeper.bench.bare import BareChain, BareDecision, BareFanOut
from goalkeeper.bench.measure import Limit, Progress, Row, interleaved, percentiles, report
from goalkeeper.bench.stand import APPROVER, Stand, finish, new_id
from goalkeeper.contracts.goal import (
    QUERY_APPROVALS,
    SIGNAL_DECISION,
    DecisionSignal,
    OpenRequest,
)
from goalkeeper.domain.approval import DECISION_TYPE, Answer, ApprovalRequest, Decision
from goalkeeper.domain.audit import AuditKind
from goalkeeper.domain.contract import Contract
from goalkeeper.domain.dsse import Envelope, seal
from goalkeeper.domain.errors import ServiceUnavailable

CHAIN = 100
FAN_OUT = 1000
_DECISIONS_A_ROUND = 6
_PATIENCE = timedelta(seconds=60)


async def chain(stand: Stand, rounds: int, progress: Progress) -> Row:
    """Milliseconds a task, of 100 no-op tasks in sequence, with the goal's beginning and end."""
    contract = contract_of(CHAIN, chained=True)

    async def ours() -> float:
        return await _goal_seconds(stand, contract) * 1000 / CHAIN

    async def bare() -> float:
        return await _bare_seconds(stand, BareChain.run, CHAIN) * 1000 / CHAIN

    pairs = await interleaved("chain", ours, bare, rounds, progress)
    return report(pairs, unit="ms a step", limit=Limit("ratio", 1.5))


async def fan_out(stand: Stand, rounds: int, progress: Progress) -> Row:
    """No-op tasks a second, of 1,000 that need nothing of one another."""
    contract = contract_of(FAN_OUT, chained=False)

    async def ours() -> float:
        return FAN_OUT / await _goal_seconds(stand, contract)

    async def bare() -> float:
        return FAN_OUT / await _bare_seconds(stand, BareFanOut.run, FAN_OUT)

    pairs = await interleaved("fan_out", ours, bare, rounds, progress)
    return report(pairs, unit="tasks a second", limit=Limit("ratio", 0.6, at_least=True))


async def decision(stand: Stand, rounds: int, progress: Progress) -> Row:
    """Milliseconds from the decision's signal to the beginning of what it lets run."""
    audit = AuditLog.open(stand.settings.audit_file, readonly=True)
    contract = contract_of(1, chained=False, environment="production")
    samples = rounds * _DECISIONS_A_ROUND

    async def ours() -> float:
        return await _decided_goal(stand, contract, audit) * 1000

    async def bare() -> float:
        handle = await stand.start_bare(BareDecision.run)
        await handle.query(BareDecision.decided)
        began = time.time()
        await handle.signal(BareDecision.decide)
        return float(await finish(handle) - began) * 1000

    pairs = await interleaved("decision", ours, bare, samples, progress)
    row = report(pairs, unit="ms", limit=Limit("ours", 150))
    row.update(percentiles([p.ours for p in pairs]))
    return row


def contract_of(tasks: int, *, chained: bool, environment: str = "development") -> Contract:
    """A contract of no-op tasks, which take the whole way of a write."""
    return Contract.model_validate(
        {
            "name": "bench",
            "environment": environment,
            "tasks": [
                {
                    "id": f"t{n}",
                    "uses": "core.noop",
                    "needs": [f"t{n - 1}"] if chained and n else [],
                }
                for n in range(tasks)
            ],
        }
    )


async def _goal_seconds(stand: Stand, contract: Contract) -> float:
    goal_id = new_id("goal")
    goal = await stand.goal_input(contract, goal_id)
    began = time.perf_counter()
    await finish(await stand.submit(goal, goal_id))
    return time.perf_counter() - began


async def _bare_seconds(stand: Stand, workflow: Callable[..., Any], tasks: int) -> float:
    began = time.perf_counter()
    await finish(await stand.start_bare(workflow, tasks))
    return time.perf_counter() - began


async def _decided_goal(stand: Stand, contract: Contract, audit: AuditLog) -> float:
    """Seconds until the attempt is on record: policy asked again, the grant verified and spent."""
    goal_id = new_id("goal")
    handle = await stand.submit(await stand.goal_input(contract, goal_id), goal_id)
    envelope = await _approval(stand, await _asked(handle))
    signal = DecisionSignal(envelope=envelope.model_dump(mode="json"))
    began = time.time()
    await handle.signal(SIGNAL_DECISION, signal)
    await finish(handle)
    intent = next(audit.entries(goal_id=goal_id, kind=AuditKind.TASK_INTENT))
    return intent.event.time.timestamp() - began


async def _asked(handle: WorkflowHandle[Any, Any]) -> ApprovalRequest:
    try:
        async with asyncio.timeout(_PATIENCE.total_seconds()):
            while True:
                found: list[OpenRequest] = await handle.query(
                    QUERY_APPROVALS, result_type=list[OpenRequest]
                )
                if found:
                    return found[0].request
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise ServiceUnavailable(
            f"the benchmark's goal '{handle.id}' did not ask for approval within {_PATIENCE}"
        ) from None


async def _approval(stand: Stand, request: ApprovalRequest) -> Envelope:
    """A signed yes, as the gateway makes one."""
    yes = Decision(
        id=f"bench-{uuid4().hex}",
        request_id=request.id,
        request_digest=request.digest,
        goal_id=request.goal_id,
        answer=Answer.APPROVE,
        person=APPROVER,
        groups=request.requirement.groups,
        channel="bench",
        decided_at=datetime.now(UTC),
    )
    return await seal(yes, DECISION_TYPE, stand.signer)
