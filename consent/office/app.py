"""The privacy office as one ASGI app: beside a site, or on a port of its own."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from datetime import date
from functools import partial
from pathlib import Path
from typing import Final, NoReturn

from starlette.types import Receive, Scope, Send

from consent.data_folder import DataFolder
from consent.erasure import Erasure
from consent.errors import ConfigurationError, StoreUnavailable
from consent.office.access_log import AccessLog
from consent.office.api.app import OfficeApi
from consent.office.api.once import Once
from consent.office.attempts import Attempts
from consent.office.background import Background
from consent.office.database import OfficeDatabase
from consent.office.delivering import Delivering
from consent.office.desk import Desk, OfficeLog
from consent.office.erased_elsewhere import ErasedElsewhere
from consent.office.events import Events
from consent.office.export_writer import ExportWriter
from consent.office.exports import Exports
from consent.office.in_force import InForce
from consent.office.limits import CALLS_A_DAY, SITE_CALLS_A_DAY, Limits, limit_from
from consent.office.oidc.provider import Provider
from consent.office.oidc.settings import OidcSettings, load_oidc
from consent.office.oidc.sign_in import SignIn
from consent.office.oidc.signed_in import SignedInBook
from consent.office.outgoing import Outgoing, networks_from
from consent.office.pages.console import Console
from consent.office.paths import without_slash
from consent.office.register import DAYS_KEPT, Register
from consent.office.tokens import TokenBook
from consent.office.turn import Turn
from consent.office.watching import LogWatch
from consent.office.webhooks import Webhooks
from consent.receipts import Receipt
from consent.sqlite_inventory import SQLiteInventory

STOP_SECONDS: Final = 2.0
"""How long the end of what is done in the background is waited for: a receiver may hang, and a site is to stop."""


class Office:
    """Everything under ``office`` and ``api/v1/``.

    Making the object opens nothing but the folder's keys.

    Args:
        prefix: the path under which the endpoints of the site answer, such as ``/_consent``.
        folder: the site's data folder.
        open_log: opens the log of receipts.
        clock: returns seconds since 1970.
        oidc: how to sign in with a provider, or the file that says it; ``None``: with tokens alone.
        in_force: the policy of the site now; ``None``: it is not known here.
        erase: erases the visitor with a pseudonym from the log, in a series, as :meth:`consent.store.Erasing.erase`,
            and blocks; left out, nobody is erased from here.
        append: records a receipt, as :meth:`consent.store.Store.append`, and blocks; left out, none is recorded here.
        request_days: how long who asked is kept after a request was closed; left out, ``CONSENT_REQUEST_DAYS`` says.

    Raises:
        ConfigurationError: the folder cannot be used, how to sign in is wrong, or a limit or a network in the
            environment is none.
    """

    def __init__(
        self,
        prefix: str,
        folder: DataFolder,
        open_log: Callable[[], OfficeLog],
        clock: Callable[[], float] = time.time,
        oidc: OidcSettings | str | Path | None = None,
        *,
        in_force: InForce | None = None,
        erase: Callable[[str, str], Sequence[Erasure]] | None = None,
        append: Callable[[Receipt], None] | None = None,
        request_days: int | None = None,
    ) -> None:
        keys = folder.keys()
        ledger_keys = folder.ledger_keys()
        database = OfficeDatabase(folder.office_path)
        accesses = AccessLog(database, ledger_keys, clock)
        holidays = map(date.fromisoformat, in_force.policy.holidays) if in_force else ()
        self.register = Register(
            database,
            accesses,
            ledger_keys,
            clock,
            days_kept=days_kept(request_days),
            holidays=frozenset(holidays),
        )
        exports = Exports(database, folder.exports_path, clock, asked=self._write_exports)
        self.export_writer = writer = ExportWriter(database, folder.exports_path, clock)
        tokens = TokenBook(database, clock)
        settings = load_oidc(oidc) if isinstance(oidc, str | Path) else oidc
        people = SignedInBook(database, settings, clock)
        sign_in = None
        if settings is not None:
            sign_in = SignIn(settings, Provider(settings), keys, people, tokens, clock)
        outgoing = Outgoing(networks_from("CONSENT_WEBHOOK_NETWORKS"))
        webhooks = Webhooks(database, ledger_keys, clock, outgoing.check)
        events = Events(database)
        watch = LogWatch(database, clock)
        desk = Desk(
            open_log,
            tokens,
            accesses,
            SQLiteInventory(folder.inventory_path),
            exports,
            Limits(
                database,
                clock,
                calls_a_day=limit_from("CONSENT_OFFICE_CALLS", CALLS_A_DAY),
                site_calls_a_day=limit_from("CONSENT_OFFICE_SITE_CALLS", SITE_CALLS_A_DAY),
            ),
            self.register,
            erase or _no_store,
            append or _no_store,
            events,
            webhooks,
            watch,
            clock,
            in_force,
        )
        self._writing = Background(
            "consent-exports",
            Turn(folder.path / "exports.lock"),
            partial(writer.work, lambda: desk.log),
            is_needed=lambda: folder.office_path.exists() and writer.waits(),
        )
        self.desk = desk
        """Answers the same questions without HTTP."""
        attempts = Attempts(clock)
        once = Once(database, ledger_keys, clock)
        self._api = OfficeApi(f"{prefix}/api/v1", desk, once, attempts)
        self._console = Console(f"{prefix}/office", desk, keys, people, sign_in, attempts)
        elsewhere = ErasedElsewhere(self.register, watch, clock)
        delivering = Delivering(webhooks, events, outgoing, clock, database.close)

        def look(_: threading.Event) -> None:
            # What is about people goes at its time, also where nobody comes to the office.
            once.purge()
            webhooks.purge()
            self.register.purge()
            watch.look(desk.log)
            watch.look_at_accesses(desk.accesses)
            elsewhere.look(desk.log)

        self._background = (
            # In each process: the first page of any is not to wait for it.
            Background(
                "consent-reading-ahead",
                None,
                lambda _: desk.read_ahead(),
                is_needed=lambda: not desk.has_read_ahead.is_set() and folder.office_path.exists(),
            ),
            Background(
                "consent-deliveries",
                Turn(folder.path / "deliveries.lock"),
                delivering.work,
                is_needed=folder.office_path.exists,
            ),
            # By itself: a receiver that is slow is no reason to find out later that a log was altered.
            Background(
                "consent-watch", Turn(folder.path / "watch.lock"), look, is_needed=folder.office_path.exists
            ),
            self._writing,
        )

    def start(self) -> None:
        """Begin with what is done without being asked. May be repeated."""
        for each in self._background:
            each.start()

    def stop(self) -> None:
        """End it. Blocks, but not for long; what was being done is taken up again by the next process."""
        until = time.monotonic() + STOP_SECONDS
        for each in self._background:
            each.stop()
        for each in self._background:
            each.join(max(0.0, until - time.monotonic()))

    def _write_exports(self) -> None:
        # Here too where the server told of no start.
        self._writing.start()
        self._writing.wake()

    def work(self, stopping: threading.Event) -> None:
        """Do the same in this thread until ``stopping`` is set. Blocks."""
        self.start()
        stopping.wait()
        self.stop()

    def answers(self, path: str) -> bool:
        """Tell whether a path is one of these."""
        return self._api.answers(path) or self._console.answers(path)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return  # a WebSocket is refused by not being accepted
        if (place := without_slash(scope)) is not None:
            # One address for one thing. Whoever is nobody learns nothing by it, and a POST is sent again as it was.
            headers = [(b"location", place), (b"content-length", b"0"), (b"cache-control", b"no-store")]
            await send({"type": "http.response.start", "status": 308, "headers": headers})
            await send({"type": "http.response.body", "body": b""})
            return
        app = self._console if self._console.answers(scope["path"]) else self._api
        await app(scope, receive, send)


def register_in(
    folder: DataFolder,
    clock: Callable[[], float],
    request_days: int | None = None,
) -> Register:
    """Return the register of what people asked, in a data folder with keys, for whoever has no office.

    It is opened when it is used, and knows of no holidays: nothing arrives through it.

    Raises:
        ConfigurationError: the keys are missing, or the time that who asked is kept for is none.
    """
    keys = folder.ledger_keys(create=False)
    database = OfficeDatabase(folder.office_path)
    accesses = AccessLog(database, keys, clock)
    return Register(database, accesses, keys, clock, days_kept=days_kept(request_days))


def days_kept(given: int | None = None) -> int:
    """Return how long who asked is kept after a request was closed, in days: as given, or ``CONSENT_REQUEST_DAYS``.

    Raises:
        ConfigurationError: it is no number of days.
    """
    text = os.environ.get("CONSENT_REQUEST_DAYS") or str(DAYS_KEPT) if given is None else str(given)
    if not (text.isascii() and text.isdigit() and len(text) <= 4 and int(text)):
        raise ConfigurationError(
            f"{text!r:.40} is no number of days, 1 to 9999", source="CONSENT_REQUEST_DAYS"
        )
    return int(text)


def _no_store(*_what: object) -> NoReturn:
    raise StoreUnavailable("this office was given no store to record in, or to erase from")
