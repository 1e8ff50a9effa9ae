"""Reading the log that is kept in SQLite, also while others record there."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from consent import sqlite_finding
from consent.checkpoint import Checkpoint, Verifier
from consent.choice_kind import ChoiceKind
from consent.enforcement_log import EnforcementCount, EnforcementKind
from consent.errors import InvalidProofError, StoreUnavailable
from consent.evidence import Evidence
from consent.log_reader import LogReader
from consent.log_rows import evidence_of, logged_receipt, open_row, proven_rows
from consent.receipt_search import (
    KINDS_AT_ONCE,
    FoundBy,
    KindQuery,
    Position,
    ReceiptFinder,
    RecordPage,
    numbered_kinds,
)
from consent.receipts import Artefact, Receipt
from consent.sealing import LedgerKeys, Sealer
from consent.signing import CheckpointSigner
from consent.sqlite_schema import BUSY_SECONDS, SCHEMA_VERSION, schema_of
from consent.sqlite_tree import checkpoints, last_checkpoint, origin_of, read_tile, tiles_at
from consent.store import Leaf, LoggedReceipt


def check_log(path: str | Path) -> None:
    """Check that there is a log to read.

    Raises:
        StoreUnavailable: there is no database yet, it cannot be read, or it is not one of ours.
    """
    connect(Path(path).absolute()).close()


class SQLiteReceiptLog(LogReader, ReceiptFinder):
    """Reads what :class:`consent.sqlite_store.SQLiteStore` recorded.

    Implements :class:`consent.store.ReceiptLog`, :class:`consent.store.Ledger` and
    :class:`consent.receipt_search.ReceiptSearch`. Never writes, works while others write, and holds nobody up: each
    call is a read of its own. Safe to share between threads; not to be carried
    across a fork.

    Args:
        path: the database file.
        keys: the log's secrets.

    Raises:
        StoreUnavailable: there is no database yet, it cannot be read, or it is not one of ours.
    """

    def __init__(self, path: str | Path, keys: LedgerKeys) -> None:
        self._path = Path(path).absolute()
        self._keys = keys
        self._sealer = Sealer(keys)
        self._lock = threading.RLock()
        self._known_kinds: dict[int, ChoiceKind] = {}
        self._connection = connect(self._path)

    def __del__(self) -> None:
        # Whoever serves the log from it has it as long as he lives.
        if hasattr(self, "_connection"):
            self._connection.close()

    def close(self) -> None:
        """Close the database. May be repeated."""
        with self._lock:
            self._connection.close()

    def get(self, receipt_id: str) -> Receipt | None:
        """Return the receipt with this id, or ``None``."""
        id_tag = self._id_tag(receipt_id)
        rows = () if id_tag is None else self._select("AND id_tag = ?", (id_tag,))
        return rows[0].receipt if rows else None

    def list(self, *, limit: int, before: int | None = None) -> Sequence[LoggedReceipt]:
        """Return up to ``limit`` receipts, newest first. See :meth:`consent.store.ReceiptLog.list`."""
        if limit < 1:
            raise ValueError("limit must be 1 or more")
        if before is None:
            return self._select("ORDER BY leaf DESC LIMIT ?", (limit,))
        return self._select("AND leaf < ? ORDER BY leaf DESC LIMIT ?", (before, limit))

    def _artefact(self, digest: bytes) -> Artefact | None:
        with self._reading():
            row = self._connection.execute(
                "SELECT CAST(content AS BLOB), CAST(media_type AS TEXT) FROM artefact WHERE hash = ?",
                (digest,),
            ).fetchone()
        return None if row is None else Artefact(content=row[0], media_type=row[1])

    def _daily(self, first_day: str, last_day: str) -> Sequence[tuple[str, int, int]]:
        with self._reading():
            return self._connection.execute(
                "SELECT day, kind, choices FROM daily WHERE day >= ? AND day <= ? ORDER BY day, kind",
                (first_day, last_day),
            ).fetchall()

    def _totals(self, first_day: str, last_day: str) -> Sequence[tuple[int, str, str, int]]:
        with self._reading():
            return self._connection.execute(
                "SELECT kind, min(day), max(day), sum(choices) FROM daily WHERE day >= ? AND day <= ? GROUP BY kind",
                (first_day, last_day),
            ).fetchall()

    def enforcement(self, first_day: str, last_day: str) -> Sequence[EnforcementCount]:
        """Return what was done about trackers on the days from first to last, in order. See :meth:`daily`."""
        with self._reading():
            rows = self._connection.execute(
                "SELECT * FROM enforcement WHERE day >= ? AND day <= ? ORDER BY 1, 2, 3, 4, 5, 6, 7, 8",
                (first_day, last_day),
            ).fetchall()
        return [EnforcementCount(EnforcementKind._make(row[:8]), row[8]) for row in rows]

    # ---- finding

    def _opened(self, leaves: Sequence[int]) -> Mapping[int, LoggedReceipt]:
        rows = self._rows_of(leaves)
        return {
            leaf: logged_receipt(self._sealer, open_row(self._sealer, *row), row[1])
            for leaf, row in rows.items()
        }

    def _rows_of(self, leaves: Sequence[int]) -> Mapping[int, tuple[Any, ...]]:
        with self._reading():
            rows = self._connection.execute(
                f"{_ROWS} WHERE leaf IN (SELECT value FROM json_each(?)) AND outcome IS NOT NULL",  # noqa: S608 - ours
                (json.dumps(leaves),),
            )
            return {row[0]: row for row in rows}

    def _kinds(self) -> Mapping[int, ChoiceKind]:
        with self._reading():
            known = self._known_kinds
            last = max(known, default=0)
            while True:
                numbers, keys = self._connection.execute(
                    "SELECT group_concat(number), group_concat(key) FROM"
                    " (SELECT number, key FROM kind WHERE number > ? ORDER BY number LIMIT ?)",
                    (last, KINDS_AT_ONCE),
                ).fetchone()
                if numbers is None:
                    return known
                known.update(more := numbered_kinds(numbers, keys))
                last = max(more)

    def account(self, name: str) -> str:
        """Return what receipts name an account by. See :meth:`consent.receipt_search.ReceiptSearch.account`."""
        return self._sealer.account(name)

    def _tag(self, subject: str) -> bytes | None:
        try:
            return self._sealer.tag(bytes.fromhex(subject))
        except ValueError:
            return None

    def _newest(
        self, query: KindQuery, before: Position | None, count: int
    ) -> Sequence[tuple[Position, int | None]]:
        with self._reading():
            return sqlite_finding.newest(self._connection, query, before, count)

    def _oldest(
        self, query: KindQuery, after: Position | None, count: int
    ) -> Sequence[tuple[Position, int | None]]:
        with self._reading():
            return sqlite_finding.oldest(self._connection, query, after, count)

    def _oldest_records(self, query: KindQuery, after: Position | None, count: int) -> RecordPage:
        with self._reading():
            rows = sqlite_finding.oldest_rows(
                self._connection, query, after, count, f"{_COLUMNS}, found.kind, found.time_ms"
            )
        last = Position(rows[-1][-1], rows[-1][0]) if rows else None
        return RecordPage(proven_rows(self._sealer, rows), last)

    def _standing(self, leaves: Sequence[int], until_ms: int | None) -> Collection[int]:
        with self._reading():
            return sqlite_finding.standing(self._connection, leaves, until_ms)

    # ---- the tree

    def verifiers(self) -> Sequence[Verifier]:
        """Return the log's public keys. See :meth:`consent.store.Ledger.verifiers`."""
        with self._reading():
            return CheckpointSigner(origin_of(self._connection), self._keys).verifiers

    def checkpoint(self) -> str | None:
        """Return the checkpoint signed last. See :meth:`consent.store.Ledger.checkpoint`."""
        with self._reading():
            return last_checkpoint(self._connection)

    def checkpoints(self) -> Sequence[tuple[str, str]]:
        """Return the last checkpoint of each day, the earliest first: day and signed note."""
        with self._reading():
            return checkpoints(self._connection)

    def tile(self, level: int, index: int, width: int) -> bytes | None:
        """Return hashes of a tile. See :meth:`consent.store.Ledger.tile`."""
        with self._reading():
            hashes = read_tile(self._connection, level, index, width)
        return hashes if len(hashes) == 32 * width else None

    def leaves(self, first: int, limit: int) -> Sequence[Leaf]:
        """Return leaves in order. See :meth:`consent.store.Ledger.leaves`."""
        with self._reading():
            rows = self._connection.execute(
                f"{_ROWS} WHERE leaf >= ? AND leaf < ? ORDER BY leaf", (first, first + limit)
            )
            return [open_row(self._sealer, *row) for row in rows]

    def found_by(self, first: int, limit: int) -> Mapping[int, FoundBy]:
        """Return what the receipts at leaves are found by, altered or not."""
        answers: dict[int, dict[str, object]] = {}
        with self._reading():
            for leaf, vendor, *answer in self._connection.execute(_ANSWERS, (first, first + limit)):
                answers.setdefault(leaf, {})[vendor] = tuple(answer)
            rows = self._connection.execute(_FOUND_BY, (first, first + limit))
            return {
                leaf: FoundBy(outcome, site, time_ms, key, answers.get(leaf, {}))
                for leaf, outcome, site, time_ms, key in rows
            }

    def stored_tile(self, level: int, index: int, width: int) -> bytes:
        """Return what is kept of a tile, up to ``width`` hashes, altered or not."""
        with self._reading():
            try:
                return read_tile(self._connection, level, index, width)
            except InvalidProofError:
                return b""

    def artefact_hashes(self) -> Sequence[str]:
        """Return the names of all artefacts."""
        with self._reading():
            rows = self._connection.execute("SELECT CAST(hash AS BLOB) FROM artefact ORDER BY 1").fetchall()
        return [hash.hex() for (hash,) in rows]

    def evidence(self, receipt_id: str) -> Evidence | None:
        """Return a receipt with its proof. See :meth:`consent.store.Ledger.evidence`."""
        id_tag = self._id_tag(receipt_id)
        if id_tag is None:
            return None
        with self._reading(), self._one_moment():
            row = self._connection.execute(f"{_ROWS} WHERE id_tag = ?", (id_tag,)).fetchone()
            note = last_checkpoint(self._connection)
            if row is None or note is None:
                return None
            tiles = tiles_at(self._connection, Checkpoint.of_note(note).size)
            return evidence_of(open_row(self._sealer, *row), note, tiles)

    def _select(self, clause: str, values: tuple[object, ...]) -> Sequence[LoggedReceipt]:
        with self._reading():
            rows = self._connection.execute(f"{_ROWS} WHERE outcome IS NOT NULL {clause}", values).fetchall()
        return [logged_receipt(self._sealer, open_row(self._sealer, *row), row[1]) for row in rows]

    @contextlib.contextmanager
    def one_moment(self) -> Iterator[None]:
        """Let everything in between read the log as it is now. An erasure waits for the end of it."""
        with self._reading(), self._one_moment():
            yield

    @contextlib.contextmanager
    def _one_moment(self) -> Iterator[None]:
        """Let everything in between read the same state of the database."""
        if self._connection.in_transaction:
            yield
            return
        self._connection.execute("BEGIN")
        try:
            yield
        finally:
            self._connection.execute("ROLLBACK")

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        with self._lock, _explained(self._path):
            yield


def connect(path: Path) -> sqlite3.Connection:
    """Open a log to read it and nothing else.

    Raises:
        StoreUnavailable: there is no database yet, it cannot be read, or it is not one of ours.
    """
    nothing_yet = (
        f"no receipts yet: there is no database at {path}; "
        "it is made when the site starts or the first visitor chooses"
    )
    if not path.exists():
        raise StoreUnavailable(nothing_yet)
    with _explained(path):
        connection = sqlite3.connect(
            f"{path.as_uri()}?mode=ro",
            uri=True,
            timeout=BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            version = schema_of(connection, path)
            if version == 0:
                raise StoreUnavailable(nothing_yet)
            if version < SCHEMA_VERSION:
                raise StoreUnavailable(
                    f"{path} has schema {version}, an earlier release's: start the site, or run consent db upgrade"
                )
        except BaseException:
            connection.close()
            raise
    return connection


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise StoreUnavailable(
            f"{path} cannot be read: {error}; run this as the user that the site runs as"
        ) from error


# Whoever alters a row can alter its type, too.
_COLUMNS = """record.leaf, CAST(id_tag AS BLOB), CAST(commitment AS BLOB), CAST(body AS BLOB), outcome,
    CAST(subject.tag AS BLOB), CAST(subject.wrapped_key AS BLOB)"""
_ROWS = f"SELECT {_COLUMNS} FROM record LEFT JOIN subject ON subject.number = record.subject"  # noqa: S608 - ours
_FOUND_BY = """SELECT leaf, outcome, site, time_ms, key FROM record LEFT JOIN kind ON kind.number = record.kind
    WHERE leaf >= ? AND leaf < ? AND outcome IS NOT NULL"""
_ANSWERS = """SELECT leaf, vendor, said, time_ms, key FROM answer LEFT JOIN kind ON kind.number = answer.kind
    WHERE leaf >= ? AND leaf < ?"""
