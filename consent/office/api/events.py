"""What happens, as a stream."""

from __future__ import annotations

from typing import Final

from consent.office.api.endpoint import Call, Content, Endpoint, Problem
from consent.office.events import TooManyStreams
from consent.office.questions import Parameter, WrongQuestion, list_schema, names_of
from consent.office.roles import Action
from consent.office.webhook_changes import EVENT_TYPES

MAX_WAIT_SECONDS: Final = 300


def _stream(call: Call) -> Content:
    after = _number("after", call.given.get("after") or "0", 10**15 - 1)
    wait = _number("wait", call.given.get("wait") or "0", MAX_WAIT_SECONDS)
    types = call.given.get("types")
    try:
        lines = call.desk.events.follow(
            after, types=names_of("types", types, EVENT_TYPES) if types else (), wait_seconds=wait
        )
    except TooManyStreams as error:
        raise Problem(429, "too-many-streams", str(error), (b"retry-after", b"10")) from None
    return Content(lines, "application/jsonl", is_of_a_visitor=True)


def _number(name: str, text: str, most: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 15 and int(text) <= most):
        raise WrongQuestion(name, f"0 to {most}")
    return int(text)


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
            Parameter("types", "Only these, with commas between.", list_schema(EVENT_TYPES)),
        ),
        media_types=("application/jsonl",),
    ),
)
