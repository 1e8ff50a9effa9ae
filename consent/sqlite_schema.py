"""The database that receipts are kept in: its tables, and how it is told from other programs' databases."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final

from consent.errors import StoreUnavailable

APPLICATION_ID: Final = 0x434E5354
"""``CNST``: tells our databases from other programs' (``PRAGMA application_id``)."""
SCHEMA_VERSION: Final = 1
"""Version of the tables (``PRAGMA user_version``)."""
BUSY_SECONDS: Final = 5.0
"""How long to wait for programs that use the database without our lock."""

# A receipt's position is the order of recording; no row is ever deleted, so none is given twice. The body is
# the receipt's canonical bytes. The indexes end in the position by themselves: they list newest first, too.
SCHEMA: Final = """
CREATE TABLE receipt (
    position INTEGER PRIMARY KEY,
    receipt_id BLOB NOT NULL UNIQUE CHECK (length(receipt_id) = 16),
    subject BLOB NOT NULL CHECK (length(subject) = 16),
    outcome TEXT NOT NULL,
    content_hash BLOB NOT NULL CHECK (length(content_hash) = 32),
    body BLOB NOT NULL
);
CREATE INDEX receipt_by_subject ON receipt (subject);
CREATE INDEX receipt_by_outcome ON receipt (outcome);
CREATE TABLE artefact (
    hash BLOB NOT NULL PRIMARY KEY CHECK (length(hash) = 32),
    media_type TEXT NOT NULL,
    content BLOB NOT NULL
);
"""


def is_ours(connection: sqlite3.Connection, path: Path) -> bool:
    """Tell a database of ours from an empty one; refuse any other, before anything in it is changed.

    Raises:
        StoreUnavailable: it is no database, another program's, or of another version of this package.
    """
    try:
        application, version = (pragma(connection, name) for name in ("application_id", "user_version"))
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_NOTADB:
            raise StoreUnavailable(f"{path} is no SQLite database: choose another place") from None
        raise
    if (application, version, tables) == (0, 0, 0):
        return False
    if application != APPLICATION_ID:
        raise StoreUnavailable(f"{path} is the database of another program: choose another place")
    if version != SCHEMA_VERSION:
        raise StoreUnavailable(
            f"{path} has schema {version}, and this version of asgi-consent knows {SCHEMA_VERSION}: update it"
        )
    return True


def pragma(connection: sqlite3.Connection, statement: str) -> object:
    """Run a ``PRAGMA``, a question or a setting, and return SQLite's one answer."""
    (answer,) = connection.execute(f"PRAGMA {statement}").fetchone()
    return answer


def uuid_bytes(text: str) -> bytes:
    """Return a receipt's id as the tables have it.

    Raises:
        ValueError: it is no UUID.
    """
    key = bytes.fromhex(text.replace("-", ""))
    if len(key) != 16:
        raise ValueError("a UUID has 32 hexadecimal digits")
    return key
