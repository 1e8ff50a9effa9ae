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

Store and bare loop take turns, three times for each number of clients, and the medians count. What a receipt costs this
process, the clients included, is told beside them: other work on the machine is in all the other figures.

The figures depend on how long the disk takes to sync: give a folder on the disk that is meant (the default,
the current folder, is not likely to be in memory).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import os
import platform
import random
import sqlite3
import statistics
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
from consent.postgresql_log import PostgreSQLReceiptLog
from consent.postgresql_schema import month_of, new_partition
from consent.postgresql_store import PostgreSQLStore
from consent.receipts import Artefact, CollectionMethod, Receipt, build_receipt
from consent.sealed_receipt import SealedReceipt
from consent.sealing import LedgerKeys, Sealer
from consent.signals import Signals
from consent.sqlite_database import WAL_COMMITS, WAL_ROWS
from consent.sqlite_log import SQLiteReceiptLog
from consent.sqlite_store import SQLiteStore
from consent.store import Store
from consent.terms import terms_artefacts

sys.path.append(str(Path(__file__).resolve().parents[1]))
from tests.postgresql import new_server

KEYS = LedgerKeys.generate()
CLIENTS = (1, 10, 100, 1_000)
SHOWN = Artefact(content=b"<form>May we count visits?</form>" * 200, media_type="text/html; charset=utf-8")
POLICY = Policy(site="Example shop", controller="Example Ltd", jurisdiction="EU")
TERMS = terms_artefacts(POLICY)
ARTEFACTS = [TERMS.policy, TERMS.vendor_list, SHOWN]
BROWSER = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"


def make_receipts(count: int) -> list[Receipt]:
    """Return receipts of as many visitors, the same on every run."""
    source = random.Random(1)
    policy = POLICY
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
                policy_hash=TERMS.policy.hash,
                vendor_list_hash=TERMS.vendor_list.hash,
                collection_method=CollectionMethod.BANNER_FORM,
                user_agent=BROWSER,
                now_ms=choice.made_at * 1_000,
            )
        )
    return receipts


async def measure_store(
    store: Store, receipts: list[Receipt], clients: int, seconds: float
) -> dict[str, float]:
    """Return receipts per second, how long their clients waited, and what this process spent for each."""
    await store.append(receipts[0], ARTEFACTS)
    waiting = iter(receipts[1:])
    waits: list[float] = []
    spent = time.process_time()
    start = time.perf_counter()

    async def client() -> None:
        for receipt in waiting:
            asked = time.perf_counter()
            if asked - start > seconds:
                return
            await store.append(receipt, ARTEFACTS)
            waits.append(time.perf_counter() - asked)

    await asyncio.gather(*(client() for _ in range(clients)))
    elapsed = time.perf_counter() - start
    spent = time.process_time() - spent
    await store.aclose()
    waits.sort()
    return {
        "per_second": len(waits) / elapsed,
        "processor_us": spent / len(waits) * 1_000_000,
        "p50_ms": waits[len(waits) // 2] * 1_000,
        "p99_ms": waits[len(waits) * 99 // 100] * 1_000,
    }


def measure_ceiling(path: Path, receipts: list[Receipt], batch: int, seconds: float) -> float:
    """Return receipts per second of a bare loop, ``batch`` to a transaction, with the store's WAL settings."""
    SQLiteStore(path, KEYS).prepare()
    sealer = Sealer(KEYS)
    subjects, records = [], []
    kinds: dict[str, int] = {}
    for leaf, receipt in enumerate(receipts):
        row = SealedReceipt(receipt, sealer)
        subjects.append((leaf + 1, row.tag, row.wrapped_key))
        kind = kinds.setdefault(row.kind.text(), len(kinds) + 1)
        records.append(
            (leaf, row.id_tag, row.commitment, leaf + 1, row.outcome, row.site, row.time_ms, row.sealed, kind)
        )
    connection = sqlite3.connect(path, isolation_level=None)
    connection.executemany("INSERT INTO kind (key, number) VALUES (?, ?)", kinds.items())
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
            "INSERT INTO record (leaf, id_tag, commitment, subject, outcome, site, time_ms, body, kind)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
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
    kinds: dict[str, int] = {}
    for leaf, receipt in enumerate(receipts):
        row = SealedReceipt(receipt, sealer)
        record = (row.id_tag, row.tag, row.wrapped_key, row.outcome, row.site, row.time_ms, row.sealed)
        kind = kinds.setdefault(row.kind.text(), len(kinds) + 1)
        rows.append((month_of(receipt.time), *record, leaf, row.commitment, kind))
    connection = await asyncpg.connect(url)
    for month in {row[0] for row in rows}:
        await connection.execute(new_partition(month))
    await connection.executemany(
        "INSERT INTO consent_kind (key, number) VALUES ($1, $2)", list(kinds.items())
    )
    statement = await connection.prepare(
        "WITH leaves AS (INSERT INTO consent_leaf (month, id_tag, number, commitment) SELECT * FROM"
        " unnest($1::integer[], $2::bytea[], $9::bigint[], $10::bytea[]))"
        "INSERT INTO consent_record (month, id_tag, tag, wrapped_key, outcome, site, time_ms, body, kind) SELECT * FROM"
        " unnest($1::integer[], $2::bytea[], $3::bytea[], $4::bytea[], $5::text[], $6::text[], $7::bigint[],"
        " $8::bytea[], $11::integer[])"
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


async def fill(store: Store, size: int) -> list[str]:
    """Record receipts of as many visitors; return the ids of a thousandth of them, the first and the last included."""
    (pattern,) = make_receipts(1)
    source = random.Random(2)
    some: list[str] = []
    for start in range(0, size, 1_000):
        batch = [
            replace(
                pattern,
                receipt_id=str(uuid.UUID(int=source.getrandbits(128), version=4)),
                subject=f"{source.getrandbits(128):032x}",
            )
            for _ in range(min(1_000, size - start))
        ]
        await asyncio.gather(*(store.append(receipt, ARTEFACTS) for receipt in batch))
        some.append(batch[0].receipt_id if start == 0 else source.choice(batch).receipt_id)
    await store.aclose()
    return [*some, batch[-1].receipt_id]


def measure_proofs(log: SQLiteReceiptLog | PostgreSQLReceiptLog, ids: list[str]) -> dict[str, float]:
    """Return how long it takes to find a receipt with its proof, and to verify that: milliseconds."""
    waits, checks = [], []
    verifiers = log.verifiers()
    sample = [ids[0], ids[-1], *random.Random(3).sample(ids, min(1_000, len(ids)))]
    for receipt_id in sample:
        start = time.perf_counter()
        evidence = log.evidence(receipt_id)
        waits.append(time.perf_counter() - start)
        assert evidence is not None
        start = time.perf_counter()
        evidence.verify(verifiers)
        checks.append(time.perf_counter() - start)
    waits.sort()
    checks.sort()
    return {
        "proofs": len(waits),
        "proof_p50_ms": round(waits[len(waits) // 2] * 1_000, 3),
        "proof_p99_ms": round(waits[len(waits) * 99 // 100] * 1_000, 3),
        "verification_p50_ms": round(checks[len(checks) // 2] * 1_000, 3),
    }


def proofs(folder: Path, url: str | None, size: int) -> dict[str, float]:
    """Fill a log, and measure proofs of what is in it."""
    if url is None:
        path = Path(folder, "log.sqlite3")
        ids = asyncio.run(fill(SQLiteStore(path, KEYS), size))
        with SQLiteReceiptLog(path, KEYS) as log:
            measured = measure_proofs(log, ids)
        return {"leaves": size, "bytes_per_receipt": round(path.stat().st_size / size), **measured}
    PostgreSQLStore(url, KEYS).prepare()
    ids = asyncio.run(fill(PostgreSQLStore(url, KEYS), size))
    with PostgreSQLReceiptLog(url, KEYS) as replica:
        return {"leaves": size, **measure_proofs(replica, ids)}


def middle(values: list[float]) -> float:
    """Return the median, two figures after the point."""
    return round(statistics.median(values), 2)


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--seconds", type=float, default=3.0, help="per measurement (default: 3)")
    parser.add_argument(
        "--rounds", type=int, default=3, help="measurements of each, in turns: the median counts (default: 3)"
    )
    parser.add_argument("--folder", type=Path, default=Path(), help="on the disk to measure (default: here)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument(
        "--postgresql", nargs="?", const="", metavar="URL", help="PostgreSQL instead of SQLite"
    )
    parser.add_argument(
        "--proofs", type=int, metavar="SIZE", help="measure proofs in a log of this size instead"
    )
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = Path(
            stack.enter_context(tempfile.TemporaryDirectory(dir=options.folder, prefix="receipts-benchmark-"))
        )
        server = stack.enter_context(new_server(options.folder)) if options.postgresql == "" else None
        if options.proofs:
            url = server.new_database() if server else options.postgresql
            print(json.dumps(proofs(folder, url, options.proofs)))
            return
        receipts = make_receipts(int(40_000 * options.seconds))
        gc.freeze()  # so many receipts in memory are the benchmark's doing: nobody looks through them for garbage
        results = []
        for clients in CLIENTS:
            rounds: list[dict[str, float]] = []
            for number in range(options.rounds):
                if options.postgresql is None:
                    paths = [folder / f"{clients}-{number}-{kind}.sqlite3" for kind in ("bare", "store")]
                    ceiling = measure_ceiling(paths[0], receipts, clients, options.seconds)
                    store: Store = SQLiteStore(paths[1], KEYS)
                else:
                    urls = [server.new_database() if server else options.postgresql for _ in range(2)]
                    ceiling = asyncio.run(
                        measure_postgresql_ceiling(urls[0], receipts, clients, options.seconds)
                    )
                    PostgreSQLStore(urls[1], KEYS).prepare()
                    store = PostgreSQLStore(urls[1], KEYS)
                measured = asyncio.run(measure_store(store, receipts, clients, options.seconds))
                rounds.append(
                    {
                        **measured,
                        "ceiling_per_second": ceiling,
                        "of_ceiling": measured["per_second"] / ceiling,
                    }
                )
            results.append(
                {"clients": clients, **{name: middle([row[name] for row in rounds]) for name in rounds[0]}}
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
    print("clients  receipts/s   p50 ms   p99 ms  bare loop/s  of bare loop  processor µs")
    for row in results:
        print(
            f"{row['clients']:7} {row['per_second']:11.0f} {row['p50_ms']:8.2f} {row['p99_ms']:8.2f} "
            f"{row['ceiling_per_second']:12.0f} {row['of_ceiling']:13.2f} {row['processor_us']:13.1f}"
        )


if __name__ == "__main__":
    main()
