"""The register of requests: what is due, who may take which step, floods, and that nobody is kept in plain text."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime
from itertools import product
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from consent.errors import SealBrokenError
from consent.office.access_log import AccessLog
from consent.office.database import STEPS, OfficeDatabase
from consent.office.events import Events, EventType
from consent.office.register import Register
from consent.office.request_flood import HOURLY, HOURLY_OF_NETWORK, WAITING
from consent.office.request_rows import Registered, Wanted
from consent.office.roles import Role
from consent.office.tokens import TokenBook
from consent.office.wrapped_keys import rewrap_office
from consent.receipt_search import Position
from consent.sealing import LedgerKeys
from consent.subject_request import (
    CLOSED,
    LEADS_TO,
    WITHOUT_IDENTITY,
    NewRequest,
    Progress,
    RegisterFull,
    RequestKind,
    RequestState,
    StepKind,
    StepRefused,
    Way,
)
from tests.test_erasure import ERASURE
from tests.test_office_access import Clock
from tests.test_receipts import KEYS

JO = "Jo (000000000000)"
SUBJECT = "7c80" * 8
NEW = NewRequest(
    kind=RequestKind.ERASE,
    way=Way.FORM,
    site="Example shop",
    jurisdiction="DE",
    language="de",
    name="Alix Example",
    contact="alix@mail.example",
    details="I bought boots once.",
    subject=SUBJECT,
)
SECRETS = ("Alix", "alix@mail", "boots", SUBJECT, "Passport 4711")
DAY = 86_400


class Office:
    """A register on a file."""

    def __init__(self, folder: Path, keys: LedgerKeys = KEYS) -> None:
        self.clock = Clock()
        self.database = OfficeDatabase(folder / "office.sqlite3")
        self.accesses = AccessLog(self.database, KEYS, self.clock)
        self.register = Register(self.database, self.accesses, keys, self.clock)

    def add(self, **changes: object) -> Registered:
        return self.register.add(replace(NEW, **changes), JO)[0]  # type: ignore[arg-type]

    def files(self) -> bytes:
        return b"".join(path.read_bytes() for path in self.database.path.parent.glob("office.sqlite3*"))


@pytest.fixture
def office(tmp_path: Path) -> Office:
    return Office(tmp_path)


def nonce(number: int) -> bytes:
    return number.to_bytes(16, "big")


def test_a_request_of_the_form_and_how_it_stands(office: Office) -> None:
    """Who has reference and code sees kind, state and day, however they type them; nobody else learns anything."""
    reference, code = office.register.receive(NEW, nonce=nonce(1), network=b"192.0.2")
    assert (len(reference), len(code)) == (9, 19)
    standing = office.register.standing(f" {reference.lower().replace('-', '')}", code.replace("-", " "))
    assert standing is not None
    assert (standing.kind, standing.state, standing.received, standing.due, standing.reason) == (
        RequestKind.ERASE,
        RequestState.RECEIVED,
        "2027-01-15",
        "2027-02-15",
        "",
    )
    other = code[:-1] + ("A" if code[-1] != "A" else "B")
    for wrong in ((reference, other), (reference, ""), ("AAAA-AAAA", code), ("", ""), (reference, "é" * 90)):
        assert office.register.standing(*wrong) is None
    (entry,) = office.accesses.newest(limit=9)
    assert (entry.who, entry.what, entry.details) == ("the form", "request-received", {"request": reference})


def test_the_same_form_again_is_the_same_request(office: Office) -> None:
    """A button that is pressed twice asks once, and counts once."""
    given = {office.register.receive(NEW, nonce=nonce(1), network=b"n") for _ in range(HOURLY_OF_NETWORK + 2)}
    assert len(given) == 1
    assert office.register.counts((), "2027-01-15")["received"] == 1
    assert office.register.receive(NEW, nonce=nonce(2), network=b"n") not in given


def send(office: Office, numbers: Iterable[int], networks: Callable[[int], bytes]) -> int:
    """Send requests; return how many were taken."""
    taken = 0
    for number in numbers:
        with contextlib.suppress(RegisterFull):
            office.register.receive(NEW, nonce=nonce(number), network=networks(number))
            taken += 1
    return taken


def test_some_networks_cannot_close_the_form_to_others(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They share half of it; the rest is for networks that sent nothing that day, a request each."""
    assert send(office, range(200), lambda number: b"%d" % (number % 7)) == HOURLY // 2
    assert (office.register.load().takes, office.register.load().hour) == ("new-networks", HOURLY // 2)
    assert send(office, range(200, 210), lambda number: b"new") == 1
    # However long they go on: what may wait for an answer is shared in the same way.
    monkeypatch.setattr("consent.office.request_flood.WAITING", 100)
    for hour in range(1, 6):
        office.clock.now += 3_600
        send(office, range(hour * 1_000, hour * 1_000 + 60), lambda number: b"%d" % (number % 7))
    assert office.register.load().waiting == 50
    assert send(office, [9_000], lambda number: b"somebody") == 1
    # The day after, nobody is known any more.
    office.clock.now += DAY
    assert send(office, [9_001, 9_002], lambda number: b"1") == 1
    with office.database.reading() as connection:
        assert connection.execute("SELECT count(*) FROM request_sender").fetchone() == (1,)


def test_where_no_client_is_known_all_share_what_networks_do(office: Office) -> None:
    """Behind a server that says nothing of clients, five an hour would be for everybody."""
    assert send(office, range(100), lambda number: b"") == HOURLY // 2
    assert send(office, [200], lambda number: b"somebody") == 1


def test_networks_go_with_the_day(office: Office) -> None:
    """Also where no other form arrives: nobody with the keys finds out later which network sent one."""

    def kept() -> int:
        with office.database.reading() as connection:
            return int(connection.execute("SELECT count(*) FROM request_sender").fetchone()[0])

    assert send(office, [1], lambda number: b"one") == 1
    office.register.purge()
    assert kept() == 1
    office.clock.now += DAY
    assert office.register.purge() == 0
    assert kept() == 0


def test_a_flood_is_stopped(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """By network, in all, and by what waits; an hour later there is room again. Other ways are not stopped."""
    assert send(office, range(8), lambda number: b"one") == HOURLY_OF_NETWORK
    assert send(office, range(100, 200), lambda number: b"%d" % number) == HOURLY - HOURLY_OF_NETWORK
    assert (office.register.load().takes, office.register.load().was_closed) == ("none", True)
    with pytest.raises(RegisterFull):
        office.register.receive(NEW, nonce=nonce(999), network=b"another")
    # What was taken already is told again.
    assert office.register.receive(NEW, nonce=nonce(0), network=b"one")
    office.add(way=Way.LETTER)
    office.clock.now += 3_600
    assert office.register.load().takes == "all"
    office.register.receive(NEW, nonce=nonce(999), network=b"192.0.2")
    monkeypatch.setattr("consent.office.request_flood.WAITING", HOURLY + 1)
    with pytest.raises(RegisterFull):
        office.register.receive(NEW, nonce=nonce(1_000), network=b"another")
    assert WAITING > HOURLY
    assert b"192.0.2" not in office.files()


def test_nothing_of_anybody_is_in_the_file_in_plain_text(office: Office) -> None:
    """Neither who asks, nor what the office wrote about it; and nothing of it is in the log of accesses."""
    request = office.add()
    office.register.step(request.reference, StepKind.VERIFY_IDENTITY, "Passport 4711 of Alix", JO)
    office.register.link(request.reference, {SUBJECT: [27]}, JO)
    opened = office.register.open(request.reference)
    assert opened is not None
    assert (opened.person.name, opened.person.contact, opened.person.details) == (
        "Alix Example",
        "alix@mail.example",
        "I bought boots once.",
    )
    assert (opened.person.subjects, opened.person.came_with, opened.leaves) == ((SUBJECT,), SUBJECT, [27])
    assert [(step.who, step.what, step.text) for step in opened.steps] == [
        (JO, "received", ""),
        (JO, "verify-identity", "Passport 4711 of Alix"),
        (JO, "linked", ""),
    ]
    stored = office.files()
    assert b"Example shop" in stored
    assert [secret for secret in SECRETS if secret.encode() in stored] == []
    for shown in (repr(opened), repr(NEW)):
        assert [secret for secret in SECRETS if secret in shown] == []


def test_who_asked_is_forgotten_when_the_time_is_over(office: Office) -> None:
    """Counted from the day on which the request was closed; kind, days and state stay, and the key is gone."""
    open_one, closed = office.add(), office.add()
    office.register.link(closed.reference, {SUBJECT: [27]}, JO)
    office.register.step(closed.reference, StepKind.TAKE_BACK, "Alix called", JO)
    with office.database.reading() as connection:
        (wrapped,) = connection.execute(
            "SELECT wrapped FROM request WHERE reference = ?", (closed.reference,)
        ).fetchone()
    office.clock.now += 730 * DAY
    assert office.register.purge() == 0
    assert wrapped in office.files()
    office.clock.now += 1
    assert office.register.purge() == 1
    assert office.register.purge() == 0
    assert wrapped not in office.files()
    opened, kept = office.register.open(closed.reference), office.register.open(open_one.reference)
    assert opened is not None
    assert kept is not None
    assert (opened.request.is_forgotten, opened.person.name, opened.leaves) == (True, "", [])
    assert opened.request.state is RequestState.WITHDRAWN
    assert [step.text for step in opened.steps] == ["", "", ""]
    assert kept.person.name == "Alix Example"
    with pytest.raises(StepRefused, match="who asked was forgotten"):
        office.register.step(closed.reference, StepKind.NOTE, "x", JO)


def test_an_erased_visitor_leaves_the_request_too(office: Office) -> None:
    """The certificate stays, the pseudonym goes."""
    request = office.add()
    office.register.forget(SUBJECT, [ERASURE], JO)
    opened = office.register.open(request.reference)
    assert opened is not None
    assert (opened.person.subjects, opened.person.came_with) == ((), "")
    assert (opened.steps[-1].what, opened.steps[-1].text) == ("erased", ERASURE.erasure_id)


def test_the_wrapping_key_can_be_changed(office: Office, tmp_path: Path) -> None:
    """As that of the receipts: a new one first, all wrapped again, the old one dropped."""
    reference = office.add().reference
    new = LedgerKeys.generate().wrapping
    both = replace(KEYS, wrapping=new + KEYS.wrapping)
    assert [rewrap_office(office.database, both) for _ in range(2)] == [1, 0]
    opened = Office(tmp_path, replace(KEYS, wrapping=new)).register.open(reference)
    assert opened is not None
    assert opened.person.name == "Alix Example"
    with pytest.raises(SealBrokenError, match="not in the key file"):
        office.register.open(reference)


def test_what_is_due_comes_first(office: Office) -> None:
    """Overdue, then by the day that is next, then what is closed, the newest first; page by page."""
    start = office.clock.now
    late = office.add()
    office.clock.now += 10 * DAY
    answered = office.add(kind=RequestKind.OBJECT)
    office.register.step(answered.reference, StepKind.ANSWER, "done", JO)
    office.clock.now += 1
    taken = office.add(way=Way.LETTER, jurisdiction="US-CA")
    office.register.step(taken.reference, StepKind.TAKE_BACK, "", JO)
    soon = office.add(site="Example blog")
    worked = office.add()
    office.register.step(worked.reference, StepKind.ACKNOWLEDGE, "", JO)
    office.clock.now = start + 20 * DAY
    order = [late, soon, worked, taken, answered]
    today = datetime.fromtimestamp(office.clock.now, UTC).date().isoformat()
    found, following = office.register.find(Wanted(), limit=9)
    assert [each.reference for each in found] == [each.reference for each in order]
    assert following is None
    assert [each.is_overdue(today) for each in found] == [True, False, False, False, False]
    paged: list[Registered] = []
    before: Position | None = None
    for _ in range(5):
        page, before = office.register.find(Wanted(), limit=1, before=before)
        paged += page
    assert (paged, before) == (found, None)
    assert office.register.counts((), today) == {
        "received": 2,
        "acknowledged": 1,
        "extended": 0,
        "answered": 1,
        "denied": 0,
        "withdrawn": 1,
        "overdue": 1,
        "soon": 1,
    }
    assert office.register.counts(("Example blog",), today)["overdue"] == 0
    for wanted, expected in (
        (Wanted(sites=("Example blog",)), [soon]),
        (Wanted(open_only=True, site="Example shop"), [late, worked]),
        (Wanted(overdue_on=today), [late]),
        (Wanted(state="answered"), [answered]),
        (Wanted(kind="object"), [answered]),
    ):
        found, _ = office.register.find(wanted, limit=9)
        assert [each.reference for each in found] == [each.reference for each in expected]


def test_more_time_is_taken_in_time_and_with_its_reason(office: Office) -> None:
    """Once, before the first time is over, where the law has more; who asked reads why."""
    reference, code = office.register.receive(NEW, nonce=nonce(1), network=b"")
    swiss = office.add(jurisdiction="CH")
    for each in (reference, swiss.reference):
        with pytest.raises(StepRefused, match="a request that is received cannot be extended"):
            office.register.step(each, StepKind.EXTEND, "many", JO)
        office.register.step(each, StepKind.ACKNOWLEDGE, "", JO)
    with pytest.raises(StepRefused, match=r"there is no more time to take: Data Protection Act"):
        office.register.step(swiss.reference, StepKind.EXTEND, "many", JO)
    office.clock.now = datetime(2027, 2, 15, 23, 59, tzinfo=UTC).timestamp()
    extended = office.register.step(reference, StepKind.EXTEND, "Many requests came at once.", JO)
    assert (extended.state, extended.due) == (RequestState.EXTENDED, "2027-04-15")
    standing = office.register.standing(reference, code)
    assert standing is not None
    assert (standing.due, standing.reason) == ("2027-04-15", "Many requests came at once.")
    with pytest.raises(StepRefused, match="cannot be extended"):
        office.register.step(reference, StepKind.EXTEND, "more", JO)
    late = office.add()
    office.register.step(late.reference, StepKind.ACKNOWLEDGE, "", JO)
    office.clock.now += 40 * DAY
    with pytest.raises(StepRefused, match="and no later: answer it"):
        office.register.step(late.reference, StepKind.EXTEND, "many", JO)


def test_which_step_leads_where() -> None:
    """Every state and every step; nothing is given away before it is known who asks, and for whom."""
    allowed = {
        RequestState.RECEIVED: {StepKind.ACKNOWLEDGE, StepKind.VERIFY_IDENTITY, StepKind.DENY, StepKind.TAKE_BACK},
        RequestState.ACKNOWLEDGED: {StepKind.EXTEND, StepKind.VERIFY_IDENTITY, StepKind.DENY, StepKind.TAKE_BACK},
        RequestState.EXTENDED: {StepKind.VERIFY_IDENTITY, StepKind.DENY, StepKind.TAKE_BACK},
    }  # fmt: skip
    for kind, state, identity, agent, authority in product(
        RequestKind, RequestState, (False, True), (False, True), (False, True)
    ):
        steps = set(Progress(kind, state, identity, agent, authority).steps())
        expected = {StepKind.NOTE} | allowed.get(state, set())
        if state not in CLOSED:
            expected |= {StepKind.VERIFY_AUTHORITY} if agent else set()
            known = identity or kind in WITHOUT_IDENTITY
            expected |= {StepKind.ANSWER} if known and (authority or not agent) else set()
        assert steps == expected


class AnyOffice(RuleBasedStateMachine):
    """One request, and an office that tries everything at any time."""

    @initialize(kind=st.sampled_from(RequestKind), agent=st.booleans())
    def begin(self, kind: RequestKind, agent: bool) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.office = Office(Path(self.folder.name))
        self.reference = self.office.add(kind=kind, agent="Pat Example" if agent else "").reference
        self.states = [RequestState.RECEIVED]

    @rule(step=st.sampled_from(StepKind), days=st.integers(0, 20))
    def take(self, step: StepKind, days: int) -> None:
        self.office.clock.now += days * DAY
        before = self.office.register.open(self.reference)
        try:
            after = self.office.register.step(self.reference, step, "because", JO)
        except StepRefused:
            assert self.office.register.open(self.reference) == before
            return
        if step in LEADS_TO:
            self.states.append(after.state)

    @invariant()
    def holds(self) -> None:
        opened = self.office.register.open(self.reference)
        assert opened is not None
        request = opened.request
        order = list(RequestState)
        assert [order.index(state) for state in self.states] == sorted({order.index(s) for s in self.states})
        assert request.state is self.states[-1]
        assert (request.closed_ms is not None) is (request.state in CLOSED) is (request.due == "")
        assert (request.acknowledged_ms is None) is (request.state is RequestState.RECEIVED)
        if request.state is RequestState.ANSWERED:
            assert request.identity_ms or request.kind in WITHOUT_IDENTITY
            assert request.authority_ms or not request.by_agent

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            self.folder.cleanup()


AnyOffice.TestCase.settings = settings(
    max_examples=25, stateful_step_count=12, deadline=None, suppress_health_check=list(HealthCheck)
)
TestAnyOffice = AnyOffice.TestCase


def test_the_file_of_an_earlier_release_gets_its_tables(tmp_path: Path) -> None:
    """What was in it stays."""
    at = next(at for at, step in enumerate(STEPS) if "CREATE TABLE request " in step)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("consent.office.database.STEPS", STEPS[:at])
        TokenBook(Office(tmp_path).database, lambda: 1.0).make("Jo", Role.READER, days=1)
    again = Office(tmp_path)
    assert again.add().reference
    assert [token.name for token in TokenBook(again.database, lambda: 1.0).all()] == ["Jo"]


def test_a_request_is_an_event_that_names_nobody(office: Office) -> None:
    """In the same transaction; who follows events learns that somebody asked, and looks in the register."""
    office.register.receive(NEW, nonce=nonce(1), network=b"n")
    (event,) = Events(office.database).after(0, limit=9, types=[EventType.REQUEST_RECEIVED])
    assert event.data.keys() == {"reference", "kind", "site", "answer_by"}
    said = event.line().decode()
    assert not any(each and each in said for each in (NEW.name, NEW.contact, NEW.details, NEW.subject))
