"""Keeping what a browser signal took back: the moment at which it is turned on after a yes, and no other.

A signal that comes with every request is no news. One that overrules something that the visitor allowed before is: a
receipt is recorded, and then the choice is stored without it. So what the signal took away does not come back when the
signal is gone: its absence is no consent.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable
from dataclasses import replace
from uuid import UUID

from starlette.types import Scope

from consent import headers as fields
from consent.catalog import Catalog
from consent.choice_cookie import ChoiceCookie
from consent.decision import Decision, taken_back
from consent.policy import CacheMode, Policy
from consent.receipts import CollectionMethod, build_receipt
from consent.store import Store
from consent.terms import terms_artefacts
from consent.variant_cookie import VariantCookie

RECORDING_SECONDS = 1.0
"""A page waits no longer for its receipt: where the store hangs, the site does not."""

logger = logging.getLogger("consent")


class Transitions:
    """Records them. Safe to share between tasks.

    Args:
        policy, catalog, cookie, store, companion, locate, clock, random_bytes: as for
            :class:`consent.visitor.VisitorEndpoints`.
        language: the one in which a visitor would have been spoken to, for the receipt.
    """

    def __init__(
        self,
        policy: Policy,
        catalog: Catalog,
        cookie: ChoiceCookie,
        store: Store,
        *,
        language: str,
        companion: VariantCookie | None = None,
        locate: Callable[[Scope], str] | None = None,
        clock: Callable[[], float],
        random_bytes: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self._policy = policy
        self._catalog = catalog
        self._cookie = cookie
        self._store = store
        self._language = language
        self._companion = companion
        self._locate = locate
        self._clock = clock
        self._random_bytes = random_bytes
        self._terms = terms_artefacts(policy)

    async def keep(self, scope: Scope, decision: Decision) -> list[bytes]:
        """Record what signals take back of the choice in ``decision``; return the ``Set-Cookie`` values that store it.

        There are none where nothing is taken back, and none where it could not be recorded in time: the signal is
        honoured all the same, and the next page tries again.
        """
        kept = taken_back(decision, self._catalog)
        if kept is None:
            return []
        kept = replace(kept, receipt_id=str(UUID(bytes=self._random_bytes(16), version=4)))
        now = self._clock()
        try:
            receipt = build_receipt(
                policy=self._policy,
                jurisdiction=self._locate(scope) if self._locate else None,
                signals=decision.signals,
                choice=kept,
                language=self._language,
                shown_hash=None,
                policy_hash=self._terms.policy.hash,
                vendor_list_hash=self._terms.vendor_list.hash,
                collection_method=CollectionMethod.SIGNAL,
                user_agent=(fields.first(scope["headers"], b"user-agent") or b"").decode("latin-1"),
                now_ms=int(now * 1000),
            )
            async with asyncio.timeout(RECORDING_SECONDS):
                await self._store.append(receipt, [self._terms.policy, self._terms.vendor_list])
        except Exception:
            logger.exception("a browser signal could not be recorded: it is honoured all the same")
            return []
        secure = scope.get("scheme") == "https"
        stored = [self._cookie.header(kept, secure=secure, now=int(now))]
        if self._companion is not None and self._policy.cache is not CacheMode.PER_VISITOR:
            stored.append(self._companion.header(kept, secure=secure, now=int(now)))
        return stored
