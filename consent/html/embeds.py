"""What visitors see of an embed: whether it shows at all, and what gives it its place and size."""

from __future__ import annotations

import re

from consent.html.attribute_values import decoded
from consent.html.tokenizer import Tag

EMBEDS = frozenset((b"iframe", b"embed"))
"""Elements that show a document of somebody else, and are complete with their end tag."""

_LENGTH = re.compile(r"[\t\n\f\r ]*+\+?([0-9]{1,5})(?:\.[0-9]*+)?(%?)")
_HIDING = re.compile(
    r"(?:^|;)(?:display:none|visibility:(?:hidden|collapse)|opacity:0[.0]*(?=;|!|$)"
    r"|(?:left|top|right|bottom|text-indent):-[0-9]{3,}|(?:max-)?(?:width|height):[01](?:\.[0-9]+)?(?:px)?(?=;|!|$))"
)
_SPACE = re.compile(r"[\t\n\f\r ]+|/\*.*?\*/")
_LAYOUT = re.compile(
    r"(?:(?:min|max)-)?(?:width|height)|aspect-ratio|position|inset|top|right|bottom|left|float|order|flex"
    r"|margin(?:-(?:top|right|bottom|left))?|grid-(?:area|column|row)|(?:align|justify)-self"
)
_LAYOUT_VALUE = re.compile(r"[a-z0-9.%/ -]{1,60}")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_:.-]{0,99}")
_CLASS = re.compile(r"(?!consent-)[A-Za-z0-9_:./\[\]%-]{1,100}")
_MAX_CLASSES = 20
_MAX_STYLE = 1000
_ADDRESS = re.compile(r"(?:https?:)?//[!-~]{1,2000}")


def is_seen(tag: Tag) -> bool:
    """Tell whether an embed is one to be looked at, and no tracker's frame of a pixel or less."""
    values = tag.values()
    if b"hidden" in values:
        return False
    for name in (b"width", b"height"):
        length = _length(values.get(name, b""))
        if length is not None and not length[1] and length[0] <= 1:
            return False
    return _HIDING.search(_SPACE.sub("", _style(values)).lower()) is None


def size(tag: Tag) -> tuple[str, str]:
    """Return an embed's width and height as its attributes give them: ``"560"``, ``"100%"``; ``""``: they do not.

    What its style says of them goes first: then they are ``""`` too.
    """
    values = tag.values()
    styled = {name for name, _ in _declarations(values)}
    found = []
    for name in (b"width", b"height"):
        length = None if name.decode() in styled else _length(values.get(name, b""))
        found.append("" if length is None else f"{length[0]}{length[1]}")
    return found[0], found[1]


def layout(tag: Tag) -> dict[str, str]:
    """Return those attributes of an embed that its place in the page may depend on, without anything else.

    They are its ``id``, its classes, and what of its style is about place and size; none that is empty.
    """
    values = tag.values()
    name = decoded(values.get(b"id", b""))
    classes = [c for c in decoded(values.get(b"class", b"")).split() if _CLASS.fullmatch(c)]
    kept = {
        "id": name if _NAME.fullmatch(name) and not name.startswith("consent-") else "",
        "class": " ".join(classes[:_MAX_CLASSES]),
        "style": ";".join(f"{name}:{value}" for name, value in _declarations(values)),
    }
    return {key: value for key, value in kept.items() if value}


def address(tag: Tag) -> str:
    """Return where an embed's own page is; empty where that is no address that could be followed."""
    url = decoded(tag.values().get(b"src", b"")).strip("\t\n\f\r ")
    return url if _ADDRESS.fullmatch(url) else ""


def _style(values: dict[bytes, bytes]) -> str:
    return decoded(values.get(b"style", b"")[:_MAX_STYLE])


def _declarations(values: dict[bytes, bytes]) -> list[tuple[str, str]]:
    found = []
    for declaration in _style(values).split(";"):
        name, _, value = declaration.partition(":")
        name, value = name.strip().lower(), value.strip().lower()
        if _LAYOUT.fullmatch(name) and _LAYOUT_VALUE.fullmatch(value):
            found.append((name, value))
    return found


def _length(raw: bytes) -> tuple[int, str] | None:
    """Read a dimension attribute (HTML Standard, 2.3.4.4)."""
    match = _LENGTH.match(decoded(raw))
    return (int(match[1]), match[2]) if match else None
