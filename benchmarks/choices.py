"""How long a visitor waits until a choice is recorded and answered, over HTTP, at a steady rate.

Choices are posted to a site with the middleware: uvicorn in a process of its own on loopback, with a data folder of its
own. They are sent when they are due, whether those before are answered or not, over connections that are kept, and each
is timed from the moment it was due. At the end, the log has a receipt of each that was answered, or the run fails.

    python benchmarks/choices.py                     # 200 a second for 20 seconds
    python benchmarks/choices.py --rate 400 --seconds 60 --folder /var/lib/somewhere
    python benchmarks/choices.py --postgresql        # receipts in PostgreSQL, a server of its own in that folder
    python benchmarks/choices.py --json              # one JSON object

Server, client and, if it is PostgreSQL, the database share the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import multiprocessing
import os
import platform
import random
import re
import socket
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from consent import ConsentMiddleware
from consent.data_folder import DataFolder
from consent.receipts_database import ReceiptsDatabase

sys.path.append(str(Path(__file__).resolve().parents[1]))
from tests.postgresql import new_server

BROWSER = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
FIELDS = (
    "Host: www.example.com\r\nSec-Fetch-Site: same-origin\r\nOrigin: http://www.example.com\r\n"
    f"User-Agent: {BROWSER}\r\nAccept: text/html\r\nAccept-Language: en-GB,en;q=0.9\r\n"
)


def serve(listener: socket.socket, folder: str, database: str | None) -> None:
    """Serve a site of one page, and what its process has spent."""
    import uvicorn

    async def page(request: Request) -> Response:
        return HTMLResponse("<!doctype html><title>Shop</title><h1>Shop</h1>")

    async def spent(request: Request) -> Response:
        return JSONResponse(time.process_time())

    app = Starlette(routes=[Route("/", page), Route("/spent", spent)])
    governed = ConsentMiddleware(app, data=folder, database=database)
    config = uvicorn.Config(
        governed, log_level="error", access_log=False, lifespan="on", http="h11", timeout_keep_alive=600
    )
    uvicorn.Server(config).run(sockets=[listener])


Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass
class Client:
    """Sends requests over connections that are kept."""

    port: int
    idle: list[Connection] = field(default_factory=list)

    async def ask(self, method: str, path: str, body: str = "") -> tuple[int, bytes]:
        """Return status and body."""
        connection = self.idle.pop() if self.idle else None
        reader, writer = connection or await asyncio.open_connection("127.0.0.1", self.port)
        length = f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n"
        head = f"{method} {path} HTTP/1.1\r\n{FIELDS}{length if body else ''}\r\n"
        writer.write((head + body).encode())
        answer = (await reader.readuntil(b"\r\n\r\n")).lower()
        found = re.search(rb"\r\ncontent-length: *(\d+)", answer)
        if found is not None:
            content = await reader.readexactly(int(found[1]))
        else:
            content = b""
            while size := int(await reader.readline(), 16):
                content += await reader.readexactly(size)
                await reader.readline()
            await reader.readline()
        self.idle.append((reader, writer))
        return int(answer.split(b" ", 2)[1]), content


async def load(port: int, rate: float, seconds: float) -> dict[str, float]:
    """Send choices at ``rate`` a second; return how long they took, in milliseconds, from when they were due."""
    client = Client(port)
    for _ in range(100):
        with contextlib.suppress(OSError):
            _, page = await client.ask("GET", "/")
            break
        await asyncio.sleep(0.1)
    found = re.search(rb'name="?shown"? value="?([0-9a-f]{64})', page)
    assert found is not None
    shown = found[1].decode()
    source = random.Random(1)
    waits: list[float] = []

    async def choose(due: float | None) -> None:
        action = source.choice(("accept", "refuse"))
        body = f"action={action}&form=banner&shown={shown}&return_to=%2F"
        status, _ = await client.ask("POST", "/_consent/choice", body)
        if status != 303:
            raise RuntimeError(f"a choice was answered {status}")
        if due is not None:
            waits.append(time.perf_counter() - due)

    # The first ones open connections and find everything new.
    for _ in range(5):
        await asyncio.gather(*(choose(None) for _ in range(10)))
    _, before = await client.ask("GET", "/spent")
    start = time.perf_counter()
    under_way: set[asyncio.Task[None]] = set()
    count = int(rate * seconds)
    for number in range(count):
        due = start + number / rate
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        under_way.add(asyncio.ensure_future(choose(due)))
    await asyncio.gather(*under_way)
    elapsed = time.perf_counter() - start
    _, after = await client.ask("GET", "/spent")
    for _, writer in client.idle:
        writer.close()
    waits.sort()
    return {
        "choices": count,
        "per_second": count / elapsed,
        "p50_ms": waits[count // 2] * 1_000,
        "p99_ms": waits[count * 99 // 100] * 1_000,
        "max_ms": waits[-1] * 1_000,
        "server_ms_per_choice": (float(after) - float(before)) / count * 1_000,
    }


def recorded(folder: Path, database: str | None) -> int:
    """Return how many choices the log has counted."""
    with ReceiptsDatabase(DataFolder(folder), database).log() as log:
        return sum(count.choices for count in log.daily("0000", "9999"))


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--rate", type=float, default=200.0, help="choices a second (default: 200)")
    parser.add_argument("--seconds", type=float, default=20.0, help="how long (default: 20)")
    parser.add_argument("--folder", type=Path, default=Path(), help="on the disk to measure (default: here)")
    parser.add_argument("--postgresql", action="store_true", help="PostgreSQL instead of SQLite")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(
            tempfile.TemporaryDirectory(dir=options.folder.absolute(), prefix="choices-benchmark-")
        )
        database = None
        if options.postgresql:
            database = stack.enter_context(new_server(options.folder.absolute())).new_database()
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=1_000))
        context = multiprocessing.get_context("spawn")
        process = context.Process(target=serve, args=(listener, f"{folder}/data", database), daemon=True)
        process.start()
        try:
            measured = asyncio.run(load(listener.getsockname()[1], options.rate, options.seconds))
        finally:
            process.terminate()  # uvicorn ends in order, and closes the store
            process.join(30)
        expected = measured["choices"] + 50
        found = recorded(Path(folder, "data"), database)
        if found != expected:
            raise SystemExit(f"{expected:.0f} choices were answered, and {found} are in the log")
    result = {name: round(value, 2) for name, value in measured.items()}
    store = "PostgreSQL" if options.postgresql else "SQLite"
    machine = {"python": platform.python_version(), "cores": os.cpu_count(), "store": store}
    if options.json:
        print(json.dumps({**machine, **result}))
        return
    for name, value in {**machine, **result}.items():
        print(f"{name.replace('_', ' '):24} {value}")


if __name__ == "__main__":
    main()
