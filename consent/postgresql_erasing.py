"""Forgetting in PostgreSQL: a visitor, what is past its time, and old wrapping keys. Blocks.

All of it happens in the turn of the one who may change the log, after what was recorded before became leaves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import chain
from typing import Final
from uuid import UUID

from consent.choice_kind import ChoiceKind
from consent.erasure import Erasure, ErasureReason, erasure_ids, erasures_of
from consent.errors import ErasureHeldError
from consent.moments import format_moment
from consent.postgresql_schema import IS_PARTITIONED, partition_of
from consent.postgresql_sequencer import Sequencer, Turn
from consent.retention import Past
from consent.sealing import SALT_BYTES, Sealer, commitment

STEP_RECORDS: Final = 5_000
"""How many records one transaction of :meth:`Eraser.expire` erases, unless it drops a whole month."""
STEP_KEYS: Final = 1_000
"""How many keys one transaction of :meth:`Eraser.rewrap` wraps anew."""

_EXPIRED: Final = """FROM consent_record r WHERE r.site = $1 AND r.time_ms < $2
    AND (CASE WHEN $3 THEN r.kind = ANY($4::integer[]) ELSE r.kind IS NULL OR r.kind <> ALL($4::integer[]) END)
    AND NOT EXISTS (SELECT 1 FROM consent_hold h WHERE h.tag = r.tag)"""

_ERASE_EXPIRED: Final = f"""
WITH past AS (
    SELECT r.month, r.id_tag, l.number
    FROM (SELECT r.month, r.id_tag, r.time_ms {_EXPIRED}) r JOIN consent_leaf l ON l.id_tag = r.id_tag
    ORDER BY r.time_ms LIMIT $5
), gone AS (
    DELETE FROM consent_record r USING past WHERE r.month = past.month AND r.id_tag = past.id_tag
    RETURNING past.number
)
SELECT number FROM gone ORDER BY number
"""  # noqa: S608 - ours


class Eraser:
    """Erases in one log. See :class:`consent.store.Erasing`.

    Args:
        sequencer: makes leaves.
        sealer: has the log's keys.
        clock: returns seconds since 1970-01-01T00:00:00Z.
    """

    def __init__(self, sequencer: Sequencer, sealer: Sealer, clock: Callable[[], float]) -> None:
        self._sequencer = sequencer
        self._sealer = sealer
        self._clock = clock

    def erase(self, subject: str, series: str | None = None) -> Sequence[Erasure]:
        """Erase a visitor. See :meth:`consent.store.Erasing.erase`."""
        tag = self._sealer.tag(bytes.fromhex(subject))
        ids = erasure_ids(series or self._random_id())
        self._sequencer.catch_up()
        with self._sequencer.turn() as turn:
            known, ids = self._known(turn, ids) if series else ((), ids)
            held = turn.transaction.fetch("SELECT reason FROM consent_hold WHERE tag = $1", tag)
            if held:
                raise ErasureHeldError(
                    f"nothing was erased: this visitor's records are held ({held[0]['reason']})"
                )
            rows = turn.transaction.fetch(
                "WITH gone AS (DELETE FROM consent_record r USING consent_leaf l"
                " WHERE r.tag = $1 AND l.id_tag = r.id_tag RETURNING l.number) SELECT number FROM gone ORDER BY number",
                tag,
            )
            erasures = self._append(turn, [row["number"] for row in rows], ErasureReason.REQUEST, ids)
        return [*known, *erasures]

    def count_expired(self, past: Past) -> int:
        """Return how many records :meth:`expire` would erase."""
        values = (past.site, past.before_ms, *self._kinds(past))
        ((count,),) = self._sequencer.session.fetch(f"SELECT count(*) {_EXPIRED}", *values)
        return int(count)

    def expire(self, past: Past) -> int:
        """Erase what is past its time. See :meth:`consent.store.Erasing.expire`."""
        self._sequencer.catch_up()
        count = 0
        for month in self._whole_months(past.before_ms):
            count += self._drop(month, past)
        while erased := self._expire_some(past):
            count += erased
        return count

    def _kinds(self, past: Past) -> tuple[bool, list[int]]:
        rows = self._sequencer.session.fetch("SELECT number, key FROM consent_kind")
        return past.kinds({row["number"]: ChoiceKind.parse(row["key"]) for row in rows})

    def _whole_months(self, before_ms: int) -> list[int]:
        """Return the months that have a table of their own, and ended before that moment."""
        ((partitioned,),) = self._sequencer.session.fetch(IS_PARTITIONED)
        if not partitioned:
            return []
        limit = datetime.fromtimestamp(before_ms / 1_000, UTC)
        rows = self._sequencer.session.fetch(
            "SELECT DISTINCT month FROM consent_record WHERE month < $1 ORDER BY month",
            limit.year * 100 + limit.month,
        )
        return [row["month"] for row in rows]

    def _drop(self, month: int, past: Past) -> int:
        """Drop a month's table, if all of it is to be erased; return how many records that were."""
        kinds = self._kinds(past)
        with self._sequencer.turn() as turn:
            table = partition_of(month)
            turn.transaction.run(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
            ((kept,),) = turn.transaction.fetch(
                f"SELECT EXISTS (SELECT 1 FROM {table} r WHERE r.site <> $1"  # noqa: S608 - ours
                " OR (CASE WHEN $2 THEN r.kind IS NULL OR r.kind <> ALL($3::integer[])"
                " ELSE r.kind = ANY($3::integer[]) END)"
                " OR EXISTS (SELECT 1 FROM consent_hold h WHERE h.tag = r.tag)"
                " OR NOT EXISTS (SELECT 1 FROM consent_leaf l WHERE l.id_tag = r.id_tag))",
                past.site,
                *kinds,
            )
            if kept:
                return 0
            rows = turn.transaction.fetch(
                f"SELECT l.number FROM {table} r JOIN consent_leaf l ON l.id_tag = r.id_tag"  # noqa: S608 - ours
                " ORDER BY l.number"
            )
            turn.transaction.run(f"DROP TABLE {table}")
            self._append(turn, [row["number"] for row in rows], ErasureReason.RETENTION)
        return len(rows)

    def _expire_some(self, past: Past) -> int:
        kinds = self._kinds(past)
        with self._sequencer.turn() as turn:
            rows = turn.transaction.fetch(_ERASE_EXPIRED, past.site, past.before_ms, *kinds, STEP_RECORDS)
            self._append(turn, [row["number"] for row in rows], ErasureReason.RETENTION)
        return len(rows)

    def hold(self, subject: str, reason: str | None) -> bool:
        """Hold a visitor's records, or let them go. See :meth:`consent.store.Erasing.hold`."""
        tag = self._sealer.tag(bytes.fromhex(subject))
        with self._sequencer.turn() as turn:
            ((known,),) = turn.transaction.fetch(
                "SELECT EXISTS (SELECT 1 FROM consent_record WHERE tag = $1)", tag
            )
            if reason is None:
                turn.transaction.execute("DELETE FROM consent_hold WHERE tag = $1", tag)
            elif known:
                turn.transaction.execute(
                    "INSERT INTO consent_hold VALUES ($1, $2) ON CONFLICT (tag) DO UPDATE SET reason = excluded.reason",
                    tag,
                    reason,
                )
        return bool(known)

    def rewrap(self) -> int:
        """Wrap all keys under the wrapping key in use; return how many were under another.

        Raises:
            SealBrokenError: a key is wrapped under one that is not in the key file.
        """
        count, month, after = 0, 0, b""
        while True:
            with self._sequencer.turn() as turn:
                rows = turn.transaction.fetch(
                    "SELECT month, id_tag, tag, wrapped_key FROM consent_record WHERE (month, id_tag) > ($1, $2)"
                    " ORDER BY month, id_tag LIMIT $3",
                    month,
                    after,
                    STEP_KEYS,
                )
                if not rows:
                    return count
                old = [row for row in rows if not self._sealer.is_current(row["wrapped_key"])]
                keys = [
                    self._sealer.wrap(self._sealer.unwrap(row["wrapped_key"], row["tag"]), row["tag"])
                    for row in old
                ]
                turn.transaction.execute(
                    "UPDATE consent_record r SET wrapped_key = a.wrapped_key"
                    " FROM unnest($1::integer[], $2::bytea[], $3::bytea[]) AS a (month, id_tag, wrapped_key)"
                    " WHERE r.month = a.month AND r.id_tag = a.id_tag",
                    [row["month"] for row in old],
                    [row["id_tag"] for row in old],
                    keys,
                )
            count += len(old)
            month, after = rows[-1]["month"], rows[-1]["id_tag"]

    def _known(self, turn: Turn, ids: Iterator[str]) -> tuple[Sequence[Erasure], Iterator[str]]:
        """Return the erasures of a series that are in the log, and the ids that are left."""
        known: list[Erasure] = []
        for erasure_id in ids:
            id_tag = self._sealer.id_tag(UUID(erasure_id).bytes)
            rows = turn.transaction.fetch("SELECT body FROM consent_leaf WHERE id_tag = $1", id_tag)
            if not rows:
                return known, chain([erasure_id], ids)
            known.append(Erasure.from_bytes(bytes(rows[0]["body"])[SALT_BYTES:]))
        return known, ids

    def _random_id(self) -> str:
        return str(UUID(bytes=self._sealer.random_bytes(16), version=4))

    def _append(
        self, turn: Turn, leaves: Sequence[int], reason: ErasureReason, ids: Iterator[str] | None = None
    ) -> Sequence[Erasure]:
        """Append what says that the records of ``leaves`` were erased."""
        time = format_moment(int(self._clock() * 1_000))
        erasures = erasures_of(leaves, reason, time=time, ids=ids or erasure_ids(self._random_id()))
        if erasures:
            rows = []
            for erasure in erasures:
                salt, record = self._sealer.salt(), erasure.canonical_bytes()
                id_tag = self._sealer.id_tag(UUID(erasure.erasure_id).bytes)
                rows.append((id_tag, commitment(salt, record), None, salt + record))
            turn.append(rows)
        return erasures
