"""DBOS's side: no-op steps in a chain and in a fan-out, in process, its records in SQLite.

Runs in the peers' environment. Reads a word a line (``chain`` or ``fan_out``) and answers seconds.
"""

import asyncio
import sys
import tempfile
import time
from pathlib import Path

from dbos import DBOS

CHAIN, FAN_OUT = (int(word) for word in sys.argv[1:3])


@DBOS.step()
async def noop() -> None:
    """Nothing."""


@DBOS.workflow()
async def chain() -> None:
    """One step after the other."""
    for _ in range(CHAIN):
        await noop()


@DBOS.workflow()
async def fan_out() -> None:
    """All steps at once."""
    await asyncio.gather(*(noop() for _ in range(FAN_OUT)))


async def answer() -> None:
    """Answer until standard input ends."""
    workflows = {"chain": chain, "fan_out": fan_out}
    print("ready", flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        began = time.perf_counter()
        await workflows[line.strip()]()
        print(time.perf_counter() - began, flush=True)


def main() -> None:
    """Run on a database that goes away afterwards."""
    with tempfile.TemporaryDirectory(prefix="dbos-") as folder:
        url = f"sqlite:///{Path(folder, 'dbos.sqlite')}"
        DBOS(config={"name": "peers", "system_database_url": url, "log_level": "ERROR"})
        DBOS.launch()
        try:
            asyncio.run(answer())
        finally:
            DBOS.destroy()


if __name__ == "__main__":
    main()
