"""The office's API over HTTP: who asks, how often, in which form; and one shape for everything that goes wrong."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from typing import Any, Final
from urllib.parse import unquote

from starlette.types import Receive, Scope, Send

from consent import headers as fields
from consent.answers import Refused
from consent.errors import ConsentError
from consent.office.api.endpoint import Call, Content, Endpoint, NothingThere, Problem, parse_body
from consent.office.api.once import Once, fingerprint_of
from consent.office.api.openapi import document
from consent.office.api.table import ENDPOINTS
from consent.office.attempts import Attempts
from consent.office.deprecation import told
from consent.office.desk import MIN_REASON, Desk, NotAllowed, ReasonMissing
from consent.office.limits import exceeded, limit_headers
from consent.office.paths import is_below, places_in
from consent.office.questions import WrongQuestion, read_query
from consent.office.streaming import stream
from consent.subject_request import StepRefused
from consent.visitor_requests import MAX_BODY_BYTES, read_body

LOCKED_UP: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; sandbox"),
)
"""Nothing of it is ever a page of this origin."""
REASON_HEADER: Final = b"consent-reason"

logger = logging.getLogger("consent")

_BEARER = re.compile(rb"(?i:bearer) +([\x21-\x7e]{1,200})")


class OfficeApi:
    """The ASGI app for everything under the API's path.

    Args:
        path: where it is mounted, without a slash at the end.
        desk: answers.
        once: does what is sent twice once.
        attempts: counts who was not let in.
    """

    def __init__(self, path: str, desk: Desk, once: Once, attempts: Attempts) -> None:
        self.path = path
        self._desk = desk
        self._once = once
        self._attempts = attempts
        self._document = json.dumps(document(path), ensure_ascii=False, indent=1).encode()

    def answers(self, path: str) -> bool:
        """Tell whether a path is one of these."""
        return is_below(self.path, path)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        method = scope["method"]
        headers: list[tuple[bytes, bytes]] = []
        try:
            if scope["path"] == f"{self.path}/openapi.json":
                if method not in ("GET", "HEAD"):
                    raise Problem(405, "method-not-allowed", "use GET", (b"allow", b"GET, HEAD"))
                content = Content(self._document)
            else:
                content = await self._content(scope, receive, headers)
        except Problem as problem:
            content = _error(problem)
            headers += problem.headers
        headers += LOCKED_UP
        await _send(scope, receive, send, headers, content)

    async def _content(self, scope: Scope, receive: Receive, headers: list[tuple[bytes, bytes]]) -> Content:
        """Return the answer; what goes with it, whatever it is, is added to ``headers``."""
        try:
            call, endpoint = await self._call(scope, headers)
            if endpoint.body is not None:
                call = replace(call, body=parse_body(await _read(scope, receive)))
            headers += told(endpoint.used(call.given, call.body))
            return await asyncio.to_thread(self._answer, scope, endpoint, call)
        except WrongQuestion as error:
            raise Problem(400, "wrong-parameter", str(error)) from None
        except ReasonMissing:
            message = f"say why in the field Consent-Reason: at least {MIN_REASON} characters; it is recorded"
            raise Problem(428, "reason-missing", message) from None
        except NotAllowed as error:
            raise Problem(403, "not-allowed", f"this token may not do this: {error}") from None
        except NothingThere:
            raise _not_found() from None
        except StepRefused as error:
            raise Problem(409, "not-now", str(error)) from None
        except ConsentError:
            # What it says may name files, or a receipt.
            logger.exception("the office could not answer")
            message = "the log, or a part of it, cannot be read now; the site's log says why"
            raise Problem(503, "unavailable", message, (b"retry-after", b"10")) from None

    def _answer(self, scope: Scope, endpoint: Endpoint, call: Call) -> Content:
        keys = fields.lines(scope["headers"], b"idempotency-key")
        if not (keys and endpoint.takes_key):
            return endpoint.answer(call)
        asked = fingerprint_of(scope["method"], scope["path"], dict(call.given), dict(call.body), call.reason)
        return self._once.do(call.asker, b",".join(keys), asked, lambda: endpoint.answer(call))

    async def _call(self, scope: Scope, headers: list[tuple[bytes, bytes]]) -> tuple[Call, Endpoint]:
        path = scope["path"].removeprefix(self.path)
        presented = _BEARER.fullmatch(fields.only(scope["headers"], b"authorization") or b"")
        token = None
        if presented is not None:
            token = await asyncio.to_thread(self._desk.tokens.find, presented[1].decode("ascii"))
        if token is None:
            if presented is not None:
                if wait := self._attempts.failed(scope):
                    retry = (b"retry-after", b"%d" % wait)
                    raise Problem(429, "too-many-attempts", "too often, from your network: wait", retry)
                logger.warning("the office's API was asked with a token that is not valid")
            message = "send a token: Authorization: Bearer cot_…; 'consent office token' makes one"
            raise Problem(401, "token-missing", message, (b"www-authenticate", b"Bearer"))
        endpoint, places = self._endpoint(path, scope["method"])
        allowances = await asyncio.to_thread(self._desk.limits.count, token, weight=endpoint.calls)
        headers += limit_headers(allowances)
        if (limit := exceeded(allowances)) is not None:
            retry = (b"retry-after", b"%d" % limit.reset_seconds)
            whose = "" if limit.name == "day" else " for all tokens of a site together"
            raise Problem(429, "too-many-calls", f"{limit.limit} calls a day{whose}, and no more", retry)
        if endpoint.action is not None:
            self._desk.require(token, endpoint.action)
        reason = unquote((fields.only(scope["headers"], REASON_HEADER) or b"").decode("utf-8", "replace"))
        if endpoint.needs_reason:
            self._desk.require_reason(reason)
        given = read_query(scope, endpoint.parameters)
        call = Call(
            self._desk, token, given, places, reason=reason, home=self.path, method=scope["method"],
            headers=scope["headers"],
        )  # fmt: skip
        return call, endpoint

    def _endpoint(self, path: str, method: str) -> tuple[Endpoint, Mapping[str, str]]:
        asked = "GET" if method == "HEAD" else method
        found = [(each, places) for each in ENDPOINTS if (places := places_in(each.path, path)) is not None]
        if not found:
            raise _not_found()
        for endpoint, places in found:
            if endpoint.method == asked:
                return endpoint, places
        allowed = ", ".join(sorted({each.method for each, _ in found}))
        raise Problem(405, "method-not-allowed", f"use {allowed}", (b"allow", allowed.encode()))


def _not_found() -> Problem:
    return Problem(404, "not-found", "there is no such thing here, or nothing that this token may see")


def _error(problem: Problem) -> Content:
    error = {"code": problem.code, "message": problem.message}
    return Content({"error": error}, status=problem.status, is_of_a_visitor=True)


async def _read(scope: Scope, receive: Receive) -> bytes:
    media_type = fields.media_type_of(fields.only(scope["headers"], b"content-type") or b"")
    if media_type != b"application/json":
        raise Problem(415, "wrong-media-type", "send JSON: Content-Type: application/json")
    try:
        body = await read_body(scope["headers"], receive)
    except Refused as refused:
        raise Problem(413, "too-large", f"at most {MAX_BODY_BYTES} bytes", *refused.headers) from None
    if body is None:
        raise Problem(400, "incomplete", "the request ended early")
    return body


async def _send(
    scope: Scope,
    receive: Receive,
    send: Send,
    headers: Sequence[tuple[bytes, bytes]],
    content: Content,
) -> None:
    status = content.status
    sent = [(b"content-type", content.media_type.encode()), *headers, *content.headers]
    sent.append((b"cache-control", b"no-store" if content.is_of_a_visitor else b"private, no-cache"))
    if content.filename:
        sent.append((b"content-disposition", f'attachment; filename="{content.filename}"'.encode()))
    body = content.body
    if not isinstance(body, (Mapping, bytes)):
        await send({"type": "http.response.start", "status": status, "headers": sent})
        await stream(scope, receive, send, body)
        return
    data = body if isinstance(body, bytes) else _json(body)
    if not content.is_of_a_visitor and status == 200:
        etag = b'"%s"' % sha256(data).hexdigest()[:32].encode()
        sent += [(b"etag", etag), (b"vary", b"Authorization")]
        known = b",".join(fields.lines(scope["headers"], b"if-none-match"))
        if etag in {tag.strip(b" \t").removeprefix(b"W/") for tag in known.split(b",")}:
            await send({"type": "http.response.start", "status": 304, "headers": sent})
            await send({"type": "http.response.body", "body": b""})
            return
    sent.append((b"content-length", b"%d" % len(data)))
    await send({"type": "http.response.start", "status": status, "headers": sent})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else data})


def _json(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
