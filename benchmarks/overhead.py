"""What the middleware costs a Starlette app, in requests per second with and without it.

    python benchmarks/overhead.py [--seconds S] [--rounds N] [--pairs P] [--control] [--json]

The answers: a small JSON document; a page of 100 KB that the app renders from a Jinja2 template, for a visitor who
has not chosen (all on it is judged, nothing on it is refused) and for one who accepted everything; and the same page
when the app has it ready in memory, the least that an app can do for a page. Each is measured twice:

- served: uvicorn, with h11, in a process of its own on loopback, eight connections kept busy by this process; what a
  site sees. A server with the middleware and one without take turns for S seconds each, N times, on a processor of
  their own where there are two. What counts of a turn are the answers per second of the server's processor time, so
  that other work on the machine counts for neither; of two turns that follow each other, the ratio; and of all those,
  the median, told with the quartiles. How a process happens to lie in memory makes it a little faster or slower for as
  long as it lives: P pairs of servers are started, one after the other.
- in process: the app called directly, without a server and sockets; the cost of the middleware itself, in
  microseconds of processor time for each request, the least of many short turns.

With ``--control`` no server has the middleware: what the ratios differ from 1 by then is not the middleware's doing.
The pages are generated. What is inserted into each page is part of the cost.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import multiprocessing
import os
import platform
import random
import socket
import statistics
import tempfile
import time
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from uuid import uuid4

import jinja2
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message

from consent import ConsentMiddleware, Policy
from consent.categories import OPTIONAL
from consent.choice import Choice
from consent.choice_cookie import ChoiceCookie
from consent.data_folder import DataFolder

CONNECTIONS = 8
BROWSER = (
    ("host", "www.example.com"),
    (
        "user-agent",
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0 Safari/537.36",
    ),
    ("accept-language", "en-GB,en;q=0.9"),
    ("accept-encoding", "gzip, deflate"),
    ("sec-ch-ua", '"Chromium";v="140", "Not=A?Brand";v="24"'),
    ("sec-ch-ua-mobile", "?0"),
    ("sec-ch-ua-platform", '"Linux"'),
    ("sec-fetch-site", "same-origin"),
)
FETCH = (("accept", "*/*"), ("sec-fetch-mode", "cors"), ("sec-fetch-dest", "empty"))
NAVIGATION = (
    ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
    ("sec-fetch-mode", "navigate"),
    ("sec-fetch-dest", "document"),
)


@dataclass(frozen=True, slots=True)
class Case:
    """One kind of request."""

    name: str
    path: str
    headers: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Row:
    """What was measured of it."""

    case: str
    plain_per_second: float
    ratios: tuple[float, float, float]
    """The quartiles of the requests per second with the middleware, as a share of those without."""
    plain_microseconds: float
    governed_microseconds: float

    @property
    def governed_per_second(self) -> float:
        return self.plain_per_second * self.ratios[1]

    @property
    def added_microseconds(self) -> float:
        return self.governed_microseconds - self.plain_microseconds


WORDS = ["the", "of", "and", "to", "in", "is", "that", "for", "page", "article", "reader", "garden", "window"]
TEMPLATE = """<!doctype html><html lang=en><head><meta charset=utf-8><title>Generated</title>
{% for number in range(4) %}<link rel="stylesheet" href="/static/{{ number }}.css">{% endfor %}
</head><body>
{% for card in cards %}<div class="card card--{{ loop.index % 7 }}" id="b{{ loop.index }}"><h2>
<a href="/a/{{ loop.index }}">{{ card.text|truncate(40) }}</a></h2><p class="lead">{{ card.text }}</p>
<img src="/img/{{ loop.index }}.webp" alt="{{ card.text|truncate(20) }}" loading="lazy">
<ul><li>{{ card.text|truncate(30) }}</li><li><a href="https://example.org/{{ loop.index }}">x</a></li></ul></div>
{% if card.state %}<script>window.appState={{ card.state|tojson }};start()</script>{% endif %}
{% endfor %}</body></html>"""
"""A page of an ordinary make with nothing on it that is refused."""


def cards(count: int = 170, seed: int = 7) -> list[dict[str, object]]:
    """Return what the template shows: with so many it makes some 100 KB."""
    source = random.Random(seed)
    return [
        {
            "text": " ".join(source.choices(WORDS, k=60)),
            "state": {word: source.random() for word in WORDS} if number % 12 == 0 else None,
        }
        for number in range(count)
    ]


def site() -> ASGIApp:
    """Return the app that is measured."""
    template = jinja2.Environment(autoescape=True).from_string(TEMPLATE)
    shown = cards()
    kept = template.render(cards=shown)

    async def rendered(request: Request) -> Response:
        return HTMLResponse(template.render(cards=shown))

    async def memory(request: Request) -> Response:
        return HTMLResponse(kept)

    async def data(request: Request) -> Response:
        return JSONResponse({"items": [{"id": number, "name": f"item {number}"} for number in range(5)]})

    async def spent(request: Request) -> Response:
        return JSONResponse(time.process_time())

    return Starlette(
        routes=[
            Route("/rendered", rendered),
            Route("/memory", memory),
            Route("/data", data),
            Route("/spent", spent),
        ]
    )


def governed(folder: str) -> ASGIApp:
    """Return it with the middleware around it."""
    return ConsentMiddleware(site(), data=folder)


def cases(folder: str) -> list[Case]:
    """Return what is asked for; the visitor's choice is signed with the keys in ``folder``."""
    choice = Choice(
        receipt_id=str(uuid4()),
        subject="0" * 32,
        made_at=int(time.time()) - 60,
        policy_version=Policy().version,
        granted=frozenset(OPTIONAL),
    )
    header = ChoiceCookie(DataFolder(folder).keys()).header(choice, secure=True, now=int(time.time()))
    cookie = ("cookie", "session=" + "x" * 32 + "; " + header.split(b";")[0].decode())
    return [
        Case("JSON, no choice made", "/data", (*BROWSER, *FETCH, ("cookie", "session=" + "x" * 32))),
        Case("JSON, everything accepted", "/data", (*BROWSER, *FETCH, cookie)),
        Case("100 KB page, no choice made", "/rendered", (*BROWSER, *NAVIGATION)),
        Case("100 KB page, everything accepted", "/rendered", (*BROWSER, *NAVIGATION, cookie)),
        Case("the same from memory, no choice", "/memory", (*BROWSER, *NAVIGATION)),
        Case("the same from memory, all accepted", "/memory", (*BROWSER, *NAVIGATION, cookie)),
    ]


# --- served ---


def _serve(folder: str | None, listener: socket.socket, cores: set[int]) -> None:
    """Serve the app, with the middleware if there is a folder for its data."""
    import uvicorn

    _stay_on(cores)
    app = site() if folder is None else governed(folder)
    config = uvicorn.Config(app, log_level="error", access_log=False, lifespan="off", http="h11")
    uvicorn.Server(config).run(sockets=[listener])


def _stay_on(cores: set[int]) -> None:
    if cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)


def _cores() -> tuple[set[int], set[int]]:
    """Return where the servers are to run, and where their client; nothing where there are no two processors."""
    usable = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    return (set(usable[:1]), set(usable[1:])) if len(usable) > 1 else (set(), set())


class _Connection(asyncio.Protocol):
    """Asks again as soon as it is answered."""

    def __init__(self, request: bytes) -> None:
        self.answers = 0
        self._request = request
        self._transport: asyncio.Transport | None = None
        self._missing = 0
        self._head = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        if not self._missing:
            self._head += data
            head, found, body = self._head.partition(b"\r\n\r\n")
            if not found:
                return
            if not head.startswith(b"HTTP/1.1 200"):
                raise SystemExit(f"unexpected answer: {head[:200]!r}")
            length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
            self._missing = int(length) - len(body)
            self._head = b""
        else:
            self._missing -= len(data)
        if self._missing <= 0 and self._transport is not None:
            self.answers += 1
            self._transport.write(self._request)


async def _load(port: int, request: bytes, seconds: float) -> float:
    """Return the answers per second of the server's processor."""
    loop = asyncio.get_running_loop()
    opened = [
        await loop.create_connection(lambda: _Connection(request), "127.0.0.1", port)
        for _ in range(CONNECTIONS)
    ]
    before, spent_before = sum(protocol.answers for _, protocol in opened), await _spent(port)
    await asyncio.sleep(seconds)
    answers = sum(protocol.answers for _, protocol in opened) - before
    spent = await _spent(port) - spent_before
    for transport, _ in opened:
        transport.abort()
    return answers / spent


async def _spent(port: int) -> float:
    """Return the processor time that the server has used, in seconds."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /spent HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
    answer = await reader.read()
    writer.close()
    return float(answer.rpartition(b"\r\n\r\n")[2])


def _start(folder: str | None, cores: set[int]) -> tuple[BaseProcess, int]:
    """Start a server; return it with its port."""
    # Without the protocol's number asyncio leaves Nagle's algorithm on.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    port: int = listener.getsockname()[1]
    # A fresh process: a forked one would share with the other what both have only read.
    process = multiprocessing.get_context("spawn").Process(
        target=_serve, args=(folder, listener, cores), daemon=True
    )
    process.start()
    listener.close()
    return process, port


def _turns(ports: list[int], case: Case, *, seconds: float, rounds: int) -> list[tuple[float, float]]:
    """Return the answers per second of the one server and of the other, for each round."""
    lines = [f"GET {case.path} HTTP/1.1", *(f"{name}: {value}" for name, value in case.headers)]
    request = ("\r\n".join(lines) + "\r\n\r\n").encode()
    for port in ports:
        asyncio.run(_load(port, request, 0.5))
    pairs = []
    for number in range(rounds):
        measured = {
            port: asyncio.run(_load(port, request, seconds))
            for port in (ports[::-1] if number % 2 else ports)
        }
        pairs.append((measured[ports[0]], measured[ports[1]]))
    return pairs


def measure_served(
    folder: str, wanted: list[Case], *, seconds: float, rounds: int, pairs: int, control: bool
) -> list[tuple[float, tuple[float, float, float]]]:
    """Return for each case the requests per second without the middleware, and the quartiles of the ratios."""
    cores, others = _cores()
    _stay_on(others)
    turns: list[list[tuple[float, float]]] = [[] for _ in wanted]
    for _ in range(pairs):
        started = [_start(None, cores), _start(None if control else folder, cores)]
        try:
            for found, case in zip(turns, wanted, strict=True):
                found += _turns([port for _, port in started], case, seconds=seconds, rounds=rounds)
        finally:
            for process, _ in started:
                process.terminate()
                process.join()
    _stay_on(cores | others)
    return [
        (
            statistics.median(plain for plain, _ in found),
            _quartiles([other / plain for plain, other in found]),
        )
        for found in turns
    ]


def _quartiles(values: list[float]) -> tuple[float, float, float]:
    first, second, third = statistics.quantiles(values, n=4, method="inclusive")
    return first, second, third


# --- in process ---


async def _call(app: ASGIApp, case: Case, times: int) -> float:
    headers = [(name.encode(), value.encode()) for name, value in case.headers]

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        pass

    started = time.process_time()
    for _ in range(times):
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": case.path,
            "raw_path": case.path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": list(headers),
            "client": ("127.0.0.1", 50000),
            "server": ("127.0.0.1", 80),
            "state": {},
        }
        await app(scope, receive, send)
    return (time.process_time() - started) / times * 1e6


def measure_in_process(folder: str, wanted: list[Case], *, control: bool) -> list[tuple[float, float]]:
    """Return for each case the microseconds per request without and with the middleware."""
    apps = (site(), site() if control else governed(folder))
    results = []
    for case in wanted:
        turns, times = (200, 100) if case.path == "/data" else (100, 5)
        best = [float("inf")] * len(apps)
        gc.collect()
        for _ in range(turns):
            for position, app in enumerate(apps):
                best[position] = min(best[position], asyncio.run(_call(app, case, times)))
        results.append((best[0], best[1]))
    return results


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--seconds", type=float, default=0.3, help="how long each server is kept busy at a time"
    )
    parser.add_argument("--rounds", type=int, default=8, help="how often each of a pair is, for each answer")
    parser.add_argument(
        "--pairs", type=int, default=3, help="of how many pairs of servers, one after the other"
    )
    parser.add_argument("--control", action="store_true", help="measure two servers without the middleware")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        wanted = cases(folder)
        inside = measure_in_process(folder, wanted, control=options.control)
        served = measure_served(
            folder,
            wanted,
            seconds=options.seconds,
            rounds=options.rounds,
            pairs=options.pairs,
            control=options.control,
        )
    rows = [Row(case.name, *pair, *cost) for case, pair, cost in zip(wanted, served, inside, strict=True)]
    if options.json:
        print(
            json.dumps(
                {
                    "python": platform.python_version(),
                    "machine": platform.machine(),
                    "rows": [
                        {
                            "case": row.case,
                            "plain_per_second": round(row.plain_per_second, 1),
                            "governed_per_second": round(row.governed_per_second, 1),
                            "ratio": round(row.ratios[1], 3),
                            "ratio_quartiles": [round(ratio, 3) for ratio in row.ratios],
                            "plain_microseconds": round(row.plain_microseconds, 1),
                            "governed_microseconds": round(row.governed_microseconds, 1),
                        }
                        for row in rows
                    ],
                },
                indent=2,
            )
        )
        return
    print(f"Python {platform.python_version()}, {platform.machine()}, uvicorn with h11\n")
    print(f"{'':34}{'without':>10}{'with':>10}{'ratio':>8}{'quartiles':>16}{'added in process':>20}")
    for row in rows:
        low, middle, high = row.ratios
        print(
            f"{row.case:34}{row.plain_per_second:>8.0f}/s{row.governed_per_second:>8.0f}/s{middle:>8.3f}"
            f"{f'{low:.3f} to {high:.3f}':>16}{row.added_microseconds:>17.1f} µs"
        )


if __name__ == "__main__":
    main()
