"""What is kept of a user agent: the browser's family and the class of device, two words."""

from __future__ import annotations

import re
from enum import StrEnum

import user_agents

MAX_USER_AGENT_CHARS = 256
"""How much of the ``User-Agent`` field is looked at: the parser's time grows with the length."""


class Device(StrEnum):
    """The class of device that the choice was made on."""

    DESKTOP = "desktop"
    MOBILE = "mobile"
    TABLET = "tablet"
    BOT = "bot"
    """A crawler, or a program that drives a browser or has none."""
    OTHER = "other"


# The parser takes some families from the visitor's own text: of "jane-doe-bot/1.0" it makes "jane-doe-bot".
# Only names known beforehand are kept, so that nothing a visitor can write gets into a receipt.
_BROWSERS = frozenset(
    {
        "Android",
        "Chrome",
        "Chrome Mobile",
        "Chrome Mobile WebView",
        "Chrome Mobile iOS",
        "Chromium",
        "DuckDuckGo",
        "DuckDuckGo Mobile",
        "Edge",
        "Edge Mobile",
        "Facebook",
        "Firefox",
        "Firefox Focus",
        "Firefox Mobile",
        "Firefox iOS",
        "HeadlessChrome",
        "IE",
        "Instagram",
        "Mobile Safari",
        "Mobile Safari UI/WKWebView",
        "Opera",
        "Opera Mini",
        "Opera Mobile",
        "QQ Browser",
        "Safari",
        "Samsung Internet",
        "UC Browser",
        "Vivaldi",
        "Whale",
        "Yandex Browser",
    }
)
# Programs that the parser does not call bots although no person sits in front of them.
_PROGRAMS = frozenset(
    {"Apache-HttpClient", "Go-http-client", "HeadlessChrome", "Python Requests", "Wget", "axios", "curl"}
)
# Crawlers and previews of links that the parser takes for people, some for the browser whose words they use. Whole
# names: apps with a browser of their own name themselves likewise (`[Pinterest/Android]`, `Viber/21`).
_CRAWLERS = re.compile(
    r"\b(?:Amazonbot|Applebot|Bytespider|Cardyb|ChatGPT-User|Claude-User|Embedly|Facebot|FeedFetcher-Google|GTmetrix"
    r"|Google-Read-Aloud|Google-Site-Verification|GoogleOther|Iframely|Mediapartners-Google|MicrosoftPreview"
    r"|Perplexity-User|Site24x7|SkypeUriPreview|Snap URL Preview Service|Twitterbot|W3C_Validator|cohere-ai"
    r"|facebookcatalog|facebookexternalhit|meta-externalagent|meta-externalfetcher|vkShare"
    r"|developers\.google\.com/\+/web/snippet)\b|^(?:Mastodon|Viber)/",
    re.IGNORECASE,
)


def is_crawler(user_agent: str) -> bool:
    """Tell whether a ``User-Agent`` field says that nobody is there: a search engine, the preview of a link, a monitor.

    Not so what somebody uses to work with a site of theirs: a browser under a program's control, or curl.
    """
    seen = user_agent[:MAX_USER_AGENT_CHARS]
    return _CRAWLERS.search(seen) is not None or bool(user_agents.parse(seen).is_bot)


def classify_user_agent(user_agent: str) -> tuple[str, Device]:
    """Return the browser's family and the class of device that a ``User-Agent`` field names."""
    parsed = user_agents.parse(user_agent[:MAX_USER_AGENT_CHARS])
    family = str(parsed.browser.family)
    browser = family if family in _BROWSERS else "Other"
    if is_crawler(user_agent) or family in _PROGRAMS:
        return browser, Device.BOT
    if parsed.is_tablet:
        return browser, Device.TABLET
    if parsed.is_mobile:
        return browser, Device.MOBILE
    if parsed.is_pc:
        return browser, Device.DESKTOP
    return browser, Device.OTHER
