"""What is noted of what pages say of themselves."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

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


@pytest.mark.parametrize("answer", [None, 1, [1], ["abc"], [["a", "b"], None]])
def test_a_page_that_tells_nonsense_about_its_links_leads_nowhere(answer: Any) -> None:
    """The others are opened all the same."""
    visiting = _Visiting(Bounds(), PhaseRecord(Phase.BEFORE), None, SimpleNamespace(context=None))  # type: ignore[arg-type]
    visiting.page = SimpleNamespace(evaluate=lambda _: _given(answer))  # type: ignore[assignment]
    assert asyncio.run(visiting.links()) == []
