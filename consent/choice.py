"""A visitor's choice, as a value."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType

from consent.categories import OPTIONAL, Category

MAX_COOKIE_DAYS = 400
"""Browsers keep no cookie longer (RFC 6265bis, section 5.5)."""

# The forms of what is written down of a choice, in the cookie and in the receipt alike.
RECEIPT_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
SUBJECT = re.compile(r"[0-9a-f]{32}")
POLICY_VERSION = re.compile(r"[0-9a-f]{12}")
VENDOR_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")

GROUP_COOKIE_SECONDS = 120

NOBODY = "0" * 32
"""The subject of a choice that is kept without saying whose it is."""
_NO_RECEIPT = "00000000-0000-4000-8000-000000000000"


class BrowserSignal(StrEnum):
    """A preference that the browser itself sends with every request."""

    GPC = "gpc"
    """Global Privacy Control, the ``Sec-GPC`` field."""
    DNT = "dnt"
    """Do Not Track, the ``DNT`` field."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What one visitor chose, when, under which policy, and knowing which signals.

    ``told`` names the browser signals that were present and whose conflict with the choice the visitor was
    told about on the very form the choice was made on: only for these does the choice outweigh the signal.
    """

    receipt_id: str
    """UUID4 of the receipt that proves this choice."""
    subject: str
    """Pseudonym of the visitor: 32 random hexadecimal digits, kept from choice to choice."""
    made_at: int
    """Seconds since 1970-01-01T00:00:00Z."""
    policy_version: str
    granted: frozenset[Category]
    """The optional categories said yes to; every other optional category was refused."""
    vendors: Mapping[str, bool] = field(default_factory=lambda: MappingProxyType({}), hash=False)
    """Vendor ids that differ from their category's answer."""
    told: frozenset[BrowserSignal] = frozenset()
    taken_back: frozenset[BrowserSignal] = frozenset()
    """The signals that took back something that was granted before, without a word of the visitor's."""
    over_http: bool = False
    """Whether it was made without HTTPS: over HTTPS, what it grants does not count."""

    @property
    def grants(self) -> bool:
        """Whether anything was said yes to, be it a single vendor."""
        return bool(self.granted) or any(self.vendors.values())

    @property
    def refuses(self) -> bool:
        """Whether anything was said no to, be it a single vendor."""
        return not (self.granted.issuperset(OPTIONAL) and all(self.vendors.values()))

    @property
    def is_nobodys(self) -> bool:
        """Whether it is what is kept of somebody who was forgotten: a no that names neither visitor nor receipt."""
        return self.subject == NOBODY


def group_cookie(origin: str) -> str:
    """Return the name of the cookie that binds a hand-over in a group of sites to a browser, on that at ``origin``.

    Over HTTPS it has a prefix with which no other host can set it. (RFC 6265bis, section 4.1.3.2.)
    """
    return "__Host-consent_group" if origin.startswith("https:") else "consent_group"


def nobodys_refusal(*, policy_version: str, now: int) -> Choice:
    """Return the choice of somebody who was forgotten: everything optional is refused.

    Without it, who was forgotten would have said nothing, and where silence is a yes, a no would become one.

    Args:
        policy_version: the version of the policy in force.
        now: seconds since 1970-01-01T00:00:00Z.
    """
    return Choice(
        receipt_id=_NO_RECEIPT,
        subject=NOBODY,
        made_at=now,
        policy_version=policy_version,
        granted=frozenset(),
    )


def refusals_of(choice: Choice) -> Choice:
    """Return ``choice`` without what it grants: nothing that is stored of it can bring back what was withdrawn."""
    refused = {vendor: False for vendor, allowed in choice.vendors.items() if not allowed}
    return replace(choice, granted=frozenset(), vendors=MappingProxyType(refused), told=frozenset())


def granted_by_both(choice: Choice, other: Choice, *, receipt_id: str) -> Choice:
    """Return what of ``choice`` the other one grants as well: what either refuses is refused."""
    vendors = {
        vendor: allowed
        for vendor, allowed in {**choice.vendors, **other.vendors}.items()
        if not allowed or (choice.vendors.get(vendor) and other.vendors.get(vendor))
    }
    vendors |= {vendor: False for vendor, allowed in choice.vendors.items() if not allowed}
    return replace(
        choice,
        receipt_id=receipt_id,
        granted=choice.granted & other.granted,
        vendors=MappingProxyType(vendors),
        taken_back=choice.taken_back | other.taken_back,
        over_http=choice.over_http or other.over_http,
    )


def left_of(choice: Choice, kept: Choice) -> Choice | None:
    """Return ``choice`` with no more than ``kept`` grants; ``None``: it has no more than that.

    Under its own receipt: it is no longer than it was.
    """
    left = granted_by_both(choice, kept, receipt_id=choice.receipt_id)
    if (left.granted, left.vendors) == (choice.granted, choice.vendors):
        return None
    return replace(left, taken_back=choice.taken_back, over_http=choice.over_http)
