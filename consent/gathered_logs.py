"""Several logs under one root: their checkpoints are the leaves of a tree, in the order of their names.

Each log is proven by itself. Whoever publishes the root over their roots cannot show one checkpoint of a log to one
person, and another one to another.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from consent.canonical_json import parse_json
from consent.checkpoint import Checkpoint, Verifier, open_checkpoint
from consent.errors import InvalidProofError, InvalidReceiptError
from consent.merkle import inclusion_proof, leaf_hash, tree_root, verify_inclusion

FORMAT = "asgi-consent-logs-1"
MAX_GATHERED_BYTES = 4 * 1024 * 1024
MAX_LOGS = 1_000


@dataclass(frozen=True, slots=True)
class GatheredLog:
    """One log under the root."""

    checkpoint: str
    """The signed note. The leaf's data is its text, the three lines that are signed (RFC 9162)."""
    path: Sequence[bytes]
    """The hashes from the leaf's neighbour up to the root's child."""


@dataclass(frozen=True, slots=True)
class GatheredLogs:
    """Logs in the order of their origins, and the root over their checkpoints."""

    root: bytes
    logs: Sequence[GatheredLog]

    def verify(self, verifiers: Iterable[Verifier]) -> Sequence[Checkpoint]:
        """Check that each checkpoint was signed by its log and is under the root; return them.

        Raises:
            InvalidProofError: one was not, or is not, or they are not in their order.
        """
        trusted = tuple(verifiers)
        checkpoints = [open_checkpoint(log.checkpoint, trusted) for log in self.logs]
        _require_order(checkpoints)
        for index, (log, checkpoint) in enumerate(zip(self.logs, checkpoints, strict=True)):
            leaf = leaf_hash(checkpoint.text().encode())
            verify_inclusion(leaf, index, len(self.logs), log.path, self.root)
        return checkpoints

    def text(self) -> str:
        """Return it as it is kept in files: JSON, for people to read, too."""
        logs = [
            {"checkpoint": log.checkpoint, "path": [base64.b64encode(part).decode() for part in log.path]}
            for log in self.logs
        ]
        content = {"format": FORMAT, "root": base64.b64encode(self.root).decode(), "logs": logs}
        return json.dumps(content, ensure_ascii=False, indent=2) + "\n"

    @classmethod
    def parse(cls, text: bytes) -> GatheredLogs:
        """Read what :meth:`text` writes, in any layout; nothing is verified yet.

        Raises:
            InvalidProofError: it is something else.
        """
        try:
            content = parse_json(text, max_bytes=MAX_GATHERED_BYTES)
            if not isinstance(content, dict) or content.keys() != {"format", "root", "logs"}:
                raise InvalidProofError("gathered logs are an object with the members format, root and logs")
            if content["format"] != FORMAT or not isinstance(content["logs"], list):
                raise InvalidProofError(f"gathered logs have the format {FORMAT}, and a list of logs")
            return cls(_hash(content["root"]), [_log(item) for item in content["logs"][: MAX_LOGS + 1]])
        except InvalidReceiptError as error:
            raise InvalidProofError(str(error)) from None


def gather(notes: Iterable[str], verifiers: Iterable[Verifier]) -> GatheredLogs:
    """Put checkpoints under one root, one for each log.

    Args:
        notes: signed notes.
        verifiers: the logs' keys.

    Raises:
        InvalidProofError: a note was signed by none of the keys, or two are of one log.
    """
    trusted = tuple(verifiers)
    opened = sorted(
        ((open_checkpoint(note, trusted), note) for note in notes), key=lambda pair: pair[0].origin
    )
    _require_order([checkpoint for checkpoint, _ in opened])
    leaves = [leaf_hash(checkpoint.text().encode()) for checkpoint, _ in opened]

    def subtree(height: int, index: int) -> bytes:
        return tree_root(leaves[index << height : (index + 1) << height])

    logs = [
        GatheredLog(note, tuple(inclusion_proof(index, len(leaves), subtree)))
        for index, (_, note) in enumerate(opened)
    ]
    return GatheredLogs(tree_root(leaves), logs)


def _require_order(checkpoints: Sequence[Checkpoint]) -> None:
    origins = [checkpoint.origin for checkpoint in checkpoints]
    if not 1 <= len(origins) <= MAX_LOGS:
        raise InvalidProofError(f"1 to {MAX_LOGS} logs are gathered, not {len(origins)}")
    if origins != sorted(set(origins)):
        raise InvalidProofError("there is one checkpoint for each log, in the order of their origins")


def _log(item: object) -> GatheredLog:
    if not isinstance(item, dict) or item.keys() != {"checkpoint", "path"}:
        raise InvalidProofError("a gathered log is an object with the members checkpoint and path")
    note, path = item["checkpoint"], item["path"]
    if not isinstance(note, str) or not isinstance(path, list):
        raise InvalidProofError("a checkpoint is a string, and a path a list")
    return GatheredLog(note, tuple(map(_hash, path)))


def _hash(text: object) -> bytes:
    try:
        digest = base64.b64decode(text if isinstance(text, str) else "", validate=True)
    except (ValueError, binascii.Error):
        digest = b""
    if len(digest) != 32:
        raise InvalidProofError("a hash is 32 bytes in base64")
    return digest
