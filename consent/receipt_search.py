"""Finding receipts: what can be asked for, and what a log that can be asked promises.

Receipts are found by what is kept in plain text beside them: their time, the number of their kind, their answers for
single vendors, and the visitor's tag. Only those that are returned are opened, and each is held against what it was
found by.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple, Protocol

from consent.choice_kind import ChoiceKind, DailyCount, kind_of
from consent.errors import InvalidReceiptError
from consent.moments import parse_moment
from consent.receipts import Receipt, account_mark
from consent.store import LoggedReceipt

MAX_PAGE: Final = 5_000
"""How many receipts one page has at most."""
MAX_EXAMINED: Final = 10_000
"""How many receipts are looked at for one page of those that still stand: a page may be short, and still go on."""
_EXAMINED_AT_ONCE: Final = 500
COUNTED_AT_ONCE: Final = 5_000
"""How many receipts are looked at for one count of those that still stand."""


class Position(NamedTuple):
    """Where a receipt is in the order of time. Receipts of the same millisecond have some fixed order."""

    time_ms: int
    leaf: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sought:
    """What is asked for; what is left out is not asked."""

    subject: str | None = None
    """The visitor's pseudonym, 32 hexadecimal digits; anything else is nobody's."""
    since_ms: int | None = None
    """Milliseconds since 1970-01-01T00:00:00Z, included."""
    until_ms: int | None = None
    """The same, not included."""
    site: str | None = None
    sites: frozenset[str] | None = None
    """Only these."""
    regime: str | None = None
    jurisdiction: str | None = None
    policy_version: str | None = None
    language: str | None = None
    shown_hash: str | None = None
    outcome: str | None = None
    collection_method: str | None = None
    policy_hash: str | None = None
    vendor_list_hash: str | None = None
    bot: bool | None = None
    """Whether a program drove the browser, or there was none."""
    gpc: bool | None = None
    dnt: bool | None = None
    performance: bool | None = None
    functional: bool | None = None
    targeting: bool | None = None
    grants: bool | None = None
    """Whether an optional category was said yes to."""
    vendor: str | None = None
    """The vendor's id: only receipts with an answer for this vendor that differs from its category's."""
    said: bool | None = None
    """That answer; only with a vendor."""
    account: str | None = None
    """Keyed hash of an account (:meth:`ReceiptSearch.account`); not together with a vendor."""
    standing: bool = False
    """Only those that no later choice of the same visitor, before ``until_ms``, has replaced."""

    def admitted(self, kinds: Mapping[int, ChoiceKind]) -> list[int]:
        """Return the numbers of the kinds that are asked for."""
        # There can be some ten thousand kinds: one member after the other, of those that are left; no object is made.
        left: Collection[int] = kinds.keys()
        for name, wanted in self._of_kind():
            if name == "grants":
                left = [number for number in left if kinds[number].grants is wanted]
            else:
                at = ChoiceKind._fields.index(name)
                left = [number for number in left if kinds[number][at] == wanted]
        if self.sites is not None:
            left = [number for number in left if kinds[number].site in self.sites]
        return list(left)

    def all_kinds(self) -> bool:
        """Tell whether receipts of any kind are."""
        return not self._of_kind() and self.sites is None

    def _of_kind(self) -> Sequence[tuple[str, object]]:
        asked = ((name, getattr(self, name)) for name in (*ChoiceKind._fields, "grants"))
        return [(name, wanted) for name, wanted in asked if wanted is not None]


class Found(NamedTuple):
    """A receipt as it was found, not opened."""

    position: Position
    kind: ChoiceKind


@dataclass(frozen=True, slots=True)
class ReceiptPage:
    """Some of the receipts that were asked for."""

    receipts: Sequence[LoggedReceipt]
    next: Position | None
    """Where the next page begins; ``None``: there are no more. A page may be short, or empty, and still go on."""


@dataclass(frozen=True, slots=True)
class FoundPage:
    """The same, not opened."""

    found: Sequence[Found]
    next: Position | None


class RecordPage(NamedTuple):
    """Some of the receipts that were asked for, as they were recorded."""

    records: Sequence[bytes]
    """Their canonical bytes."""
    last: Position | None
    """The position of the last one; ``None``: there are no more. A page may be short, or empty, and still go on."""


class KindTotal(NamedTuple):
    """How many choices of one kind there were on some days, and the first and the last of these that had any."""

    kind: ChoiceKind
    first_day: str
    last_day: str
    choices: int


@dataclass(frozen=True, slots=True)
class StandingCount:
    """How many of some receipts still stand."""

    examined: int
    standing: Mapping[ChoiceKind, int]
    next: Position | None
    """Where it goes on; ``None``: these were all."""


class ReceiptSearch(Protocol):
    """Finds what a store has recorded, also while it is recording. Blocks.

    Every page takes about as long with five million receipts as with fifty. Every method raises StoreUnavailable where
    the log cannot be read, and InvalidReceiptError or SealBrokenError where a receipt is not what was recorded, or not
    what it was found by.
    """

    def read_ahead(self) -> None:
        """Read now what the first question would have to read, however much it is."""

    def account(self, name: str) -> str:
        """Return what receipts name an account by: :attr:`Sought.account` for the identifier that the site knows."""

    def find(self, sought: Sought, *, limit: int, before: Position | None = None) -> ReceiptPage:
        """Return up to ``limit`` receipts, 1 to :data:`MAX_PAGE`, the newest first; erased ones are never found.

        Args:
            sought: what is asked for.
            limit: how many at most.
            before: where the page before said that this one begins.
        """

    def look(self, sought: Sought, *, limit: int, before: Position | None = None) -> FoundPage:
        """Return the same, without opening anything."""

    def found(self, sought: Sought, *, limit: int, after: Position | None = None) -> Sequence[Found]:
        """Return up to ``limit`` of them, the oldest first, without opening them.

        Args:
            sought: what is asked for; that they stand cannot be.
            limit: how many at most.
            after: the position of the last one of the page before.
        """

    def records(self, sought: Sought, *, limit: int, after: Position | None = None) -> RecordPage:
        """Return the same receipts opened, each as the log commits to it; the arguments are those of :meth:`found`."""

    def daily(self, first_day: str, last_day: str) -> Sequence[DailyCount]:
        """Return how many choices of which kind there were on the days from first to last, by day.

        Args:
            first_day: UTC, ``2026-03-01``.
            last_day: the same, included.
        """

    def daily_in(
        self, first_day: str, last_day: str, group: Callable[[ChoiceKind], Hashable]
    ) -> Mapping[tuple[str, Any], int]:
        """Return how many choices of each group there were, by day; added up where they are kept.

        Args:
            first_day, last_day: as of :meth:`daily`.
            group: the group of a kind; ``None``: it does not count.
        """

    def totals(self, first_day: str, last_day: str) -> Sequence[KindTotal]:
        """Return how many choices of each kind there were on these days together."""

    def places(self) -> Collection[tuple[str, str]]:
        """Return sites and jurisdictions of all receipts that there are or were, as these name them."""

    def count_standing(
        self, sought: Sought, *, limit: int = COUNTED_AT_ONCE, before: Position | None = None
    ) -> StandingCount:
        """Count which of the newest ``limit`` receipts before a position still stand, at ``until_ms`` or now.

        Args:
            sought: what is asked for, whether or not it asks for what stands.
            limit: how many are examined.
            before: the position that the count before ended at.
        """


class FoundBy(NamedTuple):
    """What one receipt is found by, as it is kept beside it, altered or not."""

    outcome: object
    site: object
    time: object
    """Milliseconds since 1970."""
    kind: object
    """As :meth:`consent.choice_kind.ChoiceKind.text` writes it; ``None``: there is none."""
    answers: Mapping[str, object]
    """For single vendors, and of an account the mark: the answer; and, where they are kept beside it, moment and kind
    once more."""

    def altered(self, receipt: Receipt) -> Sequence[str]:
        """Return which of it does not fit a receipt."""
        time_ms, kind = parse_moment(receipt.time), kind_of(receipt).text()
        right = FoundBy(str(receipt.outcome), receipt.site, time_ms, kind, {})
        names = [name for name in self._fields[:-1] if getattr(self, name) != getattr(right, name)]
        kept, marks = self.answers, receipt.marks
        if kept.keys() != marks.keys() or any(
            kept[name] not in (said, (said, time_ms, kind)) for name, said in marks.items()
        ):
            names.append("answers")
        return names


KINDS_AT_ONCE: Final = 1_000
"""How many kinds are parsed in one go: other threads wait that long, some milliseconds."""


def numbered_kinds(numbers: str, keys: str) -> Mapping[int, ChoiceKind]:
    """Return kinds by their numbers, which a store writes with commas between.

    As one row: each row of thousands would give up the interpreter's lock, and parse a text by itself.
    """
    return dict(zip(map(int, numbers.split(",")), ChoiceKind.parse_all(keys), strict=True))


class KindQuery(NamedTuple):
    """A question with the kinds that it is about, by their numbers."""

    sought: Sought
    kinds: Collection[int] | None
    """``None``: all of them."""
    tag: bytes | None
    """What the visitor's receipts are found by."""


class ReceiptFinder(ABC):
    """What stores share of finding receipts."""

    @abstractmethod
    def one_moment(self) -> AbstractContextManager[None]:
        """Let everything in between read the log as it is now."""

    def read_ahead(self) -> None:
        """Read now what the first question would read. See :meth:`ReceiptSearch.read_ahead`."""
        self._kinds()

    @abstractmethod
    def _kinds(self) -> Mapping[int, ChoiceKind]:
        """Return all kinds by their numbers; those are read that came since the last time."""

    @abstractmethod
    def _tag(self, subject: str) -> bytes | None:
        """Return what a visitor's receipts are found by; ``None``: it is no pseudonym."""

    @abstractmethod
    def _newest(
        self, query: KindQuery, before: Position | None, count: int
    ) -> Sequence[tuple[Position, int | None]]:
        """Return positions and kinds, the newest first; fewer than ``count`` only where there are no more."""

    @abstractmethod
    def _oldest(
        self, query: KindQuery, after: Position | None, count: int
    ) -> Sequence[tuple[Position, int | None]]:
        """Return the same, the oldest first."""

    @abstractmethod
    def _oldest_records(self, query: KindQuery, after: Position | None, count: int) -> RecordPage:
        """Return the same receipts, opened."""

    @abstractmethod
    def _standing(self, leaves: Sequence[int], until_ms: int | None) -> Collection[int]:
        """Return those leaves that nothing later of the same visitor has replaced before that moment."""

    @abstractmethod
    def _opened(self, leaves: Sequence[int]) -> Mapping[int, LoggedReceipt]:
        """Return the receipts at leaves; what was erased is missing."""

    @abstractmethod
    def _daily(self, first_day: str, last_day: str) -> Sequence[tuple[str, int, int]]:
        """Return day, kind and how many choices there were, in the order of days and kinds."""

    @abstractmethod
    def _totals(self, first_day: str, last_day: str) -> Sequence[tuple[int, str, str, int]]:
        """Return kinds with first and last day, and how many choices there were."""

    def daily_in(
        self, first_day: str, last_day: str, group: Callable[[ChoiceKind], Hashable]
    ) -> Mapping[tuple[str, Any], int]:
        """Return choices by day and group. See :meth:`ReceiptSearch.daily_in`."""
        with self.one_moment():
            rows = self._daily(first_day, last_day)
            kinds = self._kinds()
            groups = {
                number: found
                for number in {number for _, number, _ in rows}
                if (found := group(kinds[number])) is not None
            }
        sums: dict[tuple[str, Any], int] = {}
        today: dict[Hashable, int] = {}
        day = ""
        # Some hundred kinds a day, on many days: one dictionary of a day at a time.
        for of, number, choices in rows:
            if of != day:
                sums.update(((day, found), count) for found, count in today.items())
                day, today = of, {}
            found = groups.get(number)
            if found is not None:
                today[found] = today.get(found, 0) + choices
        sums.update(((day, found), count) for found, count in today.items())
        return sums

    def daily(self, first_day: str, last_day: str) -> Sequence[DailyCount]:
        """Return choices by day and kind. See :meth:`ReceiptSearch.daily`."""
        with self.one_moment():
            rows = self._daily(first_day, last_day)
            kinds = self._kinds()
        return [DailyCount(day, kinds[number], choices) for day, number, choices in rows]

    def totals(self, first_day: str, last_day: str) -> Sequence[KindTotal]:
        """Return choices by kind. See :meth:`ReceiptSearch.totals`."""
        with self.one_moment():
            kinds = self._kinds()
            rows = self._totals(first_day, last_day)
            return [KindTotal(kinds[number], first, last, choices) for number, first, last, choices in rows]

    def count_standing(
        self, sought: Sought, *, limit: int = COUNTED_AT_ONCE, before: Position | None = None
    ) -> StandingCount:
        """Count what stands. See :meth:`ReceiptSearch.count_standing`."""
        with self.one_moment():
            query = self._query(sought)
            if query is None:
                return StandingCount(0, {}, None)
            some = self._newest(query, before, limit)
            stand = self._standing([position.leaf for position, _ in some], sought.until_ms)
            kinds = self._kinds()
            counts = Counter(
                number for position, number in some if number is not None and position.leaf in stand
            )
            return StandingCount(
                len(some),
                {kinds[number]: count for number, count in counts.items()},
                some[-1][0] if len(some) == limit else None,
            )

    def places(self) -> Collection[tuple[str, str]]:
        """Return sites and jurisdictions of all receipts that there are or were, as these name them."""
        return {(kind.site, kind.jurisdiction) for kind in self._kinds().values()}

    def look(self, sought: Sought, *, limit: int, before: Position | None = None) -> FoundPage:
        """Return what receipts are found by, the newest first. See :meth:`ReceiptSearch.look`."""
        if not 1 <= limit <= MAX_PAGE:
            raise ValueError(f"limit must be 1 to {MAX_PAGE}")
        with self.one_moment():
            query = self._query(sought)
            if query is None:
                return FoundPage((), None)
            positions, following = self._page(query, limit, before)
            kinds = self._kinds()
            # Without a kind are those that an upgrade could not open.
            return FoundPage(
                [Found(position, kinds[number]) for position, number in positions if number is not None],
                following,
            )

    def find(self, sought: Sought, *, limit: int, before: Position | None = None) -> ReceiptPage:
        """Return receipts, the newest first. See :meth:`ReceiptSearch.find`."""
        with self.one_moment():
            page = self.look(sought, limit=limit, before=before)
            receipts = self._opened([each.position.leaf for each in page.found])
            for position, kind in page.found:
                _require_as_found(receipts.get(position.leaf), position, kind)
            return ReceiptPage([receipts[each.position.leaf] for each in page.found], page.next)

    def found(self, sought: Sought, *, limit: int, after: Position | None = None) -> Sequence[Found]:
        """Return receipts, the oldest first, not opened. See :meth:`ReceiptSearch.found`."""
        with self.one_moment():
            query = self._walked(sought)
            if query is None:
                return ()
            kinds = self._kinds()
            return [
                Found(position, kinds[number])
                for position, number in self._oldest(query, after, limit)
                if number is not None
            ]

    def records(self, sought: Sought, *, limit: int, after: Position | None = None) -> RecordPage:
        """Return receipts, the oldest first, opened. See :meth:`ReceiptSearch.records`."""
        with self.one_moment():
            query = self._walked(sought)
            return RecordPage((), None) if query is None else self._oldest_records(query, after, limit)

    def _walked(self, sought: Sought) -> KindQuery | None:
        if sought.standing:
            raise ValueError("whether a choice stands is asked of pages only")
        return self._query(sought)

    def _query(self, sought: Sought) -> KindQuery | None:
        """Return what a question is about; ``None``: there can be nothing."""
        if sought.account is not None:
            if sought.vendor is not None:
                raise ValueError("an account is not asked for together with a vendor")
            sought = replace(sought, account=None, vendor=account_mark(sought.account), said=True)
        tag = None
        if sought.subject is not None:
            tag = self._tag(sought.subject)
            if tag is None:
                return None
        if sought.all_kinds():
            return KindQuery(sought, None, tag)
        known = self._kinds()
        kinds = sought.admitted(known)
        # All of them, as where there is one site only, need not be told apart.
        return KindQuery(sought, kinds if len(kinds) < len(known) else None, tag) if kinds else None

    def _page(
        self, query: KindQuery, limit: int, before: Position | None
    ) -> tuple[Sequence[tuple[Position, int | None]], Position | None]:
        """Return what a page has, and where the next one begins."""
        if not query.sought.standing:
            some = self._newest(query, before, limit + 1)
            return (some, None) if len(some) <= limit else (some[:limit], some[limit - 1][0])
        page: list[tuple[Position, int | None]] = []
        # Mostly, about half of them stand.
        examined, at_once = 0, max(limit + 1, _EXAMINED_AT_ONCE // 4)
        while examined < MAX_EXAMINED:
            some = self._newest(query, before, at_once)
            stand = self._standing([position.leaf for position, _ in some], query.sought.until_ms)
            for each in some:
                if each[0].leaf in stand:
                    if len(page) == limit:
                        return page, page[-1][0]
                    page.append(each)
            if len(some) < at_once:
                return page, None
            before = some[-1][0]
            examined += len(some)
            at_once = max(limit + 1, min(2 * at_once, _EXAMINED_AT_ONCE))
        return page, before


def _require_as_found(logged: LoggedReceipt | None, position: Position, kind: ChoiceKind) -> None:
    # Whoever alters what receipts are found by makes them appear where they do not belong.
    if (
        logged is None
        or parse_moment(logged.receipt.time) != position.time_ms
        or kind != kind_of(logged.receipt)
    ):
        raise InvalidReceiptError(
            f"what the receipt at leaf {position.leaf} is found by was altered: consent ledger verify says what else is"
        )
