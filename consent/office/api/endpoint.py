"""What can be asked of the office's API: how an endpoint is described, what it is given, and what it answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from consent.answers import Headers
from consent.office.asker import Asker
from consent.office.desk import Desk
from consent.office.questions import Parameter, WrongQuestion
from consent.office.roles import Action


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


@dataclass(frozen=True, slots=True)
class Content:
    """What is answered, when all is well."""

    body: Mapping[str, Any] | bytes | Iterator[bytes]
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
    weight: int = 1
    """How many calls it counts as."""
    status: int = 200
    """What it answers with when all is well."""
    media_types: Sequence[str] = ("application/json",)
    """What its answer may be then."""
    problems: Mapping[int, str] = field(default_factory=dict)
    """What else it may answer with, besides what every endpoint may."""


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
