"""Says what a recording means: whose each thing is, and whether it was allowed when it happened."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

from consent.catalog import Catalog, Match, Vendor
from consent.categories import OPTIONAL, Category
from consent.choice import Choice
from consent.decision import Decision, decide
from consent.enforcement import site_of
from consent.html.urls import PageURL, Target, resolve
from consent.parts import part_at
from consent.policy import Policy, Unclassified
from consent.policy_rules import OWN_PREFIX
from consent.scanner.addresses import host_of, path_of
from consent.scanner.recording import Call, Phase, PhaseRecord, Recording, StoredCookie, StoredKey
from consent.signals import ChoiceState, Signals

AREAS = {
    "local": "local storage",
    "session": "session storage",
    "indexeddb": "IndexedDB",
    "cache": "cache storage",
}
_NOWHERE = PageURL("https", "page.invalid", "/")
_STRONG = {"canvas", "webgl", "audio", "fonts"}
_MANY_FONTS = 30
_MANY_PARAMETERS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was asked for or stored, in one phase, by somebody else or by nobody known."""

    phase: Phase
    kind: str
    """``script``, ``beacon`` and so on; ``cookie``, ``local storage``, ``session storage``, ``IndexedDB``,
    ``cache storage``."""
    subject: str
    """Host and path, the cookie's name, or the key."""
    host: str
    """Whose that is: the host asked, the cookie's domain, the storage's origin."""
    vendor: Vendor | None
    """``None``: unclassified."""
    rule: str
    """The catalog's rule; empty: none."""
    allowed: bool
    """Whether what the visitor had said allowed it; of what nobody has explained the policy says so."""
    declared: bool
    """Whether the policy lists the vendor to visitors."""
    pages: tuple[str, ...]
    """Where, as paths of the site; the first one first."""
    initiator: str
    count: int
    cookie: StoredCookie | None = None
    """Its attributes, where it is a cookie."""
    named: bool = False
    """Whether the policy names the place for what it is about to load from: in ``csp_allow``."""

    @property
    def leaks(self) -> bool:
        """Whether it needs a consent that had not been given, or is to be kept from everybody."""
        return not self.allowed


@dataclass(frozen=True, slots=True, kw_only=True)
class Fingerprinting:
    """A script that asks for what tells browsers apart."""

    phase: Phase
    script: str
    """Host and path."""
    vendor: Vendor | None
    techniques: Mapping[str, int]
    """How often each was used."""
    likely: bool
    """Whether that looks like telling visitors apart, rather than drawing or playing something."""
    page: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was found of one vendor."""

    vendor: Vendor
    declared: bool
    findings: tuple[Finding, ...]

    def leaks_in(self, phase: Phase) -> bool:
        return any(finding.leaks for finding in self.findings if finding.phase is phase)

    def seen_in(self, phase: Phase) -> bool:
        return any(finding.phase is phase for finding in self.findings)

    @property
    def leaks(self) -> bool:
        return any(finding.leaks for finding in self.findings)


@dataclass(frozen=True)
class Report:
    """A recording, explained."""

    recording: Recording
    site: str
    """The site's host."""
    name: str
    """What the policy calls the site, or its host."""
    findings: tuple[Finding, ...]
    """In the order of the phases."""
    fingerprinting: tuple[Fingerprinting, ...]
    with_policy: bool
    """Whether the site's own policy was at hand: without it, nothing is declared."""

    @cached_property
    def phases(self) -> tuple[Phase, ...]:
        return tuple(record.phase for record in self.recording.phases)

    @cached_property
    def leaks(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.leaks)

    @cached_property
    def vendors(self) -> tuple[Evidence, ...]:
        """Those that needed a consent and had none first, then by category; the site itself is none."""
        grouped: dict[str, list[Finding]] = {}
        for finding in self.findings:
            if finding.vendor is not None and not is_own(finding.vendor):
                grouped.setdefault(finding.vendor.id, []).append(finding)
        order = list(Category)
        found = []
        for findings in grouped.values():
            vendor = findings[0].vendor
            if vendor is not None:
                found.append(Evidence(vendor, findings[0].declared, tuple(findings)))
        return tuple(
            sorted(found, key=lambda e: (not e.leaks, -order.index(e.vendor.category), e.vendor.name.lower()))
        )

    @cached_property
    def trackers(self) -> tuple[Evidence, ...]:
        """The vendors that need consent."""
        return tuple(e for e in self.vendors if e.vendor.category is not Category.STRICTLY_NECESSARY)

    @cached_property
    def unclassified(self) -> tuple[Finding, ...]:
        """Third parties that nothing explains, each host once for each kind of thing."""
        return _first(self._unexplained(own=False), lambda f: (f.host, f.kind))

    @cached_property
    def unknown_own(self) -> tuple[Finding, ...]:
        """The site's own cookies and stored keys that neither catalog nor policy explains, each once."""
        return _first(self._unexplained(own=True), lambda f: (f.kind, f.subject))

    @cached_property
    def cookies(self) -> tuple[Finding, ...]:
        """Every cookie once, as it was first seen."""
        kept = [finding for finding in self.findings if finding.cookie is not None]
        return _first(kept, lambda f: (f.subject, f.host, f.cookie.partition if f.cookie else ""))

    def _unexplained(self, *, own: bool) -> list[Finding]:
        site = site_of(self.site)
        return [
            f for f in self.findings if f.vendor is None and not f.named and (site_of(f.host) == site) is own
        ]


def judge(recording: Recording, catalog: Catalog, policy: Policy | None = None) -> Report:
    """Explain a recording, by the rules that are about each page.

    Args:
        policy: The site's own; ``None``: it is not at hand, and opt-in is what is expected.
    """
    judging = _Judging(recording, catalog, policy or Policy())
    return Report(
        recording=recording,
        site=judging.host,
        name=judging.name,
        findings=tuple(f for record in recording.phases for f in judging.findings(record)),
        fingerprinting=tuple(f for record in recording.phases for f in judging.fingerprinting(record)),
        with_policy=policy is not None,
    )


def is_own(vendor: Vendor) -> bool:
    """Tell whether a vendor stands for the site's own cookies."""
    return vendor.id.startswith(OWN_PREFIX)


class _Judging:
    def __init__(self, recording: Recording, catalog: Catalog, policy: Policy) -> None:
        self.host = host_of(recording.url)
        self._site = site_of(self.host)
        self._part_at = lru_cache(maxsize=None)(
            lambda path: part_at(policy, catalog, PageURL("https", self.host, path))
        )
        # What differs between the sections of a host is about what nobody has explained.
        here = self._part_at("/")
        self.name = here.policy.site if here.policy.site != Policy().site else self.host
        self._catalog = here.catalog
        self._declared = {vendor.id for vendor in here.policy.vendors}
        self._choice_cookies = recording.choice_cookies
        self._decisions = {phase: _decision(here.policy, phase) for phase in Phase}
        self._third_party_names = _third_party_names(here.catalog)

    def findings(self, record: PhaseRecord) -> Iterator[Finding]:
        grouped: dict[object, Finding] = {}
        for request in record.requests:
            target = resolve(request.url, _NOWHERE)
            if target is None:
                continue
            match = self._match_url(target)
            if match is None and site_of(target.host) == self._site:
                continue
            subject = target.host + re.split("[?;]", target.path)[0][:200]
            whole = self._finding(
                record.phase,
                request.kind,
                subject,
                target.host,
                match,
                pages=request.pages,
                initiator=request.initiator,
                count=request.count,
            )
            for found in [whole] if match else self._by_rule(whole, target):
                # The same address with another query is the same thing, unless it is somebody else's.
                vendor = found.vendor and found.vendor.id
                key = (request.kind, subject, vendor, found.allowed, found.named)
                grouped[key] = _joined(grouped[key], found) if key in grouped else found
        yield from grouped.values()
        for cookie in record.cookies:
            domain = cookie.domain.lstrip(".")
            if site_of(domain) == self._site and cookie.name in self._choice_cookies:
                continue
            yield self._finding(
                record.phase,
                "cookie",
                cookie.name,
                domain,
                self._match_cookie(cookie, domain),
                pages=(cookie.page,),
                initiator=cookie.initiator,
                cookie=cookie,
            )
        for item in record.stored:
            host = host_of(item.origin)
            yield self._finding(
                record.phase,
                AREAS.get(item.area, item.area),
                item.key,
                host,
                self._match_stored(item, host),
                pages=(item.page,),
                initiator=item.initiator,
            )

    def _by_rule(self, found: Finding, target: Target) -> Iterator[Finding]:
        """Yield what nobody has explained by what the policy says of it on the pages where it was."""
        by_answer: dict[tuple[bool, bool], list[str]] = {}
        for page in found.pages:
            part = self._part_at(page)
            named = part.names(target.host, target.path.partition("?")[0])
            unclassified = part.policy.unclassified
            allowed = named or unclassified is Unclassified.ALLOW
            if unclassified is Unclassified.HOLD:
                allowed |= self._decisions[found.phase].allows(Category.TARGETING)
            by_answer.setdefault((allowed, named), []).append(page)
        for (allowed, named), pages in by_answer.items():
            count = found.count if len(by_answer) == 1 else len(pages)
            yield replace(found, allowed=allowed, named=named, pages=tuple(pages), count=count)

    def fingerprinting(self, record: PhaseRecord) -> Iterator[Fingerprinting]:
        by_script: dict[str, list[Call]] = {}
        for call in record.calls:
            by_script.setdefault(_place(call.script), []).append(call)
        for script, calls in by_script.items():
            target = resolve(calls[0].script, _NOWHERE)
            match = self._match_url(target) if target is not None else None
            techniques: dict[str, int] = {}
            for call in calls:
                techniques[call.what] = techniques.get(call.what, 0) + call.count
            yield Fingerprinting(
                phase=record.phase,
                script=script or "a script without an address",
                vendor=match.vendor if match else None,
                techniques=techniques,
                likely=_tells_apart(calls),
                page=path_of(calls[0].page),
            )

    def _finding(
        self,
        phase: Phase,
        kind: str,
        subject: str,
        host: str,
        match: Match | None,
        *,
        pages: Sequence[str],
        initiator: str,
        count: int = 1,
        cookie: StoredCookie | None = None,
    ) -> Finding:
        vendor = match.vendor if match else None
        return Finding(
            phase=phase,
            kind=kind,
            subject=subject,
            host=host,
            vendor=vendor,
            rule=match.rule if match else "",
            allowed=vendor is None or self._decisions[phase].allows(vendor.category, vendor.id),
            declared=vendor is not None and (vendor.id in self._declared or is_own(vendor)),
            pages=tuple(dict.fromkeys(map(path_of, pages))),
            initiator=initiator,
            count=count,
            cookie=cookie,
        )

    def _match_url(self, target: Target) -> Match | None:
        """Find whose an address is: on the site's own host, by those paths that are a vendor's on every host."""
        if target.host == self.host:
            return self._catalog.match_path(target.path)
        return self._catalog.match_url(target.host, target.path)

    def _match_cookie(self, cookie: StoredCookie, domain: str) -> Match | None:
        if site_of(domain) == self._site:
            return self._catalog.match_cookie(cookie.name) or self._match_writer(cookie.initiator)
        # Of a company with several products, the name tells which.
        for match in self._third_party_names.get(cookie.name, ()):
            if any(site_of(domain) == site_of(rule.partition("/")[0]) for rule in _places(match.vendor)):
                return match
        return self._catalog.match_url(domain, cookie.path)

    def _match_stored(self, item: StoredKey, host: str) -> Match | None:
        if host == self.host or site_of(host) == self._site:
            return self._catalog.match_storage(item.key) or self._match_writer(item.initiator)
        return self._catalog.match_url(host, "/")

    def _match_writer(self, script: str) -> Match | None:
        """What a vendor's own script stores is the vendor's, whatever its name."""
        target = resolve(f"//{script}", _NOWHERE) if script else None
        match = self._match_url(target) if target is not None else None
        return match and Match(match.vendor, f"written by {script}")


def _decision(policy: Policy, phase: Phase) -> Decision:
    """Return what the visitor of a phase allows."""
    if phase is Phase.BEFORE:
        return decide(policy, Signals())
    choice = Choice(
        receipt_id="",
        subject="",
        made_at=0,
        policy_version=policy.version,
        granted=frozenset(OPTIONAL if phase is Phase.ACCEPTED else ()),
    )
    return decide(policy, Signals(choice=choice, choice_state=ChoiceState.VALID))


def _third_party_names(catalog: Catalog) -> Mapping[str, list[Match]]:
    names: dict[str, list[Match]] = {}
    for vendor in catalog.vendors.values():
        for cookie in vendor.cookies:
            if cookie.party == "third":
                names.setdefault(cookie.name, []).append(Match(vendor, cookie.name))
    return names


def _places(vendor: Vendor) -> Iterable[str]:
    yield from vendor.hosts
    yield from vendor.urls


def _tells_apart(calls: Sequence[Call]) -> bool:
    """Tell whether a script's calls look like taking a fingerprint.

    Reading a canvas once is what an editor of pictures does, and measuring text in a few fonts what a chart does: two
    of these together, or one with three that only tell about the device, is not needed to draw anything.
    """
    used = {call.what for call in calls}
    strong = used & _STRONG
    if sum(call.different for call in calls if call.what == "fonts") < _MANY_FONTS:
        strong.discard("fonts")
    if sum(call.different for call in calls if call.what == "webgl") < _MANY_PARAMETERS:
        strong.discard("webgl")
    return len(strong) >= 2 or (len(strong) == 1 and len(used - _STRONG) >= 2)


def _joined(one: Finding, other: Finding) -> Finding:
    return replace(one, pages=tuple(dict.fromkeys((*one.pages, *other.pages))), count=one.count + other.count)


def _first(findings: Iterable[Finding], key: Callable[[Finding], object]) -> tuple[Finding, ...]:
    """Return of the findings that have the same key the first."""
    found: dict[object, Finding] = {}
    for finding in findings:
        found.setdefault(key(finding), finding)
    return tuple(found.values())


def _place(url: str) -> str:
    if re.match("(blob|data):", url):
        return url.partition(",")[0][:100]
    target = resolve(url, _NOWHERE)
    return "" if target is None else (target.host + target.path.partition("?")[0])[:200]
