"""What regulators ask of a banner, rule by rule, and the tests that show each.

A rule is said in our own words, with where it can be read; what is not shown elsewhere is shown here.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from consent.banner import Banner
from consent.categories import OPTIONAL
from consent.decision import decide
from consent.policy import Regime
from consent.signals import ChoiceState, Signals
from consent.texts import languages, load_texts
from tests.exchange import answering, around, ask
from tests.test_banner import POLICY, Reader, choice, every_decision, read
from tests.test_visitor import Site

HERE = Path(__file__).parent

RULES: Mapping[str, tuple[str, ...]] = {
    # EDPB, report of the Cookie Banner Taskforce (17 January 2023), practices A, D, E; CNIL, deliberation 2020-092
    "Where one can say yes one can say no, in the same layer": (
        "test_banner_rules.py::test_no_is_offered_wherever_yes_is",
    ),
    "No is as easy to see and to press as yes: not a link, not smaller, not paler": (
        "test_banner.py::test_accept_refuse_and_choose_are_equals",
        "browser/test_demo_site.py::test_only_a_button_of_the_banner_answers_it",
        "browser/test_layouts.py::test_a_banner_is_for_everybody",
    ),
    # EDPB, as before, practice B; CJEU C-673/17 (Planet49)
    "What is optional is off until somebody switches it on": (
        "test_banner.py::test_nothing_is_ticked_before_the_visitor_ticked_it",
        "test_decision.py::test_in_an_opt_in_regime_nothing_is_allowed_that_a_valid_choice_does_not_grant",
    ),
    # EDPB, Guidelines 05/2020 on consent, 86; GDPR, recital 32
    "Scrolling, going on, closing and doing nothing are no yes": (
        "browser/test_demo_site.py::test_only_a_button_of_the_banner_answers_it",
        "browser/test_demo_site.py::test_before_a_choice_no_tracker_is_contacted",
        "test_banner_rules.py::test_nothing_is_sent_but_by_a_button_that_says_what",
    ),
    # EDPB, Cookie Banner Taskforce, practice G; Directive 2002/58/EC, article 5(3)
    "Nothing is kept or read by legitimate interest, so there is no switch for that": (
        "test_banner_rules.py::test_all_that_can_be_switched_is_consent",
    ),
    # EDPB, as before, practice K; GDPR, article 7(3)
    "Taking back is as easy as giving, and the way to it is on every page": (
        "test_banner.py::test_the_control_and_the_preferences_are_on_every_page",
        "test_banner.py::test_the_saved_state_is_shown",
        "browser/test_demo_site.py::test_after_withdrawing_no_tracker_is_contacted_and_their_cookies_are_gone",
        "browser/test_demo_site.py::test_without_scripts_a_visitor_can_accept_and_withdraw",
        "guard/test_client.py::test_withdrawing_reloads",
    ),
    # CNIL, recommendation 2020-092: both kinds of answer for about six months
    "A no is remembered no shorter than a yes": (
        "test_visitor.py::test_a_refusal_is_recorded_and_remembered_like_a_consent",
        "test_standing_refusals.py::test_a_refusal_outlives_what_is_granted_beside_it",
        "test_decision.py::test_a_stored_no_never_becomes_a_yes",
    ),
    "Who has answered is not asked again while nothing has changed": (
        "test_banner_rules.py::test_only_a_change_asks_again",
        "test_banner.py::test_the_banner_is_there_only_while_it_asks",
        "test_policy.py::test_a_change_of_wording_or_order_does_not_make_another_version",
    ),
    # GDPR, article 13 and recital 42; CJEU C-673/17: duration and recipients
    "Who keeps what, why, for how long, and who receives it can be read before choosing": (
        "test_banner.py::test_every_vendor_is_listed_with_what_it_does_and_keeps",
        "test_banner.py::test_what_is_strictly_necessary_is_explained_and_cannot_be_switched",
        "test_banner.py::test_who_is_responsible_and_how_long_the_answer_is_kept",
        "test_declaration.py::test_it_says_of_each_vendor_cookie_and_key_all_that_is_known",
        "test_declaration.py::test_choices_and_preferences_lead_to_it",
    ),
    "Another purpose or another vendor is asked for anew": (
        "test_policy.py::test_a_change_that_matters_to_a_visitor_makes_another_version",
        "test_choice_cookie.py::test_a_choice_under_another_policy_is_returned_as_outdated",
        "test_banner.py::test_an_older_policy_s_answer_is_asked_again_with_the_reason",
        "test_visitor.py::test_a_yes_to_a_text_nobody_knows_is_asked_again",
    ),
    # EDPB, Guidelines 05/2020, 39 to 41
    "The site can be used without a yes, and without an answer": (
        "browser/test_demo_site.py::test_a_page_without_consent_says_everything_it_would_say_with_it",
        "browser/test_demo_site.py::test_only_a_button_of_the_banner_answers_it",
        "browser/test_demo_site.py::test_a_preference_that_the_sites_own_script_keeps_works_after_refusing",
        "browser/test_layouts.py::test_with_a_banner_the_page_can_be_used_by_keyboard",
    ),
    # California, 11 CCR 7004(a)
    "What a button does can be understood at once: no no to a no": (
        "test_banner_rules.py::test_buttons_and_switches_say_what_they_do",
        "test_banner.py::test_in_an_opt_out_regime_the_switches_show_what_is_in_force",
    ),
    "No takes no more steps than yes: beside a yes to all there is not only a way to choose": (
        "test_banner_rules.py::test_no_is_offered_wherever_yes_is",
        "test_opt_out.py::test_one_button_opts_out_and_leaves_the_rest_as_it_is",
    ),
    # UK, Privacy and Electronic Communications Regulations 2003, schedule A1
    "What needs no consent is told all the same, and can be objected to; that is kept": (
        "test_banner_rules.py::test_what_nobody_is_asked_for_is_told_and_an_objection_is_kept",
        "test_visitor.py::test_in_an_opt_out_regime_an_unrecorded_objection_holds",
    ),
    # GDPR, article 4(11): consent is of a person, by a statement or a clear act
    "A program agrees to nothing, and is told apart in the record": (
        "test_banner_rules.py::test_a_crawler_gets_the_page_of_a_person_who_has_not_chosen",
        "test_crawlers.py::test_a_preview_is_the_page_of_a_person_who_has_not_chosen",
        "test_crawlers.py::test_a_crawler_s_yes_is_none",
        "test_receipts.py::test_only_a_known_family_and_a_class_are_taken_from_the_user_agent",
    ),
    "Search engines show the page in their results, not the banner": (
        "test_banner.py::test_everything_is_marked_for_search_engines_and_readers",
        "test_crawlers.py::test_snippets_have_no_words_of_ours",
    ),
}
"""Each rule, and where it is shown."""


@cache
def names_in(file: str) -> frozenset[str]:
    """The names of the tests in a file beside this one."""
    tree = ast.parse((HERE / file).read_text(encoding="utf-8"))
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef))


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_is_shown(rule: str) -> None:
    """By tests that are there."""
    assert RULES[rule]
    for place in RULES[rule]:
        file, _, name = place.partition("::")
        assert name.startswith("test_")
        assert name in names_in(file), place


@cache
def banners() -> list[Reader]:
    """What a visitor is shown first, in every state of every kind of site."""
    policies = [replace(POLICY, regime=regime) for regime in Regime] + [replace(POLICY, children=True)]
    made = [Banner(policy) for policy in policies]
    signals = [decision.signals for decision in every_decision() if decision.signals.dnt is not False]
    return [
        read(decide(policy, signal), banner)
        for policy, banner in zip(policies, made, strict=True)
        for signal in signals
    ]


def test_no_is_offered_wherever_yes_is() -> None:
    """As often: in the banner, and in the preferences, where it takes back what was granted."""
    seen = set()
    for page in banners():
        answers = [button.attributes["value"] for button in page.all("button", name="action")]
        seen.add(" ".join(str(answer) for answer in answers))
        yes = answers.count("accept")
        assert answers.count("refuse") + answers.count("withdraw") >= yes
    assert seen >= {"accept refuse save refuse accept", "save withdraw accept", "save refuse accept"}


def test_nothing_is_sent_but_by_a_button_that_says_what() -> None:
    """Each form needs a press that names the answer: none would do for itself, and no field is one."""
    for page in banners():
        assert {field.attributes["name"] for field in page.all("input", type="hidden")} <= {
            "form",
            "return_to",
            "shown",
            "language",
            "told",
        }
        closing = [button for button in page.all("button") if "consent-close" in str(button.attributes)]
        assert [button.attributes["type"] for button in closing] == ["button"]
    site = Site()
    assert site.post(b"form=banner&return_to=%2F").status == 400
    assert (site.kept, site.store.receipts) == ("", [])


def test_all_that_can_be_switched_is_consent() -> None:
    """One switch for each optional category, and none beside it; no language speaks of such an interest."""
    for page in banners():
        switches = [box.attributes["name"] for box in page.all("input", type="checkbox")]
        assert switches in ([*OPTIONAL], [*OPTIONAL[:2]])
    interest = re.compile(
        "legitimate interest|berechtigte.? interesse|intérêts? légitime|interés legítimo|legittimo interesse"
        "|gerechtvaardigd belang|uzasadniony interes|interesse legítimo|berättigat intresse|законн.. интерес",
        re.IGNORECASE,
    )
    for language in languages():
        assert [text for text in load_texts(language).values() if interest.search(text)] == []


def test_only_a_change_asks_again() -> None:
    """Whatever was answered; and the age of a yes, or what cannot be read."""
    for answer in (choice(), choice(*OPTIONAL[:1]), choice(*OPTIONAL), choice(vendors={"example-ads": True})):
        asked = {
            state: decide(POLICY, Signals(choice=answer, choice_state=state)).asks
            for state in (ChoiceState.VALID, ChoiceState.OUTDATED)
        }
        assert asked == {ChoiceState.VALID: False, ChoiceState.OUTDATED: True}


def test_buttons_and_switches_say_what_they_do() -> None:
    """In few words, without a no; the one that has it is the law's own wording. On means allowed."""
    words = load_texts("en")
    named = {
        "accept": "Accept all",
        "refuse": "Refuse all",
        "choose": "Choose",
        "save": "Save choices",
        "withdraw": "Withdraw all",
    }
    assert {key: words[key] for key in named} == named
    for page in banners():
        for button in page.all("button"):
            negative = re.findall(r"\b(?:not|no|never|don.t|without|unless)\b", button.text, re.IGNORECASE)
            assert negative in ([], ["not"])
            assert bool(negative) is (button.attributes.get("value") == "opt-out")
    granted = read(decide(POLICY, Signals(choice=choice(*OPTIONAL), choice_state=ChoiceState.VALID)))
    assert all("checked" in box.attributes for box in granted.all("input", type="checkbox"))


def test_what_nobody_is_asked_for_is_told_and_an_objection_is_kept() -> None:
    """Where a notice is enough: nothing asks, all is explained one step away, and a no is one press, with a receipt."""
    policy = replace(POLICY, regime=Regime.NOTICE, language="en")
    before = decide(policy, Signals())
    assert (before.asks, [before.allows(category) for category in OPTIONAL]) == (False, [True] * 3)
    page = read(before, Banner(policy))
    assert len(page.words("consent-about")) == 4
    assert len(page.all("button", class_="consent-pill consent-opener")) == 1
    answers = [button.attributes["value"] for button in page.all("button", name="action")]
    assert answers[:2] in (["save", "refuse"], ["save", "withdraw"])

    site = Site(policy)
    assert site.choose("save", on=["functional", "targeting"]).status == 303
    (receipt,) = site.store.receipts
    assert [receipt.categories[category] for category in OPTIONAL] == [False, True, True]
    after = decide(policy, Signals(choice=site.choice, choice_state=ChoiceState.VALID))
    assert [after.allows(category) for category in OPTIONAL] == [False, True, True]


def test_a_crawler_gets_the_page_of_a_person_who_has_not_chosen() -> None:
    """To the byte, fields too; what it calls itself is not looked at, and nothing is kept for it."""
    app = around(answering(b'<p>Page</p><script src="https://t.tracker.example/t.js"></script></body>'))
    agents = (
        "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
        "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
        "facebookexternalhit/1.1",
        "",
    )
    person, *programs = [ask(app, headers={"user-agent": agent}) for agent in agents]
    assert b"tracker.example" not in person.body
    assert b"consent-banner" in person.body
    assert [(program.headers, program.body) for program in programs] == [(person.headers, person.body)] * 3
    assert person.all("set-cookie") == []
