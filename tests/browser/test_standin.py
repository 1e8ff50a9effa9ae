"""The stand-in itself: what the browser tests see through it must be what happened."""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
import time
from collections.abc import Callable

import pytest

from tests.browser.standin import StandIn

BEACON_HEADERS = {"Host": "www.facebook.com", "Sec-Fetch-Dest": "image"}


def untrusting() -> ssl.SSLContext:
    """A client context that takes any certificate, as the browser of the tests does."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def until(condition: Callable[[], bool]) -> None:
    """Wait for what another thread is about to do."""
    deadline = time.monotonic() + 10
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.005)
    assert condition()


def test_one_port_answers_plain_http_and_tls_and_records_both(standin: StandIn) -> None:
    """The first byte tells which of the two a client speaks."""
    standin.forget()
    plain = http.client.HTTPConnection("127.0.0.1", standin.port, timeout=10)
    plain.request("GET", "/tr?id=1", headers=BEACON_HEADERS | {"Cookie": "fr=1"})
    answer = plain.getresponse()
    assert (answer.status, answer.headers["Content-Type"]) == (200, "image/gif")
    assert answer.headers["Set-Cookie"].startswith("fr=stand-in; Domain=facebook.com; ")
    answer.read()
    plain.close()

    with (
        socket.create_connection(("127.0.0.1", standin.port), timeout=10) as raw,
        untrusting().wrap_socket(raw, server_hostname="connect.facebook.net") as encrypted,
    ):
        encrypted.sendall(b"GET /en_US/fbevents.js HTTP/1.1\r\nHost: connect.facebook.net\r\n\r\n")
        assert encrypted.recv(15) == b"HTTP/1.1 200 OK"

    assert [
        (contact.kind, contact.scheme, contact.host, contact.method, contact.target)
        for contact in standin.contacts()
    ] == [
        ("request", "http", "www.facebook.com", "GET", "/tr?id=1"),
        ("connection", "https", "connect.facebook.net", "", ""),
        ("request", "https", "connect.facebook.net", "GET", "/en_US/fbevents.js"),
    ]
    assert standin.contacts()[0].headers["cookie"] == "fr=1"


def test_a_bare_tls_connection_counts_as_a_contact(standin: StandIn) -> None:
    """So that a preconnect, which sends no request, is seen."""
    standin.forget()
    with (
        socket.create_connection(("127.0.0.1", standin.port), timeout=10) as raw,
        untrusting().wrap_socket(raw, server_hostname="static.hotjar.com"),
    ):
        pass
    assert standin.hosts() == {"static.hotjar.com"}


def test_a_websocket_is_refused_and_recorded(standin: StandIn) -> None:
    """It was a contact all the same."""
    standin.forget()
    client = http.client.HTTPConnection("127.0.0.1", standin.port, timeout=10)
    client.request("GET", "/ws", headers={"Host": "ws.hotjar.com", "Upgrade": "websocket"})
    assert client.getresponse().status == 403
    client.close()
    assert [(contact.kind, contact.host) for contact in standin.contacts()] == [
        ("websocket", "ws.hotjar.com")
    ]


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"\x16\x03\x01\x00\x05hello",
        b"not a request\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"x" * 200_000,
        b"GET / HTTP/1.1\r\nContent-Length: many\r\n\r\n",
    ],
)
def test_whatever_a_client_sends_the_next_one_is_answered(standin: StandIn, sent: bytes) -> None:
    """Garbage ends its own connection, nothing else."""
    with socket.create_connection(("127.0.0.1", standin.port), timeout=10) as raw:
        raw.sendall(sent)
    client = http.client.HTTPConnection("127.0.0.1", standin.port, timeout=10)
    client.request("HEAD", "/x.gif", headers=BEACON_HEADERS)
    assert client.getresponse().status == 200
    client.close()
    until(lambda: not standin.busy())


def test_closing_ends_open_connections_and_the_thread() -> None:
    """Nothing is left behind, even by a client that keeps its connection open."""
    with StandIn() as own:
        waiting = socket.create_connection(("127.0.0.1", own.port), timeout=10)
        port = own.port
    assert waiting.recv(1) == b""
    waiting.close()
    assert "stand-in" not in {thread.name for thread in threading.enumerate() if not thread.daemon}
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=10)
    own.close()
