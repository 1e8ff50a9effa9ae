"""What stores have in common as programs come and go: opened by the first use, closed on request, forked, ended."""

from __future__ import annotations

import asyncio
import threading
from abc import ABC, abstractmethod
from typing import Generic, Protocol, TypeVar

from consent.process_lifetime import attend


class Writer(Protocol):
    """What records for a store, in threads of its own."""

    def stop(self) -> None:
        """Begin to end: what waits is still recorded."""

    def join(self) -> None:
        """Wait until it has ended. Blocks."""


_W = TypeVar("_W", bound=Writer)


class OpenedStore(ABC, Generic[_W]):
    """Has a writer from the first use on, until it is closed; a later use starts another one."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._writer: _W | None = None
        attend(self)

    @abstractmethod
    def _start(self) -> _W:
        """Return a new writer."""

    def _started(self) -> _W:
        """Return the writer. Hold the lock."""
        if self._writer is None:
            self._writer = self._start()
        return self._writer

    async def aclose(self) -> None:
        """Record what waits, then close the database. May be repeated; a later append opens it again."""
        writer = self._detach()
        if writer is not None:
            await asyncio.to_thread(writer.join)

    def close(self) -> None:
        """Do the same where no event loop runs. Blocks."""
        writer = self._detach()
        if writer is not None:
            writer.join()

    def _detach(self) -> _W | None:
        with self._lock:
            writer, self._writer = self._writer, None
        if writer is not None:
            writer.stop()
        return writer

    def __del__(self) -> None:
        # Nobody can append any more; the threads need not outlive that.
        if self._writer is not None:
            self._writer.stop()

    def before_fork(self) -> None:
        """See :class:`consent.process_lifetime.Forking`."""
        self._lock.acquire()

    def after_fork_in_parent(self) -> None:
        """See :class:`consent.process_lifetime.Forking`."""
        self._lock.release()

    def after_fork_in_child(self) -> None:
        """See :class:`consent.process_lifetime.Forking`."""
        # Threads, connections and whatever waits are the parent's. They are kept, for ever, because to take them apart
        # would be to write to connections that the parent goes on using.
        _inherited.append(self._writer)
        self._lock = threading.RLock()
        self._writer = None


_inherited: list[object] = []
"""What a child process has of its parent's."""
