"""Who asked, and what was written about a request: sealed under a key of its own, which is wrapped under the log's."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any, Final

from consent.errors import SealBrokenError
from consent.office.request_rows import Person, Step, written_person
from consent.sealing import LedgerKeys, Sealer
from consent.subject_request import StepRefused

MAX_STEPS: Final = 500
"""How many entries the history of one request has at most."""
_WHO: Final = b"who"
_STEPS: Final = "SELECT step, time_ms, who, what, sealed FROM request_step WHERE request = ? ORDER BY step"


class RequestSeal:
    """Seals and opens what the rows of a request say about people. Safe to share between threads.

    Whatever cannot be opened raises SealBrokenError: it was altered, or the wrapping key is not in the key file.

    Args:
        keys: those of the log of receipts.
    """

    def __init__(self, keys: LedgerKeys) -> None:
        self._sealer = Sealer(keys)

    def new_key(self, uid: bytes) -> tuple[bytes, bytes]:
        """Make a key for a request; return it, and as it is kept."""
        return self._sealer.new_key(uid)

    def key(self, row: Mapping[str, Any]) -> bytes:
        """Return a request's key."""
        return self._sealer.unwrap(row["wrapped"], row["uid"])

    def person(self, key: bytes, uid: bytes, person: Person) -> bytes:
        """Return who asked, sealed."""
        return self._sealed(key, _WHO + uid, written_person(person))

    def who(self, row: Mapping[str, Any]) -> Person:
        """Return who asked; nobody, once that was forgotten."""
        if row["wrapped"] is None:
            return Person()
        members = json.loads(self._sealer.open(self.key(row), row["sealed"], _WHO + row["uid"])[1])
        accounts = tuple((subject, account) for subject, account in members.get("accounts", ()))
        return Person(**{**members, "subjects": tuple(members["subjects"]), "accounts": accounts})

    def note(
        self,
        connection: sqlite3.Connection,
        number: int,
        uid: bytes,
        key: bytes,
        now_ms: int,
        who: str,
        what: str,
        text: str,
    ) -> None:
        """Write one entry of a request's history.

        Raises:
            StepRefused: there are too many.
        """
        (step,) = connection.execute(
            "SELECT count(*) FROM request_step WHERE request = ?", (number,)
        ).fetchone()
        if step >= MAX_STEPS:
            raise StepRefused(f"the history has {MAX_STEPS} entries, and can have no more")
        sealed = self._sealed(key, _place(uid, step), text.encode()) if text else None
        connection.execute(
            "INSERT INTO request_step VALUES (?, ?, ?, ?, ?, ?)", (number, step, now_ms, who, what, sealed)
        )

    def write_again(
        self, connection: sqlite3.Connection, row: Mapping[str, Any], step: int, text: str
    ) -> None:
        """Put another text in the place of an entry's."""
        sealed = self._sealed(self.key(row), _place(row["uid"], step), text.encode())
        connection.execute(
            "UPDATE request_step SET sealed = ? WHERE request = ? AND step = ?", (sealed, row["number"], step)
        )

    def steps(self, connection: sqlite3.Connection, row: Mapping[str, Any]) -> Sequence[Step]:
        """Return a request's history, the oldest entry first."""
        key = None if row["wrapped"] is None else self.key(row)
        return [self._step(key, row["uid"], entry) for entry in connection.execute(_STEPS, (row["number"],))]

    def readable(
        self, connection: sqlite3.Connection, row: Mapping[str, Any]
    ) -> tuple[Person | None, Sequence[Step], bool]:
        """Return what can be opened of a request: who asked, entries of its history, and whether that was all."""
        person, whole = None, True
        try:
            person = self.who(row)
        except SealBrokenError:
            whole = False
        try:
            return person, self.steps(connection, row), whole
        except SealBrokenError:
            return person, self._steps_that_open(connection, row), False

    def _steps_that_open(self, connection: sqlite3.Connection, row: Mapping[str, Any]) -> Sequence[Step]:
        found: list[Step] = []
        for entry in connection.execute(_STEPS, (row["number"],)):
            with contextlib.suppress(SealBrokenError):
                found.append(self._step(self.key(row), row["uid"], entry))
        return found

    def _step(self, key: bytes | None, uid: bytes, entry: Sequence[Any]) -> Step:
        number, time_ms, who, what, sealed = entry
        if key is None or sealed is None:
            return Step(number, time_ms, who, what, "")
        return Step(
            number, time_ms, who, what, self._sealer.open(key, sealed, _place(uid, number))[1].decode()
        )

    def _sealed(self, key: bytes, place: bytes, content: bytes) -> bytes:
        return self._sealer.seal(key, self._sealer.salt(), content, place)


def _place(uid: bytes, step: int) -> bytes:
    return b"step %d " % step + uid
