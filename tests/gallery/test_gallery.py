"""What every page of the gallery does in Chromium: without the middleware, and in each state of a choice."""

from __future__ import annotations

import pytest

from tests.gallery.pages import Page
from tests.gallery.run import Showing, State
from tests.gallery.summary import faults

# The first of these tests shows the whole gallery.
pytestmark = pytest.mark.timeout(900)


def test_the_technique_works_without_the_middleware(showing: Showing, page: Page) -> None:
    """The positive control: the tracker and everything benign is contacted; what is inert contacts nobody."""
    assert faults(showing, page, State.BARE) == []


def test_the_tracker_is_not_contacted_before_a_choice(showing: Showing, page: Page) -> None:
    """Nothing reaches a refused tracker, nothing is kept for it, nothing benign is lost."""
    assert faults(showing, page, State.BEFORE) == []


def test_the_page_is_the_original_after_accept(showing: Showing, page: Page) -> None:
    """All is contacted again, and the page is the app's own but for what the middleware inserted."""
    assert faults(showing, page, State.ACCEPTED) == []


def test_the_tracker_is_not_contacted_after_withdrawal(showing: Showing, page: Page) -> None:
    """The same as before a choice, in a browser that has met the trackers."""
    assert faults(showing, page, State.WITHDRAWN) == []
