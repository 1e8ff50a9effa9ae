"""The readable companion of the choice cookie, for those who cannot read that one: shared caches, and the guard.

The server never trusts it. It says which page a visitor is to be given from a cache, and to the guard, which
can read no HttpOnly cookie, what the visitor chose.

The value is ``tag.granted.told``, and ``.others`` where single vendors were excepted: ``3f08c1a95b27.pf.g``. The
tag names the policy and the key that signs; granted are the first letters of categories, told those of signals
that the visitor was told of; others are vendors whose answer differs from their category's, each with the first
letter of its category before its id, joined by ``_``. Where everybody gets the same page, a fifth part is the
second since 1970 when the choice expires, and the cookie lives on as the signed one does: what is refused stays so.

For shared caches the last two characters of the signed cookie go before all that, ``Qk.3f08c1a95b27.pf.g``: a cache
believes the one only beside the other. The two are not always set together, since a page that puts this one right may
arrive after another choice was made.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import sha256

from consent.catalog import Catalog
from consent.categories import OPTIONAL
from consent.choice import BrowserSignal, Choice
from consent.choice_cookie import ChoiceCookie
from consent.cookie_lines import line
from consent.decision import Decision
from consent.policy import CacheMode, Policy, Regime
from consent.signals import ChoiceState

KEY_HEADER = b"consent-variant"
"""The request field by which a cache says under which key it will store the answer."""


class VariantCookie:
    """Writes the cookie, and the key under which a page may be kept. Immutable, safe to share between threads.

    Args:
        cookie: The choice cookie. The companion has its name with ``_variant`` behind it.
        policy, catalog: The site's rules, and what is known about vendors.
    """

    def __init__(self, cookie: ChoiceCookie, policy: Policy, catalog: Catalog) -> None:
        self.name = self.name_beside(cookie)
        # With another key, what was chosen before may not be believed any more, but would still be in this cookie.
        self.tag = sha256(policy.version.encode() + cookie.fingerprint).hexdigest()[:12]
        self._cookie = cookie
        self._policy_version = policy.version
        self._never = policy.never
        self._outlives = policy.cache is CacheMode.UNIFORM
        self._stored_name = cookie.name.encode()
        self._categories = {vendor.id: vendor.category for vendor in catalog.vendors.values()}

    @staticmethod
    def name_beside(cookie: ChoiceCookie) -> str:
        """Return the name that the companion of ``cookie`` has."""
        return f"{cookie.name}_variant"

    def value(self, choice: Choice) -> str:
        """Return what the cookie says of ``choice``, but for when it expires, and beside which cookie."""
        tag = self.tag if choice.policy_version == self._policy_version else "outdated"
        yes = choice.granted - self._never
        granted = "".join(category[0] for category in OPTIONAL if category in yes)
        told = "".join(signal[0] for signal in BrowserSignal if signal in choice.told)
        others = "_".join(
            category[0] + vendor
            for vendor, allowed in sorted(choice.vendors.items())
            if (category := self._categories.get(vendor)) in OPTIONAL
            and allowed != (category in yes)
            and not (allowed and category in self._never)
        )
        return f"{tag}.{granted}.{told}" + (f".{others}" if others else "")

    def header(
        self, choice: Choice | None, *, secure: bool, now: int, host: str = "", beside: bytes = b""
    ) -> bytes:
        """Return the value of the ``Set-Cookie`` field that stores it; without a choice, that deletes it.

        Args:
            choice: What was chosen.
            secure: Whether the site is served over HTTPS.
            now: Seconds since 1970-01-01T00:00:00Z.
            host: The host that was asked, as for :meth:`ChoiceCookie.header`.
            beside: The signed cookie, as it is sent or set.
        """
        value, max_age = "", 0
        if choice and self._outlives:
            value = self.value(choice)
            value += "." * (4 - value.count(".")) + str(self._cookie.fresh_until(choice))
            max_age = self._cookie.seconds_kept(choice, now=now)
        elif choice:
            value, max_age = self._bound(choice, beside), self._cookie.seconds_left(choice, now=now)
        domain = self._cookie.domain_at(host)
        return line(self.name, value, max_age=max_age, secure=secure, domain=domain, http_only=False)

    def _bound(self, choice: Choice, beside: bytes) -> str:
        return f"{beside.partition(b';')[0][-2:].decode('ascii')}.{self.value(choice)}"

    def guard_attributes(self, policy: Policy) -> dict[str, str]:
        """Return what the guard needs to decide from the cookie as the server does: attributes of its tag."""
        return {
            "uniform": self.tag,
            "g": "".join(category[0] for category in OPTIONAL if category in policy.gpc_refuses),
            "d": "".join(category[0] for category in OPTIONAL if category in policy.dnt_refuses),
            # What silence allows.
            "silence": "".join(
                category[0]
                for category in OPTIONAL
                if policy.regime is not Regime.OPT_IN and category not in policy.never
            ),
        }

    def key(self, decision: Decision) -> str | None:
        """Return the key of the page for ``decision``; ``None``: it is for this one visitor.

        It is ``choice:signals``. The choice is ``none``, or what the cookie says of it; there is no key for exceptions,
        which few visitors share, nor for a stored answer that does not count. The signals are ``g`` for ``Sec-GPC``
        and ``d`` for ``DNT``.
        """
        signals = decision.signals
        if signals.dnt is False:  # sent by hardly anybody, and the app may make something of it
            return None
        choice = "none"
        if signals.choice_state is not ChoiceState.ABSENT:
            if signals.choice_state is not ChoiceState.VALID or signals.choice is None:
                return None
            choice = self.value(signals.choice)
            if signals.choice.vendors:
                return None
        return f"{choice}:{'g' * signals.gpc}{'d' * bool(signals.dnt)}"

    def correction(
        self, decision: Decision, cookies: Sequence[bytes], *, secure: bool, now: int, host: str = ""
    ) -> bytes | None:
        """Return the ``Set-Cookie`` value that puts a visitor's cookie right; ``None`` where it is right.

        Args:
            decision: Made from the signed cookie.
            cookies: The request's ``Cookie`` lines.
            secure: Whether the site is served over HTTPS.
            now: Seconds since 1970-01-01T00:00:00Z.
            host: The host that was asked.
        """
        signals = decision.signals
        choice = signals.choice if signals.choice_state is ChoiceState.VALID else None
        signed = _values(cookies, self._stored_name)
        beside = signed[0] if len(signed) == 1 else b""  # beside two, caches believe nothing
        wanted = [self._bound(choice, beside).encode()] if choice else []
        if _values(cookies, self.name.encode()) == wanted:
            return None
        return self.header(choice, secure=secure, now=now, host=host, beside=beside)


def _values(cookies: Iterable[bytes], name: bytes) -> list[bytes]:
    return [
        value.strip(b" \t")
        for line in cookies
        for pair in line.split(b";")
        for key, _, value in (pair.partition(b"="),)
        if key.strip(b" \t") == name
    ]
