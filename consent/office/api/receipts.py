"""Receipts: found by what they have in common, looked up by visitor, opened, proven; and the texts they name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from consent.accounts import MAX_ACCOUNT
from consent.choice import RECEIPT_ID, SUBJECT
from consent.choice_kind import ChoiceKind
from consent.moments import format_moment
from consent.office.api.endpoint import Call, Content, Endpoint, NothingThere
from consent.office.desk import OpenedReceipt
from consent.office.questions import (
    CURSOR,
    DEFAULT_LIMIT,
    FILTERS,
    LIMIT,
    MAX_LIMIT,
    STANDING,
    Parameter,
    WrongQuestion,
    cursor_of,
    limit_of,
    list_schema,
    moment_of,
    names_of,
    position_of,
    sought_by,
    whole_number,
)
from consent.office.roles import Action
from consent.receipt_search import Found, FoundPage, Sought

INDEX_MEMBERS: Final = ("leaf", "time", *ChoiceKind._fields)
"""What a receipt is found by."""

_LOOKUP: Final[Mapping[str, Any]] = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "subject": {"type": "string", "pattern": f"^{SUBJECT.pattern}$"},
        "receipt_id": {
            "type": "string",
            "pattern": f"^{RECEIPT_ID.pattern.replace('a-f', 'a-fA-F').replace('ab]', 'abAB]')}$",
        },
        "account": {
            "type": "string",
            "minLength": 1,
            "maxLength": MAX_ACCOUNT,
            "description": "The identifier of a signed-in account, as the site names it.",
        },
        "until": {
            "type": "string",
            "anyOf": [{"format": "date"}, {"format": "date-time"}],
            "description": "A day, or a moment: as of then.",
        },
        "standing": {"type": "boolean", "default": False},
        "cursor": CURSOR.schema,
        "limit": LIMIT.schema,
    },
    "oneOf": [{"required": ["subject"]}, {"required": ["receipt_id"]}, {"required": ["account"]}],
}


def _receipts(call: Call) -> Content:
    sought = sought_by(call.given, call.asker)
    limit, before = limit_of(call.given), position_of(call.given)
    page = call.desk.list(call.asker, sought, limit=limit, before=before)
    return Content(_page(page, call.given.get("fields")))


def _lookups(call: Call) -> Content:
    body = call.body
    if not body.keys() <= _LOOKUP["properties"].keys():
        # Without its name: JSON's escapes can write what no answer can.
        raise WrongQuestion("body", f"it may have {', '.join(_LOOKUP['properties'])}, and nothing else")
    given = {name: body[name] for name in ("subject", "receipt_id", "account") if body.get(name) is not None}
    if len(given) != 1 or not all(isinstance(value, str) for value in given.values()):
        raise WrongQuestion("subject", "give this, or receipt_id, or account, as a string")
    subject, receipt_id, account = (given.get(name) for name in ("subject", "receipt_id", "account"))
    if receipt_id is not None:
        if RECEIPT_ID.fullmatch(receipt_id.lower()) is None:
            raise WrongQuestion("receipt_id", "a UUID, as the visitor's receipt has it")
        page = call.desk.look_up_id(call.asker, receipt_id.lower(), call.reason)
    else:
        if subject is not None and SUBJECT.fullmatch(subject) is None:
            raise WrongQuestion("subject", "a pseudonym of 32 lower-case hexadecimal digits")
        if account is not None and not 0 < len(account) <= MAX_ACCOUNT:
            raise WrongQuestion("account", f"1 to {MAX_ACCOUNT} characters")
        standing, cursor = body.get("standing", False), body.get("cursor", "")
        limit = whole_number("limit", body.get("limit", DEFAULT_LIMIT), 1, MAX_LIMIT)
        if not (isinstance(standing, bool) and isinstance(cursor, str)):
            raise WrongQuestion("standing", "true or false, and a cursor in a string")
        until = None if body.get("until") is None else moment_of("until", body["until"])
        name = None if account is None else call.desk.log.account(account)
        sought = Sought(subject=subject, account=name, until_ms=until, standing=standing)
        before = position_of({"cursor": cursor})
        page = call.desk.look_up(call.asker, sought, call.reason, limit=limit, before=before)
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
    leaf, opened = call.places["leaf"], None
    if leaf.isascii() and leaf.isdigit() and len(leaf) <= 15:
        opened = call.desk.open(call.asker, int(leaf), call.reason)
    if opened is None:
        raise NothingThere
    return opened


def _text(call: Call) -> Content:
    artefact = call.desk.text(call.asker, call.places["hash"])
    if artefact is None:
        raise NothingThere
    # It is markup of the site's own: downloaded, never shown as a page of this origin.
    return Content(
        artefact.content, media_type="application/octet-stream", filename=f"{call.places['hash'][:12]}.html"
    )


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


ENDPOINTS: Final = (
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
            Parameter("fields", "Only these members, with commas between.", list_schema(INDEX_MEMBERS)),
        ),
    ),
    Endpoint(
        method="POST",
        path="/lookups",
        about="The receipts of one visitor or account, or the one with an id. In a body, so that no address has it.",
        action=Action.OPEN,
        answer=_lookups,
        needs_reason=True,
        body=_LOOKUP,
        reads=True,
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
        media_types=("application/octet-stream",),
    ),
)
