"""`consent.testing`: a response that gives trackers away fails a site's test, and says which and where."""

from __future__ import annotations

import gzip
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import django
import flask
import pytest
import requests
from django.conf import settings
from django.http import HttpResponse, StreamingHttpResponse
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient

from consent import ConfigurationError, ConsentMiddleware, Policy, load_catalog
from consent.check import MAX_PAGE_BYTES
from consent.policy import Rule
from consent.testing import assert_no_trackers
from tests.live import served
from tests.test_codings import ENCODERS

TRACKED = """<!doctype html>
<title>Page</title>
<script src="https://static.hotjar.com/c/1.js"></script>
<script>
  fbq('init', '1');
</script>
<img src="https://pictures.example/1.png"><img src="http://testserver/own.png">"""
COOKIES = ("_ga=GA1.1; Path=/", "own=1; Path=/")
TOLD = """the response has 4 trackers that nobody consented to:
  header: Google Analytics 4 (performance) cookie _ga
  header: Meta Pixel (targeting) link header connect.facebook.net/en_US/fbevents.js
  line 3: Hotjar (performance) script static.hotjar.com/c/1.js
  line 5: Meta Pixel (targeting) inline script the snippet of Meta Pixel
Take them out, or test the app with ConsentMiddleware around it; without it, allow_declared=True accepts vendors that \
the policy declares."""
LINK = "<https://connect.facebook.net/en_US/fbevents.js>; rel=preload"


async def tracked(request: Request) -> Response:
    response = HTMLResponse(TRACKED, headers={"link": LINK})
    for cookie in COOKIES:
        response.headers.append("set-cookie", cookie)
    return response


APP = Starlette(routes=[Route("/", tracked)])


def of_starlette() -> Any:
    return TestClient(APP).get("/")


def of_starlette_itself() -> Any:
    response = HTMLResponse(TRACKED, headers={"link": LINK})
    for cookie in COOKIES:
        response.headers.append("set-cookie", cookie)
    return response


def of_requests() -> Any:
    with served(APP) as address:
        return requests.get(address, timeout=5)


def of_flask() -> Any:
    app = flask.Flask("site")

    @app.get("/")
    def page() -> Any:
        response = flask.make_response(TRACKED)
        response.headers["Link"] = LINK
        for cookie in COOKIES:
            response.headers.add("Set-Cookie", cookie)
        return response

    return app.test_client().get("/")


def of_django(kind: Callable[..., Any] = HttpResponse, content: Any = TRACKED) -> Any:
    if not settings.configured:
        settings.configure()
        django.setup()
    response = kind(content)
    response["Link"] = LINK
    response.set_cookie("_ga", "GA1.1")
    response.set_cookie("own", "1")
    return response


def of_django_streaming() -> Any:
    return of_django(StreamingHttpResponse, [TRACKED.encode()])


def of_django_gzipped() -> Any:
    response = of_django(content=gzip.compress(TRACKED.encode()))
    response["Content-Encoding"] = "GZip"
    return response


@pytest.mark.parametrize(
    "answer",
    [
        of_starlette,
        of_starlette_itself,
        of_requests,
        of_flask,
        of_django,
        of_django_streaming,
        of_django_gzipped,
    ],
)
def test_each_tracker_of_a_response_is_told(answer: Callable[[], Any]) -> None:
    """Cookies, hints, elements and snippets, with vendor, category and line, whoever made the response."""
    response = answer()
    with pytest.raises(AssertionError) as told:
        assert_no_trackers(response)
    # Which of the two fields comes first, each framework decides.
    assert sorted(str(told.value).splitlines()) == sorted(TOLD.splitlines())


def test_what_the_middleware_lets_out_passes(tmp_path: Path) -> None:
    """Taken out or held in the page, inert: no tracker reaches a visitor without consent."""
    for refused in ("strip", "hold"):
        app = ConsentMiddleware(APP, data=tmp_path, policy=Policy(refused=refused))  # type: ignore[arg-type]
        assert_no_trackers(TestClient(app).get("/"), Policy(refused=refused))  # type: ignore[arg-type]


def test_declared_vendors_pass_where_the_test_says_so(tmp_path: Path) -> None:
    """By a policy or its file; never without being asked to."""
    vendors = load_catalog().vendors
    declared = [vendors[each] for each in ("google-analytics", "hotjar", "meta-pixel")]
    file = tmp_path / "consent.toml"
    file.write_text('declare = ["google-analytics", "hotjar", "meta-pixel"]', encoding="utf-8")
    response = of_starlette()
    for policy in (Policy(vendors=tuple(declared)), file, str(file)):
        assert_no_trackers(response, policy, allow_declared=True)
    with pytest.raises(AssertionError, match="has 4 trackers"):
        assert_no_trackers(response, file)
    file.write_text('declare = ["google-analytics", "hotjar"]', encoding="utf-8")
    with pytest.raises(AssertionError, match="has 2 trackers"):
        assert_no_trackers(response, file, allow_declared=True)
    file.write_text('regime = "notice"', encoding="utf-8")
    assert_no_trackers(response, file)


def test_what_nobody_has_explained_fails_if_it_is_asked_to(tmp_path: Path) -> None:
    """The site's own host is no third party."""
    page = '<img src="https://pictures.example/1.png"><img src="https://www.shop.example/own.png">'
    response = HTMLResponse(page)
    assert_no_trackers(response)
    with pytest.raises(AssertionError, match=r"line 1: unclassified img pictures\.example/1\.png\nTake"):
        assert_no_trackers(response, url="https://www.shop.example/", strict=True)


def test_what_the_policy_names_is_explained() -> None:
    """Also where nothing may be there that nobody has explained."""
    page = HTMLResponse('<img src="https://pictures.example/a.png">')
    assert_no_trackers(page, policy=Policy(csp_allow=("pictures.example",)), strict=True)
    with pytest.raises(AssertionError, match=r"pictures\.example"):
        assert_no_trackers(page, policy=Policy(csp_allow=("others.example",)), strict=True)


def test_a_tracker_behind_too_many_others_does_not_pass() -> None:
    """Of more than are kept nobody can say that they are fine."""
    many = "".join(f'<img src="https://pictures{number}.example/">' for number in range(1000))
    assert_no_trackers(HTMLResponse(many))
    with pytest.raises(AssertionError, match="more than 1000 trackers and third parties; 1 were not judged"):
        assert_no_trackers(HTMLResponse(f'{many}<script src="https://static.hotjar.com/c/1.js"></script>'))


def test_scripts_are_read_and_other_bodies_are_not() -> None:
    """A text that names a tracker loads nothing."""
    script = 'import "https://static.hotjar.com/c/1.js"'
    assert_no_trackers(PlainTextResponse(script))
    with pytest.raises(AssertionError, match="line 1: Hotjar"):
        assert_no_trackers(Response(script, media_type="text/javascript"))


def test_what_cannot_be_judged_is_an_error_of_its_own(tmp_path: Path) -> None:
    """Not a response, one without a body, a policy that is wrong."""
    with pytest.raises(TypeError, match="str is no response: it has no headers"):
        assert_no_trackers("<p>")
    with pytest.raises(TypeError, match="the body of Request is not there as bytes"):
        assert_no_trackers(requests.Request("GET", "/", headers={}))
    with pytest.raises(TypeError, match="the body is not what its Content-Encoding says"):
        assert_no_trackers(Response(b"\x1f\x8bno", headers={"content-encoding": "gzip"}))
    assert_no_trackers(Response(b"\x1f\x8bno", media_type="application/gzip"))
    with pytest.raises(ConfigurationError, match="there is no such file"):
        assert_no_trackers(of_starlette(), tmp_path / "missing.toml")


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd", "deflate, gzip"])
def test_a_body_is_read_in_any_coding(coding: str) -> None:
    """Of responses that come as they are sent; a coding that cannot be undone is told, and so is a huge body."""
    encoded = TRACKED.encode()
    for name in coding.split(", "):
        encoded = ENCODERS[name.encode()](encoded)
    with pytest.raises(AssertionError, match="Hotjar"):
        assert_no_trackers(Response(encoded, headers={"content-encoding": coding}, media_type="text/html"))
    with pytest.raises(TypeError, match="which cannot be undone"):
        assert_no_trackers(Response(b"", headers={"content-encoding": "compress"}))
    huge = gzip.compress(bytes(MAX_PAGE_BYTES + 1))
    with pytest.raises(TypeError, match="longer than"):
        assert_no_trackers(Response(huge, headers={"content-encoding": "gzip"}))


def test_the_rules_about_a_page_count() -> None:
    """By its host: of another policy the vendors are declared there only."""
    partner = Rule(policy=Policy(vendors=(load_catalog().vendors["hotjar"],)), hosts=("partner.example",))
    policy = Policy(rules=(partner,))
    page = HTMLResponse('<script src="https://static.hotjar.com/c/1.js"></script>')
    assert_no_trackers(page, policy, url="https://partner.example/", allow_declared=True)
    with pytest.raises(AssertionError, match="Hotjar"):
        assert_no_trackers(page, policy, url="https://www.example.com/", allow_declared=True)


def test_pytest_has_the_fixture_by_itself(tmp_path: Path) -> None:
    """With the policy that its settings name; and starting without a use of it imports next to nothing."""
    (tmp_path / "pytest.ini").write_text("[pytest]\nconsent_policy = conf/consent.toml\n", encoding="utf-8")
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf/consent.toml").write_text('declare = ["hotjar"]', encoding="utf-8")
    (tmp_path / "test_site.py").write_text(
        """
import sys
from types import SimpleNamespace

PAGE = b'<p>\\n<script src="https://static.hotjar.com/c/1.js"></script>'
RESPONSE = SimpleNamespace(headers={"Content-Type": "text/html"}, content=PAGE)

def test_start():
    loaded = {name for name in sys.modules if name.partition(".")[0] in ("consent", "starlette")}
    assert loaded <= {"consent", "consent.pytest_plugin"}

def test_declared(assert_no_trackers):
    assert_no_trackers(RESPONSE, allow_declared=True)

def test_leak(assert_no_trackers):
    assert_no_trackers(RESPONSE)
""",
        encoding="utf-8",
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:randomly", "-p", "no:cacheprovider"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert "1 failed, 2 passed" in run.stdout
    assert "line 2: Hotjar (performance) script static.hotjar.com/c/1.js" in run.stdout
    # The helper's own code is no part of the story.
    assert "consent/testing.py" not in run.stdout
