"""What a policy's settings can say: its words, each with what it means, and what has more than one part."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Literal

from consent.catalog import Cookie
from consent.categories import Category


class Regime(StrEnum):
    """What silence means."""

    OPT_IN = "opt-in"
    """Nothing optional without consent."""
    OPT_OUT = "opt-out"
    """Allowed until refused."""
    NOTICE = "notice"
    """Allowed until objected to; the visitor is only informed."""


class Layout(StrEnum):
    """How the banner lies over the page, which can be used beside it in each."""

    BAR = "bar"
    """Along the lower edge."""
    CARD = "card"
    """In the lower corner where lines begin."""
    DIALOG = "dialog"
    """In the middle; it takes the focus."""


class Refused(StrEnum):
    """What becomes of an element that is refused."""

    STRIP = "strip"
    """It is taken out; after a yes the page is loaded anew."""
    HOLD = "hold"
    """It stays, inert, and comes back without a reload."""


class Embeds(StrEnum):
    """What becomes of a visible embed, such as a video or a map, that is refused."""

    REPLACE = "replace"
    """A placeholder offers it."""
    STRIP = "strip"
    """The same as of any other element."""


class Unclassified(StrEnum):
    """What becomes of third-party content that no catalog entry explains."""

    ALLOW = "allow"
    """It stays, and the inventory lists it."""
    HOLD = "hold"
    """It waits for consent to targeting, as if that were what it is for."""
    STRIP = "strip"
    """Nobody gets it."""


class CacheMode(StrEnum):
    """Who may be given a page that was made for somebody else."""

    PER_VISITOR = "per-visitor"
    """Nobody."""
    VARIANT = "variant"
    """Visitors with the same answers, by a key that the cache makes of them."""
    UNIFORM = "uniform"
    """Everybody: the page is that of somebody who has not chosen, and the guard does the rest."""


class CspMode(StrEnum):
    """What becomes of our own Content-Security-Policy."""

    OFF = "off"
    """There is none."""
    REPORT = "report"
    """Browsers report what it would stop."""
    ENFORCE = "enforce"
    """Browsers stop it, and report."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnCookie(Cookie):
    """A cookie that the site itself sets, with the category it is sorted into."""

    category: Category
    party: Literal["first", "third"] = "first"
    http_only: bool = False


@dataclass(frozen=True, slots=True)
class OptOutLink:
    """A page of others on which visitors can learn of advertising cookies, and opt out."""

    title: str
    url: str


OPT_OUT_LINKS: Mapping[str, OptOutLink] = {
    "aboutcookies.org": OptOutLink("About Cookies", "https://aboutcookies.org/"),
    "youronlinechoices.com": OptOutLink("Your Online Choices", "https://www.youronlinechoices.com/"),
    "optout.aboutads.info": OptOutLink("Digital Advertising Alliance", "https://optout.aboutads.info/"),
    "optout.networkadvertising.org": OptOutLink(
        "Network Advertising Initiative", "https://optout.networkadvertising.org/"
    ),
    "edaa.eu": OptOutLink("European Interactive Digital Advertising Alliance", "https://edaa.eu/"),
}
"""The advertising industry's own, by the names that a policy gives them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Whereabouts:
    """How it is known where a visitor is: by exactly one of header, database, and word of the site."""

    country_header: str = ""
    """The request field in which a trusted proxy says the country (ISO 3166-1), or country and part (ISO 3166-2)."""
    region_header: str = ""
    """... and the one with the part alone, where that is another one."""
    database: str = ""
    """Path of a MaxMind database, asked for the address that the server says is the visitor's."""
    everybody: str = ""
    """The place that everybody is taken to be in."""
    regimes: Mapping[str, Regime] = field(default_factory=lambda: MappingProxyType({}), hash=False)
    """What silence means in places, by code, where the site wants it otherwise than the rules it comes with."""
