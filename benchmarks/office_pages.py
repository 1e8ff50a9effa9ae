"""Every way to filter a page of receipts that the office's benchmark tries, to find the slowest of them.

Each filter alone, with its most frequent, a middling and its rarest value and one that nothing has; each two of
those together; the same as the first page, in the middle and near the end of the log, and of what still stands.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from consent.choice_kind import ChoiceKind
from consent.receipt_search import Position, ReceiptSearch, Sought

_NONE_HAS: Final = {"policy_version": "f" * 12, "policy_hash": "f" * 64, "vendor_list_hash": "f" * 64}


class Page(NamedTuple):
    """A page that somebody could ask for."""

    name: str
    sought: Sought
    before: Position | None


def filtered_pages(log: ReceiptSearch, vendor: str, first_ms: int, last_ms: int) -> Iterator[Page]:
    """Yield pages to ask a log for.

    Args:
        log: says which values there are.
        vendor: one that receipts have an answer for.
        first_ms: when the first receipt was recorded.
        last_ms: when the last one was.
    """
    values = _values(log)
    values += [{"vendor": vendor}, {"vendor": vendor, "said": True}, {"vendor": "nobody"}]
    span = last_ms - first_ms
    asked: list[dict[str, Any]] = [{}, *values]
    asked += [
        one | other for one, other in itertools.combinations(values, 2) if not one.keys() & other.keys()
    ]
    starts = [("first", None), *((f"at {part}%", first_ms + span * part // 100) for part in (50, 3))]
    for wanted in asked:
        name = ", ".join(f"{member} {str(value)[:12]}" for member, value in wanted.items()) or "all"
        for start, time_ms in starts:
            before = None if time_ms is None else Position(time_ms, 0)
            yield Page(f"{name}; {start} page", Sought(**wanted), before)
        yield Page(f"{name}; still standing", Sought(**wanted, standing=True), None)
    for wanted in [{}, *values]:
        name = ", ".join(f"{member} {str(value)[:12]}" for member, value in wanted.items()) or "all"
        for days, until in ((1, 100), (30, 50), (365, 60), (30, 2)):
            end = first_ms + span * until // 100
            some = Sought(**wanted, since_ms=end - days * 86_400_000, until_ms=end)
            yield Page(f"{name}; {days} days until {until}%", some, None)


def _values(log: ReceiptSearch) -> list[dict[str, Any]]:
    """Return for each filter values of all frequencies."""
    totals = log.totals("0000-01-01", "9999-12-31")
    some: list[dict[str, Any]] = []
    for member in (*ChoiceKind._fields, "grants"):
        counts: Counter[Any] = Counter()
        for total in totals:
            counts[getattr(total.kind, member)] += total.choices
        known = [value for value, _ in counts.most_common() if value is not None]
        if isinstance(known[0], bool):
            some += [{member: value} for value in (True, False)]
            continue
        picked = {known[0]: None, known[len(known) // 2]: None, known[-1]: None}
        some += [{member: value} for value in picked]
        some.append({member: _NONE_HAS.get(member, "nowhere")})
    return some
