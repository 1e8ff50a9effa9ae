"""Which provider people sign in with, and what its claims let them do: a TOML file, read strictly."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from consent.errors import ConfigurationError
from consent.office.roles import Role
from consent.toml_file import Place, TomlFile
from consent.value_rules import Wrong, a_filled_line, a_line, each_of, kind_of, listed, one_of, suggestion

SECRET_VARIABLE: Final = "CONSENT_OIDC_CLIENT_SECRET"  # noqa: S105 - its name
ALGORITHMS: Final = (
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "Ed25519",
)  # fmt: skip
"""What an ID token may be signed with. All with a key that the provider alone has: never ``none``, never HMAC."""
DEFAULT_ALGORITHMS: Final = ("RS256", "PS256", "ES256")
MAX_SESSION_MINUTES: Final = 240
MAX_GRANTS: Final = 100
_MAX_FILE: Final = 64 * 1024
_MAX_SECRET: Final = 1_000
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{1,100}")  # RFC 6749, 3.3


@dataclass(frozen=True, slots=True)
class Grant:
    """Whoever has this value in this claim has this role."""

    claim: str
    value: str
    role: Role
    sites: tuple[str, ...] = ()
    """As receipts name them; empty: all."""

    def fits(self, claims: Mapping[str, Any]) -> bool:
        """Tell whether verified claims have the value: as the claim, or as one of a list."""
        if self.claim == "email" and claims.get("email_verified") is not True:
            return False  # anybody can write any address into an account
        found = _claim(claims, self.claim)
        return self.value in found if isinstance(found, list) else found == self.value


@dataclass(frozen=True, slots=True)
class OidcSettings:
    """How to sign in with a provider."""

    issuer: str
    client_id: str
    console: str
    """The console's own address, as browsers have it, without a slash at the end."""
    grants: Sequence[Grant]
    """The first that fits says what somebody may do; with none that does nobody is let in."""
    client_secret: str = field(default="", repr=False)
    """Empty: a public client, which PKCE alone protects."""
    name: str = ""
    """What people know the provider by."""
    scopes: Sequence[str] = ("openid", "profile")
    algorithms: Sequence[str] = DEFAULT_ALGORITHMS
    name_claim: str = "name"
    session_minutes: int = 60
    """How long somebody stays signed in. What the provider withdraws meanwhile is seen at the next sign-in."""
    max_age_minutes: int | None = None
    """How long ago they may have proved to the provider who they are; ``None``: as the provider likes."""

    @property
    def redirect_uri(self) -> str:
        """Where the provider sends people back to. It has to be registered there."""
        return f"{self.console}/sign-in/return"

    @property
    def is_secure(self) -> bool:
        """Whether browsers reach the console over HTTPS."""
        return self.console.startswith("https:")

    @property
    def fingerprint(self) -> str:
        """Changes with all that decides who is let in, and as what: older sessions end with it."""
        parts = (self.issuer, self.client_id, self.name_claim, *map(repr, self.grants))
        return sha256("\n".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:16]

    def grant(self, claims: Mapping[str, Any]) -> Grant | None:
        """Return the first grant that fits; ``None``: this is nobody who may come in."""
        return next((grant for grant in self.grants if grant.fits(claims)), None)


def load_oidc(path: str | Path, environment: Mapping[str, str] | None = None) -> OidcSettings:
    """Read the file.

    Args:
        path: the file.
        environment: where the client's secret may be, as :data:`SECRET_VARIABLE`; by default the process's own.

    Raises:
        ConfigurationError: it cannot be read, or something in it is wrong; nothing of a secret is in the message.
    """
    file = TomlFile(path, max_bytes=_MAX_FILE)
    secret = (os.environ if environment is None else environment).get(SECRET_VARIABLE, "")
    known: dict[str, Any] = {}
    for key, value in file.data.items():
        if key == "grant":
            continue
        if key not in _RULES:
            raise file.error((key,), f"unknown key: {suggestion(key, [*_RULES, 'grant'])}")
        known[key] = _checked(file, (key,), _RULES[key], value)
    for key in ("issuer", "client_id", "console"):
        if key not in known:
            raise file.error((key,), "is missing: sign-in with a provider needs it")
    if secret_file := known.pop("client_secret_file", None):
        secret = _read_secret(Path(path).parent / secret_file)
    if len(secret) > _MAX_SECRET or not secret.isprintable() or not secret.isascii():
        raise ConfigurationError(
            "the client's secret must be one line of printable ASCII", source=SECRET_VARIABLE
        )
    grants = tuple(_grant(file, index, table) for index, table in enumerate(file.tables("grant")))
    if not grants:
        raise file.error(("grant",), "there is no [[grant]]: nobody could come in. Say who may")
    if len(grants) > MAX_GRANTS:
        raise file.error(("grant",), f"there are {len(grants)} of them; at most {MAX_GRANTS}")
    if not known.get("name"):
        known["name"] = urlsplit(known["issuer"]).hostname or known["issuer"]
    return OidcSettings(grants=grants, client_secret=secret, **known)


def is_safe_address(url: str) -> bool:
    """Tell whether this may be asked: HTTPS, or HTTP on this machine."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return False
    if not host or parts.username is not None or parts.password is not None or parts.fragment:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and host in _LOOPBACK)


def _claim(claims: Mapping[str, Any], name: str) -> Any:
    """Return a claim by its name, or by the path to it: ``realm_access.roles``."""
    if name in claims:
        return claims[name]
    found: Any = claims
    for part in name.split("."):
        if not isinstance(found, dict) or part not in found:
            return None
        found = found[part]
    return found


def _grant(file: TomlFile, index: int, table: Mapping[str, Any]) -> Grant:
    members: dict[str, Any] = {}
    for key, value in table.items():
        if key not in _GRANT_RULES:
            raise file.error(("grant", index, key), f"unknown key: {suggestion(key, list(_GRANT_RULES))}")
        members[key] = _checked(file, ("grant", index, key), _GRANT_RULES[key], value)
    for key in ("claim", "value", "role"):
        if key not in members:
            raise file.error(("grant", index), f"{key} is missing")
    return Grant(**members)


def _checked(file: TomlFile, where: Place, rule: Any, value: object) -> Any:
    try:
        return rule(value)
    except Wrong as error:
        raise file.error(where, str(error)) from None


def _read_secret(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_SECRET + 3)
        return content.decode("ascii").strip("\r\n")
    except OSError as error:
        raise ConfigurationError(
            f"it cannot be read ({error.strerror}): it has to hold the client's secret", source=str(path)
        ) from None
    except UnicodeDecodeError:
        raise ConfigurationError(
            "this holds no secret: one line of printable ASCII", source=str(path)
        ) from None


def _address(value: object) -> str:
    url = a_filled_line(value)
    if not is_safe_address(url) or urlsplit(url).query:
        raise Wrong("must be an address that begins with https:// (http:// on this machine only), no query")
    return url


def _scopes(value: object) -> tuple[str, ...]:
    scopes = each_of(value, "scopes", a_filled_line)
    if wrong := [scope for scope in scopes if _SCOPE.fullmatch(scope) is None]:
        raise Wrong(f"{listed(wrong)} cannot be a scope")
    return scopes if "openid" in scopes else ("openid", *scopes)


def _algorithms(value: object) -> tuple[str, ...]:
    algorithms = each_of(value, "algorithms", a_line)
    if not algorithms or not set(algorithms) <= set(ALGORITHMS):
        raise Wrong(f"must be some of {listed(ALGORITHMS)}: others do not prove who signed")
    return algorithms


def _minutes(most: int) -> Any:
    def rule(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise Wrong(f"must be a whole number of minutes, not {kind_of(value)}")
        if not 1 <= value <= most:
            raise Wrong(f"must be from 1 to {most} minutes")
        return value

    return rule


def _sites(value: object) -> tuple[str, ...]:
    return tuple(sorted(set(each_of(value, "sites", a_filled_line))))


_RULES: Final[Mapping[str, Any]] = {
    "issuer": _address,
    "client_id": a_filled_line,
    "client_secret_file": a_filled_line,
    "console": lambda value: _address(value).rstrip("/"),
    "name": a_filled_line,
    "scopes": _scopes,
    "algorithms": _algorithms,
    "name_claim": a_filled_line,
    "session_minutes": _minutes(MAX_SESSION_MINUTES),
    "max_age_minutes": _minutes(7 * 24 * 60),
}
_GRANT_RULES: Final[Mapping[str, Any]] = {
    "claim": a_filled_line,
    "value": a_filled_line,
    "role": one_of(Role),
    "sites": _sites,
}
