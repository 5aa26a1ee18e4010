"""Where the worker's time goes: `python -m goalkeeper.bench.profile chain`.

For whoever makes it faster; no part of the product. The profiler slows Python down by about half,
so shares are told and never speeds.
"""

import argparse
import asyncio
import marshal
import signal
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import TypedDict

from goalkeeper.bench.goals import CHAIN, FAN_OUT
from goalkeeper.bench.profiled import Function, Spent
from goalkeeper.bench.stand import Stand, open_stand
from goalkeeper.bench.work import READ, WRITE, contract_of, goal_seconds
from goalkeeper.domain.contract import Contract
from goalkeeper.settings import load_settings


class Told(TypedDict):
    """What the profiled worker leaves behind."""

    cpu: float
    spent: dict[Function, Spent]


WORK = {
    "chain": contract_of(CHAIN, chained=True, uses=WRITE),
    "chain_read": contract_of(CHAIN, chained=True, uses=READ),
    "fan_out": contract_of(FAN_OUT, chained=False, uses=WRITE),
}
_ROUNDS = 5
_TOP = 25
_PATIENCE = 60
"""Seconds until the profile is written."""
_WORTH_TELLING = 0.01


async def _measured(contract: Contract, rounds: int, file: Path) -> None:
    module = ("-m", "goalkeeper.bench.profiled", str(file))
    settings = load_settings(Path("/nonexistent"), environ={})
    async with open_stand(settings, _say, worker_module=module) as stand:
        await _work(stand, contract, rounds)
        stand.worker.signal(signal.SIGUSR2)
        async with asyncio.timeout(_PATIENCE):
            while not file.exists():  # noqa: ASYNC110, ASYNC240 - another process writes it
                await asyncio.sleep(0.1)


async def _work(stand: Stand, contract: Contract, rounds: int) -> None:
    await goal_seconds(stand, contract)
    stand.worker.signal(signal.SIGUSR1)
    for number in range(rounds):
        took = await goal_seconds(stand, contract)
        _say(f"round {number + 1} of {rounds}: {took:.2f} s, profiled")


def _say(line: str) -> None:
    print(line, file=sys.stderr)


def _told(file: Path, tasks: int) -> None:
    told: Told = marshal.loads(file.read_bytes())  # noqa: S302 - our own worker wrote it
    cpu, spent = told["cpu"], told["spent"]
    total = sum(own for _, own, _ in spent.values())
    python = f"{total / cpu:.0%} of it in Python"
    print(f"{cpu * 1000 / tasks:.2f} ms of CPU a task with the profiler, {python}")
    print("\nby module, the time in its own functions:")
    modules: dict[str, float] = defaultdict(float)
    for (path, _, name), (_, own, _) in spent.items():
        modules[_module(path, name)] += own
    for module, own in sorted(modules.items(), key=lambda kv: -kv[1])[:_TOP]:
        print(f"  {own / total:6.1%}  {own * 1000 / tasks:7.3f} ms  {module}")
    print("\nby function, with all that it calls:")
    for function, (calls, _, whole) in sorted(spent.items(), key=lambda kv: -kv[1][2]):
        if calls >= tasks // 2 and whole / total > _WORTH_TELLING:
            share = f"{whole / total:6.1%}  {whole * 1000 / tasks:7.3f} ms"
            print(f"  {share}  {calls / tasks:6.2f} calls a task  {_named(function)}")


def _module(path: str, name: str) -> str:
    """The package of a library, our own module, or the built-in function."""
    if path == "~":
        return name
    if "site-packages/" in path:
        parts = path.rpartition("site-packages/")[2].split("/")
        return "/".join(parts[: 3 if parts[0] == "temporalio" else 1])
    parts = path.split("/")
    return "/".join(parts[-3:])


def _named(function: Function) -> str:
    path, line, name = function
    return name if path == "~" else f"{_module(path, name)}:{line} {name}"


def main() -> int:
    """Measure one kind of goal and tell where the time went."""
    parser = argparse.ArgumentParser(prog="goalkeeper.bench.profile", description=__doc__)
    parser.add_argument("work", choices=tuple(WORK))
    parser.add_argument("--rounds", type=int, default=_ROUNDS)
    chosen = parser.parse_args()
    contract = WORK[chosen.work]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "worker.prof"
        asyncio.run(_measured(contract, chosen.rounds, file))
        _told(file, chosen.rounds * len(contract.tasks))
    return 0


if __name__ == "__main__":
    sys.exit(main())
