"""Sends events to webhooks, signed, one at a time to each, until each was answered with success."""

from __future__ import annotations

import base64
import hmac
import threading
from collections.abc import Callable
from typing import Final

from consent.office.events import Event, Events
from consent.office.outgoing import NotReached, Outgoing, WrongAddress
from consent.office.webhooks import Webhook, Webhooks

AT_ONCE: Final = 50
"""How many one webhook is sent before it is the next one's turn."""


class Delivering:
    """Sends what waits. Blocks; only one process may at a time.

    Args:
        webhooks: knows where to.
        events: has what.
        outgoing: makes the requests.
        clock: returns seconds since 1970.
    """

    def __init__(
        self, webhooks: Webhooks, events: Events, outgoing: Outgoing, clock: Callable[[], float]
    ) -> None:
        self._webhooks = webhooks
        self._events = events
        self._outgoing = outgoing
        self._clock = clock

    def work(self, stopping: threading.Event) -> int:
        """Send all that waits and may be sent now; return how many were delivered."""
        delivered = 0
        while not stopping.is_set():
            waiting = [webhook for webhook in self._webhooks.due() if self._next(webhook)]
            if not waiting:
                break
            for webhook in waiting:
                delivered += self._send_some(webhook, stopping)
        return delivered

    def _next(self, webhook: Webhook) -> list[Event]:
        return list(self._events.after(webhook.sent, limit=AT_ONCE, types=webhook.types))

    def _send_some(self, webhook: Webhook, stopping: threading.Event) -> int:
        delivered = 0
        for event in self._next(webhook):
            if stopping.is_set() or not self._send(webhook, event):
                break
            delivered += 1
        return delivered

    def _send(self, webhook: Webhook, event: Event) -> bool:
        body, now = event.line(), int(self._clock())
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "asgi-consent",
            "webhook-id": event.id,
            "webhook-timestamp": str(now),
            "webhook-signature": signature(self._webhooks.secret(webhook), event.id, now, body),
        }
        try:
            answer = self._outgoing.post(webhook.url, headers, body)
        except (NotReached, WrongAddress) as error:
            self._webhooks.failed(webhook, str(error))
            return False
        if 200 <= answer.status < 300:
            self._webhooks.succeeded(webhook, event.number)
            return True
        self._webhooks.failed(
            webhook,
            f"answered {answer.status}",
            wait_seconds=answer.retry_after_seconds,
            for_good=answer.status == 410,
        )
        return False


def signature(secret: bytes, event_id: str, timestamp: int, body: bytes) -> str:
    """Return what a receiver checks an event by (Standard Webhooks 1.0: ``v1``, HMAC-SHA256)."""
    signed = hmac.digest(secret, f"{event_id}.{timestamp}.".encode() + body, "sha256")
    return f"v1,{base64.b64encode(signed).decode()}"
