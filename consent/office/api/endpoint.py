"""What can be asked of the office's API: how an endpoint is described, what it is given, and what it answers."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from consent.answers import Headers
from consent.office.asker import Asker
from consent.office.deprecation import Deprecated
from consent.office.desk import Desk
from consent.office.questions import Parameter, WrongQuestion
from consent.office.roles import Action

WRITE_WEIGHT: Final = 5
"""How many calls a write counts as."""


@dataclass(frozen=True, slots=True)
class Call:
    """One authenticated request."""

    desk: Desk
    asker: Asker
    given: Mapping[str, str]
    """The parameters of the query."""
    places: Mapping[str, str] = field(default_factory=dict)
    """What stands in the places of the path's names."""
    body: Mapping[str, Any] = field(default_factory=dict)
    reason: str = ""
    home: str = ""
    """Where the API is mounted: what ``Location`` begins with."""
    method: str = "GET"
    headers: Headers = ()


@dataclass(frozen=True, slots=True)
class Content:
    """What is answered, when all is well."""

    body: Mapping[str, Any] | bytes | Iterator[bytes] | AsyncIterator[bytes]
    """JSON, or bytes, or bytes as they come."""
    media_type: str = "application/json"
    is_of_a_visitor: bool = False
    """Nobody may keep it."""
    filename: str = ""
    status: int = 200
    headers: Headers = ()
    """Besides those that every answer has."""


class Problem(Exception):
    """A request that is answered with an error: status, code and message of the one shape, and header fields."""

    def __init__(self, status: int, code: str, message: str, *headers: tuple[bytes, bytes]) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.headers = status, code, message, headers


class NothingThere(Exception):
    """There is no such thing, or nothing that the token may see."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One thing that can be asked."""

    method: str
    path: str
    """Below the API's own, with :mod:`names <consent.office.paths>` in it."""
    about: str
    action: Action | None
    """What the token has to allow; ``None``: every token may."""
    answer: Callable[[Call], Content]
    parameters: Sequence[Parameter] = ()
    needs_reason: bool = False
    reason_for: str = ""
    """With which parameter alone it needs a reason."""
    body: Mapping[str, Any] | None = None
    """The schema of the request's body."""
    weight: int = 0
    """How many calls it counts as; 0: one, or :data:`WRITE_WEIGHT` where it writes."""
    status: int = 200
    """What it answers with when all is well."""
    media_types: Sequence[str] = ("application/json",)
    """What its answer may be then."""
    problems: Mapping[int, str] = field(default_factory=dict)
    """What else it may answer with, besides what every endpoint may."""
    in_parts: bool = False
    """Its answer is a file, of which a part can be asked for."""
    reads: bool = False
    """It changes nothing, although it is asked with a body."""
    deprecated: Deprecated | None = None
    """It goes."""
    deprecated_members: Mapping[str, Deprecated] = field(default_factory=dict)
    """Members of the body that go."""

    @property
    def writes(self) -> bool:
        """Whether it changes something."""
        return self.method not in ("GET", "HEAD") and not self.reads

    @property
    def takes_key(self) -> bool:
        """Whether it makes a difference if it is asked once or twice: then ``Idempotency-Key`` counts."""
        return self.writes and self.method in ("POST", "PATCH")

    @property
    def calls(self) -> int:
        """How many calls it counts as."""
        return self.weight or (WRITE_WEIGHT if self.writes else 1)

    def used(self, given: Iterable[str], body: Iterable[str]) -> list[Deprecated]:
        """Return what a request uses that goes.

        Args:
            given: the parameters of its query.
            body: the members of its body.
        """
        names = set(given)
        parts = [self.deprecated, *(each.deprecated for each in self.parameters if each.name in names)]
        parts += [self.deprecated_members.get(name) for name in body]
        return [each for each in parts if each is not None]


def parse_body(body: bytes) -> Mapping[str, Any]:
    """Read a request's body.

    Raises:
        WrongQuestion: it is no JSON object.
    """
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise WrongQuestion("body", "a JSON object")
    return content
