"""What every store promises, asked of every store: consent.store says it in words."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Protocol, TypeVar

import pytest

from consent.errors import StoreError
from consent.receipts import Artefact, Outcome, Receipt
from consent.sqlite_log import SQLiteReceiptLog
from consent.sqlite_store import SQLiteStore
from consent.store import ReceiptLog, Store
from tests.test_receipts import SHOWN, make_receipt, receipt_id

T = TypeVar("T")


class Backend(Protocol):
    """One kind of store, on an empty database."""

    def store(self) -> Store:
        """Return another store on the database."""

    def log(self) -> ReceiptLog:
        """Return what reads it. What was appended before is found."""


class SQLiteBackend:
    """A file of its own."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "receipts.sqlite3"

    def store(self) -> SQLiteStore:
        return SQLiteStore(self.path)

    def log(self) -> SQLiteReceiptLog:
        return SQLiteReceiptLog(self.path)


@pytest.fixture(params=[SQLiteBackend], ids=["sqlite"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Backend:
    make: Callable[[Path], Backend] = request.param
    return make(tmp_path)


def using(backend: Backend, work: Callable[[Store], Coroutine[Any, Any, T]]) -> T:
    """Run ``work`` with a store, and close it."""

    async def run() -> T:
        store = backend.store()
        try:
            return await work(store)
        finally:
            await store.aclose()

    return asyncio.run(run())


def append_all(backend: Backend, *receipts: Receipt) -> list[BaseException | None]:
    """Append concurrently; return what each append raised, or ``None``."""

    async def work(store: Store) -> list[BaseException | None]:
        appends = (store.append(receipt, [SHOWN]) for receipt in receipts)
        return await asyncio.gather(*appends, return_exceptions=True)

    return using(backend, work)


def test_what_was_appended_is_found(backend: Backend) -> None:
    """By id, and in the list, with the text shown."""
    receipts = [make_receipt(number, shown_hash=SHOWN.hash) for number in range(5)]
    assert append_all(backend, *receipts) == [None] * 5
    log = backend.log()
    for receipt in receipts:
        assert log.get(receipt.receipt_id) == receipt
    assert log.get(receipt_id(99)) is None
    assert log.get("no id") is None
    assert log.artefact(SHOWN.hash) == SHOWN
    assert log.artefact("00" * 32) is None
    assert sorted(entry.receipt.receipt_id for entry in log.list(limit=10)) == [
        receipt_id(number) for number in range(5)
    ]


def test_receipts_are_leaves_in_one_order(backend: Backend) -> None:
    """The first one is leaf 0, none is left out, and the list goes from the newest to the oldest."""
    for number in range(7):
        append_all(backend, make_receipt(number))
    log = backend.log()
    listed = log.list(limit=100)
    assert [entry.leaf for entry in listed] == [6, 5, 4, 3, 2, 1, 0]
    assert [entry.receipt for entry in reversed(listed)] == [make_receipt(number) for number in range(7)]
    assert [entry.leaf for entry in log.list(limit=3)] == [6, 5, 4]
    assert [entry.leaf for entry in log.list(limit=3, before=4)] == [3, 2, 1]
    assert [entry.leaf for entry in log.list(limit=3, before=0)] == []


def test_the_list_can_be_of_one_visitor_or_one_outcome(backend: Backend) -> None:
    """Or of both."""
    append_all(backend, *(make_receipt(number) for number in range(4)))
    subject = make_receipt(2).subject
    log = backend.log()
    assert [entry.receipt for entry in log.list(limit=9, subject=subject)] == [make_receipt(2)]
    assert log.list(limit=9, subject="ab" * 16) == []
    outcome = make_receipt(2).outcome
    assert len(log.list(limit=9, outcome=outcome)) == 4
    assert log.list(limit=9, subject=subject, outcome=Outcome.CHANGED) == []


def test_appending_again_is_acknowledged_and_recorded_once(backend: Backend) -> None:
    """The same id with the same content, at the same moment, later, and through another store."""
    receipt = make_receipt(1)
    assert append_all(backend, receipt, receipt, make_receipt(2)) == [None, None, None]
    assert append_all(backend, make_receipt(3), receipt) == [None, None]
    assert [entry.leaf for entry in backend.log().list(limit=9)] == [2, 1, 0]


def test_another_receipt_under_the_same_id_is_refused(backend: Backend) -> None:
    """The first one stays as it is; the others that came with it are recorded."""
    append_all(backend, make_receipt(1))
    raised = append_all(backend, make_receipt(2), make_receipt(1, site="Another shop"), make_receipt(3))
    assert [type(error) for error in raised] == [type(None), StoreError, type(None)]
    log = backend.log()
    assert log.get(receipt_id(1)) == make_receipt(1)
    assert len(log.list(limit=9)) == 3


def test_two_receipts_under_one_id_at_the_same_moment_leave_one(backend: Backend) -> None:
    """One of them is acknowledged, and that one is there."""
    candidates = [make_receipt(1), make_receipt(1, site="Another shop")]
    raised = append_all(backend, *candidates)
    assert sorted(type(error).__name__ for error in raised) == ["NoneType", "StoreError"]
    assert backend.log().get(receipt_id(1)) == candidates[raised.index(None)]


def test_a_receipt_needs_the_text_that_it_names(backend: Backend) -> None:
    """With it or before it; once it is there, it serves any number of receipts."""

    async def work(store: Store) -> None:
        with pytest.raises(StoreError, match="the text shown is not in the store and not with the receipt"):
            await store.append(make_receipt(1, shown_hash=SHOWN.hash))
        await store.append(make_receipt(2, shown_hash=SHOWN.hash), [SHOWN])
        await store.append(make_receipt(3, shown_hash=SHOWN.hash))
        other = Artefact(content=SHOWN.content, media_type="text/plain")
        await store.append(make_receipt(4, shown_hash=SHOWN.hash), [other])

    using(backend, work)
    log = backend.log()
    assert [entry.receipt.receipt_id for entry in log.list(limit=9)] == [
        receipt_id(4),
        receipt_id(3),
        receipt_id(2),
    ]
    assert log.artefact(SHOWN.hash) == SHOWN  # the first media type stays: the content is what counts


def test_a_cancelled_caller_neither_loses_nor_doubles(backend: Backend) -> None:
    """Recorded once or not at all; appending again makes it once."""

    async def work(store: Store) -> None:
        for number in range(20):
            task = asyncio.ensure_future(store.append(make_receipt(number)))
            await asyncio.sleep(0.0001 * number)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await asyncio.gather(*(store.append(make_receipt(number)) for number in range(20)))

    using(backend, work)
    listed = backend.log().list(limit=99)
    assert sorted(entry.receipt.receipt_id for entry in listed) == [
        receipt_id(number) for number in range(20)
    ]


def test_several_stores_write_at_the_same_time(backend: Backend) -> None:
    """None loses anything of the others', and the order is one."""

    async def run() -> None:
        stores = [backend.store() for _ in range(3)]
        await asyncio.gather(
            *(
                stores[number % 3].append(make_receipt(number, shown_hash=SHOWN.hash), [SHOWN])
                for number in range(300)
            )
        )
        await asyncio.gather(*(store.aclose() for store in stores))

    asyncio.run(run())
    listed = backend.log().list(limit=1_000)
    assert [entry.leaf for entry in listed] == list(reversed(range(300)))
    assert {entry.receipt.receipt_id for entry in listed} == {receipt_id(number) for number in range(300)}


def test_closing_may_be_repeated_and_a_later_append_starts_anew(backend: Backend) -> None:
    """A store that was closed is not lost."""

    async def work(store: Store) -> None:
        await store.aclose()
        await store.append(make_receipt(1))
        await store.aclose()
        await store.aclose()
        await store.append(make_receipt(2))

    using(backend, work)
    assert len(backend.log().list(limit=9)) == 2
