"""The office's console: without a script, signed in with a token, and nothing of a visitor in any address."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlencode

import pytest
from click.testing import CliRunner

from consent.banner import Banner
from consent.choice_kind import ChoiceKind
from consent.cli import main
from consent.decision import decide
from consent.office.charts import rarer, stacked
from consent.office.limits import CALLS_A_DAY
from consent.office.overview import overview
from consent.office.pages.console import _PAGES
from consent.office.roles import Role
from consent.office.sessions import SESSION_SECONDS
from consent.office.tokens import Token
from consent.policy import Layout, Policy
from consent.receipt_search import KindTotal
from consent.receipts import Artefact
from consent.signals import Signals
from consent.sqlite_store import SQLiteStore
from tests.test_office_api import NOW, RECEIPTS, SUBJECT, Answer, Place
from tests.test_receipts import SHOWN, make_receipt
from tests.test_sqlite_store import append_all

HOME = "/_consent/office"
COOKIE = "__Host-consent-office"
SAME = {"sec-fetch-site": "same-origin"}


class Visitor:
    """Somebody with a browser."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self.cookie = ""

    def get(self, path: str = "", **headers: str) -> Answer:
        return self._ask("GET", path, None, headers)

    def post(self, path: str, form: Mapping[str, str], headers: Mapping[str, str] = SAME) -> Answer:
        return self._ask("POST", path, form, headers)

    def _ask(
        self, method: str, path: str, form: Mapping[str, str] | None, headers: Mapping[str, str]
    ) -> Answer:
        sent = {**headers}
        body: bytes | None = None
        if self.cookie:
            sent["cookie"] = f"other=1; {COOKIE}={self.cookie}"
        if form is not None:
            body = urlencode(form).encode()
            sent.setdefault("content-type", "application/x-www-form-urlencoded")
        answer = self._place.ask(HOME + path, method=method, headers=sent, body=body)
        set_cookie = answer.headers.get("set-cookie", "")
        if found := re.match(f"{COOKIE}=([^;]*);", set_cookie):
            self.cookie = found[1]
        return answer

    def sign_in(self, secret: str) -> Answer:
        return self.post("/sign-in", {"token": f" {secret} "})


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("console") / "data")


def signed_in(place: Place, role: Role) -> Visitor:
    visitor = Visitor(place)
    assert visitor.sign_in(place.secrets[role]).status == 303
    return visitor


def text(answer: Answer) -> str:
    """Return the words of a page."""
    return " ".join(re.sub(r"<[^>]*>", " ", answer.body.decode()).split())


TABLE = {
    #                            reader analyst officer administrator
    ("GET", ""):                 "200 200 200 200",
    ("GET", "/receipts"):        "403 200 200 200",
    ("POST", "/lookups"):        "403 403 200 403",
    ("GET", "/receipts/27"):     "403 403 200 403",
    ("POST", "/receipts/27"):    "403 403 200 403",
    ("POST", "/evidence/27"):    "403 403 200 403",
    ("GET", f"/texts/{SHOWN.hash}"): "403 200 200 200",
    ("GET", "/trackers"):        "200 200 200 200",
    ("GET", "/reports"):         "200 200 200 200",
    ("GET", "/reports/monthly"): "200 200 200 200",
    ("GET", "/reports/processing"): "200 200 200 200",
    ("POST", "/reports/proof"):  "403 200 200 403",
    ("GET", "/policies"):        "200 200 200 200",
    ("GET", "/as-of"):           "200 200 200 200",
    ("GET", "/standing"):        "200 200 200 200",
    ("GET", "/accesses"):        "403 403 403 200",
}  # fmt: skip


def test_who_may_see_which_page(place: Place) -> None:
    """Cell by cell; nobody who is not signed in sees any of them, or whether there is one."""
    form = {"reason": "complaint 12", "sought": SUBJECT}
    nobody = Visitor(place)
    for (method, path), row in TABLE.items():
        for role, status in zip(Role, row.split(), strict=True):
            visitor = signed_in(place, role)
            answer = visitor.get(path) if method == "GET" else visitor.post(path, form)
            assert answer.status == int(status), (path, role)
        answer = nobody.get(path) if method == "GET" else nobody.post(path, form)
        assert (answer.status, "Sign in" in text(answer)) == (401 if path else 200, True)
    assert nobody.get("/no/such/page").body == nobody.get("/receipts").body
    assert signed_in(place, Role.OFFICER).get("/no/such/page").status == 404


def test_signing_in_and_out(place: Place) -> None:
    """With a token; the cookie has no secret in it, no other host can set it, and it goes with the token."""
    visitor = Visitor(place)
    assert "consent office token" in text(visitor.get())
    wrong = visitor.sign_in("cot_000000000000_" + "A" * 43)
    assert (wrong.status, "That token is not valid" in text(wrong), visitor.cookie) == (401, True, "")
    secret, token = place.book.make("Jo Example", Role.ADMINISTRATOR, days=1)
    answer = visitor.sign_in(secret)
    assert (answer.status, answer.headers["location"]) == (303, HOME)
    field = answer.headers["set-cookie"].split("; ")
    assert field[1:] == [
        "Path=/",
        "Secure",
        f"Max-Age={SESSION_SECONDS}",
        "HttpOnly",
        "SameSite=Strict",
    ]
    assert secret[17:] not in visitor.cookie
    assert "Jo Example, administrator" in text(visitor.get())
    (entry,) = place.accesses.newest(limit=1)
    assert (entry.who, entry.what) == (f"Jo Example ({token.id})", "signed-in")
    kept = visitor.cookie
    for forged in (kept[:-1], kept + "x", "." + kept, kept.replace("W", "w", 1), "x" * 600):
        visitor.cookie = forged
        assert "Sign in" in text(visitor.get()) or forged == kept
    visitor.cookie = kept
    place.now += SESSION_SECONDS
    assert visitor.get("/accesses").status == 401
    place.now = NOW
    assert visitor.get("/accesses").status == 200
    assert visitor.post("/sign-out", {}).headers["location"] == HOME
    assert visitor.cookie == ""
    visitor.cookie = kept
    assert visitor.get("/accesses").status == 401  # a copy of the cookie ends with the session, too
    visitor.sign_in(secret)
    assert visitor.get("/accesses").status == 200
    place.book.revoke(token.id)
    assert visitor.get("/accesses").status == 401


def test_pages_count_as_calls(place: Place) -> None:
    """A token's limit is none if it can be walked around through the console; signing out goes on."""
    secret, token = place.book.make("Jo Example", Role.READER, days=1)
    visitor = Visitor(place)
    visitor.sign_in(secret)
    place.limits.count(token, weight=CALLS_A_DAY - 1)
    assert visitor.get().status == 200
    answer = visitor.get()
    assert (answer.status, "too much for today" in text(answer)) == (429, True)
    assert place.ask("/me", secret).status == 429
    assert visitor.post("/sign-out", {}).status == 303


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://shop.example.evil.example"},
        {"origin": "https://shop.example, https://evil.example"},
        {"origin": ""},
        {"sec-fetch-site": "none"},
        {"sec-fetch-site": "cross-site", "origin": "https://shop.example"},
        {"referer": "https://shop.example/_consent/office"},
        {},
    ],
)
def test_no_other_site_posts_a_form(place: Place, headers: Mapping[str, str]) -> None:
    """Also not to sign somebody in, or out."""
    officer = signed_in(place, Role.OFFICER)
    before = place.accesses.newest(limit=1)
    posted = {re.sub(r"\{\w+\}", "27", path) for method, path in _PAGES if method == "POST"}
    assert posted >= {"/lookups", "/receipts/27"}
    for path in ("/sign-in", "/sign-out", *sorted(posted)):
        answer = officer.post(path, {"reason": "complaint 12", "sought": SUBJECT}, headers)
        assert (answer.status, "This came from another site" in text(answer)) == (403, True)
    assert place.accesses.newest(limit=1) == before
    assert (
        officer.post(
            "/lookups", {"reason": "x y z", "sought": SUBJECT}, {"origin": "https://shop.example"}
        ).status
        == 200
    )


def test_a_page_is_nobodys_frame_and_keeps_to_itself(place: Place) -> None:
    """Before and after signing in: no script, no frame around it, no other window's hold on it, nothing kept."""
    for answer in (Visitor(place).get(), signed_in(place, Role.OFFICER).get()):
        policy = answer.headers["content-security-policy"].split("; ")
        assert {
            "default-src 'none'",
            "frame-ancestors 'none'",
            "form-action 'self'",
            "base-uri 'none'",
        } <= set(policy)
        assert not [each for each in policy if each.startswith("script-src")]
        assert answer.headers["cross-origin-opener-policy"] == "same-origin"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert answer.headers["cache-control"] == "no-store"


def test_forms_are_read_within_bounds(place: Place) -> None:
    """And what is none is said."""
    officer = signed_in(place, Role.OFFICER)
    assert officer.post("/lookups", {"sought": "x" * 17_000}).status == 413
    assert officer.post("/lookups", {}, {**SAME, "content-type": "text/plain"}).status == 415
    assert officer.post("/lookups", {str(number): "" for number in range(40)}).status == 400
    assert officer.post("/lookups", {"sought": "nobody", "reason": "abc"}).status == 400
    answer = officer.post("/lookups", {"sought": SUBJECT, "reason": " a "})
    assert (answer.status, "A reason is missing" in text(answer)) == (400, True)
    before = place.accesses.newest(limit=1)
    form = urlencode({"sought": SUBJECT, "reason": "complaint 12"}).encode()
    sent = {
        **SAME,
        "cookie": f"{COOKIE}={officer.cookie}",
        "content-type": "application/x-www-form-urlencoded",
    }
    answer = place.ask(f"{HOME}/lookups", method="POST", headers=sent, body=form, ends_early=True)
    assert (answer.status, place.accesses.newest(limit=1)) == (400, before)
    answer = officer.get("/receipts?colour=red")
    assert (answer.status, "colour: there is no such parameter" in text(answer)) == (400, True)
    assert officer.get("/receipts/99999").status == 200  # it asks for a reason first, and tells nothing
    assert officer.post("/receipts/99999", {"reason": "complaint 12"}).status == 404
    assert officer.get("/receipts/x").status == 404


def test_the_overview_counts_and_says_where_refusing_is_rare(place: Place) -> None:
    """Each chart has its table; what left although it was refused stands out."""
    page = signed_in(place, Role.READER).get("?from=2026-01-01&to=2026-01-02")
    words = text(page)
    assert "60 choices" in words
    assert "50.0 % agreed to something" in words
    assert "50.0 % refused" in words
    assert "5 left although refused" in words
    assert "1 unclassified third parties, 0 undeclared, 0 declared" in words
    assert "The same as a table" in words
    assert page.body.count(b'<rect class="s2"') >= 1  # agreed in part
    assert "60 leaves" in words
    assert "No choices on these days." in text(
        signed_in(place, Role.READER).get("?from=2025-01-01&to=2025-01-02")
    )


def test_receipts_are_found_and_paged(place: Place) -> None:
    """By the form's own parameters; the next page is an address without anybody in it."""
    analyst = signed_in(place, Role.ANALYST)
    page = analyst.get("/receipts?outcome=given&limit=20&vendor=&site=")
    assert page.body.count(b'<th scope="row">') == 20
    (following,) = re.findall(r'href="/_consent/office(/receipts\?[^"]*)" rel="next"', page.body.decode())
    assert following == "/receipts?outcome=given&amp;limit=20&amp;cursor=1767225621000.21"
    last = analyst.get(following.replace("&amp;", "&"))
    assert (last.body.count(b'<th scope="row">'), b'rel="next"' in last.body) == (10, False)
    assert b"/receipts/59" not in page.body  # an analyst opens nothing
    assert SUBJECT not in page.body.decode()


def test_a_receipt_is_told_with_its_proof(place: Place) -> None:
    """Who, what, on which text, what came before, what the server did; and the file that proves it."""
    officer = signed_in(place, Role.OFFICER)
    found = officer.post(
        "/lookups", {"sought": SUBJECT.upper(), "reason": "complaint 12", "until": "2026-01-01"}
    )
    assert re.findall(r"/receipts/(\d+)\"", found.body.decode()) == ["47", "27", "7"]
    by_id = officer.post("/lookups", {"sought": RECEIPTS[27].receipt_id, "reason": "complaint 12"})
    assert re.findall(r"/receipts/(\d+)\"", by_id.body.decode()) == ["27"]
    asked = officer.get("/receipts/27")
    assert "Say why you open it" in text(asked)
    assert SUBJECT not in asked.body.decode()
    page = officer.post("/receipts/27", {"reason": "complaint 12"})
    words = text(page)
    assert "a visitor of Example shop agreed on the banner, under opt-in." in words
    assert (
        "Proof verified. This receipt, to the byte, is leaf 27 of the 60 that the log's key signed."
        in words.replace("&#39;", "'")
    )
    assert RECEIPTS[27].content_hash in words
    assert SUBJECT in words
    assert re.findall(r"/receipts/(\d+)\"", page.body.decode()) == ["47", "7"]
    assert f'src="{HOME}/texts/{SHOWN.hash}" sandbox' in page.body.decode()
    assert [entry.what for entry in place.accesses.newest(limit=3)] == ["opened", "looked-up", "looked-up"]
    shown = officer.get(f"/texts/{SHOWN.hash}")
    assert shown.body == SHOWN.content
    assert shown.headers["content-security-policy"].startswith("sandbox; default-src 'none';")
    file = officer.post("/evidence/27", {"reason": "complaint 12"})
    assert file.headers["content-disposition"] == 'attachment; filename="consent-receipt-27.json"'
    assert file.headers["cache-control"] == "no-store"


def test_trackers_and_accesses(place: Place) -> None:
    """What nobody explained comes first; the log of accesses is verified as it is shown."""
    assert "cdn.example unclassified – script, response 2026-01-01" in text(
        signed_in(place, Role.READER).get("/trackers")
    )
    words = text(signed_in(place, Role.ADMINISTRATOR).get("/accesses"))
    assert "Verified. Each entry on this page is the one that was recorded" in words
    assert f"administrator Example ({place.book.find(place.secrets[Role.ADMINISTRATOR]).id})" in words  # type: ignore[union-attr]


def test_every_page_is_locked_down(place: Place) -> None:
    """No script, nothing of anybody else, in nobody's frame, kept by nobody."""
    officer = signed_in(place, Role.OFFICER)
    for path in ("", "/receipts", "/receipts/3", "/trackers", "/nothing"):
        answer = officer.get(path)
        assert answer.headers["content-security-policy"] == (
            "default-src 'none'; style-src 'self'; frame-src 'self'; form-action 'self'; frame-ancestors 'none';"
            " base-uri 'none'"
        )
        assert answer.headers["cache-control"] == "no-store"
        page = answer.body.decode()
        assert not re.search(r"<script|\sstyle=|\son\w+=|https?://", page)
        assert page.count("<h1>") == 1
        labels = set(re.findall(r'<label for="([^"]+)"', page))
        assert set(re.findall(r'<(?:input|select) id="([^"]+)"', page)) == labels
    (style,) = re.findall(r'<link rel="stylesheet" href="([^"]+)"', officer.get().body.decode())
    css = Visitor(place).get(style.removeprefix(HOME))
    assert (css.status, css.headers["content-type"]) == (200, "text/css; charset=utf-8")


def test_markup_in_what_is_recorded_stays_text(tmp_path: Path) -> None:
    """Names of sites and of people, and reasons, are written by others."""
    place = Place(tmp_path / "data")
    evil = make_receipt(500, site="<img src=x onerror=alert(1)>", time="2026-01-02T00:00:00.000Z")
    append_all(SQLiteStore(place.folder.receipts_path, place.keys), evil)
    secret, _ = place.book.make("<b>Jo</b>", Role.OFFICER, days=1)
    officer = Visitor(place)
    officer.sign_in(secret)
    for answer in (
        officer.get("/receipts"),
        officer.post("/receipts/60", {"reason": '"><script>alert(1)</script>'}),
        officer.get("/receipts?site=%22%3E%3Cscript%3E"),
        officer.get("/receipts?%22%3E%3Cscript%3E=1"),
    ):
        page = answer.body.decode()
        assert "<script" not in page
        assert "<img src=x" not in page
        assert "<b>Jo" not in page


def test_it_is_served_by_itself(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a port of its own, with no log of requests."""
    served: dict[str, Any] = {}
    monkeypatch.setattr("uvicorn.run", lambda app, **options: served.update(options, app=app))
    result = CliRunner().invoke(main, ["office", "serve", "--port", "9001", "--data", str(place.folder.path)])
    assert (result.exit_code, result.stderr) == (0, "http://127.0.0.1:9001/_consent/office\n")
    assert (served["port"], served["host"], served["access_log"]) == (9001, "127.0.0.1", False)
    usual, place.app = place.app, served["app"]
    try:
        assert "Privacy office Token" in text(Visitor(place).get())
        answer = place.ask(HOME, method="DELETE")
    finally:
        place.app = usual
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD, POST")


# ---- charts


def test_bars_are_stacked_in_proportion() -> None:
    """The tallest day has the full height; nothing is drawn of nothing."""
    chart = stacked(["a", "b"], ["yes", "no"], {("a", "yes"): 30, ("a", "no"): 10, ("b", "no"): 20})
    assert chart.top == 40
    assert [(bar.x, bar.y, bar.width, bar.height, bar.kind, bar.title) for bar in chart.bars] == [
        (36.0, 50.0, 288.0, 150.0, "yes", "a: 30 yes"),
        (36.0, 0.0, 288.0, 50.0, "no", "a: 10 no"),
        (396.0, 100.0, 288.0, 100.0, "no", "b: 20 no"),
    ]
    assert stacked(["a"], ["yes"], {}).bars == []


@pytest.mark.parametrize(
    ("group", "everybody", "expected"),
    [
        ((10, 1_000), (5_010, 11_000), True),  # 1 % where others have 50 %
        ((300, 1_000), (5_300, 11_000), False),  # rarer, and not by half
        ((0, 99), (5_000, 11_000), False),  # too few to say
        ((4, 110), (2_000, 20_000), False),  # half as often, and it may be chance
        ((0, 1_000), (0, 11_000), False),  # nobody refuses anywhere
        ((0, 11_000), (0, 11_000), False),  # there are no others
    ],
)
def test_refusing_is_called_rare_where_it_is(
    group: tuple[int, int], everybody: tuple[int, int], expected: bool
) -> None:
    """Compared with all others, and more than chance explains."""
    assert rarer(*group, *everybody) is expected


def counting(choices: Mapping[ChoiceKind, int]) -> Any:
    """Return a desk that has these choices, all on one day."""
    day = "2026-01-01"
    return SimpleNamespace(
        totals=lambda *_: [KindTotal(kind, day, day, times) for kind, times in choices.items()],
        daily_in=lambda _asker, _first, _last, group: Counter(
            (day, found)
            for kind, times in choices.items()
            if (found := group(kind)) is not None
            for _ in range(times)
        ),
    )


def test_programs_are_in_none_of_the_numbers() -> None:
    """They are told apart, so that a site's own tests, or a crawler, make no rate better or worse."""
    token = Token("a" * 12, "Jo", Role.READER, (), 1, 0)
    person = ChoiceKind(
        "shop", "opt-in", "EU", "v", "en", "", "given", True, True, True, False, None, "banner-form"
    )
    refused = person._replace(outcome="refused", performance=False, functional=False, targeting=False)
    people = overview(counting({person: 3, refused: 2}), token, "2026-01-01", "2026-01-01")
    assert (people.choices, people.programs, list(people.totals)) == (5, 0, [3, 0, 2, 0, 0])
    both = overview(
        counting({person: 3, refused: 2, person._replace(bot=True): 90, refused._replace(bot=True): 7}),
        token,
        "2026-01-01",
        "2026-01-01",
    )
    assert both.programs == 97
    assert replace(both, programs=0) == people


def test_many_groups_are_added_up() -> None:
    """A table has 20 rows and one for the rest."""
    token = Token("a" * 12, "Jo", Role.READER, (), 1, 0)

    kind = ChoiceKind(
        "shop", "opt-in", "", "v", "en", "", "given", True, True, True, False, None, "banner-form"
    )
    kinds = [kind._replace(jurisdiction=f"P{number}") for number in range(30)]

    shown = overview(
        counting({each: number for number, each in enumerate(kinds, 1)}), token, "2026-01-01", "2026-01-01"
    )
    places = shown.tables[0][2]
    assert (len(places), places[0].name, places[-1].name) == (21, "P29", "10 more")
    assert sum(row.choices for row in places) == shown.choices == 465


def test_a_text_is_named_with_its_layout() -> None:
    """As the text that was kept has it; one that is gone, or that lay over no page, has its hash alone."""
    token = Token("a" * 12, "Jo", Role.READER, (), 1, 0)
    silence = decide(Policy(), Signals())
    texts = {
        layout: Artefact(
            content=Banner(Policy(language="en", layout=layout)).shown_text(silence).content,
            media_type="text/html",
        )
        for layout in Layout
    }
    other = Artefact(content=b'<form class="consent-embed">', media_type="text/html")
    kept = {text.hash: text for text in (*texts.values(), other)}
    kind = ChoiceKind(
        "shop", "opt-in", "EU", "v", "en", "", "given", True, True, True, False, None, "banner-form"
    )
    desk = counting({kind._replace(shown_hash=name): 1 for name in (*kept, "0" * 64, "")})
    desk.log = SimpleNamespace(artefact=kept.get)
    shown = overview(desk, token, "2026-01-01", "2026-01-01")
    (rows,) = (rows for name, _, rows in shown.tables if name == "shown_hash")
    assert {row.name: row.layout for row in rows} == {
        **{text.hash: layout for layout, text in texts.items()},
        other.hash: "",
        "0" * 64: "",
        "": "",
    }
    assert {row.layout for _, _, rows in shown.tables[:4] for row in rows} == {""}
