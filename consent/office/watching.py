"""Looks at the log of receipts again and again: how far it has grown, and whether it still is what it was.

What was signed is remembered outside of the log's own database: a log that was put back to an older state, or whose
tree says something else about leaves that were seen, is noticed within seconds. That lasts until the log goes on from
what was seen again, or another one is begun: nobody can say that it does not matter, for receipts are missing that were
signed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from consent.checkpoint import Checkpoint, open_checkpoint
from consent.errors import InvalidProofError
from consent.merkle import Tiles
from consent.office.access_log import AccessLog
from consent.office.database import OfficeDatabase
from consent.office.events import EventType, add_event
from consent.store import Ledger

VERIFY_SECONDS: Final = 3_600
"""How often the log of accesses is verified."""
_ACCESSES: Final = "accesses"
BATCH_SECONDS: Final = 60
"""How often it is told at most that receipts were recorded."""


class LogWatch:
    """Compares the log with what it was. Blocks; only one process may at a time.

    Args:
        database: remembers what was seen, and is told what happened.
        clock: returns seconds since 1970.
    """

    def __init__(self, database: OfficeDatabase, clock: Callable[[], float]) -> None:
        self._database = database
        self._clock = clock

    def look(self, ledger: Ledger) -> None:
        """Tell of new receipts, and of a log that is not what it was.

        What was there when it is looked for the first time is not told of.

        Raises:
            StoreUnavailable: the log cannot be read.
        """
        note = ledger.checkpoint()
        if note is None:
            return
        now = int(self._clock() * 1_000)
        signed = Checkpoint.of_note(note)
        with self._database.reading() as connection:
            row = connection.execute(
                "SELECT size, root, told_ms, problem FROM watched WHERE log = ?", (signed.origin,)
            ).fetchone()
        if row is None:
            with self._database.writing() as connection:
                connection.execute(
                    "INSERT OR IGNORE INTO watched SELECT ?, ?, ?, 0, '',"
                    " CASE WHEN EXISTS (SELECT 1 FROM watched WHERE log <> ?) THEN ? ELSE 0 END",
                    (signed.origin, signed.size, signed.root, _ACCESSES, now),
                )
            return
        size, root, told, before = row
        problem = _problem(ledger, note, size, root)
        if problem:
            if problem != before:
                with self._database.writing() as connection:
                    add_event(connection, now, EventType.INTEGRITY_FAILED, problem=problem)
                    connection.execute(
                        "UPDATE watched SET problem = ? WHERE log = ?", (problem, signed.origin)
                    )
        elif signed.size > size and now - told >= BATCH_SECONDS * 1_000:
            with self._database.writing() as connection:
                add_event(
                    connection, now, EventType.RECEIPTS_RECORDED, first_leaf=size, last_leaf=signed.size - 1
                )
                connection.execute(
                    "UPDATE watched SET size = ?, root = ?, told_ms = ?, problem = '' WHERE log = ?",
                    (signed.size, signed.root, now, signed.origin),
                )
        elif before:
            with self._database.writing() as connection:
                connection.execute("UPDATE watched SET problem = '' WHERE log = ?", (signed.origin,))

    def problem(self, origin: str) -> str:
        """Return what was wrong with a log when it was looked at last; empty: nothing, or nobody has looked."""
        with self._database.reading() as connection:
            row = connection.execute("SELECT problem FROM watched WHERE log = ?", (origin,)).fetchone()
        return "" if row is None else str(row[0])

    def trusted_since(self, ledger: Ledger) -> int | None:
        """Tell since when a log is the one of this site, as far as was seen, milliseconds since 1970; 0: it was the
        first. ``None``: nobody has looked at it yet, something is wrong with it, or it was put back to an older state.

        Raises:
            StoreUnavailable: the log cannot be read.
        """
        note = ledger.checkpoint()
        if note is None:
            return None
        signed = Checkpoint.of_note(note)
        with self._database.reading() as connection:
            row = connection.execute(
                "SELECT size, problem, since_ms FROM watched WHERE log = ?", (signed.origin,)
            ).fetchone()
        return None if row is None or row[1] or signed.size < row[0] else int(row[2])

    def look_at_accesses(self, accesses: AccessLog) -> None:
        """Tell of a log of accesses that is not what was recorded. All of it is read, so seldom."""
        now = int(self._clock() * 1_000)
        with self._database.reading() as connection:
            row = connection.execute(
                "SELECT told_ms, problem FROM watched WHERE log = ?", (_ACCESSES,)
            ).fetchone()
        if row is not None and now - row[0] < VERIFY_SECONDS * 1_000:
            return
        problem = "; ".join(accesses.verify())[:1_000]
        with self._database.writing() as connection:
            if problem and (row is None or row[1] != problem):
                add_event(
                    connection, now, EventType.INTEGRITY_FAILED, problem=f"the log of accesses: {problem}"
                )
            connection.execute(
                "INSERT INTO watched (log, size, root, told_ms, problem) VALUES (?1, 0, x'', ?2, ?3)"
                " ON CONFLICT DO UPDATE SET told_ms = ?2, problem = ?3",
                (_ACCESSES, now, problem),
            )


def _problem(ledger: Ledger, note: str, size: int, root: bytes) -> str:
    """Return what is wrong with the log; empty: it still begins with what was seen."""
    try:
        signed = open_checkpoint(note, ledger.verifiers())
        if signed.size < size:
            return f"the log has {signed.size} leaves, and had {size}"

        def tile(level: int, index: int, width: int) -> bytes:
            return ledger.tile(level, index, width) or b""

        if Tiles(signed.size, tile).root() != signed.root:
            return f"the tree of {signed.size} leaves is not the one that was signed"
        if Tiles(size, tile).root() != root:
            return f"the first {size} leaves are not those that were seen before"
    except InvalidProofError as error:
        return str(error)
    return ""
