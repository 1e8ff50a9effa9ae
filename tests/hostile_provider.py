"""An OpenID Connect provider on loopback that does whatever a test tells it to."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs, parse_qsl, unquote_plus, urlencode, urlsplit

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey
from starlette.types import Receive, Scope, Send

from tests.live import served

CLIENT_ID = "consent-office"
CLIENT_SECRET = "a secret: of 100% & more"
KEYS = [RSAKey.generate_key(2_048, {"kid": f"rsa-{number}"}, private=True) for number in range(2)]
CURVE = ECKey.generate_key("P-256", {"kid": "ec"}, private=True)
SMALL = {"kty": "RSA", "kid": "small", "n": base64.urlsafe_b64encode(b"\xff" * 128).decode(), "e": "AQAB"}


def _part(content: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).rstrip(b"=").decode()


def unsigned(claims: dict[str, Any], algorithm: str = "none") -> str:
    """Return an ID token that nobody signed."""
    return f"{_part({'alg': algorithm})}.{_part(claims)}."


def with_public_key(claims: dict[str, Any]) -> str:
    """Return an ID token that is "signed" with the provider's public key, as if that were a secret."""
    # Written out: the library refuses to do this.
    signed = f"{_part({'alg': 'HS256', 'kid': 'rsa-0'})}.{_part(claims)}"
    mac = hmac.digest(KEYS[0].as_pem(private=False), signed.encode(), "sha256")
    return f"{signed}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"


def signed(header: dict[str, Any], claims: dict[str, Any], key: Any) -> str:
    """Return a token with this header, also one that the library would not write."""
    said = f"{_part(header)}.{_part(claims)}"
    signature = key.private_key.sign(said.encode(), padding.PKCS1v15(), hashes.SHA256())
    return f"{said}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


class HostileProvider:
    """The provider. What it does is in its attributes, until a test changes them."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.now = now
        self.issuer = ""
        self.key: Any = KEYS[0]
        self.algorithm = "RS256"
        self.jwks: Any = {"keys": [key.as_dict(private=False) for key in (KEYS[0], CURVE)]}
        self.claims: dict[str, Any] = {}
        """Instead of those that are right; ``None``: without it."""
        self.forge: Callable[[dict[str, Any]], str] | None = None
        self.metadata: dict[str, Any] = {}
        self.status = 200
        self.raw: bytes | None = None
        """What each question is answered with, whatever it is."""
        self.headers: list[tuple[bytes, bytes]] = []
        self.codes: dict[str, dict[str, str]] = {}
        """What was asked for with each code that was not used yet."""
        self.asked: list[str] = []
        self.forms: list[dict[str, str]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        path = scope["path"]
        self.asked.append(path)
        status, answer = self.status, self.raw
        if answer is None:
            status, content = self._answer(path, scope, body)
            status = self.status if self.status != 200 else status
            answer = json.dumps(content).encode()
        headers = [(b"content-type", b"application/json"), *self.headers]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    def _answer(self, path: str, scope: Scope, body: bytes) -> tuple[int, Any]:
        if path.endswith("/.well-known/openid-configuration"):
            return 200, {
                "issuer": self.issuer,
                "authorization_endpoint": f"{self.issuer}/authorize",
                "token_endpoint": f"{self.issuer}/token",
                "jwks_uri": f"{self.issuer}/keys",
                "code_challenge_methods_supported": ["S256"],
                "authorization_response_iss_parameter_supported": True,
                **self.metadata,
            }
        if path.endswith("/keys"):
            return 200, self.jwks
        form = dict(parse_qsl(body.decode()))
        self.forms.append(form)
        asked = self.codes.pop(form.get("code", ""), None)
        if asked is None or not self._is_the_client(dict(scope["headers"]), form) or not _proves(form, asked):
            return 400, {"error": "invalid_grant"}
        return 200, {"id_token": self.token(asked), "access_token": "x", "token_type": "Bearer"}

    def _is_the_client(self, headers: dict[bytes, bytes], form: dict[str, str]) -> bool:
        given = headers.get(b"authorization", b"").partition(b" ")[2]
        if given:
            client, _, secret = base64.b64decode(given).decode().partition(":")
            return (unquote_plus(client), unquote_plus(secret)) == (CLIENT_ID, CLIENT_SECRET)
        return (form.get("client_id"), form.get("client_secret")) == (CLIENT_ID, CLIENT_SECRET)

    def token(self, asked: dict[str, str]) -> str:
        """Return an ID token for what was asked."""
        now = int(self.now())
        right = {
            "iss": self.issuer, "aud": CLIENT_ID, "sub": "jo-1", "exp": now + 300, "iat": now, "nonce": asked["nonce"],
            "name": "Jo Example", "groups": ["privacy"], "auth_time": now,
        }  # fmt: skip
        claims = {name: value for name, value in (right | self.claims).items() if value is not None}
        if self.forge is not None:
            return self.forge(claims)
        return jwt.encode({"alg": self.algorithm, "kid": self.key.kid}, claims, self.key, [self.algorithm])

    def logout_claims(self, **changed: Any) -> dict[str, Any]:
        """Return what a logout token says; ``None``: without it."""
        now = int(self.now())
        right = {
            "iss": self.issuer, "aud": CLIENT_ID, "sub": "jo-1", "exp": now + 120, "iat": now,
            "jti": secrets.token_hex(8), "events": {"http://schemas.openid.net/event/backchannel-logout": {}},
        }  # fmt: skip
        return {name: value for name, value in (right | changed).items() if value is not None}

    def logout_token(self, type: Any = "logout+jwt", **changed: Any) -> str:
        """Return a logout token, with this ``typ``."""
        header = {"alg": self.algorithm, "kid": self.key.kid} | ({} if type is None else {"typ": type})
        return signed(header, self.logout_claims(**changed), self.key)

    def let_in(self, address: str, **changed: str) -> str:
        """Do what a provider does with who was sent there; return the query that they come back with."""
        asked = {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}
        code = f"code-{len(self.forms)}-{len(self.codes)}"
        self.codes[code] = asked
        answer = {"code": code, "state": asked["state"], "iss": self.issuer, **changed}
        return urlencode({name: value for name, value in answer.items() if value})


def _proves(form: dict[str, str], asked: dict[str, str]) -> bool:
    challenge = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
    return (
        base64.urlsafe_b64encode(challenge).rstrip(b"=").decode() == asked["code_challenge"]
        and form["redirect_uri"] == asked["redirect_uri"]
    )


@contextmanager
def hostile_provider(now: Callable[[], float]) -> Iterator[HostileProvider]:
    """Serve one."""
    provider = HostileProvider(now)
    with served(provider) as address:
        provider.issuer = f"{address}/realm"
        yield provider
