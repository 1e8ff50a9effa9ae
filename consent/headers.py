"""How header fields are read, and what becomes of those of a response that changes or depends on the visitor.

What depends on the visitor and what depends on the changed bytes is here, together: they must agree with each other.
What is done about fields that set or fetch a tracker is in :mod:`consent.governed_fields`. RFC 9110 (semantics), 9111
(caching), 9213 (targeted caching), 9530 (digests), 8941 (structured fields).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import NamedTuple

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


# --- responses: which fields matter ---

MEMBER = re.compile(r'(?:[^,"(<]|"(?:[^"\\]|\\.)*+"?|\([^)]*+\)?|<[^>]*+>?)++')
"""Finds the members of a list (RFC 8941), and of fields that were made before there was one form for them."""
POLICIES = frozenset((b"content-security-policy", b"content-security-policy-report-only"))
GOVERNED = POLICIES | {
    b"set-cookie",
    b"link",
    b"refresh",
    b"speculation-rules",
    b"report-to",
    b"reporting-endpoints",
    b"nel",
}
"""The fields that may set or fetch a tracker."""
RESPONSE = field_finder(
    (
        b"content-type",  # looked for first: nearly all have it
        b"content-disposition",
        b"content-encoding",
        b"x-content-type-options",
        *sorted(GOVERNED),
    )
)
"""Finds them, and what tells whether a response is a page, and how it is to be read."""


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
            members = [member.strip() for member in MEMBER.findall(value.decode("latin-1"))]
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
