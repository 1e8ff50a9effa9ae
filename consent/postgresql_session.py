"""The connections of one process to PostgreSQL, and the thread that they live in.

Receipts come from any number of tasks, threads and event loops; the connections belong to one loop of their own.
Whatever has values is sent within a transaction, which is opened by one message that says all it needs: no state is
left on a connection, so that it may be one of a pooler's. (The driver sends a statement and its values in two messages,
and outside of a transaction a pooler could give them to two servers.)
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import asyncpg

from consent.errors import ConfigurationError, StoreUnavailable
from consent.postgresql_schema import DURABILITY, PARALLEL

LOCK_SECONDS: Final = 10
"""How long a transaction waits for a lock that another one holds."""
IDLE_SECONDS: Final = 5
"""How long the server waits for the next statement of a transaction: who stands still lets go of his locks."""
BEGIN: Final = (
    f"BEGIN; SET LOCAL lock_timeout = '{LOCK_SECONDS}s';"
    f" SET LOCAL idle_in_transaction_session_timeout = '{IDLE_SECONDS}s'"
)
"""Opens a transaction that keeps nobody waiting for long."""
_READ: Final = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
# For a page, starting other processes takes longer than reading it, and takes the processors of those who record.
_READ_ALONE: Final = f"{_READ}; SET LOCAL max_parallel_workers_per_gather = 0"

FAILURES = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError)
"""What is raised where the database cannot be used."""

_T = TypeVar("_T")


class Session:
    """Connects when there is something to do. Safe to share between threads; not to be carried across a fork.

    Args:
        url: ``postgresql://user@host/database``. It may hold a password: it is repeated nowhere.
        timeout: seconds that a statement may take.

    Raises:
        ConfigurationError: it is not such an address.
    """

    def __init__(self, url: str, timeout: float) -> None:
        self.place = place_of(url)
        self._url = url
        self._timeout = timeout
        self._idle: list[asyncpg.Connection] = []
        self._read = _READ
        self.lost = 0
        """How many connections were lost: another database may be behind the next one."""
        self.loop = asyncio.new_event_loop()
        self._pid = os.getpid()
        self._thread = threading.Thread(target=self.loop.run_forever, name="consent-postgresql", daemon=True)
        try:
            self._thread.start()
        except RuntimeError as error:
            self.loop.close()
            raise StoreUnavailable(f"no thread for the database: {error}; raise the limit") from error

    def run(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Run ``work`` in the thread of the connections, and wait for it. Blocks.

        Raises:
            StoreUnavailable: the connections were closed, or this is their thread.
        """
        if threading.current_thread() is self._thread:
            # Something forgotten that is taken apart here: to wait would be to wait for oneself.
            work.close()
            raise StoreUnavailable(f"{self.place} is not used from the thread of its connections")
        try:
            done = asyncio.run_coroutine_threadsafe(work, self.loop)
        except RuntimeError:
            work.close()
            raise StoreUnavailable(f"{self.place} was closed") from None
        # Longer than anything that is waited for there; a loop that was stopped would keep us for ever.
        return done.result(2 * self._timeout + 2 * LOCK_SECONDS)

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[asyncpg.Connection]:
        """Lend a connection, in the thread of the connections. One that was used when something failed is closed.

        Raises:
            StoreUnavailable: the database cannot be reached, or does not keep what it acknowledges.
        """
        connection = None
        while self._idle and (connection is None or connection.is_closed()):
            self.lost += connection is not None
            connection = self._idle.pop()  # those that the server closed meanwhile are left out
        if connection is None or connection.is_closed():
            self.lost += connection is not None
            connection = await self._connect()
        try:
            yield connection
        except BaseException:
            self.lost += 1
            connection.terminate()
            raise
        if connection.is_closed() or len(self._idle) >= 8:
            connection.terminate()
        else:
            self._idle.append(connection)

    @contextlib.contextmanager
    def transaction(self, *, read_only: bool = False) -> Iterator[Transaction]:
        """Run a transaction from any other thread; it is committed at the end. Blocks.

        Args:
            read_only: everything reads the database as it is at the beginning; may be on a replica.

        Raises:
            StoreUnavailable: the database cannot be used; nothing that was not committed is kept.
        """
        with self.explained(), self._borrowed() as connection:
            transaction = Transaction(self, connection)
            transaction.run(self._read if read_only else BEGIN)
            yield transaction
            transaction.run("COMMIT")

    def fetch(self, query: str, *values: object) -> list[Any]:
        """Ask one thing, from any other thread. Blocks.

        Raises:
            StoreUnavailable: the database cannot be used.
        """
        with self.transaction() as transaction:
            return transaction.fetch(query, *values)

    def execute(self, statement: str) -> None:
        """Run one statement outside of any transaction block; as above."""
        with self.explained(), self._borrowed() as connection:
            Transaction(self, connection).run(statement)

    @contextlib.contextmanager
    def explained(self) -> Iterator[None]:
        """Raise StoreUnavailable for whatever goes wrong with the database."""
        try:
            yield
        except FAILURES as error:
            raise unavailable(self.place, error) from error

    def close(self) -> None:
        """Close all connections, and end the thread. May be repeated."""
        if self._thread.is_alive() and not self.loop.is_closed():
            with contextlib.suppress(RuntimeError):
                self.run(self._disconnect())
                self.loop.call_soon_threadsafe(self.loop.stop)
            self._thread.join()
            self.loop.close()

    @contextlib.contextmanager
    def _borrowed(self) -> Iterator[asyncpg.Connection]:
        lent = self.connection()
        connection = self.run(lent.__aenter__())
        try:
            yield connection
        except BaseException as error:
            with contextlib.suppress(type(error)):
                self.run(lent.__aexit__(type(error), error, error.__traceback__))
            raise
        self.run(lent.__aexit__(None, None, None))

    async def _connect(self) -> asyncpg.Connection:
        try:
            # Without prepared statements, which a pooler would lose.
            connection = await asyncpg.connect(
                self._url, timeout=self._timeout, command_timeout=self._timeout, statement_cache_size=0
            )
        except (ValueError, *FAILURES) as error:
            raise unavailable(self.place, error) from None  # the cause may repeat the address
        await connection.execute("BEGIN")
        settings = await connection.fetchrow(DURABILITY)
        self._read = _READ if await connection.fetchval(PARALLEL) is None else _READ_ALONE
        await connection.execute("COMMIT")
        for name, value in zip(("synchronous_commit", "fsync", "full_page_writes"), settings, strict=True):
            if value == "off":
                connection.terminate()
                raise StoreUnavailable(
                    f"{self.place} has {name} = off and would lose what it acknowledged when the power fails: "
                    "turn it on"
                )
        return connection

    async def _disconnect(self) -> None:
        idle, self._idle = self._idle, []
        for connection in idle:
            with contextlib.suppress(*FAILURES):
                await connection.close(timeout=1)


class Transaction:
    """Statements on one connection, from another thread than that of the connections. Blocks."""

    def __init__(self, session: Session, connection: asyncpg.Connection) -> None:
        self._session = session
        self._connection = connection

    def fetch(self, query: str, *values: object) -> list[Any]:
        """Run a statement, and return its rows."""
        return list(self._session.run(self._connection.fetch(query, *values)))

    def execute(self, statement: str, *values: object) -> int:
        """Run a statement, and return how many rows it was about."""
        return count_of(self._session.run(self._connection.execute(statement, *values)))

    def run(self, statements: str) -> None:
        """Run statements without values, in one message."""
        self._session.run(self._connection.execute(statements))


def count_of(status: str) -> int:
    """Return the number of rows of a command's answer, such as ``INSERT 0 100``."""
    number = status.rpartition(" ")[2]
    return int(number) if number.isdigit() else 0


def unavailable(place: str, error: BaseException) -> StoreUnavailable:
    """Return what callers are told of a failure: where, and why, and no secret."""
    reason = "it does not answer in time" if isinstance(error, TimeoutError) else str(error)
    return StoreUnavailable(
        f"{place} cannot be used: {reason or type(error).__name__}; check that the server runs, and that the role may "
        "read and write its tables"
    )


def place_of(url: str) -> str:
    """Return where an address leads, as it may be shown: without user, password and options.

    Raises:
        ConfigurationError: it is no address of a PostgreSQL database.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        parts, host, port = urlsplit(""), None, None
    if parts.scheme not in ("postgresql", "postgres"):
        # What it says is not repeated: it may hold a password.
        raise ConfigurationError("an address of a database reads postgresql://user@host/database")
    return f"postgresql://{host or ''}{f':{port}' if port else ''}{parts.path}"


def read_address(given: str) -> str:
    """Return the address of a database, given as it is, or as the path of a file that holds it.

    Raises:
        ConfigurationError: there is no such file, others may read it, or it holds no address.
    """
    if given.startswith(("postgresql://", "postgres://")):
        place_of(given)
        return given
    path = Path(given)
    try:
        if path.stat().st_mode & 0o004:
            raise ConfigurationError(f"everybody may read it: run chmod 600 {path}", source=str(path))
        address = path.read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise ConfigurationError(
            f"neither an address, postgresql://user@host/database, nor a file that holds one: {reason}",
            source="the database",
        ) from None
    try:
        place_of(address)
    except ConfigurationError as error:
        raise ConfigurationError(error.message, source=str(path)) from None
    return address
