"""The numbers of the overview: what people chose. What programs chose is told apart."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Final

from consent.categories import OPTIONAL
from consent.choice_kind import ChoiceKind
from consent.office.asker import Asker
from consent.office.charts import Stacked, rarer, stacked
from consent.office.desk import Desk
from consent.policy import Layout
from consent.receipts import CollectionMethod, Outcome

SERIES: Final = ("agreed", "agreed in part", "refused", "withdrawn", "by a signal")
"""What a day's choices are told apart by."""
GROUPS: Final = (
    ("jurisdiction", "By place"),
    ("language", "By language"),
    ("regime", "By what silence means"),
    ("policy_version", "By version of the policy"),
    ("shown_hash", "By the text shown"),
    ("collection_method", "By how it was asked"),
)
MAX_ROWS: Final = 20
"""How many rows a table has; the rest are added up in one more."""
_LAYOUT = re.compile(rf'<form[^>]* data-layout="({"|".join(Layout)})"'.encode())


@dataclass(frozen=True, slots=True)
class Row:
    """One group of choices."""

    name: str
    choices: int
    agreed: int
    refused: int
    suspicious: bool
    """Whether refusing is rarer there than elsewhere."""
    layout: str = ""
    """How the banner lay over the page, where the group is of a text with one."""


@dataclass(frozen=True, slots=True)
class Overview:
    """All that is shown."""

    first_day: str
    last_day: str
    choices: int
    chart: Stacked
    days: Sequence[tuple[str, Sequence[int]]]
    """Day by day, in the order of :data:`SERIES`."""
    totals: Sequence[int]
    categories: Sequence[tuple[str, int]]
    """How many choices said yes to each."""
    tables: Sequence[tuple[str, str, Sequence[Row]]]
    """By member: its name, its heading, its rows."""
    programs: int
    """How many choices were made where a program drove the browser, or there was none. They are in no other number."""


def overview(
    desk: Desk, asker: Asker, first_day: str, last_day: str, site: str = "", *, max_rows: int = MAX_ROWS
) -> Overview:
    """Count the choices of some days; with ``site``, of one site only."""
    members = [name for name, _ in GROUPS]
    granted: Counter[str] = Counter()
    groups: dict[str, dict[str, list[int]]] = {name: {} for name in members}
    total = refused = programs = 0
    # What is counted by day needs five numbers a day, and all else none: each kind is looked at once.
    for kind, _, _, choices in desk.totals(asker, first_day, last_day):
        if site and kind.site != site:
            continue
        if kind.bot:
            programs += choices
            continue
        series = _series(kind)
        for category in OPTIONAL:
            granted[category] += choices if getattr(kind, category) else 0
        agrees, refuses = series in SERIES[:2], series == "refused"
        total += choices
        refused += choices if refuses else 0
        for name in members:
            row = groups[name].setdefault(getattr(kind, name), [0, 0, 0])
            row[0] += choices
            row[1] += choices if agrees else 0
            row[2] += choices if refuses else 0
    by_day = Counter(
        desk.daily_in(
            asker,
            first_day,
            last_day,
            lambda kind: None if kind.bot or (site and kind.site != site) else _series(kind),
        )
    )
    days = _days(first_day, last_day)
    return Overview(
        first_day,
        last_day,
        total,
        stacked(days, SERIES, by_day),
        [(day, [by_day[day, series] for series in SERIES]) for day in days],
        [sum(by_day[day, series] for day in days) for series in SERIES],
        [(str(category), granted[category]) for category in OPTIONAL],
        [
            (name, heading, _with_layouts(desk, rows) if name == "shown_hash" else rows)
            for name, heading in GROUPS
            for rows in (_rows(groups[name], refused, total, max_rows),)
        ],
        programs,
    )


def _series(kind: ChoiceKind) -> str:
    if kind.collection_method == CollectionMethod.SIGNAL:
        return "by a signal"
    if kind.outcome == Outcome.WITHDRAWN:
        return "withdrawn"
    if kind.performance and kind.functional and kind.targeting:
        return "agreed"
    return "agreed in part" if kind.grants or kind.outcome != Outcome.REFUSED else "refused"


def _rows(groups: dict[str, list[int]], all_refused: int, all_choices: int, most: int) -> list[Row]:
    rows = [
        Row(name, choices, agreed, refused, rarer(refused, choices, all_refused, all_choices))
        for name, (choices, agreed, refused) in groups.items()
    ]
    rows.sort(key=lambda row: (not row.suspicious, -row.choices, row.name))
    rest = rows[most:]
    if not rest:
        return rows
    sums = [
        sum(values) for values in zip(*((row.choices, row.agreed, row.refused) for row in rest), strict=True)
    ]
    return [*rows[:most], Row(f"{len(rest)} more", sums[0], sums[1], sums[2], False)]


def _with_layouts(desk: Desk, rows: Sequence[Row]) -> list[Row]:
    """Look the layout up in the texts themselves: no receipt has it as a member."""
    found = []
    for row in rows:
        text = desk.log.artefact(row.name) if len(row.name) == 64 else None
        layout = _LAYOUT.search(text.content) if text is not None else None
        found.append(replace(row, layout=layout[1].decode()) if layout else row)
    return found


def _days(first_day: str, last_day: str) -> list[str]:
    first, last = date.fromisoformat(first_day), date.fromisoformat(last_day)
    return [(first + timedelta(days=number)).isoformat() for number in range((last - first).days + 1)]
