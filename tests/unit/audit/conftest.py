"""An audit log in a folder of its own, and events to put in it."""

import sqlite3
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from goalkeeper.audit import AuditLog
from goalkeeper.domain.audit import AuditEvent, AuditKind

START = datetime(2025, 1, 1, tzinfo=UTC)

MakeEvent = Callable[[int], AuditEvent]
Tamper = Callable[[str], None]


@pytest.fixture
def event() -> MakeEvent:
    """Makes event number n: a second after the one before."""

    def make(number: int) -> AuditEvent:
        return AuditEvent(
            id=f"event-{number}",
            time=START + timedelta(seconds=number),
            kind=AuditKind.TASK_INTENT if number % 2 else AuditKind.TASK_OUTCOME,
            actor="worker",
            goal_id=f"goal-{number % 3}",
            task_id="build",
            detail={"number": number},
        )

    return make


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where the log is."""
    return tmp_path / "audit" / "audit.sqlite"


@pytest.fixture
async def log(file: Path) -> AsyncIterator[AuditLog]:
    """A log that signs only when asked, and when it closes."""
    opened = AuditLog.open(file, every_entries=10_000, every_seconds=10_000)
    yield opened
    await opened.aclose()


@pytest.fixture
async def full(file: Path, event: MakeEvent) -> Path:
    """A closed log of 21 entries, signed at 1, 8, 16 and 21."""
    opened = AuditLog.open(file, every_entries=10_000, every_seconds=10_000)
    for first, last in ((0, 1), (1, 8), (8, 16), (16, 21)):
        await opened.append(*[event(n) for n in range(first, last)])
        opened.checkpoint()
    await opened.aclose()
    return file


@pytest.fixture
def tamper(full: Path) -> Tamper:
    """Runs SQL on the closed log, as somebody with access to the file could."""

    def run(script: str) -> None:
        connection = sqlite3.connect(full)
        connection.executescript(
            f"DROP TRIGGER IF EXISTS entries_stay; DROP TRIGGER IF EXISTS entries_stay_so; {script}"
        )
        connection.commit()
        connection.close()

    return run
