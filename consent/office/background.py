"""What the office does without being asked: a thread that does one thing again and again, in one process at a time."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import nullcontext
from typing import Final

from consent.errors import ConsentError
from consent.office.turn import Turn

LOOK_SECONDS: Final = 5.0
"""How often it is looked whether there is something to do."""

logger = logging.getLogger("consent")


class Background:
    """Calls ``work`` in a thread of its own. Starting opens nothing; what goes wrong is logged, and tried again.

    Args:
        name: of the thread.
        turn: which only one process has at a time; ``None``: each process does it.
        work: does what there is to do, until ``stopping`` is set; must leave everything so that it can be done again.
        is_needed: whether there can be anything to do; asked before the turn is taken.
    """

    def __init__(
        self,
        name: str,
        turn: Turn | None,
        work: Callable[[threading.Event], object],
        *,
        is_needed: Callable[[], bool],
    ) -> None:
        self._name = name
        self._turn = turn
        self._work = work
        self._is_needed = is_needed
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._woken = threading.Event()
        self._told = ""

    def start(self) -> None:
        """Begin, unless it has begun in this process."""
        with self._lock:
            # Of another process's thread, after a fork, nothing is left that is alive.
            if self._thread is None or not self._thread.is_alive():
                self._stopping, self._woken = threading.Event(), threading.Event()
                self._thread = threading.Thread(
                    target=self._run, args=(self._stopping, self._woken), name=self._name, daemon=True
                )
                self._thread.start()

    def wake(self) -> None:
        """Let it look at once."""
        self._woken.set()

    def stop(self) -> None:
        """Tell it to end; see :meth:`join`."""
        with self._lock:
            self._stopping.set()
            self._woken.set()

    def join(self, seconds: float) -> None:
        """Wait for its end, after it was told; then it can be started again.

        What takes longer keeps its turn until it is done, or the process ends: nobody else does it meanwhile.
        """
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is not None:
            thread.join(seconds)

    def _run(self, stopping: threading.Event, woken: threading.Event) -> None:
        while not stopping.is_set():
            try:
                if self._is_needed():
                    with nullcontext(True) if self._turn is None else self._turn.taken() as taken:
                        if taken:
                            self._work(stopping)
                self._told = ""
            except (ConsentError, OSError) as error:
                # Once, not every few seconds as long as a disk is full.
                text = f"{type(error).__name__}: {error}"
                if text != self._told:
                    logger.warning("%s: %s", self._name, text)
                self._told = text
            except Exception:
                logger.exception("%s", self._name)
            woken.wait(LOOK_SECONDS)
            woken.clear()
