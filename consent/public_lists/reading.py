"""What all public lists have in common: how their files are read, and the account of what became of each rule.

A list comes from somebody else. Whatever is in the file, reading it ends soon, and what cannot be said by our rules is
counted with its reason.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from consent.catalog import Cookie
from consent.categories import Category
from consent.errors import ConfigurationError

MAX_FILE_BYTES = 16 * 1024 * 1024
"""A longer file is not read: the longest of the public lists have some 5 MB."""
MAX_LINE = 10_000
"""A longer line is counted, and not read. In a CSV file it is the longest field."""
MAX_RULES = 100_000
"""More rules are not taken: each takes memory in every process of the site."""
MAX_VENDORS = 10_000
MAX_PATTERN = 500
"""Characters of a URL pattern."""
MAX_EXAMPLES = 3
_MAX_EXAMPLE = 100
_TOO_LONG = f"the line has more than {MAX_LINE:,} characters"

Progress = Callable[[int], None]
"""Is told how many lines or entries were read since the last time."""


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file of a list."""

    name: str
    text: str
    size: int
    """In bytes."""
    digest: str
    """SHA-256 of its bytes, hexadecimal."""

    def lines(self) -> Iterator[tuple[int, str]]:
        """Yield the lines with their 1-based numbers, without blanks around them."""
        for number, line in enumerate(self.text.split("\n"), 1):
            yield number, line.strip()


def read_source(path: Path) -> SourceFile:
    """Read a file of a list.

    Raises:
        ConfigurationError: it cannot be read, is too long, or is not text in UTF-8.
    """
    source = str(path)
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise ConfigurationError("this is not a regular file: give the path of one", source=source)
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigurationError(f"cannot be read ({reason}): correct the path", source=source) from None
    return source_of(source, content)


def source_of(name: str, content: bytes) -> SourceFile:
    """Return the content of a file of a list.

    Raises:
        ConfigurationError: it is too long, or is not text in UTF-8.
    """
    if len(content) > MAX_FILE_BYTES:
        raise ConfigurationError(
            f"larger than {MAX_FILE_BYTES:,} bytes: is this really a list? If so, split it", source=name
        )
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigurationError(
            "this line is not UTF-8: save the file as UTF-8", source=name, line=line
        ) from None
    return SourceFile(name, text, len(content), sha256(content).hexdigest())


@dataclass(frozen=True, slots=True)
class Place:
    """Where a rule stands, and how it is written there."""

    file: str
    line: int | None
    """1-based; ``None``: the format has no lines."""
    text: str

    def __str__(self) -> str:
        text = self.text if len(self.text) <= _MAX_EXAMPLE else f"{self.text[:_MAX_EXAMPLE]}…"
        return text if self.line is None else f"line {self.line}: {text}"


@dataclass(frozen=True, slots=True)
class ListedVendor:
    """Whom a list names."""

    name: str
    category: Category
    company: str = ""
    privacy_url: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """One rule of a list in our own terms: hosts and URL patterns, or a cookie."""

    vendor: ListedVendor
    place: Place
    rules: tuple[str, ...] = ()
    """Hosts, and URL patterns: those with a slash."""
    cookie: Cookie | None = None
    is_exception: bool = False
    """The list lets through what it names otherwise."""

    @property
    def names(self) -> tuple[str, ...]:
        """What tells one rule from another."""
        return self.rules if self.cookie is None else (f"={self.cookie.name}",)


@dataclass(slots=True)
class Skipped:
    """How many rules could not be taken for one reason."""

    count: int = 0
    examples: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Draft:
    """What was read of a list."""

    name: str
    licence: str
    version: str = ""
    read: int = 0
    entries: list[Entry] = field(default_factory=list)
    excepted: int = 0
    """Rules that the list itself takes back."""
    without_effect: int = 0
    """Exceptions to nothing that was taken."""
    skipped: dict[str, Skipped] = field(default_factory=dict)
    """By reason."""
    _rules: int = 0
    _vendors: set[str] = field(default_factory=set)

    def add(self, entry: Entry) -> None:
        """Take an entry.

        Raises:
            ConfigurationError: there are too many.
        """
        self._rules += len(entry.names)
        if self._rules > MAX_RULES:
            raise ConfigurationError(
                f"more than {MAX_RULES:,} rules can be taken: import a shorter list", source=entry.place.file
            )
        self._vendors.add(entry.vendor.name)
        if len(self._vendors) > MAX_VENDORS:
            raise ConfigurationError(
                f"more than {MAX_VENDORS:,} vendors can be taken", source=entry.place.file
            )
        self.entries.append(entry)

    def skip(self, reason: str, place: Place) -> None:
        """Count a rule that is not taken."""
        skipped = self.skipped.setdefault(reason, Skipped())
        skipped.count += 1
        if len(skipped.examples) < MAX_EXAMPLES:
            skipped.examples.append(str(place))

    def skip_long(self, place: Place) -> bool:
        """Tell whether a line is too long to be read, and count it then."""
        if len(place.text) <= MAX_LINE:
            return False
        self.skip(_TOO_LONG, place)
        return True


_BLANKS = re.compile(r"\s+")


def one_line(text: str, limit: int) -> str:
    """Return a text of a list as it may be shown to visitors: one line, nothing that moves or hides words."""
    text = _BLANKS.sub(" ", text[: 4 * limit]).strip()
    text = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    return text if len(text) <= limit else f"{text[: limit - 1].rstrip()}…"
