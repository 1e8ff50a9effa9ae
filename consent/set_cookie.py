"""What a ``Set-Cookie`` field says: which cookie, and whether it deletes it (RFC 6265bis)."""

from __future__ import annotations

import re
from datetime import UTC, datetime

_MAX_AGE = re.compile(rb"-?[0-9]+")


def set_cookie(value: bytes, now: int) -> tuple[str, bool]:
    """Return the cookie's name, and whether the field deletes it in every browser.

    Max-Age overrules Expires, and the last of each counts: by RFC 6265bis, section 5.6, the last that is valid; in
    Chromium the last, and if it is not valid, none. An age with a "+" is valid there only: it deletes nothing.
    """
    pair, *attributes = value.split(b";")
    # "=name=value" makes a cookie without a name that is sent as "name=value".
    name = pair.lstrip(b" \t=").partition(b"=")[0].strip(b" \t").decode("latin-1")
    dates: list[bool | None] = []
    ages: list[bool | None] = []
    has_sign = False
    for attribute in attributes:
        key, _, text = attribute.partition(b"=")
        key = key.strip(b" \t").lower()
        text = text.strip(b" \t")
        if key == b"max-age":
            deletes = text.startswith(b"-") or not text.strip(b"0")
            ages.append(deletes if _MAX_AGE.fullmatch(text) else None)
            has_sign |= text.startswith(b"+")
        elif key == b"expires":
            moment = _cookie_date(text)
            dates.append(None if moment is None else moment <= now)
    return name, not has_sign and all(
        next((told for told in (*reversed(old), *reversed(new)) if told is not None), False)
        for old, new in ((ages, dates), (ages[-1:], dates[-1:]))
    )


_DATE_DELIMITER = re.compile(rb"[\t\x20-\x2f\x3b-\x40\x5b-\x60\x7b-\x7e]+")
_TIME = re.compile(rb"([0-9]{1,2}):([0-9]{1,2}):([0-9]{1,2})(?:[^0-9]|\Z)")
_DAY = re.compile(rb"([0-9]{1,2})(?:[^0-9]|\Z)")
_YEAR = re.compile(rb"([0-9]{2,4})(?:[^0-9]|\Z)")
_MONTHS = b"jan feb mar apr may jun jul aug sep oct nov dec".split()


def _cookie_date(text: bytes) -> float | None:
    """Return a cookie's date in seconds since 1970, read as browsers do (RFC 6265bis, section 5.1.1)."""
    time = day = month = year = None
    for token in _DATE_DELIMITER.split(text[:256]):
        if time is None and (match := _TIME.match(token)):
            time = match
        elif day is None and (match := _DAY.match(token)):
            day = int(match[1])
        elif month is None and token[:3].lower() in _MONTHS:
            month = _MONTHS.index(token[:3].lower()) + 1
        elif year is None and (match := _YEAR.match(token)):
            year = int(match[1])
            year += 1900 if 70 <= year <= 99 else 2000 if year <= 69 else 0
    if time is None or day is None or month is None or year is None or year < 1601:
        return None
    try:
        return datetime(year, month, day, int(time[1]), int(time[2]), int(time[3]), tzinfo=UTC).timestamp()
    except ValueError:
        return None
