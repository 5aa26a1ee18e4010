"""The interface between an activity and whatever carries an operation out.

`connectors/` and `sandbox/` implement `Connector`; an activity calls it with a validated model and
the secrets of one attempt. Nobody here knows Temporal or Vault.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar, Protocol, runtime_checkable

from goalkeeper.domain.base import Json, Model
from goalkeeper.domain.credential import Credentials
from goalkeeper.domain.operation import Operation


def _drop(_: str) -> None:
    """Where nobody listens."""


def work_key(goal_id: str, run: str, task_id: str, generation: int) -> str:
    """The identity of one piece of work: equal for all its attempts, and for nothing else."""
    # The end of the run id: it begins with the time (UUID version 7), equal within a minute.
    origin = f"{goal_id}.{run[-12:]}" if run else goal_id
    return f"{origin}.{task_id}.{generation}"


@dataclass(frozen=True)
class OperationCall:
    """One attempt at one operation."""

    goal_id: str
    task_id: str
    generation: int
    attempt: int
    """From 1; never part of an identity."""
    operation: str
    inputs: Any
    """An instance of the operation's input model."""
    environment: str
    run: str = ""
    """The goal's first run id, so that a reused goal id is other work."""
    undo: bool = False
    """Whether this undoes the task's work: other work than doing it."""
    log: Callable[[str], None] = _drop
    """Takes one line of output, from any thread; it is redacted, kept and streamed."""
    detaching: Callable[[], bool] = field(default=lambda: False)
    """True when a cancellation is only this worker shutting down: leave long work running."""

    @property
    def key(self) -> str:
        """The idempotency key: the same for every attempt at the same work."""
        key = work_key(self.goal_id, self.run, self.task_id, self.generation)
        return key + ".undo" if self.undo else key


@dataclass(frozen=True)
class Attachment:
    """A file to keep as evidence; redacted before it is stored."""

    name: str
    content: bytes
    media_type: str = "text/plain; charset=utf-8"


@dataclass(frozen=True)
class OperationResult:
    """What an operation answers."""

    outputs: Model
    attachments: tuple[Attachment, ...] = ()


class Connector(Protocol):
    """One service.

    `execute` raises only errors of `goalkeeper.domain.errors` (and `asyncio.CancelledError`): it
    maps its library's own in one place.
    """

    service: ClassVar[str]
    operations: ClassVar[Mapping[str, Operation]]

    async def execute(self, call: OperationCall, credentials: Credentials) -> OperationResult:
        """Carry the operation out, once for each `call.key` where it declares itself idempotent."""
        ...


class Happened(StrEnum):
    """What became of a lost attempt."""

    YES = "yes"
    NO = "no"
    CANNOT_TELL = "cannot tell"


@dataclass(frozen=True)
class Reconciliation:
    """A connector's answer about a lost attempt; `result` is set when it happened."""

    happened: Happened
    result: OperationResult | None = None


@runtime_checkable
class Reconciling(Protocol):
    """A connector that can find out what became of a lost attempt."""

    async def reconcile(self, call: OperationCall, credentials: Credentials) -> Reconciliation:
        """Look, change nothing."""
        ...


@runtime_checkable
class Pinning(Protocol):
    """A connector whose inputs planning freezes (see `Operation.pins`)."""

    async def pin(self, kind: str, value: Json) -> Json:
        """The immutable form of a mutable reference, for example an image's digest."""
        ...
