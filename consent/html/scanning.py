"""The rewriter's inner loops: from one place worth looking at to the next, and one tag taken apart.

In C where that was built. The C reads every tag with care, where Python's patterns stop at whatever is odd; so
it stops less often, and never passes what the patterns would have had to stop at.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from consent.html import tokenizer
from consent.html.tokenizer import (
    CLOSING,
    LOADING,
    LOADING_ATTRIBUTES,
    STRUCTURAL,
    Attribute,
    Tag,
)
from consent.speedups import compiled

NextStop = Callable[[bytes, int, int], int]

next_stop: NextStop = tokenizer.next_stop
"""See :func:`consent.html.tokenizer.next_stop`."""
next_stop_at_home: NextStop = tokenizer.next_stop
"""The same for a page whose relative URLs lead to its own host: tags that load only from there may pass too."""
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
    # Flags of tags: stop always, stop where an attribute loads from elsewhere, stop at the end tag too.
    _ALWAYS, _IF_LOADING, _CLOSING = 1, 2, 4
    # Flags of attributes: whatever the value, a style that refers to something, a URL on another host.
    _ANY_VALUE, _STYLE, _URL = 1, 2, 4

    def _flags(names: str, flags: int) -> dict[bytes, int]:
        return dict.fromkeys(names.encode("ascii").split(), flags)

    _structural = _flags(STRUCTURAL, _ALWAYS) | _flags(CLOSING, _ALWAYS | _CLOSING)
    _anywhere = _flags("ping background", _ANY_VALUE) | _flags("style", _STYLE)
    next_stop = _c.TagSkipper(_structural | _flags(LOADING, _ALWAYS), _anywhere).skip
    next_stop_at_home = _c.TagSkipper(
        _structural | _flags(LOADING, _IF_LOADING),
        # A refresh names its address among other things.
        _anywhere | _flags(LOADING_ATTRIBUTES, _URL) | _flags("http-equiv", _ANY_VALUE),
    ).skip

    def start_tag(data: bytes, start: int) -> Tag | None:
        return cast("Tag | None", _c.start_tag(data, start, Tag, Attribute))

    find_tag = _c.find_tag
