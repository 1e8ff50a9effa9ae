"""The log that the privacy office's benchmark asks: choices of two years and many kinds, in SQLite or PostgreSQL.

Both have the same receipts, sealed, in a signed tree, as the site would have them. The one in PostgreSQL is a copy of
the other, row by row.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import re
import sqlite3
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import asyncpg

from consent.browsers import Device
from consent.catalog import load_catalog
from consent.categories import OPTIONAL
from consent.moments import format_moment, parse_moment
from consent.policy import Policy, Regime
from consent.postgresql_schema import FOUND_BY as POSTGRESQL_FOUND_BY
from consent.postgresql_schema import month_of, new_partition
from consent.postgresql_store import PostgreSQLStore
from consent.receipts import Artefact, CollectionMethod, Outcome, Receipt, RecordedSignals
from consent.sealed_receipt import SealedReceipt
from consent.sealing import LedgerKeys, Sealer
from consent.sqlite_database import LogDatabase
from consent.sqlite_schema import FOUND_BY
from consent.terms import terms_artefacts
from tests.test_receipts import make_receipt

KEYS = LedgerKeys(signing=(b"s" * 32,), wrapping=(b"w" * 32,), index=b"i" * 32)
FIRST_MS = parse_moment("2024-12-01T00:00:00.000Z")
DAYS = 730
END_MS = FIRST_MS + DAYS * 86_400_000
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


def newest_receipts() -> Iterator[tuple[Receipt, Sequence[Artefact]]]:
    """Yield choices that come after all others, for ever: as the last ones were, of other visitors."""
    source = random.Random()
    last = list(itertools.islice(receipts(6_000), 5_500, None))
    for number, (pattern, artefacts) in enumerate(itertools.cycle(last)):
        yield (
            replace(
                pattern,
                receipt_id=f"{source.getrandbits(32):08x}-0000-4000-8000-{source.getrandbits(48):012x}",
                subject=f"{source.getrandbits(128):032x}",
                time=format_moment(END_MS + number),
            ),
            artefacts,
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
            print(
                f"{number:,} receipts, {number / (time.perf_counter() - start):,.0f} a second",
                file=sys.stderr,
            )
    with database.writing() as connection:
        for statement in FOUND_BY.split(";\n"):
            if "answer" not in statement:
                connection.execute(statement)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    database.sign()
    database.close()


def copy_to_postgresql(path: Path, url: str) -> None:
    """Copy a log in SQLite into a database that has none: the same leaves with their records, sealed as they are."""
    PostgreSQLStore(url, KEYS).prepare()
    if asyncio.run(_size(url)):
        return
    source = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)
    try:
        asyncio.run(_copy(source, url))
    finally:
        source.close()


async def _size(url: str) -> int:
    target = await asyncpg.connect(url)
    try:
        return int(await target.fetchval("SELECT size FROM consent_log"))
    finally:
        await target.close()


async def _copy(source: sqlite3.Connection, url: str) -> None:
    target = await asyncpg.connect(url)
    indexes = re.findall("consent_record_by_[a-z_]+", POSTGRESQL_FOUND_BY)
    await target.execute(
        f"DROP INDEX {', '.join(indexes)};"
        " ALTER TABLE consent_record DROP CONSTRAINT consent_record_pkey;"
        " ALTER TABLE consent_leaf DROP CONSTRAINT consent_leaf_id_tag_key, DROP CONSTRAINT consent_leaf_pkey"
    )
    months: dict[int, int] = {}
    start = time.perf_counter()
    async with target.transaction():
        for table in ("artefact", "kind", "daily", "tile"):
            all_rows = source.execute(f"SELECT * FROM {table}")
            await target.copy_records_to_table(f"consent_{table}", records=all_rows)
        signed = source.execute("SELECT size, day, note FROM checkpoint")
        await target.copy_records_to_table("consent_checkpoint", records=signed)
    pages = source.execute(_RECORDS)
    size = 0
    while rows := pages.fetchmany(50_000):
        records = []
        for _, id_tag, _, time_ms, *more in rows:
            day = time_ms // 86_400_000
            month = months.get(day)
            if month is None:
                month = months[day] = month_of(format_moment(time_ms))
                await target.execute(new_partition(month))
            records.append((id_tag, month, time_ms, *more))
        leaves = [
            (leaf, id_tag, commitment, months[time_ms // 86_400_000])
            for leaf, id_tag, commitment, time_ms, *_ in rows
        ]
        await target.copy_records_to_table(
            "consent_leaf", records=leaves, columns=["number", "id_tag", "commitment", "month"]
        )
        await target.copy_records_to_table("consent_record", records=records, columns=_RECORD_COLUMNS)
        size += len(rows)
        if size % 500_000 == 0:
            print(f"{size:,} copied, {size / (time.perf_counter() - start):,.0f} a second", file=sys.stderr)
    (origin,) = source.execute("SELECT origin FROM log").fetchone()
    await target.execute("UPDATE consent_log SET origin = $1, size = $2", origin, size)
    await target.execute(
        "SELECT setval(pg_get_serial_sequence('consent_kind', 'number'), (SELECT max(number) FROM consent_kind));"
        " ALTER TABLE consent_leaf ADD PRIMARY KEY (number), ADD UNIQUE (id_tag);"
        f" ALTER TABLE consent_record ADD PRIMARY KEY (month, id_tag); {POSTGRESQL_FOUND_BY}"
    )
    await target.execute("VACUUM ANALYZE")
    await target.close()


_RECORD_COLUMNS = [
    "id_tag", "month", "time_ms", "tag", "wrapped_key", "outcome", "site", "body", "kind", "vendors",
]  # fmt: skip
_RECORDS = """SELECT leaf, id_tag, commitment, time_ms, subject.tag, subject.wrapped_key, outcome, site, body, kind,
    (SELECT json_group_object(vendor, json(iif(said, 'true', 'false'))) FROM answer
        WHERE answer.leaf = record.leaf HAVING count(*))
    FROM record JOIN subject ON subject.number = record.subject ORDER BY leaf"""
