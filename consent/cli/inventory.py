"""``consent inventory``: the third-party content that was seen on the site, and whether anybody explained it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import click

from consent.catalog import Vendor, load_catalog
from consent.cli.data import data_option
from consent.cli.policy_option import policy_option
from consent.cli.printable import printable
from consent.data_folder import DataFolder
from consent.errors import ConsentError
from consent.inventory import Sighting, Source, Tally
from consent.inventory_status import Status, status_of
from consent.parts import host_parts
from consent.policy import Policy
from consent.policy_file import load_policy
from consent.sqlite_inventory import SQLiteInventory

_HEADINGS = ("STATUS", "WHAT", "KIND", "VENDOR", "FIRST", "LAST", "TIMES", "FOR EXAMPLE", "HOSTS")


@dataclass(frozen=True, slots=True)
class _Line:
    """A sighting, and what catalog and policy say of it."""

    sighting: Sighting
    tally: Tally
    vendor: Vendor | None
    status: Status


@click.command()
@data_option
@policy_option("The site's consent.toml, for the vendors it adds and declares.")
@click.option("--status", type=click.Choice([str(each) for each in Status]), help="Only these.")
@click.option("--source", type=click.Choice([str(source) for source in Source]), help="Only these.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def inventory(
    folder: Path, policy_file: Path | None, status: str | None, source: str | None, as_json: bool
) -> None:
    """List the third-party content that was seen on the site.

    What no catalog entry explains comes first, then vendors that the policy does not declare. It was seen in
    pages as the middleware read them, or browsers reported that the Content-Security-Policy stopped it, or would
    have. Inline scripts are told apart by what is code in them.
    """
    path = DataFolder(folder).inventory_path
    try:
        catalog, policy = load_catalog(), Policy()
        if policy_file is not None:
            policy, catalog = load_policy(policy_file, catalog)
        if not path.exists():
            raise click.ClickException(
                f"no inventory yet: there is no file at {path}; it is made when the site has served a page with "
                f"third-party content (data folder: {folder}; --data names another)"
            )
        sightings = SQLiteInventory(path).sightings()
    except ConsentError as error:
        raise click.ClickException(str(error)) from None
    parts = {part.name: part for part in host_parts(policy, catalog)}
    lines = []
    for sighting, tally in sightings.items():
        part = parts.get(sighting.part, parts[""])
        known = status_of(sighting, tally, part)
        if status in (None, known) and source in (None, sighting.source):
            lines.append(_Line(sighting, tally, part.catalog.vendors.get(sighting.vendor), known))
    lines.sort(
        key=lambda line: (
            list(Status).index(line.status),
            # Most of the scripts that nobody has explained are the site's own.
            line.sighting.source is Source.SCRIPT,
            -line.tally.count,
        )
    )
    for text in _json_lines(lines) if as_json else _table(lines):
        click.echo(text)
    if not lines:
        click.echo("No such sightings.", err=True)


def _table(lines: list[_Line]) -> Iterator[str]:
    if not lines:
        return
    rows: list[tuple[str, ...]] = [_HEADINGS]
    for line in lines:
        tally = line.tally
        rows.append(
            (
                line.status,
                printable(line.sighting.subject),
                printable(line.sighting.kind),
                printable(line.sighting.vendor),
                str(_day(tally.first_day)),
                str(_day(tally.last_day)),
                str(tally.count),
                printable(tally.pages[0]) if tally.pages else "",
                printable(line.sighting.part.replace(",", " ")),
            )
        )
    if not any(line.sighting.part for line in lines):
        rows = [row[:-1] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()


def _json_lines(lines: list[_Line]) -> Iterator[str]:
    for line in lines:
        sighting, tally, vendor = line.sighting, line.tally, line.vendor
        yield json.dumps(
            {
                "status": line.status,
                "subject": sighting.subject,
                "kind": sighting.kind,
                "source": sighting.source,
                "vendor": sighting.vendor or None,
                "name": vendor.name if vendor else None,
                "category": vendor.category if vendor else None,
                "first_seen": str(_day(tally.first_day)),
                "last_seen": str(_day(tally.last_day)),
                "count": tally.count,
                "pages": tally.pages,
                "hosts": sighting.part.split(",") if sighting.part else None,
            }
        )


def _day(number: int) -> date:
    return date(1970, 1, 1) + timedelta(days=min(max(number, 0), 2_900_000))
