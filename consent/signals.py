"""What one request says about the visitor's wishes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from consent.choice import BrowserSignal, Choice

# TPE section 5.2: DNT-extension is any visible ASCII character but the double quote, comma and backslash.
_DNT = re.compile(rb"([01])[\x21\x23-\x2b\x2d-\x5b\x5d-\x7e]*")


class ChoiceState(StrEnum):
    """What became of the stored choice when it was read."""

    ABSENT = "absent"
    VALID = "valid"
    OUTDATED = "outdated"
    """Made under another version of the policy: its refusals stand, its grants do not."""
    EXPIRED = "expired"
    """Too old, under whatever version: its refusals stand, its grants do not."""
    FORGED = "forged"
    """The signature does not verify or the content is not ours: what was said is not known."""


STANDING = frozenset((ChoiceState.VALID, ChoiceState.OUTDATED, ChoiceState.EXPIRED))
"""The states in which a choice was read: what it refuses is refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Signals:
    """Everything a decision is made from.

    ``choice`` is set only where ``choice_state`` is one of `STANDING`.
    """

    choice: Choice | None = None
    choice_state: ChoiceState = ChoiceState.ABSENT
    gpc: bool = False
    dnt: bool | None = None
    """``None`` where the field is absent, malformed or given more than once."""

    @property
    def sent(self) -> frozenset[BrowserSignal]:
        """The browser's own preferences that are on."""
        on = ((BrowserSignal.GPC, self.gpc), (BrowserSignal.DNT, self.dnt is True))
        return frozenset(signal for signal, is_on in on if is_on)


def read_gpc(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Tell whether Global Privacy Control is on: some ``Sec-GPC`` line is exactly ``1``.

    ``headers`` are raw ASGI pairs with lower-case names. Lines are looked at one by one, never joined: one
    exact ``1`` is enough, and a list such as ``1, 0`` is none. (GPC draft, section "The Sec-GPC Header
    Field".)
    """
    return any(name == b"sec-gpc" and value.strip(b" \t") == b"1" for name, value in headers)


def read_dnt(headers: Iterable[tuple[bytes, bytes]]) -> bool | None:
    """Return the ``DNT`` preference: ``True``, ``False``, or ``None`` for unset.

    ``headers`` are raw ASGI pairs with lower-case names. The value is ``0`` or ``1``, optionally followed by
    extension characters, which say nothing to us; anything else, and more than one field, is unset. (W3C
    Tracking Preference Expression, section 5.2.)
    """
    found: bool | None = None
    seen = False
    for name, value in headers:
        if name != b"dnt":
            continue
        if seen:
            return None
        seen = True
        match = _DNT.fullmatch(value.strip(b" \t"))
        if match is not None:
            found = match[1] == b"1"
    return found
