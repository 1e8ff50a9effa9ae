"""Deleting cookies that were set before the visitor refused them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from urllib.parse import quote

from consent import headers as fields
from consent.catalog import Catalog
from consent.decision import Decision
from consent.enforcement import site_of

MAX_EXPIRY_BYTES = 3000
"""For all deletions together: common proxies refuse answers whose header section is larger than 4 KiB."""

MIN_PAGE_EXPIRY_BYTES = 500
"""With a page, where its other fields are longer than that leaves room for."""

_MAX_COOKIE_NAMES = 60
_MAX_PATHS = 4
_FIELD_BYTES = len("set-cookie: \r\n")
_TOKEN = re.compile(rb"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}")
_HOST = re.compile(rb"[A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\]")
_ADDRESS = re.compile(r"[0-9.]+|\[.*")

RequestHeaders = Iterable[tuple[bytes, bytes]]


def refused_cookies(catalog: Catalog, decision: Decision, *, ours: str) -> Callable[[str], bool]:
    """Return what tells by its name whether a cookie is a refused vendor's.

    Args:
        ours: Name of the cookie that keeps the choice, whatever the catalog says of such a name.
    """

    def refuses(name: str) -> bool:
        if name == ours:
            return False
        match = catalog.match_cookie(name)
        return match is not None and not decision.allows(match.vendor.category, match.vendor.id)

    return refuses


def expire_refused_cookies(
    headers: RequestHeaders, refuses: Callable[[str], bool], *, return_to: str, secure: bool
) -> Iterator[bytes]:
    """Yield ``Set-Cookie`` values that delete the refused cookies that came with a choice.

    A cookie is deleted only under the very Domain and Path it was set with, which its sender does not
    tell: so under each that it can have, the likeliest first, within :data:`MAX_EXPIRY_BYTES`.

    Args:
        headers: The request's raw ASGI pairs with lower-case names.
        refuses: Tells by its name whether a cookie is refused.
        return_to: Path and query of the page that the visitor chose on.
        secure: Whether the site is served over HTTPS.
    """
    names = [name for name in _cookie_names(headers) if refuses(name)]
    domains = _domains(headers)
    budget = MAX_EXPIRY_BYTES
    for path in ["/", *_parents(return_to)[: _MAX_PATHS - 1]]:
        for domain in domains:
            for name in names:
                for expiry in _expiries(name, path, domain, secure=secure):
                    budget -= len(expiry) + _FIELD_BYTES
                    if budget < 0:
                        return
                    yield expiry


def expire_on_page(
    headers: RequestHeaders,
    refuses: Callable[[str], bool],
    *,
    address: str,
    secure: bool,
    room: int,
    turn: int,
) -> Iterator[bytes]:
    """Yield the same for the refused cookies that came with a request for a page.

    So cookies are reached that no script sees, and that are not sent with a choice: those below a path, and those that
    others set later. What does not fit is for the pages after this one.

    Args:
        headers, refuses, secure: As above.
        address: The page's path, percent-encoded.
        room: For how many bytes there is room in the answer.
        turn: Where to begin; another number with each page, so that after some every Domain and Path had its turn.
    """
    names = [name for name in _cookie_names(headers) if refuses(name)]
    if not names:
        return
    parents = _parents(address)
    # A Path matches with a slash at its end, too, if there is something below it. (RFC 6265, section 5.1.4.)
    slashed = [f"{path}/" for path in (parents if address.endswith("/") else parents[:-1])]
    paths = ["/", *parents[: _MAX_PATHS - 1], *slashed[: _MAX_PATHS - 1]]
    pairs = [(path, domain) for path in paths for domain in _domains(headers)]
    start = turn % len(pairs)
    for path, domain in (*pairs[start:], *pairs[:start]):
        for name in names:
            for expiry in _expiries(name, path, domain, secure=secure):
                room -= len(expiry) + _FIELD_BYTES
                if room < 0:
                    return
                yield expiry


def _expiries(name: str, path: str, domain: str, *, secure: bool) -> Iterator[bytes]:
    """Yield what deletes a cookie under one Domain, empty for the host alone, and one Path."""
    prefix = name.lower()
    prefixed = prefix.startswith(("__secure-", "__host-"))
    # Browsers take no cookie that its prefix forbids. (RFC 6265bis, section 4.1.3.)
    if (prefixed and not secure) or (prefix.startswith("__host-") and (domain or path != "/")):
        return
    line = f"{name}=; Max-Age=0; Path={path}"
    if domain:
        line += f"; Domain={domain}"
    yield (f"{line}; Secure" if prefixed else line).encode("ascii")
    if secure:
        yield f"{line}; Secure; SameSite=None; Partitioned".encode("ascii")


def _cookie_names(headers: RequestHeaders) -> list[str]:
    names: dict[str, None] = {}
    for line in fields.lines(headers, b"cookie"):
        for pair in line.split(b";"):
            name = pair.partition(b"=")[0].strip(b" \t")
            if _TOKEN.fullmatch(name):
                names[name.decode("ascii")] = None
                if len(names) == _MAX_COOKIE_NAMES:
                    return list(names)
    return list(names)


def _domains(headers: RequestHeaders) -> list[str]:
    """Return the domains a cookie of this host can have, ``""`` for the host alone, the likeliest first."""
    authority = (fields.only(headers, b"host") or b"").lower()
    name = re.sub(rb":[0-9]{0,5}$", b"", authority)
    if not _HOST.fullmatch(name):
        return [""]
    host = name.decode("ascii").rstrip(".")
    if "." not in host or _ADDRESS.fullmatch(host):
        return [""]
    site = site_of(host)
    between: list[str] = []
    parent = host
    while parent != site and "." in parent and len(between) < 4:
        between.append(parent)
        parent = parent.partition(".")[2]
    return [site, "", *between]


def _parents(address: str) -> list[str]:
    """Return what lies between ``/`` and a page, the page itself included, the shortest first."""
    segments = quote(address.partition("?")[0], safe="/%").strip("/").split("/")
    parents = ["/" + "/".join(segments[:depth]) for depth in range(1, len(segments) + 1) if segments[0]]
    return [path for path in parents if len(path) <= 200]
