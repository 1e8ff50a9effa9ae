"""What decides about the things the rewriter finds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol

Instead = Literal["held", "replaced"]
"""What may become of a refused element other than that it is taken out."""

Skip = Callable[[bytes, int, int, int], int]
"""``skip(page, position, longest, reading)`` returns the next place that needs a look.

Args:
    page: bytes that are read as HTML from ``position`` on, where no tag is open.
    longest: how many bytes an element may have whose content must be known to judge it.
    reading: the sum of those that hold of ``AT_HOME``, ``SCRIPTING``, ``IS_PAGE``, ``BEFORE_HEAD``,
        ``BEFORE_RUNNING``.
"""
AT_HOME = 1
"""Relative URLs lead to the page's own host."""
SCRIPTING = 2
"""``noscript`` is read as browsers with JavaScript do."""
IS_PAGE = 4
"""It is a page for certain, not a piece of one: ``<html>`` and ``<body>`` tell nothing new."""
BEFORE_HEAD = 8
"""All needs a look that could load or run, and the head's start."""
BEFORE_RUNNING = 16
"""All needs a look that may run a script as it is read, or lead to where none can be put in."""


class Judge(Protocol):
    """Decides about what the rewriter finds, and keeps account of it.

    Called from one page's rewriter only, in document order; must not raise.
    """

    @property
    def skip(self) -> Skip | None:
        """Passes what this judge need not be asked about; ``None``: it wants to be asked about everything."""

    def refuses_url(self, element: str, url: str) -> bool:
        """Tell whether ``element`` must not load ``url`` (an attribute's value, references decoded)."""

    def refuses_script(self, code: str) -> bool:
        """Tell whether the inline script ``code`` must not run."""

    def begin_element(self) -> None:
        """From here on, what is refused belongs to an element that may stay, inert."""

    def refused_by(self) -> frozenset[str]:
        """Return whose consent that element waits for: each ``category/vendor``.

        Empty where that is not all that is wrong with it: then nobody's consent can bring it back.
        """

    def note_instead(self, action: Instead) -> None:
        """Take note that the element stays in the page like that, and was not taken out."""

    def set_base(self, url: str) -> None:
        """From here on relative references are resolved against ``url``."""

    def note_undecided(self, element: str) -> None:
        """Take note that an ``element`` was taken out because it could not be read to its end."""
