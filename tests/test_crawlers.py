"""Search engines, previews of links and other programs: they get what everybody gets, and agree to nothing."""

from __future__ import annotations

from collections.abc import Sequence
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
LESS_KNOWN = (
    """
Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_5) WEBKIT Version/13.1.1 Safari/605.1.15 (Applebot/0.1)
Mozilla/5.0 (iPhone; CPU iPhone OS 17_4 like Mac OS X) WEBKIT Mobile/15E148 Safari/604.1 (Applebot/0.1)
Mozilla/5.0 (Windows NT 6.1; WOW64) SkypeUriPreview Preview/0.5 skype-url-preview@microsoft.com
Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 (compatible; MicrosoftPreview/2.0) Chrome/119.0.0.0 Safari/537.36
Mozilla/5.0 (iPhone; CPU iPhone OS 7_0 like Mac OS X) WEBKIT Version/7.0 Mobile/11A465 Safari/9537.53 BingPreview/1.0b
Mozilla/5.0 (Macintosh) WEBKIT Version/9.0.1 Safari/601.2.4 facebookexternalhit/1.1 Facebot Twitterbot/1.0
Mozilla/5.0 (X11; Linux x86_64) WEBKIT Chrome/113.0.0.0 Safari/537.36 Snap URL Preview Service; bot; snapchat
Mozilla/5.0 (X11) WEBKIT Chrome/56.0.2924.87 Safari/537.36 Google (+https://developers.google.com/+/web/snippet/)
Mozilla/5.0 (X11; Linux x86_64) WEBKIT Chrome/128.0.0.0 Safari/537.36 (compatible; Google-Read-Aloud)
Mozilla/5.0 (X11; Linux x86_64) WEBKIT Chrome/100.0.4896.75 Safari/537.36 GTmetrix
Mozilla/5.0 (Linux; Android 5.0) WEBKIT Mobile Safari/537.36 (compatible; Bytespider; spider-feedback@bytedance.com)
Mozilla/5.0 (Macintosh; Intel Mac OS X 10_10_1) WEBKIT Version/8.0.2 Safari/600.2.5 (Amazonbot/0.1)
Mozilla/5.0 WEBKIT; compatible; ChatGPT-User/1.0; +https://openai.com/bot
Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; Perplexity-User/1.0)
Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; Claude-User/1.0)
Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; ClaudeBot/1.0)
Mozilla/5.0 (compatible; YandexBot/3.0; +http://yandex.com/bots)
Mozilla/5.0 (compatible; Baiduspider/2.0; +http://www.baidu.com/search/spider.html)
Mozilla/5.0 (compatible; Yahoo! Slurp; http://help.yahoo.com/help/us/ysearch/slurp)
Mozilla/5.0 (compatible; PetalBot;+https://webmaster.petalsearch.com/site/petalbot)
Mozilla/5.0 (compatible; AhrefsBot/7.0; +http://ahrefs.com/robot/)
Mozilla/5.0 (compatible; Discordbot/2.0; +https://discordapp.com)
Mozilla/5.0 (compatible; Pinterestbot/1.0; +http://www.pinterest.com/bot.html)
Mozilla/5.0 (compatible; redditbot/1.0; +http://www.reddit.com/feedback)
Mozilla/5.0 (compatible; Bluesky Cardyb/1.1; +mailto:support@bsky.app)
Mozilla/5.0 (compatible; vkShare; +http://vk.com/dev/Share)
Mozilla/5.0 (compatible; UptimeRobot/2.0; http://www.uptimerobot.com/)
TelegramBot (like TwitterBot)
Twitterbot/1.0
DuckDuckBot/1.1; (+http://duckduckgo.com/duckduckbot.html)
CCBot/2.0 (https://commoncrawl.org/faq/)
Mastodon/4.2.1 (http.rb/5.1.1; +https://social.example/)
Viber/13.0.0.0
Embedly/0.2 (+http://embed.ly)
Iframely/1.3.1 (+https://iframely.com/docs/about)
meta-externalagent/1.1
meta-externalfetcher/1.1
facebookcatalog/1.0
AdsBot-Google (+http://www.google.com/adsbot.html)
Mediapartners-Google
FeedFetcher-Google; (+http://www.google.com/feedfetcher.html)
GoogleOther
Google-Site-Verification/1.0
W3C_Validator/1.3
Site24x7
cohere-ai
""".replace("WEBKIT", "AppleWebKit/605.1.15 (KHTML, like Gecko)")
    .strip()
    .splitlines()
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
    # Apps with a browser of their own, whose makers have crawlers, too.
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148 "
    "[FBAN/FBIOS;FBAV/430.0.0.0;FBDV/iPhone14,5]",
    "Mozilla/5.0 (Linux; Android 13) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 Chrome/119.0.0.0 "
    "Mobile Safari/537.36 [Pinterest/Android]",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 "
    "Safari/537.36 Viber/21",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Teams/1.6.00.4472 "
    "Chrome/102.0.0.0 Electron/19.1.8 Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 15_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148 "
    "Snapchat/11.0 (like Safari/8612)",
    "",
)
GOOGLEBOT = {"user-agent": CRAWLERS[0]}
TRACKING = b'<p>Page</p><script src="https://t.tracker.example/t.js"></script></body>'


@pytest.mark.parametrize(
    ("agents", "crawls", "is_bot"),
    [
        (CRAWLERS, True, True),
        (LESS_KNOWN, True, True),
        (TOOLS, False, True),
        (PEOPLE, False, False),
    ],
)
def test_who_crawls_is_told_from_what_somebody_uses(
    agents: Sequence[str], crawls: bool, is_bot: bool
) -> None:
    """A site's own tests drive a browser without a window; their receipts say that no person sat in front of it."""
    assert [agent for agent in agents if is_crawler(agent) is not crawls] == []
    assert [agent for agent in agents if (classify_user_agent(agent)[1] is Device.BOT) is not is_bot] == []


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
