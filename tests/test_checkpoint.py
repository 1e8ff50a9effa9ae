"""Checkpoints, signed notes and proofs in files: published vectors, and everything that is not one of them."""

from __future__ import annotations

import base64
from collections.abc import Callable

import pytest

from consent.checkpoint import (
    Checkpoint,
    InclusionProof,
    Signer,
    Verifier,
    open_checkpoint,
    open_note,
)
from consent.errors import InvalidProofError
from consent.merkle import inclusion_proof, leaf_hash, perfect_root, tree_root

# The example of Go's golang.org/x/mod/sumdb/note, which C2SP's signed-note describes.
GO_KEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_SEED = base64.b64decode("AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz")[1:]
GO_TEXT = (
    "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
)
GO_SIGNATURE = (
    "\u2014 PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6Ry"
    "yBwJnAM=\n"
)
GO_NOTE = f"{GO_TEXT}\n{GO_SIGNATURE}"

ORIGIN = "shop.example/_consent/ledger"
LEAVES = [leaf_hash(b"%d" % number) for number in range(11)]
SIGNER = Signer(ORIGIN, bytes(range(32)))
OTHER = Signer(ORIGIN, bytes(range(1, 33)))
CHECKPOINT = Checkpoint(ORIGIN, 11, tree_root(LEAVES))
NOTE = SIGNER.sign(CHECKPOINT.text())


def proof(index: int) -> InclusionProof:
    hashes = inclusion_proof(
        index, 11, lambda height, i: perfect_root(LEAVES[i << height : (i + 1) << height])
    )
    return InclusionProof(index, tuple(hashes), NOTE)


def test_the_published_note_is_opened_and_signed_alike() -> None:
    """Key, key id and signature are those of the reference implementation."""
    verifier = Verifier.parse(GO_KEY)
    assert str(verifier) == GO_KEY
    assert open_note(GO_NOTE, [verifier]) == GO_TEXT
    signer = Signer("PeterNeumann", GO_SEED)
    assert str(signer.verifier) == GO_KEY
    assert signer.sign(GO_TEXT) == GO_NOTE


def test_a_checkpoint_is_three_lines_and_a_signature() -> None:
    """Written, signed, opened."""
    root = base64.b64encode(CHECKPOINT.root).decode()
    assert NOTE.startswith(f"{ORIGIN}\n11\n{root}\n\n\u2014 {ORIGIN} ")
    assert open_checkpoint(NOTE, [SIGNER.verifier]) == CHECKPOINT


def test_every_changed_character_of_a_checkpoint_is_noticed() -> None:
    """In text and signature: every bit of every character."""
    for place, character in enumerate(NOTE):
        for bit in range(7):
            changed = NOTE[:place] + chr(ord(character) ^ (1 << bit)) + NOTE[place + 1 :]
            with pytest.raises(InvalidProofError):
                open_checkpoint(changed, [SIGNER.verifier])


def test_signatures_of_unknown_keys_are_passed_over() -> None:
    """That is how keys are rotated: several sign, or several are trusted."""
    both = NOTE + OTHER.sign(CHECKPOINT.text()).split("\n\n")[1]
    for trusted in ([SIGNER.verifier], [OTHER.verifier], [OTHER.verifier, SIGNER.verifier]):
        assert open_checkpoint(both, trusted) == CHECKPOINT
    assert open_checkpoint(NOTE, [OTHER.verifier, SIGNER.verifier]) == CHECKPOINT
    with pytest.raises(InvalidProofError, match=r"signed by none of the keys given, but by shop\.example"):
        open_checkpoint(NOTE, [OTHER.verifier])
    with pytest.raises(InvalidProofError, match="signed by none"):
        open_checkpoint(NOTE, [])


def test_a_wrong_signature_of_a_known_key_spoils_the_note() -> None:
    """Even beside a right one of another."""
    wrong = OTHER.sign(Checkpoint(ORIGIN, 12, CHECKPOINT.root).text()).split("\n\n")[1]
    with pytest.raises(InvalidProofError, match="is not that of its key"):
        open_checkpoint(NOTE + wrong, [SIGNER.verifier, OTHER.verifier])
    assert open_checkpoint(NOTE + wrong, [SIGNER.verifier]) == CHECKPOINT


def test_a_checkpoint_signed_in_another_logs_name_is_refused() -> None:
    """A trusted key speaks for its own log only."""
    other = Signer("elsewhere.example/log", bytes(32))
    with pytest.raises(InvalidProofError, match="signed in another log's name"):
        open_checkpoint(other.sign(CHECKPOINT.text()), [other.verifier])


@pytest.mark.parametrize(
    "change",
    [
        lambda note: note[:-1],
        lambda note: note + "\n",
        lambda note: note + "trailing",
        lambda note: "\n\n" + note.split("\n\n")[1],
        lambda note: note.split("\n\n")[0] + "\n",
        lambda note: note.split("\n\n")[0] + "\n\n",
        lambda note: note.replace("\n\n\u2014", "\n\n-"),
        lambda note: note.replace("\u2014 ", "\u2014  "),
        lambda note: note.replace("\u2014 shop", "\u2014 sh+op"),
        lambda note: note.replace("\n", "\r\n"),
        lambda note: "\x00" + note,
        lambda note: "\ud800" + note,
        lambda note: note + note.split("\n\n")[1] * 100,
        lambda note: note + "\u2014 x AAAA\n",
        lambda note: "x" * 70_000 + note,
    ],
)
def test_what_is_no_signed_note_is_refused(change: Callable[[str], str]) -> None:
    """One spelling, nothing before or after it, bounded."""
    with pytest.raises(InvalidProofError):
        open_note(change(NOTE), [SIGNER.verifier])


@pytest.mark.parametrize(
    "text",
    [
        "log\n011\n{root}\n",
        "log\n-1\n{root}\n",
        "log\n+1\n{root}\n",
        "log\n1 \n{root}\n",
        "log\n\u0661\n{root}\n",
        "log\n9007199254740992\n{root}\n",
        "log\n11\n{root}",
        "log\n11\n{root}\nextension\n",
        "log\n11\n\n",
        "log\n11\n{short}\n",
        "\n11\n{root}\n",
        "a log\n11\n{root}\n",
        "log\n11\n{root}=\n",
        "log\n11\n {root}\n",
        "log\n11\n{malleable}\n",
    ],
)
def test_what_is_no_checkpoint_is_refused(text: str) -> None:
    """Leading zeroes, blanks, extensions, other base64 of the same bytes."""
    root = base64.b64encode(bytes(32)).decode()
    text = text.format(root=root, short=base64.b64encode(bytes(31)).decode(), malleable=root[:-2] + "B=")
    with pytest.raises(InvalidProofError):
        Checkpoint.parse(text)


@pytest.mark.parametrize(
    "key",
    [
        "",
        "PeterNeumann",
        GO_KEY.replace("c74f20a3", "c74f20a4"),
        GO_KEY.replace("c74f20a3", "C74F20A3"),
        GO_KEY.replace("PeterNeumann", "Peter Neumann"),
        GO_KEY.replace("PeterNeumann", ""),
        GO_KEY.replace("+ARpc", "+AhpC"),
        GO_KEY + "AA",
        GO_KEY + "\n",
    ],
)
def test_what_is_no_key_is_refused(key: str) -> None:
    """The id belongs to name and key; nothing but Ed25519 is read."""
    with pytest.raises(InvalidProofError):
        Verifier.parse(key)


def test_a_proof_proves_its_leaf_offline() -> None:
    """From text alone and the log's key, for each leaf."""
    for index, leaf in enumerate(LEAVES):
        text = proof(index).text()
        assert text.startswith(f"c2sp.org/tlog-proof@v1\nindex {index}\n")
        read = InclusionProof.parse(text)
        assert read == proof(index)
        assert read.verify(leaf, [SIGNER.verifier]) == CHECKPOINT
        for wrong in (LEAVES[index - 1], leaf_hash(leaf)):
            with pytest.raises(InvalidProofError):
                read.verify(wrong, [SIGNER.verifier])
        with pytest.raises(InvalidProofError, match="signed by none"):
            read.verify(leaf, [OTHER.verifier])


def test_a_proof_in_a_log_of_one_leaf_has_no_hashes() -> None:
    """The leaf is the root; the format has an empty list then."""
    note = SIGNER.sign(Checkpoint(ORIGIN, 1, LEAVES[0]).text())
    text = InclusionProof(0, (), note).text()
    assert text == f"c2sp.org/tlog-proof@v1\nindex 0\n\n{note}"
    assert InclusionProof.parse(text).verify(LEAVES[0], [SIGNER.verifier]).size == 1


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("@v1", "@v2"),
        lambda text: text.replace("index 4", "index 04"),
        lambda text: text.replace("index 4", "index -4"),
        lambda text: text.replace("index 4\n", ""),
        lambda text: text.replace("\n\n", "\n", 1),
        lambda text: text.replace("\n\n", "\nAAAA\n\n", 1),
        lambda text: text.replace("\n\n", "\n" + "A" * 43 + "=\n" * 65 + "\n", 1),
        lambda text: " " + text,
        lambda text: text + "x" * 70_000,
        lambda text: text.split("\n\n")[0],
    ],
)
def test_what_is_no_proof_is_refused(change: Callable[[str], str]) -> None:
    """Strictly one form, bounded."""
    with pytest.raises(InvalidProofError):
        InclusionProof.parse(change(proof(4).text())).verify(LEAVES[4], [SIGNER.verifier])
