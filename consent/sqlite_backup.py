"""A copy of the database while others write it."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path

from consent.errors import StoreUnavailable
from consent.sqlite_log import connect
from consent.sqlite_tree import log_size


def back_up(source: Path, target: Path) -> int:
    """Copy the database at one moment to a new file; return how many leaves it has.

    Raises:
        StoreUnavailable: there is no such database, or the copy cannot be written; then there is none.
    """
    with contextlib.closing(connect(source)) as connection:
        try:
            os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        except OSError as error:
            raise StoreUnavailable(f"{target} cannot be made: {error.strerror}") from None
        try:
            with contextlib.closing(sqlite3.connect(target, isolation_level=None)) as copy:
                # All pages in one step: nobody who writes can make it begin anew.
                connection.backup(copy, pages=-1)
                # One file is easier to move than three.
                copy.execute("PRAGMA journal_mode = DELETE")
                if copy.execute("PRAGMA integrity_check").fetchone() != ("ok",):
                    raise sqlite3.DatabaseError("the copy is damaged")
                leaves = log_size(copy)
            _sync(target)
        except (sqlite3.Error, OSError) as error:
            target.unlink()
            raise StoreUnavailable(f"{target} cannot be written: {error}") from None
    return leaves


def _sync(path: Path) -> None:
    for place in (path, path.absolute().parent):
        file = os.open(place, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(file)
        finally:
            os.close(file)
