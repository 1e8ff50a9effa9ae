"""What happens: as a stream, and where it is sent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from consent.moments import format_moment
from consent.office.api.endpoint import Call, Content, Endpoint, NothingThere, Problem
from consent.office.events import EventType, TooManyStreams
from consent.office.outgoing import MAX_URL, WrongAddress, host_of
from consent.office.questions import Parameter, WrongQuestion, list_schema, names_of
from consent.office.roles import Action
from consent.office.webhooks import TooManyWebhooks, Webhook, WebhookState

MAX_WAIT_SECONDS: Final = 300
_TYPES: Final = [str(each) for each in EventType]


def _stream(call: Call) -> Content:
    after = _number("after", call.given.get("after") or "0", 10**15 - 1)
    wait = _number("wait", call.given.get("wait") or "0", MAX_WAIT_SECONDS)
    types = call.given.get("types")
    try:
        lines = call.desk.events.follow(
            after, types=names_of("types", types, _TYPES) if types else (), wait_seconds=wait
        )
    except TooManyStreams as error:
        raise Problem(429, "too-many-streams", str(error), (b"retry-after", b"10")) from None
    return Content(lines, "application/jsonl", is_of_a_visitor=True)


def _number(name: str, text: str, most: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 15 and int(text) <= most):
        raise WrongQuestion(name, f"0 to {most}")
    return int(text)


def _add(call: Call) -> Content:
    _only(call.body, "url", "events")
    url, types = call.body.get("url"), _types(call.body.get("events"))
    if not isinstance(url, str):
        raise WrongQuestion("url", "an address, as a string")
    try:
        webhook, secret = call.desk.webhooks.add(url, types)
    except WrongAddress as error:
        raise WrongQuestion("url", str(error)) from None
    except TooManyWebhooks as error:
        raise Problem(409, "too-many-webhooks", str(error)) from None
    call.desk.record(
        call.asker, "webhook-made", webhook=webhook.id, host=host_of(url), events=list(webhook.types)
    )
    place = f"{call.home}/webhooks/{webhook.id}"
    return Content(
        {**_told(webhook), "secret": secret},
        status=201,
        is_of_a_visitor=True,
        headers=((b"location", place.encode()),),
    )


def _list(call: Call) -> Content:
    return Content({"webhooks": [_told(webhook) for webhook in call.desk.webhooks.all()]})


def _show(call: Call) -> Content:
    return Content(_told(_found(call)))


def _change(call: Call) -> Content:
    _only(call.body, "state", "events")
    webhook, body = _found(call), call.body
    states = [str(each) for each in WebhookState]
    if "state" in body and body["state"] not in states:
        raise WrongQuestion("state", f"one of {', '.join(states)}")
    state = WebhookState(body["state"]) if "state" in body else None
    types = _types(body["events"]) if "events" in body else None
    call.desk.record(call.asker, "webhook-changed", webhook=webhook.id, **dict(body))
    changed = call.desk.webhooks.change(webhook.id, state=state, types=types)
    if changed is None:
        raise NothingThere
    return Content(_told(changed))


def _remove(call: Call) -> Content:
    webhook = _found(call)
    call.desk.record(call.asker, "webhook-removed", webhook=webhook.id)
    call.desk.webhooks.remove(webhook.id)
    return Content({"removed": webhook.id})


def _found(call: Call) -> Webhook:
    webhook = call.desk.webhooks.get(call.places["id"])
    if webhook is None:
        raise NothingThere
    return webhook


def _types(value: object) -> list[EventType]:
    if not isinstance(value, list) or not value or not all(each in _TYPES for each in value):
        raise WrongQuestion("events", f"some of {', '.join(_TYPES)}")
    return [EventType(each) for each in dict.fromkeys(value)]


def _only(body: Mapping[str, Any], *names: str) -> None:
    if not body.keys() <= set(names):
        raise WrongQuestion("body", f"it may have {', '.join(names)}, and nothing else")


def _told(webhook: Webhook) -> dict[str, Any]:
    return {
        "id": webhook.id,
        "url": webhook.url,
        "events": list(webhook.types),
        "state": str(webhook.state),
        "made": format_moment(webhook.made_ms),
        "delivered": webhook.delivered,
        "attempts": webhook.attempts,
        "problem": webhook.problem,
        "next": format_moment(webhook.next_ms) if webhook.attempts else None,
    }


_EVENTS: Final = {"type": "array", "minItems": 1, "maxItems": 50, "items": {"type": "string", "enum": _TYPES}}

_LABEL: Final = "[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?"
_URL: Final = rf"^https?://({_LABEL}\.){{1,5}}[a-z]{{2,20}}(:[1-9][0-9]{{0,3}})?(/[!$-;=@-\[\]-~]*)?$"

ENDPOINTS: Final = (
    Endpoint(
        method="GET",
        path="/stream",
        about="What happened after an event, and happens while you wait: lines of JSON.",
        action=Action.EVENTS,
        answer=_stream,
        parameters=(
            Parameter(
                "after",
                "The `number` of the last event that you have.",
                {"type": "integer", "minimum": 0, "maximum": 10**15 - 1, "default": 0},
            ),
            Parameter(
                "wait",
                "How many seconds it stays open for more.",
                {"type": "integer", "minimum": 0, "maximum": MAX_WAIT_SECONDS, "default": 0},
            ),
            Parameter("types", "Only these, with commas between.", list_schema(_TYPES)),
        ),
        media_types=("application/jsonl",),
    ),
    Endpoint(
        method="POST",
        path="/webhooks",
        about="Let events be sent to an address. The secret that they are signed with is shown this once.",
        action=Action.EVENTS,
        answer=_add,
        body={
            "type": "object",
            "additionalProperties": False,
            "required": ["url", "events"],
            "properties": {
                "url": {
                    "type": "string",
                    "maxLength": MAX_URL,
                    "pattern": _URL,
                    "description": "Where to: https, and a public host. http to the networks that the site allows.",
                },
                "events": _EVENTS,
            },
        },
        status=201,
    ),
    Endpoint(
        method="GET", path="/webhooks", about="Where events are sent.", action=Action.EVENTS, answer=_list
    ),
    Endpoint(
        method="GET",
        path="/webhooks/{id}",
        about="One of them, and how its last attempt went.",
        action=Action.EVENTS,
        answer=_show,
    ),
    Endpoint(
        method="PATCH",
        path="/webhooks/{id}",
        about="Enable or disable it, or let it be sent other events.",
        action=Action.EVENTS,
        answer=_change,
        body={
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "state": {"type": "string", "enum": [str(each) for each in WebhookState]},
                "events": _EVENTS,
            },
        },
    ),
    Endpoint(
        method="DELETE",
        path="/webhooks/{id}",
        about="Forget it, and its secret.",
        action=Action.EVENTS,
        answer=_remove,
    ),
)
