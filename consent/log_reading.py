"""Reading the log for visitors: off the event loop, a few at a time, and none of them waits for long."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from threading import BoundedSemaphore
from typing import Protocol, TypeVar

from consent.errors import StoreUnavailable
from consent.receipt_search import ReceiptSearch
from consent.store import Ledger, ReceiptLog

MAX_READS = 16
"""How many reads may be under way in a process: anybody can ask for one."""
READ_SECONDS = 5.0

_T = TypeVar("_T")


class Log(ReceiptLog, ReceiptSearch, Ledger, Protocol):
    """A log as it is opened to be read. One object serves any number of threads."""


class LogReading:
    """Opens the log for whoever reads first, and reads it. Safe to share between tasks and event loops.

    Args:
        open_log: opens the log; called again as long as it fails.
    """

    def __init__(self, open_log: Callable[[], Log]) -> None:
        self._open_log = open_log
        self._log: Log | None = None
        self._room = BoundedSemaphore(MAX_READS)

    async def read(self, work: Callable[[Log], _T]) -> _T:
        """Return what ``work`` returns, which may block.

        Raises:
            StoreUnavailable: the log cannot be read, too many read it, or it takes too long.
            ConsentError: what ``work`` raises.
        """
        if not self._room.acquire(blocking=False):
            raise StoreUnavailable(f"{MAX_READS} requests read the log already")

        def run() -> _T:
            try:
                if self._log is None:
                    self._log = self._open_log()
                return work(self._log)
            finally:
                self._room.release()

        reading = asyncio.get_running_loop().run_in_executor(None, run)
        # Whoever goes away or waits too long leaves a read behind that runs to its end; nobody asks what came of it.
        reading.add_done_callback(lambda done: done.cancelled() or done.exception())
        try:
            async with asyncio.timeout(READ_SECONDS):
                return await asyncio.shield(reading)
        except TimeoutError:
            raise StoreUnavailable(f"the log was not read within {READ_SECONDS:g} seconds") from None
