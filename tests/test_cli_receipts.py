"""``consent office receipts`` and ``export``: what they print, and how they end."""

from __future__ import annotations

import asyncio
import csv
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from consent.categories import Category
from consent.choice import BrowserSignal
from consent.cli import main
from consent.data_folder import DataFolder
from consent.policy import Policy
from consent.receipts import Artefact, Outcome, Receipt, RecordedSignals
from consent.sqlite_store import SQLiteStore
from tests.test_receipts import ARTEFACTS, NAMING_TERMS, SHOWN, TERMS, make_receipt, receipt_id

ROOT = Path(__file__).resolve().parents[1]


def record(folder: Path, *receipts: Receipt, artefacts: Sequence[Artefact] = ARTEFACTS) -> None:
    async def run() -> None:
        data = DataFolder(folder)
        store = SQLiteStore(data.receipts_path, data.ledger_keys())
        for receipt in receipts:
            await store.append(receipt, artefacts)
        await store.aclose()

    asyncio.run(run())


GIVEN = make_receipt(
    2,
    shown_hash=SHOWN.hash,
    outcome=Outcome.GIVEN,
    categories={Category.PERFORMANCE: True, Category.FUNCTIONAL: False, Category.TARGETING: True},
    vendors={"example-video": True, "example-ads": False},
    signals=RecordedSignals(gpc=True, dnt=True, told=frozenset({BrowserSignal.GPC})),
    jurisdiction="EU",
    site="Example \u202eshop",
    previous=receipt_id(1),
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data folder with 25 receipts; the second is a consent, all others refusals."""
    path = tmp_path / "data"
    path.mkdir(mode=0o700)
    record(path, *(GIVEN if number == 2 else make_receipt(number) for number in range(1, 26)))
    return path


WHY = ("--reason", "case 7")


def invoke(folder: Path, *arguments: str) -> Result:
    """Run ``consent office receipts``, or with ``export`` first, that."""
    group = () if arguments[:1] == ("export",) else ("receipts",)
    return CliRunner().invoke(
        main,
        ["office", *group, *arguments],
        prog_name="consent",
        env={"CONSENT_DATA": str(folder), "TZ": "Asia/Tokyo"},
    )


def leaves(result: Result) -> list[int]:
    """Return what a list names."""
    assert result.exit_code == 0, result.output
    return [int(line.split()[0]) for line in result.stdout.splitlines()[1:]]


def accesses(folder: Path) -> list[dict[str, Any]]:
    """Return what was recorded, the newest first."""
    arguments = ["office", "accesses", "--json"]
    result = CliRunner().invoke(main, arguments, env={"CONSENT_DATA": str(folder)})
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_the_bare_command_lists_the_newest_twenty(folder: Path) -> None:
    """An aligned table in UTC, the newest first; it names nobody, and nothing is recorded of it."""
    result = invoke(folder)
    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert lines[0] == f"{'LEAF':>9}  TIME (UTC)           OUTCOME    {'AGREED TO':34}  SITE"
    assert lines[1] == f"{24:>9}  2026-01-01 00:00:25  refused    {'nothing':34}  Example shop"
    assert leaves(result) == list(range(24, 4, -1))
    assert accesses(folder) == []


def test_options_of_list_work_without_naming_it(folder: Path) -> None:
    """``consent office receipts --limit 1`` and ``consent office receipts list --limit 1`` are the same."""
    assert invoke(folder, "--limit", "1").output == invoke(folder, "list", "--limit", "1").output
    assert len(invoke(folder, "--limit", "1").output.splitlines()) == 2


def test_limit_zero_lists_all_over_page_borders(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is skipped or repeated where a page ends."""
    # By its full name: the package gives the command, not the module, the name "receipts".
    monkeypatch.setattr(sys.modules["consent.cli.office.receipts"], "_PAGE", 4)
    assert leaves(invoke(folder, "--limit", "0")) == list(range(24, -1, -1))
    assert len(leaves(invoke(folder, "--limit", "9"))) == 9


def test_a_consent_says_what_was_agreed_to(folder: Path) -> None:
    """And what is written on a terminal cannot turn its direction."""
    result = invoke(folder, "--outcome", "given")
    assert result.output.splitlines()[1:] == [
        f"{1:>9}  2026-01-01 00:00:02  given      {'performance, targeting':34}  Example \ufffdshop"
    ]


def test_a_visitor_is_found_by_pseudonym_for_a_reason(folder: Path) -> None:
    """In upper case, too; the reason is recorded, and the pseudonym is not."""
    asked = ("list", "--subject", f"{10:032X}")
    result = invoke(folder, *asked)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "say why with --reason: at least 3 characters; it is written into the log" in result.stderr
    assert leaves(invoke(folder, *asked, *WHY)) == [9]
    (entry,) = accesses(folder)
    assert (entry["what"], entry["reason"], entry["details"]["leaves"]) == ("looked-up", "case 7", [9])
    assert f"{10:032x}" not in json.dumps(entry)


def test_receipts_are_found_by_what_they_say(folder: Path) -> None:
    """By day, answer, vendor, place, signal; and what stands is asked of a day."""

    def listed(*arguments: str) -> list[int]:
        result = invoke(folder, "--limit", "0", *arguments)
        return leaves(result) if result.stdout else []

    later = make_receipt(
        90, subject=GIVEN.subject, time="2026-01-03T00:00:00.000Z", previous=GIVEN.receipt_id
    )
    record(folder, later)
    consent = [1]
    assert listed("--yes", "targeting") == listed("--vendor", "example-ads") == listed("--gpc") == consent
    assert listed("--yes", "performance", "--no", "functional", "--jurisdiction", "EU") == consent
    assert listed("--site", GIVEN.site, "--shown", SHOWN.hash, "--language", "en") == consent
    assert (
        listed("--from", "2026-01-02")
        == listed("--policy-version", later.policy_version, "--from", "2026-01-03")
        == [25]
    )
    assert listed("--yes", "targeting", "--to", "2025-12-31") == listed("--language", "xx") == []
    assert listed("--standing", "--yes", "targeting") == []
    assert listed("--standing", "--yes", "targeting", "--to", "2026-01-02") == consent
    result = invoke(folder, "--yes", "targeting", "--no", "targeting")
    assert "--yes targeting and --no at once: choose one" in result.stderr


def test_an_export_is_the_bytes_or_what_they_are_found_by(folder: Path) -> None:
    """Oldest first; no row of an index says whose it is; a formula is none in a spreadsheet."""
    records = invoke(folder, "export", "--rows", "records", *WHY).stdout_bytes.splitlines()
    assert len(records) == 25
    assert records[1] == GIVEN.canonical_bytes()
    index = invoke(folder, "export", "--gpc").stdout
    assert json.loads(index) == {
        "leaf": 1,
        "time": GIVEN.time,
        "site": GIVEN.site,
        "regime": "opt-in",
        "jurisdiction": "EU",
        "policy_version": GIVEN.policy_version,
        "language": "en",
        "shown_hash": SHOWN.hash,
        "outcome": "given",
        "performance": True,
        "functional": False,
        "targeting": True,
        "gpc": True,
        "dnt": True,
        "collection_method": "banner-form",
        "policy_hash": GIVEN.policy_hash or "",
        "vendor_list_hash": GIVEN.vendor_list_hash or "",
        "bot": False,
    }
    record(folder, make_receipt(40, site='=cmd,"x"', time="2026-02-01T00:00:00.000Z"))
    heading, row = list(
        csv.reader(
            invoke(folder, "export", "--rows", "records", "--form", "csv", "--gpc", *WHY).stdout.splitlines()
        )
    )
    assert dict(zip(heading, row, strict=True)) == {
        "receipt_id": GIVEN.receipt_id, "time": GIVEN.time, "site": GIVEN.site, "subject": GIVEN.subject,
        "outcome": "given", "performance": "yes", "functional": "no", "targeting": "yes",
        "vendors": "example-ads=no example-video=yes", "gpc": "yes", "dnt": "yes", "told": "gpc",
        "collection_method": "banner-form", "regime": "opt-in", "jurisdiction": "EU", "language": "en",
        "policy_version": GIVEN.policy_version, "shown_hash": SHOWN.hash, "browser": GIVEN.browser,
        "device": "desktop", "previous": receipt_id(1),
    }  # fmt: skip
    formula = invoke(folder, "export", "--form", "csv", "--rows", "index", "--from", "2026-02-01").stdout
    assert formula.splitlines()[1].startswith('25,2026-02-01T00:00:00.000Z,"\'=cmd,""x""",opt-in,,')


def test_an_export_is_recorded_and_opens_nothing_without_a_reason(folder: Path, tmp_path: Path) -> None:
    """Into a file as to a pipe; of one visitor, it needs a reason, too."""
    file = tmp_path / "export.jsonl"
    assert invoke(folder, "export", "--output", str(file), "--outcome", "given").exit_code == 0
    assert json.loads(file.read_text())["leaf"] == 1
    for arguments in (("--rows", "records"), ("--subject", f"{10:032x}")):
        result = invoke(folder, "export", *arguments)
        assert (result.exit_code, result.stdout) == (1, "")
        assert "say why with --reason" in result.stderr
    invoke(folder, "export", "--subject", f"{10:032x}", *WHY)
    mine, theirs = accesses(folder)
    assert (mine["what"], mine["reason"], mine["details"]["asked"]) == ("exported", "case 7", {})
    assert (theirs["details"]["asked"], theirs["details"]["rows"]) == ({"outcome": "given"}, "index")


def test_json_lines_are_those_of_the_api(folder: Path) -> None:
    """What receipts have in common, and where they are."""
    lines = invoke(folder, "--limit", "0", "--json").stdout.splitlines()
    assert len(lines) == 25
    assert json.loads(lines[23]) == json.loads(invoke(folder, "export", "--gpc").stdout)


def test_nothing_found_is_said_on_the_side(folder: Path) -> None:
    """An empty list is a good answer: exit code 0, and nothing where scripts read."""
    for arguments in (("--outcome", "changed"), ("--outcome", "changed", "--json")):
        result = invoke(folder, *arguments)
        assert (result.exit_code, result.stdout) == (0, "")
    assert invoke(folder, "--outcome", "changed").stderr == "No such receipts.\n"


def test_show_says_everything_in_words(folder: Path) -> None:
    """Aligned, in UTC; what could turn the writing direction of a terminal is taken out."""
    result = invoke(folder, "show", receipt_id(2).upper(), *WHY)
    assert result.exit_code == 0
    assert [(each["what"], each["reason"]) for each in accesses(folder)] == [
        ("opened", "case 7"),
        ("looked-up", "case 7"),
    ]
    assert result.output == invoke(folder, "show", "1", *WHY).output
    assert (
        result.output
        == f"""\
Receipt               {receipt_id(2)}
Leaf                  1
Time                  2026-01-01 00:00:02.000 UTC
Site                  Example \ufffdshop
Outcome               given
Performance           yes
Functional            no
Targeting             yes
Vendor example-ads    no
Vendor example-video  yes
GPC                   on
DNT                   do not track
Told of               GPC
Collected by          banner-form
Language              en
Regime                opt-in, EU
Policy                {Policy().version}
Policy SHA-256        none
Vendors SHA-256       none
Text shown            38 bytes of text/html; charset=utf-8 (--text prints it)
Text SHA-256          {SHOWN.hash}
Visitor               00000000000000000000000000000002
Browser               Firefox, desktop
Replaces              {receipt_id(1)}
SHA-256               {GIVEN.content_hash}
Proof                 holds: it is in the log of 25 leaves, as it was signed
"""
    )


def test_show_json_has_the_sha256_that_show_names(folder: Path) -> None:
    """The line without its end is the receipt's canonical bytes."""
    output = invoke(folder, "show", receipt_id(2), "--json", *WHY).stdout_bytes
    assert output == GIVEN.canonical_bytes() + b"\n"
    assert hashlib.sha256(output[:-1]).hexdigest() in invoke(folder, "show", receipt_id(2), *WHY).output


def test_show_text_is_the_exact_text_shown(folder: Path) -> None:
    """To the byte; a receipt without one says so."""
    assert invoke(folder, "show", receipt_id(2), "--text", *WHY).stdout_bytes == SHOWN.content
    result = invoke(folder, "show", receipt_id(1), "--text", *WHY)
    assert (result.exit_code, result.stderr) == (1, "Error: no text was shown with this choice\n")


def test_show_policy_and_vendors_are_what_was_kept(tmp_path: Path) -> None:
    """To the byte: their SHA-256 is what the receipt names. One of the first schema version names none."""
    record(tmp_path, make_receipt(1, **NAMING_TERMS), make_receipt(2))
    for option, artefact in (("--policy", TERMS.policy), ("--vendors", TERMS.vendor_list)):
        result = invoke(tmp_path, "show", receipt_id(1), option, *WHY)
        assert (result.exit_code, result.stdout_bytes) == (0, artefact.content + b"\n")
        assert f" {artefact.hash}\n" in invoke(tmp_path, "show", receipt_id(1), *WHY).stdout
        result = invoke(tmp_path, "show", receipt_id(2), option, *WHY)
        assert (result.exit_code, result.stdout) == (1, "")
        assert "the receipt names no policy: it is of schema version 1" in result.stderr


def test_an_unknown_receipt_exits_with_1(folder: Path) -> None:
    """And the message says where to find the ids."""
    result = invoke(folder, "show", receipt_id(99), *WHY)
    assert result.exit_code == 1
    assert result.stderr == (
        f"Error: no receipt '{receipt_id(99)}' in {folder}: "
        "'consent office receipts --limit 0' lists all, by their leaves\n"
    )


def test_no_database_exits_with_1_and_makes_none(tmp_path: Path) -> None:
    """A wrong folder is not created by looking for receipts in it."""
    for arguments in ((), ("show", receipt_id(1), *WHY), ("--json",)):
        result = invoke(tmp_path / "nowhere", *arguments)
        assert result.exit_code == 1
        assert result.stderr == (
            f"Error: no receipts yet: there is no database at {tmp_path}/nowhere/receipts.sqlite3; "
            "it is made when the site starts or the first visitor chooses "
            f"(data folder: {tmp_path}/nowhere; --data names another)\n"
        )
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_database_exits_with_1(tmp_path: Path) -> None:
    """One line, no traceback."""
    (tmp_path / "receipts.sqlite3").write_text("Dear diary, " * 100)
    result = invoke(tmp_path)
    assert result.exit_code == 1
    assert "is no SQLite database" in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--limit", "-1"), "-1 is not in the range x>=0"),
        (("--outcome", "maybe"), "'maybe' is not one of 'given', 'refused', 'changed', 'withdrawn'"),
        (("--subject", "jane"), "a pseudonym is 32 hexadecimal digits, as 'show' prints it"),
        (("show",), "Missing argument 'RECEIPT'"),
        (
            ("show", "x", "--json", "--text"),
            "--json, --text, --policy and --vendors are different outputs: choose one",
        ),
        (("remove",), "No such command 'remove'"),
        (("--data", __file__), "is a file"),
    ],
)
def test_wrong_usage_exits_with_2(folder: Path, arguments: tuple[str, ...], message: str) -> None:
    """The message says which argument."""
    result = invoke(folder, *arguments)
    assert result.exit_code == 2
    assert message in result.stderr


def test_help_is_the_groups(folder: Path) -> None:
    """``--help`` shows the commands, not the options of the default one; ``list --help`` shows those."""
    output = invoke(folder, "--help").output
    assert "  list     List receipts by what they have in common, the newest first." in output
    listing = " ".join(invoke(folder, "list", "--help").output.split())
    assert "[env var: CONSENT_DATA; default: consent-data]" in listing


def consent_office(*arguments: str) -> subprocess.Popen[bytes]:
    """Run the installed command's function in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", "from consent.cli import main; main()", "office", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def test_a_broken_pipe_is_quiet(tmp_path: Path) -> None:
    """``consent office export | head -1`` ends without a complaint."""
    vendors = {f"example-vendor-{number}": True for number in range(200)}
    record(tmp_path, *(make_receipt(number, vendors=vendors) for number in range(500)))
    process = consent_office("export", "--data", str(tmp_path), "--rows", "records", *WHY)
    assert process.stdout is not None
    assert process.stderr is not None
    with process.stdout, process.stderr:
        assert process.stdout.readline().startswith(b'{"browser":')
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.wait(30) == 1


def test_receipts_are_read_while_a_store_writes(tmp_path: Path) -> None:
    """The command needs no pause of the site."""

    async def run() -> tuple[bytes, bytes]:
        data = DataFolder(tmp_path)
        store = SQLiteStore(data.receipts_path, data.ledger_keys())
        await store.append(make_receipt(0))
        process = consent_office("receipts", "--data", str(tmp_path), "--limit", "0")
        # On a busy machine more is recorded before the command begins than a pipe holds.
        reading = asyncio.get_running_loop().run_in_executor(None, process.communicate)
        number = 0
        while not reading.done():
            number += 1
            await store.append(make_receipt(number))
        await store.aclose()
        return await reading

    output, errors = asyncio.run(run())
    assert errors == b""
    assert output.splitlines()[-1].split()[0] == b"0"
