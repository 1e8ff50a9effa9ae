"""Signing checkpoints so that no two ever contradict each other."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from consent.checkpoint import Checkpoint, Signer, Verifier, open_checkpoint
from consent.errors import InvalidProofError, LogForkedError
from consent.sealing import LedgerKeys


class CheckpointSigner:
    """Signs the checkpoints of one log.

    Args:
        origin: the log's name, that of its keys.
        keys: the first of ``signing`` signs, all of them are believed.
    """

    def __init__(self, origin: str, keys: LedgerKeys) -> None:
        self.origin = origin
        self._signer = Signer(origin, keys.signing[0])
        self.verifiers: tuple[Verifier, ...] = tuple(Signer(origin, seed).verifier for seed in keys.signing)

    def sign(self, size: int, root_at: Callable[[int], bytes], signed: Iterable[str]) -> str:
        """Return a checkpoint of the first ``size`` leaves, a signed note.

        Nothing may be published before it was kept where the next call finds it among ``signed``.

        Args:
            size: how many leaves are durable.
            root_at: returns the root over the first so many leaves, from what is kept of the tree now.
            signed: the checkpoints signed before, the last one of each place that keeps them.

        Raises:
            LogForkedError: the log does not continue one of them.
        """
        for note in signed:
            try:
                before = open_checkpoint(note, self.verifiers)
            except InvalidProofError as error:
                raise LogForkedError(f"the checkpoint signed last cannot be believed: {error}") from None
            if before.size > size:
                raise LogForkedError(
                    f"the log has {size} leaves, but a checkpoint of {before.size} was signed: "
                    "an older state was restored"
                )
            try:
                root = root_at(before.size)
            except InvalidProofError as error:
                raise LogForkedError(f"the tree cannot be read: {error}") from None
            if root != before.root:
                raise LogForkedError(
                    f"the first {before.size} leaves are not those that a checkpoint was signed of: "
                    "another state was restored, or the log was altered"
                )
        return self._signer.sign(Checkpoint(self.origin, size, root_at(size)).text())
