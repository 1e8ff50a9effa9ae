"""What the guard makes of the readable cookie and of the browser's signals is what the server decides."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, combinations, product
from typing import Any, TypeVar

from playwright.sync_api import Playwright

from consent.assets import asset_dir
from consent.categories import OPTIONAL, Category
from consent.choice import BrowserSignal, Choice
from consent.decision import allowance, decide
from consent.minify import minified_script
from consent.policy import CacheMode, Policy, Regime
from consent.signals import ChoiceState, Signals
from consent.variant_cookie import VariantCookie
from tests.browser.chromium import find_chromium
from tests.exchange import CATALOG, COOKIE, NOW

T = TypeVar("T")
POLICIES = [
    Policy(cache=CacheMode.UNIFORM, regime=regime, gpc_refuses=frozenset(gpc), dnt_refuses=frozenset(dnt))
    for regime in Regime
    for gpc, dnt in ([(Category.TARGETING,), (Category.PERFORMANCE, Category.TARGETING)], [OPTIONAL, ()])
]
POLICIES += [
    Policy(cache=CacheMode.UNIFORM, regime=regime, children=True)
    for regime in (Regime.OPT_IN, Regime.OPT_OUT)
]
OTHER = Policy(controller="Another", cache=CacheMode.UNIFORM)
LONG_AGO = NOW - 1000 * 86_400
EVERYTHING = f".{{}}.{NOW}0000.pft.pft.pft.pft.p.f.t."
"""What the cookie says of a yes to everything that counts whatever the browser says, behind the tag."""
# Runs the file in a page of nobody's, and returns what is allowed then, and what it takes away.
HARNESS = """(cases) => {
  const run = new Function("state", "own", "navigator", "top", "page", "words",
    `let needless; ${SOURCE}; return [state.join(" "), needless];`);
  const words = text => text.split(" ");
  return cases.map(([allowed, cookie, navigator, framed]) =>
    run(words(allowed), {cookie}, navigator, framed ? {} : 0, 0, words));
}"""


def subsets(items: tuple[T, ...] | type[BrowserSignal]) -> Iterator[frozenset[Any]]:
    members = tuple(items)
    return map(
        frozenset, chain.from_iterable(combinations(members, size) for size in range(len(members) + 1))
    )


def choices(policy: Policy) -> Iterator[Choice | None]:
    yield None
    owners = {"counter": Category.PERFORMANCE, "tracker": Category.TARGETING}
    for granted, told, named, (made_under, made_at) in product(
        subsets(OPTIONAL),
        subsets(BrowserSignal),
        subsets(tuple(owners)),
        ((policy, NOW), (OTHER, NOW), (policy, LONG_AGO)),
    ):
        yield Choice(
            receipt_id="1f0c6e7e-3c58-4b6e-8f9f-0d3f5d7c2a10",
            subject="0" * 32,
            made_at=made_at,
            policy_version=made_under.version,
            granted=granted,
            vendors={vendor: owners[vendor] not in granted for vendor in named},
            told=told,
        )


def test_the_guard_decides_as_the_server_does(playwright: Playwright) -> None:
    """Every choice, signal, exception and regime; the present policy's, another's, what has expired or is garbled."""
    cases: list[list[Any]] = []
    expected: list[tuple[str, bool, Policy]] = []
    for policy in POLICIES:
        companion = VariantCookie(COOKIE, policy, CATALOG)
        other = VariantCookie(COOKIE, OTHER, CATALOG)
        for choice, gpc, dnt in product(choices(policy), (False, True), (None, False, True)):
            state, cookie = ChoiceState.ABSENT, "a=1"
            if choice:
                present = choice.policy_version == policy.version
                state = ChoiceState.VALID if present else ChoiceState.OUTDATED
                if choice.made_at == LONG_AGO:
                    state = ChoiceState.EXPIRED
                written = (companion if present else other).header(choice, secure=False, now=NOW).decode()
                cookie = (
                    f"x-consent_variant={EVERYTHING.format(companion.tag)}; {written.partition(';')[0]}; b=2"
                )
            decision = decide(policy, Signals(choice=choice, choice_state=state, gpc=gpc, dnt=dnt))
            browser = {"globalPrivacyControl": gpc, "doNotTrack": {None: None, False: "0", True: "1"}[dnt]}
            cases.append([companion.unanswered, cookie, browser, False])
            expected.append((allowance(decision, CATALOG), decision.asks, policy))
        # What cannot be read may have been a no, and so may the one of two.
        forged = decide(policy, Signals(choice_state=ChoiceState.FORGED))
        yes = f"consent_variant={EVERYTHING.format(companion.tag)}"
        for unread in (
            *("consent_variant=", "consent_variant=garbled", f"consent_variant=.{companion.tag}.{NOW}0000"),
            *(f"{yes}; consent_variant=x", f"a=1; {yes}; b=.......p.f.t.; {yes}"),
            # As it was written before.
            f"consent_variant={companion.tag}.pft.gd.ptracker_fcounter.{NOW * 9}",
            f"consent_variant={companion.tag}.pft...{NOW * 9}; b=.p.f.t.p.f.t.",
        ):
            cases.append([companion.unanswered, unread, {}, False])
            expected.append((allowance(forged, CATALOG), forged.asks, policy))
    source = minified_script((asset_dir("static") / "uniform.js").read_text())
    chromium = playwright.chromium.launch(executable_path=find_chromium(playwright)[0], args=["--no-sandbox"])
    page = chromium.new_page()
    page.evaluate("source => { window.SOURCE = source; }", source)
    answers = page.evaluate(HARNESS, cases)
    framed = page.evaluate(HARNESS, [[*cases[0][:3], True]])
    chromium.close()
    assert len(answers) == len(expected) > 10_000
    asking = 0
    for case, (allowed, removed), (written, asks, policy) in zip(cases, answers, expected, strict=True):
        assert allowed == written, case
        if policy.regime is Regime.OPT_IN:
            assert (removed == ".consent-banner") is not asks, case
            asking += asks
    assert asking > 500
    assert framed[0][1] == ".consent-root"
