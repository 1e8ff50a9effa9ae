"""Several logs under one root: the checkpoint of each is a leaf, and proven by its path."""

from __future__ import annotations

import contextlib
import json
import random
from pathlib import Path

import pytest
from click.testing import CliRunner

from consent.checkpoint import Checkpoint, Signer
from consent.cli import main
from consent.errors import InvalidProofError
from consent.gathered_logs import MAX_LOGS, GatheredLogs, gather
from consent.merkle import leaf_hash, node_hash

SIGNERS = [Signer(f"asgi-consent/{number:032x}", bytes([number]) * 32) for number in range(5)]
KEYS = [signer.verifier for signer in SIGNERS]


def note_of(number: int, size: int = 7) -> str:
    """Return a checkpoint of one of the logs."""
    return SIGNERS[number].sign(Checkpoint(f"asgi-consent/{number:032x}", size, bytes([number]) * 32).text())


def test_the_root_is_that_of_rfc_9162_over_the_checkpoints_in_order() -> None:
    """Whatever the order in which they come; an own computation for three of them."""
    leaves = [leaf_hash(note_of(number).partition("\n\n")[0].encode() + b"\n") for number in range(3)]
    expected = node_hash(node_hash(leaves[0], leaves[1]), leaves[2])
    gathered = gather([note_of(2), note_of(0), note_of(1)], KEYS)
    assert gathered.root == expected
    assert [log.checkpoint for log in gathered.logs] == [note_of(0), note_of(1), note_of(2)]
    assert [list(log.path) for log in gathered.logs] == [
        [leaves[1], leaves[2]],
        [leaves[0], leaves[2]],
        [node_hash(leaves[0], leaves[1])],
    ]


@pytest.mark.parametrize("count", range(1, 6))
def test_every_log_is_proven_by_its_path(count: int) -> None:
    """From the file alone, in any layout."""
    gathered = gather([note_of(number) for number in range(count)], KEYS)
    read = GatheredLogs.parse(json.dumps(json.loads(gathered.text())).encode())
    assert read == gathered
    assert [checkpoint.size for checkpoint in read.verify(KEYS)] == [7] * count


def test_every_change_is_noticed() -> None:
    """Another root, path, checkpoint or order, one left out, one of a log whose key is not known."""
    gathered = gather([note_of(number) for number in range(5)], KEYS)
    content = json.loads(gathered.text())

    def verify(changed: object) -> None:
        GatheredLogs.parse(json.dumps(changed).encode()).verify(KEYS)

    verify(content)
    logs = content["logs"]
    other = {**logs[1], "checkpoint": note_of(1, size=8)}
    wrong: tuple[object, ...] = (
        {**content, "root": gather([note_of(0)], KEYS).text().split('"')[7]},
        {**content, "logs": logs[:-1]},
        {**content, "logs": logs[::-1]},
        {**content, "logs": [*logs, logs[-1]]},
        {**content, "logs": [logs[0], other, *logs[2:]]},
        {**content, "logs": [logs[0], {**logs[1], "path": logs[0]["path"]}, *logs[2:]]},
        {**content, "logs": []},
        {**content, "logs": [logs[0]] * (MAX_LOGS + 9)},
        {**content, "format": "another"},
        {**content, "more": 1},
        {**content, "root": "AAAA"},
        {**content, "logs": [{"checkpoint": 1, "path": []}]},
        {**content, "logs": [[]]},
        [],
    )
    for changed in wrong:
        with pytest.raises(InvalidProofError):
            verify(changed)
    with pytest.raises(InvalidProofError, match="signed by none of the keys given"):
        gathered.verify(KEYS[:4])
    with pytest.raises(InvalidProofError, match="one checkpoint for each log"):
        gather([note_of(1), note_of(1, size=8)], KEYS)
    text = bytearray(gathered.text().encode())
    source = random.Random(9)
    for _ in range(200):
        place = source.randrange(len(text))
        before = text[place]
        text[place] ^= 1 << source.randrange(7)
        # What is still believed differs in blanks at most.
        with contextlib.suppress(InvalidProofError):
            assert GatheredLogs.parse(bytes(text)).verify(KEYS) == gathered.verify(KEYS)
        text[place] = before


def test_the_command_gathers_and_verifies(tmp_path: Path) -> None:
    """Files of checkpoints become one file, which is checked with the logs' keys and nothing else."""
    keys: list[str] = []
    files: list[str] = []
    for number in range(3):
        file = tmp_path / f"{number}"
        file.write_text(note_of(number))
        files.append(str(file))
        keys += ["--key", str(KEYS[number])]
    result = CliRunner().invoke(main, ["ledger", "gather", *keys, *files])
    assert result.exit_code == 0, result.output
    assert result.stdout == gather(map(note_of, range(3)), KEYS).text()
    gathered = tmp_path / "gathered.json"
    gathered.write_text(result.stdout)
    result = CliRunner().invoke(main, ["ledger", "verify", *keys, str(gathered)])
    assert (result.exit_code, result.stdout.splitlines()[0]) == (
        0,
        "7 leaves of asgi-consent/00000000000000000000000000000000 are under the root.",
    )
    gathered.write_text(gathered.read_text().replace("\\n7\\n", "\\n8\\n"))
    result = CliRunner().invoke(main, ["ledger", "verify", *keys, str(gathered)])
    assert result.exit_code == 1
    assert CliRunner().invoke(main, ["ledger", "gather", *keys, files[0], files[0]]).exit_code == 1
