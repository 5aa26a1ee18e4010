"""Prefect's side: no-op tasks in a chain and in a fan-out, on its own server with SQLite.

Runs in the peers' environment. Reads a word a line (``chain`` or ``fan_out``) and answers seconds.
"""

import asyncio
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CHAIN, FAN_OUT, PORT = (int(word) for word in sys.argv[1:4])


def environment(home: str) -> dict[str, str]:
    """Nothing but the work: no logs to the server, no telemetry, a database of its own."""
    return {
        "PREFECT_HOME": home,
        "PREFECT_API_URL": f"http://127.0.0.1:{PORT}/api",
        "PREFECT_LOGGING_LEVEL": "ERROR",
        "PREFECT_LOGGING_TO_API_ENABLED": "false",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_UI_ENABLED": "false",
        "PREFECT_CLI_PROMPT": "false",
        "DO_NOT_TRACK": "1",
    }


@contextmanager
def server() -> Iterator[None]:
    """Prefect's API server, as `prefect server start` runs it."""
    with (
        tempfile.TemporaryDirectory(prefix="prefect-") as home,
        Path(home, "server.log").open("w") as log,
    ):
        os.environ.update(environment(home))
        process = subprocess.Popen(
            [
                *(str(Path(sys.executable).with_name("prefect")), "server", "start"),
                *("--host", "127.0.0.1", "--port", str(PORT)),
            ],
            stdout=log,
            stderr=log,
        )
        try:
            _wait(Path(home, "server.log"))
            yield
        finally:
            process.terminate()
            process.wait()


def _wait(log: Path) -> None:
    for _ in range(3000):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{PORT}/api/health", timeout=5)
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise SystemExit(f"Prefect's server does not start:\n{log.read_text()[-1000:]}")


def main() -> None:
    """Answer until standard input ends."""
    with server():
        from prefect import flow, task

        @task
        async def noop() -> None:
            pass

        @flow
        async def chain() -> None:
            for _ in range(CHAIN):
                await noop()

        @flow
        async def fan_out() -> None:
            await asyncio.gather(*(noop() for _ in range(FAN_OUT)))

        flows = {"chain": chain, "fan_out": fan_out}
        print("ready", flush=True)
        for line in sys.stdin:
            began = time.perf_counter()
            asyncio.run(flows[line.strip()]())
            print(time.perf_counter() - began, flush=True)


if __name__ == "__main__":
    main()
