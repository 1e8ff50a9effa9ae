"""Where events are sent: the list, how each does, and all that can be changed about it. A secret is shown once."""

from __future__ import annotations

from functools import partial
from typing import Final, TypeVar

from consent.answers import Answer
from consent.office.events import EventType
from consent.office.outgoing import MAX_URL, WrongAddress
from consent.office.pages.page import Failed, Pages, Visit
from consent.office.roles import Action
from consent.office.webhook_changes import EVENT_TYPES, WebhookChanges
from consent.office.webhooks import (
    KEEP_HOURS,
    MAX_KEEP_HOURS,
    MAX_WEBHOOKS,
    TooManyWebhooks,
    Webhook,
    WebhookState,
)

_T = TypeVar("_T")
_KEPT: Final = {
    KEEP_HOURS: "for a day",
    MAX_KEEP_HOURS: "for a week",
    0: "no more",
}
"""How long a former secret may sign, and what the page calls that."""


def _webhooks(visit: Visit) -> Answer:
    visit.desk.require(visit.asker, Action.EVENTS)
    visit.query()
    return _list(visit)


def _add(visit: Visit) -> Answer:
    changes = _changes(visit)
    url = visit.form.get("url", "").strip()
    types = [each for each in EventType if visit.form.get(f"event-{each}")]
    if not types:
        return _list(visit, "Choose some events.")
    if any(each.url == url for each in visit.desk.webhooks.all()):
        # What a browser sends again when its page is loaded again. Its secret is not shown a second time.
        return _list(visit, "Events are sent to this address already. Remove that one first, or change it.")
    try:
        return _shown(visit, *changes.add(url, types))
    except WrongAddress as error:
        return _list(visit, f"That address cannot be used: {error}.")
    except TooManyWebhooks as error:
        raise Failed(409, "There are too many", f"{error}.") from None


def _rotate(visit: Visit) -> Answer:
    changes, webhook_id = _changes(visit), visit.places["id"]
    hours = visit.form.get("keep", "")
    if hours not in map(str, _KEPT):
        raise Failed(400, "How long does the former secret count?", "Go back, and choose.")
    with visit.desk.accesses.together():
        if visit.form.get("secret", "") != _there(visit.desk.webhooks.get(webhook_id)).secret_tag:
            # The same form, sent again: the secret that was shown, and the one that receivers have, would end early.
            raise Failed(
                409,
                "That was done already",
                "It has another secret since this page was shown. Open the list, and begin again if that one is lost.",
            )
        made = _there(changes.rotate(webhook_id, keep_hours=int(hours)))
    return _shown(visit, *made)


def _change(visit: Visit) -> Answer:
    changes, state = _changes(visit), visit.form.get("state", "")
    if state not in list(WebhookState):
        raise _gone()
    _there(changes.change(visit.places["id"], state=WebhookState(state)))
    return visit.moved("/webhooks")


def _remove(visit: Visit) -> Answer:
    if not _changes(visit).remove(visit.places["id"]):
        raise _gone()
    return visit.moved("/webhooks")


def _list(visit: Visit, problem: str = "") -> Answer:
    return visit.render(
        "webhooks.html", status=400 if problem else 200, problem=problem, given=visit.form, types=EVENT_TYPES,
        webhooks=visit.desk.webhooks.all(), active=WebhookState.ACTIVE, kept=_KEPT, most=MAX_WEBHOOKS, longest=MAX_URL,
        now=int(visit.desk.clock() * 1_000),
    )  # fmt: skip


def _shown(visit: Visit, webhook: Webhook, secret: str) -> Answer:
    return visit.render("webhook_secret.html", webhook=webhook, secret=secret)


def _changes(visit: Visit) -> WebhookChanges:
    visit.desk.require(visit.asker, Action.EVENTS)
    return WebhookChanges(visit.desk.webhooks, visit.desk.accesses, partial(visit.desk.record, visit.asker))


def _there(found: _T | None) -> _T:
    if found is None:
        raise _gone()
    return found


def _gone() -> Failed:
    return Failed(404, "There is no such webhook", "It was removed meanwhile.")


PAGES: Final[Pages] = {
    ("GET", "/webhooks"): _webhooks,
    ("POST", "/webhooks"): _add,
    ("POST", "/webhooks/{id}"): _change,
    ("POST", "/webhooks/{id}/secret"): _rotate,
    ("POST", "/webhooks/{id}/removal"): _remove,
}
