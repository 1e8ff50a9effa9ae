"""The cookie that carries a visitor's choice from request to request, signed.

The value is ``payload.signature``, both in unpadded URL-safe Base64: canonical JSON, and an HMAC-SHA256 over
the payload as written. It is signed, not encrypted: it holds nothing the visitor may not see. Only the one
form that this module writes is read; whatever differs from it in a single bit is forged.

What a browser signal takes back of a choice is in a cookie of its own beside it, ``…_taken_gpc_3f2504e0``: named after
the signal and the choice that it is about. Such cookies are set with pages, and pages may arrive late: none replaces
what another signal took back, or what was taken back of another choice, beside which it says nothing. What a no leaves
beside it, in :mod:`consent.refusal_mark`.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from math import inf
from typing import NamedTuple

from itsdangerous import Signer
from itsdangerous.encoding import base64_decode, base64_encode

from consent.choice import (
    MAX_COOKIE_DAYS,
    NOBODY,
    BrowserSignal,
    Choice,
    granted_by_both,
    left_of,
    refusals_of,
)
from consent.choice_form import UnwritableChoiceError, decoded, encoded, rank
from consent.cookie_lines import cookies, line, values
from consent.errors import ConfigurationError
from consent.refusal_mark import TAG_DIGITS, is_mark, mark_of, marks, without
from consent.signals import ChoiceState

logger = logging.getLogger("consent")

MAX_COOKIE_BYTES = 4096
"""Name and value together; browsers drop longer cookies (RFC 6265bis, section 5.6)."""
CLOCK_SKEW_SECONDS = 300
"""How far ahead of ours the clock of another server that signs with the same keys may be."""
MAX_VERIFIED = 8  # candidates of one name that are worth an HMAC; a browser sends one, or one for each domain
MAX_SUBJECTS = 8
"""How many pseudonyms one browser can have all at once that are forgotten together."""
_MAX_LOOKED_AT = 200  # as many as browsers keep for one site, or somewhat more
_MIN_SECRET_BYTES = 16
RENEWAL_DAYS = 200
"""How long after a refusal its cookie is set anew with each page."""
_LAST_RENEWAL_DAYS = MAX_COOKIE_DAYS - 30
"""... at the latest, also where something that was granted beside it would count longer."""
_DAY = 86_400
_DIGEST = hashlib.sha256

_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")  # a token (RFC 9110, section 5.6.2)
_VALUE = re.compile(rb"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]{43}")


class ReadChoice(NamedTuple):
    """What became of a visitor's choice."""

    choice: Choice | None
    state: ChoiceState
    left: Choice | None = None
    """What the choice itself is to be stored as, where the cookies beside it refuse more: it is to grant no more than
    that where these are lost. It may arrive after a later choice: then the mark of that one stands beside it."""


class ChoiceCookie:
    """Signs choices, and reads them back. Immutable, and safe to share between threads.

    Args:
        secrets: The keys, each at least 16 random bytes. The first signs, all verify: to rotate, put the new
            one first and drop the old one ``max_age_days`` later. What was refused under it stays refused.
        name: Name of the cookie. Part of what is signed: a cookie is worth nothing under another name.
        max_age_days: How long a choice counts, a refusal and a consent alike, 1 to 400. After that the visitor is to be
            asked again. A consent is over then; a refusal stands, for as long as browsers keep a cookie.
        domain: The domain for which browsers are to keep it, below which all hosts are sent it; empty: the host alone.

    Raises:
        ConfigurationError: a secret, the name or the age is not usable.
    """

    def __init__(
        self, secrets: Sequence[bytes], *, name: str = "consent", max_age_days: int = 180, domain: str = ""
    ) -> None:
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
        self.taken_name = f"{name}_taken"
        """What the names of those begin with that keep what signals took back; once it was the whole name of one."""
        self.taken_form = f"{self.taken_name}_*"
        """... and how visitors are told their names."""
        self.mark_name = f"{name}_no"
        """What the names of those begin with that a refusal leaves: its mark."""
        self.mark_form = f"{self.mark_name}_*"
        self.domain = domain
        self._name = name.encode()
        self._taken_name = re.compile(re.escape(self.taken_name.encode()) + rb"(?:_[a-z]+_[0-9a-f]{8})?")
        self._needs_https = name.lower().startswith(("__host-", "__secure-"))
        self._max_age = max_age_days * _DAY
        self._signer = _signer(secrets, self._name)
        self._taken_signer = _signer(secrets, self.taken_name.encode())
        self._foreign_host_told = not domain

    def is_mark(self, name: str) -> bool:
        """Tell whether a cookie of that name is what a refusal leaves: each has a name of its own."""
        return is_mark(name.encode(), self.mark_name.encode())

    def read(
        self, headers: Iterable[tuple[bytes, bytes]], *, now: int, policy_version: str, secure: bool = True
    ) -> ReadChoice:
        """Return the stored choice and what became of it.

        Several cookies can have the name: of the host and of its domain, or such as another host of the domain has
        set. All of one visitor: the genuine one made last is their word, and of two made in the same second the one
        that grants less. What was made by another visitor, as its pseudonym tells, grants nothing here, but what it
        refuses is refused: a yes that came from elsewhere never goes over a no.

        What is left where some of the cookies are gone grants nothing but what all of them did.

        Args:
            headers: Raw ASGI header pairs with lower-case names.
            now: Seconds since 1970-01-01T00:00:00Z.
            policy_version: The version of the policy in force.
            secure: Whether the request came over HTTPS. What was granted without it does not count there: whoever is
                on the way of a page without it can give a browser a choice of their own.
        """
        headers = list(headers)
        stored, state = self._stored(headers, now=now)
        choice, all_known = self._effective(headers, stored, state)
        if choice is None:
            return ReadChoice(None, ChoiceState.ABSENT if all_known else ChoiceState.FORGED)
        if not all_known:
            return ReadChoice(refusals_of(choice), ChoiceState.EXPIRED)
        left = None if stored is None else left_of(stored, choice)
        if stored is None or now >= self.fresh_until(choice) or (choice.over_http and secure):
            state = ChoiceState.EXPIRED
        elif choice.policy_version != policy_version:
            state = ChoiceState.OUTDATED
        return ReadChoice(choice, state, left)

    def _effective(
        self, headers: Sequence[tuple[bytes, bytes]], choice: Choice | None, state: ChoiceState
    ) -> tuple[Choice | None, bool]:
        """Return what is left of the stored ``choice`` beside the other cookies, and whether all of these are known."""
        if state is ChoiceState.FORGED:
            return None, False
        refused = {
            name.decode(): categories for name, categories in marks(headers, self.mark_name.encode()).items()
        }
        taken, all_known = self._taken(headers, of=choice.receipt_id if choice else "")
        if choice is None:
            if not taken:
                return None, all_known and not refused
            # The choice is over, and browsers have let go of it. What was taken back of it stays refused.
            choice = max((kept for kept, _ in taken), key=rank)
            bases = {of for kept, of in taken if kept == choice}
        else:
            bases = {choice.receipt_id}
            refused.pop(self._mark_name_of(choice), None)
        made_by, made_at = choice.subject, choice.made_at
        # The receipt is that of the page that knew of most.
        for kept, of in sorted(taken, key=lambda found: len(found[0].taken_back)):
            if of in bases:
                choice = granted_by_both(choice, kept, receipt_id=kept.receipt_id)
            elif kept.subject != made_by or kept.made_at > made_at:
                choice = granted_by_both(choice, kept, receipt_id=choice.receipt_id)
        return without(choice, frozenset(chain.from_iterable(refused.values()))), all_known

    def _mark_name_of(self, choice: Choice) -> str:
        return f"{self.mark_name}_{choice.receipt_id[:TAG_DIGITS]}"

    def stored(self, headers: Iterable[tuple[bytes, bytes]], *, now: int) -> Choice | None:
        """Return the choice itself as it is stored, whatever cookies beside it refuse besides."""
        return self._stored(list(headers), now=now)[0]

    def subjects(self, headers: Iterable[tuple[bytes, bytes]], *, now: int) -> Sequence[str]:
        """Return the pseudonyms in all genuine cookies of a request, that of the present choice first; not `NOBODY`.

        A browser has several where hosts of a domain, or the same host under an earlier setting, have set theirs. At
        most one more than are worth erasing.
        """
        headers = list(headers)
        choice, _ = self._stored(headers, now=now)
        subjects = dict.fromkeys([choice.subject] if choice else [])
        for name, value in islice(cookies(headers, self._name), _MAX_LOOKED_AT):
            is_choice = name == self._name
            if not _is_well_formed(name, value) or not (is_choice or self._is_taken(name)):
                continue
            if opened := self._open(value, self._signer if is_choice else self._taken_signer):
                subjects[opened[0].subject] = None
        subjects.pop(NOBODY, None)
        return list(islice(subjects, MAX_SUBJECTS + 1))

    def _taken(
        self, headers: Iterable[tuple[bytes, bytes]], *, of: str
    ) -> tuple[Sequence[tuple[Choice, str]], bool]:
        """Return what signals took back, each with the receipt of its choice, and whether that is all.

        Args:
            of: The receipt of the present choice; empty: there is none. What names this one and cannot be read may have
                been a no, as where a server does not know yet the key that another one signs with.
        """
        found: list[tuple[Choice, str]] = []
        all_known = True
        verified = 0
        for name, value in cookies(headers, self.taken_name.encode()):
            if not self._is_taken(name):
                continue
            opened = None
            if _is_well_formed(name, value):
                verified += 1
                if verified > MAX_VERIFIED:
                    return found, False
                opened = self._open(value, self._taken_signer)
            if opened and opened[1]:
                found.append(opened)
            elif not of or name.endswith(b"_" + of[:TAG_DIGITS].encode()):
                all_known = False
        return found, all_known

    def _stored(
        self, headers: Iterable[tuple[bytes, bytes]], *, now: int
    ) -> tuple[Choice | None, ChoiceState]:
        """Return the choice of the first cookie, and whether there is something by its name: absent or forged."""
        is_there, values = self._well_formed(headers, self._name)
        if not is_there:
            return None, ChoiceState.ABSENT
        if len(values) > MAX_VERIFIED:
            return None, ChoiceState.FORGED  # one of those that were not looked at may be the no
        genuine = [
            found[0]
            for value in values
            if (found := self._open(value, self._signer))
            and not found[1]
            and found[0].made_at <= now + CLOCK_SKEW_SECONDS
        ]
        if not genuine:
            return None, ChoiceState.FORGED
        choice, *others = sorted(genuine, key=rank, reverse=True)
        for other in others:
            if other.subject != choice.subject:
                choice = granted_by_both(choice, other, receipt_id=choice.receipt_id)
        return choice, ChoiceState.VALID

    def header(self, choice: Choice, *, secure: bool, now: int, host: str = "") -> bytes:
        """Return the value of the ``Set-Cookie`` field that stores ``choice``.

        Args:
            choice: What to store. Its age counts from ``made_at``: signing it again does not prolong it. Where it
                refuses something, the cookie is to be kept for as long as browsers do.
            secure: Whether the site is served over HTTPS.
            now: Seconds since 1970-01-01T00:00:00Z.
            host: The host that was asked, lower case and without a port. The cookie is for the domain if the host
                is in it.

        Raises:
            UnwritableChoiceError: the choice would not be read back, or is too long for a cookie.
        """
        value = self._signed(self.name, self._signer, choice, secure=secure)
        age = self.seconds_kept(choice, now=now)
        return line(self.name, value, max_age=age, secure=secure, domain=self.domain_at(host))

    def taken_header(
        self, kept: Choice, of: str, signal: BrowserSignal, *, secure: bool, now: int, host: str = ""
    ) -> bytes:
        """Return the value of the ``Set-Cookie`` field that stores what is left of a choice after a signal.

        Args:
            kept: What is left.
            of: The id of the receipt of the choice, see :meth:`stored`.
            signal: What took the rest back; several have a cookie each.
            secure, now, host: As for :meth:`header`.

        Raises:
            UnwritableChoiceError: as for :meth:`header`.
        """
        name = f"{self.taken_name}_{signal}_{of[:TAG_DIGITS]}"
        value = self._signed(name, self._taken_signer, kept, of, secure=secure)
        age = self.seconds_kept(kept, now=now)
        return line(name, value, max_age=age, secure=secure, domain=self.domain_at(host))

    def mark_header(self, choice: Choice, *, secure: bool, now: int, host: str = "") -> bytes | None:
        """Return the value of the ``Set-Cookie`` field that sets the mark of ``choice``; ``None``: it refuses nothing.

        The arguments are those of :meth:`header`.
        """
        name, mark = self._mark_name_of(choice), mark_of(choice)
        age = self.seconds_kept(choice, now=now)
        return line(name, mark, max_age=age, secure=secure, domain=self.domain_at(host)) if mark else None

    def names_beside(self, headers: Iterable[tuple[bytes, bytes]]) -> Sequence[str]:
        """Return the names of the cookies of a request that stand beside the choice, and go with the next one."""
        headers = list(headers)
        found = islice(marks(headers, self.mark_name.encode()), 2 * MAX_VERIFIED)
        return [*self.taken_names(headers), *(name.decode() for name in found)]

    def taken_names(self, headers: Iterable[tuple[bytes, bytes]]) -> Sequence[str]:
        """Return the names of the cookies of a request that :meth:`taken_header` set; not more than are ever read."""
        names = (name for name, _ in cookies(headers, self.taken_name.encode()) if self._is_taken(name))
        return [name.decode() for name in islice(dict.fromkeys(names), 2 * MAX_VERIFIED)]

    def _is_taken(self, name: bytes) -> bool:
        return self._taken_name.fullmatch(name) is not None

    def deletions(
        self,
        headers: Iterable[tuple[bytes, bytes]],
        names: Iterable[str],
        *,
        secure: bool,
        host: str,
        stays: bool = False,
    ) -> Iterator[bytes]:
        """Yield the ``Set-Cookie`` values that delete those cookies of ``names`` that a request brought.

        They go before what sets one of the same name: some browsers take a host's cookie and its domain's for the same.

        Args:
            headers: The request's raw ASGI pairs.
            names: This cookie's, and of those beside it.
            secure, host: As for :meth:`header`.
            stays: Leave them where they are set: only what is left of the host's own goes, where there is a domain.
        """
        headers = list(headers)
        domain = self.domain_at(host)
        for name in names:
            if next(values(headers, name.encode()), None) is not None:
                if domain or not stays:
                    yield line(name, "", max_age=0, secure=secure)
                if domain and not stays:
                    yield line(name, "", max_age=0, secure=secure, domain=domain)

    def domain_at(self, host: str) -> str:
        """Return the domain that cookies are set for at ``host``; empty: for the host alone."""
        if not self.domain or host == self.domain or host.endswith("." + self.domain):
            return self.domain
        if not self._foreign_host_told:
            self._foreign_host_told = True
            logger.warning(
                "choice.domain is %s, and a request was for %r: choices made there are stored for that host alone. "
                "If it is the same site, have the proxy pass the Host field on",
                self.domain,
                host[:100],
            )
        return ""

    def _signed(self, name: str, signer: Signer, choice: Choice, of: str = "", *, secure: bool) -> str:
        if self._needs_https and not secure:
            raise UnwritableChoiceError(
                f"browsers refuse a cookie named {self.name} without HTTPS: serve the site over HTTPS, "
                "or choose a name without the prefix"
            )
        value = signer.sign(base64_encode(encoded(choice, of)))
        if len(name) + len(value) > MAX_COOKIE_BYTES:
            raise UnwritableChoiceError(
                f"{len(choice.vendors)} vendor exceptions do not fit into a cookie: store only those that "
                "differ from the answer for their category"
            )
        return value.decode("ascii")

    def seconds_kept(self, choice: Choice, *, now: int) -> int:
        """Return how long browsers are to keep ``choice``."""
        return MAX_COOKIE_DAYS * _DAY if choice.refuses else self.seconds_left(choice, now=now)

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
        if not choice.refuses:
            return inf
        over = min(self._max_age, _LAST_RENEWAL_DAYS * _DAY) if choice.grants else 0
        return choice.made_at + max(RENEWAL_DAYS * _DAY, over)

    @property
    def fingerprint(self) -> bytes:
        """What tells the present signing key from others, and nothing about it."""
        # No choice has these bytes: they are not Base64.
        return self._signer.get_signature(b"(fingerprint)")

    def _well_formed(
        self, headers: Iterable[tuple[bytes, bytes]], name: bytes
    ) -> tuple[bool, Sequence[bytes]]:
        """Return whether a cookie has the name, and those that may be ours: one too many where there are more."""
        is_there = False
        found: list[bytes] = []
        for value in values(headers, name):
            is_there = True
            if _is_well_formed(name, value):
                found.append(value)
                if len(found) > MAX_VERIFIED:
                    break
        return is_there, found

    def _open(self, value: bytes, signer: Signer) -> tuple[Choice, str] | None:
        payload, _, signature = value.partition(b".")
        # The last Base64 digit of 32 bytes has two bits to spare: only the canonical spelling counts.
        if base64_encode(base64_decode(signature)) != signature:
            return None
        if not signer.verify_signature(payload, signature):
            return None
        return decoded(payload)


def _signer(secrets: Sequence[bytes], name: bytes) -> Signer:
    # The purpose and the name go into the derivation, so that the same secret may serve elsewhere too.
    # The keys are derived here, not per request. itsdangerous signs with the last key of its list.
    salt = b"asgi-consent choice cookie 1:" + name
    derived = [
        Signer(secret, salt=salt, key_derivation="hmac", digest_method=_DIGEST).derive_key()
        for secret in reversed(secrets)
    ]
    return Signer(derived, salt=salt, key_derivation="none", digest_method=_DIGEST)


def _is_well_formed(name: bytes, value: bytes) -> bool:
    return len(name) + len(value) <= MAX_COOKIE_BYTES and _VALUE.fullmatch(value) is not None
