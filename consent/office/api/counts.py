"""How many choices of which kind there were, what was done about trackers, and how large the signed log is."""

from __future__ import annotations

from typing import Final

from consent.choice_kind import ChoiceKind
from consent.office.api.endpoint import Call, Content, Endpoint
from consent.office.questions import (
    FILTERS,
    FIRST_DAY,
    GROUPS,
    LAST_DAY,
    Parameter,
    WrongQuestion,
    days_of,
    list_schema,
    names_of,
    sought_by,
)
from consent.office.roles import Action

MAX_GROUPS: Final = 20_000
"""How many rows of counts one answer has at most."""

_OF_KIND: Final = (*ChoiceKind._fields, "grants")

_COUNTED: Final = tuple(
    parameter
    for parameter in FILTERS
    if parameter.name in ChoiceKind._fields or parameter in (FIRST_DAY, LAST_DAY)
)


def _counts(call: Call) -> Content:
    first, last = days_of(call.given, call.desk.clock())
    groups = names_of("by", call.given.get("by") or "day,outcome", GROUPS)
    sought = sought_by({name: call.given[name] for name in _OF_KIND if name in call.given}, call.asker)
    wanted = {name: value for name in _OF_KIND if (value := getattr(sought, name)) is not None}
    sums = call.desk.counts(call.asker, first, last, groups, wanted)
    if len(sums) > MAX_GROUPS:
        raise WrongQuestion("by", f"{len(sums)} rows, at most {MAX_GROUPS}: ask for fewer days, or by less")
    rows = [
        {**dict(zip(groups, key, strict=True)), "choices": choices}
        for key, choices in sorted(sums.items(), key=lambda item: tuple(map(str, item[0])))
    ]
    return Content({"from": first, "to": last, "counts": rows})


def _enforcement(call: Call) -> Content:
    first, last = days_of(call.given, call.desk.clock())
    counts = call.desk.enforcement(call.asker, first, last)
    rows = [{**count.kind._asdict(), "times": count.times, "leaked": count.kind.leaked} for count in counts]
    return Content({"from": first, "to": last, "enforcement": rows})


def _integrity(call: Call) -> Content:
    found = call.desk.integrity()
    signed = found.signed
    return Content(
        {
            "verified": found.verified,
            "problem": found.problem,
            "origin": signed.origin if signed else None,
            "size": signed.size if signed else 0,
            "root": signed.root.hex() if signed else None,
            "checkpoint": found.note,
            "keys": [str(verifier) for verifier in call.desk.log.verifiers()],
        }
    )


ENDPOINTS: Final = (
    Endpoint(
        method="GET",
        path="/counts",
        about="How many choices of which kind there were. Erasing a visitor does not change it.",
        action=Action.COUNTS,
        answer=_counts,
        parameters=(
            *_COUNTED,
            Parameter(
                "by",
                "Members to count by, with commas between.",
                list_schema(GROUPS, default="day,outcome"),
            ),
        ),
    ),
    Endpoint(
        method="GET",
        path="/enforcement",
        about="What the server did about trackers, by day.",
        action=Action.COUNTS,
        answer=_enforcement,
        parameters=(FIRST_DAY, LAST_DAY),
    ),
    Endpoint(
        method="GET",
        path="/integrity",
        about="The checkpoint signed last, whether its signature and the tree hold, and the keys.",
        action=Action.COUNTS,
        answer=_integrity,
    ),
)
