"""Forgetting in SQLite: a visitor, what is past its time, and old wrapping keys."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from itertools import chain
from uuid import UUID

from consent.choice_kind import ChoiceKind
from consent.erasure import Erasure, ErasureReason, erasure_ids, erasures_of
from consent.errors import ErasureHeldError
from consent.merkle import leaf_hash
from consent.moments import format_moment
from consent.retention import Past
from consent.sealing import SALT_BYTES, commitment
from consent.sqlite_database import LogDatabase
from consent.sqlite_recording import insert_leaf

STEP_RECORDS = 5_000
"""How many records one transaction of :func:`expire` erases."""
STEP_KEYS = 1_000
"""How many keys one transaction of :func:`rewrap` wraps anew."""


def erase(database: LogDatabase, subject: str, series: str | None = None) -> Sequence[Erasure]:
    """Erase a visitor in one transaction; the database is to be scrubbed afterwards.

    Returns what :meth:`consent.store.Erasing.erase` does.

    Raises:
        ErasureHeldError: the visitor's records are held.
        StoreUnavailable: the database cannot be written.
    """
    tag = database.sealer.tag(bytes.fromhex(subject))
    erasures: Sequence[Erasure] = ()
    ids = erasure_ids(series or _random_id(database))
    with database.writing() as connection:
        connection.execute("BEGIN IMMEDIATE")
        known, ids = _known(database, connection, ids) if series else ((), ids)
        row = connection.execute("SELECT number, held FROM subject WHERE tag = ?", (tag,)).fetchone()
        if row is not None:
            number, held = row
            if held is not None:
                raise ErasureHeldError(f"nothing was erased: this visitor's records are held ({held})")
            leaves = [
                leaf
                for (leaf,) in connection.execute(
                    "SELECT leaf FROM record WHERE subject = ? ORDER BY leaf", (number,)
                )
            ]
            erasures = _erase_leaves(database, connection, leaves, ErasureReason.REQUEST, ids)
            connection.execute("DELETE FROM subject WHERE number = ?", (number,))
        connection.execute("COMMIT")
    _settled(database, erasures)
    return [*known, *erasures]


def count_expired(database: LogDatabase, past: Past) -> int:
    """Return how many records :func:`expire` would erase."""
    with database.writing() as connection:
        condition, values = _expired(connection, past)
        (count,) = connection.execute(f"SELECT count(*) {condition}", values).fetchone()
    return int(count)


def expire(database: LogDatabase, past: Past) -> int:
    """Erase some of what is past its time, in one transaction; return how many records, 0 when all are gone."""
    with database.writing() as connection:
        connection.execute("BEGIN IMMEDIATE")
        condition, values = _expired(connection, past)
        rows = connection.execute(
            f"SELECT leaf, subject {condition} ORDER BY record.time_ms LIMIT ?", (*values, STEP_RECORDS)
        ).fetchall()
        leaves = sorted(leaf for leaf, _ in rows)
        erasures = _erase_leaves(
            database, connection, leaves, ErasureReason.RETENTION, erasure_ids(_random_id(database))
        )
        connection.executemany(
            "DELETE FROM subject WHERE number = ?1 AND NOT EXISTS (SELECT 1 FROM record WHERE subject = ?1)",
            [(number,) for number in {number for _, number in rows}],
        )
        connection.execute("COMMIT")
    _settled(database, erasures)
    return len(leaves)


def hold(database: LogDatabase, subject: str, reason: str | None) -> bool:
    """Hold a visitor's records, or let them go. See :meth:`consent.store.Erasing.hold`."""
    tag = database.sealer.tag(bytes.fromhex(subject))
    with database.writing() as connection:
        held = connection.execute("UPDATE subject SET held = ? WHERE tag = ?", (reason, tag)).rowcount
    return held > 0


def rewrap(database: LogDatabase, after: int) -> tuple[int, int | None]:
    """Wrap some keys under the wrapping key in use, in one transaction.

    Args:
        after: where the last step ended, 0 at first.

    Returns:
        How many keys were under another, and where the next step begins; ``None`` when all are done.

    Raises:
        SealBrokenError: a key is wrapped under one that is not in the key file.
    """
    count = 0
    with database.writing() as connection:
        connection.execute("BEGIN IMMEDIATE")
        rows = connection.execute(
            "SELECT number, tag, wrapped_key FROM subject WHERE number > ? ORDER BY number LIMIT ?",
            (after, STEP_KEYS),
        ).fetchall()
        for number, tag, wrapped_key in rows:
            if not database.sealer.is_current(wrapped_key):
                key = database.sealer.unwrap(wrapped_key, tag)
                connection.execute(
                    "UPDATE subject SET wrapped_key = ? WHERE number = ?",
                    (database.sealer.wrap(key, tag), number),
                )
                count += 1
        connection.execute("COMMIT")
    return count, rows[-1][0] if rows else None


def _expired(connection: sqlite3.Connection, past: Past) -> tuple[str, tuple[object, ...]]:
    """Return the end of a question for the records that are past their time, and its values."""
    known = {
        number: ChoiceKind.parse(key) for number, key in connection.execute("SELECT number, key FROM kind")
    }
    only, numbers = past.kinds(known)
    # The plus keeps the index by kind out of it, whose rows would have to be sorted.
    among = "+kind IN" if only else "kind IS NULL OR +kind NOT IN"
    return (
        f"""FROM record JOIN subject ON subject.number = record.subject
        WHERE record.site = ? AND record.time_ms < ? AND subject.held IS NULL
        AND ({among} (SELECT value FROM json_each(?)))""",  # noqa: S608 - ours
        (past.site, past.before_ms, json.dumps(numbers)),
    )


def _erase_leaves(
    database: LogDatabase,
    connection: sqlite3.Connection,
    leaves: Sequence[int],
    reason: ErasureReason,
    ids: Iterator[str],
) -> Sequence[Erasure]:
    """Erase the records of ``leaves``, and append what says so, in the transaction under way."""
    connection.executemany(
        "UPDATE record SET subject = NULL, outcome = NULL, site = NULL, time_ms = NULL, body = NULL, kind = NULL"
        " WHERE leaf = ?",
        [(leaf,) for leaf in leaves],
    )
    connection.executemany("DELETE FROM answer WHERE leaf = ?", [(leaf,) for leaf in leaves])
    time = format_moment(int(database.clock() * 1_000))
    erasures = erasures_of(leaves, reason, time=time, ids=ids)
    if erasures:
        kept = [(erasure, database.sealer.salt(), erasure.canonical_bytes()) for erasure in erasures]
        first = database.recorder.append_leaves(
            connection, [leaf_hash(commitment(salt, record)) for _, salt, record in kept]
        )
        for leaf, (erasure, salt, record) in enumerate(kept, first):
            id_tag = database.sealer.id_tag(UUID(erasure.erasure_id).bytes)
            insert_leaf(connection, leaf, id_tag, salt, record)
    return erasures


def _known(
    database: LogDatabase, connection: sqlite3.Connection, ids: Iterator[str]
) -> tuple[Sequence[Erasure], Iterator[str]]:
    """Return the erasures of a series that are in the log, and the ids that are left."""
    known: list[Erasure] = []
    for erasure_id in ids:
        id_tag = database.sealer.id_tag(UUID(erasure_id).bytes)
        row = connection.execute("SELECT body FROM record WHERE id_tag = ?", (id_tag,)).fetchone()
        if row is None:
            return known, chain([erasure_id], ids)
        known.append(Erasure.from_bytes(row[0][SALT_BYTES:]))
    return known, ids


def _random_id(database: LogDatabase) -> str:
    return str(UUID(bytes=database.sealer.random_bytes(16), version=4))


def _settled(database: LogDatabase, erasures: Sequence[Erasure]) -> None:
    if erasures:
        database.recorder.committed()
        database.grew(len(erasures))
