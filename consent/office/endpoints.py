"""What the office's API answers: one table, which routes requests, decides who may, and is served as OpenAPI."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from itertools import chain
from typing import Any, Final

from consent.checkpoint import Checkpoint
from consent.choice import RECEIPT_ID, SUBJECT
from consent.choice_kind import ChoiceKind
from consent.moments import format_moment
from consent.office.desk import Desk, OpenedReceipt
from consent.office.questions import (
    CURSOR,
    DEFAULT_LIMIT,
    FILTERS,
    FIRST_DAY,
    GROUPS,
    LAST_DAY,
    LIMIT,
    STANDING,
    Parameter,
    WrongQuestion,
    cursor_of,
    days_of,
    limit_of,
    moment_of,
    names_of,
    position_of,
    sought_by,
)
from consent.office.roles import ALLOWED, Action
from consent.office.tokens import CALLS_A_DAY, Token
from consent.receipt_export import ExportForm, ExportRows, export
from consent.receipt_search import Found, FoundPage, Sought

INDEX_MEMBERS: Final = ("leaf", "time", *ChoiceKind._fields)
"""What a receipt is found by."""
MAX_GROUPS: Final = 20_000
"""How many rows of counts one answer has at most."""
_EPOCH: Final = date(1970, 1, 1)


@dataclass(frozen=True, slots=True)
class Call:
    """One authenticated request."""

    desk: Desk
    token: Token
    given: Mapping[str, str]
    """The parameters of the query."""
    place: str = ""
    """What stands in the path."""
    body: Mapping[str, Any] = field(default_factory=dict)
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Content:
    """What is answered, when all is well."""

    body: Mapping[str, Any] | bytes | Iterator[bytes]
    """JSON, or bytes, or bytes as they come."""
    media_type: str = "application/json"
    is_of_a_visitor: bool = False
    """Nobody may keep it."""
    filename: str = ""


class NothingThere(Exception):
    """There is no such thing, or nothing that the token may see."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One thing that can be asked."""

    method: str
    path: str
    """Below the API's own; ``{name}`` is one part."""
    about: str
    action: Action | None
    """What the token has to allow; ``None``: every token may."""
    answer: Callable[[Call], Content]
    parameters: Sequence[Parameter] = ()
    needs_reason: bool = False
    reason_for: str = ""
    """With which parameter alone it needs a reason."""
    body: Mapping[str, Any] | None = None
    """The schema of the request's body."""
    weight: int = 1
    """How many calls it counts as."""

    def matches(self, path: str) -> str | None:
        """Return what stands in the place of the path's name, empty where it has none; ``None``: another path."""
        before, brace, rest = self.path.partition("{")
        if not brace:
            return "" if path == self.path else None
        after = rest.partition("}")[2]
        if not (path.startswith(before) and path.endswith(after)):
            return None
        place = path[len(before) : len(path) - len(after)]
        return place if place and "/" not in place and len(path) >= len(before) + len(after) else None


def _me(call: Call) -> Content:
    token = call.token
    return Content(
        {
            "id": token.id,
            "name": token.name,
            "role": str(token.role),
            "sites": list(token.sites),
            "may": sorted(str(action) for action in ALLOWED[token.role] if token.may(action)),
            "expires": format_moment(token.expires_ms),
            "calls_a_day": CALLS_A_DAY,
        }
    )


def _counts(call: Call) -> Content:
    first, last = days_of(call.given, call.desk.clock())
    groups = names_of("by", call.given.get("by") or "day,outcome", GROUPS)
    sought = sought_by({name: call.given[name] for name in _OF_KIND if name in call.given}, call.token)
    wanted = {name: value for name in _OF_KIND if (value := getattr(sought, name)) is not None}
    sums = call.desk.counts(call.token, first, last, groups, wanted)
    if len(sums) > MAX_GROUPS:
        raise WrongQuestion("by", f"{len(sums)} rows, at most {MAX_GROUPS}: ask for fewer days, or by less")
    rows = [
        {**dict(zip(groups, key, strict=True)), "choices": choices}
        for key, choices in sorted(sums.items(), key=lambda item: tuple(map(str, item[0])))
    ]
    return Content({"from": first, "to": last, "counts": rows})


def _receipts(call: Call) -> Content:
    sought = sought_by(call.given, call.token)
    limit, before = limit_of(call.given), position_of(call.given)
    page = call.desk.list(call.token, sought, limit=limit, before=before)
    return Content(_page(page, call.given.get("fields")))


def _lookups(call: Call) -> Content:
    body = call.body
    if not body.keys() <= _LOOKUP["properties"].keys():
        # Without its name: JSON's escapes can write what no answer can.
        raise WrongQuestion("body", f"it may have {', '.join(_LOOKUP['properties'])}, and nothing else")
    subject, receipt_id = body.get("subject"), body.get("receipt_id")
    if isinstance(receipt_id, str) and subject is None:
        if RECEIPT_ID.fullmatch(receipt_id.lower()) is None:
            raise WrongQuestion("receipt_id", "a UUID, as the visitor's receipt has it")
        page = call.desk.look_up_id(call.token, receipt_id.lower(), call.reason)
    elif isinstance(subject, str) and receipt_id is None:
        if SUBJECT.fullmatch(subject) is None:
            raise WrongQuestion("subject", "a pseudonym of 32 lower-case hexadecimal digits")
        standing, cursor = body.get("standing", False), body.get("cursor", "")
        limit = body.get("limit", DEFAULT_LIMIT)
        if not (isinstance(standing, bool) and isinstance(cursor, str)):
            raise WrongQuestion("standing", "true or false, and a cursor in a string")
        if not isinstance(limit, int):
            raise WrongQuestion("limit", "a number")
        until = None if body.get("until") is None else moment_of("until", body["until"])
        sought = Sought(subject=subject, until_ms=until, standing=standing)
        before = position_of({"cursor": cursor})
        page = call.desk.look_up(
            call.token, sought, call.reason, limit=limit_of({"limit": str(limit)}), before=before
        )
    else:
        raise WrongQuestion("subject", "give either this or receipt_id, as a string")
    return Content(_page(page, None), is_of_a_visitor=True)


def _receipt(call: Call) -> Content:
    opened = _opened(call)
    text, checkpoint = opened.text, opened.checkpoint
    proof: dict[str, Any] = {"verified": checkpoint is not None, "problem": opened.problem}
    if checkpoint is not None:
        proof |= {"origin": checkpoint.origin, "size": checkpoint.size}
    return Content(
        {
            "leaf": opened.leaf,
            "receipt": opened.receipt.to_json(),
            "content_hash": opened.receipt.content_hash,
            "proof": proof,
            "text": None if text is None else {"media_type": text.media_type, "bytes": len(text.content)},
        },
        is_of_a_visitor=True,
    )


def _evidence(call: Call) -> Content:
    opened = _opened(call)
    if opened.evidence is None:
        raise NothingThere
    name = f"consent-receipt-{opened.leaf}.json"
    return Content(opened.evidence.text().encode(), is_of_a_visitor=True, filename=name)


def _opened(call: Call) -> OpenedReceipt:
    opened = None
    if call.place.isascii() and call.place.isdigit() and len(call.place) <= 15:
        opened = call.desk.open(call.token, int(call.place), call.reason)
    if opened is None:
        raise NothingThere
    return opened


def _text(call: Call) -> Content:
    artefact = call.desk.text(call.token, call.place)
    if artefact is None:
        raise NothingThere
    # It is markup of the site's own: downloaded, never shown as a page of this origin.
    return Content(
        artefact.content, media_type="application/octet-stream", filename=f"{call.place[:12]}.html"
    )


def _export(call: Call) -> Content:
    given = call.given
    rows = _one_of("rows", given.get("rows") or "index", list(ExportRows))
    form = _one_of("form", given.get("form") or "jsonl", list(ExportForm))
    action = Action.EXPORT_RECORDS if rows == ExportRows.RECORDS else Action.EXPORT_INDEX
    call.desk.require(call.token, action)
    sought = sought_by(given, call.token)
    reason = call.desk.require_reason(call.reason) if rows == ExportRows.RECORDS else call.reason
    asked = {name: given[name] for name in sorted(given)}
    call.desk.record(call.token, "exported", reason, rows=str(rows), form=str(form), asked=asked)
    pieces = export(call.desk.log, sought, form=ExportForm(form), rows=ExportRows(rows))
    # The first rows are read before anything is answered: a log that cannot be read is 503.
    pieces = chain((next(pieces, b""),), pieces)
    media_type = "text/csv; charset=utf-8" if form == ExportForm.CSV else "application/jsonl"
    return Content(pieces, media_type, is_of_a_visitor=True, filename=f"consent-{rows}.{form}")


def _enforcement(call: Call) -> Content:
    first, last = days_of(call.given, call.desk.clock())
    counts = call.desk.enforcement(call.token, first, last)
    rows = [{**count.kind._asdict(), "times": count.times, "leaked": count.kind.leaked} for count in counts]
    return Content({"from": first, "to": last, "enforcement": rows})


def _trackers(call: Call) -> Content:
    rows = [
        {
            **sighting._asdict(),
            "first_day": (_EPOCH + timedelta(days=tally.first_day)).isoformat(),
            "last_day": (_EPOCH + timedelta(days=tally.last_day)).isoformat(),
            "times": tally.count,
            "pages": list(tally.pages),
        }
        for sighting, tally in call.desk.inventory.sightings().items()
    ]
    return Content({"trackers": rows})


def _integrity(call: Call) -> Content:
    log = call.desk.log
    note = log.checkpoint()
    signed = None if note is None else Checkpoint.of_note(note)
    return Content(
        {
            "origin": signed.origin if signed else None,
            "size": signed.size if signed else 0,
            "root": signed.root.hex() if signed else None,
            "checkpoint": note,
            "keys": [str(verifier) for verifier in log.verifiers()],
        }
    )


def _accesses(call: Call) -> Content:
    before = call.given.get("before", "")
    if before and not (before.isascii() and before.isdigit() and len(before) <= 15):
        raise WrongQuestion("before", "the number of an entry")
    limit = limit_of(call.given)
    entries = call.desk.accesses.newest(limit=limit, before=int(before) if before else None)
    rows = [
        {
            "leaf": entry.leaf,
            "time": entry.time,
            "who": entry.who,
            "what": entry.what,
            "reason": entry.reason,
            "details": dict(entry.details),
        }
        for entry in entries
    ]
    following = rows[-1]["leaf"] if len(rows) == limit and rows[-1]["leaf"] else None
    return Content({"accesses": rows, "next": following})


def _page(page: FoundPage, fields: str | None) -> dict[str, Any]:
    names = names_of("fields", fields, INDEX_MEMBERS) if fields else INDEX_MEMBERS
    return {"receipts": [_row(found, names) for found in page.found], "next": cursor_of(page.next)}


def _row(found: Found, names: Sequence[str]) -> dict[str, Any]:
    members = {
        "leaf": found.position.leaf,
        "time": format_moment(found.position.time_ms),
        **found.kind._asdict(),
    }
    return {name: members[name] for name in names}


def _one_of(name: str, value: str, known: Sequence[str]) -> str:
    if value not in known:
        raise WrongQuestion(name, f"one of {', '.join(known)}")
    return value


_OF_KIND: Final = (*ChoiceKind._fields, "grants")
_COUNTED: Final = tuple(
    parameter
    for parameter in FILTERS
    if parameter.name in ChoiceKind._fields or parameter in (FIRST_DAY, LAST_DAY)
)
_LOOKUP: Final[Mapping[str, Any]] = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "subject": {"type": "string", "pattern": f"^{SUBJECT.pattern}$"},
        "receipt_id": {"type": "string", "format": "uuid"},
        "until": {"type": "string", "description": "A day, or a moment: as of then."},
        "standing": {"type": "boolean", "default": False},
        "cursor": {"type": "string"},
        "limit": LIMIT.schema,
    },
    "oneOf": [{"required": ["subject"]}, {"required": ["receipt_id"]}],
}

ENDPOINTS: Final = (
    Endpoint(
        method="GET", path="/me", about="The token's own role, sites and limits.", action=None, answer=_me
    ),
    Endpoint(
        method="GET",
        path="/counts",
        about="How many choices of which kind there were. Erasing a visitor does not change it.",
        action=Action.COUNTS,
        answer=_counts,
        parameters=(
            *_COUNTED,
            Parameter(
                "by",
                "Members to count by, with commas between.",
                {"type": "string", "default": "day,outcome"},
            ),
        ),
    ),
    Endpoint(
        method="GET",
        path="/receipts",
        about="Receipts by what they have in common, the newest first. Nothing in it names a visitor.",
        action=Action.RECEIPTS,
        answer=_receipts,
        parameters=(
            *FILTERS,
            STANDING,
            LIMIT,
            CURSOR,
            Parameter("fields", "Only these members, with commas between.", {"type": "string"}),
        ),
    ),
    Endpoint(
        method="POST",
        path="/lookups",
        about="The receipts of one visitor, or the one with an id. In a body, so that no address has it.",
        action=Action.OPEN,
        answer=_lookups,
        needs_reason=True,
        body=_LOOKUP,
    ),
    Endpoint(
        method="GET",
        path="/receipts/{leaf}",
        about="One receipt as it is, and whether its proof holds.",
        action=Action.OPEN,
        answer=_receipt,
        needs_reason=True,
    ),
    Endpoint(
        method="GET",
        path="/receipts/{leaf}/evidence",
        about="One receipt with its proof, as a file that `consent ledger verify` takes.",
        action=Action.OPEN,
        answer=_evidence,
        needs_reason=True,
    ),
    Endpoint(
        method="GET",
        path="/texts/{hash}",
        about="A text that was shown, to the byte, by its SHA-256.",
        action=Action.RECEIPTS,
        answer=_text,
    ),
    Endpoint(
        method="GET",
        path="/exports/receipts",
        about="All receipts that are asked for, the oldest first, as a stream. `rows=records` needs a reason.",
        action=Action.EXPORT_INDEX,
        answer=_export,
        parameters=(
            *FILTERS,
            Parameter(
                "rows", "What is written.", {"type": "string", "enum": [str(rows) for rows in ExportRows]}
            ),
            Parameter("form", "How.", {"type": "string", "enum": [str(form) for form in ExportForm]}),
        ),
        reason_for="rows=records",
        weight=10,
    ),
    Endpoint(
        method="GET",
        path="/enforcement",
        about="What the server did about trackers, by day.",
        action=Action.COUNTS,
        answer=_enforcement,
        parameters=(FIRST_DAY, LAST_DAY),
    ),
    Endpoint(
        method="GET",
        path="/trackers",
        about="Third-party content that was seen on the site.",
        action=Action.TRACKERS,
        answer=_trackers,
    ),
    Endpoint(
        method="GET",
        path="/integrity",
        about="The checkpoint signed last, and the keys that it is signed with.",
        action=Action.COUNTS,
        answer=_integrity,
    ),
    Endpoint(
        method="GET",
        path="/accesses",
        about="What was done in the office, the newest first.",
        action=Action.ACCESSES,
        answer=_accesses,
        parameters=(
            LIMIT,
            Parameter(
                "before", "Only entries before this one: `next` of the page before.", {"type": "integer"}
            ),
        ),
    ),
)


def parse_body(body: bytes) -> Mapping[str, Any]:
    """Read a request's body.

    Raises:
        WrongQuestion: it is no JSON object.
    """
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise WrongQuestion("body", "a JSON object")
    return content
