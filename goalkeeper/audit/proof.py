"""Entries and proofs as other people get them, and the checks that need nothing but a public key.

It never opens a log.
"""

from typing import Annotated

from pydantic import Field

from goalkeeper.audit import merkle
from goalkeeper.audit.note import open_note
from goalkeeper.domain.audit import AuditEvent, Checkpoint
from goalkeeper.domain.base import Digest, Model
from goalkeeper.domain.errors import AuditBroken


class Entry(Model):
    """One entry of the log."""

    index: int
    event: AuditEvent
    leaf: str
    """The bytes that are hashed, as text: the event's canonical JSON."""
    hash: Digest
    """The leaf's hash (RFC 6962)."""


class Proof(Model):
    """That one entry is in the log, without showing the others."""

    index: Annotated[int, Field(ge=0)]
    leaf: str
    hashes: tuple[Digest, ...]
    """The siblings on the way to the root, the leaf's own first."""
    checkpoint: Checkpoint
    vkey: str
    """The log's public key; compare it with one that came another way."""


class ConsistencyProof(Model):
    """That the log has only grown since it had `old_size` entries."""

    old_size: Annotated[int, Field(ge=0)]
    hashes: tuple[Digest, ...]
    checkpoint: Checkpoint


def verify_inclusion(proof: Proof, *, vkey: str | None = None) -> AuditEvent:
    """The event that the proof proves.

    Args:
        proof: what `AuditLog.prove` made.
        vkey: the log's public key from a source of one's own; else the proof's.

    Raises:
        AuditBroken: the signature or the path does not hold.
    """
    head = open_note(proof.checkpoint.note, vkey or proof.vkey)
    hashed = merkle.leaf_hash(proof.leaf.encode())
    found = merkle.root_from_inclusion(proof.index, head.size, hashed, _bytes(proof.hashes))
    if found is None or found.hex() != _hex(head.root):
        raise AuditBroken(
            f"the proof of entry {proof.index} does not lead to the signed head of size "
            f"{head.size}: the entry or the proof was edited"
        )
    return AuditEvent.model_validate_json(proof.leaf)


def verify_consistency(old: Checkpoint, proof: ConsistencyProof, *, vkey: str) -> Checkpoint:
    """The newer head, once it is shown to contain everything under the older one.

    Raises:
        AuditBroken: a signature does not hold, or the log was changed in between.
    """
    first, second = open_note(old.note, vkey), open_note(proof.checkpoint.note, vkey)
    if first.size != proof.old_size or not merkle.consistent(
        first.size,
        second.size,
        bytes.fromhex(_hex(first.root)),
        bytes.fromhex(_hex(second.root)),
        _bytes(proof.hashes),
    ):
        raise AuditBroken(
            f"the log of {second.size} entries is not the one of {first.size} entries with more "
            "added: something in its first part was changed"
        )
    return second


def _hex(digest: str) -> str:
    return digest.removeprefix("sha256:")


def _bytes(hashes: tuple[str, ...]) -> list[bytes]:
    return [bytes.fromhex(_hex(h)) for h in hashes]
