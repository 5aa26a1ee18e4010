"""One SQLite file with one writer thread: many callers share a transaction, and each waits for it.

It knows nothing of what is stored: `goalkeeper.audit` and `goalkeeper.ledger` bring the schema. It
may not be given a job that raises one of our errors after its first write, since jobs of several
callers commit together.
"""

import asyncio
import contextlib
import errno
import fcntl
import os
import queue
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import structlog

from goalkeeper.domain.errors import GoalkeeperError, InvalidSettings, StoreUnavailable

T = TypeVar("T")

Job: TypeAlias = Callable[[sqlite3.Connection], T]
"""Reads and writes inside the shared transaction; raises our own errors only before it writes."""

Between: TypeAlias = Callable[[sqlite3.Connection, bool], None]
"""Called in the writer thread after a commit, when idle and (with True) when closing."""

_BATCH = 1000
_BUSY_SECONDS = 30.0
_LITTLE = 256 * 1024

_log = structlog.get_logger(__name__)


def unavailable(file: Path, error: Exception) -> StoreUnavailable:
    """What a database or file error means and what to do about it."""
    code = getattr(error, "sqlite_errorcode", None)
    primary = code & 0xFF if code is not None else None
    full = primary == sqlite3.SQLITE_FULL or getattr(error, "errno", None) == errno.ENOSPC
    # SQLite reports a full disk as an I/O error where it cannot enlarge its shared memory.
    if full or (primary == sqlite3.SQLITE_IOERR and _no_room_beside(file)):
        what = "the disk is full. Free some space; what waits on it goes on by itself"
    elif primary in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        what = "another process holds it for too long. Look for one that hangs; retrying helps"
    elif primary in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        what = "it is damaged. Stop the stack, keep the file for examination and restore a backup"
    elif primary in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
        what = "it cannot be opened for writing. Check the folder's owner and permissions"
    else:
        what = f"the file system says: {getattr(error, 'strerror', None) or error}"
    return StoreUnavailable(
        f"'{file}' could not be read or written, so nothing was recorded: {what}."
    )


def _no_room_beside(file: Path) -> bool:
    with contextlib.suppress(OSError):
        return shutil.disk_usage(file.parent).free < _LITTLE
    return False


@contextlib.contextmanager
def reading(file: Path) -> Iterator[sqlite3.Connection]:
    """A connection that sees one state of the file and cannot change it.

    Raises:
        StoreUnavailable: the file cannot be opened or read.
    """
    try:
        connection = sqlite3.connect(
            f"{file.absolute().as_uri()}?mode=ro",
            uri=True,
            timeout=_BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,
        )
        with contextlib.closing(connection):
            connection.execute("BEGIN")
            # The snapshot is taken by the first read, not by BEGIN.
            connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
            yield connection
    except sqlite3.Error as error:
        raise unavailable(file, error) from None


@contextlib.contextmanager
def transaction(file: Path) -> Iterator[sqlite3.Connection]:
    """One transaction of its own, for what must not share one with other jobs.

    Raises:
        StoreUnavailable: the file could not be written, and nothing changed.
    """
    try:
        with contextlib.closing(_connect(file, create=False)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")
    except (sqlite3.Error, OSError) as error:
        raise unavailable(file, error) from None


def prepare(file: Path, schema: str, version: int) -> None:
    """Create the file (mode 0600) and its tables where they are not there yet.

    Raises:
        InvalidSettings: a newer release made the file.
        StoreUnavailable: the file cannot be opened or written.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with alone_in(file.parent):
            if not file.exists():
                # Never open an existing one this way: closing a descriptor of a database file
                # drops the locks that SQLite holds on it in the same process.
                os.close(os.open(file, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600))
            with contextlib.closing(_connect(file)) as connection:
                found = connection.execute("PRAGMA user_version").fetchone()[0]
                if found > version:
                    raise InvalidSettings(
                        f"'{file}' was written by a newer release of Goalkeeper (format {found}, "
                        f"this one knows {version}): install that release again"
                    )
                if found < version:
                    connection.executescript(
                        f"BEGIN IMMEDIATE;{schema};PRAGMA user_version={version:d};COMMIT;"
                    )
    except (sqlite3.Error, OSError) as error:
        raise unavailable(file, error) from None


class SqliteWriter:
    """The one thread of this process that writes a file; other processes may have their own.

    Args:
        file: a database that `prepare` made.
        between: work of the store itself, such as signing the head.
        interval: seconds of idleness after which `between` is called.
    """

    def __init__(
        self, file: Path, *, between: Between | None = None, interval: float = 1.0
    ) -> None:
        self._file = file
        self._between = between
        self._interval = interval if between else None
        self._queue: queue.SimpleQueue[tuple[Job[Any], Future[Any]] | None] = queue.SimpleQueue()
        self._connection: sqlite3.Connection | None = None
        self._thread: threading.Thread | None = None
        self._closed = False
        self._lock = threading.Lock()

    def submit(self, job: Job[T]) -> Future[T]:
        """Queue a job; its future resolves when the transaction is on disk.

        Raises:
            StoreUnavailable: the store is closed already.
        """
        future: Future[T] = Future()
        with self._lock:
            if self._closed:
                raise StoreUnavailable(
                    f"'{self._file}' is closed, since this process is shutting down: "
                    "what is left is retried elsewhere"
                )
            if self._thread is None:
                name = f"writer of {self._file.name}"
                self._thread = threading.Thread(target=self._run, name=name, daemon=True)
                self._thread.start()
            self._queue.put((job, future))
        return future

    async def run(self, job: Job[T]) -> T:
        """Do a job and return once it is durable.

        Raises:
            StoreUnavailable: the file could not be written, and the job has left no trace.
        """
        return await asyncio.wrap_future(self.submit(job))

    async def aclose(self) -> None:
        """Finish what is queued and close the file."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._queue.put(None)
            thread = self._thread
        if thread is not None:
            await asyncio.to_thread(thread.join)

    def _run(self) -> None:
        ending = False
        while not ending:
            batch, ending = self._next_batch()
            if batch:
                self._commit(batch)
            if self._between:
                self._call_between(ending)
        if self._connection is not None:
            self._connection.close()

    def _next_batch(self) -> tuple[list[tuple[Job[Any], Future[Any]]], bool]:
        batch: list[tuple[Job[Any], Future[Any]]] = []
        with contextlib.suppress(queue.Empty):
            item = self._queue.get(timeout=self._interval)
            while item is not None:
                # A caller that has gone already is not served; from here on it cannot cancel.
                if item[1].set_running_or_notify_cancel():
                    batch.append(item)
                if len(batch) == _BATCH:
                    return batch, False
                item = self._queue.get_nowait()
            return batch, True
        return batch, False

    def _commit(self, batch: list[tuple[Job[Any], Future[Any]]]) -> None:
        results: list[tuple[Future[Any], Any, GoalkeeperError | None]] = []
        try:
            connection = self._opened()
            connection.execute("BEGIN IMMEDIATE")
            for job, future in batch:
                try:
                    results.append((future, job(connection), None))
                except GoalkeeperError as error:
                    results.append((future, None, error))
            connection.execute("COMMIT")
        except Exception as error:
            self._reopen()
            _log.warning("store_write_failed", file=str(self._file), error=str(error))
            for _, future in batch:
                known = isinstance(error, sqlite3.Error | OSError)
                future.set_exception(unavailable(self._file, error) if known else error)
            return
        for future, value, refusal in results:
            if refusal is None:
                future.set_result(value)
            else:
                future.set_exception(refusal)

    def _call_between(self, ending: bool) -> None:
        try:
            if self._between:
                self._between(self._opened(), ending)
        except Exception as error:
            # What the callers wrote is durable already; the next commit tries this again.
            self._reopen()
            _log.warning("store_upkeep_failed", file=str(self._file), error=str(error))

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = _connect(self._file, create=False)
        return self._connection

    def _reopen(self) -> None:
        """After a failure the connection's state is unknown: a new one starts clean."""
        if self._connection is not None:
            with contextlib.suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None


def _connect(file: Path, *, create: bool = True) -> sqlite3.Connection:
    # mode=rw: a database that somebody removed must not come back empty and unnoticed.
    uri = f"{file.absolute().as_uri()}?mode={'rwc' if create else 'rw'}"
    connection = sqlite3.connect(
        uri, uri=True, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
    )
    connection.execute("PRAGMA journal_mode=WAL")
    # FULL, not NORMAL: at a power cut NORMAL may lose a tail that was acknowledged.
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA foreign_keys=ON")
    return connection


@contextlib.contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Set-up by one process at a time: the switch to WAL, for one, does not wait for locks."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
