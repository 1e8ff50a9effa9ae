"""The office's pages: rendered here, without a script; what they show is looked up by the desk."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode

from starlette.types import Receive, Scope, Send

from consent import headers as fields
from consent.answers import Answer, Headers, Refused
from consent.assets import asset_dir
from consent.checkpoint import Checkpoint
from consent.choice import RECEIPT_ID, SUBJECT
from consent.errors import ConsentError
from consent.moments import format_moment
from consent.office.desk import Desk, NotAllowed, OpenedReceipt, ReasonMissing
from consent.office.overview import SERIES, overview
from consent.office.questions import (
    CURSOR,
    FILTERS,
    FIRST_DAY,
    LAST_DAY,
    LIMIT,
    STANDING,
    Parameter,
    WrongQuestion,
    cursor_of,
    days_of,
    limit_of,
    moment_of,
    position_of,
    read_query,
    sought_by,
)
from consent.office.roles import Action
from consent.office.sessions import Sessions
from consent.office.tokens import CALLS_A_DAY, Token
from consent.receipt_search import FoundPage, Sought
from consent.submission import same_origin
from consent.templates import Templates, template_in
from consent.visitor_requests import MAX_BODY_BYTES, read_body

logger = logging.getLogger("consent")

_SECURE: Final[Headers] = (
    (b"cache-control", b"no-store"),
    # With no-referrer, browsers would send our own forms with "Origin: null".
    (b"referrer-policy", b"same-origin"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-robots-tag", b"noindex"),
)
_PAGE: Final[Headers] = (
    (b"content-type", b"text/html; charset=utf-8"),
    (
        b"content-security-policy",
        b"default-src 'none'; style-src 'self'; frame-src 'self'; form-action 'self'; frame-ancestors 'none';"
        b" base-uri 'none'",
    ),
    *_SECURE,
)
# What was shown is markup of the site. It may be looked at and do nothing: it has an origin of its own.
_SHOWN: Final[Headers] = (
    (b"content-type", b"text/html; charset=utf-8"),
    (
        b"content-security-policy",
        b"sandbox; default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'self'; form-action 'none';"
        b" base-uri 'none'",
    ),
    *_SECURE,
)


class _Failed(Exception):
    """A request that is answered with a page that says what is wrong."""

    def __init__(self, status: int, title: str, message: str) -> None:
        super().__init__(message)
        self.status, self.title, self.message = status, title, message


@dataclass(frozen=True, slots=True)
class _Visit:
    """One request of somebody who is signed in."""

    token: Token
    scope: Scope
    place: str
    form: Mapping[str, str]

    def query(self, *allowed: Parameter) -> dict[str, str]:
        return read_query(self.scope, allowed)


class Console:
    """The ASGI app for everything under ``office``.

    Args:
        path: where it is mounted, without a slash at the end.
        desk: looks things up.
        keys: the site's keys for cookies, the signing one first.

    Raises:
        ConfigurationError: the installation is incomplete.
    """

    def __init__(self, path: str, desk: Desk, keys: tuple[bytes, ...]) -> None:
        self.path = path
        self._desk = desk
        self._sessions = Sessions(keys, desk.tokens, path, desk.clock)
        self._style = (asset_dir("static") / "office" / "office.css").read_bytes()
        style = f"{path}/office.{sha256(self._style).hexdigest()[:12]}.css"
        self._style_path = style
        self._environment = Templates(None).environment({"home": path, "stylesheet": style})
        self._environment.filters["percent"] = _percent
        self._environment.globals["moment"] = _moment
        self._pages: dict[tuple[str, str], Callable[[_Visit], Answer]] = {
            ("GET", ""): self._overview,
            ("GET", "/receipts"): self._receipts,
            ("POST", "/lookups"): self._lookups,
            ("GET", "/receipts/…"): self._ask_reason,
            ("POST", "/receipts/…"): self._receipt,
            ("POST", "/evidence/…"): self._evidence,
            ("GET", "/texts/…"): self._text,
            ("GET", "/trackers"): self._trackers,
            ("GET", "/accesses"): self._accesses,
        }

    def answers(self, path: str) -> bool:
        """Tell whether a path is one of these."""
        return path == self.path or path.startswith(f"{self.path}/")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            if scope["method"] not in ("GET", "HEAD", "POST"):
                raise _Failed(405, "That cannot be done here", "Use the forms of the console.")
            form = await _form(scope, receive) if scope["method"] == "POST" else {}
            answer = await asyncio.to_thread(self._answer, scope, form)
        except _Failed as error:
            answer = self._failed(error, None)
        allow = ((b"allow", b"GET, HEAD, POST"),) if answer.status == 405 else ()
        headers = [*answer.headers, *allow, (b"content-length", b"%d" % len(answer.body))]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else answer.body})

    def _answer(self, scope: Scope, form: Mapping[str, str]) -> Answer:
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        path = scope["path"].removeprefix(self.path).rstrip("/")
        token: Token | None = None
        try:
            if scope["path"] == self._style_path and method == "GET":
                kept = (b"cache-control", b"public, max-age=31536000, immutable")
                return Answer(200, ((b"content-type", b"text/css; charset=utf-8"), kept), self._style)
            if (method, path) == ("POST", "/sign-in"):
                return self._sign_in(scope, form)
            if (method, path) == ("POST", "/sign-out"):
                over = self._sessions.end(scope["headers"], is_secure=scope["scheme"] == "https")
                return Answer(303, (over, (b"location", self.path.encode()), *_SECURE))
            token = self._sessions.token(scope["headers"])
            if token is None:
                # The same for every address: what there is, is nobody's business.
                return self._render("sign_in.html", None, status=401 if path else 200, problem="")
            # As in the API: otherwise its limit would be none.
            if self._desk.tokens.count(token).left < 0:
                message = f"A token has {CALLS_A_DAY} calls a day, pages and the API together, anew at midnight, UTC."
                raise _Failed(429, "That was too much for today", message)
            folder, _, place = path.rpartition("/")
            page = self._pages.get((method, path)) or self._pages.get((method, f"{folder}/…"))
            if page is None:
                raise _Failed(404, "There is no such page", "Begin with the overview.")
            return page(_Visit(token, scope, place, form))
        except _Failed as error:
            return self._failed(error, token)
        except WrongQuestion as error:
            return self._failed(_Failed(400, "That cannot be looked up", str(error)), token)
        except ReasonMissing:
            message = "Say why: a few words, such as the number of a case. They are recorded. Go back, and add them."
            return self._failed(_Failed(400, "A reason is missing", message), token)
        except NotAllowed as error:
            message = f"This token's role, or its sites, do not allow: {error}."
            return self._failed(_Failed(403, "This is not for you to see", message), token)
        except ConsentError:
            # What it says may name files, or a receipt.
            logger.exception("the office could not answer")
            message = "The log, or a part of it, cannot be read now. The site's own log says why."
            return self._failed(_Failed(503, "This cannot be answered now", message), token)

    def _sign_in(self, scope: Scope, form: Mapping[str, str]) -> Answer:
        token = self._desk.tokens.find(form.get("token", "").strip())
        if token is None:
            logger.warning("the office's console was asked to let somebody in with a token that is not valid")
            problem = "That token is not valid: it may be mistyped, past its time, or revoked."
            return self._render("sign_in.html", None, status=401, problem=problem)
        self._desk.record(token, "signed-in")
        session = self._sessions.start(token, is_secure=scope["scheme"] == "https")
        return Answer(303, (session, (b"location", self.path.encode()), *_SECURE))

    # ---- pages

    def _overview(self, visit: _Visit) -> Answer:
        desk = self._desk
        first, last = days_of(visit.query(FIRST_DAY, LAST_DAY), desk.clock())
        note = desk.log.checkpoint()
        done = desk.enforcement(visit.token, first, last)
        sightings = desk.inventory.sightings() if visit.token.may(Action.TRACKERS) else None
        return self._render(
            "overview.html",
            visit.token,
            numbers=overview(desk, visit.token, first, last),
            series=SERIES,
            signed=None if note is None else Checkpoint.of_note(note),
            withheld=sum(count.times for count in done if count.kind.action != "allowed"),
            leaked=sum(count.times for count in done if count.kind.leaked),
            unclassified=None if sightings is None else sum(not each.vendor for each in sightings),
            seen=None if sightings is None else len({each.vendor for each in sightings if each.vendor}),
        )

    def _receipts(self, visit: _Visit) -> Answer:
        given = {
            name: value for name, value in visit.query(*FILTERS, STANDING, LIMIT, CURSOR).items() if value
        }
        page = self._desk.list(
            visit.token, sought_by(given, visit.token), limit=limit_of(given), before=position_of(given)
        )
        return self._list(visit, page, given, looked_up=False)

    def _lookups(self, visit: _Visit) -> Answer:
        sought, reason = visit.form.get("sought", "").strip().lower(), visit.form.get("reason", "")
        as_of = visit.form.get("until", "").strip()
        if SUBJECT.fullmatch(sought):
            until = moment_of("until", as_of) if as_of else None
            asked = Sought(subject=sought, until_ms=until, standing=visit.form.get("standing") == "true")
            page = self._desk.look_up(visit.token, asked, reason, limit=200, before=None)
        elif RECEIPT_ID.fullmatch(sought):
            page = self._desk.look_up_id(visit.token, sought, reason)
        else:
            raise _Failed(
                400, "That is nobody's", "Give a pseudonym of 32 hexadecimal digits, or a receipt's id."
            )
        return self._list(visit, page, {}, looked_up=True)

    def _list(self, visit: _Visit, page: FoundPage, given: Mapping[str, str], *, looked_up: bool) -> Answer:
        cursor = None if looked_up else cursor_of(page.next)
        following = "" if cursor is None else urlencode({**given, "cursor": cursor})
        rows = [(each.position.leaf, format_moment(each.position.time_ms), each.kind) for each in page.found]
        return self._render(
            "receipts.html", visit.token, rows=rows, given=given, following=following, looked_up=looked_up,
            filters=FILTERS,
        )  # fmt: skip

    def _ask_reason(self, visit: _Visit) -> Answer:
        self._desk.require(visit.token, Action.OPEN)
        return self._render("reason.html", visit.token, leaf=_leaf(visit.place))

    def _receipt(self, visit: _Visit) -> Answer:
        reason = visit.form.get("reason", "")
        opened = self._open(visit, reason)
        history = self._desk.history(visit.token, opened.receipt)
        day = opened.receipt.time[:10]
        done = [
            count
            for count in self._desk.enforcement(visit.token, day, day)
            if count.kind.site == opened.receipt.site
            and count.kind.policy_version == opened.receipt.policy_version
        ]
        return self._render(
            "receipt.html", visit.token, opened=opened, receipt=opened.receipt, history=history, reason=reason, day=day,
            done=sorted(done, key=lambda count: -count.times)[:50],
        )  # fmt: skip

    def _evidence(self, visit: _Visit) -> Answer:
        opened = self._open(visit, visit.form.get("reason", ""))
        if opened.evidence is None:
            raise _Failed(
                404, "There is no proof yet", "A checkpoint covers a receipt within about a second."
            )
        name = f'attachment; filename="consent-receipt-{opened.leaf}.json"'.encode()
        headers = ((b"content-type", b"application/json"), (b"content-disposition", name), *_SECURE)
        return Answer(200, headers, opened.evidence.text().encode())

    def _open(self, visit: _Visit, reason: str) -> OpenedReceipt:
        opened = self._desk.open(visit.token, _leaf(visit.place), reason)
        if opened is None:
            raise _Failed(
                404, "There is no such receipt", "It was erased, it is of another site, or it never was."
            )
        return opened

    def _text(self, visit: _Visit) -> Answer:
        text = self._desk.text(visit.token, visit.place)
        if text is None or not text.media_type.startswith("text/html"):
            raise _Failed(404, "There is no such text", "No receipt names it.")
        return Answer(200, _SHOWN, text.content)

    def _trackers(self, visit: _Visit) -> Answer:
        self._desk.require(visit.token, Action.TRACKERS)
        first, last = days_of(visit.query(FIRST_DAY, LAST_DAY), self._desk.clock())
        rows = sorted(
            self._desk.inventory.sightings().items(), key=lambda row: (row[0].vendor != "", -row[1].count)
        )
        done = self._desk.enforcement(visit.token, first, last)
        return self._render(
            "trackers.html", visit.token, rows=rows[:500], done=done, first=first, last=last, date=_day
        )

    def _accesses(self, visit: _Visit) -> Answer:
        self._desk.require(visit.token, Action.ACCESSES)
        before = visit.query(Parameter("before", "", {"type": "integer"})).get("before", "")
        entries = self._desk.accesses.newest(limit=100, before=_leaf(before) if before else None)
        return self._render(
            "accesses.html", visit.token, entries=entries, problems=self._desk.accesses.verify()
        )

    # ---- rendering

    def _failed(self, error: _Failed, token: Token | None) -> Answer:
        return self._render(
            "failed.html", token, status=error.status, title=error.title, message=error.message
        )

    def _render(self, name: str, token: Token | None, *, status: int = 200, **values: Any) -> Answer:
        may = (
            frozenset() if token is None else frozenset(str(action) for action in Action if token.may(action))
        )
        page = template_in(self._environment, f"office/{name}").render(token=token, may=may, **values)
        return Answer(status, _PAGE, page.encode())


async def _form(scope: Scope, receive: Receive) -> Mapping[str, str]:
    headers = scope["headers"]
    if not same_origin(headers):
        raise _Failed(403, "This came from another site", "Open the console itself, and try again.")
    media_type = fields.media_type_of(fields.only(headers, b"content-type") or b"")
    if media_type != b"application/x-www-form-urlencoded":
        raise _Failed(415, "This is no form", "Use the forms of the console.")
    try:
        body = await read_body(headers, receive)
    except Refused:
        raise _Failed(413, "This is too long", f"At most {MAX_BODY_BYTES} bytes.") from None
    if body is None:
        raise _Failed(400, "This is not all of it", "The connection ended early: nothing was done.")
    try:
        return dict(parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=30))
    except ValueError:
        raise _Failed(400, "This cannot be read", "Use the forms of the console.") from None


def _leaf(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 15):
        raise _Failed(404, "There is no such receipt", "A receipt is named by its number in the log.")
    return int(text)


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "–"


def _moment(time_ms: int) -> str:
    return format_moment(time_ms)[:19].replace("T", " ")


def _day(days: int) -> str:
    return format_moment(days * 86_400_000)[:10]
