"""The parent of several worker processes: starts them, restarts what dies, drains them together.

It may not do any of their work; it keeps the one login to Vault that they live on.
"""

import asyncio
import contextlib
import os
import sys
import tempfile
from collections.abc import Collection, Sequence
from types import TracebackType
from typing import Self

import structlog
from prometheus_client import CollectorRegistry
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from pydantic import SecretStr

from goalkeeper.contracts.goal import Pool
from goalkeeper.domain.errors import ServiceUnavailable
from goalkeeper.settings import Settings
from goalkeeper.worker.handed import DRAIN, READY, Handed

log = structlog.get_logger(__name__)

_COMMAND = (sys.executable, "-m", "goalkeeper.worker.child")
_BACK_OFF = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
_SETTLED = 30.0
"""After so many seconds of work, the next restart is quick again."""
_OVERTIME = 3.0
"""Seconds beyond the grace until a process that drains is killed."""


class Child:
    """One worker process; started again under the same number when it has died."""

    def __init__(self, handed: Handed, metrics: str) -> None:
        """Describe it.

        Args:
            handed: what it is told.
            metrics: the folder where it keeps its metrics.
        """
        self.number = handed.number
        self.ready = False
        self.worked = False
        """Whether it was ever ready."""
        self._line = handed.line()
        self._draining = False
        self._metrics = metrics
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    async def run(self) -> int:
        """Start it, and return how it ended: an exit code, negative for a signal."""
        process = self._process = await asyncio.create_subprocess_exec(
            *_COMMAND,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": self._metrics},
            # A Ctrl-C at a terminal is for the parent, which then drains all of them together.
            start_new_session=True,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(self._line + (DRAIN if self._draining else b""))
        try:
            # To the end, so that nothing else that is printed there can fill the pipe.
            async for line in process.stdout:
                if line == READY:
                    self.ready = self.worked = True
            return await process.wait()
        finally:
            self.ready = False
            mark_process_dead(process.pid, self._metrics)  # type: ignore[no-untyped-call]  # untyped there

    def drain(self) -> None:
        """Have it end when its work is done, also if it is only just starting."""
        self._draining = True
        if self.pid is not None and self._process is not None and self._process.stdin is not None:
            self._process.stdin.write(DRAIN)

    def kill(self) -> None:
        """End it at once."""
        if self.pid is not None and self._process is not None:
            self._process.kill()


class Parent:
    """Runs the processes of one worker."""

    def __init__(
        self, settings: Settings, pools: Collection[Pool], count: int, token: SecretStr
    ) -> None:
        """Prepare; nothing is started yet.

        Args:
            settings: for all of them.
            pools: which each of them serves.
            count: how many.
            token: the login to Vault that they share.
        """
        self._grace = settings.graceful_shutdown_seconds + _OVERTIME
        self._folder = tempfile.TemporaryDirectory(prefix="goalkeeper-metrics-")
        self.metrics = CollectorRegistry()
        """What all of them have counted together."""
        MultiProcessCollector(self.metrics, path=self._folder.name)  # type: ignore[no-untyped-call]  # untyped there
        self._children = [
            Child(
                Handed(number=n, settings=settings, pools=tuple(pools), token=token),
                self._folder.name,
            )
            for n in range(1, count + 1)
        ]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._folder.cleanup()

    @property
    def pids(self) -> Sequence[int]:
        """Of the processes that are ready."""
        return [c.pid for c in self._children if c.ready and c.pid is not None]

    @property
    def problem(self) -> str | None:
        """Which processes are missing."""
        missing = [str(c.number) for c in self._children if not c.ready]
        if not missing:
            return None
        return f"of {len(self._children)} worker processes, not ready: {', '.join(missing)}"

    async def run(self, until: asyncio.Event) -> None:
        """Keep the processes running until the event is set, then drain them.

        Raises:
            ServiceUnavailable: one ended before any was ever ready, so another try would not help.
        """
        stopping = asyncio.create_task(until.wait())
        keepers = [asyncio.create_task(self._keep(c, until)) for c in self._children]
        try:
            # A keeper ends by itself only when there is no hope.
            await asyncio.wait([stopping, *keepers], return_when=asyncio.FIRST_COMPLETED)
        finally:
            until.set()
            ended = await self._drain(keepers)
        for result in ended:
            if isinstance(result, Exception):
                raise result

    async def _keep(self, child: Child, until: asyncio.Event) -> None:
        """Start a process again whenever it has died."""
        loop = asyncio.get_running_loop()
        tries = 0
        while not until.is_set():
            began = loop.time()
            code = await child.run()
            if until.is_set():
                log.info("worker process ended", number=child.number, exit_code=code)
                return
            if not any(c.worked for c in self._children):
                raise ServiceUnavailable(
                    f"worker process {child.number} ended with code {code} before any was ready; "
                    "the lines above say why"
                )
            tries = 0 if loop.time() - began > _SETTLED else tries
            pause = _BACK_OFF[min(tries, len(_BACK_OFF) - 1)]
            log.warning(
                "worker process died", number=child.number, exit_code=code, restart_in=pause
            )
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(until.wait(), pause)
            tries += 1

    async def _drain(self, keepers: Sequence[asyncio.Task[None]]) -> list[BaseException | None]:
        log.info("worker draining", processes=len(self.pids), grace_seconds=self._grace)
        for child in self._children:
            child.drain()
        _, late = await asyncio.wait(keepers, timeout=self._grace)
        if late:
            log.warning("worker processes did not end in time", late=len(late))
            for child in self._children:
                child.kill()
        return await asyncio.gather(*keepers, return_exceptions=True)
