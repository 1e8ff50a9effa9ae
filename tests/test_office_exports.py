"""Exports as jobs: ordered, written one after the other, kept for some days; and what becomes of interrupted ones."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consent.errors import SealBrokenError
from consent.office import export_writer as writer_module
from consent.office.export_jobs import KEEP_DAYS, LIST_DAYS
from consent.office.export_writer import MAX_ATTEMPTS, ExportWriter
from consent.office.exports import MAX_OPEN
from consent.office.ranges import pieces_of, served
from consent.office.roles import Role
from consent.office.turn import Turn
from consent.receipt_search import Found
from consent.sqlite_log import SQLiteReceiptLog
from tests.test_office_api import REASON, RECEIPTS, Place
from tests.test_office_console import signed_in


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "data")


def ordered(place: Place, role: Role = Role.OFFICER, **body: object) -> str:
    answer = place.ask("/exports", role, method="POST", body=body, headers=REASON)
    assert answer.status == 202, answer.body
    return str(answer.json["id"])


def settled(place: Place, job_id: str, role: Role = Role.OFFICER) -> Any:
    """Return an export once it is neither waiting nor running."""
    deadline = time.monotonic() + 20
    while (job := place.ask(f"/exports/{job_id}", role).json)["state"] in ("waiting", "running"):
        assert time.monotonic() < deadline, job
        time.sleep(0.02)
    return job


@pytest.fixture(autouse=True)
def _ended(place: Place) -> Any:
    yield
    place.app.stop()


def test_an_export_is_ordered_and_downloaded(place: Place) -> None:
    """Where it is, how far, what its file is; the file says what the log says, and is its owner's alone."""
    answer = place.ask(
        "/exports", Role.OFFICER, method="POST", headers=REASON,
        body={"rows": "records", "filters": {"site": "Example shop", "performance": True}},
    )  # fmt: skip
    assert answer.status == 202
    job_id = answer.json["id"]
    assert answer.headers["location"] == f"/_consent/api/v1/exports/{job_id}"
    assert (answer.json["state"], answer.json["filters"]) in (
        (state, {"performance": "true", "site": "Example shop"}) for state in ("waiting", "running", "done")
    )
    job = settled(place, job_id)
    wanted = [
        each.canonical_bytes()
        for number, each in enumerate(RECEIPTS)
        if each.site == "Example shop" and number % 2
    ]
    content = b"\n".join([*wanted, b""])
    assert {name: job[name] for name in ("state", "rows_done", "rows_estimated", "bytes", "sha256", "problem")} == {
        "state": "done", "rows_done": 24, "rows_estimated": 24, "bytes": len(content),
        "sha256": sha256(content).hexdigest(), "problem": "",
    }  # fmt: skip
    assert job["expires"] == "2026-01-05T00:00:00.000Z"
    file = place.ask(f"/exports/{job_id}/content", Role.OFFICER)
    assert file.body == content
    assert file.headers["content-length"] == str(len(content))
    assert file.headers["content-disposition"] == (
        f'attachment; filename="consent-records-2026-01-02-{job_id}.jsonl"'
    )
    assert file.headers["repr-digest"].startswith("sha-256=:")
    assert file.headers["cache-control"] == "no-store"
    kept = place.folder.exports_path / f"{job_id}.jsonl"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert stat.S_IMODE(kept.parent.stat().st_mode) == 0o700
    downloaded, exported = place.accesses.newest(limit=2)
    assert (downloaded.what, downloaded.details["export"]) == ("downloaded", job_id)
    assert (exported.what, exported.reason) == ("exported", "complaint 12")


def ready(place: Place, **body: object) -> tuple[str, bytes, str]:
    """Return where the file of an export is, its bytes and its tag."""
    path = f"/exports/{ordered(place, Role.OFFICER, **body)}/content"
    settled(place, path.split("/")[2])
    whole = place.ask(path, Role.OFFICER)
    assert whole.headers["accept-ranges"] == "bytes"
    assert whole.headers["etag"] == f'"{sha256(whole.body).hexdigest()}"'
    return path, whole.body, whole.headers["etag"]


def test_a_download_that_broke_off_goes_on(place: Place) -> None:
    """In the API and in the console; each part is recorded, with which bytes it was."""
    path, whole, tag = ready(place, rows="records")
    got = whole[:1_000]
    rest = place.ask(path, Role.OFFICER, headers={"range": "bytes=1000-", "if-range": tag})
    size = len(whole)
    assert (rest.status, got + rest.body == whole) == (206, True)
    assert rest.headers["content-range"] == f"bytes 1000-{size - 1}/{size}"
    assert (rest.headers["content-length"], rest.headers["etag"]) == (str(size - 1_000), tag)
    assert rest.headers["repr-digest"].startswith("sha-256=:")
    entry, before = place.accesses.newest(limit=2)
    assert (entry.what, entry.details["first_byte"], entry.details["last_byte"]) == (
        "downloaded",
        1_000,
        size - 1,
    )
    assert "first_byte" not in before.details
    jo = signed_in(place, Role.OFFICER)
    shown = jo.get(path.removesuffix("/content"), range="bytes=-10")
    assert (shown.status, shown.body, shown.headers["content-range"]) == (
        206, whole[-10:], f"bytes {size - 10}-{size - 1}/{size}",
    )  # fmt: skip
    shown = jo.get(path.removesuffix("/content"), range=f"bytes={size}-")
    assert (shown.status, shown.headers["content-range"]) == (416, f"bytes */{size}")
    assert "Download all of it again" in shown.body.decode()


@pytest.mark.parametrize(
    ("asked", "status", "part"),
    [
        ("bytes=0-0", 206, (0, 0)), ("bytes=5-9", 206, (5, 9)), ("BYTES= 5-9 ", 206, (5, 9)),
        ("bytes=0-", 206, (0, -1)), ("bytes=-1", 206, (-1, -1)), ("bytes=-99999999999999999999999", 206, (0, -1)),
        (f"bytes=7-{'9' * 6_000}", 206, (7, -1)), (f"bytes={'0' * 6_000}7-8", 206, (7, 8)),
        # It has no such part.
        ("bytes=SIZE-", 416, None), ("bytes=SIZE-SIZE", 416, None), ("bytes=-0", 416, None),
        (f"bytes={'9' * 6_000}-", 416, None), (f"bytes={2**64}-{2**64 + 1}", 416, None),
        # Several, overlapping or not, and what is none: all of it.
        ("bytes=0-1,3-4", 200, (0, -1)), ("bytes=0-,0-,0-,0-", 200, (0, -1)), ("bytes=0-9,5-20", 200, (0, -1)),
        ("bytes=9-5", 200, (0, -1)), ("bytes=-", 200, (0, -1)), ("bytes=", 200, (0, -1)), ("bytes=a-b", 200, (0, -1)),
        ("bytes=-1-2", 200, (0, -1)), ("bytes=+1-2", 200, (0, -1)), ("bytes=\u0661-", 200, (0, -1)),
        ("lines=0-1", 200, (0, -1)), ("0-1", 200, (0, -1)), ("", 200, (0, -1)),
    ],
)  # fmt: skip
def test_one_range_is_a_part_of_the_file(asked: str, status: int, part: tuple[int, int] | None) -> None:
    """As RFC 9110, 14, has it; whatever is asked, no byte is sent that is not in the file."""
    size, whole = 1_000, bytes(range(250)) * 4
    headers = [(b"range", asked.replace("SIZE", str(size)).encode())]
    found = served("GET", headers, size=size, digest="ab")
    assert found.status == status
    sent = b"".join(pieces_of(io.BytesIO(whole), found))
    named = dict(found.headers)
    if part is None:
        assert (sent, named[b"content-range"], b"content-length" in named) == (b"", b"bytes */1000", False)
        return
    first, last = (at % size for at in part)
    assert (sent, named[b"content-length"]) == (whole[first : last + 1], b"%d" % (last - first + 1))
    assert named.get(b"content-range") == (b"bytes %d-%d/1000" % (first, last) if status == 206 else None)
    assert (named[b"etag"], named[b"accept-ranges"]) == (b'"ab"', b"bytes")
    assert served("HEAD", headers, size=size, digest="ab").status == 200
    assert served("GET", [*headers, *headers], size=size, digest="ab").status == 200


@given(st.binary(max_size=300), st.text("0123456789-,= bytes", max_size=30))
def test_no_range_reads_beyond_the_file(whole: bytes, asked: str) -> None:
    """Whatever is asked, what is sent is as long as is said, and is there in the file."""
    found = served("GET", [(b"range", f"bytes={asked}".encode())], size=len(whole), digest="ab")
    sent = b"".join(pieces_of(io.BytesIO(whole), found))
    assert len(sent) == found.length == int(dict(found.headers).get(b"content-length", b"0"))
    assert sent == whole[found.first : found.first + found.length]
    assert found.status in (200, 206, 416)


def test_a_part_is_of_the_file_that_is_meant(place: Place) -> None:
    """Of another one, all of it; who has it gets nothing; and what was not sent is not recorded as downloaded."""
    path, whole, tag = ready(place)

    def ask(method: str = "GET", **fields: str) -> tuple[int, int]:
        headers = {name.replace("_", "-"): value for name, value in fields.items()}
        answer = place.ask(path, Role.OFFICER, method=method, headers=headers)
        return answer.status, len(answer.body)

    size = len(whole)
    part = {"range": "bytes=0-9"}
    assert ask(**part, if_range=tag) == (206, 10)
    for other in (f"W/{tag}", '"x"', "Thu, 01 Jan 2026 00:00:00 GMT", f"{tag}, {tag}", "*"):
        assert ask(**part, if_range=other) == (200, size), other
    assert ask(**part, if_match=f'"x", {tag}') == ask(**part, if_match="*") == (206, 10)
    before = place.accesses.newest(limit=1)
    assert ask(**part, if_match='"x"')[0] == ask(if_match=f"W/{tag}")[0] == 412
    assert ask(if_none_match=f'"x", W/{tag}') == ask(if_none_match="*") == (304, 0)
    assert ask("HEAD", **part) == (200, 0)
    assert ask(range=f"bytes={size}-")[0] == 416
    assert place.accesses.newest(limit=1) == before
    assert ask(if_none_match='"x"') == (200, size)
    assert place.accesses.newest(limit=1) != before
    head = place.ask(path, Role.OFFICER, method="HEAD")
    assert (head.headers["content-length"], head.headers["etag"]) == (str(size), tag)


def test_a_part_of_a_large_file_is_read_in_constant_memory(tmp_path: Path) -> None:
    """From its place on, a piece at a time."""
    size, path = 256 * 1024 * 1024, tmp_path / "large"
    with open(path, "wb") as file:
        file.seek(size - 3)
        file.write(b"end")
    found = served("GET", [(b"range", b"bytes=1000000-")], size=size, digest="ab")
    tracemalloc.start()
    try:
        last, total = b"", 0
        for piece in pieces_of(open(path, "rb"), found):  # noqa: SIM115 - it closes it
            last, total = piece, total + len(piece)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (total, last[-3:], peak < 2 * 1024 * 1024) == (size - 1_000_000, b"end", True)


def test_a_file_that_was_cut_short_is_not_served(place: Place) -> None:
    """It would be taken for all of it."""
    path, whole, _ = ready(place)
    file = place.folder.exports_path / f"{path.split('/')[2]}.jsonl"
    file.write_bytes(whole[:-1])
    assert place.ask(path, Role.OFFICER).status == 503


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_a_job_writes_what_the_stream_gives(place: Place, form: str) -> None:
    """To the byte, in each form."""
    job_id = ordered(place, Role.ANALYST, form=form)
    settled(place, job_id, Role.ANALYST)
    assert (
        place.ask(f"/exports/{job_id}/content", Role.ANALYST).body
        == place.ask(f"/exports/receipts?form={form}", Role.ANALYST).body
    )


def test_only_who_ordered_it_sees_it(place: Place) -> None:
    """For all others it is not there; nor is a record exported by who may not, or without a reason."""
    job_id = ordered(place, Role.OFFICER, rows="records")
    settled(place, job_id)
    for path, method in (("", "GET"), ("/content", "GET"), ("", "DELETE")):
        assert place.ask(f"/exports/{job_id}{path}", Role.ANALYST, method=method).status == 404
    assert place.ask("/exports", Role.ANALYST).json == {"exports": []}
    assert [job["id"] for job in place.ask("/exports", Role.OFFICER).json["exports"]] == [job_id]
    asked = {"rows": "records"}
    refused = place.ask("/exports", Role.ANALYST, method="POST", body=asked, headers=REASON)
    assert (refused.status, refused.json["error"]["code"]) == (403, "not-allowed")
    refused = place.ask("/exports", Role.OFFICER, method="POST", body=asked)
    assert (refused.status, refused.json["error"]["code"]) == (428, "reason-missing")


def test_an_export_for_one_site_has_that_site_only(place: Place) -> None:
    """Whatever its filters ask."""
    secret, _ = place.book.make("Al Example", Role.ANALYST, sites=["Example blog"], days=1)
    job_id = place.ask("/exports", secret, method="POST", body={}).json["id"]
    deadline = time.monotonic() + 20
    while place.ask(f"/exports/{job_id}", secret).json["state"] != "done":
        assert time.monotonic() < deadline
        time.sleep(0.02)
    lines = place.ask(f"/exports/{job_id}/content", secret).body.splitlines()
    assert {json.loads(line)["site"] for line in lines} == {"Example blog"}
    assert len(lines) == 12


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"form": "xlsx"}, "form: one of jsonl, csv, parquet"),
        ({"rows": 1}, "rows: text"),
        ({"filters": {"subject": "x"}}, "filters: an object of from, to"),
        ({"filters": {"site": "a\x00"}}, "site: no control characters"),
        ({"filters": {"site": "\ud800"}}, "site: no control characters"),
        ({"filters": {"gpc": "perhaps"}}, "gpc: true or false"),
        ({"filters": []}, "filters: an object"),
        ({"ids": []}, "body: it may have form, rows, filters"),
    ],
)
def test_an_order_is_read_strictly(place: Place, body: Any, message: str) -> None:
    """What is not understood is refused, and nothing is recorded of it."""
    answer = place.ask("/exports", Role.OFFICER, method="POST", body=body)
    assert answer.status == 400
    assert answer.json["error"]["message"].startswith(message)
    assert place.accesses.newest(limit=1) == []


class Slow(SQLiteReceiptLog):
    """Waits before each page until it may go on."""

    page = threading.Semaphore(0)

    def found(self, *arguments: Any, **options: Any) -> Sequence[Found]:
        assert self.page.acquire(timeout=20)
        return super().found(*arguments, **options)


def test_progress_is_seen_and_it_can_be_cancelled(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """While it is written; the part of a file goes at once, and what waits behind it is written next."""
    monkeypatch.setattr("consent.receipt_export.PAGE_ROWS", 10)
    monkeypatch.setattr(writer_module, "_NOTE_SECONDS", 0.0)
    slow = Slow(place.folder.receipts_path, place.keys)
    monkeypatch.setattr(type(place.app._api._desk), "log", slow)
    Slow.page = threading.Semaphore(2)
    first, second = ordered(place), ordered(place)
    deadline = time.monotonic() + 20
    while (job := place.ask(f"/exports/{first}", Role.OFFICER).json)["rows_done"] < 20:
        assert time.monotonic() < deadline, job
        time.sleep(0.02)
    assert (job["state"], job["rows_estimated"]) == ("running", 60)
    assert place.ask(f"/exports/{second}", Role.OFFICER).json["state"] == "waiting"
    assert place.ask(f"/exports/{first}/content", Role.OFFICER).status == 404
    cancelled = place.ask(f"/exports/{first}", Role.OFFICER, method="DELETE").json
    assert cancelled["state"] == "cancelled"
    Slow.page.release(20)
    assert settled(place, second)["state"] == "done"
    assert place.ask(f"/exports/{first}", Role.OFFICER).json["state"] == "cancelled"
    assert sorted(os.listdir(place.folder.exports_path)) == [f"{second}.jsonl"]
    removed = place.ask(f"/exports/{second}", Role.OFFICER, method="DELETE").json
    assert removed["state"] == "removed"
    assert os.listdir(place.folder.exports_path) == []


def test_only_so_many_wait(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """More are refused with the reason, and when to come again."""
    monkeypatch.setattr(place.app._writing, "start", lambda: None)
    waiting = [ordered(place) for _ in range(MAX_OPEN)]
    before = place.accesses.newest(limit=1)
    answer = place.ask("/exports", Role.OFFICER, method="POST", body={})
    assert (answer.status, answer.json["error"]["code"]) == (429, "too-many-exports")
    assert place.accesses.newest(limit=1) == before  # what was refused was not exported
    assert before[0].details["export"] == waiting[-1]
    refused = signed_in(place, Role.OFFICER).post("/exports", {"rows": "index"})
    assert (refused.status, place.accesses.newest(limit=1)[0].what) == (429, "signed-in")
    assert answer.headers["retry-after"] == "60"
    assert f"{MAX_OPEN} of your exports are not done yet" in answer.json["error"]["message"]
    place.ask(f"/exports/{waiting[0]}", Role.OFFICER, method="DELETE")
    ordered(place)


def test_of_the_same_moment_the_one_ordered_first_is_first(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To be written; in the list it is the last one. Ids are random, and put nothing in order."""
    monkeypatch.setattr(place.app._writing, "start", lambda: None)
    orders = [ordered(place) for _ in range(MAX_OPEN)]
    told: list[str] = []
    monkeypatch.setattr(ExportWriter, "_tell", lambda _, job_id: told.append(job_id))
    write(place)
    assert told == orders
    listed = place.ask("/exports", Role.OFFICER).json["exports"]
    assert [job["id"] for job in listed] == orders[::-1]


def write(place: Place) -> None:
    """Write what waits, in this thread."""
    place.app.export_writer.work(
        lambda: SQLiteReceiptLog(place.folder.receipts_path, place.keys), threading.Event()
    )


def test_files_go_after_some_days(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """And later the order, too."""
    monkeypatch.setattr(place.app._writing, "start", lambda: None)
    job_id = ordered(place)
    write(place)
    assert not place.app.export_writer.waits()
    assert place.ask(f"/exports/{job_id}/content", Role.OFFICER).status == 200
    place.now += KEEP_DAYS * 86_400
    assert place.ask(f"/exports/{job_id}/content", Role.OFFICER).status == 404
    assert place.app.export_writer.waits()
    write(place)
    assert os.listdir(place.folder.exports_path) == []
    assert place.ask(f"/exports/{job_id}", Role.OFFICER).json["state"] == "removed"
    place.now = place.now - KEEP_DAYS * 86_400 + LIST_DAYS * 86_400 + 1
    secret, _ = place.book.make("Jo Example", Role.OFFICER, days=9)
    assert place.app.export_writer.waits()
    write(place)
    assert not place.app.export_writer.waits()
    assert place.ask("/exports", secret).json == {"exports": []}


def test_a_receipt_that_was_altered_fails_the_export(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """With words that name nobody; half a file is never there."""
    monkeypatch.setattr(place.app._writing, "start", lambda: None)

    def broken(*_: object, **_more: object) -> None:
        raise SealBrokenError(f"receipt {RECEIPTS[3].receipt_id}")

    monkeypatch.setattr(SQLiteReceiptLog, "records", broken)
    job_id = ordered(place, rows="records")
    write(place)
    job = place.ask(f"/exports/{job_id}", Role.OFFICER).json
    assert (job["state"], job["problem"]) == (
        "failed", "a receipt is not what was recorded: consent ledger verify says which",
    )  # fmt: skip
    assert os.listdir(place.folder.exports_path) == []


def test_what_nobody_foresaw_fails_one_export(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told of as the others are, and those that wait are written."""
    monkeypatch.setattr(place.app._writing, "start", lambda: None)
    records = SQLiteReceiptLog.records

    def broken(*_: object, **_more: object) -> None:
        monkeypatch.setattr(SQLiteReceiptLog, "records", records)
        raise RuntimeError("nobody foresaw it")

    monkeypatch.setattr(SQLiteReceiptLog, "records", broken)
    jobs = [ordered(place, rows="records"), ordered(place, rows="records")]
    write(place)
    states = {job_id: place.ask(f"/exports/{job_id}", Role.OFFICER).json["state"] for job_id in jobs}
    assert sorted(states.values()) == ["done", "failed"]
    events = place.ask("/stream?types=export.finished", Role.ADMINISTRATOR).body.splitlines()
    assert {each["data"]["export"]: each["data"]["state"] for each in map(json.loads, events)} == states


def test_an_export_leaves_room_on_the_disk(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that receipts can still be recorded."""
    monkeypatch.setattr(place.app._writing, "start", lambda: None)
    monkeypatch.setattr(writer_module, "_NOTE_SECONDS", 0.0)
    monkeypatch.setattr(writer_module, "MIN_FREE_BYTES", 2**62)
    job_id = ordered(place)
    write(place)
    job = place.ask(f"/exports/{job_id}", Role.OFFICER).json
    assert (job["state"], "the disk is nearly full" in job["problem"]) == ("failed", True)
    assert os.listdir(place.folder.exports_path) == []


def test_only_one_process_has_the_turn(tmp_path: Path) -> None:
    """Until it ends, however it ends."""
    turn = Turn(tmp_path / "lock")
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(tmp_path / "lock")], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    with holder, holder.stdout:
        assert holder.stdout.readline() == "True\n"
        with turn.taken() as taken:
            assert not taken
        holder.kill()
        holder.wait()
        with turn.taken() as taken, turn.taken() as again:
            assert (taken, again) == (True, False)


_HOLD = """
import sys, time
from pathlib import Path
from consent.office.turn import Turn
with Turn(Path(sys.argv[1])).taken() as taken:
    print(taken, flush=True)
    time.sleep(60)
"""

# Serves the office of a folder, and waits in the middle of an export.
_INTERRUPTED = """
import sys, threading, time
from pathlib import Path
import consent.receipt_export
from consent.data_folder import DataFolder
from consent.office import export_writer as writer_module
from consent.office.app import Office
from consent.sqlite_log import SQLiteReceiptLog
consent.receipt_export.PAGE_ROWS = 10
writer_module._NOTE_SECONDS = 0.0
class Slow(SQLiteReceiptLog):
    pages = 0
    def records(self, *arguments, **options):
        Slow.pages += 1
        if Slow.pages == 4:
            print("half", flush=True)
            time.sleep(60)
        return super().records(*arguments, **options)
folder = DataFolder(Path(sys.argv[1]))
log = Slow(folder.receipts_path, folder.ledger_keys())
office = Office("/_consent", folder, lambda: log, lambda: float(sys.argv[2]))
office.start()
time.sleep(60)
"""


def test_an_export_whose_process_was_killed_is_begun_again(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says so, and comes out whole; after some times it fails instead."""
    monkeypatch.setattr(place.app._writing, "start", lambda: None)
    job_id = ordered(place, rows="records")
    for attempt in range(1, MAX_ATTEMPTS + 1):
        process = subprocess.Popen(
            [sys.executable, "-c", _INTERRUPTED, str(place.folder.path), str(place.now)],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert process.stdout is not None
        with process, process.stdout:
            assert process.stdout.readline() == "half\n"
            process.send_signal(signal.SIGKILL)
        job = place.ask(f"/exports/{job_id}", Role.OFFICER).json
        assert (job["state"], job["attempts"], job["rows_done"]) == ("running", attempt, 30)
        if attempt == 1:
            assert os.listdir(place.folder.exports_path) == [f".{job_id}.part"]
            with _copied(place) as copy:
                write(copy)
                again = copy.ask(f"/exports/{job_id}", copy.secrets[Role.OFFICER]).json
                assert (again["state"], again["attempts"], again["rows_done"]) == ("done", 2, 60)
                content = copy.ask(f"/exports/{job_id}/content", Role.OFFICER).body
                assert content == b"".join(each.canonical_bytes() + b"\n" for each in RECEIPTS)
                assert os.listdir(copy.folder.exports_path) == [f"{job_id}.jsonl"]
    write(place)
    job = place.ask(f"/exports/{job_id}", Role.OFFICER).json
    assert (job["state"], job["problem"]) == ("failed", "interrupted 3 times: ask for it again")
    assert os.listdir(place.folder.exports_path) == []


@contextlib.contextmanager
def _copied(place: Place) -> Any:
    """Lend the place with its present state, and put that back at the end."""
    path = place.folder.office_path
    with contextlib.closing(sqlite3.connect(path)) as connection:
        dump = list(connection.execute("SELECT * FROM export"))
    part = next(place.folder.exports_path.iterdir())
    content = part.read_bytes()
    yield place
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("DELETE FROM export")
        marks = ", ".join("?" * len(dump[0]))
        connection.executemany(f"INSERT INTO export VALUES ({marks})", dump)
        connection.commit()
    part.write_bytes(content)


def test_a_stopped_process_leaves_its_export_to_the_next(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A restart is no failure, and not counted as one."""
    monkeypatch.setattr("consent.receipt_export.PAGE_ROWS", 10)
    slow = Slow(place.folder.receipts_path, place.keys)
    monkeypatch.setattr(type(place.app._api._desk), "log", slow)
    Slow.page = threading.Semaphore(2)
    job_id = ordered(place)
    deadline = time.monotonic() + 20
    while place.ask(f"/exports/{job_id}", Role.OFFICER).json["state"] != "running":
        assert time.monotonic() < deadline
        time.sleep(0.02)
    stopping = threading.Thread(target=place.app.stop)
    stopping.start()
    place.app._writing._stopping.wait(10)
    Slow.page.release(20)
    stopping.join()
    job = place.ask(f"/exports/{job_id}", Role.OFFICER).json
    assert (job["state"], job["attempts"]) == ("waiting", 0)
    assert job["problem"] == "the site was restarted: it is begun again"
    place.app.start()
    assert settled(place, job_id)["state"] == "done"


def test_the_console_orders_lists_and_downloads(place: Place) -> None:
    """Without a script; who may not export sees no such page."""
    jo = signed_in(place, Role.OFFICER)
    assert "Order an export" in jo.get("/exports").body.decode()
    form = {"form": "csv", "rows": "records", "site": "Example shop", "gpc": "", "reason": "complaint 12"}
    answer = jo.post("/exports", form)
    assert (answer.status, answer.headers["location"]) == (303, "/_consent/office/exports")
    (job,) = place.ask("/exports", Role.OFFICER).json["exports"]
    assert (job["form"], job["rows"], job["filters"]) == ("csv", "records", {"site": "Example shop"})
    settled(place, job["id"])
    page = jo.get("/exports").body.decode()
    assert "of about" not in page
    assert f'href="/_consent/office/exports/{job["id"]}"' in page
    file = jo.get(f"/exports/{job['id']}")
    assert file.body == place.ask(f"/exports/{job['id']}/content", Role.OFFICER).body
    assert file.headers["content-disposition"].startswith("attachment; filename=")
    assert signed_in(place, Role.ANALYST).get(f"/exports/{job['id']}").status == 404
    assert jo.post("/exports", {**form, "reason": ""}).status == 400
    assert jo.post(f"/exports/{job['id']}/cancel", {}).status == 303
    assert jo.get(f"/exports/{job['id']}").status == 404
    assert "removed" in jo.get("/exports").body.decode()
    for role in (Role.READER, Role.ADMINISTRATOR):
        other = signed_in(place, role)
        assert other.get("/exports").status == 403
        assert other.post("/exports", form).status == 403
        assert ">Exports<" not in other.get().body.decode()
