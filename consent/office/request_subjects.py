"""Which visitors requests are about: found by a keyed tag of the pseudonym, and taken out of all when one is erased.

A pseudonym can be linked with several requests, and somebody may have written it into a text. Wherever that is, it is
sealed; the tag beside it says which requests are to be opened for it. Tag and pseudonym go together: afterwards nobody
can confirm a guess from what is kept, not even with the keys. That a request was answered, when, and under which
certificates, stays.
"""

from __future__ import annotations

import contextlib
import hmac
import logging
import re
import sqlite3
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple
from uuid import uuid4

from consent.erasure import Erasure
from consent.errors import SealBrokenError
from consent.office.request_rows import Person, about, rows
from consent.office.request_seal import RequestSeal
from consent.subject_request import StepRefused

logger = logging.getLogger(__name__)

ERASED: Final = "[erased]"
"""What stands in a text in place of a pseudonym."""
_AT_ONCE: Final = 500
"""How many requests are opened in one step."""
_PSEUDONYM: Final = re.compile(
    # An escaped character ends in hexadecimal digits, too: "%3D", "\\x3d", "\\u003d".
    r"(?:(?<![0-9a-fA-F])|(?<=%[0-9a-fA-F]{2})|(?<=\\x[0-9a-fA-F]{2})|(?<=\\u[0-9a-fA-F]{4}))"
    # Some programs write 16 bytes as a UUID.
    r"[0-9a-fA-F]{8}(?:[0-9a-fA-F]{24}|-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12})(?![0-9a-fA-F])"
)


class Certificate(NamedTuple):
    """That receipts were erased, as the log has it too; nothing about whose they were."""

    erasure_id: str
    time: str
    """RFC 3339, UTC, milliseconds."""
    erased: int
    """How many receipts."""


def certificates_of(erasures: Iterable[Erasure]) -> Sequence[Certificate]:
    """Return what a request keeps of erasures."""
    return [Certificate(each.erasure_id, each.time, len(each.erased)) for each in erasures]


class RequestSubjects:
    """Finds the requests that name a visitor. Everything happens in the transaction of the connection it is given.

    Args:
        key: the index key of the log.
        seal: opens requests.
    """

    def __init__(self, key: bytes, seal: RequestSeal) -> None:
        self._key = key
        self._seal = seal

    def index(self, connection: sqlite3.Connection, number: int, texts: Iterable[str]) -> None:
        """Keep which pseudonyms are in some texts of a request."""
        found = {_plain(each) for text in texts for each in _PSEUDONYM.findall(text)}
        connection.executemany(
            "INSERT OR IGNORE INTO request_subject (tag, request) VALUES (?, ?)",
            [(self._tag(subject), number) for subject in found],
        )

    def series(self, connection: sqlite3.Connection, number: int, subject: str) -> str:
        """Return the series under which a request's erasure of a visitor is, or will be, in the log."""
        row = (self._tag(subject), number)
        self.index(connection, number, [subject])
        connection.execute(
            "UPDATE request_subject SET series = ? WHERE tag = ? AND request = ? AND series IS NULL",
            (str(uuid4()), *row),
        )
        (series,) = connection.execute(
            "SELECT series FROM request_subject WHERE tag = ? AND request = ?", row
        ).fetchone()
        return str(series)

    def is_named(self, connection: sqlite3.Connection, subject: str) -> bool:
        """Tell whether a request may name a visitor."""
        statement = (
            "SELECT EXISTS (SELECT 1 FROM request_subject WHERE tag = ?)"
            " OR EXISTS (SELECT 1 FROM request WHERE NOT indexed)"
        )
        (found,) = connection.execute(statement, (self._tag(subject),)).fetchone()
        return bool(found)

    def named(
        self, connection: sqlite3.Connection, after: int, since_ms: int, before_ms: int
    ) -> Sequence[tuple[int, str | None, str | None]]:
        """Return some visitors whom requests are about, each with the request's number and the series of an erasure.

        A visitor whom nobody has found in the log is left out, and so are those in texts: what looks like a pseudonym
        there may be something else. In their place is ``None``, where a request has no others.

        Args:
            after: the number of the last request that was looked at.
            since_ms: only requests that arrived then or later.
            before_ms: only requests that arrived before.
        """
        found: list[tuple[int, str | None, str | None]] = []
        for row in rows(
            connection,
            "SELECT request.*, EXISTS (SELECT 1 FROM request_receipt WHERE request = number) AS linked FROM request"
            " WHERE number > ? AND received_ms >= ? AND received_ms < ? AND wrapped IS NOT NULL"
            " ORDER BY number LIMIT ?",
            (after, since_ms, before_ms, _AT_ONCE),
        ):
            number = row["number"]
            found.append((number, None, None))
            try:
                person = self._seal.who(row)
            except SealBrokenError:
                _tell(row)
                continue
            for subject in person.subjects if row["linked"] else filter(None, (person.came_with,)):
                series = connection.execute(
                    "SELECT series FROM request_subject WHERE tag = ? AND request = ?",
                    (self._tag(subject), number),
                ).fetchone()
                found.append((number, subject, series[0] if series else None))
        return found

    def forget(
        self,
        connection: sqlite3.Connection,
        subject: str,
        erasures: Sequence[Erasure],
        *,
        who: str,
        now_ms: int,
        sites: Collection[str] = (),
    ) -> None:
        """Take a visitor who was erased out of all requests, or out of those of some sites; those about him have the
        certificates instead."""
        self._index_all(connection)
        tag = self._tag(subject)
        found = rows(
            connection,
            "SELECT request.* FROM request JOIN request_subject ON request = number WHERE tag = ?",
            (tag,),
        )
        for row in found:
            if sites and row["site"] not in sites:
                continue
            connection.execute(
                "DELETE FROM request_subject WHERE tag = ? AND request = ?", (tag, row["number"])
            )
            if row["wrapped"] is None:
                continue
            person, steps, whole = self._seal.readable(connection, row)
            number = row["number"]
            if not whole:
                # The others are not to wait for it. Should it open again, it is indexed again.
                _tell(row)
                connection.execute("UPDATE request SET indexed = 0 WHERE number = ?", (number,))
            for step in steps:
                if (text := _cleared(step.text, subject)) != step.text:
                    self._seal.write_again(connection, row, step.number, text)
            if person is None:
                continue
            key = self._seal.key(row)
            sealed = self._seal.person(key, row["uid"], _without(person, subject))
            connection.execute("UPDATE request SET sealed = ? WHERE number = ?", (sealed, number))
            if subject in person.subjects:
                self._certify(connection, number, certificates_of(erasures))
                with contextlib.suppress(StepRefused):  # its history is full: the certificates are beside it
                    ids = " ".join(each.erasure_id for each in erasures)
                    self._seal.note(connection, number, row["uid"], key, now_ms, who, "erased", ids)
        connection.executemany(
            "DELETE FROM request_receipt WHERE leaf = ?",
            [(leaf,) for each in erasures for leaf in each.erased],
        )

    def certificates(self, connection: sqlite3.Connection, number: int) -> Sequence[Certificate]:
        """Return what was erased for a request, or while it was open; also once who asked was forgotten."""
        statement = (
            "SELECT erasure_id, time, erased FROM request_erasure WHERE request = ? ORDER BY time, erasure_id"
        )
        return [Certificate(*row) for row in connection.execute(statement, (number,))]

    def _certify(
        self, connection: sqlite3.Connection, number: int, certificates: Sequence[Certificate]
    ) -> None:
        connection.executemany(
            "INSERT OR IGNORE INTO request_erasure VALUES (?, ?, ?, ?)",
            [(number, *each) for each in certificates],
        )

    def _index_all(self, connection: sqlite3.Connection) -> None:
        """Index what was registered by an earlier release, once; what cannot be opened, once it can."""
        for row in rows(connection, "SELECT * FROM request WHERE NOT indexed", ()):
            person, steps, whole = self._seal.readable(connection, row)
            texts = texts_of(person) if person is not None else ()
            self.index(connection, row["number"], [*texts, *(step.text for step in steps)])
            if whole:
                connection.execute("UPDATE request SET indexed = 1 WHERE number = ?", (row["number"],))

    def _tag(self, subject: str) -> bytes:
        return hmac.digest(self._key, b"consent-request-subject:" + subject.encode(), "sha256")[:16]


def _tell(row: Mapping[str, Any]) -> None:
    logger.warning(
        "what request %s says cannot be opened, so nobody can be taken out of it", row["reference"]
    )


def texts_of(person: Person) -> Sequence[str]:
    """Return everything that is written about who asked."""
    return (person.name, person.contact, person.details, person.agent, *person.subjects)


def _without(person: Person, subject: str) -> Person:
    kept = about(person, tuple(each for each in person.subjects if each != subject))
    return replace(
        kept,
        name=_cleared(kept.name, subject),
        contact=_cleared(kept.contact, subject),
        details=_cleared(kept.details, subject),
        agent=_cleared(kept.agent, subject),
    )


def _cleared(text: str, subject: str) -> str:
    return _PSEUDONYM.sub(lambda found: ERASED if _plain(found[0]) == subject else found[0], text)


def _plain(pseudonym: str) -> str:
    return pseudonym.replace("-", "").lower()
