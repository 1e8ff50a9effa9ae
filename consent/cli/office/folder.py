"""What the commands of the office have in common: where it is kept, and what their accesses are recorded as."""

from __future__ import annotations

import getpass
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from consent.cli.data import explained
from consent.data_folder import DataFolder
from consent.office.access_log import AccessLog
from consent.office.app import Office
from consent.office.asker import Asker
from consent.office.database import OfficeDatabase
from consent.office.desk import MIN_REASON, Desk, ReasonMissing
from consent.office.questions import WrongQuestion
from consent.office.roles import Role
from consent.receipts_database import ReceiptsDatabase

if TYPE_CHECKING:
    from consent.postgresql_log import PostgreSQLReceiptLog
    from consent.sqlite_log import SQLiteReceiptLog

BY = "the command line"
"""Who did it, where a command does."""


def office_database(folder: Path) -> OfficeDatabase:
    """Return the office's database in a data folder of a site."""
    data = DataFolder(folder)
    data.ledger_keys(create=False)
    return OfficeDatabase(data.office_path)


def access_log(folder: Path, database: OfficeDatabase) -> AccessLog:
    """Return the log of its accesses."""
    return AccessLog(database, DataFolder(folder).ledger_keys(create=False), time.time)


@contextmanager
def office_desk(folder: Path) -> Iterator[tuple[Desk, Asker]]:
    """Give a command the desk, and who asks there: whoever runs it may do what an officer may.

    What goes wrong is said in one line, and ends the command with 1.
    """
    with desk_and_log(folder) as (desk, asker, _):
        yield desk, asker


@contextmanager
def desk_and_log(folder: Path) -> Iterator[tuple[Desk, Asker, SQLiteReceiptLog | PostgreSQLReceiptLog]]:
    """Give it the log as it was opened, too."""
    data = DataFolder(folder)
    with explained(folder):
        receipts = ReceiptsDatabase(data)
        with receipts.log() as log:
            data.ledger_keys(create=False)
            desk = Office("/_consent", data, lambda: log, erase=receipts.erase).desk
            try:
                yield desk, Asker(_user(), BY, Role.OFFICER, (), 2**53), log
            except ReasonMissing:
                raise click.ClickException(
                    f"say why with --reason: at least {MIN_REASON} characters; it is written into the log of accesses"
                ) from None
            except WrongQuestion as error:
                raise click.ClickException(str(error)) from None


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may run as a number that has no name
        return "unknown"
