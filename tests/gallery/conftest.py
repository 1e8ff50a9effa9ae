"""The gallery shown once for all of its tests, and its table at the end of the run."""

from __future__ import annotations

import pytest

from tests.conftest import Tell
from tests.gallery.pages import load_pages
from tests.gallery.run import Showing, State, show_gallery
from tests.gallery.summary import remaining, table_lines

PAGES = load_pages()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give every test that asks for a ``page`` each of them in turn."""
    if "page" in metafunc.fixturenames:
        metafunc.parametrize("page", PAGES, ids=[page.id for page in PAGES])


@pytest.fixture(scope="session")
def showing(tell: Tell) -> Showing:
    """Every page, shown in Chromium without the middleware and before a choice: some minutes.

    Its table is told, and what reaches a refused tracker with its reason.
    """
    shown = show_gallery(PAGES, states=(State.BARE, State.BEFORE))
    left: dict[str, list[str]] = {}
    for page, reason in remaining(shown):
        left.setdefault(reason, []).append(page.id)
    tell("gallery", table_lines(shown))
    for reason, ids in left.items():
        tell("gallery", ("", f"{reason} ({len(ids)})", "  " + ", ".join(ids)))
    return shown
