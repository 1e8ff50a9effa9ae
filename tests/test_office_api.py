"""The office's API: who may, what is answered, and that everything that goes wrong has one shape."""

from __future__ import annotations

import asyncio
import contextlib
import csv
import json
import logging
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from consent.categories import Category
from consent.cli import main
from consent.data_folder import DataFolder
from consent.enforcement_log import EnforcementKind
from consent.errors import StoreUnavailable
from consent.inventory import Sighting, Source, Tally
from consent.mount import ConsentMiddleware
from consent.office.access_log import AccessLog
from consent.office.api.table import ENDPOINTS
from consent.office.app import Office
from consent.office.database import OfficeDatabase
from consent.office.limits import CALLS_A_DAY, SITE_CALLS_A_DAY, Limits
from consent.office.paths import without_slash
from consent.office.roles import ALLOWED, Role
from consent.office.tokens import TokenBook
from consent.receipt_export import ExportForm
from consent.receipt_search import FoundPage, Sought
from consent.receipts import Outcome, Receipt
from consent.sqlite_inventory import SQLiteInventory
from consent.sqlite_log import SQLiteReceiptLog
from consent.sqlite_store import SQLiteStore
from tests.exchange import endpoints as nothing_else
from tests.test_receipts import SHOWN, make_receipt

NOW = 1_767_225_600.0 + 86_400
API = "/_consent/api/v1"
SUBJECT = f"{7:032x}"
REASON = {"consent-reason": "complaint 12"}


def receipts() -> list[Receipt]:
    """Return 60 choices of 20 visitors on two sites."""
    return [
        make_receipt(
            number,
            subject=f"{number % 20:032x}",
            shown_hash=SHOWN.hash,
            site="Example blog" if number % 5 == 0 else "Example shop",
            outcome=Outcome.GIVEN if number % 2 else Outcome.REFUSED,
            categories={
                Category.PERFORMANCE: bool(number % 2),
                Category.FUNCTIONAL: False,
                Category.TARGETING: False,
            },
        )
        for number in range(60)
    ]


RECEIPTS = receipts()


@dataclass
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    fields: Sequence[tuple[str, str]] = ()

    def all(self, name: str) -> list[str]:
        """Return what each header field with this name says."""
        return [value for each, value in self.fields if each == name]

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Place:
    """A data folder with receipts, and an office on it."""

    def __init__(self, path: Path) -> None:
        self.folder = DataFolder(path)
        self.keys = self.folder.ledger_keys()
        self.now = NOW
        self.client = "192.0.2.1"

        async def fill() -> None:
            store = SQLiteStore(self.folder.receipts_path, self.keys, clock=lambda: NOW)
            for receipt in RECEIPTS:
                await store.append(receipt, [SHOWN])
            kind = EnforcementKind(
                "2026-01-01", "Example shop", "script", "acme", "targeting", "allowed", "refused", "v"
            )
            await asyncio.to_thread(store.count, {kind: 3, kind._replace(site="Example blog"): 2})
            await store.aclose()

        asyncio.run(fill())
        SQLiteInventory(self.folder.inventory_path).merge(
            {Sighting(Source.RESPONSE, "script", "cdn.example", ""): Tally(20_454, 20_455, 3, ["/shop"])}
        )
        self.database = OfficeDatabase(self.folder.office_path)
        self.book = TokenBook(self.database, lambda: self.now)
        self.accesses = AccessLog(self.database, self.keys, lambda: self.now)
        self.limits = Limits(self.database, lambda: self.now)
        self.app = Office(
            "/_consent",
            self.folder,
            lambda: SQLiteReceiptLog(self.folder.receipts_path, self.keys),
            lambda: self.now,
        )
        self.secrets = {role: self.book.make(f"{role} Example", role, days=9)[0] for role in Role}

    def ask(
        self,
        path: str,
        token: str | Role | None = None,
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        body: object = None,
        ends_early: bool = False,
    ) -> Answer:
        """Ask for something below the API's path; ``ends_early``: go away before all of the body is sent."""
        secret = self.secrets[token] if isinstance(token, Role) else token
        sent = {"host": "shop.example", **(headers or {})}
        if secret is not None:
            sent["authorization"] = f"Bearer {secret}"
        content = b""
        if body is not None:
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            sent.setdefault("content-type", "application/json")
        plain, _, query = path.partition("?")
        scope = {
            "type": "http",
            "method": method,
            "scheme": "https",
            "client": (self.client, 4_321),
            "path": plain if plain.startswith("/_consent") else API + plain,
            "query_string": query.encode(),
            "headers": [(name.encode(), value.encode("utf-8")) for name, value in sent.items()],
        }
        messages: list[Any] = []
        sending = [{"type": "http.request", "body": content, "more_body": ends_early}]

        async def receive() -> Any:
            if sending:
                return sending.pop()
            if not ends_early:
                await asyncio.Event().wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            messages.append(message)

        asyncio.run(self.app(scope, receive, send))
        fields = [(name.decode(), value.decode()) for name, value in messages[0]["headers"]]
        whole = b"".join(each.get("body", b"") for each in messages[1:])
        return Answer(messages[0]["status"], dict(fields), whole, fields)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("office") / "data")


PATHS = {
    "/me": "/me",
    "/counts": "/counts",
    "/receipts": "/receipts",
    "/lookups": "/lookups",
    "/receipts/{leaf}": "/receipts/3",
    "/receipts/{leaf}/evidence": "/receipts/3/evidence",
    "/texts/{hash}": f"/texts/{SHOWN.hash}",
    "/exports/receipts": "/exports/receipts",
    "/exports": "/exports",
    "/exports/{id}": "/exports/0123456789abcdef",
    "/exports/{id}/content": "/exports/0123456789abcdef/content",
    "/proof": "/proof?from=2026-01-01",
    "/reports/monthly": "/reports/monthly?month=2026-01",
    "/reports/processing": "/reports/processing?day=2026-01-01",
    "/stream": "/stream",
    "/webhooks": "/webhooks",
    "/webhooks/{id}": "/webhooks/whk_0123456789abcdef",
    "/webhooks/{id}/secret": "/webhooks/whk_0123456789abcdef/secret",
    "/enforcement": "/enforcement",
    "/trackers": "/trackers",
    "/leaks": "/leaks",
    "/proposals": "/proposals",
    "/classifications": "/classifications",
    "/policies": "/policies",
    "/policies/{policy}": "/policies/" + "0" * 32,
    "/policies/{policy}/changes/{other}": f"/policies/{'0' * 32}/changes/{'1' * 32}",
    "/as-of": "/as-of",
    "/standing": "/standing",
    "/expiring": "/expiring",
    "/asking-again": "/asking-again",
    "/integrity": "/integrity",
    "/accesses": "/accesses",
    "/requests": "/requests",
    "/requests/{reference}": "/requests/AAAA-AAAA",
    "/requests/{reference}/lookups": "/requests/AAAA-AAAA/lookups",
    "/requests/{reference}/package": "/requests/AAAA-AAAA/package",
    "/requests/{reference}/erasures": "/requests/AAAA-AAAA/erasures",
    "/requests/{reference}/withdrawals": "/requests/AAAA-AAAA/withdrawals",
    "/requests/{reference}/certificates": "/requests/AAAA-AAAA/certificates",
}
BODIES: dict[str, dict[str, object]] = {
    "POST /lookups": {"subject": SUBJECT},
    "POST /exports": {"filters": {"site": "Example shop"}},
    "POST /proposals": {"id": "hotjar"},
    "POST /classifications": {"id": "hotjar"},
    "POST /webhooks": {"url": "https://hooks.example.com/consent", "events": ["export.finished"]},
    "PATCH /webhooks/{id}": {"state": "disabled"},
    "POST /webhooks/{id}/secret": {},
    "POST /requests": {"kind": "erase", "site": "Example blog"},
    "PATCH /requests/{reference}": {"step": "note", "text": "a note"},
    "POST /requests/{reference}/lookups": {"sought": SUBJECT},
    "POST /requests/{reference}/erasures": {},
    "POST /requests/{reference}/withdrawals": {},
}
TABLE = {
    #                                 reader analyst officer administrator
    "GET /me":                       "200 200 200 200",
    "GET /counts":                   "200 200 200 200",
    "GET /receipts":                 "403 200 200 200",
    "POST /lookups":                 "403 403 200 403",
    "GET /receipts/{leaf}":          "403 403 200 403",
    "GET /receipts/{leaf}/evidence": "403 403 200 403",
    "GET /texts/{hash}":             "403 200 200 200",
    "GET /exports/receipts":         "403 200 200 403",
    "POST /exports":                 "403 202 202 403",
    "GET /exports":                  "403 200 200 403",
    "GET /exports/{id}":             "403 404 404 403",
    "DELETE /exports/{id}":          "403 404 404 403",
    "GET /exports/{id}/content":     "403 404 404 403",
    "GET /proof":                    "403 200 200 403",
    "GET /reports/monthly":          "200 200 200 200",
    "GET /reports/processing":       "200 200 200 200",
    "GET /stream":                   "403 403 403 200",
    "POST /webhooks":                "403 403 403 201",
    "GET /webhooks":                 "403 403 403 200",
    "GET /webhooks/{id}":            "403 403 403 404",
    "PATCH /webhooks/{id}":          "403 403 403 404",
    "DELETE /webhooks/{id}":         "403 403 403 404",
    "POST /webhooks/{id}/secret":    "403 403 403 404",
    "GET /enforcement":              "200 200 200 200",
    "GET /trackers":                 "200 200 200 200",
    "GET /leaks":                    "200 200 200 200",
    "GET /proposals":                "200 200 200 200",
    "POST /proposals":               "200 200 200 200",
    # Without a policy that lets the office: tests/test_office_trackers.py.
    "POST /classifications":         "403 403 409 409",
    "GET /policies":                 "200 200 200 200",
    # Of a policy that there is: tests/test_office_policies.py.
    "GET /policies/{policy}":        "404 404 404 404",
    "GET /policies/{policy}/changes/{other}": "404 404 404 404",
    "GET /as-of":                    "200 200 200 200",
    "GET /standing":                 "200 200 200 200",
    "GET /expiring":                 "200 200 200 200",
    "GET /asking-again":             "200 200 200 200",
    "GET /integrity":                "200 200 200 200",
    "GET /accesses":                 "403 403 403 200",
    # Whose request it is: tests/test_office_requests.py.
    "GET /requests":                 "403 200 200 200",
    "POST /requests":                "403 403 201 403",
    "GET /requests/{reference}":     "403 403 404 403",
    "PATCH /requests/{reference}":   "403 403 404 403",
    "POST /requests/{reference}/lookups":     "403 403 404 403",
    "GET /requests/{reference}/package":      "403 403 404 403",
    "POST /requests/{reference}/erasures":    "403 403 404 403",
    "POST /requests/{reference}/withdrawals": "403 403 404 403",
    "GET /requests/{reference}/certificates": "403 403 404 403",
}  # fmt: skip
SITES_TABLE = {
    # The same for a token of the other site only: what is of all sites is refused, and the receipt is not there.
    "GET /receipts/{leaf}": "403 403 404 403",
    "GET /receipts/{leaf}/evidence": "403 403 404 403",
    "POST /classifications": "403 403 403 403",
    "GET /accesses": "403 403 403 403",
    "GET /stream": "403 403 403 403",
    "POST /webhooks": "403 403 403 403",
    "GET /webhooks": "403 403 403 403",
    "GET /webhooks/{id}": "403 403 403 403",
    "PATCH /webhooks/{id}": "403 403 403 403",
    "DELETE /webhooks/{id}": "403 403 403 403",
    "POST /webhooks/{id}/secret": "403 403 403 403",
}


def test_who_may_ask_what(place: Place) -> None:
    """Cell by cell: every endpoint, every role, all sites or one; and nobody without a token."""
    assert sorted(f"{each.method} {each.path}" for each in ENDPOINTS) == sorted(TABLE)
    assert {endpoint.path for endpoint in ENDPOINTS} == PATHS.keys()
    somewhere = {
        role: place.book.make("Al Example", role, sites=["Example blog"], days=1)[0] for role in Role
    }
    for part, endpoint in enumerate(ENDPOINTS):
        place.client = f"10.1.{part}.1"  # from one network, so many wrong ones would be too many
        cell = f"{endpoint.method} {endpoint.path}"
        body = BODIES.get(cell)
        path = PATHS[endpoint.path]
        for number, role in enumerate(Role):
            for secrets, row in ((place.secrets, TABLE), (somewhere, {**TABLE, **SITES_TABLE})):
                answer = place.ask(path, secrets[role], method=endpoint.method, body=body, headers=REASON)
                assert answer.status == int(row[cell].split()[number]), (cell, role, answer.body)
        for secret in (None, "", "cot_000000000000_" + "A" * 43, place.secrets[Role.OFFICER] + "x"):
            answer = place.ask(path, secret, method=endpoint.method, body=body, headers=REASON)
            assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer")
            assert answer.json["error"]["code"] == "token-missing"


def test_a_token_of_one_site_sees_that_site_only(place: Place) -> None:
    """In counts, lists, look-ups, exports, texts and enforcement; also where it asks for another."""
    secret, _ = place.book.make("Al Example", Role.OFFICER, sites=["Example blog"], days=1)
    rows = place.ask("/receipts?limit=500", secret).json["receipts"]
    assert (len(rows), {row["site"] for row in rows}) == (12, {"Example blog"})
    assert place.ask("/receipts?site=Example+shop", secret).json == {"receipts": [], "next": None}
    counted = place.ask("/counts?from=2026-01-01&to=2026-01-01&by=site", secret).json["counts"]
    assert counted == [{"site": "Example blog", "choices": 12}]
    found = place.ask("/lookups", secret, method="POST", body={"subject": f"{5:032x}"}, headers=REASON).json
    assert {row["site"] for row in found["receipts"]} == {"Example blog"}
    shops = place.ask("/lookups", secret, method="POST", body={"subject": SUBJECT}, headers=REASON).json
    assert shops == {"receipts": [], "next": None}
    by_id = {"receipt_id": RECEIPTS[3].receipt_id}
    assert place.ask("/lookups", secret, method="POST", body=by_id, headers=REASON).json["receipts"] == []
    exported = place.ask("/exports/receipts?rows=records", secret, headers=REASON).body.splitlines()
    assert exported == [receipt.canonical_bytes() for receipt in RECEIPTS if receipt.site == "Example blog"]
    done = place.ask("/enforcement?from=2026-01-01&to=2026-01-02", secret).json["enforcement"]
    assert [(row["site"], row["times"], row["leaked"]) for row in done] == [("Example blog", 2, True)]
    assert place.ask(f"/texts/{SHOWN.hash.upper()}", secret).body == SHOWN.content
    other, _ = place.book.make("Al Example", Role.OFFICER, sites=["Example club"], days=1)
    assert place.ask(f"/texts/{SHOWN.hash}", other).status == 404


def test_receipts_are_listed_page_by_page_without_anything_that_names_anybody(place: Place) -> None:
    """The newest first; only the members that are asked for."""
    rows: list[Any] = []
    cursor = ""
    while cursor is not None:
        answer = place.ask(f"/receipts?limit=25&outcome=given&cursor={cursor}", Role.ANALYST).json
        rows += answer["receipts"]
        cursor = answer["next"]
    assert [row["leaf"] for row in rows] == list(range(59, 0, -2))
    assert rows[0].keys() == {
        "leaf", "time", "site", "regime", "jurisdiction", "policy_version", "language", "shown_hash", "outcome",
        "performance", "functional", "targeting", "gpc", "dnt", "collection_method", "policy_hash",
        "vendor_list_hash", "bot",
    }  # fmt: skip
    narrow = place.ask("/receipts?fields=leaf,outcome&performance=false&limit=1", Role.ANALYST).json
    assert narrow["receipts"] == [{"leaf": 58, "outcome": "refused"}]
    standing = place.ask("/receipts?standing=true&limit=500", Role.ANALYST).json["receipts"]
    assert [row["leaf"] for row in standing] == list(range(59, 39, -1))


def test_a_visitor_is_looked_up_in_a_body_and_that_is_recorded(place: Place) -> None:
    """With the reason, the leaves that were found, and no pseudonym; also as of a moment, and by the receipt's id."""
    asked = {"subject": SUBJECT}
    answer = place.ask("/lookups", Role.OFFICER, method="POST", body=asked, headers=REASON)
    assert [row["leaf"] for row in answer.json["receipts"]] == [47, 27, 7]
    assert answer.headers["cache-control"] == "no-store"
    (entry,) = place.accesses.newest(limit=1)
    assert (entry.what, entry.reason) == ("looked-up", "complaint 12")
    assert entry.details == {"by": "visitor", "found": 3, "leaves": [47, 27, 7], "role": "officer"}
    assert entry.who.startswith("officer Example (")
    then = {"subject": SUBJECT, "until": "2026-01-01T00:00:40.000Z", "standing": True}
    answer = place.ask("/lookups", Role.OFFICER, method="POST", body=then, headers=REASON)
    assert [row["leaf"] for row in answer.json["receipts"]] == [27]
    by_id = {"receipt_id": RECEIPTS[27].receipt_id.upper()}
    answer = place.ask("/lookups", Role.OFFICER, method="POST", body=by_id, headers=REASON)
    assert [row["leaf"] for row in answer.json["receipts"]] == [27]
    paged = {"subject": SUBJECT, "limit": 2}
    first = place.ask("/lookups", Role.OFFICER, method="POST", body=paged, headers=REASON).json
    rest = place.ask(
        "/lookups", Role.OFFICER, method="POST", body={**paged, "cursor": first["next"]}, headers=REASON
    ).json
    assert [row["leaf"] for row in first["receipts"] + rest["receipts"]] == [47, 27, 7]
    assert SUBJECT not in json.dumps([dict(entry.details) for entry in place.accesses.newest(limit=500)])


def test_a_receipt_that_is_erased_while_it_is_looked_up_is_no_alarm(tmp_path: Path) -> None:
    """It is found, or it is not."""
    place = Place(tmp_path / "data")
    path, keys = place.folder.receipts_path, place.keys

    class Erased(SQLiteReceiptLog):
        def look(self, sought: Sought, **options: Any) -> FoundPage:
            page = super().look(sought, **options)
            with contextlib.closing(sqlite3.connect(path)) as connection:
                columns = ("subject", "outcome", "site", "time_ms", "body", "kind")
                connection.execute(f"UPDATE record SET {' = NULL, '.join(columns)} = NULL")
                connection.commit()
            return page

    place.app = Office("/_consent", place.folder, lambda: Erased(path, keys), lambda: NOW)
    by_id = {"receipt_id": RECEIPTS[27].receipt_id}
    answer = place.ask("/lookups", Role.OFFICER, method="POST", body=by_id, headers=REASON)
    assert (answer.status, [row["leaf"] for row in answer.json["receipts"]]) == (200, [27])
    answer = place.ask("/lookups", Role.OFFICER, method="POST", body=by_id, headers=REASON)
    assert (answer.status, answer.json["receipts"]) == (200, [])


def test_a_receipt_is_opened_with_a_reason_and_its_proof_is_checked(place: Place, tmp_path: Path) -> None:
    """Who asks nothing may see nothing; the file verifies with the key and nothing else."""
    answer = place.ask("/receipts/27", Role.OFFICER)
    assert (answer.status, answer.json["error"]["code"]) == (428, "reason-missing")
    assert place.ask("/receipts/27", Role.OFFICER, headers={"consent-reason": " x "}).status == 428
    place.ask("/receipts/26", Role.OFFICER, headers=REASON)
    before = place.accesses.newest(limit=1)[0].leaf
    answer = place.ask("/receipts/27", Role.OFFICER, headers={"consent-reason": "Anfrage%20M%C3%BCller"})
    assert answer.json["receipt"] == RECEIPTS[27].to_json()
    assert answer.json["content_hash"] == RECEIPTS[27].content_hash
    assert (answer.json["proof"]["verified"], answer.json["proof"]["size"]) == (True, 60)
    assert answer.json["text"] == {"media_type": SHOWN.media_type, "bytes": len(SHOWN.content)}
    (entry,) = place.accesses.newest(limit=1)
    assert (entry.leaf, entry.what, entry.reason) == (before + 1, "opened", "Anfrage M\u00fcller")
    assert entry.details == {"leaf": 27, "role": "officer"}
    evidence = place.ask("/receipts/27/evidence", Role.OFFICER, headers=REASON)
    assert evidence.headers["content-disposition"] == 'attachment; filename="consent-receipt-27.json"'
    file = tmp_path / "receipt.json"
    file.write_bytes(evidence.body)
    (key,) = place.ask("/integrity", Role.READER).json["keys"]
    result = CliRunner().invoke(main, ["ledger", "verify", "--key", key, str(file)])
    assert result.exit_code == 0, result.output
    for missing in (
        "/receipts/60",
        "/receipts/x",
        "/receipts/-1",
        "/receipts/3/else",
    ):
        assert place.ask(missing, Role.OFFICER, headers=REASON).status == 404


def test_a_receipt_that_is_not_for_a_token_is_recorded_as_asked_for(place: Place) -> None:
    """Of another site, or of none: whoever tries one number after the other is seen."""
    secret, _ = place.book.make("Al Example", Role.OFFICER, sites=["Example blog"], days=1)
    for leaf in (3, 60):
        assert place.ask(f"/receipts/{leaf}", secret, headers=REASON).status == 404
        (entry,) = place.accesses.newest(limit=1)
        assert (entry.what, entry.reason, entry.details["leaf"]) == ("not-found", "complaint 12", leaf)


def test_the_text_shown_is_a_download_and_never_a_page(place: Place) -> None:
    """It is markup: of this origin, it could act as the office."""
    answer = place.ask(f"/texts/{SHOWN.hash}", Role.ANALYST)
    assert sha256(answer.body).hexdigest() == SHOWN.hash
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-security-policy"] == "default-src 'none'; sandbox"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert place.ask(f"/texts/{'0' * 64}", Role.ANALYST).status == 404


def test_choices_are_counted_by_what_is_asked(place: Place) -> None:
    """Also of a past day; what is counted can be narrowed."""
    answer = place.ask("/counts?from=2026-01-01&to=2026-01-02&by=day,outcome", Role.READER)
    assert answer.json == {
        "from": "2026-01-01",
        "to": "2026-01-02",
        "counts": [
            {"day": "2026-01-01", "outcome": "given", "choices": 30},
            {"day": "2026-01-01", "outcome": "refused", "choices": 30},
        ],
    }
    narrow = place.ask("/counts?by=performance&site=Example+blog&from=2026-01-01", Role.READER).json["counts"]
    assert narrow == [{"performance": False, "choices": 6}, {"performance": True, "choices": 6}]
    assert place.ask("/counts?by=day,day", Role.READER).json["counts"] == [
        {"day": "2026-01-01", "choices": 60}
    ]


def test_an_export_is_streamed(place: Place) -> None:
    """What they are found by without a reason, the receipts with one; in both forms; each is recorded."""
    lines = place.ask("/exports/receipts?outcome=given", Role.ANALYST)
    assert lines.headers["content-type"] == "application/jsonl"
    assert "content-length" not in lines.headers
    assert [json.loads(line)["leaf"] for line in lines.body.splitlines()] == list(range(1, 60, 2))
    table = list(csv.reader(place.ask("/exports/receipts?form=csv", Role.ANALYST).body.decode().splitlines()))
    assert (table[0][:3], len(table)) == (["leaf", "time", "site"], 61)
    assert place.ask("/exports/receipts?rows=records", Role.ANALYST, headers=REASON).status == 403
    assert place.ask("/exports/receipts?rows=records", Role.OFFICER).status == 428
    (entry,) = place.accesses.newest(limit=1)
    assert (entry.what, entry.details["asked"]) == ("exported", {"form": "csv"})
    assert place.ask("/exports/receipts?outcome=given", Role.ANALYST, method="HEAD").body == b""


def test_days_are_proven(place: Place, tmp_path: Path) -> None:
    """Without anybody's name; with the receipts for a reason, of the sites of the token; each is recorded."""
    (key,) = place.ask("/integrity", Role.READER).json["keys"]
    secret, _ = place.book.make("Al Example", Role.OFFICER, sites=["Example blog"], days=1)
    day = "/proof?from=2026-01-01&to=2026-01-01"
    file = tmp_path / "proof.jsonl"
    for asked, who, said in (
        (day, Role.ANALYST, "60 receipts (30 given, 30 refused): so the log's keeper states"),
        (f"{day}&records=true", Role.OFFICER, "60 receipts, each with its record (30 given, 30 refused)"),
        (f"{day}&records=true", secret, "12 receipts, each with its record (6 given, 6 refused)"),
    ):
        answer = place.ask(asked, who, headers=REASON)
        assert (answer.status, answer.headers["cache-control"]) == (200, "no-store")
        assert answer.headers["content-type"] == "application/jsonl"
        file.write_bytes(answer.body)
        result = CliRunner().invoke(main, ["ledger", "verify", "--key", key, str(file)])
        assert (result.exit_code, said in result.output) == (0, True), result.output
        assert "Leaves 0 to 59 of 60: all of them, without a gap" in result.output
    name = 'attachment; filename="consent-proof-2026-01-01-2026-01-01-records.jsonl"'
    assert answer.headers["content-disposition"] == name
    (entry,) = place.accesses.newest(limit=1)
    assert (entry.what, entry.reason) == ("proved", "complaint 12")
    assert (entry.details["sites"], entry.details["records"]) == (["Example blog"], True)
    file.write_bytes(answer.body.replace(b"Example blog", b"Example shop", 1))
    result = CliRunner().invoke(main, ["ledger", "verify", "--key", key, str(file)])
    assert (result.exit_code, "line 2: the record of leaf 0 is of another time" in result.output) == (1, True)
    assert place.ask(f"{day}&records=true", Role.ANALYST, headers=REASON).status == 403
    assert place.ask(f"{day}&records=true", Role.OFFICER).status == 428
    assert place.ask(f"{day}&site=Example+shop", secret).status == 403


def test_trackers_integrity_and_accesses(place: Place) -> None:
    """The inventory with its days, the signed checkpoint, and who did what."""
    (row,) = place.ask("/trackers", Role.READER).json["trackers"]
    assert (row["subject"], row["first_day"], row["times"], row["pages"]) == (
        "cdn.example",
        "2026-01-01",
        3,
        ["/shop"],
    )
    integrity = place.ask("/integrity", Role.READER).json
    assert (integrity["size"], integrity["checkpoint"].split("\n")[1]) == (60, "60")
    assert (integrity["verified"], integrity["problem"]) == (True, "")
    place.accesses.append("Jo", "one")
    place.accesses.append("Jo", "two")
    first = place.ask("/accesses?limit=1", Role.ADMINISTRATOR).json
    assert first["accesses"][0]["what"] == "two"
    second = place.ask(f"/accesses?limit=1&before={first['next']}", Role.ADMINISTRATOR).json
    assert second["accesses"][0]["what"] == "one"


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        ("/receipts?colour=red", 400, "colour: there is no such parameter; there are bot, collection_method, cursor"),
        ("/receipts?site=a&site=b", 400, "site: given twice"),
        ("/receipts?limit=0", 400, "limit: 1 to 500"),
        ("/receipts?limit=501", 400, "limit: 1 to 500"),
        ("/receipts?limit=%D9%A3", 400, "limit: 1 to 500"),
        ("/receipts?cursor=x", 400, "cursor: what `next` of the page before said"),
        ("/receipts?from=1.3.2026", 400, "from: a day, such as 2026-03-01"),
        ("/receipts?from=20260301", 400, "from: a day, such as 2026-03-01"),
        ("/receipts?outcome=maybe", 400, "outcome: one of given, refused, changed, withdrawn"),
        ("/receipts?gpc=1", 400, "gpc: true or false"),
        ("/receipts?said=true", 400, "said: it is the answer for a vendor: say which"),
        ("/receipts?vendor=%00", 400, "vendor: no control characters"),
        ("/exports/receipts?site=%1B[2J", 400, "site: no control characters"),
        ("/receipts?fields=subject", 400, "fields: 'subject' is none of leaf, time,"),
        ("/receipts?subject=" + SUBJECT, 400, "subject: there is no such parameter"),
        ("/receipts?" + "x" * 9000, 400, "query: at most 8192 bytes"),
        ("/receipts?%FF=%FF", 400, "query: it cannot be read"),
        ("/counts?by=subject", 400, "by: 'subject' is none of day, site,"),
        ("/counts?from=0001-01-01", 400, "from: up to 1100 days before the last one"),
        ("/exports/receipts?form=xml", 400, "form: one of jsonl, csv"),
        ("/nothing", 404, "there is no such thing here"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_in_one_shape(place: Place, path: str, status: int, message: str) -> None:
    """With a code for programs and a sentence for people."""
    answer = place.ask(path, Role.OFFICER)
    assert answer.status == status
    assert answer.json["error"].keys() == {"code", "message"}
    assert message in answer.json["error"]["message"]
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (b"[]", 400, "body: a JSON object"),
        (b"{", 400, "body: a JSON object"),
        (b"[" * 9000, 400, "body: a JSON object"),
        ({}, 400, "subject: give this, or receipt_id, or account, as a string"),
        ({"subject": SUBJECT, "receipt_id": "x"}, 400, "subject: give this, or"),
        ({"subject": "nobody"}, 400, "subject: a pseudonym of 32 lower-case hexadecimal digits"),
        ({"subject": f"{10:032X}"}, 400, "subject: a pseudonym of 32 lower-case"),
        ({"subject": SUBJECT, "limit": "2"}, 400, "limit: a whole number, 1 to 500"),
        ({"subject": SUBJECT, "limit": 501}, 400, "limit: a whole number, 1 to 500"),
        ({"receipt_id": "nothing"}, 400, "receipt_id: a UUID"),
        ({"subject": SUBJECT, "until": 7}, 400, "until: a day or a moment"),
        ({"subject": SUBJECT, "until": "soon"}, 400, "until: a day, such as"),
        ({"subject": SUBJECT, "standing": "yes"}, 400, "standing: true or false"),
        ({"subject": SUBJECT, "cursor": 0}, 400, "standing: true or false, and a cursor in a string"),
        ({"subject": SUBJECT, "name": "Jo"}, 400, "body: it may have subject, receipt_id, account,"),
        (rb'{"\ud800": 1}', 400, "body: it may have subject,"),
        (b" " * 17_000, 413, "at most 16384 bytes"),
    ],
)  # fmt: skip
def test_a_look_up_is_read_within_bounds(place: Place, body: object, status: int, message: str) -> None:
    """And nothing is recorded of one that is none."""
    before = place.accesses.newest(limit=1)
    answer = place.ask("/lookups", Role.OFFICER, method="POST", body=body, headers=REASON)
    assert (answer.status, message in answer.json["error"]["message"]) == (status, True), answer.body
    assert place.accesses.newest(limit=1) == before


@pytest.mark.parametrize(
    ("reason", "recorded"),
    [
        ("%1B[2J%0Acase%C2%9B 7%E2%80%A8", "[2J case 7"),
        ("%E2%80%AE7 esac", "7 esac"),
        (
            "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
            "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
        ),
        ("%00%07%1B%08", None),
        ("%E2%80%8B%E2%80%8B%E2%80%8B%E2%80%8C", None),
    ],
)
def test_a_reason_is_recorded_as_a_line_that_commands_nothing(
    place: Place, reason: str, recorded: str | None
) -> None:
    """Who reads the log on a terminal reads words; and what nobody can read is no reason."""
    answer = place.ask("/receipts/3", Role.OFFICER, headers={"consent-reason": reason})
    assert answer.status == (428 if recorded is None else 200)
    if recorded is not None:
        place.ask("/exports/receipts", Role.OFFICER, headers={"consent-reason": reason})
        assert [entry.reason for entry in place.accesses.newest(limit=2)] == [recorded] * 2


def test_a_long_reason_is_refused_and_not_cut_short(place: Place) -> None:
    """The record says all of it, or nothing is done."""
    before = place.accesses.newest(limit=1)
    for path in ("/receipts/3", "/exports/receipts"):
        answer = place.ask(path, Role.OFFICER, headers={"consent-reason": "x" * 501})
        assert (answer.status, answer.json["error"]["message"]) == (400, "reason: at most 500 characters")
    assert place.accesses.newest(limit=1) == before
    assert place.ask("/receipts/3", Role.OFFICER, headers={"consent-reason": "x" * 500}).status == 200
    assert place.accesses.newest(limit=1)[0].reason == "x" * 500


@pytest.mark.parametrize("home", [API, "/_consent/office"])
def test_an_address_with_a_slash_at_its_end_leads_to_the_one_without(place: Place, home: str) -> None:
    """The same for the console and the API, for every method, whoever asks, and whatever there is."""
    query = "from=2026-01-01&x=%2F%20"
    for path in ("", "/receipts", "/exports", "/webhooks/whk_1", "/none", "/b%20\u00fc?a"):
        for method in ("GET", "HEAD", "POST", "DELETE"):
            answer = place.ask(f"{home}{path.partition('?')[0]}/?{query}", method=method)
            written = path.partition("?")[0].replace("\u00fc", "%C3%BC").replace("%20", "%2520")
            assert answer.status == 308
            assert answer.headers == {
                "location": f"{home}{written}?{query}", "content-length": "0", "cache-control": "no-store",
            }  # fmt: skip
    assert place.ask(f"{home}//example.com//", Role.OFFICER).headers["location"] == f"{home}//example.com"
    assert place.ask(f"{home}/\r\nx: y/").headers["location"] == f"{home}/%0D%0Ax%3A%20y"
    assert place.ask(home).status == (401 if home == API else 200)


def test_a_slash_within_a_name_is_no_slash_at_the_end(place: Place) -> None:
    """As it was written, it is a part of the name, and there is no such thing."""
    assert without_slash({"path": "/x/a/", "raw_path": b"/x/a%2F"}) is None
    assert without_slash({"path": "/x/a/", "raw_path": b"/x/a/", "query_string": b""}) == b"/x/a"
    assert without_slash({"path": "/x/a", "raw_path": b"/x/a"}) is None


def test_methods_and_media_types(place: Place) -> None:
    """What an address does not know is said, with what it does."""
    answer = place.ask("/me", Role.READER, method="DELETE")
    assert (answer.status, answer.headers["allow"]) == (405, "GET")
    answer = place.ask(
        "/lookups", Role.OFFICER, method="POST", body=b"x", headers={**REASON, "content-type": "text/a"}
    )
    assert answer.status == 415
    assert place.ask("/me", Role.READER, method="HEAD").body == b""
    # The name of a scheme is written as one likes (RFC 9110, 11.1).
    assert place.ask("/me", headers={"authorization": f"BEARER {place.secrets[Role.READER]}"}).status == 200


def test_an_answer_has_an_etag(place: Place) -> None:
    """Who has it already gets 304; what is of a visitor is kept by nobody."""
    first = place.ask("/counts?from=2026-01-01&to=2026-01-01", Role.READER)
    again = place.ask(
        "/counts?from=2026-01-01&to=2026-01-01",
        Role.READER,
        headers={"if-none-match": f'"x", W/{first.headers["etag"]}'},
    )
    assert (again.status, again.body, again.headers["etag"]) == (304, b"", first.headers["etag"])
    assert first.headers["cache-control"] == "private, no-cache"
    opened = place.ask("/receipts/27", Role.OFFICER, headers=REASON)
    assert ("etag" in opened.headers, opened.headers["cache-control"]) == (False, "no-store")


def test_calls_of_a_day_are_limited(place: Place) -> None:
    """Each answer says how many are left; an export counts as ten; then 429 until midnight."""
    secret, token = place.book.make("Al Example", Role.ANALYST, days=1)
    answer = place.ask("/me", secret)
    assert answer.headers["ratelimit-policy"] == (
        f'"day";q={CALLS_A_DAY};w=86400, "site";q={SITE_CALLS_A_DAY};w=86400'
    )
    left = answer.headers["ratelimit"].split(", ")
    assert left[0] == f'"day";r={CALLS_A_DAY - 1};t=86400'
    assert left[1].startswith('"site";r=2')
    left = place.ask("/exports/receipts", secret).headers["ratelimit"].split(", ")
    assert left[0] == f'"day";r={CALLS_A_DAY - 11};t=86400'
    place.limits.count(token, weight=CALLS_A_DAY)
    answer = place.ask("/me", secret)
    assert (answer.status, answer.headers["retry-after"]) == (429, "86400")
    assert answer.json["error"] == {"code": "too-many-calls", "message": "2400 calls a day, and no more"}


def test_the_description_is_made_of_the_same_table(place: Place) -> None:
    """OpenAPI 3.1: every endpoint, its parameters, its errors; public, for it says nothing of anybody."""
    answer = place.ask("/openapi.json")
    assert answer.status == 200
    document = answer.json
    assert document["openapi"] == "3.1.0"
    assert document["servers"] == [{"url": API}]
    described = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert described == {(endpoint.method, endpoint.path) for endpoint in ENDPOINTS}
    listing = document["paths"]["/receipts"]["get"]
    assert listing["description"] == "For analyst, officer, administrator."
    assert {"name": "limit", "in": "query"}.items() <= next(
        each for each in listing["parameters"] if each["name"] == "limit"
    ).items()
    exports = document["paths"]["/exports/receipts"]["get"]
    assert exports["parameters"][-1]["name"] == "Consent-Reason"
    assert (exports["parameters"][-1]["required"], "428" in exports["responses"]) == (False, True)
    assert {"413", "415", "428"} <= document["paths"]["/lookups"]["post"]["responses"].keys()
    assert ALLOWED.keys() == set(Role)


def test_no_secret_and_no_visitor_is_in_the_log(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    """A wrong token is noted, without a word of it."""
    with caplog.at_level(logging.DEBUG):
        place.ask("/me", "cot_000000000000_" + "S" * 43)
        place.ask("/lookups", Role.OFFICER, method="POST", body={"subject": SUBJECT}, headers=REASON)
    assert "asked with a token that is not valid" in caplog.text
    assert "SSSS" not in caplog.text
    assert SUBJECT not in caplog.text


def test_a_broken_log_is_503_and_says_nothing(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    """Where the log is and what is wrong with it is for the site's own log."""
    other = Office(
        "/_consent", place.folder, lambda: SQLiteReceiptLog("/nowhere/at/all", place.keys), lambda: place.now
    )
    usual, place.app = place.app, other
    try:
        answer = place.ask("/integrity", Role.READER)
    finally:
        place.app = usual
    assert (answer.status, answer.headers["retry-after"]) == (503, "10")
    assert "nowhere" not in answer.body.decode()
    assert "nowhere" in caplog.text


@pytest.mark.parametrize("form", list(ExportForm))
def test_an_export_that_cannot_begin_is_503(place: Place, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also as CSV, whose heading needs no log."""

    def broken(*_: object, **__: object) -> None:
        raise StoreUnavailable("the disk is gone")

    before = place.accesses.newest(limit=1)
    monkeypatch.setattr(SQLiteReceiptLog, "found", broken)
    answer = place.ask(f"/exports/receipts?form={form}", Role.ANALYST)
    assert (answer.status, answer.json["error"]["code"]) == (503, "unavailable")
    assert place.accesses.newest(limit=1) == before


def test_what_could_not_be_shown_is_not_recorded_as_shown(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor is anything shown that could not be recorded."""
    place.accesses.append("Jo", "before")

    def broken(*_: object, **__: object) -> None:
        raise StoreUnavailable("the disk is gone")

    paths = ("/receipts/3", "/receipts/3/evidence", "/proof?from=2026-01-01&to=2026-01-01")
    with monkeypatch.context() as patched:
        patched.setattr(SQLiteReceiptLog, "evidence", broken)
        patched.setattr(SQLiteReceiptLog, "checkpoint", broken)
        assert [place.ask(path, Role.OFFICER, headers=REASON).status for path in paths] == [503] * 3
    assert place.accesses.newest(limit=1)[0].what == "before"
    monkeypatch.setattr(AccessLog, "append", broken)
    for path in (*paths, "/exports/receipts?rows=records"):
        answer = place.ask(path, Role.OFFICER, headers=REASON)
        assert answer.json == {
            "error": {
                "code": "unavailable",
                "message": "the log, or a part of it, cannot be read now; the site's log says why",
            }
        }


def test_an_export_ends_when_nobody_reads_it(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest of the log is not read for whoever has gone."""
    monkeypatch.setattr("consent.receipt_export.PAGE_ROWS", 10)
    whole = place.ask("/exports/receipts", Role.ANALYST).body.splitlines()
    begun = place.ask("/exports/receipts", Role.ANALYST, ends_early=True).body.splitlines()
    assert (len(whole), begun) == (60, whole[:10])


def test_it_is_mounted_beside_the_site_and_can_be_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By an argument or by the environment; without it, its addresses are the site's own again."""

    def status(**options: Any) -> int:
        app = ConsentMiddleware(nothing_else, data=tmp_path / "data", **options)
        messages: list[Any] = []

        async def receive() -> Any:
            return {"type": "http.request", "body": b""}

        async def send(message: Any) -> None:
            messages.append(message)

        scope = {
            "type": "http", "method": "GET", "scheme": "https", "path": f"{API}/me", "query_string": b"", "headers": [],
            "raw_path": b"", "root_path": "",
        }  # fmt: skip
        asyncio.run(app(scope, receive, send))
        return int(messages[0]["status"])

    assert status() == 401
    assert status(office=False) == 404
    monkeypatch.setenv("CONSENT_OFFICE", "0")
    assert status() == 404


@pytest.mark.parametrize(
    ("alter", "problem"),
    [
        (
            "UPDATE record SET commitment = zeroblob(32) WHERE leaf = 3",
            "the tree that is kept has another root",
        ),
        (
            "UPDATE checkpoint SET note = replace(note, char(10) || '60' || char(10), char(10) || '61' || char(10))",
            "signature",
        ),
        ("DELETE FROM record WHERE leaf > 50", "tile/0/000 has"),
    ],
)
def test_a_log_that_is_not_whole_is_no_verified_one(tmp_path: Path, alter: str, problem: str) -> None:
    """In the API, and on the first page that the office sees."""
    place = Place(tmp_path / "data")
    with contextlib.closing(sqlite3.connect(place.folder.receipts_path)) as connection, connection:
        connection.execute(alter)
    found = place.ask("/integrity", Role.READER).json
    assert found["verified"] is False
    assert problem in found["problem"]
