"""What was done in the office."""

from __future__ import annotations

from typing import Final

from consent.answers import Answer
from consent.office.pages.page import Pages, Visit, leaf_of
from consent.office.questions import Parameter
from consent.office.roles import Action


def _accesses(visit: Visit) -> Answer:
    visit.desk.require(visit.asker, Action.ACCESSES)
    before = visit.query(Parameter("before", "", {"type": "integer"})).get("before", "")
    entries = visit.desk.accesses.newest(limit=100, before=leaf_of(before) if before else None)
    return visit.render("accesses.html", entries=entries, problems=visit.desk.accesses.verify())


PAGES: Final[Pages] = {
    ("GET", "/accesses"): _accesses,
}
