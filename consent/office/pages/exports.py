"""Exports: what was ordered, how far it is, and the form for another one."""

from __future__ import annotations

from typing import Final

from consent.answers import Answer
from consent.office.export_jobs import KEEP_DAYS, OPEN, State
from consent.office.exporting import download, order
from consent.office.exports import TooManyExports
from consent.office.pages.page import SECURE, Download, Failed, Pages, Visit
from consent.office.questions import FILTERS, text_of
from consent.office.roles import Action
from consent.receipt_export import ExportForm, ExportRows

_SHOWN: Final = 50
_FIELDS: Final = ("form", "rows", *(each.name for each in FILTERS))


def _exports(visit: Visit) -> Answer:
    visit.desk.require(visit.asker, Action.EXPORT_INDEX)
    visit.query()
    jobs = visit.desk.exports.of(visit.asker, limit=_SHOWN)
    # What names nobody is what is offered first.
    rows = [str(ExportRows.INDEX)]
    if visit.asker.may(Action.EXPORT_RECORDS):
        rows.append(str(ExportRows.RECORDS))
    return visit.render(
        "exports.html", jobs=jobs, moving=any(job.state in OPEN for job in jobs), open=OPEN, done=State.DONE,
        forms=[str(each) for each in ExportForm], rows=rows, filters=FILTERS, days=KEEP_DAYS,
    )  # fmt: skip


def _order(visit: Visit) -> Answer:
    visit.desk.require(visit.asker, Action.EXPORT_INDEX)
    given = {name: text_of(name, value) for name, value in visit.form.items() if name in _FIELDS}
    try:
        order(visit.desk, visit.asker, given, visit.form.get("reason", ""))
    except TooManyExports as error:
        raise Failed(429, "Too many wait already", str(error)) from None
    return visit.moved("/exports")


def _cancel(visit: Visit) -> Answer:
    visit.desk.require(visit.asker, Action.EXPORT_INDEX)
    if visit.desk.exports.cancel(visit.asker, visit.places["id"]) is None:
        raise _none()
    return visit.moved("/exports")


def _download(visit: Visit) -> Answer | Download:
    visit.desk.require(visit.asker, Action.EXPORT_INDEX)
    scope = visit.scope
    found = download(
        visit.desk, visit.asker, visit.places["id"], method=scope["method"], headers=scope["headers"]
    )
    if found is None:
        raise _none()
    if found.status in (412, 416):
        title, message = (
            "That is not in this file",
            "It is another one than yours was. Download all of it again.",
        )
        page = visit.render("failed.html", status=found.status, title=title, message=message)
        return Answer(page.status, (*page.headers, *found.headers), page.body)
    headers = (
        (b"content-type", found.media_type.encode()),
        (b"content-disposition", f'attachment; filename="{found.filename}"'.encode()),
        *found.headers,
        *SECURE,
    )
    return Download(headers, found.pieces, found.status)


def _none() -> Failed:
    return Failed(
        404, "There is no such export", "It is another's, not done yet, or its file is past its time."
    )


PAGES: Final[Pages] = {
    ("GET", "/exports"): _exports,
    ("POST", "/exports"): _order,
    ("GET", "/exports/{id}"): _download,
    ("POST", "/exports/{id}/cancel"): _cancel,
}
