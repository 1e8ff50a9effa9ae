"""``consent office receipts``: the choices that visitors made, as they were recorded."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import click

from consent.catalog import load_catalog
from consent.categories import OPTIONAL
from consent.choice import RECEIPT_ID
from consent.cli.data import data_option, open_log
from consent.cli.office.folder import office_desk
from consent.cli.policy_option import policy_option
from consent.cli.printable import printable
from consent.cli.sought import reason_option, sought_options
from consent.moments import format_moment
from consent.office.asker import Asker
from consent.office.desk import Desk, OpenedReceipt
from consent.policy import Policy
from consent.policy_file import load_policy
from consent.receipt_search import Found, Position, Sought
from consent.standard_forms import iso_27560_record, kantara_receipt
from consent.terms import read_terms, terms_artefacts, terms_of

_PAGE = 500  # receipts in memory at a time
_NEWEST = 20
_WITHOUT_TERMS = "the receipt names no policy: it is of schema version 1"


class _ListByDefault(click.Group):
    """Takes a command line without a command for ``list``'s: ``consent office receipts --limit 5`` is enough."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or (args[0].startswith("-") and args[0] not in self.get_help_option_names(ctx)):
            args = ["list", *args]
        return super().parse_args(ctx, args)


@click.group(cls=_ListByDefault)
def receipts() -> None:
    """Read the receipts of the choices that visitors made.

    \b
    The newest 20:                   consent office receipts
    All refusals, for a script:      consent office receipts --outcome refused --limit 0 --json
    Who agreed, and still does:      consent office receipts --yes targeting --standing
    Everything about one of them:    consent office receipts show 27 --reason "complaint 12"
    How many of which kind, by day:  consent office receipts daily

    A list names nobody. What opens a receipt, or looks a visitor up, asks for a reason, and writes it into the log of
    accesses. The site may go on recording.
    """


@receipts.command("list")
@data_option
@click.option(
    "--limit", type=click.IntRange(min=0), default=_NEWEST, show_default=True, help="0: all of them."
)
@click.option(
    "--standing", is_flag=True, help="Only what no later choice of the visitor has replaced, until --to."
)
@sought_options
@reason_option("Why, for --subject")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, as from the API.")
def list_(folder: Path, limit: int, standing: bool, sought: Sought, reason: str, as_json: bool) -> None:
    """List receipts by what they have in common, the newest first.

    Each is named by its leaf, its number in the log.
    """
    with office_desk(folder) as (desk, asker):
        chosen = _newest(desk, asker, limit, replace(sought, standing=standing), reason)
        if as_json:
            for found in chosen:
                time = format_moment(found.position.time_ms)
                row = {"leaf": found.position.leaf, "time": time, **found.kind._asdict()}
                click.echo(json.dumps(row, ensure_ascii=False, separators=(",", ":")))
            return
        first = next(chosen, None)
        if first is None:
            click.echo("No such receipts.", err=True)
            return
        click.echo(_ROW.format("LEAF", "TIME (UTC)", "OUTCOME", "AGREED TO", "SITE"))
        _print_row(first)
        for found in chosen:
            _print_row(found)


@receipts.command()
@data_option
@click.option("--json", "as_json", is_flag=True, help="The canonical bytes: their SHA-256 is the receipt's.")
@click.option("--text", is_flag=True, help="The exact text that the visitor was shown, and nothing else.")
@click.option("--policy", is_flag=True, help="The policy that the visitor chose under, as it was kept: JSON.")
@click.option(
    "--vendors", is_flag=True, help="The vendors and cookies that it declared, as they were kept: JSON."
)
@reason_option("Why")
@click.argument("place", metavar="RECEIPT")
def show(
    folder: Path, as_json: bool, text: bool, policy: bool, vendors: bool, reason: str, place: str
) -> None:
    """Show everything that one receipt says, and whether its proof holds.

    RECEIPT is its leaf, as the list has it, or its id, as the visitor has it. Exits with 1 if there is none.
    """
    if as_json + text + policy + vendors > 1:
        raise click.UsageError("--json, --text, --policy and --vendors are different outputs: choose one")
    with office_desk(folder) as (desk, asker):
        opened = _opened(desk, asker, place, reason, folder)
        receipt, shown = opened.receipt, opened.text
        named = receipt.policy_hash if policy else receipt.vendor_list_hash
        kept = None if named is None else desk.log.artefact(named)
    if text:
        if shown is None:
            raise click.ClickException("no text was shown with this choice")
        click.echo(shown.content, nl=False)
    elif policy or vendors:
        if kept is None:
            raise click.ClickException(_WITHOUT_TERMS)
        click.echo(kept.content)
    elif as_json:
        click.echo(receipt.canonical_bytes())
    else:
        _print_receipt(opened)


@receipts.command()
@data_option
@policy_option(
    "The consent.toml that the choice was made under, for receipts that do not say. It knows vendors, too, that the "
    "visitor named and nobody declared."
)
@click.option("--form", type=click.Choice(["kantara", "iso-27560"]), required=True, help="Which one.")
@reason_option("Why")
@click.argument("place", metavar="RECEIPT")
def convert(folder: Path, policy_file: Path | None, form: str, reason: str, place: str) -> None:
    """Print a receipt in a form of others.

    The Kantara consent receipt 1.1, or the structure of ISO/IEC TS 27560:2023 as JSON-LD. Controller and vendors are
    those of the policy that the receipt names; one of schema version 1 names none.
    """
    with office_desk(folder) as (desk, asker):
        receipt = _opened(desk, asker, place, reason, folder).receipt
        policy, catalog = Policy(), load_catalog()
        if policy_file is not None:
            policy, catalog = load_policy(policy_file, catalog)
        terms = terms_of(receipt, desk.log.artefact) or read_terms(terms_artefacts(policy))
        write = kantara_receipt if form == "kantara" else iso_27560_record
        click.echo(json.dumps(write(receipt, terms, catalog), ensure_ascii=False, indent=2))


@receipts.command()
@data_option
@click.option("--from", "first_day", type=click.DateTime(["%Y-%m-%d"]), help="The first day, UTC.")
@click.option("--to", "last_day", type=click.DateTime(["%Y-%m-%d"]), help="The last day, included.")
def daily(folder: Path, first_day: datetime | None, last_day: datetime | None) -> None:
    """Count the choices of each kind on each day: one JSON object a line.

    The counts name no visitor, and stay when receipts are erased.
    """
    with open_log(folder) as log:
        first = "0000" if first_day is None else first_day.date().isoformat()
        last = "9999" if last_day is None else last_day.date().isoformat()
        for day, kind, choices in log.daily(first, last):
            click.echo(json.dumps({"day": day, **kind._asdict(), "choices": choices}, ensure_ascii=False))


def _opened(desk: Desk, asker: Asker, place: str, reason: str, folder: Path) -> OpenedReceipt:
    leaf: int | None = None
    if place.isascii() and place.isdigit() and len(place) <= 15:
        leaf = int(place)
    elif RECEIPT_ID.fullmatch(place.lower()) is not None:
        found = desk.look_up_id(asker, place.lower(), reason).found
        leaf = found[0].position.leaf if found else None
    opened = None if leaf is None else desk.open(asker, leaf, reason)
    if opened is None:
        raise click.ClickException(
            f"no receipt {place!r} in {folder}: 'consent office receipts --limit 0' lists all, by their leaves"
        )
    return opened


def _newest(desk: Desk, asker: Asker, limit: int, sought: Sought, reason: str) -> Iterator[Found]:
    """Yield up to ``limit`` receipts, all for 0, a page at a time."""
    left = limit or sys.maxsize
    before: Position | None = None
    while left > 0:
        most = min(left, _PAGE)
        if sought.subject is None:
            page = desk.list(asker, sought, limit=most, before=before)
        else:
            page = desk.look_up(asker, sought, reason, limit=most, before=before)
        yield from page.found
        left -= len(page.found)
        before = page.next
        if before is None:
            return


_ROW = "{:>9}  {:19}  {:9}  {:34}  {}"


def _print_row(found: Found) -> None:
    kind = found.kind
    agreed = ", ".join(category for category in OPTIONAL if getattr(kind, category)) or "nothing"
    time = _utc(format_moment(found.position.time_ms))[:19]
    click.echo(_ROW.format(found.position.leaf, time, kind.outcome, agreed, printable(kind.site)))


def _print_receipt(opened: OpenedReceipt) -> None:
    receipt, text = opened.receipt, opened.text
    shown = None if text is None else f"{len(text.content)} bytes of {text.media_type}"
    signals = receipt.signals
    dnt = {None: "not sent", True: "do not track", False: "tracking allowed"}[signals.dnt]
    told = ", ".join(signal.upper() for signal in sorted(signals.told))
    rows = {
        "Receipt": receipt.receipt_id,
        "Leaf": str(opened.leaf),
        "Time": f"{_utc(receipt.time)} UTC",
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
        "Policy": receipt.policy_version
        + (" (--policy and --vendors print it)" if receipt.policy_hash else ""),
        "Policy SHA-256": receipt.policy_hash or "none",
        "Vendors SHA-256": receipt.vendor_list_hash or "none",
        "Text shown": "none" if shown is None else f"{shown} (--text prints it)",
        "Text SHA-256": receipt.shown_hash or "none",
        "Visitor": receipt.subject,
        "Browser": f"{receipt.browser}, {receipt.device}",
        "Replaces": receipt.previous or "nothing",
        "SHA-256": receipt.content_hash,
        "Proof": _proof(opened),
    }
    width = max(map(len, rows))
    for name, value in rows.items():
        click.echo(f"{name:{width}}  {printable(value)}")


def _proof(opened: OpenedReceipt) -> str:
    if opened.checkpoint is not None:
        return f"holds: it is in the log of {opened.checkpoint.size} leaves, as it was signed"
    return f"does not hold: {opened.problem}" if opened.problem else "no checkpoint covers it yet"


def _utc(time: str) -> str:
    return time.replace("T", " ").removesuffix("Z")
