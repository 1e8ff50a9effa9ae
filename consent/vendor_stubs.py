"""Tables that say who a third party is, as far as it can be known from what was seen; the rest is left open.

What was seen comes from pages and browsers, and may be anybody's: only what is a valid name or host gets in.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from consent.catalog import Vendor
from consent.categories import Category
from consent.enforcement import site_of

_HOST = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]*[a-z0-9]")


@dataclass(frozen=True, slots=True)
class SeenHost:
    """Something of somebody's that nothing explains."""

    host: str
    kind: str
    subject: str
    """Host and path, or the host."""
    page: str
    """Where, for example."""


@dataclass(frozen=True, slots=True)
class Company:
    """Hosts of one registrable domain that nothing explains."""

    id: str
    domain: str
    hosts: tuple[str, ...]
    seen: SeenHost
    """The first of them that was seen."""


def companies_of(seen: Iterable[SeenHost]) -> list[Company]:
    """Return whose hosts they are, in the order in which these were seen."""
    hosts: dict[str, list[SeenHost]] = {}
    for each in seen:
        if _HOST.fullmatch(each.host):
            hosts.setdefault(site_of(each.host), []).append(each)
    return [
        Company(id_of(domain), domain, tuple(dict.fromkeys(each.host for each in found)), found[0])
        for domain, found in hosts.items()
    ]


def declare_lines(vendors: Sequence[Vendor]) -> str:
    """Write the list of declared vendors, each with its name and category beside it."""
    width = max((len(vendor.id) for vendor in vendors), default=0) + 3
    lines = [f'  {f""""{vendor.id}",""":<{width}}  # {vendor.name}, {vendor.category}' for vendor in vendors]
    return "\n".join(["declare = [", *lines, "]", ""])


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
        f"Seen on {seen.page or 'a page'}: {seen.kind} {seen.subject[:120]}",
    )


def commented(lines: Iterable[str], reason: str) -> str:
    """Return lines as a comment, below the reason for them."""
    return "".join(f"# {line}\n" for line in [one_line(reason), *lines])


def one_line(text: str) -> str:
    """Return a text as it may stand in a comment: one line, nothing that moves or hides words."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)[:300]


def id_of(domain: str) -> str:
    """Return an id for a vendor that has this domain."""
    return re.sub(r"[^a-z0-9]+", "-", domain).strip("-")[:60].strip("-")
