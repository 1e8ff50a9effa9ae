"""What is done about the trackers of one response, and the account of it."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from functools import cached_property, lru_cache, partial
from typing import NamedTuple

from publicsuffixlist import PublicSuffixList

from consent.catalog import Catalog, Match, Vendor
from consent.categories import Category
from consent.decision import Decision, Reason
from consent.html.attribute_values import decoded
from consent.html.judge import Instead, Skip
from consent.html.screening import page_screen
from consent.html.urls import PageURL, Target, resolve, resolve_base
from consent.policy import Unclassified

MAX_FINDINGS = 1000
"""How many findings of one response are kept; the rest is only counted."""
_MAX_SUBJECT = 200
_MAX_SETTLED = 4096
"""How many hosts of one page need not be asked about twice: some 400 KB at most."""

_suffixes = PublicSuffixList()


class Action(StrEnum):
    """What was done about a tracker."""

    ALLOWED = "allowed"
    STRIPPED = "stripped"
    HELD = "held"
    """It is in the page, inert, until it is allowed."""
    REPLACED = "replaced"
    """Likewise, and a placeholder offers it."""


class Finding(NamedTuple):
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


class UnclassifiedRule(NamedTuple):
    """What becomes of third-party content that no catalog entry explains."""

    unclassified: Unclassified
    known: Callable[[str, str], bool]
    """Tells whether the site itself named a place, by host and path."""


NO_RULE = UnclassifiedRule(Unclassified.ALLOW, lambda host, path: True)
"""It stays."""
_UNREADABLE = "could not be read to its end"
_AWAITED = f"{Category.TARGETING}/unclassified"
"""Whose consent such content waits for."""


@lru_cache(maxsize=4096)
def site_of(host: str) -> str:
    """Return the registrable domain of ``host`` (the host itself where it has none, such as an address)."""
    if host.rpartition(".")[2].isdecimal():  # an IPv4 address: its labels are no domain
        return host
    return str(_suffixes.privatesuffix(host) or host)


@lru_cache(maxsize=64)  # of three categories each is allowed or not, and there is a catalog or two
def _numbers_allowed(catalog: Catalog, letters: str, passes_unclassified: bool) -> bytes:
    """Return what follows for vendors from what their categories' letters in a :attr:`Decision.key` tell."""
    allowed = (
        vendor.category is Category.STRICTLY_NECESSARY or vendor.category[0] in letters
        for vendor in catalog.vendors.values()
    )
    return bytes((*allowed, passes_unclassified))


class PageEnforcement:
    """Judges what one response carries, by one decision; the rewriter's ``Judge``.

    Args:
        catalog: what is known about vendors.
        decision: what this visitor allows.
        url: where the page is. Of its own host only those paths are refused that are a vendor's on every host.
        unclassified: what becomes of what nobody has explained.
    """

    def __init__(
        self, catalog: Catalog, decision: Decision, url: PageURL, *, unclassified: UnclassifiedRule = NO_RULE
    ) -> None:
        self._catalog = catalog
        self._decision = decision
        self._page = url
        self._base = url
        self._body = 0  # the first finding of the body
        self._element = 0  # ... and of the element at hand
        self._refused_by: set[str] = set()
        self._undecided = False
        self._findings: list[Finding] = []
        self._uncounted = 0
        # What needs no second look: a host, or with an element's name and NUL before it; where paths matter, with
        # NUL and whose it is behind it.
        self._settled = {url.host.encode("utf-8", "surrogateescape")}
        # Elements, hosts and the rest of the URLs that were passed by the screen: they are noted in their turn.
        self._screened: list[tuple[bytes, bytes, bytes]] = []
        self._answers: dict[str, tuple[Action, Reason, str]] = {}  # about the vendors met so far
        self._decided = False
        self._unclassified, self._known = unclassified
        self._passes_unclassified = self._unclassified is Unclassified.ALLOW or (
            self._unclassified is Unclassified.HOLD and decision.allows(Category.TARGETING)
        )

    @cached_property
    def skip(self) -> Skip | None:
        """Passes what is allowed, or nobody's: see :class:`~consent.html.judge.Judge`."""
        screen = page_screen(self._catalog)
        return screen and partial(screen.skip, self._settled, self._screened, self._numbers_allowed())

    @property
    def decided(self) -> bool:
        """Whether anything was found whose fate depends on the decision."""
        self._note_all_unclassified()
        return self._decided

    @decided.setter
    def decided(self, decided: bool) -> None:
        self._decided = decided

    def refuses_url(self, element: str, url: str) -> bool:
        """Tell whether ``element`` must not load ``url``, which is relative to the page's base."""
        target = resolve(url, self._base)
        if target is None:
            return False
        if (match := self._catalog.match_path(target.path)) is not None:
            return self._refuses_path(element, target, match)
        if target.host == self._page.host:
            return False
        host = target.host.encode()
        kind = element.encode("utf-8", "surrogateescape")
        key = b"%b\0%b" % (kind, host)
        if host in self._settled or key in self._settled:
            return False
        match = self._catalog.match_url(target.host, target.path)
        if not self._catalog.is_of_one(target.host):
            key += (
                b"\0"
                if match is None
                else b"\0%b" % self._catalog.number(match.vendor.id).to_bytes(4, "little")
            )
            if key in self._settled:
                return False
        self._note_all_unclassified()
        if self._note_target(element, target, match):
            return True
        if match is None and not self._passes_unclassified:
            return False  # the next of its paths may be refused
        if len(self._settled) < _MAX_SETTLED:
            self._settled.add(key)
        return False

    def refuses_anything(self) -> bool:
        """Tell whether the visitor refuses anything: of what asks that, the fate depends on the decision."""
        self._decided = True
        return not self._decision.allows_everything

    def _refuses_path(self, element: str, target: Target, match: Match) -> bool:
        """Tell whether ``element`` must not load what is a vendor's by its path, on whatever host."""
        if target.host != self._page.host:
            match = self._catalog.match_url(target.host, target.path) or match
        elif target.path == self._page.path:
            return False  # the page itself
        self._note_all_unclassified()
        return self._note_target(element, target, match)

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

    def begin_body(self) -> None:
        """From here on, what is found is in the page itself, not in header fields."""
        self._body = len(self.findings)

    @property
    def missing(self) -> frozenset[str]:
        """What is neither in the page nor held in it, each ``category/vendor``; empty where nothing is held."""
        found = self.findings[self._body :]
        if all(finding.action in (Action.ALLOWED, Action.STRIPPED) for finding in found):
            return frozenset()
        stripped = [finding for finding in found if finding.action is Action.STRIPPED]
        missing = {_spec(finding.vendor) for finding in stripped if finding.vendor}
        if self._unclassified is Unclassified.HOLD and any(map(is_unclassified, stripped)):
            missing.add(_AWAITED)
        return frozenset(missing)

    def begin_element(self) -> None:
        """From here on, what is refused belongs to an element that may stay, inert."""
        self._element = len(self.findings)
        self._refused_by.clear()
        self._undecided = False

    def refused_by(self) -> frozenset[str]:
        """Return whose consent that element waits for: each ``category/vendor``.

        Empty where that is not all that is wrong with it.
        """
        return frozenset() if self._undecided else frozenset(self._refused_by)

    def note_instead(self, action: Instead) -> None:
        """Take note that the element stays in the page like that, and was not taken out."""
        for index, finding in enumerate(self.findings[self._element :], self._element):
            if finding.action is Action.STRIPPED:
                self.findings[index] = finding._replace(action=Action(action))

    def set_base(self, url: str) -> None:
        """From here on relative references are resolved against ``url``."""
        self._base = resolve_base(url, self._page)

    @property
    def findings(self) -> list[Finding]:
        """What was found so far, in document order: at most :data:`MAX_FINDINGS`.

        What is refused is a finding each time. What a vendor loads from a host that is allowed, or that nobody has
        explained, is one for each kind of element, with the first of its paths.
        """
        self._note_all_unclassified()
        return self._findings

    @property
    def uncounted(self) -> int:
        """How many findings there were past :data:`MAX_FINDINGS`."""
        self._note_all_unclassified()
        return self._uncounted

    @property
    def leads_away(self) -> bool:
        """Whether relative references lead to another host than the page's."""
        return self._base.host != self._page.host

    def note_undecided(self, element: str) -> None:
        """Take note that an ``element`` was taken out because it could not be read to its end."""
        self._undecided = True
        self._note_all_unclassified()
        self._note(Action.STRIPPED, element, _UNREADABLE, None)

    def _note_all_unclassified(self) -> None:
        """Note what the screen passed since the last time."""
        for kind, host, rest in self._screened:
            target = resolve(decoded(b"//%b%b" % (host, rest)), self._page)
            if target is not None:
                self._note_target(kind.decode(), target, self._catalog.match_url(target.host, target.path))
        self._screened.clear()

    def _note_target(self, element: str, target: Target, match: Match | None) -> bool:
        """Take note of what an element loads; tell whether it must not."""
        if match is not None:
            return self._note_match(match, element, target.host + target.path.partition("?")[0])
        if site_of(target.host) != site_of(self._page.host):
            return self._note_unclassified(element, target)
        if len(self._settled) < _MAX_SETTLED and self._catalog.is_of_one(target.host):
            self._settled.add(target.host.encode())
        return False

    def _note_unclassified(self, element: str, target: Target) -> bool:
        """Take note of what an element loads that nobody has explained; tell whether it must not."""
        path = target.path.partition("?")[0]
        self._decided |= self._unclassified is Unclassified.HOLD
        refused = not (self._passes_unclassified or self._known(target.host, path))
        if not (refused or self._passes_unclassified):
            # By its host alone it is not settled, but one finding is enough.
            noted = f"{element}\0{target.host}\0known".encode("utf-8", "surrogateescape")
            if noted in self._settled:
                return False
            if len(self._settled) < _MAX_SETTLED:
                self._settled.add(noted)
        self._note(Action.STRIPPED if refused else Action.ALLOWED, element, target.host + path, None)
        if refused and self._unclassified is Unclassified.HOLD:
            self._refused_by.add(_AWAITED)
        elif refused:
            self._undecided = True
        return refused

    def _refuses(self, match: Match, kind: str, subject: str) -> bool:
        self._note_all_unclassified()
        return self._note_match(match, kind, subject)

    def _note_match(self, match: Match, kind: str, subject: str) -> bool:
        vendor = match.vendor
        self._decided = self._decided or vendor.category is not Category.STRICTLY_NECESSARY
        action, reason, spec = self._answers.get(vendor.id) or self._answer(vendor)
        self._note(action, kind, subject, vendor, reason)
        if action is Action.ALLOWED:
            return False
        self._refused_by.add(spec)
        return True

    def _numbers_allowed(self) -> bytes:
        """Return for each vendor, in catalog order, whether it is allowed; then whether what is nobody's is."""
        decision, catalog = self._decision, self._catalog
        allowed = _numbers_allowed(catalog, decision.key.partition(".")[0], self._passes_unclassified)
        named = (*decision.vendors, *decision.let_through)
        exceptions = [vendor for vendor in map(catalog.vendors.get, named) if vendor is not None]
        if not exceptions:
            return allowed
        answers = bytearray(allowed)
        for vendor in exceptions:
            answers[catalog.number(vendor.id)] = decision.allows(vendor.category, vendor.id)
        return bytes(answers)

    def _answer(self, vendor: Vendor) -> tuple[Action, Reason, str]:
        category = vendor.category
        allowed = self._decision.allows(category, vendor.id)
        reason = self._decision.reason(category)
        # A vendor's own exception overrules its category's answer.
        if allowed != self._decision.allows(category):
            reason = Reason.GRANTED if allowed else Reason.REFUSED
        if allowed and vendor.id in self._decision.let_through and not self._decision.allows(category):
            reason = Reason.LET_THROUGH
        action = Action.ALLOWED if allowed else Action.STRIPPED
        answer = self._answers[vendor.id] = action, reason, _spec(vendor)
        return answer

    def _note(
        self, action: Action, kind: str, subject: str, vendor: Vendor | None, reason: Reason | None = None
    ) -> None:
        if len(self._findings) >= MAX_FINDINGS:
            self._uncounted += 1
            return
        self._findings.append(Finding(action, kind, subject[:_MAX_SUBJECT], vendor, reason))


def is_unclassified(finding: Finding) -> bool:
    """Tell whether something is third-party content that nobody has explained."""
    return finding.vendor is None and finding.subject != _UNREADABLE


def _spec(vendor: Vendor) -> str:
    return f"{vendor.category}/{vendor.id}"
