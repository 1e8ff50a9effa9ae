"""What a value that somebody wrote into a file may be, whatever it is about, and how to say what is wrong with it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from enum import StrEnum
from typing import TypeVar

MAX_LISTED = 500
"""Vendors and own cookies each; nobody would read more."""
_MAX_LINE = 200  # characters of a name, purpose or address
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_Item = TypeVar("_Item")


class Wrong(Exception):
    """A value breaks its rule. ``index`` is the offending item where the value is a list or a table."""

    def __init__(self, message: str, index: int | str | None = None) -> None:
        self.index = index
        super().__init__(message)


def a_line(value: object) -> str:
    if not isinstance(value, str):
        raise Wrong(f"must be a text in quotes, not {kind_of(value)}")
    if len(value) > _MAX_LINE:
        raise Wrong(f"must have at most {_MAX_LINE} characters; this has {len(value)}")
    if _CONTROL.search(value):
        raise Wrong("must be a single line without control characters")
    return value


def a_filled_line(value: object) -> str:
    text = a_line(value)
    if not text.strip():
        raise Wrong("must not be empty")
    return text


def a_text(value: object) -> str:
    if not isinstance(value, str):
        raise Wrong(f"must be a text in quotes, not {kind_of(value)}")
    return value  # which keys there are, and what fits them, is for consent.texts to say


def a_flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise Wrong(f"must be true or false, without quotes, not {kind_of(value)}")
    return value


def one_of(kind: type[StrEnum]) -> Callable[[object], StrEnum]:
    """Return the rule of what is one of a few words."""

    def rule(value: object) -> StrEnum:
        name = a_line(value)
        try:
            return kind(name)
        except ValueError:
            raise Wrong(f"must be one of {listed(list(kind))}") from None

    return rule


def each_of(value: object, what: str, rule: Callable[[object], _Item]) -> tuple[_Item, ...]:
    """Return what ``rule`` makes of each item of a list.

    Raises:
        Wrong: it is no list, or one of them breaks the rule.
    """
    if not isinstance(value, (list, tuple)):
        raise Wrong(f"must be a list of {what}, not {kind_of(value)}")
    found = []
    for index, item in enumerate(value):
        try:
            found.append(rule(item))
        except Wrong as error:
            raise Wrong(str(error), index) from None
    return tuple(found)


def list_of(what: str, wrong: Callable[[str], str | None]) -> Callable[[object], tuple[str, ...]]:
    """Return the rule of a list of texts in which ``wrong`` finds nothing that is wrong."""

    def rule(item: object) -> str:
        text = a_line(item)
        if found := wrong(text):
            raise Wrong(f'"{text}" {found}')
        return text

    return lambda value: each_of(value, what, rule)


def all_different(what: str, names: list[str]) -> None:
    if len(names) > MAX_LISTED:
        raise Wrong(f"there are {len(names)} of them; at most {MAX_LISTED} can be listed")
    seen = set()
    for index, name in enumerate(names):
        if name in seen:
            raise Wrong(f'the {what} "{name}" is listed twice: remove one', index)
        seen.add(name)


def listed(names: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def suggestion(asked: str, known: Collection[str]) -> str:
    close = difflib.get_close_matches(asked.lower()[:100], known, n=1)
    if close:
        return f'did you mean "{close[0]}"?'
    return f"use one of {listed(known)}" if len(known) <= 15 else "check the spelling"


def kind_of(value: object) -> str:
    """Name a value's type in TOML's words."""
    for kind, name in (
        (bool, "true or false"),
        (str, "a text"),
        (int, "a whole number"),
        (float, "a number"),
        (list, "a list"),
        (Mapping, "a table"),
        (type(None), "nothing"),
    ):
        if isinstance(value, kind):
            return name
    return "a date or time"
