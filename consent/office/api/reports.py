"""Reports: a month, and an extract for the records of processing, as JSON or as a page to print."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from consent.office.api.endpoint import Call, Content, Endpoint
from consent.office.documents import document, monthly_values, processing_values
from consent.office.monthly import month_before, monthly
from consent.office.processing import processing
from consent.office.questions import FILTERS, Parameter, day_of, one_of
from consent.office.roles import Action

FORMS: Final = ("json", "html")


def _monthly(call: Call) -> Content:
    month = call.given.get("month") or month_before(datetime.fromtimestamp(call.desk.clock(), UTC).date())
    report = monthly(call.desk, call.asker, month, call.given.get("site", ""))
    return _answer(call, "monthly", report, monthly_values, f"consent-{month}.html")


def _processing(call: Call) -> Content:
    today = datetime.fromtimestamp(call.desk.clock(), UTC).date().isoformat()
    day = day_of("day", call.given.get("day") or today).isoformat()
    extract = processing(call.desk, call.asker, day, call.given.get("site", ""))
    return _answer(call, "processing", extract, processing_values, f"records-of-processing-{day}.html")


def _answer(
    call: Call,
    name: str,
    report: Mapping[str, Any],
    values: Callable[[Mapping[str, Any]], Mapping[str, Any]],
    filename: str,
) -> Content:
    if one_of("form", call.given.get("form") or "json", FORMS) == "json":
        return Content(report)
    # It has what visitors and vendors are called by the site: downloaded, never shown as a page of this origin.
    return Content(document(name, values(report)), "text/html; charset=utf-8", filename=filename)


_SITE: Final = next(each for each in FILTERS if each.name == "site")
_FORM: Final = Parameter(
    "form", "JSON, or a page to print.", {"type": "string", "enum": list(FORMS), "default": "json"}
)

ENDPOINTS: Final = (
    Endpoint(
        method="GET",
        path="/reports/monthly",
        about="The report of a month, by default the last that is over: what the API counts, put together.",
        action=Action.COUNTS,
        answer=_monthly,
        parameters=(
            Parameter(
                "month",
                "The month, such as 2026-03.",
                {"type": "string", "pattern": "^(19[7-9][0-9]|[2-9][0-9]{3})-(0[1-9]|1[0-2])$"},
            ),
            _SITE,
            _FORM,
        ),
        weight=10,
        media_types=("application/json", "text/html; charset=utf-8"),
    ),
    Endpoint(
        method="GET",
        path="/reports/processing",
        about="An extract for the records of processing (GDPR, Article 30), from the policies of the receipts.",
        action=Action.COUNTS,
        answer=_processing,
        parameters=(
            Parameter("day", "As of when, UTC.", {"type": "string", "format": "date"}),
            _SITE,
            _FORM,
        ),
        weight=10,
        media_types=("application/json", "text/html; charset=utf-8"),
    ),
)
