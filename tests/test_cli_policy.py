"""`consent policy`: whether a change of the policy file asks visitors again, and why."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from consent.cli import main
from tests.test_docs import shown_text

BEFORE = """declare = ["hotjar"]
[site]
controller = "Example Ltd"
[choice]
days = 180
[[cookie]]
name = "basket"
purpose = "Remembers what is in yuor basket."
lifetime = "session"
category = "strictly-necessary"
[[vendor]]
id = "example-stats"
name = "Example Stats"
company = "Example Ltd"
country = "IE"
privacy = "https://stats.example/privacy"
category = "performance"
about = "Counts visits."
hosts = ["stats.example"]
cookie = [{ name = "stats", purpose = "Counts.", lifetime = "1 year" }]
storage = [{ key = "stats", purpose = "Counts." }]
"""
TYPO = BEFORE.replace("yuor", "your")
AFTER = (
    TYPO.replace('"hotjar"', '"matomo"')
    .replace('lifetime = "session"', 'lifetime = "30 days"')
    .replace('lifetime = "1 year"', 'lifetime = "2 years"')
    .replace("days = 180", "days = 90")
    .replace("storage = ", "# ")
) + '[texts]\naccept = "Yes"\n[texts.de]\naccept = "Ja"\n'


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three versions of one file."""
    monkeypatch.chdir(tmp_path)
    for name, text in (("before", BEFORE), ("typo", TYPO), ("after", AFTER), ("wrong", "declare = 1")):
        (tmp_path / f"{name}.toml").write_text(text, encoding="utf-8")


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["policy", *arguments])
    return result.exit_code, result.output


def test_a_material_change_is_told_item_by_item() -> None:
    """Exit code 1; what matters comes first. It is what the documentation shows."""
    code, output = run("diff", "before.toml", "after.toml")
    assert (code, output) == (1, shown_text("docs/cli.md", "Visitors are asked again"))


def test_a_typo_asks_nobody() -> None:
    """Exit code 0, and what it was."""
    version = run("version", "before.toml")[1].strip()
    code, output = run("diff", "before.toml", "typo.toml")
    assert code == 0
    assert output.splitlines() == [
        f"Visitors are not asked again: the version stays {version}.",
        "What does not:",
        "  own cookie basket, purpose: Remembers what is in yuor basket. → Remembers what is in your basket.",
    ]
    assert run("diff", "typo.toml", "typo.toml")[1].count("\n") == 1


def test_a_site_that_is_made_for_children_asks_again() -> None:
    """Nobody was told of that before: it is material, in either direction."""
    for name, flag in (("off", "false"), ("on", "true")):
        Path(f"{name}.toml").write_text(f"children = {flag}\n", encoding="utf-8")
    for files, change in ((("off", "on"), "False → True"), (("on", "off"), "True → False")):
        code, output = run("diff", *(f"{name}.toml" for name in files))
        assert (code, output.splitlines()[1:]) == (1, ["What matters to them:", f"  children: {change}"])


def test_json_has_the_same() -> None:
    """One object, with what stood in both files."""
    code, output = run("diff", "--json", "after.toml", "typo.toml")
    told = json.loads(output)
    assert (code, told["material"]) == (1, True)
    assert (told["before"], told["after"]) == (
        run("version", "after.toml")[1].strip(),
        run("version", "typo.toml")[1].strip(),
    )
    assert {"material": False, "what": "text de.accept", "before": "Ja", "after": None} in told["changes"]


def test_a_wrong_file_is_neither() -> None:
    """Exit code 2, with file, line and key."""
    for arguments in (("diff", "before.toml", "wrong.toml"), ("version", "wrong.toml")):
        code, output = run(*arguments)
        assert (code, "wrong.toml:1 [declare]: must be a list" in output) == (2, True)
    assert run("version", "missing.toml")[0] == 2
