"""A choice that goes from one site of a group to another: with the browser that made it, and with no other."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from starlette.types import Message

from consent.banner import Banner
from consent.catalog import Catalog
from consent.categories import OPTIONAL, Category
from consent.choice import GROUP_COOKIE_SECONDS, NOBODY, BrowserSignal, Choice, nobodys_refusal
from consent.choice_cookie import ChoiceCookie
from consent.errors import StoreFull
from consent.group_handover import receipt_id_of
from consent.group_token import MAX_TOKEN_CHARACTERS, TOKEN_SECONDS, GroupTokens
from consent.middleware import EnforcingMiddleware
from consent.policy import Policy, Regime
from consent.receipts import CollectionMethod, Outcome
from consent.transitions import Transitions
from consent.visitor import VisitorEndpoints
from tests.exchange import NOW, Answer, answering, scope_for, vendor
from tests.jar import Jar
from tests.test_visitor import Recorder, banner_of

P, F, T = OPTIONAL
A, B, C = "https://a.example", "https://b.example", "https://c.example"
POLICY = Policy(language="en", group=(A, B, C))
CATALOG = Catalog([vendor(category, category, f"{category}.example") for category in OPTIONAL])
PAGE = "".join(f'<script src="https://{category}.example/t.js"></script>' for category in OPTIONAL).encode()
KEY = b"k" * 32
BINDING = "b" * 43
CHOICE = Choice(
    receipt_id="3f2504e0-4f89-41d3-9a0c-0305e82c3301",
    subject="00112233445566778899aabbccddeeff",
    made_at=NOW,
    policy_version=POLICY.version,
    granted=frozenset({P}),
    vendors={"functional": True},
    told=frozenset({BrowserSignal.GPC}),
)
TOKENS = GroupTokens([KEY])


class Site:
    """One site of the group, with keys of its own for its cookies."""

    def __init__(self, origin: str, policy: Policy = POLICY, key: bytes = KEY) -> None:
        self.origin = origin
        self.policy = policy
        self.store = Recorder()
        self.cookie = ChoiceCookie([origin.encode().ljust(32)])
        banner = banner_of(policy)
        self.clock = [NOW]
        endpoints = VisitorEndpoints(
            policy,
            CATALOG,
            banner,
            self.cookie,
            self.store,
            group=GroupTokens([key]),
            clock=lambda: self.clock[0],
        )
        self.app = EnforcingMiddleware(
            answering(PAGE),
            endpoints=endpoints,
            policy=policy,
            catalog=CATALOG,
            cookie=self.cookie,
            banner=banner,
            keep=Transitions(
                policy, CATALOG, self.cookie, self.store, language="en", clock=lambda: self.clock[0]
            ).keep,
            clock=lambda: self.clock[0],
        )


class Browser:
    """One browser that follows redirects between sites."""

    def __init__(self, *sites: Site) -> None:
        self.sites = {site.origin: site for site in sites}
        self.now = NOW
        self.jar = Jar()
        self.trail: list[str] = []
        self.seen_scheme = "https"
        """... by the sites: another one behind a proxy that ends TLS and does not tell."""

    def ask(
        self, url: str, *, body: Mapping[str, object] | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        parts = urlsplit(url)
        site = self.sites[f"{parts.scheme}://{parts.netloc}"]
        site.clock[0] = self.now
        sent = {"host": parts.netloc, "sec-fetch-dest": "document", "sec-fetch-mode": "navigate"}
        if body is not None:
            sent = {"host": parts.netloc, "sec-fetch-site": "same-origin", "content-type": "application/json"}
        if cookie := self.jar.sent(host=parts.netloc, now=self.now):
            sent["cookie"] = cookie
        scope = scope_for(
            parts.path or "/",
            method="GET" if body is None else "POST",
            headers=sent | dict(headers or {}),
        )
        scope["query_string"] = parts.query.encode()
        scope["scheme"] = self.seen_scheme
        answer = Answer()

        async def receive() -> Message:
            return {"type": "http.request", "body": json.dumps(body).encode()}

        async def send(message: Message) -> None:
            answer.messages.append(message)

        asyncio.run(self._call(site, scope, receive, send))
        self.jar.take(answer.all("set-cookie"), host=parts.netloc, now=self.now)
        return answer

    async def _call(self, site: Site, *call: Any) -> None:
        await site.app(*call)

    def choose(self, origin: str, content: Mapping[str, object], **headers: str) -> None:
        answer = self.ask(f"{origin}/_consent/choice", body=content, headers=headers)
        assert answer.status == 200

    def go(self, url: str, *, steps: int = 9) -> str:
        """Follow a link; return where it leads."""
        self.trail = [url]
        for _ in range(steps):
            answer = self.ask(self.trail[-1])
            location = answer.header("location")
            if answer.status != 303 or location is None:
                break
            if location.startswith("/"):
                location = "/".join(self.trail[-1].split("/")[:3]) + location
            self.trail.append(location)
        return self.trail[-1]

    def link(self, origin: str, to: str) -> str:
        """Return the address to which the script changes a link."""
        return f"{origin}/_consent/group/go?to={quote(to, safe='')}"

    def allowed(self, origin: str) -> set[Category]:
        body = self.ask(f"{origin}/").body
        return {category for category in OPTIONAL if f"{category}.example".encode() in body}


@pytest.fixture
def browser() -> Browser:
    """A browser without a cookie, and three sites."""
    return Browser(Site(A), Site(B), Site(C))


def test_a_visitor_who_follows_a_link_is_not_asked_again(browser: Browser) -> None:
    """The other site does what was said on the first; the address that is left is the one of the link."""
    browser.choose(A, {"action": "save", "performance": True})
    browser.now += 100
    assert browser.go(browser.link(A, f"{B}/x?y=1&z=2#part")) == f"{B}/x?y=1&z=2#part"
    assert [urlsplit(url).path for url in browser.trail] == [
        "/_consent/group/go", "/_consent/group/ask", "/_consent/group/give", "/_consent/group/take", "/x"
    ]  # fmt: skip
    assert browser.allowed(B) == {P}
    assert b'class="consent-banner"' not in browser.ask(f"{B}/").body
    # And from there to the next.
    browser.go(browser.link(B, C))
    assert browser.allowed(C) == {P}
    # Who comes again is led on at once.
    browser.go(browser.link(A, f"{B}/x"))
    assert len(browser.trail) == 3


def test_its_receipt_says_where_from_to_who_knows_that_one(browser: Browser) -> None:
    """No pseudonym goes along, nor the other receipt's id: this one's follows from it."""
    browser.choose(A, {"action": "accept"})
    browser.now += 100
    browser.go(browser.link(A, B))
    (given,), (taken,) = (browser.sites[origin].store.receipts for origin in (A, B))
    assert (taken.collection_method, taken.outcome, taken.shown_hash) == (
        CollectionMethod.GROUP,
        Outcome.GIVEN,
        None,
    )
    assert dict(taken.categories) == dict.fromkeys(OPTIONAL, True)
    assert (taken.previous, taken.time > given.time) == (None, True)
    assert taken.subject not in (given.subject, NOBODY)
    assert given.subject not in "".join(browser.trail)
    assert given.receipt_id not in "".join(browser.trail)
    assert taken.receipt_id == receipt_id_of(given.receipt_id, B, taken.subject)
    # The choice is as old as it is: the half year counts from when it was made.
    headers = [(b"cookie", browser.jar.sent(host="b.example", now=browser.now).encode())]
    choice, *_ = browser.sites[B].cookie.read(headers, now=browser.now, policy_version=POLICY.version)
    assert choice is not None
    assert (choice.made_at, choice.receipt_id) == (NOW, taken.receipt_id)


def test_the_last_word_counts_wherever_it_was_said(browser: Browser) -> None:
    """An older yes never goes over a newer no, nor an older no over a newer yes, whichever way the visitor goes."""
    browser.choose(A, {"action": "accept"})
    browser.now += 10
    browser.choose(B, {"action": "refuse"})
    browser.go(browser.link(A, B))
    assert browser.allowed(B) == set()
    browser.go(browser.link(B, A))
    assert browser.allowed(A) == set()
    assert browser.sites[A].store.receipts[-1].outcome is Outcome.WITHDRAWN
    assert browser.sites[A].store.receipts[-1].previous == browser.sites[A].store.receipts[0].receipt_id
    browser.now += 10
    browser.choose(A, {"action": "save", "functional": True})
    browser.go(browser.link(A, B))
    assert browser.allowed(B) == {F}


def test_an_answer_that_cannot_be_read_may_be_the_last_word(browser: Browser) -> None:
    """Nothing goes over it but what the visitor says there."""
    browser.choose(A, {"action": "accept"})
    browser.jar.take(["consent=x; Max-Age=9"], host="b.example", now=NOW)
    browser.go(browser.link(A, B))
    assert len(browser.trail) == 3
    assert browser.allowed(B) == set()
    browser.jar.take(["consent=x; Max-Age=0"], host="b.example", now=NOW)
    _, address = token_for(browser)
    browser.jar.take(["consent=x; Max-Age=9"], host="b.example", now=NOW)
    browser.go(address)
    assert browser.allowed(B) == set()


def test_a_crawler_takes_nothing_over(browser: Browser) -> None:
    """It is nobody who consents, and there is no receipt of it."""
    browser.choose(A, {"action": "accept"})
    _, address = token_for(browser)
    answer = browser.ask(address, headers={"user-agent": "Mozilla/5.0 (compatible; Googlebot/2.1)"})
    assert [line.partition("=")[0] for line in answer.all("set-cookie")] == ["__Host-consent_group"]
    assert browser.sites[B].store.receipts == []


def test_a_signal_goes_before_what_was_handed_over(browser: Browser) -> None:
    """What the visitor was told of it was told on the other site."""
    yes = {"action": "save", "performance": True, "targeting": True, "told": ["gpc"]}
    browser.choose(A, yes, **{"sec-gpc": "1"})
    browser.go(browser.link(A, B))
    body = browser.ask(f"{B}/", headers={"sec-gpc": "1"}).body
    assert (b"performance.example" in body, b"targeting.example" in body) == (True, False)


def test_what_a_signal_took_back_stays_taken_back(browser: Browser) -> None:
    """When it was taken back stands nowhere, so no yes of another site is known to be later than that."""
    browser.choose(B, {"action": "accept"})
    browser.now += 10
    browser.choose(A, {"action": "save", "functional": True, "targeting": True})
    browser.now += 10
    browser.ask(f"{B}/", headers={"sec-gpc": "1"})
    assert browser.sites[B].store.receipts[-1].collection_method is CollectionMethod.SIGNAL
    assert browser.allowed(B) == {P, F}
    browser.go(browser.link(A, B))
    assert browser.allowed(B) == {F}
    assert browser.sites[B].store.receipts[-1].categories[T] is False
    # What the visitor says there goes before it.
    browser.choose(B, {"action": "accept"})
    assert browser.allowed(B) == set(OPTIONAL)


def token_for(someone: Browser) -> tuple[str, str]:
    """A token that another browser got for its own choice, with the address in which it stands."""
    someone.go(someone.link(A, B), steps=3)
    return parse_qs(urlsplit(someone.trail[-1]).query)["token"][0], someone.trail[-1]


def test_nobody_can_give_another_browser_a_choice_of_their_own(browser: Browser) -> None:
    """A link with somebody's genuine token does nothing: neither to who has no secret, nor to who has another."""
    other = Browser(*browser.sites.values())
    other.choose(A, {"action": "accept"})
    _, address = token_for(other)
    assert browser.go(address) == f"{B}/"
    assert browser.allowed(B) == set()
    assert b'class="consent-banner"' in browser.ask(f"{B}/").body
    # The visitor has a secret, too: has begun to come from a site on which they have chosen.
    browser.choose(A, {"action": "refuse"})
    browser.go(browser.link(A, B), steps=2)
    assert "consent_group=" in browser.jar.sent(host="b.example", now=browser.now)
    browser.go(address)
    assert browser.allowed(B) == set()
    assert browser.sites[B].store.receipts == []
    # For its own browser it is good.
    other.go(address)
    assert other.allowed(B) == set(OPTIONAL)


def test_a_token_counts_once_and_for_a_minute(browser: Browser) -> None:
    """The secret that it is bound to ends with it. Taken again, an older yes does nothing against a newer no."""
    browser.choose(A, {"action": "accept"})
    _, address = token_for(browser)
    browser.now += TOKEN_SECONDS
    browser.go(address)
    assert browser.allowed(B) == set()
    browser.now += GROUP_COOKIE_SECONDS
    _, address = token_for(browser)
    secret = re.search("(__Host-)?consent_group=([^;]+)", browser.jar.sent(host="b.example", now=browser.now))
    assert secret is not None
    browser.go(address)
    assert browser.allowed(B) == set(OPTIONAL)
    browser.now += 10
    browser.choose(B, {"action": "withdraw"})
    browser.go(address)
    browser.jar.take([f"{secret[0]}; Max-Age=60"], host="b.example", now=browser.now)
    browser.go(address)
    assert browser.allowed(B) == set()


@pytest.mark.parametrize("seen_scheme", ["http", "https"])
def test_the_secret_is_of_the_host_alone(browser: Browser, seen_scheme: str) -> None:
    """Over HTTPS by its name; another host of its domain that sets one beside it makes both worthless."""
    browser.seen_scheme = seen_scheme
    browser.choose(A, {"action": "accept"})
    browser.go(browser.link(A, B), steps=2)
    sent = browser.jar.sent(host="b.example", now=browser.now)
    assert re.fullmatch(r"__Host-consent_group=[A-Za-z0-9_-]{22}", sent)
    browser.jar.take(
        ["__Host-consent_group=" + "x" * 22 + "; Max-Age=9; Domain=example"], host="b.example", now=NOW
    )
    browser.go(browser.trail[-1])
    assert browser.allowed(B) == set()


@pytest.mark.parametrize(
    ("language", "said"),
    [("en", ("Your answer counts on a.example", "2 minutes")), ("de", ("a.example", "2 Minuten"))],
)
def test_the_cookie_of_a_hand_over_is_declared(language: str, said: Sequence[str]) -> None:
    """Among those that keep the answer, in the visitor's language; where there is a group, and nowhere else."""
    declared = str(Banner(replace(POLICY, language=language)).declaration())
    (entry,) = re.findall(r"__Host-consent_group.*?</tr>", declared)
    for words in said:
        assert words in entry
    assert "consent_group" not in str(Banner(Policy(language=language)).declaration())


@pytest.mark.parametrize("other", [replace(POLICY, controller="Other"), replace(POLICY, group=(A, B))])
def test_it_counts_for_the_same_purposes_alone(other: Policy) -> None:
    """A site with another version of the policy asks for itself; so does one that has another key."""
    browser = Browser(Site(A), Site(B, other), Site(C, key=b"z" * 32))
    browser.choose(A, {"action": "accept"})
    for origin in (B, C):
        assert browser.go(browser.link(A, f"{origin}/x")) == f"{origin}/x"
        assert browser.allowed(origin) == set()
        assert browser.sites[origin].store.receipts == []
        assert b'class="consent-banner"' in browser.ask(f"{origin}/").body


@pytest.mark.parametrize("regime", Regime)
def test_what_cannot_be_recorded_is_not_granted(regime: Regime) -> None:
    """Its refusals hold: where silence is a yes, all else is refused, too, until it is recorded."""
    policy = replace(POLICY, regime=regime)
    browser = Browser(Site(A, policy), Site(B, policy))
    browser.choose(A, {"action": "save", "performance": True})
    browser.sites[B].store.failure = StoreFull("full")
    browser.go(browser.link(A, B))
    assert browser.allowed(B) == set()
    asks = b'class="consent-banner"' in browser.ask(f"{B}/").body
    assert asks is (regime is Regime.OPT_IN)
    browser.sites[B].store.failure = None
    browser.choose(B, {"action": "accept"})
    browser.now += 10
    browser.choose(A, {"action": "save", "functional": True, "targeting": True})
    browser.sites[B].store.failure = StoreFull("full")
    browser.go(browser.link(A, B))
    assert browser.allowed(B) == {F, T}  # as the receipt there proves
    headers = [(b"cookie", browser.jar.sent(host="b.example", now=browser.now).encode())]
    choice, *_ = browser.sites[B].cookie.read(headers, now=browser.now, policy_version=policy.version)
    (proof,) = browser.sites[B].store.receipts
    assert choice is not None
    assert (choice.receipt_id, choice.made_at) == (proof.receipt_id, NOW)
    # So the next link tries again.
    browser.sites[B].store.failure = None
    browser.go(browser.link(A, B))
    assert browser.sites[B].store.receipts[-1].previous == proof.receipt_id


@pytest.mark.parametrize("regime", Regime)
@pytest.mark.parametrize("action", ["save", "refuse"])
def test_what_could_not_be_recorded_is_tried_again_with_the_next_link(regime: Regime, action: str) -> None:
    """Also where its refusals were stored without a receipt. Then there is one, and it is over."""
    policy = replace(POLICY, regime=regime)
    browser = Browser(Site(A, policy), Site(B, policy))
    said = {"performance": True} if action == "save" else {}
    browser.choose(A, {"action": action, **said})
    browser.now += 10
    browser.sites[B].store.failure = StoreFull("full")
    for _ in range(2):
        browser.go(browser.link(A, B))
        assert browser.allowed(B) == set()
    browser.sites[B].store.failure = None
    browser.go(browser.link(A, B))
    granted = {P} if action == "save" else set()
    assert browser.allowed(B) == granted
    (receipt,) = browser.sites[B].store.receipts
    assert ({c for c, yes in receipt.categories.items() if yes}, receipt.previous) == (granted, None)
    browser.go(browser.link(A, B))
    assert len(browser.sites[B].store.receipts) == 1


def test_whatever_is_wrong_with_the_store_the_link_leads_on(browser: Browser) -> None:
    """Also what no store should raise: who follows a link does not end on an error."""
    browser.choose(A, {"action": "accept"})
    browser.sites[B].store.failure = RuntimeError("the driver is broken")
    assert browser.go(browser.link(A, f"{B}/x")) == f"{B}/x"
    assert browser.allowed(B) == set()


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("go?to=https://evil.example/", 400),
        ("go?to=//evil.example/", 400),
        ("go?to=javascript:alert(1)", 400),
        ("go?to=https://b.example@evil.example/", 400),
        ("go?to=https://b.example.evil.example/", 400),
        ("go?", 400),
        ("ask?site=https://evil.example&at=1", 400),
        ("ask?site=https://a.example&at=1", 400),
        ("ask?site=https://b.example&at=-1", 400),
        ("ask?site=https://b.example&at=1e9", 400),
        ("ask?site=https://b.example", 400),
        ("give?site=https://evil.example&binding=" + BINDING, 400),
        ("give?site=https://b.example&binding=x", 400),
        ("take?site=https://evil.example&token=x", 400),
        ("take?site=https://b.example&token=x", 303),
        ("nowhere", 404),
        ("", 404),
    ],
)
def test_it_leads_to_no_other_place(browser: Browser, path: str, status: int) -> None:
    """Nor to an address of ours, nor past a slash."""
    browser.choose(A, {"action": "accept"})
    for return_to in (
        "//evil.example",
        "/\\evil.example",
        "https://evil.example",
        "/_consent/group/go",
        "/\n",
    ):
        answer = browser.ask(f"{A}/_consent/group/{path}&return_to={return_to}")
        assert answer.status == status
        assert answer.header("location") == ("/" if status == 303 else None)


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-dest": "iframe"},
        {"sec-fetch-dest": "image"},
        {"sec-fetch-mode": "no-cors"},
        {"sec-purpose": "prefetch;prerender"},
    ],
)
@pytest.mark.parametrize("step", ["go", "ask", "give", "take"])
def test_only_who_goes_to_a_page_is_led_on(browser: Browser, headers: Mapping[str, str], step: str) -> None:
    browser.choose(A, {"action": "accept"})
    asked = f"{A}/_consent/group/{step}?to={B}/&site={B}&at=1&binding={BINDING}&token=x"
    assert browser.ask(asked).status == 303
    answer = browser.ask(asked, headers=headers)
    assert (answer.status, answer.all("set-cookie")) == (403, [])


def test_nothing_of_it_is_kept_or_told_to_others(browser: Browser) -> None:
    browser.choose(A, {"action": "accept"})
    url = browser.link(A, f"{B}/x")
    for _ in range(4):
        answer = browser.ask(url)
        assert answer.header("cache-control") == "no-store"
        assert answer.header("referrer-policy") == "no-referrer"
        url = answer.header("location") or ""


def test_where_an_address_would_be_too_long_the_link_leads_straight_on(browser: Browser) -> None:
    """Of a longer one the end would not be read, and the visitor be at another page than the link says."""
    refused = {f"vendor-{number:03}-{'x' * 40}": False for number in range(50)}
    many = replace(CHOICE, vendors=refused)
    line = browser.sites[A].cookie.header(many, secure=True, now=NOW).decode()
    browser.jar.take([line], host="a.example", now=NOW)
    page = f"{B}/" + "y" * 900
    assert browser.go(browser.link(A, page)) == page
    assert [urlsplit(url).path[-4:] for url in browser.trail] == ["p/go", "/ask", "give", "yyyy"]
    page = f"{B}/?" + "%25D0" * 400
    assert browser.go(browser.link(A, page)) == page


def test_a_site_without_a_group_knows_nothing_of_it() -> None:
    plain = Policy(language="en")
    app = VisitorEndpoints(plain, CATALOG, Banner(plain), ChoiceCookie([KEY]), Recorder())
    site = Site(A)
    site.app = app  # type: ignore[assignment]
    assert Browser(site).ask(f"{A}/_consent/group/go?to={B}").status == 404


def test_who_was_forgotten_takes_nothing_along(browser: Browser) -> None:
    """What is kept is a no that names nobody, of the site where they asked for that. They can begin anew."""
    forgotten = nobodys_refusal(policy_version=POLICY.version, now=NOW)
    for origin in (A, B):
        line = browser.sites[origin].cookie.header(forgotten, secure=True, now=NOW).decode()
        browser.jar.take([line], host=origin.removeprefix("https://"), now=NOW)
    assert browser.go(browser.link(A, C)) == f"{C}/"
    assert len(browser.trail) == 2
    browser.now += 10
    browser.choose(C, {"action": "accept"})
    browser.go(browser.link(C, B))
    assert browser.allowed(B) == set(OPTIONAL)
    (receipt,) = browser.sites[B].store.receipts
    assert (receipt.subject != NOBODY, receipt.previous) == (True, None)


# ---- the token


def test_a_token_opens_for_what_it_was_sealed_for_alone() -> None:
    """The pseudonym does not go along, nor what was told on the other site."""
    token = TOKENS.seal(CHOICE, giver=A, taker=B, binding=BINDING, now=NOW, random=b"r" * 12)
    expected = replace(CHOICE, subject=NOBODY, told=frozenset())
    for_b: dict[str, Any] = {"giver": A, "taker": B, "binding": BINDING, "now": NOW}
    assert TOKENS.open(token, **for_b) == expected
    assert TOKENS.open(token, **(for_b | {"now": NOW + TOKEN_SECONDS - 1})) == expected
    assert GroupTokens([b"n" * 32, KEY]).open(token, **for_b) == expected
    for change in (
        {"giver": C},
        {"taker": C},
        {"giver": B, "taker": A},
        {"binding": "c" * 43},
        {"now": NOW + TOKEN_SECONDS},
        {"now": NOW - 3600},
    ):
        assert TOKENS.open(token, **(for_b | change)) is None, change
    assert GroupTokens([b"n" * 32]).open(token, **for_b) is None
    for position in range(0, len(token) - 1, 7):
        changed = "A" if token[position] != "A" else "B"
        assert TOKENS.open(token[:position] + changed + token[position + 1 :], **for_b) is None
    for wrong in (
        "",
        "x",
        "a" * 40,
        token[:-4],
        token + "AAAA",
        token + "=",
        "é",
        "a" * (MAX_TOKEN_CHARACTERS + 1),
    ):
        assert TOKENS.open(wrong, **for_b) is None
