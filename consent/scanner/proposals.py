"""What a scan proposes for ``consent.toml``, and the file that ``consent init`` writes.

Everything in it comes from the scanned site, which may be anybody's: only what is a valid name or host gets in.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from consent.catalog import Vendor
from consent.categories import Category
from consent.enforcement import site_of
from consent.policy_rules import a_cookie_name
from consent.scanner.addresses import host_of
from consent.scanner.judging import Finding, Report
from consent.value_rules import MAX_LISTED, Wrong

MAX_STUBS = 100
"""How many cookies, and how many companies, are proposed."""
_HOST = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]*[a-z0-9]")
_DAY = 86_400


@dataclass(frozen=True, slots=True)
class Company:
    """Hosts of one registrable domain that nothing explains."""

    id: str
    domain: str
    hosts: tuple[str, ...]
    seen: Finding


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
    hosts: dict[str, list[Finding]] = {}
    # A public list may name them: who they are, and for what they are there, is for the site to say all the same.
    listed = (f for e in report.trackers if e.vendor.listed_by for f in e.findings if f.cookie is None)
    for finding in (*report.unclassified, *listed):
        if _HOST.fullmatch(finding.host):
            hosts.setdefault(site_of(finding.host), []).append(finding)
    companies = [
        Company(_id_of(domain), domain, tuple(dict.fromkeys(f.host for f in found)), found[0])
        for domain, found in hosts.items()
    ]
    return Proposals(tuple(declare[:MAX_LISTED]), tuple(cookies[:MAX_STUBS]), tuple(companies[:MAX_STUBS]))


def declare_lines(vendors: Sequence[Vendor]) -> str:
    """Write the list of declared vendors, each with its name and category beside it."""
    width = max((len(vendor.id) for vendor in vendors), default=0) + 3
    lines = [f'  {f""""{vendor.id}",""":<{width}}  # {vendor.name}, {vendor.category}' for vendor in vendors]
    return "\n".join(["declare = [", *lines, "]", ""])


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


def vendor_stub(company: Company) -> str:
    """Write a ``[[vendor]]`` table as a comment: who that is has to be found out."""
    hosts = ", ".join(f'"{host}"' for host in ([company.domain] if len(company.hosts) > 1 else company.hosts))
    seen = company.seen
    return commented(
        [
            "[[vendor]]",
            f'id = "{company.id}"',
            'name = ""              # the product',
            'company = ""',
            'country = ""           # two letters, such as "DE"',
            f'privacy = "https://{company.domain}/"  # the address of its privacy notice',
            f'category = ""          # one of {", ".join(Category)}',
            'about = ""             # one sentence for visitors: what the site uses it for',
            f"hosts = [{hosts}]",
        ],
        f"Seen on {_page(seen)}: {seen.kind} {seen.subject[:120]}",
    )


def _page(finding: Finding) -> str:
    return finding.pages[0][:120] if finding.pages else "a page"


def commented(lines: Iterable[str], reason: str) -> str:
    """Return lines as a comment, below the reason for them."""
    return "".join(f"# {line}\n" for line in [one_line(reason), *lines])


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


def one_line(text: str) -> str:
    """Return a text as it may stand in a comment: one line, nothing that moves or hides words."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)[:300]


def site_name(report: Report) -> str:
    """Return a name for the site to begin with: its host, without ``www.``."""
    return (host_of(report.recording.url) or "this site").removeprefix("www.")[:100]


def _is_cookie_name(name: str) -> bool:
    try:
        a_cookie_name(name)
    except Wrong:
        return False
    return "*" not in name


def _id_of(domain: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", domain).strip("-")[:60].strip("-")
