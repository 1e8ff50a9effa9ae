"""What the office is warned of: requests that are late, and a form that is flooded; and how a flood is cleared."""

from __future__ import annotations

import contextlib
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from consent.cli import main
from consent.office.request_flood import HOURLY, WAITING
from consent.office.request_rows import Wanted
from consent.office.roles import Role
from consent.subject_request import RequestState, StepKind, Way
from tests.test_office_console import HOME, Visitor, signed_in, text
from tests.test_office_requests import Desk
from tests.test_register import NEW as ASKED
from tests.test_register import nonce
from tests.test_requesting import Site
from tests.test_store_contract import SQLiteBackend


@pytest.fixture
def desk(tmp_path: Path) -> Any:
    desk = Desk(tmp_path / "data", SQLiteBackend(tmp_path))
    yield desk
    desk.log.close()


def flood(desk: Desk, count: int, first: int = 0) -> list[str]:
    """Send requests of the form, each from another network."""
    receive = desk.app.register.receive
    return [
        receive(ASKED, nonce=nonce(number), network=b"%d" % number)[0]
        for number in range(first, first + count)
    ]


def test_the_overview_warns_of_what_is_late(desk: Desk) -> None:
    """With a count and where to look, for those who may see requests; a token for another site sees its own."""
    officer, reader = signed_in(desk, Role.OFFICER), signed_in(desk, Role.READER)
    assert "0 requests overdue, 0 due within a week" in text(officer.get())
    desk.new(received="2025-11-01")
    desk.new(received="2025-12-23")
    desk.new(received="2026-01-01")
    page = officer.get()
    assert "1 request overdue, 1 due within a week" in text(page)
    assert "1 request is overdue." in text(page)
    assert f'href="{HOME}/requests?overdue=true"' in page.body.decode()
    assert "1 request is overdue." in text(officer.get("/requests"))
    assert "overdue" not in text(reader.get())
    secret, _ = desk.book.make("Al Example", Role.OFFICER, sites=["Example blog"], days=1)
    assert desk.ask("/requests", secret).json["counts"]["overdue"] == 0
    counts = desk.ask("/requests", Role.ANALYST).json["counts"]
    assert (counts["overdue"], counts["soon"]) == (1, 1)


def test_a_step_is_taken_together_with_what_is_recorded(desk: Desk) -> None:
    """The office has its file open once: the register writes within its transactions, and both are undone."""
    accesses = desk.app.desk.accesses
    with contextlib.suppress(ZeroDivisionError), accesses.together():
        desk.app.register.add(ASKED, "Jo")
        raise ZeroDivisionError
    assert desk.app.register.find(Wanted(), limit=9)[0] == []
    with accesses.together():
        added, _ = desk.app.register.add(ASKED, "Jo")
    assert [each.reference for each in desk.app.register.find(Wanted(), limit=9)[0]] == [added.reference]


def test_the_office_is_told_of_a_flood(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as the form is narrow or closed, and for the rest of the day; with what to do about it."""
    officer = signed_in(desk, Role.OFFICER)
    flood(desk, HOURLY // 2 - 1)
    assert "The form for requests" not in text(officer.get())
    flood(desk, 1, 100)
    for path in ("", "/requests"):
        assert "The form for requests is nearly full" in text(officer.get(path))
    assert "The form" not in text(signed_in(desk, Role.READER).get())
    flood(desk, HOURLY // 2, 200)
    for path in ("", "/requests"):
        page = officer.get(path)
        assert "The form for requests takes no more : 60 wait for an answer" in text(page)
        assert "consent office requests deny" in text(page)
        assert f'href="{HOME}/requests?way=form&amp;open=true"' in page.body.decode()
    assert desk.ask("/requests", Role.ANALYST).json["form"] == {
        "waiting": 60, "within_the_hour": 60, "takes": "none",
    }  # fmt: skip
    secret, _ = desk.book.make("Al Example", Role.OFFICER, sites=["Example blog"], days=1)
    assert desk.ask("/requests", secret).json["form"] == {"takes": "none"}
    elsewhere = Visitor(desk)
    elsewhere.sign_in(secret)
    words = text(elsewhere.get())
    assert "The form for requests takes no more . Visitors are told" in words
    assert "60 wait" not in words
    desk.now += 3_600
    assert "took no more for a part of an hour today" in text(officer.get())
    monkeypatch.setattr("consent.office.request_flood.WAITING", 60)
    assert "takes no more : 60 wait for an answer, 0 came" in text(officer.get())
    desk.now += 86_400
    monkeypatch.setattr("consent.office.request_flood.WAITING", WAITING)
    assert "The form for requests" not in text(signed_in(desk, Role.OFFICER).get())


def test_who_is_not_taken_is_told_of_another_way(tmp_path: Path) -> None:
    """What to do now, and the contact that the policy names."""
    policy = tmp_path / "consent.toml"
    policy.write_text(
        '[site]\nname = "Example shop"\ncontroller = "Example GmbH"\ncontact = "privacy@shop.example"\n'
        'privacy_url = "/privacy"\n'
    )
    site = Site(tmp_path, policy=policy)
    with site.browser:
        answers = [site.send() for _ in range(6)]
    assert answers[-1].status_code == 429
    page = answers[-1].text
    assert "Please try again in an hour." in page
    assert "Contact: privacy@shop.example" in page
    assert '<a href="/privacy">' in page
    assert "Alix" not in page


def test_a_flood_is_denied_in_one_go(tmp_path: Path) -> None:
    """What came by the form between two moments, and nothing was done about; each is in the log of accesses."""
    desk = Desk(tmp_path / "data", SQLiteBackend(tmp_path))
    desk.now = time.time() // 86_400 * 86_400 + 7_200
    register = desk.app.register
    before = flood(desk, 1)[0]
    desk.now += 3_600
    junk = flood(desk, 5, 10)
    letter = register.add(replace(ASKED, way=Way.LETTER), "Jo")[0].reference
    seen = flood(desk, 1, 20)[0]
    register.step(seen, StepKind.VERIFY_IDENTITY, "passport", "Jo")
    day = time.strftime("%Y-%m-%d", time.gmtime(desk.now))

    def run(*arguments: str, code: int = 0, answer: str = "") -> str:
        result = CliRunner().invoke(
            main, ["office", "requests", "deny", *arguments, "--data", str(desk.folder.path)], input=answer
        )
        assert result.exit_code == code, result.output
        return result.output

    span = ("--from", f"{day}T02:30:00Z", "--to", f"{day}T23:59:59Z", "--text", "No request of a person.")
    assert "2 characters" not in run(*span[:4], "--text", "x", code=2)
    assert "a day, or a moment" in run("--from", "yesterday T", "--to", day, "--text", "because", code=2)
    run(*span, answer="n\n", code=1)
    assert register.counts((), day)["denied"] == 0
    assert run(*span, "--yes").endswith("5 denied\n")
    states = {each: register.get(each) for each in (before, *junk, seen, letter)}
    assert {each: request.state for each, request in states.items() if request} == {
        before: RequestState.RECEIVED,
        **dict.fromkeys(junk, RequestState.DENIED),
        seen: RequestState.RECEIVED,
        letter: RequestState.RECEIVED,
    }
    opened = register.open(junk[0])
    assert opened is not None
    assert opened.steps[-1].text == "No request of a person."
    denied = [each for each in desk.accesses.newest(limit=50) if each.what == "request-deny"]
    assert {each.details["request"] for each in denied} == {*junk}
    assert "no request of the form waits" in run(*span, "--yes", code=1)


def test_what_a_colleague_took_up_meanwhile_is_not_denied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is named, and not counted; the rest is denied."""
    desk = Desk(tmp_path / "data", SQLiteBackend(tmp_path))
    register = desk.app.register
    acknowledged, verified, junk = flood(desk, 3)

    def confirm(*_: object, **__: object) -> None:
        register.step(acknowledged, StepKind.ACKNOWLEDGE, "", "Jo")
        register.step(verified, StepKind.VERIFY_IDENTITY, "passport", "Jo")

    monkeypatch.setattr("click.confirm", confirm)
    day = time.strftime("%Y-%m-%d", time.gmtime(desk.now))
    arguments = ("--from", day, "--to", day, "--text", "No request of a person.")
    result = CliRunner().invoke(
        main, ["office", "requests", "deny", *arguments, "--data", str(desk.folder.path)]
    )
    assert result.exit_code == 0, result.output
    assert result.output.endswith("1 denied\n")
    assert all(f"{each}: it was taken up meanwhile" in result.output for each in (acknowledged, verified))
    states = [request and request.state for request in map(register.get, (acknowledged, verified, junk))]
    assert states == [RequestState.ACKNOWLEDGED, RequestState.RECEIVED, RequestState.DENIED]
