"""``consent db``: looking after the database of receipts."""

from __future__ import annotations

from pathlib import Path

import click

from consent.cli.data import data_option, explained, with_store
from consent.data_folder import DataFolder
from consent.office.database import OfficeDatabase
from consent.office.wrapped_keys import rewrap_office
from consent.receipts_database import ADDRESS_VARIABLE, ReceiptsDatabase
from consent.sqlite_backup import back_up


@click.group()
def db() -> None:
    """Look after the database of receipts. The site may go on recording."""


@db.command()
@data_option
def upgrade(folder: Path) -> None:
    """Bring the database of an earlier release to the present tables.

    The site does the same when it starts. In PostgreSQL, makes them where there are none. May be interrupted, and
    goes on where it was.
    """
    with explained(folder):
        database = ReceiptsDatabase(DataFolder(folder))
        if database.address is None and not database.folder.receipts_path.exists():
            raise click.ClickException(
                f"there is no database at {database.folder.receipts_path}: nothing to do"
            )
        database.prepared()
    click.echo("The database is that of this release.")


@db.command()
@data_option
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
def backup(folder: Path, file: Path) -> None:
    """Copy the database to FILE, which must not exist yet, while the site goes on. For SQLite.

    The receipts in it are sealed: without the key file nobody can read it. Keep that elsewhere.
    """
    with explained(folder):
        database = ReceiptsDatabase(DataFolder(folder))
        if database.address is not None:
            raise click.ClickException(
                "a database in PostgreSQL is backed up with its own means, such as pg_dump"
            )
        leaves = back_up(database.folder.receipts_path, file)
    click.echo(f"{leaves} leaves in {file}")


@db.command()
@data_option
def rewrap(folder: Path) -> None:
    """Wrap all visitors' keys under the first wrapping key of the key file, and those of all that the office keeps.

    Afterwards the other wrapping keys can be taken out of it.
    """
    count = with_store(folder, lambda store: store.rewrap())
    data = DataFolder(folder)
    if data.office_path.exists():
        with explained(folder):
            office, keys = OfficeDatabase(data.office_path), data.ledger_keys(create=False)
            count += rewrap_office(office, keys)
    click.echo(f"{count} keys were under another wrapping key, and are under the first one now.")


@db.command()
@data_option
def move(folder: Path) -> None:
    """Move the log from the data folder to the PostgreSQL database that CONSENT_DATABASE names.

    Stop the site first. Order, proofs and checkpoints stay, and receipts stay sealed under the same keys. Afterwards
    the old database is put aside: two that went on would contradict each other. May be interrupted, and done again.
    """
    with explained(folder):
        database = ReceiptsDatabase(DataFolder(folder))
        source, aside = database.folder.receipts_path, folder / "receipts.moved.sqlite3"
        if database.address is None:
            raise click.ClickException(f"there is nowhere to move to: set {ADDRESS_VARIABLE}")
        if not source.exists():
            raise click.ClickException(f"there is no database at {source}: nothing to do")
        if aside.exists():
            raise click.ClickException(f"{aside} is in the way: move it elsewhere")
        from consent.log_move import move_log

        keys = database.folder.ledger_keys(create=False)
        leaves = move_log(source, database.address, keys, mark=database.mark, aside=aside)
    click.echo(f"{leaves} leaves moved. The old database is {aside}: remove it when you need it no more.")
