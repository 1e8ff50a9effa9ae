"""Paths with names in them, such as ``/receipts/{leaf}``: the API's and the console's."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache


def places_in(pattern: str, path: str) -> Mapping[str, str] | None:
    """Return what stands in the places of a pattern's names; ``None``: the path is another.

    Args:
        pattern: a path; each ``{name}`` in it is one part of a path, whatever it is.
        path: the one that was asked for.
    """
    found = _compiled(pattern).fullmatch(path)
    return None if found is None else found.groupdict()


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", re.escape(pattern)))
