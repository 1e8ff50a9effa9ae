"""Reports as pages to read and print: the same in the console and in a file of its own, without a script."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, Final

from jinja2 import Environment

from consent.assets import asset_dir
from consent.office.charts import stacked
from consent.office.overview import GROUPS, SERIES
from consent.templates import Templates, template_in

LISTS: Final = (
    ("new", "New this month", "Nothing was seen for the first time."),
    ("gone", "Not seen since the month before", "Nothing has gone."),
    ("undeclared", "Seen, and declared by no policy", "All vendors that were seen are declared."),
    ("unclassified", "Seen, and explained by nobody", "Everything that was seen is explained."),
)
"""What the inventory is shown by: names, headings, and what is said where there is nothing."""
_MONTHS: Final = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)  # fmt: skip


def percent(part: int, whole: int) -> str:
    """Write a share."""
    return f"{100 * part / whole:.1f} %" if whole else "–"


def monthly_values(report: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the report of a month is rendered with."""
    choices = report["choices"]
    values = {(row["day"], name): row[name.replace(" ", "_")] for row in choices["by_day"] for name in SERIES}
    month = f"{_MONTHS[int(report['month'][5:]) - 1]} {report['month'][:4]}"
    return {
        "report": report,
        "title": f"Consent, {month}",
        "month_name": month,
        "series": SERIES,
        "chart": stacked([row["day"] for row in choices["by_day"]], SERIES, values),
        "groups": [*GROUPS, ("layout", "By layout of the banner")],
        "lists": LISTS,
    }


def processing_values(extract: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the extract for the records of processing is rendered with."""
    return {"extract": extract, "title": f"Records of processing, {extract['day']}"}


def document(name: str, values: Mapping[str, Any]) -> bytes:
    """Return a report as a file: HTML that loads nothing.

    Args:
        name: ``monthly`` or ``processing``.
        values: what it is rendered with.

    Raises:
        ConfigurationError: the installation is incomplete.
    """
    environment = _environment()
    return template_in(environment, "office/document.html").render(**values, name=name).encode()


@cache
def _environment() -> Environment:
    style = (asset_dir("static") / "office" / "office.css").read_text(encoding="utf-8")
    environment = Templates(None).environment({"style": _Style(style)})
    environment.filters["percent"] = percent
    return environment


class _Style(str):
    """A style sheet of ours, which is written into a page as it is."""

    __slots__ = ()

    def __html__(self) -> str:
        return self
