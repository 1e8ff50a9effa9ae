"""What the log says about a record that was erased: that, when and why, and nothing about whom."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from itertools import count
from uuid import UUID

from consent.canonical_json import canonical_json, parse_canonical
from consent.choice import RECEIPT_ID
from consent.errors import InvalidReceiptError
from consent.merkle import MAX_SIZE
from consent.moments import parse_moment

SCHEMA_VERSION = 1
MAX_ERASED = 50_000
"""How many records one erasure can name; for more there are several."""


class ErasureReason(StrEnum):
    """Why records were erased."""

    REQUEST = "request"
    """The visitor asked for it."""
    RETENTION = "retention"
    """They were older than the site keeps them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Erasure:
    """The record of an erasure, itself a leaf of the log. Immutable; one that exists is valid.

    Raises:
        InvalidReceiptError: a field does not have the form described here.
    """

    schema_version: int = SCHEMA_VERSION
    erasure_id: str
    """UUID4 in lower case."""
    time: str
    """RFC 3339, UTC, milliseconds."""
    reason: ErasureReason
    erased: Sequence[int]
    """The leaves whose records were erased, in rising order, 0 for the first of the log."""

    def __post_init__(self) -> None:
        if type(self.schema_version) is not int or self.schema_version != SCHEMA_VERSION:
            raise InvalidReceiptError(
                f"schema_version of an erasure must be {SCHEMA_VERSION}: update asgi-consent"
            )
        if not isinstance(self.erasure_id, str) or RECEIPT_ID.fullmatch(self.erasure_id) is None:
            raise InvalidReceiptError(
                f"erasure_id must be a UUID4 in lower case, not {self.erasure_id!r:.80}"
            )
        parse_moment(self.time)
        if not isinstance(self.reason, ErasureReason):
            raise InvalidReceiptError(f"reason must be request or retention, not {self.reason!r:.80}")
        object.__setattr__(self, "erased", tuple(self.erased))
        if not 1 <= len(self.erased) <= MAX_ERASED:
            raise InvalidReceiptError(f"an erasure names 1 to {MAX_ERASED} leaves, not {len(self.erased)}")
        if not all(type(leaf) is int and 0 <= leaf <= MAX_SIZE for leaf in self.erased):
            raise InvalidReceiptError("erased must hold numbers of leaves")
        if any(first >= second for first, second in zip(self.erased, self.erased[1:], strict=False)):
            raise InvalidReceiptError("erased must be in rising order")

    def canonical_bytes(self) -> bytes:
        """Return the one spelling of this record: canonical JSON (RFC 8785)."""
        return canonical_json(self.to_json())

    def to_json(self) -> dict[str, object]:
        """Return the members as plain JSON values, freshly made."""
        return {
            "erased": list(self.erased),
            "erasure_id": self.erasure_id,
            "reason": str(self.reason),
            "schema_version": self.schema_version,
            "time": self.time,
        }

    @classmethod
    def from_bytes(cls, data: bytes) -> Erasure:
        """Read what :meth:`canonical_bytes` writes, and nothing else.

        Raises:
            InvalidReceiptError: the bytes are not those of an erasure.
        """
        content = parse_canonical(data, max_bytes=1024 * 1024)
        if not isinstance(content, dict) or content.keys() != set(cls.__dataclass_fields__):
            raise InvalidReceiptError("an erasure has unknown or missing members")
        if not isinstance(content["erased"], list) or content["reason"] not in tuple(ErasureReason):
            raise InvalidReceiptError("erased must be a list, and reason one of those known")
        return cls(**{**content, "reason": ErasureReason(content["reason"])})


def erasure_ids(series: str) -> Iterator[str]:
    """Return the ids of all erasures of one series, without an end: the series' own id, and what follows from it.

    Args:
        series: UUID4 in lower case, made at random by whoever wants to find the erasures again.
    """
    first = UUID(series).bytes
    yield series
    for number in count(1):
        yield str(UUID(bytes=sha256(first + b"%d" % number).digest()[:16], version=4))


def erasures_of(
    leaves: Sequence[int], reason: ErasureReason, *, time: str, ids: Iterator[str]
) -> Sequence[Erasure]:
    """Return what says that the records of ``leaves`` were erased: one erasure for as many as it can name."""
    return [
        Erasure(erasure_id=next(ids), time=time, reason=reason, erased=leaves[start : start + MAX_ERASED])
        for start in range(0, len(leaves), MAX_ERASED)
    ]
