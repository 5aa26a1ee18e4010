"""The Merkle tree of RFC 6962: hashes, roots, inclusion and consistency proofs, and their checks.

It reads stored nodes through a function and keeps nothing; it knows neither events nor files.
A node ``(level, index)`` is the root of the perfect subtree over the leaves
``index << level`` up to ``(index + 1) << level``.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

Node: TypeAlias = Callable[[int, int], bytes]
"""``(level, index)`` → the hash of a perfect subtree."""

EMPTY = hashlib.sha256().digest()


def leaf_hash(leaf: bytes) -> bytes:
    """RFC 6962, 2.1: leaves and nodes are told apart by their first byte."""
    return hashlib.sha256(b"\x00" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def completed(index: int, hashed: bytes, node: Node) -> Iterator[tuple[int, int, bytes]]:
    """The subtrees that leaf `index` completes, itself first: ``(level, index, hash)``."""
    level = 0
    yield level, index, hashed
    while index & 1:
        hashed = node_hash(node(level, index - 1), hashed)
        index >>= 1
        level += 1
        yield level, index, hashed


def root(size: int, node: Node) -> bytes:
    """The head of the tree over the first `size` leaves."""
    return _over(0, size, node) if size else EMPTY


def inclusion(index: int, size: int, node: Node) -> tuple[bytes, ...]:
    """The audit path of leaf `index` in the tree of `size` leaves (RFC 6962, 2.1.1)."""
    low, high = 0, size
    path: list[bytes] = []
    while high - low > 1:
        middle = low + _split(high - low)
        if index < middle:
            path.append(_over(middle, high, node))
            high = middle
        else:
            path.append(_over(low, middle, node))
            low = middle
    return tuple(reversed(path))


def consistency(old: int, new: int, node: Node) -> tuple[bytes, ...]:
    """The proof that the tree of `old` leaves is a prefix of that of `new` (RFC 6962, 2.1.2)."""
    if old in (0, new):
        return ()
    low, high = 0, new
    path: list[bytes] = []
    while old != high:
        middle = low + _split(high - low)
        if old <= middle:
            path.append(_over(middle, high, node))
            high = middle
        else:
            path.append(_over(low, middle, node))
            low = middle
    if low:
        # The verifier knows the old root only when it is a node of the new tree.
        path.append(_over(low, high, node))
    return tuple(reversed(path))


def root_from_inclusion(index: int, size: int, leaf: bytes, path: Sequence[bytes]) -> bytes | None:
    """The root that a path leads to (RFC 9162, 2.1.3.2), or nothing if its length is wrong."""
    if not 0 <= index < size:
        return None
    last = size - 1
    for sibling in path:
        if last == 0:
            return None
        if index & 1 or index == last:
            leaf = node_hash(sibling, leaf)
            while not index & 1 and index:
                index >>= 1
                last >>= 1
        else:
            leaf = node_hash(leaf, sibling)
        index >>= 1
        last >>= 1
    return leaf if last == 0 else None


def consistent(old: int, new: int, old_root: bytes, new_root: bytes, path: Sequence[bytes]) -> bool:
    """Whether a proof shows that the new tree only appended to the old (RFC 9162, 2.1.4.2)."""
    if old == 0:
        return not path and old_root == EMPTY
    if old == new:
        return not path and old_root == new_root
    if not path or not 0 < old < new:
        return False
    steps = list(path)
    if old & (old - 1) == 0:
        steps.insert(0, old_root)
    first, second = old - 1, new - 1
    while first & 1:
        first >>= 1
        second >>= 1
    left = right = steps[0]
    for sibling in steps[1:]:
        if second == 0:
            return False
        if first & 1 or first == second:
            left = node_hash(sibling, left)
            right = node_hash(sibling, right)
            while not first & 1 and first:
                first >>= 1
                second >>= 1
        else:
            right = node_hash(right, sibling)
        first >>= 1
        second >>= 1
    return left == old_root and right == new_root and second == 0


def _split(count: int) -> int:
    """The largest power of two below `count`."""
    return 1 << (count - 1).bit_length() - 1


def _over(low: int, high: int, node: Node) -> bytes:
    count = high - low
    if count & (count - 1) == 0:
        level = count.bit_length() - 1
        return node(level, low >> level)
    middle = low + _split(count)
    return node_hash(_over(low, middle, node), _over(middle, high, node))
