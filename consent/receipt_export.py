"""Exports of receipts, in memory that does not grow with them: pages of the log, each as bytes.

Two kinds of rows. A record is the receipt itself, opened, held against the log, and written as it was recorded, to the
byte. An index row is what receipts are found by: nobody is named by it, no seal is opened for it.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from functools import lru_cache
from typing import Final, TypeVar

from consent.choice_kind import ChoiceKind
from consent.moments import format_moment
from consent.receipt_parquet import ParquetWriter
from consent.receipt_search import Found, Position, ReceiptSearch, Sought

_T = TypeVar("_T")

PAGE_ROWS: Final = 1_000
"""How many receipts are in memory at a time."""

RECORD_COLUMNS: Final = (
    "receipt_id", "time", "site", "subject", "outcome", "performance", "functional", "targeting", "vendors", "gpc",
    "dnt", "told", "collection_method", "regime", "jurisdiction", "language", "policy_version", "shown_hash", "browser",
    "device", "previous",
)  # fmt: skip
INDEX_COLUMNS: Final = ("leaf", "time", *ChoiceKind._fields)


class ExportForm(StrEnum):
    """How rows are written."""

    JSONL = "jsonl"
    """One JSON object a line. A record's line is its canonical bytes: their SHA-256 is the receipt's own hash."""
    CSV = "csv"
    """RFC 4180, with a heading, UTF-8. What a spreadsheet would take for a formula has an apostrophe before it."""
    PARQUET = "parquet"
    """Apache Parquet: typed columns, in row groups. Needs the extra ``parquet``."""

    @property
    def media_type(self) -> str:
        """What HTTP calls it."""
        return _MEDIA_TYPES[self]


class ExportRows(StrEnum):
    """What is written of each receipt."""

    RECORDS = "records"
    INDEX = "index"


def export(
    log: ReceiptSearch,
    sought: Sought,
    *,
    form: ExportForm,
    rows: ExportRows,
    counted: Callable[[int], None] = lambda _rows: None,
) -> Iterator[bytes]:
    """Yield an export, the oldest receipt first. Blocks; each piece is a read of its own, and may be empty.

    What is recorded or erased meanwhile may be in it or not.

    Args:
        log: where receipts are read.
        sought: which ones.
        form: how they are written.
        rows: what is written of each.
        counted: told of each page, before its piece is yielded, how many rows it has.

    Raises:
        ConfigurationError: Parquet cannot be written here.
        StoreUnavailable: the log cannot be read.
        InvalidReceiptError, SealBrokenError: a receipt is not what was recorded.
        ValueError: it is asked whether choices stand, which only pages tell.
    """
    # With the first rows: before these are read, nobody knows that there will be an export.
    columns = RECORD_COLUMNS if rows is ExportRows.RECORDS else INDEX_COLUMNS
    start = _csv_line(columns) if form is ExportForm.CSV else b""
    parquet = ParquetWriter(columns) if form is ExportForm.PARQUET else None
    if rows is ExportRows.RECORDS:
        write = parquet.records if parquet else _records_csv if form is ExportForm.CSV else _records_jsonl
        pieces = _pieces(_records(log, sought), write, counted)
    else:
        write_index = parquet.index if parquet else _index_csv if form is ExportForm.CSV else _index_jsonl
        pieces = _pieces(_index(log, sought), write_index, counted)
    for piece in pieces:
        yield start + piece
        start = b""
    if parquet is not None:
        yield parquet.end()
    elif start:
        yield start


def _pieces(
    pages: Iterator[Sequence[_T]], write: Callable[[Sequence[_T]], bytes], counted: Callable[[int], None]
) -> Iterator[bytes]:
    for page in pages:
        counted(len(page))
        yield write(page)


def _records(log: ReceiptSearch, sought: Sought) -> Iterator[Sequence[bytes]]:
    page = log.records(sought, limit=PAGE_ROWS)
    while page.last is not None:
        yield page.records
        page = log.records(sought, limit=PAGE_ROWS, after=page.last)


def _index(log: ReceiptSearch, sought: Sought) -> Iterator[Sequence[Found]]:
    after: Position | None = None
    while found := log.found(sought, limit=PAGE_ROWS, after=after):
        yield found
        after = found[-1].position


def _records_jsonl(records: Sequence[bytes]) -> bytes:
    return b"\n".join([*records, b""])


def _records_csv(records: Sequence[bytes]) -> bytes:
    return b"".join(map(_record_csv, records))


def _index_jsonl(found: Sequence[Found]) -> bytes:
    lines = [
        f'{{"leaf":{leaf},"time":"{format_moment(time_ms)}",{_kind_jsonl(kind)}\n'
        for (time_ms, leaf), kind in found
    ]
    return "".join(lines).encode()


def _index_csv(found: Sequence[Found]) -> bytes:
    return "".join(
        [f"{leaf},{format_moment(time_ms)},{_kind_csv(kind)}" for (time_ms, leaf), kind in found]
    ).encode()


# As many kinds as there are at a time, so that each is written once.
@lru_cache(maxsize=4_096)
def _kind_jsonl(kind: ChoiceKind) -> str:
    return json.dumps(kind._asdict(), ensure_ascii=False, separators=(",", ":"))[1:]


@lru_cache(maxsize=4_096)
def _kind_csv(kind: ChoiceKind) -> str:
    return _csv_line(kind).decode()


def _record_csv(record: bytes) -> bytes:
    receipt = json.loads(record)
    signals = receipt["signals"]
    members = {
        **receipt,
        **receipt["categories"],
        **signals,
        "told": " ".join(signals["told"]),
        "vendors": " ".join(f"{vendor}={_word(said)}" for vendor, said in sorted(receipt["vendors"].items())),
    }
    return _csv_line([members[name] for name in RECORD_COLUMNS])


def _csv_line(values: Iterable[object]) -> bytes:
    line = io.StringIO()
    csv.writer(line, lineterminator="\r\n").writerow(map(_cell, values))
    return line.getvalue().encode()


def _cell(value: object) -> object:
    if value is None:
        return ""
    if isinstance(value, bool):
        return _word(value)
    return f"'{value}" if isinstance(value, str) and value[:1] in _FORMULAS and value else value


def _word(said: bool) -> str:
    return "yes" if said else "no"


# OWASP's list; the last four are the full-width forms, which East Asian editions take for the same.
_FORMULAS: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
_MEDIA_TYPES: Final[Mapping[ExportForm, str]] = {
    ExportForm.JSONL: "application/jsonl",
    ExportForm.CSV: "text/csv; charset=utf-8",
    ExportForm.PARQUET: "application/vnd.apache.parquet",
}
