"""What happens in the office and in the log, in one order: what webhooks are sent and log systems read.

Nothing in an event is about a visitor. What is of interest about one is asked for, by a number that the event has.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import threading
import time
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from consent.moments import format_moment
from consent.office.database import OfficeDatabase

MAX_EVENTS: Final = 100_000
"""How many are kept: the oldest go first."""
MAX_PAGE: Final = 500
MAX_STREAMS: Final = 10
"""How many streams one process has open at most."""
_LOOK_SECONDS: Final = 0.5


class TooManyStreams(Exception):
    """No more are opened."""


class _Place:
    """That of an open stream, which is free once the stream is gone: also one that nobody ever asked for a piece.

    A ``finally`` in a generator is not reached where nobody did.
    """

    def __init__(self, places: threading.BoundedSemaphore) -> None:
        self._places = places

    def __del__(self) -> None:
        self._places.release()


class EventType(StrEnum):
    """What can happen."""

    RECEIPTS_RECORDED = "receipts.recorded"
    """``first_leaf``, ``last_leaf``: the log of receipts grew by these; at most one such event a minute."""
    INTEGRITY_FAILED = "integrity.failed"
    """``problem``: the signed log, or the log of accesses, is not what was signed."""
    ACCESS_RECORDED = "access.recorded"
    """``leaf``, ``who``, ``what``: an entry of the log of accesses. Why and what exactly are read there."""
    EXPORT_FINISHED = "export.finished"
    """``export``, ``state``, ``form``, ``rows``, ``rows_done``, ``bytes``: an export is done, or has failed."""
    REQUEST_RECEIVED = "request.received"
    """``reference``, ``kind``, ``site``, ``answer_by``: somebody asked about their data."""
    WEBHOOK_REGISTERED = "webhook.registered"
    """``webhook``: one was made, or enabled again."""
    WEBHOOK_DISABLED = "webhook.disabled"
    """``webhook``, ``problem``: nothing is sent to it any more."""


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened."""

    number: int
    """In the order in which they happened; numbers are never used again."""
    time_ms: int
    type: EventType
    data: Mapping[str, Any]

    def line(self) -> bytes:
        """Return it as JSON, as streams and webhooks have it."""
        members = {
            "id": self.id,
            "number": self.number,
            "type": str(self.type),
            "timestamp": format_moment(self.time_ms),
            "data": dict(self.data),
        }
        return json.dumps(members, ensure_ascii=False, separators=(",", ":")).encode()

    @property
    def id(self) -> str:
        """What a receiver knows a repetition by."""
        return f"evt_{self.number}"


def add_event(connection: sqlite3.Connection, time_ms: int, type: EventType, **data: object) -> None:
    """Note what happens, in the transaction in which it does: neither is there without the other."""
    connection.execute(
        "INSERT INTO event (time_ms, type, data) VALUES (?, ?, ?)",
        (time_ms, type, json.dumps(data, ensure_ascii=False)),
    )
    connection.execute("DELETE FROM event WHERE number <= (SELECT max(number) FROM event) - ?", (MAX_EVENTS,))


class Events:
    """Reads what happened. Blocks; safe to share between threads.

    Args:
        database: where it is kept.
    """

    def __init__(self, database: OfficeDatabase) -> None:
        self._database = database
        self._open = threading.BoundedSemaphore(MAX_STREAMS)

    def after(self, number: int, *, limit: int, types: Collection[str] = ()) -> Sequence[Event]:
        """Return what happened after an event, the earliest first.

        Args:
            number: of that event; 0: what is the first that is still kept.
            limit: how many at most.
            types: only these; none: all.
        """
        some = f" AND type IN ({', '.join('?' * len(types))})" if types else ""
        with self._database.reading() as connection:
            rows = connection.execute(
                f"SELECT number, time_ms, type, data FROM event WHERE number > ?{some} ORDER BY number LIMIT ?",  # noqa: S608
                (number, *types, limit),
            ).fetchall()
        return [
            Event(number, time_ms, EventType(type), json.loads(data)) for number, time_ms, type, data in rows
        ]

    def follow(
        self, number: int, *, types: Collection[str], wait_seconds: float
    ) -> AsyncGenerator[bytes, None]:
        """Return what happened after an event, and what happens in the next seconds, as lines of JSON.

        It yields now and then an empty piece, to see whether somebody still reads.

        Raises:
            TooManyStreams: so many are open already.
        """
        if not self._open.acquire(blocking=False):
            raise TooManyStreams(f"{MAX_STREAMS} are open already")
        return self._follow(number, types, wait_seconds, _Place(self._open))

    async def _follow(
        self, number: int, types: Collection[str], wait_seconds: float, _place: _Place
    ) -> AsyncGenerator[bytes, None]:
        end = time.monotonic() + wait_seconds
        yield b""
        while True:
            page = await asyncio.to_thread(self.after, number, limit=MAX_PAGE, types=types)
            if page:
                number = page[-1].number
                yield b"".join(event.line() + b"\n" for event in page)
            elif time.monotonic() >= end:
                return
            else:
                # Not in a thread: those are for who has something to do.
                await asyncio.sleep(_LOOK_SECONDS)
                yield b""

    def last_number(self) -> int:
        """Return the number of the newest; 0: nothing happened yet."""
        with self._database.reading() as connection:
            return last_number(connection)


def last_number(connection: sqlite3.Connection) -> int:
    """Return the number of the newest event, also in the midst of a transaction."""
    row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'event'").fetchone()
    return 0 if row is None else int(row[0])
