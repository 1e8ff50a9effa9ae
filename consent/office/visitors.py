"""Which visitors there are behind an account, and what each of them chose last."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from consent.receipt_search import Position, ReceiptSearch, Sought
from consent.receipts import Receipt

_AT_ONCE: Final = 1_000


def subjects_of(log: ReceiptSearch, sought: Sought, *, limit: int) -> Sequence[str]:
    """Return the pseudonyms in the receipts that are asked for, the newest first; one more than ``limit`` at most."""
    found: dict[str, None] = {}
    before: Position | None = None
    while len(found) <= limit:
        page = log.find(sought, limit=_AT_ONCE, before=before)
        found.update(dict.fromkeys(each.receipt.subject for each in page.receipts))
        before = page.next
        if before is None:
            break
    return list(found)[: limit + 1]


def last_choices(log: ReceiptSearch, sought: Sought) -> Sequence[Receipt]:
    """Return the newest receipt of a visitor on each site, as far as the newest thousand tell."""
    newest: dict[str, Receipt] = {}
    for each in log.find(sought, limit=_AT_ONCE).receipts:
        newest.setdefault(each.receipt.site, each.receipt)
    return list(newest.values())
