"""Exports as Parquet: another reader reads what the JSON lines say, in bounded memory."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import pytest

from consent.categories import Category
from consent.choice import BrowserSignal
from consent.choice_kind import kind_of
from consent.errors import ConfigurationError
from consent.moments import parse_moment
from consent.receipt_export import INDEX_COLUMNS, RECORD_COLUMNS, ExportForm, ExportRows, export
from consent.receipt_search import Found, Position, RecordPage, Sought
from consent.receipts import Receipt, RecordedSignals
from tests.test_receipts import SHOWN, make_receipt

RECEIPTS = [
    make_receipt(
        number,
        shown_hash=SHOWN.hash if number % 3 else None,
        site="Example shop" if number % 2 else "=Läden & Söhne",
        vendors={"acme": True, "zebra": False} if number % 4 == 0 else {},
        signals=RecordedSignals(
            gpc=number % 2 == 0, dnt=None if number % 3 else True, told=frozenset({BrowserSignal.GPC})
        ),
        categories={
            Category.PERFORMANCE: bool(number % 2),
            Category.FUNCTIONAL: False,
            Category.TARGETING: number % 5 == 0,
        },
    )
    for number in range(230)
]


class Listed:
    """A log of some receipts that can be exported."""

    def __init__(self, receipts: Sequence[Receipt]) -> None:
        self._receipts = receipts

    def found(self, sought: Sought, *, limit: int, after: Position | None = None) -> Sequence[Found]:
        first = 0 if after is None else after.leaf + 1
        return [
            Found(Position(parse_moment(each.time), leaf), kind_of(each))
            for leaf, each in enumerate(self._receipts[first : first + limit], first)
        ]

    def records(self, sought: Sought, *, limit: int, after: Position | None = None) -> RecordPage:
        found = self.found(sought, limit=limit, after=after)
        records = [self._receipts[each.position.leaf].canonical_bytes() for each in found]
        return RecordPage(records, found[-1].position if found else None)


def exported(form: ExportForm, rows: ExportRows, receipts: Sequence[Receipt] = RECEIPTS) -> bytes:
    return b"".join(export(Listed(receipts), Sought(), form=form, rows=rows))  # type: ignore[arg-type]


def read(file: Path, content: bytes) -> tuple[dict[str, str], list[dict[str, Any]]]:
    """Return what DuckDB says of a file: the types of its columns, and its rows."""
    file.write_bytes(content)
    with duckdb.connect() as database:
        database.execute("SET TimeZone = 'UTC'")
        answer = database.execute("SELECT * FROM read_parquet(?)", [str(file)])
        described = answer.description or []
        names = [each[0] for each in described]
        types = {each[0]: str(each[1]) for each in described}
        return types, [dict(zip(names, row, strict=True)) for row in answer.fetchall()]


def moment(value: Any) -> str:
    return str(value.isoformat(timespec="milliseconds")).replace("+00:00", "Z")


@pytest.fixture(autouse=True)
def _small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("consent.receipt_export.PAGE_ROWS", 20)
    monkeypatch.setattr("consent.receipt_parquet.GROUP_ROWS", 50)


def test_an_index_says_the_same_in_parquet_as_in_json(tmp_path: Path) -> None:
    """Row for row and column for column, with times as times and answers as booleans."""
    types, rows = read(tmp_path / "i.parquet", exported(ExportForm.PARQUET, ExportRows.INDEX))
    lines = [json.loads(line) for line in exported(ExportForm.JSONL, ExportRows.INDEX).splitlines()]
    assert [{**row, "time": moment(row["time"])} for row in rows] == lines
    assert list(types) == list(INDEX_COLUMNS)
    assert (types["leaf"], types["time"]) == ("BIGINT", "TIMESTAMP WITH TIME ZONE")
    assert {types[name] for name in ("performance", "functional", "targeting", "gpc", "dnt")} == {"BOOLEAN"}


def test_records_say_the_same_in_parquet_as_in_json(tmp_path: Path) -> None:
    """What is nested too: answers for single vendors are a map, signals that were told a list."""
    types, rows = read(tmp_path / "r.parquet", exported(ExportForm.PARQUET, ExportRows.RECORDS))
    lines = [json.loads(line) for line in exported(ExportForm.JSONL, ExportRows.RECORDS).splitlines()]
    assert len(rows) == len(lines) == len(RECEIPTS)
    for row, line in zip(rows, lines, strict=True):
        flat = {**line, **line["categories"], **line["signals"]}
        assert {**row, "time": moment(row["time"])} == {name: flat[name] for name in RECORD_COLUMNS}
    assert types["vendors"] == "MAP(VARCHAR, BOOLEAN)"
    assert types["told"] == "VARCHAR[]"


def test_the_file_has_row_groups_and_dictionaries(tmp_path: Path) -> None:
    """What reads it can skip groups, and holds each word once."""
    file = tmp_path / "i.parquet"
    file.write_bytes(exported(ExportForm.PARQUET, ExportRows.INDEX))
    with duckdb.connect() as database:
        groups = database.execute(
            "SELECT DISTINCT row_group_id, row_group_num_rows FROM parquet_metadata(?) ORDER BY 1",
            [str(file)],
        ).fetchall()
        dictionaries = database.execute(
            "SELECT DISTINCT path_in_schema FROM parquet_metadata(?) WHERE dictionary_page_offset IS NOT NULL",
            [str(file)],
        ).fetchall()
    assert groups == [(0, 60), (1, 60), (2, 60), (3, 50)]
    assert {name for (name,) in dictionaries} >= {"site", "policy_version", "outcome"}
    assert "leaf" not in {name for (name,) in dictionaries}


def test_no_receipts_are_a_file_without_rows(tmp_path: Path) -> None:
    """It is readable, and has all columns."""
    types, rows = read(tmp_path / "n.parquet", exported(ExportForm.PARQUET, ExportRows.RECORDS, []))
    assert (list(types), rows) == (list(RECORD_COLUMNS), [])


@pytest.mark.parametrize("form", list(ExportForm))
def test_memory_does_not_grow_with_the_rows(form: ExportForm) -> None:
    """Ten times as many rows take no more than a few megabytes more: a process of its own measures."""
    peaks = [
        int(
            subprocess.run(
                [sys.executable, "-c", _MEASURE, form, str(rows)], capture_output=True, check=True, text=True
            ).stdout
        )
        for rows in (30_000, 300_000)
    ]
    assert peaks[1] - peaks[0] < 24 * 1024, peaks


_MEASURE = """
import resource, sys
from consent.choice_kind import ChoiceKind
from consent.receipt_export import *
from consent.receipt_search import Found, Position, Sought
form, rows = ExportForm(sys.argv[1]), int(sys.argv[2])
kind = ChoiceKind("s", "opt-in", "de", "v" * 12, "en", "a" * 64, "given", True, False, False, False, None, "form")
class Log:
    def found(self, sought, *, limit, after=None):
        first = 0 if after is None else after.leaf + 1
        return [Found(Position(10**12 + leaf, leaf), kind) for leaf in range(first, min(rows, first + limit))]
written = 0
for piece in export(Log(), Sought(), form=form, rows=ExportRows.INDEX):
    written += len(piece)
assert written
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """And not which module is missing."""
    from consent.receipt_parquet import _arrow

    _arrow.cache_clear()
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'asgi-consent\[parquet\]'"):
        exported(ExportForm.PARQUET, ExportRows.INDEX)
    _arrow.cache_clear()


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20"])
def test_no_cell_of_csv_is_a_formula(start: str) -> None:
    """Whatever a site is called, a spreadsheet shows it as it is, in both kinds of rows."""
    receipts = [make_receipt(0, site=f"{start}cmd|' /C calc'!A0")]
    for rows in ExportRows:
        _, line = exported(ExportForm.CSV, rows, receipts).decode().splitlines()
        assert f",'{start}cmd" in line
        assert f",{start}" not in line
