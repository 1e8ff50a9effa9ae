"""Which account is signed in, by the site's own account: receipts have a keyed hash of it, and nothing else."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from starlette.types import Scope

from consent.sealing import Sealer

MAX_ACCOUNT: Final = 1_000
"""Characters of an account's identifier."""

logger = logging.getLogger("consent")

AccountOf = Callable[[Scope], str | None]
"""Returns the identifier of the account that a request is signed in with, as the site names it; ``None``: none. It is
called when a choice is recorded, on the event loop: it must not wait for anything."""


class Accounts:
    """Names accounts as receipts do. Safe to share between threads.

    Args:
        account_of: asks the site.
        sealer: has the keys of the log.
    """

    def __init__(self, account_of: AccountOf, sealer: Sealer) -> None:
        self._account_of = account_of
        self._sealer = sealer

    def __call__(self, scope: Scope) -> str | None:
        """Return the keyed hash of the account of a request; ``None``: there is none.

        What goes wrong in the site's own code is logged, and the receipt has no account: a refusal waits for nobody.
        """
        try:
            name = self._account_of(scope)
            if name is None or name == "":
                return None
            if not isinstance(name, str) or len(name) > MAX_ACCOUNT:
                raise TypeError(f"an account's identifier is a text of at most {MAX_ACCOUNT} characters")
            return self._sealer.account(name)
        except Exception:
            logger.exception("a choice is recorded without its account: the function for it failed")
            return None
