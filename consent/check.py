"""Looking at a website from outside, as a visitor without consent gets it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from consent import codings
from consent import headers as fields
from consent.catalog import Catalog
from consent.decision import decide
from consent.enforcement import Action, Finding, PageEnforcement, is_unclassified
from consent.errors import ConsentError
from consent.html.urls import PageURL
from consent.located import Unscreened, located_in_response
from consent.parts import part_at
from consent.policy import Policy
from consent.signals import Signals

if TYPE_CHECKING:
    import httpx2

MAX_PAGE_BYTES = 16 * 1024 * 1024
_MAX_REDIRECTS = 5
_REPORT_BEGIN = b'<script type="application/json" id="consent-report">'
_REPORT_END = b"</script>"


class CheckError(ConsentError):
    """A page could not be looked at; the message says what to try."""


@dataclass(frozen=True, slots=True)
class Item:
    """One thing found on a page."""

    kind: str
    subject: str
    vendor: str | None
    """The vendor's id; ``None``: unclassified."""
    name: str
    """The vendor's name, or the host."""
    category: str | None


@dataclass(slots=True)
class PageCheck:
    """What one page contains for a visitor who allowed nothing."""

    url: str
    governed: bool = False
    """Whether the site itself told what it withheld: it runs the middleware."""
    withheld: list[Item] = field(default_factory=list)
    """Refused trackers that the site kept out, by its own account, or holds in the page, inert."""
    leaked: list[Item] = field(default_factory=list)
    """Refused trackers that were delivered all the same, and what nobody has explained where the policy keeps that
    back."""
    left: list[Item] = field(default_factory=list)
    """Known third parties that are allowed without consent, and what the policy names."""
    unclassified: list[Item] = field(default_factory=list)
    """Third-party content that no catalog entry explains."""

    @property
    def found(self) -> int:
        """How many trackers the page has, withheld or not."""
        return len(self.withheld) + len(self.leaked)


@contextmanager
def _client(timeout_seconds: float) -> Iterator[httpx2.Client]:
    try:
        import httpx2
    except ModuleNotFoundError:
        raise CheckError("fetching pages needs one more package: pip install 'asgi-consent[check]'") from None
    headers = {
        "accept": "text/html,application/xhtml+xml",
        "user-agent": "asgi-consent-check",
        "consent-report": "1",
    }
    with httpx2.Client(headers=headers, timeout=timeout_seconds, follow_redirects=False) as client:
        yield client


def check_pages(
    urls: list[str], *, catalog: Catalog, policy: Policy, timeout_seconds: float = 20.0
) -> Iterator[PageCheck]:
    """Fetch each page without cookies and signals, and yield what is on it, by the rules that are about it.

    Raises:
        CheckError: a page cannot be fetched, or is no page.
    """
    with _client(timeout_seconds) as client:
        for url in urls:
            yield _check_page(client, url, catalog, policy, timeout_seconds)


def _check_page(
    client: httpx2.Client, url: str, catalog: Catalog, policy: Policy, timeout_seconds: float
) -> PageCheck:
    import httpx2

    result = PageCheck(url)
    target = url if "://" in url else f"http://{url}"
    for _ in range(_MAX_REDIRECTS + 1):
        # A visitor without consent has no cookies, not even between two hops.
        client.cookies.clear()
        try:
            with client.stream("GET", target) as response:
                body = _bounded(response, timeout_seconds)
        except (httpx2.HTTPError, httpx2.InvalidURL, ValueError) as error:
            raise CheckError(f"{target} could not be fetched: {error or type(error).__name__}") from None
        page = _judge(target, response, body, catalog, policy, result)
        if response.next_request is None:
            break
        target = str(response.next_request.url)
    else:
        raise CheckError(f"{url} redirects more than {_MAX_REDIRECTS} times")
    if page is None:
        kind = response.headers.get("content-type", "nothing that says what it is")
        raise CheckError(f"{target} is not an HTML page but {kind}: name the address of a page")
    if response.is_error and not result.leaked:
        # That nothing leaks from "not found" or "not allowed" says nothing about the page that was meant.
        raise CheckError(
            f"{target} answered {response.status_code}: name a page that visitors without consent can see"
        )
    return result


def _bounded(response: httpx2.Response, timeout_seconds: float) -> bytes:
    """Return the decoded body, which must be all there in time."""
    asked = response.request.headers["accept-encoding"].encode()
    applied = codings.listed(response.headers.get("content-encoding", "").encode())
    if unasked := [coding for coding in applied if coding in codings.OF_BROWSERS and coding not in asked]:
        raise ValueError(f"it is in the coding {unasked[0].decode()}, which was not asked for")
    until = monotonic() + timeout_seconds
    pieces = []
    size = 0
    for piece in response.iter_bytes():
        size += len(piece)
        if size > MAX_PAGE_BYTES:
            raise ValueError(f"it is larger than {MAX_PAGE_BYTES >> 20} MiB")
        if monotonic() > until:
            raise ValueError(f"it did not end within {timeout_seconds:g} seconds")
        pieces.append(piece)
    return b"".join(pieces)


def _judge(
    url: str, response: httpx2.Response, body: bytes, catalog: Catalog, policy: Policy, result: PageCheck
) -> PageEnforcement | None:
    """Add what one response holds to ``result``; return ``None`` where it is not a page."""
    parts = urlsplit(url)
    host = response.url.raw_host.decode("ascii").lower().rstrip(".")
    place = PageURL(parts.scheme, f"[{host}]" if ":" in host else host, parts.path or "/")
    part = part_at(policy, catalog, place)
    decision = decide(part.policy, Signals())
    page = Unscreened(part.catalog, decision, place, unclassified=part.unclassified)
    headers = [(key.lower(), value) for key, value in response.headers.raw]
    located_in_response(headers, body, page, part.catalog.evidence)
    is_page = fields.media_type(headers) in fields.REWRITTEN_TYPES
    if is_page:
        report = _read_report(body)
        if report is not None:
            result.governed = True
            result.withheld += report
    for finding in page.findings:
        item = item_of(finding)
        if finding.vendor is None and (finding.action is Action.ALLOWED or not is_unclassified(finding)):
            (result.left if part.explains(finding) else result.unclassified).append(item)
        elif finding.action is Action.ALLOWED:
            result.left.append(item)
        elif finding.action is Action.HELD:
            # What the site reports as withheld is that already.
            if not result.governed:
                result.withheld.append(item)
        else:
            result.leaked.append(item)
    return page if is_page else None


def item_of(finding: Finding) -> Item:
    """Return what was found, whatever was done about it."""
    vendor = finding.vendor
    return Item(
        finding.kind,
        finding.subject,
        vendor.id if vendor else None,
        vendor.name if vendor else finding.subject.partition("/")[0],
        vendor.category.value if vendor else None,
    )


def _read_report(body: bytes) -> list[Item] | None:
    """Read what the site says it withheld; ``None`` where that is no report of ours."""
    # The site's comes last: what stands before it may be anybody's.
    begin = body.rfind(_REPORT_BEGIN)
    end = body.find(_REPORT_END, begin)
    if begin < 0 or end < 0:
        return None
    try:
        report = json.loads(body[begin + len(_REPORT_BEGIN) : end])
        return [_item(entry) for entry in report["findings"] if entry["action"] != Action.ALLOWED.value]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def _item(entry: dict[str, Any]) -> Item:
    return Item(
        kind=str(entry["kind"]),
        subject=str(entry["subject"]),
        # What could not be read to its end is withheld whosever it is.
        vendor=None if entry["vendor"] is None else str(entry["vendor"]),
        name=str(entry["name"] or "unknown"),
        category=None if entry["category"] is None else str(entry["category"]),
    )
