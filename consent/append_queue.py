"""Receipts that wait to be recorded, and the callers who wait for them: the bounded queue that every store drains."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Sequence

from consent.errors import OtherReceiptError, StoreError, StoreFull
from consent.receipts import Artefact, Receipt
from consent.sealed_receipt import SealedReceipt
from consent.sealing import Sealer

MAX_BATCH = 512
"""How many receipts are taken at once, at most."""
_SMALL_BATCH = 128
MAX_WAITING_BYTES = 64 * 1024 * 1024
"""How many bytes of records may wait."""


class Entry:
    """One receipt that waits to be recorded, and the caller who waits for it."""

    __slots__ = ("artefacts", "done", "loop", "named", "receipt")

    def __init__(
        self,
        receipt: Receipt,
        sealer: Sealer,
        artefacts: tuple[Artefact, ...],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.receipt = SealedReceipt(receipt, sealer)
        self.named = receipt.artefact_hashes
        self.artefacts = artefacts
        self.loop = loop
        self.done: asyncio.Future[None] = loop.create_future()


class AppendQueue:
    """What waits, in the order of arrival. Its users lock it.

    Args:
        max_waiting: how many receipts may wait, before callers are turned away.
    """

    def __init__(self, max_waiting: int) -> None:
        self._max_waiting = max_waiting
        self._entries: deque[Entry] = deque()
        self._bytes = 0
        self._taken = 0

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
        """Return those that have waited longest, which are then forgotten here.

        Not more than half of all that wait or were taken the last time: while these are being written, the event loop
        answers those before and takes new ones. But a hundred share one sync: two cost half as much again.
        """
        waiting = self._entries
        half = (len(waiting) + self._taken + 1) // 2
        self._taken = min(len(waiting), max(half, _SMALL_BATCH), MAX_BATCH)
        batch = [waiting.popleft() for _ in range(self._taken)]
        self._bytes -= sum([len(entry.receipt.record) for entry in batch])
        return batch


def other_receipt() -> StoreError:
    """Return why a receipt is turned down whose id another one has."""
    return OtherReceiptError("another receipt is recorded under this id: make a new id")


def missing_artefact() -> StoreError:
    """Return why a receipt is turned down that refers to something unknown."""
    return StoreError(
        "the text shown, the policy or the vendor list that the receipt names is not in the store and not with the "
        "receipt: pass it as an artefact"
    )


def deliver(batch: Sequence[Entry], errors: Sequence[StoreError | None]) -> None:
    """Tell the callers of a batch what became of their receipts: ``None``, or why one was not recorded."""
    settled = list(zip(batch, errors, strict=True))
    for loop in {entry.loop for entry in batch}:
        # A loop that was closed has nobody left who waits; what he wanted recorded is recorded.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(_settle, loop, settled)


def _settle(loop: asyncio.AbstractEventLoop, settled: Sequence[tuple[Entry, StoreError | None]]) -> None:
    """Tell those who wait in ``loop``, which this runs in; one who was cancelled is gone."""
    for entry, error in settled:
        done = entry.done
        if entry.loop is not loop or done.done():
            continue
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)
