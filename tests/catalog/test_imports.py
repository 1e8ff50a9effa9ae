"""What a script file imports, and what takes the place of it."""

from __future__ import annotations

import pytest

from consent.catalog.evidence import Evidence, PythonEvidence, evidence
from consent.catalog.imports import imports

HOSTS = ("tracker.example",)
FINDERS = [evidence(HOSTS, {}), PythonEvidence((b"tracker.example",), ())]


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
