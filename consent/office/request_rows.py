"""One request as the register's tables have it, and what it is there: values, and reading them from rows."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any, Final

from consent.subject_request import (
    Progress,
    RequestKind,
    RequestState,
    StepRefused,
    Way,
)

_LAST_MS: Final = 10_000_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """A request, without who asked."""

    number: int
    reference: str
    kind: RequestKind
    way: Way
    site: str
    jurisdiction: str
    language: str
    state: RequestState
    received_ms: int
    acknowledge_by: str
    """A day, UTC; as the following ones."""
    answer_by: str
    extended_by: str
    law: str
    """Where these are from."""
    acknowledged_ms: int | None
    identity_ms: int | None
    authority_ms: int | None
    closed_ms: int | None
    by_agent: bool
    is_forgotten: bool
    """Who asked was erased when its time was over."""

    @property
    def due(self) -> str:
        """The last day for what comes next; empty: nothing does."""
        return _due(self.state, self.acknowledge_by, self.answer_by, self.extended_by) or ""

    @property
    def progress(self) -> Progress:
        """What decides which step can be taken."""
        return Progress(
            self.kind,
            self.state,
            self.identity_ms is not None,
            self.by_agent,
            self.authority_ms is not None,
        )

    @property
    def is_untouched(self) -> bool:
        """Whether nobody has taken it up: it has arrived, and nothing was verified."""
        return self.state is RequestState.RECEIVED and self.identity_ms is None and self.authority_ms is None

    def is_overdue(self, today: str) -> bool:
        """Tell whether what comes next should have been done by now."""
        return bool(self.due) and self.due < today


@dataclass(frozen=True, slots=True)
class Person:
    """Who asked, and for whom."""

    name: str = field(default="", repr=False)
    contact: str = field(default="", repr=False)
    details: str = field(default="", repr=False)
    agent: str = field(default="", repr=False)
    subjects: tuple[str, ...] = field(default=(), repr=False)
    """The pseudonyms that the request is about."""
    came_with: str = field(default="", repr=False)
    """The one that was in the signed cookie of the browser that sent the form: whoever sent it has that browser."""
    accounts: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    """Pseudonyms that are there because of an account alone, each with the keyed hash of that account: of what was
    chosen in that browser, only what was chosen while signed in with it is this person's."""


@dataclass(frozen=True, slots=True)
class Step:
    """One entry of a request's history."""

    number: int
    time_ms: int
    who: str
    what: str
    text: str = field(repr=False)
    """What was written about it; empty once who asked was forgotten."""


@dataclass(frozen=True, slots=True)
class OpenedRequest:
    """A request with all that is known of it."""

    request: Registered
    person: Person
    steps: Sequence[Step]
    leaves: Sequence[int]
    """The receipts linked with it, by their places in the log."""


@dataclass(frozen=True, slots=True)
class RequestNumbers:
    """What became of requests on some days."""

    received: Mapping[str, int]
    """How many came in, by kind."""
    closed: Mapping[str, int]
    """How many were closed, by how they stand since."""
    late: int
    """How many of these were closed after the day that they were due on."""
    open: int
    """How many were open at the end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What requests are asked for by."""

    sites: Collection[str] = ()
    """Empty: all."""
    site: str = ""
    kind: str = ""
    state: str = ""
    way: str = ""
    open_only: bool = False
    overdue_on: str = ""
    """Only what is overdue on this day."""
    since_ms: int | None = None
    """Only what arrived then or later, milliseconds since 1970."""
    until_ms: int | None = None
    """Only what arrived before."""


def rows(connection: sqlite3.Connection, statement: str, values: Sequence[object]) -> list[dict[str, Any]]:
    """Return what a statement finds, by the names of its columns."""
    cursor = connection.execute(statement, values)
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor]


def row_of(connection: sqlite3.Connection, reference: str) -> dict[str, Any] | None:
    """Return the row of a request; ``None``: there is none."""
    found = rows(connection, "SELECT * FROM request WHERE reference = ?", (reference,))
    return found[0] if found else None


def registered(row: Mapping[str, Any]) -> Registered:
    """Return what a row says of a request."""
    given = {name: row[name] for name in Registered.__dataclass_fields__ if name in row}
    return Registered(
        **{
            **given,
            "kind": RequestKind(row["kind"]),
            "way": Way(row["way"]),
            "state": RequestState(row["state"]),
            "by_agent": bool(row["by_agent"]),
            "is_forgotten": row["wrapped"] is None,
        }
    )


def terms_of(wanted: Wanted) -> tuple[list[str], list[object]]:
    """Return the terms that rows have to meet, and their values."""
    terms: list[str] = []
    values: list[object] = []
    for name in ("site", "kind", "state", "way"):
        if value := getattr(wanted, name):
            terms.append(f"{name} = ?")
            values.append(value)
    if wanted.sites:
        terms.append(f"site IN ({', '.join('?' * len(wanted.sites))})")
        values += wanted.sites
    if wanted.open_only:
        terms.append("closed_ms IS NULL")
    for term, moment in (("received_ms >= ?", wanted.since_ms), ("received_ms < ?", wanted.until_ms)):
        if moment is not None:
            terms.append(term)
            values.append(moment)
    if wanted.overdue_on:
        terms.append("rank < ?")  # of what is closed, the rank is far beyond any day
        values.append(date.fromisoformat(wanted.overdue_on).toordinal())
    return terms, values


def rank_of(
    state: RequestState, acknowledge_by: str, answer_by: str, extended_by: str, closed_ms: int | None
) -> int:
    """Return what requests are listed by: the day that is due next; beyond all days what is closed, newest first."""
    due = _due(state, acknowledge_by, answer_by, extended_by)
    return _LAST_MS - (closed_ms or 0) if due is None else date.fromisoformat(due).toordinal()


def _due(state: RequestState, acknowledge_by: str, answer_by: str, extended_by: str) -> str | None:
    due = {
        RequestState.RECEIVED: acknowledge_by,
        RequestState.ACKNOWLEDGED: answer_by,
        RequestState.EXTENDED: extended_by,
    }
    return due.get(state)


def answer_due(request: Registered) -> str:
    """Return the day until when whoever asked is to have an answer."""
    return request.extended_by if request.state is RequestState.EXTENDED else request.answer_by


def require_extendable(request: Registered, today: str) -> None:
    """Refuse to take more time where the law has none, or where the reason would be sent too late.

    Raises:
        StepRefused: it cannot be taken.
    """
    if request.extended_by <= request.answer_by:
        raise StepRefused(f"there is no more time to take: {request.law}")
    if today > request.answer_by:
        raise StepRefused(f"more time can be taken until {request.answer_by}, and no later: answer it")


def about(person: Person, subjects: tuple[str, ...]) -> Person:
    """Return the same person, with other pseudonyms."""
    came_with = person.came_with if person.came_with in subjects else ""
    accounts = tuple(each for each in person.accounts if each[0] in subjects)
    return replace(person, subjects=subjects, came_with=came_with, accounts=accounts)


def found_by(
    person: Person, found: Collection[str], account: str | None, *, known: Collection[str]
) -> Person:
    """Return the same person, with what some pseudonyms were found by.

    Args:
        person: has them already.
        found: the pseudonyms.
        account: keyed hash of the account that they were found by; ``None``: by themselves, or by a receipt.
        known: which ones were there before. What was found by itself once is this person's altogether.
    """
    if account is None:
        return replace(person, accounts=tuple(each for each in person.accounts if each[0] not in found))
    altogether = set(known).difference(subject for subject, _ in person.accounts)
    more = [(subject, account) for subject in found if subject not in altogether]
    return replace(person, accounts=tuple(dict.fromkeys((*person.accounts, *more))))


def written_person(person: Person) -> bytes:
    """Return who asked as it is sealed."""
    members = {name: getattr(person, name) for name in Person.__dataclass_fields__}
    return json.dumps(members, ensure_ascii=False).encode("utf-8", "replace")
