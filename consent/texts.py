"""What visitors read, per language: loaded from TOML, checked whole at start."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import cache
from gettext import c2py
from pathlib import Path
from typing import Literal, cast

from consent.assets import asset_dir
from consent.errors import ConfigurationError
from consent.policy import LANGUAGE_TAG
from consent.toml_file import TomlFile

SOURCE_LANGUAGE = "en"
"""The language whose file says which keys and placeholders there are."""
MAX_TEXT_LENGTH = 1000
"""Characters; a longer text is a mistake, and would weigh on every page."""
_MAX_FILE_BYTES = 256 * 1024
_PLACEHOLDER = re.compile(r"\{([a-z]+)\}")
_COUNTRY = re.compile(r"[A-Z]{2}")
_UNITS = ("second", "minute", "hour", "day", "week", "month", "year")
_LIFETIME = re.compile(rf"([0-9]{{1,5}}) ({'|'.join(_UNITS)})s?")
_PLURALS = re.compile(r"(?:n|[0-9]{1,3}|% [1-9][0-9]?|[&|?:()=!<> ]){1,200}")
_OTHER_TAGS = {"cmn": "zh", "iw": "he", "nn": "nb", "no": "nb", "sh": "sr-latn"}
"""Under which tag there are texts for a language with another one: former tags, and Norwegian, of which Bokmål is read
by all (CLDR's ``languageAlias`` and ``languageMatching``)."""
_TRADITIONAL = ("AU", "BN", "GB", "GF", "HK", "ID", "MO", "PA", "PF", "PH", "SR", "TH", "TW", "US", "VN")
_SCRIPTS = {
    "zh": "hans",
    **{f"zh-{region.lower()}": "hant" for region in _TRADITIONAL},
    **dict.fromkeys(("sr-me", "sr-ro", "sr-tr"), "latn"),
}
"""The script that a tag without one means, where it is not what the language's file is written in (CLDR's
``likelySubtags``)."""

Direction = Literal["ltr", "rtl"]


@dataclass(frozen=True, slots=True)
class Texts(Mapping[str, str]):
    """The texts of one language, by key. Immutable."""

    language: str
    """Language tag (BCP 47) of the texts, for ``lang`` attributes and receipts."""
    direction: Direction
    name: str
    """The language's own name for itself."""
    entries: Mapping[str, str] = field(hash=False)
    countries: Mapping[str, str] = field(hash=False)
    durations: Mapping[str, tuple[str, ...]] = field(hash=False)
    """The forms of each unit of time, with ``{n}`` for the number; empty: they stay in English."""
    form: Callable[[int], int] = field(hash=False, compare=False)
    """Which of the forms goes with a number."""

    def __getitem__(self, key: str) -> str:
        return self.entries[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def fill(self, key: str, **values: object) -> str:
        """Return the text of ``key`` with its ``{placeholders}`` replaced by ``values``; nothing is escaped.

        Raises:
            KeyError: there is no such text, or a value is missing.
        """
        return _PLACEHOLDER.sub(lambda found: str(values[found[1]]), self.entries[key])

    def country(self, code: str) -> str:
        """Return the name of a country by its ISO 3166 alpha-2 ``code``; the code itself where unknown."""
        return self.countries.get(code, code)

    def lifetime(self, words: str) -> str:
        """Return how long a cookie lives, as the catalog says it: ``2 years``. Other words are returned as they are."""
        found = _LIFETIME.fullmatch(words)
        if found is None or not self.durations:
            return words
        return self.durations[found[2]][self.form(int(found[1]))].replace("{n}", found[1])

    def listing(self, names: list[str]) -> str:
        """Join ``names`` as a sentence of this language does: "a, b and c"."""
        if len(names) < 2:
            return "".join(names)
        return self["list_separator"].join(names[:-1]) + self["list_last"] + names[-1]


def load_texts(
    language: str,
    overrides: Mapping[str, str] | None = None,
    *,
    folder: Path | None = None,
    place: str = "texts",
) -> Texts:
    """Return the texts of ``language``, with a site's ``overrides`` by key.

    ``de-AT`` is served by ``de`` where there is no file of its own (`fallbacks`). Called at start; reads files.

    Args:
        language: Language tag (BCP 47), in any case.
        overrides: Texts that replace the built-in ones. They may use the placeholders of the text they
            replace, and need not use all.
        folder: A site's own templates; its ``texts/<language>.toml`` goes before the built-in one.
        place: The key of the table of overrides, for messages.

    Raises:
        ConfigurationError: there is no such language, a file is incomplete, or an override does not fit.
    """
    source = _built_in(SOURCE_LANGUAGE, _find(SOURCE_LANGUAGE, None))
    path = _find(language, folder)
    texts = (_built_in if path.parent == _folders(None)[0] else _checked)(language, path)
    entries = dict(texts.entries)
    for key, text in (overrides or {}).items():
        where = f"{place}.{key}"
        if key not in entries:
            near = get_close_matches(key, entries, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"the keys are in {path}"
            raise ConfigurationError(f"there is no such text; {hint}", key=where)
        _check_text(text, source.entries[key], source="policy", key=where)
        entries[key] = text
    return replace(texts, entries=entries)


def languages(folder: Path | None = None) -> tuple[str, ...]:
    """Return the tags of all languages that there are texts in, sorted."""
    found = {path.stem for place in _folders(folder) for path in place.glob("*.toml")}
    return tuple(sorted(tag for tag in found if LANGUAGE_TAG.fullmatch(tag)))


def fallbacks(language: str) -> tuple[str, ...]:
    """Return the tags to look for, in lower case, best first, when texts in ``language`` are wanted.

    Lookup by RFC 4647, section 3.4, which knows no scripts: ``zh-tw`` would find ``zh``. So the likely script and other
    tags of the same language are looked for, too: ``zh-tw``, ``zh-hant-tw``, ``zh-hant``, ``zh``.
    """
    tags = _shortened(language.lower())
    first, *rest = tags[0].split("-")
    if first in _OTHER_TAGS:
        return (*tags, *fallbacks("-".join((_OTHER_TAGS[first], *rest))))
    script = _SCRIPTS.get("-".join((first, *rest[:1])), _SCRIPTS.get(first))
    if script and not (rest and len(rest[0]) == 4):  # four letters: it says its script itself
        tags = [tags[0], *_shortened("-".join((first, script, *rest)))]
    return tuple(dict.fromkeys(tags))


def _shortened(tag: str) -> list[str]:
    """Return ``tag`` and what is left of it as one subtag after another is taken off its end."""
    subtags, tags = tag.split("-"), []
    while subtags:
        tags.append("-".join(subtags))
        subtags.pop()
        if len(subtags) > 1 and len(subtags[-1]) == 1:  # introduces what was taken off: says nothing alone
            subtags.pop()
    return tags


def _folders(folder: Path | None) -> tuple[Path, ...]:
    built_in = asset_dir("templates") / "texts"
    return (built_in,) if folder is None else (folder / "texts", built_in)


def _find(language: str, folder: Path | None) -> Path:
    if LANGUAGE_TAG.fullmatch(language):  # so that it cannot lead out of the folder
        for tag in fallbacks(language):
            for place in _folders(folder):
                for path in sorted(place.glob("*.toml")):
                    if path.stem.lower() == tag:
                        return path
    raise ConfigurationError(
        f"there are no texts in {language[:40]!r}; there are {', '.join(languages(folder))}, "
        "and a site's own templates folder may add texts/<language>.toml",
        key="language",
    )


def _checked(language: str, path: Path) -> Texts:
    texts = _read(language, path)
    if path != (source := _find(SOURCE_LANGUAGE, None)):
        _compare(texts, _built_in(SOURCE_LANGUAGE, source), path)
    return texts


@cache
def _built_in(language: str, path: Path) -> Texts:
    """Return the texts in a file of this package, which is read once."""
    return _checked(language, path)


def _read(language: str, path: Path) -> Texts:
    file = TomlFile(path, max_bytes=_MAX_FILE_BYTES)
    data, source = file.data, file.source
    if unknown := data.keys() - {"name", "dir", "plurals", "texts", "durations", "countries"}:
        raise file.error(
            (min(unknown),), "only name, dir, plurals, [texts], [durations] and [countries] belong here"
        )
    name, direction = data.get("name"), data.get("dir")
    if not isinstance(name, str) or not name:
        raise ConfigurationError("give the language's own name, such as 'Deutsch'", source=source, key="name")
    if direction not in ("ltr", "rtl"):
        raise ConfigurationError("give the direction of writing, 'ltr' or 'rtl'", source=source, key="dir")
    entries = _strings(data.get("texts", {}), source, "texts")
    countries = _strings(data.get("countries", {}), source, "countries")
    for code in countries:
        if _COUNTRY.fullmatch(code) is None:
            raise ConfigurationError(
                "a country is two capital letters (ISO 3166)", source=source, key=f"countries.{code}"
            )
    # A region's visitors are served by the language's file, and told so: lang="de", not "de-AT".
    tag = language if path.stem.lower() == language.lower() else path.stem
    form = _form(data.get("plurals", "0"), source)
    durations = _durations(data.get("durations", {}), form, source)
    return Texts(tag, cast(Direction, direction), name, entries, countries, durations, form)


def _form(plurals: object, source: str) -> Callable[[int], int]:
    try:
        if not isinstance(plurals, str) or _PLURALS.fullmatch(plurals) is None:
            raise ValueError("no expression")
        return c2py(plurals)
    except ValueError as error:
        raise ConfigurationError(
            "write which form goes with a number n, as gettext does: 'n == 1 ? 0 : 1'",
            source=source,
            key="plurals",
        ) from error


def _durations(table: object, form: Callable[[int], int], source: str) -> Mapping[str, tuple[str, ...]]:
    """Return the forms of every unit; none where the file has none."""
    if not table:
        return {}
    if not isinstance(table, dict) or table.keys() != {*_UNITS}:
        raise ConfigurationError(f"it has {', '.join(_UNITS)}", source=source, key="durations")
    count = max(form(number) for number in range(1, 500)) + 1
    for unit, forms in table.items():
        if (
            not isinstance(forms, list)
            or len(forms) != count
            or not all(isinstance(words, str) and words.strip() for words in forms)
        ):
            raise ConfigurationError(
                f"by plurals there are {count} forms: write them as a list of texts",
                source=source,
                key=f"durations.{unit}",
            )
    return {unit: tuple(forms) for unit, forms in table.items()}


def _strings(table: object, source: str, key: str) -> dict[str, str]:
    if not isinstance(table, dict):
        raise ConfigurationError(f"write a table, [{key}]", source=source, key=key)
    for name, value in table.items():
        if not isinstance(value, str):
            raise ConfigurationError("a text is a string in quotes", source=source, key=f"{key}.{name}")
    return cast(dict[str, str], table)


def _compare(texts: Texts, source: Texts, path: Path) -> None:
    """Refuse a language file that lacks a text or has one that nothing shows."""
    if missing := source.entries.keys() - texts.entries.keys():
        raise ConfigurationError(
            f"this text is missing; in English it reads {source.entries[min(missing)]!r}",
            source=str(path),
            key=f"texts.{min(missing)}",
        )
    if unknown := texts.entries.keys() - source.entries.keys():
        raise ConfigurationError(
            "there is no such text in English: remove it", source=str(path), key=f"texts.{min(unknown)}"
        )
    for key, text in texts.entries.items():
        _check_text(text, source.entries[key], source=str(path), key=f"texts.{key}")


def _check_text(text: object, original: str, *, source: str, key: str) -> None:
    if not isinstance(text, str) or (not text.strip(" ") and original.strip(" ")):
        raise ConfigurationError("a text is a string with something in it", source=source, key=key)
    if len(text) > MAX_TEXT_LENGTH:
        raise ConfigurationError(f"longer than {MAX_TEXT_LENGTH} characters", source=source, key=key)
    if any(ord(character) < 32 for character in text):
        raise ConfigurationError(
            "write the text on one line, without control characters", source=source, key=key
        )
    allowed = set(_PLACEHOLDER.findall(original))
    rest = _PLACEHOLDER.sub("", text)
    if "{" in rest or "}" in rest or set(_PLACEHOLDER.findall(text)) - allowed:
        names = ", ".join(f"{{{name}}}" for name in sorted(allowed)) or "no placeholder"
        raise ConfigurationError(f"this text may use {names} and no other braces", source=source, key=key)
