"""One of several worker processes: told by its parent what to do, over its standard input.

It may not outlive its parent, and has no login of its own: it works on the parent's.
"""

import asyncio
import os
import sys

import structlog

from goalkeeper.domain.errors import GoalkeeperError
from goalkeeper.telemetry import configure_logging
from goalkeeper.vault import Vault
from goalkeeper.worker.handed import DRAIN, READY, Handed
from goalkeeper.worker.serving import run_tuned, working
from goalkeeper.worker.signals import stop_event

log = structlog.get_logger(__name__)

_FAILED = 1
_ORPHANED = 3
_LONGEST = 1024 * 1024


async def work(handed: Handed, orders: asyncio.StreamReader) -> None:
    """Serve until told to drain.

    Raises:
        GoalkeeperError: as `working` does.
    """
    stop = stop_event()
    listening = asyncio.create_task(_listen(orders, stop))
    settings = handed.settings
    vault = Vault.lent(settings.vault_address, handed.token)
    try:
        async with working(settings, vault, handed.pools):
            log.info("worker ready", task_queue=settings.task_queue, pools=handed.pools)
            os.write(sys.stdout.fileno(), READY)
            await stop.wait()
            log.info("worker draining", grace_seconds=settings.graceful_shutdown_seconds)
    finally:
        listening.cancel()
        await vault.aclose()


async def _listen(orders: asyncio.StreamReader, stop: asyncio.Event) -> None:
    while line := await orders.readline():
        if line == DRAIN:
            stop.set()
    log.warning("the worker's parent is gone, so this process ends at once")
    os._exit(_ORPHANED)


async def _main() -> None:
    loop = asyncio.get_running_loop()
    orders = asyncio.StreamReader(limit=_LONGEST)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    first = await orders.readline()
    if not first:
        return
    handed = Handed.model_validate_json(first)
    configure_logging(f"worker-{handed.number}", level=handed.settings.log_level)
    await work(handed, orders)


def main() -> int:
    """Run until told to end; the exit code."""
    try:
        run_tuned(_main())
    except GoalkeeperError as error:
        sys.stderr.write(f"{error.message}\n")
        return _FAILED
    return 0


if __name__ == "__main__":
    sys.exit(main())
