"""Disks that fail: the power is cut, a sync ends in an error, there is no space. ``make soak`` runs this.

Each has its control: with a setting that loses what was acknowledged, the same test finds that it is lost.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from consent.sqlite_log import SQLiteReceiptLog
from tests.test_receipts import KEYS, receipt_id
from tests.test_sqlite_store import ROOT, recorded

ROUNDS = int(os.environ.get("CONSENT_POWER_CUTS", "40"))
PAGE = 4_096

WRITE = """
import asyncio, sys
from consent import sqlite_database
from consent.errors import StoreUnavailable
from consent.sqlite_store import SQLiteStore
from tests.test_receipts import KEYS, SHOWN, make_receipt
path, first, clients, synchronous = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
sqlite_database.WAL_COMMITS = 7
set_up = sqlite_database.set_up
def with_setting(connection, *arguments):
    set_up(connection, *arguments)
    connection.execute(f"PRAGMA synchronous = {synchronous}")
sqlite_database.set_up = with_setting
async def main():
    store = SQLiteStore(path, KEYS)
    async def client(number):
        while number < first + 4_000:
            try:
                await store.append(make_receipt(number, shown_hash=SHOWN.hash), [SHOWN])
                print(number, flush=True)
            except StoreUnavailable:
                print("unavailable", flush=True)
                await asyncio.sleep(0.01)
            number += clients
    await asyncio.gather(*(client(first + k) for k in range(clients)))
    await store.aclose()
asyncio.run(main())
"""


def write(
    path: Path, first: int, *wrapped: str, synchronous: str = "FULL", **environment: str
) -> subprocess.Popen[str]:
    """Record in a process of its own, which prints what was acknowledged."""
    return subprocess.Popen(
        [*wrapped, sys.executable, "-W", "ignore", "-c", WRITE, str(path), str(first), "10", synchronous],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library that remembers what was synced."""
    library = tmp_path_factory.mktemp("shim") / "unsynced.so"
    source = Path(__file__).with_name("unsynced.c")
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", library, source], check=True)
    return library


def cut_power(folder: Path, source: random.Random) -> None:
    """Leave of each file what was synced, and of the rest a random part of the pages."""
    keep_some = source.random() < 0.7
    for name in ("receipts.sqlite3", "receipts.sqlite3-wal"):
        path, durable = folder / name, folder / f"{name}.durable"
        if not path.exists():
            continue
        synced = durable.read_bytes() if durable.exists() else b""
        written = path.read_bytes()
        content = bytearray(synced)
        for start in range(0, len(written) if keep_some else 0, PAGE):
            page = written[start : start + PAGE]
            if content[start : start + PAGE] != page and source.random() < 0.5:
                content.extend(bytes(max(0, start - len(content))))
                content[start : start + len(page)] = page
        path.write_bytes(content)
    for name in ("receipts.sqlite3-shm", "receipts.sqlite3.lock"):
        (folder / name).unlink(missing_ok=True)


def rounds(folder: Path, shim: Path, source: random.Random, count: int, synchronous: str) -> tuple[int, int]:
    """Cut the power again and again on one database; return how many were acknowledged, and how many got lost."""
    path = folder / "receipts.sqlite3"
    acknowledged: set[str] = set()
    for number in range(count):
        for name in ("receipts.sqlite3", "receipts.sqlite3-wal"):
            # What is there when the power comes back is on the disk.
            (folder / f"{name}.durable").unlink(missing_ok=True)
            if (folder / name).exists():
                shutil.copy(folder / name, folder / f"{name}.durable")
        process = write(
            path,
            number * 1_000_000,
            synchronous=synchronous,
            LD_PRELOAD=str(shim),
            CONSENT_DURABLE=str(folder),
        )
        assert process.stdout is not None
        with process.stdout:
            first = process.stdout.readline()
            time.sleep(source.random() * 0.3)
            process.kill()
            told = [first, *process.stdout.read().splitlines()]
        process.wait()
        acknowledged |= {receipt_id(int(line)) for line in told if line.strip().isdigit()}
        cut_power(folder, source)
        if synchronous == "FULL":
            lost = acknowledged - recorded(path).keys()
        else:
            try:
                with SQLiteReceiptLog(path, KEYS) as log:
                    there = {entry.receipt.receipt_id for entry in log.list(limit=1_000_000)}
            except Exception:
                there = set()  # not even a database
            lost = acknowledged - there
        if lost:
            return len(acknowledged), len(lost)
    return len(acknowledged), 0


def test_what_was_acknowledged_survives_power_cuts(tmp_path: Path, shim: Path) -> None:
    """Of each file only what was synced is sure; of the rest any page may be there or not."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    acknowledged, lost = rounds(tmp_path, shim, random.Random(seed), ROUNDS, "FULL")
    assert lost == 0
    assert acknowledged > ROUNDS


def test_the_control_without_syncing_loses(tmp_path: Path, shim: Path) -> None:
    """With synchronous=OFF the same power cuts lose acknowledged receipts: so the test can tell."""
    _, lost = rounds(tmp_path, shim, random.Random(1), 5, "OFF")
    assert lost > 0


@pytest.mark.parametrize(("call", "every"), [("fdatasync", 7), ("pwrite64", 150)])
@pytest.mark.parametrize("error", ["EIO", "ENOSPC"])
def test_failing_system_calls_lose_nothing_that_was_acknowledged(
    tmp_path: Path, call: str, every: int, error: str
) -> None:
    """Some transactions fail, others do not; afterwards all that was acknowledged is there, and is one tree."""
    strace = shutil.which("strace")
    assert strace is not None, "make soak needs strace: apt-get install strace"
    path = tmp_path / "receipts.sqlite3"
    write(path, 0).communicate(timeout=120)  # 4,000 receipts on a disk that is well
    process = write(
        path,
        1_000_000,
        *(strace, "-f", "-qq", "-o", os.devnull, "-e", f"trace={call}"),
        *("-e", f"inject={call}:error={error}:when=20+{every}"),
    )
    assert process.stdout is not None
    told = []
    deadline = time.monotonic() + 20
    with process.stdout:
        while time.monotonic() < deadline and (line := process.stdout.readline()):
            told.append(line.strip())
        os.killpg(process.pid, signal.SIGKILL)
        told += [line.strip() for line in process.stdout.read().splitlines()]
    process.wait()
    assert "unavailable" in told  # the control: calls did fail
    acknowledged = {receipt_id(int(line)) for line in told if line.isdigit()}
    assert acknowledged
    assert acknowledged <= recorded(path).keys()
