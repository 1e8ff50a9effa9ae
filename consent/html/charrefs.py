"""Character references in attribute values (HTML Standard, section 13.2.5.72 and following)."""

from __future__ import annotations

import re
from html.entities import html5 as NAMED

_REFERENCE = re.compile(r"&(?:#([0-9]+)|#[xX]([0-9a-fA-F]+)|([A-Za-z][A-Za-z0-9]*));?")
_WINDOWS_1252 = {code: bytes([code]).decode("cp1252", "ignore") or chr(code) for code in range(0x80, 0xA0)}
_LONGEST_NAME = max(map(len, NAMED))


def _numeric(code: int) -> str:
    if code == 0 or code > 0x10FFFF or 0xD800 <= code <= 0xDFFF:
        return "�"
    return _WINDOWS_1252.get(code) or chr(code)


def decode_attribute(value: str) -> str:
    """Return ``value`` with its character references decoded by the rules for attribute values.

    A named reference without its semicolon is left alone where ``=`` or an alphanumeric follows it, so that
    ``?a=1&copy=2`` stays what it is.
    """
    references = value.count("&")
    if references == value.count("&amp;"):  # by far the most frequent, and in most values the only one
        return value.replace("&amp;", "&") if references else value

    def replace(match: re.Match[str]) -> str:
        text = match[0]
        decimal, hexadecimal, name = match.groups()
        if decimal is not None:
            # More than 8 digits are past the last code point; int() would take its time over a million.
            return _numeric(int(decimal.lstrip("0")[:8] or "0"))
        if hexadecimal is not None:
            return _numeric(int(hexadecimal.lstrip("0")[:8] or "0", 16))
        if text.endswith(";") and (found := NAMED.get(f"{name};")):
            return found
        # The longest known prefix counts, but in an attribute only where nothing word-like follows it.
        for length in range(min(len(name), _LONGEST_NAME), 1, -1):
            if found := NAMED.get(name[:length]):
                rest = text[1 + length :]
                follower = rest[:1] or value[match.end() : match.end() + 1]
                if follower == "=" or (follower.isascii() and follower.isalnum()):
                    return text
                return found + rest
        return text

    return _REFERENCE.sub(replace, value)
