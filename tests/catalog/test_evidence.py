"""The two readings of `consent.catalog.evidence` agree, and find whole words and loaded URLs only."""

from __future__ import annotations

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consent.catalog import load_catalog
from consent.catalog.evidence import Evidence, PythonEvidence, evidence
from consent.catalog.signatures import COMMON_WORDS, compile_signature

HOSTS = ("tracker.example", "a.b.counter.example", "co.uk")
WORDS = {b"fbq": b"(", b"hj": b"", b"_paq": b".[", b"$zopim": b"", b"gtag": b"(\xc3", b"x" * 255: b""}
FAST = evidence(HOSTS, WORDS)
PLAIN = PythonEvidence(tuple(host.encode() for host in HOSTS), tuple(WORDS.items()))
_EXAMPLES = os.environ.get("CONSENT_EXAMPLES", "")
_bounded = settings(max_examples=int(_EXAMPLES or "500"), derandomize=not _EXAMPLES, deadline=None)


@pytest.mark.parametrize("finder", [FAST, PLAIN])
@pytest.mark.parametrize(
    ("text", "found"),
    [
        (b"window.fbq(1);_paq .push", {b"fbq", b"_paq"}),
        (b"fbq", set()),
        (b"fbq (", {b"fbq"}),
        (b"hj", {b"hj"}),
        (b" hj", {b"hj"}),
        (b"xfbq( fbq_( $fbq( fbq1( 1fbq( fbq=1", set()),
        (b"a\xc3\xa9hj\x00$zopim", {b"hj", b"$zopim"}),
        (b"gtag\n\xc3", {b"gtag"}),
        (b"x" * 255, {b"x" * 255}),
        (b"x" * 256, set()),
        (b"", set()),
    ],
)
def test_only_whole_words_with_what_may_follow_are_found(
    text: bytes, found: set[bytes], finder: Evidence
) -> None:
    """A word inside a longer one does not count; punctuation and the ends of the text end a word."""
    assert finder.find(text) == (found, [])


@pytest.mark.parametrize("finder", [FAST, PLAIN])
@pytest.mark.parametrize(
    ("text", "loads"),
    [
        (b's.src = "//tracker.example/t.js"', True),
        (b"s.src='https://t.tracker.example'", True),
        (b"fetch(`wss://a.a.b.Counter.example.`)", True),
        (b'x.setAttribute("src", "http:\\/\\/tracker.example/")', True),
        (b'import"//tracker.example/m.js"', True),
        (b'open("GET" , \\"//tracker.example', True),
        (b'import(/* webpackIgnore: true */ /**/"//tracker.example', True),
        (b"import/*" + b"x" * 200 + b'*/"//tracker.example', True),
        (b"import/*" + b"x" * 201 + b'*/"//tracker.example', False),
        (b'import/*1*//*2*//*3*/"//tracker.example', False),
        (b'import/***/"//tracker.example', False),
        (b'const url = "//tracker.example"; import(url)', True),
        (b'import ( /*x*/ url); const url = /*x*/"//tracker.example"', True),
        (b'const url = "//tracker.example"; import("./own.js")', False),
        (b'const url = "//tracker.example"; important[url]', False),
        (b'const url = "//tracker.example"; s.src = /**/ url', True),
        (b'const url = "//tracker.example"; navigator.sendBeacon (url)', True),
        (b'const url = "//tracker.example"; s.src == url', False),
        (b'const url = "//tracker.example"; s.src = "./own.js"', False),
        (b'load(document, "//tracker.example")', True),
        (b'load(window,"script","//tracker.example")', True),
        (b'load(page, "//tracker.example")', False),
        (b'(function(){} ) ("//tracker.example")', True),
        (b'function(){}("//tracker.example")', True),
        (b'load()("//tracker.example")', False),
        (b'x[1] = "//tracker.example"; import(url)', False),
        (b'{"src":"//tracker.example/"}', False),
        (b's.href = "//tracker.example/"', False),
        (b's.src = "//nottracker.example/"', False),
        (b's.src = "//b.counter.example/"', False),
        (b's.src = "//uk/"', False),
        (b's.src = "ftp://tracker.example/"', False),
        (b"s.src = //tracker.example/", False),
        (b's.src = "//' + b"a" * 253 + b'.tracker.example/"', False),
        (b'"//tracker.example', False),
        (b"//", False),
        (b'src="//', False),
    ],
)
def test_a_known_url_counts_where_scripts_load_it(text: bytes, loads: bool, finder: Evidence) -> None:
    """In data, and in attributes that load nothing, it does not."""
    words, places = finder.find(text)
    assert words == set()
    hosts = (b"tracker.example", b"t.tracker.example", b"a.a.b.Counter.example.")
    assert [text.startswith(hosts, place) for place in places] == [True] * loads


@pytest.mark.parametrize("finder", [FAST, PLAIN])
@pytest.mark.parametrize(
    ("host", "known"),
    [
        (b"tracker.example", True),
        (b"a.tracker.example", True),
        (b".tracker.example", True),
        (b"xtracker.example", False),
        (b"example", False),
        (b"co.uk", True),
        (b"uk", False),
        (b"", False),
        (b".", False),
        (b"a" * 237 + b".tracker.example", True),
        (b"a" * 238 + b".tracker.example", False),
    ],
)
def test_a_host_is_known_with_all_below_it(host: bytes, known: bool, finder: Evidence) -> None:
    """On label boundaries, and within the length a name can have."""
    assert finder.knows(host) is known


_PIECES = [
    *(word.decode("latin-1") for word in WORDS),
    *(
        "tracker.example",
        "a.b.counter.example",
        "co.uk",
        "x",
        "src",
        "script",
        "GET",
        "fetch",
        "import",
        "from",
        "import(",
        "document",
        "window",
        "}",
        ")",
        "/*",
        "*/",
        "/*x*/",
    ),
    *(
        "//",
        "\\/\\/",
        "/",
        "\\",
        '"',
        "'",
        "`",
        "http:",
        "https:",
        "ws:",
        "wss:",
        ":",
        "=",
        "(",
        ",",
        "[",
        ".",
    ),
    *(" ", "\n", "\v", "é", "\x00", "9", "_", "$"),
]


@_bounded
@given(st.lists(st.sampled_from(_PIECES), max_size=30).map("".join))
def test_both_readings_agree(text: str) -> None:
    """Whatever the script, the compiled reading finds what the Python one finds."""
    script = text.encode("latin-1")
    assert FAST.find(script) == PLAIN.find(script)


@_bounded
@given(st.text("ab.cdeklmoprtuxy-\x00é", max_size=40), st.sampled_from(["", *HOSTS]))
def test_both_readings_agree_about_hosts(before: str, host: str) -> None:
    """Whatever stands before a host."""
    assert FAST.knows((before + host).encode()) == PLAIN.knows((before + host).encode())


@pytest.mark.parametrize("word", [b"", b"a", b"a b", b"x" * 256, "éé".encode()])
def test_a_word_that_could_never_be_found_is_refused(word: bytes) -> None:
    """What is no word is a mistake of the caller's."""
    with pytest.raises(ValueError, match="is no word"):
        evidence((), {word: b""})


def test_the_compiled_reading_can_be_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the C module was not built, the Python reading serves."""
    monkeypatch.setattr("consent.catalog.evidence.compiled", None)
    assert isinstance(evidence(HOSTS, WORDS), PythonEvidence)


def test_every_built_in_signature_has_a_word_of_the_vendors_own() -> None:
    """One that had only words of any script would make the rewriter read nearly every script with care."""
    patterns = [inline.pattern for vendor in load_catalog().vendors.values() for inline in vendor.inline]
    assert [pattern for pattern in patterns if compile_signature(pattern).words[0] in COMMON_WORDS] == []
