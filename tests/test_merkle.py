"""The tree: held against the definition of RFC 9162, written down naively."""

from __future__ import annotations

import random
from collections.abc import Callable
from hashlib import sha256

import pytest

from consent import merkle
from consent.errors import InvalidProofError
from consent.merkle import (
    EMPTY_ROOT,
    HASH_BYTES,
    TILE_WIDTH,
    Edge,
    Tiles,
    consistency_proof,
    edge_widths,
    inclusion_proof,
    leaf_hash,
    node_hash,
    parse_tile_path,
    perfect_root,
    tile_path,
    tile_width,
    tiles_of_proof,
    tree_root,
    verify_consistency,
    verify_inclusion,
)

LARGEST = 1_100
LEAVES = [leaf_hash(b"%d" % number) for number in range(LARGEST)]


def naive_root(leaves: list[bytes]) -> bytes:
    """MTH of RFC 9162, section 2.1.1."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    k = split(len(leaves))
    return sha256(b"\x01" + naive_root(leaves[:k]) + naive_root(leaves[k:])).digest()


def naive_path(m: int, leaves: list[bytes]) -> list[bytes]:
    """PATH of RFC 9162, section 2.1.3.1."""
    if len(leaves) == 1:
        return []
    k = split(len(leaves))
    if m < k:
        return [*naive_path(m, leaves[:k]), naive_root(leaves[k:])]
    return [*naive_path(m - k, leaves[k:]), naive_root(leaves[:k])]


def naive_subproof(m: int, leaves: list[bytes], *, whole: bool = True) -> list[bytes]:
    """SUBPROOF of RFC 9162, section 2.1.4.1."""
    if m == len(leaves):
        return [] if whole else [naive_root(leaves)]
    k = split(len(leaves))
    if m <= k:
        return [*naive_subproof(m, leaves[:k], whole=whole), naive_root(leaves[k:])]
    return [*naive_subproof(m - k, leaves[k:], whole=False), naive_root(leaves[:k])]


def split(n: int) -> int:
    """Return the largest power of two below ``n``."""
    k = 1
    while 2 * k < n:
        k *= 2
    return k


def subtree_of(leaves: list[bytes]) -> Callable[[int, int], bytes]:
    """Return what finds a perfect subtree of these leaves."""
    return lambda height, index: perfect_root(leaves[index << height : (index + 1) << height])


def every_bit_flipped(data: bytes) -> list[bytes]:
    """Return all that differs from ``data`` in one bit."""
    number = int.from_bytes(data, "big")
    return [(number ^ (1 << bit)).to_bytes(len(data), "big") for bit in range(8 * len(data))]


# The eight leaves, and the roots of the first one to eight of them, that logs of Certificate Transparency are
# tested with.
PUBLISHED_LEAVES = [
    bytes.fromhex(text)
    for text in (
        "", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f",
    )
]  # fmt: skip
PUBLISHED_ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def test_the_published_vectors() -> None:
    """Leaves, roots, and two paths as RFC 6962 section 2.1.3 draws them."""
    leaves = [leaf_hash(data) for data in PUBLISHED_LEAVES]
    assert tree_root([]).hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert [tree_root(leaves[:size]).hex() for size in range(1, 9)] == PUBLISHED_ROOTS
    # In a tree of seven: d0 is proven by [b, h, l], d6 by [i, k], the first three by [c, d, g, l].
    a, b, c, d, e, f, j = leaves[:7]
    g, h, i = node_hash(a, b), node_hash(c, d), node_hash(e, f)
    k, l = node_hash(g, h), node_hash(i, j)  # noqa: E741 - the RFC's letters
    assert inclusion_proof(0, 7, subtree_of(leaves)) == [b, h, l]
    assert inclusion_proof(6, 7, subtree_of(leaves)) == [i, k]
    assert consistency_proof(3, 7, subtree_of(leaves)) == [c, d, g, l]
    assert consistency_proof(4, 7, subtree_of(leaves)) == [l]
    assert consistency_proof(6, 7, subtree_of(leaves)) == [i, j, k]


def test_roots_are_those_of_the_definition_for_every_size() -> None:
    """From nothing to 1,100 leaves, appended one by one and all at once."""
    edge = Edge()
    for size in range(LARGEST + 1):
        expected = naive_root(LEAVES[:size])
        assert edge.root() == expected
        assert edge.size == size
        if size % 50 == 0:
            assert tree_root(LEAVES[:size]) == expected
        edge.extend(LEAVES[size : size + 1])


def test_inclusion_is_proven_as_defined_for_every_leaf_up_to_64() -> None:
    """The proof is that of the definition, and verifies."""
    for size in range(1, 65):
        root = naive_root(LEAVES[:size])
        for index in range(size):
            proof = inclusion_proof(index, size, subtree_of(LEAVES))
            assert proof == naive_path(index, LEAVES[:size])
            verify_inclusion(LEAVES[index], index, size, proof, root)


@pytest.mark.parametrize("size", [255, 256, 257, 511, 513, 1_000, LARGEST])
def test_inclusion_is_proven_in_larger_trees(size: int) -> None:
    """Over the borders of tiles, too."""
    root = tree_root(LEAVES[:size])
    for index in {0, 1, size // 2, size - 2, size - 1, *range(0, size, 37)}:
        proof = inclusion_proof(index, size, subtree_of(LEAVES))
        assert proof == naive_path(index, LEAVES[:size])
        verify_inclusion(LEAVES[index], index, size, proof, root)


def test_consistency_is_proven_as_defined_for_every_pair_up_to_64() -> None:
    """The proof is that of the definition, and verifies; the empty tree needs none."""
    roots = [naive_root(LEAVES[:size]) for size in range(65)]
    for new in range(65):
        verify_consistency(0, new, [], roots[0], roots[new])
        for old in range(1, new + 1):
            proof = consistency_proof(old, new, subtree_of(LEAVES))
            assert proof == naive_subproof(old, LEAVES[:new])
            verify_consistency(old, new, proof, roots[old], roots[new])


def test_every_single_bit_of_an_inclusion_proof_counts() -> None:
    """In leaf, path and root; for every leaf of trees of several shapes."""
    for size in (1, 2, 3, 5, 7, 8, 13):
        root = naive_root(LEAVES[:size])
        for index in range(size):
            proof = naive_path(index, LEAVES[:size])
            for wrong in every_bit_flipped(LEAVES[index]):
                with pytest.raises(InvalidProofError):
                    verify_inclusion(wrong, index, size, proof, root)
            for wrong in every_bit_flipped(root):
                with pytest.raises(InvalidProofError):
                    verify_inclusion(LEAVES[index], index, size, proof, wrong)
            for place, part in enumerate(proof):
                for wrong in every_bit_flipped(part):
                    with pytest.raises(InvalidProofError):
                        verify_inclusion(
                            LEAVES[index], index, size, [*proof[:place], wrong, *proof[place + 1 :]], root
                        )


def test_every_single_bit_of_a_consistency_proof_counts() -> None:
    """In both roots and in the proof."""
    for old, new in ((1, 2), (2, 3), (3, 7), (4, 7), (6, 7), (7, 7), (4, 8), (5, 13)):
        roots = [naive_root(LEAVES[:old]), naive_root(LEAVES[:new])]
        proof = naive_subproof(old, LEAVES[:new])
        parts = [*roots, *proof]
        for place, part in enumerate(parts):
            for wrong in every_bit_flipped(part):
                changed = [*parts[:place], wrong, *parts[place + 1 :]]
                with pytest.raises(InvalidProofError):
                    verify_consistency(old, new, changed[2:], changed[0], changed[1])


def test_another_index_size_or_length_does_not_verify() -> None:
    """Nor does a leaf at or past the size, in making a proof and in checking it."""
    for size in range(1, 34):
        root = naive_root(LEAVES[:size])
        for index in range(size):
            proof = naive_path(index, LEAVES[:size])
            for other in {*range(size + 2), -1, 2**70} - {index}:
                with pytest.raises(InvalidProofError):
                    verify_inclusion(LEAVES[index], other, size, proof, root)
            for wrong in ([*proof, root], proof[:-1] if proof else [root], [root, *proof]):
                with pytest.raises(InvalidProofError):
                    verify_inclusion(LEAVES[index], index, size, wrong, root)
        for index in (-1, size, size + 1):
            with pytest.raises(InvalidProofError, match=f"no leaf {index} in a tree of {size}"):
                inclusion_proof(index, size, subtree_of(LEAVES))
    for old, new in ((0, 5), (6, 5), (-1, 5)):
        with pytest.raises(InvalidProofError):
            consistency_proof(old, new, subtree_of(LEAVES))


def test_a_consistency_proof_of_another_length_does_not_verify() -> None:
    """Longer, shorter, for two sizes that need none, and from the larger to the smaller tree."""
    roots = [naive_root(LEAVES[:size]) for size in range(20)]
    for new in range(1, 20):
        for old in range(1, new):
            proof = naive_subproof(old, LEAVES[:new])
            for wrong in ([*proof, roots[old]], proof[:-1], [roots[old], *proof]):
                with pytest.raises(InvalidProofError):
                    verify_consistency(old, new, wrong, roots[old], roots[new])
            with pytest.raises(InvalidProofError, match="does not continue"):
                verify_consistency(new, old, proof, roots[new], roots[old])
        with pytest.raises(InvalidProofError, match="too long"):
            verify_consistency(new, new, [roots[0]], roots[new], roots[new])
        with pytest.raises(InvalidProofError, match=f"two different roots for {new} leaves"):
            verify_consistency(new, new, [], roots[new], roots[new - 1])
        with pytest.raises(InvalidProofError, match="two different roots for 0 leaves"):
            verify_consistency(0, new, [], roots[new], roots[new])


class Kept:
    """Tiles as a store keeps them: those that changed, and the last leaves."""

    def __init__(self) -> None:
        self.edge = Edge()
        self.tiles: dict[tuple[int, int], bytes] = {}
        self.leaves: list[bytes] = []

    def extend(self, leaves: list[bytes]) -> None:
        self.leaves += leaves
        for tile in self.edge.extend(leaves):
            self.tiles[tile.level, tile.index] = tile.hashes

    def read(self, level: int, index: int, width: int) -> bytes:
        if level == 0 and width < TILE_WIDTH and (level, index) not in self.tiles:
            return b"".join(self.leaves[index * TILE_WIDTH : index * TILE_WIDTH + width])
        return self.tiles[level, index][: width * 32]


def test_tiles_hold_every_tree_that_there_was() -> None:
    """However leaves arrived: from the tiles, root and proofs of every size so far can be had."""
    source = random.Random(7)
    leaves = [leaf_hash(b"%d" % number) for number in range(70_000)]
    kept = Kept()
    while kept.edge.size < len(leaves):
        count = source.choice((1, 2, 100, 255, 256, 257, 1_000, 9_999))
        kept.extend(leaves[kept.edge.size : kept.edge.size + count])
    # 273 full tiles of level 0, two of level 1 and one of level 2: the example of tlog-tiles.
    assert {level: sum(1 for at, _ in kept.tiles if at == level) for level in range(3)} == {
        0: 273,
        1: 2,
        2: 1,
    }
    assert [len(kept.tiles[key]) // 32 for key in ((1, 0), (1, 1), (2, 0))] == [256, 17, 1]
    for size in (1, 255, 256, 257, 65_535, 65_536, 65_537, 69_999, 70_000):
        tiles = Tiles(size, kept.read)
        root = tiles.root()
        again = Edge()
        again.extend(leaves[:size])
        assert root == again.root()
        for index in {0, size // 3, size - 1}:
            proof = inclusion_proof(index, size, tiles.subtree)
            verify_inclusion(leaves[index], index, size, proof, root)
        proof = consistency_proof(size, 70_000, Tiles(70_000, kept.read).subtree)
        verify_consistency(size, 70_000, proof, root, kept.edge.root())


@pytest.mark.parametrize("size", [0, 1, 255, 256, 257, 65_536, 70_000])
def test_an_edge_goes_on_from_its_tiles(size: int) -> None:
    """Made anew from what was kept, it grows like the one that was there all the time."""
    kept = Kept()
    kept.extend([leaf_hash(b"%d" % number) for number in range(size)])
    partial = [
        kept.read(level, size // TILE_WIDTH ** (level + 1), width) if width else b""
        for level, width in enumerate(edge_widths(size))
    ]
    edge = Edge(size, partial)
    assert edge.root() == kept.edge.root()
    more = [leaf_hash(b"more %d" % number) for number in range(300)]
    other = kept.edge.copy()
    assert edge.extend(more) == other.extend(more)
    assert edge.root() == other.root() != kept.edge.root()


def test_a_tile_that_is_too_short_is_refused() -> None:
    """It names the tile; a part of a hash is none."""
    with pytest.raises(InvalidProofError, match=r"tile/0/000 has 2 hashes, not 3"):
        Tiles(3, lambda level, index, width: b"".join(LEAVES[:2])).root()
    with pytest.raises(InvalidProofError, match="33 bytes are not a number of hashes"):
        Tiles(3, lambda level, index, width: bytes(33)).root()
    with pytest.raises(InvalidProofError, match="no perfect subtree of height 2 at 0 in 3 leaves"):
        Tiles(3, lambda level, index, width: b"".join(LEAVES[:3])).subtree(2, 0)
    assert Tiles(0, lambda level, index, width: b"").root() == EMPTY_ROOT


def test_tile_widths_are_those_of_the_specification() -> None:
    """The example of tlog-tiles: 70,000 leaves."""
    assert [tile_width(0, index, 70_000) for index in (0, 272, 273, 274)] == [256, 256, 112, 0]
    assert [tile_width(1, index, 70_000) for index in (0, 1, 2)] == [256, 17, 0]
    assert [tile_width(2, index, 70_000) for index in (0, 1)] == [1, 0]
    assert edge_widths(70_000) == [112, 17, 1]
    assert edge_widths(256) == [0, 1]
    assert edge_widths(0) == []


@pytest.mark.parametrize(
    ("path", "level", "index", "width"),
    [
        ("tile/0/000", 0, 0, 256),
        ("tile/3/x001/x234/067", 3, 1_234_067, 256),
        ("tile/63/999.p/1", 63, 999, 1),
        ("tile/entries/x001/000.p/255", None, 1_000, 255),
    ],
)
def test_tile_addresses(path: str, level: int | None, index: int, width: int) -> None:
    """Written and read as tlog-tiles says."""
    assert tile_path("entries" if level is None else level, index, width) == path
    assert parse_tile_path(path) == (level, index, width)


@pytest.mark.parametrize(
    "path",
    [
        "tile/0/0", "tile/0/0000", "tile/00/000", "tile/64/000", "tile/-1/000", "tile/0/x000/001", "tile/0/001/002",
        "tile/0/x001", "tile/0/000.p/0", "tile/0/000.p/256", "tile/0/000.p/01", "tile/0/000.p/", "tile/0/000/",
        "/tile/0/000", "tile/0/000\n", "tile/0/\u0661\u0661\u0661", "tile/data/000", "tile/0/" + "x001/" * 6 + "001",
    ],
)  # fmt: skip
def test_other_addresses_are_no_tiles(path: str) -> None:
    """One address per tile, and none beyond what a log can hold."""
    assert parse_tile_path(path) is None


def test_a_proof_in_a_million_leaves_reads_a_handful_of_tiles() -> None:
    """At most two per level: the size of the log hardly matters."""
    asked: list[tuple[int, int, int]] = []

    def read(level: int, index: int, width: int) -> bytes:
        asked.append((level, index, width))
        return bytes(32 * width)

    proof = merkle.inclusion_proof(654_321, 1_000_000, Tiles(1_000_000, read).subtree)
    assert len(proof) == 20
    assert len(asked) <= 6


def test_the_tiles_of_a_proof_are_those_that_are_read() -> None:
    """For leaves near and far from the edges of trees that have one level of tiles, two and three."""
    for size in (1, 2, 255, 256, 257, 1_000, 70_000):
        for index in {0, size // 3, size - 1}:
            read: set[tuple[int, int]] = set()

            def note(level: int, tile: int, width: int, read: set[tuple[int, int]] = read) -> bytes:
                read.add((level, tile))
                return bytes(HASH_BYTES * width)

            inclusion_proof(index, size, Tiles(size, note).subtree)
            assert tiles_of_proof(index, size) == read
