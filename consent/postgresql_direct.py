"""Recording in PostgreSQL and putting in order at once, by a process that finds nobody else at it.

Receipts go through the inbox where several processes record. One that has the turn need not put them there and take
them out again, which costs the server as much as the rest: it makes leaves of them in the transaction that records
them, after what it finds in the inbox. Rows are copied (``COPY``) instead of inserted, since there is nothing to be
prepared, and a pooler would lose it.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from functools import lru_cache
from operator import attrgetter, itemgetter
from struct import Struct
from typing import Final, NamedTuple

import asyncpg

from consent.append_queue import Entry
from consent.choice_kind import ChoiceKind
from consent.merkle import Tile, leaf_hash
from consent.postgresql_recording import Recorder, vendors_text
from consent.postgresql_schema import month_of
from consent.postgresql_sequencer import ADD_CHOICES, REPLACE_TILE, STEP_LEAVES, TAKE, Sequencer
from consent.postgresql_session import BEGIN, Session, count_of
from consent.sealed_receipt import SealedReceipt

TURN_SECONDS: Final = 0.5
"""How long to wait for the turn while another thread of this process has it."""
_PAUSE_SECONDS: Final = 0.002

# What PostgreSQL's COPY takes: after a heading, the number of columns of each row, and of each value its length.
_HEADING: Final = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
_END: Final = b"\xff\xff"
_RECORD: Final = Struct(">hiii16si16si64si")
_RECORD_SITE: Final = Struct(">i")
_RECORD_TIME: Final = Struct(">iqi")
_RECORD_KIND: Final = Struct(">ii")
_NO_VALUE: Final = (-1).to_bytes(4, signed=True)
_RECORD_COLUMNS: Final = (
    "month", "id_tag", "tag", "wrapped_key", "outcome", "site", "time_ms", "body", "kind", "vendors"
)  # fmt: skip
_PLACE: Final = """
INSERT INTO consent_leaf (number, id_tag, commitment, month)
SELECT {first:d}::bigint + place, substring(packed FROM 48 * place + 1 FOR 16),
    substring(packed FROM 48 * place + 17 FOR 32), months[place + 1]
FROM (SELECT {packed} AS packed, '{{{months}}}'::integer[] AS months) AS arrived, generate_series(0, {last:d}) AS place
"""


class DirectRecorder:
    """Records in one database, if this process has the turn. Used in the thread of the connections.

    Args:
        session: the connections.
        sequencer: that of this process.
        recorder: knows which artefacts and kinds of choices are in the database.
    """

    def __init__(self, session: Session, sequencer: Sequencer, recorder: Recorder) -> None:
        self._session = session
        self._sequencer = sequencer
        self._recorder = recorder
        self._order = asyncio.Lock()
        self._possible = True

    async def record(self, batch: Sequence[Entry]) -> bool:
        """Record ``batch``, if all of it is new and nobody else is at it; tell whether it was recorded.

        If not, nothing was changed, and it is for the inbox.

        Raises:
            StoreUnavailable: the database cannot be written; nothing of the batch is acknowledged.
        """
        if not (self._possible and self._sequencer.will_be_free()):
            return False
        kinds = self._recorder.known_kinds(batch)
        if kinds is None:
            return False
        # In one order, so that no two batches wait for each other.
        receipts = sorted([entry.receipt for entry in batch], key=attrgetter("id_tag"))
        with self._session.explained():
            async with self._session.connection() as connection:
                try:
                    await connection.execute(BEGIN)
                    await _copy(connection, "consent_record", _RECORD_COLUMNS, _records(receipts, kinds))
                    # The next batch is copied while this one is committed.
                    async with self._order:
                        if await self._place(connection, receipts, kinds):
                            return True
                except (asyncpg.UniqueViolationError, asyncpg.CheckViolationError):
                    pass  # something is there already, or it is the first receipt of a month
                except (asyncpg.SerializationError, asyncpg.DeadlockDetectedError):
                    pass
                except (asyncpg.FeatureNotSupportedError, asyncpg.PostgresSyntaxError):
                    self._possible = False  # an engine that speaks PostgreSQL's language, but not all of it
                await connection.execute("ROLLBACK")
        return False

    async def _place(
        self,
        connection: asyncpg.Connection,
        receipts: Sequence[SealedReceipt],
        kinds: Mapping[ChoiceKind, int],
    ) -> bool:
        """Make leaves of what was copied, and commit; tell whether it was this process's turn."""
        deadline = time.monotonic() + TURN_SECONDS
        while (edge := self._sequencer.take_edge()) is None:
            # A checkpoint is signed, or the inbox emptied. Through the inbox, that would have to be done once more.
            if not self._sequencer.will_be_free() or time.monotonic() > deadline:
                return False
            await asyncio.sleep(_PAUSE_SECONDS)
        first, grown = edge.size, None
        try:
            before = await _take_before(connection, first)
            if before is None:
                return False
            leaves = [
                *before,
                *[
                    _Leaf(receipt.id_tag, receipt.commitment, receipt.day, kinds[receipt.kind])
                    for receipt in receipts
                ],
            ]
            tiles = edge.extend(
                [
                    *[leaf_hash(leaf.commitment) for leaf in before],
                    *[receipt.leaf_hash for receipt in receipts],
                ]
            )
            await connection.execute(_ending(first, leaves, tiles))
            grown = edge
            return True
        finally:
            self._sequencer.give_back(grown)


class _Leaf(NamedTuple):
    id_tag: bytes
    commitment: bytes
    day: str
    kind: int


async def _take_before(connection: asyncpg.Connection, size: int) -> Sequence[_Leaf] | None:
    """Lock a log of this size, and take what waits in the inbox: it was recorded before, so its leaves come before.

    ``None``: somebody else has the lock, the log has grown, or there is too much in the inbox.
    """
    log = f"SELECT 1 FROM consent_log WHERE id = 1 AND size = {size:d}"  # noqa: S608 - a number
    nothing_waits = "NOT EXISTS (SELECT 1 FROM consent_inbox)"
    if count_of(await connection.execute(f"{log} AND {nothing_waits} FOR UPDATE SKIP LOCKED")) == 1:
        return ()
    if count_of(await connection.execute(f"{log} FOR UPDATE SKIP LOCKED")) != 1:
        return None
    rows = await connection.fetch(TAKE, STEP_LEAVES)
    if len(rows) == STEP_LEAVES:
        return None
    rows.sort(key=itemgetter("arrived"))
    return [_Leaf(row["id_tag"], row["commitment"], row["day"], row["kind"]) for row in rows]


async def _copy(connection: asyncpg.Connection, table: str, columns: Sequence[str], rows: bytes) -> None:
    async def source() -> AsyncIterator[bytes]:
        yield rows

    await connection.copy_to_table(table, source=source(), columns=columns, format="binary")


def _records(receipts: Sequence[SealedReceipt], kinds: Mapping[ChoiceKind, int]) -> bytes:
    """Return rows of ``consent_record`` in PostgreSQL's binary form."""
    parts = [_HEADING]
    for receipt in receipts:
        outcome, site, vendors = receipt.outcome.encode(), receipt.site.encode(), vendors_text(receipt)
        parts += (
            _RECORD.pack(
                10, 4, month_of(receipt.day), 16, receipt.id_tag, 16, receipt.tag, 64, receipt.wrapped_key,
                len(outcome),
            ),
            outcome,
            _RECORD_SITE.pack(len(site)),
            site,
            _RECORD_TIME.pack(8, receipt.time_ms, len(receipt.sealed)),
            receipt.sealed,
            _RECORD_KIND.pack(4, kinds[receipt.kind]),
            _NO_VALUE if vendors is None else _jsonb(vendors),
        )  # fmt: skip
    parts.append(_END)
    return b"".join(parts)


def _jsonb(text: str) -> bytes:
    value = b"\x01" + text.encode()  # the version of that form
    return len(value).to_bytes(4) + value


def _ending(first: int, leaves: Sequence[_Leaf], tiles: Sequence[Tile]) -> str:
    """Return the statements that keep leaves, size, counts and tiles, and commit: one message, without values beside
    it, since each further one waits for the server, and then for the interpreter's lock."""
    packed = _bytes(b"".join([part for leaf in leaves for part in (leaf.id_tag, leaf.commitment)]))
    months = ",".join([str(month_of(leaf.day)) for leaf in leaves])
    counts = Counter([(leaf.day, leaf.kind) for leaf in leaves])
    choices = ", ".join(
        [f"({_text(day)}, {kind:d}, {times:d})" for (day, kind), times in sorted(counts.items())]
    )
    statements = [
        _PLACE.format(first=first, last=len(leaves) - 1, packed=packed, months=months),
        f"UPDATE consent_log SET size = {first + len(leaves):d} WHERE id = 1",  # noqa: S608 - numbers
        f"INSERT INTO consent_daily VALUES {choices} {ADD_CHOICES}",  # noqa: S608 - see _text
    ]
    if tiles:
        values = ", ".join([f"({tile.level:d}, {tile.index:d}, {_bytes(tile.hashes)})" for tile in tiles])
        statements.append(f"INSERT INTO consent_tile VALUES {values} {REPLACE_TILE}")  # noqa: S608 - numbers
    return "; ".join((*statements, "COMMIT"))


@lru_cache(maxsize=64)
def _text(value: str) -> str:
    # In hexadecimal digits, so that no text needs quoting, whatever the server takes for an escape.
    return f"convert_from({_bytes(value.encode())}, 'UTF8')"


def _bytes(value: bytes) -> str:
    return f"decode('{value.hex()}', 'hex')"
