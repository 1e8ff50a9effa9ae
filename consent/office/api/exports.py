"""Receipts as a file."""

from __future__ import annotations

from itertools import chain
from typing import Final

from consent.office.api.endpoint import Call, Content, Endpoint, one_of
from consent.office.questions import FILTERS, Parameter, sought_by
from consent.office.roles import Action
from consent.receipt_export import ExportForm, ExportRows, export


def _export(call: Call) -> Content:
    given = call.given
    rows = one_of("rows", given.get("rows") or "index", list(ExportRows))
    form = one_of("form", given.get("form") or "jsonl", list(ExportForm))
    action = Action.EXPORT_RECORDS if rows == ExportRows.RECORDS else Action.EXPORT_INDEX
    call.desk.require(call.asker, action)
    sought = sought_by(given, call.asker)
    reason = call.desk.require_reason(call.reason) if rows == ExportRows.RECORDS else call.reason
    asked = {name: given[name] for name in sorted(given)}
    call.desk.record(call.asker, "exported", reason, rows=str(rows), form=str(form), asked=asked)
    pieces = export(call.desk.log, sought, form=ExportForm(form), rows=ExportRows(rows))
    # The first rows are read before anything is answered: a log that cannot be read is 503.
    pieces = chain((next(pieces, b""),), pieces)
    media_type = "text/csv; charset=utf-8" if form == ExportForm.CSV else "application/jsonl"
    return Content(pieces, media_type, is_of_a_visitor=True, filename=f"consent-{rows}.{form}")


ENDPOINTS: Final = (
    Endpoint(
        method="GET",
        path="/exports/receipts",
        about="All receipts that are asked for, the oldest first, as a stream. `rows=records` needs a reason.",
        action=Action.EXPORT_INDEX,
        answer=_export,
        parameters=(
            *FILTERS,
            Parameter(
                "rows", "What is written.", {"type": "string", "enum": [str(rows) for rows in ExportRows]}
            ),
            Parameter("form", "How.", {"type": "string", "enum": [str(form) for form in ExportForm]}),
        ),
        reason_for="rows=records",
        weight=10,
    ),
)
