"""The store in PostgreSQL, on a real server, with several stores and processes, and with a server that dies."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Sequence
from functools import partial
from itertools import pairwise
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from consent import ConsentMiddleware, postgresql_erasing, postgresql_store
from consent.append_queue import deliver
from consent.checkpoint import Verifier, open_checkpoint
from consent.choice_kind import ChoiceKind
from consent.enforcement_log import EnforcementCount, EnforcementKind
from consent.erasure import Erasure, ErasureReason
from consent.errors import (
    ConfigurationError,
    ErasureHeldError,
    OtherReceiptError,
    SealBrokenError,
    StoreFull,
    StoreUnavailable,
)
from consent.evidence import Evidence
from consent.log_export import verify_log
from consent.merkle import Tiles, consistency_proof, verify_consistency
from consent.moments import parse_moment
from consent.postgresql_log import PostgreSQLReceiptLog
from consent.postgresql_sequencer import Sequencer
from consent.postgresql_session import Session, read_address
from consent.postgresql_store import PostgreSQLStore
from consent.receipts import Receipt
from consent.retention import Past
from consent.sealing import LedgerKeys, Sealer
from consent.sqlite_log import SQLiteReceiptLog
from consent.sqlite_store import SQLiteStore
from tests.postgresql import Server, execute, new_server, query, shared_server
from tests.test_receipts import KEYS, make_receipt, receipt_id
from tests.workers import WORKERS

T = TypeVar("T")
KILL_ROUNDS = int(os.environ.get("CONSENT_KILL_ROUNDS", "3"))
SITE = "Example shop"


@pytest.fixture
def url() -> str:
    """An empty database with the tables of a log."""
    address = shared_server().new_schema()
    PostgreSQLStore(address, KEYS).prepare()
    return address


@pytest.fixture(scope="module")
def own_server() -> Iterator[Server]:
    """A server that tests may kill."""
    with new_server() as server:
        yield server


def using(store: PostgreSQLStore, work: Callable[[PostgreSQLStore], Coroutine[Any, Any, T]]) -> T:
    async def run() -> T:
        try:
            return await work(store)
        finally:
            await store.aclose()

    return asyncio.run(run())


def append_all(store: PostgreSQLStore, *receipts: Receipt) -> list[BaseException | None]:
    async def work(store: PostgreSQLStore) -> list[BaseException | None]:
        appends = (store.append(receipt) for receipt in receipts)
        return await asyncio.gather(*appends, return_exceptions=True)

    return using(store, work)


def check_whole(url: str) -> dict[str, Receipt]:
    """Verify the log from its first leaf to its checkpoint, and return its receipts."""
    with PostgreSQLReceiptLog(url, KEYS) as log, log.one_moment():
        verification = verify_log(log, log.verifiers())
        assert verification.problems == []
        assert verification.last is not None
        assert verification.last.size == verification.size
        logged = log.list(limit=1_000_000)
    receipts = {entry.receipt.receipt_id: entry.receipt for entry in logged}
    assert len(receipts) == len(logged)
    return receipts


# ---- recording


def test_a_receipt_is_committed_when_append_returns(url: str) -> None:
    """Another connection sees it at once, sealed; nothing of it is in the clear."""
    receipt = make_receipt(1)

    async def work(store: PostgreSQLStore) -> list[asyncpg.Record]:
        await store.append(receipt)
        return await asyncio.to_thread(query, url, "SELECT * FROM consent_record")

    (row,) = using(PostgreSQLStore(url, KEYS), work)
    sealer = Sealer(KEYS)
    assert receipt.subject.encode() not in row["body"]
    key = sealer.unwrap(row["wrapped_key"], sealer.tag(bytes.fromhex(receipt.subject)))
    assert sealer.open(key, row["body"], row["id_tag"])[1] == receipt.canonical_bytes()
    assert row["month"] == int(receipt.time[:7].replace("-", ""))


def test_a_database_that_does_not_keep_what_it_acknowledges_is_refused(url: str) -> None:
    """With synchronous_commit off, which a role or a database can have: nothing is recorded there."""
    url += "&synchronous_commit=off"
    with pytest.raises(StoreUnavailable, match="synchronous_commit = off"):
        PostgreSQLStore(url, KEYS).prepare()
    (raised,) = append_all(PostgreSQLStore(url, KEYS), make_receipt(1))
    assert isinstance(raised, StoreUnavailable)
    assert query(url, "SELECT count(*) FROM consent_record")[0][0] == 0


def test_receipts_that_gather_share_one_statement(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred callers, a handful of statements that record."""
    append_all(PostgreSQLStore(url, KEYS), make_receipt(999))  # now the month has a table
    statements: list[str] = []
    execute_ = asyncpg.Connection.execute

    async def counted(self: Any, statement: str, *values: Any, **options: Any) -> str:
        statements.append(statement)
        return str(await execute_(self, statement, *values, **options))

    monkeypatch.setattr(asyncpg.Connection, "execute", counted)
    assert append_all(PostgreSQLStore(url, KEYS), *(make_receipt(n) for n in range(100))) == [None] * 100
    recording = [statement for statement in statements if "INSERT INTO consent_record" in statement]
    assert 1 <= len(recording) <= 5


def test_a_full_queue_turns_callers_away(url: str) -> None:
    """They are told, and those that waited are recorded."""
    raised = append_all(PostgreSQLStore(url, KEYS, max_waiting=10), *(make_receipt(n) for n in range(30)))
    assert {type(error) for error in raised} == {type(None), StoreFull}
    recorded = {receipt_id(number) for number, error in enumerate(raised) if error is None}
    assert len(recorded) >= 10
    assert check_whole(url).keys() == recorded


def test_the_same_receipts_through_two_stores_are_leaves_once(url: str) -> None:
    """Both acknowledge each of them, at the same moment and in opposite orders."""
    receipts = [make_receipt(number) for number in range(200)]

    async def run() -> list[BaseException | None]:
        stores = [PostgreSQLStore(url, KEYS) for _ in range(2)]
        orders = [receipts, receipts[::-1]]
        appends = [
            store.append(receipt) for store, order in zip(stores, orders, strict=True) for receipt in order
        ]
        raised = await asyncio.gather(*appends, return_exceptions=True)
        await asyncio.gather(*(store.aclose() for store in stores))
        return raised

    assert asyncio.run(run()) == [None] * 400
    assert len(check_whole(url)) == 200


def test_an_id_in_two_months_at_once_is_one_leaf(url: str, caplog: pytest.LogCaptureFixture) -> None:
    """What the statement cannot see, the sequencer does: the first stays, and the log says so."""
    first, second = make_receipt(1), make_receipt(1, time="2026-04-01T00:00:00.000Z")
    with caplog.at_level(logging.ERROR):
        append_all(PostgreSQLStore(url, KEYS), first)
        append_all(PostgreSQLStore(url, KEYS), make_receipt(2, time=second.time))
        tag = Sealer(KEYS).id_tag(bytes.fromhex(second.receipt_id.replace("-", "")))
        execute(
            url,
            "INSERT INTO consent_record SELECT 202604, '\\x"
            + tag.hex()
            + "', tag, wrapped_key, outcome, site,"
            " time_ms, body, kind FROM consent_record WHERE month = 202604",
            "INSERT INTO consent_inbox (id_tag, commitment, month, day, kind)"
            " SELECT id_tag, '\\x00', 202604, '2026-04-01', kind"
            f" FROM consent_record WHERE id_tag = '\\x{tag.hex()}' AND month = 202604",
        )
        PostgreSQLStore(url, KEYS).prepare()
    assert "under an id that is a leaf already" in caplog.text
    assert check_whole(url).keys() == {receipt_id(1), receipt_id(2)}


def test_counts_are_those_of_the_leaves(url: str) -> None:
    """Choices by day, also when some were appended twice; enforcement adds up."""
    kind = EnforcementKind("2026-03-01", SITE, "script", "vendor", "targeting", "stripped", "silence", "v1")

    async def work(store: PostgreSQLStore) -> None:
        for number in (1, 2, 1, 2, 3):
            await store.append(make_receipt(number))
        await asyncio.to_thread(store.count, {kind: 2})
        await asyncio.to_thread(store.count, {kind: 3})

    using(PostgreSQLStore(url, KEYS), work)
    with PostgreSQLReceiptLog(url, KEYS) as log:
        assert sum(count.choices for count in log.daily("0000", "9999")) == 3
        assert log.enforcement("2026-03-01", "2026-03-01") == [EnforcementCount(kind, 5)]
        assert log.enforcement("2026-03-02", "9999") == []


# ---- one order


async def _ordering(store: PostgreSQLStore, url: str) -> None:
    """Bring a store to know where the log ends: its first receipt went through the inbox."""
    await store.append(make_receipt(0))
    while (await asyncio.to_thread(query, url, "SELECT size FROM consent_log"))[0]["size"] < 1:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    # Only once that is committed, a little later, this process knows it.
    await asyncio.sleep(0.2)


def test_who_has_the_turn_records_and_orders_in_one_transaction(url: str) -> None:
    """300 receipts are leaves as soon as they are acknowledged, with tiles and counts, and never were in the inbox."""
    numbers = range(1, 301)

    async def work(store: PostgreSQLStore) -> list[Any]:
        await _ordering(store, url)
        # Deleting from the inbox leaves its numbers used.
        await asyncio.gather(*(store.append(make_receipt(number)) for number in numbers))
        return [
            await asyncio.to_thread(query, url, statement)
            for statement in (
                "SELECT count(*) FROM consent_record r JOIN consent_leaf l USING (id_tag) WHERE r.xmin = l.xmin",
                "SELECT pg_sequence_last_value(pg_get_serial_sequence('consent_inbox', 'arrived')) AS arrived",
                "SELECT size, (SELECT max(number) + 1 FROM consent_leaf) AS leaves FROM consent_log",
                "SELECT sum(choices)::integer FROM consent_daily",
                "SELECT level, number FROM consent_tile ORDER BY level",
            )
        ]

    together, arrived, size, choices, tiles = using(PostgreSQLStore(url, KEYS), work)
    assert together[0][0] >= 280  # all but those that met a checkpoint being signed, at the most
    assert arrived[0]["arrived"] <= 1 + 300 - together[0][0]
    assert tuple(size[0]) == (301, 301)
    assert choices[0][0] == 301
    assert [tuple(tile) for tile in tiles] == [(0, 0), (1, 0)]
    assert len(check_whole(url)) == 301


def test_nobody_waits_for_the_turn_of_another(url: str) -> None:
    """While another connection has it, receipts are acknowledged; then they are leaves before later ones."""

    async def work(store: PostgreSQLStore) -> list[Any]:
        await _ordering(store, url)
        connection = await asyncpg.connect(url)
        async with connection.transaction():
            await connection.execute("SELECT 1 FROM consent_log FOR UPDATE")
            await asyncio.wait_for(
                asyncio.gather(*(store.append(make_receipt(number)) for number in range(1, 21))), 4
            )
            waiting = await connection.fetch("SELECT count(*) FROM consent_inbox")
            # The inbox is emptied ten times a second; this comes sooner.
            later = asyncio.ensure_future(store.append(make_receipt(21)))
        await later
        await connection.close()
        return list(waiting)

    (waiting,) = using(PostgreSQLStore(url, KEYS), work)
    assert waiting[0] == 20
    assert len(check_whole(url)) == 22
    with PostgreSQLReceiptLog(url, KEYS) as log:
        newest, *_, oldest = log.list(limit=22)
    assert newest.receipt.receipt_id == receipt_id(21)
    assert oldest.receipt.receipt_id == receipt_id(0)


def test_who_has_the_turn_does_not_bring_back_what_was_erased(url: str) -> None:
    """Nor records anything twice, alone or among new ones; another receipt under the same id is turned down."""
    old, again, new = make_receipt(1), make_receipt(2), make_receipt(3)
    other = make_receipt(2, language="fr")

    async def work(store: PostgreSQLStore) -> list[BaseException | None]:
        await _ordering(store, url)
        await asyncio.gather(store.append(old), store.append(again))
        assert len(await store.erase(old.subject)) == 1
        await store.append(make_receipt(4))
        appends = (store.append(receipt) for receipt in (old, again, new, other))
        return await asyncio.gather(*appends, return_exceptions=True)

    raised = using(PostgreSQLStore(url, KEYS), work)
    assert [type(error) for error in raised] == [type(None), type(None), type(None), OtherReceiptError]
    assert check_whole(url).keys() == {receipt_id(0), receipt_id(2), receipt_id(3), receipt_id(4)}
    assert query(url, "SELECT size FROM consent_log")[0]["size"] == 6  # and the erasure


def test_who_has_the_turn_begins_a_month(url: str) -> None:
    """Its table is made, and the text of a site may hold whatever a quote would end."""
    receipt = make_receipt(1, time="2031-01-01T00:00:00.000Z", site='L\'\\x27 \\ "shop"; --')

    async def work(store: PostgreSQLStore) -> None:
        await _ordering(store, url)
        await store.append(receipt)
        await asyncio.sleep(0.3)
        await store.append(make_receipt(2, time=receipt.time, site=receipt.site))

    using(PostgreSQLStore(url, KEYS), work)
    assert check_whole(url)[receipt.receipt_id] == receipt
    (counted,) = query(
        url,
        "SELECT k.key, choices FROM consent_daily d JOIN consent_kind k ON k.number = d.kind WHERE day = '2031-01-01'",
    )
    assert (ChoiceKind.parse(counted["key"]).site, counted["choices"]) == (receipt.site, 2)


def test_who_stands_still_in_his_turn_is_passed_over(url: str) -> None:
    """The server ends his transaction, another one goes on, and what he had begun comes to nothing."""

    async def grown() -> None:
        # It happens in the database.
        while (await asyncio.to_thread(query, url, "SELECT size FROM consent_log"))[0]["size"] < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.05)

    async def work(store: PostgreSQLStore) -> float:
        await store.append(make_receipt(1))
        connection = await asyncpg.connect(url)
        await connection.execute(
            "BEGIN; SET LOCAL idle_in_transaction_session_timeout = '1s'; SELECT 1 FROM consent_log FOR UPDATE"
        )
        await store.append(make_receipt(2))
        start = time.monotonic()
        await asyncio.wait_for(grown(), 30)
        connection.terminate()
        return time.monotonic() - start

    assert using(PostgreSQLStore(url, KEYS), work) < 8
    assert len(check_whole(url)) == 2


def test_a_turn_that_was_ended_changes_nothing(url: str) -> None:
    """Its server process is ended in the middle: leaves, tiles and size are those of before."""
    store = PostgreSQLStore(url, KEYS)

    async def work(store: PostgreSQLStore) -> None:
        await store.append(make_receipt(1))

    using(store, work)
    with contextlib.closing(Session(url, 10)) as session:
        sequencer = Sequencer(session, KEYS, None, time.time)

        def interrupted() -> None:
            with sequencer.turn() as turn:
                turn.append([(bytes(16), bytes(32), None, bytes(40))])
                pid = turn.transaction.fetch("SELECT pg_backend_pid() AS pid")[0]["pid"]
                query(url, "SELECT pg_terminate_backend($1, 5000)", pid)

        with pytest.raises(StoreUnavailable):
            interrupted()
    assert query(url, "SELECT count(*), (SELECT size FROM consent_log) FROM consent_leaf")[0] == (1, 1)
    assert len(check_whole(url)) == 1


def _write_until_killed(url: str, first: int, acknowledged: Connection) -> None:
    async def main() -> None:
        store = PostgreSQLStore(url, KEYS)

        async def client(number: int) -> None:
            while True:
                await store.append(make_receipt(number))
                acknowledged.send(number)
                number += 8

        await asyncio.gather(*(client(first + offset) for offset in range(8)))

    asyncio.run(main())


def _write_hastily_until_killed(url: str, first: int, acknowledged: Connection) -> None:
    record = postgresql_store._Writer._record

    async def hastily(writer: Any, batch: Sequence[Any]) -> None:
        deliver(batch, [None] * len(batch))
        await asyncio.sleep(0.01)
        await record(writer, batch)

    postgresql_store._Writer._record = hastily  # type: ignore[assignment]
    _write_until_killed(url, first, acknowledged)


def _start_writer(url: str, first: int, *, hastily: bool = False) -> tuple[Any, Connection]:
    mine, theirs = WORKERS.Pipe(duplex=False)
    write = _write_hastily_until_killed if hastily else _write_until_killed
    process = WORKERS.Process(target=write, args=(url, first, theirs))
    process.start()
    theirs.close()
    return process, mine


def _received(pipe: Connection) -> set[int]:
    numbers = set()
    with contextlib.suppress(EOFError):
        while pipe.poll(0.01):
            numbers.add(int(pipe.recv()))
    return numbers


def test_whatever_was_acknowledged_survives_kill_9(url: str) -> None:
    """Two processes record and put in order, one is killed at a random moment; the other takes over."""
    moment = random.Random(6)
    acknowledged: set[int] = set()
    notes: list[str] = []
    for round_ in range(KILL_ROUNDS):
        writers = [_start_writer(url, 1_000_000 * (2 * round_ + place)) for place in range(2)]
        for _, pipe in writers:
            assert pipe.poll(60)
        time.sleep(moment.random())
        for process, pipe in writers:
            os.kill(process.pid, signal.SIGKILL)
            process.join()
            acknowledged |= _received(pipe)
            time.sleep(0.3)
        PostgreSQLStore(url, KEYS).prepare()
        with PostgreSQLReceiptLog(url, KEYS) as log:
            note = log.checkpoint()
            assert note is not None
            notes.append(note)
    assert len(acknowledged) > 10 * KILL_ROUNDS
    assert {receipt_id(number) for number in acknowledged} <= check_whole(url).keys()
    check_consistent(url, notes)


def test_the_control_that_acknowledges_too_early_loses_by_kill_9(url: str) -> None:
    """So the test above can tell: here callers are told 10 ms before anything is committed."""
    for number in range(20):
        process, pipe = _start_writer(url, 1_000_000 * number, hastily=True)
        assert pipe.poll(60)
        process.kill()
        process.join()
        acknowledged = _received(pipe)
        PostgreSQLStore(url, KEYS).prepare()
        with PostgreSQLReceiptLog(url, KEYS) as log:
            there = {entry.receipt.receipt_id for entry in log.list(limit=1_000_000)}
        if not {receipt_id(number) for number in acknowledged} <= there:
            return
    pytest.fail("nothing was lost")


def check_consistent(url: str, notes: Sequence[str]) -> None:
    """Check that each checkpoint continues the one before."""
    with PostgreSQLReceiptLog(url, KEYS) as log:
        checkpoints = [open_checkpoint(note, log.verifiers()) for note in notes]
        for old, new in pairwise(checkpoints):
            tiles = Tiles(new.size, lambda level, index, width: log.tile(level, index, width) or b"")
            proof = consistency_proof(old.size, new.size, tiles.subtree)
            verify_consistency(old.size, new.size, proof, old.root, new.root)


def test_nothing_is_signed_after_an_older_state_was_restored(
    url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """This machine's file tells it from the present state; receipts are recorded all the same."""
    mark = tmp_path / "mark"
    append_all(PostgreSQLStore(url, KEYS, mark=mark), *(make_receipt(n) for n in range(3)))
    execute(
        url,
        "DELETE FROM consent_record",
        "DELETE FROM consent_leaf WHERE number > 0",
        "DELETE FROM consent_checkpoint",
        "UPDATE consent_log SET size = 1",
    )
    assert append_all(PostgreSQLStore(url, KEYS, mark=mark), make_receipt(9)) == [None]
    assert "no checkpoint is signed: the log has 2 leaves, but a checkpoint of 3 was signed" in caplog.text
    assert query(url, "SELECT * FROM consent_checkpoint") == []


def test_a_clock_that_is_set_back_makes_no_contradiction(url: str) -> None:
    """Checkpoints have no time in them, and the last one is the one of the most leaves."""
    notes: list[str] = []
    for number, now in enumerate((1_800_000_000, 1_700_000_000, 1_900_000_000, 1_800_000_000)):
        append_all(PostgreSQLStore(url, KEYS, clock=lambda now=now: float(now)), make_receipt(number))  # type: ignore[misc]
        with PostgreSQLReceiptLog(url, KEYS) as log:
            notes.append(log.checkpoint() or "")
    check_consistent(url, notes)
    assert [row["size"] for row in query(url, "SELECT size FROM consent_checkpoint ORDER BY size")] == [
        2,
        3,
        4,
    ]


def test_nothing_is_signed_of_a_log_that_was_forked_by_hand(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A leaf exchanged, with all that the tables keep of it, on a machine that has no file of its own."""
    append_all(PostgreSQLStore(url, KEYS), *(make_receipt(number) for number in range(5)))
    execute(
        url,
        "UPDATE consent_leaf SET commitment = decode(repeat('00', 32), 'hex') WHERE number = 3",
    )
    assert append_all(PostgreSQLStore(url, KEYS), make_receipt(9)) == [None]
    assert "no checkpoint is signed: the first 5 leaves are not those" in caplog.text
    assert [row["size"] for row in query(url, "SELECT size FROM consent_checkpoint")] == [5]


def test_what_was_altered_is_located(url: str) -> None:
    """One bit of a commitment, a sealed record, a tile or a checkpoint: which one it is."""
    append_all(PostgreSQLStore(url, KEYS), *(make_receipt(number) for number in range(300)))
    flip = (
        "UPDATE {table} SET {column} = set_bit({column}, {bit}, 1 - get_bit({column}, {bit})) WHERE {where}"
    )
    record = "id_tag = (SELECT id_tag FROM consent_leaf WHERE number = 270)"
    for table, column, bit, where, found in (
        (
            "consent_leaf",
            "commitment",
            77,
            "number = 270",
            "leaf 270: its record is not the one that it commits to",
        ),
        ("consent_record", "body", 900, record, "leaf 270: its record does not open"),
        ("consent_record", "wrapped_key", 300, record, "leaf 270: its record does not open"),
        (
            "consent_tile",
            "hashes",
            9_000,
            "level = 0 AND number = 0",
            "tile/0/000: hash 35 is not that of leaf 35",
        ),
        (
            "consent_tile",
            "hashes",
            100,
            "level = 1 AND number = 0",
            "tile/1/000: hash 0 is not that of leaves 0 to 255",
        ),
    ):
        statement = flip.format(table=table, column=column, bit=bit, where=where)
        execute(url, statement)
        problems = "\n".join(problems_of(url))
        assert found in problems, statement
        execute(url, statement)  # back
    assert problems_of(url) == []
    execute(url, "UPDATE consent_checkpoint SET note = replace(note, '300', '299')")
    assert any(problem.startswith("checkpoint of ") for problem in problems_of(url))


def test_what_a_receipt_is_found_by_is_held_against_it(url: str) -> None:
    """As in SQLite: whoever hides a receipt from a filter is found out, by the leaf."""
    append_all(
        PostgreSQLStore(url, KEYS), *(make_receipt(number, vendors={"acme": True}) for number in range(4))
    )
    execute(url, "INSERT INTO consent_kind (number, key) VALUES (99, '[]')")
    assert problems_of(url) == []
    record = "id_tag = (SELECT id_tag FROM consent_leaf WHERE number = 2)"
    for change, altered in (
        ("kind = 99", "kind"),
        ("kind = NULL", "kind"),
        ("outcome = 'withdrawn'", "outcome"),
        ("site = 'Another'", "site"),
        ("time_ms = time_ms + 1", "time"),
        ("vendors = NULL", "answers"),
        ("""vendors = '{"acme": false}'""", "answers"),
        ("""vendors = '{"acme": 1}'""", "answers"),
        ("vendors = '[]'", "answers"),
    ):
        (kept,) = query(
            url, f"SELECT kind, outcome, site, time_ms, vendors::text FROM consent_record WHERE {record}"
        )
        execute(url, f"UPDATE consent_record SET {change} WHERE {record}")
        assert problems_of(url) == [f"leaf 2: what its receipt is found by was altered: {altered}"], change
        kind, outcome, site, time_ms, vendors = kept
        execute(
            url,
            f"UPDATE consent_record SET kind = {kind}, outcome = '{outcome}', site = '{site}', time_ms = {time_ms},"
            f" vendors = '{vendors}' WHERE {record}",
        )


def problems_of(url: str) -> Sequence[str]:
    with PostgreSQLReceiptLog(url, KEYS) as log, log.one_moment():
        return verify_log(log, log.verifiers()).problems


# ---- forgetting


def test_a_month_that_is_past_its_time_is_dropped(url: str) -> None:
    """Its table is gone, its leaves say so, and everything else verifies; a retry does not bring it back."""
    old = [make_receipt(number, time="2025-01-15T00:00:00.000Z") for number in range(20)]
    young = [make_receipt(number, time="2025-02-15T00:00:00.000Z") for number in range(20, 23)]
    append_all(PostgreSQLStore(url, KEYS), *old, *young)
    before = parse_moment("2025-02-20T00:00:00.000Z")

    async def work(store: PostgreSQLStore) -> list[int]:
        await store.hold(young[0].subject, reason="claim")
        counts = [
            await store.expire(Past(site=SITE, before_ms=before), dry_run=True),
            await store.expire(Past(site=SITE, before_ms=before)),
        ]
        await store.append(old[0])
        return counts

    assert using(PostgreSQLStore(url, KEYS), work) == [22, 22]
    assert [row["relname"] for row in query(url, _PARTITIONS)] == ["consent_record_202502"]
    assert query(url, "SELECT count(*) FROM consent_record")[0][0] == 1
    assert check_whole(url).keys() == {young[0].receipt_id}
    with PostgreSQLReceiptLog(url, KEYS) as log:
        erasures = [Erasure.from_bytes(leaf.record) for leaf in log.leaves(23, 9) if leaf.record is not None]
    assert [erasure.reason for erasure in erasures] == [ErasureReason.RETENTION] * 2
    assert sorted(number for erasure in erasures for number in erasure.erased) == sorted(
        set(range(23)) - {entry for entry in range(23) if is_there(url, entry)}
    )


_PARTITIONS = """SELECT c.relname FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid
    WHERE inhparent = 'consent_record'::regclass ORDER BY 1"""


def is_there(url: str, leaf: int) -> bool:
    """Tell whether the record of a leaf is there."""
    return bool(
        query(
            url,
            "SELECT 1 FROM consent_leaf l JOIN consent_record r ON r.id_tag = l.id_tag WHERE number = $1",
            leaf,
        )
    )


def test_a_month_with_anything_to_keep_is_erased_row_by_row(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another site's receipts in it stay, and what is erased goes in steps."""
    monkeypatch.setattr(postgresql_erasing, "STEP_RECORDS", 7)
    mine = [make_receipt(number, time="2025-01-15T00:00:00.000Z") for number in range(20)]
    other = make_receipt(30, time="2025-01-16T00:00:00.000Z", site="Another shop")
    append_all(PostgreSQLStore(url, KEYS), *mine, other)

    async def work(store: PostgreSQLStore) -> int:
        return await store.expire(Past(site=SITE, before_ms=parse_moment("2026-01-01T00:00:00.000Z")))

    assert using(PostgreSQLStore(url, KEYS), work) == 20
    assert check_whole(url).keys() == {other.receipt_id}


def test_without_partitions_everything_else_is_the_same() -> None:
    """Engines that have none get a plain table: recorded, erased, expired, verified."""
    url = shared_server().new_schema()
    PostgreSQLStore(url, KEYS).prepare()
    execute(
        url,
        "DROP TABLE consent_record",
        "CREATE TABLE consent_record (month integer NOT NULL, id_tag bytea NOT NULL, tag bytea NOT NULL, wrapped_key"
        " bytea NOT NULL, outcome text NOT NULL, site text NOT NULL, time_ms bigint NOT NULL, body bytea NOT NULL,"
        " kind integer, vendors jsonb,"
        " PRIMARY KEY (month, id_tag))",
    )
    append_all(PostgreSQLStore(url, KEYS), *(make_receipt(number) for number in range(9)))

    async def work(store: PostgreSQLStore) -> tuple[int, int]:
        erased = await store.erase(make_receipt(3).subject)
        return len(erased[0].erased), await store.expire(Past(site=SITE, before_ms=2_000_000_000_000))

    assert using(PostgreSQLStore(url, KEYS), work) == (1, 8)
    assert check_whole(url) == {}


def test_what_an_erasure_leaves_in_files_opens_with_no_key_that_is_left(own_server: Server) -> None:
    """The row is gone; its bytes may be in the server's log, wrapped under a key that is dropped after the rotation.

    Nothing in plain text is in any file at any time.
    """
    url = own_server.new_database()
    PostgreSQLStore(url, KEYS).prepare()
    receipt = make_receipt(1)
    append_all(PostgreSQLStore(url, KEYS), receipt, make_receipt(2))
    sealer = Sealer(KEYS)
    tag = sealer.tag(bytes.fromhex(receipt.subject))
    (row,) = query(url, "SELECT wrapped_key, body FROM consent_record WHERE tag = $1", tag)
    new = LedgerKeys(signing=KEYS.signing, wrapping=(b"n" * 32, *KEYS.wrapping), index=KEYS.index)

    async def work(store: PostgreSQLStore) -> int:
        await store.erase(receipt.subject)
        return await store.rewrap()

    assert using(PostgreSQLStore(url, new), work) == 1
    execute(url, "VACUUM FULL consent_record", "CHECKPOINT")
    files = {path: path.read_bytes() for path in own_server.data.rglob("*") if path.is_file()}
    tables = b"".join(content for path, content in files.items() if "base" in path.parts)
    whole = b"".join(files.values())
    assert row["wrapped_key"] not in tables
    assert row["body"] not in tables
    assert row["wrapped_key"] in whole  # in the write-ahead log: that is what the rotation is for
    assert receipt.subject.encode() not in whole
    assert receipt.receipt_id.encode() not in whole
    left = LedgerKeys(signing=KEYS.signing, wrapping=new.wrapping[:1], index=KEYS.index)
    with pytest.raises(SealBrokenError):
        Sealer(left).unwrap(row["wrapped_key"], tag)
    with PostgreSQLReceiptLog(url, left) as log:
        assert log.get(receipt_id(2)) == make_receipt(2)


# ---- failures


def test_a_server_that_dies_is_answered_and_used_again_when_it_is_back(own_server: Server) -> None:
    """What was acknowledged before is there; what was not is not, until it is appended again."""
    url = own_server.new_database()
    store = PostgreSQLStore(url, KEYS, timeout_seconds=5)
    store.prepare()

    async def work(store: PostgreSQLStore) -> None:
        await store.append(make_receipt(1))
        await asyncio.to_thread(own_server.kill)
        with pytest.raises(StoreUnavailable, match="cannot be used"):
            await store.append(make_receipt(2))
        await asyncio.to_thread(own_server.start)
        await store.append(make_receipt(2))

    using(store, work)
    assert check_whole(url).keys() == {receipt_id(1), receipt_id(2)}


def test_a_server_that_stands_still_is_answered_in_time(own_server: Server) -> None:
    """Callers are told after the time that was set, also those that were cancelled lose nothing."""
    url = own_server.new_database()
    store = PostgreSQLStore(url, KEYS, timeout_seconds=1)
    store.prepare()

    async def work(store: PostgreSQLStore) -> float:
        await store.append(make_receipt(1))
        own_server.pause(True)
        try:
            start = time.monotonic()
            left = asyncio.ensure_future(store.append(make_receipt(2)))
            await asyncio.sleep(0.1)
            left.cancel()
            with pytest.raises(StoreUnavailable, match="does not answer in time"):
                await store.append(make_receipt(3))
            taken = time.monotonic() - start
        finally:
            own_server.pause(False)
        for number in (2, 3):
            await store.append(make_receipt(number))
        return taken

    assert using(store, work) < 6
    assert check_whole(url).keys() == {receipt_id(number) for number in (1, 2, 3)}


def test_no_password_is_in_any_message(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    """Of an address that leads nowhere, and of one that is none."""
    address = "postgresql://somebody:s3cret@127.0.0.1:1/nowhere"
    with pytest.raises(
        StoreUnavailable, match=r"postgresql://127\.0\.0\.1:1/nowhere cannot be used"
    ) as raised:
        PostgreSQLStore(address, KEYS, timeout_seconds=2).prepare()
    assert "s3cret" not in str(raised.value)
    (error,) = append_all(PostgreSQLStore(address, KEYS, timeout_seconds=2), make_receipt(1))
    assert "s3cret" not in f"{error}{caplog.text}"
    for wrong in ("mysql://a:s3cret@b/c", "s3cret"):
        with pytest.raises(ConfigurationError) as refused:
            read_address(wrong)
        assert "s3cret" not in str(refused.value)
    file = tmp_path / "address"
    file.write_text(address + "\n")
    file.chmod(0o644)
    with pytest.raises(ConfigurationError, match="everybody may read it"):
        read_address(str(file))
    file.chmod(0o600)
    assert read_address(str(file)) == address


def test_a_later_schema_is_refused(url: str) -> None:
    """And left as it is."""
    execute(url, "UPDATE consent_log SET schema_version = 99")
    with pytest.raises(StoreUnavailable, match="has schema 99, and this version of asgi-consent knows 3"):
        PostgreSQLStore(url, KEYS).prepare()


def test_a_database_without_a_log_says_so() -> None:
    """To whoever reads; the store says it to the first caller."""
    url = shared_server().new_schema()
    with pytest.raises(StoreUnavailable, match="no receipts yet: there is no log at postgresql:///postgres;"):
        PostgreSQLReceiptLog(url, KEYS)


def test_a_store_in_use_may_be_forked(url: str) -> None:
    """The child opens connections of its own, and the parent goes on with its own."""

    async def work(store: PostgreSQLStore) -> int:
        await store.append(make_receipt(1))
        await asyncio.sleep(0)
        return 0

    store = PostgreSQLStore(url, KEYS)
    asyncio.run(store.append(make_receipt(1)))
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            asyncio.run(asyncio.wait_for(store.append(make_receipt(2)), 30))
            store.close()
            os._exit(0)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    asyncio.run(store.append(make_receipt(3)))
    store.close()
    assert len(check_whole(url)) == 3


def test_receipts_can_be_in_postgresql(
    own_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A choice is recorded there, its proof is served, and no SQLite file of receipts is made.

    While the server is down, a grant is answered 503 and a refusal is honoured; afterwards grants count again.
    """
    address = tmp_path / "address"
    address.write_text(own_server.new_database())
    address.chmod(0o600)
    monkeypatch.setenv("CONSENT_DATABASE", str(address))
    monkeypatch.setenv("CONSENT_DATA", str(tmp_path / "data"))
    with TestClient(ConsentMiddleware(Starlette())) as client:

        def choose(action: str) -> int:
            headers = {"sec-fetch-site": "same-origin"}
            return client.post("/_consent/choice", json={"action": action}, headers=headers).status_code

        assert choose("accept") == 200
        deadline = time.monotonic() + 20
        while client.get("/_consent/receipt").status_code == 404 and time.monotonic() < deadline:
            time.sleep(0.1)
        evidence = Evidence.parse(client.get("/_consent/receipt").content)
        keys = client.get("/_consent/ledger/keys").text.split()
        assert evidence.verify([Verifier.parse(key) for key in keys]).size == 1
        assert choose("refuse") == 200
        own_server.kill()
        assert choose("accept") == 503
        assert choose("refuse") == 200
        assert client.get("/_consent/ledger/checkpoint").status_code == 503
        own_server.start()
        assert choose("accept") == 200
        assert client.get("/_consent/ledger/checkpoint").status_code == 200
    assert not (tmp_path / "data" / "receipts.sqlite3").exists()


# ---- the same as SQLite


def test_the_same_operations_give_the_same_answers_and_the_same_root(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Records, erasures, holds and retention, drawn at random, on both stores with the same salts."""
    source = random.Random(11)
    path = tmp_path / "receipts.sqlite3"
    kinds = ["append"] * 8 + ["again", "erase", "hold", "expire"]
    operations = [(source.choice(kinds), number, source.randrange(12)) for number in range(120)]

    async def operate(store: Any, kind: str, number: int, visitor: int) -> object:
        receipt = make_receipt(
            number, subject=f"{visitor:032x}", time=f"2025-01-10T00:00:{number % 60:02}.000Z"
        )
        if kind == "erase":
            return [list(erasure.erased) for erasure in await store.erase(receipt.subject)]
        if kind == "hold":
            return await store.hold(receipt.subject, reason="claim" if number % 2 else None)
        if kind == "expire":
            return await store.expire(Past(site=SITE, before_ms=parse_moment("2025-01-10T00:00:20.000Z")))
        for _ in range(2 if kind == "again" else 1):
            await store.append(receipt)
        return None

    async def run(store: Any) -> list[object]:
        answers: list[object] = []
        for operation in operations:
            try:
                answers.append(await operate(store, *operation))
            except ErasureHeldError as error:
                answers.append(str(error))
        await store.aclose()
        return answers

    answers = []
    for make in (partial(SQLiteStore, path), partial(PostgreSQLStore, url)):
        monkeypatch.setattr(Sealer.__init__, "__defaults__", (_Drawn().draw,))
        answers.append(asyncio.run(run(make(KEYS, clock=lambda: 1_770_000_000.0))))
    assert answers[0] == answers[1]
    with SQLiteReceiptLog(path, KEYS) as one, PostgreSQLReceiptLog(url, KEYS) as other:
        assert one.leaves(0, 999) == other.leaves(0, 999)
        assert one.list(limit=999) == other.list(limit=999) != []
        assert one.daily("0000", "9999") == other.daily("0000", "9999")
        signed = [open_checkpoint(log.checkpoint() or "", log.verifiers()) for log in (one, other)]
        assert (signed[0].size, signed[0].root) == (signed[1].size, signed[1].root)
        assert any(answer and answer is not True for answer in answers[0])


class _Drawn:
    """Random bytes, the same on every run for the same lengths in the same order. Nonces are drawn as always."""

    def __init__(self) -> None:
        self._numbers: Counter[int] = Counter()

    def draw(self, length: int) -> bytes:
        if length == 12:
            return os.urandom(length)
        self._numbers[length] += 1
        return random.Random(1_000 * self._numbers[length] + length).randbytes(length)
