"""What was done in the office."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlencode

from consent.answers import Answer
from consent.office.access_index import BEFORE, WHAT, WHO, accesses_by
from consent.office.pages.page import Pages, Visit, leaf_of
from consent.office.questions import FIRST_DAY, LAST_DAY
from consent.office.roles import Action


def _accesses(visit: Visit) -> Answer:
    visit.desk.require(visit.asker, Action.ACCESSES)
    given = {
        name: value for name, value in visit.query(WHO, WHAT, FIRST_DAY, LAST_DAY, BEFORE).items() if value
    }
    before = given.pop("before", "")
    page = visit.desk.accesses.page(accesses_by(given), limit=100, before=leaf_of(before) if before else None)
    following = "" if page.next is None else urlencode({**given, "before": page.next})
    return visit.render("accesses.html", page=page, given=given, following=following)


PAGES: Final[Pages] = {
    ("GET", "/accesses"): _accesses,
}
