"""Reports: which there are, and each as a page that is made to be printed."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Final
from urllib.parse import urlencode

from consent.answers import Answer
from consent.office.documents import document, monthly_values, processing_values
from consent.office.monthly import month_before, month_days, monthly
from consent.office.pages.page import SECURE, Download, Pages, Visit
from consent.office.processing import processing
from consent.office.proofs import MEDIA_TYPE, filename, prove_period
from consent.office.questions import FILTERS, Parameter, day_of, days_of, yes_no
from consent.office.roles import Action
from consent.period_proof import Period

_SITE: Final = next(each for each in FILTERS if each.name == "site")
_FORM: Final = Parameter("form", "", {"type": "string"})


def _reports(visit: Visit) -> Answer:
    visit.desk.require(visit.asker, Action.COUNTS)
    visit.query()
    today = _today(visit)
    month = month_before(today)
    first, last = month_days(month)
    known = visit.asker.sites or sorted({site for site, _ in visit.desk.log.places()})
    return visit.render(
        "reports.html",
        month=month,
        today=today.isoformat(),
        first=first,
        last=last,
        sites=known if len(known) > 1 else (),
    )


def _monthly(visit: Visit) -> Answer:
    given = visit.query(Parameter("month", "", {"type": "string"}), _SITE, _FORM)
    month = given.get("month") or month_before(_today(visit))
    report = monthly(visit.desk, visit.asker, month, given.get("site", ""))
    if given.get("form") == "file":
        return _file(document("monthly", monthly_values(report)), f"consent-{month}.html")
    return visit.render("monthly.html", **monthly_values(report), download=_download(given, month=month))


def _processing(visit: Visit) -> Answer:
    given = visit.query(Parameter("day", "", {"type": "string"}), _SITE, _FORM)
    day = day_of("day", given.get("day") or _today(visit).isoformat()).isoformat()
    extract = processing(visit.desk, visit.asker, day, given.get("site", ""))
    if given.get("form") == "file":
        return _file(document("processing", processing_values(extract)), f"records-of-processing-{day}.html")
    return visit.render("processing.html", **processing_values(extract), download=_download(given, day=day))


def _proof(visit: Visit) -> Download:
    form = visit.form
    first, last = days_of(form, visit.desk.clock())
    site = form.get("site", "")
    period = Period(first_day=first, last_day=last, sites=(site,) if site else ())
    records = yes_no("records", form.get("records") or "false")
    lines = prove_period(visit.desk, visit.asker, period, records=records, reason=form.get("reason", ""))
    return Download(_headers(MEDIA_TYPE, filename(period, records=records)), lines)


def _today(visit: Visit) -> date:
    return datetime.fromtimestamp(visit.desk.clock(), UTC).date()


def _download(given: dict[str, str], **own: str) -> str:
    asked = {**own, **({"site": given["site"]} if given.get("site") else {}), "form": "file"}
    return f"?{urlencode(asked)}"


def _file(content: bytes, name: str) -> Answer:
    return Answer(200, _headers("text/html; charset=utf-8", name), content)


def _headers(media_type: str, name: str) -> tuple[tuple[bytes, bytes], ...]:
    disposition = f'attachment; filename="{name}"'.encode()
    return ((b"content-type", media_type.encode()), (b"content-disposition", disposition), *SECURE)


PAGES: Final[Pages] = {
    ("GET", "/reports"): _reports,
    ("GET", "/reports/monthly"): _monthly,
    ("GET", "/reports/processing"): _processing,
    ("POST", "/reports/proof"): _proof,
}
