"""One request to an ASGI app, message by message, and a middleware around it with a small catalog."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any
from uuid import uuid4

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from consent.banner import Banner
from consent.catalog import Catalog, Cookie, InlineSignature, Vendor
from consent.categories import OPTIONAL, Category
from consent.choice import BrowserSignal, Choice
from consent.choice_cookie import ChoiceCookie
from consent.decision import Decision, decide
from consent.middleware import EnforcingMiddleware
from consent.policy import Policy
from consent.signals import Signals

NOW = 1_800_000_000
TRACKER = "https://t.tracker.example/t.js"
HTML = (b"content-type", b"text/html; charset=utf-8")
Headers = Sequence[tuple[bytes, bytes]]


def vendor(id: str, category: Category, *hosts: str, cookies: Sequence[str] = (), inline: str = "") -> Vendor:
    """Return an invented vendor."""
    return Vendor(
        id=id,
        name=id.title(),
        company="Example Ltd",
        country="IE",
        privacy_url="https://example.com/privacy",
        category=category,
        about="It is invented.",
        hosts=hosts,
        inline=(InlineSignature(pattern=inline + r"\(", example=f"{inline}()", benign=()),) if inline else (),
        cookies=tuple(
            Cookie(name=name, purpose="An invented one.", lifetime="1 year", party="first", http_only=False)
            for name in cookies
        ),
    )


VENDORS = (
    vendor("counter", Category.PERFORMANCE, "counter.example", cookies=("_count",)),
    vendor(
        "tracker", Category.TARGETING, "tracker.example", cookies=("_track", "_track_*"), inline="trackMe"
    ),
    vendor("cdn", Category.STRICTLY_NECESSARY, "cdn.example", cookies=("_cdn",)),
)
CATALOG = Catalog(VENDORS)
POLICY = Policy(site="Example", language="en")
COOKIE = ChoiceCookie([b"0123456789abcdef0123456789abcdef"], max_age_days=POLICY.choice_days)
BANNER = Banner(POLICY)
REFUSING = decide(POLICY, Signals())


async def endpoints(scope: Scope, receive: Receive, send: Send) -> None:
    """Stand in for the visitor's endpoints."""
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"x-endpoint", scope["path"].encode())]}
    )
    await send({"type": "http.response.body", "body": b"endpoint"})


def around(app: ASGIApp, **options: Any) -> EnforcingMiddleware:
    """Return the middleware around ``app``."""
    settings: dict[str, Any] = {
        "endpoints": endpoints,
        "policy": POLICY,
        "catalog": CATALOG,
        "cookie": COOKIE,
        "banner": BANNER,
        "clock": lambda: NOW,
    }
    return EnforcingMiddleware(app, **{**settings, **options})


def answering(
    *chunks: bytes,
    status: int = 200,
    headers: Headers = (HTML,),
    before: Sequence[Message] = (),
    **start: Any,
) -> ASGIApp:
    """Return an app that always gives one answer, its body in ``chunks``."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for message in before:
            await send(message)
        await send({"type": "http.response.start", "status": status, "headers": list(headers), **start})
        for position, chunk in enumerate(chunks or (b"",)):
            await send({"type": "http.response.body", "body": chunk, "more_body": position < len(chunks) - 1})

    return app


@dataclass
class Answer:
    """What came back."""

    messages: list[Message] = field(default_factory=list)

    @property
    def start(self) -> Message:
        (start,) = [message for message in self.messages if message["type"] == "http.response.start"]
        return start

    @property
    def status(self) -> int:
        return int(self.start["status"])

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        return [(name, value) for name, value in self.start["headers"]]

    def all(self, name: str) -> list[str]:
        return [value.decode("latin-1") for key, value in self.headers if key == name.encode()]

    def header(self, name: str) -> str | None:
        """Return the one value of a field; ``None`` where it is absent."""
        values = self.all(name)
        assert len(values) <= 1, (name, values)
        return values[0] if values else None

    @property
    def chunks(self) -> list[bytes]:
        return [m.get("body", b"") for m in self.messages if m["type"] == "http.response.body"]

    @property
    def body(self) -> bytes:
        return b"".join(self.chunks)


def scope_for(
    path: str = "/",
    *,
    method: str = "GET",
    headers: Mapping[str, str] | Headers = MappingProxyType({}),
    query: str = "",
    **more: Any,
) -> Scope:
    """Return the scope of a request as a server makes it."""
    if isinstance(headers, Mapping):
        headers = [(key.lower().encode(), value.encode("latin-1")) for key, value in headers.items()]
    if not any(key == b"host" for key, _ in headers):
        headers = [(b"host", b"www.example.com"), *headers]
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": method,
        "scheme": "https",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": list(headers),
        "client": ("192.0.2.1", 50000),
        "server": ("192.0.2.2", 443),
        **more,
    }


def ask(
    app: ASGIApp, path: str = "/", *, on_send: Callable[[Message], None] | None = None, **request: Any
) -> Answer:
    """Make one request of ``app``."""
    answer = Answer()

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        answer.messages.append(message)
        if on_send is not None:
            on_send(message)

    asyncio.run(_call(app, scope_for(path, **request), receive, send))
    return answer


async def _call(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    await app(scope, receive, send)


def chosen(
    granted: Iterable[Category] = OPTIONAL,
    *,
    vendors: Mapping[str, bool] = MappingProxyType({}),
    told: Iterable[BrowserSignal] = (),
    made_at: int = NOW - 60,
    policy: Policy = POLICY,
) -> str:
    """Return the ``Cookie`` field of a visitor who granted these categories."""
    choice = Choice(
        receipt_id=str(uuid4()),
        subject="0" * 32,
        made_at=made_at,
        policy_version=policy.version,
        granted=frozenset(granted),
        vendors=MappingProxyType(dict(vendors)),
        told=frozenset(told),
    )
    return COOKIE.header(choice, secure=True, now=NOW).split(b";")[0].decode()


def banner(decision: Decision, return_to: str = "/", nonce: str | None = None) -> bytes:
    """Return what is inserted into a page."""
    return BANNER.markup(decision, return_to=return_to, nonce=nonce)


__all__ = [
    "BANNER",
    "CATALOG",
    "HTML",
    "NOW",
    "POLICY",
    "REFUSING",
    "TRACKER",
    "Answer",
    "answering",
    "around",
    "ask",
    "banner",
    "chosen",
    "scope_for",
]
