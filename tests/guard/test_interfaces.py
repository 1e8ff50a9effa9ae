"""Vendors are told, in their own words, what a visitor allows: before any tag, after each choice, and when it ends."""

# ruff: noqa: E501 - the long lines are JavaScript and HTML
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import product

import pytest
from playwright.sync_api import Page, Playwright

from consent.catalog import load_catalog
from consent.categories import OPTIONAL, Category
from consent.choice import Choice
from consent.decision import Decision, Reason, allowance, decide
from consent.guard import Guard, script
from consent.policy import CacheMode, GoogleMode, Interfaces, Policy, Regime
from consent.signals import ChoiceState, Signals
from consent.variant_cookie import VariantCookie
from consent.vendor_interfaces import interface_parts
from tests.browser.chromium import find_chromium
from tests.exchange import COOKIE, NOW
from tests.guard.conftest import Site, Visit, deciding
from tests.guard.test_client import BANNER, outcome
from tests.guard.test_decisions import subsets

CATALOG = load_catalog()
EVERY = Interfaces(
    google=GoogleMode.BASIC, microsoft_uet=True, clarity=True, meta=True, tiktok=True, hubspot=True, matomo=True,
    segment=True, mixpanel=True, posthog=True,
)  # fmt: skip
DECLARED = tuple(CATALOG.vendors[name] for name in ("google-ads", "google-analytics", "hubspot"))
# Runs the files of the interfaces with what they use of the guard, for somebody who then chooses something else.
HARNESS = """([before, silent, after, uniform]) => {
  const page = {}, heard = {};
  let state = before.split(" ");
  const words = text => text.split(" ");
  const refuses = vendor => vendor[0] != "s" && state[0].includes(vendor[0]) == state.includes(vendor.slice(1), 1);
  const heed = (name, run) => (heard[name] ||= []).push(run);
  const run = new Function("page", "words", "refuses", "heed", "tag", "restored", "addEventListener", "counting", "state",
    "answer", "CATEGORIES", "requestAnimationFrame", SOURCE);
  run(page, words, refuses, heed, {dataset: {silent}}, Promise.resolve(), heed, uniform ? "" : "u", state,
    category => state[0].includes(category[0]), ["performance"], f => f());
  const said = () => ["dataLayer", "uetq", "_hsp", "_paq"].map(name =>
    [...page[name]].map(entry => JSON.parse(JSON.stringify(entry.callee ? [...entry] : entry))));
  heard.DOMContentLoaded.forEach(run => run());
  const first = said(), count = first.map(list => list.length), clarity = page.clarity.q.length;
  state = after.split(" ");
  heard.change.forEach(run => run());
  return [...first, page.clarity.q.slice(0, clarity), ...said().map((list, at) => list.slice(count[at])), page.clarity.q.slice(clarity)];
}"""


def decision_for(policy: Policy, choice: Choice | None, gpc: bool) -> Decision:
    """The decision for somebody who chose that."""
    state = ChoiceState.VALID if choice else ChoiceState.ABSENT
    return decide(policy, Signals(choice=choice, choice_state=state, gpc=gpc))


def choices(policy: Policy) -> Iterator[Choice | None]:
    """Every answer, with exceptions for a vendor of each kind."""
    yield None
    for granted, vendors in product(
        subsets(OPTIONAL), ({}, {"google-ads": True}, {"google-ads": False, "google-analytics": False})
    ):
        yield Choice(
            receipt_id="1f0c6e7e-3c58-4b6e-8f9f-0d3f5d7c2a10", subject="0" * 32, made_at=NOW,
            policy_version=policy.version, granted=granted, vendors=vendors,
        )  # fmt: skip


def google(decision: Decision, *, by_silence: bool = False) -> dict[str, str]:
    """The signals that Google is to have, by the mapping that the documentation gives."""

    def value(category: Category, vendor: str | None = None) -> str:
        counts = not by_silence or decision.reason(category) is Reason.REGIME
        return "granted" if counts and decision.allows(category, vendor) else "denied"

    ads, analytics = value(Category.TARGETING, "google-ads"), value(Category.PERFORMANCE, "google-analytics")
    other = value(Category.FUNCTIONAL)
    return {
        "ad_storage": ads, "ad_user_data": ads, "ad_personalization": ads, "analytics_storage": analytics,
        "functionality_storage": other, "personalization_storage": other, "security_storage": "granted",
    }  # fmt: skip


@pytest.fixture(scope="module")
def blank(playwright: Playwright) -> Iterator[Page]:
    """A page of nobody's."""
    chromium = playwright.chromium.launch(executable_path=find_chromium(playwright)[0], args=["--no-sandbox"])
    yield chromium.new_page()
    chromium.close()


def test_every_answer_is_said_in_the_vendors_words(blank: Page) -> None:
    """In all regimes, with a signal and without, for single vendors too; what silence allows first, then the answer."""
    told = 0
    for regime, uniform in ((Regime.OPT_IN, False), (Regime.OPT_OUT, False), (Regime.OPT_OUT, True)):
        policy = Policy(regime=regime, interfaces=EVERY, vendors=DECLARED)
        blank.evaluate(
            "source => { window.SOURCE = source; }",
            script("", (), interface_parts(policy, CATALOG, uniform=uniform)),
        )
        for choice, gpc, later in product(choices(policy), (False, True), (frozenset(), frozenset(OPTIONAL))):
            before = decision_for(policy, choice, gpc)
            after = (
                decision_for(policy, replace(choice, granted=later, vendors={}), gpc) if choice else before
            )
            silent = "".join(c[0] for c in OPTIONAL if before.reason(c) is Reason.REGIME)
            states = [allowance(before, CATALOG), allowance(after, CATALOG)]
            layer, uet, hubspot, matomo, clarity, *then = blank.evaluate(
                HARNESS, [states[0], "" if uniform else silent, states[1], choice is not None]
            )
            default, signals, now = google(before, by_silence=True), google(before), google(after)
            regions = [
                entry
                for entry in layer
                if "region" in (entry[2] if len(entry) == 3 and isinstance(entry[2], dict) else ())
            ]
            assert layer == [
                ["consent", "default", default],
                *regions,
                ["set", "ads_data_redaction", True],
                *([["consent", "update", signals]] if signals != default else []),
            ]
            assert bool(regions) is bool(silent)
            for entry in regions:
                assert entry[2]["ad_storage"] == entry[2]["functionality_storage"] == "denied"
                assert {"FR", "GB", "CA-QC"} < {*entry[2]["region"]}
                assert "EU" not in entry[2]["region"]
            assert then[0] == ([["consent", "update", now]] if now != signals else [])
            kinds = {c: before.allows(c) for c in OPTIONAL}
            ads, ads_now = (d.allows(Category.TARGETING) for d in (before, after))
            words = {True: "granted", False: "denied"}
            by_silence = ads and before.reason(Category.TARGETING) is Reason.REGIME
            assert uet[:3] == ["consent", "default", {"ad_storage": words[by_silence]}]
            assert uet[3:] == ([] if ads is by_silence else ["consent", "update", {"ad_storage": words[ads]}])
            assert then[1] == (
                [] if ads is ads_now else ["consent", "update", {"ad_storage": words[ads_now]}]
            )
            hub = {
                "analytics": kinds[Category.PERFORMANCE] and ads,
                "advertisement": ads,
                "functionality": kinds[Category.FUNCTIONAL] and ads,
            }
            assert hubspot == [["setHubSpotConsent", hub]]
            counted = kinds[Category.PERFORMANCE]
            assert matomo == [["requireConsent"], *[["setConsentGiven"]] * 2 * counted]
            both = words[ads and counted]
            assert clarity == [["consentv2", {"ad_Storage": both, "analytics_Storage": words[counted]}]]
            told += 1
    assert told == 3 * 25 * 4


# Stand-ins for what vendors deliver: each notes what it is told, in order, and some hold consent back at their start,
# as their guides say.
SNIPPETS = {
    "performance/google-analytics": "gtag('js', 1); gtag('config', 'G-ABC1234567');",
    "targeting/meta-pixel": """window.fbq = (...said) => told.push(["fbq", ...said]);
      fbq("consent", "revoke"); fbq("init", "1"); fbq("track", "PageView");""",
    "targeting/tiktok-pixel": """window.ttq = window.ttq || [];
      for (const name of ["holdConsent", "grantConsent", "revokeConsent", "page"]) ttq[name] = () => told.push(["ttq", name]);
      ttq.holdConsent(); ttq.page();""",
    "performance/mixpanel": """window.mixpanel = {out: true, push(run) { run(); }, has_opted_out_tracking() { return this.out; },
      opt_in_tracking() { this.out = false; told.push(["mixpanel", "in"]); }, opt_out_tracking() { told.push(["mixpanel", "out"]); }};""",
    "performance/posthog": """window.posthog = {out: true, push(run) { run(); }, has_opted_out_capturing() { return this.out; },
      opt_in_capturing(how) { this.out = false; told.push(["posthog", "in", how]); }, opt_out_capturing() { told.push(["posthog", "out"]); }};""",
    "targeting/segment": """window.analytics = {addSourceMiddleware(run) { this.run = run; told.push(["segment", "middleware"]); }, reset() { told.push(["segment", "reset"]); },
      track(name) { const obj = {name}; this.run({payload: {obj}, next: payload => told.push(["segment", payload.obj])}); }};""",
}
START = """<script nonce=n0nce>window.told = [];
window.dataLayer = window.dataLayer || [];
window.gtag = function () { dataLayer.push(arguments); };
const commands = () => dataLayer.map(entry => entry.length ? [...entry] : entry);
addEventListener("pagehide", () => {
  analytics.track("left");
  sessionStorage.setItem("left", JSON.stringify([told, commands(), uetq, _hsp, _paq, clarity.q]));
});</script>"""
HELD = "".join(
    f'<template data-consent="{spec}"><script nonce=n0nce>{code}</script></template>'
    for spec, code in SNIPPETS.items()
)
STRICT = {"content-security-policy": "default-src 'none'; script-src 'nonce-n0nce'; connect-src 'self'"}
GRANTED, DENIED = google(deciding(*OPTIONAL)), google(deciding())
BOTH = ("ad_Storage", "analytics_Storage")


@pytest.fixture
def telling(site: Site) -> Iterator[Site]:
    """The site, whose policy uses every interface."""
    plain = site.guard
    site.guard = Guard(CATALOG, parts=interface_parts(Policy(interfaces=EVERY), CATALOG))
    yield site
    site.guard = plain


def test_vendors_are_told_before_they_begin_and_after_each_choice(visit: Visit, telling: Site) -> None:
    """Without a reload after a yes, before the reload after a no; under a policy that allows nothing but nonces."""
    visit.open(START + BANNER + HELD, headers=STRICT, nonce="n0nce")
    page = visit.page
    visit.until("document.readyState == 'complete'")
    assert page.evaluate("[told, commands(), uetq, _hsp, _paq]") == [
        [],
        [["consent", "default", DENIED], ["set", "ads_data_redaction", True]],
        ["consent", "default", {"ad_storage": "denied"}],
        [["setHubSpotConsent", dict.fromkeys(("analytics", "advertisement", "functionality"), False)]],
        [["requireConsent"]],
    ]
    # What nobody of ours knows as TikTok's is on hold from its beginning.
    assert page.evaluate("((window.ttq = window.ttq || []), ttq.slice())") == [["holdConsent"]]
    page.evaluate("window.ttq = undefined")
    telling.outcome = outcome(*OPTIONAL)
    page.evaluate("window.here = consent.accept().then(Boolean)")
    visit.until("told.some(said => said[0] == 'fbq' && said[2] == 'grant') && here")
    page.evaluate("analytics.track('seen')")
    # What comes while TikTok is allowed is not on hold.
    assert page.evaluate("[...ttq]") == []
    stamp = {"strictly-necessary": True} | dict.fromkeys(OPTIONAL, True)
    assert page.evaluate("told") == [
        ["fbq", "consent", "revoke"], ["fbq", "init", "1"], ["fbq", "track", "PageView"],
        ["ttq", "holdConsent"], ["ttq", "page"],
        ["fbq", "consent", "grant"], ["ttq", "grantConsent"], ["segment", "middleware"],
        ["mixpanel", "in"], ["posthog", "in", {"captureEventName": False}],
        ["segment", {"name": "seen", "context": {"consent": {"categoryPreferences": stamp}}}],
    ]  # fmt: skip
    assert page.evaluate("commands()")[2:] == [
        ["consent", "update", GRANTED], ["js", 1], ["config", "G-ABC1234567"],
    ]  # fmt: skip
    page.evaluate("told.length = 0")
    telling.outcome = outcome(Category.FUNCTIONAL)
    with page.expect_navigation():
        page.evaluate("void consent.set({functional: true})")
    told, layer, uet, hubspot, matomo, clarity = page.evaluate("JSON.parse(sessionStorage.left)")
    assert told == [
        ["fbq", "consent", "revoke"], ["ttq", "revokeConsent"], ["segment", "reset"], ["mixpanel", "out"], ["posthog", "out"],
    ]  # fmt: skip
    assert layer[5:] == [["consent", "update", google(deciding(Category.FUNCTIONAL))]]
    assert uet[3:] == [
        "consent", "update", {"ad_storage": "granted"}, "consent", "update", {"ad_storage": "denied"},
    ]  # fmt: skip
    assert [dict.fromkeys(BOTH, word) for word in ("granted", "denied")] == [said[1] for said in clarity]
    kinds = ("analytics", "advertisement", "functionality")
    assert hubspot[1:] == [
        ["setHubSpotConsent", dict.fromkeys(kinds, True)], ["revokeCookieConsent"], ["setHubSpotConsent", dict.fromkeys(kinds, False)],
    ]  # fmt: skip
    assert (matomo[0], matomo[-1]) == (["requireConsent"], ["forgetConsentGiven"])
    assert visit.errors == []


HOSTILE = """for (const name of ["fbq", "ttq", "_hsp", "uetq", "clarity", "dataLayer", "analytics", "posthog"])
  Object.defineProperty(window, name, {get() { throw Error("hostile"); }});
window.mixpanel = new Proxy(() => 0, {get() { throw Error("hostile"); }});
window._paq = {push: null};"""


def test_nothing_in_the_page_keeps_a_choice_from_counting(visit: Visit, telling: Site) -> None:
    """Names that throw, functions that are none; the choice is made, said to the page, and withdrawn."""
    visit.context.add_init_script(HOSTILE)
    visit.open(BANNER + "<template data-consent='targeting/meta-pixel'></template>")
    telling.outcome = outcome(*OPTIONAL)
    changed = "new Promise(done => consent.on('change', () => done(consent.allows('targeting'))))"
    assert visit.page.evaluate(f"Promise.all([{changed}, consent.accept().then(Boolean)])") == [True, True]
    telling.outcome = outcome()
    with visit.page.expect_navigation():
        visit.page.evaluate("void consent.withdraw()")
    assert [fields["action"] for _, fields in telling.submitted] == ["accept", "withdraw"]
    assert visit.errors == []


def test_in_everybodys_page_the_browser_knows_what_to_say(visit: Visit, site: Site) -> None:
    """By the readable cookie and the browser's signals; a list that the page begins anew does not lose it."""
    plain, sites = site.guard, []
    for regime in (Regime.OPT_IN, Regime.OPT_OUT):
        policy = Policy(
            cache=CacheMode.UNIFORM, regime=regime, interfaces=Interfaces(google=GoogleMode.BASIC)
        )
        companion = VariantCookie(COOKIE, policy, CATALOG)
        parts = interface_parts(policy, CATALOG, uniform=True)
        sites.append((policy, companion, Guard(CATALOG, uniform=companion.unanswered, parts=parts)))
    commands = (
        "(window.dataLayer = [], dataLayer.map(entry => [...entry]).filter(([, , values]) => !values.region))"
    )
    try:
        for policy, companion, guard in sites:
            site.guard = guard
            made = Choice(
                receipt_id="1f0c6e7e-3c58-4b6e-8f9f-0d3f5d7c2a10", subject="0" * 32, made_at=NOW * 9,
                policy_version=policy.version, granted=frozenset({Category.PERFORMANCE}), vendors={},
            )  # fmt: skip
            for choice in (None, made):
                visit.context.clear_cookies()
                if choice:
                    name, _, value = (
                        companion.header(choice, secure=False, now=NOW)
                        .decode()
                        .partition(";")[0]
                        .partition("=")
                    )
                    visit.context.add_cookies(
                        [{"name": name, "value": value, "url": f"http://127.0.0.1:{site.port}"}]
                    )
                visit.open()
                decision = decision_for(policy, choice, gpc=False)
                default, now = google(decision, by_silence=True), google(decision)
                assert visit.page.evaluate(commands) == [
                    ["consent", "default", default], ["set", "ads_data_redaction", True],
                    *([["consent", "update", now]] if now != default else []),
                ]  # fmt: skip
    finally:
        site.guard = plain


def test_a_vendor_that_is_declared_is_told_when_it_ends(visit: Visit, site: Site) -> None:
    """Though the policy uses no interface: what runs is told, and before that the page has none of ours."""
    plain = site.guard
    declared = tuple(CATALOG.vendors[name] for name in ("meta-pixel", "google-analytics", "matomo"))
    site.guard = Guard(CATALOG, parts=interface_parts(Policy(vendors=declared), CATALOG))
    try:
        visit.open(
            """<script>window.told = []; window.fbq = (...said) => told.push(said); window.gtag = fbq;
            addEventListener("pagehide", () => sessionStorage.setItem("left", JSON.stringify(told)));
            consent.on("withdraw", () => told.push(consent.allows("performance")));</script>""",
            decision=deciding(*OPTIONAL),
        )
        assert visit.page.evaluate("[typeof dataLayer, typeof _paq]") == ["undefined", "undefined"]
        site.outcome = outcome(Category.PERFORMANCE)
        with visit.page.expect_navigation():
            visit.page.evaluate("void consent.set({performance: true})")
        assert visit.page.evaluate("JSON.parse(sessionStorage.left)") == [["consent", "revoke"], True]
    finally:
        site.guard = plain
