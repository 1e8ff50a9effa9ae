"""Webhooks: signed, in order, again and again until they are answered, and never into networks that are not public."""

from __future__ import annotations

import base64
import contextlib
import hmac
import json
import os
import re
import signal
import socket
import sqlite3
import ssl
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from consent.cli import main
from consent.errors import ConfigurationError, StoreUnavailable
from consent.office.access_log import AccessLog
from consent.office.database import OfficeDatabase
from consent.office.delivering import AT_ONCE, Delivering
from consent.office.events import Events, EventType, add_event
from consent.office.outgoing import NotReached, Outgoing, WrongAddress, networks_from
from consent.office.roles import Role
from consent.office.webhooks import (
    FAILING_DAYS,
    KEEP_HOURS,
    MAX_KEEP_HOURS,
    MAX_WEBHOOKS,
    Webhooks,
    WebhookState,
)
from consent.office.wrapped_keys import rewrap_office
from tests.test_office_access import Clock
from tests.test_office_api import Answer, Place
from tests.test_office_console import signed_in
from tests.test_receipts import KEYS

LOOPBACK = [ip_network("127.0.0.0/8")]
Answering = Callable[[int], "tuple[int, dict[str, str]]"]


@dataclass
class Received:
    """One request as it came."""

    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Receiver:
    """A server on loopback that remembers what it was sent."""

    url: str
    received: list[Received] = field(default_factory=list)
    answering: Answering = lambda _number: (204, {})

    def wait(self, number: int) -> None:
        deadline = time.monotonic() + 20
        while len(self.received) < number:
            assert time.monotonic() < deadline, len(self.received)
            time.sleep(0.02)


@contextlib.contextmanager
def receiver(context: ssl.SSLContext | None = None) -> Iterator[Receiver]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            made.received.append(Received(headers, body))
            status, more = made.answering(len(made.received))
            self.send_response(status)
            for name, value in {"content-length": "0", **more}.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    scheme = "http" if context is None else "https"
    made = Receiver(f"{scheme}://127.0.0.1:{server.server_port}/hook")
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Bench:
    """All parts of the delivery, on a database of their own."""

    def __init__(self, path: Path) -> None:
        self.clock = Clock()
        self.database = OfficeDatabase(path / "office.sqlite3")
        self.outgoing = Outgoing(LOOPBACK, 5.0)
        self.hooks = Webhooks(self.database, KEYS, self.clock, self.outgoing.check, chance=lambda: 0.0)
        self.events = Events(self.database)
        self.delivering = Delivering(self.hooks, self.events, self.outgoing, self.clock)

    def happen(self, number: int = 1, type: EventType = EventType.EXPORT_FINISHED) -> None:
        with self.database.writing() as connection:
            for at in range(number):
                add_event(connection, int(self.clock() * 1_000), type, export=f"x{at}")

    def work(self) -> int:
        return self.delivering.work(threading.Event())


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def right_signature(received: Received, secret: str) -> str:
    key = base64.b64decode(secret.removeprefix("whsec_"))
    headers = received.headers
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + received.body
    return f"v1,{base64.b64encode(hmac.new(key, signed, 'sha256').digest()).decode()}"


def is_signed(received: Received, secret: str) -> bool:
    """Check a request as the specification tells receivers to."""
    return right_signature(received, secret) in received.headers["webhook-signature"].split(" ")


def test_events_are_sent_signed_and_in_order(bench: Bench) -> None:
    """Those that it is for, from its registration on, each once."""
    bench.happen(3)
    with receiver() as there:
        types = [EventType.EXPORT_FINISHED, EventType.WEBHOOK_REGISTERED]
        webhook, secret = bench.hooks.add(there.url, types)
        bench.happen(AT_ONCE + 5)
        bench.happen(2, EventType.ACCESS_RECORDED)
        assert bench.work() == AT_ONCE + 6
        assert bench.work() == 0
    first = there.received[0]
    assert first.json == {
        "id": "evt_4", "number": 4, "type": "webhook.registered", "timestamp": "2027-01-15T08:00:00.000Z",
        "data": {"webhook": webhook.id},
    }  # fmt: skip
    assert [each.json["number"] for each in there.received] == list(range(4, AT_ONCE + 10))
    assert all(is_signed(each, secret) for each in there.received)
    assert (first.headers["webhook-id"], first.headers["webhook-timestamp"]) == ("evt_4", "1800000000")
    assert first.headers["content-type"] == "application/json"
    known = bench.hooks.get(webhook.id)
    assert known is not None
    assert (known.delivered, known.attempts, known.problem) == (AT_ONCE + 6, 0, "")


def test_the_secret_is_shown_once_and_kept_sealed(bench: Bench) -> None:
    """It is 32 random bytes; neither they nor their base64 are in the file."""
    _, secret = bench.hooks.add("https://hooks.example.com/", [EventType.EXPORT_FINISHED])
    raw = base64.b64decode(secret.removeprefix("whsec_"))
    assert len(raw) == 32
    content = bench.database.path.read_bytes()
    assert raw not in content
    assert secret[6:].encode() not in content
    rotated = replace(KEYS, wrapping=(bytes(range(32)), *KEYS.wrapping))
    assert [rewrap_office(bench.database, rotated) for _ in range(2)] == [1, 0]
    after = Webhooks(
        bench.database, replace(rotated, wrapping=rotated.wrapping[:1]), bench.clock, bench.outgoing.check
    )
    assert after.signing_secrets(after.all()[0]) == [raw]


def test_a_secret_is_rotated_while_events_are_sent(bench: Bench) -> None:
    """Both sign for a day, the new one first; then the former one is nowhere any more. At once, if others know it."""
    with receiver() as there:
        webhook, first = bench.hooks.add(there.url, [EventType.EXPORT_FINISHED])

        def signatures() -> list[str]:
            bench.happen()
            assert bench.work() == 1
            return there.received[-1].headers["webhook-signature"].split(" ")

        def right(*secrets: str) -> list[str]:
            return [right_signature(there.received[-1], secret) for secret in secrets]

        assert signatures() == right(first)
        made = bench.hooks.rotate(webhook.id)
        assert made is not None
        webhook, second = made
        assert webhook.former_until_ms == int((bench.clock.now + KEEP_HOURS * 3_600) * 1_000)
        assert signatures() == right(second, first)
        bench.clock.now += 3_600
        made = bench.hooks.rotate(webhook.id)
        assert made is not None
        third = made[1]
        assert signatures() == right(third, second)  # of three, the last two
        bench.clock.now += KEEP_HOURS * 3_600 - 1
        assert signatures() == right(third, second)
        bench.clock.now += 1
        assert signatures() == right(third)
        with bench.database.reading() as connection:
            assert connection.execute("SELECT former IS NULL FROM webhook").fetchone() == (0,)
            bench.hooks.purge()
            row = connection.execute("SELECT former, former_until_ms FROM webhook").fetchone()
        assert row == (None, None)
        made = bench.hooks.rotate(webhook.id, keep_hours=0)
        assert made is not None
        assert (made[0].former_until_ms, signatures()) == (None, right(made[1]))
    assert len({first, second, third, made[1]}) == 4
    assert bench.hooks.rotate("whk_none") is None
    for hours in (-1, MAX_KEEP_HOURS + 1):
        with pytest.raises(ValueError, match="0 to 168 hours"):
            bench.hooks.rotate(webhook.id, keep_hours=hours)


def test_a_former_secret_is_rewrapped_with_the_present_one(bench: Bench) -> None:
    """And a secret whose key is gone is replaced without one."""
    webhook, first = bench.hooks.add("https://hooks.example.com/", [EventType.EXPORT_FINISHED])
    made = bench.hooks.rotate(webhook.id)
    assert made is not None
    later = replace(KEYS, wrapping=(bytes(range(32)),))
    rewrap_office(bench.database, replace(KEYS, wrapping=(*later.wrapping, *KEYS.wrapping)))
    after = Webhooks(bench.database, later, bench.clock, bench.outgoing.check)
    both = [base64.b64decode(secret.removeprefix("whsec_")) for secret in (made[1], first)]
    assert after.signing_secrets(webhook) == both
    lost = Webhooks(bench.database, replace(KEYS, wrapping=(bytes(32),)), bench.clock, bench.outgoing.check)
    again = lost.rotate(webhook.id)
    assert again is not None
    assert (again[0].former_until_ms, len(lost.signing_secrets(webhook))) == (None, 1)


def test_what_fails_is_tried_again_later_each_time(bench: Bench) -> None:
    """In the same order; nobody else waits for it; the same event has the same id."""
    with receiver() as there, receiver() as other:
        there.answering = lambda number: (503 if number < 4 else 200, {})
        webhook, _ = bench.hooks.add(there.url, [EventType.EXPORT_FINISHED])
        bench.hooks.add(other.url, [EventType.EXPORT_FINISHED])
        bench.happen(2)
        bench.work()
        assert (len(there.received), len(other.received)) == (1, 2)
        waits = []
        for _ in range(2):
            failing = bench.hooks.get(webhook.id)
            assert failing is not None
            waits.append((failing.next_ms / 1_000 - bench.clock.now, failing.problem))
            bench.clock.now = failing.next_ms / 1_000 - 0.01
            assert bench.work() == 0
            bench.clock.now = failing.next_ms / 1_000
            bench.work()
        bench.clock.now += 3_600
        assert bench.work() == 2
    assert waits == [(5.0, "answered 503"), (20.0, "answered 503")]
    assert [each.headers["webhook-id"] for each in there.received] == ["evt_3"] * 4 + ["evt_4"]


def test_a_slow_receiver_delays_only_itself(bench: Bench) -> None:
    """What happens meanwhile is sent to the others, too; the slow one has each event once, in order."""
    answered = threading.Event()

    def slowly(number: int) -> tuple[int, dict[str, str]]:
        if number == 1:
            answered.wait(20)
        return 204, {}

    with receiver() as slow, receiver() as quick:
        slow.answering = slowly
        bench.hooks.add(slow.url, [EventType.EXPORT_FINISHED])
        bench.hooks.add(quick.url, [EventType.EXPORT_FINISHED])
        bench.outgoing = bench.delivering._outgoing = Outgoing(LOOPBACK, 20.0)
        bench.happen(2)
        delivered: list[int] = []
        working = threading.Thread(target=lambda: delivered.append(bench.work()))
        working.start()
        quick.wait(2)
        slow.wait(1)
        bench.happen(3)
        quick.wait(5)
        assert (len(slow.received), working.is_alive()) == (1, True)
        answered.set()
        working.join(20)
    assert delivered == [10]
    for each in (slow, quick):
        numbers = [received.json["number"] for received in each.received]
        assert numbers == [3, 4, 5, 6, 7]


def test_what_fails_here_delays_only_itself_too(bench: Bench) -> None:
    """A secret that was altered, and a database that fails for one: the others are sent to, and it is told."""
    with receiver() as broken, receiver() as other:
        webhook, _ = bench.hooks.add(broken.url, [EventType.EXPORT_FINISHED])
        bench.hooks.add(other.url, [EventType.EXPORT_FINISHED])
        with bench.database.writing() as connection:
            connection.execute("UPDATE webhook SET sealed = zeroblob(60) WHERE id = ?", (webhook.id,))
        bench.happen(2)
        assert bench.work() == 2
        known = bench.hooks.get(webhook.id)
        assert known is not None
        assert known.problem == "its secret cannot be opened: give it a new one"
        assert bench.hooks.rotate(webhook.id) is not None
        bench.hooks.change(webhook.id, state=WebhookState.ACTIVE)
        bench.clock.now += 10
        after = bench.events.after

        def failing(number: int, **options: Any) -> Any:
            if threading.current_thread().name == f"consent-{webhook.id}":
                raise StoreUnavailable("the disk is gone")
            return after(number, **options)

        bench.events.after = failing  # type: ignore[method-assign]
        bench.happen()
        with pytest.raises(StoreUnavailable, match="the disk is gone"):
            bench.work()
        bench.events.after = after  # type: ignore[method-assign]
        assert (len(broken.received), len(other.received)) == (0, 3)
        assert bench.work() == 3


def test_a_webhook_that_is_removed_or_disabled_is_sent_nothing_more(bench: Bench) -> None:
    """Not even what was read for it already."""
    for end in (bench.hooks.remove, lambda each: bench.hooks.change(each, state=WebhookState.DISABLED)):
        with receiver() as there:
            webhook, _ = bench.hooks.add(there.url, [EventType.EXPORT_FINISHED])

            def ending(
                number: int, webhook_id: str = webhook.id, end: Any = end
            ) -> tuple[int, dict[str, str]]:
                if number == 2:
                    end(webhook_id)
                return 204, {}

            there.answering = ending
            bench.happen(5)
            bench.work()
            assert len(there.received) == 2


def test_other_types_are_sent_from_the_change_on(bench: Bench) -> None:
    """Of one that is added nothing from before; of one that is taken away nothing more, whatever was read already."""
    one, other = EventType.EXPORT_FINISHED, EventType.ACCESS_RECORDED
    with receiver() as there:
        webhook, _ = bench.hooks.add(there.url, [one])
        bench.happen(60, other)
        bench.hooks.change(webhook.id, types=[one, other])
        assert bench.work() == 0
        bench.happen(5, other)

        def ending(number: int) -> tuple[int, dict[str, str]]:
            if number == 2:
                bench.hooks.change(webhook.id, types=[one])
                bench.happen(1, one)
            return 204, {}

        there.answering = ending
        assert bench.work() == 3
        types = [received.json["type"] for received in there.received]
        assert types == [other, other, one]


def test_what_waits_is_sent_though_types_change(bench: Bench) -> None:
    """Of those that stay; what is the same as before changes nothing."""
    one, other, third = EventType.EXPORT_FINISHED, EventType.ACCESS_RECORDED, EventType.REQUEST_RECEIVED
    with receiver() as there:
        webhook, _ = bench.hooks.add(there.url, [one, third])
        bench.happen(3, other)
        bench.happen(1, third)
        bench.happen(2, one)
        bench.hooks.change(webhook.id, types=[third, one])
        bench.hooks.change(webhook.id, types=[one, other])
        bench.happen(1, other)
        assert bench.work() == 3
        assert [received.json["type"] for received in there.received] == [one, one, other]


def test_a_stop_waits_for_what_is_being_sent(bench: Bench) -> None:
    """Whoever has the turn next would send it a second time; nothing more is begun."""
    stopping = threading.Event()

    def stop(_: int) -> tuple[int, dict[str, str]]:
        stopping.set()
        time.sleep(0.5)
        return 204, {}

    with receiver() as there:
        there.answering = stop
        webhook, _ = bench.hooks.add(there.url, [EventType.EXPORT_FINISHED])
        bench.happen(3)
        assert bench.delivering.work(stopping) == 1
        known = bench.hooks.get(webhook.id)
        assert known is not None
        assert (len(there.received), known.delivered) == (1, 1)


def test_nothing_is_sent_to_a_name_that_was_found_too_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking it up cannot be cut short: by then another process may have the turn."""

    def resolve(*_: object, **__: object) -> list[Any]:
        time.sleep(0.3)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 9))]

    def connect(*_: object) -> None:
        raise AssertionError("it was connected to")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setattr(socket, "create_connection", connect)
    with pytest.raises(NotReached, match="its name was not found in time"):
        Outgoing(LOOPBACK, 0.2).post("http://hooks.example.com/", {}, b"")


def test_a_wait_is_shortened_by_chance_and_as_long_as_asked(bench: Bench) -> None:
    """By up to half, so that not all come back at once; at most half a day."""
    hooks = Webhooks(bench.database, KEYS, bench.clock, bench.outgoing.check, chance=lambda: 1.0)
    webhook, _ = hooks.add("https://hooks.example.com/", [EventType.EXPORT_FINISHED])

    def waits(**options: Any) -> float:
        current = hooks.get(webhook.id)
        assert current is not None
        hooks.failed(current, "x", **options)
        known = hooks.get(webhook.id)
        assert known is not None
        return known.next_ms / 1_000 - bench.clock.now

    assert waits() == 2.5
    assert waits(wait_seconds=600) == 600
    assert waits(wait_seconds=10**6) == 12 * 3_600
    for _ in range(9):
        last = waits()
    assert last == 6 * 3_600


@pytest.mark.parametrize("status", [301, 302, 307, 400, 404, 500])
def test_only_success_is_one(bench: Bench, status: int) -> None:
    """A redirect is not followed."""
    with receiver() as there, receiver() as elsewhere:
        there.answering = lambda _: (status, {"location": elsewhere.url})
        bench.hooks.add(there.url, [EventType.EXPORT_FINISHED])
        bench.happen()
        assert bench.work() == 0
    assert (len(there.received), len(elsewhere.received)) == (1, 0)
    assert bench.hooks.all()[0].problem == f"answered {status}"


def test_after_days_of_failures_it_is_disabled(bench: Bench) -> None:
    """That is an event of its own; enabled again, it is sent what it missed."""
    with receiver() as there:
        there.answering = lambda _: (500, {})
        webhook, _ = bench.hooks.add(there.url, [EventType.EXPORT_FINISHED])
        bench.happen()
        start = bench.clock.now
        while bench.hooks.all()[0].state is WebhookState.ACTIVE:
            bench.work()
            bench.clock.now = max(bench.clock.now, bench.hooks.all()[0].next_ms / 1_000)
        days = (bench.clock.now - start) / 86_400
        assert FAILING_DAYS <= days < FAILING_DAYS + 1.1
        assert len(there.received) < 25
        last = bench.events.after(0, limit=50)[-1]
        assert (last.type, last.data) == (
            EventType.WEBHOOK_DISABLED, {"webhook": webhook.id, "problem": "answered 500"},
        )  # fmt: skip
        bench.happen()
        there.received.clear()
        there.answering = lambda _: (200, {})
        assert bench.work() == 0
        bench.hooks.change(webhook.id, state=WebhookState.ACTIVE)
        assert bench.work() == 2


def test_who_says_gone_is_asked_no_more(bench: Bench) -> None:
    """410 is for good."""
    with receiver() as there:
        there.answering = lambda _: (410, {})
        bench.hooks.add(there.url, [EventType.EXPORT_FINISHED])
        bench.happen()
        bench.work()
    assert bench.hooks.all()[0].state is WebhookState.DISABLED


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://hooks.example.com/", "https; http is for networks of your own"),
        ("ftp://hooks.example.com/", "an address such as https://example.com/consent"),
        ("https://", "an address such as"),
        ("https://[::1", "an address such as"),
        ("https://hooks.example.com:99999/", "an address such as"),
        ("https://jo:secret@hooks.example.com/", "without a name, a password or a fragment"),
        ("https://hooks.example.com/#x", "without a name"),
        ("https://hooks.example.com/\r\nx: y", "printable ASCII"),
        ("https://hooks.example.com\\@127.0.0.1/", "printable ASCII"),
        ("https://hööks.example.com/", "printable ASCII"),
        (f"https://hooks.example.com/{'x' * 500}", "at most 500"),
        ("https://127.0.0.1/", "a network that is not public"),
        ("https://[::1]/", "a network that is not public"),
        ("https://[::ffff:10.0.0.1]/", "a network that is not public"),
        ("https://169.254.169.254/latest/meta-data/", "a network that is not public"),
    ],
)
def test_what_is_no_address_is_refused(url: str, message: str) -> None:
    """Before anything is kept."""
    with pytest.raises(WrongAddress, match=message):
        Outgoing().check(url)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.9.9.9", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
        "192.0.2.1", "198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255", "::", "::1", "fe80::1", "fc00::1",
        "ff02::1", "fec0::1", "64:ff9b:1::7f00:1", "::127.0.0.1", "::ffff:127.0.0.1",
        "64:ff9b::7f00:1", "2002:7f00:1::", "2001:db8::1",
    ],
)  # fmt: skip
def test_a_name_may_not_lead_into_a_network_that_is_not_public(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever else it leads to; nothing is connected to."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET

    def resolve(_host: str, port: int, **_: object) -> list[Any]:
        public = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("93.184.216.34", port))
        return [public, (family, socket.SOCK_STREAM, 6, "", (address, port))]

    def connect(*_: object) -> None:
        raise AssertionError("it was connected to")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setattr(socket, "create_connection", connect)
    with pytest.raises(WrongAddress, match="a network that is not public"):
        Outgoing().post("https://hooks.example.com/", {}, b"")


def test_the_address_that_was_judged_is_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name is looked up once: whatever it leads to a moment later."""
    looked: list[str] = []

    def resolve(host: str, port: int, **_: object) -> list[Any]:
        looked.append(host)
        address = "127.0.0.1" if len(looked) == 1 else "127.0.0.2"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    with receiver() as there:
        port = there.url.split(":")[2].split("/")[0]
        connect = socket.create_connection
        monkeypatch.setattr(socket, "getaddrinfo", resolve)

        def connecting(address: tuple[str, int], *arguments: Any, **options: Any) -> socket.socket:
            assert ip_address(address[0]) == ip_address("127.0.0.1")
            monkeypatch.undo()  # numbers are looked up, too
            return connect(address, *arguments, **options)

        monkeypatch.setattr(socket, "create_connection", connecting)
        answer = Outgoing(LOOPBACK, 5.0).post(f"http://hooks.example.com:{port}/x", {}, b"{}")
        assert answer.status == 204
    assert looked == ["hooks.example.com"]
    assert there.received[0].headers["host"] == f"hooks.example.com:{port}"


def test_whoever_answers_a_byte_at_a_time_is_cut_off() -> None:
    """The time is for all of it; an endless answer is not read to its end."""

    def serve(listener: socket.socket, piece: bytes, pause: float) -> None:
        with contextlib.suppress(OSError):
            connection, _ = listener.accept()
            with connection:
                connection.recv(65_536)
                while True:
                    connection.sendall(piece)
                    time.sleep(pause)

    for piece, pause, ends in ((b"H", 0.05, False), (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 9_000, 0.0, True)):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            thread = threading.Thread(target=serve, args=(listener, piece, pause))
            thread.start()
            began = time.monotonic()
            url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
            if ends:
                assert Outgoing(LOOPBACK, 5.0).post(url, {}, b"").status == 200
            else:
                with pytest.raises(NotReached, match="no answer in time"):
                    Outgoing(LOOPBACK, 0.5).post(url, {}, b"")
            assert time.monotonic() - began < 3
        thread.join()


def _forever(piece: bytes) -> Iterator[bytes]:
    while True:
        yield piece


@pytest.mark.parametrize(
    ("pieces", "reached"),
    [
        (_forever(b"HTTP/1.1 100 Continue\r\n\r\n"), False),
        ([b"HTTP/1.1 200 OK\r\n", *[b"x: y\r\n"] * 100_000], False),
        ([b"HTTP/1.1 200 OK\r\n", *[b"x" * 1_000] * 1_000], False),
        ([b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", *[b"1\r\nx\r\n"] * 100_000], True),
        (
            [
                b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
                b"f" * 20,
                b"\r\n",
                *[b"x" * 1_000] * 1_000,
            ],
            True,
        ),
        ([b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999\r\n\r\n", *[b"x" * 1_000] * 1_000], True),
    ],
    ids=["continue", "fields", "field", "chunks", "chunk", "length"],
)
def test_an_answer_without_an_end_is_cut_off(pieces: Any, reached: bool) -> None:
    """However it is made: in time, and in memory that does not grow with it."""

    def serve(listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            connection, _ = listener.accept()
            # Once nobody reads any more, a system may take minutes to tell that to who sends.
            connection.settimeout(2)
            with connection:
                connection.recv(65_536)
                for piece in pieces:
                    connection.sendall(piece)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        began = time.monotonic()
        tracemalloc.start()
        try:
            with contextlib.nullcontext() if reached else pytest.raises(NotReached):
                url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
                assert Outgoing(LOOPBACK, 10.0 if reached else 1.0).post(url, {}, b"").status == 200
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert time.monotonic() - began < 15
        assert peak < 4 * 1024 * 1024
    thread.join()


def test_time_that_is_over_before_tls_is_set_up_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is nothing to cut in between: otherwise the rest of it had no end."""
    context = certificate(tmp_path / "right.pem", "127.0.0.1")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "right.pem"))
    wrap = ssl.SSLContext.wrap_socket

    def slowly(self: ssl.SSLContext, *arguments: Any, **options: Any) -> ssl.SSLSocket:
        wrapped = wrap(self, *arguments, **options)
        if "server_hostname" in options:
            time.sleep(0.6)
        return wrapped

    with receiver(context) as there:
        monkeypatch.setattr(ssl.SSLContext, "wrap_socket", slowly)
        with pytest.raises(NotReached, match="no answer in time"):
            Outgoing(LOOPBACK, 0.3).post(there.url, {}, b"{}")
    assert there.received == []


def certificate(path: Path, name: str) -> ssl.SSLContext:
    """Make a certificate that signs itself, in ``path``; return what serves with it."""
    key = ec.generate_private_key(ec.SECP256R1())
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    names: list[x509.GeneralName] = [
        x509.IPAddress(ip_address(name)) if name[0].isdigit() else x509.DNSName(name)
    ]
    made = (
        x509.CertificateBuilder().subject_name(issuer).issuer_name(issuer).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False).sign(key, hashes.SHA256())
    )  # fmt: skip
    pem = made.public_bytes(serialization.Encoding.PEM)
    path.write_bytes(pem)
    secret = path.with_suffix(".key")
    secret.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path, secret)
    return context


def test_a_certificate_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has to be trusted, and for this very host."""
    right, wrong = tmp_path / "right.pem", tmp_path / "wrong.pem"
    contexts = certificate(right, "127.0.0.1"), certificate(wrong, "hooks.example.com")
    for context, trusted, ends in ((0, right, True), (0, wrong, False), (1, wrong, False)):
        monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
        with receiver(contexts[context]) as there:
            if ends:
                assert Outgoing(LOOPBACK, 5.0).post(there.url, {}, b"{}").status == 204
            else:
                with pytest.raises(NotReached, match="TLS: CERTIFICATE_VERIFY_FAILED"):
                    Outgoing(LOOPBACK, 5.0).post(there.url, {}, b"{}")


def test_networks_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is none stops the start."""
    monkeypatch.setenv("CONSENT_WEBHOOK_NETWORKS", "10.1.0.0/16, fd00::/8")
    assert [str(each) for each in networks_from("CONSENT_WEBHOOK_NETWORKS")] == ["10.1.0.0/16", "fd00::/8"]
    monkeypatch.setenv("CONSENT_WEBHOOK_NETWORKS", "10.1.0.1/16")
    with pytest.raises(ConfigurationError, match=r"'10.1.0.1/16' is no network such as 10.1.0.0/16"):
        networks_from("CONSENT_WEBHOOK_NETWORKS")


# ---- through the API, the console and the command line


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    monkeypatch.setenv("CONSENT_WEBHOOK_NETWORKS", "127.0.0.0/8")
    monkeypatch.setattr("consent.office.background.LOOK_SECONDS", 0.05)
    made = Place(tmp_path / "data")
    yield made
    made.app.stop()


def test_an_administrator_registers_and_removes_them(place: Place) -> None:
    """The secret is in the first answer and in no other; what was done is recorded."""
    asked = {"url": "https://hooks.example.com/t/s3cret", "events": ["export.finished"]}
    answer = place.ask("/webhooks", Role.ADMINISTRATOR, method="POST", body=asked)
    assert answer.status == 201
    webhook_id, secret = answer.json["id"], answer.json["secret"]
    assert secret.startswith("whsec_")
    path = f"/webhooks/{webhook_id}"
    assert answer.headers["location"] == f"/_consent/api/v1{path}"
    shown = place.ask(path, Role.ADMINISTRATOR)
    assert shown.json == {
        "id": webhook_id, **asked, "state": "active", "made": "2026-01-02T00:00:00.000Z", "delivered": 0, "attempts": 0,
        "problem": "", "next": None, "former_secret_until": None,
    }  # fmt: skip
    assert place.ask("/webhooks", Role.ADMINISTRATOR).json == {"webhooks": [shown.json]}
    changed = {"state": "disabled", "events": ["integrity.failed", "receipts.recorded"]}
    after = place.ask(path, Role.ADMINISTRATOR, method="PATCH", body=changed).json
    assert {name: after[name] for name in changed} == changed
    assert place.ask(path, Role.ADMINISTRATOR, method="DELETE").json == {"removed": webhook_id}
    assert place.ask(path, Role.ADMINISTRATOR).status == 404
    entries = place.accesses.newest(limit=5)
    assert [entry.what for entry in entries] == ["webhook-removed", "webhook-changed", "webhook-made"]
    assert entries[2].details["host"] == "hooks.example.com"
    assert "s3cret" not in str(entries)


def test_an_act_and_its_record_are_there_both_or_neither(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever of them fails; what changed nothing, or was refused, is not recorded as done."""
    url = {"url": "https://hooks.example.com/", "events": ["export.finished"]}

    def ask(method: str, path: str, body: object = None, role: Role = Role.ADMINISTRATOR) -> int:
        return place.ask(path, role, method=method, body=body).status

    webhook_id = place.ask("/webhooks", Role.ADMINISTRATOR, method="POST", body=url).json["id"]
    path = f"/webhooks/{webhook_id}"
    kept = place.ask(path, Role.ADMINISTRATOR).json
    before = place.accesses.newest(limit=1)
    assert ask("PATCH", path, {"state": "active", "events": ["export.finished"]}) == 200
    assert ask("PATCH", path, {}) == 200
    assert place.accesses.newest(limit=1) == before

    def failing(self: AccessLog, *arguments: Any, **details: Any) -> int:
        append(self, *arguments, **details)
        raise StoreUnavailable("the disk is full")

    append = AccessLog.append
    monkeypatch.setattr(AccessLog, "append", failing)
    assert ask("POST", "/webhooks", url) == 503
    assert ask("PATCH", path, {"state": "disabled"}) == 503
    assert ask("POST", f"{path}/secret", {}) == 503
    assert ask("DELETE", path) == 503
    assert ask("POST", "/exports", {}, Role.ANALYST) == 503
    monkeypatch.undo()
    assert place.ask("/webhooks", Role.ADMINISTRATOR).json == {"webhooks": [kept]}
    assert place.ask("/exports", Role.ANALYST).json == {"exports": []}
    assert place.accesses.newest(limit=1) == before
    # An older state of the log was put back: that is found out before anything is done.
    with place.database.writing() as connection:
        connection.execute("DELETE FROM record")
        connection.execute("DELETE FROM tile")
    assert ask("POST", "/webhooks", url) == 503
    assert place.ask("/webhooks", Role.ADMINISTRATOR).json == {"webhooks": [kept]}


def test_a_secret_is_rotated_through_the_api(place: Place) -> None:
    """It is in that answer and in no other; a key that is sent twice gets the same one."""
    body = {"url": "https://hooks.example.com/", "events": ["export.finished"]}
    made = place.ask("/webhooks", Role.ADMINISTRATOR, method="POST", body=body).json
    path = f"/webhooks/{made['id']}/secret"

    def rotated(body: object, **headers: str) -> Answer:
        return place.ask(path, Role.ADMINISTRATOR, method="POST", body=body, headers=headers)

    first = rotated({}, **{"idempotency-key": '"k-1"'})
    assert (first.status, first.headers["cache-control"]) == (200, "no-store")
    assert first.json["secret"].startswith("whsec_")
    assert first.json["secret"] != made["secret"]
    assert first.json["former_secret_until"] == "2026-01-03T00:00:00.000Z"
    assert rotated({}, **{"idempotency-key": '"k-1"'}).json == first.json
    shown = place.ask(path.removesuffix("/secret"), Role.ADMINISTRATOR).json
    assert ("secret" in shown, shown["former_secret_until"]) == (False, "2026-01-03T00:00:00.000Z")
    assert rotated({"keep_hours": 0}).json["former_secret_until"] is None
    for hours in (-1, 169, 1.5, "1", True, None, 10**400):
        answer = rotated({"keep_hours": hours})
        assert (answer.status, "keep_hours: a whole number" in answer.json["error"]["message"]) == (400, True)
    assert rotated({"keep": 1}).status == 400
    path = "/webhooks/whk_none/secret"
    assert rotated({}).status == 404
    whats = [(entry.what, entry.details.get("keep_hours")) for entry in place.accesses.newest(limit=3)]
    assert whats == [("webhook-secret-rotated", 0), ("webhook-secret-rotated", 24), ("webhook-made", None)]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"url": "https://192.168.0.1/", "events": ["export.finished"]}, "url: it leads into a network"),
        ({"url": "https://h.example/", "events": []}, "events: some of receipts.recorded"),
        ({"url": "https://h.example/", "events": ["all"]}, "events: some of"),
        ({"url": "https://h.example/", "events": [{}]}, "events: some of"),
        ({"events": ["export.finished"]}, "url: an address"),
        ({"url": "https://h.example/", "events": ["export.finished"], "secret": "x"}, "body: it may have"),
    ],
)
def test_a_webhook_is_read_strictly(place: Place, body: Any, message: str) -> None:
    """What is not understood is refused."""
    answer = place.ask("/webhooks", Role.ADMINISTRATOR, method="POST", body=body)
    assert (answer.status, answer.json["error"]["message"].startswith(message)) == (400, True), answer.body


def test_there_are_only_so_many(place: Place) -> None:
    """More are refused."""
    body = {"url": "https://hooks.example.com/", "events": ["export.finished"]}
    for _ in range(MAX_WEBHOOKS):
        assert place.ask("/webhooks", Role.ADMINISTRATOR, method="POST", body=body).status == 201
    answer = place.ask("/webhooks", Role.ADMINISTRATOR, method="POST", body=body)
    assert (answer.status, answer.json["error"]["code"]) == (409, "too-many-webhooks")


def test_the_office_sends_what_happens_by_itself(place: Place) -> None:
    """An access and an export, without a visitor in it, seconds after."""
    with receiver() as there:
        body = {"url": there.url, "events": ["access.recorded", "export.finished"]}
        answer = place.ask("/webhooks", Role.ADMINISTRATOR, method="POST", body=body)
        place.app.start()
        reason = {"consent-reason": "Jo Q. Example, complaint 12"}
        place.ask("/lookups", Role.OFFICER, method="POST", body={"subject": f"{7:032x}"}, headers=reason)
        place.ask("/exports", Role.OFFICER, method="POST", body={})
        there.wait(4)
    sent = [each.json for each in there.received]
    assert [each["data"].get("what") for each in sent] == ["webhook-made", "looked-up", "exported", None]
    assert (sent[3]["type"], sent[3]["data"]["state"], sent[3]["data"]["rows_done"]) == (
        "export.finished",
        "done",
        60,
    )
    assert all(is_signed(each, answer.json["secret"]) for each in there.received)
    said = b"".join(each.body for each in there.received)
    assert b"complaint" not in said
    assert f"{7:032x}".encode() not in said


def test_the_console_lists_and_disables(place: Place) -> None:
    """Who may not follow events sees no such page."""
    body = {"url": "https://hooks.example.com/<b>", "events": ["export.finished"]}
    webhook_id = place.ask("/webhooks", Role.ADMINISTRATOR, method="POST", body=body).json["id"]
    jo = signed_in(place, Role.ADMINISTRATOR)
    page = jo.get("/webhooks").body.decode()
    assert "https://hooks.example.com/&lt;b&gt;" in page
    assert jo.post(f"/webhooks/{webhook_id}", {"state": "disabled"}).status == 303
    assert place.ask(f"/webhooks/{webhook_id}", Role.ADMINISTRATOR).json["state"] == "disabled"
    assert 'value="active"' in jo.get("/webhooks").body.decode()
    assert jo.post(f"/webhooks/{webhook_id}", {"state": "gone"}).status == 404
    other = signed_in(place, Role.OFFICER)
    assert other.get("/webhooks").status == 403
    assert other.post(f"/webhooks/{webhook_id}", {"state": "active"}).status == 403


def test_the_console_registers_rotates_and_removes(place: Place) -> None:
    """A secret is on the page that answers, which nobody keeps. A form that is sent again does nothing."""
    jo = signed_in(place, Role.ADMINISTRATOR)

    def tag(page: str) -> str:
        return re.findall(r'name="secret" value="([0-9a-f]+)"', page)[0]  # type: ignore[no-any-return]

    form = {
        "url": " https://hooks.example.com/x ",
        "event-export.finished": "on",
        "event-integrity.failed": "on",
    }
    assert "https, as" not in jo.get("/webhooks").body.decode()
    page = jo.post("/webhooks", form)
    (secret,) = re.findall(r"whsec_[A-Za-z0-9+/=]+", page.body.decode())
    assert (page.status, page.headers["cache-control"]) == (200, "no-store")
    (webhook,) = place.ask("/webhooks", Role.ADMINISTRATOR).json["webhooks"]
    assert webhook["url"] == "https://hooks.example.com/x"
    assert webhook["events"] == ["export.finished", "integrity.failed"]
    again = jo.post("/webhooks", form)
    assert (again.status, "already" in again.body.decode(), "whsec_" in again.body.decode()) == (
        400,
        True,
        False,
    )
    path = f"/webhooks/{webhook['id']}"
    listed = jo.get("/webhooks").body.decode()
    assert secret not in listed
    assert f'action="/_consent/office{path}/secret"' in listed
    rotation = {"keep": "24", "secret": tag(listed)}
    page = jo.post(f"{path}/secret", rotation)
    (other,) = re.findall(r"whsec_[A-Za-z0-9+/=]+", page.body.decode())
    assert other != secret
    assert "signs, too, until 2026-01-03 00:00" in page.body.decode()
    assert jo.post(f"{path}/secret", rotation).status == 409
    assert "until 2026-01-03 00:00" in jo.get("/webhooks").body.decode()
    for wrong in ({"keep": "25", "secret": "x"}, {}):
        assert jo.post(f"{path}/secret", wrong).status == 400
    assert jo.post("/webhooks/whk_none/secret", rotation).status == 404
    # Also where no former one is kept: the secret that was just copied goes on.
    at_once = {"keep": "0", "secret": tag(jo.get("/webhooks").body.decode())}
    page = jo.post(f"{path}/secret", at_once)
    (other,) = re.findall(r"whsec_[A-Za-z0-9+/=]+", page.body.decode())
    assert jo.post(f"{path}/secret", at_once).status == 409
    webhooks = place.app.desk.webhooks
    (signing,) = webhooks.signing_secrets(webhooks.all()[0])
    assert f"whsec_{base64.b64encode(signing).decode()}" == other
    for wrong, said in (
        ({"url": "https://10.0.0.1/", "event-export.finished": "on"}, "not public"),
        ({"url": "https://other.example/"}, "Choose some events"),
    ):
        answer = jo.post("/webhooks", wrong)
        assert (answer.status, said in answer.body.decode()) == (400, True)
    assert jo.post(f"{path}/removal", {}).headers["location"] == "/_consent/office/webhooks"
    assert jo.post(f"{path}/removal", {}).status == 404
    assert place.ask("/webhooks", Role.ADMINISTRATOR).json == {"webhooks": []}
    whats = [entry.what for entry in place.accesses.newest(limit=4)]
    assert whats == ["webhook-removed", "webhook-secret-rotated", "webhook-secret-rotated", "webhook-made"]
    officer = signed_in(place, Role.OFFICER)
    for post in ("/webhooks", f"{path}/secret", f"{path}/removal"):
        assert officer.post(post, form).status == 403


def invoke(place: Place, *arguments: str) -> Any:
    return CliRunner().invoke(main, ["office", *arguments, "--data", str(place.folder.path)])


def test_the_command_line_makes_lists_and_removes(place: Place) -> None:
    """The secret is alone on the standard output."""
    made = invoke(place, "webhooks", "--add", "https://hooks.example.com/", "--event", "export.finished")
    assert made.exit_code == 0, made.output
    assert made.stdout.startswith("whsec_")
    webhook_id = made.stderr.partition(":")[0]
    (line,) = invoke(place, "webhooks", "--json").stdout.splitlines()
    assert (json.loads(line)["id"], json.loads(line)["events"]) == (webhook_id, ["export.finished"])
    assert invoke(place, "webhooks", "--disable", webhook_id).stdout == "disabled\n"
    assert "disabled" in invoke(place, "webhooks").stdout
    assert invoke(place, "webhooks", "--enable", webhook_id).stdout == "active\n"
    rotated = invoke(place, "webhooks", "--rotate", webhook_id, "--keep-hours", "1")
    assert rotated.stdout.startswith("whsec_")
    assert rotated.stdout != made.stdout
    assert invoke(place, "webhooks", "--rotate", "whk_none").exit_code == 1
    assert invoke(place, "webhooks", "--remove", webhook_id).stdout == "removed\n"
    gone = invoke(place, "webhooks", "--remove", webhook_id)
    assert (gone.exit_code, f"there is no webhook '{webhook_id}'" in gone.stderr) == (1, True)
    refused = invoke(place, "webhooks", "--add", "https://10.0.0.1/")
    assert (refused.exit_code, "not public" in refused.stderr) == (1, True)
    assert invoke(place, "webhooks", "--add", "https://x.example/", "--remove", "x").exit_code == 2


def test_nothing_is_lost_when_the_process_is_killed(place: Place) -> None:
    """Whoever comes next sends on from there; one that was not answered is sent again with the same id."""
    with receiver() as there:
        going = threading.Event()

        def slow(number: int) -> tuple[int, dict[str, str]]:
            if number == 3:
                going.set()
                time.sleep(1.0)
            return 204, {}

        there.answering = slow
        place.ask(
            "/webhooks",
            Role.ADMINISTRATOR,
            method="POST",
            body={"url": there.url, "events": ["access.recorded"]},
        )
        for _ in range(5):
            signed_in(place, Role.READER)
        environment = {**os.environ, "CONSENT_WEBHOOK_NETWORKS": "127.0.0.0/8"}
        command = [
            str(Path(sys.executable).with_name("consent")),
            "office",
            "deliver",
            "--data",
            str(place.folder.path),
        ]
        with subprocess.Popen(command, env=environment) as first:
            assert going.wait(30)
            with subprocess.Popen(command, env=environment) as second:
                time.sleep(0.3)
                assert len(there.received) == 3  # it is the first one's turn
                first.send_signal(signal.SIGKILL)
                first.wait()
                there.wait(7)
                second.send_signal(signal.SIGTERM)
                assert second.wait(30) == 0
    ids = [each.headers["webhook-id"] for each in there.received]
    assert ids[2] == ids[3]
    assert len(set(ids)) == 6
    assert [int(each[4:]) for each in ids] == sorted(int(each[4:]) for each in ids)


def test_a_broken_database_of_the_office_stops_nothing_else(place: Place) -> None:
    """It is logged, and tried again."""
    place.app.start()
    with contextlib.closing(sqlite3.connect(place.folder.office_path)) as connection:
        connection.execute("ALTER TABLE event RENAME TO other")
        connection.commit()
    time.sleep(0.3)
    for each in place.app._background:
        assert each._thread is not None
        assert each._thread.is_alive()
