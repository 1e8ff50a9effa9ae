"""What happens, for log systems: as a stream, as messages of RFC 5424, and from a log that is watched."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from consent.cli import main
from consent.errors import ConfigurationError
from consent.office import events as events_module
from consent.office import watching
from consent.office.app import Office
from consent.office.database import OfficeDatabase
from consent.office.events import MAX_STREAMS, Event, Events, EventType, add_event
from consent.office.roles import Role
from consent.office.syslog import Place as To
from consent.office.syslog import message, place
from consent.office.watching import LogWatch
from consent.sqlite_log import SQLiteReceiptLog
from consent.sqlite_store import SQLiteStore
from tests.test_office_access import Clock
from tests.test_office_api import NOW, Place
from tests.test_office_console import signed_in, text
from tests.test_receipts import SHOWN, make_receipt


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path / "data")
    yield made
    made.app.stop()


def happen(office: Place, *types: EventType, **data: object) -> None:
    with OfficeDatabase(office.folder.office_path).writing() as connection:
        for type in types:
            add_event(connection, 1_767_225_600_123, type, **data)


def lines(body: bytes) -> list[Any]:
    return [json.loads(line) for line in body.splitlines()]


def test_a_stream_goes_on_where_it_ended(office: Place) -> None:
    """Lines of JSON, the earliest first; only what is asked for."""
    happen(office, EventType.EXPORT_FINISHED, EventType.INTEGRITY_FAILED, problem="x")
    answer = office.ask("/stream", Role.ADMINISTRATOR)
    assert (answer.headers["content-type"], answer.headers["cache-control"]) == (
        "application/jsonl",
        "no-store",
    )
    first, second = lines(answer.body)
    assert first == {
        "id": "evt_1", "number": 1, "type": "export.finished", "timestamp": "2026-01-01T00:00:00.123Z",
        "data": {"problem": "x"},
    }  # fmt: skip
    assert lines(office.ask("/stream?after=1", Role.ADMINISTRATOR).body) == [second]
    assert office.ask("/stream?after=2", Role.ADMINISTRATOR).body == b""
    assert lines(office.ask("/stream?types=integrity.failed", Role.ADMINISTRATOR).body) == [second]
    assert office.ask("/stream", Role.ADMINISTRATOR, method="HEAD").body == b""
    for query in ("after=-1", "after=x", "wait=301", "types=all", "after=1&after=2"):
        assert office.ask(f"/stream?{query}", Role.ADMINISTRATOR).status == 400


def test_a_stream_waits_for_more(office: Place) -> None:
    """What happens meanwhile is sent at once; it ends in time."""
    later = threading.Timer(0.3, happen, (office, EventType.EXPORT_FINISHED))
    later.start()
    began = time.monotonic()
    (event,) = lines(office.ask("/stream?wait=2", Role.ADMINISTRATOR).body)
    assert event["number"] == 1
    assert 1.9 < time.monotonic() - began < 6
    later.join()


def test_a_stream_that_nobody_reads_takes_no_place(office: Place) -> None:
    """Whoever is gone before the answer begins leaves no stream behind that counts as open."""

    async def gone(*_: object) -> Any:
        raise OSError("the browser is gone")

    async def ask() -> None:
        secret = office.secrets[Role.ADMINISTRATOR]
        scope = {
            "type": "http", "method": "GET", "scheme": "https", "path": "/_consent/api/v1/stream",
            "query_string": b"wait=60", "headers": [(b"authorization", f"Bearer {secret}".encode())],
        }  # fmt: skip
        with contextlib.suppress(OSError):
            await office.app(scope, gone, gone)

    for _ in range(MAX_STREAMS):
        asyncio.run(ask())
    assert office.ask("/stream", Role.ADMINISTRATOR).status == 200


def test_only_so_many_streams_are_open(office: Place) -> None:
    """One more is refused; each that ends makes room, also one that nobody reads any more."""
    events = office.app._api._desk.events

    async def open_all() -> None:
        streams = [events.follow(0, types=(), wait_seconds=60) for _ in range(MAX_STREAMS)]
        for each in streams:
            await anext(each)
        refused = await asyncio.to_thread(office.ask, "/stream", Role.ADMINISTRATOR)
        assert (refused.status, refused.json["error"]["code"]) == (429, "too-many-streams")
        for each in streams:
            await each.aclose()

    asyncio.run(open_all())
    for _ in range(2 * MAX_STREAMS):
        assert office.ask("/stream", Role.ADMINISTRATOR, method="HEAD").status == 200
        assert office.ask("/stream?wait=60", Role.ADMINISTRATOR, ends_early=True).status == 200


def test_the_oldest_events_go(office: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a database does not grow without end; numbers are never used twice."""
    monkeypatch.setattr(events_module, "MAX_EVENTS", 3)
    happen(office, *[EventType.EXPORT_FINISHED] * 5)
    events = Events(OfficeDatabase(office.folder.office_path))
    assert [each.number for each in events.after(0, limit=50)] == [3, 4, 5]
    assert events.last_number() == 5
    with contextlib.closing(sqlite3.connect(office.folder.office_path)) as connection:
        connection.execute("DELETE FROM event")
        connection.commit()
    happen(office, EventType.EXPORT_FINISHED)
    assert [each.number for each in events.after(0, limit=50)] == [6]


# ---- RFC 5424


def test_a_message_is_as_the_standard_has_it() -> None:
    """Facility, severity, time, host, and structured data in which nothing ends early."""
    event = Event(
        7, 1_767_225_600_123, EventType.ACCESS_RECORDED, {"who": 'Jo "]\\ Ö\nx', "leaf": 3, 'a b=]"': 1}
    )
    sent = message(event, host="shop 1.example\n", enterprise=99)
    head, _, rest = sent.partition(b"\xef\xbb\xbf")
    assert head.decode() == (
        "<110>1 2026-01-01T00:00:00.123Z shop1.example consent-office - access.recorded "
        '[consent@99 id="evt_7" number="7" who="Jo \\"\\]\\\\ Ö x" leaf="3" ab="1"] '
    )
    assert json.loads(rest) == json.loads(event.line())
    assert b"\n" not in sent
    failed = Event(8, 0, EventType.INTEGRITY_FAILED, {})
    assert message(failed, host="").startswith(
        b"<106>1 1970-01-01T00:00:00.000Z - consent-office - integrity.failed "
    )


@pytest.mark.parametrize(
    ("text", "to"),
    [
        ("tcp://logs.example.com:601", To("tcp", "logs.example.com", 601)),
        ("udp://[::1]:514", To("udp", "::1", 514)),
        ("unix:///dev/log", To("unix", "/dev/log")),
    ],
)
def test_where_messages_go(text: str, to: To) -> None:
    """Three kinds of addresses."""
    assert place(text) == to


@pytest.mark.parametrize(
    "text",
    ["logs.example.com", "tcp://logs.example.com", "tcp://x:99999", "tls://x:1", "unix://host/x", "unix:x"],
)
def test_another_address_is_none(text: str) -> None:
    """It says which there are."""
    with pytest.raises(ConfigurationError, match="none of tcp://host:port"):
        place(text)


def invoke(office: Place, *arguments: str) -> Any:
    return CliRunner().invoke(main, ["office", "stream", *arguments, "--data", str(office.folder.path)])


def test_the_command_line_writes_and_remembers(office: Place, tmp_path: Path) -> None:
    """From where it ended last; a file that holds no number is not guessed at."""
    happen(office, EventType.EXPORT_FINISHED, EventType.EXPORT_FINISHED)
    cursor = tmp_path / "cursor"
    result = invoke(office, "--cursor", str(cursor))
    assert [each["number"] for each in lines(result.stdout_bytes)] == [1, 2]
    assert cursor.read_text() == "2\n"
    assert invoke(office, "--cursor", str(cursor)).stdout == ""
    happen(office, EventType.EXPORT_FINISHED)
    assert [each["number"] for each in lines(invoke(office, "--cursor", str(cursor)).stdout_bytes)] == [3]
    assert [each["number"] for each in lines(invoke(office, "--after", "1").stdout_bytes)] == [2, 3]
    cursor.write_text("x")
    result = invoke(office, "--cursor", str(cursor))
    assert (result.exit_code, "holds no number of an event" in result.stderr) == (1, True)


def test_on_tcp_messages_are_counted(office: Place) -> None:
    """RFC 6587, octet counting: lengths are bytes; lines of JSON end with a newline."""
    happen(office, EventType.EXPORT_FINISHED, EventType.INTEGRITY_FAILED, problem="Läuft")

    def received(form: str) -> bytes:
        got: list[bytes] = []

        def take() -> None:
            connection, _ = listener.accept()
            with connection:
                while data := connection.recv(65_536):
                    got.append(data)

        with socket.create_server(("127.0.0.1", 0)) as listener:
            thread = threading.Thread(target=take)
            thread.start()
            result = invoke(office, "--format", form, "--to", f"tcp://127.0.0.1:{listener.getsockname()[1]}")
            assert result.exit_code == 0, result.output
            thread.join()
        return b"".join(got)

    rest, messages = received("rfc5424"), []
    while rest:
        length, _, rest = rest.partition(b" ")
        messages.append(rest[: int(length)])
        rest = rest[int(length) :]
    assert [re.match(rb"<(\d+)>1 ", each)[1] for each in messages] == [b"110", b"106"]  # type: ignore[index]
    assert json.loads(messages[1].partition(b"\xef\xbb\xbf")[2])["data"] == {"problem": "Läuft"}
    assert [each["number"] for each in lines(received("jsonl"))] == [1, 2]


def test_datagrams_have_one_message_each(office: Place, tmp_path: Path) -> None:
    """On UDP, and on the socket that a system's own log has."""
    happen(office, EventType.EXPORT_FINISHED, EventType.EXPORT_FINISHED)
    path = tmp_path / "log"
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as local,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as network,
    ):
        local.bind(str(path))
        network.bind(("127.0.0.1", 0))
        for receiving, to in (
            (local, f"unix://{path}"),
            (network, f"udp://127.0.0.1:{network.getsockname()[1]}"),
        ):
            receiving.settimeout(5)
            assert invoke(office, "--format", "rfc5424", "--to", to).exit_code == 0
            got = [receiving.recv(65_536) for _ in range(2)]
            assert [b' number="1"' in got[0], b' number="2"' in got[1]] == [True, True]


def test_who_cannot_be_reached_is_named(office: Place, tmp_path: Path) -> None:
    """And nothing is remembered as sent."""
    happen(office, EventType.EXPORT_FINISHED)
    cursor = tmp_path / "cursor"
    result = invoke(office, "--to", f"unix://{tmp_path}/nowhere", "--cursor", str(cursor))
    assert (result.exit_code, "cannot be reached" in result.stderr) == (1, True)
    assert not cursor.exists()


# ---- the log is watched


class Watched:
    """A log of receipts, and who looks at it."""

    def __init__(self, office: Place) -> None:
        self.office = office
        self.clock = Clock()
        self.database = OfficeDatabase(office.folder.office_path)
        self.watch = LogWatch(self.database, self.clock)
        self._number = 100

    def record(self, number: int) -> None:
        async def fill() -> None:
            store = SQLiteStore(self.office.folder.receipts_path, self.office.keys, clock=lambda: NOW)
            for _ in range(number):
                self._number += 1
                await store.append(make_receipt(self._number, shown_hash=SHOWN.hash), [SHOWN])
            await store.aclose()

        asyncio.run(fill())

    def look(self) -> list[tuple[str, dict[str, Any]]]:
        """Look, and return what happened since the last time."""
        before = Events(self.database).last_number()
        with SQLiteReceiptLog(self.office.folder.receipts_path, self.office.keys) as log:
            self.watch.look(log)
        return [(str(each.type), dict(each.data)) for each in Events(self.database).after(before, limit=50)]


def test_new_receipts_are_told_of_by_their_leaves(office: Place) -> None:
    """Each once, at most once a minute; nothing of what was there before."""
    watched = Watched(office)
    assert watched.look() == []
    watched.record(3)
    assert watched.look() == [("receipts.recorded", {"first_leaf": 60, "last_leaf": 62})]
    watched.record(2)
    assert watched.look() == []
    watched.clock.now += watching.BATCH_SECONDS
    assert watched.look() == [("receipts.recorded", {"first_leaf": 63, "last_leaf": 64})]
    watched.clock.now += watching.BATCH_SECONDS
    assert watched.look() == []


def test_a_log_that_was_put_back_is_noticed(office: Place) -> None:
    """Once, not each time that it is looked at."""
    watched = Watched(office)
    path = office.folder.receipts_path
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    before = path.read_bytes()
    watched.look()
    watched.record(3)
    watched.look()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    path.write_bytes(before)
    problem = "the log has 60 leaves, and had 63"
    assert watched.look() == [("integrity.failed", {"problem": problem})]
    assert watched.look() == []
    found = office.ask("/integrity", Role.READER).json
    assert (found["verified"], found["problem"], found["size"]) == (False, problem, 60)
    assert f"It is not whole: {problem}." in text(signed_in(office, Role.READER).get())


def test_what_was_put_back_is_told_of_until_the_log_goes_on_from_what_was_seen(office: Place) -> None:
    """Not by growing, nor by anybody's word: with its own leaves again, or when another log is begun."""
    watched = Watched(office)
    path = office.folder.receipts_path

    def keep() -> dict[Path, bytes]:
        with contextlib.closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return {each: each.read_bytes() for each in (path, Path(f"{path}.checkpoint"))}

    def put_back(files: dict[Path, bytes]) -> None:
        for each, content in files.items():
            each.write_bytes(content)

    older = keep()
    watched.look()
    watched.record(3)
    watched.look()
    right = keep()
    put_back(older)
    watched.look()
    watched.record(5)
    problem = "the first 63 leaves are not those that were seen before"
    assert watched.look() == [("integrity.failed", {"problem": problem})]
    assert office.ask("/integrity", Role.READER).json["problem"] == problem
    put_back(right)
    assert watched.look() == []
    assert office.ask("/integrity", Role.READER).json["verified"]
    put_back(older)
    watched.look()
    for each in path.parent.glob(f"{path.name}*"):
        each.unlink()
    watched.record(1)
    watched.look()
    begun = Office("/_consent", office.folder, lambda: SQLiteReceiptLog(path, office.keys), watched.clock)
    assert begun.desk.integrity().verified


def test_an_altered_tree_is_noticed(office: Place) -> None:
    """Leaves are held against what was signed."""
    watched = Watched(office)
    watched.look()
    with contextlib.closing(sqlite3.connect(office.folder.receipts_path)) as connection:
        connection.execute("UPDATE record SET commitment = zeroblob(32) WHERE leaf = 3")
        connection.commit()
    ((type, data),) = watched.look()
    assert (type, data["problem"]) == (
        "integrity.failed", "the tree of 60 leaves is not the one that was signed",
    )  # fmt: skip


def test_an_altered_log_of_accesses_is_noticed(office: Place) -> None:
    """Once an hour all of it is read."""
    watched = Watched(office)
    office.accesses.append("Jo", "opened")
    events = Events(watched.database)
    watched.watch.look_at_accesses(office.accesses)
    with contextlib.closing(sqlite3.connect(office.folder.office_path)) as connection:
        connection.execute("UPDATE record SET body = replace(body, 'Jo', 'Al')")
        connection.commit()
    watched.watch.look_at_accesses(office.accesses)
    assert [each.type for each in events.after(1, limit=9)] == []
    for _ in range(2):
        watched.clock.now += watching.VERIFY_SECONDS
        watched.watch.look_at_accesses(office.accesses)
    ((type, data),) = [(each.type, each.data) for each in events.after(1, limit=9)]
    assert type is EventType.INTEGRITY_FAILED
    assert data["problem"].startswith("the log of accesses: entry 0 is not the one that was recorded")
