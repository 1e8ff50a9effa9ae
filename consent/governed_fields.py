"""What is done about the header fields of responses that set or fetch a tracker.

RFC 6265bis (cookies), 8288 (links), 8941 (structured fields).
"""

from __future__ import annotations

import json
import re

from consent.enforcement import PageEnforcement
from consent.headers import GOVERNED, MEMBER, POLICIES, Headers, varying
from consent.set_cookie import set_cookie

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
_ONE_VALUE = GOVERNED - POLICIES - {b"set-cookie", b"nel"}
"""Fields that browsers read over their lines as one. Policies are read elsewhere, of ``Set-Cookie`` each line stands
alone, and ``NEL`` names a group of ``Report-To``, without which it does nothing."""
_LINK_VALUE = re.compile(r'(?:[^,"<]|"(?:[^"\\]|\\.)*+"?|<[^>]*+>?)++', re.DOTALL)
_LINK = re.compile(r"<([^>]*)>(.*)", re.DOTALL)
_LINK_PARAMETER = re.compile(r';\s*+([^\s;="]++)(?:\s*+=\s*+("(?:[^"\\]|\\.)*+"?|[^;]*+))?+[^;]*+', re.DOTALL)
_REFRESH = re.compile(r"""[\s;,]*[0-9.]*[\s;,]*(?:url\s*=\s*)?(["']?)(.*)""", re.IGNORECASE | re.DOTALL)
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
_MAX_REPORT_TO = 16 * 1024

_REPORT_URI = re.compile(r"(\A|[;,])\s*+report-uri\s([^;,]*+)", re.IGNORECASE)


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
    whole = _joined(headers)
    left = {name: _governed_value(name, value, page, now, lost_groups) for name, value in whole.items()}
    for key, value in headers:
        name = key.lower()
        judge = cookies if cookies is not None and name == b"set-cookie" else page
        new: bytes | None = value
        if name in whole:
            # Where anything of it goes, the first line has what is left.
            if left.get(name) != whole[name]:
                new = left.pop(name, None)
        elif name in GOVERNED:
            new = _governed_value(name, value, judge, now, lost_groups)
        if new is not None:
            result.append((key, new))
    if lost_groups:
        result = [
            pair for pair in result if pair[0].lower() != b"nel" or not _reports_to(pair[1], lost_groups)
        ]
    depends = page.decided
    page.decided |= decided
    return varying(result) if depends and cookies is None else result


def _joined(headers: Headers) -> dict[bytes, bytes]:
    """Return the fields of several lines as browsers read them, each as one (RFC 9110, section 5.3).

    What is quoted may begin in a line and end in the next.
    """
    lines: dict[bytes, list[bytes]] = {}
    for key, value in headers:
        if (name := key.lower()) in _ONE_VALUE:
            lines.setdefault(name, []).append(value)
    return {name: b", ".join(values) for name, values in lines.items() if len(values) > 1}


def _governed_value(
    name: bytes, value: bytes, page: PageEnforcement, now: int, lost_groups: set[str]
) -> bytes | None:
    if name == b"set-cookie":
        cookie, deletes = set_cookie(value, now)
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
    if name in POLICIES:
        return _reported_elsewhere(text, page).encode("latin-1") or None
    form = _LINK_VALUE if name == b"link" else MEMBER
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
