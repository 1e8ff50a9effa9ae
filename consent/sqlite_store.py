"""Recording receipts in SQLite: the store that needs nothing but a folder.

One thread per process writes. It takes whatever receipts have gathered while the last ones were being synced,
records them in one transaction, and only then are their callers told: a lone caller waits for one sync, a
thousand share one. There is no timer, and nothing is acknowledged that is not on the disk.

Several processes may write to one database. SQLite before 3.51.3 can corrupt it when connections write and
checkpoint at the same moment (the "WAL-reset" bug), so every transaction and every checkpoint of ours runs
under one lock on a file beside the database, and the automatic checkpoint is off.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import fcntl
import logging
import os
import sqlite3
import threading
import time
import weakref
from collections import deque
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Final

from consent.errors import StoreError, StoreFull, StoreUnavailable
from consent.receipts import Artefact, Receipt
from consent.sqlite_schema import (
    APPLICATION_ID,
    BUSY_SECONDS,
    SCHEMA,
    SCHEMA_VERSION,
    is_ours,
    pragma,
    uuid_bytes,
)

CHECKPOINT_COMMITS: Final = 500
"""A checkpoint follows this many transactions: one in between leaves some 30 KB in the write-ahead log."""
CHECKPOINT_ROWS: Final = 5_000
"""A checkpoint follows this many receipts, if they come in fewer transactions."""

_MAX_BATCH = 1_000
# Rows per INSERT. Every step of a statement gives up the interpreter's lock, and under load getting it back
# takes up to 5 ms: a statement per row made a batch of 100 take 200 ms while another thread was computing.
_ROWS_PER_INSERT = 64
_MAX_WAITING_BYTES = 64 * 1024 * 1024
_MAX_KNOWN_ARTEFACTS = 4_096

logger = logging.getLogger("consent")


class SQLiteStore:
    """Records receipts in one SQLite database; implements :class:`consent.store.Store`.

    Safe to share between tasks, event loops and threads, to open in several processes at once, and across a
    fork. Nothing is opened before the first receipt, so that it may be made before workers are forked.

    Args:
        path: The database file. Its folder must exist; the file is created, readable by its owner only. A
            lock file of the same name with ``.lock`` added appears beside it. Both must be on a local disk.
        max_waiting: How many receipts may wait to be recorded, before callers are turned away.
        lock_timeout_seconds: How long to wait while other processes write.
    """

    def __init__(
        self, path: str | Path, *, max_waiting: int = 10_000, lock_timeout_seconds: float = 10.0
    ) -> None:
        # Absolute now: the working directory may be another one by the time the first receipt comes.
        self._path = Path(path).absolute()
        self._max_waiting = max_waiting
        self._lock_timeout = lock_timeout_seconds
        self._lock = threading.Lock()
        self._writer: _Writer | None = None
        with _registry.lock:
            _registry.stores.add(self)

    def prepare(self) -> None:
        """Create the database where there is none, and check that it is ours. Blocks; meant for start-up.

        Raises:
            StoreUnavailable: the database cannot be opened or written, or is not one of ours.
        """
        database = _Database(self._path, self._lock_timeout)
        try:
            database.record(())
        finally:
            database.close()

    async def append(self, receipt: Receipt, artefacts: Sequence[Artefact] = ()) -> None:
        """Record ``receipt``; return only once it is durable. See :meth:`consent.store.Store.append`."""
        loop = asyncio.get_running_loop()
        entry = _Entry(receipt, tuple(artefacts), loop)
        with self._lock:
            if self._writer is None:
                self._writer = _Writer(_Database(self._path, self._lock_timeout), self._max_waiting)
            self._writer.put(entry)
        await entry.done

    async def aclose(self) -> None:
        """Record what waits, then close the database. May be repeated; a later append opens it again."""
        writer = self._detach()
        if writer is not None:
            await asyncio.to_thread(writer.join)

    def close(self) -> None:
        """Do the same where no event loop runs. Blocks."""
        writer = self._detach()
        if writer is not None:
            writer.join()

    def _detach(self) -> _Writer | None:
        with self._lock:
            writer, self._writer = self._writer, None
        if writer is not None:
            writer.stop()
        return writer

    def __del__(self) -> None:
        # Nobody can append any more; the thread need not outlive that.
        if self._writer is not None:
            self._writer.stop()

    def _before_fork(self) -> None:
        # A connection must not exist in two processes: SQLite keeps its locks per process, and would take
        # the child for their holder. The writer opens another one for the next batch.
        self._lock.acquire()
        if self._writer is not None:
            self._writer.pause()

    def _after_fork_in_parent(self) -> None:
        if self._writer is not None:
            self._writer.resume()
        self._lock.release()

    def _after_fork_in_child(self) -> None:
        # The thread is the parent's, and so is whatever waits in its queue.
        self._lock = threading.Lock()
        self._writer = None


class _Registry:
    """The stores of this process, for what happens to all of them: fork and exit."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.stores: weakref.WeakSet[SQLiteStore] = weakref.WeakSet()
        self.forking: list[SQLiteStore] = []

    def before_fork(self) -> None:
        self.lock.acquire()
        self.forking = list(self.stores)
        for store in self.forking:
            store._before_fork()

    def after_fork_in_parent(self) -> None:
        for store in self.forking:
            store._after_fork_in_parent()
        self.forking = []
        self.lock.release()

    def after_fork_in_child(self) -> None:
        for store in self.forking:
            store._after_fork_in_child()
        self.forking = []
        self.lock = threading.Lock()

    def at_exit(self) -> None:
        with self.lock:
            stores = list(self.stores)
        for store in stores:
            store.close()


_registry = _Registry()
os.register_at_fork(
    before=_registry.before_fork,
    after_in_parent=_registry.after_fork_in_parent,
    after_in_child=_registry.after_fork_in_child,
)
atexit.register(_registry.at_exit)


class _Entry:
    """One receipt that waits to be recorded, and the caller who waits for it."""

    __slots__ = (
        "artefacts",
        "body",
        "content_hash",
        "done",
        "loop",
        "outcome",
        "receipt_id",
        "shown",
        "subject",
    )

    def __init__(
        self, receipt: Receipt, artefacts: tuple[Artefact, ...], loop: asyncio.AbstractEventLoop
    ) -> None:
        self.body = receipt.canonical_bytes()
        self.content_hash = sha256(self.body).digest()
        self.receipt_id = uuid_bytes(receipt.receipt_id)
        self.subject = bytes.fromhex(receipt.subject)
        self.outcome = str(receipt.outcome)
        self.shown = None if receipt.shown_hash is None else bytes.fromhex(receipt.shown_hash)
        self.artefacts = {bytes.fromhex(artefact.hash): artefact for artefact in artefacts}
        self.loop = loop
        self.done: asyncio.Future[None] = loop.create_future()

    def settle(self, error: StoreError | None) -> None:
        """Tell the caller. Runs in the caller's loop; a caller that was cancelled is gone."""
        if self.done.done():
            return
        if error is None:
            self.done.set_result(None)
        else:
            self.done.set_exception(error)


class _Writer:
    """The thread that records, and the queue it drains. Told to stop, it ends once the queue is empty."""

    def __init__(self, database: _Database, max_waiting: int) -> None:
        self._database = database
        self._max_waiting = max_waiting
        self._arrived = threading.Condition()
        self._queue: deque[_Entry] = deque()
        self._waiting_bytes = 0
        self._stopping = False
        self._in_use = threading.Lock()
        # A daemon, so that a store that nobody closed does not keep the program alive: it is closed at exit.
        self._thread = threading.Thread(target=self._run, name="consent-receipts", daemon=True)
        try:
            self._thread.start()
        except RuntimeError as error:
            raise StoreUnavailable(f"no thread for recording receipts: {error}; raise the limit") from error

    def put(self, entry: _Entry) -> None:
        with self._arrived:
            if (
                len(self._queue) >= self._max_waiting
                or self._waiting_bytes + len(entry.body) > _MAX_WAITING_BYTES
            ):
                raise StoreFull(f"{len(self._queue)} receipts wait to be recorded: try again shortly")
            self._queue.append(entry)
            self._waiting_bytes += len(entry.body)
            self._arrived.notify()

    def stop(self) -> None:
        with self._arrived:
            self._stopping = True
            self._arrived.notify()

    def join(self) -> None:
        self._thread.join()

    def pause(self) -> None:
        self._in_use.acquire()
        self._database.close()

    def resume(self) -> None:
        self._in_use.release()

    def _run(self) -> None:
        while batch := self._take():
            with self._in_use:
                errors = self._record(batch)
            _deliver(batch, errors)
            # Only now: nobody waits for a checkpoint.
            with self._in_use:
                self._database.checkpoint_if_due()
        with self._in_use:
            self._database.close()

    def _take(self) -> list[_Entry]:
        with self._arrived:
            while not self._queue and not self._stopping:
                self._arrived.wait()
            batch = [self._queue.popleft() for _ in range(min(len(self._queue), _MAX_BATCH))]
            self._waiting_bytes -= sum(len(entry.body) for entry in batch)
        return batch

    def _record(self, batch: Sequence[_Entry]) -> Sequence[StoreError | None]:
        try:
            return self._database.record(batch)
        except StoreUnavailable as error:
            logger.error("%d receipts not recorded: %s", len(batch), error)
            reason: BaseException = error
        except Exception as error:
            # A defect of ours. Nothing is acknowledged, and the thread lives on: nobody waits forever.
            logger.exception("%d receipts not recorded", len(batch))
            self._database.close()
            reason = error
        # One exception each: they are raised in as many tasks, and each raise adds to the traceback.
        return [StoreUnavailable(str(reason)) for _ in batch]


def _deliver(batch: Sequence[_Entry], errors: Sequence[StoreError | None]) -> None:
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[_Entry, StoreError | None]]] = {}
    for entry, error in zip(batch, errors, strict=True):
        by_loop.setdefault(entry.loop, []).append((entry, error))
    for loop, settled in by_loop.items():
        # A loop that was closed has nobody left who waits; what he wanted recorded is recorded.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(_settle, settled)


def _settle(settled: list[tuple[_Entry, StoreError | None]]) -> None:
    for entry, error in settled:
        entry.settle(error)


class _Database:
    """The connection that writes and checkpoints, opened when it is needed. Used by one thread at a time."""

    def __init__(self, path: Path, lock_timeout: float) -> None:
        self._path = path
        self._lock_timeout = lock_timeout
        self._lock_path = path.with_name(path.name + ".lock")
        self._lock_file: int | None = None
        self._connection: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None
        self._known: set[bytes] = set()  # artefacts that are surely in the database
        self._commits = 0
        self._rows = 0

    def record(self, batch: Sequence[_Entry]) -> Sequence[StoreError | None]:
        """Record ``batch`` in one transaction; return why an entry was turned down, or ``None``, for each.

        Raises:
            StoreUnavailable: the database cannot be written; nothing of the batch was acknowledged.
        """
        try:
            with self._locked():
                try:
                    connection = self._open()
                    connection.execute("BEGIN IMMEDIATE")
                    errors, artefacts = self._insert(connection, batch)
                    connection.execute("COMMIT")
                except BaseException:
                    # Takes back what was begun. A connection that met a failing disk is not used again.
                    self._disconnect()
                    raise
        except (sqlite3.Error, OSError) as error:
            raise StoreUnavailable(
                f"{self._path} cannot be written: {error}; check that its folder exists on a local disk, "
                "belongs to the user this process runs as, and has space left"
            ) from error
        self._remember(artefacts)
        self._commits += 1
        self._rows += len(batch)
        return errors

    def checkpoint_if_due(self) -> None:
        """Move what has gathered in the write-ahead log into the database, if it is worth it."""
        if self._commits < CHECKPOINT_COMMITS and self._rows < CHECKPOINT_ROWS:
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
            logger.warning("%s: checkpoint put off: %s", self._path, error)
            self._disconnect()

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
        self._known.clear()
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):
                connection.close()

    def _insert(
        self, connection: sqlite3.Connection, batch: Sequence[_Entry]
    ) -> tuple[Sequence[StoreError | None], set[bytes]]:
        errors: list[StoreError | None] = [None] * len(batch)
        present: set[bytes] = set()
        rows: list[_Entry] = []
        for index, entry in enumerate(batch):
            for digest, artefact in entry.artefacts.items():
                if digest not in self._known and digest not in present:
                    connection.execute(
                        "INSERT INTO artefact VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
                        (digest, artefact.media_type, artefact.content),
                    )
                    present.add(digest)
            if self._has_artefact(connection, entry.shown, present):
                rows.append(entry)
            else:
                errors[index] = StoreError(
                    "the text shown is not in the store and not with the receipt: pass it as an artefact"
                )
        if _insert_rows(connection, rows) != len(rows):
            self._find_conflicts(connection, batch, errors)
        return errors, present

    def _has_artefact(
        self, connection: sqlite3.Connection, digest: bytes | None, present: set[bytes]
    ) -> bool:
        if digest is None or digest in self._known or digest in present:
            return True
        if connection.execute("SELECT 1 FROM artefact WHERE hash = ?", (digest,)).fetchone() is None:
            return False
        present.add(digest)
        return True

    def _find_conflicts(
        self, connection: sqlite3.Connection, batch: Sequence[_Entry], errors: list[StoreError | None]
    ) -> None:
        """Tell receipts that were there already, which is fine, from others under the same id."""
        for index, entry in enumerate(batch):
            if errors[index] is not None:
                continue
            (stored,) = connection.execute(
                "SELECT content_hash FROM receipt WHERE receipt_id = ?", (entry.receipt_id,)
            ).fetchone()
            if stored != entry.content_hash:
                errors[index] = StoreError("another receipt is recorded under this id: make a new id")

    def _remember(self, artefacts: set[bytes]) -> None:
        if len(self._known) + len(artefacts) > _MAX_KNOWN_ARTEFACTS:
            self._known.clear()
        self._known |= artefacts

    def _open(self) -> sqlite3.Connection:
        if self._connection is not None:
            # A database that was removed or replaced would be written on unseen, and its receipts lost.
            if self._file == _identity(self._path):
                return self._connection
            self._disconnect()
        _create(self._path)
        connection = sqlite3.connect(
            self._path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        try:
            _set_up(connection, self._path)
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        self._file = _identity(self._path)
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


def _insert_rows(connection: sqlite3.Connection, rows: Sequence[_Entry]) -> int:
    """Insert, and return how many were not there yet."""
    inserted = start = 0
    size = _ROWS_PER_INSERT
    while start < len(rows):
        while size > len(rows) - start:
            size //= 2  # powers of two, so that a handful of prepared statements serves all batches
        values: list[object] = []
        for entry in rows[start : start + size]:
            values += (entry.receipt_id, entry.subject, entry.outcome, entry.content_hash, entry.body)
        inserted += connection.execute(_INSERTS[size], values).rowcount
        start += size
    return inserted


def _insert_statement(rows: int) -> str:
    values = ", ".join(["(?, ?, ?, ?, ?)"] * rows)
    columns = "receipt_id, subject, outcome, content_hash, body"
    return f"INSERT INTO receipt ({columns}) VALUES {values} ON CONFLICT (receipt_id) DO NOTHING"  # noqa: S608


_INSERTS = {1 << power: _insert_statement(1 << power) for power in range(_ROWS_PER_INSERT.bit_length())}


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


def _set_up(connection: sqlite3.Connection, path: Path) -> None:
    empty = not is_ours(connection, path)
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
    if empty:
        connection.execute("BEGIN IMMEDIATE")
        for statement in SCHEMA.split(";\n"):
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        connection.execute("COMMIT")
