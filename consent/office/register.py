"""The register of what people asked about their data: what is due when, who did what, and, sealed, who asked.

Who asked, and what was written about it, is sealed under a key of the request's own, which is kept wrapped under a key
that is in no database. Whoever destroys that key forgets the person; that there was a request stays, and its days.
"""

from __future__ import annotations

import hmac
import secrets
import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from itertools import chain
from typing import Any, Final
from uuid import uuid4

from consent.erasure import Erasure
from consent.office.access_log import AccessLog
from consent.office.database import OfficeDatabase
from consent.office.events import EventType, add_event
from consent.office.request_codes import code_hash, named, typed
from consent.office.request_finding import Due, count_due, count_requests, find_requests, request_numbers
from consent.office.request_flood import (
    FormLoad,
    count_sent,
    forget_senders,
    form_load,
    has_former_senders,
    require_room,
    sender_of,
)
from consent.office.request_rows import (
    OpenedRequest,
    Person,
    Registered,
    RequestNumbers,
    Wanted,
    about,
    answer_due,
    found_by,
    rank_of,
    registered,
    require_extendable,
    row_of,
)
from consent.office.request_seal import RequestSeal
from consent.office.request_subjects import Certificate, RequestSubjects, texts_of
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
    Way,
)
from consent.time_limits import due_days

MAX_SUBJECTS: Final = 100
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
        holidays: days besides Saturdays and Sundays that are no business days.
    """

    def __init__(
        self,
        database: OfficeDatabase,
        accesses: AccessLog,
        keys: LedgerKeys,
        clock: Callable[[], float],
        *,
        days_kept: int = DAYS_KEPT,
        holidays: Collection[date] = (),
    ) -> None:
        self._database = database
        self._accesses = accesses
        self._seal = RequestSeal(keys)
        self._subjects = RequestSubjects(keys.index, self._seal)
        self._naming = keys.index
        self._clock = clock
        self.days_kept = days_kept
        self._holidays = frozenset(holidays)

    # ---- arriving

    def receive(self, new: NewRequest, *, nonce: bytes, network: bytes) -> tuple[str, str]:
        """Register a request of the form. (:meth:`consent.subject_request.RequestRegister.receive`.)"""
        reference, code = named(self._naming, nonce)
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
        reference, code = named(self._naming, secrets.token_bytes(16))
        now = self._now()
        first(reference)
        with self._database.writing() as connection:
            self._insert(connection, new, reference, code, received_ms or now, now, who)
            return registered(_open_row(connection, reference)), code

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
            new.name, new.contact, new.details, new.agent, (new.subject,) if new.subject else (),
            # What another way brought nobody has seen in a cookie.
            new.subject if new.way is Way.FORM else "",
        )  # fmt: skip
        due = due_days(_day(received_ms), new.jurisdiction, self._holidays)
        state = RequestState.RECEIVED
        days = (due.acknowledge.isoformat(), due.answer.isoformat(), due.extended.isoformat())
        number = connection.execute(
            f"INSERT INTO request ({_WRITTEN}) VALUES ({', '.join('?' * 20)}, 1)",  # noqa: S608 - ours
            (
                uid, reference, code_hash(code), str(new.kind), str(new.way), new.site, new.jurisdiction, new.language,
                str(state), received_ms, *days, due.law, None, None, bool(new.agent), rank_of(state, *days, None),
                wrapped, self._seal.person(key, uid, person),
            ),
        ).lastrowid  # fmt: skip
        self._subjects.index(connection, int(number or 0), texts_of(person))
        self._seal.note(connection, int(number or 0), uid, key, now, who, "received", "")
        add_event(
            connection, now, EventType.REQUEST_RECEIVED, reference=reference, kind=new.kind, site=new.site,
            answer_by=due.answer.isoformat(),
        )  # fmt: skip

    # ---- asking

    def standing(self, reference: str, code: str) -> Standing | None:
        """Tell how a request stands. (:meth:`consent.subject_request.RequestRegister.standing`.)"""
        with self._database.reading() as connection:
            row = row_of(connection, typed(reference))
            kept = row["code_hash"] if row is not None else None
            right = hmac.compare_digest(code_hash(typed(code)), kept or bytes(32))
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
        """Return requests without who asked. See :func:`find_requests`."""
        with self._database.reading() as connection:
            return find_requests(connection, wanted, limit=limit, before=before)

    def counts(self, sites: Collection[str], today: str) -> Mapping[str, int]:
        """Return how many requests there are. See :func:`count_requests`."""
        with self._database.reading() as connection:
            return count_requests(connection, sites, today)

    def due(self, sites: Collection[str], today: str) -> Due:
        """Return how many are overdue, and how many are due soon. See :func:`count_due`."""
        with self._database.reading() as connection:
            return count_due(connection, sites, today)

    def load(self) -> FormLoad:
        """Return how much of what it can take the form has taken."""
        with self._database.reading() as connection:
            return form_load(connection, self._now())

    def numbers(self, wanted: Wanted, since_ms: int, until_ms: int) -> RequestNumbers:
        """Return how many came in and were closed between two moments. See :func:`request_numbers`."""
        with self._database.reading() as connection:
            return request_numbers(connection, wanted, since_ms, until_ms)

    def get(self, reference: str) -> Registered | None:
        """Return a request without who asked; ``None``: there is none."""
        with self._database.reading() as connection:
            row = row_of(connection, typed(reference))
        return None if row is None else registered(row)

    def open(self, reference: str) -> OpenedRequest | None:
        """Return a request with who asked; ``None``: there is none."""
        with self._database.reading() as connection:
            row = row_of(connection, typed(reference))
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

    def step(
        self, reference: str, kind: StepKind, text: str, who: str, *, if_untouched: bool = False
    ) -> Registered:
        """Take a step; it is in the history from then on.

        Args:
            reference: of the request.
            kind: of the step.
            text: what is written about it.
            who: takes it.
            if_untouched: only where nobody has taken the request up.

        Raises:
            StepRefused: it cannot be taken now.
        """
        now = self._now()
        with self._database.writing() as connection:
            row = _open_row(connection, reference)
            request = registered(row)
            if if_untouched and not request.is_untouched:
                raise StepRefused("it was taken up meanwhile")
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
            self._note(connection, row, who, str(kind), text)
            return registered(_open_row(connection, request.reference))

    def note(self, reference: str, what: str, text: str, who: str) -> None:
        """Write into the history what was done besides the steps."""
        with self._database.writing() as connection:
            self._note(connection, _open_row(connection, reference), who, what, text)

    def _note(
        self, connection: sqlite3.Connection, row: Mapping[str, Any], who: str, what: str, text: str
    ) -> None:
        self._subjects.index(connection, row["number"], [text])
        key = self._seal.key(row)
        self._seal.note(connection, row["number"], row["uid"], key, self._now(), who, what, text)

    def link(
        self, reference: str, found: Mapping[str, Iterable[int]], who: str, account: str | None = None
    ) -> None:
        """Keep which visitors a request is about, and which receipts; ``account``: keyed hash of what found them."""
        with self._database.writing() as connection:
            row = _open_row(connection, reference)
            person = self._seal.who(row)
            subjects = tuple(dict.fromkeys((*person.subjects, *found)))
            if len(subjects) > MAX_SUBJECTS:
                raise StepRefused(f"a request is about {MAX_SUBJECTS} pseudonyms at most")
            linked = found_by(about(person, subjects), found, account, known=person.subjects)
            sealed = self._seal.person(self._seal.key(row), row["uid"], linked)
            connection.execute("UPDATE request SET sealed = ? WHERE number = ?", (sealed, row["number"]))
            connection.executemany(
                "INSERT OR IGNORE INTO request_receipt VALUES (?, ?)",
                [(row["number"], leaf) for leaf in list(chain(*found.values()))[:MAX_LINKED]],
            )
            self._subjects.index(connection, row["number"], subjects)
            self._note(connection, row, who, "linked", "")

    # ---- forgetting

    def series(self, reference: str, subject: str) -> str:
        """Return the series under which a visitor is to be erased for a request: each time the same one.

        It is kept before anything is erased, so that the certificate is found again whatever becomes of the answer.
        """
        with self._database.writing() as connection:
            row = _open_row(connection, reference)
            if subject not in self._seal.who(row).subjects:
                # Erased meanwhile, and forgotten: nothing of this visitor is to be written down again.
                return str(uuid4())
            return self._subjects.series(connection, row["number"], subject)

    def forget(
        self, subject: str, erasures: Sequence[Erasure], who: str, sites: Collection[str] = ()
    ) -> None:
        """Take a visitor who was erased out of every request, or out of those of some sites. May be repeated. Those
        that were about him have the certificates instead, and that it was done in their history."""
        with self._database.reading() as connection:
            if not self._subjects.is_named(connection, subject):
                return
        with self._database.writing() as connection:
            self._subjects.forget(connection, subject, erasures, who=who, now_ms=self._now(), sites=sites)
            # Answers that are kept to be given again may name him. That they were given stays.
            connection.execute("UPDATE done_once SET sealed = x'' WHERE wrapped IS NOT NULL")

    def subjects(self, since_ms: int = 0) -> Iterator[tuple[str, str | None]]:
        """Return the visitors whom requests are about and who were in the log, each with the series of an erasure, if
        one was begun. Left out is what came before ``since_ms``, or within a day: the log may be read with a delay."""
        before, after = self._now() - _DAY_MS, 0
        while True:
            with self._database.reading() as connection:
                some = self._subjects.named(connection, after, since_ms, before)
            for row, subject, series in some:
                after = row
                if subject is not None:
                    yield subject, series
            if not some:
                return

    def certificates(self, reference: str) -> Sequence[Certificate]:
        """Return what was erased for a request, also once who asked was forgotten."""
        with self._database.reading() as connection:
            row = row_of(connection, typed(reference))
            return () if row is None else self._subjects.certificates(connection, row["number"])

    def purge(self) -> int:
        """Forget who asked where the time for that is over, and networks of earlier days; return how many asked."""
        now = self._now()
        over = now - self.days_kept * _DAY_MS
        due = "wrapped IS NOT NULL AND closed_ms IS NOT NULL AND closed_ms < ?"
        with self._database.reading() as connection:
            row = connection.execute(f"SELECT 1 FROM request WHERE {due} LIMIT 1", (over,)).fetchone()  # noqa: S608 - ours
            if row is None and not has_former_senders(connection, now):
                return 0
        with self._database.writing() as connection:
            forget_senders(connection, now)
            numbers = connection.execute(f"SELECT number FROM request WHERE {due}", (over,)).fetchall()  # noqa: S608 - ours
            for statement in (
                "UPDATE request_step SET sealed = NULL WHERE request = ?",
                "DELETE FROM request_receipt WHERE request = ?",
                "DELETE FROM request_subject WHERE request = ?",
                "UPDATE request SET wrapped = NULL, sealed = NULL, code_hash = NULL WHERE number = ?",
            ):
                connection.executemany(statement, numbers)
        return len(numbers)

    def _now(self) -> int:
        return int(self._clock() * 1_000)


_WRITTEN: Final = (
    "uid, reference, code_hash, kind, way, site, jurisdiction, language, state, received_ms, acknowledge_by, answer_by,"
    " extended_by, law, acknowledged_ms, closed_ms, by_agent, rank, wrapped, sealed, indexed"
)


def _open_row(connection: sqlite3.Connection, reference: str) -> Mapping[str, Any]:
    row = row_of(connection, typed(reference))
    if row is None or row["wrapped"] is None:
        raise StepRefused("who asked was forgotten when the time for that was over: nothing can be added")
    return row


def _is_there(connection: sqlite3.Connection, reference: str) -> bool:
    return row_of(connection, reference) is not None


def _day(time_ms: int) -> date:
    return datetime.fromtimestamp(time_ms / 1_000, UTC).date()
