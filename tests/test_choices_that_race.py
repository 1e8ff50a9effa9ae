"""Answers that overtake each other, cookies that get lost, and pages without HTTPS: what was refused stays refused."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing
from itertools import combinations, permutations
from pathlib import Path

import httpx2
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from consent import ConsentMiddleware
from consent.categories import OPTIONAL, Category
from consent.choice_cookie import ChoiceCookie
from consent.policy import Regime
from consent.signals import ChoiceState
from tests.exchange import NOW, Answer, answering, ask
from tests.test_standing_refusals import DAY, POLICIES, Browser, allowed_in

P, F, T = OPTIONAL
ALL = frozenset(OPTIONAL)
NO: frozenset[Category] = frozenset()
REGIMES = {regime: POLICIES[number * 2] for number, regime in enumerate(Regime)}


def saving(granted: Iterable[Category], **more: object) -> bytes:
    """Return what the preferences send, with these switches on."""
    content: Mapping[str, object] = {
        "action": "save",
        **{str(category): True for category in granted},
        **more,
    }
    return json.dumps(content).encode()


class Tabs(Browser):
    """One browser with several tabs: a choice is pressed, and its answer arrives when it likes."""

    def press(self, granted: frozenset[Category], scheme: str = "https") -> Answer:
        """Send a choice; the server answers at once, and the answer is on its way."""
        answer = self.post("choice", "application/json", saving(granted), {}, scheme=scheme)
        assert answer.status == 200
        return answer

    @property
    def names(self) -> list[str]:
        return [pair.partition("=")[0] for pair in self.cookie.split("; ") if pair]


def tabs(regime: Regime = Regime.OPT_IN) -> Tabs:
    browser = Tabs()
    browser.policy = REGIMES[regime]
    return browser


@pytest.mark.parametrize("regime", Regime)
def test_a_slow_yes_does_not_go_over_a_no(regime: Regime) -> None:
    """It was pressed before the no, and arrives after it. Both have their receipt."""
    browser = tabs(regime)
    yes = browser.press(ALL)
    browser.take(browser.press(NO))
    browser.take(yes)
    assert browser.visit() == NO
    assert [dict(receipt.categories)[T] for receipt in browser.store.receipts] == [True, False]
    # Who says yes now, with the no before them, is taken at their word.
    browser.take(browser.press(ALL))
    assert browser.visit() == ALL


@pytest.mark.parametrize("regime", Regime)
@pytest.mark.parametrize("arriving", list(permutations(range(3))))
@pytest.mark.parametrize("no", range(3))
def test_one_no_among_answers_under_way_counts_whichever_arrives_last(
    regime: Regime, arriving: tuple[int, ...], no: int
) -> None:
    browser = tabs(regime)
    browser.take(browser.press(ALL))
    answers = [browser.press(NO if number == no else ALL) for number in range(3)]
    for number in arriving:
        browser.take(answers[number])
    assert browser.visit() == NO


def test_what_two_answers_refuse_is_refused_where_each_grants_what_the_other_does_not() -> None:
    for order in permutations([frozenset({P}), frozenset({P, F})]):
        browser = tabs()
        for answer in [browser.press(granted) for granted in order]:
            browser.take(answer)
        assert browser.visit() == {P}


def test_an_answer_that_is_sent_twice_is_one_answer() -> None:
    """As by two clicks: it counts, nobody is asked again, and the next one leaves nothing of either behind."""
    for granted in (ALL, frozenset({P}), NO):
        browser = tabs()
        for answer in [browser.press(granted), browser.press(granted)]:
            browser.take(answer)
        assert browser.visit() == granted
        assert b"consent-banner" not in ask(browser.app, headers=browser.headers({})).body
        browser.take(browser.press(ALL))
        assert browser.names == ["consent"]


def test_an_old_answer_that_comes_again_is_no_new_one() -> None:
    """A browser or a proxy that sends the yes a second time sends the cookies of then."""
    browser = tabs()
    browser.take(browser.press(NO))
    browser.take(browser.press(ALL))
    again = browser.press(ALL)
    browser.take(browser.press(frozenset({F})))
    browser.take(again)
    assert browser.visit() == {F}


def test_a_vendor_that_is_refused_by_itself_is_not_overheard() -> None:
    """The mark has no room for names: where the answers overtake each other, all is refused."""
    browser = tabs()
    yes = browser.press(ALL)
    no = saving(OPTIONAL, vendors={str(T): False})
    browser.take(browser.post("choice", "application/json", no, {}))
    assert browser.visit() == {P, F}
    browser.take(yes)
    assert browser.visit() == NO


@pytest.mark.parametrize("regime", Regime)
def test_what_is_refused_only_beside_the_choice_is_in_it_with_the_next_page(regime: Regime) -> None:
    """So it is refused still where the cookies beside it are lost."""
    browser = tabs(regime)
    browser.take(browser.press(ALL))
    browser.visit(**{"sec-gpc": "1"})
    browser.visit()
    browser.jar.delete(*(name for name in browser.names if name != "consent"))
    assert browser.names == ["consent"]
    assert browser.visit() == {P, F}
    yes = browser.press(ALL)
    browser.take(browser.press(frozenset({P})))
    browser.take(yes)
    browser.visit()
    browser.jar.delete(*(name for name in browser.names if name != "consent"))
    assert browser.names == ["consent"]
    assert browser.visit() == {P}


@pytest.mark.parametrize("regime", Regime)
@pytest.mark.parametrize("granted", [NO, frozenset({P})])
def test_where_the_choice_is_lost_its_mark_refuses_everything(
    regime: Regime, granted: frozenset[Category]
) -> None:
    browser = tabs(regime)
    browser.take(browser.press(granted))
    browser.jar.delete("consent")
    assert len(browser.names) == 1
    page = ask(browser.app, headers=browser.headers({}))
    assert allowed_in(page) == NO
    assert (b"consent-banner" in page.body) is (regime is Regime.OPT_IN)
    browser.take(browser.press(ALL))
    assert (browser.names, browser.visit()) == (["consent"], ALL)


@pytest.mark.parametrize("value", ["", "x", "pp", "ppppppppp", "P", "ft ", "\xff", "pft.AAAA"])
def test_a_mark_that_cannot_be_read_refuses(value: str) -> None:
    """Whoever writes one can take away, and never give."""
    browser = tabs()
    browser.take(browser.press(ALL))
    headers = {**browser.headers({}), "cookie": f"{browser.cookie}; consent_no_01234567={value}"}
    refused = {P} if value == "pp" else {F, T} if value == "ft " else ALL
    assert allowed_in(ask(browser.app, headers=headers)) == ALL - refused
    for name in (
        "consent_no",
        "consent_no_",
        "consent_no_0123456",
        "consent_no_012345678",
        "consent_no_0123456G",
    ):
        headers["cookie"] = f"{browser.cookie}; {name}={value}"
        assert allowed_in(ask(browser.app, headers=headers)) == ALL


def test_many_marks_go_with_the_next_answers_and_never_make_an_answer_too_long() -> None:
    browser = tabs()
    browser.jar.take([f"consent_no_{number:08x}=t; Max-Age=9" for number in range(40)], now=NOW)
    for left in (24, 8, 0):
        answer = browser.press(ALL)
        browser.take(answer)
        assert sum(name.startswith("consent_no_") for name in browser.names) == left
        assert sum(map(len, answer.all("set-cookie"))) < 3_000
    assert browser.visit() == ALL


GRANTED = st.one_of(st.sampled_from([NO, ALL]), st.frozensets(st.sampled_from(OPTIONAL)))


class Races(RuleBasedStateMachine):
    """Choices pressed and answered in any order, signals that come and go, cookies that get lost."""

    def __init__(self) -> None:
        super().__init__()
        self.browser = tabs()
        self.under_way: list[tuple[Answer, frozenset[int], int, frozenset[Category]]] = []
        """Answers: the nos that were known when it was pressed, its number, and what it refuses."""
        self.nos: dict[int, frozenset[Category]] = {}
        """What is refused, by the number of the answer that said so; negative: a signal's."""
        self.count = 0

    @property
    def refused(self) -> frozenset[Category]:
        return NO.union(*self.nos.values())

    @initialize(regime=st.sampled_from(list(Regime)))
    def the_regime(self, regime: Regime) -> None:
        self.browser.policy = REGIMES[regime]

    @rule(granted=GRANTED)
    def press(self, granted: frozenset[Category]) -> None:
        self.count += 1
        answer = self.browser.press(granted)
        self.under_way.append((answer, frozenset(self.nos), self.count, ALL - granted))

    @rule(granted=GRANTED)
    def press_twice(self, granted: frozenset[Category]) -> None:
        self.press(granted)
        self.press(NO)

    @rule(first=st.booleans())
    def an_answer_arrives(self, first: bool) -> None:
        if self.under_way:
            answer, known, number, refused = self.under_way.pop(0 if first else -1)
            self.browser.take(answer)
            for each in known:
                self.nos.pop(each, None)
            if refused:
                self.nos[number] = refused

    @rule(first=st.booleans())
    def all_answers_arrive(self, first: bool) -> None:
        while self.under_way:
            self.an_answer_arrives(first)

    @rule()
    def a_signal_comes_and_goes(self) -> None:
        before = self.browser.visit()
        page = self.browser.ask({"sec-gpc": "1"})
        self.browser.take(page)
        if any(line.startswith("consent_taken") for line in page.all("set-cookie")):
            self.count += 1
            self.nos[-self.count] = before - allowed_in(page)

    @rule(which=st.integers(0, 9))
    def a_cookie_is_lost(self, which: int) -> None:
        if names := self.browser.names:
            self.browser.jar.delete(names[which % len(names)])
            if not self.browser.cookie:
                # Nothing tells this visitor from one who has never been here.
                self.nos.clear()

    @rule(days=st.sampled_from([1, 100, 179]))
    def time_passes(self, days: int) -> None:
        self.browser.now += days * DAY

    @invariant()
    def what_was_refused_is_refused(self) -> None:
        if not self.browser.cookie:
            self.nos.clear()
        assert not self.browser.visit() & self.refused


Races.TestCase.settings = settings(
    max_examples=60,
    stateful_step_count=20,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=list(HealthCheck),
)
TestAnswersThatRace = pytest.mark.timeout(60)(Races.TestCase)


@pytest.mark.parametrize("regime", Regime)
def test_some_of_the_cookies_never_allow_more_than_all_of_them(regime: Regime) -> None:
    """Every part of what a browser can have kept after answers that raced and two signals, but for none at all."""
    browser = tabs(regime)
    yes = browser.press(ALL)
    browser.take(browser.press(frozenset({P, F})))
    browser.take(yes)
    browser.visit(**{"sec-gpc": "1"})
    browser.visit(dnt="1")
    allowed = browser.visit()
    pairs = browser.cookie.split("; ")
    assert len(pairs) == 3
    for size in range(1, len(pairs)):
        for some in combinations(pairs, size):
            headers = {**browser.headers({}), "cookie": "; ".join(some)}
            assert allowed_in(ask(browser.app, headers=headers)) <= allowed


def test_pages_and_answers_at_once_are_recorded_as_often_as_something_was_said(tmp_path: Path) -> None:
    """In a real store: one record of what a signal took back, however many pages ask for it, and one of each press."""
    app = ConsentMiddleware(answering(b"<p>x"), data=tmp_path)

    async def at_once() -> tuple[set[str], list[str]]:
        transport, base = httpx2.ASGITransport(app=app), "https://www.example.com"
        own = {"sec-fetch-site": "same-origin"}
        async with httpx2.AsyncClient(transport=transport, base_url=base) as client:
            first = await client.post("/_consent/choice", json={"action": "accept"}, headers=own)
            (line,) = first.headers.get_list("set-cookie")
        # Clients without cookies of their own: what one is answered, the others do not send.
        sent = {"cookie": line.partition(";")[0]}
        visit = {**sent, "sec-gpc": "1", "sec-fetch-dest": "document"}
        async with httpx2.AsyncClient(transport=transport, base_url=base) as client:
            pages = await asyncio.gather(*(client.get("/", headers=visit) for _ in range(24)))
        stored = {line for page in pages for line in page.headers.get_list("set-cookie")}
        async with httpx2.AsyncClient(transport=transport, base_url=base) as client:
            presses = [
                client.post("/_consent/choice", json={"action": "opt-out"}, headers={**sent, **own})
                for _ in range(2)
            ]
            answers = await asyncio.gather(*presses)
        return stored, [answer.json()["receipt_id"] for answer in answers]

    stored, receipts = asyncio.run(at_once())
    assert [line.partition("=")[0][:-8] for line in stored] == ["consent_taken_gpc_"]
    assert len(set(receipts)) == 2
    with closing(sqlite3.connect(tmp_path / "receipts.sqlite3")) as database:
        assert database.execute("SELECT count(*) FROM record").fetchone() == (1 + 1 + 2,)


# ---- without HTTPS


@pytest.mark.parametrize("https_first", [False, True])
def test_a_yes_without_https_is_none_with_it(https_first: bool) -> None:
    """Whoever is on the way can put one there. Its no counts; and what is remembered of one is not of the other."""
    browser = tabs()
    browser.take(browser.press(frozenset({P, F}), scheme="http"))
    headers = browser.headers({})
    for scheme in ("https", "http", "https") if https_first else ("http", "https", "http"):
        for signal in ({}, {"dnt": "0"}):
            page = ask(browser.app, headers={**headers, **signal}, scheme=scheme)
            assert allowed_in(page) == ({P, F} if scheme == "http" else NO)
            assert (b"consent-banner" in page.body) is (scheme == "https")


def test_a_no_without_https_is_one_with_it() -> None:
    browser = tabs(Regime.OPT_OUT)
    browser.take(browser.press(frozenset({P}), scheme="http"))
    assert browser.visit() == {P}  # as by silence
    assert browser.ask({}).header("set-cookie") is None


def test_a_yes_given_without_https_does_not_touch_the_no_given_with_it() -> None:
    """Browsers send no secure cookie there, so the visitor is asked as anybody; and let none be written over."""
    browser = tabs()
    browser.take(browser.press(NO))
    assert browser.jar.sent(now=NOW, scheme="http") == ""
    page = ask(browser.app, headers={"host": browser.host}, scheme="http")
    assert (allowed_in(page), b"consent-banner" in page.body) == (NO, True)
    kept, browser.jar = browser.jar, type(browser.jar)()
    yes = browser.press(ALL, scheme="http")
    browser.jar = kept
    browser.jar.take(yes.all("set-cookie"), host=browser.host, now=NOW, scheme="http")
    assert browser.visit() == NO
    # An old browser that lets it be written over has the mark of the no beside it still.
    browser.take(yes)
    assert browser.visit() == NO


def test_what_another_scheme_granted_is_told_by_the_state() -> None:
    cookie = ChoiceCookie([b"0" * 32])
    browser = tabs()
    browser.keys = [b"0" * 32]
    browser.take(browser.press(ALL, scheme="http"))
    headers = [(b"cookie", browser.cookie.encode())]
    version = browser.policy.version
    for secure, state in ((True, ChoiceState.EXPIRED), (False, ChoiceState.VALID)):
        choice, found, _ = cookie.read(headers, now=NOW, policy_version=version, secure=secure)
        assert (found, choice and choice.over_http) == (state, True)
