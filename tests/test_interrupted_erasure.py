"""A process that is killed in the middle of an erasure, at one statement after the other, in every store."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import shutil
import signal
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from consent import postgresql_erasing, postgresql_session, sqlite_database, sqlite_erasing
from consent.log_export import verify_log
from consent.moments import parse_moment
from consent.postgresql_log import PostgreSQLReceiptLog
from consent.postgresql_store import PostgreSQLStore
from consent.receipts import Receipt
from consent.retention import Past
from consent.sealing import Sealer
from consent.sqlite_log import SQLiteReceiptLog
from consent.sqlite_store import SQLiteStore
from tests.postgresql import query, shared_server
from tests.test_receipts import KEYS, make_receipt
from tests.workers import WORKERS

VISITOR = f"{1:032x}"
RECEIPTS = [make_receipt(number, subject=f"{number % 3:032x}") for number in range(24)]
MINE = [receipt for receipt in RECEIPTS if receipt.subject == VISITOR]
JANUARY_2 = parse_moment("2026-01-02T00:00:00.000Z")
FEBRUARY_1 = parse_moment("2026-02-01T00:00:00.000Z")
STEP = 10
# `make soak` stops at each statement.
STRIDE = 1 if os.environ.get("CONSENT_SOAK") else 7


async def _erase(store: SQLiteStore | PostgreSQLStore) -> None:
    await store.erase(VISITOR)
    await store.aclose()


async def _expire(store: SQLiteStore | PostgreSQLStore) -> None:
    await store.expire(Past(site="Example shop", before_ms=JANUARY_2))
    await store.aclose()


async def _expire_month(store: SQLiteStore | PostgreSQLStore) -> None:
    await store.expire(Past(site="Example shop", before_ms=FEBRUARY_1))
    await store.aclose()


class _Countdown:
    """Kills its process at the n-th statement."""

    def __init__(self, statements: int) -> None:
        self._left = statements

    def __call__(self, *_: object) -> None:
        self._left -= 1
        if self._left < 0:
            os.kill(os.getpid(), signal.SIGKILL)


def _interrupted_sqlite(path: Path, work: Callable[[Any], Any], statements: int) -> None:
    countdown = _Countdown(statements)
    set_up = sqlite_database.set_up

    def counted(connection: sqlite3.Connection, *rest: Any) -> None:
        set_up(connection, *rest)
        connection.set_trace_callback(countdown)

    sqlite_database.set_up = counted  # type: ignore[assignment]
    sqlite_erasing.STEP_RECORDS = STEP
    asyncio.run(work(SQLiteStore(path, KEYS)))


def _interrupted_postgresql(url: str, work: Callable[[Any], Any], statements: int) -> None:
    countdown = _Countdown(statements)
    for name in ("fetch", "execute", "run"):
        method = getattr(postgresql_session.Transaction, name)

        def counted(self: Any, *rest: Any, method: Any = method) -> Any:
            countdown()
            return method(self, *rest)

        setattr(postgresql_session.Transaction, name, counted)
    postgresql_erasing.STEP_RECORDS = STEP  # type: ignore[misc]
    asyncio.run(work(PostgreSQLStore(url, KEYS)))


def killed_at(
    target: Callable[..., None], place: object, work: Callable[[Any], Any], statements: int
) -> bool:
    """Run an erasure that is killed before a statement; tell whether it came so far."""
    process = WORKERS.Process(target=target, args=(place, work, statements))
    process.start()
    process.join(60)
    assert process.exitcode in (0, -signal.SIGKILL)
    return process.exitcode != 0


async def record(store: SQLiteStore | PostgreSQLStore, *receipts: Receipt) -> None:
    await asyncio.gather(*(store.append(receipt) for receipt in receipts))
    await store.aclose()


def check_whole(log: SQLiteReceiptLog | PostgreSQLReceiptLog) -> int:
    """Check that every record that is missing is named by an erasure, and no other; return how many are there."""
    with log, log.one_moment():
        verification = verify_log(log, log.verifiers())
        assert verification.problems == []
        return verification.receipts


def test_an_erasure_in_sqlite_may_be_killed_at_any_statement(tmp_path: Path) -> None:
    """Afterwards it was done or not begun; done again, nothing is left of the visitor in any file.

    The control: before it is done again, it may be. So the search finds what is there.
    """
    original = tmp_path / "original.sqlite3"
    asyncio.run(record(SQLiteStore(original, KEYS), *RECEIPTS))
    tag = Sealer(KEYS).tag(bytes.fromhex(VISITOR))
    with sqlite3.connect(original) as connection:
        (secrets,) = connection.execute("SELECT wrapped_key FROM subject WHERE tag = ?", (tag,)).fetchall()
        bodies = connection.execute(
            "SELECT body FROM record JOIN subject ON number = subject WHERE tag = ?", (tag,)
        ).fetchall()
    connection.close()
    assert len(bodies) == len(MINE)
    traces = [tag, *secrets, *(body for (body,) in bodies)]

    def left(folder: Path) -> int:
        content = b"".join(file.read_bytes() for file in folder.iterdir())
        return sum(trace in content for trace in traces)

    found: list[tuple[int, bool]] = []
    statements = 0
    while True:
        folder = tmp_path / str(statements)
        folder.mkdir()
        path = folder / "receipts.sqlite3"
        for suffix in ("", ".checkpoint"):
            shutil.copy(f"{original}{suffix}", f"{path}{suffix}")
        assert left(folder) == len(traces)
        if not killed_at(_interrupted_sqlite, path, _erase, statements):
            break
        there = check_whole(SQLiteReceiptLog(path, KEYS))
        found.append((there, left(folder) > 0))
        asyncio.run(_erase(SQLiteStore(path, KEYS)))
        assert check_whole(SQLiteReceiptLog(path, KEYS)) == len(RECEIPTS) - len(MINE)
        assert left(folder) == 0
        statements += STRIDE
    assert left(folder) == 0
    assert statements > 10
    # Not begun; done, but traces are left; done, and none are.
    assert {(len(RECEIPTS), True), (len(RECEIPTS) - len(MINE), True)} <= set(found)


def test_retention_in_sqlite_may_be_killed_and_goes_on(tmp_path: Path) -> None:
    """Each step is whole; what the last one left is erased by the next."""
    path = tmp_path / "receipts.sqlite3"
    asyncio.run(record(SQLiteStore(path, KEYS), *RECEIPTS))
    source = random.Random(5)
    counts = [len(RECEIPTS)]
    for _ in range(40):
        if not killed_at(_interrupted_sqlite, path, _expire, source.randrange(60)):
            break
        counts.append(check_whole(SQLiteReceiptLog(path, KEYS)))
    assert counts == sorted(counts, reverse=True)
    assert set(counts) <= {24, 14, 4, 0}
    assert len(set(counts)) > 1
    asyncio.run(_expire(SQLiteStore(path, KEYS)))
    assert check_whole(SQLiteReceiptLog(path, KEYS)) == 0


@pytest.mark.parametrize(
    ("work", "states"),
    [(_erase, {24, 16}), (_expire, {24, 14, 4, 0}), (_expire_month, {24, 0})],
    ids=["a visitor", "row by row", "a month"],
)
def test_an_erasure_in_postgresql_may_be_killed_at_any_statement(
    work: Callable[[Any], Any], states: set[int]
) -> None:
    """Of each transaction all was done, or nothing, whichever statement was the last; done again, no row is left."""
    url = shared_server().new_schema()
    PostgreSQLStore(url, KEYS).prepare()
    asyncio.run(record(PostgreSQLStore(url, KEYS), *RECEIPTS))
    fresh = itertools.count(1_000)
    counts = set()
    for statements in range(2, 400, 3 * STRIDE):
        was_killed = killed_at(_interrupted_postgresql, url, work, statements)
        there = check_whole(PostgreSQLReceiptLog(url, KEYS))
        counts.add(there)
        assert there in states
        if not was_killed:
            break
        if there < len(RECEIPTS):  # it was done, at least in part: as many as before
            visitors = itertools.repeat(VISITOR) if work is _erase else itertools.cycle(["0" * 32, VISITOR])
            more = [make_receipt(next(fresh), subject=next(visitors)) for _ in range(len(RECEIPTS) - there)]
            asyncio.run(record(PostgreSQLStore(url, KEYS), *more))
    assert not was_killed
    assert there == min(states)
    assert len(RECEIPTS) in counts
    assert query(url, "SELECT count(*) AS n FROM consent_record")[0]["n"] == there
    if work is _erase:
        tag = Sealer(KEYS).tag(bytes.fromhex(VISITOR))
        assert query(url, "SELECT 1 FROM consent_record WHERE tag = $1", tag) == []
