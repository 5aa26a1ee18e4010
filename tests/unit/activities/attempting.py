"""A connector that does what a test tells it, and attempts to make with it."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

from activities.attempt import Attempt
from activities.parts import Parts
from activities.work import Work
from goalkeeper.contracts.activities import ExecuteResult
from goalkeeper.contracts.connector import (
    Connector,
    OperationCall,
    OperationResult,
    Reconciliation,
)
from goalkeeper.domain.base import Json, Model
from goalkeeper.domain.credential import Credentials
from goalkeeper.domain.operation import Compensation, Operation, Risk
from goalkeeper.ledger import Undo
from tests.support.engine import make_parts
from tests.support.fakes import FakeConnector, FakeVault
from tests.unit.domain.approving import an_action

Doing = Callable[[OperationCall, Credentials], Awaitable[OperationResult]]


class Given(Model):
    """What the operation takes."""

    value: Json = None


class Taken(Model):
    """What it answers."""

    value: Json = None


def answer(value: Json = "done", **more: Any) -> OperationResult:
    """An ordinary result."""
    return OperationResult(Taken(value=value), **more)


def undo_of(value: Json) -> Undo:
    """What undoes an operation that answered this."""
    return Undo(
        operation="work.undo",
        inputs={"value": value},
        environment="production",
        credentials={"token": "git-writer"},
    )


def _operations() -> dict[str, Operation]:
    def op(name: str, risk: Risk, idempotent: bool) -> Operation:
        undo = Compensation("work.undo", lambda given, taken: {"value": taken.value})
        return Operation(
            f"work.{name}",
            f"Work: {name}.",
            Given,
            Taken,
            risk,
            idempotent,
            credentials=("token",),
            optional_credentials=("token",),
            compensation=undo if risk is not Risk.READ else None,
        )

    every = [
        op("read", Risk.READ, True),
        op("write", Risk.WRITE, True),
        op("once", Risk.WRITE, False),
        op("undo", Risk.WRITE, True),
    ]
    return {o.name: o for o in every}


class Told:
    """Does as told, and counts."""

    service: ClassVar[str] = "work"
    operations: ClassVar[Mapping[str, Operation]] = _operations()

    def __init__(self, doing: Doing | None = None) -> None:
        self.doing = doing
        self.calls: list[OperationCall] = []

    async def execute(self, call: OperationCall, credentials: Credentials) -> OperationResult:
        """Do it."""
        self.calls.append(call)
        return await self.doing(call, credentials) if self.doing else answer()


class Knowing(Told):
    """Knows what became of a lost attempt."""

    def __init__(
        self,
        found: Callable[[OperationCall, Credentials], Reconciliation],
        doing: Doing | None = None,
    ) -> None:
        super().__init__(doing)
        self.found = found

    async def reconcile(self, call: OperationCall, credentials: Credentials) -> Reconciliation:
        """As told."""
        return self.found(call, credentials)


@dataclass
class Bench:
    """Real stores, a fake Vault, and what attempts left in them."""

    parts: Parts
    vault: FakeVault
    folder: Path
    logged: list[str] = field(default_factory=list)

    def work(self, operation: str, connector: Connector, *, attempt: int = 1, **more: Any) -> Work:
        """One attempt's work."""
        credentials = more.pop("credentials", {"token": "git-writer"})
        unwanted = more.pop("unwanted", False)
        action = an_action(
            operation=operation, inputs={"value": 1}, credentials=credentials, **more
        )
        return Work(
            action=action,
            operation=Told.operations[operation],
            connector=connector,
            call=OperationCall(
                goal_id=action.goal_id,
                task_id=action.task_id,
                generation=action.generation,
                attempt=attempt,
                operation=operation,
                inputs=Given(value=1),
                environment=action.environment,
                run="run-1",
            ),
            origin=f"run-1/{action.task_id}.{action.generation}/{attempt}",
            ttl=timedelta(minutes=1),
            unwanted=lambda: unwanted,
        )

    async def run(
        self, operation: str, connector: Connector, *, attempt: int = 1, **more: Any
    ) -> ExecuteResult:
        """Make the attempt."""
        return await Attempt(
            self.parts, self.work(operation, connector, attempt=attempt, **more)
        ).run()

    async def lose(self, operation: str) -> None:
        """As if the first attempt's worker had died in the middle, its lease alive."""
        work = self.work(operation, Told())
        await self.parts.ledger.begin(
            work.call.key,
            goal_id=work.call.goal_id,
            task_id=work.call.task_id,
            operation=operation,
            action_digest=work.action.digest,
            attempt=1,
        )

    @property
    def kinds(self) -> list[str]:
        """The audit events so far."""
        return [e.event.kind.value for e in self.parts.audit.entries()]

    @property
    def last(self) -> dict[str, Any]:
        """The last outcome on record."""
        entries = [e.event for e in self.parts.audit.entries() if e.event.kind == "task.outcome"]
        return dict(entries[-1].detail)

    def everything(self) -> bytes:
        """Every byte that the stores have written."""
        return b"".join(f.read_bytes() for f in sorted(self.folder.rglob("*")) if f.is_file())


@asynccontextmanager
async def bench(folder: Path) -> AsyncIterator[Bench]:
    """Stores in a folder."""
    vault = FakeVault()
    parts = make_parts(folder, vault, FakeConnector())
    try:
        yield Bench(parts, vault, folder)
    finally:
        await parts.audit.aclose()
        await parts.ledger.aclose()
