"""What the commands of the office have in common: where it is kept, and what their accesses are recorded as."""

from __future__ import annotations

import time
from pathlib import Path

from consent.data_folder import DataFolder
from consent.office.access_log import AccessLog
from consent.office.database import OfficeDatabase

BY = "the command line"
"""Who did it, where a command does."""


def office_database(folder: Path) -> OfficeDatabase:
    """Return the office's database in a data folder of a site."""
    data = DataFolder(folder)
    data.ledger_keys(create=False)
    return OfficeDatabase(data.office_path)


def access_log(folder: Path, database: OfficeDatabase) -> AccessLog:
    """Return the log of its accesses."""
    return AccessLog(database, DataFolder(folder).ledger_keys(create=False), time.time)
