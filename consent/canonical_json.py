"""The one spelling of a JSON value: canonical JSON (RFC 8785), written and read.

Strings, whole numbers, true, false, null, lists and dictionaries are what records are made of, and all that is
written: the one hard part of the standard, the spelling of fractions, is left out.
"""

from __future__ import annotations

import json
from typing import NoReturn

from consent.errors import InvalidReceiptError

_MAX_SAFE_INTEGER = 2**53 - 1

# Apart from the order of members and the form of fractions, of which we have none, Python's compact form is
# the canonical one: the same seven short escapes, lower-case \u00xx for other controls.
_CANONICAL = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def canonical_json(value: object) -> bytes:
    """Write a JSON value in canonical form (RFC 8785).

    Raises:
        InvalidReceiptError: the value holds something else, a number beyond 2**53 - 1, or a lone surrogate.
    """
    try:
        return _CANONICAL.encode(_ordered(value)).encode("utf-8")
    except UnicodeEncodeError:
        raise InvalidReceiptError("a lone surrogate cannot be written as UTF-8") from None


def _ordered(value: object) -> object:
    # Every choice passes here. Most values are text: those are told first, and mappings do not call for them.
    if isinstance(value, str) or value is None or value is True or value is False:
        return value
    if isinstance(value, dict):
        try:
            names = sorted(value)
            if not "".join(names).isascii():
                # RFC 8785, section 3.2.3: the order is that of UTF-16 code units, not of code points.
                names.sort(key=lambda name: name.encode("utf-16-be", "surrogatepass"))
        except TypeError:
            raise InvalidReceiptError("the names of JSON members are strings") from None
        items = [(name, value[name]) for name in names]
        return {name: item if type(item) is str else _ordered(item) for name, item in items}
    if isinstance(value, (list, tuple)):
        return [_ordered(item) for item in value]
    if isinstance(value, int):
        if abs(value) > _MAX_SAFE_INTEGER:
            raise InvalidReceiptError("a number beyond 2**53 - 1 does not survive every JSON reader")
        return value
    raise InvalidReceiptError(f"a {type(value).__name__} has no canonical form here")


def parse_canonical(data: bytes, *, max_bytes: int) -> object:
    """Read a JSON value in canonical form: no repeated member, no other spelling, nothing before or after it.

    Raises:
        InvalidReceiptError: it is too long, not JSON in UTF-8, or not in canonical form.
    """
    content = parse_json(data, max_bytes=max_bytes)
    if canonical_json(content) != data:
        raise InvalidReceiptError("the bytes are not in canonical form (RFC 8785)")
    return content


def parse_json(data: bytes, *, max_bytes: int) -> object:
    """Read a JSON value in any layout, without fractions and repeated members.

    Raises:
        InvalidReceiptError: it is too long, or not such JSON in UTF-8.
    """
    if len(data) > max_bytes:
        raise InvalidReceiptError(f"{len(data)} bytes are too long: at most {max_bytes}")
    try:
        content: object = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_unique_members,
            parse_float=_refuse_number,
            parse_constant=_refuse_number,
        )
    except InvalidReceiptError:
        raise
    except (ValueError, RecursionError) as error:
        raise InvalidReceiptError(f"not JSON in UTF-8: {error}") from None
    return content


def _unique_members(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise InvalidReceiptError("a member is repeated")
    return members


def _refuse_number(text: str) -> NoReturn:
    raise InvalidReceiptError(f"a number must be whole, not {text:.40}")
