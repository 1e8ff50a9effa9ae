"""The privacy office as one ASGI app: beside a site, or on a port of its own."""

from __future__ import annotations

import time
from collections.abc import Callable

from starlette.types import Receive, Scope, Send

from consent.data_folder import DataFolder
from consent.office.access_log import AccessLog
from consent.office.api.app import OfficeApi
from consent.office.database import OfficeDatabase
from consent.office.desk import Desk, OfficeLog
from consent.office.pages.console import Console
from consent.office.tokens import TokenBook
from consent.sqlite_inventory import SQLiteInventory


class Office:
    """Everything under ``office`` and ``api/v1/``.

    Making the object opens nothing but the folder's keys.

    Args:
        prefix: the path under which the endpoints of the site answer, such as ``/_consent``.
        folder: the site's data folder.
        open_log: opens the log of receipts.
        clock: returns seconds since 1970.

    Raises:
        ConfigurationError: the folder cannot be used.
    """

    def __init__(
        self,
        prefix: str,
        folder: DataFolder,
        open_log: Callable[[], OfficeLog],
        clock: Callable[[], float] = time.time,
    ) -> None:
        keys = folder.keys()
        database = OfficeDatabase(folder.office_path)
        desk = Desk(
            open_log,
            TokenBook(database, clock),
            AccessLog(database, folder.ledger_keys(), clock),
            SQLiteInventory(folder.inventory_path),
            clock,
        )
        self._api = OfficeApi(f"{prefix}/api/v1", desk)
        self._console = Console(f"{prefix}/office", desk, keys)

    def answers(self, path: str) -> bool:
        """Tell whether a path is one of these."""
        return path.startswith(f"{self._api.path}/") or self._console.answers(path)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return  # a WebSocket is refused by not being accepted
        app = self._console if self._console.answers(scope["path"]) else self._api
        await app(scope, receive, send)
