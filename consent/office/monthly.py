"""The report of a month: what visitors chose, what was done about trackers, and whether the log is what was signed.

Every number is the sum of what :meth:`consent.office.desk.Desk.counts` and its like return, as the API gives them.
"""

from __future__ import annotations

import calendar
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import date, timedelta
from typing import Any, Final

from consent.checkpoint import Checkpoint, open_checkpoint
from consent.errors import InvalidProofError
from consent.inventory import Sighting, Tally
from consent.merkle import Tiles
from consent.moments import format_moment
from consent.office.asked_under import AskedUnder, asked_under, changes, days_before
from consent.office.asker import Asker
from consent.office.desk import Desk
from consent.office.overview import SERIES, Row, overview
from consent.office.questions import WrongQuestion
from consent.office.request_rows import Wanted
from consent.office.roles import Action

MAX_ROWS: Final = 200
"""How many rows a table of the report has; how many there are in all is said beside it."""
HOW: Final = (
    "Choices are counted as they are recorded, in the transaction that records them. Erasing a visitor does not change "
    "the counts.",
    "A day is one of 24 hours in UTC.",
    "A visitor who chooses twice is counted twice. Visitors who choose nothing are not counted.",
    "What crawlers and programs that drive a browser chose is in no number but their own.",
    "Trackers are counted in each response of the server. What scripts do in the browser, it does not see.",
    "Third parties are noted with their first and last day alone: of a month that is long past, it is not known "
    "whether what came before and was there after was seen in between.",
)
"""What the numbers are, and what they are not."""

_MONTH: Final = re.compile(r"([0-9]{4})-(0[1-9]|1[0-2])")
_WITHHELD: Final = ("stripped", "held", "replaced")
_EPOCH: Final = date(1970, 1, 1)
_SERIES: Final = tuple(name.replace(" ", "_") for name in SERIES)


def month_days(month: str) -> tuple[str, str]:
    """Return the first and the last day of a month.

    Raises:
        WrongQuestion: it is none.
    """
    found = _MONTH.fullmatch(month)
    if found is None or int(found[1]) < 1970:
        raise WrongQuestion("month", "a month, such as 2026-03")
    last = calendar.monthrange(int(found[1]), int(found[2]))[1]
    return f"{month}-01", f"{month}-{last}"


def month_before(day: date) -> str:
    """Return the month before that of a day."""
    return (day.replace(day=1) - timedelta(days=1)).isoformat()[:7]


def monthly(desk: Desk, asker: Asker, month: str, site: str = "") -> dict[str, Any]:
    """Return the report as JSON values.

    Args:
        desk: answers.
        asker: who asks; they get what is about their sites.
        month: ``2026-03``.
        site: only this one's; empty: of all.

    Raises:
        WrongQuestion: there is no such month.
        NotAllowed: the role does not allow it.
    """
    desk.require(asker, Action.COUNTS)
    first, last = month_days(month)
    now_ms = int(desk.clock() * 1_000)
    return {
        "month": month,
        "from": first,
        "to": last,
        "site": site or None,
        "sites": list(asker.sites) or None,
        "made": format_moment(now_ms),
        "complete": format_moment(now_ms)[:10] > last,
        "choices": _choices(desk, asker, first, last, site),
        "enforcement": _enforcement(desk, asker, first, last, site),
        "inventory": _inventory(desk, asker, first, last, site),
        "policies": _policies(desk, asker, first, last, site),
        "requests": _requests(desk, asker, first, last, site),
        "integrity": _integrity(desk, last),
        "how": list(HOW),
    }


def _choices(desk: Desk, asker: Asker, first: str, last: str, site: str) -> dict[str, Any]:
    numbers = overview(desk, asker, first, last, site, max_rows=MAX_ROWS)
    wanted = {"bot": False, **({"site": site} if site else {})}
    kinds = ("outcome", "gpc", "dnt", "collection_method")
    outcomes: Counter[str] = Counter()
    signals: Counter[str] = Counter()
    for (outcome, gpc, dnt, method), times in desk.counts(asker, first, last, kinds, wanted).items():
        outcomes[outcome] += times
        signals["gpc"] += times if gpc else 0
        signals["dnt"] += times if dnt else 0
        signals["by_signal"] += times if method == "signal" else 0
    return {
        "total": numbers.choices,
        "by_outcome": {name: outcomes[name] for name in ("given", "changed", "refused", "withdrawn")},
        "by_day": [{"day": day, **dict(zip(_SERIES, values, strict=True))} for day, values in numbers.days],
        "categories": [{"category": name, "yes": yes} for name, yes in numbers.categories],
        "by": {
            **{name: list(map(_row, rows)) for name, _, rows in numbers.tables},
            "layout": _by_layout(next(rows for name, _, rows in numbers.tables if name == "shown_hash")),
        },
        "with_gpc": signals["gpc"],
        "with_dnt": signals["dnt"],
        "by_signal": signals["by_signal"],
        "by_programs": numbers.programs,
    }


def _row(row: Row) -> dict[str, Any]:
    members = {"name": row.name, "choices": row.choices, "agreed": row.agreed, "refused": row.refused}
    return {**members, "refusing_is_rare": row.suspicious, **({"layout": row.layout} if row.layout else {})}


def _by_layout(rows: Iterable[Row]) -> list[dict[str, Any]]:
    sums: dict[str, list[int]] = {}
    for row in rows:
        values = sums.setdefault(row.layout or "none, or not known", [0, 0, 0])
        for at, value in enumerate((row.choices, row.agreed, row.refused)):
            values[at] += value
    return [
        {"name": name, "choices": choices, "agreed": agreed, "refused": refused}
        for name, (choices, agreed, refused) in sorted(sums.items(), key=lambda item: -item[1][0])
    ]


def _enforcement(desk: Desk, asker: Asker, first: str, last: str, site: str) -> dict[str, Any]:
    by_category: dict[tuple[str, ...], Counter[str]] = {}
    by_vendor: dict[tuple[str, ...], Counter[str]] = {}
    whole: Counter[str] = Counter()
    for kind, times in desk.enforcement(asker, first, last):
        if site and kind.site != site:
            continue
        done = "withheld" if kind.action in _WITHHELD else "leaked" if kind.leaked else "allowed"
        names = (
            [done, f"by_{kind.reason}"] if done == "withheld" and kind.reason in ("gpc", "dnt") else [done]
        )
        for sums in (
            whole,
            by_category.setdefault((kind.category,), Counter()),
            by_vendor.setdefault((kind.vendor, kind.category), Counter()),
        ):
            for name in names:
                sums[name] += times
    return {
        **{name: whole[name] for name in ("withheld", "allowed", "leaked")},
        "withheld_by_gpc": whole["by_gpc"],
        "withheld_by_dnt": whole["by_dnt"],
        "by_category": _sums(("category",), by_category),
        "by_vendor": _sums(("vendor", "category"), by_vendor)[:MAX_ROWS],
        "vendors": len(by_vendor),
    }


def _sums(names: Sequence[str], sums: Mapping[tuple[str, ...], Counter[str]]) -> list[dict[str, Any]]:
    ordered = sorted(sums.items(), key=lambda item: (-item[1]["leaked"], -item[1]["withheld"], item[0]))
    return [
        {
            **dict(zip(names, key, strict=True)),
            **{name: values[name] for name in ("withheld", "allowed", "leaked")},
        }
        for key, values in ordered
    ]


def _inventory(desk: Desk, asker: Asker, first: str, last: str, site: str) -> dict[str, Any]:
    """Return what is new, gone, undeclared and unexplained."""
    declared = {
        vendor.id
        for each in asked_under(desk, asker, days_before(last), last, site)
        if each.terms is not None
        for vendor in each.terms.vendors
    }
    start, end = ((date.fromisoformat(day) - _EPOCH).days for day in (first, last))
    before = (date.fromisoformat(f"{month_before(date.fromisoformat(first))}-01") - _EPOCH).days
    # What was seen before sites were noted is of no site that can be asked for.
    seen = {each: tally for each, tally in desk.sightings(asker).items() if site in ("", each.site)}
    during = {
        each: tally for each, tally in seen.items() if tally.first_day <= end and tally.last_day >= start
    }
    lists = {
        "new": {each: tally for each, tally in during.items() if tally.first_day >= start},
        "gone": {each: tally for each, tally in seen.items() if before <= tally.last_day < start},
        "undeclared": {
            each: tally for each, tally in during.items() if each.vendor and each.vendor not in declared
        },
        "unclassified": {each: tally for each, tally in during.items() if not each.vendor},
    }
    return {
        "seen": len(during),
        **{
            name: {"count": len(found), "rows": [_sighting(*item) for item in _ordered(found)[:MAX_ROWS]]}
            for name, found in lists.items()
        },
    }


def _ordered(found: Mapping[Sighting, Tally]) -> list[tuple[Sighting, Tally]]:
    return sorted(found.items(), key=lambda item: (item[0].vendor, item[0].subject, item[0].kind))


def _sighting(sighting: Sighting, tally: Tally) -> dict[str, Any]:
    return {
        "subject": sighting.subject,
        "vendor": sighting.vendor or None,
        "kind": sighting.kind,
        "first_day": (_EPOCH + timedelta(days=tally.first_day)).isoformat(),
        "last_day": (_EPOCH + timedelta(days=tally.last_day)).isoformat(),
    }


def _policies(desk: Desk, asker: Asker, first: str, last: str, site: str) -> list[dict[str, Any]]:
    before: dict[tuple[str, str, str], AskedUnder] = {}
    for each in asked_under(desk, asker, days_before(first), days_before(first, 1), site):
        if each.place not in before or before[each.place].last_day <= each.last_day:
            before[each.place] = each
    rows: dict[tuple[object, ...], dict[str, Any]] = {}
    for each in asked_under(desk, asker, first, last, site):
        earlier = before.get(each.place)
        before[each.place] = each
        if earlier is not None and earlier.hashes == each.hashes:
            earlier = None
        # What says the same to visitors in several places is one policy.
        known = (
            each.site,
            each.regime,
            each.version,
            *each.hashes,
            None if earlier is None else earlier.hashes,
        )
        row = rows.setdefault(known, _policy(earlier, each))
        row["jurisdictions"] += [each.jurisdiction] if each.jurisdiction else []
        row["first_day"] = min(row["first_day"], each.first_day)
        row["last_day"] = max(row["last_day"], each.last_day)
        row["choices"] += each.choices
    return list(rows.values())


def _policy(earlier: AskedUnder | None, policy: AskedUnder) -> dict[str, Any]:
    found = () if earlier is None else changes(earlier, policy)
    return {
        "site": policy.site,
        "regime": policy.regime,
        "jurisdictions": [],
        "version": policy.version,
        "policy_hash": policy.policy_hash or None,
        "vendor_list_hash": policy.vendor_list_hash or None,
        "first_day": policy.first_day,
        "last_day": policy.last_day,
        "choices": 0,
        "replaces": None if earlier is None else earlier.version,
        "changes": None if found is None else [asdict(change) for change in found[:MAX_ROWS]],
    }


def _requests(desk: Desk, asker: Asker, first: str, last: str, site: str) -> dict[str, Any] | None:
    """Return what became of what people asked; ``None``: it is not for this role."""
    if not asker.may(Action.REQUESTS):
        return None
    since, until = ((date.fromisoformat(day) - _EPOCH).days * 86_400_000 for day in (first, last))
    wanted = Wanted(sites=asker.sites, site=site)
    numbers = desk.register.numbers(wanted, since, until + 86_400_000)
    return {
        "received": sum(numbers.received.values()),
        "received_by_kind": dict(sorted(numbers.received.items())),
        "closed": sum(numbers.closed.values()),
        "closed_by_state": dict(sorted(numbers.closed.items())),
        "closed_late": numbers.late,
        "open_at_the_end": numbers.open,
    }


def _integrity(desk: Desk, last: str) -> dict[str, Any]:
    """Return the checkpoint at the end of the month, held against the tree as it is kept now."""
    log = desk.log
    verifiers = log.verifiers()
    kept = [(day, note) for day, note in log.checkpoints() if day <= last]
    answer: dict[str, Any] = {"keys": list(map(str, verifiers)), "checkpoint": None, "verified": False}
    if not kept:
        return {**answer, "problem": "there was no checkpoint yet"}
    day, note = kept[-1]
    signed = Checkpoint.of_note(note)
    answer |= {"day": day, "checkpoint": note, "origin": signed.origin, "size": signed.size}
    answer |= {"root": signed.root.hex()}
    try:
        open_checkpoint(note, verifiers)
        tree = Tiles(signed.size, lambda level, index, width: log.tile(level, index, width) or b"")
        if tree.root() != signed.root:
            raise InvalidProofError("the tree is not the one that was signed")
    except InvalidProofError as error:
        return {**answer, "problem": str(error)}
    return {**answer, "verified": True, "problem": ""}
