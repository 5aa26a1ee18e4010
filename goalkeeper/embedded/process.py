"""One child process with a log: started, awaited, stopped, and gone when its parent is.

It knows nothing of what the process does.
"""

import asyncio
import contextlib
import ctypes
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil

from goalkeeper.domain.errors import ServiceUnavailable

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)
_LOG_LIMIT = 10 * 1024 * 1024


class Process:
    """A named child process. It may be started again after it has ended."""

    def __init__(
        self,
        name: str,
        log: Path,
        *,
        grace: float = 10.0,
        environ: Mapping[str, str] | None = None,
        umask: int = -1,
    ) -> None:
        """Describe it; `spawn` starts it.

        Args:
            name: for messages.
            log: where its output goes.
            grace: seconds between asking it to stop and killing it.
            environ: what to change in the inherited environment.
            umask: for the files that it makes; inherited when -1.
        """
        self.name = name
        self.log = log
        self._grace = grace
        self.environ = dict(environ or {})
        self._umask = umask
        self._process: asyncio.subprocess.Process | None = None
        self._log_from = 0

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    @property
    def returncode(self) -> int | None:
        """How it ended; negative for a signal."""
        return None if self._process is None else self._process.returncode

    async def spawn(self, command: Sequence[str]) -> None:
        """Start it.

        Raises:
            ServiceUnavailable: the program is not there or cannot be run.
        """
        if self.pid is not None:
            raise ServiceUnavailable(f"{self.name} is running already (process {self.pid})")
        try:
            output = open_log(self.log)
        except OSError as error:
            raise ServiceUnavailable(
                f"{self.name} cannot be started: its log, '{self.log}', cannot be written: "
                f"{error.strerror}"
            ) from None
        self._log_from = os.fstat(output).st_size
        try:
            self._process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, **self.environ},
                start_new_session=True,
                umask=self._umask,
                preexec_fn=_die_with(os.getpid()),
            )
        except OSError as error:
            raise ServiceUnavailable(
                f"{self.name} cannot be started: '{command[0]}': {error.strerror}"
            ) from None
        finally:
            os.close(output)

    def listens(self, port: int) -> bool:
        """Whether it is this process that listens on a port, and not somebody else's server.

        What answers on a port that was taken must be given no keys, and is not ours to wait for.
        """
        if self.pid is None:
            return False
        try:
            connections = psutil.Process(self.pid).net_connections("tcp")
        except psutil.Error:
            return False
        return any(c.status == psutil.CONN_LISTEN and c.laddr.port == port for c in connections)

    async def wait(self) -> int:
        """Wait until it has ended; the exit code, negative for a signal."""
        if self._process is None:
            return 0
        return await self._process.wait()

    async def stop(self) -> None:
        """Ask it to stop, and kill it when the grace is over."""
        self.signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self.wait(), self._grace)
        except TimeoutError:
            await self.kill()

    async def kill(self) -> None:
        """End it at once, as a crash would."""
        self.signal(signal.SIGKILL)
        await self.wait()

    def tail(self, lines: int = 5) -> str:
        """The last lines that it has logged since it was started, for a message."""
        try:
            with self.log.open("rb") as file:
                file.seek(0, os.SEEK_END)
                file.seek(max(self._log_from, file.tell() - 4096))
                text = file.read().decode(errors="replace")
        except OSError:
            return ""
        return "\n".join(text.strip().splitlines()[-lines:])

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, if it runs."""
        if self.pid is not None and self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)


def end(pid: int, started: float, grace: float = 5.0) -> bool:
    """Stop a process that is not our child, and kill it after the grace; whether there was one.

    The start time must match too: process ids are used again.
    """
    try:
        process = psutil.Process(pid)
        if not is_alive(pid, started):
            return False
        process.terminate()
        try:
            process.wait(grace)
        except psutil.TimeoutExpired:
            process.kill()
            process.wait(grace)
    except psutil.NoSuchProcess:
        return False
    return True


def is_alive(pid: int, started: float) -> bool:
    """Whether the very process that started then still runs."""
    try:
        process = psutil.Process(pid)
        return abs(process.create_time() - started) < 1 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def create_time(pid: int) -> float | None:
    """When a process started, in seconds since the epoch."""
    try:
        return float(psutil.Process(pid).create_time())
    except psutil.Error:
        return None


def open_log(log: Path) -> int:
    """A descriptor that appends to a log; one that has grown large is set aside first."""
    log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if log.exists() and log.stat().st_size > _LOG_LIMIT:
        log.replace(log.with_suffix(log.suffix + ".1"))
    return os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)


def _die_with(parent: int) -> Callable[[], None]:
    """For the child before it runs the program: the kernel kills it when its parent ends."""

    def before_exec() -> None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)  # The parent ended before the line above.

    return before_exec
