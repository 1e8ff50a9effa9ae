"""Webhooks: where events are sent, with which secret, and how far each has come.

There is no queue of its own: a webhook has the number of the event that it was sent last. So what waits is bounded by
what is kept of events, it outlives every restart, and everything is sent in order.
"""

from __future__ import annotations

import base64
import hashlib
import random
import secrets
import sqlite3
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from consent.errors import SealBrokenError
from consent.office.database import OfficeDatabase
from consent.office.events import EventType, add_event, last_number
from consent.sealing import LedgerKeys, Sealer

MAX_WEBHOOKS: Final = 20
FAILING_DAYS: Final = 5
"""After how many days without a success nothing is sent any more."""
FIRST_WAIT_SECONDS: Final = 5.0
MAX_WAIT_SECONDS: Final = 12 * 3_600.0
KEEP_HOURS: Final = 24
"""How long a secret that was replaced still signs, beside the new one, unless something else is asked for."""
MAX_KEEP_HOURS: Final = 7 * 24
_SECRET_BYTES: Final = 32
_FACTOR: Final = 4.0


class WebhookState(StrEnum):
    """Whether events are sent."""

    ACTIVE = "active"
    DISABLED = "disabled"


@dataclass(frozen=True, slots=True)
class Webhook:
    """One place that events are sent to."""

    id: str
    url: str
    types: tuple[str, ...]
    """The events that it is for."""
    state: WebhookState
    made_ms: int
    sent: int
    """The number of the last event that was delivered or passed over."""
    delivered: int
    """How many were, since it was made."""
    attempts: int
    """How often the next one failed."""
    failing_since_ms: int | None
    next_ms: int
    """When it is tried again."""
    problem: str
    """Why the last attempt failed; empty: it did not."""
    former_until_ms: int | None
    """Until when the secret before this one signs, too; ``None``: there is none."""
    secret_tag: str
    """Another one for each secret, of which it says nothing: what a form knows by that it was sent before."""


class TooManyWebhooks(Exception):
    """No more are taken."""


class Webhooks:
    """Knows where events are sent. Blocks; safe to share between threads.

    Args:
        database: where they are kept, the secrets sealed.
        keys: those of the log of receipts; the wrapping ones seal.
        clock: returns seconds since 1970.
        check: refuses addresses that nothing is sent to.
        chance: returns 0 to 1: how far a wait is shortened, so that not all come at once.
    """

    def __init__(
        self,
        database: OfficeDatabase,
        keys: LedgerKeys,
        clock: Callable[[], float],
        check: Callable[[str], None],
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._database = database
        self._sealer = Sealer(keys)
        self._clock = clock
        self._check = check
        self._chance = chance

    def add(self, url: str, types: Collection[EventType]) -> tuple[Webhook, str]:
        """Register one; return it, and its secret, which is not shown again.

        Its first event says that it was registered, if that is among its types, and nothing from before is sent.

        Raises:
            WrongAddress: nothing is sent there.
            TooManyWebhooks: there are as many as may be.
        """
        self._check(url)
        now, webhook_id = self._now(), f"whk_{secrets.token_hex(8)}"
        place = webhook_id.encode()
        key, wrapped = self._sealer.new_key(place)
        secret, sealed = self._new_secret(key, place)
        with self._database.writing() as connection:
            (number,) = connection.execute("SELECT count(*) FROM webhook").fetchone()
            if number >= MAX_WEBHOOKS:
                raise TooManyWebhooks(f"{MAX_WEBHOOKS} at most: remove one first")
            connection.execute(
                "INSERT INTO webhook (id, url, types, state, made_ms, sent, wrapped, sealed)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    webhook_id, url, "\n".join(sorted(types)), WebhookState.ACTIVE, now, last_number(connection),
                    wrapped, sealed,
                ),
            )  # fmt: skip
            add_event(connection, now, EventType.WEBHOOK_REGISTERED, webhook=webhook_id)
            row = connection.execute(f"SELECT {_COLUMNS} FROM webhook WHERE id = ?", (webhook_id,)).fetchone()  # noqa: S608
        return _webhook(row), secret

    def all(self) -> Sequence[Webhook]:
        """Return all, the earliest first."""
        with self._database.reading() as connection:
            rows = connection.execute(f"SELECT {_COLUMNS} FROM webhook ORDER BY made_ms, rowid").fetchall()  # noqa: S608
        return [_webhook(row) for row in rows]

    def get(self, webhook_id: str) -> Webhook | None:
        """Return one; ``None``: there is none of this id."""
        with self._database.reading() as connection:
            row = connection.execute(f"SELECT {_COLUMNS} FROM webhook WHERE id = ?", (webhook_id,)).fetchone()  # noqa: S608
        return None if row is None else _webhook(row)

    def signing_secrets(self, webhook: Webhook) -> Sequence[bytes]:
        """Return the secrets that its events are signed with: the present one, and the former as long as it counts.

        Raises:
            SealBrokenError: one was altered, or the wrapping key is not in the key file.
        """
        place = webhook.id.encode()
        with self._database.reading() as connection:
            row = connection.execute(
                "SELECT wrapped, sealed, CASE WHEN former_until_ms > ? THEN former END FROM webhook WHERE id = ?",
                (self._now(), webhook.id),
            ).fetchone()
        if row is None:
            return ()  # removed meanwhile
        wrapped, *sealed = row
        key = self._sealer.unwrap(wrapped, place)
        return [self._sealer.open(key, each, place)[1] for each in sealed if each is not None]

    def rotate(self, webhook_id: str, *, keep_hours: int = KEEP_HOURS) -> tuple[Webhook, str] | None:
        """Give one a new secret; return it, and the secret, which is not shown again. ``None``: there is none.

        The secret before it signs, too, for some hours, so that a receiver has time to take the new one. One that was
        replaced already signs no longer. Also where the secret cannot be opened any more: then there is no former one.

        Args:
            webhook_id: whose.
            keep_hours: how long; 0: the former secret is known to others, and ends at once.

        Raises:
            ValueError: more hours than may be.
        """
        if not 0 <= keep_hours <= MAX_KEEP_HOURS:
            raise ValueError(f"0 to {MAX_KEEP_HOURS} hours")
        place, until = webhook_id.encode(), self._now() + keep_hours * 3_600_000
        with self._database.writing() as connection:
            row = connection.execute(
                "SELECT wrapped, sealed FROM webhook WHERE id = ?", (webhook_id,)
            ).fetchone()
            if row is None:
                return None
            wrapped, former = row
            try:
                key = self._sealer.unwrap(wrapped, place)
                self._sealer.open(key, former, place)
            except SealBrokenError:
                (key, wrapped), keep_hours = self._sealer.new_key(place), 0
            secret, sealed = self._new_secret(key, place)
            kept = (former, until) if keep_hours else (None, None)
            connection.execute(
                "UPDATE webhook SET wrapped = ?, sealed = ?, former = ?, former_until_ms = ? WHERE id = ?",
                (wrapped, sealed, *kept, webhook_id),
            )
            row = connection.execute(f"SELECT {_COLUMNS} FROM webhook WHERE id = ?", (webhook_id,)).fetchone()  # noqa: S608
        return _webhook(row), secret

    def purge(self) -> None:
        """Forget the secrets that sign no longer."""
        ended = "former_until_ms <= ?", (self._now(),)
        with self._database.reading() as connection:
            row = connection.execute(f"SELECT 1 FROM webhook WHERE {ended[0]} LIMIT 1", ended[1]).fetchone()  # noqa: S608
        if row is not None:
            with self._database.writing() as connection:
                connection.execute(
                    f"UPDATE webhook SET former = NULL, former_until_ms = NULL WHERE {ended[0]}",  # noqa: S608
                    ended[1],
                )

    def _new_secret(self, key: bytes, place: bytes) -> tuple[str, bytes]:
        """Return a new secret as it is shown, and sealed."""
        secret = secrets.token_bytes(_SECRET_BYTES)
        return f"whsec_{base64.b64encode(secret).decode()}", self._sealer.seal(
            key, self._sealer.salt(), secret, place
        )

    def change(
        self,
        webhook_id: str,
        *,
        state: WebhookState | None = None,
        types: Collection[EventType] | None = None,
    ) -> Webhook | None:
        """Enable or disable one, or let it be sent others; ``None``: there is none of this id.

        One that is enabled again is sent what it missed, as far as that is kept. Of a type that it was not for nothing
        is sent from before the change, but what came after the first event that still waits.
        """
        with self._database.writing() as connection:
            if types is not None:
                _set_types(connection, webhook_id, types)
            if state is WebhookState.DISABLED:
                connection.execute("UPDATE webhook SET state = ? WHERE id = ?", (state, webhook_id))
            elif state is WebhookState.ACTIVE:
                enabled = connection.execute(
                    "UPDATE webhook SET state = ?, attempts = 0, failing_since_ms = NULL, next_ms = 0, problem = ''"
                    " WHERE id = ? AND state != ?",
                    (state, webhook_id, state),
                )
                if enabled.rowcount:
                    add_event(connection, self._now(), EventType.WEBHOOK_REGISTERED, webhook=webhook_id)
        return self.get(webhook_id)

    def remove(self, webhook_id: str) -> bool:
        """Forget one and its secret; tell whether there was one."""
        with self._database.writing() as connection:
            return connection.execute("DELETE FROM webhook WHERE id = ?", (webhook_id,)).rowcount == 1

    def due(self) -> Sequence[Webhook]:
        """Return those that may be sent something now."""
        return [each for each in self.all() if self.is_due(each)]

    def is_due(self, webhook: Webhook) -> bool:
        """Tell whether one may be sent something now."""
        return webhook.state is WebhookState.ACTIVE and webhook.next_ms <= self._now()

    def succeeded(self, webhook: Webhook, number: int, *, delivered: int = 1) -> None:
        """Note that everything up to an event was delivered, or is not for this webhook."""
        with self._database.writing() as connection:
            connection.execute(
                "UPDATE webhook SET sent = max(sent, ?), delivered = delivered + ?, attempts = 0,"
                " failing_since_ms = NULL, next_ms = 0, problem = '' WHERE id = ?",
                (number, delivered, webhook.id),
            )

    def failed(
        self, webhook: Webhook, problem: str, *, wait_seconds: float = 0, for_good: bool = False
    ) -> None:
        """Note that an attempt failed: the next one is later each time, and after some days there is none.

        Args:
            webhook: to which.
            problem: why.
            wait_seconds: how long the other side asked to wait.
            for_good: it said that there will never be anything there again.
        """
        now = self._now()
        wait = min(MAX_WAIT_SECONDS, FIRST_WAIT_SECONDS * _FACTOR ** min(webhook.attempts, 10))
        wait = max(wait * (1 - self._chance() / 2), min(wait_seconds, MAX_WAIT_SECONDS))
        since = webhook.failing_since_ms or now
        over = for_good or now - since >= FAILING_DAYS * 86_400_000
        with self._database.writing() as connection:
            changed = connection.execute(
                "UPDATE webhook SET state = ?, attempts = attempts + 1, failing_since_ms = ?, next_ms = ?, problem = ?"
                " WHERE id = ? AND state = ?",
                (
                    WebhookState.DISABLED if over else WebhookState.ACTIVE, since, now + int(wait * 1_000), problem,
                    webhook.id, WebhookState.ACTIVE,
                ),
            )  # fmt: skip
            if over and changed.rowcount:
                add_event(connection, now, EventType.WEBHOOK_DISABLED, webhook=webhook.id, problem=problem)

    def _now(self) -> int:
        return int(self._clock() * 1_000)


_COLUMNS: Final = (
    "id, url, types, state, made_ms, sent, delivered, attempts, failing_since_ms, next_ms, problem,"
    " former_until_ms, sealed"
)


def _set_types(connection: sqlite3.Connection, webhook_id: str, types: Collection[EventType]) -> None:
    """Let a webhook be for other types, from the first event that it still waits for, or else from now on."""
    row = connection.execute("SELECT types, sent FROM webhook WHERE id = ?", (webhook_id,)).fetchone()
    if row is None or set(row[0].split("\n")) == set(types):
        return
    known, sent = row
    staying = [each for each in known.split("\n") if each in types]
    (waiting,) = connection.execute(
        f"SELECT min(number) FROM event WHERE number > ? AND type IN ({', '.join('?' * len(staying))})",  # noqa: S608
        (sent, *staying),
    ).fetchone()
    begin = last_number(connection) if waiting is None else waiting - 1
    connection.execute(
        "UPDATE webhook SET types = ?, sent = max(sent, ?) WHERE id = ?",
        ("\n".join(sorted(types)), begin, webhook_id),
    )


def _webhook(row: Sequence[Any]) -> Webhook:
    webhook_id, url, types, state, *rest, sealed = row
    tag = hashlib.sha256(sealed).hexdigest()[:32]
    return Webhook(webhook_id, url, tuple(types.split("\n")), WebhookState(state), *(*rest, tag))
