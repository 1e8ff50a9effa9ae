"""`consent check` on templates, pages and files: each tracker with its line, before anybody serves it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import example, given
from hypothesis import strategies as st

from consent.check import MAX_PAGE_BYTES
from consent.cli import main
from consent.template_syntax import readings

BASE = """<!doctype html>
{# <script src="https://connect.facebook.net/en_US/fbevents.js"></script> #}
<html><head>
<script async
   src="https://www.googletagmanager.com/gtag/js?id={{ ID }}"></script>
<script>
  // set up
  window.fbq=window.fbq||function(){};
  fbq('init', '{{ pixel|default("none") }}');
</script>
<link rel="stylesheet" href="{{ url_for("static", filename="x.css") }}" title="{{ "%}" }}">
<script src="{% if a <b %}https://static.hotjar.com/c/1.js{% else %}https://www.clarity.ms/tag/a{% endif %}"></script>
</head><body>
<noscript>

 <img src="https://www.facebook.com/tr?id=1"></noscript>
<img src="https://unknown.example/x.png"><img src="https://www.shop.example/own.png">
<style>
 @media print{#main{color:red}}
 body { background: url(https://mc.yandex.ru/watch/1) }
</style>{% comment %}<img src="https://mc.yandex.ru/watch/2">{% endcomment %}
<script src="{{ base }}/app.js"></script><script src=https://{{ host }}/app.js></script>
<script src="https://js.stripe.com/v3/"></script>
</body></html>
"""
POLICY = 'declare = ["google-analytics", "meta-pixel", "hotjar", "microsoft-clarity"]\n'


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a template, in which the command is called."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CONSENT_POLICY", raising=False)
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates/base.html").write_text(BASE, encoding="utf-8")
    (tmp_path / "consent.toml").write_text(POLICY, encoding="utf-8")
    return tmp_path


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["check", *arguments])
    return result.exit_code, result.output


def found(output: str) -> list[tuple[str, int, str, str]]:
    """Return file, line, what it is and the verdict of each line about something found."""
    lines = [line.split(":", 3) for line in output.splitlines()[:-1]]
    return [
        (file, int(line), what.strip(), verdict.strip().split(":")[0]) for file, line, what, verdict in lines
    ]


def test_each_tracker_of_a_template_is_told_with_its_line(site: Path) -> None:
    """Where its host or its snippet stands. Comments are none, and each branch is a page of its own."""
    code, output = run("--url", "https://www.shop.example/", "templates/base.html")
    assert code == 1
    file = "templates/base.html"
    assert found(output) == [
        (file, 5, "Google Analytics 4 (performance) script www.googletagmanager.com/gtag/js", "not declared"),
        (file, 9, "Meta Pixel (targeting) inline script the snippet of Meta Pixel", "not declared"),
        (file, 12, "Hotjar (performance) script static.hotjar.com/c/1.js", "not declared"),
        (file, 12, "Microsoft Clarity (performance) script www.clarity.ms/tag/a", "not declared"),
        (file, 16, "Meta Pixel (targeting) img www.facebook.com/tr", "not declared"),
        (file, 17, "unknown img unknown.example/x.png", "unclassified"),
        (file, 20, "Yandex Metrica (performance) style mc.yandex.ru/watch/1", "not declared"),
        (file, 23, "Stripe (strictly-necessary) script js.stripe.com/v3/", "needs no consent"),
    ]
    assert output.splitlines()[0].endswith(
        'not declared: add "google-analytics" to "declare" in the policy, or take it out'
    )
    assert output.splitlines()[-1] == "1 file: 6 trackers found, 0 declared, 6 not declared, 1 unclassified"


def test_what_the_policy_declares_is_fine_and_the_rest_fails(site: Path) -> None:
    """The vendor that is missing is the only one to be told what to do about."""
    code, output = run("--policy", "consent.toml", "templates")
    verdicts = [(line, verdict) for _, line, _, verdict in found(output)]
    assert code == 1
    assert [line for line, verdict in verdicts if verdict == "not declared"] == [20]
    assert [line for line, verdict in verdicts if verdict == "declared"] == [5, 9, 12, 12, 16]
    (site / "consent.toml").write_text(POLICY.replace("]", ', "yandex-metrica"]'), encoding="utf-8")
    assert run("--policy", "consent.toml", "templates")[0] == 0
    assert run("--policy", "consent.toml", "--strict", "templates")[0] == 1


def test_style_sheets_scripts_and_drawings_are_read_by_their_own_rules(site: Path) -> None:
    """What they import, and the snippets in scripts; the same through a template's ending."""
    templates = site / "templates"
    (templates / "base.html").unlink()
    files = {
        "a.css": 'a{}\n@import "https://fonts.googleapis.com/css?x";\n',
        "b.js": '\nimport x from "https://cdn.segment.com/analytics.js/v1/x/analytics.min.js";\n\nfbq("init","1")\n',
        "c.js.j2": '// {# hotjar #}\nimport("https://static.hotjar.com/c/{{ id }}.js")\n',
        "d.svg": '<svg xmlns="http://www.w3.org/2000/svg">\n<image href="https://mc.yandex.ru/watch/1"/></svg>',
        "e.jinja": '<p>\n\n<img src="https://mc.yandex.ru/watch/2">',
        "f.txt": "https://mc.yandex.ru/watch/3",
    }
    for name, content in files.items():
        (templates / name).write_text(content, encoding="utf-8")
    (templates / "utf-16.html").write_text("\n<p>ü\n<img src='//mc.yandex.ru/watch/4'>", encoding="utf-16")
    (templates / "node_modules").mkdir()
    (templates / "node_modules/x.js").write_text('import "https://static.hotjar.com/x.js"', encoding="utf-8")
    (site / "elsewhere.html").write_text('<img src="https://mc.yandex.ru/watch/5">', encoding="utf-8")
    (templates / "link.html").symlink_to(site / "elsewhere.html")
    (templates / "loop").symlink_to(site, target_is_directory=True)
    code, output = run("--json", "templates")
    assert code == 1
    placed = [
        (page["file"], item["line"], item["vendor"], item["kind"])
        for page in map(json.loads, output.splitlines())
        for item in page["undeclared"]
    ]
    assert placed == [
        ("templates/a.css", 2, "google-fonts", "style"),
        ("templates/b.js", 2, "segment", "script"),
        ("templates/b.js", 4, "meta-pixel", "inline script"),
        ("templates/c.js.j2", 2, "hotjar", "script"),
        ("templates/d.svg", 2, "yandex-metrica", "image"),
        ("templates/e.jinja", 3, "yandex-metrica", "img"),
        ("templates/utf-16.html", 3, "yandex-metrica", "img"),
    ]


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("./missing.html", "missing.html cannot be read: No such file or directory"),
        ("empty", "empty has no page, template, style sheet or script"),
        ("large.html", "large.html is larger than 16 MiB"),
        ("deep", "deep is nested deeper than 64 folders"),
        ("pipe.html", "pipe.html is no file"),
        ("bad.svg", "bad.svg cannot be read: a tag of the page is "),
        ("many.html", "many.html cannot be read: there are more than 1000 trackers"),
    ],
)
def test_what_cannot_be_read_is_neither_clean_nor_not(site: Path, target: str, message: str) -> None:
    """Exit code 2, and why."""
    (site / "empty").mkdir()
    (site / "deep" / "/".join("d" * 66)).mkdir(parents=True)
    os.mkfifo(site / "pipe.html")
    with (site / "large.html").open("wb") as large:
        large.truncate((16 << 20) + 1)
    (site / "bad.svg").write_text(f"<!DOCTYPE svg [{'<!-- -->' * 4096}", encoding="utf-8")
    (site / "many.html").write_text('<img src="//mc.yandex.ru/1">' * 1001, encoding="utf-8")
    code, output = run(target)
    assert code == 2
    assert message in output


@given(
    st.lists(
        st.sampled_from(
            ["{{", "}}", "{%", "%}", "{#", "#}", "if a", "else", "endif", '"', "'", "\\", "\n", "<b>"]
        )
    )
)
@example(["{%", "if a", "%}", "\n", "{%", "else", "%}", "{{", '"', "}}", '"', "}}", "{%", "endif", "%}"])
def test_every_byte_of_a_template_keeps_its_place(pieces: list[str]) -> None:
    """Whatever it consists of: lines stay lines, and what is not blanked stays what it is."""
    template = "".join(pieces).encode()
    for reading in readings(template):
        assert len(reading) == len(template)
        for before, after in zip(template, reading, strict=True):
            assert after == before or (after in b"\t \x1a" and before not in b"\r\n")


@pytest.mark.parametrize(
    ("template", "pages"),
    [
        ("a{{ x }}b", ["a\x1a\x1a\x1a\x1a\x1a\x1a\x1ab"]),
        ("<a b={% x %}>", ["<a b=\x1a\x1a\x1a\x1a\x1a\x1a\x1a>"]),
        ("{{ a['}}'] }}c", ["\x1a" * 13 + "c"]),
        ("{{ it's }}c", ["\x1a" * 10 + "c"]),
        ("@media print{#a{}}", ["@media print{#a{}}"]),
        ("{% comment 'x' %}a{% endcomment %}b", ["\t" * 34 + "b"]),
        ("{%if a%}A{%elif b%}B{%else%}C{%endif%}", [
            "\t" * 8 + "A" + "\t" * 29, "\t" * 28 + "C" + "\t" * 9,
            "\t" * 8 + "A" + " " * 10 + "B" + " " * 8 + "C" + "\t" * 9,
        ]),
    ],
)  # fmt: skip
def test_a_template_is_read_as_the_pages_that_come_of_it(template: str, pages: list[str]) -> None:
    """With the first branches, the last, and all; what an expression puts in stays part of a word."""
    assert [reading.decode() for reading in readings(template.encode())] == pages


@pytest.mark.parametrize(
    "source",
    [
        "https://static.hotjar.com{% if v %}/c/1.js{% endif %}",
        "https://{% if v %}static.hotjar.com{% endif %}/c/1.js",
        "https://{% if v %}eu{% else %}static{% endif %}.hotjar.com/c/1.js",
        "https://{# theirs #}static.hotjar.com/c/1.js",
    ],
)
def test_a_url_may_have_tags_anywhere(site: Path, source: str) -> None:
    """In its host, too; and no host is made of two branches."""
    (site / "a.html").write_text(f'<script src="{source}"></script>', encoding="utf-8")
    code, output = run("a.html")
    assert (code, "Hotjar (performance) script static.hotjar.com/c/1.js" in output) == (1, True)
    assert "eustatic" not in output


def test_deep_blocks_are_read_in_linear_time() -> None:
    """What is gone with the block around it is not blanked again."""
    depth = 1 << 14
    template = b"{% if a %}x{% else %}y" * depth + b"{% endif %}" * depth
    first, last, _ = readings(template)
    assert (first.count(b"x"), first.count(b"y"), last.count(b"x"), last.count(b"y")) == (1, 0, 0, depth)


def test_a_file_of_braces_is_read_in_linear_time() -> None:
    """Nothing is searched for again and again that is not there."""
    for opening in (b"{{", b"{%", b"{#", b'{{"', b"{% comment %}"):
        template = opening * (1 << 16)
        assert len(readings(template)[0]) == len(template)


def test_the_rules_about_where_a_page_will_be_count(site: Path) -> None:
    """The vendors that are declared there, and what is named to load from."""
    Path("shop.toml").write_text('declare = ["hotjar"]')
    Path("consent.toml").write_text(
        '[[rule]]\nhosts = ["shop.example"]\npolicy = "shop.toml"\n'
        '[[rule]]\npaths = ["/in/"]\ncsp_allow = ["cdn.example"]'
    )
    Path("page.html").write_text(
        "<script src=https://static.hotjar.com/c/1.js></script><script src=https://cdn.example/a.js></script>"
    )
    for url, code, sum_ in (
        ("https://www.example.com/", 1, "0 declared, 1 not declared, 1 unclassified"),
        ("https://www.example.com/in/a?b", 1, "0 declared, 1 not declared, 0 unclassified"),
        ("https://shop.example/in/", 0, "1 declared, 0 not declared, 1 unclassified"),
    ):
        found = run("--policy", "consent.toml", "--url", url, "page.html")
        assert (found[0], found[1].splitlines()[-1]) == (code, f"1 file: 1 tracker found, {sum_}")


def test_a_huge_file_in_a_folder_is_skipped_and_the_others_are_read(site: Path) -> None:
    """The reason stands beside it, and in the sum; with --strict it fails. A huge file that is named is an error."""
    with Path("templates/a-dump.html").open("wb") as huge:
        huge.truncate(MAX_PAGE_BYTES + 1)
    Path("templates/base.html").write_text("<p>Hello")
    code, output = run("--policy", "consent.toml", "templates")
    assert (code, output.splitlines()) == (
        0,
        [
            "templates/a-dump.html: skipped: larger than 16 MiB",
            "2 files: 0 trackers found, 0 declared, 0 not declared, 0 unclassified, 1 skipped",
        ],
    )
    assert run("--strict", "templates")[0] == 1
    assert [json.loads(line)["skipped"] for line in run("--json", "templates")[1].splitlines()] == [
        "larger than 16 MiB",
        "",
    ]
    assert run("templates/a-dump.html")[0] == 2
