"""The database that a log is kept in: its tables, and how it is told from other programs' databases."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from consent.errors import StoreUnavailable

APPLICATION_ID: Final = 0x434E5354
"""``CNST``: tells our databases from other programs' (``PRAGMA application_id``)."""
SCHEMA_VERSION: Final = 4
"""Version of the tables (``PRAGMA user_version``)."""
BUSY_SECONDS: Final = 5.0
"""How long to wait for programs that use the database without our lock."""

FOUND_BY: Final = """
CREATE INDEX record_by_kind ON record (kind, time_ms) WHERE kind IS NOT NULL;
CREATE INDEX record_by_subject ON record (subject, time_ms) WHERE subject IS NOT NULL;
CREATE INDEX record_by_time ON record (time_ms, kind) WHERE time_ms IS NOT NULL;
CREATE INDEX answer_by_vendor ON answer (vendor, said, time_ms, leaf, kind);
"""
"""The indexes that receipts are found by. An upgrade makes them when all rows are there."""
KINDS: Final = """
CREATE TABLE kind (
    number INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE
);
CREATE TABLE answer (
    leaf INTEGER NOT NULL,
    vendor TEXT NOT NULL,
    said INTEGER NOT NULL,
    time_ms INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    PRIMARY KEY (leaf, vendor)
) WITHOUT ROWID;
CREATE TABLE daily (
    day TEXT NOT NULL,
    kind INTEGER NOT NULL,
    choices INTEGER NOT NULL,
    PRIMARY KEY (day, kind)
) WITHOUT ROWID;
"""
"""What choices are counted and found by; see :class:`consent.choice_kind.ChoiceKind`."""

# The order of `record` is that of the log: no row is ever deleted, and the numbers have no gaps. A receipt's body is
# sealed under its visitor's key; an erasure's is its salt and its bytes as they are, and it has no outcome. What was
# erased keeps its place, its commitment, and the tag of its id, so that it is not recorded a second time.
#
# What a receipt is found by is beside its sealed body: the number of its kind, and its answers for single vendors. Both
# go with it.
#
# Level 0 has a tile once it is full; until then it is the last rows of `record`. The higher levels have theirs from
# the first hash on.
SCHEMA: Final = (
    KINDS
    + """
CREATE TABLE subject (
    number INTEGER PRIMARY KEY,
    tag BLOB NOT NULL CHECK (length(tag) = 16),
    wrapped_key BLOB NOT NULL CHECK (length(wrapped_key) = 64),
    held TEXT
);
CREATE UNIQUE INDEX subject_by_tag ON subject (tag);
CREATE TABLE record (
    leaf INTEGER PRIMARY KEY CHECK (leaf >= 0),
    id_tag BLOB NOT NULL UNIQUE CHECK (length(id_tag) = 16),
    commitment BLOB NOT NULL CHECK (length(commitment) = 32),
    subject INTEGER,
    outcome TEXT,
    site TEXT,
    time_ms INTEGER,
    body BLOB,
    kind INTEGER
);
"""
    + FOUND_BY
    + """
CREATE TABLE tile (
    level INTEGER NOT NULL,
    number INTEGER NOT NULL,
    hashes BLOB NOT NULL,
    PRIMARY KEY (level, number)
);
CREATE TABLE checkpoint (
    day TEXT PRIMARY KEY,
    size INTEGER NOT NULL,
    note TEXT NOT NULL
);
CREATE TABLE enforcement (
    day TEXT NOT NULL,
    site TEXT NOT NULL,
    rule TEXT NOT NULL,
    vendor TEXT NOT NULL,
    category TEXT NOT NULL,
    action TEXT NOT NULL,
    reason TEXT NOT NULL,
    policy_version TEXT NOT NULL,
    times INTEGER NOT NULL,
    PRIMARY KEY (day, site, rule, vendor, category, action, reason, policy_version)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS artefact (
    hash BLOB NOT NULL PRIMARY KEY CHECK (length(hash) = 32),
    media_type TEXT NOT NULL,
    content BLOB NOT NULL
);
CREATE TABLE log (
    origin TEXT NOT NULL
);
"""
)


def schema_of(connection: sqlite3.Connection, path: Path) -> int:
    """Return the version of the tables, 0 for an empty database; refuse any that is not ours, before it is changed.

    Raises:
        StoreUnavailable: it is no database, another program's, or of a later version of this package.
    """
    try:
        # All of it as it was at one moment: another process may just be making it.
        with contextlib.nullcontext() if connection.in_transaction else _moment(connection):
            application, version = (pragma(connection, name) for name in ("application_id", "user_version"))
            (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_NOTADB:
            raise StoreUnavailable(f"{path} is no SQLite database: choose another place") from None
        raise
    if (application, version, tables) == (0, 0, 0):
        return 0
    if application != APPLICATION_ID:
        raise StoreUnavailable(f"{path} is the database of another program: choose another place")
    if not isinstance(version, int) or not 1 <= version <= SCHEMA_VERSION:
        raise StoreUnavailable(
            f"{path} has schema {version}, and this version of asgi-consent knows {SCHEMA_VERSION}: update it"
        )
    return version


@contextlib.contextmanager
def _moment(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")


def pragma(connection: sqlite3.Connection, statement: str) -> object:
    """Run a ``PRAGMA``, a question or a setting, and return SQLite's one answer."""
    (answer,) = connection.execute(f"PRAGMA {statement}").fetchone()
    return answer
