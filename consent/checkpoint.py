"""Checkpoints: the size and root of a log at one moment, signed; and proofs that bring their checkpoint along.

The forms are those of C2SP: tlog-checkpoint, signed-note with Ed25519, tlog-proof. They are read strictly: one
spelling, nothing before or after it.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from consent.errors import InvalidProofError
from consent.merkle import HASH_BYTES, MAX_SIZE, verify_inclusion

MAX_NOTE_BYTES: Final = 64 * 1024
MAX_SIGNATURES: Final = 100
MAX_PROOF_HASHES: Final = 64
PROOF_HEADING: Final = "c2sp.org/tlog-proof@v1"

_ED25519 = b"\x01"
_NAME = re.compile(r"[^\s+\x00-\x1f\x7f]+")
_SIGNATURE = re.compile(r"\u2014 (\S+) (\S+)")
_DECIMAL = re.compile(r"0|[1-9][0-9]{0,15}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Verifier:
    """A public key that a log signs with, and the name that goes with it.

    Raises:
        InvalidProofError: the name or the key does not have the form of one.
    """

    name: str
    public_key: bytes
    """Ed25519, 32 bytes."""

    def __post_init__(self) -> None:
        if _NAME.fullmatch(self.name) is None:
            raise InvalidProofError(f"a key's name has no blanks and no plus sign: {self.name!r:.80}")
        if len(self.public_key) != HASH_BYTES:
            raise InvalidProofError(f"a public key has 32 bytes, not {len(self.public_key)}")

    @property
    def key_id(self) -> bytes:
        """The four bytes that its signatures begin with."""
        return sha256(self.name.encode() + b"\n" + _ED25519 + self.public_key).digest()[:4]

    def __str__(self) -> str:
        """Return the key as verifiers take it: ``name+id+key``."""
        return f"{self.name}+{self.key_id.hex()}+{_base64(_ED25519 + self.public_key)}"

    @classmethod
    def parse(cls, text: str) -> Verifier:
        """Read what ``str`` writes.

        Raises:
            InvalidProofError: it is not a key, or not an Ed25519 key.
        """
        # The key is base64 and can hold a plus sign, too.
        name, _, rest = text.partition("+")
        key_id, _, encoded = rest.partition("+")
        try:
            key = _unbase64(encoded)
        except InvalidProofError:
            key = b""
        if key[:1] != _ED25519 or len(key) != 1 + HASH_BYTES:
            raise InvalidProofError(f"{text!r:.120} is no key: it reads name+id+key, with an Ed25519 key")
        verifier = cls(name, key[1:])
        if key_id != verifier.key_id.hex():
            raise InvalidProofError(f"{text!r:.120}: the id does not belong to this name and key")
        return verifier


class Signer:
    """Signs notes with one key.

    Args:
        name: the log's origin.
        seed: the Ed25519 private key, 32 bytes.
    """

    def __init__(self, name: str, seed: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.verifier = Verifier(name, self._key.public_key().public_bytes_raw())

    def sign(self, text: str) -> str:
        """Return ``text``, which ends in a newline, as a signed note."""
        signature = self.verifier.key_id + self._key.sign(text.encode())
        return f"{text}\n\u2014 {self.verifier.name} {_base64(signature)}\n"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a log was at one moment.

    Raises:
        InvalidProofError: a field does not have the form described here.
    """

    origin: str
    """Which log it is."""
    size: int
    """How many leaves it had."""
    root: bytes
    """The root over them, 32 bytes."""

    def __post_init__(self) -> None:
        if _NAME.fullmatch(self.origin) is None:
            raise InvalidProofError(f"an origin has no blanks and no plus sign: {self.origin!r:.80}")
        if not 0 <= self.size <= MAX_SIZE:
            raise InvalidProofError(f"no log has {self.size} leaves")
        if len(self.root) != HASH_BYTES:
            raise InvalidProofError(f"a root has 32 bytes, not {len(self.root)}")

    def text(self) -> str:
        """Return what is signed."""
        return f"{self.origin}\n{self.size}\n{_base64(self.root)}\n"

    @classmethod
    def parse(cls, text: str) -> Checkpoint:
        """Read what :meth:`text` writes. A checkpoint with extension lines is refused: this log writes none.

        Raises:
            InvalidProofError: it is not a checkpoint.
        """
        lines = text.split("\n")
        if len(lines) != 4 or lines[3]:
            raise InvalidProofError("a checkpoint is three lines: origin, size and root")
        origin, size, root = lines[:3]
        return cls(origin, _decimal(size), _unbase64(root))

    @classmethod
    def of_note(cls, note: str) -> Checkpoint:
        """Read the checkpoint in a signed note of one's own, without looking at its signatures.

        Raises:
            InvalidProofError: it is not one.
        """
        return cls.parse(note.rpartition("\n\n")[0] + "\n")


def open_note(note: str, verifiers: Iterable[Verifier]) -> str:
    """Return the text of a signed note that one of ``verifiers`` signed.

    Signatures of other keys are passed over, so that keys can be rotated and witnesses can sign, too.

    Raises:
        InvalidProofError: it is no signed note, none of the keys signed it, or one of them did not although
            it is named.
    """
    text, signatures = _split_note(note)
    known = {(verifier.name, verifier.key_id): verifier for verifier in verifiers}
    verified = False
    for name, signature in signatures:
        verifier = known.get((name, signature[:4]))
        if verifier is None:
            continue
        try:
            Ed25519PublicKey.from_public_bytes(verifier.public_key).verify(signature[4:], text.encode())
        except (InvalidSignature, ValueError):
            raise InvalidProofError(f"the signature of {name} is not that of its key") from None
        verified = True
    if not verified:
        names = ", ".join(sorted({name for name, _ in signatures}))
        raise InvalidProofError(f"signed by none of the keys given, but by {names:.200}")
    return text


def open_checkpoint(note: str, verifiers: Iterable[Verifier]) -> Checkpoint:
    """Return the checkpoint in a signed note.

    Raises:
        InvalidProofError: as for :func:`open_note`, or it is no checkpoint, or signed in another log's name.
    """
    verifiers = tuple(verifiers)
    checkpoint = Checkpoint.parse(open_note(note, verifiers))
    if checkpoint.origin not in {verifier.name for verifier in verifiers}:
        raise InvalidProofError(f"a checkpoint of {checkpoint.origin}, signed in another log's name")
    return checkpoint


@dataclass(frozen=True, slots=True)
class InclusionProof:
    """Proves that one leaf is in a log, to whoever knows the log's key. (C2SP tlog-proof.)"""

    index: int
    """The leaf's, 0 for the first."""
    hashes: Sequence[bytes]
    """From the leaf's neighbour up to the root's child."""
    checkpoint: str
    """The signed note."""

    def text(self) -> str:
        """Return it as it is kept in files."""
        lines = (PROOF_HEADING, f"index {self.index}", *map(_base64, self.hashes), "", self.checkpoint)
        return "\n".join(lines)

    @classmethod
    def parse(cls, text: str) -> InclusionProof:
        """Read what :meth:`text` writes; the signature is not looked at yet.

        Raises:
            InvalidProofError: it is not such a proof.
        """
        if len(text) > MAX_NOTE_BYTES:
            raise InvalidProofError(f"a proof of more than {MAX_NOTE_BYTES} characters")
        head, blank, note = text.partition("\n\n")
        heading, *lines = head.split("\n")
        if heading != PROOF_HEADING or not blank or not lines or not lines[0].startswith("index "):
            raise InvalidProofError(f"a proof begins with {PROOF_HEADING} and an index")
        index = _decimal(lines[0].removeprefix("index "))
        if len(lines) > 1 + MAX_PROOF_HASHES:
            raise InvalidProofError(f"a proof of more than {MAX_PROOF_HASHES} hashes")
        hashes = tuple(_unbase64(line) for line in lines[1:])
        if any(len(part) != HASH_BYTES for part in hashes):
            raise InvalidProofError("a hash in a proof has 32 bytes")
        return cls(index, hashes, note)

    def verify(self, leaf: bytes, verifiers: Iterable[Verifier]) -> Checkpoint:
        """Check that the leaf with this hash is in the log; return the checkpoint that says so.

        Raises:
            InvalidProofError: it does not follow from the proof, or nobody trusted signed the checkpoint.
        """
        checkpoint = open_checkpoint(self.checkpoint, verifiers)
        verify_inclusion(leaf, self.index, checkpoint.size, self.hashes, checkpoint.root)
        return checkpoint


def _split_note(note: str) -> tuple[str, list[tuple[str, bytes]]]:
    if len(note) > MAX_NOTE_BYTES:
        raise InvalidProofError(f"a note of more than {MAX_NOTE_BYTES} characters")
    if any(
        (character < " " and character != "\n") or "\ud800" <= character <= "\udfff" for character in note
    ):
        raise InvalidProofError("a note is text without control characters")
    text, blank, tail = note.rpartition("\n\n")
    if not blank or not text or not tail.endswith("\n"):
        raise InvalidProofError("a signed note is text, an empty line and lines with signatures")
    lines = tail[:-1].split("\n")
    if len(lines) > MAX_SIGNATURES:
        raise InvalidProofError(f"more than {MAX_SIGNATURES} signatures")
    signatures = []
    for line in lines:
        found = _SIGNATURE.fullmatch(line)
        if found is None or _NAME.fullmatch(found[1]) is None:
            raise InvalidProofError(f"this is no signature: {line!r:.120}")
        signature = _unbase64(found[2])
        if len(signature) <= 4:
            raise InvalidProofError("a signature is longer than its key's id")
        signatures.append((found[1], signature))
    return text + "\n", signatures


def _decimal(text: str) -> int:
    if _DECIMAL.fullmatch(text) is None:
        raise InvalidProofError(f"{text!r:.40} is no whole number without leading zeroes")
    return int(text)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _unbase64(text: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        data = b""
    # The decoder passes over bits that do not count: two texts would have one meaning.
    if not data or _base64(data) != text:
        raise InvalidProofError(f"{text!r:.120} is not base64")
    return data
