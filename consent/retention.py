"""Which receipts are past their time: by site and jurisdiction, as the policy says."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from consent.choice_kind import ChoiceKind
from consent.policy import Policy

DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """Receipts of one site that are older than a moment, everywhere or by where their visitors were taken to be."""

    site: str
    """As the receipts name it."""
    before_ms: int
    """Milliseconds since 1970-01-01T00:00:00Z."""
    only: frozenset[str] | None = None
    """Those of these jurisdictions, as the receipts name them; ``None``: of all ..."""
    but: frozenset[str] = frozenset()
    """... but these."""

    def kinds(self, known: Mapping[int, ChoiceKind]) -> tuple[bool, list[int]]:
        """Return numbers of kinds of choices, and whether it is about those or about all others.

        A receipt that could not be opened when it was to be noted what it is found by has no kind: it is one of all
        others.
        """
        named = self.but if self.only is None else self.only
        numbers = [
            number for number, kind in known.items() if kind.site == self.site and kind.jurisdiction in named
        ]
        return self.only is not None, numbers


def days_kept(policy: Policy, jurisdiction: str) -> int:
    """Return for how many days receipts of a place are kept; 0: they are not erased.

    What is said of a country holds for its parts, too, where nothing is said of them.
    """
    for code in (jurisdiction, jurisdiction.partition("-")[0]):
        if code in policy.retention_jurisdictions:
            return policy.retention_jurisdictions[code]
    return policy.retention_days


def past_by_policy(policy: Policy, jurisdictions: Iterable[str], now_ms: int) -> Iterator[tuple[int, Past]]:
    """Yield what is past its time under one policy: for how many days it is kept, and which receipts that are.

    Args:
        policy: the site's.
        jurisdictions: those that there are receipts of.
        now_ms: milliseconds since 1970-01-01T00:00:00Z.
    """
    apart: dict[int, set[str]] = {}
    for jurisdiction in jurisdictions:
        days = days_kept(policy, jurisdiction)
        if days != policy.retention_days:
            apart.setdefault(days, set()).add(jurisdiction)
    for days, places in sorted(apart.items()):
        if days:
            yield days, Past(site=policy.site, before_ms=now_ms - days * DAY_MS, only=frozenset(places))
    if policy.retention_days:
        yield (
            policy.retention_days,
            Past(
                site=policy.site,
                before_ms=now_ms - policy.retention_days * DAY_MS,
                but=frozenset().union(*apart.values()),
            ),
        )


def site_policies(policy: Policy) -> Collection[Policy]:
    """Return the policies of all sites that a policy file is about."""
    return [policy, *(rule.policy for rule in policy.rules if not policy.has_section(rule.policy))]
