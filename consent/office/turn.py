"""What one process of a machine does at a time: a lock that ends with the process that holds it, however it ends."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path


class Turn:
    """A lock on a file. Safe to share between threads and processes.

    Args:
        path: the file, made where there is none; its folder must exist.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    @contextlib.contextmanager
    def taken(self) -> Iterator[bool]:
        """Take the turn unless somebody has it; yield whether it was taken.

        Raises:
            OSError: the file cannot be used.
        """
        # A descriptor of its own: threads of one process keep each other out, too.
        file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True
        finally:
            os.close(file)
