"""What is noted of what pages say of themselves."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import Any

import pytest

from consent.scanner import crawl, watching
from consent.scanner import recording as kept
from consent.scanner.crawl import _Visiting
from consent.scanner.recording import Bounds, Phase, PhaseRecord
from consent.scanner.watching import Watcher

KEPT = ["local", "a"]


def noted(*answers: Any) -> PhaseRecord:
    record = PhaseRecord(Phase.BEFORE)
    watcher = Watcher(record, SimpleNamespace())  # type: ignore[arg-type]
    watcher.page = "https://www.fernwell.example/"

    async def look() -> None:
        for answer in answers:
            frame = SimpleNamespace(evaluate=lambda _, said=answer: _given(said))
            page: Any = SimpleNamespace(frames=[frame])
            await watcher.look(page, SimpleNamespace(send=lambda _: _given({})))  # type: ignore[arg-type]

    asyncio.run(look())
    watcher.finish(())
    return record


async def _given(value: Any) -> Any:
    return value


@pytest.mark.parametrize(
    "answer",
    [
        {"found": [KEPT, "x"]},
        {"found": [KEPT, 1]},
        {"found": [KEPT, [1, 2, 3]]},
        {"found": [KEPT], "probe": '{"calls": [["canvas", "x", 1e999, 0]]}'},
        {"found": [KEPT], "probe": '{"calls": 1}'},
        {"found": [KEPT], "probe": "[" * 100_000},
    ],
)
def test_a_page_that_answers_nonsense_is_looked_at_all_the_same(answer: Any) -> None:
    """It may have replaced what the question is asked with; what it said before that counts."""
    record = noted({"origin": "https://www.fernwell.example", **answer})
    assert ([item.key for item in record.stored], record.dropped) == (["a"], 1)


def test_a_page_cannot_fill_the_memory_with_names() -> None:
    """Each is cut, and there is a bound on how many are kept."""
    many = [["local", "k" * 5000 + str(number)] for number in range(3)] + [
        ["local", str(n)] for n in range(3_000)
    ]
    record = noted({"found": many})
    assert len(record.stored) == kept.MAX_KEPT
    assert max(len(item.key) for item in record.stored) == kept.MAX_NAME


def test_ten_thousand_cookies_are_kept_in_part() -> None:
    """What there is no room for is counted."""
    made = [
        {
            "name": f"c{n}",
            "domain": f"h{n}.example",
            "path": "/",
            "session": True,
            "httpOnly": False,
            "secure": False,
        }
        for n in range(10_000)
    ]
    record = PhaseRecord(Phase.BEFORE)
    watcher = Watcher(record, SimpleNamespace())  # type: ignore[arg-type]
    watcher.open("https://h7.example/")
    session: Any = SimpleNamespace(send=lambda _: _given({"cookies": made}))
    asyncio.run(watcher.look(SimpleNamespace(frames=[]), session))  # type: ignore[arg-type]
    assert record.dropped == 10_000 - kept.MAX_KEPT
    watcher.finish(())
    assert [cookie.name for cookie in record.cookies] == ["c7"]  # nobody else was asked for anything


def test_frames_that_do_not_answer_are_waited_for_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many there are."""
    monkeypatch.setattr(watching, "ANSWER_SECONDS", 0.2)
    record = PhaseRecord(Phase.BEFORE)
    watcher = Watcher(record, SimpleNamespace())  # type: ignore[arg-type]
    frame = SimpleNamespace(evaluate=lambda _: asyncio.sleep(60))
    session: Any = SimpleNamespace(send=lambda _: _given({}))
    began = time.monotonic()
    asyncio.run(watcher.look(SimpleNamespace(frames=[frame] * 90), session))  # type: ignore[arg-type]
    assert (time.monotonic() - began < 5, record.dropped) == (True, 1)


def test_a_page_that_the_browser_does_not_cope_with_ends_the_phase(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was seen until then is reported; no further page is opened."""
    monkeypatch.setattr(crawl, "STUCK_SECONDS", 0.2 - crawl.PAGE_SECONDS - 2 * crawl.SETTLE_SECONDS)
    scan = object.__new__(crawl._Crawl)
    scan._progress = lambda *_: None
    visiting: Any = _Visiting(Bounds(), PhaseRecord(Phase.BEFORE), None, SimpleNamespace(context=None))  # type: ignore[arg-type]
    visiting.visit = lambda _: asyncio.sleep(60)
    visit = asyncio.run(scan._visit(visiting, "https://www.fernwell.example/", 1))
    assert (visit.status, visit.problem) == (0, "the browser did not answer any more")
    assert visiting.record.visits == [visit]
    assert not visiting.may_go_on(1)


@pytest.mark.parametrize("answer", [None, 1, [1], ["abc"], [["a", "b"], None]])
def test_a_page_that_tells_nonsense_about_its_links_leads_nowhere(answer: Any) -> None:
    """The others are opened all the same."""
    visiting = _Visiting(Bounds(), PhaseRecord(Phase.BEFORE), None, SimpleNamespace(context=None))  # type: ignore[arg-type]
    visiting.page = SimpleNamespace(evaluate=lambda _: _given(answer))  # type: ignore[assignment]
    assert asyncio.run(visiting.links()) == []
