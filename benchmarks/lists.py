"""What an imported list costs: at the start, in memory, for each URL, and for what visitors load.

    python benchmarks/lists.py [--hosts N]

The hosts are made up. Times are processor time; what is said of a start is a fresh process each, less what the same
process takes without a list. Memory is the resident set.
"""

from __future__ import annotations

import argparse
import gc
import gzip
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

from consent import guard
from consent.catalog import Catalog, load_catalog, read_list
from consent.csp import ClosedWorld
from consent.decision import decide
from consent.html.screening import page_screen
from consent.policy import Policy, Regime
from consent.public_lists.importing import import_list
from consent.public_lists.reading import source_of
from consent.signals import Signals

_START = """
import sys
sys.path[:0] = sys.argv[2:]
import lists
lists.started(sys.argv[1])
"""


def started(path: str) -> None:
    """Print what it takes to read a list and to be ready to judge pages, in ms and MB."""
    known = load_catalog()
    page_screen(known)
    memory = resident_mb()
    begun = time.process_time()
    catalog = known.with_lists(read_list(path).vendors)
    page_screen(catalog)
    ClosedWorld(catalog, Policy())
    guard.guard_table(catalog)
    took = time.process_time() - begun
    begun = time.process_time()
    ClosedWorld(known, Policy())
    guard.guard_table(known)
    took -= time.process_time() - begun
    print(took * 1000, resident_mb() - memory)


def resident_mb() -> float:
    """Return how much memory this process has, in MB."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1e6


def median_ns(ask: Callable[[], object], asked: int) -> float:
    """Return the median over rounds of the nanoseconds that one of ``asked`` questions takes."""
    times = []
    for _ in range(50):
        begun = time.perf_counter_ns()
        ask()
        times.append((time.perf_counter_ns() - begun) / asked)
    return statistics.median(times)


def looked_up(catalog: Catalog, hosts: list[str]) -> float:
    """Return how long it takes to find whose a URL is, on hosts seen before."""

    def ask() -> None:
        for host in hosts:
            catalog.match_url(host, "/lib/x.js?v=1")

    return median_ns(ask, len(hosts))


def table_kb(catalog: Catalog) -> float:
    """Return how much visitors load of the guard's table."""
    return len(gzip.compress(guard.guard_table(catalog).encode(), 9)) / 1000


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--hosts", type=int, default=50_000)
    count = parser.parse_args().hosts
    letters = random.Random(0)
    names = ("".join(letters.choices("bcdfghklmnprstaeiou", k=letters.randint(6, 12))) for _ in range(count))
    text = "".join(f"||{name}{number}.example^$third-party\n" for number, name in enumerate(names))
    known = load_catalog()
    begun = time.process_time()
    made = import_list([source_of("list.txt", text.encode())], known, today=date(2026, 1, 1))
    imported = time.process_time() - begun
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "list.toml")
        file.write_text(made.toml)
        command = [sys.executable, "-c", _START, str(file), str(Path(__file__).parent)]
        starts = [
            subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
            for _ in range(5)
        ]
        catalog = known.with_lists(read_list(file).vendors)
    allowing = decide(Policy(regime=Regime.OPT_OUT), Signals())
    csp = [
        len(ClosedWorld(each, Policy()).added([], allowing, variant="", seen=(), secure=True)[0][1])
        for each in (known, catalog)
    ]
    seen = [host for vendor in known.vendors.values() for host in vendor.hosts][:500]
    listed = [f"a.{host}" for host in made.vendors[0].hosts[:500]]
    kept = table_kb(catalog)
    guard.MAX_LISTED_RULES = count
    print(f"| what, with {count:,} imported hosts | measured |\n|---|---|")
    print(f"| importing the list | {imported * 1000:,.0f} ms |")
    print(f"| the file | {len(made.toml) / 1e6:.2f} MB |")
    print(f"| a start takes longer by | {statistics.median(float(took) for took, _ in starts):,.0f} ms |")
    print(
        f"| each process needs more memory by | {statistics.median(float(more) for _, more in starts):,.0f} MB |"
    )
    print(f"| a URL of the built-in catalog, without the list | {looked_up(known, seen):,.0f} ns |")
    print(f"| the same, with it | {looked_up(catalog, seen):,.0f} ns |")
    print(f"| a URL of the list | {looked_up(catalog, listed):,.0f} ns |")
    print(f"| our Content-Security-Policy, without the list and with it | {csp[0]:,} and {csp[1]:,} bytes |")
    print(f"| the guard's table, gzip -9 | {kept:,.1f} KB |")
    print(f"| the same, if it had the list | {table_kb(catalog):,.1f} KB |")


if __name__ == "__main__":
    main()
