"""Finding the few header fields that matter out of all of a message: in C where that was built, else in Python."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, cast

from consent.speedups import compiled

_LONGEST_NAME = 63


class FieldFinder(Protocol):
    """Finds the fields that it was made for. Immutable and safe to share between threads."""

    def find(self, headers: list[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
        """Return those fields by name, lower case, the lines of each as one (RFC 9110, section 5.3)."""


class PythonFieldFinder:
    """The reading that the C one must agree with."""

    def __init__(self, names: tuple[bytes, ...]) -> None:
        self._names = frozenset(names)

    def find(self, headers: list[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
        found: dict[bytes, bytes] = {}
        for key, value in headers:
            name = key.lower()
            if name in self._names:
                if name in found:
                    value = found[name] + b", " + value
                found[name] = value
        return found


def field_finder(names: Iterable[bytes]) -> FieldFinder:
    """Return the fastest finder there is for fields of these names: lower case, 1 to 63 bytes each."""
    listed = tuple(names)
    for name in listed:
        if not 1 <= len(name) <= _LONGEST_NAME or name != name.lower():
            raise ValueError(f"{name!r} is no name of 1 to {_LONGEST_NAME} bytes in lower case")
    if compiled is not None:
        return cast(FieldFinder, compiled.FieldFinder(listed))
    return PythonFieldFinder(listed)
