"""The processes of a stack, to be killed and to be seen coming back.

It restarts nothing: that is the supervisor's part, and under test.
"""

import os
import signal
from contextlib import suppress

import psutil

from goalkeeper import embedded
from goalkeeper.embedded.state import ServiceState, ServiceStatus
from goalkeeper.settings import Settings
from tests.support.live import until


class Victims:
    """The stack's processes, by the names of its status."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    async def status(self, name: str) -> ServiceStatus:
        """How a process stands."""
        status = await embedded.status(self._settings)
        return next(s for s in status.services if s.name == name)

    async def supervisor(self) -> psutil.Process:
        """Who restarts the others."""
        return psutil.Process((await embedded.status(self._settings)).pid)

    async def kill(self, name: str) -> ServiceStatus:
        """``kill -9``; returns how it stood before, once it is dead."""
        before = await self.status(name)
        assert before.pid is not None, before
        victim = psutil.Process(before.pid)
        os.kill(before.pid, signal.SIGKILL)

        async def dead() -> bool:
            with suppress(psutil.NoSuchProcess):
                return not victim.is_running() or victim.status() == psutil.STATUS_ZOMBIE
            return True

        await until(dead, f"the end of {name}")
        return before

    async def back(self, before: ServiceStatus) -> ServiceStatus:
        """The same service once the supervisor has started it again."""

        async def look() -> ServiceStatus | None:
            now = await self.status(before.name)
            again = now.restarts > before.restarts and now.pid not in (None, before.pid)
            return now if again and now.state is ServiceState.RUNNING else None

        return await until(look, f"the restart of {before.name}")
