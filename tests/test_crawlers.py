"""Search engines, previews of links and other programs: they get what everybody gets, and agree to nothing."""

from __future__ import annotations

from urllib.parse import urlencode

import pytest

from consent.browsers import Device, classify_user_agent, is_crawler
from consent.categories import OPTIONAL
from consent.decision import decide
from consent.policy import Policy
from consent.signals import Signals
from tests.exchange import BANNER, answering, around, ask
from tests.exchange import POLICY as EXCHANGED
from tests.test_banner import Reader
from tests.test_visitor import Site

CRAWLERS = (
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
    "Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)",
    "facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)",
    "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)",
    "LinkedInBot/1.0 (compatible; Mozilla/5.0; Apache-HttpClient +http://www.linkedin.com)",
    "WhatsApp/2.23.20.0 A",
    "GPTBot/1.0",
)
TOOLS = (
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/120.0.0.0 Safari/537.36",
    "curl/8.5.0",
    "python-requests/2.31",
)
PEOPLE = (
    "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    # The maker of the phone is called so.
    "Mozilla/5.0 (Linux; Android 9; CUBOT P20) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 "
    "Mobile Safari/537.36",
    "",
)
GOOGLEBOT = {"user-agent": CRAWLERS[0]}
TRACKING = b'<p>Page</p><script src="https://t.tracker.example/t.js"></script></body>'


@pytest.mark.parametrize(
    ("agents", "crawls", "is_bot"), [(CRAWLERS, True, True), (TOOLS, False, True), (PEOPLE, False, False)]
)
def test_who_crawls_is_told_from_what_somebody_uses(
    agents: tuple[str, ...], crawls: bool, is_bot: bool
) -> None:
    """A site's own tests drive a browser without a window; their receipts say that no person sat in front of it."""
    assert {is_crawler(agent) for agent in agents} == {crawls}
    assert {classify_user_agent(agent)[1] is Device.BOT for agent in agents} == {is_bot}


@pytest.mark.parametrize("agent", CRAWLERS)
def test_a_crawler_s_yes_is_none(agent: str) -> None:
    """By a form and by JSON: no receipt, no cookie, and an error that says so; the text is not kept either."""
    site = Site()
    for answer in (
        site.choose("accept", {"user-agent": agent}),
        site.choose("save", {"user-agent": agent}, on=["performance"]),
        site.post_json({"action": "accept"}, {"user-agent": agent}),
    ):
        assert answer.status == 403
        assert answer.cookies == []
        assert "retry-after" not in answer.headers
        assert (site.kept, site.store.receipts, site.store.artefacts) == ("", [], [])
    assert answer.json["error"]["code"] == "not-a-person"


def test_a_crawler_s_no_is_honoured_and_not_recorded() -> None:
    """Whoever is taken for one by mistake can refuse and take back; in the record there are people alone."""
    site = Site()
    assert site.choose("refuse", GOOGLEBOT).status == 303
    assert site.granted == set()
    assert (site.kept.partition("=")[0], site.store.receipts) == ("consent", [])
    site = Site()
    site.choose("accept")
    assert site.granted == {*OPTIONAL}
    outcome = site.post_json({"action": "withdraw"}, GOOGLEBOT).json
    assert (outcome["recorded"], outcome["receipt_id"], outcome["allowed"]) == (False, None, "")
    assert (site.granted, len(site.store.receipts)) == (set(), 1)
    # What an earlier receipt proves is kept, and nothing is added to it.
    site = Site()
    site.choose("save", on=["performance"])
    before = site.choice
    assert site.choose("accept", GOOGLEBOT).status == 403
    assert site.choice == before


def test_what_drives_a_browser_leaves_a_receipt_that_says_so() -> None:
    """So that a site can test its banner, and tell those receipts from people's."""
    for agent in TOOLS:
        site = Site()
        assert site.choose("accept", {"user-agent": agent}).status == 303
        (receipt,) = site.store.receipts
        assert receipt.device is Device.BOT


@pytest.mark.parametrize("extra", [{"sec-purpose": "prefetch"}, {"sec-purpose": "prefetch;prerender"}, {}])
def test_a_preview_is_the_page_of_a_person_who_has_not_chosen(extra: dict[str, str]) -> None:
    """To the byte and to the field, whether it is crawled, prefetched, or only its head is asked for."""
    app = around(answering(TRACKING))
    person = ask(app)
    assert b"tracker.example" not in person.body
    for agent in (*CRAWLERS, *TOOLS):
        fetched = ask(app, headers={"user-agent": agent, **extra})
        assert (fetched.headers, fetched.body) == (person.headers, person.body)
    head = ask(app, method="HEAD", headers={**GOOGLEBOT, **extra})
    assert (head.status, head.body) == (200, b"")
    lengths = {b"content-length"}
    assert [field for field in head.headers if field[0] not in lengths] == [
        field for field in person.headers if field[0] not in lengths
    ]


def test_snippets_have_no_words_of_ours() -> None:
    """In pages of the site each of our parts says so by itself; pages of our own are in no index."""
    silence = decide(EXCHANGED, Signals())
    inserted = BANNER.markup(silence, return_to="/", nonce=None) + BANNER.explanation(silence, ())
    assert [
        part.attributes.get("data-nosnippet", "") for part in Reader(inserted.decode()).all("section")
    ] == [
        None,
        None,
    ]
    for page in (
        BANNER.choices_page(silence, return_to="/"),
        BANNER.declaration_page(),
        BANNER.error_page("error_not_found"),
    ):
        (robots,) = Reader(page.decode().partition("\n")[2]).all("meta", name="robots")
        assert robots.attributes["content"] == "noindex, nofollow"
    site = Site(Policy(language="en"))
    for path in ("choices", "cookies", "nothing"):
        answer = site.get(f"/_consent/{path}", query=urlencode({"return_to": "/x"}))
        assert answer.headers["x-robots-tag"] == "noindex, nofollow"
