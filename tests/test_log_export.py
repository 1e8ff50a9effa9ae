"""Exports and evidence: checked without the database; whatever was changed is noticed, and where."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from consent.checkpoint import Signer, Verifier
from consent.errors import InvalidProofError
from consent.evidence import Evidence
from consent.log_export import export_lines, verify_export, verify_log
from consent.sqlite_log import SQLiteReceiptLog
from consent.sqlite_store import SQLiteStore
from tests.test_receipts import ARTEFACTS, KEYS, NAMING_TERMS, SHOWN, TERMS, make_receipt, receipt_id
from tests.test_sqlite_store import append_all

COUNT = 600


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log of 600 receipts, of which one visitor's were erased, and one checkpoint by the way."""
    import asyncio

    path = tmp_path_factory.mktemp("log") / "receipts.sqlite3"

    async def run() -> None:
        store = SQLiteStore(path, KEYS)
        receipts = [
            # Those of the first schema version name no policy.
            make_receipt(
                number,
                subject=f"{number % 50:032x}",
                shown_hash=SHOWN.hash,
                vendors={"acme": True} if number == 300 else {},
                **(NAMING_TERMS if number > 99 else {}),
            )
            for number in range(COUNT - 1)
        ]
        await asyncio.gather(*(store.append(receipt, ARTEFACTS) for receipt in receipts))
        await store.erase(receipts[7].subject)
        await store.aclose()

    asyncio.run(run())
    return path


@pytest.fixture
def path(full: Path, tmp_path: Path) -> Path:
    """A copy that may be altered."""
    copy = tmp_path / "receipts.sqlite3"
    copy.write_bytes(full.read_bytes())
    return copy


@contextlib.contextmanager
def opened(path: Path) -> Iterator[SQLiteReceiptLog]:
    with SQLiteReceiptLog(path, KEYS) as log, log.one_moment():
        yield log


def alter(path: Path, statement: str, *values: object) -> None:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        assert connection.execute(statement, values).rowcount == 1


def problems(path: Path) -> list[str]:
    """Return what is found in the database, and check that an export of it has the same."""
    with opened(path) as log:
        verifiers = log.verifiers()
        found = verify_log(log, verifiers)
        lines = list(export_lines(log))
    exported = verify_export(io.BytesIO(b"".join(lines)), verifiers)
    assert found.problem_count == len(found.problems)
    if not any("does not open" in problem for problem in (*found.problems, *exported.problems)):
        assert [problem.partition(":")[2] for problem in exported.problems] == [
            problem.partition(":")[2] for problem in found.problems
        ]
    return found.problems


def test_a_log_that_nobody_touched_is_found_whole(full: Path) -> None:
    """In the database and in an export of it, with the key alone."""
    with opened(full) as log:
        (verifier,) = log.verifiers()
        found = verify_log(log, [verifier])
        export = b"".join(export_lines(log))
    for verification in (found, verify_export(io.BytesIO(export), [Verifier.parse(str(verifier))])):
        assert verification.problems == []
        assert (verification.size, verification.receipts, verification.erasures) == (COUNT, COUNT - 13, 1)
        assert verification.last is not None
        assert verification.last.size == COUNT


@pytest.mark.parametrize(
    ("statement", "altered"),
    [
        ("UPDATE record SET kind = 99 WHERE leaf = 300", "kind"),
        ("UPDATE record SET kind = NULL WHERE leaf = 300", "kind"),
        ("UPDATE record SET time_ms = time_ms + 1 WHERE leaf = 300", "time"),
        ("UPDATE record SET outcome = 'withdrawn' WHERE leaf = 300", "outcome"),
        ("UPDATE record SET site = 'Another' WHERE leaf = 300", "site"),
        ("UPDATE answer SET kind = 99 WHERE leaf = 300", "answers"),
        ("UPDATE answer SET said = 1 - said WHERE leaf = 300", "answers"),
        ("UPDATE answer SET vendor = CAST(vendor AS BLOB) WHERE leaf = 300", "answers"),
        ("DELETE FROM answer WHERE leaf = 300", "answers"),
        ("INSERT INTO answer VALUES (300, 'other', 1, 0, 1)", "answers"),
    ],
)
def test_what_a_receipt_is_found_by_is_held_against_it(path: Path, statement: str, altered: str) -> None:
    """Whoever hides a receipt from a filter is found out, by the leaf; an export has nothing of it."""
    alter(path, "INSERT INTO kind (number, key) VALUES (99, ?)", json.dumps(["Another"] * 16))
    alter(path, statement)
    with opened(path) as log:
        found = verify_log(log, log.verifiers())
    assert found.problems == [f"leaf 300: what its receipt is found by was altered: {altered}"]


@pytest.mark.parametrize(
    ("statement", "values", "found"),
    [
        (
            "UPDATE record SET commitment = ? WHERE leaf = 300",
            [b"x" * 32],
            [
                "leaf 300: its record is not the one that it commits to",
                "tile/0/001: hash 44 is not that of leaf 300",
                "the first 600 leaves are not those that the checkpoint was signed of",
                "tile/1/000: hash 1 is not that of leaves 256 to 511",
            ],
        ),
        (
            "UPDATE record SET body = zeroblob(100) WHERE leaf = 300",
            [],
            [
                "leaf 300: its record does not open: "
                "what was sealed was altered, or does not belong here"
            ],
        ),
        (
            "UPDATE record SET body = NULL WHERE leaf = 300",
            [],
            ["leaf 300: its record is missing, and no erasure says so"],
        ),
        (
            "UPDATE record SET body = zeroblob(100) WHERE leaf = 599",
            [],
            [
                "leaf 599: its record is not the one that it commits to",
                *(f"leaf {n}: its record is missing, and no erasure says so" for n in range(7, 600, 50)),
            ],
        ),
        (
            "UPDATE artefact SET content = x'00' WHERE hash = ?",
            [bytes.fromhex(SHOWN.hash)],
            [f"artefact {SHOWN.hash}: its content has another SHA-256"],
        ),
        (
            "DELETE FROM artefact WHERE hash = ?",
            [bytes.fromhex(SHOWN.hash)],
            [f"artefact {SHOWN.hash}: a receipt refers to it, and it is missing"],
        ),
        (
            "DELETE FROM artefact WHERE hash = ?",
            [bytes.fromhex(TERMS.vendor_list.hash)],
            [f"artefact {TERMS.vendor_list.hash}: a receipt refers to it, and it is missing"],
        ),
        ("DELETE FROM tile WHERE level = 1", [], ["tile/1/000: it has 0 bytes, not 64"]),
    ],
    ids=["commitment", "body", "missing record", "erasure", "artefact", "text", "vendor list", "missing tile"],
)  # fmt: skip
def test_what_was_altered_is_named(
    path: Path, statement: str, values: list[object], found: list[str]
) -> None:
    """A row or a tile: which one, and what is wrong with it."""
    alter(path, statement, *values)
    assert sorted(set(problems(path)) & set(found)) == sorted(found)


@pytest.mark.parametrize("bit", [0, 1_000, 65_535])
def test_every_kind_of_tile_is_checked(path: Path, bit: int) -> None:
    """A flipped bit of a full tile is located to the leaf; of a higher one, to the leaves below."""
    for level, name in ((0, "tile/0/001"), (1, "tile/1/000")):
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
            (hashes,) = connection.execute(
                "SELECT hashes FROM tile WHERE level = ? AND number = ?", (level, 1 - level)
            ).fetchone()
            place = bit % (8 * len(hashes))
            changed = (int.from_bytes(hashes, "little") ^ (1 << place)).to_bytes(len(hashes), "little")
            connection.execute(
                "UPDATE tile SET hashes = ? WHERE level = ? AND number = ?", (changed, level, 1 - level)
            )
            number = place // 256
            leaves = (
                f"leaf {256 + number}" if level == 0 else f"leaves {256 * number} to {256 * number + 255}"
            )
            assert problems(path) == [f"{name}: hash {number} is not that of {leaves}"]
            connection.execute(
                "UPDATE tile SET hashes = ? WHERE level = ? AND number = ?", (hashes, level, 1 - level)
            )
    assert problems(path) == []


def test_an_altered_checkpoint_is_named(path: Path) -> None:
    """By the day that it is kept under; what is left is checked against no other."""
    alter(path, "UPDATE checkpoint SET note = replace(note, char(10) || '600', char(10) || '599')")
    found = problems(path)
    assert len(found) == 2
    assert found[0].startswith("checkpoint of 2")
    assert found[0].endswith("is not that of its key")
    assert found[1] == "there is no checkpoint that can be believed"


def test_leaves_that_are_missing_are_named(path: Path) -> None:
    """In the middle, and at the end, where only the checkpoint tells."""
    alter(path, "DELETE FROM record WHERE leaf = 300")
    assert "leaf 300 is missing" in problems(path)
    alter(path, "DELETE FROM record WHERE leaf = 599")
    assert "a checkpoint of 600 leaves was signed, and there are 599" in problems(path)


def test_an_erased_record_that_came_back_is_named(path: Path, full: Path) -> None:
    """An erasure was recorded, and the record is there."""
    alter(
        path,
        "UPDATE record SET body = (SELECT body FROM record WHERE leaf = 599), outcome = NULL WHERE leaf = 57",
    )
    found = problems(path)
    assert "leaf 57: its record is there although it was erased" in found or any(
        problem.startswith("leaf 57:") for problem in found
    )


def test_a_log_that_does_not_continue_an_older_checkpoint_is_found_out(path: Path, tmp_path: Path) -> None:
    """One that somebody kept elsewhere: another log under the same name and key cannot hide it."""
    other = tmp_path / "other" / "receipts.sqlite3"
    other.parent.mkdir()
    append_all(SQLiteStore(other, KEYS), *(make_receipt(number) for number in range(5)))
    with opened(path) as log, opened(other) as forked:
        origin = log.verifiers()[0].name
        note = forked.checkpoint()
        assert note is not None
        text = note.rpartition("\n\n")[0].replace(note.partition("\n")[0], origin) + "\n"
        older = Signer(origin, KEYS.signing[0]).sign(text)
        found = verify_log(log, log.verifiers(), older)
        assert found.problems == ["the first 5 leaves are not those that the checkpoint was signed of"]
        elsewhere = verify_log(log, [*log.verifiers(), *forked.verifiers()], note)
        assert "it is one of another log" in elsewhere.problems[0]


def export_of(path: Path) -> tuple[list[bytes], Verifier]:
    with opened(path) as log:
        return list(export_lines(log)), log.verifiers()[0]


def test_an_export_that_was_changed_is_not_believed(full: Path) -> None:
    """A word in a record, a salt, a checkpoint's key, lines left out or added."""
    lines, verifier = export_of(full)

    def verified(changed: list[bytes]) -> list[str]:
        return verify_export(io.BytesIO(b"".join(changed)), [verifier]).problems

    assert verified(lines) == []
    number = next(n for n, line in enumerate(lines) if b'"leaf":20,' in line)
    shop = lines[number].replace(b"Example shop", b"Exemple shop")
    assert verified([*lines[:number], shop, *lines[number + 1 :]]) == [
        "leaf 20: its record is not the one that it commits to"
    ]
    content: dict[str, Any] = json.loads(lines[number])
    content["salt"] = "00" * 32
    assert verified([*lines[:number], json.dumps(content).encode() + b"\n", *lines[number + 1 :]]) == [
        "leaf 20: its record is not the one that it commits to"
    ]
    assert "leaf 20 is missing" in verified([*lines[:number], *lines[number + 1 :]])
    for wrong, message in (
        (lines[:-1], "the export is cut off"),
        ([*lines, b'{"leaf":1}\n'], "something follows the last line"),
        (lines[1:], "line 1: an export begins with its format"),
        ([*lines[:5], b"\n", *lines[5:]], "line 6: not JSON"),
        ([*lines[:5], b"[]\n", *lines[5:]], "line 6: not a JSON object"),
        ([*lines[:5], b'{"leaf":4}\n', *lines[5:]], "line 6"),
        ([lines[0], lines[3], *lines[1:]], "line 3"),
        (
            [lines[0], lines[1].replace(b'"leaf":0', b'"leaf":99999'), *lines[2:]],
            "line 2: after 0 leaves comes",
        ),
        ([*lines[:5], b'{"tile":"tile/0/0","hashes":""}\n', *lines[5:]], "line 6: no such tile"),
        ([lines[0], *lines[2:-1], b'{"leaves":600}\n'], None),
    ):
        if message is None:
            assert "leaf 0 is missing" in verified(wrong)
            continue
        with pytest.raises(InvalidProofError, match=message):
            verified(wrong)
    with opened(full) as log:
        other = Signer(log.verifiers()[0].name, b"o" * 32).verifier
    assert (
        "signed by none of the keys given" in verify_export(io.BytesIO(b"".join(lines)), [other]).problems[0]
    )


def test_evidence_is_checked_from_its_file_alone(full: Path) -> None:
    """A receipt with its proof, in any layout; every changed part is noticed."""
    with opened(full) as log:
        evidence = log.evidence(receipt_id(20))
        verifiers = log.verifiers()
    assert evidence is not None
    text = evidence.text()
    read = Evidence.parse(text.encode())
    assert read == evidence
    assert read.verify(verifiers).size == COUNT
    assert Evidence.parse(json.dumps(json.loads(text)).encode()) == evidence
    content: dict[str, Any] = json.loads(text)
    for member, value in (
        ("record", {**content["record"], "site": "Another shop"}),
        ("salt", "00" * 32),
        ("proof", content["proof"].replace("index 2", "index 3")),
    ):
        with pytest.raises(InvalidProofError):
            Evidence.parse(json.dumps({**content, member: value}).encode()).verify(verifiers)
    for wrong in (
        b"",
        b"[]",
        b"{}",
        text.encode() + b"{}",
        json.dumps({**content, "more": 1}).encode(),
        json.dumps({**content, "salt": "00"}).encode(),
        json.dumps({**content, "salt": 1}).encode(),
        json.dumps({**content, "record": []}).encode(),
        json.dumps({**content, "proof": None}).encode(),
        b" " * 3_000_000,
    ):
        with pytest.raises(InvalidProofError):
            Evidence.parse(wrong)


def test_an_export_has_what_receipts_name(full: Path) -> None:
    """Texts, policies and vendor lists: whole, once each."""
    lines, _ = export_of(full)
    found = [json.loads(line) for line in lines if line.startswith(b'{"artefact"')]
    assert {each["artefact"]: base64.b64decode(each["content"]) for each in found} == {
        artefact.hash: artefact.content for artefact in ARTEFACTS
    }
    assert len(found) == 3
