"""The inventory on the disk: merged by several processes, bounded, and never in anybody's way."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from consent import sqlite_inventory
from consent.errors import StoreUnavailable
from consent.inventory import Inventory, Sighting, Source, Tally
from consent.sqlite_inventory import InventoryWriter, SQLiteInventory

A_DAY = 20_000
IMG = Sighting(Source.RESPONSE, "img", "pics.example", "")
SCRIPT = Sighting(Source.REPORT, "script-src-elem", "t.example", "tracker")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "inventory.sqlite3"


def test_what_is_merged_is_added(path: Path) -> None:
    """Counts, the span of days, and five pages at most; the file is its owner's only."""
    store = SQLiteInventory(path)
    assert store.sightings() == {}
    assert not path.exists()
    store.merge({IMG: Tally(A_DAY, A_DAY, 2, ["/a", "/b", "/c"])})
    store.merge({IMG: Tally(A_DAY - 1, A_DAY + 1, 3, ["/b", "/d", "/e", "/f"]), SCRIPT: Tally(7, 7, 1)})
    assert store.sightings() == {
        IMG: Tally(A_DAY - 1, A_DAY + 1, 5, ["/a", "/b", "/c", "/d", "/e"]),
        SCRIPT: Tally(7, 7, 1, []),
    }
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert {file.name for file in path.parent.iterdir()} == {path.name}


def test_who_reads_while_it_is_made_finds_nothing_yet(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not half of what tells whose database it is, which would be somebody else's."""
    store, making = SQLiteInventory(path), list[threading.Thread]()
    path.touch(0o600)

    class Slow(sqlite3.Connection):
        def execute(self, sql: str, *values: object) -> sqlite3.Cursor:
            if sql == "PRAGMA user_version" and not making:
                making.append(threading.Thread(target=store.merge, args=({IMG: Tally(A_DAY, A_DAY)},)))
                making[0].start()
                making[0].join(0.3)
            return super().execute(sql, *values)  # type: ignore[arg-type]

    monkeypatch.setattr(sqlite3, "connect", partial(sqlite3.connect, factory=Slow))
    assert store.sightings() == {}
    making[0].join()
    assert set(store.sightings()) == {IMG}


def test_reports_cannot_push_out_what_pages_have_nor_what_is_seen_often(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond the bound of a source those go that were seen least, and of them the oldest."""
    monkeypatch.setattr(sqlite_inventory, "MAX_SIGHTINGS", 3)
    store = SQLiteInventory(path)
    often = Sighting(Source.REPORT, "img-src", "often.example", "")
    old = Sighting(Source.REPORT, "img-src", "old.example", "")
    store.merge({IMG: Tally(1, 1, 1), often: Tally(1, 1, 9), old: Tally(1, 1, 1)})
    flood = {Sighting(Source.REPORT, "img-src", f"h{n}.example", ""): Tally(2, 2, 1) for n in range(10)}
    store.merge(flood)
    kept = store.sightings()
    assert len(kept) == 4
    assert {IMG, often} < kept.keys()
    assert old not in kept


def test_each_part_of_a_site_has_room_of_its_own(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is seen on one host pushes out nothing that was seen on another."""
    monkeypatch.setattr(sqlite_inventory, "MAX_SIGHTINGS", 3)
    store = SQLiteInventory(path)
    store.merge({IMG: Tally(1, 1, 1)})
    flood = [IMG._replace(subject=f"h{n}.example", part="partner.example") for n in range(10)]
    store.merge(dict.fromkeys(flood, Tally(2, 2, 5)))
    assert [sighting.part for sighting in store.sightings()] == ["", *["partner.example"] * 3]


def test_what_could_not_be_written_waits_in_its_own_part(path: Path) -> None:
    """It is written once, and a vendor that was seen on one host is seen on no other."""
    partner = SCRIPT._replace(subject="p.example", vendor="partner", part="partner.example")
    SQLiteInventory(path).merge({SCRIPT: Tally(1, 1, 1), partner: Tally(1, 1, 1)})
    writer = InventoryWriter(SQLiteInventory(path), interval_seconds=600)
    inventories = [writer.inventory, writer.of("partner.example")]
    assert [list(each.seen) for each in inventories] == [["tracker"], ["partner"]]
    failing = {SCRIPT: Tally(2, 2, 1), partner: Tally(2, 2, 1)}
    for each in inventories:
        each.give_back(failing)
    assert [each.take() for each in inventories] == [{SCRIPT: Tally(2, 2, 1)}, {partner: Tally(2, 2, 1)}]
    writer.close()


def test_a_file_that_is_something_else_is_left_alone(path: Path) -> None:
    """No database, another program's, or one of a later version."""
    store = SQLiteInventory(path)
    path.write_text("Dear diary, " * 100)
    for use in (store.sightings, lambda: store.merge({IMG: Tally(1, 1, 1)})):
        with pytest.raises(StoreUnavailable, match="cannot be used as inventory: file is not a database"):
            use()
    assert path.read_text() == "Dear diary, " * 100
    path.unlink()
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE sighting (x)")
    with pytest.raises(StoreUnavailable, match="no inventory that this version"):
        store.merge({IMG: Tally(1, 1, 1)})
    path.unlink()
    store.merge({IMG: Tally(1, 1, 1)})
    with closing(sqlite3.connect(path)) as later:
        later.execute("PRAGMA user_version = 4")
    with pytest.raises(StoreUnavailable, match="no inventory that this version"):
        store.sightings()


def test_a_row_that_somebody_altered_is_an_error_not_a_crash(path: Path) -> None:
    """The message says which file."""
    store = SQLiteInventory(path)
    store.merge({IMG: Tally(1, 1, 1)})
    for column, value in (("pages", "[7]"), ("pages", "{"), ("source", "x"), ("count", "many")):
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            (old,) = other.execute(f"SELECT {column} FROM sighting").fetchone()
            other.execute(f"UPDATE sighting SET {column} = ?", (value,))
            with pytest.raises(StoreUnavailable, match=str(path)):
                store.sightings()
            other.execute(f"UPDATE sighting SET {column} = ?", (old,))
    assert store.sightings() == {IMG: Tally(1, 1, 1)}


def _merging(path: Path, times: int) -> None:
    for _ in range(times):
        SQLiteInventory(path).merge({IMG: Tally(1, 1, 1, ["/a"]), SCRIPT: Tally(1, 1, 2)})


def test_several_processes_merge_into_one_file(path: Path) -> None:
    """They start at the same moment, on no file, and nothing is lost."""
    spawning = multiprocessing.get_context("spawn")
    processes = [spawning.Process(target=_merging, args=(path, 20)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    assert SQLiteInventory(path).sightings() == {IMG: Tally(1, 1, 60, ["/a"]), SCRIPT: Tally(1, 1, 120)}


# --- the thread ---


def note(inventory: Inventory, subject: str = "pics.example", vendor: str = "") -> None:
    inventory.note(Source.RESPONSE, [("img", subject, vendor)], "/a", A_DAY * 86_400)


def written(path: Path) -> Mapping[Sighting, Tally]:
    deadline = time.monotonic() + 10
    while not (found := SQLiteInventory(path).sightings()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return found


def test_what_was_seen_is_written_after_a_while_and_when_the_site_stops(path: Path) -> None:
    """Closing may be repeated, and a later sighting starts anew."""
    writer = InventoryWriter(SQLiteInventory(path), interval_seconds=0.05)
    assert not path.exists()
    note(writer.inventory)
    assert written(path) == {IMG: Tally(A_DAY, A_DAY, 1, ["/a"])}
    patient = InventoryWriter(SQLiteInventory(path), interval_seconds=1_000)
    for expected in (2, 3):
        note(patient.inventory)
        patient.close()
        patient.close()
        assert SQLiteInventory(path).sightings()[IMG].count == expected
    writer.close()


def test_what_others_saw_is_known_at_the_start_and_after_each_writing(path: Path) -> None:
    """So that the vendors a policy allows do not depend on the worker."""
    SQLiteInventory(path).merge({SCRIPT: Tally(1, 1, 1)})
    writer = InventoryWriter(SQLiteInventory(path), interval_seconds=0.05)
    assert list(writer.inventory.seen) == ["tracker"]
    SQLiteInventory(path).merge({Sighting(Source.RESPONSE, "img", "b.example", "b"): Tally(1, 1, 1)})
    note(writer.inventory)
    deadline = time.monotonic() + 10
    while len(writer.inventory.seen) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert list(writer.inventory.seen) == ["b", "tracker"]
    writer.close()


def test_a_disk_that_fails_is_told_once_and_nothing_is_lost(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The page is not disturbed; when the disk is back, what waited is written."""
    path.mkdir()
    with caplog.at_level(logging.WARNING, "consent"):
        writer = InventoryWriter(SQLiteInventory(path), interval_seconds=1_000)
        for _ in range(3):
            note(writer.inventory)
            writer.close()
    (record,) = caplog.records
    assert record.getMessage().startswith(f"the inventory is not being kept: {path} cannot be used")
    path.rmdir()
    writer.close()
    assert SQLiteInventory(path).sightings() == {IMG: Tally(A_DAY, A_DAY, 3, ["/a"])}


def test_a_process_that_just_ends_writes_what_waits(path: Path) -> None:
    """Also where no server said that it stops."""
    code = (
        "from tests.test_sqlite_inventory import *\n"
        f"writer = InventoryWriter(SQLiteInventory({str(path)!r}), interval_seconds=1_000)\n"
        "note(writer.inventory)\n"
    )
    root = Path(__file__).resolve().parents[1]
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root, timeout=60)
    assert SQLiteInventory(path).sightings()[IMG].count == 1


def test_a_worker_that_was_forked_writes_too(path: Path) -> None:
    """Of the parent's thread nothing is left in it; what the parent had not written is the parent's."""
    code = (
        "import os\n"
        "from tests.test_sqlite_inventory import *\n"
        f"writer = InventoryWriter(SQLiteInventory({str(path)!r}), interval_seconds=1_000)\n"
        "note(writer.inventory)\n"
        "writer.close()\n"
        "if (child := os.fork()) == 0:\n"
        "    note(writer.inventory)\n"
        "    writer.close()\n"
        "    os._exit(0)\n"
        "assert os.waitpid(child, 0)[1] == 0\n"
    )
    root = Path(__file__).resolve().parents[1]
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, cwd=root, timeout=60)
    assert SQLiteInventory(path).sightings()[IMG].count == 2
    assert os.listdir(path.parent) == [path.name]


SCHEMA_2 = """
CREATE TABLE old AS SELECT source, kind, subject, vendor, part, first_day, last_day, count, pages FROM sighting;
DROP TABLE sighting;
CREATE TABLE sighting (source TEXT NOT NULL, kind TEXT NOT NULL, subject TEXT NOT NULL, vendor TEXT NOT NULL,
    part TEXT NOT NULL, first_day INTEGER NOT NULL, last_day INTEGER NOT NULL, count INTEGER NOT NULL,
    pages TEXT NOT NULL, PRIMARY KEY (source, kind, subject, vendor, part));
INSERT INTO sighting SELECT * FROM old;
DROP TABLE old;
PRAGMA user_version = 2;
"""


def test_a_file_of_the_second_schema_is_read_and_brought_up(path: Path) -> None:
    """Of what was seen before, nobody knows on which site; what is seen now is kept by site."""
    here = SCRIPT._replace(site="Example shop")
    store = SQLiteInventory(path)
    store.merge({IMG: Tally(1, 2, 3, ["/a"]), SCRIPT: Tally(1, 1, 1)})
    before = store.sightings()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript(SCHEMA_2)
    assert store.sightings() == before
    store.merge({here: Tally(4, 4, 1), here._replace(site="Example blog"): Tally(5, 5, 1)})
    store.merge({here: Tally(6, 6, 1)})
    assert store.sightings() == {
        **before,
        here: Tally(4, 6, 2),
        here._replace(site="Example blog"): Tally(5, 5, 1),
    }
