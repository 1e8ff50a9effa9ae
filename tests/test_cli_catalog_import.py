"""``consent catalog import``: what it prints, what it writes, and that nothing is changed where something is wrong."""

from __future__ import annotations

import json
import os
import stat
import sys
from hashlib import sha256
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from consent.cli import main
from consent.guard import MAX_LISTED_RULES

LIST = """[Adblock Plus 2.0]
! Title: Made Up
! Licence: https://list.example/licence
! Version: 202601310700
||stats.example^$third-party
||stats.example^
||pixel.example/px.gif
||google-analytics.com^
||news.example^$domain=paper.example
||gone.example^
@@||gone.example^
@@||lib.stats.example^
@@||nobody.example^
/track.js?
/track.png?
/track.gif?
/track.css?
"""


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(main, ("catalog", "import", *arguments), prog_name="consent")


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("list.txt").write_text(LIST, encoding="utf-8")


def test_it_shows_the_licence_and_what_became_of_each_rule() -> None:
    """On the terminal; the file has the licence, too."""
    result = invoke("list.txt", "--out", "made-up.toml")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.output == (
        "Made Up, version 202601310700\n"
        "  Licence  https://list.example/licence\n"
        f"  From     list.txt, {len(LIST)} bytes, SHA-256 {sha256(LIST.encode()).hexdigest()}\n"
        "13 rules read:\n"
        "        2  taken\n"
        "        1  known already: the built-in catalog has an answer\n"
        "        1  there twice\n"
        "        1  taken back by the list itself\n"
        "        1  exceptions, kept as such\n"
        "        2  exceptions to nothing that is taken\n"
        "        5  not taken\n"
        "                  4  is about every host\n"
        "                     line 14: /track.js?\n"
        "                     line 15: /track.png?\n"
        "                     line 16: /track.gif?\n"
        "                  1  only on certain sites ($domain=)\n"
        "                     line 9: ||news.example^$domain=paper.example\n"
        "Written to made-up.toml. Its path goes into the policy, from the policy's folder:\n"
        '  lists = ["made-up.toml"]\n'
    )
    assert "\n#     https://list.example/licence\n" in Path("made-up.toml").read_text()


def test_scripts_get_the_same_as_json() -> None:
    """One object."""
    result = invoke("list.txt", "--json", "--name", "Ours", "--out", "ours.toml")
    assert json.loads(result.output) == {
        "name": "Ours",
        "format": "easyprivacy",
        "licence": "https://list.example/licence",
        "version": "202601310700",
        "files": ["list.txt"],
        "read": 13,
        "taken": 2,
        "known": 1,
        "repeated": 1,
        "excepted": 1,
        "let_through": 1,
        "without_effect": 2,
        "not_taken": 5,
        "reasons": [
            {
                "reason": "is about every host",
                "count": 4,
                "examples": ["line 14: /track.js?", "line 15: /track.png?", "line 16: /track.gif?"],
            },
            {
                "reason": "only on certain sites ($domain=)",
                "count": 1,
                "examples": ["line 9: ||news.example^$domain=paper.example"],
            },
        ],
        "vendors": 2,
        "rules": 3,
        "in_guard": True,
        "out": "ours.toml",
    }


def test_a_terminal_shows_how_far_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A few times only, since that takes longer than the reading; where nobody watches there is nothing."""
    Path("hosts.txt").write_text("".join(f"h{number}.example\n" for number in range(1_000)))
    for is_terminal in (True, False):
        monkeypatch.setattr(sys.stderr, "isatty", lambda is_terminal=is_terminal: is_terminal)
        main(["catalog", "import", "hosts.txt", "--out", "hosts.toml"], standalone_mode=False)
        shown = capsys.readouterr().err
        assert ("100%" in shown) is is_terminal
        assert shown.count("Reading") <= 103


def test_a_long_list_is_not_for_the_guard() -> None:
    """Which is said."""
    hosts = "".join(f"h{number}.example\n" for number in range(MAX_LISTED_RULES + 1))
    Path("hosts.txt").write_text(hosts)
    result = invoke("hosts.txt", "--out", "hosts.toml")
    assert result.output.endswith(
        "The server refuses what the list names; the guard does not: more than 1,000 rules would be too much for "
        "visitors to load.\n"
    )


def test_its_own_file_is_replaced_at_once_and_keeps_its_mode() -> None:
    """A new copy of the list takes the place of the old one; nothing is left beside it."""
    assert invoke("list.txt", "--out", "list.toml").exit_code == 0
    Path("list.toml").chmod(0o640)
    Path("list.txt").write_text(LIST + "||new.example^\n")
    assert invoke("list.txt", "--out", "list.toml").exit_code == 0
    assert "'new.example'" in Path("list.toml").read_text()
    assert stat.S_IMODE(Path("list.toml").stat().st_mode) == 0o640
    assert sorted(os.listdir()) == ["list.toml", "list.txt"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("none.txt", "--out", "list.toml"),
            "none.txt: cannot be read (No such file or directory): correct the path",
        ),
        ((".", "--out", "list.toml"), ".: this is not a regular file: give the path of one"),
        (("bad.txt", "--out", "list.toml"), "bad.txt:2: this line is not UTF-8: save the file as UTF-8"),
        (
            ("list.txt", "--as", "disconnect", "--out", "list.toml"),
            "list.txt:1: not valid JSON at column 2: ",
        ),
        (
            ("list.txt", "--out", "no/such/list.toml"),
            "no/such/list.toml cannot be written: No such file or directory",
        ),
        (
            ("list.txt", "--out", "consent.toml"),
            "consent.toml: exists, and is no list that this command wrote: choose another --out",
        ),
    ],
)
def test_what_is_wrong_ends_with_2_and_changes_nothing(arguments: tuple[str, ...], message: str) -> None:
    """The message says where, and what to do."""
    Path("bad.txt").write_bytes(b"a.example\nb\xff.example\n")
    Path("consent.toml").write_text('regime = "opt-in"\n')
    before = {name: Path(name).read_bytes() for name in os.listdir()}
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert result.output.startswith(f"Error: {message}")
    assert {name: Path(name).read_bytes() for name in os.listdir()} == before


def test_a_disk_that_fails_leaves_the_old_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole, and no piece of the new one."""
    assert invoke("list.txt", "--out", "list.toml").exit_code == 0
    before = Path("list.toml").read_bytes()

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    Path("list.txt").write_text("||new.example^\n")
    result = invoke("list.txt", "--out", "list.toml")
    assert (result.exit_code, result.output) == (
        2,
        "Error: list.toml cannot be written: No space left on device\n",
    )
    assert Path("list.toml").read_bytes() == before
    assert sorted(os.listdir()) == ["list.toml", "list.txt"]


def test_nothing_of_a_list_obeys_on_a_terminal() -> None:
    """Neither its name nor its rules."""
    Path("list.txt").write_text("! Title: Made\x1b[2J Up\n||a.example^\n/\u202etrack.js?\n", encoding="utf-8")
    output = invoke("list.txt", "--out", "list.toml").output
    assert "\x1b" not in output
    assert "\u202e" not in output
    assert output.startswith("Made\ufffd[2J Up\n")
