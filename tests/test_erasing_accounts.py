"""Erasing an account in one step: all of its visitors, each with a certificate, and its name nowhere."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from consent.cli import main
from consent.data_folder import DataFolder
from consent.office.app import register_in
from consent.office.register import MAX_SUBJECTS
from consent.office.roles import Role
from consent.receipt_search import Sought
from consent.receipts import Receipt
from consent.sealing import Sealer
from consent.sqlite_log import SQLiteReceiptLog
from consent.sqlite_store import SQLiteStore
from tests.test_office_console import signed_in, text
from tests.test_receipts import KEYS, SHOWN
from tests.test_register import JO
from tests.test_register import NEW as ASKED
from tests.test_store_contract import PostgreSQLBackend, SQLiteBackend
from tests.test_withdrawing import Writing, choice

ACCOUNT = "jo@example.com"


def receipts(sealer: Sealer, visitors: int = 3) -> Sequence[Receipt]:
    """Return receipts of an account's visitors, two of each, and one of another account."""
    made = [
        choice(300 + 2 * visitor + number, "Example shop", "targeting", account=sealer.account(ACCOUNT))
        for visitor in range(visitors)
        for number in range(2)
    ]
    return [
        *(with_subject(each, 1 + at // 2) for at, each in enumerate(made)),
        with_subject(choice(999, "Example shop", account=sealer.account("al@example.com")), 9),
    ]


def with_subject(receipt: Receipt, visitor: int) -> Receipt:
    return replace(receipt, subject=f"{0xA000 + visitor:032x}")


@pytest.fixture(params=[SQLiteBackend, PostgreSQLBackend], ids=["sqlite", "postgresql"])
def desk(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    desk = Writing(tmp_path / "data", request.param(tmp_path))
    yield desk
    desk.log.close()


def test_an_account_is_erased_by_a_request(desk: Writing) -> None:
    """Its visitors are found and linked together; each is erased, with a certificate of its own."""
    desk.append(*receipts(Sealer(KEYS)))
    reference = desk.new()
    assert desk.post(reference, "lookups", {"account": "nobody@example.com"}).json == {"receipts": []}
    for body in ({}, {"account": ""}, {"account": "x" * 1_001}, {"account": ACCOUNT, "sought": "7c80" * 8}):
        assert desk.post(reference, "lookups", body).status == 400
    found = desk.post(reference, "lookups", {"account": ACCOUNT}).json["receipts"]
    assert len(found) == 6
    opened = desk.ask(f"/requests/{reference}", Role.OFFICER).json
    assert len(opened["subjects"]) == 3
    desk.step(reference, "verify-identity", "signed in")
    first = desk.post(reference, "erasures", {}).json["erasures"]
    assert [each["erased"] for each in first] == [2, 2, 2]
    assert desk.post(reference, "erasures", {}).json["erasures"] == first
    left = desk.log.find(Sought(account=Sealer(KEYS).account(ACCOUNT)), limit=9).receipts
    assert left == []
    assert len(desk.log.find(Sought(account=Sealer(KEYS).account("al@example.com")), limit=9).receipts) == 1
    # The log of accesses says that it was by an account, and not which.
    entries = [each for each in desk.accesses.newest(limit=50) if each.what == "looked-up"]
    assert {each.details["by"] for each in entries} == {"account"}
    stored = b"".join(path.read_bytes() for path in desk.folder.path.glob("office.sqlite3*"))
    assert [
        each for each in (ACCOUNT.encode(), Sealer(KEYS).account(ACCOUNT).encode()) if each in stored
    ] == []


def test_a_request_is_about_so_many_visitors(tmp_path: Path) -> None:
    """The message says what erases more."""
    desk = Writing(tmp_path / "data", SQLiteBackend(tmp_path))
    desk.append(*receipts(Sealer(KEYS), MAX_SUBJECTS + 1))
    answer = desk.post(desk.new(), "lookups", {"account": ACCOUNT})
    assert (answer.status, "consent office erase --account -" in answer.json["error"]["message"]) == (
        409,
        True,
    )


def test_an_account_is_looked_up_on_the_page(tmp_path: Path) -> None:
    """In a field of its own, which is sent in a body."""
    desk = Writing(tmp_path / "data", SQLiteBackend(tmp_path))
    desk.append(*receipts(Sealer(KEYS)))
    officer, path = signed_in(desk, Role.OFFICER), f"/requests/{desk.new()}"
    assert "Or their account, as the site names it" in text(officer.post(path, {}))
    found = officer.post(f"{path}/lookups", {"sought": "", "account": f" {ACCOUNT} "})
    assert "6 receipts were found and linked." in text(found)
    assert officer.post(f"{path}/lookups", {"sought": "x", "account": ACCOUNT}).status == 400


class Site:
    """A folder with receipts, for the command line."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.folder = DataFolder(path)
        self.keys = DataFolder(path).ledger_keys()
        self.sealer = Sealer(self.keys)

        async def fill() -> None:
            store = SQLiteStore(self.folder.receipts_path, self.keys)
            for receipt in receipts(self.sealer):
                await store.append(receipt, [SHOWN])
            await store.aclose()

        asyncio.run(fill())
        self.register = register_in(self.folder, lambda: 1_800_000_000.0)

    def run(self, *arguments: str, code: int = 0, given: str | None = None) -> Result:
        command = ["office", *arguments, "--data", str(self.path)]
        result = CliRunner().invoke(main, command, input=given)
        assert result.exit_code == code, result.output
        return result

    def left(self) -> list[str]:
        with SQLiteReceiptLog(self.folder.receipts_path, self.keys) as log:
            return [each.receipt.subject for each in log.list(limit=50)]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "data")


def certificates(output: str) -> list[Any]:
    decoder, found = json.JSONDecoder(), []
    while output := output.strip():
        one, end = decoder.raw_decode(output)
        found.append(one)
        output = output[end:]
    return found


@pytest.mark.parametrize("given", [f"{ACCOUNT}\n", f"{ACCOUNT}\r\n", ACCOUNT])
def test_the_command_line_erases_an_account(site: Site, tmp_path: Path, given: str) -> None:
    """It is read from standard input, is in no file afterwards, and in no line of the log of accesses."""
    request, _ = site.register.add(replace(ASKED, subject=receipts(site.sealer)[0].subject), JO)
    result = site.run("erase", "--account", "-", "--reason", "case 7", given=given)
    found = certificates(result.stdout)
    assert [len(each["record"]["erased"]) for each in found] == [2, 2, 2]
    assert "visitors: 3 erased, 0 held" in result.stderr
    assert site.left() == [f"{0xA009:032x}"]
    assert len(site.register.certificates(request.reference)) == 1
    with SQLiteReceiptLog(site.folder.receipts_path, site.keys) as log:
        (key,) = map(str, log.verifiers())
    file = tmp_path / "certificate.json"
    for each in found:
        file.write_text(json.dumps(each))
        verified = CliRunner().invoke(main, ["ledger", "verify", "--key", key, str(file)])
        assert verified.exit_code == 0, verified.output
    name = site.sealer.account(ACCOUNT)
    for path in site.path.glob("**/*"):
        content = path.read_bytes() if path.is_file() else b""
        traces = (ACCOUNT.encode(), name.encode(), bytes.fromhex(name))
        assert [trace for trace in traces if trace in content] == [], path
    accesses = site.run("accesses", "--json").stdout
    assert (accesses.count('"erasing"'), ACCOUNT in accesses, name in accesses) == (3, False, False)


def test_scripts_get_one_certificate_a_line(site: Site) -> None:
    """And nothing else on the standard output, however far it is shown to be."""
    result = site.run("erase", "--account", ACCOUNT, "--reason", "case 7", "--json")
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [len(each["record"]["erased"]) for each in lines] == [2, 2, 2]
    assert "Erasing" in result.stderr


def test_what_is_held_of_an_account_stays(site: Site) -> None:
    """The others are erased, and the command fails."""
    site.run("hold", f"{0xA002:032x}", "--reason", "claim 17")
    result = site.run("erase", "--account", ACCOUNT, "--reason", "case 7", code=1)
    assert "held (claim 17)" in result.stderr
    assert "visitors: 2 erased, 1 held" in result.stderr
    assert sorted({*site.left()}) == [f"{0xA002:032x}", f"{0xA009:032x}"]
    site.run("hold", f"{0xA002:032x}", "--release")
    assert (
        "visitors: 1 erased, 0 held" in site.run("erase", "--account", ACCOUNT, "--reason", "case 7").stderr
    )
    assert (
        "there is nothing of this account"
        in site.run("erase", "--account", ACCOUNT, "--reason", "case 7", code=1).stderr
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "give the visitor's pseudonym, or --account"),
        (["--account", "x", "7c80" * 8], "give the visitor's pseudonym, or --account"),
        (["--account", "x" * 1_001], "1 to 1000 characters"),
        (["--account", "-"], "1 to 1000 characters"),
    ],
)
def test_one_of_the_two_is_given(site: Site, arguments: list[str], words: str) -> None:
    """The message says which."""
    assert words in site.run("erase", *arguments, "--reason", "case 7", code=2, given="\n").stderr
    assert len(site.left()) == 7
