"""The tree against RFC 6962's published vectors, and proofs for every small tree."""

import hashlib

import pytest

from goalkeeper.audit import merkle

# The leaves and roots that Certificate Transparency's own implementations are tested with.
LEAVES = [
    bytes.fromhex(h)
    for h in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


class Tree:
    """A tree in memory, grown the way the log grows."""

    def __init__(self, leaves: list[bytes]) -> None:
        self.nodes: dict[tuple[int, int], bytes] = {}
        self.leaves = leaves
        for index, leaf in enumerate(leaves):
            hashed = merkle.leaf_hash(leaf)
            for level, number, node in merkle.completed(index, hashed, self.node):
                self.nodes[level, number] = node

    def node(self, level: int, number: int) -> bytes:
        """One stored node."""
        return self.nodes[level, number]


def by_definition(leaves: list[bytes]) -> bytes:
    """MTH as RFC 6962 writes it down."""
    if not leaves:
        return hashlib.sha256().digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return hashlib.sha256(
        b"\x01" + by_definition(leaves[:split]) + by_definition(leaves[split:])
    ).digest()


@pytest.mark.parametrize("size", range(9))
def test_roots_are_those_of_the_published_vectors(size: int) -> None:
    """Every prefix of the eight canonical leaves has the canonical root."""
    assert merkle.root(size, Tree(LEAVES).node).hex() == ROOTS[size]


def test_a_root_is_what_the_definition_says_for_any_size() -> None:
    """Storing perfect subtrees gives the same heads as hashing everything again."""
    leaves = [str(n).encode() for n in range(70)]
    tree = Tree(leaves)
    for size in range(71):
        assert merkle.root(size, tree.node) == by_definition(leaves[:size])


def test_the_published_inclusion_paths_come_out() -> None:
    """Vectors of the reference implementation for leaf 0 of 8 and leaf 5 of 8."""
    tree = Tree(LEAVES)
    assert [h.hex()[:8] for h in merkle.inclusion(0, 8, tree.node)] == [
        "96a296d2",
        "5f083f0a",
        "6b47aaf2",
    ]
    assert [h.hex()[:8] for h in merkle.inclusion(5, 8, tree.node)] == [
        "bc1a0643",
        "ca854ea1",
        "d37ee418",
    ]


def test_every_leaf_of_every_small_tree_is_proved_and_no_other_is() -> None:
    """A path leads to the root for its own leaf and index, and not for a neighbour."""
    leaves = [str(n).encode() for n in range(33)]
    tree = Tree(leaves)
    for size in range(1, 34):
        root = merkle.root(size, tree.node)
        for index in range(size):
            path = merkle.inclusion(index, size, tree.node)
            hashed = merkle.leaf_hash(leaves[index])
            assert merkle.root_from_inclusion(index, size, hashed, path) == root
            other = merkle.leaf_hash(b"another")
            assert merkle.root_from_inclusion(index, size, other, path) != root
            if size > 1:
                assert merkle.root_from_inclusion(index, size, hashed, path[:-1]) != root
                wrong = (index + 1) % size
                assert merkle.root_from_inclusion(wrong, size, hashed, path) != root


def test_every_prefix_of_every_small_tree_is_proved_consistent_and_no_other_tree_is() -> None:
    """A consistency proof holds for the true older head and for no other."""
    leaves = [str(n).encode() for n in range(33)]
    tree = Tree(leaves)
    for new in range(1, 34):
        new_root = merkle.root(new, tree.node)
        for old in range(new + 1):
            old_root = merkle.root(old, tree.node)
            path = merkle.consistency(old, new, tree.node)
            assert merkle.consistent(old, new, old_root, new_root, path)
            assert not merkle.consistent(old, new, b"x" * 32, new_root, path)
            if old not in (0, new):
                assert not merkle.consistent(old, new, old_root, b"x" * 32, path)
                assert not merkle.consistent(old, new, old_root, new_root, path[:-1])
