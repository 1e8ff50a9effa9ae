"""What the register keeps once a visitor was erased, by whichever way: that it was done, and nothing about whom."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from click.testing import CliRunner
from starlette.applications import Starlette
from starlette.testclient import TestClient

from consent import ConsentMiddleware
from consent.checkpoint import Checkpoint
from consent.cli import main
from consent.erasure import Erasure
from consent.errors import StoreUnavailable
from consent.office.api.once import fingerprint_of
from consent.office.app import register_in
from consent.office.database import OfficeDatabase
from consent.office.erased_elsewhere import EVERY_SECONDS, ErasedElsewhere
from consent.office.register import Register
from consent.office.request_rows import OpenedRequest, rows
from consent.office.roles import Role
from consent.office.watching import LogWatch
from consent.subject_request import RequestKind, StepKind
from tests.test_erasure import ERASURE
from tests.test_office_api import RECEIPTS, SUBJECT, Answer, Place
from tests.test_office_requests import Desk, at_once
from tests.test_receipts import receipt_id
from tests.test_register import DAY, JO, NEW, Office
from tests.test_register import NEW as ASKED
from tests.test_register import SUBJECT as NAMED
from tests.test_requesting import SAME, Site, codes
from tests.test_store_contract import PostgreSQLBackend, SQLiteBackend

OTHER = "0f" * 16


def opened(register: Register, reference: str) -> OpenedRequest:
    found = register.open(reference)
    assert found is not None
    return found


def written(request: OpenedRequest) -> str:
    person = request.person
    texts = (person.name, person.contact, person.details, person.agent, *person.subjects, person.came_with)
    return "\n".join([*texts, *(step.text for step in request.steps)])


@pytest.fixture
def office(tmp_path: Path) -> Office:
    return Office(tmp_path)


@pytest.fixture(params=[SQLiteBackend, PostgreSQLBackend], ids=["sqlite", "postgresql"])
def desk(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    desk = Desk(tmp_path / "data", request.param(tmp_path))
    yield desk
    desk.log.close()


@pytest.fixture
def sqlite_desk(tmp_path: Path) -> Any:
    desk = Desk(tmp_path / "data", SQLiteBackend(tmp_path))
    yield desk
    desk.log.close()


# ---- the register


def test_an_erased_visitor_is_in_no_request_any_more(office: Office) -> None:
    """Nor in what anybody wrote; whoever has all keys finds neither the pseudonym nor what it was found by."""
    register = office.register
    one = office.add(kind=RequestKind.ACCESS)
    two = office.add(subject="", details=f"I am {NAMED.upper()}, not {OTHER}.")
    three = office.add(subject=OTHER)
    register.link(one.reference, {NAMED: [0, 3, 9]}, JO)
    register.step(two.reference, StepKind.NOTE, f"says to be {NAMED}", JO)
    register.step(three.reference, StepKind.VERIFY_IDENTITY, f"not {NAMED}", JO)
    with office.database.reading() as connection:
        tags = [tag for (tag,) in connection.execute("SELECT DISTINCT tag FROM request_subject")]
        sealed = connection.execute(
            "SELECT sealed FROM request WHERE reference IN (?, ?)", (one.reference, two.reference)
        ).fetchall()
        sealed += connection.execute("SELECT sealed FROM request_step WHERE sealed IS NOT NULL").fetchall()
    assert (len(tags), len(sealed)) == (2, 4)
    assert all(each in office.files() for (each,) in sealed)
    register.forget(NAMED, [ERASURE], JO)
    register.forget(NAMED, [ERASURE], JO)
    for reference in (one.reference, two.reference, three.reference):
        assert NAMED not in written(opened(register, reference)).lower()
    assert opened(register, one.reference).leaves == [9]
    assert opened(register, two.reference).person.details == f"I am [erased], not {OTHER}."
    assert [step.text for step in opened(register, two.reference).steps] == ["", "says to be [erased]"]
    assert opened(register, three.reference).person.subjects == (OTHER,)
    # The one that was about this visitor says so, and has the certificate.
    assert [(step.who, step.what, step.text) for step in opened(register, one.reference).steps[-1:]] == [
        (JO, "erased", ERASURE.erasure_id)
    ]
    assert [len(register.certificates(each.reference)) for each in (one, two, three)] == [1, 0, 0]
    gone = register._subjects._tag(NAMED)
    assert gone in tags
    stored = office.files()
    # What was sealed before opens with keys that are still there: it must not be left anywhere.
    assert [each for (each,) in sealed if each in stored] == []
    assert [each for each in (NAMED.encode(), bytes.fromhex(NAMED), gone) if each in stored] == []


@pytest.mark.parametrize(
    "before",
    ["subject%3D", "https://x.example/?q=%22", "\\u003d", "\\x3D", "id_"],
    ids=["=", "quote", "u", "x", "plain"],
)
def test_an_escaped_character_before_a_pseudonym_is_no_part_of_it(office: Office, before: str) -> None:
    """Its last digits are hexadecimal as well."""
    request = office.add(subject="", details=f"I am {before}{NAMED.upper()}.")
    office.register.forget(NAMED, [ERASURE], JO)
    assert opened(office.register, request.reference).person.details == f"I am {before}[erased]."


def test_a_pseudonym_written_as_a_uuid_is_one(office: Office) -> None:
    """With the four hyphens; what is longer is something else."""
    written = str(UUID(NAMED))
    request = office.add(subject="", details=f"I am {written}, of {written}0 and 0{NAMED}.")
    office.register.forget(NAMED, [ERASURE], JO)
    assert opened(office.register, request.reference).person.details == (
        f"I am [erased], of {written}0 and 0{NAMED}."
    )


@pytest.mark.parametrize("column", ["wrapped", "sealed"])
def test_a_request_that_cannot_be_opened_stops_nobody(
    office: Office, caplog: pytest.LogCaptureFixture, column: str
) -> None:
    """The others are forgotten in; once it opens again, in it too."""
    register = office.register
    broken, other = office.add(), office.add(subject="", details=f"I am {NAMED}.")
    register.note(broken.reference, "note", f"says to be {NAMED}", JO)
    with office.database.writing() as connection:
        (before,) = connection.execute(
            f"SELECT {column} FROM request WHERE reference = ?",
            (broken.reference,),
        ).fetchone()

    def put(value: bytes) -> None:
        with office.database.writing() as connection:
            connection.execute(
                f"UPDATE request SET {column} = ? WHERE reference = ?",
                (value, broken.reference),
            )

    put(bytes(len(before)))
    register.forget(NAMED, [ERASURE], JO)
    assert opened(register, other.reference).person.details == "I am [erased]."
    tag = register._subjects._tag(NAMED)
    with office.database.reading() as connection:
        assert connection.execute(
            "SELECT count(*) FROM request_subject WHERE tag = ?", (tag,)
        ).fetchone() == (0,)
    assert broken.reference in caplog.text
    assert NAMED not in caplog.text
    office.clock.now += 2 * DAY
    assert list(register.subjects()) == []
    put(before)
    register.forget(NAMED, [ERASURE], JO)
    shown = opened(register, broken.reference)
    assert (NAMED in written(shown), shown.steps[-1].what) == (False, "erased")
    assert len(register.certificates(broken.reference)) == 1


def test_an_entry_that_cannot_be_opened_keeps_the_rest_from_nothing(office: Office) -> None:
    """The pseudonym goes out of everything else."""
    register = office.register
    request = office.add()
    for text in ("first", "second"):
        register.note(request.reference, "note", f"{text}: {NAMED}", JO)
    with office.database.writing() as connection:
        connection.execute("UPDATE request_step SET sealed = zeroblob(length(sealed)) WHERE step = 1")
    register.forget(NAMED, [ERASURE], JO)
    with office.database.reading() as connection:
        (row,) = rows(connection, "SELECT * FROM request", ())
        person, steps, whole = register._seal.readable(connection, row)
    assert person is not None
    assert (person.subjects, [step.text for step in steps], whole) == (
        (), ["", "second: [erased]", ERASURE.erasure_id], False,
    )  # fmt: skip


def test_what_was_registered_before_there_was_an_index_is_found(office: Office) -> None:
    """It is indexed when the first visitor is erased."""
    one, two = office.add(), office.add(subject=OTHER)
    with office.database.writing() as connection:
        connection.execute("DELETE FROM request_subject")
        connection.execute("UPDATE request SET indexed = 0")
    office.register.forget(NAMED, [ERASURE], JO)
    assert opened(office.register, one.reference).person.subjects == ()
    office.register.forget(OTHER, [replace(ERASURE, erased=[4])], JO)
    assert opened(office.register, two.reference).person.subjects == ()


def test_certificates_outlive_who_asked(office: Office) -> None:
    """They name nobody: whoever lost one can still be given it."""
    request = office.add()
    office.register.forget(NAMED, [ERASURE], JO)
    office.register.step(request.reference, StepKind.TAKE_BACK, "", JO)
    office.clock.now += 731 * DAY
    assert office.register.purge() == 1
    (kept,) = office.register.certificates(request.reference)
    assert kept._asdict() == {"erasure_id": ERASURE.erasure_id, "time": ERASURE.time, "erased": 3}


def test_a_full_history_keeps_nobody_from_being_forgotten(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The certificate is kept beside it."""
    request = office.add()
    monkeypatch.setattr("consent.office.request_seal.MAX_STEPS", 1)
    office.register.forget(NAMED, [ERASURE], JO)
    assert opened(office.register, request.reference).person.subjects == ()
    assert len(office.register.certificates(request.reference)) == 1


# ---- an answer that was lost


def test_an_erasure_that_is_asked_for_again_has_the_same_certificates(desk: Desk) -> None:
    """Also of another request of the same visitor, and once the request is closed."""
    reference, other = desk.new(subject=SUBJECT), desk.new(subject=SUBJECT, kind="access")
    desk.step(reference, "verify-identity", "passport")
    first = desk.post(reference, "erasures", {}).json["erasures"]
    assert [each["erased"] for each in first] == [3]
    assert desk.post(reference, "erasures", {}).json["erasures"] == first
    desk.step(reference, "answer", "sent")
    assert desk.post(reference, "erasures", {}).json["erasures"] == first
    assert desk.post(other, "erasures", {}).json["erasures"] == first
    # Of a visitor who is not there, there is none; of one who comes back, there is one more.
    nobody = desk.new(subject=OTHER)
    desk.step(nobody, "verify-identity", "passport")
    assert desk.post(nobody, "erasures", {}).json["erasures"] == []


@pytest.mark.parametrize("when", ["before it is kept", "after it is kept"])
def test_an_erasure_that_was_interrupted_has_its_certificate(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """The log has erased, and whoever asked for it went down: again, it is the certificate of the erasure that was."""
    reference = desk.new(subject=SUBJECT)
    desk.step(reference, "verify-identity", "passport")
    forget = Register.forget
    done: list[Sequence[Erasure]] = []

    def dies(register: Register, subject: str, erasures: Sequence[Erasure], who: str, *sites: Any) -> None:
        done.append(erasures)
        if when.startswith("after"):
            forget(register, subject, erasures, who, *sites)
        raise StoreUnavailable("the machine went down")

    with monkeypatch.context() as patched:
        patched.setattr(Register, "forget", dies)
        assert desk.post(reference, "erasures", {}).status == 503
    again = desk.post(reference, "erasures", {}).json["erasures"]
    assert [each["erasure_id"] for each in again] == [done[0][0].erasure_id]
    assert [each["erased"] for each in again] == [3]
    # Nothing else was appended, and the log of accesses knew the certificate before it was one.
    assert desk.log.leaves(len(RECEIPTS) + 1, 9) == []
    entries = [each for each in desk.accesses.newest(limit=50) if each.what == "request-erasing"]
    assert {each.details["series"] for each in entries} == {again[0]["erasure_id"]}


def test_two_officers_erase_at_once(sqlite_desk: Desk) -> None:
    """Both have the same certificate, and there is one erasure."""
    desk = sqlite_desk
    reference = desk.new(subject=SUBJECT)
    desk.step(reference, "verify-identity", "passport")
    answers = at_once(4, lambda: desk.post(reference, "erasures", {}))
    assert [each.status for each in answers] == [200] * 4
    assert len({str(each.json["erasures"]) for each in answers}) == 1
    assert len(answers[0].json["erasures"]) == 1
    assert desk.log.leaves(len(RECEIPTS) + 1, 9) == []


@pytest.mark.parametrize("moment", ["certificates", "open", "series"])
def test_an_officer_who_is_a_moment_later_has_the_same_certificate(
    sqlite_desk: Desk, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """The other one begins and ends while this one reads the request, or just before it erases."""
    desk = sqlite_desk
    reference = desk.new(subject=SUBJECT)
    desk.step(reference, "verify-identity", "passport")
    read = getattr(desk.app.register, moment)
    others: list[Answer] = []

    def late(*arguments: Any) -> Any:
        monkeypatch.undo()
        others.append(desk.post(reference, "erasures", {}))
        return read(*arguments)

    monkeypatch.setattr(desk.app.register, moment, late)
    own = desk.post(reference, "erasures", {})
    assert (own.status, own.json) == (200, others[0].json)
    assert len(own.json["erasures"]) == 1


def test_somebody_else_erases_the_same_visitor_at_that_moment(sqlite_desk: Desk) -> None:
    """Such as the visitor: the certificate is theirs to tell, and is there when they have."""
    desk = sqlite_desk
    theirs: list[Erasure] = []
    reference = desk.new(subject=SUBJECT)
    desk.step(reference, "verify-identity", "passport")
    office = desk.app.desk
    erase = office.erase

    def late(subject: str, series: str) -> Sequence[Erasure]:
        theirs.extend(erase(subject, receipt_id(777)))
        return erase(subject, series)

    office.erase = late
    assert desk.post(reference, "erasures", {}).json["erasures"] == []
    desk.app.register.forget(SUBJECT, theirs, "the visitor")
    office.erase = erase
    (certificate,) = desk.post(reference, "erasures", {}).json["erasures"]
    assert certificate["erasure_id"] == receipt_id(777)
    assert opened(desk.app.register, reference).person.subjects == ()


def test_what_is_held_does_not_keep_the_others(desk: Desk) -> None:
    """It is said how far it came; what was erased has its certificate, and the rest follows once it is released."""
    held = f"{9:032x}"
    reference = desk.new(subject=SUBJECT)
    desk.post(reference, "lookups", {"sought": held})
    desk.step(reference, "verify-identity", "passport")

    async def hold(reason: str | None) -> None:
        store = desk.backend.store()
        await store.hold(held, reason=reason)
        await store.aclose()

    asyncio.run(hold("case 4"))
    for erased in (1, 0):
        answer = desk.post(reference, "erasures", {})
        words = "1 of 2 visitors were erased" if erased else "so nothing was erased"
        assert (answer.status, words in answer.json["error"]["message"]) == (409, True), answer.body
        assert desk.ask(f"/requests/{reference}", Role.OFFICER).json["subjects"] == [held]
        certificates = desk.ask(f"/requests/{reference}/certificates", Role.OFFICER).json["certificates"]
        assert len(certificates) == 1
    asyncio.run(hold(None))
    assert [each["erased"] for each in desk.post(reference, "erasures", {}).json["erasures"]] == [3, 3]


def test_who_was_erased_meanwhile_is_not_written_down_again(office: Office) -> None:
    """Somebody else's erasure ended between looking and erasing: no trace of the visitor comes back."""
    reference = office.add().reference
    office.register.forget(NAMED, [ERASURE], JO)
    assert office.register.series(reference, NAMED) != ERASURE.erasure_id
    with office.database.reading() as connection:
        assert connection.execute("SELECT count(*) FROM request_subject").fetchone() == (0,)


def test_a_token_for_some_sites_leaves_requests_of_others(sqlite_desk: Desk) -> None:
    """Of a visitor whom the log does not have, nothing shows which site's it was."""
    desk, nobody = sqlite_desk, "77" * 16
    secret, _ = desk.book.make("Al Example", Role.OFFICER, sites=["Example shop"], days=1)
    others = desk.new(site="Example blog", subject=nobody, details=f"I am {nobody}.")
    own = desk.add(secret, site="Example shop", subject=nobody).json["reference"]
    desk.step(own, "verify-identity")
    answer = desk.ask(f"/requests/{own}/erasures", secret, method="POST", body={})
    assert answer.status == 200, answer.body
    register = desk.app.register
    assert opened(register, own).person.subjects == ()
    shown = opened(register, others)
    assert (shown.person.subjects, shown.person.details) == ((nobody,), f"I am {nobody}.")
    assert [step.what for step in shown.steps] == ["received"]
    # Whoever is for all sites still finds it.
    register.forget(nobody, [], JO)
    assert opened(register, others).person.details == "I am [erased]."


# ---- the other ways to erase


def test_the_command_line_forgets_in_the_register_too(tmp_path: Path) -> None:
    """All requests of the visitor have the certificate that was printed."""
    place = Place(tmp_path / "data")
    register = register_in(place.folder, lambda: place.now)
    request, _ = register.add(replace(NEW, subject=SUBJECT), JO)
    result = CliRunner().invoke(
        main, ["office", "erase", SUBJECT, "--reason", "case 7", "--data", str(place.folder.path)]
    )
    assert result.exit_code == 0, result.output
    (certificate,) = register.certificates(request.reference)
    assert (certificate.erased, certificate.erasure_id in result.stdout) == (3, True)
    shown = opened(register, request.reference)
    assert (shown.person.subjects, shown.steps[-1].what) == ((), "erased")


def attached(site: Site) -> str:
    """Send a request with the pseudonym, and return its reference."""
    site.browser.post("/_consent/choice", json={"action": "accept"}, headers=SAME)
    return codes(site.send(attach="on", kind="access").text)[0]


def forget_me(browser: TestClient) -> None:
    answer = browser.post("/_consent/forget", json={}, headers={**SAME, "accept": "application/json"})
    assert (answer.status_code, answer.json()["erased"]) == (200, 1)


def test_forget_me_forgets_in_the_register_too(tmp_path: Path) -> None:
    """What was asked stays, with the certificate; the pseudonym is in none of the files."""
    site = Site(tmp_path)
    with site.browser:
        reference = attached(site)
        (subject,) = opened(site.register, reference).person.subjects
        forget_me(site.browser)
        shown = opened(site.register, reference)
        assert (shown.person.subjects, shown.person.came_with) == ((), "")
        assert [(step.who, step.what) for step in shown.steps] == [
            ("the form", "received"),
            ("the visitor", "erased"),
        ]
        assert [each.erased for each in site.register.certificates(reference)] == [1]
    stored = b"".join(path.read_bytes() for path in (tmp_path / "data").glob("*.sqlite3*"))
    assert subject.encode() not in stored


def test_forget_me_reaches_an_office_of_its_own(tmp_path: Path) -> None:
    """Where the site runs without the office, its register is the one in the same folder."""
    site = Site(tmp_path)
    with site.browser:
        reference = attached(site)
        cookies = dict(site.browser.cookies)
    app = ConsentMiddleware(Starlette(), data=tmp_path / "data", office=False, clock=lambda: site.now)
    with TestClient(app, base_url="https://shop.example", cookies=cookies) as browser:
        forget_me(browser)
    assert opened(site.register, reference).person.subjects == ()


def test_nobody_is_told_to_be_forgotten_whom_the_register_knows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it cannot be written, the visitor is to ask again, and then it is done."""
    site = Site(tmp_path)
    with site.browser:
        reference = attached(site)

        def fails(*_arguments: object) -> None:
            raise OSError("disk")

        with monkeypatch.context() as patched:
            patched.setattr(Register, "forget", fails)
            answer = site.browser.post(
                "/_consent/forget", json={}, headers={**SAME, "accept": "application/json"}
            )
            assert answer.status_code == 503
        answer = site.browser.post(
            "/_consent/forget", json={}, headers={**SAME, "accept": "application/json"}
        )
        assert answer.status_code == 200
        assert opened(site.register, reference).person.subjects == ()


# ---- what the register was not told


@pytest.mark.parametrize("interrupted", [False, True])
def test_what_was_erased_elsewhere_is_forgotten_within_a_day(desk: Desk, interrupted: bool) -> None:
    """As on another machine, or where whoever erased went down; of an erasure of ours, the certificate is found."""
    register, log = desk.app.register, desk.log
    linked = desk.new()
    desk.post(linked, "lookups", {"sought": SUBJECT})
    came, _ = register.receive(replace(ASKED, subject=SUBJECT), nonce=bytes(16), network=b"")
    typed = desk.new(subject=OTHER, details=f"My order is {OTHER}.")
    watch = LogWatch(OfficeDatabase(desk.folder.office_path), lambda: desk.now)
    watch.look(log)
    elsewhere = ErasedElsewhere(register, watch, lambda: desk.now)
    assert elsewhere.look(log) == 0
    series = register.series(linked, SUBJECT) if interrupted else receipt_id(777)
    assert len(desk.erase(SUBJECT, series)) == 1
    deadline = time.monotonic() + 30
    while log.evidence(series) is None and time.monotonic() < deadline:
        time.sleep(0.1)
    desk.now += EVERY_SECONDS + 1
    assert elsewhere.look(log) == 0  # it came today: who reads the log may be behind
    desk.now += DAY
    assert elsewhere.look(log) == 1
    for reference in (linked, came):
        shown = opened(register, reference)
        assert (shown.person.subjects, shown.steps[-1].who, shown.steps[-1].what) == ((), "the log", "erased")
        assert [each.erasure_id for each in register.certificates(reference)] == [series] * interrupted
    # What nobody has found in the log is left as it was written.
    assert opened(register, typed).person.subjects == (OTHER,)
    assert OTHER in opened(register, typed).person.details
    assert elsewhere.look(log) == 0
    desk.now += EVERY_SECONDS + 1
    assert elsewhere.look(log) == 0


def test_a_log_with_nothing_in_it_is_another_one(sqlite_desk: Desk) -> None:
    """Nobody is forgotten because of it."""

    class Empty:
        def checkpoint(self) -> None:
            return None

    desk = sqlite_desk
    came, _ = desk.app.register.receive(replace(ASKED, subject=SUBJECT), nonce=bytes(16), network=b"")
    desk.now += 2 * DAY
    watch = LogWatch(OfficeDatabase(desk.folder.office_path), lambda: desk.now)
    elsewhere = ErasedElsewhere(desk.app.register, watch, lambda: desk.now)
    assert elsewhere.look(Empty()) == 0  # type: ignore[arg-type]
    assert opened(desk.app.register, came).person.subjects == (SUBJECT,)


def test_a_log_in_the_place_of_another_forgets_nobody(tmp_path: Path) -> None:
    """Nor an older state of it, nor one that was altered; the log itself does afterwards."""
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    desk, other = Desk(one / "data", SQLiteBackend(one)), Desk(two / "data", SQLiteBackend(two))
    register = desk.app.register
    came, _ = register.receive(replace(ASKED, subject=SUBJECT), nonce=bytes(16), network=b"")
    assert desk.erase(SUBJECT, receipt_id(777))
    assert other.erase(SUBJECT, receipt_id(778))
    desk.now += 2 * DAY
    database = OfficeDatabase(desk.folder.office_path)
    watch = LogWatch(database, lambda: desk.now)
    elsewhere = ErasedElsewhere(register, watch, lambda: desk.now)
    assert elsewhere.look(desk.log) == 0  # nobody has watched it yet
    watch.look(desk.log)
    assert elsewhere.look(other.log) == 0
    watch.look(other.log)
    assert (watch.trusted_since(desk.log), watch.trusted_since(other.log)) == (0, int(desk.now * 1_000))
    assert elsewhere.look(other.log) == 0
    assert opened(register, came).person.subjects == (SUBJECT,)
    origin = Checkpoint.of_note(desk.log.checkpoint()).origin
    for change in ("problem = 'altered'", "problem = '', size = size + 99"):
        with database.writing() as connection:
            connection.execute(f"UPDATE watched SET {change} WHERE log = ?", (origin,))
        desk.now += EVERY_SECONDS + 1
        assert elsewhere.look(desk.log) == 0
        assert opened(register, came).person.subjects == (SUBJECT,)
    with database.writing() as connection:
        connection.execute("UPDATE watched SET size = size - 99 WHERE log = ?", (origin,))
    assert elsewhere.look(desk.log) == 1
    assert opened(register, came).person.subjects == ()
    # What arrived since the other log is there is held against that one.
    late, _ = register.receive(replace(ASKED, subject=SUBJECT), nonce=b"late" * 4, network=b"")
    desk.now += 2 * DAY
    assert elsewhere.look(other.log) == 1
    assert opened(register, late).person.subjects == ()


def test_the_office_looks_for_them_by_itself(sqlite_desk: Desk) -> None:
    """In the background, as long as it runs."""
    desk = sqlite_desk
    register = desk.app.register
    came, _ = register.receive(replace(ASKED, subject=SUBJECT), nonce=bytes(16), network=b"")
    assert desk.erase(SUBJECT, receipt_id(777))
    desk.now += 2 * DAY
    desk.app.start()
    try:
        deadline = time.monotonic() + 30
        while opened(register, came).person.subjects and time.monotonic() < deadline:
            time.sleep(0.1)
    finally:
        desk.app.stop()
    assert opened(register, came).person.subjects == ()


def test_what_is_kept_of_writes_that_are_sent_twice_names_nobody(sqlite_desk: Desk) -> None:
    """Nobody confirms a guess from the rows alone; and once a visitor is erased, no kept answer is about him."""
    desk = sqlite_desk
    reference = desk.new(subject="")
    bodies = {"lookups": {"sought": SUBJECT}, "": {"step": "acknowledge"}}

    def again(place: str) -> Answer:
        method, path = (
            ("POST", f"/requests/{reference}/{place}") if place else ("PATCH", f"/requests/{reference}")
        )
        headers = {"idempotency-key": f'"k-{place}"'}
        return desk.ask(path, Role.OFFICER, method=method, body=bodies[place], headers=headers)

    assert again("lookups").status == 200
    assert SUBJECT in again("").json["subjects"]
    desk.step(reference, "verify-identity", "passport")
    with desk.database.reading() as connection:
        kept = connection.execute("SELECT place, fingerprint FROM done_once").fetchall()
    place = f"/_consent/api/v1/requests/{reference}/lookups"
    assert len(kept) == 2
    assert fingerprint_of("POST", place, {}, bodies["lookups"], "") not in [row[1] for row in kept]
    erased = desk.ask(
        f"/requests/{reference}/erasures",
        Role.OFFICER,
        method="POST",
        body={},
        headers={"idempotency-key": "e"},
    )
    assert erased.status == 200
    for each in bodies:
        answer = again(each)
        assert (answer.status, answer.json["error"]["code"]) == (409, "not-kept")
    with desk.database.reading() as connection:
        sealed = connection.execute(
            "SELECT sealed FROM done_once ORDER BY began_ms, length(sealed)"
        ).fetchall()
    assert [bool(each) for (each,) in sealed].count(
        True
    ) == 1  # that of the erasure itself, which names nobody
    assert desk.app.register.open(reference).person.subjects == ()  # type: ignore[union-attr]
