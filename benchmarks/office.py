"""What the privacy office waits for: finding, counting and exporting receipts in a log of millions.

It makes a log in SQLite, sealed, in a signed tree, as the site would have, of two years and many kinds of choices; then
it asks. ``--keep`` leaves the log for the next run.

    python benchmarks/office.py --size 5000000 --folder /var/tmp/office --keep
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from consent.browsers import Device
from consent.catalog import load_catalog
from consent.categories import OPTIONAL
from consent.moments import format_moment, parse_moment
from consent.policy import Policy, Regime
from consent.receipt_export import ExportForm, ExportRows, export
from consent.receipt_search import Position, Sought
from consent.receipts import Artefact, CollectionMethod, Outcome, Receipt, RecordedSignals
from consent.sealed_receipt import SealedReceipt
from consent.sealing import LedgerKeys, Sealer
from consent.sqlite_database import LogDatabase
from consent.sqlite_log import SQLiteReceiptLog
from consent.sqlite_schema import FOUND_BY
from consent.sqlite_store import SQLiteStore
from consent.terms import terms_artefacts
from tests.test_receipts import make_receipt

KEYS = LedgerKeys(signing=(b"s" * 32,), wrapping=(b"w" * 32,), index=b"i" * 32)
FIRST_MS = parse_moment("2024-12-01T00:00:00.000Z")
DAYS = 730
LAST_DAY = format_moment(FIRST_MS + (DAYS - 1) * 86_400_000)[:10]
PLACES = [
    ("de", "DE"), ("de", "AT"), ("de", "CH"), ("en", "GB"), ("en", "IE"), ("en", "US"), ("en", "US-CA"), ("fr", "FR"),
    ("fr", "BE"), ("es", "ES"), ("it", "IT"), ("nl", "NL"), ("pl", "PL"), ("sv", "SE"), ("da", "DK"), ("fi", "FI"),
    ("pt", "PT"), ("cs", "CZ"), ("el", "GR"), ("hu", "HU"), ("ro", "RO"), ("bg", "BG"), ("hr", "HR"), ("sl", "SI"),
]  # fmt: skip
BATCH = 600


class Row:
    """A receipt to be recorded, without a caller."""

    def __init__(self, receipt: Receipt, sealer: Sealer, artefacts: Sequence[Artefact]) -> None:
        self.receipt = SealedReceipt(receipt, sealer)
        self.named = receipt.artefact_hashes
        self.artefacts = artefacts


def policies() -> list[Policy]:
    """Return the policies that were in force one after the other: each has some vendors more, and another address."""
    vendors = [each for _, each in sorted(load_catalog().vendors.items()) if each.category in OPTIONAL]
    return [
        Policy(
            site="Example shop",
            controller="Example Shop Ltd",
            contact=f"privacy{number}@example.com",
            choice_days=180 if number < 6 else 365,
            vendors=tuple(vendors[: 3 + number]),
        )
        for number in range(12)
    ]


def receipts(size: int) -> Iterator[tuple[Receipt, Sequence[Artefact]]]:
    """Yield choices in the order of time; a third are of visitors who chose before."""
    source = random.Random(5)
    terms = [(policy.version, terms_artefacts(policy)) for policy in policies()]
    texts = {
        (version, language): Artefact(
            content=f"text {version} {language}".encode(), media_type="text/html; charset=utf-8"
        )
        for version in range(12)
        for language, _ in PLACES
    }
    weights = [1 / (rank + 1) for rank in range(len(PLACES))]
    places = source.choices(PLACES, weights, k=100_003)
    patterns: dict[tuple[object, ...], Receipt] = {}
    visitors: list[str] = []
    for number in range(size):
        share = number / size
        version = int(share * 12)
        language, place = places[number % len(places)]
        draw = source.random()
        answers = (True,) * 3 if draw < 0.55 else (False,) * 3
        if draw > 0.92:
            answers = (source.random() < 0.6, source.random() < 0.6, source.random() < 0.2)
        outcome = Outcome.GIVEN if any(answers) else Outcome.REFUSED
        method = CollectionMethod.BANNER_FORM if draw < 0.92 else CollectionMethod.PREFERENCES_FORM
        if visitors and source.random() < 0.33:
            subject = source.choice(visitors)
            outcome = Outcome.CHANGED if any(answers) else Outcome.WITHDRAWN
            previous = f"{source.getrandbits(32):08x}-0000-4000-8000-{number:012x}"
        else:
            subject, previous = f"{source.getrandbits(128):032x}", None
            if len(visitors) < 200_000:
                visitors.append(subject)
            else:
                visitors[source.randrange(200_000)] = subject
        bot = number % 97 == 0
        gpc, dnt = source.random() < 0.06, source.choice((None, None, None, True))
        text = texts[version, language]
        key = (version, language, place, answers, outcome, method, gpc, dnt, bot)
        pattern = patterns.get(key)
        if pattern is None:
            pattern = patterns[key] = make_receipt(
                1,
                policy_version=terms[version][0],
                policy_hash=terms[version][1].policy.hash,
                vendor_list_hash=terms[version][1].vendor_list.hash,
                device=Device.BOT if bot else Device.DESKTOP,
                language=language,
                jurisdiction=place,
                regime=Regime.OPT_OUT if place.startswith("US") else Regime.OPT_IN,
                categories=dict(zip(OPTIONAL, answers, strict=True)),
                outcome=outcome,
                collection_method=method,
                signals=RecordedSignals(gpc=gpc, dnt=dnt, told=frozenset()),
                shown_hash=text.hash,
            )
        vendors = {"acme-video": True} if source.random() < 0.03 else {}
        yield (
            replace(
                pattern,
                receipt_id=f"{number:08x}-0000-4000-8000-{source.getrandbits(48):012x}",
                subject=subject,
                previous=previous,
                vendors=vendors,
                time=format_moment(FIRST_MS + int(share * DAYS * 86_400_000)),
            ),
            (text, terms[version][1].policy, terms[version][1].vendor_list),
        )


def fill(path: Path, size: int) -> None:
    """Make a log of this size: as the site does it, but that nobody waits for the disk, and indexes come at the end."""
    database = LogDatabase(path, KEYS, 10.0, lambda: (FIRST_MS + DAYS * 86_400_000) / 1_000)
    with database.writing() as connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA cache_size = -400000")
        for index in ("record_by_kind", "record_by_time", "record_by_subject"):
            connection.execute(f"DROP INDEX {index}")
    start = time.perf_counter()
    batch: list[Row] = []
    for number, (receipt, artefacts) in enumerate(receipts(size), 1):
        batch.append(Row(receipt, database.sealer, artefacts))
        if len(batch) == BATCH or number == size:
            database.record(batch)
            database.move_wal_if_due()
            batch.clear()
        if number % 500_000 == 0:
            print(f"{number:,} receipts, {number / (time.perf_counter() - start):,.0f} a second", flush=True)
    with database.writing() as connection:
        for statement in FOUND_BY.split(";\n"):
            if "answer" not in statement:
                connection.execute(statement)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    database.sign()
    database.close()


def timed(work: Callable[[], object], rounds: int = 15) -> dict[str, float]:
    """Return how long it takes the first time, in the middle and at the longest: milliseconds."""
    waits = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        waits.append((time.perf_counter() - start) * 1_000)
    first = waits[0]
    waits.sort()
    return {"first": round(first, 1), "median": round(waits[len(waits) // 2], 1), "max": round(waits[-1], 1)}


def questions(log: SQLiteReceiptLog) -> dict[str, Callable[[], object]]:
    """Return what is asked, by name."""
    source = random.Random(3)
    some = log.find(Sought(until_ms=FIRST_MS + 300 * 86_400_000), limit=200).receipts
    subjects = [logged.receipt.subject for logged in some]
    old = policies()[2].version
    middle = FIRST_MS + 365 * 86_400_000
    deep = Position(FIRST_MS + 40 * 86_400_000, 0)
    pages = {
        "all": Sought(),
        "outcome withdrawn": Sought(outcome="withdrawn"),
        "targeting yes": Sought(targeting=True),
        "rare place and outcome": Sought(jurisdiction="SI", outcome="withdrawn"),
        "an old version of the policy": Sought(policy_version=old),
        "signal": Sought(gpc=True, targeting=True),
        "vendor": Sought(vendor="acme-video"),
        "vendor and a rare place": Sought(vendor="acme-video", jurisdiction="SI"),
        "a range of days": Sought(since_ms=middle, until_ms=middle + 86_400_000 * 3, language="fr"),
        "nothing": Sought(policy_version="f" * 12),
        "many kinds, all of them old": Sought(outcome="given", until_ms=FIRST_MS + 5 * 86_400_000),
        "still standing": Sought(targeting=True, standing=True),
        "still standing under an old version": Sought(policy_version=old, grants=True, standing=True),
        "as of a day": Sought(targeting=True, standing=True, until_ms=middle),
    }
    asked: dict[str, Callable[[], object]] = {
        "history of a visitor": lambda: log.find(Sought(subject=source.choice(subjects)), limit=50),
        "a deep page": lambda: log.find(Sought(outcome="withdrawn"), limit=50, before=deep),
    }
    for name, sought in pages.items():
        asked[f"page: {name}"] = lambda sought=sought: log.find(sought, limit=50)  # type: ignore[misc]
    first_30 = format_moment(FIRST_MS + (DAYS - 30) * 86_400_000)[:10]
    first_90 = format_moment(FIRST_MS + (DAYS - 90) * 86_400_000)[:10]
    asked["still standing, counted"] = lambda: log.count_standing(Sought(policy_version=old, grants=True))
    asked["choices of all days by kind"] = lambda: log.totals("0000-01-01", "9999-12-31")
    asked["90 days by outcome"] = lambda: log.daily_in(first_90, LAST_DAY, lambda kind: kind.outcome)
    asked["counts of 30 days"] = lambda: log.daily(first_30, LAST_DAY)
    asked["counts of 90 days"] = lambda: log.daily(first_90, LAST_DAY)
    return asked


def exported(log: SQLiteReceiptLog, form: ExportForm, rows: ExportRows, limit: int) -> float:
    """Return rows a second of an export, of its first ``limit`` rows."""
    count = 0
    start = time.perf_counter()
    for piece in export(log, Sought(), form=form, rows=rows):
        count += piece.count(b"\n")
        if count >= limit:
            break
    return count / (time.perf_counter() - start)


def writing(path: Path, rate: float, stop: threading.Event) -> Callable[[], int]:
    """Record receipts at a rate until told to stop; return what says how many there were."""
    done = 0

    async def run() -> None:
        nonlocal done
        store = SQLiteStore(path, KEYS)
        source = random.Random(time.time())
        text = Artefact(content=b"text", media_type="text/html; charset=utf-8")
        start = time.perf_counter()
        number = 0
        waiting: set[asyncio.Task[None]] = set()
        while not stop.is_set():
            number += 1
            receipt = make_receipt(
                1,
                receipt_id=f"{source.getrandbits(32):08x}-0000-4000-8000-{source.getrandbits(48):012x}",
                subject=f"{source.getrandbits(128):032x}",
                time=format_moment(FIRST_MS + DAYS * 86_400_000 + number),
                shown_hash=text.hash,
            )
            task = asyncio.ensure_future(store.append(receipt, [text]))
            waiting.add(task)
            task.add_done_callback(waiting.discard)
            await asyncio.sleep(max(0.0, start + number / rate - time.perf_counter()))
        await asyncio.gather(*waiting)
        await store.aclose()
        done = number

    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()

    def finish() -> int:
        stop.set()
        thread.join()
        return done

    return finish


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--size", type=int, default=1_000_000, help="receipts (default: 1,000,000)")
    parser.add_argument("--folder", type=Path, required=True, help="where the log is made, or is already")
    parser.add_argument("--keep", action="store_true", help="leave the log there")
    parser.add_argument(
        "--rate", type=float, default=0.0, help="record so many a second meanwhile (default: none)"
    )
    parser.add_argument(
        "--exported", type=int, default=300_000, help="rows of each export (default: 300,000)"
    )
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    path = options.folder / f"receipts-{options.size}.sqlite3"
    if not path.exists():
        fill(path, options.size)
    machine = {"python": platform.python_version(), "sqlite": sqlite3.sqlite_version, "cores": os.cpu_count()}
    print(
        json.dumps(
            {**machine, "receipts": options.size, "bytes_per_receipt": path.stat().st_size // options.size}
        )
    )
    stop = threading.Event()
    finish = writing(path, options.rate, stop) if options.rate else lambda: 0
    began = time.perf_counter()
    with SQLiteReceiptLog(path, KEYS) as log:
        print(json.dumps({"kinds": len(log._kinds())}))
        for name, work in questions(log).items():
            print(json.dumps({name: timed(work)}), flush=True)
        for form in ExportForm:
            for rows in ExportRows:
                rate = exported(log, form, rows, options.exported)
                print(json.dumps({f"export of {rows} as {form}, rows a second": round(rate)}), flush=True)
    if written := finish():
        print(json.dumps({"recorded meanwhile, a second": round(written / (time.perf_counter() - began))}))
    if not options.keep:
        for left in options.folder.glob(f"{path.name}*"):
            left.unlink()


if __name__ == "__main__":
    main()
