"""What a request says that matters here, and its header fields as the app is to see them."""

from __future__ import annotations

from collections.abc import Callable

from starlette.types import Scope

from consent import codings
from consent.headers import ENTITY_TAG, Headers, lines
from consent.speedups import compiled

_NOT_FOR_PAGES = frozenset((b"if-modified-since", b"range", b"if-range"))
_SECURE = frozenset(("https", "wss"))

HAS_SIGNAL = 1
"""In a :func:`glance`: there is a browser signal ..."""
HAS_CHOICE = 2
"""... something like the choice cookie ..."""
MAY_NEED_CHANGES = 4
"""... something that :func:`request_headers` may change ..."""
FOR_WORKER = 8
"""... the answer is what a worker is made of ..."""
FOR_CODE = 16
"""... it is a script or a style sheet, whatever it says of itself."""
PLAIN_CODINGS: set[bytes] = set()
"""The values of ``Accept-Encoding`` met so far that need no changes, up to a bound."""
_MAX_PLAIN_CODINGS = 256
_LONGEST_PLAIN_CODING = 128

Glance = tuple[int, bytes | None]


def _python_glance(headers: Headers, cookie_name: bytes, plain_codings: set[bytes]) -> Glance:
    seen = 0
    line = None
    for name, value in headers:
        if name == b"cookie":
            if cookie_name in value:
                line = None if seen & HAS_CHOICE else value
                seen |= HAS_CHOICE
        elif name in (b"sec-gpc", b"dnt"):
            seen |= HAS_SIGNAL
        elif name == b"sec-fetch-dest":
            seen |= FOR_WORKER * value.endswith(b"worker") | FOR_CODE * (value in (b"script", b"style"))
        elif name == b"accept-encoding":
            seen |= MAY_NEED_CHANGES * (value not in plain_codings)
        elif name == b"if-none-match" or name in _NOT_FOR_PAGES:
            seen |= MAY_NEED_CHANGES
    return seen, line


_glance: Callable[[Headers, bytes, set[bytes]], Glance] = compiled.glance if compiled else _python_glance


def glance(headers: Headers, cookie_name: bytes) -> Glance:
    """Return what of a request needs a closer look, which is nothing of most, and the one line with the cookie."""
    return _glance(headers, cookie_name, PLAIN_CODINGS)


def is_secure(scope: Scope) -> bool:
    """Tell whether a request came over HTTPS, or a websocket is opened over it."""
    return scope.get("scheme") in _SECURE


def is_visit(scope: Scope) -> bool:
    """Tell whether somebody goes to a page: not what a page loads or frames, nor what nobody may ever see."""
    headers = scope["headers"]
    return (
        scope["method"] == "GET"
        and lines(headers, b"sec-fetch-dest") in ([], [b"document"])
        # There were browsers that sent this one and not the other.
        and lines(headers, b"sec-fetch-mode") in ([], [b"navigate"])
        and not any(b"prefetch" in line for line in lines(headers, b"sec-purpose"))
    )


def request_headers(
    headers: Headers,
    by_name: dict[bytes, bytes],
    *,
    method: str,
    variant: str,
    may_be_page: bool,
    asks_for_page: bool,
) -> Headers:
    """Return the request's fields as the app is to see them; the same list where nothing changes.

    A validator that names another variant is taken away, so that a 304 never confirms bytes that this visitor
    would not get; ranges and codings that could not be rewritten are not asked for.

    Args:
        by_name: the same fields, see :func:`combined`.
        variant: the present variant's name, see :func:`variant_etag`.
        may_be_page: the answer may be a page, by what the request looks like.
        asks_for_page: the request says that it wants one.
    """
    changes: dict[bytes, bytes | None] = {}
    if may_be_page and (asked := by_name.get(b"accept-encoding")) is not None:
        acceptable = codings.acceptable(asked)
        if acceptable != asked:
            changes[b"accept-encoding"] = acceptable
        elif len(PLAIN_CODINGS) < _MAX_PLAIN_CODINGS and len(asked) <= _LONGEST_PLAIN_CODING:
            PLAIN_CODINGS.add(asked)
    if method in ("GET", "HEAD"):
        if (asked := by_name.get(b"if-none-match")) is not None:
            tags = _own_validators(asked, variant, keep_foreign=not asks_for_page)
            if tags != asked:
                changes[b"if-none-match"] = tags
        if asks_for_page:
            changes.update((name, None) for name in _NOT_FOR_PAGES if name in by_name)
    if not changes:
        return headers
    kept = [(key, value) for key, value in headers if key not in changes]
    return kept + [(key, value) for key, value in changes.items() if value is not None]


def _own_validators(value: bytes, variant: str, *, keep_foreign: bool) -> bytes | None:
    """Return the ``If-None-Match`` in the app's own terms; ``None`` where nothing is left of it.

    Tags that no variant names belong to what is not rewritten: requests that may be for that keep them.
    """
    if b"~c-" not in value and keep_foreign:
        return value
    if value.strip() == b"*":
        return None
    suffix = b"~" + variant.encode("ascii")
    kept = []
    for match in ENTITY_TAG.finditer(value):
        tag = match[1]
        if tag.endswith(suffix):
            # Whether the app's tag was a strong one is forgotten: it knows it by either.
            kept += [b'"%b"' % tag.removesuffix(suffix), b'W/"%b"' % tag.removesuffix(suffix)]
        elif keep_foreign and b"~c-" not in tag:
            kept.append(match[0])
    return b", ".join(kept) or None
