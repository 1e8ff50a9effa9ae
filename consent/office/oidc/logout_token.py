"""Whether a logout token says whose sessions are over (OpenID Connect Back-Channel Logout 1.0, 2.6)."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from consent.office.oidc.proven import (
    MAX_AGE_SECONDS,
    SKEW_SECONDS,
    Keys,
    NotProven,
    name_of,
    proven,
    seconds_of,
)
from consent.office.oidc.settings import OidcSettings

EVENT: Final = "http://schemas.openid.net/event/backchannel-logout"
# As the specification recommends it, or as tokens were before it did. Other kinds of tokens say that they are others.
_TYPES: Final = ("logout+jwt", "application/logout+jwt", "jwt", None)


@dataclass(frozen=True, slots=True)
class Logout:
    """Whose sessions the provider has ended."""

    subject: str | None
    session: str | None
    """The provider's own name of one of them (``sid``); ``None``: all of the subject's. One of both is there."""
    use: str
    """What the token is remembered by, so that it counts once."""
    until_s: int
    """When it would not be believed any more, in seconds since 1970."""


def verified_logout(token: str, keys: Keys, settings: OidcSettings, *, now: float) -> Logout:
    """Return what a logout token says. Whether it was used before, others know.

    Args:
        token: as it was sent.
        keys: those of the provider.
        settings: who it has to be from, and for.
        now: seconds since 1970.

    Raises:
        NotProven: it is not signed by the provider, not for us, not of now, or says something else.
    """
    header, claims = proven(token, keys, settings, now)
    type = header.get("typ")
    if (type.lower() if isinstance(type, str) else type) not in _TYPES:
        raise NotProven("it is a token of another kind (typ)")
    events = claims.get("events")
    if not isinstance(events, dict) or not isinstance(events.get(EVENT), dict):
        raise NotProven("it is no logout token (events)")
    if "nonce" in claims:
        raise NotProven("it could be taken for an ID token (nonce)")
    token_id = name_of(claims, "jti")
    if token_id is None:
        raise NotProven("it has no jti")
    subject, session = (name_of(claims, claim) for claim in ("sub", "sid"))
    if any(name_of(claims, claim) is None for claim in ("sub", "sid") if claim in claims):
        raise NotProven("it names nobody (sub, sid)")
    if subject is None and session is None:
        raise NotProven("it names nobody (sub, sid)")
    use = sha256(f"{settings.issuer}\n{token_id}".encode("utf-8", "surrogatepass")).hexdigest()
    until = seconds_of(claims, "iat") + MAX_AGE_SECONDS + 2 * SKEW_SECONDS
    return Logout(subject, session, f"logout-{use[:32]}", int(until))
