"""The provider over HTTP: what it says of itself, its keys, and ID tokens for codes. All of it within bounds."""

from __future__ import annotations

import json
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote_plus

from consent.errors import ConfigurationError
from consent.office.oidc.keys import SigningKey, signing_keys
from consent.office.oidc.settings import OidcSettings, is_safe_address

KEPT_SECONDS: Final = 3_600.0
"""How long what a provider says of itself, and its keys, are kept."""
AGAIN_SECONDS: Final = 10.0
"""How soon at the earliest it is asked again: after it failed, or for a key that was not there."""
MAX_ANSWER_BYTES: Final = 256 * 1024
OPERATION_SECONDS: Final = 5.0
"""How long to connect, and to wait for each piece of an answer."""
ANSWER_SECONDS: Final = 10.0
"""How long an answer takes in all."""


class ProviderFailed(Exception):
    """The provider cannot be reached, or what it answers is none. Says what, and nothing that is secret."""


@dataclass(frozen=True, slots=True)
class Metadata:
    """What a provider says of itself (OpenID Connect Discovery 1.0, 3)."""

    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    end_session_endpoint: str
    """Empty: there is none."""
    sends_issuer: bool
    """Whether its answers name it (RFC 9207)."""
    takes_secret_in_body: bool
    """Whether it takes the client's secret there only."""


class Provider:
    """Asks the provider. Blocks; safe to share between threads.

    Args:
        settings: which one.
        clock: returns seconds, and never goes back.

    Raises:
        ConfigurationError: what this needs is not installed.
    """

    def __init__(self, settings: OidcSettings, clock: Callable[[], float] = time.monotonic) -> None:
        try:
            import httpx2  # noqa: F401
            import joserfc  # noqa: F401
        except ModuleNotFoundError:
            raise ConfigurationError(
                "sign-in with a provider needs more packages: pip install 'asgi-consent[oidc]'"
            ) from None
        self._settings = settings
        self._clock = clock
        self._lock = threading.Lock()
        self._metadata: tuple[float, Metadata] | None = None
        self._keys: tuple[float, Sequence[SigningKey]] | None = None
        self._failed: tuple[float, str] | None = None

    def metadata(self) -> Metadata:
        """Return what the provider says of itself.

        Raises:
            ProviderFailed: it does not.
        """
        with self._lock:
            return self._current_metadata()

    def keys(self, *, missing: bool = False) -> Sequence[SigningKey]:
        """Return the keys that it signs with.

        Args:
            missing: one that is needed is not among those known: ask again, unless that was a moment ago.

        Raises:
            ProviderFailed: it does not say.
        """
        with self._lock:
            now = self._clock()
            if self._keys is not None and now - self._keys[0] < (AGAIN_SECONDS if missing else KEPT_SECONDS):
                return self._keys[1]
            uri = self._current_metadata().jwks_uri
            keys = signing_keys(self._remembered("GET", uri))
            self._keys = (now, keys)
            return keys

    def id_token(self, code: str, verifier: str) -> str:
        """Exchange a code for an ID token, which nobody has verified yet.

        Raises:
            ProviderFailed: there is none for it.
        """
        settings, metadata = self._settings, self.metadata()
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": settings.redirect_uri,
            "code_verifier": verifier,
        }
        headers = {}
        if settings.client_secret and not metadata.takes_secret_in_body:
            # RFC 6749, 2.3.1: both are form-encoded before.
            pair = f"{quote_plus(settings.client_id)}:{quote_plus(settings.client_secret)}"
            headers["authorization"] = f"Basic {b64encode(pair.encode()).decode()}"
        else:
            form["client_id"] = settings.client_id
            if settings.client_secret:
                form["client_secret"] = settings.client_secret
        answer = self._ask("POST", metadata.token_endpoint, form, headers)
        token = answer.get("id_token")
        if not isinstance(token, str) or str(answer.get("token_type", "")).lower() != "bearer":
            raise ProviderFailed("its answer to the code has no ID token")
        return token

    def _current_metadata(self) -> Metadata:
        now = self._clock()
        if self._metadata is None or now - self._metadata[0] >= KEPT_SECONDS:
            issuer = self._settings.issuer
            uri = f"{issuer.rstrip('/')}/.well-known/openid-configuration"
            self._metadata = (now, _metadata(self._remembered("GET", uri), issuer))
        return self._metadata[1]

    def _remembered(self, method: str, url: str) -> Mapping[str, Any]:
        """Ask, unless it failed a moment ago: a provider that is down must not hold up everybody who tries."""
        now = self._clock()
        if self._failed is not None and now - self._failed[0] < AGAIN_SECONDS:
            raise ProviderFailed(self._failed[1])
        try:
            answer = self._ask(method, url)
        except ProviderFailed as error:
            self._failed = (self._clock(), str(error))
            raise
        self._failed = None
        return answer

    def _ask(
        self,
        method: str,
        url: str,
        form: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Mapping[str, Any]:
        import httpx2

        until = time.monotonic() + ANSWER_SECONDS
        sent = {"accept": "application/json", "accept-encoding": "identity", **(headers or {})}
        try:
            # One for each question: nothing of one person's sign-in goes along with another's.
            with (
                httpx2.Client(timeout=OPERATION_SECONDS, follow_redirects=False) as client,
                client.stream(method, url, data=form, headers=sent) as response,
            ):
                if response.status_code != 200:
                    raise ProviderFailed(f"{_place(url)} answered {response.status_code}")
                if response.headers.get("content-encoding", "identity") != "identity":
                    raise ProviderFailed(f"{_place(url)} answered in a coding that was not asked for")
                pieces, size = [], 0
                for piece in response.iter_raw():
                    size += len(piece)
                    if size > MAX_ANSWER_BYTES:
                        raise ProviderFailed(f"{_place(url)} answered more than {MAX_ANSWER_BYTES} bytes")
                    if time.monotonic() > until:
                        raise ProviderFailed(f"{_place(url)} did not end within {ANSWER_SECONDS:g} seconds")
                    pieces.append(piece)
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            # The message may hold what was sent.
            raise ProviderFailed(f"{_place(url)} cannot be reached: {type(error).__name__}") from None
        try:
            answer = json.loads(b"".join(pieces))
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict):
            raise ProviderFailed(f"{_place(url)} answered what is no JSON object")
        return answer


def _metadata(content: Mapping[str, Any], issuer: str) -> Metadata:
    # Discovery 1.0, 4.3: otherwise one provider could speak for another.
    if content.get("issuer") != issuer:
        raise ProviderFailed(
            f"its description is not that of {issuer}: see 'issuer' in its discovery document"
        )
    places = {}
    for name in ("authorization_endpoint", "token_endpoint", "jwks_uri", "end_session_endpoint"):
        value = content.get(name, "")
        optional = name == "end_session_endpoint"
        if not (isinstance(value, str) and (is_safe_address(value) or (optional and not value))):
            raise ProviderFailed(f"its description has no {name} that begins with https://")
        places[name] = value
    methods = content.get("code_challenge_methods_supported")
    if isinstance(methods, list) and "S256" not in methods:
        raise ProviderFailed("it does not know PKCE with S256")
    ways = content.get("token_endpoint_auth_methods_supported")
    in_body = isinstance(ways, list) and "client_secret_post" in ways and "client_secret_basic" not in ways
    sends_issuer = content.get("authorization_response_iss_parameter_supported") is True
    return Metadata(**places, sends_issuer=sends_issuer, takes_secret_in_body=in_body)


def _place(url: str) -> str:
    return url.partition("?")[0][:200]
