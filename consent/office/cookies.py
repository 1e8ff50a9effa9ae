"""The office's cookies: of this host alone, for nobody's script, and sent to nobody else."""

from __future__ import annotations

from typing import Final

from consent import headers as fields
from consent.answers import Headers

MAX_COOKIE: Final = 500
"""Characters of a value; a longer one is none of ours."""


def cookie(headers: Headers, name: str, *, is_secure: bool) -> str | None:
    """Return the value of a cookie; ``None``: there is none, or more than one, and nobody knows whose."""
    asked = _name(name, is_secure).encode()
    values = [
        value.strip(b" \t")
        for line in fields.lines(headers, b"cookie")
        for name, _, value in [pair.partition(b"=") for pair in line.split(b";")]
        if name.strip(b" \t") == asked
    ]
    if len(values) != 1 or len(values[0]) > MAX_COOKIE:
        return None
    return values[0].decode("latin-1")


def cookie_field(
    name: str, value: str, seconds: int, *, path: str, is_secure: bool, same_site: str
) -> tuple[bytes, bytes]:
    """Return the header field that sets a cookie.

    Over HTTPS it has the prefix ``__Host-`` (RFC 6265bis, 4.1.3.2): no other host of the domain can put one of its own
    in its place, and so sign somebody in as somebody else. Such a cookie is for all paths.
    """
    where = "/; Secure" if is_secure else path
    text = (
        f"{_name(name, is_secure)}={value}; Path={where}; Max-Age={seconds}; HttpOnly; SameSite={same_site}"
    )
    return b"set-cookie", text.encode()


def _name(name: str, is_secure: bool) -> str:
    return f"__Host-{name}" if is_secure else name
