"""Whether the log is whole, as far as that can be told at a glance: its last checkpoint, and the tree under it."""

from __future__ import annotations

from dataclasses import dataclass

from consent.checkpoint import Checkpoint, open_checkpoint
from consent.errors import InvalidProofError
from consent.merkle import Tiles
from consent.store import Ledger


@dataclass(frozen=True, slots=True)
class Integrity:
    """What came of it."""

    note: str | None
    """The checkpoint signed last; ``None``: nothing was signed yet."""
    signed: Checkpoint | None
    """What it says, if it was signed by the log's keys."""
    problem: str
    """What is wrong; empty: its signature holds, the tree that is kept has its root, and it goes on from what was seen,
    where the office looked."""

    @property
    def verified(self) -> bool:
        """Whether there is a checkpoint, and nothing is wrong with it."""
        return self.signed is not None and not self.problem


def integrity(log: Ledger) -> Integrity:
    """Check the signature of the last checkpoint, and its root against the tiles: of any log in about the same time.

    Whether each receipt is the one of its leaf, ``consent ledger verify`` says, and whoever opens it.
    """
    note = log.checkpoint()
    if note is None:
        return Integrity(None, None, "")
    signed = None
    try:
        signed = open_checkpoint(note, log.verifiers())
        root = Tiles(signed.size, lambda level, index, width: log.tile(level, index, width) or b"").root()
    except InvalidProofError as error:
        return Integrity(note, signed, str(error))
    return Integrity(note, signed, "" if root == signed.root else "the tree that is kept has another root")
