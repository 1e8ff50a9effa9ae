"""The decision: its truth table, its properties, and how apps and templates read it."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import Environment, StrictUndefined

from consent.categories import OPTIONAL, Category
from consent.choice import BrowserSignal, Choice
from consent.choice_cookie import ChoiceCookie
from consent.decision import Decision, Reason, UnknownCategoryError, Verdict, decide
from consent.errors import ConsentError
from consent.policy import Policy, Regime
from consent.signals import ChoiceState, Signals, read_dnt, read_gpc

NOW = 1_800_000_000
DAY = 86_400
COOKIE = ChoiceCookie([b"0123456789abcdef0123456789abcdef"], max_age_days=180)
P, F, T = OPTIONAL
GPC, DNT = BrowserSignal.GPC, BrowserSignal.DNT

# One row per case. "told": the signals the visitor was told of on the form the choice was made on, that is,
# the choice came after them; with "-" it came before. "P F T": why performance, functional and targeting are
# allowed or not. Every reason but "granted" and "regime" means not allowed. "conflicts": the signals that
# overrule a stored yes. A row under "opt-out" holds for "notice" too.
TRUTH_TABLE = """
# regime stored             told     gpc dnt | P          F          T         | asks  conflicts
opt-in   nothing            -        -   - | no-choice  no-choice  no-choice | asks  -
opt-in   nothing            -        -   1 | dnt        no-choice  dnt       | asks  -
opt-in   nothing            -        1   - | no-choice  no-choice  gpc       | asks  -
opt-in   nothing            -        1   1 | dnt        no-choice  gpc       | asks  -
opt-in   accepted           -        -   - | granted    granted    granted   | -     -
opt-in   accepted           -        -   1 | dnt        granted    dnt       | -     dnt
opt-in   accepted           -        1   - | granted    granted    gpc       | -     gpc
opt-in   accepted           -        1   1 | dnt        granted    gpc       | -     gpc+dnt
opt-in   accepted           gpc      -   1 | dnt        granted    dnt       | -     dnt
opt-in   accepted           gpc      1   - | granted    granted    granted   | -     -
opt-in   accepted           gpc      1   1 | dnt        granted    dnt       | -     dnt
opt-in   accepted           dnt      -   1 | granted    granted    granted   | -     -
opt-in   accepted           dnt      1   - | granted    granted    gpc       | -     gpc
opt-in   accepted           dnt      1   1 | granted    granted    gpc       | -     gpc
opt-in   accepted           gpc+dnt  -   1 | granted    granted    granted   | -     -
opt-in   accepted           gpc+dnt  1   - | granted    granted    granted   | -     -
opt-in   accepted           gpc+dnt  1   1 | granted    granted    granted   | -     -
opt-in   refused            -        -   - | refused    refused    refused   | -     -
opt-in   refused            -        -   1 | dnt        refused    dnt       | -     -
opt-in   refused            -        1   - | refused    refused    gpc       | -     -
opt-in   refused            -        1   1 | dnt        refused    gpc       | -     -
opt-in   refused            gpc+dnt  -   1 | dnt        refused    dnt       | -     -
opt-in   refused            gpc+dnt  1   - | refused    refused    gpc       | -     -
opt-in   refused            gpc+dnt  1   1 | dnt        refused    gpc       | -     -
opt-in   partial            -        -   - | refused    granted    granted   | -     -
opt-in   partial            -        -   1 | dnt        granted    dnt       | -     dnt
opt-in   partial            -        1   - | refused    granted    gpc       | -     gpc
opt-in   partial            -        1   1 | dnt        granted    gpc       | -     gpc+dnt
opt-in   partial            gpc      -   1 | dnt        granted    dnt       | -     dnt
opt-in   partial            gpc      1   - | refused    granted    granted   | -     -
opt-in   partial            gpc      1   1 | dnt        granted    dnt       | -     dnt
opt-in   partial            dnt      -   1 | dnt        granted    granted   | -     -
opt-in   partial            dnt      1   - | refused    granted    gpc       | -     gpc
opt-in   partial            dnt      1   1 | dnt        granted    gpc       | -     gpc
opt-in   partial            gpc+dnt  -   1 | dnt        granted    granted   | -     -
opt-in   partial            gpc+dnt  1   - | refused    granted    granted   | -     -
opt-in   partial            gpc+dnt  1   1 | dnt        granted    granted   | -     -
opt-in   outdated-accepted  -        -   - | outdated   outdated   outdated  | asks  -
opt-in   outdated-accepted  -        -   1 | dnt        outdated   dnt       | asks  -
opt-in   outdated-accepted  -        1   - | outdated   outdated   gpc       | asks  -
opt-in   outdated-accepted  -        1   1 | dnt        outdated   gpc       | asks  -
opt-in   outdated-accepted  gpc+dnt  -   1 | dnt        outdated   dnt       | asks  -
opt-in   outdated-accepted  gpc+dnt  1   - | outdated   outdated   gpc       | asks  -
opt-in   outdated-accepted  gpc+dnt  1   1 | dnt        outdated   gpc       | asks  -
opt-in   outdated-refused   -        -   - | refused    refused    refused   | asks  -
opt-in   outdated-refused   -        -   1 | dnt        refused    dnt       | asks  -
opt-in   outdated-refused   -        1   - | refused    refused    gpc       | asks  -
opt-in   outdated-refused   -        1   1 | dnt        refused    gpc       | asks  -
opt-in   outdated-refused   gpc+dnt  -   1 | dnt        refused    dnt       | asks  -
opt-in   outdated-refused   gpc+dnt  1   - | refused    refused    gpc       | asks  -
opt-in   outdated-refused   gpc+dnt  1   1 | dnt        refused    gpc       | asks  -
opt-in   outdated-partial   -        -   - | refused    outdated   outdated  | asks  -
opt-in   outdated-partial   -        -   1 | dnt        outdated   dnt       | asks  -
opt-in   outdated-partial   -        1   - | refused    outdated   gpc       | asks  -
opt-in   outdated-partial   -        1   1 | dnt        outdated   gpc       | asks  -
opt-in   outdated-partial   gpc+dnt  -   1 | dnt        outdated   dnt       | asks  -
opt-in   outdated-partial   gpc+dnt  1   - | refused    outdated   gpc       | asks  -
opt-in   outdated-partial   gpc+dnt  1   1 | dnt        outdated   gpc       | asks  -
opt-in   expired-accepted   -        -   - | expired    expired    expired   | asks  -
opt-in   expired-accepted   -        -   1 | dnt        expired    dnt       | asks  -
opt-in   expired-accepted   -        1   - | expired    expired    gpc       | asks  -
opt-in   expired-accepted   -        1   1 | dnt        expired    gpc       | asks  -
opt-in   expired-refused    -        -   - | refused    refused    refused   | asks  -
opt-in   expired-refused    -        -   1 | dnt        refused    dnt       | asks  -
opt-in   expired-refused    -        1   - | refused    refused    gpc       | asks  -
opt-in   expired-refused    -        1   1 | dnt        refused    gpc       | asks  -
opt-in   expired-partial    -        -   - | refused    expired    expired   | asks  -
opt-in   expired-partial    -        -   1 | dnt        expired    dnt       | asks  -
opt-in   expired-partial    -        1   - | refused    expired    gpc       | asks  -
opt-in   expired-partial    -        1   1 | dnt        expired    gpc       | asks  -
opt-in   forged-accepted    -        -   - | forged     forged     forged    | asks  -
opt-in   forged-accepted    -        -   1 | dnt        forged     dnt       | asks  -
opt-in   forged-accepted    -        1   - | forged     forged     gpc       | asks  -
opt-in   forged-accepted    -        1   1 | dnt        forged     gpc       | asks  -
opt-in   forged-refused     -        -   - | forged     forged     forged    | asks  -
opt-in   forged-refused     -        -   1 | dnt        forged     dnt       | asks  -
opt-in   forged-refused     -        1   - | forged     forged     gpc       | asks  -
opt-in   forged-refused     -        1   1 | dnt        forged     gpc       | asks  -
opt-in   forged-partial     -        -   - | forged     forged     forged    | asks  -
opt-in   forged-partial     -        -   1 | dnt        forged     dnt       | asks  -
opt-in   forged-partial     -        1   - | forged     forged     gpc       | asks  -
opt-in   forged-partial     -        1   1 | dnt        forged     gpc       | asks  -
opt-out  nothing            -        -   - | regime     regime     regime    | -     -
opt-out  nothing            -        -   1 | dnt        regime     dnt       | -     -
opt-out  nothing            -        1   - | regime     regime     gpc       | -     -
opt-out  nothing            -        1   1 | dnt        regime     gpc       | -     -
opt-out  accepted           -        -   - | granted    granted    granted   | -     -
opt-out  accepted           -        -   1 | dnt        granted    dnt       | -     dnt
opt-out  accepted           -        1   - | granted    granted    gpc       | -     gpc
opt-out  accepted           -        1   1 | dnt        granted    gpc       | -     gpc+dnt
opt-out  accepted           gpc      -   1 | dnt        granted    dnt       | -     dnt
opt-out  accepted           gpc      1   - | granted    granted    granted   | -     -
opt-out  accepted           gpc      1   1 | dnt        granted    dnt       | -     dnt
opt-out  accepted           dnt      -   1 | granted    granted    granted   | -     -
opt-out  accepted           dnt      1   - | granted    granted    gpc       | -     gpc
opt-out  accepted           dnt      1   1 | granted    granted    gpc       | -     gpc
opt-out  accepted           gpc+dnt  -   1 | granted    granted    granted   | -     -
opt-out  accepted           gpc+dnt  1   - | granted    granted    granted   | -     -
opt-out  accepted           gpc+dnt  1   1 | granted    granted    granted   | -     -
opt-out  refused            -        -   - | refused    refused    refused   | -     -
opt-out  refused            -        -   1 | dnt        refused    dnt       | -     -
opt-out  refused            -        1   - | refused    refused    gpc       | -     -
opt-out  refused            -        1   1 | dnt        refused    gpc       | -     -
opt-out  refused            gpc+dnt  -   1 | dnt        refused    dnt       | -     -
opt-out  refused            gpc+dnt  1   - | refused    refused    gpc       | -     -
opt-out  refused            gpc+dnt  1   1 | dnt        refused    gpc       | -     -
opt-out  partial            -        -   - | refused    granted    granted   | -     -
opt-out  partial            -        -   1 | dnt        granted    dnt       | -     dnt
opt-out  partial            -        1   - | refused    granted    gpc       | -     gpc
opt-out  partial            -        1   1 | dnt        granted    gpc       | -     gpc+dnt
opt-out  partial            gpc      -   1 | dnt        granted    dnt       | -     dnt
opt-out  partial            gpc      1   - | refused    granted    granted   | -     -
opt-out  partial            gpc      1   1 | dnt        granted    dnt       | -     dnt
opt-out  partial            dnt      -   1 | dnt        granted    granted   | -     -
opt-out  partial            dnt      1   - | refused    granted    gpc       | -     gpc
opt-out  partial            dnt      1   1 | dnt        granted    gpc       | -     gpc
opt-out  partial            gpc+dnt  -   1 | dnt        granted    granted   | -     -
opt-out  partial            gpc+dnt  1   - | refused    granted    granted   | -     -
opt-out  partial            gpc+dnt  1   1 | dnt        granted    granted   | -     -
opt-out  outdated-accepted  -        -   - | regime     regime     regime    | -     -
opt-out  outdated-accepted  -        -   1 | dnt        regime     dnt       | -     -
opt-out  outdated-accepted  -        1   - | regime     regime     gpc       | -     -
opt-out  outdated-accepted  -        1   1 | dnt        regime     gpc       | -     -
opt-out  outdated-accepted  gpc+dnt  -   1 | dnt        regime     dnt       | -     -
opt-out  outdated-accepted  gpc+dnt  1   - | regime     regime     gpc       | -     -
opt-out  outdated-accepted  gpc+dnt  1   1 | dnt        regime     gpc       | -     -
opt-out  outdated-refused   -        -   - | refused    refused    refused   | -     -
opt-out  outdated-refused   -        -   1 | dnt        refused    dnt       | -     -
opt-out  outdated-refused   -        1   - | refused    refused    gpc       | -     -
opt-out  outdated-refused   -        1   1 | dnt        refused    gpc       | -     -
opt-out  outdated-refused   gpc+dnt  -   1 | dnt        refused    dnt       | -     -
opt-out  outdated-refused   gpc+dnt  1   - | refused    refused    gpc       | -     -
opt-out  outdated-refused   gpc+dnt  1   1 | dnt        refused    gpc       | -     -
opt-out  outdated-partial   -        -   - | refused    regime     regime    | -     -
opt-out  outdated-partial   -        -   1 | dnt        regime     dnt       | -     -
opt-out  outdated-partial   -        1   - | refused    regime     gpc       | -     -
opt-out  outdated-partial   -        1   1 | dnt        regime     gpc       | -     -
opt-out  outdated-partial   gpc+dnt  -   1 | dnt        regime     dnt       | -     -
opt-out  outdated-partial   gpc+dnt  1   - | refused    regime     gpc       | -     -
opt-out  outdated-partial   gpc+dnt  1   1 | dnt        regime     gpc       | -     -
opt-out  expired-accepted   -        -   - | regime     regime     regime    | -     -
opt-out  expired-accepted   -        -   1 | dnt        regime     dnt       | -     -
opt-out  expired-accepted   -        1   - | regime     regime     gpc       | -     -
opt-out  expired-accepted   -        1   1 | dnt        regime     gpc       | -     -
opt-out  expired-refused    -        -   - | refused    refused    refused   | -     -
opt-out  expired-refused    -        -   1 | dnt        refused    dnt       | -     -
opt-out  expired-refused    -        1   - | refused    refused    gpc       | -     -
opt-out  expired-refused    -        1   1 | dnt        refused    gpc       | -     -
opt-out  expired-partial    -        -   - | refused    regime     regime    | -     -
opt-out  expired-partial    -        -   1 | dnt        regime     dnt       | -     -
opt-out  expired-partial    -        1   - | refused    regime     gpc       | -     -
opt-out  expired-partial    -        1   1 | dnt        regime     gpc       | -     -
opt-out  forged-accepted    -        -   - | forged     forged     forged    | -     -
opt-out  forged-accepted    -        -   1 | dnt        forged     dnt       | -     -
opt-out  forged-accepted    -        1   - | forged     forged     gpc       | -     -
opt-out  forged-accepted    -        1   1 | dnt        forged     gpc       | -     -
opt-out  forged-refused     -        -   - | forged     forged     forged    | -     -
opt-out  forged-refused     -        -   1 | dnt        forged     dnt       | -     -
opt-out  forged-refused     -        1   - | forged     forged     gpc       | -     -
opt-out  forged-refused     -        1   1 | dnt        forged     gpc       | -     -
opt-out  forged-partial     -        -   - | forged     forged     forged    | -     -
opt-out  forged-partial     -        -   1 | dnt        forged     dnt       | -     -
opt-out  forged-partial     -        1   - | forged     forged     gpc       | -     -
opt-out  forged-partial     -        1   1 | dnt        forged     gpc       | -     -
"""

STORED: Mapping[str, frozenset[Category]] = {
    "accepted": frozenset(OPTIONAL),
    "refused": frozenset(),
    "partial": frozenset({F, T}),
}

# Every way to send a signal that counts, and every way that is the same as none.
GPC_FIELDS: Mapping[str, list[tuple[bytes, ...]]] = {
    "1": [(b"1",), (b" 1 ",), (b"1", b"1"), (b"0", b"1"), (b"malformed", b"1")],
    "-": [(), (b"0",), (b"",), (b"true",), (b"1, 1",), (b"11",), (b"0", b"0"), (b"1x",)],
}
DNT_FIELDS: Mapping[str, list[tuple[bytes, ...]]] = {
    "1": [(b"1",), (b"1xyz",), (b" 1",)],
    "-": [(), (b"0",), (b"0xyz",), (b"",), (b"yes",), (b"1, 1",), (b"1", b"1"), (b"0", b"1"), (b'1"',)],
}


def choice(
    granted: frozenset[Category] = frozenset(),
    *,
    told: frozenset[BrowserSignal] = frozenset(),
    vendors: Mapping[str, bool] | None = None,
    policy_version: str = "0123456789ab",
    made_at: int = NOW - DAY,
) -> Choice:
    return Choice(
        receipt_id="3f2504e0-4f89-41d3-9a0c-0305e82c3301",
        subject="00112233445566778899aabbccddeeff",
        made_at=made_at,
        policy_version=policy_version,
        granted=granted,
        vendors=vendors or {},
        told=told,
    )


def rows() -> Iterator[tuple[str, ...]]:
    for line in TRUTH_TABLE.strip().splitlines()[1:]:
        cells = line.replace("|", " ").split()
        yield tuple(cells)
        if cells[0] == "opt-out":
            yield ("notice", *cells[1:])


def cookie_line(stored: str, told: str, policy: Policy) -> list[tuple[bytes, bytes]]:
    """Store a choice as the row describes it, and send it back as a browser does."""
    if stored == "nothing":
        return []
    state, _, answer = stored.rpartition("-")
    made = choice(
        STORED[answer],
        told=frozenset(BrowserSignal(name) for name in told.split("+") if name != "-"),
        policy_version="ba9876543210" if state == "outdated" else policy.version,
        made_at=NOW - 180 * DAY if state == "expired" else NOW - DAY,
    )
    pair = COOKIE.header(made, secure=True, now=made.made_at).partition(b";")[0]
    if state == "forged":
        pair = pair[:-2] + (b"AA" if pair[-2:] != b"AA" else b"EE")
    return [(b"cookie", b"theme=dark; " + pair)]


@pytest.mark.parametrize("row", list(rows()), ids=" ".join)
def test_truth_table(row: tuple[str, ...]) -> None:
    """From the raw request to the decision: each row, with every spelling of its signals."""
    regime, stored, told, gpc, dnt, *reasons, asks, conflicts = row
    policy = Policy(regime=Regime(regime))
    expected = {
        Category.STRICTLY_NECESSARY: Verdict(True, Reason.ALWAYS_ON),
        **{
            category: Verdict(reason in ("granted", "regime"), Reason(reason))
            for category, reason in zip(OPTIONAL, reasons, strict=True)
        },
    }
    cookies = cookie_line(stored, told, policy)
    for gpc_values in GPC_FIELDS[gpc]:
        for dnt_values in DNT_FIELDS[dnt]:
            headers = [(b"sec-gpc", value) for value in gpc_values] + [
                (b"dnt", value) for value in dnt_values
            ]
            headers += cookies
            kept, state, _ = COOKIE.read(headers, now=NOW, policy_version=policy.version)
            signals = Signals(choice=kept, choice_state=state, gpc=read_gpc(headers), dnt=read_dnt(headers))
            decision = decide(policy, signals)
            assert dict(decision.verdicts) == expected
            assert [decision.allows(category) for category in Category] == [
                v.allowed for v in expected.values()
            ]
            assert [decision.reason(category) for category in Category] == [
                v.reason for v in expected.values()
            ]
            assert decision.asks is (asks == "asks")
            assert decision.conflicts == {BrowserSignal(name) for name in conflicts.split("+") if name != "-"}
            assert decision.signals is signals
            assert decision.policy_version == policy.version


def test_the_truth_table_has_every_combination_of_stored_choice_and_signals() -> None:
    """Nothing is left out silently: 3 regimes, 13 stored choices, 4 combinations of signals."""
    states = ["nothing"] + [
        f"{state}{name}" for state in ("", "outdated-", "expired-", "forged-") for name in STORED
    ]
    wanted = {
        (regime, stored, gpc, dnt) for regime in Regime for stored in states for gpc in "-1" for dnt in "-1"
    }
    assert {(row[0], row[1], row[3], row[4]) for row in rows()} == wanted
    assert len(list(rows())) == len(set(rows()))


# --- The policy changes what the signals refuse -------------------------------------------------------------


def test_the_policy_can_make_gpc_refuse_everything_optional() -> None:
    policy = Policy(gpc_refuses=frozenset(OPTIONAL))
    decision = decide(
        policy, Signals(choice=choice(frozenset(OPTIONAL)), choice_state=ChoiceState.VALID, gpc=True)
    )
    assert [decision.reason(category) for category in OPTIONAL] == [Reason.GPC] * 3
    assert decision.conflicts == {GPC}


def test_the_policy_can_make_a_signal_refuse_nothing() -> None:
    policy = Policy(gpc_refuses=frozenset(), dnt_refuses=frozenset())
    signals = Signals(choice=choice(frozenset(OPTIONAL)), choice_state=ChoiceState.VALID, gpc=True, dnt=True)
    decision = decide(policy, signals)
    assert [decision.reason(category) for category in OPTIONAL] == [Reason.GRANTED] * 3
    assert decision.conflicts == frozenset()


def test_where_signals_have_answered_everything_nobody_is_asked() -> None:
    """A banner would only ask the visitor to take back what the browser said."""
    policy = Policy(dnt_refuses=frozenset(OPTIONAL))
    assert decide(policy, Signals(dnt=True)).asks is False
    assert decide(policy, Signals(dnt=None)).asks is True


# --- Vendor exceptions --------------------------------------------------------------------------------------


def test_a_refused_vendor_is_refused_in_a_granted_category() -> None:
    stored = choice(frozenset({P}), vendors={"example-stats": False})
    decision = decide(Policy(), Signals(choice=stored, choice_state=ChoiceState.VALID))
    assert decision.allows("performance") is True
    assert decision.allows("performance", "other-stats") is True
    assert decision.allows("performance", "example-stats") is False
    assert dict(decision.vendors) == {"example-stats": False}


def test_an_allowed_vendor_is_allowed_alone_in_a_refused_category() -> None:
    stored = choice(vendors={"example-stats": True})
    decision = decide(Policy(), Signals(choice=stored, choice_state=ChoiceState.VALID))
    assert decision.allows("performance") is False
    assert decision.allows("performance", "other-stats") is False
    assert decision.allows("performance", "example-stats") is True


@pytest.mark.parametrize("told", [frozenset(), frozenset({GPC})])
def test_no_vendor_exception_allows_what_a_signal_refuses(told: frozenset[BrowserSignal]) -> None:
    """Only a grant of the whole category, made while told of the signal, outweighs it."""
    stored = choice(told=told, vendors={"example-ads": True})
    decision = decide(Policy(), Signals(choice=stored, choice_state=ChoiceState.VALID, gpc=True))
    assert decision.reason("targeting") is Reason.GPC
    assert decision.allows("targeting", "example-ads") is False


def test_a_strictly_necessary_vendor_cannot_be_refused() -> None:
    stored = choice(vendors={"example-pay": False})
    decision = decide(Policy(), Signals(choice=stored, choice_state=ChoiceState.VALID))
    assert decision.allows("strictly-necessary", "example-pay") is True


@pytest.mark.parametrize("regime", list(Regime))
def test_of_outdated_vendor_exceptions_only_the_refusals_stand(regime: Regime) -> None:
    stored = choice(frozenset({P}), vendors={"refused-stats": False, "allowed-chat": True})
    decision = decide(Policy(regime=regime), Signals(choice=stored, choice_state=ChoiceState.OUTDATED))
    assert dict(decision.vendors) == {"refused-stats": False}
    assert decision.allows("performance", "refused-stats") is False
    assert decision.allows("functional", "allowed-chat") is False


def test_changing_the_mapping_a_choice_was_made_with_does_not_change_the_decision() -> None:
    vendors = {"example-stats": False}
    stored = choice(frozenset({P}), vendors=vendors)
    decision = decide(Policy(), Signals(choice=stored, choice_state=ChoiceState.VALID))
    vendors["example-stats"] = True
    assert decision.allows("performance", "example-stats") is False


# --- Inconsistent signals: decide is total ------------------------------------------------------------------


@pytest.mark.parametrize("state", [ChoiceState.ABSENT, ChoiceState.FORGED])
def test_a_choice_whose_state_forbids_it_is_ignored(state: ChoiceState) -> None:
    stored = choice(frozenset(OPTIONAL), vendors={"example-stats": True})
    signals = Signals(choice=stored, choice_state=state)
    decision = decide(Policy(), signals)
    assert [decision.allows(category) for category in OPTIONAL] == [False] * 3
    assert decision.allows("performance", "example-stats") is False
    assert decision.asks is True
    refused = Signals(choice=choice(vendors={"example-stats": False}), choice_state=state)
    nothing = Signals(choice_state=state)
    for regime in Regime:
        policy = Policy(regime=regime)
        assert decide(policy, refused).verdicts == decide(policy, nothing).verdicts
        assert decide(policy, signals).verdicts == decide(policy, nothing).verdicts
        assert dict(decide(policy, refused).vendors) == {}


@pytest.mark.parametrize("state", [ChoiceState.VALID, ChoiceState.OUTDATED, ChoiceState.EXPIRED])
def test_a_state_without_the_choice_it_is_about_is_no_choice(state: ChoiceState) -> None:
    decision = decide(Policy(), Signals(choice=None, choice_state=state))
    assert [decision.reason(category) for category in OPTIONAL] == [Reason.NO_CHOICE] * 3
    assert decision.asks is True


# --- Properties ---------------------------------------------------------------------------------------------

categories = st.frozensets(st.sampled_from(OPTIONAL))
vendor_ids = st.sampled_from(["example-stats", "example-chat", "example-ads"])
choices = st.builds(
    choice,
    categories,
    told=st.frozensets(st.sampled_from(BrowserSignal)),
    vendors=st.dictionaries(vendor_ids, st.booleans()),
)
policies = st.builds(Policy, regime=st.sampled_from(Regime), gpc_refuses=categories, dnt_refuses=categories)
all_signals = st.builds(
    Signals,
    choice=st.none() | choices,
    choice_state=st.sampled_from(ChoiceState),
    gpc=st.booleans(),
    dnt=st.none() | st.booleans(),
)


def outcomes(decision: Decision) -> list[bool]:
    """What the decision answers to everything that can be asked."""
    vendors = [None, "example-stats", "example-chat", "example-ads", "never-heard-of"]
    return [decision.allows(category, vendor) for category in Category for vendor in vendors]


@given(
    policies,
    choices,
    st.sampled_from([ChoiceState.VALID, ChoiceState.OUTDATED, ChoiceState.EXPIRED]),
    st.booleans(),
    st.none() | st.booleans(),
)
def test_a_stored_no_never_becomes_a_yes(
    policy: Policy, stored: Choice, state: ChoiceState, gpc: bool, dnt: bool | None
) -> None:
    """Whatever the regime, the signals and the policy's version: also an old refusal stays one."""
    decision = decide(policy, Signals(choice=stored, choice_state=state, gpc=gpc, dnt=dnt))
    for category in OPTIONAL:
        if category not in stored.granted:
            assert decision.allows(category) is False
            assert decision.allows(category, "never-heard-of") is False
        for vendor, allowed in stored.vendors.items():
            if not allowed:
                assert decision.allows(category, vendor) is False


@given(all_signals, categories, categories)
def test_in_an_opt_in_regime_nothing_is_allowed_that_a_valid_choice_does_not_grant(
    signals: Signals, gpc_refuses: frozenset[Category], dnt_refuses: frozenset[Category]
) -> None:
    decision = decide(Policy(gpc_refuses=gpc_refuses, dnt_refuses=dnt_refuses), signals)
    stored = signals.choice if signals.choice_state is ChoiceState.VALID else None
    for category in OPTIONAL:
        if decision.allows(category):
            assert stored is not None
            assert category in stored.granted
        for vendor in ("example-stats", "never-heard-of"):
            if decision.allows(category, vendor):
                assert stored is not None
                assert category in stored.granted or stored.vendors.get(vendor) is True


@given(policies, all_signals)
def test_sending_a_signal_never_allows_more(policy: Policy, signals: Signals) -> None:
    silent = decide(policy, dataclasses.replace(signals, gpc=False, dnt=None))
    for gpc, dnt in ((True, None), (False, True), (True, True)):
        sent = decide(policy, dataclasses.replace(signals, gpc=gpc, dnt=dnt))
        for with_signal, without in zip(outcomes(sent), outcomes(silent), strict=True):
            assert without or not with_signal


@given(policies, all_signals)
def test_a_signal_not_sent_is_the_same_as_one_that_says_no_preference(
    policy: Policy, signals: Signals
) -> None:
    absent = decide(policy, dataclasses.replace(signals, dnt=None))
    off = decide(policy, dataclasses.replace(signals, dnt=False))
    assert absent.verdicts == off.verdicts
    assert (absent.key, absent.asks, absent.conflicts) == (off.key, off.asks, off.conflicts)


@given(policies, all_signals)
def test_a_decision_is_defined_for_every_input_and_only_depends_on_it(
    policy: Policy, signals: Signals
) -> None:
    decision = decide(policy, signals)
    assert decision == decide(policy, signals)
    assert hash(decision) == hash(decide(policy, signals))
    assert list(decision.verdicts) == [Category.STRICTLY_NECESSARY, *OPTIONAL]
    assert decision.verdicts[Category.STRICTLY_NECESSARY] == Verdict(True, Reason.ALWAYS_ON)
    assert decision.conflicts == frozenset() or signals.choice_state is ChoiceState.VALID


@given(policies, policies, all_signals, all_signals)
def test_decisions_with_the_same_key_answer_alike(
    one: Policy, two: Policy, first: Signals, second: Signals
) -> None:
    a, b = decide(one, first), decide(two, second)
    if a.key == b.key:
        assert outcomes(a) == outcomes(b)
    if outcomes(a) != outcomes(b):
        assert a.key != b.key


# --- Reading it ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("granted", "vendors", "gpc", "key"),
    [
        (frozenset(), {}, False, "---"),
        (frozenset(), {}, True, "---"),
        (frozenset({P}), {}, False, "p--"),
        (frozenset({F, T}), {}, False, "-ft"),
        (frozenset(OPTIONAL), {}, False, "pft"),
        (frozenset(OPTIONAL), {}, True, "pf-"),
        (frozenset({P}), {"example-stats": False}, True, "p--.92f761155d4bbaf6"),
        (frozenset({P}), {"example-ads": True}, False, "p--.5f2480a95c17263a"),
        (frozenset({P}), {"example-ads": True}, True, "p-x.5f2480a95c17263a"),
    ],
)
def test_the_key_is_short_and_names_the_outcome(
    granted: frozenset[Category], vendors: dict[str, bool], gpc: bool, key: str
) -> None:
    stored = choice(granted, vendors=vendors)
    assert decide(Policy(), Signals(choice=stored, choice_state=ChoiceState.VALID, gpc=gpc)).key == key


def test_the_key_is_the_same_in_another_process() -> None:
    """Whatever the seed of its string hashes, so that workers share an ETag."""
    program = (
        "import json; from tests.test_decision import choice; from consent.decision import decide;"
        "from consent.policy import Policy; from consent.signals import ChoiceState, Signals;"
        "s = choice(vendors={'example-ads': True, 'example-chat': False, 'a': True});"
        "d = decide(Policy(), Signals(choice=s, choice_state=ChoiceState.VALID));"
        "print(json.dumps([d.key, d.policy_version]))"
    )
    results = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    stored = choice(vendors={"example-chat": False, "a": True, "example-ads": True})
    key = decide(Policy(), Signals(choice=stored, choice_state=ChoiceState.VALID)).key
    assert [json.loads(result) for result in results] == [[key, Policy().version]]


def test_a_category_may_be_named_by_its_text_or_its_enum_member() -> None:
    decision = decide(Policy(), Signals(choice=choice(frozenset({F})), choice_state=ChoiceState.VALID))
    assert decision.allows("functional") is decision.allows(Category.FUNCTIONAL) is True
    assert decision.reason("targeting") is decision.reason(Category.TARGETING) is Reason.REFUSED


@pytest.mark.parametrize(
    "asked", ["", "analytics", "Performance", "FUNCTIONAL", "strictly_necessary", "p" * 10_000]
)
def test_an_unknown_category_is_an_error_that_names_the_four(asked: str) -> None:
    decision = decide(Policy(), Signals())
    for question in (decision.allows, decision.reason):
        with pytest.raises(UnknownCategoryError) as caught:
            question(asked)
        assert isinstance(caught.value, ConsentError)
        assert isinstance(caught.value, ValueError)
        assert str(caught.value) == (
            f"{asked[:50]!r} is not a category; the categories are "
            '"strictly-necessary", "performance", "functional", "targeting"'
        )


def test_a_question_that_is_no_text_is_an_unknown_category_too() -> None:
    with pytest.raises(UnknownCategoryError, match=r"^something of type NoneType is not a category; "):
        decide(Policy(), Signals()).allows(None)  # type: ignore[arg-type]


def test_templates_ask_in_one_line() -> None:
    template = Environment(undefined=StrictUndefined, autoescape=True).from_string(
        '{% if consent.allows("performance") %}counted'
        '{% else %}not counted: {{ consent.reason("performance") }}{% endif %}'
        '{% if consent.allows("functional", "example-chat") %}, chat{% endif %}'
    )
    nobody = decide(Policy(), Signals())
    assert template.render(consent=nobody) == "not counted: no-choice"
    stored = choice(frozenset({P}), vendors={"example-chat": True})
    assert template.render(
        consent=decide(Policy(), Signals(choice=stored, choice_state=ChoiceState.VALID))
    ) == ("counted, chat")


def test_a_template_that_misspells_a_category_fails_loudly() -> None:
    template = Environment(autoescape=True).from_string("{{ consent.allows(categry) }}")
    with pytest.raises(
        UnknownCategoryError, match=r'"strictly-necessary", "performance", "functional", "targeting"$'
    ):
        template.render(consent=decide(Policy(), Signals()))


def test_a_decision_cannot_be_changed() -> None:
    decision = decide(Policy(), Signals())
    with pytest.raises(dataclasses.FrozenInstanceError):
        decision.asks = False  # type: ignore[misc]
    with pytest.raises(TypeError):
        decision.verdicts[P] = Verdict(True, Reason.GRANTED)  # type: ignore[index]
    with pytest.raises(TypeError):
        decision.vendors["example-stats"] = True  # type: ignore[index]
