"""What the browser's own preference fields mean."""

from __future__ import annotations

import pytest

from consent.signals import ChoiceState, Signals, read_dnt, read_gpc

Headers = list[tuple[bytes, bytes]]


def fields(name: bytes, *values: bytes) -> Headers:
    return [(b"host", b"example.com"), *((name, value) for value in values), (b"accept", b"*/*")]


@pytest.mark.parametrize(
    "values", [(b"1",), (b" 1\t",), (b"1", b"1"), (b"0", b"1"), (b"1", b"0"), (b"x", b"1")]
)
def test_gpc_is_on_when_one_line_is_exactly_1(values: tuple[bytes, ...]) -> None:
    assert read_gpc(fields(b"sec-gpc", *values)) is True


@pytest.mark.parametrize(
    "values",
    [
        (),
        (b"",),
        (b"0",),
        (b"2",),
        (b"01",),
        (b"11",),
        (b"1x",),
        (b"1;a",),
        (b"1.0",),
        (b"+1",),
        (b"1, 1",),
        (b"1,",),
        (b'"1"',),
        (b"?1",),
        (b"true",),
        (b"yes",),
        (b"\xc2\xb9",),
        (b"\xef\xbc\x91",),
        (b"1\x00",),
        (b"1\n",),
        (b"\x0b1",),
        (b"0", b"x"),
    ],
)
def test_any_other_gpc_value_is_the_same_as_none(values: tuple[bytes, ...]) -> None:
    assert read_gpc(fields(b"sec-gpc", *values)) is False


def test_gpc_is_not_read_from_fields_with_similar_names() -> None:
    assert read_gpc([(b"sec-gpc2", b"1"), (b"x-sec-gpc", b"1"), (b"gpc", b"1"), (b"sec_gpc", b"1")]) is False


@pytest.mark.parametrize(
    "value", [b"1", b" 1 ", b"1xyz", b"10", b"11", b"1;level=2", b"1!", b"1~", b"1#[]^{}"]
)
def test_dnt_is_on_with_1_and_any_extension_characters(value: bytes) -> None:
    assert read_dnt(fields(b"dnt", value)) is True


@pytest.mark.parametrize("value", [b"0", b"\t0", b"0xyz", b"01", b"00", b"0;a"])
def test_dnt_is_off_with_0_and_any_extension_characters(value: bytes) -> None:
    assert read_dnt(fields(b"dnt", value)) is False


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b" ",
        b"2",
        b"x1",
        b"-1",
        b"true",
        b"null",
        b"unspecified",
        b"1 1",
        b"1,1",
        b"1, 0",
        b'1"',
        b"1\\",
        b'"1"',
        b"1\x00",
        b"1\n",
        b"1\x7f",
        b"1\xe9",
        b"\xef\xbc\x91",
    ],
)
def test_a_malformed_dnt_is_unset(value: bytes) -> None:
    assert read_dnt(fields(b"dnt", value)) is None


@pytest.mark.parametrize(
    "values", [(b"1", b"1"), (b"0", b"1"), (b"1", b"0"), (b"1", b""), (b"x", b"1"), (b"1",) * 3]
)
def test_more_than_one_dnt_field_is_unset(values: tuple[bytes, ...]) -> None:
    assert read_dnt(fields(b"dnt", *values)) is None


def test_dnt_is_unset_and_never_off_where_the_field_is_absent() -> None:
    assert read_dnt([]) is None
    assert read_dnt(fields(b"dnt")) is None
    assert read_dnt([(b"x-dnt", b"1"), (b"dnt2", b"1"), (b"tk", b"1")]) is None


@pytest.mark.parametrize("octet", range(256))
def test_exactly_the_extension_characters_of_the_standard_may_follow_a_dnt_value(octet: int) -> None:
    """TPE section 5.2: visible ASCII but double quote, comma and backslash; blanks around it are trimmed."""
    allowed = 0x21 <= octet <= 0x7E and octet not in b'",\\'
    blank = octet in b" \t"
    assert read_dnt([(b"dnt", b"1" + bytes([octet]))]) is (True if allowed or blank else None)


def test_signals_say_nothing_by_default() -> None:
    assert Signals() == Signals(choice=None, choice_state=ChoiceState.ABSENT, gpc=False, dnt=None)
