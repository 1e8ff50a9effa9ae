"""A receipt made ready for a store: what its row holds, and what it adds to the day's counts."""

from __future__ import annotations

from hashlib import sha256
from typing import NamedTuple

from consent.categories import Category
from consent.merkle import leaf_hash
from consent.moments import parse_moment
from consent.receipts import Receipt
from consent.sealing import SALT_BYTES, Sealer

_PERFORMANCE, _FUNCTIONAL, _TARGETING = Category.PERFORMANCE, Category.FUNCTIONAL, Category.TARGETING


class DailyKey(NamedTuple):
    """What choices are counted by: no person is told by it."""

    day: str
    """UTC, ``2026-03-01``."""
    site: str
    jurisdiction: str
    policy_version: str
    outcome: str
    performance: bool
    functional: bool
    targeting: bool
    gpc: bool
    collection_method: str


class DailyCount(NamedTuple):
    """How many choices there were of one kind on one day. Erasing a visitor does not change it."""

    kind: DailyKey
    choices: int


class SealedReceipt:
    """A receipt sealed under a key made for its visitor, until the store finds that he has one already."""

    __slots__ = (
        "_plain", "commitment", "daily", "id_tag", "leaf_hash", "outcome", "previous", "record", "sealed", "site",
        "tag", "time_ms", "wrapped_key",
    )  # fmt: skip

    def __init__(self, receipt: Receipt, sealer: Sealer) -> None:
        # Every choice waits for this. What is looked up once here is not looked up again.
        self.record = record = receipt.canonical_bytes()
        self.id_tag = id_tag = sealer.id_tag(bytes.fromhex(receipt.receipt_id.replace("-", "")))
        self.tag = tag = sealer.tag(bytes.fromhex(receipt.subject))
        self.outcome = outcome = str(receipt.outcome)
        self.site = site = receipt.site
        time = receipt.time
        self.time_ms = parse_moment(time)
        self.previous = receipt.previous is not None
        self._plain, self.wrapped_key, self.sealed = sealer.seal_new(record, tag, id_tag)
        self.commitment = digest = sha256(self._plain).digest()  # commitment(salt, record)
        self.leaf_hash = leaf_hash(digest)
        answers = receipt.categories
        self.daily = DailyKey(
            time[:10],
            site,
            receipt.jurisdiction,
            receipt.policy_version,
            outcome,
            answers[_PERFORMANCE],
            answers[_FUNCTIONAL],
            answers[_TARGETING],
            receipt.signals.gpc,
            str(receipt.collection_method),
        )

    def seal_under(self, sealer: Sealer, wrapped_key: bytes) -> None:
        """Seal it under the key that the visitor has.

        Raises:
            SealBrokenError: that key does not open.
        """
        if wrapped_key != self.wrapped_key:
            key = sealer.unwrap(wrapped_key, self.tag)
            self.wrapped_key = wrapped_key
            self.sealed = sealer.seal(key, self._plain[:SALT_BYTES], self.record, self.id_tag)
