"""``consent catalog``: what it prints, and how it ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from consent.catalog import load_catalog
from consent.cli import main

POLICY = """[site]
name = "Example"

[[vendor]]
id = "own-pixel"
name = "Own\\u202epixel"
company = "Example GmbH"
country = "DE"
privacy = "https://www.example.com/privacy"
category = "targeting"
about = "Counts readers of the newsletter."
hosts = ["pixel.example.com"]
"""


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(main, ("catalog", *arguments), prog_name="consent")


def test_explain_prints_vendor_category_use_rule_and_reason() -> None:
    """One block for each thing."""
    result = invoke("explain", "https://secure.statcounter.com/counter/counter.js", "sc_is_visitor_unique")
    assert result.exit_code == 0
    assert result.output == (
        "URL secure.statcounter.com/counter/counter.js\n"
        "  Vendor    StatCounter (statcounter)\n"
        "  Category  performance\n"
        "  Use       Counts visits and shows which pages are used and how people got there.\n"
        "  Rule      statcounter.com\n"
        "  Because   the host is statcounter.com, or below it\n"
        "\n"
        "cookie sc_is_visitor_unique\n"
        "  Vendor    StatCounter (statcounter)\n"
        "  Category  performance\n"
        "  Use       Counts visits and shows which pages are used and how people got there.\n"
        "  Rule      sc_is_visitor_unique\n"
        "  Because   that is its name: sc_is_visitor_unique\n"
        "\n"
    )


def test_explain_ends_with_1_where_something_is_unclassified() -> None:
    """So that a script can ask."""
    result = invoke("explain", "https://pictures.example/a.png")
    assert result.exit_code == 1
    assert (
        result.output == "URL pictures.example/a.png\n  unclassified: nothing in the catalog explains it\n\n"
    )


def test_explain_reads_a_file_as_a_page(tmp_path: Path) -> None:
    """What is the site's own by --url is passed over."""
    page = tmp_path / "page.html"
    page.write_text(
        '<img src="https://www.example.com/own.png">\n<script src="https://www.statcounter.com/c.js"></script>'
    )
    result = invoke("explain", "--json", "--url", "https://www.example.com/", str(page))
    assert result.exit_code == 0
    assert json.loads(result.output) == {
        "line": 2,
        "kind": "script",
        "subject": "www.statcounter.com/c.js",
        "vendor": "statcounter",
        "name": "StatCounter",
        "category": "performance",
        "rule": "statcounter.com",
        "because": "the host is statcounter.com, or below it",
        "list": None,
    }
    assert invoke("explain", str(page)).exit_code == 1
    page.write_text("<p>Hello</p>")
    assert invoke("explain", str(page)).output == f"{page}: nothing of anybody else's is in it\n"


def test_an_address_that_is_none_is_refused(tmp_path: Path) -> None:
    """With the remedy."""
    page = tmp_path / "page.html"
    page.write_text("<p>Hello</p>")
    result = invoke("explain", "--url", "example.com", str(page))
    assert result.exit_code == 2
    assert result.output.endswith(
        "Error: Invalid value for --url: write the page's address: https://www.example.com/\n"
    )


def test_a_policy_adds_its_vendors_and_cannot_obey_a_terminal(tmp_path: Path) -> None:
    """Characters that move others are not passed on."""
    policy = tmp_path / "consent.toml"
    policy.write_text(POLICY, encoding="utf-8")
    result = invoke("explain", "--policy", str(policy), "https://pixel.example.com/")
    assert result.exit_code == 0
    assert "  Vendor    Own\ufffdpixel (own-pixel)\n" in result.output
    assert invoke("show", "--policy", str(policy), "own-pixel").exit_code == 0
    policy.write_text("[site]\nnam = 1\n")
    broken = invoke("list", "--policy", str(policy))
    assert (broken.exit_code, broken.output.startswith("Error: ")) == (1, True)


def test_search_and_list_print_a_table() -> None:
    """Id, category, name, company and country."""
    result = invoke("search", "STATCOUNTER")
    assert (result.exit_code, result.output) == (
        0,
        "ID                                CATEGORY            NAME AND COMPANY\n"
        "statcounter                       performance         StatCounter, of StatCounter Ltd (IE)\n",
    )
    everything = invoke("list").output.splitlines()
    assert len(everything) == 1 + len(load_catalog().vendors)
    chosen = invoke("list", "--category", "performance", "--json").output.splitlines()
    assert {json.loads(line)["category"] for line in chosen} == {"performance"}


def test_what_is_not_there_ends_with_1() -> None:
    """And says what to try."""
    result = invoke("search", "no-such-vendor", "anywhere")
    assert (result.exit_code, result.output) == (
        1,
        "Error: no vendor has 'no-such-vendor' and 'anywhere' in a name or rule: "
        "'consent catalog list' lists all\n",
    )
    result = invoke("show", "nobody")
    assert (result.exit_code, result.output) == (
        1,
        "Error: no vendor 'nobody': 'consent catalog search WORD' finds ids\n",
    )


def test_show_prints_everything() -> None:
    """With cookies as visitors read them."""
    result = invoke("show", "statcounter")
    assert result.exit_code == 0
    assert result.output == (
        "Id        statcounter\n"
        "Name      StatCounter\n"
        "Company   StatCounter Ltd (IE)\n"
        "Category  performance\n"
        "Use       Counts visits and shows which pages are used and how people got there.\n"
        "Privacy   https://statcounter.com/about/legal/\n"
        "Opt-out   https://statcounter.com/about/set-refusal-cookie/\n"
        "Hosts\n"
        "  statcounter.com\n"
        "Snippets\n"
        "  sc_project\\s*+=\\s*+\\d\n"
        "Cookies\n"
        "  sc_is_visitor_unique: Knows whether and when the visitor was here before. 2 years, first party\n"
    )
    assert json.loads(invoke("show", "statcounter", "--json").output)["hosts"] == ["statcounter.com"]


@pytest.mark.parametrize("command", ["explain", "list", "search", "show"])
def test_every_command_says_how_it_is_used(command: str) -> None:
    """With --help."""
    result = invoke(command, "--help")
    assert result.exit_code == 0
    assert result.output.startswith(f"Usage: consent catalog {command} [OPTIONS]")


@pytest.fixture
def listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a policy that uses a list, and the list's file."""
    monkeypatch.chdir(tmp_path)
    Path("list.txt").write_text("! Title: Made Up\n! Licence: of its own\n||stats.example^\n||px.example/a\n")
    assert invoke("import", "list.txt", "--out", "lists.toml").exit_code == 0
    Path("consent.toml").write_text('lists = ["lists.toml"]\n')
    return tmp_path


def test_explain_names_the_list_and_the_line_of_its_file(listed: Path) -> None:
    """In tables and for scripts."""
    lines = Path("lists.toml").read_text().splitlines()
    host, pattern = (lines.index(f"  '{rule}',") + 1 for rule in ("stats.example", "px.example/a*"))
    result = invoke("explain", "--policy", "consent.toml", "https://www.stats.example/x.js")
    assert (result.exit_code, result.output) == (
        0,
        "URL www.stats.example/x.js\n"
        "  Vendor    Made Up (list-made-up)\n"
        "  Category  targeting\n"
        "  Use       Named by a public list, Made Up.\n"
        "  Rule      stats.example\n"
        "  Because   the host is stats.example, or below it\n"
        f"  List      Made Up, lists.toml:{host}\n"
        "\n",
    )
    result = invoke("explain", "--json", "--policy", "consent.toml", "https://px.example/a.gif")
    assert json.loads(result.output)["list"] == {
        "name": "Made Up",
        "licence": "of its own",
        "file": "lists.toml",
        "line": pattern,
    }


def test_explain_names_the_line_of_each_thing_in_a_page(listed: Path) -> None:
    """Where it is first; of a snippet, where its code is."""
    page = Path("page.html")
    page.write_text(
        "<p>Hello\n<img\n src='https://stats.example/a.png'>\n<script>\nvar a = 1;\n"
        "fbq('init', '1');\n</script>\n<img src='https://other.example/b.png'><img src='https://stats.example/a.png'>\n"
    )
    result = invoke("explain", "--policy", "consent.toml", str(page))
    heads = [line for line in result.output.splitlines() if line.startswith("page.html:")]
    assert heads == [
        "page.html:3: img stats.example/a.png",
        "page.html:6: inline script the snippet of Meta Pixel",
        "page.html:8: img other.example/b.png",
    ]
    assert result.exit_code == 1


def test_search_list_and_show_know_lists(listed: Path) -> None:
    """With the list's name instead of what it does not say."""
    row = "list-made-up                      targeting           Made Up, named by a public list, Made Up\n"
    result = invoke("search", "--policy", "consent.toml", "stats.example")
    assert result.output == f"ID                                CATEGORY            NAME AND COMPANY\n{row}"
    assert row in invoke("list", "--policy", "consent.toml", "--category", "targeting").output
    line = Path("lists.toml").read_text().splitlines().index("[[vendor]]") + 1
    assert invoke("show", "--policy", "consent.toml", "list-made-up").output == (
        "Id        list-made-up\n"
        "Name      Made Up\n"
        "Category  targeting\n"
        "Use       Named by a public list, Made Up.\n"
        f"List      Made Up, lists.toml:{line}\n"
        "Licence   of its own\n"
        "Hosts\n"
        "  stats.example\n"
        "URL patterns\n"
        "  px.example/a*\n"
    )
    shown = json.loads(invoke("show", "--json", "--policy", "consent.toml", "list-made-up").output)
    assert (shown["listed_by"], shown["list"]["file"]) == ("Made Up", "lists.toml")


def test_check_says_what_to_do_about_what_a_list_names(listed: Path) -> None:
    """It cannot be declared by its id."""
    Path("page.html").write_text('<img src="https://stats.example/a.png">')
    result = CliRunner().invoke(main, ("check", "--policy", "consent.toml", "page.html"), prog_name="consent")
    assert result.exit_code == 1
    assert result.output.startswith(
        "page.html:1: Made Up (targeting) img stats.example/a.png: not declared: describe it in a [[vendor]] table of "
        "the policy, or take it out\n"
    )
