"""What the catalog costs: to read, to keep, and to ask.

    python benchmarks/catalog.py [--rounds N] [--json]

Reading is the processor time of a fresh process, from the packed form that an installed package has and from the
TOML that a checkout has; the modules are imported before. Memory is what stays allocated. A look-up is the median
over rounds of asking for 1,000 known and unknown URLs (or names) one after the other, on a host seen before.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from consent.catalog import load_catalog
from consent.catalog.packed import pack

VENDORS = Path(__file__).resolve().parent.parent / "consent" / "catalog" / "vendors"
_READ = """
import sys, time, tracemalloc
from pathlib import Path
from consent.catalog.loading import load_catalog
from consent.catalog.packed import read_packed
place = Path(sys.argv[2])
read = read_packed if sys.argv[1] == "packed" else load_catalog
if sys.argv[3] == "memory":
    tracemalloc.start()
    catalog = read(place)
    print(tracemalloc.get_traced_memory()[0] / 1e6)
else:
    begun = time.process_time()
    catalog = read(place)
    print((time.process_time() - begun) * 1000)
"""


def fresh(*arguments: str) -> float:
    """Return what a process of its own prints."""
    command = [sys.executable, "-c", _READ, *arguments]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def median_ns(ask: Callable[[], object], asked: int, rounds: int) -> float:
    """Return the median over ``rounds`` of the nanoseconds that one of ``asked`` questions takes."""
    ask()
    times = []
    for _ in range(rounds):
        begun = time.perf_counter_ns()
        ask()
        times.append((time.perf_counter_ns() - begun) / asked)
    return statistics.median(times)


def measured(rounds: int) -> dict[str, float]:
    """Return every figure by name."""
    catalog = load_catalog(VENDORS)
    vendors = catalog.vendors.values()
    urls = [(host, "/lib/x.js?v=1") for vendor in vendors for host in vendor.hosts][:400]
    for vendor in vendors:
        for url in vendor.urls:
            host, _, rest = url.replace("*", "0").partition("/")
            urls.append((host, "/" + rest))
    urls = urls[:700] + [(f"www{number}.example.org", "/image.png") for number in range(300)]
    names = [cookie.name.replace("*", "0x") for vendor in vendors for cookie in vendor.cookies]
    names = [name for name in names if catalog.match_cookie(name)][:600]
    names += [f"own_{number}" for number in range(1000 - len(names))]

    def by_url() -> None:
        match = catalog.match_url
        for host, target in urls:
            match(host, target)

    def by_cookie() -> None:
        match = catalog.match_cookie
        for name in names:
            match(name)

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "vendors.json")
        file.write_bytes(pack(vendors))
        return {
            "vendors": len(vendors),
            "packed KB": file.stat().st_size / 1000,
            "read packed ms": statistics.median(fresh("packed", str(file), "time") for _ in range(5)),
            "read TOML ms": statistics.median(fresh("toml", str(VENDORS), "time") for _ in range(3)),
            "memory MB": fresh("packed", str(file), "memory"),
            "URL ns": median_ns(by_url, len(urls), rounds),
            "cookie ns": median_ns(by_cookie, len(names), rounds),
        }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = measured(options.rounds)
    if options.json:
        print(json.dumps(found))
        return
    print("| what | measured |\n|---|---|")
    for label, key, unit in (
        ("reading the packed catalog", "read packed ms", "ms"),
        ("reading it from TOML", "read TOML ms", "ms"),
        ("memory it takes", "memory MB", "MB"),
        ("finding the vendor of a URL", "URL ns", "ns"),
        ("finding the vendor of a cookie", "cookie ns", "ns"),
    ):
        print(f"| {label} | {found[key]:,.1f} {unit} |")


if __name__ == "__main__":
    main()
