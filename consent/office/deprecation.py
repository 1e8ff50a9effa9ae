"""What will go: since when that is known, from when it may be gone, and what to use instead."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from email.utils import format_datetime
from typing import Final

NOTICE_DAYS: Final = 60
"""How long it is known before it goes, at least."""


@dataclass(frozen=True, slots=True)
class Deprecated:
    """An endpoint, a parameter or a member of a body that goes.

    Raises:
        ValueError: there are fewer than 60 days between.
    """

    since: date
    """The day of the release that says so."""
    gone: date
    """The first day on which it may be gone."""
    instead: str
    """What to use then."""

    def __post_init__(self) -> None:
        if (self.gone - self.since).days < NOTICE_DAYS:
            raise ValueError(f"{self.since} to {self.gone}: at least {NOTICE_DAYS} days")

    @property
    def about(self) -> str:
        """The sentence that its description ends with."""
        return f"Deprecated since {self.since}, may be gone on {self.gone}: {self.instead}"


def told(deprecated: Iterable[Deprecated]) -> Sequence[tuple[bytes, bytes]]:
    """Return the header fields of an answer to whoever used these (RFC 9745, RFC 8594); none for none."""
    used = list(deprecated)
    if not used:
        return ()
    since, gone = (
        _midnight(min(days)) for days in ([each.since for each in used], [each.gone for each in used])
    )
    return (
        (b"deprecation", b"@%d" % since.timestamp()),
        (b"sunset", format_datetime(gone, usegmt=True).encode()),
    )


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
