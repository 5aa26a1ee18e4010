"""What is on record about the stack: ``stack.json``, the lock of the folder, and its status.

It starts and stops nothing.
"""

import fcntl
import os
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Self

from pydantic import Field, ValidationError

from goalkeeper.domain.base import Model
from goalkeeper.domain.errors import Conflict, InvalidSettings
from goalkeeper.embedded.files import make_folder, write_private
from goalkeeper.embedded.ports import Ports
from goalkeeper.embedded.process import is_alive


class ServiceState(StrEnum):
    """Where one process of the stack stands."""

    WAITING = "waiting"
    """For another service, or before the next try."""
    STARTING = "starting"
    RUNNING = "running"
    DEGRADED = "degraded"
    """It runs and says that something is wrong."""
    STOPPED = "stopped"


class ServiceStatus(Model):
    """One process of the stack."""

    name: str
    state: ServiceState
    address: str
    pid: int | None = None
    processes: tuple[int, ...] = ()
    """Process ids of those that do its work, where it says so; its own when it is one alone."""
    restarts: int = 0
    problem: str | None = None
    """Why it is not running, or what it says is wrong."""
    log: Path
    since: datetime
    """When it came to this state."""


class StackStatus(Model):
    """The whole stack."""

    running: bool
    state: Path
    pid: int | None = None
    """Of the supervisor."""
    services: tuple[ServiceStatus, ...] = ()

    @property
    def ready(self) -> bool:
        """Whether everything runs and says that all is well."""
        return self.running and all(s.state is ServiceState.RUNNING for s in self.services)


class StackFile(Model):
    """``stack.json``: written by the supervisor, read by everybody."""

    pid: int | None
    """Of the supervisor; null once it has ended in order."""
    create_time: float
    """Of the supervisor, seconds since the epoch: process ids are used again."""
    ports: Ports
    services: tuple[ServiceStatus, ...] = ()
    processes: dict[int, float] = Field(default_factory=dict)
    """Process id → its start time, of every child: what a next supervisor cleans up."""
    settings: dict[str, str | int] = Field(default_factory=dict)
    """The addresses that `goalkeeper.settings` reads."""

    @property
    def alive(self) -> bool:
        """Whether the supervisor that wrote it still runs."""
        return self.pid is not None and is_alive(self.pid, self.create_time)

    def write(self, folder: Path) -> None:
        """Replace the file of a state folder."""
        write_private(folder / "stack.json", self.model_dump_json(indent=2))

    @classmethod
    def read(cls, folder: Path) -> "StackFile | None":
        """The file of a state folder, or nothing.

        Raises:
            InvalidSettings: it is damaged.
        """
        file = folder / "stack.json"
        try:
            return cls.model_validate_json(file.read_text())
        except FileNotFoundError:
            return None
        except (OSError, ValidationError, UnicodeDecodeError):
            raise InvalidSettings(
                f"'{file}' cannot be read. Stop the stack's processes, remove the file, and "
                "start again: nothing else is lost with it."
            ) from None


def read_status(folder: Path) -> StackStatus:
    """The status on record; everything is stopped when the supervisor is gone.

    Raises:
        InvalidSettings: ``stack.json`` is damaged.
    """
    record = StackFile.read(folder)
    if record is None:
        return StackStatus(running=False, state=folder)
    if record.alive:
        return StackStatus(running=True, state=folder, pid=record.pid, services=record.services)
    gone = {"state": ServiceState.STOPPED, "pid": None, "processes": ()}
    return StackStatus(
        running=False,
        state=folder,
        services=tuple(s.model_copy(update=gone) for s in record.services),
    )


class FolderLock:
    """One supervisor a state folder: held while the `with` block runs, freed by any kind of end."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._descriptor: int | None = None

    def __enter__(self) -> Self:
        """Take it.

        Raises:
            Conflict: a stack runs on this folder.
        """
        make_folder(self._folder)
        descriptor = os.open(self._folder / "supervisor.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise Conflict(
                f"a stack is running on '{self._folder}' already. See it: goalkeeper status. "
                "Stop it: goalkeeper down. Or choose another folder with --state."
            ) from None
        self._descriptor = descriptor
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
