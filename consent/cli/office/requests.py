"""What people asked about their data, and what is due."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from pathlib import Path

import click

from consent.cli.data import data_option, explained
from consent.cli.office.folder import BY, access_log, office_database
from consent.cli.printable import printable
from consent.data_folder import DataFolder
from consent.moments import format_moment
from consent.office.api.requests import described, row_of
from consent.office.app import register_in
from consent.office.desk import MAX_REASON, MIN_REASON
from consent.office.register import Register
from consent.office.request_rows import Wanted
from consent.subject_request import RequestKind, RequestState


@click.group()
def requests() -> None:
    """List what people asked about their data, what is due first coming first.

    They are handled in the console, or through the API.
    """


@requests.command(name="list")
@data_option
@click.option("--kind", type=click.Choice([str(kind) for kind in RequestKind]), help="Only these.")
@click.option("--state", type=click.Choice([str(state) for state in RequestState]), help="Only these.")
@click.option("--site", help="Only of this site, as its receipts name it.")
@click.option("--open", "open_only", is_flag=True, help="Only what is not closed.")
@click.option(
    "--overdue", is_flag=True, help="Only what should have been done by now; exits with 1 if there is any."
)
@click.option("--limit", type=click.IntRange(1, 500), default=50, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def list_(
    folder: Path,
    kind: str | None,
    state: str | None,
    site: str | None,
    open_only: bool,
    overdue: bool,
    limit: int,
    as_json: bool,
) -> None:
    """List requests, without who asked."""
    today = datetime.now(UTC).date().isoformat()
    wanted = Wanted(
        kind=kind or "",
        state=state or "",
        site=site or "",
        open_only=open_only,
        overdue_on=today if overdue else "",
    )
    with explained(folder):
        found, _ = _register(folder).find(wanted, limit=limit)
    for request in found:
        if as_json:
            click.echo(json.dumps(row_of(request, today), ensure_ascii=False))
        else:
            late = "  overdue" if request.is_overdue(today) else ""
            click.echo(
                f"{request.reference}  {request.due or '-':10}  {request.state:12}  {request.kind:8}  "
                f"{printable(request.site)}{late}"
            )
    if overdue and found:
        raise click.exceptions.Exit(1)


@requests.command()
@data_option
@click.option("--reason", required=True, help="Why; it is written into the log of accesses.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.argument("reference")
def show(folder: Path, reason: str, as_json: bool, reference: str) -> None:
    """Show one request, with who asked and what was done."""
    if not MIN_REASON <= len(reason.strip()) <= MAX_REASON:
        raise click.UsageError(f"give a --reason of {MIN_REASON} to {MAX_REASON} characters")
    today = datetime.now(UTC).date().isoformat()
    with explained(folder):
        register = _register(folder)
        request = register.get(reference)
        if request is None:
            raise click.ClickException(
                f"there is no request {reference!r}: 'consent office requests list' has all"
            )
        access_log(folder, office_database(folder)).append(
            BY, "request-opened", reason=printable(reason.strip()), request=request.reference
        )
        opened = register.open(request.reference)
    if opened is None:
        raise click.ClickException(f"there is no request {reference!r} any more")
    members = described(opened, today)
    if as_json:
        click.echo(json.dumps(members, ensure_ascii=False, indent=2))
        return
    history = members.pop("history")
    for name, value in members.items():
        text = ", ".join(map(str, value)) if isinstance(value, list) else "" if value is None else str(value)
        click.echo(f"{name.replace('_', ' ') + ':':20}{printable(text)}")
    for step in history:
        text = f": {printable(step['text'])}" if step["text"] else ""
        click.echo(f"{step['time'][:19].replace('T', ' ')}  {printable(step['who'])}  {step['what']}{text}")


@requests.command()
@data_option
def purge(folder: Path) -> None:
    """Forget who asked, where the time for that is over; kind, days and state stay.

    The office does the same whenever requests are looked at. How long it is after a request was closed says
    CONSENT_REQUEST_DAYS.
    """
    with explained(folder):
        count = _register(folder).purge()
    click.echo(f"{count} forgotten, at {format_moment(int(time.time() * 1_000))[:10]}")


def _register(folder: Path) -> Register:
    return register_in(DataFolder(folder), time.time)
