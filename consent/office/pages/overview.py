"""How the choices of some days stand, at a glance."""

from __future__ import annotations

from typing import Final

from consent.answers import Answer
from consent.checkpoint import Checkpoint
from consent.office.overview import SERIES, overview
from consent.office.pages.page import Pages, Visit
from consent.office.questions import FIRST_DAY, LAST_DAY, days_of
from consent.office.roles import Action


def _overview(visit: Visit) -> Answer:
    desk = visit.desk
    first, last = days_of(visit.query(FIRST_DAY, LAST_DAY), desk.clock())
    note = desk.log.checkpoint()
    done = desk.enforcement(visit.asker, first, last)
    sightings = desk.sightings(visit.asker) if visit.asker.may(Action.TRACKERS) else None
    return visit.render(
        "overview.html",
        numbers=overview(desk, visit.asker, first, last),
        series=SERIES,
        signed=None if note is None else Checkpoint.of_note(note),
        withheld=sum(count.times for count in done if count.kind.action != "allowed"),
        leaked=sum(count.times for count in done if count.kind.leaked),
        unclassified=None if sightings is None else sum(not each.vendor for each in sightings),
        seen=None if sightings is None else len({each.vendor for each in sightings if each.vendor}),
    )


PAGES: Final[Pages] = {
    ("GET", ""): _overview,
}
