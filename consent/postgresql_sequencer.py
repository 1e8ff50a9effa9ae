"""The one who puts receipts in order: makes leaves of what was recorded, keeps the tiles, signs checkpoints.

Every process has one. They take turns by the lock on the row of ``consent_log``, which lasts as long as a transaction:
who dies lets go of it with the connection, and who stands still after some seconds, because the server ends idle
transactions.
Nothing else has to be fenced: a transaction that was ended cannot be committed any more.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import asyncpg

from consent.errors import InvalidProofError, LogForkedError, StoreUnavailable
from consent.merkle import TILE_WIDTH, Edge, Tile, Tiles, kept_tile, leaf_hash
from consent.postgresql_migration import migrate
from consent.postgresql_schema import SCHEMA_VERSION, TABLES
from consent.postgresql_session import Session, Transaction
from consent.sealing import LedgerKeys, Sealer
from consent.signed_mark import SignedMark
from consent.signing import CheckpointSigner

STEP_LEAVES: Final = 5_000
"""How many receipts one transaction makes leaves of."""
VACUUM_LEAVES: Final = 20_000
"""After so many, the places of what was taken from the inbox are freed."""

TAKE: Final = """
DELETE FROM consent_inbox WHERE arrived IN (SELECT arrived FROM consent_inbox ORDER BY arrived LIMIT $1)
RETURNING arrived, id_tag, commitment, month, day, kind
"""
_PLACE: Final = """
INSERT INTO consent_leaf (number, id_tag, commitment, month, body)
SELECT * FROM unnest($1::bigint[], $2::bytea[], $3::bytea[], $4::integer[], $5::bytea[])
"""
ADD_CHOICES: Final = """
ON CONFLICT (day, kind) DO UPDATE SET choices = consent_daily.choices + excluded.choices
"""
REPLACE_TILE: Final = "ON CONFLICT (level, number) DO UPDATE SET hashes = excluded.hashes"
_COUNT: Final = f"""
INSERT INTO consent_daily SELECT * FROM unnest($1::text[], $2::integer[], $3::bigint[])
{ADD_CHOICES}"""  # noqa: S608 - ours
_REPEATED: Final = """
WITH repeated AS (
    DELETE FROM consent_inbox i USING consent_leaf l WHERE l.id_tag = i.id_tag RETURNING i.id_tag, i.month
) DELETE FROM consent_record r USING repeated, consent_leaf l
WHERE r.id_tag = repeated.id_tag AND r.month = repeated.month AND l.id_tag = r.id_tag AND l.month <> r.month
"""
STATE: Final = """
SELECT size, EXISTS (SELECT 1 FROM consent_inbox) AS waiting,
    coalesce((SELECT max(size) FROM consent_checkpoint), 0) AS signed FROM consent_log
"""

logger = logging.getLogger("consent")


class Sequencer:
    """Makes leaves and signs, in turn with those of other processes. Safe to share between threads; its methods block.

    Args:
        session: the connections.
        keys: the log's.
        mark: where this machine keeps the checkpoint that it signed last.
        clock: returns seconds since 1970-01-01T00:00:00Z.
    """

    def __init__(
        self, session: Session, keys: LedgerKeys, mark: Path | None, clock: Callable[[], float]
    ) -> None:
        self.session = session
        self._keys = keys
        self._mark = None if mark is None else SignedMark(mark)
        self._clock = clock
        self._lock = threading.Lock()
        self._asking: set[int] = set()  # threads that wait for the lock, or have it
        self._changing: set[int] = set()  # those of them that may keep it for long
        self._edge: Edge | None = None
        self._refusal: str | None = None
        self._vacuumed = 0

    def prepare(self) -> None:
        """Make the tables where there are none, and check that they are of this version.

        Raises:
            StoreUnavailable: the database cannot be written, or its tables are those of a later version.
        """
        for attempt in range(5):
            try:
                # Two processes that start at the same moment get into each other's way.
                self._make_tables()
                break
            except StoreUnavailable as error:
                if attempt == 4 or not isinstance(
                    error.__cause__, (asyncpg.UniqueViolationError, asyncpg.DuplicateTableError)
                ):
                    raise
                time.sleep(0.05)

    def _make_tables(self) -> None:
        with self.session.transaction() as transaction:
            (row,) = transaction.fetch("SELECT to_regclass('consent_log')::text AS name")
            if row["name"] is None:
                transaction.run(TABLES)
            # Whoever finds a checkpoint can tell by it which log it is of.
            transaction.execute(
                "INSERT INTO consent_log VALUES (1, $1, $2, 0) ON CONFLICT (id) DO NOTHING",
                f"asgi-consent/{secrets.token_hex(16)}",
                SCHEMA_VERSION,
            )
            ((version,),) = transaction.fetch("SELECT schema_version FROM consent_log")
        if version in (1, 2):
            migrate(self.session, Sealer(self._keys))
            version = SCHEMA_VERSION
        if version != SCHEMA_VERSION:
            raise StoreUnavailable(
                f"{self.session.place} has schema {version}, and this version of asgi-consent knows {SCHEMA_VERSION}: "
                "update it"
            )

    def step(self, *, wait: bool = False) -> int:
        """Make leaves of some of what was recorded; return how many, 0 when nothing waits.

        Args:
            wait: wait until no other process is at it; otherwise leave it to that one.

        Raises:
            StoreUnavailable: not done; it is done the next time.
            InvalidProofError: the tree that is kept was altered.
        """
        try:
            with self._turn(f"FOR UPDATE{'' if wait else ' SKIP LOCKED'}") as turn:
                taken = 0 if turn is None else _make_leaves(turn)
        except StoreUnavailable as error:
            if not isinstance(error.__cause__, asyncpg.UniqueViolationError):
                raise
            # One id in two months at the same moment. The leaf that is there stays.
            with self.session.transaction() as transaction:
                transaction.execute(_REPEATED)
            logger.error(
                "%s: another receipt was recorded under an id that is a leaf already", self.session.place
            )
            return 1
        self._vacuumed += taken
        if self._vacuumed >= VACUUM_LEAVES:
            self._vacuumed = 0
            self._vacuum()
        return taken

    def catch_up(self) -> None:
        """Make leaves of all that was recorded before; as above."""
        while self.step(wait=True):
            pass

    @contextlib.contextmanager
    def turn(self) -> Iterator[Turn]:
        """Be the only one who changes the log, in one transaction; wait until no other one is at it.

        Raises:
            StoreUnavailable: the database cannot be used, or another one does not let go; nothing was changed.
        """
        thread = threading.get_ident()
        self._changing.add(thread)
        try:
            with self._short_turn() as turn:
                yield turn
        finally:
            self._changing.discard(thread)

    @contextlib.contextmanager
    def _short_turn(self) -> Iterator[Turn]:
        """Do the same, for a moment."""
        with self._turn("FOR UPDATE") as turn:
            if turn is None:
                raise StoreUnavailable(f"{self.session.place} has no log: it was emptied; restart the site")
            yield turn

    @contextlib.contextmanager
    def _turn(self, lock: str) -> Iterator[Turn | None]:
        """Do the same; ``None``: there is no row to lock."""
        with self._locked(), self.session.transaction() as transaction:
            rows = transaction.fetch(f"SELECT size, origin FROM consent_log {lock}")  # noqa: S608 - ours
            if not rows:
                yield None
                return
            turn = Turn(transaction, rows[0]["origin"], rows[0]["size"], self._edge)
            self._edge = None
            yield turn
            turn.finish()
            edge = turn.edge
        # Only now it is durable.
        self._edge = edge

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        thread = threading.get_ident()
        self._asking.add(thread)
        try:
            with self._lock:
                yield
        finally:
            self._asking.discard(thread)

    def will_be_free(self) -> bool:
        """Tell whether the end of the log is known here, and nobody else in this process changes the log for long."""
        return not self._changing and (self._edge is not None or self._lock.locked())

    def take_edge(self) -> Edge | None:
        """Be the one in this process who continues the log, from the edge that is returned.

        ``None``: somebody else is, or the edge is not known. Otherwise it is to be given back. The log may have grown
        since in another process.
        """
        # Who waits goes first: batches that follow each other closely would keep checkpoints from being signed.
        if self._asking or not self._lock.acquire(blocking=False):
            return None
        edge, self._edge = self._edge, None
        if edge is None:
            self._lock.release()
        return edge

    def give_back(self, edge: Edge | None) -> None:
        """Let others continue the log, from ``edge``; ``None``: it has to be read again."""
        self._edge = edge
        self._lock.release()

    def sign(self) -> None:
        """Sign a checkpoint of the log, unless there is one of all leaves. What is in the way is logged, once.

        Raises:
            StoreUnavailable: not done; it is done the next time.
        """
        try:
            with self._short_turn() as turn:
                if turn.size:
                    self._sign(turn)
            self._refusal = None
        except (LogForkedError, InvalidProofError) as error:
            if str(error) != self._refusal:
                logger.error("%s: no checkpoint is signed: %s", self.session.place, error)
            self._refusal = str(error)
        except OSError as error:
            raise StoreUnavailable(f"the checkpoint signed last cannot be kept: {error}") from error

    def _sign(self, turn: Turn) -> None:
        signer = CheckpointSigner(turn.origin, self._keys)
        last = last_checkpoint(turn.transaction)
        marked = None if self._mark is None else self._mark.read(turn.origin)
        covered = last is not None and last.split("\n", 2)[1] == str(turn.size)
        if covered and (self._mark is None or last == marked):
            return
        signed = [note for note in (last, marked) if note is not None]
        # Only what was committed before is signed: nobody can have signed another tree of this size.
        note = signer.sign(turn.size, lambda size: turn.tiles(size).root(), signed)
        if self._mark is not None:
            # Outside of the database first: from now on, no older state of it is signed any more.
            self._mark.write(note)
        if not covered:
            day = datetime.fromtimestamp(self._clock(), UTC).date().isoformat()
            turn.transaction.execute("DELETE FROM consent_checkpoint WHERE day = $1", day)
            turn.transaction.execute(
                "INSERT INTO consent_checkpoint VALUES ($1, $2, $3)", turn.size, day, note
            )

    def _vacuum(self) -> None:
        try:
            self.session.execute("VACUUM (SKIP_LOCKED) consent_inbox")
        except StoreUnavailable as error:
            # The server does the same after a while by itself.
            logger.debug("%s: the inbox was not vacuumed: %s", self.session.place, error)


class Turn:
    """One transaction of the one who may change the log."""

    def __init__(self, transaction: Transaction, origin: str, size: int, edge: Edge | None) -> None:
        self.transaction = transaction
        self.origin = origin
        self.size = size
        self.edge = edge if edge is not None and edge.size == size else None

    def append(self, rows: Sequence[tuple[bytes, bytes, int | None, bytes | None]]) -> int:
        """Append leaves, and return the number of the first.

        Args:
            rows: the tag of the id, the commitment, the month of the receipt, salt and record of what is nobody's.

        Raises:
            InvalidProofError: the tree that is kept was altered.
        """
        edge = self.edge or Edge.load(self.size, self.read_tile)
        first = edge.size
        id_tags, commitments, months, bodies = zip(*rows, strict=True)
        tiles = edge.extend([leaf_hash(commitment) for commitment in commitments])
        numbers = range(first, first + len(rows))
        self.transaction.execute(_PLACE, numbers, id_tags, commitments, months, bodies)
        write_tiles(self.transaction, tiles)
        self.edge = edge
        return first

    def finish(self) -> None:
        """Keep the size that the log has grown to."""
        if self.edge is not None and self.edge.size != self.size:
            statement = "UPDATE consent_log SET size = $1 WHERE size = $2"
            if self.transaction.execute(statement, self.edge.size, self.size) != 1:
                raise LogForkedError("the log grew while it was locked")

    def read_tile(self, level: int, index: int, width: int) -> bytes:
        """Read a tile. See :data:`consent.merkle.ReadTile`."""
        return read_tile(self.transaction, level, index, width)

    def tiles(self, size: int) -> Tiles:
        """Return the tree of the first ``size`` leaves."""
        return Tiles(size, self.read_tile)


def _make_leaves(turn: Turn) -> int:
    rows = turn.transaction.fetch(TAKE, STEP_LEAVES)
    if not rows:
        return 0
    rows.sort(key=lambda row: row["arrived"])
    turn.append([(row["id_tag"], row["commitment"], row["month"], None) for row in rows])
    counts = Counter([(row["day"], row["kind"]) for row in rows])
    columns = zip(*((*counted, times) for counted, times in sorted(counts.items())), strict=True)
    turn.transaction.execute(_COUNT, *columns)
    return len(rows)


def write_tiles(transaction: Transaction, tiles: Sequence[Tile]) -> None:
    """Keep tiles; one that has grown replaces what it was."""
    latest = {(tile.level, tile.index): tile.hashes for tile in tiles}
    if latest:
        levels, indexes = zip(*latest, strict=True)
        transaction.execute(
            f"INSERT INTO consent_tile SELECT * FROM unnest($1::integer[], $2::bigint[], $3::bytea[]) {REPLACE_TILE}",  # noqa: S608
            levels,
            indexes,
            list(latest.values()),
        )


def read_tile(reader: Transaction | Session, level: int, index: int, width: int) -> bytes:
    """Return the first ``width`` hashes of a tile, or as many as there are. See :data:`consent.merkle.ReadTile`.

    Raises:
        InvalidProofError: what is kept is not hashes.
    """
    rows = reader.fetch("SELECT hashes FROM consent_tile WHERE level = $1 AND number = $2", level, index)
    if rows:
        return kept_tile(level, index, rows[0]["hashes"], width)
    if level > 0:
        return b""
    first = index * TILE_WIDTH
    rows = reader.fetch(
        "SELECT commitment FROM consent_leaf WHERE number >= $1 AND number < $2 ORDER BY number",
        first,
        first + width,
    )
    return b"".join([leaf_hash(row["commitment"]) for row in rows])


def last_checkpoint(reader: Transaction | Session) -> str | None:
    """Return the checkpoint of the most leaves."""
    rows = reader.fetch("SELECT note FROM consent_checkpoint ORDER BY size DESC LIMIT 1")
    return str(rows[0]["note"]) if rows else None
