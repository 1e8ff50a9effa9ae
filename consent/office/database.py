"""The office's own database: its tokens, and the log of its accesses. A file in the data folder of each machine."""

from __future__ import annotations

import contextlib
import os
import secrets
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from consent.errors import StoreUnavailable

APPLICATION_ID: Final = 0x434E4F46
"""``CNOF`` (``PRAGMA application_id``)."""
BUSY_SECONDS: Final = 10.0

# `record`, `tile`, `checkpoint` and `log` are as in the log of receipts, so that what reads a tree there reads it here.
_TOKENS_AND_ACCESSES: Final = """
CREATE TABLE token (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    hash BLOB NOT NULL CHECK (length(hash) = 32),
    role TEXT NOT NULL,
    sites TEXT NOT NULL,
    made_ms INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL,
    revoked_ms INTEGER
);
CREATE TABLE calls (
    token TEXT NOT NULL,
    day TEXT NOT NULL,
    times INTEGER NOT NULL,
    PRIMARY KEY (token, day)
) WITHOUT ROWID;
CREATE TABLE record (
    leaf INTEGER PRIMARY KEY CHECK (leaf >= 0),
    commitment BLOB NOT NULL CHECK (length(commitment) = 32),
    salt BLOB NOT NULL,
    body BLOB NOT NULL
);
CREATE TABLE tile (level INTEGER NOT NULL, number INTEGER NOT NULL, hashes BLOB NOT NULL, PRIMARY KEY (level, number));
CREATE TABLE checkpoint (size INTEGER PRIMARY KEY, note TEXT NOT NULL);
CREATE TABLE log (origin TEXT NOT NULL)
"""
_ENDED_SESSIONS: Final = """
CREATE TABLE ended_session (
    id TEXT PRIMARY KEY,
    until_s INTEGER NOT NULL
)
"""
# What is sealed opens under `wrapped`, and that under a key that is in no database.
_REQUESTS: Final = """
CREATE TABLE request (
    number INTEGER PRIMARY KEY,
    uid BLOB NOT NULL CHECK (length(uid) = 16),
    reference TEXT NOT NULL UNIQUE,
    code_hash BLOB,
    kind TEXT NOT NULL,
    way TEXT NOT NULL,
    site TEXT NOT NULL,
    jurisdiction TEXT NOT NULL,
    language TEXT NOT NULL,
    state TEXT NOT NULL,
    received_ms INTEGER NOT NULL,
    acknowledge_by TEXT NOT NULL,
    answer_by TEXT NOT NULL,
    extended_by TEXT NOT NULL,
    law TEXT NOT NULL,
    acknowledged_ms INTEGER,
    identity_ms INTEGER,
    authority_ms INTEGER,
    closed_ms INTEGER,
    by_agent INTEGER NOT NULL,
    rank INTEGER NOT NULL,
    wrapped BLOB,
    sealed BLOB
);
CREATE INDEX request_by_rank ON request (rank, number);
CREATE TABLE request_step (
    request INTEGER NOT NULL,
    step INTEGER NOT NULL,
    time_ms INTEGER NOT NULL,
    who TEXT NOT NULL,
    what TEXT NOT NULL,
    sealed BLOB,
    PRIMARY KEY (request, step)
);
CREATE TABLE request_receipt (
    request INTEGER NOT NULL,
    leaf INTEGER NOT NULL,
    PRIMARY KEY (request, leaf)
) WITHOUT ROWID;
CREATE TABLE request_sender (
    network BLOB NOT NULL,
    hour INTEGER NOT NULL,
    times INTEGER NOT NULL,
    PRIMARY KEY (network, hour)
) WITHOUT ROWID
"""
_EXPORTS: Final = """
CREATE TABLE export (
    id TEXT PRIMARY KEY,
    owner TEXT NOT NULL,
    form TEXT NOT NULL,
    rows TEXT NOT NULL,
    asked TEXT NOT NULL,
    sought TEXT NOT NULL,
    state TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    rows_done INTEGER NOT NULL DEFAULT 0,
    rows_estimated INTEGER,
    bytes INTEGER NOT NULL DEFAULT 0,
    sha256 TEXT,
    problem TEXT NOT NULL DEFAULT '',
    made_ms INTEGER NOT NULL,
    began_ms INTEGER,
    ended_ms INTEGER,
    expires_ms INTEGER
);
CREATE INDEX export_of_owner ON export (owner, made_ms)
"""
# What is sealed opens under `wrapped`, as above; neither is there as long as it is being done.
_DONE_ONCE: Final = """
CREATE TABLE done_once (
    place BLOB PRIMARY KEY,
    fingerprint BLOB NOT NULL,
    began_ms INTEGER NOT NULL,
    wrapped BLOB,
    sealed BLOB
) WITHOUT ROWID
"""
_SIGN_INS: Final = """
CREATE TABLE sign_in (
    session TEXT PRIMARY KEY,
    person TEXT NOT NULL,
    issuer TEXT NOT NULL,
    subject TEXT NOT NULL,
    name TEXT NOT NULL,
    role TEXT NOT NULL,
    sites TEXT NOT NULL,
    settings TEXT NOT NULL,
    expires_ms INTEGER NOT NULL
)
"""
_EVENTS: Final = """
CREATE TABLE event (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    time_ms INTEGER NOT NULL,
    type TEXT NOT NULL,
    data TEXT NOT NULL
);
CREATE TABLE webhook (
    id TEXT PRIMARY KEY,
    url TEXT NOT NULL,
    types TEXT NOT NULL,
    state TEXT NOT NULL,
    made_ms INTEGER NOT NULL,
    sent INTEGER NOT NULL,
    delivered INTEGER NOT NULL DEFAULT 0,
    attempts INTEGER NOT NULL DEFAULT 0,
    failing_since_ms INTEGER,
    next_ms INTEGER NOT NULL DEFAULT 0,
    problem TEXT NOT NULL DEFAULT '',
    wrapped BLOB NOT NULL,
    sealed BLOB NOT NULL
);
CREATE TABLE watched (
    log TEXT PRIMARY KEY,
    size INTEGER NOT NULL,
    root BLOB NOT NULL,
    told_ms INTEGER NOT NULL,
    problem TEXT NOT NULL
) WITHOUT ROWID
"""
# Beside the log of accesses, and what is there already is put into it.
_FOUND_BY: Final = """
CREATE TABLE access_who (id INTEGER PRIMARY KEY, who TEXT NOT NULL UNIQUE);
CREATE TABLE access (leaf INTEGER PRIMARY KEY, time TEXT NOT NULL, who INTEGER NOT NULL, what TEXT NOT NULL);
INSERT OR IGNORE INTO access_who (who) SELECT json_extract(CAST(body AS TEXT), '$.who') FROM record ORDER BY leaf;
INSERT INTO access SELECT leaf, max(json_extract(CAST(body AS TEXT), '$.time')) OVER (ORDER BY leaf),
    (SELECT id FROM access_who WHERE who = json_extract(CAST(body AS TEXT), '$.who')),
    json_extract(CAST(body AS TEXT), '$.what') FROM record;
CREATE INDEX access_by_time ON access (time, leaf);
CREATE INDEX access_by_who ON access (who, leaf);
CREATE INDEX access_by_what ON access (what, leaf);
CREATE INDEX access_by_who_and_what ON access (who, what, leaf)
"""
# By a keyed tag of the pseudonym, which goes with it. A certificate says that receipts were erased, and not whose.
_REQUEST_SUBJECTS: Final = """
CREATE TABLE request_subject (
    tag BLOB NOT NULL,
    request INTEGER NOT NULL,
    series TEXT,
    PRIMARY KEY (tag, request)
) WITHOUT ROWID;
CREATE INDEX request_subject_by_request ON request_subject (request);
CREATE TABLE request_erasure (
    request INTEGER NOT NULL,
    erasure_id TEXT NOT NULL,
    time TEXT NOT NULL,
    erased INTEGER NOT NULL,
    PRIMARY KEY (request, erasure_id)
) WITHOUT ROWID;
CREATE INDEX request_receipt_by_leaf ON request_receipt (leaf);
CREATE INDEX request_waiting ON request (way) WHERE closed_ms IS NULL;
ALTER TABLE request ADD COLUMN indexed INTEGER NOT NULL DEFAULT 0
"""
# Sealed with the same key as the secret that replaced it.
_FORMER_SECRETS: Final = """
ALTER TABLE webhook ADD COLUMN former BLOB;
ALTER TABLE webhook ADD COLUMN former_until_ms INTEGER
"""
# What the provider calls the session; empty: it does not say, or did not when it began.
_PROVIDER_SESSIONS: Final = """
ALTER TABLE sign_in ADD COLUMN sid TEXT NOT NULL DEFAULT ''
"""
# Whose sessions the provider has ended a short while ago; NULL: it named the subject, or the session, alone.
_ENDED_AT_PROVIDER: Final = """
CREATE TABLE ended_at_provider (
    issuer TEXT NOT NULL,
    subject TEXT,
    sid TEXT,
    ended_ms INTEGER NOT NULL
)
"""
# Since when a log is watched; 0: it was the first. What is found in requests is found anew: more is taken for a
# pseudonym.
_WATCHED_SINCE: Final = """
ALTER TABLE watched ADD COLUMN since_ms INTEGER NOT NULL DEFAULT 0;
UPDATE request SET indexed = 0
"""
STEPS: Final = (
    _TOKENS_AND_ACCESSES, _ENDED_SESSIONS, _REQUESTS, _EXPORTS, _DONE_ONCE, _SIGN_INS, _EVENTS, _FOUND_BY,
    _REQUEST_SUBJECTS, _FORMER_SECRETS, _PROVIDER_SESSIONS, _ENDED_AT_PROVIDER, _WATCHED_SINCE,
)  # fmt: skip
"""What makes each version of the file out of the one before, the first out of nothing. A step that was ever released
stays as it is; what a later version needs is one more."""


class OfficeDatabase:
    """Opens the file when it is needed; makes it where there is none. Safe to share between threads.

    It is small and seldom written: a rollback journal lets any number of processes write in turns.

    Args:
        path: the file; its folder must exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._local = threading.local()
        self._pid = os.getpid()

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Lend a connection of this thread.

        Raises:
            StoreUnavailable: the file cannot be read, or is another program's.
        """
        try:
            yield self._connection()
        except (sqlite3.Error, OSError) as error:
            raise StoreUnavailable(f"{self.path} cannot be used: {error}") from error

    @contextlib.contextmanager
    def reading_one_state(self) -> Iterator[sqlite3.Connection]:
        """Do the same, and let everything in between read the file as it is now. Who writes waits for the end of it."""
        with self.reading() as connection:
            connection.execute("BEGIN")
            try:
                yield connection
            finally:
                connection.execute("ROLLBACK")

    @contextlib.contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Do the same in a transaction, in turn with all others; it is committed at the end.

        Within another one of the same thread it is a part of that: what fails in it is undone by itself, and nothing is
        there before the outer one is committed.
        """
        with self.reading() as connection:
            if connection.in_transaction:
                before = len(self._local.afterwards)
                try:
                    with _part(connection):
                        yield connection
                except BaseException:
                    del self._local.afterwards[before:]
                    raise
                return
            self._local.afterwards = []
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")
            afterwards, self._local.afterwards = self._local.afterwards, []
        for do in afterwards:
            do()

    def once_committed(self, do: Callable[[], None]) -> None:
        """Do something after the transaction of this thread was committed, once for each; at once, where there is none.

        What was undone is followed by nothing.
        """
        with self.reading() as connection:
            is_within = connection.in_transaction
        if not is_within:
            do()
        elif do not in self._local.afterwards:
            self._local.afterwards.append(do)

    def close(self) -> None:
        """Let go of this thread's connection: for threads that end."""
        if (known := getattr(self._local, "connection", None)) is not None:
            self._local.connection = None
            known.close()

    def _connection(self) -> sqlite3.Connection:
        # A connection must not be carried across a fork.
        known = getattr(self._local, "connection", None)
        if known is not None and self._local.pid == os.getpid():
            return known  # type: ignore[no-any-return]
        with contextlib.suppress(FileExistsError):
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        connection = sqlite3.connect(self.path, timeout=BUSY_SECONDS, isolation_level=None)
        try:
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA trusted_schema = OFF")
            # A key that was destroyed is overwritten, not only let go of.
            connection.execute("PRAGMA secure_delete = ON")
            self._prepare(connection)
        except BaseException:
            connection.close()
            raise
        self._local.connection, self._local.pid = connection, os.getpid()
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        if _version(connection) == len(STEPS):
            return
        connection.execute("BEGIN IMMEDIATE")
        try:
            version = _version(connection)  # another process may have been faster
            if not 0 <= version <= len(STEPS):
                raise StoreUnavailable(
                    f"{self.path} is of another program, or of a later version: move it away, or update"
                )
            for step in STEPS[version:]:
                for statement in step.split(";\n"):
                    connection.execute(statement)
            if version == 0:
                origin = f"asgi-consent-office/{secrets.token_hex(16)}"
                connection.execute("INSERT INTO log VALUES (?)", (origin,))
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {len(STEPS)}")
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")


@contextlib.contextmanager
def _part(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("SAVEPOINT part")
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK TO part")
        connection.execute("RELEASE part")
        raise
    connection.execute("RELEASE part")


def _version(connection: sqlite3.Connection) -> int:
    """Return the version of the file's schema; 0: it is empty; -1: it is another program's."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application == APPLICATION_ID:
        return int(version)
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    return -1 if tables else 0
