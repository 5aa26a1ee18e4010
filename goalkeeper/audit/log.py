"""`AuditLog`: an append-only Merkle log of audit events in SQLite, with signed checkpoints.

It records what it is told and proves what it recorded; it never changes or removes an entry, and
it does not redact: whoever makes an event keeps secrets out of it.
"""

import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path

import structlog
from pydantic import ValidationError

from goalkeeper.audit import merkle
from goalkeeper.audit.anchor import ANCHOR_FILE, append_note
from goalkeeper.audit.export import Export, write_export
from goalkeeper.audit.note import SigningKey, open_note, read_vkey
from goalkeeper.audit.proof import ConsistencyProof, Entry, Proof
from goalkeeper.audit.tree import head_size, nodes_of
from goalkeeper.audit.verification import Verification, verify_log
from goalkeeper.domain.audit import AuditEvent, AuditKind, Checkpoint
from goalkeeper.domain.base import canonical
from goalkeeper.domain.errors import AuditBroken, NotFound, StoreUnavailable
from goalkeeper.sqlite_writer import SqliteWriter, alone_in, prepare, reading, transaction

# The columns beside `leaf` are computed from it, so that they cannot say anything else.
_SCHEMA = """
CREATE TABLE entries(
  seq INTEGER PRIMARY KEY,
  leaf TEXT NOT NULL,
  id TEXT AS (json_extract(leaf, '$.id')) VIRTUAL UNIQUE,
  kind TEXT AS (json_extract(leaf, '$.kind')) VIRTUAL,
  goal_id TEXT AS (json_extract(leaf, '$.goal_id')) VIRTUAL
);
CREATE INDEX entries_of_goal ON entries(goal_id);
CREATE TABLE nodes(
  level INTEGER NOT NULL,
  number INTEGER NOT NULL,
  hash BLOB NOT NULL,
  PRIMARY KEY(level, number)
) WITHOUT ROWID;
CREATE TABLE checkpoints(
  size INTEGER PRIMARY KEY,
  time REAL NOT NULL,
  note TEXT NOT NULL
);
CREATE TRIGGER entries_stay BEFORE DELETE ON entries
  BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
CREATE TRIGGER entries_stay_so BEFORE UPDATE ON entries
  BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
"""
_VERSION = 1
_PAGE = 500

_log = structlog.get_logger(__name__)


class AuditLog:
    """One audit log. Open it with `AuditLog.open`; several processes may have it open.

    Attributes:
        file: the database.
        origin: the log's name in its checkpoints.
        vkey: its public key, as Go's ``note.NewVerifier`` takes it.
    """

    def __init__(
        self,
        file: Path,
        *,
        origin: str,
        key: SigningKey | None,
        every_entries: int = 1000,
        every_seconds: float = 5.0,
    ) -> None:
        self.file = file
        self.origin = origin
        self.vkey = key.vkey if key else read_vkey(file.parent)
        self._key = key
        self._every_entries = every_entries
        self._every_seconds = every_seconds
        self._appended = 0
        """By this process, since it last looked whether a checkpoint is due."""
        self._look_at = 0.0
        self._writer = SqliteWriter(file, between=self._sign_when_due) if key else None

    @classmethod
    def open(
        cls,
        file: Path,
        *,
        origin: str = "goalkeeper",
        readonly: bool = False,
        every_entries: int = 1000,
        every_seconds: float = 5.0,
    ) -> "AuditLog":
        """Open the log in `file`; create it, with its signing key, where there is none.

        Args:
            file: the database; its key and checkpoints are kept in the same folder.
            origin: the log's name: no spaces, no ``+``.
            readonly: take no key, create nothing.
            every_entries: sign a checkpoint after so many entries,
            every_seconds: or after so many seconds, whichever comes first; and when closing.

        Raises:
            NotFound: `readonly`, and there is no log.
            StoreUnavailable: the folder, the file or the key cannot be used.
        """
        if readonly and not file.exists():
            raise NotFound(
                f"there is no audit log at '{file}': nothing was recorded yet, or the state "
                "folder is another one"
            )
        key = None
        if not readonly:
            prepare(file, _SCHEMA, _VERSION)
            with alone_in(file.parent):
                key = SigningKey.load(file.parent, origin)
        return cls(
            file, origin=origin, key=key, every_entries=every_entries, every_seconds=every_seconds
        )

    async def append(self, *events: AuditEvent) -> tuple[int, ...]:
        """Record events, in this order and next to each other; durable when this returns.

        An event whose id is in the log already gets the index that it has there.

        Raises:
            StoreUnavailable: nothing was recorded, for example because the disk is full.
        """
        leaves = [(event, canonical(event).decode()) for event in events]

        def job(connection: sqlite3.Connection) -> tuple[int, ...]:
            self._appended += len(leaves)
            return _append(connection, leaves)

        return await self._writing().run(job)

    def verify(self, *, known: Sequence[str] = (), vkey: str | None = None) -> Verification:
        """Recompute every hash and check it against the tree and all signed checkpoints.

        Args:
            known: signed notes kept elsewhere that the log must agree with.
            vkey: the public key kept elsewhere; the one beside the log when None.

        Raises:
            AuditBroken: it does not hold; the message names the first bad entry.
            StoreUnavailable: the file cannot be read.
        """
        return verify_log(self.file, vkey or self.vkey, known)

    def export(
        self,
        target: Path,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> Export:
        """Write entries, a checkpoint and a program that verifies them to a folder or ``.zip``.

        Args:
            target: a new or empty folder, or a new file whose name ends in ``.zip``.
            since: only events of this time or later,
            until: and before this time. Whatever is left out is proved by hashes alone.

        Raises:
            Conflict: there is something at `target` already.
            StoreUnavailable: it cannot be written.
        """
        checkpoint = self.checkpoint()
        return write_export(self.file, checkpoint, self.vkey, target, since=since, until=until)

    def entries(
        self,
        *,
        start: int = 0,
        limit: int | None = None,
        goal_id: str | None = None,
        kind: AuditKind | None = None,
    ) -> Iterator[Entry]:
        """Entries from index `start` on, oldest first."""
        found = 0
        while limit is None or found < limit:
            count = _PAGE if limit is None else min(_PAGE, limit - found)
            # A page at a time: an open snapshot would keep SQLite from trimming its log.
            page = self._page(start, count, goal_id, kind)
            yield from page
            if len(page) < count:
                return
            found += count
            start = page[-1].index + 1

    def entry(self, index_or_id: int | str) -> Entry:
        """One entry by its index or its event's id.

        Raises:
            NotFound: there is none.
        """
        column = "seq" if isinstance(index_or_id, int) else "id"
        with reading(self.file) as connection:
            row = connection.execute(
                f"SELECT seq, leaf FROM entries WHERE {column} = ?",  # noqa: S608 - two constants
                (index_or_id,),
            ).fetchone()
        if row is None:
            raise NotFound(f"the audit log has no entry '{index_or_id}'")
        return _entry(*row)

    def size(self) -> int:
        """How many entries there are."""
        with reading(self.file) as connection:
            return head_size(connection)

    def checkpoint(self) -> Checkpoint:
        """Sign the head as it is now, or return its checkpoint if it has one.

        Read-only, the newest checkpoint there is.

        Raises:
            NotFound: read-only, and nothing was signed yet.
        """
        if self._writer is None:
            with reading(self.file) as connection:
                last = _last_checkpoint(connection)
            if last is None:
                raise NotFound(
                    f"nothing in '{self.file}' was signed yet: try again in some seconds"
                )
            return open_note(last[2], self.vkey)
        # Not a job of the writer: it would share a transaction with entries that are not committed,
        # and what checkpoints.txt announces must exist.
        with transaction(self.file) as connection:
            return self._sign(connection)

    def prove(self, index: int) -> Proof:
        """Prove that entry `index` is in the log, under a signed checkpoint.

        Raises:
            NotFound: there is no such entry, or read-only, it was not signed yet.
        """
        entry = self.entry(index)
        checkpoint = self.checkpoint()
        if index >= checkpoint.size:
            raise NotFound(f"entry {index} is not under a signed checkpoint yet: try again soon")
        with reading(self.file) as connection:
            path = merkle.inclusion(index, checkpoint.size, nodes_of(connection))
        return Proof(
            index=index, leaf=entry.leaf, hashes=_texts(path), checkpoint=checkpoint, vkey=self.vkey
        )

    def consistency(self, old_size: int) -> ConsistencyProof:
        """Prove that the log has only grown since it had `old_size` entries.

        Raises:
            NotFound: it is shorter than that.
        """
        checkpoint = self.checkpoint()
        if not 0 <= old_size <= checkpoint.size:
            raise NotFound(f"the audit log has {checkpoint.size} signed entries, not {old_size}")
        with reading(self.file) as connection:
            path = merkle.consistency(old_size, checkpoint.size, nodes_of(connection))
        return ConsistencyProof(old_size=old_size, hashes=_texts(path), checkpoint=checkpoint)

    async def aclose(self) -> None:
        """Write what is queued, sign the head, close."""
        if self._writer:
            await self._writer.aclose()

    def _page(
        self, start: int, count: int, goal_id: str | None, kind: AuditKind | None
    ) -> list[Entry]:
        where = ["seq >= ?"]
        arguments: list[int | str] = [start]
        for column, value in (("goal_id", goal_id), ("kind", kind)):
            if value is not None:
                where.append(f"{column} = ?")
                arguments.append(str(value))
        query = f"SELECT seq, leaf FROM entries WHERE {' AND '.join(where)} ORDER BY seq LIMIT ?"  # noqa: S608 - constants
        with reading(self.file) as connection:
            return [_entry(*row) for row in connection.execute(query, (*arguments, count))]

    def _writing(self) -> SqliteWriter:
        if self._writer is None:
            raise StoreUnavailable(f"'{self.file}' was opened read-only: nothing can be recorded")
        return self._writer

    def _sign(self, connection: sqlite3.Connection) -> Checkpoint:
        """Sign the head, in a transaction that has added no entries."""
        size = head_size(connection)
        last = _last_checkpoint(connection)
        if self._key is None:
            raise StoreUnavailable(f"'{self.file}' was opened read-only: nothing can be signed")
        signed = self._key.sign(size, merkle.root(size, nodes_of(connection)))
        if last is not None and last[0] == size:
            return signed
        # The file before the commit: it may know a checkpoint that the table does not, never the
        # other way round, which is how a shortened file is noticed.
        row = (size, time.time(), signed.note)
        connection.execute("INSERT INTO checkpoints VALUES(?, ?, ?)", row)
        append_note(self.file.parent / ANCHOR_FILE, signed.note)
        return signed

    def _sign_when_due(self, connection: sqlite3.Connection, closing: bool) -> None:
        now = time.monotonic()
        # After each commit, so that asking the database each time would cost a tenth of it.
        if not (closing or self._appended >= self._every_entries or now >= self._look_at):
            return
        size = head_size(connection)
        last_size, last_time, _ = _last_checkpoint(connection) or (0, 0.0, "")
        waited = time.time() - last_time
        due = closing or size - last_size >= self._every_entries or waited >= self._every_seconds
        if size > last_size and due:
            connection.execute("BEGIN IMMEDIATE")
            self._sign(connection)
            connection.execute("COMMIT")
        # Only now: where signing failed, the next commit tries again.
        self._appended = 0
        self._look_at = now + self._every_seconds - (0 if due else max(0.0, waited))


def _append(
    connection: sqlite3.Connection, leaves: list[tuple[AuditEvent, str]]
) -> tuple[int, ...]:
    node = nodes_of(connection)
    size = head_size(connection)
    indices: list[int] = []
    for event, leaf in leaves:
        known = connection.execute(
            "SELECT seq, leaf FROM entries WHERE id = ?", (event.id,)
        ).fetchone()
        if known is not None:
            _warn_if_other(event, *known)
            indices.append(known[0])
            continue
        hashed = merkle.leaf_hash(leaf.encode())
        connection.execute("INSERT INTO entries(seq, leaf) VALUES(?, ?)", (size, leaf))
        connection.executemany(
            "INSERT INTO nodes VALUES(?, ?, ?)", merkle.completed(size, hashed, node)
        )
        indices.append(size)
        size += 1
    return tuple(indices)


def _warn_if_other(event: AuditEvent, index: int, leaf: str) -> None:
    """A retried writer repeats an event at a later time; anything else that differs is odd."""
    if AuditEvent.model_validate_json(leaf).model_copy(update={"time": event.time}) != event:
        _log.warning("audit_event_repeated_differently", event_id=event.id, kept_index=index)


def _last_checkpoint(connection: sqlite3.Connection) -> tuple[int, float, str] | None:
    row: tuple[int, float, str] | None = connection.execute(
        "SELECT size, time, note FROM checkpoints ORDER BY size DESC LIMIT 1"
    ).fetchone()
    return row


def _entry(index: int, leaf: str) -> Entry:
    try:
        event = AuditEvent.model_validate_json(leaf)
    except ValidationError:
        raise AuditBroken(
            f"entry {index} of the audit log is not an event: it was edited"
        ) from None
    return Entry(
        index=index,
        event=event,
        leaf=leaf,
        hash="sha256:" + merkle.leaf_hash(leaf.encode()).hex(),
    )


def _texts(hashes: Iterable[bytes]) -> tuple[str, ...]:
    return tuple("sha256:" + h.hex() for h in hashes)
