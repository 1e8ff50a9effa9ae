"""One site's rules: as a value, and as a file."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, cast

from consent.catalog import Catalog, Cookie, Vendor, parse_vendors
from consent.categories import OPTIONAL, Category
from consent.errors import ConfigurationError
from consent.toml_file import Place, TomlFile, dotted, undotted

MAX_POLICY_BYTES = 1 << 20
"""A longer policy file is not read: a real one has a few kilobytes."""
_MAX_LISTED = 500  # vendors and own cookies each; nobody would read more
_MAX_PLACES = 100
_MAX_LINE = 200  # characters of a name, purpose or address
_OWN_PREFIX = "this-site-"  # of the vendor ids that stand for the site's own cookies


class Regime(StrEnum):
    """What silence means."""

    OPT_IN = "opt-in"
    """Nothing optional without consent."""
    OPT_OUT = "opt-out"
    """Allowed until refused."""
    NOTICE = "notice"
    """Allowed until objected to; the visitor is only informed."""


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
    language: str = "en"
    """Language tag of the visitor texts (BCP 47)."""
    regime: Regime = Regime.OPT_IN
    jurisdiction: str = ""
    """Whose law the site follows, such as ``EU`` or ``US-CA``; empty: not stated. Kept in receipts."""
    gpc_refuses: frozenset[Category] = frozenset({Category.TARGETING})
    dnt_refuses: frozenset[Category] = frozenset({Category.PERFORMANCE, Category.TARGETING})
    choice_days: int = 180
    """How many days a yes and a no alike are remembered, 1 to 400."""
    refused: Refused = Refused.STRIP
    embeds: Embeds = Embeds.REPLACE
    cache: CacheMode = CacheMode.PER_VISITOR
    csp: CspMode = CspMode.REPORT
    csp_allow: tuple[str, ...] = ()
    """What our Content-Security-Policy allows besides: hosts as its sources write them, ``*.`` and path included."""
    vendors: tuple[Vendor, ...] = ()
    """The vendors that the site declares: listed to visitors."""
    own_cookies: tuple[OwnCookie, ...] = ()
    """The cookies that the site itself sets: listed to visitors."""
    texts: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}), hash=False)
    """Visitor texts that differ from the built-in ones, by key."""
    version: str = field(init=False, compare=False)
    """12 hexadecimal digits naming what matters to a visitor, texts excepted; another one asks again."""

    def __post_init__(self) -> None:
        for name, rule in _RULES.items():
            try:
                value = rule(getattr(self, name))
            except _Wrong as error:
                raise ConfigurationError(str(error), key=name) from None
            object.__setattr__(self, name, value)
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
            id=f"{_OWN_PREFIX}{category}",
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


# --- What each value may be: the same rules for the constructor and for the file ----------------------------


class _Wrong(Exception):
    """A value breaks its rule. ``index`` is the offending item where the value is a list."""

    def __init__(self, message: str, index: int | None = None) -> None:
        self.index = index
        super().__init__(message)


LANGUAGE_TAG = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{1,8}){0,4}")
_JURISDICTION = re.compile(r"[A-Z]{2}(-[A-Z0-9]{1,3})?")
_LOCAL_PATH = re.compile(r"/(?![/\\])[!-~]*")
_WEB_ADDRESS = re.compile(r"https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?([/?#][!-~]*)?")
_PLACE = re.compile(r"((?:https?|wss)://)?(\*\.)?[a-z0-9-]+(\.[a-z0-9-]+)+(:[0-9]{1,5})?(/[!#-+./-:<-~-]*)?")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_COOKIE_NAME = re.compile(r"[!#$%&'+.^_`|~0-9A-Za-z-]{1,100}")
_WILDCARD_NAME = re.compile(r"[!#$%&'+.^_`|~0-9A-Za-z-]{3,99}\*[!#$%&'+.^_`|~0-9A-Za-z-]{0,96}")


def _line(value: object) -> str:
    if not isinstance(value, str):
        raise _Wrong(f"must be a text in quotes, not {_kind(value)}")
    if len(value) > _MAX_LINE:
        raise _Wrong(f"must have at most {_MAX_LINE} characters; this has {len(value)}")
    if _CONTROL.search(value):
        raise _Wrong("must be a single line without control characters")
    return value


def _filled_line(value: object) -> str:
    text = _line(value)
    if not text.strip():
        raise _Wrong("must not be empty")
    return text


def _privacy_url(value: object) -> str:
    url = _line(value)
    if url and not (_LOCAL_PATH.fullmatch(url) or _WEB_ADDRESS.fullmatch(url)):
        raise _Wrong('must be an address that starts with "https://", or a path such as "/privacy"')
    return url


def _language(value: object) -> str:
    tag = _line(value)
    if LANGUAGE_TAG.fullmatch(tag) is None:
        raise _Wrong('must be a language tag such as "en", "de" or "pt-BR"')
    return tag


def _jurisdiction(value: object) -> str:
    code = _line(value)
    if code and _JURISDICTION.fullmatch(code) is None:
        raise _Wrong('must be a code such as "EU", "GB" or "US-CA", or be left out')
    return code


def _regime(value: object) -> Regime:
    name = _line(value)
    try:
        return Regime(name)
    except ValueError:
        raise _Wrong(f"there is no such regime: {_suggestion(name, list(Regime))}") from None


def _one_of(kind: type[StrEnum]) -> Callable[[object], StrEnum]:
    def rule(value: object) -> StrEnum:
        name = _line(value)
        try:
            return kind(name)
        except ValueError:
            raise _Wrong(f"must be one of {_listed(list(kind))}") from None

    return rule


def _places(value: object) -> tuple[str, ...]:
    if not isinstance(value, (list, tuple)):
        raise _Wrong(f"must be a list of hosts, not {_kind(value)}")
    if len(value) > _MAX_PLACES:
        raise _Wrong(f"there are {len(value)} of them; at most {_MAX_PLACES} fit into a header field")
    for index, item in enumerate(value):
        try:
            place = _line(item)
        except _Wrong as error:
            raise _Wrong(str(error), index) from None
        if _PLACE.fullmatch(place) is None:
            raise _Wrong(
                'must be a host such as "img.example.com" or "*.example.com", or one with a path', index
            )
    return tuple(value)


def _category(value: object) -> Category:
    name = _line(value)
    try:
        return Category(name)
    except ValueError:
        raise _Wrong(f"there is no such category: {_suggestion(name, list(Category))}") from None


def _refusable(value: object) -> frozenset[Category]:
    if not isinstance(value, (list, tuple, set, frozenset)):
        raise _Wrong(f"must be a list of categories, not {_kind(value)}")
    found = set()
    for index, item in enumerate(value):
        try:
            category = _category(item)
        except _Wrong as error:
            raise _Wrong(str(error), index) from None
        if category not in OPTIONAL:
            raise _Wrong(f'"{category}" is always on; a signal can refuse {_listed(OPTIONAL)}', index)
        found.add(category)
    return frozenset(found)


def _days(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 400:
        raise _Wrong("must be a whole number of days, 1 to 400 (browsers keep no cookie longer)")
    return value


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise _Wrong(f"must be true or false, without quotes, not {_kind(value)}")
    return value


def _cookie_name(value: object) -> str:
    name = _line(value)
    if _COOKIE_NAME.fullmatch(name) is None and _WILDCARD_NAME.fullmatch(name) is None:
        raise _Wrong('must be a cookie name; one "*" may stand after at least three other characters')
    return name


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise _Wrong(f"must be a text in quotes, not {_kind(value)}")
    return value  # which keys there are, and what fits them, is for consent.texts to say


def _texts(value: object) -> Mapping[str, str]:
    if not isinstance(value, Mapping):
        raise _Wrong(f"must be a table of texts, not {_kind(value)}")
    return MappingProxyType({_text(key): _text(text) for key, text in value.items()})


def _vendors(value: object) -> tuple[Vendor, ...]:
    vendors = tuple(cast("Iterable[Vendor]", value))
    _all_different("vendor", [vendor.id for vendor in vendors])
    return vendors


def _own_cookies(value: object) -> tuple[OwnCookie, ...]:
    cookies = tuple(cast("Iterable[OwnCookie]", value))
    _all_different("cookie", [cookie.name for cookie in cookies])
    return cookies


def _all_different(what: str, names: list[str]) -> None:
    if len(names) > _MAX_LISTED:
        raise _Wrong(f"there are {len(names)} of them; at most {_MAX_LISTED} can be listed")
    seen = set()
    for index, name in enumerate(names):
        if name in seen:
            raise _Wrong(f'the {what} "{name}" is listed twice: remove one', index)
        seen.add(name)


_RULES: Mapping[str, Callable[[object], object]] = {
    "site": _filled_line,
    "controller": _line,
    "contact": _line,
    "privacy_url": _privacy_url,
    "language": _language,
    "regime": _regime,
    "jurisdiction": _jurisdiction,
    "gpc_refuses": _refusable,
    "dnt_refuses": _refusable,
    "choice_days": _days,
    "refused": _one_of(Refused),
    "embeds": _one_of(Embeds),
    "cache": _one_of(CacheMode),
    "csp": _one_of(CspMode),
    "csp_allow": _places,
    "vendors": _vendors,
    "own_cookies": _own_cookies,
    "texts": _texts,
}


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def _suggestion(asked: str, known: Collection[str]) -> str:
    close = difflib.get_close_matches(asked.lower()[:100], known, n=1)
    if close:
        return f'did you mean "{close[0]}"?'
    return f"use one of {_listed(known)}" if len(known) <= 12 else "check the spelling"


def _kind(value: object) -> str:
    """Name a value's type in TOML's words."""
    for kind, name in (
        (bool, "true or false"),
        (str, "a text"),
        (int, "a whole number"),
        (float, "a number"),
        (list, "a list"),
        (Mapping, "a table"),
        (type(None), "nothing"),
    ):
        if isinstance(value, kind):
            return name
    return "a date or time"


# --- The file -----------------------------------------------------------------------------------------------

# Where each field of a policy stands in the file.
_FIELDS: Mapping[Place, str] = {
    ("regime",): "regime",
    ("jurisdiction",): "jurisdiction",
    ("site", "name"): "site",
    ("site", "controller"): "controller",
    ("site", "contact"): "contact",
    ("site", "privacy_url"): "privacy_url",
    ("site", "language"): "language",
    ("signals", "gpc_refuses"): "gpc_refuses",
    ("signals", "dnt_refuses"): "dnt_refuses",
    ("choice", "days"): "choice_days",
    ("enforcement", "refused"): "refused",
    ("enforcement", "embeds"): "embeds",
    ("enforcement", "cache"): "cache",
    ("enforcement", "csp"): "csp",
    ("enforcement", "csp_allow"): "csp_allow",
}
_COOKIE_RULES: Mapping[str, Callable[[object], object]] = {
    "name": _cookie_name,
    "purpose": _filled_line,
    "lifetime": _filled_line,
    "category": _category,
    "http_only": _flag,
}
_COOKIE_NEEDS = {
    "name": "a name",
    "purpose": "a purpose, a sentence that visitors understand",
    "lifetime": 'a lifetime, such as "session" or "30 days"',
    "category": f"a category, one of {_listed(Category)}",
}
_SECTIONS = ("site", "signals", "choice", "enforcement")
_TOP = ("regime", "jurisdiction", "declare", *_SECTIONS, "cookie", "vendor", "texts")
_PLACES: tuple[Place, ...] = (("declare",), *_FIELDS)


def load_policy(path: str | Path, catalog: Catalog) -> tuple[Policy, Catalog]:
    """Read a policy file, and return the policy with the catalog that it is to be used with.

    The file is TOML, in UTF-8, at most 1 MiB. Everything in it is optional::

        regime = "opt-in"                 # or "opt-out", "notice": what silence means
        jurisdiction = "EU"               # kept in receipts
        declare = ["google-analytics"]    # catalog ids of the vendors the site uses: listed to visitors

        [site]
        name = "Example Shop"
        controller = "Example Ltd"
        contact = "privacy@example.com"
        privacy_url = "/privacy"
        language = "en"

        [signals]                         # which categories a browser signal refuses
        gpc_refuses = ["targeting"]
        dnt_refuses = ["performance", "targeting"]

        [choice]
        days = 180                        # how long a yes and a no alike are remembered, 1 to 400

        [enforcement]
        refused = "strip"                 # or "hold": refused elements stay, inert, and come back without a reload
        embeds = "replace"                # or "strip": nothing offers a refused video or map in its place
        cache = "per-visitor"             # or "variant", "uniform": who may be given a page made for somebody else
        csp = "report"                    # or "enforce", "off": a Content-Security-Policy beside the site's own
        csp_allow = ["img.example.com"]   # what it allows besides

        [[cookie]]                        # one for each cookie that the site itself sets
        name = "basket"
        purpose = "Remembers what you put into the basket."
        lifetime = "session"
        category = "strictly-necessary"
        http_only = true                  # optional, false if left out

        [[vendor]]                        # as in the catalog: a vendor of the site's own, or another version
        id = "example-stats"              # of a known one. It counts as declared.
        …

        [texts]                           # visitor texts that differ from the built-in ones
        accept = "Yes, all of them"

    The catalog returned is ``catalog`` with the file's vendors, and with the site's own cookies as vendors of
    their categories (`own_cookie_vendors`), so that they are refused and expired like all others.

    Raises:
        ConfigurationError: the file cannot be read, or something in it is wrong; with the file, the 1-based
            line, the dotted key, and what to do. The app must not start with it.
    """
    document = _PolicyFile(path, max_bytes=MAX_POLICY_BYTES)
    document.check_keys((), _TOP)
    for section in _SECTIONS:
        document.check_keys((section,), [str(where[1]) for where in _FIELDS if where[0] == section])
    values: dict[str, Any] = {}
    for where, name in _FIELDS.items():
        found = document.find(where)
        if found is not None:
            values[name] = document.checked(where, found, _RULES[name])
    texts = document.table(("texts",))
    for key, found in texts.items():
        document.checked(("texts", key), found, _text)

    additions = _read_vendors(document)
    try:
        catalog = catalog.with_vendors(additions)
    except ConfigurationError as error:
        raise document.located(error) from None
    policy = Policy(
        **values,
        vendors=_declared(document, catalog, additions),
        own_cookies=_read_cookies(document, catalog),
        texts=texts,
    )
    return policy, catalog.with_vendors(own_cookie_vendors(policy))


def locate_in_policy(error: ConfigurationError, path: str | Path) -> ConfigurationError:
    """Return ``error``, raised by a later check of a policy's values, with the file and line of its key.

    For example the error of an override that `consent.texts.load_texts` refuses. Where the key is not in the
    file, or the file cannot be read any more, ``error`` is returned as it is.
    """
    try:
        return _PolicyFile(path, max_bytes=MAX_POLICY_BYTES).located(error)
    except ConfigurationError:
        return error


def _read_vendors(document: _PolicyFile) -> tuple[Vendor, ...]:
    tables = document.tables("vendor")
    try:
        vendors = parse_vendors({"vendor": tables}, document.source)
    except ConfigurationError as error:
        raise document.located(error) from None
    for index, vendor in enumerate(vendors):
        if vendor.id.startswith(_OWN_PREFIX):
            raise document.error(
                ("vendor", index, "id"),
                f'ids that start with "{_OWN_PREFIX}" stand for [[cookie]] tables: choose another id',
            )
    return vendors


def _declared(document: _PolicyFile, catalog: Catalog, additions: tuple[Vendor, ...]) -> tuple[Vendor, ...]:
    """Resolve the ids of ``declare``; the file's own vendors follow, whether or not they are in it."""
    ids = document.find(("declare",))
    if ids is None:
        ids = []
    if not isinstance(ids, list):
        raise document.error(("declare",), f"must be a list of vendor ids, not {_kind(ids)}")
    for index, vendor_id in enumerate(ids):
        document.checked(("declare", index), vendor_id, _line)
        if vendor_id not in catalog.vendors:
            # People write the product's name as well as its id.
            by_name = {vendor.name.lower(): vendor.id for vendor in catalog.vendors.values()}
            known = by_name.get(vendor_id.lower())
            hint = f'did you mean "{known}"?' if known else _suggestion(vendor_id, catalog.vendors)
            raise document.error(
                ("declare", index),
                f'the catalog has no vendor "{vendor_id}": {hint} (or describe it in a [[vendor]] table)',
            )
    document.checked(("declare",), ids, lambda names: _all_different("vendor", names))
    own = [vendor.id for vendor in additions if vendor.id not in ids]
    document.checked(("vendor",), [*ids, *own], lambda names: _all_different("vendor", names))
    return tuple(catalog.vendors[vendor_id] for vendor_id in [*ids, *own])


def _read_cookies(document: _PolicyFile, catalog: Catalog) -> tuple[OwnCookie, ...]:
    cookies: list[OwnCookie] = []
    names: set[str] = set()
    tables = document.tables("cookie")
    if len(tables) > _MAX_LISTED:
        raise document.error(("cookie", _MAX_LISTED), f"at most {_MAX_LISTED} cookies can be listed")
    for index, table in enumerate(tables):
        where: Place = ("cookie", index)
        document.check_keys(where, list(_COOKIE_RULES))
        for key in ("name", "purpose", "lifetime", "category"):
            if key not in table:
                raise document.error((*where, key), f"missing: every [[cookie]] has {_COOKIE_NEEDS[key]}")
        values = {key: document.checked((*where, key), table[key], _COOKIE_RULES[key]) for key in table}
        cookie = OwnCookie(**values)
        if cookie.name in names:
            raise document.error((*where, "name"), f'the cookie "{cookie.name}" is there twice: remove one')
        names.add(cookie.name)
        known = catalog.match_cookie(cookie.name)
        if known is not None and known.rule == cookie.name:
            raise document.error(
                (*where, "name"),
                f'the catalog has "{cookie.name}" as a cookie of {known.vendor.name}: declare '
                f'"{known.vendor.id}" instead, or rename the cookie',
            )
        cookies.append(cookie)
    return tuple(cookies)


class _PolicyFile(TomlFile):
    """A policy file, with the reading and the rules of its keys."""

    def located(self, error: ConfigurationError) -> ConfigurationError:
        """Return an error that knows only a key, of a `Policy` or `Catalog` too, with file and line."""
        if error.key is None or error.line is not None:
            return error
        places = [place for place, name in _FIELDS.items() if name == error.key]
        where = places[0] if places else undotted(error.key)
        # The catalog names a vendor by position while it reads the tables, and by id when it compares them.
        if len(where) > 1 and where[0] == "vendor" and isinstance(where[1], str):
            ids = [table.get("id") for table in self.tables("vendor")]
            if where[1] in ids:
                where = ("vendor", ids.index(where[1]), *where[2:])
        if self.line(where) is None:
            return error
        return self.error(where, error.message)

    def check_keys(self, where: Place, known: Collection[str]) -> None:
        for key in self.table(where):
            if key in known:
                continue
            elsewhere = [place for place in _PLACES if place[-1] == key]
            if elsewhere:
                section = dotted(elsewhere[0][:-1])
                there = f"below [{section}]" if section else "to the top, above the first [section]"
                raise self.error((*where, key), f"this key does not belong here: move it {there}")
            raise self.error((*where, key), f"unknown key: {_suggestion(key, known)}")

    def checked(self, where: Place, value: object, rule: Callable[[Any], Any]) -> Any:
        try:
            return rule(value)
        except _Wrong as error:
            raise self.error(where if error.index is None else (*where, error.index), str(error)) from None
