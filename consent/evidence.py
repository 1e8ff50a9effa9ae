"""A record with all that proves it, as a file: for whoever has the log's key, and nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from consent.canonical_json import canonical_json, parse_json
from consent.checkpoint import Checkpoint, InclusionProof, Verifier
from consent.errors import InvalidProofError, InvalidReceiptError
from consent.merkle import leaf_hash
from consent.sealing import SALT_BYTES, commitment

MAX_EVIDENCE_BYTES = 2 * 1024 * 1024

_SALT = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Evidence:
    """A record of the log, the salt that its leaf commits to it with, and the proof that the leaf is in the log."""

    record: bytes
    """Canonical bytes of a receipt, or of an erasure."""
    salt: bytes = field(repr=False)
    proof: InclusionProof

    def verify(self, verifiers: Iterable[Verifier]) -> Checkpoint:
        """Check that the record is in the log; return the checkpoint that says so.

        Raises:
            InvalidProofError: it is not, or nobody trusted says so.
        """
        return self.proof.verify(leaf_hash(commitment(self.salt, self.record)), verifiers)

    def text(self) -> str:
        """Return it as it is kept in files: JSON, for people to read, too."""
        content = {"record": json.loads(self.record), "salt": self.salt.hex(), "proof": self.proof.text()}
        return json.dumps(content, ensure_ascii=False, indent=2) + "\n"

    @classmethod
    def parse(cls, text: bytes) -> Evidence:
        """Read what :meth:`text` writes, in any layout; nothing is verified yet.

        Raises:
            InvalidProofError: it is not evidence.
        """
        try:
            content = parse_json(text, max_bytes=MAX_EVIDENCE_BYTES)
            if not isinstance(content, dict) or content.keys() != {"record", "salt", "proof"}:
                raise InvalidProofError("evidence is an object with the members record, salt and proof")
            record, salt, proof = content["record"], content["salt"], content["proof"]
            if not isinstance(record, dict) or not isinstance(proof, str):
                raise InvalidProofError("the record is an object, and the proof a string")
            if not isinstance(salt, str) or _SALT.fullmatch(salt) is None:
                raise InvalidProofError(f"the salt is {2 * SALT_BYTES} lower-case hexadecimal digits")
            return cls(canonical_json(record), bytes.fromhex(salt), InclusionProof.parse(proof))
        except InvalidReceiptError as error:
            raise InvalidProofError(str(error)) from None
