"""Where events are sent: the list, and how each does. They are made where a secret can be shown once."""

from __future__ import annotations

from typing import Final

from consent.answers import Answer
from consent.office.pages.page import SECURE, Failed, Pages, Visit
from consent.office.roles import Action
from consent.office.webhooks import WebhookState


def _webhooks(visit: Visit) -> Answer:
    visit.desk.require(visit.asker, Action.EVENTS)
    visit.query()
    return visit.render("webhooks.html", webhooks=visit.desk.webhooks.all(), active=WebhookState.ACTIVE)


def _change(visit: Visit) -> Answer:
    visit.desk.require(visit.asker, Action.EVENTS)
    webhook = visit.desk.webhooks.get(visit.places["id"])
    state = visit.form.get("state", "")
    if webhook is None or state not in list(WebhookState):
        raise Failed(404, "There is no such webhook", "It was removed meanwhile.")
    visit.desk.record(visit.asker, "webhook-changed", webhook=webhook.id, state=state)
    visit.desk.webhooks.change(webhook.id, state=WebhookState(state))
    return Answer(303, ((b"location", b"../webhooks"), *SECURE))


PAGES: Final[Pages] = {
    ("GET", "/webhooks"): _webhooks,
    ("POST", "/webhooks/{id}"): _change,
}
