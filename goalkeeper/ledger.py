"""The ledger: grants spent, effects begun and done, leases alive. What makes a retry safe.

It keeps facts that outlive a worker; it decides nothing about policy and never holds a secret (an
accessor only lets its holder revoke).
"""

import asyncio
import json
import re
import sqlite3
from concurrent.futures import Future
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import model_validator

from goalkeeper.contracts.activities import GoalOnRecord
from goalkeeper.domain.base import Instant, Json, Model
from goalkeeper.domain.errors import Conflict, GrantMismatch, GrantSpent, NotFound
from goalkeeper.sqlite_writer import SqliteWriter, prepare

_SCHEMA = """
CREATE TABLE IF NOT EXISTS spent(
  grant_id TEXT NOT NULL,
  action_digest TEXT NOT NULL,
  holder TEXT NOT NULL,
  spent_at TEXT NOT NULL,
  PRIMARY KEY(grant_id, action_digest)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS effects(
  key TEXT PRIMARY KEY,
  goal_id TEXT NOT NULL,
  task_id TEXT NOT NULL,
  operation TEXT NOT NULL,
  action_digest TEXT NOT NULL,
  attempt INTEGER NOT NULL,
  state TEXT NOT NULL CHECK(state IN ('started', 'done', 'undone')),
  result TEXT NOT NULL DEFAULT 'null',
  compensation TEXT NOT NULL DEFAULT 'null',
  started_at TEXT NOT NULL,
  finished INTEGER
);
CREATE INDEX IF NOT EXISTS effects_of_goal ON effects(goal_id, finished);
CREATE INDEX IF NOT EXISTS effects_in_order ON effects(finished) WHERE finished IS NOT NULL;
CREATE TABLE IF NOT EXISTS leases(
  accessor TEXT PRIMARY KEY,
  role TEXT NOT NULL,
  goal_id TEXT NOT NULL,
  task_id TEXT NOT NULL,
  holder TEXT NOT NULL,
  expires_at TEXT NOT NULL,
  opened_at TEXT NOT NULL,
  closed_at TEXT
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS goals(
  goal_id TEXT PRIMARY KEY,
  planned TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS leases_alive ON leases(goal_id, task_id) WHERE closed_at IS NULL;
"""
_VERSION = 2
"""A newer format only adds tables: the same script makes them all and brings old files up."""
_EFFECT = (
    "SELECT key, goal_id, task_id, operation, action_digest, attempt, state, result, "
    "compensation, started_at FROM effects"
)
_CHILDREN = re.compile(r"(--[a-z][a-z0-9_]*(\.[0-9]+)?\.[0-9]+)*")
"""What follows a goal's id in those of its children, and theirs; nothing in its own."""
_LEASE = "SELECT accessor, role, goal_id, task_id, holder, expires_at, opened_at FROM leases"


class EffectState(StrEnum):
    """How far a side effect is known to have come."""

    STARTED = "started"
    """It may have happened: an attempt began and nobody wrote how it ended."""
    DONE = "done"
    UNDONE = "undone"


class Undo(Model):
    """What undoes an effect: all that the undoing needs, so that it can be done long after."""

    operation: str
    inputs: dict[str, Json]
    environment: str = ""
    """Where it was done; empty where an older release wrote the entry."""
    credentials: dict[str, str] = {}
    """Credential slot → role."""

    @model_validator(mode="before")
    @classmethod
    def _older(cls, value: Any) -> Any:
        """Release 0.1 wrote a pair."""
        return {"operation": value[0], "inputs": value[1]} if isinstance(value, list) else value


class Effect(Model):
    """One operation carried out once under its idempotency key."""

    key: str
    goal_id: str
    task_id: str
    operation: str
    action_digest: str
    attempt: int
    """The attempt that began it."""
    state: EffectState
    result: Json = None
    compensation: Undo | None = None
    started_at: Instant


class OpenLease(Model):
    """A credential that was lent and not yet returned."""

    accessor: str
    role: str
    goal_id: str
    task_id: str
    holder: str
    expires_at: Instant
    opened_at: Instant


class Ledger:
    """One ledger file. Open it with `Ledger.open`; several processes may have it open."""

    def __init__(self, writer: SqliteWriter) -> None:
        self._writer = writer

    @classmethod
    def open(cls, file: Path) -> "Ledger":
        """Open the ledger in `file`; create it where there is none.

        Raises:
            StoreUnavailable: the file cannot be opened or written.
        """
        prepare(file, _SCHEMA, _VERSION)
        return cls(SqliteWriter(file))

    async def aclose(self) -> None:
        """Write what is queued and close."""
        await self._writer.aclose()

    async def spend(self, grant_id: str, action_digest: str, holder: str) -> bool:
        """Use an approval for one action: True the first time, False if `holder` did before.

        Raises:
            GrantSpent: somebody else did.
        """

        def job(connection: sqlite3.Connection) -> bool:
            earlier = _holder(connection, grant_id, action_digest)
            if earlier == holder:
                return False
            if earlier is not None:
                raise GrantSpent(
                    f"the approval was used before, by '{earlier}', and counts once: "
                    f"'{holder}' has to be approved on its own"
                )
            connection.execute(
                "INSERT INTO spent VALUES(?, ?, ?, ?)", (grant_id, action_digest, holder, _now())
            )
            return True

        return await self._writer.run(job)

    async def spent(self, grant_id: str, action_digest: str) -> str | None:
        """Who used an approval for this action, if anybody."""
        return await self._writer.run(lambda c: _holder(c, grant_id, action_digest))

    async def planned(self, goal_id: str, goal: GoalOnRecord) -> None:
        """Keep what all actions of a goal have in common, so that none of them need carry it."""
        row = (goal_id, goal.model_dump_json())
        await self._writer.run(
            lambda c: c.execute("INSERT OR REPLACE INTO goals VALUES(?, ?)", row).rowcount
        )

    async def goal(self, goal_id: str) -> GoalOnRecord | None:
        """What a goal was planned with; its attestation is not verified here."""

        def job(connection: sqlite3.Connection) -> str | None:
            found = connection.execute(
                "SELECT planned FROM goals WHERE goal_id = ?", (goal_id,)
            ).fetchone()
            return None if found is None else str(found[0])

        found = await self._writer.run(job)
        return None if found is None else GoalOnRecord.model_validate_json(found)

    async def begin(
        self,
        key: str,
        *,
        goal_id: str,
        task_id: str,
        operation: str,
        action_digest: str,
        attempt: int,
    ) -> Effect | None:
        """Claim a key before its side effect: None when it is fresh, else what is known of it.

        A caller that is cancelled while it waits has not begun: its claim is taken back.

        Raises:
            GrantMismatch: the key belongs to another action.
        """
        row = (key, goal_id, task_id, operation, action_digest, attempt, _now())

        def job(connection: sqlite3.Connection) -> Effect | None:
            earlier = _known(connection, key, action_digest)
            if earlier is None:
                connection.execute(
                    "INSERT INTO effects(key, goal_id, task_id, operation, action_digest, attempt, "
                    "state, started_at) VALUES(?, ?, ?, ?, ?, ?, 'started', ?)",
                    row,
                )
            return earlier

        claim = self._writer.submit(job)
        try:
            return await asyncio.wrap_future(claim)
        except asyncio.CancelledError:
            claim.add_done_callback(lambda done: self._take_back(key, done))
            raise

    async def known(self, key: str, *, action_digest: str) -> Effect | None:
        """What is known of an action's effect, without claiming anything.

        Raises:
            GrantMismatch: the key belongs to another action.
        """
        return await self._writer.run(lambda c: _known(c, key, action_digest))

    async def finish(self, key: str, *, result: Json, compensation: Undo | None) -> None:
        """Record that the effect happened, what came of it and how to undo it.

        A second report of the same effect changes nothing.

        Raises:
            NotFound: nothing was begun under this key.
        """
        # Encoded here: a value that JSON cannot say must not fail the others in the transaction.
        undo = compensation.model_dump() if compensation else None
        values = (_text(result), _text(undo), key)

        def job(connection: sqlite3.Connection) -> None:
            changed = connection.execute(
                "UPDATE effects SET state = 'done', result = ?, compensation = ?, finished = "
                "(SELECT coalesce(max(finished), 0) + 1 FROM effects WHERE finished IS NOT NULL) "
                "WHERE key = ? AND state = 'started'",
                values,
            )
            if not changed.rowcount:
                _existing(connection, key)

        await self._writer.run(job)

    async def abandon(self, key: str) -> None:
        """Forget an attempt that failed before any effect, so that a retry is fresh."""
        await self._writer.run(lambda c: _delete_started(c, key))

    async def effect(self, key: str) -> Effect | None:
        """What is known of a key."""
        return await self._writer.run(lambda c: _effect(c, key))

    async def effects(self, goal_id: str, *, children: bool = False) -> list[Effect]:
        """A goal's effects in the order in which they finished; unfinished ones last.

        Args:
            goal_id: whose.
            children: also those of its child goals and theirs, ``GOAL--TASK.GENERATION``. A rerun,
                ``GOAL--rerun-1``, is a goal of its own.
        """
        # A range, so that the index serves it: '.' follows '-' in ASCII.
        below = (f"{goal_id}--", f"{goal_id}-.") if children else ("", "")

        def job(connection: sqlite3.Connection) -> list[Effect]:
            query = (
                f"{_EFFECT} WHERE goal_id = ? OR (goal_id >= ? AND goal_id < ?) "
                "ORDER BY finished IS NULL, finished, rowid"
            )
            found = [_as_effect(row) for row in connection.execute(query, (goal_id, *below))]
            return [e for e in found if _CHILDREN.fullmatch(e.goal_id.removeprefix(goal_id))]

        return await self._writer.run(job)

    async def undone(self, key: str) -> None:
        """Record that an effect was undone; again is harmless.

        Raises:
            NotFound: nothing was begun under this key.
            Conflict: it was not done, as far as is known.
        """

        def job(connection: sqlite3.Connection) -> None:
            if _existing(connection, key).state is EffectState.STARTED:
                raise Conflict(f"'{key}' is not known to have happened, so it cannot be undone")
            connection.execute("UPDATE effects SET state = 'undone' WHERE key = ?", (key,))

        await self._writer.run(job)

    async def lease_opened(
        self,
        accessor: str,
        *,
        role: str,
        goal_id: str,
        task_id: str,
        holder: str,
        expires_at: datetime,
    ) -> None:
        """Record a lease, so that it can be revoked whatever becomes of this worker."""
        row = (accessor, role, goal_id, task_id, holder, expires_at.isoformat(), _now())
        await self._writer.run(
            lambda c: _do(c, "INSERT OR IGNORE INTO leases VALUES(?, ?, ?, ?, ?, ?, ?, NULL)", row)
        )

    async def lease_closed(self, accessor: str) -> None:
        """Record that a lease was revoked or is known to have expired."""
        query = "UPDATE leases SET closed_at = ? WHERE accessor = ? AND closed_at IS NULL"
        await self._writer.run(lambda c: _do(c, query, (_now(), accessor)))

    async def open_leases(
        self, *, goal_id: str | None = None, task_id: str | None = None
    ) -> list[OpenLease]:
        """Leases that nobody closed, the oldest first; expired ones included."""

        def job(connection: sqlite3.Connection) -> list[OpenLease]:
            query = (
                f"{_LEASE} WHERE closed_at IS NULL AND goal_id = coalesce(?, goal_id) "
                "AND task_id = coalesce(?, task_id) ORDER BY opened_at"
            )
            rows = connection.execute(query, (goal_id, task_id)).fetchall()
            return [OpenLease(**dict(zip(OpenLease.model_fields, r, strict=True))) for r in rows]

        return await self._writer.run(job)

    def _take_back(self, key: str, claim: "Future[Effect | None]") -> None:
        """After a cancelled `begin`: drop the claim if it was made, and was this caller's."""
        if not claim.cancelled() and claim.exception() is None and claim.result() is None:
            self._writer.submit(lambda c: _delete_started(c, key))


def _holder(connection: sqlite3.Connection, grant_id: str, action_digest: str) -> str | None:
    row = connection.execute(
        "SELECT holder FROM spent WHERE grant_id = ? AND action_digest = ?",
        (grant_id, action_digest),
    ).fetchone()
    return None if row is None else str(row[0])


def _effect(connection: sqlite3.Connection, key: str) -> Effect | None:
    row = connection.execute(f"{_EFFECT} WHERE key = ?", (key,)).fetchone()
    return None if row is None else _as_effect(row)


def _known(connection: sqlite3.Connection, key: str, action_digest: str) -> Effect | None:
    earlier = _effect(connection, key)
    if earlier is not None and earlier.action_digest != action_digest:
        raise GrantMismatch(
            f"'{key}' was begun as another action: what would run now differs from what "
            "ran before. Retry the task by hand, which makes a new action of it."
        )
    return earlier


def _existing(connection: sqlite3.Connection, key: str) -> Effect:
    effect = _effect(connection, key)
    if effect is None:
        raise NotFound(f"the ledger knows no effect '{key}': it was never begun, or was abandoned")
    return effect


def _as_effect(row: tuple[Any, ...]) -> Effect:
    fields = dict(zip(Effect.model_fields, row, strict=True))
    fields["result"] = json.loads(fields["result"])
    fields["compensation"] = json.loads(fields["compensation"])
    return Effect(**fields)


def _delete_started(connection: sqlite3.Connection, key: str) -> None:
    _do(connection, "DELETE FROM effects WHERE key = ? AND state = 'started'", (key,))


def _do(connection: sqlite3.Connection, query: str, values: tuple[Any, ...]) -> None:
    connection.execute(query, values)


def _text(value: Any) -> str:
    """ASCII, since a lone surrogate in a result must not stop the ledger."""
    return json.dumps(value, separators=(",", ":"))


def _now() -> str:
    return datetime.now(UTC).isoformat()
