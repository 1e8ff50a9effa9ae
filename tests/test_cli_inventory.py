"""``consent inventory``: what it prints, and how it ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from consent.cli import main
from consent.data_folder import DataFolder
from consent.inventory import Sighting, Source, Tally
from consent.sqlite_inventory import SQLiteInventory

DAY = 20_782  # 2026-11-25
SEEN = {
    Sighting(Source.RESPONSE, "img", "pics.example", ""): Tally(DAY - 9, DAY, 3, ["/", "/shop/*"]),
    Sighting(Source.REPORT, "connect-src", "t.example", ""): Tally(DAY, DAY, 12, []),
    Sighting(Source.RESPONSE, "script", "static.hotjar.com", "hotjar"): Tally(DAY, DAY, 40, ["/\u202ex"]),
    Sighting(Source.RESPONSE, "iframe", "www.youtube.com", "youtube"): Tally(DAY, DAY, 5, ["/film"]),
    Sighting(Source.RESPONSE, "img", "stats.example", "example-stats"): Tally(DAY, DAY, 1, ["/"]),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data folder with an inventory, and a policy beside it that declares YouTube."""
    path = tmp_path / "data"
    path.mkdir(mode=0o700)
    SQLiteInventory(DataFolder(path).inventory_path).merge(SEEN)
    (tmp_path / "consent.toml").write_text('declare = ["youtube"]\n')
    return path


def invoke(folder: Path, *arguments: str) -> Result:
    policy = str(folder.parent / "consent.toml")
    return CliRunner().invoke(
        main,
        ["inventory", *arguments],
        prog_name="consent",
        env={"CONSENT_DATA": str(folder), "CONSENT_POLICY": policy},
    )


def test_what_nobody_explained_comes_first(folder: Path) -> None:
    """Then what is not declared; within each what is seen most. What could move words is taken out."""
    result = invoke(folder)
    assert result.exit_code == 0
    assert (
        result.output
        == """\
STATUS        WHAT               KIND         VENDOR         FIRST       LAST        TIMES  FOR EXAMPLE
unclassified  t.example          connect-src                 2026-11-25  2026-11-25  12
unclassified  pics.example       img                         2026-11-16  2026-11-25  3      /
undeclared    static.hotjar.com  script       hotjar         2026-11-25  2026-11-25  40     /\ufffdx
undeclared    stats.example      img          example-stats  2026-11-25  2026-11-25  1      /
declared      www.youtube.com    iframe       youtube        2026-11-25  2026-11-25  5      /film
"""
    )


def test_the_rules_of_a_part_of_the_site_count_for_what_was_seen_there(folder: Path) -> None:
    """Its own declared vendors, and what it names to load from; scripts come behind hosts."""
    (folder.parent / "shop.toml").write_text('declare = ["hotjar"]\n')
    (folder.parent / "consent.toml").write_text(
        'declare = ["youtube"]\n[[rule]]\nhosts = ["shop.example", "*.shop.example"]\npolicy = "shop.toml"\n'
        '[[rule]]\npaths = ["/in/"]\nunclassified = "strip"\ncsp_allow = ["named.example", "cdn.example/js/"]\n'
    )
    shop = "shop.example,*.shop.example"
    path = DataFolder(folder).inventory_path
    path.unlink()
    SQLiteInventory(path).merge(
        {
            Sighting(Source.RESPONSE, "script", "static.hotjar.com", "hotjar"): Tally(DAY, DAY, 9, ["/"]),
            Sighting(Source.RESPONSE, "script", "static.hotjar.com", "hotjar", shop): Tally(
                DAY, DAY, 8, ["/"]
            ),
            Sighting(Source.RESPONSE, "iframe", "www.youtube.com", "youtube", shop): Tally(
                DAY, DAY, 7, ["/"]
            ),
            Sighting(Source.RESPONSE, "img", "named.example", ""): Tally(DAY, DAY, 6, ["/in/a", "/in/b"]),
            Sighting(Source.RESPONSE, "script", "named.example", ""): Tally(DAY, DAY, 5, ["/in/a", "/"]),
            Sighting(Source.RESPONSE, "script", "cdn.example", ""): Tally(DAY, DAY, 4, ["/in/a"]),
            Sighting(Source.SCRIPT, "inline script", "0123456789ab a.b", ""): Tally(DAY, DAY, 99, ["/in/a"]),
        }
    )
    lines = [json.loads(line) for line in invoke(folder, "--json").output.splitlines()]
    assert [(line["status"], line["subject"], line["kind"], line["hosts"]) for line in lines] == [
        ("unclassified", "named.example", "script", None),
        ("unclassified", "cdn.example", "script", None),
        ("unclassified", "0123456789ab a.b", "inline script", None),
        ("undeclared", "static.hotjar.com", "script", None),
        ("undeclared", "www.youtube.com", "iframe", ["shop.example", "*.shop.example"]),
        ("declared", "static.hotjar.com", "script", ["shop.example", "*.shop.example"]),
        ("declared", "named.example", "img", None),
    ]
    table = invoke(folder).output.splitlines()
    assert table[0].endswith("  HOSTS")
    assert table[5].split()[-3:] == ["/", "shop.example", "*.shop.example"]


def test_options_choose(folder: Path) -> None:
    """By status, and by who says so."""
    assert [line.split()[1] for line in invoke(folder, "--status", "undeclared").output.splitlines()[1:]] == [
        "static.hotjar.com",
        "stats.example",
    ]
    assert [line.split()[1] for line in invoke(folder, "--source", "report").output.splitlines()[1:]] == [
        "t.example"
    ]
    nothing = invoke(folder, "--source", "report", "--status", "declared")
    assert (nothing.exit_code, nothing.stdout, nothing.stderr) == (0, "", "No such sightings.\n")


def test_json_has_all_of_it(folder: Path) -> None:
    """One object a line, in the same order; a vendor that the catalog does not know has no name."""
    lines = [json.loads(line) for line in invoke(folder, "--json").output.splitlines()]
    assert lines[1] == {
        "status": "unclassified",
        "subject": "pics.example",
        "kind": "img",
        "source": "response",
        "vendor": None,
        "name": None,
        "category": None,
        "first_seen": "2026-11-16",
        "last_seen": "2026-11-25",
        "count": 3,
        "pages": ["/", "/shop/*"],
        "hosts": None,
    }
    assert [(line["vendor"], line["name"], line["category"]) for line in lines[2:]] == [
        ("hotjar", "Hotjar", "performance"),
        ("example-stats", None, None),
        ("youtube", "YouTube", "functional"),
    ]


def test_no_inventory_exits_with_1_and_makes_none(tmp_path: Path) -> None:
    """The message says when there will be one."""
    (tmp_path / "consent.toml").write_text("")
    result = invoke(tmp_path / "nowhere")
    assert result.exit_code == 1
    assert result.stderr == (
        f"Error: no inventory yet: there is no file at {tmp_path}/nowhere/inventory.sqlite3; it is made when "
        f"the site has served a page with third-party content (data folder: {tmp_path}/nowhere; --data names "
        "another)\n"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["consent.toml"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("data/inventory.sqlite3", "cannot be used as inventory: file is not a database"),
        ("consent.toml", "not valid TOML"),
    ],
)
def test_a_file_that_cannot_be_read_exits_with_1(folder: Path, name: str, message: str) -> None:
    """One line, no traceback."""
    (folder.parent / name).write_text("Dear diary, " * 100)
    result = invoke(folder)
    assert result.exit_code == 1
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
