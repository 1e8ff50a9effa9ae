"""Shows the gallery in Chromium and prints what happened.

``python -m tests.gallery`` for all of it, ``python -m tests.gallery css. runtime.fetch`` for pages whose id
begins so. Exits with 1 where anything is not as it must be.
"""

from __future__ import annotations

import argparse
import json
import sys

from consent.policy import CspMode, Refused
from tests.browser.chromium import NoChromiumError
from tests.gallery.pages import GalleryError, load_pages
from tests.gallery.run import Setup, show_gallery
from tests.gallery.summary import as_json, faults, remaining, table_lines


def main() -> int:
    """Return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.gallery", description=__doc__)
    parser.add_argument("pages", nargs="*", help="how the ids of the pages to show begin; default: all")
    parser.add_argument("--refused", type=Refused, choices=list(Refused), default=Refused.STRIP)
    parser.add_argument("--csp", type=CspMode, choices=list(CspMode), default=CspMode.REPORT)
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    parser.add_argument("--source", action="store_true", help="print the pages instead of showing them")
    arguments = parser.parse_args()
    try:
        pages = load_pages()
    except GalleryError as error:
        print(error, file=sys.stderr)
        return 1
    if arguments.pages:
        pages = tuple(page for page in pages if page.id.startswith(tuple(arguments.pages)))
    if not pages:
        print("no page's id begins so", file=sys.stderr)
        return 1
    if arguments.source:
        for page in pages:
            print(f"--- {page.id}: {page.about}\n{page.document.decode(page.charset)}")
        return 0
    try:
        setup = Setup(refused=arguments.refused, csp=arguments.csp)
        showing = show_gallery(
            pages, setup=setup, progress=lambda text: print(f"{text} ...", file=sys.stderr)
        )
    except NoChromiumError as error:
        print(error, file=sys.stderr)
        return 1
    wrong = [
        (page, state, fault)
        for page in pages
        for state in showing.visits
        for fault in faults(showing, page, state)
    ]
    if arguments.json:
        print(json.dumps(as_json(showing), indent=1))
        return 1 if wrong else 0
    print("\n".join(table_lines(showing)))
    if left := remaining(showing):
        print("\nWhat reaches a refused tracker, and what is to stop it:")
        for page, reason in left:
            print(f"  {page.id}: {reason}")
    if wrong:
        print("\nNot as it must be:")
        for page, state, fault in wrong:
            print(f"  {page.id}, {state}: {fault}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
