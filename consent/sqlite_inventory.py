"""The inventory in SQLite: a file of its own in the data folder, and the thread that writes it.

Nothing here is worth waiting for, or worth a page: what cannot be written now waits in bounded memory. The file
is opened for each writing and closed again, so that any number of processes, forked ones too, may share it.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sqlite3
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

from consent.errors import StoreUnavailable
from consent.inventory import MAX_COUNT, MAX_PAGES, Inventory, InventoryStore, Sighting, Source, Tally

MAX_SIGHTINGS: Final = 2_000
"""How many are kept of each source, of each site and part of it. Beyond it those go that were seen least often, and of
them the oldest."""

_APPLICATION_ID = 0x434E5349  # "CNSI"
_SCHEMA_VERSION = 3
_BUSY_SECONDS = 5.0
_INTERVAL_SECONDS = 5.0
_SCHEMA = f"""
CREATE TABLE sighting (
    source TEXT NOT NULL,
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    vendor TEXT NOT NULL,
    part TEXT NOT NULL,
    site TEXT NOT NULL,
    first_day INTEGER NOT NULL,
    last_day INTEGER NOT NULL,
    count INTEGER NOT NULL,
    pages TEXT NOT NULL,
    PRIMARY KEY (source, kind, subject, vendor, part, site)
);
PRAGMA application_id = {_APPLICATION_ID};
PRAGMA user_version = {_SCHEMA_VERSION};
"""
# Of what was seen before, nobody knows on which site.
_SINCE_2 = f"""
ALTER TABLE sighting RENAME TO sighting_before;
{_SCHEMA};
INSERT INTO sighting SELECT source, kind, subject, vendor, part, '', first_day, last_day, count, pages
    FROM sighting_before;
DROP TABLE sighting_before;
"""  # noqa: S608 - ours

logger = logging.getLogger("consent")


class SQLiteInventory:
    """Keeps an inventory in one SQLite database; implements :class:`consent.inventory.InventoryStore`.

    Args:
        path: The database file. Its folder must exist; the file is made by the first :meth:`merge`, readable by
            its owner only.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).absolute()

    def merge(self, tallies: Mapping[Sighting, Tally]) -> None:
        """Add what was seen; see :meth:`consent.inventory.InventoryStore.merge`."""
        with self._explained(), contextlib.suppress(FileExistsError):
            os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        with self._open("rw") as connection, connection:
            connection.execute("BEGIN IMMEDIATE")
            version = self._version(connection)
            if version != _SCHEMA_VERSION:
                for statement in (_SINCE_2 if version else _SCHEMA).split(";"):
                    connection.execute(statement)
            for sighting, tally in tallies.items():
                row = connection.execute(
                    "SELECT first_day, last_day, count, pages FROM sighting"
                    " WHERE source = ? AND kind = ? AND subject = ? AND vendor = ? AND part = ? AND site = ?",
                    sighting,
                ).fetchone()
                kept = _tally(row) if row else Tally(tally.first_day, tally.last_day)
                kept.add(tally)
                connection.execute(
                    "INSERT OR REPLACE INTO sighting VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (*sighting, kept.first_day, kept.last_day, kept.count, json.dumps(kept.pages)),
                )
            for some in {(sighting.source, sighting.part, sighting.site) for sighting in tallies}:
                connection.execute(
                    "DELETE FROM sighting WHERE rowid IN (SELECT rowid FROM sighting"
                    " WHERE source = ? AND part = ? AND site = ?"
                    " ORDER BY count DESC, last_day DESC, rowid LIMIT -1 OFFSET ?)",
                    (*some, MAX_SIGHTINGS),
                )

    def sightings(self) -> dict[Sighting, Tally]:
        """Return all that was seen, in order; see :meth:`consent.inventory.InventoryStore.sightings`."""
        if not self.path.exists():
            return {}
        with self._open("ro") as connection:
            # All of it as it was at one moment: somebody may just be making it.
            connection.execute("BEGIN")
            version = self._version(connection)
            if version == 0:
                return {}
            site = "site" if version == _SCHEMA_VERSION else "''"
            rows = connection.execute(
                f"SELECT source, kind, subject, vendor, part, {site}, first_day, last_day, count, pages FROM sighting"  # noqa: S608 - ours
                " ORDER BY part, 6, source DESC, subject, kind, vendor"
            ).fetchall()
            return {Sighting(Source(row[0]), *row[1:6]): _tally(row[6:]) for row in rows}

    def _version(self, connection: sqlite3.Connection) -> int:
        """Return the schema of our database, 0 for an empty file; refuse any other."""
        application, version, tables = (
            connection.execute(question).fetchone()[0]
            for question in (
                "PRAGMA application_id",
                "PRAGMA user_version",
                "SELECT count(*) FROM sqlite_master",
            )
        )
        if (application, version, tables) == (0, 0, 0):
            return 0
        if application != _APPLICATION_ID or version not in (2, _SCHEMA_VERSION):
            raise StoreUnavailable(
                f"{self.path} is no inventory that this version of asgi-consent knows: move it away"
            )
        return int(version)

    @contextlib.contextmanager
    def _open(self, mode: str) -> Iterator[sqlite3.Connection]:
        with (
            self._explained(),
            contextlib.closing(
                sqlite3.connect(
                    f"{self.path.as_uri()}?mode={mode}", uri=True, timeout=_BUSY_SECONDS, isolation_level=None
                )
            ) as connection,
        ):
            yield connection

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError, ValueError) as error:
            raise StoreUnavailable(f"{self.path} cannot be used as inventory: {error}") from error


def _tally(row: tuple[int, int, int, str]) -> Tally:
    """Make a tally of a row; ``ValueError`` where somebody else wrote it."""
    first_day, last_day, count, pages = row
    listed = json.loads(pages)
    if not isinstance(listed, list) or not all(isinstance(page, str) for page in listed):
        raise ValueError("the pages of a sighting are not a list of texts")
    return Tally(int(first_day), int(last_day), min(int(count), MAX_COUNT), listed[:MAX_PAGES])


class InventoryWriter:
    """Takes from an inventory what has gathered and merges it into a store, every few seconds, in a thread.

    The thread starts with the first sighting of its process, so that workers may be forked before. It never
    disturbs anybody: a store that cannot be written is logged once, and what was seen waits.

    Args:
        store: Where to. It is asked at once what was seen before.
        interval_seconds: How long sightings gather.
        then: Called each time after that, and at the end. It must not raise.
    """

    def __init__(
        self,
        store: InventoryStore,
        *,
        interval_seconds: float = _INTERVAL_SECONDS,
        then: Callable[[], None] = lambda: None,
    ) -> None:
        self._work = _Work(store, interval_seconds, then)
        self.inventory = self.of("")
        """That of the hosts that no rule is about."""
        # At the end of the process, too, where no server says that it stops.
        self._finalizer = weakref.finalize(self, self._work.stop)

    def of(self, part: str, site: str = "") -> Inventory:
        """Return the inventory of the part of the site that has this name; ``site`` is what receipts call it."""
        return self._work.inventory_of(part, site)

    def first(self, gather: Callable[[], None]) -> None:
        """Call ``gather`` in the thread before each writing: it may note more. It must not raise."""
        self._work.before.append(gather)

    def close(self) -> None:
        """Write what waits. Blocks; may be repeated, and a later sighting starts again."""
        self._work.stop()


class _Work:
    """The thread's part: it must not keep the writer alive."""

    def __init__(self, store: InventoryStore, interval_seconds: float, then: Callable[[], None]) -> None:
        self._store = store
        self._then = then
        self._interval = interval_seconds
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._told = False
        self._inventories: dict[tuple[str, str], Inventory] = {}
        self.before: list[Callable[[], None]] = []

    def inventory_of(self, part: str, site: str) -> Inventory:
        found = self._inventories.get((part, site))
        if found is None:
            found = self._inventories[part, site] = Inventory(woken=self.wake, part=part, site=site)
            self.learn()
        return found

    def wake(self) -> None:
        with self._lock:
            # Of another process's thread, after a fork, nothing is left that is alive.
            if self._thread is None or not self._thread.is_alive():
                self._stopping = threading.Event()
                self._thread = threading.Thread(
                    target=self._run, args=(self._stopping,), name="consent-inventory", daemon=True
                )
                self._thread.start()

    def stop(self) -> None:
        with self._lock:
            thread, self._thread = self._thread, None
            self._stopping.set()
        if thread is not None:
            thread.join()
        self._write()
        self._then()

    def learn(self) -> None:
        try:
            sightings = self._store.sightings()
        except StoreUnavailable as error:
            self._tell(error)
            return
        for inventory in tuple(self._inventories.values()):
            inventory.learn(sightings)

    def _run(self, stopping: threading.Event) -> None:
        while not stopping.wait(self._interval):
            if self._write():
                # What other processes saw counts here, too.
                self.learn()
            self._then()

    def _write(self) -> bool:
        for gather in self.before:
            gather()
        taken: dict[Sighting, Tally] = {}
        for inventory in tuple(self._inventories.values()):
            taken |= inventory.take()
        if not taken:
            return False
        try:
            self._store.merge(taken)
        except StoreUnavailable as error:
            for inventory in tuple(self._inventories.values()):
                inventory.give_back(taken)
            self._tell(error)
            return False
        return True

    def _tell(self, error: StoreUnavailable) -> None:
        logger.log(
            logging.DEBUG if self._told else logging.WARNING, "the inventory is not being kept: %s", error
        )
        self._told = True
