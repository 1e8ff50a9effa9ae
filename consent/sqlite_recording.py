"""What one transaction records in SQLite: receipts, their visitors' keys, leaves, tiles and the day's counts."""

from __future__ import annotations

import sqlite3
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Protocol

from consent.append_queue import missing_artefact, other_receipt
from consent.choice_kind import ChoiceKind
from consent.errors import SealBrokenError, StoreError
from consent.merkle import Edge, Tile
from consent.receipts import Artefact
from consent.sealed_receipt import SealedReceipt
from consent.sealing import Sealer, commitment
from consent.sqlite_tree import load_edge, log_size, write_tiles

# Each step of a statement gives up the interpreter's lock, and under load getting it back takes up to 5 ms: a statement
# per row made a batch of 100 take 200 ms while another thread was computing. So the rows of a batch, of all tables, are
# inserted into one view by one statement, and triggers hand each to its table. There is a statement for 1 row, 2, 3 and
# so on, each a fifth larger than the one before; what is left over of it is filled with rows that no trigger heeds.
_SIZES = [1]
while _SIZES[-1] < 600:
    _SIZES.append(max(_SIZES[-1] + 1, _SIZES[-1] * 6 // 5))
CACHED_STATEMENTS = 2 * len(_SIZES)
"""How many prepared statements the connection has to keep."""
_NOTHING = (None,) * 12
_LOOKED_UP = 64


class Entry(Protocol):
    """A receipt that is to be recorded."""

    @property
    def receipt(self) -> SealedReceipt: ...
    @property
    def named(self) -> Sequence[str]:
        """The SHA-256 of all artefacts that it refers to, in hexadecimal digits."""

    @property
    def artefacts(self) -> Sequence[Artefact]: ...


class Recorder:
    """Records in one database, and remembers where its log ends. Used by one thread at a time, under the lock.

    Args:
        sealer: has the log's keys.
    """

    def __init__(self, sealer: Sealer) -> None:
        self._sealer = sealer
        self._edge: Edge | None = None
        self._grown: Edge | None = None
        self._known: set[str] = set()  # artefacts that are surely in the database
        self._new: set[str] = set()
        self._kinds: dict[ChoiceKind, int] = {}  # the numbers of kinds that are surely in the database
        self._new_kinds: dict[ChoiceKind, int] = {}

    def forget(self) -> None:
        """Forget what is known of the database: another one may be in its place."""
        self._edge = self._grown = None
        self._known.clear()
        self._new.clear()
        self._kinds.clear()
        self._new_kinds.clear()

    def committed(self) -> None:
        """Take note that what was recorded last is durable."""
        self._edge = self._grown
        if len(self._known) + len(self._new) > _MAX_KNOWN_ARTEFACTS:
            self._known.clear()
        self._known |= self._new
        if self._new_kinds:
            if len(self._kinds) > _MAX_KNOWN_KINDS:
                self._kinds.clear()
            self._kinds |= self._new_kinds
            self._new_kinds = {}

    def record_new(self, connection: sqlite3.Connection, batch: Sequence[Entry]) -> bool:
        """Record ``batch`` and commit, by one statement, if all of it is new, and all artefacts and kinds are known.

        Return whether it was; if not, nothing was changed.

        Raises:
            InvalidProofError: the tree that is kept was altered.
        """
        artefacts = {name for entry in batch for name in entry.named}
        artefacts.update([artefact.hash for entry in batch for artefact in entry.artefacts])
        if not artefacts <= self._known:
            return False
        receipts = [entry.receipt for entry in batch]
        if not {receipt.kind for receipt in receipts} <= self._kinds.keys():
            return False
        self._new = set()
        visitors = _find_subjects(connection, [receipt for receipt in receipts if receipt.previous])
        try:
            rows = self._rows(connection, receipts, visitors)
            if len(rows) > len(_NOTHING) * _SIZES[-1]:
                return False
            # Nearly always, no receipt is there yet. To look each one up first would cost more than to begin anew.
            _insert(connection, rows)
        except (SealBrokenError, sqlite3.IntegrityError):
            return False
        return True

    def record(self, connection: sqlite3.Connection, batch: Sequence[Entry]) -> Sequence[StoreError | None]:
        """Record ``batch`` in a transaction of its own, not committed yet; return why an entry was turned down.

        Raises:
            InvalidProofError: the tree that is kept was altered.
        """
        errors: list[StoreError | None] = [None] * len(batch)
        connection.execute("BEGIN IMMEDIATE")
        self._keep_artefacts(connection, batch, errors)
        visitors = _find_subjects(connection, [entry.receipt for entry in batch])
        self._refuse_locked_out(batch, visitors, errors)
        fresh = self._without_known(connection, batch, errors)
        self._new_kinds = keep_kinds(connection, {receipt.kind for receipt in fresh} - self._kinds.keys())
        _insert(connection, self._rows(connection, fresh, visitors))
        return errors

    def append_leaves(self, connection: sqlite3.Connection, leaf_hashes: Sequence[bytes]) -> int:
        """Continue the tree, within the transaction under way; return the number of the first new leaf.

        To be called before the leaves' rows are inserted.
        """
        size = log_size(connection)
        write_tiles(connection, self._continue(connection, size, leaf_hashes))
        return size

    def _continue(
        self, connection: sqlite3.Connection, size: int, leaf_hashes: Sequence[bytes]
    ) -> Sequence[Tile]:
        if self._edge is None or self._edge.size != size:
            self._edge = load_edge(connection)  # another process was here
        self._grown = self._edge.copy()
        return self._grown.extend(leaf_hashes)

    def _refuse_locked_out(
        self,
        batch: Sequence[Entry],
        visitors: dict[bytes, tuple[int, bytes]],
        errors: list[StoreError | None],
    ) -> None:
        """Turn receipts of visitors down whose key does not open."""
        for index, entry in enumerate(batch):
            _, wrapped_key = visitors.get(entry.receipt.tag, (0, None))
            try:
                if wrapped_key is not None:
                    self._sealer.unwrap(wrapped_key, entry.receipt.tag)
            except SealBrokenError:
                errors[index] = StoreError(
                    "the key that this visitor's receipts are sealed under does not open: put the wrapping key "
                    "back into the key file"
                )

    def _rows(
        self,
        connection: sqlite3.Connection,
        receipts: Sequence[SealedReceipt],
        visitors: dict[bytes, tuple[int, bytes]],
    ) -> list[object]:
        """Return the values of all rows that make receipts the next leaves, one row after the other.

        Args:
            visitors: number and key of the known ones; new ones are added.

        Raises:
            SealBrokenError: a visitor's key does not open.
        """
        size, last = connection.execute(
            "SELECT (SELECT max(leaf) FROM record) + 1, (SELECT max(number) FROM subject)"
        ).fetchone()
        first, free = size or 0, (last or 0) + 1
        tiles = self._continue(connection, first, [receipt.leaf_hash for receipt in receipts])
        kinds = {**self._kinds, **self._new_kinds} if self._new_kinds else self._kinds
        values: list[object] = []
        for leaf, receipt in enumerate(receipts, first):
            kind = kinds[receipt.kind]
            known = visitors.get(receipt.tag)
            if known is None:
                wrapped_key = receipt.wrapped_key
                visitors[receipt.tag] = (free, wrapped_key)
                number = free
                free += 1
            else:
                wrapped_key = None
                number = known[0]
                receipt.seal_under(self._sealer, known[1])
            values += (
                "receipt",
                leaf,
                receipt.id_tag,
                receipt.commitment,
                number,
                receipt.outcome,
                receipt.site,
                receipt.time_ms,
                receipt.sealed,
                receipt.tag,
                wrapped_key,
                kind,
            )
            for vendor, said in receipt.answers.items():
                values += ("answer", leaf, vendor, said, receipt.time_ms, kind, *_NOTHING[6:])
        for (day, choice), choices in Counter([(receipt.day, receipt.kind) for receipt in receipts]).items():
            values += ("daily", day, kinds[choice], choices, *_NOTHING[4:])
        for tile in tiles:
            values += ("tile", tile.level, tile.index, tile.hashes, *_NOTHING[4:])
        return values

    def _without_known(
        self, connection: sqlite3.Connection, batch: Sequence[Entry], errors: list[StoreError | None]
    ) -> list[SealedReceipt]:
        """Tell receipts that are there already, which is fine, from others under the same id; return the rest."""
        rest: dict[bytes, SealedReceipt] = {}
        for index, entry in enumerate(batch):
            if errors[index] is not None:
                continue
            receipt = entry.receipt
            before = rest.setdefault(receipt.id_tag, receipt)
            same = before.record == receipt.record
            if before is receipt and (same_there := self._is_there(connection, receipt)) is not None:
                del rest[receipt.id_tag]
                same = same_there
            if not same:
                errors[index] = other_receipt()
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
            for artefact in entry.artefacts:
                if artefact.hash not in self._known and artefact.hash not in self._new:
                    connection.execute(
                        "INSERT INTO artefact VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
                        (bytes.fromhex(artefact.hash), artefact.media_type, artefact.content),
                    )
                    self._new.add(artefact.hash)
            if not all(self._has_artefact(connection, name) for name in entry.named):
                errors[index] = missing_artefact()

    def _has_artefact(self, connection: sqlite3.Connection, name: str) -> bool:
        if name in self._known or name in self._new:
            return True
        asked = (bytes.fromhex(name),)
        if connection.execute("SELECT 1 FROM artefact WHERE hash = ?", asked).fetchone() is None:
            return False
        self._new.add(name)
        return True


_MAX_KNOWN_ARTEFACTS = 4_096
_MAX_KNOWN_KINDS = 65_536


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


def keep_kinds(connection: sqlite3.Connection, kinds: Iterable[ChoiceKind]) -> dict[ChoiceKind, int]:
    """Keep kinds of choices, within the transaction under way; return their numbers."""
    numbers = {}
    for kind in kinds:
        connection.execute("INSERT INTO kind (key) VALUES (?) ON CONFLICT DO NOTHING", (kind.text(),))
        (numbers[kind],) = connection.execute(
            "SELECT number FROM kind WHERE key = ?", (kind.text(),)
        ).fetchone()
    return numbers


def _insert(connection: sqlite3.Connection, values: Sequence[object]) -> None:
    """Insert rows, given by their values, one row after the other."""
    width = len(_NOTHING)
    longest = width * _SIZES[-1]
    for start in range(0, len(values), longest):
        part = values[start : start + longest]
        size = _SIZES[bisect_left(_SIZES, len(part) // width)]
        connection.execute(_INSERT[size], [*part, *_NOTHING * (size - len(part) // width)])


def prepare_recording(connection: sqlite3.Connection) -> None:
    """Make the view that rows are inserted into, for this connection alone."""
    connection.execute("PRAGMA temp_store = MEMORY")  # the rows pass through a table of SQLite's own
    values = [f"value{number}" for number in range(1, len(_NOTHING))]
    connection.execute(
        f"CREATE TEMP VIEW arriving AS SELECT NULL AS kind, {', '.join(f'NULL AS {name}' for name in values)}"
    )
    for kind, statements in _TRIGGERED.items():
        connection.execute(
            f"CREATE TEMP TRIGGER arriving_{kind} INSTEAD OF INSERT ON arriving WHEN NEW.kind = '{kind}' BEGIN"
            f" {statements} END"
        )


_ROW = f"({', '.join('?' * len(_NOTHING))})"
_INSERT = {size: f"INSERT INTO arriving VALUES {', '.join([_ROW] * size)}" for size in _SIZES}  # noqa: S608 - ours
_TRIGGERED = {
    "receipt": """
        INSERT INTO subject (number, tag, wrapped_key) SELECT NEW.value4, NEW.value9, NEW.value10
            WHERE NEW.value10 IS NOT NULL;
        INSERT INTO record (leaf, id_tag, commitment, subject, outcome, site, time_ms, body, kind)
            VALUES (NEW.value1, NEW.value2, NEW.value3, NEW.value4, NEW.value5, NEW.value6, NEW.value7, NEW.value8,
                NEW.value11);
    """,
    "answer": """
        INSERT INTO answer (leaf, vendor, said, time_ms, kind)
            VALUES (NEW.value1, NEW.value2, NEW.value3, NEW.value4, NEW.value5);
    """,
    "daily": """
        INSERT INTO daily (day, kind, choices) VALUES (NEW.value1, NEW.value2, NEW.value3)
            ON CONFLICT DO UPDATE SET choices = choices + excluded.choices;
    """,
    "tile": """
        INSERT INTO tile (level, number, hashes) VALUES (NEW.value1, NEW.value2, NEW.value3)
            ON CONFLICT (level, number) DO UPDATE SET hashes = excluded.hashes;
    """,
}
_FIND_SUBJECTS = f"SELECT tag, number, wrapped_key FROM subject WHERE tag IN ({', '.join('?' * _LOOKED_UP)})"  # noqa: S608 - ours
