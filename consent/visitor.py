"""What browsers ask of us directly: storing a choice, the page of choices, static and well-known resources.

One ASGI app. The life of a choice: same origin? small enough? understood? then a receipt is recorded, and
only then the signed cookie is set and the answer sent. A refusal is honoured even if it cannot be recorded.
"""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date
from time import time
from types import MappingProxyType
from urllib.parse import parse_qsl, quote, unquote
from uuid import UUID

from starlette.types import Receive, Scope, Send

from consent import headers as fields
from consent.answers import LOCKED_DOWN, Answer, Headers, KeptAnswer
from consent.banner import Banner, Shown
from consent.catalog import Catalog
from consent.categories import OPTIONAL, Category
from consent.choice import BrowserSignal, Choice
from consent.choice_cookie import ChoiceCookie, UnwritableChoiceError
from consent.cookie_expiry import expire_refused_cookies
from consent.decision import Decision, allowance, decide
from consent.declaration_pages import DeclarationPages
from consent.ledger_endpoints import LedgerEndpoints
from consent.placeholder import Placeholders
from consent.policy import Policy, Regime
from consent.receipts import Artefact, CollectionMethod, build_receipt, outcome_of
from consent.reports import MAX_REPORT_BYTES, Reports, read_reports
from consent.signals import ChoiceState, Signals, read_dnt, read_gpc
from consent.static_files import StaticFile
from consent.store import Ledger, Store
from consent.submission import MAX_RETURN_TO, Submission, local_address, read_form, read_json, same_origin
from consent.tracking_status import UPDATED, tracking_status
from consent.variant_cookie import VariantCookie

logger = logging.getLogger("consent")

MAX_BODY_BYTES = 16 * 1024
RETRY_AFTER_SECONDS = 10
GPC_SUPPORT_SINCE = date(2026, 11, 26)
"""``lastUpdate`` of ``/.well-known/gpc.json``: when what this package makes of the signal last changed."""

_VARY = (b"vary", b", ".join(fields.DECIDING_FIELDS))
_PAGE_HEADERS = (
    (b"content-type", b"text/html; charset=utf-8"),
    (b"cache-control", b"no-store"),
    _VARY,
    *LOCKED_DOWN,
)
_JSON_HEADERS = (
    (b"content-type", b"application/json"),
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
)


class _Refused(Exception):
    """A request that is answered with an error: the code of the JSON shape, the key of the visitor's text."""

    def __init__(self, status: int, code: str, text: str, headers: Headers = ()) -> None:
        super().__init__(code)
        self.status = status
        self.code = code
        self.text = text
        self.headers = headers
        self.banner: Banner | None = None
        """Speaks the visitor's language, where the request told more of it than its header fields do."""


class VisitorEndpoints:
    """The ASGI app for everything under the banner's prefix, and for the two well-known resources.

    Args:
        policy, catalog: The site's rules, and what is known about vendors, the site's own cookies included.
        banner: Renders pages and knows which texts were shown; its prefix is where this app is mounted.
        cookie: Signs the choice.
        store: Where receipts are recorded.
        static: Files to serve beside the banner's.
        placeholders: Make what offers refused embeds, and know which of their texts were shown.
        companion: What tells caches and the guard of the choice; set together with it.
        reports: Takes what browsers report of our Content-Security-Policy; ``None``: nobody does.
        ledger: Opens the log for its public part, and for visitors' own receipts; ``None``: they are not shown.
        seen: Returns the ids of vendors to be told of besides those declared, another object when there is a new one.
        locate: Returns where the visitor is who made a request; left out, that is the policy's jurisdiction.
        honours_gpc: Whether the site makes something of Global Privacy Control; left out, the policy says.
        clock: Returns seconds since 1970-01-01T00:00:00Z.
        random_bytes: The source of receipt ids and pseudonyms.
    """

    def __init__(
        self,
        policy: Policy,
        catalog: Catalog,
        banner: Banner,
        cookie: ChoiceCookie,
        store: Store,
        *,
        static: Iterable[StaticFile] = (),
        placeholders: Placeholders | None = None,
        companion: VariantCookie | None = None,
        reports: Reports | None = None,
        ledger: Callable[[], Ledger] | None = None,
        seen: Callable[[], Sequence[str]] = tuple,
        locate: Callable[[Scope], str] | None = None,
        honours_gpc: bool | None = None,
        clock: Callable[[], float] = time,
        random_bytes: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self._policy = policy
        self._catalog = catalog
        self._banner = banner
        self._cookie = cookie
        self._store = store
        self._placeholders = placeholders
        self._companion = companion
        self._reports = reports
        self._declarations = DeclarationPages(catalog, seen)
        self._locate = locate or (lambda scope: policy.jurisdiction)
        self._clock = clock
        self._random_bytes = random_bytes
        self._prefix = banner.prefix
        self._ledger = LedgerEndpoints(self._prefix, ledger, self._receipt_of) if ledger else None
        self._static = {file.name: _kept_forever(file) for file in (*banner.static.values(), *static)}
        honours = bool(policy.gpc_refuses) if honours_gpc is None else honours_gpc
        support = {"gpc": honours, "lastUpdate": GPC_SUPPORT_SINCE.isoformat()}
        self._gpc = Answer(
            200,
            ((b"content-type", b"application/json"), (b"cache-control", b"public, max-age=3600")),
            json.dumps(support).encode(),
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise ValueError(f"the visitor endpoints answer http only, not {scope['type']!r}")
        if self._ledger is not None and self._ledger.answers(scope["path"]):
            await self._ledger(scope, receive, send)
            return
        headers: Headers = scope["headers"]
        try:
            answer = await self._answer(scope, headers, receive)
        except _Refused as refused:
            reporting = scope["path"] == f"{self._prefix}/report"
            banner = refused.banner or self._speaking(headers, scope["path"])
            answer = self._refusal(refused, banner, as_json=reporting or _wants_json(headers))
        if answer is None:
            return  # the browser has gone
        body = answer.body
        sent = list(answer.headers)
        if answer.status not in (204, 304):
            sent.append((b"content-length", b"%d" % len(body)))
        if scope["method"] == "HEAD":
            body = b""
        await send({"type": "http.response.start", "status": answer.status, "headers": sent})
        await send({"type": "http.response.body", "body": body})

    async def _answer(self, scope: Scope, headers: Headers, receive: Receive) -> Answer | None:
        path, method = scope["path"], scope["method"]
        if path == f"{self._prefix}/choice":
            _allow(method, "POST")
            return await self._choose(scope, headers, receive)
        if path == f"{self._prefix}/report" and self._reports is not None:
            _allow(method, "POST")
            return await self._take_report(self._reports, headers, receive)
        resource = self._resource(path)
        if resource is None:
            raise _Refused(404, "not-found", "error_not_found")
        _allow(method, "GET", "HEAD")
        return resource(scope, headers)

    def _resource(self, path: str) -> Callable[[Scope, Headers], Answer] | None:
        """Return what answers a GET of ``path``."""
        if path == f"{self._prefix}/choices":
            return self._choices
        if path == f"{self._prefix}/cookies":
            return self._declare
        if path == "/.well-known/gpc.json":
            return lambda scope, headers: self._gpc
        if path == "/.well-known/dnt/":
            return self._tracking_status
        folder, _, name = path.rpartition("/")
        file = self._static.get(name) if folder == f"{self._prefix}/static" else None
        if file is None:
            return None
        return lambda scope, headers: file.to(headers)

    def _receipt_of(self, headers: Headers) -> str | None:
        """Return the id of the receipt that the visitor's choice rests on."""
        choice = self._signals(headers).choice
        return None if choice is None else choice.receipt_id

    def _signals(self, headers: Headers) -> Signals:
        choice, state = self._cookie.read(
            headers, now=int(self._clock()), policy_version=self._policy.version
        )
        return Signals(choice=choice, choice_state=state, gpc=read_gpc(headers), dnt=read_dnt(headers))

    def _speaking(self, headers: Headers, address: str, language: str = "") -> Banner:
        """Return what speaks the visitor's language.

        Args:
            address: Path and query of the page that it is about.
            language: What the request says that the visitor was spoken to in, if that is one of the site's.
        """
        languages = self._banner.languages
        if language not in languages.offered:
            asked = b", ".join(fields.lines(headers, b"accept-language"))
            language = languages.choose(unquote(address.partition("?")[0]), asked)
        return self._banner.in_language(language)

    def _refusal(self, refused: _Refused, banner: Banner, *, as_json: bool) -> Answer:
        if as_json:
            error = {"error": {"code": refused.code, "message": banner.texts[refused.text]}}
            return Answer(refused.status, (*_JSON_HEADERS, *refused.headers), _json(error))
        page = banner.error_page(refused.text)
        return Answer(refused.status, (*_PAGE_HEADERS, *refused.headers), page)

    async def _take_report(self, reports: Reports, headers: Headers, receive: Receive) -> Answer | None:
        if fields.lines(headers, b"sec-fetch-site") not in ([], [b"same-origin"]):
            raise _Refused(403, "cross-origin", "error_cross_origin")
        now = self._clock()
        if reports.admits(now):
            body = await _read_body(headers, receive, max_bytes=MAX_REPORT_BYTES)
            if body is None:
                return None
            media_type = fields.media_type_of(fields.only(headers, b"content-type") or b"")
            try:
                violations = read_reports(body, media_type)
            except (ValueError, RecursionError) as error:
                raise _Refused(400, "bad-request", "error_bad_request") from error
            host = fields.host_name(fields.only(headers, b"host") or b"")
            reports.take(violations, host=host, now=int(now))
        return Answer(204)

    # ---- the page of choices, and the well-known resources

    def _choices(self, scope: Scope, headers: Headers) -> Answer:
        asked = _asked(scope)
        return_to = local_address(asked.get("return_to", "/"), prefix=self._prefix)
        page = self._speaking(headers, return_to, asked.get("language", "")).choices_page(
            decide(self._policy, self._signals(headers)),
            return_to=return_to,
            message="saved" if asked.get("saved") == "1" else None,
        )
        return Answer(200, _PAGE_HEADERS, page)

    def _declare(self, scope: Scope, headers: Headers) -> Answer:
        """Answer with the cookie declaration, which is the same for everybody who reads the same language."""
        language, path = _asked(scope).get("language", ""), scope["path"]
        languages = self._banner.languages
        settled = language in languages.offered or languages.settled(path) is not None
        banner = self._speaking(headers, path, language)
        return self._declarations.of(banner).to(headers, vary=b"" if settled else b"Accept-Language")

    def _tracking_status(self, scope: Scope, headers: Headers) -> Answer:
        """Answer for this very visitor. (W3C Tracking Preference Expression, sections 6.2 and 6.5.)"""
        decision = decide(self._policy, self._signals(headers))
        status = {"tracking": tracking_status(self._policy, decision), "config": f"{self._prefix}/choices"}
        if self._policy.privacy_url:
            status["policy"] = self._policy.privacy_url
        return Answer(
            200,
            (
                (b"content-type", b"application/tracking-status+json"),
                (b"cache-control", b"no-store"),
                _VARY,
            ),
            _json(status),
        )

    # ---- a choice

    async def _choose(self, scope: Scope, headers: Headers, receive: Receive) -> Answer | None:
        if not same_origin(headers):
            raise _Refused(403, "cross-origin", "error_cross_origin")
        media_type = fields.media_type_of(fields.only(headers, b"content-type") or b"")
        if media_type not in (b"application/x-www-form-urlencoded", b"application/json"):
            raise _Refused(415, "unsupported-media-type", "error_media_type")
        body = await _read_body(headers, receive)
        if body is None:
            return None
        try:
            read = read_json if media_type == b"application/json" else read_form
            submission = read(body, self._catalog, prefix=self._prefix)
        except (ValueError, RecursionError) as error:
            raise _Refused(400, "bad-request", "error_bad_request") from error
        banner = self._speaking(headers, submission.return_to, submission.language)
        try:
            return await self._take(submission, banner, scope, headers)
        except _Refused as refused:
            refused.banner = banner
            raise

    async def _take(self, submission: Submission, banner: Banner, scope: Scope, headers: Headers) -> Answer:
        """Make the choice, record it and store it; answer in the language that it was made in."""
        signals = self._signals(headers)
        before = decide(self._policy, signals)
        if submission.action == "allow":
            choice = self._with_one_more(submission, signals, before)
        else:
            choice = self._made(submission, signals, before)
        grants = bool(choice.granted) or any(choice.vendors.values())
        shown = self._shown(submission, banner)
        if shown is None and grants and not _needs_no_text(submission):
            # A yes counts for the text it was given on. That text is not known here: it is of another policy.
            if _wants_json(headers):
                raise _Refused(409, "text-changed", "look_again")
            page = banner.choices_page(before, return_to=submission.return_to, message="look_again")
            return Answer(409, _PAGE_HEADERS, page)

        secure = scope.get("scheme") == "https"
        now = int(self._clock())
        try:
            stored = self._cookie.header(choice, secure=secure, now=now)
        except UnwritableChoiceError as error:
            logger.warning("a choice was turned away: %s", error)
            raise _Refused(400, "bad-request", "error_bad_request") from error
        effective: Choice | None = choice
        refused: _Refused | None = None
        recorded = True
        try:
            receipt = build_receipt(
                policy=self._policy,
                jurisdiction=self._locate(scope),
                signals=signals,
                choice=choice,
                language=banner.language,
                shown_hash=shown.hash if shown else None,
                collection_method=submission.method,
                user_agent=(fields.only(headers, b"user-agent") or b"").decode("latin-1"),
                now_ms=int(self._clock() * 1000),
            )
            artefacts = [Artefact(content=shown.content, media_type=shown.media_type)] if shown else []
            await self._store.append(receipt, artefacts)
        except Exception:
            # Whatever is wrong with the store, it must not turn a no into anything else, nor count a yes.
            logger.exception("a choice could not be recorded: its refusals are honoured, its grants are not")
            recorded = False
            effective, refused = self._unrecorded(choice, signals, before)
            if effective is not None:
                stored = self._cookie.header(effective, secure=secure, now=now)
        cookies: list[tuple[bytes, bytes]] = []
        after = before
        if effective is not None:
            after = decide(self._policy, self._under(effective, signals))
            expiries = expire_refused_cookies(
                headers, self._refuses_cookie(after), return_to=submission.return_to, secure=secure
            )
            told = [self._companion.header(effective, secure=secure, now=now)] if self._companion else []
            cookies = [(b"set-cookie", line) for line in (stored, *told, *expiries)]
        if refused is not None:
            refused.headers = (*refused.headers, *cookies)
            raise refused
        cookies.append((b"tk", UPDATED.encode()))
        if _wants_json(headers):
            outcome = {
                "receipt_id": choice.receipt_id if recorded else None,
                "recorded": recorded,
                "outcome": outcome_of(choice, signals.choice, opts_out=submission.action == "opt-out"),
                "policy_version": self._policy.version,
                "categories": {category: after.allows(category) for category in Category},
                # What comes of the exceptions: a signal may overrule one.
                "vendors": {
                    vendor: after.allows(known.category, vendor)
                    for vendor in choice.vendors
                    if (known := self._catalog.vendors.get(vendor)) is not None
                },
                "allowed": allowance(after, self._catalog),
            }
            return Answer(200, (*_JSON_HEADERS, *cookies), _json(outcome))
        target = submission.return_to
        if submission.stay:
            target = f"{self._prefix}/choices?saved=1&language={banner.language}&return_to={quote(target, safe='/')}"
        location = (b"location", quote(target, safe="/?&=#%:;,+@!$'()*~[]").encode("ascii"))
        return Answer(303, (location, (b"cache-control", b"no-store"), *cookies))

    def _shown(self, submission: Submission, banner: Banner) -> Shown | None:
        """Return the text that the visitor chose on, by the form's own account, if it is one of ours."""
        if submission.shown is None:
            return None
        if submission.action != "allow":
            return banner.shown_by_hash(submission.shown)
        if self._placeholders is None:
            return None
        (vendor,) = submission.vendors
        return self._placeholders.shown_by_hash(submission.shown, vendor, banner.language)

    def _made(self, submission: Submission, signals: Signals, before: Decision) -> Choice:
        """Turn what was submitted into the choice it means."""
        vendors: dict[str, bool] = {}
        granted: frozenset[Category] = frozenset()
        if submission.action == "accept":
            granted = frozenset(OPTIONAL)
            if signals.gpc:
                granted -= self._policy.gpc_refuses
        elif submission.action == "opt-out":
            granted = frozenset(filter(before.allows, OPTIONAL)) - self._policy.opt_out_refuses
            vendors = self._differing(
                {
                    vendor: allowed and not self._opts_out_of(vendor)
                    for vendor, allowed in before.vendors.items()
                },
                granted,
            )
        elif submission.action == "save":
            granted = submission.categories
            vendors = self._exceptions(submission, signals, granted)
        previous = signals.choice
        present = {
            signal
            for signal, sent in ((BrowserSignal.GPC, signals.gpc), (BrowserSignal.DNT, signals.dnt is True))
            if sent
        }
        return Choice(
            receipt_id=str(UUID(bytes=self._random_bytes(16), version=4)),
            subject=previous.subject if previous else self._random_bytes(16).hex(),
            made_at=int(self._clock()),
            policy_version=self._policy.version,
            granted=granted - self._policy.never,
            vendors=MappingProxyType(vendors),
            told=submission.told & present,
        )

    def _with_one_more(self, submission: Submission, signals: Signals, before: Decision) -> Choice:
        """Turn the yes to one vendor into a choice in which all else that was said stands.

        Where nothing was said, all else is refused, as the placeholder tells. That holds in opt-in only: where
        silence is a yes, it would take back what nobody spoke of.
        """
        previous = signals.choice
        silent = previous is None and self._policy.regime is not Regime.OPT_IN
        if silent or self._catalog.vendors[next(iter(submission.vendors))].category in self._policy.never:
            raise _Refused(400, "bad-request", "error_bad_request")
        valid = signals.choice_state is ChoiceState.VALID
        granted = (
            frozenset(c for c in previous.granted if valid or before.allows(c)) if previous else frozenset()
        )
        answers = {**before.vendors, **submission.vendors}
        return replace(
            self._made(submission, signals, before),
            granted=granted,
            vendors=MappingProxyType(self._differing(answers, granted)),
            told=previous.told if previous and valid else frozenset(),
        )

    def _exceptions(
        self, submission: Submission, signals: Signals, granted: frozenset[Category]
    ) -> dict[str, bool]:
        """Return the vendors whose answer differs from their category's.

        A vendor refused earlier stays refused until it is itself named again.
        """
        earlier = signals.choice.vendors if signals.choice else {}
        answers = {vendor: False for vendor, allowed in earlier.items() if not allowed}
        answers.update(submission.vendors)
        return self._differing(answers, granted)

    def _opts_out_of(self, vendor: str) -> bool:
        known = self._catalog.vendors.get(vendor)
        return known is not None and known.category in self._policy.opt_out_refuses

    def _differing(self, answers: Mapping[str, bool], granted: frozenset[Category]) -> dict[str, bool]:
        """Return those of ``answers`` that differ from what is ``granted``, and can."""
        return {
            vendor: allowed
            for vendor, allowed in sorted(answers.items())
            if vendor in self._catalog.vendors
            and allowed is not ((category := self._catalog.vendors[vendor].category) in granted)
            and not (allowed and category in self._policy.never)
        }

    def _unrecorded(
        self, choice: Choice, signals: Signals, before: Decision
    ) -> tuple[Choice | None, _Refused | None]:
        """Return what of ``choice`` is to be stored although there is no receipt of it, and the error.

        Refusals hold. Of the grants only those that an earlier receipt proves: they keep its id and date.
        There is nothing to store where nothing was taken back, and no error where nothing is missing.
        """
        proven = signals.choice if signals.choice_state is ChoiceState.VALID else None
        kept = replace(
            choice,
            granted=choice.granted & proven.granted if proven else frozenset(),
            told=proven.told if proven else frozenset(),
            vendors=MappingProxyType(
                {
                    vendor: allowed
                    for vendor, allowed in choice.vendors.items()
                    if not allowed
                    or (proven and before.allows(self._catalog.vendors[vendor].category, vendor))
                }
            ),
        )
        if proven and (kept.granted or any(kept.vendors.values())):
            kept = replace(kept, receipt_id=proven.receipt_id, made_at=proven.made_at)
        wanted = decide(self._policy, self._under(choice, signals))
        holds = decide(self._policy, self._under(kept, signals))
        if wanted.key == holds.key:
            return kept, None
        retry = ((b"retry-after", b"%d" % RETRY_AFTER_SECONDS),)
        loses = any(before.allows(category) and not holds.allows(category) for category in OPTIONAL)
        if loses or self._takes_back(choice, signals.choice):
            return kept, _Refused(503, "not-recorded", "error_not_recorded_partly", retry)
        return None, _Refused(503, "not-recorded", "error_not_recorded", retry)

    def _takes_back(self, choice: Choice, previous: Choice | None) -> bool:
        """Tell whether ``choice`` refuses what ``previous`` did not, even if a signal hides that now."""
        if previous is None:
            return False
        vendors = {*choice.vendors, *previous.vendors} & self._catalog.vendors.keys()
        return bool(previous.granted - choice.granted) or any(
            self._grants_vendor(previous, vendor) and not self._grants_vendor(choice, vendor)
            for vendor in vendors
        )

    def _grants_vendor(self, choice: Choice, vendor: str) -> bool:
        return choice.vendors.get(vendor, self._catalog.vendors[vendor].category in choice.granted)

    def _under(self, choice: Choice, signals: Signals) -> Signals:
        return replace(signals, choice=choice, choice_state=ChoiceState.VALID)

    def _refuses_cookie(self, decision: Decision) -> Callable[[str], bool]:
        def refuses(name: str) -> bool:
            if name == self._cookie.name:
                return False
            match = self._catalog.match_cookie(name)
            return match is not None and not decision.allows(match.vendor.category, match.vendor.id)

        return refuses


def _asked(scope: Scope) -> Mapping[str, str]:
    """Return the parameters of a page's query; none where there are too many."""
    query = scope.get("query_string", b"")[: 2 * MAX_RETURN_TO].decode("latin-1")
    try:
        return dict(parse_qsl(query, keep_blank_values=True, max_num_fields=20))
    except ValueError:
        return {}


def _needs_no_text(submission: Submission) -> bool:
    """A page's own script may ask in its own words: there is no text of ours, and the receipt says so."""
    if submission.action == "opt-out":  # a no counts on whatever text
        return True
    return submission.method is CollectionMethod.API and submission.shown is None


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _allow(method: str, *methods: str) -> None:
    if method not in methods:
        allowed = (b"allow", ", ".join(methods).encode())
        raise _Refused(405, "method-not-allowed", "error_method", (allowed,))


def _wants_json(headers: Headers) -> bool:
    media_type = fields.media_type_of(fields.only(headers, b"content-type") or b"")
    accept = b",".join(fields.lines(headers, b"accept")).lower()
    return media_type == b"application/json" or (b"application/json" in accept and b"text/html" not in accept)


async def _read_body(headers: Headers, receive: Receive, *, max_bytes: int = MAX_BODY_BYTES) -> bytes | None:
    """Return the request's body; ``None`` if the browser went away."""
    too_large = _Refused(413, "too-large", "error_too_large", ((b"connection", b"close"),))
    declared = fields.only(headers, b"content-length")
    if declared is not None and declared.isdigit() and (len(declared) > 9 or int(declared) > max_bytes):
        raise too_large
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        if len(body) > max_bytes:
            raise too_large
        if not message.get("more_body", False):
            return bytes(body)


def _kept_forever(file: StaticFile) -> KeptAnswer:
    headers = (
        (b"cache-control", b"public, max-age=31536000, immutable"),
        (b"x-content-type-options", b"nosniff"),
    )
    return KeptAnswer(content=file.content, etag=file.etag, headers=headers, media_type=file.media_type)
