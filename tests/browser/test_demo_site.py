"""The main job, end to end: who a real Chromium contacts, and what it stores, in every state of consent.

Hosts are written out here rather than taken from the catalog: the tests must not believe what they test.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pytest

from consent.categories import Category
from consent.receipts import CollectionMethod, Outcome
from tests.browser.conftest import OWN_NAME, PAGES, Demo, OpenBrowser, Visitor

Hosts = frozenset[str]

BENIGN: Hosts = frozenset({"cdn.fernwell.example", "cdn.jsdelivr.net"})
"""Whom a page may contact without asking: the site's own files, and a package CDN."""

EVERYWHERE: dict[str, Hosts] = {
    "performance": frozenset(
        {
            "www.googletagmanager.com",  # gtag/js?id=G-
            "www.google-analytics.com",
            "static.hotjar.com",
            "script.hotjar.com",
            "ws.hotjar.com",
            "www.clarity.ms",
            "y.clarity.ms",
            "c.clarity.ms",
        }
    ),
    "functional": frozenset(),
    "targeting": frozenset(
        {
            "www.googletagmanager.com",  # gtm.js
            "s.pinimg.com",  # which Tag Manager's container loads
            "ct.pinterest.com",
            "connect.facebook.net",
            "www.facebook.com",
            "snap.licdn.com",
            "px.ads.linkedin.com",
            "static.ads-twitter.com",
            "analytics.twitter.com",
            "t.co",
            "analytics.tiktok.com",
            "bat.bing.com",
            "js.hs-scripts.com",
            "js.hs-analytics.net",
            "js.hs-banner.com",
            "track.hubspot.com",
        }
    ),
}
"""Whom every page contacts with consent to a category."""

ADDED: dict[str, dict[str, Hosts]] = {
    "/": {"targeting": frozenset({"googleads.g.doubleclick.net"})},
    "/products/taproot": {
        "targeting": frozenset({"googleads.g.doubleclick.net", "0012345.fls.doubleclick.net"})
    },
    "/journal/frost-night": {
        "performance": frozenset({"sb.scorecardresearch.com"}),
        "functional": frozenset({"www.youtube.com", "i.ytimg.com", "player.vimeo.com", "i.vimeocdn.com"}),
    },
    "/contact": {
        "functional": frozenset(
            {"www.google.com", "maps.googleapis.com", "widget.freshworks.com", "wchat.freshchat.com"}
        ),
        "targeting": frozenset({"fw-cdn.com", "cdn.freshmarketer.com", "events.freshmarketer.com"}),
    },
    "/contact/thanks": {
        "targeting": frozenset({"googleads.g.doubleclick.net", "0012345.fls.doubleclick.net"})
    },
    "/sign-in": {},
    "/members": {"performance": frozenset({"open.tallowmail.example"})},
    "/privacy": {},
}
"""Whom a page contacts besides."""

BENIGN_WITHOUT_SCRIPTS: Hosts = frozenset({"cdn.fernwell.example"})

EVERYWHERE_WITHOUT_SCRIPTS: Hosts = frozenset(
    {
        "www.googletagmanager.com",  # ns.html
        "www.facebook.com",
        "px.ads.linkedin.com",
        "analytics.twitter.com",
        "t.co",
        "bat.bing.com",
    }
)
"""Whom every page contacts with consent to everything and scripts off: the pixels in ``noscript``."""

ADDED_WITHOUT_SCRIPTS: dict[str, Hosts] = {
    "/": frozenset({"googleads.g.doubleclick.net"}),
    "/products/taproot": frozenset({"googleads.g.doubleclick.net", "0012345.fls.doubleclick.net"}),
    "/journal/frost-night": frozenset(
        {
            "sb.scorecardresearch.com",
            "www.youtube.com",
            "i.ytimg.com",
            "player.vimeo.com",
            "i.vimeocdn.com",
        }
    ),
    "/contact": frozenset({"www.google.com"}),
    "/contact/thanks": frozenset(
        {"googleads.g.doubleclick.net", "0012345.fls.doubleclick.net", "www.googleadservices.com"}
    ),
    "/sign-in": frozenset(),
    "/members": frozenset({"open.tallowmail.example"}),
    "/privacy": frozenset(),
}

HINTED: Hosts = frozenset({"static.hotjar.com", "connect.facebook.net"})
"""Whom pages hint at for their scripts: whether Chromium follows hints without scripts is its own affair."""

NECESSARY_COOKIES = {"fernwell_session"}
CHOICE_COOKIE = {"consent"}
PERFORMANCE_COOKIES = {
    "FPID",  # HttpOnly, set by the site's own server for Google Analytics
    "_ga",
    "_ga_0FERNWELL0",
    "_hjSessionUser_0012345",
    "_hjSession_0012345",
    "_clck",
    "_clsk",
}
FUNCTIONAL_COOKIES = {"fernwell_recent"}  # HttpOnly
TARGETING_COOKIES = {
    "_fbc",  # set by the site's own server for Meta
    "_fbp",
    "_gcl_au",
    "_fw_crm_v",
    "_pin_unauth",
    "_ttp",
    "_tt_enable_cookie",
    "_twpid",
    "_uetsid",
    "_uetvid",
    "__hstc",
    "__hssc",
    "__hssrc",
    "hubspotutk",
    "li_fat_id",
}
OPTIONAL_COOKIES = PERFORMANCE_COOKIES | FUNCTIONAL_COOKIES | TARGETING_COOKIES

PERFORMANCE_FOREIGN = {("clarity.ms", "CLID"), ("scorecardresearch.com", "UID")}
FUNCTIONAL_FOREIGN = {("youtube.com", "VISITOR_INFO1_LIVE"), ("vimeo.com", "vuid")}
TARGETING_FOREIGN = {
    ("bing.com", "MUID"),
    ("doubleclick.net", "IDE"),
    ("facebook.com", "fr"),
    ("linkedin.com", "bcookie"),
    ("pinterest.com", "_pinterest_ct_ua"),
    ("tiktok.com", "_ttp"),
    ("twitter.com", "guest_id"),
}
"""Cookies on other companies' domains, which no server of ours can delete."""

EVERYTHING = ("performance", "functional", "targeting")
YES_TO_EVERYTHING = {
    Category.PERFORMANCE: True,
    Category.FUNCTIONAL: True,
    Category.TARGETING: True,
}
NO_TO_EVERYTHING = dict.fromkeys(YES_TO_EVERYTHING, False)

SOME_PAGES = ("/products/taproot", "/journal/frost-night", "/contact")
"""Together these have something of every category."""

GPC = {"Sec-GPC": "1"}


def expected(path: str, categories: Iterable[str]) -> Hosts:
    """Whom a page contacts with consent to these categories."""
    hosts = BENIGN
    for category in categories:
        hosts |= EVERYWHERE[category] | ADDED[path].get(category, frozenset())
    return hosts


def expected_without_scripts(path: str) -> Hosts:
    """Whom a page contacts with consent to everything and scripts off."""
    return BENIGN_WITHOUT_SCRIPTS | EVERYWHERE_WITHOUT_SCRIPTS | ADDED_WITHOUT_SCRIPTS[path]


def assert_contacts_of_every_page(
    visitor: Visitor, wanted: Mapping[str, Hosts], *, apart_from: Hosts = frozenset()
) -> None:
    """Open every page, each with an empty record: it makes the browser contact these hosts and no others."""
    visitor.standin.forget()
    contacts = {}
    for path in visitor.visit_everything():
        visitor.await_contacts(wanted[path])
        contacts[path] = visitor.contacted() - apart_from
        visitor.standin.forget()
    assert contacts == wanted


def assert_contacts(
    visitor: Visitor, wanted: Mapping[str, Hosts], *, apart_from: Hosts = frozenset()
) -> None:
    """Open the pages that ``wanted`` names, and no others, in its order."""
    contacts = {}
    for path, hosts in wanted.items():
        visitor.standin.forget()
        visitor.go(path)
        visitor.await_contacts(hosts)
        contacts[path] = visitor.contacted() - apart_from
    assert contacts == wanted


def stored_keys(visitor: Visitor) -> set[str]:
    """The keys in the page's local and session storage."""
    keys = visitor.page.evaluate("[...Object.keys(localStorage), ...Object.keys(sessionStorage)]")
    return set(keys)


def choose(visitor: Visitor, *categories: str) -> None:
    """Switch exactly these on in the preferences, and save; all of it by what a visitor reads."""
    asked = visitor.page.get_by_role("button", name="Choose", exact=True)
    (asked if asked.count() else visitor.page.get_by_role("button", name="Cookie choices")).click()
    preferences = visitor.page.get_by_role("dialog", name="Your cookie choices")
    for category in EVERYTHING:
        preferences.get_by_role("checkbox", name=category.capitalize()).set_checked(category in categories)
    visitor.click(preferences.get_by_role("button", name="Save choices"))
    visitor.settle()


def withdraw(visitor: Visitor) -> None:
    """Take everything back, as visitors do: by the small control that is on every page."""
    visitor.page.get_by_role("button", name="Cookie choices").click()
    preferences = visitor.page.get_by_role("dialog", name="Your cookie choices")
    visitor.click(preferences.get_by_role("button", name="Withdraw all"))
    visitor.settle()


def carry_over(visitor: Visitor, other: Visitor) -> None:
    """Give ``other`` the cookies of ``visitor``: the same person, after changing a setting of the browser."""
    other.context.add_cookies(
        [
            {"name": cookie["name"], "value": cookie["value"], "url": other.address}
            for cookie in visitor.context.cookies(visitor.address)
        ]
    )


# The positive control: what the tags do when nobody stops them.


def test_without_the_middleware_every_page_contacts_every_tracker(
    bare_demo: Demo, open_browser: OpenBrowser
) -> None:
    """The tags, the stand-in and these tests' own lists work: all hosts are contacted, all cookies set."""
    visitor = open_browser(bare_demo)
    assert_contacts_of_every_page(visitor, {path: expected(path, EVERYTHING) for path in PAGES})
    assert visitor.own_cookies() == NECESSARY_COOKIES | OPTIONAL_COOKIES
    assert visitor.foreign_cookies() == PERFORMANCE_FOREIGN | FUNCTIONAL_FOREIGN | TARGETING_FOREIGN
    assert visitor.page_errors == []


def test_without_the_middleware_and_scripts_every_pixel_in_noscript_is_contacted(
    bare_demo: Demo, open_browser: OpenBrowser
) -> None:
    """With JavaScript off the pixels and frames in ``noscript`` come to life."""
    visitor = open_browser(bare_demo, javascript=False)
    assert_contacts_of_every_page(
        visitor, {path: expected_without_scripts(path) for path in PAGES}, apart_from=HINTED
    )


# The states of consent, each over every page.


def test_before_a_choice_no_tracker_is_contacted(demo: Demo, open_browser: OpenBrowser) -> None:
    """Nobody has said yes: no contact, not even a connection; no cookie, no storage, no receipt."""
    visitor = open_browser(demo)
    assert_contacts_of_every_page(visitor, dict.fromkeys(PAGES, BENIGN))
    assert visitor.own_cookies() == NECESSARY_COOKIES
    assert visitor.foreign_cookies() == set()
    assert stored_keys(visitor) == set()
    assert visitor.page_errors == []
    assert demo.receipts() == []


def test_only_a_button_of_the_banner_answers_it(demo: Demo, open_browser: OpenBrowser) -> None:
    """They are alike in size and colour, at both widths; to scroll, look, close and go on is no yes, and is free."""
    visitor = open_browser(demo)
    visitor.go("/")
    page = visitor.page
    looks = """button => {
        const {backgroundColor, color, fontSize, fontWeight, borderTopWidth, opacity} = getComputedStyle(button)
        const {width, height} = button.getBoundingClientRect()
        const size = [Math.round(width), Math.round(height)]
        return [backgroundColor, color, fontSize, fontWeight, borderTopWidth, opacity, ...size]
    }"""
    for width in (390, 1280):
        page.set_viewport_size({"width": width, "height": 800})
        buttons = page.locator(".consent-banner").get_by_role("button")
        assert buttons.all_inner_texts() == ["Accept all", "Refuse all", "Choose"]
        seen = [button.evaluate(looks) for button in buttons.all()]
        assert seen == [seen[0]] * 3

    page.mouse.wheel(0, 20_000)
    page.locator("footer a").first.hover()
    page.keyboard.press("Escape")
    for close in ("Escape", "Close", "beside"):
        visitor.press("Choose", settled=False)
        page.get_by_label("Performance").check()
        if close == "Escape":
            page.keyboard.press("Escape")
        elif close == "Close":
            page.get_by_role("button", name="Close").click()
        else:
            page.mouse.click(5, 5)
        assert not page.locator("#consent-preferences").is_visible()
    page.get_by_role("link", name="Journal").first.click()
    page.wait_for_url("**/journal/**")
    visitor.settle()

    assert page.locator(".consent-banner").is_visible()
    assert visitor.contacted() <= frozenset(BENIGN)
    assert visitor.own_cookies() == set()
    assert demo.receipts() == []


def test_after_refusing_no_tracker_is_contacted(demo: Demo, open_browser: OpenBrowser) -> None:
    """A refusal is one press, is recorded, and is not asked about again."""
    visitor = open_browser(demo)
    visitor.go("/")
    visitor.press("Refuse all")
    assert visitor.page.url == demo.address + "/"
    assert visitor.page.get_by_role("button", name="Accept all").count() == 0

    (receipt,) = demo.receipts()
    assert (receipt.outcome, receipt.categories) == (Outcome.REFUSED, NO_TO_EVERYTHING)
    assert receipt.collection_method is CollectionMethod.BANNER_FORM

    assert_contacts_of_every_page(visitor, dict.fromkeys(PAGES, BENIGN))
    assert visitor.own_cookies() == NECESSARY_COOKIES | CHOICE_COOKIE
    assert visitor.foreign_cookies() == set()
    assert stored_keys(visitor) == set()
    assert visitor.page_errors == []


def test_after_accepting_every_tracker_is_contacted(demo: Demo, open_browser: OpenBrowser) -> None:
    """A yes to everything gives the very page that the site wrote: the same contacts, the same cookies."""
    visitor = open_browser(demo)
    visitor.go("/")
    visitor.press("Accept all")

    (receipt,) = demo.receipts()
    assert (receipt.outcome, receipt.categories) == (Outcome.GIVEN, YES_TO_EVERYTHING)

    assert_contacts_of_every_page(visitor, {path: expected(path, EVERYTHING) for path in PAGES})
    assert visitor.own_cookies() == NECESSARY_COOKIES | OPTIONAL_COOKIES | CHOICE_COOKIE
    assert visitor.foreign_cookies() == PERFORMANCE_FOREIGN | FUNCTIONAL_FOREIGN | TARGETING_FOREIGN
    assert visitor.page_errors == []
    assert len(demo.receipts()) == 1


def test_with_performance_only_nothing_else_is_contacted(demo: Demo, open_browser: OpenBrowser) -> None:
    """Google Analytics works beside a Tag Manager and Google Ads that are kept out of the same page."""
    visitor = open_browser(demo)
    visitor.go("/")
    choose(visitor, "performance")

    (receipt,) = demo.receipts()
    assert (receipt.outcome, receipt.categories) == (
        Outcome.GIVEN,
        NO_TO_EVERYTHING | {Category.PERFORMANCE: True},
    )
    assert receipt.collection_method is CollectionMethod.PREFERENCES_FORM

    assert_contacts_of_every_page(visitor, {path: expected(path, ("performance",)) for path in PAGES})
    assert visitor.own_cookies() == NECESSARY_COOKIES | PERFORMANCE_COOKIES | CHOICE_COOKIE
    assert visitor.foreign_cookies() == PERFORMANCE_FOREIGN
    assert visitor.page_errors == []


@pytest.mark.parametrize("granted", ["functional", "targeting"])
def test_with_one_other_category_nothing_else_is_contacted(
    demo: Demo, open_browser: OpenBrowser, granted: str
) -> None:
    """Each category stands alone, on the pages that have something of all three."""
    visitor = open_browser(demo)
    visitor.go("/privacy")
    choose(visitor, granted)
    assert_contacts(visitor, {path: expected(path, (granted,)) for path in SOME_PAGES})
    assert visitor.page_errors == []
    (receipt,) = demo.receipts()
    assert receipt.categories == NO_TO_EVERYTHING | {Category(granted): True}


def test_after_withdrawing_no_tracker_is_contacted_and_their_cookies_are_gone(
    demo: Demo, open_browser: OpenBrowser
) -> None:
    """One step takes a yes back; cookies that scripts cannot even see are deleted with the rest."""
    visitor = open_browser(demo)
    visitor.go("/")
    visitor.press("Accept all")
    for path in ("/products/taproot", "/journal/frost-night", "/contact"):
        visitor.go(path)
    assert visitor.own_cookies() == NECESSARY_COOKIES | OPTIONAL_COOKIES | CHOICE_COOKIE

    withdraw(visitor)
    assert visitor.page.url == demo.address + "/contact"
    assert visitor.own_cookies() == NECESSARY_COOKIES | CHOICE_COOKIE
    given, withdrawn = demo.receipts()
    assert (given.outcome, given.categories) == (Outcome.GIVEN, YES_TO_EVERYTHING)
    assert (withdrawn.outcome, withdrawn.categories) == (Outcome.WITHDRAWN, NO_TO_EVERYTHING)
    assert withdrawn.previous == given.receipt_id
    assert withdrawn.subject == given.subject

    assert_contacts_of_every_page(visitor, dict.fromkeys(PAGES, BENIGN))
    assert visitor.own_cookies() == NECESSARY_COOKIES | CHOICE_COOKIE


def test_withdrawing_deletes_cookies_of_the_whole_domain(demo: Demo, open_browser: OpenBrowser) -> None:
    """Vendors set theirs for the registrable domain: those go, too, and the site's own stay."""
    visitor = open_browser(demo)
    visitor.address = f"http://{OWN_NAME}"
    visitor.go("/contact")
    visitor.press("Accept all")
    visitor.go("/journal/frost-night")
    domains = {cookie["name"]: cookie["domain"] for cookie in visitor.context.cookies(visitor.address)}
    assert domains["_ga"] == ".fernwell.example"
    assert domains["_fbp"] == ".fernwell.example"
    assert domains["FPID"] == OWN_NAME

    withdraw(visitor)
    assert visitor.page.url == visitor.address + "/journal/frost-night"
    assert visitor.own_cookies() == NECESSARY_COOKIES | CHOICE_COOKIE


# Without scripts.


def test_without_scripts_no_pixel_in_noscript_is_contacted(demo: Demo, open_browser: OpenBrowser) -> None:
    """With JavaScript off a page without consent contacts nobody, and the banner still asks."""
    visitor = open_browser(demo, javascript=False)
    assert_contacts_of_every_page(visitor, dict.fromkeys(PAGES, BENIGN_WITHOUT_SCRIPTS))
    assert visitor.own_cookies() == NECESSARY_COOKIES
    assert visitor.foreign_cookies() == set()
    assert visitor.page.get_by_role("button", name="Accept all").is_visible()


def test_without_scripts_a_visitor_can_accept_and_withdraw(demo: Demo, open_browser: OpenBrowser) -> None:
    """The whole choice is made of forms: given, in effect, and taken back."""
    visitor = open_browser(demo, javascript=False)
    visitor.go("/contact/thanks")
    visitor.press("Accept all")
    path = "/contact/thanks"
    assert_contacts(visitor, {path: expected_without_scripts(path)}, apart_from=HINTED)
    withdraw(visitor)
    assert_contacts(visitor, {path: BENIGN_WITHOUT_SCRIPTS})
    assert [receipt.outcome for receipt in demo.receipts()] == [Outcome.GIVEN, Outcome.WITHDRAWN]


# What the browser says by itself.


def took_back(demo: Demo) -> bool:
    """Whether a yes was recorded, and then a signal that took some of it back."""
    methods = [receipt.collection_method for receipt in demo.receipts()]
    return methods[1:] == [CollectionMethod.SIGNAL]


def test_do_not_track_overrules_an_earlier_yes(demo: Demo, open_browser: OpenBrowser) -> None:
    """Switched on later in the browser's own settings, it refuses performance and targeting."""
    before = open_browser(demo)
    before.go("/privacy")
    before.press("Accept all")

    visitor = open_browser(demo, dnt=True)
    carry_over(before, visitor)
    assert_contacts(visitor, {path: expected(path, ("functional",)) for path in SOME_PAGES})
    assert visitor.page_errors == []
    assert took_back(demo)


def test_under_do_not_track_a_yes_that_knows_of_it_counts(demo: Demo, open_browser: OpenBrowser) -> None:
    """The banner says that the browser sends Do Not Track; who accepts then, has decided."""
    visitor = open_browser(demo, dnt=True)
    path = "/journal/frost-night"
    assert_contacts(visitor, {path: BENIGN})
    assert visitor.page.get_by_text("Your browser sends Do Not Track").first.is_visible()
    visitor.press("Accept all")
    assert_contacts(visitor, {path: expected(path, EVERYTHING)})
    (receipt,) = demo.receipts()
    assert receipt.categories == YES_TO_EVERYTHING
    assert receipt.signals.dnt is True


def test_global_privacy_control_overrules_an_earlier_yes(demo: Demo, open_browser: OpenBrowser) -> None:
    """It refuses targeting, over a consent given without knowing of it; the rest stays as chosen."""
    before = open_browser(demo)
    before.go("/privacy")
    before.press("Accept all")

    visitor = open_browser(demo, headers=GPC)
    carry_over(before, visitor)
    granted = ("performance", "functional")
    assert_contacts(visitor, {path: expected(path, granted) for path in SOME_PAGES})
    assert visitor.page_errors == []
    assert took_back(demo)


def test_under_global_privacy_control_accepting_leaves_targeting_off(
    demo: Demo, open_browser: OpenBrowser
) -> None:
    """The button says so, and the receipt too; over every page nothing of targeting is contacted."""
    visitor = open_browser(demo, headers=GPC)
    assert_contacts(visitor, {"/": BENIGN})
    visitor.press("Accept all except targeting")
    (receipt,) = demo.receipts()
    assert receipt.categories == YES_TO_EVERYTHING | {Category.TARGETING: False}
    assert receipt.signals.gpc is True

    granted = ("performance", "functional")
    assert_contacts_of_every_page(visitor, {path: expected(path, granted) for path in PAGES})
    assert visitor.own_cookies() == (
        NECESSARY_COOKIES | PERFORMANCE_COOKIES | FUNCTIONAL_COOKIES | CHOICE_COOKIE
    )
    assert visitor.foreign_cookies() == PERFORMANCE_FOREIGN | FUNCTIONAL_FOREIGN


# What must not be lost.

TEXT_OF_THE_PAGE = """() => {
  const page = document.body.cloneNode(true);
  // The middleware's own parts; scripts are not text; the journal's list asks for consent in its template.
  const others = ".consent-root, script, noscript, .most-read, .recent";
  page.querySelectorAll(others).forEach((part) => part.remove());
  return page.textContent.replace(/\\s+/g, " ").trim();
}"""


def test_a_page_without_consent_says_everything_it_would_say_with_it(
    demo: Demo, bare_demo: Demo, open_browser: OpenBrowser
) -> None:
    """Every page has the same words, its own files all load, and the benign third parties are asked alike."""
    read: list[dict[str, str]] = []
    benign: list[set[tuple[str, str]]] = []
    for served in (bare_demo, demo):
        visitor = open_browser(served)
        read.append({path: visitor.page.evaluate(TEXT_OF_THE_PAGE) for path in visitor.visit_everything()})
        benign.append(
            {
                (contact.host, contact.target)
                for contact in visitor.standin.contacts()
                if contact.kind == "request" and contact.host in BENIGN
            }
        )
        assert {path: status for path, status in visitor.statuses.items() if status >= 400} == {}
        assert {"/static/site.css", "/static/site.js", "/static/mark.svg"} <= set(visitor.statuses)
    assert read[1] == read[0]
    assert len(read[0]["/journal/frost-night"]) > 2000
    assert benign[1] == benign[0]
    assert benign[1] == {
        ("cdn.fernwell.example", "/css/print-7.css"),
        ("cdn.fernwell.example", "/img/seal.png"),
        ("cdn.jsdelivr.net", "/npm/@github/relative-time-element@4/dist/bundle.js"),
    }


def test_a_preference_that_the_sites_own_script_keeps_works_after_refusing(
    demo: Demo, open_browser: OpenBrowser
) -> None:
    """The site's own local storage is no business of a middleware."""
    visitor = open_browser(demo)
    visitor.go("/products/taproot")
    visitor.press("Refuse all")
    visitor.page.get_by_role("radio", name="°F").check()
    visitor.go("/products/taproot")
    assert visitor.page.get_by_role("row", name="Warmth").inner_text() == "Warmth\t-4 to 140 °F"
    assert stored_keys(visitor) == {"fernwell.units"}


def test_a_template_shows_what_the_visitor_allows(demo: Demo, open_browser: OpenBrowser) -> None:
    """The journal asks ``request.state.consent`` whether it may recommend what is read most."""
    visitor = open_browser(demo)
    visitor.go("/journal/frost-night")
    heading = visitor.page.get_by_role("complementary").get_by_role("heading")
    assert heading.inner_text() == "Chosen by Tom"
    choose(visitor, "performance")
    assert heading.inner_text() == "Most read this week"


def test_every_page_explains_what_it_withheld(demo: Demo, open_browser: OpenBrowser) -> None:
    """The panel names the vendors of the page and the reason."""
    visitor = open_browser(demo)
    named = {
        "/": "Google Ads",
        "/products/taproot": "Google Marketing Platform (DoubleClick, Floodlight)",
        "/journal/frost-night": "YouTube",
        "/contact": "Freshchat",
        "/contact/thanks": "Google Ads",
        "/sign-in": "Meta Pixel",
        "/members": "Tallow Mail",
        "/privacy": "Hotjar",
    }
    for path in visitor.visit_everything(settled=False):
        panel = visitor.page.get_by_role("region", name="What this response did about trackers")
        assert panel.get_by_text(named[path], exact=True).first.is_visible()
        assert panel.get_by_text("nobody has asked you yet").first.is_visible()
