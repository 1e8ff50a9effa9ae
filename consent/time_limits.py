"""Until when somebody who asks about their data is to be answered: by the place that they are in.

The data is in ``time_limits.toml``, with its sources. Days are in UTC. A day that is a public holiday somewhere counts
as a business day, unless the site says that it is none: whoever keeps these times keeps the law's, too.
"""

from __future__ import annotations

import calendar
import re
import tomllib
from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache
from pathlib import Path
from typing import Final

ACKNOWLEDGED_BUSINESS_DAYS: Final = 10
"""Within so many business days it is confirmed that a request arrived, everywhere. (11 CCR section 7021(a).)"""
LONGEST_DAYS: Final = 90
"""No request waits for longer, whatever a law allows."""
_DATA: Final = Path(__file__).with_name("time_limits.toml")
_SPAN: Final = re.compile(r"([0-9]{1,3}) (day|month)s?")


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitRule:
    """What holds in some places from one day on."""

    places: tuple[str, ...]
    """Codes of ISO 3166-1 or ISO 3166-2, or ``EU``."""
    answer: str
    """How long an answer may take: ``1 month``, ``45 days``."""
    extended: str
    """The same, once a reason was sent."""
    law: str
    source: str
    """Where it is published."""
    since: date


@dataclass(frozen=True, slots=True)
class DueDays:
    """The last days on which something can still be done in time."""

    acknowledge: date
    answer: date
    extended: date
    """... where more time is taken."""
    law: str
    """Where the times are from."""


@cache
def limit_rules() -> tuple[LimitRule, ...]:
    """Return all rules, those that came into force first before the others."""
    found = tomllib.loads(_DATA.read_text(encoding="utf-8"))["rule"]
    rules = [LimitRule(**{**each, "places": tuple(each["places"])}) for each in found]
    return tuple(sorted(rules, key=lambda rule: rule.since))


def limit_rule(place: str, on: date) -> LimitRule:
    """Return the rule of ``place`` on a day; of a part of a country, its own or else that of the country."""
    for code in (place, place.partition("-")[0], "EU"):
        in_force = [rule for rule in limit_rules() if code in rule.places and rule.since <= on]
        if in_force:
            return in_force[-1]
    return next(rule for rule in limit_rules() if "EU" in rule.places)


def due_days(received: date, place: str, holidays: Collection[date] = ()) -> DueDays:
    """Return until when a request that arrived on a day is to be acknowledged and answered.

    Args:
        received: the day, UTC.
        place: where the person is, by ISO 3166.
        holidays: days besides Saturdays and Sundays that are no business days.
    """
    rule = limit_rule(place, received)
    latest = received + timedelta(days=LONGEST_DAYS)
    answer, extended = (min(after(received, span), latest) for span in (rule.answer, rule.extended))
    return DueDays(
        acknowledge=min(business_days_after(received, ACKNOWLEDGED_BUSINESS_DAYS, holidays), answer),
        answer=answer,
        extended=max(answer, extended),
        law=rule.law,
    )


def business_days_after(day: date, count: int, holidays: Collection[date] = ()) -> date:
    """Return the business day, Monday to Friday and no holiday, that is the ``count``-th after a day."""
    while count:
        day += timedelta(days=1)
        if day.weekday() < calendar.SATURDAY and day not in holidays:
            count -= 1
    return day


def after(day: date, span: str) -> date:
    """Return the day that is ``45 days`` or ``1 month`` after another.

    That many months later is the day with the same number, or where the month has none, its last one. (Regulation
    (EEC, Euratom) No 1182/71, Article 3(2)(c).)

    Raises:
        ValueError: it is no span of time.
    """
    found = _SPAN.fullmatch(span)
    if found is None:
        raise ValueError(f"{span!r} is neither days nor months")
    number = int(found[1])
    if found[2] == "day":
        return day + timedelta(days=number)
    years, month = divmod(day.month - 1 + number, 12)
    year = day.year + years
    return date(year, month + 1, min(day.day, calendar.monthrange(year, month + 1)[1]))
