"""Checking what a log's keeper gave away of some days: with the log's key, and nothing else."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from hashlib import sha256
from typing import Any, BinaryIO

from consent.canonical_json import canonical_json, parse_canonical
from consent.checkpoint import MAX_NOTE_BYTES, Checkpoint, Verifier, open_checkpoint, open_note
from consent.errors import InvalidProofError
from consent.log_export import read_lines
from consent.merkle import HASH_BYTES, leaf_hash, split_hashes
from consent.merkle_span import Span
from consent.period_proof import FORMAT, STATEMENT, Period, Seen
from consent.sealing import SALT_BYTES, commitment


@dataclass(frozen=True, slots=True)
class ProvenPeriod:
    """What a proof proves, and what was only stated of it."""

    origin: str
    period: Period
    first: int
    """The first leaf that is in it."""
    end: int
    """The one after the last."""
    size: int
    """How many leaves the log had when it was made."""
    made: str
    """When: RFC 3339, as it was stated."""
    with_records: bool
    outcomes: Mapping[str, int]
    """How many receipts of the period there were, by outcome. Counted, where it has the records; else as stated."""
    erasures: int
    """How many erasures it has."""
    checkpoints: int
    """How many checkpoints of the days were found to be of this log."""

    @property
    def receipts(self) -> int:
        """How many receipts of the period there were."""
        return sum(self.outcomes.values())


def verify_period(file: BinaryIO, verifiers: Iterable[Verifier], older: str | None = None) -> ProvenPeriod:
    """Check what :func:`period_lines` wrote.

    Args:
        file: it.
        verifiers: the keys that are believed; those in the file are not.
        older: a checkpoint that was kept elsewhere, a signed note.

    Raises:
        InvalidProofError: it is none, is cut off, or does not prove what it says.
    """
    return _Reading(file, tuple(verifiers), older).proven()


class _Reading:
    def __init__(self, file: BinaryIO, verifiers: Sequence[Verifier], older: str | None) -> None:
        self._digest = sha256()
        self._lines = read_lines(_Digested(file, self._digest))  # type: ignore[arg-type]
        self._verifiers = verifiers
        self._artefacts: set[str] = set()
        try:
            _, heading = next(self._lines, (1, {}))
            if heading.get("format") != FORMAT:
                raise InvalidProofError(f"line 1: it begins with its format, {FORMAT}")
            self._heading = heading
            sites = heading["sites"]
            self._period = Period(
                first_day=_day(heading["from"]),
                last_day=_day(heading["to"]),
                sites=() if sites is None else tuple(map(str, sites)),
            )
            self._whole = open_checkpoint(str(heading["checkpoint"]), verifiers)
            self._span = Span(_number(heading["first"]), _hash_list(heading["before"]))
            self._seen = Seen(self._period)
            self._checkpoints: dict[int, list[tuple[str, Checkpoint]]] = {}
            notes = [(str(note), f"checkpoint {at}") for at, note in enumerate(heading["checkpoints"], 1)]
            if older is not None:
                notes.append((older, "the older checkpoint"))
            for note, place in notes:
                self._expect(note, place)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise _at(1, error) from None

    def proven(self) -> ProvenPeriod:
        found = 0
        for number, content in self._lines:
            try:
                if "hashes" in content:
                    for each in split_hashes(_unbase64(content["hashes"])):
                        found += self._add(each)
                elif "leaf" in content:
                    found += self._add(self._record(content))
                elif "artefact" in content:
                    name = str(content["artefact"])
                    if sha256(_unbase64(content["content"])).hexdigest() != name:
                        raise ValueError(f"artefact {name:.64}: its content has another SHA-256")
                    self._artefacts.add(name)
                elif "after" in content:
                    found += self._close(_hash_list(content["after"]))
                    covered = self._digest.hexdigest()
                    number, content = next(self._lines, (number + 1, {}))
                    proven = self._stated(str(content["statement"]), covered, found)
                    if next(self._lines, None) is not None:
                        raise ValueError("something follows the last line")
                    return proven
                else:
                    raise ValueError("it is no line of such a proof")
            except (KeyError, TypeError, ValueError, AttributeError, binascii.Error) as error:
                raise _at(number, error) from None
        raise InvalidProofError("it is cut off: its last line is missing")

    def _expect(self, note: str, place: str) -> None:
        checkpoint = open_checkpoint(note, self._verifiers)
        if checkpoint.origin != self._whole.origin:
            raise InvalidProofError(f"{place} is one of another log, {checkpoint.origin}")
        end = _number(self._heading["end"])
        if checkpoint.size != self._whole.size and not self._span.size <= checkpoint.size <= end:
            raise InvalidProofError(
                f"{place} is of {checkpoint.size} leaves: whether the log continues it, a proof of leaves "
                f"{self._span.size} to {end} does not show"
            )
        self._checkpoints.setdefault(checkpoint.size, []).append((place, checkpoint))

    def _found(self) -> int:
        """Hold the checkpoints of as many leaves as there were against these; return how many there are."""
        due = self._checkpoints.pop(self._span.size, ())
        for place, checkpoint in due:
            if checkpoint.root != self._span.root():
                raise ValueError(
                    f"{place}: the first {checkpoint.size} leaves are not those it was signed of"
                )
        return len(due)

    def _add(self, hash: bytes) -> int:
        found = self._found()
        self._span.add(hash)
        return found

    def _record(self, content: Mapping[str, Any]) -> bytes:
        if not self._heading["records"]:
            raise ValueError("a record, in a proof that says it has none")
        if _number(content["leaf"]) != self._span.size:
            raise ValueError(f"after {self._span.size} leaves comes leaf {content['leaf']}")
        salt, record = bytes.fromhex(content["salt"]), canonical_json(content["record"])
        if len(salt) != SALT_BYTES:
            raise ValueError(f"a salt has {SALT_BYTES} bytes")
        if not self._seen.counts(record):
            raise ValueError(f"the record of leaf {self._span.size} is of another time or site")
        return leaf_hash(commitment(salt, record))

    def _close(self, after: Sequence[bytes]) -> int:
        if self._span.size != _number(self._heading["end"]):
            raise ValueError(f"the leaves end at {self._span.size}, not at {self._heading['end']}")
        found = self._found()
        if self._span.close(after, self._whole.size) != self._whole.root:
            raise ValueError("the leaves do not lead to the root of the checkpoint")
        found += self._found()
        if missing := sorted(self._seen.referred - self._artefacts):
            raise ValueError(f"artefact {missing[0]}: a receipt refers to it, and it is missing")
        return found

    def _stated(self, note: str, covered: str, found: int) -> ProvenPeriod:
        heading, newline, text = open_note(note, self._verifiers).partition("\n")
        if heading != STATEMENT or not newline:
            raise ValueError("the statement is about something else")
        stated = parse_canonical(text.removesuffix("\n").encode(), max_bytes=MAX_NOTE_BYTES)
        if not isinstance(stated, dict) or stated["sha256"] != covered:
            raise ValueError("what was signed is about other lines")
        for name in ("log", "from", "to", "sites", "records", "first", "end"):
            if stated[name] != self._heading[name]:
                raise ValueError(
                    f"the statement says {name} {stated[name]!r:.80}, and the first line does not"
                )
        if (stated["log"], stated["size"]) != (self._whole.origin, self._whole.size):
            raise ValueError("the statement is about another checkpoint")
        outcomes = {str(name): _number(count) for name, count in stated["receipts"].items()}
        if self._heading["records"] and outcomes != dict(self._seen.outcomes):
            raise ValueError(
                f"the statement says receipts {outcomes}, and there are {dict(self._seen.outcomes)}"
            )
        return ProvenPeriod(
            self._whole.origin,
            self._period,
            _number(self._heading["first"]),
            _number(self._heading["end"]),
            self._whole.size,
            str(stated["made"]),
            bool(self._heading["records"]),
            outcomes,
            self._seen.erasures,
            found,
        )


class _Digested:
    """Reads lines, and knows the SHA-256 of those read so far."""

    def __init__(self, file: BinaryIO, digest: Any) -> None:
        self._file, self._digest = file, digest

    def readline(self, limit: int) -> bytes:
        line = self._file.readline(limit)
        self._digest.update(line)
        return line


def _at(number: int, error: Exception) -> InvalidProofError:
    said = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else str(error)
    return InvalidProofError(f"line {number}: {said}")


def _day(text: object) -> str:
    if not isinstance(text, str) or len(text) != 10 or date.fromisoformat(text).isoformat() != text:
        raise ValueError("a day is written 2026-03-01")
    return text


def _number(value: object) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"{value!r:.40} is no number of leaves")
    return value


def _hash_list(values: object) -> list[bytes]:
    if not isinstance(values, list):
        raise TypeError("hashes are a list")
    hashes = [_unbase64(each) for each in values]
    if any(len(each) != HASH_BYTES for each in hashes):
        raise ValueError(f"a hash has {HASH_BYTES} bytes")
    return hashes


def _unbase64(text: object) -> bytes:
    if not isinstance(text, str):
        raise TypeError("bytes are written in base64")
    return base64.b64decode(text, validate=True)
