"""How fast a page is rewritten, beside what people would use otherwise, in one run.

    python benchmarks/rewrite.py [FOLDER] [--rounds N] [--json] [--ours-only]

FOLDER holds ``*.html`` pages; without it pages are generated. The job is the same for all: the full catalog,
everything refused; every element that loads from a refused vendor's URL is removed. "ours" also judges inline
scripts, style sheets, event handlers and what is within frames; the second row for lol-html judges inline scripts
too. The rest of the rows are what it is to be compared with. Nothing is remembered from one page to the next.

Engines take turns over all pages; the least processor time of N rounds counts, so that other work on the machine
does not. "ours without C" runs in a process of its own, with ``CONSENT_SPEEDUPS=0``. Rows of engines that are not
installed are left out.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import platform
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from consent.catalog import load_catalog
from consent.decision import decide
from consent.enforcement import PageEnforcement
from consent.html import Rewriter
from consent.html.urls import PageURL
from consent.policy import Policy
from consent.signals import Signals
from consent.speedups import compiled

CATALOG = load_catalog()
REFUSED = decide(Policy(), Signals())
PAGE = PageURL("https", "www.example.com", "/")
MEDIA = ("script", "img", "iframe", "link", "source", "embed", "video", "audio", "track", "input", "object")

Engine = Callable[[bytes], object]


def generated_pages(count: int = 20, seed: int = 7) -> list[bytes]:
    """Return pages of an ordinary make: navigation, articles, pictures, a dozen scripts, a few trackers."""
    source = random.Random(seed)
    words = "the of and to in is that for with as on by page article reader garden station window"
    trackers = (
        '<script async src="https://www.googletagmanager.com/gtag/js?id=G-0000000000"></script>',
        "<script>window.fbq=window.fbq||function(){};fbq('init','0000000000');fbq('track','PageView');</script>",
        '<noscript><img height="1" width="1" src="https://www.facebook.com/tr?id=0000000000&amp;ev=PageView"></noscript>',
        '<img src="https://px.ads.linkedin.com/collect/?pid=000000" alt="" width="1" height="1">',
    )
    pages = []
    for _ in range(count):
        parts = ["<!doctype html><html lang=en><head><meta charset=utf-8><title>Generated</title>"]
        parts += [f'<link rel="stylesheet" href="/static/{n}.css">' for n in range(4)]
        parts.append("</head><body>")
        for block in range(300):
            text = " ".join(source.choices(words.split(), k=60))
            parts.append(
                f'<div class="card card--{block % 7}" id="b{block}" data-index="{block}"><h2>'
                f'<a href="/a/{block}">'
                f'{text[:40]}</a></h2><p class="lead">{text}</p><img src="/img/{block}.webp" alt="{text[:20]}" '
                f'loading="lazy"><ul><li>{text[:30]}</li><li><a href="https://example.org/{block}">x</a></li></ul>'
                "</div>"
            )
            if block % 40 == 0:
                parts.append(source.choice(trackers))
            if block % 25 == 0:
                data = {source.choice(words.split()): source.random() for _ in range(40)}
                parts.append(
                    f"<script>window.appState={json.dumps(data)};if(appState.of<1){{start()}}</script>"
                )
        parts.append("</body></html>")
        pages.append("".join(parts).encode())
    return pages


def ours(page: bytes) -> bytes:
    rewriter = Rewriter(PageEnforcement(CATALOG, REFUSED, PAGE))
    return rewriter.write(page) + rewriter.end()


def gzip_6(page: bytes) -> bytes:
    return gzip.compress(page, 6)


def beautiful_soup() -> Engine | None:
    try:
        from bs4 import BeautifulSoup
    except ModuleNotFoundError:
        return None

    def run(page: bytes) -> str:
        judge = PageEnforcement(CATALOG, REFUSED, PAGE)
        soup = BeautifulSoup(page, "html.parser")
        for element in soup.find_all(MEDIA):
            url = element.get("src") or element.get("href") or element.get("data")
            if isinstance(url, str) and judge.refuses_url(element.name, url):
                element.decompose()
        return str(soup)

    return run


def lol_html(*, inline: bool) -> Engine | None:
    try:
        from lolhtml import HTMLRewriter
    except ModuleNotFoundError:
        return None

    class Media:
        def __init__(self, judge: PageEnforcement) -> None:
            self.judge = judge

        def element(self, element: object) -> None:
            for name, value in element.attributes:  # type: ignore[attr-defined]
                if name in ("src", "href", "data") and self.judge.refuses_url("", value):
                    element.remove()  # type: ignore[attr-defined]
                    return

    class Inline(Media):
        def __init__(self, judge: PageEnforcement) -> None:
            super().__init__(judge)
            self.pieces: list[str] = []

        def text(self, chunk: object) -> None:
            # It cannot take back the start tag that is out already: the judging alone is measured.
            self.pieces.append(chunk.text)  # type: ignore[attr-defined]
            if chunk.last_in_text_node:  # type: ignore[attr-defined]
                self.judge.refuses_script("".join(self.pieces))
                self.pieces.clear()

    def run(page: bytes) -> bytes:
        out: list[bytes] = []
        judge = PageEnforcement(CATALOG, REFUSED, PAGE)
        rewriter = HTMLRewriter(lambda piece: out.append(bytes(piece)))
        rewriter.on(",".join(name for name in MEDIA if not inline or name != "script"), Media(judge))
        if inline:
            rewriter.on("script", Inline(judge))
        rewriter.write(page)
        rewriter.end()
        return b"".join(out)

    return run


def measure(engines: dict[str, Engine], pages: list[bytes], rounds: int) -> dict[str, float]:
    """Return megabytes (10**6 bytes) per second of processor time for each engine, the best of ``rounds``."""
    best = dict.fromkeys(engines, float("inf"))
    for turn in range(rounds):
        for name, engine in engines.items():
            if turn and name.startswith("Beautiful"):  # one round of it is enough
                continue
            start = time.process_time()
            for page in pages:
                engine(page)
            best[name] = min(best[name], time.process_time() - start)
    size = sum(map(len, pages))
    return {name: size / seconds / 1e6 for name, seconds in best.items()}


def without_c(arguments: list[str]) -> float:
    """Return the speed of our own engine in a process that does without its compiled parts."""
    environment = os.environ | {"CONSENT_SPEEDUPS": "0"}
    command = [sys.executable, __file__, *arguments, "--json", "--ours-only"]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return float(json.loads(done.stdout)["mb_per_s"]["ours"])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--ours-only", action="store_true")
    arguments = parser.parse_args()
    if arguments.folder:
        pages = [path.read_bytes() for path in sorted(arguments.folder.glob("*.html"))]
        if not pages:
            parser.error(f"there are no *.html files in {arguments.folder}")
    else:
        pages = generated_pages()
    available: dict[str, Engine | None] = {
        "ours": ours,
        "gzip -6": gzip_6,
        "lol-html, Python handlers": lol_html(inline=False),
        "lol-html, inline scripts judged too": lol_html(inline=True),
        "BeautifulSoup (html.parser)": beautiful_soup(),
    }
    engines = {name: engine for name, engine in available.items() if engine is not None}
    if arguments.ours_only:
        engines = {"ours": ours}
    speeds = measure(engines, pages, arguments.rounds)
    if compiled is not None and not arguments.ours_only:
        folder = [str(arguments.folder)] if arguments.folder else []
        speeds |= {
            "ours without C": without_c([*folder, "--rounds", str(arguments.rounds)]),
        }
    if arguments.json:
        print(json.dumps({"pages": len(pages), "bytes": sum(map(len, pages)), "mb_per_s": speeds}))
        return
    print(f"{len(pages)} pages, {sum(map(len, pages)) / 1e6:.1f} MB, Python {platform.python_version()}")
    for name, speed in speeds.items():
        print(f"{name:<38}{speed:>9.1f} MB/s   ours is {speeds['ours'] / speed:>7.2f} times that")


if __name__ == "__main__":
    main()
