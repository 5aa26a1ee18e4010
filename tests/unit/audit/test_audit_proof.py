"""Proofs and exports that hold for others, offline."""

import subprocess
import sys
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from goalkeeper.audit import AuditLog, Proof, verify_consistency, verify_inclusion
from goalkeeper.audit.note import open_note
from goalkeeper.domain.audit import AuditEvent
from goalkeeper.domain.errors import AuditBroken, Conflict, NotFound

MakeEvent = Callable[[int], AuditEvent]
START = datetime(2025, 1, 1, tzinfo=UTC)

# From the documentation of Go's golang.org/x/mod/sumdb/note.
GO_VKEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_NOTE = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n\n"
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUg"
    "YN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)


def check_offline(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run an export's own program, away from the project and isolated from its packages."""
    return subprocess.run(
        [sys.executable, "-I", "-S", str(folder / "verify.py"), *options],
        capture_output=True,
        text=True,
        cwd="/",
        check=False,
    )


def test_an_inclusion_proof_shows_one_entry_and_nothing_of_the_others(full: Path) -> None:
    """It survives JSON, and holds with a public key of one's own."""
    log = AuditLog.open(full, readonly=True)
    for index in range(21):
        proof = Proof.model_validate_json(log.prove(index).model_dump_json())
        assert verify_inclusion(proof, vkey=log.vkey) == log.entry(index).event
    assert "event-12" not in log.prove(11).model_dump_json()


def test_a_changed_proof_does_not_hold(full: Path) -> None:
    """Another entry, another index, another path, another key."""
    log = AuditLog.open(full, readonly=True)
    proof = log.prove(11)
    for change in (
        {"leaf": proof.leaf.replace("worker", "nobody")},
        {"index": 10},
        {"hashes": proof.hashes[::-1]},
        {"hashes": ()},
    ):
        with pytest.raises(AuditBroken, match="does not lead to the signed head"):
            verify_inclusion(proof.model_copy(update=change))
    with pytest.raises(AuditBroken):
        verify_inclusion(proof, vkey=GO_VKEY)


async def test_an_entry_that_was_just_recorded_can_be_proved(
    log: AuditLog, event: MakeEvent
) -> None:
    """The head is signed for the purpose; read-only, it has to be signed already."""
    await log.append(event(0))
    log.checkpoint()
    await log.append(event(1))
    with pytest.raises(NotFound, match="not under a signed checkpoint yet"):
        AuditLog.open(log.file, readonly=True).prove(1)
    assert verify_inclusion(log.prove(1)) == event(1)
    with pytest.raises(NotFound):
        log.prove(2)


async def test_two_heads_are_proved_append_only(log: AuditLog, event: MakeEvent) -> None:
    """The older head is inside the newer one, whatever their sizes."""
    heads = [log.checkpoint()]
    for number in range(12):
        await log.append(event(number))
        heads.append(log.checkpoint())
    for old in heads:
        proof = log.consistency(old.size)
        assert verify_consistency(old, proof, vkey=log.vkey) == heads[-1]
    with pytest.raises(NotFound):
        log.consistency(13)


async def test_a_rewritten_past_is_not_consistent(
    full: Path, tmp_path: Path, event: MakeEvent
) -> None:
    """A log that differs in one early entry is not a continuation."""
    old = AuditLog.open(full, readonly=True).checkpoint()
    folder = tmp_path / "other"
    folder.mkdir()
    for name in ("checkpoint.key", "checkpoint.vkey"):
        (folder / name).write_bytes((full.parent / name).read_bytes())
    other = AuditLog.open(folder / "audit.sqlite")
    changed = event(3).model_copy(update={"actor": "nobody"})
    await other.append(*[changed if n == 3 else event(n) for n in range(30)])
    proof = other.consistency(old.size)
    with pytest.raises(AuditBroken, match="was changed"):
        verify_consistency(old, proof, vkey=other.vkey)
    await other.aclose()


def test_notes_are_read_as_other_implementations_write_them() -> None:
    """Go's own example carries a valid signature; it is just no checkpoint."""
    with pytest.raises(AuditBroken, match="not a note of the log"):
        open_note(GO_NOTE, GO_VKEY)
    with pytest.raises(AuditBroken, match="public key of a log"):
        open_note(GO_NOTE, GO_VKEY.replace("c74f20a3", "c74f20a4"))


def test_a_complete_export_verifies_offline(full: Path, tmp_path: Path) -> None:
    """Its own program needs nothing but Python, and checks every signed head."""
    log = AuditLog.open(full, readonly=True)
    export = log.export(tmp_path / "out")
    assert (export.entries, export.complete, export.checkpoint.size) == (21, True, 21)
    done = check_offline(tmp_path / "out", "--vkey", log.vkey)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("OK: all 21 entries, and 4 signed heads")


def test_a_partial_export_verifies_offline_and_shows_no_other_entry(
    full: Path, tmp_path: Path
) -> None:
    """A time span, as an archive: what is left out is there as hashes alone."""
    log = AuditLog.open(full, readonly=True)
    archive = tmp_path / "span.zip"
    since, until = START + timedelta(seconds=7), START + timedelta(seconds=12)
    assert log.export(archive, since=since, until=until).entries == 5
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(tmp_path / "span")
    text = "".join(f.read_text() for f in (tmp_path / "span").iterdir())
    assert "event-11" in text
    assert "event-12" not in text
    done = check_offline(tmp_path / "span")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("OK: 5 of 21 entries")


@pytest.mark.parametrize("complete", [True, False])
@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("entries.jsonl", "worker", "nobody"),
        ("entries.jsonl", "event-20", "event-x"),
        ("checkpoint", "goalkeeper\n21\n", "goalkeeper\n20\n"),
    ],
)
def test_a_changed_export_does_not_verify(
    full: Path, tmp_path: Path, complete: bool, name: str, old: str, new: str
) -> None:
    """Any change to an entry or the head is found."""
    out = tmp_path / "out"
    AuditLog.open(full, readonly=True).export(out, since=None if complete else START)
    content = (out / name).read_text()
    assert old in content
    (out / name).write_text(content.replace(old, new, 1))
    done = check_offline(out)
    assert done.returncode == 1
    assert done.stderr.startswith("BROKEN: ")


def test_an_export_without_its_last_entry_does_not_verify(full: Path, tmp_path: Path) -> None:
    """Completeness is part of what is checked."""
    out = tmp_path / "out"
    AuditLog.open(full, readonly=True).export(out)
    lines = (out / "entries.jsonl").read_bytes().splitlines(keepends=True)
    (out / "entries.jsonl").write_bytes(b"".join(lines[:-1]))
    assert "there are 20 entries, and 21 were signed" in check_offline(out).stderr


async def test_an_export_is_checked_against_checkpoints_kept_from_earlier(
    full: Path, tmp_path: Path, event: MakeEvent
) -> None:
    """A kept head that contradicts the entries convicts the export."""
    kept = tmp_path / "kept.txt"
    kept.write_text(AuditLog.open(full, readonly=True).checkpoint().note)
    AuditLog.open(full, readonly=True).export(tmp_path / "good")
    assert check_offline(tmp_path / "good", "--known", str(kept)).returncode == 0
    folder = tmp_path / "forged"
    folder.mkdir()
    for name in ("checkpoint.key", "checkpoint.vkey"):
        (folder / name).write_bytes((full.parent / name).read_bytes())
    forged = AuditLog.open(folder / "audit.sqlite")
    await forged.append(*[event(n + 1) for n in range(25)])
    forged.export(tmp_path / "bad")
    await forged.aclose()
    assert check_offline(tmp_path / "bad").returncode == 0
    assert "BROKEN" in check_offline(tmp_path / "bad", "--known", str(kept)).stderr


def test_an_export_never_overwrites(full: Path, tmp_path: Path) -> None:
    """An existing file or a folder with something in it is left alone."""
    log = AuditLog.open(full, readonly=True)
    (tmp_path / "a.zip").write_text("mine")
    for target in (tmp_path / "a.zip", full.parent):
        with pytest.raises(Conflict, match="exists already"):
            log.export(target)
    assert (tmp_path / "a.zip").read_text() == "mine"
    assert not list(tmp_path.glob(".export-*"))
