"""What begins with the office, and how it ends: nothing waits for either."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from consent import ConsentMiddleware
from consent.choice_kind import ChoiceKind
from consent.errors import StoreUnavailable
from consent.office.app import Office
from consent.office.events import EventType, add_event
from consent.office.roles import Role
from consent.office.turn import Turn
from consent.office.webhooks import Webhook
from consent.sqlite_log import SQLiteReceiptLog
from tests.test_office_api import Place
from tests.test_office_webhooks import place, receiver  # noqa: F401 - a fixture


def test_the_first_page_of_a_process_finds_the_kinds_there(
    place: Place,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They are read as soon as the office starts; where the log cannot be opened yet, as soon as it can."""
    opened = threading.Event()

    def open_log() -> SQLiteReceiptLog:
        if not opened.is_set():
            opened.set()
            raise StoreUnavailable("the server starts, too")
        return SQLiteReceiptLog(place.folder.receipts_path, place.keys)

    app = Office("/_consent", place.folder, open_log, lambda: place.now)
    app.start()
    assert app.desk.has_read_ahead.wait(10)
    app.stop()

    def parse(*_: object) -> object:
        raise AssertionError("the first page read them")

    monkeypatch.setattr(ChoiceKind, "parse_all", parse)
    place.app = app
    assert place.ask("/receipts?site=Example%20shop", Role.ANALYST).json["receipts"] != []


def test_what_nobody_asks_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A site starts without waiting for it; where the office has nobody, nothing is read until it has."""
    monkeypatch.setattr("consent.office.background.LOOK_SECONDS", 0.05)
    app = ConsentMiddleware(Starlette(), data=tmp_path / "data")
    office = app._office
    assert office is not None
    with TestClient(app):
        assert not office.desk.has_read_ahead.wait(0.2)
        office.desk.tokens.make("Jo Example", Role.READER, days=1)
        assert office.desk.has_read_ahead.wait(10)


def test_a_stop_does_not_wait_for_a_receiver_that_hangs(
    place: Place,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What it has not answered stays; nobody else sends it before the request is over, then it is sent again."""
    monkeypatch.setattr("consent.office.app.STOP_SECONDS", 0.2)
    asked, answers = threading.Event(), threading.Event()

    def hang(number: int) -> tuple[int, dict[str, str]]:
        asked.set()
        answers.wait(30)
        return (204, {}) if number > 1 else (500, {})

    with receiver() as there:
        there.answering = hang
        hooks = place.app.desk.webhooks
        webhook, _ = hooks.add(there.url, [EventType.EXPORT_FINISHED])
        with place.database.writing() as connection:
            add_event(connection, int(place.now * 1_000), EventType.EXPORT_FINISHED, export="x")
        place.app.start()
        assert asked.wait(10)
        began = time.monotonic()
        place.app.stop()
        assert time.monotonic() - began < 5
        turn = Turn(place.folder.path / "deliveries.lock")
        with turn.taken() as taken:
            assert not taken
        place.app.start()
        answers.set()
        deadline = time.monotonic() + 20
        while not _told(hooks.get(webhook.id)).attempts:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        place.now += 3_600
        there.wait(2)
    first, second = there.received
    assert first.headers["webhook-id"] == second.headers["webhook-id"]


def _told(webhook: Webhook | None) -> Webhook:
    assert webhook is not None
    return webhook
