"""The rules about header fields."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consent import governed_fields
from consent import headers as fields
from consent.categories import OPTIONAL
from consent.choice import Choice
from consent.decision import Decision, decide
from consent.enforcement import Action, PageEnforcement
from consent.html.urls import PageURL
from consent.request_fields import request_headers
from consent.signals import ChoiceState, Signals
from tests.exchange import CATALOG, NOW, POLICY, REFUSING

VARY = b"Cookie, Sec-GPC, DNT"
PAGE_VARY = b"Cookie, Sec-GPC, DNT, Sec-Fetch-Dest, HX-Request, Turbo-Frame, X-Up-Version, X-Requested-With"
NO_AD_FEATURES = (
    b"browsing-topics=(), join-ad-interest-group=(), run-ad-auction=(), attribution-reporting=(), "
    b"private-aggregation=(), shared-storage=()"
)
ACCEPTING = decide(
    POLICY,
    Signals(
        choice=Choice(
            receipt_id="", subject="", made_at=NOW, policy_version=POLICY.version, granted=frozenset(OPTIONAL)
        ),
        choice_state=ChoiceState.VALID,
    ),
)


def page(decision: Decision = REFUSING) -> PageEnforcement:
    return PageEnforcement(CATALOG, decision, PageURL("https", "www.example.com", "/shop/"))


def governed(*headers: tuple[str, str], decision: Decision = REFUSING) -> list[tuple[str, str]]:
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers]
    result = governed_fields.governed(raw, page(decision), now=NOW)
    return [(name.decode(), value.decode("latin-1")) for name, value in result]


def one(name: str, value: str, decision: Decision = REFUSING) -> str | None:
    """Return what becomes of one field."""
    result = dict(governed((name, value), decision=decision))
    result.pop("vary", None)
    assert result.keys() <= {name}
    return result.get(name)


# --- Set-Cookie ---

PAST, FUTURE = "Fri, 15 Jan 2027 07:59:59 GMT", "Fri, 15 Jan 2027 08:00:01 GMT"  # NOW is 08:00:00


@pytest.mark.parametrize(
    "value",
    [
        "_track=1",
        "_track=1; Path=/; Max-Age=60",
        "_track_7=x; Domain=example.com",
        "  _track  = 1",
        "_track",
        "=_track=1",
        "_track=1; Max-Age=0; Max-Age=60",
        "_track=1; Max-Age=60; Expires=" + PAST,
        "_track=1; Expires=" + PAST + "; Max-Age=1",
        "_track=1; Expires=" + FUTURE,
        "_track=1; Expires=" + PAST + "; Expires=" + FUTURE,
        "_track=1; Expires=never",
        "_track=1; Expires=Fri, 15 Jan 1500 00:00:00 GMT",
        "_track=1; Expires=Fri, 32 Jan 2020 00:00:00 GMT",
        "_track=1; Max-Age=soon",
        "_track=1; Max-Age=",
        "_track=Max-Age=0",
        "_track=1;max-age=00001",
        "_track=1; max-age=0; max-age=+5",
        "_track=1; max-age=0; max-age=soon",
        "_track=1; max-age=0; max-age=",
        "_track=1; max-age=+0",
        "_track=1; max-age=+5; Expires=" + PAST,
        "_track=1; Expires=" + PAST + "; Expires=never",
    ],
)
def test_a_refused_cookie_is_not_set(value: str) -> None:
    """However it is written; the answer depends on the visitor."""
    assert governed(("set-cookie", value)) == [("vary", VARY.decode())]


@pytest.mark.parametrize(
    "value",
    [
        "_track=; Max-Age=0",
        "_track=; max-age = -1 ; Path=/",
        "_track=1; Max-Age=60; Max-Age=0",
        "_track=1; Max-Age=0; Max-Age=soon; Expires=" + PAST,
        "_track=1; Expires=" + PAST,
        "_track=1; expires=Thu, 01-Jan-1970 00:00:00 GMT",
        "_track=1; expires=Thu, 01 Jan 70 00:00:00 GMT",
        "_track=1; Expires=Thu Jan  1 00:00:10 1970",
        "_track=1; Expires=" + FUTURE + "; Max-Age=000",
        "_track=1; Expires=" + FUTURE + "; Expires=" + PAST,
    ],
)
def test_a_cookie_may_always_be_deleted(value: str) -> None:
    """Where all browsers take it for that: Max-Age overrules Expires, and the last of each counts."""
    assert governed(("set-cookie", value)) == [("set-cookie", value)]


@pytest.mark.parametrize(
    "value", ["session=1", "_trackx=1", "_cdn=1; Max-Age=60", "x=_track=1", "", "=", ";"]
)
def test_other_cookies_are_left_alone(value: str) -> None:
    """Unknown and strictly necessary ones depend on nothing."""
    assert governed(("set-cookie", value))[0] == ("set-cookie", value)
    assert len(governed(("set-cookie", value))) == 1


def test_cookies_keep_their_order_and_their_neighbours() -> None:
    """Only what is refused is missing."""
    assert governed(
        ("set-cookie", "a=1"),
        ("x-one", "1"),
        ("Set-Cookie", "_track=1"),
        ("set-cookie", "b=2"),
        ("x-two", "2"),
    ) == [
        ("set-cookie", "a=1"),
        ("x-one", "1"),
        ("set-cookie", "b=2"),
        ("x-two", "2"),
        ("vary", VARY.decode()),
    ]


def test_an_allowed_cookie_is_set_and_varies_all_the_same() -> None:
    """Another visitor would not get it."""
    assert governed(("set-cookie", "_track=1"), decision=ACCEPTING) == [
        ("set-cookie", "_track=1"),
        ("vary", VARY.decode()),
    ]


def test_without_anything_that_depends_on_the_visitor_nothing_changes() -> None:
    """Not even Vary."""
    headers = [(b"content-type", b"application/json"), (b"content-length", b"2")]
    assert fields.GOVERNED.isdisjoint(fields.RESPONSE.find(headers))
    assert governed_fields.governed(headers, page(), now=NOW) == headers


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["text/html; charset=utf-8"], b"text/html"),
        (["TEXT/HTML"], b"text/html"),
        (["text/html charset=utf-8"], b"text/html"),
        (["text/html, charset=utf-8"], b"text/html"),
        (["text/plain, text/html"], b"text/html"),
        (["text/html", "*/*"], b"text/html"),
        (["text/html", "charset=utf-8"], b"text/html"),
        (["text/html", "application/json"], b"application/json"),
        (['application/json; a="b, text/html"'], b"application/json"),
        (["*/*"], b""),
        (["html"], b""),
        (["unknown/unknown"], b""),
        ([""], b""),
    ],
)
def test_a_media_type_is_what_browsers_make_of_it(lines: list[str], expected: bytes) -> None:
    """The last that is one counts, a forgotten semicolon ends it, and some types say nothing."""
    headers = [(b"Content-Type", line.encode()) for line in lines]
    assert fields.media_type(headers) == expected


# --- Link and its like ---


@pytest.mark.parametrize(
    ("value", "left"),
    [
        ("<https://t.tracker.example/t.js>; rel=preload; as=script", None),
        ("<//T.TRACKER.example./t.js>;REL=PRELOAD", None),
        ('<https://t.tracker.example>; rel="foo preconnect"', None),
        ("<https://t.tracker.example>; rel=dns-prefetch", None),
        ("<https://t.tracker.example/m.js>; rel=modulepreload", None),
        ("<https://t.tracker.example/d>; rel=compression-dictionary", None),
        ("</a.css>; rel=preload, <https://t.tracker.example>; rel=preconnect", "</a.css>; rel=preload"),
        (
            '<https://t.tracker.example/a,b>; rel=prefetch; title="x, <y>", </b,c>;rel="next"; title="1, 2"',
            '</b,c>;rel="next"; title="1, 2"',
        ),
        (
            '</i.png>; rel=preload; as=image; imagesrcset="/i.png 1x, https://t.tracker.example/i.png 2x"',
            None,
        ),
        ("</i.png>; rel=preload; as=image; imagesrcset=https://t.tracker.example/i.png", None),
        ('<https://t.tracker.example>; title=";rel=canonical"; rel=preload', None),
        ("</a>; a=(, <https://t.tracker.example>; rel=preload; b=)", "</a>; a=("),
        ("<https://t.tracker.example>; rel=canonical", "<https://t.tracker.example>; rel=canonical"),
        ("<https://t.tracker.example>", "<https://t.tracker.example>"),
        ("<https://cdn.example/x>; rel=preload", "<https://cdn.example/x>; rel=preload"),
        ("<x.js>;rel=preload ,, ", "<x.js>;rel=preload ,, "),
        ("<https://t.tracker.example; rel=preload", "<https://t.tracker.example; rel=preload"),
        ('</a>; rel="preload', '</a>; rel="preload'),
        ("", ""),
    ],
)
def test_links_that_fetch_from_a_refused_host_are_removed(value: str, left: str | None) -> None:
    """Each member by itself; commas in URLs and quotes part nothing (RFC 8288)."""
    assert one("link", value) == left
    assert one("link", value, ACCEPTING) == value


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("link", ["<https://t.tracker.example/?a", "b>; rel=preload"]),
        ("link", ['<https://t.tracker.example>; title="', '"; rel=preconnect']),
        ("refresh", ["0;url=https://own.example", "@t.tracker.example/"]),
        ("reporting-endpoints", ['default="https://own.example', '@t.tracker.example/"']),
    ],
)
def test_what_ends_in_another_line_is_one_value_to_browsers(name: str, lines: list[str]) -> None:
    """They read several lines as one (RFC 9110, section 5.3)."""
    fields = [(name, line) for line in lines]
    assert governed(*fields) == [("vary", VARY.decode())]
    assert governed(*fields, decision=ACCEPTING) == [*fields, ("vary", VARY.decode())]


def test_a_removed_link_depends_on_the_visitor() -> None:
    """And so does one that stays."""
    link = ("link", "<https://t.tracker.example>; rel=preconnect")
    assert governed(link) == [("vary", VARY.decode())]
    assert governed(link, decision=ACCEPTING) == [link, ("vary", VARY.decode())]


@pytest.mark.parametrize(
    ("value", "left"),
    [
        ("0; url=https://t.tracker.example/", False),
        ("5;URL='https://t.tracker.example/'", False),
        ("1.5, https://t.tracker.example/?a='b", False),
        ("0;https://t.tracker.example", False),
        ("0; url=/next", True),
        ("0; url='/x' https://t.tracker.example/", True),
        ("30", True),
        ("", True),
        ("0; url=https://www.example.com/?to=https://t.tracker.example/", True),
    ],
)
def test_a_refresh_to_a_refused_host_is_removed(value: str, left: bool) -> None:
    """Read as browsers read it (HTML Standard, shared declarative refresh steps)."""
    assert one("refresh", value) == (value if left else None)


@pytest.mark.parametrize(
    ("name", "value", "left"),
    [
        ("speculation-rules", '"https://t.tracker.example/r.json"', None),
        ("speculation-rules", '"/rules.json", "https://t.tracker.example/r,s.json"', '"/rules.json"'),
        ("speculation-rules", '"/rules.json"', '"/rules.json"'),
        ("reporting-endpoints", 'default="https://t.tracker.example/r"', None),
        ("reporting-endpoints", 'a="https://t.tracker.example/r", b="/r"', 'b="/r"'),
        ("reporting-endpoints", 'a="/a", b="/b"', 'a="/a", b="/b"'),
        ("reporting-endpoints", "broken", "broken"),
        ("content-security-policy", "report-uri https://t.tracker.example", None),
        (
            "content-security-policy",
            "img-src *; Report-URI /own https://t.tracker.example/r; x y, report-uri https://t.tracker.example",
            "img-src *; report-uri /own; x y,",
        ),
        ("content-security-policy-report-only", "img-src *;report-uri //t.tracker.example", "img-src *"),
        ("content-security-policy", "x-report-uri //t.tracker.example", "x-report-uri //t.tracker.example"),
    ],
)
def test_rules_and_reports_to_a_refused_host_are_removed(name: str, value: str, left: str | None) -> None:
    """Each member by itself."""
    assert one(name, value) == left


def test_a_group_that_reports_to_a_refused_host_goes_with_the_logging_that_names_it() -> None:
    """``Report-To`` and ``NEL``; other groups stay."""
    refused = {"group": "nel", "max_age": 60, "endpoints": [{"url": "https://t.tracker.example/r"}]}
    kept = {"group": "own", "max_age": 60, "endpoints": [{"url": "https://www.example.com/r"}]}
    both = f"{json.dumps(refused)}, {json.dumps(kept)}"
    nel, own = '{"report_to":"nel","max_age":60}', '{"report_to":"own","max_age":60}'
    assert governed(("nel", nel), ("report-to", both), ("NEL", own)) == [
        ("report-to", json.dumps(kept)),
        ("NEL", own),
        ("vary", VARY.decode()),
    ]
    assert governed(("nel", nel), ("report-to", json.dumps(refused))) == [("vary", VARY.decode())]


@pytest.mark.parametrize(
    "value", ["{", "[]", "1", '{"endpoints": 1}', '{"group": "x"}', "[" * 10_000, "{}" * 10_000]
)
def test_a_report_to_that_nobody_can_read_is_left_alone(value: str) -> None:
    """Browsers cannot read it either."""
    assert governed(("report-to", value), ("nel", value)) == [("report-to", value), ("nel", value)]


def test_what_the_header_fields_hold_is_accounted_for() -> None:
    """Kind, subject without its query, vendor."""
    enforcement = page()
    headers = [
        (b"link", b"<https://t.tracker.example/t.js?id=1>; rel=preload"),
        (b"set-cookie", b"_track=1"),
        (b"refresh", b"0; url=https://other.example/x"),
    ]
    governed_fields.governed(headers, enforcement, now=NOW)
    assert [(f.action, f.kind, f.subject, f.vendor and f.vendor.id) for f in enforcement.findings] == [
        (Action.STRIPPED, "link header", "t.tracker.example/t.js", "tracker"),
        (Action.STRIPPED, "cookie", "_track", "tracker"),
        (Action.ALLOWED, "refresh header", "other.example/x", None),
    ]


GOVERNED = [
    "set-cookie",
    "link",
    "refresh",
    "speculation-rules",
    "report-to",
    "nel",
    "reporting-endpoints",
    "vary",
]
PIECES = st.sampled_from(
    [
        *'<>";,=()\\{}[]:/ %#@',
        "rel=preload",
        "https://t.tracker.example",
        "url=",
        "[::1",
        "\xff",
        "xn--",
        "max-age=-",
    ]
)


@given(name=st.sampled_from(GOVERNED), value=st.lists(PIECES, max_size=30).map("".join))
def test_no_field_however_odd_raises(name: str, value: str) -> None:
    """What an app sends is its own affair; it must not become a 500 because of us."""
    result = governed((name, value))
    assert all(left in (name, "vary") for left, _ in result)
    fields.rewritten([(name.encode(), value.encode("latin-1"))], variant="c-1", targeting=False)
    request_headers(
        [(b"if-none-match", value.encode("latin-1")), (b"accept-encoding", value.encode("latin-1"))],
        {b"if-none-match": value.encode("latin-1"), b"accept-encoding": value.encode("latin-1")},
        method="GET",
        variant="c-1",
        may_be_page=True,
        asks_for_page=True,
    )


# --- pages ---


def rewritten(
    *headers: tuple[bytes, bytes], targeting: bool = True, caching: fields.Caching = fields.BY_VISITOR
) -> list[tuple[bytes, bytes]]:
    return fields.rewritten(list(headers), variant="c-1", targeting=targeting, caching=caching)


PRIVATE = (b"cache-control", b"private")


def test_what_was_true_of_the_old_bytes_is_removed() -> None:
    """Lengths, offsets, dates and digests; what else the app said stays in place."""
    old = [
        (b"Content-Length", b"10"),
        (b"transfer-encoding", b"chunked"),
        (b"trailer", b"content-digest"),
        (b"accept-ranges", b"bytes"),
        (b"content-range", b"bytes 0-1/2"),
        (b"last-modified", PAST.encode()),
        (b"digest", b"sha-256=x"),
        (b"content-digest", b"sha-256=:x:"),
        (b"repr-digest", b"sha-256=:x:"),
        (b"unencoded-digest", b"sha-256=:x:"),
        (b"Content-MD5", b"x"),
    ]
    assert rewritten((b"x-one", b"1"), *old, (b"x-two", b"2")) == [
        (b"x-one", b"1"),
        (b"x-two", b"2"),
        PRIVATE,
        (b"vary", PAGE_VARY),
    ]


@pytest.mark.parametrize(
    ("tag", "left"),
    [
        (b'"abc"', b'W/"abc~c-1"'),
        (b'W/"abc"', b'W/"abc~c-1"'),
        (b' "" ', b'W/"~c-1"'),
        (b"unquoted", None),
        (b'"a" "b"', None),
    ],
)
def test_an_entity_tag_is_of_one_variant_and_weak(tag: bytes, left: bytes | None) -> None:
    """What is inserted may differ in detail, such as a nonce; what is no tag is removed."""
    kept = [] if left is None else [(b"etag", left)]
    assert rewritten((b"etag", tag)) == [*kept, PRIVATE, (b"vary", PAGE_VARY)]


@pytest.mark.parametrize(
    ("given", "left"),
    [
        (b"public, max-age=60, s-maxage=600", b"private, max-age=60"),
        (b"max-age=60,proxy-revalidate", b"private, max-age=60"),
        (b"no-store", b"no-store"),
        (b"Private, max-age=5", b"Private, max-age=5"),
        (b"no-cache", b"private, no-cache"),
        (b'private="set-cookie"', b'private, private="set-cookie"'),
        (b"", b"private"),
    ],
)
def test_a_page_of_one_visitor_is_kept_by_no_shared_cache(given: bytes, left: bytes) -> None:
    """Whatever the app said of shared caches; what it said of the visitor's own stands."""
    assert rewritten((b"cache-control", given)) == [(b"cache-control", left), (b"vary", PAGE_VARY)]


def test_several_cache_control_lines_become_one() -> None:
    """No line of another's overrules ours."""
    assert rewritten((b"cache-control", b"public"), (b"Cache-Control", b"max-age=1")) == [
        (b"cache-control", b"private, max-age=1"),
        (b"vary", PAGE_VARY),
    ]


@pytest.mark.parametrize(
    "name",
    [
        "CDN-Cache-Control",
        "Cloudflare-CDN-Cache-Control",
        "Surrogate-Control",
        "X-Accel-Expires",
        "Edge-Control",
    ],
)
def test_what_would_overrule_cache_control_is_removed(name: str) -> None:
    """RFC 9213 and its forerunners tell a CDN to keep what Cache-Control forbids."""
    assert rewritten((name.encode(), b"max-age=600")) == [PRIVATE, (b"vary", PAGE_VARY)]


def test_an_answer_for_one_reader_is_stored_by_nobody() -> None:
    """The account of what was found is no page for visitors."""
    assert rewritten((b"cache-control", b"max-age=60"), caching=fields.BY_NOBODY) == [
        (b"cache-control", b"private, no-store"),
        (b"vary", PAGE_VARY),
    ]


@pytest.mark.parametrize(
    ("given", "merged"),
    [
        ([b"Accept-Language"], b"Accept-Language, Cookie, Sec-GPC, DNT"),
        ([b"cookie", b"Origin, dnt"], b"cookie, Origin, dnt, Sec-GPC"),
        ([b"*"], b"*"),
        ([b"Origin", b" * "], b"*"),
        ([b""], VARY),
        ([VARY], VARY),
    ],
)
def test_vary_is_merged(given: list[bytes], merged: bytes) -> None:
    """Each name once, in any case of letters; a star stays one."""
    assert fields.varying([(b"a", b"b"), *((b"Vary", value) for value in given)]) == [
        (b"a", b"b"),
        (b"vary", merged),
    ]


@pytest.mark.parametrize(
    ("given", "left"),
    [
        ([], []),
        ([b"camera=(), geolocation=(self)"], [b"camera=(), geolocation=(self)"]),
        ([b"browsing-topics=*, camera=()"], [b"camera=()"]),
        ([b'run-ad-auction=(self "https://a.example,b"), camera=(self)'], [b"camera=(self)"]),
        ([b"shared-storage;x=1", b"camera=()"], [b"camera=()"]),
        ([b"browsing-topics"], []),
    ],
)
def test_the_browsers_ad_features_are_switched_off_key_by_key(given: list[bytes], left: list[bytes]) -> None:
    """What the site's policy says of other features stands."""
    headers = [(b"Permissions-Policy", value) for value in given]
    assert fields.without_ad_features([(b"a", b"b"), *headers]) == [
        (b"a", b"b"),
        *((b"Permissions-Policy", value) for value in left),
        (b"permissions-policy", NO_AD_FEATURES),
    ]


def test_the_browsers_ad_features_are_the_sites_affair_where_targeting_is_allowed() -> None:
    """Nothing is added, nothing is edited."""
    given = (b"permissions-policy", b"browsing-topics=(self)")
    assert rewritten(given) == [given, PRIVATE, (b"vary", PAGE_VARY)]
    assert rewritten(given, targeting=False) == [
        PRIVATE,
        (b"permissions-policy", NO_AD_FEATURES),
        (b"vary", PAGE_VARY),
    ]


@pytest.mark.parametrize(
    ("policy", "nonce"),
    [
        (b"script-src 'nonce-aB+/_-='", "aB+/_-="),
        (b"default-src 'self'", None),
        (b"script-src 'nonce-\"><script>'", None),
        (b"script-src 'nonce-" + b"a" * 300 + b"'", None),
    ],
)
def test_the_nonce_of_the_pages_own_policy_is_used(policy: bytes, nonce: str | None) -> None:
    """Only one that is made of the characters of a nonce."""
    assert fields.csp_nonce([(b"Content-Security-Policy", policy)]) == nonce
    assert fields.csp_nonce([(b"content-security-policy-report-only", policy)]) is None


@pytest.mark.parametrize(
    ("headers", "kind"),
    [
        ([(b"Content-Type", b"Text/HTML ; charset=utf-8")], b"text/html"),
        ([(b"content-type", b"text/plain"), (b"content-type", b"text/html")], b"text/html"),
        ([], b""),
    ],
)
def test_the_media_type_is_the_browsers(headers: list[tuple[bytes, bytes]], kind: bytes) -> None:
    """The last line counts (Fetch, "extract a MIME type")."""
    assert fields.media_type(headers) == kind
