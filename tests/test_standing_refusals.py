"""A stored no is never turned into a yes: whatever happens to the site, its store, its keys, its clock, its policy."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from starlette.types import Message

from consent.banner import Banner
from consent.catalog import Catalog
from consent.categories import OPTIONAL, Category
from consent.choice_cookie import RENEWAL_DAYS, ChoiceCookie
from consent.choice_form import UnwritableChoiceError
from consent.errors import StoreFull
from consent.group_token import GroupTokens
from consent.middleware import EnforcingMiddleware
from consent.policy import CacheMode, Policy, Regime
from consent.transitions import Transitions
from consent.visitor import VisitorEndpoints
from tests.exchange import NOW, Answer, answering, ask, scope_for, vendor
from tests.jar import Jar
from tests.test_history import Forgetful

DAY = 86_400
P, F, T = OPTIONAL
CATALOG = Catalog([vendor(category, category, f"{category}.example") for category in OPTIONAL])
PAGE = "".join(f'<script src="https://{category}.example/t.js"></script>' for category in OPTIONAL).encode()
HOSTS = ["example.com", "shop.example.com"]
ORIGINS = tuple(f"https://{host}" for host in HOSTS)
POLICIES = [
    Policy(language="en", regime=regime, controller=controller, group=ORIGINS)
    for regime in Regime
    for controller in ("One", "Two")
]
BANNERS = {policy.version: Banner(policy) for policy in POLICIES}
CLOCK_SET_BACK = -2 * DAY


def allowed_in(answer: Answer) -> frozenset[Category]:
    return frozenset(category for category in OPTIONAL if f"{category}.example".encode() in answer.body)


class Browser:
    """One browser's cookie jar, and the site as it is set up at the moment."""

    def __init__(self) -> None:
        self.now = NOW
        self.store = Forgetful()
        self.policy = POLICIES[0]
        self.keys = [b"0" * 32]
        self.domain = ""
        self.host = HOSTS[0]
        self.jar = Jar()
        self.apps: dict[Any, EnforcingMiddleware] = {}

    @property
    def app(self) -> EnforcingMiddleware:
        key = self.policy.version, self.domain, *self.keys
        if key not in self.apps:
            cookie = ChoiceCookie(self.keys, max_age_days=self.policy.choice_days, domain=self.domain)
            banner = BANNERS[self.policy.version]
            endpoints = VisitorEndpoints(
                self.policy,
                CATALOG,
                banner,
                cookie,
                self.store,
                group=GroupTokens(self.keys),
                clock=lambda: self.now,
            )
            self.apps[key] = EnforcingMiddleware(
                answering(PAGE),
                endpoints=endpoints,
                policy=self.policy,
                catalog=CATALOG,
                cookie=cookie,
                banner=banner,
                keep=Transitions(
                    self.policy, CATALOG, cookie, self.store, language="en", clock=lambda: self.now
                ).keep,
                clock=lambda: self.now,
            )
        return self.apps[key]

    @property
    def cookie(self) -> str:
        return self.jar.sent(host=self.host, now=self.now)

    def headers(self, signals: Mapping[str, str]) -> dict[str, str]:
        return {"host": self.host, **signals, **({"cookie": self.cookie} if self.cookie else {})}

    def take(self, answer: Answer, host: str = "") -> bool:
        """Keep the cookies that an answer sets; tell whether a choice is among them."""
        lines = answer.all("set-cookie")
        self.jar.take(lines, host=host or self.host, now=self.now)
        return any(re.match(r"consent=[^;]", line) for line in lines)

    def ask(self, signals: Mapping[str, str]) -> Answer:
        return ask(self.app, headers=self.headers(signals))

    def visit(self, **signals: str) -> frozenset[Category]:
        """Return the categories whose tracker is in the page."""
        answer = self.ask(signals)
        self.take(answer)
        return allowed_in(answer)

    def follow(self, address: str) -> None:
        """Follow a link of the host that the browser is on, to the end."""
        for _ in range(9):
            path, _, query = address.removeprefix(f"https://{self.host}").partition("?")
            answer = ask(self.app, path, headers=self.headers({}), query=query)
            self.take(answer)
            if (location := answer.header("location")) is None:
                return
            if location.startswith("https://"):
                self.host = location.split("/")[2]
            address = location

    def choose(self, content: Mapping[str, object], signals: Mapping[str, str]) -> tuple[bool, bool]:
        """Send a choice; tell whether it was taken, and whether the answer stored anything."""
        answer = self.post("choice", "application/json", json.dumps(content).encode(), signals)
        assert answer.status in (200, 503)
        return answer.status == 200, self.take(answer)

    def forget(self) -> bool:
        """Ask to be forgotten; tell whether the answer stored anything."""
        answer = self.post("forget", "application/x-www-form-urlencoded", b"return_to=/", {})
        assert answer.status in (200, 404, 503)
        stored = self.take(answer)
        assert stored is (answer.status == 200)
        return stored

    def post(
        self, name: str, kind: str, body: bytes, signals: Mapping[str, str], *, scheme: str = "https"
    ) -> Answer:
        answer = Answer()
        others = {"sec-fetch-site": "same-origin", "content-type": kind}
        headers = self.headers({**signals, **others})
        scope = scope_for(f"/_consent/{name}", method="POST", headers=headers, scheme=scheme)

        async def receive() -> Message:
            return {"type": "http.request", "body": body}

        async def send(message: Message) -> None:
            answer.messages.append(message)

        asyncio.run(self._call(scope, receive, send))
        return answer

    async def _call(self, *call: Any) -> None:
        await self.app(*call)


class Pages(RuleBasedStateMachine):
    """Choices, browser signals that come and go, and pages that arrive when they like: in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.browser = Browser()
        self.no: dict[str, frozenset[Category]] = dict.fromkeys(HOSTS, frozenset())
        """What the visitor has said no to on each host, and nothing else since."""
        self.said: dict[str, float] = dict.fromkeys(HOSTS, 0)
        """When the last word was said there."""
        self.unread: frozenset[str] = frozenset()
        """The hosts whose cookies nobody can read any more, nor set anew: browsers let go of them after 400 days."""
        self.late: list[tuple[str, int, Answer, frozenset[Category]]] = []
        """Pages that are under way: the host, its answers so far, and what a signal takes back."""
        self.words: dict[str, int] = dict.fromkeys(HOSTS, 0)
        """How many answers each host has had: what a signal took back is refused until the next one."""

    @property
    def refused(self) -> frozenset[Category]:
        return self.no[self.browser.host]

    @rule(
        action=st.sampled_from(["accept", "refuse", "save", "withdraw"]),
        on=st.frozensets(st.sampled_from(OPTIONAL)),
        gpc=st.booleans(),
        told=st.booleans(),
    )
    def choose(self, action: str, on: frozenset[Category], gpc: bool, told: bool) -> None:
        content: dict[str, object] = {"action": action}
        if action == "save":
            content |= dict.fromkeys(on, True)
        if told:
            content["told"] = ["gpc"]
        taken, stored = self.browser.choose(content, {"sec-gpc": "1"} if gpc else {})
        granted = on if action == "save" else frozenset(OPTIONAL) if action == "accept" else frozenset()
        if gpc and action == "accept":
            granted -= self.browser.policy.gpc_refuses
        for host in HOSTS:
            # Where the cookie is for the domain, a no counts on all its hosts. So does a yes, but where a no was said
            # before by somebody who was not known for the same visitor: there it may still stand.
            if stored and (self.browser.domain or host == self.browser.host):
                self.no[host] -= granted if taken else frozenset()
                self.no[host] |= frozenset(OPTIONAL) - granted
                self._answered(host)

    def _answered(self, host: str) -> None:
        self.unread -= {host}
        self.said[host] = self.browser.now
        self.words[host] += 1

    @rule(gpc=st.booleans(), dnt=st.booleans())
    def a_page_is_slow(self, gpc: bool, dnt: bool) -> None:
        self.late.append(self._asked_for(gpc, dnt))

    def _asked_for(self, gpc: bool, dnt: bool) -> tuple[str, int, Answer, frozenset[Category]]:
        """Ask for a page; what a signal takes back is refused, once the page has arrived."""
        before = allowed_in(self.browser.ask({}))
        signals = {"sec-gpc": "1"} if gpc else {}
        page = self.browser.ask({**signals, **({"dnt": "1"} if dnt else {})})
        is_kept = any(line.startswith("consent_taken") for line in page.all("set-cookie"))
        host = self.browser.host
        return host, self.words[host], page, before - allowed_in(page) if is_kept else frozenset()

    def _arrives(self, host: str, words: int, page: Answer, taken: frozenset[Category]) -> None:
        self.browser.take(page, host)
        if words == self.words[host]:
            self.no[host] |= taken

    @rule(first=st.booleans())
    def a_slow_page_arrives(self, first: bool) -> None:
        if self.late:
            self._arrives(*self.late.pop(0 if first else -1))

    @rule(gpc=st.booleans(), dnt=st.booleans())
    def visit(self, gpc: bool, dnt: bool) -> None:
        asked = self._asked_for(gpc, dnt)
        assert not allowed_in(asked[2]) & self.refused
        self._arrives(*asked)

    @invariant()
    def no_page_has_what_was_refused(self) -> None:
        assert not self.browser.visit() & self.refused

    @rule()
    def an_older_server(self) -> None:
        """One of several that does not know yet the key that another one signs with."""
        self.unread |= frozenset(HOSTS if self.browser.keys[1:] else ())
        self.browser.keys = self.browser.keys[-1:]

    @rule()
    def a_newer_server(self) -> None:
        first = self.browser.keys[-1]
        self.browser.keys = [bytes([first[0] + 1]) * 32, first]


class Site(Pages):
    """And whatever else can happen between a no and the next page."""

    @rule()
    def forget(self) -> None:
        if self.browser.forget():
            for host in HOSTS:
                if self.browser.domain or host == self.browser.host:
                    self.no[host] = frozenset(OPTIONAL)
                    self._answered(host)

    @rule(days=st.sampled_from([1, 90, 179, 180, 199]))
    def time_passes(self, days: int) -> None:
        """The visitor looks in at least every half year: what no browser was there to keep, nobody can know."""
        self.browser.now += days * DAY
        for host in HOSTS:
            self.browser.host = host
            if host in self.unread and not self.browser.cookie:
                self.no[host] = frozenset()
            self.visit(gpc=False, dnt=False)

    @rule()
    def a_link_to_the_other_site(self) -> None:
        """A choice goes along where it is the later one, by the clocks; it may be a yes, of the visitor's own."""
        before = self.browser.host
        (other,) = {*HOSTS} - {before}
        if self.said[before] > self.said[other]:
            # Whether what it refuses has arrived is for other tests to say.
            self.no[other] &= self.no[before]
            self.words[other] += 1
        self.browser.follow(f"https://{before}/_consent/group/go?to=https://{other}/")
        assert self.browser.host == other

    @rule(host=st.sampled_from(HOSTS))
    def another_host(self, host: str) -> None:
        self.browser.host = host

    @rule(domain=st.sampled_from(["", "example.com"]))
    def another_domain(self, domain: str) -> None:
        """The site begins to store choices for its domain, or no longer does."""
        self.browser.domain = domain

    @rule()
    def the_clock_is_set_back(self) -> None:
        self.browser.now += CLOCK_SET_BACK

    @rule(policy=st.sampled_from(POLICIES))
    def another_policy(self, policy: Policy) -> None:
        self.browser.policy = policy

    @rule(down=st.booleans())
    def an_outage(self, down: bool) -> None:
        self.browser.store.failure = self.browser.store.erasing = StoreFull("full") if down else None

    @rule(lost=st.booleans())
    def another_key(self, lost: bool) -> None:
        self.unread |= frozenset(HOSTS if lost else ())
        keys = self.browser.keys
        self.browser.keys = [bytes([keys[0][0] + 1]) * 32, *([] if lost else keys[:1])]


for machine in (Pages, Site):
    machine.TestCase.settings = settings(
        max_examples=40,
        stateful_step_count=25,
        deadline=None,
        # Each step takes a while: a failure that is not made shorter is told within the time that a test has.
        phases=(Phase.explicit, Phase.reuse, Phase.generate),
        suppress_health_check=list(HealthCheck),
    )
TestPagesUnderSignals = pytest.mark.timeout(60)(Pages.TestCase)
TestAStoredNo = pytest.mark.timeout(60)(Site.TestCase)


@pytest.mark.parametrize("regime", Regime)
def test_a_refusal_outlives_what_is_granted_beside_it(regime: Regime) -> None:
    """And browsers' limit for cookies: it is set anew after the 200th day, alone. A grant is over after 180."""
    browser = Browser()
    browser.policy = POLICIES[list(Regime).index(regime) * 2]
    assert browser.choose({"action": "save", "performance": True}, {}) == (True, True)
    cookie = browser.cookie
    assert browser.visit() == {P}
    silence = frozenset() if regime is Regime.OPT_IN else {P}
    for day, renewed in ((179, False), (180, False), (199, False), (200, True), (399, True), (598, True)):
        browser.now = NOW + day * DAY
        assert browser.visit() == ({P} if day < 180 else silence)
        assert (browser.cookie != cookie) is renewed
        silence = frozenset() if renewed else silence
    browser.now += 400 * DAY
    assert browser.visit() == (frozenset() if regime is Regime.OPT_IN else frozenset(OPTIONAL))


@pytest.mark.parametrize("regime", Regime)
def test_a_page_that_arrives_after_a_withdrawal_gives_nothing_back(regime: Regime) -> None:
    """It was asked for before, with the older choice, which its cookie is to keep in the browser."""
    browser = Browser()
    browser.policy = POLICIES[list(Regime).index(regime) * 2]
    browser.choose({"action": "save", "performance": True}, {})
    browser.now += RENEWAL_DAYS * DAY
    late = ask(browser.app, headers=browser.headers({}))
    assert browser.choose({"action": "withdraw"}, {}) == (True, True)
    assert browser.take(late)
    assert browser.visit() == frozenset()


@pytest.mark.parametrize("regime", Regime)
def test_a_page_with_a_signal_that_arrives_late_gives_nothing_back(regime: Regime) -> None:
    """What a signal took back is stored beside the choice, and beside another one it says nothing."""
    browser = Browser()
    browser.policy = POLICIES[list(Regime).index(regime) * 2]
    browser.choose({"action": "accept"}, {})
    late = browser.ask({"sec-gpc": "1"})
    assert browser.choose({"action": "save", "functional": True}, {"dnt": "1"}) == (True, True)
    browser.take(late)
    assert browser.visit() == {F}


@pytest.mark.parametrize("regime", Regime)
@pytest.mark.parametrize("last", [0, 1])
def test_what_one_signal_took_back_stays_where_another_ones_page_arrives_later(
    regime: Regime, last: int
) -> None:
    """One is turned off and the other on while a page with the first is under way."""
    browser = Browser()
    browser.policy = POLICIES[list(Regime).index(regime) * 2]
    browser.choose({"action": "accept"}, {})
    pages = [browser.ask({"sec-gpc": "1"}), browser.ask({"dnt": "1"})]
    for page in (pages[1 - last], pages[last]):
        browser.take(page)
    refused = {T} | browser.policy.dnt_refuses
    assert browser.visit() == frozenset(OPTIONAL) - refused
    assert len(browser.store.receipts) == 3


def test_a_signals_page_of_an_earlier_choice_does_not_replace_what_was_taken_of_this_one() -> None:
    browser = Browser()
    browser.choose({"action": "accept"}, {})
    late = browser.ask({"sec-gpc": "1"})
    browser.choose({"action": "accept"}, {})
    browser.visit(**{"sec-gpc": "1"})
    browser.take(late)
    assert browser.visit() == {P, F}


@pytest.mark.parametrize("regime", Regime)
def test_a_server_that_does_not_know_the_newest_key_gives_nothing_back(regime: Regime) -> None:
    """Several are restarted with it one after another, and pages come now from one and now from another."""
    browser = Browser()
    browser.policy = POLICIES[list(Regime).index(regime) * 2]
    older, newer = browser.keys, [b"1" * 32, *browser.keys]
    browser.choose({"action": "accept"}, {})
    browser.keys = newer
    browser.visit(**{"sec-gpc": "1"})
    assert browser.visit() == {P, F}
    browser.keys = older
    assert browser.visit() == frozenset()
    # What the visitor says there goes before it, and counts with the newer key, too.
    browser.choose({"action": "accept"}, {})
    for keys in (older, newer):
        browser.keys = keys
        assert browser.visit() == frozenset(OPTIONAL)


def test_what_was_taken_back_of_a_choice_that_fills_its_cookie_is_stored() -> None:
    """There is no room then for all that was left of it."""
    browser = Browser()
    browser.choose({"action": "accept"}, {})
    cookie = ChoiceCookie(browser.keys)
    made, *_ = cookie.read(
        [(b"cookie", browser.cookie.encode())], now=NOW, policy_version=browser.policy.version
    )
    assert made is not None
    lines: list[bytes] = []
    for length in range(1, 65):
        vendors = dict.fromkeys([*(f"{number:0>63}" for number in range(43)), "v" * length], False)
        try:
            lines = [cookie.header(replace(made, vendors=vendors), secure=True, now=NOW)]
        except UnwritableChoiceError:
            break
    browser.jar.take([line.decode() for line in lines], now=NOW)
    assert browser.visit() == {P, F, T}
    browser.visit(**{"sec-gpc": "1"})
    assert T not in browser.visit()


def test_what_may_have_been_a_no_is_none_in_a_yes_site() -> None:
    """An answer that cannot be read, after keys were lost, refuses everything where silence allows."""
    browser = Browser()
    browser.policy = POLICIES[2]
    browser.choose({"action": "accept"}, {})
    assert browser.visit() == frozenset(OPTIONAL)
    browser.keys = [b"9" * 32]
    assert browser.visit() == frozenset()
    browser.choose({"action": "accept"}, {})
    assert browser.visit() == frozenset(OPTIONAL)


def test_a_cookie_is_set_anew_only_with_what_is_one_visitors() -> None:
    """A file that everybody may keep sets none."""
    browser = Browser()
    browser.choose({"action": "refuse"}, {})
    browser.now += (RENEWAL_DAYS + 1) * DAY
    public = answering(b"x", headers=[(b"content-type", b"image/png"), (b"cache-control", b"public")])
    app = replace_app(browser, public)
    assert ask(app, headers=browser.headers({})).all("set-cookie") == []
    private = answering(b"x", headers=[(b"content-type", b"image/png"), (b"cache-control", b"private")])
    assert len(ask(replace_app(browser, private), headers=browser.headers({})).all("set-cookie")) == 1


def test_where_all_get_one_page_nothing_is_set_with_it() -> None:
    """With what is private both cookies are: the readable one says on, too, that it has expired."""
    browser = Browser()
    browser.choose({"action": "refuse"}, {})
    browser.now += (RENEWAL_DAYS + 1) * DAY
    policy = replace(browser.policy, cache=CacheMode.UNIFORM)
    headers = browser.headers({})
    assert ask(replace_app(browser, answering(PAGE), policy=policy), headers=headers).all("set-cookie") == []
    private = answering(b"x", headers=[(b"content-type", b"image/png"), (b"cache-control", b"private")])
    signed, readable = ask(replace_app(browser, private, policy=policy), headers=headers).all("set-cookie")
    assert signed.partition(";")[0] == headers["cookie"].partition("; ")[0]
    # No small letter: nothing is granted. What a browser says by itself, no vendor is excepted from.
    until = f".{NOW + 180 * DAY}000.PFT.PF.F.F.; Max-Age={400 * DAY}; Path=/; SameSite=Lax; Secure"
    assert readable.endswith(until)


def replace_app(browser: Browser, app: Any, policy: Policy | None = None) -> EnforcingMiddleware:
    """Return the middleware as it is set up, around another app."""
    policy = policy or browser.policy
    return EnforcingMiddleware(
        app,
        endpoints=app,
        policy=policy,
        catalog=CATALOG,
        cookie=ChoiceCookie(browser.keys),
        banner=BANNERS[policy.version],
        clock=lambda: browser.now,
    )
