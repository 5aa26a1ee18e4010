"""What the log keeps, for whom and how it survives."""

import asyncio
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
import structlog

from goalkeeper.audit import AuditLog
from goalkeeper.domain.audit import AuditEvent, AuditKind
from goalkeeper.domain.base import canonical
from goalkeeper.domain.errors import InvalidSettings, NotFound, StoreUnavailable

MakeEvent = Callable[[int], AuditEvent]
ROOT = Path(__file__).parents[3]

WRITER = """
import asyncio, sys
from datetime import UTC, datetime
from pathlib import Path
from goalkeeper.audit import AuditLog
from goalkeeper.domain.audit import AuditEvent, AuditKind

async def main(file, name, count):
    log = AuditLog.open(Path(file), every_entries=20)
    numbers = iter(range(int(count)))

    async def caller():
        for number in numbers:
            event = AuditEvent(id=f"{name}-{number}", time=datetime.now(UTC),
                               kind=AuditKind.TASK_INTENT, actor=name)
            index, = await log.append(event)
            print(index, event.id, flush=True)

    await asyncio.gather(*[caller() for _ in range(8)])
    await log.aclose()

asyncio.run(main(*sys.argv[1:]))
"""


def writer(file: Path, name: str, count: int) -> subprocess.Popen[str]:
    """A process that appends with eight callers and prints what was acknowledged."""
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(file), name, str(count)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )


async def test_events_come_back_in_the_order_in_which_they_were_appended(
    log: AuditLog, event: MakeEvent
) -> None:
    """Indices count from 0, and an entry's leaf is the event's canonical form."""
    assert await log.append(event(0)) == (0,)
    assert await log.append(event(1), event(2)) == (1, 2)
    found = list(log.entries())
    assert [e.event for e in found] == [event(0), event(1), event(2)]
    assert [e.index for e in found] == [0, 1, 2]
    assert found[1].leaf.encode() == canonical(event(1))
    assert log.size() == 3


async def test_appending_the_same_id_again_changes_nothing(log: AuditLog, event: MakeEvent) -> None:
    """A retried writer gets the first index, and no warning where only the time differs."""
    await log.append(event(0), event(1))
    later = event(0).model_copy(update={"time": event(0).time + timedelta(hours=1)})
    with structlog.testing.capture_logs() as logs:
        assert await log.append(event(0), later, event(2)) == (0, 0, 2)
    assert logs == []
    assert log.entry(0).event == event(0)


async def test_the_same_id_with_another_content_keeps_the_first_and_warns(
    log: AuditLog, event: MakeEvent
) -> None:
    """Two writers that disagree under one id are odd, and the first is on record."""
    await log.append(event(0))
    other = event(0).model_copy(update={"actor": "person:mallory"})
    with structlog.testing.capture_logs() as logs:
        assert await log.append(other) == (0,)
    assert [entry["event"] for entry in logs] == ["audit_event_repeated_differently"]
    assert log.entry("event-0").event.actor == "worker"


async def test_one_append_may_repeat_an_id_within_itself(log: AuditLog, event: MakeEvent) -> None:
    """Duplicates are recognised inside a transaction too."""
    assert await log.append(event(5), event(5)) == (0, 0)
    assert log.size() == 1


async def test_entries_are_filtered_by_goal_kind_start_and_limit(
    log: AuditLog, event: MakeEvent
) -> None:
    """Filters combine; a limit counts what matches."""
    await log.append(*[event(n) for n in range(1200)])
    assert [e.index for e in log.entries(goal_id="goal-1", limit=3)] == [1, 4, 7]
    assert [e.index for e in log.entries(start=1195, kind=AuditKind.TASK_INTENT)] == [
        1195,
        1197,
        1199,
    ]
    both = list(log.entries(goal_id="goal-2", kind=AuditKind.TASK_OUTCOME))
    assert [e.index for e in both] == [n for n in range(1200) if n % 3 == 2 and n % 2 == 0]
    assert len(list(log.entries())) == 1200
    assert list(log.entries(limit=0)) == []


async def test_an_entry_that_is_not_there_is_said_not_to_be(log: AuditLog) -> None:
    """Neither an index nor an id is made up."""
    for missing in (0, -1, "nothing"):
        with pytest.raises(NotFound, match=f"no entry '{missing}'"):
            log.entry(missing)


async def test_many_callers_share_a_transaction_and_each_gets_its_own_index(
    log: AuditLog, event: MakeEvent
) -> None:
    """Concurrent appends are all there, once."""
    indices = await asyncio.gather(*[log.append(event(n)) for n in range(300)])
    assert sorted(i for (i,) in indices) == list(range(300))
    for number in (0, 150, 299):
        assert log.entry(indices[number][0]).event == event(number)
    log.verify()


async def test_files_are_for_the_owner_alone(log: AuditLog, event: MakeEvent) -> None:
    """The key and the database cannot be read by others; the public key is plain text."""
    await log.append(event(0))
    folder = log.file.parent
    for private in folder.glob("audit.sqlite*"):
        assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert stat.S_IMODE((folder / "checkpoint.key").stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert (folder / "checkpoint.vkey").read_text() == log.vkey + "\n"


async def test_a_checkpoint_is_signed_after_so_many_entries(file: Path, event: MakeEvent) -> None:
    """The writer signs by itself, and what it signed is in checkpoints.txt."""
    log = AuditLog.open(file, every_entries=5, every_seconds=10_000)
    await log.append(*[event(n) for n in range(5)])
    await log.append(*[event(n) for n in range(5, 12)])
    await log.aclose()
    checked = AuditLog.open(file, readonly=True).verify()
    assert (checked.size, checked.signed) == (12, 12)
    assert checked.checkpoints >= 2
    assert (file.parent / "checkpoints.txt").read_text().count("\n— ") == checked.checkpoints


async def test_a_checkpoint_is_signed_after_some_time_without_further_entries(
    file: Path, event: MakeEvent
) -> None:
    """An idle log does not keep its last entries unsigned."""
    log = AuditLog.open(file, every_entries=10_000, every_seconds=0.2)
    await log.append(event(0))
    await log.append(event(1))
    async with asyncio.timeout(20):
        while log.verify().signed < 2:  # noqa: ASYNC110 - it happens in a thread of the log's
            await asyncio.sleep(0.05)
    await log.aclose()


async def test_closing_signs_the_head_once(file: Path, event: MakeEvent) -> None:
    """A second process that writes nothing adds no checkpoint."""
    log = AuditLog.open(file)
    await log.append(event(0))
    await log.aclose()
    await log.aclose()
    again = AuditLog.open(file)
    assert again.checkpoint().size == 1
    await again.aclose()
    assert again.verify().checkpoints == 1


async def test_a_closed_log_refuses_to_record(file: Path, event: MakeEvent) -> None:
    """Late callers hear that nothing was recorded."""
    log = AuditLog.open(file)
    await log.aclose()
    with pytest.raises(StoreUnavailable, match="shutting down"):
        await log.append(event(0))


async def test_a_full_disk_records_nothing_and_recording_goes_on_afterwards(
    log: AuditLog, event: MakeEvent
) -> None:
    """The message says what to do; what was refused has left no trace."""
    await log.append(event(0))
    assert log._writer is not None
    await log._writer.run(lambda c: c.execute("PRAGMA max_page_count = 1").fetchone() and None)
    big = event(1).model_copy(update={"detail": {"text": "x" * 100_000}})
    with pytest.raises(StoreUnavailable, match="disk is full"):
        await log.append(big)
    assert log.size() == 1
    # The failed connection was replaced by a new one, which has no limit.
    assert await log.append(big) == (1,)
    log.verify()


async def test_a_read_only_log_creates_nothing(file: Path, event: MakeEvent) -> None:
    """Reading where nothing was recorded says so; reading a log takes no key."""
    with pytest.raises(NotFound, match="nothing was recorded yet"):
        AuditLog.open(file, readonly=True)
    assert not file.parent.exists()
    log = AuditLog.open(file)
    await log.append(event(0))
    await log.aclose()
    (file.parent / "checkpoint.key").unlink()
    reader = AuditLog.open(file, readonly=True)
    assert [e.event for e in reader.entries()] == [event(0)]
    assert reader.checkpoint().size == 1
    with pytest.raises(StoreUnavailable, match="read-only"):
        await reader.append(event(1))


async def test_a_log_of_a_newer_release_is_left_alone(file: Path) -> None:
    """An older program does not guess at a format that it does not know."""
    await AuditLog.open(file).aclose()
    connection = sqlite3.connect(file)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(InvalidSettings, match="newer release"):
        AuditLog.open(file)


def test_a_file_that_is_no_database_is_reported_as_damaged(file: Path) -> None:
    """The message says what to do with it."""
    file.parent.mkdir()
    file.write_bytes(b"not a database, though long enough to look at" * 100)
    with pytest.raises(StoreUnavailable, match="damaged"):
        AuditLog.open(file)


async def test_entries_cannot_be_changed_by_accident(full: Path) -> None:
    """The database itself refuses an UPDATE or a DELETE."""
    connection = sqlite3.connect(full)
    for statement in ("DELETE FROM entries WHERE seq = 3", "UPDATE entries SET leaf = '{}'"):
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            connection.execute(statement)
    connection.close()


def test_a_writer_that_is_killed_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    """SIGKILL in the middle of group commits: every index that was printed holds its event."""
    file = tmp_path / "audit.sqlite"
    for turn in range(3):
        process = writer(file, f"turn{turn}", 1_000_000)
        assert process.stdout is not None
        acknowledged = [process.stdout.readline() for _ in range(200)]
        os.kill(process.pid, signal.SIGKILL)
        acknowledged += [x for x in process.stdout.readlines() if x.endswith("\n")]
        process.wait()
        process.stdout.close()
        log = AuditLog.open(file, readonly=True)
        log.verify()
        kept = {e.event.id: e.index for e in log.entries()}
        for line in acknowledged:
            index, identifier = line.split()
            assert kept[identifier] == int(index)


def test_a_log_that_many_open_for_the_first_time_gets_one_key(tmp_path: Path) -> None:
    """Whoever comes second uses the key of the first."""
    with ThreadPoolExecutor(8) as pool:
        for turn in range(20):
            file = tmp_path / str(turn) / "audit.sqlite"
            barrier = threading.Barrier(8)

            def opened(_: int, file: Path = file, barrier: threading.Barrier = barrier) -> AuditLog:
                barrier.wait()
                return AuditLog.open(file)

            logs = list(pool.map(opened, range(8)))
            assert len({log.vkey for log in logs}) == 1
            assert len({log.checkpoint().note for log in logs}) == 1


def test_four_processes_append_to_one_log_at_once(tmp_path: Path) -> None:
    """Also the first opening is shared: one key, one tree, every entry once."""
    file = tmp_path / "audit" / "audit.sqlite"
    processes = [writer(file, f"p{n}", 150) for n in range(4)]
    for process in processes:
        output, _ = process.communicate()
        assert process.returncode == 0
        assert len(output.splitlines()) == 150
    log = AuditLog.open(file, readonly=True)
    checked = log.verify()
    assert (checked.size, checked.signed) == (600, 600)
    assert {e.event.id for e in log.entries()} == {
        f"p{n}-{m}" for n in range(4) for m in range(150)
    }
