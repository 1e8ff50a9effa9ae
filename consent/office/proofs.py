"""What the log has of some days, to give away: proven and signed, and with what is about visitors only for a reason."""

from __future__ import annotations

from collections.abc import Iterator

from consent.checkpoint import Checkpoint
from consent.office.asker import Asker
from consent.office.desk import Desk, NotAllowed
from consent.office.exporting import begun
from consent.office.roles import Action
from consent.period_proof import Period, period_lines

MEDIA_TYPE = "application/jsonl"


def prove_period(desk: Desk, asker: Asker, period: Period, *, records: bool, reason: str) -> Iterator[bytes]:
    """Return the lines of a proof, which is recorded.

    Raises:
        NotAllowed: the role, or the sites, do not allow it.
        ReasonMissing: records are opened with a reason only.
        InvalidProofError: there is no checkpoint yet, or the log is not what was signed.
        StoreUnavailable: the log cannot be read.
    """
    desk.require(asker, Action.EXPORT_RECORDS if records else Action.EXPORT_INDEX)
    if records:
        reason = desk.require_reason(reason)
    period = of_sites(period, asker)
    note = desk.log.checkpoint()
    origin = Checkpoint.of_note(note).origin if note is not None else desk.log.verifiers()[0].name
    lines = period_lines(
        desk.log,
        period,
        desk.accesses.signer(origin),
        records=records,
        now_ms=int(desk.clock() * 1_000),
    )
    # What it is about is counted before anything is recorded and answered: a log that cannot be read is 503.
    lines = begun(lines)
    about = {"from": period.first_day, "to": period.last_day, "sites": list(period.sites), "records": records}
    desk.record(asker, "proved", reason, **about)
    return lines


def of_sites(period: Period, asker: Asker) -> Period:
    """Return the same period, of the asker's sites only.

    Raises:
        NotAllowed: it is asked for another one.
    """
    if not asker.sites:
        return period
    if not set(period.sites) <= set(asker.sites):
        raise NotAllowed("another site")
    return Period(
        first_day=period.first_day, last_day=period.last_day, sites=period.sites or tuple(asker.sites)
    )


def filename(period: Period, *, records: bool) -> str:
    """Return what the file is called."""
    return f"consent-proof-{period.first_day}-{period.last_day}{'-records' if records else ''}.jsonl"
