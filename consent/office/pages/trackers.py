"""Third parties that were seen, what was done about them, and saying who they are."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import urlencode

from consent.answers import Answer
from consent.categories import Category
from consent.office.classifying import MEMBERS, NotTaken, classification, proposal
from consent.office.pages.page import SECURE, Failed, Pages, Visit
from consent.office.questions import FIRST_DAY, LAST_DAY, LIMIT, WrongQuestion, days_of, limit_of
from consent.office.roles import Action
from consent.office.trackers import (
    CATEGORY,
    MAX_LEAKS,
    TRACKER_CURSOR,
    TRACKER_FILTERS,
    asked_trackers,
    classify,
    day_of_number,
    done,
    known_catalog,
    leaks,
    narrowed,
    not_yet,
    page_of,
    proposals,
    seen,
    suggested,
    takes_classifications,
)

_MAX_DONE: Final = 200


def _trackers(visit: Visit) -> Answer:
    given = {
        name: value
        for name, value in visit.query(
            *TRACKER_FILTERS, LIMIT, TRACKER_CURSOR, FIRST_DAY, LAST_DAY, CATEGORY
        ).items()
        if value
    }
    asked = asked_trackers(given)
    first, last = days_of(given, visit.desk.clock())
    everything = seen(visit.desk, visit.asker)
    rows, cursor = page_of(narrowed(everything, asked), given.get("cursor", ""), limit_of(given))
    counts = visit.desk.enforcement(visit.asker, first, last)
    category = given.get("category", "")
    leaked = leaks(counts, category)
    sums: dict[str, int] = {}
    for each in everything:
        sums[each.status] = sums.get(each.status, 0) + 1
    following = "" if cursor is None else urlencode({**given, "cursor": cursor})
    return visit.render(
        "trackers.html", rows=rows, given=given, following=following, sums=sums, filters=TRACKER_FILTERS,
        done=done(counts)[:_MAX_DONE], leaked=sum(count.times for count in leaked), leaks=leaked[:MAX_LEAKS],
        category=category, categories=CATEGORY.schema["enum"], first=first, last=last, date=day_of_number,
        waiting=not_yet(visit.desk),
    )  # fmt: skip


def _tracker(visit: Visit) -> Answer:
    name = visit.places["tracker"]
    found = next((each for each in seen(visit.desk, visit.asker) if each.name == name), None)
    if found is None:
        raise Failed(404, "There is no such third party", "It is of another site, or was not seen for long.")
    return visit.render(
        "tracker.html", found=found, said=suggested(found), date=day_of_number, categories=list(Category),
        at_once=takes_classifications(visit.desk),
    )  # fmt: skip


def _propose(visit: Visit) -> Answer:
    visit.desk.require(visit.asker, Action.TRACKERS)
    if not visit.form:
        return _download("consent-proposals", proposals(seen(visit.desk, visit.asker)))
    try:
        read = classification(_said(visit), known_catalog(visit.desk))
    except (WrongQuestion, NotTaken) as error:
        raise _not_said(error) from None
    return _download(f"consent-{read.vendor_id}", proposal(read))


def _classify(visit: Visit) -> Answer:
    try:
        read = classify(visit.desk, visit.asker, _said(visit))
    except WrongQuestion as error:
        raise _not_said(error) from None
    except NotTaken as error:
        raise Failed(409, "That was not taken over", f"{error}.".capitalize()) from None
    return visit.render("classified.html", read=read)


def _not_said(error: Exception) -> Failed:
    return Failed(400, "That cannot be said of a vendor", f"{error}. Go back, and change it.")


def _said(visit: Visit) -> dict[str, Any]:
    said: dict[str, Any] = {name: visit.form[name].strip() for name in MEMBERS if visit.form.get(name)}
    if "hosts" in said:
        said["hosts"] = said["hosts"].replace(",", " ").split()
    return said


def _download(name: str, text: str) -> Answer:
    headers = (
        (b"content-type", b"application/toml; charset=utf-8"),
        (b"content-disposition", f'attachment; filename="{name}.toml"'.encode()),
        *SECURE,
    )
    return Answer(200, headers, text.encode())


PAGES: Final[Pages] = {
    ("GET", "/trackers"): _trackers,
    ("POST", "/trackers/proposal"): _propose,
    ("POST", "/trackers/classification"): _classify,
    ("GET", "/trackers/{tracker}"): _tracker,
}
