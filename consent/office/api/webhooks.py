"""Where events are sent."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from consent.moments import format_if_any, format_moment
from consent.office.api.endpoint import Call, Content, Endpoint, NothingThere, Problem
from consent.office.events import EventType
from consent.office.outgoing import MAX_URL, WrongAddress
from consent.office.questions import WrongQuestion, whole_number
from consent.office.roles import Action
from consent.office.webhook_changes import EVENT_TYPES, WebhookChanges
from consent.office.webhooks import KEEP_HOURS, MAX_KEEP_HOURS, TooManyWebhooks, Webhook, WebhookState


def _add(call: Call) -> Content:
    _only(call.body, "url", "events")
    url, types = call.body.get("url"), _types(call.body.get("events"))
    if not isinstance(url, str):
        raise WrongQuestion("url", "an address, as a string")
    try:
        webhook, secret = _changes(call).add(url, types)
    except WrongAddress as error:
        raise WrongQuestion("url", str(error)) from None
    except TooManyWebhooks as error:
        raise Problem(409, "too-many-webhooks", str(error)) from None
    place = f"{call.home}/webhooks/{webhook.id}"
    return Content(
        {**_told(webhook), "secret": secret},
        status=201,
        is_of_a_visitor=True,
        headers=((b"location", place.encode()),),
    )


def _rotate(call: Call) -> Content:
    _only(call.body, "keep_hours")
    hours = whole_number("keep_hours", call.body.get("keep_hours", KEEP_HOURS), 0, MAX_KEEP_HOURS)
    made = _changes(call).rotate(call.places["id"], keep_hours=hours)
    if made is None:
        raise NothingThere
    webhook, secret = made
    return Content({**_told(webhook), "secret": secret}, is_of_a_visitor=True)


def _list(call: Call) -> Content:
    return Content({"webhooks": [_told(webhook) for webhook in call.desk.webhooks.all()]})


def _show(call: Call) -> Content:
    webhook = call.desk.webhooks.get(call.places["id"])
    if webhook is None:
        raise NothingThere
    return Content(_told(webhook))


def _change(call: Call) -> Content:
    _only(call.body, "state", "events")
    body = call.body
    states = [str(each) for each in WebhookState]
    if "state" in body and body["state"] not in states:
        raise WrongQuestion("state", f"one of {', '.join(states)}")
    state = WebhookState(body["state"]) if "state" in body else None
    types = _types(body["events"]) if "events" in body else None
    changed = _changes(call).change(call.places["id"], state=state, types=types)
    if changed is None:
        raise NothingThere
    return Content(_told(changed))


def _remove(call: Call) -> Content:
    if not _changes(call).remove(call.places["id"]):
        raise NothingThere
    return Content({"removed": call.places["id"]})


def _changes(call: Call) -> WebhookChanges:
    return WebhookChanges(call.desk.webhooks, call.desk.accesses, partial(call.desk.record, call.asker))


def _types(value: object) -> list[EventType]:
    if not isinstance(value, list) or not value or not all(each in EVENT_TYPES for each in value):
        raise WrongQuestion("events", f"some of {', '.join(EVENT_TYPES)}")
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
        "former_secret_until": format_if_any(webhook.former_until_ms),
    }


_EVENTS: Final = {
    "type": "array",
    "minItems": 1,
    "maxItems": 50,
    "items": {"type": "string", "enum": EVENT_TYPES},
}

_LABEL: Final = "[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?"
_URL: Final = rf"^https?://({_LABEL}\.){{1,5}}[a-z]{{2,20}}(:[1-9][0-9]{{0,3}})?(/[!$-;=@-\[\]-~]*)?$"

ENDPOINTS: Final = (
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
        method="POST",
        path="/webhooks/{id}/secret",
        about="Give it a new secret, which is shown this once. The former one signs, too, for some hours.",
        action=Action.EVENTS,
        answer=_rotate,
        body={
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "keep_hours": {
                    "type": "integer",
                    "minimum": 0,
                    "maximum": MAX_KEEP_HOURS,
                    "default": KEEP_HOURS,
                    "description": "How long the former secret signs, too; 0: it is known to others.",
                }
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
