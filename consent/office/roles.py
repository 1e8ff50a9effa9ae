"""Who may do what in the privacy office: a table, and nothing else that decides it."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final


class Action(StrEnum):
    """What can be done."""

    COUNTS = "counts"
    """See how many choices of which kind there were, what was done about trackers, and whether the log is whole."""
    TRACKERS = "trackers"
    """See the inventory of third-party content."""
    RECEIPTS = "receipts"
    """Find receipts, and see of each what it is found by: time and kind, and nothing that names anybody."""
    EXPORT_INDEX = "export-index"
    """Export the same of all receipts."""
    OPEN = "open"
    """Open receipts, and find them by visitor or id. Each time with a reason."""
    EXPORT_RECORDS = "export-records"
    """Export the receipts themselves, with a reason."""
    CLASSIFY = "classify"
    """Add to what the policy says of third parties, where the policy lets the office do so."""
    REQUESTS = "requests"
    """See which requests of people there are, of which kind, and what is due when; not who asked."""
    HANDLE = "handle-requests"
    """Open them, with who asked, and do what they ask for."""
    ACCESSES = "accesses"
    """Read the log of the office's own accesses."""
    EVENTS = "events"
    """Follow what happens, and say where it is sent."""


class Role(StrEnum):
    """What a token is for."""

    READER = "reader"
    ANALYST = "analyst"
    OFFICER = "officer"
    ADMINISTRATOR = "administrator"


ALLOWED: Final[Mapping[Role, frozenset[Action]]] = {
    Role.READER: frozenset({Action.COUNTS, Action.TRACKERS}),
    Role.ANALYST: frozenset(
        {Action.COUNTS, Action.TRACKERS, Action.RECEIPTS, Action.EXPORT_INDEX, Action.REQUESTS}
    ),
    Role.OFFICER: frozenset(
        {
            Action.COUNTS, Action.TRACKERS, Action.RECEIPTS, Action.EXPORT_INDEX, Action.OPEN, Action.EXPORT_RECORDS,
            Action.CLASSIFY,
            Action.REQUESTS, Action.HANDLE,
        }
    ),
    # Who looks after the others sees what they did, and no visitor's data.
    Role.ADMINISTRATOR: frozenset(
        {
            Action.COUNTS, Action.TRACKERS, Action.RECEIPTS, Action.REQUESTS, Action.CLASSIFY, Action.ACCESSES,
            Action.EVENTS,
        }
    ),
}  # fmt: skip
"""What each role may do. Everything else is refused."""

OF_ALL_SITES: Final = frozenset({Action.CLASSIFY, Action.ACCESSES, Action.EVENTS})
"""What is about all sites of the log together: a token for some of them may not do it."""
