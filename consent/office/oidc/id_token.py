"""Whether an ID token says who somebody is (OpenID Connect Core 1.0, 3.1.3.7)."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from consent.office.oidc.keys import SigningKey
from consent.office.oidc.settings import OidcSettings

SKEW_SECONDS: Final = 60
"""How far the provider's clock may be from ours."""
MAX_AGE_SECONDS: Final = 600
"""How long ago an ID token may have been made: it comes at once."""
MAX_TOKEN: Final = 32 * 1024
MAX_SUBJECT: Final = 255
_MAX_TRIED: Final = 10
"""How many keys are tried for a token that names none."""


class NotProven(Exception):
    """An ID token that says nothing; the message says why, and nothing of what is in it."""


def verified_claims(
    token: str,
    keys: Callable[[bool], Sequence[SigningKey]],
    settings: OidcSettings,
    *,
    nonce: str,
    now: float,
) -> Mapping[str, Any]:
    """Return the claims of an ID token.

    Args:
        token: as the provider sent it.
        keys: returns the provider's keys; called with true, it asks the provider for new ones.
        settings: who it has to be from, and for.
        nonce: what this sign-in began with.
        now: seconds since 1970.

    Raises:
        NotProven: it is not signed by the provider, not for us, not of now, or not of this sign-in.
    """
    claims = _signed(token, keys, settings.algorithms)
    audience = claims.get("aud")
    audiences = audience if isinstance(audience, list) else [audience]
    if claims.get("iss") != settings.issuer:
        raise NotProven("another issuer")
    if settings.client_id not in audiences:
        raise NotProven("it is for another client")
    party = claims.get("azp")
    if party != settings.client_id and (party is not None or len(audiences) > 1):
        raise NotProven("it was made for another client (azp)")
    expires, made = _seconds(claims, "exp"), _seconds(claims, "iat")
    if now >= expires + SKEW_SECONDS:
        raise NotProven("it has expired")
    if not -SKEW_SECONDS <= now - made <= MAX_AGE_SECONDS + SKEW_SECONDS:
        raise NotProven("it is not of now (iat)")
    if "nbf" in claims and now < _seconds(claims, "nbf") - SKEW_SECONDS:
        raise NotProven("it is not valid yet (nbf)")
    said = claims.get("nonce")
    if not isinstance(said, str) or not hmac.compare_digest(said.encode("utf-8", "replace"), nonce.encode()):
        raise NotProven("it is of another sign-in (nonce)")
    if settings.max_age_minutes is not None:
        longest = settings.max_age_minutes * 60 + SKEW_SECONDS
        if not -SKEW_SECONDS <= now - _seconds(claims, "auth_time") <= longest:
            raise NotProven("they proved who they are too long ago (auth_time)")
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 0 < len(subject) <= MAX_SUBJECT or not subject.isprintable():
        raise NotProven("it names nobody (sub)")
    return claims


def _signed(
    token: str, keys: Callable[[bool], Sequence[SigningKey]], algorithms: Sequence[str]
) -> Mapping[str, Any]:
    from joserfc import jws, jwt
    from joserfc.errors import JoseError

    if len(token) > MAX_TOKEN:
        raise NotProven("it is too long")
    try:
        header = jws.extract_compact(token.encode("ascii", "strict")).headers()
    except (JoseError, ValueError, TypeError, RecursionError):
        raise NotProven("it cannot be read") from None
    algorithm, kid = header.get("alg"), header.get("kid")
    if not isinstance(algorithm, str) or algorithm not in algorithms:
        raise NotProven("it is not signed in a way that is allowed here (alg)")
    if "crit" in header or not isinstance(kid, str | None):
        raise NotProven("its header asks for what is not known here")
    registry = jws.JWSRegistry(algorithms=[algorithm], strict_check_header=False)
    for ask_again in (False, True):
        for each in [each for each in keys(ask_again) if each.is_for(algorithm, kid)][:_MAX_TRIED]:
            try:
                return jwt.decode(token, each.key, registry=registry).claims
            except (JoseError, ValueError, TypeError, RecursionError):
                continue
    raise NotProven("no key of the provider has signed it")


def _seconds(claims: Mapping[str, Any], name: str) -> float:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 2**53:
        raise NotProven(f"it has no {name}")
    return value
