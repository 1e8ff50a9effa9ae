"""Requests in the office's API and console: who may, what is recorded, and what is packed and erased."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from consent.cli import main
from consent.erasure import Erasure
from consent.errors import ConfigurationError
from consent.office.app import Office, days_kept
from consent.office.pages.requests import LABELS
from consent.office.roles import Role
from consent.subject_request import MAX_DETAILS, StepKind
from tests.test_office_api import NOW, RECEIPTS, SUBJECT, Answer, Place
from tests.test_office_console import HOME, Visitor, signed_in, text
from tests.test_receipts import SHOWN
from tests.test_store_contract import Backend, PostgreSQLBackend, SQLiteBackend

WHO = {"name": "Alix Example", "contact": "alix@mail.example", "details": "<b>Boots</b>\nonce"}
NEW = {"kind": "erase", "way": "letter", "site": "Example shop", "jurisdiction": "DE", **WHO}
BELOW = ("lookups", "package", "erasures", "withdrawals", "certificates")
NAMED = ("Alix", "alix@", "Boots", SUBJECT)


class Desk(Place):
    """The same office, which can erase, on either store."""

    def __init__(self, path: Path, backend: Backend) -> None:
        super().__init__(path)
        self.backend = backend

        async def fill() -> None:
            store = backend.store()
            for receipt in RECEIPTS:
                await store.append(receipt, [SHOWN])
            await store.aclose()

        asyncio.run(fill())
        self.log: Any = backend.log()
        deadline = time.monotonic() + 30
        while self.log.evidence(RECEIPTS[-1].receipt_id) is None and time.monotonic() < deadline:
            time.sleep(0.1)
        self.app = Office("/_consent", self.folder, lambda: self.log, lambda: self.now, erase=self.erase)

    def erase(self, subject: str, series: str) -> Sequence[Erasure]:
        async def run() -> Sequence[Erasure]:
            store = self.backend.store()
            try:
                return await store.erase(subject, series=series)
            finally:
                await store.aclose()

        return asyncio.run(run())

    def add(self, token: Any = Role.OFFICER, **changes: Any) -> Answer:
        return self.ask("/requests", token, method="POST", body={**NEW, **changes})

    def new(self, **changes: Any) -> str:
        answer = self.add(**changes)
        assert answer.status == 201, answer.body
        return str(answer.json["reference"])

    def step(self, reference: str, step: str, text: str = "because of the case") -> Answer:
        body = {"step": step, "text": text}
        return self.ask(f"/requests/{reference}", Role.OFFICER, method="PATCH", body=body)

    def post(self, reference: str, what: str, body: object) -> Answer:
        return self.ask(f"/requests/{reference}/{what}", Role.OFFICER, method="POST", body=body)


def at_once(times: int, ask: Callable[[], Answer]) -> list[Answer]:
    """Ask from several threads at the same moment; return the answers."""
    with ThreadPoolExecutor(times) as pool:
        return [each.result() for each in [pool.submit(ask) for _ in range(times)]]


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    folder = tmp_path_factory.mktemp("requests")
    return Desk(folder / "data", SQLiteBackend(folder))


@pytest.fixture(params=[SQLiteBackend, PostgreSQLBackend], ids=["sqlite", "postgresql"])
def own_desk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path / "data", request.param(tmp_path))
    yield desk
    desk.log.close()


def test_a_request_from_letter_to_answer(desk: Desk) -> None:
    """Registered with the day it arrived on; each step in its history, and by its reference in the signed log."""
    before = desk.accesses.newest(limit=1)
    added = desk.add(received="2026-01-01")
    assert (added.status, added.headers["cache-control"]) == (201, "no-store")
    reference, code = added.json["reference"], added.json["code"]
    assert added.headers["location"].endswith(f"requests/{reference}")
    assert (added.json["acknowledge_by"], added.json["answer_by"], added.json["extended_by"]) == (
        "2026-01-15",
        "2026-02-01",
        "2026-04-01",
    )
    opened = desk.ask(f"/requests/{reference}", Role.OFFICER)
    assert {name: opened.json[name] for name in WHO} == WHO
    assert opened.json["steps"] == ["acknowledge", "verify-identity", "deny", "take-back", "note"]
    refused = desk.step(reference, "answer")
    assert (refused.status, refused.json["error"]["code"]) == (409, "not-now")
    assert "verify who asks first" in refused.json["error"]["message"]
    assert desk.step(reference, "acknowledge", "").json["state"] == "acknowledged"
    assert desk.step(reference, "verify-identity", "  ").status == 400
    assert desk.step(reference, "verify-identity", "passport, by Jo").json["identity_verified"]
    extended = desk.step(reference, "extend", "Many came at once.").json
    assert (extended["state"], extended["due"]) == ("extended", "2026-04-01")
    answered = desk.step(reference, "answer", "Sent by mail.").json
    assert (answered["state"], answered["due"], answered["steps"]) == ("answered", None, ["note"])
    assert [(step["what"], step["text"]) for step in answered["history"]] == [
        ("received", ""),
        ("acknowledge", ""),
        ("verify-identity", "passport, by Jo"),
        ("extend", "Many came at once."),
        ("answer", "Sent by mail."),
    ]
    assert desk.step(reference, "deny").status == 409
    entries = desk.accesses.newest(limit=50)[: -len(before) or None]
    own = [entry for entry in entries if entry.details.get("request") == reference]
    assert [entry.what for entry in reversed(own) if entry.what != "request-opened"] == [
        "request-received",
        "request-acknowledge",
        "request-verify-identity",
        "request-extend",
        "request-answer",
    ]
    assert {entry.reason for entry in own} == {f"request {reference}"}
    recorded = json.dumps([dict(entry.details) | {"r": entry.reason} for entry in own])
    assert [word for word in (*NAMED, "passport", code) if word in recorded] == []
    assert desk.accesses.verify() == []


def test_who_sees_who_asked(desk: Desk) -> None:
    """Officers alone, and of their own sites; others see what is due, and administrators no more than that."""
    reference = desk.new()
    listed = {role: desk.ask("/requests?limit=500", role) for role in Role}
    assert {role: answer.status for role, answer in listed.items()} == {
        Role.READER: 403, Role.ANALYST: 200, Role.OFFICER: 200, Role.ADMINISTRATOR: 200,
    }  # fmt: skip
    for answer in listed.values():
        assert [word for word in NAMED if word.encode() in answer.body] == []
    row = next(row for row in listed[Role.ANALYST].json["requests"] if row["reference"] == reference)
    assert (row["kind"], row["due"], row["overdue"]) == ("erase", "2026-01-16", False)
    secret, _ = desk.book.make("Al Example", Role.OFFICER, sites=["Example blog"], days=1)
    assert desk.ask(f"/requests/{reference}", secret).status == 404
    assert reference.encode() not in desk.ask("/requests?limit=500", secret).body
    assert desk.add(secret).status == 403
    theirs = desk.add(secret, site="Example blog").json["reference"]
    assert desk.ask(f"/requests/{theirs}", secret).status == 200


def test_requests_are_narrowed_and_paged(desk: Desk) -> None:
    """What is overdue comes first; unknown filters are told."""
    late = desk.new(received="2025-11-01", site="Example club")
    soon = [desk.new(site="Example club", kind="access") for _ in range(3)]
    rows: list[Any] = []
    cursor = ""
    while cursor is not None:
        page = desk.ask(f"/requests?site=Example+club&limit=2&cursor={cursor}", Role.ANALYST).json
        rows += page["requests"]
        cursor = page["next"]
    assert [(row["reference"], row["overdue"]) for row in rows] == [
        (late, True),
        *((each, False) for each in soon),
    ]
    for query, expected in (
        ("overdue=true", [late]),
        ("kind=access", soon),
        ("state=answered", []),
        ("open=true&kind=erase", [late]),
    ):
        found = desk.ask(f"/requests?site=Example+club&{query}", Role.ANALYST).json["requests"]
        assert [row["reference"] for row in found] == expected
    for query in ("kind=love", "state=x", "open=maybe", "who=Alix", "cursor=x"):
        assert desk.ask(f"/requests?{query}", Role.ANALYST).status == 400


@pytest.mark.parametrize(
    ("changes", "parameter"),
    [
        ({"kind": "love"}, "kind"),
        ({"way": "form"}, "way"),
        ({"site": ""}, "site"),
        ({"site": 7}, "site"),
        ({"received": "2026-13-01"}, "received"),
        ({"jurisdiction": "Germany"}, "jurisdiction"),
        ({"name": "a\nb"}, "name"),
        ({"details": "x" * (MAX_DETAILS + 1)}, "details"),
        ({"details": "a\x00b"}, "details"),
        ({"subject": "x"}, "subject"),
        ({"contact": "\ud800"}, "contact"),
        ({"secret": "x"}, "body"),
    ],
)
def test_what_is_no_request_is_told(desk: Desk, changes: dict[str, Any], parameter: str) -> None:
    """By the member that is wrong; nothing is registered."""
    counts = desk.ask("/requests", Role.ANALYST).json["counts"]
    answer = desk.add(**changes)
    assert (answer.status, answer.json["error"]["message"].partition(":")[0]) == (400, parameter)
    assert desk.ask("/requests", Role.ANALYST).json["counts"] == counts


@pytest.mark.parametrize("day", ["2026-01-03", "2020-01-01"])
def test_nothing_arrives_in_the_future_or_long_ago(desk: Desk, day: str) -> None:
    """Nothing is registered."""
    answer = desk.add(received=day)
    assert (answer.status, answer.json["error"]["code"]) == (409, "not-now")
    assert "received: today or a day before" in answer.json["error"]["message"]


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    method=st.sampled_from(["GET", "POST", "PATCH", "PUT", "DELETE"]),
    path=st.sampled_from(["", "/x", "/{r}", *(f"/{{r}}/{each}" for each in BELOW)]),
    body=st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=40),
        lambda inner: st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["step", "text", "sought", *NEW]), inner, max_size=3),
        max_leaves=5,
    ),
)  # fmt: skip
def test_whatever_is_sent_has_an_answer(desk: Desk, method: str, path: str, body: object) -> None:
    """One of those that are described, in one shape; nothing is ever erased by accident."""
    reference = "AAAA-AAAA"
    answer = desk.ask(f"/requests{path.replace('{r}', reference)}", Role.OFFICER, method=method, body=body)
    assert answer.status in (200, 201, 400, 404, 405, 409, 415)
    if answer.status >= 400:
        assert answer.json["error"].keys() == {"code", "message"}


def test_a_visitor_is_found_packed_and_erased(own_desk: Desk) -> None:
    """By a receipt that the request names: all of the visitor's receipts with texts and proofs, then none of them."""
    desk = own_desk
    reference = desk.new()
    assert desk.post(reference, "lookups", {"sought": "nobody"}).status == 400
    assert desk.post(reference, "lookups", {"sought": "f" * 32}).json == {"receipts": []}
    for what, method in (("erasures", "POST"), ("package", "GET")):
        body: dict[str, str] | None = {} if method == "POST" else None
        answer = desk.ask(f"/requests/{reference}/{what}", Role.OFFICER, method=method, body=body)
        assert (answer.status, "verify first who asks" in answer.json["error"]["message"]) == (409, True)
    desk.step(reference, "verify-identity", "by the receipt")
    assert "look the visitor up first" in desk.post(reference, "erasures", {}).json["error"]["message"]
    found = desk.post(reference, "lookups", {"sought": RECEIPTS[27].receipt_id.upper()}).json["receipts"]
    assert [row["leaf"] for row in found] == [47, 27, 7]
    opened = desk.ask(f"/requests/{reference}", Role.OFFICER).json
    assert (opened["subjects"], opened["receipts"]) == ([SUBJECT], [7, 27, 47])

    packed = desk.ask(f"/requests/{reference}/package", Role.OFFICER)
    assert packed.headers["content-disposition"] == f'attachment; filename="consent-request-{reference}.json"'
    content = packed.json
    assert (content["request"], content["subjects"], content["complete"]) == (reference, [SUBJECT], True)
    assert [each["receipt"] for each in content["receipts"]] == [RECEIPTS[n].to_json() for n in (7, 27, 47)]
    assert content["texts"][SHOWN.hash]["content"].encode() == SHOWN.content
    file = desk.folder.path / "one.json"
    for each in content["receipts"]:
        file.write_text(json.dumps(each["evidence"]))
        verified = CliRunner().invoke(main, ["ledger", "verify", "--key", content["keys"][0], str(file)])
        assert verified.exit_code == 0, verified.output
    page = desk.ask(f"/requests/{reference}/package?form=html", Role.OFFICER)
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "sandbox" in page.headers["content-security-policy"]
    html = page.body.decode()
    assert html.count("<iframe") == 1
    assert "<script" not in html
    assert all(RECEIPTS[number].receipt_id in html for number in (7, 27, 47))

    # Somebody for one site may not erase what is of others, too.
    secret, _ = desk.book.make("Al Example", Role.OFFICER, sites=["Example shop"], days=1)
    visitor = f"{5:032x}"  # has receipts of the blog
    other = desk.add(secret, subject=visitor).json["reference"]
    step = {"step": "verify-identity", "text": "passport"}
    desk.ask(f"/requests/{other}", secret, method="PATCH", body=step)
    answer = desk.ask(f"/requests/{other}/erasures", secret, method="POST", body={})
    assert (answer.status, "other sites" in answer.json["error"]["message"]) == (403, True)

    erased = desk.post(reference, "erasures", {}).json["erasures"]
    assert [each["erased"] for each in erased] == [3]
    assert all(desk.log.get(RECEIPTS[number].receipt_id) is None for number in (7, 27, 47))
    assert desk.log.get(RECEIPTS[28].receipt_id) is not None
    opened = desk.ask(f"/requests/{reference}", Role.OFFICER).json
    assert opened["subjects"] == []
    assert opened["history"][-1]["text"] == erased[0]["erasure_id"]
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        (certificate,) = desk.ask(f"/requests/{reference}/certificates", Role.OFFICER).json["certificates"]
        if certificate["evidence"] is not None:
            break
        time.sleep(0.2)
    assert certificate["erasure_id"] == erased[0]["erasure_id"]
    file.write_text(json.dumps(certificate["evidence"]))
    assert (
        CliRunner().invoke(main, ["ledger", "verify", "--key", content["keys"][0], str(file)]).exit_code == 0
    )
    assert desk.step(reference, "answer", "Erased; certificate sent.").json["state"] == "answered"
    entries = [
        entry.what for entry in desk.accesses.newest(limit=50) if entry.details.get("request") == reference
    ]
    assert entries[:1] == ["request-opened"]
    assert {"request-packaged", "request-erasing", "request-erased"} <= set(entries)
    assert SUBJECT not in json.dumps([dict(entry.details) for entry in desk.accesses.newest(limit=500)])
    assert SUBJECT.encode() not in desk.folder.office_path.read_bytes()


def test_what_is_held_is_not_erased(own_desk: Desk) -> None:
    """The request says so, and goes on."""
    desk = own_desk
    reference = desk.new(subject=SUBJECT)
    desk.step(reference, "verify-identity", "passport")

    async def hold() -> None:
        store = desk.backend.store()
        await store.hold(SUBJECT, reason="case 4")
        await store.aclose()

    asyncio.run(hold())
    answer = desk.post(reference, "erasures", {})
    assert (answer.status, "held" in answer.json["error"]["message"]) == (409, True)
    assert desk.log.get(RECEIPTS[27].receipt_id) is not None
    assert desk.ask(f"/requests/{reference}", Role.OFFICER).json["subjects"] == [SUBJECT]


# ---- the console


TABLE = {
    #                                     reader analyst officer administrator
    ("GET", "/requests"):                "403 200 200 200",
    ("GET", "/requests/new"):            "403 403 200 403",
    ("GET", "/requests/{r}"):            "403 200 200 200",
    ("POST", "/requests/{r}"):           "403 403 200 403",
    ("POST", "/requests/{r}/steps"):     "403 403 200 403",
    ("POST", "/requests/{r}/lookups"):   "403 403 200 403",
    ("POST", "/requests/{r}/package"):   "403 403 200 403",
    ("POST", "/requests/{r}/erasures"):  "403 403 200 403",
    ("POST", "/requests/{r}/withdrawals"): "403 403 409 403",
    ("POST", "/requests/{r}/certificates"): "403 403 404 403",
    ("POST", "/requests/new"):           "403 403 200 403",
}  # fmt: skip


def test_who_may_see_which_page(desk: Desk) -> None:
    """Cell by cell; nobody who is not signed in sees any of them."""
    form = {"step": "note", "text": "a note", "sought": f"{9:032x}", "sure": "yes", **NEW}
    for number, role in enumerate(Role):
        reference = desk.new(subject=f"{9:032x}")
        desk.step(reference, "verify-identity", "passport")
        visitor, nobody = signed_in(desk, role), Visitor(desk)
        for (method, pattern), row in TABLE.items():
            path = pattern.replace("{r}", reference)
            answer = visitor.get(path) if method == "GET" else visitor.post(path, form)
            assert answer.status == int(row.split()[number]), (path, role, text(answer))
            answer = nobody.get(path) if method == "GET" else nobody.post(path, form)
            assert (answer.status, "Sign in" in text(answer)) == (401, True)


def test_a_request_is_opened_with_a_button_and_handled_on_its_page(desk: Desk) -> None:
    """Its cover names nobody; what was written is shown as it was written, and never as markup."""
    visitor = signed_in(desk, Role.OFFICER)
    added = visitor.post("/requests/new", {**NEW, "received": "2026-01-01", "kind": "access"})
    found = re.search(r"<h1>Request (\S+)</h1>", added.body.decode())
    assert found
    path = f"/requests/{found[1]}"
    cover = visitor.get(path)
    assert "Who asks is behind this button" in text(cover)
    assert [word for word in NAMED if word.encode() in cover.body] == []
    opened = visitor.post(path, {})
    assert b"&lt;b&gt;Boots&lt;/b&gt;\nonce" in opened.body
    assert "somebody asked by letter" in text(opened)
    assert "due by 2026-01-15" in text(opened)
    assert "Once it is verified who asks" not in text(opened)  # nobody is linked yet
    linked = visitor.post(f"{path}/lookups", {"sought": f" {RECEIPTS[31].receipt_id} "})
    assert "3 receipts were found and linked" in text(linked)
    assert f'href="{HOME}/receipts/31"' in linked.body.decode()
    assert "Once it is verified who asks" in text(linked)
    verified = visitor.post(f"{path}/steps", {"step": "verify-identity", "text": "<i>passport</i>"})
    assert "&lt;i&gt;passport&lt;/i&gt;" in verified.body.decode()
    page = visitor.post(f"{path}/package", {"form": "html"})
    assert page.headers["content-disposition"] == f'attachment; filename="consent-request-{found[1]}.html"'
    assert visitor.post(f"{path}/package", {"form": "json"}).json["receipts"][0]["leaf"] == 11
    denied = visitor.post(f"{path}/steps", {"step": "deny", "text": "It is another's."})
    assert "is denied" in text(denied)
    assert "That cannot be done now" in text(visitor.post(f"{path}/steps", {"step": "answer", "text": "abc"}))
    assert "Nothing was erased" in text(visitor.post(f"{path}/erasures", {}))
    assert visitor.post(f"{path}/steps", {"step": "love"}).status == 400
    assert visitor.get("/requests/AAAA-AAAA").status == 404
    listed = text(visitor.get("/requests?kind=access&state=denied"))
    assert found[1] in listed
    wrong = visitor.post("/requests/new", {**NEW, "jurisdiction": "Germany"})
    assert (wrong.status, "such as DE or US-CA" in text(wrong)) == (400, True)
    assert "alix@mail.example" in wrong.body.decode()


# ---- the command line


def test_the_command_line_lists_and_shows(tmp_path: Path) -> None:
    """What is due, for scripts; opening one needs a reason, which is recorded."""
    desk = Desk(tmp_path / "data", SQLiteBackend(tmp_path))
    desk.now = time.time()
    desk.secrets[Role.OFFICER], _ = desk.book.make("Jo Example", Role.OFFICER, days=9)
    reference = desk.new()

    def run(*arguments: str, code: int = 0) -> str:
        result = CliRunner().invoke(main, ["office", "requests", *arguments, "--data", str(desk.folder.path)])
        assert result.exit_code == code, result.output
        return result.output

    listed = run("list")
    assert re.match(rf"{reference}  \d{{4}}-\d\d-\d\d  received      erase     Example shop\n$", listed)
    row = json.loads(run("list", "--json", "--kind", "erase", "--open"))
    assert (row["reference"], row["overdue"]) == (reference, False)
    assert (run("list", "--overdue"), run("list", "--state", "denied")) == ("", "")
    assert (run("list", "--way", "form"), run("list", "--way", "letter")) == ("", listed)
    shown = run("show", reference.lower(), "--reason", "case 12")
    assert "alix@mail.example" in shown
    assert json.loads(run("show", reference, "--reason", "case 12", "--json"))["name"] == "Alix Example"
    assert "there is no request" in run("show", "AAAA-AAAA", "--reason", "case 12", code=1)
    assert "give a --reason" in run("show", reference, "--reason", "x", code=2)
    (entry, _) = desk.accesses.newest(limit=2)
    assert (entry.who, entry.what, entry.reason) == ("the command line", "request-opened", "case 12")
    assert run("purge").startswith("0 forgotten")
    desk.now = time.time() - 60 * 86_400
    old = desk.new()
    assert run("list", "--overdue", code=1).startswith(old)


def test_rewrapping_includes_requests(tmp_path: Path) -> None:
    """A wrapping key can be dropped afterwards, and who asked can still be read."""
    desk = Desk(tmp_path / "data", SQLiteBackend(tmp_path))
    reference = desk.new()
    path = desk.folder.ledger_keys_path
    old = path.read_text()
    path.write_text(old.replace("\nwrap ", f"\nwrap {'ab' * 32}\nwrap ", 1))
    result = CliRunner().invoke(main, ["db", "rewrap", "--data", str(desk.folder.path)])
    assert result.exit_code == 0, result.output
    path.write_text(re.sub(r"\nwrap (?!abab)\w+", "", path.read_text()))
    again = Office("/_consent", desk.folder, lambda: desk.log, lambda: NOW)
    opened = again.register.open(reference)
    assert opened is not None
    assert opened.person.name == "Alix Example"


def test_every_step_has_a_name_on_the_page() -> None:
    """And none is forgotten."""
    assert LABELS.keys() == set(StepKind)


@pytest.mark.parametrize("days", ["0", "-1", "x", "12345", "²"])
def test_a_time_that_is_none_stops_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, days: str
) -> None:
    """The message says what it can be."""
    monkeypatch.setenv("CONSENT_REQUEST_DAYS", days)
    with pytest.raises(ConfigurationError, match="is no number of days, 1 to 9999"):
        days_kept()
    assert days_kept(30) == 30
    monkeypatch.setenv("CONSENT_REQUEST_DAYS", "90")
    assert days_kept() == 90
