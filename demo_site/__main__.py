"""Serve the demo: ``python -m demo_site``, with ``--port`` or the variable ``PORT`` for another port."""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import socket
import sys
from pathlib import Path

import uvicorn

from consent import ConsentError

HOST = "127.0.0.1"
FIRST_PORT = 8000
PORTS_TRIED = 50

WELCOME = """
  Fernwell Instruments, an invented company with real tracking tags

      http://{host}:{port}/

  Four things to try
    1. Open the journal, with the browser's network panel beside it: no tracker is contacted.
       The panel at the end of each page says what was withheld, and why.
    2. Accept, and reload: now the vendors' own scripts load, with account numbers that nobody has.
       Then take it back with the small button at the edge of the page, and look at your cookies.
    3. In a second terminal: {consent} office receipts
       and {consent} check --policy demo_site/consent.toml http://{host}:{port}/
    4. Be the privacy office: {consent} office token --name you --role officer
       prints a token for http://{host}:{port}/_consent/office

  Ctrl+C stops it.
"""


def _port(text: str) -> int:
    port = int(text)
    if not 0 < port < 65536:
        raise argparse.ArgumentTypeError("a port is a number from 1 to 65535")
    return port


def listen(first: int) -> socket.socket:
    """Return a listening socket on ``first``, or on the next port that is free.

    Raises:
        OSError: none of the ports tried is free.
    """
    last = min(first + PORTS_TRIED, 65536)
    for port in range(first, last):
        try:
            return socket.create_server((HOST, port), backlog=128)
        except OSError:
            continue
    raise OSError(f"none of the ports {first} to {last - 1} is free: choose another one with --port")


def consent_command() -> str:
    """Return what starts the command line of the package that serves this, from this folder."""
    if shutil.which("consent"):
        return "consent"
    return os.path.relpath(Path(sys.executable).with_name("consent"))


def main() -> int:
    """Serve until interrupted; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m demo_site", description="Serve the demo site.")
    parser.add_argument(
        "--port",
        type=_port,
        default=os.environ.get("PORT", str(FIRST_PORT)),
        help=f"where to serve (default: {FIRST_PORT}, or the variable PORT); if taken, the next free one",
    )
    wanted: int = parser.parse_args().port
    try:
        from demo_site.app import app

        listener = listen(wanted)
    except (ConsentError, OSError) as error:
        print(f"The demo could not start: {error}", file=sys.stderr)
        return 1
    with listener:
        port = listener.getsockname()[1]
        if port != wanted:
            print(f"Port {wanted} is taken, so here is {port}.")
        print(WELCOME.format(host=HOST, port=port, consent=consent_command()), flush=True)
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        with contextlib.suppress(KeyboardInterrupt):
            server.run(sockets=[listener])
    return 0


if __name__ == "__main__":
    sys.exit(main())
