"""A TOML file that somebody wrote by hand: read strictly, with the line of every key.

The standard library's parser tells no line numbers except for syntax errors; whoever has to correct a file
wants them for every error.
"""

from __future__ import annotations

import re
import stat
import tomllib
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from consent.errors import ConfigurationError

Place = tuple[str | int, ...]
"""Where a value stands: ``("cookie", 0, "name")`` is the name in the first ``[[cookie]]`` table."""

MAX_KEY_NAMES = 20
"""Names in one dotted key; the parser takes time with their square."""
_NAME = r"""(?:[A-Za-z0-9_-]++|"(?:[^"\\\n]|\\.){0,200}+"|'[^'\n]{0,200}+')"""
# Also in a text or a comment, where nobody writes so many words with nothing but dots between them.
_LONG_KEY = re.compile(rf"(?<![A-Za-z0-9_-]){_NAME}(?:[ \t]*+\.[ \t]*+{_NAME}){{{MAX_KEY_NAMES}}}")


class TomlFile:
    """A TOML file in UTF-8: its data, and where each key of it stands.

    Args:
        path: A regular file.
        max_bytes: A longer file is not read.

    Raises:
        ConfigurationError: the file cannot be read, or is not TOML in UTF-8.
    """

    def __init__(self, path: str | Path, *, max_bytes: int) -> None:
        self.source = str(path)
        self._text = _read(self.source, max_bytes)
        self.data = _parse(self.source, self._text)

    def error(self, where: Place, message: str) -> ConfigurationError:
        """Return an error about the value at ``where``, or about one that is missing there."""
        return ConfigurationError(message, source=self.source, line=self.line(where), key=dotted(where))

    def find(self, where: Place) -> Any:
        """Return the value at ``where``, or ``None`` (TOML has no such value)."""
        found: Any = self.data
        for key in where:
            if isinstance(found, list):
                found = found[cast(int, key)]
            else:
                found = found.get(key)
                if found is None:
                    return None
        return found

    def table(self, where: Place) -> dict[str, Any]:
        """Return the table at ``where``, empty where there is none."""
        found = self.find(where)
        if found is None:
            return {}
        if not isinstance(found, dict):
            raise self.error(where, f"must be a table: write [{dotted(where)}] on a line of its own")
        return found

    def tables(self, key: str) -> list[dict[str, Any]]:
        """Return the array of tables ``key``, empty where there is none."""
        found = self.find((key,))
        if found is None:
            return []
        if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
            raise self.error((key,), f"must be tables: write [[{key}]] above each, in double brackets")
        return found

    def line(self, where: Place) -> int | None:
        """Return the line of a key, or of the innermost table around it that is there."""
        for length in range(len(where), 0, -1):
            line = self._lines.get(where[:length])
            if line is not None:
                return line
        return None

    @cached_property
    def _lines(self) -> dict[Place, int]:
        return _lines(self._text)


def dotted(where: Place) -> str:
    """Write a place as ``cookie[0].name``; positions count from 0, as in the catalog's errors."""
    written = ""
    for key in where:
        if isinstance(key, int):
            written += f"[{key}]"
        else:
            shown = key if len(key) <= 60 else f"{key[:60]}…"
            written += f".{shown}" if written else shown
    return written


def undotted(key: str) -> Place:
    """Read what `dotted` wrote."""
    return tuple(int(index) if index else name for name, index in re.findall(r"([^.\[\]]+)|\[(\d+)\]", key))


def _read(source: str, max_bytes: int) -> str:
    path = Path(source)
    try:
        kind = path.stat().st_mode
        if stat.S_ISDIR(kind):
            raise ConfigurationError("this is a folder: give the path of a file in it", source=source)
        if not stat.S_ISREG(kind):
            raise ConfigurationError("this is not a regular file: give the path of one", source=source)
        with path.open("rb") as file:
            content = file.read(max_bytes + 1)
    except FileNotFoundError:
        looked = "" if path.is_absolute() else f" in {Path.cwd()}, where relative paths start"
        raise ConfigurationError(
            f"there is no such file{looked}: create it, or correct the path", source=source
        ) from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigurationError(
            f"cannot be read ({reason}): correct the path, or let this user read it", source=source
        ) from None
    if len(content) > max_bytes:
        raise ConfigurationError(f"larger than {max_bytes:,} bytes: is this really the file?", source=source)
    try:
        return content.decode("utf-8-sig")  # editors on Windows put a byte order mark first
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigurationError(
            "this line is not UTF-8: save the file as UTF-8", source=source, line=line
        ) from None


def _parse(source: str, text: str) -> dict[str, Any]:
    # A key ends with its line, and hardly any line has so many dots: to count them takes a tenth of the time.
    many_dots = any(line.count(".") >= MAX_KEY_NAMES for line in text.split("\n"))
    if many_dots and (long_key := _LONG_KEY.search(text)):
        raise ConfigurationError(
            f"a dotted key of more than {MAX_KEY_NAMES} names: no key here has so many, so shorten it",
            source=source,
            line=text.count("\n", 0, long_key.start()) + 1,
        )
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ConfigurationError("nested too deeply: write it flatter", source=source) from None
    except ValueError as error:  # TOMLDecodeError, and what int() and datetime() refuse
        message = str(error)
        place = re.search(r" \(at line (\d+), column (\d+)\)$", message)
        if place is None:
            end = message.endswith(" (at end of document)")
            line = text.rstrip("\n").count("\n") + 1 if end else None
            raise ConfigurationError(f"not valid TOML: {message}", source=source, line=line) from None
        raise ConfigurationError(
            f"not valid TOML at column {place[2]}: {message[: place.start()]} (texts need quotes, "
            "and each key may be there once)",
            source=source,
            line=int(place[1]),
        ) from None


# For a document that the parser has accepted, these few tokens are enough to find every key again.
_TOKEN = re.compile(
    r"""
      (?P<skip> [ \t\r]+ | \#[^\n]* )
    | (?P<text> \"{3}(?:\\.|[^\\])*?\"{3,5} | '{3}.*?'{3,5} | "(?:\\.|[^"\\\n])*" | '[^'\n]*' )
    | (?P<mark> [\n=.,\[\]{}] )
    | (?P<bare> [^ \t\r\n=.,\[\]{}\#"']+ )
    """,
    re.VERBOSE | re.DOTALL,
)


def _lines(text: str) -> dict[Place, int]:
    """Map the place of every key, table and list item of a TOML document to its 1-based line."""
    lines: dict[Place, int] = {}
    tokens = _Tokens(text)
    count: dict[Place, int] = {}  # of each array of tables, how many there are so far
    section: Place = ()
    while tokens.more():
        if tokens.take("\n"):
            continue
        line = tokens.line
        if tokens.take("["):
            several = tokens.take("[")
            section = ()
            *outer, last = tokens.key()
            for key in outer:
                section = (*section, key)
                if section in count:
                    section = (*section, count[section] - 1)
            section = (*section, last)
            lines.setdefault(section, line)
            if several:
                count[section] = count.get(section, 0) + 1
                section = (*section, count[section] - 1)
                lines[section] = line
            while tokens.take("]"):
                pass
        else:
            _note_pair(tokens, section, lines)
    return lines


def _note_pair(tokens: _Tokens, table: Place, lines: dict[Place, int]) -> None:
    line = tokens.line
    place = table
    for key in tokens.key():
        place = (*place, key)
        lines.setdefault(place, line)
    tokens.take("=")
    _note_value(tokens, place, lines)


def _note_value(tokens: _Tokens, place: Place, lines: dict[Place, int]) -> None:
    if tokens.take("["):
        index = 0
        while tokens.more() and not tokens.take("]"):
            if tokens.take("\n") or tokens.take(","):
                continue
            lines[(*place, index)] = tokens.line
            _note_value(tokens, (*place, index), lines)
            index += 1
    elif tokens.take("{"):
        while tokens.more() and not tokens.take("}"):
            if not tokens.take("\n") and not tokens.take(","):
                _note_pair(tokens, place, lines)
    else:
        tokens.scalar()


class _Tokens:
    """The tokens of a TOML document, one after the other."""

    def __init__(self, text: str) -> None:
        self._found: list[tuple[str, str, int]] = []
        line = 1
        for match in _TOKEN.finditer(text):
            if match.lastgroup != "skip":
                self._found.append((str(match.lastgroup), match[0], line))
            line += match[0].count("\n")
        self._at = 0

    def more(self) -> bool:
        return self._at < len(self._found)

    @property
    def line(self) -> int:
        return self._found[self._at][2]

    def take(self, mark: str) -> bool:
        """Step over ``mark`` if it is next."""
        if self.more() and self._found[self._at][:2] == ("mark", mark):
            self._at += 1
            return True
        return False

    def key(self) -> list[str]:
        """Read a dotted key."""
        parts = []
        while self.more():
            kind, written, _ = self._found[self._at]
            if kind == "mark":
                break
            self._at += 1
            # Escapes are left as written: such a key is not found, and the line of its table is told instead.
            parts.append(written[1:-1] if kind == "text" else written)
            if not self.take("."):
                break
        return parts

    def scalar(self) -> None:
        """Step over a value that is neither a list nor a table: numbers and dates may have dots."""
        start = self._at
        while self.more() and (self._found[self._at][0] != "mark" or self._found[self._at][1] == "."):
            self._at += 1
        if self._at == start:
            self._at += 1
