"""The other side: the least that does the same work on Temporal, without Goalkeeper.

It imports Temporal's SDK alone, as somebody's first workflow would.
"""

import asyncio
import time
from datetime import timedelta

from temporalio import activity, workflow

_MINUTE = timedelta(minutes=1)


@activity.defn
async def noop() -> float:
    """Do nothing, and say when it was begun."""
    return time.time()


@workflow.defn
class BareChain:
    """So many steps, one after the other."""

    @workflow.run
    async def run(self, steps: int) -> None:
        """Carry them out."""
        for _ in range(steps):
            await workflow.execute_activity(noop, start_to_close_timeout=_MINUTE)


@workflow.defn
class BareFanOut:
    """So many tasks at once."""

    @workflow.run
    async def run(self, tasks: int) -> None:
        """Carry them out."""
        await asyncio.gather(
            *(workflow.execute_activity(noop, start_to_close_timeout=_MINUTE) for _ in range(tasks))
        )


@workflow.defn
class BareWindow:
    """So many tasks, no more than a window of them at a time: Temporal bounds what is pending."""

    @workflow.run
    async def run(self, tasks: int, window: int) -> None:
        """Carry them out."""
        free = asyncio.Semaphore(window)

        async def one() -> None:
            async with free:
                await workflow.execute_activity(noop, start_to_close_timeout=_MINUTE)

        await asyncio.gather(*(one() for _ in range(tasks)))


@workflow.defn
class BareDecision:
    """One task that waits for a signal."""

    def __init__(self) -> None:
        self._decided = False

    @workflow.run
    async def run(self) -> float:
        """Wait, carry it out, and say when it was begun."""
        await workflow.wait_condition(lambda: self._decided)
        return await workflow.execute_activity(noop, start_to_close_timeout=_MINUTE)

    @workflow.signal
    def decide(self) -> None:
        """Let it go on."""
        self._decided = True

    @workflow.query
    def decided(self) -> bool:
        """Whether it may go on; an answer means that it waits by now."""
        return self._decided


WORKFLOWS = (BareChain, BareFanOut, BareWindow, BareDecision)
