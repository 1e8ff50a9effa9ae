"""The tree over a log: its hashes, its proofs, and the tiles that it is kept in. Pure arithmetic.

Hashes and proofs are those of RFC 6962 and RFC 9162, section 2.1; tiles are those of C2SP's tlog-tiles. A tree of
any size is never held in memory: whoever proves asks for the hashes of perfect subtrees, and :class:`Tiles` finds
them in tiles of 256, of which a proof needs a handful.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from consent.errors import InvalidProofError

HASH_BYTES: Final = 32
EMPTY_ROOT: Final = sha256(b"").digest()
"""The root of a tree without leaves."""
TILE_HEIGHT: Final = 8
TILE_WIDTH: Final = 1 << TILE_HEIGHT
"""How many hashes a full tile has."""
MAX_SIZE: Final = 2**53 - 1
"""The size of the largest tree: what JSON readers can still tell from its neighbours."""

_MAX_TILE_LEVEL = 63

Subtree = Callable[[int, int], bytes]
"""Returns the root of the ``index``-th perfect subtree of ``2 ** height`` leaves, given height and index."""
ReadTile = Callable[[int, int, int], bytes]
"""Returns the first ``width`` hashes, concatenated, of the tile at ``level`` and ``index``; raises if it cannot."""


def leaf_hash(data: bytes) -> bytes:
    """Return the hash of a leaf. (RFC 9162, section 2.1.1.)"""
    return sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of a node above two others. (RFC 9162, section 2.1.1.)"""
    return sha256(b"\x01" + left + right).digest()


def perfect_root(hashes: Sequence[bytes]) -> bytes:
    """Return the root over a power of two of hashes, given from left to right."""
    level = list(hashes)
    while len(level) > 1:
        pairs = iter(level)
        level = [sha256(b"\x01" + left + right).digest() for left, right in zip(pairs, pairs, strict=True)]
    return level[0]


def tree_root(leaves: Sequence[bytes]) -> bytes:
    """Return the root over any number of leaf hashes."""
    edge = Edge()
    edge.extend(leaves)
    return edge.root()


# ---- tiles


@dataclass(frozen=True, slots=True)
class Tile:
    """One tile, full or partial."""

    level: int
    """0 has the leaves; each hash of a higher level is the root of one full tile of the level below."""
    index: int
    hashes: bytes
    """One after the other, 32 bytes each."""

    @property
    def width(self) -> int:
        """How many hashes it has, 1 to 256."""
        return len(self.hashes) // HASH_BYTES


class Edge:
    """The right edge of a growing tree: of each level, the tile that is not full yet.

    It is all that appending needs, and all that the root needs.

    Args:
        partial: the hashes of these tiles, concatenated, from level 0 upwards.
        size: how many leaves the tree has.
    """

    __slots__ = ("_partial", "size")

    def __init__(self, size: int = 0, partial: Iterable[bytes] = ()) -> None:
        self.size = size
        self._partial = [split_hashes(hashes) for hashes in partial]

    @classmethod
    def load(cls, size: int, read: ReadTile) -> Edge:
        """Return the edge of a tree of ``size`` leaves, as it is kept.

        Raises:
            InvalidProofError: a tile of it is missing or was altered.
        """
        partial = []
        for level, width in enumerate(edge_widths(size)):
            index = (size >> (TILE_HEIGHT * level)) // TILE_WIDTH
            hashes = read(level, index, width) if width else b""
            if len(hashes) != HASH_BYTES * width:
                raise InvalidProofError(
                    f"{tile_path(level, index)} was altered: it has {len(hashes) // HASH_BYTES} hashes, not {width}"
                )
            partial.append(hashes)
        return cls(size, partial)

    def copy(self) -> Edge:
        """Return another edge that grows by itself."""
        other = Edge(self.size)
        other._partial = [list(hashes) for hashes in self._partial]
        return other

    def extend(self, leaves: Sequence[bytes]) -> list[Tile]:
        """Append leaf hashes; return the tiles that changed, without the partial one of level 0.

        That one changes each time, and consists of the last leaves: whoever keeps those need not write it.
        """
        self.size += len(leaves)
        changed: list[Tile] = []
        arrived: Sequence[bytes] = leaves
        level = 0
        while arrived:
            if level == len(self._partial):
                self._partial.append([])
            hashes = self._partial[level]
            hashes += arrived
            full = len(hashes) // TILE_WIDTH
            index = (self.size >> (TILE_HEIGHT * level)) // TILE_WIDTH - full
            arrived = []
            for number in range(full):
                part = hashes[number * TILE_WIDTH : (number + 1) * TILE_WIDTH]
                changed.append(Tile(level, index + number, b"".join(part)))
                arrived.append(perfect_root(part))
            del hashes[: full * TILE_WIDTH]
            if level and hashes:
                changed.append(Tile(level, index + full, b"".join(hashes)))
            level += 1
        return changed

    def root(self) -> bytes:
        """Return the root of the tree as it is."""
        root: bytes | None = None
        for hashes in self._partial:
            end = len(hashes)
            while end:
                width = end & -end  # the perfect subtrees, the last and smallest one first
                left = perfect_root(hashes[end - width : end])
                root = left if root is None else node_hash(left, root)
                end -= width
        return EMPTY_ROOT if root is None else root


def split_hashes(hashes: bytes) -> list[bytes]:
    """Take the hashes of a tile apart.

    Raises:
        InvalidProofError: the bytes are not a number of hashes.
    """
    if len(hashes) % HASH_BYTES:
        raise InvalidProofError(f"{len(hashes)} bytes are not a number of hashes of {HASH_BYTES}")
    return [hashes[start : start + HASH_BYTES] for start in range(0, len(hashes), HASH_BYTES)]


def kept_tile(level: int, index: int, hashes: bytes, width: int) -> bytes:
    """Return the first ``width`` hashes of what is kept of a tile, or as many as there are.

    Raises:
        InvalidProofError: it is not hashes.
    """
    if len(hashes) % HASH_BYTES or len(hashes) > HASH_BYTES * TILE_WIDTH:
        raise InvalidProofError(f"{tile_path(level, index)} was altered: it has {len(hashes)} bytes")
    return hashes[: HASH_BYTES * width]


def tile_width(level: int, index: int, size: int) -> int:
    """Return how many hashes the tile has in a tree of ``size`` leaves, 0 to 256."""
    return max(0, min(TILE_WIDTH, (size >> (TILE_HEIGHT * level)) - index * TILE_WIDTH))


def edge_widths(size: int) -> list[int]:
    """Return how wide the partial tiles of a tree of ``size`` leaves are, from level 0 upwards."""
    widths = []
    while size:
        widths.append(size % TILE_WIDTH)
        size //= TILE_WIDTH
    return widths


class Tiles:
    """A tree of one size, read from its tiles. Each tile is asked for once.

    Args:
        size: how many leaves the tree has.
        read: reads a tile.
    """

    def __init__(self, size: int, read: ReadTile) -> None:
        self.size = size
        self._read = read
        self._tiles: dict[tuple[int, int], list[bytes]] = {}

    def subtree(self, height: int, index: int) -> bytes:
        """Return the root of a perfect subtree of this tree. See :data:`Subtree`.

        Raises:
            InvalidProofError: the tile that it is in is too short.
        """
        level, inside = divmod(height, TILE_HEIGHT)
        start = index << inside
        tile, offset = divmod(start, TILE_WIDTH)
        hashes = self._tiles.get((level, tile))
        if hashes is None:
            width = tile_width(level, tile, self.size)
            hashes = split_hashes(self._read(level, tile, width))
            if len(hashes) < width:
                raise InvalidProofError(f"{tile_path(level, tile)} has {len(hashes)} hashes, not {width}")
            self._tiles[level, tile] = hashes
        part = hashes[offset : offset + (1 << inside)]
        if len(part) != 1 << inside:
            raise InvalidProofError(f"no perfect subtree of height {height} at {index} in {self.size} leaves")
        return perfect_root(part)

    def root(self) -> bytes:
        """Return the root of the whole tree."""
        return EMPTY_ROOT if self.size == 0 else _range_root(0, self.size, self.subtree)


def tile_path(level: int | str, index: int, width: int = TILE_WIDTH) -> str:
    """Return where a tile is served: ``tile/0/x001/234`` or, partial, ``tile/0/x001/234.p/17``. (tlog-tiles.)

    Args:
        level: 0 to 63, or ``entries``.
        index: its number within the level.
        width: how many hashes of it.
    """
    groups = [f"{index % 1000:03}"]
    while index := index // 1000:
        groups.append(f"x{index % 1000:03}")
    path = "/".join(("tile", str(level), *reversed(groups)))
    return path if width == TILE_WIDTH else f"{path}.p/{width}"


_TILE_PATH = re.compile(
    r"tile/(entries|0|[1-9][0-9]?)/((?:x[0-9]{3}/){0,5}[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?", re.ASCII
)


def parse_tile_path(path: str) -> tuple[int | None, int, int] | None:
    """Read what :func:`tile_path` writes: level (``None`` for entries), index and width; ``None`` if it is none."""
    found = _TILE_PATH.fullmatch(path)
    if found is None:
        return None
    level = None if found[1] == "entries" else int(found[1])
    index = int(found[2].replace("x", "").replace("/", ""))
    width = TILE_WIDTH if found[3] is None else int(found[3])
    if (level or 0) > _MAX_TILE_LEVEL or (found[3] is not None and width >= TILE_WIDTH):
        return None
    # One address per tile: x000/001 is 001.
    return (level, index, width) if tile_path(found[1], index, width) == path else None


# ---- proofs


def inclusion_proof(index: int, size: int, subtree: Subtree) -> list[bytes]:
    """Prove that the leaf at ``index`` is in the tree of ``size`` leaves. (RFC 9162, section 2.1.3.1.)

    Raises:
        InvalidProofError: there is no such leaf.
    """
    if not 0 <= index < size:
        raise InvalidProofError(f"there is no leaf {index} in a tree of {size}")
    proof: list[bytes] = []
    begin, end = 0, size
    while end - begin > 1:
        middle = begin + _split(end - begin)
        if index < middle:
            proof.append(_range_root(middle, end, subtree))
            end = middle
        else:
            proof.append(_range_root(begin, middle, subtree))
            begin = middle
    proof.reverse()
    return proof


def tiles_of_proof(index: int, size: int) -> set[tuple[int, int]]:
    """Return the tiles that the proof of a leaf is made of, each by level and index.

    Raises:
        InvalidProofError: there is no such leaf.
    """
    tiles: set[tuple[int, int]] = set()

    def subtree(height: int, number: int) -> bytes:
        level, inside = divmod(height, TILE_HEIGHT)
        tiles.add((level, (number << inside) // TILE_WIDTH))
        return b""

    inclusion_proof(index, size, subtree)
    return tiles


def consistency_proof(old: int, new: int, subtree: Subtree) -> list[bytes]:
    """Prove that the tree of ``old`` leaves is the beginning of that of ``new``. (RFC 9162, section 2.1.4.1.)

    Raises:
        InvalidProofError: the old tree is larger than the new one, or empty: nothing is to be proven of it.
    """
    if not 0 < old <= new:
        raise InvalidProofError(f"no proof leads from {old} leaves to {new}")
    proof: list[bytes] = []
    begin, end = 0, new
    # The old root itself is left out while the old tree is one whole subtree.
    while end != old:
        middle = begin + _split(end - begin)
        if old <= middle:
            proof.append(_range_root(middle, end, subtree))
            end = middle
        else:
            proof.append(_range_root(begin, middle, subtree))
            begin = middle
    if begin:
        proof.append(_range_root(begin, end, subtree))
    proof.reverse()
    return proof


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """Check that the leaf with this hash is at ``index`` in the tree with this root. (RFC 9162, section 2.1.3.2.)

    Raises:
        InvalidProofError: it does not follow from the proof.
    """
    if not 0 <= index < size:
        raise InvalidProofError(f"there is no leaf {index} in a tree of {size}")
    node, last = index, size - 1
    computed = leaf
    for part in proof:
        if last == 0:
            raise InvalidProofError("the inclusion proof is too long")
        if node & 1 or node == last:
            computed = node_hash(part, computed)
            while not node & 1 and node:
                node >>= 1
                last >>= 1
        else:
            computed = node_hash(computed, part)
        node >>= 1
        last >>= 1
    if last:
        raise InvalidProofError("the inclusion proof is too short")
    if computed != root:
        raise InvalidProofError("the inclusion proof leads to another root")


def verify_consistency(old: int, new: int, proof: Sequence[bytes], old_root: bytes, new_root: bytes) -> None:
    """Check that the old tree is the beginning of the new one. (RFC 9162, section 2.1.4.2.)

    Raises:
        InvalidProofError: it does not follow from the proof.
    """
    if not 0 <= old <= new:
        raise InvalidProofError(f"a tree of {new} leaves does not continue one of {old}")
    if old in (0, new):
        if proof:
            raise InvalidProofError("the consistency proof is too long")
        if old_root != (new_root if old else EMPTY_ROOT):
            raise InvalidProofError(f"two different roots for {old} leaves")
        return
    parts = list(proof)
    if old & (old - 1) == 0:
        parts.insert(0, old_root)
    if not parts:
        raise InvalidProofError("the consistency proof is too short")
    node, last = old - 1, new - 1
    while node & 1:
        node >>= 1
        last >>= 1
    first = second = parts[0]
    for part in parts[1:]:
        if last == 0:
            raise InvalidProofError("the consistency proof is too long")
        if node & 1 or node == last:
            first = node_hash(part, first)
            second = node_hash(part, second)
            while not node & 1 and node:
                node >>= 1
                last >>= 1
        else:
            second = node_hash(second, part)
        node >>= 1
        last >>= 1
    if last:
        raise InvalidProofError("the consistency proof is too short")
    if first != old_root:
        raise InvalidProofError("the consistency proof leads to another old root")
    if second != new_root:
        raise InvalidProofError("the consistency proof leads to another new root")


def _split(width: int) -> int:
    """Return the largest power of two below ``width``."""
    return 1 << (width - 1).bit_length() - 1


def _range_root(begin: int, end: int, subtree: Subtree) -> bytes:
    """Return the root over a part of the tree that the proofs split off: it begins at a multiple of its width."""
    root: bytes | None = None
    while begin < end:
        height = ((end - begin) & -(end - begin)).bit_length() - 1
        part = subtree(height, (end >> height) - 1)
        root = part if root is None else node_hash(part, root)
        end -= 1 << height
    if root is None:
        raise ValueError("an empty part has no root")
    return root
