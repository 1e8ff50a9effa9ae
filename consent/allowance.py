"""So many in the long run, and so many at once: what is taken from outside without being asked for."""

from __future__ import annotations


class Allowance:
    """Lets ``burst`` things pass at once, and ``per_second`` in the long run; the clock may go backwards."""

    __slots__ = ("_at", "_burst", "_left", "_per_second")

    def __init__(self, per_second: float, burst: int) -> None:
        self._per_second = per_second
        self._burst = burst
        self._left = float(burst)
        self._at = 0.0

    def would_admit(self, now: float) -> bool:
        """Tell what :meth:`admits` would, without counting it."""
        return self._left_at(now) >= 1

    def admits(self, now: float) -> bool:
        """Tell whether one more is to pass at ``now``, in seconds since 1970; it counts as passed then."""
        left = self._left_at(now)
        self._at = now
        if left < 1:
            self._left = left
            return False
        self._left = left - 1
        return True

    def _left_at(self, now: float) -> float:
        return min(self._left + max(0.0, now - self._at) * self._per_second, self._burst)
