"""Recording receipts in SQLite: the store that needs nothing but a folder.

One thread per process writes. It takes receipts that have gathered while the last ones were being synced, records
them in one transaction, and only then are their callers told: a lone caller waits for one sync, hundreds share one.
There is no timer, and nothing is acknowledged that is not on the disk. About a second after a receipt the same thread
signs a checkpoint.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import TypeVar

from consent import sqlite_erasing
from consent.append_queue import AppendQueue, Entry, deliver
from consent.enforcement_log import EnforcementKind
from consent.erasure import Erasure
from consent.errors import StoreError, StoreUnavailable
from consent.opened_store import OpenedStore
from consent.receipts import Artefact, Receipt
from consent.retention import Past
from consent.sealing import LedgerKeys, Sealer
from consent.sqlite_database import LogDatabase

SCRUBBING_SECONDS = 10.0
"""How long an erasure waits for readers that still need what is to be gone."""

_T = TypeVar("_T")

logger = logging.getLogger("consent")


class SQLiteStore(OpenedStore["_Writer"]):
    """Keeps a log in one SQLite database; implements :class:`consent.store.Store` and :class:`consent.store.Erasing`.

    Safe to share between tasks, event loops and threads, to open in several processes at once, and across a
    fork. Nothing is opened before the first receipt, so that it may be made before workers are forked.

    Args:
        path: The database file. Its folder must exist; the file is created, readable by its owner only. A
            lock file of the same name with ``.lock`` added appears beside it, and one with ``.checkpoint`` that has
            the checkpoint signed last. All must be on a local disk.
        keys: the log's secrets; those of one log are the same in all processes.
        max_waiting: How many receipts may wait to be recorded, before callers are turned away.
        lock_timeout_seconds: How long to wait while other processes write.
        clock: returns seconds since 1970-01-01T00:00:00Z.
    """

    def __init__(
        self,
        path: str | Path,
        keys: LedgerKeys,
        *,
        max_waiting: int = 10_000,
        lock_timeout_seconds: float = 10.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__()
        # Absolute now: the working directory may be another one by the time the first receipt comes.
        self._path = Path(path).absolute()
        self._keys = keys
        self._sealer = Sealer(keys)
        self._max_waiting = max_waiting
        self._lock_timeout = lock_timeout_seconds
        self._clock = clock

    def prepare(self) -> None:
        """Create the database where there is none, bring an older one to the present tables, and check that it is ours.

        Blocks; meant for start-up. A checkpoint is signed of what was recorded before a crash.

        Raises:
            StoreUnavailable: the database cannot be opened or written, or is not one of ours.
        """
        database = self._database()
        try:
            with database.writing():
                pass
            database.sign()
        finally:
            database.close()

    async def append(self, receipt: Receipt, artefacts: Sequence[Artefact] = ()) -> None:
        """Record ``receipt``; return only once it is durable. See :meth:`consent.store.Store.append`."""
        loop = asyncio.get_running_loop()
        entry = Entry(receipt, self._sealer, tuple(artefacts), loop)
        with self._lock:
            (self._writer or self._started()).put(entry)
        await entry.done

    async def erase(self, subject: str, *, series: str | None = None) -> Sequence[Erasure]:
        """Erase a visitor. See :meth:`consent.store.Erasing.erase`."""
        erasures = await self._do(lambda database: sqlite_erasing.erase(database, subject, series))
        # Also where there was nothing: an erasure that was interrupted here is done again for this.
        await self._scrub()
        return erasures

    async def expire(self, past: Past, *, dry_run: bool = False) -> int:
        """Erase what is past its time. See :meth:`consent.store.Erasing.expire`."""
        if dry_run:
            return await self._do(lambda database: sqlite_erasing.count_expired(database, past))
        count = 0
        # Step by step: receipts are recorded in between.
        while erased := await self._do(lambda database: sqlite_erasing.expire(database, past)):
            count += erased
        await self._scrub()
        return count

    async def hold(self, subject: str, *, reason: str | None) -> bool:
        """Hold a visitor's records, or let them go. See :meth:`consent.store.Erasing.hold`."""
        return await self._do(lambda database: sqlite_erasing.hold(database, subject, reason))

    async def rewrap(self) -> int:
        """Wrap all visitors' keys under the wrapping key in use; return how many were under another.

        Afterwards the others can be taken out of the key file. May be interrupted, and goes on where it was.

        Raises:
            SealBrokenError: a key is wrapped under one that is not in the key file.
            StoreUnavailable: not done, or not known to be done; doing it again is safe.
        """
        count = 0
        after: int | None = 0
        while after is not None:
            wrapped, after = await self._do(
                lambda database, after=after: sqlite_erasing.rewrap(database, after)  # type: ignore[misc]
            )
            count += wrapped
        await self._scrub()
        return count

    async def _scrub(self) -> None:
        deadline = time.monotonic() + SCRUBBING_SECONDS
        while not await self._do(LogDatabase.scrub):
            if time.monotonic() > deadline:
                raise StoreUnavailable(
                    f"what was erased may still be in {self._path}-wal, for another program reads the database without "
                    "a pause: end it, and do this again"
                )
            await asyncio.sleep(0.05)

    async def _do(self, task: Callable[[LogDatabase], _T]) -> _T:
        """Run ``task`` where receipts are written, between two transactions."""
        return await asyncio.wrap_future(self._submit(task))

    def count(self, counts: Mapping[EnforcementKind, int]) -> None:
        """Add to the counts of enforcement. See :meth:`consent.enforcement_log.EnforcementStore.count`."""
        writer = self._writer
        if writer is not None and writer.is_current_thread():
            # A forgotten middleware that is taken apart here: to wait would be to wait for oneself.
            raise StoreUnavailable("counts are not written from the thread that writes")
        self._submit(lambda database: database.count(counts)).result()

    def _submit(self, task: Callable[[LogDatabase], _T]) -> Future[_T]:
        done: Future[_T] = Future()

        def run(database: LogDatabase) -> None:
            if not done.set_running_or_notify_cancel():
                return
            try:
                done.set_result(task(database))
            except Exception as error:
                done.set_exception(error)

        with self._lock:
            self._started().put_task(run)
        return done

    def _database(self) -> LogDatabase:
        return LogDatabase(self._path, self._keys, self._lock_timeout, self._clock)

    def _start(self) -> _Writer:
        return _Writer(self._database(), self._max_waiting, self._lock)

    def before_fork(self) -> None:
        """See :class:`consent.process_lifetime.Forking`."""
        # A connection must not exist in two processes: SQLite keeps its locks per process, and would take
        # the child for their holder. The writer opens another one for the next batch.
        super().before_fork()
        if self._writer is not None:
            self._writer.pause()

    def after_fork_in_parent(self) -> None:
        """See :class:`consent.process_lifetime.Forking`."""
        if self._writer is not None:
            self._writer.resume()
        super().after_fork_in_parent()


class _Writer:
    """The thread that records, and the queue it drains. Told to stop, it ends once the queue is empty.

    Args:
        lock: what the store holds while it lets something wait. A lock of its own would be one more for each receipt.
    """

    def __init__(self, database: LogDatabase, max_waiting: int, lock: threading.RLock) -> None:
        self._database = database
        self._arrived = threading.Condition(lock)
        self._queue = AppendQueue(max_waiting)
        self._tasks: deque[Callable[[LogDatabase], None]] = deque()
        self._stopping = False
        self._in_use = threading.Lock()
        # A daemon, so that a store that nobody closed does not keep the program alive: it is closed at exit.
        self._thread = threading.Thread(target=self._run, name="consent-receipts", daemon=True)
        try:
            self._thread.start()
        except RuntimeError as error:
            raise StoreUnavailable(f"no thread for recording receipts: {error}; raise the limit") from error

    def put(self, entry: Entry) -> None:
        """Let a receipt wait. Hold the lock."""
        if self._queue.put(entry):
            self._arrived.notify()

    def put_task(self, task: Callable[[LogDatabase], None]) -> None:
        """Let something else wait. Hold the lock."""
        self._tasks.append(task)
        self._arrived.notify()

    def is_current_thread(self) -> bool:
        return threading.current_thread() is self._thread

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
        while self._wait():
            batch, tasks = self._take()
            if batch:
                with self._in_use:
                    errors = self._record(batch)
                deliver(batch, errors)
            # Only now: nobody waits for these.
            with self._in_use:
                for task in tasks:
                    task(self._database)
                if self._database.seconds_until_signing() == 0:
                    self._database.sign()
                self._database.move_wal_if_due()
        with self._in_use:
            if self._database.seconds_until_signing() is not None:
                self._database.sign()
            self._database.close()

    def _wait(self) -> bool:
        """Wait for something to do; tell whether there is, or will be."""
        with self._arrived:
            while not self._queue and not self._tasks:
                if self._stopping:
                    return False
                seconds = self._database.seconds_until_signing()
                if seconds == 0:
                    return True
                self._arrived.wait(seconds)
            return True

    def _take(self) -> tuple[list[Entry], list[Callable[[LogDatabase], None]]]:
        with self._arrived:
            batch = self._queue.take()
            tasks = list(self._tasks)
            self._tasks.clear()
        return batch, tasks

    def _record(self, batch: Sequence[Entry]) -> Sequence[StoreError | None]:
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
