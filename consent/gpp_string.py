"""Strings of the IAB's Global Privacy Platform, as far as they are about the United States, and what is in them.

The GPP String Specification 1.0 of the IAB Tech Lab, and its specifications of the sections: what those consist of is
in ``gpp_sections.toml``. Taken and returned is what scripts get from ``__gpp``: by section its parts, the core before
the sub-section about Global Privacy Control, each with its fields.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from consent.errors import ConsentError

Value = int | bool | Sequence[int]
Parts = Sequence[Mapping[str, Value]]

MAX_LENGTH = 1024
"""A longer string is not read: one with all sections has fewer than 600 characters."""
_DATA = Path(__file__).with_name("gpp_sections.toml")
_TYPE, _VERSION = 3, 1
_GPC = "Gpc"
_GPC_TYPE = "SubsectionType", 1
_CHARACTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_SEGMENT = re.compile(r"[A-Za-z0-9_-]+")
_BITS = {character: f"{value:06b}" for value, character in enumerate(_CHARACTERS)}
_LONGEST_CODE = 16
"""Bits of a number in the header; the greatest that is known has nine."""


class GppError(ConsentError, ValueError):
    """A string is not one of those that are known here, or cannot be made of what is to be in it."""


class Field(NamedTuple):
    """A field of a section's core, of two bits: or several of them, which are one list."""

    name: str
    size: int | None
    """How many numbers the list has; ``None``: it is no list."""

    def admits(self, number: object) -> bool:
        """Tell whether ``number`` may be in it. Only whether a transaction is covered always applies."""
        lowest = 1 if self.name == "MspaCoveredTransaction" else 0
        return type(number) is int and lowest <= number <= 2


@dataclass(frozen=True, slots=True)
class Section:
    """What the strings of one section consist of."""

    id: int
    name: str
    """As scripts name it: the prefix of the API."""
    place: str
    """The state that it is for, or ``US``."""
    version_field: str
    """The first field of the core, of six bits."""
    cores: Mapping[int, tuple[Field, ...]]
    """The other fields, by version."""
    has_gpc: bool

    @property
    def version(self) -> int:
        """The one to write."""
        return max(self.cores)


@cache
def sections() -> Mapping[str, Section]:
    """Return all sections that are known, by name, in the order of their numbers."""
    found: dict[str, Section] = {}
    for each in tomllib.loads(_DATA.read_text(encoding="utf-8"))["section"]:
        first, *others = each["fields"]
        core = tuple(_field(written) for written in others)
        earlier = found.get(each["name"])
        cores = {**(earlier.cores if earlier else {}), each["version"]: core}
        found[each["name"]] = Section(
            each["id"], each["name"], each["place"], first, MappingProxyType(cores), each["gpc"]
        )
    return MappingProxyType(dict(sorted(found.items(), key=lambda item: item[1].id)))


def _field(written: str) -> Field:
    name, star, count = written.partition("*")
    return Field(name, int(count) if star else None)


def encode(content: Mapping[str, Parts]) -> str:
    """Return the string with these sections; without any, the one that says that there is none.

    Args:
        content: By a section's name its core, and where it has such a sub-section, perhaps that about GPC.

    Raises:
        GppError: there is no such section, a field is missing or too many, or has a value that it cannot have.
    """
    known = sections()
    for name in content:
        if name not in known:
            raise GppError(f"{name!r} is none of the sections {', '.join(known)}")
    order = [section for section in known.values() if section.name in content]
    header = f"{_TYPE:06b}{_VERSION:06b}" + _range_bits([section.id for section in order])
    return "~".join((_text(header), *(_encoded(section, content[section.name]) for section in order)))


def decode(text: str) -> dict[str, list[dict[str, Any]]]:
    """Return what is in a string, in the form that :func:`encode` takes.

    Raises:
        GppError: it is none, or has a section that is not known here.
    """
    if len(text) > MAX_LENGTH:
        raise GppError(f"it has {len(text)} characters; at most {MAX_LENGTH} are read")
    header, *encoded = text.split("~")
    reader = _Reader(header, "the header")
    if (kind := reader.number(6)) != _TYPE:
        raise GppError(f"the header is of type {kind}, and not {_TYPE}")
    if (version := reader.number(6)) != _VERSION:
        raise GppError(f"the header has version {version}; {_VERSION} is the one that is known")
    by_id = {section.id: section for section in sections().values()}
    ids = list(_range(reader, max(by_id)))
    reader.end()
    if len(ids) != len(encoded):
        raise GppError(f"the header names {len(ids)} sections, and {len(encoded)} follow")
    return {
        by_id[number].name: _decoded(by_id[number], each) for number, each in zip(ids, encoded, strict=True)
    }


def _encoded(section: Section, parts: Parts) -> str:
    if not 1 <= len(parts) <= 1 + section.has_gpc:
        raise GppError(f"{section.name} has {'one or two parts' if section.has_gpc else 'one part'}")
    core, *others = parts
    version = core.get(section.version_field)
    if type(version) is not int or version not in section.cores:
        raise GppError(f"{section.name} has no version {version!r}")
    fields = section.cores[version]
    _check_names(section, core, [section.version_field, *(field.name for field in fields)])
    segments = [f"{version:06b}" + "".join(_field_bits(section, field, core[field.name]) for field in fields)]
    for part in others:
        _check_names(section, part, [_GPC_TYPE[0], _GPC])
        is_set = part[_GPC]
        if type(is_set) is not bool or part[_GPC_TYPE[0]] != _GPC_TYPE[1]:
            raise GppError(
                f"the sub-section about GPC of {section.name} is of type 1, and says true or false"
            )
        segments.append(f"{_GPC_TYPE[1]:02b}{is_set:b}")
    return ".".join(map(_text, segments))


def _check_names(section: Section, part: Mapping[str, Value], wanted: Sequence[str]) -> None:
    for name in part:
        if name not in wanted:
            raise GppError(f"{section.name} has no field {name!r} there")
    for name in wanted:
        if name not in part:
            raise GppError(f"{section.name} lacks the field {name}")


def _field_bits(section: Section, field: Field, value: object) -> str:
    if field.size is None:
        numbers: Sequence[object] = [value]
    elif isinstance(value, (list, tuple)) and len(value) == field.size:
        numbers = value
    else:
        raise GppError(f"{section.name}.{field.name} is a list of {field.size} numbers")
    if not all(map(field.admits, numbers)):
        raise GppError(f"{section.name}.{field.name} cannot be {value!r}")
    return "".join(f"{number:02b}" for number in numbers)


def _decoded(section: Section, text: str) -> list[dict[str, Any]]:
    core, *others = text.split(".")
    reader = _Reader(core, section.name)
    version = reader.number(6)
    if version not in section.cores:
        raise GppError(f"{section.name} has version {version}, which is not known")
    found: dict[str, Any] = {section.version_field: version}
    for field in section.cores[version]:
        numbers = [reader.number(2) for _ in range(field.size or 1)]
        if not all(map(field.admits, numbers)):
            raise GppError(f"{section.name}.{field.name} has a value that it cannot have")
        found[field.name] = numbers[0] if field.size is None else numbers
    reader.end()
    if len(others) > section.has_gpc:
        raise GppError(f"{section.name} has more parts than it can have")
    return [found, *(_decoded_gpc(section, other) for other in others)]


def _decoded_gpc(section: Section, text: str) -> dict[str, Any]:
    reader = _Reader(text, f"the sub-section of {section.name}")
    if reader.number(2) != _GPC_TYPE[1]:
        raise GppError(f"the sub-section of {section.name} is not about GPC")
    is_set = bool(reader.number(1))
    reader.end()
    return {_GPC_TYPE[0]: _GPC_TYPE[1], _GPC: is_set}


def _text(bits: str) -> str:
    """Return bits in base64url without padding: whole bytes of them, as those write who wrote the specification."""
    size = -len(bits) % 8 + len(bits)
    padded = bits.ljust(-size % 6 + size, "0")
    return "".join(_CHARACTERS[int(padded[at : at + 6], 2)] for at in range(0, len(padded), 6))


class _Reader:
    """Reads a segment of a string, from its first bit to its last."""

    def __init__(self, text: str, what: str) -> None:
        if _SEGMENT.fullmatch(text) is None:
            raise GppError(f"{what} is not in base64url")
        self._bits = "".join(map(_BITS.__getitem__, text))
        self._at = 0
        self._what = what

    def number(self, size: int) -> int:
        """Return a number of so many bits."""
        end = self._at + size
        if end > len(self._bits):
            raise GppError(f"{self._what} ends too early")
        self._at, begin = end, self._at
        return int(self._bits[begin:end], 2)

    def fibonacci(self) -> int:
        """Return a number in Fibonacci code: it ends with the first two ones in a row."""
        end = self._bits.find("11", self._at, self._at + _LONGEST_CODE) + 1
        if not end:
            raise GppError(f"{self._what} has a number that does not end")
        code = self._bits[self._at : end]
        self._at = end + 1
        return sum(weight for bit, weight in zip(code, _weights(len(code)), strict=True) if bit == "1")

    def end(self) -> None:
        """Be at the end: up to the next whole byte and character, there are zeros."""
        used, rest = self._at, self._bits[self._at :]
        whole = -used % 8 + used
        # Some pad to whole characters alone, as the specification's words have it.
        if len(self._bits) not in (-used % 6 + used, -whole % 6 + whole) or "1" in rest:
            raise GppError(f"{self._what} goes on behind its end")


def _weights(count: int) -> Iterator[int]:
    """Yield the Fibonacci numbers that the bits of a code stand for: 1, 2, 3, 5, 8 and so on."""
    one, next_one = 1, 2
    for _ in range(count):
        yield one
        one, next_one = next_one, one + next_one


def _fibonacci_bits(number: int) -> str:
    weights = [weight for weight in _weights(_LONGEST_CODE) if weight <= number]
    bits = ""
    for weight in reversed(weights):
        bits = f"{int(weight <= number)}{bits}"
        number -= weight * (weight <= number)
    return bits + "1"


def _range_bits(numbers: Sequence[int]) -> str:
    """Return ascending numbers as a list: each as its distance from the last, neighbours as one item."""
    runs = [
        [number for _, number in run]
        for _, run in groupby(enumerate(numbers), key=lambda pair: pair[1] - pair[0])
    ]
    bits, last = f"{len(runs):012b}", 0
    for run in runs:
        bits += f"{int(len(run) > 1)}{_fibonacci_bits(run[0] - last)}"
        if len(run) > 1:
            bits += _fibonacci_bits(run[-1] - run[0])
        last = run[-1]
    return bits


def _range(reader: _Reader, highest: int) -> Iterator[int]:
    known = {section.id for section in sections().values()}
    last = 0
    for _ in range(reader.number(12)):
        is_run = reader.number(1)
        first = last + reader.fibonacci()
        last = first + reader.fibonacci() if is_run else first
        if last > highest or not known.issuperset(range(first, last + 1)):
            raise GppError(
                f"the header names section {first if first not in known else last}, which is not known"
            )
        yield from range(first, last + 1)
