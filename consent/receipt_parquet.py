"""Exports of receipts as Apache Parquet: typed columns, written a row group at a time.

Needs PyArrow, the extra ``parquet``.
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from functools import cache
from typing import Any, Final

from consent.choice_kind import ChoiceKind
from consent.errors import ConfigurationError
from consent.moments import parse_moment
from consent.receipt_search import Found

GROUP_ROWS: Final = 50_000
"""How many rows are in memory at a time, at least: the size of a row group."""

_TIMES: Final = frozenset({"time"})
_NUMBERS: Final = frozenset({"leaf"})
_KINDS: Final = ChoiceKind.__annotations__
_YES_NO: Final = frozenset(name for name, kind in _KINDS.items() if "bool" in str(kind))
# Few values for many rows: each is written once a row group.
_WORDS: Final = frozenset(_KINDS) - _YES_NO | {"browser", "device"}


class ParquetWriter:
    """Takes pages of receipts, and gives the file in pieces. One for one file.

    Args:
        columns: names of the columns, as the other forms have them.

    Raises:
        ConfigurationError: PyArrow is not installed.
    """

    def __init__(self, columns: Sequence[str]) -> None:
        arrow, parquet = _arrow()
        self._arrow = arrow
        self._schema = arrow.schema([(name, _type(arrow, name)) for name in columns])
        self._sink = _Pieces()
        words = [name for name in columns if name in _WORDS]
        self._writer = parquet.ParquetWriter(
            self._sink, self._schema, compression="zstd", use_dictionary=words or False
        )
        self._rows: list[list[Any]] = [[] for _ in columns]

    def index(self, found: Sequence[Found]) -> bytes:
        """Add what receipts are found by; return what of the file is ready."""
        for (time_ms, leaf), kind in found:
            for column, value in zip(self._rows, (leaf, time_ms, *kind), strict=True):
                column.append(value)
        return self._ready()

    def records(self, records: Sequence[bytes]) -> bytes:
        """Add receipts, given as their canonical bytes; return what of the file is ready."""
        for record in records:
            receipt = json.loads(record)
            signals = receipt["signals"]
            members = {
                **receipt,
                **receipt["categories"],
                **signals,
                "time": parse_moment(receipt["time"]),
                "vendors": list(receipt["vendors"].items()),
            }
            for name, column in zip(self._schema.names, self._rows, strict=True):
                column.append(members.get(name))
        return self._ready()

    def end(self) -> bytes:
        """Return the rest of the file."""
        self._write()
        self._writer.close()
        return self._sink.take()

    def _ready(self) -> bytes:
        if len(self._rows[0]) >= GROUP_ROWS:
            self._write()
        return self._sink.take()

    def _write(self) -> None:
        if self._rows[0]:
            arrays = [
                self._arrow.array(column, type=each.type)
                for column, each in zip(self._rows, self._schema, strict=True)
            ]
            self._rows = [[] for _ in self._rows]
            table = self._arrow.Table.from_arrays(arrays, schema=self._schema)
            self._writer.write_table(table, row_group_size=max(1, table.num_rows))


class _Pieces(io.RawIOBase):
    """A file that nobody keeps: what is written to it is taken away at once."""

    def __init__(self) -> None:
        super().__init__()
        self._pieces: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        piece = bytes(data)
        self._pieces.append(piece)
        return len(piece)

    def take(self) -> bytes:
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces)


def require_parquet() -> None:
    """Refuse where Parquet cannot be written.

    Raises:
        ConfigurationError: PyArrow is not installed.
    """
    _arrow()


@cache
def _arrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ModuleNotFoundError:
        raise ConfigurationError(
            "Parquet needs one more package: pip install 'asgi-consent[parquet]'"
        ) from None
    return pyarrow, pyarrow.parquet


def _type(arrow: Any, name: str) -> Any:
    if name in _TIMES:
        return arrow.timestamp("ms", tz="UTC")
    if name in _NUMBERS:
        return arrow.int64()
    if name in _YES_NO:
        return arrow.bool_()
    if name in _WORDS:
        return arrow.dictionary(arrow.int32(), arrow.string())
    if name == "vendors":
        return arrow.map_(arrow.string(), arrow.bool_())
    return arrow.list_(arrow.string()) if name == "told" else arrow.string()
