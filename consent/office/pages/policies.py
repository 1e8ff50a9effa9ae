"""Policies: which there were, what they say, what differs, and what was in force when."""

from __future__ import annotations

from datetime import date
from typing import Final
from urllib.parse import urlencode

from consent.answers import Answer
from consent.office.as_of import (
    DAYS,
    MAX_DAYS,
    ON,
    as_of,
    asking_again,
    days_ahead,
    end_of,
    expiring,
    today_of,
)
from consent.office.pages.page import Failed, Pages, Visit
from consent.office.policies import (
    Edition,
    NotComparable,
    compare,
    edition,
    editions,
    kinds_of,
    outcomes,
    terms,
)
from consent.office.questions import (
    CURSOR,
    FILTERS,
    FIRST_DAY,
    LAST_DAY,
    Parameter,
    cursor_of,
    day_of,
    days_of,
    position_of,
    sought_by,
)
from consent.receipt_search import Position, Sought

_OTHER: Final = Parameter("other", "", {"type": "string"})
_SUMS: Final = (Parameter("examined", "", {"type": "integer"}), Parameter("stood", "", {"type": "integer"}))
_MAX_SHOWN: Final = 200


def _policies(visit: Visit) -> Answer:
    return visit.render("policies.html", rows=editions(visit.desk, visit.asker)[:_MAX_SHOWN])


def _policy(visit: Visit) -> Answer:
    found = _edition(visit, visit.places["policy"])
    totals = kinds_of(visit.desk, visit.asker, found)
    sought = Sought(
        site=found.site,
        policy_version=found.version,
        policy_hash=found.policy_hash,
        vendor_list_hash=found.vendor_list_hash,
    )
    return visit.render(
        "policy.html", edition=found, terms=terms(visit.desk, found), outcomes=outcomes(totals),
        texts=sorted({(total.kind.language, total.kind.shown_hash) for total in totals})[:_MAX_SHOWN],
        counted=visit.desk.count_standing(visit.asker, sought, before=_last_of(found)),
        receipts=urlencode(_filters(found)),
        others=sorted(
            (each for each in editions(visit.desk, visit.asker) if each.name not in ("", found.name)),
            key=lambda each: each.site != found.site,
        ),
    )  # fmt: skip


def _changes(visit: Visit) -> Answer:
    given = visit.query(_OTHER, FIRST_DAY, LAST_DAY)
    before, after = _edition(visit, visit.places["policy"]), _edition(visit, given.get("other", ""))
    days = days_of(given, visit.desk.clock())
    try:
        found = compare(visit.desk, visit.asker, before, after, days)
    except NotComparable as error:
        raise Failed(404, "These cannot be compared", f"{error}.".capitalize()) from None
    return visit.render("changes.html", found=found, limit=_MAX_SHOWN)


def _as_of(visit: Visit) -> Answer:
    given = visit.query(ON, DAYS)
    today = today_of(visit.desk)
    day = day_of("on", given["on"]) if given.get("on") else today
    days = days_ahead(given.get("days", ""))
    return visit.render(
        "as_of.html", day=day.isoformat(), days=days, most_days=MAX_DAYS, then=as_of(visit.desk, visit.asker, day),
        names={
            (each.site, each.policy_hash, each.vendor_list_hash): each.name
            for each in editions(visit.desk, visit.asker)
        },
        again=[
            (each, urlencode({**_filters(each.edition, of_version=True), "grants": "true", "from": each.since}))
            for each in asking_again(visit.desk, visit.asker, today)
        ],
        endings=[
            (each, urlencode({"site": each.site, "grants": "true", **_on(each.given_on)}))
            for each in expiring(visit.desk, visit.asker, today, days)
        ],
    )  # fmt: skip


def _standing(visit: Visit) -> Answer:
    given = {name: value for name, value in visit.query(*FILTERS, CURSOR, *_SUMS).items() if value}
    examined, stood = (_number(given.pop(each.name, "0")) for each in _SUMS)
    counted = visit.desk.count_standing(visit.asker, sought_by(given, visit.asker), before=position_of(given))
    examined += counted.examined
    stood += sum(counted.standing.values())
    sums = {"examined": examined, "stood": stood}
    following = urlencode({**given, **sums, "cursor": cursor_of(counted.next)}) if counted.next else ""
    asked = {name: value for name, value in given.items() if name != "cursor"}
    return visit.render(
        "standing.html", examined=examined, stood=stood, following=following, asked=asked,
        receipts=urlencode({**asked, "standing": "true"}),
    )  # fmt: skip


def _edition(visit: Visit, name: str) -> Edition:
    found = edition(visit.desk, visit.asker, name)
    if found is None:
        raise Failed(
            404, "There is no such policy", "No receipt names it, or those that do are of another site."
        )
    return found


def _filters(found: Edition, *, of_version: bool = False) -> dict[str, str]:
    """Return what its receipts are found by."""
    by_hash = {"policy_hash": found.policy_hash, "vendor_list_hash": found.vendor_list_hash}
    return {
        "site": found.site,
        "policy_version": found.version,
        **({name: hash for name, hash in by_hash.items() if hash and not of_version}),
    }


def _on(day: str) -> dict[str, str]:
    """Return what begins a list of receipts with the last one of a day, and ends it with the first."""
    return {"from": day, "cursor": cursor_of(end_of(date.fromisoformat(day))) or ""}


def _last_of(found: Edition) -> Position | None:
    """Return where the receipts of an edition begin, the newest first: those of later days need not be looked at."""
    return end_of(date.fromisoformat(found.last_day)) if found.last_day else None


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 12 else 0


PAGES: Final[Pages] = {
    ("GET", "/policies"): _policies,
    ("GET", "/policies/{policy}"): _policy,
    ("GET", "/policies/{policy}/changes"): _changes,
    ("GET", "/as-of"): _as_of,
    ("GET", "/standing"): _standing,
}
