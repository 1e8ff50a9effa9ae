"""Do Not Track and Global Privacy Control, line by line: what their standards and the laws behind them ask for."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from consent.catalog import Catalog
from consent.categories import OPTIONAL, Category
from consent.choice import BrowserSignal, Choice
from consent.decision import Reason, decide, taken_back
from consent.errors import StoreFull
from consent.middleware import EnforcingMiddleware
from consent.policy import CacheMode, Policy, Regime
from consent.receipts import Artefact, CollectionMethod, Outcome, Receipt
from consent.signals import ChoiceState, Signals, read_dnt, read_gpc
from consent.tracking_status import tracking_status
from consent.transitions import Transitions
from consent.visitor import VisitorEndpoints
from tests.exchange import CATALOG, COOKIE, HTML, NOW, Answer, answering, ask
from tests.jar import Jar
from tests.test_jurisdictions import post
from tests.test_visitor import Recorder, banner_of

P, F, T = OPTIONAL
GPC, DNT = BrowserSignal.GPC, BrowserSignal.DNT
POLICY = Policy(site="Example", language="en", privacy_url="/privacy")
PAGE = b'<html><head><script src="https://t.tracker.example/t.js"></script></head><body>x</body></html>'
TRACKER = b"t.tracker.example"
TOLD = b"This overrules what you allowed earlier."
OTHERS = {"sec-fetch-site": "same-origin", "content-type": "application/json"}


class Site:
    """A site with its endpoints, and one visitor's browser."""

    def __init__(self, policy: Policy = POLICY, *, app: Any = None, catalog: Catalog = CATALOG) -> None:
        banner = banner_of(policy)
        self.store = Recorder()
        self.seen: list[Sequence[tuple[bytes, bytes]]] = []
        page = app or answering(PAGE)

        async def noting(scope: Any, receive: Any, send: Any) -> None:
            self.seen.append(scope["headers"])
            await page(scope, receive, send)

        transitions = Transitions(policy, catalog, COOKIE, self.store, language="en", clock=lambda: NOW)
        self.app = EnforcingMiddleware(
            noting,
            endpoints=VisitorEndpoints(policy, catalog, banner, COOKIE, self.store, clock=lambda: NOW),
            policy=policy,
            catalog=catalog,
            cookie=COOKIE,
            banner=banner,
            keep=transitions.keep,
            clock=lambda: NOW,
        )
        self.jar = Jar()

    def get(self, path: str = "/", **headers: str) -> Answer:
        return self._kept(ask(self.app, path, headers=self._named(headers)))

    def choose(self, content: Mapping[str, object], **headers: str) -> Answer:
        return self._kept(post(self.app, content, self._named(headers) | OTHERS))

    def _named(self, headers: Mapping[str, str]) -> dict[str, str]:
        sent = self.jar.sent()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return named | ({"cookie": sent} if sent else {})

    def _kept(self, answer: Answer) -> Answer:
        self.jar.take(answer.all("set-cookie"))
        return answer

    @property
    def choice(self) -> Choice:
        headers = [(b"cookie", self.jar.sent().encode())]
        choice, *_ = COOKIE.read(headers, now=NOW, policy_version=POLICY.version)
        assert choice is not None
        return choice


def field(name: str, *values: str) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode()) for value in values]


# ---- Do Not Track (W3C Tracking Preference Expression)


@pytest.mark.parametrize(
    ("values", "meaning"),
    [
        (("0",), False),
        (("1",), True),
        (("1xyz",), True),
        (("0xyz",), False),
        (("1", "1"), None),
        ((), None),
        (("2",), None),
    ],
)
def test_dnt_is_read_as_the_standard_has_it(values: tuple[str, ...], meaning: bool | None) -> None:
    """0 or 1, then extensions; more than one field is invalid; absent is unset, never 0."""
    assert read_dnt(field("dnt", *values)) is meaning


@pytest.mark.parametrize("value", [None, "0", "1", "1xyz", "nonsense"])
def test_dnt_reaches_the_app_as_it_was_sent(value: str | None) -> None:
    """It is never added, changed or removed."""
    site = Site()
    site.get(**({"dnt": value} if value else {}))
    assert [pair for pair in site.seen[0] if pair[0] == b"dnt"] == (
        [(b"dnt", value.encode())] if value else []
    )


@pytest.mark.parametrize(
    ("granted", "regime", "dnt", "refuses", "status"),
    [
        (None, Regime.OPT_IN, None, {P, T}, "N"),
        (None, Regime.OPT_IN, True, {P, T}, "N"),
        ((), Regime.OPT_OUT, None, {P, T}, "N"),
        ({P}, Regime.OPT_IN, None, {P, T}, "C"),
        ({P}, Regime.OPT_IN, True, {P, T}, "N"),
        (OPTIONAL, Regime.OPT_OUT, None, {P, T}, "C"),
        (None, Regime.OPT_OUT, None, {P, T}, "T"),
        (None, Regime.OPT_OUT, True, {P, T}, "T"),
        (None, Regime.OPT_OUT, True, set(), "D"),
        (None, Regime.OPT_OUT, False, set(), "T"),
        (OPTIONAL, Regime.OPT_OUT, True, set(), "C"),
    ],
)
def test_the_status_is_one_of_the_standard_s_values(
    granted: Any, regime: Regime, dnt: bool | None, refuses: set[Category], status: str
) -> None:
    """N, C, D or T: ``?`` and ``G`` would need resources of their own, ``P`` and ``!`` are for who does not know."""
    policy = replace(POLICY, regime=regime, dnt_refuses=frozenset(refuses))
    stored = None if granted is None else made(granted, policy)
    state = ChoiceState.VALID if stored else ChoiceState.ABSENT
    assert (
        tracking_status(policy, decide(policy, Signals(choice=stored, choice_state=state, dnt=dnt))) == status
    )


def test_who_asks_not_to_be_tracked_is_told_with_the_page() -> None:
    """One ``Tk`` at most, without a status-id, on what is theirs alone; nobody else gets it."""
    site = Site()
    assert site.get(dnt="1").all("tk") == ["N"]
    assert site.get(dnt="0").all("tk") == ["N"]
    assert site.get().all("tk") == []
    own = answering(PAGE, headers=[HTML, (b"tk", b"T")])
    assert Site(app=own).get(dnt="1").all("tk") == ["T"]
    image = answering(b"x", headers=[(b"content-type", b"image/png"), (b"cache-control", b"private")])
    assert Site(app=image).get(dnt="1").all("tk") == []
    assert Site(replace(POLICY, cache=CacheMode.UNIFORM)).get(dnt="1").all("tk") == []


def test_updated_is_said_of_a_change_of_state_alone() -> None:
    """On the answer to a choice that was taken, and on no other."""
    site = Site()
    assert site.choose({"action": "accept"}).all("tk") == ["U"]
    assert site.choose({"action": "nonsense"}).all("tk") == []
    site.store.failure = StoreFull("full")
    assert site.choose({"action": "refuse"}).all("tk") == ["U"]  # honoured, though it could not be recorded
    assert site.choose({"action": "accept"}).all("tk") == []
    assert site.get("/_consent/choices", dnt="1").all("tk") == []


def test_the_tracking_status_resource_is_as_the_standard_has_it() -> None:
    """Its media type, the required member, known members alone; no cookie; it varies by what it depends on."""
    site = Site()
    site.choose({"action": "accept"})
    for headers, status in (({}, "C"), ({"dnt": "1"}, "C"), ({"dnt": "1", "sec_gpc": "1"}, "C")):
        answer = site.get("/.well-known/dnt/", **headers)
        assert answer.status == 200
        assert answer.header("content-type") == "application/tracking-status+json"
        assert answer.all("set-cookie") == []
        assert "DNT" in (answer.header("vary") or "")
        content = json.loads(answer.body)
        assert content == {"tracking": status, "config": "/_consent/choices", "policy": "/privacy"}
    assert site.get("/.well-known/dnt/unknown-id").status == 404


# ---- Global Privacy Control


@pytest.mark.parametrize(
    ("values", "on"),
    [
        (("1",), True),
        (("0", "1"), True),
        (("1, 0",), False),
        (("11",), False),
        (("true",), False),
        ((), False),
    ],
)
def test_gpc_is_on_where_one_line_is_exactly_1(values: tuple[str, ...], on: bool) -> None:
    """Lines are looked at one by one, and never joined."""
    assert read_gpc(field("sec-gpc", *values)) is on


def test_the_support_resource_is_the_same_for_every_requester() -> None:
    """JSON with two members, and no version."""
    site = Site()
    answers = [
        site.get("/.well-known/gpc.json", **headers) for headers in ({}, {"sec_gpc": "1"}, {"dnt": "1"})
    ]
    assert {answer.body for answer in answers} == {b'{"gpc": true, "lastUpdate": "2026-11-26"}'}
    assert {answer.header("content-type") for answer in answers} == {"application/json"}
    assert [answer.all("set-cookie") for answer in answers] == [[], [], []]


def test_a_signal_turned_on_after_a_yes_is_recorded_once() -> None:
    """Not every request that carries it: the receipt says what was taken back, by what, and what it replaces."""
    site = Site()
    site.get(sec_gpc="1")
    assert site.store.receipts == []
    site.choose({"action": "accept"})
    first = site.store.receipts[0]
    for _ in range(3):
        answer = site.get(sec_gpc="1")
        assert TRACKER not in answer.body
        assert TOLD in answer.body
    (_, receipt) = site.store.receipts
    assert (receipt.outcome, receipt.collection_method) == (Outcome.CHANGED, CollectionMethod.SIGNAL)
    assert dict(receipt.categories) == {P: True, F: True, T: False}
    assert (receipt.signals.gpc, receipt.signals.told, receipt.shown_hash) == (True, frozenset(), None)
    assert (receipt.policy_hash, receipt.vendor_list_hash) == (first.policy_hash, first.vendor_list_hash)
    assert receipt.schema_version == 2
    assert (receipt.previous, receipt.subject) == (first.receipt_id, first.subject)
    assert site.choice.receipt_id == receipt.receipt_id
    assert site.choice.taken_back == {GPC}


def test_a_page_with_a_signal_that_arrives_after_another_choice_says_nothing_of_it() -> None:
    """It was asked for before. What it stores is about the choice of then, and beside another one it is nothing."""
    for later, allowed in (({"action": "withdraw"}, False), ({"action": "accept"}, True)):
        site = Site()
        site.choose({"action": "accept"})
        late = ask(site.app, headers={"sec-gpc": "1", "cookie": site.jar.sent()})
        assert [line.partition("=")[0] for line in late.all("set-cookie")] == [
            f"consent_taken_gpc_{site.choice.receipt_id[:8]}"
        ]
        site.choose(later)
        site.jar.take(late.all("set-cookie"))
        assert (TRACKER in site.get().body) is allowed
        assert site.choice.receipt_id == site.store.receipts[-1].receipt_id
        site.get(sec_gpc="1")
        assert TRACKER not in site.get().body


def test_pages_that_are_asked_for_at_once_make_one_record() -> None:
    """One receipt id for what follows from one choice: the store has the first, and all of them store the same."""
    site = Site()
    site.choose({"action": "accept"})
    sent = {"sec-gpc": "1", "cookie": site.jar.sent()}
    lines = set()
    for agent in ("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", "curl/8"):
        lines.update(ask(site.app, headers={**sent, "user-agent": agent}).all("set-cookie"))
    assert (len(lines), len(site.store.receipts)) == (1, 2)
    site.jar.take(lines)
    assert site.choice.receipt_id == site.store.receipts[1].receipt_id
    # Another signal takes back more, from there.
    site.get(dnt="1", sec_gpc="1")
    assert site.store.receipts[2].previous == site.store.receipts[1].receipt_id
    assert site.choice.granted == {F}
    assert site.choice.taken_back == {GPC, DNT}
    first = site.store.receipts[0].receipt_id[:8]
    gone = {
        f"consent_taken_{signal}_{first}=; Max-Age=0; Path=/; HttpOnly; SameSite=Lax; Secure"
        for signal in (GPC, DNT)
    }
    assert gone <= set(site.choose({"action": "accept"}).all("set-cookie"))
    assert "consent_taken" not in site.jar.sent()


def test_what_was_taken_back_stays_so_when_the_choice_is_over() -> None:
    """Browsers let go of a yes to everything after 180 days; what a signal took back of it is kept for longer."""
    policy = replace(POLICY, regime=Regime.OPT_OUT)
    site = Site(policy)
    site.choose({"action": "accept"})
    site.get(sec_gpc="1")
    site.jar.take(["consent=; Max-Age=0"])
    assert site.jar.sent().startswith("consent_taken_gpc_")
    assert TRACKER not in site.get().body


def test_a_signal_that_is_gone_again_is_no_consent() -> None:
    """For a visitor who is known, its absence does not opt in."""
    site = Site()
    site.choose({"action": "accept"})
    assert TRACKER in site.get().body
    site.get(sec_gpc="1")
    answer = site.get()
    assert TRACKER not in answer.body
    assert TOLD not in answer.body


def test_the_conflict_is_told_and_asked_without_a_banner_and_the_answer_counts() -> None:
    """In the preferences, until it is answered; what is said after that overrules the signal, on the record."""
    site = Site()
    site.choose({"action": "accept"})
    for _ in range(2):
        page = site.get(sec_gpc="1").body
        assert b'class="consent-banner"' not in page
        assert (TOLD in page, b'name="told" value="gpc"' in page) == (True, True)
    yes = {"action": "save", "performance": True, "functional": True, "targeting": True}
    site.choose({**yes}, sec_gpc="1")
    assert TRACKER not in site.get(sec_gpc="1").body
    site.choose({**yes, "told": ["gpc"]}, sec_gpc="1")
    assert site.store.receipts[-1].signals.told == {GPC}
    count = len(site.store.receipts)
    page = site.get(sec_gpc="1").body
    assert (TRACKER in page, TOLD in page) == (True, False)
    assert len(site.store.receipts) == count


def test_what_was_always_allowed_of_one_vendor_is_taken_back_too() -> None:
    """A refusal of one stays, for the day on which its category is allowed again."""
    site = Site()
    site.choose({"action": "save", "performance": True, "vendors": {"tracker": True, "counter": False}})
    site.get(sec_gpc="1")
    assert site.choice.granted == {P}
    assert dict(site.choice.vendors) == {"counter": False}
    assert TRACKER not in site.get().body
    site.get(dnt="1")
    assert site.choice.granted == frozenset()
    assert dict(site.choice.vendors) == {"counter": False}
    assert site.store.receipts[-1].outcome is Outcome.WITHDRAWN
    assert site.choice.taken_back == {GPC, DNT}


@pytest.mark.parametrize(
    "headers",
    [
        {"sec_fetch_dest": "iframe"},
        {"sec_fetch_dest": "empty"},
        {"sec_fetch_dest": "image"},
        {"sec_purpose": "prefetch"},
        {"sec_purpose": "prefetch;prerender"},
    ],
)
def test_only_who_goes_to_a_page_makes_a_record(headers: dict[str, str]) -> None:
    """Not what a page loads, nor what nobody may ever see. The signal is honoured there all the same."""
    site = Site()
    site.choose({"action": "accept"})
    assert TRACKER not in site.get(sec_gpc="1", **headers).body
    assert len(site.store.receipts) == 1


def test_what_cannot_be_recorded_is_honoured_and_tried_again() -> None:
    site = Site()
    site.choose({"action": "accept"})
    site.store.failure = StoreFull("full")
    answer = site.get(sec_gpc="1")
    assert (TRACKER in answer.body, answer.all("set-cookie")) == (False, [])
    site.store.failure = None
    assert len(site.get(sec_gpc="1").all("set-cookie")) == 1
    assert len(site.store.receipts) == 2


def test_a_page_does_not_wait_for_a_store_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes without a receipt then, and without the tracker, as where the store fails."""
    monkeypatch.setattr("consent.transitions.RECORDING_SECONDS", 0.01)
    site = Site()
    site.choose({"action": "accept"})

    async def hang(receipt: Receipt, artefacts: Sequence[Artefact] = ()) -> None:
        await asyncio.sleep(5)

    site.store.append = hang  # type: ignore[method-assign]
    began = time.monotonic()
    answer = site.get(sec_gpc="1")
    assert time.monotonic() - began < 4
    assert (TRACKER in answer.body, answer.all("set-cookie")) == (False, [])


def test_nothing_is_set_with_what_others_may_be_given() -> None:
    """A file with a lifetime of its own is no page, and in the shared cache modes pages are not one visitor's."""
    public = [(b"content-type", b"text/html"), (b"cache-control", b"public, max-age=60")]
    for policy in (replace(POLICY, cache=CacheMode.VARIANT), replace(POLICY, cache=CacheMode.UNIFORM)):
        site = Site(policy, app=answering(PAGE, headers=public))
        site.choose({"action": "accept"})
        assert "consent=" not in "".join(site.get(sec_gpc="1").all("set-cookie"))
        assert len(site.store.receipts) == 1


def made(granted: Any, policy: Policy = POLICY, **more: Any) -> Choice:
    return Choice(
        receipt_id="3f2504e0-4f89-41d3-9a0c-0305e82c3301",
        subject="0" * 32,
        made_at=NOW - 60,
        policy_version=policy.version,
        granted=frozenset(granted),
        **more,
    )


@pytest.mark.parametrize("state", [ChoiceState.OUTDATED, ChoiceState.EXPIRED, ChoiceState.FORGED])
def test_only_of_what_counts_something_can_be_taken_back(state: ChoiceState) -> None:
    decision = decide(POLICY, Signals(choice=made(OPTIONAL), choice_state=state, gpc=True))
    assert decision.reason(T) is Reason.GPC
    assert taken_back(decision, CATALOG) is None


def test_the_cookie_keeps_what_was_taken_back() -> None:
    """And one of before this was kept is read as it is."""
    for choice in (made({P}), made({P}, taken_back=frozenset(BrowserSignal))):
        line = COOKIE.header(choice, secure=True, now=NOW).partition(b";")[0]
        assert COOKIE.read([(b"cookie", line)], now=NOW, policy_version=POLICY.version) == (
            choice,
            ChoiceState.VALID,
            None,
        )
