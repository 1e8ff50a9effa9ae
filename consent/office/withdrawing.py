"""Withdrawing a consent for somebody who asked: a receipt that says that the office did it, and nobody else.

It says what is to hold from then on, to whoever asks the log. The visitor's browser has the choice that was made in it:
until the page of choices is opened there, or a choice about a part is made, which read the log, what is sent to it goes
by that choice.
"""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from uuid import UUID

from consent.browsers import Device
from consent.categories import OPTIONAL
from consent.moments import format_moment, parse_moment
from consent.receipts import CollectionMethod, Outcome, Receipt, RecordedSignals


def withdrawal_of(last: Receipt, now_ms: int) -> Receipt:
    """Return the receipt with which the office takes back what a choice granted: each time under the same id.

    Nothing of a browser is in it, for none was there; site, law, policy and account are those of the choice.

    Args:
        last: the choice.
        now_ms: milliseconds since 1970. The receipt is later than the choice, whatever this says.
    """
    made = sha256(b"withdrawn by the office:" + last.receipt_id.encode()).digest()
    return replace(
        last,
        receipt_id=str(UUID(bytes=made[:16], version=4)),
        time=format_moment(max(now_ms, parse_moment(last.time) + 1)),
        shown_hash=None,
        outcome=Outcome.WITHDRAWN,
        categories=dict.fromkeys(OPTIONAL, False),
        vendors={},
        signals=RecordedSignals(gpc=False, dnt=None, told=frozenset()),
        collection_method=CollectionMethod.OFFICE,
        browser="Other",
        device=Device.OTHER,
        previous=last.receipt_id,
    )
