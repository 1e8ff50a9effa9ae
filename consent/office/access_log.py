"""The office's own accesses: who opened what, when and why, in a signed tree like the one of the receipts.

What is about a visitor is named by the place of the receipt in the log, and by no pseudonym.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from consent.canonical_json import canonical_json, parse_canonical
from consent.checkpoint import Checkpoint, InclusionProof, Signer, Verifier, open_checkpoint
from consent.errors import InvalidProofError, InvalidReceiptError, LogForkedError, StoreUnavailable
from consent.evidence import Evidence
from consent.merkle import (
    Edge,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    verify_consistency,
    verify_inclusion,
)
from consent.moments import format_moment, parse_moment
from consent.office.access_index import ALTERED, AccessQuery, find, keep
from consent.office.database import OfficeDatabase
from consent.office.events import EventType, add_event
from consent.sealing import LedgerKeys, Sealer, commitment
from consent.signed_mark import SignedMark
from consent.signing import CheckpointSigner
from consent.sqlite_tree import load_edge, log_size, origin_of, read_tile, tiles_at, write_tiles

SCHEMA_VERSION: Final = 1
_MAX_BODY: Final = 64 * 1024
_LOOKS: Final = 5
_LOOK_AGAIN_SECONDS: Final = 0.05


@dataclass(frozen=True, slots=True)
class Access:
    """One entry."""

    leaf: int
    """0 for the first."""
    time: str
    """RFC 3339, UTC, milliseconds."""
    who: str
    """The token's name and id."""
    what: str
    """``signed-in``, ``opened``, ``not-found``, ``looked-up``, ``exported``, …"""
    reason: str
    """As it was given; empty where none is asked for."""
    details: Mapping[str, object]
    """What exactly; never a pseudonym."""


@dataclass(frozen=True, slots=True)
class AccessPage:
    """Some entries, held against what was signed."""

    entries: Sequence[Access]
    next: int | None
    """What the next page is before; ``None``: there is none."""
    size: int
    """How many entries are signed."""
    problems: Sequence[str]
    """What is wrong with these, or with the tree that they are in; nothing: they are what was recorded."""


class AccessLog:
    """Appends to the log, and reads it. Blocks; safe to share between threads and processes.

    Args:
        database: where it is kept.
        keys: those of the log of receipts: the same ones sign.
        clock: returns seconds since 1970.
    """

    def __init__(self, database: OfficeDatabase, keys: LedgerKeys, clock: Callable[[], float]) -> None:
        self._database = database
        self._keys = keys
        self._sealer = Sealer(keys)
        self._clock = clock
        self._mark = SignedMark(database.path.with_name(database.path.name + ".checkpoint"))
        self._seen: Checkpoint | None = None
        """The last one that a page was held against: no later one may contradict it."""

    def append(self, who: str, what: str, *, reason: str = "", **details: object) -> int:
        """Record an access; return its number once it is durable and signed.

        Raises:
            StoreUnavailable: it cannot be recorded, or the log was altered: what was to be done must not be.
        """
        members: dict[str, Any] = {
            "schema_version": SCHEMA_VERSION,
            "time": format_moment(int(self._clock() * 1_000)),
            "who": who,
            "what": what,
            "reason": reason,
            "details": details,
        }
        body, salt = canonical_json(members), self._sealer.salt()
        with self._unaltered():
            with self._database.writing() as connection:
                edge = load_edge(connection)
                leaf, committed = edge.size, commitment(salt, body)
                write_tiles(connection, edge.extend([leaf_hash(committed)]))
                connection.execute("INSERT INTO record VALUES (?, ?, ?, ?)", (leaf, committed, salt, body))
                add_event(
                    connection,
                    parse_moment(members["time"]),
                    EventType.ACCESS_RECORDED,
                    leaf=leaf,
                    who=who,
                    what=what,
                )
                keep(connection, leaf, members["time"], who, what)
            self._database.once_committed(self._sign)
        return leaf

    @contextmanager
    def together(self) -> Iterator[None]:
        """Let what is done in the office's database within this, and what is recorded of it, be there both or neither.

        Raises:
            StoreUnavailable: as :meth:`append`. That the log was altered is found out before anything is done.
        """
        # At once; within another transaction it is the outer one's to have looked.
        self._database.once_committed(self._sign)
        with self._database.writing():
            yield

    @contextmanager
    def _unaltered(self) -> Iterator[None]:
        try:
            yield
        except (LogForkedError, InvalidProofError) as error:
            raise StoreUnavailable(
                f"{self._database.path}: the log of accesses was altered: {error}"
            ) from error

    def _sign(self) -> None:
        # In a transaction of its own: the mark must never be ahead of what was committed.
        with self._unaltered(), self._database.writing() as connection:
            size = log_size(connection)
            row = connection.execute(
                "SELECT size, note FROM checkpoint ORDER BY size DESC LIMIT 1"
            ).fetchone()
            signer = CheckpointSigner(origin_of(connection), self._keys)
            marked = self._mark.read(signer.origin)
            if (row or (0, None)) == (size, marked):
                return  # nothing to sign, or another process signed for both
            signed = [note for note in (row and row[1], marked) if note]
            note = signer.sign(size, lambda size: tiles_at(connection, size).root(), signed)
            # Outside of the database first: from now on, no older state of it is signed any more.
            self._mark.write(note)
            connection.execute("DELETE FROM checkpoint")
            connection.execute("INSERT INTO checkpoint VALUES (?, ?)", (size, note))

    def newest(self, *, limit: int, before: int | None = None) -> Sequence[Access]:
        """Return entries, the newest first.

        Raises:
            StoreUnavailable: they cannot be read, or are not what was recorded.
        """
        with self._database.reading() as connection:
            rows = connection.execute(
                f"{_ENTRIES} WHERE leaf < ? ORDER BY leaf DESC LIMIT ?",
                (2**62 if before is None else before, limit),
            ).fetchall()
        try:
            return [_access(*row) for row in rows]
        except (InvalidReceiptError, InvalidProofError) as error:
            raise StoreUnavailable(
                f"{self._database.path}: the log of accesses was altered: {error}"
            ) from None

    def page(self, asked: AccessQuery, *, limit: int, before: int | None = None) -> AccessPage:
        """Return entries, the newest first, each proven to be in the signed tree, in a time that does not grow with it.

        That nothing else of the log was altered is for :meth:`verify` to say, which reads all of it.

        Raises:
            StoreUnavailable: they cannot be read, or are not what was recorded.
            WrongQuestion: too many people fit.
        """
        page = self._page(asked, limit, before)
        for _ in range(_LOOKS - 1):
            if not page.problems:
                break
            # An access may have been written, and its checkpoint not yet.
            time.sleep(_LOOK_AGAIN_SECONDS)
            page = self._page(asked, limit, before)
        return page

    def _page(self, asked: AccessQuery, limit: int, before: int | None) -> AccessPage:
        with self._database.reading_one_state() as connection:
            row = connection.execute(_LAST_CHECKPOINT).fetchone()
            if row is None:
                return AccessPage((), None, 0, ())
            note, size = str(row[0]), log_size(connection)
            found = find(connection, asked, limit=limit, before=before)
            rows = [
                connection.execute(f"{_ENTRIES} WHERE leaf = ?", (leaf,)).fetchone() for leaf, _, _ in found
            ]
            try:
                entries = [_access(*each) for each in rows if each is not None]
            except (InvalidReceiptError, InvalidProofError) as error:
                raise StoreUnavailable(
                    f"{self._database.path}: the log of accesses was altered: {error}"
                ) from None
            problems = []
            if [(each.leaf, each.who, each.what) for each in entries] != list(found):
                problems.append("what entries are found by was altered")
            try:
                signed = open_checkpoint(note, CheckpointSigner(origin_of(connection), self._keys).verifiers)
                if self._mark.read(signed.origin) != note:
                    problems.append("the checkpoint signed last is not the one beside the database")
                if size != signed.size:
                    problems.append(f"the {size} entries are not those of the checkpoint of {signed.size}")
                else:
                    self._prove(connection, signed, [each[:2] for each in rows if each is not None])
            except InvalidProofError as error:
                problems.append(str(error))
        following = found[-1][0] if len(found) == limit and found[-1][0] else None
        return AccessPage(entries, following, size, problems)

    def _prove(
        self, connection: sqlite3.Connection, signed: Checkpoint, entries: Sequence[tuple[int, bytes]]
    ) -> None:
        """Hold entries against a signed tree, and that against the one that was seen before it.

        Raises:
            InvalidProofError: something does not fit.
        """
        tiles = tiles_at(connection, signed.size)
        if tiles.root() != signed.root:
            raise InvalidProofError(
                f"the {signed.size} entries are not those of the checkpoint of {signed.size}"
            )
        subtree = cache(tiles.subtree)  # entries that are near each other have most of it in common
        for leaf, committed in entries:
            proof = inclusion_proof(leaf, signed.size, subtree)
            verify_inclusion(leaf_hash(committed), leaf, signed.size, proof, signed.root)
        seen = self._seen
        if seen is not None:
            if seen.origin != signed.origin or seen.size > signed.size:
                raise InvalidProofError(f"there were {seen.size} entries, and now there are {signed.size}")
            grown = consistency_proof(seen.size, signed.size, subtree)
            verify_consistency(seen.size, signed.size, grown, seen.root, signed.root)
        self._seen = signed

    def checkpoint(self) -> str | None:
        """Return the checkpoint signed last; ``None``: there are no entries."""
        with self._database.reading() as connection:
            row = connection.execute(_LAST_CHECKPOINT).fetchone()
        return None if row is None else str(row[0])

    def verifiers(self) -> Sequence[Verifier]:
        """Return the keys that checkpoints are signed with."""
        with self._database.reading() as connection:
            return CheckpointSigner(origin_of(connection), self._keys).verifiers

    def signer(self, origin: str) -> Signer:
        """Return what signs statements in the name of a log: the same keys are that log's."""
        return Signer(origin, self._keys.signing[0])

    def evidence(self, leaf: int) -> Evidence | None:
        """Return an entry with its proof, which ``consent ledger verify`` takes; ``None``: there is none."""
        note = self.checkpoint()
        with self._database.reading() as connection:
            row = connection.execute("SELECT body, salt FROM record WHERE leaf = ?", (leaf,)).fetchone()
            if row is None or note is None:
                return None
            size = Checkpoint.of_note(note).size
            hashes = inclusion_proof(leaf, size, tiles_at(connection, size).subtree)
        return Evidence(row[0], row[1], InclusionProof(leaf, tuple(hashes), note))

    def verify(self) -> Sequence[str]:
        """Read all of it, and return what is wrong; nothing: it is whole.

        Every entry is held against its leaf, the leaves against the tree, and the tree against what was signed.
        """
        problems = self._problems()
        for _ in range(_LOOKS - 1):
            if not problems:
                break
            # An access may have been written, and its checkpoint not yet.
            time.sleep(_LOOK_AGAIN_SECONDS)
            problems = self._problems()
        return problems

    def _problems(self) -> Sequence[str]:
        problems, edge = [], Edge()
        with self._database.reading_one_state() as connection:
            row = connection.execute(_LAST_CHECKPOINT).fetchone()
            if row is None:
                return []
            note = str(row[0])
            for leaf, committed, salt, body in connection.execute(f"{_ENTRIES} ORDER BY leaf"):
                if leaf != edge.size or commitment(salt, body) != committed:
                    problems.append(f"entry {edge.size} is not the one that was recorded")
                edge.extend([leaf_hash(committed)])
            (altered,) = connection.execute(ALTERED).fetchone()
            if altered:
                problems.append(f"what {altered} entries are found by was altered")
            signed = Checkpoint.of_note(note)
            kept = self._mark.read(signed.origin)
            if (edge.size, edge.root()) != (signed.size, signed.root):
                problems.append(f"the {edge.size} entries are not those of the checkpoint of {signed.size}")
            if kept != note:
                problems.append("the checkpoint signed last is not the one beside the database")
            if len(read_tile(connection, 0, 0, 1)) == 0:
                problems.append("the first entry is missing")
        return problems


_LAST_CHECKPOINT: Final = "SELECT note FROM checkpoint ORDER BY size DESC LIMIT 1"
# Whoever alters a row can alter its type, too.
_ENTRIES: Final = "SELECT leaf, CAST(commitment AS BLOB), CAST(salt AS BLOB), CAST(body AS BLOB) FROM record"


def _access(leaf: int, committed: bytes, salt: bytes, body: bytes) -> Access:
    if commitment(salt, body) != committed:
        raise InvalidProofError(f"entry {leaf} is not the one that was recorded")
    content = parse_canonical(body, max_bytes=_MAX_BODY)
    if not isinstance(content, dict):
        raise InvalidProofError(f"entry {leaf} is none")
    time, who, what, reason = (str(content[name]) for name in ("time", "who", "what", "reason"))
    details = content["details"]
    return Access(leaf, time, who, what, reason, details if isinstance(details, dict) else {})
