"""How often the office may be asked, and writes that are sent twice."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from consent.cli import main
from consent.data_folder import DataFolder
from consent.errors import ConfigurationError
from consent.mount import ConsentMiddleware
from consent.office.api.endpoint import WRITE_WEIGHT, Content, Endpoint, Problem
from consent.office.api.once import KEEP_HOURS, MAX_RUNNING_SECONDS, Once, fingerprint_of
from consent.office.app import Office
from consent.office.asker import Asker
from consent.office.database import OfficeDatabase
from consent.office.limits import CALLS_A_DAY, SITE_CALLS_A_DAY, Limits, exceeded, limit_headers
from consent.office.register import DAYS_KEPT
from consent.office.roles import Role
from consent.receipt_export import ExportForm
from consent.sqlite_log import SQLiteReceiptLog
from consent.subject_request import StepKind
from tests.exchange import endpoints as nothing_else
from tests.test_office_access import Clock
from tests.test_office_api import REASON, RECEIPTS, Answer, Place
from tests.test_receipts import KEYS


def asker(number: int, *sites: str) -> Asker:
    return Asker(f"{number:012x}", "Jo Example", Role.OFFICER, sites, 2**60)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def database(tmp_path: Path) -> OfficeDatabase:
    return OfficeDatabase(tmp_path / "office.sqlite3")


def test_calls_are_counted_by_day_and_token(database: OfficeDatabase, clock: Clock) -> None:
    """Over all processes; at midnight there are new ones."""
    limits = Limits(database, clock)
    day, site = limits.count(asker(1))
    assert (day.limit, day.left, day.reset_seconds) == (CALLS_A_DAY, CALLS_A_DAY - 1, 57_600)
    assert (site.limit, site.left) == (SITE_CALLS_A_DAY, SITE_CALLS_A_DAY - 1)
    over = limits.count(asker(1), weight=CALLS_A_DAY)
    assert (over[0].left, exceeded(over)) == (-1, over[0])
    assert limits.count(asker(2))[0].left == CALLS_A_DAY - 1
    clock.now += 57_600
    assert limits.count(asker(1))[0].left == CALLS_A_DAY - 1


def test_all_tokens_of_a_site_share_its_calls(database: OfficeDatabase, clock: Clock) -> None:
    """Each site has its own; who asks too often for themselves takes nothing from the others."""
    limits = Limits(database, clock, calls_a_day=10, site_calls_a_day=25)
    for number in range(3):
        for _ in range(8):
            assert exceeded(limits.count(asker(number, "Shop"))) is None
    assert limits.count(asker(4, "Blog"))[1].left == 24
    assert limits.count(asker(5))[1].left == 24
    for _ in range(20):
        limits.count(asker(0, "Shop"))  # two more of its own, then none
    found = exceeded(limits.count(asker(6, "Shop", "Blog")))
    assert found is not None
    assert (found.name, found.left) == ("site", -2)
    assert limit_headers(limits.count(asker(7, "Blog"))) == (
        (b"ratelimit-policy", b'"day";q=10;w=86400, "site";q=25;w=86400'),
        (b"ratelimit", b'"day";r=9;t=57600, "site";r=22;t=57600'),
    )


def test_writes_count_more(tmp_path: Path) -> None:
    """And an export ten times."""
    place = Place(tmp_path / "data")

    def left(method: str, path: str, body: object = None) -> int:
        answer = place.ask(path, Role.OFFICER, method=method, body=body, headers=REASON)
        return int(answer.headers["ratelimit"].split("r=")[1].split(";")[0])

    start = left("GET", "/me")
    assert left("DELETE", "/exports/0123456789abcdef") == start - WRITE_WEIGHT
    assert left("POST", "/lookups", {"subject": f"{7:032x}"}) == start - WRITE_WEIGHT - 1
    assert left("POST", "/exports", {}) == start - WRITE_WEIGHT - 11
    place.app.stop()


def test_the_limit_of_a_site_is_answered_429(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With when there are new calls; in the console, too; the environment sets it."""
    monkeypatch.setenv("CONSENT_OFFICE_SITE_CALLS", "2")
    place = Place(tmp_path / "data")
    assert [place.ask("/me", role).status for role in (Role.READER, Role.ANALYST, Role.OFFICER)] == [
        200,
        200,
        429,
    ]
    answer = place.ask("/me", Role.OFFICER)
    assert answer.headers["ratelimit"].endswith(', "site";r=0;t=86400')
    assert answer.headers["retry-after"] == "86400"
    assert answer.json["error"]["message"] == "2 calls a day for all tokens of a site together, and no more"
    monkeypatch.setenv("CONSENT_OFFICE_CALLS", "many")
    with pytest.raises(ConfigurationError, match="'many' is no number of calls a day"):
        ConsentMiddleware(nothing_else, data=tmp_path / "other")


# ---- writes that are sent twice


def test_answers_are_kept_under_the_wrapping_key_in_use(tmp_path: Path) -> None:
    """A key that was taken away takes none of them along; without that, it is said that it was done."""
    place = Place(tmp_path / "data")
    body = {"url": "https://hooks.example.com/", "events": ["export.finished"]}

    def ask() -> Answer:
        headers = {"idempotency-key": '"k-1"'}
        return place.ask("/webhooks", Role.ADMINISTRATOR, method="POST", body=body, headers=headers)

    def with_keys(*wrapping: bytes) -> None:
        lines = place.folder.ledger_keys_path.read_text().splitlines()
        kept = [line for line in lines if not line.startswith("wrap ")]
        kept += [f"wrap {key.hex()}" for key in wrapping]
        place.folder.ledger_keys_path.write_text("\n".join([*kept, ""]))
        place.app = Office(
            "/_consent",
            DataFolder(place.folder.path),
            lambda: SQLiteReceiptLog(place.folder.receipts_path, place.keys),
            lambda: place.now,
        )

    old, new = place.keys.wrapping[0], bytes(range(32))
    first = ask()
    assert first.status == 201
    with_keys(new, old)
    arguments = ["db", "rewrap", "--data", str(place.folder.path)]
    result = CliRunner().invoke(main, arguments)
    # Those of the receipts' visitors, the webhook's, and the answer's.
    visitors = len({receipt.subject for receipt in RECEIPTS})
    assert result.stdout.startswith(f"{visitors + 2} keys were under another wrapping key"), result.output
    with_keys(new)
    assert (ask().status, ask().json) == (201, first.json)
    with_keys(bytes(32))
    answer = ask()
    assert (answer.status, answer.json["error"]["code"]) == (409, "not-kept")
    assert "this was done" in answer.json["error"]["message"]


class Writes:
    """Counts how often it was done."""

    def __init__(self, answer: Callable[[int], Content]) -> None:
        self.times = 0
        self._answer = answer

    def __call__(self) -> Content:
        self.times += 1
        return self._answer(self.times)


def made(times: int) -> Content:
    return Content(
        {"number": times, "name": "Jö"}, status=201, headers=((b"location", b"/x"),), is_of_a_visitor=True
    )


def test_what_is_about_people_goes_at_its_time(tmp_path: Path) -> None:
    """Also where no other key comes, and nobody looks at requests."""
    place = Place(tmp_path / "data")
    body = {"kind": "erase", "site": "Example shop", "name": "Alix Example"}
    headers = {"idempotency-key": '"k-1"'}
    made = place.ask("/requests", Role.OFFICER, method="POST", body=body, headers=headers)
    assert made.status == 201
    reference = made.json["reference"]
    place.app.register.step(reference, StepKind.TAKE_BACK, "", "Jo Example")

    def kept() -> int:
        with place.database.reading() as connection:
            return int(connection.execute("SELECT count(*) FROM done_once").fetchone()[0])

    def is_forgotten() -> bool:
        request = place.app.register.get(reference)
        assert request is not None
        return request.is_forgotten

    def work(until: Callable[[], bool]) -> None:
        place.app.start()
        deadline = time.monotonic() + 20
        while not until():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        place.app.stop()

    place.now += KEEP_HOURS * 3_600 + 1
    work(lambda: not kept())
    assert not is_forgotten()
    place.now += DAYS_KEPT * 86_400
    work(is_forgotten)


def test_what_is_sent_twice_is_done_once(database: OfficeDatabase, clock: Clock) -> None:
    """The answer is the same; another key, or another's same key, is another request; after a day it is new."""
    once, write = Once(database, KEYS, clock), Writes(made)
    first = once.do(asker(1), b'"k-1"', fingerprint_of("a"), write)
    assert once.do(asker(1), b' "k-1" ', fingerprint_of("a"), write) == first
    assert once.do(asker(1), b"k-1", fingerprint_of("a"), write) == first
    assert write.times == 1
    once.do(asker(2), b'"k-1"', fingerprint_of("a"), write)
    once.do(asker(1), b'"k-2"', fingerprint_of("a"), write)
    assert write.times == 3
    clock.now += KEEP_HOURS * 3_600 + 1
    once.do(asker(1), b'"k-1"', fingerprint_of("a"), write)
    assert write.times == 4
    with contextlib.closing(sqlite3.connect(database.path)) as connection:
        assert connection.execute("SELECT count(*) FROM done_once").fetchone() == (1,)


def test_what_is_kept_is_sealed(database: OfficeDatabase, clock: Clock) -> None:
    """An answer may be about somebody, or have a secret; the key may be guessed: neither is in the file."""
    answer = Content({"secret": "whsec_very-secret"})
    Once(database, KEYS, clock).do(asker(1), b'"my-own-key"', fingerprint_of("a"), lambda: answer)
    content = database.path.read_bytes()
    assert b"very-secret" not in content
    assert b"my-own-key" not in content


@pytest.mark.parametrize(
    "key", [b"", b'""', b'"a', b'a"b', b'"a" "b"', b'"a", "b"', b"x" * 256, b"a\xff", b'"\\"']
)
def test_a_key_that_is_none_is_refused(database: OfficeDatabase, clock: Clock, key: bytes) -> None:
    """And nothing is done."""
    write = Writes(made)
    with pytest.raises(Problem) as refused:
        Once(database, KEYS, clock).do(asker(1), key, fingerprint_of("a"), write)
    assert (refused.value.status, refused.value.code, write.times) == (400, "wrong-key", 0)


def test_a_key_belongs_to_one_request(database: OfficeDatabase, clock: Clock) -> None:
    """With another it is 422; while it is being done it is 409; what failed may be sent again."""
    once, write = Once(database, KEYS, clock), Writes(made)
    going, over = threading.Event(), threading.Event()

    def slow() -> Content:
        going.set()
        assert over.wait(20)
        return write()

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(once.do, asker(1), b"k", fingerprint_of("a"), slow)
        assert going.wait(20)
        with pytest.raises(Problem) as refused:
            once.do(asker(1), b"k", fingerprint_of("a"), write)
        assert (refused.value.status, refused.value.code) == (409, "in-progress")
        assert refused.value.headers == ((b"retry-after", b"1"),)
        over.set()
        first = running.result()
    with pytest.raises(Problem) as refused:
        once.do(asker(1), b"k", fingerprint_of("b"), write)
    assert (refused.value.status, refused.value.code) == (422, "key-used")
    assert once.do(asker(1), b"k", fingerprint_of("a"), write) == first
    assert write.times == 1

    def fails() -> Content:
        raise Problem(409, "not-now", "not now")

    with pytest.raises(Problem, match="not now"):
        once.do(asker(1), b"f", fingerprint_of("a"), fails)
    once.do(asker(1), b"f", fingerprint_of("a"), write)
    assert write.times == 2


def test_what_was_interrupted_may_be_sent_again(database: OfficeDatabase, clock: Clock) -> None:
    """When its process has ended for sure; until then nobody knows whether it was done."""
    once, write = Once(database, KEYS, clock), Writes(made)
    once._begin(b"p" * 32, b"f" * 32)  # as a process that was killed leaves it

    def begin() -> Any:
        return once._begin(b"p" * 32, b"f" * 32)

    with pytest.raises(Problem, match="is being done"):
        begin()
    clock.now += MAX_RUNNING_SECONDS + 1
    assert begin() is None
    assert write.times == 0


def test_an_answer_that_is_too_long_is_not_kept(database: OfficeDatabase, clock: Clock) -> None:
    """It is not done twice either."""
    once, write = Once(database, KEYS, clock), Writes(lambda times: Content(b"x" * 70_000))
    assert once.do(asker(1), b"k", fingerprint_of("a"), write).body == b"x" * 70_000
    with pytest.raises(Problem) as refused:
        once.do(asker(1), b"k", fingerprint_of("a"), write)
    assert (refused.value.status, refused.value.code, write.times) == (409, "not-kept", 1)


def test_the_api_does_each_order_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same answer with the same place; a look-up, which changes nothing, is answered and recorded each time."""
    place = Place(tmp_path / "data")
    monkeypatch.setattr(place.app._writing, "start", lambda: None)
    sent = {**REASON, "idempotency-key": '"8e03978e-40d5-43e8-bc93-6894a57f9324"'}

    def order(**body: object) -> Any:
        return place.ask("/exports", Role.OFFICER, method="POST", body=body, headers=sent)

    first, again = order(form="csv"), order(form="csv")
    assert (first.status, again.status) == (202, 202)
    assert (first.body, first.headers["location"]) == (again.body, again.headers["location"])
    assert len(place.ask("/exports", Role.OFFICER).json["exports"]) == 1
    other = order(form=str(ExportForm.JSONL))
    assert (other.status, other.json["error"]["code"]) == (422, "key-used")
    before = len(place.accesses.newest(limit=50))
    for _ in range(2):
        looked = place.ask(
            "/lookups", Role.OFFICER, method="POST", body={"subject": f"{7:032x}"}, headers=sent
        )
        assert looked.status == 200
    assert len(place.accesses.newest(limit=50)) == before + 2


def test_every_write_takes_a_key() -> None:
    """Those that are the same twice need none."""

    def endpoint(method: str, **members: Any) -> Endpoint:
        return Endpoint(
            method=method, path="/x", about="", action=None, answer=lambda _call: Content({}), **members
        )

    assert [endpoint(method).takes_key for method in ("GET", "POST", "PATCH", "PUT", "DELETE")] == [
        False, True, True, False, False,
    ]  # fmt: skip
    assert endpoint("POST", reads=True).takes_key is False
