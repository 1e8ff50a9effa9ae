"""Finding receipts: asked of every store, and held against the receipts themselves."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from consent import postgresql_finding, postgresql_migration, sqlite_finding, sqlite_migration
from consent.browsers import Device
from consent.categories import Category
from consent.choice_kind import ChoiceKind, kind_of
from consent.errors import InvalidReceiptError
from consent.log_rows import uuid_bytes
from consent.moments import format_moment, parse_moment
from consent.policy import Regime
from consent.postgresql_log import PostgreSQLReceiptLog
from consent.postgresql_store import PostgreSQLStore
from consent.receipt_search import MAX_PAGE, Position, ReceiptFinder, Sought, numbered_kinds
from consent.receipts import CollectionMethod, Outcome, Receipt, RecordedSignals
from consent.sealing import Sealer
from consent.sqlite_log import SQLiteReceiptLog
from consent.sqlite_store import SQLiteStore
from tests.postgresql import execute, query, shared_server
from tests.test_receipts import KEYS, SHOWN, make_receipt
from tests.test_store_contract import Backend, PostgreSQLBackend, SQLiteBackend, WholeStore, using

COUNT = 240
ERASED = f"{3:032x}"


def some_receipts(count: int = COUNT, subjects: int = 40) -> list[Receipt]:
    """Return receipts over three months that differ in all that they are found by."""
    source = random.Random(7)
    receipts = []
    for number in range(count):
        answers = {category: source.random() < 0.5 for category in list(Category)[1:]}
        vendors = {
            vendor: source.random() < 0.5 for vendor in ("acme-video", "acme-chat") if source.random() < 0.15
        }
        receipts.append(
            make_receipt(
                number,
                subject=f"{source.randrange(subjects):032x}",
                time=format_moment(1_767_225_600_000 + number * 32_000_000 + source.randrange(1_000)),
                site=source.choice(["Example shop", "Example blog"]),
                regime=source.choice([Regime.OPT_IN, Regime.OPT_OUT]),
                jurisdiction=source.choice(["DE", "FR", ""]),
                policy_version=source.choice(["a" * 12, "b" * 12]),
                language=source.choice(["de", "fr", "en"]),
                shown_hash=source.choice([SHOWN.hash, None]),
                outcome=source.choice(list(Outcome)),
                categories=answers,
                vendors=vendors,
                signals=RecordedSignals(
                    gpc=source.random() < 0.2, dnt=source.choice([None, True, False]), told=frozenset()
                ),
                collection_method=source.choice(list(CollectionMethod)),
                device=source.choice(list(Device)),
                **dict.fromkeys(
                    ("policy_hash", "vendor_list_hash"), SHOWN.hash if source.random() < 0.5 else None
                ),
            )
        )
    return receipts


RECEIPTS = some_receipts()


@pytest.fixture(scope="module", params=[SQLiteBackend, PostgreSQLBackend], ids=["sqlite", "postgresql"])
def full(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Backend:
    """A store with all receipts, of whom one visitor was erased."""
    backend: Backend = request.param(tmp_path_factory.mktemp("search"))

    async def work(store: WholeStore) -> None:
        await asyncio.gather(*(store.append(receipt, [SHOWN]) for receipt in RECEIPTS))
        await store.erase(ERASED)

    using(backend, work)
    return backend


@pytest.fixture(scope="module")
def log(full: Backend) -> Iterator[Any]:
    with full.log() as opened:  # type: ignore[attr-defined]
        yield opened


def test_kinds_are_read_in_parts_and_those_that_come_late_as_well(
    full: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No thread waits until thousands are parsed. In PostgreSQL a lower number may be committed after a higher one."""
    parts: list[int] = []

    def numbered(numbers: str, keys: str) -> Mapping[int, ChoiceKind]:
        parts.append(numbers.count(",") + 1)
        return numbered_kinds(numbers, keys)

    for module in ("sqlite_log", "postgresql_log"):
        monkeypatch.setattr(f"consent.{module}.KINDS_AT_ONCE", 7)
        monkeypatch.setattr(f"consent.{module}.numbered_kinds", numbered)
    all_kinds = {kind_of(receipt) for receipt in RECEIPTS}
    with full.log() as log:  # type: ignore[attr-defined]
        log.read_ahead()
        known = log._known_kinds
        assert (set(known.values()), len(known) > 70) == (all_kinds, True)
        assert max(parts) == 7
        late = (
            {max(known)} if isinstance(log, SQLiteReceiptLog) else {min(known), sorted(known)[20], max(known)}
        )
        for number in late:
            del known[number]
        log.read_ahead()
        assert set(known.values()) == all_kinds


def expected(sought: Sought, receipts: Sequence[Receipt] = RECEIPTS) -> list[Receipt]:
    """Return what a reader of all receipts would find, the newest first."""
    chosen = []
    for receipt in receipts:
        time_ms, kind = parse_moment(receipt.time), kind_of(receipt)
        later = [
            other
            for other in receipts
            if other.subject == receipt.subject
            and other.time > receipt.time
            and (sought.until_ms is None or parse_moment(other.time) < sought.until_ms)
        ]
        wrong = (
            receipt.subject == ERASED
            or (sought.subject is not None and receipt.subject != sought.subject)
            or (sought.since_ms is not None and time_ms < sought.since_ms)
            or (sought.until_ms is not None and time_ms >= sought.until_ms)
            or (sought.vendor is not None and sought.vendor not in receipt.vendors)
            or (sought.said is not None and receipt.vendors.get(sought.vendor or "") is not sought.said)
            or (sought.grants is not None and any(receipt.categories.values()) is not sought.grants)
            or (sought.standing and later)
            or any(
                wanted is not None and wanted != getattr(kind, name)
                for name in kind._fields
                for wanted in [getattr(sought, name)]
            )
        )
        if not wrong:
            chosen.append(receipt)
    return sorted(chosen, key=lambda receipt: receipt.time, reverse=True)


def pages(log: Any, sought: Sought, limit: int) -> list[Receipt]:
    """Read page after page to the end."""
    found: list[Receipt] = []
    before: Position | None = None
    while True:
        page = log.find(sought, limit=limit, before=before)
        assert len(page.receipts) <= limit
        found += [logged.receipt for logged in page.receipts]
        if page.next is None:
            return found
        before = page.next


def some_questions() -> list[Sought]:
    source = random.Random(11)
    moments = sorted(parse_moment(receipt.time) for receipt in RECEIPTS)
    questions = [Sought(), Sought(standing=True)]
    for _ in range(30):
        receipt = source.choice(RECEIPTS)
        kind = kind_of(receipt)
        asked: dict[str, Any] = {
            name: getattr(kind, name)
            for name in source.sample(kind._fields, source.randrange(3))
            if getattr(kind, name) is not None
        }
        if source.random() < 0.2:
            asked["grants"] = source.random() < 0.7
        if source.random() < 0.2:
            asked["subject"] = receipt.subject
        if source.random() < 0.25:
            asked["vendor"] = source.choice(["acme-video", "acme-chat"])
            asked["said"] = source.choice([None, True, False])
        if source.random() < 0.3:
            asked["since_ms"] = source.choice(moments)
        if source.random() < 0.3:
            asked["until_ms"] = source.choice(moments)
        questions.append(Sought(**asked, standing=source.random() < 0.2))
    return questions


def test_what_is_found_is_what_a_reader_of_all_receipts_finds(
    log: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For thirty questions by all members, by pages of different lengths; also where few kinds are merged."""
    for merged, looked in ((64, 40_000), (3, 40)):
        for module in (sqlite_finding, postgresql_finding):
            monkeypatch.setattr(module, "MERGED_KINDS", merged)
            monkeypatch.setattr(module, "LOOKED_THROUGH", looked)
        monkeypatch.setattr(postgresql_finding, "MERGED_ROWS", 7)
        monkeypatch.setattr(postgresql_finding, "ANSWERS_LOOKED_THROUGH", looked)
        for sought in some_questions():
            wanted = expected(sought)
            for limit in (25, 1_000):
                assert pages(log, sought, limit) == wanted, sought


def test_an_export_walks_from_the_oldest_to_the_newest(log: Any) -> None:
    """Without opening anything; what is opened then is the recorded bytes."""
    for sought in some_questions():
        if sought.standing:
            continue
        found: list[Any] = []
        while page := log.found(sought, limit=50, after=found[-1].position if found else None):
            found += page
        wanted = expected(sought)[::-1]
        assert [each.kind for each in found] == [kind_of(receipt) for receipt in wanted]
        assert [each.position.time_ms for each in found] == [parse_moment(receipt.time) for receipt in wanted]
        records, after = [], None
        while (some := log.records(sought, limit=50, after=after)).last is not None:
            records += some.records
            after = some.last
        assert records == [receipt.canonical_bytes() for receipt in wanted]
    with pytest.raises(ValueError, match="asked of pages only"):
        log.found(Sought(standing=True), limit=1)
    with pytest.raises(ValueError, match="asked of pages only"):
        log.records(Sought(standing=True), limit=1)


def test_a_page_of_what_stands_may_be_short_and_goes_on(log: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that no page takes long, however many were replaced since."""
    monkeypatch.setattr("consent.receipt_search.MAX_EXAMINED", 20)
    monkeypatch.setattr("consent.receipt_search._EXAMINED_AT_ONCE", 10)
    sought = Sought(standing=True, until_ms=parse_moment(RECEIPTS[150].time))
    page = log.find(sought, limit=40)
    assert len(page.receipts) < 40
    assert page.next is not None
    assert pages(log, sought, 40) == expected(sought)


def test_choices_are_counted_by_day_and_kind(log: Any) -> None:
    """Also those that were erased: the counts name nobody."""
    days = log.daily("2026-01-10", "2026-02-10")
    wanted = Counter(
        (receipt.time[:10], kind_of(receipt))
        for receipt in RECEIPTS
        if "2026-01-10" <= receipt.time[:10] <= "2026-02-10"
    )
    assert {(count.day, count.kind): count.choices for count in days} == wanted
    assert [count.day for count in days] == sorted(count.day for count in days)


def test_bounds_of_a_page(log: Any) -> None:
    """One receipt at least, and not all of them at once; a pseudonym that is none finds nothing."""
    for limit in (0, MAX_PAGE + 1):
        with pytest.raises(ValueError, match="limit must be 1 to 5000"):
            log.find(Sought(), limit=limit)
    assert list(log.find(Sought(subject="nobody"), limit=5).receipts) == []
    assert list(log.found(Sought(subject="nobody"), limit=5)) == []
    assert list(log.find(Sought(language="xx"), limit=5).receipts) == []
    finder: ReceiptFinder = log
    assert finder is log


# ---- SQLite


def copy_of(full: Backend, tmp_path: Path) -> Path:
    if not isinstance(full, SQLiteBackend):
        pytest.skip("about the tables of SQLite")
    path = tmp_path / "receipts.sqlite3"
    with (
        contextlib.closing(sqlite3.connect(full.path)) as source,
        contextlib.closing(sqlite3.connect(path)) as copy,
    ):
        source.backup(copy)
    return path


def test_whatever_alters_the_index_is_noticed(full: Backend, tmp_path: Path) -> None:
    """A receipt that is made to appear where it does not belong is an error, and names its leaf."""
    path = copy_of(full, tmp_path)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        leaf, kind = connection.execute(
            "SELECT leaf, (SELECT max(number) FROM kind WHERE number <> record.kind) FROM record WHERE kind > 0 LIMIT 1"
        ).fetchone()
        connection.execute("UPDATE record SET kind = ? WHERE leaf = ?", (kind, leaf))
    with (
        SQLiteReceiptLog(path, KEYS) as log,
        pytest.raises(InvalidReceiptError, match=f"leaf {leaf} is found by was"),
    ):
        pages(log, Sought(), 500)


def test_every_way_of_finding_has_its_index(
    full: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None looks through the table; only one visitor's few receipts are sorted."""
    path = copy_of(full, tmp_path)
    monkeypatch.setattr(sqlite_finding, "MERGED_KINDS", 3)
    receipt = RECEIPTS[-1]
    of_one_kind = kind_of(receipt)._asdict()
    questions = {
        "SEARCH record USING COVERING INDEX record_by_time": [Sought(), Sought(outcome="given")],
        "SEARCH record USING COVERING INDEX record_by_kind": [
            Sought(**{name: value for name, value in of_one_kind.items() if value is not None})
        ],
        "SEARCH answer USING COVERING INDEX answer_by_vendor": [
            Sought(vendor="acme-chat", said=True), Sought(vendor="acme-chat", gpc=True)
        ],
        "SEARCH record USING INDEX record_by_subject": [Sought(subject=receipt.subject, vendor="acme-chat")],
    }  # fmt: skip
    with SQLiteReceiptLog(path, KEYS) as log, contextlib.closing(sqlite3.connect(path)) as connection:
        for step, asked in questions.items():
            for sought in asked:
                statements: list[str] = []
                log._connection.set_trace_callback(statements.append)
                log._newest(log._query(sought), None, 20)  # type: ignore[arg-type]
                if sought.vendor is None or sought.subject is None:
                    log._oldest(log._query(sought), Position(5, 5), 20)  # type: ignore[arg-type]
                log._connection.set_trace_callback(None)
                for statement in statements:
                    plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}")]
                    if statement.startswith("SELECT group_concat(number)"):
                        continue
                    assert not any(line.startswith("SCAN record") for line in plan), plan
                    if sought.subject is None:
                        assert not any("TEMP B-TREE FOR ORDER" in line for line in plan), plan
                assert any(
                    step in row[3]
                    for statement in statements
                    for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}")
                ), (sought, statements)


def test_what_waits_to_become_a_leaf_is_not_found_yet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And no page is the shorter for it, nor ends before its time."""
    backend = PostgreSQLBackend(tmp_path)

    async def work(store: WholeStore) -> None:
        kept = [receipt for receipt in RECEIPTS if receipt.subject != ERASED]
        await asyncio.gather(*(store.append(receipt, [SHOWN]) for receipt in kept))

    using(backend, work)
    sealer = Sealer(KEYS)
    waiting = [each for each in RECEIPTS if each.outcome is Outcome.WITHDRAWN][-9:]
    tags = ", ".join(f"'\\x{sealer.id_tag(uuid_bytes(each.receipt_id)).hex()}'" for each in waiting)
    execute(
        backend.url,
        "INSERT INTO consent_inbox (id_tag, commitment, month, day, kind) SELECT id_tag, commitment, month, '', 0"
        f" FROM consent_leaf WHERE id_tag IN ({tags})",
        f"DELETE FROM consent_leaf WHERE id_tag IN ({tags})",
    )
    for merged, at_once in ((64, 500), (3, 2)):
        monkeypatch.setattr(postgresql_finding, "MERGED_KINDS", merged)
        monkeypatch.setattr(postgresql_finding, "LOOKED_THROUGH", merged)
        monkeypatch.setattr(postgresql_finding, "MERGED_ROWS", at_once)
        with backend.log() as log:
            for wanted in ({"outcome": "withdrawn"}, {"targeting": True}, {"vendor": "acme-video"}):
                sought = Sought(**wanted)
                assert pages(log, sought, 4) == [
                    each for each in expected(sought, RECEIPTS) if each not in waiting
                ]


SCHEMA_2 = """
ALTER TABLE daily RENAME TO new_daily;
CREATE TABLE daily (day TEXT, site TEXT, jurisdiction TEXT, policy_version TEXT, outcome TEXT, performance INTEGER,
    functional INTEGER, targeting INTEGER, gpc INTEGER, collection_method TEXT, choices INTEGER);
INSERT INTO daily SELECT day, key ->> 0, key ->> 2, key ->> 3, key ->> 6, key ->> 7, key ->> 8, key ->> 9, key ->> 10,
    key ->> 12, sum(choices) FROM new_daily JOIN kind ON kind.number = kind GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10;
DROP TABLE new_daily;
DROP INDEX record_by_kind;
DROP INDEX record_by_time;
DROP INDEX record_by_subject;
CREATE INDEX record_by_subject ON record (subject) WHERE subject IS NOT NULL;
DROP TABLE answer;
DROP TABLE kind;
ALTER TABLE record DROP COLUMN kind;
CREATE INDEX record_by_outcome ON record (outcome) WHERE outcome IS NOT NULL;
CREATE INDEX record_by_time ON record (time_ms) WHERE time_ms IS NOT NULL;
PRAGMA user_version = 2;
"""


def check_upgraded(log: Any, days_before: Sequence[Any]) -> None:
    """All is found as before; of what was erased before, fewer members were counted."""
    for sought in some_questions():
        assert pages(log, sought, 90) == expected(sought)
    gone = {(receipt.time[:10], kind_of(receipt)) for receipt in RECEIPTS if receipt.subject == ERASED}
    days = log.daily("0000", "9999")
    assert sum(count.choices for count in days) == COUNT
    assert (
        sum(count.choices for count in days if count.kind.language == "")
        == sum(receipt.subject == ERASED for receipt in RECEIPTS)
        == len(gone)
    )

    def coarse(counts: Sequence[Any]) -> Counter[Any]:
        sums: Counter[Any] = Counter()
        for count in counts:
            kind = count.kind._replace(
                regime="",
                language="",
                shown_hash="",
                dnt=None,
                policy_hash="",
                vendor_list_hash="",
                bot=False,
            )
            sums[count.day, kind] += count.choices
        return sums

    assert coarse(days) == coarse(days_before)


def test_a_database_of_the_second_schema_is_brought_up(
    full: Backend, log: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupted after some steps, and gone on with."""
    path = copy_of(full, tmp_path)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript(SCHEMA_2)
    monkeypatch.setattr(sqlite_migration, "STEP_ROWS", 30)
    some = sqlite_migration._find_some
    calls = iter(range(5))

    def interrupted(*arguments: Any) -> Any:
        if next(calls, None) is None:
            raise KeyboardInterrupt
        return some(*arguments)

    monkeypatch.setattr(sqlite_migration, "_find_some", interrupted)
    with pytest.raises(KeyboardInterrupt):
        SQLiteStore(path, KEYS).prepare()
    monkeypatch.setattr(sqlite_migration, "_find_some", some)
    SQLiteStore(path, KEYS).prepare()
    with SQLiteReceiptLog(path, KEYS) as upgraded:
        check_upgraded(upgraded, log.daily("0000", "9999"))
    assert tables(path) == tables_of_a_new_log(tmp_path)


def tables(path: Path) -> list[Any]:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return connection.execute(
            "SELECT type, name, tbl_name FROM sqlite_master WHERE name NOT LIKE 'sqlite_%' ORDER BY name"
        ).fetchall()


def tables_of_a_new_log(folder: Path) -> list[Any]:
    SQLiteStore(folder / "fresh.sqlite3", KEYS).prepare()
    return tables(folder / "fresh.sqlite3")


def as_before(counts: Sequence[Any]) -> list[tuple[str, ChoiceKind, int]]:
    """Return counts by what kinds had before there were artefacts and programs among their members."""
    sums: Counter[Any] = Counter()
    for count in counts:
        sums[count.day, ChoiceKind(*count.kind[:13])] += count.choices
    return sorted(((*key, choices) for key, choices in sums.items()), key=repr)


def check_known(log: Any, counted: Sequence[Any]) -> None:
    """All is found as before, and by what was not known then; the counts have it but for what was erased."""
    questions = [Sought(bot=True), Sought(policy_hash=SHOWN.hash, grants=True), Sought(vendor_list_hash="")]
    for sought in [*some_questions(), *questions]:
        assert pages(log, sought, 90) == expected(sought)
    days = log.daily("0000", "9999")
    assert as_before(days) == as_before(counted)
    kept = Counter((receipt.time[:10], kind_of(receipt)) for receipt in RECEIPTS if receipt.subject != ERASED)
    erased = Counter(
        (receipt.time[:10], ChoiceKind(*kind_of(receipt)[:13]))
        for receipt in RECEIPTS
        if receipt.subject == ERASED
    )
    assert Counter({(day, kind): choices for day, kind, choices in days}) == kept + erased


def to_schema_3(path: Path) -> None:
    """Make of a log one of schema 3: kinds have 13 members, and many that differ are the same there."""
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        old: dict[str, int] = {}
        same: dict[int, int] = {}
        for number, key in connection.execute("SELECT number, key FROM kind ORDER BY number").fetchall():
            same[number] = old.setdefault(repr(ChoiceKind.parse(key)[:13]), number)
            connection.execute(
                "UPDATE kind SET key = ? WHERE number = ?",
                (f"gone {number}", number)
                if same[number] != number
                else (json.dumps(json.loads(key)[:13], separators=(",", ":")), number),
            )
        connection.execute("DELETE FROM kind WHERE key LIKE 'gone%'")
        days = Counter[tuple[str, int]]()
        for day, number, choices in connection.execute("SELECT day, kind, choices FROM daily"):
            days[day, same[number]] += choices
        connection.execute("DELETE FROM daily")
        connection.executemany("INSERT INTO daily VALUES (?, ?, ?)", [(*key, n) for key, n in days.items()])
        for number, other in same.items():
            for table in ("record", "answer"):
                connection.execute(f"UPDATE {table} SET kind = ? WHERE kind = ?", (other, number))
        connection.execute("DROP INDEX record_by_subject")
        connection.execute("CREATE INDEX record_by_subject ON record (subject) WHERE subject IS NOT NULL")
        connection.execute("PRAGMA user_version = 3")


def test_a_database_of_the_third_schema_is_brought_up(
    full: Backend, log: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupted after some steps, and gone on with."""
    path = copy_of(full, tmp_path)
    to_schema_3(path)
    monkeypatch.setattr(sqlite_migration, "STEP_ROWS", 30)
    some = sqlite_migration._know_more_of_some
    calls = iter(range(4))

    def interrupted(*arguments: Any) -> Any:
        if next(calls, None) is None:
            raise KeyboardInterrupt
        return some(*arguments)

    monkeypatch.setattr(sqlite_migration, "_know_more_of_some", interrupted)
    with pytest.raises(KeyboardInterrupt):
        SQLiteStore(path, KEYS).prepare()
    monkeypatch.setattr(sqlite_migration, "_know_more_of_some", some)
    SQLiteStore(path, KEYS).prepare()
    with SQLiteReceiptLog(path, KEYS) as upgraded:
        check_known(upgraded, log.daily("0000", "9999"))
    assert tables(path) == tables_of_a_new_log(tmp_path)


# ---- PostgreSQL

POSTGRESQL_SCHEMA_1 = """
ALTER TABLE consent_daily RENAME TO new_daily;
ALTER TABLE new_daily RENAME CONSTRAINT consent_daily_pkey TO new_daily_pkey;
CREATE TABLE consent_daily (day text, site text, jurisdiction text, policy_version text, outcome text,
    performance boolean, functional boolean, targeting boolean, gpc boolean, collection_method text, choices bigint,
    PRIMARY KEY (day, site, jurisdiction, policy_version, outcome, performance, functional, targeting, gpc,
        collection_method));
INSERT INTO consent_daily SELECT day, key::json->>0, key::json->>2, key::json->>3, key::json->>6,
    (key::json->>7)::boolean, (key::json->>8)::boolean, (key::json->>9)::boolean, (key::json->>10)::boolean,
    key::json->>12, sum(choices) FROM new_daily JOIN consent_kind ON number = kind
    GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10;
DROP TABLE new_daily;
DROP TABLE consent_kind;
ALTER TABLE consent_record DROP COLUMN kind, DROP COLUMN vendors;
ALTER TABLE consent_inbox DROP COLUMN day, DROP COLUMN kind, ADD COLUMN daily text NOT NULL;
CREATE INDEX consent_record_by_outcome ON consent_record (outcome);
UPDATE consent_log SET schema_version = 1;
"""


def test_a_database_of_the_first_schema_in_postgresql_is_brought_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also what waits in the inbox."""
    url = shared_server().new_schema()
    store = PostgreSQLStore(url, KEYS)
    store.prepare()

    async def work() -> None:
        await asyncio.gather(*(store.append(receipt, [SHOWN]) for receipt in RECEIPTS))
        await store.erase(ERASED)
        await store.aclose()

    asyncio.run(work())
    with PostgreSQLReceiptLog(url, KEYS) as log:
        days = log.daily("0000", "9999")
    execute(url, POSTGRESQL_SCHEMA_1)
    monkeypatch.setattr(postgresql_migration, "STEP_ROWS", 70)
    PostgreSQLStore(url, KEYS).prepare()
    with PostgreSQLReceiptLog(url, KEYS) as log:
        check_upgraded(log, days)
    assert [tuple(row) for row in query(url, "SELECT schema_version FROM consent_log")] == [(3,)]
    PostgreSQLStore(url, KEYS).prepare()


POSTGRESQL_SCHEMA_2 = """
CREATE TABLE same AS SELECT number, min(number) OVER (PARTITION BY fewer) AS other, fewer FROM (
    SELECT number, (SELECT json_agg(value ORDER BY at) FROM json_array_elements(key::json) WITH ORDINALITY e (value, at)
        WHERE at <= 13)::text AS fewer FROM consent_kind) k;
UPDATE consent_record SET kind = other FROM same WHERE number = kind;
UPDATE consent_inbox SET kind = other FROM same WHERE number = kind;
CREATE TABLE days AS SELECT day, other, sum(choices) FROM consent_daily JOIN same ON number = kind GROUP BY 1, 2;
DELETE FROM consent_daily;
INSERT INTO consent_daily SELECT * FROM days;
DELETE FROM consent_kind WHERE number IN (SELECT number FROM same WHERE number <> other);
UPDATE consent_kind k SET key = fewer FROM same WHERE same.number = k.number;
DROP TABLE same;
DROP TABLE days;
DROP INDEX consent_record_by_tag_and_time;
CREATE INDEX consent_record_by_tag ON consent_record (tag);
UPDATE consent_log SET schema_version = 2;
"""


def test_a_database_of_the_second_schema_in_postgresql_is_brought_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kinds get their other members, and the counts follow."""
    url = shared_server().new_schema()
    store = PostgreSQLStore(url, KEYS)
    store.prepare()

    async def work() -> None:
        await asyncio.gather(*(store.append(receipt, [SHOWN]) for receipt in RECEIPTS))
        await store.erase(ERASED)
        await store.aclose()

    asyncio.run(work())
    with PostgreSQLReceiptLog(url, KEYS) as log:
        days = log.daily("0000", "9999")
    execute(url, POSTGRESQL_SCHEMA_2)
    monkeypatch.setattr(postgresql_migration, "STEP_ROWS", 70)
    PostgreSQLStore(url, KEYS).prepare()
    with PostgreSQLReceiptLog(url, KEYS) as log:
        check_known(log, days)
    assert [tuple(row) for row in query(url, "SELECT schema_version FROM consent_log")] == [(3,)]
