"""What the gallery shows: the faults of each page, and the table of all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from consent.policy import Refused
from tests.gallery.pages import TIERS, Page
from tests.gallery.run import ALLOWING, REFUSING, Showing, State, without_insertions


def faults(showing: Showing, page: Page, state: State) -> list[str]:
    """Return what is not as it must be when ``page`` is shown in ``state``, a sentence each."""
    visit = showing.visits[state][page.id]
    found = [f"the page could not be shown: {visit.trouble}"] if visit.trouble else []
    lost = [name for name in (*page.benign, *page.own) if name not in visit.benign]
    if lost:
        found.append(f"benign contacts lost: {', '.join(lost)}")
    if visit.works is False:
        found.append(f"the page does not work: {page.works}")
    if missing := set(page.own_cookies) - visit.cookies:
        found.append(f"own cookies lost: {', '.join(sorted(missing))}")
    if page.look_alike or page.inert_in_chromium:
        if page.tracker and visit.contacts:
            found.append("the tracker was contacted, though the page is said to be inert")
    elif state in ALLOWING:
        if page.contacts_tracker and not page.gone and not visit.contacts:
            found.append("the tracker was not contacted")
        found += [f"the cookie {name} was not set" for name in page.cookies if name not in visit.cookies]
        found += [f"{key} was not stored" for key in page.storage if key not in visit.storage]
    elif showing.is_enforced(page):
        found += leaks(showing, page, state)
    found += _byte_faults(showing, page, state)
    return found


def leaks(showing: Showing, page: Page, state: State) -> list[str]:
    """Return what reached a refused tracker, or was kept for it, in one of the ``REFUSING`` states."""
    visit = showing.visits[state][page.id]
    found = []
    if page.contacts_tracker and visit.contacts:
        found.append(f"the tracker {page.tracker} was contacted")
    found += [f"the cookie {name} was set" for name in page.cookies if name in visit.cookies]
    found += [f"{key} was stored" for key in page.storage if key in visit.storage]
    return found


def _byte_faults(showing: Showing, page: Page, state: State) -> Iterator[str]:
    answer = showing.answers[state][page.id]
    for text in page.gone:
        has = answer.has(page.fill(text), page.charset)
        if state in ALLOWING and not has:
            yield f"the answer lacks {page.fill(text)!r}"
        elif (
            state in REFUSING and showing.is_enforced(page) and has and showing.setup.refused is Refused.STRIP
        ):
            yield f"the answer still has {page.fill(text)!r}"
    if answer.status != 200:
        yield f"the answer's status is {answer.status}"
    untouched = page.look_alike or page.tier == "benign" or state in ALLOWING
    if untouched and not page.respelt and without_insertions(answer.body, page.charset) != page.document:
        yield "the bytes differ from the original by more than insertions"


@dataclass(slots=True)
class Row:
    """What the table says about one tier."""

    tier: str
    pages: int = 0
    inert: int = 0
    """Pages whose technique Chromium does not perform."""
    bare: int = 0
    """Pages that contact the tracker, set its cookie or keep its key without the middleware ..."""
    before: int = 0
    accepted: int = 0
    withdrawn: int = 0
    """... and those that do so in the other states."""
    awaited: int = 0
    """Of those before a choice, the ones that a layer that is not there would stop."""
    benign_lost: int = 0
    """Benign contacts lost, in all states together."""


def _reached(showing: Showing, page: Page, state: State) -> bool:
    if state not in showing.visits:
        return False
    if page.gone and not page.cookies and not page.storage:
        if state in REFUSING and showing.setup.refused is not Refused.STRIP:
            return False  # it is there still, and inert
        return any(showing.answers[state][page.id].has(page.fill(text), page.charset) for text in page.gone)
    return bool(leaks(showing, page, state))


def rows(showing: Showing) -> list[Row]:
    """Return the table: a row for each tier that was shown, and one for all."""
    table: dict[str, Row] = {}
    total = Row("all")
    for page in sorted(showing.pages, key=lambda page: TIERS.index(page.tier)):
        for row in (table.setdefault(page.tier, Row(page.tier)), total):
            row.pages += 1
            row.inert += bool(page.inert_in_chromium)
            row.bare += _reached(showing, page, State.BARE)
            row.before += _reached(showing, page, State.BEFORE)
            row.accepted += _reached(showing, page, State.ACCEPTED)
            row.withdrawn += _reached(showing, page, State.WITHDRAWN)
            row.awaited += not showing.is_enforced(page) and _reached(showing, page, State.BEFORE)
            for visits in showing.visits.values():
                expected = {*page.benign, *page.own}
                row.benign_lost += len(expected - visits[page.id].benign)
    return [*table.values(), total]


_COLUMNS = (
    ("tier", "tier"),
    ("pages", "pages"),
    ("inert", "inert"),
    ("bare", "bare"),
    ("before", "before"),
    ("accepted", "accepted"),
    ("withdrawn", "withdrawn"),
    ("awaited", "awaited"),
    ("benign lost", "benign_lost"),
)


def table_lines(showing: Showing) -> list[str]:
    """Return the table as text, with what stands behind its numbers below it."""
    cells = [[title for title, _ in _COLUMNS]]
    cells += [[str(getattr(row, key)) for _, key in _COLUMNS] for row in rows(showing)]
    widths = [max(len(line[n]) for line in cells) for n in range(len(_COLUMNS))]
    lines = [
        "  ".join(
            cell.ljust(width) if n == 0 else cell.rjust(width)
            for n, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in cells
    ]
    layers = [f"CSP {showing.setup.csp}", f"refused = {showing.setup.refused}"]
    layers += ["guard"] if showing.guarded else []
    lines += [
        "",
        "pages that reach their tracker in each state; awaited: those before a choice that a layer would stop",
        f"that is not there; inert: not performed by Chromium. {', '.join(layers)}.",
        f"{showing.chromium}, {showing.seconds:.0f} s",
    ]
    return lines


def remaining(showing: Showing) -> list[tuple[Page, str]]:
    """Return the pages that reach their tracker without a choice, each with what must stop it and why."""
    return [
        (page, f"{page.needs}: {page.reason}" if page.needs else "NOT ACCOUNTED FOR")
        for page in showing.pages
        if _reached(showing, page, State.BEFORE) or _reached(showing, page, State.WITHDRAWN)
    ]


def layer_lines(showing: Showing) -> list[str]:
    """Return the rows of the table in ``docs/layers.md``, by what was measured.

    The last column is what the data claim of ``csp = "enforce"``: showing the gallery so finds out.
    """
    lines = []
    for row in rows(showing):
        here = [page for page in showing.pages if row.tier in (page.tier, "all")]
        enforced = sum(page.needs == "nothing" and _reached(showing, page, State.BEFORE) for page in here)
        lines.append(f"| {row.tier} | {row.pages} | {row.bare} | {row.before} | {enforced} |")
    return lines


def as_json(showing: Showing) -> Mapping[str, Any]:
    """Return all of it for programs."""
    return {
        "chromium": showing.chromium,
        "seconds": round(showing.seconds, 1),
        "guard": showing.guarded,
        "csp": showing.setup.csp,
        "refused": showing.setup.refused,
        "tiers": [{key: getattr(row, key) for _, key in _COLUMNS} for row in rows(showing)],
        "pages": [
            {
                "id": page.id,
                "about": page.about,
                "needs": page.needs,
                "reason": page.reason,
                "inert_in_chromium": page.inert_in_chromium,
                "reaches": [s.name.lower() for s in showing.visits if _reached(showing, page, s)],
                "faults": {
                    s.name.lower(): wrong for s in showing.visits if (wrong := faults(showing, page, s))
                },
            }
            for page in showing.pages
        ],
    }
