"""A period of the log in a file: whole and true, or it is noticed; nobody is named in it unless it is asked."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import tracemalloc
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from consent.checkpoint import Signer, Verifier
from consent.errors import InvalidProofError, InvalidReceiptError
from consent.period_proof import Period, period_lines
from consent.period_verification import ProvenPeriod, verify_period
from consent.receipts import Outcome
from consent.sqlite_log import SQLiteReceiptLog
from consent.sqlite_store import SQLiteStore
from tests.test_log_export import alter
from tests.test_receipts import ARTEFACTS, KEYS, NAMING_TERMS, SHOWN, make_receipt

FIRST = 1_767_225_600
"""2026-01-01T00:00:00Z"""
DAY = 86_400
A_DAY = 300
"""How many receipts there were on each of five days: four fifths of one site, one of another."""
SECOND_DAY = Period(first_day="2026-01-02", last_day="2026-01-02")
MIDDLE = Period(first_day="2026-01-02", last_day="2026-01-04")


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log of five days with a checkpoint each; on the third, one visitor's receipts were erased."""
    path = tmp_path_factory.mktemp("log") / "receipts.sqlite3"

    async def one_day(day: int) -> None:
        now = FIRST + day * DAY + A_DAY
        store = SQLiteStore(path, KEYS, clock=lambda: now)
        receipts = [
            make_receipt(
                day * DAY + number,
                subject=f"{number % 50:032x}",
                shown_hash=SHOWN.hash,
                site="Example blog" if number % 5 == 0 else "Example shop",
                outcome=Outcome.REFUSED if number % 3 else Outcome.WITHDRAWN,
                **NAMING_TERMS,
            )
            for number in range(A_DAY)
        ]
        await asyncio.gather(*(store.append(receipt, ARTEFACTS) for receipt in receipts))
        if day == 2:
            await store.erase(f"{7:032x}")
        await store.aclose()

    for day in range(5):
        asyncio.run(one_day(day))
    return path


def lines(path: Path, period: Period, *, records: bool = False) -> list[bytes]:
    with SQLiteReceiptLog(path, KEYS) as log:
        signer = Signer(log.verifiers()[0].name, KEYS.signing[0])
        return list(period_lines(log, period, signer, records=records, now_ms=FIRST * 1_000))


def keys(path: Path) -> Sequence[Verifier]:
    with SQLiteReceiptLog(path, KEYS) as log:
        return log.verifiers()


def read(path: Path, written: Sequence[bytes], older: str | None = None) -> ProvenPeriod:
    return verify_period(io.BytesIO(b"".join(written)), keys(path), older)


def test_a_period_without_records(full: Path) -> None:
    """All leaves of the days, and the checkpoints that they lie between; nothing about anybody."""
    written = lines(full, SECOND_DAY)
    proven = read(full, written)
    assert (proven.first, proven.end, proven.size) == (A_DAY, 2 * A_DAY, 5 * A_DAY + 1)
    # One visitor's six of each of the first three days were erased: four refusals, two withdrawals.
    assert proven.outcomes == {"refused": 196, "withdrawn": 98}
    assert proven.receipts == A_DAY - 6
    assert proven.checkpoints == 2  # where the day begins, where it ends
    assert (proven.with_records, proven.made) == (False, "2026-01-01T00:00:00.000Z")
    everything = b"".join(written)
    assert b'"record"' not in everything
    assert b'"salt"' not in everything
    assert f"{8:032x}".encode() not in everything
    # 32 bytes a leaf in base64, and a handful of hashes.
    assert len(everything) < A_DAY * 44 + 4_000


def test_a_period_with_records(full: Path) -> None:
    """The receipts as they are, of the sites that are asked for; the rest as hashes, erasures where it is all sites."""
    proven = read(full, lines(full, MIDDLE, records=True))
    assert (proven.first, proven.end, proven.erasures) == (A_DAY, 4 * A_DAY + 1, 1)
    assert (proven.receipts, proven.checkpoints) == (3 * A_DAY - 12, 4)
    blog = Period(first_day="2026-01-02", last_day="2026-01-02", sites=("Example blog",))
    written = lines(full, blog, records=True)
    proven = read(full, written)
    assert (proven.receipts, proven.period.sites, proven.erasures) == (A_DAY // 5, ("Example blog",), 0)
    records = [json.loads(line)["record"] for line in written if line.startswith(b'{"leaf"')]
    assert {(record["site"], record["time"][:10]) for record in records} == {("Example blog", "2026-01-02")}
    names = {json.loads(line)["artefact"] for line in written if line.startswith(b'{"artefact"')}
    assert names == {artefact.hash for artefact in ARTEFACTS}


def test_days_without_receipts(full: Path) -> None:
    """Before the log, and after it; an empty stretch is proven, too."""
    before = read(full, lines(full, Period(first_day="2025-01-01", last_day="2025-12-31")))
    assert (before.first, before.end, before.receipts) == (0, 0, 0)
    after = read(full, lines(full, Period(first_day="2027-01-01", last_day="2027-01-31"), records=True))
    assert (after.first, after.end, after.receipts) == (5 * A_DAY + 1, 5 * A_DAY + 1, 0)
    everything = read(full, lines(full, Period(first_day="2025-01-01", last_day="2027-12-31")))
    assert (everything.first, everything.end, everything.checkpoints) == (0, 5 * A_DAY + 1, 5)


def test_an_older_checkpoint_is_held_against_it(full: Path) -> None:
    """One of the days that it is about, or the last; of another it cannot tell, and says so."""
    with SQLiteReceiptLog(full, KEYS) as log:
        notes = [note for _, note in log.checkpoints()]
    written = lines(full, SECOND_DAY)
    assert read(full, written, notes[0]).checkpoints == 3
    assert read(full, written, notes[-1]).checkpoints == 3
    with pytest.raises(
        InvalidProofError, match=r"of 901 leaves.* a proof of leaves 300 to 600 does not show"
    ):
        read(full, written, notes[2])


@pytest.mark.parametrize("records", [False, True])
def test_whatever_is_changed_is_noticed(full: Path, records: bool) -> None:
    """Every line, left out, doubled or altered; also by somebody who fits the checksum of the lines."""
    written = lines(full, SECOND_DAY, records=records)
    for place in range(len(written)):
        if records and 4 < place < len(written) - 6:
            continue  # one is like the other
        for changed in ([], [written[place]] * 2):
            with pytest.raises(InvalidProofError):
                read(full, [*written[:place], *changed, *written[place + 1 :]])
        with pytest.raises(InvalidProofError):
            read(full, [*written[:place], _altered(written[place]), *written[place + 1 :]])
    with pytest.raises(InvalidProofError, match="signed by none of the keys given"):
        verify_period(io.BytesIO(b"".join(written)), [Signer("other", b"x" * 32).verifier])


def _altered(line: bytes) -> bytes:
    """Change the last letter or digit of a line."""
    for place in range(len(line) - 1, 0, -1):
        if line[place : place + 1].isalnum():
            return line[:place] + (b"b" if line[place : place + 1] == b"a" else b"a") + line[place + 1 :]
    raise AssertionError("a line has letters")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"receipts": {"refused": 1}}, r"line \d+: the statement says receipts"),
        ({"from": "2026-01-01"}, "the statement says from"),
        ({"sites": ["Example shop"]}, "the statement says sites"),
        ({"size": 7}, "another checkpoint"),
        ({"sha256": "00" * 32}, "about other lines"),
    ],
)
def test_the_statement_fits_what_was_shown(full: Path, change: dict[str, Any], message: str) -> None:
    """Even one that the log's keeper signed."""
    *written, last = lines(full, SECOND_DAY, records=True)
    text = json.loads(last)["statement"].rpartition("\n\n")[0]
    stated = json.loads(text.partition("\n")[2])
    signer = Signer(keys(full)[0].name, KEYS.signing[0])
    assert stated["sha256"] == sha256(b"".join(written)).hexdigest()
    body = json.dumps({**stated, **change}, sort_keys=True, separators=(",", ":"))
    note = signer.sign(f"asgi-consent period 1\n{body}\n")
    with pytest.raises(InvalidProofError, match=message):
        read(full, [*written, json.dumps({"statement": note}).encode() + b"\n"])


def test_a_statement_is_no_checkpoint(full: Path) -> None:
    """What is signed for a period can be taken for nothing else that the same key signs."""
    from consent.checkpoint import open_checkpoint

    note = json.loads(lines(full, SECOND_DAY)[-1])["statement"]
    with pytest.raises(InvalidProofError):
        open_checkpoint(note, keys(full))


def test_no_proof_of_a_log_that_was_altered(full: Path, tmp_path: Path) -> None:
    """It ends without its last line, so nobody takes it for whole."""
    path = tmp_path / "receipts.sqlite3"
    path.write_bytes(full.read_bytes())
    alter(path, "UPDATE record SET commitment = ? WHERE leaf = 400", b"x" * 32)
    with pytest.raises(InvalidReceiptError, match="the receipt at leaf 400 was altered"):
        lines(path, SECOND_DAY, records=True)
    path.write_bytes(full.read_bytes())
    hashes = bytearray(base64.b64decode(json.loads(lines(full, SECOND_DAY)[1])["hashes"]))
    assert len(hashes) == 32 * (512 - A_DAY)
    alter(path, "UPDATE tile SET hashes = zeroblob(8192) WHERE level = 0 AND number = ?", 1)
    with pytest.raises(InvalidProofError, match="is not what its checkpoint was signed of"):
        lines(path, SECOND_DAY)


def test_nothing_is_collected_in_memory(full: Path) -> None:
    """Neither writing nor checking holds the lines."""
    with SQLiteReceiptLog(full, KEYS) as log:
        signer = Signer(log.verifiers()[0].name, KEYS.signing[0])
        period = Period(first_day="2026-01-01", last_day="2026-01-05")
        size = 0
        tracemalloc.start()
        for line in period_lines(log, period, signer, records=True, now_ms=0):
            size += len(line)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert size > 1_200_000
    # A batch of leaves, and 5,000 of what was found when they were counted.
    assert peak < 3_000_000
