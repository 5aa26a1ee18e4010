"""Goalkeeper, bare Temporal, Prefect and DBOS on the same chain and the same fan-out, in turns.

The peers run in an environment of their own, which is made at the first run and kept in the
user's cache; their scripts know nothing of Goalkeeper.
"""

import asyncio
import hashlib
import json
import os
import shutil
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from statistics import median

from goalkeeper.bench.bare import BareChain, BareFanOut
from goalkeeper.bench.goals import CHAIN, FAN_OUT, bare_seconds
from goalkeeper.bench.measure import Limit, Row, judged, rounded
from goalkeeper.bench.stand import Stand, open_stand
from goalkeeper.bench.work import contract_of, goal_seconds
from goalkeeper.domain.errors import OperationFailed
from goalkeeper.embedded import Ports
from goalkeeper.settings import load_settings

HERE = Path(__file__).parent
ROUNDS = 5
Side = Callable[[str], Awaitable[float]]
"""Carries ``chain`` or ``fan_out`` out once; its seconds."""


async def main(rounds: int) -> None:
    """Print one JSON object."""
    python = await _environment()
    settings = load_settings(Path("/nonexistent"), environ={})
    async with AsyncExitStack() as stack:
        stand = await stack.enter_async_context(open_stand(settings, _say))
        prefect = (str(CHAIN), str(FAN_OUT), str(Ports.free().worker))
        sides: dict[str, Side] = {
            "goalkeeper": _ours(stand),
            "bare_temporal": _bare(stand),
            "prefect": await stack.enter_async_context(_peer(python, "prefect_peer.py", prefect)),
            "dbos": await stack.enter_async_context(_peer(python, "dbos_peer.py", prefect[:2])),
        }
        found = {work: await _measured(work, sides, rounds) for work in ("chain", "fan_out")}
    print(json.dumps(_report(found, rounds), indent=2))


async def _measured(work: str, sides: Mapping[str, Side], rounds: int) -> dict[str, float]:
    """The median of each side; the first round warms up."""
    took: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds + 1):
        for name, side in sides.items():
            seconds = await side(work)
            if number:
                took[name].append(seconds)
        line = ", ".join(f"{n} {t[-1]:.3g} s" for n, t in took.items() if t)
        _say(f"{work}: round {number} of {rounds}: {line or 'warmed up'}")
    return {name: median(each) for name, each in took.items()}


def _report(found: Mapping[str, Mapping[str, float]], rounds: int) -> dict[str, Row]:
    rates = {name: rounded(FAN_OUT / took) for name, took in found["fan_out"].items()}
    steps = {name: rounded(took * 1000 / CHAIN) for name, took in found["chain"].items()}
    fan_out: Row = {
        **rates,
        "unit": "tasks a second",
        "over_prefect": rounded(rates["goalkeeper"] / rates["prefect"]),
        "over_dbos": rounded(rates["goalkeeper"] / rates["dbos"]),
        "rounds": rounds,
    }
    chain: Row = {**steps, "unit": "ms a step", "rounds": rounds}
    return {
        "fan_out": judged(fan_out, Limit("over_prefect", 2.5, at_least=True)),
        "chain": chain,
    }


def _ours(stand: Stand) -> Side:
    contracts = {
        "chain": contract_of(CHAIN, chained=True),
        "fan_out": contract_of(FAN_OUT, chained=False),
    }

    async def side(work: str) -> float:
        return await goal_seconds(stand, contracts[work])

    return side


def _bare(stand: Stand) -> Side:
    async def side(work: str) -> float:
        if work == "chain":
            return await bare_seconds(stand.bare, BareChain.run, CHAIN)
        return await bare_seconds(stand.bare, BareFanOut.run, FAN_OUT)

    return side


@asynccontextmanager
async def _peer(python: Path, script: str, arguments: Sequence[str]) -> AsyncIterator[Side]:
    """A peer's process: a word in, its seconds out.

    Raises:
        OperationFailed: it ended, which its own output explains.
    """
    process = await asyncio.create_subprocess_exec(
        *(str(python), str(HERE / script), *arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        # This project's modules are not the peers'.
        env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    asking, answers = process.stdin, process.stdout

    async def answer() -> str:
        line = await answers.readline()
        if not line:
            raise OperationFailed(f"'{script}' ended before its answer; see what it printed above")
        return line.decode()

    async def side(work: str) -> float:
        asking.write(f"{work}\n".encode())
        await asking.drain()
        return float(await answer())

    try:
        while await answer() != "ready\n":
            pass
        yield side
    finally:
        asking.close()
        await process.wait()


async def _environment() -> Path:
    """The Python of the peers' environment, made anew when its lock has changed."""
    lock = HERE / "requirements.txt"
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    digest = hashlib.sha256(lock.read_bytes()).hexdigest()[:12]
    folder = cache / "goalkeeper" / f"bench-peers-{digest}"
    python = folder / "bin" / "python"
    if (folder / ".complete").exists():
        return python
    _say(f"installing Prefect and DBOS into {folder}")
    shutil.rmtree(folder, ignore_errors=True)
    uv = str(Path(sys.executable).with_name("uv"))
    await _run(uv, "venv", "--quiet", "--python", sys.executable, str(folder))
    install = ("pip", "install", "--quiet", "--require-hashes", "--python", str(python))
    await _run(uv, *install, "--requirements", str(lock))
    (folder / ".complete").touch()
    return python


async def _run(*command: str) -> None:
    process = await asyncio.create_subprocess_exec(*command, stdout=sys.stderr)
    if await process.wait():
        raise OperationFailed(f"`{' '.join(command[:3])}` ended with code {process.returncode}")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS))
