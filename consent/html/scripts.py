"""Which elements run scripts, what for, and when."""

from __future__ import annotations

import re
from enum import Enum, auto
from typing import Final

from consent.html.attribute_values import keyword
from consent.html.elements import JAVASCRIPT_TYPES, NAMING, RUNNING, URL_TABLE_TYPES
from consent.html.tokenizer import Tag

# As browsers read an address: without what is blank before it, nor tabs and line ends in it (URL Standard, 4.4).
_JAVASCRIPT: Final = re.compile(rb"[\x00-\x20]*+" + rb"[\t\n\r]*+".join(bytes((c,)) for c in b"javascript:"))
_AROUND: Final = re.compile(rb"\A[^a-z0-9]+|[^a-z0-9]+\Z")
_TELLS_TYPE: Final = frozenset((b"content-type", b"x-ua-compatible", b"content-language"))


class ScriptKind(Enum):
    """What a ``script`` element is for."""

    CODE = auto()
    URLS = auto()
    """One of :data:`URL_TABLE_TYPES`."""
    DATA = auto()


def script_kind(tag: Tag) -> ScriptKind:
    """Return what a script element is for (HTML Standard, 4.12.1.1)."""
    kind: bytes | None = None
    language = b""
    for name, value, *_ in reversed(tag.attributes):
        if name == b"type":
            kind = value
        elif name == b"language":
            language = value
    if not (language if kind is None else kind):
        return ScriptKind.CODE
    # Browsers differ in what is blank around a type: all that no type begins or ends with.
    kind = b"text/" + keyword(language) if kind is None else _AROUND.sub(b"", keyword(kind))
    if kind in JAVASCRIPT_TYPES:
        return ScriptKind.CODE
    return ScriptKind.URLS if kind in URL_TABLE_TYPES else ScriptKind.DATA


def could_run(tag: Tag) -> bool:
    """Tell whether scripts may run as soon as the tag is read, or before a script can stand behind it again.

    Not those are meant that wait until all of the page is read (HTML Standard, 4.12.1). What rules over scripts, or
    over where they come from, counts as well: what is to come before them comes before that.
    """
    if tag.name in RUNNING or (tag.name == b"script" and not _runs_later(tag)):
        return True
    for name, value, *_ in tag.attributes:
        if name.startswith(b"on"):
            return True
        if name == b"name" and tag.name in NAMING:
            return True
        if name == b"http-equiv" and tag.name == b"meta" and value and keyword(value) not in _TELLS_TYPE:
            return True
        # A visitor may be faster than the rest of the page.
        if _JAVASCRIPT.match(keyword(value)):
            return True
    return False


def _runs_later(script: Tag) -> bool:
    if script_kind(script) is not ScriptKind.CODE:
        return True
    values = script.values()
    if b"async" in values:
        return False
    if keyword(values.get(b"type", b"")).strip(b"\t\n\f\r ") == b"module":
        return True
    # What has modules does not run what is for others.
    return b"nomodule" in values or (b"defer" in values and b"src" in values)


def is_inline(tag: Tag, *, foreign: bool = False) -> bool:
    """Tell whether what a script does is in its content."""
    kind = script_kind(tag)
    names = source_attributes(foreign)
    return kind is ScriptKind.URLS or (
        kind is ScriptKind.CODE and not any(attribute.name in names for attribute in tag.attributes)
    )


def source_attributes(foreign: bool) -> tuple[bytes, ...]:
    """Return what may name the address of a script: of one of SVG where it is foreign."""
    return (b"href", b"xlink:href") if foreign else (b"src",)
