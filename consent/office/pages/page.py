"""What the office's pages have in common: who visits, what goes with an answer, and what can go wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from starlette.types import Scope

from consent.answers import Answer, Headers
from consent.office.asker import Asker
from consent.office.desk import Desk
from consent.office.questions import Parameter, read_query

SECURE: Final[Headers] = (
    (b"cache-control", b"no-store"),
    # With no-referrer, browsers would send our own forms with "Origin: null".
    (b"referrer-policy", b"same-origin"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-robots-tag", b"noindex"),
    # No other origin gets a hold of the window, or of the bytes.
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
PAGE: Final[Headers] = (
    (b"content-type", b"text/html; charset=utf-8"),
    (
        b"content-security-policy",
        b"default-src 'none'; style-src 'self'; frame-src 'self'; form-action 'self'; frame-ancestors 'none';"
        b" base-uri 'none'",
    ),
    *SECURE,
)
# What was shown is markup of the site. It may be looked at and do nothing: it has an origin of its own.
SHOWN: Final[Headers] = (
    (b"content-type", b"text/html; charset=utf-8"),
    (
        b"content-security-policy",
        b"sandbox; default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'self'; form-action 'none';"
        b" base-uri 'none'",
    ),
    *SECURE,
)


class Failed(Exception):
    """A request that is answered with a page that says what is wrong."""

    def __init__(self, status: int, title: str, message: str) -> None:
        super().__init__(message)
        self.status, self.title, self.message = status, title, message


class Render(Protocol):
    """Renders a template of the office for somebody."""

    def __call__(self, name: str, asker: Asker | None, *, status: int = 200, **values: Any) -> Answer:
        """Return the page."""


@dataclass(frozen=True, slots=True)
class Visit:
    """One request of somebody who is signed in."""

    desk: Desk
    asker: Asker
    scope: Scope
    places: Mapping[str, str]
    """What stands in the places of the path's names."""
    form: Mapping[str, str]
    renderer: Render
    home: str
    """The console's path."""

    def query(self, *allowed: Parameter) -> dict[str, str]:
        """Return the parameters of the request.

        Raises:
            WrongQuestion: one is unknown.
        """
        return read_query(self.scope, allowed)

    def render(self, name: str, **values: Any) -> Answer:
        """Return a page for who visits."""
        return self.renderer(name, self.asker, **values)

    def moved(self, path: str) -> Answer:
        """Lead to a page of the console, after something was done."""
        return Answer(303, ((b"location", f"{self.home}{path}".encode()), *SECURE))


@dataclass(frozen=True, slots=True)
class Download:
    """A file in answer, as it comes."""

    headers: Headers
    pieces: Iterator[bytes]
    status: int = 200


Pages = Mapping[tuple[str, str], Callable[[Visit], Answer | Download]]
"""What a method and a path below the console's own, with :mod:`names <consent.office.paths>` in it, show."""


def leaf_of(text: str) -> int:
    """Read the number of a leaf."""
    if not (text.isascii() and text.isdigit() and len(text) <= 15):
        raise Failed(404, "There is no such receipt", "A receipt is named by its number in the log.")
    return int(text)
