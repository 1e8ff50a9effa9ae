"""A receipt made ready for a store: what its row holds, and what it is counted and found by."""

from __future__ import annotations

from hashlib import sha256

from consent.choice_kind import kind_of
from consent.merkle import leaf_hash
from consent.moments import parse_moment
from consent.receipts import Receipt
from consent.sealing import SALT_BYTES, Sealer


class SealedReceipt:
    """A receipt sealed under a key made for its visitor, until the store finds that he has one already."""

    __slots__ = (
        "_plain", "answers", "commitment", "day", "id_tag", "kind", "leaf_hash", "outcome", "previous", "record",
        "sealed", "site", "tag", "time_ms", "wrapped_key",
    )  # fmt: skip

    def __init__(self, receipt: Receipt, sealer: Sealer) -> None:
        # Every choice waits for this. What is looked up once here is not looked up again.
        self.record = record = receipt.canonical_bytes()
        self.id_tag = id_tag = sealer.id_tag(bytes.fromhex(receipt.receipt_id.replace("-", "")))
        self.tag = tag = sealer.tag(bytes.fromhex(receipt.subject))
        self.kind = kind = kind_of(receipt)
        self.outcome = kind.outcome
        self.site = kind.site
        self.answers = receipt.marks
        time = receipt.time
        self.day = time[:10]
        self.time_ms = parse_moment(time)
        self.previous = receipt.previous is not None
        self._plain, self.wrapped_key, self.sealed = sealer.seal_new(record, tag, id_tag)
        self.commitment = digest = sha256(self._plain).digest()  # commitment(salt, record)
        self.leaf_hash = leaf_hash(digest)

    def seal_under(self, sealer: Sealer, wrapped_key: bytes) -> None:
        """Seal it under the key that the visitor has.

        Raises:
            SealBrokenError: that key does not open.
        """
        if wrapped_key != self.wrapped_key:
            key = sealer.unwrap(wrapped_key, self.tag)
            self.wrapped_key = wrapped_key
            self.sealed = sealer.seal(key, self._plain[:SALT_BYTES], self.record, self.id_tag)
