"""The cookie that carries a visitor's choice from request to request, signed.

The value is ``payload.signature``, both in unpadded URL-safe Base64: canonical JSON, and an HMAC-SHA256 over
the payload as written. It is signed, not encrypted: it holds nothing the visitor may not see. Only the one
form that this module writes is read; whatever differs from it in a single bit is forged.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from math import inf
from types import MappingProxyType

from itsdangerous import BadData, Signer
from itsdangerous.encoding import base64_decode, base64_encode

from consent.categories import OPTIONAL
from consent.choice import (
    MAX_COOKIE_DAYS,
    POLICY_VERSION,
    RECEIPT_ID,
    SUBJECT,
    VENDOR_ID,
    BrowserSignal,
    Choice,
)
from consent.errors import ConfigurationError, ConsentError
from consent.signals import ChoiceState

MAX_COOKIE_BYTES = 4096
"""Name and value together; browsers drop longer cookies (RFC 6265bis, section 5.6)."""
CLOCK_SKEW_SECONDS = 300
"""How far ahead of ours the clock of another server that signs with the same keys may be."""
_MAX_VERIFIED = 8  # candidates per request that are worth an HMAC; a browser sends one
_MIN_SECRET_BYTES = 16
RENEWAL_DAYS = 200
"""How long after a refusal its cookie is set anew with each page."""
_LAST_RENEWAL_DAYS = MAX_COOKIE_DAYS - 30
"""... at the latest, also where something that was granted beside it would count longer."""
_DAY = 86_400
_DIGEST = hashlib.sha256

_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")  # a token (RFC 9110, section 5.6.2)
_VALUE = re.compile(rb"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]{43}")
_CATEGORY_LETTERS = {category.value[0]: category for category in OPTIONAL}
_SIGNAL_LETTERS = {signal.value[0]: signal for signal in BrowserSignal}


class UnwritableChoiceError(ConsentError, ValueError):
    """A choice cannot be put into a cookie: a field has the wrong form, or there are too many exceptions."""


class ChoiceCookie:
    """Signs choices, and reads them back. Immutable, and safe to share between threads.

    Args:
        secrets: The keys, each at least 16 random bytes. The first signs, all verify: to rotate, put the new
            one first and drop the old one ``max_age_days`` later. What was refused under it stays refused.
        name: Name of the cookie. Part of what is signed: a cookie is worth nothing under another name.
        max_age_days: How long a choice counts, a refusal and a consent alike, 1 to 400. After that the visitor is to be
            asked again. A consent is over then; a refusal stands, for as long as browsers keep a cookie.

    Raises:
        ConfigurationError: a secret, the name or the age is not usable.
    """

    def __init__(self, secrets: Sequence[bytes], *, name: str = "consent", max_age_days: int = 180) -> None:
        if isinstance(secrets, (bytes, bytearray, str)) or not secrets:
            raise ConfigurationError("give a list of secrets, the signing one first", key="secrets")
        for position, secret in enumerate(secrets):
            if not isinstance(secret, bytes) or len(secret) < _MIN_SECRET_BYTES:
                raise ConfigurationError(
                    f"secret {position + 1} must be at least {_MIN_SECRET_BYTES} random bytes", key="secrets"
                )
        if _NAME.fullmatch(name) is None:
            raise ConfigurationError(
                "a cookie name is 1 to 100 ASCII letters, digits or !#$%&'*+-.^_`|~", key="name"
            )
        if type(max_age_days) is not int or not 1 <= max_age_days <= MAX_COOKIE_DAYS:
            raise ConfigurationError("the age must be a whole number of days, 1 to 400", key="max_age_days")
        self.name = name
        self._name = name.encode()
        self._needs_https = name.lower().startswith(("__host-", "__secure-"))
        self._max_age = max_age_days * _DAY
        self._max_value = MAX_COOKIE_BYTES - len(name)
        # The purpose and the name go into the derivation, so that the same secret may serve elsewhere too.
        # The keys are derived here, not per request. itsdangerous signs with the last key of its list.
        salt = b"asgi-consent choice cookie 1:" + self._name
        derived = [
            Signer(secret, salt=salt, key_derivation="hmac", digest_method=_DIGEST).derive_key()
            for secret in reversed(secrets)
        ]
        self._signer = Signer(derived, salt=salt, key_derivation="none", digest_method=_DIGEST)

    def read(
        self, headers: Iterable[tuple[bytes, bytes]], *, now: int, policy_version: str
    ) -> tuple[Choice | None, ChoiceState]:
        """Return the stored choice and what became of it.

        Where several cookies have the name, as happens with several paths or domains, the genuine one made
        last is the visitor's word; of two made in the same second, the one that grants less.

        Args:
            headers: Raw ASGI header pairs with lower-case names.
            now: Seconds since 1970-01-01T00:00:00Z.
            policy_version: The version of the policy in force.
        """
        state = ChoiceState.ABSENT
        newest: Choice | None = None
        verified = 0
        for value in self._candidates(headers):
            if state is ChoiceState.ABSENT:
                state = ChoiceState.FORGED
            if len(value) > self._max_value or _VALUE.fullmatch(value) is None:
                continue
            verified += 1
            if verified > _MAX_VERIFIED:
                break
            choice = self._open(value)
            if choice is None or choice.made_at > now + CLOCK_SKEW_SECONDS:
                continue
            if newest is None or _rank(choice) > _rank(newest):
                newest = choice
        if newest is None:
            return None, state
        if now >= self.fresh_until(newest):
            return newest, ChoiceState.EXPIRED
        if newest.policy_version != policy_version:
            return newest, ChoiceState.OUTDATED
        return newest, ChoiceState.VALID

    def header(self, choice: Choice, *, secure: bool, now: int) -> bytes:
        """Return the value of the ``Set-Cookie`` field that stores ``choice``.

        Args:
            choice: What to store. Its age counts from ``made_at``: signing it again does not prolong it. Where it
                refuses something, the cookie is to be kept for as long as browsers do.
            secure: Whether the site is served over HTTPS.
            now: Seconds since 1970-01-01T00:00:00Z.

        Raises:
            UnwritableChoiceError: the choice would not be read back, or is too long for a cookie.
        """
        if self._needs_https and not secure:
            raise UnwritableChoiceError(
                f"browsers refuse a cookie named {self.name} without HTTPS: serve the site over HTTPS, "
                "or choose a name without the prefix"
            )
        value = self._signer.sign(base64_encode(_encode(choice)))
        if len(value) > self._max_value:
            raise UnwritableChoiceError(
                f"{len(choice.vendors)} vendor exceptions do not fit into a cookie: store only those that "
                "differ from the answer for their category"
            )
        header = b"%s=%s; Max-Age=%d; Path=/; HttpOnly; SameSite=Lax" % (
            self._name,
            value,
            self.seconds_kept(choice, now=now),
        )
        return header + b"; Secure" if secure else header

    def seconds_kept(self, choice: Choice, *, now: int) -> int:
        """Return how long browsers are to keep ``choice``."""
        return MAX_COOKIE_DAYS * _DAY if _refuses(choice) else self.seconds_left(choice, now=now)

    def seconds_left(self, choice: Choice, *, now: int) -> int:
        """Return how long ``choice`` still counts, as far as it is not a refusal."""
        return max(0, min(choice.made_at - now, 0) + self._max_age)

    def fresh_until(self, choice: Choice) -> int:
        """Return when ``choice`` expires, in seconds since 1970."""
        return choice.made_at + self._max_age

    def renewal_due(self, choice: Choice) -> float:
        """Return when the refusals of ``choice`` are to be stored anew, so that browsers keep them; perhaps never.

        What is granted beside them is not stored again, so it has to be over.
        """
        if not _refuses(choice):
            return inf
        over = min(self._max_age, _LAST_RENEWAL_DAYS * _DAY) if _grants(choice) else 0
        return choice.made_at + max(RENEWAL_DAYS * _DAY, over)

    @property
    def fingerprint(self) -> bytes:
        """What tells the present signing key from others, and nothing about it."""
        # No choice has these bytes: they are not Base64.
        return self._signer.get_signature(b"(fingerprint)")

    def _candidates(self, headers: Iterable[tuple[bytes, bytes]]) -> Iterator[bytes]:
        name = self._name
        for field, line in headers:
            if field != b"cookie" or name not in line:
                continue
            for pair in line.split(b";"):
                found, equals, value = pair.partition(b"=")
                if equals and found.strip(b" \t") == name:
                    yield value.strip(b" \t")

    def _open(self, value: bytes) -> Choice | None:
        payload, _, signature = value.partition(b".")
        # The last Base64 digit of 32 bytes has two bits to spare: only the canonical spelling counts.
        if base64_encode(base64_decode(signature)) != signature:
            return None
        if not self._signer.verify_signature(payload, signature):
            return None
        return _decode(payload)


def _refuses(choice: Choice) -> bool:
    return not (choice.granted.issuperset(OPTIONAL) and all(choice.vendors.values()))


def _grants(choice: Choice) -> bool:
    return bool(choice.granted) or any(choice.vendors.values())


def refusals_of(choice: Choice) -> Choice:
    """Return ``choice`` without what it grants: nothing that is stored of it can bring back what was withdrawn."""
    refused = {vendor: False for vendor, allowed in choice.vendors.items() if not allowed}
    return replace(choice, granted=frozenset(), vendors=MappingProxyType(refused), told=frozenset())


def _rank(choice: Choice) -> tuple[int, int, int, bytes]:
    """Order choices: later first, then the one that grants less; the rest only makes the order total."""
    exceptions = sum(1 if allowed else -1 for allowed in choice.vendors.values())
    return choice.made_at, -len(choice.granted), -exceptions, _encode(choice)


def _encode(choice: Choice) -> bytes:
    """Write the one canonical form of ``choice``.

    Raises:
        UnwritableChoiceError: a field does not have the form that :class:`Choice` describes.
    """
    _require(RECEIPT_ID, "receipt_id", choice.receipt_id, "a UUID4 in lower case")
    _require(SUBJECT, "subject", choice.subject, "32 lower-case hexadecimal digits")
    _require(POLICY_VERSION, "policy_version", choice.policy_version, "12 lower-case hexadecimal digits")
    for vendor in choice.vendors:
        _require(VENDOR_ID, "vendors", vendor, "ids of lower-case letters, digits and hyphens, at most 64")
    made_at = choice.made_at
    if type(made_at) is not int or not 0 < made_at < 1 << 40:
        raise UnwritableChoiceError(f"made_at must be whole seconds since 1970, not {made_at!r}")
    if not choice.granted <= frozenset(OPTIONAL):
        raise UnwritableChoiceError("granted must name optional categories only: the others are always on")
    taken = "".join(letter for letter, name in _SIGNAL_LETTERS.items() if name in choice.taken_back)
    content = {
        "allow": " ".join(sorted(vendor for vendor, allowed in choice.vendors.items() if allowed)),
        "at": made_at,
        "deny": " ".join(sorted(vendor for vendor, allowed in choice.vendors.items() if not allowed)),
        "grant": "".join(letter for letter, name in _CATEGORY_LETTERS.items() if name in choice.granted),
        "policy": choice.policy_version,
        "receipt": choice.receipt_id,
        "subject": choice.subject,
        "told": "".join(letter for letter, name in _SIGNAL_LETTERS.items() if name in choice.told),
        **({"taken": taken} if taken else {}),
    }
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()


def _require(form: re.Pattern[str], field: str, value: object, description: str) -> None:
    if not isinstance(value, str) or form.fullmatch(value) is None:
        raise UnwritableChoiceError(f"{field} must be {description}, not {str(value)[:80]!r}")


def _decode(payload: bytes) -> Choice | None:
    """Read what :func:`_encode` wrote, in Base64; ``None`` for anything else, however well signed."""
    try:
        text = base64_decode(payload)
        content = json.loads(text)
        vendors = dict.fromkeys(content["allow"].split(), True)
        vendors |= dict.fromkeys(content["deny"].split(), False)
        choice = Choice(
            receipt_id=content["receipt"],
            subject=content["subject"],
            made_at=content["at"],
            policy_version=content["policy"],
            granted=frozenset(_CATEGORY_LETTERS[letter] for letter in content["grant"]),
            vendors=MappingProxyType(vendors),
            told=frozenset(_SIGNAL_LETTERS[letter] for letter in content["told"]),
            taken_back=frozenset(_SIGNAL_LETTERS[letter] for letter in content.get("taken", "")),
        )
        # Writing it again checks every field's form, and that there is nothing else and no second spelling.
        canonical = _encode(choice)
    except (BadData, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return choice if canonical == text and base64_encode(canonical) == payload else None
