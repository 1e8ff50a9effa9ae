"""What a script file imports, and what takes the place of it."""

from __future__ import annotations

import pytest

from consent.catalog.evidence import Evidence, PythonEvidence, evidence
from consent.catalog.imports import IMPORT_WORDS, imported_code, imports, parts_around

HOSTS = ("tracker.example",)
FINDERS = [evidence(HOSTS, IMPORT_WORDS), PythonEvidence((b"tracker.example",), tuple(IMPORT_WORDS.items()))]


def voided(script: str, finder: Evidence) -> str:
    """Return the script with all that is found given way."""
    code, found = imports(script.encode(), finder)
    for what in reversed(found):
        code = code[: what.start] + what.instead + code[what.end :]
    return code


@pytest.mark.parametrize("finder", FINDERS)
@pytest.mark.parametrize(
    ("script", "left"),
    [
        ('import "https://tracker.example/m.js";', 'import "data:text/javascript,";'),
        ("import'//tracker.example/m.js'", "import'data:text/javascript,'"),
        (
            'import a, {b as c} from "https://tracker.example/m.js";',
            'import a, {b as c} from "data:text/javascript,";',
        ),
        ('export*from"https://t.tracker.example/m.js"', 'export*from"data:text/javascript,"'),
        (
            "const m = await import('https://tracker.example/m.js?a=1#b')",
            "const m = await import('about:invalid')",
        ),
        (
            "import(/* webpackIgnore: true */ `https://tracker.example/${id}.js`)",
            "import(/* webpackIgnore: true */ `about:invalid${id}.js`)",
        ),
        ('import("https://tracker.example/" + name)', 'import("about:invalid" + name)'),
        (
            'const url = "https://tracker.example/m.js"; see(url); import(url)',
            'const url = "https://tracker.example/m.js"; see(url); import("about:invalid")',
        ),
        (
            'self.importScripts("https://tracker.example/w.js")',
            'self.importScripts("data:text/javascript,")',
        ),
        ('importScripts("https://tracker.example/w.js?" + v)', 'importScripts("about:invalid" + v)'),
        (
            "// \u00e9 'https://tracker.example/'\nimport 'https://tracker.example/m.js'; // \u00e9",
            "// \u00e9 'https://tracker.example/'\nimport 'data:text/javascript,'; // \u00e9",
        ),
    ],
)
def test_what_is_imported_gives_way(script: str, left: str, finder: Evidence) -> None:
    """A static import becomes one of an empty module, a dynamic one fails; nothing else changes."""
    assert voided(script, finder) == left


@pytest.mark.parametrize("finder", FINDERS)
@pytest.mark.parametrize(
    "script",
    [
        "",
        'import "./own.js"; const home = "https://tracker.example/";',
        'fetch("https://tracker.example/collect")',
        's.src = "https://tracker.example/t.js"',
        '// import "https://tracker.example/m.js"',
        '/* import "https://tracker.example/m.js" */',
        "const text = 'import \"https://tracker.example/m.js\"';",
        'const text = `import "https://tracker.example/m.js"`;',
        'import "https://nottracker.example/m.js"',
        'import "https://other.example/?u=//tracker.example"',
        'reimport("https://tracker.example/m.js")',
        'loader.import("https://tracker.example/m.js")',
        'Array.from("https://tracker.example/m.js")',
        '{"import": "https://tracker.example/m.js"}',
    ],
)
def test_what_is_only_mentioned_stays(script: str, finder: Evidence) -> None:
    """In comments, strings and data, and as what other functions are called with."""
    assert imports(script.encode(), finder)[1] == []


def test_bytes_that_are_no_text_come_back() -> None:
    """A file in another encoding loses nothing."""
    script = b"// caf\xe9\nimport '//tracker.example/m.js' // \xe9"
    code, found = imports(script, FINDERS[0])
    assert code.encode("utf-8", "surrogateescape") == script
    assert [(code[what.start : what.end], what.host, what.target) for what in found] == [
        ("//tracker.example/m.js", "tracker.example", "/m.js")
    ]


@pytest.mark.parametrize(
    "before", ["", "x();" * 4000, "  " * 4000 + ";", "a = 1;\n" + " " * 100 + "b();" * 300]
)
@pytest.mark.parametrize("blanks", ["", " " * 47, " " * 48, "\n" * 900, "\t" * 3000, " " * 9000])
@pytest.mark.parametrize(
    "call", ["fetch{0}({0}{1})", "s.setAttribute{0}({0}'src'{0},{0}{1})", "import{0}({0}/*x*/{0}{1})"]
)
def test_a_call_is_read_whole_however_many_blanks_are_in_it(call: str, blanks: str, before: str) -> None:
    """And wherever in a long script it stands: the parts that are read have all of it."""
    url = '"//tracker.example/t.js"'
    code = before + call.format(blanks, url) + ";y()" * 4000
    place = code.index("tracker")
    begin, end = next(part for part in parts_around(code, code.encode(), [place]))
    assert begin <= len(before)
    assert end >= place + len(url)


def test_deep_indentation_does_not_make_all_of_a_script_be_read() -> None:
    """Blanks that a page is laid out with cost no more than other text."""
    line = "\n" + " " * 60 + "document.title = document.title.trim(); count += 1;"
    code = line * 2000 + "s.src = '//tracker.example/t.js';" + line * 2000
    ((begin, end),) = parts_around(code, code.encode(), [code.index("tracker")])
    assert begin < code.index("s.src") < end
    assert end - begin < 5000


def test_code_in_a_url_is_what_it_says() -> None:
    """Where a script imports it: in a string, or in a comment, it is text."""
    code = """import "data:text/javascript;charset=utf-8,a(%22x%22)"; // import "data:text/javascript,b()"
    import('DATA:application/ecmascript;base64,YygpCg'); see("data:text/javascript,d()");
    export * from 'data:text/plain,javascript'"""
    assert [(what.code, what.instead) for what in imported_code(code)] == [
        ('a("x")', "data:text/javascript,"),
        ("c()\n", "about:invalid"),
    ]


UNUSUAL = [
    "https:tracker.example/t",
    "https:///tracker.example/t",
    "HTTPS://tracker.example/t",
    r"https:\\\\tracker.example/t",
    r"https:\x2f\x2ftracker.example/t",
    r"\u{2f}/tracker.example/t",
    "https://u:p@tracker.example/t",
    "//u@tracker.example:443/t",
    " ht\\ttps://tracker.example/t",
    "https://tr%61cker.example/t",
    "https://trac\\\nker.example/t",
    "https:\\\r\n//tracker.example/t",
]


@pytest.mark.parametrize("finder", FINDERS)
@pytest.mark.parametrize("url", UNUSUAL)
def test_a_url_is_found_however_it_is_written(url: str, finder: Evidence) -> None:
    """As browsers read it (URL Standard, section 4.4)."""
    assert voided(f'import a from "{url}"; go()', finder) == 'import a from "data:text/javascript,"; go()'
    assert voided(f"import(/* x */ '{url}')", finder) == "import(/* x */ 'about:invalid')"
    for text in (
        f'/* import "{url}" */',
        f'see("{url}")',
        'import "./https:own.js"',
        'import("/own//tracker.example")',
    ):
        assert voided(text, finder) in ("", text)
