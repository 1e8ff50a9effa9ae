"""How receipts are found in PostgreSQL, in a time that does not grow with the log. Functions of what reads it.

Records are in a table a month, and each month has its indexes: months are asked one after the other, the newest first,
until a page is full. See :mod:`consent.sqlite_finding`, which does the same for the rest.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from consent.receipt_search import KindQuery, Position

MERGED_KINDS: Final = 64
"""Up to so many kinds are merged at once."""
LOOKED_THROUGH: Final = 20_000
"""How many entries of the index by time are looked through for more kinds than that."""
_LATEST: Final = 2**62

Row = tuple[Position, int | None]
Fetch = Callable[..., Sequence[Any]]

_MONTHS: Final = """
WITH RECURSIVE months (day) AS (
    SELECT max(day) FROM consent_daily
    UNION ALL SELECT (SELECT max(d.day) FROM consent_daily d WHERE d.day < substr(months.day, 1, 7)) FROM months
    WHERE months.day IS NOT NULL
) SELECT substr(day, 1, 4)::integer * 100 + substr(day, 6, 2)::integer AS month FROM months WHERE day IS NOT NULL
"""
# A receipt is found once it is a leaf.
_PICKED: Final = "SELECT r.time_ms, l.number, r.id_tag, r.kind FROM"
_LEAF: Final = "JOIN consent_leaf l ON l.id_tag = r.id_tag"
_LOOKED_AT: Final = "SELECT r.time_ms, r.id_tag, r.kind FROM consent_record r WHERE"
_NEWEST: Final = "ORDER BY time_ms DESC, id_tag DESC LIMIT"
_OLDEST: Final = "ORDER BY time_ms, id_tag LIMIT"


def newest(fetch: Fetch, query: KindQuery, before: Position | None, count: int) -> Sequence[Row]:
    """Return the newest receipts before a position. See :meth:`consent.receipt_search.ReceiptFinder._newest`."""
    sought = query.sought
    since = -_LATEST if sought.since_ms is None else sought.since_ms
    until = _LATEST if sought.until_ms is None else sought.until_ms
    end: tuple[int, bytes] = (until, b"")
    if before is not None:
        end = min(end, (before.time_ms, _id_tag(fetch, before)))
    rows: list[Row] = []
    looking = query.kinds is not None and len(query.kinds) > MERGED_KINDS
    for month in _months(fetch, query, since, end[0], newest_first=True):
        wanted = count - len(rows)
        values = _Values(since, *end)
        where = f"r.time_ms >= $1 AND (r.time_ms, r.id_tag) < ($2, $3) {values.month(month)} {values.narrowed(query)}"
        if query.kinds is None or query.tag is not None or sought.vendor is not None:
            of_kinds = (
                "" if query.kinds is None else f"AND r.kind = ANY({values.add(list(query.kinds))}::integer[])"
            )
            rows += _rows(
                fetch(
                    f"{_PICKED} consent_record r {_LEAF} WHERE {where} {of_kinds} {_NEWEST} {wanted:d}",
                    *values,
                )
            )
        elif looking:
            looked = f"{_LOOKED_AT} {where} {_NEWEST} {LOOKED_THROUGH}"
            some = _rows(
                fetch(
                    f"{_PICKED} ({looked}) r {_LEAF} WHERE r.kind = ANY({values.add(list(query.kinds))}::integer[])"
                    f" {_NEWEST} {wanted:d}",
                    *values,
                )
            )
            last = fetch(
                f"{looked.replace(str(LOOKED_THROUGH), '1')} OFFSET {LOOKED_THROUGH - 1}", *values[:-1]
            )
            rows += some
            if len(some) < wanted and last:
                looking = False
                end_here = (last[0]["time_ms"], last[0]["id_tag"])
                rows += _merged(fetch, query.kinds, month, since, end_here, wanted - len(some))
        else:
            rows += _merged(fetch, query.kinds, month, since, end, wanted)
        if len(rows) >= count:
            break
    return rows


def oldest(fetch: Fetch, query: KindQuery, after: Position | None, count: int) -> Sequence[Row]:
    """Return the oldest receipts after a position. See :meth:`consent.receipt_search.ReceiptFinder._oldest`."""
    sought = query.sought
    since = -_LATEST if sought.since_ms is None else sought.since_ms
    until = _LATEST if sought.until_ms is None else sought.until_ms
    start: tuple[int, bytes] = (since - 1, b"\xff" * 17)
    if after is not None:
        start = max(start, (after.time_ms, _id_tag(fetch, after)))
    rows: list[Row] = []
    for month in _months(fetch, query, start[0], until, newest_first=False):
        values = _Values(until, *start)
        where = f"r.time_ms < $1 AND (r.time_ms, r.id_tag) > ($2, $3) {values.month(month)} {values.narrowed(query)}"
        of_kinds = (
            "" if query.kinds is None else f"AND r.kind = ANY({values.add(list(query.kinds))}::integer[])"
        )
        rows += _rows(
            fetch(
                f"{_PICKED} consent_record r {_LEAF} WHERE {where} {of_kinds} {_OLDEST} {count - len(rows):d}",
                *values,
            )
        )
        if len(rows) >= count:
            break
    return rows


def standing(fetch: Fetch, leaves: Sequence[int], until_ms: int | None) -> Collection[int]:
    """Return the leaves that still stand. See :meth:`consent.receipt_search.ReceiptFinder._standing`."""
    rows = fetch(
        "SELECT l.number FROM consent_leaf l JOIN consent_record r ON r.id_tag = l.id_tag AND r.month = l.month"
        " WHERE l.number = ANY($1::bigint[]) AND NOT EXISTS (SELECT 1 FROM consent_record later"
        " WHERE later.tag = r.tag AND later.month >= r.month"
        " AND (later.time_ms, later.id_tag) > (r.time_ms, r.id_tag) AND later.time_ms < $2)",
        list(leaves),
        _LATEST if until_ms is None else until_ms,
    )
    return {row["number"] for row in rows}


class _Values(list[Any]):
    """The values of a statement, each with its number in it."""

    def __init__(self, *values: object) -> None:
        super().__init__(values)

    def add(self, value: object) -> str:
        self.append(value)
        return f"${len(self)}"

    def month(self, month: int | None) -> str:
        return "" if month is None else f"AND r.month = {month:d}"

    def narrowed(self, query: KindQuery) -> str:
        """Return the condition for one visitor, and for an answer for one vendor."""
        terms = "" if query.tag is None else f"AND r.tag = {self.add(query.tag)}"
        vendor, said = query.sought.vendor, query.sought.said
        if vendor is not None:
            answers = (False, True) if said is None else (said,)
            texts = [self.add(json.dumps({vendor: answer})) for answer in answers]
            held = " OR ".join(f"r.vendors @> {text}::text::jsonb" for text in texts)
            terms += f" AND r.vendors IS NOT NULL AND ({held})"
        return terms


def _months(
    fetch: Fetch, query: KindQuery, since_ms: int, until_ms: int, *, newest_first: bool
) -> Iterator[int | None]:
    """Yield the months that may have something; ``None``: all of them at once."""
    if query.tag is not None:
        yield None
        return
    first, last = _month(since_ms), _month(until_ms)
    months = sorted((row["month"] for row in fetch(_MONTHS)), reverse=newest_first)
    yield from (month for month in months if first <= month <= last)


def _month(time_ms: int) -> int:
    """Return the month of a moment, as it is kept."""
    try:
        moment = datetime.fromtimestamp(time_ms / 1_000, UTC)
    except (OverflowError, ValueError, OSError):
        return 0 if time_ms < 0 else 999_999
    return moment.year * 100 + moment.month


def _merged(
    fetch: Fetch, kinds: Collection[int], month: int | None, since: int, end: tuple[int, bytes], count: int
) -> list[Row]:
    """Return the newest of some kinds in one month."""
    values = _Values(since, *end, list(kinds))
    within = f"r.time_ms >= $1 AND (r.time_ms, r.id_tag) < ($2, $3) {values.month(month)}"
    newest = f"{_LOOKED_AT} r.kind = kinds.number AND {within} {_NEWEST} {count:d}"
    return _rows(
        fetch(
            f"{_PICKED} unnest($4::integer[]) AS kinds (number) CROSS JOIN LATERAL ({newest}) r {_LEAF}"
            f" {_NEWEST} {count:d}",
            *values,
        )
    )


def _id_tag(fetch: Fetch, position: Position) -> bytes:
    rows = fetch("SELECT id_tag FROM consent_leaf WHERE number = $1", position.leaf)
    return bytes(rows[0]["id_tag"]) if rows else b""


def _rows(rows: Sequence[Any]) -> list[Row]:
    return [(Position(row["time_ms"], row["number"]), row["kind"]) for row in rows]
