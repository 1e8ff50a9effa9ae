"""Looks for names with which the script that visitors load compresses better: ``python benchmarks/names.py``.

Two names change places, or two of the letters that names begin with, and stay there where that makes what visitors load
smaller: the script, the one of the cache mode ``uniform``, and the one with all interfaces. Prints what
``consent/minify.py`` can be given.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Sequence

from consent import minify
from consent.catalog import load_catalog
from consent.guard import SOURCES, UNIFORM_SOURCES, script
from consent.policy import Interfaces, Policy
from consent.static_files import zipped
from consent.vendor_interfaces import interface_parts

ALL = Interfaces(
    microsoft_uet=True, clarity=True, meta=True, tiktok=True, hubspot=True, matomo=True, segment=True
)
FIRST_LETTERS = 12
"""Those that a function has names for."""


def sizes() -> tuple[int, ...]:
    """Bytes as served, of each script."""
    parts = interface_parts(Policy(interfaces=ALL), load_catalog())
    scripts = (script("", SOURCES), script("", UNIFORM_SOURCES), script("", SOURCES, parts))
    return tuple(len(zipped(text.encode())) for text in scripts)


def swapped(names: Sequence[str], first: int) -> list[str]:
    """Return the names, of which two of the first ones have changed places."""
    tried = list(names)
    one, other = random.sample(range(first), 2)
    tried[one], tried[other] = tried[other], tried[one]
    return tried


def main(seconds: float) -> None:
    """Try until the time is over."""
    kept = minify.SHARED, minify._LETTERS
    best = sizes()
    print(*best)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        names, letters = kept
        if random.random() < 0.8:
            names = tuple(swapped(names, len(names)))
        else:
            letters = "".join(swapped(letters, FIRST_LETTERS))
        minify.SHARED, minify._LETTERS = names, letters
        found = sizes()
        if sum(found) <= sum(best):
            if found != best:
                print(*found)
            kept, best = (names, letters), found
    print(" ".join(kept[0]))
    print(kept[1])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--seconds", type=float, default=120.0, help="how long to look (default: 120)")
    main(parser.parse_args().seconds)
