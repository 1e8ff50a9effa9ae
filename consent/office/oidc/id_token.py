"""Whether an ID token says who somebody is (OpenID Connect Core 1.0, 3.1.3.7)."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from typing import Any

from consent.office.oidc.proven import SKEW_SECONDS, Keys, NotProven, name_of, proven, seconds_of
from consent.office.oidc.settings import OidcSettings


def verified_claims(
    token: str, keys: Keys, settings: OidcSettings, *, nonce: str, now: float
) -> Mapping[str, Any]:
    """Return the claims of an ID token.

    Args:
        token: as the provider sent it.
        keys: those of the provider.
        settings: who it has to be from, and for.
        nonce: what this sign-in began with.
        now: seconds since 1970.

    Raises:
        NotProven: it is not signed by the provider, not for us, not of now, or not of this sign-in.
    """
    _, claims = proven(token, keys, settings, now)
    party, audience = claims.get("azp"), claims.get("aud")
    several = isinstance(audience, list) and len(audience) > 1
    if party != settings.client_id and (party is not None or several):
        raise NotProven("it was made for another client (azp)")
    said = claims.get("nonce")
    if not isinstance(said, str) or not hmac.compare_digest(said.encode("utf-8", "replace"), nonce.encode()):
        raise NotProven("it is of another sign-in (nonce)")
    if settings.max_age_minutes is not None:
        longest = settings.max_age_minutes * 60 + SKEW_SECONDS
        if not -SKEW_SECONDS <= now - seconds_of(claims, "auth_time") <= longest:
            raise NotProven("they proved who they are too long ago (auth_time)")
    if name_of(claims, "sub") is None:
        raise NotProven("it names nobody (sub)")
    if session_end(claims, settings, now) <= now:
        raise NotProven("their session at the provider is over (session_expiry)")
    return claims


def session_end(claims: Mapping[str, Any], settings: OidcSettings, now: float) -> float:
    """Return when the session ends that an ID token begins, in seconds since 1970: the first of three moments.

    Ours; when the provider says that its own ends (``session_expiry``, as IPSIE has it); and where the settings say how
    long ago somebody may have proved who they are, when that is over. ``exp`` is none of them: it says until when the
    token may be used to sign in.

    Raises:
        NotProven: the provider says it in a way that is not understood.
    """
    ends = [now + settings.session_minutes * 60]
    if "session_expiry" in claims:
        ends.append(seconds_of(claims, "session_expiry"))
    if settings.max_age_minutes is not None:
        ends.append(seconds_of(claims, "auth_time") + settings.max_age_minutes * 60 + SKEW_SECONDS)
    return min(ends)
