"""The readable companion of the choice cookie, for those who cannot read that one: shared caches, and the guard.

The server never trusts it. It says which page a visitor is to be given from a cache, and to the guard, which
can read no HttpOnly cookie, what the visitor chose.

The value is ``tag.granted.told``, and ``.others`` where single vendors were excepted: ``3f08c1a95b27.pf.g``. The
tag names the policy and the key that signs; granted are the first letters of categories, told those of signals
that the visitor was told of; others are vendors whose answer differs from their category's, each with the first
letter of its category before its id, joined by ``_``.

For shared caches the last two characters of the signed cookie go before all that, ``Qk.3f08c1a95b27.pf.g``: a cache
believes the one only beside the other. The two are not always set together, since a page that puts this one right may
arrive after another choice was made.

Where everybody gets the same page, the guard decides, and all is there for it to look up:
``.3f08c1a95b27.1800000000000.pfT.pf.pfT.pf.p.f.p:hotjar.T:meta-pixel.``. These are, each ended by a dot, nothing; the
tag; when the choice expires, in milliseconds since 1970; which letters count without a signal, with GPC, with DNT, and
with both; and what was chosen: categories that are granted, and vendors behind the letter of their category, a capital
where the category is not granted. What counts of that is what is allowed. The cookie lives on as the signed one does:
of a choice that has expired, or is of another policy, the letters count that the guard's tag has. It has all this, too,
between blanks: which letters count by what silence allows, with a ``u`` while nobody has answered, and as if
everything had been granted. So what is refused stays so, and no capital counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from hashlib import sha256

from consent.catalog import Catalog
from consent.categories import OPTIONAL, Category
from consent.choice import BrowserSignal, Choice
from consent.choice_cookie import ChoiceCookie
from consent.cookie_lines import line
from consent.decision import FINAL, Decision, decide
from consent.policy import CacheMode, Policy, Regime
from consent.signals import ChoiceState, Signals

KEY_HEADER = b"consent-variant"
"""The request field by which a cache says under which key it will store the answer."""
BY_SIGNALS = tuple(Signals(gpc=gpc, dnt=dnt) for dnt in (False, True) for gpc in (False, True))
"""What a browser may say by itself, in the order in which the guard numbers it."""


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
        self._policy = policy
        self._is_read_by_guard = policy.cache is CacheMode.UNIFORM
        self._stored_name = cookie.name.encode()
        self._categories = {vendor.id: vendor.category for vendor in catalog.vendors.values()}

    @staticmethod
    def name_beside(cookie: ChoiceCookie) -> str:
        """Return the name that the companion of ``cookie`` has."""
        return f"{cookie.name}_variant"

    def value(self, choice: Choice) -> str:
        """Return what the cookie says of ``choice`` to caches, but for beside which cookie."""
        granted = "".join(category[0] for category in self._granted(choice))
        told = "".join(signal[0] for signal in BrowserSignal if signal in choice.told)
        others = "_".join(category[0] + vendor for category, vendor in self._exceptions(choice))
        return f"{self._tag_of(choice)}.{granted}.{told}" + (f".{others}" if others else "")

    def _tag_of(self, choice: Choice) -> str:
        return self.tag if choice.policy_version == self._policy.version else "outdated"

    def _granted(self, choice: Choice) -> list[Category]:
        return [category for category in OPTIONAL if category in choice.granted - self._policy.never]

    def _exceptions(self, choice: Choice) -> Iterator[tuple[Category, str]]:
        """Yield the vendors whose answer differs from their category's."""
        granted = self._granted(choice)
        for vendor, allowed in sorted(choice.vendors.items()):
            category = self._categories.get(vendor)
            is_impossible = allowed and category in self._policy.never
            if category in OPTIONAL and allowed != (category in granted) and not is_impossible:
                yield category, vendor

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
        if choice and self._is_read_by_guard:
            value = self._for_guard(choice)
            max_age = self._cookie.seconds_kept(choice, now=now)
        elif choice:
            value, max_age = self._bound(choice, beside), self._cookie.seconds_left(choice, now=now)
        domain = self._cookie.domain_at(host)
        return line(self.name, value, max_age=max_age, secure=secure, domain=domain, http_only=False)

    def _bound(self, choice: Choice, beside: bytes) -> str:
        return f"{beside.partition(b';')[0][-2:].decode('ascii')}.{self.value(choice)}"

    def _for_guard(self, choice: Choice) -> str:
        granted = self._granted(choice)
        vendors = (
            f"{category[0] if category in granted else category[0].upper()}:{vendor}"
            for category, vendor in self._exceptions(choice)
        )
        parts = (
            "",
            self._tag_of(choice),
            f"{self._cookie.fresh_until(choice)}000",
            *(self._counting(signals, choice) for signals in BY_SIGNALS),
            *(category[0] for category in granted),
            *vendors,
        )
        return "".join(f"{part}." for part in parts)

    @property
    def unanswered(self) -> str:
        """What the guard's tag has beside the cookie: its name, and what counts where it does not."""
        counting = (self._counting(signals) for signals in BY_SIGNALS)
        return " ".join((f"{self.name}=", self.tag, "", *counting, *(category[0] for category in OPTIONAL)))

    def _counting(self, signals: Signals, choice: Choice | None = None) -> str:
        """Return the letters that count where the browser sends ``signals``."""
        if choice is None:
            decision = decide(self._policy, signals)
            is_waiting = decision.asks or self._policy.regime is not Regime.OPT_IN
            return (
                "".join(category[0] for category in OPTIONAL if decision.allows(category)) + "u" * is_waiting
            )
        decision = decide(self._policy, replace(signals, choice=choice, choice_state=ChoiceState.VALID))
        return "".join(
            category[0] if decision.allows(category) else category[0].upper()
            for category in OPTIONAL
            if decision.reason(category) not in FINAL
        )

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
