"""The form for what visitors ask about their data, and how a request stands: without a script, an account or mail.

What is sent goes into the office's register. A form is signed and good for some hours; who sends it again has asked
once. How a request stands is told to whoever has its reference and its code, and these are in no address.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from threading import BoundedSemaphore
from time import time
from typing import Final, TypeVar
from urllib.parse import parse_qsl

from itsdangerous import BadData, URLSafeSerializer
from starlette.types import Receive, Scope

from consent.answers import PAGE_HEADERS, Answer, Headers, Refused, allow
from consent.banner import Banner
from consent.choice import Choice
from consent.policy import Policy
from consent.subject_request import (
    MAX_CONTACT,
    MAX_DETAILS,
    MAX_NAME,
    NewRequest,
    RegisterFull,
    RequestKind,
    RequestRegister,
    RequestState,
    Standing,
    Way,
)
from consent.submission import local_address
from consent.visitor_requests import VisitorRequests, network_of, query_of, read_submitted

logger = logging.getLogger("consent")

FORM_SECONDS: Final = 4 * 3_600
"""How long a form can be sent after it was shown."""
MAX_UNDER_WAY: Final = 4
"""How many may be written or looked up at a time in a process: anybody can ask for it."""
RETRY_AFTER_SECONDS: Final = 10
MAX_FORM_BYTES: Final = 64 * 1024
"""What is written at most takes as much where every letter is sent as nine characters."""
FULL_SECONDS: Final = 3_600

_FIELDS: Final = frozenset(
    {"action", "form", "language", "return_to", "kind", "name", "contact", "details", "attach", "url", "reference",
     "code"}
)  # fmt: skip
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class _Shown:
    """What the page tells besides its two forms."""

    arrived: tuple[str, str] | None = None
    """Reference and code of what was sent a moment ago."""
    standing: Standing | None = None
    state: str = ""
    """In the visitor's words."""
    wanted: str = ""
    problem: str = ""


class Requesting:
    """Shows the form, takes what is sent, and tells how it stands. Safe to share between tasks and event loops.

    Args:
        policy, banner, clock, random_bytes: as for :class:`consent.visitor.VisitorEndpoints`.
        requests: reads who asks.
        register: where requests go.
        keys: the site's for cookies, the signing one first: they sign forms, too.
        locate: returns where the visitor is who made a request.
    """

    def __init__(
        self,
        policy: Policy,
        banner: Banner,
        requests: VisitorRequests,
        register: RequestRegister,
        keys: Sequence[bytes],
        *,
        locate: Callable[[Scope], str],
        clock: Callable[[], float] = time,
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self._policy = policy
        self._prefix = banner.prefix
        self._requests = requests
        self._register = register
        # The serializer wants the newest key last.
        self._forms = URLSafeSerializer(list(reversed(keys)), salt="asgi-consent request form 1")
        self._locate = locate
        self._clock = clock
        self._random_bytes = random_bytes
        self._room = BoundedSemaphore(MAX_UNDER_WAY)
        # A mistake in a site's own template is to stop the app's start, not somebody's page.
        sample = Standing(
            "AAAA-AAAA", RequestKind.KNOW, RequestState.EXTENDED, "2026-01-01", "2026-02-01", "x"
        )
        self._page(banner, "/", None, _Shown(("AAAA-AAAA", "AAAA"), sample, "x", "x", "x"))

    async def answer(self, scope: Scope, headers: Headers, receive: Receive) -> Answer | None:
        """Answer a request for the page, or take one of its forms; ``None`` if the browser went away.

        Raises:
            Refused: nothing was sent.
        """
        allow(scope["method"], "GET", "HEAD", "POST")
        choice = self._requests.signals(scope).choice
        if scope["method"] != "POST":
            asked = query_of(scope)
            return_to = local_address(asked.get("return_to", "/"), prefix=self._prefix)
            banner = self._requests.speaking(headers, return_to, asked.get("language", ""))
            return self._answer(banner, return_to, choice, _Shown())
        submitted = await read_submitted(
            headers, receive, (b"application/x-www-form-urlencoded",), max_bytes=MAX_FORM_BYTES
        )
        if submitted is None:
            return None
        try:
            given = _read(submitted[1])
        except ValueError as error:
            raise Refused(400, "bad-request", "error_bad_request") from error
        return_to = local_address(given.get("return_to", "/"), prefix=self._prefix)
        banner = self._requests.speaking(headers, return_to, given.get("language", ""))
        try:
            if given.get("action") == "show":
                shown = await self._look(given, banner)
            else:
                shown = await self._take(given, banner, choice, scope)
        except Refused as refused:
            refused.banner = banner
            raise
        return self._answer(banner, return_to, choice, shown)

    async def _take(
        self, given: Mapping[str, str], banner: Banner, choice: Choice | None, scope: Scope
    ) -> _Shown:
        nonce = self._nonce(given.get("form", ""))
        try:
            new = self._new(given, banner, choice, scope)
        except ValueError:
            new = None
        # Nobody sees the field for an address: a program filled it in. Where it was a person's, they are told so.
        if nonce is None or new is None or given.get("url"):
            raise Refused(400, "not-sent", "error_request")
        try:
            arrived = await self._work(
                lambda: self._register.receive(new, nonce=nonce, network=network_of(scope))
            )
        except RegisterFull:
            retry = (b"retry-after", b"%d" % FULL_SECONDS)
            raise Refused(429, "too-many", "error_request_full", (retry,)) from None
        return _Shown(arrived=arrived)

    def _new(
        self, given: Mapping[str, str], banner: Banner, choice: Choice | None, scope: Scope
    ) -> NewRequest:
        """Return what was asked.

        Raises:
            ValueError: something is missing, or is none.
        """
        name, contact, details = (given.get(key, "").strip() for key in ("name", "contact", "details"))
        details = details.replace("\r\n", "\n")
        if not (name and contact) or len(name) > MAX_NAME or len(contact) > MAX_CONTACT:
            raise ValueError("who asks, and where the answer goes")
        lines = details.replace("\n", "").replace("\t", "")
        if len(details) > MAX_DETAILS or _CONTROL.search(name + contact + lines):
            raise ValueError("more than fits, or control characters")
        attached = given.get("attach") == "on" and choice is not None and not choice.is_nobodys
        return NewRequest(
            kind=RequestKind(given.get("kind", "")),
            way=Way.FORM,
            site=self._policy.site,
            jurisdiction=self._locate(scope),
            language=banner.language,
            name=name,
            contact=contact,
            details=details,
            subject=choice.subject if attached and choice is not None else "",
        )

    async def _look(self, given: Mapping[str, str], banner: Banner) -> _Shown:
        reference, code = given.get("reference", ""), given.get("code", "")
        standing = await self._work(lambda: self._register.standing(reference, code))
        texts = banner.texts
        if standing is None:
            return _Shown(problem=texts["error_request_unknown"])
        state = texts[
            "request_over" if standing.state is RequestState.WITHDRAWN else f"request_{standing.state}"
        ]
        return _Shown(standing=standing, state=state, wanted=texts[f"request_{standing.kind}"])

    async def _work(self, work: Callable[[], _T]) -> _T:
        """Ask the register, off the event loop, as far as there is room.

        Raises:
            Refused: there is none, or the register cannot be asked.
            RegisterFull: as the register says.
        """
        busy = Refused(
            503, "unavailable", "error_request_busy", ((b"retry-after", b"%d" % RETRY_AFTER_SECONDS),)
        )
        if not self._room.acquire(blocking=False):
            raise busy
        try:
            return await asyncio.to_thread(work)
        except RegisterFull:
            raise
        except Exception as error:
            # Whatever is wrong with the register: nobody is told that a request arrived which did not.
            logger.exception("the register of requests cannot be used")
            raise busy from error
        finally:
            self._room.release()

    # ---- the page

    def _answer(self, banner: Banner, return_to: str, choice: Choice | None, shown: _Shown) -> Answer:
        status = 404 if shown.problem else 200
        return Answer(status, PAGE_HEADERS, self._page(banner, return_to, choice, shown))

    def _page(self, banner: Banner, return_to: str, choice: Choice | None, shown: _Shown) -> bytes:
        page = banner.template("requests.html").render(
            return_to=return_to,
            kinds=[(str(kind), banner.texts[f"request_{kind}"]) for kind in RequestKind],
            form=self._forms.dumps([int(self._clock()), self._random_bytes(16).hex()]),
            can_attach=choice is not None and not choice.is_nobodys,
            shown=shown,
            longest={"name": MAX_NAME, "contact": MAX_CONTACT, "details": MAX_DETAILS},
        )
        return page.encode()

    def _nonce(self, form: str) -> bytes | None:
        """Return what names a form that was shown not long ago; ``None``: it was not shown here, or long ago."""
        try:
            shown_at, nonce = self._forms.loads(form[:500])
            if 0 <= self._clock() - shown_at <= FORM_SECONDS:
                return bytes.fromhex(nonce)
        except (BadData, ValueError, TypeError):
            pass
        return None


def _read(body: bytes) -> Mapping[str, str]:
    """Read one of the forms.

    Raises:
        ValueError: a field is not known, or is given twice.
    """
    pairs = parse_qsl(
        body.decode("utf-8"), keep_blank_values=True, errors="strict", max_num_fields=len(_FIELDS)
    )
    given = dict(pairs)
    if len(given) != len(pairs) or not given.keys() <= _FIELDS:
        raise ValueError("a field is unknown, or given twice")
    return given
