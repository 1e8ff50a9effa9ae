"""The root of the errors that the package raises on purpose, and those that concern more than one module.

An error about one kind of value is defined beside it.
"""

from __future__ import annotations


class ConsentError(Exception):
    """The root: catch it to catch all of them. The message says what to do next."""


class ConfigurationError(ConsentError):
    """A setting, policy file or catalog file is wrong; the app must not start with it.

    ``message`` is what is wrong and what to do; ``source`` the file or setting, ``line`` its 1-based line where
    known, ``key`` the dotted key. As text the error has all of them.
    """

    def __init__(
        self, message: str, *, source: str | None = None, line: int | None = None, key: str | None = None
    ) -> None:
        self.message = message
        self.source = source
        self.line = line
        self.key = key
        place = ":".join(str(part) for part in (source, line) if part is not None)
        where = " ".join(part for part in (place, f"[{key}]" if key else "") if part)
        super().__init__(f"{where}: {message}" if where else message)


class InvalidReceiptError(ConsentError, ValueError):
    """A receipt or an artefact, or the bytes of one, does not have the form described, or was altered."""


class InvalidProofError(ConsentError, ValueError):
    """A proof, a checkpoint or a tile does not have the form described, or does not prove what it should."""


class SealBrokenError(ConsentError):
    """A sealed record or a wrapped key does not open: it was altered, or the key that opens it is not here."""


class LogForkedError(ConsentError):
    """The log does not continue the checkpoint that was signed last: nothing is signed any more."""


class StoreError(ConsentError):
    """A receipt could not be recorded; nothing was."""


class OtherReceiptError(StoreError):
    """Another receipt is recorded under this id; that one stays."""


class StoreFull(StoreError):
    """The queue of waiting receipts is full: try again shortly."""


class StoreUnavailable(StoreError):
    """The database cannot be reached or written."""


class ErasureHeldError(StoreError):
    """The visitor's records are held, by law or for a claim: nothing was erased."""
