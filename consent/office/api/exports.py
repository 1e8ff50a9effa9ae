"""Receipts as a file: an export as a job that is written once and kept, or at once as a stream."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from consent.moments import format_if_any, format_moment
from consent.office.api.endpoint import Call, Content, Endpoint, NothingThere, Problem
from consent.office.export_jobs import KEEP_DAYS, ExportJob, State
from consent.office.exporting import asked_for, begun, download, order
from consent.office.exports import TooManyExports
from consent.office.questions import FILTERS, LIMIT, Parameter, WrongQuestion, limit_of, text_of
from consent.office.roles import Action
from consent.receipt_export import ExportForm, ExportRows, export


def _stream(call: Call) -> Content:
    form, rows, sought, reason = asked_for(call.desk, call.asker, call.given, call.reason)
    asked = {name: call.given[name] for name in sorted(call.given)}
    pieces = begun(export(call.desk.log, sought, form=form, rows=rows))
    call.desk.record(call.asker, "exported", reason, rows=str(rows), form=str(form), asked=asked)
    return Content(pieces, form.media_type, is_of_a_visitor=True, filename=f"consent-{rows}.{form}")


def _ask(call: Call) -> Content:
    body = call.body
    if not body.keys() <= _BODY["properties"].keys():
        raise WrongQuestion("body", f"it may have {', '.join(_BODY['properties'])}, and nothing else")
    filters = body.get("filters", {})
    if not isinstance(filters, dict) or not filters.keys() <= _FILTERS.keys():
        raise WrongQuestion("filters", f"an object of {', '.join(_FILTERS)}")
    given = {name: _text(name, filters[name]) for name in filters}
    given |= {name: text_of(name, body[name]) for name in ("form", "rows") if name in body}
    try:
        job = order(call.desk, call.asker, given, call.reason)
    except TooManyExports as error:
        raise Problem(429, "too-many-exports", str(error), (b"retry-after", b"60")) from None
    place = f"{call.home}/exports/{job.id}"
    return Content(_told(job), status=202, headers=((b"location", place.encode()),))


def _text(name: str, value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else text_of(name, value)


def _list(call: Call) -> Content:
    jobs = call.desk.exports.of(call.asker, limit=limit_of(call.given))
    return Content({"exports": [_told(job) for job in jobs]})


def _show(call: Call) -> Content:
    job = call.desk.exports.get(call.asker, call.places["id"])
    if job is None:
        raise NothingThere
    return Content(_told(job))


def _cancel(call: Call) -> Content:
    job = call.desk.exports.cancel(call.asker, call.places["id"])
    if job is None:
        raise NothingThere
    return Content(_told(job))


def _content(call: Call) -> Content:
    found = download(call.desk, call.asker, call.places["id"], method=call.method, headers=call.headers)
    if found is None:
        raise NothingThere
    if found.status == 412:
        raise Problem(412, "another-file", "it is not the file that If-Match names", *found.headers)
    if found.status == 416:
        raise Problem(
            416, "no-such-part", "Range: the file ends before; Content-Range says where", *found.headers
        )
    return Content(
        found.pieces, found.media_type, is_of_a_visitor=True, filename=found.filename, status=found.status,
        headers=found.headers,
    )  # fmt: skip


def _told(job: ExportJob) -> dict[str, Any]:
    return {
        "id": job.id,
        "state": str(job.state),
        "form": str(job.form),
        "rows": str(job.rows),
        "filters": job.asked,
        "rows_done": job.rows_done,
        "rows_estimated": job.rows_estimated,
        "bytes": job.bytes,
        "sha256": job.sha256,
        "attempts": job.attempts,
        "problem": job.problem,
        "made": format_moment(job.made_ms),
        "began": format_if_any(job.began_ms),
        "ended": format_if_any(job.ended_ms),
        "expires": format_if_any(job.expires_ms) if job.state is State.DONE else None,
    }


_FORM: Final = {"type": "string", "enum": [str(form) for form in ExportForm], "default": "jsonl"}
_ROWS: Final = {"type": "string", "enum": [str(rows) for rows in ExportRows], "default": "index"}
_FILTERS: Final = {each.name: each for each in FILTERS}
_BODY: Final[Mapping[str, Any]] = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "form": _FORM,
        "rows": _ROWS,
        "filters": {
            "type": "object",
            "description": "As the parameters of `GET /receipts`.",
            "additionalProperties": False,
            "properties": {name: dict(each.schema) for name, each in _FILTERS.items()},
        },
    },
}

ENDPOINTS: Final = (
    Endpoint(
        method="GET",
        path="/exports/receipts",
        about="All receipts that are asked for, the oldest first, as a stream. `rows=records` needs a reason.",
        action=Action.EXPORT_INDEX,
        answer=_stream,
        parameters=(
            *FILTERS,
            Parameter("rows", "What is written.", _ROWS),
            Parameter("form", "How.", _FORM),
        ),
        reason_for="rows=records",
        weight=10,
        media_types=[form.media_type for form in ExportForm],
    ),
    Endpoint(
        method="POST",
        path="/exports",
        about="Order an export: it is written to a file, one after the other. `rows=records` needs a reason.",
        action=Action.EXPORT_INDEX,
        answer=_ask,
        reason_for="rows=records",
        body=_BODY,
        weight=10,
        status=202,
    ),
    Endpoint(
        method="GET",
        path="/exports",
        about="The token's own exports of the last 30 days, the newest first.",
        action=Action.EXPORT_INDEX,
        answer=_list,
        parameters=(LIMIT,),
    ),
    Endpoint(
        method="GET",
        path="/exports/{id}",
        about="How far an export is: rows done and estimated, bytes, SHA-256, and until when it is kept.",
        action=Action.EXPORT_INDEX,
        answer=_show,
    ),
    Endpoint(
        method="DELETE",
        path="/exports/{id}",
        about="Cancel an export, or remove its file.",
        action=Action.EXPORT_INDEX,
        answer=_cancel,
    ),
    Endpoint(
        method="GET",
        path="/exports/{id}/content",
        about=f"The file of an export, for {KEEP_DAYS} days. It is recorded who downloads it.",
        action=Action.EXPORT_INDEX,
        answer=_content,
        in_parts=True,
        media_types=[form.media_type for form in ExportForm],
    ),
)
