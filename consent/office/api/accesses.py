"""What was done in the office."""

from __future__ import annotations

from typing import Final

from consent.office.api.endpoint import Call, Content, Endpoint
from consent.office.questions import LIMIT, Parameter, WrongQuestion, limit_of
from consent.office.roles import Action


def _accesses(call: Call) -> Content:
    before = call.given.get("before", "")
    if before and not (before.isascii() and before.isdigit() and len(before) <= 15):
        raise WrongQuestion("before", "the number of an entry")
    limit = limit_of(call.given)
    entries = call.desk.accesses.newest(limit=limit, before=int(before) if before else None)
    rows = [
        {
            "leaf": entry.leaf,
            "time": entry.time,
            "who": entry.who,
            "what": entry.what,
            "reason": entry.reason,
            "details": dict(entry.details),
        }
        for entry in entries
    ]
    following = rows[-1]["leaf"] if len(rows) == limit and rows[-1]["leaf"] else None
    return Content({"accesses": rows, "next": following})


ENDPOINTS: Final = (
    Endpoint(
        method="GET",
        path="/accesses",
        about="What was done in the office, the newest first.",
        action=Action.ACCESSES,
        answer=_accesses,
        parameters=(
            LIMIT,
            Parameter(
                "before",
                "Only entries before this one: `next` of the page before.",
                {"type": "integer", "minimum": 0, "maximum": 10**15 - 1},
            ),
        ),
    ),
)
