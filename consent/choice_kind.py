"""What choices are counted and found by, besides their time: members of a receipt that many receipts have in common.

A store keeps each kind once, in plain text, and beside each sealed receipt the number of its kind. So a receipt can be
found without opening others, and nothing in plain text names a visitor.
"""

from __future__ import annotations

import gc
import json
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

from consent.browsers import Device
from consent.categories import Category
from consent.receipts import Receipt

_PERFORMANCE, _FUNCTIONAL, _TARGETING = Category.PERFORMANCE, Category.FUNCTIONAL, Category.TARGETING


class ChoiceKind(NamedTuple):
    """Members as the receipt has them. What was counted before an upgrade may have empty ones: not known."""

    site: str
    regime: str
    jurisdiction: str
    policy_version: str
    language: str
    shown_hash: str
    """Empty: no text was shown."""
    outcome: str
    performance: bool
    functional: bool
    targeting: bool
    gpc: bool
    dnt: bool | None
    collection_method: str
    policy_hash: str = ""
    """The artefact with the policy's terms; empty: the receipt names none."""
    vendor_list_hash: str = ""
    """The one with its vendors; the same."""
    bot: bool = False
    """Whether a program drove the browser, or there was none."""

    def text(self) -> str:
        """Return it as stores keep it."""
        return _text(self)

    @classmethod
    def parse(cls, text: str) -> ChoiceKind:
        """Read what :meth:`text` writes."""
        return cls(*json.loads(text))

    @classmethod
    def parse_all(cls, texts: str) -> Iterable[ChoiceKind]:
        """Read many, with commas between: in half the time of one by one."""
        make, length = tuple.__new__, len(cls._fields)
        # Of thousands, the collector would look through those that were just made, again and again.
        collects = gc.isenabled()
        gc.disable()
        try:
            return [
                make(cls, members) if len(members) == length else cls(*members)
                for members in json.loads(f"[{texts}]")
            ]
        finally:
            if collects:
                gc.enable()

    @property
    def grants(self) -> bool:
        """Whether an optional category was said yes to."""
        return self.performance or self.functional or self.targeting


class DailyCount(NamedTuple):
    """How many choices there were of one kind on one day. Erasing a visitor does not change it."""

    day: str
    """UTC, ``2026-03-01``."""
    kind: ChoiceKind
    choices: int


@lru_cache(maxsize=1_024)
def _text(kind: ChoiceKind) -> str:
    return json.dumps(kind, separators=(",", ":"))


def kind_of(receipt: Receipt) -> ChoiceKind:
    """Return the kind of a receipt's choice."""
    answers, signals = receipt.categories, receipt.signals
    return ChoiceKind(
        receipt.site,
        str(receipt.regime),
        receipt.jurisdiction,
        receipt.policy_version,
        receipt.language,
        receipt.shown_hash or "",
        str(receipt.outcome),
        answers[_PERFORMANCE],
        answers[_FUNCTIONAL],
        answers[_TARGETING],
        signals.gpc,
        signals.dnt,
        str(receipt.collection_method),
        receipt.policy_hash or "",
        receipt.vendor_list_hash or "",
        receipt.device is Device.BOT,
    )
