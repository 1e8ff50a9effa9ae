"""The documentation is held against the code: its snippets, settings, endpoints, commands, values and links.

Fenced blocks say what they are. ``python test`` is run, after a small app has been named ``app``; other
``python`` is compiled. ``toml policy`` is loaded as a policy, ``toml vendor`` as a catalog, ``toml oidc`` as a way to
sign in. In ``console`` blocks every line that begins with ``$`` is a command: it must exist and take the options it
is given.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, fields
from inspect import Parameter, signature
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient

import consent
from consent import ConfigurationError, ConsentMiddleware, Policy, Reason, Regime, load_catalog, load_policy
from consent.assets import asset_dir
from consent.browsers import Device
from consent.canonical_json import canonical_json
from consent.categories import Category
from consent.cli import main
from consent.enforcement import Action
from consent.erasure import Erasure
from consent.headers import GOVERNED, PAGE_DECIDING_FIELDS, REWRITTEN_TYPES
from consent.interface_rules import INTERFACE_RULES
from consent.languages import Languages
from consent.office import roles
from consent.office.api.table import ENDPOINTS
from consent.office.oidc.settings import _RULES as _OIDC_RULES
from consent.office.oidc.settings import load_oidc
from consent.policy import CspMode, GoogleMode, Gpp, GppMspa, Interfaces, Layout, Refused, Whereabouts
from consent.policy_file import _COOKIE_RULES, _FIELDS, _OVERRIDE_RULES, _RULE_RULES, _TOP
from consent.receipts import CollectionMethod, Outcome, Receipt
from consent.reports import Dropped
from consent.signals import ChoiceState
from consent.static_files import named, stylesheets, zipped
from consent.texts import load_texts
from demo_site import site as demo
from tests.live import served

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").glob("*.md")])
TEXT = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in PAGES}
CODE = "\n".join(
    path.read_text(encoding="utf-8")
    for folder in ("consent", "demo_site")
    for path in sorted((ROOT / folder).rglob("*.py"))
)
POLICY_FILE = '[site]\nname = "Example Shop"\n'

_FENCE = re.compile(r"^```([^\n`]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_INLINE_CODE = re.compile(r"`([^`\n]+)`")


@dataclass(frozen=True)
class Snippet:
    """One fenced block."""

    page: str
    line: int
    kind: str
    text: str

    @property
    def name(self) -> str:
        return f"{self.page}:{self.line}"


def snippets(*kinds: str) -> list[Any]:
    """Return the blocks whose info string begins with one of ``kinds``, named by their place."""
    found = [
        Snippet(page, text.count("\n", 0, block.start()) + 1, block[1].strip(), block[2])
        for page, text in TEXT.items()
        for block in _FENCE.finditer(text)
    ]
    return [
        pytest.param(snippet, id=snippet.name)
        for snippet in found
        if not kinds or any(snippet.kind == kind or snippet.kind.startswith(kind + " ") for kind in kinds)
    ]


def shown_text(page: str, word: str = "") -> str:
    """Return the only block of a page that is a program's output, and has ``word`` in it."""
    texts = [p.values[0].text for p in snippets("text") if p.values[0].page == page]
    (text,) = [text for text in texts if word in text]
    return str(text)


def prose(page: str) -> str:
    """Return a page without its fenced blocks and comments."""
    return _COMMENT.sub("", _FENCE.sub("", TEXT[page]))


def tables(page: str, heading: str) -> list[list[str]]:
    """Return the rows of every table of ``page`` whose first column is headed ``heading``."""
    rows: list[list[str]] = []
    inside = False
    for line in prose(page).splitlines():
        cells = [cell.strip() for cell in line.strip()[1:-1].split("|")] if line.startswith("|") else []
        if not cells:
            inside = False
        elif cells[0] == heading:
            inside = True
        elif inside and set(line) - set("|- "):
            rows.append(cells)
    assert rows, f"{page} has no table headed {heading!r}"
    return rows


def first_codes(page: str, heading: str) -> set[str]:
    """Return what stands in backquotes in the first column of such a table."""
    return {code for row in tables(page, heading) for code in _INLINE_CODE.findall(row[0])}


def section(page: str, title: str) -> str:
    """Return what stands under a heading."""
    match = re.search(rf"^#+ {re.escape(title)}\n(.*?)(?=^#|\Z)", prose(page), re.MULTILINE | re.DOTALL)
    assert match, f"{page} has no heading {title!r}"
    return match[1]


# --- fenced blocks ---


def test_every_block_says_what_it_is() -> None:
    """Python is marked as run or not by its info string; TOML says what it is to be loaded as."""
    known = {
        "python",
        "python test",
        "toml policy",
        "toml vendor",
        "toml oidc",
        "console",
        "jinja",
        "css",
        "nginx",
        "js",
    }
    known |= {"json", "json receipt", "json choice", "json error", "html", "text", "yaml"}
    assert {parameter.values[0].kind for parameter in snippets()} <= known


async def _page(request: Request) -> Response:
    return HTMLResponse("<!doctype html><body><p>Hello</p></body>")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Starlette:
    """Return an app to wrap, in a folder with a policy and a database."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("CONSENT_")]:
        monkeypatch.delenv(name)
    (tmp_path / "consent.toml").write_text(POLICY_FILE)
    app = Starlette(routes=[Route("/", _page)])
    ConsentMiddleware(app)  # makes the data folder
    return app


@pytest.mark.parametrize("snippet", snippets("python"))
def test_python_compiles_and_what_it_imports_exists(snippet: Snippet) -> None:
    """Also in blocks that are not run: every imported name is there."""
    for node in ast.walk(ast.parse(snippet.text, snippet.name)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                importlib.import_module(alias.name)
        elif isinstance(node, ast.ImportFrom):
            module = importlib.import_module(node.module or "")
            assert [alias.name for alias in node.names if not hasattr(module, alias.name)] == []


@pytest.mark.parametrize("snippet", snippets("python test"))
def test_marked_python_runs(snippet: Snippet, site: Starlette) -> None:
    """It runs as written; an app it makes answers; a handler it defines answers behind the middleware."""
    names: dict[str, Any] = {"app": site, "__name__": "snippet"}
    exec(compile(snippet.text, snippet.name, "exec"), names)
    handlers = [value for value in names.values() if getattr(value, "__module__", "") == "snippet"]
    for handler in handlers:
        wrapped = ConsentMiddleware(Starlette(routes=[Route("/", handler)]))
        with TestClient(wrapped) as client:
            assert client.get("/").status_code == 200
    if isinstance(names["app"], ConsentMiddleware):
        with TestClient(names["app"]) as client:
            assert "consent-banner" in client.get("/").text


def test_the_quickstart_is_two_lines() -> None:
    """The first Python in the README is an import and a call."""
    first = re.search(r"```python test\n(.*?)```", TEXT["README.md"], re.S)
    assert first
    assert len([line for line in first[1].splitlines() if line]) == 2


@pytest.mark.parametrize("snippet", snippets("jinja"))
def test_jinja_renders_with_a_decision(snippet: Snippet, site: Starlette) -> None:
    """The template shows one thing with consent and another without."""
    from jinja2 import Environment, StrictUndefined

    template = Environment(undefined=StrictUndefined, autoescape=True).from_string(snippet.text)

    async def shown(request: Request) -> Response:
        return HTMLResponse(template.render(request=request))

    with TestClient(ConsentMiddleware(Starlette(routes=[Route("/", shown)]))) as client:
        without = client.get("/").text
        client.post("/_consent/choice", json={"action": "accept"}, headers={"sec-fetch-site": "same-origin"})
        allowed = client.get("/").text
    assert ("<iframe" in without, "<iframe" in allowed) == (False, True)


@pytest.mark.parametrize("snippet", snippets("toml policy"))
def test_policies_load(snippet: Snippet, tmp_path: Path) -> None:
    """A policy in the documentation can be copied, and its texts fit."""
    path = tmp_path / "consent.toml"
    path.write_text(snippet.text, encoding="utf-8")
    (tmp_path / "shop.toml").write_text("")
    policy, _ = load_policy(path, load_catalog())
    Languages(policy)


@pytest.mark.parametrize("snippet", snippets("toml oidc"))
def test_sign_in_snippets_are_whole_files(snippet: Snippet, tmp_path: Path) -> None:
    """Each is read as it stands, beside the secret that it names; the table beside it has every key."""
    (tmp_path / "oidc.toml").write_text(snippet.text)
    (tmp_path / "oidc-secret").write_text("hush")
    assert load_oidc(tmp_path / "oidc.toml", {}).client_secret == "hush"
    assert first_codes("docs/office.md", "key") == {*_OIDC_RULES, "[[grant]]"}


@pytest.mark.parametrize("snippet", snippets("toml vendor"))
def test_vendors_load(snippet: Snippet, tmp_path: Path) -> None:
    """A vendor in the documentation can be copied into the catalog and into a policy."""
    path = tmp_path / "vendor.toml"
    path.write_text(snippet.text, encoding="utf-8")
    assert len(load_catalog(tmp_path).vendors) == 1
    policy, _ = load_policy(path, load_catalog())
    assert len(policy.vendors) == 1


@pytest.mark.parametrize("snippet", snippets("json"))
def test_json_is_json(snippet: Snippet) -> None:
    """Every JSON block parses."""
    json.loads(snippet.text)


def test_the_receipt_shown_is_a_receipt() -> None:
    """It is read as one, its SHA-256 and its fields are those of the output of ``show`` beside it."""
    (parameter,) = snippets("json receipt")
    receipt = Receipt.from_bytes(canonical_json(json.loads(parameter.values[0].text)))
    assert f"\nSHA-256          {receipt.content_hash}\n" in TEXT["docs/receipt.md"]
    assert f"Receipt          {receipt.receipt_id}\n" in TEXT["docs/receipt.md"]
    assert f"Text SHA-256     {receipt.shown_hash}\n" in TEXT["docs/receipt.md"]
    assert f"Policy SHA-256   {receipt.policy_hash}\n" in TEXT["docs/receipt.md"]
    assert f"Vendors SHA-256  {receipt.vendor_list_hash}\n" in TEXT["docs/receipt.md"]


def test_the_answers_shown_have_the_shape_of_the_real_ones(site: Starlette) -> None:
    """The members of a stored choice, of an error and of the well-known resources are those documented."""
    blocks = {p.values[0].kind: json.loads(p.values[0].text) for p in snippets("json choice", "json error")}
    with TestClient(ConsentMiddleware(site)) as client:
        same = {"sec-fetch-site": "same-origin"}
        chosen = client.post("/_consent/choice", json={"action": "refuse"}, headers=same).json()
        refused = client.post(
            "/_consent/choice", json={"action": "refuse"}, headers={"sec-fetch-site": "cross-site"}
        ).json()
        gpc = client.get("/.well-known/gpc.json").json()
        client.cookies.clear()
        status = client.get("/.well-known/dnt/").json()
    assert list(blocks["json choice"]) == list(chosen)
    assert set(blocks["json choice"]["categories"]) == set(chosen["categories"])
    assert blocks["json error"] == refused
    api = TEXT["docs/http-api.md"]
    assert json.dumps(gpc) in api
    assert json.dumps({**status, "policy": "/privacy"}) in api


@pytest.mark.parametrize(
    ("page", "script", "refused"),
    [
        ("docs/http-api.md", "https://www.googletagmanager.com/gtag/js?id=G-1", Refused.STRIP),
        ("docs/page.md", "https://static.hotjar.com/c/hotjar-1.js", Refused.HOLD),
    ],
)
def test_the_markup_shown_is_real(page: str, script: str, refused: Refused, site: Starlette) -> None:
    """The account that ``Consent-Report: 1`` asks for; an element that is held."""

    async def tracked(request: Request) -> Response:
        return HTMLResponse(f'<!doctype html><body><script src="{script}"></script>')

    (shown,) = [p.values[0].text.strip() for p in snippets("html") if p.values[0].page == page]
    app = ConsentMiddleware(Starlette(routes=[Route("/", tracked)]), policy=Policy(refused=refused))
    with TestClient(app) as client:
        response = client.get("/", headers={"consent-report": "1"})
    assert shown in response.text
    assert response.headers["cache-control"] == "private, no-store"


# --- commands ---


def _commands() -> list[Any]:
    found = []
    for parameter in snippets("console"):
        snippet = parameter.values[0]
        for number, line in enumerate(snippet.text.splitlines()):
            if line.startswith("$ "):
                found.append(pytest.param(line[2:], id=f"{snippet.page}:{snippet.line + number + 1}"))
    return found


def _inline_commands() -> set[str]:
    return {
        code
        for page in TEXT
        for code in _INLINE_CODE.findall(prose(page))
        if re.match(r"(\.venv/bin/)?(consent|make|python|pip)( |$)", code) and code != "consent"
    }


@pytest.mark.parametrize("command", [*_commands(), *sorted(_inline_commands())])
def test_commands_exist(command: str) -> None:
    """Every command line in a console block, and every one in running text, would be understood."""
    program, *arguments = shlex.split(command.removeprefix(".venv/bin/"))
    if program == "consent":
        _check_consent(arguments)
    elif program == "make":
        _check_make(arguments)
    elif program == "pip":
        _check_pip(arguments)
    elif program == "python":
        _check_python(arguments)
    elif program == "uvicorn":
        from uvicorn.main import main as uvicorn_main

        uvicorn_main.make_context("uvicorn", arguments)
    else:
        assert program == "curl"
        assert arguments[-1] == "http://127.0.0.1:8000/_consent/choice"


def _check_consent(arguments: list[str]) -> None:
    """Parse a command line without running it; one that only names a command must name one."""
    arguments = ["0" * 32 if argument == "HEX" else argument for argument in arguments]
    if all(re.fullmatch("[a-z]+", argument) for argument in arguments):
        arguments = [*arguments, "--help"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(click.Command, "invoke", lambda *_: None)
        result = CliRunner().invoke(main, arguments, prog_name="consent")
    assert result.exit_code == 0, result.output


def _check_make(arguments: list[str]) -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = re.findall(r"^([a-z]+):", makefile, re.M)
    for argument in arguments:
        variable, equals, _ = argument.partition("=")
        assert f"{variable} " in makefile if equals else argument in targets


def _check_pip(arguments: list[str]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert arguments[0] == "install"
    for requirement in arguments[1:]:
        match = re.fullmatch(r"([a-z-]+)(?:\[([a-z,]+)\])?", requirement)
        assert match
        assert match[1] == project["name"]
        assert set(match[2].split(",") if match[2] else ()) <= project["optional-dependencies"].keys()


def _check_python(arguments: list[str]) -> None:
    if arguments[0] == "-c":
        printed = subprocess.run([sys.executable, *arguments], capture_output=True, check=True, text=True)
        assert re.fullmatch(r"[0-9a-f]{64}\n", printed.stdout)
        return
    if arguments[0] == "-m":
        assert importlib.util.find_spec(arguments[1])
        return
    script = ROOT / arguments[0]
    asked = [argument.partition("=")[0] for argument in arguments[1:] if argument.startswith("--")]
    shown = subprocess.run(
        [sys.executable, str(script), "--help"],
        capture_output=True,
        check=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ).stdout
    assert [option for option in asked if option not in shown] == []


@pytest.mark.parametrize("snippet", snippets("console"))
def test_help_shown_is_the_help(snippet: Snippet) -> None:
    """A block that shows the output of --help shows all of it, as it is."""
    command, _, shown = snippet.text.partition("\n")
    if command.startswith("$ consent ") and command.endswith(" --help"):
        arguments = shlex.split(command)[2:]
        result = CliRunner().invoke(main, arguments, prog_name="consent", terminal_width=78)
        assert shown == result.output


def test_every_command_and_option_is_documented() -> None:
    """docs/cli.md shows the help of every command that does something."""
    shown = {p.values[0].text.partition("\n")[0] for p in snippets("console")}

    def lines(name: str, command: click.Command) -> Iterator[str]:
        inner = getattr(command, "commands", {})
        for other, one in inner.items():
            yield from lines(f"{name} {other}", one)
        if not inner:
            yield name

    assert [line for line in lines("consent", main) if f"$ {line} --help" not in shown] == []


def test_the_output_of_check_is_real(tmp_path: Path) -> None:
    """What the README shows of ``consent check`` on the demo is printed so, "…" apart."""
    (block,) = (p.values[0] for p in snippets("console") if "trackers found" in p.values[0].text)
    app = ConsentMiddleware(demo.site, policy=demo.HERE / "consent.toml", data=tmp_path / "data")
    with served(app) as address:
        result = CliRunner().invoke(main, ["check", f"{address}/"])
        printed = result.output.replace(address, "http://127.0.0.1:8000").splitlines()
    shown = [line for line in block.text.splitlines() if not line.startswith(("$", "…"))]
    assert [line for line in shown if line not in printed] == []
    assert [printed.index(line) for line in shown] == sorted(printed.index(line) for line in shown)


def test_the_error_shown_is_real(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message on the configuration page is what a misspelt vendor brings."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "consent.toml").write_text('regime = "opt-in"\ndeclare = ["google-analytic"]\n')
    with pytest.raises(ConfigurationError) as told:
        load_policy("consent.toml", load_catalog())
    assert shown_text("docs/configuration.md") == f"{told.value}\n"


def test_the_findings_shown_are_real(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line's page shows what `consent check` says of three such files."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "consent.toml").write_text('declare = ["matomo"]\n')
    lines = [""] * 31
    lines[11] = '<script src="https://static.hotjar.com/c/1.js"></script>'
    lines[30] = "<script>_paq.push(['trackPageView'])</script>"
    for name, text in (
        ("templates/base.html", "\n".join(lines)),
        ("templates/page.html", '{% extends "base.html" %}'),
        ("static/site.css", 'a {}\n@import url("https://fonts.example.net/css");'),
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    result = CliRunner().invoke(main, ["check", "--policy", "consent.toml", "templates", "static"])
    assert result.exit_code == 1
    assert shown_text("docs/cli.md", "templates/base.html") == result.output


def test_the_two_commands_are_what_the_readme_says() -> None:
    """The README's first table names the two targets, and they are the first of the Makefile."""
    assert [row[0] for row in tables("README.md", "command")] == ["`make demo`", "`make test`"]
    makefile = (ROOT / "Makefile").read_text()
    assert re.findall(r"^# (make [a-z]+)", makefile, re.M)[:2] == ["make demo", "make test"]
    targets = re.findall(r"^([a-z]+):", makefile, re.M)
    assert {"demo", "test"} <= set(targets)


# --- settings ---


def test_every_environment_variable_is_documented_and_read() -> None:
    """Both ways; the tables of the configuration page have all of them."""
    pattern = r"\bCONSENT_[A-Z_]+\b"
    documented = {name for text in TEXT.values() for name in re.findall(pattern, text)}
    assert documented == set(re.findall(pattern, CODE))
    assert first_codes("docs/configuration.md", "variable") == documented


def test_every_argument_is_documented_with_its_variable() -> None:
    """The constructor's table has each argument once, beside the variable of its name."""
    rows = [
        [_INLINE_CODE.findall(cell) for cell in row] for row in tables("docs/configuration.md", "argument")
    ]
    parameters = signature(ConsentMiddleware).parameters
    assert [row[0][0] for row in rows] == list(parameters)
    for row in rows:
        if row[1]:
            assert row[1] == [f"CONSENT_{row[0][0].upper()}"]
    kinds = {name: parameter.kind for name, parameter in parameters.items() if name != "app"}
    assert set(kinds.values()) == {Parameter.KEYWORD_ONLY}


def test_every_key_of_the_policy_file_is_documented_with_field_and_default() -> None:
    """Both ways, and the defaults are those of an empty policy."""
    rows = [[_INLINE_CODE.findall(cell) for cell in row] for row in tables("docs/configuration.md", "key")]
    rows = [row for row in rows if len(row) == 4 and row[1]]
    documented = {row[0][0]: row[1][0] for row in rows}
    assert documented == {".".join(map(str, place)): name for place, name in _FIELDS.items()} | {
        "declare": "vendors",
        "lists": "lists",
        "interfaces": "interfaces",
        "texts": "texts",
        "sentences": "sentences",
    }
    sections = {key.partition(".")[0] for key in documented} | {"cookie", "vendor", "override", "rule"}
    assert sections == set(_TOP)
    empty = Policy()
    for row in rows:
        value = getattr(empty, row[1][0])
        default = tomllib.loads(f"value = {row[2][0]}")["value"]
        if isinstance(value, frozenset):
            value, default = set(value), set(default)
        elif isinstance(value, tuple):
            value = list(value)
        # Of a table that is not there, each key has its own row.
        assert ({} if value in (None, Interfaces()) else value) == default


def test_every_key_of_an_override_and_of_a_rule_is_documented() -> None:
    """Both ways."""
    assert first_codes("docs/configuration.md", "key of `[[rule]]`") == set(_RULE_RULES)
    assert first_codes("docs/configuration.md", "key of `[override]`") == set(_OVERRIDE_RULES)
    places = first_codes("docs/configuration.md", "key of `[jurisdictions]`")
    assert places == {each.name for each in fields(Whereabouts)}


def test_every_interface_is_documented_with_its_values() -> None:
    """Both ways; the table says which value is the default of what has one, and the page of interfaces has them all."""
    documented = {
        row[0].strip("`"): row[1] for row in tables("docs/configuration.md", "key of `[interfaces]`")
    }
    assert documented == {"google": ", ".join(f'`"{mode}"`' for mode in GoogleMode)} | {
        name: {True: "`true` (default), `false`", False: "`false` (default), `true`"}[
            getattr(Interfaces(), name)
        ]
        if name.startswith("google_")
        else "`true`"
        for name in INTERFACE_RULES
        if name not in ("google", "gpp", "gpp_mspa")
    } | {
        name: ", ".join(
            f'`"{value}"`' + " (default)" * (value is kind(getattr(Interfaces(), name))) for value in kind
        )
        for name, kind in (("gpp", Gpp), ("gpp_mspa", GppMspa))
    }
    assert first_codes("docs/interfaces.md", "key") == {
        n for n in INTERFACE_RULES if not n.startswith(("google_", "gpp"))
    }


def test_every_key_of_a_cookie_is_documented() -> None:
    """Both ways, and which are required is so."""
    table = [
        [_INLINE_CODE.findall(row[0])[0], row[1]]
        for row in tables("docs/configuration.md", "key")
        if row[1] in ("yes", "no")
    ]
    assert {key for key, _ in table} == set(_COOKIE_RULES)
    assert {key for key, required in table if required == "no"} == {"http_only"}


@pytest.mark.parametrize(
    ("heading", "minimal"),
    [
        ("key of `[[vendor]]`", ""),
        ("key of `[[vendor.inline]]`", "[[vendor.inline]]\n"),
        ("key of `[[vendor.cookie]]`", "[[vendor.cookie]]\n"),
        ("key of `[[vendor.storage]]`", "[[vendor.storage]]\n"),
    ],
)
def test_every_key_of_a_vendor_is_documented(heading: str, minimal: str, tmp_path: Path) -> None:
    """Both ways: the loader itself says which keys it knows, and misses the required ones."""
    rows = {_INLINE_CODE.findall(row[0])[0]: row[1] for row in tables("docs/catalog.md", heading)}
    head = (
        '[[vendor]]\nid = "a"\nname = "A"\ncompany = "A"\ncountry = "DE"\nprivacy = "https://example.com/"\n'
        'category = "functional"\nabout = "It is."\nhosts = ["a.example"]\n'
    )
    file = tmp_path / "vendors.toml"
    file.write_text(head + minimal + "unheard = 1\n")
    with pytest.raises(ConfigurationError, match="unknown key") as told:
        load_catalog(tmp_path)
    assert str(told.value).partition("known are ")[2].split(", ") == list(rows)
    (whole,) = (parameter.values[0].text for parameter in snippets("toml vendor"))
    table = heading.partition("[[")[2].partition("]]")[0]
    for key, required in rows.items():
        data = tomllib.loads(whole)
        place = data["vendor"][0] if table == "vendor" else data["vendor"][0][table.partition(".")[2]][0]
        if place.pop(key, None) is None:
            continue
        if required == "yes":
            with pytest.raises(ConfigurationError):
                consent.catalog.parse_vendors(data, "snippet")
        else:
            consent.catalog.parse_vendors(data, "snippet")


def test_every_text_is_documented() -> None:
    """The table of texts has each key of the English file once."""
    keys = [key for row in tables("docs/configuration.md", "where") for key in _INLINE_CODE.findall(row[1])]
    assert sorted(keys) == sorted(load_texts("en"))


def test_every_template_is_documented() -> None:
    """The table of templates has each file that there is."""
    folder = asset_dir("templates")
    files = {path.name for path in folder.glob("*.html")} | {"texts/en.toml", "catalog/en.toml"}
    assert first_codes("docs/configuration.md", "file") == files


def test_the_languages_are_those_there_are() -> None:
    """The configuration page names the built-in languages."""
    tags = sorted(path.stem for path in (asset_dir("templates") / "texts").glob("*.toml"))
    (cell,) = (row[3] for row in tables("docs/configuration.md", "key") if row[0] == "`site.language`")
    assert sorted(_INLINE_CODE.findall(cell)) == tags


def test_every_theming_property_is_documented_with_its_default() -> None:
    """Both ways against the stylesheet."""
    sheet = (asset_dir("static") / "consent.css").read_text()
    used = dict(reversed(re.findall(r"var\((--consent-[a-z-]+), ([^;]*)\);", sheet)))
    rows = tables("docs/configuration.md", "property")
    assert {_INLINE_CODE.findall(row[0])[0] for row in rows} == set(
        re.findall(r"var\((--consent-[a-z-]+)", sheet)
    )
    for row in rows:
        for default in _INLINE_CODE.findall(row[1]):
            assert used[_INLINE_CODE.findall(row[0])[0]] == default


def test_the_layouts_are_documented_with_what_they_weigh() -> None:
    """As served: the stylesheet with the rules of that layout alone."""
    weighed = {
        layout: len(zipped(named(stylesheets(asset_dir("static"), layout), "consent.css").content))
        for layout in Layout
    }
    rows = tables("docs/configuration.md", "layout")
    assert [(row[0], row[2]) for row in rows] == [
        (f"`{layout}`", f"{weighed[layout]:,} bytes") for layout in (Layout.CARD, Layout.BAR, Layout.DIALOG)
    ]


# --- endpoints ---


def test_every_endpoint_is_documented_and_answers(site: Starlette) -> None:
    """The table has the paths that the code names; each takes the methods given and refuses others."""
    code = (ROOT / "consent" / "visitor.py").read_text()
    in_code = {f"/_consent/{name}" for name in re.findall(r'f"\{self\._prefix\}/([a-z]+)"', code)}
    in_code |= set(re.findall(r'"(/\.well-known/[a-z./]+)"', code))
    ledger = (ROOT / "consent" / "ledger_endpoints.py").read_text()
    in_code |= {f"/_consent/{name}" for name in re.findall(r'== f"\{self\._prefix\}/([a-z]+)"', ledger)}
    in_code |= {"/_consent/ledger", "/_consent/api/v1", "/_consent/office", "/_consent/group"}
    rows = tables("docs/http-api.md", "endpoint")
    documented = {
        _INLINE_CODE.findall(row[0])[0].removesuffix("/…"): _INLINE_CODE.findall(row[1]) for row in rows
    }
    assert documented.keys() == in_code
    policy = Policy(group=("https://testserver", "https://www.example.org"))
    with TestClient(ConsentMiddleware(site, policy=policy, requests=True)) as client:
        for path, methods in documented.items():
            real = path
            if path == "/_consent/static":
                real = re.findall(r'href="(/_consent/static/[^"]+)"', client.get("/").text)[0]
            elif path == "/_consent/api/v1":
                real = "/_consent/api/v1/openapi.json"
            elif path == "/_consent/group":
                real = "/_consent/group/go"
            elif path == "/_consent/ledger":
                real = "/_consent/ledger/checkpoint"
            elif path == "/_consent/text":
                page = client.get("/_consent/choices").text
                shown = re.findall(r'name="shown" value="([0-9a-f]+)"', page)[0]
                form = {"action": "accept", "shown": shown, "form": "preferences"}
                client.post("/_consent/choice", data=form, headers={"Sec-Fetch-Site": "same-origin"})
                real += f"?id={client.get('/_consent/receipts').json()['receipts'][0]['receipt_id']}"
            elif path == "/_consent/receipt":
                client.post(
                    "/_consent/choice", json={"action": "refuse"}, headers={"Sec-Fetch-Site": "same-origin"}
                )
                time.sleep(1.5)
            for method in methods:
                assert client.request(method, real, follow_redirects=False).status_code in (200, 400, 403)
            refused = client.request("DELETE", real)
            assert (refused.status_code, refused.headers["allow"]) == (405, ", ".join(methods))


def test_the_offices_endpoints_and_roles_are_documented() -> None:
    """Each with its method; and what each role may do, cell by cell."""
    asked = {_INLINE_CODE.findall(row[0])[0] for row in tables("docs/http-api.md", "asked")}
    assert asked == {f"{endpoint.method} {endpoint.path}" for endpoint in ENDPOINTS}
    rows = tables("docs/office.md", "may")
    assert [[cell == "yes" for cell in row[1:]] for row in rows] == [
        [action in roles.ALLOWED[role] for role in roles.Role] for action in roles.Action
    ]


def test_paths_in_the_text_exist() -> None:
    """No page names an endpoint that is not in the table."""
    known = {row[0].strip("`").removesuffix("…") for row in tables("docs/http-api.md", "endpoint")}
    known |= {"/_consent", "/_consent/", "/.well-known/"}
    for page in TEXT:
        for path in re.findall(r"(?<![\w/])(/(?:_consent|\.well-known)[\w./-]*)", prose(page)):
            assert path.rstrip(".,") in known, (page, path)


def test_every_error_is_documented() -> None:
    """Status and code, both ways."""
    code = "".join(path.read_text() for path in (ROOT / "consent").glob("*.py"))
    raised = set(re.findall(r'Refused\((\d{3}), "([a-z-]+)"', code))
    ledger = (ROOT / "consent" / "ledger_endpoints.py").read_text()
    raised |= set(re.findall(r'_error\(\s*(\d{3}), "([a-z-]+)"', ledger))
    rows = tables("docs/http-api.md", "status")
    assert {(row[0], row[1].strip("`")) for row in rows} == raised


def test_every_form_field_is_documented() -> None:
    """Each field of the table is taken, and one that is not in it is refused."""
    rows = tables("docs/http-api.md", "form field")
    fields = [code for row in rows for code in _INLINE_CODE.findall(row[0])]
    code = (ROOT / "consent" / "submission.py").read_text()
    taken = set(re.findall(r'(?:single|content)\.pop\("([a-z_]+)"', code)) | {"told", "vendor.<id>"}
    taken |= {"performance", "functional", "targeting"}
    assert set(fields) == taken - {"vendors"}


# --- words and values ---


@pytest.mark.parametrize(
    ("page", "heading", "values"),
    [
        ("docs/page.md", "state", list(ChoiceState)),
        ("docs/page.md", "reason", list(Reason)),
        ("docs/http-api.md", "action", list(Action)),
        ("docs/csp.md", "`enforcement.csp`", list(CspMode)),
        ("docs/http-api.md", "dropped", list(Dropped)),
        ("docs/cli.md", "status", ["unclassified", "undeclared", "declared"]),
        ("docs/receipt.md", "outcome", list(Outcome)),
        ("docs/receipt.md", "collection method", list(CollectionMethod)),
        ("docs/receipt.md", "action", ["accept", "refuse", "save", "allow", "withdraw"]),
    ],
)
def test_every_value_is_documented(page: str, heading: str, values: list[str]) -> None:
    """The table has each value, and no other."""
    assert first_codes(page, heading) == {str(value) for value in values}


def test_reasons_that_allow_are_those_said() -> None:
    """The second column of the table of reasons is what the code does."""
    from consent.decision import _YES

    allowed = {row[0].strip("`") for row in tables("docs/page.md", "reason") if row[1] == "yes"}
    assert allowed == {str(reason) for reason in _YES}


def test_every_member_of_a_receipt_is_documented() -> None:
    """Both ways, those of ``signals`` one by one; devices and regimes are named. The example has no account."""
    (parameter,) = snippets("json receipt")
    receipt = json.loads(parameter.values[0].text)
    members = (receipt.keys() - {"signals"}) | {f"signals.{name}" for name in receipt["signals"]}
    rows = {_INLINE_CODE.findall(row[0])[0]: row[1] for row in tables("docs/receipt.md", "member")}
    assert rows.keys() - {"account"} == members == rows.keys() & members
    assert first_codes("docs/receipt.md", "member of an erasure") == set(Erasure.__dataclass_fields__)
    assert set(_INLINE_CODE.findall(rows["device"])) == set(Device)
    assert set(_INLINE_CODE.findall(rows["regime"])) == set(Regime)
    assert set(_INLINE_CODE.findall(TEXT["README.md"])) >= set(Category)


def test_bounds_are_those_of_the_code() -> None:
    """Every bound of the security page is the constant that it names."""
    for _, bound, place in tables("docs/security.md", "what"):
        module, _, name = place.strip("`").rpartition(".")
        number, _, unit = bound.partition(" ")
        factor = {"KiB": 1 << 10, "MiB": 1 << 20}.get(unit, 1)
        assert getattr(importlib.import_module(module), name) == int(number.replace(",", "")) * factor, place


def test_the_media_types_that_are_rewritten_are_those_named() -> None:
    """The page on the life of a page lists them."""
    sentence = re.search(r"Rewritten are (.*?)\.\s", prose("docs/page.md"), re.S)
    assert sentence
    assert set(_INLINE_CODE.findall(sentence[1])) == {kind.decode() for kind in REWRITTEN_TYPES}


def test_header_fields_in_the_tables_are_those_that_are_looked_at() -> None:
    """Each governed field of the code has its row, and the fields that make pages vary are named."""
    rows = tables("docs/page.md", "field")
    named = {code.lower() for row in rows for code in _INLINE_CODE.findall(row[0])}
    assert {name.decode() for name in GOVERNED} <= named
    (vary,) = (row[1] for row in rows if row[0] == "`Vary`")
    assert [name.decode() for name in PAGE_DECIDING_FIELDS] == _INLINE_CODE.findall(vary)[0].split(", ")


def test_the_measurements_have_the_rows_of_the_benchmarks() -> None:
    """The tables were filled from what the commands print, and the README repeats two figures of each."""
    engines = re.findall(r'^ {8,12}"([^"]+)": ', (ROOT / "benchmarks" / "rewrite.py").read_text(), re.M)
    rows = tables("docs/decisions.md", "engine")
    assert [row[0] for row in rows] == engines
    clients = tables("docs/decisions.md", "clients")
    for table in ("clients", "clients of PostgreSQL"):
        assert [row[0] for row in tables("docs/decisions.md", table)] == ["1", "10", "100", "1,000"]
    for figure in (rows[0][1], rows[1][1], clients[0][1], clients[-1][1]):
        assert f" {figure} " in section("README.md", "Numbers")


def test_log_messages_are_in_the_code() -> None:
    """What the operations page says a message contains, some message contains."""
    for level, phrase, _ in tables("docs/operations.md", "level"):
        assert phrase.strip("`") in CODE
        assert level in ("error", "warning")


def test_the_number_of_vendors_is_right() -> None:
    """Wherever the documentation counts the catalog."""
    counted = {int(number) for text in TEXT.values() for number in re.findall(r"\b(\d{3,}) vendors", text)}
    # 500 is how many a policy can list.
    assert counted - {500} == {len(load_catalog().vendors)}


def test_the_size_of_the_catalog_is_as_documented() -> None:
    """Every row of the table of counts, and no count is left out."""
    vendors = list(load_catalog().vendors.values())
    counted = {"vendors": len(vendors)}
    counted |= {f"of them `{c}`": sum(v.category is c for v in vendors) for c in Category}
    counted |= {
        "hosts": sum(len(vendor.hosts) for vendor in vendors),
        "URL patterns": sum(len(vendor.urls) for vendor in vendors),
        "cookies": sum(len(vendor.cookies) for vendor in vendors),
        "storage keys": sum(len(vendor.storage) for vendor in vendors),
        "signatures": sum(len(vendor.inline) for vendor in vendors),
    }
    documented = {row[0]: int(row[1].replace(",", "")) for row in tables("docs/catalog.md", "what")}
    assert documented == counted


def test_every_catalog_file_has_its_judgement() -> None:
    """The table of judgement calls names each file."""
    files = {path.name for path in (ROOT / "consent" / "catalog" / "vendors").glob("*.toml")}
    assert first_codes("docs/catalog.md", "file") == files


def test_every_dependency_has_its_reason() -> None:
    """Each library that the package needs is in the table of libraries, and no other."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    named = [extras[each] for each in ("check", "geo", "oidc", "parquet", "scan")]
    needed = [*project["dependencies"], *(each for one in named for each in one)]
    documented = {_INLINE_CODE.findall(row[0])[0] for row in tables("docs/decisions.md", "library")}
    assert documented == {re.split(r"[<>=\[ ]", requirement)[0] for requirement in needed}


def test_files_and_names_of_the_code_exist() -> None:
    """A path such as ``consent/html/``, or a name such as ``consent.receipts.Store``, leads somewhere."""
    for page in TEXT:
        for code in _INLINE_CODE.findall(prose(page)):
            if re.fullmatch(r"(consent|templates|static|demo_site|benchmarks|tests|docs)/[\w./]*", code):
                assert (ROOT / code).exists(), (page, code)
            elif re.fullmatch(r"consent(\.\w+)+(\(\))?", code) and not code.endswith((".toml", ".css")):
                assert _exists(code.removesuffix("()")), (page, code)


def _exists(dotted: str) -> bool:
    module, _, name = dotted.rpartition(".")
    try:
        importlib.import_module(dotted)
    except ImportError:
        try:
            return hasattr(importlib.import_module(module), name)
        except ImportError:
            return False
    return True


def test_the_changelog_has_this_version() -> None:
    """Its newest heading is the package's version."""
    newest = re.search(r"^## (\S+)", TEXT["CHANGELOG.md"], re.M)
    assert newest
    assert newest[1] == consent.__version__


# --- links and manners ---


def _slug(heading: str) -> str:
    """Return the anchor of a heading: lower case, no punctuation, hyphens for blanks."""
    text = heading.replace("`", "").lower()
    return re.sub(r"[^\w\- ]", "", text).replace(" ", "-")


def _anchors(page: str) -> set[str]:
    body = _FENCE.sub("", TEXT[page])
    return {_slug(heading) for heading in re.findall(r"^#+ (.+)$", body, re.M)}


def _links() -> Iterator[tuple[str, str]]:
    for page in TEXT:
        for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
            yield page, target


def test_links_lead_somewhere() -> None:
    """Every relative link has its file, and every anchor its heading."""
    for page, target in _links():
        path, _, anchor = target.partition("#")
        assert "://" not in path, f"{page}: the documentation links to its own pages only"
        file = (ROOT / page).parent / path if path else ROOT / page
        assert file.is_file(), (page, target)
        if anchor:
            assert anchor in _anchors(file.resolve().relative_to(ROOT).as_posix()), (page, target)


def test_every_page_is_reached_from_the_readme() -> None:
    """Nobody has to guess that a page exists."""
    assert {target for page, target in _links() if page == "README.md" and target.startswith("docs/")} >= {
        page for page in TEXT if page.startswith("docs/")
    }


@pytest.mark.parametrize(
    ("what", "pattern"),
    [
        (
            "a package registry",
            r"\b(?:pypi|npmjs|crates|rubygems)\.(?:org|com|io)\b|://(?:www\.)?github\.com",
        ),
        ("a folder of somebody's machine", r"(?<![\w.])/(?:work|tmp|home|root|Users)/"),
        ("a number of an issue", r"(?<![\w&/])#\d+\b|\bissue \d"),
        ("a promise", r"(?i)\bcomplian(?:t|ce)\b"),
        (
            "advertising",
            r"(?i)\b(?:robust|seamless(?:ly)?|blazing(?:ly)?|powerful|effortless(?:ly)?|simply)\b",
        ),
        ("something undone", r"\b(?:TODO|FIXME|XXX|TBD)\b"),
    ],
)
def test_the_pages_hold_nothing_that_does_not_belong(what: str, pattern: str) -> None:
    """No registry hosts, no machine paths, no issue numbers, no promises, no advertising, nothing undone."""
    for page, text in TEXT.items():
        assert re.findall(pattern, text) == [], f"{page} has {what}"


def test_lines_and_tables_are_whole() -> None:
    """Every row of a table has as many cells as its head; other lines have at most 120 characters."""
    for page, text in TEXT.items():
        width = 0
        for line in _FENCE.sub("", text).splitlines():
            if line.startswith("|"):
                width = width or line.count("|")
                assert line.count("|") == width, (page, line)
            else:
                width = 0
                assert len(line) <= 120, (page, line)
