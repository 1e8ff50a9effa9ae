"""What each value of a policy may be: the same rules for the constructor and for the file."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from datetime import date
from types import MappingProxyType
from typing import cast

from publicsuffixlist import PublicSuffixList

from consent.catalog import CatalogList, Vendor
from consent.catalog.loading import cookie_of_ours
from consent.categories import OPTIONAL, Category
from consent.interface_rules import interfaces
from consent.policy_values import (
    OPT_OUT_LINKS,
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
from consent.value_rules import (
    Wrong,
    a_filled_line,
    a_flag,
    a_line,
    a_text,
    all_different,
    each_of,
    kind_of,
    list_of,
    listed,
    one_of,
    suggestion,
)

OWN_PREFIX = "this-site-"
"""What the vendor ids begin with that stand for the site's own cookies."""
MAX_LISTS = 20
"""Public lists; each takes time at every start."""
MAX_GROUP = 20
"""Sites; each is named to visitors."""
_MAX_PLACES = 100


_MAX_DAYS_KEPT = 36_500
LANGUAGE_TAG = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{1,8}){0,4}")
JURISDICTION = re.compile(r"[A-Z]{2}(-[A-Z0-9]{1,3})?")
_FIELD_NAME = re.compile(r"[A-Za-z0-9-]{1,100}")
_RULED_HOST = re.compile(r"(\*\.)?[a-z0-9-]+(\.[a-z0-9-]+)*")
_LOCAL_PATH = re.compile(r"/(?![/\\])[!-~]*")
_WEB_ADDRESS = re.compile(r"https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?([/?#][!-~]*)?")
_PLACE = re.compile(r"((?:https?|wss)://)?(\*\.)?[a-z0-9-]+(\.[a-z0-9-]+)+(:[0-9]{1,5})?(/[!#-+./-:<-~-]*)?")
_ORIGIN = re.compile(
    r"https://[a-z0-9-]+(\.[a-z0-9-]+)*(:[0-9]{1,5})?|http://(localhost|127\.0\.0\.1)(:[0-9]{1,5})?"
)
_COOKIE_NAME = re.compile(r"[!#$%&'+.^_`|~0-9A-Za-z-]{1,100}")
_WILDCARD_NAME = re.compile(r"[!#$%&'+.^_`|~0-9A-Za-z-]{3,99}\*[!#$%&'+.^_`|~0-9A-Za-z-]{0,96}")


def _privacy_url(value: object) -> str:
    url = a_line(value)
    if url and not (_LOCAL_PATH.fullmatch(url) or _WEB_ADDRESS.fullmatch(url)):
        raise Wrong('must be an address that starts with "https://", or a path such as "/privacy"')
    return url


def a_language(value: object) -> str:
    tag = a_line(value)
    if LANGUAGE_TAG.fullmatch(tag) is None:
        raise Wrong('must be a language tag such as "en", "de" or "pt-BR"')
    return tag


def _language(value: object) -> str:
    return "" if value == "" else a_language(value)


def _languages(value: object) -> tuple[str, ...]:
    tags = each_of(value, "language tags", a_language)
    all_different("language", [tag.lower() for tag in tags])
    return tags


def _language_paths(value: object) -> Mapping[str, str]:
    if not isinstance(value, Mapping):
        raise Wrong(f'must be a table such as {{ "/de/" = "de" }}, not {kind_of(value)}')
    if len(value) > _MAX_PLACES:
        raise Wrong(f"there are {len(value)} of them; at most {_MAX_PLACES} can be told apart")
    for path, tag in value.items():
        if not a_line(path).startswith("/") or "?" in path or "#" in path or "//" in path:
            raise Wrong(f'"{path}" must be a path such as "/de/"')
        try:
            a_language(tag)
        except Wrong as error:
            raise Wrong(f'"{path}": {error}') from None
    return MappingProxyType(dict(value))


def _jurisdiction(value: object) -> str:
    code = a_line(value)
    if code and JURISDICTION.fullmatch(code) is None:
        raise Wrong('must be a code such as "EU", "GB" or "US-CA", or be left out')
    return code


def _whereabouts(value: object) -> Whereabouts | None:
    if value is None:
        return None
    if isinstance(value, Whereabouts):
        value = {each.name: getattr(value, each.name) for each in fields(value)}
    if not isinstance(value, Mapping):
        raise Wrong(f"must be a table, not {kind_of(value)}")
    known = [each.name for each in fields(Whereabouts)]
    for key in value:
        if key not in known:
            raise Wrong(f'there is no key "{key}": {suggestion(str(key), known)}')
    found = {key: a_line(value.get(key, "")) for key in known if key != "regimes"}
    if sum(map(bool, (found["country_header"], found["database"], found["everybody"]))) != 1:
        raise Wrong('must have exactly one of "country_header", "database" and "everybody"')
    for key in ("country_header", "region_header"):
        if found[key] and _FIELD_NAME.fullmatch(found[key]) is None:
            raise Wrong(f'"{key}" must be the name of a request field, such as "CF-IPCountry"')
    if found["region_header"] and not found["country_header"]:
        raise Wrong('"region_header" says a part of a country: name the "country_header", too')
    if found["region_header"].lower() == found["country_header"].lower() != "":
        raise Wrong('"region_header" is the same field as "country_header": leave it out')
    _jurisdiction(found["everybody"])
    regimes = value.get("regimes", {})
    if not isinstance(regimes, Mapping):
        raise Wrong(f'"regimes" must be a table such as {{ US = "opt-out" }}, not {kind_of(regimes)}')
    if len(regimes) > _MAX_PLACES:
        raise Wrong(f'there are {len(regimes)} "regimes"; at most {_MAX_PLACES} can be told apart')
    own = {_jurisdiction(a_filled_line(place)): _regime(regime) for place, regime in regimes.items()}
    return Whereabouts(**found, regimes=MappingProxyType(own))


def _regime(value: object) -> Regime:
    name = a_line(value)
    try:
        return Regime(name)
    except ValueError:
        raise Wrong(f"there is no such regime: {suggestion(name, list(Regime))}") from None


def _places(value: object) -> tuple[str, ...]:
    places = each_of(value, "hosts", _place)
    if len(places) > _MAX_PLACES:
        raise Wrong(f"there are {len(places)} of them; at most {_MAX_PLACES} fit into a header field")
    return places


def _place(value: object) -> str:
    place = a_line(value)
    if _PLACE.fullmatch(place) is None:
        raise Wrong('must be a host such as "img.example.com" or "*.example.com", or one with a path')
    return place


def a_category(value: object) -> Category:
    name = a_line(value)
    try:
        return Category(name)
    except ValueError:
        raise Wrong(f"there is no such category: {suggestion(name, list(Category))}") from None


def _refusable(value: object) -> frozenset[Category]:
    if isinstance(value, (set, frozenset)):
        value = tuple(value)
    return frozenset(each_of(value, "categories", _an_optional_category))


def _an_optional_category(value: object) -> Category:
    category = a_category(value)
    if category not in OPTIONAL:
        raise Wrong(f'"{category}" is always on; a signal can refuse {listed(OPTIONAL)}')
    return category


def _days(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 400:
        raise Wrong("must be a whole number of days, 1 to 400 (browsers keep no cookie longer)")
    return value


def _domain(value: object) -> str:
    domain = a_line(value)
    if not domain:
        return ""
    if _RULED_HOST.fullmatch(domain) is None or domain.startswith("*") or domain.rpartition(".")[2].isdigit():
        raise Wrong(
            'must be a domain such as "example.com", in lower case, without a dot before it or a port'
        )
    if PublicSuffixList().privatesuffix(domain) is None:
        raise Wrong(
            f'"{domain}" is nobody\'s own, and browsers keep no cookie for it: name your domain below it'
        )
    return domain


def _days_kept(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MAX_DAYS_KEPT:
        raise Wrong(f"must be a whole number of days, 1 to {_MAX_DAYS_KEPT}, or 0 to keep them")
    return value


def _jurisdictions_kept(value: object) -> Mapping[str, int]:
    if not isinstance(value, Mapping):
        raise Wrong(f'must be a table such as {{ EU = 1825, "US-CA" = 730 }}, not {kind_of(value)}')
    for code, days in value.items():
        if not isinstance(code, str) or JURISDICTION.fullmatch(code) is None:
            raise Wrong(f'"{code}" must be a code such as "EU", "GB" or "US-CA"')
        try:
            _days_kept(days)
        except Wrong as error:
            raise Wrong(f'"{code}": {error}') from None
    return MappingProxyType(dict(value))


def _holidays(value: object) -> tuple[str, ...]:
    days = list_of("days", _wrong_day)(value)
    all_different("day", list(days))
    return days


def _wrong_day(text: str) -> str | None:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        day = None
    return None if day is not None and day.isoformat() == text else "must be a day such as 2026-12-25"


def _group(value: object) -> tuple[str, ...]:
    origins = list_of("origins", _wrong_origin)(value)
    if len(origins) == 1:
        raise Wrong("one site is no group: name the others, or remove it")
    if len(origins) > MAX_GROUP:
        raise Wrong(f"there are {len(origins)} of them; at most {MAX_GROUP} can be named to visitors")
    all_different("site", [origin.partition("://")[2] for origin in origins])
    return tuple(sorted(origins))


def _wrong_origin(origin: str) -> str | None:
    if _ORIGIN.fullmatch(origin):
        return None
    return 'must be an origin such as "https://www.example.com", in lower case and with nothing behind it'


def a_cookie_name(value: object) -> str:
    name = a_line(value)
    if _COOKIE_NAME.fullmatch(name) is None and _WILDCARD_NAME.fullmatch(name) is None:
        raise Wrong('must be a cookie name; one "*" may stand after at least three other characters')
    if ours := cookie_of_ours(name):
        raise Wrong(f"is the name of a cookie that keeps the visitor's answer, {ours}: use another one")
    return name


def _texts(value: object) -> Mapping[str, str | Mapping[str, str]]:
    if not isinstance(value, Mapping):
        raise Wrong(f"must be a table of texts, not {kind_of(value)}")
    return MappingProxyType(
        {
            a_text(key): MappingProxyType({a_text(k): a_text(t) for k, t in text.items()})
            if isinstance(text, Mapping)
            else a_text(text)
            for key, text in value.items()
        }
    )


def _sentences(value: object) -> Mapping[str, Mapping[str, str]]:
    if not isinstance(value, Mapping) or not all(isinstance(words, Mapping) for words in value.values()):
        raise Wrong(
            'must be a table for each language: write [sentences.de], and in it "Sentence." = "Satz."'
        )
    return MappingProxyType(
        {
            a_language(tag): MappingProxyType({a_filled_line(k): a_filled_line(t) for k, t in words.items()})
            for tag, words in value.items()
        }
    )


def _vendors(value: object) -> tuple[Vendor, ...]:
    vendors = tuple(cast("Iterable[Vendor]", value))
    all_different("vendor", [vendor.id for vendor in vendors])
    return vendors


def _lists(value: object) -> tuple[CatalogList, ...]:
    lists = tuple(cast("Iterable[CatalogList]", value))
    if len(lists) > MAX_LISTS:
        raise Wrong(f"there are {len(lists)} of them; at most {MAX_LISTS} can be used")
    sources: dict[str, str] = {}
    for index, each in enumerate(lists):
        for vendor in each.vendors:
            if vendor.id in sources:
                raise Wrong(
                    f'"{each.source}" has a vendor "{vendor.id}", and so has "{sources[vendor.id]}": import one of '
                    "the two again with another --name",
                    index,
                )
            sources[vendor.id] = each.source
    return lists


def _own_cookies(value: object) -> tuple[OwnCookie, ...]:
    cookies = tuple(cast("Iterable[OwnCookie]", value))
    all_different("cookie", [cookie.name for cookie in cookies])
    return cookies


def _opt_out_links(value: object) -> tuple[OptOutLink, ...]:
    links = each_of(value, "names and tables", _opt_out_link)
    all_different("link", [link.url for link in links])
    return links


def _opt_out_link(item: object) -> OptOutLink:
    if isinstance(item, OptOutLink):
        item = {"title": item.title, "url": item.url}
    if not isinstance(item, Mapping):
        name = a_line(item)
        if name not in OPT_OUT_LINKS:
            raise Wrong(
                f'"{name}" is none of {listed(OPT_OUT_LINKS)}; another one is {{ title = "…", url = "https://…" }}'
            )
        return OPT_OUT_LINKS[name]
    if item.keys() != {"title", "url"}:
        raise Wrong('must have a title and a url: { title = "…", url = "https://…" }')
    url = a_filled_line(item["url"])
    if _WEB_ADDRESS.fullmatch(url) is None:
        raise Wrong('the url must be an address that starts with "https://"')
    return OptOutLink(a_filled_line(item["title"]), url)


def _wrong_ruled_host(host: str) -> str | None:
    if _RULED_HOST.fullmatch(host):
        return None
    return 'must be a host such as "shop.example.com" or "*.example.com", in lower case, without a port'


def _wrong_ruled_path(path: str) -> str | None:
    if path == "/":
        return "is the whole site: leave it out"
    if not path.startswith("/") or "?" in path or "#" in path or "//" in path:
        return 'must be a path such as "/members/"'
    if "%" in path:
        return "is compared with what addresses mean: write the characters themselves, without %"
    return None


ruled_hosts = list_of("hosts", _wrong_ruled_host)
ruled_paths = list_of("paths", _wrong_ruled_path)


RULES: Mapping[str, Callable[[object], object]] = {
    "site": a_filled_line,
    "controller": a_line,
    "contact": a_line,
    "privacy_url": _privacy_url,
    "language": _language,
    "languages": _languages,
    "language_paths": _language_paths,
    "regime": _regime,
    "jurisdiction": _jurisdiction,
    "jurisdictions": _whereabouts,
    "children": a_flag,
    "opt_out_refuses": _refusable,
    "gpc_refuses": _refusable,
    "dnt_refuses": _refusable,
    "choice_days": _days,
    "choice_domain": _domain,
    "group": _group,
    "layout": one_of(Layout),
    "retention_days": _days_kept,
    "retention_jurisdictions": _jurisdictions_kept,
    "refused": one_of(Refused),
    "embeds": one_of(Embeds),
    "unclassified": one_of(Unclassified),
    "cache": one_of(CacheMode),
    "csp": one_of(CspMode),
    "csp_allow": _places,
    "interfaces": interfaces,
    "opt_out_links": _opt_out_links,
    "declare_seen": a_flag,
    "classified": a_line,
    "holidays": _holidays,
    "vendors": _vendors,
    "lists": _lists,
    "own_cookies": _own_cookies,
    "texts": _texts,
    "sentences": _sentences,
}
