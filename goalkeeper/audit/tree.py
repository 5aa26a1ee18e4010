"""The tree as it lies in the database: its size, and the stored hashes of its perfect subtrees.

It reads on a connection that it is given and changes nothing.
"""

import sqlite3

from goalkeeper.audit.merkle import Node
from goalkeeper.domain.errors import AuditBroken


def head_size(connection: sqlite3.Connection) -> int:
    """How many entries a connection sees."""
    last = connection.execute("SELECT max(seq) FROM entries").fetchone()[0]
    return 0 if last is None else int(last) + 1


def nodes_of(connection: sqlite3.Connection) -> Node:
    """The stored hashes of the tree."""

    def node(level: int, number: int) -> bytes:
        row = connection.execute(
            "SELECT hash FROM nodes WHERE level = ? AND number = ?", (level, number)
        ).fetchone()
        if row is None:
            raise AuditBroken(
                f"the audit log lacks the hash of entries {number << level} to "
                f"{((number + 1) << level) - 1}: run `goalkeeper audit verify`"
            )
        return bytes(row[0])

    return node
