"""What the office's API and its pages have in common: who asks, what is looked up for them, and that it is recorded."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol, TypeVar, cast

from consent.checkpoint import Checkpoint
from consent.choice_kind import ChoiceKind, kind_of
from consent.enforcement_log import EnforcementCount
from consent.erasure import Erasure
from consent.errors import InvalidProofError, InvalidReceiptError
from consent.evidence import Evidence
from consent.inventory import InventoryStore, Sighting, Tally
from consent.log_rows import proven_record
from consent.moments import parse_moment
from consent.office.access_log import AccessLog
from consent.office.asker import Asker
from consent.office.events import Events
from consent.office.exports import Exports
from consent.office.in_force import InForce
from consent.office.integrity import Integrity, integrity
from consent.office.limits import Limits
from consent.office.questions import WrongQuestion, of_sites
from consent.office.register import Register
from consent.office.roles import Action
from consent.office.tokens import TokenBook
from consent.office.watching import LogWatch
from consent.office.webhooks import Webhooks
from consent.receipt_search import (
    COUNTED_AT_ONCE,
    Found,
    FoundPage,
    KindTotal,
    Position,
    ReceiptSearch,
    Sought,
    StandingCount,
)
from consent.receipts import Artefact, Receipt
from consent.store import Ledger, ReceiptLog

MIN_REASON: Final = 3
"""How many characters a reason has at least."""
LATELY_SECONDS: Final = 300
"""How long what was counted of days past is taken for what it is: something may still be recorded for them."""
MAX_REASON: Final = 500
"""The same at most."""


T = TypeVar("T")


class OfficeLog(ReceiptLog, ReceiptSearch, Ledger, Protocol):
    """A log that can be asked all that the office asks."""

    def enforcement(self, first_day: str, last_day: str) -> Sequence[EnforcementCount]:
        """Return what was done about trackers on the days from first to last."""

    def places(self) -> Collection[tuple[str, str]]:
        """Return sites and jurisdictions of all receipts that there are or were."""

    def checkpoints(self) -> Sequence[tuple[str, str]]:
        """Return the last checkpoint of each day, the earliest first: day and signed note."""


class NotAllowed(Exception):
    """The token's role, or its sites, do not allow it."""


class ReasonMissing(Exception):
    """A visitor's data is opened with a reason only."""


@dataclass(frozen=True, slots=True)
class OpenedReceipt:
    """One receipt with all that is known of it."""

    leaf: int
    receipt: Receipt
    evidence: Evidence | None
    """``None``: no checkpoint covers it yet."""
    checkpoint: Checkpoint | None
    """The one that it was verified against a moment ago."""
    problem: str
    """Why it could not be; empty: it could, or nothing covers it yet."""
    text: Artefact | None
    """What was shown."""


class Desk:
    """Answers questions, as far as a token may ask them. Blocks; safe to share between threads.

    Args:
        open_log: opens the log of receipts; called for the first question, and again as long as it fails.
        tokens: knows who asks.
        accesses: where what is opened is recorded first.
        inventory: what was seen on the site.
        exports: takes orders for files.
        limits: counts who asks how often.
        register: what people asked about their data.
        erase: erases the visitor with a pseudonym from the log, in a series; blocks, and raises what
            :meth:`consent.store.Erasing.erase` does.
        append: records a receipt; blocks, and raises what :meth:`consent.store.Store.append` does.
        events: knows what happened.
        webhooks: knows where that is sent.
        watch: knows what the log was.
        clock: returns seconds since 1970.
        in_force: the policy of the site now; ``None``: nobody told, and what is recorded has to do.
    """

    def __init__(
        self,
        open_log: Callable[[], OfficeLog],
        tokens: TokenBook,
        accesses: AccessLog,
        inventory: InventoryStore,
        exports: Exports,
        limits: Limits,
        register: Register,
        erase: Callable[[str, str], Sequence[Erasure]],
        append: Callable[[Receipt], None],
        events: Events,
        webhooks: Webhooks,
        watch: LogWatch,
        clock: Callable[[], float],
        in_force: InForce | None = None,
    ) -> None:
        self._open_log = open_log
        self._log: OfficeLog | None = None
        self._lock = threading.Lock()
        self.tokens = tokens
        self.accesses = accesses
        self.inventory = inventory
        self.exports = exports
        self.limits = limits
        self.register = register
        self.erase = erase
        self.append = append
        self.events = events
        self.webhooks = webhooks
        self._watch = watch
        self.clock = clock
        self.in_force = in_force
        self._lately: dict[str, tuple[float, object]] = {}
        self.has_read_ahead = threading.Event()
        """Set as soon as the first question finds there what it would have had to read."""

    @property
    def log(self) -> OfficeLog:
        """The log of receipts."""
        with self._lock:
            if self._log is None:
                self._log = self._open_log()
            return self._log

    def read_ahead(self) -> None:
        """Open the log, and read what the first question would have to read. May be repeated.

        Raises:
            StoreUnavailable: the log cannot be read.
        """
        self.log.read_ahead()
        self.has_read_ahead.set()

    def lately(self, what: str, make: Callable[[], T]) -> T:
        """Return what ``make`` returned for this some minutes ago at most: it may be asked for again and again."""
        now = self.clock()
        known = self._lately.get(what)
        if known is None or not 0 <= now - known[0] < LATELY_SECONDS:
            made = make()
            fresh = {name: each for name, each in self._lately.items() if 0 <= now - each[0] < LATELY_SECONDS}
            self._lately = {**fresh, what: (now, made)}
            return made
        return cast("T", known[1])

    def require(self, asker: Asker, action: Action) -> None:
        """Refuse what the token may not do.

        Raises:
            NotAllowed: it may not.
        """
        if not asker.may(action):
            raise NotAllowed(str(action))

    def record(self, asker: Asker, what: str, reason: str = "", **details: object) -> None:
        """Record what is done: before anything of it is shown to anybody, or together with it.

        Raises:
            WrongQuestion: the reason is too long.
        """
        self.accesses.append(asker.label, what, reason=_one_line(reason), role=str(asker.role), **details)

    def require_reason(self, reason: str) -> str:
        """Return a reason.

        Raises:
            ReasonMissing: there is none.
            WrongQuestion: it is too long.
        """
        reason = _one_line(reason)
        if sum(map(str.isprintable, reason)) < MIN_REASON:
            raise ReasonMissing
        return reason

    def list(self, asker: Asker, sought: Sought, *, limit: int, before: Position | None) -> FoundPage:
        """Return what receipts are found by."""
        self.require(asker, Action.RECEIPTS)
        return self.log.look(of_sites(sought, asker), limit=limit, before=before)

    def look_up(
        self, asker: Asker, sought: Sought, reason: str, *, limit: int, before: Position | None
    ) -> FoundPage:
        """Do the same for one visitor, or one account; it is recorded with its reason."""
        self.require(asker, Action.OPEN)
        reason = self.require_reason(reason)
        page = self.log.look(of_sites(sought, asker), limit=limit, before=before)
        leaves = [each.position.leaf for each in page.found]
        by = "visitor" if sought.account is None else "account"
        self.record(asker, "looked-up", reason, by=by, found=len(leaves), leaves=leaves[:20])
        return page

    def look_up_id(self, asker: Asker, receipt_id: str, reason: str) -> FoundPage:
        """Do the same for the receipt with this id."""
        self.require(asker, Action.OPEN)
        reason = self.require_reason(reason)
        receipt = self.log.get(receipt_id)
        page = FoundPage((), None)
        if receipt is not None:
            moment = parse_moment(receipt.time)
            own = Sought(subject=receipt.subject, since_ms=moment, until_ms=moment + 1)
            some = self.log.find(of_sites(own, asker), limit=100)
            page = FoundPage(
                [
                    Found(Position(moment, each.leaf), kind_of(each.receipt))
                    for each in some.receipts
                    if each.receipt == receipt
                ],
                None,
            )
        leaves = [each.position.leaf for each in page.found]
        self.record(asker, "looked-up", reason, by="receipt", found=len(leaves), leaves=leaves)
        return page

    def open(self, asker: Asker, leaf: int, reason: str) -> OpenedReceipt | None:
        """Open a receipt, verify it, and record who did, and why; ``None``: there is none that the token may see.

        That is recorded, too: whoever tries one number after the other is seen.
        """
        self.require(asker, Action.OPEN)
        reason = self.require_reason(reason)
        receipt = self._receipt(leaf)
        if receipt is None or (asker.sites and receipt.site not in asker.sites):
            self.record(asker, "not-found", reason, leaf=leaf)
            return None
        evidence, checkpoint, problem = self.log.evidence(receipt.receipt_id), None, ""
        if evidence is not None:
            try:
                checkpoint = evidence.verify(self.log.verifiers())
            except InvalidProofError as error:
                problem = str(error)
        text = None if receipt.shown_hash is None else self.log.artefact(receipt.shown_hash)
        # Once there is nothing more that could fail, and before anybody is shown any of it.
        self.record(asker, "opened", reason, leaf=leaf)
        return OpenedReceipt(leaf, receipt, evidence, checkpoint, problem, text)

    def _receipt(self, leaf: int) -> Receipt | None:
        found = self.log.leaves(leaf, 1)
        record = proven_record(found[0]) if found and found[0].number == leaf else None
        try:
            return None if record is None else Receipt.from_bytes(record)
        except InvalidReceiptError:
            return None  # an erasure

    def text(self, asker: Asker, hash: str) -> Artefact | None:
        """Return a text that was shown; ``None``: there is none, or none that a receipt of the token's sites names."""
        self.require(asker, Action.RECEIPTS)
        if len(hash) != 64:
            return None
        named = Sought(shown_hash=hash.lower())
        if asker.sites and not self.log.look(of_sites(named, asker), limit=1).found:
            return None
        return self.log.artefact(hash)

    def history(self, asker: Asker, receipt: Receipt) -> FoundPage:
        """Return what the choices of the same visitor are found by; opening one of them was recorded."""
        self.require(asker, Action.OPEN)
        return self.log.look(of_sites(Sought(subject=receipt.subject), asker), limit=200)

    def counts(
        self, asker: Asker, first_day: str, last_day: str, groups: Sequence[str], wanted: Mapping[str, object]
    ) -> Counter[tuple[Any, ...]]:
        """Return how many choices there were of each group on some days.

        Args:
            asker: who asks.
            first_day: UTC, ``2026-03-01``.
            last_day: the same, included.
            groups: what is counted by: ``day``, and members of :class:`consent.choice_kind.ChoiceKind`.
            wanted: members, and what they have to be.
        """
        self.require(asker, Action.COUNTS)
        members = [name for name in groups if name != "day"]

        def key(kind: ChoiceKind) -> tuple[Any, ...] | None:
            fits = all(getattr(kind, name) == value for name, value in wanted.items())
            return tuple(getattr(kind, name) for name in members) if fits else None

        sums: Counter[tuple[Any, ...]] = Counter()
        if "day" not in groups:
            for total in self.totals(asker, first_day, last_day):
                if (found := key(total.kind)) is not None:
                    sums[found] += total.choices
            return sums
        at = groups.index("day")
        for (day, found), choices in self.daily_in(asker, first_day, last_day, key).items():
            sums[*found[:at], day, *found[at:]] = choices
        return sums

    def totals(self, asker: Asker, first_day: str, last_day: str) -> Sequence[KindTotal]:
        """Return how many choices of each kind there were on some days together."""
        self.require(asker, Action.COUNTS)
        totals = self.log.totals(first_day, last_day)
        return [total for total in totals if not asker.sites or total.kind.site in asker.sites]

    def daily_in(
        self, asker: Asker, first_day: str, last_day: str, group: Callable[[ChoiceKind], Hashable]
    ) -> Mapping[tuple[str, Any], int]:
        """Return how many choices of each group there were, by day; a kind whose group is ``None`` does not count."""
        self.require(asker, Action.COUNTS)
        sites = asker.sites
        return self.log.daily_in(
            first_day, last_day, lambda kind: None if sites and kind.site not in sites else group(kind)
        )

    def count_standing(
        self, asker: Asker, sought: Sought, *, limit: int = COUNTED_AT_ONCE, before: Position | None = None
    ) -> StandingCount:
        """Count which of some receipts still stand."""
        self.require(asker, Action.COUNTS)
        return self.log.count_standing(of_sites(sought, asker), limit=limit, before=before)

    def integrity(self) -> Integrity:
        """Check the log as it is, and whether it goes on from what was seen of it, as far as that was looked at."""
        found = integrity(self.log)
        if found.problem or found.signed is None:
            return found
        return replace(found, problem=self._watch.problem(found.signed.origin))

    def sightings(self, asker: Asker) -> Mapping[Sighting, Tally]:
        """Return the third parties that were seen, on their sites."""
        self.require(asker, Action.TRACKERS)
        seen = self.inventory.sightings()
        return {each: tally for each, tally in seen.items() if not asker.sites or each.site in asker.sites}

    def enforcement(self, asker: Asker, first_day: str, last_day: str) -> Sequence[EnforcementCount]:
        """Return what was done about trackers."""
        self.require(asker, Action.COUNTS)
        counts = self.log.enforcement(first_day, last_day)
        return [count for count in counts if not asker.sites or count.kind.site in asker.sites]


def _one_line(reason: str) -> str:
    # Whoever reads the log of accesses does it on a terminal, too: nothing that moves a cursor, hides a line, or turns
    # the direction of writing. The two joiners are letters' own.
    line = " ".join("".join(c if c.isprintable() or c in "\u200c\u200d" else " " for c in reason).split())
    if len(line) > MAX_REASON:
        # What was cut off would not be in the record of why.
        raise WrongQuestion("reason", f"at most {MAX_REASON} characters")
    return line
