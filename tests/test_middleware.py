"""The middleware: requests to the app, responses to the visitor."""

from __future__ import annotations

import asyncio
import gc
import gzip
import json
import logging
import zlib
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from itsdangerous import Signer
from jinja2 import DictLoader, Environment
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.templating import Jinja2Templates
from starlette.testclient import TestClient
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from consent import middleware, page_body
from consent.categories import OPTIONAL, Category
from consent.choice import BrowserSignal
from consent.codings import BrokenCoding
from consent.decision import Decision, decide
from consent.failures import Failure, OnError, failure_of, passes
from consent.html import RewriterLimitExceeded
from consent.inventory import Inventory
from consent.policy import Policy, Regime, Unclassified
from consent.signals import ChoiceState, Signals
from tests.exchange import (
    COOKIE,
    HTML,
    NOW,
    POLICY,
    REFUSING,
    TRACKER,
    Answer,
    answering,
    around,
    ask,
    banner,
    chosen,
    scope_for,
)

HEAD = b"<!doctype html><html><head><title>Hello</title>"
SCRIPT = f'<script async src="{TRACKER}"></script>'.encode()
BODY = b"</head><body><p>Hello</p>"
END = b"</body></html>"
PAGE = HEAD + SCRIPT + BODY + END
CLEAN = HEAD + BODY + banner(REFUSING) + END
"""What a visitor without a choice gets of it."""

PRIVATE = (b"cache-control", b"private")
FRAGMENT_FIELDS = b"HX-Request, Turbo-Frame, X-Up-Version, X-Requested-With"
VARY = (b"vary", b"Cookie, Sec-GPC, DNT, Sec-Fetch-Dest, " + FRAGMENT_FIELDS)
PERMISSIONS = (
    b"permissions-policy",
    b"browsing-topics=(), join-ad-interest-group=(), run-ad-auction=(), attribution-reporting=(), "
    b"private-aggregation=(), shared-storage=()",
)
NAVIGATION = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8", "sec-fetch-dest": "document"}


def length(body: bytes) -> tuple[bytes, bytes]:
    return b"content-length", b"%d" % len(body)


def accepted_page() -> bytes:
    """Return the page as somebody gets it who accepted everything."""
    inner = ask(around(answering(PAGE)), headers={"cookie": chosen()}).body
    assert inner.startswith(HEAD + SCRIPT + BODY)
    return inner


class Recorder:
    """An app that notes the request and answers it."""

    def __init__(self, app: ASGIApp | None = None) -> None:
        self.scope: Scope = {}
        self._app = app or answering(PAGE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        await self._app(scope, receive, send)

    @property
    def headers(self) -> dict[bytes, bytes]:
        return dict(self.scope["headers"])


# --- pages ---


def test_a_page_is_rewritten_with_its_header_fields_put_right() -> None:
    """Status, every field and the body together."""
    app = answering(
        PAGE,
        status=404,
        headers=[
            HTML,
            length(PAGE),
            (b"etag", b'"abc"'),
            (b"last-modified", b"Fri, 15 Jan 2027 08:00:00 GMT"),
            (b"accept-ranges", b"bytes"),
            (b"content-digest", b"sha-256=:x:"),
            (b"cache-control", b"public, max-age=60"),
            (b"set-cookie", b"session=1"),
            (b"set-cookie", b"_track=1"),
            (b"link", b"<https://t.tracker.example>; rel=preconnect, </a.css>; rel=preload"),
            (b"vary", b"Accept-Language"),
        ],
    )
    answer = ask(around(app))
    assert (answer.status, answer.body) == (404, CLEAN)
    tag = answer.header("etag")
    assert tag is not None
    assert tag.startswith('W/"abc~c-')
    assert answer.headers == [
        HTML,
        (b"etag", tag.encode()),
        (b"set-cookie", b"session=1"),
        (b"link", b"</a.css>; rel=preload"),
        (b"cache-control", b"private, max-age=60"),
        PERMISSIONS,
        (b"vary", b"Accept-Language, " + VARY[1]),
        length(CLEAN),
    ]


def test_who_accepted_everything_gets_everything() -> None:
    """And the small control to change it."""
    answer = ask(
        around(answering(PAGE, headers=[HTML, (b"set-cookie", b"_track=1")])), headers={"cookie": chosen()}
    )
    assert answer.body == accepted_page()
    assert answer.body.endswith(END)
    assert b"consent-root" in answer.body
    assert answer.headers == [HTML, (b"set-cookie", b"_track=1"), PRIVATE, VARY, length(answer.body)]


def test_a_partial_choice_is_followed_vendor_by_vendor() -> None:
    """Performance yes, targeting no; an exception for one vendor overrules its category."""
    page = b'<body><img src="https://counter.example/c.gif"><img src="https://tracker.example/t.gif"></body>'
    kept = b'<body><img src="https://counter.example/c.gif"><link'
    cookie = chosen([Category.PERFORMANCE])
    assert ask(around(answering(page)), headers={"cookie": cookie}).body.startswith(kept)
    cookie = chosen(OPTIONAL, vendors={"tracker": False})
    assert ask(around(answering(page)), headers={"cookie": cookie}).body.startswith(kept)
    cookie = chosen(OPTIONAL)
    assert ask(around(answering(page)), headers={"cookie": cookie, "sec-gpc": "1"}).body.startswith(kept)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 50, 1000])
def test_a_streamed_page_comes_out_the_same_however_it_is_cut(size: int) -> None:
    """Without a length, since nobody knew it; with one last empty or full message."""
    chunks = [PAGE[i : i + size] for i in range(0, len(PAGE), size)]
    answer = ask(around(answering(*chunks)))
    assert answer.body == CLEAN
    lengths = [length(CLEAN)] if len(chunks) == 1 else []
    assert answer.headers == [HTML, PRIVATE, PERMISSIONS, VARY, *lengths]
    answer = ask(around(answering(*chunks, b"")))
    assert (answer.body, answer.headers) == (CLEAN, [HTML, PRIVATE, PERMISSIONS, VARY])
    assert ask(around(answering(*chunks, b"")), headers={"cookie": chosen()}).body == accepted_page()


def test_what_is_decided_is_sent_before_the_next_chunk() -> None:
    """The start with the first of the body; an undecided tag waits, nothing else does."""
    sent: list[tuple[bytes, list[Any]]] = []
    answer = Answer()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        async def step(message: Message) -> None:
            before = len(answer.messages)
            await send(message)
            new = answer.messages[before:]
            sent.append((message.get("body", b"(start)"), [m.get("body", m.get("status")) for m in new]))

        await step({"type": "http.response.start", "status": 200, "headers": [HTML]})
        for chunk in (b"<p>One", b"<scr", b'ipt src="' + TRACKER.encode(), b'"></script>two', b"<b>"):
            await step({"type": "http.response.body", "body": chunk, "more_body": True})
        await step({"type": "http.response.body", "body": b""})

    async def run() -> None:
        async def receive() -> Message:
            raise AssertionError

        async def send(message: Message) -> None:
            answer.messages.append(message)

        await around(app)(scope_for(headers={"sec-fetch-dest": "empty"}), receive, send)

    asyncio.run(run())
    assert sent == [
        (b"(start)", []),
        (b"<p>One", [200, b"<p>One"]),
        (b"<scr", []),
        (b'ipt src="' + TRACKER.encode(), []),
        (b'"></script>two', [b"two"]),
        (b"<b>", [b"<b>"]),
        (b"", [b""]),
    ]


def test_who_refuses_nothing_waits_for_nothing() -> None:
    """Only what may be the end of the body is kept back."""
    chunks = [
        b"<p>One<scr",
        b"ipt>'</body>'",
        b"; more</script>",
        b"</bo",
        b"dy>",
        b"</html>",
        b"\n<!-- bye -->",
    ]
    answer = ask(around(answering(*chunks)), headers={"cookie": chosen()})
    inserted = accepted_page().removeprefix(HEAD + SCRIPT + BODY).removesuffix(END)
    assert answer.chunks[:3] == [b"<p>One<scr", b"ipt>'</body>'", b"; more</script>"]
    assert (
        answer.body == b"<p>One<script>'</body>'; more</script>" + inserted + b"</body></html>\n<!-- bye -->"
    )


@pytest.mark.parametrize(
    ("page", "place"),
    [
        (b"<html><body><p></body></html>", -14),
        (b"<html><BODY><p></BODY\n></HTML>\n", -16),
        (b"<p>No end tag", None),
        (b"<p></Body>", None),
        (b"<script>'</body>'</script><p>", None),
        (b"<!-- </body> --><p>", None),
        (b"<body><p></body><p>after</p>", None),
        (b"<body><p></body><!-- " + b"x" * 5000 + b" -->", None),
        (b"<body></body></body>", -7),
        (b"</body", None),
        (b"<", None),
    ],
)
def test_who_refuses_nothing_gets_the_control_at_the_end(page: bytes, place: int | None) -> None:
    """Before the final end of the body, else behind it all; however the page is cut."""
    inserted = accepted_page().removeprefix(HEAD + SCRIPT + BODY).removesuffix(END)
    expected = page + inserted if place is None else page[:place] + inserted + page[place:]
    for size in (1, 3, 10, 6000):
        chunks = [page[i : i + size] for i in range(0, len(page), size)]
        assert ask(around(answering(*chunks)), headers={"cookie": chosen()}).body == expected


def test_a_tag_that_the_page_leaves_open_is_not_finished_by_what_is_inserted() -> None:
    """It makes no element; with the control behind it, it would."""
    page = b"<body><p>Hi</p><img alt='' src=/a"
    for size in (1, 3, 6000):
        chunks = [page[i : i + size] for i in range(0, len(page), size)]
        assert ask(around(answering(*chunks)), headers={"cookie": chosen()}).body == page


def test_the_form_leads_back_to_the_page() -> None:
    """To the very address that was asked for, percent-encoded, with its query, escaped for an attribute."""
    answer = ask(
        around(answering(b"<body></body>")),
        "/ä b?/ö",
        raw_path=b"/%C3%A4%20b%3F/%C3%B6",
        query_string=b"a=1&b=%22",
    )
    assert answer.body == b"<body>" + banner(REFUSING, "/%C3%A4%20b%3F/%C3%B6?a=1&b=%22") + b"</body>"
    # A router in front changed the path; a server gives no raw path.
    for raw in (b"/other", b"", None):
        answer = ask(around(answering(b"<body></body>")), "/ä b?/ö", raw_path=raw)
        assert answer.body == b"<body>" + banner(REFUSING, "/%C3%A4%20b%3F/%C3%B6") + b"</body>"


def test_the_pages_nonce_is_used() -> None:
    """For what is inserted into it."""
    policy = (b"content-security-policy", b"style-src 'nonce-abc123'")
    answer = ask(around(answering(b"<body></body>", headers=[HTML, policy])))
    assert answer.body == b"<body>" + banner(REFUSING, nonce="abc123") + b"</body>"
    assert b'nonce="abc123"' in answer.body


@pytest.mark.parametrize("content_type", [b"text/html", b"text/html; charset=iso-8859-1"])
def test_a_page_in_another_encoding_is_given_no_bytes_of_ours(content_type: bytes) -> None:
    """What is inserted is in ASCII there; the page's own bytes stay."""
    policy = Policy(language="en", texts={"accept": "Krümel"})
    answer = ask(
        around(answering(b"<body>\xe9</body>", headers=[(b"content-type", content_type)]), **own(policy))
    )
    assert answer.body.startswith(b"<body>\xe9<")
    assert answer.body[7:].isascii()
    assert "Krümel".encode() in ask(around(answering(b"<body></body>"), **own(policy))).body


def own(policy: Policy) -> dict[str, Any]:
    """Return the settings for another policy."""
    from consent.banner import Banner

    return {"policy": policy, "banner": Banner(policy)}


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_a_page_in_utf_16_is_rewritten_in_it(encoding: str) -> None:
    """By its byte order mark."""
    bom = "\ufeff".encode(encoding)
    answer = ask(
        around(answering(bom + PAGE.decode().encode(encoding), headers=[(b"content-type", b"text/html")]))
    )
    assert answer.body == bom + CLEAN.decode().encode(encoding)
    assert answer.header("content-length") == str(len(answer.body))


# --- what is left alone ---


@pytest.mark.parametrize(
    "content_type",
    [
        b"application/json",
        b"text/plain; charset=utf-8",
        b"text/event-stream",
        b"image/png",
        b"text/htmlx",
        b"text/x-css",
    ],
)
def test_other_types_pass_message_by_message_as_they_are(content_type: bytes) -> None:
    """The very messages of the app, undelayed; nothing says that they depend on the visitor."""
    sent: list[Message] = [
        {
            "type": "http.response.start",
            "status": 200,
            "headers": [(b"Content-Type", content_type), (b"etag", b'"a"'), (b"content-length", b"9")],
            "trailers": True,
        },
        {"type": "http.response.body", "body": b"", "more_body": True},
        {"type": "http.response.body", "body": SCRIPT, "more_body": True},
        {"type": "http.response.body"},
        {"type": "http.response.trailers", "headers": [(b"x", b"y")]},
    ]
    arrived: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for message in sent:
            await send(message)
            assert arrived[-1] is message

    ask(around(app), on_send=arrived.append)
    assert arrived == sent


@pytest.mark.parametrize(
    ("content_type", "form"), [(b"text/css", b"@import '%b'"), (b"text/javascript", b"import '%b'")]
)
def test_a_type_that_was_seen_before_is_looked_at_again(content_type: bytes, form: bytes) -> None:
    """A style sheet or script without trackers passes; the next of the same type may have some."""
    benign, named = form % b"/own", form % TRACKER.encode()
    for _ in range(2):
        bodies = [
            ask(around(answering(x, headers=[(b"content-type", content_type)]))).body for x in (benign, named)
        ]
        assert (bodies[0], TRACKER.encode() in bodies[1]) == (benign, False)


def test_a_file_to_save_is_the_file() -> None:
    """An attachment is no page of the site."""
    headers = [HTML, (b"content-disposition", b'Attachment; filename="page.html"'), length(PAGE)]
    answer = ask(around(answering(PAGE, headers=headers)))
    assert (answer.body, answer.headers) == (PAGE, headers)


@pytest.mark.parametrize(
    "disposition", ["attachment filename=page.html", 'attachment"', "attachment=1", "inline"]
)
def test_what_browsers_show_all_the_same_is_a_page(disposition: str) -> None:
    """Chromium saves nothing to a file where the word is not all that stands before the semicolon."""
    answer = ask(around(answering(PAGE, headers=[HTML, (b"content-disposition", disposition.encode())])))
    assert TRACKER.encode() in PAGE
    assert TRACKER.encode() not in answer.body


@pytest.mark.parametrize("status", [204, 205, 304])
def test_an_answer_without_a_body_stays_without_one(status: int) -> None:
    """Refused cookies are removed from it all the same."""
    answer = ask(
        around(answering(status=status, headers=[HTML, (b"set-cookie", b"_track=1"), (b"x-y", b"z")]))
    )
    assert (answer.status, answer.body) == (status, b"")
    assert answer.headers == [HTML, (b"x-y", b"z"), (b"vary", b"Cookie, Sec-GPC, DNT")]


@pytest.mark.parametrize("status", [200, 302, 404])
def test_a_page_without_a_body_stays_without_one(status: int) -> None:
    """Such as a redirect: nothing in it depends on the visitor."""
    headers = [HTML, (b"content-length", b"0"), (b"location", b"/next")]
    answer = ask(around(answering(status=status, headers=headers)))
    assert (answer.status, answer.headers, answer.chunks) == (status, headers, [b""])


@pytest.mark.parametrize("destination", ["image", "script", "iframe", "empty"])
def test_what_a_page_loads_is_not_redirected_to_a_refused_host(destination: str) -> None:
    """A pixel of the site's own that leads to a tracker is the tracker's."""
    headers = [
        (b"location", b"https://t.tracker.example/t.gif"),
        HTML,
        (b"content-length", b"4"),
        (b"x-y", b"z"),
        (b"cache-control", b"public"),
    ]
    app = around(answering(b"away", status=302, headers=headers))
    answer = ask(app, headers={"sec-fetch-dest": destination})
    assert (answer.status, answer.body) == (403, b"")
    assert answer.headers == [
        (b"x-y", b"z"),
        (b"vary", b"Cookie, Sec-GPC, DNT, Sec-Fetch-Dest"),
        (b"content-length", b"0"),
        (b"cache-control", b"no-store"),
    ]
    accepted = ask(app, headers={"sec-fetch-dest": destination, "cookie": chosen()})
    assert accepted.status == 302
    assert accepted.header("location") == "https://t.tracker.example/t.gif"
    assert accepted.header("vary") == VARY[1].decode()  # what it says for people is a page


@pytest.mark.parametrize(
    ("status", "location", "destination"),
    [
        (302, b"https://t.tracker.example/", {"sec-fetch-dest": "document"}),
        (302, b"https://t.tracker.example/", {}),
        (302, b"/next", {"sec-fetch-dest": "image"}),
        (307, b"https://cdn.example/x.png", {"sec-fetch-dest": "image"}),
        (201, b"https://t.tracker.example/", {"sec-fetch-dest": "empty"}),
    ],
)
def test_other_redirects_are_left_alone(status: int, location: bytes, destination: dict[str, str]) -> None:
    """Where visitors go themselves, and where nothing is refused."""
    headers = [(b"location", location), (b"content-length", b"0")]
    answer = ask(around(answering(status=status, headers=headers)), headers=destination)
    assert (answer.status, answer.headers, answer.body) == (status, headers, b"")


def test_cookies_are_filtered_on_answers_of_every_type() -> None:
    """JSON too; the start is no longer the app's own, the body is."""
    headers = [(b"content-type", b"application/json"), (b"set-cookie", b"a=1"), (b"set-cookie", b"_count=1")]
    answer = ask(around(answering(b"{}", status=201, headers=[*headers, (b"content-length", b"2")])))
    assert (answer.status, answer.body) == (201, b"{}")
    assert answer.headers == [*headers[:2], (b"content-length", b"2"), (b"vary", b"Cookie, Sec-GPC, DNT")]


def test_a_body_that_says_nothing_is_read_as_browsers_read_it() -> None:
    """Markup is a page to them, unless they are told not to guess."""
    answer = ask(around(answering(b" \n" + PAGE, headers=[])))
    assert answer.body == b" \n" + CLEAN
    assert answer.headers == [PRIVATE, PERMISSIONS, VARY, length(answer.body)]
    answer = ask(around(answering(b"", PAGE[:40], PAGE[40:], headers=[])))
    assert (answer.body, answer.headers) == (CLEAN, [PRIVATE, PERMISSIONS, VARY])
    nosniff = [(b"x-content-type-options", b"nosniff")]
    for body, headers in ((PAGE, nosniff), (b"<unknown>", []), (b"{}", []), (b"", []), (b"text <p>", [])):
        answer = ask(around(answering(body, headers=headers)))
        assert (answer.body, answer.headers) == (body, headers)
    assert ask(around(answering(headers=[])), method="HEAD").headers == []


def test_other_scopes_pass_untouched() -> None:
    """The lifespan, and what nobody knows yet, with the server's own receive and send."""
    calls: list[tuple[object, ...]] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        calls.append((scope, receive, send))

    async def receive() -> Message:
        raise AssertionError

    async def send(message: Message) -> None:
        raise AssertionError

    for kind in ("lifespan", "other"):
        scope = {"type": kind}
        asyncio.run(around(app)(scope, receive, send))
        assert calls.pop() == ({"type": kind}, receive, send)
        assert scope == {"type": kind}


@pytest.mark.parametrize("kind", ["websocket.accept", "websocket.http.response.start"])
@pytest.mark.parametrize(("cookie", "kept"), [({}, [b"a=1"]), ({"cookie": chosen()}, [b"a=1", b"_track=1"])])
def test_the_handshake_of_a_websocket_sets_no_refused_cookie(
    kind: str, cookie: dict[str, str], kept: list[bytes]
) -> None:
    """Accepted or denied; the app gets the server's own scope and receive, and all other messages pass."""
    seen: list[object] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.extend((scope, receive))
        headers = [(b"set-cookie", b"a=1"), (b"set-cookie", b"_track=1")]
        await send({"type": kind, "headers": headers, "own": 1})
        await send(frame)
        await send({"type": "websocket.accept"})

    frame: Message = {"type": "websocket.send", "text": "hello"}
    sent: list[Message] = []

    async def receive() -> Message:
        raise AssertionError

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {**scope_for(headers=cookie), "type": "websocket", "scheme": "wss"}
    before = {**scope, "headers": list(scope["headers"])}
    asyncio.run(_awaited(around(app), scope, receive, send))
    assert seen[0] is scope
    assert seen[1] is receive
    assert scope == before
    assert sent[0] == {
        "type": kind,
        "headers": [*((b"set-cookie", value) for value in kept), (b"vary", b"Cookie, Sec-GPC, DNT")],
        "own": 1,
    }
    assert sent[1] is frame
    assert sent[2] == {"type": "websocket.accept"}


def test_other_messages_and_keys_pass() -> None:
    """Extensions that we do not know are between the app and the server."""
    extra = {"type": "http.response.debug", "info": {"template": object()}}
    answer = ask(around(answering(PAGE, before=[extra], other_key=1)))
    assert answer.messages[0] is extra
    assert answer.start["other_key"] == 1

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [HTML]})
        await send({"type": "http.response.body", "body": PAGE, "more_body": True, "own": 1})
        await send({"type": "http.response.body"})

    answer = ask(around(app))
    assert answer.messages[1] == {
        "type": "http.response.body",
        "body": answer.chunks[0],
        "more_body": True,
        "own": 1,
    }
    assert answer.body == CLEAN


def test_headers_may_be_any_iterable() -> None:
    """Of lists too, as the standard says."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        headers = ([name, value] for name, value in [HTML, (b"X-Y", b"z")])
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": PAGE})

    answer = ask(around(app))
    assert (answer.header("X-Y"), answer.body) == ("z", CLEAN)
    assert ask(around(answering(b"x", headers=()))).body == b"x"


# --- HEAD, ranges, validators ---


def test_head_carries_what_get_would_but_for_the_length() -> None:
    """And no body, whatever the app sends."""
    headers = [HTML, length(PAGE), (b"etag", b'"a"'), (b"set-cookie", b"_track=1")]
    get = ask(around(answering(PAGE, headers=headers)))
    for app in (
        answering(PAGE, headers=headers),
        answering(headers=headers),
        answering(PAGE[:9], b"", headers=headers),
    ):
        head = ask(around(app), method="HEAD")
        assert head.status == 200
        assert head.body == b""
        assert head.headers == [pair for pair in get.headers if pair[0] != b"content-length"]
        assert head.messages[-1].get("more_body", False) is False


def test_head_of_an_empty_page_is_what_get_carries() -> None:
    """Such as a redirect, which is not rewritten: its length is known."""
    headers = [HTML, (b"content-length", b"0"), (b"location", b"/next")]
    app = around(answering(status=302, headers=headers))
    get, head = ask(app), ask(app, method="HEAD")
    assert (get.status, get.headers) == (head.status, head.headers) == (302, headers)


def test_head_of_nobody_knows_what_promises_nothing_about_its_bytes() -> None:
    """GET may turn out to be a page: length, validators and digests are left out (RFC 9110, section 9.3.2)."""
    headers = [length(PAGE), (b"etag", b'"a"'), (b"x-y", b"z"), (b"repr-digest", b"sha-256=:x:")]
    assert ask(around(answering(PAGE, headers=headers))).body == CLEAN
    head = ask(around(answering(headers=headers)), method="HEAD")
    assert (head.headers, head.body) == ([(b"x-y", b"z")], b"")


def test_head_of_other_types_is_left_alone() -> None:
    """Its length too."""
    headers = [(b"content-type", b"application/json"), (b"content-length", b"1234")]
    answer = ask(around(answering(headers=headers)), method="HEAD")
    assert (answer.headers, answer.body) == (headers, b"")


def test_a_page_is_asked_for_whole() -> None:
    """``Range`` and ``If-Range`` are hidden where a page is wanted, and left to players and files."""
    ranges = {"range": "bytes=0-9", "if-range": '"a"'}
    app = Recorder()
    ask(around(app), headers={**NAVIGATION, **ranges})
    assert app.headers.keys().isdisjoint({b"range", b"if-range"})
    for path, more in (
        ("/film.mp4", NAVIGATION),
        ("/film", {"sec-fetch-dest": "video"}),
        ("/film", {"accept": "*/*"}),
    ):
        ask(around(app), path, headers={**more, **ranges})
        assert (app.headers[b"range"], app.headers[b"if-range"]) == (b"bytes=0-9", b'"a"')


def test_a_piece_of_a_page_is_never_sent() -> None:
    """Its offsets would be of other bytes: whoever insists asks again, for the whole (RFC 9110, 15.5.17)."""
    headers = [HTML, (b"content-range", b"bytes 0-9/100"), (b"content-length", b"10"), (b"x-y", b"z")]
    answer = ask(around(answering(PAGE[:5], PAGE[5:10], status=206, headers=headers)))
    assert (answer.status, answer.body) == (416, b"")
    assert answer.headers == [HTML, (b"x-y", b"z"), (b"content-length", b"0")]


def test_a_piece_of_anything_else_is() -> None:
    """As it is."""
    headers = [(b"content-type", b"video/mp4"), (b"content-range", b"bytes 0-1/9"), (b"content-length", b"2")]
    answer = ask(around(answering(b"ab", status=206, headers=headers)), headers={"range": "bytes=0-1"})
    assert (answer.status, answer.body, answer.headers) == (206, b"ab", headers)


def conditional(etag: bytes = b'"abc"') -> Recorder:
    """Return an app that knows validators."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        asked = dict(scope["headers"]).get(b"if-none-match", b"")
        opaque = etag.removeprefix(b"W/")
        fresh = asked == b"*" or opaque in asked
        headers = [(b"etag", etag), (b"cache-control", b"public, max-age=60"), (b"set-cookie", b"_track=1")]
        await send(
            {
                "type": "http.response.start",
                "status": 304 if fresh else 200,
                "headers": headers if fresh else [HTML, *headers],
            }
        )
        await send({"type": "http.response.body", "body": b"" if fresh else PAGE})

    return Recorder(app)


@pytest.mark.parametrize("etag", [b'"abc"', b'W/"abc"'])
def test_a_page_is_confirmed_to_who_has_this_variant(etag: bytes) -> None:
    """The 304 carries what the 200 did: the browser updates what it stored by it."""
    app = conditional(etag)
    first = ask(around(app), headers=NAVIGATION)
    tag = first.header("etag")
    assert tag is not None
    again = ask(around(app), headers={**NAVIGATION, "if-none-match": f'"other", {tag}'})
    assert (again.status, again.body) == (304, b"")
    assert again.headers == [
        (b"etag", tag.encode()),
        (b"cache-control", b"private, max-age=60"),
        PERMISSIONS,
        VARY,
    ]
    assert app.headers[b"if-none-match"] == b'"abc", W/"abc"'


def test_no_other_variant_is_ever_confirmed() -> None:
    """A choice, a signal, another policy, the account of what was found: each is a variant of its own."""
    app = conditional()
    regime = Policy(regime=Regime.OPT_OUT)
    visitors: list[tuple[dict[str, Any], dict[str, str]]] = [
        ({}, {}),
        ({}, {"cookie": chosen()}),
        ({}, {"cookie": chosen([])}),
        ({}, {"cookie": chosen([Category.PERFORMANCE])}),
        ({}, {"cookie": chosen(vendors={"tracker": False})}),
        ({}, {"cookie": chosen(policy=Policy(site="Other", controller="Other"))}),
        ({}, {"sec-gpc": "1"}),
        ({}, {"dnt": "1"}),
        ({}, {"cookie": chosen(), "sec-gpc": "1"}),
        ({}, {"cookie": chosen(told=[BrowserSignal.GPC]), "sec-gpc": "1"}),
        ({}, {"consent-report": "1"}),
        ({"explain": True}, {}),
        (own(regime), {}),
        (own(regime), {"cookie": chosen(policy=regime)}),
        (own(replace(POLICY, unclassified=Unclassified.STRIP)), {}),
        (own(replace(POLICY, unclassified=Unclassified.STRIP, csp_allow=("img.example",))), {}),
    ]
    tags = [ask(around(app, **site), headers={**NAVIGATION, **who}).header("etag") for site, who in visitors]
    assert len(set(tags)) == len(visitors)
    for site, who in visitors:
        mine = ask(around(app, **site), headers={**NAVIGATION, **who}).header("etag")
        for tag in tags:
            answer = ask(around(app, **site), headers={**NAVIGATION, **who, "if-none-match": str(tag)})
            assert answer.status == (304 if tag == mine else 200), (who, tag)


@pytest.mark.parametrize("validator", [{"if-none-match": '"abc"'}, {"if-none-match": "*"}])
def test_a_page_from_before_the_middleware_is_not_confirmed(validator: dict[str, str]) -> None:
    """It was stored unread."""
    answer = ask(around(conditional()), headers={**NAVIGATION, **validator})
    assert (answer.status, answer.body) == (200, CLEAN)


def test_what_is_no_page_is_confirmed_as_ever() -> None:
    """A script asks for data by the tag that it got with it."""
    headers = [(b"etag", b'"abc"'), (b"cache-control", b"public")]
    app = Recorder(answering(status=304, headers=headers))
    answer = ask(around(app), headers={"accept": "*/*", "sec-fetch-dest": "empty", "if-none-match": '"abc"'})
    assert app.headers[b"if-none-match"] == b'"abc"'
    assert (answer.status, answer.headers) == (304, headers)


# --- content codings ---


def test_a_gzipped_page_is_rewritten_and_gzipped_again() -> None:
    """Length and all."""
    packed = gzip.compress(PAGE)
    headers = [HTML, (b"content-encoding", b"gzip"), length(packed)]
    answer = ask(around(answering(packed, headers=headers)))
    assert gzip.decompress(answer.body) == CLEAN
    assert answer.headers == [
        HTML,
        (b"content-encoding", b"gzip"),
        PRIVATE,
        PERMISSIONS,
        VARY,
        length(answer.body),
    ]
    accepted = ask(around(answering(packed, headers=headers)), headers={"cookie": chosen()})
    assert gzip.decompress(accepted.body) == accepted_page()


def test_several_codings_are_undone() -> None:
    """In one line or in several."""
    packed = gzip.compress(zlib.compress(PAGE))
    for coding in (
        [(b"content-encoding", b"deflate, gzip")],
        [(b"content-encoding", b"deflate"), (b"content-encoding", b"gzip")],
    ):
        answer = ask(around(answering(packed[:50], packed[50:], headers=[HTML, *coding])))
        assert zlib.decompress(gzip.decompress(answer.body)) == CLEAN


def test_a_coding_that_nobody_here_knows_passes_and_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """Unmodified; cookies are still kept out."""
    headers = [HTML, (b"content-encoding", b"dcz"), (b"content-length", b"5"), (b"etag", b'"a"')]
    app = around(answering(b"\xff\x00abc", headers=[*headers, (b"set-cookie", b"_track=1")]))
    with caplog.at_level(logging.WARNING, "consent"):
        for _ in range(3):
            answer = ask(app, "/page")
    assert (answer.body, answer.headers) == (b"\xff\x00abc", [*headers, (b"vary", b"Cookie, Sec-GPC, DNT")])
    assert [record.getMessage() for record in caplog.records] == [
        "answers in the content coding 'dcz' cannot be read and pass as they are, /page for one; "
        "let the app leave compression to what is in front of it, or install 'asgi-consent[codings]'"
    ]
    assert app.failures.counts == {Failure.UNKNOWN_CODING: 3}


@pytest.mark.parametrize("coding", [b"none", b"utf-8", b"identity", b""])
def test_what_no_browser_takes_for_a_coding_is_none(coding: bytes) -> None:
    """To browsers such a page is not coded: it is rewritten as it is."""
    answer = ask(around(answering(PAGE, headers=[HTML, (b"content-encoding", coding)])))
    assert answer.body == CLEAN


BASED = b'<!doctype html><base href="%b"><body><p>x</body>'


@pytest.mark.parametrize("policy", [POLICY, Policy(site="Example", regime=Regime.NOTICE)])
@pytest.mark.parametrize("chunk", [1, 7, 1000])
def test_a_base_on_another_host_does_not_get_the_visitors_choice(policy: Policy, chunk: int) -> None:
    """What is inserted names the site itself there, whether or not anything is refused; elsewhere it does not."""
    for base in (b"https://pictures.example/", b"//pictures.example"):
        page = BASED % base
        app = around(answering(*(page[i : i + chunk] for i in range(0, len(page), chunk))), **own(policy))
        body = ask(app, headers={"host": "www.example.com:8000"}).body
        assert b'action="//www.example.com:8000/_consent/choice"' in body
        assert b'="/_consent' not in body
        # A host that is none is not repeated.
        assert b'action="/_consent/choice"' in ask(app, headers={"host": 'a"b'}).body
    page = BASED % b"/shop/"
    body = ask(around(answering(page), policy=POLICY), headers={"host": "www.example.com"}).body
    assert b'action="/_consent/choice"' in body


def test_the_app_is_not_asked_for_codings_that_cannot_be_undone() -> None:
    """Where its answer may be a page."""
    app = Recorder()
    ask(around(app), headers={**NAVIGATION, "accept-encoding": "gzip, dcb, dcz"})
    assert app.headers[b"accept-encoding"] == b"gzip"
    for path, destination in (("/x.js", "document"), ("/x", "image"), ("/x", "script")):
        ask(around(app), path, headers={"sec-fetch-dest": destination, "accept-encoding": "gzip, dcz"})
        assert app.headers[b"accept-encoding"] == b"gzip, dcz"


def test_starlettes_own_compression_may_be_inside() -> None:
    """Though it is cheaper outside."""
    inner = Starlette(
        routes=[Route("/", lambda request: HTMLResponse(PAGE + b" " * 600))],
        middleware=[Middleware(GZipMiddleware)],
    )
    response = TestClient(around(inner)).get("/", headers={"accept-encoding": "gzip"})
    assert response.headers["content-encoding"] == "gzip"
    assert response.content == CLEAN + b" " * 600
    outer = GZipMiddleware(around(answering(PAGE + b" " * 600)))
    response = TestClient(outer).get("/", headers={"accept-encoding": "gzip"})
    assert (response.headers["content-encoding"], response.content) == ("gzip", CLEAN + b" " * 600)


# --- extensions ---


def test_the_app_cannot_send_files_past_us() -> None:
    """Two extensions are hidden, others are not, and the server's scope is as it was."""
    app = Recorder()
    extensions = {
        "http.response.pathsend": {},
        "http.response.zerocopysend": {},
        "http.response.early_hint": {},
        "tls": {"x": 1},
    }
    ask(around(app), extensions=dict(extensions))
    assert app.scope["extensions"] == {"http.response.early_hint": {}, "tls": {"x": 1}}
    assert len(extensions) == 4


def test_early_hints_name_no_refused_host() -> None:
    """Nothing is hinted where nothing is left."""
    tracker, own_link = b"<https://t.tracker.example>; rel=preconnect", b"</a.css>; rel=preload; as=style"
    hint = {"type": "http.response.early_hint", "links": [own_link, tracker], "own": 1}
    answer = ask(
        around(answering(PAGE, before=[hint, {"type": "http.response.early_hint", "links": [tracker]}]))
    )
    assert answer.messages[0] == {"type": "http.response.early_hint", "links": [own_link], "own": 1}
    assert answer.messages[1]["type"] == "http.response.start"
    answer = ask(around(answering(PAGE, before=[hint])), headers={"cookie": chosen()})
    assert answer.messages[0] == hint


def test_trailers_of_a_page_are_dropped() -> None:
    """They may digest what is no longer there."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        headers = [HTML, (b"trailer", b"content-digest")]
        await send({"type": "http.response.start", "status": 200, "headers": headers, "trailers": True})
        await send({"type": "http.response.body", "body": PAGE})
        await send({"type": "http.response.trailers", "headers": [(b"content-digest", b"x")]})

    answer = ask(around(app))
    assert [message["type"] for message in answer.messages] == ["http.response.start", "http.response.body"]
    assert "trailers" not in answer.start
    assert answer.headers == [HTML, PRIVATE, PERMISSIONS, VARY, length(CLEAN)]


@pytest.mark.parametrize("purpose", ["prefetch", "prefetch;prerender", "prefetch;anonymous-client-ip"])
def test_what_is_only_prefetched_is_not_recorded(purpose: str) -> None:
    """Nobody has seen it, and perhaps nobody will."""
    inventory = Inventory()
    app = around(answering(PAGE), inventory=inventory)
    assert ask(app, headers={"sec-purpose": purpose}).body == CLEAN
    assert inventory.take() == {}
    ask(app)
    assert [seen.vendor for seen in inventory.take()] == ["tracker"]


# --- frames, fragments, other documents ---


@pytest.mark.parametrize("destination", ["iframe", "frame", "embed", "object", "fencedframe"])
def test_nobody_is_asked_within_a_frame(destination: str) -> None:
    """The page around it asks; trackers are kept out all the same."""
    headers = {"sec-fetch-dest": destination}
    assert ask(around(answering(PAGE)), headers=headers).body == HEAD + BODY + END
    answer = ask(around(answering(PAGE)), headers={**headers, "cookie": chosen()})
    assert answer.body == PAGE
    assert answer.headers == [HTML, PRIVATE, VARY, length(PAGE)]


@pytest.mark.parametrize(
    "headers",
    [{"sec-fetch-dest": "empty"}, {"hx-request": "true"}, {"turbo-frame": "main"}, {"x-up-version": "3"}],
)
@pytest.mark.parametrize("cookie", [{}, {"cookie": "consent=forged.x"}])
def test_a_piece_of_a_page_gets_no_banner(headers: dict[str, str], cookie: dict[str, str]) -> None:
    """Unless it is a whole page after all."""
    asked = {**headers, **cookie}
    assert ask(around(answering(b"<p>piece</p>" + SCRIPT)), headers=asked).body == b"<p>piece</p>"
    whole = ask(around(answering(PAGE)), headers=asked).body
    assert whole.startswith(HEAD + BODY + b"<link")
    accepted = ask(around(answering(SCRIPT)), headers={**headers, "cookie": chosen()})
    assert accepted.body == SCRIPT


def test_a_turbo_stream_is_rewritten_as_the_piece_it_is() -> None:
    """Its type says so."""
    kind = (b"content-type", b"text/vnd.turbo-stream.html; charset=utf-8")
    body = b'<turbo-stream action="append"><template>' + SCRIPT + b"<p></template></turbo-stream>"
    answer = ask(around(answering(body, headers=[kind])))
    assert answer.body == body.replace(SCRIPT, b"")


def test_a_page_in_xml_gets_no_markup_that_would_break_it() -> None:
    """The banner is HTML; a page that is not well-formed is not shown at all."""
    kind = (b"content-type", b"application/xhtml+xml")
    page = b'<html xmlns="http://www.w3.org/1999/xhtml"><body><p>Hi</p>%b</body></html>'
    answer = ask(around(answering(page % SCRIPT, headers=[kind])))
    assert answer.body == page % b""
    assert (
        ask(around(answering(page % SCRIPT, headers=[kind])), headers={"cookie": chosen()}).body
        == page % SCRIPT
    )


@pytest.mark.parametrize("kind", ["text/xml", "application/xml; charset=utf-8", "text/xsl"])
def test_xml_is_a_page_where_it_uses_the_names_of_one(kind: str) -> None:
    """Browsers show what is in the namespaces of HTML and SVG; a feed or a sitemap passes as it came."""
    headers = [(b"content-type", kind.encode()), (b"etag", b'"a"')]
    page = b'<a xmlns="http://www.w3.org/1999/xhtml"><p>Hi</p>%b</a>'
    answer = ask(around(answering(page % SCRIPT, headers=headers)))
    assert answer.body == page % b""
    assert VARY in answer.headers
    drawing = b'<svg xmlns="http://www.w3.org/2000/svg">%b</svg>'
    assert ask(around(answering(drawing % SCRIPT, headers=headers))).body == drawing % b""
    feed = b"<rss><channel>%b</channel></rss>" % SCRIPT
    passed = ask(around(answering(feed[:30], feed[30:], headers=headers)))
    assert (passed.body, passed.headers) == (feed, headers)
    ranged = [*headers, (b"content-range", b"bytes 0-1/9")]
    assert ask(around(answering(b"<r", headers=ranged, status=206))).headers == ranged


# --- the request ---


@pytest.mark.parametrize(
    ("path", "own_path"),
    [
        ("/_consent/choice", True),
        ("/_consent/", True),
        ("/.well-known/gpc.json", True),
        ("/.well-known/dnt/", True),
        ("/.well-known/dnt/x", True),
        ("/_consent", False),
        ("/_consentx", False),
        ("/_consentx/y", False),
        ("/x/_consent/choice", False),
        ("/.well-known/gpc.jsonx", False),
        ("/.well-known/gpc.json/x", False),
        ("/.well-known/dnt", False),
        ("/.well-known/security.txt", False),
    ],
)
def test_the_endpoints_have_their_own_paths(path: str, own_path: bool) -> None:
    """No more and no less; they get the decision too."""
    app = Recorder()
    answer = ask(around(app), path)
    assert (answer.body == b"endpoint") is own_path
    assert (app.scope == {}) is own_path
    assert ask(around(app, prefix="/privacy"), "/privacy/choice").body == b"endpoint"


def decision_of(app: Recorder) -> Decision:
    decision = app.scope["state"]["consent"]
    assert isinstance(decision, Decision)
    return decision


def test_the_app_reads_the_decision() -> None:
    """In the request's state, beside what the server put there; the scope of the server is not changed."""
    app = Recorder()
    state = {"pool": 1}
    scope = scope_for(headers={"cookie": chosen([Category.PERFORMANCE])}, state=state)
    before = {**scope, "headers": list(scope["headers"])}
    _run(around(app), scope)
    assert decision_of(app).allows("performance") is True
    assert decision_of(app).allows("targeting") is False
    assert app.scope["state"]["pool"] == 1
    assert {**scope, "state": {}} == {**before, "state": {}}
    ask(around(app))
    assert decision_of(app) == REFUSING


def _run(app: ASGIApp, scope: Scope) -> Answer:
    answer = Answer()

    async def receive() -> Message:
        return {"type": "http.request", "body": b""}

    async def send(message: Message) -> None:
        answer.messages.append(message)

    async def run() -> None:
        await app(scope, receive, send)

    asyncio.run(run())
    return answer


async def _awaited(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    await app(scope, receive, send)


def test_starlette_and_jinja_read_the_decision() -> None:
    """``request.state.consent``, in a view, in a template, and in a middleware outside of ours."""
    seen: list[object] = []
    environment = Environment(
        loader=DictLoader({"page": "{{ 'yes' if request.state.consent.allows('performance') else 'no' }}"}),
        autoescape=True,
    )
    templates = Jinja2Templates(env=environment)

    async def view(request: Request) -> Response:
        request.state.user = "somebody"
        return JSONResponse(request.state.consent.allows("performance"))

    async def template(request: Request) -> Response:
        return templates.TemplateResponse(request, "page", media_type="text/plain")

    inner = around(Starlette(routes=[Route("/view", view), Route("/template", template)]))

    async def outer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope.setdefault("state", {})
        await inner(scope, receive, send)
        seen.append(scope["state"].get("user"))

    client = TestClient(outer)
    assert client.get("/view").json() is False
    assert client.get("/template").text == "no"
    cookies = {"cookie": chosen()}
    assert client.get("/view", headers=cookies).json() is True
    assert client.get("/template", headers=cookies).text == "yes"
    assert seen == ["somebody", None, "somebody", None]


@pytest.mark.parametrize(
    ("headers", "state"),
    [
        ([], ChoiceState.ABSENT),
        ([(b"cookie", b"a=1; cookieconsent=1; b=2")], ChoiceState.ABSENT),
        ([(b"cookie", b"consent=garbage")], ChoiceState.FORGED),
        ([(b"cookie", chosen().encode())], ChoiceState.VALID),
        ([(b"cookie", b"a=1"), (b"cookie", chosen().encode())], ChoiceState.VALID),
        ([(b"cookie", b"consent=x; " + chosen().encode())], ChoiceState.VALID),
        ([(b"cookie", chosen(made_at=NOW - 180 * 86_400).encode())], ChoiceState.EXPIRED),
        ([(b"cookie", chosen(made_at=NOW - 180 * 86_400 + 1).encode())], ChoiceState.VALID),
        ([(b"cookie", chosen(made_at=NOW + 301).encode())], ChoiceState.FORGED),
        ([(b"cookie", chosen(policy=Policy(controller="Other")).encode())], ChoiceState.OUTDATED),
    ],
)
def test_the_choice_is_read_the_same_again_and_again(
    headers: list[tuple[bytes, bytes]], state: ChoiceState
) -> None:
    """From memory as from the cookie."""
    recorder = Recorder()
    app = around(recorder)
    choice, *_ = COOKIE.read(headers, now=NOW, policy_version=POLICY.version)
    for gpc in (False, True, False):
        ask(app, headers=[*headers, *([(b"sec-gpc", b"1")] if gpc else [])])
        assert decision_of(recorder) == decide(POLICY, Signals(choice=choice, choice_state=state, gpc=gpc))


def test_no_cookie_is_verified_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """For one request, whatever stands beside the choice; and for the next ones, in however many fields they come."""
    verified: list[bytes] = []
    verify = Signer.verify_signature

    def counted(self: Signer, value: bytes, signature: bytes) -> bool:
        verified.append(value)
        return verify(self, value, signature)

    monkeypatch.setattr(Signer, "verify_signature", counted)
    recorder = Recorder()
    app = around(recorder)
    cookies = [b"a=1", chosen().encode(), b"consent_no_00000000=t"]
    ask(app, headers=[(b"cookie", b"; ".join(cookies))])
    assert (len(verified), decision_of(recorder).allows(Category.TARGETING)) == (1, False)
    # Nothing has to be stored here, and all of it is remembered. HTTP/2 may have a field for each cookie.
    cookies[1] = chosen([Category.PERFORMANCE]).encode()
    verified.clear()
    for beside in (cookies, [b"b=2", *cookies], cookies[1:]):
        ask(app, headers=[(b"cookie", cookie) for cookie in beside])
        assert decision_of(recorder).allows(Category.PERFORMANCE)
    assert len(verified) == 1


def test_a_remembered_choice_expires_to_the_second() -> None:
    """And a clock that is put back does not prolong it."""
    now = NOW
    recorder = Recorder()
    app = around(recorder, clock=lambda: now)
    headers = {"cookie": chosen(made_at=NOW)}

    def state() -> ChoiceState:
        ask(app, headers=headers)
        return decision_of(recorder).signals.choice_state

    assert state() is ChoiceState.VALID
    now = NOW + 180 * 86_400 - 1
    assert state() is ChoiceState.VALID
    now += 1
    assert state() is ChoiceState.EXPIRED
    now = NOW - 300
    assert state() is ChoiceState.VALID
    now = NOW - 301
    assert state() is ChoiceState.FORGED


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only genuine cookies are, and no more than so many."""
    monkeypatch.setattr(middleware, "_MAX_REMEMBERED", 3)
    app = around(Recorder())
    for number in range(10):
        ask(app, headers={"cookie": f"consent=forged{number}.x"})
    assert len(app._chosen) == 0
    for number in range(10):
        ask(app, headers={"cookie": f"a={number}; {chosen()}"})
        assert 1 <= len(app._chosen) <= 3
    ask(app, headers={"cookie": f"a={'x' * 5000}; {chosen()}"})
    assert all(isinstance(line, bytes) and len(line) <= 4096 for line in app._chosen)


@pytest.mark.parametrize(
    ("host", "same"),
    [
        (b"www.tracker.example", True),
        (b"WWW.Tracker.Example:8443", True),
        (b"www.tracker.example.", True),
        (b"www.tracker.example.:443", True),
        (b"www.example.com", False),
        (b"[::1]:8000", False),
        (b"[::1]", False),
        (b"[::1", False),
        (b"", False),
        (b":80", False),
        (b"\xff\x00", False),
    ],
)
def test_the_sites_own_host_is_read_from_any_host_field(host: bytes, same: bool) -> None:
    """A vendor's own site loads from itself."""
    page = b"<body><script src=https://www.tracker.example/t.js></script></body>"
    answer = ask(around(answering(page)), headers=[(b"host", host)])
    kept = page[:-7] if same else b"<body>"
    assert answer.body == kept + banner(REFUSING) + b"</body>"


def test_a_request_may_have_no_host() -> None:
    """As in HTTP/1.0."""
    scope = scope_for()
    scope["headers"] = []
    assert _run(around(answering(PAGE)), scope).body == CLEAN


def test_an_own_ipv6_address_is_the_sites_own() -> None:
    """With its port or without."""
    page = b"<body><img src=http://[::1]:8000/x.gif></body>"
    answer = ask(around(answering(page)), headers=[(b"host", b"[::1]:8000"), (b"consent-report", b"1")])
    assert b'"findings": []' in answer.body


# --- mounting ---


def test_within_a_mounted_sub_application_the_prefix_is_the_full_path(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """As browsers see it; without it, a warning says so, once."""
    with caplog.at_level(logging.WARNING, "consent"):
        client = TestClient(Starlette(routes=[Mount("/shop", app=around(answering(PAGE)))]))
        assert client.get("/shop/").content.startswith(HEAD + BODY)
        client.get("/shop/x")
        right = TestClient(
            Starlette(routes=[Mount("/shop", app=around(answering(PAGE), prefix="/shop/_consent"))])
        )
        assert right.get("/shop/").content.startswith(HEAD + BODY)
        assert right.get("/shop/_consent/choices").content == b"endpoint"
    assert [record.getMessage() for record in caplog.records] == [
        "the middleware is mounted under /shop, where its addresses under /_consent/ do not reach it: "
        "put it around the whole site, or give it prefix='/shop/_consent'"
    ]


def test_a_whole_starlette_app_works_inside() -> None:
    """Streams, redirects, exceptions, websockets."""

    async def stream(request: Request) -> Response:
        async def pieces() -> AsyncIterator[bytes]:
            for position in range(0, len(PAGE), 10):
                yield PAGE[position : position + 10]

        return StreamingResponse(pieces(), media_type="text/html")

    async def events(request: Request) -> Response:
        async def pieces() -> AsyncIterator[bytes]:
            yield b"data: <script src=https://t.tracker.example></script>\n\n"

        return StreamingResponse(pieces(), media_type="text/event-stream")

    async def away(request: Request) -> Response:
        response = RedirectResponse("/stream", status_code=303)
        response.set_cookie("_track", "1")
        response.delete_cookie("_count")
        return response

    async def echo(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_text(await websocket.receive_text())
        await websocket.close()

    app = around(
        Starlette(
            routes=[
                Route("/stream", stream),
                Route("/events", events),
                Route("/away", away),
                WebSocketRoute("/echo", echo),
            ]
        )
    )
    with TestClient(app) as client:
        assert client.get("/stream").content == CLEAN.replace(b'value="/"', b'value="/stream"')
        assert client.get("/events").content == b"data: <script src=https://t.tracker.example></script>\n\n"
        response = client.get("/away", follow_redirects=False)
        assert (response.status_code, response.headers["location"], response.content) == (303, "/stream", b"")
        assert [c.partition("=")[0] for c in response.headers.get_list("set-cookie")] == ["_count"]
        with client.websocket_connect("/echo") as socket:
            socket.send_text("hello")
            assert socket.receive_text() == "hello"


# --- when things go wrong ---


def test_exceptions_of_the_app_are_the_apps() -> None:
    """Before its answer, in its middle, and from the server's send."""

    class Broken(Exception):
        pass

    async def early(scope: Scope, receive: Receive, send: Send) -> None:
        raise Broken

    async def late(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [HTML]})
        await send({"type": "http.response.body", "body": b"<p>One", "more_body": True})
        raise Broken

    async def unfinished(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [HTML]})
        raise Broken

    for app in (early, late, unfinished):
        with pytest.raises(Broken):
            ask(around(app))

    def gone(message: Message) -> None:
        raise OSError("the client is gone")

    for answer in (answering(PAGE), answering(b"{}", headers=[])):
        with pytest.raises(OSError, match="the client is gone"):
            ask(around(answer), on_send=gone)


def test_a_page_whose_app_fails_before_its_body_is_not_begun() -> None:
    """So that the server can still answer 500."""
    sent: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [HTML]})
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        ask(around(app), on_send=sent.append)
    assert sent == []


def test_the_disconnect_of_a_client_reaches_the_app() -> None:
    """``receive`` is the server's own."""
    seen: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(await receive())

    async def run() -> None:
        async def receive() -> Message:
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            raise AssertionError

        await around(app)(scope_for(), receive, send)

    asyncio.run(run())
    assert seen == [{"type": "http.disconnect"}]


class _Failing:
    """A rewriter that lets one chunk through and fails at the next."""

    def __init__(self, error: Exception) -> None:
        self._error = error
        self._begun = False

    def __call__(self, *args: object, **kwargs: object) -> _Failing:
        return self

    def write(self, chunk: bytes) -> bytes:
        if self._begun:
            raise self._error
        self._begun = True
        return chunk

    def end(self) -> bytes:
        raise self._error


ERRORS = pytest.mark.parametrize(
    ("error", "failure"),
    [
        (RewriterLimitExceeded("9 bytes could not be decided"), Failure.UNDECIDED),
        (RuntimeError("a defect"), Failure.DEFECT),
        (RecursionError(), Failure.DEFECT),
        (MemoryError(), Failure.DEFECT),
        (UnicodeError("odd"), Failure.DEFECT),
    ],
)


@ERRORS
@pytest.mark.parametrize(("on_error", "rest"), [("withhold", b""), ("pass", b"two<script>three")])
@pytest.mark.parametrize("coding", [None, "gzip"])
def test_when_the_rewriter_fails_the_rest_is_withheld_or_passes(
    error: Exception,
    failure: Failure,
    on_error: OnError,
    rest: bytes,
    coding: str | None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """As the site declared; the answer is complete, counted, and logged once."""
    chunks = [b"<p>One", b"two", b"<script>", b"three"]
    headers = [HTML]
    if coding:
        encoder = zlib.compressobj(wbits=31)
        chunks = [encoder.compress(chunk) + encoder.flush(zlib.Z_SYNC_FLUSH) for chunk in chunks]
        chunks.append(encoder.flush())
        headers = [HTML, (b"content-encoding", b"gzip")]
    with caplog.at_level(logging.ERROR, "consent"):
        app = around(answering(*chunks, headers=headers), on_error=on_error)
        for _ in range(2):
            monkeypatch.setattr(page_body, "Rewriter", _Failing(error))
            answer = ask(app, "/page")
    assert answer.status == 200
    body = gzip.decompress(answer.body) if coding else answer.body
    assert body == b"<p>One" + rest
    assert answer.messages[-1].get("more_body", False) is False
    assert app.failures.counts == {failure: 2}
    done = "withheld" if on_error == "withhold" else "passed unread"
    assert [record.getMessage() for record in caplog.records] == [
        f"/page cannot be rewritten ({type(error).__name__}: {error}); the rest of it is {done}"
    ]


@pytest.mark.parametrize("on_error", ["withhold", "pass"])
def test_when_the_end_of_a_page_fails_the_answer_still_ends(
    on_error: OnError, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the right length."""
    monkeypatch.setattr(page_body, "Rewriter", _Failing(RuntimeError("at the end")))
    answer = ask(around(answering(b"<p>One"), on_error=on_error))
    assert (answer.status, answer.body) == (200, b"<p>One")
    assert answer.header("content-length") == "6"


@pytest.mark.parametrize(("on_error", "body"), [("withhold", b""), ("pass", b"not gzip")])
def test_a_page_that_lies_about_its_coding(on_error: OnError, body: bytes) -> None:
    """Browsers cannot read it either; it passes only where the site says that failures pass."""
    app = around(answering(b"not gzip", headers=[HTML, (b"content-encoding", b"gzip")]), on_error=on_error)
    answer = ask(app)
    assert (answer.status, answer.body) == (200, body)
    assert answer.header("content-length") == str(len(body))
    assert app.failures.counts == {Failure.BROKEN_CODING: 1}


@pytest.mark.parametrize("on_error", ["withhold", "pass"])
def test_a_gzipped_page_that_is_cut_short_stays_cut_short(on_error: OnError) -> None:
    """What could be read goes out, and nobody takes it for the whole."""
    page = HEAD + bytes(range(97, 123)) * 400 + SCRIPT
    packed = gzip.compress(page)[:-12]
    app = around(answering(packed, headers=[HTML, (b"content-encoding", b"gzip")]), on_error=on_error)
    answer = ask(app)
    reader = zlib.decompressobj(31)
    assert reader.decompress(answer.body).startswith(HEAD)
    assert reader.eof is False
    assert app.failures.counts == {Failure.BROKEN_CODING: 1}


@pytest.mark.parametrize("cookie", [{}, {"cookie": chosen()}])
def test_a_banner_that_fails_costs_no_page(cookie: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """What was decided before is there."""

    def broken(*args: object, **kwargs: object) -> bytes:
        raise RuntimeError("no banner")

    app = around(answering(HEAD, BODY, END))
    monkeypatch.setattr("consent.banner.Banner.pieces", broken)
    answer = ask(app, headers=cookie)
    assert (answer.status, answer.body) == (200, HEAD + BODY)
    assert app.failures.counts == {Failure.DEFECT: 1}


def test_an_undecidable_page_of_real_markup_is_withheld() -> None:
    """An attribute without end, above the limit."""
    page = b'<p>One<a title="' + b"x" * (5 * 1024 * 1024)
    app = around(answering(page[:100], page[100:]))
    answer = ask(app)
    assert (answer.status, answer.body) == (200, b"<p>One")


@pytest.mark.parametrize("on_error", ["withhold", "pass"])
def test_every_failure_has_its_rule(on_error: OnError) -> None:
    """The one place that says what passes."""
    assert {failure: passes(failure, on_error) for failure in Failure} == {
        Failure.UNKNOWN_CODING: True,
        Failure.BROKEN_CODING: on_error == "pass",
        Failure.UNDECIDED: on_error == "pass",
        Failure.TOO_LONG: True,
        Failure.DEFECT: on_error == "pass",
    }
    assert failure_of(BrokenCoding()) is Failure.BROKEN_CODING
    assert failure_of(RewriterLimitExceeded()) is Failure.UNDECIDED
    assert failure_of(KeyError()) is Failure.DEFECT


# --- the account of what was found ---


def test_the_account_is_given_to_who_asks_and_stored_by_nobody() -> None:
    """JSON that no markup can end, behind everything else."""
    page = b"<body>" + SCRIPT + b"<img src='//x.example/&lt;/script>'></body>"
    answer = ask(around(answering(page)), headers={"consent-report": "1"})
    assert answer.header("cache-control") == "private, no-store"
    start, end = b'<script type="application/json" id="consent-report">', b"</script></body>"
    assert answer.body.count(b"</script>") == 1
    report = json.loads(answer.body.partition(start)[2].removesuffix(end))
    assert report == {
        "withheld": 1,
        "uncounted": 0,
        "findings": [
            {
                "action": "stripped",
                "kind": "script",
                "subject": "t.tracker.example/t.js",
                "vendor": "tracker",
                "name": "Tracker",
                "category": "targeting",
                "reason": "no-choice",
            },
            {
                "action": "allowed",
                "kind": "img",
                "subject": "x.example/</script>",
                "vendor": None,
                "name": None,
                "category": None,
                "reason": None,
            },
        ],
    }


def test_the_explanation_is_at_the_end_of_every_page_where_asked_for() -> None:
    """For who accepted everything too."""
    for headers in ({}, {"cookie": chosen()}):
        body = ask(around(answering(PAGE), explain=True), headers=headers).body
        assert b"t.tracker.example/t.js" in body.partition(BODY)[2]


@pytest.mark.parametrize("cookie", [{}, {"cookie": chosen()}])
def test_a_page_leaves_nothing_to_the_garbage_collector(cookie: dict[str, str]) -> None:
    """What it was made with is free at once: collecting would cost as much as making it."""
    app = around(answering(HEAD, SCRIPT + BODY + END))
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def page() -> int:
        scope = scope_for(headers={**NAVIGATION, **cookie})
        await app(scope, None, send)  # type: ignore[arg-type]
        return gc.collect()

    async def pages() -> list[int]:
        gc.collect()
        return [await page() for _ in range(3)]

    assert asyncio.run(pages())[1:] == [0, 0]
    assert len(sent) == 9
