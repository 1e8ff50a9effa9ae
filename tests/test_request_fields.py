"""What of a request matters, and what the app sees of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consent import request_fields
from consent.headers import combined
from consent.request_fields import (
    FOR_CODE,
    FOR_WORKER,
    HAS_CHOICE,
    HAS_SIGNAL,
    MAY_NEED_CHANGES,
    PLAIN_CODINGS,
    glance,
    request_headers,
)

PAST = b"Fri, 15 Jan 2027 08:00:00 GMT"


def request(
    *headers: tuple[bytes, bytes], method: str = "GET", page: bool = True
) -> list[tuple[bytes, bytes]]:
    return request_headers(
        list(headers),
        combined(list(headers)),
        method=method,
        variant="c-1",
        may_be_page=page,
        asks_for_page=page,
    )


@pytest.mark.parametrize(
    ("asked", "for_page", "for_other"),
    [
        (b'W/"abc~c-1"', b'"abc", W/"abc"', b'"abc", W/"abc"'),
        (b'"abc~c-1"', b'"abc", W/"abc"', b'"abc", W/"abc"'),
        (b'W/"abc~c-2"', None, None),
        (b'W/"abc~c-1r"', None, None),
        (b'"abc"', None, b'"abc"'),
        (b'W/"a~c-1", "b", W/"c~c-2"', b'"a", W/"a"', b'"a", W/"a", "b"'),
        (b"*", None, b"*"),
        (b'"with ~ tilde"', None, b'"with ~ tilde"'),
        (b"garbage", None, b"garbage"),
        (b'""', None, b'""'),
    ],
)
def test_a_validator_is_asked_for_only_in_this_visitors_variant(
    asked: bytes, for_page: bytes | None, for_other: bytes | None
) -> None:
    """The app is asked in its own terms; tags that no variant names are of what is not rewritten."""
    expected = [] if for_page is None else [(b"if-none-match", for_page)]
    assert request((b"if-none-match", asked)) == expected
    expected = [] if for_other is None else [(b"if-none-match", for_other)]
    assert request((b"if-none-match", asked), page=False) == expected


def test_the_lines_of_a_field_count_together() -> None:
    """Tags may come in several lines."""
    headers = [(b"if-none-match", b'W/"a~c-1"'), (b"x", b"1"), (b"if-none-match", b'W/"b~c-2"')]
    assert request(*headers) == [(b"x", b"1"), (b"if-none-match", b'"a", W/"a"')]
    assert combined([(b"cookie", b"a=1"), (b"cookie", b"b=2"), (b"dnt", b"1")]) == {
        b"cookie": b"a=1; b=2",
        b"dnt": b"1",
    }


def test_conditions_of_other_methods_are_left_alone() -> None:
    """``PUT`` with ``If-None-Match: *`` must not overwrite anything."""
    headers = [(b"if-none-match", b"*"), (b"if-modified-since", PAST), (b"range", b"bytes=0-1")]
    assert request(*headers, method="PUT") == headers


def test_a_page_is_asked_for_whole_and_by_no_date() -> None:
    """A date cannot name a variant, and offsets of the app's bytes would not fit ours."""
    headers = [
        (b"range", b"bytes=0-9"),
        (b"if-range", b'"abc"'),
        (b"if-modified-since", PAST),
        (b"x-other", b"1"),
    ]
    assert request(*headers) == [(b"x-other", b"1")]
    assert request(*headers, page=False) == headers


def test_codings_that_cannot_be_undone_are_not_asked_for() -> None:
    """Of pages; the rest of the site is free to use them."""
    assert request((b"accept-encoding", b"gzip, dcz")) == [(b"accept-encoding", b"gzip")]
    assert request((b"accept-encoding", b"gzip, dcz"), page=False) == [(b"accept-encoding", b"gzip, dcz")]


def test_a_request_that_needs_no_change_is_not_copied() -> None:
    """The list is the server's own."""
    headers = [(b"host", b"www.example.com"), (b"accept-encoding", b"gzip, deflate")]
    kept = request_headers(
        headers, dict(headers), method="GET", variant="c-1", may_be_page=True, asks_for_page=True
    )
    assert kept is headers


@given(
    st.lists(
        st.tuples(
            st.sampled_from(
                b"cookie cooki sec-gpc dnt accept-encoding if-none-match sec-fetch-dest if-range range host".split()
            ),
            st.sampled_from(
                [b"", b"1", b"consent=x", b"a=1; consent=x; b=2", b"consen", b"gzip", b"sharedworker"]
            ),
        )
    )
)
def test_both_ways_to_glance_agree(headers: list[tuple[bytes, bytes]]) -> None:
    """Whatever a request says, the compiled glance sees what the Python one sees."""
    arguments = (headers, b"consent", {b"gzip"})
    assert request_fields._glance(*arguments) == request_fields._python_glance(*arguments)


@pytest.mark.parametrize(
    ("headers", "seen", "line"),
    [
        ([(b"host", b"x"), (b"cookie", b"a=1")], 0, None),
        ([(b"cookie", b"a=1"), (b"cookie", b"consent=x")], HAS_CHOICE, b"consent=x"),
        ([(b"cookie", b"consent=x"), (b"cookie", b"consent=y")], HAS_CHOICE, None),
        ([(b"dnt", b"0")], HAS_SIGNAL, None),
        ([(b"sec-gpc", b"?")], HAS_SIGNAL, None),
        ([(b"range", b"bytes=0-")], MAY_NEED_CHANGES, None),
        ([(b"if-none-match", b"*")], MAY_NEED_CHANGES, None),
        ([(b"accept-encoding", b"sdch")], MAY_NEED_CHANGES, None),
        ([(b"sec-fetch-dest", b"serviceworker")], FOR_WORKER, None),
        ([(b"sec-fetch-dest", b"work")], 0, None),
        ([(b"sec-fetch-dest", b"script")], FOR_CODE, None),
        ([(b"sec-fetch-dest", b"style")], FOR_CODE, None),
        ([(b"sec-fetch-dest", b"styles")], 0, None),
    ],
)
def test_a_glance_tells_what_needs_a_closer_look(
    headers: list[tuple[bytes, bytes]], seen: int, line: bytes | None
) -> None:
    """Signals, the choice if it is in one line, and what may have to change; nothing else does."""
    assert glance(headers, b"consent") == (seen, line)


def test_codings_that_need_no_changes_are_remembered_up_to_a_bound() -> None:
    """What was looked at and left alone is passed at a glance next time; nobody can fill the memory."""
    for number in range(1000):
        value = b"gzip;q=0.%d" % number
        by_name = {b"accept-encoding": value}
        asked = [(b"accept-encoding", value)]
        request_headers(asked, by_name, method="GET", variant="c-1", may_be_page=True, asks_for_page=True)
    assert len(PLAIN_CODINGS) == 256
    known = next(iter(PLAIN_CODINGS))
    assert glance([(b"accept-encoding", known)], b"consent") == (0, None)
