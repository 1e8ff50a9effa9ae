"""Opting out in one step where silence is a yes, and sites for children, where targeting is none of the choices."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consent.banner import Banner
from consent.categories import OPTIONAL, Category
from consent.choice import Choice
from consent.decision import Decision, Reason, decide
from consent.policy import CacheMode, Policy, Regime
from consent.receipts import CollectionMethod, Outcome
from consent.signals import ChoiceState, Signals
from consent.submission import read_form
from consent.variant_cookie import VariantCookie
from tests.exchange import COOKIE
from tests.test_banner import Reader
from tests.test_decision import all_signals
from tests.test_visitor import ADS, CATALOG, NOW, POLICY, STATS, Site

P, F, T = OPTIONAL
OPT_OUT = replace(POLICY, regime=Regime.OPT_OUT, language="en")
CHILDREN = replace(POLICY, children=True, language="en")
BUTTON = "Do not sell or share my personal information"
HONOURED = "Opt-out request honoured"
SAID = "This site is made for children."


def shown(site: Site, **headers: str) -> Reader:
    """The page of choices, as the site's visitor gets it."""
    return Reader(site.get("/_consent/choices", headers).body.decode())


def markup(policy: Policy, signals: Signals) -> Reader:
    return Reader(Banner(policy).markup(decide(policy, signals), return_to="/", nonce=None).decode())


def buttons(page: Reader) -> list[str]:
    return [button.text for button in page.all("button", value="opt-out")]


def test_one_button_opts_out_and_leaves_the_rest_as_it_is() -> None:
    """The receipt says how, and on which text; after it the button is gone, and the page says that it was heard."""
    site = Site(OPT_OUT)
    assert buttons(shown(site)) == [BUTTON]
    answer = site.choose("opt-out", form="opt-out", return_to="/shop")
    assert (answer.status, answer.headers["location"]) == (303, "/shop")
    assert site.granted == {P, F}
    (receipt,) = site.store.receipts
    assert (receipt.outcome, receipt.collection_method) == (Outcome.CHANGED, CollectionMethod.OPT_OUT_FORM)
    assert (receipt.regime, dict(receipt.categories)) == (Regime.OPT_OUT, {P: True, F: True, T: False})
    assert receipt.shown_hash == site.store.artefacts[0].hash
    assert BUTTON.encode() in site.store.artefacts[0].content
    signals = Signals(choice=site.choice, choice_state=ChoiceState.VALID)
    page = markup(OPT_OUT, signals)
    assert (buttons(page), page.words("consent-pill-note")) == ([], [HONOURED] * 2)
    # An answer through JSON says the same.
    site = Site(OPT_OUT)
    outcome = site.post_json({"action": "opt-out"}).json
    assert (outcome["outcome"], outcome["allowed"]) == ("changed", "pf")


def statuses(page: Reader) -> list[str]:
    """What is said in status messages about an opt-out, each in one line."""
    said = [" ".join(element.text.split()) for element in page.all("p", role="status")]
    return [text for text in said if text.startswith(HONOURED)]


def test_after_the_button_and_for_a_signal_it_is_said_that_it_was_heard() -> None:
    """As a status message of the preferences, on the page of choices too, and of the banner; not before."""
    site = Site(OPT_OUT)
    assert statuses(shown(site)) == []
    answer = site.choose("opt-out", form="opt-out", stay="on")
    assert answer.headers["location"].startswith("/_consent/choices?saved=1")
    page = shown(site)
    assert statuses(page) == [HONOURED]
    assert page.words("consent-pill-note") == []  # it has no such control
    assert statuses(shown(site, **{"sec-gpc": "1"})) == [
        f"{HONOURED} Your browser sends Global Privacy Control: targeting stays off."
    ]
    both = markup(replace(POLICY, language="en"), Signals(gpc=True, dnt=True))
    assert (
        statuses(both)
        == [
            f"{HONOURED} Your browser sends Global Privacy Control: targeting stays off.",
            f"{HONOURED} Your browser sends Do Not Track: performance and targeting stay off unless you say yes here.",
        ]
        * 2
    )
    # Who said yes, told of the signal, is not told that it was honoured.
    site = Site(replace(OPT_OUT, language="en"))
    site.choose("accept", {"dnt": "1"}, told="dnt")
    assert statuses(shown(site, dnt="1")) == []


def test_opting_out_takes_exceptions_back_too_and_grants_nothing() -> None:
    """What was refused before stays refused; a vendor that was always allowed is not any more."""
    site = Site(OPT_OUT)
    site.choose("save", on=["functional"], vendors={"example-ads": "on", "example-stats": "on"})
    assert site.choice is not None
    assert dict(site.choice.vendors) == {"example-ads": True, "example-stats": True}
    site.choose("opt-out", form="opt-out")
    assert site.granted == {F}
    assert dict(site.choice.vendors) == {"example-stats": True}


def test_opting_out_of_everything_withdraws() -> None:
    """What it refuses is the policy's; it needs no text that is known here, since it is a no."""
    site = Site(replace(OPT_OUT, opt_out_refuses=frozenset(OPTIONAL)))
    assert site.choose("opt-out", form="opt-out", shown="0" * 64).status == 303
    assert (site.granted, site.store.receipts[0].outcome) == (set(), Outcome.WITHDRAWN)


@pytest.mark.parametrize(
    ("policy", "signals", "offered", "honoured"),
    [
        (OPT_OUT, Signals(), True, False),
        (OPT_OUT, Signals(gpc=True), False, True),
        (OPT_OUT, Signals(choice_state=ChoiceState.FORGED), False, True),
        (replace(OPT_OUT, opt_out_refuses=frozenset({P, T})), Signals(gpc=True), True, True),
        (replace(OPT_OUT, opt_out_refuses=frozenset()), Signals(), False, False),
        (replace(OPT_OUT, children=True), Signals(), False, False),
        (replace(OPT_OUT, regime=Regime.NOTICE), Signals(), False, False),
        (POLICY, Signals(), False, False),
    ],
)
def test_the_button_is_there_while_there_is_something_to_opt_out_of(
    policy: Policy, signals: Signals, offered: bool, honoured: bool
) -> None:
    """In the regime opt-out alone."""
    page = markup(replace(policy, language="en"), signals)
    assert buttons(page) == [BUTTON] * offered
    assert page.words("consent-pill-note") == [HONOURED] * 2 * honoured


def test_where_everybody_gets_the_same_page_the_button_is_in_it() -> None:
    """Nothing is allowed in that page, and nobody has opted out for that."""
    policy = replace(OPT_OUT, cache=CacheMode.UNIFORM)
    strict = replace(decide(replace(policy, regime=Regime.OPT_IN), Signals()), asks=False)
    page = Reader(Banner(policy).markup(strict, return_to="/", nonce=None).decode())
    assert (buttons(page), page.words("consent-pill-note")) == ([BUTTON], [])


@pytest.mark.parametrize(
    "body", [b"action=opt-out&form=banner", b"action=refuse&form=opt-out", b"action=opt-out"]
)
def test_the_button_s_form_sends_that_and_nothing_else(body: bytes) -> None:
    with pytest.raises(ValueError, match="opt-out is what one form sends"):
        read_form(body, CATALOG, prefix="/_consent")


# ---- children


@given(all_signals, st.sampled_from(Regime))
def test_on_a_site_for_children_targeting_is_never_allowed(signals: Signals, regime: Regime) -> None:
    """Not by consent, not by silence, not by an exception, under whatever version it was given."""
    decision = decide(Policy(children=True, regime=regime), signals)
    assert decision.allows(T) is decision.allows(T, "example-ads") is False
    assert decision.reason(T) is Reason.CHILDREN
    assert "t" not in decision.key


def test_a_site_for_children_records_no_yes_to_targeting() -> None:
    """Whatever a form or a script sends."""
    for content in (
        {"action": "accept"},
        {"action": "save", "performance": True, "functional": True, "targeting": True},
        {"action": "save", "performance": True, "functional": True, "vendors": {ADS.id: True}},
    ):
        site = Site(CHILDREN)
        assert site.post_json(content).json["allowed"] == "pf"
        (receipt,) = site.store.receipts
        assert (dict(receipt.categories), dict(receipt.vendors)) == ({P: True, F: True, T: False}, {})
    assert Site(CHILDREN).post_json({"action": "allow", "vendors": {ADS.id: True}}).status == 400
    assert Site(CHILDREN).post_json({"action": "allow", "vendors": {STATS.id: True}}).status == 200


def test_a_site_for_children_says_so_instead_of_asking() -> None:
    """In both layers; there is no switch, and the yes does not pretend to be to everything."""
    page = markup(CHILDREN, Signals())
    assert [text[: len(SAID)] for text in page.words("consent-notice")] == [SAID] * 2
    assert [box.attributes["name"] for box in page.all("input", type="checkbox")] == [
        "performance",
        "functional",
    ]
    assert page.words("consent-always") == ["Always on", "Always off"]
    assert page.all("button", value="accept")[0].text == "Accept all except targeting"


def test_becoming_a_site_for_children_asks_again_and_leaves_other_versions_alone() -> None:
    assert CHILDREN.version != POLICY.version
    assert Policy().version == replace(CHILDREN, children=False, vendors=(), own_cookies=()).version


def test_the_guard_is_told_that_silence_allows_no_targeting() -> None:
    policy = replace(CHILDREN, regime=Regime.NOTICE)
    assert VariantCookie(COOKIE, policy, CATALOG).unanswered.split(" ")[3] == "pfu"


def test_an_old_yes_counts_no_more() -> None:
    """Of before the site was made for children."""
    old = Choice(
        receipt_id="3f2504e0-4f89-41d3-9a0c-0305e82c3301",
        subject="0" * 32,
        made_at=NOW,
        policy_version=POLICY.version,
        granted=frozenset(OPTIONAL),
    )

    def decided(state: ChoiceState) -> Decision:
        return decide(replace(CHILDREN, regime=Regime.OPT_OUT), Signals(choice=old, choice_state=state))

    for state in (ChoiceState.VALID, ChoiceState.OUTDATED, ChoiceState.EXPIRED):
        assert [decided(state).allows(category) for category in (*OPTIONAL, Category.STRICTLY_NECESSARY)] == [
            True,
            True,
            False,
            True,
        ]
