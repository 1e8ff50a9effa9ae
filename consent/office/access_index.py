"""What accesses are found by: who, what and when. Functions of a connection.

Entries are the log, this is beside it: each entry that is found is held against what it was found by, and
``consent office accesses --verify`` holds all of it against the entries.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from heapq import nlargest
from typing import Final

from consent.office.questions import TEXT_SCHEMA, Parameter, WrongQuestion, day_of

MAX_PEOPLE: Final = 50
"""How many different names may fit."""
_BEFORE_ALL: Final = 2**62

WHO: Final = Parameter("who", "A part of the name, or of the id, of who did it.", TEXT_SCHEMA)
WHAT: Final = Parameter("what", "What was done, such as `opened`.", TEXT_SCHEMA)
BEFORE: Final = Parameter(
    "before",
    "Only entries before this one: `next` of the page before.",
    {"type": "integer", "minimum": 0, "maximum": 10**15 - 1},
)
# Of all entries, in the database: there may be a million.
ALTERED: Final = """
SELECT count(*) FROM record LEFT JOIN access USING (leaf) LEFT JOIN access_who ON access_who.id = access.who
WHERE access_who.who IS NOT json_extract(CAST(body AS TEXT), '$.who')
    OR access.what IS NOT json_extract(CAST(body AS TEXT), '$.what')
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessQuery:
    """Which accesses are asked for; what is left out is not asked."""

    who: str = ""
    """A part of a name, or of an id; case does not matter."""
    what: str = ""
    since: str = ""
    """What the first moment is not before, as its text (RFC 3339, UTC), or the beginning of it."""
    until: str = ""
    """What the last moment is before, likewise: ``2026-03-01T24`` is the end of a day."""


def keep(connection: sqlite3.Connection, leaf: int, time: str, who: str, what: str) -> None:
    """Keep what a new entry is found by, in the transaction under way."""
    connection.execute("INSERT OR IGNORE INTO access_who (who) VALUES (?)", (who,))
    connection.execute(
        # A clock that was put back makes no entry appear before an earlier one: the days are in the order of the log.
        "INSERT INTO access SELECT ?1, max(?2, coalesce((SELECT time FROM access WHERE leaf = ?1 - 1), '')),"
        " id, ?4 FROM access_who WHERE who = ?3",
        (leaf, time, who, what),
    )


def find(
    connection: sqlite3.Connection, asked: AccessQuery, *, limit: int, before: int | None
) -> Sequence[tuple[int, str, str]]:
    """Return leaf, who and what of entries, the newest first.

    Raises:
        WrongQuestion: too many names fit.
    """
    first, end = 0, _BEFORE_ALL if before is None else before
    if asked.since:
        statement = "SELECT leaf FROM access WHERE time >= ? ORDER BY time, leaf LIMIT 1"
        row = connection.execute(statement, (asked.since,)).fetchone()
        if row is None:
            return ()
        first = row[0]
    if asked.until:
        statement = "SELECT leaf FROM access WHERE time >= ? ORDER BY time, leaf LIMIT 1"
        row = connection.execute(statement, (asked.until,)).fetchone()
        end = end if row is None else min(end, row[0])
    people: Sequence[int | None] = (None,)
    if asked.who:
        rows = connection.execute("SELECT id, who FROM access_who")
        people = [number for number, who in rows if asked.who.casefold() in who.casefold()]
        if len(people) > MAX_PEOPLE:
            raise WrongQuestion("who", f"more than {MAX_PEOPLE} names have that in them: write more of it")
    found: list[int] = []
    for person in people:
        terms = "leaf >= ? AND leaf < ?"
        values: list[object] = [first, end]
        if person is not None:
            terms, values = f"who = ? AND {terms}", [person, *values]
        if asked.what:
            terms, values = f"what = ? AND {terms}", [asked.what, *values]
        statement = f"SELECT leaf FROM access WHERE {terms} ORDER BY leaf DESC LIMIT ?"  # noqa: S608 - ours
        found += [leaf for (leaf,) in connection.execute(statement, (*values, limit))]
    leaves = nlargest(limit, found)
    statement = (
        "SELECT access_who.who, what FROM access JOIN access_who ON access_who.id = access.who WHERE leaf = ?"
    )
    return [(leaf, *connection.execute(statement, (leaf,)).fetchone()) for leaf in leaves]


def accesses_by(given: Mapping[str, str]) -> AccessQuery:
    """Return which accesses are asked for.

    Raises:
        WrongQuestion: a value is none.
    """
    first, last = (day_of(name, given[name]) if given.get(name) else None for name in ("from", "to"))
    return AccessQuery(
        who=given.get("who", "").strip(),
        what=given.get("what", "").strip(),
        since="" if first is None else first.isoformat(),
        until="" if last is None else f"{last.isoformat()}T24",
    )
