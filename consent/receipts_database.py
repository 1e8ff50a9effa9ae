"""Where a site's receipts are: in its data folder, or in a PostgreSQL that its machines share."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from consent.data_folder import DataFolder
from consent.erasure import Erasure
from consent.errors import ConfigurationError
from consent.receipts import Receipt
from consent.sqlite_log import SQLiteReceiptLog, check_log
from consent.sqlite_store import SQLiteStore

if TYPE_CHECKING:
    from consent.postgresql_log import PostgreSQLReceiptLog
    from consent.postgresql_store import PostgreSQLStore

_T = TypeVar("_T")
ADDRESS_VARIABLE = "CONSENT_DATABASE"
REPLICA_VARIABLE = "CONSENT_READ_DATABASE"


class ReceiptsDatabase:
    """One site's database of receipts. Making the object opens nothing.

    Args:
        folder: the data folder, which has the keys.
        address: of a PostgreSQL database, or the path of a file that holds it; ``None``: what ``CONSENT_DATABASE``
            says; if that says nothing, SQLite in the folder.
        replica: the same for reading, with ``CONSENT_READ_DATABASE``; ``None``: reads go where receipts go.

    Raises:
        ConfigurationError: an address is none, or the package for PostgreSQL is missing.
    """

    def __init__(self, folder: DataFolder, address: str | None = None, replica: str | None = None) -> None:
        self.folder = folder
        given = address or os.environ.get(ADDRESS_VARIABLE)
        read = replica or os.environ.get(REPLICA_VARIABLE)
        if read and not given:
            raise ConfigurationError(
                f"a replica is read of a database that is written: set {ADDRESS_VARIABLE}, too",
                source=REPLICA_VARIABLE,
            )
        self.address = _address(given) if given else None
        """Of PostgreSQL; ``None``: it is SQLite. It may hold a password."""
        self._replica = _address(read) if read else self.address

    def store(self, clock: Callable[[], float] = time.time) -> SQLiteStore | PostgreSQLStore:
        """Return a store, which has opened nothing yet."""
        keys = self.folder.ledger_keys()
        if self.address is None:
            return SQLiteStore(self.folder.receipts_path, keys, clock=clock)
        from consent.postgresql_store import PostgreSQLStore

        return PostgreSQLStore(self.address, keys, mark=self.mark, clock=clock)

    def prepared(self, clock: Callable[[], float] = time.time) -> SQLiteStore | PostgreSQLStore:
        """Return a store whose database was made where there is none, and is of this release. Blocks.

        Raises:
            StoreUnavailable: it cannot be written, or is not one of ours.
        """
        store = self.store(clock)
        store.prepare()
        return store

    def erase(self, subject: str, series: str) -> Sequence[Erasure]:
        """Erase a visitor, with a store opened for that. Blocks; where an event loop runs, call it from a thread.

        Raises:
            ErasureHeldError, StoreUnavailable: as for :meth:`consent.store.Erasing.erase`.
        """

        return self._do(lambda store: store.erase(subject, series=series))

    def append(self, receipt: Receipt) -> None:
        """Record a receipt whose artefacts are there, likewise.

        Raises:
            StoreError: as for :meth:`consent.store.Store.append`.
        """
        self._do(lambda store: store.append(receipt))

    def _do(self, work: Callable[[SQLiteStore | PostgreSQLStore], Coroutine[Any, Any, _T]]) -> _T:
        async def run() -> _T:
            store = self.store()
            try:
                return await work(store)
            finally:
                await store.aclose()

        return asyncio.run(run())

    @property
    def mark(self) -> Path:
        """Where this machine keeps the checkpoint that it signed last of a log in PostgreSQL."""
        return self.folder.path / "postgresql.checkpoint"

    def log(self) -> SQLiteReceiptLog | PostgreSQLReceiptLog:
        """Open what reads it.

        Raises:
            ConfigurationError: the keys are missing.
            StoreUnavailable: there is no database yet, or it cannot be read.
        """
        if self.address is None or self._replica is None:
            check_log(self.folder.receipts_path)
            return SQLiteReceiptLog(self.folder.receipts_path, self.folder.ledger_keys(create=False))
        from consent.postgresql_log import PostgreSQLReceiptLog

        return PostgreSQLReceiptLog(self._replica, self.folder.ledger_keys(create=False))


def _address(given: str) -> str:
    try:
        from consent.postgresql_session import read_address
    except ModuleNotFoundError as error:
        if error.name != "asyncpg":
            raise
        raise ConfigurationError(
            "receipts in PostgreSQL need one more package: pip install 'asgi-consent[postgresql]'",
            source=ADDRESS_VARIABLE,
        ) from None
    return read_address(given)
