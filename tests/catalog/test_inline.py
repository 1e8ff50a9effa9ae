"""Recognising snippets: where in a script a match counts, what loads a URL, and that it stays linear."""

from __future__ import annotations

import time

import pytest

from consent.catalog import Catalog, InlineSignature, Vendor, load_catalog
from consent.catalog.signatures import PatternError, compile_signature
from consent.categories import Category
from consent.errors import ConfigurationError


def vendor(vendor_id: str, *patterns: str, hosts: tuple[str, ...] = ()) -> Vendor:
    return Vendor(
        id=vendor_id,
        name=vendor_id.title(),
        company="Example Ltd",
        country="DE",
        privacy_url="https://example.com/privacy",
        category=Category.TARGETING,
        about="Exists for a test.",
        hosts=hosts,
        inline=tuple(InlineSignature(pattern=pattern, example="", benign=()) for pattern in patterns),
    )


CALL = r"""fbq\s*+\(\s*+["']init["']"""
CATALOG = Catalog(
    [
        vendor("second-by-name", r"_zz_id\s*+=", hosts=("zz.example",)),
        vendor("call", CALL, hosts=("tracker.example",)),
        vendor("subscript", r"""window\s*+\[\s*+["']_fs_org["']\s*+\]\s*+="""),
        vendor("dollar", r"\$zopim\s*+\("),
    ]
)


def found(code: str) -> list[str]:
    return [match.vendor.id for match in CATALOG.match_inline(code)]


@pytest.mark.parametrize(
    "code",
    [
        "fbq('init', '1')",
        'fbq ( "init" )',
        "fbq(\n\t'init', 1)",
        "!function(){}();fbq('init',1);",
        "window.fbq('init', 1)",
        "var a = 'x'; /* y */ fbq('init')",
        "var a = `x ${fbq('init')} y`;",
        "var a = `x ${ {b: `${fbq('init')}`} } y`;",
        "a = b / c; fbq('init'); d = e / f;",
        "a = /['\"]/.test(b); fbq('init');",
        "if (x) return /[/'\"]/g; fbq('init')",
        "<!-- hide\nfbq('init');\n//-->",
        "// note\r\nfbq('init')",
        "x = 'it\\'s'; fbq('init')",
        "x = 'two\\\nlines'; fbq('init')",
        "myfbq('init'); fbq('init')",
        "'fbq(\"init\")'; fbq('init')",
    ],
)
def test_a_call_in_code_is_found(code: str) -> None:
    """However it is spaced, and whatever strings, comments and regular expressions stand before it."""
    assert found(code) == ["call"]


@pytest.mark.parametrize(
    "code",
    [
        "",
        "fbq",
        "fbq('track')",
        "myfbq('init')",
        "$fbq('init')",
        "fbqinit('init')",
        "fbq(init)",
        "var a = \"fbq('init')\";",
        "var a = 'x \\' fbq(\"init\")';",
        "var a = `fbq('init')`;",
        "var a = `${b} fbq('init')`;",
        "// fbq('init')",
        "a(); // fbq('init')\nb();",
        "/* fbq('init') */",
        "/* a\n * fbq('init')\n */",
        "<!-- fbq('init')",
        "a = /fbq('init')/;",
        '{"snippet": "fbq(\'init\')"}',
        '"\\"fbq(\'init\')"',
    ],
)
def test_a_call_in_a_string_or_comment_is_not(code: str) -> None:
    """Text about a snippet, a snippet switched off, and other people's names do not count."""
    assert found(code) == []


@pytest.mark.parametrize(
    "code",
    [
        "fbq('init'); var a = 'never closed",
        "don't\nfbq('init')",
        "/* open fbq('init')",
        "`open fbq('init')",
        "`${ fbq('init')",
        '"a\nb" + \'fbq("init")\'',
    ],
)
def test_what_cannot_be_read_as_a_script_counts_as_code(code: str) -> None:
    """A stray quote or an open comment hides no tracker."""
    assert found(code) == ["call"]


def test_other_kinds_of_identifier_are_found() -> None:
    """Assignments, subscripts and names with a dollar sign: each vendor once, in catalog order."""
    code = "window['_fs_org'] = 1; $zopim(1); $zopim(2); _zz_id = 3;"
    assert found(code) == ["second-by-name", "subscript", "dollar"]
    assert [match.rule for match in CATALOG.match_inline("_zz_id=1")] == [r"_zz_id\s*+="]


@pytest.mark.parametrize("code", ["_zz_id == 1", "_zz_id===1", "if (_zz_id != 1) go()", "_zz_id => go()"])
def test_a_comparison_is_no_assignment(code: str) -> None:
    """A signature that ends with ``=`` is about who sets a name, not about who asks for it."""
    assert found(code) == []
    assert found("_zz_id =1") == ["second-by-name"]


@pytest.mark.parametrize(
    "code",
    [
        "s.src = 'https://tracker.example/a.js'",
        's.src="//cdn.tracker.example/a.js?x=1"',
        "s.src = `https://tracker.example/${id}.js`",
        "s.src='https://Tracker.Example:443/a.js'",
        r's.src = "https:\/\/tracker.example\/a.js"',
        "s.setAttribute('src', 'https://tracker.example/a.js')",
        "new Image().src = 'https://tracker.example/pixel.gif?' + Math.random()",
        "fetch('https://tracker.example/collect', {method: 'POST'})",
        "navigator.sendBeacon('https://tracker.example/collect')",
        "import('https://tracker.example/a.js')",
        "import(/* webpackIgnore: true */ 'https://tracker.example/a.js')",
        "const url = 'https://tracker.example/a.js'; import(url)",
        "const url = 'https://tracker.example/a.js'; import(/* @vite-ignore */ url).then(m => m.go(url))",
        "var a=1,b=`https://tracker.example/${id}`;import( b ,{with:{}})",
        "addEventListener('load', () => import(url)); let url = '//tracker.example/a.js'",
        "importScripts('https://tracker.example/a.js')",
        "import 'https://tracker.example/a.js'",
        "import 'https:tracker.example/a.js'",
        r"import(`https:\x2f\x2ftracker.example/a.js`)",
        "import 'data:text/javascript,import%20%22https://tracker.example/a.js%22'",
        "import('data:text/javascript;base64,aW1wb3J0ICIvL3RyYWNrZXIuZXhhbXBsZS9hIg==')",
        'import a, {b} from "https://tracker.example/a.js"',
        "new EventSource('//tracker.example/a')",
        "new WebSocket('wss://tracker.example/a')",
        "$.getScript('https://tracker.example/a.js')",
        "xhr.open('GET', 'https://tracker.example/a')",
        "(function(w,d,s,u){})(window, document, 'script', 'https://tracker.example/a.js')",
        "document.write('<script src=\"https://tracker.example/a.js\"></' + 'script>')",
        "document.writeln(\"<img width=1 src='//tracker.example/p.gif'>\")",
        "s.src = 'https://tracker.example'",
    ],
)
def test_code_that_loads_a_known_url_is_found_by_the_host(code: str) -> None:
    """No signature is needed where the script itself loads what the catalog knows."""
    matches = CATALOG.match_inline(code)
    assert [(match.vendor.id, match.rule) for match in matches] == [("call", "tracker.example")]


@pytest.mark.parametrize(
    "code",
    [
        "var u = 'https://tracker.example/a.js';",
        "a.href = 'https://tracker.example/a.js'",
        "location = 'https://tracker.example/'",
        "// s.src = 'https://tracker.example/a.js'",
        "see('data:text/javascript,import%20%22https://tracker.example/a.js%22')",
        "var t = \"s.src = 'https://tracker.example/a.js'\"",
        "s.src = '/a.js?from=https://tracker.example/'",
        "s.src = 'https://other.example/?u=//tracker.example/'",
        "s.src = 'https://nottracker.example/a.js'",
        "s.src = 'https://tracker.example.evil.example/a.js'",
        "s.mysrc = 'https://tracker.example/a.js'",
        "prefetch('https://tracker.example/a.js')",
        '{"src": "https://tracker.example/a.js"}',
        "const url = 'https://tracker.example/a.js'; import('./own.js')",
        "const url = 'https://tracker.example/a.js'; import(other)",
        "const url = 'https://tracker.example/a.js'; x.import(url)",
        "const url = 'https://tracker.example/a.js'; // import(url)",
        "const t = \"const url = 'https://tracker.example/a.js'\", url = './own.js'; import(url)",
        "let url = 'https://tracker.example/a.js'; url = './own.js'; import(url)",
        "const e = 'https://tracker.example/a.js'; const load = e => import(e)",
        "const e = 'https://tracker.example/a.js'; function load(e, f) { return import(e) }",
        "const page = {url: 'https://tracker.example/a.js'}; import(page.url)",
        "const url = base + 'https://tracker.example/a.js'; import(url)",
        "o.url = 'https://tracker.example/a.js'; import(url)",
    ],
)
def test_naming_a_known_url_is_not_loading_it(code: str) -> None:
    """Links, data, comments and other hosts are left alone."""
    assert found(code) == []


@pytest.mark.parametrize(
    ("pattern", "complaint"),
    [
        ("", "must begin with a whole identifier"),
        ("x=", "must begin with a whole identifier"),
        (r"\s*+fbq", "must begin with a whole identifier"),
        (r"fbq\s*\(", "can be slow"),
        (r"fbq.*init", "can be slow"),
        (r"fbq\(.++init", "without an upper bound"),
        (r"fbq\(.{2,}init", "which signatures must not use"),
        (r"fbq(init)", "capturing group"),
        (r"fbq\((?:a|b){1,3}\)", "repeats a group"),
        (r"fbq\(|ga\(", "alternatives outside of a group"),
        (r"fbq\(.{1,100}a.{1,100}b", "more than 4096 ways"),
        (r"fbq(?<=x)", "capturing group"),
        (r"fbq\((?P<x>a)", "capturing group"),
        (r"fbq^", "which signatures must not use"),
        (r"fbq\(\1", "which signatures must not use"),
        (r"fbq\w{1,9}", "must begin with a whole identifier, followed by"),
        (r"fbq\((?:a", "is not a regular expression"),
        (r"fbq\([z-a]", "is not a regular expression"),
        ("fbq" + "=" * 300, "is longer than 300 characters"),
    ],
)
def test_patterns_outside_of_the_dialect_are_refused(pattern: str, complaint: str) -> None:
    """What could be slow, or could not be indexed, is refused with the way to write it."""
    with pytest.raises(PatternError, match=complaint):
        compile_signature(pattern)


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        (CALL, ("fbq", "init")),
        (r"new\s++UET\s*+\(", ("UET", "new")),
        (r"\$zopim\s*+\(", ("$zopim",)),
        (r"ga\.(?:create|send)\(x\w", ("ga",)),
        (r"ga\s*+\.send\s*+create\(", ("ga",)),
        (r"gtag\([" '"' "r" ']?config["' "'" r"']", ("gtag",)),
    ],
)
def test_only_words_that_must_be_there_are_required(pattern: str, words: tuple[str, ...]) -> None:
    """A script without these words is never searched, so nothing optional may be among them."""
    assert compile_signature(pattern).words == words


def test_a_bad_signature_of_a_vendor_made_in_code_is_refused() -> None:
    """`Catalog` itself checks, whoever made the vendor."""
    with pytest.raises(ConfigurationError) as caught:
        Catalog([vendor("bad", "fbq.*x")])
    assert caught.value.key == "vendor.bad.inline"


HOSTILE = {
    "blanks": "fbq(" + " " * 1000,
    "calls with blanks": "s.src=" + " " * 3000 + "'//www.google-analytics.com'",
    "calls in strings": "'fbq(\"init\")';",
    "comments": "/*fbq('init')*/",
    "comment marks": "fbq('init') /*/ /*/ ",
    "slashes": "fbq('init') / / / / ",
    "open templates": "fbq('init') `${`${",
    "sources": "src  =   \"// src = '//x",
    "written": "document.write('<img src src src ",
    "escapes": "fbq('init') '\\\\\\\\\\\\",
    "brackets": "fbq('init') = /[a[b[c",
    "events": "gtag('event', 'conversion', { ",
    "imports": "const url = 'https://www.google-analytics.com/'; import(url); ",
    "names": 'import(u , v="//www.google-analytics.com',
    "open comments": "import/*/*'//www.google-analytics.com/*",
    "names of sources": "var url = '//www.google-analytics.com/'; s.src = url; ",
    "many names": ",url='//www.google-analytics.com/';s.src=url,",
    "joined": "s.src=('https:'==location.protocol?'https://a':'http://b')+'.",
    "half joined": "src=((((('https:'==location.protocol))))?'https://",
    "joined by name": "s.src = protocol+'//x';s.src=p+'x'",
    "attributes": "Object.assign(document.createElement('script'),{a:1,src:",
    "pushes": "_paq.push([ _hsq.push([ dataLayer.push({ ",
}


@pytest.mark.parametrize("piece", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_scripts_take_linear_time(piece: str) -> None:
    """A script of eight times the length takes about eight times as long, not sixty-four, and ends soon."""
    catalog = load_catalog()

    def seconds(length: int) -> float:
        code = (piece * (length // len(piece) + 1))[:length]
        best = float("inf")
        for _ in range(3):
            start = time.process_time()
            catalog.match_inline(code)
            best = min(best, time.process_time() - start)
        return best

    short, long = seconds(25_000), seconds(200_000)
    assert long < 32 * short + 0.05
    assert long < 2


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (
            "(function (w, d, s, l, i) { w[l] = w[l] || []; w[l].push({'gtm.start': Date.now()}); "
            "j.src = 'https://www.googletagmanager.com/gtm.js?id=' + i; })(window, document, 'script', 'x');",
            ["google-tag-manager"],
        ),
        ("gtag('config', 'G-ABC123'); gtag('config', 'AW-123');", ["google-analytics", "google-ads"]),
        (
            "(function (f, b, e, v) { t.src = v; })(window, document, 'script', "
            "'https://connect.facebook.net/en_US/fbevents.js'); fbq('init', '1');",
            ["meta-pixel"],
        ),
        ("s.src = 'https://snap.licdn.com/li.lms-analytics/insight.min.js';", ["linkedin-insight"]),
        ("t.src = 'https://www.clarity.ms/tag/' + i;", ["microsoft-clarity"]),
        ("new Image().src = 'https://www.facebook.com/tr?id=1&ev=PageView';", ["meta-pixel"]),
        ("map.src = 'https://www.google.com/maps/embed?pb=1';", ["google-maps"]),
    ],
)
def test_common_snippets_are_found_in_the_built_in_catalog(code: str, expected: list[str]) -> None:
    """Each vendor once, in catalog order, whether its call, its loader or both are there."""
    assert [match.vendor.id for match in load_catalog().match_inline(code)] == expected
