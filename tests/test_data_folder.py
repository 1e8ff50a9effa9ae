"""The data folder: one set of keys for all processes, readable by nobody else."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from consent.data_folder import DataFolder
from consent.errors import ConfigurationError
from tests.workers import WORKERS

if TYPE_CHECKING:
    from multiprocessing.queues import Queue
    from multiprocessing.synchronize import Barrier

OLD, NEW = "11" * 32, "22" * 32


@pytest.fixture
def folder(tmp_path: Path) -> DataFolder:
    return DataFolder(tmp_path / "consent-data")


def put_keys(folder: DataFolder, content: str, mode: int = 0o600) -> None:
    folder.path.mkdir(mode=0o700, exist_ok=True)
    folder.keys_path.write_text(content)
    folder.keys_path.chmod(mode)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_making_the_object_touches_nothing(folder: DataFolder) -> None:
    """A command that only reads must not leave a folder behind."""
    assert folder.receipts_path == folder.path / "receipts.sqlite3"
    assert not folder.path.exists()


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o277])
def test_folder_and_key_are_the_owners_only(folder: DataFolder, umask: int) -> None:
    """Whatever the umask says: 0700 and 0600 (or less, where the umask takes from the owner, too)."""
    before = os.umask(umask)
    try:
        (key,) = folder.keys()
    finally:
        os.umask(before)
    assert len(key) == 32
    assert mode(folder.path) == 0o700 & ~umask
    assert mode(folder.keys_path) == 0o600
    assert sorted(path.name for path in folder.path.iterdir()) == [".gitignore", "keys"]


def test_the_key_stays_the_same_and_differs_between_folders(folder: DataFolder, tmp_path: Path) -> None:
    """It is made once, and at random."""
    assert folder.keys() == folder.keys() == DataFolder(folder.path).keys()
    assert folder.keys() != DataFolder(tmp_path / "other").keys()


def test_nobody_commits_the_folder(folder: DataFolder, tmp_path: Path) -> None:
    """A project that the folder lies in does not see it."""
    folder.keys()
    assert (folder.path / ".gitignore").read_text() == "*\n"
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    status = subprocess.run(
        ["git", "status", "--porcelain"], cwd=tmp_path, check=True, capture_output=True, text=True
    )
    assert status.stdout == ""


def test_the_first_line_signs_and_all_verify(folder: DataFolder) -> None:
    """Rotation: comments, empty lines and Windows line ends do not matter."""
    put_keys(folder, f"# a heading\r\n{NEW}\r\n\n  {OLD}\n")
    assert folder.keys() == (bytes.fromhex(NEW), bytes.fromhex(OLD))


def test_a_written_key_file_explains_itself_and_can_be_rotated(folder: DataFolder) -> None:
    """Putting a line on top of the file that was made is all there is to it."""
    (first,) = folder.keys()
    made = folder.keys_path.read_text()
    assert made.startswith("# Keys that sign")
    put_keys(folder, f"{NEW}\n{made}")
    assert folder.keys() == (bytes.fromhex(NEW), first)


@pytest.mark.parametrize("permissions", [0o604, 0o640, 0o644, 0o620, 0o602])
def test_keys_that_others_may_read_or_change_are_refused(folder: DataFolder, permissions: int) -> None:
    """The message says what to run, and does not say the key."""
    put_keys(folder, OLD, permissions)
    with pytest.raises(ConfigurationError) as caught:
        folder.keys()
    assert str(caught.value) == (
        f"{folder.keys_path}: other users may read or change the keys (mode {permissions:04o}): "
        f"run chmod 600 {folder.keys_path}; if they may have been read, also put a new key first"
    )


@pytest.mark.parametrize("permissions", [0o777, 0o1777, 0o770, 0o702])
def test_a_folder_that_others_may_write_to_is_refused(folder: DataFolder, permissions: int) -> None:
    """They could put keys of their own there, before us or in the place of ours."""
    folder.path.mkdir()
    folder.path.chmod(permissions)
    with pytest.raises(ConfigurationError, match=f"run chmod 700 {folder.path}, or name a folder inside it"):
        folder.keys()
    assert list(folder.path.iterdir()) == []
    put_keys(folder, OLD)
    with pytest.raises(ConfigurationError, match="other users may put files into it"):
        folder.keys()


def test_a_folder_that_others_may_look_into_is_used_as_it_is(folder: DataFolder) -> None:
    """Its files are the owner's only; the folder may be somebody's mounted volume."""
    folder.path.mkdir()
    folder.path.chmod(0o755)
    assert len(folder.keys()) == 1
    assert mode(folder.path) == 0o755


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "no key in it: restore it, or remove it and a new one is made"),
        ("# only a comment\n", "no key in it"),
        (
            f"{OLD}\nsecret-1234\n",
            "keys:2: a key is 64 hexadecimal digits in lower case: make one with python",
        ),
        (OLD[:-1], "keys:1: a key is 64 hexadecimal digits"),
        (("AB" * 32), "keys:1: a key is 64 hexadecimal digits in lower case"),
        (f"{OLD}\n{NEW}\n{OLD}\n", "keys:3: this key is in the file twice: remove one"),
        ("\n".join(f"{number:064x}" for number in range(101)), "101 keys: drop old ones, 100 at most"),
        ("#" * 70_000, "more than 65536 bytes: this holds no keys"),
        ("\udcff", "keys:1: a key is"),
    ],
    ids=["empty", "comment", "text", "short", "upper case", "twice", "many", "long", "binary"],
)
def test_a_file_without_proper_keys_is_refused(folder: DataFolder, content: str, message: str) -> None:
    """The message names the line and never repeats what it says."""
    folder.path.mkdir(mode=0o700)
    folder.keys_path.write_bytes(content.encode("utf-8", "surrogateescape"))
    folder.keys_path.chmod(0o600)
    with pytest.raises(ConfigurationError) as caught:
        folder.keys()
    assert message in str(caught.value)
    assert "secret-1234" not in str(caught.value)
    assert OLD not in str(caught.value)


def test_a_pipe_or_folder_in_the_place_of_the_keys_is_refused(folder: DataFolder) -> None:
    """And the start does not hang on it."""
    folder.path.mkdir(mode=0o700)
    os.mkfifo(folder.keys_path, 0o600)
    with pytest.raises(ConfigurationError, match="this must be a file: remove it"):
        folder.keys()
    folder.keys_path.unlink()
    folder.keys_path.mkdir(mode=0o700)
    with pytest.raises(ConfigurationError, match="this must be a file: remove it"):
        folder.keys()


def test_a_missing_parent_and_a_file_in_the_place_of_the_folder_are_reported(tmp_path: Path) -> None:
    """A mistyped path must not grow a tree of folders."""
    with pytest.raises(ConfigurationError, match=f"{tmp_path}/typo does not exist: create that first"):
        DataFolder(tmp_path / "typo" / "consent-data").keys()
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="a file is in the place of this folder"):
        DataFolder(tmp_path / "file").keys()
    with pytest.raises(ConfigurationError, match="or of one that it lies in: name another"):
        DataFolder(tmp_path / "file" / "consent-data").keys()


def test_what_a_dead_process_left_half_done_is_cleared_away(folder: DataFolder) -> None:
    """A key file counts only once it is whole."""
    folder.path.mkdir(mode=0o700)
    (folder.path / "keys.new").write_text("11")
    assert len(folder.keys()) == 1
    assert sorted(path.name for path in folder.path.iterdir()) == [".gitignore", "keys"]


def _take_keys(path: str, ready: Barrier, found: Queue[tuple[bytes, ...]]) -> None:
    ready.wait(60)
    found.put(DataFolder(path).keys())


def test_processes_that_start_together_agree_on_one_key(folder: DataFolder) -> None:
    """16 workers on no folder at all: one key, the same for all."""
    ready, found = WORKERS.Barrier(16), WORKERS.Queue()
    workers = [WORKERS.Process(target=_take_keys, args=(str(folder.path), ready, found)) for _ in range(16)]
    for worker in workers:
        worker.start()
    keys = {found.get(timeout=60) for _ in workers}
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * 16
    assert keys == {folder.keys()}
    assert len(folder.keys()) == 1
