"""Each way by which a script makes the browser contact somebody: refused, allowed, and beside it benign."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from consent.categories import Category
from tests.guard.conftest import Visit, deciding

TRACKER = "snap.licdn.com"
BENIGN = "pictures.example.net"

TECHNIQUES: dict[str, str] = json.loads(
    (Path(__file__).parent / "techniques.json").read_text(encoding="utf-8")
)
"""JavaScript by name, with `url` for an address on one of the two hosts."""


def technique(code: str, host: str) -> str:
    """A script that uses a technique for ``host``."""
    address = f"https://{host}/li.lms-analytics/insight.min.js?x=1"
    return f'<script>(url => {{ {code} }})("{address}")</script>'


@pytest.mark.parametrize("name", TECHNIQUES)
def test_a_refused_host_is_not_contacted_and_a_benign_one_is(visit: Visit, name: str) -> None:
    """With everything refused; the page goes on, and no script is stopped by an exception."""
    visit.open(technique(TECHNIQUES[name], TRACKER) + technique(TECHNIQUES[name], BENIGN))
    visit.wait_for(BENIGN)
    assert TRACKER not in visit.standin.hosts()
    assert visit.errors == []


@pytest.mark.parametrize("name", TECHNIQUES)
def test_an_allowed_host_is_contacted(visit: Visit, name: str) -> None:
    """Somebody who granted targeting alone: the guard is at work, and lets this pass."""
    visit.open(technique(TECHNIQUES[name], TRACKER), decision=deciding(Category.TARGETING))
    visit.wait_for(TRACKER)
