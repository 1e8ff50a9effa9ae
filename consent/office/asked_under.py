"""Which policies visitors chose under on some days, from what their receipts name, and what one changed of another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

from consent.errors import ConfigurationError, InvalidReceiptError
from consent.office.asker import Asker
from consent.office.desk import Desk
from consent.policy_diff import Change, policy_changes
from consent.terms import Terms, TermsArtefacts, read_terms

LOOK_BACK_DAYS: Final = 400
"""How long before some days the policies before them are looked for."""
_BY: Final = ("day", "site", "regime", "jurisdiction", "policy_version", "policy_hash", "vendor_list_hash")


@dataclass(frozen=True, slots=True)
class AskedUnder:
    """One policy, as visitors in one place chose under it."""

    site: str
    regime: str
    jurisdiction: str
    version: str
    policy_hash: str
    vendor_list_hash: str
    first_day: str
    """When it was first chosen under, as far as was looked: UTC, ``2026-03-01``."""
    last_day: str
    choices: int
    terms: Terms | None
    """``None``: its receipts name none, or what they name is of a later version of this package."""

    @property
    def place(self) -> tuple[str, str, str]:
        """Whom it is for: policies for different people are in force side by side."""
        return self.site, self.regime, self.jurisdiction

    @property
    def hashes(self) -> tuple[str, str]:
        """What it says: the policy's artefact, and that of its vendors."""
        return self.policy_hash, self.vendor_list_hash


def asked_under(
    desk: Desk, asker: Asker, first_day: str, last_day: str, site: str = ""
) -> Sequence[AskedUnder]:
    """Return the policies of some days, by place and in the order of time."""
    found: dict[tuple[str, ...], list[tuple[str, int]]] = {}
    wanted = {"site": site} if site else {}
    for (day, *key), choices in desk.counts(asker, first_day, last_day, _BY, wanted).items():
        found.setdefault(tuple(key), []).append((day, choices))
    policies = []
    for names, days in found.items():
        site, regime, jurisdiction, version, policy_hash, vendor_list_hash = names
        policies.append(
            AskedUnder(
                site,
                regime,
                jurisdiction,
                version,
                policy_hash,
                vendor_list_hash,
                first_day=min(day for day, _ in days),
                last_day=max(day for day, _ in days),
                choices=sum(choices for _, choices in days),
                terms=_terms(desk, policy_hash, vendor_list_hash),
            )
        )
    return sorted(policies, key=lambda each: (each.place, each.first_day, each.last_day, each.version))


def days_before(day: str, days: int = LOOK_BACK_DAYS) -> str:
    """Return an earlier day."""
    return date.fromordinal(max(1, date.fromisoformat(day).toordinal() - days)).isoformat()


def changes(before: AskedUnder, after: AskedUnder) -> Sequence[Change] | None:
    """Return what is otherwise in the second of two policies; ``None``: it is not known what they say."""
    if before.terms is None or after.terms is None:
        return None
    try:
        return policy_changes(before.terms.policy(), after.terms.policy())
    except ConfigurationError:  # an earlier release allowed what this one does not
        return None


def _terms(desk: Desk, policy_hash: str, vendor_list_hash: str) -> Terms | None:
    policy = desk.log.artefact(policy_hash) if policy_hash else None
    vendor_list = desk.log.artefact(vendor_list_hash) if vendor_list_hash else None
    if policy is None or vendor_list is None:
        return None
    try:
        return read_terms(TermsArtefacts(policy, vendor_list))
    except InvalidReceiptError:
        return None
