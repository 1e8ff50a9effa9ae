"""Which responses get our Content-Security-Policy, and which stay as they are."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from consent.categories import Category
from consent.csp import ClosedWorld
from consent.inventory import Inventory
from consent.middleware import EnforcingMiddleware
from consent.policy import CspMode, Policy, Refused
from tests.exchange import CATALOG, HTML, TRACKER, Answer, answering, around, ask, chosen
from tests.exchange import POLICY as SITE

NAME = "content-security-policy"
POLICY = (
    "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob: about:{}; "
    "report-uri /_consent/report; report-to consent-csp"
)
NOTHING = POLICY.format("")
PAGE = b"<!doctype html><title>x</title><p>Hello"
WITH_CDN = PAGE + b"<img src=https://cdn.example/x.png>"
CDN = POLICY.format(" cdn.example *.cdn.example wss://cdn.example wss://*.cdn.example")
SCRIPT = (b"content-type", b"text/javascript")


def secured(app: Any, mode: CspMode = CspMode.ENFORCE, **options: Any) -> EnforcingMiddleware:
    """Return the middleware with a policy around ``app``; the vendor ``tracker`` is declared."""
    policy = Policy(csp=mode, vendors=(CATALOG.vendors["tracker"],))
    world = ClosedWorld(CATALOG, policy)
    return around(app, csp=world, inventory=Inventory(), **options)


def test_pages_get_the_policy_of_their_visitor() -> None:
    """What is allowed after a yes is in it, in one header field; the endpoints come with it."""
    app = secured(answering(PAGE))
    answer = ask(app)
    assert answer.header(NAME) == NOTHING
    assert answer.header("reporting-endpoints") == 'consent-csp="/_consent/report"'
    assert ask(app, headers={"cookie": chosen()}).header(NAME) == POLICY.format(
        " tracker.example *.tracker.example"
    )


def test_reporting_alone_is_another_field() -> None:
    """The page is told of nothing that it must not do."""
    answer = ask(secured(answering(PAGE), CspMode.REPORT))
    assert answer.header(NAME) is None
    assert answer.header(NAME + "-report-only") == NOTHING


def test_without_one_pages_have_their_own_only() -> None:
    """As with the setting ``off``."""
    own = (b"content-security-policy", b"img-src 'self'")
    answer = ask(around(answering(PAGE, headers=[HTML, own])))
    assert answer.header(NAME) == "img-src 'self'"
    assert answer.header("reporting-endpoints") is None


def test_what_a_page_itself_brings_is_in_its_policy() -> None:
    """A strictly necessary vendor needs no declaration: where it is used it is seen. Others remember it."""
    app = secured(answering(WITH_CDN))
    assert ask(app).header(NAME) == CDN
    assert ask(app, method="HEAD").header(NAME) == CDN
    late = secured(answering(PAGE, WITH_CDN))
    assert ask(late).header(NAME) == NOTHING
    assert ask(late).header(NAME) == CDN


def test_the_pages_own_policy_stands_beside_ours() -> None:
    """What it names is allowed by ours too; the inserted script has its nonce, and ours has none."""
    own = (
        b"content-security-policy",
        b"script-src 'nonce-abc' 'strict-dynamic'; img-src https://i.example https://t.tracker.example",
    )
    for mode, name in ((CspMode.ENFORCE, NAME), (CspMode.REPORT, NAME + "-report-only")):
        answer = ask(secured(answering(PAGE, headers=[HTML, own]), mode))
        assert own in answer.headers
        assert answer.all(name)[-1] == POLICY.format(" https://i.example")


@pytest.mark.parametrize(
    ("headers", "content_type", "gets"),
    [
        ({}, "text/html", True),
        ({"sec-fetch-dest": "document"}, "text/html", True),
        ({"sec-fetch-dest": "iframe"}, "text/html", True),
        ({"sec-fetch-dest": "object"}, "image/svg+xml", True),
        ({"sec-fetch-dest": "document"}, "application/xhtml+xml", True),
        ({"sec-fetch-dest": "empty"}, "text/html", False),
        ({"sec-fetch-dest": "image"}, "image/svg+xml", False),
        ({"sec-fetch-dest": "document"}, "application/json", False),
        ({"sec-fetch-dest": "script"}, "text/javascript", False),
        ({"sec-fetch-dest": "worker"}, "text/javascript", True),
        ({"sec-fetch-dest": "sharedworker"}, "text/javascript", True),
        ({"sec-fetch-dest": "serviceworker"}, "text/javascript", True),
    ],
)
def test_what_obeys_a_policy_gets_one(headers: Mapping[str, str], content_type: str, gets: bool) -> None:
    """Pages, pages within pages, and workers; not what a script fetches, nor a picture."""
    app = secured(answering(PAGE, headers=[(b"content-type", content_type.encode())]))
    assert (ask(app, headers=headers).header(NAME) is not None) is gets


def test_a_workers_script_depends_on_the_visitor_then() -> None:
    """It is told apart by caches, keeps its bytes and its length, and reports where workers do: by address."""
    body = b"fetch('/x')"
    headers = [
        SCRIPT,
        (b"content-length", b"11"),
        (b"etag", b'"a"'),
        (b"cache-control", b"public, max-age=9"),
    ]
    app = secured(answering(body, headers=headers))
    worker = {"sec-fetch-dest": "worker"}
    answer = ask(app, headers=worker)
    assert answer.body == body
    assert answer.header(NAME) == NOTHING.removesuffix("; report-to consent-csp")
    assert answer.header("reporting-endpoints") is None
    assert answer.header("content-length") == "11"
    assert answer.header("cache-control") == "private, max-age=9"
    vary = answer.header("vary")
    assert vary is not None
    assert {"Cookie", "Sec-GPC", "DNT", "Sec-Fetch-Dest"} <= set(vary.split(", "))
    tag = answer.header("etag")
    assert tag is not None
    assert tag != ask(app, headers={**worker, "cookie": chosen()}).header("etag")
    confirmed = secured(answering(status=304, headers=[(b"etag", b'"a"')]))
    again = ask(confirmed, headers={**worker, "if-none-match": tag})
    assert (again.status, again.header("etag"), again.header(NAME)) == (304, tag, None)
    plain = ask(app, headers={"sec-fetch-dest": "script"})
    assert plain.headers == headers


def test_the_tag_of_a_page_names_what_becomes_of_the_policy() -> None:
    """A browser that kept the page from before is not told that it is still the same."""
    headers = [HTML, (b"etag", b'"a"')]
    tags = {
        ask(app).header("etag")
        for app in (
            around(answering(PAGE, headers=headers)),
            secured(answering(PAGE, headers=headers), CspMode.REPORT),
            secured(answering(PAGE, headers=headers), CspMode.ENFORCE),
        )
    }
    assert len(tags) == 3


def test_a_page_that_cannot_be_read_gets_it_all_the_same() -> None:
    """It passes in a coding that nobody here knows, and differs by visitor now."""
    app = secured(answering(b"\xff", headers=[HTML, (b"content-encoding", b"dcz")]))
    answer = ask(app)
    assert (answer.body, answer.header(NAME)) == (b"\xff", NOTHING)
    assert "Cookie" in (answer.header("vary") or "")


def test_a_page_in_pieces_and_compressed_gets_it_once() -> None:
    """With the first piece, whatever comes later."""
    zipped = gzip.compress(PAGE)
    headers = [HTML, (b"content-encoding", b"gzip")]
    answer: Answer = ask(secured(answering(zipped[:20], zipped[20:30], zipped[30:], headers=headers)))
    assert answer.all(NAME) == [NOTHING]
    assert TRACKER not in gzip.decompress(answer.body).decode()


def test_visitors_who_allow_everything_get_it_too() -> None:
    """What nobody knows is nobody's to allow; a page within a page is passed unread, and has it as well."""
    app = secured(answering(PAGE))
    everything = POLICY.format(" tracker.example *.tracker.example")
    for destination in ("document", "iframe"):
        headers = {"cookie": chosen(), "sec-fetch-dest": destination}
        assert ask(app, headers=headers).header(NAME) == everything


def test_what_is_held_under_an_enforced_policy_needs_a_new_page() -> None:
    """The client is told so in the page, for all that is refused; not where the policy only reports."""
    page = b"<body><script src='https://t.tracker.example/t.js'></script></body>"
    holding: dict[str, Any] = {"policy": replace(SITE, refused=Refused.HOLD)}
    mark = b'<template class="consent-missing" data-consent="%b"></template>'
    everything = mark % b"functional performance targeting targeting/tracker"
    assert everything in ask(secured(answering(page), **holding)).body
    some = {"cookie": chosen([Category.PERFORMANCE])}
    assert (
        mark % b"functional targeting targeting/tracker"
        in ask(secured(answering(page), **holding), headers=some).body
    )
    for app in (
        secured(answering(page), CspMode.REPORT, **holding),
        secured(answering(page)),
        secured(answering(PAGE), **holding),
        around(
            answering(page), csp=ClosedWorld(CATALOG, Policy(csp=CspMode.ENFORCE), for_all=True), **holding
        ),
    ):
        assert b"consent-missing" not in ask(app).body
