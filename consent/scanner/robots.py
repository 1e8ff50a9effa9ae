"""What a site's robots.txt asks of the scanner (RFC 9309)."""

from __future__ import annotations

from collections.abc import Iterable

from consent.catalog.matching import Glob
from consent.html.urls import PageURL, resolve

PRODUCT = "asgi-consent-scan"
"""The name that a robots.txt speaks to the scanner by, and that is in its user agent."""
MAX_ROBOTS_BYTES = 512 * 1024
"""No more of the file is read (RFC 9309, section 2.5: at least 500 KiB)."""
MAX_RULES = 2_000
"""Rules of one product that count; the rest of them is passed over."""
_NOWHERE = PageURL("https", "robots.invalid", "/")


class Robots:
    """The rules for one product: its own groups, or else those for everybody.

    The longest rule that fits counts; where a permission is as long as a prohibition, it is permitted (RFC 9309,
    section 2.2.2).
    """

    def __init__(self, text: str, product: str = PRODUCT) -> None:
        groups: dict[str, list[tuple[bool, str]]] = {}
        agents: list[str] = []
        speaking = False  # whether the last line named an agent: several may share their rules
        for key, value in _lines(text):
            if key == "user-agent":
                agents = [*agents, value.lower()] if speaking else [value.lower()]
                for agent in agents:
                    groups.setdefault(agent, [])
                speaking = True
            elif key in ("allow", "disallow"):
                speaking = False
                for agent in agents:
                    if value and len(groups[agent]) < MAX_RULES:
                        groups[agent].append((key == "allow", value))
        rules = groups.get(product.lower(), groups.get("*", []))
        self._rules = sorted(
            ((_pattern(path), allows) for allows, path in rules),
            key=lambda rule: (-rule[0].literals, not rule[1]),
        )

    def allow(self, target: str) -> bool:
        """Tell whether the page at ``target`` may be opened: path and query, from the ``/`` on."""
        for pattern, allows in self._rules:
            if pattern.matches(target):
                return allows
        return True


def _lines(text: str) -> Iterable[tuple[str, str]]:
    for line in text.lstrip("\ufeff").splitlines():
        key, colon, value = line.partition("#")[0].partition(":")
        if colon:
            yield key.strip().lower(), value.strip()


def _pattern(path: str) -> Glob:
    """Return a rule's path as a pattern for whole targets, in the spelling that these are compared in."""
    anchored = path.endswith("$")
    target = resolve(path.removesuffix("$"), _NOWHERE)
    plain = path.removesuffix("$") if target is None else target.path
    return Glob(plain if anchored else f"{plain}*")
