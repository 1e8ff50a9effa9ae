"""Forgetting a visitor who asks for it: the receipts are erased, and what is left is a no that says not whose it is."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from threading import BoundedSemaphore
from time import time

from starlette.types import Receive, Scope

from consent.answers import JSON_HEADERS, PAGE_HEADERS, Answer, Headers, Refused, json_bytes, wants_json
from consent.banner import Banner
from consent.choice import nobodys_refusal
from consent.choice_cookie import MAX_SUBJECTS
from consent.choice_storing import ChoiceStoring
from consent.erasure import Erasure
from consent.errors import ErasureHeldError
from consent.policy import Policy
from consent.store import Erasing
from consent.submission import read_visit
from consent.tracking_status import UPDATED
from consent.visitor_requests import VisitorRequests, read_submitted

logger = logging.getLogger("consent")

MAX_ERASING = 4
"""How many erasures may be under way in a process: anybody can ask for one, and each overwrites what it frees."""
ERASING_SECONDS = 20.0
RETRY_AFTER_SECONDS = 10

_FORM = b"application/x-www-form-urlencoded"
_JSON = b"application/json"


class Forgetting:
    """Answers the POST of somebody who wants to be forgotten. Safe to share between tasks and event loops.

    Args:
        policy, banner, clock: as for :class:`consent.visitor.VisitorEndpoints`.
        storing: puts what is left into the browser.
        store: where the receipts are.
        requests: reads who asks.
        erased: is told, from a thread, who was erased, and by which erasures; who cannot be told raises, and is told
            again when the visitor asks again.
    """

    def __init__(
        self,
        policy: Policy,
        banner: Banner,
        storing: ChoiceStoring,
        store: Erasing,
        requests: VisitorRequests,
        *,
        erased: Callable[[str, Sequence[Erasure]], None] = lambda subject, erasures: None,
        clock: Callable[[], float] = time,
    ) -> None:
        self._tell = erased
        self._policy = policy
        self._storing = storing
        self._store = store
        self._requests = requests
        self._prefix = banner.prefix
        self._clock = clock
        self._room = BoundedSemaphore(MAX_ERASING)
        _page(banner, ["00000000"], "/")

    async def answer(self, scope: Scope, headers: Headers, receive: Receive) -> Answer | None:
        """Forget whoever asks; ``None`` if the browser went away.

        Raises:
            Refused: nobody was forgotten, and nothing was changed.
        """
        submitted = await read_submitted(headers, receive, (_FORM, _JSON))
        if submitted is None:
            return None
        media_type, body = submitted
        try:
            language, return_to = read_visit(body, prefix=self._prefix, is_json=media_type == _JSON)
        except (ValueError, RecursionError) as error:
            raise Refused(400, "bad-request", "error_bad_request") from error
        banner = self._requests.speaking(headers, return_to, language)
        try:
            return await self._forget(banner, return_to, scope, headers)
        except Refused as refused:
            refused.banner = banner
            raise

    async def _forget(self, banner: Banner, return_to: str, scope: Scope, headers: Headers) -> Answer:
        signals = self._requests.signals(scope)
        subjects = self._requests.subjects(headers)
        if signals.choice is None and not subjects:
            # Nobody, or somebody who is not known again: whose receipts are to be erased, nobody can tell.
            raise Refused(404, "nobody", "error_nobody")
        erasures = await self._erased(subjects) if subjects else []
        refusal = nobodys_refusal(policy_version=self._policy.version, now=int(self._clock()))
        after = self._requests.decide_after(refusal, signals)
        lines = self._storing.lines(refusal, after, scope, return_to=return_to)
        more = [*((b"set-cookie", line) for line in lines), (b"tk", UPDATED.encode())]
        ids = [erasure.erasure_id for erasure in erasures]
        if wants_json(headers):
            erased = sum(len(erasure.erased) for erasure in erasures)
            return Answer(200, (*JSON_HEADERS, *more), json_bytes({"erased": erased, "erasures": ids}))
        return Answer(200, (*PAGE_HEADERS, *more), _page(banner, ids, return_to))

    async def _erased(self, subjects: Sequence[str]) -> Sequence[Erasure]:
        """Erase who is known by any of ``subjects``, and return the certificates of that.

        Raises:
            Refused: not all of it was done, or is known to be done.
        """
        erasures: list[Erasure] = []
        retry = ((b"retry-after", b"%d" % RETRY_AFTER_SECONDS),)
        if not self._room.acquire(blocking=False):
            raise Refused(503, "not-erased", "error_not_erased", retry)
        try:
            async with asyncio.timeout(ERASING_SECONDS):
                for subject in subjects[:MAX_SUBJECTS]:
                    done = await self._store.erase(subject)
                    erasures += done
                    await asyncio.to_thread(self._tell, subject, done)
            if len(subjects) > MAX_SUBJECTS:
                raise Refused(503, "not-erased", "error_not_erased", retry)
            return erasures
        except ErasureHeldError as error:
            if erasures:
                raise Refused(503, "not-erased", "error_not_erased", retry) from error
            raise Refused(409, "held", "error_held") from error
        except Refused:
            raise
        except Exception as error:
            # Whatever is wrong with the store: nobody is told to be forgotten who is not.
            logger.exception("a visitor could not be erased")
            raise Refused(503, "not-erased", "error_not_erased", retry) from error
        finally:
            self._room.release()


def _page(banner: Banner, certificates: Sequence[str], return_to: str) -> bytes:
    page = banner.template("forgotten.html")
    return page.render(certificates=certificates, return_to=return_to).encode()
