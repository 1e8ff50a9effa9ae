"""Writing bytes, all of them."""

from __future__ import annotations

from typing import IO


def write_whole(output: IO[bytes], content: bytes) -> None:
    """Write all of it: a standard output that is not buffered, as with ``PYTHONUNBUFFERED``, takes what fits a pipe."""
    rest = memoryview(content)
    while rest:
        rest = rest[output.write(rest) :]
