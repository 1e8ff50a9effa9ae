"""Paths of the API and the console: with names in them, such as ``/receipts/{leaf}``, and no slash at the end."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Any
from urllib.parse import quote


def is_below(home: str, path: str) -> bool:
    """Tell whether a path is that of the API, or the console, or below it."""
    return path == home or path.startswith(f"{home}/")


def places_in(pattern: str, path: str) -> Mapping[str, str] | None:
    """Return what stands in the places of a pattern's names; ``None``: the path is another.

    Args:
        pattern: a path; each ``{name}`` in it is one part of a path, whatever it is.
        path: the one that was asked for.
    """
    found = _compiled(pattern).fullmatch(path)
    return None if found is None else found.groupdict()


def without_slash(scope: Mapping[str, Any]) -> bytes | None:
    """Return where a request belongs whose path ends with a slash; ``None``: it does not.

    A slash that was written as ``%2F`` is a part of a name.
    """
    path = scope["path"]
    written = scope.get("raw_path") or b"/"
    if not path.endswith("/") or not written.endswith(b"/"):
        return None
    query = scope.get("query_string", b"")
    return quote(path.rstrip("/")).encode() + (b"?" + query if query else b"")


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", re.escape(pattern)))
