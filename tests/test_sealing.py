"""Sealing: what opens under which key, and what does not open at all."""

from __future__ import annotations

from hashlib import sha256

import pytest

from consent.errors import ConfigurationError, SealBrokenError
from consent.sealing import SALT_BYTES, WRAPPED_BYTES, LedgerKeys, Sealer, commitment

KEYS = LedgerKeys(signing=(bytes(32),), wrapping=(b"w" * 32,), index=b"i" * 32)
TAG = b"t" * 16
ID = b"r" * 16


def test_a_commitment_hides_and_binds() -> None:
    """SHA-256 over salt and record; the salt has 256 bits, which nobody guesses."""
    sealer = Sealer(KEYS)
    salt = sealer.salt()
    assert len(salt) == SALT_BYTES == 32
    assert sealer.salt() != salt
    assert commitment(salt, b"record") == sha256(salt + b"record").digest()


def test_what_is_sealed_opens_in_its_place_only() -> None:
    """Under the visitor's key and for this record; every changed bit is noticed."""
    sealer = Sealer(KEYS)
    key, wrapped = sealer.new_key(TAG)
    assert len(wrapped) == WRAPPED_BYTES
    assert sealer.unwrap(wrapped, TAG) == key
    salt = sealer.salt()
    sealed = sealer.seal(key, salt, b"the record", ID)
    assert b"record" not in sealed
    assert salt not in sealed
    assert sealer.open(key, sealed, ID) == (salt, b"the record")
    assert sealer.seal(key, salt, b"the record", ID) != sealed
    with pytest.raises(SealBrokenError):
        sealer.open(key, sealed, b"s" * 16)
    with pytest.raises(SealBrokenError):
        sealer.open(sealer.new_key(TAG)[0], sealed, ID)
    with pytest.raises(SealBrokenError):
        sealer.unwrap(wrapped, b"u" * 16)
    for place in range(8 * len(sealed)):
        changed = (int.from_bytes(sealed, "big") ^ (1 << place)).to_bytes(len(sealed), "big")
        with pytest.raises(SealBrokenError):
            sealer.open(key, changed, ID)
    for place in range(8 * len(wrapped)):
        changed = (int.from_bytes(wrapped, "big") ^ (1 << place)).to_bytes(len(wrapped), "big")
        with pytest.raises(SealBrokenError):
            sealer.unwrap(changed, TAG)
    for short in (b"", sealed[:11], sealed[:27]):
        with pytest.raises(SealBrokenError):
            sealer.open(key, short, ID)


def test_a_record_is_sealed_under_a_key_of_its_own() -> None:
    """Which is wrapped, and opens it; key, salt and nonces are new each time, and none is another."""
    sealer = Sealer(KEYS)
    parts = []
    for _ in range(3):
        plain, wrapped, sealed = sealer.seal_new(b"the record", TAG, ID)
        key = sealer.unwrap(wrapped, TAG)
        salt, record = sealer.open(key, sealed, ID)
        assert record == b"the record"
        assert plain == salt + record
        assert len(sealed) == 12 + 32 + 10 + 16
        parts += [key, salt, wrapped[4:16], sealed[:12]]
    assert len(set(parts)) == 12
    assert {len(part) for part in parts} == {32, 12}


def test_wrapping_keys_are_rotated() -> None:
    """The first one wraps, the others still unwrap; without the right one nothing opens."""
    old = Sealer(KEYS)
    key, wrapped = old.new_key(TAG)
    both = Sealer(LedgerKeys(signing=KEYS.signing, wrapping=(b"n" * 32, b"w" * 32), index=KEYS.index))
    assert both.unwrap(wrapped, TAG) == key
    assert not both.is_current(wrapped)
    again = both.wrap(key, TAG)
    assert both.is_current(again)
    new = Sealer(LedgerKeys(signing=KEYS.signing, wrapping=(b"n" * 32,), index=KEYS.index))
    assert new.unwrap(again, TAG) == key
    with pytest.raises(SealBrokenError, match="a key that is not in the key file: put that one back"):
        new.unwrap(wrapped, TAG)


def test_tags_depend_on_the_index_key() -> None:
    """The same visitor has the same tag, which says nothing to those who do not have the key."""
    sealer = Sealer(KEYS)
    other = Sealer(LedgerKeys(signing=KEYS.signing, wrapping=KEYS.wrapping, index=b"j" * 32))
    assert sealer.tag(ID) == Sealer(KEYS).tag(ID)
    assert len({sealer.tag(ID), sealer.id_tag(ID), other.tag(ID), other.id_tag(ID), sealer.tag(TAG)}) == 5
    assert {len(sealer.tag(ID)), len(sealer.id_tag(ID))} == {16}


def test_keys_are_whole_and_are_not_shown() -> None:
    """A short or missing key is refused by name; no key is in the text of the object."""
    with pytest.raises(ConfigurationError, match="one wrapping key at least"):
        LedgerKeys(signing=(bytes(32),), wrapping=(), index=bytes(32))
    with pytest.raises(ConfigurationError, match="one index key at least, of 32 bytes"):
        LedgerKeys(signing=(bytes(32),), wrapping=(bytes(32),), index=bytes(16))
    assert repr(LedgerKeys.generate()) == "LedgerKeys()"
    assert LedgerKeys.generate() != LedgerKeys.generate()
