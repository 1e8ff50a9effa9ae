"""Orders of exports as they are kept: how far each is, and what it is about."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from consent.moments import format_moment
from consent.office.database import OfficeDatabase
from consent.receipt_export import ExportForm, ExportRows
from consent.receipt_search import Sought

KEEP_DAYS: Final = 3
"""How long a file is kept once it is written."""
LIST_DAYS: Final = 30
"""How long it is known that there was one."""
DAY_MS: Final = 86_400_000


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


def find_job(database: OfficeDatabase, job_id: str) -> ExportJob:
    """Return one export.

    Raises:
        LookupError: there is none of this id.
    """
    with database.reading() as connection:
        row = connection.execute(f"SELECT {COLUMNS} FROM export WHERE id = ?", (job_id,)).fetchone()  # noqa: S608
    if row is None:
        raise LookupError(job_id)
    return job_of(row)


def file_of(folder: Path, job: ExportJob) -> Path:
    """Return where the file of an export is, once it is done."""
    return folder / f"{job.id}.{job.form}"


COLUMNS: Final = (
    "id, owner, form, rows, asked, sought, state, attempts, rows_done, rows_estimated, bytes, sha256, problem, made_ms,"
    " began_ms, ended_ms, expires_ms"
)


def job_of(row: Sequence[Any]) -> ExportJob:
    """Read a row of :data:`COLUMNS`."""
    members = dict(zip(COLUMNS.split(", "), row, strict=True))
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


def written(sought: Sought) -> str:
    """Write which receipts are asked for, as it is kept."""
    members = asdict(sought)
    sites = None if sought.sites is None else sorted(sought.sites)
    return json.dumps({**members, "sites": sites})


def _read(text: str) -> Sought:
    members = json.loads(text)
    return Sought(**{**members, "sites": None if members["sites"] is None else frozenset(members["sites"])})
