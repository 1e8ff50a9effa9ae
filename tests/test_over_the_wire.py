"""A real server on loopback, and a client that takes nothing amiss for granted: one connection, request on request.

h11 raises where an answer is longer or shorter than it says, or has a body that it must not have; what is left over
would be taken for the next answer.
"""

from __future__ import annotations

import gzip
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import h11
from starlette.types import Receive, Scope, Send

from tests.exchange import HTML, TRACKER, around, chosen
from tests.live import served

PAGE = b"<!doctype html><html><head></head><body><p>Hello</p><script src='%b'></script></body></html>" % (
    TRACKER.encode()
)
FILE = b"0123456789" * 100
SHEET = b'@import "%b"; h1 { color: red }' % TRACKER.encode()


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer as a file server does: validators, ranges, HEAD."""
    if scope["type"] == "lifespan":
        for kind in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{kind}.complete"})
        return
    asked = dict(scope["headers"])
    status, body = 200, PAGE
    headers = [HTML, (b"etag", b'"v1"'), (b"accept-ranges", b"bytes")]
    path = scope["path"]
    if path == "/file":
        body = FILE
        headers[0] = (b"content-type", b"application/octet-stream")
    elif path.endswith(".css"):
        body = SHEET if path == "/named.css" else b"h1 { color: red }"
        headers[0] = (b"content-type", b"text/css")
    elif path == "/gzip":
        body = gzip.compress(PAGE)
        headers.append((b"content-encoding", b"gzip"))
    elif path == "/empty":
        status, body = 204, b""
    if path != "/stubborn" and b'"v1"' in asked.get(b"if-none-match", b""):
        status, body = 304, b""
    elif b"range" in asked or path == "/stubborn":
        headers.append((b"content-range", b"bytes 0-9/%d" % len(body)))
        status, body = 206, body[:10]
    if status not in (204, 304):
        headers.append((b"content-length", b"%d" % len(body)))
    headers.append((b"set-cookie", b"_track=1"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    if path == "/stream":
        for at in range(0, len(body), 7):
            await send({"type": "http.response.body", "body": body[at : at + 7], "more_body": True})
        body = b""
    await send({"type": "http.response.body", "body": body if scope["method"] != "HEAD" else b""})


class Client:
    """One connection that stays open."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self._protocol = h11.Connection(h11.CLIENT)

    def close(self) -> None:
        self._socket.close()

    def ask(self, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
        """Make the next request; return status, fields and body."""
        sent = [
            ("host", "www.example.com"),
            *((name.replace("_", "-"), text) for name, text in headers.items()),
        ]
        request = h11.Request(method=method, target=path, headers=sent)
        self._socket.sendall(self._protocol.send(request) or b"")
        self._socket.sendall(self._protocol.send(h11.EndOfMessage()) or b"")
        start: h11.Response | None = None
        body = b""
        while True:
            event = self._protocol.next_event()
            if event is h11.NEED_DATA:
                self._protocol.receive_data(self._socket.recv(65536))
            elif isinstance(event, h11.Response):
                start = event
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                break
            else:
                raise AssertionError(event)
        assert self._protocol.trailing_data == (b"", False)
        self._protocol.start_next_cycle()
        assert start is not None
        own = (b"date", b"server")
        fields = [(bytes(k), bytes(v)) for k, v in start.headers if bytes(k) not in own]
        named = {key.decode(): value.decode() for key, value in fields}
        assert len(named) == len(fields)
        return start.status_code, named, body


@contextmanager
def connected() -> Iterator[Client]:
    with served(around(app)) as address:
        client = Client(int(address.rpartition(":")[2]))
        try:
            yield client
        finally:
            client.close()


def test_head_carries_what_get_does_but_for_what_it_cannot_know() -> None:
    """The length of a page; for a file it is the same to the last field."""
    with connected() as client:
        for path in ("/", "/gzip", "/stream"):
            status, fields, body = client.ask(path)
            assert (status, client.ask(path, "HEAD")[2]) == (200, b"")
            assert fields.get("content-length", str(len(body))) == str(len(body))
            assert ("transfer-encoding" in fields) is (path == "/stream")
            lengths = ("content-length", "transfer-encoding")
            head = client.ask(path, "HEAD")[1]
            assert {k: v for k, v in fields.items() if k not in lengths} == {
                k: v for k, v in head.items() if k not in lengths
            }
            assert "content-length" not in head
        status, fields, body = client.ask("/file")
        assert (status, fields["content-length"], body) == (200, "1000", FILE)
        assert client.ask("/file", "HEAD") == (200, fields, b"")
        assert fields["vary"] == "Cookie, Sec-GPC, DNT"


def test_a_304_confirms_this_visitors_page_and_no_other() -> None:
    """It has no body and no refused cookie, and the fields of the page that it confirms."""
    with connected() as client:
        cookie = chosen()
        mine = client.ask("/", accept="text/html")[1]
        theirs = client.ask("/", accept="text/html", cookie=cookie)[1]
        assert mine["etag"] != theirs["etag"]
        status, fields, body = client.ask("/", accept="text/html", if_none_match=mine["etag"])
        assert (status, body) == (304, b"")
        assert {k: v for k, v in mine.items() if k not in ("content-type", "content-length")} == {
            k: v for k, v in fields.items() if k != "content-type"
        }
        assert "set-cookie" not in fields
        assert client.ask("/", accept="text/html", if_none_match=theirs["etag"])[0] == 200
        status, fields, body = client.ask(
            "/", accept="text/html", if_none_match=theirs["etag"], cookie=cookie
        )
        assert (status, fields["set-cookie"], body) == (304, "_track=1", b"")
        assert client.ask("/", accept="text/html", if_none_match='"v1"')[0] == 200


def test_a_range_is_of_a_file_and_never_of_a_page() -> None:
    """A page comes whole; where the app insists on a piece of one, there is none."""
    with connected() as client:
        status, fields, body = client.ask("/file", range="bytes=0-9")
        assert (status, fields["content-range"], body) == (206, "bytes 0-9/1000", FILE[:10])
        status, fields, body = client.ask("/", accept="text/html", range="bytes=0-9", if_range='"v1"')
        assert (status, body[:40], fields.keys() & {"content-range", "accept-ranges"}) == (
            200,
            PAGE[:40],
            set(),
        )
        assert client.ask("/stubborn")[::2] == (416, b"")
        assert client.ask("/stubborn", "HEAD")[::2] == (416, b"")


def test_a_style_sheet_is_a_file_unless_it_names_a_tracker() -> None:
    """Then it is its visitor's: it is confirmed, cut and asked about as such."""
    with connected() as client:
        status, plain, body = client.ask("/plain.css")
        assert (status, plain["etag"], plain["content-length"]) == (200, '"v1"', str(len(body)))
        assert client.ask("/plain.css", if_none_match='"v1"')[1] == {
            key: value for key, value in plain.items() if key != "content-length"
        }
        assert client.ask("/plain.css", range="bytes=0-9")[::2] == (206, body[:10])
        status, mine, body = client.ask("/named.css")
        assert (status, body) == (200, SHEET.replace(TRACKER.encode(), b"about:invalid"))
        assert (mine["content-length"], mine["cache-control"]) == (str(len(body)), "private")
        theirs = client.ask("/named.css", cookie=chosen())
        assert (theirs[2], theirs[1]["etag"] != mine["etag"]) == (SHEET, True)
        status, fields, body = client.ask("/named.css", if_none_match=mine["etag"])
        assert (status, fields["etag"], fields["vary"], body) == (304, mine["etag"], mine["vary"], b"")
        assert client.ask("/named.css", if_none_match=mine["etag"], cookie=chosen())[0] == 200
        for path, fields in (("/plain.css", plain), ("/named.css", mine)):
            status, head, body = client.ask(path, "HEAD")
            assert (status, body, head.keys() & {"etag", "content-length", "accept-ranges"}) == (
                200,
                b"",
                set(),
            )
            assert head["content-type"] == fields["content-type"]


def test_an_answer_without_a_body_has_none() -> None:
    """And sets no refused cookie either; the connection goes on."""
    with connected() as client:
        status, fields, body = client.ask("/empty")
        assert (status, body) == (204, b"")
        assert fields.keys() == {"content-type", "etag", "accept-ranges", "vary"}
        assert client.ask("/")[0] == 200
