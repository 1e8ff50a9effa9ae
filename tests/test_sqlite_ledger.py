"""The log in SQLite: what is on the disk, what is signed, and what an earlier release left."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import random
import shutil
import signal
import sqlite3
import time
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from consent import sqlite_database, sqlite_erasing, sqlite_migration, sqlite_store
from consent.checkpoint import Checkpoint, Signer, open_checkpoint
from consent.errors import SealBrokenError, StoreError, StoreUnavailable
from consent.log_rows import uuid_bytes
from consent.merkle import consistency_proof, verify_consistency
from consent.receipts import Artefact, Receipt
from consent.sealed_receipt import SealedReceipt
from consent.sealing import LedgerKeys, Sealer
from consent.sqlite_database import LogDatabase
from consent.sqlite_log import SQLiteReceiptLog
from consent.sqlite_schema import APPLICATION_ID
from consent.sqlite_store import SQLiteStore
from consent.sqlite_tree import tiles_at
from tests.test_receipts import KEYS, SHOWN, make_receipt, receipt_id
from tests.test_sqlite_store import append_all
from tests.workers import WORKERS


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "receipts.sqlite3"


def record(path: Path, *receipts: Receipt) -> None:
    """Append, and close: a checkpoint covers all of it."""
    assert append_all(SQLiteStore(path, KEYS), *receipts) == [None] * len(receipts)


def on_disk(path: Path) -> bytes:
    """Return what is in all files of the database."""
    return b"".join(file.read_bytes() for file in sorted(path.parent.iterdir()) if file.is_file())


def query(path: Path, statement: str, *values: object) -> list[Any]:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        return connection.execute(statement, values).fetchall()


def opened(note: str | None) -> Checkpoint:
    assert note is not None
    return open_checkpoint(note, [Signer(note.partition("\n")[0], KEYS.signing[0]).verifier])


def signed(path: Path) -> Checkpoint:
    """Return the last checkpoint."""
    with SQLiteReceiptLog(path, KEYS) as log:
        return opened(log.checkpoint())


# ---- erasing


def test_nothing_of_a_receipt_is_on_the_disk_in_plain_text(path: Path) -> None:
    """Neither ids nor answers: whoever copies the database without the key file learns nothing of a visitor."""
    receipt = make_receipt(7, subject="5ab7ec75" * 4, vendors={"acme-analytics": True}, shown_hash=SHOWN.hash)
    store = SQLiteStore(path, KEYS)

    async def run() -> bytes:
        await store.append(receipt, [SHOWN])
        found = on_disk(path)  # the write-ahead log, too
        await store.aclose()
        return found + on_disk(path)

    found = asyncio.run(run())
    assert SHOWN.content in found  # the control: what is not secret is found
    for text in (
        receipt.receipt_id,
        receipt.subject,
        receipt.canonical_bytes().decode()[:40],
    ):
        assert text.encode() not in found
    assert uuid_bytes(receipt.receipt_id) not in found
    assert bytes.fromhex(receipt.subject) not in found


class _Row:
    """A receipt to be recorded, without a caller."""

    named = ()

    def __init__(self, receipt: Receipt, sealer: Sealer) -> None:
        self.receipt = SealedReceipt(receipt, sealer)
        self.artefacts: tuple[Artefact, ...] = ()


def test_after_an_erasure_nothing_of_it_is_in_any_file(path: Path) -> None:
    """Of no erased visitor is there key, tag or sealed record left, in database or write-ahead log.

    Whichever pages it went through as the tables grew, and while others go on choosing. Before, all of it is there.
    """
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    source = random.Random(seed)
    subjects = [source.randbytes(16).hex() for _ in range(2_500)]
    erased, others = subjects[:500], subjects[500:]
    database = LogDatabase(path, KEYS, 10, time.time)
    numbers = itertools.count()

    def choices(count: int, pool: list[str]) -> None:
        rows = [
            _Row(make_receipt(next(numbers), subject=source.choice(pool)), database.sealer)
            for _ in range(count)
        ]
        database.record(rows)

    for _ in range(5):
        choices(500, source.sample(subjects, 1_000))
    kept: dict[bytes, set[bytes]] = {}
    for tag, wrapped_key, body in query(
        path, "SELECT tag, wrapped_key, body FROM record JOIN subject ON number = subject"
    ):
        kept.setdefault(tag, {tag, wrapped_key}).add(body)
    secrets = [
        secret for subject in erased for secret in kept.get(database.sealer.tag(bytes.fromhex(subject)), ())
    ]
    assert len(secrets) > 900
    found = on_disk(path)
    assert all(secret in found for secret in secrets)
    with database.writing() as connection:
        connection.execute(
            "PRAGMA synchronous = OFF"
        )  # no power is cut here, and it takes a tenth of the time
    for number, subject in enumerate(erased[1:]):
        sqlite_erasing.erase(database, subject)
        if number % 50 == 0:
            choices(20, others)
    database.close()
    store = SQLiteStore(path, KEYS)

    async def finish() -> bytes:
        await store.erase(erased[0])
        found = on_disk(path)
        await store.aclose()
        return found

    found = asyncio.run(finish())
    assert [secret for secret in secrets if secret in found] == []


def test_an_erasure_that_a_reader_keeps_from_being_complete_says_so(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The write-ahead log cannot be cut off while somebody reads an older state; done again, it can."""
    monkeypatch.setattr(sqlite_store, "SCRUBBING_SECONDS", 0.1)
    monkeypatch.setattr(sqlite_database, "BUSY_SECONDS", 0.1)
    receipt = make_receipt(1)

    async def run() -> None:
        store = SQLiteStore(path, KEYS)
        await store.append(receipt)
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT * FROM record").fetchall()
            with pytest.raises(StoreUnavailable, match="another program reads the database without a pause"):
                await store.erase(receipt.subject)
        await store.append(make_receipt(2))
        assert await store.erase(receipt.subject) == []
        assert path.with_name(path.name + "-wal").stat().st_size == 0
        await store.aclose()

    asyncio.run(run())


def test_wrapping_keys_are_rotated(path: Path) -> None:
    """With a new one first, old receipts are read and new ones recorded; wrapped anew, the old key can go."""
    record(path, *(make_receipt(number, subject=f"{number:032x}") for number in range(5)))
    new = b"n" * 32
    both = LedgerKeys(signing=KEYS.signing, wrapping=(new, *KEYS.wrapping), index=KEYS.index)
    only = LedgerKeys(signing=KEYS.signing, wrapping=(new,), index=KEYS.index)
    assert append_all(SQLiteStore(path, both), make_receipt(9, subject=f"{9:032x}")) == [None]
    with SQLiteReceiptLog(path, only) as log:
        assert log.get(receipt_id(9)) is not None
        with pytest.raises(
            SealBrokenError, match="leaf 0 does not open: a visitor's key is wrapped under a key that"
        ):
            log.get(receipt_id(0))

    async def rewrap() -> list[int]:
        store = SQLiteStore(path, both)
        counts = [await store.rewrap(), await store.rewrap()]
        await store.aclose()
        return counts

    assert asyncio.run(rewrap()) == [5, 0]
    with SQLiteReceiptLog(path, only) as log:
        assert len(log.list(limit=9)) == 6


def test_a_visitor_whose_key_does_not_open_keeps_nobody_from_choosing(path: Path) -> None:
    """The others that come at the same moment are recorded; he is told."""
    record(path, make_receipt(1, subject="aa" * 16))
    other = LedgerKeys(signing=KEYS.signing, wrapping=(b"n" * 32,), index=KEYS.index)
    raised = append_all(
        SQLiteStore(path, other),
        make_receipt(2, subject="bb" * 16),
        make_receipt(3, subject="aa" * 16, previous=receipt_id(1)),
        make_receipt(4, subject="aa" * 16),
        make_receipt(5, subject="cc" * 16),
    )
    assert [type(error) for error in raised] == [type(None), StoreError, StoreError, type(None)]
    assert "put the wrapping key back into the key file" in str(raised[1])


# ---- signing


def refused(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [entry.getMessage() for entry in caplog.records if entry.levelno >= logging.ERROR]


def test_the_log_goes_on_and_nothing_is_signed_after_an_old_state_was_restored(
    path: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Not even once the log is longer again than it was: other leaves would be under the same numbers."""
    record(path, *(make_receipt(number) for number in range(10)))
    shutil.copy(path, tmp_path / "backup")
    record(path, *(make_receipt(number) for number in range(10, 20)))
    assert signed(path).size == 20
    assert refused(caplog) == []
    shutil.copy(tmp_path / "backup", path)
    record(path, make_receipt(30))
    assert signed(path).size == 10
    assert refused(caplog) == [
        f"{path}: no checkpoint is signed: the log has 11 leaves, but a checkpoint of 20 was signed: "
        "an older state was restored"
    ]
    caplog.clear()
    record(path, *(make_receipt(number) for number in range(31, 60)))
    assert signed(path).size == 10
    assert refused(caplog) == [
        f"{path}: no checkpoint is signed: the first 20 leaves are not those that a checkpoint was signed of: "
        "another state was restored, or the log was altered"
    ]
    with SQLiteReceiptLog(path, KEYS) as log:
        assert len(log.list(limit=99)) == 40


@pytest.mark.parametrize("count", [5, 300])
def test_nothing_is_signed_of_a_log_that_was_altered(
    path: Path, caplog: pytest.LogCaptureFixture, count: int
) -> None:
    """A leaf exchanged by hand, with all that the tables keep of it."""
    record(path, *(make_receipt(number) for number in range(count)))
    before = signed(path)
    query(path, "UPDATE record SET commitment = zeroblob(32) WHERE leaf = 3")
    query(path, "UPDATE tile SET hashes = zeroblob(32 * 256) WHERE level = 0")
    query(path, "UPDATE tile SET hashes = zeroblob(length(hashes)) WHERE level = 1")
    record(path, make_receipt(count))
    assert signed(path) == before
    assert "are not those that a checkpoint was signed of" in " ".join(refused(caplog))


def test_two_databases_that_part_ways_are_not_both_signed(
    path: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A copy that goes on beside the original, under the same name in turn, with one mark between them."""
    record(path, *(make_receipt(number) for number in range(10)))
    shutil.copy(path, tmp_path / "copy")
    record(path, make_receipt(10))
    original = signed(path)
    path.rename(tmp_path / "original")
    shutil.copy(tmp_path / "copy", path)
    record(path, make_receipt(11))
    assert signed(path).size == 10
    assert "are not those that a checkpoint was signed of" in " ".join(refused(caplog))
    (tmp_path / "original").replace(path)
    record(path, make_receipt(12))
    assert signed(path).size == 12
    assert original.size == 11


def test_a_clock_that_is_set_back_makes_no_contradiction(path: Path) -> None:
    """Checkpoints have no time in them, and the last one is the one of the most leaves."""
    notes = []
    for number, now in enumerate((1_800_000_000, 1_700_000_000, 1_900_000_000, 1_800_000_000)):
        store = SQLiteStore(path, KEYS, clock=lambda now=now: float(now))  # type: ignore[misc]
        append_all(store, make_receipt(number))
        notes.append(signed(path))
    assert [checkpoint.size for checkpoint in notes] == [1, 2, 3, 4]
    with contextlib.closing(sqlite3.connect(path)) as connection:
        for old, new in itertools.pairwise(notes):
            proof = consistency_proof(old.size, new.size, tiles_at(connection, new.size).subtree)
            verify_consistency(old.size, new.size, proof, old.root, new.root)
    with SQLiteReceiptLog(path, KEYS) as log:
        assert [opened(note).size for _, note in log.checkpoints()] == [2, 3, 4]


@pytest.mark.parametrize("where", ["file", "table"])
def test_nothing_is_signed_beside_a_checkpoint_that_cannot_be_believed(
    path: Path, caplog: pytest.LogCaptureFixture, where: str
) -> None:
    """In the database or in the file: it may be all that is left of a longer log."""
    record(path, make_receipt(1))
    mark = path.with_name(path.name + ".checkpoint")
    if where == "file":
        mark.write_text(mark.read_text().replace("\n1\n", "\n0\n"))
    else:
        query(
            path,
            "UPDATE checkpoint SET note = replace(note, char(10) || '1' || char(10), char(10) || '0' || char(10))",
        )
    record(path, make_receipt(2))
    assert "the checkpoint signed last cannot be believed" in " ".join(refused(caplog))


def test_signing_keys_are_rotated(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The new one signs, and the old one's checkpoints are still believed; without it they are not."""
    record(path, make_receipt(1))
    with SQLiteReceiptLog(path, KEYS) as log:
        before = log.checkpoint()
    new = b"n" * 32
    both = LedgerKeys(signing=(new, *KEYS.signing), wrapping=KEYS.wrapping, index=KEYS.index)
    append_all(SQLiteStore(path, both), make_receipt(2))
    assert refused(caplog) == []
    with SQLiteReceiptLog(path, KEYS) as log:
        note = log.checkpoint()
        assert note is not None
        assert open_checkpoint(note, [Signer(opened(before).origin, new).verifier]).size == 2
    append_all(SQLiteStore(path, KEYS), make_receipt(3))
    assert "cannot be believed: signed by none of the keys given" in " ".join(refused(caplog))


def test_a_lost_mark_is_made_again(path: Path) -> None:
    """The database has the checkpoint, too; the file is its owner's only."""
    record(path, make_receipt(1))
    mark = path.with_name(path.name + ".checkpoint")
    with SQLiteReceiptLog(path, KEYS) as log:
        assert mark.read_text() == log.checkpoint()
    mark.unlink()
    record(path, make_receipt(2))
    assert opened(mark.read_text()).size == 2
    assert mark.stat().st_mode & 0o777 == 0o600


def test_another_database_is_another_log(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """One that was removed is not continued; the new one has a name of its own."""
    record(path, *(make_receipt(number) for number in range(5)))
    before = signed(path)
    path.unlink()
    record(path, make_receipt(9))
    assert signed(path).size == 1
    assert signed(path).origin != before.origin
    assert refused(caplog) == []


# ---- what an earlier release left

SCHEMA_1 = """
CREATE TABLE receipt (
    position INTEGER PRIMARY KEY,
    receipt_id BLOB NOT NULL UNIQUE CHECK (length(receipt_id) = 16),
    subject BLOB NOT NULL CHECK (length(subject) = 16),
    outcome TEXT NOT NULL,
    content_hash BLOB NOT NULL CHECK (length(content_hash) = 32),
    body BLOB NOT NULL
);
CREATE INDEX receipt_by_subject ON receipt (subject);
CREATE INDEX receipt_by_outcome ON receipt (outcome);
CREATE TABLE artefact (
    hash BLOB NOT NULL PRIMARY KEY CHECK (length(hash) = 32),
    media_type TEXT NOT NULL,
    content BLOB NOT NULL
);
"""


def make_schema_1(path: Path, *receipts: Receipt) -> None:
    """Make a database as release 0.1 did."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(SCHEMA_1)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute("PRAGMA user_version = 1")
        connection.execute("BEGIN")
        for receipt in receipts:
            body = receipt.canonical_bytes()
            connection.execute(
                "INSERT INTO receipt (receipt_id, subject, outcome, content_hash, body) VALUES (?, ?, ?, ?, ?)",
                (
                    uuid_bytes(receipt.receipt_id),
                    bytes.fromhex(receipt.subject),
                    str(receipt.outcome),
                    sha256(body).digest(),
                    body,
                ),
            )
        connection.execute(
            "INSERT INTO artefact VALUES (?, ?, ?)",
            (bytes.fromhex(SHOWN.hash), SHOWN.media_type, SHOWN.content),
        )
        connection.execute("COMMIT")


def old_receipts(count: int) -> list[Receipt]:
    return [
        make_receipt(number, subject=f"{number % 40:032x}", shown_hash=SHOWN.hash) for number in range(count)
    ]


def check_migrated(path: Path, receipts: list[Receipt]) -> None:
    """Everything is there, in its order, proven, and in plain text nowhere."""
    with SQLiteReceiptLog(path, KEYS) as log:
        listed = log.list(limit=100_000)
        assert [entry.receipt for entry in reversed(listed)] == receipts
        assert [entry.leaf for entry in reversed(listed)] == list(range(len(receipts)))
        assert log.artefact(SHOWN.hash) == SHOWN
        assert opened(log.checkpoint()).size == len(receipts)
        assert log.evidence(receipts[-1].receipt_id) is not None
        assert sum(count.choices for count in log.daily("2026-01-01", "2026-12-31")) == len(receipts)
    assert query(path, "SELECT name FROM sqlite_master WHERE name = 'receipt'") == []
    found = on_disk(path)
    assert b'"receipt_id":' not in found
    assert not any(uuid_bytes(receipt.receipt_id) in found for receipt in receipts)


def test_receipts_of_the_first_schema_become_the_first_leaves(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In their order, sealed; reading before that says what to do."""
    monkeypatch.setattr(sqlite_migration, "STEP_ROWS", 128)
    receipts = old_receipts(700)
    make_schema_1(path, *receipts)
    assert b'"receipt_id":' in on_disk(path)
    with pytest.raises(
        StoreUnavailable, match="has schema 1, an earlier release's: start the site, or run consent db"
    ):
        SQLiteReceiptLog(path, KEYS)
    SQLiteStore(path, KEYS).prepare()
    check_migrated(path, receipts)


def test_an_altered_receipt_of_the_first_schema_is_not_taken_over(path: Path) -> None:
    """It is named, and what was not moved stays as it is."""
    make_schema_1(path, *old_receipts(5))
    query(path, "UPDATE receipt SET body = replace(body, 'Example', 'Exemple') WHERE position = 4")
    with pytest.raises(StoreUnavailable, match="position 4 was altered, and is not taken over: its content"):
        SQLiteStore(path, KEYS).prepare()
    assert len(query(path, "SELECT * FROM receipt")) == 5


def _migrate(path: Path) -> None:
    sqlite_migration.STEP_ROWS = 20  # type: ignore[misc]
    SQLiteStore(path, KEYS).prepare()


def test_a_migration_may_be_killed_at_any_moment(path: Path) -> None:
    """It goes on where it was: nothing is lost, doubled or out of order."""
    receipts = old_receipts(1_000)
    make_schema_1(path, *receipts)
    source = random.Random(11)
    killed = 0
    for _ in range(5):
        process = WORKERS.Process(target=_migrate, args=(path,))
        process.start()
        process.join(0.05 + source.random() * 0.15)
        process.kill()
        process.join()
        killed += process.exitcode == -signal.SIGKILL
    assert killed > 0
    _migrate(path)
    check_migrated(path, receipts)
