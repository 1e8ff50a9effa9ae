"""How long receipts are kept: what a policy says of sites and jurisdictions, and what is past its time by it."""

from __future__ import annotations

import pytest

from consent.errors import ConfigurationError
from consent.policy import Policy, Rule
from consent.retention import DAY_MS, Past, days_kept, past_by_policy, site_policies

POLICY = Policy(
    site="Example shop",
    retention_days=1_000,
    retention_jurisdictions={"US": 700, "US-CA": 800, "EU": 1_000, "JP": 0},
)


@pytest.mark.parametrize(
    ("jurisdiction", "days"),
    [("", 1_000), ("EU", 1_000), ("US", 700), ("US-TX", 700), ("US-CA", 800), ("BR", 1_000), ("JP", 0)],
)
def test_a_place_counts_before_its_country_and_that_before_all_others(jurisdiction: str, days: int) -> None:
    assert days_kept(POLICY, jurisdiction) == days


def test_every_receipt_is_past_its_time_at_one_moment() -> None:
    """Those of a place with a number of its own apart, all others together."""
    now = 2_000 * DAY_MS
    found = list(past_by_policy(POLICY, ["", "BR", "EU", "JP", "US", "US-CA", "US-TX"], now))
    assert found == [
        (700, Past(site="Example shop", before_ms=1_300 * DAY_MS, only=frozenset({"US", "US-TX"}))),
        (800, Past(site="Example shop", before_ms=1_200 * DAY_MS, only=frozenset({"US-CA"}))),
        (
            1_000,
            Past(
                site="Example shop", before_ms=1_000 * DAY_MS, but=frozenset({"JP", "US", "US-TX", "US-CA"})
            ),
        ),
    ]


def test_what_nothing_is_said_of_is_kept() -> None:
    some = Policy(site="Example shop", retention_jurisdictions={"US-CA": 730})
    assert list(past_by_policy(Policy(), ["", "EU"], 0)) == []
    ((days, past),) = past_by_policy(some, ["", "EU", "US-CA"], 0)
    assert (days, past.only) == (730, frozenset({"US-CA"}))


def test_no_receipt_goes_while_its_choice_counts() -> None:
    """It is what proves the choice."""
    with pytest.raises(
        ConfigurationError, match="a choice counts for 180 days, and its receipt would be erased"
    ):
        Policy(retention_days=90)
    with pytest.raises(ConfigurationError, match="after 100: keep"):
        Policy(retention_days=900, retention_jurisdictions={"EU": 100})


def test_a_policy_file_is_about_the_sites_of_its_rules() -> None:
    """Sections of a host are no sites."""
    other = Policy(site="Another shop", retention_days=365)
    policy = Policy(
        site="Example shop",
        rules=(
            Rule(policy=other, hosts=("other.example",)),
            Rule(policy=Policy(site="Example shop", csp_allow=("img.example.com",)), paths=("/help/",)),
        ),
    )
    assert [each.site for each in site_policies(policy)] == ["Example shop", "Another shop"]
