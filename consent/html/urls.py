"""Where a URL in a page leads, read as browsers read it (WHATWG URL Standard, section 4.4).

Only what decides about trackers is computed: the host, and the path with its query. The work is split so
that the plain majority of URLs is settled by one regular expression.
"""

from __future__ import annotations

import re
import unicodedata
from typing import NamedTuple
from urllib.parse import unquote_to_bytes


class Target(NamedTuple):
    """Where a request would go."""

    host: str
    """Lower case, ASCII (punycode), no port, no trailing dot; IPv6 in brackets."""
    path: str
    """Path and query, starting with ``/``; dot segments and needless percent-encoding resolved."""


class PageURL(NamedTuple):
    """What relative references on a page are resolved against."""

    scheme: str
    host: str
    path: str


_PLAIN = re.compile(r"(?:[hH][tT][tT][pP][sS]?:)?//([A-Za-z0-9.-]+)(?::[0-9]*)?(/[^\\#\s]*)?(?:#.*)?\Z")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_SPECIAL = {"http", "https", "ws", "wss", "ftp"}
_STRIPPED = "".join(map(chr, range(0x21)))
_DELETED = str.maketrans("", "", "\t\n\r")
_UNRESERVED = re.compile(r"%(4[1-9A-Fa-f]|5[0-9AaFf]|6[1-9A-Fa-f]|7[0-9AaEe]|3[0-9]|2[DEde])")
_FORBIDDEN_HOST = re.compile(r"[\x00-\x20\x7f#/<>?@\\^|%\[\]:]")
_IPV6 = re.compile(r"\[[0-9A-Fa-f:.]{2,45}\]")
# What UTS 46 drops from a host, and where it begins a new label.
_IGNORED_IN_HOSTS = re.compile(
    "[\u00ad\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
_MAX_HOST = 1024
_WITHIN = ("about:", "blob:", "data:", "javascript:", "mailto:", "tel:", "#")


def _ascii_host(host: str) -> str | None:
    """Return ``host`` as a browser would ask DNS for it, or ``None`` where it is no valid host."""
    if "%" in host:
        host = unquote_to_bytes(host.encode("utf-8", "surrogateescape")).decode("utf-8", "replace")
    if host.startswith("["):
        return host.lower() if _IPV6.fullmatch(host) else None
    if not host.isascii():
        # Python's codec knows the characters of Unicode 3.2 only: fold the rest before it looks.
        host = unicodedata.normalize("NFKC", _IGNORED_IN_HOSTS.sub("", host)).lower()
    # However much of it was written that counts for nothing.
    if len(host) > _MAX_HOST:
        return None
    if not host.isascii():
        try:
            host = host.encode("idna").decode("ascii")
        except UnicodeError:
            return None
    host = host.lower().rstrip(".")
    return host if host and not _FORBIDDEN_HOST.search(host) else None


def _plain_path(path: str) -> str:
    """Resolve dot segments and decode what never needed encoding, so that one spelling is matched."""
    path, question, query = path.partition("?")
    if "%" in path:
        path = _UNRESERVED.sub(lambda match: chr(int(match[1], 16)), path)
    if "/." in path:
        segments: list[str] = []
        parts = path.split("/")[1:]
        for position, part in enumerate(parts):
            if part == "..":
                if segments:
                    segments.pop()
            elif part != ".":
                segments.append(part)
                continue
            if position == len(parts) - 1:
                segments.append("")
        path = "/" + "/".join(segments)
    return path + question + query


def resolve(value: str, base: PageURL) -> Target | None:
    """Return where ``value`` leads from a page at ``base``; ``None`` where nothing would be requested.

    ``value`` is the attribute's value with its character references decoded.
    """
    if match := _PLAIN.match(value):
        host, path = match.groups()
        host = host.lower().rstrip(".")
        if path is None:
            path = "/"
        elif "%" in path or "/." in path:
            path = _plain_path(path)
        return Target(host, path) if host else None
    value = value.strip(_STRIPPED).translate(_DELETED)
    if not value or value.lower().startswith(_WITHIN):
        return None
    value = value.partition("#")[0]
    rest = value
    if match := _SCHEME.match(value):
        rest = value[match.end() :]
        if match[1].lower() not in _SPECIAL:
            return None
    question = rest.find("?")
    head, query = (rest, "") if question < 0 else (rest[:question], rest[question:])
    head = head.replace("\\", "/")
    if match or head.startswith("//"):
        # "https:tracker.example/x" needs no slashes on a page of another scheme, and which scheme the
        # visitor's browser used is the proxy's knowledge: read it as what it would be at the worst.
        authority, _, path = head.lstrip("/").partition("/")
        authority = authority.rpartition("@")[2]
        if not authority.startswith("["):
            authority = authority.partition(":")[0]
        elif "]" in authority:
            authority = authority[: authority.index("]") + 1]
        ascii_host = _ascii_host(authority)
        return None if ascii_host is None else Target(ascii_host, _plain_path(f"/{path}{query}"))
    if head.startswith("/"):
        path = head
    elif head:
        path = base.path.partition("?")[0].rpartition("/")[0] + "/" + head
    else:
        path = base.path.partition("?")[0] if query else base.path
    return Target(base.host, _plain_path(path + query))


def resolve_base(value: str, page: PageURL) -> PageURL:
    """Return the base that ``<base href=value>`` gives; ``page`` itself where the value is unusable."""
    text = value.strip(_STRIPPED).translate(_DELETED)
    target = resolve(value, page)
    if target is None:
        return page
    match = _SCHEME.match(text)
    scheme = match[1].lower() if match else page.scheme
    return PageURL(scheme, target.host, target.path)
