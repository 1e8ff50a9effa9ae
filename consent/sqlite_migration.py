"""Bringing a database of an earlier release to the present tables, in steps that may be interrupted.

Schema 1 (0.1) had the receipts in plain text in ``receipt``, in the order of recording. They become the first leaves
of the log, in that order, sealed; the plain text is overwritten and goes.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Final

from consent.errors import InvalidReceiptError, StoreUnavailable
from consent.receipts import Artefact, Receipt
from consent.sealed_receipt import SealedReceipt
from consent.sealing import Sealer
from consent.sqlite_recording import Recorder
from consent.sqlite_schema import SCHEMA_VERSION

STEP_ROWS: Final = 1_000
"""How many receipts one transaction moves."""

logger = logging.getLogger("consent")


def migrate(connection: sqlite3.Connection, path: Path, sealer: Sealer) -> None:
    """Move all receipts of schema 1 to the present tables, which are there. Goes on where it was interrupted.

    Raises:
        StoreUnavailable: a receipt is not what was recorded: it is named, and all stays as it is.
    """
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
