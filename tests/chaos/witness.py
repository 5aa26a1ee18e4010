"""A connector whose only effect is a line in a book, and the book as the one who counts sees it.

It is the suite's own: no installation has it. Each kind of operation leaves a lost attempt in
another position: to be repeated, to be looked up, or to be asked about.
"""

import asyncio
import fcntl
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field

from connectors.base import ServiceConnector, operations
from goalkeeper.contracts.connector import (
    Happened,
    OperationCall,
    OperationResult,
    Reconciliation,
)
from goalkeeper.domain.base import Json, Model
from goalkeeper.domain.credential import Credentials
from goalkeeper.domain.errors import OperationFailed
from goalkeeper.domain.operation import Compensation, Operation, Risk

Milliseconds = Annotated[int, Field(ge=0, le=60_000)]


class Pace(Model):
    """How long to take before the effect and after it: where a kill can hit."""

    before: Milliseconds = 0
    after: Milliseconds = 0
    value: Json = None


class Written(Model):
    """Under which key the line was written, and the value handed on."""

    key: str
    value: Json = None


class Undo(Model):
    """Which line to strike out."""

    key: str


class Nothing(Model):
    """No outputs."""


@dataclass(frozen=True)
class Line:
    """One side effect that really happened."""

    key: str
    goal_id: str
    task_id: str
    generation: int
    operation: str
    attempt: int
    undone: str = ""
    """Of an undo: the key of what it undid."""


class Book:
    """The file of lines, shared by every worker that there ever is."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def lines(self) -> list[Line]:
        """Everything that happened, in order."""
        if not self.file.exists():
            return []
        return [Line(**json.loads(line)) for line in self.file.read_text().splitlines()]

    def write(self, call: OperationCall, *, once: bool = False, undone: str = "") -> None:
        """Write a line; with `once`, unless one of that key is there."""
        line = {
            "key": call.key,
            "goal_id": call.goal_id,
            "task_id": call.task_id,
            "generation": call.generation,
            "operation": call.operation,
            "attempt": call.attempt,
            "undone": undone,
        }
        with self.file.open("a+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            if once and any(json.loads(each)["key"] == call.key for each in file):
                return
            file.write(json.dumps(line) + "\n")
            file.flush()
            os.fsync(file.fileno())


class WitnessConnector(ServiceConnector):
    """``witness.write`` is idempotent, ``witness.strike`` is not and can be looked up."""

    service: ClassVar[str] = "witness"
    operations: ClassVar[Mapping[str, Operation]] = operations(
        "witness",
        Operation(
            name="witness.write",
            summary="Writes a line, once for each key",
            inputs=Pace,
            outputs=Written,
            risk=Risk.WRITE,
            idempotent=True,
            compensation=Compensation("witness.undo", lambda _, outputs: {"key": outputs.key}),
        ),
        Operation(
            name="witness.strike",
            summary="Writes a line at each call",
            inputs=Pace,
            outputs=Written,
            risk=Risk.WRITE,
            idempotent=False,
            compensation=Compensation("witness.undo", lambda _, outputs: {"key": outputs.key}),
        ),
        Operation(
            name="witness.undo",
            summary="Writes that a line is undone",
            inputs=Undo,
            outputs=Nothing,
            risk=Risk.WRITE,
            idempotent=True,
        ),
        Operation(
            name="witness.hold",
            summary="Holds a credential for a while",
            inputs=Pace,
            outputs=Nothing,
            risk=Risk.READ,
            idempotent=True,
            credentials=("token",),
        ),
        Operation(
            name="witness.fail",
            summary="Fails",
            inputs=Pace,
            outputs=Nothing,
            risk=Risk.READ,
            idempotent=True,
        ),
    )

    def __init__(self, book: Book) -> None:
        self._book = book

    async def write(self, call: OperationCall, _: Credentials) -> Written:
        """A line, unless it is there."""
        return await _written(self._book, call, once=True)

    async def strike(self, call: OperationCall, _: Credentials) -> Written:
        """A line, whatever is there."""
        return await _written(self._book, call, once=False)

    async def undo(self, call: OperationCall, _: Credentials) -> Nothing:
        """A line that another is undone."""
        await asyncio.to_thread(self._book.write, call, once=True, undone=call.inputs.key)
        return Nothing()

    async def hold(self, call: OperationCall, _: Credentials) -> Nothing:
        """Take the time that was asked for."""
        await _pause(call.inputs.before)
        return Nothing()

    async def fail(self, call: OperationCall, _: Credentials) -> Nothing:
        """Take the time that was asked for, and fail."""
        await _pause(call.inputs.before)
        raise OperationFailed(f"'{call.task_id}' was told to fail")

    async def reconcile(self, call: OperationCall, _: Credentials) -> Reconciliation:
        """Look the key up."""
        lines = await asyncio.to_thread(self._book.lines)
        if any(line.key == call.key for line in lines):
            outputs = Written(key=call.key, value=call.inputs.value)
            return Reconciliation(Happened.YES, OperationResult(outputs))
        return Reconciliation(Happened.NO)


class BlindConnector(ServiceConnector):
    """``blind.strike`` cannot be looked up: people must say what happened."""

    service: ClassVar[str] = "blind"
    operations: ClassVar[Mapping[str, Operation]] = operations(
        "blind",
        Operation(
            name="blind.strike",
            summary="Writes a line at each call, and cannot be looked up",
            inputs=Pace,
            outputs=Written,
            risk=Risk.WRITE,
            idempotent=False,
        ),
    )

    def __init__(self, book: Book) -> None:
        self._book = book

    async def strike(self, call: OperationCall, _: Credentials) -> Written:
        """A line, whatever is there."""
        return await _written(self._book, call, once=False)


async def _written(book: Book, call: OperationCall, *, once: bool) -> Written:
    pace: Pace = call.inputs
    await _pause(pace.before)
    await asyncio.to_thread(book.write, call, once=once)
    await _pause(pace.after)
    return Written(key=call.key, value=pace.value)


async def _pause(milliseconds: int) -> None:
    await asyncio.sleep(milliseconds / 1000)


__all__ = ["BlindConnector", "Book", "Line", "WitnessConnector"]
