"""``consent office report``: reports for people and for scripts."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

import click

from consent.catalog import load_catalog
from consent.cli.data import data_option
from consent.cli.office.folder import office_desk
from consent.cli.policy_option import policy_option
from consent.cli.sought import DAY
from consent.cli.whole import write_whole
from consent.office.documents import document, monthly_values, processing_values
from consent.office.monthly import month_before, monthly
from consent.office.processing import processing
from consent.policy import Policy
from consent.policy_file import load_policy
from consent.retention import site_policies

_site_option = click.option("--site", default="", help="Only this site's, as its receipts name it.")
_json_option = click.option("--json", "as_json", is_flag=True, help="As JSON, as from the API.")
_output_option = click.option(
    "--output", type=click.File("wb", lazy=True), default="-", help="A file; else the standard output."
)


@click.group()
def report() -> None:
    """Write a report: a page that is made to be printed, or JSON. It names nobody.

    \b
    The month that is over:          consent office report month --output march.html
    For the records of processing:   consent office report processing --policy consent.toml --output records.html
    """


@report.command()
@data_option
@_site_option
@_json_option
@_output_option
@click.argument("month", metavar="[YYYY-MM]", default="")
def month(folder: Path, site: str, as_json: bool, output: BinaryIO, month: str) -> None:
    """Report on a month, by default the last that is over.

    What visitors chose, what was withheld, third parties that came and went, policies and what changed in them, and
    whether the log is whole: exits with 1 if it is not.
    """
    with office_desk(folder) as (desk, asker):
        found = monthly(desk, asker, month or month_before(datetime.now(UTC).date()), site)
    _write(output, found, as_json, lambda: document("monthly", monthly_values(found)))
    if found["integrity"]["checkpoint"] and not found["integrity"]["verified"]:
        raise click.ClickException(f"the log is not whole: {found['integrity']['problem']}")


@report.command("processing")
@data_option
@policy_option("The site's consent.toml, whose [retention] says how long receipts are kept.")
@_site_option
@click.option("--day", type=DAY, metavar="DAY", help="As of when, UTC; by default today.")
@_json_option
@_output_option
def processing_(
    folder: Path,
    policy_file: Path | None,
    site: str,
    day: datetime | None,
    as_json: bool,
    output: BinaryIO,
) -> None:
    """Extract what a record of processing activities needs (GDPR, Article 30).

    Purposes, recipients, cookies and how long they are kept, from the policies that visitors chose under. It says what
    it does not know, and what a person has to add.
    """
    policies: tuple[Policy, ...] = ()
    if policy_file is not None:
        policies = tuple(site_policies(load_policy(policy_file, load_catalog())[0]))
    with office_desk(folder) as (desk, asker):
        then = (day or datetime.now(UTC)).date().isoformat()
        found = processing(desk, asker, then, site, policies)
    _write(output, found, as_json, lambda: document("processing", processing_values(found)))


def _write(output: BinaryIO, found: Mapping[str, Any], as_json: bool, page: Callable[[], bytes]) -> None:
    content = json.dumps(found, ensure_ascii=False, indent=2).encode() + b"\n" if as_json else page()
    write_whole(output, content)
    output.flush()
