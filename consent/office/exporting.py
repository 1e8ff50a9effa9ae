"""Exports as the API and the console have them: who may, why, and that it is recorded."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

from consent.answers import Headers
from consent.errors import ConfigurationError
from consent.office.asker import Asker
from consent.office.desk import Desk, NotAllowed
from consent.office.export_jobs import ExportJob
from consent.office.questions import WrongQuestion, one_of, sought_by
from consent.office.ranges import pieces_of, served
from consent.office.roles import Action
from consent.receipt_export import ExportForm, ExportRows
from consent.receipt_parquet import require_parquet
from consent.receipt_search import Sought


def asked_for(
    desk: Desk, asker: Asker, given: Mapping[str, str], reason: str
) -> tuple[ExportForm, ExportRows, Sought, str]:
    """Return what is to be exported, if it may be had, and why.

    Raises:
        NotAllowed, ReasonMissing: it may not, or has to say why.
        WrongQuestion: there is no such form, kind of rows or filter, or it cannot be written here.
    """
    rows = ExportRows(one_of("rows", given.get("rows") or "index", list(ExportRows)))
    form = ExportForm(one_of("form", given.get("form") or "jsonl", list(ExportForm)))
    desk.require(asker, _action(rows))
    sought = sought_by(given, asker)
    if rows is ExportRows.RECORDS:
        reason = desk.require_reason(reason)
    if form is ExportForm.PARQUET:
        try:
            require_parquet()
        except ConfigurationError as error:
            raise WrongQuestion("form", str(error)) from None
    return form, rows, sought, reason


def order(desk: Desk, asker: Asker, given: Mapping[str, str], reason: str) -> ExportJob:
    """Order an export; it is recorded.

    Args:
        desk: takes the order.
        asker: who asks.
        given: ``form``, ``rows`` and filters, as text.
        reason: why.

    Raises:
        TooManyExports: others must be done first; and what :func:`asked_for` raises.
    """
    form, rows, sought, reason = asked_for(desk, asker, given, reason)
    asked = {name: given[name] for name in sorted(given) if name not in ("form", "rows") and given[name]}
    with desk.accesses.together():
        job = desk.exports.ask(asker, form=form, rows=rows, sought=sought, asked=asked)
        desk.record(asker, "exported", reason, rows=str(rows), form=str(form), asked=asked, export=job.id)
    return job


def begun(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Return the same pieces, the first of which is there: a log that cannot be read fails here, and not in an answer
    that has begun, and is not recorded as if something of it had been given away.
    """
    return chain((next(pieces, b""),), pieces)


@dataclass(frozen=True, slots=True)
class ExportFile:
    """The file of an export, as it is answered."""

    status: int
    headers: Headers
    filename: str
    media_type: str
    pieces: Iterator[bytes]


def download(desk: Desk, asker: Asker, job_id: str, *, method: str, headers: Headers) -> ExportFile | None:
    """Return the file of an export, or the part that is asked for; ``None``: there is none, or not yet, or no longer.

    It is recorded, where anything of it is sent.

    Raises:
        NotAllowed: whoever ordered it may not have it any more: people who sign in can have another role by then, or
            be for fewer sites.
    """
    job = desk.exports.get(asker, job_id)
    if job is not None:
        desk.require(asker, _action(job.rows))
        if asker.sites and not (job.sought.sites and job.sought.sites <= set(asker.sites)):
            raise NotAllowed("an export of other sites")
    file = None if job is None else desk.exports.content(job)
    if job is None or file is None:
        return None
    digest = job.sha256 or ""
    part = served(method, headers, size=job.bytes, digest=digest)
    # RFC 9530: of all of it, also with a part.
    whole = (b"repr-digest", b"sha-256=:%s:" % b64encode(bytes.fromhex(digest)))
    sent: Iterator[bytes] = iter(())
    if method == "HEAD" or not part.length:
        file.close()
    else:
        last = part.first + part.length - 1
        about: dict[str, Any] = {} if part.status == 200 else {"first_byte": part.first, "last_byte": last}
        try:
            desk.record(asker, "downloaded", export=job.id, rows=str(job.rows), **about)
        except BaseException:
            file.close()
            raise
        sent = pieces_of(file, part)
    return ExportFile(part.status, (*part.headers, whole), job.filename, job.form.media_type, sent)


def _action(rows: ExportRows) -> Action:
    return Action.EXPORT_RECORDS if rows is ExportRows.RECORDS else Action.EXPORT_INDEX
