"""Signed checkpoints: C2SP ``tlog-checkpoint`` inside C2SP ``signed-note``, with one Ed25519 key.

It makes and reads notes and key files; it does not know what the log holds. The key encodings are
those of Go's ``golang.org/x/mod/sumdb/note``, so that other people's tools verify our notes.
"""

import base64
import binascii
import contextlib
import hashlib
import os
import re
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from goalkeeper.domain.audit import Checkpoint
from goalkeeper.domain.errors import AuditBroken, StoreUnavailable

KEY_FILE = "checkpoint.key"
VKEY_FILE = "checkpoint.vkey"

_ED25519 = b"\x01"
NOTE = re.compile(r"(?P<text>(?:[^\n]+\n)+)\n(?P<signatures>(?:— [^\n]+\n)+)")


class SigningKey:
    """The log's own private key."""

    def __init__(self, name: str, private: Ed25519PrivateKey) -> None:
        self.name = name
        self._private = private

    @property
    def vkey(self) -> str:
        """The public half as text: ``name+hash+key``."""
        key = _ED25519 + self._private.public_key().public_bytes_raw()
        return f"{self.name}+{_key_hash(self.name, key).hex()}+{base64.b64encode(key).decode()}"

    @classmethod
    def load(cls, folder: Path, name: str) -> "SigningKey":
        """The key in `folder`, made there at the first call; the caller keeps others out.

        Raises:
            StoreUnavailable: the key file cannot be read, or is not the one of this log.
        """
        file, public = folder / KEY_FILE, folder / VKEY_FILE
        try:
            # A new key beside an old public one would sign heads that nobody accepts.
            if not file.exists() and not public.exists():
                _write_once(file, _encode(name, Ed25519PrivateKey.generate()), 0o600)
            key = _decode(file.read_text())
            if not public.exists():
                _write_once(public, key.vkey + "\n", 0o644)
            if public.read_text().strip() != key.vkey:
                raise ValueError(f"it does not belong to {VKEY_FILE}")
        except (OSError, ValueError) as error:
            raise StoreUnavailable(
                f"the audit log's signing key '{file}' cannot be used ({error}): restore it from a "
                "backup and check its permissions, or move the whole folder away to begin a new log"
            ) from None
        return key

    def sign(self, size: int, root: bytes) -> Checkpoint:
        """Sign a head."""
        text = f"{self.name}\n{size}\n{base64.b64encode(root).decode()}\n"
        key = _ED25519 + self._private.public_key().public_bytes_raw()
        blob = _key_hash(self.name, key) + self._private.sign(text.encode())
        note = f"{text}\n— {self.name} {base64.b64encode(blob).decode()}\n"
        return Checkpoint(origin=self.name, size=size, root="sha256:" + root.hex(), note=note)


def read_vkey(folder: Path) -> str:
    """The public key beside a log.

    Raises:
        AuditBroken: it is gone.
    """
    try:
        return (folder / VKEY_FILE).read_text().strip()
    except OSError:
        raise AuditBroken(
            f"'{folder / VKEY_FILE}' cannot be read, so no checkpoint can be checked: "
            "put the log's public key back from a copy"
        ) from None


def open_note(note: str, vkey: str) -> Checkpoint:
    """The checkpoint in a note, once the key's signature on it holds.

    Raises:
        AuditBroken: not a note, of another log, or not signed by this key.
    """
    name, key_hash, public = _parse_vkey(vkey)
    match = NOTE.fullmatch(note)
    lines = match["text"].split("\n") if match else []
    if match is None or len(lines) < 4 or lines[0] != name or not lines[1].isdecimal():
        raise AuditBroken(f"a checkpoint is not a note of the log '{name}': {note[:60]!r}")
    if not any(
        _holds(line, name, key_hash, public, match["text"].encode())
        for line in match["signatures"].splitlines()
    ):
        raise AuditBroken(
            f"the checkpoint of size {lines[1]} is not signed by '{name}+{key_hash.hex()}': "
            "it was edited, or another key made it"
        )
    root = base64.b64decode(lines[2]).hex()
    return Checkpoint(origin=name, size=int(lines[1]), root=f"sha256:{root}", note=note)


def _parse_vkey(vkey: str) -> tuple[str, bytes, Ed25519PublicKey]:
    try:
        name, hashed, encoded = vkey.strip().split("+", 2)
        key = base64.b64decode(encoded, validate=True)
        if bytes.fromhex(hashed) != _key_hash(name, key) or key[:1] != _ED25519:
            raise ValueError
        return name, _key_hash(name, key), Ed25519PublicKey.from_public_bytes(key[1:])
    except ValueError:
        raise AuditBroken(
            f"'{vkey[:80]}' is not the public key of a log: it reads name+hash+key"
        ) from None


def _holds(line: str, name: str, key_hash: bytes, public: Ed25519PublicKey, text: bytes) -> bool:
    with contextlib.suppress(InvalidSignature, binascii.Error, ValueError):
        signer, encoded = line.removeprefix("— ").split(" ")
        blob = base64.b64decode(encoded, validate=True)
        if signer == name and blob[:4] == key_hash:
            public.verify(blob[4:], text)
            return True
    return False


def _key_hash(name: str, key: bytes) -> bytes:
    return hashlib.sha256(name.encode() + b"\n" + key).digest()[:4]


def _encode(name: str, private: Ed25519PrivateKey) -> str:
    key = _ED25519 + private.public_key().public_bytes_raw()
    seed = base64.b64encode(_ED25519 + private.private_bytes_raw()).decode()
    return f"PRIVATE+KEY+{name}+{_key_hash(name, key).hex()}+{seed}\n"


def _decode(text: str) -> SigningKey:
    head, _, name, _, seed = text.strip().split("+", 4)
    raw = base64.b64decode(seed, validate=True)
    if head != "PRIVATE" or raw[:1] != _ED25519:
        raise ValueError("not an Ed25519 key")
    return SigningKey(name, Ed25519PrivateKey.from_private_bytes(raw[1:]))


def _write_once(file: Path, text: str, mode: int) -> None:
    """Whole or not at all: a key that a crash left half written would end the log."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC, mode)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(descriptor)
    os.replace(temporary, file)
