"""The visitor endpoints: a choice is recorded, then honoured; a refusal always; nobody is sent elsewhere."""

from __future__ import annotations

import asyncio
import gzip
import json
import threading
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from itertools import count
from typing import Any, cast
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Message

from consent.banner import Banner
from consent.catalog import Catalog, Cookie, Vendor, load_catalog
from consent.categories import OPTIONAL, Category
from consent.choice import BrowserSignal, Choice
from consent.choice_cookie import ChoiceCookie
from consent.choosing import RETRY_AFTER_SECONDS
from consent.cookie_expiry import MAX_EXPIRY_BYTES
from consent.decision import decide
from consent.errors import OtherReceiptError, StoreError, StoreFull, StoreUnavailable
from consent.policy import OwnCookie, Policy, Regime, own_cookie_vendors
from consent.receipts import Artefact, CollectionMethod, Outcome, Receipt
from consent.signals import ChoiceState, Signals
from consent.submission import MAX_RETURN_TO
from consent.terms import TermsArtefacts, read_terms
from consent.variant_cookie import VariantCookie
from consent.visitor import VisitorEndpoints
from consent.visitor_requests import MAX_BODY_BYTES

NOW = 1_800_000_000
P, F, T = OPTIONAL
STATS = Vendor(
    id="example-stats",
    name="Example Stats",
    company="Example Metrics Ltd",
    country="IE",
    privacy_url="https://stats.example/privacy",
    category=P,
    about="Counts visits.",
    cookies=(
        Cookie(
            name="_es", purpose="Tells visitors apart.", lifetime="2 years", party="first", http_only=False
        ),
        Cookie(name="_est_*", purpose="One tab.", lifetime="session", party="first", http_only=True),
    ),
)
ADS = replace(
    STATS,
    id="example-ads",
    name="Example Ads",
    category=T,
    cookies=(replace(STATS.cookies[0], name="_ads"), replace(STATS.cookies[0], name="__Secure-ads")),
)
POLICY = Policy(
    site="Example",
    privacy_url="/privacy",
    vendors=(STATS, ADS),
    own_cookies=(
        OwnCookie(name="basket", purpose="Basket.", lifetime="1 week", category=Category.STRICTLY_NECESSARY),
        OwnCookie(name="theme", purpose="Colours.", lifetime="1 year", category=F),
    ),
)
CATALOG = load_catalog().with_vendors((STATS, ADS, *own_cookie_vendors(POLICY)))
NO_HEADERS: Mapping[str, str] = {}
SAME_ORIGIN = {"sec-fetch-site": "same-origin"}


@cache
def banner_of(policy: Policy) -> Banner:
    """Rendering one takes as long as many requests: each policy's is made once."""
    return Banner(policy)


banner_of(POLICY)  # within a test it would count as its time


class Recorder:
    """A store that keeps what it is given, or fails as it is told to."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.failure = failure
        self.receipts: list[Receipt] = []
        self._by_id: dict[str, Receipt] = {}
        self.artefacts: list[Artefact] = []

    async def append(self, receipt: Receipt, artefacts: Sequence[Artefact] = ()) -> None:
        if self.failure is not None:
            raise self.failure
        if (before := self._by_id.setdefault(receipt.receipt_id, receipt)) != receipt:
            raise OtherReceiptError
        if before is receipt:
            self.receipts.append(receipt)
        self.artefacts.extend(artefacts)

    async def aclose(self) -> None:
        """Nothing is open."""


class Answer:
    """What came back."""

    def __init__(self, messages: Sequence[Message]) -> None:
        start, *rest = messages
        self.status: int = start["status"]
        self.raw: list[tuple[bytes, bytes]] = start["headers"]
        self.body: bytes = b"".join(message.get("body", b"") for message in rest)

    @property
    def headers(self) -> dict[str, str]:
        fields = {key.decode(): value.decode() for key, value in self.raw if key != b"set-cookie"}
        assert len(fields) == sum(key != b"set-cookie" for key, _ in self.raw)
        return fields

    @property
    def cookies(self) -> list[str]:
        return [value.decode() for key, value in self.raw if key == b"set-cookie"]

    @property
    def expiries(self) -> list[str]:
        return [cookie for cookie in self.cookies if not cookie.startswith(("consent=", "consent_no_"))]

    @property
    def json(self) -> dict[str, Any]:
        assert self.headers["content-type"] == "application/json"
        return cast(dict[str, Any], json.loads(self.body))


class Site:
    """The endpoints, a browser's cookie, and a clock that stands still."""

    def __init__(
        self,
        policy: Policy = POLICY,
        catalog: Catalog = CATALOG,
        store: Recorder | None = None,
        **options: Any,
    ) -> None:
        self.policy = policy
        self.store = store or Recorder()
        self.banner = banner_of(policy)
        self.cookie = ChoiceCookie([b"0123456789abcdef" * 2])
        self.now: float = NOW + 0.25
        self.drawn = count(0xAB)
        self.app = VisitorEndpoints(
            policy,
            catalog,
            self.banner,
            self.cookie,
            self.store,
            clock=lambda: self.now,
            random_bytes=lambda size: bytes([next(self.drawn) % 256]) * size,
            **options,
        )
        self.kept = ""

    def request(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | Sequence[tuple[str, str]] = (),
        body: bytes | Sequence[Message] = b"",
        query: str = "",
        scheme: str = "http",
    ) -> Answer:
        pairs = list(headers.items() if isinstance(headers, Mapping) else headers)
        names = {name for name, _ in pairs}
        if "host" not in names:
            pairs.append(("host", "shop.example.com"))
        if self.kept:
            pairs.append(("cookie", self.kept))
        messages: list[Message] = (
            [{"type": "http.request", "body": body, "more_body": False}]
            if isinstance(body, bytes)
            else list(body)
        )
        sent: list[Message] = []

        async def receive() -> Message:
            return messages.pop(0)

        async def send(message: Message) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "query_string": query.encode(),
            "scheme": scheme,
            "headers": [(name.encode(), value.encode("latin-1")) for name, value in pairs],
        }
        asyncio.run(self.app(scope, receive, send))
        answer = Answer(sent)
        for cookie in answer.cookies:
            if cookie.startswith("consent="):
                self.kept = cookie.partition(";")[0]
        return answer

    def get(self, path: str, headers: Mapping[str, str] = NO_HEADERS, **options: Any) -> Answer:
        return self.request("GET", path, headers=headers, **options)

    def choose(
        self,
        action: str,
        headers: Mapping[str, str] = NO_HEADERS,
        *,
        scheme: str = "http",
        vendors: Mapping[str, str] = NO_HEADERS,
        on: Collection[str] = (),
        told: str = "",
        **fields: str,
    ) -> Answer:
        """Send a form as our own page would have it."""
        signals = Signals(gpc=headers.get("sec-gpc") == "1", dnt=headers.get("dnt") == "1" or None)
        form = {
            "form": "preferences" if action == "save" else "banner",
            "action": action,
            "shown": self.banner.shown_text(decide(self.policy, signals)).hash,
            "return_to": "/",
            **fields,
            **dict.fromkeys(on, "on"),
            **({"told": told} if told else {}),
            **{f"vendor.{vendor}": answer for vendor, answer in vendors.items()},
        }
        return self.post(urlencode(form).encode(), headers=headers, scheme=scheme)

    def post(
        self,
        body: bytes,
        headers: Mapping[str, str] = NO_HEADERS,
        content_type: str = "application/x-www-form-urlencoded",
        scheme: str = "http",
    ) -> Answer:
        fields = {"content-type": content_type, **SAME_ORIGIN, **headers}
        return self.request("POST", "/_consent/choice", headers=fields, body=body, scheme=scheme)

    def post_json(self, content: object, headers: Mapping[str, str] = NO_HEADERS) -> Answer:
        return self.post(json.dumps(content).encode(), headers, content_type="application/json")

    @property
    def choice(self) -> Choice | None:
        headers = [(b"cookie", self.kept.encode())]
        return self.cookie.read(headers, now=int(self.now), policy_version=self.policy.version)[0]

    @property
    def granted(self) -> set[str]:
        choice = self.choice
        return set() if choice is None else set(choice.granted)


# ---- choosing


def test_accepting_records_then_stores_then_leads_back() -> None:
    """A receipt with the exact text shown, the signed cookie, and a redirect to the page it was chosen on."""
    site = Site()
    answer = site.choose(
        "accept", {"user-agent": "Mozilla/5.0 (X11) Firefox/140.0"}, return_to="/shop?size=2"
    )
    assert answer.status == 303
    assert answer.body == b""
    assert answer.headers == {
        "location": "/shop?size=2",
        "cache-control": "no-store",
        "tk": "U",
        "content-length": "0",
    }
    (cookie,) = answer.cookies
    assert cookie.partition(";")[2] == " Max-Age=15552000; Path=/; HttpOnly; SameSite=Lax"
    (receipt,) = site.store.receipts
    assert (receipt.outcome, receipt.granted) == (Outcome.GIVEN, OPTIONAL)
    assert receipt.collection_method is CollectionMethod.BANNER_FORM
    assert receipt.time == "2027-01-15T08:00:00.250Z"
    assert receipt.receipt_id == "abababab-abab-4bab-abab-abababababab"
    assert (receipt.subject, receipt.previous, receipt.language) == ("ac" * 16, None, "en")
    artefact, *kept = site.store.artefacts
    assert (artefact.hash, *(each.hash for each in kept)) == receipt.artefact_hashes
    assert read_terms(TermsArtefacts(*kept)).site == "Example"
    assert b"May Example use optional cookies?" in artefact.content
    assert site.choice == Choice(
        receipt_id=receipt.receipt_id,
        subject=receipt.subject,
        made_at=NOW,
        policy_version=POLICY.version,
        granted=frozenset(OPTIONAL),
        vendors={},
        told=frozenset(),
        over_http=True,
    )


def test_over_https_the_cookies_are_secure() -> None:
    """The flag follows the scheme, that of the mark of a refusal, too."""
    cookie, mark = Site().choose("refuse", scheme="https").cookies
    assert cookie.partition(";")[2] == " Max-Age=34560000; Path=/; HttpOnly; SameSite=Lax; Secure"
    assert mark == f"consent_no_abababab=pft;{cookie.partition(';')[2]}"


def test_a_refusal_is_recorded_and_remembered_like_a_consent() -> None:
    """Same cookie, same duration, a receipt of its own."""
    site = Site()
    assert site.choose("refuse").status == 303
    assert site.store.receipts[0].outcome is Outcome.REFUSED
    assert site.choice is not None
    assert site.granted == set()


def test_saving_takes_exactly_what_is_switched_on() -> None:
    """A switch that is off is not sent, and that is a no."""
    site = Site()
    site.choose("save", functional="on")
    assert site.granted == {F}
    assert site.store.receipts[0].collection_method is CollectionMethod.PREFERENCES_FORM


def test_withdrawing_keeps_the_pseudonym_and_names_the_choice_it_replaces() -> None:
    """The history of one visitor hangs together."""
    site = Site()
    site.choose("accept")
    answer = site.choose("withdraw", form="preferences")
    assert answer.status == 303
    given_, withdrawn = site.store.receipts
    assert withdrawn.outcome is Outcome.WITHDRAWN
    assert (withdrawn.subject, withdrawn.previous) == (given_.subject, given_.receipt_id)
    assert site.granted == set()


def test_switches_do_not_count_when_another_button_is_pressed() -> None:
    """Refuse all, in a form whose switches are on, refuses all."""
    site = Site()
    site.choose("refuse", performance="on", targeting="on", form="preferences")
    assert site.granted == set()


def test_the_page_of_choices_stays_and_says_saved() -> None:
    """The way back is kept in its address."""
    site = Site()
    answer = site.choose("save", stay="on", performance="on", return_to="/shop?a=1&b=2")
    assert (
        answer.headers["location"] == "/_consent/choices?saved=1&language=en&return_to=/shop%3Fa%3D1%26b%3D2"
    )
    page = site.get("/_consent/choices", query="saved=1&return_to=/shop%3Fa%3D1%26b%3D2").body.decode()
    assert 'role="status">Saved. Your choice is in effect.</p>' in page
    assert '<a href="/shop?a=1&amp;b=2">' in page
    assert 'name="performance" value="on" aria-describedby="consent-about-performance" checked' in page


def test_who_keeps_no_cookies_is_not_told_that_it_was_saved() -> None:
    """The answer is recorded, but nothing can be made of it: the page of choices says why, and what to do."""
    site = Site()
    assert site.choose("refuse", stay="on").status == 303
    site.kept = ""
    page = site.get("/_consent/choices", query="saved=1").body.decode()
    assert "Saved." not in page
    assert 'role="status">Your browser did not keep your answer. Please allow cookies for this site' in page


# ---- vendors


def test_a_vendor_can_be_refused_within_its_category_and_stays_refused() -> None:
    """A no to one vendor outlives the next save of categories, until that vendor is named again."""
    site = Site()
    site.choose("save", performance="on", vendors={"example-stats": "off"})
    assert site.choice is not None
    assert dict(site.choice.vendors) == {"example-stats": False}
    site.choose("save", performance="on")
    assert dict(site.choice.vendors) == {"example-stats": False}
    site.choose("save", performance="on", vendors={"example-stats": "on"})
    assert dict(site.choice.vendors) == {}


def test_an_answer_like_the_category_s_is_no_exception() -> None:
    """Only what differs is stored."""
    site = Site()
    site.choose("save", vendors={"example-stats": "off", "example-ads": "on"})
    assert site.choice is not None
    assert dict(site.choice.vendors) == {"example-ads": True}


@pytest.mark.parametrize("vendor", ["nobody", "own-strictly-necessary", "x" * 200])
def test_a_vendor_that_cannot_be_chosen_is_refused(vendor: str) -> None:
    """Unknown ones, and those that are always on."""
    site = Site()
    assert site.choose("save", vendors={vendor: "on"}).status == 400
    assert site.store.receipts == []


# ---- signals


def test_accept_under_gpc_grants_all_but_what_the_signal_refuses() -> None:
    """As the button says."""
    site = Site()
    site.choose("accept", {"sec-gpc": "1"}, told="gpc")
    assert site.granted == {P, F}
    assert site.store.receipts[0].signals.gpc is True


def test_a_switch_set_after_being_told_overrules_the_signal() -> None:
    """Only the preferences do, and only with the form's word that it told."""
    site = Site()
    site.choose("save", {"sec-gpc": "1"}, targeting="on", told="gpc")
    assert site.choice is not None
    assert site.choice.granted == {T}
    assert site.choice.told == {BrowserSignal.GPC}


def test_a_text_is_made_an_artefact_once() -> None:
    """Its 30 KB are not hashed again for each visitor who answers it."""
    site = Site()
    site.choose("accept")
    site.kept = ""
    site.choose("refuse")
    (first, *_), (second, *_) = site.store.artefacts[:3], site.store.artefacts[3:]
    assert first.hash == site.store.receipts[0].shown_hash
    assert second is first


@pytest.mark.parametrize("last", ["accept", "refuse"])
def test_of_two_answers_at_once_the_one_that_arrives_last_counts(last: str) -> None:
    """Each has its receipt; of one visitor where the browser had a cookie before, and of two where it had none."""
    for known, subjects in ((True, 1), (False, 2)):
        site = Site()
        if known:
            site.choose("save", on=["performance"])
        before, arrived = site.kept, {}
        for action in ("accept", "refuse"):
            site.kept = before
            site.choose(action)
            arrived[action] = site.kept
        site.kept = arrived[last]
        assert site.granted == ({*OPTIONAL} if last == "accept" else set())
        receipts = site.store.receipts[-2:]
        assert [bool(receipt.categories[Category.TARGETING]) for receipt in receipts] == [True, False]
        assert len({receipt.subject for receipt in receipts}) == subjects


def test_being_told_counts_only_for_signals_that_are_there() -> None:
    """A form cannot tell in advance."""
    site = Site()
    site.choose("accept", told="gpc")
    assert site.choice is not None
    assert site.choice.told == frozenset()
    site.choose("accept", {"sec-gpc": "1"})
    assert site.choice.told == frozenset()


def test_accept_under_dnt_is_an_explicit_later_choice() -> None:
    """The form told of Do Not Track, and the visitor said yes."""
    site = Site()
    site.choose("accept", {"dnt": "1"}, told="dnt")
    assert site.choice is not None
    assert site.choice.granted == set(OPTIONAL)
    assert site.choice.told == {BrowserSignal.DNT}


def test_both_signals_can_be_told_of() -> None:
    """The one field that may be repeated."""
    site = Site()
    shown = site.banner.shown_text(decide(POLICY, Signals(gpc=True, dnt=True))).hash
    body = f"action=save&targeting=on&told=gpc&told=dnt&shown={shown}&return_to=/&form=preferences"
    assert site.post(body.encode(), {"sec-gpc": "1", "dnt": "1"}).status == 303
    assert site.choice is not None
    assert site.choice.told == frozenset(BrowserSignal)


# ---- the text shown


@pytest.mark.parametrize("shown", ["0" * 64, "", "x" * 5000])
def test_a_yes_to_a_text_nobody_knows_is_asked_again(shown: str) -> None:
    """The visitor sees the present text first; nothing is stored."""
    site = Site()
    answer = site.choose("accept", shown=shown, return_to="/shop")
    assert answer.status == 409
    assert b"Please look once more before you say yes." in answer.body
    assert b'name="return_to" value="/shop"' in answer.body
    assert (answer.cookies, site.store.receipts) == ([], [])


def test_a_no_counts_on_whatever_text() -> None:
    """Refusing needs no proof of what was read."""
    site = Site()
    assert site.choose("refuse", shown="0" * 64).status == 303
    assert site.store.receipts[0].shown_hash is None


def test_a_form_without_the_text_it_showed_cannot_grant() -> None:
    """Only a page's own script may ask in its own words."""
    assert Site().post(b"action=accept").status == 409
    assert Site().post_json({"action": "accept", "shown": "0" * 64}).json == {
        "error": {
            "code": "text-changed",
            "message": "The services or the rules changed after you opened the previous page. "
            "Please look once more before you say yes.",
        }
    }


# ---- JSON


def test_json_answers_with_what_is_in_force() -> None:
    """No redirect: what was recorded, and what is allowed now."""
    site = Site()
    answer = site.post_json({"action": "save", "performance": True, "vendors": {"example-ads": True}})
    assert answer.status == 200
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json == {
        "receipt_id": "abababab-abab-4bab-abab-abababababab",
        "recorded": True,
        "outcome": "given",
        "policy_version": POLICY.version,
        "categories": {
            "strictly-necessary": True,
            "performance": True,
            "functional": False,
            "targeting": False,
        },
        "vendors": {"example-ads": True},
        "allowed": "p example-ads",
    }
    (receipt,) = site.store.receipts
    assert (receipt.collection_method, receipt.shown_hash) == (CollectionMethod.API, None)


def test_a_form_can_ask_for_json() -> None:
    """By Accept, as fetch does with FormData."""
    answer = Site().choose("refuse", {"accept": "application/json"})
    assert (answer.status, answer.json["outcome"]) == (200, "refused")


# ---- what is not understood


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"action=",
        b"action=steal",
        b"action=refuse&action=accept",
        b"action=save&performance=maybe",
        b"action=save&performance=on&performance=on",
        b"action=refuse&nonsense=1",
        b"action=refuse&told=xyz",
        b"action=refuse&form=unheard-of",
        b"action=refuse&stay=yes",
        b"action=refuse&",
        b"action",
        b"\xff\xfe",
        b"action=refuse&return_to=%ff",
        b"action=refuse" + b"&told=gpc" * 401,
    ],
)
def test_a_form_that_is_not_understood_changes_nothing(body: bytes) -> None:
    """400, a page that says so, no receipt, no cookie."""
    site = Site()
    answer = site.post(body)
    assert answer.status == 400
    assert b"The form could not be understood. Nothing was changed." in answer.body
    assert (answer.cookies, site.store.receipts) == ([], [])


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"null",
        b'{"action":"refuse"',
        b'{"action":1}',
        b'{"action":"refuse","action":"accept"}',
        b'{"action":"save","performance":"on"}',
        b'{"action":"save","performance":1}',
        b'{"action":"save","vendors":[]}',
        b'{"action":"save","vendors":{"example-ads":"on"}}',
        b'{"action":"save","told":"gpc"}',
        b'{"action":"save","told":[{}]}',
        b'{"action":"refuse","shown":1}',
        b'{"action":"refuse","return_to":null}',
        b'{"action":"refuse","stay":true}',
        b"[" * MAX_BODY_BYTES,
        b'{"action":' * 1000,
        b"\xff",
    ],
)
def test_json_that_is_not_understood_changes_nothing(body: bytes) -> None:
    """400 in the one error shape."""
    site = Site()
    answer = site.post(body, content_type="application/json; charset=utf-8")
    assert answer.status == 400
    assert answer.json["error"]["code"] == "bad-request"
    assert (answer.cookies, site.store.receipts) == ([], [])


@given(body=st.binary(max_size=300), json_body=st.booleans())
def test_no_body_whatever_breaks_us(body: bytes, json_body: bool) -> None:
    """Anything is answered, and only what is understood is stored."""
    site = Site()
    kind = "application/json" if json_body else "application/x-www-form-urlencoded"
    assert site.post(body, content_type=kind).status in (200, 303, 400, 409)


@pytest.mark.parametrize("kind", ["text/plain", "multipart/form-data; boundary=x", "", "application/jsonx"])
def test_other_media_types_are_refused(kind: str) -> None:
    """text/plain is what a form of another origin can send without asking."""
    assert Site().post(b'{"action":"accept"}', content_type=kind).status == 415


def test_a_body_that_is_too_large_is_refused_unread() -> None:
    """By its declared length, without reading it; and while reading, if it declares none."""
    site = Site()
    declared = site.request(
        "POST",
        "/_consent/choice",
        headers={
            **SAME_ORIGIN,
            "content-type": "application/json",
            "content-length": str(MAX_BODY_BYTES + 1),
        },
        body=[],
    )
    assert (declared.status, declared.headers["connection"]) == (413, "close")
    chunk: Message = {"type": "http.request", "body": b"a" * MAX_BODY_BYTES, "more_body": True}
    streamed = site.request(
        "POST",
        "/_consent/choice",
        headers={**SAME_ORIGIN, "content-type": "application/json"},
        body=[chunk, {"type": "http.request", "body": b"a", "more_body": True}],
    )
    assert streamed.status == 413
    assert site.store.receipts == []


def test_a_browser_that_goes_away_gets_no_answer() -> None:
    """And nothing is recorded of half a form."""
    site = Site()
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    headers = [(b"sec-fetch-site", b"same-origin"), (b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": "/_consent/choice", "headers": headers}
    asyncio.run(site.app(scope, receive, send))
    assert (sent, site.store.receipts) == ([], [])


# ---- same origin


@pytest.mark.parametrize(
    "headers",
    [
        [("sec-fetch-site", "same-origin")],
        [("sec-fetch-site", "same-origin"), ("origin", "null")],
        [("origin", "http://shop.example.com")],
        [("origin", "https://shop.example.com")],
        [("origin", "https://SHOP.example.com:443")],
        [("origin", "http://shop.example.com"), ("host", "shop.example.com:80")],
        [("origin", "http://localhost:8000"), ("host", "localhost:8000")],
    ],
)
def test_a_form_of_our_own_pages_is_taken(headers: list[tuple[str, str]]) -> None:
    """Sec-Fetch-Site decides; without it, Origin must be our host."""
    site = Site()
    pairs = [*headers, ("content-type", "application/x-www-form-urlencoded")]
    assert site.request("POST", "/_consent/choice", headers=pairs, body=b"action=refuse").status == 303


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("sec-fetch-site", "cross-site")],
        [("sec-fetch-site", "same-site")],
        [("sec-fetch-site", "none")],
        [("sec-fetch-site", "")],
        [("sec-fetch-site", "same-origin"), ("sec-fetch-site", "cross-site")],
        [("sec-fetch-site", "cross-site"), ("origin", "http://shop.example.com")],
        [("origin", "null")],
        [("origin", "https://evil.example")],
        [("origin", "https://shop.example.com.evil.example")],
        [("origin", "https://shop.example.com/")],
        [("origin", "https://shop.example.com:8443")],
        [("origin", "ftp://shop.example.com")],
        [("origin", "https://shop.example.com"), ("origin", "https://evil.example")],
        [("origin", "https://shop.example.com"), ("host", "shop.example.com"), ("host", "evil.example")],
        [("referer", "https://shop.example.com/")],
    ],
)
def test_a_form_of_anybody_else_is_refused(headers: list[tuple[str, str]]) -> None:
    """403 before the body is read; not even a refusal is taken from elsewhere."""
    site = Site()
    pairs = [*headers, ("content-type", "application/x-www-form-urlencoded")]
    answer = site.request("POST", "/_consent/choice", headers=pairs, body=[])
    assert answer.status == 403
    assert (answer.cookies, site.store.receipts) == ([], [])


# ---- where one is led


@pytest.mark.parametrize(
    ("return_to", "location"),
    [
        ("/", "/"),
        ("/shop/chairs?size=2&page=3", "/shop/chairs?size=2&page=3"),
        ("/a%20b?q=%2F", "/a%20b?q=%2F"),
        ("/käse", "/k%C3%A4se"),
        ('/a"b<c>', "/a%22b%3Cc%3E"),
        ("//evil.example/", "/"),
        ("/\\evil.example", "/"),
        ("\\\\evil.example", "/"),
        ("/a\\..\\b", "/"),
        ("https://evil.example/", "/"),
        ("javascript:alert(1)", "/"),
        ("/\t/evil.example", "/"),
        ("/\r\nset-cookie: a=b", "/"),
        ("", "/"),
        ("shop", "/"),
        (" /shop", "/"),
        ("/" + "a" * MAX_RETURN_TO, "/"),
        ("/_consent/choice", "/"),
        ("/_consent/choices?return_to=/", "/"),
    ],
)
def test_nobody_is_led_to_another_site(return_to: str, location: str) -> None:
    """Only a path of this site is gone back to; anything else leads to the front page."""
    assert Site().choose("refuse", return_to=return_to).headers["location"] == location


@pytest.mark.parametrize("member", ["return_to", "language", "shown"])
def test_half_a_surrogate_pair_in_json_is_no_trouble(member: str) -> None:
    """It cannot be written as UTF-8; the choice counts all the same, and the answer says so."""
    site = Site()
    answer = site.post_json({"action": "refuse", member: "/\ud800"})
    assert answer.status == 200
    assert [line.partition("=")[0] for line in answer.cookies] == ["consent", "consent_no_abababab"]
    assert len(site.store.receipts) == 1


@given(st.text(max_size=60))
def test_no_address_whatever_leads_elsewhere(text: str) -> None:
    """The location is ASCII, starts with one slash, and a browser finds no host in it."""
    location = (
        Site().choose("refuse", return_to="/" + text.encode("utf-8", "replace").decode()).headers["location"]
    )
    assert location.startswith("/")
    assert not location.startswith(("//", "/\\"))
    assert location.isascii()
    assert location.isprintable()


# ---- the store fails


FAILURES = [
    StoreFull("full"),
    StoreUnavailable("gone"),
    StoreError("odd"),
    RuntimeError("a mistake in a store"),
]


@pytest.mark.parametrize("failure", FAILURES)
def test_a_grant_that_cannot_be_recorded_does_not_count(failure: Exception) -> None:
    """503, when to try again, a plain sentence; no cookie."""
    site = Site()
    site.store.failure = failure
    answer = site.choose("accept")
    assert (answer.status, answer.headers["retry-after"]) == (503, str(RETRY_AFTER_SECONDS))
    assert b"Your yes could not be recorded, so it does not count" in answer.body
    assert answer.cookies == []


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("action", ["refuse", "withdraw"])
def test_a_refusal_that_cannot_be_recorded_is_honoured(failure: Exception, action: str) -> None:
    """The cookie is set, vendor cookies go, the visitor is led back as ever."""
    site = Site()
    site.choose("accept")
    site.store.failure = failure
    answer = site.choose(action, {"cookie": "_es=1"})
    assert (answer.status, answer.headers["location"]) == (303, "/")
    assert site.granted == set()
    assert "_es=; Max-Age=0; Path=/; Domain=example.com" in answer.expiries


def test_taking_back_a_part_is_honoured_without_a_receipt() -> None:
    """What remains granted is still proven by the receipt it had, and does not last longer for it."""
    site = Site()
    site.choose("accept")
    site.now += 86_400
    site.store.failure = StoreFull("full")
    answer = site.choose("save", performance="on")
    assert answer.status == 303
    assert site.choice is not None
    assert site.choice.granted == {P}
    assert site.choice.made_at == NOW
    assert site.choice.receipt_id == site.store.receipts[0].receipt_id


def test_a_mixed_answer_without_a_receipt_keeps_only_its_refusals() -> None:
    """The yes waits, the no does not: 503 that says so, and a cookie that grants only what is proven."""
    site = Site()
    site.choose("save", performance="on")
    site.store.failure = StoreFull("full")
    answer = site.choose("save", {"cookie": "_es=1", "accept": "application/json"}, targeting="on")
    assert (answer.status, answer.json["error"]["code"]) == (503, "not-recorded")
    assert answer.json["error"]["message"] == (
        "Your yes could not be recorded, so it does not count. What you refused is refused. "
        "Please try again in a moment."
    )
    assert site.granted == set()
    assert "_es=; Max-Age=0; Path=/; Domain=example.com" in answer.expiries


def test_overruling_a_signal_needs_a_receipt_too() -> None:
    """An older yes that the signal overrules does not come back without proof that the visitor was told."""
    site = Site()
    site.choose("accept")
    site.store.failure = StoreFull("full")
    answer = site.choose(
        "save", {"sec-gpc": "1"}, performance="on", functional="on", targeting="on", told="gpc"
    )
    assert (answer.status, answer.cookies) == (503, [])


def test_in_an_opt_out_regime_an_unrecorded_objection_holds() -> None:
    """Silence allows there, so the refusal must be stored although the grant beside it is not."""
    site = Site(replace(POLICY, regime=Regime.OPT_OUT))
    site.store.failure = StoreFull("full")
    answer = site.choose("save", performance="on", functional="on")
    assert answer.status == 503
    assert site.choice is not None
    assert site.granted == set()


@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(["accept", "refuse", "save", "withdraw"]),
            st.sets(st.sampled_from(OPTIONAL)),
            st.booleans(),
            st.booleans(),
        ),
        max_size=5,
    )
)
def test_nothing_is_ever_allowed_that_was_not_said_yes_to_and_recorded(
    steps: list[tuple[str, set[Category], bool, bool]],
) -> None:
    """Whatever the order of answers, outages and signals: every grant in the cookie has its receipt."""
    site = Site()
    for action, switched, gpc, fails in steps:
        site.store.failure = StoreFull("full") if fails else None
        headers = {"sec-gpc": "1"} if gpc else {}
        before = set(site.granted)
        site.choose(action, headers, on=switched if action == "save" else ())
        if action == "accept":
            assert site.granted <= (before if fails else set(OPTIONAL))
        else:
            # A no holds in every case; a yes only if it was recorded, now or before.
            said = set(switched) if action == "save" else set()
            assert site.granted <= (said & before if fails else said)
        if site.granted and site.choice is not None:
            (proof,) = [r for r in site.store.receipts if r.receipt_id == site.choice.receipt_id]
            assert site.granted <= set(proof.granted)


def test_a_no_to_what_a_signal_hides_is_honoured_without_a_receipt() -> None:
    """Otherwise the older yes would come back with the day the browser stops sending the signal."""
    site = Site()
    site.choose("accept")
    site.store.failure = StoreFull("full")
    answer = site.choose("save", {"sec-gpc": "1"}, on=["performance"], vendors={"example-ads": "on"})
    assert answer.status == 503
    assert site.granted == {P}


def test_the_companion_goes_with_the_choice() -> None:
    """Where there is one: behind the signed cookie, saying what it says; of what was not recorded, what holds."""
    cookie = ChoiceCookie([b"0123456789abcdef" * 2])
    companion = VariantCookie(cookie, POLICY, CATALOG)
    site = Site(companion=companion)
    answer = site.choose("save", performance="on", vendors={"example-ads": "on"})
    signed, _, readable = (line.partition(";")[0] for line in answer.cookies)
    assert readable == f"consent_variant={signed[-2:]}.{companion.tag}.p..texample-ads"
    site.store.failure = StoreFull("full")
    answer = site.choose("refuse")
    signed, _, readable = answer.cookies
    mark = signed.partition(";")[0][-2:]
    assert (
        readable == f"consent_variant={mark}.{companion.tag}..; Max-Age={180 * 86_400}; Path=/; SameSite=Lax"
    )
    assert all("consent_variant" not in line for line in Site().choose("refuse").cookies)


# ---- cookies of refused vendors


def test_cookies_of_refused_vendors_are_deleted_wherever_they_can_be() -> None:
    """Every Domain this host can have times every Path up to the page; HttpOnly ones too, others stay."""
    site = Site()
    cookies = "_es=1; _est_7=2; basket=3; theme=4; unknown=5; _ads=6"
    answer = site.choose("save", {"cookie": cookies}, targeting="on", return_to="/shop/chairs")
    assert {cookie.partition("=")[0] for cookie in answer.expiries} == {"_es", "_est_7", "theme"}
    assert [cookie for cookie in answer.expiries if cookie.startswith("_es=")] == [
        f"_es=; Max-Age=0; Path={path}{domain}"
        for path in ("/", "/shop", "/shop/chairs")
        for domain in ("; Domain=example.com", "", "; Domain=shop.example.com")
    ]


def test_over_https_partitioned_cookies_are_deleted_as_well() -> None:
    """A partitioned cookie is another one, and goes only by its own attribute."""
    answer = Site().choose("refuse", {"cookie": "_es=1; __Secure-ads=2"}, scheme="https")
    assert [cookie for cookie in answer.expiries if "Domain=example.com" in cookie] == [
        "_es=; Max-Age=0; Path=/; Domain=example.com",
        "_es=; Max-Age=0; Path=/; Domain=example.com; Secure; SameSite=None; Partitioned",
        "__Secure-ads=; Max-Age=0; Path=/; Domain=example.com; Secure",
        "__Secure-ads=; Max-Age=0; Path=/; Domain=example.com; Secure; SameSite=None; Partitioned",
    ]
    answer = Site().choose("refuse", {"cookie": "_es=1"}, scheme="https", return_to="/shop")
    assert answer.expiries[-2:] == [
        "_es=; Max-Age=0; Path=/shop; Domain=shop.example.com",
        "_es=; Max-Age=0; Path=/shop; Domain=shop.example.com; Secure; SameSite=None; Partitioned",
    ]


def test_cookies_of_granted_vendors_stay() -> None:
    """A vendor's own exception counts, in both directions."""
    site = Site()
    answer = site.choose(
        "save",
        {"cookie": "_es=1; _ads=2"},
        performance="on",
        vendors={"example-stats": "off", "example-ads": "on"},
    )
    assert {cookie.partition("=")[0] for cookie in answer.expiries} == {"_es"}


@pytest.mark.parametrize(
    ("host", "domains"),
    [
        ("localhost:8000", [""]),
        ("127.0.0.1", [""]),
        ("[::1]:8000", [""]),
        ("example.com", ["; Domain=example.com", ""]),
        ("Shop.Example.co.uk:443", ["; Domain=example.co.uk", "", "; Domain=shop.example.co.uk"]),
        (
            "a.b.example.com.",
            ["; Domain=example.com", "", "; Domain=a.b.example.com", "; Domain=b.example.com"],
        ),
        ("evil; Domain=com", [""]),
        ("com", [""]),
    ],
)
def test_no_domain_is_tried_that_a_cookie_cannot_have(host: str, domains: list[str]) -> None:
    """From the host up to its registrable domain; an address and a bare name have none."""
    answer = Site().choose("refuse", {"cookie": "_es=1", "host": host})
    assert answer.expiries == [f"_es=; Max-Age=0; Path=/{domain}" for domain in domains]


def test_deletions_fit_into_what_proxies_take() -> None:
    """The likeliest domain of every cookie comes first, then the budget ends the list."""
    names = [f"_est_{number}" for number in range(30)]
    site = Site()
    answer = site.choose(
        "refuse", {"cookie": "; ".join(f"{name}=1" for name in names)}, return_to="/a/b/c/d/e"
    )
    size = sum(len("set-cookie: \r\n") + len(cookie) for cookie in answer.expiries)
    assert MAX_EXPIRY_BYTES - 80 < size <= MAX_EXPIRY_BYTES
    assert answer.expiries[:30] == [f"{name}=; Max-Age=0; Path=/; Domain=example.com" for name in names]


def test_a_hostile_cookie_name_is_not_echoed() -> None:
    """Only tokens are names."""
    answer = Site().choose(
        "refuse", {"cookie": "_est_\x00a=1; _est_ b=2; _est_é=3; _est_" + "x" * 200 + "=4"}
    )
    assert answer.expiries == []


# ---- pages, files, well-known resources


def test_the_page_of_choices_is_private_and_locked_down() -> None:
    """Not stored, not framed, no script, no other origin; and what it depends on is said."""
    answer = Site().get("/_consent/choices", query="return_to=//evil.example/&x=1")
    assert answer.status == 200
    assert answer.headers == {
        "content-type": "text/html; charset=utf-8",
        "cache-control": "no-store",
        "vary": "Cookie, Sec-GPC, DNT",
        "content-security-policy": "default-src 'none'; style-src 'self'; form-action 'self'; "
        "frame-ancestors 'none'; base-uri 'none'",
        "referrer-policy": "same-origin",
        "x-content-type-options": "nosniff",
        "x-robots-tag": "noindex, nofollow",
        "content-length": str(len(answer.body)),
    }
    assert b"evil" not in answer.body
    assert b"Saved" not in answer.body


def test_a_query_that_is_too_much_is_ignored() -> None:
    """The page is shown all the same."""
    assert Site().get("/_consent/choices", query="a=1&" * 5000).status == 200


def test_head_carries_what_get_carries() -> None:
    """The same fields, no body."""
    site = Site()
    paths = ("/_consent/choices", site.banner.stylesheet_url, "/.well-known/gpc.json", "/.well-known/dnt/")
    for path in paths:
        got, head = site.get(path), site.request("HEAD", path)
        assert (head.status, head.headers, head.body) == (200, got.headers, b"")


def test_a_file_is_compressed_once_and_in_nobodys_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many ask at once, and also where all threads for other work are taken."""
    sheet = next(iter(banner_of(POLICY).static.values()))
    content = sheet.content + b"/* of this test alone */"
    file = replace(sheet, name="test.css", content=content)
    compressed: list[bytes] = []

    def zipped(content: bytes) -> bytes:
        compressed.append(content)
        return gzip.compress(content)

    monkeypatch.setattr("consent.visitor.zipped", zipped)
    site = Site(static=[file])

    async def ask() -> list[Message]:
        sent: list[Message] = []

        async def send(message: Message) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "GET", "path": "/_consent/static/test.css", "headers": []}
        await site.app({**scope, "query_string": b"", "scheme": "http"}, send, send)  # type: ignore[arg-type]
        return sent

    async def many() -> list[list[Message]]:
        taken = threading.Event()
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
        work = asyncio.ensure_future(asyncio.to_thread(taken.wait))
        answers = await asyncio.wait_for(asyncio.gather(*(ask() for _ in range(20))), 30)
        taken.set()
        await work
        return answers

    for start, body in asyncio.run(many()):
        assert (start["status"], body["body"]) == (200, content)
    assert compressed == [content]


def test_the_stylesheet_is_kept_forever() -> None:
    """Its address names its content; any other is nothing."""
    site = Site()
    answer = site.get(site.banner.stylesheet_url)
    assert answer.status == 200
    etag = site.banner.stylesheet_url.rsplit(".", 2)[1]
    assert answer.headers == {
        "content-type": "text/css; charset=utf-8",
        "cache-control": "public, max-age=31536000, immutable",
        "etag": f'"{etag}"',
        "vary": "Accept-Encoding",
        "x-content-type-options": "nosniff",
        "content-length": str(len(answer.body)),
    }
    zipped = site.get(site.banner.stylesheet_url, {"accept-encoding": "br, gzip"})
    assert (zipped.headers["content-encoding"], zipped.headers["etag"]) == ("gzip", f'"{etag}-gzip"')
    assert gzip.decompress(zipped.body) == answer.body
    assert len(zipped.body) < len(gzip.compress(answer.body, 9))
    unchanged = site.get(site.banner.stylesheet_url, {"if-none-match": f'W/"{etag}"'})
    assert (unchanged.status, unchanged.body, "content-length" in unchanged.headers) == (304, b"", False)


@pytest.mark.parametrize(
    "path",
    [
        "/_consent/",
        "/_consent/nothing",
        "/_consent/static/",
        "/_consent/static/consent.css",
        "/_consent/static/../choices",
        "/_consent/static/x/consent.css",
        "/.well-known/dnt/other",
        "/.well-known/other",
    ],
)
def test_what_is_not_there_is_not_found(path: str) -> None:
    """A small page, or JSON where JSON is asked for."""
    assert Site().get(path).status == 404
    assert Site().get(path, {"accept": "application/json"}).json == {
        "error": {"code": "not-found", "message": "There is nothing at this address."}
    }


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", "/_consent/choice", "POST"),
        ("HEAD", "/_consent/choice", "POST"),
        ("POST", "/_consent/choices", "GET, HEAD"),
        ("DELETE", "/.well-known/gpc.json", "GET, HEAD"),
        ("POST", "/.well-known/dnt/", "GET, HEAD"),
    ],
)
def test_other_methods_are_named_the_right_ones(method: str, path: str, allow: str) -> None:
    """405 with Allow."""
    answer = Site().request(method, path)
    assert (answer.status, answer.headers["allow"]) == (405, allow)


def test_gpc_support_is_declared() -> None:
    """The two members of the draft, the same for every requester."""
    answer = Site().get("/.well-known/gpc.json", {"sec-gpc": "1"})
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "public, max-age=3600"
    assert answer.body == b'{"gpc": true, "lastUpdate": "2026-11-26"}'


def test_a_policy_that_does_not_heed_gpc_does_not_claim_to() -> None:
    """The declaration follows the rules."""
    answer = Site(replace(POLICY, gpc_refuses=frozenset())).get("/.well-known/gpc.json")
    assert json.loads(answer.body)["gpc"] is False


@pytest.mark.parametrize(
    ("policy", "action", "dnt", "tracking"),
    [
        (POLICY, None, None, "N"),
        (POLICY, "refuse", None, "N"),
        (POLICY, "accept", None, "C"),
        (POLICY, "accept", "1", "C"),
        (replace(POLICY, regime=Regime.OPT_OUT), None, None, "T"),
        (replace(POLICY, regime=Regime.OPT_OUT, dnt_refuses=frozenset(OPTIONAL)), None, "1", "N"),
        (replace(POLICY, regime=Regime.OPT_OUT, dnt_refuses=frozenset()), None, "1", "D"),
    ],
)
def test_the_tracking_status_is_this_visitor_s(
    policy: Policy, action: str | None, dnt: str | None, tracking: str
) -> None:
    """Not tracking, consent, tracking, or disregarding: what would happen to this very request."""
    site = Site(policy)
    headers = {"dnt": dnt} if dnt else {}
    if action:
        site.choose(action, headers, told="dnt" if dnt else "")
    answer = site.get("/.well-known/dnt/", headers)
    assert json.loads(answer.body) == {
        "tracking": tracking,
        "config": "/_consent/choices",
        "policy": "/privacy",
    }
    assert answer.headers["content-type"] == "application/tracking-status+json"
    assert answer.headers["vary"] == "Cookie, Sec-GPC, DNT"
    assert answer.cookies == []


def test_only_http_is_answered() -> None:
    """Anything else is the server's mistake, and said to be."""

    async def never() -> Message:
        raise AssertionError

    async def nothing(message: Message) -> None:
        raise AssertionError

    with pytest.raises(ValueError, match="http only, not 'websocket'"):
        asyncio.run(Site().app({"type": "websocket"}, never, nothing))


def test_an_outdated_choice_keeps_its_pseudonym() -> None:
    """A visitor who is asked again under a new policy is still the same one."""
    site = Site()
    site.choose("accept")
    newer = Site(replace(POLICY, vendors=(STATS,)))
    newer.kept = site.kept
    headers = [(b"cookie", site.kept.encode())]
    state = newer.cookie.read(headers, now=NOW, policy_version=newer.policy.version, secure=False)[1]
    assert state is ChoiceState.OUTDATED
    newer.choose("refuse")
    assert newer.store.receipts[0].previous == site.store.receipts[0].receipt_id
    assert newer.store.receipts[0].subject == site.store.receipts[0].subject
