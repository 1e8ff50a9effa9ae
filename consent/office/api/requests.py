"""What people asked about their data: registered, listed by what is due, opened, handled step by step."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeVar

from consent.accounts import MAX_ACCOUNT
from consent.choice import SUBJECT
from consent.moments import format_if_any, format_moment
from consent.office.api.endpoint import Call, Content, Endpoint, NothingThere
from consent.office.handling import MAX_TEXT, Handling
from consent.office.questions import (
    CURSOR,
    LIMIT,
    Parameter,
    WrongQuestion,
    cursor_of,
    limit_of,
    one_of,
    position_of,
)
from consent.office.request_reading import REQUEST_FILTERS, new_request, received_of, wanted_by
from consent.office.request_rows import OpenedRequest, Registered
from consent.office.roles import Action
from consent.subject_request import (
    MAX_CONTACT,
    MAX_DETAILS,
    MAX_NAME,
    RequestKind,
    StepKind,
    Way,
)

_T = TypeVar("_T")


def _line(longest: int) -> dict[str, Any]:
    return {"type": "string", "maxLength": longest, "pattern": f"^{_LINE}*$"}


_LINE: Final = "[^\\u0000-\\u001f\\u007f-\\u009f\\u2028\\u2029]"
_NEW: Final[Mapping[str, Any]] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["kind", "site"],
    "properties": {
        "kind": {"type": "string", "enum": [str(kind) for kind in RequestKind]},
        "way": {"type": "string", "enum": [str(way) for way in Way if way is not Way.FORM], "default": "api"},
        "received": {"type": "string", "format": "date", "description": "The day it arrived, UTC."},
        "site": {"type": "string", "maxLength": 200, "pattern": f"^{_LINE}*[!-~]{_LINE}*$"},
        "jurisdiction": {
            "type": "string",
            "pattern": "^([A-Z]{2}(-[A-Z0-9]{1,3})?)?$",
            "description": "ISO 3166, such as DE or US-CA.",
        },
        "language": _line(20),
        "name": _line(MAX_NAME),
        "contact": _line(MAX_CONTACT),
        "details": {
            "type": "string",
            "maxLength": MAX_DETAILS,
            "pattern": "^[^\\u0000-\\u0008\\u000b-\\u001f\\u007f-\\u009f\\u2028\\u2029]*$",
        },
        "agent": {**_line(MAX_NAME), "description": "Who asks for another."},
        "subject": {"type": "string", "pattern": f"^{SUBJECT.pattern}$"},
    },
}
_STEP: Final[Mapping[str, Any]] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["step"],
    "properties": {
        "step": {"type": "string", "enum": [str(step) for step in StepKind]},
        "text": {"type": "string", "maxLength": MAX_TEXT},
    },
}
_NOTHING: Final[Mapping[str, Any]] = {"type": "object", "additionalProperties": False, "properties": {}}
_SOUGHT: Final[Mapping[str, Any]] = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "sought": {"type": "string", "maxLength": 40, "description": "A pseudonym, or a receipt's id."},
        "account": {
            "type": "string",
            "minLength": 1,
            "maxLength": MAX_ACCOUNT,
            "description": "The identifier of a signed-in account, as the site names it: all of its visitors.",
        },
    },
    "oneOf": [{"required": ["sought"]}, {"required": ["account"]}],
}


def _requests(call: Call) -> Content:
    handling = Handling(call.desk, call.asker)
    found, following = handling.list(
        wanted_by(call.given, handling.today), limit=limit_of(call.given), before=position_of(call.given)
    )
    rows = [row_of(request, handling.today) for request in found]
    load = handling.load()
    # The form is that of all sites: how many it took is for who may see them.
    numbers = {} if call.asker.sites else {"waiting": load.waiting, "within_the_hour": load.hour}
    form = {"takes": load.takes, **numbers}
    return Content(
        {"requests": rows, "counts": dict(handling.counts()), "form": form, "next": cursor_of(following)},
        is_of_a_visitor=True,
    )


def _add(call: Call) -> Content:
    handling = Handling(call.desk, call.asker)
    given = _strings(call.body, _NEW)
    received_ms = received_of(given.pop("received", ""), call.desk.clock())
    new = new_request({"way": "api", **given})
    request, code = handling.add(new, received_ms=received_ms)
    body = {**row_of(request, handling.today), "code": code}
    location = (b"location", f"{call.home}/requests/{request.reference}".encode())
    return Content(body, is_of_a_visitor=True, status=201, headers=(location,))


def _open(call: Call) -> Content:
    return _opened(call, Handling(call.desk, call.asker))


def _step(call: Call) -> Content:
    handling = Handling(call.desk, call.asker)
    given = _strings(call.body, _STEP)
    _there(handling.step(call.places["reference"], StepKind(given["step"]), given.get("text", "")))
    return _opened(call, handling)


def _look_up(call: Call) -> Content:
    handling = Handling(call.desk, call.asker)
    found = _there(handling.look_up(call.places["reference"], **_strings(call.body, _SOUGHT)))
    rows = [
        {
            "leaf": each.position.leaf,
            "time": format_moment(each.position.time_ms),
            "outcome": each.kind.outcome,
            "site": each.kind.site,
        }
        for each in found
    ]
    return Content({"receipts": rows}, is_of_a_visitor=True)


def _package(call: Call) -> Content:
    form = one_of("form", call.given.get("form") or "json", ("json", "html"))
    package = _there(Handling(call.desk, call.asker).package(call.places["reference"]))
    name = f"consent-request-{package.request}.{form}"
    if form == "json":
        return Content(package.json(), is_of_a_visitor=True, filename=name)
    return Content(package.page(), "text/html; charset=utf-8", is_of_a_visitor=True, filename=name)


def _erase(call: Call) -> Content:
    _strings(call.body, _NOTHING)
    erased = _there(Handling(call.desk, call.asker).erase(call.places["reference"]))
    return Content({"erasures": [each._asdict() for each in erased]}, is_of_a_visitor=True)


def _withdraw(call: Call) -> Content:
    _strings(call.body, _NOTHING)
    made = _there(Handling(call.desk, call.asker).withdraw(call.places["reference"]))
    rows = [{"receipt_id": each.receipt_id, "time": each.time, "site": each.site} for each in made]
    return Content({"withdrawals": rows}, is_of_a_visitor=True)


def _certificates(call: Call) -> Content:
    proofs = _there(Handling(call.desk, call.asker).certificates(call.places["reference"]))
    rows = [
        {"erasure_id": each, "evidence": None if proof is None else json.loads(proof)}
        for each, proof in proofs.items()
    ]
    return Content({"certificates": rows}, is_of_a_visitor=True)


def _opened(call: Call, handling: Handling) -> Content:
    opened = _there(handling.open(call.places["reference"]))
    return Content(described(opened, handling.today), is_of_a_visitor=True)


def _there(found: _T | None) -> _T:
    if found is None:
        raise NothingThere
    return found


def row_of(request: Registered, today: str) -> dict[str, Any]:
    """Return what is known of a request without who asked, as JSON has it."""
    return {
        "reference": request.reference,
        "kind": str(request.kind),
        "way": str(request.way),
        "site": request.site,
        "jurisdiction": request.jurisdiction,
        "state": str(request.state),
        "received": format_moment(request.received_ms),
        "due": request.due or None,
        "overdue": request.is_overdue(today),
        "acknowledge_by": request.acknowledge_by,
        "answer_by": request.answer_by,
        "extended_by": request.extended_by,
        "law": request.law,
        "acknowledged": format_if_any(request.acknowledged_ms),
        "identity_verified": format_if_any(request.identity_ms),
        "by_agent": request.by_agent,
        "authority_verified": format_if_any(request.authority_ms),
        "closed": format_if_any(request.closed_ms),
    }


def described(opened: OpenedRequest, today: str) -> dict[str, Any]:
    """Return all that is known of a request, as JSON has it."""
    request, person = opened.request, opened.person
    return {
        **row_of(request, today),
        "language": request.language,
        "forgotten": request.is_forgotten,
        "name": person.name,
        "contact": person.contact,
        "details": person.details,
        "agent": person.agent,
        "subjects": list(person.subjects),
        "came_with": person.came_with or None,
        "receipts": list(opened.leaves),
        "history": [
            {"time": format_moment(step.time_ms), "who": step.who, "what": step.what, "text": step.text}
            for step in opened.steps
        ],
        "steps": [] if request.is_forgotten else [str(step) for step in request.progress.steps()],
    }


def _strings(body: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, str]:
    """Return the members of a body that is an object of strings."""
    known: Mapping[str, Any] = schema["properties"]
    if not body.keys() <= known.keys():
        # Without its name: JSON's escapes can write what no answer can.
        raise WrongQuestion("body", f"it may have {', '.join(known)}, and nothing else")
    for name, value in body.items():
        if not isinstance(value, str):
            raise WrongQuestion(name, "a string")
        if "enum" in known[name]:
            one_of(name, value, known[name]["enum"])
    missing: Sequence[str] = [name for name in schema.get("required", ()) if name not in body]
    if missing:
        raise WrongQuestion(missing[0], "it is missing")
    return dict(body)


_NOT_NOW: Final = {409: "It cannot be done now; the message says what comes first."}

ENDPOINTS: Final = (
    Endpoint(
        method="GET",
        path="/requests",
        about="What people asked about their data, what is due first coming first. Nothing in it says who.",
        action=Action.REQUESTS,
        answer=_requests,
        parameters=(*REQUEST_FILTERS, LIMIT, CURSOR),
    ),
    Endpoint(
        method="POST",
        path="/requests",
        about="Register a request that arrived. Its `code`, for whoever asks, is told this once.",
        action=Action.HANDLE,
        answer=_add,
        status=201,
        problems=_NOT_NOW,
        body=_NEW,
    ),
    Endpoint(
        method="GET",
        path="/requests/{reference}",
        about="One request with who asked, and what was done. That it was opened is recorded.",
        action=Action.HANDLE,
        answer=_open,
    ),
    Endpoint(
        method="PATCH",
        path="/requests/{reference}",
        about="Take a step. 409 where it cannot be taken now.",
        action=Action.HANDLE,
        answer=_step,
        problems=_NOT_NOW,
        body=_STEP,
    ),
    Endpoint(
        method="POST",
        path="/requests/{reference}/lookups",
        about="Find the receipts of the visitor that a request names, and link them with it.",
        action=Action.HANDLE,
        answer=_look_up,
        problems=_NOT_NOW,
        body=_SOUGHT,
    ),
    Endpoint(
        method="GET",
        path="/requests/{reference}/package",
        about="All receipts of the visitor with texts and proofs, once it is verified who asks.",
        action=Action.HANDLE,
        answer=_package,
        problems=_NOT_NOW,
        media_types=("application/json", "text/html"),
        parameters=(
            Parameter("form", "As what.", {"type": "string", "enum": ["json", "html"], "default": "json"}),
        ),
        weight=5,
    ),
    Endpoint(
        method="POST",
        path="/requests/{reference}/erasures",
        about="Erase the visitor, once it is verified who asks. It cannot be undone. Again, it has the same answer.",
        action=Action.HANDLE,
        answer=_erase,
        problems=_NOT_NOW,
        body=_NOTHING,
    ),
    Endpoint(
        method="POST",
        path="/requests/{reference}/withdrawals",
        about="Record that the visitor withdraws; the page of choices tells the browser. Again, the same answer.",
        action=Action.HANDLE,
        answer=_withdraw,
        problems=_NOT_NOW,
        body=_NOTHING,
    ),
    Endpoint(
        method="GET",
        path="/requests/{reference}/certificates",
        about="The certificates of what was erased for a request, which `consent ledger verify` takes.",
        action=Action.HANDLE,
        answer=_certificates,
    ),
)
