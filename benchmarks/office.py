"""What the privacy office waits for: finding, counting and exporting receipts in a log of millions, while it grows.

It makes a log in SQLite, sealed, in a signed tree, as the site would have, of two years and many kinds of choices, and
with ``--postgresql`` a copy of it there; then it asks, while another process records receipts. Printed is what was
asked for and what was measured: the median by the clock, how long the first time took, and the processor time of the
best time, which other work on the machine disturbs least. ``--keep`` leaves the log for the next run; what was recorded
meanwhile stays in it.

    python benchmarks/office.py --size 5000000 --folder /var/tmp/office --keep
    python benchmarks/office.py --size 5000000 --folder /var/tmp/office --keep --postgresql
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import multiprocessing
import os
import platform
import random
import shutil
import sqlite3
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from functools import partial
from pathlib import Path

from benchmarks.office_log import (
    DAYS,
    END_MS,
    FIRST_MS,
    KEYS,
    LAST_DAY,
    copy_to_postgresql,
    fill,
    newest_receipts,
    policies,
)
from benchmarks.office_pages import Page, filtered_pages
from consent.data_folder import DataFolder
from consent.office.app import Office
from consent.office.as_of import as_of, asking_again, expiring
from consent.office.asker import Asker
from consent.office.desk import Desk
from consent.office.overview import overview
from consent.office.policies import editions
from consent.office.roles import Role
from consent.postgresql_log import PostgreSQLReceiptLog
from consent.postgresql_store import PostgreSQLStore
from consent.receipt_export import ExportForm, ExportRows, export
from consent.receipt_search import Sought
from consent.sqlite_log import SQLiteReceiptLog
from consent.sqlite_store import SQLiteStore
from tests.postgresql import Server, execute, query

Log = SQLiteReceiptLog | PostgreSQLReceiptLog

PAGE = 50
SLOWEST = 10
"""So many of the slowest pages are asked again, as often as all else."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table: milliseconds, or rows a second."""

    what: str
    asked: float | None
    median: float
    first: float
    processor: float
    unit: str = "ms"

    @property
    def holds(self) -> bool | None:
        """Whether it is as good as asked."""
        if self.asked is None:
            return None
        return self.median <= self.asked if self.unit == "ms" else self.median >= self.asked


def opened(place: str) -> Log:
    """Open the log at an address, or a path."""
    return PostgreSQLReceiptLog(place, KEYS) if "://" in place else SQLiteReceiptLog(place, KEYS)


class Clock:
    """Times work: by the clock, and how long processors worked for it, here and in the server."""

    def __init__(self, log: Log, rounds: int) -> None:
        self._rounds = rounds
        self._server: Path | None = None
        if isinstance(log, PostgreSQLReceiptLog):
            (row,) = log._session.fetch("SELECT pg_backend_pid() AS pid")
            self._server = Path(f"/proc/{row['pid']}/schedstat")

    def _processor(self) -> float:
        seconds = time.process_time()
        if self._server is not None:
            with contextlib.suppress(OSError):
                seconds += int(self._server.read_text().split()[0]) / 1e9
        return seconds

    def once(self, work: Callable[[], object]) -> tuple[float, float]:
        """Return milliseconds by the clock, and of processors."""
        spent, start = self._processor(), time.perf_counter()
        work()
        return (time.perf_counter() - start) * 1_000, (self._processor() - spent) * 1_000

    def figure(self, what: str, asked: float | None, work: Callable[[], object]) -> Figure:
        """Return the figure of some work."""
        times = [self.once(work) for _ in range(self._rounds)]
        return Figure(
            what,
            asked,
            round(statistics.median(wall for wall, _ in times), 1),
            round(times[0][0], 1),
            round(min(spent for _, spent in times), 1),
        )

    def rate(self, what: str, asked: float | None, work: Callable[[], int]) -> Figure:
        """Return the figure of an export: rows a second."""
        rates = []
        for _ in range(3):
            rows = 0

            def run() -> None:
                nonlocal rows
                rows = work()

            wall, spent = self.once(run)
            rates.append((rows / wall * 1_000, rows / spent * 1_000))
        return Figure(
            what,
            asked,
            round(statistics.median(wall for wall, _ in rates)),
            round(rates[0][0]),
            round(max(spent for _, spent in rates)),
            "rows/s",
        )


def pages(log: Log, clock: Clock, factor: int, every: int) -> Iterator[tuple[Figure, Page]]:
    """Ask for every filtered page, then again for the slowest; yield these, the slowest first."""
    some = list(filtered_pages(log, "acme-video", FIRST_MS, END_MS))
    some = random.Random(7).sample(some, len(some) // every)
    times = []
    for page in some:
        ask = partial(log.find, page.sought, limit=PAGE, before=page.before)
        # What is slow once may have been disturbed: the second time says.
        times.append(min(clock.once(ask)[0] for _ in range(2)))
    slowest = sorted(range(len(some)), key=times.__getitem__, reverse=True)[:SLOWEST]
    found = []
    for page in (some[number] for number in slowest):
        ask = partial(log.find, page.sought, limit=PAGE, before=page.before)
        found.append((clock.figure(f"page: {page.name}", 100 * factor, ask), page))
    found.sort(key=lambda each: each[0].median, reverse=True)
    middle = Figure(
        f"the middle one of {len(some):,} filtered pages",
        100 * factor,
        round(statistics.median(times), 1),
        *(round(statistics.median(times), 1),) * 2,
    )
    yield middle, found[0][1]
    yield from found


def questions(log: Log, desk: Desk) -> dict[str, tuple[float | None, Callable[[], object]]]:
    """Return what else is asked, by name: with how many milliseconds it may take."""
    source = random.Random(3)
    some = log.find(Sought(until_ms=FIRST_MS + DAYS * 43_200_000), limit=200).receipts
    subjects = [logged.receipt.subject for logged in some]
    asker = Asker("benchmark", "Benchmark", Role.OFFICER, (), END_MS * 2)
    today = date.fromisoformat(LAST_DAY)
    first_30, first_90 = ((today - timedelta(days=days - 1)).isoformat() for days in (30, 90))
    old = Sought(policy_version=policies()[2].version, grants=True)

    def seen(first_day: str) -> None:
        overview(desk, asker, first_day, LAST_DAY)
        desk.integrity()

    def first_editions() -> None:
        desk._lately.clear()
        editions(desk, asker)

    return {
        "history of a visitor": (20, lambda: log.find(Sought(subject=source.choice(subjects)), limit=PAGE)),
        "overview of 30 days": (200, lambda: seen(first_30)),
        "overview of 90 days": (200, lambda: seen(first_90)),
        "list of policies, the first in five minutes": (None, first_editions),
        "list of policies": (None, lambda: editions(desk, asker)),
        "policies of a day": (None, lambda: as_of(desk, asker, today - timedelta(days=300))),
        "what ends in 7 days": (None, lambda: expiring(desk, asker, today, 7)),
        "who is to be asked again": (None, lambda: asking_again(desk, asker, today)),
        "5,000 choices, whether they stand": (None, lambda: log.count_standing(old)),
    }


def exported(log: Log, form: ExportForm, rows: ExportRows, limit: int) -> int:
    """Export the first ``limit`` rows; return how many it were."""
    count = 0

    def counted(more: int) -> None:
        nonlocal count
        count += more

    for _ in export(log, Sought(), form=form, rows=rows, counted=counted):
        if count >= limit:
            break
    return count


def cold(place: str, page: Page) -> tuple[float, float, float]:
    """Start an office in a process that has read nothing, and ask as soon as it says that it has read ahead.

    Return the milliseconds of the page, and those of processors; and after how many it said so.
    """
    begun = time.perf_counter()
    with opened(place) as log, tempfile.TemporaryDirectory() as folder:
        office = Office("/_consent", DataFolder(Path(folder)), lambda: log)
        # An office that nobody may ask reads nothing.
        office.desk.tokens.make("Benchmark", Role.OFFICER, days=1)
        office.start()
        office.desk.has_read_ahead.wait()
        clock = Clock(log, 1)
        ready = (time.perf_counter() - begun) * 1_000
        wall, spent = clock.once(lambda: log.find(page.sought, limit=PAGE, before=page.before))
        office.stop()
    return wall, spent, ready


def write(place: str, rate: float, stop: threading.Event) -> int:
    """Record receipts at a rate until told to stop; return how many a second it were."""

    async def run() -> int:
        store = PostgreSQLStore(place, KEYS) if "://" in place else SQLiteStore(place, KEYS)
        waiting: set[asyncio.Task[None]] = set()
        start, number = time.perf_counter(), 0
        for number, (receipt, artefacts) in enumerate(newest_receipts(), 1):
            if stop.is_set():
                break
            task = asyncio.ensure_future(store.append(receipt, artefacts))
            waiting.add(task)
            task.add_done_callback(waiting.discard)
            await asyncio.sleep(max(0.0, start + number / rate - time.perf_counter()))
        await asyncio.gather(*waiting)
        elapsed = time.perf_counter() - start
        await store.aclose()
        return round((number - 1) / elapsed)

    return asyncio.run(run())


def measured(place: str, options: argparse.Namespace, factor: int) -> Iterator[Figure]:
    """Measure everything, while receipts are recorded. A store that may take longer by a factor is asked for less."""
    spawning = multiprocessing.get_context("spawn")
    with (
        spawning.Manager() as manager,
        spawning.Pool(2, maxtasksperchild=1) as pool,
        opened(place) as log,
        tempfile.TemporaryDirectory() as folder,
    ):
        stop = manager.Event()
        writing = pool.apply_async(write, (place, options.rate, stop)) if options.rate else None
        desk = Office("/_consent", DataFolder(Path(folder)), lambda: log, lambda: END_MS / 1_000 - 60).desk
        clock = Clock(log, options.rounds)
        for what, (asked, work) in questions(log, desk).items():
            yield clock.figure(what, None if asked is None else asked * factor, work)
        slowest = None
        for figure, page in pages(log, clock, factor, options.every):
            slowest = slowest or page
            yield figure
        assert slowest is not None
        starts = [pool.apply(cold, (place, slowest)) for _ in range(5)]
        walls, spents, readies = zip(*starts, strict=True)
        yield Figure(
            "the slowest of them as the first of a process",
            100 * factor,
            round(statistics.median(walls), 1),
            round(walls[0], 1),
            round(min(spents), 1),
        )
        yield Figure(
            "how soon a process has read ahead",
            None,
            round(statistics.median(readies), 1),
            round(readies[0], 1),
            round(min(readies), 1),
        )
        for rows in ExportRows:
            for form in ExportForm:
                asked = 100_000 / factor if form is ExportForm.JSONL else None
                work = partial(exported, log, form, rows, options.exported)
                yield clock.rate(f"export of {rows} as {form}", asked, work)
        if writing is not None:
            stop.set()
            rate = writing.get(60)
            yield Figure("recorded meanwhile", options.rate * 0.95, rate, rate, rate, "rows/s")
    if "://" not in place:
        with contextlib.closing(sqlite3.connect(place)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


@contextlib.contextmanager
def postgresql(options: argparse.Namespace, path: Path) -> Iterator[str]:
    """Copy the log to PostgreSQL, where there is none; to a server of our own, where no address is given."""
    with contextlib.ExitStack() as stack:
        url = options.postgresql
        if not url:
            folder = path.parent / f"postgresql-{options.size}"
            folder.mkdir(exist_ok=True)
            if not options.keep:
                stack.callback(shutil.rmtree, folder)
            server = Server(folder.resolve(), buffers="512MB")
            server.start()
            stack.callback(server.stop)
            url = server.url("log")
            if not query(server.url("postgres"), "SELECT 1 FROM pg_database WHERE datname = 'log'"):
                execute(server.url("postgres"), "CREATE DATABASE log")
        copy_to_postgresql(path, url)
        yield url


def line(each: Figure) -> str:
    """Return the line of a table."""
    asked = "" if each.asked is None else f"{'<' if each.unit == 'ms' else '>'} {each.asked:,.0f}"
    form = ",.1f" if each.unit == "ms" else ",.0f"
    times = "".join(f" {value:9{form}}" for value in (each.median, each.first, each.processor))
    return (
        f"{each.what[:62]:62} {asked:>9}{times} {each.unit}{'  not as asked' if each.holds is False else ''}"
    )


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--size", type=int, default=1_000_000, help="receipts (default: 1,000,000)")
    parser.add_argument("--folder", type=Path, required=True, help="where the log is made, or is already")
    parser.add_argument("--keep", action="store_true", help="leave the log there")
    parser.add_argument(
        "--postgresql",
        nargs="?",
        const="",
        metavar="URL",
        help="PostgreSQL instead of SQLite: an empty database",
    )
    parser.add_argument(
        "--rate", type=float, default=500.0, help="record so many a second meanwhile (default: 500)"
    )
    parser.add_argument("--rounds", type=int, default=15, help="how often each is asked (default: 15)")
    parser.add_argument(
        "--every", type=int, default=1, help="ask for every so many of the pages only (default: 1)"
    )
    parser.add_argument(
        "--exported", type=int, default=300_000, help="rows of each export (default: 300,000)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    path = (options.folder / f"receipts-{options.size}.sqlite3").resolve()
    with contextlib.ExitStack() as stack:
        if not options.keep:
            stack.callback(lambda: [left.unlink() for left in path.parent.glob(f"{path.name}*")])
        if not path.exists():
            fill(path, options.size)
        machine = {
            "python": platform.python_version(),
            "cores": os.cpu_count(),
            "sqlite": sqlite3.sqlite_version,
            "receipts": options.size,
        }
        place, factor = str(path), 1
        if options.postgresql is not None:
            place, factor = stack.enter_context(postgresql(options, path)), 2
            machine["postgresql"] = query(place, "SHOW server_version")[0]["server_version"]
        if not options.json:
            print(" · ".join(f"{name} {value}" for name, value in machine.items()))
            print(f"{'what':62} {'asked':>9}  measured     first processor", flush=True)
        figures = []
        for figure in measured(place, options, factor):
            figures.append(figure)
            if not options.json:
                print(line(figure), flush=True)
        if options.json:
            print(
                json.dumps(
                    {**machine, "figures": [{**asdict(each), "holds": each.holds} for each in figures]}
                )
            )


if __name__ == "__main__":
    main()
