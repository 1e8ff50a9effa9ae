"""Third parties that were seen, what was done about them, and saying who they are."""

from __future__ import annotations

from typing import Any, Final

from consent.office.api.endpoint import Call, Content, Endpoint, Problem
from consent.office.classifying import SAID, NotTaken, classification, proposal
from consent.office.questions import (
    FIRST_DAY,
    LAST_DAY,
    LIMIT,
    days_of,
    limit_of,
    one_of,
)
from consent.office.roles import Action
from consent.office.trackers import (
    CATEGORY,
    MAX_LEAKS,
    TRACKER_CURSOR,
    TRACKER_FILTERS,
    Seen,
    asked_trackers,
    classify,
    day_of_number,
    known_catalog,
    leaks,
    narrowed,
    page_of,
    proposals,
    seen,
)


def _trackers(call: Call) -> Content:
    given = asked_trackers(dict(call.given))
    found = narrowed(seen(call.desk, call.asker), given)
    some, following = page_of(found, given.get("cursor", ""), limit_of(given))
    return Content({"trackers": [_row(each) for each in some], "next": following})


def _row(each: Seen) -> dict[str, Any]:
    sighting, tally, vendor = each.sighting, each.tally, each.vendor
    return {
        "id": each.name,
        "status": str(each.status),
        **sighting._asdict(),
        "name": vendor.name if vendor else None,
        "category": str(vendor.category) if vendor else None,
        "first_day": day_of_number(tally.first_day),
        "last_day": day_of_number(tally.last_day),
        "times": tally.count,
        "pages": list(tally.pages),
    }


def _leaks(call: Call) -> Content:
    first, last = days_of(call.given, call.desk.clock())
    category = call.given.get("category", "")
    if category:
        one_of("category", category, CATEGORY.schema["enum"])
    rows = leaks(call.desk.enforcement(call.asker, first, last), category)
    return Content(
        {
            "from": first,
            "to": last,
            "leaked": sum(count.times for count in rows),
            "rows": [{**count.kind._asdict(), "times": count.times} for count in rows[:MAX_LEAKS]],
        }
    )


def _proposals(call: Call) -> Content:
    text = proposals(seen(call.desk, call.asker))
    return Content(text.encode(), "application/toml", filename="consent-proposals.toml")


def _proposal(call: Call) -> Content:
    try:
        said = classification(call.body, known_catalog(call.desk))
    except NotTaken as error:
        raise Problem(409, "not-taken", str(error)) from None
    return Content(proposal(said).encode(), "application/toml", filename=f"consent-{said.vendor_id}.toml")


def _classify(call: Call) -> Content:
    try:
        said = classify(call.desk, call.asker, call.body)
    except NotTaken as error:
        raise Problem(409, "not-taken", str(error)) from None
    return Content(
        {
            "vendor": said.vendor_id,
            "category": said.category,
            "takes_effect": "when the site starts the next time",
        },
        status=201,
        is_of_a_visitor=True,
    )


ENDPOINTS: Final = (
    Endpoint(
        method="GET",
        path="/trackers",
        about="Third-party content that was seen on the site, what nobody has explained first.",
        action=Action.TRACKERS,
        answer=_trackers,
        parameters=(*TRACKER_FILTERS, LIMIT, TRACKER_CURSOR),
    ),
    Endpoint(
        method="GET",
        path="/leaks",
        about="What left although it was refused: how often, and which.",
        action=Action.COUNTS,
        answer=_leaks,
        parameters=(CATEGORY, FIRST_DAY, LAST_DAY),
    ),
    Endpoint(
        method="GET",
        path="/proposals",
        about="What the policy file lacks, as far as what was seen tells: a part of a `consent.toml`.",
        action=Action.TRACKERS,
        answer=_proposals,
        media_types=("application/toml",),
    ),
    Endpoint(
        method="POST",
        path="/proposals",
        about="The same for one third party, with what is said of it in the body.",
        action=Action.TRACKERS,
        answer=_proposal,
        body=SAID,
        media_types=("application/toml",),
        problems={409: "That cannot be said of a vendor."},
        reads=True,
    ),
    Endpoint(
        method="POST",
        path="/classifications",
        about="Says who a third party is, in the file that the policy names for it. It takes effect when the site "
        "starts the next time.",
        action=Action.CLASSIFY,
        answer=_classify,
        body=SAID,
        status=201,
        problems={409: "That cannot be said of a vendor, or the policy does not take it over."},
    ),
)
