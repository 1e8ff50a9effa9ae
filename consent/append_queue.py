"""Receipts that wait to be recorded, and the callers who wait for them: the bounded queue that every store drains."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Sequence

from consent.errors import StoreError, StoreFull
from consent.receipts import Artefact, Receipt
from consent.sealed_receipt import SealedReceipt
from consent.sealing import Sealer

# Not all of a thousand: while some are being written, the event loop answers those before and takes new ones.
MAX_BATCH = 512
"""How many receipts are taken at once."""
MAX_WAITING_BYTES = 64 * 1024 * 1024
"""How many bytes of records may wait."""


class Entry:
    """One receipt that waits to be recorded, and the caller who waits for it."""

    __slots__ = ("artefacts", "done", "loop", "receipt", "shown")

    def __init__(
        self,
        receipt: Receipt,
        sealer: Sealer,
        artefacts: tuple[Artefact, ...],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.receipt = SealedReceipt(receipt, sealer)
        self.shown = None if receipt.shown_hash is None else bytes.fromhex(receipt.shown_hash)
        self.artefacts = {bytes.fromhex(artefact.hash): artefact for artefact in artefacts}
        self.loop = loop
        self.done: asyncio.Future[None] = loop.create_future()

    def settle(self, error: StoreError | None) -> None:
        """Tell the caller. Runs in the caller's loop; a caller that was cancelled is gone."""
        if self.done.done():
            return
        if error is None:
            self.done.set_result(None)
        else:
            self.done.set_exception(error)


class AppendQueue:
    """What waits, in the order of arrival. Its users lock it.

    Args:
        max_waiting: how many receipts may wait, before callers are turned away.
    """

    def __init__(self, max_waiting: int) -> None:
        self._max_waiting = max_waiting
        self._entries: deque[Entry] = deque()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    def put(self, entry: Entry) -> bool:
        """Let one more wait; tell whether nobody did before.

        Raises:
            StoreFull: there is no room.
        """
        size = len(entry.receipt.record)
        if len(self._entries) >= self._max_waiting or self._bytes + size > MAX_WAITING_BYTES:
            raise StoreFull(f"{len(self._entries)} receipts wait to be recorded: try again shortly")
        self._entries.append(entry)
        self._bytes += size
        return len(self._entries) == 1

    def take(self) -> list[Entry]:
        """Return those that have waited longest, which are then forgotten here; at most ``MAX_BATCH``."""
        batch = [self._entries.popleft() for _ in range(min(len(self._entries), MAX_BATCH))]
        self._bytes -= sum([len(entry.receipt.record) for entry in batch])
        return batch


def deliver(batch: Sequence[Entry], errors: Sequence[StoreError | None]) -> None:
    """Tell the callers of a batch what became of their receipts: ``None``, or why one was not recorded."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[Entry, StoreError | None]]] = {}
    for entry, error in zip(batch, errors, strict=True):
        by_loop.setdefault(entry.loop, []).append((entry, error))
    for loop, settled in by_loop.items():
        # A loop that was closed has nobody left who waits; what he wanted recorded is recorded.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(_settle, settled)


def _settle(settled: list[tuple[Entry, StoreError | None]]) -> None:
    for entry, error in settled:
        entry.settle(error)
