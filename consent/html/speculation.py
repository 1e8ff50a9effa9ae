"""Rules for speculative loads that name no URLs but pick links of the page: which of them stay on the site.

What they pick, browsers load before anybody has clicked, whatever host it leads to.
"""

from __future__ import annotations

import json
from typing import Any

_OWN_PLACES = frozenset(("pathname", "search", "hash"))
OWN_LINKS = {"href_matches": "/*"}
"""A condition that only links to the site itself meet."""


def stays_here(rule: Any) -> bool:
    """Tell whether a rule picks links of the page on its own host only; or none, since it names URLs."""
    if not isinstance(rule, dict) or (rule.get("source") != "document" and "where" not in rule):
        return True
    return _is_own(rule.get("where"))


def _is_own(condition: Any) -> bool:
    """Tell whether only links to the site itself meet a condition; wrong only towards no."""
    if not isinstance(condition, dict):
        return False
    if any(map(_is_own, _listed(condition.get("and")))):
        return True
    either = _listed(condition.get("or"))
    patterns = condition.get("href_matches")
    patterns = patterns if isinstance(patterns, list) else [patterns]
    return (bool(either) and all(map(_is_own, either))) or (bool(patterns) and all(map(_is_here, patterns)))


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _is_here(pattern: Any) -> bool:
    if isinstance(pattern, dict):
        return pattern.keys() <= _OWN_PLACES
    return isinstance(pattern, str) and pattern[:1] in ("/", "?", "#") and pattern[1:2] not in ("/", "\\")


def all_stay_here(content: str) -> bool:
    """Tell whether all rules of a set, as JSON, do so. What is no such set has none."""
    if '"document"' not in content and '"where"' not in content and "\\u" not in content:
        return True
    try:
        rules = json.loads(content)
    except (ValueError, RecursionError):
        return True  # browsers cannot read it either
    lists = rules.values() if isinstance(rules, dict) else ()
    try:
        return all(stays_here(rule) for listed in lists for rule in _listed(listed))
    except RecursionError:
        return False
