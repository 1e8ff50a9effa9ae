"""What is done about the header fields of responses, and how fields are read.

All the rules for responses are here, together: what depends on the visitor, on the changed bytes and on the removed
trackers must agree with each other. RFC 9110 (semantics), 9111 (caching), 9213 (targeted caching), 9530
(digests), 6265bis (cookies), 8288 (links), 8941 (structured fields).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple

from consent.enforcement import PageEnforcement
from consent.field_finder import field_finder

Headers = list[tuple[bytes, bytes]]

XML_TYPES = frozenset((b"application/xhtml+xml", b"image/svg+xml"))
"""Read by the rules of XML; nothing is inserted."""
DATA_TYPES = frozenset((b"text/xml", b"application/xml", b"text/xsl", b"application/xslt+xml"))
"""XML that browsers show as a page where it uses the names of HTML or SVG, and that is data otherwise."""
FRAGMENT_TYPES = frozenset((b"text/vnd.turbo-stream.html",))
"""Never a whole page."""
REWRITTEN_TYPES = frozenset((b"text/html",)) | XML_TYPES | FRAGMENT_TYPES

DECIDING_FIELDS = (b"Cookie", b"Sec-GPC", b"DNT")
"""The request fields that a decision is made from."""
REDIRECT_DECIDING_FIELDS = (*DECIDING_FIELDS, b"Sec-Fetch-Dest")
"""... and the one that says what the answer is for: what a page loads is not led to a refused host."""
FRAGMENT_FIELDS = (b"HX-Request", b"Turbo-Frame", b"X-Up-Version", b"X-Requested-With")
"""Requests by scripts for pieces of pages: htmx, Turbo, unpoly, jQuery."""
PAGE_DECIDING_FIELDS = (*REDIRECT_DECIDING_FIELDS, *FRAGMENT_FIELDS)
"""... and those that say that it is for a piece of a page: nobody is asked in one, nor within a frame."""


def first(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> bytes | None:
    """Return the first value of the field ``name`` (lower case)."""
    return next((value for key, value in headers if key.lower() == name), None)


def lines(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> list[bytes]:
    """Return the value of every line of a request's field ``name`` (lower case)."""
    return [value.strip(b" \t") for key, value in headers if key == name]


def only(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> bytes | None:
    """Return the value of a request's field ``name``; ``None`` if it is absent or given more than once."""
    values = lines(headers, name)
    return values[0] if len(values) == 1 else None


def combined(headers: Headers) -> dict[bytes, bytes]:
    """Return a request's fields by name, the lines of each as one (RFC 9110, section 5.3)."""
    by_name = dict(headers)
    if len(by_name) != len(headers):
        lines: dict[bytes, list[bytes]] = {}
        for key, value in headers:
            lines.setdefault(key, []).append(value)
        by_name = {key: (b"; " if key == b"cookie" else b", ").join(values) for key, values in lines.items()}
    return by_name


def media_type(headers: Headers) -> bytes:
    """Return the response's media type, lower case, without parameters."""
    return media_type_of(RESPONSE.find(headers).get(b"content-type", b""))


_LISTED_TYPE = re.compile(rb'(?:[^",]|"(?:[^"\\]|\\.)*+"?)++', re.DOTALL)
_MEDIA_TYPE = re.compile(rb"[ \t]*+([^ \t;(/]++/[^ \t;(/]++)")
# Nobody knows these, and browsers look at the body as they do where nothing is said.
_TELLS_NOTHING = (b"unknown/unknown", b"application/unknown")


@lru_cache(maxsize=256)
def media_type_of(content_type: bytes) -> bytes:
    """Return the media type in a ``Content-Type``, lower case, without parameters; empty where it says none.

    It is read as browsers do: of several the last that is one (Fetch, "extract a MIME type"), and up to a blank
    where the semicolon was forgotten.
    """
    found = b""
    for part in _LISTED_TYPE.findall(content_type):
        match = _MEDIA_TYPE.match(part)
        if match and match[1] != b"*/*":
            found = match[1].lower()
    return b"" if found in _TELLS_NOTHING else found


def host_name(value: bytes) -> str:
    """Return the name in a ``Host`` field as pages are known by: no port, no trailing dot."""
    host = value.decode("latin-1").strip().lower()
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.partition(":")[0].rstrip(".")


ENTITY_TAG = re.compile(rb'(?:W/)?"([^"]*)"')
_NONCE = re.compile(rb"'nonce-([A-Za-z0-9+/_=-]{1,256})'")


def csp_nonce(headers: Headers) -> str | None:
    """Return a nonce that the page's own Content-Security-Policy allows, for what is inserted."""
    for key, value in headers:
        if key.lower() == b"content-security-policy" and (match := _NONCE.search(value)):
            return match[1].decode("ascii")
    return None


# --- responses: what sets or fetches a tracker ---

_LOADING_RELATIONS = frozenset(
    (
        "preload",
        "modulepreload",
        "prefetch",
        "prerender",
        "preconnect",
        "dns-prefetch",
        "stylesheet",
        "icon",
        "manifest",
        "compression-dictionary",
    )
)
_MEMBER = re.compile(r'(?:[^,"(<]|"(?:[^"\\]|\\.)*+"?|\([^)]*+\)?|<[^>]*+>?)++')
_LINK_VALUE = re.compile(r'(?:[^,"<]|"(?:[^"\\]|\\.)*+"?|<[^>]*+>?)++', re.DOTALL)
_LINK = re.compile(r"<([^>]*)>(.*)", re.DOTALL)
_LINK_PARAMETER = re.compile(r';\s*+([^\s;="]++)(?:\s*+=\s*+("(?:[^"\\]|\\.)*+"?|[^;]*+))?+[^;]*+', re.DOTALL)
_REFRESH = re.compile(r"""[\s;,]*[0-9.]*[\s;,]*(?:url\s*=\s*)?(["']?)(.*)""", re.IGNORECASE | re.DOTALL)
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
_MAX_REPORT_TO = 16 * 1024

_POLICIES = frozenset((b"content-security-policy", b"content-security-policy-report-only"))
_REPORT_URI = re.compile(r"(\A|[;,])\s*+report-uri\s([^;,]*+)", re.IGNORECASE)

GOVERNED = _POLICIES | {
    b"set-cookie",
    b"link",
    b"refresh",
    b"speculation-rules",
    b"report-to",
    b"reporting-endpoints",
    b"nel",
}
"""The fields that :func:`governed` looks at."""
RESPONSE = field_finder(
    (
        *GOVERNED,
        b"content-disposition",
        b"content-encoding",
        b"content-type",
        b"x-content-type-options",
    )
)
"""Finds them, and what tells whether a response is a page, and how it is to be read."""


def governed(
    headers: Headers, page: PageEnforcement, *, now: int, cookies: PageEnforcement | None = None
) -> Headers:
    """Return a response's fields without what sets or fetches a refused tracker. For every response.

    Args:
        page: judges what is fetched, and cookies too unless ``cookies`` does.
        now: seconds since 1970.
        cookies: judges cookies. With it, what decides is not written into ``Vary``: that is up to the caller.
    """
    result: Headers = []
    decided, page.decided = page.decided, False
    lost_groups: set[str] = set()
    for key, value in headers:
        name = key.lower()
        judge = cookies if cookies is not None and name == b"set-cookie" else page
        new = _governed_value(name, value, judge, now, lost_groups) if name in GOVERNED else value
        if new is not None:
            result.append((key, new))
    if lost_groups:
        result = [
            pair for pair in result if pair[0].lower() != b"nel" or not _reports_to(pair[1], lost_groups)
        ]
    depends = page.decided
    page.decided |= decided
    return varying(result) if depends and cookies is None else result


def _governed_value(
    name: bytes, value: bytes, page: PageEnforcement, now: int, lost_groups: set[str]
) -> bytes | None:
    if name == b"set-cookie":
        cookie, deletes = _set_cookie(value, now)
        return None if not deletes and page.refuses_cookie(cookie) else value
    text = value.decode("latin-1")
    if name == b"refresh":
        match = _REFRESH.match(text)
        if match is None:
            return value
        quote, rest = match.groups()
        url = rest.partition(quote)[0] if quote else rest
        return None if page.refuses_url("refresh header", url) else value
    if name == b"report-to":
        return _without_refused_groups(value, page, lost_groups)
    if name == b"nel":
        return value
    if name in _POLICIES:
        return _reported_elsewhere(text, page).encode("latin-1") or None
    form = _LINK_VALUE if name == b"link" else _MEMBER
    members = [member.strip() for member in form.findall(text)]
    kept = [member for member in members if not member or not _refused_member(name, member, page)]
    if len(kept) == len(members):
        return value
    return ", ".join(member for member in kept if member).encode("latin-1") or None


def _refused_member(name: bytes, member: str, page: PageEnforcement) -> bool:
    if name == b"link":
        link = _LINK.match(member)
        if link is None:
            return False
        url, rest = link.groups()
        # Of repeated ones the first counts (RFC 8288, section 3.3).
        parameters = {
            match[1].lower(): (match[2] or "").strip().strip('"')
            for match in reversed([*_LINK_PARAMETER.finditer(rest)])
        }
        if _LOADING_RELATIONS.isdisjoint(parameters.get("rel", "").lower().split()):
            return False
        candidates = parameters.get("imagesrcset", "").split(",")
        urls = [url, *(candidate.split()[0] for candidate in candidates if candidate.strip())]
        return _refuses_any("link header", urls, page)
    quoted = _QUOTED.search(member)
    kind = "speculation rules" if name == b"speculation-rules" else "reporting endpoint"
    return quoted is not None and page.refuses_url(kind, quoted[1])


def _reported_elsewhere(policies: str, page: PageEnforcement) -> str:
    """Return Content-Security-Policies without the addresses on refused hosts that they report to."""

    def kept(match: re.Match[str]) -> str:
        urls = match[2].split()
        allowed = [url for url in urls if not page.refuses_url("reporting endpoint", url)]
        if len(allowed) == len(urls):
            return match[0]
        before = match[1].replace(";", "; ")
        return f"{before}report-uri {' '.join(allowed)}" if allowed else match[1].replace(";", "")

    return _REPORT_URI.sub(kept, policies) if "report-uri" in policies.lower() else policies


def _refuses_any(kind: str, urls: list[str], page: PageEnforcement) -> bool:
    refused = False
    for url in urls:  # each of them, so that the account is whole
        refused |= page.refuses_url(kind, url)
    return refused


def _without_refused_groups(value: bytes, page: PageEnforcement, lost_groups: set[str]) -> bytes | None:
    """Return a ``Report-To`` without the groups that report to a refused host."""
    if len(value) > _MAX_REPORT_TO:
        return value
    try:
        groups = json.loads(b"[" + value + b"]")
        kept = []
        for group in groups:
            urls = [str(endpoint["url"]) for endpoint in group["endpoints"]]
            if _refuses_any("reporting endpoint", urls, page):
                lost_groups.add(str(group.get("group", "default")))
            else:
                kept.append(group)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return value  # browsers cannot read it either
    if len(kept) == len(groups):
        return value
    return ", ".join(map(json.dumps, kept)).encode("ascii") or None


def _reports_to(value: bytes, groups: set[str]) -> bool:
    try:
        return str(json.loads(value)["report_to"]) in groups
    except (ValueError, TypeError, KeyError, RecursionError):
        return False


_MAX_AGE = re.compile(rb"-?[0-9]+")


def _set_cookie(value: bytes, now: int) -> tuple[str, bool]:
    """Return the cookie's name, and whether the field deletes it in every browser.

    Max-Age overrules Expires, and the last of each counts: by RFC 6265bis, section 5.6, the last that is valid; in
    Chromium the last, and if it is not valid, none. An age with a "+" is valid there only: it deletes nothing.
    """
    pair, *attributes = value.split(b";")
    # "=name=value" makes a cookie without a name that is sent as "name=value".
    name = pair.lstrip(b" \t=").partition(b"=")[0].strip(b" \t").decode("latin-1")
    dates: list[bool | None] = []
    ages: list[bool | None] = []
    has_sign = False
    for attribute in attributes:
        key, _, text = attribute.partition(b"=")
        key = key.strip(b" \t").lower()
        text = text.strip(b" \t")
        if key == b"max-age":
            deletes = text.startswith(b"-") or not text.strip(b"0")
            ages.append(deletes if _MAX_AGE.fullmatch(text) else None)
            has_sign |= text.startswith(b"+")
        elif key == b"expires":
            moment = _cookie_date(text)
            dates.append(None if moment is None else moment <= now)
    return name, not has_sign and all(
        next((told for told in (*reversed(old), *reversed(new)) if told is not None), False)
        for old, new in ((ages, dates), (ages[-1:], dates[-1:]))
    )


_DATE_DELIMITER = re.compile(rb"[\t\x20-\x2f\x3b-\x40\x5b-\x60\x7b-\x7e]+")
_TIME = re.compile(rb"([0-9]{1,2}):([0-9]{1,2}):([0-9]{1,2})(?:[^0-9]|\Z)")
_DAY = re.compile(rb"([0-9]{1,2})(?:[^0-9]|\Z)")
_YEAR = re.compile(rb"([0-9]{2,4})(?:[^0-9]|\Z)")
_MONTHS = b"jan feb mar apr may jun jul aug sep oct nov dec".split()


def _cookie_date(text: bytes) -> float | None:
    """Return a cookie's date in seconds since 1970, read as browsers do (RFC 6265bis, section 5.1.1)."""
    time = day = month = year = None
    for token in _DATE_DELIMITER.split(text[:256]):
        if time is None and (match := _TIME.match(token)):
            time = match
        elif day is None and (match := _DAY.match(token)):
            day = int(match[1])
        elif month is None and token[:3].lower() in _MONTHS:
            month = _MONTHS.index(token[:3].lower()) + 1
        elif year is None and (match := _YEAR.match(token)):
            year = int(match[1])
            year += 1900 if 70 <= year <= 99 else 2000 if year <= 69 else 0
    if time is None or day is None or month is None or year is None or year < 1601:
        return None
    try:
        return datetime(year, month, day, int(time[1]), int(time[2]), int(time[3]), tzinfo=UTC).timestamp()
    except ValueError:
        return None


# --- responses: what follows from bytes that change, and depend on the visitor ---

_ABOUT_OLD_BYTES = frozenset(
    (
        b"content-length",
        b"transfer-encoding",
        b"trailer",
        b"accept-ranges",
        b"content-range",
        b"last-modified",
        b"digest",
        b"content-digest",
        b"repr-digest",
        b"unencoded-digest",
        b"content-md5",
    )
)
# They overrule Cache-Control for the caches that obey them.
_FOR_SHARED_CACHES = frozenset(
    (b"cdn-cache-control", b"surrogate-control", b"x-accel-expires", b"edge-control")
)
_SHARED_DIRECTIVES = frozenset((b"public", b"s-maxage", b"proxy-revalidate"))
_AD_FEATURES = (
    "browsing-topics",
    "join-ad-interest-group",
    "run-ad-auction",
    "attribution-reporting",
    "private-aggregation",
    "shared-storage",
)
_NO_AD_FEATURES = ", ".join(f"{feature}=()" for feature in _AD_FEATURES).encode("ascii")


_MATTERS_IN_PAGE = (
    GOVERNED
    | _ABOUT_OLD_BYTES
    | _FOR_SHARED_CACHES
    | {
        b"cache-control",
        b"content-disposition",
        b"content-encoding",
        b"content-type",
        b"etag",
        b"permissions-policy",
        b"vary",
    }
)
PLAIN_NAMES = {b"content-length", b"content-type"}
"""Names, as they are written, of fields that need no more done to them in a page than to lose the old length: those
met so far, up to a bound."""
_MAX_PLAIN_NAMES = 256
_LONGEST_PLAIN_NAME = 64


def is_plain_page(headers: Headers) -> bool:
    """Tell whether a page's fields say nothing about what :func:`rewritten` and others have to say of it."""
    for name, _ in headers:
        if name not in PLAIN_NAMES:
            lower = name.lower()
            if lower in _MATTERS_IN_PAGE or lower.endswith(b"-cdn-cache-control"):
                return False
            if len(PLAIN_NAMES) < _MAX_PLAIN_NAMES and len(name) <= _LONGEST_PLAIN_NAME:
                PLAIN_NAMES.add(name)
    return True


class Caching(NamedTuple):
    """Who may keep a page, and for whom: what becomes of the fields that say so."""

    vary: tuple[bytes, ...]
    """The request fields that a cache has to compare."""
    shared: bool
    """Whether shared caches may; what the app says to them goes otherwise."""
    control: Callable[[list[bytes]], list[bytes]]
    """Makes the directives of ``Cache-Control`` from the app's."""

    def drops(self, name: bytes) -> bool:
        """Tell whether the field ``name`` (lower case) goes, to be written anew or not at all."""
        return name == b"cache-control" or (
            not self.shared and (name in _FOR_SHARED_CACHES or name.endswith(b"-cdn-cache-control"))
        )


def _private(directives: list[bytes]) -> list[bytes]:
    kept = [d for d in directives if directive(d) not in _SHARED_DIRECTIVES]
    if not {b"private", b"no-store"}.intersection(d.lower() for d in kept):
        kept.insert(0, b"private")
    return kept


def directive(text: bytes) -> bytes:
    """Return the name of one directive of ``Cache-Control``, lower case."""
    return text.partition(b"=")[0].strip().lower()


def directives(headers: Headers) -> list[bytes]:
    """Return the directives of ``Cache-Control``, of all its lines."""
    lines = [value for key, value in headers if key.lower() == b"cache-control"]
    return [part.strip() for line in lines for part in line.split(b",") if part.strip()]


BY_VISITOR = Caching(PAGE_DECIDING_FIELDS, False, _private)
"""The visitor's own browser keeps it, for this visitor's present answer."""
BY_SPEAKER = Caching((*PAGE_DECIDING_FIELDS, b"Accept-Language"), False, _private)
"""... and for as long as the browser asks for the same language."""
BY_NOBODY = Caching(PAGE_DECIDING_FIELDS, False, lambda _: [b"private", b"no-store"])


def rewritten(headers: Headers, *, variant: str, targeting: bool, caching: Caching = BY_VISITOR) -> Headers:
    """Return the fields of a page whose bytes change and depend on the visitor, or of its 304.

    ``Content-Length`` is left out: it is known when the page is.

    Args:
        variant: names what decided the bytes.
        targeting: ``False`` also switches the browser's own features for advertising off.
        caching: who may keep it.
    """
    result: Headers = []
    for key, value in headers:
        name = key.lower()
        if name in _ABOUT_OLD_BYTES or caching.drops(name):
            continue
        if name == b"etag":
            value = variant_etag(value, variant)
            if not value:
                continue
        result.append((key, value))
    if control := caching.control(directives(headers)):
        result.append((b"cache-control", b", ".join(control)))
    if not targeting:
        result = without_ad_features(result)
    return varying(result, caching.vary) if caching.vary else result


def personal(headers: Headers, *, names: tuple[bytes, ...] = DECIDING_FIELDS) -> Headers:
    """Return the fields of what is no page, but is for one visitor only."""
    kept = [(key, value) for key, value in headers if not BY_VISITOR.drops(key.lower())]
    control = b", ".join(BY_VISITOR.control(directives(headers)))
    return varying([*kept, (b"cache-control", control)], names)


def unsized(headers: Headers) -> Headers:
    """Return the fields without what is true of certain bytes only, for a ``HEAD`` of nobody knows what."""
    return [(k, v) for k, v in headers if (name := k.lower()) not in _ABOUT_OLD_BYTES and name != b"etag"]


def variant_etag(tag: bytes, variant: str) -> bytes:
    """Return the entity tag of one variant of a page: weak, since what is inserted may differ in detail."""
    match = ENTITY_TAG.fullmatch(tag.strip())
    return b'W/"%b~%b"' % (match[1], variant.encode("ascii")) if match else b""


def without_ad_features(headers: Headers) -> Headers:
    """Return the fields with a ``Permissions-Policy`` that refuses the browser's features for advertising.

    The site's own policy is edited key by key; what it says about anything else stands.
    """
    result: Headers = []
    for key, value in headers:
        if key.lower() == b"permissions-policy":
            members = [member.strip() for member in _MEMBER.findall(value.decode("latin-1"))]
            kept = [m for m in members if re.split("[=;]", m, maxsplit=1)[0].strip() not in _AD_FEATURES]
            if len(kept) != len(members):
                value = ", ".join(kept).encode("latin-1")
            if not value:
                continue
        result.append((key, value))
    result.append((b"permissions-policy", _NO_AD_FEATURES))
    return result


def without_redirect(headers: Headers) -> Headers:
    """Return the fields of a redirect that is refused to this visitor, and so has nothing to say."""
    dropped = (
        b"location",
        b"content-length",
        b"content-type",
        b"content-encoding",
        b"cache-control",
        b"etag",
    )
    kept = [(key, value) for key, value in headers if key.lower() not in dropped]
    return [*kept, (b"content-length", b"0"), (b"cache-control", b"no-store")]


def varying(headers: Headers, names: tuple[bytes, ...] = DECIDING_FIELDS) -> Headers:
    """Return the fields with ``Vary`` naming ``names``, merged with what is there."""
    present = tuple(value for key, value in headers if key.lower() == b"vary")
    merged = _merged_vary(present, names)
    if not present:
        return [*headers, (b"vary", merged)]
    return [(key, value) for key, value in headers if key.lower() != b"vary"] + [(b"vary", merged)]


@lru_cache(maxsize=256)
def _merged_vary(present: tuple[bytes, ...], names: tuple[bytes, ...]) -> bytes:
    named = [part.strip() for value in present for part in value.split(b",") if part.strip()]
    if b"*" in named:
        return b"*"
    known = {name.lower() for name in named}
    return b", ".join([*named, *(name for name in names if name.lower() not in known)])
