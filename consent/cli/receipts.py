"""``consent receipts``: the choices that visitors made, as they were recorded."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import click

from consent.catalog import load_catalog
from consent.categories import OPTIONAL
from consent.cli.data import checked_subject, data_option, open_log, with_store
from consent.cli.policy_option import policy_option
from consent.cli.printable import printable
from consent.cli.sought import sought_options
from consent.policy import Policy
from consent.policy_file import load_policy
from consent.receipt_export import ExportForm, ExportRows, export
from consent.receipt_search import Position, ReceiptSearch, Sought
from consent.receipts import Receipt
from consent.retention import DAY_MS, Past, past_by_policy, site_policies
from consent.standard_forms import iso_27560_record, kantara_receipt
from consent.store import Erasing, LoggedReceipt, ReceiptLog
from consent.terms import read_terms, terms_artefacts, terms_of

_PAGE = 500  # receipts in memory at a time
_NEWEST = 20
_WITHOUT_TERMS = "the receipt names no policy: it is of schema version 1"


class _ListByDefault(click.Group):
    """Takes a command line without a command for ``list``'s: ``consent receipts --limit 5`` is enough."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or (args[0].startswith("-") and args[0] not in self.get_help_option_names(ctx)):
            args = ["list", *args]
        return super().parse_args(ctx, args)


@click.group(cls=_ListByDefault)
def receipts() -> None:
    """Read the receipts of the choices that visitors made, and erase them.

    \b
    The newest 20:                    consent receipts
    All refusals, for a script:       consent receipts --outcome refused --limit 0 --json
    Who agreed, and still does:       consent receipts --yes targeting --standing
    Everything, for another program:  consent receipts export
    Everything about one of them:     consent receipts show ID
    How many of which kind, by day:   consent receipts daily
    Forget a visitor who asked:       consent receipts erase HEX

    The site may go on recording.
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
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line: the canonical bytes.")
def list_(folder: Path, limit: int, standing: bool, sought: Sought, as_json: bool) -> None:
    """List receipts, the newest first."""
    with open_log(folder) as log:
        chosen = _newest(log, limit, replace(sought, standing=standing))
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


@receipts.command("export")
@data_option
@click.option(
    "--form",
    type=click.Choice([str(each) for each in ExportForm]),
    default="jsonl",
    show_default=True,
    help="How rows are written.",
)
@click.option(
    "--rows",
    type=click.Choice([str(each) for each in ExportRows]),
    default="records",
    show_default=True,
    help="The receipts themselves, or only what they are found by, which names nobody.",
)
@sought_options
def export_(folder: Path, form: str, rows: str, sought: Sought) -> None:
    """Write receipts, the oldest first, to the standard output.

    A line of records in JSON is the canonical bytes of a receipt: their SHA-256 is its hash.
    """
    with open_log(folder) as log:
        for piece in export(log, sought, form=ExportForm(form), rows=ExportRows(rows)):
            click.echo(piece, nl=False)


@receipts.command()
@data_option
@click.option("--json", "as_json", is_flag=True, help="The canonical bytes: their SHA-256 is the receipt's.")
@click.option("--text", is_flag=True, help="The exact text that the visitor was shown, and nothing else.")
@click.option("--policy", is_flag=True, help="The policy that the visitor chose under, as it was kept: JSON.")
@click.option(
    "--vendors", is_flag=True, help="The vendors and cookies that it declared, as they were kept: JSON."
)
@click.argument("receipt_id", metavar="ID")
def show(folder: Path, as_json: bool, text: bool, policy: bool, vendors: bool, receipt_id: str) -> None:
    """Show everything that one receipt says.

    Exits with 1 if there is no such receipt.
    """
    if as_json + text + policy + vendors > 1:
        raise click.UsageError("--json, --text, --policy and --vendors are different outputs: choose one")
    with open_log(folder) as log:
        receipt = _receipt(log, receipt_id, folder)
        shown = None if receipt.shown_hash is None else log.artefact(receipt.shown_hash)
        named = receipt.policy_hash if policy else receipt.vendor_list_hash
        kept = None if named is None else log.artefact(named)
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
        _print_receipt(
            receipt, None if shown is None else f"{len(shown.content)} bytes of {shown.media_type}"
        )


@receipts.command()
@data_option
@policy_option(
    "The consent.toml that the choice was made under, for receipts that do not say. It knows vendors, too, that the "
    "visitor named and nobody declared."
)
@click.option("--form", type=click.Choice(["kantara", "iso-27560"]), required=True, help="Which one.")
@click.argument("receipt_id", metavar="ID")
def convert(folder: Path, policy_file: Path | None, form: str, receipt_id: str) -> None:
    """Print a receipt in a form of others.

    The Kantara consent receipt 1.1, or the structure of ISO/IEC TS 27560:2023 as JSON-LD. Controller and vendors are
    those of the policy that the receipt names; one of schema version 1 names none.
    """
    with open_log(folder) as log:
        receipt = _receipt(log, receipt_id, folder)
        policy, catalog = Policy(), load_catalog()
        if policy_file is not None:
            policy, catalog = load_policy(policy_file, catalog)
        terms = terms_of(receipt, log.artefact) or read_terms(terms_artefacts(policy))
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


@receipts.command()
@data_option
@click.argument("subject", metavar="HEX", callback=lambda _ctx, _option, value: checked_subject(value))
def erase(folder: Path, subject: str) -> None:
    """Erase all receipts of a visitor, and print the certificate for him.

    HEX is the pseudonym of 32 hexadecimal digits, as 'show' prints it. Key, tag and text are destroyed in the database
    and its log; copies of it are not reached. The certificate is the record of the erasure with the proof that it is in
    the log; it does not say whom it was about.
    """
    erasures = with_store(folder, lambda store: store.erase(subject))
    if not erasures:
        raise click.ClickException("there is nothing of this visitor")
    with open_log(folder) as log:
        for erasure in erasures:
            evidence = log.evidence(erasure.erasure_id)
            if evidence is None:
                click.echo(
                    "Erased. No checkpoint covers the erasure: the site's log of errors says why.", err=True
                )
                click.echo(erasure.canonical_bytes())
            else:
                click.echo(evidence.text(), nl=False)


@receipts.command()
@data_option
@policy_option("The site's consent.toml, whose [retention] says how long receipts are kept.")
@click.option("--site", help="Another site than those of the policy, as its receipts name it.")
@click.option(
    "--older-than",
    "days",
    type=click.IntRange(min=1),
    metavar="DAYS",
    help="How long those of --site are kept.",
)
@click.option("--dry-run", is_flag=True, help="Count only.")
def expire(folder: Path, policy_file: Path | None, site: str | None, days: int | None, dry_run: bool) -> None:
    """Erase the receipts that are older than the site keeps them.

    How long that is says the policy, for each site and jurisdiction; or --site and --older-than. Those that are held
    stay. Run it every day.
    """
    if (site is None) is not (days is None):
        raise click.UsageError("--site and --older-than go together")
    now_ms = int(time.time() * 1_000)
    due: list[tuple[int, Past]] = []
    if site is not None and days is not None:
        due.append((days, Past(site=site, before_ms=now_ms - days * DAY_MS)))
    else:
        due += _due(folder, policy_file, now_ms)

    async def all_of_it(store: Erasing) -> list[int]:
        return [await store.expire(past, dry_run=dry_run) for _, past in due]

    done = "would be erased" if dry_run else "erased"
    for (kept, past), count in zip(due, with_store(folder, all_of_it), strict=True):
        where = "" if past.only is None else f", {', '.join(sorted(past.only))}"
        click.echo(f"{printable(past.site)}{where}: {count} receipts older than {kept} days {done}")


def _due(folder: Path, policy_file: Path | None, now_ms: int) -> list[tuple[int, Past]]:
    """Return what is past its time by the policy; say which sites it says nothing about."""
    policy = Policy()
    if policy_file is not None:
        policy, _ = load_policy(policy_file, load_catalog())
    with open_log(folder) as log:
        places = sorted(log.places())
    due: dict[str, list[tuple[int, Past]]] = {}
    for each in site_policies(policy):
        found = list(past_by_policy(each, [place for site, place in places if site == each.site], now_ms))
        if due.setdefault(each.site, found) != found:
            raise click.ClickException(
                f"two policies keep receipts of {each.site!r} for different times: give one of the sites another name"
            )
    for site in dict.fromkeys(site for site, _ in places):
        if not due.get(site):
            click.echo(
                f"{printable(site)}: no [retention] says how long its receipts are kept; none were erased",
                err=True,
            )
    return [each for found in due.values() for each in found]


@receipts.command()
@data_option
@click.option("--reason", help="Why, such as the number of a case. It is kept in plain text.")
@click.option("--release", is_flag=True, help="Hold them no longer.")
@click.argument("subject", metavar="HEX", callback=lambda _ctx, _option, value: checked_subject(value))
def hold(folder: Path, reason: str | None, release: bool, subject: str) -> None:
    """Keep a visitor's receipts from being erased, until they are released."""
    if (reason is None) is not release:
        raise click.UsageError("give a --reason, or --release")
    if not with_store(folder, lambda store: store.hold(subject, reason=reason)):
        raise click.ClickException("there is nothing of this visitor")
    click.echo("released" if release else "held")


def _receipt(log: ReceiptLog, receipt_id: str, folder: Path) -> Receipt:
    receipt = log.get(receipt_id.lower())
    if receipt is None:
        raise click.ClickException(
            f"no receipt {receipt_id!r} in {folder}: 'consent receipts --limit 0' lists all ids"
        )
    return receipt


def _newest(log: ReceiptSearch, limit: int, sought: Sought) -> Iterator[LoggedReceipt]:
    """Yield up to ``limit`` receipts, all for 0, a page at a time."""
    left = limit or sys.maxsize
    before: Position | None = None
    while left > 0:
        page = log.find(sought, limit=min(left, _PAGE), before=before)
        yield from page.receipts
        left -= len(page.receipts)
        before = page.next
        if before is None:
            return


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
