"""Exports as jobs: asked for once, written to a file of their own one after the other, and kept for some days."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO, Final

from consent.errors import ConsentError, StoreUnavailable
from consent.moments import format_moment
from consent.office.asker import Asker
from consent.office.database import OfficeDatabase
from consent.office.events import EventType, add_event
from consent.receipt_export import ExportForm, ExportRows, export
from consent.receipt_search import ReceiptSearch, Sought

KEEP_DAYS: Final = 3
"""How long a file is kept once it is written."""
LIST_DAYS: Final = 30
"""How long it is known that there was one."""
MAX_OPEN: Final = 5
"""How many exports of one owner wait or are being written at most."""
MAX_OPEN_OF_ALL: Final = 50
"""The same of all together."""
MAX_ATTEMPTS: Final = 3
"""How often an export is begun whose process ended before it did."""
MIN_FREE_BYTES: Final = 512 * 1024 * 1024
"""How much of the disk is left to others, the receipts above all."""
_NOTE_SECONDS: Final = 0.5
_DAY_MS: Final = 86_400_000

logger = logging.getLogger("consent")


class State(StrEnum):
    """How far an export is."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    REMOVED = "removed"
    """It was done, and its file is past its time."""


OPEN: Final = (State.WAITING, State.RUNNING)
"""States that an export leaves again by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportJob:
    """One export that was asked for."""

    id: str
    owner: str
    """The id of who asked; nobody else sees it."""
    form: ExportForm
    rows: ExportRows
    asked: dict[str, str]
    """By what receipts were asked for."""
    sought: Sought
    """The same, of the sites that whoever asked was for then."""
    state: State
    attempts: int
    """How often it was begun."""
    rows_done: int
    rows_estimated: int | None
    """As many were counted when it began; ``None``: it has not begun."""
    bytes: int
    sha256: str | None
    """Of the file, once it is done."""
    problem: str
    """Why it failed, or was begun again; empty: nothing happened."""
    made_ms: int
    began_ms: int | None
    ended_ms: int | None
    expires_ms: int | None
    """When the file is removed."""

    @property
    def filename(self) -> str:
        """What a download is called."""
        return f"consent-{self.rows}-{format_moment(self.made_ms)[:10]}-{self.id}.{self.form}"


class TooManyExports(Exception):
    """So many wait already that no more are taken."""


class Exports:
    """Takes orders, writes one file at a time, and removes what is past its time.

    Blocks; safe to share between threads.

    Args:
        database: where it is kept what was asked for.
        folder: where the files are; made where there is none.
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

    # ---- for who asks

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
                (job_id, asker.id, form, rows, json.dumps(asked), _written(sought), State.WAITING, now),
            )
        # Who writes reads it from the file.
        self._database.once_committed(self._asked)
        return self._get(job_id)

    def of(self, asker: Asker, *, limit: int) -> Sequence[ExportJob]:
        """Return somebody's exports, the newest first."""
        with self._database.reading() as connection:
            rows = connection.execute(
                f"SELECT {_COLUMNS} FROM export WHERE owner = ? ORDER BY made_ms DESC, rowid DESC LIMIT ?",  # noqa: S608
                (asker.id, limit),
            ).fetchall()
        return [_job(row) for row in rows]

    def get(self, asker: Asker, job_id: str) -> ExportJob | None:
        """Return one of somebody's exports; ``None``: there is none of this id, or it is another's."""
        try:
            job = self._get(job_id)
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
        self._unlink(self._file(job))
        return self._get(job_id)

    def content(self, job: ExportJob) -> BinaryIO | None:
        """Open the file of an export; ``None``: it is not done, or past its time.

        Raises:
            StoreUnavailable: it is not as long as it was.
        """
        if job.state is not State.DONE or job.expires_ms is None or self._now() >= job.expires_ms:
            return None
        try:
            file = open(self._file(job), "rb")  # noqa: SIM115 - whoever reads it closes it
        except FileNotFoundError:
            return None
        if os.fstat(file.fileno()).st_size != job.bytes:
            file.close()
            raise StoreUnavailable(
                f"{self._file(job)} is not the file that was written: order the export again"
            )
        return file

    # ---- for who writes

    def waits(self) -> bool:
        """Tell whether there is something to write, to take up again, or to remove."""
        with self._database.reading() as connection:
            row = connection.execute(
                "SELECT 1 FROM export WHERE state IN (?, ?) OR (state = ? AND expires_ms <= ?)"
                " OR (made_ms < ? AND state NOT IN (?, ?)) LIMIT 1",
                (*OPEN, State.DONE, self._now(), self._now() - LIST_DAYS * _DAY_MS, *OPEN),
            ).fetchone()
        return row is not None

    def work(self, log: Callable[[], ReceiptSearch], stopping: threading.Event) -> None:
        """Write all that waits, one after the other. Only one process may at a time.

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
            self._write(self._get(row[0]), log, stopping)

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
                (now - LIST_DAYS * _DAY_MS, *OPEN),
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
            os.rename(beside, self._file(job))
            now = self._now()
            if not self._note(
                job, State.RUNNING, state=State.DONE, bytes=size, sha256=digest, ended_ms=now,
                expires_ms=now + KEEP_DAYS * _DAY_MS, problem="",
            ):  # fmt: skip
                self._unlink(self._file(job))
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
        job = self._get(job_id)
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

    def _get(self, job_id: str) -> ExportJob:
        with self._database.reading() as connection:
            row = connection.execute(f"SELECT {_COLUMNS} FROM export WHERE id = ?", (job_id,)).fetchone()  # noqa: S608
        if row is None:
            raise LookupError(job_id)
        return _job(row)

    def _file(self, job: ExportJob) -> Path:
        return self._folder / f"{job.id}.{job.form}"

    def _unlink(self, file: Path) -> None:
        with contextlib.suppress(FileNotFoundError):
            file.unlink()

    def _now(self) -> int:
        return int(self._clock() * 1_000)


_COLUMNS: Final = (
    "id, owner, form, rows, asked, sought, state, attempts, rows_done, rows_estimated, bytes, sha256, problem, made_ms,"
    " began_ms, ended_ms, expires_ms"
)


def _job(row: Sequence[Any]) -> ExportJob:
    members = dict(zip(_COLUMNS.split(", "), row, strict=True))
    return ExportJob(
        **{
            **members,
            "form": ExportForm(members["form"]),
            "rows": ExportRows(members["rows"]),
            "state": State(members["state"]),
            "asked": json.loads(members["asked"]),
            "sought": _read(members["sought"]),
        }
    )


def _written(sought: Sought) -> str:
    members = asdict(sought)
    sites = None if sought.sites is None else sorted(sought.sites)
    return json.dumps({**members, "sites": sites})


def _read(text: str) -> Sought:
    members = json.loads(text)
    return Sought(**{**members, "sites": None if members["sites"] is None else frozenset(members["sites"])})


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
