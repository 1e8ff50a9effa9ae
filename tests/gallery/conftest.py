"""The gallery shown once for all of its tests, and its table at the end of the run."""

from __future__ import annotations

import pytest

from tests.gallery.pages import Page, load_pages
from tests.gallery.run import Showing, State, show_gallery
from tests.gallery.summary import remaining, table_lines

PAGES = load_pages()
_TABLE = pytest.StashKey[Showing]()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give every test that asks for a ``page`` each of them in turn."""
    if "page" in metafunc.fixturenames:
        metafunc.parametrize("page", PAGES, ids=[page.id for page in PAGES])


@pytest.fixture(scope="session")
def showing(pytestconfig: pytest.Config) -> Showing:
    """Every page, shown in Chromium without the middleware and before a choice: some minutes."""
    shown = show_gallery(PAGES, states=(State.BARE, State.BEFORE))
    pytestconfig.stash[_TABLE] = shown
    return shown


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the table, and what reaches a refused tracker with its reason."""
    shown = config.stash.get(_TABLE, None)
    if shown is None:
        return
    terminalreporter.section("gallery")
    for line in table_lines(shown):
        terminalreporter.line(line)
    left: dict[str, list[Page]] = {}
    for page, reason in remaining(shown):
        left.setdefault(reason, []).append(page)
    for reason, pages in left.items():
        terminalreporter.line("")
        terminalreporter.line(f"{reason} ({len(pages)})")
        terminalreporter.line("  " + ", ".join(page.id for page in pages))
