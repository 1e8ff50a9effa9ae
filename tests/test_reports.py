"""Reports of violations: the two forms, what is dropped and why, and the endpoint that takes them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import pytest
from starlette.types import Message

from consent.inventory import Inventory, Sighting, Source, Tally
from consent.policy import Policy
from consent.receipts import Artefact, Receipt
from consent.reports import (
    BURST,
    MAX_REPORT_BYTES,
    MAX_REPORTS,
    PER_SECOND,
    Dropped,
    Reports,
    Stopped,
    Violated,
    Violation,
    judged,
    read_reports,
)
from consent.script_shape import shape_of
from consent.visitor import VisitorEndpoints
from tests.exchange import BANNER, CATALOG, COOKIE, NOW, Answer, scope_for

DAY = NOW // 86_400
PAGE = "https://www.example.com/shop/x?q=me#part"
CSP_REPORT = b"application/csp-report"
REPORTS = b"application/reports+json"
LEGACY = {
    "csp-report": {
        "document-uri": PAGE,
        "referrer": "https://search.example/?q=private",
        "violated-directive": "img-src",
        "effective-directive": "img-src",
        "original-policy": "default-src 'self'; report-uri /_consent/report",
        "disposition": "report",
        "blocked-uri": "https://user:secret@pics.example/u/1.png?who=me",
        "line-number": 2,
        "source-file": "https://www.example.com/shop/x",
        "status-code": 200,
        "script-sample": "",
    }
}
MODERN = {
    "age": 2,
    "body": {
        "blockedURL": "https://t.tracker.example/t.js",
        "disposition": "enforce",
        "documentURL": PAGE,
        "effectiveDirective": "script-src-elem",
        "originalPolicy": "default-src 'self'",
        "sourceFile": None,
        "statusCode": 200,
    },
    "type": "csp-violation",
    "url": PAGE,
    "user_agent": "Mozilla/5.0",
}


def modern(**body: object) -> dict[str, object]:
    return {**MODERN, "body": {**MODERN["body"], **body}}  # type: ignore[dict-item]


def violation(**values: str) -> Violation:
    start = Violation(PAGE, "https://pics.example/a", "img-src", "")
    return start._replace(**values)


def test_both_forms_are_read() -> None:
    """As Chromium sends them; a browser that knows CSP Level 1 only says the whole directive."""
    blocked = "https://user:secret@pics.example/u/1.png?who=me"
    source = "https://www.example.com/shop/x"
    assert read_reports(json.dumps(LEGACY).encode(), CSP_REPORT) == [
        Violation(PAGE, blocked, "img-src", source)
    ]
    old = {"csp-report": {"document-uri": PAGE, "violated-directive": "img-src 'self'", "blocked-uri": "x"}}
    assert read_reports(json.dumps(old).encode(), CSP_REPORT) == [Violation(PAGE, "x", "img-src", "")]
    others = [{"type": "deprecation", "body": 7}, MODERN, modern(documentURL=None, blockedURL="y")]
    assert read_reports(json.dumps(others).encode(), REPORTS) == [
        Violation(PAGE, "https://t.tracker.example/t.js", "script-src-elem", ""),
        Violation(PAGE, "y", "script-src-elem", ""),
    ]


@pytest.mark.parametrize(
    ("body", "media_type"),
    [
        (b"", CSP_REPORT),
        (b"{", CSP_REPORT),
        (b"\xff", CSP_REPORT),
        (b"[]", CSP_REPORT),
        (b"{}", CSP_REPORT),
        (b'{"csp-report": []}', CSP_REPORT),
        (b'{"csp-report": {"document-uri": 7}}', CSP_REPORT),
        (b'{"csp-report": {}, "csp-report": {}}', CSP_REPORT),
        (b"{}", REPORTS),
        (b"[7]", REPORTS),
        (b'[{"type": ["csp-violation"]}]', REPORTS),
        (b'[{"type": "csp-violation"}]', REPORTS),
        (b"[" * 100_000, REPORTS),
        (b"[]", b"application/json"),
        (b"[]", b""),
    ],
)
def test_what_has_another_form_is_no_report(body: bytes, media_type: bytes) -> None:
    """All of it, or none."""
    with pytest.raises((ValueError, RecursionError)):
        read_reports(body, media_type)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, Violated("pics.example", "/a", "img-src", "/shop/x")),
        ({"blocked": "wss://PICS.example:99/a?b"}, Violated("pics.example", "/a?b", "img-src", "/shop/x")),
        ({"blocked": "https://pics.example"}, Violated("pics.example", "/", "img-src", "/shop/x")),
        ({"page": "blob"}, Violated("pics.example", "/a", "img-src", "")),
        ({"page": "about:srcdoc"}, Violated("pics.example", "/a", "img-src", "")),
        ({"page": "https://www.example.com/\ud800"}, Violated("pics.example", "/a", "img-src", "")),
        ({"page": "https://www.example.com/\x1b[2J"}, Violated("pics.example", "/a", "img-src", "")),
        ({"page": "https://other.example/"}, Dropped.OTHER_SITE),
        ({"page": ""}, Dropped.OTHER_SITE),
        ({"page": "file:///etc"}, Dropped.OTHER_SITE),
        ({"blocked": "inline"}, Dropped.CODE),
        ({"blocked": "inline", "sample": "f()"}, Dropped.CODE),  # a style sheet, or so the directive says
        (
            {"blocked": "inline", "sample": "f(" + "x" * 60, "directive": "script-src-attr"},
            Stopped("f(" + "x" * 38, "script-src-attr", "/shop/x"),
        ),
        ({"blocked": "eval", "sample": "f()", "directive": "script-src"}, Dropped.CODE),
        ({"blocked": "eval"}, Dropped.CODE),
        ({"blocked": "wasm-eval"}, Dropped.CODE),
        ({"blocked": "trusted-types-sink"}, Dropped.CODE),
        ({"blocked": "chrome-extension"}, Dropped.EXTENSION),
        ({"blocked": "moz-extension://7/x.js"}, Dropped.EXTENSION),
        ({"source_file": "safari-web-extension://7/x.js"}, Dropped.EXTENSION),
        ({"source_file": "chrome-extension"}, Dropped.EXTENSION),
        ({"blocked": ""}, Dropped.NO_HOST),
        ({"blocked": "about"}, Dropped.NO_HOST),
        ({"blocked": "data"}, Dropped.NO_HOST),
        ({"blocked": "/a"}, Dropped.NO_HOST),
        ({"blocked": "https://exa mple/"}, Dropped.NO_HOST),
        ({"blocked": "self"}, Dropped.OWN_HOST),
        ({"blocked": "https://www.example.com:8443/a"}, Dropped.OWN_HOST),
        ({"directive": "form-action"}, Dropped.DIRECTIVE),
        ({"directive": "frame-ancestors"}, Dropped.DIRECTIVE),
        ({"directive": "x\x1b[0m"}, Dropped.DIRECTIVE),
    ],
)
def test_what_a_violation_says(values: dict[str, str], said: Violated | Stopped | Dropped) -> None:
    """Host and path of what was stopped, or why it says nothing about third-party content."""
    assert judged(violation(**values), "www.example.com") == said


def test_what_is_noted_tells_nothing_of_people() -> None:
    """Host, directive and page: no query, no user name, no referrer; what is said twice counts once."""
    inventory = Inventory()
    reports = Reports(inventory, CATALOG)
    said = read_reports(json.dumps([MODERN, MODERN, modern(blockedURL="inline")]).encode(), REPORTS)
    said += read_reports(json.dumps(LEGACY).encode(), CSP_REPORT)
    reports.take(said, host="www.example.com", now=NOW)
    assert inventory.take() == {
        Sighting(Source.REPORT, "script-src-elem", "t.tracker.example", "tracker"): Tally(
            DAY, DAY, 1, ["/shop/x"]
        ),
        Sighting(Source.REPORT, "img-src", "pics.example", ""): Tally(DAY, DAY, 1, ["/shop/x"]),
    }
    assert reports.dropped == {Dropped.CODE: 1}


def test_of_inline_code_the_shape_is_noted() -> None:
    """Where the site's own policy asks for a sample; whose it is, and no word of what is in its strings."""
    inventory = Inventory()
    body = {"blockedURL": "inline", "effectiveDirective": "script-src-elem"}
    said = read_reports(
        json.dumps([modern(**body, sample=f"greet('{who}'); trackMe()") for who in ("jane", "joe")]).encode(),
        REPORTS,
    )
    legacy = {**LEGACY["csp-report"], "blocked-uri": "inline", "effective-directive": "script-src-attr"}
    said += read_reports(
        json.dumps({"csp-report": {**legacy, "script-sample": "go(1)"}}).encode(), CSP_REPORT
    )
    Reports(inventory, CATALOG).take(said, host="www.example.com", now=NOW)
    assert {(s.source, s.kind, s.subject, s.vendor): t.count for s, t in inventory.take().items()} == {
        (Source.REPORT, "script-src-elem", f"inline {shape_of('greet(1);trackMe()')}", "tracker"): 2,
        (Source.REPORT, "script-src-attr", f"inline {shape_of('go(1)')}", ""): 1,
    }


class NoStore:
    """A store that nobody asks."""

    async def append(self, receipt: Receipt, artefacts: object = ()) -> None:
        raise AssertionError((receipt, artefacts, Artefact))

    async def aclose(self) -> None:
        """Do nothing."""


class Site:
    """The endpoints, with a clock that a test can set."""

    def __init__(self, *, reporting: bool = True) -> None:
        self.now = float(NOW)
        self.inventory = Inventory()
        self.reports = Reports(self.inventory, CATALOG)
        self.read = 0
        self.endpoints = VisitorEndpoints(
            Policy(),
            CATALOG,
            BANNER,
            COOKIE,
            NoStore(),
            reports=self.reports if reporting else None,
            clock=lambda: self.now,
        )

    def post(
        self,
        body: object,
        *,
        headers: Mapping[str, str] | None = None,
        method: str = "POST",
        media_type: bytes = CSP_REPORT,
    ) -> Answer:
        answer = Answer()
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        pieces = [content[at : at + 65_536] for at in range(0, len(content), 65_536)] or [b""]

        async def receive() -> Message:
            self.read += 1
            piece = pieces.pop(0)
            return {"type": "http.request", "body": piece, "more_body": bool(pieces)}

        async def send(message: Message) -> None:
            answer.messages.append(message)

        fields = {"content-type": media_type.decode(), **(headers or {})}
        scope = scope_for("/_consent/report", method=method, headers=fields)
        asyncio.run(self.endpoints(scope, receive, send))
        return answer


def test_a_report_is_answered_with_204_and_noted() -> None:
    """No body, no cookie, no length."""
    site = Site()
    for headers in ({}, {"sec-fetch-site": "same-origin", "cookie": "session=secret"}):
        answer = site.post(LEGACY, headers=headers)
        assert (answer.status, answer.headers, answer.body) == (204, [], b"")
    answer = site.post([MODERN], media_type=b"application/reports+json; charset=utf-8")
    assert answer.status == 204
    assert {sighting.subject: tally.count for sighting, tally in site.inventory.take().items()} == {
        "pics.example": 2,
        "t.tracker.example": 1,
    }


@pytest.mark.parametrize(
    ("request_", "status", "code"),
    [
        ({"body": b"{"}, 400, "bad-request"),
        ({"body": [MODERN, 7], "media_type": REPORTS}, 400, "bad-request"),
        ({"body": LEGACY, "media_type": b"text/plain"}, 400, "bad-request"),
        ({"body": b" " * (MAX_REPORT_BYTES + 1)}, 413, "too-large"),
        ({"body": LEGACY, "headers": {"content-length": str(MAX_REPORT_BYTES + 1)}}, 413, "too-large"),
        ({"body": LEGACY, "headers": {"sec-fetch-site": "cross-site"}}, 403, "cross-origin"),
        ({"body": LEGACY, "method": "GET"}, 405, "method-not-allowed"),
    ],
)
def test_what_is_no_report_is_an_error_and_notes_nothing(
    request_: dict[str, Any], status: int, code: str
) -> None:
    """In the one JSON shape."""
    site = Site()
    answer = site.post(**request_)
    assert answer.status == status
    assert answer.header("content-type") == "application/json"
    assert json.loads(answer.body)["error"]["code"] == code
    assert site.inventory.take() == {}


def test_a_large_batch_is_read_in_part() -> None:
    """Browsers send a few dozen at most."""
    site = Site()
    batch = [modern(blockedURL=f"https://h{n}.example/", originalPolicy="") for n in range(MAX_REPORTS + 50)]
    assert site.post(batch, media_type=REPORTS).status == 204
    assert len(site.inventory.take()) == MAX_REPORTS


def test_a_flood_is_answered_and_not_read() -> None:
    """After a burst so many a second, whatever the clock does."""
    site = Site()
    assert {site.post(LEGACY).status for _ in range(BURST + 20)} == {204}
    assert (site.read, site.reports.unread) == (BURST, 20)
    site.now += 0.5
    for _ in range(PER_SECOND):
        site.post(LEGACY)
    assert site.read == BURST + PER_SECOND // 2
    site.now -= 1_000
    site.post(LEGACY)
    assert site.read == BURST + PER_SECOND // 2
    site.now += 1_000_000
    for _ in range(BURST + 20):
        site.post(LEGACY)
    assert site.read == 2 * BURST + PER_SECOND // 2


def test_without_a_policy_there_is_nothing_to_report_to() -> None:
    """The address is like any other that does not exist."""
    answer = Site(reporting=False).post(LEGACY)
    assert (answer.status, json.loads(answer.body)["error"]["code"]) == (404, "not-found")
