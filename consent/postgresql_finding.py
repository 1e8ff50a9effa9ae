"""How receipts are found in PostgreSQL, in a time that does not grow with the log. Functions of what reads it.

Records are in a table a month, and each month has its indexes: months are asked one after the other, the newest first,
until a page is full; of months without any receipt of the kinds asked for, nothing is read. See
:mod:`consent.sqlite_finding`, which does the same for the rest.
"""

from __future__ import annotations

import json
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from consent.receipt_search import KindQuery, Position

MERGED_KINDS: Final = 64
"""Up to so many kinds are merged at once."""
LOOKED_THROUGH: Final = 10_000
"""How many entries of the index by time are looked through for more kinds than that."""
ANSWERS_LOOKED_THROUGH: Final = 3_000
"""How many of the newest receipts are looked through for an answer: the index by vendors has no order of time."""
MERGED_ROWS: Final = 500
"""How many receipts are merged at once."""
_LATEST: Final = 2**62
# Of a list whose length it does not know the planner expects ten: each is looked up, and no whole table is joined.
EACH_LEAF: Final = "ARRAY(SELECT unnest($1::bigint[]))"
"""The first value of a statement, leaves, so that each of them is looked up."""

Row = tuple[Position, int | None]
Fetch = Callable[..., Sequence[Any]]

_MONTHS: Final = """
WITH RECURSIVE months (day) AS (
    SELECT max(day) FROM consent_daily
    UNION ALL SELECT (SELECT max(d.day) FROM consent_daily d WHERE d.day < substr(months.day, 1, 7)) FROM months
    WHERE months.day IS NOT NULL
) SELECT substr(day, 1, 4)::integer * 100 + substr(day, 6, 2)::integer AS month FROM months WHERE day IS NOT NULL
"""
# Numbers of kinds are given in the order of time: months apart have others.
_SPANS: Final = """
SELECT month, lowest, highest FROM unnest($1::integer[]) AS months (month) CROSS JOIN LATERAL (
    SELECT r.kind AS lowest FROM consent_record r WHERE r.month = months.month AND r.kind IS NOT NULL
    ORDER BY r.kind, r.time_ms, r.id_tag LIMIT 1) a CROSS JOIN LATERAL (
    SELECT r.kind AS highest FROM consent_record r WHERE r.month = months.month AND r.kind IS NOT NULL
    ORDER BY r.kind DESC, r.time_ms DESC, r.id_tag DESC LIMIT 1) b
"""
# A receipt is found once it is a leaf.
_PICKED: Final = "SELECT r.time_ms, l.number, r.id_tag, r.kind FROM"
_LEAF: Final = "JOIN consent_leaf l ON l.id_tag = r.id_tag"
_LOOKED_AT: Final = "SELECT r.time_ms, r.id_tag, r.kind FROM consent_record r WHERE"
_WITHIN: Final = "r.time_ms >= $1 AND (r.time_ms, r.id_tag) < ($2, $3)"
_NEWEST: Final = "ORDER BY time_ms DESC, id_tag DESC LIMIT"


def newest(fetch: Fetch, query: KindQuery, before: Position | None, count: int) -> Sequence[Row]:
    """Return the newest receipts before a position. See :meth:`consent.receipt_search.ReceiptFinder._newest`."""
    sought = query.sought
    since = -_LATEST if sought.since_ms is None else sought.since_ms
    until = _LATEST if sought.until_ms is None else sought.until_ms
    end: tuple[int, bytes] = (until, b"")
    if before is not None:
        end = min(end, (before.time_ms, _id_tag(fetch, before)))
    rows: list[Row] = []
    by_answer = query.tag is None and sought.vendor is not None
    by_kind = query.tag is None and sought.vendor is None and query.kinds is not None
    looking = by_answer or (by_kind and query.kinds is not None and len(query.kinds) > MERGED_KINDS)
    for month in _months(fetch, query, since, end[0], newest_first=True):
        end_here: tuple[int, bytes] | None = end
        if looking:
            looking = False
            some, end_here = _looked_through(fetch, query, month, since, end, count)
            rows += some
        wanted = count - len(rows)
        if wanted > 0 and end_here is not None:
            if by_kind and query.kinds is not None:
                rows += _merged(fetch, query.kinds, month, since, end_here, wanted)
            else:
                values = _Values(since, *end_here)
                where = f"{_WITHIN} {values.month(month)} {values.narrowed(query)}"
                rows += _rows(
                    fetch(f"{_PICKED} consent_record r {_LEAF} WHERE {where} {_NEWEST} {wanted:d}", *values)
                )
        if len(rows) >= count:
            break
    return rows


def oldest(fetch: Fetch, query: KindQuery, after: Position | None, count: int) -> Sequence[Row]:
    """Return the oldest receipts after a position. See :meth:`consent.receipt_search.ReceiptFinder._oldest`."""
    return _rows(_oldest(fetch, query, after, count, "r.time_ms, l.number, r.kind"))


def oldest_rows(fetch: Fetch, query: KindQuery, after: Position | None, count: int) -> Sequence[Any]:
    """Return the rows of the same receipts, in the same order, as :func:`consent.log_rows.proven_rows` has them."""
    columns = "l.number, l.id_tag, l.commitment, r.body, r.outcome, r.tag, r.wrapped_key, r.kind, r.time_ms"
    return _oldest(fetch, query, after, count, columns)


def _oldest(
    fetch: Fetch, query: KindQuery, after: Position | None, count: int, columns: str
) -> Sequence[Any]:
    sought = query.sought
    since = -_LATEST if sought.since_ms is None else sought.since_ms
    until = _LATEST if sought.until_ms is None else sought.until_ms
    start: tuple[int, bytes] = (since - 1, b"\xff" * 17)
    if after is not None:
        start = max(start, (after.time_ms, _id_tag(fetch, after)))
    rows: list[Any] = []
    for month in _months(fetch, query, start[0], until, newest_first=False):
        values = _Values(until, *start)
        where = f"r.time_ms < $1 AND (r.time_ms, r.id_tag) > ($2, $3) {values.month(month)} {values.narrowed(query)}"
        rows += fetch(
            f"SELECT {columns} FROM consent_record r {_LEAF} WHERE {where}"  # noqa: S608 - ours
            f" ORDER BY r.time_ms, r.id_tag LIMIT {count - len(rows):d}",
            *values,
        )
        if len(rows) >= count:
            break
    return rows


def standing(fetch: Fetch, leaves: Sequence[int], until_ms: int | None) -> Collection[int]:
    """Return the leaves that still stand. See :meth:`consent.receipt_search.ReceiptFinder._standing`."""
    rows = fetch(
        "SELECT l.number FROM consent_leaf l JOIN consent_record r ON r.id_tag = l.id_tag AND r.month = l.month"  # noqa: S608 - ours
        f" WHERE l.number = ANY({EACH_LEAF}) AND NOT EXISTS (SELECT 1 FROM consent_record later"
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

    def of_kinds(self, kinds: Collection[int]) -> str:
        """Return the condition for some kinds, which are looked up in a table of their numbers, row by row.

        With an equal sign, the planner would look at each of thousands, for each table; with ``IN`` alone, at a join.
        """
        return f"(r.kind IN (SELECT unnest({self.add(list(kinds))}::integer[]))) IS TRUE"

    def narrowed(self, query: KindQuery) -> str:
        """Return the condition for one visitor, for an answer for one vendor, and for kinds."""
        terms = "" if query.tag is None else f"AND r.tag = {self.add(query.tag)}"
        vendor, said = query.sought.vendor, query.sought.said
        if vendor is not None:
            answers = (False, True) if said is None else (said,)
            texts = [self.add(json.dumps({vendor: answer})) for answer in answers]
            held = " OR ".join(f"r.vendors @> {text}::text::jsonb" for text in texts)
            terms += f" AND r.vendors IS NOT NULL AND ({held})"
        if query.kinds is not None:
            terms += f" AND {self.of_kinds(query.kinds)}"
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
    months = [month for month in months if first <= month <= last]
    # Mostly, the first one is enough.
    yield from months[:1]
    if query.kinds is None or len(months) < 2:
        yield from months[1:]
        return
    kinds = sorted(query.kinds)
    spans = {row["month"]: (row["lowest"], row["highest"]) for row in fetch(_SPANS, months[1:])}
    for month in months[1:]:
        lowest, highest = spans.get(month, (1, 0))
        if bisect_left(kinds, lowest) < bisect_right(kinds, highest):
            yield month


def _month(time_ms: int) -> int:
    """Return the month of a moment, as it is kept."""
    try:
        moment = datetime.fromtimestamp(time_ms / 1_000, UTC)
    except (OverflowError, ValueError, OSError):
        return 0 if time_ms < 0 else 999_999
    return moment.year * 100 + moment.month


def _looked_through(
    fetch: Fetch, query: KindQuery, month: int | None, since: int, end: tuple[int, bytes], count: int
) -> tuple[list[Row], tuple[int, bytes] | None]:
    """Return what is asked for among the newest of a month, and what was looked at last, if there is more."""
    most, more = (
        (LOOKED_THROUGH, "") if query.sought.vendor is None else (ANSWERS_LOOKED_THROUGH, ", r.vendors")
    )
    values = _Values(since, *end)
    looked_at = f"FROM consent_record r WHERE {_WITHIN} {values.month(month)} {_NEWEST}"
    last = fetch(f"SELECT r.time_ms, r.id_tag {looked_at} 1 OFFSET {most - 1:d}", *values)
    newest = f"SELECT r.time_ms, r.id_tag, r.kind{more} {looked_at} {most:d}"
    rows = _rows(
        fetch(
            f"{_PICKED} ({newest}) r {_LEAF} WHERE true {values.narrowed(query)} {_NEWEST} {count:d}", *values
        )
    )
    return rows, (last[0]["time_ms"], last[0]["id_tag"]) if last else None


def _merged(
    fetch: Fetch, kinds: Collection[int], month: int | None, since: int, end: tuple[int, bytes], count: int
) -> list[Row]:
    """Return the newest of some kinds in one month: of each, those that can be among them."""
    rows: list[Row] = []
    while len(rows) < count:
        wanted = min(count - len(rows), MERGED_ROWS)
        values = _Values(since, *end, list(kinds))
        within = f"{_WITHIN} {values.month(month)}"
        # Some of the newest of each kind: together they tell how new those on the page are at least.
        latest = f"{_LOOKED_AT} r.kind = kinds.number AND {within} {_NEWEST} {3 + 2 * wanted // len(kinds):d}"
        newest = (
            f"{_LOOKED_AT} r.kind = known.number AND {within}"  # noqa: S608 - ours
            f" AND r.time_ms >= (SELECT CASE WHEN count(*) < {wanted:d} THEN $1 ELSE min(time_ms) END FROM latest)"
            f" {_NEWEST} {wanted:d}"
        )
        some = fetch(
            "WITH latest AS (SELECT kinds.number, r.time_ms, r.id_tag"  # noqa: S608 - ours
            f" FROM unnest($4::integer[]) AS kinds (number) CROSS JOIN LATERAL ({latest}) r {_NEWEST} {wanted:d}),"
            " newest AS (SELECT r.* FROM (SELECT DISTINCT number FROM latest) AS known"
            f" CROSS JOIN LATERAL ({newest}) r {_NEWEST} {wanted:d})"
            " SELECT r.time_ms, l.number, r.id_tag, r.kind FROM newest r"
            " LEFT JOIN consent_leaf l ON l.id_tag = r.id_tag ORDER BY r.time_ms DESC, r.id_tag DESC",
            *values,
        )
        # What waits to become a leaf is left out.
        rows += _rows([row for row in some if row["number"] is not None])
        if len(some) < wanted:
            break
        end = (some[-1]["time_ms"], some[-1]["id_tag"])
    return rows


def _id_tag(fetch: Fetch, position: Position) -> bytes:
    rows = fetch("SELECT id_tag FROM consent_leaf WHERE number = $1", position.leaf)
    return bytes(rows[0]["id_tag"]) if rows else b""


def _rows(rows: Sequence[Any]) -> list[Row]:
    return [(Position(row["time_ms"], row["number"]), row["kind"]) for row in rows]
