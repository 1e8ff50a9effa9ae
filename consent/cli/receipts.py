"""``consent receipts``: the choices that visitors made, as they were recorded."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from consent.categories import OPTIONAL
from consent.data_folder import DEFAULT_FOLDER, DataFolder
from consent.errors import ConsentError
from consent.receipts import Outcome, Receipt
from consent.sqlite_log import SQLiteReceiptLog, check_log
from consent.store import LoggedReceipt

_PAGE = 500  # receipts in memory at a time
_NEWEST = 20


class _ListByDefault(click.Group):
    """Takes a command line without a command for ``list``'s: ``consent receipts --limit 5`` is enough."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or (args[0].startswith("-") and args[0] not in self.get_help_option_names(ctx)):
            args = ["list", *args]
        return super().parse_args(ctx, args)


data_option = click.option(
    "--data",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    envvar="CONSENT_DATA",
    default=Path(DEFAULT_FOLDER),
    show_default=True,
    show_envvar=True,
    help="The site's data folder.",
)


@click.group(cls=_ListByDefault)
def receipts() -> None:
    """Read the receipts of the choices that visitors made.

    \b
    The newest 20:                    consent receipts
    All refusals, for a script:       consent receipts --outcome refused --limit 0 --json
    Everything about one of them:     consent receipts show ID

    Reading never changes anything and holds nobody up; the site may go on recording.
    """


@receipts.command("list")
@data_option
@click.option(
    "--limit", type=click.IntRange(min=0), default=_NEWEST, show_default=True, help="0: all of them."
)
@click.option(
    "--subject",
    metavar="HEX",
    callback=lambda _ctx, _option, value: _checked_subject(value),
    help="Only this visitor's: the pseudonym of 32 hexadecimal digits.",
)
@click.option("--outcome", type=click.Choice([str(outcome) for outcome in Outcome]), help="Only these.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line: the canonical bytes.")
def list_(folder: Path, limit: int, subject: str | None, outcome: str | None, as_json: bool) -> None:
    """List receipts, the newest first."""
    with _open(folder) as log:
        chosen = _newest(log, limit, subject, Outcome(outcome) if outcome else None)
        if as_json:
            for logged in chosen:
                click.echo(logged.receipt.canonical_bytes())
            return
        first = next(chosen, None)
        if first is None:
            click.echo("No such receipts.", err=True)
            return
        click.echo(_ROW.format("RECEIPT", "TIME (UTC)", "OUTCOME", "AGREED TO"))
        _print_row(first)
        for logged in chosen:
            _print_row(logged)


@receipts.command()
@data_option
@click.option("--json", "as_json", is_flag=True, help="The canonical bytes: their SHA-256 is the receipt's.")
@click.option("--text", is_flag=True, help="The exact text that the visitor was shown, and nothing else.")
@click.argument("receipt_id", metavar="ID")
def show(folder: Path, as_json: bool, text: bool, receipt_id: str) -> None:
    """Show everything that one receipt says.

    Exits with 1 if there is no such receipt.
    """
    if as_json and text:
        raise click.UsageError("--json and --text are two different outputs: choose one")
    with _open(folder) as log:
        receipt = log.get(receipt_id.lower())
        if receipt is None:
            raise click.ClickException(
                f"no receipt {receipt_id!r} in {folder}: 'consent receipts --limit 0' lists all ids"
            )
        shown = None if receipt.shown_hash is None else log.artefact(receipt.shown_hash)
    if text:
        if shown is None:
            raise click.ClickException("no text was shown with this choice")
        click.echo(shown.content, nl=False)
    elif as_json:
        click.echo(receipt.canonical_bytes())
    else:
        _print_receipt(
            receipt, None if shown is None else f"{len(shown.content)} bytes of {shown.media_type}"
        )


@contextmanager
def _open(folder: Path) -> Iterator[SQLiteReceiptLog]:
    """Open the log of ``folder``; say what is wrong with it in one line and exit with 1."""
    try:
        data = DataFolder(folder)
        check_log(data.receipts_path)
        with SQLiteReceiptLog(data.receipts_path, data.ledger_keys(create=False)) as log:
            yield log
    except ConsentError as error:
        raise click.ClickException(f"{error} (data folder: {folder}; --data names another)") from None


def _newest(
    log: SQLiteReceiptLog, limit: int, subject: str | None, outcome: Outcome | None
) -> Iterator[LoggedReceipt]:
    """Yield up to ``limit`` receipts, all for 0, a page at a time."""
    left = limit or sys.maxsize
    before: int | None = None
    while left > 0:
        page = log.list(limit=min(left, _PAGE), before=before, subject=subject, outcome=outcome)
        if not page:
            return
        yield from page
        left -= len(page)
        before = page[-1].leaf


def _checked_subject(value: Any) -> str | None:
    if value is None:
        return None
    subject = str(value).lower()
    if len(subject) != 32 or not set(subject) <= set("0123456789abcdef"):
        raise click.BadParameter("a pseudonym is 32 hexadecimal digits, as 'show' prints it")
    return subject


_ROW = "{:36}  {:19}  {:9}  {}"


def _print_row(logged: LoggedReceipt) -> None:
    receipt = logged.receipt
    click.echo(_ROW.format(receipt.receipt_id, _utc(receipt)[:19], receipt.outcome, _agreed_to(receipt)))


def _print_receipt(receipt: Receipt, shown: str | None) -> None:
    signals = receipt.signals
    dnt = {None: "not sent", True: "do not track", False: "tracking allowed"}[signals.dnt]
    told = ", ".join(signal.upper() for signal in sorted(signals.told))
    rows = {
        "Receipt": receipt.receipt_id,
        "Time": f"{_utc(receipt)} UTC",
        "Site": receipt.site,
        "Outcome": str(receipt.outcome),
        **{category.capitalize(): "yes" if receipt.categories[category] else "no" for category in OPTIONAL},
        **{
            f"Vendor {vendor}": "yes" if answer else "no"
            for vendor, answer in sorted(receipt.vendors.items())
        },
        "GPC": "on" if signals.gpc else "not sent",
        "DNT": dnt,
        "Told of": told or "no conflict with a signal",
        "Collected by": str(receipt.collection_method),
        "Language": receipt.language,
        "Regime": receipt.regime + (f", {receipt.jurisdiction}" if receipt.jurisdiction else ""),
        "Policy": receipt.policy_version,
        "Text shown": "none" if shown is None else f"{shown} (--text prints it)",
        "Text SHA-256": receipt.shown_hash or "none",
        "Visitor": receipt.subject,
        "Browser": f"{receipt.browser}, {receipt.device}",
        "Replaces": receipt.previous or "nothing",
        "SHA-256": receipt.content_hash,
    }
    width = max(map(len, rows))
    for name, value in rows.items():
        click.echo(f"{name:{width}}  {printable(value)}")


def _agreed_to(receipt: Receipt) -> str:
    agreed = [str(category) for category in receipt.granted]
    agreed += [vendor for vendor, answer in sorted(receipt.vendors.items()) if answer]
    but = [vendor for vendor, answer in sorted(receipt.vendors.items()) if not answer]
    return (", ".join(agreed) or "nothing") + (f", not {', '.join(but)}" if but else "")


def _utc(receipt: Receipt) -> str:
    return receipt.time.replace("T", " ").removesuffix("Z")


def printable(text: str) -> str:
    """Keep what could confuse a terminal, such as a change of writing direction, out of it."""
    return "".join(
        character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text
    )
