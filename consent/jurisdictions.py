"""What silence means by law: which regime a visitor is under, by the place that they are in, and from which day.

The data is in ``jurisdictions.toml``, with its sources. It is read once; nothing here does I/O for a request.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import date
from functools import cache
from pathlib import Path

from consent.categories import Category
from consent.choice import BrowserSignal
from consent.policy import Gpp, GppMspa, Policy, Regime, Whereabouts

_DATA = Path(__file__).with_name("jurisdictions.toml")


@dataclass(frozen=True, slots=True)
class Treatment:
    """What a visitor's place asks of a policy."""

    regime: Regime
    refuses: frozenset[Category] | None = None
    """The categories that an opt-out covers; ``None``: those that the policy says."""
    signals: frozenset[BrowserSignal] = frozenset()
    """The browser's signals that have to be taken for one."""

    def of(self, policy: Policy) -> Policy:
        """Return ``policy`` for the visitors that this is about: never less than the policy itself refuses."""
        covered = policy.opt_out_refuses
        if self.regime is Regime.OPT_OUT and self.refuses is not None:
            covered = self.refuses
        gpc, dnt = (covered if signal in self.signals else frozenset() for signal in BrowserSignal)
        under = replace(
            policy,
            jurisdictions=None,
            # Whoever sends visitors here tells where exactly they are.
            interfaces=replace(policy.interfaces, gpp=Gpp.OFF, gpp_mspa=GppMspa.NO),
            rules=(),
            regime=self.regime,
            opt_out_refuses=covered,
            gpc_refuses=policy.gpc_refuses | gpc,
            dnt_refuses=policy.dnt_refuses | dnt,
        )
        # A section differs from the rest of its host in how it is enforced alone, for these visitors, too.
        rules = [
            replace(rule, policy=self.of(rule.policy)) if policy.has_section(rule.policy) else rule
            for rule in policy.rules
        ]
        return replace(under, rules=tuple(rules))


STRICTEST = Treatment(Regime.OPT_IN)
"""For who is nobody knows where, or where there is no rule."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceRule:
    """What holds in some places from one day on."""

    places: tuple[str, ...]
    """Codes of ISO 3166-1 or ISO 3166-2, or ``EU``."""
    name: str
    treatment: Treatment
    law: str
    source: str
    """Where it is published."""
    since: date


@cache
def place_rules() -> tuple[PlaceRule, ...]:
    """Return all rules, those that came into force first before the others."""
    found = tomllib.loads(_DATA.read_text(encoding="utf-8"))["rule"]
    return tuple(
        sorted(
            (
                PlaceRule(
                    places=tuple(each["places"]),
                    name=each["name"],
                    treatment=Treatment(
                        Regime(each["regime"]),
                        frozenset(map(Category, each["refuses"])),
                        frozenset(map(BrowserSignal, each["signals"])),
                    ),
                    law=each["law"],
                    source=each["source"],
                    since=each["since"],
                )
                for each in found
            ),
            key=lambda rule: rule.since,
        )
    )


def rule_in_force(place: str, on: date) -> PlaceRule | None:
    """Return the rule of ``place`` on a day; of a part of a country, its own or else that of the country."""
    for code in (place, place.partition("-")[0]):
        in_force = [rule for rule in place_rules() if code in rule.places and rule.since <= on]
        if in_force:
            return in_force[-1]
    return None


def treatment(place: str, on: date, whereabouts: Whereabouts) -> Treatment:
    """Return how visitors in ``place`` are to be treated on a day; empty stands for nobody knows where."""
    for code in (place, place.partition("-")[0]):
        if code in whereabouts.regimes:
            return Treatment(whereabouts.regimes[code])
    rule = rule_in_force(place, on)
    return STRICTEST if rule is None else rule.treatment


def treatments(whereabouts: Whereabouts) -> Iterable[Treatment]:
    """Return all that can come of `treatment`, each once, whatever the day."""

    def found() -> Iterator[Treatment]:
        yield STRICTEST
        yield from map(Treatment, whereabouts.regimes.values())
        yield from (rule.treatment for rule in place_rules())

    return dict.fromkeys(found())
