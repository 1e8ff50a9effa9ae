"""What one request may carry, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from hashlib import sha256
from types import MappingProxyType

from consent.catalog import Catalog
from consent.categories import OPTIONAL, Category
from consent.choice import BrowserSignal, Choice
from consent.errors import ConsentError
from consent.policy import Policy, Regime
from consent.signals import STANDING, ChoiceState, Signals


class Reason(StrEnum):
    """Why a category is allowed or not."""

    ALWAYS_ON = "always-on"
    """The category is strictly necessary."""
    GRANTED = "granted"
    REFUSED = "refused"
    NO_CHOICE = "no-choice"
    GPC = "gpc"
    """The browser sends Global Privacy Control, and the visitor was not told so when last consenting."""
    DNT = "dnt"
    """The browser sends Do Not Track, and the visitor was not told so when last consenting."""
    REGIME = "regime"
    """Nobody refused, and the policy's regime allows it until somebody does."""
    LET_THROUGH = "let-through"
    """Refused, but the policy lets this one tag load all the same. Never of a category."""
    CHILDREN = "children"
    """The site is made for children: nobody can allow it."""
    OUTDATED = "outdated"
    """Granted under another version of the policy: to be asked again."""
    EXPIRED = "expired"
    """Granted too long ago: to be asked again."""
    FORGED = "forged"
    """There is an answer that cannot be read: it may have been a no."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer for one category."""

    allowed: bool
    reason: Reason


class UnknownCategoryError(ConsentError, ValueError):
    """A decision was asked about something that is not one of the four categories."""

    def __init__(self, asked: object) -> None:
        self.asked = asked
        shown = repr(asked[:50]) if isinstance(asked, str) else f"something of type {type(asked).__name__}"
        names = ", ".join(f'"{category}"' for category in Category)
        super().__init__(f"{shown} is not a category; the categories are {names}")


# Every verdict there can be, made once: a decision allocates none.
_YES = {
    reason: Verdict(True, reason)
    for reason in (Reason.ALWAYS_ON, Reason.GRANTED, Reason.REGIME, Reason.LET_THROUGH)
}
_NO = {reason: Verdict(False, reason) for reason in Reason if reason not in _YES}
_NO_EXCEPTIONS: Mapping[str, bool] = MappingProxyType({})
_NO_CONFLICTS: frozenset[BrowserSignal] = frozenset()
_CATEGORIES: Mapping[str, Category] = {category.value: category for category in Category}
_BY_SIGNAL = {BrowserSignal.GPC: Reason.GPC, BrowserSignal.DNT: Reason.DNT}
_SIGNAL_REASONS = frozenset(_BY_SIGNAL.values())
FINAL = _SIGNAL_REASONS | {Reason.CHILDREN}
"""Against these nothing helps that was said of a single vendor."""
_UNANSWERED = {
    ChoiceState.OUTDATED: Reason.OUTDATED,
    ChoiceState.EXPIRED: Reason.EXPIRED,
    ChoiceState.FORGED: Reason.FORGED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The outcome for one request: a value, safe to keep and to share between tasks.

    Apps read it from ``request.state.consent``, templates too::

        {% if request.state.consent.allows("performance") %} … {% endif %}
    """

    verdicts: Mapping[Category, Verdict] = field(hash=False)
    """One for each of the four categories."""
    vendors: Mapping[str, bool] = field(hash=False)
    """The visitor's standing exceptions by vendor id. Ask `allows`: a signal may overrule a ``True``."""
    signals: Signals
    policy_version: str
    asks: bool
    """Whether the banner is to be shown: there is something to decide, and nobody has."""
    conflicts: frozenset[BrowserSignal]
    """The browser signals that overrule a grant, or took one back: the visitor is to be told of them."""
    let_through: frozenset[str] = frozenset()
    """Ids of what may load though it is refused, by the policy's word; against a signal it may not."""

    def allows(self, category: str | Category, vendor: str | None = None) -> bool:
        """Tell whether ``category``, or in it the one ``vendor`` (an id of the catalog), is allowed.

        A vendor the visitor refused is refused though its category is granted; a vendor the visitor allowed
        is allowed though its category is refused, but never against a browser signal, nor on a site for children.

        Raises:
            UnknownCategoryError: ``category`` is none of the four; also a ``ValueError``.
        """
        verdict = self._verdict(category)
        if vendor is None or verdict.reason is Reason.ALWAYS_ON:
            return verdict.allowed
        if vendor in self.let_through:
            return verdict.allowed or verdict.reason not in FINAL
        exception = self.vendors.get(vendor)
        if exception is None:
            return verdict.allowed
        return exception and verdict.reason not in FINAL

    def reason(self, category: str | Category) -> Reason:
        """Return why ``category`` is allowed or not.

        Raises:
            UnknownCategoryError: ``category`` is none of the four; also a ``ValueError``.
        """
        return self._verdict(category).reason

    @property
    def allows_everything(self) -> bool:
        """Whether nothing is refused, not even a vendor."""
        return all(map(self.allows, OPTIONAL)) and all(self.vendors.values())

    @property
    def key(self) -> str:
        """A short name of what is allowed: two decisions with the same key answer `allows` alike.

        Three characters, one per optional category (``p``, ``f``, ``t``: allowed, ``-``: refused, ``x``:
        refused whatever is said of a vendor, where that matters to an exception); then, if there are vendor exceptions,
        a dot and 16 hexadecimal digits naming them. It is the same in every process and fit for an ``ETag``.
        """
        vendors = self.vendors
        opened = bool(self.let_through) or (any(vendors.values()) if vendors else False)
        letters = ""
        for category in OPTIONAL:
            verdict = self.verdicts[category]
            if verdict.allowed:
                letters += category.value[0]
            else:
                letters += "x" if opened and verdict.reason in FINAL else "-"
        if not vendors:
            return letters
        listed = "\n".join(f"{vendor}={vendors[vendor]:d}" for vendor in sorted(vendors))
        return f"{letters}.{sha256(listed.encode()).hexdigest()[:16]}"

    def _verdict(self, category: str | Category) -> Verdict:
        known = _CATEGORIES.get(category) if isinstance(category, str) else None
        if known is None:
            raise UnknownCategoryError(category)
        return self.verdicts[known]


def allowance(decision: Decision, catalog: Catalog) -> str:
    """Return what ``decision`` allows, as the browser's part reads it.

    The first letters of the optional categories that are allowed, perhaps none; then, each after a blank, the
    vendors of ``catalog`` whose answer differs from their category's. Not what the visitor said of a vendor
    counts, but what comes of it: a signal may overrule a grant.
    """
    letters = "".join(category[0] for category in OPTIONAL if decision.allows(category))
    exceptions = (
        vendor
        for vendor in sorted({*decision.vendors, *decision.let_through})
        if (known := catalog.vendors.get(vendor)) is not None
        and decision.allows(known.category, vendor) is not decision.allows(known.category)
    )
    return " ".join((letters, *exceptions))


def taken_back(decision: Decision, catalog: Catalog) -> Choice | None:
    """Return the stored choice without what browser signals overrule in it; ``None`` where they overrule nothing.

    Once it is stored, what a signal took away does not come back by the signal's being gone.
    """
    choice = decision.signals.choice
    if choice is None or decision.signals.choice_state is not ChoiceState.VALID:
        return None
    overruled = frozenset(c for c in OPTIONAL if decision.reason(c) in _SIGNAL_REASONS)
    granted = choice.granted - overruled
    vendors = {
        vendor: allowed
        for vendor, allowed in choice.vendors.items()
        if not (allowed and (known := catalog.vendors.get(vendor)) and known.category in overruled)
    }
    if granted == choice.granted and len(vendors) == len(choice.vendors):
        return None
    signals = frozenset(
        signal for signal, reason in _BY_SIGNAL.items() if reason in map(decision.reason, overruled)
    )
    return replace(
        choice,
        granted=granted,
        vendors=MappingProxyType(vendors),
        taken_back=choice.taken_back | decision.conflicts | signals,
    )


def decide(policy: Policy, signals: Signals) -> Decision:
    """Decide what one request may carry. Pure, and defined for every input.

    For each optional category, the first rule that applies decides:

    0. A site for children refuses targeting.
    1. A browser signal that the policy lets refuse the category refuses it, unless a valid choice grants the
       category and was made while the visitor was told of that signal. ``Sec-GPC`` is named before ``DNT``.
    2. A valid choice.
    3. A choice that has expired, or was made under another version of the policy: its refusals stand; its grants
       do not.
    4. An answer that cannot be read: refused, since it may have been a no.
    5. The regime: without an answer, opt-in refuses; opt-out and notice allow.
    """
    state = signals.choice_state
    choice = signals.choice if state in STANDING else None
    if choice is None and state is not ChoiceState.FORGED:
        state = ChoiceState.ABSENT
    valid = state is ChoiceState.VALID
    opt_in = policy.regime is Regime.OPT_IN

    verdicts = {Category.STRICTLY_NECESSARY: _YES[Reason.ALWAYS_ON]}
    conflicts = _NO_CONFLICTS
    answered = True
    for category in OPTIONAL:
        if category in policy.never:
            verdicts[category] = _NO[Reason.CHILDREN]
            continue
        granted = choice is not None and category in choice.granted
        told = choice.told if choice is not None and valid and granted else _NO_CONFLICTS
        refusing = _refusing_signals(policy, signals, category, told)
        if refusing:
            verdicts[category] = _NO[_BY_SIGNAL[refusing[0]]]
            if valid and choice is not None:
                conflicts = conflicts.union(refusing if granted else choice.taken_back.intersection(refusing))
            continue
        answered = False
        if choice is not None and not granted:
            verdicts[category] = _NO[Reason.REFUSED]
        elif valid:
            verdicts[category] = _YES[Reason.GRANTED]
        elif not opt_in and state is not ChoiceState.FORGED:
            verdicts[category] = _YES[Reason.REGIME]
        else:
            verdicts[category] = _NO[_UNANSWERED.get(state, Reason.NO_CHOICE)]

    return Decision(
        verdicts=MappingProxyType(verdicts),
        vendors=_standing_exceptions(choice, valid=valid),
        signals=signals,
        policy_version=policy.version,
        # Where signals have answered everything, a banner would only ask the visitor to take it back.
        asks=opt_in and not valid and not answered,
        conflicts=conflicts,
        let_through=policy.let_through,
    )


def _refusing_signals(
    policy: Policy, signals: Signals, category: Category, told: frozenset[BrowserSignal]
) -> list[BrowserSignal]:
    refusing = []
    if signals.gpc and category in policy.gpc_refuses and BrowserSignal.GPC not in told:
        refusing.append(BrowserSignal.GPC)
    if signals.dnt and category in policy.dnt_refuses and BrowserSignal.DNT not in told:
        refusing.append(BrowserSignal.DNT)
    return refusing


def _standing_exceptions(choice: Choice | None, *, valid: bool) -> Mapping[str, bool]:
    if choice is None or not choice.vendors:
        return _NO_EXCEPTIONS
    if valid:
        return MappingProxyType(dict(choice.vendors))
    # Of one that counts no more only what was refused stands.
    return MappingProxyType({vendor: False for vendor, allowed in choice.vendors.items() if not allowed})
