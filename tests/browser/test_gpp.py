"""What scripts of a page, and frames of others in it, are told by ``__gpp``: in Chromium, under a strict policy."""

# ruff: noqa: E501 - the long lines are JavaScript and HTML
from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from typing import Any

import pytest
from playwright.sync_api import Frame, Page
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Route

from consent import ConsentMiddleware, Policy
from consent.gpp_string import decode
from consent.policy import CacheMode, Gpp, Interfaces, Refused, Whereabouts
from tests.browser.conftest import Demo, OpenBrowser, Visitor, serve

FRAME = "https://frame.example/ad"
CSP = (
    "default-src 'none'; script-src 'nonce-r4nd0m'; style-src 'self' 'nonce-r4nd0m'; connect-src 'self'; "
    f"form-action 'self'; frame-src {FRAME}"
)
PAGE = f"""<!doctype html><html lang=en><head><title>A page</title>
<script nonce="r4nd0m">
window.events = [];
__gpp("addEventListener", event => events.push(event));
window.early = [];
__gpp("ping", (data, success) => early.push(data, success));
</script></head><body><h1>A page</h1>
<script nonce="r4nd0m" src="https://snap.licdn.com/li.lms-analytics/insight.min.js"></script>
<iframe title="An ad" src="{FRAME}"></iframe></body></html>"""
FRAMED = """<!doctype html><script>
let holder = window, next = 1;
while (!holder.frames.__gppLocator) {
  if (holder == top) throw Error("no locator");
  holder = holder.parent;
}
const waiting = new Map();
window.events = [];
addEventListener("message", event => {
  const data = typeof event.data == "string" ? JSON.parse(event.data) : event.data;
  if (data.__gppReturn) waiting.get(data.__gppReturn.callId)?.(data.__gppReturn, typeof event.data);
});
window.ask = (asText, command, parameter, callId = String(next++)) => new Promise(done => {
  waiting.set(callId, (reply, kind) => {
    if (command == "addEventListener") events.push(reply.returnValue);
    done([reply, kind]);
  });
  const message = {__gppCall: {command, parameter, version: "1.1", callId}};
  holder.postMessage(asText ? JSON.stringify(message) : message, "*");
});
</script>"""
EVERY = """async () => {
  const ask = (...args) => new Promise(done => { if (__gpp(args[0], (...answer) => done(answer), args[1]) !== undefined) done("returned"); });
  return {
    hasSection: [await ask("hasSection", "usca"), await ask("hasSection", "usva")],
    getSection: [await ask("getSection", "usca"), await ask("getSection", "usva")],
    getField: [await ask("getField", "usca.SaleOptOut"), await ask("getField", "usca.Gpc"), await ask("getField", "usca.Other"), await ask("getField", "usva.SaleOptOut")],
    removeEventListener: [await ask("removeEventListener", 4711)],
    other: [await ask("other"), await ask("toString"), await ask("__proto__"), await ask(null), await ask(Symbol())],
  };
}"""
ODD = """() => {
  const odd = [undefined, null, 0, NaN, "", "usca", "usca.", ".", "__proto__.x", "constructor", Symbol(), {}, [], () => { throw 1; }, {toString() { throw 1; }}, new Proxy({}, {get() { throw 1; }})];
  for (const command of [...odd, "ping", "addEventListener", "removeEventListener", "hasSection", "getSection", "getField"])
    for (const run of [...odd, () => 0])
      for (const parameter of odd) if (__gpp(command, run, parameter) !== undefined) return false;
  __gpp();
  for (const data of [null, 5, "", "{", '"__gppCall"', '{"__gppCall":5}', {__gppCall: null}, {__gppCall: "x"}, {__gppCall: {command: {}, callId: null}}]) postMessage(data, "*");
  __gpp("ping", data => { data.applicableSections.push(99); data.parsedSections.usca[0].SaleOptOut = 7; data.gppString = "x"; });
  return true;
}"""


def site(headers: dict[str, str]) -> Starlette:
    """A site of one page."""

    async def page(request: Request) -> HTMLResponse:
        return HTMLResponse(PAGE, headers=headers)

    return Starlette(routes=[Route("/", page)])


@pytest.fixture(scope="module")
def ports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[CacheMode, int]]:
    """The site served, with pages for each visitor and with one page for everybody."""
    with ExitStack() as stack:
        found = {}
        for mode, headers in (
            (CacheMode.PER_VISITOR, {"content-security-policy": CSP}),
            (CacheMode.UNIFORM, {"cache-control": "public, max-age=60"}),
        ):
            policy = Policy(
                language="en",
                jurisdictions=Whereabouts(country_header="X-Place"),
                interfaces=Interfaces(gpp=Gpp.BY_STATE),
                refused=Refused.HOLD,
                cache=mode,
            )
            data = tmp_path_factory.mktemp("data")
            app = ConsentMiddleware(site(headers), policy=policy, data=data)
            found[mode] = stack.enter_context(serve(app))
        yield found


Enter = Callable[..., Visitor]


@pytest.fixture
def enter(open_browser: OpenBrowser, ports: Mapping[CacheMode, int]) -> Enter:
    """Open a browser for somebody."""

    def enter(mode: CacheMode = CacheMode.PER_VISITOR) -> Visitor:
        port = ports[mode]
        visitor = open_browser(Demo(f"http://127.0.0.1:{port}", port, None))
        visitor.context.route(
            FRAME, lambda route: route.fulfill(body=FRAMED, content_type="text/html; charset=utf-8")
        )
        return visitor

    return enter


def open_page(visitor: Visitor, place: str = "US-CA", **signals: str) -> Any:
    """Open the page from somewhere, and return what its first script was told."""
    visitor.context.set_extra_http_headers({"X-Place": place, **signals})
    visitor.page.goto(visitor.address + "/")
    visitor.page.wait_for_load_state("load")
    data, success = visitor.page.evaluate("early")
    assert success is True
    assert visitor.page_errors == []
    return data


def until(where: Page | Frame, expression: str) -> None:
    """Wait until ``expression`` is true; a policy without eval does not matter."""
    deadline = time.monotonic() + 10
    while not where.evaluate(expression):
        assert time.monotonic() < deadline, f"{expression} did not become true"
        where.wait_for_timeout(10)


def events(visitor: Visitor, where: Frame | None = None) -> list[tuple[str, Any]]:
    """Return and forget what a listener heard."""
    heard = (where or visitor.page).evaluate("events.splice(0)")
    return [(event["eventName"], event["data"]) for event in heard]


def test_scripts_and_frames_hear_of_an_opt_out(enter: Enter) -> None:
    """By every command, by both kinds of message, before it and after; and of its withdrawal, without a reload."""
    visitor = enter()
    page = visitor.page
    ping = open_page(visitor)
    core = {
        "Version": 1, "SaleOptOutNotice": 1, "SharingOptOutNotice": 1, "SensitiveDataLimitUseNotice": 0,
        "SaleOptOut": 2, "SharingOptOut": 2, "SensitiveDataProcessing": [0] * 9,
        "KnownChildSensitiveDataConsents": [0, 0], "PersonalDataConsents": 0, "MspaCoveredTransaction": 2,
        "MspaOptOutOptionMode": 0, "MspaServiceProviderMode": 0,
    }  # fmt: skip
    gpc = {"SubsectionType": 1, "Gpc": False}
    assert ping.pop("supportedAPIs")[:2] == ["7:usnat", "8:usca"]
    assert ping == {
        "gppVersion": "1.1",
        "cmpStatus": "loaded",
        "cmpDisplayStatus": "hidden",
        "signalStatus": "ready",
        "cmpId": 1,
        "sectionList": [8],
        "applicableSections": [8],
        "gppString": "DBABBg~BUoAAACA.QA",
        "parsedSections": {"usca": [core, gpc]},
    }
    assert decode(ping["gppString"]) == ping["parsedSections"]
    assert page.evaluate(EVERY) == {
        "hasSection": [[True, True], [False, True]],
        "getSection": [[[core, gpc], True], [None, False]],
        "getField": [[2, True], [False, True], [None, False], [None, False]],
        "removeEventListener": [[False, True]],
        "other": [[None, False]] * 5,
    }
    assert page.evaluate(ODD) is True
    page.wait_for_timeout(50)
    assert page.evaluate("typeof __tcfapi") == "undefined"
    frame = page.frame(url=FRAME)
    assert frame is not None
    for as_text, kind in ((True, "string"), (False, "object")):
        for command, parameter, wanted in (
            ("hasSection", "usca", True),
            ("getField", "usca.SaleOptOut", 2),
            ("getSection", "usca", [core, gpc]),
        ):
            reply, sent = frame.evaluate(f"ask({str(as_text).lower()}, {command!r}, {parameter!r}, 7)")
            assert (reply, sent) == ({"returnValue": wanted, "success": True, "callId": 7}, kind)
    assert frame.evaluate("ask(true, 'ping')")[0]["returnValue"]["gppString"] == "DBABBg~BUoAAACA.QA"
    listening = frame.evaluate("ask(false, 'addEventListener')")[0]["returnValue"]
    assert (listening["eventName"], listening["data"]) == ("listenerRegistered", True)
    assert listening["listenerId"] > 1
    assert events(visitor) == [("listenerRegistered", True)]
    assert events(visitor, frame) == [("listenerRegistered", True)]
    # The preferences are looked at, and left.
    page.evaluate("consent.open()")
    until(page, "events.length == 2")
    page.keyboard.press("Escape")
    until(page, "events.length == 4")
    looked = [
        ("signalStatus", "not ready"),
        ("cmpDisplayStatus", "visible"),
        ("cmpDisplayStatus", "hidden"),
        ("signalStatus", "ready"),
    ]
    assert events(visitor) == looked
    assert events(visitor, frame) == looked
    removed = frame.evaluate(f"ask(false, 'removeEventListener', {listening['listenerId']})")[0]
    assert removed["returnValue"] is True

    page.evaluate(
        """() => __gpp("addEventListener", event => {
            sessionStorage.heard = `${sessionStorage.heard || ""}${event.eventName} ${event.data} ${event.pingData.gppString}\n`;
        })"""
    )
    with page.expect_navigation():
        page.get_by_role("button", name="Do not sell or share").click()
    page.wait_for_load_state("load")
    ping = page.evaluate("early[0]")
    assert (ping["gppString"], ping["signalStatus"]) == ("DBABBg~BUUAAACA.QA", "ready")
    # Before that page came, the one that was there had said so.
    assert page.evaluate("sessionStorage.heard").splitlines() == [
        "listenerRegistered true DBABBg~BUoAAACA.QA",
        "signalStatus not ready DBABBg~BUoAAACA.QA",
        "sectionChange usca DBABBg~BUUAAACA.QA",
        "signalStatus ready DBABBg~BUUAAACA.QA",
    ]
    assert page.evaluate(EVERY)["getField"][0] == [1, True]
    frame = page.frame(url=FRAME)
    assert frame is not None
    assert frame.evaluate("ask(true, 'getField', 'usca.SharingOptOut')")[0]["returnValue"] == 1
    frame.evaluate("ask(true, 'addEventListener')")
    # Taken back, by a script of the site: what was held comes, and nothing is loaded anew.
    page.evaluate("events.length = 0; window.here = 1; consent.accept()")
    until(page, "events.length == 3")
    until(frame, "events.length == 4")
    taken_back = [("signalStatus", "not ready"), ("sectionChange", "usca"), ("signalStatus", "ready")]
    assert [page.evaluate("here"), events(visitor)] == [1, taken_back]
    assert events(visitor, frame)[1:] == taken_back
    assert page.evaluate(EVERY)["getSection"][0] == [[core, gpc], True]
    # Run once more, with what another page's tag has on it, the script leaves everything as it is.
    page.evaluate(
        """() => new Promise(done => {
            const old = document.querySelector("script[src*='/gpp.']"), script = document.createElement("script");
            Object.assign(script, {src: old.src, nonce: "r4nd0m", onload: done});
            script.dataset.state = "3";
            document.head.append(script);
        })"""
    )
    assert page.evaluate(EVERY)["getField"][:2] == [[2, True], [False, True]]
    # What a callback throws is told as the browser tells it of all others, and stops nothing.
    assert set(visitor.page_errors) == {"1"}


def test_a_browser_signal_is_passed_on_and_a_banner_waited_for(enter: Enter) -> None:
    """With ``Sec-GPC``; in a state where nothing optional is done before consent; and elsewhere."""
    visitor = enter()
    ping = open_page(visitor, **{"Sec-GPC": "1"})
    assert ping["gppString"] == "DBABBg~BUUAAACA.YA"
    assert ping["parsedSections"]["usca"][1] == {"SubsectionType": 1, "Gpc": True}
    assert (ping["signalStatus"], ping["cmpDisplayStatus"]) == ("ready", "hidden")
    assert visitor.page.evaluate(EVERY)["getField"][:2] == [[1, True], [True, True]]

    ping = open_page(visitor, "FR")
    assert {name: ping[name] for name in ping if name != "supportedAPIs"} == {
        "gppVersion": "1.1",
        "cmpStatus": "loaded",
        "cmpDisplayStatus": "disabled",
        "signalStatus": "ready",
        "cmpId": 1,
        "sectionList": [],
        "applicableSections": [-1],
        "gppString": "DBAA",
        "parsedSections": {},
    }

    # A stub that somebody has put there already, with its own way of answering frames.
    visitor.page.add_init_script(
        """if (self == top) { window.__gpp = () => 0; __gpp.queue = [null, ["ping", data => { window.queued = data; }], 5];
        __gpp.events = [{id: 7, callback: event => (window.heard ||= []).push(event.eventName)}, {id: 8, callback: 5}];
        addEventListener("message", event => { const call = event.data.__gppCall; if (call) __gpp(call.command, data => event.source.postMessage({__gppReturn: {returnValue: "stub", callId: call.callId}}, "*"), call.parameter); }); }"""
    )
    ping = open_page(visitor, "US-VA")
    page = visitor.page
    assert page.evaluate("queued") == ping
    assert (ping["applicableSections"], ping["signalStatus"]) == ([9], "not ready")
    assert ping["parsedSections"]["usva"][0]["SaleOptOut"] == 1
    until(page, "events.length == 2")
    frame = page.frame(url=FRAME)
    assert frame is not None
    frame.evaluate("window.replies = 0; addEventListener('message', () => replies++)")
    assert frame.evaluate("ask(false, 'ping')")[0]["returnValue"] == "stub"
    page.get_by_role("button", name="Accept all", exact=True).click()
    until(page, "events.length == 5")
    assert frame.evaluate("replies") == 1
    assert events(visitor) == [
        ("listenerRegistered", True),
        ("cmpDisplayStatus", "visible"),
        ("cmpDisplayStatus", "hidden"),
        ("sectionChange", "usva"),
        ("signalStatus", "ready"),
    ]
    assert page.evaluate("heard") == ["cmpDisplayStatus", "cmpDisplayStatus", "sectionChange", "signalStatus"]
    # It is hidden, and no part of the page's own body, whatever becomes of that.
    assert page.evaluate("[...document.documentElement.children].map(child => child.localName)") == [
        "head",
        "body",
        "iframe",
    ]
    assert page.locator("iframe[name=__gppLocator]").is_hidden()
    page.evaluate("document.body = document.createElement('body')")
    assert page.evaluate("!!frames.__gppLocator") is True
    # Where the guard does not get through, what the server knew counts.
    visitor.context.clear_cookies()
    visitor.context.route("**/static/guard.*.js", lambda route: route.abort())
    visitor.page = visitor.context.new_page()
    assert open_page(visitor)["gppString"] == "DBABBg~BUoAAACA.QA"
    assert open_page(visitor, **{"Sec-GPC": "1"})["gppString"] == "DBABBg~BUUAAACA.YA"
    assert visitor.page.evaluate("window.consent") is None
    assert visitor.page_errors == []


def test_in_one_page_for_everybody_the_browser_finds_out(enter: Enter) -> None:
    """By the stored choice and by the browser's own word for the signal."""
    visitor = enter(CacheMode.UNIFORM)
    assert open_page(visitor)["gppString"] == "DBABBg~BUoAAACA.QA"
    with visitor.page.expect_navigation():
        visitor.page.evaluate("consent.refuse()")
    assert open_page(visitor)["gppString"] == "DBABBg~BUUAAACA.QA"
    visitor.page.evaluate("consent.accept()")
    until(visitor.page, "events.length == 4")
    assert open_page(visitor)["gppString"] == "DBABBg~BUoAAACA.QA"
    visitor.context.clear_cookies()
    visitor.page.add_init_script(
        "Object.defineProperty(Navigator.prototype, 'globalPrivacyControl', {get: () => true, configurable: true})"
    )
    assert open_page(visitor)["gppString"] == "DBABBg~BUUAAACA.YA"
    last = visitor.page.evaluate(
        """() => { for (let i = 0; i < 2000; i++) __gpp("addEventListener", () => 0);
            let last; __gpp("addEventListener", event => { last = event; }); return last; }"""
    )
    assert (last["eventName"], last["data"], last["listenerId"]) == ("listenerRegistered", False, 0)
    freed = "new Promise(done => __gpp('removeEventListener', () => __gpp('addEventListener', done), 999))"
    assert visitor.page.evaluate(freed)["listenerId"] == 1000
