"""How many requests the form takes: from one network, from all, and as long as they wait for an answer.

Half of what all share is for networks that sent nothing that day: one that sends and sends cannot close the form to
others. Counted over all processes. Of a network there is a keyed hash, which is another one every day and is gone with
it; there are no more of them than requests are taken in a day.
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
_HOUR_MS: Final = 3_600_000


class Sender(NamedTuple):
    """Where a request comes from, on this day."""

    tag: bytes
    hour: int
    is_known: bool
    """Whether the network is: behind a server that says of no client where it is, all are one."""


class FormLoad(NamedTuple):
    """How many requests the form has taken, of those that it can take."""

    waiting: int
    """How many wait for an answer."""
    hour: int
    """How many came within this hour."""
    most: int
    """How many came within one hour of this day, at most."""

    @property
    def is_closed(self) -> bool:
        """Whether it takes no more now."""
        return self.waiting >= WAITING or self.hour >= HOURLY

    @property
    def is_narrow(self) -> bool:
        """Whether it takes only what comes from networks that sent nothing today."""
        return self.waiting >= WAITING // 2 or self.hour >= HOURLY // 2

    @property
    def takes(self) -> str:
        """What it takes now: ``all``, ``new-networks`` or ``none``."""
        return "none" if self.is_closed else "new-networks" if self.is_narrow else "all"

    @property
    def was_closed(self) -> bool:
        """Whether it took no more for a part of an hour today."""
        return self.most >= HOURLY


def sender_of(key: bytes, network: bytes, now_ms: int) -> Sender:
    """Return what a network is counted by on this day; an empty one is not known."""
    hour = now_ms // _HOUR_MS
    made = hmac.digest(key, b"consent-request-sender:%d:" % (hour // 24) + network, "sha256")
    return Sender(made[:16], hour, bool(network))


def require_room(connection: sqlite3.Connection, sender: Sender) -> None:
    """Refuse one request more than are taken.

    Raises:
        RegisterFull: there is no room.
    """
    (own, today) = connection.execute(
        "SELECT coalesce(sum(times) FILTER (WHERE hour = ?), 0), count(*) FROM request_sender WHERE network = ?",
        (sender.hour, sender.tag),
    ).fetchone()
    load = _load(connection, sender.hour)
    is_new = sender.is_known and not today
    if load.is_closed or (load.is_narrow and not is_new) or (sender.is_known and own >= HOURLY_OF_NETWORK):
        raise RegisterFull


def count_sent(connection: sqlite3.Connection, sender: Sender) -> None:
    """Count a request, and forget those of earlier days."""
    _forget_before(connection, sender.hour)
    connection.execute(
        "INSERT INTO request_sender VALUES (?, ?, 1) ON CONFLICT DO UPDATE SET times = times + 1",
        (sender.tag, sender.hour),
    )


def forget_senders(connection: sqlite3.Connection, now_ms: int) -> None:
    """Forget which networks sent something on earlier days."""
    _forget_before(connection, now_ms // _HOUR_MS)


def has_former_senders(connection: sqlite3.Connection, now_ms: int) -> bool:
    """Tell whether there are any."""
    statement = "SELECT 1 FROM request_sender WHERE hour < ? LIMIT 1"
    first = _first_of_day(now_ms // _HOUR_MS)
    return connection.execute(statement, (first,)).fetchone() is not None


def form_load(connection: sqlite3.Connection, now_ms: int) -> FormLoad:
    """Return how much of what it can take the form has taken."""
    return _load(connection, now_ms // _HOUR_MS)


def _forget_before(connection: sqlite3.Connection, hour: int) -> None:
    """Forget the senders of the days before that of an hour."""
    connection.execute("DELETE FROM request_sender WHERE hour < ?", (_first_of_day(hour),))


def _first_of_day(hour: int) -> int:
    """Return the first hour of its day, UTC."""
    return hour // 24 * 24


def _load(connection: sqlite3.Connection, hour: int) -> FormLoad:
    (waiting,) = connection.execute(
        "SELECT count(*) FROM request WHERE way = 'form' AND closed_ms IS NULL"
    ).fetchone()
    hours: dict[int, int] = dict(
        connection.execute(
            "SELECT hour, sum(times) FROM request_sender WHERE hour >= ? GROUP BY hour",
            (_first_of_day(hour),),
        ).fetchall()
    )
    return FormLoad(waiting, hours.get(hour, 0), max(hours.values(), default=0))
