"""Cookies as they come in a request, and as an answer sets them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator


def values(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> Iterator[bytes]:
    """Yield the values of the cookies of that name."""
    return (value for found, value in cookies(headers, name) if found == name)


def cookies(headers: Iterable[tuple[bytes, bytes]], stem: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield name and value of the cookies whose names begin with ``stem``."""
    for field, line in headers:
        if field != b"cookie" or stem not in line:
            continue
        for pair in line.split(b";"):
            name, equals, value = pair.partition(b"=")
            name = name.strip(b" \t")
            if equals and name.startswith(stem):
                yield name, value.strip(b" \t")


def line(
    name: str,
    value: str,
    *,
    max_age: int,
    secure: bool,
    domain: str = "",
    http_only: bool = True,
) -> bytes:
    """Return a ``Set-Cookie`` value with the attributes that all cookies of ours have."""
    return (
        f"{name}={value}; Max-Age={max_age}; Path=/"
        + f"; Domain={domain}" * bool(domain)
        + "; HttpOnly" * http_only
        + "; SameSite=Lax"
        + "; Secure" * secure
    ).encode("ascii")
