"""Where receipts are kept: what a store promises, and what can be asked of the log that it keeps.

Whatever records, reads or serves receipts needs no more than this, and no particular store. What a store keeps is a
log: every receipt is a leaf of one tree, in one order, of which checkpoints are signed. A leaf is a commitment to its
record and says nothing by itself; the record is sealed beside it, and can be erased without the tree noticing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from consent.checkpoint import Verifier
from consent.erasure import Erasure
from consent.evidence import Evidence
from consent.merkle import leaf_hash
from consent.receipts import Artefact, Receipt
from consent.retention import Past
from consent.sealing import commitment

CHECKPOINT_SECONDS = 1.0
"""How soon after a leaf a checkpoint is signed that covers it, when all is well."""


class Store(Protocol):
    """Where receipts are recorded. One object serves any number of tasks, threads and event loops."""

    async def append(self, receipt: Receipt, artefacts: Sequence[Artefact] = ()) -> None:
        """Record ``receipt``; return only once it is durable.

        Repeating a receipt is safe: the same id with the same content is recorded once, is one leaf for ever, and
        is acknowledged each time, also after it was erased. Artefacts are kept once per content, together with the
        first receipt that brings them; those that the receipt names must come along or be there already. A
        caller that is cancelled while waiting loses nothing: the receipt is recorded, once, or not at all, and it
        may be appended again. Receipts of concurrent callers are recorded in any order.

        The receipt is a leaf of the tree at once, or as soon as whoever puts receipts in order gets to it; a
        checkpoint that covers it follows within about a second. If none can be signed, receipts are recorded
        all the same.

        Raises:
            StoreFull: too many receipts wait; nothing was recorded. Try again shortly.
            StoreUnavailable: it could not be made durable. Not acknowledged; appending it again is safe.
            OtherReceiptError: another receipt has this id; that one stays.
            StoreError: an artefact that it names is missing; nothing was recorded.
        """

    async def aclose(self) -> None:
        """Record what waits, then let go of everything. May be repeated; a later append starts anew."""


@runtime_checkable
class Erasing(Protocol):
    """Forgets what the log need not know any more. Implemented by stores; the same rules for callers hold."""

    async def erase(self, subject: str, *, series: str | None = None) -> Sequence[Erasure]:
        """Erase a visitor: key, tag, and the records of all receipts; return once that is durable.

        A leaf for each erasure is appended in the same transaction: there is one, more only where there are more
        receipts than one names. Nothing of the records is left in any file of the store; the leaves stay, and so
        does every proof. Empty: there is nothing of this visitor. A receipt appended later, even while this runs,
        starts anew under another key.

        Args:
            subject: the pseudonym.
            series: the id, a UUID4 made at random, that the first erasure is to have; what follows from it are those of
                more. Repeated with the same one, what was erased under it before is returned, too: so an answer that
                was lost can be asked for again, and nothing of the visitor has to be kept for that.

        Raises:
            ErasureHeldError: the visitor's records are held; nothing was erased.
            StoreUnavailable: not done, or not known to be done; doing it again is safe.
        """

    async def expire(self, past: Past, *, dry_run: bool = False) -> int:
        """Erase the records of all receipts that are past their time; return how many.

        Those that are held stay, and are not counted. What is erased is erased as by :meth:`erase`; a visitor's key
        and tag go with the last record. May be interrupted, and goes on where it was.

        Args:
            past: which receipts those are.
            dry_run: count only.

        Raises:
            StoreUnavailable: not done, or not known to be done; doing it again is safe.
        """

    async def hold(self, subject: str, *, reason: str | None) -> bool:
        """Keep a visitor's records from being erased, for a reason; for ``None`` not any longer.

        Returns whether there are any.

        Raises:
            StoreUnavailable: not done, or not known to be done; doing it again is safe.
        """


@dataclass(frozen=True, slots=True)
class LoggedReceipt:
    """A receipt and its place in the log."""

    leaf: int
    """0 for the first of the log; later ones are greater."""
    receipt: Receipt


class ReceiptLog(Protocol):
    """Reads what a store has recorded, also while it is recording. Blocks.

    A receipt is found as soon as it is a leaf of the tree. Every method raises StoreUnavailable where the log cannot
    be read, and InvalidReceiptError or SealBrokenError where it holds something else than what was recorded.
    """

    def get(self, receipt_id: str) -> Receipt | None:
        """Return the receipt with this id, or ``None``; also ``None`` if it was erased."""

    def list(self, *, limit: int, before: int | None = None) -> Sequence[LoggedReceipt]:
        """Return up to ``limit`` receipts in the order of the log, the newest first. What was erased is left out.

        Args:
            limit: How many at most, 1 or more.
            before: Only those before this leaf: the last one of a page starts the next.
        """

    def artefact(self, hash: str) -> Artefact | None:
        """Return the artefact whose content has this SHA-256, or ``None``."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """One leaf of the log, and what is kept beside it."""

    number: int
    """0 for the first."""
    commitment: bytes
    """The leaf's data, 32 bytes."""
    salt: bytes | None = field(repr=False)
    """``None``: erased."""
    record: bytes | None = field(repr=False)
    """Canonical bytes of a receipt, or of an erasure; ``None``: erased."""
    broken: str | None = None
    """Why the record is not here although it was not erased: what is kept of it does not open."""

    @property
    def hash(self) -> bytes:
        """The leaf's hash in the tree."""
        return leaf_hash(self.commitment)

    @property
    def proves_record(self) -> bool:
        """Whether the record is the one that the leaf commits to. There is nothing to prove of what was erased."""
        if self.salt is None or self.record is None:
            return self.salt is self.record and self.broken is None
        return commitment(self.salt, self.record) == self.commitment


class Ledger(Protocol):
    """The log as a tree: what anybody may see of it, and what proves a record. Blocks.

    Every method raises StoreUnavailable where the log cannot be read.
    """

    def verifiers(self) -> Sequence[Verifier]:
        """Return the public keys that its checkpoints are signed with, the one in use first."""

    def checkpoint(self) -> str | None:
        """Return the checkpoint signed last, a signed note; ``None`` before the first."""

    def tile(self, level: int, index: int, width: int) -> bytes | None:
        """Return the first ``width`` hashes of a tile, concatenated; ``None`` if there are not as many.

        Of the tree as it is, which may be larger than the last checkpoint; what lies within one never changes.

        Raises:
            InvalidProofError: what is kept of the tile is not hashes.
        """

    def leaves(self, first: int, limit: int) -> Sequence[Leaf]:
        """Return the ``limit`` leaves from ``first`` on, in order; fewer only where the log ends, or was altered.

        Also where a record does not open: the leaf says so.
        """

    def evidence(self, receipt_id: str) -> Evidence | None:
        """Return a receipt with its proof under the last checkpoint.

        ``None``: there is no such receipt, it was erased, or no checkpoint covers it yet.

        Raises:
            SealBrokenError: the record does not open.
        """
