"""The choice cookie: what is written is read, and nothing else is."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import hmac
import json
from math import inf
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from itsdangerous import Signer, URLSafeSerializer

from consent.catalog.loading import OUR_COOKIES
from consent.categories import OPTIONAL, Category
from consent.choice import BrowserSignal, Choice, group_cookie
from consent.choice_cookie import (
    CLOCK_SKEW_SECONDS,
    MAX_COOKIE_BYTES,
    MAX_VERIFIED,
    ChoiceCookie,
)
from consent.choice_form import UnwritableChoiceError
from consent.errors import ConfigurationError, ConsentError
from consent.signals import ChoiceState
from consent.variant_cookie import VariantCookie

NOW = 1_800_000_000
DAY = 86_400
OLD = b"old-old-old-old-old-old-old-old!"
NEW = b"new-new-new-new-new-new-new-new!"
POLICY = "0123456789ab"
SALT = b"asgi-consent choice cookie 1:consent"
P, F, T = OPTIONAL

CHOICE = Choice(
    receipt_id="3f2504e0-4f89-41d3-9a0c-0305e82c3301",
    subject="00112233445566778899aabbccddeeff",
    made_at=NOW,
    policy_version=POLICY,
    granted=frozenset({P, T}),
    vendors={"example-stats": False, "example-chat": True},
    told=frozenset({BrowserSignal.GPC}),
)
EVERYTHING = dataclasses.replace(CHOICE, granted=frozenset(OPTIONAL), vendors={"example-chat": True})
FORGED = (None, ChoiceState.FORGED)
ABSENT = (None, ChoiceState.ABSENT)
EXPIRED = (CHOICE, ChoiceState.EXPIRED)


def cookie(*secrets: bytes, **options: Any) -> ChoiceCookie:
    return ChoiceCookie(secrets or (OLD,), **options)


def value(choice: Choice = CHOICE, *, by: ChoiceCookie | None = None) -> bytes:
    """The cookie's value alone, as a browser would send it back."""
    header = (by or cookie()).header(choice, secure=True, now=choice.made_at)
    return header.partition(b";")[0].partition(b"=")[2]


def read(
    *lines: bytes, by: ChoiceCookie | None = None, now: int = NOW, policy_version: str = POLICY
) -> tuple[Choice | None, ChoiceState]:
    headers = [(b"host", b"example.com"), *((b"cookie", line) for line in lines)]
    return (by or cookie()).read(headers, now=now, policy_version=policy_version)[:2]


def signed(content: object, *, secret: bytes = OLD) -> bytes:
    """A value with a genuine signature over any content: what a leaked key or a bug could make."""
    payload = content if isinstance(content, bytes) else dumped(content)
    derived = Signer(secret, salt=SALT, key_derivation="hmac", digest_method=hashlib.sha256).derive_key()
    return encoded(payload, derived)


def dumped(content: object) -> bytes:
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()


def encoded(payload: bytes, key: bytes) -> bytes:
    body = base64.urlsafe_b64encode(payload).rstrip(b"=")
    return body + b"." + base64.urlsafe_b64encode(hmac.digest(key, body, "sha256")).rstrip(b"=")


CONTENT = {
    "allow": "example-chat",
    "at": NOW,
    "deny": "example-stats",
    "grant": "pt",
    "policy": POLICY,
    "receipt": "3f2504e0-4f89-41d3-9a0c-0305e82c3301",
    "subject": "00112233445566778899aabbccddeeff",
    "told": "g",
}

# --- Writing ------------------------------------------------------------------------------------------------


def test_the_set_cookie_field_has_exactly_these_attributes_over_https() -> None:
    header = cookie().header(CHOICE, secure=True, now=NOW)
    assert header == (
        b"consent=" + signed(CONTENT) + b"; Max-Age=34560000; Path=/; HttpOnly; SameSite=Lax; Secure"
    )


def test_secure_is_left_out_without_https() -> None:
    header = cookie(max_age_days=365, name="my_choice").header(EVERYTHING, secure=False, now=NOW)
    name, _, attributes = header.partition(b";")
    assert name.startswith(b"my_choice=")
    assert attributes == b" Max-Age=31536000; Path=/; HttpOnly; SameSite=Lax"


def test_signing_again_does_not_prolong_a_choice() -> None:
    """A key rotation may rewrite the cookie; the six months count from the choice."""
    header = cookie().header(EVERYTHING, secure=True, now=NOW + 100 * DAY)
    assert b"; Max-Age=%d;" % (80 * DAY) in header
    assert b"; Max-Age=0;" in cookie().header(EVERYTHING, secure=True, now=NOW + 500 * DAY)


@pytest.mark.parametrize(
    "refusing",
    [
        dataclasses.replace(CHOICE, granted=frozenset(), vendors={}),
        dataclasses.replace(CHOICE, granted=frozenset(OPTIONAL[1:]), vendors={"example-stats": True}),
        dataclasses.replace(CHOICE, granted=frozenset(OPTIONAL), vendors={"example-stats": False}),
    ],
)
def test_a_refusal_is_kept_as_long_as_browsers_keep_cookies(refusing: Choice) -> None:
    """However old it is: set anew, it lives on. What was granted beside it expires all the same."""
    for age in (0, 100, 200, 500):
        assert b"; Max-Age=34560000;" in cookie().header(refusing, secure=True, now=NOW + age * DAY)
    assert cookie().renewal_due(refusing) == NOW + 200 * DAY
    grants = bool(refusing.granted)
    assert cookie(max_age_days=300).renewal_due(refusing) == NOW + (300 if grants else 200) * DAY
    assert cookie(max_age_days=400).renewal_due(refusing) == NOW + (370 if grants else 200) * DAY
    assert cookie().renewal_due(EVERYTHING) == inf
    assert cookie().fresh_until(refusing) == NOW + 180 * DAY


def test_a_clock_that_is_behind_does_not_prolong_a_choice() -> None:
    assert b"; Max-Age=15552000;" in cookie().header(EVERYTHING, secure=True, now=NOW - 60)


def test_a_typical_cookie_is_under_400_bytes_with_its_attributes() -> None:
    everything = dataclasses.replace(CHOICE, granted=frozenset(OPTIONAL), told=frozenset(BrowserSignal))
    assert len(cookie().header(everything, secure=True, now=NOW)) == 386
    assert len(value(dataclasses.replace(CHOICE, granted=frozenset(), vendors={}, told=frozenset()))) == 280


@pytest.mark.parametrize(
    ("field", "wrong", "message"),
    [
        ("receipt_id", "3F2504E0-4F89-41D3-9A0C-0305E82C3301", "receipt_id must be a UUID4 in lower case"),
        ("receipt_id", "3f2504e0-4f89-11d3-9a0c-0305e82c3301", "receipt_id must be a UUID4 in lower case"),
        ("subject", "00112233", "subject must be 32 lower-case hexadecimal digits"),
        ("subject", "00112233445566778899aabbccddeeff\n", "subject must be 32 lower-case hexadecimal digits"),
        ("policy_version", "", "policy_version must be 12 lower-case hexadecimal digits"),
        ("made_at", 0, "made_at must be whole seconds since 1970"),
        ("made_at", 1.5e9, "made_at must be whole seconds since 1970"),
        ("made_at", True, "made_at must be whole seconds since 1970"),
        ("made_at", 1 << 40, "made_at must be whole seconds since 1970"),
        ("granted", frozenset({Category.STRICTLY_NECESSARY}), "granted must name optional categories only"),
        ("vendors", {"Example": True}, "vendors must be ids"),
        ("vendors", {"a b": True}, "vendors must be ids"),
        ("vendors", {"a; Domain=example.com": True}, "vendors must be ids"),
        ("vendors", {"": True}, "vendors must be ids"),
    ],
)
def test_what_would_not_be_read_is_not_written(field: str, wrong: object, message: str) -> None:
    bad = dataclasses.replace(CHOICE, **{field: wrong})  # type: ignore[arg-type]
    with pytest.raises(UnwritableChoiceError) as caught:
        cookie().header(bad, secure=True, now=NOW)
    assert str(caught.value).startswith(message)
    assert isinstance(caught.value, ConsentError)
    assert isinstance(caught.value, ValueError)


def test_more_exceptions_than_a_browser_would_keep_are_refused_with_the_remedy() -> None:
    many = dataclasses.replace(CHOICE, vendors={f"example-vendor-{n:03}": False for n in range(200)})
    with pytest.raises(
        UnwritableChoiceError, match=r"^200 vendor exceptions do not fit into a cookie: store only"
    ):
        cookie().header(many, secure=True, now=NOW)


def test_the_longest_cookie_that_is_written_is_read() -> None:
    """And it is exactly as long as RFC 6265bis has browsers keep, or just under it."""
    count, longest = 0, CHOICE
    while True:
        more = dataclasses.replace(CHOICE, vendors={f"v{n:04}": False for n in range(count)})
        try:
            cookie().header(more, secure=True, now=NOW)
        except UnwritableChoiceError:
            break
        count, longest = count + 1, more
    line = b"consent=" + value(longest)
    assert MAX_COOKIE_BYTES - 10 < len(line) - len(b"=") <= MAX_COOKIE_BYTES
    assert read(line) == (longest, ChoiceState.VALID)


# --- The round trip -----------------------------------------------------------------------------------------


def test_what_is_written_is_read() -> None:
    kept, state = read(b"consent=" + value())
    assert (kept, state) == (CHOICE, ChoiceState.VALID)
    assert kept is not None
    with pytest.raises(TypeError):
        kept.vendors["example-stats"] = True  # type: ignore[index]


vendor_ids = st.from_regex(r"[a-z0-9][a-z0-9-]{0,20}", fullmatch=True)


@given(
    st.builds(
        Choice,
        receipt_id=st.uuids(version=4).map(str),
        subject=st.binary(min_size=16, max_size=16).map(bytes.hex),
        made_at=st.integers(NOW - 180 * DAY + 1, NOW + CLOCK_SKEW_SECONDS),
        policy_version=st.just(POLICY),
        granted=st.frozensets(st.sampled_from(OPTIONAL)),
        vendors=st.dictionaries(vendor_ids, st.booleans(), max_size=20),
        told=st.frozensets(st.sampled_from(BrowserSignal)),
    )
)
def test_every_choice_survives_the_round_trip(choice: Choice) -> None:
    assert read(b"consent=" + value(choice)) == (choice, ChoiceState.VALID)


def test_a_cookie_made_by_another_implementation_of_the_format_is_read() -> None:
    """The format as documented, made with the standard library alone."""
    derived = hmac.digest(OLD, SALT, "sha256")
    assert read(b"consent=" + encoded(dumped(CONTENT), derived)) == (CHOICE, ChoiceState.VALID)


# --- Keys ---------------------------------------------------------------------------------------------------


def test_the_first_secret_signs_and_every_secret_verifies() -> None:
    rotated = cookie(NEW, OLD)
    assert read(b"consent=" + value(by=cookie(OLD)), by=rotated) == (CHOICE, ChoiceState.VALID)
    fresh = b"consent=" + value(by=rotated)
    assert read(fresh, by=cookie(NEW)) == (CHOICE, ChoiceState.VALID)
    assert read(fresh, by=cookie(OLD)) == FORGED


def test_a_dropped_secret_verifies_no_more() -> None:
    assert read(b"consent=" + value(by=cookie(OLD)), by=cookie(NEW)) == FORGED


def test_a_cookie_is_worth_nothing_under_another_name() -> None:
    other = cookie(name="consent2")
    assert read(b"consent2=" + value(), by=other) == FORGED
    assert read(b"consent=" + value(by=other)) == FORGED


def test_a_signature_for_another_purpose_with_the_same_secret_is_worth_nothing() -> None:
    payload = base64.urlsafe_b64encode(dumped(CONTENT)).rstrip(b"=")
    others = [
        Signer(OLD).sign(payload),
        Signer(OLD, digest_method=hashlib.sha256).sign(payload),
        Signer(OLD, salt=SALT, digest_method=hashlib.sha256).sign(payload),
        Signer(OLD, salt=b"session", key_derivation="hmac", digest_method=hashlib.sha256).sign(payload),
        URLSafeSerializer(OLD, salt=SALT).dumps(CONTENT).encode(),
        encoded(dumped(CONTENT), OLD),
    ]
    assert [read(b"consent=" + other) for other in others] == [FORGED] * len(others)


@pytest.mark.parametrize(
    ("secrets", "message"),
    [
        ([], "give a list of secrets, the signing one first"),
        (OLD, "give a list of secrets, the signing one first"),
        ("secret" * 10, "give a list of secrets, the signing one first"),
        ([b"short"], "secret 1 must be at least 16 random bytes"),
        ([OLD, b""], "secret 2 must be at least 16 random bytes"),
        ([OLD.decode()], "secret 1 must be at least 16 random bytes"),
    ],
)
def test_an_unusable_secret_is_refused_and_never_shown(secrets: Any, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        ChoiceCookie(secrets)
    assert str(caught.value) == f"[secrets]: {message}"


@pytest.mark.parametrize("name", ["", "a b", "a=b", "a;b", 'a"b', "a,b", "ä", "a\n", "x" * 101])
def test_a_cookie_name_that_browsers_would_not_keep_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^\[name\]: a cookie name is 1 to 100 ASCII letters"):
        cookie(name=name)


@pytest.mark.parametrize("days", [0, -1, 401, 1.5, True, "180"])
def test_an_age_outside_of_1_to_400_days_is_refused(days: Any) -> None:
    with pytest.raises(
        ConfigurationError, match=r"^\[max_age_days\]: the age must be a whole number of days, 1 to"
    ):
        cookie(max_age_days=days)


@pytest.mark.parametrize("name", ["__Host-consent", "__Secure-consent"])
def test_a_name_that_browsers_tie_to_https_is_not_written_without_it(name: str) -> None:
    prefixed = cookie(name=name)
    assert prefixed.header(CHOICE, secure=True, now=NOW).endswith(b"; Path=/; HttpOnly; SameSite=Lax; Secure")
    with pytest.raises(UnwritableChoiceError, match=f"^browsers refuse a cookie named {name} without HTTPS"):
        prefixed.header(CHOICE, secure=False, now=NOW)


# --- Forgeries ----------------------------------------------------------------------------------------------


def test_every_single_bit_change_is_forged() -> None:
    """All eight bits of every byte, those that Base64 decoders ignore included."""
    genuine = value()
    survivors = []
    for position in range(len(genuine)):
        for bit in range(8):
            changed = bytearray(genuine)
            changed[position] ^= 1 << bit
            if changed[position] in b"; \t":  # another cookie line altogether, tested below
                continue
            if read(b"consent=" + bytes(changed)) != FORGED:
                survivors.append((position, bit))
    assert survivors == []


def test_the_bits_that_base64_leaves_over_are_not_free_to_choose() -> None:
    """Of four last digits of a signature that decode alike, one is genuine: 32 bytes leave two bits over."""
    alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    genuine = value()
    last = alphabet.index(genuine[-1])
    assert last % 4 == 0
    for spare in (1, 2, 3):
        assert read(b"consent=" + genuine[:-1] + alphabet[last + spare : last + spare + 1]) == FORGED


def test_a_payload_in_another_base64_spelling_is_forged_however_well_it_is_signed() -> None:
    content = dumped(CONTENT)
    body = base64.urlsafe_b64encode(content).rstrip(b"=")
    assert len(content) % 3 == 1  # so that the last digit has four bits to spare
    other = body[:-1] + bytes([body[-1] + 1])
    assert base64.urlsafe_b64decode(other + b"==") == content
    derived = hmac.digest(OLD, SALT, "sha256")
    signatures = [
        base64.urlsafe_b64encode(hmac.digest(derived, one, "sha256")).rstrip(b"=") for one in (body, other)
    ]
    assert read(b"consent=" + body + b"." + signatures[0])[1] is ChoiceState.VALID
    assert read(b"consent=" + other + b"." + signatures[1]) == FORGED


def test_every_truncation_is_forged() -> None:
    genuine = value()
    assert {read(b"consent=" + genuine[:length]) for length in range(len(genuine))} == {FORGED}
    assert {read(b"consent=" + genuine[start:]) for start in range(1, len(genuine))} == {FORGED}


@pytest.mark.parametrize(
    "garbled",
    [
        b"",
        b".",
        b"..",
        b"true",
        b'"%s"',
        b"%s=",
        b"%s==",
        b"=%s",
        b"%s.",
        b".%s",
        b"%s%%20",
        b"%s, %s",
        b"%s.%s",
        b"%s\x00",
        b"\xff%s",
        b"%s\n",
    ],
)
def test_a_garbled_value_is_forged(garbled: bytes) -> None:
    """Quotes included: we never write them."""
    line = garbled.replace(b"%s", value()).replace(b"%%", b"%")
    assert read(b"consent=" + line) == FORGED


def test_an_oversized_value_is_forged_however_well_it_is_signed() -> None:
    many = " ".join(f"example-vendor-{n:03}" for n in range(200))
    genuine = signed({**CONTENT, "deny": many})
    assert len(genuine) > MAX_COOKIE_BYTES
    assert read(b"consent=" + genuine) == FORGED
    assert read(b"consent=" + b"A" * 1_000_000 + b"." + b"A" * 43) == FORGED


@pytest.mark.parametrize(
    "content",
    [
        {**CONTENT, "extra": 1},
        {key: CONTENT[key] for key in CONTENT if key != "told"},
        {},
        [],
        [CONTENT],
        None,
        True,
        "text",
        7,
        {**CONTENT, "at": str(NOW)},
        {**CONTENT, "at": float(NOW)},
        {**CONTENT, "at": True},
        {**CONTENT, "at": None},
        {**CONTENT, "at": -1},
        {**CONTENT, "at": 10**30},
        {**CONTENT, "grant": "tp"},
        {**CONTENT, "grant": "pp"},
        {**CONTENT, "grant": "s"},
        {**CONTENT, "grant": "x"},
        {**CONTENT, "grant": ["p", "t"]},
        {**CONTENT, "grant": {"p": 1, "t": 1}},
        {**CONTENT, "grant": 1},
        {**CONTENT, "grant": None},
        {**CONTENT, "told": "dg"},
        {**CONTENT, "told": "G"},
        {**CONTENT, "allow": "b a"},
        {**CONTENT, "allow": "a  b"},
        {**CONTENT, "allow": " a"},
        {**CONTENT, "allow": "a a"},
        {**CONTENT, "allow": "example-stats"},
        {**CONTENT, "allow": "a\tb"},
        {**CONTENT, "allow": "A"},
        {**CONTENT, "allow": ["a"]},
        {**CONTENT, "deny": {}},
        {**CONTENT, "deny": "x" * 65},
        {**CONTENT, "policy": "0123456789AB"},
        {**CONTENT, "policy": 123456789012},
        {**CONTENT, "receipt": "3f2504e04f8941d39a0c0305e82c3301"},
        {**CONTENT, "receipt": None},
        {**CONTENT, "subject": "00112233445566778899AABBCCDDEEFF"},
        {**CONTENT, "subject": "٠" * 32},
        dumped(CONTENT) + b" ",
        dumped(CONTENT) + b"\x00",
        dumped(CONTENT) + dumped(CONTENT),
        b" " + dumped(CONTENT),
        json.dumps(CONTENT, sort_keys=True).encode(),
        dumped(CONTENT).replace(b'"told":"g"', b'"told":"g","told":"g"'),
        dumped(CONTENT).replace(b'"told":"g"', b'"told":"\\u0067"'),
        b'{"told":"g",' + dumped({key: CONTENT[key] for key in CONTENT if key != "told"})[1:],
        dumped(CONTENT).decode().encode("utf-16"),
        b"\xef\xbb\xbf" + dumped(CONTENT),
        b"\xff\xfe",
        b"",
        b"{",
        b"[" * 2900,
        b"9" * 2900,
        b"NaN",
    ],
    ids=lambda content: repr(content)[:60],
)
def test_content_of_any_other_form_is_forged_however_well_it_is_signed(content: object) -> None:
    assert read(b"consent=" + signed(content)) == FORGED


def test_the_genuine_content_is_what_those_forgeries_started_from() -> None:
    assert read(b"consent=" + signed(CONTENT)) == (CHOICE, ChoiceState.VALID)
    assert value() == signed(CONTENT)


@given(st.binary(max_size=300))
def test_no_bytes_at_all_make_reading_fail(line: bytes) -> None:
    assert read(b"consent=" + line)[1] in (ChoiceState.FORGED, ChoiceState.ABSENT)
    assert read(line) == ABSENT or b"consent" in line


# --- Age and policy -----------------------------------------------------------------------------------------


def test_a_choice_expires_to_the_second() -> None:
    line = b"consent=" + value()
    assert read(line, now=NOW + 180 * DAY - 1) == (CHOICE, ChoiceState.VALID)
    assert read(line, now=NOW + 180 * DAY) == EXPIRED
    assert read(line, now=NOW + 180 * DAY + 1) == EXPIRED


def test_a_choice_from_the_future_is_forged_beyond_a_small_skew_of_clocks() -> None:
    line = b"consent=" + value()
    assert CLOCK_SKEW_SECONDS == 300
    assert read(line, now=NOW - 300) == (CHOICE, ChoiceState.VALID)
    assert read(line, now=NOW - 301) == FORGED


def test_a_choice_under_another_policy_is_returned_as_outdated() -> None:
    assert read(b"consent=" + value(), policy_version="ba9876543210") == (CHOICE, ChoiceState.OUTDATED)


def test_an_outdated_choice_expires_too() -> None:
    assert read(b"consent=" + value(), now=NOW + 180 * DAY, policy_version="ba9876543210") == EXPIRED


# --- Finding it ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        b"consent=%s",
        b"a=b; consent=%s; c=d",
        b"a=b;consent=%s;c=d",
        b"  consent = %s ;",
        b";;consent=%s;;",
        b"consent2=x; consent=%s",
        b"xconsent=x; consent=%s; consent-x=y",
        b'q="a; consent=%s; b"',
    ],
)
def test_the_cookie_is_found_among_others(line: bytes) -> None:
    assert read(line.replace(b"%s", value())) == (CHOICE, ChoiceState.VALID)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"consent",
        b"Consent=%s",
        b"Consent=%s; xconsent=1",
        b"consent2=%s",
        b"xconsent=%s",
        b"__Host-consent=%s",
        b"a=consent=%s",
        b"%s",
        b"a=b, consent=%s",
    ],
)
def test_a_cookie_of_another_name_is_not_ours(line: bytes) -> None:
    assert read(line.replace(b"%s", value())) == ABSENT


def test_no_cookie_field_at_all_is_an_absent_choice() -> None:
    assert read() == ABSENT
    assert cookie().read([(b"x-cookie", b"consent=" + value())], now=NOW, policy_version=POLICY)[:2] == ABSENT


def test_several_cookie_fields_are_all_read() -> None:
    """HTTP/2 clients may split the field."""
    assert read(b"a=b", b"consent=" + value(), b"c=d") == (CHOICE, ChoiceState.VALID)


def test_of_several_genuine_cookies_the_newest_choice_wins_in_any_order() -> None:
    older = dataclasses.replace(CHOICE, made_at=NOW - 100, granted=frozenset(OPTIONAL))
    newer = dataclasses.replace(CHOICE, made_at=NOW - 50, granted=frozenset())
    pairs = [b"consent=" + value(older), b"consent=" + value(newer)]
    assert read(b"; ".join(pairs)) == (newer, ChoiceState.VALID)
    assert read(b"; ".join(reversed(pairs))) == (newer, ChoiceState.VALID)
    assert read(*pairs) == (newer, ChoiceState.VALID)


def test_of_two_choices_in_the_same_second_the_one_that_grants_less_wins() -> None:
    more = dataclasses.replace(CHOICE, granted=frozenset(OPTIONAL), vendors={})
    less = dataclasses.replace(CHOICE, granted=frozenset(), vendors={})
    least = dataclasses.replace(CHOICE, granted=frozenset(), vendors={"example-stats": False})
    lines = [b"consent=" + value(one) for one in (more, less, least)]
    assert read(*lines) == read(*reversed(lines)) == (least, ChoiceState.VALID)


OTHERS = dataclasses.replace(CHOICE, subject="f" * 32, receipt_id="3f2504e0-4f89-41d3-9a0c-0305e82c3302")


@given(
    choices=st.lists(
        st.builds(
            dataclasses.replace,
            st.sampled_from([CHOICE, OTHERS]),
            made_at=st.integers(NOW - 400 * DAY, NOW),
            granted=st.frozensets(st.sampled_from(OPTIONAL)),
            vendors=st.dictionaries(st.sampled_from(["example-stats", "example-chat"]), st.booleans()),
        ),
        min_size=1,
        max_size=10,
    ),
    order=st.randoms(),
)
def test_no_cookie_from_elsewhere_goes_over_a_no(choices: list[Choice], order: Any) -> None:
    """Of one visitor the newest counts, whatever another host of the domain has set beside it, in any order."""
    lines = [b"consent=" + value(choice) for choice in choices]
    order.shuffle(lines)
    read_one, state = read(b"; ".join(lines))
    if len(choices) > MAX_VERIFIED:
        assert (read_one, state) == FORGED
        return
    assert read_one is not None
    words: dict[str, list[Choice]] = {}
    for choice in choices:
        words.setdefault(choice.subject, []).append(choice)
    for own in words.values():
        last = max(choice.made_at for choice in own)
        # Two of one second are not told apart here.
        newest = [choice for choice in own if choice.made_at == last]
        assert any(read_one.granted <= choice.granted for choice in newest)
        for vendor, allowed in read_one.vendors.items():
            assert not allowed or any(choice.vendors.get(vendor) for choice in newest)
    if len(words) == 1:
        assert read_one.made_at == max(choice.made_at for choice in choices)
    assert read(*lines) == read(*reversed(lines))


def test_a_choice_is_stored_for_the_domain_where_the_host_is_in_it(caplog: pytest.LogCaptureFixture) -> None:
    """On other hosts for the host alone; that is told once."""
    shared = cookie(domain="example.com")
    of = OTHERS.receipt_id
    for host in ("example.com", "shop.example.com", "a.b.example.com"):
        for header in (
            shared.header(CHOICE, secure=True, now=NOW, host=host),
            shared.taken_header(CHOICE, of, BrowserSignal.GPC, secure=True, now=NOW, host=host),
        ):
            assert header.endswith(
                b"; Max-Age=34560000; Path=/; Domain=example.com; HttpOnly; SameSite=Lax; Secure"
            )
    assert caplog.messages == []
    for host in ("badexample.com", "example.org", "com", "", "127.0.0.1", "example.com.example.org"):
        assert b"Domain" not in shared.header(CHOICE, secure=True, now=NOW, host=host)
    assert [message.partition(":")[0] for message in caplog.messages] == [
        "choice.domain is example.com, and a request was for 'badexample.com'"
    ]
    assert cookie().header(CHOICE, secure=True, now=NOW, host="example.com") == cookie().header(
        CHOICE, secure=True, now=NOW
    )
    assert len(caplog.messages) == 1


def test_what_is_deleted_is_what_the_request_brought() -> None:
    """Of the host and of its domain; where the cookie stays, what is left of the host's own alone."""
    shared, alone = cookie(domain="example.com"), cookie()
    headers = [(b"cookie", b"consent=1; a=2; consent=3")]
    names = ["consent", "consent_taken"]

    def deleted(by: ChoiceCookie, *, stays: bool) -> list[bytes]:
        return [
            line.removesuffix(b"; HttpOnly; SameSite=Lax; Secure")
            for line in by.deletions(headers, names, secure=True, host="example.com", stays=stays)
        ]

    own, domains = b"consent=; Max-Age=0; Path=/", b"consent=; Max-Age=0; Path=/; Domain=example.com"
    assert deleted(shared, stays=False) == [own, domains]
    assert deleted(shared, stays=True) == [own]
    assert deleted(alone, stays=False) == [own]
    assert deleted(alone, stays=True) == []


def taken(
    granted: set[Category],
    of: Choice,
    signal: BrowserSignal = BrowserSignal.GPC,
    *,
    by: ChoiceCookie | None = None,
    **changes: Any,
) -> bytes:
    """Return the cookie of what a signal left of a choice."""
    kept = dataclasses.replace(of, granted=frozenset(granted), receipt_id=OTHERS.receipt_id, **changes)
    line = (by or cookie()).taken_header(kept, of.receipt_id, signal, secure=True, now=NOW)
    return line.partition(b";")[0]


ALL = dataclasses.replace(CHOICE, granted=frozenset(OPTIONAL), vendors={})


def test_what_signals_took_back_counts_beside_its_choice_alone() -> None:
    """And takes away only; what two signals took back, each by itself, is taken away."""
    stored = b"consent=" + value(ALL)
    both, _ = read(b"; ".join((stored, taken({P, F}, ALL), taken({F, T}, ALL, BrowserSignal.DNT))))
    assert both is not None
    assert (set(both.granted), both.receipt_id) == ({F}, OTHERS.receipt_id)
    assert cookie().stored([(b"cookie", stored)], now=NOW) == ALL
    another = dataclasses.replace(ALL, receipt_id=OTHERS.receipt_id)
    assert read(stored, taken(set(), another))[0] == ALL
    # Neither is worth anything under the name of the other.
    assert read(b"consent=" + taken({P}, ALL).partition(b"=")[2]) == FORGED
    assert read(stored, b"consent_taken=" + value(ALL))[0] == ALL
    # Where the choice is over, and gone: what was taken back stays so, and no more than that.
    earlier = dataclasses.replace(another, made_at=ALL.made_at - 1)
    kept, state = read(taken({P, F}, ALL), taken({F, T}, ALL, BrowserSignal.DNT), taken(set(), earlier))
    assert kept is not None
    assert (set(kept.granted), state) == ({F}, ChoiceState.EXPIRED)
    assert read(taken({P, F}, ALL)[:-1]) == read(b"consent_taken=x") == FORGED


def test_each_signal_and_each_choice_has_a_cookie_of_its_own() -> None:
    """So what one page stores never replaces what another one did that knew of something else."""
    another = dataclasses.replace(ALL, receipt_id=OTHERS.receipt_id)
    names = {taken(set(), of, signal).partition(b"=")[0] for of in (ALL, another) for signal in BrowserSignal}
    assert names == {
        b"consent_taken_%s_%s" % (signal, of)
        for signal in (b"gpc", b"dnt")
        for of in (ALL.receipt_id[:8].encode(), b"3f2504e0")
    }
    line = [
        (b"cookie", b"; ".join([*(name + b"=x" for name in names), b"consent_taken=x", b"consent_takenx=x"]))
    ]
    assert {*cookie().taken_names(line)} == {"consent_taken", *(name.decode() for name in names)}


def test_the_one_cookie_of_before_is_read_on() -> None:
    """It was for all signals, and named no choice."""
    before = b"consent_taken=" + taken({P, F}, ALL).partition(b"=")[2]
    found, state = read(b"consent=" + value(ALL), before, taken({F, T}, ALL, BrowserSignal.DNT))
    assert found is not None
    assert (set(found.granted), state) == ({F}, ChoiceState.VALID)
    assert cookie().taken_names([(b"cookie", before)]) == ["consent_taken"]


def test_what_names_the_choice_and_cannot_be_read_may_have_been_a_no() -> None:
    """As where one of several servers does not know yet the key that another one signs with."""
    newer = cookie(NEW, OLD)
    stored, back = b"consent=" + value(ALL), taken({P, F}, ALL, by=newer)
    found, state = read(stored, back)
    assert found is not None
    assert (set(found.granted), found.subject, state) == (set(), ALL.subject, ChoiceState.EXPIRED)
    assert read(stored, back.partition(b"=")[0] + b"=x") == (found, state)
    # Of another choice it says nothing, whatever it is.
    another = dataclasses.replace(ALL, receipt_id="00000000-0000-4000-8000-000000000001")
    assert read(b"consent=" + value(another), back)[0] == another


def test_more_than_are_looked_at_may_have_the_no_among_them() -> None:
    """Everything is refused then, until an answer removes them."""
    stored = b"consent=" + value(ALL)
    others = [
        taken(set(), dataclasses.replace(ALL, receipt_id=f"{number:08x}-0000-4000-8000-000000000000"))
        for number in range(MAX_VERIFIED)
    ]
    assert read(stored, *others)[0] == ALL
    found, state = read(stored, *others, taken({P}, ALL))
    assert found is not None
    assert (set(found.granted), state) == (set(), ChoiceState.EXPIRED)
    many = [(b"cookie", b"; ".join(b"consent_taken_gpc_%08x=x" % number for number in range(1000)))]
    assert len(cookie().taken_names(many)) == 2 * MAX_VERIFIED


def test_what_was_taken_back_of_a_lost_choice_counts_beside_an_earlier_one() -> None:
    """Browsers let go of cookies one by one: the host may have another one than the domain, even of somebody else."""
    earlier = dataclasses.replace(ALL, made_at=ALL.made_at - DAY, receipt_id=OTHERS.receipt_id)
    theirs = dataclasses.replace(earlier, subject=OTHERS.subject)
    for left in (earlier, theirs):
        found, state = read(b"consent=" + value(left), taken({P, F}, ALL))
        assert found is not None
        assert (set(found.granted), found.receipt_id, state) == ({P, F}, left.receipt_id, ChoiceState.VALID)


def test_a_newer_refusal_wins_over_an_older_consent_though_it_is_outdated() -> None:
    """The visitor's last word counts, also after the site went back to an earlier policy."""
    consent = dataclasses.replace(CHOICE, made_at=NOW - 100, granted=frozenset(OPTIONAL))
    refusal = dataclasses.replace(CHOICE, policy_version="ba9876543210", granted=frozenset())
    assert read(b"consent=" + value(consent), b"consent=" + value(refusal)) == (refusal, ChoiceState.OUTDATED)


def test_a_genuine_cookie_is_found_beside_forged_and_expired_ones() -> None:
    expired = dataclasses.replace(CHOICE, made_at=NOW - 180 * DAY)
    lines = [b"consent=x", b"consent=" + value(expired), b"consent=" + value(), b"consent=" + value()[:-1]]
    assert read(*lines) == (CHOICE, ChoiceState.VALID)
    assert read(*lines[:2]) == (expired, ChoiceState.EXPIRED)
    assert read(*lines[1::-1]) == (expired, ChoiceState.EXPIRED)
    assert read(lines[0], lines[3]) == FORGED


def test_work_per_request_is_bounded_whatever_is_sent() -> None:
    """Eight well-formed candidates are verified, no more; malformed ones cost nothing and do not count."""
    wrong = b"consent=" + b"A" * 300 + b"." + b"A" * 43
    genuine = b"consent=" + value()
    assert read(*[wrong] * 7, genuine) == (CHOICE, ChoiceState.VALID)
    assert read(*[wrong] * 8, genuine) == FORGED
    assert read(*[b"consent=garbage"] * 1000, genuine) == (CHOICE, ChoiceState.VALID)


def test_no_vendor_and_no_site_can_have_a_name_of_ours() -> None:
    """Of what is refused the cookies are deleted, and with a cookie of ours the no itself would go."""
    cookie = ChoiceCookie([NEW])
    ours = {
        cookie.name,
        cookie.taken_name,
        cookie.taken_form,
        cookie.mark_form,
        VariantCookie.name_beside(cookie),
    }
    assert ours | {group_cookie(f"{scheme}://a.example") for scheme in ("http", "https")} == set(OUR_COOKIES)
