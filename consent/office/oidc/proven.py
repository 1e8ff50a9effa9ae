"""What every token of a provider has to be before anything else of it is believed: signed by it, for us, of now."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from consent.office.oidc.keys import SigningKey
from consent.office.oidc.settings import OidcSettings

SKEW_SECONDS: Final = 60
"""How far the provider's clock may be from ours."""
MAX_AGE_SECONDS: Final = 600
"""How long ago a token may have been made: it comes at once."""
MAX_TOKEN: Final = 32 * 1024
MAX_NAME: Final = 255
"""How many characters a subject, a session or the id of a token has at most."""
_MAX_TRIED: Final = 10
"""How many keys are tried for a token that names none."""

Keys = Callable[[bool], Sequence[SigningKey]]
"""Returns the provider's keys; called with true, it asks the provider for new ones."""


class NotProven(Exception):
    """A token that says nothing; the message says why, and nothing of what is in it."""


def proven(
    token: str, keys: Keys, settings: OidcSettings, now: float
) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Return header and claims of a token.

    Args:
        token: as it was sent.
        keys: those of the provider.
        settings: who it has to be from, and for.
        now: seconds since 1970.

    Raises:
        NotProven: it is not signed by the provider, not for us, or not of now.
    """
    header, claims = _signed(token, keys, settings.algorithms)
    audience = claims.get("aud")
    if claims.get("iss") != settings.issuer:
        raise NotProven("another issuer")
    if settings.client_id not in (audience if isinstance(audience, list) else [audience]):
        raise NotProven("it is for another client")
    expires, made = seconds_of(claims, "exp"), seconds_of(claims, "iat")
    if now >= expires + SKEW_SECONDS:
        raise NotProven("it has expired")
    if not -SKEW_SECONDS <= now - made <= MAX_AGE_SECONDS + SKEW_SECONDS:
        raise NotProven("it is not of now (iat)")
    if "nbf" in claims and now < seconds_of(claims, "nbf") - SKEW_SECONDS:
        raise NotProven("it is not valid yet (nbf)")
    return header, claims


def seconds_of(claims: Mapping[str, Any], name: str) -> float:
    """Return a moment that a claim names.

    Raises:
        NotProven: it names none.
    """
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 2**53:
        raise NotProven(f"it has no {name}")
    return value


def name_of(claims: Mapping[str, Any], claim: str) -> str | None:
    """Return the name of somebody or something, within bounds; ``None``: there is none."""
    value = claims.get(claim)
    return value if isinstance(value, str) and 0 < len(value) <= MAX_NAME and value.isprintable() else None


def _signed(token: str, keys: Keys, algorithms: Sequence[str]) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
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
                return header, jwt.decode(token, each.key, registry=registry).claims
            except (JoseError, ValueError, TypeError, RecursionError):
                continue
    raise NotProven("no key of the provider has signed it")
