"""The office's console: who is let in, which page answers, and how it is rendered."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any, Final
from urllib.parse import parse_qsl

from starlette.types import Receive, Scope, Send

from consent import headers as fields
from consent.answers import Answer, Refused
from consent.assets import asset_dir
from consent.errors import ConsentError
from consent.moments import format_moment
from consent.office.asker import Asker
from consent.office.attempts import Attempts
from consent.office.desk import Desk, NotAllowed, ReasonMissing
from consent.office.documents import percent
from consent.office.limits import exceeded
from consent.office.oidc.sign_in import SignIn
from consent.office.oidc.signed_in import SignedInBook
from consent.office.pages import (
    accesses,
    exports,
    overview,
    policies,
    receipts,
    reports,
    requests,
    trackers,
    webhooks,
)
from consent.office.pages.door import Door
from consent.office.pages.labels import label
from consent.office.pages.page import PAGE, Download, Failed, Pages, Visit
from consent.office.paths import is_below, places_in
from consent.office.questions import WrongQuestion
from consent.office.roles import Action
from consent.office.sessions import Sessions
from consent.office.streaming import stream
from consent.subject_request import StepRefused
from consent.submission import same_origin
from consent.templates import Templates, template_in
from consent.visitor_requests import MAX_BODY_BYTES, read_body

logger = logging.getLogger("consent")

_PAGES: Final[Pages] = {
    **overview.PAGES,
    **receipts.PAGES,
    **policies.PAGES,
    **trackers.PAGES,
    **requests.PAGES,
    **accesses.PAGES,
    **exports.PAGES,
    **reports.PAGES,
    **webhooks.PAGES,
}


class Console:
    """The ASGI app for everything under ``office``.

    Args:
        path: where it is mounted, without a slash at the end.
        desk: looks things up.
        keys: the site's keys for cookies, the signing one first.
        people: knows who is signed in through a provider.
        sign_in: with a provider; ``None``: there is none.
        attempts: counts who was not let in.

    Raises:
        ConfigurationError: the installation is incomplete.
    """

    def __init__(
        self,
        path: str,
        desk: Desk,
        keys: tuple[bytes, ...],
        people: SignedInBook,
        sign_in: SignIn | None,
        attempts: Attempts,
    ) -> None:
        self.path = path
        self._desk = desk
        self._sessions = Sessions(keys, desk.tokens, people, path, desk.clock)
        self._door = Door(path, desk, self._sessions, sign_in, attempts, self._render)
        self._style = (asset_dir("static") / "office" / "office.css").read_bytes()
        style = f"{path}/office.{sha256(self._style).hexdigest()[:12]}.css"
        self._style_path = style
        self._environment = Templates(None).environment({"home": path, "stylesheet": style})
        self._environment.filters["percent"] = percent
        self._environment.filters["label"] = label
        self._environment.globals["moment"] = _moment

    def answers(self, path: str) -> bool:
        """Tell whether a path is one of these."""
        return is_below(self.path, path)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            if scope["method"] not in ("GET", "HEAD", "POST"):
                raise Failed(405, "That cannot be done here", "Use the forms of the console.")
            form: Mapping[str, str] = {}
            if scope["method"] == "POST":
                anywhere = self._door.is_from_provider(scope["path"])
                form = await _form(scope, receive, from_anywhere=anywhere)
            answer: Answer | Download = await asyncio.to_thread(self._answer, scope, form)
        except Failed as error:
            answer = self._failed(error, None)
        if isinstance(answer, Download):
            await send(
                {"type": "http.response.start", "status": answer.status, "headers": list(answer.headers)}
            )
            await stream(scope, receive, send, answer.pieces)
            return
        allow = ((b"allow", b"GET, HEAD, POST"),) if answer.status == 405 else ()
        headers = [*answer.headers, *allow, (b"content-length", b"%d" % len(answer.body))]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else answer.body})

    def _answer(self, scope: Scope, form: Mapping[str, str]) -> Answer | Download:
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        path = scope["path"].removeprefix(self.path)
        asker: Asker | None = None
        try:
            if scope["path"] == self._style_path and method == "GET":
                kept = (b"cache-control", b"public, max-age=31536000, immutable")
                return Answer(200, ((b"content-type", b"text/css; charset=utf-8"), kept), self._style)
            if (answer := self._door.answer(scope, method, path, form)) is not None:
                return answer
            asker = self._sessions.asker(scope["headers"], is_secure=self._door.is_secure(scope))
            if asker is None:
                # The same for every address: what there is, is nobody's business.
                return self._door.ask(status=401 if path else 200)
            # As in the API: otherwise its limit would be none.
            limit = exceeded(self._desk.limits.count(asker))
            if limit is not None:
                whose = "You have" if limit.name == "day" else "All who ask about a site together have"
                message = (
                    f"{whose} {limit.limit} calls a day, pages and the API together, anew at midnight, UTC."
                )
                raise Failed(429, "That was too much for today", message)
            page, places = _page(method, path)
            return page(Visit(self._desk, asker, scope, places, form, self._render, self.path))
        except Failed as error:
            return self._failed(error, asker)
        except WrongQuestion as error:
            return self._failed(Failed(400, "That cannot be looked up", str(error)), asker)
        except StepRefused as error:
            return self._failed(Failed(409, "That cannot be done now", f"{error}."), asker)
        except ReasonMissing:
            message = "Say why: a few words, such as the number of a case. They are recorded. Go back, and add them."
            return self._failed(Failed(400, "A reason is missing", message), asker)
        except NotAllowed as error:
            message = f"Your role, or its sites, do not allow: {error}."
            return self._failed(Failed(403, "This is not for you to see", message), asker)
        except ConsentError:
            # What it says may name files, or a receipt.
            logger.exception("the office could not answer")
            message = "The log, or a part of it, cannot be read now. The site's own log says why."
            return self._failed(Failed(503, "This cannot be answered now", message), asker)

    # ---- rendering

    def _failed(self, error: Failed, asker: Asker | None) -> Answer:
        return self._render(
            "failed.html", asker, status=error.status, title=error.title, message=error.message
        )

    def _render(self, name: str, asker: Asker | None, *, status: int = 200, **values: Any) -> Answer:
        may = (
            frozenset() if asker is None else frozenset(str(action) for action in Action if asker.may(action))
        )
        page = template_in(self._environment, f"office/{name}").render(asker=asker, may=may, **values)
        return Answer(status, PAGE, page.encode())


def _page(method: str, path: str) -> tuple[Callable[[Visit], Answer | Download], Mapping[str, str]]:
    for (allowed, pattern), page in _PAGES.items():
        if method == allowed and (places := places_in(pattern, path)) is not None:
            return page, places
    raise Failed(404, "There is no such page", "Begin with the overview.")


async def _form(scope: Scope, receive: Receive, *, from_anywhere: bool) -> Mapping[str, str]:
    headers = scope["headers"]
    if not from_anywhere and not same_origin(headers):
        raise Failed(403, "This came from another site", "Open the console itself, and try again.")
    media_type = fields.media_type_of(fields.only(headers, b"content-type") or b"")
    if media_type != b"application/x-www-form-urlencoded":
        raise Failed(415, "This is no form", "Use the forms of the console.")
    try:
        body = await read_body(headers, receive)
    except Refused:
        raise Failed(413, "This is too long", f"At most {MAX_BODY_BYTES} bytes.") from None
    if body is None:
        raise Failed(400, "This is not all of it", "The connection ended early: nothing was done.")
    try:
        return dict(parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=30))
    except ValueError:
        raise Failed(400, "This cannot be read", "Use the forms of the console.") from None


def _moment(time_ms: int) -> str:
    return format_moment(time_ms)[:19].replace("T", " ")
