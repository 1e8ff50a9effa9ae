"""What readers of a log have in common, wherever it is kept."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self

from consent.errors import InvalidReceiptError
from consent.log_rows import uuid_bytes
from consent.receipts import Artefact
from consent.sealing import Sealer


class LogReader(ABC):
    """Opens what it reads in its constructor. Close it, or use it as a context manager."""

    _sealer: Sealer

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @abstractmethod
    def close(self) -> None:
        """Let go of the database. May be repeated."""

    def artefact(self, hash: str) -> Artefact | None:
        """Return the artefact whose content has this SHA-256, or ``None``."""
        artefact = self.stored_artefact(hash)
        if artefact is not None and artefact.hash != hash.lower():
            raise InvalidReceiptError(
                f"artefact {hash.lower()} was altered: its content has SHA-256 {artefact.hash}"
            )
        return artefact

    def stored_artefact(self, hash: str) -> Artefact | None:
        """Return what is kept under this name, altered or not."""
        try:
            return self._artefact(bytes.fromhex(hash))
        except ValueError:
            return None

    @abstractmethod
    def _artefact(self, digest: bytes) -> Artefact | None: ...

    def _id_tag(self, receipt_id: str) -> bytes | None:
        """Return what a receipt is found by; ``None``: no receipt has such an id."""
        try:
            return self._sealer.id_tag(uuid_bytes(receipt_id))
        except ValueError:
            return None
