"""The log as anybody may see it: its checkpoint, tiles and proofs over HTTP.

Where things are and how they read is C2SP's tlog-tiles; what is in a leaf says nothing about anybody.
"""

from __future__ import annotations

import json
import logging
from base64 import b64encode
from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import parse_qsl

from starlette.types import Receive, Scope, Send

from consent.checkpoint import Checkpoint, InclusionProof
from consent.errors import ConsentError, InvalidProofError
from consent.log_reading import LogReading
from consent.merkle import Tiles, consistency_proof, inclusion_proof, parse_tile_path, tile_width
from consent.store import Ledger

logger = logging.getLogger("consent")

_TEXT = (b"content-type", b"text/plain; charset=utf-8")
_JSON = (b"content-type", b"application/json")
_BYTES = (b"content-type", b"application/octet-stream")
_MOMENT = (b"cache-control", b"public, max-age=1")
_FOREVER = (b"cache-control", b"public, max-age=31536000, immutable")
_NEVER = (b"cache-control", b"no-store")
_NOSNIFF = (b"x-content-type-options", b"nosniff")


class _Answer(NamedTuple):
    status: int
    headers: Sequence[tuple[bytes, bytes]]
    body: bytes


class LedgerEndpoints:
    """The ASGI app for everything under ``ledger/``.

    Args:
        prefix: where it is mounted, without a slash at the end.
        log: reads the log.
    """

    def __init__(self, prefix: str, log: LogReading) -> None:
        self._prefix = prefix
        self._log = log

    def answers(self, path: str) -> bool:
        """Tell whether a path is one of these."""
        return path.startswith(f"{self._prefix}/ledger/")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] in ("GET", "HEAD"):
            answer = await self._answer(scope)
        else:
            answer = _error(405, "method-not-allowed", "this is read with GET", (b"allow", b"GET, HEAD"))
        length = (b"content-length", b"%d" % len(answer.body))
        headers = [*answer.headers, _NOSNIFF, length]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else answer.body})

    async def _answer(self, scope: Scope) -> _Answer:
        path: str = scope["path"]
        name = path.removeprefix(f"{self._prefix}/ledger/")
        try:
            return await self._log.read(lambda log: self._resource(name, scope, log))
        except ConsentError:
            logger.exception("%s could not be answered", path)
            return _error(503, "unavailable", "the log cannot be read now", (b"retry-after", b"10"))

    def _resource(self, name: str, scope: Scope, ledger: Ledger) -> _Answer:
        if name == "keys":
            lines = [f"{verifier}\n" for verifier in ledger.verifiers()]
            return _Answer(200, (_TEXT, _MOMENT), "".join(lines).encode())
        note = ledger.checkpoint()
        if note is None:
            return _NOT_FOUND
        if name == "checkpoint":
            return _Answer(200, (_TEXT, _MOMENT), note.encode())
        size = Checkpoint.of_note(note).size
        if name.startswith("tile/"):
            return _tile(name, size, ledger)
        try:
            asked = dict(parse_qsl(scope.get("query_string", b"").decode("latin-1"), max_num_fields=4))
            tiles = Tiles(size, lambda level, index, width: ledger.tile(level, index, width) or b"")
            if name == "inclusion" and asked.keys() == {"index"}:
                index = _number(asked["index"])
                proof = InclusionProof(index, inclusion_proof(index, size, tiles.subtree), note)
                return _Answer(200, (_TEXT, _MOMENT), proof.text().encode())
            if name == "consistency" and asked.keys() == {"old"}:
                old = _number(asked["old"])
                hashes = [b64encode(part).decode() for part in consistency_proof(old, size, tiles.subtree)]
                content = {"old": old, "new": size, "hashes": hashes, "checkpoint": note}
                return _Answer(200, (_JSON, _MOMENT), json.dumps(content).encode())
        except (InvalidProofError, ValueError):
            return _NOT_FOUND
        return _NOT_FOUND


def _tile(name: str, size: int, ledger: Ledger) -> _Answer:
    """Answer with a tile, or the leaves of one; only as far as the checkpoint goes."""
    asked = parse_tile_path(name)
    if asked is None:
        return _NOT_FOUND
    level, index, width = asked
    if width > tile_width(level or 0, index, size):
        return _NOT_FOUND
    if level is None:
        leaves = ledger.leaves(256 * index, width)
        body = b"".join([len(leaf.commitment).to_bytes(2, "big") + leaf.commitment for leaf in leaves])
        return _Answer(200, (_BYTES, _FOREVER), body)
    hashes = ledger.tile(level, index, width)
    return _NOT_FOUND if hashes is None else _Answer(200, (_BYTES, _FOREVER), hashes)


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 16):
        raise ValueError("not a number")
    return int(text)


def _error(status: int, code: str, message: str, *headers: tuple[bytes, bytes]) -> _Answer:
    cache = () if any(name == b"cache-control" for name, _ in headers) else (_NEVER,)
    body = json.dumps({"error": {"code": code, "message": message}}).encode()
    return _Answer(status, (_JSON, *cache, *headers), body)


_NOT_FOUND = _error(404, "not-found", "there is no such part of the log")
