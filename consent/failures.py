"""What becomes of a page or file that cannot be rewritten: decided in one place, counted, and logged once each."""

from __future__ import annotations

import logging
from collections import Counter
from enum import StrEnum
from typing import Literal, assert_never

from consent.codings import BrokenCoding
from consent.html import RewriterLimitExceeded
from consent.own_files import FileTooLong

logger = logging.getLogger("consent")

OnError = Literal["withhold", "pass"]
"""The site's choice for the rest of a page that cannot be rewritten."""
_MAX_TOLD = 256


class Failure(StrEnum):
    """Why a page, or the rest of it, was not rewritten."""

    UNKNOWN_CODING = "unknown-coding"
    """Its content coding cannot be undone here."""
    BROKEN_CODING = "broken-coding"
    """It is not in the content coding that it says it is in, or ends in the middle."""
    UNDECIDED = "undecided"
    """It keeps one thing undecided for longer than the rewriter may wait."""
    TOO_LONG = "too-long"
    """It is a file of the site's own that is longer than what is kept back to judge it."""
    DEFECT = "defect"
    """The rewriter itself failed."""


def failure_of(error: Exception) -> Failure:
    """Say what kind of failure ``error`` is. Whatever is not expected is a defect."""
    if isinstance(error, BrokenCoding):
        return Failure.BROKEN_CODING
    if isinstance(error, RewriterLimitExceeded):
        return Failure.UNDECIDED
    if isinstance(error, FileTooLong):
        return Failure.TOO_LONG
    return Failure.DEFECT


def passes(failure: Failure, on_error: OnError) -> bool:
    """Say whether what could not be rewritten is sent as it is. The only place that does."""
    match failure:
        case Failure.UNKNOWN_CODING | Failure.TOO_LONG:
            # The app's choice, whatever Accept-Encoding said: withholding would break every such page. And of files
            # that long most name no tracker.
            return True
        case Failure.BROKEN_CODING | Failure.UNDECIDED | Failure.DEFECT:
            return on_error == "pass"
        case _:
            assert_never(failure)


class Failures:
    """The account of them for one middleware, over its lifetime."""

    def __init__(self, on_error: OnError) -> None:
        self._on_error: OnError = on_error
        self.counts: Counter[Failure] = Counter()
        self._told: set[tuple[Failure, str]] = set()

    def unknown_coding(self, coding: str, path: str) -> None:
        """A page or file passes in a coding that cannot be undone."""
        self._take(
            Failure.UNKNOWN_CODING,
            coding,
            f"answers in the content coding {coding!r} cannot be read and pass as they are, {path} for one; "
            "let the app leave compression to what is in front of it, or install 'asgi-consent[codings]'",
        )

    def meets(self, error: Exception, path: str) -> bool:
        """A page or file cannot be rewritten because of ``error``: return whether the rest passes as it is."""
        failure = failure_of(error)
        result = passes(failure, self._on_error)
        self._take(
            failure,
            path,
            f"{path} cannot be rewritten ({type(error).__name__}: {error}); "
            f"the rest of it is {'passed unread' if result else 'withheld'}",
            error if failure is Failure.DEFECT else None,
        )
        return result

    def _take(self, failure: Failure, subject: str, text: str, error: Exception | None = None) -> None:
        self.counts[failure] += 1
        if (failure, subject) in self._told or len(self._told) >= _MAX_TOLD:
            logger.debug("%s", text)
            return
        # The second page of a kind tells nobody anything new.
        self._told.add((failure, subject))
        logger.error("%s", text, exc_info=error)
