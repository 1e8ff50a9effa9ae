"""How policies and choices stood on a day, and what comes of it next: what ends, and who is to be asked again.

Choices of a day are counted where they are kept. Whether a choice still stands is looked up for each, so it is counted
for some at a time: see :meth:`consent.receipt_search.ReceiptSearch.count_standing`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final

from consent.moments import midnight_ms
from consent.office.asker import Asker
from consent.office.desk import Desk
from consent.office.policies import Edition, editions, terms
from consent.office.questions import Parameter, WrongQuestion
from consent.office.roles import Action
from consent.receipt_search import COUNTED_AT_ONCE, Position, Sought

MAX_SITES: Final = 100
"""How many sites are told of at most, in the order of their names."""
MAX_DAYS: Final = 60
"""How many days are looked ahead at most."""
DEFAULT_DAYS: Final = 7
_CHOICE_DAYS: Final = 180
_DAY_MS: Final = 86_400_000
ON: Final = Parameter("on", "The day, UTC; today, if it is left out.", {"type": "string", "format": "date"})
DAYS: Final = Parameter(
    "days",
    "How many days ahead.",
    {"type": "integer", "minimum": 1, "maximum": MAX_DAYS, "default": DEFAULT_DAYS},
)


def days_ahead(text: str) -> int:
    """Read how many days are looked ahead; empty: a week.

    Raises:
        WrongQuestion: it is no such number.
    """
    if not text:
        return DEFAULT_DAYS
    if not (text.isascii() and text.isdigit() and len(text) <= 3 and 1 <= int(text) <= MAX_DAYS):
        raise WrongQuestion("days", f"1 to {MAX_DAYS}")
    return int(text)


@dataclass(frozen=True, slots=True)
class Text:
    """A text that was shown."""

    language: str
    hash: str
    """Empty: none was shown."""
    choices: int


@dataclass(frozen=True, slots=True)
class Then:
    """What visitors of one site were asked under on a day."""

    site: str
    day: str
    """The last day with choices, until then."""
    version: str
    policy_hash: str
    vendor_list_hash: str
    regime: str
    choices: int
    """On that day."""
    texts: Sequence[Text]


def as_of(desk: Desk, asker: Asker, day: date) -> list[Then]:
    """Return what choices of a day were made under; where a site had none, those of the last day before."""
    desk.require(asker, Action.COUNTS)
    end_ms = midnight_ms(day) + _DAY_MS
    found: list[Then] = []
    for site in _sites(desk, asker):
        newest = desk.log.look(Sought(site=site, until_ms=end_ms), limit=1).found
        if not newest:
            continue
        last = _day(newest[0].position.time_ms)
        choices: Counter[tuple[str, str, str, str]] = Counter()
        texts: dict[tuple[str, str, str, str], Counter[tuple[str, str]]] = {}
        for total in desk.totals(asker, last, last):
            kind = total.kind
            if kind.site == site:
                key = (kind.policy_version, kind.policy_hash, kind.vendor_list_hash, kind.regime)
                choices[key] += total.choices
                texts.setdefault(key, Counter())[kind.language, kind.shown_hash] += total.choices
        found += [
            Then(
                site, last, *key, times, [Text(*text, count) for text, count in texts[key].most_common()[:50]]
            )
            for key, times in choices.most_common()
        ]
    return found


@dataclass(frozen=True, slots=True)
class Ending:
    """Choices of one site that end on one day."""

    day: str
    site: str
    given_on: str
    """The day on which they were given."""
    granted: int
    """How many choices agreed to something on that day; some were replaced, or erased, since."""
    standing: int | None
    """How many of them still stand; ``None``: not counted here."""


def expiring(desk: Desk, asker: Asker, today: date, days: int) -> list[Ending]:
    """Return the choices that end on the coming days, and how many still stand, as far as that is counted at once."""
    rest = COUNTED_AT_ONCE
    found = []
    for site, choice_days in sorted(_choice_days(desk, editions(desk, asker)).items()):
        first = today - timedelta(days=choice_days)
        given = desk.daily_in(
            asker,
            first.isoformat(),
            (first + timedelta(days=days - 1)).isoformat(),
            lambda kind, site=site: "granted" if kind.grants and kind.site == site else None,  # type: ignore[misc]
        )
        for number in range(days):
            day = first + timedelta(days=number)
            granted = given.get((day.isoformat(), "granted"), 0)
            if not granted:
                continue
            standing = None
            if granted <= rest:
                counted = desk.count_standing(
                    asker,
                    Sought(site=site, grants=True, since_ms=midnight_ms(day)),
                    limit=granted + 1,
                    before=end_of(day),
                )
                rest -= counted.examined
                standing = None if counted.next else sum(counted.standing.values())
            ends = (today + timedelta(days=number)).isoformat()
            found.append(Ending(ends, site, day.isoformat(), granted, standing))
    return sorted(found, key=lambda ending: (ending.day, ending.site))


@dataclass(frozen=True, slots=True)
class AskAgain:
    """Choices that were given under an edition to which that in force now is a material change."""

    edition: Edition
    present: Edition
    """What they are asked under now."""
    since: str
    """The first day whose choices have not ended by themselves."""
    granted: int
    """How many choices agreed to something since then."""
    standing: int | None
    """How many of them still stand; ``None``: not counted here."""


def asking_again(desk: Desk, asker: Asker, today: date) -> list[AskAgain]:
    """Return what is to be asked again, of what was agreed to last."""
    known = editions(desk, asker)
    in_force = {each.site: each for each in reversed(known) if each.present}
    versions = {(each.site, each.version) for each in known if each.present}
    choice_days = _choice_days(desk, known)
    old = [each for each in known if each.site in in_force and (each.site, each.version) not in versions]
    rest = COUNTED_AT_ONCE
    found = []
    for site in sorted({each.site for each in old}):
        since = (today - timedelta(days=choice_days[site])).isoformat()
        granted = _granted(desk, since, today)
        # Editions of one version are asked again together.
        for each in {(one.version, one.regime): one for one in reversed(old) if one.site == site}.values():
            count = granted[site, each.version, each.regime]
            if not count:
                continue
            standing = None
            if count <= rest:
                counted = desk.count_standing(asker, sought_again(each, since), limit=count + 1)
                rest -= counted.examined
                standing = None if counted.next else sum(counted.standing.values())
            same = [one for one in known if one.present and (one.site, one.regime) == (site, each.regime)]
            found.append(AskAgain(each, same[0] if same else in_force[site], since, count, standing))
    return sorted(found, key=lambda again: (again.edition.site, again.edition.last_day), reverse=True)


def _granted(desk: Desk, since: str, today: date) -> Counter[tuple[str, str, str]]:
    """Return how many choices since a day agreed to something, by site, version and regime."""

    def count(first: str, last: str) -> Counter[tuple[str, str, str]]:
        sums: Counter[tuple[str, str, str]] = Counter()
        for kind, _, _, choices in desk.log.totals(first, last):
            if kind.grants:
                sums[kind.site, kind.policy_version, kind.regime] += choices
        return sums

    # Days that are over are many, as for the list of policies.
    last = (today - timedelta(days=2)).isoformat()
    past = desk.lately(f"granted from {since} to {last}", lambda: count(since, last))
    recent = max(since, (today - timedelta(days=1)).isoformat())
    return past + count(recent, today.isoformat())


def sought_again(each: Edition, since: str) -> Sought:
    """Return the question for who is to be asked again."""
    first_ms = midnight_ms(date.fromisoformat(since))
    return Sought(
        site=each.site, policy_version=each.version, regime=each.regime, grants=True, since_ms=first_ms
    )


def _choice_days(desk: Desk, known: Sequence[Edition]) -> dict[str, int]:
    """Return how long choices of each site count: that is for the policy to say that is in force now."""
    found: dict[str, int] = {}
    for each in known:
        if each.present and len(found) < MAX_SITES:
            told = terms(desk, each)
            found[each.site] = max(
                found.get(each.site, 0), _CHOICE_DAYS if told is None else told.choice_days
            )
    return found


def end_of(day: date) -> Position:
    """Return the position that all receipts of a day, and of those before, are before."""
    return Position(midnight_ms(day) + _DAY_MS, 0)


def today_of(desk: Desk) -> date:
    """Return the day that it is, in UTC."""
    return datetime.fromtimestamp(desk.clock(), UTC).date()


def _sites(desk: Desk, asker: Asker) -> list[str]:
    sites = {site for site, _ in desk.log.places() if not asker.sites or site in asker.sites}
    return sorted(sites)[:MAX_SITES]


def _day(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1_000, UTC).date().isoformat()
