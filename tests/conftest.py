"""What all tests share: a PostgreSQL server, started by the first that needs it; and what they tell at the end."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from hypothesis import settings

from tests.postgresql import stop_shared_server

# Whether a change lands is no lottery, and says nothing about the machine's speed: the same draws every time, however
# long they take. `make fuzz` draws new ones.
settings.register_profile("gate", deadline=None, derandomize=not os.environ.get("CONSENT_EXAMPLES"))
settings.load_profile("gate")

Tell = Callable[[str, Sequence[str]], None]
_TOLD = pytest.StashKey[dict[str, list[str]]]()


@pytest.fixture(scope="session", autouse=True)
def _postgresql() -> Iterator[None]:
    yield
    stop_shared_server()


@pytest.fixture(scope="session")
def tell(pytestconfig: pytest.Config) -> Tell:
    """Keep lines under a title for the end of the run, which prints them; also from another process."""

    def keep(title: str, lines: Sequence[str]) -> None:
        pytestconfig.stash.setdefault(_TOLD, {}).setdefault(title, []).extend(lines)

    return keep


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Give what was told to the process that prints."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["told"] = session.config.stash.get(_TOLD, {})


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take what a process was told."""
    told = node.config.stash.setdefault(_TOLD, {})
    for title, lines in getattr(node, "workeroutput", {}).get("told", {}).items():
        told.setdefault(title, []).extend(lines)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print all that was told."""
    for title, lines in config.stash.get(_TOLD, {}).items():
        terminalreporter.section(title)
        for line in lines:
            terminalreporter.line(line)
