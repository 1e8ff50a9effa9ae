"""Receipts as values: one spelling, read strictly, holding nothing that names a visitor."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Sequence
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consent.browsers import MAX_USER_AGENT_CHARS, Device, classify_user_agent
from consent.canonical_json import canonical_json
from consent.categories import OPTIONAL, Category
from consent.choice import BrowserSignal, Choice
from consent.errors import InvalidReceiptError
from consent.policy import Policy, Regime
from consent.receipts import (
    MAX_ARTEFACT_BYTES,
    MAX_RECEIPT_BYTES,
    MAX_VENDORS,
    Artefact,
    CollectionMethod,
    Outcome,
    Receipt,
    build_receipt,
    outcome_of,
)
from consent.sealing import LedgerKeys
from consent.signals import ChoiceState, Signals
from consent.terms import terms_artefacts

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
IPHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
    "Version/17.5 Mobile/15E148 Safari/604.1"
)
IPAD = IPHONE.replace("iPhone; CPU iPhone OS", "iPad; CPU OS")
HEADLESS = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/140.0.0.0"
SHOWN = Artefact(content=b"<form>May we count your visits?</form>", media_type="text/html; charset=utf-8")
TERMS = terms_artefacts(Policy(site="Example shop"))
NAMING_TERMS = {"policy_hash": TERMS.policy.hash, "vendor_list_hash": TERMS.vendor_list.hash}
ARTEFACTS = (SHOWN, TERMS.policy, TERMS.vendor_list)
KEYS = LedgerKeys(signing=(b"s" * 32,), wrapping=(b"w" * 32,), index=b"i" * 32)


def receipt_id(number: int) -> str:
    """Return a UUID4 that is told by its number."""
    return f"{number:08x}-0000-4000-8000-{number:012x}"


def make_choice(
    number: int = 1,
    granted: frozenset[Category] = frozenset(),
    vendors: dict[str, bool] | None = None,
    told: frozenset[BrowserSignal] = frozenset(),
) -> Choice:
    """Return a choice that is told by its number."""
    return Choice(
        receipt_id=receipt_id(number),
        subject=f"{number:032x}",
        made_at=1_767_225_600 + number,
        policy_version=Policy().version,
        granted=granted,
        vendors=vendors or {},
        told=told,
    )


def make_receipt(number: int = 1, *, shown_hash: str | None = None, **changes: Any) -> Receipt:
    """Return a receipt that is told by its number, a refusal unless changed."""
    receipt = build_receipt(
        policy=Policy(site="Example shop"),
        signals=Signals(),
        choice=make_choice(number),
        language="en",
        shown_hash=shown_hash,
        policy_hash=None,
        vendor_list_hash=None,
        collection_method=CollectionMethod.BANNER_FORM,
        user_agent=FIREFOX,
        now_ms=(1_767_225_600 + number) * 1_000,
    )
    return dataclasses.replace(receipt, **changes) if changes else receipt


def test_canonical_bytes_are_pinned() -> None:
    """The spelling of a receipt never changes: hashes of receipts kept elsewhere depend on it."""
    before = make_choice(7, granted=frozenset({Category.TARGETING}))
    receipt = build_receipt(
        policy=Policy(site='Ex\u00e4mple "shop"', jurisdiction="EU"),
        signals=Signals(choice=before, choice_state=ChoiceState.VALID, gpc=True, dnt=False),
        choice=make_choice(
            8,
            granted=frozenset({Category.PERFORMANCE}),
            vendors={"example-video": True, "example-chat": False},
            told=frozenset({BrowserSignal.GPC, BrowserSignal.DNT}),
        ),
        language="de-AT",
        shown_hash=SHOWN.hash,
        policy_hash="ab" * 32,
        vendor_list_hash="cd" * 32,
        collection_method=CollectionMethod.PREFERENCES_FORM,
        user_agent=IPHONE,
        now_ms=1_767_225_608_042,
    )
    version = Policy(jurisdiction="EU").version
    expected = (
        '{"browser":"Mobile Safari","categories":{"functional":false,"performance":true,"targeting":false},'
        '"collection_method":"preferences-form","device":"mobile","jurisdiction":"EU","language":"de-AT",'
        f'"outcome":"changed","policy_hash":"{"ab" * 32}","policy_version":"{version}",'
        '"previous":"00000007-0000-4000-8000-000000000007",'
        '"receipt_id":"00000008-0000-4000-8000-000000000008","regime":"opt-in","schema_version":2,'
        f'"shown_hash":"{sha256(SHOWN.content).hexdigest()}",'
        '"signals":{"dnt":false,"gpc":true,"told":["dnt","gpc"]},"site":"Ex\u00e4mple \\"shop\\"",'
        '"subject":"00000000000000000000000000000008","time":"2026-01-01T00:00:08.042Z",'
        f'"vendor_list_hash":"{"cd" * 32}","vendors":{{"example-chat":false,"example-video":true}}}}'
    ).encode()
    assert receipt.canonical_bytes() == expected
    # Version 1 names neither, and stays what it was.
    first = dataclasses.replace(receipt, policy_hash=None, vendor_list_hash=None)
    earlier = re.sub(rb'"(policy|vendor_list)_hash":"[^"]*",', b"", expected).replace(
        b'version":2', b'version":1'
    )
    assert first.canonical_bytes() == earlier
    assert Receipt.from_bytes(earlier) == first
    assert (first.schema_version, receipt.schema_version) == (1, 2)
    assert receipt.artefact_hashes == (SHOWN.hash, "ab" * 32, "cd" * 32)
    assert first.artefact_hashes == (SHOWN.hash,)
    assert receipt.content_hash == sha256(expected).hexdigest()
    assert Receipt.from_bytes(expected) == receipt
    assert receipt.granted == (Category.PERFORMANCE,)


def test_canonical_json_orders_members_by_utf16_code_units() -> None:
    """The sorting example of RFC 8785, section 3.2.3."""
    value = {
        "\u20ac": "Euro Sign",
        "\r": "Carriage Return",
        "\ufb33": "Hebrew Letter Dalet With Dagesh",
        "1": "One",
        "\U0001f600": "Emoji: Grinning Face",
        "\u0080": "Control",
        "\u00f6": "Latin Small Letter O With Diaeresis",
    }
    assert list(json.loads(canonical_json(value))) == [
        "\r",
        "1",
        "\u0080",
        "\u00f6",
        "\u20ac",
        "\U0001f600",
        "\ufb33",
    ]


def test_canonical_json_escapes_what_the_standard_escapes_and_nothing_else() -> None:
    """RFC 8785, section 3.2.2.2: two escapes, five short ones, lower-case hexadecimal for other controls."""
    assert canonical_json('\u20ac$\u000f\nA\'B"\\\\"/\b\t\f\r\x7f\u2028') == (
        '"\u20ac$\\u000f\\nA\'B\\"\\\\\\\\\\"/\\b\\t\\f\\r\x7f\u2028"'.encode()
    )


def test_canonical_json_writes_every_kind_of_value() -> None:
    """Nothing but the order changes, and there is no white space."""
    assert canonical_json({"b": [1, -2, True, None, {}], "a": ()}) == b'{"a":[],"b":[1,-2,true,null,{}]}'


@pytest.mark.parametrize(
    "value",
    [
        1.5,
        2**53,
        -(2**53),
        b"bytes",
        {1: "number as a name"},
        {"nested": [...]},
        "\ud800",
        {"\udfff": 1},
    ],
    ids=repr,
)
def test_canonical_json_refuses_what_has_no_canonical_form_here(value: object) -> None:
    """Rather an error than a spelling that another reader would not arrive at."""
    with pytest.raises(InvalidReceiptError):
        canonical_json(value)


@given(
    site=st.text(max_size=60),
    answers=st.tuples(st.booleans(), st.booleans(), st.booleans()),
    vendors=st.dictionaries(
        st.from_regex(r"[a-z0-9][a-z0-9-]{0,20}", fullmatch=True), st.booleans(), max_size=5
    ),
    named=st.none() | st.just("ab" * 32),
)
def test_every_receipt_survives_its_bytes(
    site: str, answers: tuple[bool, ...], vendors: dict[str, bool], named: str | None
) -> None:
    """Whatever can be made can be read back, and is the same."""
    try:
        receipt = make_receipt(
            site=site,
            categories=dict(zip(OPTIONAL, answers, strict=True)),
            vendors=vendors,
            policy_hash=named,
            vendor_list_hash=named,
        )
    except InvalidReceiptError:
        assert any(ord(c) < 32 or 0x7F <= ord(c) < 0xA0 or c in "\u2028\u2029" for c in site)
        return
    assert receipt.canonical_bytes() == canonical_json(receipt.to_json())
    assert Receipt.from_bytes(receipt.canonical_bytes()) == receipt


@given(st.binary(max_size=200))
def test_arbitrary_bytes_never_raise_anything_else(data: bytes) -> None:
    """Hostile bytes are refused with our own error."""
    with pytest.raises(InvalidReceiptError):
        Receipt.from_bytes(data)


GOOD = make_receipt().canonical_bytes()
NAMING = make_receipt(policy_hash="ab" * 32, vendor_list_hash="cd" * 32).canonical_bytes()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[]",
        GOOD + b" ",
        b" " + GOOD,
        b"\xef\xbb\xbf" + GOOD,
        GOOD[:-1],
        GOOD.replace(b'"browser":', b'"browser": '),
        GOOD.replace(b'"language":"en"', b'"language":"en","language":"en"'),
        GOOD.replace(b'"vendors":{}', b'"vendors":{},"zzz":1'),
        GOOD.replace(b',"vendors":{}', b""),
        GOOD.replace(b'"schema_version":1', b'"schema_version":2'),
        GOOD.replace(b'"schema_version":1', b'"schema_version":3'),
        GOOD.replace(b'"schema_version":1', b'"schema_version":4'),
        NAMING.replace(b'"schema_version":2', b'"schema_version":1'),
        NAMING.replace(b'"policy_hash":"' + b"ab" * 32 + b'",', b""),
        NAMING.replace(b'"' + b"ab" * 32 + b'"', b"null"),
        NAMING.replace(b'"' + b"ab" * 32 + b'"', b"null").replace(b'"' + b"cd" * 32 + b'"', b"null"),
        NAMING.replace(b"ab" * 32, b"AB" * 32),
        GOOD.replace(b'"schema_version":1', b'"schema_version":1.0'),
        GOOD.replace(b'"schema_version":1', b'"schema_version":true'),
        GOOD.replace(b'"schema_version":1', b'"schema_version":NaN'),
        GOOD.replace(b'"schema_version":1', b'"schema_version":' + b"9" * 5_000),
        GOOD.replace(b"Example", b"Ex\\u0061mple"),
        GOOD.replace(b"Example", b"Ex\xff"),
        GOOD.replace(b"Example", b"Ex\\ud800"),
        GOOD.replace(b"Example", b"Ex\\u001b"),
        GOOD.replace(b'"told":[]', b'"told":["gpc","dnt"]'),
        GOOD.replace(b'"told":[]', b'"told":["dnt","dnt"]'),
        GOOD.replace(b'"told":[]', b'"told":{}'),
        GOOD.replace(b'"told":[]', b'"told":[[]]'),
        GOOD.replace(b'"gpc":false', b'"gpc":0'),
        GOOD.replace(b'"dnt":null', b'"dnt":1'),
        GOOD.replace(b'"dnt":null,', b""),
        GOOD.replace(b'"performance":false', b'"performance":"false"'),
        GOOD.replace(b'"performance":false,', b""),
        GOOD.replace(b'"performance":false', b'"performance":false,"strictly-necessary":true'),
        GOOD.replace(b'"outcome":"refused"', b'"outcome":"expired"'),
        GOOD.replace(b'"regime":"opt-in"', b'"regime":["opt-in"]'),
        GOOD.replace(b'"previous":null', b'"previous":""'),
        GOOD.replace(b'"vendors":{}', b'"vendors":{"Example":true}'),
        GOOD.replace(b'"vendors":{}', b'"vendors":[]'),
        GOOD.replace(b"2026-01-01T", b"2026-02-30T"),
        GOOD.replace(b"2026-01-01T", b"2026-01-01 "),
        GOOD.replace(b"-4000-", b"-1000-"),
        b"[" * 100_000,
        b'{"a":' * 20_000,
        b'"' + b"a" * MAX_RECEIPT_BYTES + b'"',
    ],
    ids=lambda data: repr(data[:12]),
)
def test_anything_but_the_canonical_bytes_is_refused(data: bytes) -> None:
    """No unknown, missing or repeated member, no other spelling, no wrong type, no trailing bytes."""
    assert data not in (GOOD, NAMING), "the case must differ from the good ones"
    with pytest.raises(InvalidReceiptError):
        Receipt.from_bytes(data)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"receipt_id": "1"}, "receipt_id must be a UUID4 in lower case, not '1'"),
        ({"subject": "g" * 32}, "subject must be 32 lower-case hexadecimal digits"),
        ({"site": "a\x1b[2Jb"}, "site must be text without control characters"),
        ({"site": "a" * 1_001}, "site must be text without control characters, at most 1000 characters"),
        ({"language": "en us"}, "language must be"),
        ({"policy_version": "latest"}, "policy_version must be"),
        ({"shown_hash": "A" * 64}, "shown_hash must be"),
        ({"outcome": "given"}, "outcome must be a Outcome"),
        ({"signals": None}, "signals must be a RecordedSignals"),
        ({"categories": {Category.TARGETING: True}}, "categories must be exactly"),
        ({"vendors": {f"v{n}": True for n in range(MAX_VENDORS + 1)}}, "at most 1000 fit"),
        ({"policy_hash": "ab" * 32}, "policy_hash and vendor_list_hash are named together"),
        ({"policy_hash": "ab", "vendor_list_hash": "ab" * 32}, "policy_hash must be 64 lower-case"),
    ],
)
def test_no_invalid_receipt_exists(changes: dict[str, Any], message: str) -> None:
    """A value that the bytes could not carry is refused when the receipt is made, by name."""
    with pytest.raises(InvalidReceiptError, match=message.replace("(", r"\(")):
        make_receipt(**changes)


def test_a_receipt_of_a_later_version_asks_for_an_update() -> None:
    """Not for a repair of something that is whole."""
    with pytest.raises(InvalidReceiptError, match="of asgi-consent, which reads 1, 2, 3: update it"):
        Receipt.from_bytes(GOOD.replace(b'"schema_version":1', b'"schema_version":4'))


def test_a_receipt_does_not_change_with_what_it_was_made_of() -> None:
    """Mappings are copied and cannot be written to."""
    vendors = {"example-chat": True}
    receipt = make_receipt(vendors=vendors)
    vendors["example-chat"] = False
    assert receipt.vendors == {"example-chat": True}
    with pytest.raises(TypeError):
        receipt.vendors["example-chat"] = False  # type: ignore[index]


PERFORMANCE = frozenset({Category.PERFORMANCE})
BOTH = frozenset({Category.PERFORMANCE, Category.TARGETING})


@pytest.mark.parametrize(
    ("granted", "vendors", "grants", "refuses"),
    [
        ([], {}, False, True),
        ([], {"example-video": False}, False, True),
        ([], {"example-video": True}, True, True),
        ([Category.PERFORMANCE], {}, True, True),
        (OPTIONAL, {}, True, False),
        (OPTIONAL, {"example-video": False}, True, True),
    ],
)
def test_a_single_vendor_makes_a_yes_and_a_no(
    granted: Sequence[Category], vendors: dict[str, bool], grants: bool, refuses: bool
) -> None:
    """Whatever was answered for the categories; the receipt says the same of what was granted."""
    choice = make_choice(granted=frozenset(granted), vendors=vendors)
    receipt = make_receipt(categories={each: each in granted for each in OPTIONAL}, vendors=vendors)
    assert (choice.grants, receipt.grants, choice.refuses) == (grants, grants, refuses)


@pytest.mark.parametrize(
    ("before", "now", "outcome"),
    [
        (None, make_choice(), Outcome.REFUSED),
        (None, make_choice(granted=PERFORMANCE), Outcome.GIVEN),
        (None, make_choice(vendors={"example-video": True}), Outcome.GIVEN),
        (None, make_choice(vendors={"example-video": False}), Outcome.REFUSED),
        (make_choice(), make_choice(), Outcome.REFUSED),
        (make_choice(), make_choice(granted=BOTH), Outcome.GIVEN),
        (make_choice(granted=BOTH), make_choice(granted=BOTH), Outcome.GIVEN),
        (make_choice(granted=BOTH), make_choice(granted=PERFORMANCE), Outcome.CHANGED),
        (make_choice(granted=PERFORMANCE), make_choice(granted=BOTH), Outcome.CHANGED),
        (
            make_choice(granted=BOTH),
            make_choice(granted=BOTH, vendors={"example-ads": False}),
            Outcome.CHANGED,
        ),
        (make_choice(granted=BOTH), make_choice(), Outcome.WITHDRAWN),
        (make_choice(vendors={"example-video": True}), make_choice(), Outcome.WITHDRAWN),
        (make_choice(granted=BOTH), make_choice(vendors={"example-video": True}), Outcome.CHANGED),
    ],
)
def test_the_outcome_compares_a_choice_with_the_one_before(
    before: Choice | None, now: Choice, outcome: Outcome
) -> None:
    """Given, refused, changed, withdrawn: the whole truth table."""
    assert outcome_of(now, before) is outcome


@pytest.mark.parametrize(
    ("user_agent", "expected"),
    [
        (FIREFOX, ("Firefox", Device.DESKTOP)),
        (IPHONE, ("Mobile Safari", Device.MOBILE)),
        (IPAD, ("Mobile Safari", Device.TABLET)),
        (HEADLESS, ("HeadlessChrome", Device.BOT)),
        ("Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", ("Other", Device.BOT)),
        ("curl/8.4.0", ("Other", Device.BOT)),
        ("python-requests/2.31", ("Other", Device.BOT)),
        ("jane-doe-bot/1.0", ("Other", Device.BOT)),
        ("Jane Doe, 1 Example Road", ("Other", Device.OTHER)),
        ("", ("Other", Device.OTHER)),
        ("\x00\x1b[2J", ("Other", Device.OTHER)),
    ],
)
def test_only_a_known_family_and_a_class_are_taken_from_the_user_agent(
    user_agent: str, expected: tuple[str, Device]
) -> None:
    """Bots are told apart, and nothing that a visitor can make up gets into a receipt."""
    assert classify_user_agent(user_agent) == expected


def test_only_the_beginning_of_a_long_user_agent_is_looked_at() -> None:
    """What stands after the bound makes no difference: the parser's time grows with the length."""
    padding = "x" * (MAX_USER_AGENT_CHARS - 1) + " "
    assert classify_user_agent(padding + "curl/8.4.0") == ("Other", Device.OTHER)
    assert classify_user_agent("Mozilla/5.0 " + "(" * 10_000_000) == ("Other", Device.OTHER)


def test_the_user_agent_itself_is_not_kept() -> None:
    """No part of it but the family's name is in the bytes."""
    assert b"X11" not in GOOD
    assert b"140" not in GOOD
    assert b'"browser":"Firefox"' in GOOD


def test_an_artefact_is_named_by_its_content() -> None:
    """The hash is computed, not believed; the content is bounded."""
    assert Artefact(content=b"abc", media_type="text/plain").hash == sha256(b"abc").hexdigest()
    with pytest.raises(InvalidReceiptError, match="an artefact of 4194305 bytes, at most 4194304"):
        Artefact(content=bytes(MAX_ARTEFACT_BYTES + 1), media_type="text/plain")
    with pytest.raises(InvalidReceiptError, match="media_type"):
        Artefact(content=b"", media_type="text/plain\r\nX: y")


@pytest.mark.parametrize("now_ms", [10**18, -(10**18)])
def test_a_time_that_no_calendar_has_is_refused(now_ms: int) -> None:
    """A broken clock gives an error of ours, not an overflow."""
    with pytest.raises(InvalidReceiptError, match="is no date"):
        build_receipt(
            policy=Policy(regime=Regime.OPT_OUT),
            signals=Signals(),
            choice=make_choice(),
            language="en",
            shown_hash=None,
            policy_hash=None,
            vendor_list_hash=None,
            collection_method=CollectionMethod.API,
            user_agent="",
            now_ms=now_ms,
        )
