"""The parts of a site that have a policy of their own, and which is in force where."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache, partial
from urllib.parse import unquote

from consent.catalog import Catalog, load_catalog
from consent.csp import Source, covers, source
from consent.enforcement import Finding, UnclassifiedRule
from consent.html.urls import PageURL
from consent.policy import Policy, Rule, with_additions


@dataclass(frozen=True, slots=True)
class Part:
    """What is in force at one place."""

    policy: Policy
    catalog: Catalog
    """What the policy is to be used with."""
    name: str = ""
    """Names those hosts of the site that are told the same; empty: all that no rule is about."""
    _named: tuple[Source, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_named", tuple(filter(None, map(source, self.policy.csp_allow))))

    def names(self, host: str, path: str) -> bool:
        """Tell whether the site itself named a place of somebody else's: in ``csp_allow``."""
        return covers(self._named, host, path)

    def explains(self, finding: Finding) -> bool:
        """Tell whether the catalog or the site itself explains what was found."""
        host, slash, path = finding.subject.partition("/")
        return finding.vendor is not None or self.names(host, slash + path)

    @property
    def unclassified(self) -> UnclassifiedRule:
        """What becomes of third-party content that no catalog entry explains."""
        return UnclassifiedRule(self.policy.unclassified, partial(covers, self._named))


def part_at(policy: Policy, catalog: Catalog, page: PageURL) -> Part:
    """Return what is in force for a page of the site with ``policy``: the first rule that fits counts.

    Args:
        catalog: What ``policy`` is to be used with.
    """
    host, path = page.host, unquote(page.path.partition("?")[0], errors="surrogateescape")
    name = ""
    while rule := next((r for r in policy.rules if r.is_on(host) and is_under(path, beginnings(r))), None):
        if is_section(policy, catalog, rule):
            return Part(rule.policy, rule.catalog or catalog, name)
        name = name_of(rule)
        policy, catalog = rule.policy, rule.catalog or catalog_of(rule.policy)
    return Part(policy, catalog, name)


def host_parts(policy: Policy, catalog: Catalog) -> Iterator[Part]:
    """Yield what is in force on each of the site's hosts that are told the same, sections apart."""
    yield Part(policy, catalog)
    for rule in policy.rules:
        if not is_section(policy, catalog, rule):
            yield Part(rule.policy, rule.catalog or catalog_of(rule.policy), name_of(rule))


def is_section(policy: Policy, catalog: Catalog, rule: Rule) -> bool:
    """Tell whether a rule is about how ``policy`` is enforced alone: visitors are told the same there."""
    return policy.has_section(rule.policy) and rule.catalog in (None, catalog)


def name_of(rule: Rule) -> str:
    """Name the hosts that a rule is about."""
    return ",".join(rule.hosts)


def beginnings(rule: Rule) -> tuple[str, ...]:
    """Return what the paths begin with that a rule is about, for :func:`is_under`."""
    return tuple(path.rstrip("/") for path in rule.paths)


def is_under(path: str, beginnings: tuple[str, ...]) -> bool:
    """Tell whether a path is one of ``beginnings``, or below; without any, every path is."""
    for beginning in beginnings:
        if path.startswith(beginning) and path[len(beginning) : len(beginning) + 1] in ("", "/"):
            return True
    return not beginnings


@lru_cache(maxsize=8)
def catalog_of(policy: Policy) -> Catalog:
    """Return the built-in catalog with what a policy adds to it."""
    return with_additions(load_catalog().with_vendors(policy.vendors), policy)
