"""The checkpoint signed last, in a file of its own: what tells an older state of the log from the present one."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from consent.checkpoint import MAX_NOTE_BYTES


class SignedMark:
    """One file, replaced as a whole. Used by one process at a time, under the log's lock.

    Args:
        path: the file. It belongs on a disk that is not restored together with the database.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self, origin: str) -> str | None:
        """Return the checkpoint of the log named ``origin``; ``None``: none, or it is another log's.

        Raises:
            OSError: the file cannot be read.
        """
        try:
            with open(self._path, encoding="utf-8", errors="surrogateescape", newline="") as file:
                note = file.read(MAX_NOTE_BYTES)
        except FileNotFoundError:
            return None
        return note if note.partition("\n")[0] == origin else None

    def write(self, note: str) -> None:
        """Put ``note`` in the place of the last one; return once that is durable.

        Raises:
            OSError: it was not written; the last one is still there.
        """
        beside = self._path.with_name(self._path.name + ".new")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(beside)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        with open(os.open(beside, flags, 0o600), "w", encoding="utf-8", newline="") as file:
            file.write(note)
            file.flush()
            os.fsync(file.fileno())
        os.rename(beside, self._path)
        folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
