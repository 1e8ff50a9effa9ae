"""How records are kept so that they prove, and can still be forgotten.

The log holds a commitment to each record: SHA-256 over a random salt and the record's bytes. Record and salt are kept
beside the log, sealed under a key of the visitor's own; that key is kept wrapped under a key that is in no database.
Whoever destroys a visitor's key leaves a commitment that proves nothing about anybody: without the salt, nobody can
confirm a guess. (RFC 9162 leaves what is logged to the application.)
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import blake2b, sha256
from ssl import RAND_bytes
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from consent.errors import ConfigurationError, SealBrokenError

KEY_BYTES: Final = 32
SALT_BYTES: Final = 32
TAG_BYTES: Final = 16

_NONCE_BYTES = 12
_KEY_ID_BYTES = 4
WRAPPED_BYTES: Final = _KEY_ID_BYTES + _NONCE_BYTES + KEY_BYTES + 16

_NONCE_END: Final = _KEY_ID_BYTES + _NONCE_BYTES
# Where parts of the randomness for one record end.
_FIRST: Final = KEY_BYTES + SALT_BYTES
_SECOND: Final = _FIRST + _NONCE_BYTES
_END: Final = _SECOND + _NONCE_BYTES

RandomBytes = Callable[[int], bytes]


def commitment(salt: bytes, record: bytes) -> bytes:
    """Return what the log holds of a record: the data of its leaf, 32 bytes."""
    return sha256(salt + record).digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerKeys:
    """The secrets of one log. All processes and machines that record in it have the same.

    Raises:
        ConfigurationError: a key is missing, or is not 32 bytes long.
    """

    signing: tuple[bytes, ...] = field(repr=False)
    """Ed25519 private keys; the first signs checkpoints, what the others signed stays valid."""
    wrapping: tuple[bytes, ...] = field(repr=False)
    """AES-256 keys; the first wraps the visitors' keys, the others still unwrap."""
    index: bytes = field(repr=False)
    """Finds a visitor's records by the pseudonym. It cannot be rotated."""

    def __post_init__(self) -> None:
        for name, keys in (("signing", self.signing), ("wrapping", self.wrapping), ("index", (self.index,))):
            if not keys or any(len(key) != KEY_BYTES for key in keys):
                raise ConfigurationError(f"one {name} key at least, of {KEY_BYTES} bytes", key=name)

    @classmethod
    def generate(cls, random_bytes: RandomBytes = os.urandom) -> LedgerKeys:
        """Return new ones."""
        return cls(
            signing=(random_bytes(KEY_BYTES),),
            wrapping=(random_bytes(KEY_BYTES),),
            index=random_bytes(KEY_BYTES),
        )


class Sealer:
    """Seals and opens records under keys that are made, wrapped and unwrapped here. Safe to share between threads.

    Args:
        keys: the log's.
        random_bytes: the source of keys, salts and nonces. By default it is the generator of OpenSSL, as good as the
            system's, which reseeds after a fork. The system's is asked with the interpreter's lock let go: where
            another thread waits for it, that costs more than all the rest of a receipt.
    """

    def __init__(self, keys: LedgerKeys, random_bytes: RandomBytes = RAND_bytes) -> None:
        self._wrapping = {
            sha256(key).digest()[:_KEY_ID_BYTES]: AESGCM(key) for key in reversed(keys.wrapping)
        }
        self._current = sha256(keys.wrapping[0]).digest()[:_KEY_ID_BYTES]
        self._wrap = self._wrapping[self._current].encrypt
        # Copying a keyed state takes half as long as making it.
        self._subjects, self._records = (
            blake2b(digest_size=TAG_BYTES, key=keys.index, person=person)
            for person in (b"consent-subject", b"consent-record")
        )
        self._accounts = blake2b(digest_size=32, key=keys.index, person=b"consent-account")
        self.random_bytes = random_bytes

    def account(self, name: str) -> str:
        """Return what receipts name an account by: 64 hexadecimal digits that say nothing without the index key."""
        keyed = self._accounts.copy()
        keyed.update(name.encode("utf-8", "surrogatepass"))
        return keyed.hexdigest()

    def tag(self, subject: bytes) -> bytes:
        """Return what a visitor's records are found by: 16 bytes that say nothing without the index key."""
        keyed = self._subjects.copy()
        keyed.update(subject)
        return keyed.digest()

    def id_tag(self, record_id: bytes) -> bytes:
        """Return the same for the id of a record, 16 bytes."""
        keyed = self._records.copy()
        keyed.update(record_id)
        return keyed.digest()

    def new_key(self, tag: bytes) -> tuple[bytes, bytes]:
        """Make a key for the visitor with this tag; return it, and as it is kept."""
        key = self.random_bytes(KEY_BYTES)
        return key, self.wrap(key, tag)

    def wrap(self, key: bytes, tag: bytes) -> bytes:
        """Return ``key`` as it is kept, ``WRAPPED_BYTES`` long; it opens for this tag only."""
        nonce = self.random_bytes(_NONCE_BYTES)
        return self._current + nonce + self._wrap(nonce, key, tag)

    def is_current(self, wrapped: bytes) -> bool:
        """Tell whether the key that wrapped this is the one in use."""
        return wrapped[:_KEY_ID_BYTES] == self._current

    def unwrap(self, wrapped: bytes, tag: bytes) -> bytes:
        """Return the key that :meth:`wrap` was given.

        Raises:
            SealBrokenError: it was altered, belongs to another visitor, or the wrapping key is not here.
        """
        wrapping = self._wrapping.get(wrapped[:_KEY_ID_BYTES])
        if wrapping is None:
            raise SealBrokenError(
                "a visitor's key is wrapped under a key that is not in the key file: put that one back"
            )
        return _decrypt(wrapping, wrapped[_KEY_ID_BYTES:], tag)

    def salt(self) -> bytes:
        """Return a new salt."""
        return self.random_bytes(SALT_BYTES)

    def seal(self, key: bytes, salt: bytes, record: bytes, id_tag: bytes) -> bytes:
        """Return salt and record, sealed; they open in the place of this record only."""
        nonce = self.random_bytes(_NONCE_BYTES)
        return nonce + AESGCM(key).encrypt(nonce, salt + record, id_tag)

    def seal_new(self, record: bytes, tag: bytes, id_tag: bytes) -> tuple[bytes, bytes, bytes]:
        """Seal a record under a key made for it; return salt and record, that key as it is kept, and what is sealed.

        The same as :meth:`salt`, :meth:`new_key` and :meth:`seal`, with the generator asked once instead of four times.
        """
        random = self.random_bytes(_END)
        key = random[:KEY_BYTES]
        plain = random[KEY_BYTES:_FIRST] + record
        first, second = random[_FIRST:_SECOND], random[_SECOND:]
        wrapped = self._current + first + self._wrap(first, key, tag)
        return plain, wrapped, second + AESGCM(key).encrypt(second, plain, id_tag)

    def open(self, key: bytes, sealed: bytes, id_tag: bytes) -> tuple[bytes, bytes]:
        """Return salt and record.

        Raises:
            SealBrokenError: it was altered, or is another record's, or another visitor's.
        """
        plain = _decrypt(AESGCM(key), sealed, id_tag)
        return plain[:SALT_BYTES], plain[SALT_BYTES:]

    def proven(
        self, id_tag: bytes, committed: bytes, sealed: bytes, tag: bytes, wrapped: bytes
    ) -> bytes | None:
        """Return a record that opens and is the one that the log commits to; ``None``: it does not, or is not.

        The same as :meth:`unwrap`, :meth:`open` and :func:`commitment`, for exports of millions: without a value in
        between, and without saying what is wrong.
        """
        try:
            key = self._wrapping[wrapped[:_KEY_ID_BYTES]].decrypt(
                wrapped[_KEY_ID_BYTES:_NONCE_END], wrapped[_NONCE_END:], tag
            )
            plain = AESGCM(key).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], id_tag)
        except (InvalidTag, ValueError, KeyError, TypeError):
            return None
        return plain[SALT_BYTES:] if sha256(plain).digest() == committed else None


def _decrypt(cipher: AESGCM, sealed: bytes, context: bytes) -> bytes:
    try:
        return cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], context)
    except (InvalidTag, ValueError):
        raise SealBrokenError("what was sealed was altered, or does not belong here") from None
