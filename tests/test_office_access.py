"""Who may do what in the office, its tokens, and the log of its accesses."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from consent.cli import main
from consent.data_folder import DataFolder
from consent.errors import ConfigurationError, InvalidProofError, StoreUnavailable
from consent.office.access_log import AccessLog
from consent.office.database import STEPS, OfficeDatabase
from consent.office.roles import ALLOWED, Action, Role
from consent.office.tokens import Token, TokenBook
from tests.test_receipts import KEYS

NOW = 1_800_000_000.0
DAY = 86_400.0


class Clock:
    """Says what it was told to."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def database(tmp_path: Path) -> OfficeDatabase:
    return OfficeDatabase(tmp_path / "office.sqlite3")


@pytest.fixture
def book(database: OfficeDatabase, clock: Clock) -> TokenBook:
    return TokenBook(database, clock)


@pytest.fixture
def accesses(database: OfficeDatabase, clock: Clock) -> AccessLog:
    return AccessLog(database, KEYS, clock)


TABLE = {
    #                      reader analyst officer administrator
    Action.COUNTS:         "yes    yes     yes     yes",
    Action.TRACKERS:       "yes    yes     yes     yes",
    Action.RECEIPTS:       "no     yes     yes     yes",
    Action.EXPORT_INDEX:   "no     yes     yes     no",
    Action.OPEN:           "no     no      yes     no",
    Action.EXPORT_RECORDS: "no     no      yes     no",
    Action.CLASSIFY:       "no     no      yes     yes",
    Action.REQUESTS:       "no     yes     yes     yes",
    Action.HANDLE:         "no     no      yes     no",
    Action.ACCESSES:       "no     no      no      yes",
    Action.EVENTS:         "no     no      no      yes",
}  # fmt: skip


def test_what_each_role_may_do() -> None:
    """Cell by cell; a token for some sites may do nothing that is about all of them."""
    assert TABLE.keys() == set(Action)
    for action, row in TABLE.items():
        for role, cell in zip(Role, row.split(), strict=True):
            everywhere = Token("a" * 12, "Jo Example", role, (), 1, 0)
            somewhere = Token("a" * 12, "Jo Example", role, ("Example shop",), 1, 0)
            assert everywhere.may(action) is (cell == "yes"), (action, role)
            assert somewhere.may(action) is (
                cell == "yes" and action not in (Action.CLASSIFY, Action.ACCESSES, Action.EVENTS)
            )
    assert ALLOWED.keys() == set(Role)


def test_a_token_is_known_by_its_secret_which_is_kept_nowhere(
    book: TokenBook, database: OfficeDatabase
) -> None:
    """Only whole, and only by a hash; the file is its owner's alone."""
    secret, token = book.make("Jo Example", Role.OFFICER, sites=["Shop B", "Shop A", "Shop A"], days=30)
    assert book.find(secret) == token == book.get(token.id)
    assert token.sites == ("Shop A", "Shop B")
    assert token.expires_ms == int((NOW + 30 * DAY) * 1_000)
    other, _ = book.make("Al Example", Role.READER, days=1)
    wrong = [
        secret[:-1],
        secret + "x",
        secret[:17] + other[17:],
        "",
        token.id,
        "cot_" + "0" * 12 + secret[16:],
        "\udcff",
    ]
    assert [book.find(each) for each in wrong] == [None] * len(wrong)
    assert secret[17:].encode() not in database.path.read_bytes()
    assert stat.S_IMODE(database.path.stat().st_mode) == 0o600


def test_a_token_ends(book: TokenBook, clock: Clock) -> None:
    """On its day, or when it is revoked, once."""
    secret, token = book.make("Jo Example", Role.READER, days=1)
    clock.now = NOW + DAY - 1
    assert book.find(secret) == token
    clock.now = NOW + DAY
    assert book.find(secret) is None
    assert book.get(token.id) is None
    clock.now = NOW
    assert book.revoke(token.id) is True
    assert book.revoke(token.id) is False
    assert book.find(secret) is None
    assert [each.revoked_ms for each in book.all()] == [int(NOW * 1_000)]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda book: book.make("", Role.READER, days=1), "'' is no name"),
        (lambda book: book.make("a\nb", Role.READER, days=1), "is no name"),
        (lambda book: book.make("a", Role.READER, sites=["x\ny"], days=1), "is no name"),
        (lambda book: book.make("a", Role.READER, days=0), "a token lives 1 to 400 days, not 0"),
        (lambda book: book.make("a", Role.READER, days=401), "not 401"),
    ],
)
def test_no_token_without_a_name_or_an_end(
    book: TokenBook, make: Callable[[TokenBook], object], message: str
) -> None:
    """So that the log of accesses says who it was."""
    with pytest.raises(ConfigurationError, match=message):
        make(book)


def test_accesses_are_a_signed_log(accesses: AccessLog, clock: Clock) -> None:
    """In one order, each with its proof, also when many are recorded at once."""
    with ThreadPoolExecutor(4) as pool:
        list(
            pool.map(
                lambda number: accesses.append("Jo", "opened", reason=f"case {number}", leaf=number),
                range(40),
            )
        )
    newest = accesses.newest(limit=50)
    assert [entry.leaf for entry in newest] == list(range(39, -1, -1))
    assert sorted(int(str(entry.details["leaf"])) for entry in newest) == list(range(40))
    assert [entry.leaf for entry in accesses.newest(limit=2, before=7)] == [6, 5]
    assert (newest[0].who, newest[0].what, newest[0].time) == ("Jo", "opened", "2027-01-15T08:00:00.000Z")
    assert accesses.verify() == []
    evidence = accesses.evidence(33)
    assert evidence is not None
    assert evidence.verify(accesses.verifiers()).size == 40
    assert accesses.evidence(40) is None


@pytest.mark.parametrize(
    ("alter", "problem"),
    [
        (
            "UPDATE record SET body = replace(body, 'case', 'cafe') WHERE leaf = 1",
            "entry 1 is not the one that was",
        ),
        ("DELETE FROM record WHERE leaf = 2", "the 2 entries are not those of the checkpoint of 3"),
        ("DELETE FROM record WHERE leaf = 0", "entry 0 is not the one that was recorded"),
    ],
)
def test_an_altered_log_of_accesses_is_noticed(
    accesses: AccessLog, database: OfficeDatabase, alter: str, problem: str
) -> None:
    """By who verifies it, and nothing more is signed as if it were whole."""
    for number in range(3):
        accesses.append("Jo", "opened", reason=f"case {number}")
    with contextlib.closing(sqlite3.connect(database.path)) as connection:
        connection.execute(alter)
        connection.commit()
    assert any(problem in each for each in accesses.verify())


def test_an_access_that_is_being_recorded_is_no_alarm(
    accesses: AccessLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Entry and checkpoint are written one after the other: who looks in between looks again."""
    accesses.append("Jo", "opened")
    sign = accesses._sign
    monkeypatch.setattr(accesses, "_sign", lambda: None)
    accesses.append("Jo", "opened")
    assert accesses.verify() == ["the 2 entries are not those of the checkpoint of 1"]
    monkeypatch.setattr("consent.office.access_log.time.sleep", lambda _seconds: sign())
    assert accesses.verify() == []


def test_nothing_more_is_recorded_on_another_log(accesses: AccessLog, database: OfficeDatabase) -> None:
    """An older state of the file was put back: what was to be opened stays shut."""
    accesses.append("Jo", "opened")
    before = database.path.read_bytes()
    accesses.append("Jo", "opened")
    database.path.write_bytes(before)
    with pytest.raises(StoreUnavailable, match="log of accesses was altered: the first 2 leaves are not"):
        AccessLog(OfficeDatabase(database.path), KEYS, lambda: NOW).append("Jo", "opened")


def test_a_file_of_the_first_schema_is_brought_up(database: OfficeDatabase, clock: Clock) -> None:
    """Its tokens stay; a later one is left alone."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("consent.office.database.STEPS", STEPS[:1])
        secret, token = TokenBook(database, clock).make("Jo Example", Role.READER, days=1)
    book = TokenBook(OfficeDatabase(database.path), clock)
    assert book.find(secret) == token
    assert [book.end_session("s", until_s=int(NOW)) for _ in range(2)] == [True, False]
    assert (book.has_ended("s"), book.has_ended("t")) == (True, False)
    clock.now += 2
    book.end_session("t", until_s=int(NOW) + 9)
    assert (book.has_ended("s"), book.has_ended("t")) == (False, True)
    with contextlib.closing(sqlite3.connect(database.path)) as connection:
        connection.execute(f"PRAGMA user_version = {len(STEPS) + 1}")
    with pytest.raises(StoreUnavailable, match="of a later version"):
        TokenBook(OfficeDatabase(database.path), clock).all()


def test_a_foreign_file_is_left_alone(tmp_path: Path) -> None:
    """Another program's database is not written."""
    path = tmp_path / "office.sqlite3"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE diary (day)")
        connection.commit()
    before = path.read_bytes()
    with pytest.raises(StoreUnavailable, match="of another program"):
        TokenBook(OfficeDatabase(path), lambda: NOW).all()
    assert path.read_bytes() == before


# ---- the command line


def invoke(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["office", *arguments, "--data", str(folder)])


def test_the_command_line_makes_lists_and_revokes(tmp_path: Path) -> None:
    """The secret is alone on the standard output; each step is in the log of accesses, which can be verified."""
    folder = tmp_path / "data"
    result = invoke(folder, "token", "--name", "Jo Example", "--role", "officer")
    assert result.exit_code == 1
    assert "no receipts can be read without their keys" in result.stderr
    DataFolder(folder).ledger_keys()
    made = invoke(
        folder, "token", "--name", "Jo Example", "--role", "officer", "--site", "Example shop", "--days", "7"
    )
    secret = made.stdout.strip()
    token_id = secret[4:16]
    assert secret.startswith("cot_")
    assert f"{token_id}: officer, until " in made.stderr
    (line,) = invoke(folder, "tokens", "--json").stdout.splitlines()
    listed = json.loads(line)
    told = invoke(folder, "token", "--name", "A script", "--role", "reader", "--json")
    script = json.loads(told.stdout)
    assert (script["token"][4:16], script["sites"], told.stderr) == (script["id"], [], "")
    assert invoke(folder, "revoke", script["id"]).stdout == "revoked\n"
    assert (listed["id"], listed["state"], listed["sites"]) == (token_id, "valid", ["Example shop"])
    assert "officer        Jo Example (Example shop)" in invoke(folder, "tokens").stdout
    assert invoke(folder, "revoke", token_id).stdout == "revoked\n"
    assert "there is no token" in invoke(folder, "revoke", token_id).stderr
    assert "revoked  until" in invoke(folder, "tokens").stdout
    entries = [json.loads(line) for line in invoke(folder, "accesses", "--json").stdout.splitlines()]
    assert [(entry["what"], entry["who"]) for entry in entries] == [
        ("token-revoked", "the command line"),
        ("token-revoked", "the command line"),
        ("token-made", "the command line"),
        ("token-made", "the command line"),
    ]
    assert secret not in json.dumps(entries)
    assert "the command line  token-made" in invoke(folder, "accesses").stdout
    assert invoke(folder, "accesses", "--verify").stdout == "the log of accesses is whole\n"
    with contextlib.closing(sqlite3.connect(folder / "office.sqlite3")) as connection:
        connection.execute("UPDATE record SET body = replace(body, 'Jo', 'Al')")
        connection.commit()
    result = invoke(folder, "accesses", "--verify")
    assert result.exit_code == 1
    assert "entry 0 is not the one that was recorded" in result.stderr
    assert invoke(folder, "accesses").exit_code == 1


def test_an_entry_is_checked_before_it_is_shown(accesses: AccessLog, database: OfficeDatabase) -> None:
    """Its bytes are those that the leaf commits to."""
    accesses.append("Jo", "opened")
    evidence = accesses.evidence(0)
    assert evidence is not None
    with pytest.raises(InvalidProofError):
        evidence.verify([])


def test_a_transaction_within_another_is_a_part_of_it(database: OfficeDatabase) -> None:
    """What fails in it is undone by itself, and nothing follows it; what follows a commit follows the outer one."""
    done: list[str] = []

    def first() -> None:
        done.append("first")

    def names() -> list[str]:
        with database.reading() as connection:
            return [name for (name,) in connection.execute("SELECT id FROM ended_session ORDER BY id")]

    def write(name: str) -> None:
        with database.writing() as connection:
            connection.execute("INSERT INTO ended_session VALUES (?, 0)", (name,))
            database.once_committed(first)

    with database.writing():
        write("a")
        with contextlib.suppress(ZeroDivisionError), database.writing():
            write("b")
            database.once_committed(lambda: done.append("of what was undone"))
            raise ZeroDivisionError
        write("c")
        assert (names(), done) == (["a", "c"], [])
    assert done == ["first"]
    with contextlib.suppress(ZeroDivisionError), database.writing():
        write("d")
        raise ZeroDivisionError
    assert (names(), done) == (["a", "c"], ["first"])
    database.once_committed(first)
    write("e")
    assert (names(), done) == (["a", "c", "e"], ["first"] * 3)


def test_entries_of_one_transaction_are_signed_when_it_is_committed(
    database: OfficeDatabase, clock: Clock
) -> None:
    """The mark beside the database is never ahead of it; what was undone leaves the log whole."""
    accesses = AccessLog(database, KEYS, clock)
    accesses.append("Jo", "before")
    mark = database.path.with_name(f"{database.path.name}.checkpoint")
    kept = mark.read_text()
    with accesses.together():
        accesses.append("Jo", "one")
        accesses.append("Jo", "two")
        assert mark.read_text() == kept
    assert mark.read_text().splitlines()[1] == "3"
    with contextlib.suppress(ZeroDivisionError), database.writing():
        accesses.append("Jo", "undone")
        with accesses.together():
            accesses.append("Jo", "undone too")
        raise ZeroDivisionError
    assert mark.read_text().splitlines()[1] == "3"
    with contextlib.suppress(ZeroDivisionError), accesses.together():
        accesses.append("Jo", "undone")
        raise ZeroDivisionError
    accesses.append("Jo", "three")
    assert [each.what for each in accesses.newest(limit=9)] == ["three", "two", "one", "before"]
    assert accesses.verify() == []
