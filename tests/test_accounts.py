"""Which account was signed in: a keyed hash in the receipt, found in every store, and gone with the visitor."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from starlette.types import Scope

from consent.accounts import MAX_ACCOUNT, Accounts
from consent.data_folder import DataFolder
from consent.errors import InvalidReceiptError
from consent.log_export import verify_log
from consent.mount import ConsentMiddleware
from consent.office.roles import Role
from consent.receipt_search import Sought
from consent.receipts import Receipt, account_mark
from consent.sealing import Sealer
from consent.sqlite_log import SQLiteReceiptLog
from consent.sqlite_store import SQLiteStore
from tests.exchange import endpoints as nothing_else
from tests.test_office_api import REASON, Place
from tests.test_office_console import Visitor
from tests.test_receipts import KEYS, SHOWN, make_receipt
from tests.test_store_contract import Backend, SQLiteBackend, append_all, backend, using

__all__ = ["backend"]

SEALER = Sealer(KEYS)
JO, AL = SEALER.account("jo@example.com"), SEALER.account("al@example.com")


def made(number: int, account: str | None, **changes: Any) -> Receipt:
    """Return a receipt of schema version 3, or 2 without an account."""
    return make_receipt(
        number, policy_hash=SHOWN.hash, vendor_list_hash=SHOWN.hash, account=account, **changes
    )


def test_a_hash_says_nothing_without_the_key() -> None:
    """It is of this log's key and for this purpose; case and blanks are the site's business."""
    assert SEALER.account("jo@example.com") == JO
    assert len({JO, AL, SEALER.account("Jo@example.com"), SEALER.account("jo@example.com ")}) == 4
    other = replace(KEYS, index=bytes(32))
    assert Sealer(other).account("jo@example.com") != JO
    assert not JO.startswith(SEALER.tag(b"jo@example.com").hex())
    assert len(SEALER.account("\udcff")) == 64


def test_a_receipt_with_an_account_has_one_spelling() -> None:
    """Version 3, and one member more; without an account everything is as it was."""
    receipt = made(1, JO)
    assert receipt.schema_version == 3
    assert receipt.canonical_bytes().startswith(f'{{"account":"{JO}","browser":'.encode())
    assert Receipt.from_bytes(receipt.canonical_bytes()) == receipt
    assert json.loads(receipt.canonical_bytes()) == receipt.to_json()
    plain = made(1, None)
    assert (plain.schema_version, "account" in plain.to_json()) == (2, False)
    content = receipt.canonical_bytes()
    for wrong in (
        content.replace(b'"schema_version":3', b'"schema_version":2'),
        content.replace(JO.encode(), JO.upper().encode()),
        content.replace(f'"{JO}"'.encode(), b"null"),
        plain.canonical_bytes().replace(b'"schema_version":2', b'"schema_version":3'),
    ):
        with pytest.raises(InvalidReceiptError):
            Receipt.from_bytes(wrong)
    with pytest.raises(InvalidReceiptError, match="together with policy_hash"):
        make_receipt(1, account=JO)


def found(backend: Backend, **sought: Any) -> Sequence[Receipt]:
    with backend.log() as log:  # type: ignore[attr-defined]
        return [each.receipt for each in log.find(Sought(**sought), limit=100).receipts]


def test_receipts_are_found_by_account(backend: Backend) -> None:
    """Of several visitors, with or without answers for vendors; nobody's account is nobody's."""
    receipts = [
        made(1, JO, subject="1" * 32),
        made(2, JO, subject="2" * 32, vendors={"acme-video": True}, site="Example blog"),
        made(3, AL, subject="1" * 32),
        made(4, None, subject="4" * 32, vendors={"acme-video": True}),
    ]
    assert append_all(backend, *receipts) == [None] * 4
    one, two, three, four = receipts
    assert found(backend, account=JO) == [two, one]
    assert found(backend, account=AL) == [three]
    assert found(backend, account=SEALER.account("nobody")) == []
    assert found(backend, account=JO, site="Example shop") == [one]
    assert found(backend, account=JO, subject="2" * 32) == [two]
    assert found(backend, account=JO, standing=True) == [two]  # the visitor of the first chose again
    assert found(backend, vendor="acme-video") == [four, two]
    with pytest.raises(ValueError, match="not asked for together"):
        found(backend, account=JO, vendor="acme-video")
    with backend.log() as log:  # type: ignore[attr-defined]
        assert list(verify_log(log, log.verifiers()).problems) == []
    # The same once more is no other receipt; the same under another account is.
    assert append_all(backend, one) == [None]
    assert [type(error).__name__ for error in append_all(backend, replace(one, account=AL))] == [
        "OtherReceiptError"
    ]


def test_an_account_is_erased_with_the_visitor(backend: Backend) -> None:
    """Nothing in the database can confirm a guess afterwards: neither the hash nor what it was found by."""
    mine, other = made(1, JO, subject="1" * 32), made(2, JO, subject="2" * 32)
    append_all(backend, mine, other)
    using(backend, lambda store: store.erase("1" * 32))
    assert found(backend, account=JO) == [other]
    using(backend, lambda store: store.erase("2" * 32))
    assert found(backend, account=JO) == []
    with backend.log() as log:  # type: ignore[attr-defined]
        assert {leaf: kept.answers for leaf, kept in log.found_by(0, 10).items() if kept.answers} == {}
        assert list(verify_log(log, log.verifiers()).problems) == []
    path = getattr(backend, "path", None)
    if isinstance(path, Path):
        content = b"".join(each.read_bytes() for each in path.parent.glob(f"{path.name}*"))
        for trace in (account_mark(JO).encode(), JO.encode(), bytes.fromhex(JO), b"jo@example.com"):
            assert trace not in content


def test_an_account_in_the_index_that_is_not_the_receipts_is_noticed(tmp_path: Path) -> None:
    """Verification names what was altered."""
    backend = SQLiteBackend(tmp_path)
    append_all(backend, made(1, JO), made(2, None))
    with contextlib.closing(sqlite3.connect(backend.path, isolation_level=None)) as connection:
        connection.execute("UPDATE answer SET vendor = ?", (account_mark(AL),))
    with backend.log() as log:
        problems = list(verify_log(log, log.verifiers()).problems)
    assert problems == ["leaf 0: what its receipt is found by was altered: answers"]


# ---- what the site says


def test_what_goes_wrong_in_the_sites_code_is_no_account(caplog: pytest.LogCaptureFixture) -> None:
    """A choice is recorded all the same, and nothing of the account is in our log."""

    def fails(scope: Scope) -> str | None:
        raise KeyError("session")

    assert Accounts(lambda scope: scope["user"], SEALER)({"user": "jo@example.com"}) == JO
    for nobody in (None, ""):
        assert Accounts(lambda scope: scope["user"], SEALER)({"user": nobody}) is None
    assert caplog.text == ""
    with caplog.at_level(logging.ERROR, "consent"):
        assert Accounts(fails, SEALER)({}) is None
        assert Accounts(lambda scope: 7, SEALER)({}) is None  # type: ignore[arg-type,return-value]
        assert Accounts(lambda scope: "secret" * MAX_ACCOUNT, SEALER)({}) is None
    assert caplog.text.count("recorded without its account") == 3
    assert "secret" not in caplog.text


@pytest.mark.parametrize(
    ("signed_in", "account"), [(b"user=jo@example.com", "jo@example.com"), (b"other=1", None)]
)
def test_a_site_says_who_is_signed_in(tmp_path: Path, signed_in: bytes, account: str | None) -> None:
    """One function of the request's scope; the receipt has the hash, and no file of the folder has the identifier."""

    def account_of(scope: Scope) -> str | None:
        cookie = dict(scope["headers"]).get(b"cookie", b"").decode()
        return cookie.removeprefix("user=") if cookie.startswith("user=") else None

    async def choose() -> int:
        app = ConsentMiddleware(nothing_else, data=tmp_path / "data", account=account_of)
        body = b'{"action": "accept"}'
        scope = {
            "type": "http", "method": "POST", "scheme": "https", "path": "/_consent/choice", "query_string": b"",
            "headers": [
                (b"host", b"shop.example"), (b"origin", b"https://shop.example"), (b"cookie", signed_in),
                (b"content-type", b"application/json"), (b"user-agent", b"Mozilla/5.0 Firefox/140.0"),
            ],
        }  # fmt: skip
        sent: list[Any] = []
        messages = [{"type": "http.request", "body": body}]

        async def receive() -> Any:
            return messages.pop() if messages else {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        await app(scope, receive, send)
        await app._close()
        status: int = sent[0]["status"]
        return status

    assert asyncio.run(choose()) == 200
    folder = DataFolder(tmp_path / "data")
    keys = folder.ledger_keys()
    with SQLiteReceiptLog(folder.receipts_path, keys) as log:
        (entry,) = log.list(limit=10)
    assert entry.receipt.account == (None if account is None else Sealer(keys).account(account))
    for path in folder.path.iterdir():
        assert b"jo@example.com" not in path.read_bytes()


# ---- the office


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    place = Place(tmp_path_factory.mktemp("accounts") / "data")
    jo = Sealer(place.keys).account("jo@example.com")

    async def fill() -> None:
        store = SQLiteStore(place.folder.receipts_path, place.keys)
        for number, site in ((201, "Example shop"), (202, "Example blog")):
            await store.append(made(number, jo, subject=f"{number:032x}", site=site), [SHOWN])
        await store.aclose()

    asyncio.run(fill())
    return place


def test_the_office_finds_an_account(place: Place) -> None:
    """In a body, with a reason; what was looked up is recorded without the account, and a token's sites count."""

    def look(secret: str | Role, account: object, **more: object) -> Any:
        return place.ask("/lookups", secret, method="POST", body={"account": account, **more}, headers=REASON)

    rows = look(Role.OFFICER, "jo@example.com").json["receipts"]
    assert [(row["leaf"], row["site"]) for row in rows] == [(61, "Example blog"), (60, "Example shop")]
    (entry,) = place.accesses.newest(limit=1)
    assert (entry.what, entry.details["by"], entry.details["leaves"]) == ("looked-up", "account", [61, 60])
    assert look(Role.OFFICER, "Jo@example.com").json["receipts"] == []
    some, _ = place.book.make("Al Example", Role.OFFICER, sites=["Example blog"], days=1)
    assert [row["leaf"] for row in look(some, "jo@example.com").json["receipts"]] == [61]
    for role in (Role.READER, Role.ANALYST, Role.ADMINISTRATOR):
        assert look(role, "jo@example.com").status == 403
    for wrong in ("", "x" * (MAX_ACCOUNT + 1), 7, ["jo@example.com"]):
        assert look(Role.OFFICER, wrong).status == 400
    assert look(Role.OFFICER, "jo@example.com", subject="0" * 32).status == 400
    answer = place.ask("/lookups", Role.OFFICER, method="POST", body={"account": "jo@example.com"})
    assert answer.status == 428
    assert b"jo@example.com" not in place.folder.office_path.read_bytes()


def test_the_console_finds_an_account(place: Place) -> None:
    """With a field of its own; one of the two at a time."""
    visitor = Visitor(place)
    visitor.sign_in(place.secrets[Role.OFFICER])
    form = {"sought": "", "account": " jo@example.com ", "reason": "complaint 12"}
    answer = visitor.post("/lookups", form)
    assert (answer.status, answer.body.count(b'<th scope="row">')) == (200, 2)
    assert b"jo@example.com" not in answer.body
    assert visitor.post("/lookups", {**form, "sought": "0" * 32}).status == 400
    assert visitor.post("/lookups", {**form, "account": "x" * (MAX_ACCOUNT + 1)}).status == 400
