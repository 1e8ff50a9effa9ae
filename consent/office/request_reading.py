"""Requests as people write them down, and ask for them: each member checked, from a form as from JSON."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from consent.choice import SUBJECT
from consent.moments import midnight_ms
from consent.office.questions import TEXT_SCHEMA, Parameter, WrongQuestion, day_of, one_of, yes_no
from consent.office.request_rows import Wanted
from consent.subject_request import (
    MAX_CONTACT,
    MAX_DETAILS,
    MAX_NAME,
    NewRequest,
    RequestKind,
    RequestState,
    StepRefused,
    Way,
)

REQUEST_FILTERS: Final = (
    Parameter("kind", "What is asked for.", {"type": "string", "enum": [str(kind) for kind in RequestKind]}),
    Parameter("state", "How far it has come.", {"type": "string", "enum": [str(s) for s in RequestState]}),
    Parameter("way", "How it arrived.", {"type": "string", "enum": [str(way) for way in Way]}),
    Parameter("site", "The site, as its receipts name it.", TEXT_SCHEMA),
    Parameter("open", "Only what is not closed.", {"type": "boolean"}),
    Parameter("overdue", "Only what should have been done by now.", {"type": "boolean"}),
)
"""What requests can be asked by."""
OLDEST_DAYS: Final = 400
"""How long ago a request can have arrived that is registered now."""
_LENGTHS: Final[Mapping[str, int]] = {
    "site": 200,
    "jurisdiction": 20,
    "language": 20,
    "name": MAX_NAME,
    "contact": MAX_CONTACT,
    "details": MAX_DETAILS,
    "agent": MAX_NAME,
}
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_CODE: Final = re.compile(r"([A-Z]{2}(-[A-Z0-9]{1,3})?)?")


def new_request(given: Mapping[str, str]) -> NewRequest:
    """Return the request that some members describe.

    Raises:
        WrongQuestion: one is missing, too long, or none of those that it can be.
    """
    texts = {name: given.get(name, "").replace("\r\n", "\n").strip() for name in _LENGTHS}
    for name, text in texts.items():
        if len(text) > _LENGTHS[name]:
            raise WrongQuestion(name, f"at most {_LENGTHS[name]} characters")
        lines = text.replace("\n", "").replace("\t", "") if name == "details" else text
        if _CONTROL.search(lines):
            raise WrongQuestion(name, "no control characters")
    if not texts["site"]:
        raise WrongQuestion("site", "the site, as its receipts name it")
    texts["jurisdiction"] = texts["jurisdiction"].upper()
    if _CODE.fullmatch(texts["jurisdiction"]) is None:
        raise WrongQuestion(
            "jurisdiction", "a code of ISO 3166, such as DE or US-CA; empty, where it is not known"
        )
    subject = given.get("subject", "").strip().lower()
    if subject and SUBJECT.fullmatch(subject) is None:
        raise WrongQuestion("subject", "a pseudonym of 32 hexadecimal digits")
    return NewRequest(
        kind=RequestKind(one_of("kind", given.get("kind", ""), [str(kind) for kind in RequestKind])),
        way=Way(one_of("way", given.get("way", ""), [str(way) for way in Way if way is not Way.FORM])),
        subject=subject,
        **texts,
    )


def wanted_by(given: Mapping[str, str], today: str) -> Wanted:
    """Return what requests are asked for by some parameters.

    Raises:
        WrongQuestion: a value is none.
    """
    for parameter in REQUEST_FILTERS:
        value = given.get(parameter.name, "")
        if value and "enum" in parameter.schema:
            one_of(parameter.name, value, parameter.schema["enum"])
    switched = {name: yes_no(name, given[name]) for name in ("open", "overdue") if given.get(name)}
    return Wanted(
        site=given.get("site", ""),
        kind=given.get("kind", ""),
        state=given.get("state", ""),
        way=given.get("way", ""),
        open_only=switched.get("open", False),
        overdue_on=today if switched.get("overdue") else "",
    )


def received_of(text: str, now: float) -> int | None:
    """Return when a request arrived, in milliseconds since 1970, by its day; ``None``: none is given, so it is now.

    Raises:
        WrongQuestion: it is no day.
        StepRefused: it is not over yet, or very long ago.
    """
    if not text:
        return None
    day = day_of("received", text)
    since = (datetime.fromtimestamp(now, UTC).date() - day).days
    if not 0 <= since <= OLDEST_DAYS:
        raise StepRefused(f"received: today or a day before, {OLDEST_DAYS} days at most")
    return midnight_ms(day)
