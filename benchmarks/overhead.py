"""What the middleware costs a Starlette app, in requests per second with and without it.

    python benchmarks/overhead.py [--seconds S] [--rounds N] [--json]

The answers: a small JSON document; a page of 100 KB that the app renders from a Jinja2 template, for a visitor who
has not chosen (all on it is judged, nothing on it is refused) and for one who accepted everything; and the same page
when the app has it ready in memory, the least that an app can do for a page. Each is measured twice:

- served: uvicorn, with h11, in a process of its own on loopback, eight connections kept busy by this process; what a
  site sees. The two servers take turns for S seconds each; the median of N rounds counts. Seconds are those
  of the server's processor, so that other work on the machine counts for neither.
- in process: the app called directly, without a server and sockets; the cost of the middleware itself, in
  microseconds of processor time for each request.

The pages are generated. What is inserted into each page is part of the cost.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import multiprocessing
import platform
import random
import socket
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
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
    governed_per_second: float
    plain_microseconds: float
    governed_microseconds: float

    @property
    def ratio(self) -> float:
        return self.governed_per_second / self.plain_per_second

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


def _serve(make: Callable[[], ASGIApp], listener: socket.socket) -> None:
    import uvicorn

    config = uvicorn.Config(make(), log_level="error", access_log=False, lifespan="off", http="h11")
    uvicorn.Server(config).run(sockets=[listener])


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


def measure_served(
    folder: str, wanted: list[Case], *, seconds: float, rounds: int
) -> list[tuple[float, float]]:
    """Return for each case the requests per second without and with the middleware."""
    context = multiprocessing.get_context("fork")
    ports, processes = [], []
    makers: tuple[Callable[[], ASGIApp], ...] = (site, lambda: governed(folder))
    for make in makers:
        # Without the protocol's number asyncio leaves Nagle's algorithm on.
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        ports.append(listener.getsockname()[1])
        process = context.Process(target=_serve, args=(make, listener), daemon=True)
        process.start()
        listener.close()
        processes.append(process)
    try:
        results = []
        for case in wanted:
            lines = [f"GET {case.path} HTTP/1.1", *(f"{name}: {value}" for name, value in case.headers)]
            request = ("\r\n".join(lines) + "\r\n\r\n").encode()
            for port in ports:
                asyncio.run(_load(port, request, 0.5))
            pairs = [[asyncio.run(_load(port, request, seconds)) for port in ports] for _ in range(rounds)]
            plain = statistics.median(pair[0] for pair in pairs)
            results.append((plain, plain * statistics.median(pair[1] / pair[0] for pair in pairs)))
        return results
    finally:
        for process in processes:
            process.terminate()
            process.join()


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


def measure_in_process(folder: str, wanted: list[Case], *, rounds: int) -> list[tuple[float, float]]:
    """Return for each case the microseconds per request without and with the middleware."""
    apps = (site(), governed(folder))
    results = []
    for case in wanted:
        times = 20_000 if case.path == "/data" else 500
        best = [float("inf")] * len(apps)
        for _ in range(rounds):
            for position, app in enumerate(apps):
                gc.collect()
                best[position] = min(best[position], asyncio.run(_call(app, case, times // rounds)))
        results.append((best[0], best[1]))
    return results


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--seconds", type=float, default=1.0, help="how long each server is kept busy at a time"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        wanted = cases(folder)
        inside = measure_in_process(folder, wanted, rounds=options.rounds)
        served = measure_served(folder, wanted, seconds=options.seconds, rounds=options.rounds)
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
                            "ratio": round(row.ratio, 3),
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
    print(f"{'':34}{'without':>10}{'with':>10}{'ratio':>8}{'added in process':>20}")
    for row in rows:
        print(
            f"{row.case:34}{row.plain_per_second:>8.0f}/s{row.governed_per_second:>8.0f}/s{row.ratio:>8.3f}"
            f"{row.added_microseconds:>17.1f} µs"
        )


if __name__ == "__main__":
    main()
