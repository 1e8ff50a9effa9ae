"""What people asked about their data, and what is due."""

from __future__ import annotations

import json
import sys
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
from consent.office.handling import MAX_TEXT, MIN_TEXT
from consent.office.questions import WrongQuestion, moment_of
from consent.office.register import Register
from consent.office.request_flood import WAITING
from consent.office.request_rows import Wanted
from consent.subject_request import RequestKind, RequestState, StepKind, StepRefused, Way


@click.group()
def requests() -> None:
    """List what people asked about their data, what is due first coming first.

    They are handled in the console, or through the API.
    """


@requests.command(name="list")
@data_option
@click.option("--kind", type=click.Choice([str(kind) for kind in RequestKind]), help="Only these.")
@click.option("--state", type=click.Choice([str(state) for state in RequestState]), help="Only these.")
@click.option("--way", type=click.Choice([str(way) for way in Way]), help="Only what arrived in this way.")
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
    way: str | None,
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
        way=way or "",
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
@click.option("--from", "since", metavar="MOMENT", required=True, help="UTC: 2026-03-01T03:00:00Z, or a day.")
@click.option("--to", "until", metavar="MOMENT", required=True, help="The same; a day is included.")
@click.option("--site", help="Only of this site, as its receipts name it.")
@click.option("--text", required=True, help="The reason; who asked reads it with reference and code.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def deny(folder: Path, since: str, until: str, site: str | None, text: str, yes: bool) -> None:
    """Deny what a flood has brought: requests of the form that nobody has acknowledged.

    All that arrived between two moments, and that nothing was done about. Look at them before: somebody's own request
    may be among them.
    """
    try:
        last = moment_of("--to", until)
        # A day is read as its end.
        first = moment_of("--from", since) - (0 if "T" in since.upper() else 86_400_000)
    except WrongQuestion as error:
        raise click.UsageError(str(error)) from None
    if not MIN_TEXT <= len(text.strip()) <= MAX_TEXT or printable(text) != text:
        raise click.UsageError(f"give a --text of {MIN_TEXT} to {MAX_TEXT} characters, in one line")
    with explained(folder):
        register = _register(folder)
        wanted = Wanted(
            way=str(Way.FORM),
            state=str(RequestState.RECEIVED),
            site=site or "",
            since_ms=first,
            until_ms=last,
        )
        found, _ = register.find(wanted, limit=WAITING)
        flood = [each for each in found if each.is_untouched]
        if not flood:
            raise click.ClickException("no request of the form waits that arrived then")
        if not yes:
            click.confirm(f"Deny {len(flood)} requests? It cannot be undone", abort=True, err=True)
        accesses, denied = access_log(folder, office_database(folder)), 0
        with click.progressbar(flood, label="Denying", file=sys.stderr) as bar:
            for request in bar:
                accesses.append(
                    BY, "request-deny", reason=f"request {request.reference}", request=request.reference
                )
                try:
                    register.step(request.reference, StepKind.DENY, text.strip(), BY, if_untouched=True)
                    denied += 1
                except StepRefused as refused:
                    click.echo(f"{request.reference}: {refused}", err=True)
    click.echo(f"{denied} denied")


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
