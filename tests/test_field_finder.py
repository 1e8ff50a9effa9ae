"""The two readings of `consent.field_finder` agree, and find fields as HTTP means them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consent.field_finder import PythonFieldFinder, field_finder

NAMES = (b"link", b"nel", b"set-cookie", b"content-type")

FIELDS = st.lists(
    st.tuples(
        st.sampled_from([*NAMES, b"Link", b"NEL", b"ne", b"nell", b"", b"x" * 40, b"set-cookie\x00"]),
        st.binary(max_size=4),
    )
)


def test_the_lines_of_a_field_are_one() -> None:
    """In any case, in their order."""
    headers = [(b"Link", b"a"), (b"NEL", b"1"), (b"host", b"x"), (b"link", b"b"), (b"nel", b"0")]
    assert field_finder(NAMES).find(headers) == {b"link": b"a, b", b"nel": b"1, 0"}


@given(FIELDS)
def test_both_readings_agree(headers: list[tuple[bytes, bytes]]) -> None:
    """Whatever the fields, the compiled reading finds what the Python one finds."""
    assert field_finder(NAMES).find(headers) == PythonFieldFinder(NAMES).find(headers)


@pytest.mark.parametrize("name", [b"", b"NEL", b"x" * 64])
def test_a_name_that_could_never_be_found_is_refused(name: bytes) -> None:
    """What is no name in lower case is a mistake of the caller's."""
    with pytest.raises(ValueError, match="is no name"):
        field_finder([name])


@pytest.mark.parametrize("headers", [None, [1], [()], [(b"nel",)], [(b"nel", 1), (b"nel", 2)]])
def test_what_are_no_fields_raises(headers: object) -> None:
    """Neither reading takes it for a message without fields."""
    with pytest.raises((TypeError, IndexError, ValueError)):
        field_finder(NAMES).find(headers)  # type: ignore[arg-type]


def test_a_field_that_takes_its_message_apart_is_read_to_its_end() -> None:
    """It is some sequence of an app's own; nothing of it is used that is gone."""

    class Field(list[bytes]):
        def __getitem__(self, part: Any) -> Any:
            headers.clear()
            return super().__getitem__(part)

    headers: list[Any] = [Field([b"nel", b"{}"])]
    assert field_finder(NAMES).find(headers) == {b"nel": b"{}"}


def test_the_compiled_reading_can_be_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the C module was not built, the Python reading serves."""
    monkeypatch.setattr("consent.field_finder.compiled", None)
    assert isinstance(field_finder(NAMES), PythonFieldFinder)
