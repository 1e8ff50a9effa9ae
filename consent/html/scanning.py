"""One tag taken apart, and the next one of a name: in C where that was built."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from consent.html import tokenizer
from consent.html.tokenizer import Attribute, Tag
from consent.speedups import compiled

start_tag: Callable[[bytes, int], Tag | None] = tokenizer.start_tag
"""See :func:`consent.html.tokenizer.start_tag`."""


def find_tag(data: bytes, position: int, name: bytes) -> int:
    """Return where a tag of that name begins, from ``position`` on; -1 where there is none, or not all of its name.

    Comments and raw text are not told from markup.

    Args:
        name: lower case; an end tag's begins with ``/``.
    """
    found = tokenizer.tag_named(name).search(data, position)
    return found.start() if found else -1


if compiled is not None:
    _c = compiled

    def start_tag(data: bytes, start: int) -> Tag | None:
        return cast("Tag | None", _c.start_tag(data, start, Tag, Attribute))

    find_tag = _c.find_tag
