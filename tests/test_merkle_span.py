"""A stretch of leaves leads to the root of the whole, wherever it lies, and nothing else does."""

from __future__ import annotations

import pytest

from consent.errors import InvalidProofError
from consent.merkle import EMPTY_ROOT, leaf_hash, perfect_root, tree_root
from consent.merkle_span import Span, hashes_after, hashes_before

LEAVES = [leaf_hash(bytes([number])) for number in range(40)]


def subtree(height: int, index: int) -> bytes:
    """Return what a log's tiles would say."""
    width = 1 << height
    part = LEAVES[index * width : (index + 1) * width]
    assert len(part) == width
    return perfect_root(part)


def test_every_stretch_of_every_small_tree_leads_to_its_root() -> None:
    """Empty ones too; on the way, the root of as many leaves as there were is known."""
    for size in range(len(LEAVES) + 1):
        root = tree_root(LEAVES[:size])
        for first in range(size + 1):
            for end in range(first, size + 1):
                span = Span(first, hashes_before(first, subtree))
                for number in range(first, end):
                    assert span.root() == tree_root(LEAVES[:number])
                    span.add(LEAVES[number])
                assert span.close(hashes_after(end, size, subtree), size) == root
    assert Span(0, ()).root() == EMPTY_ROOT


def test_it_takes_no_other_hashes() -> None:
    """A leaf, or a hash beside it, that is another leads to another root; one too few or too many is refused."""
    first, end, size = 5, 21, 37
    before, after = hashes_before(first, subtree), hashes_after(end, size, subtree)
    root = tree_root(LEAVES[:size])
    for place in range(len(before) + end - first + len(after)):
        hashes = [*before, *LEAVES[first:end], *after]
        hashes[place] = bytes([hashes[place][0] ^ 1]) + hashes[place][1:]
        span = Span(first, hashes[: len(before)])
        for each in hashes[len(before) : len(before) + end - first]:
            span.add(each)
        assert span.close(hashes[len(before) + end - first :], size) != root, place
    with pytest.raises(InvalidProofError, match="5 leaves are 2 perfect subtrees, not 1"):
        Span(first, before[:1])
    with pytest.raises(InvalidProofError, match="no log has a leaf -1"):
        Span(-1, ())
    span = Span(first, before)
    with pytest.raises(InvalidProofError, match="from leaf 5 to 37 it is"):
        span.close(after[1:], size)
    with pytest.raises(InvalidProofError, match="from leaf 5 to 4 it is 0"):
        span.close((), 4)
