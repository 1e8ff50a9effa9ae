"""The SQLite store, on real files and with real processes: what it acknowledged stays."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from consent import append_queue, sqlite_database, sqlite_recording, sqlite_store
from consent.append_queue import deliver
from consent.errors import OtherReceiptError, StoreError, StoreFull, StoreUnavailable
from consent.merkle import leaf_hash, tree_root
from consent.receipts import Artefact, Receipt
from consent.sealing import Sealer
from consent.sqlite_log import SQLiteReceiptLog
from consent.sqlite_store import SQLiteStore
from consent.sqlite_tree import tiles_at
from consent.store import Store
from tests.test_receipts import KEYS, SHOWN, make_receipt, receipt_id
from tests.workers import WORKERS

ROOT = Path(__file__).resolve().parents[1]
KILL_ROUNDS = int(os.environ.get("CONSENT_KILL_ROUNDS", "10"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "receipts.sqlite3"


def append_all(store: SQLiteStore, *receipts: Receipt, close: bool = True) -> list[BaseException | None]:
    """Append concurrently; return what each append raised, or ``None``."""

    async def run() -> list[BaseException | None]:
        raised = await asyncio.gather(
            *(store.append(receipt) for receipt in receipts), return_exceptions=True
        )
        if close:
            await store.aclose()
        return raised

    return asyncio.run(run())


def recorded(path: Path) -> dict[str, Receipt]:
    """Read every receipt, checked against its leaf, and all leaves against the tree that is kept.

    Fail if SQLite finds the database damaged.
    """
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        hashes = [
            leaf_hash(commitment)
            for (commitment,) in connection.execute("SELECT commitment FROM record ORDER BY leaf")
        ]
        assert tiles_at(connection, len(hashes)).root() == tree_root(hashes)
    with SQLiteReceiptLog(path, KEYS) as log:
        logged = log.list(limit=1_000_000)
    receipts = {entry.receipt.receipt_id: entry.receipt for entry in logged}
    assert len(receipts) == len(logged)
    return receipts


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the store's lock, as another process that is writing does."""
    lock_path = path.with_name(path.name + ".lock")
    with open(os.open(lock_path, os.O_RDWR | os.O_CREAT, 0o600), "wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


class Connections:
    """The connections that a store opened, and the statements it ran on them."""

    def __init__(self) -> None:
        self.opened: list[sqlite3.Connection] = []
        self.statements: list[str] = []
        self.on_statement: Callable[[str], None] = self.statements.append

    def connect(self, *arguments: Any, **options: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = _connect(*arguments, **options)
        connection.set_trace_callback(lambda statement: self.on_statement(statement))
        self.opened.append(connection)
        return connection


_connect = sqlite3.connect


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> Connections:
    opened = Connections()
    monkeypatch.setattr("consent.sqlite_database.sqlite3.connect", opened.connect)
    return opened


def start(script: str, *arguments: str | Path) -> subprocess.Popen[str]:
    """Run a Python script in a process of its own, with the names that the scripts below use."""
    names = """
import asyncio, os, resource, signal, sys, time
from consent.errors import *
from consent.sqlite_store import SQLiteStore
from tests.test_receipts import KEYS, SHOWN, make_receipt
"""
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", names + script, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )


def run(script: str, *arguments: str | Path) -> list[str]:
    """Run a script to its end, which must be a good one, and return what it printed."""
    process = start(script, *arguments)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    return output.split()


def test_a_receipt_is_committed_when_append_returns(path: Path) -> None:
    """Another connection sees it at once, sealed."""
    receipt = make_receipt(1, shown_hash=SHOWN.hash)

    async def append_and_look() -> list[tuple[bytes, int]]:
        store: Store = SQLiteStore(path, KEYS)
        await store.append(receipt, [SHOWN])
        with contextlib.closing(sqlite3.connect(path)) as other:
            rows = other.execute("SELECT body, length(body) FROM record").fetchall()
        await store.aclose()
        return rows

    rows = asyncio.run(append_and_look())
    ((body, length),) = rows
    record = receipt.canonical_bytes()
    assert length == 12 + 32 + len(record) + 16  # nonce, salt, receipt, tag
    assert record[:20] not in body


def test_the_writers_connection_syncs_every_commit(path: Path, connections: Connections) -> None:
    """FULL is 2, the log is write-ahead, checkpoints are left to us, and what is erased is overwritten."""
    store = SQLiteStore(path, KEYS)
    append_all(store, make_receipt(1), close=False)
    (connection,) = connections.opened
    answers = {
        name: connection.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("synchronous", "journal_mode", "wal_autocheckpoint", "secure_delete")
    }
    store.close()
    assert answers == {"synchronous": 2, "journal_mode": "wal", "wal_autocheckpoint": 0, "secure_delete": 1}


def test_writing_and_checkpointing_happen_under_the_lock(
    path: Path, connections: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While either runs, no other process can: that is what keeps older SQLite from corrupting the file."""
    monkeypatch.setattr(sqlite_database, "WAL_COMMITS", 1)
    free: dict[str, bool] = {}

    def named(statement: str) -> str:
        if statement.startswith("INSERT INTO arriving"):
            return "INSERT"
        return "".join(statement.split()) if "PRAGMA" in statement else statement

    def try_lock(statement: str) -> None:
        with open(path.with_name(path.name + ".lock"), "rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                free[named(statement)] = False
            else:
                free[named(statement)] = True

    store = SQLiteStore(path, KEYS)
    append_all(store, make_receipt(1), close=False)
    connections.on_statement = try_lock
    append_all(store, make_receipt(2))
    assert free["INSERT"] is False
    assert free["BEGIN IMMEDIATE"] is False
    assert free["COMMIT"] is False
    assert free["PRAGMAwal_checkpoint(PASSIVE)"] is False
    with open(path.with_name(path.name + ".lock"), "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the control: afterwards it is free


def test_receipts_that_gather_share_one_transaction(path: Path, connections: Connections) -> None:
    """200 concurrent clients cost two statements that commit, not 200, when the disk is busy at first.

    Two halves: while one is written, those of the other are answered and come back.
    """
    store = SQLiteStore(path, KEYS)
    store.prepare()
    connections.statements.clear()
    receipts = [make_receipt(number) for number in range(200)]

    async def run() -> None:
        with locked(path):
            tasks = [asyncio.ensure_future(store.append(receipt)) for receipt in receipts]
            await asyncio.sleep(0.05)
        await asyncio.gather(*tasks)
        await store.aclose()

    asyncio.run(run())
    # What triggers do is told as one more of the statement that they belong to.
    inserted = {statement for statement in connections.statements if "arriving VALUES" in statement}
    assert len(inserted) in (2, 3)
    assert recorded(path) == {receipt.receipt_id: receipt for receipt in receipts}


def test_checkpoints_keep_the_log_short(
    path: Path, connections: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The write-ahead log is moved into the database every so many commits, and then begins anew."""
    monkeypatch.setattr(sqlite_database, "WAL_COMMITS", 5)
    store = SQLiteStore(path, KEYS)

    async def run() -> int:
        for number in range(50):
            await store.append(make_receipt(number))
        size = path.with_name(path.name + "-wal").stat().st_size
        await store.aclose()
        return size

    size = asyncio.run(run())
    assert connections.statements.count("PRAGMA wal_checkpoint(PASSIVE)") == 10
    assert size < 400_000  # 50 commits without a checkpoint leave well over a megabyte
    assert len(recorded(path)) == 50


def test_appending_again_is_acknowledged_and_recorded_once(path: Path) -> None:
    """The same id with the same content, later or at the same moment, is the same receipt."""
    store = SQLiteStore(path, KEYS)
    receipt = make_receipt(1)
    assert append_all(store, receipt, receipt, make_receipt(2), close=False) == [None, None, None]
    assert append_all(store, make_receipt(3), receipt) == [None, None]
    assert list(recorded(path)) == [receipt_id(3), receipt_id(2), receipt_id(1)]


def test_another_receipt_under_the_same_id_is_refused(path: Path) -> None:
    """The first one stays as it is; the others of its transaction are recorded."""
    store = SQLiteStore(path, KEYS)
    first, other = make_receipt(1), make_receipt(1, site="Another shop")
    append_all(store, first, close=False)
    raised = append_all(store, make_receipt(2), other, make_receipt(3))
    assert [type(error) for error in raised] == [type(None), OtherReceiptError, type(None)]
    assert str(raised[1]) == "another receipt is recorded under this id: make a new id"
    assert recorded(path) == {r.receipt_id: r for r in (first, make_receipt(2), make_receipt(3))}


def test_two_receipts_under_one_id_at_the_same_moment_leave_one(path: Path) -> None:
    """One of them is acknowledged, and that one is there."""
    candidates = [make_receipt(1), make_receipt(1, site="Another shop")]
    raised = append_all(SQLiteStore(path, KEYS), *candidates)
    assert sorted(type(error).__name__ for error in raised) == ["NoneType", "OtherReceiptError"]
    assert recorded(path) == {receipt_id(1): candidates[raised.index(None)]}


def test_a_cancelled_caller_neither_loses_nor_doubles(path: Path) -> None:
    """What was handed over is recorded although nobody waits for it, and appending it again is fine."""
    store = SQLiteStore(path, KEYS)
    store.prepare()

    async def run() -> None:
        with locked(path):
            task = asyncio.ensure_future(store.append(make_receipt(1)))
            await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        await store.append(make_receipt(1))
        await store.aclose()

    asyncio.run(run())
    assert list(recorded(path)) == [receipt_id(1)]


def test_a_loop_that_ended_takes_nothing_with_it(path: Path) -> None:
    """The receipts of a closed event loop are recorded, and the writer goes on for others."""
    store = SQLiteStore(path, KEYS)
    store.prepare()

    async def leave() -> None:
        task = asyncio.ensure_future(store.append(make_receipt(1)))
        await asyncio.sleep(0)
        assert not task.done()

    with locked(path):
        asyncio.run(leave())
    assert append_all(store, make_receipt(2)) == [None]
    assert set(recorded(path)) == {receipt_id(1), receipt_id(2)}


def test_a_full_queue_turns_callers_away_and_forgets_none(path: Path) -> None:
    """Those turned away are told at once; all others are recorded."""
    store = SQLiteStore(path, KEYS, max_waiting=3)
    store.prepare()
    receipts = [make_receipt(number) for number in range(10)]

    async def run() -> list[BaseException | None]:
        with locked(path):
            tasks = [asyncio.ensure_future(store.append(receipt)) for receipt in receipts]
            await asyncio.sleep(0.05)
            turned_away = [task for task in tasks if task.done()]
            # Three wait, and up to three were taken out of the queue before the lock held the writer up.
            assert 4 <= len(turned_away) <= 7
        raised = await asyncio.gather(*tasks, return_exceptions=True)
        assert await store.append(make_receipt(11)) is None  # type: ignore[func-returns-value]
        await store.aclose()
        return raised

    raised = asyncio.run(run())
    assert {type(error) for error in raised} == {type(None), StoreFull}
    assert "receipts wait to be recorded: try again shortly" in str(next(filter(None, raised)))
    acknowledged = {r.receipt_id for r, error in zip(receipts, raised, strict=True) if error is None}
    assert set(recorded(path)) == acknowledged | {receipt_id(11)}


def test_a_full_queue_is_also_one_of_too_many_bytes(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded whatever the receipts weigh."""
    monkeypatch.setattr(append_queue, "MAX_WAITING_BYTES", 100)
    assert [type(error) for error in append_all(SQLiteStore(path, KEYS), make_receipt(1))] == [StoreFull]


def test_the_text_shown_is_stored_once_and_must_be_there(path: Path) -> None:
    """A receipt without the text it refers to would prove nothing; one text serves any number of receipts."""

    async def run() -> None:
        store = SQLiteStore(path, KEYS)
        with pytest.raises(StoreError, match="is not in the store and not with the receipt"):
            await store.append(make_receipt(1, shown_hash=SHOWN.hash))
        await store.append(make_receipt(2, shown_hash=SHOWN.hash), [SHOWN])
        await store.append(make_receipt(3, shown_hash=SHOWN.hash), [SHOWN])
        await store.append(make_receipt(4, shown_hash=SHOWN.hash))
        await store.aclose()
        again = SQLiteStore(path, KEYS)
        await again.append(make_receipt(5, shown_hash=SHOWN.hash))
        await again.append(make_receipt(6, shown_hash=SHOWN.hash), [SHOWN])
        await again.aclose()

    asyncio.run(run())
    assert set(recorded(path)) == {receipt_id(number) for number in (2, 3, 4, 5, 6)}
    with contextlib.closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT hash, media_type, content FROM artefact").fetchall()
    assert rows == [(bytes.fromhex(SHOWN.hash), SHOWN.media_type, SHOWN.content)]


def test_several_threads_and_loops_share_one_store(path: Path) -> None:
    """Each caller is answered in his own loop."""
    store = SQLiteStore(path, KEYS)
    raised: list[BaseException | None] = []

    def append_fifty(first: int) -> None:
        receipts = [make_receipt(number) for number in range(first, first + 50)]
        raised.extend(append_all(store, *receipts, close=False))

    threads = [threading.Thread(target=append_fifty, args=(first,)) for first in (0, 50, 100, 150)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    store.close()
    assert raised == [None] * 200
    assert len(recorded(path)) == 200


WRITE_MANY = """
async def main(path, first, count):
    store = SQLiteStore(path, KEYS)
    async def client(numbers):
        for number in numbers:
            await store.append(make_receipt(number, shown_hash=SHOWN.hash), [SHOWN])
    await asyncio.gather(*(client(range(first + k, first + count, 5)) for k in range(5)))
    await store.aclose()
asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
"""


def test_several_processes_lose_nothing_of_each_others(path: Path) -> None:
    """Three workers that start together on no database at all, beside a reader that looks all the time."""
    processes = [start(WRITE_MANY, path, first, "300") for first in ("0", "1000", "2000")]
    seen = 0
    while any(process.poll() is None for process in processes):
        with contextlib.suppress(StoreUnavailable), SQLiteReceiptLog(path, KEYS) as log:
            newest = log.list(limit=1)
            now = newest[0].leaf if newest else 0
            assert now >= seen
            seen = now
        time.sleep(0.005)
    for process in processes:
        process.communicate()
    assert [process.returncode for process in processes] == [0, 0, 0]
    expected = {receipt_id(first + number) for first in (0, 1000, 2000) for number in range(300)}
    assert set(recorded(path)) == expected


def _write_until_killed(path: Path, first: int, acknowledged: Connection) -> None:
    async def main() -> None:
        store = SQLiteStore(path, KEYS)

        async def client(number: int) -> None:
            while True:
                await store.append(make_receipt(number, shown_hash=SHOWN.hash), [SHOWN])
                os.write(acknowledged.fileno(), b"%d\n" % number)
                number += 20

        await asyncio.gather(*(client(first + k) for k in range(20)))

    asyncio.run(main())


def _write_hastily_until_killed(path: Path, first: int, acknowledged: Connection) -> None:
    record = sqlite_store._Writer._record

    def hastily(writer: Any, batch: Sequence[Any]) -> Sequence[StoreError | None]:
        deliver(batch, [None] * len(batch))
        time.sleep(0.01)
        return record(writer, batch)

    sqlite_store._Writer._record = hastily  # type: ignore[assignment]
    _write_until_killed(path, first, acknowledged)


def killed_while_writing(
    path: Path, number: int, source: random.Random, *, hastily: bool = False
) -> list[int]:
    """Kill a writing process at a random moment; return which receipts were acknowledged, in order."""
    reader, writer = WORKERS.Pipe(duplex=False)
    write = _write_hastily_until_killed if hastily else _write_until_killed
    process = WORKERS.Process(target=write, args=(path, number * 1_000_000, writer))
    process.start()
    writer.close()
    with open(reader.fileno(), "rb", closefd=False) as output:
        first = output.readline()
        time.sleep(source.random() * 0.1)
        process.kill()
        rest = output.read()
    reader.close()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    return [int(line) for line in (first + rest).split()]


def test_a_slow_disk_turns_callers_away_and_keeps_no_loop_waiting(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While one batch takes its time, others gather up to the bound; the event loop goes on meanwhile."""
    record = sqlite_database.LogDatabase.record

    def slowly(database: Any, batch: Any) -> Any:
        time.sleep(0.3)
        return record(database, batch)

    monkeypatch.setattr(sqlite_database.LogDatabase, "record", slowly)

    async def run() -> tuple[list[BaseException | None], int]:
        store = SQLiteStore(path, KEYS, max_waiting=20)
        first = asyncio.ensure_future(store.append(make_receipt(0)))
        await asyncio.sleep(0.1)  # it is being written
        rest = asyncio.gather(*(store.append(make_receipt(n)) for n in range(1, 31)), return_exceptions=True)
        turns = 0
        while not first.done():
            await asyncio.sleep(0.001)
            turns += 1
        await first
        outcomes = await rest
        await store.aclose()
        return outcomes, turns

    outcomes, turns = asyncio.run(run())
    assert [type(outcome) for outcome in outcomes] == [type(None)] * 20 + [StoreFull] * 10
    assert turns > 10
    assert set(recorded(path)) == {receipt_id(number) for number in range(21)}


def test_whatever_was_acknowledged_survives_kill_9(path: Path) -> None:
    """A writing process is killed at random moments, again and again on one database.

    CONSENT_KILL_ROUNDS sets how often. The seed is printed when the test fails.
    """
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    source = random.Random(seed)
    acknowledged: set[str] = set()
    for number in range(KILL_ROUNDS):
        numbers = killed_while_writing(path, number, source)
        acknowledged |= {receipt_id(number) for number in numbers}
        present = recorded(path)
        assert acknowledged <= set(present), f"{len(acknowledged - set(present))} lost in round {number}"
        assert present[receipt_id(numbers[0])] == make_receipt(numbers[0], shown_hash=SHOWN.hash)
    assert len(acknowledged) >= KILL_ROUNDS


def test_the_control_that_acknowledges_too_early_loses_by_kill_9(path: Path) -> None:
    """So the test above can tell: here callers are told 10 ms before anything is committed."""
    SQLiteStore(path, KEYS).prepare()
    source = random.Random(7)
    for number in range(20):
        numbers = killed_while_writing(path, number, source, hastily=True)
        if not {receipt_id(number) for number in numbers} <= set(recorded(path)):
            return
    pytest.fail("nothing was lost")


DISK_FULL = """
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
async def main(path):
    store = SQLiteStore(path, KEYS)
    for number in range(5):
        await store.append(make_receipt(number))
    resource.setrlimit(resource.RLIMIT_FSIZE, (4_096, resource.RLIM_INFINITY))
    for number in (5, 6, 7):
        try:
            await store.append(make_receipt(number))
        except StoreUnavailable:
            print("unavailable")
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    for number in (7, 8):
        await store.append(make_receipt(number))
    await store.aclose()
asyncio.run(main(sys.argv[1]))
"""


def test_a_full_disk_is_answered_and_gone_when_there_is_space_again(path: Path) -> None:
    """Meanwhile nothing is acknowledged and nothing half written; afterwards the same store goes on."""
    assert run(DISK_FULL, path) == ["unavailable"] * 3
    assert set(recorded(path)) == {receipt_id(number) for number in (0, 1, 2, 3, 4, 7, 8)}


FORK = """
async def append(store, number):
    await store.append(make_receipt(number))
async def close(store):
    await store.aclose()
store = SQLiteStore(sys.argv[1], KEYS)
asyncio.run(append(store, 1))
child = os.fork()
if child == 0:
    asyncio.run(append(store, 2))
    asyncio.run(close(store))
    os._exit(0)
for number in range(3, 30):
    asyncio.run(append(store, number))
print(os.waitpid(child, 0)[1])
asyncio.run(append(store, 30))
asyncio.run(close(store))
"""


def test_a_store_in_use_may_be_forked(path: Path) -> None:
    """Parent and child both go on recording, each on a connection of its own."""
    assert run(FORK, path) == ["0"]
    assert set(recorded(path)) == {receipt_id(number) for number in range(1, 31)}


FORK_WHILE_WRITING = """
import threading
store = SQLiteStore(sys.argv[1], KEYS)
async def many():
    for number in range(400):
        await store.append(make_receipt(number))
writing = threading.Thread(target=lambda: asyncio.run(many()))
writing.start()
children = []
for number in range(5):
    time.sleep(0.01)
    child = os.fork()
    if child == 0:
        asyncio.run(store.append(make_receipt(1000 + number)))
        store.close()
        os._exit(0)
    children.append(child)
writing.join()
store.close()
print(*(os.waitpid(child, 0)[1] for child in children))
"""


def test_a_store_may_be_forked_while_it_writes(path: Path) -> None:
    """The fork waits for the transaction under way; neither side hangs, nothing is lost."""
    assert run(FORK_WHILE_WRITING, path) == ["0"] * 5
    expected = {receipt_id(number) for number in (*range(400), *range(1000, 1005))}
    assert set(recorded(path)) == expected


LEAVE = """
async def main(path):
    store = SQLiteStore(path, KEYS)
    await store.append(make_receipt(1))
    task = asyncio.ensure_future(store.append(make_receipt(2)))
    await asyncio.sleep(0)
    return store
store = asyncio.run(main(sys.argv[1]))
"""


def test_what_waits_at_exit_is_recorded(path: Path) -> None:
    """A program that ends without closing its store leaves a complete and closed database."""
    run(LEAVE, path)
    assert not path.with_name(path.name + "-wal").exists()
    assert set(recorded(path)) == {receipt_id(1), receipt_id(2)}


def test_closing_leaves_one_whole_file_and_may_be_repeated(path: Path) -> None:
    """The log is moved into the database; a later append opens it again."""
    store = SQLiteStore(path, KEYS)

    async def run() -> None:
        await store.aclose()
        await store.append(make_receipt(1))
        await store.aclose()
        await store.aclose()

    asyncio.run(run())
    assert sorted(file.name for file in path.parent.iterdir()) == [
        path.name,
        path.name + ".checkpoint",
        path.name + ".lock",
    ]
    assert append_all(store, make_receipt(2)) == [None]
    assert list(recorded(path)) == [receipt_id(2), receipt_id(1)]


def test_a_store_nobody_holds_ends_its_thread(path: Path) -> None:
    """A forgotten store costs no thread and no open file."""
    store = SQLiteStore(path, KEYS)
    append_all(store, make_receipt(1), close=False)
    (thread,) = (thread for thread in threading.enumerate() if thread.name == "consent-receipts")
    del store
    thread.join(5)
    assert not thread.is_alive()


def test_the_files_are_the_owners_only(path: Path) -> None:
    """Nobody else can read the receipts, whatever the umask says."""
    old = os.umask(0)
    try:
        store = SQLiteStore(path, KEYS)
        append_all(store, make_receipt(1), close=False)
        modes = {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()}
        store.close()
    finally:
        os.umask(old)
    names = (path.name, path.name + ".lock", path.name + "-shm", path.name + "-wal")
    assert modes == dict.fromkeys(names, 0o600)


def test_nothing_is_opened_before_the_first_receipt(path: Path) -> None:
    """A store may be made before workers are forked, and for an app that records nothing."""
    store = SQLiteStore(path, KEYS)
    store.close()
    assert list(path.parent.iterdir()) == []


def test_another_process_that_holds_the_lock_too_long_is_reported(path: Path) -> None:
    """Callers get an answer that names the lock file instead of waiting for ever; then it works again."""
    store = SQLiteStore(path, KEYS, lock_timeout_seconds=0.05)
    with locked(path):
        (error,) = append_all(store, make_receipt(1), close=False)
    assert isinstance(error, StoreUnavailable)
    assert str(error) == (
        f"another process has held {path}.lock for 0.05 s: find it with lslocks, and let it go on or end it"
    )
    assert append_all(store, make_receipt(1)) == [None]
    assert list(recorded(path)) == [receipt_id(1)]


def test_a_removed_lock_file_does_not_let_two_write(path: Path) -> None:
    """The lock counts only as long as it is the file that others find."""
    store = SQLiteStore(path, KEYS, lock_timeout_seconds=0.05)
    append_all(store, make_receipt(1), close=False)
    path.with_name(path.name + ".lock").unlink()
    with locked(path):
        (error,) = append_all(store, make_receipt(2), close=False)
        assert isinstance(error, StoreUnavailable)
    assert append_all(store, make_receipt(2)) == [None]


def test_a_missing_folder_is_answered_and_found_when_it_is_there(path: Path) -> None:
    """The message names the file and what to check; the next receipt finds the folder."""
    store = SQLiteStore(path.parent / "data" / "receipts.sqlite3", KEYS)
    (error,) = append_all(store, make_receipt(1), close=False)
    assert isinstance(error, StoreUnavailable)
    assert "check that its folder exists" in str(error)
    (path.parent / "data").mkdir()
    assert append_all(store, make_receipt(1)) == [None]


def test_a_database_that_was_moved_away_is_not_written_on(path: Path) -> None:
    """Receipts go where the next reader will look for them, not into a file without a name."""
    store = SQLiteStore(path, KEYS)
    append_all(store, make_receipt(1), close=False)
    for suffix in ("", "-wal", "-shm"):
        Path(f"{path}{suffix}").rename(f"{path}.old{suffix}")
    append_all(store, make_receipt(2))
    assert list(recorded(path)) == [receipt_id(2)]
    assert list(recorded(Path(f"{path}.old"))) == [receipt_id(1)]


def test_a_defect_in_the_writer_acknowledges_nothing_and_ends_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An unforeseen exception becomes an answer; the thread goes on."""
    store = SQLiteStore(path, KEYS)
    with monkeypatch.context() as patched:
        patched.setattr(sqlite_recording, "_insert", lambda *_: 1 // 0)
        (error,) = append_all(store, make_receipt(1), close=False)
    assert isinstance(error, StoreUnavailable)
    assert "1 receipts not recorded" in caplog.text
    assert append_all(store, make_receipt(2)) == [None]
    assert list(recorded(path)) == [receipt_id(2)]


def _newer(path: Path) -> None:
    SQLiteStore(path, KEYS).prepare()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")


def _foreign(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE invoice (id INTEGER)")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (_newer, "has schema 99, and this version of asgi-consent knows 4: update it"),
        (_foreign, "is the database of another program: choose another place"),
        (lambda path: path.write_text("Dear diary, " * 100), "is no SQLite database: choose another place"),
        (lambda path: path.mkdir(), "cannot be"),
    ],
    ids=["newer schema", "foreign", "no database", "folder"],
)
def test_a_file_that_is_not_ours_is_refused_and_left_alone(
    path: Path, make: Callable[[Path], object], message: str
) -> None:
    """By the store, by its preparation at start-up and by the reader, and not a byte of it changes."""
    make(path)
    before = path.read_bytes() if path.is_file() else None
    (error,) = append_all(SQLiteStore(path, KEYS), make_receipt(1))
    assert isinstance(error, StoreUnavailable)
    assert f"{path} {message}" in str(error)
    with pytest.raises(StoreUnavailable, match=message):
        SQLiteStore(path, KEYS).prepare()
    with pytest.raises(StoreUnavailable, match=message):
        SQLiteReceiptLog(path, KEYS)
    assert (path.read_bytes() if path.is_file() else None) == before


def test_preparing_makes_an_empty_database_and_leaves_a_full_one(path: Path) -> None:
    """Start-up can find out that receipts will be recorded, before a visitor comes."""
    SQLiteStore(path, KEYS).prepare()
    assert recorded(path) == {}
    append_all(SQLiteStore(path, KEYS), make_receipt(1))
    SQLiteStore(path, KEYS).prepare()
    assert list(recorded(path)) == [receipt_id(1)]


def test_a_place_without_write_ahead_log_is_refused() -> None:
    """The answer of PRAGMA journal_mode counts, not the wish: in memory it is another one."""
    with (
        contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as connection,
        pytest.raises(StoreUnavailable, match="SQLite answers journal mode 'memory' where WAL was asked for"),
    ):
        sqlite_database.set_up(connection, Path("receipts.sqlite3"), Sealer(KEYS))


def test_an_artefact_of_another_media_type_does_not_replace_the_first(path: Path) -> None:
    """The content is what counts, and it is there already."""

    async def run() -> None:
        store = SQLiteStore(path, KEYS)
        for number, media_type in ((1, "text/html"), (2, "text/plain")):
            artefact = Artefact(content=b"abc", media_type=media_type)
            await store.append(make_receipt(number, shown_hash=artefact.hash), [artefact])
        await store.aclose()

    asyncio.run(run())
    with SQLiteReceiptLog(path, KEYS) as log:
        assert log.artefact(Artefact(content=b"abc", media_type="text/html").hash) == Artefact(
            content=b"abc", media_type="text/html"
        )
