"""Finding and counting requests in the office's file, by what says nothing about who asked."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Mapping, Sequence
from datetime import date, timedelta
from typing import Any, Final, NamedTuple

from consent.office.request_rows import (
    Registered,
    RequestNumbers,
    Wanted,
    registered,
    rows,
    terms_of,
)
from consent.receipt_search import Position
from consent.subject_request import RequestState, StepKind

SOON_DAYS: Final = 7
"""What is due on the coming days, so many, is due soon."""
_IS_LATE: Final = f"""
    CASE WHEN EXISTS (SELECT 1 FROM request_step WHERE request = number AND what = '{StepKind.EXTEND}')
    THEN extended_by ELSE answer_by END < date(closed_ms / 1000, 'unixepoch')
"""  # noqa: S608 - ours


class Due(NamedTuple):
    """How many requests wait for something."""

    overdue: int
    """It should have been done by now."""
    soon: int
    """It is due today, or within :data:`SOON_DAYS` days."""


def find_requests(
    connection: sqlite3.Connection, wanted: Wanted, *, limit: int, before: Position | None = None
) -> tuple[Sequence[Registered], Position | None]:
    """Return requests without who asked: what is due first comes first, then what is closed, the newest first.

    Returns also where the next page begins.
    """
    terms, values = terms_of(wanted)
    if before is not None:
        terms.append("(rank, number) > (?, ?)")
        values += before
    where = f" WHERE {' AND '.join(terms)}" if terms else ""
    statement = f"SELECT * FROM request{where} ORDER BY rank, number LIMIT ?"  # noqa: S608 - ours
    found = rows(connection, statement, (*values, limit + 1))
    last = found[limit - 1] if len(found) > limit else None
    following = None if last is None else Position(last["rank"], last["number"])
    return [registered(row) for row in found[:limit]], following


def count_requests(connection: sqlite3.Connection, sites: Collection[str], today: str) -> Mapping[str, int]:
    """Return how many requests there are in each state, and how many of the open ones are overdue or due soon."""
    terms, values = terms_of(Wanted(sites=sites))
    where = f" WHERE {' AND '.join(terms)}" if terms else ""
    found = connection.execute(
        f"SELECT state, count(*) FROM request{where} GROUP BY state",  # noqa: S608 - ours
        values,
    ).fetchall()
    return (
        dict.fromkeys(map(str, RequestState), 0) | dict(found) | count_due(connection, sites, today)._asdict()
    )


def count_due(connection: sqlite3.Connection, sites: Collection[str], today: str) -> Due:
    """Return how many of the open requests are overdue, and how many are due soon."""
    after = (date.fromisoformat(today) + timedelta(days=SOON_DAYS + 1)).isoformat()
    overdue, until = (_due_before(connection, sites, day) for day in (today, after))
    return Due(overdue, until - overdue)


def _due_before(connection: sqlite3.Connection, sites: Collection[str], day: str) -> int:
    terms, values = terms_of(Wanted(sites=sites, overdue_on=day))
    (count,) = connection.execute(
        f"SELECT count(*) FROM request WHERE {' AND '.join(terms)}",  # noqa: S608 - ours
        values,
    ).fetchone()
    return int(count)


def request_numbers(
    connection: sqlite3.Connection, wanted: Wanted, since_ms: int, until_ms: int
) -> RequestNumbers:
    """Return how many requests came in and were closed between two moments, the second one not included."""
    terms, values = terms_of(wanted)
    more = "".join(f" AND {term}" for term in terms)
    between = (since_ms, until_ms, *values)

    def groups(column: str, moment: str) -> dict[Any, int]:
        statement = (
            f"SELECT {column}, count(*) FROM request"  # noqa: S608 - ours
            f" WHERE {moment} >= ? AND {moment} < ?{more} GROUP BY 1"
        )
        return dict(connection.execute(statement, between).fetchall())

    received, closed = groups("kind", "received_ms"), groups("state", "closed_ms")
    late = groups(_IS_LATE, "closed_ms").get(1, 0)
    (still_open,) = connection.execute(
        "SELECT count(*) FROM request WHERE received_ms < ? AND (closed_ms IS NULL OR closed_ms >= ?)"  # noqa: S608
        + more,
        (until_ms, until_ms, *values),
    ).fetchone()
    return RequestNumbers(received, closed, late, still_open)
