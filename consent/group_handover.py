"""How a choice goes from one site of a group to another: with its visitor, who follows a link, and in no other way.

Four redirects of the page itself, so that every cookie is of the site that the browser is on: nobody else's are needed.
``go`` on the site with the link finds a choice, ``ask`` on the other one finds none that is newer and gives the browser
a secret, ``give`` seals the choice for the browser that has it, ``take`` opens it there and records what was said.

Nobody can give another person's browser a choice of their own: it is of use only where ``ask`` put the secret, and what
``give`` answers to a browser is what this very browser has chosen there.
"""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
from collections.abc import Callable, Sequence
from dataclasses import replace
from hashlib import sha256
from urllib.parse import quote, urlencode
from uuid import UUID

from itsdangerous.encoding import base64_encode
from starlette.types import Scope

from consent import headers as fields
from consent.answers import Answer, Headers, Refused
from consent.browsers import is_crawler
from consent.choice import GROUP_COOKIE_SECONDS, Choice, granted_by_both, group_cookie
from consent.choice_form import UnwritableChoiceError
from consent.choice_storing import ChoiceStoring
from consent.choosing import Choosing
from consent.errors import OtherReceiptError
from consent.group_token import GroupTokens
from consent.policy import Policy
from consent.request_fields import is_secure, is_visit
from consent.signals import ChoiceState, Signals
from consent.submission import local_address
from consent.transitions import RECORDING_SECONDS
from consent.visitor_requests import MAX_QUERY, VisitorRequests, query_of

logger = logging.getLogger("consent")

_ABSOLUTE = re.compile(r"(https?://[^/?#]+)(.*)", re.DOTALL)
_SECRET = re.compile(r"[A-Za-z0-9_-]{22}")
_BINDING = re.compile(r"[A-Za-z0-9_-]{43}")
_MOMENT = re.compile(r"[0-9]{1,12}")
_COMMON: Headers = (
    (b"cache-control", b"no-store"),
    # Neither site is told the other's page.
    (b"referrer-policy", b"no-referrer"),
    (b"x-robots-tag", b"noindex"),
)


class HandOver:
    """Answers under ``group/``. Safe to share between tasks.

    Args:
        policy: the site's, with the origins of the group; a choice counts where the other site's has the same version.
        tokens: seal and open what is handed over.
        requests: reads who asks.
        choosing: records what is taken over.
        storing: puts it into the browser.
        prefix: where the visitor endpoints are: the same on all sites of the group.
        clock, random_bytes: as for :class:`consent.visitor.VisitorEndpoints`.
    """

    def __init__(
        self,
        policy: Policy,
        tokens: GroupTokens,
        requests: VisitorRequests,
        choosing: Choosing,
        storing: ChoiceStoring,
        *,
        prefix: str,
        clock: Callable[[], float],
        random_bytes: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self._policy = policy
        self._tokens = tokens
        self._requests = requests
        self._choosing = choosing
        self._storing = storing
        self._prefix = prefix
        self._clock = clock
        self._random_bytes = random_bytes
        # The scheme is left out: behind a proxy that ends TLS, ours is not the one the browser sees.
        self._origins = {origin.partition("://")[2]: origin for origin in policy.group}
        self._told = False

    async def answer(self, scope: Scope, headers: Headers) -> Answer:
        """Answer a GET.

        Raises:
            Refused: there is no such page, the request is not for one, or it says something that is not known.
        """
        step = scope["path"].removeprefix(f"{self._prefix}/group/")
        own = self._own(headers)
        if step not in ("go", "ask", "give", "take") or own is None:
            raise Refused(404, "not-found", "error_not_found")
        if not is_visit(scope):
            raise Refused(403, "cross-origin", "error_cross_origin")
        asked = query_of(scope)
        if step == "go":
            return self._go(scope, asked.get("to", ""), own)
        other = asked.get("site", "")
        if other not in self._origins.values() or other == own:
            raise _bad_request()
        return_to = local_address(asked.get("return_to", "/"), prefix=self._prefix)
        if step == "ask":
            return self._ask(scope, headers, asked.get("at", ""), other, own, return_to)
        if step == "give":
            return self._give(scope, asked.get("binding", ""), other, own, return_to)
        return await self._take(scope, headers, asked.get("token", ""), other, own, return_to)

    def _own(self, headers: Headers) -> str | None:
        """Return this site's origin; ``None`` where the group has none of this host."""
        host = (fields.only(headers, b"host") or b"").decode("latin-1").lower()
        own = self._origins.get(host)
        if own is None and not self._told:
            self._told = True
            logger.warning(
                "a request for a hand-over was for %r, which is no host of the policy's group: nothing is handed over "
                "there. If it is one, have the proxy pass the Host field on",
                host[:100],
            )
        return own

    def _go(self, scope: Scope, to: str, own: str) -> Answer:
        found = _ABSOLUTE.fullmatch(to)
        if found is None or found[1].lower() not in self._origins.values():
            raise _bad_request()
        other = found[1].lower()
        return_to = local_address(
            found[2] if found[2].startswith("/") else f"/{found[2]}", prefix=self._prefix
        )
        page = other + _quoted(return_to)
        choice = self._choice(scope)
        if choice is None or other == own:
            return _redirect(page)
        return self._onward(other, "ask", page=page, site=own, at=str(choice.made_at), return_to=return_to)

    def _choice(self, scope: Scope) -> Choice | None:
        """Return the choice that the visitor can take along; who was forgotten here leaves with nothing."""
        signals = self._requests.signals(scope)
        if signals.choice is None or signals.choice.is_nobodys:
            return None
        return signals.choice if signals.choice_state is ChoiceState.VALID else None

    def _ask(self, scope: Scope, headers: Headers, at: str, other: str, own: str, return_to: str) -> Answer:
        if _MOMENT.fullmatch(at) is None:
            raise _bad_request()
        page = _quoted(return_to)
        if not _is_older(self._requests.signals(scope), int(at)):
            return _redirect(page)
        # Two pages that are opened at once have one secret, or the second would make the first one's worthless.
        secret = _secret_of(own, headers) or base64_encode(self._random_bytes(16)).decode("ascii")
        return self._onward(
            other,
            "give",
            _cookie(own, secret, GROUP_COOKIE_SECONDS),
            page=page,
            site=own,
            binding=_binding(secret),
            return_to=return_to,
        )

    def _give(self, scope: Scope, binding: str, other: str, own: str, return_to: str) -> Answer:
        if _BINDING.fullmatch(binding) is None:
            raise _bad_request()
        page = other + _quoted(return_to)
        choice = self._choice(scope)
        if choice is None:
            return _redirect(page)
        token = self._tokens.seal(
            choice,
            giver=own,
            taker=other,
            binding=binding,
            now=int(self._clock()),
            random=self._random_bytes(12),
        )
        return self._onward(other, "take", page=page, site=own, token=token, return_to=return_to)

    async def _take(
        self, scope: Scope, headers: Headers, token: str, other: str, own: str, return_to: str
    ) -> Answer:
        cookies = [_cookie(own, "", 0)]
        secret = _secret_of(own, headers)
        given = secret and self._tokens.open(
            token, giver=other, taker=own, binding=_binding(secret), now=int(self._clock())
        )
        if given and not is_crawler((fields.only(headers, b"user-agent") or b"").decode("latin-1")):
            signals = self._requests.signals(scope)
            if self._counts(given, signals):
                cookies += await self._taken_over(given, signals, own, scope, headers, return_to)
        elif not given:
            logger.info(
                "a choice of %s could not be taken over: it is over, or was sealed with another key", other
            )
        return _redirect(_quoted(return_to), *cookies)

    def _counts(self, given: Choice, signals: Signals) -> bool:
        """Tell whether it is for the same purposes, and the visitor's last word."""
        return given.policy_version == self._policy.version and _is_older(signals, given.made_at)

    async def _taken_over(
        self, given: Choice, signals: Signals, own: str, scope: Scope, headers: Headers, return_to: str
    ) -> Sequence[bytes]:
        """Record a choice of the other site, and return what stores it here.

        What cannot be recorded is not granted; what it refuses is refused all the same, and the next link tries again.
        """
        before = signals.choice
        known = before is not None and not before.is_nobodys
        subject = before.subject if before and known else self._random_bytes(16).hex()
        choice = replace(
            given,
            receipt_id=receipt_id_of(given.receipt_id, own, subject),
            subject=subject,
            granted=given.granted - self._policy.never,
            over_http=given.over_http or not is_secure(scope),
        )
        if before and before.taken_back:
            # When a signal took it back stands nowhere: it may have been after the other site's yes.
            choice = granted_by_both(choice, before, receipt_id=choice.receipt_id)
        effective: Choice | None = choice
        said = signals
        if before and before.receipt_id == choice.receipt_id:
            # What could not be recorded the first time comes after nothing.
            said = replace(signals, choice=None, choice_state=ChoiceState.ABSENT)
        try:
            async with asyncio.timeout(RECORDING_SECONDS):
                await self._choosing.take_over(choice, said, scope, headers, return_to=return_to)
        except OtherReceiptError:
            pass  # the same, in another tab
        except Exception:
            logger.exception(
                "a choice of another site could not be recorded: its refusals are honoured, no more"
            )
            effective, _ = self._choosing.unrecorded(choice, signals, self._requests.decide(signals))
            if effective is not None:
                # Older than what was given, so that it is not taken for what has arrived here.
                effective = replace(effective, made_at=min(effective.made_at, given.made_at - 1))
        if effective is None:
            return []
        after = self._requests.decide_after(effective, signals)
        try:
            return self._storing.lines(effective, after, scope, return_to=return_to)
        except UnwritableChoiceError as error:
            logger.warning("a choice of another site does not fit into a cookie here: %s", error)
            return []

    def _onward(self, origin: str, step: str, *cookies: bytes, page: str, **asked: str) -> Answer:
        """Lead on to a step on the other site, or to ``page`` where that would be more than is read of an address."""
        query = urlencode(asked)
        if len(query) > MAX_QUERY:
            return _redirect(page)
        return _redirect(f"{origin}{self._prefix}/group/{step}?{query}", *cookies)


def receipt_id_of(other: str, origin: str, subject: str) -> str:
    """Return the id of the receipt of a choice that was taken over, which shows whose it is to who knows that one.

    Args:
        other: The id of the receipt on the other site.
        origin: This site's.
        subject: The visitor's pseudonym here.
    """
    content = f"asgi-consent group 1\n{other}\n{origin}\n{subject}"
    return str(UUID(bytes=sha256(content.encode()).digest()[:16], version=4))


def _is_older(signals: Signals, made_at: int) -> bool:
    """Tell whether what the visitor said here, if anything, was before; what cannot be read may be the last word."""
    if signals.choice is None:
        return signals.choice_state is ChoiceState.ABSENT
    return signals.choice.made_at < made_at


def _secret_of(own: str, headers: Headers) -> str | None:
    found = [
        value
        for line in fields.lines(headers, b"cookie")
        for pair in line.decode("latin-1").split(";")
        for name, _, value in (pair.strip(" \t").partition("="),)
        if name == group_cookie(own)
    ]
    return found[0] if len(found) == 1 and _SECRET.fullmatch(found[0]) else None


def _binding(secret: str) -> str:
    return base64_encode(sha256(secret.encode()).digest()).decode("ascii")


def _cookie(own: str, secret: str, max_age: int) -> bytes:
    # What the browser sees decides, whatever the scheme is behind a proxy that ends TLS.
    secure = "; Secure" * own.startswith("https:")
    line = f"{group_cookie(own)}={secret}; Max-Age={max_age}; Path=/; HttpOnly; SameSite=Lax{secure}"
    return line.encode("ascii")


def _quoted(address: str) -> str:
    return quote(address, safe="/?&=#%:;,+@!$'()*~[]")


def _redirect(target: str, *cookies: bytes) -> Answer:
    set_cookies = [(b"set-cookie", line) for line in cookies]
    return Answer(303, ((b"location", target.encode("ascii")), *_COMMON, *set_cookies))


def _bad_request() -> Refused:
    return Refused(400, "bad-request", "error_bad_request")
