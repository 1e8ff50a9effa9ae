"""Recording receipts in PostgreSQL: the store that many machines share.

Each process records what has gathered while the last receipts were being committed, in one transaction and without
waiting for the others; only then are their callers told. There is no timer, and nothing is acknowledged that is not
on the server's disk. One process at a time puts receipts in order: those that it records itself as it records them, and
a few times a second what the others recorded. About a second after a receipt it signs a checkpoint.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, TypeVar

from consent.append_queue import AppendQueue, Entry, deliver
from consent.enforcement_log import EnforcementKind
from consent.erasure import Erasure
from consent.errors import ConsentError, StoreError, StoreUnavailable
from consent.opened_store import OpenedStore
from consent.postgresql_direct import DirectRecorder
from consent.postgresql_erasing import Eraser
from consent.postgresql_recording import Recorder
from consent.postgresql_sequencer import STATE, STEP_LEAVES, Sequencer
from consent.postgresql_session import Session
from consent.receipts import Artefact, Receipt
from consent.retention import Past
from consent.sealing import LedgerKeys, Sealer
from consent.store import CHECKPOINT_SECONDS

WRITERS: Final = 2
"""How many batches of one process are on their way at the same time."""
LEAF_SECONDS: Final = 0.1
"""How long receipts gather before they become leaves."""
# A second batch is worth its way from this many receipts on.
_SECOND_BATCH: Final = 48

_T = TypeVar("_T")

logger = logging.getLogger("consent")


class PostgreSQLStore(OpenedStore["_Writer"]):
    """Keeps a log in PostgreSQL; implements :class:`consent.store.Store` and :class:`consent.store.Erasing`.

    Safe to share between tasks, event loops and threads, and to open in any number of processes on any number of
    machines at once. Nothing is opened before the first receipt, so that it may be made before workers are forked.

    Args:
        url: ``postgresql://user@host/database``. It may hold a password: it is repeated nowhere.
        keys: the log's secrets; those of one log are the same in all processes.
        mark: a file for the checkpoint that this machine signed last, on a disk that is not restored together with the
            database; ``None``: none is kept.
        max_waiting: How many receipts may wait to be recorded, before callers are turned away.
        timeout_seconds: How long the server may take for a statement.
        clock: returns seconds since 1970-01-01T00:00:00Z.

    Raises:
        ConfigurationError: the URL is not the address of a PostgreSQL database.
    """

    def __init__(
        self,
        url: str,
        keys: LedgerKeys,
        *,
        mark: Path | None = None,
        max_waiting: int = 10_000,
        timeout_seconds: float = 10.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__()
        self._url = url
        self._keys = keys
        self._sealer = Sealer(keys)
        self._mark = None if mark is None else mark.absolute()
        self._max_waiting = max_waiting
        self._timeout = timeout_seconds
        self._clock = clock

    def prepare(self) -> None:
        """Make the tables where there are none, and check that the database is ours and keeps what it acknowledges.

        Blocks; meant for start-up. What was recorded before a crash becomes leaves, and a checkpoint is signed.

        Raises:
            StoreUnavailable: the database cannot be reached or written, or is of a later version.
        """
        session = Session(self._url, self._timeout)
        try:
            sequencer = Sequencer(session, self._keys, self._mark, self._clock)
            sequencer.prepare()
            sequencer.catch_up()
            sequencer.sign()
        finally:
            session.close()

    async def append(self, receipt: Receipt, artefacts: Sequence[Artefact] = ()) -> None:
        """Record ``receipt``; return only once it is durable. See :meth:`consent.store.Store.append`."""
        entry = Entry(receipt, self._sealer, tuple(artefacts), asyncio.get_running_loop())
        with self._lock:
            self._started().put(entry)
        await entry.done

    async def erase(self, subject: str, *, series: str | None = None) -> Sequence[Erasure]:
        """Erase a visitor. See :meth:`consent.store.Erasing.erase`."""
        return await self._do(lambda eraser: eraser.erase(subject, series))

    async def expire(self, past: Past, *, dry_run: bool = False) -> int:
        """Erase what is past its time. See :meth:`consent.store.Erasing.expire`.

        A month's table is dropped if all that is in it is past its time.
        """
        if dry_run:
            return await self._do(lambda eraser: eraser.count_expired(past))
        return await self._do(lambda eraser: eraser.expire(past))

    async def hold(self, subject: str, *, reason: str | None) -> bool:
        """Hold a visitor's records, or let them go. See :meth:`consent.store.Erasing.hold`."""
        return await self._do(lambda eraser: eraser.hold(subject, reason))

    async def rewrap(self) -> int:
        """Wrap all records' keys under the wrapping key in use; return how many were under another.

        Afterwards the others can be taken out of the key file. May be interrupted, and may be repeated.

        Raises:
            SealBrokenError: a key is wrapped under one that is not in the key file.
            StoreUnavailable: not done, or not known to be done; doing it again is safe.
        """
        return await self._do(Eraser.rewrap)

    def count(self, counts: Mapping[EnforcementKind, int]) -> None:
        """Add to the counts of enforcement. See :meth:`consent.enforcement_log.EnforcementStore.count`."""
        with self._lock:
            session = self._started().session
        columns = list(zip(*((*kind, times) for kind, times in sorted(counts.items())), strict=True))
        session.fetch(_COUNT, *columns)

    async def _do(self, task: Callable[[Eraser], _T]) -> _T:
        with self._lock:
            writer = self._started()
        return await asyncio.to_thread(writer.do, task)

    def _start(self) -> _Writer:
        session = Session(self._url, self._timeout)
        sequencer = Sequencer(session, self._keys, self._mark, self._clock)
        eraser = Eraser(sequencer, self._sealer, self._clock)
        return _Writer(session, Recorder(session, self._sealer), sequencer, eraser, self._max_waiting)


class _Writer:
    """The tasks that record, the thread that makes leaves and signs, and the queue between callers and them."""

    def __init__(
        self, session: Session, recorder: Recorder, sequencer: Sequencer, eraser: Eraser, max_waiting: int
    ) -> None:
        self.session = session
        self._recorder = recorder
        self._direct = DirectRecorder(session, sequencer, recorder)
        self._sequencer = sequencer
        self._eraser = eraser
        self._lock = threading.Lock()
        self._queue = AppendQueue(max_waiting)
        self._busy = 0
        self._woken = False
        self._put_off = False
        self._stopping = False
        self._ordering = threading.Event()
        self._thread = threading.Thread(target=self._run, name="consent-sequencer", daemon=True)
        self._arrived = session.run(_event())
        self._workers = asyncio.run_coroutine_threadsafe(self._work(), session.loop)
        self._thread.start()

    def put(self, entry: Entry) -> None:
        with self._lock:
            self._queue.put(entry)
            wake = self._has_room() and not self._woken
            self._woken |= wake
        if wake:
            self.session.loop.call_soon_threadsafe(self._arrived.set)

    def _has_room(self) -> bool:
        """Tell whether another batch is to be taken now. Hold the lock."""
        return len(self._queue) > (_SECOND_BATCH * self._busy if self._busy else 0) and self._busy < WRITERS

    def do(self, task: Callable[[Eraser], _T]) -> _T:
        """Do something else with the log. Blocks."""
        self._sequencer.prepare()
        done = task(self._eraser)
        self._ordering.set()
        return done

    def stop(self) -> None:
        self._stopping = True
        self.session.loop.call_soon_threadsafe(self._arrived.set)
        self._ordering.set()

    def join(self) -> None:
        self._thread.join()

    async def _work(self) -> None:
        """Start a batch whenever there is room for one, until told to stop and the queue is empty."""
        batches: set[asyncio.Task[None]] = set()
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while batch := self._take():
                task = asyncio.ensure_future(self._record(batch))
                batches.add(task)
                task.add_done_callback(batches.discard)
            if self._stopping and not self._busy:
                return

    def _take(self) -> list[Entry]:
        with self._lock:
            self._woken = False
            if not self._has_room():
                return []
            self._busy += 1
            return self._queue.take()

    async def _record(self, batch: Sequence[Entry]) -> None:
        try:
            errors: Sequence[StoreError | None] = [None] * len(batch)
            if not await self._direct.record(batch):
                errors = await self._recorder.record(batch)
        except Exception as error:
            # Else than that the database cannot be used, it is a defect of ours. Nobody waits forever.
            defect = not isinstance(error, StoreUnavailable)
            logger.error("%d receipts not recorded: %s", len(batch), error, exc_info=defect)
            # One exception each: they are raised in as many tasks, and each raise adds to the traceback.
            errors = [StoreUnavailable(str(error)) for _ in batch]
        deliver(batch, errors)
        self._ordering.set()
        with self._lock:
            self._busy -= 1
        self._arrived.set()

    def _run(self) -> None:
        """Make leaves of what any process recorded, and sign; at the end, of what this one did, too."""
        signed = 0.0
        while not self._stopping:
            self._ordering.wait(CHECKPOINT_SECONDS)
            self._ordering.clear()
            due = time.monotonic() >= signed + CHECKPOINT_SECONDS
            if self._order(sign=due) and due:
                signed = time.monotonic()
            if not self._stopping:
                time.sleep(LEAF_SECONDS)
        self._workers.result()
        self._order(sign=True, wait=True)
        self.session.close()

    def _order(self, *, sign: bool, wait: bool = False) -> bool:
        """Make leaves of what waits, unless another process is at it; tell whether that was possible."""
        try:
            (state,) = self.session.fetch(STATE)
            if state["waiting"]:
                while self._sequencer.step(wait=wait) == STEP_LEAVES:
                    continue
                (state,) = self.session.fetch(STATE)
            if sign and state["size"] > state["signed"]:
                self._sequencer.sign()
        except Exception as error:
            # Receipts wait in the database meanwhile, and nothing is lost. It is said once, until it is possible again.
            logger.log(
                logging.DEBUG if self._put_off else logging.WARNING,
                "%s: making leaves and signing put off: %s",
                self.session.place,
                error,
                exc_info=not isinstance(error, ConsentError),
            )
            self._put_off = True
            return False
        self._put_off = False
        return True


async def _event() -> asyncio.Event:
    return asyncio.Event()


_COUNT: Final = """
INSERT INTO consent_enforcement SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[],
    $6::text[], $7::text[], $8::text[], $9::bigint[])
ON CONFLICT (day, site, rule, vendor, category, action, reason, policy_version)
    DO UPDATE SET times = consent_enforcement.times + excluded.times
"""
