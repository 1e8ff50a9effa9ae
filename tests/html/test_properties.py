"""What holds for every page, however broken or hostile it is."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any

import html5lib
import pytest
from hypothesis import HealthCheck, given, settings

from consent.banner import Banner
from consent.catalog import Catalog, Vendor
from consent.categories import Category
from consent.decision import decide
from consent.html import RewriterLimitExceeded
from consent.html.elements import REFERENCING_STYLES
from consent.html.tokenizer import LOADING, STRUCTURAL, Tag
from consent.html.urls import PageURL, resolve
from consent.placeholder import Placeholders
from consent.policy import Policy
from consent.signals import Signals
from tests.html import soup
from tests.html.reading import SPEC, TRACKER, Judging, RecordingRewriter, Token, reading_of, rewritten

# As many pages each, the same ones every time: whether a change lands is no lottery. `make fuzz` draws new ones.
_EXAMPLES = os.environ.get("CONSENT_EXAMPLES", "")
_bounded = settings(
    max_examples=int(_EXAMPLES or "300"),
    derandomize=not _EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@_bounded
@given(page=soup.page, sizes=soup.sizes)
def test_the_output_does_not_depend_on_the_chunks(page: bytes, sizes: list[int]) -> None:
    """Whole, in pieces, and byte by byte: the same bytes come out, and the judge is asked the same."""
    whole, cut, single = Judging(), Judging(), Judging()
    expected = rewritten(page, whole, insertion=b"<aside>")
    assert rewritten(page, cut, sizes=sizes, insertion=b"<aside>") == expected
    assert rewritten(page, single, sizes=[1], insertion=b"<aside>") == expected
    assert cut.urls == whole.urls == single.urls
    assert cut.scripts == whole.scripts == single.scripts


@_bounded
@given(page=soup.page, sizes=soup.sizes)
def test_where_nothing_is_refused_nothing_changes(page: bytes, sizes: list[int]) -> None:
    """Identity, but for what cannot be read to its end or in one way only."""
    judge = Judging()
    result = rewritten(page, judge, sizes=sizes)
    if not judge.refused and not judge.undecided:
        # Text in a doubtful place may be escaped, which nobody sees.
        assert result.replace(b"&lt;", b"<") == page.replace(b"&lt;", b"<")
        assert result == page or any(name in page.lower() for name in (b"<title", b"<textarea"))


@_bounded
@given(page=soup.page)
def test_rewriting_twice_changes_nothing_more(page: bytes) -> None:
    """Idempotence: nothing refused is left, and nothing refused came to be."""
    once = rewritten(page)
    again = Judging()
    assert rewritten(once, again) == once
    assert again.refused == 0


@_bounded
@given(page=soup.page)
def test_the_fast_reading_agrees_with_the_careful_one(page: bytes) -> None:
    """What is skipped is nothing that would have been watched, and the places found are the same."""
    careful = reading_of(page)

    recorder = RecordingRewriter()
    recorder.write(page)
    recorder.end()
    rest = iter(careful)
    for token in recorder.tokens:
        for candidate in rest:
            if candidate == token:
                break
            assert _may_be_skipped(candidate), candidate
        else:
            pytest.fail(f"{token} is not in the careful reading {careful}")
    for candidate in rest:
        assert _may_be_skipped(candidate), candidate


def _may_be_skipped(token: Token) -> bool:
    if token.kind == "end":
        return token.name not in ("body", "select", "template")
    values = token.attributes
    runs = any(
        name.startswith("on")
        or name in ("ping", "background", "attributionsrc")
        or (name == "style" and ("(" in value or "--" in value))
        for name, value in values.items()
    )
    watched = f"{STRUCTURAL} {LOADING}".split()
    return token.kind == "start" and token.name not in watched and not runs


@_bounded
@given(page=soup.page)
def test_removing_creates_nothing_in_our_own_reading(page: bytes) -> None:
    """Every tag of the output is one of the input, with no attribute that was not there."""
    _assert_from(_elements(reading_of(page)), _elements(reading_of(rewritten(page))))


def _elements(tokens: list[Token]) -> list[tuple[str, dict[str, str]]]:
    return [(token.name, token.attributes) for token in tokens if token.kind == "start"]


_EDITED = {"style", "srcdoc", *(name.decode() for name in REFERENCING_STYLES)}


def _assert_from(before: list[tuple[str, dict[str, str]]], after: list[tuple[str, dict[str, str]]]) -> None:
    for name, attributes in after:
        assert any(
            name == old
            and all(key in had and (value == had[key] or key in _EDITED) for key, value in attributes.items())
            for old, had in before
        ), f"{name} {attributes} is new"


def _parsed(page: bytes, *, scripting: bool) -> Any:
    parser = html5lib.HTMLParser(html5lib.treebuilders.getTreeBuilder("etree"))
    return parser.parse(page, transport_encoding="utf-8", scripting=scripting)


def _tree(page: bytes, *, scripting: bool) -> list[tuple[str, dict[str, str]]]:
    root = _parsed(page, scripting=scripting)
    return [_described(element) for element in root.iter() if isinstance(element.tag, str)]


def _described(element: Any) -> tuple[str, dict[str, str]]:
    return str(element.tag), {str(key): str(value) for key, value in element.attrib.items()}


@_bounded
@given(page=soup.page)
@pytest.mark.parametrize("scripting", [True, False])
def test_removing_creates_nothing_in_the_tree_of_another_parser(scripting: bool, page: bytes) -> None:
    """html5lib, with scripting on and off, finds no element or attribute that the input did not have.

    But for frame sets: one is ignored behind an image, and counts when the image is gone. Its frames have
    been judged like all else.
    """
    if b"<frameset" in page.lower():
        return
    judge = Judging()
    result = rewritten(page, judge)
    if judge.undecided:
        return  # what hid the rest of the page from one reader is gone
    try:
        before, after = _tree(page, scripting=scripting), _tree(result, scripting=scripting)
    except (AssertionError, AttributeError, KeyError, IndexError, ValueError):
        return  # html5lib has faults of its own on such pages
    _assert_from([*before, *_IMPLIED], [(name, {} if name in _SHARED else had) for name, had in after])


# A second <html> or <body> gives its attributes to the first, and a <head> behind an image is ignored until
# the image is gone: our own reading has compared those.
_SHARED = [f"{{http://www.w3.org/1999/xhtml}}{name}" for name in ("html", "head", "body")]


_TRACKER = Vendor(
    id="tracker",
    name="Tracker <é>",
    company="Tracker & Co",
    country="IE",
    privacy_url="https://tracker.example/privacy",
    category=Category.FUNCTIONAL,
    about="An example.",
)
_PLACEHOLDERS = Placeholders(Catalog([_TRACKER]), Banner(Policy()), once=True)
_REFUSING = decide(Policy(), Signals())


def _placeholder(tag: Tag, element: bytes, refused_by: str) -> bytes:
    return _PLACEHOLDERS.markup(_REFUSING, tag, element, refused_by.partition("/")[2], "en")


@_bounded
@given(page=soup.page, sizes=soup.sizes)
def test_holding_depends_on_no_chunks_and_is_done_once(page: bytes, sizes: list[int]) -> None:
    """The same bytes come out however the page arrives, and through another rewriter they go as they are."""
    for placeholder in (None, _placeholder):
        whole, cut = Judging(), Judging()
        expected = rewritten(page, whole, hold=True, placeholder=placeholder)
        assert rewritten(page, cut, sizes=sizes, hold=True, placeholder=placeholder) == expected
        assert (cut.urls, cut.scripts, cut.instead) == (whole.urls, whole.scripts, whole.instead)
        assert rewritten(expected, hold=True, placeholder=placeholder) == expected
        assert rewritten(expected) == expected


@_bounded
@given(page=soup.page)
@pytest.mark.parametrize("scripting", [True, False])
def test_what_is_held_is_in_a_template_to_another_parser_too(scripting: bool, page: bytes) -> None:
    """To html5lib, nothing outside of our templates and placeholders is new, and nothing loads what is refused.

    Frame sets, and pages whose rest is hidden from one reader, are excepted as above.
    """
    judge = Judging()
    result = rewritten(page, judge, hold=True, placeholder=_placeholder)
    if b"<frameset" in page.lower() or judge.undecided:
        return
    try:
        before, root = _tree(page, scripting=scripting), _parsed(result, scripting=scripting)
    except (AssertionError, AttributeError, KeyError, IndexError, ValueError):
        return  # html5lib has faults of its own on such pages
    # A page's link or button around an embed ends where the placeholder's own begins, which then is outside of it.
    outside = [(name, had) for name, had in _outside_of(root, "consent-embed") if not _is_ours(had)]
    _assert_from([*before, *_IMPLIED], [(name, {} if name in _SHARED else had) for name, had in outside])
    for name, attributes in _outside_of(root, None):
        if name.removeprefix(_HTML) in ("script", "img", "iframe", "embed", "source"):
            target = resolve(attributes.get("src", ""), _PAGE)
            refused = target is not None and TRACKER in target.host
            assert not refused or _is_data(name, attributes), (name, attributes)


def _is_data(name: str, attributes: dict[str, str]) -> bool:
    """Tell whether an element is a script of a type that is no script's: it loads nothing (HTML, 4.12.1.1)."""
    kind = attributes.get("type", "").lower()
    return name == f"{_HTML}script" and bool(kind) and "script" not in kind and "module" not in kind


_HTML = "{http://www.w3.org/1999/xhtml}"
_PAGE = PageURL("https", "own.example", "/")


def _is_ours(attributes: dict[str, str]) -> bool:
    link = attributes.get("rel") == "noopener noreferrer nofollow"
    return link or attributes.get("class", "").startswith("consent-")


def _outside_of(element: Any, placeholder: str | None) -> Iterator[tuple[str, dict[str, str]]]:
    """Describe what is in no template of ours, nor in a placeholder, if those have this class."""
    if isinstance(element.tag, str):
        ours = element.get("data-consent") == SPEC
        if ours and (element.tag.endswith("}template") or placeholder in element.get("class", "").split()):
            return
        yield _described(element)
    for child in element:
        yield from _outside_of(child, placeholder)


_IMPLIED: list[tuple[str, dict[str, str]]] = [
    (f"{{http://www.w3.org/1999/xhtml}}{name}", {})
    for name in ("html", "head", "body", "tbody", "tr", "p", "colgroup", "br")
]


_LONG_RUNS = [
    b"<",
    b"<a ",
    b'="',
    b"<!--",
    b"</",
    b"<img a='",
    b'<img src="&',
    b"<svg>",
    b"<svg><title>",
    b"<svg><path d='",
    b"<svg></i><![CDATA[",
    b"<svg></i><![CDATA[>]]>",
    b"<svg></i><script>a<b</script>",
    b"<noscript>",
    b"<script>",
    b"<noscript></noscript>",
    b"<noscript><a",
    b"<script><!--",
    b"<!--<script>",
    b"</script",
    b"<style>",
    b"<iframe>",
    b"<select><style>",
    b"<select><xmp>",
    b"<template>",
    b"<svg><script><![CDATA[",
    b"<math><mi>",
    b"\0",
    b"\r",
    b'"',
]
_LONG_VALUES = [
    (b'<img srcset="', [b"(", b"( ", b", ", b",", b"a, ", b" "]),
    (
        b'<p style="',
        [
            b"url(",
            b"(",
            b"\\",
            b"'",
            b"url('",
            b"/*",
            b"image-set(",
            b"a-",
            b"\\75",
            b"url( ",
            b"&#117;",
            b"--",
            b"--a('",
        ],
    ),
    (
        b"<style>",
        [
            b"url(",
            b"\\",
            b'"',
            b"/*",
            b"@import ",
            b"src(",
            b"@namespace ",
            b"--a:",
            b"--a:'",
            b"--a:x(",
            b"--a:b/**/",
        ],
    ),
    (b"<style>--", [b"a", b"'' ", b"/**/", b"\\f101 "]),
    (
        b'<img src="',
        [b"&amp", b"&#1", b"&a", b"%41", b"/.", b"/..", b"\\", b"\t", b"@", "//\u00e9.".encode()],
    ),
    (b'<meta http-equiv=refresh content="', [b";", b" ", b"0", b"url="]),
    (b"<script type=importmap>", [b'"', b'"\\', b'["/', b'"/"']),
    (b'<iframe srcdoc="', [b"&lt;iframe srcdoc=", b"&amp;", b"&lt;svg&gt;"]),
    (b'<iframe src="data:text/html,', [b"%3Cimg%20src=", b"%"]),
    (b"<img ", [b"a ", b"src ", b"a=b ", b"' ", b"= ", b"=a ", b"src=x "]),
]
_HOSTILE = [(b"", run) for run in _LONG_RUNS] + [
    (before, run) for before, runs in _LONG_VALUES for run in runs
]
_HOSTILE_BYTES = 100_000


@pytest.mark.parametrize("chunk", [1 << 20, 1000])
def test_hostile_pages_take_no_more_than_linear_time_and_raise_nothing(chunk: int) -> None:
    """Anything quadratic would take a hundred times what is allowed here."""
    for before, run in _HOSTILE:
        closing = {b"<style>": b"</style>", b"<script type=importmap>": b"</script>"}.get(before, b'">')
        page = before + run * (_HOSTILE_BYTES // len(run)) + closing
        started = time.process_time()
        try:
            rewritten(page, sizes=[chunk], max_buffer_bytes=_HOSTILE_BYTES * 2)
        except RewriterLimitExceeded:
            pytest.fail(f"{page[:60]!r} is within the limit")
        assert time.process_time() - started < 3, page[:60]
