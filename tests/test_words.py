"""The two readings of `consent.words` agree, and find whole words only."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consent.words import PythonWordFinder, word_finder

WORDS = (b"fbq", b"gtag", b"_paq", b"$zopim", b"a", b"x" * 255)


def test_only_whole_words_are_found() -> None:
    """A word inside a longer one does not count; punctuation and the ends of the text end a word."""
    for text, found in (
        (b"window.fbq=_paq[0]", {b"fbq", b"_paq"}),
        (b"fbq", {b"fbq"}),
        (b"xfbq fbq_ $fbq fbq1 1fbq", set()),
        (b"a\xc3\xa9gtag\x00", {b"a", b"gtag"}),
        (b"", set()),
    ):
        assert word_finder(WORDS).find(text) == found
        assert PythonWordFinder(WORDS).find(text) == found


@given(st.lists(st.sampled_from([*WORDS, b"other", b".", b"(", b" ", b"\xc3\xa9", b"9", b"_", b"\x00"])))
def test_both_readings_agree(pieces: list[bytes]) -> None:
    """Whatever the text, the compiled reading finds what the Python one finds."""
    text = b"".join(pieces)
    assert word_finder(WORDS).find(text) == PythonWordFinder(WORDS).find(text)


@pytest.mark.parametrize("word", [b"", b"a b", b"x" * 256, "é".encode()])
def test_a_word_that_could_never_be_found_is_refused(word: bytes) -> None:
    """What is no word is a mistake of the caller's."""
    with pytest.raises(ValueError, match="is no word"):
        word_finder([word])


def test_the_compiled_reading_can_be_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the C module was not built, the Python reading serves."""
    monkeypatch.setattr("consent.words.compiled", None)
    assert isinstance(word_finder(WORDS), PythonWordFinder)
