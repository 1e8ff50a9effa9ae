"""``consent db``: looking after the database of receipts."""

from __future__ import annotations

from pathlib import Path

import click

from consent.cli.data import data_option, explained, with_store
from consent.data_folder import DataFolder
from consent.sqlite_backup import back_up
from consent.sqlite_store import SQLiteStore


@click.group()
def db() -> None:
    """Look after the database of receipts. The site may go on recording."""


@db.command()
@data_option
def upgrade(folder: Path) -> None:
    """Bring the database of an earlier release to the present tables.

    The site does the same when it starts. May be interrupted, and goes on where it was.
    """
    with explained(folder):
        data = DataFolder(folder)
        if not data.receipts_path.exists():
            raise click.ClickException(f"there is no database at {data.receipts_path}: nothing to do")
        SQLiteStore(data.receipts_path, data.ledger_keys()).prepare()
    click.echo("The database is that of this release.")


@db.command()
@data_option
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
def backup(folder: Path, file: Path) -> None:
    """Copy the database to FILE, which must not exist yet, while the site goes on.

    The receipts in it are sealed: without the key file nobody can read it. Keep that elsewhere.
    """
    with explained(folder):
        leaves = back_up(DataFolder(folder).receipts_path, file)
    click.echo(f"{leaves} leaves in {file}")


@db.command()
@data_option
def rewrap(folder: Path) -> None:
    """Wrap all visitors' keys under the first wrapping key of the key file.

    Afterwards the other wrapping keys can be taken out of it.
    """
    count = with_store(folder, SQLiteStore.rewrap)
    click.echo(f"{count} keys were under another wrapping key, and are under the first one now.")
