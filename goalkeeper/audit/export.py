"""Exports: entries, a signed checkpoint, proofs, and a program that checks them without us.

It reads one log and writes one folder or archive; it changes nothing in the log.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from typing import IO

from pydantic import Field

from goalkeeper.audit import merkle
from goalkeeper.audit.anchor import ANCHOR_FILE, read_notes
from goalkeeper.audit.note import open_note
from goalkeeper.audit.tree import nodes_of
from goalkeeper.domain.audit import AuditEvent, Checkpoint
from goalkeeper.domain.base import Model
from goalkeeper.domain.errors import Conflict
from goalkeeper.sqlite_writer import reading, unavailable

_README = """An export of the audit log '{origin}'.

entries.jsonl    one event a line, exactly the bytes that were hashed (canonical JSON)
checkpoint       the signed head of the log: {size} entries (C2SP tlog-checkpoint, signed-note)
checkpoint.vkey  the log's public key, as Go's golang.org/x/mod/sumdb/note reads it
{extra}
verify.py        checks all of this with nothing but Python 3.10 or later

    python3 verify.py
    python3 verify.py --vkey KEY             a public key that you got another way
    python3 verify.py --known FILE           checkpoints that you kept from earlier

The public key in this folder proves nothing about who made the folder: compare it with one that
you received from the operator before, or with the one in an earlier export.
"""
_COMPLETE = "checkpoints.txt  every earlier signed head, which the entries must agree with"
_PARTIAL = "proofs.jsonl     for each line of entries.jsonl its index and its inclusion proof"


class Export(Model):
    """What was written."""

    path: str
    entries: int = Field(ge=0)
    complete: bool
    """Every entry under the checkpoint is there."""
    checkpoint: Checkpoint


def write_export(
    file: Path,
    checkpoint: Checkpoint,
    vkey: str,
    target: Path,
    *,
    since: datetime | None,
    until: datetime | None,
) -> Export:
    """Export what `checkpoint` covers; see `AuditLog.export`.

    Raises:
        Conflict: there is something at `target` already.
        StoreUnavailable: it cannot be written.
    """
    if target.exists() and (target.is_file() or any(target.iterdir())):
        raise Conflict(f"'{target}' exists already: name a new or empty folder, or a new .zip file")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # Built aside and renamed: an export is there whole or not at all.
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".export-") as aside:
            folder = Path(aside) / "audit"
            folder.mkdir()
            complete = since is None and until is None
            count = _write_entries(file, folder, checkpoint, since, until, complete)
            _write_rest(file, folder, checkpoint, vkey, complete)
            if target.suffix == ".zip":
                os.replace(shutil.make_archive(aside + "/zip", "zip", folder), target)
            else:
                os.replace(folder, target)
    except OSError as error:
        raise unavailable(target, error) from None
    return Export(path=str(target), entries=count, complete=complete, checkpoint=checkpoint)


def _write_entries(
    file: Path,
    folder: Path,
    checkpoint: Checkpoint,
    since: datetime | None,
    until: datetime | None,
    complete: bool,
) -> int:
    count = 0
    with reading(file) as connection, (folder / "entries.jsonl").open("wb") as lines:
        proofs: IO[str] | None = None if complete else (folder / "proofs.jsonl").open("w")
        node = nodes_of(connection)
        rows: Iterator[tuple[int, str]] = connection.execute(
            "SELECT seq, leaf FROM entries WHERE seq < ? ORDER BY seq", (checkpoint.size,)
        )
        for index, leaf in rows:
            if proofs is not None:
                moment = AuditEvent.model_validate_json(leaf).time
                if (since and moment < since) or (until and moment >= until):
                    continue
                path = merkle.inclusion(index, checkpoint.size, node)
                proof = {"index": index, "hashes": [h.hex() for h in path]}
                proofs.write(json.dumps(proof) + "\n")
            lines.write(leaf.encode() + b"\n")
            count += 1
        if proofs is not None:
            proofs.close()
    return count


def _write_rest(
    file: Path, folder: Path, checkpoint: Checkpoint, vkey: str, complete: bool
) -> None:
    (folder / "checkpoint").write_text(checkpoint.note)
    (folder / "checkpoint.vkey").write_text(vkey + "\n")
    if complete:
        notes = read_notes(file.parent / ANCHOR_FILE)
        covered = [n for n in notes if open_note(n, vkey).size <= checkpoint.size]
        (folder / "checkpoints.txt").write_text("".join(f"{n}\n" for n in covered))
    readme = _README.format(
        origin=checkpoint.origin, size=checkpoint.size, extra=_COMPLETE if complete else _PARTIAL
    )
    (folder / "README.txt").write_text(readme)
    script = files("goalkeeper.audit").joinpath("verify_export.py").read_text()
    (folder / "verify.py").write_text(script)
