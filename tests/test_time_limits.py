"""Until when a request is to be answered: days, months, business days, and the rules of places."""

from __future__ import annotations

import calendar
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consent.time_limits import (
    ACKNOWLEDGED_BUSINESS_DAYS,
    LONGEST_DAYS,
    after,
    business_days_after,
    due_days,
    limit_rule,
    limit_rules,
)

DAYS = st.dates(date(2018, 5, 25), date(2100, 12, 31))
PLACES = st.sampled_from(
    ["", "ZZ", "US", "US-XX", *sorted({p for rule in limit_rules() for p in rule.places})]
)


@pytest.mark.parametrize(
    ("day", "span", "later"),
    [
        ("2026-01-31", "1 month", "2026-02-28"),
        ("2028-01-31", "1 month", "2028-02-29"),
        ("2028-02-29", "1 month", "2028-03-29"),
        ("2026-12-31", "1 month", "2027-01-31"),
        ("2026-11-30", "3 months", "2027-02-28"),
        ("2026-03-31", "1 month", "2026-04-30"),
        ("2026-02-28", "1 month", "2026-03-28"),
        ("2026-01-01", "45 days", "2026-02-15"),
        ("2028-01-15", "45 days", "2028-02-29"),
    ],
)
def test_months_end_where_they_end(day: str, span: str, later: str) -> None:
    """The same number in the later month, or its last day; days are counted one by one."""
    assert after(date.fromisoformat(day), span) == date.fromisoformat(later)


@given(DAYS, st.integers(1, 24))
def test_a_month_later_is_the_same_day_or_the_last_one(day: date, months: int) -> None:
    """Whatever the year: in the month that many further, never beyond its end."""
    later = after(day, f"{months} months")
    assert (later.year - day.year) * 12 + later.month - day.month == months
    assert later.day == min(day.day, calendar.monthrange(later.year, later.month)[1])


@given(DAYS, st.integers(0, 60))
def test_business_days_are_counted_one_by_one(day: date, count: int) -> None:
    """As many Mondays to Fridays lie behind the day as were asked for, and the last of them is the answer."""
    later = business_days_after(day, count)
    between = [day + timedelta(days=n) for n in range(1, (later - day).days + 1)]
    assert sum(each.weekday() < 5 for each in between) == count
    assert not count or later.weekday() < 5


def test_a_holiday_of_the_site_is_no_business_day() -> None:
    """Only where it is named, and where it would have been one."""
    day = date(2026, 12, 21)  # a Monday
    assert due_days(day, "DE").acknowledge == date(2027, 1, 4)
    holidays = [date(2026, 12, 25), date(2026, 12, 26), date(2027, 1, 1)]  # Friday, Saturday, Friday
    due = due_days(day, "DE", holidays)
    assert (due.acknowledge, due.answer) == (date(2027, 1, 6), date(2027, 1, 21))


@given(DAYS, PLACES)
def test_what_is_due_comes_in_order_and_within_90_days(day: date, place: str) -> None:
    """Acknowledged, answered, at the latest; and each place has times of its own or those of the Union."""
    due = due_days(day, place)
    assert day < due.acknowledge <= due.answer <= due.extended <= day + timedelta(days=LONGEST_DAYS)
    assert due.acknowledge <= business_days_after(day, ACKNOWLEDGED_BUSINESS_DAYS)
    assert limit_rule(place, day).since <= day


@pytest.mark.parametrize(
    ("place", "answer", "extended"),
    [
        ("DE", "2026-12-26", "2027-02-24"),
        ("", "2026-12-26", "2027-02-24"),
        ("US-VA", "2026-12-26", "2027-02-24"),
        ("US-CA", "2027-01-10", "2027-02-24"),
        ("CH", "2026-12-26", "2026-12-26"),
        ("BR", "2026-12-11", "2026-12-11"),
    ],
)
def test_places_have_their_times(place: str, answer: str, extended: str) -> None:
    """A month in Europe and where there is no rule, 45 days in California; three months are 90 days at most."""
    due = due_days(date(2026, 11, 26), place)
    assert (due.answer.isoformat(), due.extended.isoformat()) == (answer, extended)
    assert due.acknowledge == date(2026, 12, 10)


def test_rules_say_where_they_are_from() -> None:
    """Each has a law and an address; none comes twice for the same place and day."""
    seen = [(place, rule.since) for rule in limit_rules() for place in rule.places]
    assert len(seen) == len(set(seen))
    assert all(rule.law and rule.source.startswith("https://") for rule in limit_rules())
    # California's, which did not hold before: then it is as where there is no rule.
    assert limit_rule("US-CA", date(2020, 1, 1)).answer == "1 month"
    with pytest.raises(ValueError, match="neither days nor months"):
        after(date(2026, 1, 1), "a while")
