"""Mounting: one line, around any ASGI app."""

from __future__ import annotations

import asyncio
import os
import re
import stat
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient
from starlette.types import Message, Receive, Scope, Send

from consent import ConfigurationError, ConsentMiddleware, Policy
from consent.data_folder import DataFolder
from consent.inventory import Sighting, Source
from consent.policy import CacheMode, CspMode, GoogleMode, Interfaces, Regime
from consent.sqlite_inventory import SQLiteInventory

PAGE = (
    "<!doctype html><html><head><title>Hello</title>"
    '<script async src="https://www.googletagmanager.com/gtag/js?id=G-0000000000"></script></head>'
    "<body><p>Hello</p></body></html>"
)


async def page(request: Request) -> Response:
    return HTMLResponse(PAGE)


async def allowed(request: Request) -> Response:
    return PlainTextResponse(str(request.state.consent.allows("performance")))


def routes() -> list[Route]:
    return [Route("/", page), Route("/allowed", allowed)]


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("CONSENT_")]:
        monkeypatch.delenv(name)


def test_with_no_configuration_at_all_the_first_response_asks_and_withholds(tmp_path: Path) -> None:
    """ConsentMiddleware(app) is enough: no tracker in the page, the banner in it, keys for its owner only."""
    with TestClient(ConsentMiddleware(Starlette(routes=routes()))) as client:
        response = client.get("/")
    assert response.status_code == 200
    assert "googletagmanager" not in response.text
    assert '<form class="consent-banner"' in response.text
    assert response.headers["content-length"] == str(len(response.content))
    assert response.headers["content-security-policy-report-only"].startswith("default-src 'self'")
    keys = tmp_path / "consent-data" / "keys"
    assert stat.S_IMODE(keys.stat().st_mode) == 0o600


def test_add_middleware_takes_a_policy_file(tmp_path: Path) -> None:
    """Starlette's add_middleware passes the settings on."""
    (tmp_path / "consent.toml").write_text('[site]\nname = "Example Garden"\n')
    app = Starlette(routes=routes())
    app.add_middleware(ConsentMiddleware, policy="consent.toml", data=str(tmp_path / "data"))
    with TestClient(app) as client:
        assert "Example Garden" in client.get("/_consent/choices").text
        assert "googletagmanager" not in client.get("/").text


def test_the_list_of_middleware_takes_it_too() -> None:
    """Starlette(middleware=[…]) is the same."""
    app = Starlette(routes=routes(), middleware=[Middleware(ConsentMiddleware)])
    with TestClient(app) as client:
        assert "googletagmanager" not in client.get("/").text


def test_the_app_reads_the_decision() -> None:
    """request.state.consent answers before and after a choice."""
    with TestClient(ConsentMiddleware(Starlette(routes=routes()))) as client:
        assert client.get("/allowed").text == "False"
        choose(client, "accept")
        assert client.get("/allowed").text == "True"
        choose(client, "withdraw")
        assert client.get("/allowed").text == "False"


def choose(client: TestClient, action: str) -> None:
    form = client.get("/_consent/choices").text
    shown = form.partition('name="shown" value="')[2].partition('"')[0]
    response = client.post(
        "/_consent/choice",
        data={"action": action, "shown": shown, "return_to": "/"},
        headers={"sec-fetch-site": "same-origin"},
        follow_redirects=False,
    )
    assert response.status_code == 303, response.text


def test_settings_come_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every setting without an argument is read from CONSENT_…; an argument goes before it."""
    (tmp_path / "policy.toml").write_text('[site]\nname = "Example Garden"\n')
    monkeypatch.setenv("CONSENT_POLICY", "policy.toml")
    monkeypatch.setenv("CONSENT_DATA", "elsewhere")
    monkeypatch.setenv("CONSENT_EXPLAIN", "1")
    monkeypatch.setenv("CONSENT_PREFIX", "/privacy")
    with TestClient(ConsentMiddleware(Starlette(routes=routes()))) as client:
        text = client.get("/").text
        assert "Google Analytics" in text
        assert 'action="/privacy/choice"' in text
        assert "Example Garden" in client.get("/privacy/choices").text
    assert (tmp_path / "elsewhere" / "keys").exists()
    with TestClient(ConsentMiddleware(Starlette(routes=routes()), explain=False)) as client:
        assert "Google Analytics" not in client.get("/").text


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("CONSENT_POLICY", "missing.toml", "missing.toml"),
        ("CONSENT_EXPLAIN", "yes", "'yes' is neither 1 nor 0"),
        ("CONSENT_GUARD", "off", "'off' is neither 1 nor 0"),
        ("CONSENT_ON_ERROR", "ignore", "'ignore' is none of withhold, pass"),
        ("CONSENT_PREFIX", "no-slash", "'no-slash' must be a path"),
    ],
)
def test_a_wrong_setting_stops_the_start(
    name: str, value: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The app does not come up with a setting that nobody could have meant."""
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=said):
        ConsentMiddleware(Starlette(routes=routes()))


def test_the_guard_is_the_first_script_of_every_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its tag says what is allowed; its file is served; CONSENT_GUARD=0 leaves pages without any script."""
    with TestClient(ConsentMiddleware(Starlette(routes=routes()))) as client:
        text = client.get("/").text
        tag = re.search(
            r'<head><script src="(/_consent/static/guard\.[0-9a-f]{16}\.js)" data-allowed=""></script>',
            text,
        )
        assert tag is not None
        script = client.get(tag[1])
        assert script.status_code == 200
        assert script.headers["content-type"] == "text/javascript; charset=utf-8"
        assert script.headers["cache-control"] == "public, max-age=31536000, immutable"
        choose(client, "accept")
        assert f'<script src="{tag[1]}" data-allowed="pft"></script>' in client.get("/").text
    monkeypatch.setenv("CONSENT_GUARD", "0")
    with TestClient(ConsentMiddleware(Starlette(routes=routes()))) as client:
        assert "<script" not in client.get("/").text
        assert client.get(tag[1]).status_code == 404


def test_the_guard_is_deferred_where_nothing_can_come_before_it() -> None:
    """On a page of its own, whether the visitor has answered or not; not in a frame, for a cache, or unasked."""
    with TestClient(ConsentMiddleware(Starlette(routes=routes()))) as client:
        for destination, is_deferred in (
            ("document", True),
            ("iframe", False),
            ("empty", False),
            (None, False),
        ):
            headers = {"sec-fetch-dest": destination} if destination else {}
            assert (" defer></script>" in client.get("/", headers=headers).text) is is_deferred
        choose(client, "refuse")
        assert " defer></script>" in client.get("/", headers={"sec-fetch-dest": "document"}).text
    for mode in (CacheMode.VARIANT, CacheMode.UNIFORM):
        with TestClient(ConsentMiddleware(Starlette(routes=routes()), policy=Policy(cache=mode))) as client:
            assert " defer></script>" not in client.get("/", headers={"sec-fetch-dest": "document"}).text


def test_two_workers_share_what_the_visitor_chose() -> None:
    """A choice made at one worker is read by another that uses the same data folder."""
    first, second = (ConsentMiddleware(Starlette(routes=routes())) for _ in range(2))
    with TestClient(first) as client:
        choose(client, "accept")
        cookies = dict(client.cookies)
    with TestClient(second, cookies=cookies) as client:
        assert client.get("/allowed").text == "True"


def test_a_policy_can_be_a_value() -> None:
    """Policy(…) instead of a file."""
    with TestClient(
        ConsentMiddleware(Starlette(routes=routes()), policy=Policy(site="Example Garden"))
    ) as client:
        assert "Example Garden" in client.get("/_consent/choices").text


# --- lifespan ---


class RecordingStore:
    """A store that only tells whether it was closed."""

    closed = 0

    async def append(self, receipt: object, artefacts: object = ()) -> None:
        raise AssertionError("no receipt is expected")

    async def aclose(self) -> None:
        self.closed += 1


async def run_lifespan(app: ConsentMiddleware) -> list[Message]:
    incoming = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
    sent: list[Message] = []

    async def receive() -> Message:
        return incoming.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    await app({"type": "lifespan", "state": {}}, receive, send)
    return sent


async def without_lifespan(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])


async def taking_the_message_first(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    raise KeyError("path")


async def silent(scope: Scope, receive: Receive, send: Send) -> None:
    return


@pytest.mark.parametrize("host", [without_lifespan, taking_the_message_first, silent, Starlette()])
def test_the_store_is_closed_with_the_server_whatever_the_app_makes_of_the_lifespan(host: Any) -> None:
    """Start-up and shutdown are answered once each, and the store is closed once."""
    store = RecordingStore()
    sent = asyncio.run(run_lifespan(ConsentMiddleware(host, store=store)))
    assert [message["type"] for message in sent] == [
        "lifespan.startup.complete",
        "lifespan.shutdown.complete",
    ]
    assert store.closed == 1


def test_a_failed_start_of_the_app_is_its_own() -> None:
    """What the app says of its start-up reaches the server, and its exception too."""

    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})
        raise RuntimeError("no database")

    with pytest.raises(RuntimeError, match="no database"):
        asyncio.run(run_lifespan(ConsentMiddleware(broken, store=RecordingStore())))


@pytest.mark.parametrize("mode", list(CacheMode))
def test_a_choice_is_readable_where_pages_are_shared(mode: CacheMode) -> None:
    """By caches and by the guard, which is told how to read it where there is one page for everybody."""
    app = ConsentMiddleware(Starlette(routes=routes()), policy=Policy(cache=mode))
    with TestClient(app) as client:
        page = client.get("/").text
        answer = client.post(
            "/_consent/choice", json={"action": "accept"}, headers={"origin": "http://testserver"}
        )
        names = [line.partition("=")[0] for line in answer.headers.get_list("set-cookie")]
    assert names == (["consent"] if mode is CacheMode.PER_VISITOR else ["consent", "consent_variant"])
    told = [*names, "consent_no_*", *(["consent_taken_*"] if mode is CacheMode.PER_VISITOR else [])]
    assert re.findall(r'<code dir="ltr">(consent[\w*]*)</code>', page) == told  # visitors
    if mode is CacheMode.UNIFORM:
        tag = answer.cookies["consent_variant"].split(".")[1]
        assert f' data-allowed="consent_variant= {tag}  u u u u p f t"></script>' in page
    else:
        assert ' data-allowed=""></script>' in page


def test_one_page_for_everybody_needs_the_guard() -> None:
    """Nobody else would give back what the visitor allows."""
    with pytest.raises(ConfigurationError, match="only the guard knows what a visitor allows"):
        ConsentMiddleware(Starlette(), policy=Policy(cache=CacheMode.UNIFORM), guard=False)


def test_who_is_told_is_told_by_the_guard() -> None:
    """Without it there is nobody to tell them."""
    with pytest.raises(ConfigurationError, match="it is the guard that tells vendors") as caught:
        ConsentMiddleware(Starlette(), policy=Policy(interfaces=Interfaces(meta=True)), guard=False)
    assert caught.value.key == "interfaces"


@pytest.mark.parametrize("mode", CacheMode)
def test_vendors_are_told_before_anything_else_in_every_page(tmp_path: Path, mode: CacheMode) -> None:
    """In all cache modes, of visitors who allow everything, too, in pages without a head; with the page's nonce."""

    async def page(request: Request) -> HTMLResponse:
        headers = (
            {"content-security-policy": "script-src 'nonce-n0nce'"} if request.url.path == "/nonce" else {}
        )
        return HTMLResponse(
            "<!doctype html><html><body><script>first()</script><p>Hello</p>", headers=headers
        )

    policy = Policy(cache=mode, interfaces=Interfaces(google=GoogleMode.BASIC))
    app = ConsentMiddleware(
        Starlette(routes=[Route("/", page), Route("/nonce", page)]), policy=policy, data=tmp_path
    )
    seen = set()
    with TestClient(app) as client:
        for accepts in (False, True):
            if accepts:
                client.post(
                    "/_consent/choice", json={"action": "accept"}, headers={"origin": "http://testserver"}
                )
            for path, nonce in (("/", ""), ("/nonce", ' nonce="n0nce"')):
                text = client.get(path).text
                tag = r'<script src="(/_consent/static/guard\.\w+\.js)"[^>]*?( nonce="\w+")?></script>'
                first = re.match(rf"<!doctype html><html>{tag}<body><script>first", text)
                assert first, text[:300]
                assert (first[2] or "") == nonce
                seen.add(first[1])
        assert len(seen) == 1
        assert '"consent","default"' in client.get(seen.pop()).text


def test_what_was_seen_is_in_the_inventory_when_the_site_has_stopped(tmp_path: Path) -> None:
    """From pages and from reports, in the data folder; the next start knows the vendors."""
    report = {
        "csp-report": {
            "document-uri": "http://testserver/",
            "effective-directive": "img-src",
            "blocked-uri": "https://pics.example/x",
        }
    }
    kind = {"content-type": "application/csp-report"}
    with TestClient(ConsentMiddleware(Starlette(routes=routes()))) as client:
        client.get("/")
        assert client.post("/_consent/report", json=report, headers=kind).status_code == 204
    path = DataFolder(tmp_path / "consent-data").inventory_path
    assert SQLiteInventory(path).sightings().keys() == {
        Sighting(Source.RESPONSE, "script", "www.googletagmanager.com", "google-analytics", site="this site"),
        Sighting(Source.REPORT, "img-src", "pics.example", "", site="this site"),
    }
    again = ConsentMiddleware(
        Starlette(routes=routes()), policy=Policy(csp=CspMode.ENFORCE, regime=Regime.NOTICE)
    )
    with TestClient(again) as client:
        policy = client.get("/allowed", headers={"sec-fetch-dest": "worker"}).headers[
            "content-security-policy"
        ]
    assert "*.googletagmanager.com/gtag/js" in policy


def test_switched_off_there_is_no_policy_and_nobody_to_report_to(tmp_path: Path) -> None:
    """The page is as without the setting."""
    app = ConsentMiddleware(Starlette(routes=routes()), policy=Policy(csp=CspMode.OFF))
    with TestClient(app) as client:
        assert {name for name in client.get("/").headers if "policy" in name or "report" in name} == {
            "permissions-policy"
        }
        assert client.post("/_consent/report").status_code == 404
