"""What a request asks for: its parameters, within bounds, as a question to the log, and what each of them means."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final
from urllib.parse import parse_qsl

from consent.choice_kind import ChoiceKind
from consent.errors import InvalidReceiptError
from consent.moments import midnight_ms, parse_moment
from consent.office.asker import Asker
from consent.office.deprecation import Deprecated
from consent.receipt_search import Position, Sought
from consent.receipts import CollectionMethod, Outcome

MAX_QUERY: Final = 8 * 1024
"""How many bytes a query has at most."""
MAX_LIMIT: Final = 500
DEFAULT_LIMIT: Final = 50
MAX_DAYS: Final = 1_100
"""How many days counts are of, at most."""

_YES_NO: Final = {"true": True, "false": False}
# JSON's escapes can write halves of characters, which nothing can store.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_CURSOR = re.compile(r"(-?[0-9]{1,15})\.([0-9]{1,16})")


class WrongQuestion(Exception):
    """A parameter is unknown, or has no such value; the message says which, and what it could be."""

    def __init__(self, parameter: str, message: str) -> None:
        super().__init__(f"{parameter}: {message}")
        self.parameter = parameter


@dataclass(frozen=True, slots=True)
class Parameter:
    """One that may be in a query."""

    name: str
    about: str
    schema: Mapping[str, Any]
    deprecated: Deprecated | None = None


TEXT_SCHEMA: Final[Mapping[str, Any]] = {
    "type": "string",
    "maxLength": 500,
    "pattern": "^[^\\u0000-\\u001f\\u007f-\\u009f]*$",
}
"""Text as receipts have it."""


def _text(name: str, about: str) -> Parameter:
    return Parameter(name, about, TEXT_SCHEMA)


def list_schema(names: Sequence[str], **more: object) -> Mapping[str, Any]:
    """Return the schema of some of these names, with commas between."""
    some = f"({'|'.join(names)})".replace(".", r"\.")
    return {"type": "string", "pattern": f"^({some}(,{some})*)?$", **more}


def _yes_no(name: str, about: str) -> Parameter:
    return Parameter(name, about, {"type": "boolean"})


_DAY_SCHEMA: Final = {"type": "string", "format": "date"}
FIRST_DAY: Final = Parameter("from", "The first day, UTC.", _DAY_SCHEMA)
LAST_DAY: Final = Parameter("to", "The last day, UTC, included.", _DAY_SCHEMA)
LIMIT: Final = Parameter(
    "limit",
    "How many at most.",
    {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT},
)
CURSOR: Final = Parameter(
    "cursor",
    "Where the page begins: `next` of the one before.",
    {"type": "string", "pattern": "^(-?[0-9]{1,15}\\.[0-9]{1,16})?$"},
)
STANDING: Final = _yes_no(
    "standing", "Only what no later choice of the same visitor, until `to`, has replaced."
)
FILTERS: Final = (
    FIRST_DAY,
    LAST_DAY,
    _text("site", "The site, as its receipts name it."),
    _text("regime", "What silence meant: `opt-in`, `opt-out` or `notice`."),
    _text("jurisdiction", "Where visitors were taken to be."),
    _text("language", "The language of the text shown."),
    _text("policy_version", "The version of the policy."),
    _text("policy_hash", "SHA-256 of the policy's terms."),
    _text("vendor_list_hash", "SHA-256 of the vendor list."),
    _text("shown_hash", "SHA-256 of the text shown."),
    Parameter("outcome", "What the choice was.", {"type": "string", "enum": [str(each) for each in Outcome]}),
    Parameter(
        "collection_method",
        "How it was made.",
        {"type": "string", "enum": [str(each) for each in CollectionMethod]},
    ),
    _yes_no("bot", "Whether a program drove the browser, or there was none."),
    _yes_no("gpc", "Whether Global Privacy Control was on."),
    _yes_no("dnt", "What Do Not Track said."),
    _yes_no("performance", "The answer for this category."),
    _yes_no("functional", "The answer for this category."),
    _yes_no("targeting", "The answer for this category."),
    _yes_no("grants", "Whether any optional category was said yes to."),
    _text("vendor", "Only choices with an answer for this vendor that differs from its category's."),
    _yes_no("said", "That answer."),
)
"""What receipts can be asked by. None of it is about one visitor: that is asked in a body, with a reason."""


def read_query(scope: Mapping[str, Any], allowed: Sequence[Parameter]) -> dict[str, str]:
    """Return the parameters of a request.

    Raises:
        WrongQuestion: one is unknown, given twice, or the query is too long.
    """
    raw = scope.get("query_string", b"")
    if len(raw) > MAX_QUERY:
        raise WrongQuestion("query", f"at most {MAX_QUERY} bytes")
    try:
        pairs = parse_qsl(raw.decode("ascii"), keep_blank_values=True, max_num_fields=60, errors="strict")
    except ValueError:
        raise WrongQuestion("query", "it cannot be read") from None
    names = {parameter.name for parameter in allowed}
    given: dict[str, str] = {}
    for name, value in pairs:
        if name not in names:
            raise WrongQuestion(
                name[:40], f"there is no such parameter; there are {', '.join(sorted(names)) or 'none'}"
            )
        if name in given:
            raise WrongQuestion(name, "given twice")
        given[name] = text_of(name, value)
    return given


def text_of(name: str, value: object) -> str:
    """Read text out of a query or a body.

    Raises:
        WrongQuestion: it is none, too long, or has characters that no receipt has.
    """
    if not isinstance(value, str) or len(value) > MAX_QUERY:
        raise WrongQuestion(name, "text")
    if _CONTROL.search(value):
        # No receipt has them, PostgreSQL knows no NUL, and what is asked is written into the log of accesses.
        raise WrongQuestion(name, "no control characters")
    return value


def sought_by(given: Mapping[str, str], asker: Asker) -> Sought:
    """Return what is asked for, of the sites that the token is for.

    Raises:
        WrongQuestion: a value is none.
    """
    asked: dict[str, Any] = {}
    for parameter in FILTERS:
        value = given.get(parameter.name, "")
        if not value or parameter in (FIRST_DAY, LAST_DAY):
            continue
        if parameter.schema["type"] == "boolean":
            asked[parameter.name] = yes_no(parameter.name, value)
        elif "enum" in parameter.schema and value not in parameter.schema["enum"]:
            raise WrongQuestion(parameter.name, f"one of {', '.join(parameter.schema['enum'])}")
        else:
            asked[parameter.name] = value
    if "said" in asked and "vendor" not in asked:
        raise WrongQuestion("said", "it is the answer for a vendor: say which")
    if given.get("from"):
        asked["since_ms"] = midnight_ms(day_of("from", given["from"]))
    if given.get("to"):
        asked["until_ms"] = midnight_ms(day_of("to", given["to"])) + 86_400_000
    if given.get("standing"):
        asked["standing"] = yes_no("standing", given["standing"])
    return of_sites(Sought(**asked), asker)


def of_sites(sought: Sought, asker: Asker) -> Sought:
    """Return the same question, of the token's sites only."""
    return replace(sought, sites=frozenset(asker.sites)) if asker.sites else sought


def yes_no(name: str, value: str) -> bool:
    """Read a yes or no."""
    if value not in _YES_NO:
        raise WrongQuestion(name, "true or false")
    return _YES_NO[value]


def whole_number(name: str, value: object, first: int, last: int) -> int:
    """Read a number out of a body. JSON has one kind of them: 24.0 is a whole one, too."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value not in range(first, last + 1):
        raise WrongQuestion(name, f"a whole number, {first} to {last}")
    return int(value)


def one_of(name: str, value: str, known: Sequence[str]) -> str:
    """Read one of some words."""
    if value not in known:
        raise WrongQuestion(name, f"one of {', '.join(known)}")
    return value


def day_of(name: str, value: str) -> date:
    """Read a day."""
    try:
        if len(value) != 10:
            raise ValueError
        return date.fromisoformat(value)
    except ValueError:
        raise WrongQuestion(name, "a day, such as 2026-03-01") from None


def days_of(given: Mapping[str, str], now: float, *, default: int = 30) -> tuple[str, str]:
    """Return the first and the last day that are asked for; by default the last 30.

    Raises:
        WrongQuestion: they are none, or too many.
    """
    today = datetime.fromtimestamp(now, UTC).date()
    last = day_of("to", given["to"]) if given.get("to") else today
    # Of the first days that there are, fewer are before it.
    earlier = date.fromordinal(max(1, last.toordinal() - default + 1))
    first = day_of("from", given["from"]) if given.get("from") else earlier
    if not 0 <= (last - first).days < MAX_DAYS:
        raise WrongQuestion("from", f"up to {MAX_DAYS} days before the last one")
    return first.isoformat(), last.isoformat()


def limit_of(given: Mapping[str, str]) -> int:
    """Return how many are asked for."""
    text = given.get("limit") or str(DEFAULT_LIMIT)
    if not (text.isascii() and text.isdigit() and len(text) <= 4 and 1 <= int(text) <= MAX_LIMIT):
        raise WrongQuestion("limit", f"1 to {MAX_LIMIT}")
    return int(text)


def position_of(given: Mapping[str, str]) -> Position | None:
    """Return where a page begins."""
    text = given.get("cursor")
    if not text:
        return None
    found = _CURSOR.fullmatch(text)
    if found is None:
        raise WrongQuestion("cursor", "what `next` of the page before said")
    return Position(int(found[1]), int(found[2]))


def cursor_of(position: Position | None) -> str | None:
    """Write where the next page begins."""
    return None if position is None else f"{position.time_ms}.{position.leaf}"


def names_of(name: str, value: str, known: Sequence[str]) -> list[str]:
    """Read a list of names."""
    names = list(dict.fromkeys(value.split(",")))
    if unknown := [each for each in names if each not in known]:
        raise WrongQuestion(name, f"{unknown[0][:40]!r} is none of {', '.join(known)}")
    return names


def moment_of(name: str, value: object) -> int:
    """Read a moment, or a day, which is its end."""
    if not isinstance(value, str):
        raise WrongQuestion(name, "a day or a moment")
    try:
        return parse_moment(value)
    except InvalidReceiptError:
        pass
    if "T" not in value.upper():
        return midnight_ms(day_of(name, value)) + 86_400_000
    try:
        # As others write moments: with another offset, or other decimals.
        moment = datetime.fromisoformat(value.upper())
        if moment.tzinfo is None or len(value) > 40:
            raise ValueError
        return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    except (ValueError, OverflowError):
        raise WrongQuestion(name, "a day, or a moment such as 2026-03-01T12:00:00Z") from None


GROUPS: Final = ("day", *ChoiceKind._fields)
"""What choices can be counted by."""
