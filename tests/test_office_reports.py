"""Reports: every number is one of the API's, on paper as on the screen, and nothing in them acts."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import sqlite3
from collections import Counter
from datetime import date
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from click.testing import CliRunner, Result

from consent.catalog import Cookie, Vendor, load_catalog
from consent.catalog.model import StorageKey
from consent.categories import Category
from consent.cli import main
from consent.data_folder import DataFolder
from consent.enforcement_log import EnforcementKind
from consent.inventory import Sighting, Source, Tally
from consent.office.access_log import AccessLog
from consent.office.app import Office
from consent.office.asker import Asker
from consent.office.database import OfficeDatabase
from consent.office.in_force import InForce
from consent.office.processing import processing
from consent.office.roles import Role
from consent.office.tokens import TokenBook
from consent.policy import OwnCookie, Policy
from consent.policy_file import load_policy
from consent.receipts import Artefact, CollectionMethod, Outcome, RecordedSignals
from consent.sqlite_inventory import SQLiteInventory
from consent.sqlite_log import SQLiteReceiptLog
from consent.sqlite_store import SQLiteStore
from consent.subject_request import NewRequest, RequestKind, StepKind, Way
from consent.terms import terms_artefacts
from tests.test_office_api import Place
from tests.test_receipts import make_receipt

FEBRUARY = 1_769_904_000
"""2026-02-01T00:00:00Z"""
DAY = 86_400
MARCH = FEBRUARY + 28 * DAY
HOSTILE = "Shop <script>alert(1)</script> & \"'"
SHOP = HOSTILE
BLOG = "Example blog"
TEXTS = [
    Artefact(
        content=f'<form data-layout="{layout}">May we?</form>'.encode(), media_type="text/html; charset=utf-8"
    )
    for layout in ("card", "bar")
]
ACME = Vendor(
    id="acme",
    name="<img src=x onerror=alert(1)>",
    company="Acme & Sons",
    country="US",
    privacy_url="https://acme.example/privacy",
    category=Category.TARGETING,
    about="Shows <b>advertising</b>.",
    cookies=(
        Cookie(name="_acme", purpose="Knows you again", lifetime="2 years", party="first", http_only=False),
    ),
    storage=(StorageKey(key="acme", area="session", purpose="Remembers"),),
)
OWN = OwnCookie(
    name="cart", category=Category.STRICTLY_NECESSARY, purpose="Holds the cart", lifetime="session"
)
FIRST = Policy(site=SHOP, controller="Example Ltd", contact="privacy@example.com", own_cookies=(OWN,))
SECOND = Policy(
    site=SHOP,
    controller="Example Ltd",
    contact="privacy@example.com",
    own_cookies=(OWN,),
    vendors=(ACME,),
    retention_days=400,
)


class Months(Place):
    """Two months of two sites: in March, one has another policy; a browser signal, a withdrawal, a leak."""

    def __init__(self, path: Path) -> None:
        self.folder = DataFolder(path)
        self.keys = self.folder.ledger_keys()
        self.now = MARCH + 31 * DAY + 1_000.0
        self.client = "192.0.2.1"
        asyncio.run(self._fill())
        day = MARCH // DAY
        SQLiteInventory(self.folder.inventory_path).merge(
            {
                Sighting(Source.RESPONSE, "script", "new.example", "", site=SHOP): Tally(
                    day + 2, day + 9, 3, ["/shop"]
                ),
                Sighting(Source.RESPONSE, "script", "gone.example", "gone"): Tally(day - 20, day - 3, 3, []),
                Sighting(Source.RESPONSE, "script", "acme.example", "acme"): Tally(day - 20, day + 40, 3, []),
                Sighting(Source.RESPONSE, "<b>pixel", "sly.example", "sly"): Tally(day - 20, day + 3, 3, []),
                Sighting(Source.RESPONSE, "script", "later.example", "later"): Tally(
                    day + 33, day + 34, 1, []
                ),
            }
        )
        database = OfficeDatabase(self.folder.office_path)
        self.book = TokenBook(database, lambda: self.now)
        self.accesses = AccessLog(database, self.keys, lambda: self.now)
        self.app = Office(
            "/_consent",
            self.folder,
            lambda: SQLiteReceiptLog(self.folder.receipts_path, self.keys),
            lambda: self.now,
        )
        self.secrets = {role: self.book.make(f"{role} Example", role, days=90)[0] for role in Role}

    async def _fill(self) -> None:
        for start, policy in ((FEBRUARY, FIRST), (MARCH, SECOND), (MARCH + 20 * DAY, SECOND)):
            store = SQLiteStore(self.folder.receipts_path, self.keys, clock=lambda now=start: now + DAY)  # type: ignore[misc]
            terms = terms_artefacts(policy)
            await asyncio.gather(
                *(
                    store.append(
                        _receipt(start, number, policy, terms), (*TEXTS, terms.policy, terms.vendor_list)
                    )
                    for number in range(60)
                )
            )
            await store.aclose()
        store = SQLiteStore(self.folder.receipts_path, self.keys)
        kind = EnforcementKind(
            "2026-03-04", SHOP, "script", "acme", "targeting", "stripped", "no-choice", "v"
        )
        counts = {
            kind: 7,
            kind._replace(reason="gpc"): 5,
            kind._replace(reason="dnt", vendor="other", category="performance"): 4,
            kind._replace(action="allowed", reason="granted"): 3,
            kind._replace(action="allowed", reason="refused"): 2,
            kind._replace(site=BLOG): 11,
            kind._replace(day="2026-02-28"): 100,
            kind._replace(day="2026-04-01"): 100,
        }
        await asyncio.to_thread(store.count, counts)
        await store.aclose()


def _receipt(start: int, number: int, policy: Policy, terms: Any) -> Any:
    agreed = number % 3 == 0
    outcomes = {0: Outcome.GIVEN, 1: Outcome.REFUSED, 2: Outcome.WITHDRAWN}
    blog = number % 6 == 5
    return make_receipt(
        start + number * 600 - 1_767_225_600,
        subject=f"{number:032x}",
        site=BLOG if blog else SHOP,
        policy_version="0123456789ab" if blog else policy.version,
        policy_hash=None if blog else terms.policy.hash,
        vendor_list_hash=None if blog else terms.vendor_list.hash,
        shown_hash=TEXTS[number % 2].hash,
        language="en" if number % 4 else "de",
        jurisdiction="DE" if number % 2 else "FR",
        outcome=outcomes[number % 3],
        signals=RecordedSignals(
            gpc=number % 10 == 1, dnt=True if number % 10 == 2 else None, told=frozenset()
        ),
        collection_method=CollectionMethod.SIGNAL if number % 20 == 14 else CollectionMethod.BANNER_FORM,
        categories=dict.fromkeys((Category.PERFORMANCE, Category.FUNCTIONAL, Category.TARGETING), agreed),
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Months:
    return Months(tmp_path_factory.mktemp("reports") / "data")


def report(place: Months, query: str = "month=2026-03", token: Any = Role.READER) -> Any:
    answer = place.ask(f"/reports/monthly?{query}", token)
    assert answer.status == 200, answer.body
    return answer.json


@pytest.mark.parametrize("site", ["", SHOP, BLOG])
def test_every_number_is_one_of_the_apis(place: Months, site: str) -> None:
    """Counted by day, outcome, category and group; enforcement by vendor; of all sites, or of one."""
    of_site = f"&site={quote(site)}" if site else ""
    days = f"from=2026-03-01&to=2026-03-31{of_site}"
    found = report(place, f"month=2026-03{of_site}")
    choices = found["choices"]

    def counted(by: str, more: str = "") -> dict[Any, int]:
        rows = place.ask(f"/counts?{days}&by={by}{more}", Role.READER).json["counts"]
        return {row[by]: row["choices"] for row in rows}

    outcomes = counted("outcome")
    assert choices["total"] == sum(outcomes.values()) == {"": 120, SHOP: 100, BLOG: 20}[site]
    assert {name: times for name, times in choices["by_outcome"].items() if times} == outcomes
    by_day = {row["day"]: sum(row[name] for name in row if name != "day") for row in choices["by_day"]}
    assert (len(by_day), {day: times for day, times in by_day.items() if times}) == (31, counted("day"))
    for row in choices["categories"]:
        assert row["yes"] == counted(row["category"]).get(True, 0)
    for name in ("jurisdiction", "language", "regime", "policy_version", "shown_hash", "collection_method"):
        assert {row["name"]: row["choices"] for row in choices["by"][name]} == counted(name)
        refused = counted(name, "&outcome=refused&gpc=false")
        assert sum(row["refused"] for row in choices["by"][name]) >= sum(refused.values())
    assert sum(row["choices"] for row in choices["by"]["layout"]) == choices["total"]
    assert {row["name"] for row in choices["by"]["layout"]} <= {"card", "bar"}
    assert choices["with_gpc"] == counted("gpc").get(True, 0)
    assert choices["with_dnt"] == counted("dnt").get(True, 0)
    assert choices["by_signal"] == counted("collection_method").get("signal", 0)
    assert choices["by_programs"] == counted("bot").get(True, 0)
    done: Counter[str] = Counter()
    for row in place.ask("/enforcement?from=2026-03-01&to=2026-03-31", Role.READER).json["enforcement"]:
        if not site or row["site"] == site:
            done["leaked" if row["leaked"] else "allowed" if row["action"] == "allowed" else "withheld"] += (
                row["times"]
            )
    enforced = found["enforcement"]
    assert {name: enforced[name] for name in ("withheld", "allowed", "leaked")} == {
        name: done[name] for name in ("withheld", "allowed", "leaked")
    }
    for table in ("by_category", "by_vendor"):
        for name in ("withheld", "allowed", "leaked"):
            assert sum(row[name] for row in enforced[table]) == done[name]


def test_signals_and_leaks_are_told_apart(place: Months) -> None:
    """What was withheld for a signal, and what left although it was refused."""
    enforced = report(place, f"month=2026-03&site={quote(SHOP)}")["enforcement"]
    assert (enforced["withheld"], enforced["leaked"], enforced["allowed"]) == (16, 2, 3)
    assert (enforced["withheld_by_gpc"], enforced["withheld_by_dnt"]) == (5, 4)
    assert enforced["by_vendor"][0] == {
        "vendor": "acme", "category": "targeting", "withheld": 12, "allowed": 3, "leaked": 2,
    }  # fmt: skip


def test_third_parties_come_and_go(place: Months) -> None:
    """New, gone, undeclared and unexplained; of one site, or of the sites of a token, where it is known."""
    found = report(place)["inventory"]
    names = {name: [row["subject"] for row in found[name]["rows"]] for name in found if name != "seen"}
    assert names == {
        "new": ["new.example"],
        "gone": ["gone.example"],
        "undeclared": ["sly.example"],
        "unclassified": ["new.example"],
    }
    assert found["seen"] == 3
    of_shop = report(place, f"month=2026-03&site={quote(SHOP)}")["inventory"]
    assert (of_shop["seen"], of_shop["new"]["count"], of_shop["undeclared"]["count"]) == (1, 1, 0)
    secret, _ = place.book.make("Al Example", Role.READER, sites=[BLOG], days=1)
    theirs = report(place, token=secret)
    assert (theirs["inventory"]["seen"], theirs["choices"]["total"], theirs["sites"]) == (0, 20, [BLOG])
    assert report(place, f"month=2026-03&site={quote(SHOP)}", secret)["choices"]["total"] == 0


def test_what_a_new_policy_changed_is_said(place: Months) -> None:
    """Against the one of the same people before it, also where that was in the month before."""
    february = report(place, "month=2026-02")["policies"]
    assert {row["site"]: (row["version"], row["replaces"], row["changes"]) for row in february} == {
        SHOP: (FIRST.version, None, []),
        BLOG: ("0123456789ab", None, []),
    }
    assert len(february) == 2
    march = [row for row in report(place)["policies"] if row["site"] == SHOP]
    assert [(row["jurisdictions"], row["first_day"], row["last_day"], row["choices"]) for row in march] == [
        (["DE", "FR"], "2026-03-01", "2026-03-21", 100)
    ]
    for row in march:
        assert (row["version"], row["replaces"]) == (SECOND.version, FIRST.version)
        assert row["changes"] == [
            {
                "material": True,
                "what": "vendor acme",
                "before": None,
                "after": "<img src=x onerror=alert(1)>, of Acme & Sons (targeting)",
            }
        ]


def test_what_people_asked_is_counted(tmp_path: Path) -> None:
    """By kind, by what became of it, and what was late; for roles that see requests, of their sites."""
    place = Months(tmp_path / "data")

    def ask(kind: RequestKind, day: int, site: str = SHOP) -> str:
        new = NewRequest(kind=kind, way=Way.EMAIL, site=site, jurisdiction="DE", name="Al Example")
        register = place.app.register
        made, _ = register.add(new, "Jo Example", received_ms=(MARCH + day * DAY) * 1_000)
        return made.reference

    late = ask(RequestKind.ERASE, -20)
    ask(RequestKind.ERASE, 3)
    ask(RequestKind.ACCESS, 30, BLOG)
    ask(RequestKind.ACCESS, 31)
    place.now = MARCH + 25 * DAY + 0.0
    place.app.register.step(late, StepKind.TAKE_BACK, "by phone", "Jo Example")
    place.now = MARCH + 40 * DAY + 0.0
    assert report(place, token=Role.ANALYST)["requests"] == {
        "received": 2,
        "received_by_kind": {"access": 1, "erase": 1},
        "closed": 1,
        "closed_by_state": {"withdrawn": 1},
        "closed_late": 1,
        "open_at_the_end": 2,
    }
    of_blog = report(place, f"month=2026-03&site={quote(BLOG)}", Role.ANALYST)["requests"]
    assert (of_blog["received"], of_blog["closed"], of_blog["open_at_the_end"]) == (1, 0, 1)
    assert report(place)["requests"] is None
    answer = place.ask("/reports/monthly?month=2026-03&form=html", Role.ANALYST)
    text = " ".join(Tags(answer.body.decode()).text.split())
    assert (
        "Came in 2 to access 1 to erase 1 Closed 1 withdrawn 1 Closed after the day that it was due 1" in text
    )


def test_the_log_is_held_against_the_checkpoint_of_the_months_end(place: Months, tmp_path: Path) -> None:
    """With its root and its key; before the first there is none; an altered log is not called whole."""
    february, march = (report(place, f"month=2026-{month}")["integrity"] for month in ("02", "03"))
    assert (february["size"], february["day"], february["verified"]) == (60, "2026-02-02", True)
    assert (march["size"], march["day"], march["verified"]) == (180, "2026-03-22", True)
    integrity = place.ask("/integrity", Role.READER).json
    assert (march["root"], march["keys"]) == (integrity["root"], integrity["keys"])
    assert report(place, "month=2026-01")["integrity"]["problem"] == "there was no checkpoint yet"
    altered = Months(tmp_path / "data")
    with contextlib.closing(
        sqlite3.connect(altered.folder.receipts_path, isolation_level=None)
    ) as connection:
        connection.execute("UPDATE record SET commitment = zeroblob(32) WHERE leaf = 170")
    integrity = report(altered)["integrity"]
    assert (integrity["verified"], integrity["problem"]) == (False, "the tree is not the one that was signed")
    page = altered.ask("/reports/monthly?month=2026-03&form=html", Role.READER).body.decode()
    assert "The tree is not the one that was signed." in page


class Tags(HTMLParser):
    """Collects what a page is made of."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.names: Counter[str] = Counter()
        self.attributes: set[str] = set()
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.names[tag] += 1
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.text += f"{data} "


@pytest.mark.parametrize("path", ["/reports/monthly?month=2026-03", "/reports/processing?day=2026-03-31"])
def test_nothing_in_a_report_acts(place: Months, path: str) -> None:
    """Names of sites, vendors and trackers are what they are: text. It loads nothing, and has no script."""
    answer = place.ask(f"{path}&form=html", Role.READER)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["content-security-policy"] == "default-src 'none'; sandbox"
    assert re.fullmatch(r'attachment; filename="[a-z0-9-]+\.html"', answer.headers["content-disposition"])
    page = Tags(answer.body.decode())
    assert not page.names.keys() & {"script", "img", "link", "iframe", "b", "object"}
    assert not {name for name in page.attributes if name.startswith("on")} | page.attributes & {
        "src",
        "style",
    }
    assert HOSTILE in page.text
    assert "<img src=x onerror=alert(1)>" in page.text
    assert "@page" in page.text
    assert page.names["h1"] == 1


def test_the_numbers_are_on_the_page(place: Months) -> None:
    """What the JSON says stands in the tables."""
    found = report(place)
    text = " ".join(
        Tags(place.ask("/reports/monthly?month=2026-03&form=html", Role.READER).body.decode()).text.split()
    )
    for row in found["choices"]["by_day"]:
        numbers = [row[name] for name in row if name != "day"]
        assert f"{row['day']} {' '.join(map(str, numbers))} {sum(numbers)}" in text
    assert f"Root {found['integrity']['root']}" in text
    for sentence in found["how"]:
        assert sentence in text


def test_an_extract_for_the_records_of_processing(place: Months) -> None:
    """Purposes, recipients, cookies and their lifetimes, as the policy has them; what is not known is said."""
    answer = place.ask("/reports/processing", Role.READER).json
    assert answer["day"] == "2026-04-01"
    by_site = {each["site"]: each for each in answer["activities"]}
    shop, blog = by_site[SHOP], by_site[BLOG]
    assert (shop["controller"], shop["contact"], shop["policy_version"]) == (
        "Example Ltd", "privacy@example.com", SECOND.version,
    )  # fmt: skip
    assert [each["category"] for each in shop["purposes"]] == [
        "strictly-necessary", "performance", "functional", "targeting",
    ]  # fmt: skip
    necessary, targeting = shop["purposes"][0], shop["purposes"][3]
    assert necessary["own_cookies"] == [{"name": "cart", "purpose": "Holds the cart", "lifetime": "session"}]
    assert "Its basis is for a person to add" in necessary["basis"]
    assert "Article 6(1)(a)" in targeting["basis"]
    (recipient,) = targeting["recipients"]
    assert (recipient["company"], recipient["established_in"], recipient["transfers"]) == (
        "Acme & Sons", "US", "not known here",
    )  # fmt: skip
    assert [(each["name"], each["lifetime"]) for each in recipient["stored"]] == [
        ("_acme", "2 years"), ("acme", "until the tab is closed"),
    ]  # fmt: skip
    assert (blog["known"], blog["controller"], blog["purposes"]) == (False, "not known here", [])
    (kept,) = shop["receipts"]["kept"]
    assert kept["how_long"].startswith("not known here, but in the policy file")
    assert kept["jurisdictions"] == shop["jurisdictions"] == ["DE", "FR"]
    assert len(answer["to_add"]) >= 5
    february = place.ask(f"/reports/processing?day=2026-02-27&site={quote(SHOP)}", Role.READER).json
    assert {each["policy_version"] for each in february["activities"]} == {FIRST.version}
    assert place.ask("/reports/processing?day=2025-12-31", Role.READER).json["activities"] == []
    assert place.ask("/reports/processing?day=0001-01-01", Role.READER).json["activities"] == []


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/reports/monthly?month=2026-13", "month: a month, such as 2026-03"),
        ("/reports/monthly?month=1969-12", "month: a month"),
        ("/reports/monthly?month=2026-3", "month: a month"),
        ("/reports/monthly?form=pdf", "form: one of json, html"),
        ("/reports/processing?day=today", "day: a day, such as 2026-03-01"),
    ],
)
def test_what_is_no_month_is_said(place: Months, path: str, message: str) -> None:
    """With what would be one."""
    answer = place.ask(path, Role.READER)
    assert (answer.status, message in answer.json["error"]["message"]) == (400, True), answer.json


def test_the_month_is_the_last_one_that_is_over(place: Months) -> None:
    """Where none is asked for; one that is not over says so."""
    assert report(place, "")["month"] == "2026-03"
    assert (report(place)["complete"], report(place, "month=2026-04")["complete"]) == (True, False)
    page = place.ask("/reports/monthly?month=2026-04&form=html", Role.READER).body.decode()
    assert "The month is not over yet." in page
    assert date.fromisoformat(report(place, "month=2028-02")["to"]) == date(2028, 2, 29)


def invoke(place: Months, *arguments: str) -> Result:
    """Run ``consent office report``."""
    environment = {"CONSENT_DATA": str(place.folder.path), "CONSENT_POLICY": ""}
    return CliRunner().invoke(main, ["office", "report", *arguments], env=environment)


def test_reports_are_written_on_the_command_line(place: Months, tmp_path: Path) -> None:
    """The same as from the API: a page to a file, JSON to a pipe; of one site, too."""
    file = tmp_path / "march.html"
    assert invoke(place, "month", "2026-03", "--output", str(file)).exit_code == 0
    assert HOSTILE in Tags(file.read_text(encoding="utf-8")).text
    written = json.loads(invoke(place, "month", "2026-03", "--json", "--site", SHOP).stdout)
    asked = report(place, f"month=2026-03&site={quote(SHOP)}", Role.OFFICER)
    assert {**written, "made": ""} == {**asked, "made": ""}
    result = invoke(place, "month", "2026-13")
    assert (result.exit_code, result.stderr) == (1, "Error: month: a month, such as 2026-03\n")


def test_how_long_receipts_are_kept_is_known_from_the_policy(place: Months, tmp_path: Path) -> None:
    """From its file, on the command line; or where the office runs beside the site."""
    file = tmp_path / "consent.toml"
    file.write_text(
        f"site.name = {json.dumps(SHOP)}\n[retention]\ndays = 400\njurisdictions = {{ FR = 900 }}\n"
    )
    arguments = ("processing", "--policy", str(file), "--day", "2026-03-31", "--json", "--site", SHOP)
    (shop,) = json.loads(invoke(place, *arguments).stdout)["activities"]
    kept = [
        {"jurisdictions": ["DE"], "how_long": "400 days"},
        {"jurisdictions": ["FR"], "how_long": "900 days"},
    ]
    assert shop["receipts"]["kept"] == kept
    policy, catalog = load_policy(file, load_catalog())
    log = SQLiteReceiptLog(place.folder.receipts_path, place.keys)
    office = Office(
        "/_consent", place.folder, lambda: log, lambda: place.now, in_force=InForce(policy, catalog)
    )
    asker = Asker("id", "Jo Example", Role.READER, (), 2**53)
    (shop,) = processing(office.desk, asker, "2026-03-31", SHOP)["activities"]
    assert shop["receipts"]["kept"] == kept


def test_a_report_of_an_altered_log_fails(tmp_path: Path) -> None:
    """It is written, and says so, and the command exits with 1."""
    place = Months(tmp_path / "data")
    with contextlib.closing(sqlite3.connect(place.folder.receipts_path, isolation_level=None)) as connection:
        connection.execute("UPDATE record SET commitment = zeroblob(32) WHERE leaf = 170")
    result = invoke(place, "month", "2026-03", "--json")
    assert json.loads(result.stdout)["integrity"]["verified"] is False
    assert (result.exit_code, "the log is not whole: the tree is not the one" in result.stderr) == (1, True)
