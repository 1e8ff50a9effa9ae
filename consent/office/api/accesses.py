"""What was done in the office."""

from __future__ import annotations

from typing import Final

from consent.errors import StoreUnavailable
from consent.office.access_index import BEFORE, WHAT, WHO, accesses_by
from consent.office.api.endpoint import Call, Content, Endpoint
from consent.office.questions import FIRST_DAY, LAST_DAY, LIMIT, WrongQuestion, limit_of
from consent.office.roles import Action


def _accesses(call: Call) -> Content:
    before = call.given.get("before", "")
    if before and not (before.isascii() and before.isdigit() and len(before) <= 15):
        raise WrongQuestion("before", "the number of an entry")
    limit = limit_of(call.given)
    page = call.desk.accesses.page(
        accesses_by(call.given), limit=limit, before=int(before) if before else None
    )
    if page.problems:
        raise StoreUnavailable(f"the log of accesses was altered: {'; '.join(page.problems)}")
    rows = [
        {
            "leaf": entry.leaf,
            "time": entry.time,
            "who": entry.who,
            "what": entry.what,
            "reason": entry.reason,
            "details": dict(entry.details),
        }
        for entry in page.entries
    ]
    return Content({"accesses": rows, "next": page.next})


ENDPOINTS: Final = (
    Endpoint(
        method="GET",
        path="/accesses",
        about="What was done in the office, the newest first.",
        action=Action.ACCESSES,
        answer=_accesses,
        parameters=(WHO, WHAT, FIRST_DAY, LAST_DAY, LIMIT, BEFORE),
    ),
)
