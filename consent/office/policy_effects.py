"""What another policy would have changed, held against what was seen and decided on the site.

What is recorded says of each vendor's tags why they were let through or kept back. Under another policy a vendor may be
of another category, a browser signal may refuse something else, and silence may mean something else. What a visitor
would have answered to a question that was not asked, nobody knows: such a case is told as what it would depend on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from consent.categories import Category
from consent.decision import Reason
from consent.office.asker import Asker
from consent.office.desk import Desk
from consent.office.roles import Action
from consent.policy import Policy, Regime

ALLOWED, REFUSED = "allowed", "refused"


@dataclass(frozen=True, slots=True)
class Effect:
    """Tags of one vendor, in one situation, that would be decided otherwise."""

    vendor: str
    reason: str
    """Why it was decided as it was, when it was recorded."""
    before: str
    """``allowed``, ``refused``, or what it depends on."""
    after: str
    times: int
    """How often it was recorded."""


@dataclass(frozen=True, slots=True)
class Naming:
    """A vendor that was seen on the site, and that visitors are told of by one of the policies only."""

    vendor: str
    declared_before: bool
    declared_after: bool
    times: int
    """How often it was seen."""


@dataclass(frozen=True, slots=True)
class Effects:
    """All that would be otherwise."""

    first_day: str
    last_day: str
    recorded: int
    """How many decisions were recorded on these days."""
    decided: Sequence[Effect]
    named: Sequence[Naming]
    """Of all that was ever seen; empty for who may not see it."""


def effects(desk: Desk, asker: Asker, before: Policy, after: Policy, days: tuple[str, str]) -> Effects:
    """Return what ``after`` would change of what was recorded under any policy of its site."""
    rows = [count for count in desk.enforcement(asker, *days) if count.kind.site == after.site]
    times: Counter[tuple[str, str, str, str]] = Counter()
    for kind, count in rows:
        was, would_be = (
            decided(policy, _category(policy, kind.vendor, kind.category), kind.category, kind.reason)
            for policy in (before, after)
        )
        if was != would_be:
            times[kind.vendor, kind.reason, was, would_be] += count
    found = [Effect(*key, count) for key, count in times.most_common()]
    return Effects(*days, sum(count for _, count in rows), found, _named(desk, asker, before, after))


def decided(policy: Policy, category: str, recorded: str, reason: str) -> str:
    """Return how a policy decides where the situation was what ``reason`` says; see `consent.decision.decide`.

    Args:
        policy: decides.
        category: the vendor's, by this policy.
        recorded: the vendor's when it was recorded.
        reason: why it was decided as it was then.
    """
    if category == Category.STRICTLY_NECESSARY or reason == Reason.LET_THROUGH:
        return ALLOWED
    if category in policy.never:
        return REFUSED
    if reason in (Reason.GPC, Reason.DNT):
        refuses = policy.gpc_refuses if reason == Reason.GPC else policy.dnt_refuses
        return REFUSED if category in refuses else f"by the answer for {category}"
    if reason in (Reason.NO_CHOICE, Reason.REGIME, Reason.OUTDATED, Reason.EXPIRED):
        return REFUSED if policy.regime is Regime.OPT_IN else ALLOWED
    if reason == Reason.FORGED:
        return REFUSED
    if category == recorded and reason in (Reason.GRANTED, Reason.REFUSED):
        return ALLOWED if reason == Reason.GRANTED else REFUSED
    return f"by the answer for {category}"


def _category(policy: Policy, vendor: str, recorded: str) -> str:
    """Return a vendor's category by a policy; one that it does not declare stays where it was."""
    return next((str(each.category) for each in policy.vendors if each.id == vendor), recorded)


def _named(desk: Desk, asker: Asker, before: Policy, after: Policy) -> list[Naming]:
    if not asker.may(Action.TRACKERS):
        return []
    seen: Counter[str] = Counter()
    for sighting, tally in desk.sightings(asker).items():
        if sighting.vendor and sighting.site in ("", after.site):
            seen[sighting.vendor] += tally.count
    lists = [{vendor.id for vendor in policy.vendors} for policy in (before, after)]
    return [
        Naming(vendor, vendor in lists[0], vendor in lists[1], times)
        for vendor, times in seen.most_common()
        if (vendor in lists[0]) is not (vendor in lists[1])
    ]
