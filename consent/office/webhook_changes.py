"""Webhooks as the API, the console and the command line change them: what is done is recorded, both or neither."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Final

from consent.office.access_log import AccessLog
from consent.office.events import EventType
from consent.office.outgoing import host_of
from consent.office.webhooks import KEEP_HOURS, Webhook, Webhooks, WebhookState

EVENT_TYPES: Final = [str(each) for each in EventType]

Record = Callable[..., object]
"""Records what is done as somebody's: ``record(what, **details)``."""


class WebhookChanges:
    """Changes webhooks for somebody. Blocks.

    Args:
        webhooks: all of them.
        accesses: where it is recorded.
        record: the same, as who does it.
    """

    def __init__(self, webhooks: Webhooks, accesses: AccessLog, record: Record) -> None:
        self._webhooks = webhooks
        self._accesses = accesses
        self._record = record

    def add(self, url: str, types: Collection[EventType]) -> tuple[Webhook, str]:
        """Do what :meth:`Webhooks.add` does. The address may be a secret: its host is what is recorded."""
        with self._accesses.together():
            webhook, secret = self._webhooks.add(url, types)
            self._record("webhook-made", webhook=webhook.id, host=host_of(url), events=list(webhook.types))
        return webhook, secret

    def rotate(self, webhook_id: str, *, keep_hours: int = KEEP_HOURS) -> tuple[Webhook, str] | None:
        """Do what :meth:`Webhooks.rotate` does."""
        with self._accesses.together():
            made = self._webhooks.rotate(webhook_id, keep_hours=keep_hours)
            if made is not None:
                self._record("webhook-secret-rotated", webhook=webhook_id, keep_hours=keep_hours)
        return made

    def change(
        self,
        webhook_id: str,
        *,
        state: WebhookState | None = None,
        types: Collection[EventType] | None = None,
    ) -> Webhook | None:
        """Do what :meth:`Webhooks.change` does; what is so already is not changed."""
        with self._accesses.together():
            before = self._webhooks.get(webhook_id)
            after = self._webhooks.change(webhook_id, state=state, types=types)
            if before is None or after is None:
                return None
            if (before.state, before.types) != (after.state, after.types):
                self._record(
                    "webhook-changed", webhook=webhook_id, state=str(after.state), events=list(after.types)
                )
        return after

    def remove(self, webhook_id: str) -> bool:
        """Do what :meth:`Webhooks.remove` does."""
        with self._accesses.together():
            removed = self._webhooks.remove(webhook_id)
            if removed:
                self._record("webhook-removed", webhook=webhook_id)
        return removed
