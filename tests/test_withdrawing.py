"""Withdrawing at the office: a receipt that says who recorded it, after which nothing is agreed to in the log."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from markupsafe import escape

from consent.browsers import Device
from consent.categories import OPTIONAL
from consent.choice import Choice
from consent.choice_cookie import ChoiceCookie
from consent.data_folder import DataFolder
from consent.errors import StoreUnavailable
from consent.log_export import verify_log
from consent.moments import parse_moment
from consent.office.app import Office
from consent.office.roles import Role
from consent.office.visitors import last_choices
from consent.office.withdrawing import withdrawal_of
from consent.receipt_search import Sought
from consent.receipts import CollectionMethod, Outcome, Receipt
from consent.sqlite_log import SQLiteReceiptLog
from consent.texts import languages, load_texts
from tests.test_office_console import signed_in, text
from tests.test_office_requests import Desk, at_once
from tests.test_receipts import SHOWN, make_receipt
from tests.test_requesting import SAME, Site
from tests.test_store_contract import Backend, PostgreSQLBackend, SQLiteBackend, append_all

VISITOR = "5a" * 16


class Writing(Desk):
    """The same office, which can record, too."""

    def __init__(self, path: Path, backend: Backend) -> None:
        super().__init__(path, backend)
        self.app = Office(
            "/_consent",
            self.folder,
            lambda: self.log,
            lambda: self.now,
            erase=self.erase,
            append=lambda receipt: self.append(receipt),
        )

    def append(self, *receipts: Receipt) -> None:
        for error in append_all(self.backend, *receipts):
            if error is not None:
                raise error

    def choices(self, subject: str = VISITOR, **sought: Any) -> list[Receipt]:
        found = self.log.find(Sought(subject=subject, **sought), limit=50).receipts
        return [each.receipt for each in found]


def choice(number: int, site: str, *granted: str, **changes: Any) -> Receipt:
    answers = {name: str(name) in granted for name in make_receipt(0).categories}
    return make_receipt(
        number, subject=VISITOR, site=site, categories=answers, policy_hash=SHOWN.hash, vendor_list_hash=SHOWN.hash,
        time=f"2026-01-01T{number % 24:02}:00:00.000Z", **changes,
    )  # fmt: skip


@pytest.fixture(params=[SQLiteBackend, PostgreSQLBackend], ids=["sqlite", "postgresql"])
def desk(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    desk = Writing(tmp_path / "data", request.param(tmp_path))
    yield desk
    desk.log.close()


def test_the_office_records_that_somebody_withdraws(desk: Writing) -> None:
    """For each site where something was agreed to; it says that the office did, and nothing of a browser."""
    shop = choice(201, "Example shop", "performance", account="ab" * 32)
    blog = choice(202, "Example blog", vendors={"acme-video": True})
    desk.append(choice(200, "Example shop", "targeting"), shop, blog, choice(203, "Example club"))
    reference = desk.new(kind="withdraw", subject=VISITOR)
    first = desk.post(reference, "withdrawals", {}).json["withdrawals"]
    assert sorted(each["site"] for each in first) == ["Example blog", "Example shop"]
    made = {each.site: each for each in desk.choices() if each.collection_method is CollectionMethod.OFFICE}
    receipt = made["Example shop"]
    assert (receipt.outcome, receipt.granted, dict(receipt.vendors)) == (Outcome.WITHDRAWN, (), {})
    assert (receipt.previous, receipt.account, receipt.policy_version, receipt.jurisdiction) == (
        shop.receipt_id, shop.account, shop.policy_version, shop.jurisdiction,
    )  # fmt: skip
    assert (receipt.shown_hash, receipt.browser, receipt.device) == (None, "Other", Device.OTHER)
    assert Receipt.from_bytes(receipt.canonical_bytes()) == receipt
    # Whoever asks the log how it stands is told of a no.
    standing = {each.site: each for each in desk.choices(standing=True)}
    assert [each for each in standing.values() if each.grants] == []
    assert list(verify_log(desk.log, desk.log.verifiers()).problems) == []
    # Again, it is the same, and nothing is appended.
    again = desk.post(reference, "withdrawals", {}).json["withdrawals"]
    assert sorted(each["receipt_id"] for each in again) == sorted(each["receipt_id"] for each in first)
    assert len(desk.choices()) == 6
    history = desk.ask(f"/requests/{reference}", Role.OFFICER).json["history"]
    assert [(step["what"], step["text"]) for step in history[-2:]] == [
        ("withdrawal recorded", "Example blog"), ("withdrawal recorded", "Example shop"),
    ]  # fmt: skip
    # No receipt's id, which would say whose request it is when the visitor is erased.
    assert not any(each["receipt_id"] in str(history) for each in first)
    (entry,) = [each for each in desk.accesses.newest(limit=50) if each.what == "request-withdrawing"]
    assert entry.details["found"] == 2
    assert VISITOR not in str(entry)


def test_who_agrees_again_can_withdraw_again(desk: Writing) -> None:
    """The next choice is another one; the receipt after it, too."""
    desk.append(choice(200, "Example shop", "targeting"))
    reference = desk.new(kind="object", subject=VISITOR)
    desk.post(reference, "withdrawals", {})
    desk.append(replace(choice(201, "Example shop", "targeting"), time="2026-03-01T00:00:00.000Z"))
    assert len(desk.post(reference, "withdrawals", {}).json["withdrawals"]) == 1
    assert [each.outcome for each in desk.choices()][:1] == [Outcome.WITHDRAWN]
    assert len(desk.choices()) == 4


def test_nothing_is_withdrawn_that_is_not_asked_for(desk: Writing) -> None:
    """Another kind of request, nobody looked up, an agent, a closed request, another site."""
    desk.append(choice(200, "Example blog", "targeting"))
    cases = [
        ({"kind": "access", "subject": VISITOR}, "not to withdraw or to object"),
        ({"kind": "withdraw"}, "look the visitor up first"),
        ({"kind": "withdraw", "subject": VISITOR, "agent": "Al"}, "the agent may ask"),
    ]
    for changes, words in cases:
        answer = desk.post(desk.new(**changes), "withdrawals", {})
        assert (answer.status, words in answer.json["error"]["message"]) == (409, True), answer.body
    closed = desk.new(kind="withdraw", subject=VISITOR)
    desk.step(closed, "take-back")
    assert desk.post(closed, "withdrawals", {}).status == 409
    assert desk.post(closed, "withdrawals", {"sure": "yes"}).status == 400
    secret, _ = desk.book.make("Al Example", Role.OFFICER, sites=["Example shop"], days=1)
    own = desk.add(secret, kind="withdraw", subject=VISITOR).json["reference"]
    answer = desk.ask(f"/requests/{own}/withdrawals", secret, method="POST", body={})
    assert answer.json["withdrawals"] == []
    assert len(desk.choices()) == 1


def test_an_account_withdraws_what_was_agreed_to_under_it(desk: Writing) -> None:
    """Of people who share a browser, each takes back their own; whoever is looked up by the pseudonym, all of it."""
    anna, bert = (desk.log.account(f"{name}@example.com") for name in ("anna", "bert"))
    desk.append(
        choice(200, "Example shop", account=anna),
        choice(201, "Example shop", "targeting", account=bert),
        choice(202, "Example blog", "targeting", account=anna),
        choice(203, "Example blog", "performance", account=bert),
        choice(204, "Example club", "targeting", account=anna),
        choice(205, "Example club", account=bert),
    )

    def withdrawn(reference: str) -> list[tuple[str, str | None]]:
        answer = desk.post(reference, "withdrawals", {})
        assert answer.status == 200, answer.body
        ids = {each["receipt_id"] for each in answer.json["withdrawals"]}
        return sorted((each.site, each.account) for each in desk.choices() if each.receipt_id in ids)

    reference = desk.new(kind="withdraw", subject="")
    assert desk.post(reference, "lookups", {"account": "anna@example.com"}).status == 200
    assert withdrawn(reference) == [("Example club", anna)]
    assert withdrawn(reference) == [("Example club", anna)]
    # Of whom it was not asked, the last word stays what it was.
    newest = last_choices(desk.log, Sought(subject=VISITOR))
    assert {(each.site, each.account) for each in newest if each.grants} == {
        ("Example shop", bert), ("Example blog", bert),
    }  # fmt: skip
    desk.post(reference, "lookups", {"account": "bert@example.com"})
    both = [("Example blog", anna), ("Example blog", bert), ("Example club", anna), ("Example shop", bert)]
    assert withdrawn(reference) == sorted(both)


def test_an_account_is_given_what_was_chosen_under_it(desk: Writing) -> None:
    """A package has nothing of others who share the browser, unless the pseudonym itself was looked up."""
    anna, bert = (desk.log.account(f"{name}@example.com") for name in ("anna", "bert"))
    desk.append(
        choice(200, "Example shop", "targeting", account=anna),
        choice(201, "Example shop", account=bert),
        choice(202, "Example blog", "targeting"),
    )
    reference = desk.new(kind="know", subject="")
    assert desk.step(reference, "verify-identity").status == 200
    for sought, accounts in (
        ({"account": "anna@example.com"}, [anna]),
        ({"account": "bert@example.com"}, [anna, bert]),
        ({"sought": VISITOR}, [anna, bert, None]),
    ):
        assert desk.post(reference, "lookups", sought).status == 200
        packed = desk.ask(f"/requests/{reference}/package", Role.OFFICER).json
        assert {each["receipt"].get("account") for each in packed["receipts"]} == set(accounts)
        assert len(packed["receipts"]) == len(accounts)


def test_who_is_looked_up_by_the_pseudonym_withdraws_all_of_it(tmp_path: Path) -> None:
    """Before or after the account."""
    desk = Writing(tmp_path / "data", SQLiteBackend(tmp_path))
    anna, bert = (desk.log.account(f"{name}@example.com") for name in ("anna", "bert"))
    desk.append(
        choice(200, "Example shop", account=anna), choice(201, "Example shop", "targeting", account=bert)
    )
    lookups = ({"account": "anna@example.com"}, {"sought": VISITOR})
    for order in (lookups, lookups[::-1]):
        reference = desk.new(kind="withdraw", subject="")
        for each in order:
            desk.post(reference, "lookups", each)
        assert len(desk.post(reference, "withdrawals", {}).json["withdrawals"]) == 1


def test_the_history_names_every_site_though_one_failed(desk: Writing) -> None:
    """What was recorded before the log could not be written is named at once; done again, the rest is."""
    desk.append(choice(200, "Example shop", "targeting"), choice(201, "Example blog", "targeting"))
    reference = desk.new(kind="withdraw", subject=VISITOR)
    record, left = desk.append, [1]

    def once(*receipts: Receipt) -> None:
        if not left:
            raise StoreUnavailable("the disk is full")
        left.pop()
        record(*receipts)

    def noted() -> list[str]:
        steps = desk.ask(f"/requests/{reference}", Role.OFFICER).json["history"]
        return [step["text"] for step in steps if step["what"] == "withdrawal recorded"]

    desk.append = once  # type: ignore[method-assign]
    assert desk.post(reference, "withdrawals", {}).status == 503
    (first,) = noted()
    desk.append = record  # type: ignore[method-assign]
    desk.post(reference, "withdrawals", {})
    assert noted() == sorted(("Example blog", "Example shop"), key=lambda site: site != first)
    desk.post(reference, "withdrawals", {})
    assert len(noted()) == 2


def test_two_press_at_once(tmp_path: Path) -> None:
    """There is one receipt, and both are told of it."""
    desk = Writing(tmp_path / "data", SQLiteBackend(tmp_path))
    desk.append(choice(200, "Example shop", "targeting"))
    reference = desk.new(kind="withdraw", subject=VISITOR)
    answers = at_once(4, lambda: desk.post(reference, "withdrawals", {}))
    assert len({each["receipt_id"] for answer in answers for each in answer.json["withdrawals"]}) == 1
    assert len(desk.choices()) == 2


def test_nothing_is_recorded_about_who_is_erased_meanwhile(desk: Writing) -> None:
    """Somebody else's erasure ends between looking and recording: the withdrawal is erased, too."""
    desk.append(choice(200, "Example shop", "targeting"))
    withdrawing, erasing = desk.new(kind="withdraw", subject=VISITOR), desk.new(kind="erase", subject=VISITOR)
    desk.step(erasing, "verify-identity")
    record = desk.append

    def late(*receipts: Receipt) -> None:
        assert len(desk.post(erasing, "erasures", {}).json["erasures"]) == 1
        record(*receipts)

    desk.append = late  # type: ignore[method-assign]
    answer = desk.post(withdrawing, "withdrawals", {})
    assert (answer.status, answer.json["withdrawals"]) == (200, [])
    assert desk.choices() == []
    opened = desk.ask(f"/requests/{withdrawing}", Role.OFFICER).json
    assert (opened["subjects"], [each["what"] for each in opened["history"]]) == ([], ["received", "erased"])


def test_the_page_says_what_it_does_and_what_it_does_not(tmp_path: Path) -> None:
    """The button is there where a consent is withdrawn, and the browser is spoken of."""
    desk = Writing(tmp_path / "data", SQLiteBackend(tmp_path))
    desk.append(choice(200, "Example shop", "targeting"))
    officer = signed_in(desk, Role.OFFICER)
    path = f"/requests/{desk.new(kind='withdraw', subject=VISITOR)}"
    page = text(officer.post(path, {}))
    assert "It says that this office recorded it." in page
    assert "until they open the page of choices there, their pages go by what they agreed to" in page
    assert "The withdrawal is recorded, for Example shop." in text(officer.post(f"{path}/withdrawals", {}))
    assert officer.post(f"{path}/withdrawals", {}, {"sec-fetch-site": "cross-site"}).status == 403
    other = text(officer.post(f"/requests/{desk.new(subject=VISITOR)}", {}))
    assert "Record the withdrawal" not in other
    (leaf,) = [
        each.leaf
        for each in desk.log.find(Sought(subject=VISITOR), limit=9).receipts
        if each.receipt.collection_method is CollectionMethod.OFFICE
    ]
    story = text(officer.post(f"/receipts/{leaf}", {"reason": "case 7"}))
    assert "took everything back through this office, which was asked to" in story


def test_a_withdrawal_is_later_than_the_choice() -> None:
    """Also where the clock of whoever took the choice is ahead."""
    last = choice(200, "Example shop", "targeting")
    assert parse_moment(withdrawal_of(last, 0).time) == parse_moment(last.time) + 1


class Browser:
    """One that agreed to everything, on a site with an office, a minute ago."""

    def __init__(self, folder: Path) -> None:
        self.site = Site(folder)
        self.cookie = ChoiceCookie(DataFolder(folder / "data").keys())
        self.desk = self.site.app._office.desk  # type: ignore[union-attr]
        self.choose("accept")

    def choose(self, action: str, **more: Any) -> None:
        self.site.now += 60
        submitted = {"action": action, **more}
        answer = self.site.browser.post("/_consent/choice", json=submitted, headers=SAME)
        assert answer.status_code == 200, answer.text

    @property
    def holds(self) -> Choice:
        fields = [(b"cookie", f"consent={self.site.browser.cookies['consent']}".encode())]
        choice = self.cookie.stored(fields, now=int(self.site.now))
        assert choice is not None
        return choice

    @property
    def last(self) -> Receipt:
        receipt = self.desk.log.get(self.holds.receipt_id)
        assert receipt is not None
        return receipt

    def withdraw(self, last: Receipt, **changes: Any) -> Receipt:
        self.site.now += 60
        receipt = replace(withdrawal_of(last, int(self.site.now * 1_000)), **changes)
        self.desk.append(receipt)
        return receipt

    def visit(self, path: str = "/_consent/choices") -> list[str]:
        """Return the names of the cookies that a page sets."""
        answer = self.site.browser.get(path)
        assert answer.status_code == 200
        return [line.partition("=")[0] for line in answer.headers.get_list("set-cookie")]


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    browser = Browser(tmp_path)
    with browser.site.browser:
        yield browser


def test_the_browser_learns_of_it_on_the_page_of_choices(browser: Browser) -> None:
    """Its cookie holds the office's no from then on, once; a yes that is given afterwards counts."""
    agreed = browser.holds
    receipt = browser.withdraw(browser.last)
    assert (browser.visit("/"), browser.holds) == ([], agreed)  # other pages read no receipts
    assert browser.visit() == ["consent", f"consent_no_{receipt.receipt_id[:8]}"]
    held = browser.holds
    assert (held.grants, held.subject, held.receipt_id) == (False, agreed.subject, receipt.receipt_id)
    assert held.made_at == int(browser.site.now)
    assert browser.visit() == []
    browser.choose("accept")
    assert (browser.visit(), browser.holds.grants) == ([], True)


@pytest.mark.parametrize(
    ("action", "more", "vendors"),
    [("allow", {"vendors": {"youtube": True}}, {"youtube": True}), ("opt-out", {}, {})],
    ids=["one embed", "opt-out"],
)
def test_what_is_said_of_a_part_brings_nothing_back(
    browser: Browser, action: str, more: dict[str, Any], vendors: dict[str, bool]
) -> None:
    """All else is as the office left it, though the page of choices was never opened."""
    browser.withdraw(browser.last)
    browser.choose(action, **more)
    assert (browser.holds.granted, dict(browser.holds.vendors)) == (frozenset(), vendors)
    assert (browser.last.granted, browser.last.previous is None) == ((), False)


def test_a_yes_of_before_is_over_too(browser: Browser) -> None:
    """The office knew of a later one, whose cookie this browser has lost."""
    old = browser.site.browser.cookies["consent"]
    browser.choose("accept")
    browser.withdraw(browser.last)
    browser.site.browser.cookies.set("consent", old, domain="shop.example", path="/")
    assert "consent" in browser.visit()
    assert not browser.holds.grants


@pytest.mark.parametrize(
    ("action", "changes"),
    [
        ("refuse", {"categories": dict.fromkeys(OPTIONAL, True)}),
        ("accept", {"categories": dict.fromkeys(OPTIONAL, True)}),
        ("accept", {"subject": VISITOR}),
        ("accept", {"collection_method": CollectionMethod.API}),
        ("accept", {"site": "Example blog", "previous": None}),
    ],
    ids=["a yes over a no", "a yes over a yes", "somebody else's", "no office's", "another site's"],
)
def test_nothing_else_of_the_log_reaches_a_browser(
    browser: Browser, action: str, changes: dict[str, Any]
) -> None:
    """What is in the log may have been written by whoever has the keys: it gives nobody a consent."""
    browser.choose(action)
    held = browser.holds
    browser.withdraw(browser.last, **changes)
    assert (browser.visit(), browser.holds) == ([], held)


def test_a_log_that_cannot_be_read_changes_no_cookie(
    browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page is there, and says so."""
    browser.withdraw(browser.last)

    def find(*_: object, **__: object) -> object:
        raise StoreUnavailable("the disk is gone")

    agreed = browser.holds
    monkeypatch.setattr(SQLiteReceiptLog, "find", find)
    assert browser.visit() == []
    page = browser.site.browser.get("/_consent/choices?language=en").text
    assert "Your receipts cannot be read right now" in page
    # Nor is anything granted that may have been withdrawn; but a no counts.
    browser.site.now += 60
    allowing = {"action": "allow", "vendors": {"youtube": True}}
    answer = browser.site.browser.post("/_consent/choice", json=allowing, headers=SAME)
    assert (answer.status_code, browser.holds) == (503, agreed)
    browser.choose("opt-out")
    assert not browser.holds.grants


def test_visitors_read_who_recorded_it(tmp_path: Path) -> None:
    """Among their receipts, in every language; likewise what came along from another site."""
    site = Site(tmp_path)
    with site.browser:
        site.browser.post("/_consent/choice", json={"action": "accept"}, headers=SAME)
        (receipt,) = site.browser.get("/_consent/receipts").json()["receipts"]
        last = site.app._office.desk.log.get(receipt["receipt_id"])  # type: ignore[union-attr]
        assert last is not None
        desk = site.app._office.desk  # type: ignore[union-attr]
        desk.append(withdrawal_of(last, int(site.now * 1_000) + 1))
        desk.append(
            replace(
                last,
                receipt_id="0f" * 4 + "-0000-4000-8000-000000000000",
                collection_method=CollectionMethod.GROUP,
            )
        )
        for language in languages():
            texts = load_texts(language)
            page = site.browser.get(f"/_consent/choices?language={language}").text
            words = {key: str(escape(texts[key])) for key in ("by_office", "by_group")}
            assert [key for key, said in words.items() if said not in page] == []
