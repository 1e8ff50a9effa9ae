"""PostgreSQL as sites have it: a pooler in transaction mode in front of it, a streaming replica behind it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncpg
import pytest
from click.testing import CliRunner

from consent.cli import main
from consent.data_folder import DataFolder
from consent.enforcement_log import EnforcementKind
from consent.errors import ErasureHeldError, StoreError
from consent.log_export import verify_log
from consent.postgresql_log import PostgreSQLReceiptLog
from consent.postgresql_store import PostgreSQLStore
from consent.receipts import Receipt
from consent.retention import Past
from tests.pgbouncer import pooled
from tests.postgresql import Server, execute, new_server, query, shared_server
from tests.test_postgresql_store import append_all, check_whole
from tests.test_receipts import ARTEFACTS, KEYS, NAMING_TERMS, SHOWN, make_receipt, receipt_id

SERVERS = 2


@pytest.fixture(scope="module")
def pooler() -> Iterator[Callable[[], tuple[str, str]]]:
    """Makes an empty database; returns its address behind the pooler, and its own."""
    server = shared_server()
    with pooled(server, "none", servers=SERVERS) as address:

        def make() -> tuple[str, str]:
            direct = server.new_database()
            name = direct.partition("@/")[2].partition("?")[0]
            return address.replace("/none?", f"/{name}?"), direct

        yield make


def test_the_pooler_gives_one_session_to_many(pooler: Callable[[], tuple[str, str]]) -> None:
    """So whatever counted on a session of its own would fail behind it: the control of the next test."""
    address, _ = pooler()

    async def run() -> None:
        connections = [await asyncpg.connect(address, statement_cache_size=0) for _ in range(5)]
        pids = set()
        for number, connection in enumerate(connections):
            async with connection.transaction():
                pids.add(await connection.fetchval("SELECT pg_backend_pid()"))
                # A lock of a session, which each of five clients gets.
                assert await connection.fetchval("SELECT pg_try_advisory_lock(1)") is True, number
        assert len(pids) == 1
        for connection in connections:
            await connection.close()

    asyncio.run(run())


def test_a_log_behind_a_pooler_is_a_log(pooler: Callable[[], tuple[str, str]]) -> None:
    """Several stores record, repeat, hold, erase, expire, rotate and count over two sessions; the log is whole."""
    address, direct = pooler()
    receipts = [
        make_receipt(number, subject=f"{number % 50:032x}", shown_hash=SHOWN.hash, **NAMING_TERMS)
        for number in range(400)
    ]
    at_once: list[int] = []

    async def watch(connection: asyncpg.Connection) -> None:
        while True:
            count = await connection.fetchval(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
                " AND backend_type = 'client backend'"
            )
            at_once.append(count)
            await asyncio.sleep(0.01)

    async def run() -> None:
        watching = await asyncpg.connect(direct)
        watcher = asyncio.create_task(watch(watching))
        stores = [PostgreSQLStore(address, KEYS) for _ in range(4)]
        await asyncio.to_thread(stores[0].prepare)
        await asyncio.gather(
            *(stores[number % 4].append(receipt, ARTEFACTS) for number, receipt in enumerate(receipts)),
            *(stores[number % 3].append(receipt, ARTEFACTS) for number, receipt in enumerate(receipts[:100])),
        )
        with pytest.raises(StoreError, match="another receipt is recorded under this id"):
            await stores[1].append(make_receipt(1, site="Another shop"))
        assert await stores[1].hold(receipts[3].subject, reason="case 1")
        with pytest.raises(ErasureHeldError):
            await stores[2].erase(receipts[3].subject)
        (erasure,) = await stores[2].erase(receipts[7].subject)
        assert len(erasure.erased) == 8
        before = 2_000_000_000_000
        assert await stores[3].expire(Past(site="Another shop", before_ms=before)) == 0
        assert await stores[3].expire(Past(site="Example shop", before_ms=before), dry_run=True) == 384
        assert await stores[0].rewrap() == 0
        kind = EnforcementKind(
            "2026-03-01", "Example shop", "r", "v", "targeting", "stripped", "refused", "0" * 12
        )
        await asyncio.to_thread(stores[0].count, {kind: 3})
        await asyncio.gather(*(store.aclose() for store in stores))
        watcher.cancel()
        await watching.close()

    asyncio.run(run())
    assert 1 <= max(at_once) <= 2 * SERVERS  # one that is replaced is there for a moment longer
    for place in (address, direct):
        assert check_whole(place).keys() == {receipt_id(n) for n in range(400) if n % 50 != 7}
    with PostgreSQLReceiptLog(address, KEYS) as log:
        evidence = log.evidence(receipt_id(1))
        assert evidence is not None
        assert evidence.verify(log.verifiers()).size == 401
        assert [count.times for count in log.enforcement("2026-03-01", "2026-03-01")] == [3]


# ---- a replica


@pytest.fixture(scope="module")
def primary() -> Iterator[Server]:
    with new_server() as server:
        yield server


def until_there(log: PostgreSQLReceiptLog, receipt: Receipt) -> None:
    """Wait until a replica has got a receipt, and a checkpoint over it."""
    deadline = time.monotonic() + 20
    while log.evidence(receipt.receipt_id) is None:
        assert time.monotonic() < deadline, "the replica does not follow"
        time.sleep(0.02)


def test_the_office_reads_a_replica(
    primary: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It follows, nothing is written to it, and it answers while the primary is away.

    Where it is made the primary although it lagged, what was signed before is held against it, and no checkpoint is
    signed that contradicts it.
    """
    url = primary.new_database()
    name = url.partition("@/")[2].partition("?")[0]
    folder = DataFolder(tmp_path)
    keys = folder.ledger_keys()
    mark = tmp_path / "postgresql.checkpoint"
    PostgreSQLStore(url, keys).prepare()
    with new_server(primary=primary) as replica:
        read = replica.url(name)
        assert query(read, "SELECT pg_is_in_recovery() AS follows")[0]["follows"] is True
        append_all(PostgreSQLStore(url, keys, mark=mark), *(make_receipt(number) for number in range(5)))
        with PostgreSQLReceiptLog(read, keys) as log:
            until_there(log, make_receipt(4))
            assert {entry.receipt for entry in log.list(limit=9)} == {make_receipt(n) for n in range(5)}
            with log.one_moment():
                assert verify_log(log, log.verifiers()).problems == []
        with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
            execute(read, "DELETE FROM consent_record")

        execute(read, "SELECT pg_wal_replay_pause()")
        append_all(PostgreSQLStore(url, keys, mark=mark), make_receipt(5))
        with PostgreSQLReceiptLog(read, keys) as log:
            assert log.get(receipt_id(5)) is None  # not there yet
        primary.kill()
        monkeypatch.setenv("CONSENT_DATABASE", url)
        monkeypatch.setenv("CONSENT_READ_DATABASE", read)
        monkeypatch.setenv("CONSENT_DATA", str(tmp_path))
        for arguments in (
            ["office", "receipts", "show", receipt_id(4), "--reason", "a test"],
            ["office", "receipts", "--limit", "2"],
        ):
            assert CliRunner().invoke(main, arguments).exit_code == 0

        # The lost receipt was received, and is thrown away with what the replica did not replay in time.
        (stopped,) = query(read, "SELECT pg_last_wal_replay_lsn()::text AS at")
        replica.kill()
        replica.become_primary(stopped["at"])
        assert append_all(PostgreSQLStore(read, keys, mark=mark), make_receipt(6)) == [None]
        assert "no checkpoint is signed: the first 6 leaves are not those" in caplog.text
        with PostgreSQLReceiptLog(read, keys) as log:
            assert log.get(receipt_id(5)) is None
            assert log.get(receipt_id(6)) == make_receipt(6)
            assert log.evidence(receipt_id(6)) is None
