"""The mark that a refusal leaves beside the choice, so that no answer goes over it that did not know of it.

The answer that reaches a browser last is the one whose choice cookie stays. It may be that to a yes which was sent
before a no was given: in another tab, or on a slow network. So each choice that refuses something sets a cookie of its
own as well, named after the choice, ``…_no_3f2504e0``. An answer takes away the marks that came with its request, and
no others: a mark that stands beside another choice is of a no which that choice did not know of, and it counts.

The value is what is refused: the first letters of the categories. It is not signed. Whoever makes one up can refuse,
and whoever can set cookies here can do that anyway.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType

from consent.categories import OPTIONAL, Category
from consent.choice import Choice
from consent.cookie_lines import cookies

TAG_DIGITS = 8
"""How many digits of a receipt's id tell a visitor's choices apart, in the names of cookies."""
_ALL = frozenset(OPTIONAL)
_LETTERS = {category.value[0]: category for category in OPTIONAL}
_NAME = re.compile(rb"_[0-9a-f]{%d}" % TAG_DIGITS)
_VALUE = re.compile(rb"[%s]{1,3}" % "".join(_LETTERS).encode())


def mark_of(choice: Choice) -> str:
    """Return the value of the mark of ``choice``; empty: it refuses nothing.

    A vendor that is refused by itself counts for everything: there is no room for names, and it is better to be asked
    again than to be overheard.
    """
    refused = _ALL - choice.granted if all(choice.vendors.values()) else _ALL
    return "".join(letter for letter, category in _LETTERS.items() if category in refused)


def is_mark(name: bytes, stem: bytes) -> bool:
    """Tell whether a cookie of that name is a mark, where the names of marks begin with ``stem``."""
    return name.startswith(stem) and _NAME.fullmatch(name, len(stem)) is not None


def marks(headers: Iterable[tuple[bytes, bytes]], stem: bytes) -> Mapping[bytes, frozenset[Category]]:
    """Return what each mark in a request refuses, by its name; everything, where that cannot be read.

    Args:
        headers: Raw ASGI pairs with lower-case names.
        stem: What the names of marks begin with.
    """
    found: dict[bytes, frozenset[Category]] = {}
    for name, value in cookies(headers, stem):
        if is_mark(name, stem):
            known = _VALUE.fullmatch(value) is not None
            refused = frozenset(_LETTERS[letter] for letter in value.decode()) if known else _ALL
            found[name] = found.get(name, frozenset()) | refused
    return found


def without(choice: Choice, refused: frozenset[Category]) -> Choice:
    """Return ``choice`` without ``refused``, and without the vendors that it allowed by themselves."""
    if not refused:
        return choice
    vendors = {vendor: allowed for vendor, allowed in choice.vendors.items() if not allowed}
    return replace(choice, granted=choice.granted - refused, vendors=MappingProxyType(vendors))
