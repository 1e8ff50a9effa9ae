"""The data folder that a command works on, and the log in it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from consent.data_folder import DEFAULT_FOLDER, DataFolder
from consent.errors import ConsentError
from consent.receipts_database import ReceiptsDatabase

if TYPE_CHECKING:
    from consent.postgresql_log import PostgreSQLReceiptLog
    from consent.postgresql_store import PostgreSQLStore
    from consent.sqlite_log import SQLiteReceiptLog
    from consent.sqlite_store import SQLiteStore

_T = TypeVar("_T")

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


@contextmanager
def open_log(folder: Path) -> Iterator[SQLiteReceiptLog | PostgreSQLReceiptLog]:
    """Open the log of ``folder``; say what is wrong with it in one line and exit with 1."""
    with explained(folder), ReceiptsDatabase(DataFolder(folder)).log() as log:
        yield log


def with_store(folder: Path, work: Callable[[SQLiteStore | PostgreSQLStore], Coroutine[Any, Any, _T]]) -> _T:
    """Do something with the store of ``folder``, which must have receipts; as above."""

    async def run(store: SQLiteStore | PostgreSQLStore) -> _T:
        try:
            return await work(store)
        finally:
            await store.aclose()

    with explained(folder):
        database = ReceiptsDatabase(DataFolder(folder))
        database.log().close()
        return asyncio.run(run(database.store()))


@contextmanager
def explained(folder: Path) -> Iterator[None]:
    """Say what is wrong in one line and exit with 1."""
    try:
        yield
    except ConsentError as error:
        raise click.ClickException(f"{error} (data folder: {folder}; --data names another)") from None


def checked_subject(value: Any) -> str | None:
    """Return a pseudonym as receipts have it."""
    if value is None:
        return None
    subject = str(value).lower()
    if len(subject) != 32 or not set(subject) <= set("0123456789abcdef"):
        raise click.BadParameter("a pseudonym is 32 hexadecimal digits, as 'show' prints it")
    return subject
