"""What one transaction records in SQLite: receipts, their visitors' keys, leaves, tiles and the day's counts."""

from __future__ import annotations

import sqlite3
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from consent.errors import SealBrokenError, StoreError
from consent.merkle import Edge
from consent.receipts import Artefact
from consent.sealed_receipt import DailyKey, SealedReceipt
from consent.sealing import Sealer, commitment
from consent.sqlite_tree import load_edge, log_size, write_tiles

# Every step of a statement gives up the interpreter's lock, and under load getting it back takes up to 5 ms: a
# statement per row made a batch of 100 take 200 ms while another thread was computing. So there is a statement for 1
# row, 2, 3 and so on, each a fifth larger than the one before: three of them insert nearly any number of rows.
_SIZES = [1]
while _SIZES[-1] < 1_000:
    _SIZES.append(max(_SIZES[-1] + 1, _SIZES[-1] * 6 // 5))
CACHED_STATEMENTS = 4 * len(_SIZES)
"""How many prepared statements the connection has to keep."""
_LOOKED_UP = 64


class Entry(Protocol):
    """A receipt that is to be recorded."""

    @property
    def receipt(self) -> SealedReceipt: ...
    @property
    def shown(self) -> bytes | None:
        """The artefact that it names."""

    @property
    def artefacts(self) -> Mapping[bytes, Artefact]: ...


class Recorder:
    """Records in one database, and remembers where its log ends. Used by one thread at a time, under the lock.

    Args:
        sealer: has the log's keys.
    """

    def __init__(self, sealer: Sealer) -> None:
        self._sealer = sealer
        self._edge: Edge | None = None
        self._grown: Edge | None = None
        self._known: set[bytes] = set()  # artefacts that are surely in the database
        self._new: set[bytes] = set()
        self._locked_out: set[bytes] = set()  # visitors of this batch whose key does not open

    def forget(self) -> None:
        """Forget what is known of the database: another one may be in its place."""
        self._edge = self._grown = None
        self._known.clear()
        self._new.clear()

    def committed(self) -> None:
        """Take note that what was recorded last is durable."""
        self._edge = self._grown
        if len(self._known) + len(self._new) > _MAX_KNOWN_ARTEFACTS:
            self._known.clear()
        self._known |= self._new

    def record(self, connection: sqlite3.Connection, batch: Sequence[Entry]) -> Sequence[StoreError | None]:
        """Record ``batch`` in a transaction of its own, not committed yet; return why an entry was turned down.

        Raises:
            InvalidProofError: the tree that is kept was altered.
        """
        errors: list[StoreError | None] = [None] * len(batch)
        self._locked_out.clear()
        connection.execute("BEGIN IMMEDIATE")
        self._keep_artefacts(connection, batch, errors)
        fresh = [entry.receipt for entry, error in zip(batch, errors, strict=True) if error is None]
        # Nearly always, no receipt is there yet. To look each one up first would cost more than to begin anew.
        if not self._append(connection, fresh):
            connection.execute("ROLLBACK")
            connection.execute("BEGIN IMMEDIATE")
            self._keep_artefacts(connection, batch, errors)
            fresh = self._without_known(connection, batch, errors)
            if not self._append(connection, fresh):
                raise sqlite3.IntegrityError("receipts that were not there are there")
        return errors

    def append_leaves(self, connection: sqlite3.Connection, leaf_hashes: Sequence[bytes]) -> int:
        """Continue the tree, within the transaction under way; return the number of the first new leaf.

        To be called before the leaves' rows are inserted.
        """
        return self._continue(connection, log_size(connection), leaf_hashes)

    def _continue(self, connection: sqlite3.Connection, size: int, leaf_hashes: Sequence[bytes]) -> int:
        if self._edge is None or self._edge.size != size:
            self._edge = load_edge(connection)  # another process was here
        self._grown = self._edge.copy()
        write_tiles(connection, self._grown.extend(leaf_hashes))
        return size

    def _append(self, connection: sqlite3.Connection, receipts: Sequence[SealedReceipt]) -> bool:
        """Insert receipts as the next leaves; tell whether that was possible for all of them."""
        if not receipts:
            self._grown = self._edge
            return True
        size, last = connection.execute(
            "SELECT (SELECT max(leaf) FROM record) + 1, (SELECT max(number) FROM subject)"
        ).fetchone()
        first = self._continue(connection, size or 0, [receipt.leaf_hash for receipt in receipts])
        numbers = self._subjects(connection, receipts, (last or 0) + 1)
        if self._locked_out.intersection(numbers):
            return False
        rows = [
            (
                leaf,
                receipt.id_tag,
                receipt.commitment,
                numbers[receipt.tag],
                receipt.outcome,
                receipt.site,
                receipt.time_ms,
                receipt.sealed,
            )
            for leaf, receipt in enumerate(receipts, first)
        ]
        if _insert(connection, _RECORDS, rows) != len(rows):
            return False
        count_daily(connection, receipts)
        return True

    def _subjects(
        self, connection: sqlite3.Connection, receipts: Sequence[SealedReceipt], free: int
    ) -> dict[bytes, int]:
        """Return the numbers of the visitors; give those a key who have none, and seal under those that have one."""
        first: dict[bytes, SealedReceipt] = {}
        again = [receipt for receipt in receipts if first.setdefault(receipt.tag, receipt) is not receipt]
        new = [receipt for receipt in first.values() if not receipt.previous]
        maybe = [receipt for receipt in first.values() if receipt.previous]
        known = _find_subjects(connection, maybe)
        new += [receipt for receipt in maybe if receipt.tag not in known]
        numbers = {receipt.tag: number for number, receipt in enumerate(new, free)}
        rows = [(numbers[receipt.tag], receipt.tag, receipt.wrapped_key) for receipt in new]
        if _insert(connection, _SUBJECTS, rows) != len(rows):
            # Visitors that are known although their receipts say that they are new: repetitions, mostly.
            known |= _find_subjects(connection, new)
        for tag, (number, wrapped_key) in known.items():
            numbers[tag] = number
            try:
                first[tag].seal_under(self._sealer, wrapped_key)
            except SealBrokenError:
                self._locked_out.add(tag)
        for receipt in again:
            if receipt.tag in self._locked_out:
                continue
            receipt.seal_under(self._sealer, first[receipt.tag].wrapped_key)
        return numbers

    def _without_known(
        self, connection: sqlite3.Connection, batch: Sequence[Entry], errors: list[StoreError | None]
    ) -> list[SealedReceipt]:
        """Tell receipts that are there already, which is fine, from others under the same id; return the rest."""
        rest: dict[bytes, SealedReceipt] = {}
        for index, entry in enumerate(batch):
            if errors[index] is not None:
                continue
            receipt = entry.receipt
            if receipt.tag in self._locked_out:
                errors[index] = StoreError(
                    "the key that this visitor's receipts are sealed under does not open: put the wrapping key "
                    "back into the key file"
                )
                continue
            before = rest.setdefault(receipt.id_tag, receipt)
            same = before.record == receipt.record
            if before is receipt and (same_there := self._is_there(connection, receipt)) is not None:
                del rest[receipt.id_tag]
                same = same_there
            if not same:
                errors[index] = StoreError("another receipt is recorded under this id: make a new id")
        return list(rest.values())

    def _is_there(self, connection: sqlite3.Connection, receipt: SealedReceipt) -> bool | None:
        """Tell whether a receipt is recorded, as it is or as another one; ``None``: not at all."""
        row = connection.execute(
            "SELECT record.body, record.commitment, subject.wrapped_key, subject.tag FROM record"
            " LEFT JOIN subject ON subject.number = record.subject WHERE id_tag = ?",
            (receipt.id_tag,),
        ).fetchone()
        if row is None:
            return None
        body, recorded, wrapped_key, tag = row
        if body is None:
            return True  # erased: nobody can tell any more, and it must not come back
        try:
            salt, _ = self._sealer.open(self._sealer.unwrap(wrapped_key, tag), body, receipt.id_tag)
        except SealBrokenError:
            return False
        return bool(commitment(salt, receipt.record) == recorded)

    def _keep_artefacts(
        self, connection: sqlite3.Connection, batch: Sequence[Entry], errors: list[StoreError | None]
    ) -> None:
        self._new = set()
        for index, entry in enumerate(batch):
            for digest, artefact in entry.artefacts.items():
                if digest not in self._known and digest not in self._new:
                    connection.execute(
                        "INSERT INTO artefact VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
                        (digest, artefact.media_type, artefact.content),
                    )
                    self._new.add(digest)
            if not self._has_artefact(connection, entry.shown):
                errors[index] = StoreError(
                    "the text shown is not in the store and not with the receipt: pass it as an artefact"
                )

    def _has_artefact(self, connection: sqlite3.Connection, digest: bytes | None) -> bool:
        if digest is None or digest in self._known or digest in self._new:
            return True
        if connection.execute("SELECT 1 FROM artefact WHERE hash = ?", (digest,)).fetchone() is None:
            return False
        self._new.add(digest)
        return True


_MAX_KNOWN_ARTEFACTS = 4_096


def count_daily(connection: sqlite3.Connection, receipts: Iterable[SealedReceipt]) -> None:
    """Add receipts to the counts of their days."""
    counts = Counter([receipt.daily for receipt in receipts])
    _insert(connection, _DAILY, [(*kind, choices) for kind, choices in counts.items()])


def insert_leaf(connection: sqlite3.Connection, leaf: int, id_tag: bytes, salt: bytes, record: bytes) -> None:
    """Insert the row of a record that is nobody's, such as an erasure's."""
    connection.execute(
        "INSERT INTO record (leaf, id_tag, commitment, body) VALUES (?, ?, ?, ?)",
        (leaf, id_tag, commitment(salt, record), salt + record),
    )


def _find_subjects(
    connection: sqlite3.Connection, receipts: Sequence[SealedReceipt]
) -> dict[bytes, tuple[int, bytes]]:
    found = {}
    for start in range(0, len(receipts), _LOOKED_UP):
        tags = [receipt.tag for receipt in receipts[start : start + _LOOKED_UP]]
        tags += [tags[-1]] * (_LOOKED_UP - len(tags))
        for tag, number, wrapped_key in connection.execute(_FIND_SUBJECTS, tags):
            found[tag] = (number, wrapped_key)
    return found


def _insert(
    connection: sqlite3.Connection, statements: Mapping[int, str], rows: Sequence[tuple[object, ...]]
) -> int:
    """Insert, and return how many were not there yet."""
    inserted = start = 0
    while start < len(rows):
        size = _SIZES[bisect_right(_SIZES, len(rows) - start) - 1]
        values = [value for row in rows[start : start + size] for value in row]
        inserted += connection.execute(statements[size], values).rowcount
        start += size
    return inserted


def _statements(table: str, columns: str, conflict: str) -> dict[int, str]:
    row = f"({', '.join('?' * (columns.count(',') + 1))})"
    return {
        size: f"INSERT INTO {table} ({columns}) VALUES {', '.join([row] * size)} ON CONFLICT {conflict}"  # noqa: S608
        for size in _SIZES
    }


_SUBJECTS = _statements("subject", "number, tag, wrapped_key", "(tag) DO NOTHING")
_RECORDS = _statements(
    "record", "leaf, id_tag, commitment, subject, outcome, site, time_ms, body", "(id_tag) DO NOTHING"
)
_DAILY = _statements(
    "daily", ", ".join((*DailyKey._fields, "choices")), "DO UPDATE SET choices = choices + excluded.choices"
)
_FIND_SUBJECTS = f"SELECT tag, number, wrapped_key FROM subject WHERE tag IN ({', '.join('?' * _LOOKED_UP)})"  # noqa: S608 - ours
