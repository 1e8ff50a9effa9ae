"""How many receipts per second become durable, and how long a visitor waits for it.

For each number of concurrent clients, each client appends one receipt after another to a store and waits for the
acknowledgement: building the receipt is not counted, writing it canonically is. Beside it, in the same run and folder,
the ceiling: a bare loop on a bare connection that inserts the same rows, ready made, into the same tables with the same
durability, as many per transaction as there are clients: receipts and their keys, without tree, counts and checkpoints,
which the store writes besides.

    python benchmarks/receipts.py                 # prints a table
    python benchmarks/receipts.py --json          # one JSON object
    python benchmarks/receipts.py --seconds 5 --folder /var/lib/somewhere
    python benchmarks/receipts.py --postgresql         # the same in PostgreSQL, a server of its own in that folder
    python benchmarks/receipts.py --postgresql=postgresql://user@host/empty_database
    python benchmarks/receipts.py --proofs 1000000     # how long a proof takes in a log of that many receipts

The figures depend on how long the disk takes to sync: give a folder on the disk that is meant (the default,
the current folder, is not likely to be in memory).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import platform
import random
import sqlite3
import sys
import tempfile
import time
import uuid
from dataclasses import replace
from pathlib import Path

import asyncpg

from consent.categories import OPTIONAL
from consent.choice import Choice
from consent.policy import Policy
from consent.postgresql_schema import month_of, new_partition
from consent.postgresql_store import PostgreSQLStore
from consent.receipts import Artefact, CollectionMethod, Receipt, build_receipt
from consent.sealed_receipt import SealedReceipt
from consent.sealing import LedgerKeys, Sealer
from consent.signals import Signals
from consent.sqlite_database import WAL_COMMITS, WAL_ROWS, LogDatabase
from consent.sqlite_log import SQLiteReceiptLog
from consent.sqlite_store import SQLiteStore
from consent.store import Store

sys.path.append(str(Path(__file__).resolve().parents[1]))
from tests.postgresql import new_server

KEYS = LedgerKeys.generate()
CLIENTS = (1, 10, 100, 1_000)
SHOWN = Artefact(content=b"<form>May we count visits?</form>" * 200, media_type="text/html; charset=utf-8")
BROWSER = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"


def make_receipts(count: int) -> list[Receipt]:
    """Return receipts of as many visitors, the same on every run."""
    source = random.Random(1)
    policy = Policy(site="Example shop", controller="Example Ltd", jurisdiction="EU")
    receipts = []
    for number in range(count):
        choice = Choice(
            receipt_id=str(uuid.UUID(int=source.getrandbits(128), version=4)),
            subject=f"{source.getrandbits(128):032x}",
            made_at=1_760_000_000 + number,
            policy_version=policy.version,
            granted=frozenset(category for category in OPTIONAL if source.random() < 0.5),
        )
        receipts.append(
            build_receipt(
                policy=policy,
                signals=Signals(),
                choice=choice,
                language="en",
                shown_hash=SHOWN.hash,
                collection_method=CollectionMethod.BANNER_FORM,
                user_agent=BROWSER,
                now_ms=choice.made_at * 1_000,
            )
        )
    return receipts


async def measure_store(
    store: Store, receipts: list[Receipt], clients: int, seconds: float
) -> dict[str, float]:
    """Return receipts per second and how long their clients waited, in milliseconds."""
    await store.append(receipts[0], [SHOWN])
    waiting = iter(receipts[1:])
    waits: list[float] = []
    start = time.perf_counter()

    async def client() -> None:
        for receipt in waiting:
            asked = time.perf_counter()
            if asked - start > seconds:
                return
            await store.append(receipt, [SHOWN])
            waits.append(time.perf_counter() - asked)

    await asyncio.gather(*(client() for _ in range(clients)))
    elapsed = time.perf_counter() - start
    await store.aclose()
    waits.sort()
    return {
        "per_second": len(waits) / elapsed,
        "p50_ms": waits[len(waits) // 2] * 1_000,
        "p99_ms": waits[len(waits) * 99 // 100] * 1_000,
    }


def measure_ceiling(path: Path, receipts: list[Receipt], batch: int, seconds: float) -> float:
    """Return receipts per second of a bare loop, ``batch`` to a transaction, with the store's WAL settings."""
    SQLiteStore(path, KEYS).prepare()
    sealer = Sealer(KEYS)
    subjects, records = [], []
    for leaf, receipt in enumerate(receipts):
        row = SealedReceipt(receipt, sealer)
        subjects.append((leaf + 1, row.tag, row.wrapped_key))
        records.append(
            (leaf, row.id_tag, row.commitment, leaf + 1, row.outcome, row.site, row.time_ms, row.sealed)
        )
    connection = sqlite3.connect(path, isolation_level=None)
    for pragma in ("synchronous = FULL", "secure_delete = ON", "wal_autocheckpoint = 0"):
        connection.execute(f"PRAGMA {pragma}")
    done = commits = rows_since = 0
    start = time.perf_counter()
    while done < len(records) and time.perf_counter() - start < seconds:
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(
            "INSERT INTO subject (number, tag, wrapped_key) VALUES (?, ?, ?)", subjects[done : done + batch]
        )
        connection.executemany(
            "INSERT INTO record (leaf, id_tag, commitment, subject, outcome, site, time_ms, body)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            records[done : done + batch],
        )
        connection.execute("COMMIT")
        done += batch
        commits += 1
        rows_since += batch
        if commits >= WAL_COMMITS or rows_since >= WAL_ROWS:
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
            commits = rows_since = 0
    elapsed = time.perf_counter() - start
    connection.close()
    return min(done, len(records)) / elapsed


async def measure_postgresql_ceiling(url: str, receipts: list[Receipt], batch: int, seconds: float) -> float:
    """Return the same in PostgreSQL: one prepared statement for each transaction, records and leaves."""
    PostgreSQLStore(url, KEYS).prepare()
    sealer = Sealer(KEYS)
    rows = []
    for leaf, receipt in enumerate(receipts):
        row = SealedReceipt(receipt, sealer)
        record = (row.id_tag, row.tag, row.wrapped_key, row.outcome, row.site, row.time_ms, row.sealed)
        rows.append((month_of(receipt.time), *record, leaf, row.commitment))
    connection = await asyncpg.connect(url)
    for month in {row[0] for row in rows}:
        await connection.execute(new_partition(month))
    statement = await connection.prepare(
        "WITH leaves AS (INSERT INTO consent_leaf (month, id_tag, number, commitment) SELECT * FROM"
        " unnest($1::integer[], $2::bytea[], $9::bigint[], $10::bytea[]))"
        "INSERT INTO consent_record (month, id_tag, tag, wrapped_key, outcome, site, time_ms, body) SELECT * FROM"
        " unnest($1::integer[], $2::bytea[], $3::bytea[], $4::bytea[], $5::text[], $6::text[], $7::bigint[],"
        " $8::bytea[])"
    )
    batches = [list(zip(*rows[start : start + batch], strict=True)) for start in range(0, len(rows), batch)]
    done = 0
    start = time.perf_counter()
    for columns in batches:
        if time.perf_counter() - start > seconds:
            break
        await statement.fetch(*columns)
        done += len(columns[0])
    elapsed = time.perf_counter() - start
    await connection.close()
    return done / elapsed


class Row:
    """A receipt to be recorded, without a caller."""

    shown = None
    artefacts: tuple[Artefact, ...] = ()

    def __init__(self, receipt: Receipt, sealer: Sealer) -> None:
        self.receipt = SealedReceipt(receipt, sealer)


def measure_proofs(path: Path, size: int) -> dict[str, float]:
    """Fill a log, and return how long it takes to find a receipt with its proof, and to verify that: milliseconds."""
    database = LogDatabase(path, KEYS, 10, time.time)
    some: list[str] = []
    (pattern,) = make_receipts(1)
    source = random.Random(2)
    for start in range(0, size, 1_000):
        batch = [
            replace(
                pattern,
                receipt_id=str(uuid.UUID(int=source.getrandbits(128), version=4)),
                subject=f"{source.getrandbits(128):032x}",
                shown_hash=None,
            )
            for _ in range(min(1_000, size - start))
        ]
        some.append(source.choice(batch).receipt_id)
        database.record([Row(receipt, database.sealer) for receipt in batch])
        database.move_wal_if_due()
    database.sign()
    database.close()
    waits, checks = [], []
    with SQLiteReceiptLog(path, KEYS) as log:
        verifiers = log.verifiers()
        for receipt_id in source.sample(some, min(500, len(some))):
            start_time = time.perf_counter()
            evidence = log.evidence(receipt_id)
            waits.append(time.perf_counter() - start_time)
            assert evidence is not None
            start_time = time.perf_counter()
            evidence.verify(verifiers)
            checks.append(time.perf_counter() - start_time)
    waits.sort()
    checks.sort()
    return {
        "leaves": size,
        "bytes_per_receipt": path.stat().st_size / size,
        "proof_p50_ms": waits[len(waits) // 2] * 1_000,
        "proof_p99_ms": waits[len(waits) * 99 // 100] * 1_000,
        "verification_p50_ms": checks[len(checks) // 2] * 1_000,
    }


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--seconds", type=float, default=3.0, help="per measurement (default: 3)")
    parser.add_argument("--folder", type=Path, default=Path(), help="on the disk to measure (default: here)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument(
        "--postgresql", nargs="?", const="", metavar="URL", help="PostgreSQL instead of SQLite"
    )
    parser.add_argument(
        "--proofs", type=int, metavar="SIZE", help="measure proofs in a log of this size instead"
    )
    options = parser.parse_args()
    if options.proofs:
        with tempfile.TemporaryDirectory(dir=options.folder, prefix="receipts-benchmark-") as folder:
            print(json.dumps(measure_proofs(Path(folder, "log.sqlite3"), options.proofs)))
        return

    receipts = make_receipts(int(40_000 * options.seconds))
    results = []
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(
            tempfile.TemporaryDirectory(dir=options.folder, prefix="receipts-benchmark-")
        )
        server = stack.enter_context(new_server(options.folder)) if options.postgresql == "" else None
        for clients in CLIENTS:
            if options.postgresql is None:
                paths = [Path(folder, f"{clients}-{number}.sqlite3") for number in range(2)]
                ceiling = measure_ceiling(paths[0], receipts, clients, options.seconds)
                store: Store = SQLiteStore(paths[1], KEYS)
            else:
                urls = [server.new_database() if server else options.postgresql for _ in range(2)]
                ceiling = asyncio.run(measure_postgresql_ceiling(urls[0], receipts, clients, options.seconds))
                prepared = PostgreSQLStore(urls[1], KEYS)
                prepared.prepare()
                store = prepared
            measured = asyncio.run(measure_store(store, receipts, clients, options.seconds))
            results.append(
                {
                    "clients": clients,
                    **{name: round(value, 2) for name, value in measured.items()},
                    "ceiling_per_second": round(ceiling, 2),
                    "of_ceiling": round(measured["per_second"] / ceiling, 2),
                }
            )
    machine = {
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "cores": os.cpu_count(),
        "bytes_per_receipt": len(receipts[0].canonical_bytes()),
    }
    if options.json:
        print(json.dumps({**machine, "results": results}))
        return
    print(" · ".join(f"{name.replace('_', ' ')} {value}" for name, value in machine.items()))
    print("clients  receipts/s   p50 ms   p99 ms  bare loop/s  of bare loop")
    for row in results:
        print(
            f"{row['clients']:7} {row['per_second']:11.0f} {row['p50_ms']:8.2f} {row['p99_ms']:8.2f} "
            f"{row['ceiling_per_second']:12.0f} {row['of_ceiling']:13.2f}"
        )


if __name__ == "__main__":
    main()
