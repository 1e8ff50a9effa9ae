"""Finds an nginx for the caching tests, installs one where there is none, and runs it on loopback.

``python -m tests.caching.nginx`` says which one is used; with ``--install`` it installs Debian's if need be.
"""

from __future__ import annotations

import argparse
import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.debian_package import install

REMEDY = "no nginx found: run `python -m tests.caching.nginx --install`, or install the package nginx-light"
_PATH = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"))
_SETTINGS = """
daemon off;
worker_processes 1;
pid nginx.pid;
error_log stderr warn;
events { worker_connections 256; }
http {
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
%s
}
"""


class NoNginxError(Exception):
    """There is none; the message says what to do."""


def find_nginx() -> str:
    """Return the path of an nginx.

    Raises:
        NoNginxError: there is none.
    """
    found = shutil.which("nginx", path=_PATH)
    if found is None:
        raise NoNginxError(REMEDY)
    return found


@contextmanager
def running(sites: str) -> Iterator[None]:
    """Run nginx with ``sites`` within its ``http`` block, and without any privilege, until the ``with`` block ends.

    ``FOLDER`` in it stands for a folder that it may write to. It is awaited on the port that it listens on first.
    """
    with tempfile.TemporaryDirectory(prefix="consent-nginx-") as name:
        folder = Path(name)
        (folder / "nginx.conf").write_text(_SETTINGS % sites.replace("FOLDER", name))
        user = {}
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            os.chown(folder, nobody.pw_uid, nobody.pw_gid)
            user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        log = (folder / "log").open("w+b")
        command = [find_nginx(), "-p", name, "-c", "nginx.conf", "-e", "stderr"]
        process = subprocess.Popen(command, stdout=log, stderr=log, **user)  # type: ignore[call-overload]
        try:
            port = int(sites.partition("listen 127.0.0.1:")[2].partition(";")[0])
            deadline = time.monotonic() + 20
            while not _listens(port):
                if process.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    raise RuntimeError(f"nginx did not start: {log.read().decode()}")
                time.sleep(0.02)
            yield
        finally:
            process.terminate()
            process.wait(20)
            log.close()


def free_port() -> int:
    """Return a port on 127.0.0.1 that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def main() -> int:
    """Return the exit status: 0 with an nginx, 1 without."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.caching.nginx", description="Find an nginx for the caching tests."
    )
    parser.add_argument("--install", action="store_true", help="install one where none is found")
    if parser.parse_args().install and shutil.which("nginx", path=_PATH) is None:
        install("nginx-light")
    try:
        print(f"nginx: {find_nginx()}")
    except NoNginxError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
