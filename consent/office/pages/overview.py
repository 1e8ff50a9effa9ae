"""How the choices of some days stand, at a glance."""

from __future__ import annotations

from collections import Counter
from typing import Final

from consent.answers import Answer
from consent.office.handling import Handling
from consent.office.overview import SERIES, overview
from consent.office.pages.page import Pages, Visit
from consent.office.questions import FIRST_DAY, LAST_DAY, days_of
from consent.office.roles import Action
from consent.office.trackers import seen


def _overview(visit: Visit) -> Answer:
    desk = visit.desk
    first, last = days_of(visit.query(FIRST_DAY, LAST_DAY), desk.clock())
    done = desk.enforcement(visit.asker, first, last)
    sums = (
        Counter(each.status for each in seen(desk, visit.asker)) if visit.asker.may(Action.TRACKERS) else None
    )
    handling = Handling(desk, visit.asker)
    sees_requests = visit.asker.may(Action.REQUESTS)
    return visit.render(
        "overview.html",
        due=handling.due() if sees_requests else None,
        load=handling.load() if sees_requests else None,
        numbers=overview(desk, visit.asker, first, last),
        series=SERIES,
        whole=desk.integrity(),
        withheld=sum(count.times for count in done if count.kind.action != "allowed"),
        leaked=sum(count.times for count in done if count.kind.leaked),
        third_parties=sums,
    )


PAGES: Final[Pages] = {
    ("GET", ""): _overview,
}
