"""``consent ledger``, ``consent db`` and what erases: what they print, and how they end."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import stat
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from consent.catalog import load_catalog
from consent.categories import OPTIONAL
from consent.checkpoint import Verifier
from consent.cli import main
from consent.data_folder import DataFolder
from consent.erasure import Erasure
from consent.evidence import Evidence
from consent.policy import Policy
from consent.receipts import Outcome
from consent.sqlite_log import SQLiteReceiptLog
from consent.terms import terms_artefacts
from tests.postgresql import execute, query, shared_server
from tests.test_cli_receipts import record
from tests.test_receipts import SHOWN, make_receipt, receipt_id
from tests.test_sqlite_ledger import make_schema_1, old_receipts


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data folder with 12 receipts of 4 visitors."""
    path = tmp_path / "data"
    path.mkdir(mode=0o700)
    record(path, *(make_receipt(n, subject=f"{n % 4:032x}", shown_hash=SHOWN.hash) for n in range(12)))
    return path


def invoke(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, arguments, prog_name="consent", env={"CONSENT_DATA": str(folder)})


def output(folder: Path, *arguments: str) -> str:
    result = invoke(folder, *arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def listed(folder: Path) -> list[int]:
    """Return the leaves of all receipts that there are."""
    lines = output(folder, "office", "receipts", "--json", "--limit", "0").splitlines()
    return [json.loads(line)["leaf"] for line in lines]


def converted(folder: Path, receipt: str, form: str, *more: str) -> Result:
    """Ask for a receipt in another form."""
    why = ("--reason", "request 7")
    return invoke(folder, "office", "receipts", "convert", receipt, "--form", form, *why, *more)


WHY = ("--reason", "audit 2026")


def key(folder: Path) -> str:
    return output(folder, "ledger", "keys").strip()


def test_a_log_is_verified_where_it_is_and_from_an_export(folder: Path, tmp_path: Path) -> None:
    """The export on a machine that has no data folder, with the key alone."""
    whole = (
        "12 leaves: 12 receipts, 0 erasures, 0 erased; 12 under the last checkpoint. "
        "Everything is as it was signed.\n"
    )
    assert output(folder, "ledger", "verify") == whole
    file = tmp_path / "log.jsonl"
    output(folder, "ledger", "export", str(file), *WHY)
    nowhere = tmp_path / "nowhere"
    assert output(nowhere, "ledger", "verify", str(file), "--key", key(folder)) == whole
    file.write_bytes(file.read_bytes().replace(b"Example shop", b"Exemple shop", 1))
    result = invoke(nowhere, "ledger", "verify", str(file), "--key", key(folder))
    assert result.exit_code == 1
    assert result.stderr == "leaf 0: its record is not the one that it commits to\n"
    assert (
        result.stdout
        == "12 leaves: 12 receipts, 0 erasures, 0 erased; 12 under the last checkpoint.\n".replace(
            "12 receipts, 0 erasures, 0 erased", "11 receipts, 0 erasures, 1 erased"
        )
    )
    assert not nowhere.exists()


def test_a_receipt_with_its_proof_is_verified_alone(folder: Path, tmp_path: Path) -> None:
    """On another machine; a changed word is noticed, another log's key too."""
    file = tmp_path / "receipt.json"
    file.write_text(output(folder, "ledger", "prove", receipt_id(5), *WHY))
    nowhere = tmp_path / "nowhere"
    origin = Verifier.parse(key(folder)).name
    leaf = Evidence.parse(file.read_bytes()).proof.index
    assert output(nowhere, "ledger", "verify", str(file), "--key", key(folder)) == (
        f"The record is leaf {leaf} of 12 in {origin}.\n"
    )
    other = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
    result = invoke(nowhere, "ledger", "verify", str(file), "--key", other)
    assert (result.exit_code, result.stderr) == (
        1,
        f"Error: signed by none of the keys given, but by {origin}\n",
    )
    file.write_text(file.read_text().replace("Example shop", "Another shop"))
    result = invoke(nowhere, "ledger", "verify", str(file), "--key", key(folder))
    assert (result.exit_code, result.stderr) == (1, "Error: the inclusion proof leads to another root\n")
    result = invoke(nowhere, "ledger", "verify", str(file))
    assert result.exit_code == 2
    assert "a file is checked with the log's key: name it with --key" in result.stderr
    result = invoke(folder, "ledger", "prove", receipt_id(99), *WHY)
    assert result.exit_code == 1
    assert "that a checkpoint covers" in result.stderr


def test_receipts_are_opened_for_a_reason_that_is_recorded(folder: Path, tmp_path: Path) -> None:
    """One with its proof, and all of them: as the office opens them. Without one nothing is opened, or written."""
    file = tmp_path / "log.jsonl"

    def accesses() -> list[Any]:
        return [json.loads(line) for line in output(folder, "office", "accesses", "--json").splitlines()]

    for arguments in (("prove", receipt_id(5)), ("export", str(file))):
        for reason in ((), ("--reason", " x ")):
            result = invoke(folder, "ledger", *arguments, *reason)
            assert (result.exit_code, result.stdout) == (1, "")
            assert "say why with --reason: at least 3 characters" in result.stderr
    assert invoke(folder, "ledger", "prove", receipt_id(99), *WHY).exit_code == 1
    assert (accesses(), file.exists()) == ([], False)
    evidence = Evidence.parse(output(folder, "ledger", "prove", receipt_id(5), *WHY).encode())
    output(folder, "ledger", "export", str(file), *WHY)
    exported, proved = accesses()
    for entry in (exported, proved):
        assert (entry["reason"], entry["who"].startswith("the command line (")) == (WHY[1], True), entry
    assert (exported["what"], exported["details"]["rows"]) == ("exported", "log")
    assert (proved["what"], proved["details"]["leaf"]) == ("proved", evidence.proof.index)


def test_days_with_their_proof_are_verified_alone(folder: Path, tmp_path: Path) -> None:
    """Naming nobody; with the receipts for a reason, which is recorded; what is not whole says why."""
    days = ("ledger", "prove", "--from", "2026-01-01", "--to", "2026-01-31")
    file = tmp_path / "proof.jsonl"
    file.write_text(output(folder, *days), encoding="utf-8")
    verify = ("ledger", "verify", "--key", key(folder), str(file))
    assert "12 receipts (12 refused): so the log's keeper states, and signed it." in output(tmp_path, *verify)
    result = invoke(folder, *days, "--records")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "say why with --reason: at least 3 characters" in result.stderr
    file.write_text(output(folder, *days, "--records", "--reason", "case 7"), encoding="utf-8")
    assert "12 receipts, each with its record (12 refused); 0 erasures." in output(tmp_path, *verify)
    (entry,) = (json.loads(line) for line in output(folder, "office", "accesses", "--json").splitlines()[:1])
    assert (entry["what"], entry["reason"]) == ("proved", "case 7")
    assert entry["who"].startswith("the command line (")
    assert (entry["details"]["from"], entry["details"]["records"]) == ("2026-01-01", True)
    text = file.read_text(encoding="utf-8")
    file.write_text(text.rpartition('{"statement"')[0], encoding="utf-8")
    assert "line 16: 'statement' is missing" in invoke(tmp_path, *verify).stderr
    file.write_text(text.partition("\n")[0], encoding="utf-8")
    assert "it is cut off: its last line is missing" in invoke(tmp_path, *verify).stderr
    for wrong, message in (
        (("ledger", "prove"), "name a receipt, or days with --from and --to"),
        (("ledger", "prove", "--from", "2026-01-02", "--to", "2026-01-01"), "--to is before --from"),
        (("ledger", "prove", "--records", receipt_id(7)), "--records are about days"),
    ):
        result = invoke(folder, *wrong)
        assert (result.exit_code, message in result.stderr) == (2, True), result.stderr


def test_a_site_named_to_deceive_a_terminal_does_not(folder: Path, tmp_path: Path) -> None:
    """Nothing of a name moves the cursor or turns the direction of writing."""
    record(folder, make_receipt(77, site="Shop \u202e\u200e"))
    days = ("ledger", "prove", "--from", "2026-01-01", "--to", "2026-01-31", "--site", "Shop \u202e\u200e")
    file = tmp_path / "proof.jsonl"
    file.write_text(output(folder, *days), encoding="utf-8")
    said = output(tmp_path, "ledger", "verify", "--key", key(folder), str(file))
    assert "2026-01-01 to 2026-01-31, Shop \ufffd\ufffd, of asgi-consent/" in said
    assert "1 receipts (1 refused)" in said


def test_an_older_checkpoint_must_be_continued(folder: Path, tmp_path: Path) -> None:
    """One that was kept elsewhere is part of what is checked."""
    kept = tmp_path / "kept"
    kept.write_text(output(folder, "ledger", "checkpoint"), encoding="utf-8")
    record(folder, make_receipt(50))
    assert "13 leaves" in output(folder, "ledger", "verify", "--checkpoint", str(kept))
    with sqlite3.connect(DataFolder(folder).receipts_path) as connection:
        connection.execute("UPDATE record SET commitment = zeroblob(32) WHERE leaf = 3")
    connection.close()
    result = invoke(folder, "ledger", "verify", "--checkpoint", str(kept))
    assert result.exit_code == 1
    assert "leaf 3: its record is not the one that it commits to\n" in result.stderr
    assert "the first 12 leaves are not those that the checkpoint was signed of\n" in result.stderr


def test_before_the_first_receipt_there_is_an_empty_log(tmp_path: Path) -> None:
    """Which is as it was signed, too; without a site there is none, and none is made."""
    assert "no receipts yet" in invoke(tmp_path / "none", "ledger", "verify").stderr
    assert not (tmp_path / "none").exists()


def test_a_visitor_is_erased_and_gets_a_certificate(folder: Path, tmp_path: Path) -> None:
    """It proves the erasure to whoever has the key, and names nobody."""
    subject = f"{1:032x}"
    certificate = tmp_path / "certificate.json"
    certificate.write_text(output(folder, "office", "erase", subject, "--reason", "request 7"))
    evidence = Evidence.parse(certificate.read_bytes())
    erasure = Erasure.from_bytes(evidence.record)
    assert len(erasure.erased) == 3
    assert subject not in certificate.read_text()
    assert "The record is leaf 12 of 13" in output(
        tmp_path, "ledger", "verify", str(certificate), "--key", key(folder)
    )
    assert output(folder, "ledger", "verify").startswith(
        "13 leaves: 9 receipts, 1 erasures, 3 erased; 13 under"
    )
    result = invoke(folder, "office", "erase", subject, "--reason", "request 7")
    assert (result.exit_code, result.stderr) == (1, "Error: there is nothing of this visitor\n")
    assert invoke(folder, "office", "erase", "nobody", "--reason", "request 7").exit_code == 2


def test_receipts_are_held_and_expire(folder: Path) -> None:
    """A dry run only counts; what is held stays, until it is released."""
    expire = ("office", "expire", "--site", "Example shop", "--older-than", "1")
    line = "Example shop: {} receipts older than 1 days {}\n"
    assert output(folder, "office", "hold", f"{1:032x}", "--reason", "case 4") == "held\n"
    assert output(folder, *expire, "--dry-run") == line.format(9, "would be erased")
    result = invoke(folder, "office", "erase", f"{1:032x}", "--reason", "request 7")
    assert result.exit_code == 1
    assert "nothing was erased: this visitor's records are held (case 4)" in result.stderr
    assert output(folder, *expire) == line.format(9, "erased")
    assert output(folder, "office", "hold", f"{1:032x}", "--release") == "released\n"
    assert output(folder, *expire) == line.format(3, "erased")
    assert output(folder, *expire) == line.format(0, "erased")
    assert invoke(folder, *expire[:4]).exit_code == 2
    assert invoke(folder, "office", "hold", f"{1:032x}").exit_code == 2
    assert invoke(folder, "office", "hold", "ab" * 16, "--reason", "x").exit_code == 1


def test_receipts_expire_as_the_policy_says(tmp_path: Path) -> None:
    """By site and jurisdiction; a held visitor's stay, and so do those of a site that nothing is said of."""
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    old, now = "2020-01-01T00:00:00.000Z", datetime.now(UTC)
    lately = (now - timedelta(days=400)).strftime("%Y-%m-%dT00:00:00.000Z")
    record(
        folder,
        make_receipt(1, time=old),
        make_receipt(2, time=old, jurisdiction="EU"),
        make_receipt(3, time=lately, jurisdiction="EU"),
        make_receipt(4, time=lately, jurisdiction="US-CA"),
        make_receipt(5, time=lately, jurisdiction="US-CA"),
        make_receipt(6, time=old, site="Another shop"),
        make_receipt(7, time=old, site="A third shop"),
        make_receipt(8),
    )
    assert output(folder, "office", "hold", f"{5:032x}", "--reason", "case 4") == "held\n"
    policy, other = tmp_path / "consent.toml", tmp_path / "other.toml"
    other.write_text('site.name = "Another shop"\nretention.days = 900')
    policy.write_text(
        'site.name = "Example shop"\nretention = { days = 1825, jurisdictions = { US = 365 } }\n'
        '[[rule]]\nhosts = ["other.example"]\npolicy = "other.toml"'
    )

    def expired(*arguments: str) -> tuple[list[str], str]:
        result = invoke(folder, "office", "expire", "--policy", str(policy), *arguments)
        assert result.exit_code == 0, result.output
        return result.stdout.splitlines(), result.stderr

    unsaid = "A third shop: no [retention] says how long its receipts are kept; none were erased\n"
    lines = [
        "Example shop, US-CA: {} receipts older than 365 days {}",
        "Example shop: {} receipts older than 1825 days {}",
        "Another shop: {} receipts older than 900 days {}",
    ]

    def told(done: str, *counts: int) -> tuple[list[str], str]:
        return [line.format(count, done) for line, count in zip(lines, counts, strict=True)], unsaid

    assert expired("--dry-run") == told("would be erased", 1, 2, 1)
    assert expired() == told("erased", 1, 2, 1)
    assert expired() == told("erased", 0, 0, 0)
    left = listed(folder)
    assert sorted(left) == [2, 4, 6, 7]
    other.write_text('site.name = "Example shop"\nretention.days = 900')
    result = invoke(folder, "office", "expire", "--policy", str(policy))
    assert result.exit_code == 1
    assert "two policies keep receipts of 'Example shop' for different times" in result.stderr


def test_choices_are_counted_by_day(folder: Path) -> None:
    """By kind and by nobody; the days can be chosen."""
    lines: list[dict[str, Any]] = [
        json.loads(line) for line in output(folder, "office", "receipts", "daily").splitlines()
    ]
    assert lines == [
        {
            "day": "2026-01-01",
            "site": "Example shop",
            "regime": "opt-in",
            "jurisdiction": "",
            "policy_version": make_receipt(1).policy_version,
            "language": "en",
            "shown_hash": SHOWN.hash,
            "outcome": "refused",
            "performance": False,
            "functional": False,
            "targeting": False,
            "gpc": False,
            "dnt": None,
            "collection_method": "banner-form",
            "policy_hash": "",
            "vendor_list_hash": "",
            "bot": False,
            "choices": 12,
        }
    ]
    assert output(folder, "office", "receipts", "daily", "--from", "2026-01-02") == ""
    assert output(folder, "office", "receipts", "daily", "--to", "2025-12-31") == ""


def test_a_receipt_is_converted(folder: Path) -> None:
    """With the policy that it was made under; without a file, that is the default one."""
    told = json.loads(converted(folder, receipt_id(3), "iso-27560").stdout)
    assert told["header"]["record_id"] == receipt_id(3)
    result = converted(folder, receipt_id(3), "kantara")
    assert result.exit_code == 1
    assert "is no consent" in result.stderr
    assert converted(folder, receipt_id(99), "kantara").exit_code == 1


def test_a_receipt_is_converted_by_the_policy_that_it_names(tmp_path: Path) -> None:
    """No file of that time is needed: who asked, and for whom, was kept; another one that is given is not looked at."""
    vendor = load_catalog().vendors["matomo"]
    policy = Policy(site="Example shop", controller="Example Trading Ltd", choice_days=90, vendors=(vendor,))
    terms = terms_artefacts(policy)
    given = make_receipt(
        1,
        policy_version=policy.version,
        policy_hash=terms.policy.hash,
        vendor_list_hash=terms.vendor_list.hash,
        outcome=Outcome.GIVEN,
        categories=dict.fromkeys(OPTIONAL, True),
        vendors={"youtube": False},
    )
    record(tmp_path, given, artefacts=(terms.policy, terms.vendor_list))
    other = tmp_path / "other.toml"
    other.write_text('site.controller = "Another Ltd"')
    for more in ((), ("--policy", str(other))):
        told = json.loads(converted(tmp_path, receipt_id(1), "kantara", *more).stdout)
        assert told["piiControllers"][0]["piiController"] == "Example Trading Ltd"
        purpose = told["services"][0]["purposes"][0]
        assert purpose["thirdPartyName"] == vendor.company
        assert purpose["termination"] == "When it is withdrawn, at the latest after 90 days"


def test_a_backup_is_whole_and_its_owners_only(folder: Path, tmp_path: Path) -> None:
    """Nothing is written over, and with the key file the copy is read."""
    target = tmp_path / "copy" / "receipts.sqlite3"
    target.parent.mkdir(mode=0o700)
    old = os.umask(0)
    try:
        assert output(folder, "db", "backup", str(target)) == f"12 leaves in {target}\n"
    finally:
        os.umask(old)
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    with SQLiteReceiptLog(target, DataFolder(folder).ledger_keys()) as log:
        assert len(log.list(limit=99)) == 12
    result = invoke(folder, "db", "backup", str(target))
    assert result.exit_code == 1
    assert "cannot be made: File exists" in result.stderr
    assert invoke(tmp_path / "none", "db", "backup", str(tmp_path / "x")).exit_code == 1
    assert not (tmp_path / "x").exists()


def test_an_older_database_is_upgraded(tmp_path: Path) -> None:
    """Before, the commands say so; there is nothing to upgrade where there is nothing."""
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    assert "nothing to do" in invoke(folder, "db", "upgrade").stderr
    make_schema_1(DataFolder(folder).receipts_path, *old_receipts(10))
    assert "has schema 1, an earlier release's: start the site, or run consent db upgrade" in (
        invoke(folder, "office", "receipts").stderr
    )
    assert output(folder, "db", "upgrade") == "The database is that of this release.\n"
    assert len(listed(folder)) == 10
    assert "Everything is as it was signed." in output(folder, "ledger", "verify")


def test_keys_are_wrapped_anew(folder: Path) -> None:
    """Once a new wrapping key is first; then the old one can go."""
    path = DataFolder(folder).ledger_keys_path
    lines = path.read_text().splitlines()
    (place,) = (number for number, line in enumerate(lines) if line.startswith("wrap "))
    path.write_text("\n".join([*lines[:place], f"wrap {'ab' * 32}", *lines[place:]]) + "\n")
    assert output(folder, "db", "rewrap").startswith("4 keys were under another wrapping key")
    path.write_text("\n".join([*lines[:place], f"wrap {'ab' * 32}", *lines[place + 1 :]]) + "\n")
    assert len(listed(folder)) == 12


def test_a_log_moves_to_postgresql_as_it_is(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Leaves, proofs, checkpoints, holds and counts; what was signed before is continued, and the keys are the same."""
    subject = f"{1:032x}"
    output(folder, "office", "hold", subject, "--reason", "claim 17")
    output(folder, "office", "erase", f"{2:032x}", "--reason", "request 7")
    kept = tmp_path / "kept"
    kept.write_text(output(folder, "ledger", "checkpoint"))
    names = [
        "office receipts list --limit 0 --json",
        "office receipts daily",
        "ledger keys",
        "ledger checkpoint",
        "ledger verify",
    ]
    names += [f"ledger prove {receipt_id(1)} --reason audit", "ledger export - --reason audit"]
    before = [output(folder, *name.split()) for name in names]
    url = shared_server().new_schema()
    monkeypatch.setenv("CONSENT_DATABASE", url)
    assert output(folder, "db", "move").startswith("13 leaves moved. The old database is ")
    assert [output(folder, *name.split()) for name in names] == before
    proof = tmp_path / "proof.jsonl"
    proof.write_text(output(folder, "ledger", "prove", "--from", "2026-01-01", "--to", "2026-01-31"))
    said = output(tmp_path, "ledger", "verify", "--key", key(folder), str(proof))
    assert "Leaves 0 to 11 of 13: all of them, without a gap" in said
    assert "held (claim 17)" in invoke(folder, "office", "erase", subject, "--reason", "request 7").output
    output(folder, "office", "erase", f"{3:032x}", "--reason", "request 7")
    assert "14 leaves: 6 receipts, 2 erasures, 6 erased" in output(
        folder, "ledger", "verify", "--checkpoint", str(kept)
    )
    assert not (folder / "receipts.sqlite3").exists()
    assert invoke(folder, "db", "move").exit_code == 1
    output(folder, "db", "upgrade")
    output(folder, "db", "rewrap")


def test_a_move_that_was_interrupted_is_done_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before its end nothing is there, after it nothing is copied twice; another log is never overwritten."""
    url = shared_server().new_schema()
    monkeypatch.setenv("CONSENT_DATABASE", url)
    aside = folder / "receipts.moved.sqlite3"
    with monkeypatch.context() as broken:
        broken.setattr("consent.log_move._check", lambda *_: 1 / 0)
        assert isinstance(invoke(folder, "db", "move").exception, ZeroDivisionError)
    assert query(url, "SELECT count(*) FROM consent_leaf")[0][0] == 0
    assert output(folder, "db", "move").startswith("12 leaves moved")
    aside.rename(folder / "receipts.sqlite3")
    assert output(folder, "db", "move").startswith("12 leaves moved")
    aside.rename(folder / "receipts.sqlite3")
    execute(url, "UPDATE consent_log SET origin = 'another'")
    assert "there is another log at" in invoke(folder, "db", "move").output
    assert (folder / "receipts.sqlite3").exists()


def test_an_altered_log_is_not_moved(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It stays where it is, and the new database stays empty."""
    with contextlib.closing(sqlite3.connect(folder / "receipts.sqlite3")) as connection, connection:
        connection.execute("UPDATE record SET commitment = zeroblob(32) WHERE leaf = 3")
    url = shared_server().new_schema()
    monkeypatch.setenv("CONSENT_DATABASE", url)
    assert "its first 12 leaves are not those that were signed" in invoke(folder, "db", "move").output
    assert (folder / "receipts.sqlite3").exists()
    assert query(url, "SELECT count(*) FROM consent_leaf")[0][0] == 0


def test_without_the_package_the_message_says_what_to_install(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line, without the address."""
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    for name in [name for name in sys.modules if name.startswith("consent.postgresql")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setenv("CONSENT_DATABASE", "postgresql://me:s3cret@db/consent")
    result = invoke(folder, "office", "receipts")
    assert result.exit_code == 1
    assert "pip install 'asgi-consent[postgresql]'" in result.output
    assert "s3cret" not in result.output
