"""Writes the exports that were ordered, one after the other, and removes what is past its time."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import threading
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO, Final

from consent.errors import ConsentError, StoreUnavailable
from consent.moments import format_moment
from consent.office.database import OfficeDatabase
from consent.office.events import EventType, add_event
from consent.office.export_jobs import DAY_MS, KEEP_DAYS, LIST_DAYS, OPEN, ExportJob, State, file_of, find_job
from consent.receipt_export import export
from consent.receipt_search import ReceiptSearch, Sought

MAX_ATTEMPTS: Final = 3
"""How often an export is begun whose process ended before it did."""
MIN_FREE_BYTES: Final = 512 * 1024 * 1024
"""How much of the disk is left to others, the receipts above all."""
_NOTE_SECONDS: Final = 0.5

logger = logging.getLogger("consent")


class ExportWriter:
    """Writes one file at a time. Blocks; only one process may at a time.

    Args:
        database: where it is kept what was asked for.
        folder: where the files are; made where there is none.
        clock: returns seconds since 1970.
    """

    def __init__(self, database: OfficeDatabase, folder: Path, clock: Callable[[], float]) -> None:
        self._database = database
        self._folder = folder
        self._clock = clock

    def waits(self) -> bool:
        """Tell whether there is something to write, to take up again, or to remove."""
        with self._database.reading() as connection:
            row = connection.execute(
                "SELECT 1 FROM export WHERE state IN (?, ?) OR (state = ? AND expires_ms <= ?)"
                " OR (made_ms < ? AND state NOT IN (?, ?)) LIMIT 1",
                (*OPEN, State.DONE, self._now(), self._now() - LIST_DAYS * DAY_MS, *OPEN),
            ).fetchone()
        return row is not None

    def work(self, log: Callable[[], ReceiptSearch], stopping: threading.Event) -> None:
        """Write all that waits, one after the other.

        Args:
            log: returns the log of receipts.
            stopping: once it is set, what is being written is left for the next one.
        """
        self._take_up_again()
        self._clean()
        while not stopping.is_set():
            with self._database.reading() as connection:
                row = connection.execute(
                    "SELECT id FROM export WHERE state = ? ORDER BY made_ms, rowid LIMIT 1",
                    (State.WAITING,),
                ).fetchone()
            if row is None:
                return
            self._write(find_job(self._database, row[0]), log, stopping)

    def _take_up_again(self) -> None:
        """Find those whose process ended: whoever has the turn knows that nobody writes them."""
        with self._database.writing() as connection:
            connection.execute(
                "UPDATE export SET state = ?, rows_done = 0, bytes = 0, problem = ? WHERE state = ? AND attempts < ?",
                (State.WAITING, "interrupted: it is begun again", State.RUNNING, MAX_ATTEMPTS),
            )
            given_up = connection.execute(
                "UPDATE export SET state = ?, ended_ms = ?, problem = ? WHERE state = ? RETURNING id",
                (
                    State.FAILED,
                    self._now(),
                    f"interrupted {MAX_ATTEMPTS} times: ask for it again",
                    State.RUNNING,
                ),
            ).fetchall()
        for (job_id,) in given_up:
            self._tell(job_id)

    def _clean(self) -> None:
        now = self._now()
        with self._database.writing() as connection:
            connection.execute(
                "UPDATE export SET state = ? WHERE state = ? AND expires_ms <= ?",
                (State.REMOVED, State.DONE, now),
            )
            connection.execute(
                "DELETE FROM export WHERE made_ms < ? AND state NOT IN (?, ?)",
                (now - LIST_DAYS * DAY_MS, *OPEN),
            )
            kept = connection.execute("SELECT id, form FROM export WHERE state = ?", (State.DONE,)).fetchall()
        names = {f"{job_id}.{form}" for job_id, form in kept}
        with contextlib.suppress(FileNotFoundError):
            for file in self._folder.iterdir():
                if file.name not in names:
                    self._unlink(file)

    def _write(self, job: ExportJob, log: Callable[[], ReceiptSearch], stopping: threading.Event) -> None:
        if not self._note(
            job, State.WAITING, state=State.RUNNING, attempts=job.attempts + 1, began_ms=self._now()
        ):
            return  # cancelled in between
        beside = self._folder / f".{job.id}.part"
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            self._unlink(beside)
            self._note(job, State.RUNNING, rows_estimated=_estimate(log(), job.sought))
            with _new_file(beside) as file:
                written = self._pieces(job, log(), file, stopping)
            if written is None:
                return
            size, digest = written
            os.rename(beside, file_of(self._folder, job))
            now = self._now()
            if not self._note(
                job, State.RUNNING, state=State.DONE, bytes=size, sha256=digest, ended_ms=now,
                expires_ms=now + KEEP_DAYS * DAY_MS, problem="",
            ):  # fmt: skip
                self._unlink(file_of(self._folder, job))
                return
        except StoreUnavailable as error:
            self._fail(job, "the log could not be read: the site's own log says why, ask for it again", error)
        except OSError as error:
            self._fail(job, f"the file could not be written ({error.strerror}): ask for it again", error)
        except ConsentError as error:
            # What it says may name a receipt.
            self._fail(job, "a receipt is not what was recorded: consent ledger verify says which", error)
        except Exception as error:
            self._fail(job, "it could not be written: the site's own log says why", error)
            logger.exception("export %s", job.id)
        finally:
            self._unlink(beside)
        self._tell(job.id)

    def _tell(self, job_id: str) -> None:
        job = find_job(self._database, job_id)
        with self._database.writing() as connection:
            add_event(
                connection, self._now(), EventType.EXPORT_FINISHED, export=job.id, state=job.state, form=job.form,
                rows=job.rows, rows_done=job.rows_done, bytes=job.bytes,
            )  # fmt: skip

    def _pieces(
        self, job: ExportJob, log: ReceiptSearch, file: BinaryIO, stopping: threading.Event
    ) -> tuple[int, str] | None:
        """Write all pieces; return how many bytes and their hash; ``None``: it was cancelled, or the process ends."""
        hashed, size, rows, noted = sha256(), 0, 0, time.monotonic()

        def counted(number: int) -> None:
            nonlocal rows
            rows += number

        for piece in export(log, job.sought, form=job.form, rows=job.rows, counted=counted):
            hashed.update(piece)
            size += len(piece)
            file.write(piece)
            if stopping.is_set():
                # It is nobody's fault, and not counted as an attempt.
                self._note(
                    job, State.RUNNING, state=State.WAITING, attempts=job.attempts, rows_done=0, bytes=0,
                    problem="the site was restarted: it is begun again",
                )  # fmt: skip
                return None
            if time.monotonic() - noted >= _NOTE_SECONDS:
                noted = time.monotonic()
                if shutil.disk_usage(self._folder).free < MIN_FREE_BYTES:
                    raise OSError(28, "the disk is nearly full")
                if not self._note(job, State.RUNNING, rows_done=rows, bytes=size):
                    return None
        file.flush()
        os.fsync(file.fileno())
        return (size, hashed.hexdigest()) if self._note(job, State.RUNNING, rows_done=rows) else None

    def _fail(self, job: ExportJob, problem: str, error: Exception) -> None:
        self._note(job, State.RUNNING, state=State.FAILED, ended_ms=self._now(), problem=problem)
        logger.error("export %s: %s", job.id, error)

    def _note(self, job: ExportJob, before: State, **members: object) -> bool:
        """Note how far an export is; return whether it was in that state: else it was cancelled."""
        given = ", ".join(f"{name} = ?" for name in members)
        with self._database.writing() as connection:
            changed = connection.execute(
                f"UPDATE export SET {given} WHERE id = ? AND state = ?",  # noqa: S608 - names of ours
                (*members.values(), job.id, before),
            )
            return changed.rowcount == 1

    def _unlink(self, file: Path) -> None:
        with contextlib.suppress(FileNotFoundError):
            file.unlink()

    def _now(self) -> int:
        return int(self._clock() * 1_000)


def _estimate(log: ReceiptSearch, sought: Sought) -> int:
    """Return how many choices were counted on the days that are asked for: those that were erased are still in it."""
    first = "0000" if sought.since_ms is None else format_moment(sought.since_ms)[:10]
    last = "9999" if sought.until_ms is None else format_moment(sought.until_ms - 1)[:10]
    counts = log.daily(first, last)
    kinds = dict(enumerate({count.kind for count in counts}))
    fitting = {kinds[number] for number in sought.admitted(kinds)}
    return sum(count.choices for count in counts if count.kind in fitting)


def _new_file(path: Path) -> BinaryIO:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    return open(os.open(path, flags, 0o600), "wb")
