"""Reading the log that is kept in PostgreSQL, also while others record there, and also on a replica."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import asyncpg

from consent import postgresql_finding
from consent.checkpoint import Checkpoint, Verifier
from consent.choice_kind import ChoiceKind
from consent.enforcement_log import EnforcementCount, EnforcementKind
from consent.errors import InvalidProofError, StoreUnavailable
from consent.evidence import Evidence
from consent.log_reader import LogReader
from consent.log_rows import evidence_of, logged_receipt, open_row, proven_rows
from consent.merkle import MAX_SIZE, Tiles, kept_tile, tiles_of_proof
from consent.postgresql_sequencer import last_checkpoint, read_tile
from consent.postgresql_session import Session, Transaction
from consent.receipt_search import (
    KINDS_AT_ONCE,
    FoundBy,
    KindQuery,
    Position,
    ReceiptFinder,
    RecordPage,
    numbered_kinds,
)
from consent.receipts import Artefact, Receipt
from consent.sealing import LedgerKeys, Sealer
from consent.signing import CheckpointSigner
from consent.store import Leaf, LoggedReceipt


class PostgreSQLReceiptLog(LogReader, ReceiptFinder):
    """Reads what :class:`consent.postgresql_store.PostgreSQLStore` recorded.

    Implements :class:`consent.store.ReceiptLog`, :class:`consent.store.Ledger` and
    :class:`consent.receipt_search.ReceiptSearch`. Never writes, works while others write, and holds nobody up. Safe to
    share between threads; not to be carried across a fork.

    Args:
        url: the database, or a replica of it that follows it.
        keys: the log's secrets.
        timeout_seconds: How long the server may take for a statement.

    Raises:
        StoreUnavailable: the database cannot be reached, or there is no log in it yet.
    """

    def __init__(self, url: str, keys: LedgerKeys, *, timeout_seconds: float = 30.0) -> None:
        self._keys = keys
        self._sealer = Sealer(keys)
        self._lock = threading.RLock()
        self._moment: Transaction | None = None
        self._known_kinds: dict[int, ChoiceKind] = {}
        self._session = Session(url, timeout_seconds)
        try:
            self.verifiers()
        except BaseException:
            self._session.close()
            raise

    def __del__(self) -> None:
        # Whoever serves the log from it has it as long as he lives.
        if hasattr(self, "_session"):
            self._session.close()

    def close(self) -> None:
        """Let go of the database. May be repeated."""
        with self._lock:
            self._session.close()

    def get(self, receipt_id: str) -> Receipt | None:
        """Return the receipt with this id, or ``None``."""
        id_tag = self._id_tag(receipt_id)
        rows = () if id_tag is None else self._select("l.id_tag = $1", "", id_tag)
        return rows[0].receipt if rows else None

    def list(self, *, limit: int, before: int | None = None) -> Sequence[LoggedReceipt]:
        """Return up to ``limit`` receipts, newest first. See :meth:`consent.store.ReceiptLog.list`."""
        if limit < 1:
            raise ValueError("limit must be 1 or more")
        end = MAX_SIZE if before is None else before
        return self._select("l.number < $1", "ORDER BY l.number DESC LIMIT $2", end, limit)

    def _artefact(self, digest: bytes) -> Artefact | None:
        rows = self._fetch("SELECT content, media_type FROM consent_artefact WHERE hash = $1", digest)
        return Artefact(content=rows[0]["content"], media_type=rows[0]["media_type"]) if rows else None

    def artefact_hashes(self) -> Sequence[str]:
        """Return the names of all artefacts."""
        return [row["hash"].hex() for row in self._fetch("SELECT hash FROM consent_artefact ORDER BY hash")]

    def _daily(self, first_day: str, last_day: str) -> Sequence[tuple[str, int, int]]:
        rows = self._fetch(
            "SELECT day, kind, choices FROM consent_daily WHERE day >= $1 AND day <= $2 ORDER BY day, kind",
            first_day,
            last_day,
        )
        return [tuple(row) for row in rows]

    def _totals(self, first_day: str, last_day: str) -> Sequence[tuple[int, str, str, int]]:
        rows = self._fetch(
            "SELECT kind, min(day), max(day), sum(choices)::bigint FROM consent_daily"
            " WHERE day >= $1 AND day <= $2 GROUP BY kind",
            first_day,
            last_day,
        )
        return [tuple(row) for row in rows]

    def enforcement(self, first_day: str, last_day: str) -> Sequence[EnforcementCount]:
        """Return what was done about trackers on the days from first to last, in order. See :meth:`daily`."""
        rows = self._fetch(
            "SELECT * FROM consent_enforcement WHERE day >= $1 AND day <= $2", first_day, last_day
        )
        return sorted(EnforcementCount(EnforcementKind(*tuple(row)[:-1]), row["times"]) for row in rows)

    # ---- finding

    def _opened(self, leaves: Sequence[int]) -> Mapping[int, LoggedReceipt]:
        return {
            leaf: logged_receipt(self._sealer, open_row(self._sealer, *row), row["id_tag"])
            for leaf, row in self._rows_of(leaves).items()
        }

    def _rows_of(self, leaves: Sequence[int]) -> Mapping[int, Any]:
        rows = self._fetch(
            f"{_ROWS} WHERE r.outcome IS NOT NULL AND l.number = ANY({postgresql_finding.EACH_LEAF})",
            list(leaves),
        )
        return {row["number"]: row for row in rows}

    def _kinds(self) -> Mapping[int, ChoiceKind]:
        with self._lock:
            known = self._known_kinds
            ((count,),) = self._fetch("SELECT count(*) FROM consent_kind")
            # A number may be given before those below it are committed: if the newest are not all, each is looked at.
            for after in (max(known, default=0), 0):
                while len(known) < count and (more := self._some_kinds(after)):
                    known.update(more)
                    after = max(more)
            return known

    def _some_kinds(self, after: int) -> Mapping[int, ChoiceKind]:
        ((numbers, keys),) = self._fetch(
            "SELECT string_agg(number::text, ','), string_agg(key, ',') FROM"
            " (SELECT number, key FROM consent_kind WHERE number > $1 ORDER BY number LIMIT $2) AS part",
            after,
            KINDS_AT_ONCE,
        )
        return {} if numbers is None else numbered_kinds(numbers, keys)

    def account(self, name: str) -> str:
        """Return what receipts name an account by. See :meth:`consent.receipt_search.ReceiptSearch.account`."""
        return self._sealer.account(name)

    def _tag(self, subject: str) -> bytes | None:
        try:
            return self._sealer.tag(bytes.fromhex(subject))
        except ValueError:
            return None

    def _newest(
        self, query: KindQuery, before: Position | None, count: int
    ) -> Sequence[tuple[Position, int | None]]:
        return postgresql_finding.newest(self._fetch, query, before, count)

    def _oldest(
        self, query: KindQuery, after: Position | None, count: int
    ) -> Sequence[tuple[Position, int | None]]:
        return postgresql_finding.oldest(self._fetch, query, after, count)

    def _oldest_records(self, query: KindQuery, after: Position | None, count: int) -> RecordPage:
        rows = postgresql_finding.oldest_rows(self._fetch, query, after, count)
        last = Position(rows[-1][-1], rows[-1][0]) if rows else None
        return RecordPage(proven_rows(self._sealer, rows), last)

    def _standing(self, leaves: Sequence[int], until_ms: int | None) -> Collection[int]:
        return postgresql_finding.standing(self._fetch, leaves, until_ms)

    # ---- the tree

    def verifiers(self) -> Sequence[Verifier]:
        """Return the log's public keys. See :meth:`consent.store.Ledger.verifiers`."""
        try:
            rows = self._fetch("SELECT origin FROM consent_log")
        except StoreUnavailable as error:
            if not isinstance(error.__cause__, asyncpg.UndefinedTableError):
                raise
            rows = []
        if not rows:
            raise StoreUnavailable(
                f"no receipts yet: there is no log at {self._session.place}; it is made when the site starts"
            )
        return CheckpointSigner(rows[0]["origin"], self._keys).verifiers

    def checkpoint(self) -> str | None:
        """Return the checkpoint signed last. See :meth:`consent.store.Ledger.checkpoint`."""
        with self._lock:
            return last_checkpoint(self._moment or self._session)

    def checkpoints(self) -> Sequence[tuple[str, str]]:
        """Return the last checkpoint of each day, the earliest first: day and signed note."""
        rows = self._fetch("SELECT day, note FROM consent_checkpoint ORDER BY size")
        return [(row["day"], row["note"]) for row in rows]

    def tile(self, level: int, index: int, width: int) -> bytes | None:
        """Return hashes of a tile. See :meth:`consent.store.Ledger.tile`."""
        hashes = self._tile(level, index, width)
        return hashes if len(hashes) == 32 * width else None

    def found_by(self, first: int, limit: int) -> Mapping[int, FoundBy]:
        """Return what the receipts at leaves are found by, altered or not."""
        return {
            number: FoundBy(outcome, site, time_ms, key, _answers(vendors))
            for number, outcome, site, time_ms, key, vendors in self._fetch(_FOUND_BY, first, first + limit)
        }

    def stored_tile(self, level: int, index: int, width: int) -> bytes:
        """Return what is kept of a tile, up to ``width`` hashes, altered or not."""
        try:
            return self._tile(level, index, width)
        except InvalidProofError:
            return b""

    def _tile(self, level: int, index: int, width: int) -> bytes:
        with self._lock:
            return read_tile(self._moment or self._session, level, index, width)

    def leaves(self, first: int, limit: int) -> Sequence[Leaf]:
        """Return leaves in order. See :meth:`consent.store.Ledger.leaves`."""
        rows = self._fetch(
            f"{_ROWS} WHERE l.number >= $1 AND l.number < $2 ORDER BY l.number", first, first + limit
        )
        return [open_row(self._sealer, *row) for row in rows]

    def evidence(self, receipt_id: str) -> Evidence | None:
        """Return a receipt with its proof. See :meth:`consent.store.Ledger.evidence`."""
        id_tag = self._id_tag(receipt_id)
        if id_tag is None:
            return None
        with self.one_moment():
            # One question with the checkpoint: each takes longer than its answer.
            rows = self._fetch(f"{_PROVEN_ROWS} WHERE l.id_tag = $1", id_tag)
            if not rows or rows[0]["note"] is None:
                return None
            *row, note = rows[0]
            leaf, size = open_row(self._sealer, *row), Checkpoint.of_note(note).size
            return evidence_of(leaf, note, self._tiles_for(leaf.number, size))

    def _tiles_for(self, leaf: int, size: int) -> Tiles:
        """Return the tree of ``size`` leaves; the tiles that a leaf's proof is made of are asked for together."""
        wanted = sorted(tiles_of_proof(leaf, size)) if leaf < size else []
        rows = self._fetch(
            "SELECT level, number, hashes FROM consent_tile"
            " JOIN unnest($1::integer[], $2::bigint[]) AS wanted (level, number) USING (level, number)",
            [level for level, _ in wanted],
            [index for _, index in wanted],
        )
        kept = {(row["level"], row["number"]): row["hashes"] for row in rows}

        def read(level: int, index: int, width: int) -> bytes:
            if (level, index) in kept:
                return kept_tile(level, index, kept[level, index], width)
            return self._tile(level, index, width)

        return Tiles(size, read)

    def _select(self, clause: str, order: str, *values: object) -> Sequence[LoggedReceipt]:
        rows = self._fetch(f"{_ROWS} WHERE r.outcome IS NOT NULL AND {clause} {order}", *values)
        return [logged_receipt(self._sealer, open_row(self._sealer, *row), row["id_tag"]) for row in rows]

    @contextlib.contextmanager
    def one_moment(self) -> Iterator[None]:
        """Let everything in between read the log as it is now."""
        with self._lock:
            if self._moment is not None:
                yield
                return
            with self._session.transaction(read_only=True) as transaction:
                self._moment = transaction
                try:
                    yield
                finally:
                    self._moment = None

    def _fetch(self, query: str, *values: object) -> Sequence[Any]:
        with self._lock:
            return (self._moment or self._session).fetch(query, *values)


# The month says in which table a record is; the tag alone would be looked for in all of them.
_COLUMNS = (
    "l.number, l.id_tag, l.commitment, coalesce(r.body, l.body) AS body, r.outcome, r.tag, r.wrapped_key"
)
_TABLES = "consent_leaf l LEFT JOIN consent_record r ON r.id_tag = l.id_tag AND r.month = l.month"
_ROWS = f"SELECT {_COLUMNS} FROM {_TABLES}"  # noqa: S608 - ours
_PROVEN_ROWS = f"""SELECT {_COLUMNS}, (SELECT note FROM consent_checkpoint ORDER BY size DESC LIMIT 1) AS note
    FROM {_TABLES}"""  # noqa: S608 - ours
_FOUND_BY = f"""SELECT l.number, r.outcome, r.site, r.time_ms, k.key, r.vendors::text
    FROM {_TABLES} LEFT JOIN consent_kind k ON k.number = r.kind
    WHERE l.number >= $1 AND l.number < $2 AND r.outcome IS NOT NULL"""  # noqa: S608 - ours


def _answers(vendors: str | None) -> Mapping[str, object]:
    kept = json.loads(vendors) if vendors else {}
    if not isinstance(kept, dict):
        return {"": kept}
    # In Python, 1 is equal to True; to PostgreSQL it is not.
    return {vendor: said if isinstance(said, bool) else str(said) for vendor, said in kept.items()}
