"""Receipts: the durable record of one visitor's choice, as a value with one canonical spelling.

A receipt holds what proves a choice and nothing more: a pseudonym instead of an address, a browser family and
a device class instead of a user agent. Where receipts are kept is described here as two protocols, so that
whatever records or reads them needs no store.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from hashlib import sha256
from types import MappingProxyType
from typing import Any, NoReturn, Protocol, TypeVar

import user_agents

from consent.categories import OPTIONAL, Category
from consent.choice import POLICY_VERSION, RECEIPT_ID, SUBJECT, VENDOR_ID, BrowserSignal, Choice
from consent.errors import InvalidReceiptError
from consent.policy import Policy, Regime
from consent.signals import Signals

SCHEMA_VERSION = 1
"""Version of the members below; another set of members gets another number."""
MAX_RECEIPT_BYTES = 128 * 1024
"""Upper bound of a receipt's canonical bytes."""
MAX_ARTEFACT_BYTES = 4 * 1024 * 1024
MAX_VENDORS = 1_000
"""How many vendor exceptions one receipt can hold."""
MAX_USER_AGENT_CHARS = 256
"""How much of the ``User-Agent`` field is looked at: the parser's time grows with the length."""

_MAX_SAFE_INTEGER = 2**53 - 1
_SHA256 = re.compile(r"[0-9a-f]{64}")
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z")
_TEXT = re.compile(r"[^\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]*")
_TOKEN = re.compile(r"[\x21-\x7e]*")
_MEDIA_TYPE = re.compile(r"[\x20-\x7e]{3,100}")
_MAX_TEXT = 1_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


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
    API = "api"


class Device(StrEnum):
    """The class of device that the choice was made on."""

    DESKTOP = "desktop"
    MOBILE = "mobile"
    TABLET = "tablet"
    BOT = "bot"
    """A crawler, or a program that drives a browser or has none."""
    OTHER = "other"


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

    schema_version: int = SCHEMA_VERSION
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

    def __post_init__(self) -> None:
        if type(self.schema_version) is not int or self.schema_version != SCHEMA_VERSION:
            raise InvalidReceiptError(
                f"schema_version {self.schema_version!r} is not known to this version of asgi-consent, which "
                f"reads {SCHEMA_VERSION}: update it"
            )
        _match("receipt_id", self.receipt_id, RECEIPT_ID, "a UUID4 in lower case")
        _match("time", self.time, _TIME, "RFC 3339 in UTC with milliseconds")
        try:
            datetime.fromisoformat(self.time)
        except ValueError as error:
            raise InvalidReceiptError(f"time: there is no such date: {error}") from None
        _match("site", self.site, _TEXT, f"text without control characters, at most {_MAX_TEXT} characters")
        for name in ("jurisdiction", "language"):
            _match(name, getattr(self, name), _TOKEN, "at most 64 characters of printable ASCII", longest=64)
        _match("policy_version", self.policy_version, POLICY_VERSION, "12 lower-case hexadecimal digits")
        if self.shown_hash is not None:
            _match("shown_hash", self.shown_hash, _SHA256, "64 lower-case hexadecimal digits")
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
    def granted(self) -> tuple[Category, ...]:
        """The optional categories said yes to, in reading order."""
        return tuple(category for category in OPTIONAL if self.categories[category])

    @property
    def content_hash(self) -> str:
        """SHA-256 of the canonical bytes, 64 lower-case hexadecimal digits."""
        return sha256(self.canonical_bytes()).hexdigest()

    def to_json(self) -> dict[str, object]:
        """Return the members as plain JSON values, freshly made."""
        return {
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
        return canonical_json(self.to_json())

    @classmethod
    def from_bytes(cls, data: bytes) -> Receipt:
        """Read the canonical bytes of a receipt.

        Nothing but what :meth:`canonical_bytes` writes is read: no unknown, missing or repeated member, no
        other spelling, nothing before or after it.

        Raises:
            InvalidReceiptError: the bytes are not those of a receipt.
        """
        if len(data) > MAX_RECEIPT_BYTES:
            raise InvalidReceiptError(f"{len(data)} bytes are too long: at most {MAX_RECEIPT_BYTES}")
        try:
            content: object = json.loads(
                data.decode("utf-8"),
                object_pairs_hook=_unique_members,
                parse_float=_refuse_number,
                parse_constant=_refuse_number,
            )
        except InvalidReceiptError:
            raise
        except (ValueError, RecursionError) as error:
            raise InvalidReceiptError(f"not JSON in UTF-8: {error}") from None
        receipt = _from_json(content)
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
    """Something a receipt refers to by the SHA-256 of its content, such as the exact text shown.

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


class Store(Protocol):
    """Where receipts are recorded. One object serves any number of tasks, threads and event loops."""

    async def append(self, receipt: Receipt, artefacts: Sequence[Artefact] = ()) -> None:
        """Record ``receipt``; return only once it is durable.

        Repeating a receipt is safe: the same id with the same content is recorded once and acknowledged each
        time. Artefacts are kept once per content, together with the first receipt that brings them; the one
        that ``shown_hash`` names must come along or be there already. A caller that is cancelled while
        waiting loses nothing: the receipt is recorded, once, or not at all, and it may be appended again.
        Receipts of concurrent callers are recorded in any order.

        Raises:
            StoreFull: too many receipts wait; nothing was recorded. Try again shortly.
            StoreUnavailable: it could not be made durable. Not acknowledged; appending it again is safe.
            StoreError: another receipt has this id, or the text shown is missing; nothing was recorded.
        """

    async def aclose(self) -> None:
        """Record what waits, then let go of everything. May be repeated; a later append starts anew."""


@dataclass(frozen=True, slots=True)
class LoggedReceipt:
    """A receipt and its place in the log."""

    position: int
    """1 for the first; later ones are greater."""
    receipt: Receipt


class ReceiptLog(Protocol):
    """Reads what a store has recorded, also while it is recording.

    Every method raises StoreUnavailable where the log cannot be read, and InvalidReceiptError where it holds
    something else than what was recorded.
    """

    def get(self, receipt_id: str) -> Receipt | None:
        """Return the receipt with this id, or ``None``."""

    def list(
        self,
        *,
        limit: int,
        before: int | None = None,
        subject: str | None = None,
        outcome: Outcome | None = None,
    ) -> Sequence[LoggedReceipt]:
        """Return up to ``limit`` receipts, the newest first.

        Args:
            limit: How many at most, 1 or more.
            before: Only those before this position: the last one of a page starts the next.
            subject: Only this visitor's.
            outcome: Only these.
        """

    def artefact(self, hash: str) -> Artefact | None:
        """Return the artefact whose content has this SHA-256, or ``None``."""


def build_receipt(
    *,
    policy: Policy,
    signals: Signals,
    choice: Choice,
    language: str,
    shown_hash: str | None,
    collection_method: CollectionMethod,
    user_agent: str,
    now_ms: int,
) -> Receipt:
    """Make the receipt of ``choice``.

    Args:
        policy: The policy in force.
        signals: What the request that carried the choice said; its ``choice`` is the one that is replaced.
        choice: The new choice, with the receipt's id and the subject.
        language: Language tag of the text shown.
        shown_hash: SHA-256 of the artefact with the exact text shown; ``None`` where none was.
        collection_method: How the choice was made.
        user_agent: The ``User-Agent`` field as it came; only a family and a class are taken from it.
        now_ms: Milliseconds since 1970-01-01T00:00:00Z.

    Raises:
        InvalidReceiptError: a value does not fit into a receipt.
    """
    previous = signals.choice
    browser, device = classify_user_agent(user_agent)
    return Receipt(
        receipt_id=choice.receipt_id,
        time=_rfc3339(now_ms),
        site=policy.site,
        regime=policy.regime,
        jurisdiction=policy.jurisdiction,
        policy_version=policy.version,
        language=language,
        shown_hash=shown_hash,
        outcome=outcome_of(choice, previous),
        categories={category: category in choice.granted for category in OPTIONAL},
        vendors=choice.vendors,
        signals=RecordedSignals(gpc=signals.gpc, dnt=signals.dnt, told=choice.told),
        collection_method=collection_method,
        subject=choice.subject,
        browser=browser,
        device=device,
        previous=None if previous is None else previous.receipt_id,
    )


def outcome_of(choice: Choice, previous: Choice | None) -> Outcome:
    """Tell what ``choice`` was, given the stored one that it replaces."""
    grants = _grants(choice)
    granted_before = previous is not None and _grants(previous)
    if not grants:
        return Outcome.WITHDRAWN if granted_before else Outcome.REFUSED
    if previous is None or not granted_before:
        return Outcome.GIVEN
    same = choice.granted == previous.granted and dict(choice.vendors) == dict(previous.vendors)
    return Outcome.GIVEN if same else Outcome.CHANGED


def _grants(choice: Choice) -> bool:
    return bool(choice.granted) or any(choice.vendors.values())


# The parser takes some families from the visitor's own text: of "jane-doe-bot/1.0" it makes "jane-doe-bot".
# Only names known beforehand are kept, so that nothing a visitor can write gets into a receipt.
_BROWSERS = frozenset(
    {
        "Android",
        "Chrome",
        "Chrome Mobile",
        "Chrome Mobile WebView",
        "Chrome Mobile iOS",
        "Chromium",
        "DuckDuckGo",
        "DuckDuckGo Mobile",
        "Edge",
        "Edge Mobile",
        "Facebook",
        "Firefox",
        "Firefox Focus",
        "Firefox Mobile",
        "Firefox iOS",
        "HeadlessChrome",
        "IE",
        "Instagram",
        "Mobile Safari",
        "Mobile Safari UI/WKWebView",
        "Opera",
        "Opera Mini",
        "Opera Mobile",
        "QQ Browser",
        "Safari",
        "Samsung Internet",
        "UC Browser",
        "Vivaldi",
        "Whale",
        "Yandex Browser",
    }
)
# Programs that the parser does not call bots although no person sits in front of them.
_PROGRAMS = frozenset(
    {"Apache-HttpClient", "Go-http-client", "HeadlessChrome", "Python Requests", "Wget", "axios", "curl"}
)


def classify_user_agent(user_agent: str) -> tuple[str, Device]:
    """Return the browser's family and the class of device that a ``User-Agent`` field names."""
    parsed = user_agents.parse(user_agent[:MAX_USER_AGENT_CHARS])
    family = str(parsed.browser.family)
    browser = family if family in _BROWSERS else "Other"
    if parsed.is_bot or family in _PROGRAMS:
        return browser, Device.BOT
    if parsed.is_tablet:
        return browser, Device.TABLET
    if parsed.is_mobile:
        return browser, Device.MOBILE
    if parsed.is_pc:
        return browser, Device.DESKTOP
    return browser, Device.OTHER


# Apart from the order of members and the form of fractions, of which we have none, Python's compact form is
# the canonical one: the same seven short escapes, lower-case \u00xx for other controls.
_CANONICAL = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def canonical_json(value: object) -> bytes:
    """Write a JSON value in canonical form (RFC 8785).

    Strings, whole numbers, true, false, null, lists and dictionaries are what receipts are made of, and all
    that is written: the one hard part of the standard, the spelling of fractions, is left out.

    Raises:
        InvalidReceiptError: the value holds something else, a number beyond 2**53 - 1, or a lone surrogate.
    """
    try:
        return _CANONICAL.encode(_ordered(value)).encode("utf-8")
    except UnicodeEncodeError:
        raise InvalidReceiptError("a lone surrogate cannot be written as UTF-8") from None


def _ordered(value: object) -> object:
    # Every choice passes here. Most values are text: those are told first, and mappings do not call for them.
    if isinstance(value, str) or value is None or value is True or value is False:
        return value
    if isinstance(value, dict):
        try:
            names = sorted(value)
            if not "".join(names).isascii():
                # RFC 8785, section 3.2.3: the order is that of UTF-16 code units, not of code points.
                names.sort(key=lambda name: name.encode("utf-16-be", "surrogatepass"))
        except TypeError:
            raise InvalidReceiptError("the names of JSON members are strings") from None
        items = [(name, value[name]) for name in names]
        return {name: item if type(item) is str else _ordered(item) for name, item in items}
    if isinstance(value, (list, tuple)):
        return [_ordered(item) for item in value]
    if isinstance(value, int):
        if abs(value) > _MAX_SAFE_INTEGER:
            raise InvalidReceiptError("a number beyond 2**53 - 1 does not survive every JSON reader")
        return value
    raise InvalidReceiptError(f"a {type(value).__name__} has no canonical form here")


def _rfc3339(milliseconds: int) -> str:
    try:
        moment = _EPOCH + timedelta(milliseconds=milliseconds)
    except OverflowError:
        raise InvalidReceiptError(f"{milliseconds} ms since 1970 is no date") from None
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _match(
    name: str, value: object, pattern: re.Pattern[str], description: str, *, longest: int = _MAX_TEXT
) -> None:
    if not isinstance(value, str) or len(value) > longest or pattern.fullmatch(value) is None:
        raise InvalidReceiptError(f"{name} must be {description}, not {value!r:.80}")


def _require_bool(answer: object) -> None:
    if not isinstance(answer, bool):
        raise InvalidReceiptError(f"an answer must be true or false, not {answer!r:.80}")


_MEMBERS = frozenset(Receipt.__dataclass_fields__)
_SIGNAL_MEMBERS = frozenset(RecordedSignals.__dataclass_fields__)
_E = TypeVar("_E", bound=StrEnum)


def _from_json(content: object) -> Receipt:
    """Make a receipt of parsed JSON: the shape is checked here, the values by Receipt itself."""
    members = _object("the receipt", content, _MEMBERS)
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


def _object(name: str, value: object, members: frozenset[str]) -> dict[str, Any]:
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


def _unique_members(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise InvalidReceiptError("a member is repeated")
    return members


def _refuse_number(text: str) -> NoReturn:
    raise InvalidReceiptError(f"a number must be whole, not {text:.40}")
