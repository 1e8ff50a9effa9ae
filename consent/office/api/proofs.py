"""What proves the leaves of some days, for others."""

from __future__ import annotations

from typing import Final

from consent.office.api.endpoint import Call, Content, Endpoint
from consent.office.proofs import MEDIA_TYPE, filename, prove_period
from consent.office.questions import FILTERS, FIRST_DAY, LAST_DAY, Parameter, days_of, yes_no
from consent.office.roles import Action
from consent.period_proof import Period


def _proof(call: Call) -> Content:
    first, last = days_of(call.given, call.desk.clock())
    site = call.given.get("site")
    period = Period(first_day=first, last_day=last, sites=(site,) if site else ())
    records = yes_no("records", call.given.get("records") or "false")
    lines = prove_period(call.desk, call.asker, period, records=records, reason=call.reason)
    return Content(lines, MEDIA_TYPE, is_of_a_visitor=True, filename=filename(period, records=records))


ENDPOINTS: Final = (
    Endpoint(
        method="GET",
        path="/proof",
        about=(
            "All leaves of the log of some days with what proves them, signed, as a stream that"
            " `consent ledger verify` takes. `records=true` opens the receipts, and needs a reason."
        ),
        action=Action.EXPORT_INDEX,
        answer=_proof,
        parameters=(
            FIRST_DAY,
            LAST_DAY,
            next(each for each in FILTERS if each.name == "site"),
            Parameter("records", "Whether the receipts are in it as they are.", {"type": "boolean"}),
        ),
        reason_for="records=true",
        weight=10,
        media_types=[MEDIA_TYPE],
    ),
)
