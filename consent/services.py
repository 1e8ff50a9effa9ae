"""What a site uses, by category, as visitors read it: vendors, cookies, and what else is kept in the browser."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from markupsafe import Markup, escape

from consent.catalog import Cookie, StorageKey, Vendor
from consent.categories import OPTIONAL, Category
from consent.choice import GROUP_COOKIE_SECONDS, MAX_COOKIE_DAYS, group_cookie
from consent.google_tag import LET_THROUGH
from consent.policy import CacheMode, Policy
from consent.policy_rules import OWN_PREFIX
from consent.sentences import Wording
from consent.texts import Texts

_STORAGE = {"local": "localStorage", "session": "sessionStorage", "indexeddb": "IndexedDB"}
"""What browsers call each area of their storage, in every language."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """One cookie, or one key in the browser's storage."""

    name: str
    purpose: Markup
    """Marked as what it is where it is not in the page's language; a vendor's ``about`` likewise."""
    kept: str
    """How long, as a whole: ``Kept: 2 years``; empty where nobody says."""
    party: str
    """Whose cookie it is, in the visitor's language; empty for what is no cookie."""
    storage: str = ""
    """The browser's own name of the storage that it is in; empty for cookies."""
    http_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One vendor."""

    id: str
    name: str
    """With the public list that names it."""
    company: str
    """With its country; either may be unknown of what a public list names."""
    about: Markup
    kept: tuple[Kept, ...]
    privacy_url: str
    """Empty where a public list names none."""
    opt_out_url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CategoryServices:
    """One category, and all that is used in it."""

    id: Category
    title: str
    about: str
    own_cookies: tuple[Kept, ...]
    vendors: tuple[Service, ...]
    """Those that the site declares."""
    seen: tuple[Service, ...] = ()
    """Those that it does not, and that were seen in its pages."""

    @property
    def optional(self) -> bool:
        """Whether visitors choose."""
        return self.id in OPTIONAL

    @property
    def count(self) -> int:
        """How many services are declared, the site itself one of them."""
        return len(self.vendors) + bool(self.own_cookies)


def services(
    policy: Policy,
    texts: Texts,
    wording: Wording,
    choice_cookies: Mapping[str, bool],
    seen: Iterable[Vendor] = (),
) -> tuple[CategoryServices, ...]:
    """Return every category with what the site uses in it.

    Args:
        policy: The site's rules.
        texts: The visitor's language.
        wording: How what is said of vendors and cookies reads in it.
        choice_cookies: The names of the cookies that keep a choice, and whether each is ``HttpOnly``.
        seen: Vendors that were seen in the site's pages; those that the policy declares are passed over.
    """
    declared = {vendor.id for vendor in policy.vendors}
    undeclared = sorted(
        # What the site itself sets is listed as its own.
        (v for v in seen if v.id not in declared and not v.id.startswith(OWN_PREFIX)),
        key=lambda vendor: vendor.name.lower(),
    )
    found = []
    for category in Category:
        key = category.value.replace("-", "_")
        own = [
            _cookie(cookie, texts, wording) for cookie in policy.own_cookies if cookie.category is category
        ]
        if category is Category.STRICTLY_NECESSARY:
            own[:0] = _keeping_the_choice(policy, texts, choice_cookies)
        found.append(
            CategoryServices(
                id=category,
                title=texts[key],
                about=texts[f"{key}_about"],
                own_cookies=tuple(own),
                vendors=tuple(
                    _service(v, texts, wording, runs=LET_THROUGH.get(v.id) in policy.let_through)
                    for v in policy.vendors
                    if v.category is category
                ),
                seen=tuple(_service(v, texts, wording) for v in undeclared if v.category is category),
            )
        )
    return tuple(found)


def _keeping_the_choice(policy: Policy, texts: Texts, cookies: Mapping[str, bool]) -> list[Kept]:
    def kept(http_only: bool) -> str:
        # The readable one dies with what counts, but where nobody else knows of a refusal.
        lives_on = http_only or policy.cache is CacheMode.UNIFORM
        days = MAX_COOKIE_DAYS if lives_on else policy.choice_days
        return texts.fill("kept", lifetime=texts.fill("choice_cookie_lifetime", days=days))

    keeping = [
        Kept(
            name=name,
            purpose=escape(texts["choice_cookie_purpose"]),
            kept=kept(http_only),
            party=texts["first_party"],
            http_only=http_only,
        )
        for name, http_only in cookies.items()
    ]
    sites = texts.listing([origin.partition("://")[2] for origin in policy.group])
    handing_over = [
        Kept(
            name=name,
            purpose=escape(texts.fill("counts_on", sites=sites)),
            kept=texts.fill("kept", lifetime=texts.lifetime(f"{GROUP_COOKIE_SECONDS // 60} minutes")),
            party=texts["first_party"],
            http_only=True,
        )
        for name in sorted({*map(group_cookie, policy.group)})
    ]
    return keeping + handing_over


def _service(vendor: Vendor, texts: Texts, wording: Wording, *, runs: bool = False) -> Service:
    """Return what is said of a vendor; ``runs``: also where it is refused."""
    company = vendor.company
    if vendor.country:
        company = texts.fill("company_country", company=company, country=texts.country(vendor.country))
    say = wording.listed if vendor.listed_by else wording
    about = escape(texts.fill("listed_by", list=vendor.listed_by)) if vendor.listed_by else say(vendor.about)
    if runs:
        about = Markup("{} {}").format(about, texts["let_through"])
    return Service(
        id=vendor.id,
        name=vendor.name if vendor.listed_by in ("", vendor.name) else f"{vendor.name} ({vendor.listed_by})",
        company=company,
        about=about,
        kept=(
            *(_cookie(cookie, texts, say) for cookie in vendor.cookies),
            *(_storage_key(item, texts, say) for item in vendor.storage),
        ),
        privacy_url=vendor.privacy_url,
        opt_out_url=vendor.opt_out_url,
    )


def _cookie(cookie: Cookie, texts: Texts, say: Callable[[str], Markup]) -> Kept:
    kept = ""
    if cookie.lifetime == "session":
        kept = texts["kept_session"]
    elif cookie.lifetime:
        kept = texts.fill("kept", lifetime=texts.lifetime(cookie.lifetime))
    return Kept(
        name=cookie.name,
        purpose=say(cookie.purpose),
        kept=kept,
        party=texts[f"{cookie.party}_party"],
        http_only=cookie.http_only,
    )


def _storage_key(item: StorageKey, texts: Texts, say: Callable[[str], Markup]) -> Kept:
    return Kept(
        name=item.key,
        purpose=say(item.purpose),
        kept=texts["kept_session" if item.area == "session" else "kept_storage"],
        party="",
        storage=_STORAGE[item.area],
    )
