"""``consent office export``: receipts as a file."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import click

from consent.cli.data import data_option
from consent.cli.office.folder import office_desk
from consent.cli.sought import reason_option, sought_options
from consent.cli.whole import write_whole
from consent.office.desk import Desk
from consent.office.exporting import begun
from consent.receipt_export import ExportForm, ExportRows, export
from consent.receipt_search import Sought


@click.command("export")
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
    default="index",
    show_default=True,
    help="Only what receipts are found by, which names nobody, or the receipts themselves, for a reason.",
)
@click.option(
    "--output", type=click.File("wb", lazy=True), default="-", help="A file; else the standard output."
)
@sought_options
@reason_option("Why, for --rows records and for --subject")
def export_(folder: Path, form: str, rows: str, output: BinaryIO, sought: Sought, reason: str) -> None:
    """Write receipts, the oldest first, and record that they were.

    A line of records in JSON is the canonical bytes of a receipt: their SHA-256 is its hash.
    """
    with office_desk(folder) as (desk, asker):
        if rows == ExportRows.RECORDS or sought.subject is not None:
            reason = desk.require_reason(reason)
        asked = {
            name: str(value) if isinstance(value, frozenset) else value
            for name in sought.__slots__
            if (value := getattr(sought, name)) not in (None, False) and name != "subject"
        }
        pieces = begun(export(desk.log, sought, form=ExportForm(form), rows=ExportRows(rows)))
        desk.record(asker, "exported", reason, rows=rows, form=form, asked=asked)
        for piece in _shown(pieces, desk, sought) if sys.stderr.isatty() else pieces:
            write_whole(output, piece)
        output.flush()


def _shown(pieces: Iterable[bytes], desk: Desk, sought: Sought) -> Iterator[bytes]:
    """Show how far it is, to whoever waits for it at a terminal."""
    from rich.console import Console
    from rich.progress import DownloadColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("exporting"), DownloadColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=None)
        for piece in pieces:
            progress.advance(task, len(piece))
            yield piece
