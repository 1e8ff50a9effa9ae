"""Keeping what a browser signal took back: the moment at which it is turned on after a yes, and no other.

A signal that comes with every request is no news. One that overrules something that the visitor allowed before is: a
receipt is recorded, and then what is left is stored beside the choice. So what the signal took away does not come back
when the signal is gone: its absence is no consent. The choice itself is not stored again, since the page that it would
come with may arrive after another choice was made; the next page does that.

Several pages may be asked for before the first of them is answered. All that follows from one choice and the same
signals has the same receipt, by its id: the store takes the first.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from types import MappingProxyType

from starlette.types import Scope

from consent import headers as fields
from consent.accounts import AccountOf
from consent.catalog import Catalog
from consent.choice import Choice, refusals_of
from consent.choice_cookie import ChoiceCookie
from consent.choice_form import UnwritableChoiceError, id_after
from consent.decision import Decision, taken_back
from consent.errors import OtherReceiptError
from consent.policy import Policy
from consent.receipts import CollectionMethod, build_receipt
from consent.request_fields import is_secure
from consent.store import Store
from consent.terms import terms_artefacts

RECORDING_SECONDS = 1.0
"""A page waits no longer for its receipt: where the store hangs, the site does not."""

logger = logging.getLogger("consent")


class Transitions:
    """Records them. Safe to share between tasks.

    Args:
        policy, catalog, cookie, store, locate, account, clock: as for :class:`consent.visitor.VisitorEndpoints`.
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
        locate: Callable[[Scope], str] | None = None,
        account: AccountOf | None = None,
        clock: Callable[[], float],
    ) -> None:
        self._policy = policy
        self._catalog = catalog
        self._cookie = cookie
        self._store = store
        self._language = language
        self._locate = locate
        self._account = account
        self._clock = clock
        self._terms = terms_artefacts(policy)

    async def keep(self, scope: Scope, decision: Decision) -> list[bytes]:
        """Record what signals take back of the choice in ``decision``; return the ``Set-Cookie`` values that store it.

        There are none where nothing is taken back, and none where it could not be recorded in time: the signal is
        honoured all the same, and the next page tries again.
        """
        kept = taken_back(decision, self._catalog)
        headers: fields.Headers = scope["headers"]
        now = self._clock()
        of = self._cookie.stored(headers, now=int(now))
        if kept is None or of is None:
            return []
        try:
            try:
                kept, stored = self._stored(kept, of, decision, scope, now=int(now))
            except UnwritableChoiceError:
                # Beside the names of many vendors there may be no room to say which choice it is about.
                kept = replace(refusals_of(kept), vendors=MappingProxyType({}))
                kept, stored = self._stored(kept, of, decision, scope, now=int(now))
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
                user_agent=(fields.first(headers, b"user-agent") or b"").decode("latin-1"),
                now_ms=int(now * 1000),
                account=self._account(scope) if self._account else None,
            )
            async with asyncio.timeout(RECORDING_SECONDS):
                await self._store.append(receipt, [self._terms.policy, self._terms.vendor_list])
        except OtherReceiptError:
            pass  # another page was a moment faster: it is recorded
        except Exception:
            logger.exception("a browser signal could not be recorded: it is honoured all the same")
            return []
        return stored

    def _stored(
        self, kept: Choice, of: Choice, decision: Decision, scope: Scope, *, now: int
    ) -> tuple[Choice, list[bytes]]:
        """Return what is left, with the id of its receipt, and what stores it: once for each signal that was sent.

        So a page under another signal, which may know nothing of this one, does not write over it.
        """
        kept = replace(kept, receipt_id=id_after(kept))
        host = fields.host_name(fields.only(scope["headers"], b"host") or b"")
        secure = is_secure(scope)
        return kept, [
            self._cookie.taken_header(kept, of.receipt_id, signal, secure=secure, now=now, host=host)
            for signal in sorted(decision.signals.sent)
        ]
