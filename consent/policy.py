"""One site's rules, as a value."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from types import MappingProxyType

from consent import policy_rules as rules
from consent.catalog import Cookie, Vendor
from consent.categories import Category
from consent.errors import ConfigurationError
from consent.policy_rules import (
    LANGUAGE_TAG,
    CacheMode,
    CspMode,
    Embeds,
    OptOutLink,
    OwnCookie,
    Refused,
    Regime,
    Unclassified,
)

__all__ = [
    "LANGUAGE_TAG",
    "CacheMode",
    "CspMode",
    "Embeds",
    "OptOutLink",
    "OwnCookie",
    "Policy",
    "Refused",
    "Regime",
    "Unclassified",
    "own_cookie_vendors",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """One site's rules. Immutable; everything derived from it is computed when it is made.

    Raises:
        ConfigurationError: a value is not one of those allowed; the message says which are.
    """

    site: str = "this site"
    """The name shown to visitors and kept in receipts."""
    controller: str = ""
    """Who is responsible for the processing: the company's full name."""
    contact: str = ""
    """How to reach the controller, as shown to visitors."""
    privacy_url: str = ""
    """The privacy notice: an ``https:`` or ``http:`` address, or a path on this site."""
    language: str = ""
    """Language tag (BCP 47) of the texts for everybody; empty: each visitor's own, of ``languages``."""
    languages: tuple[str, ...] = ()
    """Tags of the languages offered, the default first; empty: English, and all others that there are texts in."""
    language_paths: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}), hash=False)
    """Tags by the path under which pages are in that language, such as ``/de/``. The longest path counts."""
    regime: Regime = Regime.OPT_IN
    jurisdiction: str = ""
    """Whose law the site follows, such as ``EU`` or ``US-CA``; empty: not stated. Kept in receipts."""
    gpc_refuses: frozenset[Category] = frozenset({Category.TARGETING})
    dnt_refuses: frozenset[Category] = frozenset({Category.PERFORMANCE, Category.TARGETING})
    choice_days: int = 180
    """How many days a yes and a no alike are remembered, 1 to 400."""
    refused: Refused = Refused.STRIP
    embeds: Embeds = Embeds.REPLACE
    unclassified: Unclassified = Unclassified.ALLOW
    cache: CacheMode = CacheMode.PER_VISITOR
    csp: CspMode = CspMode.REPORT
    csp_allow: tuple[str, ...] = ()
    """What our Content-Security-Policy allows besides, and what counts as classified: hosts as its sources write them,
    ``*.`` and path included."""
    vendors: tuple[Vendor, ...] = ()
    """The vendors that the site declares: listed to visitors."""
    own_cookies: tuple[OwnCookie, ...] = ()
    """The cookies that the site itself sets: listed to visitors."""
    declare_seen: bool = False
    """Whether the cookie declaration lists vendors, too, that were seen in pages and that the site does not declare."""
    opt_out_links: tuple[OptOutLink, ...] = ()
    """Pages of the advertising industry to which visitors are referred; each may be given by its name."""
    texts: Mapping[str, str | Mapping[str, str]] = field(
        default_factory=lambda: MappingProxyType({}), hash=False
    )
    """Visitor texts that differ from the built-in ones: by key for the default language, for others by tag and key."""
    version: str = field(init=False, compare=False)
    """12 hexadecimal digits naming what matters to a visitor, texts excepted; another one asks again."""

    def __post_init__(self) -> None:
        for name, rule in rules.RULES.items():
            try:
                value = rule(getattr(self, name))
            except rules.Wrong as error:
                raise ConfigurationError(str(error), key=name) from None
            object.__setattr__(self, name, value)
        if self.language and self.languages:
            raise ConfigurationError(
                'everybody is shown "language": remove it, or remove "languages"', key="languages"
            )
        object.__setattr__(self, "version", _version(self))


def own_cookie_vendors(policy: Policy) -> tuple[Vendor, ...]:
    """Return the site itself as vendors, one per category of its own cookies, for `Catalog.with_vendors`.

    So that a site's own cookies are known, and refused and expired like everybody's. `load_policy` has added
    them already.
    """
    sorted_in: dict[Category, list[Cookie]] = {}
    for cookie in policy.own_cookies:
        sorted_in.setdefault(cookie.category, []).append(cookie)
    return tuple(
        Vendor(
            id=f"{rules.OWN_PREFIX}{category}",
            name=policy.site,
            company=policy.controller or policy.site,
            country="",
            privacy_url=policy.privacy_url,
            category=category,
            about="Set by this site itself.",
            cookies=tuple(cookies),
        )
        for category, cookies in sorted_in.items()
    )


def _version(policy: Policy) -> str:
    """Name what a visitor consents to: who, which vendors, what is stored and how long, under which rules."""
    matter = {
        "format": 1,
        "regime": policy.regime,
        "controller": policy.controller,
        "gpc": sorted(policy.gpc_refuses),
        "dnt": sorted(policy.dnt_refuses),
        "vendors": sorted(
            [
                vendor.id,
                vendor.company,
                vendor.category,
                sorted([cookie.name, cookie.lifetime] for cookie in vendor.cookies),
                sorted([storage.area, storage.key] for storage in vendor.storage),
            ]
            for vendor in policy.vendors
        ),
        "cookies": sorted([cookie.name, cookie.lifetime, cookie.category] for cookie in policy.own_cookies),
    }
    canonical = json.dumps(matter, sort_keys=True, separators=(",", ":"))
    return sha256(canonical.encode()).hexdigest()[:12]
