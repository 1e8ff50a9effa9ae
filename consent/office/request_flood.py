"""How many requests the form takes: from one network, from all, and as long as they wait for an answer.

Counted over all processes. Of a network there is a keyed hash, which is another one every hour and is gone with it.
"""

from __future__ import annotations

import hmac
import sqlite3
from typing import Final, NamedTuple

from consent.subject_request import RegisterFull

HOURLY_OF_NETWORK: Final = 5
"""How many requests an hour the form takes from one client's network."""
HOURLY: Final = 60
"""The same from all of them together."""
WAITING: Final = 2_000
"""How many requests of the form may wait for an answer; no more are taken then."""


class Sender(NamedTuple):
    """Where a request comes from, in this hour."""

    tag: bytes
    hour: int


def sender_of(key: bytes, network: bytes, now_ms: int) -> Sender:
    """Return what a network is counted by in this hour."""
    hour = now_ms // 3_600_000
    return Sender(hmac.digest(key, b"consent-request-sender:%d:" % hour + network, "sha256")[:16], hour)


def require_room(connection: sqlite3.Connection, sender: Sender) -> None:
    """Refuse one request more than are taken.

    Raises:
        RegisterFull: there is no room.
    """
    statement = (
        "SELECT coalesce(sum(times), 0) FROM request_sender WHERE hour = ?1 AND (?2 IS NULL OR network = ?2)"
    )
    (own,), (everybodys,) = (
        connection.execute(statement, (sender.hour, tag)).fetchone() for tag in (sender.tag, None)
    )
    (waiting,) = connection.execute(
        "SELECT count(*) FROM request WHERE way = 'form' AND closed_ms IS NULL"
    ).fetchone()
    if own >= HOURLY_OF_NETWORK or everybodys >= HOURLY or waiting >= WAITING:
        raise RegisterFull


def count_sent(connection: sqlite3.Connection, sender: Sender) -> None:
    """Count a request, and forget those of earlier hours."""
    connection.execute("DELETE FROM request_sender WHERE hour < ?", (sender.hour,))
    connection.execute(
        "INSERT INTO request_sender VALUES (?, ?, 1) ON CONFLICT DO UPDATE SET times = times + 1", sender
    )
