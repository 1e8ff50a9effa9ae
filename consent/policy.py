"""One site's rules, as a value."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from hashlib import sha256
from types import MappingProxyType

from consent import policy_rules as rules
from consent.catalog import Catalog, CatalogList, Cookie, Vendor
from consent.categories import Category
from consent.errors import ConfigurationError
from consent.google_tag import LET_THROUGH, with_google_tag
from consent.interface_rules import GoogleMode, Gpp, GppMspa, Interfaces
from consent.policy_rules import LANGUAGE_TAG
from consent.policy_values import (
    CacheMode,
    CspMode,
    Embeds,
    Layout,
    OptOutLink,
    OwnCookie,
    Refused,
    Regime,
    Unclassified,
    Whereabouts,
)
from consent.value_rules import Wrong, listed

__all__ = [
    "LANGUAGE_TAG",
    "CacheMode",
    "CspMode",
    "Embeds",
    "GoogleMode",
    "Gpp",
    "GppMspa",
    "Interfaces",
    "Layout",
    "OptOutLink",
    "OwnCookie",
    "Policy",
    "Refused",
    "Regime",
    "Rule",
    "Unclassified",
    "Whereabouts",
    "own_cookie_vendors",
]


SECTION_FIELDS = ("refused", "embeds", "unclassified", "csp_allow")
"""What may differ between sections of one host. All else is what a visitor was told, or is the same everywhere."""


_NOTHING: frozenset[Category] = frozenset()
_TARGETING = frozenset({Category.TARGETING})
_NOBODY: frozenset[str] = frozenset()
_GOOGLE_TAGS = frozenset(LET_THROUGH.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """The policy of a part of the site: of other hosts, or of a section, which differs in `SECTION_FIELDS` alone.

    Raises:
        ConfigurationError: it is about everything, or a host or a path is none.
    """

    policy: Policy
    hosts: tuple[str, ...] = ()
    """As in the ``Host`` field, lower case and without a port; ``*.`` stands for all below one. Empty: every host."""
    paths: tuple[str, ...] = ()
    """Each with all below it; empty: every path."""
    catalog: Catalog | None = field(default=None, compare=False)
    """What the policy is to be used with; ``None``: the built-in one, with what the policy adds."""

    def __post_init__(self) -> None:
        for name, rule in (("hosts", rules.ruled_hosts), ("paths", rules.ruled_paths)):
            try:
                object.__setattr__(self, name, rule(getattr(self, name)))
            except Wrong as error:
                raise ConfigurationError(str(error), key=name) from None
        if not (self.hosts or self.paths):
            raise ConfigurationError('it is about everything: give it "hosts" or "paths"', key="rules")

    @property
    def place(self) -> tuple[frozenset[str], frozenset[str]]:
        """What it is about: hosts and paths."""
        return frozenset(self.hosts), frozenset(self.paths)

    def is_on(self, host: str) -> bool:
        """Tell whether it may be about ``host``, lower case and without a port."""
        return not self.hosts or any(
            host.endswith(name[1:]) if name.startswith("*.") else host == name for name in self.hosts
        )


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
    jurisdictions: Whereabouts | None = None
    """Where visitors are, which decides the regime; ``None``: there is one for everybody."""
    children: bool = False
    """Whether the site is made for children: targeting is never possible then, whatever anybody says or said."""
    opt_out_refuses: frozenset[Category] = frozenset({Category.TARGETING})
    """What the control "Do not sell or share" refuses, which there is under ``OPT_OUT``."""
    gpc_refuses: frozenset[Category] = frozenset({Category.TARGETING})
    dnt_refuses: frozenset[Category] = frozenset({Category.PERFORMANCE, Category.TARGETING})
    choice_days: int = 180
    """How many days a yes and a no alike count, 1 to 400. Then visitors are asked again; a no stands meanwhile."""
    choice_domain: str = ""
    """The domain on all hosts of which a choice counts, such as ``example.com``; empty: on the host it was made on."""
    group: tuple[str, ...] = ()
    """Origins of sites that hand a visitor's choice over to each other, this one's among them."""
    layout: Layout = Layout.CARD
    """How the banner lies over the page."""
    retention_days: int = 0
    """How many days receipts are kept before ``consent office expire`` erases them; 0: they are not erased."""
    retention_jurisdictions: Mapping[str, int] = field(
        default_factory=lambda: MappingProxyType({}), hash=False
    )
    """The same for visitors in places, by code, where it is another number."""
    refused: Refused = Refused.STRIP
    embeds: Embeds = Embeds.REPLACE
    unclassified: Unclassified = Unclassified.ALLOW
    cache: CacheMode = CacheMode.PER_VISITOR
    csp: CspMode = CspMode.REPORT
    csp_allow: tuple[str, ...] = ()
    """What our Content-Security-Policy allows besides, and what counts as classified: hosts as its sources write them,
    ``*.`` and path included."""
    interfaces: Interfaces = field(default_factory=Interfaces)
    """Who is told what a visitor allows."""
    vendors: tuple[Vendor, ...] = ()
    """The vendors that the site declares: listed to visitors."""
    own_cookies: tuple[OwnCookie, ...] = ()
    """The cookies that the site itself sets: listed to visitors."""
    lists: tuple[CatalogList, ...] = ()
    """Public lists that the site imported: what they name is known, and not declared by that. The first counts."""
    declare_seen: bool = False
    """Whether the cookie declaration lists vendors, too, that were seen in pages and that the site does not declare."""
    opt_out_links: tuple[OptOutLink, ...] = ()
    """Pages of the advertising industry to which visitors are referred; each may be given by its name."""
    texts: Mapping[str, str | Mapping[str, str]] = field(
        default_factory=lambda: MappingProxyType({}), hash=False
    )
    """Visitor texts that differ from the built-in ones: by key for the default language, for others by tag and key."""
    sentences: Mapping[str, Mapping[str, str]] = field(
        default_factory=lambda: MappingProxyType({}), hash=False
    )
    """How what is said of vendors and cookies reads in another language, or otherwise: by tag and sentence."""
    classified: str = ""
    """The file to which the privacy office adds the vendors that it classifies; empty: it adds none."""
    holidays: tuple[str, ...] = ()
    """Days, such as ``2026-12-25``, that are no business days to the privacy office."""
    rules: tuple[Rule, ...] = ()
    """Other policies for parts of the site; the first that fits counts."""
    version: str = field(init=False, compare=False)
    """12 hexadecimal digits naming what matters to a visitor, texts excepted; another one asks again."""

    def __post_init__(self) -> None:
        for name, rule in rules.RULES.items():
            try:
                value = rule(getattr(self, name))
            except Wrong as error:
                raise ConfigurationError(str(error), key=name) from None
            object.__setattr__(self, name, value)
        if self.language and self.languages:
            raise ConfigurationError(
                'everybody is shown "language": remove it, or remove "languages"', key="languages"
            )
        for days in (self.retention_days, *self.retention_jurisdictions.values()):
            if 0 < days < self.choice_days:
                raise ConfigurationError(
                    f"a choice counts for {self.choice_days} days, and its receipt would be erased after {days}: keep "
                    "receipts for at least as long",
                    key="retention_days" if days == self.retention_days else "retention_jurisdictions",
                )
        if self.children and self.let_through:
            raise ConfigurationError(
                'on a site for children Google\'s tag does not load before anybody agreed: choose google = "basic"',
                key="interfaces",
            )
        if self.jurisdictions is not None:
            self._check_jurisdictions(self.jurisdictions)
        self._check_gpp()
        for position, part in enumerate(self.rules):
            if part.paths and not self.has_section(part.policy):
                raise ConfigurationError(
                    "a visitor has one choice for all of a host: below a path only "
                    f"{listed(SECTION_FIELDS)} can differ",
                    key=f"rules[{position}]",
                )
            if part.place in (earlier.place for earlier in self.rules[:position]):
                raise ConfigurationError(
                    "an earlier rule is about the same place, so that this one never counts",
                    key=f"rules[{position}]",
                )
            if part.policy.rules and (
                self.has_section(part.policy) or any(r.hosts for r in part.policy.rules)
            ):
                raise ConfigurationError(
                    "a rule within a rule: the policy of other hosts can have paths, and that is all",
                    key=f"rules[{position}]",
                )
        object.__setattr__(self, "version", _version(self))

    def _check_jurisdictions(self, jurisdictions: Whereabouts) -> None:
        if self.regime is not Regime.OPT_IN or self.jurisdiction:
            raise ConfigurationError(
                'where the visitor is decides the regime: remove "regime" and "jurisdiction"',
                key="jurisdictions",
            )
        if jurisdictions.database and self.cache is not CacheMode.PER_VISITOR:
            raise ConfigurationError(
                'a cache cannot tell apart who is where by their address: use a "country_header", or the cache mode '
                f'"{CacheMode.PER_VISITOR}"',
                key="jurisdictions",
            )

    def _check_gpp(self) -> None:
        if self.interfaces.gpp is Gpp.OFF:
            return
        where = self.jurisdictions
        everybody = self.jurisdiction if where is None else where.everybody
        if (where is None or everybody) and everybody.partition("-")[0] != "US":
            raise ConfigurationError(
                "its sections are about the United States, where nobody is by this policy: "
                'set "jurisdiction" to "US" or a state such as "US-CA", or say in "jurisdictions" where visitors are',
                key="interfaces.gpp",
            )

    @property
    def never(self) -> frozenset[Category]:
        """The categories that nobody can allow."""
        return _TARGETING if self.children else _NOTHING

    @property
    def let_through(self) -> frozenset[str]:
        """The ids of what may load though it is refused, unless a browser signal refuses it."""
        advanced = self.interfaces.google is GoogleMode.ADVANCED
        return _GOOGLE_TAGS if advanced else _NOBODY

    def has_section(self, other: Policy) -> bool:
        """Tell whether ``other`` differs from this one in `SECTION_FIELDS` alone, rules apart."""
        return all(
            getattr(self, each.name) == getattr(other, each.name)
            for each in fields(self)
            if each.compare and each.name not in (*SECTION_FIELDS, "rules")
        )


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


def with_additions(catalog: Catalog, policy: Policy) -> Catalog:
    """Return ``catalog`` with what a policy adds to it, but for vendors: own cookies, lists, what it lets through."""
    known = catalog.with_vendors(own_cookie_vendors(policy)).with_lists(
        vendor for each in policy.lists for vendor in each.vendors
    )
    return with_google_tag(known) if policy.let_through else known


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
    if policy.children:
        matter["children"] = True
    if policy.let_through:
        matter["google"] = GoogleMode.ADVANCED
    if policy.group:
        matter["group"] = policy.group
    canonical = json.dumps(matter, sort_keys=True, separators=(",", ":"))
    return sha256(canonical.encode()).hexdigest()[:12]
