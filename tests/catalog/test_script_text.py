"""The two readings of a script's strings and comments agree."""

from __future__ import annotations

import os

from hypothesis import given, settings
from hypothesis import strategies as st

from consent.catalog import script_text
from consent.catalog.script_text import ScriptText

_EXAMPLES = os.environ.get("CONSENT_EXAMPLES", "")
_PIECES = [
    *(
        '"',
        "'",
        "`",
        "/",
        "//",
        "/*",
        "*/",
        "<!--",
        "-->",
        "<",
        "{",
        "}",
        "${",
        "$",
        "\\",
        "\n",
        "\r\n",
        "\r",
    ),
    *(
        "\u2028",
        "\u00a0",
        "\ufeff",
        " ",
        "(",
        ")",
        "[",
        "]",
        "=",
        ";",
        "a",
        "9",
        ".",
        "_",
        "return",
        "typeof",
        "in",
    ),
    *("xreturn", "é", "éreturn", "\U0001f600", "\udc80", "\x00", "new", "g"),
]


@settings(max_examples=int(_EXAMPLES or "1000"), derandomize=not _EXAMPLES, deadline=None)
@given(st.lists(st.sampled_from(_PIECES), max_size=25).map("".join))
def test_both_readings_agree(code: str) -> None:
    """At every place of every script, readable or not."""
    starts, ends = script_text._Scan(code).literals()
    text = ScriptText(code)
    for position in range(len(code)):
        inside = any(start <= position < end for start, end in zip(starts, ends, strict=True))
        assert text.is_code(position) is not inside
