"""`up`, `down`, `status` and `put_credential`: the embedded stack as its users see it.

It talks to the supervisor through ``stack.json`` and signals only.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path

from pydantic import SecretStr

from goalkeeper.domain.errors import Conflict, ServiceUnavailable
from goalkeeper.embedded.files import make_folder
from goalkeeper.embedded.openbao import OpenBaoServer
from goalkeeper.embedded.own import environment
from goalkeeper.embedded.process import create_time, end, open_log
from goalkeeper.embedded.state import (
    FolderLock,
    ServiceStatus,
    StackFile,
    StackStatus,
    read_status,
)
from goalkeeper.embedded.supervisor import SERVICES, Supervisor
from goalkeeper.settings import Settings

_HOPELESS = 3
"""A service that failed this often before it ever ran is not waited for any longer."""
_POLL = 0.1


async def up(
    settings: Settings,
    *,
    foreground: bool = False,
    services: Sequence[str] | None = None,
    wait: timedelta = timedelta(minutes=2),
    progress: Callable[[str], None] = lambda _: None,
) -> StackStatus:
    """Start the stack and return once it is ready; in the foreground, once it has ended.

    Where a usual port is taken another one is chosen, so load the settings again afterwards.

    Args:
        settings: of this installation.
        foreground: run the supervisor in this process until SIGTERM or SIGINT.
        services: which processes; all of them when None.
        wait: how long to wait for readiness; what has been started is stopped after that.
        progress: gets a line for every change.

    Raises:
        Conflict: a stack runs on this folder already.
        ServiceUnavailable: a process does not start; the message has the end of its log.
        InvalidSettings: an unknown service, or ``stack.json`` is damaged.
    """
    names = tuple(services or SERVICES)
    if foreground:
        await _foreground(settings, names, progress)
        return read_status(settings.state)
    await _refuse_second(settings.state)
    make_folder(settings.logs_folder)
    log = settings.logs_folder / "supervisor.log"
    pid = await asyncio.to_thread(_detach, settings, names, log)
    try:
        async with asyncio.timeout(wait.total_seconds()):
            return await _ready(settings, pid, log, progress)
    except BaseException as error:
        late = [s for s in read_status(settings.state).services if s.state != "running"]
        await _end(pid, create_time(pid) or 0, wait)
        if isinstance(error, TimeoutError):
            raise ServiceUnavailable(
                f"the stack was not ready after {wait}: {_complaint(late)}"
            ) from None
        raise


async def down(settings: Settings, *, wait: timedelta = timedelta(minutes=1)) -> StackStatus:
    """Stop the stack in order; nothing happens when none runs.

    A supervisor that has not stopped after `wait` is killed, and its processes with it; the
    servers keep their data.
    """
    record = StackFile.read(settings.state)
    if record is not None and record.pid is not None:
        await _end(record.pid, record.create_time, wait)
    return read_status(settings.state)


async def status(settings: Settings) -> StackStatus:
    """The stack as its supervisor last saw it, at most a few seconds ago.

    Raises:
        InvalidSettings: ``stack.json`` is damaged.
    """
    return await asyncio.to_thread(read_status, settings.state)


async def put_credential(settings: Settings, role: str, fields: Mapping[str, SecretStr]) -> None:
    """Store the secret of a role in the embedded Vault, replacing all its fields.

    Raises:
        ServiceUnavailable: no stack runs on this folder.
        VaultUnavailable: its Vault is sealed or unreachable.
    """
    record = StackFile.read(settings.state)
    if record is None or not record.alive:
        raise ServiceUnavailable(
            f"no stack runs on '{settings.state}', so its Vault cannot be reached: goalkeeper up"
        )
    vault = OpenBaoServer(settings.state / "vault", record.ports)
    await vault.put_credential(role, fields)


async def _refuse_second(folder: Path) -> None:
    """Refuse here, clearly, rather than in the log of the supervisor about to start.

    Raises:
        Conflict: a stack runs on this folder.
    """
    for attempt in range(5):
        try:
            with FolderLock(folder):
                return
        except Conflict:
            # One that was killed a moment ago may not be quite gone yet.
            if attempt == 4:
                raise
        await asyncio.sleep(_POLL)


async def _foreground(
    settings: Settings, services: Sequence[str], progress: Callable[[str], None]
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, stop.set)
    try:
        with FolderLock(settings.state):
            await Supervisor(settings, services, progress=progress).run(stop)
    finally:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.remove_signal_handler(number)


def _detach(settings: Settings, services: Sequence[str], log: Path) -> int:
    """Start the supervisor in a session of its own, so that it outlives the terminal."""
    state = str(settings.state)
    output = open_log(log)
    try:
        return os.posix_spawn(
            sys.executable,
            [sys.executable, "-m", "goalkeeper.embedded", "--state", state, *services],
            {**os.environ, **environment(settings)},
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, output, 1),
                (os.POSIX_SPAWN_DUP2, output, 2),
            ],
            setsid=True,
        )
    finally:
        os.close(output)


async def _end(pid: int, started: float, wait: timedelta) -> None:
    await asyncio.to_thread(end, pid, started, wait.total_seconds())


async def _ready(
    settings: Settings, pid: int, log: Path, progress: Callable[[str], None]
) -> StackStatus:
    seen: dict[str, str] = {}
    while True:
        ended, code = os.waitpid(pid, os.WNOHANG)  # noqa: ASYNC222 - WNOHANG does not wait
        if ended:
            raise ServiceUnavailable(
                f"the supervisor ended with code {os.waitstatus_to_exitcode(code)}. Its log, "
                f"'{log}', ends:\n{_last_line(log)}"
            )
        record = StackFile.read(settings.state)
        if record is not None and record.pid == pid:
            _tell(record.services, seen, progress)
            hopeless = [s for s in record.services if s.restarts >= _HOPELESS]
            if hopeless:
                raise ServiceUnavailable(f"the stack does not start: {_complaint(hopeless)}")
            current = read_status(settings.state)
            if current.ready:
                return current
        await asyncio.sleep(_POLL)


def _tell(
    services: Sequence[ServiceStatus], seen: dict[str, str], progress: Callable[[str], None]
) -> None:
    for service in services:
        line = f"{service.name}: {service.state}"
        if seen.get(service.name) != line:
            seen[service.name] = line
            progress(line)


def _complaint(services: Sequence[ServiceStatus]) -> str:
    return "\n".join(
        f"{s.name} is {s.state}: {s.problem or 'it is slow'} (log: '{s.log}')" for s in services
    )


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "(empty)"
