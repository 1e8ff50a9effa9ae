"""For tests of sites: a response that gives trackers to visitors without consent fails, and says which and where.

In tests run by pytest the fixture ``assert_no_trackers`` is this, with the policy of the setting ``consent_policy``.
"""

from __future__ import annotations

from functools import lru_cache
from http.cookies import BaseCookie
from pathlib import Path
from typing import Any

from consent.catalog import Catalog, load_catalog
from consent.check import MAX_PAGE_BYTES
from consent.codings import BrokenCoding, decoded, listed, readable
from consent.decision import decide
from consent.enforcement import MAX_FINDINGS, Action, Finding
from consent.explain import NOWHERE
from consent.headers import Headers, first
from consent.html.urls import PageURL, resolve
from consent.located import Located, Unscreened, located_in_response
from consent.parts import Part, catalog_of, part_at
from consent.policy import Policy
from consent.policy_file import load_policy
from consent.signals import Signals

_DECODING = ("iter_raw", "iter_content")
"""What responses have whose body was decoded as it came: of HTTPX, of Requests."""

__all__ = ["assert_no_trackers"]


def assert_no_trackers(
    response: Any,
    policy: Policy | str | Path | None = None,
    *,
    url: str | None = None,
    allow_declared: bool = False,
    strict: bool = False,
) -> None:
    """Fail if ``response`` gives a tracker to a visitor who consented to nothing.

    Header fields are judged (``Set-Cookie``, ``Link``, ``Refresh`` and so on), and the body of a page, style sheet or
    script, whatever the status. What the page holds inert until it is allowed is fine.

    Args:
        response: of Starlette, HTTPX or Requests, or of the test clients of Starlette, Flask or Django; or anything
            with ``headers`` and with the bytes of the body as ``content``, ``body`` or ``data``.
        policy: the site's, or the path of its file: it adds vendors and cookies, and says what silence means.
        url: where the page is, so that what loads from there is its own. Default: where the request went.
        allow_declared: trackers of vendors that the policy declares are fine. For an app that is tested without the
            middleware, which is what keeps them back.
        strict: third-party content that no catalog entry explains fails too.

    Raises:
        AssertionError: there are trackers; the message has vendor, category and line of each.
        TypeError: it is no response, or its body cannot be read.
        ConfigurationError: the policy file is wrong.
    """
    __tracebackhide__ = True
    place = _place(response, url)
    part = part_at(*_rules(policy), place)
    page = Unscreened(part.catalog, decide(part.policy, Signals()), place)
    headers = _headers(response)
    found = located_in_response(headers, _body(response, headers), page, part.catalog.evidence)
    declared = {vendor.id for vendor in part.policy.vendors} if allow_declared else set()
    wrong = [each for each in found if _is_wrong(each.finding, part, declared, strict)]
    if wrong:
        raise AssertionError(_told(wrong, page.uncounted))
    if page.uncounted:
        raise AssertionError(
            f"the response has more than {MAX_FINDINGS} trackers and third parties; {page.uncounted} were not judged"
        )


def _rules(policy: Policy | str | Path | None) -> tuple[Policy, Catalog]:
    if policy is None:
        return Policy(), load_catalog()
    if isinstance(policy, Policy):
        return policy, catalog_of(policy)
    file = Path(policy)
    try:
        changed = file.stat().st_mtime_ns
    except (OSError, ValueError):
        changed = 0  # reading it tells what is wrong
    return _read(str(file.absolute()), changed)


@lru_cache(maxsize=8)
def _read(path: str, changed: int) -> tuple[Policy, Catalog]:
    return load_policy(path, load_catalog())


# --- what is read of a response ---


def _headers(response: Any) -> Headers:
    """Return all header fields, each line by itself; Django keeps cookies apart from them."""
    headers = getattr(response, "headers", None)
    if headers is None:
        raise TypeError(f"{type(response).__name__} is no response: it has no headers")
    if hasattr(response, "raw_headers"):
        pairs = response.raw_headers
    elif isinstance(raw := getattr(headers, "raw", None), list):
        pairs = raw
    elif hasattr(headers, "multi_items"):
        pairs = headers.multi_items()
    else:
        # Requests joins the lines of a field; urllib3, below it, does not.
        lines = getattr(getattr(response, "raw", None), "headers", None) or headers
        pairs = lines.items()
    result = [(_bytes(key).lower(), _bytes(value)) for key, value in pairs]
    cookies = getattr(response, "cookies", None)
    if isinstance(cookies, BaseCookie):
        result += [(b"set-cookie", _bytes(morsel.OutputString())) for morsel in cookies.values()]
    return result


def _bytes(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogateescape")


def _body(response: Any, headers: Headers) -> bytes:
    """Return the body. HTTPX and Requests have decoded it; the others have it as it is sent."""
    if getattr(response, "streaming", False) and hasattr(response, "getvalue"):  # of Django
        body = response.getvalue()
    else:
        names = ("content", "body", "data")
        body = next((getattr(response, name) for name in names if hasattr(response, name)), None)
    if not isinstance(body, (bytes, bytearray, memoryview)):
        raise TypeError(f"the body of {type(response).__name__} is not there as bytes: read it first")
    body = bytes(body)
    applied = listed(first(headers, b"content-encoding") or b"")
    if applied and not any(hasattr(response, name) for name in _DECODING):
        if not readable(applied):
            shown = b", ".join(applied).decode("ascii")
            raise TypeError(
                f"the body is in {shown}, which cannot be undone: pip install 'asgi-consent[codings]'"
            )
        try:
            body = decoded(body, applied, longest=MAX_PAGE_BYTES)
        except BrokenCoding as error:
            raise TypeError(f"the body is not what its Content-Encoding says: {error}") from None
    if len(body) > MAX_PAGE_BYTES:
        raise TypeError(f"the body is larger than {MAX_PAGE_BYTES >> 20} MiB")
    return body


def _place(response: Any, url: str | None) -> PageURL:
    if url is None:
        try:
            url = str(response.request.url)
        except (AttributeError, RuntimeError):  # none, or HTTPX was not told of one
            return NOWHERE
    target = resolve(url, NOWHERE) if "://" in url else None
    return NOWHERE if target is None else PageURL(url.partition(":")[0].lower(), target.host, target.path)


# --- what is said about it ---


def _is_wrong(finding: Finding, part: Part, declared: set[str], strict: bool) -> bool:
    if finding.vendor is None:
        return strict and not part.explains(finding)
    return finding.action not in (Action.ALLOWED, Action.HELD) and finding.vendor.id not in declared


def _told(wrong: list[Located], uncounted: int) -> str:
    count = len(wrong) + uncounted
    lines = [f"the response has {count} tracker{'s' if count > 1 else ''} that nobody consented to:"]
    for line, finding in wrong:
        vendor = finding.vendor
        where = f"line {line}" if line else "header"
        about = f"{vendor.name} ({vendor.category})" if vendor else "unclassified"
        lines.append(f"  {where}: {about} {finding.kind} {finding.subject}")
    lines += [f"  and {uncounted} more"] if uncounted else []
    lines.append(
        "Take them out, or test the app with ConsentMiddleware around it; without it, allow_declared=True accepts "
        "vendors that the policy declares."
    )
    return "\n".join(lines)
