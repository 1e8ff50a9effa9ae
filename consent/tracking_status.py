"""What a site says of its tracking to one visitor. (W3C Tracking Preference Expression, sections 6.2 to 6.5.)"""

from __future__ import annotations

from consent.categories import OPTIONAL, Category
from consent.decision import Decision, Reason
from consent.policy import Policy

_MEASURING = (Category.PERFORMANCE, Category.TARGETING)
"""The categories of what a policy may let through."""
UPDATED = "U"
"""Only ever on the answer to a request that changed the state (section 6.2.9)."""


def tracking_status(policy: Policy, decision: Decision) -> str:
    """Return ``N``: not tracking; ``C``: with consent; ``D``: the signal is disregarded; ``T``: tracking."""
    allowed = [category for category in OPTIONAL if decision.allows(category)]
    lets_through = any(
        decision.allows(category, tag)
        for category in _MEASURING
        if category not in allowed
        for tag in decision.let_through
    )
    if not allowed and not any(decision.vendors.values()) and not lets_through:
        return "N"
    if not lets_through and all(decision.reason(category) is Reason.GRANTED for category in allowed):
        return "C"
    return "D" if decision.signals.dnt and not policy.dnt_refuses else "T"
