"""How receipts are found in SQLite, in a time that does not grow with the log. Functions of a connection.

A kind's receipts are in order in one index, all receipts in another. Of few kinds, the newest of each are merged. Many
kinds are mostly many receipts: the newest ones of all kinds are looked through, up to a bound, before the kinds are
merged. Merging asks each kind for its newest receipt first: only those kinds are read that have one on the page.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterable, Sequence
from heapq import nlargest
from typing import Any, Final

from consent.receipt_search import KindQuery, Position

MERGED_KINDS: Final = 64
"""Up to so many kinds are merged at once."""
LOOKED_THROUGH: Final = 10_000
"""How many entries of the index by time are looked through for more kinds than that."""
_LATEST: Final = 2**62

Row = tuple[Position, int | None]


def newest(
    connection: sqlite3.Connection, query: KindQuery, before: Position | None, count: int
) -> Sequence[Row]:
    """Return the newest receipts before a position. See :meth:`consent.receipt_search.ReceiptFinder._newest`."""
    since, end = _bounds(query, before)
    if query.tag is not None or query.sought.vendor is not None:
        statement, values = _narrow(query, since, end, count, newest_first=True)
        return _rows(connection.execute(statement, values))
    if query.kinds is None:
        return _all(connection, since, end, count)
    if len(query.kinds) <= MERGED_KINDS:
        return _merged(connection, query.kinds, since, end, count)
    rows = _rows(
        connection.execute(
            "SELECT time_ms, leaf, kind FROM (SELECT time_ms, leaf, kind FROM record"  # noqa: S608 - ours
            f" WHERE {_BEFORE} ORDER BY time_ms DESC, leaf DESC LIMIT ?)"
            " WHERE kind IN (SELECT value FROM json_each(?)) LIMIT ?",
            (since, *end, LOOKED_THROUGH, json.dumps(list(query.kinds)), count),
        )
    )
    if len(rows) < count:
        last = connection.execute(
            f"SELECT time_ms, leaf FROM record WHERE {_BEFORE} ORDER BY time_ms DESC, leaf DESC LIMIT 1 OFFSET ?",  # noqa: S608 - ours
            (since, *end, LOOKED_THROUGH - 1),
        ).fetchone()
        if last is not None:
            rows += _merged(connection, query.kinds, since, Position(*last), count - len(rows))
    return rows


def oldest(
    connection: sqlite3.Connection, query: KindQuery, after: Position | None, count: int
) -> Sequence[Row]:
    """Return the oldest receipts after a position. See :meth:`consent.receipt_search.ReceiptFinder._oldest`."""
    statement, values = _oldest(query, after, count)
    return _rows(connection.execute(statement, values))


def oldest_rows(
    connection: sqlite3.Connection, query: KindQuery, after: Position | None, count: int, columns: str
) -> Sequence[tuple[Any, ...]]:
    """Return ``columns`` of the same receipts and of their visitors, in the same order, by one statement.

    Millions are read like that: to look up what was found takes half as long again.
    """
    statement, values = _oldest(query, after, count)
    return connection.execute(
        f"SELECT {columns} FROM ({statement}) AS found CROSS JOIN record ON record.leaf = found.leaf"  # noqa: S608 - ours
        " LEFT JOIN subject ON subject.number = record.subject",
        values,
    ).fetchall()


def _oldest(query: KindQuery, after: Position | None, count: int) -> tuple[str, tuple[object, ...]]:
    since, end = _bounds(query, None)
    start = Position(since - 1, _LATEST) if after is None else max(after, Position(since - 1, _LATEST))
    if query.tag is not None or query.sought.vendor is not None:
        return _narrow(query, start, end, count, newest_first=False)
    condition, values = _kind_condition(query)
    return (
        "SELECT time_ms, leaf, kind FROM record WHERE time_ms IS NOT NULL AND (time_ms, leaf) > (?, ?)"  # noqa: S608 - ours
        f" AND time_ms < ? {condition} ORDER BY time_ms, leaf LIMIT ?",
        (*start, end.time_ms, *values, count),
    )


def standing(connection: sqlite3.Connection, leaves: Sequence[int], until_ms: int | None) -> Collection[int]:
    """Return the leaves that still stand. See :meth:`consent.receipt_search.ReceiptFinder._standing`."""
    rows = connection.execute(
        "SELECT r.leaf FROM json_each(?) JOIN record r ON r.leaf = value WHERE NOT EXISTS (SELECT 1 FROM record later"
        " WHERE later.subject = r.subject AND (later.time_ms, later.leaf) > (r.time_ms, r.leaf)"
        " AND later.time_ms < ?)",
        (json.dumps(leaves), _LATEST if until_ms is None else until_ms),
    )
    return {leaf for (leaf,) in rows}


def _bounds(query: KindQuery, before: Position | None) -> tuple[int, Position]:
    """Return the earliest moment, and the position that everything is before."""
    until = query.sought.until_ms
    end = Position(_LATEST, 0) if until is None else Position(until, -1)
    since = query.sought.since_ms
    return -_LATEST if since is None else since, end if before is None else min(before, end)


def _all(connection: sqlite3.Connection, since: int, end: Position, count: int) -> list[Row]:
    return _rows(
        connection.execute(
            f"SELECT time_ms, leaf, kind FROM record WHERE {_BEFORE} ORDER BY time_ms DESC, leaf DESC LIMIT ?",  # noqa: S608 - ours
            (since, *end, count),
        )
    )


def _merged(
    connection: sqlite3.Connection, kinds: Collection[int], since: int, end: Position, count: int
) -> list[Row]:
    """Return the newest of some kinds: of each, those that can be among them."""
    latest = connection.execute(
        "SELECT (SELECT time_ms FROM record WHERE kind = value"  # noqa: S608 - ours
        f" AND {_BEFORE} ORDER BY time_ms DESC, leaf DESC LIMIT 1) AS latest, value FROM json_each(?)"
        " WHERE latest IS NOT NULL",
        (since, *end, json.dumps(list(kinds))),
    ).fetchall()
    latest.sort(reverse=True)
    if len(latest) >= count:
        since = latest[count - 1][0]
    best: list[tuple[int, int, int]] = []
    for time_ms, kind in latest:
        if time_ms < since:
            break
        best += connection.execute(
            f"SELECT time_ms, leaf, kind FROM record WHERE kind = ? AND {_BEFORE}"  # noqa: S608 - ours
            " ORDER BY time_ms DESC, leaf DESC LIMIT ?",
            (kind, since, *end, count),
        )
        if len(best) > 2 * count:
            best = nlargest(count, best)
            since = best[-1][0]
    return _rows(nlargest(count, best))


def _narrow(
    query: KindQuery, start: int | Position, end: Position, count: int, *, newest_first: bool
) -> tuple[str, tuple[object, ...]]:
    """Return the statement for receipts of one visitor, or with an answer for one vendor, in order, with its values."""
    condition, values = _kind_condition(query)
    if isinstance(start, Position):
        condition += " AND (time_ms, leaf) > (?, ?)"
        bounds: tuple[object, ...] = (start.time_ms, *end, *values, *start)
    else:
        bounds = (start, *end, *values)
    order = f"ORDER BY time_ms{' DESC' * newest_first}, leaf{' DESC' * newest_first} LIMIT ?"
    sought = query.sought
    answers = (False, True) if sought.said is None else (sought.said,)
    if query.tag is None:
        of_one = (
            f"SELECT time_ms, leaf, kind FROM answer WHERE vendor = ? AND said = ? AND {_BEFORE} {condition}"  # noqa: S608 - ours
        )
        asked = [each for answer in answers for each in (sought.vendor, answer, *bounds)]
        return f"{' UNION ALL '.join([of_one] * len(answers))} {order}", (*asked, count)
    of_vendor, vendor = "", tuple[object, ...]()
    if sought.vendor is not None:
        of_vendor = (
            " AND leaf IN (SELECT leaf FROM answer WHERE answer.leaf = record.leaf AND vendor = ?"  # noqa: S608 - ours
            f" AND said IN ({', '.join(str(int(answer)) for answer in answers)}))"
        )
        vendor = (sought.vendor,)
    return (
        "SELECT time_ms, leaf, kind FROM record INDEXED BY record_by_subject"  # noqa: S608 - ours
        " WHERE subject = (SELECT number FROM subject WHERE tag = ?)"
        f" AND {_BEFORE} {condition} {of_vendor} {order}",
        (query.tag, *bounds, *vendor, count),
    )


def _kind_condition(query: KindQuery) -> tuple[str, tuple[str, ...]]:
    if query.kinds is None:
        return "", ()
    # The plus keeps the index by kind out of it, whose rows would have to be sorted.
    return "AND +kind IN (SELECT value FROM json_each(?))", (json.dumps(list(query.kinds)),)


def _rows(rows: Iterable[tuple[int, int, int | None]]) -> list[Row]:
    return [(Position(time_ms, leaf), kind) for time_ms, leaf, kind in rows]


_BEFORE: Final = "time_ms >= ? AND (time_ms, leaf) < (?, ?)"
