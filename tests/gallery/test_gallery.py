"""What every page of the gallery does in Chromium: without the middleware, and before a choice.

``make gallery`` shows it in all states, the other two being after accept and after withdraw.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.gallery.pages import Page
from tests.gallery.run import Showing, State
from tests.gallery.summary import faults, layer_lines

LAYERS = Path(__file__).parents[2] / "docs" / "layers.md"

# The first of these tests shows the whole gallery.
pytestmark = pytest.mark.timeout(1200)


def test_the_technique_works_without_the_middleware(showing: Showing, page: Page) -> None:
    """The positive control: the tracker and everything benign is contacted; what is inert contacts nobody."""
    assert faults(showing, page, State.BARE) == []


def test_the_tracker_is_not_contacted_before_a_choice(showing: Showing, page: Page) -> None:
    """Nothing reaches a refused tracker, nothing is kept for it, nothing benign is lost."""
    assert faults(showing, page, State.BEFORE) == []


def test_the_documentation_has_the_table_that_was_measured(showing: Showing) -> None:
    """How many pages of each tier reach their tracker, and which pages each remaining contact is shown by."""
    text = LAYERS.read_text(encoding="utf-8")
    missing = [line for line in layer_lines(showing) if line not in text.splitlines()]
    assert missing == []
