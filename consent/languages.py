"""Which languages a site speaks, and which of them a visitor is spoken to in.

The page's address settles it, or else a setting, or else what the browser asks for. What the page itself says, as
``<html lang>``, comes too late: by then the header fields have been sent.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path

from consent.errors import ConfigurationError
from consent.policy import CacheMode, Policy
from consent.sentences import Wording, load_sentences, sayings
from consent.texts import SOURCE_LANGUAGE, Texts, fallbacks, languages, load_texts

MAX_ACCEPTED_BYTES = 1000
"""Of an ``Accept-Language`` no more is read, up to its last comma there; browsers send a tenth of it."""
_MAX_RANGES = 32
_MAX_MEMO = 512
_MAX_REMEMBERED_BYTES = 128
# RFC 9110, sections 12.4.2 and 12.5.4; nobody has a language with more than eight subtags.
_RANGE = re.compile(
    r"(\*|[a-z]{1,8}(?:-[a-z0-9]{1,8}){0,7})(?:[ \t]*;[ \t]*q=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?))?"
)


class Languages:
    """The languages of one site. Safe to share between threads.

    Args:
        policy: The site's rules.
        folder: A site's own templates; its ``texts/<language>.toml`` go before the built-in ones.

    Raises:
        ConfigurationError: there are no texts in a language that the policy names, or some do not fit. All of them
            are read here.
    """

    def __init__(self, policy: Policy, *, folder: Path | None = None) -> None:
        own = {key: text for key, text in policy.texts.items() if isinstance(text, str)}
        self._texts: dict[str, Texts] = {}
        self._by_lower: dict[str, str] = {}
        for key, tag in _named(policy, folder):
            self._add(tag, folder, key=key)
        self.default = next(iter(self._texts))
        """Tag of the language for whom none is known better."""
        self._paths = sorted(
            (
                (path.rstrip("/"), self._of_path(tag, folder, may_add=not policy.languages))
                for path, tag in policy.language_paths.items()
            ),
            key=lambda item: -len(item[0]),
        )
        if own:
            self._override(self.default, own, folder, "texts")
        for tag, texts in policy.texts.items():
            if not isinstance(texts, str):
                self._override(tag, texts, folder, f"texts.{tag}")
        own_words, writer = dict(self._own_words(policy)), self._texts[self.default]
        # Where nothing is said of any vendor or cookie, nobody has to translate it.
        speaks = policy.declare_seen or any(sayings(policy))
        self._wordings = {
            tag: Wording(
                texts,
                load_sentences(tag if speaks else SOURCE_LANGUAGE, folder=folder),
                own_words.get(tag, {}),
                writer,
            )
            for tag, texts in self._texts.items()
        }
        # Where a page is given to more than one visitor, it cannot be in the language of one of them.
        settled = policy.language or policy.cache is not CacheMode.PER_VISITOR or len(self._texts) == 1
        self._settled = self.default if settled else None
        self._memo: dict[bytes, str] = {}

    @property
    def offered(self) -> Mapping[str, Texts]:
        """The texts of each language by its tag, the default first."""
        return self._texts

    @property
    def wordings(self) -> Mapping[str, Wording]:
        """How what is said of vendors and cookies reads in each language, by its tag."""
        return self._wordings

    @property
    def depend_on_path(self) -> bool:
        """Whether some pages' addresses settle it, and others' do not, or otherwise."""
        return bool(self._paths)

    def settled(self, path: str) -> str | None:
        """Return the language of the page at ``path``, decoded; ``None`` where it depends on who asks."""
        for prefix, tag in self._paths:
            if path.startswith(prefix) and path[len(prefix) : len(prefix) + 1] in ("", "/"):
                return tag
        return self._settled

    def accepted(self, value: bytes) -> str:
        """Return the language for a browser that sends this ``Accept-Language``; lookup by RFC 4647, section 3.4.

        A range that is not well-formed, or has no such weight, is passed over.
        """
        found = self._memo.get(value)
        if found is None:
            found = self._lookup(value)
            if len(value) <= _MAX_REMEMBERED_BYTES:
                if len(self._memo) >= _MAX_MEMO:
                    self._memo.clear()
                self._memo[value] = found
        return found

    def choose(self, path: str, accept_language: bytes) -> str:
        """Return the language for the page at ``path``, decoded, and a browser that sends ``accept_language``."""
        return self.settled(path) or self.accepted(accept_language)

    def _lookup(self, value: bytes) -> str:
        weighted: list[tuple[float, str]] = []
        refused: list[str] = []
        for weight, wanted in _ranges(value):
            if weight:
                weighted.append((weight, wanted))
            else:
                refused.append(wanted)
        weighted.sort(key=lambda item: -item[0])  # stable: of equals the first goes first
        allowed = {
            lower: tag
            for lower, tag in self._by_lower.items()
            if not any(lower == tag or lower.startswith(f"{tag}-") for tag in refused)
        }
        for _, wanted in weighted:
            if wanted == "*":
                for tag in self._texts:
                    if tag.lower() in allowed:
                        return tag
            for tag in fallbacks(wanted):
                if tag in allowed:
                    return allowed[tag]
        return self.default

    def _add(self, tag: str, folder: Path | None, *, key: str) -> str:
        try:
            texts = load_texts(tag, folder=folder)
        except ConfigurationError as error:
            raise (ConfigurationError(error.message, key=key) if error.key == "language" else error) from None
        self._texts.setdefault(texts.language, texts)
        self._by_lower[texts.language.lower()] = texts.language
        return texts.language

    def _known(self, tag: str) -> str | None:
        return next((self._by_lower[t] for t in fallbacks(tag) if t in self._by_lower), None)

    def _of_path(self, tag: str, folder: Path | None, *, may_add: bool) -> str:
        if may_add:
            return self._add(tag, folder, key="language_paths")
        known = self._known(tag)
        if known is None:
            raise ConfigurationError(
                f'"{tag}" is not one of site.languages: add it there', key="language_paths"
            )
        return known

    def _shown(self, tag: str, place: str) -> str:
        known = self._known(tag)
        if known is None:
            raise ConfigurationError(
                f"nobody is shown texts in {tag[:40]!r}; the site's languages are {', '.join(self._texts)}",
                key=place,
            )
        return known

    def _own_words(self, policy: Policy) -> Iterator[tuple[str, Mapping[str, str]]]:
        """Yield what the policy has sentences read as, for each language."""
        said = {*load_sentences(SOURCE_LANGUAGE).by_english, *sayings(policy)} if policy.sentences else ()
        for tag, words in policy.sentences.items():
            place = f"sentences.{tag}"
            for sentence in words:
                if sentence not in said:
                    near = get_close_matches(sentence, said, n=1)
                    hint = f"did you mean {near[0]!r}?" if near else "write it as visitors read it"
                    raise ConfigurationError(
                        f"of no vendor and no cookie is {sentence!r} said; {hint}", key=place
                    )
            yield self._shown(tag, place), words

    def _override(self, tag: str, texts: Mapping[str, str], folder: Path | None, place: str) -> None:
        known = self._shown(tag, place)
        checked = load_texts(known, texts, folder=folder, place=place)
        before = self._texts[known]
        entries = {**before.entries, **{key: checked[key] for key in texts}}
        self._texts[known] = replace(before, entries=entries)


def _named(policy: Policy, folder: Path | None) -> Iterator[tuple[str, str]]:
    """Yield the languages that visitors are offered, the default first, with the key that names them."""
    if policy.language:
        yield "language", policy.language
    elif policy.languages:
        for tag in policy.languages:
            yield "languages", tag
    else:
        for tag in (SOURCE_LANGUAGE, *languages(folder)):
            yield "language", tag


def _ranges(value: bytes) -> Iterator[tuple[float, str]]:
    """Yield the weight and the range, in lower case, of what is well-formed in an ``Accept-Language``."""
    if len(value) > MAX_ACCEPTED_BYTES:
        value = value[: value.rfind(b",", 0, MAX_ACCEPTED_BYTES) + 1]
    for part in value.decode("latin-1").lower().split(",")[:_MAX_RANGES]:
        match = _RANGE.fullmatch(part.strip(" \t"))
        if match:
            yield float(match[2] or 1), match[1]
