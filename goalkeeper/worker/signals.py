"""What a worker process does at SIGTERM and SIGINT: drain at the first, end at the second.

It may not say what draining means.
"""

import asyncio
import os
import signal

import structlog

log = structlog.get_logger(__name__)


def stop_event() -> asyncio.Event:
    """Set by the first SIGTERM or SIGINT; at the second, the process ends as in a crash."""
    stop = asyncio.Event()

    def told() -> None:
        if stop.is_set():
            log.warning("worker told a second time, so it ends at once")
            os._exit(1)
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told)
    return stop
