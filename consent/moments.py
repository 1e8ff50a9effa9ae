"""Moments as records have them: RFC 3339, UTC, milliseconds, such as ``2026-03-01T12:00:00.000Z``."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta

from consent.errors import InvalidReceiptError

_MOMENT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def format_moment(milliseconds: int) -> str:
    """Write a moment, given as milliseconds since 1970-01-01T00:00:00Z.

    Raises:
        InvalidReceiptError: there is no such date.
    """
    try:
        moment = _EPOCH + timedelta(milliseconds=milliseconds)
    except OverflowError:
        raise InvalidReceiptError(f"{milliseconds} ms since 1970 is no date") from None
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_moment(text: object) -> int:
    """Return the milliseconds since 1970-01-01T00:00:00Z of what :func:`format_moment` wrote.

    Raises:
        InvalidReceiptError: it has another form, or there is no such date.
    """
    if not isinstance(text, str) or _MOMENT.fullmatch(text) is None:
        raise InvalidReceiptError(f"time must be RFC 3339 in UTC with milliseconds, not {text!r:.80}")
    try:
        since = datetime.fromisoformat(text) - _EPOCH
    except ValueError as error:
        raise InvalidReceiptError(f"time: there is no such date: {error}") from None
    return since.days * 86_400_000 + since.seconds * 1_000 + since.microseconds // 1_000


def format_if_any(milliseconds: int | None) -> str | None:
    """Write a moment as :func:`format_moment` does, where there is one."""
    return None if milliseconds is None else format_moment(milliseconds)


def midnight_ms(day: date) -> int:
    """Return when a day in UTC begins, in milliseconds since 1970-01-01T00:00:00Z."""
    return (day - _EPOCH.date()).days * 86_400_000
