"""The register of what people asked about their data: what is due when, who did what, and, sealed, who asked.

Who asked, and what was written about it, is sealed under a key of the request's own, which is kept wrapped under a key
that is in no database. Whoever destroys that key forgets the person; that there was a request, its kind and its days
stay.
"""

from __future__ import annotations

import base64
import hmac
import secrets
import sqlite3
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from hashlib import sha256
from typing import Any, Final

from consent.office.access_log import AccessLog
from consent.office.database import OfficeDatabase
from consent.office.events import EventType, add_event
from consent.office.request_flood import count_sent, require_room, sender_of
from consent.office.request_rows import (
    OpenedRequest,
    Person,
    Registered,
    RequestNumbers,
    Wanted,
    about,
    answer_due,
    rank_of,
    registered,
    require_extendable,
    row_of,
    rows,
    terms_of,
)
from consent.office.request_seal import RequestSeal
from consent.receipt_search import Position
from consent.sealing import LedgerKeys
from consent.subject_request import (
    CLOSED,
    LEADS_TO,
    NewRequest,
    RequestState,
    Standing,
    StepKind,
    StepRefused,
)
from consent.time_limits import due_days

MAX_SUBJECTS: Final = 20
"""How many pseudonyms one request can be about."""
MAX_LINKED: Final = 1_000
"""How many receipts are linked with it."""
DAYS_KEPT: Final = 730
"""How long who asked is kept after the request was closed, unless a setting says otherwise. (11 CCR section 7101: 24
months at least.)"""
_DAY_MS: Final = 86_400_000


class Register:
    """Keeps the requests. Blocks; safe to share between threads and processes.

    Args:
        database: where they are kept.
        accesses: where each step is recorded first: by its reference, and without anything that was written.
        keys: those of the log of receipts; the wrapping ones seal who asked.
        clock: returns seconds since 1970.
        days_kept: how long who asked is kept after a request was closed.
    """

    def __init__(
        self,
        database: OfficeDatabase,
        accesses: AccessLog,
        keys: LedgerKeys,
        clock: Callable[[], float],
        *,
        days_kept: int = DAYS_KEPT,
    ) -> None:
        self._database = database
        self._accesses = accesses
        self._seal = RequestSeal(keys)
        self._naming = keys.index
        self._clock = clock
        self.days_kept = days_kept

    # ---- arriving

    def receive(self, new: NewRequest, *, nonce: bytes, network: bytes) -> tuple[str, str]:
        """Register a request of the form. (:meth:`consent.subject_request.RequestRegister.receive`.)"""
        reference, code = self._named(nonce)
        now = self._now()
        sender = sender_of(self._naming, network, now)
        with self._database.reading() as connection:
            if _is_there(connection, reference):
                return reference, code
            require_room(connection, sender)
        self._accesses.append("the form", "request-received", request=reference)
        with self._database.writing() as connection:
            if not _is_there(connection, reference):
                require_room(connection, sender)
                count_sent(connection, sender)
                self._insert(connection, new, reference, code, now, now, "the form")
        return reference, code

    def add(
        self,
        new: NewRequest,
        who: str,
        *,
        received_ms: int | None = None,
        first: Callable[[str], object] = lambda reference: None,
    ) -> tuple[Registered, str]:
        """Register a request that came another way; return it, and the code for whoever asks.

        Args:
            new: what arrived.
            who: who registers it.
            received_ms: when it arrived, milliseconds since 1970; left out, now.
            first: is given the reference before anything is written.
        """
        reference, code = self._named(secrets.token_bytes(16))
        now = self._now()
        first(reference)
        with self._database.writing() as connection:
            self._insert(connection, new, reference, code, received_ms or now, now, who)
            return registered(_open_row(connection, reference)), code

    def _named(self, nonce: bytes) -> tuple[str, str]:
        made = hmac.digest(self._naming, b"consent-request:" + nonce, "sha256")
        return _grouped(made[:5]), _grouped(made[5:15])

    def _insert(
        self,
        connection: sqlite3.Connection,
        new: NewRequest,
        reference: str,
        code: str,
        received_ms: int,
        now: int,
        who: str,
    ) -> None:
        uid = secrets.token_bytes(16)
        key, wrapped = self._seal.new_key(uid)
        person = Person(
            new.name, new.contact, new.details, new.agent, (new.subject,) if new.subject else (), new.subject
        )
        due = due_days(_day(received_ms), new.jurisdiction)
        state = RequestState.RECEIVED
        days = (due.acknowledge.isoformat(), due.answer.isoformat(), due.extended.isoformat())
        number = connection.execute(
            f"INSERT INTO request ({_WRITTEN}) VALUES ({', '.join('?' * 20)})",  # noqa: S608 - ours
            (
                uid, reference, _code_hash(code), str(new.kind), str(new.way), new.site, new.jurisdiction, new.language,
                str(state), received_ms, *days, due.law, None, None, bool(new.agent), rank_of(state, *days, None),
                wrapped, self._seal.person(key, uid, person),
            ),
        ).lastrowid  # fmt: skip
        self._seal.note(connection, int(number or 0), uid, key, now, who, "received", "")
        add_event(
            connection, now, EventType.REQUEST_RECEIVED, reference=reference, kind=new.kind, site=new.site,
            answer_by=due.answer.isoformat(),
        )  # fmt: skip

    # ---- asking

    def standing(self, reference: str, code: str) -> Standing | None:
        """Tell how a request stands. (:meth:`consent.subject_request.RequestRegister.standing`.)"""
        with self._database.reading() as connection:
            row = row_of(connection, _typed(reference))
            kept = row["code_hash"] if row is not None else None
            right = hmac.compare_digest(_code_hash(_typed(code)), kept or bytes(32))
            if row is None or not right or kept is None:
                return None
            request = registered(row)
            explained = {RequestState.EXTENDED: StepKind.EXTEND, RequestState.DENIED: StepKind.DENY}
            wanted = explained.get(request.state)
            reasons = [step.text for step in self._seal.steps(connection, row) if step.what == wanted]
        received = _day(request.received_ms).isoformat()
        return Standing(
            request.reference,
            request.kind,
            request.state,
            received,
            "" if request.state in CLOSED else answer_due(request),
            reasons[-1] if reasons else "",
        )

    def find(
        self, wanted: Wanted, *, limit: int, before: Position | None = None
    ) -> tuple[Sequence[Registered], Position | None]:
        """Return requests without who asked: what is due first comes first, then what is closed, the newest first.

        Returns also where the next page begins.
        """
        terms, values = terms_of(wanted)
        if before is not None:
            terms.append("(rank, number) > (?, ?)")
            values += before
        where = f" WHERE {' AND '.join(terms)}" if terms else ""
        with self._database.reading() as connection:
            statement = f"SELECT * FROM request{where} ORDER BY rank, number LIMIT ?"  # noqa: S608 - ours
            found = rows(connection, statement, (*values, limit + 1))
        last = found[limit - 1] if len(found) > limit else None
        following = None if last is None else Position(last["rank"], last["number"])
        return [registered(row) for row in found[:limit]], following

    def counts(self, sites: Collection[str], today: str) -> Mapping[str, int]:
        """Return how many requests there are in each state, and under ``overdue`` how many of the open ones are."""
        terms, values = terms_of(Wanted(sites=sites))
        where = f" WHERE {' AND '.join(terms)}" if terms else ""
        late, due = terms_of(Wanted(sites=sites, overdue_on=today))
        with self._database.reading() as connection:
            found = connection.execute(
                f"SELECT state, count(*) FROM request{where} GROUP BY state",  # noqa: S608 - ours
                values,
            ).fetchall()
            (overdue,) = connection.execute(
                f"SELECT count(*) FROM request WHERE {' AND '.join(late)}",  # noqa: S608 - ours
                due,
            ).fetchone()
        sums = dict.fromkeys(map(str, RequestState), 0) | dict(found)
        return {**sums, "overdue": overdue}

    def numbers(self, wanted: Wanted, since_ms: int, until_ms: int) -> RequestNumbers:
        """Return how many requests came in and were closed between two moments, the second one not included."""
        terms, values = terms_of(wanted)
        more = "".join(f" AND {term}" for term in terms)
        between = (since_ms, until_ms, *values)
        with self._database.reading() as connection:

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

    def get(self, reference: str) -> Registered | None:
        """Return a request without who asked; ``None``: there is none."""
        with self._database.reading() as connection:
            row = row_of(connection, _typed(reference))
        return None if row is None else registered(row)

    def open(self, reference: str) -> OpenedRequest | None:
        """Return a request with who asked; ``None``: there is none."""
        with self._database.reading() as connection:
            row = row_of(connection, _typed(reference))
            if row is None:
                return None
            leaves = connection.execute(
                "SELECT leaf FROM request_receipt WHERE request = ? ORDER BY leaf", (row["number"],)
            ).fetchall()
            return OpenedRequest(
                registered(row),
                self._seal.who(row),
                self._seal.steps(connection, row),
                [leaf for (leaf,) in leaves],
            )

    # ---- doing

    def step(self, reference: str, kind: StepKind, text: str, who: str) -> Registered:
        """Take a step; it is in the history from then on.

        Raises:
            StepRefused: it cannot be taken now.
        """
        now = self._now()
        with self._database.writing() as connection:
            row = _open_row(connection, reference)
            request = registered(row)
            request.progress.require(kind)
            if kind is StepKind.EXTEND:
                require_extendable(request, _day(now).isoformat())
            state = LEADS_TO.get(kind, request.state)
            changes: dict[str, object] = {"state": str(state)}
            if state is not RequestState.RECEIVED and request.acknowledged_ms is None and kind in LEADS_TO:
                changes["acknowledged_ms"] = now  # whoever has the answer knows that the request arrived
            if kind is StepKind.VERIFY_IDENTITY:
                changes["identity_ms"] = now
            if kind is StepKind.VERIFY_AUTHORITY:
                changes["authority_ms"] = now
            closed = now if state in CLOSED else None
            if kind in LEADS_TO:
                changes["closed_ms"] = closed
                days = (request.acknowledge_by, request.answer_by, request.extended_by)
                changes["rank"] = rank_of(state, *days, closed)
            columns = ", ".join(f"{name} = ?" for name in changes)
            connection.execute(
                f"UPDATE request SET {columns} WHERE number = ?",  # noqa: S608 - ours
                (*changes.values(), request.number),
            )
            self._seal.note(
                connection, request.number, row["uid"], self._seal.key(row), now, who, str(kind), text
            )
            return registered(_open_row(connection, request.reference))

    def note(self, reference: str, what: str, text: str, who: str) -> None:
        """Write into the history what was done besides the steps."""
        with self._database.writing() as connection:
            row = _open_row(connection, reference)
            self._seal.note(
                connection, row["number"], row["uid"], self._seal.key(row), self._now(), who, what, text
            )

    def link(self, reference: str, subject: str, leaves: Iterable[int], who: str) -> None:
        """Keep which receipts a request is about."""

        def linked(person: Person) -> Person:
            subjects = tuple(dict.fromkeys((*person.subjects, subject)))
            if len(subjects) > MAX_SUBJECTS:
                raise StepRefused(f"a request is about {MAX_SUBJECTS} pseudonyms at most")
            return about(person, subjects)

        self._change(reference, linked, leaves, who, "linked", "")

    def forget_subject(self, reference: str, subject: str, who: str, certificates: Sequence[str]) -> None:
        """Keep that a visitor was erased, and under which certificates, and not the pseudonym any longer."""

        def without(person: Person) -> Person:
            return about(person, tuple(each for each in person.subjects if each != subject))

        self._change(reference, without, (), who, "erased", " ".join(certificates))

    def _change(
        self,
        reference: str,
        change: Callable[[Person], Person],
        leaves: Iterable[int],
        who: str,
        what: str,
        text: str,
    ) -> None:
        with self._database.writing() as connection:
            row = _open_row(connection, reference)
            key = self._seal.key(row)
            sealed = self._seal.person(key, row["uid"], change(self._seal.who(row)))
            connection.execute("UPDATE request SET sealed = ? WHERE number = ?", (sealed, row["number"]))
            connection.executemany(
                "INSERT OR IGNORE INTO request_receipt VALUES (?, ?)",
                [(row["number"], leaf) for leaf in list(leaves)[:MAX_LINKED]],
            )
            self._seal.note(connection, row["number"], row["uid"], key, self._now(), who, what, text)

    def purge(self) -> int:
        """Forget who asked where the time for that is over; return how many."""
        over = self._now() - self.days_kept * _DAY_MS
        due = "wrapped IS NOT NULL AND closed_ms IS NOT NULL AND closed_ms < ?"
        with self._database.reading() as connection:
            if connection.execute(f"SELECT 1 FROM request WHERE {due} LIMIT 1", (over,)).fetchone() is None:  # noqa: S608 - ours
                return 0
        with self._database.writing() as connection:
            numbers = connection.execute(f"SELECT number FROM request WHERE {due}", (over,)).fetchall()  # noqa: S608 - ours
            connection.executemany("UPDATE request_step SET sealed = NULL WHERE request = ?", numbers)
            connection.executemany("DELETE FROM request_receipt WHERE request = ?", numbers)
            connection.executemany(
                "UPDATE request SET wrapped = NULL, sealed = NULL, code_hash = NULL WHERE number = ?", numbers
            )
        return len(numbers)

    def _now(self) -> int:
        return int(self._clock() * 1_000)


_WRITTEN: Final = (
    "uid, reference, code_hash, kind, way, site, jurisdiction, language, state, received_ms, acknowledge_by, answer_by,"
    " extended_by, law, acknowledged_ms, closed_ms, by_agent, rank, wrapped, sealed"
)


_IS_LATE: Final = f"""
    CASE WHEN EXISTS (SELECT 1 FROM request_step WHERE request = number AND what = '{StepKind.EXTEND}')
    THEN extended_by ELSE answer_by END < date(closed_ms / 1000, 'unixepoch')
"""  # noqa: S608 - ours


def _open_row(connection: sqlite3.Connection, reference: str) -> Mapping[str, Any]:
    row = row_of(connection, _typed(reference))
    if row is None or row["wrapped"] is None:
        raise StepRefused("who asked was forgotten when the time for that was over: nothing can be added")
    return row


def _is_there(connection: sqlite3.Connection, reference: str) -> bool:
    return row_of(connection, reference) is not None


def _grouped(made: bytes) -> str:
    digits = base64.b32encode(made).decode()
    return "-".join(digits[at : at + 4] for at in range(0, len(digits), 4))


def _typed(text: str) -> str:
    """Return a reference or code as it was given, however it was typed in."""
    digits = "".join(text[:60].upper().replace("-", "").split()).replace("0", "O").replace("1", "I")
    return "-".join(digits[at : at + 4] for at in range(0, len(digits), 4))


def _code_hash(code: str) -> bytes:
    # 80 random bits need no slow hash.
    return sha256(code.encode("utf-8", "replace")).digest()


def _day(time_ms: int) -> date:
    return datetime.fromtimestamp(time_ms / 1_000, UTC).date()
