"""``consent ledger``: the log as a tree, its proofs, and whether it is what it was."""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, TextIO

import click

from consent.checkpoint import Verifier
from consent.cli.data import data_option, open_log
from consent.cli.office.folder import desk_and_log, office_desk
from consent.cli.printable import printable
from consent.cli.sought import DAY, reason_option
from consent.cli.whole import write_whole
from consent.errors import InvalidProofError
from consent.evidence import MAX_EVIDENCE_BYTES, Evidence
from consent.gathered_logs import FORMAT as GATHERED_FORMAT
from consent.gathered_logs import MAX_GATHERED_BYTES, GatheredLogs
from consent.gathered_logs import gather as gather_logs
from consent.log_export import FORMAT, export_lines, verify_export, verify_log
from consent.log_verification import MAX_PROBLEMS, LogVerification
from consent.office.exporting import begun
from consent.office.proofs import prove_period
from consent.period_proof import FORMAT as PERIOD_FORMAT
from consent.period_proof import Period
from consent.period_verification import ProvenPeriod, verify_period


@click.group()
def ledger() -> None:
    """Prove what was recorded, and check that nothing was changed.

    \b
    A receipt with its proof, for whoever asks:   consent ledger prove ID --reason "complaint 12"
    What the log has of a month, for an auditor:  consent ledger prove --from 2026-03-01 --to 2026-03-31
    Everything, for an auditor:                   consent ledger export log.jsonl --reason "audit 2026"
    Check the database:                           consent ledger verify
    Check a file, with nothing but the keys:      consent ledger verify FILE --key KEY
    Put several logs under one root:              consent ledger gather CHECKPOINT... --key KEY
    """


@ledger.command()
@data_option
def checkpoint(folder: Path) -> None:
    """Print the checkpoint signed last.

    Keep one elsewhere from time to time: 'verify --checkpoint' shows that the log still continues it.
    """
    with open_log(folder) as log:
        note = log.checkpoint()
    if note is None:
        raise click.ClickException(
            "there is no checkpoint yet: one is signed a second after the first receipt"
        )
    click.echo(note, nl=False)


@ledger.command()
@data_option
def keys(folder: Path) -> None:
    """Print the public keys that checkpoints are checked with, one a line."""
    with open_log(folder) as log:
        for verifier in log.verifiers():
            click.echo(str(verifier))


@ledger.command()
@data_option
@click.option("--from", "first_day", type=DAY, metavar="DAY", help="The first day, UTC: 2026-03-01.")
@click.option("--to", "last_day", type=DAY, metavar="DAY", help="The last day, included.")
@click.option("--site", "sites", multiple=True, help="Of the days: only this site's. May be repeated.")
@click.option(
    "--records", is_flag=True, help="Of the days: with the receipts as they are, and what they refer to."
)
@reason_option("Why, for ID and for --records")
@click.argument("receipt_id", metavar="ID", required=False)
def prove(
    folder: Path,
    first_day: datetime | None,
    last_day: datetime | None,
    sites: tuple[str, ...],
    records: bool,
    reason: str,
    receipt_id: str | None,
) -> None:
    """Print a receipt with the proof that it is in the log; or, with --from and --to, all that the log has of days.

    A receipt is opened for a reason, which is recorded. Of days, every leaf is named, and nobody: with --records, the
    receipts are opened, too. What is printed is signed; 'verify' takes either.
    """
    if receipt_id is None:
        if first_day is None or last_day is None:
            raise click.UsageError("name a receipt, or days with --from and --to")
        _prove_days(folder, _period(first_day, last_day, sites), records, reason)
        return
    if first_day or last_day or sites or records:
        raise click.UsageError("ID is one receipt; --from, --to, --site and --records are about days")
    with office_desk(folder) as (desk, asker):
        reason = desk.require_reason(reason)
        evidence = desk.log.evidence(receipt_id.lower())
        if evidence is None:
            raise click.ClickException(
                f"no receipt {receipt_id!r} that a checkpoint covers: it may have been erased, or be a second old"
            )
        desk.record(asker, "proved", reason, leaf=evidence.proof.index)
    click.echo(evidence.text(), nl=False)


def _period(first_day: datetime, last_day: datetime, sites: tuple[str, ...]) -> Period:
    if last_day < first_day:
        raise click.UsageError("--to is before --from")
    first, last = first_day.date().isoformat(), last_day.date().isoformat()
    return Period(first_day=first, last_day=last, sites=sites)


def _prove_days(folder: Path, period: Period, records: bool, reason: str) -> None:
    with office_desk(folder) as (desk, asker), click.open_file("-", "wb") as output:
        for line in prove_period(desk, asker, period, records=records, reason=reason):
            write_whole(output, line)


@ledger.command()
@data_option
@reason_option("Why")
@click.argument("file", type=click.File("wb"))
def export(folder: Path, reason: str, file: BinaryIO) -> None:
    """Write the whole log to FILE, "-" for the terminal: it can be checked without the database.

    It has the receipts in plain text, which are opened for a reason that is recorded: keep it as safe as the key file.
    """
    with desk_and_log(folder) as (desk, asker, log):
        reason = desk.require_reason(reason)
        with log.one_moment():
            lines = begun(export_lines(log))
            desk.record(asker, "exported", reason, rows="log")
            for line in lines:
                write_whole(file, line)


@ledger.command()
@data_option
@click.option("--key", "key_texts", multiple=True, help="A public key of the log, as 'keys' prints it.")
@click.option(
    "--checkpoint",
    "kept",
    type=click.File("r", encoding="utf-8"),
    help="An older checkpoint, which the log must continue.",
)
@click.argument("file", type=click.File("rb"), required=False)
def verify(folder: Path, key_texts: tuple[str, ...], kept: TextIO | None, file: BinaryIO | None) -> None:
    """Check the log in the data folder; with FILE, an export, a receipt or days with their proof, or gathered logs.

    A file is checked with the keys that --key names, and with nothing else. Says where something is not what it
    was, and exits with 1.
    """
    older = kept.read() if kept is not None else None
    try:
        verifiers = [Verifier.parse(text) for text in key_texts]
        if file is None:
            with open_log(folder) as log, log.one_moment():
                trusted = verifiers or log.verifiers()
                _report(verify_log(log, trusted, older))
            return
        if not verifiers:
            raise click.UsageError("a file is checked with the log's key: name it with --key")
        if _is_export(file):
            _report(verify_export(file, verifiers, older))
            return
        if _begins(file, b'{"format":"' + PERIOD_FORMAT.encode()):
            _report_period(verify_period(file, verifiers, older))
            return
        if _is_gathered(file):
            gathered = GatheredLogs.parse(file.read(MAX_GATHERED_BYTES + 1))
            for each in gathered.verify(verifiers):
                click.echo(f"{each.size} leaves of {each.origin} are under the root.")
            return
        evidence = Evidence.parse(file.read(MAX_EVIDENCE_BYTES + 1))
        proven = evidence.verify(verifiers)
    except InvalidProofError as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"The record is leaf {evidence.proof.index} of {proven.size} in {proven.origin}.")


@ledger.command()
@click.option(
    "--key",
    "key_texts",
    multiple=True,
    required=True,
    help="The public key of one of the logs, as 'keys' prints it.",
)
@click.argument(
    "files", type=click.File("r", encoding="utf-8"), nargs=-1, required=True, metavar="CHECKPOINT..."
)
def gather(key_texts: tuple[str, ...], files: tuple[TextIO, ...]) -> None:
    """Put several logs under one root: print it with the checkpoints, and with each one's path to it.

    Publish what is printed. 'verify' checks it, and whoever has a receipt of one of the logs finds its checkpoint
    there.
    """
    try:
        verifiers = [Verifier.parse(text) for text in key_texts]
        notes = [file.read(MAX_GATHERED_BYTES) for file in files]
        click.echo(gather_logs(notes, verifiers).text(), nl=False)
    except InvalidProofError as error:
        raise click.ClickException(str(error)) from None


def _is_export(file: BinaryIO) -> bool:
    return _begins(file, b'{"format":"' + FORMAT.encode())


def _is_gathered(file: BinaryIO) -> bool:
    return _begins(file, b'{\n  "format": "' + GATHERED_FORMAT.encode())


def _begins(file: BinaryIO, heading: bytes) -> bool:
    """Tell a file by its beginning; leave it where it was."""
    beginning = file.peek(len(heading))[: len(heading)]  # type: ignore[attr-defined]
    return bool(beginning == heading)


def _report_period(proven: ProvenPeriod) -> None:
    period = proven.period
    days = (
        period.first_day
        if period.first_day == period.last_day
        else f"{period.first_day} to {period.last_day}"
    )
    sites = ", ".join(map(printable, period.sites)) or "all sites"
    outcomes = ", ".join(f"{times} {printable(name)}" for name, times in proven.outcomes.items()) or "none"
    click.echo(f"{days}, {sites}, of {proven.origin}, as of {proven.made[:19].replace('T', ' ')} UTC.")
    click.echo(
        f"Leaves {proven.first} to {proven.end - 1} of {proven.size}: all of them, without a gap, as they were signed; "
        f"{proven.checkpoints} checkpoints of these days agree."
        if proven.end > proven.first
        else f"No leaves of {proven.size} are of these days, as they were signed."
    )
    click.echo(
        f"{proven.receipts} receipts, each with its record ({outcomes}); {proven.erasures} erasures. "
        "Other leaves are of other days or sites, or were erased: of these, nothing is shown."
        if proven.with_records
        else f"{proven.receipts} receipts ({outcomes}): so the log's keeper states, and signed it. "
        "Who wants to count them needs the records."
    )


def _report(verification: LogVerification) -> None:
    for problem in verification.problems:
        click.echo(problem, err=True)
    if verification.problem_count > MAX_PROBLEMS:
        click.echo(f"and {verification.problem_count - MAX_PROBLEMS} more", err=True)
    last = verification.last
    covered = 0 if last is None else min(last.size, verification.size)
    click.echo(
        f"{verification.size} leaves: {verification.receipts} receipts, {verification.erasures} erasures, "
        f"{verification.size - verification.receipts - verification.erasures} erased; "
        f"{covered} under the last checkpoint"
        + ("." if verification.problem_count else ". Everything is as it was signed.")
    )
    if verification.problem_count:
        sys.exit(1)
