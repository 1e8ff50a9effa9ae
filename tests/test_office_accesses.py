"""The log of accesses, found by who, what and when, and verified as it is shown, however long it is."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from consent.canonical_json import canonical_json
from consent.merkle import leaf_hash
from consent.moments import format_moment
from consent.office import access_log
from consent.office.access_index import MAX_PEOPLE, AccessQuery
from consent.office.access_log import AccessLog
from consent.office.database import STEPS, OfficeDatabase
from consent.office.questions import WrongQuestion
from consent.office.roles import Role
from consent.sealing import commitment
from consent.sqlite_tree import load_edge, write_tiles
from tests.test_office_access import NOW, Clock
from tests.test_office_api import Place
from tests.test_office_console import Visitor, text
from tests.test_receipts import KEYS

ALL = AccessQuery()
STEP = next(step for step in STEPS if "access_who" in step)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def database(tmp_path: Path) -> OfficeDatabase:
    return OfficeDatabase(tmp_path / "office.sqlite3")


@pytest.fixture
def log(database: OfficeDatabase, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> AccessLog:
    monkeypatch.setattr(access_log, "_LOOK_AGAIN_SECONDS", 0.001)
    return AccessLog(database, KEYS, clock)


def filled(log: AccessLog, clock: Clock, count: int = 30) -> None:
    """Record an access every eight hours, in turn by three people, of two kinds."""
    for number in range(count):
        clock.now = NOW + number * 28_800
        log.append(
            f"{('Jo', 'Al', 'JOAN')[number % 3]} (id-{number % 3})", ("opened", "exported")[number % 2]
        )


def leaves(log: AccessLog, limit: int = 100, before: int | None = None, **asked: str) -> list[int]:
    page = log.page(AccessQuery(**asked), limit=limit, before=before)
    assert page.problems in ((), [])
    return [entry.leaf for entry in page.entries]


def test_accesses_are_found(log: AccessLog, clock: Clock) -> None:
    """By a part of a name or an id, by what was done, by day, and all of it together, page after page."""
    filled(log, clock)
    every = list(reversed(range(30)))
    assert leaves(log) == every
    assert leaves(log, who="id-1") == [number for number in every if number % 3 == 1]
    assert leaves(log, who="jo") == [number for number in every if number % 3 != 1]
    assert leaves(log, what="opened") == [number for number in every if number % 2 == 0]
    assert leaves(log, who="al", what="opened") == [number for number in every if number % 6 == 4]
    assert leaves(log, who="nobody") == leaves(log, what="open") == []
    day = format_moment(int(NOW * 1_000) + 3 * 86_400_000)
    after = format_moment(int(NOW * 1_000) + 4 * 86_400_000)
    assert leaves(log, since=day, until=after) == [11, 10, 9]
    assert leaves(log, since=day, until=after, what="exported") == [11, 9]
    assert leaves(log, until=format_moment(int(NOW * 1_000))) == []
    assert leaves(log, since=format_moment(int(NOW * 1_000) + 99 * 86_400_000)) == []
    page = log.page(AccessQuery(who="jo"), limit=7)
    assert (page.next, page.size) == (page.entries[-1].leaf, 30)
    assert leaves(log, who="jo", before=page.next) == [
        number for number in range(19, -1, -1) if number % 3 != 1
    ]
    assert log.page(ALL, limit=100).next is None
    assert log.page(ALL, limit=10, before=10).next is None  # the last one is the first entry
    assert log.verify() == []


def test_an_empty_log_has_an_empty_page(log: AccessLog) -> None:
    """Nothing was done, and nothing is wrong."""
    assert log.page(ALL, limit=10) == access_log.AccessPage((), None, 0, ())


def test_too_many_names_are_too_little_said(log: AccessLog) -> None:
    """Each would be looked for by itself."""
    for number in range(MAX_PEOPLE + 1):
        log.append(f"Jo {number}", "opened")
    with pytest.raises(WrongQuestion, match="more than 50 names"):
        log.page(AccessQuery(who="jo"), limit=10)
    assert leaves(log, who="jo 33") == [33]


def test_a_clock_that_was_put_back_hides_nothing(log: AccessLog, clock: Clock) -> None:
    """Days are found in the order of the log; the entry has the time that the clock said."""
    log.append("Jo", "opened")
    clock.now = NOW - 86_400
    log.append("Jo", "opened")
    clock.now = NOW + 1
    log.append("Jo", "opened")
    assert leaves(log, since=format_moment(int(NOW * 1_000))) == [2, 1, 0]
    assert log.page(ALL, limit=10).entries[1].time == format_moment(int(NOW - 86_400) * 1_000)


@pytest.mark.parametrize(
    ("alter", "problem"),
    [
        ("UPDATE access SET what = 'x' WHERE leaf = 3", "what entries are found by"),
        ("UPDATE access_who SET who = 'Somebody' WHERE id = 1", "what entries are found by"),
        ("DELETE FROM record WHERE leaf = 3", "what entries are found by"),
        (
            "DELETE FROM record WHERE leaf = 29; DELETE FROM access WHERE leaf = 29",
            "29 entries are not those of",
        ),
        ("UPDATE checkpoint SET note = replace(note, 'a', 'b')", "sign"),
        ("UPDATE checkpoint SET note = substr(note, 1, 40)", "note"),
    ],
)
def test_an_altered_page_says_so(
    log: AccessLog, clock: Clock, database: OfficeDatabase, alter: str, problem: str
) -> None:
    """Entries that are gone, others in their place, another tree, or another checkpoint."""
    filled(log, clock)
    with contextlib.closing(sqlite3.connect(database.path)) as connection:
        connection.executescript(alter)
    problems = log.page(ALL, limit=50).problems
    assert problems
    assert any(problem in each for each in problems), problems


def rewritten(database: OfficeDatabase, leaf: int) -> None:
    """Put another entry into a place, with a commitment of its own, as whoever can write the database would."""
    body = canonical_json(
        {"schema_version": 1, "time": format_moment(0), "who": "Jo", "what": "x", "reason": "", "details": {}}
    )
    with contextlib.closing(sqlite3.connect(database.path, isolation_level=None)) as connection:
        salt = bytes(16)
        connection.execute(
            "UPDATE record SET body = ?, salt = ?, commitment = ? WHERE leaf = ?",
            (body, salt, commitment(salt, body), leaf),
        )
        connection.execute(
            "UPDATE access_who SET who = 'Jo' WHERE id = (SELECT who FROM access WHERE leaf = ?)", (leaf,)
        )
        connection.execute("UPDATE access SET what = 'x' WHERE leaf = ?", (leaf,))


def test_another_entry_in_a_place_is_not_in_the_tree(log: AccessLog, database: OfficeDatabase) -> None:
    """Also in a tile that is full, whose hashes are kept apart from the entries."""
    for _ in range(260):
        log.append("Jo", "opened")
    assert log.page(ALL, limit=5, before=12).problems == []
    rewritten(database, 10)
    assert log.page(ALL, limit=5, before=12).problems != []
    assert log.page(ALL, limit=5).problems == []  # what is not shown is for the whole verification
    assert log.verify() != []


def test_a_log_does_not_go_back(
    log: AccessLog, clock: Clock, database: OfficeDatabase, tmp_path: Path
) -> None:
    """An older state, with the older checkpoint beside it, contradicts what was shown a moment ago."""
    filled(log, clock, 5)
    mark = Path(f"{database.path}.checkpoint")
    kept = database.path.read_bytes(), mark.read_bytes()
    log.append("Jo", "opened")
    assert log.page(ALL, limit=5).problems == []
    database.path.write_bytes(kept[0])
    mark.write_bytes(kept[1])
    other = AccessLog(OfficeDatabase(database.path), KEYS, clock)
    assert other.page(ALL, limit=5).problems == []  # this one has seen nothing yet
    again = AccessLog(OfficeDatabase(database.path), KEYS, clock)
    again._seen = log._seen
    assert again.page(ALL, limit=5).problems == ["there were 6 entries, and now there are 5"]


def test_what_is_found_by_is_made_of_what_is_there(database: OfficeDatabase, clock: Clock) -> None:
    """A file of before has the same entries, found by the same."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(
            "consent.office.database.STEPS", STEPS[: STEPS.index(next(s for s in STEPS if "access_who" in s))]
        )
        patched.setattr(access_log, "keep", lambda *arguments: None)
        filled(AccessLog(database, KEYS, clock), clock, 12)
        (old,) = [AccessLog(database, KEYS, clock).newest(limit=50)]
    log = AccessLog(OfficeDatabase(database.path), KEYS, clock)
    assert list(log.page(ALL, limit=50).entries) == list(old)
    assert leaves(log, who="al", what="opened") == [10, 4]
    log.append("Al (id-1)", "opened")
    assert leaves(log, who="al", what="opened") == [12, 10, 4]
    assert log.verify() == []


MANY = int(os.environ.get("CONSENT_ACCESSES", "20000"))


def test_a_page_takes_as_long_however_many_there_are(log: AccessLog, database: OfficeDatabase) -> None:
    """Under 100 ms, by every way of asking. ``CONSENT_ACCESSES`` asks for more than there is time for in every run."""
    log.append("first", "opened")
    with database.writing() as connection:
        edge = load_edge(connection)
        for first in range(1, MANY, 10_000):
            rows, hashes = [], []
            for leaf in range(first, min(MANY, first + 10_000)):
                moment = format_moment(int(NOW * 1_000) + leaf * 1_000)
                who, what = (
                    f"Person {leaf % 40} (id-{leaf % 40})",
                    ("opened", "exported", "rare")[min(2, leaf % 5)],
                )
                what = "rarest" if leaf % 5_000 == 7 else what
                body = json.dumps(
                    {
                        "details": {},
                        "reason": "r",
                        "schema_version": 1,
                        "time": moment,
                        "what": what,
                        "who": who,
                    },
                    separators=(",", ":"),
                ).encode()
                committed = commitment(bytes(16), body)
                hashes.append(leaf_hash(committed))
                rows.append((leaf, committed, bytes(16), body))
            connection.executemany("INSERT INTO record VALUES (?, ?, ?, ?)", rows)
            write_tiles(connection, edge.extend(hashes))
        connection.execute("DELETE FROM access")
        connection.execute("DELETE FROM access_who")
        for statement in STEP.split(";\n"):
            if statement.strip().startswith("INSERT"):
                connection.execute(statement)
    log._sign()
    day = format_moment(int(NOW * 1_000) + 86_400_000)
    taken = {}
    for asked in (
        ALL, AccessQuery(who="person 3"), AccessQuery(what="rarest"), AccessQuery(who="id-7)", what="rarest"),
        AccessQuery(since=day), AccessQuery(until=day, what="opened"), AccessQuery(who="person", what="nothing"),
    ):  # fmt: skip
        for before in (None, MANY // 2):
            page = log.page(asked, limit=100, before=before)
            began = time.perf_counter()
            page = log.page(asked, limit=100, before=before)
            taken[asked, before] = time.perf_counter() - began
            assert page.problems == []
    if MANY > 100_000:
        print({f"{asked} {before}": round(1_000 * seconds, 1) for (asked, before), seconds in taken.items()})
    assert sorted(taken.values())[len(taken) // 2] < 0.1


# ---- the page and the endpoint


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    place = Place(tmp_path_factory.mktemp("accesses") / "data")
    for number in range(250):
        place.accesses.append(
            f"Jo {number % 2}", "opened" if number % 50 else "exported", reason=f"case {number}"
        )
    return place


def test_the_console_filters_and_pages(place: Place) -> None:
    """The filters stay from page to page, and say what was asked."""
    visitor = Visitor(place)
    visitor.sign_in(place.secrets[Role.ADMINISTRATOR])
    page = visitor.get("/accesses?who=jo+0&what=opened&from=&to=")
    assert page.body.count(b'<th scope="row"') == 100
    assert 'value="jo 0"' in page.body.decode()
    assert "Each entry on this page is the one that was recorded, in a signed log of 25" in text(page)
    following = page.body.decode().partition('rel="next"')[0].rpartition('href="')[2].partition('"')[0]
    assert "who=jo+0&amp;what=opened&amp;before=" in following
    rest = visitor.get(following.replace("&amp;", "&").removeprefix("/_consent/office"))
    assert rest.body.count(b'<th scope="row"') == 20
    assert visitor.get("/accesses?from=yesterday").status == 400
    assert visitor.get("/accesses?who=%22%3E%3Cb%3E").body.count(b"<b>") == 0
    assert "None." in text(visitor.get("/accesses?to=2020-01-01"))


def test_the_api_filters(place: Place) -> None:
    """By the same parameters."""
    asked: Callable[[str], list[int]] = lambda query: [  # noqa: E731
        row["leaf"] for row in place.ask(f"/accesses?{query}", Role.ADMINISTRATOR).json["accesses"]
    ]
    assert asked("what=exported") == [200, 150, 100, 50, 0]
    assert asked("what=exported&who=jo+1") == []
    assert asked("what=exported&limit=2&before=100") == [50, 0]
    assert len(asked("from=2026-01-02&to=2026-01-02&limit=500")) >= 250
    assert asked("to=2026-01-01") == []
    assert len(asked("from=0001-01-01&to=9999-12-31&limit=500")) >= 250
    assert place.ask("/accesses?from=x", Role.ADMINISTRATOR).status == 400
    assert place.ask("/accesses?who=jo", Role.OFFICER).status == 403


def test_an_altered_log_is_not_answered_with(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    """The console says what is wrong; a program gets nothing that it could take for whole."""

    def alter(what: str) -> None:
        with contextlib.closing(
            sqlite3.connect(place.folder.office_path, isolation_level=None)
        ) as connection:
            connection.execute("UPDATE access SET what = ? WHERE leaf = 3", (what,))

    alter("nothing")
    visitor = Visitor(place)
    visitor.sign_in(place.secrets[Role.ADMINISTRATOR])
    assert "This log was altered. what entries are found by was altered" in text(
        visitor.get("/accesses?what=nothing")
    )
    assert place.ask("/accesses?what=nothing", Role.ADMINISTRATOR).status == 503
    assert "what entries are found by was altered" in caplog.text
    alter("opened")  # as it was, for the tests that come later
