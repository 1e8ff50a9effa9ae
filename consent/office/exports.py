"""Exports as jobs: asked for once, written to a file of their own one after the other, and kept for some days."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO, Final

from consent.errors import StoreUnavailable
from consent.office.asker import Asker
from consent.office.database import OfficeDatabase
from consent.office.export_jobs import COLUMNS, OPEN, ExportJob, State, file_of, find_job, job_of, written
from consent.receipt_export import ExportForm, ExportRows
from consent.receipt_search import Sought

MAX_OPEN: Final = 5
"""How many exports of one owner wait or are being written at most."""
MAX_OPEN_OF_ALL: Final = 50
"""The same of all together."""


class TooManyExports(Exception):
    """So many wait already that no more are taken."""


class Exports:
    """Takes orders, and gives out what was written. Blocks; safe to share between threads.

    Args:
        database: where it is kept what was asked for.
        folder: where the files are.
        clock: returns seconds since 1970.
        asked: told when there is something to write.
    """

    def __init__(
        self,
        database: OfficeDatabase,
        folder: Path,
        clock: Callable[[], float],
        *,
        asked: Callable[[], None] = lambda: None,
    ) -> None:
        self._database = database
        self._folder = folder
        self._clock = clock
        self._asked = asked

    def ask(
        self, asker: Asker, *, form: ExportForm, rows: ExportRows, sought: Sought, asked: dict[str, str]
    ) -> ExportJob:
        """Take an order.

        Args:
            asker: who asks; that it may was found out before.
            form: how rows are written.
            rows: what is written of each receipt.
            sought: which receipts.
            asked: the same as it was asked, to be shown.

        Raises:
            TooManyExports: others must be done first.
        """
        now = self._now()
        job_id = secrets.token_hex(8)
        with self._database.writing() as connection:
            waiting = [
                owner
                for (owner,) in connection.execute("SELECT owner FROM export WHERE state IN (?, ?)", OPEN)
            ]
            if len(waiting) >= MAX_OPEN_OF_ALL or waiting.count(asker.id) >= MAX_OPEN:
                raise TooManyExports(
                    f"{waiting.count(asker.id)} of your exports are not done yet, {len(waiting)} of everybody's: "
                    "wait for them, or cancel some"
                )
            connection.execute(
                "INSERT INTO export (id, owner, form, rows, asked, sought, state, made_ms)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (job_id, asker.id, form, rows, json.dumps(asked), written(sought), State.WAITING, now),
            )
        # Who writes reads it from the file.
        self._database.once_committed(self._asked)
        return find_job(self._database, job_id)

    def of(self, asker: Asker, *, limit: int) -> Sequence[ExportJob]:
        """Return somebody's exports, the newest first."""
        with self._database.reading() as connection:
            rows = connection.execute(
                f"SELECT {COLUMNS} FROM export WHERE owner = ? ORDER BY made_ms DESC, rowid DESC LIMIT ?",  # noqa: S608
                (asker.id, limit),
            ).fetchall()
        return [job_of(row) for row in rows]

    def get(self, asker: Asker, job_id: str) -> ExportJob | None:
        """Return one of somebody's exports; ``None``: there is none of this id, or it is another's."""
        try:
            job = find_job(self._database, job_id)
        except LookupError:
            return None
        return job if job.owner == asker.id else None

    def cancel(self, asker: Asker, job_id: str) -> ExportJob | None:
        """Stop an export, or remove its file; ``None`` as for :meth:`get`. What has ended stays as it is."""
        job = self.get(asker, job_id)
        if job is None:
            return None
        with self._database.writing() as connection:
            connection.execute(
                "UPDATE export SET state = ?, ended_ms = ? WHERE id = ? AND state IN (?, ?)",
                (State.CANCELLED, self._now(), job_id, *OPEN),
            )
            connection.execute(
                "UPDATE export SET state = ? WHERE id = ? AND state = ?", (State.REMOVED, job_id, State.DONE)
            )
        with contextlib.suppress(FileNotFoundError):
            os.unlink(file_of(self._folder, job))
        return find_job(self._database, job_id)

    def content(self, job: ExportJob) -> BinaryIO | None:
        """Open the file of an export; ``None``: it is not done, or past its time.

        Raises:
            StoreUnavailable: it is not as long as it was.
        """
        if job.state is not State.DONE or job.expires_ms is None or self._now() >= job.expires_ms:
            return None
        try:
            file = open(file_of(self._folder, job), "rb")  # noqa: SIM115 - whoever reads it closes it
        except FileNotFoundError:
            return None
        if os.fstat(file.fileno()).st_size != job.bytes:
            file.close()
            raise StoreUnavailable(
                f"{file_of(self._folder, job)} is not the file that was written: order the export again"
            )
        return file

    def _now(self) -> int:
        return int(self._clock() * 1_000)
