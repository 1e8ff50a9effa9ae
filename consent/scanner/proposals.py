"""What a scan proposes for ``consent.toml``, and the file that ``consent init`` writes.

Everything in it comes from the scanned site, which may be anybody's: only what is a valid name or host gets in.
"""

from __future__ import annotations

from dataclasses import dataclass

from consent.catalog import Vendor
from consent.categories import Category
from consent.policy_rules import a_cookie_name
from consent.scanner.addresses import host_of
from consent.scanner.judging import Finding, Report
from consent.value_rules import MAX_LISTED, Wrong
from consent.vendor_stubs import Company, SeenHost, commented, companies_of, declare_lines, vendor_stub

MAX_STUBS = 100
"""How many cookies, and how many companies, are proposed."""
_DAY = 86_400


@dataclass(frozen=True, slots=True)
class Proposals:
    """What is missing in a policy, as far as a scan can know it."""

    declare: tuple[Vendor, ...]
    """Vendors that need consent and that the policy does not list to visitors."""
    cookies: tuple[Finding, ...]
    """The site's own cookies that nobody has described."""
    companies: tuple[Company, ...]

    def __bool__(self) -> bool:
        return bool(self.declare or self.cookies or self.companies)

    def toml(self) -> str:
        """Write them as parts of a ``consent.toml``; what only a human knows is left open, in comments."""
        parts = []
        if self.declare:
            parts.append(f"# Add to declare:\n{declare_lines(self.declare)}")
        parts += [cookie_stub(finding) for finding in self.cookies]
        parts += [vendor_stub(company) for company in self.companies]
        return "\n".join(parts)


def propose(report: Report) -> Proposals:
    """Return what a report proposes."""
    declare = [e.vendor for e in report.trackers if not (e.declared or e.vendor.listed_by)]
    cookies = [
        finding for finding in report.unknown_own if finding.cookie and _is_cookie_name(finding.subject)
    ]
    # A public list may name them: who they are, and for what they are there, is for the site to say all the same.
    listed = (f for e in report.trackers if e.vendor.listed_by for f in e.findings if f.cookie is None)
    seen = [
        SeenHost(finding.host, finding.kind, finding.subject, _page(finding))
        for finding in (*report.unclassified, *listed)
    ]
    companies = companies_of(seen)
    return Proposals(tuple(declare[:MAX_LISTED]), tuple(cookies[:MAX_STUBS]), tuple(companies[:MAX_STUBS]))


def cookie_stub(finding: Finding) -> str:
    """Write a ``[[cookie]]`` table as a comment: its purpose and category are for somebody to say who knows."""
    cookie = finding.cookie
    http_only = cookie is not None and cookie.http_only
    seconds = cookie.lifetime_seconds if cookie is not None else None
    return commented(
        [
            "[[cookie]]",
            f'name = "{finding.subject}"',
            'purpose = ""           # a sentence that visitors understand',
            f'lifetime = "{lifetime(seconds)}"',
            f'category = ""          # one of {", ".join(Category)}',
            *(["http_only = true"] if http_only else []),
        ],
        f"Set on {_page(finding)}{f' by {finding.initiator[:120]}' if finding.initiator else ''}.",
    )


def _page(finding: Finding) -> str:
    return finding.pages[0][:120] if finding.pages else "a page"


def lifetime(seconds: int | None) -> str:
    """Say in words how long a cookie is kept."""
    if seconds is None:
        return "session"
    days = round(seconds / _DAY)
    for unit, length in (("year", 365), ("month", 30)):
        if days and days % length == 0:
            return counted(days // length, unit)
    if days > 1:
        return f"{days} days"
    return (
        counted(round(seconds / 3_600), "hour")
        if seconds >= 3_600
        else counted(round(seconds / 60) or 1, "minute")
    )


def counted(count: int, one: str, many: str = "") -> str:
    """Say in words how many there are of something."""
    return f"{count} {one if count == 1 else many or one + 's'}"


def site_name(report: Report) -> str:
    """Return a name for the site to begin with: its host, without ``www.``."""
    return (host_of(report.recording.url) or "this site").removeprefix("www.")[:100]


def _is_cookie_name(name: str) -> bool:
    try:
        a_cookie_name(name)
    except Wrong:
        return False
    return "*" not in name
