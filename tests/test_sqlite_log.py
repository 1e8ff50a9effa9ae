"""Reading receipts from SQLite: what is there, in order, and only what was recorded."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from consent.errors import InvalidReceiptError, SealBrokenError, StoreUnavailable
from consent.receipts import Outcome
from consent.sqlite_log import SQLiteReceiptLog
from consent.sqlite_store import SQLiteStore
from consent.store import ReceiptLog
from tests.test_receipts import KEYS, SHOWN, make_receipt, receipt_id
from tests.test_sqlite_store import append_all


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "receipts.sqlite3"


@pytest.fixture
def full_path(path: Path) -> Path:
    """A database with receipts 1 to 30, of three visitors, every fifth a consent."""
    receipts = [
        make_receipt(
            number,
            shown_hash=SHOWN.hash,
            subject=f"{number % 3:032x}",
            outcome=Outcome.GIVEN if number % 5 == 0 else Outcome.REFUSED,
        )
        for number in range(1, 31)
    ]

    async def run() -> None:
        store = SQLiteStore(path, KEYS)
        for receipt in receipts:
            await store.append(receipt, [SHOWN])
        await store.aclose()

    asyncio.run(run())
    return path


def numbers(log: SQLiteReceiptLog, **options: Any) -> list[int]:
    return [int(logged.receipt.receipt_id[:8], 16) for logged in log.list(**options)]


def test_the_log_lists_the_newest_first_and_pages_on(full_path: Path) -> None:
    """The position of the last one of a page starts the next."""
    with SQLiteReceiptLog(full_path, KEYS) as log:
        first = log.list(limit=4)
        assert [logged.leaf for logged in first] == [29, 28, 27, 26]
        assert numbers(log, limit=4) == [30, 29, 28, 27]
        assert numbers(log, limit=4, before=26) == [26, 25, 24, 23]
        assert numbers(log, limit=4, before=2) == [2, 1]
        assert numbers(log, limit=4, before=0) == []


def test_the_log_finds_by_id(full_path: Path) -> None:
    """And an id that is none finds nothing."""
    with SQLiteReceiptLog(full_path, KEYS) as log:
        receipt = log.get(receipt_id(7))
        assert receipt is not None
        assert receipt.receipt_id == receipt_id(7)
        assert [log.get(text) for text in (receipt_id(99), "", "7", "' OR 1=1 --")] == [None] * 4
        assert log.artefact(SHOWN.hash) == SHOWN
        assert [log.artefact(text) for text in ("00" * 32, "", "zz")] == [None] * 3
        with pytest.raises(ValueError, match="limit must be 1 or more"):
            log.list(limit=0)
        satisfied: ReceiptLog = log
        assert satisfied is log


@pytest.mark.parametrize(
    ("narrowed", "step"),
    [
        ({}, "SCAN record"),
        ({"before": 9}, "SEARCH record USING INTEGER PRIMARY KEY"),
    ],
)
def test_no_listing_sorts_or_looks_through_the_table(
    full_path: Path, narrowed: dict[str, Any], step: str
) -> None:
    """Every way of listing has an index that is in order already; without a condition it is the table's own."""
    statements: list[str] = []
    with SQLiteReceiptLog(full_path, KEYS) as log:
        log._connection.set_trace_callback(statements.append)
        log.list(limit=20, **narrowed)
    (statement,) = statements
    with contextlib.closing(sqlite3.connect(full_path)) as connection:
        plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}")]
    assert plan[0].startswith(step)
    # Beside it the visitor's row is looked up, by its number or its tag, and nothing else is done.
    looked_up = ("SCALAR SUBQUERY", "SEARCH subject USING")
    assert [detail for detail in plan[1:] if not detail.startswith(looked_up)] == []


def test_the_log_reads_while_the_store_writes(path: Path) -> None:
    """A reader that was open before sees what is recorded after."""
    store = SQLiteStore(path, KEYS)
    append_all(store, make_receipt(1), close=False)
    with SQLiteReceiptLog(path, KEYS) as log:
        assert numbers(log, limit=9) == [1]
        append_all(store, make_receipt(2), close=False)
        assert numbers(log, limit=9) == [2, 1]
        store.close()
        assert numbers(log, limit=9) == [2, 1]


def test_the_log_cannot_write(full_path: Path) -> None:
    """Its connection is a read-only one."""
    with (
        SQLiteReceiptLog(full_path, KEYS) as log,
        pytest.raises(sqlite3.OperationalError, match="attempt to write a readonly database"),
    ):
        log._connection.execute("DELETE FROM record")


def test_a_log_without_a_database_says_so(path: Path) -> None:
    """Neither a missing nor a still empty file is made by looking."""
    with pytest.raises(StoreUnavailable, match="no receipts yet: there is no database at"):
        SQLiteReceiptLog(path, KEYS)
    assert not path.exists()
    path.touch()
    with pytest.raises(StoreUnavailable, match="no receipts yet"):
        SQLiteReceiptLog(path, KEYS)
    assert path.read_bytes() == b""


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        (
            "UPDATE record SET body = x'00' WHERE leaf = 29",
            "leaf 29 does not open: what was sealed was altered",
        ),
        (
            "UPDATE record SET body = (SELECT body FROM record WHERE leaf = 3) WHERE leaf = 29",
            "leaf 29 does not open",
        ),
        ("UPDATE record SET subject = subject + 1 WHERE leaf = 29", "leaf 29 does not open"),
        (
            "UPDATE record SET subject = NULL WHERE leaf = 29",
            "leaf 29 does not open: its visitor's key is missing",
        ),
        (
            "UPDATE record SET commitment = zeroblob(32) WHERE leaf = 29",
            "leaf 29 was altered: it is not the one",
        ),
        ("UPDATE record SET id_tag = zeroblob(16) WHERE leaf = 29", "leaf 29 does not open"),
    ],
)
def test_an_altered_receipt_is_not_shown_as_genuine(full_path: Path, statement: str, message: str) -> None:
    """What was changed behind the store's back is noticed when it is read."""
    with contextlib.closing(sqlite3.connect(full_path, isolation_level=None)) as connection:
        assert connection.execute(statement).rowcount == 1
    with SQLiteReceiptLog(full_path, KEYS) as log:
        with pytest.raises((InvalidReceiptError, SealBrokenError), match=message):
            log.list(limit=1)
        assert numbers(log, limit=1, before=29) == [29]


def test_an_altered_artefact_is_not_shown_as_genuine(full_path: Path) -> None:
    """The content must have the SHA-256 that it is kept under."""
    with contextlib.closing(sqlite3.connect(full_path, isolation_level=None)) as connection:
        connection.execute("UPDATE artefact SET content = x'00'")
    with SQLiteReceiptLog(full_path, KEYS) as log, pytest.raises(InvalidReceiptError, match="was altered"):
        log.artefact(SHOWN.hash)
