"""Moving a log from SQLite to PostgreSQL: the same leaves in the same order, with their proofs and checkpoints."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from consent.checkpoint import open_checkpoint
from consent.errors import InvalidProofError, StoreUnavailable
from consent.postgresql_schema import month_of, new_partition
from consent.postgresql_sequencer import Sequencer, Turn
from consent.postgresql_session import Session
from consent.sealing import LedgerKeys
from consent.signing import CheckpointSigner
from consent.sqlite_database import LogDatabase
from consent.sqlite_tree import checkpoints, log_size, origin_of

STEP_LEAVES: Final = 1_000
"""How many leaves are copied at once."""
TIMEOUT_SECONDS: Final = 600.0


def move_log(
    source: Path,
    address: str,
    keys: LedgerKeys,
    *,
    mark: Path,
    aside: Path,
    clock: Callable[[], float] = time.time,
) -> int:
    """Copy the log in one transaction, then put the old database aside; return how many leaves it has.

    Nobody can record in the old database meanwhile, and nobody finds it afterwards: two that go on from the same
    checkpoint would contradict each other. May be interrupted, and done again.

    Args:
        source: the SQLite database.
        address: the PostgreSQL database, without a log, or with one that nobody has recorded in.
        keys: the log's.
        mark: where this machine keeps the checkpoint that it signed last of the new log.
        aside: where the old database is put.
        clock: returns seconds since 1970-01-01T00:00:00Z.

    Raises:
        StoreUnavailable: one of the two cannot be used, the old log was altered, or there is another one in the new
            database; the old one goes on to be the log.
    """
    database = LogDatabase(source, keys, 10.0, clock)
    session = Session(address, TIMEOUT_SECONDS)
    try:
        sequencer = Sequencer(session, keys, mark, clock)
        sequencer.prepare()
        sequencer.catch_up()
        with database.writing() as connection:
            origin, size = origin_of(connection), log_size(connection)
            with sequencer.turn() as turn:
                # An earlier move may have been interrupted after its end.
                if (turn.origin, turn.size) != (origin, size):
                    if turn.size:
                        raise StoreUnavailable(
                            f"there is another log at {session.place}: name an empty database"
                        )
                    _copy(connection, turn, origin)
                    _check(connection, turn, CheckpointSigner(origin, keys))
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            source.rename(aside)
        sequencer.sign()
    finally:
        database.close()
        session.close()
    return size


def _copy(connection: sqlite3.Connection, turn: Turn, origin: str) -> None:
    turn.transaction.execute("UPDATE consent_log SET origin = $1", origin)
    for row in connection.execute("SELECT hash, media_type, content FROM artefact"):
        turn.transaction.execute("INSERT INTO consent_artefact VALUES ($1, $2, $3)", *row)
    for rows in _pages(connection):
        _copy_leaves(turn, rows)
    for table in ("kind", "daily", "enforcement"):
        for row in connection.execute(f"SELECT * FROM {table}"):  # noqa: S608 - ours
            places = ", ".join(f"${number}" for number in range(1, len(row) + 1))
            turn.transaction.execute(f"INSERT INTO consent_{table} VALUES ({places})", *row)  # noqa: S608 - ours
    turn.transaction.fetch(
        "SELECT setval(pg_get_serial_sequence('consent_kind', 'number'), coalesce(max(number), 0) + 1, false)"
        " FROM consent_kind"
    )
    for tag, reason in connection.execute("SELECT tag, held FROM subject WHERE held IS NOT NULL"):
        turn.transaction.execute("INSERT INTO consent_hold VALUES ($1, $2)", tag, reason)
    for day, size, note in connection.execute("SELECT day, size, note FROM checkpoint"):
        turn.transaction.execute("INSERT INTO consent_checkpoint VALUES ($1, $2, $3)", size, day, note)


def _pages(connection: sqlite3.Connection) -> Iterator[Sequence[Any]]:
    first = 0
    while rows := connection.execute(
        "SELECT leaf, id_tag, commitment, subject.tag, subject.wrapped_key, outcome, site, time_ms, body, kind,"
        " (SELECT json_group_object(vendor, json(iif(said, 'true', 'false'))) FROM answer"
        " WHERE answer.leaf = record.leaf HAVING count(*)) FROM record"
        " LEFT JOIN subject ON subject.number = record.subject WHERE leaf >= ? ORDER BY leaf LIMIT ?",
        (first, STEP_LEAVES),
    ).fetchall():
        yield rows
        first = rows[-1][0] + 1


def _copy_leaves(turn: Turn, rows: Sequence[Any]) -> None:
    """Copy leaves, and the receipts of those that have one, sealed as they are."""
    leaves: list[tuple[bytes, bytes, int | None, bytes | None]] = []
    receipts = []
    for leaf, id_tag, commitment, tag, wrapped_key, outcome, site, time_ms, body, kind, vendors in rows:
        if outcome is None:
            # An erasure, or what was erased: nobody's.
            leaves.append((id_tag, commitment, None, body))
            continue
        if tag is None or wrapped_key is None:
            raise StoreUnavailable(
                f"the key of leaf {leaf} is missing: consent ledger verify says what else is wrong"
            )
        month = month_of(datetime.fromtimestamp(time_ms / 1_000, UTC).isoformat())
        leaves.append((id_tag, commitment, month, None))
        receipts.append((month, id_tag, tag, wrapped_key, outcome, site, time_ms, body, kind, vendors))
    if turn.append(leaves) != rows[0][0] or rows[-1][0] != rows[0][0] + len(rows) - 1:
        raise StoreUnavailable("a leaf is missing: consent ledger verify says which")
    for month in {receipt[0] for receipt in receipts}:
        turn.transaction.run(new_partition(month))
    if receipts:
        turn.transaction.execute(_RECORDS, *zip(*receipts, strict=True))


def _check(connection: sqlite3.Connection, turn: Turn, signer: CheckpointSigner) -> None:
    """Check that what was copied is what was signed."""
    for _, note in checkpoints(connection):
        try:
            checkpoint = open_checkpoint(note, signer.verifiers)
            right = turn.tiles(checkpoint.size).root() == checkpoint.root
        except InvalidProofError as error:
            raise StoreUnavailable(f"the log is not moved: {error}") from None
        if not right:
            raise StoreUnavailable(
                f"the log is not moved, for its first {checkpoint.size} leaves are not those that were signed: "
                "consent ledger verify says which"
            )


_RECORDS: Final = """
INSERT INTO consent_record (month, id_tag, tag, wrapped_key, outcome, site, time_ms, body, kind, vendors)
SELECT month, id_tag, tag, wrapped_key, outcome, site, time_ms, body, kind, vendors::jsonb
FROM unnest($1::integer[], $2::bytea[], $3::bytea[], $4::bytea[], $5::text[], $6::text[], $7::bigint[], $8::bytea[],
    $9::integer[], $10::text[])
    AS a (month, id_tag, tag, wrapped_key, outcome, site, time_ms, body, kind, vendors)
"""
