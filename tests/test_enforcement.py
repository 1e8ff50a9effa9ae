"""Judging what one response carries, and the account of it."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest

from consent.catalog import Catalog
from consent.categories import OPTIONAL, Category
from consent.choice import Choice
from consent.csp import covers, source
from consent.decision import Decision, Reason, decide
from consent.enforcement import (
    MAX_FINDINGS,
    Action,
    Finding,
    PageEnforcement,
    UnclassifiedRule,
    is_unclassified,
    site_of,
)
from consent.html import Rewriter, Withholding
from consent.html.urls import PageURL
from consent.inventory import seen_in
from consent.policy import Regime, Unclassified
from consent.signals import ChoiceState, Signals
from tests import exchange
from tests.exchange import CATALOG, NOW, POLICY, REFUSING

VENDORS = CATALOG.vendors
SPLIT = Catalog(
    [
        replace(
            VENDORS["tracker"], hosts=(), urls=("split.example/pixel", "split.example.com/pixel"), inline=()
        ),
        replace(VENDORS["cdn"], hosts=(), urls=("split.example/cdn/*", "split.example.com/cdn/*")),
    ]
)
PAGE = PageURL("https", "www.example.com", "/shop/index.html")


def decided(*granted: Category, vendors: dict[str, bool] | None = None, gpc: bool = False) -> Decision:
    choice = Choice(
        receipt_id="",
        subject="",
        made_at=NOW,
        policy_version=POLICY.version,
        granted=frozenset(granted),
        vendors=vendors or {},
    )
    return decide(POLICY, Signals(choice=choice, choice_state=ChoiceState.VALID, gpc=gpc))


def page(decision: Decision = REFUSING, url: PageURL = PAGE) -> PageEnforcement:
    return PageEnforcement(CATALOG, decision, url)


@pytest.mark.parametrize(
    ("url", "refused"),
    [
        ("https://t.tracker.example/t.js", True),
        ("//tracker.example", True),
        ("http://a.b.tracker.example:8080/x?y#z", True),
        ("https://nottracker.example/", False),
        ("https://cdn.example/jquery.js", False),
        ("https://unknown.example/x", False),
        ("/t.tracker.example/t.js", False),
        ("t.js", False),
        ("", False),
        ("data:text/javascript,1", False),
    ],
)
def test_a_url_is_refused_where_it_leads_to_a_refused_vendor(url: str, refused: bool) -> None:
    """Hosts count on label boundaries; the page's own host never."""
    assert page().refuses_url("script", url) is refused
    assert page(decided(*OPTIONAL)).refuses_url("script", url) is False


def test_the_pages_own_host_is_never_refused() -> None:
    """Not even where the catalog knows it: a vendor may use its own product."""
    own = page(url=PageURL("https", "www.tracker.example", "/"))
    assert own.refuses_url("script", "https://www.tracker.example/t.js") is False
    assert own.refuses_url("script", "/t.js") is False
    assert own.refuses_url("script", "https://t.tracker.example/t.js") is True
    assert [finding.subject for finding in own.findings] == ["t.tracker.example/t.js"]


@pytest.mark.parametrize(
    ("base", "url", "refused"),
    [
        ("https://t.tracker.example/x/", "t.js", True),
        ("//t.tracker.example", "/t.js", True),
        ("sub/", "https://t.tracker.example/", True),
        ("https://t.tracker.example/", "https://www.example.com/t.js", False),
        ("data:,", "t.js", False),
    ],
)
def test_relative_urls_are_resolved_against_the_base(base: str, url: str, refused: bool) -> None:
    """From where it is set."""
    enforcement = page()
    assert enforcement.refuses_url("script", "t.js") is False
    enforcement.set_base(base)
    assert enforcement.refuses_url("script", url) is refused


def test_what_is_found_is_accounted_for() -> None:
    """Known vendors with the reason, unclassified content without; what is the site's own is not in it."""
    enforcement = page(decided(Category.PERFORMANCE))
    enforcement.refuses_url("script", "https://t.tracker.example/t.js?visitor=1")
    enforcement.refuses_url("img", "https://counter.example/c.gif")
    enforcement.refuses_url("iframe", "https://unknown.example/" + "x" * 300)
    enforcement.refuses_url("img", "https://static.example.com/own.png")
    enforcement.refuses_url("script", "https://cdn.example/jquery.js")
    enforcement.refuses_script("trackMe(1)")
    enforcement.refuses_script("console.log('track')")
    enforcement.refuses_cookie("_track_1")
    enforcement.refuses_cookie("session")
    enforcement.note_undecided("script")
    tracker, counter, cdn = (VENDORS[name] for name in ("tracker", "counter", "cdn"))
    assert enforcement.findings == [
        Finding(Action.STRIPPED, "script", "t.tracker.example/t.js", tracker, Reason.REFUSED),
        Finding(Action.ALLOWED, "img", "counter.example/c.gif", counter, Reason.GRANTED),
        Finding(Action.ALLOWED, "iframe", "unknown.example/" + "x" * 184, None, None),
        Finding(Action.ALLOWED, "script", "cdn.example/jquery.js", cdn, Reason.ALWAYS_ON),
        Finding(Action.STRIPPED, "inline script", "the snippet of Tracker", tracker, Reason.REFUSED),
        Finding(Action.STRIPPED, "cookie", "_track_1", tracker, Reason.REFUSED),
        Finding(Action.STRIPPED, "script", "could not be read to its end", None, None),
    ]


def test_an_element_is_held_for_all_who_refuse_it() -> None:
    """The account says so, of that element alone; what is allowed in it needs nobody's consent."""
    enforcement = page(decided(Category.PERFORMANCE))
    enforcement.refuses_url("img", "https://t.tracker.example/1")
    enforcement.begin_element()
    assert enforcement.refused_by() == frozenset()
    enforcement.refuses_url("img", "https://counter.example/c.gif")
    enforcement.refuses_url("img", "https://t.tracker.example/2")
    assert enforcement.refused_by() == {"targeting/tracker"}
    enforcement.note_instead("held")
    assert [(finding.action, finding.subject) for finding in enforcement.findings] == [
        (Action.STRIPPED, "t.tracker.example/1"),
        (Action.ALLOWED, "counter.example/c.gif"),
        (Action.HELD, "t.tracker.example/2"),
    ]
    enforcement.begin_element()
    enforcement.refuses_url("script", "https://t.tracker.example/3")
    enforcement.note_undecided("page within a page")
    assert enforcement.refused_by() == frozenset()


def test_what_is_missing_from_a_page_is_told_where_something_is_held_in_it() -> None:
    """Header fields apart, which come with any answer."""
    enforcement = page()
    enforcement.refuses_cookie("_count")
    enforcement.begin_body()
    enforcement.refuses_url("img", "https://t.tracker.example/1")
    assert enforcement.missing == frozenset()
    enforcement.begin_element()
    enforcement.refuses_url("script", "https://counter.example/2")
    enforcement.note_instead("held")
    assert enforcement.missing == {"targeting/tracker"}


def test_a_host_that_is_split_by_path_is_asked_about_each_time() -> None:
    """That one of its paths is nobody's, or allowed, tells nothing about the next."""
    enforcement = PageEnforcement(SPLIT, REFUSING, PAGE)
    for host in ("split.example", "split.example.com"):
        for path, refused in (
            ("/a", False),
            ("/cdn/a", False),
            ("/pixel", True),
            ("/b", False),
            ("/pixel", True),
        ):
            assert enforcement.refuses_url("img", f"https://{host}{path}") is refused
    assert [finding.subject for finding in enforcement.findings] == [
        *("split.example/a", "split.example/cdn/a", "split.example/pixel", "split.example/pixel"),
        *("split.example.com/cdn/a", "split.example.com/pixel", "split.example.com/pixel"),
    ]


def test_a_host_that_is_allowed_is_found_once_for_each_kind_of_element() -> None:
    """What is refused is found each time: each is another element that was taken out."""
    enforcement = page()
    for _ in range(2):
        for host in ("cdn.example", "tracker.example"):
            enforcement.refuses_url("img", f"https://{host}/")
            enforcement.refuses_url("script", f"https://{host}/")
    assert [(finding.kind, finding.subject) for finding in enforcement.findings] == [
        ("img", "cdn.example/"),
        ("script", "cdn.example/"),
        *[("img", "tracker.example/"), ("script", "tracker.example/")] * 2,
    ]


@pytest.mark.parametrize(
    ("decision", "refused", "reason"),
    [
        (REFUSING, True, Reason.NO_CHOICE),
        (decided(), True, Reason.REFUSED),
        (decided(Category.TARGETING), False, Reason.GRANTED),
        (decided(Category.TARGETING, gpc=True), True, Reason.GPC),
        (decided(vendors={"tracker": True}), False, Reason.GRANTED),
        (decided(Category.TARGETING, vendors={"tracker": False}), True, Reason.REFUSED),
        (decided(vendors={"tracker": True}, gpc=True), True, Reason.GPC),
    ],
)
def test_the_reason_is_the_one_that_decided(decision: Decision, refused: bool, reason: Reason) -> None:
    """The vendor's own where the visitor made an exception, else the category's."""
    enforcement = page(decision)
    assert enforcement.refuses_cookie("_track") is refused
    assert [finding.reason for finding in enforcement.findings] == [reason]


def test_the_account_is_bounded() -> None:
    """A page of a million pixels costs no memory for each."""
    enforcement = page()
    for number in range(MAX_FINDINGS + 5):
        enforcement.refuses_url("img", f"https://t.tracker.example/{number}")
    assert (len(enforcement.findings), enforcement.uncounted) == (MAX_FINDINGS, 5)


def test_a_host_that_nobody_has_explained_is_found_once_for_each_kind_of_element() -> None:
    """With the first of its paths; how often it is named tells nothing more."""
    enforcement = page()
    for url in ("https://unknown.example/a?b", "//Unknown.example./c", "https://other.example/", "/own"):
        for kind in ("img", "script"):
            assert enforcement.refuses_url(kind, url) is False
    assert [(finding.kind, finding.subject) for finding in enforcement.findings] == [
        ("img", "unknown.example/a"),
        ("script", "unknown.example/a"),
        ("img", "other.example/"),
        ("script", "other.example/"),
    ]


@pytest.mark.parametrize(
    ("cookie", "decided"), [("_track", True), ("_count", True), ("_cdn", False), ("session", False)]
)
def test_it_is_known_whether_the_decision_mattered(cookie: str, decided: bool) -> None:
    """Allowed or not: another visitor may get another answer. Strictly necessary things are for everybody."""
    enforcement = page()
    enforcement.refuses_cookie(cookie)
    assert enforcement.decided is decided


@pytest.mark.parametrize(
    ("host", "site"),
    [
        ("www.example.com", "example.com"),
        ("a.b.example.co.uk", "example.co.uk"),
        ("one.github.io", "one.github.io"),
        ("localhost", "localhost"),
        ("[::1]", "[::1]"),
        ("192.0.2.1", "192.0.2.1"),
        ("co.uk", "co.uk"),
        ("", ""),
    ],
)
def test_a_hosts_site_is_its_registrable_domain(host: str, site: str) -> None:
    """The host itself where it has none."""
    assert site_of(host) == site


def test_addresses_that_share_their_last_numbers_are_not_one_site() -> None:
    """Labels of an address are no domain."""
    enforcement = page(url=PageURL("http", "192.0.2.1", "/"))
    enforcement.refuses_url("img", "http://198.51.2.1/x.gif")
    assert [finding.subject for finding in enforcement.findings] == ["198.51.2.1/x.gif"]


def test_what_a_vendor_may_load_from_a_host_is_found_once_for_each_kind_of_element() -> None:
    """Where paths tell whose it is, each of them is one; what is refused is found each time."""
    enforcement = PageEnforcement(SPLIT, REFUSING, PAGE)
    for url in ("/cdn/a.js", "/cdn/b.js", "/pixel", "/pixel?2", "/other", "/another", "/cdn/c.js"):
        for kind in ("script", "img"):
            assert enforcement.refuses_url(kind, f"//split.example{url}") is url.startswith("/pixel")
    found = [(f.action.value, f.kind, f.subject) for f in enforcement.findings if f.kind == "img"]
    assert found == [
        ("allowed", "img", "split.example/cdn/a.js"),
        ("stripped", "img", "split.example/pixel"),
        ("stripped", "img", "split.example/pixel"),
        ("allowed", "img", "split.example/other"),
    ]


# --- What nobody has explained ---

UNCLASSIFIED_PAGE = (
    '<script src="https://unknown.example/a.js"></script><img src="//img.partner.example/x/1.png">'
    '<img src="//img.partner.example/x/2.png"><img src="//img.partner.example/y/1.png">'
    '<img src="//static.example.com/own.png"><img src="//cdn.example/c.png"><link rel=preload href=//unknown.example/b>'
)


def with_unclassified(
    unclassified: str, *, granted: bool = False, screened: bool = True
) -> tuple[str, list[tuple[str, str]], PageEnforcement]:
    """Return what comes out of that page, what was found of unclassified content in it, and who judged."""
    known = partial(covers, [place for place in [source("img.partner.example/x/")] if place])
    regime = Regime.OPT_OUT if granted else Regime.OPT_IN
    judge = PageEnforcement(
        CATALOG,
        decide(replace(POLICY, regime=regime), Signals()),
        PAGE,
        unclassified=UnclassifiedRule(Unclassified(unclassified), known),
    )
    if not screened:
        judge.skip = None
    rewriter = Rewriter(judge, withholding=Withholding(judge, hold=True))
    result = rewriter.write(UNCLASSIFIED_PAGE.encode()) + rewriter.end()
    return result.decode(), [(f.action, f.subject) for f in judge.findings if is_unclassified(f)], judge


@pytest.mark.parametrize("screened", [True, False])
@pytest.mark.parametrize(
    ("unclassified", "granted", "action"),
    [("hold", False, "held"), ("strip", False, "stripped"), ("strip", True, "stripped")],
)
def test_what_nobody_has_explained_is_kept_out_where_the_policy_says_so(
    unclassified: str, granted: bool, action: str, screened: bool
) -> None:
    """But for what the site named, its own hosts and what the catalog knows; the inventory hears of all of it."""
    result, found, judge = with_unclassified(unclassified, granted=granted, screened=screened)
    script = '<script src="https://unknown.example/a.js"></script>'
    picture = '<img src="//img.partner.example/y/1.png">'
    held = '<template data-consent="targeting/unclassified">{}</template>'
    expected = UNCLASSIFIED_PAGE.replace("<link rel=preload href=//unknown.example/b>", "")
    for refused in (script, picture):
        expected = expected.replace(refused, held.format(refused) if action == "held" else "")
    assert result == expected
    assert found == [
        (action, "unknown.example/a.js"),
        ("allowed", "img.partner.example/x/1.png"),
        (action, "img.partner.example/y/1.png"),
        ("stripped", "unknown.example/b"),
    ]
    assert judge.missing == ({"targeting/unclassified"} if action == "held" else set())
    assert seen_in(judge.findings) >= {("script", "unknown.example", ""), ("img", "img.partner.example", "")}


@pytest.mark.parametrize("screened", [True, False])
@pytest.mark.parametrize(("unclassified", "granted"), [("allow", False), ("allow", True), ("hold", True)])
def test_what_nobody_has_explained_stays_where_it_may(
    unclassified: str, granted: bool, screened: bool
) -> None:
    """To the byte, each kind of element from one host found once; only what may be held depends on the visitor."""
    result, found, judge = with_unclassified(unclassified, granted=granted, screened=screened)
    assert result == UNCLASSIFIED_PAGE
    assert found == [
        ("allowed", "unknown.example/a.js"),
        ("allowed", "img.partner.example/x/1.png"),
        ("allowed", "unknown.example/b"),
    ]
    alone = PageEnforcement(
        CATALOG,
        judge._decision,
        PAGE,
        unclassified=UnclassifiedRule(Unclassified(unclassified), lambda *_: False),
    )
    assert not alone.refuses_url("style", "//unknown.example/a.css")
    assert alone.decided is (unclassified == "hold")


def test_nobody_gets_what_nobody_has_explained_not_even_who_allows_everything() -> None:
    """Pages of visitors who allow everything are read, too; where nobody minds, they are as they were."""
    page = b"<!doctype html><body><script src=//unknown.example/a.js></script></body>"
    for unclassified, stays in (("strip", False), ("hold", True)):
        policy = replace(POLICY, regime=Regime.OPT_OUT, unclassified=Unclassified(unclassified))
        answer = exchange.ask(exchange.around(exchange.answering(page), policy=policy))
        assert (b"unknown.example" in answer.body) is stays
