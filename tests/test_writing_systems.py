"""How the texts are written: one script for each word, the language's punctuation, directions that hold."""

from __future__ import annotations

import re
import unicodedata

import pytest

from consent.sentences import load_sentences
from consent.texts import languages, load_texts

SCRIPTS = {
    "ar": {"ARABIC"},
    "bg": {"CYRILLIC"},
    "el": {"GREEK"},
    "he": {"HEBREW"},
    "hi": {"DEVANAGARI"},
    "ja": {"CJK", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA"},
    "ko": {"HANGUL"},
    "ru": {"CYRILLIC"},
    "sr": {"CYRILLIC"},
    "uk": {"CYRILLIC"},
    "zh-Hans": {"CJK"},
    "zh-Hant": {"CJK"},
}
LATIN_WORDS = {
    "Cookie",
    "cookie",
    "cookies",
    "IP",
    "JSON",
    "Global",
    "Privacy",
    "Control",
    "Google",
    "Do",
    "Not",
    "Track",
    "explain",
}
"""What is written in Latin letters everywhere: names of signals, a company and a setting, and terms of the trade."""
ISOLATED = re.compile("\u2068{([a-z]+)}\u2069")
SENTENCES = {"categories", "category", "why", "country"}
"""Placeholders for what is in the visitor's language."""
NUMBERS = {"count", "days", "withheld", "passed", "unclassified", "version"}


def scripts(letters: str) -> set[str]:
    """Return the first words of the Unicode names of ``letters``, which are those of their scripts."""
    return {unicodedata.name(letter).split()[0] for letter in letters if letter.isalpha()}


def sentences(language: str) -> list[str]:
    """Return what the catalog says in ``language``, if it has been translated."""
    found = load_sentences(language)
    return list(found.by_english.values()) if found.language == language else []


@pytest.mark.parametrize("language", sorted(SCRIPTS))
def test_words_are_in_the_script_of_the_language(language: str) -> None:
    """No Latin letter passes for a Cyrillic one, and nothing is left in English."""
    texts = load_texts(language)
    for text in (texts.name, *texts.values(), *texts.countries.values(), *sentences(language)):
        words = re.findall(r"[^\W\d_]+", re.sub(r"\{[a-z]+\}", " ", text))
        latin = set(re.findall("[A-Za-z]+", " ".join(words)))
        assert latin <= LATIN_WORDS, text
        assert scripts(re.sub("[A-Za-z]", "", "".join(words))) <= SCRIPTS[language], text


@pytest.mark.parametrize("language", [tag for tag in languages() if load_texts(tag).direction == "rtl"])
def test_what_may_be_latin_is_isolated_in_right_to_left_texts(language: str) -> None:
    """ "Example, Inc." keeps its full stop at its end: names stand between U+2068 and U+2069."""
    texts = load_texts(language)
    for text in texts.values():
        placeholders = set(re.findall(r"\{([a-z]+)\}", text))
        assert placeholders - SENTENCES - NUMBERS == set(ISOLATED.findall(text)), text


@pytest.mark.parametrize("language", ["ja", "zh-Hans", "zh-Hant"])
def test_chinese_and_japanese_have_wide_punctuation(language: str) -> None:
    """No comma, colon or full stop of Latin writing."""
    written = [*load_texts(language).values(), *sentences(language)]
    assert [text for text in written if re.search(r"[,:;.?()]", text)] == []


def test_serbian_says_the_same_in_both_scripts() -> None:
    """The Latin file is the Cyrillic one letter by letter."""
    letters = str.maketrans(
        dict(zip("абвгдђежзијклмнопрстћуфхцчш", "abvgdđežzijklmnoprstćufhcčš", strict=True))
        | dict(zip("АБВГДЂЕЖЗИЈКЛМНОПРСТЋУФХЦЧШ", "ABVGDĐEŽZIJKLMNOPRSTĆUFHCČŠ", strict=True))
        | {"љ": "lj", "њ": "nj", "џ": "dž", "Љ": "Lj", "Њ": "Nj", "Џ": "Dž"}
    )
    cyrillic, latin = load_texts("sr"), load_texts("sr-Latn")
    assert {key: text.translate(letters) for key, text in cyrillic.items()} == dict(latin)
    assert {code: name.translate(letters) for code, name in cyrillic.countries.items()} == latin.countries
    assert [sentence.translate(letters) for sentence in sentences("sr")] == sentences("sr-Latn")
