"""The benchmarks of a goal's speed: chains, a fan-out, and from a decision to what it lets run.

What a side does before its clock starts is the same for both.
"""

import time
from collections.abc import Callable
from typing import Any

from temporalio.client import Client

from goalkeeper.audit import AuditLog
from goalkeeper.bench.bare import BareChain, BareDecision, BareFanOut
from goalkeeper.bench.measure import (
    Limit,
    Progress,
    Row,
    interleaved,
    judged,
    percentiles,
    report,
)
from goalkeeper.bench.stand import Stand, bare_worker, finish, start_bare
from goalkeeper.bench.stock import stock_temporal
from goalkeeper.bench.work import (
    READ,
    WRITE,
    approved_seconds,
    asked,
    asking,
    contract_of,
    goal_seconds,
    submitted,
)

CHAIN = 100
FAN_OUT = 1000
_DECISIONS_A_ROUND = 6


async def chain(stand: Stand, rounds: int, progress: Progress) -> Row:
    """Milliseconds a task, of 100 no-op tasks in sequence, with the goal's beginning and end."""
    row = await _chains("chain", stand, stand.bare, WRITE, rounds, progress)
    return judged(row, Limit("ratio", 1.3))


async def chain_read(stand: Stand, rounds: int, progress: Progress) -> Row:
    """The same of tasks that only read, and are quick about it: local activities."""
    row = await _chains("chain_read", stand, stand.bare, READ, rounds, progress)
    return judged(row, Limit("ratio", 0.5))


async def chain_stock(stand: Stand, rounds: int, progress: Progress) -> Row:
    """The first chain, against the bare workflow on a server as Temporal ships it."""
    folder = stand.settings.state / "stock"
    async with stock_temporal(folder) as address, bare_worker(address, folder):
        stock = await Client.connect(address)
        row = await _chains("chain_stock", stand, stock, WRITE, rounds, progress)
    return judged(row, Limit("ratio", 0.45))


async def fan_out(stand: Stand, rounds: int, progress: Progress) -> Row:
    """No-op tasks a second, of 1,000 that need nothing of one another."""
    contract = contract_of(FAN_OUT, chained=False)

    async def ours() -> float:
        return FAN_OUT / await goal_seconds(stand, contract)

    async def bare() -> float:
        return FAN_OUT / await bare_seconds(stand.bare, BareFanOut.run, FAN_OUT)

    pairs = await interleaved("fan_out", ours, bare, rounds, progress)
    return judged(report(pairs, unit="tasks a second"), Limit("ratio", 0.8, at_least=True))


async def decision(stand: Stand, rounds: int, progress: Progress) -> Row:
    """Milliseconds from the decision's signal to the beginning of what it lets run."""
    audit = AuditLog.open(stand.settings.audit_file, readonly=True)
    samples = rounds * _DECISIONS_A_ROUND

    async def ours() -> float:
        handle = await submitted(stand, asking())
        return await approved_seconds(stand, handle, await asked(handle), audit) * 1000

    async def bare() -> float:
        handle = await stand.start_bare(BareDecision.run)
        await handle.query(BareDecision.decided)
        began = time.time()
        await handle.signal(BareDecision.decide)
        return float(await finish(handle) - began) * 1000

    pairs = await interleaved("decision", ours, bare, samples, progress)
    row = {**report(pairs, unit="ms"), **percentiles([p.ours for p in pairs])}
    return judged(row, Limit("p50", 40), Limit("p95", 80))


async def _chains(
    name: str, stand: Stand, client: Client, uses: str, rounds: int, progress: Progress
) -> Row:
    contract = contract_of(CHAIN, chained=True, uses=uses)

    async def ours() -> float:
        return await goal_seconds(stand, contract) * 1000 / CHAIN

    async def bare() -> float:
        return await bare_seconds(client, BareChain.run, CHAIN) * 1000 / CHAIN

    return report(await interleaved(name, ours, bare, rounds, progress), unit="ms a step")


async def bare_seconds(client: Client, workflow: Callable[..., Any], tasks: int) -> float:
    """Seconds that a bare workflow takes, from its start to its result."""
    began = time.perf_counter()
    await finish(await start_bare(client, workflow, tasks))
    return time.perf_counter() - began
