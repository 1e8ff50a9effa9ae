"""What happens in the office, for other programs: webhooks, and a stream for log systems."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

import click

from consent.cli.data import data_option, explained
from consent.cli.office.folder import BY, access_log, office_database
from consent.data_folder import DataFolder
from consent.office.app import Office
from consent.office.events import MAX_PAGE, Event, Events, EventType
from consent.office.outgoing import Outgoing, WrongAddress, networks_from
from consent.office.syslog import EXAMPLE_ENTERPRISE, Sender, message, place
from consent.office.webhook_changes import WebhookChanges
from consent.office.webhooks import (
    KEEP_HOURS,
    MAX_KEEP_HOURS,
    TooManyWebhooks,
    Webhook,
    Webhooks,
    WebhookState,
)
from consent.receipts_database import ReceiptsDatabase

_T = TypeVar("_T")
_LOOK_SECONDS: Final = 1.0
_MAX_CURSOR: Final = 15


@click.command()
@data_option
@click.option("--add", "url", help="Send events to this address from now on; prints the secret, this once.")
@click.option(
    "--event",
    "events",
    multiple=True,
    type=click.Choice([str(each) for each in EventType]),
    help="Which ones. May be repeated.  [default: all]",
)
@click.option("--enable", metavar="ID", help="Send events again, those that were missed too.")
@click.option("--disable", metavar="ID", help="Send nothing for now.")
@click.option("--rotate", metavar="ID", help="Give one a new secret; prints it, this once.")
@click.option(
    "--keep-hours",
    type=click.IntRange(0, MAX_KEEP_HOURS),
    default=KEEP_HOURS,
    show_default=True,
    help="How long the former secret signs, too. 0: it is known to others.",
)
@click.option("--remove", metavar="ID", help="Forget one, and its secret.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def webhooks(
    folder: Path, url: str | None, events: tuple[str, ...], enable: str | None, disable: str | None,
    rotate: str | None, keep_hours: int, remove: str | None, as_json: bool,
) -> None:  # fmt: skip
    """List where events are sent; or change it."""
    if sum(each is not None for each in (url, enable, disable, rotate, remove)) > 1:
        raise click.UsageError("one of --add, --enable, --disable, --rotate, --remove at a time")
    with explained(folder):
        database = office_database(folder)
        check = Outgoing(networks_from("CONSENT_WEBHOOK_NETWORKS")).check
        book = Webhooks(database, DataFolder(folder).ledger_keys(create=False), time.time, check)
        log = access_log(folder, database)
        changes = WebhookChanges(book, log, partial(log.append, BY))
        if url is not None:
            try:
                _print_secret(*changes.add(url, [EventType(each) for each in events] or list(EventType)))
            except (WrongAddress, TooManyWebhooks) as error:
                raise click.ClickException(str(error)) from None
        elif rotate is not None:
            _print_secret(*_there(changes.rotate(rotate, keep_hours=keep_hours), rotate))
        elif remove is not None:
            _there(changes.remove(remove) or None, remove)
            click.echo("removed")
        elif enable is not None or disable is not None:
            state = WebhookState.ACTIVE if enable is not None else WebhookState.DISABLED
            webhook_id = enable or disable or ""
            _there(changes.change(webhook_id, state=state), webhook_id)
            click.echo(str(state))
        else:
            for each in book.all():
                _print(each, as_json)


def _there(found: _T | None, webhook_id: str) -> _T:
    if found is None:
        raise click.ClickException(f"there is no webhook {webhook_id!r}: 'webhooks' lists them")
    return found


def _print_secret(webhook: Webhook, secret: str) -> None:
    click.echo(secret)
    click.echo(f"{webhook.id}: keep the secret like a password, it is not shown again.", err=True)


def _print(webhook: Webhook, as_json: bool) -> None:
    if as_json:
        members = {
            "id": webhook.id, "url": webhook.url, "events": webhook.types, "state": webhook.state,
            "delivered": webhook.delivered, "attempts": webhook.attempts, "problem": webhook.problem,
        }  # fmt: skip
        click.echo(json.dumps(members, ensure_ascii=False))
    else:
        problem = f": {webhook.problem}" if webhook.problem else ""
        click.echo(f"{webhook.id}  {webhook.state:8}  {webhook.delivered:7}  {webhook.url}{problem}")


@click.command()
@data_option
def deliver(folder: Path) -> None:
    """Send events to webhooks and write exports, until it is stopped.

    The site does so by itself. This is for a site that runs without the office (CONSENT_OFFICE=0), or whose server
    tells no app that it starts.
    """
    with explained(folder):
        data = DataFolder(folder)
        data.ledger_keys(create=False)
        app = Office("/_consent", data, ReceiptsDatabase(data).log)
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.set())
    app.work(stopping)


@click.command()
@data_option
@click.option(
    "--after",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="The number of the last event you have.",
)
@click.option(
    "--cursor",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A file that remembers it: begins there, and is kept up to date.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["jsonl", "rfc5424"]),
    default="jsonl",
    show_default=True,
    help="Lines of JSON, or syslog messages.",
)
@click.option(
    "--to", metavar="ADDRESS", help="tcp://host:port, udp://host:port or unix:///path.  [default: stdout]"
)
@click.option("--follow", is_flag=True, help="Go on until it is stopped.")
@click.option(
    "--enterprise",
    type=click.IntRange(1),
    default=EXAMPLE_ENTERPRISE,
    show_default=True,
    help="Your IANA enterprise number, in RFC 5424's structured data.",
)
def stream(
    folder: Path, after: int, cursor: Path | None, form: str, to: str | None, follow: bool, enterprise: int
) -> None:
    """Write what happened in the office and in the log, the earliest first.

    Nothing in it is about a visitor. On TCP, the length goes before each syslog message (RFC 6587).
    """
    with explained(folder):
        events = Events(office_database(folder))
        if cursor is not None and cursor.exists():
            after = _remembered(cursor)
        with _writing(form, to, enterprise) as write:
            while True:
                page = events.after(after, limit=MAX_PAGE)
                for event in page:
                    write(event)
                    after = event.number
                if page and cursor is not None:
                    _remember(cursor, after)
                if not page and not follow:
                    return
                if not page:
                    time.sleep(_LOOK_SECONDS)


@contextlib.contextmanager
def _writing(form: str, to: str | None, enterprise: int) -> Iterator[Callable[[Event], None]]:
    host = socket.gethostname()

    def bytes_of(event: Event) -> bytes:
        return event.line() if form == "jsonl" else message(event, host=host, enterprise=enterprise)

    if to is None:

        def write(event: Event) -> None:
            click.echo(bytes_of(event))
            sys.stdout.flush()

        yield write
        return
    where = place(to)
    try:
        sender = Sender(where, counts=form == "rfc5424")
    except OSError as error:
        raise click.ClickException(f"{to} cannot be reached: {error.strerror or error}") from None

    def send(event: Event) -> None:
        try:
            sender.send(bytes_of(event))
        except OSError as error:
            raise click.ClickException(
                f"{to} takes nothing more after event {event.number - 1}: {error.strerror or error}"
            ) from None

    with sender:
        yield send


def _remembered(cursor: Path) -> int:
    text = cursor.read_text(encoding="ascii", errors="replace").strip()
    if not (text.isascii() and text.isdigit() and len(text) <= _MAX_CURSOR):
        raise click.ClickException(f"{cursor} holds no number of an event: remove it, or name another file")
    return int(text)


def _remember(cursor: Path, number: int) -> None:
    beside = cursor.with_name(f"{cursor.name}.new")
    beside.write_text(f"{number}\n", encoding="ascii")
    beside.replace(cursor)
