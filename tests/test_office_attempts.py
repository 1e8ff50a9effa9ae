"""How often somebody was not let in, by network, within bounds."""

from __future__ import annotations

from typing import Any

from consent.office.attempts import LIMIT, MAX_NETWORKS, WINDOW_SECONDS, Attempts


def scope(address: object) -> dict[str, Any]:
    return {"client": None if address is None else (address, 1)}


def test_each_network_has_its_own_count_for_a_while() -> None:
    """The first twenty are answered as they are; then it says when there are new ones."""
    now = 0.0
    attempts = Attempts(lambda: now)
    assert [attempts.failed(scope("192.0.2.1")) for _ in range(LIMIT)] == [0] * LIMIT
    assert attempts.failed(scope("192.0.2.200")) == WINDOW_SECONDS
    assert attempts.failed(scope("198.51.100.1")) == 0
    now = WINDOW_SECONDS - 0.5
    assert attempts.failed(scope("192.0.2.1")) == 1
    now = WINDOW_SECONDS
    assert attempts.failed(scope("192.0.2.1")) == 0
    now = 0.0  # a clock that was put back does not lock anybody out for longer
    assert attempts.failed(scope("192.0.2.1")) == 0


def test_memory_is_bounded() -> None:
    """The network that has not failed for longest is forgotten."""
    attempts = Attempts(lambda: 0.0)
    for _ in range(LIMIT):
        attempts.failed(scope("192.0.2.1"))
    for number in range(MAX_NETWORKS + 50):
        attempts.failed(scope(f"10.{number >> 8}.{number & 255}.1"))
    assert len(attempts._failed) == MAX_NETWORKS
    assert attempts.failed(scope("192.0.2.1")) == 0
