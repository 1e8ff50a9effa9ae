"""Pages that are given to more than one visitor."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from consent.categories import OPTIONAL, Category
from consent.choice import BrowserSignal
from consent.csp import ClosedWorld
from consent.decision import Reason
from consent.middleware import EnforcingMiddleware
from consent.policy import CacheMode, CspMode, Policy, Refused, Regime
from consent.variant_cookie import VariantCookie
from tests.exchange import (
    CATALOG,
    COOKIE,
    HTML,
    POLICY,
    TRACKER,
    Answer,
    Headers,
    answering,
    around,
    ask,
    chosen,
)

PAGE = (
    b"<!doctype html><html><head><title>Hello</title></head><body>"
    b'<img src="https://counter.example/c.gif"><script src="'
    + TRACKER.encode()
    + b'"></script></body></html>'
)
TAG = VariantCookie(COOKIE, POLICY, CATALOG).tag
PUBLIC = (b"cache-control", b"public, max-age=60")
VISITOR_VARY = "Cookie, Sec-GPC, DNT, Sec-Fetch-Dest, HX-Request, Turbo-Frame, X-Up-Version, X-Requested-With"
P, F, T = OPTIONAL

VISITORS: list[tuple[dict[str, str], str | None]] = [
    ({}, "none:"),
    ({"sec-gpc": "1"}, "none:g"),
    ({"dnt": "1"}, "none:d"),
    ({"sec-gpc": "1", "dnt": "1"}, "none:gd"),
    ({"cookie": chosen()}, f"{TAG}.pft.:"),
    ({"cookie": chosen([])}, f"{TAG}..:"),
    ({"cookie": chosen([P])}, f"{TAG}.p.:"),
    ({"cookie": chosen(), "sec-gpc": "1"}, f"{TAG}.pft.:g"),
    ({"cookie": chosen(told=[BrowserSignal.GPC]), "sec-gpc": "1"}, f"{TAG}.pft.g:g"),
    ({"cookie": chosen(vendors={"tracker": False})}, None),
    ({"cookie": chosen(policy=Policy(controller="Other"))}, None),
    ({"cookie": "consent=forged"}, None),
]
"""What browsers send, and the key that the page for it has."""
DESTINATIONS: list[dict[str, str]] = [
    {},
    {"accept": "text/html", "sec-fetch-dest": "document"},
    {"sec-fetch-dest": "iframe"},
    {"hx-request": "true", "sec-fetch-dest": "empty"},
]
WORKER = {"sec-fetch-dest": "worker"}


def shared(app: ASGIApp, mode: CacheMode, **policy: Any) -> EnforcingMiddleware:
    return around(app, policy=Policy(site="Example", cache=mode, **policy))


def variant(headers: Headers = (HTML, PUBLIC), *, key: str | None = "none:", **who: str) -> Answer:
    app = shared(answering(PAGE, headers=headers), CacheMode.VARIANT)
    asked = {name.replace("_", "-"): value for name, value in who.items()}
    return ask(app, headers=asked if key is None else {**asked, "consent-variant": key})


def uniform(headers: Headers = (HTML, PUBLIC), **who: str) -> Answer:
    app = shared(answering(PAGE, headers=headers), CacheMode.UNIFORM)
    return ask(app, headers={name.replace("_", "-"): value for name, value in who.items()})


# --- one page for each of a few answers ---


def test_a_page_is_shared_under_the_key_of_its_decision() -> None:
    """Browsers ask again each time: they have one place for all their answers."""
    answer = variant()
    assert answer.all("cache-control") == ["public, max-age=0, s-maxage=60"]
    assert answer.header("vary") == "Consent-Variant, Sec-Fetch-Dest"
    assert answer.all("set-cookie") == []
    assert answer.body == ask(around(answering(PAGE))).body


@pytest.mark.parametrize(("who", "key"), VISITORS)
def test_a_page_under_any_other_key_is_kept_by_nobody(who: dict[str, str], key: str | None) -> None:
    """The key is what a cache made of things that anybody can forge; the signed cookie decides."""
    app = shared(answering(PAGE, headers=[HTML, PUBLIC]), CacheMode.VARIANT)
    truth = ask(around(answering(PAGE)), headers=who).body
    for asked in {known for _, known in VISITORS if known} | {"bypass", "", "none", "none:dg", "none:\xe9"}:
        answer = ask(app, headers={**who, "consent-variant": asked})
        assert answer.body == truth
        if asked == key:
            assert answer.header("vary") == "Consent-Variant, Sec-Fetch-Dest"
        else:
            assert answer.header("cache-control") == "private, no-store"
            assert answer.header("vary") == VISITOR_VARY


def test_who_was_given_the_wrong_key_gets_the_cookie_put_right() -> None:
    """So that the next page is found."""
    cookie = chosen([P])
    answer = variant(key="bypass", cookie=cookie)
    assert answer.all("set-cookie") == [
        f"consent_variant={cookie[-2:]}.{TAG}.p.; Max-Age={180 * 86_400 - 60}; Path=/; SameSite=Lax; Secure"
    ]
    right = f"{cookie}; consent_variant={cookie[-2:]}.{TAG}.p."
    assert variant(key="bypass", cookie=right).all("set-cookie") == []
    stale = variant(key="bypass", cookie=f"consent_variant={TAG}.pft.")
    assert stale.all("set-cookie") == ["consent_variant=; Max-Age=0; Path=/; SameSite=Lax; Secure"]


def test_without_a_cache_in_front_pages_are_private() -> None:
    """A cache that sends no key does not know of it."""
    answer = variant(key=None)
    assert answer.header("cache-control") == "private, max-age=60"
    assert answer.header("vary") == VISITOR_VARY


@pytest.mark.parametrize(
    ("headers", "left"),
    [
        ([(b"cache-control", b"max-age=60, s-maxage=600")], "max-age=0, s-maxage=600"),
        ([(b"cache-control", b"no-cache")], "no-cache"),
        ([(b"cache-control", b"max-age=9, immutable, stale-while-revalidate=5, x=1")], "x=1, max-age=0, s-maxage=9"),
        ([(b"expires", b"Fri, 15 Jan 2027 08:01:00 GMT")], "max-age=0, s-maxage=60"),
        ([(b"expires", b"Fri, 15 Jan 2027 07:00:00 GMT")], "max-age=0, s-maxage=0"),
        ([(b"expires", b"0"), (b"cache-control", b"public")], "public, max-age=0, s-maxage=0"),
        ([(b"expires", b"Fri, 15 Jan 2027 08:01:00 GMT"), (b"cache-control", b"max-age=5")], "max-age=0, s-maxage=5"),
        ([], None),
    ],
)  # fmt: skip
def test_how_long_the_app_says_is_said_to_the_shared_cache_alone(
    headers: list[tuple[bytes, bytes]], left: str | None
) -> None:
    """And nothing where the app says nothing. What it says to CDNs stands. (NOW is 08:00:00.)"""
    answer = variant([HTML, *headers, (b"cdn-cache-control", b"max-age=7"), (b"x-accel-expires", b"8")])
    assert answer.header("cache-control") == left
    assert answer.header("expires") is None
    assert (answer.header("cdn-cache-control"), answer.header("x-accel-expires")) == ("max-age=7", "8")


PERSONAL = pytest.mark.parametrize(
    ("headers", "who"),
    [
        ([PUBLIC, (b"set-cookie", b"session=1")], {}),
        ([PUBLIC, (b"set-cookie", b"_track=1")], {}),
        ([PUBLIC, (b"set-cookie", b"_track=; Max-Age=0")], {}),
        ([(b"cache-control", b"private, max-age=60")], {}),
        ([PUBLIC, (b"content-security-policy", b"script-src 'nonce-abc'")], {}),
        ([PUBLIC, (b"content-security-policy-report-only", b"script-src 'Nonce-abc'")], {}),
        ([(b"cache-control", b"max-age=60")], {"authorization": "Basic eA=="}),
    ],
)


@PERSONAL
@pytest.mark.parametrize("ask_for", [variant, uniform])
def test_what_is_for_one_visitor_is_private(
    ask_for: Any, headers: list[tuple[bytes, bytes]], who: dict[str, str]
) -> None:
    """Cookies, even where they are refused; nonces; what the app itself keeps to one visitor."""
    answer = ask_for([HTML, *headers], **who)
    assert answer.header("cache-control") == "private, max-age=60"
    assert answer.header("vary") == VISITOR_VARY


@pytest.mark.parametrize("ask_for", [variant, uniform])
def test_the_app_may_share_what_it_sends_to_somebody_who_logged_in(ask_for: Any) -> None:
    """If it says so (RFC 9111, section 3.5)."""
    answer = ask_for([HTML, PUBLIC], authorization="Basic eA==")
    assert "private" not in answer.header("cache-control")


@pytest.mark.parametrize("mode", [CacheMode.VARIANT, CacheMode.UNIFORM])
def test_cookies_of_what_is_no_page_make_it_private(mode: CacheMode) -> None:
    """Filtered by the visitor's own decision."""
    css = (b"content-type", b"text/css")
    app = shared(
        answering(b"p {}", headers=[css, PUBLIC, (b"set-cookie", b"_track=1"), (b"x-accel-expires", b"9")]),
        mode,
    )
    answer = ask(app, headers={"consent-variant": "none:"})
    assert answer.headers == [
        css,
        (b"cache-control", b"private, max-age=60"),
        (b"vary", b"Cookie, Sec-GPC, DNT"),
    ]
    answer = ask(app, headers={"consent-variant": "bypass", "cookie": chosen()})
    assert answer.all("set-cookie") == ["_track=1"]
    assert answer.header("cache-control") == "private, max-age=60"


@pytest.mark.parametrize("mode", [CacheMode.VARIANT, CacheMode.UNIFORM])
def test_what_depends_on_nobody_is_left_alone(mode: CacheMode) -> None:
    """Style sheets and pictures are kept as ever, whatever the key."""
    headers = [(b"content-type", b"text/css"), PUBLIC, (b"etag", b'"a"')]
    app = shared(answering(b"p {}", headers=headers), mode)
    assert ask(app, headers={"consent-variant": "bypass"}).headers == headers


@pytest.mark.parametrize("mode", [CacheMode.VARIANT, CacheMode.UNIFORM])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("status", [200, 206])
@pytest.mark.parametrize(
    "headers", [[], [HTML], [HTML, (b"content-length", b"0")], [(b"content-type", b"text/xml")]]
)
def test_what_sets_a_cookie_is_private_whatever_it_is(
    mode: CacheMode, method: str, status: int, headers: Headers
) -> None:
    """A cache may make something of the answer to a HEAD, too (RFC 9111, section 4.3.5)."""
    sent = [*headers, PUBLIC, (b"set-cookie", b"session=1")]
    answer = ask(
        shared(answering(b"", status=status, headers=sent), mode),
        method=method,
        headers={"consent-variant": "none:"},
    )
    assert answer.header("set-cookie") == "session=1"
    assert answer.header("cache-control") == "private, max-age=60"


LINKED = [(b"content-type", b"text/css"), PUBLIC, (b"link", f"<{TRACKER}>; rel=preload".encode())]


def test_a_hint_that_depends_on_the_visitor_makes_a_file_private() -> None:
    """The key is only ever that of pages."""
    app = shared(answering(b"p {}", headers=LINKED), CacheMode.VARIANT)
    for who, link in (({}, []), ({"cookie": chosen()}, [f"<{TRACKER}>; rel=preload"])):
        answer = ask(app, headers={**who, "consent-variant": "none:"})
        assert answer.all("link") == link
        assert answer.header("cache-control") == "private, max-age=60"
        assert answer.header("vary") == "Cookie, Sec-GPC, DNT"


@pytest.mark.parametrize("mode", [CacheMode.VARIANT, CacheMode.UNIFORM])
def test_a_redirect_to_a_tracker_is_kept_for_nobody_else(mode: CacheMode) -> None:
    """A visitor who follows a link may go there, a picture may not, and the cache knows no difference."""
    location = (b"location", TRACKER.encode())
    app = shared(answering(status=302, headers=[location, (b"content-length", b"0"), PUBLIC]), mode)
    answer = ask(app, headers={"sec-fetch-dest": "document", "consent-variant": "none:"})
    assert (answer.status, answer.header("cache-control")) == (302, "private, max-age=60")
    assert answer.header("vary") == "Cookie, Sec-GPC, DNT, Sec-Fetch-Dest"
    answer = ask(app, headers={"sec-fetch-dest": "image", "consent-variant": "none:"})
    assert (answer.status, answer.header("cache-control")) == (403, "no-store")
    answer = ask(app, headers={"sec-fetch-dest": "image", "cookie": chosen()})
    assert (answer.status, answer.header("cache-control")) == (302, "private, max-age=60")


def conditional(mode: CacheMode, **policy: Any) -> EnforcingMiddleware:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        fresh = b'"v1"' in dict(scope["headers"]).get(b"if-none-match", b"")
        headers = [HTML, PUBLIC, (b"etag", b'"v1"'), (b"link", f"<{TRACKER}>; rel=preload".encode())]
        await send({"type": "http.response.start", "status": 304 if fresh else 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if fresh else PAGE})

    return shared(app, mode, **policy)


def test_a_cache_may_revalidate_what_it_keeps() -> None:
    """With the tag of the variant; the 304 says of caching what the page did."""
    app = conditional(CacheMode.VARIANT)
    page = ask(app, headers={"consent-variant": "none:", "accept": "text/html"})
    tag = str(page.header("etag"))
    asked = {"consent-variant": "none:", "accept": "text/html", "if-none-match": tag}
    again = ask(app, headers=asked)
    assert (again.status, again.header("etag")) == (304, tag)
    for name in ("cache-control", "vary", "link"):
        assert again.all(name) == page.all(name)
    assert page.header("cache-control") == "public, max-age=0, s-maxage=60"
    other = ask(app, headers={**asked, "consent-variant": f"{TAG}.pft.:", "cookie": chosen()})
    assert other.status == 200


# --- one page for everybody ---


@pytest.mark.parametrize("regime", list(Regime))
def test_everybody_gets_the_same_page(regime: Regime) -> None:
    """Byte by byte, header fields too: nothing optional, and asked where the regime asks."""
    app = conditional(CacheMode.UNIFORM, regime=regime)
    answers = [
        ask(app, headers={**who, **how})
        for who, _ in VISITORS
        for how in (
            {},
            {"accept": "text/html", "sec-fetch-dest": "document"},
            {"sec-fetch-dest": "iframe"},
            {"hx-request": "true", "sec-fetch-dest": "empty"},
        )
    ]
    first = answers[0]
    assert all((answer.headers, answer.body) == (first.headers, first.body) for answer in answers)
    held = (
        b'<template data-consent="performance/counter"><img src="https://counter.example/c.gif"></template>'
    )
    held += (
        b'<template data-consent="targeting/tracker"><script src="%b"></script></template>' % TRACKER.encode()
    )
    assert first.body.partition(b"<link")[0] == PAGE.partition(b"<img")[0] + held
    assert (b'class="consent-banner"' in first.body) is (regime is Regime.OPT_IN)
    assert first.headers[:2] == [HTML, (b"etag", str(first.header("etag")).encode())]
    assert first.header("cache-control") == "public, max-age=60"
    assert first.header("vary") is None
    assert first.header("link") is None
    tag = str(first.header("etag"))
    for who, _ in VISITORS:
        assert ask(app, headers={**who, "if-none-match": tag, "accept": "text/html"}).status == 304


@pytest.mark.parametrize("regime", list(Regime))
def test_the_app_is_told_that_nothing_optional_is_allowed(regime: Regime) -> None:
    """Whoever asks: what it makes of the decision is in everybody's page."""
    seen: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["state"]["consent"])
        await answering(PAGE)(scope, receive, send)

    site = shared(app, CacheMode.UNIFORM, regime=regime)
    for who, _ in VISITORS:
        ask(site, headers=who)
    assert seen == [seen[0]] * len(VISITORS)
    assert [seen[0].allows(category) for category in Category] == [True, False, False, False]
    assert seen[0].reason(P) is Reason.NO_CHOICE
    assert seen[0].asks is (regime is Regime.OPT_IN)
    assert seen[0].policy_version == Policy(site="Example", regime=regime).version


def test_the_policy_is_everybodys_too() -> None:
    """With what any of them may allow, or it would stop what the guard gives back; whatever it is asked for."""
    policy = Policy(
        site="Example", cache=CacheMode.UNIFORM, csp=CspMode.ENFORCE, vendors=(CATALOG.vendors["tracker"],)
    )
    app = around(answering(PAGE), policy=policy, csp=ClosedWorld(CATALOG, policy, for_all=True))
    answers = [ask(app, headers={**who, **to}) for who, _ in VISITORS for to in (*DESTINATIONS, WORKER)]
    assert {answer.header("content-security-policy") for answer in answers} == {
        "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob: about: tracker.example *.tracker.example "
        "counter.example *.counter.example wss://counter.example wss://*.counter.example; "
        "report-uri /_consent/report; report-to consent-csp"
    }
    assert len({str((answer.headers, answer.body)) for answer in answers}) == 1


def test_what_the_app_says_of_caching_stands() -> None:
    """To browsers and to all caches; the old bytes' date does not."""
    headers = [
        (b"cache-control", b"max-age=60, s-maxage=600, stale-while-revalidate=5"),
        (b"expires", b"Fri, 15 Jan 2027 08:01:00 GMT"),
        (b"cdn-cache-control", b"max-age=7"),
        (b"vary", b"Accept-Language"),
    ]
    answer = uniform([HTML, *headers, (b"last-modified", b"Fri, 15 Jan 2027 07:00:00 GMT")])
    kept = [pair for pair in answer.headers if pair[0] not in (b"permissions-policy", b"content-length")]
    assert sorted(kept) == sorted([HTML, *headers])


def test_nobody_is_sent_for_another_page() -> None:
    """What cannot be held is in none."""
    page = PAGE.replace(b"</head>", b'<link rel="preconnect" href="https://t.tracker.example"></head>')
    held = Policy(site="Example", refused=Refused.HOLD)
    assert b"consent-missing" in ask(around(answering(page), policy=held)).body
    answer = ask(shared(answering(page), CacheMode.UNIFORM))
    assert b"consent-missing" not in answer.body
    assert b"preconnect" not in answer.body


def test_a_piece_of_a_page_is_known_by_what_it_is() -> None:
    """The cache gives it to whoever asks, for whatever purpose."""
    for asked in ({}, {"hx-request": "true"}, {"sec-fetch-dest": "document"}):
        app = shared(answering(b"<p>piece</p><img src='//counter.example/c.gif'>"), CacheMode.UNIFORM)
        assert ask(app, headers=asked).body == b"<p>piece</p>"
        app = shared(answering(PAGE), CacheMode.UNIFORM)
        assert b"consent-root" in ask(app, headers=asked).body


@pytest.mark.parametrize("mode", [CacheMode.VARIANT, CacheMode.UNIFORM])
def test_the_account_is_kept_by_nobody(mode: CacheMode) -> None:
    """Though the page around it is everybody's."""
    app = shared(answering(PAGE, headers=[HTML, PUBLIC]), mode)
    answer = ask(app, headers={"consent-report": "1", "consent-variant": "none:"})
    assert answer.header("cache-control") == "private, no-store"
    assert b'id="consent-report"' in answer.body


def test_who_chose_is_remembered_with_the_companion_too() -> None:
    """The signed cookie is verified once, not for every page."""
    app = around(answering(PAGE))
    ask(app, headers={"cookie": f"{chosen()}; consent_variant={TAG}.pft."})
    assert len(app._chosen) == 1
