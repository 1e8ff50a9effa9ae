"""Signing in: out to the provider, and back (OpenID Connect Core 1.0, 3.1; RFC 7636; RFC 9207)."""

from __future__ import annotations

import hmac
import logging
import secrets
import threading
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit

from itsdangerous import BadData, URLSafeTimedSerializer

from consent.answers import Headers
from consent.office.cookies import cookie, cookie_field
from consent.office.oidc.id_token import verified_claims
from consent.office.oidc.keys import SigningKey
from consent.office.oidc.logout_token import Logout, verified_logout
from consent.office.oidc.proven import NotProven
from consent.office.oidc.provider import Provider, ProviderFailed
from consent.office.oidc.settings import Grant, OidcSettings
from consent.office.oidc.signed_in import EndedMeanwhile, SignedIn, SignedInBook
from consent.office.tokens import TokenBook

MINUTES: Final = 10
"""How long somebody may take at the provider."""
AT_ONCE: Final = 4
"""How many threads may wait for the provider: of those who sign in, and of those who tell of a logout."""
COOKIE: Final = "consent-office-sign-in"
_MAX_QUERY: Final = 8 * 1024
_MAX_CODE: Final = 4 * 1024

logger = logging.getLogger("consent")


class SignInFailed(Exception):
    """Nobody is signed in; the message is for who tried. ``status`` goes with it."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Recognised:
    """Somebody whom the provider knows, and who may come in."""

    claims: Mapping[str, Any]
    grant: Grant
    asked_ms: int
    """When the provider was asked, milliseconds since 1970."""


class SignIn:
    """Signs people in with a provider. Blocks; safe to share between threads.

    A sign-in belongs to one browser, by a cookie, and can be finished once. What ties it together (state, nonce and
    PKCE's verifier) is derived from the secret in that cookie, so that nothing is kept until it succeeds.

    Args:
        settings: of the provider.
        provider: asks it.
        keys: the site's keys for cookies, the signing one first.
        people: where who is signed in is kept.
        tokens: knows what was used up.
        clock: returns seconds since 1970.
    """

    def __init__(
        self,
        settings: OidcSettings,
        provider: Provider,
        keys: Sequence[bytes],
        people: SignedInBook,
        tokens: TokenBook,
        clock: Callable[[], float],
    ) -> None:
        self.settings = settings
        self._provider = provider
        self._serializer = URLSafeTimedSerializer(list(reversed(keys)), salt="consent-office-oidc")
        self._people = people
        self._tokens = tokens
        self._clock = clock
        self._waiting = threading.BoundedSemaphore(AT_ONCE)
        self._ending = threading.BoundedSemaphore(AT_ONCE)
        self._path = urlsplit(settings.console).path or "/"

    def begin(self) -> tuple[str, tuple[bytes, bytes]]:
        """Return where the browser goes, and the header field that it comes back with.

        Raises:
            SignInFailed: the provider does not say where.
        """
        with self._asking():
            metadata = self._provider.metadata()
        settings, secret = self.settings, secrets.token_urlsafe(32)
        asked = {
            "response_type": "code",
            "client_id": settings.client_id,
            "redirect_uri": settings.redirect_uri,
            "scope": " ".join(settings.scopes),
            "state": _derived(secret, "state"),
            "nonce": _derived(secret, "nonce"),
            "code_challenge": _base64(sha256(_derived(secret, "verifier").encode()).digest()),
            "code_challenge_method": "S256",
        }
        if settings.max_age_minutes is not None:
            asked["max_age"] = str(settings.max_age_minutes * 60)
        value = self._serializer.dumps([secret, int(self._clock())])
        text = value if isinstance(value, str) else value.decode()
        return _with_query(metadata.authorization_endpoint, asked), self._field(text, MINUTES * 60)

    def finish(self, headers: Headers, query: bytes) -> Recognised:
        """Return who came back. They are not signed in yet.

        Raises:
            SignInFailed: nobody who may come in.
        """
        given = _read(query)
        secret = self._secret(headers)
        if not _same(given.get("state"), _derived(secret, "state")):
            raise _mixed_up()
        if not self._tokens.end_session(_derived(secret, "used"), until_s=int(self._clock()) + MINUTES * 60):
            raise SignInFailed(400, "This sign-in was finished before. Begin again.")
        asked_ms = int(self._clock() * 1_000)
        with self._asking():
            metadata = self._provider.metadata()
            # Before anything else of the answer is looked at: it may be another provider's (RFC 9207, 2.4).
            said = given.get("iss")
            if said != self.settings.issuer and (said is not None or metadata.sends_issuer):
                logger.warning("a sign-in was answered by another provider than the one that was asked")
                raise _mixed_up()
            if "error" in given:
                raise SignInFailed(403, "The provider let nobody in. Begin again, or ask who runs it.")
            token = self._provider.id_token(_code(given), _derived(secret, "verifier"))
            try:
                claims = verified_claims(
                    token, self._keys, self.settings, nonce=_derived(secret, "nonce"), now=self._clock()
                )
            except NotProven as error:
                logger.warning("the provider's ID token proves nothing: %s", error)
                message = "What the provider sent does not prove who you are. The site's own log says why."
                raise SignInFailed(502, message) from None
        grant = self.settings.grant(claims)
        if grant is None:
            logger.warning("somebody whom the provider knows was not let in: no [[grant]] fits")
            message = (
                "The provider knows you, but you are none of those who may come in. Ask who runs the site."
            )
            raise SignInFailed(403, message)
        return Recognised(claims, grant, asked_ms)

    def admit(self, recognised: Recognised) -> tuple[SignedIn, str]:
        """Sign in who came back; return them, and the id of the session that is kept for them.

        Raises:
            SignInFailed: the provider has ended their session meanwhile.
        """
        session = secrets.token_hex(16)
        try:
            asker = self._people.begin(
                session, recognised.claims, recognised.grant, self.settings, asked_ms=recognised.asked_ms
            )
        except EndedMeanwhile:
            raise SignInFailed(
                403, "You were signed out of the provider while you were signed in here. Begin again."
            ) from None
        return asker, session

    def logout(self, token: str) -> Logout:
        """Read a logout token of the provider.

        Raises:
            SignInFailed: it proves nothing, or the provider's keys cannot be asked for.
        """
        # Places of its own: who sends tokens that are none keeps nobody from signing in.
        with self._asking(self._ending):
            try:
                return verified_logout(token, self._keys, self.settings, now=self._clock())
            except NotProven as error:
                raise SignInFailed(400, f"the logout token proves nothing: {error}") from None

    def end(self, logout: Logout) -> Sequence[SignedIn]:
        """End the sessions that a logout token names; return whose they were.

        Raises:
            SignInFailed: it was used before.
        """
        if not self._tokens.end_session(logout.use, until_s=logout.until_s):
            raise SignInFailed(400, "the logout token was used before (jti)")
        return self._people.end_at(self.settings.issuer, subject=logout.subject, session=logout.session)

    def _keys(self, missing: bool) -> Sequence[SigningKey]:
        return self._provider.keys(missing=missing)

    def forgotten(self) -> tuple[bytes, bytes]:
        """Return the header field after which the browser has nothing of a sign-in."""
        return self._field("", 0)

    def sign_out_address(self) -> str:
        """Return where somebody signs out of the provider, too; empty: nowhere, or it does not say now.

        It has nobody's name in it: the provider knows by its own cookie who comes, and asks them
        (RP-Initiated Logout 1.0, 2).
        """
        try:
            with self._asking():
                address = self._provider.metadata().end_session_endpoint
        except SignInFailed:
            return ""
        asked = {"client_id": self.settings.client_id, "post_logout_redirect_uri": self.settings.console}
        return _with_query(address, asked) if address else ""

    @contextmanager
    def _asking(self, places: threading.BoundedSemaphore | None = None) -> Iterator[None]:
        places = places or self._waiting
        if not places.acquire(blocking=False):
            raise SignInFailed(503, "Too many are signing in at this moment. Try again in a few seconds.")
        try:
            yield
        except ProviderFailed as error:
            logger.warning("sign-in with the provider failed: %s", error)
            message = "The provider cannot be asked now. Try again, or sign in with a token. The site's log says why."
            raise SignInFailed(503, message) from None
        finally:
            places.release()

    def _secret(self, headers: Headers) -> str:
        value = cookie(headers, COOKIE, is_secure=self.settings.is_secure)
        try:
            secret, began = self._serializer.loads(value) if value else ("", 0)
        except (BadData, ValueError, TypeError):
            raise _mixed_up() from None
        if not isinstance(secret, str) or not secret or not 0 <= self._clock() - began < MINUTES * 60:
            raise _mixed_up()
        return secret

    def _field(self, value: str, seconds: int) -> tuple[bytes, bytes]:
        # Lax: the browser comes back from another site. A POST from there would not have it.
        return cookie_field(
            COOKIE, value, seconds, path=self._path, is_secure=self.settings.is_secure, same_site="Lax"
        )


def _mixed_up() -> SignInFailed:
    message = "This is not the answer to a sign-in that this browser began within the last ten minutes. Begin again."
    return SignInFailed(400, message)


def _read(query: bytes) -> Mapping[str, str]:
    if len(query) > _MAX_QUERY:
        raise _mixed_up()
    try:
        pairs = parse_qsl(query.decode("ascii"), keep_blank_values=True, max_num_fields=30, errors="strict")
    except ValueError:
        raise _mixed_up() from None
    given = dict(pairs)
    if len(given) != len(pairs):  # RFC 6749, 3.1: no parameter twice
        raise _mixed_up()
    return given


def _code(given: Mapping[str, str]) -> str:
    code = given.get("code", "")
    if not 0 < len(code) <= _MAX_CODE or not code.isprintable():
        raise _mixed_up()
    return code


def _derived(secret: str, what: str) -> str:
    return _base64(hmac.digest(secret.encode(), f"consent office sign-in {what}".encode(), "sha256"))


def _base64(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def _same(given: str | None, right: str) -> bool:
    return given is not None and hmac.compare_digest(given.encode("utf-8", "surrogatepass"), right.encode())


def _with_query(address: str, asked: Mapping[str, str]) -> str:
    return f"{address}{'&' if '?' in address else '?'}{urlencode(asked)}"
