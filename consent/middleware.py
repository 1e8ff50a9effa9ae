"""The ASGI middleware proper: decides for each request, and enforces the decision on each response.

It does no I/O of its own and knows no store: the visitor's endpoints are an ASGI app handed to it. Work that
does not depend on the request is done in the constructor, and what depends on the decision alone is done once
for each decision.
"""

from __future__ import annotations

import logging
import mimetypes
from collections.abc import Awaitable, Callable, Iterator
from functools import lru_cache, partial
from hashlib import sha256
from math import inf

from starlette.types import ASGIApp, Receive, Scope, Send

from consent import headers as fields
from consent import request_fields
from consent.banner import Banner
from consent.body_kind import PAGE_TYPES, PLAIN_TYPES
from consent.caching import RESPONSES, uniform_decision
from consent.catalog import Catalog
from consent.categories import OPTIONAL
from consent.choice import Choice, refusals_of
from consent.choice_cookie import CLOCK_SKEW_SECONDS, ChoiceCookie
from consent.csp import ClosedWorld
from consent.decision import Decision, decide, taken_back
from consent.enforcement_log import EnforcementLog
from consent.entrance import Known, entrance
from consent.failures import Failures, OnError
from consent.gpp import GppScript
from consent.guard import Guard
from consent.inline_scripts import PickedPages
from consent.inventory import Inventory
from consent.parts import Part
from consent.placeholder import Placeholders
from consent.policy import CacheMode, Policy, Refused, Unclassified
from consent.private_fields import add_to_private
from consent.request import FRAMED
from consent.response import GovernedResponse
from consent.signals import ChoiceState, Signals, read_dnt, read_gpc
from consent.site import EditionShelf, Ruling, Site
from consent.tracking_status import tracking_status
from consent.variant_cookie import VariantCookie

__all__ = ["EnforcingMiddleware", "OnError"]

logger = logging.getLogger("consent")

_DECIDES = request_fields.HAS_SIGNAL | request_fields.HAS_CHOICE
_MAX_REMEMBERED = 1024
_MAX_REMEMBERED_BYTES = 4096
_MAX_ROOTS = 16
_PAGES = FRAMED | {b"document", b"empty", None}
# What a server sends bodies with that bypasses us.
_BYPASSES = ("http.response.pathsend", "http.response.zerocopysend")


@lru_cache(maxsize=1024)
def _may_be_html(extension: str) -> bool:
    kind, _ = mimetypes.guess_type(f"x.{extension}")
    return kind is None or kind.encode() in fields.REWRITTEN_TYPES or kind == "text/x-php"


def _path_may_be_html(path: str) -> bool:
    name, dot, extension = path.rpartition("/")[2].rpartition(".")
    return not dot or not name or _may_be_html(extension[:16].lower())


class EnforcingMiddleware:
    """Keeps what the visitor did not allow out of what ``app`` answers.

    Of a websocket only the answer to its handshake is looked at; other scopes than ``http`` pass untouched.
    Paths under ``prefix`` and the two well-known resources go to ``endpoints``.

    Args:
        app: the site.
        endpoints: answers the visitor's choices, and the resources that belong to them.
        policy, catalog: the site's rules, and what is known about vendors.
        cookie: reads the stored choice; made for the policy's ``choice_days``.
        banner: renders what visitors see.
        guard: keeps in the browser what the server cannot see; ``None``: nothing does, and pages get no script.
        gpp: answers ``__gpp`` in pages; ``None``: nothing does. Where it does, every page is read.
        csp: writes the policy that pages get besides their own; ``None``: they get none.
        inventory: takes note of the third-party content in pages.
        scripts: note the inline scripts in some pages; ``None``: nobody does.
        enforcement: counts what was done about trackers.
        placeholders: make what offers refused embeds; ``None``: these are as all else that is refused.
        keep: records what browser signals take back of an earlier choice, and returns the ``Set-Cookie`` values that
            store it; ``None``: nobody does.
        clock: returns seconds since 1970.
        prefix: where ``endpoints`` live: a path as browsers see it, so that in a sub-application mounted at
            ``/shop`` it begins with ``/shop/``.
        explain: put the developer's explanation at the end of every page.
        on_error: what becomes of the rest of a page that cannot be rewritten.
        aside: returns who answers what is neither for the site nor for ``endpoints``, by its scope; ``None``: nobody.
            It is asked about what needs a closer look: of the rest of the paths under ``prefix``, and of all that is no
            request.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        endpoints: ASGIApp,
        policy: Policy,
        catalog: Catalog,
        cookie: ChoiceCookie,
        banner: Banner,
        guard: Guard | None = None,
        gpp: GppScript | None = None,
        csp: ClosedWorld | None = None,
        inventory: Inventory | None = None,
        scripts: PickedPages | None = None,
        enforcement: EnforcementLog | None = None,
        placeholders: Placeholders | None = None,
        keep: Callable[[Scope, Decision], Awaitable[list[bytes]]] | None = None,
        clock: Callable[[], float],
        prefix: str = "/_consent",
        explain: bool = False,
        on_error: OnError = "withhold",
        aside: Callable[[Scope], ASGIApp | None] = lambda scope: None,
    ) -> None:
        self.app = app
        self._site = Site(
            catalog=catalog,
            banner=banner,
            guard=guard,
            # A page that caches keep may be shown in a frame; a uniform one takes away its banner before it is seen.
            defers_guard=guard is not None
            and not guard.is_first
            and gpp is None
            and policy.cache is CacheMode.PER_VISITOR,
            gpp=gpp,
            failures=Failures(on_error),
            # What is given back to some has to be in everybody's page.
            refused=Refused.HOLD if policy.cache is CacheMode.UNIFORM else policy.refused,
            placeholders=placeholders,
            csp=csp,
            cookie=cookie,
            companion=VariantCookie(cookie, policy, catalog),
            inventory=inventory or Inventory(),
            scripts=scripts,
            enforcement=enforcement or EnforcementLog(policy.site, policy.version),
            clock=clock,
            unclassified=Part(policy, catalog).unclassified,
            explain=explain,
        )
        self._endpoints = endpoints
        self._keep = keep
        self._aside = aside
        self._policy = policy
        self._policy_version = policy.version
        self._cookie = cookie
        self._cookie_name = cookie.name.encode()
        others = (self._site.companion.name, cookie.taken_name, cookie.mark_name)
        self._others_names = [name.encode() for name in others]
        self._prefix = prefix + "/"
        self._own_folders = (self._prefix, "/.well-known/dnt/")
        self._uniform = uniform_decision(policy) if policy.cache is CacheMode.UNIFORM else None
        self._shelf = EditionShelf()
        # Without a choice there are few decisions; with one, each visitor has their own.
        self._silent: dict[tuple[bool, bool | None], Ruling] = {}
        self._unasked = self._silence(gpc=False, dnt=None)
        self._chosen: dict[object, Known[Ruling]] = {}
        self._respond: Callable[..., GovernedResponse] = partial(RESPONSES[policy.cache], self._site)
        # Where the app is mounted, as far as that was looked at.
        self._roots = {""}
        self.enter: ASGIApp = entrance(
            app=app,
            look=self._look,
            respond=self._respond,
            cookie_name=self._cookie_name,
            plain_codings=request_fields.PLAIN_CODINGS,
            plain_types=PLAIN_TYPES,
            roots=self._roots,
            elsewhere=(self._prefix, "/.well-known/"),
            bypasses=_BYPASSES,
            fields=fields.RESPONSE,
            silence=self._known(self._unasked, -inf, inf),
            chosen=self._chosen,
            clock=clock,
            page_types=PAGE_TYPES,
            plain_names=fields.PLAIN_NAMES,
            inventory=self._site.inventory,
        )
        """The ASGI app for everything but the lifespan, as a plain function."""

    def _rule(self, headers: fields.Headers, line: bytes | None, *, has_signal: bool, secure: bool) -> Ruling:
        """Return the ruling for a request, from memory where that is the same as deciding again.

        Args:
            line: the lines that may hold the choice, as one; ``None`` where there are none.
        """
        gpc = has_signal and read_gpc(headers)
        dnt = read_dnt(headers) if has_signal else None
        now = self._site.clock()
        key = (line, gpc, dnt) if has_signal else line
        # What was chosen without HTTPS is another choice with it.
        if (
            known := self._chosen.get(key) or self._chosen.get((key, secure))
        ) and known.begins <= now < known.ends:
            return known.ruling
        choice, state, left = self._cookie.read(
            headers, now=int(now), policy_version=self._policy_version, secure=secure
        )
        if state is ChoiceState.ABSENT:
            return self._silence(gpc, dnt)
        ruling = self._decide(Signals(choice=choice, choice_state=state, gpc=gpc, dnt=dnt), left=left)
        # Only what was signed here is worth remembering, or anybody could fill the memory. One genuine cookie
        # says the same until it expires; of several of that name, another may be the newest by then.
        if (
            choice is not None
            and line is not None
            and line.count(self._cookie_name) - sum(map(line.count, self._others_names)) == 1
            and len(line) <= _MAX_REMEMBERED_BYTES
            and left is None
        ):
            if len(self._chosen) >= _MAX_REMEMBERED:
                self._chosen.clear()
            # Of floats, so that nothing has to be converted where they are compared with the clock's.
            begins, ends = float(choice.made_at - CLOCK_SKEW_SECONDS), float(self._cookie.fresh_until(choice))
            if state is ChoiceState.EXPIRED:
                begins, ends = ends, inf
            kept_under = (key, secure) if choice.over_http else key
            self._chosen[kept_under] = self._known(ruling, begins, min(ends, self._renewal_due(ruling)))
        return ruling

    def _renewal_due(self, ruling: Ruling) -> float:
        """Return when the visitor's cookie is to be set anew, so that a refusal is never forgotten."""
        choice = ruling.own.signals.choice
        return inf if choice is None else self._cookie.renewal_due(choice)

    def _telling(self, scope: Scope, ruling: Ruling, send: Send) -> Send:
        """Return what sends, with a page that is the visitor's own, what follows from signals and choice besides."""
        signals = ruling.own.signals
        renews = [(b"set-cookie", line) for line in self._renewed(ruling, scope)]
        keeps = (
            self._keep is not None and self._policy.cache is CacheMode.PER_VISITOR and ruling.is_taken_back
        )
        answers = signals.dnt is not None and self._policy.cache is CacheMode.PER_VISITOR
        if not (renews or keeps or answers):
            return send

        async def added(headers: fields.Headers) -> fields.Headers:
            more = list(renews)
            is_page = fields.media_type(headers) == b"text/html"
            if answers and is_page and fields.first(headers, b"tk") is None:
                more.append((b"tk", tracking_status(self._policy, ruling.own).encode()))
            if keeps and is_page and self._keep and request_fields.is_visit(scope):
                more += [(b"set-cookie", line) for line in await self._keep(scope, ruling.own)]
            return more

        return add_to_private(send, added)

    def _renewed(self, ruling: Ruling, scope: Scope) -> Iterator[bytes]:
        """Yield the ``Set-Cookie`` values with which the browser keeps a refusal on, where it is time for that.

        And where what refuses more than the choice itself is only beside it: it may get lost.
        """
        choice, now = ruling.own.signals.choice, int(self._site.clock())
        if choice is not None and self._renewal_due(ruling) <= now:
            # The page may arrive after the answer to a withdrawal: what comes with it takes away, and gives nothing.
            choice = refusals_of(choice)
        elif choice is None or (choice := ruling.left) is None:
            return
        secure = request_fields.is_secure(scope)
        host = fields.host_name(fields.only(scope["headers"], b"host") or b"")
        stored = self._cookie.header(choice, secure=secure, now=now, host=host)
        yield stored
        if self._policy.cache is CacheMode.UNIFORM:
            yield self._site.companion.header(choice, secure=secure, now=now, host=host, beside=stored)

    def _silence(self, gpc: bool, dnt: bool | None) -> Ruling:
        ruling = self._silent.get((gpc, dnt))
        if ruling is None:
            ruling = self._silent[gpc, dnt] = self._decide(Signals(gpc=gpc, dnt=dnt))
        return ruling

    def _known(self, ruling: Ruling, begins: float, ends: float) -> Known[Ruling]:
        has_editions = not self._site.explain and self._policy.cache is CacheMode.PER_VISITOR
        return Known(begins, ends, ruling, ruling.decision, ruling.editions.met if has_editions else None)

    def _decide(self, signals: Signals, *, left: Choice | None = None) -> Ruling:
        own = decide(self._policy, signals)
        # Where everybody gets the same page, the app is shown the decision of this page.
        decision = self._uniform or own
        variant = self._variant(decision)
        signals = decision.signals
        # The same answer from others makes the same pages.
        key = variant, signals.choice_state, signals.choice and signals.choice.granted
        guard = self._site.guard
        # What goes first into the head needs a page that is read.
        puts_first = (guard and guard.is_first) or self._site.gpp is not None
        is_open = self._policy.unclassified is not Unclassified.STRIP and not puts_first
        return Ruling(
            decision,
            variant,
            own=own,
            editions=self._shelf.editions(key),
            is_open=is_open,
            is_taken_back=taken_back(own, self._site.catalog) is not None,
            left=left,
        )

    def _variant(self, decision: Decision) -> str:
        """Name the variant of pages that visitors with this decision get."""
        signals = decision.signals
        # All that shows in what is inserted, or decides what is removed.
        seen = (
            decision.key,
            [decision.reason(category) for category in OPTIONAL],
            signals.choice and sorted(signals.choice.told),
            decision.asks,
            tuple(sorted(decision.conflicts)),
            signals.gpc,
            signals.dnt,
            self._policy_version,
            self._site.banner.version,
            self._site.banner.stylesheet_url,
            self._site.guard and self._site.guard.url,
            self._site.gpp and self._site.gpp.markup(decision, nonce=None),
            self._site.csp and self._site.csp.mode,
            self._site.explain,
            self._site.refused,
            (self._policy.unclassified, self._policy.csp_allow),
            self._site.placeholders and self._site.placeholders.version,
        )
        return "c-" + sha256(repr(seen).encode()).hexdigest()[:12]

    @property
    def failures(self) -> Failures:
        """What could not be rewritten so far."""
        return self._site.failures

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.enter(scope, receive, send)

    def _look(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if (other := self._aside(scope)) is not None:
            return other(scope, receive, send)
        app, scope, send = self._govern(scope, send)
        return app(scope, receive, send)

    def _govern(self, scope: Scope, send: Send) -> tuple[ASGIApp, Scope, Send]:
        """Return who answers, with the scope and the ``send`` that it is to be called with."""
        kind = scope["type"]
        if kind not in ("http", "websocket"):
            return self.app, scope, send
        headers = scope["headers"]
        if type(headers) is not list:
            headers = list(headers)
        seen, line = request_fields.glance(headers, self._cookie_name)
        decides = seen & _DECIDES
        if decides & request_fields.HAS_CHOICE and line is None:
            # Over HTTP/2 each cookie may come in a field of its own. (RFC 9113, section 8.2.3.)
            line = b"; ".join(
                value for key, value in headers if key == b"cookie" and self._cookie_name in value
            )
        if not decides:
            ruling = self._unasked
        elif (
            decides == request_fields.HAS_CHOICE
            and (known := self._chosen.get(line))
            and known.begins <= self._site.clock() < known.ends
        ):
            ruling = known.ruling
        else:
            ruling = self._rule(
                headers,
                line,
                has_signal=decides != request_fields.HAS_CHOICE,
                secure=request_fields.is_secure(scope),
            )
        if kind == "websocket":
            return self.app, scope, GovernedResponse(self._site, scope, headers, ruling, send).send_handshake
        path: str = scope["path"]
        inner = dict(scope)
        # One dictionary per request, shared by all that handle it.
        inner.setdefault("state", {})["consent"] = ruling.decision
        if path.startswith(self._own_folders) or path == "/.well-known/gpc.json":
            return self._endpoints, inner, send
        if (root := scope.get("root_path")) and root not in self._roots:
            self._check_place(scope)
        if decides and scope["method"] in ("GET", "HEAD"):
            send = self._telling(scope, ruling, send)
        response = self._respond(scope, headers, ruling, send)
        if seen & request_fields.FOR_CODE:
            response.is_for_code = True
        if seen & request_fields.MAY_NEED_CHANGES:
            by_name = response.request.by_name
            may_be_page = by_name.get(b"sec-fetch-dest") in _PAGES and _path_may_be_html(path)
            inner["headers"] = request_fields.request_headers(
                headers,
                by_name,
                method=scope["method"],
                # Which language it is in is only looked up for who has a page of ours.
                variant=response.request.variant if b"~c-" in by_name.get(b"if-none-match", b"") else "c-",
                may_be_page=may_be_page,
                asks_for_page=may_be_page and b"html" in by_name.get(b"accept", b""),
            )
        if extensions := scope.get("extensions"):
            inner["extensions"] = {name: value for name, value in extensions.items() if name not in _BYPASSES}
        return self.app, inner, response.send_worker if seen & request_fields.FOR_WORKER else response.send

    def _check_place(self, scope: Scope) -> None:
        """Warn once for each place where the banner's addresses lead past this middleware."""
        root = scope["root_path"].rstrip("/")
        if not scope["path"].startswith(root + "/") or len(self._roots) >= _MAX_ROOTS:
            return
        self._roots.add(scope["root_path"])
        if not self._prefix.startswith(root + "/"):
            logger.warning(
                "the middleware is mounted under %s, where its addresses under %s do not reach it: "
                "put it around the whole site, or give it prefix=%r",
                root,
                self._prefix,
                root + self._prefix.rstrip("/"),
            )
