"""The four categories that everything that tracks is sorted into."""

from __future__ import annotations

from enum import StrEnum


class Category(StrEnum):
    """What a tracker is for. The order is the order in which visitors read them."""

    STRICTLY_NECESSARY = "strictly-necessary"
    """The site cannot work without it; always on."""
    PERFORMANCE = "performance"
    """Counting visits, measuring how the site is used."""
    FUNCTIONAL = "functional"
    """Enhanced functions, personalisation, embeds such as video, maps and chat."""
    TARGETING = "targeting"
    """Profiles and advertising."""


OPTIONAL: tuple[Category, ...] = (Category.PERFORMANCE, Category.FUNCTIONAL, Category.TARGETING)
"""The categories that a visitor may refuse, in reading order."""
