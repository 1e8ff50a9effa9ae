"""The readable companion of the choice cookie, and the key of a page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType

import pytest

from consent.categories import OPTIONAL, Category
from consent.choice import BrowserSignal, Choice
from consent.choice_cookie import ChoiceCookie
from consent.decision import decide
from consent.policy import CacheMode, Policy, Regime
from consent.signals import ChoiceState, Signals
from consent.variant_cookie import VariantCookie
from tests.exchange import CATALOG, COOKIE, NOW, POLICY

OLD_KEY, NEW_KEY = b"0123456789abcdef0123456789abcdef", b"fedcba9876543210fedcba9876543210"
VARIANT = VariantCookie(COOKIE, POLICY, CATALOG)
TAG = VARIANT.tag
P, F, T = OPTIONAL


def choice(
    granted: Iterable[Category] = (),
    *,
    vendors: Mapping[str, bool] = MappingProxyType({}),
    told: Iterable[BrowserSignal] = (),
) -> Choice:
    return Choice(
        receipt_id="1f0c6e7e-3c58-4b6e-8f9f-0d3f5d7c2a10",
        subject="0" * 32,
        made_at=NOW - 100,
        policy_version=POLICY.version,
        granted=frozenset(granted),
        vendors=vendors,
        told=frozenset(told),
    )


@pytest.mark.parametrize(
    ("made", "value"),
    [
        (choice(), f"{TAG}.."),
        (choice(OPTIONAL), f"{TAG}.pft."),
        (choice([T, P], told=BrowserSignal), f"{TAG}.pt.gd"),
        (choice([P], vendors={"counter": False, "tracker": True}), f"{TAG}.p..pcounter_ttracker"),
        (choice([P], vendors={"counter": True, "cdn": False, "unknown": True}), f"{TAG}.p."),
    ],
)
def test_it_says_what_was_chosen_in_letters(made: Choice, value: str) -> None:
    """Of single vendors, those whose answer is another than their category's, and that anybody knows."""
    assert VARIANT.value(made) == value


def test_it_is_readable_and_lives_as_long_as_the_choice_counts() -> None:
    """The attributes of the signed one, but for HttpOnly; an old choice is not prolonged."""
    made, signed = choice([P]), b"consent=a.bcQk; Max-Age=1"
    expected = f"consent_variant=Qk.{TAG}.p.; Max-Age={180 * 86_400 - 100}; Path=/; SameSite=Lax; Secure"
    assert VARIANT.header(made, secure=True, now=NOW, beside=signed).decode() == expected
    secure = expected.removesuffix("; Secure")
    assert VARIANT.header(made, secure=False, now=NOW, beside=signed).decode() == secure
    deletion = b"consent_variant=; Max-Age=0; Path=/; SameSite=Lax"
    assert VARIANT.header(None, secure=False, now=NOW) == deletion


def test_where_all_get_one_page_it_says_when_the_choice_expires_and_lives_on() -> None:
    """As long as the signed one: with a refusal in it, as long as browsers keep a cookie."""
    policy = Policy(cache=CacheMode.UNIFORM)
    uniform = VariantCookie(COOKIE, policy, CATALOG)
    vendors = {"counter": False, "tracker": True, "unknown": True}
    made = replace(choice([P], vendors=vendors), policy_version=policy.version)
    ends = NOW - 100 + 180 * 86_400
    kept = f"; Max-Age={400 * 86_400}; Path=/; SameSite=Lax"
    counting = "pFT.pF.F.F"  # GPC refuses targeting, DNT performance, too
    expected = f"consent_variant=.{uniform.tag}.{ends}000.{counting}.p.p:counter.T:tracker.{kept}"
    assert uniform.header(made, secure=False, now=NOW).decode() == expected
    everything = choice(OPTIONAL, told=[BrowserSignal.DNT])
    made = replace(everything, policy_version=policy.version)
    expected = (
        f"consent_variant=.{uniform.tag}.{ends}000.pft.pf.pft.pf.p.f.t.; Max-Age={ends - NOW}; "
        "Path=/; SameSite=Lax"
    )
    assert uniform.header(made, secure=False, now=NOW).decode() == expected
    everything = replace(everything, policy_version="ba9876543210")
    outdated = uniform.header(everything, secure=False, now=NOW).decode()
    assert outdated.startswith("consent_variant=.outdated.")


def test_a_choice_under_another_policy_does_not_get_the_tag_of_this_one() -> None:
    """Its cookie is set anew, too, so that it is not forgotten, and counts no more for that."""
    assert VARIANT.value(replace(choice([P]), policy_version="ba9876543210")) == "outdated.p."


def test_another_policy_or_signing_key_is_another_tag() -> None:
    """What was chosen under it may not count any more; a key that only verifies changes nothing."""
    rotated = ChoiceCookie([NEW_KEY, OLD_KEY])
    assert VariantCookie(ChoiceCookie([OLD_KEY, NEW_KEY]), POLICY, CATALOG).tag == TAG
    assert VariantCookie(ChoiceCookie([OLD_KEY]), Policy(site="Renamed"), CATALOG).tag == TAG
    tags = {
        TAG,
        VariantCookie(rotated, POLICY, CATALOG).tag,
        VariantCookie(COOKIE, Policy(controller="Other"), CATALOG).tag,
    }
    assert len(tags) == 3
    assert all(len(tag) == 12 and int(tag, 16) >= 0 for tag in tags)


@pytest.mark.parametrize(
    ("signals", "key"),
    [
        (Signals(), "none:"),
        (Signals(gpc=True), "none:g"),
        (Signals(dnt=True), "none:d"),
        (Signals(gpc=True, dnt=True), "none:gd"),
        (Signals(dnt=False), None),
        (Signals(choice=choice(), choice_state=ChoiceState.VALID), f"{TAG}..:"),
        (Signals(choice=choice([P, F]), choice_state=ChoiceState.VALID, gpc=True), f"{TAG}.pf.:g"),
        (
            Signals(choice=choice([T], told=[BrowserSignal.GPC]), choice_state=ChoiceState.VALID, gpc=True),
            f"{TAG}.t.g:g",
        ),
        (Signals(choice=choice([P], vendors={"tracker": True}), choice_state=ChoiceState.VALID), None),
        (Signals(choice=choice([P]), choice_state=ChoiceState.OUTDATED), None),
        (Signals(choice_state=ChoiceState.EXPIRED), None),
        (Signals(choice_state=ChoiceState.FORGED), None),
    ],
)
def test_a_page_has_a_key_where_others_may_share_it(signals: Signals, key: str | None) -> None:
    """No key for exceptions, nor for a stored answer that does not count."""
    assert VARIANT.key(decide(POLICY, signals)) == key


@pytest.mark.parametrize(
    ("line", "is_right"),
    [
        ("a=1", False),
        ("a=1; consent_variant=Qk.{}.p.", True),
        (" consent_variant = Qk.{}.p. ", True),
        ("consent_variant=Qk.{}.pft.", False),
        ("consent_variant=Qj.{}.p.", False),
        ("consent_variant={}.p.", False),
        ("xconsent_variant=Qk.{}.p.", False),
        ("consent_variant=Qk.{}.p.; consent_variant=x", False),
    ],
)
def test_a_cookie_that_says_something_else_is_put_right(line: str, is_right: bool) -> None:
    """By the signed one, whose last two characters it begins with."""
    decision = decide(POLICY, Signals(choice=choice([P]), choice_state=ChoiceState.VALID))
    correct = VARIANT.header(choice([P]), secure=True, now=NOW, beside=b"Qk")
    lines = [b"consent=a.bcQk", line.format(TAG).encode()]
    assert VARIANT.correction(decision, lines, secure=True, now=NOW) == (None if is_right else correct)
    two = [*lines, b"consent=\xff\xff"]
    unbound = VARIANT.header(choice([P]), secure=True, now=NOW)
    assert VARIANT.correction(decision, two, secure=True, now=NOW) == unbound


@pytest.mark.parametrize("state", [ChoiceState.ABSENT, ChoiceState.EXPIRED, ChoiceState.FORGED])
def test_a_cookie_without_a_choice_is_deleted(state: ChoiceState) -> None:
    """And none is set where there is none."""
    decision = decide(POLICY, Signals(choice_state=state))
    assert VARIANT.correction(decision, [b"a=1"], secure=False, now=NOW) is None
    found = VARIANT.correction(decision, [b"consent_variant=x"], secure=False, now=NOW)
    assert found == b"consent_variant=; Max-Age=0; Path=/; SameSite=Lax"


def test_the_guard_is_told_what_silence_and_signals_mean() -> None:
    """As the policy has it."""
    assert VARIANT.unanswered == f"consent_variant= {TAG}  u u u u p f t"
    for regime, counting in ((Regime.OPT_IN, "u  u "), (Regime.NOTICE, "pftu u pfu u")):
        policy = Policy(regime=regime, gpc_refuses=frozenset(OPTIONAL), dnt_refuses=frozenset([T]))
        companion = VariantCookie(COOKIE, policy, CATALOG)
        assert companion.unanswered == f"consent_variant= {companion.tag}  {counting} p f t"
