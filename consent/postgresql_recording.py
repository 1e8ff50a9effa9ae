"""What one statement records in PostgreSQL: a batch of sealed receipts, and their commitments for the sequencer."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Collection, Mapping, Sequence
from typing import Final

import asyncpg

from consent.append_queue import Entry, missing_artefact, other_receipt
from consent.choice_kind import ChoiceKind
from consent.errors import SealBrokenError, StoreError, StoreUnavailable
from consent.postgresql_schema import month_of, new_partition
from consent.postgresql_session import BEGIN, Session, count_of
from consent.sealed_receipt import SealedReceipt
from consent.sealing import Sealer, commitment

_ATTEMPTS: Final = 5
_MAX_KNOWN_ARTEFACTS: Final = 4_096
_MAX_KNOWN_KINDS: Final = 65_536

# A receipt that is a leaf already is not recorded again, also when it was erased. What else is there under its id is
# looked at only where a row was not new.
_RECORD: Final = """
WITH arriving AS (
    SELECT * FROM unnest($1::bytea[], $2::bytea[], $3::integer[], $4::text[], $5::integer[], $6::bytea[], $7::bytea[],
        $8::text[], $9::text[], $10::bigint[], $11::bytea[], $12::text[])
        AS a (id_tag, commitment, month, day, kind, tag, wrapped_key, outcome, site, time_ms, body, vendors)
), kept AS (
    INSERT INTO consent_record (id_tag, month, tag, wrapped_key, outcome, site, time_ms, body, kind, vendors)
    SELECT id_tag, month, tag, wrapped_key, outcome, site, time_ms, body, kind, vendors::jsonb FROM arriving
    WHERE NOT EXISTS (SELECT 1 FROM consent_leaf WHERE consent_leaf.id_tag = arriving.id_tag)
    ON CONFLICT (month, id_tag) DO NOTHING
    RETURNING id_tag
)
INSERT INTO consent_inbox (id_tag, commitment, month, day, kind)
SELECT id_tag, commitment, month, day, kind FROM arriving JOIN kept USING (id_tag)
"""
KEEP_KINDS: Final = """
INSERT INTO consent_kind (key) SELECT key FROM unnest($1::text[]) AS a (key) ORDER BY key ON CONFLICT (key) DO NOTHING
"""
KINDS_OF: Final = "SELECT key, number FROM consent_kind WHERE key = ANY($1::text[])"
_KNOWN: Final = """
SELECT asked.id_tag, r.body, r.tag, r.wrapped_key, l.commitment,
    (SELECT i.commitment FROM consent_inbox i WHERE i.id_tag = asked.id_tag LIMIT 1) AS waiting
FROM unnest($1::bytea[]) AS asked (id_tag)
LEFT JOIN consent_record r ON r.id_tag = asked.id_tag
LEFT JOIN consent_leaf l ON l.id_tag = asked.id_tag
"""


class Recorder:
    """Records in one database. Used in the thread of the connections.

    Args:
        session: the connections.
        sealer: has the log's keys.
    """

    def __init__(self, session: Session, sealer: Sealer) -> None:
        self._session = session
        self._sealer = sealer
        self._known: set[str] = set()  # artefacts that are surely in the database
        self._kinds: dict[ChoiceKind, int] = {}  # the numbers of kinds that surely are
        self._lost = 0

    async def record(self, batch: Sequence[Entry]) -> Sequence[StoreError | None]:
        """Record ``batch``; return why an entry was turned down, or ``None``, for each.

        Raises:
            StoreUnavailable: the database cannot be written; nothing of the batch is acknowledged.
        """
        with self._session.explained():
            for attempt in range(1, _ATTEMPTS + 1):
                try:
                    return await self._attempt(batch)
                except asyncpg.CheckViolationError:
                    # The first receipt of a month.
                    if attempt == _ATTEMPTS:
                        raise
                    await self._make_partitions({month_of(entry.receipt.day) for entry in batch})
                except (asyncpg.SerializationError, asyncpg.DeadlockDetectedError):
                    if attempt == _ATTEMPTS:
                        raise
        raise AssertionError("unreachable")

    def _forget_other(self) -> None:
        """Forget what is known of the database, if another one may be in its place."""
        if self._lost != self._session.lost:
            self._lost = self._session.lost
            self._known.clear()
            self._kinds = {}

    def known_kinds(self, batch: Sequence[Entry]) -> Mapping[ChoiceKind, int] | None:
        """Return the numbers of kinds, if those of a batch, and all artefacts of it, are surely in the database."""
        self._forget_other()
        artefacts = {name for entry in batch for name in entry.named}
        artefacts.update([artefact.hash for entry in batch for artefact in entry.artefacts])
        known = artefacts <= self._known and {entry.receipt.kind for entry in batch} <= self._kinds.keys()
        return self._kinds if known else None

    async def _attempt(self, batch: Sequence[Entry]) -> Sequence[StoreError | None]:
        errors: list[StoreError | None] = [None] * len(batch)
        async with self._session.connection() as connection:
            self._forget_other()
            await connection.execute(BEGIN)
            there = await self._keep_artefacts(connection, batch, errors)
            fresh: dict[bytes, SealedReceipt] = {}
            for index, entry in enumerate(batch):
                if errors[index] is None:
                    receipt = entry.receipt
                    if fresh.setdefault(receipt.id_tag, receipt).record != receipt.record:
                        errors[index] = other_receipt()
            # In one order, so that no two batches wait for each other.
            receipts = [fresh[id_tag] for id_tag in sorted(fresh)]
            kinds = await keep_kinds(connection, {receipt.kind for receipt in receipts} - self._kinds.keys())
            numbers = {**self._kinds, **kinds} if kinds else self._kinds
            if receipts and await _insert(connection, receipts, numbers) != len(receipts):
                await self._compare(connection, batch, errors)
            await connection.execute("COMMIT")
        self._known |= there
        if len(self._kinds) > _MAX_KNOWN_KINDS:
            self._kinds = {}
        self._kinds.update(kinds)
        return errors

    async def _compare(
        self, connection: asyncpg.Connection, batch: Sequence[Entry], errors: list[StoreError | None]
    ) -> None:
        """Tell receipts that are there as they are, which is fine, from others under the same id."""
        tags = [entry.receipt.id_tag for index, entry in enumerate(batch) if errors[index] is None]
        known = {row["id_tag"]: row for row in await connection.fetch(_KNOWN, tags)}
        for index, entry in enumerate(batch):
            if errors[index] is not None:
                continue
            row, receipt = known[entry.receipt.id_tag], entry.receipt
            if row["body"] is None:
                # It was erased, and nobody can tell any more: it must not come back.
                if row["commitment"] is None:
                    raise StoreUnavailable("a receipt was neither recorded nor there before: append it again")
                continue
            try:
                key = self._sealer.unwrap(row["wrapped_key"], row["tag"])
                salt, _ = self._sealer.open(key, row["body"], receipt.id_tag)
            except SealBrokenError:
                errors[index] = other_receipt()
                continue
            if commitment(salt, receipt.record) != (row["commitment"] or row["waiting"]):
                errors[index] = other_receipt()

    async def _keep_artefacts(
        self, connection: asyncpg.Connection, batch: Sequence[Entry], errors: list[StoreError | None]
    ) -> set[str]:
        """Keep what comes along; return which are there once this is committed."""
        if len(self._known) > _MAX_KNOWN_ARTEFACTS:
            self._known.clear()
        there: set[str] = set()
        for index, entry in enumerate(batch):
            for artefact in entry.artefacts:
                if artefact.hash not in self._known and artefact.hash not in there:
                    await connection.execute(
                        "INSERT INTO consent_artefact VALUES ($1, $2, $3) ON CONFLICT (hash) DO NOTHING",
                        bytes.fromhex(artefact.hash),
                        artefact.media_type,
                        artefact.content,
                    )
                    there.add(artefact.hash)
            for name in entry.named:
                if name in self._known or name in there:
                    continue
                if await connection.fetch(
                    "SELECT 1 FROM consent_artefact WHERE hash = $1", bytes.fromhex(name)
                ):
                    there.add(name)
                else:
                    errors[index] = missing_artefact()
        return there

    async def _make_partitions(self, months: set[int]) -> None:
        """Make the tables of months that have none yet."""
        async with self._session.connection() as connection:
            for month in sorted(months):
                # Another process may be faster.
                with contextlib.suppress(asyncpg.DuplicateTableError, asyncpg.UniqueViolationError):
                    await connection.execute(new_partition(month))


async def keep_kinds(connection: asyncpg.Connection, kinds: Collection[ChoiceKind]) -> dict[ChoiceKind, int]:
    """Keep kinds of choices, within the transaction under way; return their numbers."""
    if not kinds:
        return {}
    keys = sorted(kind.text() for kind in kinds)  # in one order, so that no two batches wait for each other
    await connection.execute(KEEP_KINDS, keys)
    return {ChoiceKind.parse(row["key"]): row["number"] for row in await connection.fetch(KINDS_OF, keys)}


async def _insert(
    connection: asyncpg.Connection, receipts: Sequence[SealedReceipt], kinds: Mapping[ChoiceKind, int]
) -> int:
    """Insert receipts; return how many were new."""
    status = await connection.execute(
        _RECORD,
        [receipt.id_tag for receipt in receipts],
        [receipt.commitment for receipt in receipts],
        [month_of(receipt.day) for receipt in receipts],
        [receipt.day for receipt in receipts],
        [kinds[receipt.kind] for receipt in receipts],
        [receipt.tag for receipt in receipts],
        [receipt.wrapped_key for receipt in receipts],
        [receipt.outcome for receipt in receipts],
        [receipt.site for receipt in receipts],
        [receipt.time_ms for receipt in receipts],
        [receipt.sealed for receipt in receipts],
        [vendors_text(receipt) for receipt in receipts],
    )
    return count_of(status)


def vendors_text(receipt: SealedReceipt) -> str | None:
    """Return a receipt's answers for single vendors, as JSON; ``None``: there are none."""
    return json.dumps(dict(receipt.answers)) if receipt.answers else None
