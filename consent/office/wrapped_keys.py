"""The keys of what is sealed in the office's database, wrapped anew: so that a wrapping key can be taken away."""

from __future__ import annotations

from typing import Final

from consent.office.database import OfficeDatabase
from consent.sealing import LedgerKeys, Sealer

# Each table that has a column `wrapped`, and the column whose bytes it was wrapped for.
_TABLES: Final = (("request", "uid"), ("webhook", "CAST(id AS BLOB)"), ("done_once", "place"))


def rewrap_office(database: OfficeDatabase, keys: LedgerKeys) -> int:
    """Wrap all keys under the first wrapping key; return how many were under another. Blocks.

    Raises:
        SealBrokenError: one is wrapped under a key that is not among these.
    """
    sealer, count = Sealer(keys), 0
    with database.writing() as connection:
        for table, place in _TABLES:
            update = f"UPDATE {table} SET wrapped = ? WHERE {place} = ?"  # noqa: S608 - ours
            for name, wrapped in connection.execute(
                f"SELECT {place}, wrapped FROM {table} WHERE wrapped IS NOT NULL"  # noqa: S608 - ours
            ).fetchall():
                if not sealer.is_current(wrapped):
                    connection.execute(update, (sealer.wrap(sealer.unwrap(wrapped, name), name), name))
                    count += 1
    return count
