"""Checks an export of an audit log with nothing but Python's standard library.

Copied into every export as ``verify.py``; it may import nothing of the project's, and shares no
code with what made the log, so that a mistake there does not hide itself here.

It hashes every line of ``entries.jsonl`` (RFC 6962), derives the head of the log from them or from
the proofs in ``proofs.jsonl``, and checks the signature on the head (Ed25519, RFC 8032).
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import re
import sys
from pathlib import Path

Point = tuple[int, int, int, int]
"""Extended coordinates: x = X/Z, y = Y/Z, x·y = T/Z."""

P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
ROOT_OF_MINUS_ONE = pow(2, (P - 1) // 4, P)
NOTE = re.compile(r"((?:[^\n]+\n)+)\n((?:— [^\n]+\n)+)\n?")


class Bad(Exception):
    """The export does not hold; the text says where."""


def add(a: Point, b: Point) -> Point:
    """The sum of two points of the curve (RFC 8032, 5.1.4)."""
    one = (a[1] - a[0]) * (b[1] - b[0]) % P
    two = (a[1] + a[0]) * (b[1] + b[0]) % P
    three, four = 2 * a[3] * b[3] * D % P, 2 * a[2] * b[2] % P
    e, f, g, h = two - one, four - three, four + three, two + one
    return e * f % P, g * h % P, f * g % P, e * h % P


def times(scalar: int, point: Point) -> Point:
    """A multiple of a point."""
    result: Point = (0, 1, 1, 0)
    while scalar:
        if scalar & 1:
            result = add(result, point)
        point = add(point, point)
        scalar >>= 1
    return result


def point_of(encoded: bytes) -> Point:
    """The point that 32 bytes encode (RFC 8032, 5.1.3)."""
    number = int.from_bytes(encoded, "little")
    sign, y = number >> 255, number & (1 << 255) - 1
    if len(encoded) != 32 or y >= P:
        raise Bad("a key or signature is not a point of the curve")
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * ROOT_OF_MINUS_ONE % P
    if (x * x - square) % P or (x == 0 and sign):
        raise Bad("a key or signature is not a point of the curve")
    if x & 1 != sign:
        x = P - x
    return x, y, 1, x * y % P


BASE = point_of((4 * pow(5, -1, P) % P).to_bytes(32, "little"))


def signature_holds(public: bytes, message: bytes, signature: bytes) -> bool:
    """Ed25519 (RFC 8032, 5.1.7)."""
    if len(signature) != 64:
        return False
    r, s = signature[:32], int.from_bytes(signature[32:], "little")
    if s >= ORDER:
        return False
    h = int.from_bytes(hashlib.sha512(r + public + message).digest(), "little") % ORDER
    left, right = times(s, BASE), add(point_of(r), times(h, point_of(public)))
    same_x = (left[0] * right[2] - right[0] * left[2]) % P == 0
    return same_x and (left[1] * right[2] - right[1] * left[2]) % P == 0


def open_note(note: str, vkey: str) -> tuple[int, bytes]:
    """Size and root of a signed checkpoint (C2SP tlog-checkpoint and signed-note)."""
    name, key_hash, encoded = vkey.strip().split("+", 2)
    key = base64.b64decode(encoded)
    if hashlib.sha256(name.encode() + b"\n" + key).digest()[:4].hex() != key_hash:
        raise Bad("the public key does not match its own hash")
    match = NOTE.fullmatch(note)
    if match is None:
        raise Bad(f"not a signed checkpoint: {note[:60]!r}")
    origin, size, root = match[1].splitlines()[:3]
    for line in match[2].splitlines():
        signer, _, blob = line[2:].rpartition(" ")
        raw = base64.b64decode(blob)
        if (signer, raw[:4].hex()) == (name, key_hash) and origin == name:
            if not signature_holds(key[1:], match[1].encode(), raw[4:]):
                break
            return int(size), base64.b64decode(root)
    raise Bad(f"the checkpoint of size {size} is not signed by {name}+{key_hash}")


def leaf_hash(leaf: bytes) -> bytes:
    """RFC 6962, 2.1."""
    return hashlib.sha256(b"\x00" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """RFC 6962, 2.1."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def push(stack: list[tuple[int, bytes]], leaf: bytes) -> None:
    """Add a leaf to the perfect subtrees on the stack: (height, hash), the highest first."""
    height, top = 0, leaf_hash(leaf)
    while stack and stack[-1][0] == height:
        top = node_hash(stack.pop()[1], top)
        height += 1
    stack.append((height, top))


def root_of(stack: list[tuple[int, bytes]]) -> bytes:
    """The head over what was pushed."""
    if not stack:
        return hashlib.sha256().digest()
    root = stack[-1][1]
    for _, left in reversed(stack[:-1]):
        root = node_hash(left, root)
    return root


def root_by_path(index: int, size: int, leaf: bytes, path: list[bytes]) -> bytes:
    """The head that an inclusion proof leads to."""
    if size <= 1:
        if path or index != 0:
            raise Bad("an inclusion proof has the wrong length")
        return leaf_hash(leaf)
    if not path:
        raise Bad("an inclusion proof has the wrong length")
    split = 1 << (size - 1).bit_length() - 1
    if index < split:
        return node_hash(root_by_path(index, split, leaf, path[:-1]), path[-1])
    return node_hash(path[-1], root_by_path(index - split, size - split, leaf, path[:-1]))


def check_all(leaves: list[bytes], heads: dict[int, bytes]) -> None:
    """A complete export: the entries lead to every head."""
    agreed = 0
    stack: list[tuple[int, bytes]] = []
    for size in range(len(leaves) + 1):
        if size:
            push(stack, leaves[size - 1])
        if size in heads:
            if heads[size] != root_of(stack):
                raise Bad(f"one of the entries {agreed} to {size - 1} is not what was recorded")
            agreed = size
    if max(heads) != len(leaves):
        raise Bad(f"there are {len(leaves)} entries, and {max(heads)} were signed")


def check_some(leaves: list[bytes], proofs: list[str], size: int, root: bytes) -> None:
    """A part of the log: each entry's proof leads to the head."""
    if len(proofs) != len(leaves):
        raise Bad(f"{len(leaves)} entries and {len(proofs)} proofs")
    before = -1
    for number, (leaf, line) in enumerate(zip(leaves, proofs, strict=True), 1):
        proof = json.loads(line)
        index = proof["index"]
        path = [bytes.fromhex(h) for h in proof["hashes"]]
        if not before < index < size or root_by_path(index, size, leaf, path) != root:
            raise Bad(f"line {number} of entries.jsonl (entry {index}) is not what was recorded")
        before = index


def notes_in(text: str) -> list[str]:
    """The notes of a file that has one after the other."""
    found = [m.group() for m in NOTE.finditer(text)]
    if "".join(found) != text:
        raise Bad("a file of checkpoints holds something else too")
    return found


def check(folder: Path, vkey: str | None, known: list[Path]) -> str:
    """Check the export in `folder` and say what holds."""
    key = vkey or (folder / "checkpoint.vkey").read_text()
    size, root = open_note((folder / "checkpoint").read_text(), key)
    leaves = (folder / "entries.jsonl").read_bytes().split(b"\n")[:-1]
    proofs = folder / "proofs.jsonl"
    if proofs.exists():
        if known:
            raise Bad("--known needs a complete export: this one holds a part of the log")
        check_some(leaves, proofs.read_text().splitlines(), size, root)
        what = f"{len(leaves)} of {size} entries"
    else:
        heads = {size: root}
        for file in [folder / "checkpoints.txt", *known]:
            for note in notes_in(file.read_text()):
                at, its_root = open_note(note, key)
                if heads.setdefault(at, its_root) != its_root:
                    raise Bad(f"two signed checkpoints of size {at} contradict each other")
        check_all(leaves, heads)
        what = f"all {size} entries, and {len(heads)} signed heads"
    return f"OK: {what} of the log {key.split('+')[0]}, signed by {key.strip()}"


def main() -> int:
    """Check, print one line, and exit with 0 or 1."""
    parser = argparse.ArgumentParser(description="Check this export of an audit log.")
    parser.add_argument("--vkey", help="the log's public key, from a source that you trust")
    parser.add_argument("--known", type=Path, action="append", default=[], metavar="FILE")
    parser.add_argument("folder", nargs="?", type=Path, default=Path(__file__).parent)
    options = parser.parse_args()
    try:
        print(check(options.folder, options.vkey, options.known))
    except (Bad, OSError, ValueError, KeyError, TypeError) as error:
        print(f"BROKEN: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
