"""Reading the receipts that are kept in SQLite, also while others record there."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Self

from consent.errors import InvalidReceiptError, StoreUnavailable
from consent.receipts import Artefact, Outcome, Receipt
from consent.sqlite_schema import BUSY_SECONDS, is_ours, uuid_bytes
from consent.store import LoggedReceipt


class SQLiteReceiptLog:
    """Reads what :class:`consent.sqlite_store.SQLiteStore` recorded; implements :class:`consent.store.ReceiptLog`.

    Never writes, works while others write, and holds nobody up: each call is a read of its own. Safe to share
    between threads; not to be carried across a fork. Close it, or use it as a context manager.

    Raises:
        StoreUnavailable: there is no database yet, it cannot be read, or it is not one of ours.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path).absolute()
        self._lock = threading.Lock()
        nothing_yet = (
            f"no receipts yet: there is no database at {self._path}; "
            "it is made when the site starts or the first visitor chooses"
        )
        if not self._path.exists():
            raise StoreUnavailable(nothing_yet)
        with self._reading():
            self._connection = sqlite3.connect(
                f"{self._path.as_uri()}?mode=ro",
                uri=True,
                timeout=BUSY_SECONDS,
                isolation_level=None,
                check_same_thread=False,
            )
            try:
                if not is_ours(self._connection, self._path):
                    raise StoreUnavailable(nothing_yet)
            except BaseException:
                self._connection.close()
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the database. May be repeated."""
        with self._lock:
            self._connection.close()

    def get(self, receipt_id: str) -> Receipt | None:
        """Return the receipt with this id, or ``None``."""
        try:
            key = uuid_bytes(receipt_id)
        except ValueError:
            return None
        rows = self._select("WHERE receipt_id = ?", (key,))
        return rows[0].receipt if rows else None

    def list(
        self,
        *,
        limit: int,
        before: int | None = None,
        subject: str | None = None,
        outcome: Outcome | None = None,
    ) -> Sequence[LoggedReceipt]:
        """Return up to ``limit`` receipts, newest first. See :meth:`consent.store.ReceiptLog.list`."""
        if limit < 1:
            raise ValueError("limit must be 1 or more")
        terms: dict[str, object] = {}
        if before is not None:
            terms["position <= ?"] = before
        if subject is not None:
            try:
                terms["subject = ?"] = bytes.fromhex(subject)
            except ValueError:
                return []
        if outcome is not None:
            terms["outcome = ?"] = str(outcome)
        where = "WHERE " + " AND ".join(terms) if terms else ""
        return self._select(f"{where} ORDER BY position DESC LIMIT ?", (*terms.values(), limit))

    def artefact(self, hash: str) -> Artefact | None:
        """Return the artefact whose content has this SHA-256, or ``None``."""
        try:
            key = bytes.fromhex(hash)
        except ValueError:
            return None
        with self._reading():
            row = self._connection.execute(
                "SELECT CAST(content AS BLOB), CAST(media_type AS TEXT) FROM artefact WHERE hash = ?", (key,)
            ).fetchone()
        if row is None:
            return None
        artefact = Artefact(content=row[0], media_type=row[1])
        if artefact.hash != key.hex():
            raise InvalidReceiptError(
                f"artefact {key.hex()} was altered: its content has SHA-256 {artefact.hash}"
            )
        return artefact

    def _select(self, clause: str, values: tuple[object, ...]) -> Sequence[LoggedReceipt]:
        with self._reading():
            rows = self._connection.execute(
                # Whoever alters a row can alter its type, too.
                f"SELECT position, receipt_id, content_hash, CAST(body AS BLOB) FROM receipt {clause}",  # noqa: S608 - ours
                values,
            ).fetchall()
        return [_logged(*row) for row in rows]

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        with self._lock:
            try:
                yield
            except sqlite3.Error as error:
                raise StoreUnavailable(
                    f"{self._path} cannot be read: {error}; run this as the user that the site runs as"
                ) from error


def _logged(position: int, receipt_id: bytes, content_hash: bytes, body: bytes) -> LoggedReceipt:
    """Make a receipt of a row, unless the row is not what was recorded."""
    try:
        receipt = Receipt.from_bytes(body)
        if content_hash != sha256(body).digest():
            raise InvalidReceiptError("its content does not have the SHA-256 recorded with it")
        if receipt_id != uuid_bytes(receipt.receipt_id):
            raise InvalidReceiptError(f"it is recorded under another id than its own, {receipt.receipt_id}")
    except InvalidReceiptError as error:
        raise InvalidReceiptError(f"the receipt at position {position} was altered: {error}") from None
    return LoggedReceipt(position - 1, receipt)
