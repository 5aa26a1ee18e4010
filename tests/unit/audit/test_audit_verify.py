"""Every way of tampering is found, and the first bad entry is named."""

import asyncio
import re
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from goalkeeper.audit import AuditLog, merkle
from goalkeeper.audit.note import SigningKey
from goalkeeper.domain.audit import AuditEvent
from goalkeeper.domain.errors import AuditBroken, StoreUnavailable

MakeEvent = Callable[[int], AuditEvent]
Tamper = Callable[[str], None]

EDITED = "UPDATE entries SET leaf = replace(leaf, 'worker', 'nobody') WHERE seq = 11;"


def broken(file: Path) -> str:
    """Why the log does not verify."""
    with pytest.raises(AuditBroken) as caught:
        AuditLog.open(file, readonly=True).verify()
    return caught.value.message


def rebuild_tree(file: Path) -> None:
    """Recompute every stored hash, as a forger without the signing key would."""
    connection = sqlite3.connect(file)
    leaves = [leaf for (leaf,) in connection.execute("SELECT leaf FROM entries ORDER BY seq")]
    nodes: dict[tuple[int, int], bytes] = {}
    for index, leaf in enumerate(leaves):
        hashed = merkle.leaf_hash(leaf.encode())
        for level, number, node in merkle.completed(index, hashed, lambda *at: nodes[at]):
            nodes[level, number] = node
    connection.execute("DELETE FROM nodes")
    connection.executemany(
        "INSERT INTO nodes VALUES(?, ?, ?)", [(*at, node) for at, node in nodes.items()]
    )
    connection.commit()
    connection.close()


def test_an_untouched_log_verifies(full: Path) -> None:
    """All entries, all four signed heads, nothing unsigned."""
    checked = AuditLog.open(full, readonly=True).verify()
    assert (checked.size, checked.signed, checked.checkpoints) == (21, 21, 4)


async def test_an_empty_log_verifies(log: AuditLog) -> None:
    """Nothing recorded is a state too, and can be signed."""
    assert log.verify().size == 0
    log.checkpoint()
    assert log.verify().checkpoints == 1


def test_an_edited_entry_is_named(full: Path, tamper: Tamper) -> None:
    """One changed word."""
    tamper(EDITED)
    assert "entry 11 does not have the hash" in broken(full)


def test_the_first_of_several_edited_entries_is_named(full: Path, tamper: Tamper) -> None:
    """The order of the edits does not matter."""
    tamper(EDITED + EDITED.replace("11", "4") + EDITED.replace("11", "17"))
    assert "entry 4 does not have the hash" in broken(full)


def test_a_deleted_entry_is_named(full: Path, tamper: Tamper) -> None:
    """A gap in the middle."""
    tamper("DELETE FROM entries WHERE seq = 9;")
    assert "entry 9 is missing" in broken(full)


def test_a_deleted_entry_is_named_though_the_rest_moved_up(full: Path, tamper: Tamper) -> None:
    """Renumbering hides the gap, not the difference."""
    tamper(
        "DELETE FROM entries WHERE seq = 9;"
        "UPDATE entries SET seq = -seq WHERE seq > 9;"
        "UPDATE entries SET seq = -seq - 1 WHERE seq < 0;"
    )
    assert "entry 9 does not have the hash" in broken(full)


def test_the_first_entry_cannot_be_deleted(full: Path, tamper: Tamper) -> None:
    """Counting starts at 0 whatever is there."""
    tamper("DELETE FROM entries WHERE seq = 0;")
    assert "entry 0 is missing" in broken(full)


def test_swapped_entries_are_named(full: Path, tamper: Tamper) -> None:
    """Order is part of the record."""
    tamper(
        "UPDATE entries SET seq = -1 WHERE seq = 6; UPDATE entries SET seq = 6 WHERE seq = 7;"
        "UPDATE entries SET seq = 7 WHERE seq = -1;"
    )
    assert "entry 6 does not have the hash" in broken(full)


def test_an_inserted_entry_is_named(full: Path, tamper: Tamper) -> None:
    """A copy of an entry under a new id, squeezed in at the front of the end."""
    tamper(
        "UPDATE entries SET seq = 21 WHERE seq = 20;"
        "INSERT INTO entries(seq, leaf) SELECT 20, replace(leaf, 'event-3', 'event-x') "
        "FROM entries WHERE seq = 3;"
    )
    assert "entry 20 does not have the hash" in broken(full)


def test_an_edited_tree_is_found(full: Path, tamper: Tamper) -> None:
    """A changed hash above the leaves names the leaves under it."""
    tamper("UPDATE nodes SET hash = zeroblob(32) WHERE level = 2 AND number = 1;")
    assert "one of the entries 4 to 7 does not have the hash" in broken(full)


def test_a_missing_tree_is_found(full: Path, tamper: Tamper) -> None:
    """Hashes that are gone cannot be compared."""
    tamper("DELETE FROM nodes WHERE level = 0 AND number = 13;")
    assert "entry 13 does not have the hash" in broken(full)


def test_an_edit_with_a_rebuilt_tree_contradicts_the_signed_head(
    full: Path, tamper: Tamper
) -> None:
    """Without the key, a forger is found by the first checkpoint after the edit."""
    tamper(EDITED)
    rebuild_tree(full)
    assert "one of the entries 8 to 15 is not what was there when the checkpoint" in broken(full)


def test_a_cut_off_end_is_named(full: Path, tamper: Tamper) -> None:
    """The signed head knows how many there were."""
    tamper("DELETE FROM entries WHERE seq > 17;")
    rebuild_tree(full)
    assert "entry 18 is missing" in broken(full)
    assert "covers 21 entries" in broken(full)


def test_a_cut_off_end_is_named_though_its_checkpoints_were_cut_off_too(
    full: Path, tamper: Tamper
) -> None:
    """The table of checkpoints is not the only place that knows: checkpoints.txt does."""
    tamper("DELETE FROM entries WHERE seq > 15; DELETE FROM checkpoints WHERE size > 16;")
    rebuild_tree(full)
    assert "entry 16 is missing" in broken(full)


def test_a_cut_off_unsigned_end_is_found_by_the_tree(full: Path, tamper: Tamper) -> None:
    """Even where nothing was signed, the stored hashes know of more."""
    tamper("DELETE FROM entries WHERE seq > 17; DELETE FROM checkpoints WHERE size > 16;")
    anchor = full.parent / "checkpoints.txt"
    anchor.write_text(anchor.read_text().rsplit("goalkeeper\n", 1)[0])
    assert "entry 18 is missing: the log ends there, and the tree knows more" in broken(full)


def test_a_shortened_checkpoints_file_is_found(full: Path) -> None:
    """What the table holds must be in the file."""
    anchor = full.parent / "checkpoints.txt"
    anchor.write_text(anchor.read_text().rsplit("goalkeeper\n", 1)[0])
    assert "lacks the checkpoint of size 21" in broken(full)
    anchor.unlink()
    assert "lacks the checkpoint of size 1" in broken(full)


def test_an_edited_checkpoints_file_is_found(full: Path) -> None:
    """A checkpoint whose text was changed is not signed, and other text is not a checkpoint."""
    anchor = full.parent / "checkpoints.txt"
    whole = anchor.read_text()
    anchor.write_text(whole.replace("goalkeeper\n16\n", "goalkeeper\n15\n"))
    assert "the checkpoint of size 15 is not signed" in broken(full)
    anchor.write_text(whole.replace("goalkeeper\n16\n", "goalkeeper\n16"))
    assert "is not a" in broken(full)
    anchor.write_text("nothing of note\n\n" + whole)
    assert "what follows its first 0 checkpoints is not a checkpoint" in broken(full)


def test_an_edited_signature_in_the_table_is_found(full: Path, tamper: Tamper) -> None:
    """One letter of one signature."""
    tamper(
        "UPDATE checkpoints SET note = substr(note, 1, length(note) - 20) || "
        "CASE substr(note, -20, 1) WHEN 'A' THEN 'B' ELSE 'A' END || substr(note, -19) "
        "WHERE size = 8;"
    )
    assert "the checkpoint of size 8 is not signed" in broken(full)


def test_a_bad_entry_is_named_before_a_bad_checkpoint(full: Path, tamper: Tamper) -> None:
    """Whoever edits both is told on by the entry."""
    tamper(EDITED)
    tamper("UPDATE checkpoints SET note = 'x' WHERE size = 8;")
    assert "entry 11" in broken(full)


def test_a_log_rewritten_with_another_key_is_found_by_a_key_kept_elsewhere(
    full: Path, event: MakeEvent
) -> None:
    """Whoever owns the whole folder can forge a log, but not one that our copies agree with."""
    mine = AuditLog.open(full, readonly=True)
    note, vkey = mine.checkpoint().note, mine.vkey
    shutil.rmtree(full.parent)

    async def forge() -> None:
        forged = AuditLog.open(full)
        await forged.append(*[event(n + 1) for n in range(25)])
        await forged.aclose()

    asyncio.run(forge())
    forged = AuditLog.open(full, readonly=True)
    forged.verify()
    with pytest.raises(AuditBroken, match="not signed by"):
        forged.verify(vkey=vkey)
    with pytest.raises(AuditBroken, match="not signed by"):
        forged.verify(known=[note])


def test_a_log_rewritten_with_the_same_key_is_found_by_a_checkpoint_kept_elsewhere(
    full: Path, tamper: Tamper
) -> None:
    """Even a stolen key does not undo what was signed before."""
    mine = AuditLog.open(full, readonly=True)
    kept = mine.checkpoint().note
    tamper(EDITED)
    tamper("DELETE FROM checkpoints;")
    (full.parent / "checkpoints.txt").unlink()
    rebuild_tree(full)
    forged = AuditLog.open(full)
    forged.checkpoint()
    forged.verify()
    with pytest.raises(AuditBroken, match="one of the entries 0 to 20 is not what was there"):
        forged.verify(known=[kept])


def test_a_damaged_file_is_not_called_valid(full: Path) -> None:
    """A page of noise in the middle of the database."""
    content = bytearray(full.read_bytes())
    middle = len(content) // 4096 // 2 * 4096
    content[middle : middle + 4096] = b"\xff" * 4096
    full.write_bytes(content)
    with pytest.raises((AuditBroken, StoreUnavailable), match=r"damaged|entry|entries"):
        AuditLog.open(full, readonly=True).verify()


def test_an_index_that_hides_entries_is_found(full: Path) -> None:
    """A filter that answers falsely is as bad as an edited entry."""
    connection = sqlite3.connect(full)
    (page,) = connection.execute(
        "SELECT rootpage FROM sqlite_schema WHERE name = 'entries_of_goal'"
    ).fetchone()
    connection.close()
    content = full.read_bytes()
    start = (page - 1) * 4096
    hidden = content[start : start + 4096].replace(b"goal-1", b"goal-7")
    full.write_bytes(content[:start] + hidden + content[start + 4096 :])
    assert list(AuditLog.open(full, readonly=True).entries(goal_id="goal-1")) == []
    assert "an index disagrees with the entries" in broken(full)


def test_a_torn_last_checkpoint_is_ignored_and_then_repaired(full: Path, event: MakeEvent) -> None:
    """A power cut in the middle of the write is not an attack."""
    anchor = full.parent / "checkpoints.txt"
    whole = anchor.read_text()
    anchor.write_text(whole + "goalkeeper\n22\nabc")
    AuditLog.open(full, readonly=True).verify()

    async def one_more() -> None:
        log = AuditLog.open(full)
        await log.append(event(99))
        await log.aclose()

    asyncio.run(one_more())
    assert AuditLog.open(full, readonly=True).verify().signed == 22
    assert anchor.read_text().startswith(whole + "goalkeeper\n22\n")
    assert len(re.findall(r"^— ", anchor.read_text(), re.MULTILINE)) == 5


async def test_verification_agrees_while_others_append_and_sign(
    file: Path, event: MakeEvent
) -> None:
    """A snapshot taken in the middle of the work is whole."""
    log = AuditLog.open(file, every_entries=1)
    done = False

    async def work() -> None:
        nonlocal done
        for number in range(300):
            await log.append(event(number))
        done = True

    task = asyncio.create_task(work())
    checks = 0
    while not done:
        await asyncio.to_thread(log.verify)
        checks += 1
    await task
    await log.aclose()
    assert checks > 1
    assert log.verify().signed == 300


def test_a_lost_public_key_is_reported(full: Path) -> None:
    """Without it no signature can be checked."""
    (full.parent / "checkpoint.vkey").unlink()
    with pytest.raises(AuditBroken, match="public key back"):
        AuditLog.open(full, readonly=True)


def test_a_spoilt_signing_key_is_reported(full: Path) -> None:
    """Nothing is signed with half a key."""
    (full.parent / "checkpoint.key").write_text("PRIVATE+KEY+goalkeeper+00000000+AAAA\n")
    with pytest.raises(StoreUnavailable, match="signing key"):
        AuditLog.open(full)


def test_a_lost_signing_key_is_not_replaced_in_silence(full: Path) -> None:
    """Heads signed with a new key would contradict the public key that people have."""
    (full.parent / "checkpoint.key").unlink()
    with pytest.raises(StoreUnavailable, match="restore it from a backup"):
        AuditLog.open(full)
    SigningKey.load(full.parent.parent, "goalkeeper")
    (full.parent.parent / "checkpoint.key").rename(full.parent / "checkpoint.key")
    with pytest.raises(StoreUnavailable, match=r"does not belong to checkpoint\.vkey"):
        AuditLog.open(full)


def test_a_key_is_made_once(tmp_path: Path) -> None:
    """A second start signs with the same key."""
    first = SigningKey.load(tmp_path, "goalkeeper")
    assert SigningKey.load(tmp_path, "goalkeeper").vkey == first.vkey
