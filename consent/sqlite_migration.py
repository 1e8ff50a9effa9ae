"""Bringing a database of an earlier release to the present tables, in steps that may be interrupted.

Schema 1 had the receipts in plain text in ``receipt``, in the order of recording. They become the first leaves of the
log, in that order, sealed; the plain text is overwritten and goes. Schema 2 had nothing beside a sealed receipt that it
could be found by but its outcome, and counted by fewer members: every receipt is opened once, and its kind noted.
Schema 3 had kinds without the artefacts of the policy, and without whether anybody was there: every receipt is opened
once, and gets another kind.
"""

from __future__ import annotations

import itertools
import json
import logging
import sqlite3
from collections import Counter
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Final

from consent.choice_kind import ChoiceKind, kind_of
from consent.errors import InvalidReceiptError, SealBrokenError, StoreUnavailable
from consent.log_rows import logged_receipt, open_row
from consent.receipts import Artefact, Receipt
from consent.sealed_receipt import SealedReceipt
from consent.sealing import Sealer
from consent.sqlite_recording import Recorder, keep_kinds
from consent.sqlite_schema import FOUND_BY, KINDS, SCHEMA_VERSION

STEP_ROWS: Final = 1_000
"""How many receipts one transaction moves."""
STEPS_IN_WAL: Final = 20
"""After so many, the write-ahead log is moved."""

logger = logging.getLogger("consent")


def migrate(connection: sqlite3.Connection, path: Path, sealer: Sealer, version: int) -> None:
    """Bring a database of an earlier schema to the present one. Goes on where it was interrupted.

    Raises:
        StoreUnavailable: a receipt of schema 1 is not what was recorded: it is named, and all stays as it is.
    """
    if version == 1:
        _seal_all(connection, path, sealer)
    elif version == 2:
        _find_kinds(connection, path, sealer)
    else:
        _know_more(connection, path, sealer)


def _seal_all(connection: sqlite3.Connection, path: Path, sealer: Sealer) -> None:
    """Move all receipts of schema 1 to the present tables, which are there."""
    (count,) = connection.execute("SELECT count(*) FROM receipt").fetchone()
    logger.warning("%s: bringing %d receipts to schema %d", path, count, SCHEMA_VERSION)
    while _move_some(connection, path, sealer):
        pass
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("DROP TABLE receipt")
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    connection.execute("COMMIT")
    # The plain text is still in the write-ahead log.
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def _move_some(connection: sqlite3.Connection, path: Path, sealer: Sealer) -> bool:
    rows = connection.execute(
        "SELECT position, content_hash, CAST(body AS BLOB) FROM receipt ORDER BY position LIMIT ?",
        (STEP_ROWS,),
    ).fetchall()
    if not rows:
        return False
    entries = []
    for position, content_hash, body in rows:
        try:
            receipt = Receipt.from_bytes(body)
            if sha256(body).digest() != content_hash:
                raise InvalidReceiptError("its content does not have the SHA-256 recorded with it")
        except InvalidReceiptError as error:
            raise StoreUnavailable(
                f"{path}: the receipt at position {position} was altered, and is not taken over: {error}; restore "
                "the database from a backup"
            ) from None
        entries.append(_Moved(SealedReceipt(receipt, sealer)))
    recorder = Recorder(sealer)
    recorder.record(connection, entries)
    connection.execute("DELETE FROM receipt WHERE position <= ?", (rows[-1][0],))
    connection.execute("COMMIT")
    return True


class _Moved:
    """A receipt whose artefacts are in the database already."""

    named = ()

    def __init__(self, receipt: SealedReceipt) -> None:
        self.receipt = receipt
        self.artefacts: Sequence[Artefact] = ()


# ---- schema 2


def _find_kinds(connection: sqlite3.Connection, path: Path, sealer: Sealer) -> None:
    """Note beside every receipt what it is found by, and count anew."""
    (count,) = connection.execute("SELECT count(*) FROM record WHERE outcome IS NOT NULL").fetchone()
    logger.warning("%s: noting what %d receipts are found by, for schema %d", path, count, SCHEMA_VERSION)
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'daily_before'").fetchone():
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("ALTER TABLE daily RENAME TO daily_before")
        connection.execute("ALTER TABLE record ADD COLUMN kind INTEGER")
        for statement in KINDS.split(";\n"):
            connection.execute(statement)
        connection.execute("COMMIT")
    after = -1
    for step in itertools.count(1):
        last = _find_some(connection, path, sealer, after)
        if last is None:
            break
        after = last
        if step % STEPS_IN_WAL == 0:
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
    connection.execute("BEGIN IMMEDIATE")
    _count_what_was_erased(connection)
    connection.execute("DROP TABLE daily_before")
    _index(connection, "record_by_outcome", "record_by_time", "record_by_subject")


def _index(connection: sqlite3.Connection, *before: str) -> None:
    """Make the present indexes in the place of others, and end the transaction under way, and the upgrade."""
    for name in before:
        connection.execute(f"DROP INDEX {name}")
    for statement in FOUND_BY.split(";\n"):
        connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    connection.execute("COMMIT")


def _find_some(connection: sqlite3.Connection, path: Path, sealer: Sealer, after: int) -> int | None:
    """Do it for some receipts after a leaf; return the last of them."""
    connection.execute("BEGIN IMMEDIATE")
    rows = connection.execute(
        "SELECT leaf, id_tag, commitment, body, outcome, subject.tag, subject.wrapped_key FROM record"
        " LEFT JOIN subject ON subject.number = record.subject"
        " WHERE outcome IS NOT NULL AND kind IS NULL AND leaf > ? ORDER BY leaf LIMIT ?",
        (after, STEP_ROWS),
    ).fetchall()
    found: list[tuple[int, Receipt, ChoiceKind]] = []
    for row in rows:
        try:
            receipt = logged_receipt(sealer, open_row(sealer, *row), row[1]).receipt
        except (SealBrokenError, InvalidReceiptError) as error:
            # It is no worse than it was: still there, found by its id, and named by consent ledger verify.
            logger.error("%s: %s", path, error)
            continue
        found.append((row[0], receipt, kind_of(receipt)))
    numbers = keep_kinds(connection, {kind for _, _, kind in found})
    connection.executemany(
        "UPDATE record SET kind = ? WHERE leaf = ?", [(numbers[kind], leaf) for leaf, _, kind in found]
    )
    connection.executemany(
        "INSERT INTO answer SELECT leaf, ?, ?, time_ms, kind FROM record WHERE leaf = ?",
        [(vendor, said, leaf) for leaf, receipt, _ in found for vendor, said in receipt.marks.items()],
    )
    connection.executemany(
        _COUNT,
        [
            (day, numbers[kind], choices)
            for (day, kind), choices in Counter(
                [(receipt.time[:10], kind) for _, receipt, kind in found]
            ).items()
        ],
    )
    connection.execute("COMMIT")
    return rows[-1][0] if rows else None


def _count_what_was_erased(connection: sqlite3.Connection) -> None:
    """Count what was counted before and is there no more: of that, fewer members are known."""
    left = Counter(
        {
            row[:10]: row[10]
            for row in connection.execute(f"SELECT day, {', '.join(_BEFORE)}, choices FROM daily_before")  # noqa: S608
        }
    )
    for day, key, choices in connection.execute(
        "SELECT day, key, choices FROM daily JOIN kind ON number = daily.kind"
    ):
        kind = ChoiceKind.parse(key)
        left[day, *(getattr(kind, name) for name in _BEFORE)] -= choices
    for (day, site, jurisdiction, policy, outcome, *answers, gpc, method), choices in left.items():
        if choices > 0:
            said = map(bool, (*answers, gpc))
            known = ChoiceKind._make(
                [site, "", jurisdiction, policy, "", "", outcome, *said, None, method, "", "", False]
            )
            (number,) = keep_kinds(connection, [known]).values()
            connection.execute(_COUNT, (day, number, choices))


# ---- schema 3


def _know_more(connection: sqlite3.Connection, path: Path, sealer: Sealer) -> None:
    """Give every receipt a kind with all members, and count it by that. What was erased stays counted as it was."""
    (count,) = connection.execute("SELECT count(*) FROM record WHERE kind IS NOT NULL").fetchone()
    logger.warning("%s: noting what %d receipts are found by, for schema %d", path, count, SCHEMA_VERSION)
    before = {
        number: len(json.loads(key)) for number, key in connection.execute("SELECT number, key FROM kind")
    }
    old = json.dumps([number for number, members in before.items() if members < len(ChoiceKind._fields)])
    after = -1
    for step in itertools.count(1):
        last = _know_more_of_some(connection, path, sealer, old, after)
        if last is None:
            break
        after = last
        if step % STEPS_IN_WAL == 0:
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
    connection.execute("BEGIN IMMEDIATE")
    _index(connection, "record_by_kind", "record_by_time", "answer_by_vendor", "record_by_subject")


def _know_more_of_some(
    connection: sqlite3.Connection, path: Path, sealer: Sealer, old: str, after: int
) -> int | None:
    """Do it for some receipts after a leaf whose kind is one of the old ones; return the last of them."""
    connection.execute("BEGIN IMMEDIATE")
    rows = connection.execute(
        "SELECT leaf, id_tag, commitment, body, outcome, subject.tag, subject.wrapped_key, kind FROM record"
        " LEFT JOIN subject ON subject.number = record.subject"
        " WHERE +kind IN (SELECT value FROM json_each(?)) AND leaf > ? ORDER BY leaf LIMIT ?",
        (old, after, STEP_ROWS),
    ).fetchall()
    found: list[tuple[int, int, str, ChoiceKind]] = []
    for *row, number in rows:
        try:
            receipt = logged_receipt(sealer, open_row(sealer, *row), row[1]).receipt
        except (SealBrokenError, InvalidReceiptError) as error:
            logger.error("%s: %s", path, error)
            continue
        found.append((row[0], number, receipt.time[:10], kind_of(receipt)))
    numbers = keep_kinds(connection, {kind for *_, kind in found})
    moved = [(numbers[kind], leaf) for leaf, _, _, kind in found]
    connection.executemany("UPDATE record SET kind = ? WHERE leaf = ?", moved)
    connection.executemany("UPDATE answer SET kind = ? WHERE leaf = ?", moved)
    connection.executemany(
        _COUNT,
        [
            (day, number, choices)
            for (day, number), choices in Counter((day, numbers[kind]) for _, _, day, kind in found).items()
        ],
    )
    connection.executemany(
        "UPDATE daily SET choices = choices - ? WHERE day = ? AND kind = ?",
        [
            (choices, day, number)
            for (day, number), choices in Counter((day, number) for _, number, day, _ in found).items()
        ],
    )
    connection.executemany(
        "DELETE FROM daily WHERE day = ? AND kind = ? AND choices <= 0",
        {(day, number) for _, number, day, _ in found},
    )
    connection.execute("COMMIT")
    return rows[-1][0] if rows else None


_BEFORE: Final = (
    "site", "jurisdiction", "policy_version", "outcome", "performance", "functional", "targeting", "gpc",
    "collection_method",
)  # fmt: skip
"""What schema 2 counted by."""
_COUNT: Final = (
    "INSERT INTO daily (day, kind, choices) VALUES (?, ?, ?)"
    " ON CONFLICT DO UPDATE SET choices = choices + excluded.choices"
)
