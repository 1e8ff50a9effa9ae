"""Visitors whom the log has forgotten without the register being told: on another machine, by retention, or by a
process that ended in between."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from consent.erasure import Erasure, erasure_ids
from consent.office.register import Register
from consent.office.watching import LogWatch
from consent.receipt_search import ReceiptSearch, Sought
from consent.store import Ledger

EVERY_SECONDS: Final = 6 * 3_600
"""How often it is looked."""


class Log(ReceiptSearch, Ledger, Protocol):
    """A log that can be asked who is in it."""


class ErasedElsewhere:
    """Forgets them in the register, too.

    Args:
        register: of requests.
        watch: knows which log is the site's.
        clock: returns seconds since 1970.
    """

    def __init__(self, register: Register, watch: LogWatch, clock: Callable[[], float]) -> None:
        self._register = register
        self._watch = watch
        self._clock = clock
        self._next = 0.0

    def look(self, log: Log) -> int:
        """Forget whoever the log has nothing of any more, if it is time to look; return how many. Blocks.

        Another log has nothing of them either, nor has an older state of it: of one that took another's place, only
        requests that arrived since are looked at, and of one with which something is wrong, none.
        """
        now = self._clock()
        if 0 <= self._next - now <= EVERY_SECONDS:
            return 0
        since = self._watch.trusted_since(log)
        if since is None:
            return 0
        self._next = now + EVERY_SECONDS
        known: dict[str, str | None] = {}
        for subject, series in self._register.subjects(since):
            known[subject] = known.get(subject) or series
        count = 0
        for subject, series in known.items():
            if log.look(Sought(subject=subject), limit=1).found:
                continue
            self._register.forget(subject, _erasures(log, series), "the log")
            count += 1
        return count


def _erasures(log: Log, series: str | None) -> list[Erasure]:
    """Return what was erased in a series: the answer may have been lost."""
    found: list[Erasure] = []
    for erasure_id in erasure_ids(series) if series else ():
        evidence = log.evidence(erasure_id)
        if evidence is None:
            break
        found.append(Erasure.from_bytes(evidence.record))
    return found
