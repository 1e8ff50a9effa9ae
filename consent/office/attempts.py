"""How often somebody was not let in, by the network that they came from. In memory, and of a few networks only."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from starlette.types import Scope

from consent.visitor_requests import network_of

LIMIT: Final = 20
"""How often within a window, before the answer is 429."""
WINDOW_SECONDS: Final = 600
MAX_NETWORKS: Final = 4_096


class Attempts:
    """Counts what failed. Safe to share between threads; each process has a count of its own.

    It says when to refuse what is wrong anyway, without another line in the log for each. What is right is let in all
    the same: a secret of 256 bits needs no lock, and whoever fails on purpose would otherwise lock others out.

    Args:
        clock: returns seconds since 1970.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._failed: OrderedDict[bytes, tuple[float, int]] = OrderedDict()
        """When a network's window began, and how often it failed since; the one that failed last is at the end."""

    def failed(self, scope: Scope) -> int:
        """Count one that failed; return after how many seconds the next may, 0: at once."""
        network, now = network_of(scope), self._clock()
        with self._lock:
            began, times = self._failed.pop(network, (now, 0))
            if not 0 <= now - began < WINDOW_SECONDS:
                began, times = now, 0
            self._failed[network] = (began, times + 1)
            if len(self._failed) > MAX_NETWORKS:
                self._failed.popitem(last=False)
        return max(1, int(began + WINDOW_SECONDS - now)) if times + 1 > LIMIT else 0
