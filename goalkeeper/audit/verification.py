"""The whole check of a log: every hash again, against the stored tree and every checkpoint.

It reads only, and trusts nothing in the database that a signature does not cover.
"""

import sqlite3
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path

from goalkeeper.audit import merkle
from goalkeeper.audit.anchor import ANCHOR_FILE, read_notes
from goalkeeper.audit.note import open_note
from goalkeeper.domain.audit import Checkpoint
from goalkeeper.domain.base import Digest, Model
from goalkeeper.domain.errors import AuditBroken
from goalkeeper.sqlite_writer import reading


class Verification(Model):
    """What was found to be in order."""

    size: int
    """Entries."""
    root: Digest
    checkpoints: int
    """Signed heads that agree."""
    signed: int
    """Entries that the newest of them covers; later ones could still be removed unnoticed."""


def verify_log(file: Path, vkey: str, known: Sequence[str] = ()) -> Verification:
    """Recompute the log in `file`.

    Raises:
        AuditBroken: it does not hold; the message names the first bad entry.
        StoreUnavailable: the file cannot be read.
    """
    anchor = file.parent / ANCHOR_FILE
    # Others may be writing. What the file announces before the snapshot must be in the snapshot;
    # what the snapshot holds must be in the file after it.
    before = read_notes(anchor)
    with reading(file) as connection:
        rows = [
            str(note)
            for (note,) in connection.execute("SELECT note FROM checkpoints ORDER BY size")
        ]
        after = set(read_notes(anchor))
        heads, bad = _open_all([*rows, *before, *known], vkey)
        try:
            size, root = _Recomputation(connection, heads).run()
        except (sqlite3.DatabaseError, UnicodeError) as error:
            raise AuditBroken(
                f"'{file}' is damaged and cannot be read to its end: {error}"
            ) from None
    if bad is not None:
        raise bad
    lost = next((r for r in rows if r not in after), None)
    if lost is not None:
        raise AuditBroken(
            f"'{anchor}' lacks the checkpoint of size {open_note(lost, vkey).size}: the file was "
            "shortened, edited or removed. The entries themselves agree with the signed heads."
        )
    return Verification(
        size=size,
        root="sha256:" + root.hex(),
        checkpoints=len(heads),
        signed=heads[-1].size if heads else 0,
    )


def _open_all(notes: Sequence[str], vkey: str) -> tuple[list[Checkpoint], AuditBroken | None]:
    """The checkpoints whose signature holds, by size, and the first complaint about another."""
    good: dict[str, Checkpoint] = {}
    bad: AuditBroken | None = None
    for note in dict.fromkeys(notes):
        try:
            good[note] = open_note(note, vkey)
        except AuditBroken as error:
            bad = bad or error
    return sorted(good.values(), key=lambda c: c.size), bad


class _Recomputation:
    """One pass over the entries, with the stored nodes of every level read alongside."""

    def __init__(self, connection: sqlite3.Connection, heads: Sequence[Checkpoint]) -> None:
        self._connection = connection
        self._heads = deque(heads)
        self._stored: list[Iterator[tuple[int, bytes]]] = []
        self._peaks: list[bytes | None] = []
        """Level → the computed subtree that still waits for its right sibling."""
        self._agreed = 0

    def run(self) -> tuple[int, bytes]:
        size = 0
        self._check_heads(size)
        for seq, leaf in self._connection.execute("SELECT seq, leaf FROM entries ORDER BY seq"):
            if seq != size:
                raise AuditBroken(f"entry {size} is missing: it was deleted or moved")
            if not isinstance(leaf, str):
                raise AuditBroken(f"entry {size} is not text: it was edited")
            self._add(size, merkle.leaf_hash(leaf.encode()))
            size += 1
            self._check_heads(size)
        self._check_end(size)
        self._check_indexes()
        return size, self._root()

    def _add(self, index: int, hashed: bytes) -> None:
        for level, number, computed in merkle.completed(index, hashed, self._peak):
            if level == len(self._peaks):
                self._peaks.append(None)
                self._stored.append(self._level(level))
            if next(self._stored[level], None) != (number, computed):
                raise AuditBroken(_mismatch(level, number))
        # The last one absorbed the peaks below it.
        self._peaks[:level] = [None] * level
        self._peaks[level] = computed

    def _peak(self, level: int, _number: int) -> bytes:
        peak = self._peaks[level]
        if peak is None:
            raise AssertionError("a left sibling is always there")
        return peak

    def _level(self, level: int) -> Iterator[tuple[int, bytes]]:
        return self._connection.execute(
            "SELECT number, hash FROM nodes WHERE level = ? ORDER BY number", (level,)
        )

    def _root(self) -> bytes:
        root: bytes | None = None
        for peak in self._peaks:
            if peak is not None:
                root = peak if root is None else merkle.node_hash(peak, root)
        return merkle.EMPTY if root is None else root

    def _check_heads(self, size: int) -> None:
        agreed = self._agreed
        while self._heads and self._heads[0].size == size:
            head = self._heads.popleft()
            if head.root != "sha256:" + self._root().hex():
                raise AuditBroken(
                    f"{_one_of(agreed, size - 1)} is not what was there when the checkpoint "
                    f"of size {size} was signed: it was edited, moved or replaced"
                )
            self._agreed = size

    def _check_end(self, size: int) -> None:
        """Nothing is left over that speaks of more entries than there are."""
        if self._heads:
            raise AuditBroken(
                f"entry {size} is missing: the log ends there, and a signed checkpoint covers "
                f"{self._heads[-1].size} entries. The end was cut off."
            )
        levels = self._connection.execute("SELECT level, max(number) FROM nodes GROUP BY level")
        for level, last in levels:
            if (last + 1) << level > size:
                raise AuditBroken(
                    f"entry {size} is missing: the log ends there, and the tree knows more. "
                    "The end was cut off."
                )

    def _check_indexes(self) -> None:
        """The entries are right; so must be what finds them by id and goal."""
        (answer,) = self._connection.execute("PRAGMA integrity_check(1)").fetchone()
        if answer != "ok":
            raise AuditBroken(
                "every entry is in place, but an index disagrees with the entries: a search may "
                f"hide some. Stop the stack and run `REINDEX` on the database. ({answer[:200]})"
            )


def _mismatch(level: int, number: int) -> str:
    first, last = number << level, ((number + 1) << level) - 1
    return (
        f"{_one_of(first, last)} does not have the hash that was stored when it was recorded: "
        "it was edited, moved or replaced"
    )


def _one_of(first: int, last: int) -> str:
    return f"entry {first}" if first >= last else f"one of the entries {first} to {last}"
