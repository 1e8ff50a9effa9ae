"""What the server did about trackers, counted: by day, rule, vendor, action and reason, and by no visitor.

Pages are counted in memory, on the request path; whoever keeps the counts takes them from there, now and then, and adds
them to those of the store. So the privacy office can ask whether anything left that was refused.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple, Protocol, runtime_checkable

from consent.decision import Reason
from consent.enforcement import Action, Finding

MAX_PENDING = 5_000
"""How many different counts wait in memory; what is beyond them is not counted until they are taken."""

ALLOWING = frozenset({Reason.ALWAYS_ON, Reason.GRANTED, Reason.REGIME, Reason.LET_THROUGH})
"""The reasons for which a vendor's tags may leave; every other one refuses them."""


class EnforcementKind(NamedTuple):
    """What enforcement is counted by."""

    day: str
    """UTC, ``2026-03-01``."""
    site: str
    rule: str
    """What it was: the kind of :class:`consent.enforcement.Finding`."""
    vendor: str
    category: str
    action: str
    reason: str
    """The signal or the choice that decided it."""
    policy_version: str

    @property
    def leaked(self) -> bool:
        """Whether something left although it was refused."""
        return self.action == Action.ALLOWED and self.reason not in ALLOWING


class EnforcementCount(NamedTuple):
    """How often something was done."""

    kind: EnforcementKind
    times: int


@runtime_checkable
class EnforcementStore(Protocol):
    """Where the counts are kept. Implemented by stores of receipts that can."""

    def count(self, counts: Mapping[EnforcementKind, int]) -> None:
        """Add to the counts that there are, all of it or nothing; return once that is durable. Blocks.

        Raises:
            StoreUnavailable: it cannot be written now; nothing was added.
        """


class EnforcementLog:
    """What was done since it was last taken. Safe to share between threads and event loops.

    Args:
        site: the site, as receipts name it.
        policy_version: the version of the policy that decides.
    """

    def __init__(self, site: str, policy_version: str) -> None:
        self._site = site
        self._policy_version = policy_version
        self._lock = threading.Lock()
        self._pending: dict[EnforcementKind, int] = {}
        self.turned_away = 0
        """How often there was no room for a count."""

    def note(self, findings: Iterable[Finding], now: int) -> None:
        """Count what was done in one response; what nobody has explained is not enforcement.

        Args:
            findings: what was found.
            now: seconds since 1970.
        """
        day = _day(now // 86_400)
        with self._lock:
            for finding in findings:
                vendor = finding.vendor
                if vendor is None:
                    continue
                kind = EnforcementKind(
                    day,
                    self._site,
                    finding.kind,
                    vendor.id,
                    str(vendor.category),
                    str(finding.action),
                    str(finding.reason),
                    self._policy_version,
                )
                self._add(kind, 1)

    def take(self) -> dict[EnforcementKind, int]:
        """Return what waits, which is then forgotten here."""
        with self._lock:
            taken, self._pending = self._pending, {}
        return taken

    def give_back(self, counts: Mapping[EnforcementKind, int]) -> None:
        """Let what was taken wait again, as far as there is room."""
        with self._lock:
            for kind, times in counts.items():
                self._add(kind, times)

    def _add(self, kind: EnforcementKind, times: int) -> None:
        known = self._pending.get(kind)
        if known is None and len(self._pending) >= MAX_PENDING:
            self.turned_away += times
        else:
            self._pending[kind] = (known or 0) + times


@lru_cache(maxsize=8)
def _day(days: int) -> str:
    return datetime.fromtimestamp(days * 86_400, UTC).date().isoformat()
