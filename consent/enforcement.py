"""What is done about the trackers of one response, and the account of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from publicsuffixlist import PublicSuffixList

from consent.catalog import Catalog, Match, Vendor
from consent.categories import Category
from consent.decision import Decision, Reason
from consent.html.urls import PageURL, resolve, resolve_base

MAX_FINDINGS = 1000
"""How many findings of one response are kept; the rest is only counted."""
_MAX_SUBJECT = 200

_suffixes = PublicSuffixList()


class Action(StrEnum):
    """What was done about a tracker."""

    ALLOWED = "allowed"
    STRIPPED = "stripped"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing in a response that tracks, or that nobody has explained."""

    action: Action
    kind: str
    """``script``, ``inline script``, ``img``, ``iframe``, ``link``, ``cookie``, ``link header`` and so on."""
    subject: str
    """Host and path, or the cookie's name; no query, at most 200 characters."""
    vendor: Vendor | None
    """``None``: unclassified third-party content, or something stripped that could not be read to its end."""
    reason: Reason | None
    """Why the vendor's category is allowed or not; ``None`` where there is no vendor."""


@lru_cache(maxsize=4096)
def site_of(host: str) -> str:
    """Return the registrable domain of ``host`` (the host itself where it has none, such as an address)."""
    if host.rpartition(".")[2].isdecimal():  # an IPv4 address: its labels are no domain
        return host
    return str(_suffixes.privatesuffix(host) or host)


class PageEnforcement:
    """Judges what one response carries, by one decision; the rewriter's ``Judge``.

    Args:
        catalog: what is known about vendors.
        decision: what this visitor allows.
        url: where the page is. Its own host is never refused.
    """

    def __init__(self, catalog: Catalog, decision: Decision, url: PageURL) -> None:
        self._catalog = catalog
        self._decision = decision
        self._page = url
        self._base = url
        self.findings: list[Finding] = []
        self.uncounted = 0
        """Findings past :data:`MAX_FINDINGS`."""
        self.decided = False
        """Whether anything was found whose fate depends on the decision."""

    def refuses_url(self, element: str, url: str) -> bool:
        """Tell whether ``element`` must not load ``url``, which is relative to the page's base."""
        target = resolve(url, self._base)
        if target is None or target.host == self._page.host:
            return False
        match = self._catalog.match_url(target.host, target.path)
        if match is None:
            if site_of(target.host) != site_of(self._page.host):
                self._note(Action.ALLOWED, element, target.host + target.path.partition("?")[0], None)
            return False
        return self._refuses(match, element, target.host + target.path.partition("?")[0])

    def refuses_script(self, code: str) -> bool:
        """Tell whether the inline script ``code`` must not run: it holds a refused vendor's snippet."""
        refused = False
        for match in self._catalog.match_inline(code):
            refused |= self._refuses(match, "inline script", f"the snippet of {match.vendor.name}")
        return refused

    def refuses_cookie(self, name: str) -> bool:
        """Tell whether the response must not set the cookie ``name``."""
        match = self._catalog.match_cookie(name)
        return match is not None and self._refuses(match, "cookie", name)

    def set_base(self, url: str) -> None:
        """From here on relative references are resolved against ``url``."""
        self._base = resolve_base(url, self._page)

    @property
    def leads_away(self) -> bool:
        """Whether relative references lead to another host than the page's."""
        return self._base.host != self._page.host

    def note_undecided(self, element: str) -> None:
        """Take note that an ``element`` was taken out because it could not be read to its end."""
        self._note(Action.STRIPPED, element, "could not be read to its end", None)

    def _refuses(self, match: Match, kind: str, subject: str) -> bool:
        vendor = match.vendor
        self.decided = self.decided or vendor.category is not Category.STRICTLY_NECESSARY
        allowed = self._decision.allows(vendor.category, vendor.id)
        self._note(Action.ALLOWED if allowed else Action.STRIPPED, kind, subject, vendor)
        return not allowed

    def _note(self, action: Action, kind: str, subject: str, vendor: Vendor | None) -> None:
        if len(self.findings) >= MAX_FINDINGS:
            self.uncounted += 1
            return
        reason = None
        if vendor is not None:
            reason = self._decision.reason(vendor.category)
            # A vendor's own exception overrules its category's answer.
            if (action is Action.ALLOWED) != self._decision.allows(vendor.category):
                reason = Reason.GRANTED if action is Action.ALLOWED else Reason.REFUSED
        self.findings.append(Finding(action, kind, subject[:_MAX_SUBJECT], vendor, reason))
