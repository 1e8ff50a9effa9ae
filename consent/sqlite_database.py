"""The one connection of a process that writes a log in SQLite, and the lock that processes take turns by.

SQLite before 3.51.3 can corrupt a database when connections write and checkpoint at the same moment (the "WAL-reset"
bug), so every transaction and every checkpoint of ours runs under one lock on a file beside the database, and the
automatic checkpoint is off. Under the same lock checkpoints of the log are signed.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import secrets
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from consent.enforcement_log import EnforcementKind
from consent.errors import InvalidProofError, LogForkedError, StoreError, StoreUnavailable
from consent.sealing import LedgerKeys, Sealer
from consent.signed_mark import SignedMark
from consent.signing import CheckpointSigner
from consent.sqlite_migration import migrate
from consent.sqlite_recording import CACHED_STATEMENTS, Entry, Recorder, prepare_recording
from consent.sqlite_schema import APPLICATION_ID, BUSY_SECONDS, SCHEMA, SCHEMA_VERSION, pragma, schema_of
from consent.sqlite_tree import last_checkpoint, log_size, origin_of, tiles_at
from consent.store import CHECKPOINT_SECONDS

WAL_COMMITS: Final = 500
"""The write-ahead log is moved after this many transactions: one in between leaves some 30 KB in it."""
WAL_ROWS: Final = 5_000
"""It is moved after this many receipts, if they come in fewer transactions."""

logger = logging.getLogger("consent")


class LogDatabase:
    """Opens the database when it is needed, and writes it. Used by one thread at a time.

    Args:
        path: the database file.
        keys: the log's.
        lock_timeout: seconds to wait while other processes write.
        clock: returns seconds since 1970-01-01T00:00:00Z.
    """

    def __init__(self, path: Path, keys: LedgerKeys, lock_timeout: float, clock: Callable[[], float]) -> None:
        self.path = path
        self.sealer = Sealer(keys)
        self.clock = clock
        self.recorder = Recorder(self.sealer)
        self._keys = keys
        self._lock_timeout = lock_timeout
        self._lock_path = path.with_name(path.name + ".lock")
        self._mark = SignedMark(path.with_name(path.name + ".checkpoint"))
        self._lock_file: int | None = None
        self._connection: sqlite3.Connection | None = None
        self._signer: CheckpointSigner | None = None
        self._file: tuple[int, int] | None = None
        self._commits = 0
        self._rows = 0
        self._unsigned_since: float | None = None
        self._refusal: str | None = None

    @contextlib.contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Hold the lock, with the database open, for transactions of one's own.

        Raises:
            StoreUnavailable: the database cannot be written; nothing that was not committed is kept.
        """
        try:
            with self._locked():
                try:
                    yield self._open()
                except BaseException:
                    # Takes back what was begun. A connection that met a failing disk is not used again.
                    self._disconnect()
                    raise
        except (sqlite3.Error, OSError) as error:
            raise StoreUnavailable(
                f"{self.path} cannot be written: {error}; check that its folder exists on a local disk, "
                "belongs to the user this process runs as, and has space left"
            ) from error

    def record(self, batch: Sequence[Entry]) -> Sequence[StoreError | None]:
        """Record ``batch`` in one transaction; return why an entry was turned down, or ``None``, for each.

        Raises:
            StoreUnavailable: the database cannot be written; nothing of the batch was acknowledged.
        """
        with self.writing() as connection:
            errors: Sequence[StoreError | None] = [None] * len(batch)
            if not self.recorder.record_new(connection, batch):
                errors = self.recorder.record(connection, batch)
                connection.execute("COMMIT")
        self.recorder.committed()
        self.grew(len(batch))
        return errors

    def count(self, counts: Mapping[EnforcementKind, int]) -> None:
        """Add to the counts of enforcement in one transaction.

        Raises:
            StoreUnavailable: the database cannot be written; nothing was added.
        """
        with self.writing() as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(
                "INSERT INTO enforcement VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
                " ON CONFLICT DO UPDATE SET times = times + excluded.times",
                [(*kind, times) for kind, times in counts.items()],
            )
            connection.execute("COMMIT")

    def grew(self, leaves: int) -> None:
        """Take note of a transaction that appended leaves: a checkpoint is due."""
        self._commits += 1
        self._rows += leaves
        if self._unsigned_since is None:
            self._unsigned_since = time.monotonic()

    def seconds_until_signing(self) -> float | None:
        """Return how long to wait until a checkpoint is due; ``None`` while nothing is to be signed."""
        if self._unsigned_since is None:
            return None
        return max(0.0, self._unsigned_since + CHECKPOINT_SECONDS - time.monotonic())

    def sign(self) -> None:
        """Sign a checkpoint of the log, unless there is one of all leaves. What is in the way is logged, once."""
        self._unsigned_since = None
        try:
            with self.writing() as connection:
                self._sign(connection)
            self._refusal = None
        except StoreUnavailable as error:
            logger.warning("%s: signing a checkpoint put off: %s", self.path, error)
            self._unsigned_since = time.monotonic()
        except (LogForkedError, InvalidProofError) as error:
            if str(error) != self._refusal:
                logger.error("%s: no checkpoint is signed: %s", self.path, error)
            self._refusal = str(error)

    def _sign(self, connection: sqlite3.Connection) -> None:
        origin = origin_of(connection)
        if self._signer is None or self._signer.origin != origin:
            self._signer = CheckpointSigner(origin, self._keys)
        connection.execute("BEGIN IMMEDIATE")
        size, last = log_size(connection), last_checkpoint(connection)
        marked = self._mark.read(origin)
        if last is not None and last == marked and last.split("\n", 2)[1] == str(size):
            connection.execute("ROLLBACK")
            return
        signed = [note for note in (last, marked) if note is not None]
        note = self._signer.sign(size, lambda size: tiles_at(connection, size).root(), signed)
        # Outside of the database first: from now on, no older state of it is signed any more.
        self._mark.write(note)
        day = datetime.fromtimestamp(self.clock(), UTC).date().isoformat()
        connection.execute("INSERT OR REPLACE INTO checkpoint VALUES (?, ?, ?)", (day, size, note))
        connection.execute("COMMIT")

    def move_wal_if_due(self) -> None:
        """Move what has gathered in the write-ahead log into the database, if it is worth it."""
        if self._commits < WAL_COMMITS and self._rows < WAL_ROWS:
            return
        self._commits = self._rows = 0
        if self._connection is None:
            return
        try:
            with self._locked():
                # PASSIVE waits for no reader: what one still reads is moved the next time.
                self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        except (sqlite3.Error, OSError, StoreUnavailable) as error:
            # Nothing is lost: the log keeps what was not moved.
            logger.warning("%s: moving the write-ahead log put off: %s", self.path, error)
            self._disconnect()

    def scrub(self) -> bool:
        """Overwrite what was erased wherever it may be left; return whether that was possible: it is not while
        somebody reads.

        Raises:
            StoreUnavailable: the disk fails.
        """
        with self.writing() as connection:
            # As an index grows, entries are moved from page to page, and traces of them stay behind that no deletion
            # overwrites. The other tables and indexes that have secrets in them grow at their end only.
            for index in ("subject_by_tag", "record_by_kind", "answer_by_vendor"):
                connection.execute(f"REINDEX {index}")
            (busy, *_) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        return not busy

    def close(self) -> None:
        """Close the database and the lock file; the next use opens them again."""
        self._disconnect()
        lock_file, self._lock_file = self._lock_file, None
        if lock_file is not None:
            os.close(lock_file)

    def _disconnect(self) -> None:
        # The last connection of all processes moves the log into the database as it closes. That is safe
        # without our lock: SQLite does it only while no other connection is open.
        connection, self._connection = self._connection, None
        self.recorder.forget()
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):
                connection.close()

    def _open(self) -> sqlite3.Connection:
        if self._connection is not None:
            # A database that was removed or replaced would be written on unseen, and its receipts lost.
            if self._file == _identity(self.path):
                return self._connection
            self._disconnect()
        _create(self.path)
        connection = sqlite3.connect(
            self.path,
            timeout=BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=CACHED_STATEMENTS,
        )
        try:
            set_up(connection, self.path, self.sealer)
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        self._file = _identity(self.path)
        return connection

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the lock that all processes share.

        It is asked for again and again instead of waited for, so that a process that was stopped in the
        middle of writing makes the others answer instead of hang.
        """
        deadline = time.monotonic() + self._lock_timeout
        pause = 0.0001
        while (lock_file := self._try_lock()) is None:
            if time.monotonic() > deadline:
                raise StoreUnavailable(
                    f"another process has held {self._lock_path} for {self._lock_timeout:g} s: "
                    "find it with lslocks, and let it go on or end it"
                )
            time.sleep(pause)
            pause = min(pause * 2, 0.005)
        try:
            yield
        finally:
            fcntl.flock(lock_file, fcntl.LOCK_UN)

    def _try_lock(self) -> int | None:
        if self._lock_file is None:
            self._lock_file = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return None
        if os.fstat(self._lock_file).st_nlink > 0:
            return self._lock_file
        # Somebody removed the file: others lock another one by now.
        os.close(self._lock_file)
        self._lock_file = None
        return None


def _create(path: Path) -> None:
    """Make an empty file that only we may read, where there is none: SQLite would let everybody."""
    # An existing file is not opened: closing it again would drop the locks of SQLite's own connections.
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def set_up(connection: sqlite3.Connection, path: Path, sealer: Sealer) -> None:
    """Make ``connection`` one that writes the log: settings, tables, and what an earlier version left.

    Raises:
        StoreUnavailable: the file is not ours, or its place cannot hold a write-ahead log.
    """
    version = schema_of(connection, path)
    mode = pragma(connection, "journal_mode = WAL")
    if mode != "wal":
        raise StoreUnavailable(
            f"{path}: SQLite answers journal mode {mode!r} where WAL was asked for: put it on a local disk"
        )
    connection.execute("PRAGMA synchronous = FULL")  # a commit returns once the log is synced
    connection.execute("PRAGMA fullfsync = ON")  # macOS: past the drive's own cache
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    connection.execute("PRAGMA secure_delete = ON")  # what is erased is overwritten
    connection.execute("PRAGMA trusted_schema = OFF")
    if version in (2, 3):
        # Before there are triggers, which would have to agree with tables under way.
        migrate(connection, path, sealer, version)
        version = SCHEMA_VERSION
    prepare_recording(connection)
    if version == SCHEMA_VERSION:
        return
    connection.execute("BEGIN IMMEDIATE")
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'log'").fetchone():
        for statement in SCHEMA.split(";\n"):
            connection.execute(statement)
        # Whoever finds a checkpoint can tell by it which log it is of.
        connection.execute("INSERT INTO log VALUES (?)", (f"asgi-consent/{secrets.token_hex(16)}",))
    if version == 0:
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    connection.execute("COMMIT")
    if version == 1:
        migrate(connection, path, sealer, version)
