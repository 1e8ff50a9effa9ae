"""A stretch of a log's leaves with the few hashes that lead from it to the root. Pure arithmetic.

What lies before the stretch, and what lies after it, is a handful of perfect subtrees; the roots of these and the
leaves in between give the root of the whole tree, whose shape its size decides (RFC 9162, section 2.1). So any number
of leaves in a row is proven with at most ``2 * log2(size)`` hashes, and in memory that does not grow with them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from consent.errors import InvalidProofError
from consent.merkle import EMPTY_ROOT, MAX_SIZE, Subtree, node_hash


def hashes_before(first: int, subtree: Subtree) -> list[bytes]:
    """Return the roots of the perfect subtrees that the leaves before ``first`` are, from left to right."""
    return [subtree(height, index) for height, index in _before(first)]


def hashes_after(end: int, size: int, subtree: Subtree) -> list[bytes]:
    """Return the same of the leaves from ``end`` on in a tree of ``size``."""
    return [subtree(height, index) for height, index in _after(end, size)]


class Span:
    """Takes leaves in, in order, after those that it is not about.

    Args:
        first: the number of the first leaf that it is about.
        before: what :func:`hashes_before` returns for it.

    Raises:
        InvalidProofError: there are not as many hashes as it takes.
    """

    def __init__(self, first: int, before: Sequence[bytes]) -> None:
        if not 0 <= first <= MAX_SIZE:
            raise InvalidProofError(f"no log has a leaf {first}")
        self.size = first
        """How many leaves there are up to here."""
        heights = [height for height, _ in _before(first)]
        if len(before) != len(heights):
            raise InvalidProofError(f"{first} leaves are {len(heights)} perfect subtrees, not {len(before)}")
        # From left to right, each perfect subtree smaller than the one before it.
        self._roots = list(zip(heights, before, strict=True))

    def add(self, leaf_hash: bytes) -> None:
        """Take in the next leaf, by its hash."""
        self._add(0, leaf_hash)

    def root(self) -> bytes:
        """Return the root of the tree of all leaves up to here."""
        if not self._roots:
            return EMPTY_ROOT
        *others, (_, root) = self._roots
        for _, left in reversed(others):
            root = node_hash(left, root)
        return root

    def close(self, after: Sequence[bytes], size: int) -> bytes:
        """Take in what comes after the leaves; return the root of the whole tree.

        Raises:
            InvalidProofError: there are not as many hashes as it takes.
        """
        heights = [height for height, _ in _after(self.size, size)]
        if self.size > size or len(after) != len(heights):
            raise InvalidProofError(
                f"from leaf {self.size} to {size} it is {len(heights)} perfect subtrees, not {len(after)}"
            )
        for height, root in zip(heights, after, strict=True):
            self._add(height, root)
        return self.root()

    def _add(self, height: int, root: bytes) -> None:
        self.size += 1 << height
        while self._roots and self._roots[-1][0] == height:
            root = node_hash(self._roots.pop()[1], root)
            height += 1
        self._roots.append((height, root))


def _before(first: int) -> Iterator[tuple[int, int]]:
    start = 0
    for height in range(first.bit_length() - 1, -1, -1):
        if first >> height & 1:
            yield height, start >> height
            start += 1 << height


def _after(end: int, size: int) -> Iterator[tuple[int, int]]:
    while end < size:
        fits = (size - end).bit_length() - 1
        height = min(fits, (end & -end).bit_length() - 1) if end else fits
        yield height, end >> height
        end += 1 << height
