"""A whole log in one file: lines of JSON that somebody without database and secrets can check.

The first line has the checkpoints, then come the leaves with their records and salts, each full tile after the leaves
that it covers, at the end the other tiles and what receipts refer to. The last line says how many leaves there were.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO, Protocol

from consent.canonical_json import canonical_json, parse_canonical, parse_json
from consent.checkpoint import Verifier
from consent.errors import InvalidProofError, InvalidReceiptError
from consent.log_verification import LogVerification
from consent.merkle import TILE_WIDTH, edge_widths, parse_tile_path, tile_path
from consent.receipt_search import FoundBy
from consent.receipts import MAX_ARTEFACT_BYTES, Artefact
from consent.store import Leaf

FORMAT = "asgi-consent-log-1"
MAX_LINE_BYTES = 2 * MAX_ARTEFACT_BYTES


class WholeLog(Protocol):
    """What is needed of a log to export or to verify it. All answers are of one moment."""

    def checkpoints(self) -> Sequence[tuple[str, str]]:
        """Return the checkpoints that are kept, the earliest first: day and note."""

    def leaves(self, first: int, limit: int) -> Sequence[Leaf]:
        """Return leaves. See :meth:`consent.store.Ledger.leaves`."""

    def found_by(self, first: int, limit: int) -> Mapping[int, FoundBy]:
        """Return what the receipts at leaves are found by, altered or not."""

    def stored_tile(self, level: int, index: int, width: int) -> bytes:
        """Return what is kept of a tile, up to ``width`` hashes, altered or not."""

    def artefact_hashes(self) -> Sequence[str]:
        """Return the names of all artefacts."""

    def stored_artefact(self, hash: str) -> Artefact | None:
        """Return what is kept under this name, altered or not."""


def export_lines(log: WholeLog) -> Iterator[bytes]:
    """Yield the lines of an export, each with its newline."""
    yield json_line({"format": FORMAT, "checkpoints": [note for _, note in log.checkpoints()]})
    first = size = 0
    while leaves := log.leaves(first, TILE_WIDTH):
        for leaf in leaves:
            yield _leaf_line(leaf)
        size = leaves[-1].number + 1
        first += TILE_WIDTH
        if size == first:
            yield _tile_line(log, 0, size // TILE_WIDTH - 1, TILE_WIDTH)
    for level, index, width in _other_tiles(size):
        yield _tile_line(log, level, index, width)
    for name in log.artefact_hashes():
        artefact = log.stored_artefact(name)
        if artefact is not None:
            content = base64.b64encode(artefact.content).decode()
            yield json_line({"artefact": name, "media_type": artefact.media_type, "content": content})
    yield json_line({"leaves": size})


def verify_log(log: WholeLog, verifiers: Iterable[Verifier], older: str | None = None) -> LogVerification:
    """Check a log where it is kept.

    Args:
        log: the log.
        verifiers: the keys that are believed.
        older: a checkpoint that was kept elsewhere, a signed note.

    Raises:
        InvalidProofError: the log cannot be read on.
    """
    verification = _begun(verifiers, older)
    for day, note in log.checkpoints():
        verification.checkpoint(note, f"checkpoint of {day}")
    first = 0
    while leaves := log.leaves(first, TILE_WIDTH):
        found_by = log.found_by(first, TILE_WIDTH)
        for leaf in leaves:
            verification.leaf(leaf, found_by.get(leaf.number))
        first += TILE_WIDTH
        if verification.size == first:
            index = first // TILE_WIDTH - 1
            verification.tile(0, index, log.stored_tile(0, index, TILE_WIDTH))
    for level, index, width in _other_tiles(verification.size):
        verification.tile(level, index, log.stored_tile(level, index, width))
    for name in log.artefact_hashes():
        artefact = log.stored_artefact(name)
        if artefact is not None:
            verification.artefact(name, artefact.content)
    verification.finish()
    return verification


def verify_export(file: BinaryIO, verifiers: Iterable[Verifier], older: str | None = None) -> LogVerification:
    """Check an export. The arguments are those of :func:`verify_log`.

    Raises:
        InvalidProofError: it is no export, or is cut off; the message says where.
    """
    verification = _begun(verifiers, older)
    lines = read_lines(file)
    number, first = next(lines, (1, {}))
    if first.get("format") != FORMAT or not isinstance(first.get("checkpoints"), list):
        raise InvalidProofError(f"line {number}: an export begins with its format, {FORMAT}, and checkpoints")
    for place, note in enumerate(first["checkpoints"], 1):
        verification.checkpoint(str(note), f"checkpoint {place}")
    for number, content in lines:
        try:
            if "leaf" in content:
                verification.leaf(_leaf(content))
            elif "tile" in content:
                tile = parse_tile_path(content["tile"].partition(".p/")[0])
                if tile is None or tile[0] is None:
                    raise ValueError("no such tile")
                verification.tile(tile[0], tile[1], base64.b64decode(content["hashes"], validate=True))
            elif "artefact" in content:
                verification.artefact(
                    content["artefact"], base64.b64decode(content["content"], validate=True)
                )
            else:
                if content != {"leaves": verification.size}:
                    raise ValueError(f"there were {verification.size} leaves")
                if next(lines, None) is not None:
                    raise ValueError("something follows the last line")
                verification.finish()
                return verification
        except (KeyError, TypeError, ValueError, AttributeError, binascii.Error) as error:
            raise InvalidProofError(f"line {number}: {error}") from None
    raise InvalidProofError("the export is cut off: its last line is missing")


def _begun(verifiers: Iterable[Verifier], older: str | None) -> LogVerification:
    verification = LogVerification(verifiers)
    if older is not None:
        verification.checkpoint(older, "the older checkpoint")
    return verification


def _other_tiles(size: int) -> Iterator[tuple[int, int, int]]:
    """Yield the tiles that are not full tiles of level 0: level, index and width."""
    for level, width in enumerate(edge_widths(size)):
        full = (size >> (8 * level)) // TILE_WIDTH
        if level:
            for index in range(full):
                yield level, index, TILE_WIDTH
        if width:
            yield level, full, width


def _tile_line(log: WholeLog, level: int, index: int, width: int) -> bytes:
    hashes = base64.b64encode(log.stored_tile(level, index, width)).decode()
    return json_line({"tile": tile_path(level, index, width), "hashes": hashes})


def _leaf_line(leaf: Leaf) -> bytes:
    content: dict[str, object] = {"leaf": leaf.number, "commitment": leaf.commitment.hex(), "record": None}
    broken = leaf.broken
    if leaf.record is not None:
        try:
            content["record"] = parse_canonical(leaf.record, max_bytes=MAX_LINE_BYTES)
        except InvalidReceiptError as error:
            broken = str(error)
    content["salt"] = None if leaf.salt is None or broken else leaf.salt.hex()
    return json_line({**content, "broken": broken} if broken else content)


def _leaf(content: dict[str, Any]) -> Leaf:
    record, salt = content["record"], content["salt"]
    return Leaf(
        content["leaf"],
        bytes.fromhex(content["commitment"]),
        None if salt is None else bytes.fromhex(salt),
        None if record is None else canonical_json(record),
        content.get("broken"),
    )


def json_line(content: Mapping[str, object]) -> bytes:
    """Return a line of an export, with its newline."""
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def read_lines(file: BinaryIO) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the lines of an export as they are read: their numbers, from 1 on, and what is in them.

    Raises:
        InvalidProofError: one is no JSON object, or too long.
    """
    number = 0
    while line := file.readline(MAX_LINE_BYTES + 1):
        number += 1
        try:
            content = parse_json(line, max_bytes=MAX_LINE_BYTES)
        except InvalidReceiptError as error:
            raise InvalidProofError(f"line {number}: {error}") from None
        if not isinstance(content, dict):
            raise InvalidProofError(f"line {number}: not a JSON object")
        yield number, content
