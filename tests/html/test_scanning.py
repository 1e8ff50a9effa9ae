"""The compiled inner loops find what their Python counterparts find."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from consent.html import scanning, tokenizer

_PIECES = [
    b"<",
    b"</",
    b"<base",
    b"<BaSe",
    b"</script",
    b"</SCRIPT",
    b">",
    b" ",
    b"/",
    b"\n",
    b"x",
    b"\x00",
    b"<scripts",
]


@given(st.lists(st.sampled_from(_PIECES)), st.sampled_from([b"base", b"/script", b"script"]))
def test_tags_are_found_alike(pieces: list[bytes], name: bytes) -> None:
    """From every position on, in any case, and only with the byte that ends the name."""
    page = b"".join(pieces)
    for position in range(len(page) + 1):
        found = tokenizer.tag_named(name).search(page, position)
        assert scanning.find_tag(page, position, name) == (found.start() if found else -1)
