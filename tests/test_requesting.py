"""The public form for requests: without a script, in the visitor's language, protected, and into the register."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from markupsafe import escape
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from consent import ConfigurationError, ConsentMiddleware, Policy
from consent.office.register import Register
from consent.office.request_flood import HOURLY_OF_NETWORK
from consent.requesting import FORM_SECONDS, MAX_FORM_BYTES, MAX_UNDER_WAY
from consent.subject_request import MAX_DETAILS, RequestKind, RequestState, StepKind, Way
from consent.texts import languages, load_texts
from consent.visitor_requests import network_of
from tests.test_history import Forgetful

PATH = "/_consent/requests"
SAME = {"sec-fetch-site": "same-origin"}
WHO = {"kind": "erase", "name": "Alix Example", "contact": "alix@mail.example", "details": "Boots\r\nonce"}


class Site:
    """A site with the form, and a browser on it."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.now = 1_800_000_000.0

        async def page(request: object) -> PlainTextResponse:
            return PlainTextResponse("x")

        self.app = ConsentMiddleware(
            Starlette(routes=[Route("/", page)]), data=folder / "data", requests=True, clock=lambda: self.now, **options
        )  # fmt: skip
        self.browser = TestClient(self.app, base_url="https://shop.example", client=("192.0.2.7", 1))
        office = self.app._office
        assert office is not None
        self.register: Register = office.register

    def form(self, query: str = "") -> str:
        page = self.browser.get(f"{PATH}{query}").text
        found = re.search(r'name="form" value="([^"]+)"', page)
        assert found
        return found[1]

    def send(self, *, headers: Any = SAME, **changes: str) -> Any:
        given = {"action": "send", "form": changes.pop("form", None) or self.form(), **WHO, **changes}
        return self.post(given, headers)

    def post(self, given: Mapping[str, str], headers: Mapping[str, str] = SAME) -> Any:
        sent = {"content-type": "application/x-www-form-urlencoded", **headers}
        return self.browser.post(PATH, content=urlencode(given), headers=sent)

    def registered(self) -> int:
        return sum(self.register.counts((), "2000-01-01").values())


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    with site.browser:
        yield site


def codes(page: str) -> tuple[str, str]:
    reference, code = re.findall(r"<dd><code dir=\"ltr\">([A-Z2-7-]+)</code></dd>", page)
    return reference, code


def test_a_request_is_sent_and_seen_later(site: Site) -> None:
    """Reference and code are on the page, and in no address; with both, and only so, one sees how it stands."""
    answer = site.send(language="en")
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    reference, code = codes(answer.text)
    assert "Your request has arrived" in answer.text
    opened = site.register.open(reference)
    assert opened is not None
    assert (opened.person.name, opened.person.contact, opened.person.details) == (
        "Alix Example",
        "alix@mail.example",
        "Boots\nonce",
    )
    assert (opened.request.way, opened.request.kind, opened.request.language) == (
        Way.FORM,
        RequestKind.ERASE,
        "en",
    )
    assert (opened.person.subjects, opened.request.site) == ((), "this site")
    show = {"action": "show", "reference": reference.lower(), "code": code.replace("-", " ")}
    seen = site.post(show)
    assert "Received" in seen.text
    assert "To be answered by 2027-02-15" in seen.text
    assert "Alix" not in seen.text
    site.register.step(reference, StepKind.ACKNOWLEDGE, "", "Jo")
    site.register.step(reference, StepKind.EXTEND, "Many <b>came</b> at once.", "Jo")
    seen = site.post(show)
    assert "It takes longer" in seen.text
    assert "Many &lt;b&gt;came&lt;/b&gt; at once." in seen.text
    assert "To be answered by 2027-04-15" in seen.text
    site.register.step(reference, StepKind.TAKE_BACK, "they called", "Jo")
    assert "Taken back" in (seen := site.post(show)).text
    assert "they called" not in seen.text
    for wrong in ({"code": "AAAA-AAAA-AAAA-AAAA"}, {"reference": "AAAA-AAAA"}, {"code": ""}):
        refused = site.post({**show, **wrong})
        assert refused.status_code == 404
        assert "There is no request with this reference and code." in refused.text


def test_the_same_form_twice_asks_once(site: Site) -> None:
    """The second press shows the same two."""
    form = site.form()
    assert codes(site.send(form=form).text) == codes(site.send(form=form).text)
    assert site.registered() == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": "love"},
        {"kind": ""},
        {"name": " "},
        {"contact": ""},
        {"name": "x" * 201},
        {"contact": "a\nBcc: b"},
        {"details": "x" * (MAX_DETAILS + 1)},
        {"details": "\x00"},
        {"form": "x"},
        {"form": "WzE4MDAwMDAwMDAsIjAwIl0.AAAA"},
        {"url": "https://spam.example"},
    ],
)
def test_what_is_wrong_is_not_taken(site: Site, changes: dict[str, str]) -> None:
    """A missing or overlong field, a form that was not shown here, a field that nobody sees."""
    answer = site.send(**changes)
    assert (answer.status_code, "Nothing was sent" in answer.text) == (400, True)
    assert site.registered() == 0


def test_a_form_is_good_for_some_hours(site: Site) -> None:
    """And not before it was shown."""
    form = site.form()
    site.now += FORM_SECONDS + 1
    assert site.send(form=form).status_code == 400
    site.now -= FORM_SECONDS + 2
    assert site.send(form=form).status_code == 400
    site.now += 1
    assert site.send(form=form).status_code == 200


def test_only_a_page_of_the_site_can_send_it(site: Site) -> None:
    """In a form's media type, within bounds, without fields that it does not have."""
    for headers in ({"sec-fetch-site": "cross-site"}, {"origin": "https://other.example"}, {}):
        assert site.send(headers=headers).status_code == 403
    assert site.send(headers={**SAME, "content-type": "text/plain"}).status_code == 415
    assert site.send(more="x").status_code == 400
    assert site.browser.post(PATH, content=b"a" * (MAX_FORM_BYTES + 1), headers={
        **SAME, "content-type": "application/x-www-form-urlencoded",
    }).status_code == 413  # fmt: skip
    assert site.browser.put(PATH).status_code == 405
    assert site.registered() == 0
    assert site.send(details="靴" * MAX_DETAILS).status_code == 200
    assert site.send(details="pasted\tout of a table\r\nno\tyes").status_code == 200


def test_a_flood_is_stopped_by_network(site: Site, tmp_path: Path) -> None:
    """The message says when to come back; another network still can."""
    answers = [site.send() for _ in range(HOURLY_OF_NETWORK + 1)]
    assert [answer.status_code for answer in answers] == [200] * HOURLY_OF_NETWORK + [429]
    assert answers[-1].headers["retry-after"] == "3600"
    assert "Please try again in an hour." in answers[-1].text
    other = TestClient(site.app, base_url="https://shop.example", client=("198.51.100.7", 1))
    given = {"action": "send", "form": site.form(), **WHO}
    sent = {"content-type": "application/x-www-form-urlencoded", **SAME}
    assert other.post(PATH, content=urlencode(given), headers=sent).status_code == 200
    assert b"192.0.2" not in (tmp_path / "data" / "office.sqlite3").read_bytes()


@pytest.mark.parametrize(
    ("client", "network"),
    [
        (("192.0.2.7", 1), b"\xc0\x00\x02"),
        (("::ffff:192.0.2.9", 1), b"\xc0\x00\x02"),
        (("2001:db8:1:2::3", 1), b"\x20\x01\x0d\xb8\x00\x01"),
        (("fe80::1%eth0", 1), b"\xfe\x80\x00\x00\x00\x00"),
        (("/run/socket", 0), b""),
        (("", 0), b""),
        (None, b""),
    ],
)
def test_a_network_is_the_beginning_of_an_address(client: object, network: bytes) -> None:
    """/24 and /48: more than one address of the same line."""
    assert network_of({"type": "http", "client": client}) == network


def test_the_pseudonym_is_attached_only_where_that_is_ticked(site: Site) -> None:
    """It is that of the browser's own signed cookie; without a cookie it is not offered."""
    offer = "Add the pseudonym in this browser"
    assert offer not in site.browser.get(PATH).text
    site.send(attach="on")
    site.browser.post("/_consent/choice", json={"action": "refuse"}, headers=SAME)
    assert offer in site.browser.get(PATH).text
    first = codes(site.send().text)[0]
    second = codes(site.send(attach="on").text)[0]
    plain, attached = site.register.open(first), site.register.open(second)
    assert plain is not None
    assert attached is not None
    assert plain.person.subjects == ()
    assert len(attached.person.subjects) == 1
    assert attached.person.came_with == attached.person.subjects[0]
    receipts = site.browser.get("/_consent/receipts").json()["receipts"]
    assert attached.person.subjects[0] == receipts[0]["subject"]


def test_the_page_of_choices_leads_to_it_where_it_is(site: Site, tmp_path: Path) -> None:
    """Off by default: then there is neither form nor link."""
    assert (
        f'href="{PATH}?language=en&amp;return_to=/shop"'
        in site.browser.get("/_consent/choices?return_to=/shop").text
    )
    off = TestClient(ConsentMiddleware(Starlette(), data=tmp_path / "other"), base_url="https://shop.example")
    assert off.get(PATH).status_code == 404
    assert PATH not in off.get("/_consent/choices").text


def test_the_holidays_of_the_policy_are_no_business_days(site: Site, tmp_path: Path) -> None:
    """Of what the site's form takes, as of what the office registers: it is to be acknowledged so much later."""
    # A Monday and a Wednesday, after the Friday on which the request arrives.
    days = ("2027-01-18", "2027-01-20")
    (tmp_path / "closed").mkdir()
    closed = Site(tmp_path / "closed", policy=Policy(site="Example shop", holidays=days))
    due = []
    for each in (site, closed):
        request = each.register.get(codes(each.send().text)[0])
        assert request is not None
        due.append(request.acknowledge_by)
    assert due == ["2027-01-29", "2027-02-02"]


def test_it_needs_the_office(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A setting that cannot be says so at the start."""
    for options in (
        {"office": False, "data": tmp_path / "data"},
        {"store": Forgetful(), "data": tmp_path / "data"},
    ):
        with pytest.raises(ConfigurationError, match="turn the office on"):
            ConsentMiddleware(Starlette(), requests=True, **options)  # type: ignore[arg-type]
    monkeypatch.setenv("CONSENT_REQUESTS", "1")
    app = ConsentMiddleware(Starlette(), data=tmp_path / "data")
    assert TestClient(app, base_url="https://shop.example").get(PATH).status_code == 200


def test_nobody_is_told_that_it_arrived_who_is_not_in_the_register(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it cannot be written, and where as many are being written as may be."""
    with monkeypatch.context() as patched:
        patched.setattr(Register, "receive", lambda *_a, **_k: (_ for _ in ()).throw(OSError("disk")))
        answer = site.send()
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "10")
        assert "cannot be answered right now" in answer.text
    held, waiting = threading.Event(), threading.Semaphore(0)

    def slow(*_a: object, **_k: object) -> None:
        waiting.release()
        held.wait(30)

    with monkeypatch.context() as patched:
        patched.setattr(Register, "standing", slow)
        show = {"action": "show", "reference": "AAAA-AAAA", "code": "AAAA"}
        threads = [threading.Thread(target=site.post, args=(show,)) for _ in range(MAX_UNDER_WAY)]
        for thread in threads:
            thread.start()
        for _ in threads:
            assert waiting.acquire(timeout=30)
        assert site.post(show).status_code == 503
        held.set()
        for thread in threads:
            thread.join()
    assert site.post(show).status_code == 404


@pytest.mark.parametrize("language", languages())
def test_the_form_is_in_every_language(site: Site, language: str) -> None:
    """What can be asked, and what it says once it arrived: in the visitor's own words."""
    texts = load_texts(language)
    page = site.browser.get(f"{PATH}?language={language}").text
    assert f'<html lang="{language}" dir="{texts.direction}"' in page
    wanted = [
        "request_title",
        "request_send",
        "request_contact",
        *(f"request_{kind}" for kind in RequestKind),
    ]
    assert [key for key in wanted if str(escape(texts[key])) not in page] == []
    answer = site.send(language=language, form=site.form(f"?language={language}")).text
    assert str(escape(texts["request_arrived"])) in answer
    reference, code = codes(answer)
    seen = site.post({"action": "show", "reference": reference, "code": code, "language": language}).text
    assert str(escape(texts["request_received"])) in seen
    assert str(escape(texts.fill("request_due", date="2027-02-15"))) in seen


def test_every_state_has_its_words() -> None:
    """And every kind."""
    texts = load_texts("en")
    words = [texts[f"request_{state}".replace("_withdrawn", "_over")] for state in RequestState]
    words += [texts[f"request_{kind}"] for kind in RequestKind]
    assert len({*words}) == len(RequestState) + len(RequestKind)
