"""``checkpoints.txt``: every checkpoint that was signed, one after the other, beside the database.

It is appended to and never rewritten, so that a copy of it elsewhere convicts a log that was
shortened or replaced; it does not check what it holds.
"""

import os
import re
from pathlib import Path

from goalkeeper.audit.note import NOTE
from goalkeeper.domain.errors import AuditBroken

ANCHOR_FILE = "checkpoints.txt"

_ENDS_WHOLE = re.compile(r"— [^\n]+\n\n\Z")
_SIGNED_LINE = re.compile(r"^— [^\n]+\n", re.MULTILINE)


def append_note(file: Path, note: str) -> None:
    """Write a note and the blank line after it, on disk when this returns.

    The caller holds the database's write lock, so nobody else appends.

    Raises:
        OSError: the file could not be written.
    """
    descriptor = os.open(file, os.O_CREAT | os.O_RDWR | os.O_APPEND | os.O_CLOEXEC, 0o644)
    with os.fdopen(descriptor, "r+b", buffering=0) as stream:
        size = stream.seek(0, os.SEEK_END)
        if size:
            stream.seek(max(0, size - 1000))
            tail = stream.read().decode(errors="replace")
            if not _ENDS_WHOLE.search(tail):
                # A power cut tore the last write; what it announced was never relied on.
                stream.truncate(_whole(file.read_text())[1])
        stream.write(f"{note}\n".encode())
        os.fsync(descriptor)


def read_notes(file: Path) -> tuple[str, ...]:
    """The notes in the file, none where there is no file.

    Raises:
        AuditBroken: it cannot be read, or something in it is not a note.
    """
    try:
        content = file.read_text()
    except FileNotFoundError:
        return ()
    except (OSError, UnicodeDecodeError) as error:
        raise AuditBroken(f"the checkpoints in '{file}' cannot be read: {error}") from None
    notes, end = _whole(content)
    if _SIGNED_LINE.search(content.encode()[end:].decode()):
        raise AuditBroken(
            f"'{file}': what follows its first {len(notes)} checkpoints is not a checkpoint: "
            "the file was edited"
        )
    return tuple(notes)


def _whole(content: str) -> tuple[list[str], int]:
    """The notes up to the first thing that is none, and the position (in bytes) after them."""
    notes: list[str] = []
    position = 0
    while (match := NOTE.match(content, position)) and content[match.end() :][:1] == "\n":
        notes.append(match.group())
        position = match.end() + 1
    return notes, len(content[:position].encode())
