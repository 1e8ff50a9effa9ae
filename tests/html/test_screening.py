"""With the compiled screen and without: the same page comes out, and the account of it is the same."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from typing import TypedDict

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from consent.categories import Category
from consent.choice import Choice
from consent.decision import Decision, decide
from consent.enforcement import Finding, PageEnforcement
from consent.html import Rewriter, Withholding, css
from consent.html.urls import PageURL
from consent.policy import Regime
from consent.signals import ChoiceState, Signals
from consent.speedups import compiled
from tests import exchange
from tests.exchange import REFUSING
from tests.html import soup
from tests.html.reading import pieces

pytestmark = pytest.mark.skipif(
    compiled is None, reason="there is no compiled screen to be held against Python"
)

PAGE = PageURL("https", "www.example.com", "/shop/index.html")
_EXAMPLES = os.environ.get("CONSENT_EXAMPLES", "")
_bounded = settings(
    max_examples=int(_EXAMPLES or "600"),
    derandomize=not _EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
CATALOG = exchange.CATALOG.with_vendors(
    [
        replace(
            exchange.VENDORS[1], id="path", name="Path", hosts=(),
            urls=("split.example/pixel*", "example.com/t", "*/hit?id=*", "/shop/own.js", "/proxy/*"),
            inline=(), cookies=(),
        ),
        replace(exchange.VENDORS[2], id="files", name="Files", urls=("split.example/cdn/*",), hosts=(), cookies=()),
    ]
)  # fmt: skip
_SOME = Choice(
    receipt_id="11111111-1111-4111-8111-111111111111",
    subject="0" * 32,
    made_at=exchange.NOW,
    policy_version=exchange.POLICY.version,
    granted=frozenset({Category.PERFORMANCE}),
    vendors={"path": True, "counter": False},
)
DECISIONS = [
    REFUSING,
    decide(exchange.POLICY, Signals(choice=_SOME, choice_state=ChoiceState.VALID)),
    decide(replace(exchange.POLICY, regime=Regime.NOTICE), Signals()),
]
Outcome = tuple[bytes, list[Finding], bool]


class Way(TypedDict):
    """How a page is read."""

    fragment: bool
    head: bool
    hold: bool
    decision: Decision


def outcome(
    page: bytes,
    *,
    screened: bool,
    sizes: list[int] | None = None,
    head: bool = True,
    fragment: bool = False,
    hold: bool = False,
    decision: Decision = REFUSING,
) -> Outcome:
    """Return what comes out of a page, what was found, and whether the decision mattered."""
    judge = PageEnforcement(CATALOG, decision, PAGE)
    if not screened:
        judge.skip = None
    rewriter = Rewriter(
        judge,
        at_head_start=(lambda: b"<guard>") if head else None,
        before_running=(lambda: b"<guard at once>") if head else None,
        at_body_end=lambda: b"<banner>",
        withholding=Withholding(judge, hold=hold),
        fragment=fragment,
    )
    chunks = [page] if sizes is None else pieces(page, sizes)
    result = b"".join(rewriter.write(chunk) for chunk in chunks) + rewriter.end()
    return result, judge.findings, judge.decided


_HOSTS = [
    "www.example.com", "WWW.example.com.", "static.example.com", "unknown.example", "other.test", "t.tracker.example",
    "TRACKER.example", "counter.example:8080", "cdn.example", "unknown.example\\", "u@t.tracker.example", "",
    "t.tracker&#46;example", "www.w3.org", "unknown.example;.tracker.example", "x&amp;.tracker.example",
    "tracker.example&quot;", "split.example", "split.example", "cdn.example", "counter.example", "\u00e9.example",
]  # fmt: skip
_BEFORE_HOSTS = [
    "//",
    "https://",
    "http://",
    "HTTPS://",
    "https:",
    "/",
    "\\\\",
    " //",
    "/\t/",
    "ht\ttps://",
    "x:",
]
_PATHS = [
    "",
    "/",
    "/a b.js",
    "?x=1&amp;y=2",
    "#f",
    "/a,b",
    ":80/x",
    ":80@x/",
    "/../t",
    "/cdn/x",
    "/pixel.gif",
    "/t",
    "/x/hit?id=1",
    "/h%69t?a&amp;id=",
    "/proxy/x",
    "/hit ",
]
_OTHER_URLS = [
    "", "a.png", "/own.js", "?a", "#a", "a:b", "a/b:c", "data:image/gif;base64,R0", "about:blank", "x//y", "&#47;/t",
    "own.js", "./own.js", "hit?id=1", "hit?x", "/hit&quest;id=1", "/a/../proxy/x", "/%70roxy/x", "../proxy/x",
    "\\hit?id=1",
    "/hi\tt?id=1", "?id=1", "/a%20b/hit?id=1", "/hit?id=1#x", "hit?id=1 ", "a.png?hit",
]  # fmt: skip
_EVERY_URL = [
    *(before + host + path for before in _BEFORE_HOSTS for host in _HOSTS for path in _PATHS), *_OTHER_URLS
]  # fmt: skip
_url = st.builds(
    lambda before, host, after: before + host + after,
    st.sampled_from(_BEFORE_HOSTS), st.sampled_from(_HOSTS), st.sampled_from(_PATHS),
) | st.sampled_from(_OTHER_URLS)  # fmt: skip
_css = st.lists(
    st.one_of(
        st.builds(
            lambda form, url: form.replace("URL", url),
            st.sampled_from(
                [
                    "a{b:url(URL)}", "a{b:url('URL')}", 'a{b:url( "URL" )}', '@import "URL";', "@import url(URL);",
                    '@import /*x*/ "URL";', '@import x "URL";', '@namespace "URL";', "/*URL*/", "/* url(URL) */",
                    'a{content:"URL"}', 'a{b:image-set("URL" 1x, url(URL) 2x)}', 'a{b:-webkit-image-set(url(URL))}',
                    'a{b:xurl("URL")}', "a{b:ur\\6c (URL)}", 'a{b:calc(1px);c:src("URL")}', "url(&quot;URL&quot;)",
                    'x(url(URL) "URL")', 'image(foo("URL"), "URL")', "\\url(URL)", "\\[url(URL)", "u\\rl(URL)",
                    '--x:"URL";', "{--x :a 'URL'}", '--f("URL")', 'initial-value:"URL"', "result: 'URL';", '[a="URL"]',
                    'src(x[) "URL"', '--x:if(a:b;"URL")', '@namespace x "URL";', "@namespace url(URL);", "@namespace{}",
                    '/*;*/--x:"URL"',
                ]
            ),
            _url,
        ),
        st.sampled_from(
            [
                "--", "--x:", ":", "[", "]", "=", "x(", "{--a:b;", "image-set(", " ", "\\f101 ",
                ".w-1\\/2{a:b}", '.a\\:b{content:"\\f101"}', "a{w:1px\\9;}", '"', "'", "/*", "*/", "}", "{", ")", "(",
                "\\", "\n", ";", ".\\31 a{}", "url(", "@", "@im\\70ort ", "<!--", "\\\n", '"a\\\nb"', "&lt;", "&#40;",
                "\udc81\\", "\udc81\\\"", "\x1a", "/* é\\ */",
            ]
        ),
    ),
    max_size=6,
).map("".join)  # fmt: skip
_code = st.lists(
    st.one_of(
        st.builds(
            lambda form, url: form.replace("URL", url),
            st.sampled_from(
                ['s.src="URL";', "fetch('URL')", '{"a":"URL"}', "// URL", "import 'URL'",
                 "const u = 'URL'; import(u)", "import(/* x */ 'URL')", "x='src=\"URL\"'"]
            ),
            _url,
        ),
        st.sampled_from(
            ["trackMe(1);", "trackMe", "xtrackMe(1)", "'trackMe(1)'", "a<b;", "<!--", "-->", "<script>", "'",
             '"\udc81\\"', "\udc81\\",
             "/*", "\n"]
        ),
    ),
    max_size=5,
).map("".join)  # fmt: skip


def _attribute(value: st.SearchStrategy[str], *names: str) -> st.SearchStrategy[str]:
    return st.builds(
        lambda name, quote, text: (
            f" {name}={quote}{text.replace(quote, '') if quote else text.split(' ')[0]}{quote}"
        ),
        st.sampled_from(names),
        st.sampled_from(['"', '"', "'", ""]),
        value,
    )


_srcset = st.lists(
    st.builds("{}{}".format, _url, st.sampled_from([" 1x, ", " 1x,", ", ", " 2x (a,b),", " (", ",", ""])),
    max_size=3,
)
_attributes = st.lists(
    st.one_of(
        _attribute(_url, "src", "href", "data", "poster", "background", "xlink:href", "SRC", "ping"),
        _attribute(_srcset.map("".join), "srcset", "imagesrcset"),
        _attribute(_css, "style", "fill", "clip-path"),
        _attribute(_code, "onclick", "onload", "ON"),
        st.sampled_from(
            [
                " rel=stylesheet", ' rel="canonical x"', " rel=&#105;con", " type=image", ' type="application/json"',
                " type=importmap", " type=module", " type=' text/javascript '", " http-equiv=refresh",
                ' content="0;url=//t.tracker.example/"', " name=movie", " value=//t.tracker.example", " /", " a", " =b",
                " srcdoc='&lt;img src=//t.tracker.example>'", " language=x", " rel", " src=''",
                " src=//split.example/pixel", " data-consent=targeting/tracker",
            ]
        ),
    ),
    max_size=3,
).map("".join)  # fmt: skip
_void = st.builds(
    "<{}{}{}".format,
    st.sampled_from(
        ["img", "link", "meta", "input", "source", "track", "embed", "frame", "base", "param", "use", "image",
         "div", "p", "a", "br", "svg"]
    ),
    _attributes,
    st.sampled_from([">", ">", "/>", ""]),
)  # fmt: skip


def _element(names: str, content: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.builds(
        lambda name, attributes, inside, end: f"<{name}{attributes}>{inside}{end.format(name)}",
        st.sampled_from(names.split()),
        _attributes,
        content,
        st.sampled_from(["</{}>", "</{}>", "</{}>", "</{} x='>'>", "</{}", ""]),
    )


_drawing = st.lists(
    st.one_of(
        st.builds(
            "<{}{}{}".format,
            st.sampled_from(["path", "g", "use", "linearGradient", "image", "style", "a", "title", "svg", "rect"]),
            _attributes,
            st.sampled_from(["/>", "/>", ">"]),
        ),
        st.sampled_from(["</g>", "</path>", "<title>x</title>", "<title><b></title>", "text", "<!-- c -->", "</svg>"]),
    ),
    max_size=5,
).map("".join)  # fmt: skip
_plain = st.one_of(
    _void,
    _element("style", _css),
    _element("script", _code),
    _element("title textarea iframe noembed xmp", st.sampled_from(["", "x", "<img src=//t.tracker.example>", "<!--"])),
    _element("svg", _drawing),
    st.sampled_from(
        ["text", "<", "</", "</>", "<?x>", "<!doctype html>", "<!-- c -->", "<!-->", "<!--->", "<!--x--!>", "<!--",
         "<!x>"]
    ),
)  # fmt: skip
_page = st.lists(
    st.one_of(
        _plain,
        _plain,
        _element("noscript template select head body html", st.lists(_plain, max_size=3).map("".join)),
    ),
    max_size=7,
).map(lambda parts: "".join(parts).encode("utf-8", "surrogateescape"))


_LOADING = [
    '<img src="URL">', "<img src='URL' alt>", '<script src="URL"></script>', '<iframe src="URL"></iframe>',
    '<link rel=stylesheet href="URL">', '<video poster="URL"></video>', '<p background="URL">',
    '<input type=image src="URL">', '<embed src="URL">', '<svg><use href="URL"/></svg>', "<img srcset='URL 1x'>",
    '<img srcset="/a 1x,URL 2x">', '<img srcset="URL,URL 2x">', '<source srcset="/a (b,URL),URL">',
    '<link rel=preload imagesrcset="/a ,URL">', '<p style="background:url(URL)">', "<p style='a:url(\"URL\")'>",
    "<p style='--x:\"URL\"'>",
    '<p style="a:url(&quot;URL&quot;)">', "<style>@import 'URL';</style>", "<style>/*x*/a{b:url( URL )}</style>",
    '<style>a{b:image-set("URL" 1x)}</style>', '<style>a{b:image-set(var(--x, "URL") 1x)}</style>',
    "<style>a{--x:'URL'}</style>", '<style>a{b:--f("URL")}</style>', '<svg><g fill="url(URL)"></g></svg>',
    '<noscript><img src="URL"></noscript>',
    "<script>s.src='URL'</script>", "<script>fetch( \"URL\")</script>", "<script>import 'URL'</script>",
    "<script>s.setAttribute('src' , 'URL')</script>", '<p onclick="s.src=\'URL\'">', "<script>{'a': 'URL'}</script>",
]  # fmt: skip


@pytest.mark.parametrize("decision", DECISIONS)
@pytest.mark.parametrize("form", _LOADING)
def test_no_url_is_passed_that_would_be_refused(form: str, decision: Decision) -> None:
    """Every form of a URL, in all places that load one: whether it is taken out, and what is found."""
    elements = [form.replace("URL", url).encode() for url in _EVERY_URL]
    head = b"<html><head></head>"
    page = head + b"<p>".join(elements)
    assert outcome(page, screened=True, decision=decision) == outcome(page, screened=False, decision=decision)


@_bounded
@given(
    page=_page,
    sizes=soup.sizes,
    fragment=st.booleans(),
    head=st.booleans(),
    hold=st.booleans(),
    decision=st.sampled_from(DECISIONS),
)
def test_what_is_screened_comes_out_as_what_is_not(
    page: bytes, sizes: list[int], fragment: bool, head: bool, hold: bool, decision: Decision
) -> None:
    """Whole and in pieces: no byte, no finding and no consequence of the decision is different."""
    way: Way = {"fragment": fragment, "head": head, "hold": hold, "decision": decision}
    expected = outcome(page, screened=False, **way)
    assert outcome(page, screened=True, **way) == expected
    assert outcome(page, screened=True, sizes=sizes, **way) == expected


@_bounded
@given(sheet=_css)
def test_the_urls_of_a_style_sheet_are_found_alike(sheet: str) -> None:
    """Where the compiled reading is sure of itself, it finds what the Python one finds."""
    raw = sheet.encode("utf-8", "surrogateescape")
    found: list[tuple[int, int]] = []
    css._read(raw, lambda start, end: found.append((start, end)))
    assert compiled.style_urls(raw) in (None, found)


@_bounded
@given(page=soup.page)
def test_soup_comes_out_the_same(page: bytes) -> None:
    """Malformed markup, too."""
    assert outcome(page, screened=True) == outcome(page, screened=False)


_RUNS = [
    b"<", b'"', b"'", b"src=", b"/*", b"url(", b"</", b"<!--", b"<svg>", b"<svg><path>", b"<svg><path/>", b"<noscript>",
    b"<noscript><svg>", b"<script>", b"<script>a</script>", b"<style>", b"<title>", b"<img src=//a.test/>", b"&", b"//",
    b'="//', b"<a =", b"<p style=url(", b"<img srcset=", b"fbq ", b"trackMe ", b"<svg></svg>", b"\\", b"@import ", b"a",
    b"<noscript></noscript>", b"<script src=//a.test>", b"<iframe>", b"<a style='", b"<a onclick='", b", ", b"(", b"-",
]  # fmt: skip
_LONGEST = [b"<", b'"', b"src=", b"/*", b"url("]
_BEFORE = [
    b"",
    b"<script>",
    b"<style>",
    b'<p style="',
    b'<img srcset="',
    b'<p onclick="',
    b"<svg>",
    b"<noscript>",
]


@pytest.mark.parametrize("before", _BEFORE)
def test_hostile_pages_take_no_more_than_linear_time(before: bytes) -> None:
    """Anything quadratic would take minutes."""
    for run in _RUNS:
        closing = b"</script>" if before == b"<script>" else b"</style>" if before == b"<style>" else b"\">'>"
        # In a drawing that is not plain, Python reads on: as linear, and slower.
        size = 2_000_000 if run in _LONGEST and before != b"<svg>" else 100_000
        page = b"<html><head></head>" + before + run * (size // len(run)) + closing
        started = time.process_time()
        outcome(page, screened=True)
        assert time.process_time() - started < 3, (before, run)
