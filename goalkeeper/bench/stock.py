"""A Temporal dev server as it comes: `temporal server start-dev --db-filename`, and nothing else.

What the embedded server is tuned with may not be set here.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from temporalio.service import ConnectConfig, RPCError, ServiceClient

from goalkeeper.domain.errors import ServiceUnavailable
from goalkeeper.embedded import Ports
from goalkeeper.embedded.files import make_folder
from goalkeeper.embedded.ports import HOST
from goalkeeper.embedded.process import Process
from goalkeeper.embedded.temporal import find_binary

_READY = 60


@asynccontextmanager
async def stock_temporal(folder: Path) -> AsyncIterator[str]:
    """The address of a server that keeps its database in a folder, for the length of the block.

    Raises:
        ServiceUnavailable: it does not start; the message has the end of its log.
    """
    make_folder(folder)
    ports = Ports.free()
    process = Process("stock Temporal", folder / "stock-temporal.log")
    await process.spawn(
        (
            *(str(find_binary()), "server", "start-dev", "--ip", HOST, "--headless"),
            *("--port", str(ports.temporal), "--http-port", str(ports.temporal_http)),
            *("--metrics-port", str(ports.temporal_metrics)),
            *("--db-filename", str(folder / "stock.sqlite"), "--log-level", "warn"),
        )
    )
    address = f"{HOST}:{ports.temporal}"
    try:
        await _ready(process, address)
        yield address
    finally:
        await process.stop()


async def _ready(process: Process, address: str) -> None:
    try:
        async with asyncio.timeout(_READY):
            while not await _serves(address):
                if process.pid is None:
                    raise TimeoutError
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise ServiceUnavailable(
            f"the stock Temporal server does not answer. Its log ends:\n{process.tail()}"
        ) from None


async def _serves(address: str) -> bool:
    try:
        client = await ServiceClient.connect(ConnectConfig(target_host=address))
        return await client.check_health()
    except (RPCError, RuntimeError):
        return False
