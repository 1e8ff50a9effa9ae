"""Rows of a log as every store keeps them, opened: what is kept of a leaf, its receipt, and its proof."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from consent.checkpoint import InclusionProof
from consent.errors import InvalidReceiptError, SealBrokenError
from consent.evidence import Evidence
from consent.merkle import Tiles, inclusion_proof
from consent.receipts import Receipt
from consent.sealing import SALT_BYTES, Sealer
from consent.store import Leaf, LoggedReceipt


def open_row(
    sealer: Sealer,
    number: int,
    id_tag: bytes,
    committed: bytes,
    body: bytes | None,
    outcome: str | None,
    tag: bytes | None,
    wrapped_key: bytes | None,
) -> Leaf:
    """Return the leaf of a row; one that does not open says so.

    Args:
        sealer: has the log's keys.
        number: the leaf's.
        id_tag: what the record is found by.
        committed: the leaf's data.
        body: the sealed record; without an outcome, salt and record as they are; ``None``: erased.
        outcome: the receipt's; ``None``: the record is nobody's.
        tag: what the visitor is found by.
        wrapped_key: the key that the record is sealed under.
    """
    if body is None:
        return Leaf(number, committed, None, None)
    if outcome is None:
        return Leaf(number, committed, body[:SALT_BYTES], body[SALT_BYTES:])
    try:
        if tag is None or wrapped_key is None:
            raise SealBrokenError("its visitor's key is missing")
        salt, record = sealer.open(sealer.unwrap(wrapped_key, tag), body, id_tag)
    except SealBrokenError as error:
        return Leaf(number, committed, None, None, str(error))
    return Leaf(number, committed, salt, record)


def logged_receipt(sealer: Sealer, leaf: Leaf, id_tag: bytes) -> LoggedReceipt:
    """Return the receipt of a leaf.

    Raises:
        SealBrokenError: it does not open.
        InvalidReceiptError: it is not the one that was recorded here.
    """
    _require_open(leaf)
    try:
        if leaf.record is None or not leaf.proves_record:
            raise InvalidReceiptError("it is not the one that the log commits to")
        receipt = Receipt.from_bytes(leaf.record)
        if sealer.id_tag(uuid_bytes(receipt.receipt_id)) != id_tag:
            raise InvalidReceiptError(f"it is recorded under another id than its own, {receipt.receipt_id}")
    except InvalidReceiptError as error:
        raise InvalidReceiptError(f"the receipt at leaf {leaf.number} was altered: {error}") from None
    return LoggedReceipt(leaf.number, receipt)


def proven_rows(sealer: Sealer, rows: Iterable[tuple[Any, ...]]) -> list[bytes]:
    """Return the records of receipts.

    Args:
        sealer: has the log's keys.
        rows: each as in :func:`open_row`, then its kind, and its moment; one without a kind is left out: an upgrade
            could not open it.

    Raises:
        SealBrokenError: one does not open.
        InvalidReceiptError: one is not the one that the log commits to.
    """
    proven, records = sealer.proven, []
    for row in rows:
        _, id_tag, committed, body, _, tag, wrapped_key, kind, _ = row
        if kind is None:
            continue
        record = proven(id_tag, committed, body, tag, wrapped_key)
        if record is None:
            # Whoever looks closer says what is wrong.
            record = proven_record(open_row(sealer, *row[:7]))
        if record is not None:
            records.append(record)
    return records


def proven_record(leaf: Leaf) -> bytes | None:
    """Return a leaf's record as it is; ``None``: it was erased.

    Raises:
        SealBrokenError: it does not open.
        InvalidReceiptError: it is not the one that the log commits to.
    """
    _require_open(leaf)
    if not leaf.proves_record:
        raise InvalidReceiptError(
            f"the receipt at leaf {leaf.number} was altered: it is not the one that was recorded"
        )
    return leaf.record


def evidence_of(leaf: Leaf, note: str, tiles: Tiles) -> Evidence | None:
    """Return what proves a leaf's record; ``None``: it was erased, or the checkpoint does not cover it.

    Args:
        leaf: the leaf.
        note: the checkpoint.
        tiles: the tree that it was signed of.

    Raises:
        SealBrokenError: the record does not open.
    """
    _require_open(leaf)
    if leaf.record is None or leaf.salt is None or leaf.number >= tiles.size:
        return None
    hashes = inclusion_proof(leaf.number, tiles.size, tiles.subtree)
    return Evidence(leaf.record, leaf.salt, InclusionProof(leaf.number, tuple(hashes), note))


def _require_open(leaf: Leaf) -> None:
    if leaf.broken is not None:
        raise SealBrokenError(f"the receipt at leaf {leaf.number} does not open: {leaf.broken}")


def uuid_bytes(text: str) -> bytes:
    """Return the 16 bytes of an id.

    Raises:
        ValueError: it is no UUID.
    """
    key = bytes.fromhex(text.replace("-", ""))
    if len(key) != 16:
        raise ValueError("a UUID has 32 hexadecimal digits")
    return key
