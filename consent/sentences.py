"""What the catalog says about vendors and cookies, in the language of who reads it.

Vendors' files say it in English, all in the same few hundred sentences. ``catalog/en.toml`` in the templates has these,
each with a key; the same file of another language has them in that language. A site's policy may say something else
of vendors and cookies of its own: that is shown as it is written, marked with the language that it is in.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from markupsafe import Markup, escape

from consent.assets import asset_dir
from consent.errors import ConfigurationError
from consent.policy import Policy
from consent.texts import SOURCE_LANGUAGE, Texts, fallbacks
from consent.toml_file import TomlFile

FOLDER = "catalog"
"""Where the files are: a folder in the templates, the package's and a site's own alike."""
MAX_SENTENCE_LENGTH = 300
"""Characters; a longer one is a mistake."""
GROUPS = ("about", "purpose")
"""The tables of a file: what vendors are for, and what cookies and storage are for."""
_MAX_FILE_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class Sentences:
    """The catalog's sentences in one language. Immutable."""

    language: str
    """Language tag (BCP 47) of the file that they are from."""
    by_english: Mapping[str, str]


class Wording:
    """How what is said about vendors and cookies reads in pages of one language. Safe to share between threads.

    Args:
        texts: The texts of these pages.
        sentences: What the catalog says, in that language, or in English where nobody has translated it.
        own_words: What the site has sentences read as in that language, its own ones and the catalog's.
        own: The texts in the site's default language, which is what its policy is taken to be written in.
    """

    def __init__(self, texts: Texts, sentences: Sentences, own_words: Mapping[str, str], own: Texts) -> None:
        self._own_words = own_words
        self._sentences = sentences.by_english
        self._translated = Markup("%s")
        if sentences.language != texts.language:
            direction = "ltr" if sentences.language == SOURCE_LANGUAGE else texts.direction
            self._translated = _foreign(sentences.language, direction)
        self._own = Markup("<bdi>%s</bdi>")
        if own.language != texts.language:
            self._own = _foreign(own.language, own.direction)
        self._listed = Markup("<bdi>%s</bdi>")
        if texts.language != SOURCE_LANGUAGE:
            self._listed = _foreign(SOURCE_LANGUAGE, "ltr")

    def listed(self, text: str) -> Markup:
        """Return what a public list says as markup, likewise: they are taken to be in English."""
        own = self._own_words.get(text)
        return escape(own) if own else self._listed % text

    def __call__(self, text: str) -> Markup:
        """Return ``text``, as it is in the catalog or in a policy, as markup within a line of such a page.

        What is in another language than the page says so (WCAG 2.2, 3.1.2).
        """
        if own := self._own_words.get(text):
            return escape(own)
        sentence = self._sentences.get(text)
        return self._own % text if sentence is None else self._translated % sentence


def sayings(policy: Policy) -> Iterator[str]:
    """Yield what a policy says of its vendors and cookies."""
    for vendor in policy.vendors:
        yield vendor.about
        yield from (cookie.purpose for cookie in vendor.cookies)
        yield from (item.purpose for item in vendor.storage)
    yield from (cookie.purpose for cookie in policy.own_cookies)


def load_sentences(language: str, *, folder: Path | None = None) -> Sentences:
    """Return the catalog's sentences in ``language``; in English where there is no file of them.

    As with texts, ``de-AT`` is served by ``de`` (:func:`consent.texts.fallbacks`). Called at start; reads files.

    Args:
        language: Language tag (BCP 47) of texts that were loaded.
        folder: A site's own templates; its ``catalog/<language>.toml`` goes before the built-in one.

    Raises:
        ConfigurationError: a file lacks a sentence, or has one that the catalog does not.
    """
    built_in = asset_dir("templates")
    for tag in fallbacks(language):
        for place in (built_in,) if folder is None else (folder, built_in):
            for path in sorted((place / FOLDER).glob("*.toml")):
                if path.stem.lower() == tag:
                    return _built_in(path) if place is built_in else _translated(path)
    return _built_in(built_in / FOLDER / f"{SOURCE_LANGUAGE}.toml")


@cache
def _built_in(path: Path) -> Sentences:
    """Return the sentences in a file of this package, which is read once."""
    return _translated(path)


@cache
def _source() -> Mapping[tuple[str, str], str]:
    return _read(asset_dir("templates") / FOLDER / f"{SOURCE_LANGUAGE}.toml")


def _translated(path: Path) -> Sentences:
    source, found = _source(), _read(path)
    for where, english in source.items():
        if where not in found:
            raise ConfigurationError(
                f"this sentence is missing; in English it reads {english!r}",
                source=str(path),
                key=".".join(where),
            )
    if unknown := found.keys() - source.keys():
        raise ConfigurationError(
            "there is no such sentence in English: remove it", source=str(path), key=".".join(min(unknown))
        )
    return Sentences(path.stem, {english: found[where] for where, english in source.items()})


def _read(path: Path) -> dict[tuple[str, str], str]:
    file = TomlFile(path, max_bytes=_MAX_FILE_BYTES)
    if unknown := file.data.keys() - {*GROUPS}:
        raise file.error((min(unknown),), f"only [{'] and ['.join(GROUPS)}] belong here")
    found = {}
    for group in GROUPS:
        for key, sentence in file.table((group,)).items():
            if (
                not isinstance(sentence, str)
                or not sentence.strip()
                or len(sentence) > MAX_SENTENCE_LENGTH
                or min(sentence) < " "  # a control character
            ):
                raise file.error(
                    (group, key),
                    f"a sentence is a line of at most {MAX_SENTENCE_LENGTH} characters in quotes",
                )
            found[group, key] = sentence
    return found


def _foreign(language: str, direction: str) -> Markup:
    """Return how to write a text that is in another language than its page."""
    return Markup('<bdi lang="{}" dir="{}">%s</bdi>').format(language, direction)
