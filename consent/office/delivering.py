"""Sends events to webhooks, signed, one at a time to each, until each was answered with success.

Each webhook has a thread of its own as long as something waits for it: a receiver that is slow, or does not answer,
keeps nobody waiting but itself. There are as many threads at most as there may be webhooks.
"""

from __future__ import annotations

import base64
import hmac
import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final, TypeGuard

from consent.errors import ConsentError, SealBrokenError
from consent.office.events import Event, Events
from consent.office.outgoing import TIMEOUT_SECONDS, NotReached, Outgoing, WrongAddress
from consent.office.webhooks import Webhook, Webhooks

AT_ONCE: Final = 50
"""How many events of one webhook are in memory."""
_LOOK_SECONDS: Final = 1.0
"""How often it is looked for webhooks that something waits for, as long as others are being sent to."""
_AGAIN_SECONDS: Final = 5.0
"""How soon a webhook is tried again whose thread failed here, not there."""

logger = logging.getLogger("consent")


class Delivering:
    """Sends what waits. Blocks; only one process may at a time.

    Args:
        webhooks: knows where to.
        events: has what.
        outgoing: makes the requests.
        clock: returns seconds since 1970.
        let_go: called at the end of each thread.
    """

    def __init__(
        self,
        webhooks: Webhooks,
        events: Events,
        outgoing: Outgoing,
        clock: Callable[[], float],
        let_go: Callable[[], None] = lambda: None,
    ) -> None:
        self._webhooks = webhooks
        self._events = events
        self._outgoing = outgoing
        self._clock = clock
        self._let_go = let_go

    def work(self, stopping: threading.Event) -> int:
        """Send all that waits and may be sent now, and what comes to it meanwhile; return how many were delivered.

        Raises:
            ConsentError: the office's database, or a secret in it, cannot be read.
        """
        threads: dict[str, _WebhookThread] = {}
        delivered, ended = 0, threading.Event()
        try:
            while not stopping.is_set():
                for webhook in self._webhooks.due():
                    thread = threads.get(webhook.id)
                    if (thread is None or thread.is_over()) and self._waiting(webhook):
                        delivered += 0 if thread is None else thread.delivered
                        threads[webhook.id] = _WebhookThread(self, webhook.id, stopping, ended)
                if not any(thread.is_alive() for thread in threads.values()):
                    break
                ended.wait(_LOOK_SECONDS)
                ended.clear()
        finally:
            # Whoever has the turn next must not send at the same time. A name that is still being looked up then is
            # nobody's: nothing is sent after the time of a request.
            until = time.monotonic() + TIMEOUT_SECONDS + 1
            for thread in threads.values():
                thread.join(max(0.0, until - time.monotonic()))
        for thread in threads.values():
            delivered += thread.delivered
            if thread.error is not None:
                raise thread.error
        return delivered

    def send_to(self, webhook_id: str, stopping: threading.Event) -> int:
        """Send one webhook what waits for it, as long as it takes it; return how many events that were."""
        delivered = 0
        while not stopping.is_set() and (page := self._waiting(self._webhooks.get(webhook_id))):
            for event in page:
                # It may have been removed, disabled, or given another secret or other types since the last one.
                webhook = self._webhooks.get(webhook_id)
                if stopping.is_set() or not self._is_due(webhook):
                    return delivered
                if event.type not in webhook.types:
                    continue
                if not self._send(webhook, event):
                    return delivered
                delivered += 1
        return delivered

    def let_go(self) -> None:
        """Close what the thread has open."""
        self._let_go()

    def _is_due(self, webhook: Webhook | None) -> TypeGuard[Webhook]:
        return webhook is not None and self._webhooks.is_due(webhook)

    def _waiting(self, webhook: Webhook | None) -> Sequence[Event]:
        if not self._is_due(webhook):
            return ()
        return self._events.after(webhook.sent, limit=AT_ONCE, types=webhook.types)

    def _send(self, webhook: Webhook, event: Event) -> bool:
        body, now = event.line(), int(self._clock())
        try:
            secrets = self._webhooks.signing_secrets(webhook)
        except SealBrokenError:
            self._webhooks.failed(webhook, "its secret cannot be opened: give it a new one")
            return False
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "asgi-consent",
            "webhook-id": event.id,
            "webhook-timestamp": str(now),
            "webhook-signature": " ".join(signature(secret, event.id, now, body) for secret in secrets),
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


class _WebhookThread:
    """The thread that sends to one webhook, begun at once."""

    def __init__(
        self, delivering: Delivering, webhook_id: str, stopping: threading.Event, ended: threading.Event
    ) -> None:
        self.delivered = 0
        self.error: ConsentError | None = None
        self._delivering, self._webhook_id = delivering, webhook_id
        self._stopping, self._ended = stopping, ended
        self._ended_at: float | None = None
        self._thread = threading.Thread(target=self._run, name=f"consent-{webhook_id}", daemon=True)
        self._thread.start()

    def is_alive(self) -> bool:
        """Tell whether it still sends."""
        return self._ended_at is None

    def is_over(self) -> bool:
        """Tell whether the next one may begin."""
        ended = self._ended_at
        return ended is not None and (self.error is None or time.monotonic() - ended >= _AGAIN_SECONDS)

    def join(self, seconds: float) -> None:
        """Wait for its end."""
        self._thread.join(seconds)

    def _run(self) -> None:
        try:
            self.delivered = self._delivering.send_to(self._webhook_id, self._stopping)
        except ConsentError as error:
            self.error = error
        except Exception as error:
            logger.exception("webhook %s", self._webhook_id)
            self.error = ConsentError(f"webhook {self._webhook_id}: {type(error).__name__}")
        finally:
            self._delivering.let_go()
            self._ended_at = time.monotonic()
            self._ended.set()


def signature(secret: bytes, event_id: str, timestamp: int, body: bytes) -> str:
    """Return what a receiver checks an event by (Standard Webhooks 1.0: ``v1``, HMAC-SHA256)."""
    signed = hmac.digest(secret, f"{event_id}.{timestamp}.".encode() + body, "sha256")
    return f"v1,{base64.b64encode(signed).decode()}"
