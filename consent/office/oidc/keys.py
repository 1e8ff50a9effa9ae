"""The public keys of a provider, as far as they can sign ID tokens."""

from __future__ import annotations

from base64 import urlsafe_b64decode
from binascii import Error as NoBase64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from joserfc.jwk import Key

MAX_KEYS: Final = 100
RSA_BITS: Final = range(2_048, 8_193)
"""Fewer can be broken, more take the time of whoever verifies."""
# RFC 7518, 3.1, and RFC 9864: the one kind of key that each algorithm may be used with.
_KINDS: Final[Mapping[str, tuple[str, str]]] = {
    **dict.fromkeys(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"), ("RSA", "")),
    "ES256": ("EC", "P-256"),
    "ES384": ("EC", "P-384"),
    "ES512": ("EC", "P-521"),
    "Ed25519": ("OKP", "Ed25519"),
}


@dataclass(frozen=True, slots=True)
class SigningKey:
    """One key, and what it is for by the provider's own account."""

    kid: str | None
    algorithm: str | None
    kind: tuple[str, str]
    key: Key

    def is_for(self, algorithm: str, kid: object) -> bool:
        """Tell whether it may have signed this way."""
        return (
            _KINDS.get(algorithm) == self.kind
            and self.algorithm in (None, algorithm)
            and (kid is None or self.kid == kid)
        )


def signing_keys(content: Mapping[str, Any]) -> Sequence[SigningKey]:
    """Return the keys in a set (RFC 7517, 5) that can verify a signature here. All others are passed over."""
    listed = content.get("keys")
    some = (listed if isinstance(listed, list) else [])[:MAX_KEYS]
    return [key for each in some if isinstance(each, dict) and (key := _key(each)) is not None]


def _key(jwk: Mapping[str, Any]) -> SigningKey | None:
    from joserfc.errors import JoseError
    from joserfc.jwk import import_key

    kind = jwk.get("kty"), "" if jwk.get("kty") == "RSA" else jwk.get("crv")
    # A symmetric key in public is nobody's; one with its private half is everybody's.
    if kind not in _KINDS.values() or "d" in jwk or jwk.get("use", "sig") != "sig":
        return None
    if kind[0] == "RSA" and _bits(jwk.get("n")) not in RSA_BITS:
        return None
    kid, algorithm = jwk.get("kid"), jwk.get("alg")
    if not isinstance(kid, str | None) or not isinstance(algorithm, str | None):
        return None
    members = {name: jwk[name] for name in ("kty", "crv", "n", "e", "x", "y") if name in jwk}
    try:
        return SigningKey(kid, algorithm, (str(kind[0]), str(kind[1])), import_key(members))
    except (JoseError, ValueError, TypeError, AttributeError):
        return None


def _bits(modulus: object) -> int:
    if not isinstance(modulus, str) or not modulus.isascii():
        return 0
    try:
        number = urlsafe_b64decode(modulus + "=" * (-len(modulus) % 4))
    except (NoBase64, ValueError):
        return 0
    return int.from_bytes(number).bit_length()
