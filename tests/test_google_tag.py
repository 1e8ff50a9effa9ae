"""Google's tag as a vendor of its own, where the policy lets it load though it is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from consent import ConfigurationError, load_policy
from consent.banner import Banner
from consent.catalog import load_catalog
from consent.categories import OPTIONAL, Category
from consent.choice import Choice
from consent.csp import ClosedWorld
from consent.decision import Decision, Reason, allowance, decide
from consent.enforcement import Action, PageEnforcement
from consent.enforcement_log import ALLOWING
from consent.html.urls import PageURL
from consent.parts import catalog_of
from consent.policy import CspMode, GoogleMode, Interfaces, Policy
from consent.policy_diff import policy_changes
from consent.signals import ChoiceState, Signals
from consent.tracking_status import tracking_status
from consent.vendor_interfaces import interface_parts
from tests.exchange import NOW

ADVANCED = Interfaces(google=GoogleMode.ADVANCED)
DECLARED = tuple(load_catalog().vendors[name] for name in ("google-ads", "youtube"))
POLICY = Policy(interfaces=ADVANCED, vendors=DECLARED)
CATALOG = catalog_of(POLICY)
PAGE = PageURL("https", "shop.example", "/")
ANALYTICS, ADS = (Category.PERFORMANCE, "google-analytics-tag"), (Category.TARGETING, "google-ads-tag")


def deciding(
    *granted: Category, policy: Policy = POLICY, gpc: bool = False, dnt: bool | None = None
) -> Decision:
    """The decision for somebody who granted these, or for somebody who said nothing."""
    if not granted:
        return decide(policy, Signals(gpc=gpc, dnt=dnt))
    choice = Choice(
        receipt_id="1f0c6e7e-3c58-4b6e-8f9f-0d3f5d7c2a10",
        subject="0" * 32,
        made_at=NOW,
        policy_version=policy.version,
        granted=frozenset(granted),
        vendors={"google-ads": False},
    )
    return decide(policy, Signals(choice=choice, choice_state=ChoiceState.VALID, gpc=gpc, dnt=dnt))


@pytest.mark.parametrize(
    ("url", "refused"),
    [
        ("https://www.googletagmanager.com/gtag/js?id=G-ABC", False),
        ("https://www.googletagmanager.com/gtag/js?id=AW-123", False),
        ("https://www.googletagmanager.com/gtm.js?id=GTM-ABC", False),
        ("https://region1.google-analytics.com/g/collect?v=2", False),
        ("https://analytics.google.com/g/collect?v=2", False),
        ("https://pagead2.googlesyndication.com/ccm/collect?gcs=G100", False),
        ("https://www.googletagmanager.com/gtag/js?id=DC-123", True),
        ("https://www.googletagmanager.com/gtag/js?id=UA-123", True),
        ("https://www.googletagmanager.com/ns.html?id=GTM-ABC", True),
        ("https://www.google-analytics.com/collect?v=1", True),
        ("https://analytics.google.com/g/s/collect", True),
        ("https://www.google.com/ccm/collect", True),
        ("https://googleads.g.doubleclick.net/pagead/viewthroughconversion/1", True),
        ("https://pagead2.googlesyndication.com/pagead/js/adsbygoogle.js", True),
        ("https://shop.example/gtag/js?id=G-ABC", True),
    ],
)
def test_the_tag_and_its_requests_are_let_through_and_nothing_else(url: str, refused: bool) -> None:
    """In the basic mode, all of it is refused."""
    page = PageEnforcement(CATALOG, deciding(), PAGE)
    assert page.refuses_url("script", url) is refused
    assert [(f.action, f.reason) for f in page.findings] == [
        (Action.STRIPPED, Reason.NO_CHOICE) if refused else (Action.ALLOWED, Reason.LET_THROUGH)
    ]
    basic = Policy(interfaces=Interfaces(google=GoogleMode.BASIC))
    assert PageEnforcement(catalog_of(basic), deciding(policy=basic), PAGE).refuses_url("script", url)


def test_cookies_stay_refused_and_snippets_run() -> None:
    """Those of the tag; others do not."""
    page = PageEnforcement(CATALOG, deciding(), PAGE)
    assert all(map(page.refuses_cookie, ("_ga", "_ga_ABC", "_gid", "_gcl_au", "_gac_1")))
    assert not page.refuses_script("gtag('js', new Date()); gtag('config', 'G-ABC1234567');")
    assert not page.refuses_script("window.dataLayer.push({'gtm.start': 1, event: 'gtm.js'});")
    assert page.refuses_script("ga('create', 'UA-1-1', 'auto');")
    assert page.refuses_script("gtag('config', 'DC-1234567');")
    assert page.refuses_script("fbq('init', '1');")
    assert Reason.LET_THROUGH in ALLOWING


def test_a_signal_is_against_the_tag_as_against_all_else() -> None:
    """Global Privacy Control is about targeting by default, Do Not Track about both."""
    for decision, analytics, ads in (
        (deciding(), True, True),
        (deciding(gpc=True), True, False),
        (deciding(dnt=True), False, False),
        (deciding(Category.PERFORMANCE, gpc=True), True, False),
        (deciding(*OPTIONAL), True, True),
    ):
        assert (decision.allows(*ANALYTICS), decision.allows(*ADS)) == (analytics, ads)
    assert not deciding().allows(Category.PERFORMANCE, "google-analytics")
    assert len({deciding().key, deciding(gpc=True).key, deciding(dnt=True).key}) == 3
    tags = " google-ads-tag google-analytics-tag google-tag-manager-tag"
    assert allowance(deciding(), CATALOG) == tags
    assert allowance(deciding(gpc=True), CATALOG) == " google-analytics-tag"
    assert allowance(deciding(*OPTIONAL), CATALOG) == "pft google-ads"
    assert allowance(deciding(dnt=True), CATALOG) == ""


def test_who_sends_do_not_track_is_told_of_the_tag() -> None:
    """Where the policy does not honour it."""
    unheard = Policy(interfaces=ADVANCED, dnt_refuses=frozenset())
    assert tracking_status(unheard, deciding(policy=unheard, dnt=True)) == "D"
    assert tracking_status(POLICY, deciding(dnt=True)) == "N"


def test_the_mode_is_part_of_what_visitors_are_asked_about() -> None:
    """The version is another one, the change is told as material, and the preferences say it of the vendor."""
    basic = Policy(interfaces=Interfaces(google=GoogleMode.BASIC), vendors=DECLARED)
    assert POLICY.version != basic.version == Policy(vendors=DECLARED).version
    (change,) = policy_changes(basic, POLICY)
    assert (change.material, change.what) == (True, "interfaces")
    said = "Runs even if you refuse. It then stores nothing, but tells Google of your visit."
    shown = Banner(POLICY).markup(deciding(), return_to="/", nonce=None).decode()
    assert shown.count(said) == 1
    assert said not in Banner(basic).markup(deciding(policy=basic), return_to="/", nonce=None).decode()


def test_the_content_security_policy_lets_the_tag_in() -> None:
    """And not what is refused beside it."""
    policy = Policy(interfaces=ADVANCED, vendors=DECLARED, csp=CspMode.ENFORCE)
    world = ClosedWorld(CATALOG, policy)
    ((_, field),) = world.added([], deciding(policy=policy), variant="x", seen=(), secure=False)
    sources = field.decode().partition(";")[0].split()
    assert "*.googletagmanager.com/gtag/js" in sources
    assert "pagead2.googlesyndication.com/ccm/collect" in sources
    assert "*.google-analytics.com/g/collect" in sources
    assert not any(
        source.endswith(("doubleclick.net", "youtube.com", "google-analytics.com")) for source in sources
    )


def test_the_guard_knows_the_tags_where_everybody_gets_the_same_page() -> None:
    """Elsewhere its tag says it."""
    (tags,) = [p.data for p in interface_parts(POLICY, CATALOG, uniform=True) if "GOOGLE_TAGS" in p.data]
    ads, analytics, manager = "tgoogle-ads-tag", "pgoogle-analytics-tag", "tgoogle-tag-manager-tag"
    # Without a signal, with GPC, with DNT, with both.
    assert json.loads(tags["GOOGLE_TAGS"]) == [[ads, analytics, manager], [analytics], [], []]
    assert not any("GOOGLE_TAGS" in part.data for part in interface_parts(POLICY, CATALOG))


def test_a_site_for_children_cannot_have_it(tmp_path: Path) -> None:
    """The message says what to choose instead; so does that for who only says yes to Google."""
    path = tmp_path / "consent.toml"
    path.write_text('children = true\n[interfaces]\ngoogle = "advanced"\n')
    with pytest.raises(ConfigurationError, match='choose google = "basic"') as caught:
        load_policy(path, load_catalog())
    assert caught.value.key == "interfaces"
    path.write_text("[interfaces]\ngoogle = true\n")
    with pytest.raises(
        ConfigurationError, match='must be one of "basic", "advanced": which of the two'
    ) as caught:
        load_policy(path, load_catalog())
    assert (caught.value.line, caught.value.key) == (2, "interfaces.google")
    path.write_text('[interfaces]\ngoogle = "advanced"\n')
    policy, catalog = load_policy(path, load_catalog())
    assert catalog.vendors.keys() - load_catalog().vendors.keys() == policy.let_through
