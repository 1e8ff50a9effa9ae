"""What the server did, counted: from the page to the question whether anything left that was refused."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from starlette.applications import Starlette
from starlette.responses import HTMLResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from consent import ConsentMiddleware, enforcement_log
from consent.catalog import load_catalog
from consent.cli import main
from consent.data_folder import DataFolder
from consent.decision import Reason
from consent.enforcement import Action, Finding
from consent.enforcement_log import EnforcementKind, EnforcementLog
from consent.errors import StoreUnavailable
from consent.policy import Policy
from consent.sqlite_log import SQLiteReceiptLog
from consent.sqlite_store import SQLiteStore
from tests.test_receipts import KEYS

PIXEL = '<img src="https://www.facebook.com/tr?id=1"><script src="https://www.googletagmanager.com/gtag/js"></script>'
VENDOR = load_catalog().vendors["google-analytics"]
DAY = 1_772_323_200


def kind(**fields: str) -> EnforcementKind:
    return EnforcementKind(
        **{
            "day": "2026-03-01",
            "site": "Shop",
            "rule": "script",
            "vendor": "google-analytics",
            "category": "performance",
            "action": "stripped",
            "reason": "no-choice",
            "policy_version": "abc",
            **fields,
        }
    )


def finding(action: Action = Action.STRIPPED, reason: Reason = Reason.NO_CHOICE) -> Finding:
    return Finding(action, "script", "www.googletagmanager.com/gtag/js", VENDOR, reason)


def test_what_was_done_is_counted_by_kind_and_by_nobody() -> None:
    """By day and reason; what nobody has explained is left to the inventory."""
    log = EnforcementLog("Shop", "abc")
    unexplained = Finding(Action.ALLOWED, "script", "cdn.example/x.js", None, None)
    log.note([finding(), finding(), unexplained, finding(Action.ALLOWED, Reason.GRANTED)], DAY)
    log.note([finding(reason=Reason.GPC)], DAY + 86_399)
    log.note([finding()], DAY + 86_400)
    expected = {
        kind(): 2,
        kind(action="allowed", reason="granted"): 1,
        kind(reason="gpc"): 1,
        kind(day="2026-03-02"): 1,
    }
    taken = log.take()
    assert taken == expected
    assert log.take() == {}
    log.note([finding()], DAY)
    log.give_back(taken)
    assert log.take() == {**expected, kind(): 3}


def test_counts_in_memory_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """What there is no room for is told; what has a count already goes on."""
    monkeypatch.setattr(enforcement_log, "MAX_PENDING", 2)
    log = EnforcementLog("Shop", "abc")
    for reason in (Reason.NO_CHOICE, Reason.GPC, Reason.DNT, Reason.GPC):
        log.note([finding(reason=reason)], DAY)
    assert log.take() == {kind(): 1, kind(reason="gpc"): 2}
    assert log.turned_away == 1


@pytest.mark.parametrize("reason", list(Reason))
def test_a_leak_is_what_left_for_a_reason_that_refuses(reason: Reason) -> None:
    """Only always-on, granted, the regime and what a policy lets through let a tag leave."""
    allowing = {Reason.ALWAYS_ON, Reason.GRANTED, Reason.REGIME, Reason.LET_THROUGH}
    assert kind(action="allowed", reason=str(reason)).leaked is (reason not in allowing)
    assert kind(action="stripped", reason=str(reason)).leaked is False


def test_the_store_adds_up(tmp_path: Path) -> None:
    """All of it or nothing; what cannot be written is given back to who counted it."""
    path = tmp_path / "receipts.sqlite3"
    store = SQLiteStore(path, KEYS)
    store.count({kind(): 2, kind(reason="gpc"): 1})
    store.count({kind(): 3})
    store.close()
    with SQLiteReceiptLog(path, KEYS) as log:
        assert dict(log.enforcement("2026-03-01", "2026-03-01")) == {kind(): 5, kind(reason="gpc"): 1}
        assert log.enforcement("2026-03-02", "9999") == []
    lost = SQLiteStore(tmp_path / "nowhere" / "receipts.sqlite3", KEYS)
    with pytest.raises(StoreUnavailable):
        lost.count({kind(): 1})
    lost.close()


def test_the_thread_that_writes_does_not_wait_for_itself(tmp_path: Path) -> None:
    """Where a forgotten middleware happens to be taken apart in it, its last counts are lost instead."""
    store = SQLiteStore(tmp_path / "receipts.sqlite3", KEYS)

    async def run() -> None:
        with pytest.raises(StoreUnavailable, match="not written from the thread that writes"):
            await store._do(lambda database: store.count({kind(): 1}))
        await store.aclose()

    asyncio.run(run())


def test_the_office_asks_whether_a_refused_tag_left(tmp_path: Path) -> None:
    """Pages with targeting tags, to visitors who refuse them by silence, choice and signal: none left."""

    async def page(request: object) -> HTMLResponse:
        return HTMLResponse(f"<!doctype html><title>x</title><body>{PIXEL}")

    policy = Policy(site="Shop")
    app = ConsentMiddleware(Starlette(routes=[Route("/", page)]), policy=policy, data=tmp_path / "data")
    with TestClient(app) as client:
        client.get("/")
        client.get("/", headers={"Sec-GPC": "1"})
        same_origin = {"Sec-Fetch-Site": "same-origin"}
        client.post("/_consent/choice", json={"action": "save", "performance": True}, headers=same_origin)
        client.get("/")
    data = DataFolder(tmp_path / "data")
    with SQLiteReceiptLog(data.receipts_path, data.ledger_keys()) as log:
        counts = log.enforcement("0000", "9999")
    found = {(c.kind.vendor, c.kind.category, c.kind.action, c.kind.reason): c.times for c in counts}
    meta = next(c.kind.vendor for c in counts if c.kind.category == "targeting")
    assert found == {
        (meta, "targeting", "stripped", "no-choice"): 1,
        (meta, "targeting", "stripped", "gpc"): 1,
        (meta, "targeting", "stripped", "refused"): 1,
        ("google-analytics", "performance", "stripped", "no-choice"): 2,
        ("google-analytics", "performance", "allowed", "granted"): 1,
    }
    assert {c.kind.policy_version for c in counts} == {policy.version}
    assert {c.kind.site for c in counts} == {"Shop"}

    def ask(*arguments: str) -> tuple[int, str, str]:
        result = CliRunner().invoke(main, ["enforcement", "--data", str(data.path), *arguments])
        return result.exit_code, result.stdout, result.stderr

    assert ask("--leaks") == (0, "", "0 left although they were refused\n")
    status, output, _ = ask()
    assert status == 0
    assert len([json.loads(line) for line in output.splitlines()]) == 5
    # The control: a count of one that left is found.
    leak = counts[0].kind._replace(category="targeting", action="allowed", reason="refused")
    store = SQLiteStore(data.receipts_path, data.ledger_keys())
    store.count({leak: 2})
    asyncio.run(store.aclose())
    status, output, errors = ask("--leaks")
    assert (status, errors) == (1, "2 left although they were refused\n")
    assert json.loads(output) == {**leak._asdict(), "times": 2}
