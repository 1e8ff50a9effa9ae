"""Who asks the office something: known by a token, or signed in elsewhere."""

from __future__ import annotations

from dataclasses import dataclass

from consent.office.roles import ALLOWED, OF_ALL_SITES, Action, Role


def sites_of(text: str) -> tuple[str, ...]:
    """Read the sites of an asker as they are kept, one a line; none: all."""
    return tuple(text.split("\n")) if text else ()


@dataclass(frozen=True, slots=True)
class Asker:
    """Somebody whom the office knows, and what they may do there."""

    id: str
    """What their calls are counted by."""
    name: str
    """Whose it is, or what for."""
    role: Role
    sites: tuple[str, ...]
    """As receipts name them; empty: all."""
    expires_ms: int

    @property
    def label(self) -> str:
        """How the log of accesses names them."""
        return f"{self.name} ({self.id})"

    def may(self, action: Action) -> bool:
        """Tell whether their role allows that."""
        return action in ALLOWED[self.role] and not (self.sites and action in OF_ALL_SITES)
