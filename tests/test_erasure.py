"""The record of an erasure: one spelling, strictly read."""

from __future__ import annotations

from dataclasses import replace

import pytest

from consent.erasure import MAX_ERASED, Erasure, ErasureReason
from consent.errors import InvalidReceiptError
from consent.moments import format_moment, parse_moment
from tests.test_receipts import receipt_id

ERASURE = Erasure(
    erasure_id=receipt_id(7),
    time="2026-03-01T12:00:00.000Z",
    reason=ErasureReason.REQUEST,
    erased=[0, 3, 250],
)
BYTES = (
    b'{"erased":[0,3,250],"erasure_id":"00000007-0000-4000-8000-000000000007","reason":"request",'
    b'"schema_version":1,"time":"2026-03-01T12:00:00.000Z"}'
)


def test_an_erasure_has_one_spelling() -> None:
    """Canonical JSON, read back to the same value."""
    assert ERASURE.canonical_bytes() == BYTES
    assert Erasure.from_bytes(BYTES) == ERASURE


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"request", b"boredom"),
        (b'"request"', b"1"),
        (b"[0,3,250]", b"[0,3,3]"),
        (b"[0,3,250]", b"[3,0]"),
        (b"[0,3,250]", b"[]"),
        (b"[0,3,250]", b"[-1]"),
        (b"[0,3,250]", b"[true]"),
        (b"[0,3,250]", b'["0"]'),
        (b"[0,3,250]", b"{}"),
        (b"[0,3,250]", b"[0, 3]"),
        (b'"schema_version":1', b'"schema_version":2'),
        (b'"schema_version":1', b'"schema_version":true'),
        (b"2026-03-01T12", b"2026-03-01 12"),
        (b"2026-03-01T12", b"2026-02-30T12"),
        (b"-4000-", b"-1000-"),
        (b'"reason"', b'"season"'),
        (b"}", b"} "),
        (b"}", b',"x":1}'),
    ],
)
def test_everything_else_is_refused(old: bytes, new: bytes) -> None:
    """Unknown members and reasons, other orders, other spellings."""
    with pytest.raises(InvalidReceiptError):
        Erasure.from_bytes(BYTES.replace(old, new))


def test_an_erasure_is_bounded() -> None:
    """More records than one can name need another."""
    replace(ERASURE, erased=range(MAX_ERASED))
    with pytest.raises(InvalidReceiptError, match="an erasure names 1 to 50000 leaves, not 50001"):
        replace(ERASURE, erased=range(MAX_ERASED + 1))


def test_moments_are_read_as_they_are_written() -> None:
    """To the millisecond, before 1970, too."""
    for milliseconds in (0, 1, 999, 1_772_366_400_000, -1):
        assert parse_moment(format_moment(milliseconds)) == milliseconds
    assert format_moment(1_772_366_400_001) == "2026-03-01T12:00:00.001Z"
    with pytest.raises(InvalidReceiptError, match="is no date"):
        format_moment(10**18)
