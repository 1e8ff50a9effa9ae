"""With the compiled entrance and without: the app sees the same request, the visitor gets the same response."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import inf
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from consent import entrance as entrance_module
from consent.categories import Category
from consent.entrance import Known, entrance
from consent.guard import Guard
from consent.headers import RESPONSE
from consent.html.screening import page_screen
from consent.inventory import Inventory
from consent.middleware import EnforcingMiddleware
from consent.policy import CacheMode, Policy
from consent.response import GovernedResponse
from consent.site import Clearing, Edition
from consent.speedups import compiled
from tests.exchange import CATALOG, HTML, NOW, POLICY, TRACKER, answering, around, ask, chosen, scope_for

pytestmark = pytest.mark.skipif(
    compiled is None, reason="there is no compiled entrance to be held against Python"
)

JSON = (b"content-type", b"application/json")
START: Message = {"type": "http.response.start", "status": 200, "headers": [JSON]}
BODY: Message = {"type": "http.response.body", "body": b"{}"}
CHOICES = [chosen(), chosen(()), chosen([Category.PERFORMANCE]), chosen(made_at=NOW - 400 * 86_400)]


@contextmanager
def without_c() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(entrance_module, "compiled", None)
        yield


class Site:
    """An app that sends these messages, behind the middleware; it notes what it is asked."""

    def __init__(self, policy: Policy = POLICY, **settings: Any) -> None:
        self.messages: Sequence[Message] = []
        self.scope: Scope = {}
        self.middleware: EnforcingMiddleware = around(self, policy=policy, **settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        for message in self.messages:
            await send(message)

    def outcome(self, messages: Sequence[Message], scope: Scope) -> object:
        self.messages = messages
        self.scope = {}
        sent: list[Message] = []

        async def receive() -> Message:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Message) -> None:
            sent.append(message)

        async def call() -> None:
            await self.middleware(scope, receive, send)

        try:
            asyncio.run(call())
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            return type(error), sent
        return sent, self.scope


REQUEST_FIELDS = st.sampled_from(
    [
        (b"accept-encoding", b"gzip, deflate"),
        (b"accept-encoding", b"dcz"),
        (b"cookie", b"a=1"),
        *((b"cookie", choice.encode()) for choice in CHOICES),
        (b"dnt", b"1"),
        (b"if-none-match", b'"a"'),
        (b"range", b"bytes=0-1"),
        (b"sec-fetch-dest", b"document"),
        (b"sec-fetch-dest", b"iframe"),
        (b"sec-fetch-dest", b"worker"),
        (b"sec-gpc", b"1"),
        (b"x-requested-with", b"x"),
    ]
)
SCOPES = st.builds(
    scope_for,
    st.sampled_from(["/", "/a.json", "/_consent/x", "/_consent", "/.well-known/gpc.json", "/shop/\xe9"]),
    method=st.sampled_from(["GET", "HEAD", "POST"]),
    headers=st.lists(REQUEST_FIELDS, max_size=3).flatmap(st.permutations),
    root_path=st.sampled_from(["", "/shop", "/x"]),
    extensions=st.sampled_from([None, {}, {"http.response.pathsend": {}}, {"http.response.early_hint": {}}]),
    state=st.fixed_dictionaries({}, optional={"a": st.just(1)}),
)
PLAIN_SCOPES = st.builds(
    scope_for,
    headers=st.sampled_from([[], *([("cookie", choice)] for choice in CHOICES)]).map(dict),
    state=st.just({}),
)
RESPONSE_FIELDS = st.sampled_from(
    [
        JSON,
        (b"Content-Type", b"application/json; charset=utf-8"),
        (b"content-type", b"image/png"),
        HTML,
        HTML,
        (b"content-length", b"2"),
        (b"etag", b'"a"'),
        (b"link", f"<{TRACKER}>; rel=preload".encode()),
        (b"location", TRACKER.encode()),
        (b"set-cookie", b"_track=1"),
        (b"set-cookie", b"session=1"),
        (b"vary", b"Origin"),
        [b"content-type", b"text/css"],
    ]
)
STARTS = st.fixed_dictionaries(
    {
        "type": st.just("http.response.start"),
        "status": st.sampled_from([200, 200, 200, 201, 204, 206, 302, 304, 404, 500]),
        "headers": st.one_of(
            st.lists(RESPONSE_FIELDS, max_size=3), st.lists(RESPONSE_FIELDS, max_size=2).map(tuple)
        ),
    }
)
BODIES = st.fixed_dictionaries(
    {
        "type": st.just("http.response.body"),
        "body": st.sampled_from(
            [b"", b"{}", b"<body></body></html>", f'<script src="{TRACKER}"></script></body>'.encode()]
        ),
        "more_body": st.booleans(),
    }
)
ODD_MESSAGES = st.sampled_from(
    [
        {"type": "http.response.start", "status": 200},
        {"type": "http.response.start"},
        {"type": "http.response.body"},
        {"type": "http.response.early_hint", "links": [f"<{TRACKER}>; rel=preload".encode()]},
        {"type": "http.response.trailers", "headers": [(b"digest", b"x")]},
        {"type": "http.response.debug", "info": {}},
        {},
    ]
)
ANSWERS = st.one_of(
    st.tuples(STARTS),
    st.tuples(STARTS, BODIES),
    st.lists(st.one_of(STARTS, BODIES, ODD_MESSAGES), max_size=4),
)
EXCHANGES = st.lists(st.tuples(ANSWERS, st.one_of(PLAIN_SCOPES, SCOPES)), min_size=1, max_size=4)


@pytest.mark.parametrize("cache", CacheMode)
@given(exchanges=EXCHANGES)
def test_both_ways_in_and_out_agree(
    cache: CacheMode, exchanges: list[tuple[Sequence[Message], Scope]]
) -> None:
    """Whatever is asked, answered, and in which order, in every cache mode."""
    policy = Policy(site="Example", cache=cache)
    ours = Site(policy)
    with without_c():
        theirs = Site(policy)
    for messages, scope in exchanges:
        again = [dict(message) for message in messages]
        other = {**scope, "state": dict(scope["state"])}
        assert ours.outcome(messages, scope) == theirs.outcome(again, other)
        assert ours.outcome(messages, scope) == theirs.outcome(again, other)  # now that they know it


SEEN = ("counter",)
ADDED = ((b"vary", b"Cookie"),)
PAGES = {"https": {b"en": (ADDED, (), (b"<i>", b"</i>"), SEEN, None)}}
"""Editions of pages, with what is put into them and the address in it."""


def cleared(**changed: Any) -> dict[str, dict[bytes, tuple[object, ...]]]:
    """Return editions of pages that something may be refused in."""
    nobody = bytes(len(CATALOG.vendors) + 1)
    clearing = Clearing(
        page_screen(CATALOG), nobody, b"<g>", b"<h>", harmless={b"a"}, mark=b"its_no", is_due=None
    )._replace(**changed)
    return {"https": {b"en": Edition(ADDED, (b"<b>", b"</b>"), (), SEEN, clearing)}}


class Way:
    """An entrance to an app that sends ``messages``; counts what needed a closer look."""

    def __init__(self, *messages: Message, **settings: Any) -> None:
        self.messages = messages
        self.looks = 0
        self.responds = 0
        self.now = 15.0
        self.scope: Scope = {}
        self.enter: ASGIApp = entrance(
            **{
                "app": self._app,
                "look": self._look,
                "respond": self._respond,
                "cookie_name": b"consent",
                "plain_codings": {b"gzip"},
                "plain_types": {b"application/json"},
                "roots": {""},
                "elsewhere": ("/_consent/",),
                "bypasses": ("http.response.pathsend",),
                "fields": RESPONSE,
                "silence": Known(-inf, inf, "ruling", "silence", None),
                "chosen": {b"consent=x": Known(10, 20, "ruling", "choice", PAGES)},
                "clock": lambda: self.now,
                "page_types": {HTML[1]},
                "plain_names": {b"x-frame-options"},
                "inventory": SimpleNamespace(seen=SEEN),
                **settings,
            }
        )

    async def _app(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        for message in self.messages:
            await send(message)

    async def _look(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.looks += 1

    def _respond(self, scope: Scope, headers: object, ruling: object, send: Send) -> Way:
        self.responds += 1
        self.send = send
        return self

    def ask(self, *headers: tuple[bytes, bytes], path: str = "/", **more: Any) -> list[Message]:
        return ask(self.enter, path, headers=headers, **more).messages


def test_what_nothing_is_done_about_passes_as_it_is() -> None:
    """The very messages; the app's scope is a copy that differs by the decision alone."""
    way = Way(START, BODY, {"type": "http.response.trailers"})
    sent = way.ask((b"accept-encoding", b"gzip"), (b"cookie", b"a=1"), state={"a": 1})
    assert [id(message) for message in sent] == [id(message) for message in way.messages]
    assert (way.looks, way.responds) == (0, 0)
    assert way.scope["state"] == {"a": 1, "consent": "silence"}
    assert way.scope["headers"][1:] == [(b"accept-encoding", b"gzip"), (b"cookie", b"a=1")]


def test_a_choice_that_was_met_before_counts_while_it_holds() -> None:
    """Before and after, and where there may be two, a closer look is needed."""
    way = Way(START)
    choice = (b"cookie", b"consent=x")
    for now, looks in ((10, 0), (19.5, 0), (20, 1), (9.5, 1)):
        way.now, way.looks = now, 0
        way.ask(choice)
        assert way.looks == looks, now
    way.now, way.looks = 15, 0
    assert way.ask(choice) == [START]
    assert way.scope["state"]["consent"] == "choice"
    way.ask(choice, (b"cookie", b"consent=y"))
    way.ask((b"cookie", b"consent=y"))
    assert way.looks == 2


@pytest.mark.parametrize(
    "request_",
    [
        {"headers": [(b"sec-gpc", b"1")]},
        {"headers": [(b"dnt", b"0")]},
        {"headers": [(b"accept-encoding", b"dcz")]},
        {"headers": [(b"range", b"bytes=0-")]},
        {"headers": [(b"if-none-match", b'"a"')]},
        {"headers": [(b"sec-fetch-dest", b"serviceworker")]},
        {"headers": ((b"host", b"x"),)},
        {"path": "/_consent/choices"},
        {"path": "/\udcff"},
        {"root_path": "/shop"},
        {"extensions": {"http.response.pathsend": {}}},
        {"type": "websocket"},
        {"type": "lifespan"},
    ],
)
def test_everything_else_is_looked_at(request_: dict[str, Any]) -> None:
    """Signals, what may have to change, other paths, places and scopes."""
    way = Way(START)
    scope = {**scope_for("/", headers=[(b"host", b"x")]), **request_}

    async def call() -> None:
        await way.enter(scope, None, None)  # type: ignore[arg-type]

    asyncio.run(call())
    assert (way.looks, way.scope) == (1, {})


@pytest.mark.parametrize(
    ("message", "responds"),
    [
        (START, 0),
        ({**START, "status": 404}, 0),
        ({**START, "status": 304}, 1),
        ({**START, "status": 302}, 1),
        ({**START, "headers": [HTML]}, 1),
        ({**START, "headers": []}, 1),
        ({**START, "headers": [JSON, (b"Set-Cookie", b"a=1")]}, 1),
        ({**START, "headers": [JSON, (b"link", b"</a>")]}, 1),
        ({**START, "headers": [JSON, JSON]}, 1),
        ({**START, "headers": (JSON,)}, 1),
        (BODY, 0),
        ({"type": "http.response.early_hint"}, 1),
        ({"type": "http.response.debug"}, 1),
    ],
)
def test_what_something_may_have_to_be_done_about_goes_to_python(message: Message, responds: int) -> None:
    """With everything after it."""
    way = Way(message, START, BODY)
    assert way.ask() == [message, START, BODY]
    assert way.responds == responds


PAGE: tuple[Message, Message] = (
    {**START, "headers": [(b"content-length", b"5"), HTML, (b"x-frame-options", b"DENY")]},
    {**BODY, "body": b"<p></body>\n</html>"},
)
ASKED = ((b"cookie", b"consent=x"), (b"accept-language", b"en"), (b"sec-fetch-dest", b"document"))


def test_a_page_that_nothing_is_refused_in_is_sent_with_what_its_edition_has() -> None:
    """Before the final end of the body, with the page's own address as it stands in an attribute."""
    way = Way(*PAGE, {"type": "http.response.trailers"})
    body = b"<p><i>/a?b=1&amp;c=&#34;</i></body>\n</html>"
    assert way.ask(*ASKED, path="/a", query_string=b'b=1&c="') == [
        {
            **START,
            "headers": [HTML, (b"x-frame-options", b"DENY"), *ADDED, (b"content-length", b"%d" % len(body))],
        },
        {**BODY, "body": body},
    ]
    assert (way.looks, way.responds) == (0, 0)


def _page(**changed: Any) -> tuple[Message, Message]:
    start, body = PAGE
    at_start = {key: value for key, value in changed.items() if key in ("status", "headers", "trailers")}
    return {**start, **at_start}, {**body, **{k: v for k, v in changed.items() if k not in at_start}}


@pytest.mark.parametrize(
    ("messages", "asked"),
    [
        (_page(status=404), {}),
        (_page(trailers=True), {}),
        (_page(headers=[(b"content-type", b"text/html")]), {}),
        (_page(headers=[HTML, HTML]), {}),
        (_page(headers=[HTML, (b"etag", b'"a"')]), {}),
        (_page(more_body=True), {}),
        (_page(body=b""), {}),
        (_page(body=b"<p>"), {}),
        (_page(body=b"<p></body><!-- x -->"), {}),
        (_page(body=b"<p></body></html><p>"), {}),
        (_page(body=b"\xef\xbb\xbf<p></body>"), {}),
        (_page(body=b"<BASE href=/></body>"), {}),
        (_page(body=b"." * 60 + b"<base>" + b"." * 200 + b"</body>"), {}),
        (_page(), {"method": "POST"}),
        (_page(), {"scheme": "http"}),
        (_page(), {"path": "/\xe9"}),
        (_page(), {"path": "/a", "raw_path": b"/%61"}),
        (_page(), {"query_string": b"\xe9"}),
        (_page(), {"headers": [*ASKED, (b"accept-language", b"de")]}),
        (_page(), {"headers": [ASKED[0], (b"accept-language", b"de")]}),
        (_page(), {"headers": [*ASKED[:2], (b"sec-fetch-dest", b"iframe")]}),
        (_page(), {"headers": [*ASKED, (b"hx-request", b"true")]}),
        (_page(), {"headers": [*ASKED, (b"turbo-frame", b"a")]}),
        (_page(), {"headers": [*ASKED, (b"x-up-version", b"1")]}),
        (_page(), {"headers": [*ASKED, (b"x-requested-with", b"a")]}),
        (_page(), {"headers": [*ASKED, (b"consent-report", b"1")]}),
        (_page(), {"headers": ASKED[1:]}),
    ],
)
def test_every_other_page_goes_to_python(messages: tuple[Message, ...], asked: dict[str, Any]) -> None:
    """Its start too, which was withheld; each message as it came, the start in a copy of its own."""
    way = Way(*messages)
    scope = scope_for(asked.pop("path", "/"), headers=asked.pop("headers", ASKED), **asked)
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def call() -> None:
        await way.enter(scope, None, send)  # type: ignore[arg-type]

    asyncio.run(call())
    assert (way.looks, way.responds) == (0, 1)
    assert sent == list(messages)


@pytest.mark.parametrize("ends", [b"<p></body>", b"<p>"])
def test_an_app_may_use_a_message_again(ends: bytes) -> None:
    """What it does to the start, and to the list of fields, once that was sent, comes too late."""
    fields: list[Any] = [HTML]

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        message: Message = {**START, "headers": fields}
        await send(message)
        message.clear()
        fields[:] = [[b"set-cookie", b"a=1"], None]
        message.update({**BODY, "body": ends})
        await send(message)

    way = Way(app=app)
    start, body = way.ask(*ASKED)
    assert (start["type"], start["status"], start["headers"][0]) == (START["type"], 200, HTML)
    assert body["body"] == (b"<p><i>/</i></body>" if ends.endswith(b"</body>") else ends)


def test_a_page_that_something_may_be_refused_in_is_never_sent_unread() -> None:
    """Where it cannot be cleared, nothing is put into it either: its edition has nothing for such a page."""
    met = {"https": {b"en": Edition(ADDED, (b"<b>", b"</b>"), (), SEEN, None)}}
    way = Way(*PAGE, silence=Known(-inf, inf, "ruling", "silence", met))
    assert way.ask(*ASKED[1:]) == list(PAGE)
    assert way.responds == 1


def test_an_edition_counts_until_other_vendors_were_seen() -> None:
    """The Content-Security-Policy in it names those that were."""
    way = Way(*PAGE, inventory=SimpleNamespace(seen=("counter", "tracker")))
    way.ask(*ASKED)
    assert way.responds == 1


CLEAR = b'<!doctype html><head><title>a</title><script src="/a.js"></script></head><p></body></html>'
READ = ((b"accept-language", b"en"), (b"sec-fetch-dest", b"document"))


def _reading(*messages: Message, **changed: Any) -> Way:
    return Way(*messages, silence=Known(-inf, inf, "ruling", "silence", cleared(**changed)))


def test_a_page_in_which_nobody_is_asked_about_anything_is_sent_with_what_is_put_in() -> None:
    """First in the head, before the first script that runs at once, and before the end of the body."""
    way = _reading(*_page(headers=[HTML], body=CLEAR))
    body = b'<!doctype html><head><g><title>a</title><h><script src="/a.js"></script></head><p><b>/a</b></body></html>'
    assert way.ask(*READ, (b"cookie", b"a=1; its_no_3f2504e0=p;a = 2"), path="/a") == [
        {**START, "headers": [HTML, *ADDED, (b"content-length", b"%d" % len(body))]},
        {**BODY, "body": body},
    ]
    assert (way.looks, way.responds) == (0, 0)


@pytest.mark.parametrize(
    ("page", "asked", "changed"),
    [
        (CLEAR.replace(b"/a.js", TRACKER.encode()), READ, {}),
        (CLEAR.replace(b"/a.js", b"https://elsewhere.example/a.js"), READ, {}),
        (CLEAR.replace(b"/a.js", b"https://cdn.example/a.js"), READ, {}),
        (CLEAR.replace(b"<p>", b"<script>trackMe()</script>"), READ, {}),
        (CLEAR.replace(b"<p>", b"<base href=/a>"), READ, {}),
        (CLEAR.replace(b"<head>", b"<head id=a>"), READ, {}),
        (CLEAR.replace(b"<head>", b""), READ, {}),
        (CLEAR.replace(b"<p>", b"<p onclick='trackMe()'>"), READ, {}),
        (CLEAR.replace(b"<script", b"<script async"), READ, {}),
        (CLEAR.replace(b"</body>", b""), READ, {}),
        (CLEAR.replace(b"</html>", b"</body>"), READ, {}),
        (CLEAR + b"<p", READ, {}),
        (b"\xef\xbb\xbf" + CLEAR, READ, {}),
        (CLEAR, READ[:1], {}),
        (CLEAR, (*READ, (b"cookie", b"b=1")), {}),
        (CLEAR, (*READ, (b"cookie", b"a=1;;a=1")), {}),
        (CLEAR, (*READ, (b"cookie", b"its_no=p")), {}),
        (CLEAR, (*READ, (b"cookie", b"its_no_3f2504e=p")), {}),
        (CLEAR, (*READ, (b"cookie", b"its_no_3f2504e01=p")), {}),
        (CLEAR, (*READ, (b"cookie", b"its_no_3F2504E0=p")), {}),
        (CLEAR, (*READ, (b"cookie", b"its_no-3f2504e0=p")), {}),
        (CLEAR, (*READ, (b"cookie", b"its_on_3f2504e0=p")), {}),
        (CLEAR, (*READ, (b"cookie", b"_no_3f2504e0=p")), {}),
        (CLEAR, (*READ, *[(b"host", b"www.example.com")] * 2), {}),
        (CLEAR, (*READ, (b"host", b"a b")), {}),
        (CLEAR, READ, {"is_due": lambda: True}),
        (CLEAR, READ, {"screen": None}),
    ],
)
def test_every_page_that_somebody_has_to_be_asked_about_goes_to_python(
    page: bytes, asked: tuple[tuple[bytes, bytes], ...], changed: dict[str, Any]
) -> None:
    """And one whose places are not the usual ones, whose cookies may have to go, or that is held on to."""
    messages = _page(headers=[HTML], body=page)
    way = _reading(*messages, **changed)
    assert way.ask(*asked) == list(messages)
    assert (way.looks, way.responds) == (0, 1)


@pytest.mark.parametrize("odd", [None, (b"host",), (b"host", None), (1, 2), [b"host", b"a"], (b"host", b"b")])
def test_an_app_may_change_the_fields_that_it_is_given(odd: object) -> None:
    """While its page is withheld: Python is left with what came of them."""
    messages = _page(headers=[HTML], body=CLEAR)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(messages[0])
        scope["headers"].append(odd)
        await send(messages[1])

    way = Way(app=app, silence=Known(-inf, inf, "ruling", "silence", cleared()))
    assert way.ask(*READ) == list(messages)
    assert way.responds == 1


def test_where_pages_cannot_be_cleared_fewer_and_fewer_are_tried() -> None:
    """What the screen finds is found again in Python: a site whose pages all have something does not pay for both."""
    asked = 0

    def is_due() -> bool:
        nonlocal asked
        asked += 1
        return False

    way = _reading(*_page(headers=[HTML], body=CLEAR.replace(b"/a.js", TRACKER.encode())), is_due=is_due)
    tried = []
    for _ in range(100):
        before, way.responds = asked, 0
        way.ask(*READ)
        assert way.responds == 1
        tried.append(asked - before)
    assert [at for at, was in enumerate(tried) if was] == [0, 2, 6, 14, 30, 62, 94]
    way.messages = _page(headers=[HTML], body=CLEAR)
    way.ask(*READ)  # the 101st
    for _ in range(30):
        way.ask(*READ)
    way.responds = 0
    for _ in range(3):
        way.ask(*READ)
    assert way.responds == 0


PIECES = st.sampled_from(
    [
        b"<!doctype html>",
        b"<!DOCTYPE html SYSTEM 'a>b'>",
        b"<!-->",
        b"<!a>",
        b"<?a>",
        b"<html lang=en>",
        b"<head>",
        b"<HEAD >",
        b"<head onclick=a>",
        b"<meta charset=utf-8>",
        b"<link rel=stylesheet href=/a.css>",
        b"<title>a</title>",
        b"<body>",
        b"<body onload='a()'>",
        b"<p>a",
        b"<p onclick='a()'>",
        b"<p onclick='trackMe()'>",
        b"<a href=javascript:a()>",
        b"<script>a()</script>",
        b"<script>trackMe()</script>",
        b"<script src=/a.js></script>",
        b"<script src=https://WWW.example.com/a.js></script>",
        b"<script src=https://elsewhere.example/a.js></script>",
        b"<script async src=/a.js></script>",
        b"<script defer src=/a.js></script>",
        b"<script type=module>a()</script>",
        b"<script nomodule src=/a.js></script>",
        b"<script src=/a.js",
        b"<noscript><img src=/a></noscript>",
        f'<img src="{TRACKER}">'.encode(),
        b"<img src=https://cdn.example/a.png>",
        b"<svg><path d=a></svg>",
        b"<svg><style>a{}</style>",
        b"<template>",
        b"<iframe src=/a></iframe>",
        b"<form name=a>",
        b"<base href=https://elsewhere.example/>",
        b"</head>",
        b"</body>",
        b"</body >",
        b"</BODY>",
        b"</html>",
        b"<",
    ]
)
# Most are as pages are, or hardly any would be cleared.
WHOLE_PAGES = st.builds(
    b"%b<html><head>%b</head><body>%b</body></html>".__mod__,
    st.tuples(*[st.lists(PIECES, max_size=size).map(b"".join) for size in (1, 2, 2)]),
)


@given(
    pages=st.lists(
        st.one_of(WHOLE_PAGES, st.lists(PIECES, max_size=8).map(b"".join)), min_size=1, max_size=4
    ),
    choice=st.sampled_from(["", CHOICES[1], CHOICES[2]]),
    cookies=st.sampled_from(
        ["", "session=1", "_track=1", "a b=1", "consent_no_3f2504e0=pft", "consent_no_3f2504ex=t"]
    ),
    defers=st.booleans(),
)
def test_both_ways_clear_the_same(pages: list[bytes], choice: str, cookies: str, defers: bool) -> None:
    """Whatever is in a page, for who has not chosen and for who refuses something; what is found is noted by both."""
    guard = Guard(CATALOG) if defers else None
    ours_inventory, theirs_inventory = Inventory(), Inventory()
    ours = Site(Policy(site="Example"), guard=guard, inventory=ours_inventory)
    with without_c():
        theirs = Site(Policy(site="Example"), guard=guard, inventory=theirs_inventory)
    cookie = "; ".join(filter(None, (cookies, choice)))
    headers = {"accept-language": "fr", "sec-fetch-dest": "document"} | ({"cookie": cookie} if cookie else {})
    for page in pages:
        messages = _page(headers=[HTML], body=page)
        scope = scope_for("/", headers=headers, state={})
        for _ in range(2):
            assert ours.outcome(messages, scope) == theirs.outcome(messages, {**scope, "state": {}})
    assert ours_inventory.seen == theirs_inventory.seen
    assert ours_inventory.take() == theirs_inventory.take()


def test_pages_for_who_refused_are_cleared_however_many_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has a mark of their own beside the choice. Of other cookies that stay, some are forgotten in time."""
    seen: list[str] = []
    begins = GovernedResponse.__init__

    def counted(self: GovernedResponse, site: Any, scope: Scope, *rest: Any) -> None:
        seen.append(scope["path"])
        begins(self, site, scope, *rest)

    monkeypatch.setattr(GovernedResponse, "__init__", counted)
    app = around(answering(CLEAR))
    for number in range(300):
        cookies = (b"cookie", f"{chosen(())}; consent_no_{number:08x}=pft; a=1".encode())
        for path in ("/first", "/second"):
            page = ask(app, path, headers=[cookies, *READ])
            assert b"consent" in page.body
    assert seen == ["/first"] * 300
    for number in range(300):
        ask(app, headers=[(b"cookie", b"b%d=1" % number), *READ])
    seen.clear()
    for path in ("/first", "/second"):
        ask(app, path, headers=[(b"cookie", b"c=1"), *READ])
    assert seen == ["/first"]


ENDS = st.lists(
    st.sampled_from(
        [
            b"</body>",
            b"</BODY\n>",
            b"</Body>",
            b"</html>",
            b"<p>",
            b"<",
            b"\n",
            b"<!-- a -->",
            b"x",
            b"</body",
            b"<base>",
        ]
    ),
    max_size=6,
).map(b"".join)


@given(
    ends=st.lists(ENDS, min_size=2, max_size=4),
    query=st.text(max_size=8),
    allowed=st.sampled_from(CHOICES[:2]),
)
def test_both_ways_put_in_the_same(ends: list[bytes], query: str, allowed: str) -> None:
    """However a page ends, for who refuses nothing and for who refuses everything."""
    ours = Site(Policy(site="Example"))
    with without_c():
        theirs = Site(Policy(site="Example"))
    headers = {"cookie": allowed, "accept-language": "fr", "sec-fetch-dest": "document"}
    for end in ends:
        messages = _page(headers=[HTML], body=b"<p>" + end)
        scope = scope_for(headers=headers, state={}, query_string=query.encode())
        assert ours.outcome(messages, scope) == theirs.outcome(messages, {**scope, "state": {}})


def test_what_is_put_in_later_counts() -> None:
    """The sets are the caller's."""
    types: set[bytes] = set()
    way = Way(START, plain_types=types)
    way.ask()
    types.add(b"application/json")
    way.ask()
    assert way.responds == 1


@pytest.mark.parametrize(
    ("wrong", "error"),
    [({"fields": 1}, TypeError), ({"cookie_name": b""}, ValueError), ({"chosen": []}, TypeError)],
)
def test_what_it_cannot_be_made_of_raises(wrong: dict[str, Any], error: type[Exception]) -> None:
    """It would not find what it is to look for."""
    with pytest.raises(error):
        Way(**wrong)


def test_what_a_request_leaves_behind_is_given_back() -> None:
    """Even where the app keeps ``send`` in the state of its request."""

    class Kept:
        pass

    kept = Kept()
    gone = weakref.ref(kept)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"]["send"] = send
        scope["state"]["kept"] = scope["kept"]
        await send(START)

    ask(Way(app=app).enter, kept=kept)
    del kept
    gc.collect()
    assert gone() is None
