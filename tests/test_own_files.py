"""Files of the site itself that name trackers: style sheets, scripts, speculation rules."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from consent import codings
from consent.csp import ClosedWorld
from consent.enforcement import Action
from consent.enforcement_log import EnforcementLog
from consent.failures import Failure
from consent.inventory import Inventory
from consent.middleware import EnforcingMiddleware
from consent.own_files import MAX_FILE_BYTES
from consent.policy import CacheMode, CspMode, Policy
from tests.exchange import CATALOG, NOW, POLICY, TRACKER, Answer, Headers, answering, around, ask, chosen

CSS = (b"content-type", b"text/css; charset=utf-8")
PLAIN_CSS = (b"content-type", b"text/css")
JS = (b"content-type", b"text/javascript")
RULES = (b"content-type", b"application/speculationrules+json")
SHEET = b'@import "%b"; h1 { color: red }' % TRACKER.encode()
CLEAN = b'@import "about:invalid"; h1 { color: red }'
VISITOR_VARY = "Cookie, Sec-GPC, DNT, Sec-Fetch-Dest, HX-Request, Turbo-Frame, X-Up-Version, X-Requested-With"
VALIDATED: Headers = (
    (b"etag", b'"v1"'),
    (b"last-modified", b"Fri, 15 Jan 2027 07:00:00 GMT"),
    (b"accept-ranges", b"bytes"),
    (b"cache-control", b"public, max-age=31536000, immutable"),
    (b"repr-digest", b"sha-256=:AAAA:"),
)


def file(body: bytes, *headers: tuple[bytes, bytes], chunk: int = 0, **start: Any) -> ASGIApp:
    """Return an app that always answers with a file, as file servers do."""
    sized = [*headers, (b"content-length", b"%d" % len(body))]
    size = chunk or max(1, len(body))
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    return answering(*pieces, b"", headers=sized, **start)


def asked(body: bytes, *headers: tuple[bytes, bytes], **who: str) -> Answer:
    return ask(
        around(file(body, *headers)), headers={name.replace("_", "-"): text for name, text in who.items()}
    )


@pytest.mark.parametrize(
    ("kind", "body", "left"),
    [
        (CSS, SHEET, CLEAN),
        (CSS, b"a { background: url(//tracker.example/p) }", b"a { background: url(about:invalid) }"),
        (PLAIN_CSS, b'@import "//trac\x1b(Bker.example/";', b'@import "about:invalid";'),
        (JS, b"import('//trac\x1b(Jker.example/\x1b(B')", b"import('about:invalid')"),
        (CSS, b"\xef\xbb\xbf@import'//tracker.example/';/*\xe9*/", b"\xef\xbb\xbf@import'about:invalid';/*\xe9*/"),
        (JS, b'import "https://tracker.example/m.js"; go()', b'import "data:text/javascript,"; go()'),
        (JS, b'import("https://tracker.example/m.js"); go()', b'import("about:invalid"); go()'),
        (
            JS,
            b'const u = "https://tracker.example/m.js"; import(u)',
            b'const u = "https://tracker.example/m.js"; import("about:invalid")',
        ),
        ((b"content-type", b"Application/X-JavaScript"), b"export*from'//tracker.example/'", None),
        (
            JS,
            b'import "data:text/javascript,import%20%22//tracker.example/%22"; import "data:text/javascript,go()"',
            b'import "data:text/javascript,"; import "data:text/javascript,go()"',
        ),
        (
            RULES,
            b'{"prefetch": [{"urls": ["/own", "https://tracker.example/a"], "eagerness": "immediate"}]}',
            b'{"prefetch": [{"urls": ["/own"], "eagerness": "immediate"}]}',
        ),
        (
            RULES,
            b'{"prefetch": [{"where": {"not": {"href_matches": "//tracker.example/*"}}}, {"urls": ["/a"]}]}',
            b'{"prefetch": [{"urls": ["/a"]}]}',
        ),
        (
            RULES,
            b'{"a": [{"where": {"selector_matches": ".a"}}, {"source": "document"},'
            b' {"where": {"and": [{"href_matches": "/*"}, {"not": {"href_matches": "/out"}}]}}]}',
            b'{"a": [{"where": {"and": [{"href_matches": "/*"}, {"selector_matches": ".a"}]}},'
            b' {"source": "document", "where": {"href_matches": "/*"}},'
            b' {"where": {"and": [{"href_matches": "/*"}, {"not": {"href_matches": "/out"}}]}}]}',
        ),
        (
            (b"content-type", b"text/css;charset=utf-16le"),
            SHEET.decode().encode("utf-16le"),
            CLEAN.decode().encode("utf-16le"),
        ),
    ],
)  # fmt: skip
def test_a_refused_url_gives_way_and_nothing_else(
    kind: tuple[bytes, bytes], body: bytes, left: bytes | None
) -> None:
    """To the byte, whatever the pieces that the file comes in; who allows everything gets the file as it is."""
    expected = left or b"export*from'data:text/javascript,'"
    for chunk in (0, 1, 7):
        answer = ask(around(file(body, kind, chunk=chunk)))
        assert (answer.body, answer.header("content-length")) == (expected, str(len(expected)))
    allowed = asked(body, kind, cookie=chosen())
    assert (allowed.body, allowed.header("content-length")) == (body, str(len(body)))


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (
            CSS,
            b'@import "/own.css"; a { background: url(https://cdn.example/a.png) } /* https://tracker.example */',
        ),
        (CSS, b'a::before { content: "https://tracker.example/" }'),
        (CSS, b"a { background: url(https://www.example.com/a.png) }"),
        (CSS, b""),
        (
            JS,
            b'import "./own.js"; const home = "https://tracker.example/"; fetch("https://tracker.example/t")',
        ),
        (JS, b'// import "https://tracker.example/m.js"\n'),
        (JS, b'import "https://cdn.example/m.js"'),
        (RULES, b'{"prefetch": [{"urls": ["/own"], "x": 1.0}]}'),
        (RULES, b'{"prefetch": [{"urls": ["https://tracker.example/"]'),
    ],
)
def test_a_file_that_names_no_tracker_passes_as_it_is(kind: tuple[bytes, bytes], body: bytes) -> None:
    """Every byte and every field: a public file stays public."""
    headers = [kind, *VALIDATED, (b"content-length", b"%d" % len(body))]
    for who in ({}, {"cookie": chosen()}, {"sec-gpc": "1"}):
        answer = ask(around(answering(*(bytes([byte]) for byte in body), b"", headers=headers)), headers=who)
        assert (answer.status, answer.headers, answer.body) == (200, headers, body)


@pytest.mark.parametrize("headers", [(), ((b"content-type", b"nothing"),)])
def test_what_has_no_type_is_what_it_is_loaded_as(headers: Headers) -> None:
    """Browsers take it for a style sheet; what they load for something else passes."""
    assert asked(SHEET, *headers, sec_fetch_dest="style").body == CLEAN
    assert asked(SHEET, *headers, sec_fetch_dest="font").body == SHEET
    script = b'import("https://tracker.example/m.js")'
    assert asked(script, *headers, sec_fetch_dest="script").body == b'import("about:invalid")'


@pytest.mark.parametrize("who", [{}, {"cookie": chosen()}])
def test_a_file_that_names_one_is_its_visitors(who: dict[str, str]) -> None:
    """Also where this visitor allows it: the next answer may differ."""
    answer = asked(SHEET, CSS, *VALIDATED, **who)
    tag = answer.header("etag") or ""
    assert tag.startswith('W/"v1~c-')
    assert answer.header("cache-control") == "private, max-age=31536000, immutable"
    assert answer.header("vary") == VISITOR_VARY
    for name in ("last-modified", "accept-ranges", "repr-digest"):
        assert answer.header(name) is None
    assert tag != asked(SHEET, CSS, *VALIDATED, sec_gpc="1").header("etag")


async def validating(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with the style sheet, or that it has not changed."""
    tags = dict(scope["headers"]).get(b"if-none-match", b"")
    matches = b'"v1"' in [tag.strip().removeprefix(b"W/") for tag in tags.split(b",")]
    headers = [(b"etag", b'"v1"'), *([] if matches else [CSS])]
    await send({"type": "http.response.start", "status": 304 if matches else 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if matches else SHEET})


def test_a_304_confirms_the_visitors_own_file_only() -> None:
    """Another visitor's tag, or one of the time before the choice, brings the file anew."""
    app = around(validating)
    before, after = ask(app).header("etag"), ask(app, headers={"cookie": chosen()}).header("etag")
    assert before
    assert after
    assert before != after
    again = ask(app, headers={"if-none-match": before})
    assert (again.status, again.header("etag"), again.header("vary")) == (304, before, VISITOR_VARY)
    changed = ask(app, headers={"if-none-match": before, "cookie": chosen()})
    assert (changed.status, changed.header("etag"), changed.body) == (200, after, SHEET)


def test_head_says_nothing_that_only_the_body_tells() -> None:
    """Whether the file is the same for everybody is not known without it."""
    app = around(answering(headers=[CSS, *VALIDATED, (b"content-length", b"9"), (b"x-own", b"1")]))
    answer = ask(app, method="HEAD")
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers == [CSS, VALIDATED[3], (b"x-own", b"1")]


@pytest.mark.parametrize(("body", "status"), [(SHEET, 416), (b"h1 { color: red }", 206)])
def test_a_part_that_names_a_tracker_is_not_sent(body: bytes, status: int) -> None:
    """It is a part of nothing that this visitor can have. Other parts are as they are."""
    part = (b"content-range", b"bytes 0-%d/1000" % (len(body) - 1))
    answer = ask(around(file(body, CSS, part, *VALIDATED, status=206)))
    assert answer.status == status
    if status == 206:
        assert answer.headers == [CSS, part, *VALIDATED, (b"content-length", b"%d" % len(body))]
        assert answer.body == body
    else:
        assert (answer.body, answer.header("content-range"), answer.header("content-length")) == (
            b"",
            None,
            "0",
        )


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd", "gzip, br"])
def test_a_coded_file_is_read_and_coded_again(coding: str) -> None:
    """One without trackers stays as it was coded."""

    def coded(data: bytes) -> bytes:
        for name in coding.split(", "):
            encoder = codings._CODINGS[name.encode()][1]()
            data = encoder.write(data) + encoder.end()
        return data

    def decoded(data: bytes) -> bytes:
        for name in reversed(coding.split(", ")):
            data = b"".join(codings._CODINGS[name.encode()][0]().pieces(data))
        return data

    field = (b"content-encoding", coding.encode())
    assert decoded(asked(coded(SHEET), CSS, field).body) == CLEAN
    benign = coded(b"h1 { color: red }")
    assert asked(benign, CSS, field).body == benign


def test_what_cannot_be_decoded_passes_and_is_counted() -> None:
    """As with pages; its fields stay, too."""
    app = around(file(SHEET, CSS, (b"content-encoding", b"dcz"), VALIDATED[0]))
    answer = ask(app)
    assert (answer.body, answer.header("etag")) == (SHEET, '"v1"')
    assert app.failures.counts == {Failure.UNKNOWN_CODING: 1}


@pytest.mark.parametrize("on_error", ["withhold", "pass"])
def test_a_file_that_is_not_in_its_coding_follows_on_error(on_error: str) -> None:
    """Browsers cannot read it either: it becomes empty, or passes."""
    broken = gzip.compress(SHEET)[:-20]
    app = around(file(broken, CSS, (b"content-encoding", b"gzip")), on_error=on_error)
    assert ask(app).body == (b"" if on_error == "withhold" else broken)
    assert app.failures.counts == {Failure.BROKEN_CODING: 1}


def test_a_long_file_is_not_waited_for() -> None:
    """Nor kept in memory: what is there goes out as soon as the bound is reached, and the rest as it comes."""
    arrived: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [CSS, VALIDATED[0]]})
        await send({"type": "http.response.body", "body": SHEET, "more_body": True})
        assert arrived == []
        await send({"type": "http.response.body", "body": b" " * MAX_FILE_BYTES, "more_body": True})
        assert [len(message.get("body", b"")) for message in arrived] == [0, len(SHEET) + MAX_FILE_BYTES]
        last = {"type": "http.response.body", "body": b"x", "more_body": True}
        await send(last)
        assert arrived[-1] is last

    middleware = around(app)
    ask(middleware, on_send=arrived.append)
    assert arrived[0]["headers"] == [CSS, VALIDATED[0]]
    assert middleware.failures.counts == {Failure.TOO_LONG: 1}


def test_a_file_that_says_it_is_long_is_not_kept_back_at_all() -> None:
    """Nor is more decoded than the bound, however well it was packed."""
    long = (b"content-length", b"%d" % (MAX_FILE_BYTES + 1))
    app = around(answering(SHEET, headers=[CSS, long]))
    assert ask(app).headers == [CSS, long]
    packed = gzip.compress(SHEET + b" " * MAX_FILE_BYTES)
    bomb = around(file(packed, CSS, (b"content-encoding", b"gzip")))
    assert ask(bomb).body == packed
    assert app.failures.counts == bomb.failures.counts == {Failure.TOO_LONG: 1}


def test_trailers_that_tell_of_other_bytes_are_dropped() -> None:
    """And not announced."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        headers = [CSS, (b"trailer", b"repr-digest")]
        await send({"type": "http.response.start", "status": 200, "headers": headers, "trailers": True})
        await send({"type": "http.response.body", "body": SHEET})
        await send({"type": "http.response.trailers", "headers": [(b"repr-digest", b"sha-256=:AAAA:")]})

    answer = ask(around(app))
    assert [message["type"] for message in answer.messages] == ["http.response.start", "http.response.body"]
    assert "trailers" not in answer.start
    assert answer.header("trailer") is None


@pytest.mark.parametrize("names", [True, False])
def test_a_worker_keeps_its_policy_and_is_judged_besides(names: bool) -> None:
    """Its fields are those of what is for one visitor either way, once."""
    script = b'import "https://tracker.example/w.js";' if names else b'import "./own.js";'
    world = ClosedWorld(CATALOG, Policy(csp=CspMode.ENFORCE))
    app = around(file(script, JS, *VALIDATED), csp=world)
    answer = ask(app, "/w.js", headers={"sec-fetch-dest": "worker"})
    left = b'import "data:text/javascript,";' if names else script
    assert (answer.body, answer.header("content-length")) == (left, str(len(left)))
    assert (answer.header("content-security-policy") or "").startswith("default-src 'self'")
    assert (answer.header("etag") or "").count("~") == 1
    assert answer.header("cache-control") == "private, max-age=31536000, immutable"


def test_what_was_done_is_counted_as_in_pages() -> None:
    """In the enforcement log; and what nobody has explained goes to the inventory."""
    log, inventory = EnforcementLog(POLICY.site, POLICY.version), Inventory()
    body = SHEET + b"a { background: url(https://unknown.test/a.png) }"
    ask(around(file(body, CSS), enforcement=log, inventory=inventory), "/own.css")
    counted = log.take()
    assert [(key.vendor, key.action, count) for key, count in counted.items()] == [
        ("tracker", Action.STRIPPED, 1)
    ]
    assert {(seen.kind, seen.subject) for seen in inventory.take()} == {
        ("style", "t.tracker.example"),
        ("style", "unknown.test"),
    }


# --- what caches do ---


def shared(mode: CacheMode, *headers: tuple[bytes, bytes]) -> EnforcingMiddleware:
    return around(file(SHEET, CSS, *headers), policy=Policy(site="Example", cache=mode))


def test_a_cache_keeps_a_file_for_each_of_the_answers() -> None:
    """Under the key of the decision; without one it is its visitor's."""
    public = (b"cache-control", b"public, max-age=60")
    kept = ask(shared(CacheMode.VARIANT, public), headers={"consent-variant": "none:"})
    assert (kept.body, kept.header("cache-control")) == (CLEAN, "public, max-age=0, s-maxage=60")
    assert kept.header("vary") == "Consent-Variant, Sec-Fetch-Dest"
    misfiled = ask(shared(CacheMode.VARIANT, public), headers={"consent-variant": "other"})
    assert misfiled.header("cache-control") == "private, no-store"
    alone = ask(shared(CacheMode.VARIANT, public))
    assert (alone.header("cache-control"), alone.header("vary")) == ("private, max-age=60", VISITOR_VARY)


def test_where_everybody_gets_the_same_files_pass() -> None:
    """What would be taken out of one could be given back to nobody."""
    app = shared(CacheMode.UNIFORM, *VALIDATED)
    for who in ({}, {"cookie": chosen()}, {"sec-fetch-dest": "style"}):
        answer = ask(app, headers=who)
        assert (answer.body, answer.headers[1:-1]) == (SHEET, list(VALIDATED))


# --- files as Starlette serves them ---


def test_static_files_of_starlette(tmp_path: Path) -> None:
    """In pieces of 64 KB, with validators and ranges: the one that names a tracker, and the one that does not."""
    padding = b"/* %b */" % (b"x" * 150_000)
    (tmp_path / "own.css").write_bytes(SHEET + padding)
    (tmp_path / "plain.css").write_bytes(padding)
    site = Starlette(routes=[Mount("/static", StaticFiles(directory=tmp_path))])
    app = around(site, clock=lambda: NOW)
    own = ask(app, "/static/own.css", headers={"sec-fetch-dest": "style"})
    assert own.body == CLEAN + padding
    assert own.header("content-length") == str(len(CLEAN + padding))
    again = ask(app, "/static/own.css", headers={"if-none-match": own.header("etag") or ""})
    assert (again.status, again.header("etag")) == (304, own.header("etag"))
    plain, bare = (ask(asgi, "/static/plain.css") for asgi in (app, site))
    assert (plain.headers, plain.body) == (bare.headers, padding)
    tag = {"if-none-match": plain.header("etag") or ""}
    confirmed, as_is = (ask(asgi, "/static/plain.css", headers=tag) for asgi in (app, site))
    assert (confirmed.status, confirmed.headers) == (304, as_is.headers)
    part, bare_part = (ask(asgi, "/static/plain.css", headers={"range": "bytes=5-9"}) for asgi in (app, site))
    assert (part.status, part.headers, part.body) == (206, bare_part.headers, b"xxxxx")
    assert ask(app, "/static/own.css", headers={"range": "bytes=0-50"}).status == 416


def test_a_backslash_is_a_slash_in_speculation_rules() -> None:
    """To browsers, in the addresses of web pages (URL Standard, section 4.4)."""
    rules = rb'{"prefetch": [{"urls": ["https:\\\\t.tracker.example\\x", "/own"]}]}'
    assert ask(around(answering(rules, headers=[RULES]))).body == b'{"prefetch": [{"urls": ["/own"]}]}'


def test_a_url_without_slashes_in_rules_is_judged() -> None:
    """From a page of another scheme it leads to that host."""
    rules = b'{"prefetch": [{"urls": ["https:t.tracker.example", "/own"]}]}'
    assert ask(around(answering(rules, headers=[RULES]))).body == b'{"prefetch": [{"urls": ["/own"]}]}'
