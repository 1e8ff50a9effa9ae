"""Receipts: the durable record of one visitor's choice, as a value with one canonical spelling.

A receipt holds what proves a choice and nothing more: a pseudonym instead of an address, a browser family and
a device class instead of a user agent.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256
from json.encoder import encode_basestring as _quoted
from types import MappingProxyType
from typing import Any, TypeVar

from consent.browsers import Device, classify_user_agent
from consent.canonical_json import parse_canonical
from consent.categories import OPTIONAL, Category
from consent.choice import POLICY_VERSION, RECEIPT_ID, SUBJECT, VENDOR_ID, BrowserSignal, Choice
from consent.errors import InvalidReceiptError
from consent.moments import format_moment, parse_moment
from consent.policy import Policy, Regime
from consent.signals import Signals

SCHEMA_VERSION = 2
"""Version of the members below; another set of members gets another number. Those of version 1 are read, too."""
ACCOUNT_VERSION = 3
"""Version of a receipt that names an account: it has one member more."""
MAX_RECEIPT_BYTES = 128 * 1024
"""Upper bound of a receipt's canonical bytes."""
MAX_ARTEFACT_BYTES = 4 * 1024 * 1024
MAX_VENDORS = 1_000
"""How many vendor exceptions one receipt can hold."""

_SHA256 = re.compile(r"[0-9a-f]{64}")
_TEXT = re.compile(r"[^\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]*")
_TOKEN = re.compile(r"[\x21-\x7e]*")
_MEDIA_TYPE = re.compile(r"[\x20-\x7e]{3,100}")
_MAX_TEXT = 1_000
_PERFORMANCE, _FUNCTIONAL, _TARGETING = Category.PERFORMANCE, Category.FUNCTIONAL, Category.TARGETING
_JSON = {True: "true", False: "false", None: "null"}


class Outcome(StrEnum):
    """What a choice was, compared with the one before it."""

    GIVEN = "given"
    """Consent to something, where there was none before; or the same consent once more."""
    REFUSED = "refused"
    """Consent to nothing, as before."""
    CHANGED = "changed"
    """Consent to something else than before."""
    WITHDRAWN = "withdrawn"
    """Consent to nothing any more."""


class CollectionMethod(StrEnum):
    """How the choice was made."""

    BANNER_FORM = "banner-form"
    PREFERENCES_FORM = "preferences-form"
    EMBED_FORM = "embed-form"
    """On what offers a refused embed in its place."""
    OPT_OUT_FORM = "opt-out-form"
    """With the control "Do not sell or share"."""
    SIGNAL = "signal"
    """By the browser itself: a signal took back what was granted before."""
    GROUP = "group"
    """On another site of the group, from which the visitor came."""
    API = "api"
    OFFICE = "office"
    """By the privacy office, for somebody who asked it to: nothing was chosen in the visitor's browser."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedSignals:
    """What the browser itself said with the request that carried the choice."""

    gpc: bool
    dnt: bool | None
    """``None``: not said, or not understandable."""
    told: frozenset[BrowserSignal]
    """The signals whose conflict with the choice the visitor was told of on the form."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """The record of one choice. Immutable; one that exists is valid.

    Raises:
        InvalidReceiptError: a field does not have the form described here.
    """

    receipt_id: str
    """UUID4 in lower case."""
    time: str
    """When the choice was made: RFC 3339, UTC, milliseconds, such as ``2026-03-01T12:00:00.000Z``."""
    site: str
    regime: Regime
    jurisdiction: str
    """Empty: not stated."""
    policy_version: str
    """12 lower-case hexadecimal digits."""
    policy_hash: str | None
    """SHA-256 of the artefact that holds the policy (:mod:`consent.terms`); ``None`` in schema version 1 alone."""
    vendor_list_hash: str | None
    """SHA-256 of the artefact that holds the vendors declared; ``None`` together with the policy's."""
    language: str
    """Language tag of the text shown (BCP 47)."""
    shown_hash: str | None
    """SHA-256 of the artefact that holds the exact text shown, 64 lower-case hexadecimal digits; ``None``
    where the choice came through the API and the product showed no text."""
    outcome: Outcome
    categories: Mapping[Category, bool] = field(hash=False)
    """The answer for each optional category, all of them."""
    vendors: Mapping[str, bool] = field(hash=False)
    """The answers for single vendors that differ from their category's."""
    signals: RecordedSignals
    collection_method: CollectionMethod
    subject: str
    """Pseudonym of the visitor: 32 lower-case hexadecimal digits."""
    browser: str
    """Family, such as ``Firefox``; ``Other`` where it is not one of those in common use."""
    device: Device
    previous: str | None
    """Receipt id of the choice that this one replaces."""
    account: str | None = None
    """Keyed hash of the account that was signed in, 64 lower-case hexadecimal digits; ``None``: none, or not asked."""

    def __post_init__(self) -> None:
        _match("receipt_id", self.receipt_id, RECEIPT_ID, "a UUID4 in lower case")
        parse_moment(self.time)
        _match("site", self.site, _TEXT, f"text without control characters, at most {_MAX_TEXT} characters")
        for name in ("jurisdiction", "language"):
            _match(name, getattr(self, name), _TOKEN, "at most 64 characters of printable ASCII", longest=64)
        _match("policy_version", self.policy_version, POLICY_VERSION, "12 lower-case hexadecimal digits")
        for name in ("shown_hash", "policy_hash", "vendor_list_hash", "account"):
            if (digest := getattr(self, name)) is not None:
                _match(name, digest, _SHA256, "64 lower-case hexadecimal digits")
        if (self.policy_hash is None) is not (self.vendor_list_hash is None):
            raise InvalidReceiptError("policy_hash and vendor_list_hash are named together")
        if self.account is not None and self.policy_hash is None:
            raise InvalidReceiptError("an account is named together with policy_hash")
        _match("subject", self.subject, SUBJECT, "32 lower-case hexadecimal digits")
        _match("browser", self.browser, _TEXT, "text without control characters, at most 64", longest=64)
        if self.previous is not None:
            _match("previous", self.previous, RECEIPT_ID, "a UUID4 in lower case")
        for name, kind in _KINDS.items():
            value = getattr(self, name)
            if not isinstance(value, kind):
                raise InvalidReceiptError(f"{name} must be a {kind.__name__}, not {value!r:.80}")
        if self.categories.keys() != set(OPTIONAL):
            raise InvalidReceiptError(f"categories must be exactly {', '.join(OPTIONAL)}")
        if len(self.vendors) > MAX_VENDORS:
            raise InvalidReceiptError(f"vendors: {len(self.vendors)} exceptions, at most {MAX_VENDORS} fit")
        for vendor in self.vendors:
            _match("vendors", vendor, VENDOR_ID, "ids of lower-case letters, digits and hyphens, at most 64")
        for answer in (*self.categories.values(), *self.vendors.values(), self.signals.gpc):
            _require_bool(answer)
        if self.signals.dnt is not None:
            _require_bool(self.signals.dnt)
        if not all(isinstance(signal, BrowserSignal) for signal in self.signals.told):
            raise InvalidReceiptError("signals.told must hold browser signals only")
        object.__setattr__(self, "categories", MappingProxyType(dict(self.categories)))
        object.__setattr__(self, "vendors", MappingProxyType(dict(self.vendors)))

    @property
    def schema_version(self) -> int:
        """1 where neither policy nor vendor list is named, as in receipts of before there was version 2."""
        if self.account is not None:
            return ACCOUNT_VERSION
        return 1 if self.policy_hash is None else SCHEMA_VERSION

    @property
    def marks(self) -> Mapping[str, bool]:
        """What it is found by besides its kind: the answers for single vendors, and its account as if that were one."""
        return self.vendors if self.account is None else {**self.vendors, account_mark(self.account): True}

    @property
    def artefact_hashes(self) -> tuple[str, ...]:
        """What it refers to: the text shown, the policy, the vendor list, as far as it does."""
        named = (self.shown_hash, self.policy_hash, self.vendor_list_hash)
        return tuple([digest for digest in named if digest is not None])

    @property
    def granted(self) -> tuple[Category, ...]:
        """The optional categories said yes to, in reading order."""
        return tuple(category for category in OPTIONAL if self.categories[category])

    @property
    def grants(self) -> bool:
        """Whether anything was said yes to, be it a single vendor."""
        return any(self.categories.values()) or any(self.vendors.values())

    @property
    def content_hash(self) -> str:
        """SHA-256 of the canonical bytes, 64 lower-case hexadecimal digits."""
        return sha256(self.canonical_bytes()).hexdigest()

    def to_json(self) -> dict[str, object]:
        """Return the members as plain JSON values, freshly made."""
        named = {"policy_hash": self.policy_hash, "vendor_list_hash": self.vendor_list_hash}
        return {
            **(named if self.policy_hash is not None else {}),
            **({"account": self.account} if self.account is not None else {}),
            "browser": self.browser,
            "categories": {str(category): answer for category, answer in self.categories.items()},
            "collection_method": str(self.collection_method),
            "device": str(self.device),
            "jurisdiction": self.jurisdiction,
            "language": self.language,
            "outcome": str(self.outcome),
            "policy_version": self.policy_version,
            "previous": self.previous,
            "receipt_id": self.receipt_id,
            "regime": str(self.regime),
            "schema_version": self.schema_version,
            "shown_hash": self.shown_hash,
            "signals": {
                "dnt": self.signals.dnt,
                "gpc": self.signals.gpc,
                "told": sorted(str(signal) for signal in self.signals.told),
            },
            "site": self.site,
            "subject": self.subject,
            "time": self.time,
            "vendors": dict(self.vendors),
        }

    def canonical_bytes(self) -> bytes:
        """Return the one spelling of this receipt: canonical JSON (RFC 8785)."""
        # canonical_json(self.to_json()), which every choice would wait for three times as long. All names are
        # ASCII and in their order, and most values have forms in which there is nothing to escape.
        answers, signals = self.categories, self.signals
        vendors = told = ""
        if self.vendors:
            vendors = ",".join(
                [f'"{name}":{"true" if answer else "false"}' for name, answer in sorted(self.vendors.items())]
            )
        if signals.told:
            told = ",".join([f'"{signal!s}"' for signal in sorted(signals.told)])
        shown = "null" if self.shown_hash is None else f'"{self.shown_hash}"'
        policy = listed = ""
        if self.policy_hash is not None:
            policy = f'"policy_hash":"{self.policy_hash}",'
            listed = f'"vendor_list_hash":"{self.vendor_list_hash}",'
        account = "" if self.account is None else f'"account":"{self.account}",'
        return (
            f'{{{account}"browser":{_quoted(self.browser)}'
            f',"categories":{{"functional":{_JSON[answers[_FUNCTIONAL]]}'
            f',"performance":{_JSON[answers[_PERFORMANCE]]},"targeting":{_JSON[answers[_TARGETING]]}}}'
            f',"collection_method":"{self.collection_method!s}","device":"{self.device!s}"'
            f',"jurisdiction":{_quoted(self.jurisdiction)},"language":{_quoted(self.language)}'
            f',"outcome":"{self.outcome!s}",{policy}"policy_version":"{self.policy_version}"'
            f',"previous":{"null" if self.previous is None else _quoted(self.previous)}'
            f',"receipt_id":"{self.receipt_id}","regime":"{self.regime!s}"'
            f',"schema_version":{self.schema_version},"shown_hash":{shown}'
            f',"signals":{{"dnt":{_JSON[signals.dnt]},"gpc":{_JSON[signals.gpc]},"told":[{told}]}}'
            f',"site":{_quoted(self.site)},"subject":"{self.subject}","time":"{self.time}"'
            f',{listed}"vendors":{{{vendors}}}}}'
        ).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Receipt:
        """Read the canonical bytes of a receipt.

        Nothing but what :meth:`canonical_bytes` writes is read: no unknown, missing or repeated member, no
        other spelling, nothing before or after it.

        Raises:
            InvalidReceiptError: the bytes are not those of a receipt.
        """
        receipt = _from_json(parse_canonical(data, max_bytes=MAX_RECEIPT_BYTES))
        if receipt.canonical_bytes() != data:
            raise InvalidReceiptError("the bytes are not in canonical form (RFC 8785)")
        return receipt


_KINDS: dict[str, type[object]] = {
    "regime": Regime,
    "outcome": Outcome,
    "collection_method": CollectionMethod,
    "device": Device,
    "signals": RecordedSignals,
    "categories": Mapping,
    "vendors": Mapping,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Artefact:
    """Something a receipt refers to by the SHA-256 of its content: the exact text shown, the policy, the vendor list.

    Raises:
        InvalidReceiptError: the content is too long or the media type is not one.
    """

    content: bytes = field(repr=False)
    media_type: str
    hash: str = field(init=False)
    """SHA-256 of the content, 64 lower-case hexadecimal digits."""

    def __post_init__(self) -> None:
        if len(self.content) > MAX_ARTEFACT_BYTES:
            raise InvalidReceiptError(
                f"an artefact of {len(self.content)} bytes, at most {MAX_ARTEFACT_BYTES}"
            )
        _match("media_type", self.media_type, _MEDIA_TYPE, "3 to 100 characters of ASCII")
        object.__setattr__(self, "hash", sha256(self.content).hexdigest())


def build_receipt(
    *,
    policy: Policy,
    signals: Signals,
    choice: Choice,
    language: str,
    shown_hash: str | None,
    policy_hash: str | None,
    vendor_list_hash: str | None,
    collection_method: CollectionMethod,
    user_agent: str,
    now_ms: int,
    jurisdiction: str | None = None,
    account: str | None = None,
) -> Receipt:
    """Make the receipt of ``choice``.

    Args:
        policy: The policy in force.
        signals: What the request that carried the choice said; its ``choice`` is the one that is replaced.
        choice: The new choice, with the receipt's id and the subject.
        language: Language tag of the text shown.
        shown_hash: SHA-256 of the artefact with the exact text shown; ``None`` where none was.
        policy_hash, vendor_list_hash: SHA-256 of the artefacts with the terms of ``policy``.
        collection_method: How the choice was made.
        user_agent: The ``User-Agent`` field as it came; only a family and a class are taken from it.
        now_ms: Milliseconds since 1970-01-01T00:00:00Z.
        jurisdiction: Where the visitor is taken to be, empty if not known; ``None``: as the policy says.
        account: Keyed hash of the account that is signed in.

    Raises:
        InvalidReceiptError: a value does not fit into a receipt.
    """
    previous = signals.choice
    browser, device = classify_user_agent(user_agent)
    return Receipt(
        receipt_id=choice.receipt_id,
        time=format_moment(now_ms),
        site=policy.site,
        regime=policy.regime,
        jurisdiction=policy.jurisdiction if jurisdiction is None else jurisdiction,
        policy_version=policy.version,
        policy_hash=policy_hash,
        vendor_list_hash=vendor_list_hash,
        language=language,
        shown_hash=shown_hash,
        outcome=outcome_of(choice, previous, opts_out=collection_method in _OPTING_OUT),
        categories={category: category in choice.granted for category in OPTIONAL},
        vendors=choice.vendors,
        signals=RecordedSignals(gpc=signals.gpc, dnt=signals.dnt, told=choice.told),
        collection_method=collection_method,
        subject=choice.subject,
        browser=browser,
        device=device,
        previous=None if previous is None or previous.is_nobodys else previous.receipt_id,
        account=account,
    )


_OPTING_OUT = (CollectionMethod.OPT_OUT_FORM, CollectionMethod.SIGNAL)


def account_mark(account: str) -> str:
    """Return what receipts with this keyed hash of an account are found by, beside the answers for vendors.

    No vendor's id begins like it. It is no key to the body, and goes with it.
    """
    return f"@{sha256(f'consent-account:{account}'.encode()).hexdigest()[:32]}"


def outcome_of(choice: Choice, previous: Choice | None, *, opts_out: bool = False) -> Outcome:
    """Tell what ``choice`` was, given the stored one that it replaces.

    Args:
        opts_out: it takes something back, also where silence had allowed it.
    """
    if opts_out:
        return Outcome.CHANGED if choice.grants else Outcome.WITHDRAWN
    granted_before = previous is not None and previous.grants
    if not choice.grants:
        return Outcome.WITHDRAWN if granted_before else Outcome.REFUSED
    if previous is None or not granted_before:
        return Outcome.GIVEN
    same = choice.granted == previous.granted and dict(choice.vendors) == dict(previous.vendors)
    return Outcome.GIVEN if same else Outcome.CHANGED


def _match(
    name: str, value: object, pattern: re.Pattern[str], description: str, *, longest: int = _MAX_TEXT
) -> None:
    if not isinstance(value, str) or len(value) > longest or pattern.fullmatch(value) is None:
        raise InvalidReceiptError(f"{name} must be {description}, not {value!r:.80}")


def _require_bool(answer: object) -> None:
    if not isinstance(answer, bool):
        raise InvalidReceiptError(f"an answer must be true or false, not {answer!r:.80}")


_MEMBERS = {
    1: {*Receipt.__dataclass_fields__, "schema_version"} - {"policy_hash", "vendor_list_hash", "account"},
    2: {*Receipt.__dataclass_fields__, "schema_version"} - {"account"},
    3: {*Receipt.__dataclass_fields__, "schema_version"},
}
_SIGNAL_MEMBERS = frozenset(RecordedSignals.__dataclass_fields__)
_E = TypeVar("_E", bound=StrEnum)


def _from_json(content: object) -> Receipt:
    """Make a receipt of parsed JSON: the shape is checked here, the values by Receipt itself."""
    version = content.get("schema_version") if isinstance(content, dict) else None
    if type(version) is not int or version not in _MEMBERS:
        raise InvalidReceiptError(
            f"schema_version {version!r:.80} is not known to this version of asgi-consent, which reads "
            f"{', '.join(map(str, _MEMBERS))}: update it"
        )
    members = {
        "policy_hash": None,
        "vendor_list_hash": None,
        **_object("the receipt", content, _MEMBERS[version]),
    }
    del members["schema_version"]
    signals = _object("signals", members["signals"], _SIGNAL_MEMBERS)
    answers = members["categories"]
    if not isinstance(signals["told"], list) or not isinstance(answers, dict):
        raise InvalidReceiptError("signals.told must be a list, and categories an object")
    return Receipt(
        **{
            **members,
            "regime": _enum("regime", members["regime"], Regime),
            "outcome": _enum("outcome", members["outcome"], Outcome),
            "categories": {_enum("categories", name, Category): answer for name, answer in answers.items()},
            "signals": RecordedSignals(
                gpc=signals["gpc"],
                dnt=signals["dnt"],
                told=frozenset(_enum("signals.told", signal, BrowserSignal) for signal in signals["told"]),
            ),
            "collection_method": _enum("collection_method", members["collection_method"], CollectionMethod),
            "device": _enum("device", members["device"], Device),
        }
    )


def _object(name: str, value: object, members: Set[str]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidReceiptError(f"{name} must be a JSON object")
    if value.keys() != members:
        wrong = ", ".join(sorted(value.keys() ^ members))
        raise InvalidReceiptError(f"{name} has unknown or missing members: {wrong:.200}")
    return value


def _enum(name: str, value: object, kind: type[_E]) -> _E:
    if isinstance(value, str) and value in kind.__members__.values():
        return kind(value)
    raise InvalidReceiptError(f"{name} must be one of {', '.join(kind)}, not {value!r:.80}")
