"""Finds a PgBouncer for the tests of a pooler, installs one where there is none, and runs it in front of a server.

``python -m tests.pgbouncer`` says which one is used; with ``--install`` it installs Debian's if need be.
"""

from __future__ import annotations

import argparse
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.debian_package import install
from tests.postgresql import Server

REMEDY = "no PgBouncer found: run `python -m tests.pgbouncer --install`, or install the package pgbouncer"
_PATH = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"))
_SETTINGS = """
[databases]
* = host={server} user=postgres
[pgbouncer]
listen_addr =
listen_port = 6432
unix_socket_dir = {folder}
auth_type = any
pool_mode = transaction
default_pool_size = {servers}
server_reset_query =
"""


class NoPgBouncerError(Exception):
    """There is none; the message says what to do."""


def find_pgbouncer() -> str:
    """Return the path of a PgBouncer.

    Raises:
        NoPgBouncerError: there is none.
    """
    found = shutil.which("pgbouncer", path=_PATH)
    if found is None:
        raise NoPgBouncerError(REMEDY)
    return found


@contextmanager
def pooled(server: Server, database: str, *, servers: int) -> Iterator[str]:
    """Run one in transaction mode, and give the address of a database behind it.

    Args:
        servers: how many connections it has to the server.
    """
    with tempfile.TemporaryDirectory(prefix="consent-pgbouncer-") as name:
        folder = Path(name)
        settings = folder / "pgbouncer.ini"
        settings.write_text(_SETTINGS.format(server=server.folder, folder=folder, servers=servers))
        user = {}
        if os.geteuid() == 0:  # it refuses to run as root
            nobody = pwd.getpwnam("nobody")
            os.chown(folder, nobody.pw_uid, nobody.pw_gid)
            user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        with (folder / "log").open("w+b") as log:
            process = subprocess.Popen([find_pgbouncer(), str(settings)], stdout=log, stderr=log, **user)  # type: ignore[call-overload]
            try:
                deadline = time.monotonic() + 20
                while not (folder / ".s.PGSQL.6432").exists():
                    if process.poll() is not None or time.monotonic() > deadline:
                        log.seek(0)
                        raise RuntimeError(f"PgBouncer did not start: {log.read().decode()}")
                    time.sleep(0.02)
                yield f"postgresql://postgres@/{database}?host={folder}&port=6432"
            finally:
                process.terminate()
                process.wait(20)


def main() -> int:
    """Return the exit status: 0 with a PgBouncer, 1 without."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.pgbouncer", description="Find a PgBouncer for the tests of a pooler."
    )
    parser.add_argument("--install", action="store_true", help="install one where none is found")
    if parser.parse_args().install and shutil.which("pgbouncer", path=_PATH) is None:
        install("pgbouncer")
    try:
        print(f"pgbouncer: {find_pgbouncer()}")
    except NoPgBouncerError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
