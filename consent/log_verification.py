"""Checking a whole log, leaf by leaf, and saying where it is not what it was."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import sha256

from consent.canonical_json import parse_json
from consent.checkpoint import Checkpoint, Verifier, open_checkpoint
from consent.erasure import Erasure
from consent.errors import InvalidProofError, InvalidReceiptError
from consent.merkle import HASH_BYTES, TILE_WIDTH, Edge, tile_path, tile_width
from consent.receipt_search import FoundBy
from consent.receipts import MAX_RECEIPT_BYTES, Receipt
from consent.store import Leaf

MAX_MISSING = 1_000
"""How many leaves may be missing in one place; a log with a greater gap is not read on."""
MAX_PROBLEMS = 1_000
"""How many are told; of more, only how many."""


class LogVerification:
    """Takes a log in, in order, and collects what is wrong with it.

    First the checkpoints, then leaves and tiles, each tile after the leaves that it covers; then :meth:`finish`.

    Args:
        verifiers: the keys that are believed.
    """

    def __init__(self, verifiers: Iterable[Verifier]) -> None:
        self.problems: list[str] = []
        """Where and what, a sentence each, up to ``MAX_PROBLEMS``."""
        self.problem_count = 0
        self.receipts = 0
        self.erasures = 0
        self.last: Checkpoint | None = None
        """The checkpoint of the most leaves."""
        self._verifiers = tuple(verifiers)
        self._edge = Edge()
        self._checkpoints: dict[int, list[Checkpoint]] = {}
        self._tiles: dict[tuple[int, int], bytes] = {}
        self._erased: set[int] = set()
        self._named: set[int] = set()
        self._referred: set[str] = set()
        self._artefacts: set[str] = set()

    @property
    def size(self) -> int:
        """How many leaves there were so far."""
        return self._edge.size

    def checkpoint(self, note: str, place: str) -> None:
        """Take in a checkpoint that must be one of this log."""
        try:
            checkpoint = open_checkpoint(note, self._verifiers)
        except InvalidProofError as error:
            self._problem(f"{place}: {error}")
            return
        if self.last is not None and checkpoint.origin != self.last.origin:
            self._problem(f"{place}: it is one of another log, {checkpoint.origin}")
            return
        self._checkpoints.setdefault(checkpoint.size, []).append(checkpoint)
        if self.last is None or checkpoint.size > self.last.size:
            self.last = checkpoint

    def leaf(self, leaf: Leaf, found_by: FoundBy | None = None) -> None:
        """Take in the next leaf.

        Args:
            leaf: the leaf.
            found_by: what its receipt is found by, where the database is at hand.

        Raises:
            InvalidProofError: it is out of order.
        """
        if not self.size <= leaf.number <= self.size + MAX_MISSING:
            raise InvalidProofError(f"after {self.size} leaves comes leaf {leaf.number}")
        while self.size < leaf.number:
            self._problem(f"leaf {self.size} is missing")
            self._extend(bytes(HASH_BYTES))
        number = leaf.number
        if leaf.broken is not None:
            self._problem(f"leaf {number}: its record does not open: {leaf.broken}")
        elif not leaf.proves_record:
            self._problem(f"leaf {number}: its record is not the one that it commits to")
        elif leaf.record is None:
            self._erased.add(number)
        else:
            self._record(number, leaf.record, found_by)
        self._extend(leaf.hash)

    def tile(self, level: int, index: int, hashes: bytes) -> None:
        """Take in a tile as it is kept, full or as far as there are leaves."""
        path = tile_path(level, index)
        width = tile_width(level, index, self.size)
        # Level 0 is asked for as soon as it is there; it would be all of the log.
        computed = (
            self._tiles.pop((level, index), b"") if level == 0 else self._tiles.get((level, index), b"")
        )
        if len(hashes) != HASH_BYTES * width:
            self._problem(f"{path}: it has {len(hashes)} bytes, not {HASH_BYTES * width}")
        for place in range(width):
            part = slice(HASH_BYTES * place, HASH_BYTES * (place + 1))
            if hashes[part] != computed[part]:
                first = (index * TILE_WIDTH + place) * TILE_WIDTH**level
                last = first + TILE_WIDTH**level - 1
                leaves = f"leaf {first}" if level == 0 else f"leaves {first} to {last}"
                self._problem(f"{path}: hash {place} is not that of {leaves}")

    def artefact(self, name: str, content: bytes) -> None:
        """Take in something that receipts refer to."""
        if sha256(content).hexdigest() != name:
            self._problem(f"artefact {name}: its content has another SHA-256")
        self._artefacts.add(name)

    def finish(self) -> None:
        """Check what can only be told at the end."""
        self._check_roots()
        for size in sorted(self._checkpoints):
            if size > self.size:
                self._problem(f"a checkpoint of {size} leaves was signed, and there are {self.size}")
        if self.last is None:
            self._problem("there is no checkpoint that can be believed")
        for number in sorted(self._erased - self._named):
            self._problem(f"leaf {number}: its record is missing, and no erasure says so")
        for number in sorted(self._named - self._erased):
            self._problem(f"leaf {number}: its record is there although it was erased")
        for name in sorted(self._referred - self._artefacts):
            self._problem(f"artefact {name}: a receipt refers to it, and it is missing")

    def _extend(self, leaf_hash: bytes) -> None:
        self._check_roots()
        index, place = divmod(self.size, TILE_WIDTH)
        if place == 0:
            self._tiles.pop((0, index - 2), None)  # one that nobody asked for
        self._tiles[0, index] = self._tiles.get((0, index), b"") + leaf_hash
        for tile in self._edge.extend([leaf_hash]):
            self._tiles[tile.level, tile.index] = tile.hashes

    def _check_roots(self) -> None:
        for checkpoint in self._checkpoints.get(self.size, ()):
            if self._edge.root() != checkpoint.root:
                self._problem(f"the first {self.size} leaves are not those that the checkpoint was signed of")

    def _record(self, number: int, record: bytes, found_by: FoundBy | None) -> None:
        try:
            content = parse_json(record, max_bytes=8 * MAX_RECEIPT_BYTES)
            if isinstance(content, Mapping) and "erasure_id" in content:
                self._named.update(Erasure.from_bytes(record).erased)
                self.erasures += 1
            else:
                receipt = Receipt.from_bytes(record)
                self._referred.update(receipt.artefact_hashes)
                self.receipts += 1
                if found_by is not None and (altered := found_by.altered(receipt)):
                    self._problem(
                        f"leaf {number}: what its receipt is found by was altered: {', '.join(altered)}"
                    )
        except InvalidReceiptError as error:
            self._problem(f"leaf {number}: {error}")

    def _problem(self, sentence: str) -> None:
        self.problem_count += 1
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(sentence)
