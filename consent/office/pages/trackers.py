"""Third parties that were seen, and what was done about them."""

from __future__ import annotations

from typing import Final

from consent.answers import Answer
from consent.moments import format_moment
from consent.office.pages.page import Pages, Visit
from consent.office.questions import FIRST_DAY, LAST_DAY, days_of
from consent.office.roles import Action


def _trackers(visit: Visit) -> Answer:
    visit.desk.require(visit.asker, Action.TRACKERS)
    first, last = days_of(visit.query(FIRST_DAY, LAST_DAY), visit.desk.clock())
    rows = sorted(
        visit.desk.inventory.sightings().items(), key=lambda row: (row[0].vendor != "", -row[1].count)
    )
    done = visit.desk.enforcement(visit.asker, first, last)
    return visit.render("trackers.html", rows=rows[:500], done=done, first=first, last=last, date=_day)


def _day(days: int) -> str:
    return format_moment(days * 86_400_000)[:10]


PAGES: Final[Pages] = {
    ("GET", "/trackers"): _trackers,
}
