"""Policies that visitors were asked under, as receipts name them, and what differs between two of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Final

from consent.errors import ConfigurationError, InvalidReceiptError
from consent.office.asker import Asker
from consent.office.desk import Desk
from consent.office.policy_effects import Effects, effects
from consent.office.roles import Action
from consent.policy_diff import Change, policy_changes
from consent.receipt_search import KindTotal, Sought
from consent.receipts import Artefact
from consent.terms import Terms, TermsArtefacts, read_terms, terms_artefacts

ALWAYS: Final = ("0000-01-01", "9999-12-31")
"""All days that there are."""
MAX_EDITIONS: Final = 500
"""How many are listed at most, those used last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Edition:
    """One wording of a policy: the terms and the vendor list that receipts name together.

    Editions of one version differ in nothing that a visitor is asked again for.
    """

    name: str
    """32 hexadecimal digits; empty: the receipts name no terms, and only the version is known."""
    site: str
    version: str
    regime: str
    policy_hash: str
    vendor_list_hash: str
    first_day: str = ""
    """The day of the first receipt, UTC; empty: there is none yet."""
    last_day: str = ""
    choices: int = 0
    """How many receipts named it, erased ones too."""
    present: bool = False
    """Whether visitors are asked under it now."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """What differs between two editions."""

    before: Edition
    after: Edition
    changes: Sequence[Change]
    effects: Effects

    @property
    def material(self) -> bool:
        """Whether visitors are asked again: the versions differ."""
        return self.before.version != self.after.version

    @property
    def unexplained(self) -> bool:
        """Whether they are, and nothing that is kept of the policies says why."""
        return self.material and not any(change.material for change in self.changes)


class NotComparable(Exception):
    """The terms of an edition are not kept, or cannot be read; the message says which."""


def editions(desk: Desk, asker: Asker) -> list[Edition]:
    """Return what there is of the sites that may be seen: what is in force now first, then what was used last."""
    desk.require(asker, Action.COUNTS)
    # Days that are over are many, and change by what is recorded late.
    today = datetime.fromtimestamp(desk.clock(), UTC).date()
    last, recent_day = ((today - timedelta(days=days)).isoformat() for days in (2, 1))
    past = desk.lately(f"editions until {last}", lambda: _recorded(desk.log.totals(ALWAYS[0], last)))
    found = dict(past)
    for key, recent in _recorded(desk.log.totals(recent_day, ALWAYS[1])).items():
        known = found.get(key)
        found[key] = recent if known is None else _together(known, recent)
    if asker.sites:
        found = {key: known for key, known in found.items() if known.site in asker.sites}
    return sorted(_marked(desk, asker, found), key=_order)[:MAX_EDITIONS]


def edition(desk: Desk, asker: Asker, name: str) -> Edition | None:
    """Return the one with a name; ``None``: there is none that may be seen."""
    return next((each for each in editions(desk, asker) if each.name == name), None) if name else None


def kinds_of(desk: Desk, asker: Asker, wanted: Edition) -> list[KindTotal]:
    """Return the choices that were made under an edition, by kind."""
    if not wanted.first_day:
        return []
    totals = desk.totals(asker, wanted.first_day, wanted.last_day)
    return [total for total in totals if _key(total) == _key_of(wanted)]


def outcomes(totals: Sequence[KindTotal]) -> Mapping[str, int]:
    """Return how many choices there were of each outcome, the most frequent first."""
    counts: Counter[str] = Counter()
    for total in totals:
        counts[total.kind.outcome] += total.choices
    return dict(counts.most_common())


def terms(desk: Desk, wanted: Edition) -> Terms | None:
    """Return what visitors were told; ``None``: it is not kept, or cannot be read."""
    artefacts = [_artefact(desk, hash) for hash in (wanted.policy_hash, wanted.vendor_list_hash)]
    if artefacts[0] is None or artefacts[1] is None:
        return None
    try:
        return read_terms(TermsArtefacts(artefacts[0], artefacts[1]))
    except InvalidReceiptError:
        return None


def compare(desk: Desk, asker: Asker, before: Edition, after: Edition, days: tuple[str, str]) -> Comparison:
    """Return what differs, and what the second would have decided otherwise on some days.

    Raises:
        NotComparable: the terms of one are not known.
    """
    policies = []
    for each in (before, after):
        told = terms(desk, each)
        if told is None:
            raise NotComparable(f"what visitors were told under version {each.version} is not kept")
        try:
            policies.append(told.policy())
        except ConfigurationError as error:
            raise NotComparable(f"version {each.version} is no policy of this release: {error}") from None
    changes = policy_changes(policies[0], policies[1])
    return Comparison(before, after, changes, effects(desk, asker, policies[0], policies[1], days))


# ---- what is recorded, and what is in force

_Key = tuple[str, str, str, str, str]


def _key(total: KindTotal) -> _Key:
    kind = total.kind
    return kind.site, kind.policy_version, kind.regime, kind.policy_hash, kind.vendor_list_hash


def _key_of(known: Edition) -> _Key:
    return known.site, known.version, known.regime, known.policy_hash, known.vendor_list_hash


def _recorded(totals: Sequence[KindTotal]) -> dict[_Key, Edition]:
    # An edition has thousands of kinds: they are added up first.
    sums: dict[_Key, tuple[str, str, int]] = {}
    for total in totals:
        key, (_, first, last, choices) = _key(total), total
        known = sums.get(key)
        if known is not None:
            first, last, choices = min(known[0], first), max(known[1], last), known[2] + choices
        sums[key] = first, last, choices
    return {
        key: replace(_new(key), first_day=first, last_day=last, choices=choices)
        for key, (first, last, choices) in sums.items()
    }


def _together(one: Edition, other: Edition) -> Edition:
    return replace(
        one,
        first_day=min(one.first_day, other.first_day),
        last_day=max(one.last_day, other.last_day),
        choices=one.choices + other.choices,
    )


def _marked(desk: Desk, asker: Asker, found: dict[_Key, Edition]) -> list[Edition]:
    """Return editions, those that are in force with a mark."""
    present = _present(desk, asker, found)
    for key in present:
        found[key] = replace(found.get(key) or _new(key), present=True)
    return list(found.values())


def _present(desk: Desk, asker: Asker, found: Mapping[_Key, Edition]) -> set[_Key]:
    if desk.in_force is not None:
        keys = set()
        for policy in desk.in_force.policies:
            if not asker.sites or policy.site in asker.sites:
                named = terms_artefacts(policy)
                keys.add(
                    (
                        policy.site,
                        policy.version,
                        str(policy.regime),
                        named.policy.hash,
                        named.vendor_list.hash,
                    )
                )
        return keys
    # What was recorded last, on each site for each regime, is what is known of it.
    last: dict[tuple[str, str], str] = {}
    for (site, _, regime, _, _), known in found.items():
        last[site, regime] = max(last.get((site, regime), ""), known.last_day)
    keys = set()
    for (site, regime), day in last.items():
        on_it = [
            key for key, known in found.items() if (key[0], key[2], known.last_day) == (site, regime, day)
        ]
        if len(on_it) > 1:
            newest = desk.log.look(Sought(site=site, regime=regime), limit=1).found
            kinds = [KindTotal(each.kind, "", "", 0) for each in newest]
            on_it = [key for key in on_it if key in map(_key, kinds)] or on_it[:1]
        keys.update(on_it)
    return keys


def _new(key: _Key) -> Edition:
    site, version, regime, policy_hash, vendor_list_hash = key
    # Other names for the same content on two sites, or in two regimes, would be one too many: the terms have both.
    both = f"{policy_hash}{vendor_list_hash}"
    return Edition(
        name=sha256(both.encode()).hexdigest()[:32] if both else "",
        site=site,
        version=version,
        regime=regime,
        policy_hash=policy_hash,
        vendor_list_hash=vendor_list_hash,
    )


def _order(known: Edition) -> tuple[object, ...]:
    backwards = tuple(-ord(letter) for letter in known.last_day)
    return not known.present, known.site if known.present else "", backwards, known.site, known.version


def _artefact(desk: Desk, hash: str) -> Artefact | None:
    found = desk.log.artefact(hash) if hash else None
    if found is None and hash and desk.in_force is not None:
        for policy in desk.in_force.policies:
            named = terms_artefacts(policy)
            for each in (named.policy, named.vendor_list):
                if each.hash == hash:
                    return each
    return found
