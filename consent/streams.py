"""What bodies go through: those that are not read, and what becomes of one whose reading fails."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class Stream(Protocol):
    """Bytes in, bytes out, ended once."""

    def write(self, chunk: bytes) -> bytes:
        """Take the next bytes; return what is ready."""

    def end(self) -> bytes:
        """Return the rest."""


class Swallowed:
    """A body that is not sent."""

    def write(self, chunk: bytes) -> bytes:
        return b""

    def end(self) -> bytes:
        return b""


class Passed:
    """A body that is sent as it is."""

    def write(self, chunk: bytes) -> bytes:
        return chunk

    def end(self) -> bytes:
        return b""


PASSED = Passed()


class Guarded:
    """A stream whose failure is not the app's: the rest of the page passes or is withheld instead."""

    def __init__(self, stream: Stream, failed: Callable[[Exception], bool]) -> None:
        self._stream = stream
        self._failed = failed
        self._passes: bool | None = None

    def write(self, chunk: bytes) -> bytes:
        if self._passes is None:
            try:
                return self._stream.write(chunk)
            except Exception as error:
                self._passes = self._failed(error)
        return chunk if self._passes else b""

    def end(self) -> bytes:
        if self._passes is None:
            try:
                return self._stream.end()
            except Exception as error:
                self._passes = self._failed(error)
        return b""
