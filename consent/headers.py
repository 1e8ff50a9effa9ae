"""What is done about the header fields of requests and responses (RFC 9110, 9111, 6265bis, 8288).

All the rules are here, together: what depends on the visitor, on the changed bytes and on the removed
trackers must agree with each other.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from email.utils import parsedate_to_datetime

from consent.enforcement import PageEnforcement

Headers = list[tuple[bytes, bytes]]

REWRITTEN_TYPES = frozenset((b"text/html", b"application/xhtml+xml"))
DECIDING_FIELDS = (b"Cookie", b"Sec-GPC", b"DNT")
"""The request fields that a decision is made from."""

_LOADING_RELATIONS = frozenset(
    "preload modulepreload prefetch prerender preconnect dns-prefetch stylesheet icon manifest".split()
)
_LINK = re.compile(r'\s*<([^>]*)>((?:[^,"]|"(?:[^"\\]|\\.)*"?)*),?')
_REL = re.compile(r';\s*rel\s*=\s*(?:"([^"]*)"|([^\s;,"]+))', re.IGNORECASE)
_REFRESH = re.compile(r"""\s*[0-9.]*\s*[;,]?\s*(?:url\s*=\s*)?["']?([^"']*)""", re.IGNORECASE)
_NONCE = re.compile(rb"'nonce-([A-Za-z0-9+/_=-]{1,256})'")
_ENTITY_TAG = re.compile(rb'(?:W/)?"([^"]*)"')
_DIGESTS = frozenset((b"digest", b"content-digest", b"repr-digest", b"content-md5", b"want-digest"))


def first(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> bytes | None:
    """Return the first value of the field ``name`` (lower case)."""
    return next((value for key, value in headers if key.lower() == name), None)


def media_type(headers: Headers) -> bytes:
    """Return the response's media type, lower case, without parameters."""
    return (first(headers, b"content-type") or b"").partition(b";")[0].strip(b" \t").lower()


def csp_nonce(headers: Headers) -> str | None:
    """Return a nonce that the page's own Content-Security-Policy allows, for what is inserted."""
    for key, value in headers:
        if key.lower() == b"content-security-policy" and (match := _NONCE.search(value)):
            return match[1].decode("ascii")
    return None


# --- requests ---


def request_headers(headers: Headers, *, variant: str, may_be_html: bool) -> Headers:
    """Return the request's fields as the app is to see them.

    A validator that names another variant is taken away, so that a 304 never confirms bytes that this visitor
    would not get; ranges and codings that could not be rewritten are not asked for.

    Args:
        variant: the present variant's name, see :func:`variant_etag`.
        may_be_html: the answer may be a page (by what the request looks like).
    """
    result: Headers = []
    navigation = b"text/html" in (first(headers, b"accept") or b"")
    for key, value in headers:
        if key == b"if-none-match":
            value = _own_validators(value, variant, keep_foreign=not navigation)
            if not value:
                continue
        elif key == b"if-modified-since" and navigation:
            continue
        elif may_be_html:
            if key in (b"range", b"if-range"):
                continue
            if key == b"accept-encoding":
                value = b"gzip" if _accepts_gzip(value) else b"identity"
        result.append((key, value))
    return result


def _accepts_gzip(value: bytes) -> bool:
    for part in value.lower().split(b","):
        coding, _, parameters = part.partition(b";")
        if coding.strip() in (b"gzip", b"x-gzip", b"*"):
            return not re.fullmatch(rb"\s*q\s*=\s*0(\.0*)?\s*", parameters)
    return False


def _own_validators(value: bytes, variant: str, *, keep_foreign: bool) -> bytes:
    if value.strip() == b"*":
        return b"" if not keep_foreign else value
    suffix = b"~" + variant.encode("ascii")
    kept = []
    for match in _ENTITY_TAG.finditer(value):
        tag = match[1]
        if tag.endswith(suffix):
            kept += [b'"%b"' % tag.removesuffix(suffix), b'W/"%b"' % tag.removesuffix(suffix)]
        elif keep_foreign and b"~c-" not in tag:
            kept.append(match[0])
    return b", ".join(kept)


# --- responses ---


def governed(headers: Headers, page: PageEnforcement, *, now: int) -> Headers:
    """Return a response's fields without what sets or fetches a refused tracker. For every response."""
    result: Headers = []
    depends = False
    for key, value in headers:
        name = key.lower()
        if name == b"set-cookie":
            cookie, deletes = _set_cookie(value, now)
            before = len(page.findings) + page.uncounted
            if not deletes and page.refuses_cookie(cookie):
                depends = True
                continue
            depends |= len(page.findings) + page.uncounted > before
        elif name == b"link":
            value = _without_refused_links(value, page)
            if not value:
                continue
        elif name == b"refresh":
            match = _REFRESH.match(value.decode("latin-1"))
            if match and page.refuses_url("refresh header", match[1]):
                continue
        result.append((key, value))
    return varying(result) if depends else result


def _set_cookie(value: bytes, now: int) -> tuple[str, bool]:
    """Return the cookie's name, and whether the field deletes it (RFC 6265bis, section 5.6)."""
    pair, *attributes = value.split(b";")
    name = pair.partition(b"=")[0].strip(b" \t").decode("latin-1")
    expired = False
    for attribute in attributes:
        key, _, text = attribute.partition(b"=")
        key = key.strip(b" \t").lower()
        text = text.strip(b" \t")
        if key == b"max-age" and re.fullmatch(rb"-?[0-9]+", text):
            # Max-Age overrules Expires, wherever it stands.
            return name, text.startswith(b"-") or not text.strip(b"0")
        if key == b"expires":
            try:
                expired = parsedate_to_datetime(text.decode("latin-1")).timestamp() <= now
            except (ValueError, OverflowError):
                continue
    return name, expired


def _without_refused_links(value: bytes, page: PageEnforcement) -> bytes:
    kept = []
    changed = False
    text = value.decode("latin-1")
    for match in _LINK.finditer(text):
        url, parameters = match.groups()
        relation = _REL.search(parameters)
        relations = (relation[1] or relation[2] or "").lower().split() if relation else []
        if _LOADING_RELATIONS.intersection(relations) and page.refuses_url("link header", url):
            changed = True
        else:
            kept.append(f"<{url}>{parameters.rstrip()}")
    return ", ".join(kept).encode("latin-1") if changed else value


def varying(headers: Headers) -> Headers:
    """Return the fields with ``Vary`` naming what decisions are made from, merged with what is there."""
    named = [
        part.strip()
        for key, value in headers
        if key.lower() == b"vary"
        for part in value.split(b",")
        if part.strip()
    ]
    if b"*" in named:
        return headers
    known = {name.lower() for name in named}
    named += [name for name in DECIDING_FIELDS if name.lower() not in known]
    return [(key, value) for key, value in headers if key.lower() != b"vary"] + [(b"vary", b", ".join(named))]


def variant_etag(tag: bytes, variant: str) -> bytes:
    """Return the entity tag of one variant of a page: weak, since what is inserted may differ in detail."""
    match = _ENTITY_TAG.fullmatch(tag.strip())
    return b'W/"%b~%b"' % (match[1], variant.encode("ascii")) if match else b""


def rewritten(headers: Headers, *, variant: str, store: bool = True) -> Headers:
    """Return the fields of a page whose bytes are about to change, and depend on the visitor.

    Args:
        variant: names what decided the bytes.
        store: ``False`` where the answer is for one reader only.
    """
    result: Headers = []
    directives: list[bytes] = []
    for key, value in headers:
        name = key.lower()
        if name in (b"content-length", b"accept-ranges", b"last-modified", b"content-range") or name in _DIGESTS:
            continue
        if name == b"etag":
            value = variant_etag(value, variant)
            if not value:
                continue
        elif name == b"cache-control":
            directives += [part.strip() for part in value.split(b",") if part.strip()]
            continue
        result.append((key, value))
    if not store:
        directives = [b"no-store"]
    else:
        shared = (b"public", b"s-maxage", b"proxy-revalidate")
        directives = [d for d in directives if d.partition(b"=")[0].strip().lower() not in shared]
        if not {b"private", b"no-store"}.intersection(d.lower() for d in directives):
            directives.insert(0, b"private")
    result.append((b"cache-control", b", ".join(directives)))
    return varying(result)
