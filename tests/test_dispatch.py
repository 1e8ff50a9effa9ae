"""White labels and sections: each part of a site is under the policy that its rule says."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from consent import ConsentMiddleware
from consent.dispatch import _MAX_REMEMBERED, Dispatch
from consent.policy import Embeds, Policy, Refused, Rule, Unclassified
from tests import exchange

HTML = b'<!doctype html><head></head><body><script src="https://unknown.example/x.js"></script></body>'
POLICY = Policy(site="Main", language="en", unclassified=Unclassified.ALLOW)
MEMBERS = replace(POLICY, unclassified=Unclassified.STRIP)
INNER = Policy(site="Partner", controller="Partner Ltd", language="en")
PARTNER = replace(
    INNER,
    rules=(
        Rule(policy=replace(INNER, unclassified=Unclassified.HOLD, refused=Refused.HOLD), paths=("/in/",)),
    ),
)
SITE = replace(
    POLICY,
    rules=(
        Rule(policy=PARTNER, hosts=("partner.example", "*.partner.example")),
        Rule(policy=MEMBERS, paths=("/members/", "/club")),
    ),
)


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> ConsentMiddleware:
    folder: Path = tmp_path_factory.mktemp("dispatch")
    return ConsentMiddleware(exchange.answering(HTML), policy=SITE, data=folder)


def get(app: ASGIApp, host: str, path: str = "/", **request: Any) -> exchange.Answer:
    headers = [(b"host", host.encode()), *request.pop("headers", [])]
    return exchange.ask(app, path, headers=headers, **request)


@pytest.mark.parametrize(
    ("host", "path", "name", "stays"),
    [
        ("www.example.com", "/", b"Main", b"as it is"),
        ("www.example.com", "/members", b"Main", b"out"),
        ("www.example.com", "/members/a", b"Main", b"out"),
        ("www.example.com", "/club/", b"Main", b"out"),
        ("www.example.com", "/membership", b"Main", b"as it is"),
        ("www.example.com", "/x/members/", b"Main", b"as it is"),
        ("partner.example", "/", b"Partner", b"as it is"),
        ("PARTNER.example.:8080", "/members/", b"Partner", b"as it is"),
        ("a.b.partner.example", "/in/x", b"Partner", b"held"),
        ("notpartner.example", "/in/x", b"Main", b"as it is"),
        ("", "/members/", b"Main", b"out"),
    ],
)
def test_each_part_of_a_site_is_under_its_own_policy(
    app: ConsentMiddleware, host: str, path: str, name: bytes, stays: bytes
) -> None:
    """By host first, as the rules are written; a section's visitors are told the same as all others of its host."""
    body = get(app, host, path).body
    assert name in body
    assert (b"Main" if name == b"Partner" else b"Partner") not in body
    script = b'<script src="https://unknown.example/x.js"></script>'
    held = b'<template data-consent="targeting/unclassified">%b</template>' % script
    found = b"held" if held in body else b"as it is" if script in body else b"out"
    assert found == stays


def test_one_choice_counts_in_all_sections_of_a_host_and_in_no_other(app: ConsentMiddleware) -> None:
    """The endpoints answer for the policy of the host they are asked at, and a section's variant is its own."""
    page = get(app, "www.example.com", "/members/")
    banner = page.body.partition(b'name="form" value="banner"')[2].partition(b"</form>")[0]
    hidden = re.findall(rb'<input type="hidden" name="([^"]+)" value="([^"]*)"', banner)
    form = urlencode([(b"form", b"banner"), *hidden, (b"action", b"accept")]).encode()
    answer = chosen(app, "www.example.com", form)
    assert answer.status == 303, answer.body
    cookie = next(value for name, value in answer.headers if name == b"set-cookie").partition(b";")[0]
    answers = {
        (host, path): get(app, host, path, headers=[(b"cookie", cookie)]) for host, path in (
            ("www.example.com", "/"), ("www.example.com", "/members/"), ("partner.example", "/"),
        )
    }  # fmt: skip
    asks = {place: b"consent-banner" in answer.body for place, answer in answers.items()}
    assert list(asks.values()) == [False, False, True]
    assert b"unknown.example" not in answers["www.example.com", "/members/"].body
    assert all(b"Cookie" in dict(answer.headers)[b"vary"] for answer in answers.values())


@pytest.mark.parametrize(
    ("everywhere", "in_section"), [(Embeds.STRIP, Embeds.REPLACE), (Embeds.REPLACE, Embeds.STRIP)]
)
def test_placeholders_are_where_the_section_says(
    tmp_path: Path, everywhere: Embeds, in_section: Embeds
) -> None:
    """Also where there are none elsewhere."""
    policy = replace(POLICY, embeds=everywhere)
    rule = Rule(policy=replace(policy, embeds=in_section), paths=("/films/",))
    page = b'<!doctype html><body><iframe src="https://www.youtube.com/embed/x"></iframe></body>'
    site = ConsentMiddleware(exchange.answering(page), policy=replace(policy, rules=(rule,)), data=tmp_path)
    for path, embeds in (("/", everywhere), ("/films/", in_section)):
        assert (b'class="consent-embed' in get(site, "x", path).body) is (embeds is Embeds.REPLACE)


def chosen(app: ASGIApp, host: str, form: bytes) -> exchange.Answer:
    answer = exchange.Answer()
    scope = exchange.scope_for(
        "/_consent/choice",
        method="POST",
        headers=[
            (b"host", host.encode()),
            (b"content-type", b"application/x-www-form-urlencoded"),
            (b"sec-fetch-site", b"same-origin"),
            (b"content-length", str(len(form)).encode()),
        ],
    )

    async def receive() -> Any:
        return {"type": "http.request", "body": form, "more_body": False}

    async def send(message: Any) -> None:
        answer.messages.append(message)

    async def run() -> None:
        await app(scope, receive, send)

    asyncio.run(run())
    return answer


def test_where_no_rule_names_a_host_none_is_looked_for() -> None:
    """And who sends another one each time is not remembered without end."""

    async def never(scope: Scope, receive: Receive, send: Send) -> None: ...

    paths = Dispatch([(Rule(policy=MEMBERS, paths=("/x",)), never)], never)
    asyncio.run(_enter(paths, {"type": "http", "path": "/x"}))
    hosts = Dispatch([(Rule(policy=PARTNER, hosts=("a.example",)), never)], never)
    for number in range(_MAX_REMEMBERED + 10):
        scope = {"type": "http", "path": "/", "headers": [(b"host", b"%d.example" % number)]}
        asyncio.run(_enter(hosts, scope))
    assert len(hosts._by_host) == _MAX_REMEMBERED


async def _enter(dispatch: Dispatch, scope: Any) -> None:
    await dispatch.enter(scope, None, None)  # type: ignore[arg-type]


def test_a_site_without_rules_pays_nothing_for_them(tmp_path: Path) -> None:
    """The way in is that of the enforcing middleware itself."""
    plain = ConsentMiddleware(exchange.answering(HTML), policy=POLICY, data=tmp_path)
    assert "Dispatch" not in repr(plain._enter)
