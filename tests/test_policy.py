"""The policy: its values, its version, and the file that it is read from."""

from __future__ import annotations

import dataclasses
import os
import re
from pathlib import Path
from typing import Any

import pytest

from consent.catalog import Catalog, Cookie, StorageKey, Vendor
from consent.categories import OPTIONAL, Category
from consent.errors import ConfigurationError
from consent.interface_rules import INTERFACE_RULES
from consent.policy import (
    CacheMode,
    CspMode,
    GoogleMode,
    Interfaces,
    Layout,
    OwnCookie,
    Policy,
    Refused,
    Regime,
    Rule,
    own_cookie_vendors,
)
from consent.policy_diff import policy_changes
from consent.policy_file import MAX_POLICY_BYTES, load_policy, locate_in_policy
from consent.toml_file import MAX_KEY_NAMES


def vendor(vendor_id: str, category: Category = Category.PERFORMANCE, **more: Any) -> Vendor:
    values: dict[str, Any] = {
        "id": vendor_id,
        "name": vendor_id.replace("-", " ").title(),
        "company": "Example Inc.",
        "country": "US",
        "privacy_url": "https://example.com/privacy",
        "category": category,
        "about": "An example.",
        "hosts": (f"{vendor_id}.example.com",),
    }
    return Vendor(**{**values, **more})


STATS = vendor(
    "example-stats",
    cookies=(
        Cookie(name="_es", purpose="Counts visits.", lifetime="2 years", party="first", http_only=False),
    ),
    storage=(StorageKey(key="es.queue", area="local", purpose="Keeps counts."),),
)
ADS = vendor("example-ads", Category.TARGETING)
CATALOG = Catalog([STATS, ADS])
BASKET = OwnCookie(
    name="basket", purpose="Your basket.", lifetime="session", category=Category.STRICTLY_NECESSARY
)
THEME = OwnCookie(name="theme", purpose="Your colours.", lifetime="1 year", category=Category.FUNCTIONAL)

FULL = """\
regime = "opt-out"
jurisdiction = "US-CA"
declare = ["example-ads"]

[site]
name = "Example Shop"
controller = "Example Ltd."
contact = "privacy@example.com"
privacy_url = "/privacy"
language = "en-GB"

[signals]
gpc_refuses = ["targeting", "performance"]
dnt_refuses = []

[choice]
days = 365

[[cookie]]
name = "basket"
purpose = "Your basket."
lifetime = "session"
category = "strictly-necessary"

[[cookie]]
name = "theme"
purpose = "Your colours."
lifetime = "1 year"
category = "functional"
http_only = true

[[vendor]]
id = "example-chat"
name = "Example Chat"
company = "Example Chat GmbH"
country = "DE"
privacy = "https://chat.example.com/privacy"
category = "functional"
about = "Lets you write to us."
hosts = ["chat.example.com"]

[[vendor.cookie]]
name = "_chat"
purpose = "Remembers the conversation."
lifetime = "1 day"
party = "first"

[texts]
accept = "Yes, all of them"

[enforcement]
refused = "hold"
csp = "enforce"
csp_allow = ["img.example.com", "*.pictures.example/x/"]

[banner]
layout = "bar"

[retention]
days = 1825
jurisdictions = { "US-CA" = 730 }
"""


def load(tmp_path: Path, text: str | bytes, catalog: Catalog = CATALOG) -> tuple[Policy, Catalog]:
    path = tmp_path / "consent.toml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return load_policy(path, catalog)


def fails(tmp_path: Path, text: str | bytes, catalog: Catalog = CATALOG) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as caught:
        load(tmp_path, text, catalog)
    assert caught.value.source == str(tmp_path / "consent.toml")
    return caught.value


def told(error: ConfigurationError) -> tuple[int | None, str | None, str]:
    """Line, key, and the message alone."""
    return error.line, error.key, str(error).partition(": ")[2]


# --- Values -------------------------------------------------------------------------------------------------


def test_without_configuration_the_policy_is_opt_in_and_honours_both_signals() -> None:
    policy = Policy()
    assert policy.regime is Regime.OPT_IN
    assert policy.gpc_refuses == {Category.TARGETING}
    assert policy.dnt_refuses == {Category.PERFORMANCE, Category.TARGETING}
    assert policy.choice_days == 180
    assert policy.layout is Layout.CARD
    assert policy.refused is Refused.STRIP
    assert (policy.site, policy.language, policy.jurisdiction) == ("this site", "", "")
    assert (policy.vendors, policy.own_cookies, dict(policy.texts)) == ((), (), {})


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("site", "", "must not be empty"),
        ("site", "  ", "must not be empty"),
        ("site", "a\nb", "must be a single line without control characters"),
        ("site", "\u2028", "must be a single line without control characters"),
        ("site", "\ud800", "must be a single line without control characters"),
        ("site", "x" * 201, "must have at most 200 characters; this has 201"),
        ("controller", None, "must be a text in quotes, not nothing"),
        ("privacy_url", "javascript:alert(1)", "must be an address that starts with"),
        ("privacy_url", "//example.com/", "must be an address that starts with"),
        ("privacy_url", "/\\example.com", "must be an address that starts with"),
        ("privacy_url", "/a b", "must be an address that starts with"),
        ("privacy_url", "privacy", "must be an address that starts with"),
        ("privacy_url", "https://", "must be an address that starts with"),
        ("privacy_url", "https://example.com/a b", "must be an address that starts with"),
        ("language", "english!", "must be a language tag such as"),
        ("language", "../en", "must be a language tag such as"),
        ("languages", "en", "must be a list of language tags, not a text"),
        ("languages", ["en", "e"], "must be a language tag such as"),
        ("languages", ["en", "EN"], 'the language "en" is listed twice'),
        ("language_paths", ["/de/"], "must be a table such as"),
        ("language_paths", {"de": "de"}, '"de" must be a path such as'),
        ("language_paths", {"/de": "deutsch!"}, '"/de": must be a language tag'),
        ("texts", {"de": {"accept": 1}}, "must be a text in quotes"),
        ("regime", "optin", 'there is no such regime: did you mean "opt-in"?'),
        ("regime", "x", 'there is no such regime: use one of "opt-in", "opt-out", "notice"'),
        ("jurisdiction", "Europe", 'must be a code such as "EU", "GB" or "US-CA", or be left out'),
        ("gpc_refuses", "targeting", "must be a list of categories, not a text"),
        ("gpc_refuses", ["ads"], "there is no such category: use one of"),
        ("gpc_refuses", [1], "must be a text in quotes, not a whole number"),
        (
            "dnt_refuses",
            ["strictly-necessary"],
            '"strictly-necessary" is always on; a signal can refuse "perf',
        ),
        ("choice_days", 0, "must be a whole number of days, 1 to 400"),
        ("retention_days", -1, "must be a whole number of days, 1 to 36500, or 0 to keep them"),
        ("retention_days", "9", "must be a whole number of days, 1 to 36500"),
        ("retention_jurisdictions", 900, "must be a table such as"),
        ("retention_jurisdictions", {"Europe": 900}, '"Europe" must be a code such as "EU", "GB" or "US-CA"'),
        ("retention_jurisdictions", {"EU": 1.5}, '"EU": must be a whole number of days, 1 to 36500'),
        ("retention_jurisdictions", {"EU": None}, '"EU": must be a whole number of days'),
        ("choice_days", 401, "must be a whole number of days, 1 to 400"),
        (
            "choice_domain",
            "co.uk",
            '"co.uk" is nobody\'s own, and browsers keep no cookie for it: name your domain',
        ),
        ("choice_domain", "com", '"com" is nobody\'s own'),
        ("choice_domain", "github.io", '"github.io" is nobody\'s own'),
        ("choice_domain", "localhost", '"localhost" is nobody\'s own'),
        (
            "choice_domain",
            ".example.com",
            'must be a domain such as "example.com", in lower case, without a dot',
        ),
        ("choice_domain", "Example.com", 'must be a domain such as "example.com", in lower case'),
        ("choice_domain", "*.example.com", 'must be a domain such as "example.com"'),
        ("choice_domain", "example.com:8000", 'must be a domain such as "example.com"'),
        ("choice_domain", "192.0.2.1", 'must be a domain such as "example.com"'),
        ("choice_domain", "example.com; Secure", 'must be a domain such as "example.com"'),
        ("choice_days", True, "must be a whole number of days, 1 to 400"),
        ("choice_days", 1.5, "must be a whole number of days, 1 to 400"),
        ("group", ["https://a.example"], "one site is no group: name the others, or remove it"),
        ("group", "https://a.example", "must be a list of origins, not a text"),
        (
            "group",
            ["https://a.example/", "https://b.example"],
            '"https://a.example/" must be an origin such as',
        ),
        (
            "group",
            ["http://a.example", "https://b.example"],
            '"http://a.example" must be an origin such as',
        ),
        (
            "group",
            ["https://A.example", "https://b.example"],
            '"https://A.example" must be an origin such as',
        ),
        (
            "group",
            ["https://a.example", "https://a.example"],
            'the site "a.example" is listed twice: remove one',
        ),
        (
            "group",
            [f"https://{n}.example" for n in range(21)],
            "there are 21 of them; at most 20 can be named",
        ),
        ("layout", "modal", 'must be one of "bar", "card", "dialog"'),
        ("refused", "held", 'must be one of "strip", "hold"'),
        ("refused", True, "must be a text in quotes, not true or false"),
        ("cache", "shared", 'must be one of "per-visitor", "variant", "uniform"'),
        ("cache", True, "must be a text in quotes, not true or false"),
        ("csp", "on", 'must be one of "off", "report", "enforce"'),
        ("interfaces", ["meta"], "must be a table, not a list"),
        ("interfaces", {"facebook": True}, 'there is no interface "facebook": use one of "google", '),
        ("interfaces", {"tictoc": True}, 'there is no interface "tictoc": did you mean "tiktok"?'),
        ("interfaces", {"google": True}, '"google" must be one of "basic", "advanced": which'),
        ("interfaces", {"google": "strict"}, '"google" must be one of "basic"'),
        ("interfaces", {"meta": "yes"}, '"meta" must be true or false, without quotes, not a text'),
        (
            "interfaces",
            {"google_url_passthrough": True},
            '"google_url_passthrough" is nothing without "google"',
        ),
        ("csp_allow", "img.example.com", "must be a list of hosts, not a text"),
        ("csp_allow", ["a.example"] * 101, "there are 101 of them; at most 100 fit into a header field"),
        *(
            ("csp_allow", ["a.example", wrong], "must be a host such as")
            for wrong in (
                "*",
                "example",
                "*.com; x",
                "a.example b.example",
                "'self'",
                "https:",
                "a.example/;",
                "",
            )
        ),
        ("vendors", [STATS, STATS], 'the vendor "example-stats" is listed twice: remove one'),
        ("own_cookies", [BASKET, BASKET], 'the cookie "basket" is listed twice: remove one'),
        ("texts", {"accept": 1}, "must be a text in quotes, not a whole number"),
        ("texts", ["accept"], "must be a table of texts, not a list"),
    ],
)
def test_a_policy_made_of_a_wrong_value_names_the_field_and_the_remedy(
    field: str, value: object, message: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Policy(**{field: value})  # type: ignore[arg-type]
    assert caught.value.key == field
    assert str(caught.value).startswith(f"[{field}]: {message}")


@pytest.mark.parametrize(
    "url", ["", "/", "/privacy?lang=en#cookies", "https://example.com", "http://localhost:8000/p"]
)
def test_the_privacy_notice_is_a_web_address_or_a_path_on_this_site(url: str) -> None:
    assert Policy(privacy_url=url).privacy_url == url


def test_a_policy_cannot_be_changed_not_even_through_what_it_was_made_of() -> None:
    texts, refuses = {"accept": "Yes"}, {Category.TARGETING}
    policy = Policy(texts=texts, gpc_refuses=refuses)  # type: ignore[arg-type]
    texts["accept"] = "No"
    refuses.clear()
    assert policy.texts["accept"] == "Yes"
    assert policy.gpc_refuses == {Category.TARGETING}
    with pytest.raises(dataclasses.FrozenInstanceError):
        policy.site = "another"  # type: ignore[misc]
    with pytest.raises(TypeError):
        policy.texts["accept"] = "No"  # type: ignore[index]
    assert hash(policy) == hash(dataclasses.replace(policy))


def test_categories_and_regimes_written_as_text_become_members() -> None:
    policy = Policy(regime="notice", dnt_refuses=["functional"], cache="variant")  # type: ignore[arg-type]
    assert policy.cache is CacheMode.VARIANT
    assert policy.regime is Regime.NOTICE
    assert policy.dnt_refuses == frozenset({Category.FUNCTIONAL})


# --- The version --------------------------------------------------------------------------------------------

BASE = Policy(controller="Example Ltd.", vendors=(STATS, ADS), own_cookies=(BASKET, THEME))


def test_the_version_is_12_hexadecimal_digits_and_does_not_change_between_releases() -> None:
    """A version that changes by itself would ask every visitor again."""
    assert Policy().version == "9cbfcda8c66d"
    assert BASE.version == "019c1ed597c7"


@pytest.mark.parametrize(
    "change",
    [
        {"regime": Regime.OPT_OUT},
        {"controller": "Another Ltd."},
        {"gpc_refuses": frozenset(OPTIONAL)},
        {"dnt_refuses": frozenset()},
        {"vendors": (STATS,)},
        {"vendors": (STATS, ADS, vendor("example-chat"))},
        {"vendors": (dataclasses.replace(STATS, category=Category.TARGETING), ADS)},
        {"vendors": (dataclasses.replace(STATS, company="Example Corp."), ADS)},
        {"vendors": (dataclasses.replace(STATS, cookies=()), ADS)},
        {
            "vendors": (
                dataclasses.replace(
                    STATS, cookies=(dataclasses.replace(STATS.cookies[0], lifetime="9 years"),)
                ),
                ADS,
            )
        },
        {"vendors": (dataclasses.replace(STATS, storage=()), ADS)},
        {"group": ("https://a.example", "https://b.example")},
        {"own_cookies": (BASKET,)},
        {"own_cookies": (BASKET, dataclasses.replace(THEME, category=Category.TARGETING))},
        {"own_cookies": (BASKET, dataclasses.replace(THEME, lifetime="2 years"))},
    ],
)
def test_a_change_that_matters_to_a_visitor_makes_another_version(change: dict[str, Any]) -> None:
    version = dataclasses.replace(BASE, **change).version
    assert re.fullmatch(r"[0-9a-f]{12}", version)
    assert version != BASE.version
    assert [each.material for each in policy_changes(BASE, dataclasses.replace(BASE, **change))] == [True]


@pytest.mark.parametrize(
    "change",
    [
        {"site": "Example"},
        {"contact": "privacy@example.com"},
        {"privacy_url": "/privacy"},
        {"language": "de"},
        {"language": "", "languages": ("en", "de"), "language_paths": {"/de/": "de"}},
        {"texts": {"de": {"accept": "Ja"}}},
        {"jurisdiction": "EU"},
        {"choice_days": 90},
        {"choice_domain": "example.com"},
        {"layout": Layout.DIALOG},
        {"retention_days": 900},
        {"retention_jurisdictions": {"US-CA": 730}},
        {"refused": Refused.HOLD},
        {"cache": CacheMode.UNIFORM},
        {"csp": CspMode.OFF},
        {"csp_allow": ("img.example.com",)},
        {"texts": {"accept": "Yes"}},
        {"vendors": (ADS, STATS)},
        {
            "vendors": (
                dataclasses.replace(STATS, about="Counts.", name="Stats", hosts=("s.example.com",)),
                ADS,
            )
        },
        {"own_cookies": (THEME, dataclasses.replace(BASKET, purpose="The basket."))},
    ],
)
def test_a_change_of_wording_or_order_does_not_make_another_version(change: dict[str, Any]) -> None:
    changed = dataclasses.replace(BASE, **change)
    assert changed.version == BASE.version
    assert {each.material for each in policy_changes(BASE, changed)} == {False}
    assert policy_changes(changed, changed) == []


# --- The file -----------------------------------------------------------------------------------------------


def test_every_key_of_the_file_reaches_the_policy(tmp_path: Path) -> None:
    policy, catalog = load(tmp_path, FULL)
    chat = catalog.vendors["example-chat"]
    assert policy == Policy(
        site="Example Shop",
        controller="Example Ltd.",
        contact="privacy@example.com",
        privacy_url="/privacy",
        language="en-GB",
        regime=Regime.OPT_OUT,
        jurisdiction="US-CA",
        gpc_refuses=frozenset({Category.TARGETING, Category.PERFORMANCE}),
        dnt_refuses=frozenset(),
        choice_days=365,
        layout=Layout.BAR,
        retention_days=1_825,
        retention_jurisdictions={"US-CA": 730},
        refused=Refused.HOLD,
        csp=CspMode.ENFORCE,
        csp_allow=("img.example.com", "*.pictures.example/x/"),
        vendors=(ADS, chat),
        own_cookies=(BASKET, dataclasses.replace(THEME, http_only=True)),
        texts={"accept": "Yes, all of them"},
    )
    assert (chat.company, chat.category, chat.cookies[0].name) == (
        "Example Chat GmbH",
        Category.FUNCTIONAL,
        "_chat",
    )


def test_an_empty_file_is_the_default_policy(tmp_path: Path) -> None:
    policy, catalog = load(tmp_path, "")
    assert policy == Policy()
    assert policy.version == Policy().version
    assert dict(catalog.vendors) == dict(CATALOG.vendors)


def test_the_sites_own_cookies_are_known_to_the_catalog_by_category(tmp_path: Path) -> None:
    """So that they are withheld and expired like everybody's."""
    policy, catalog = load(tmp_path, FULL)
    basket, theme = catalog.match_cookie("basket"), catalog.match_cookie("theme")
    assert basket is not None
    assert theme is not None
    assert basket.vendor.category is Category.STRICTLY_NECESSARY
    assert (theme.vendor.category, theme.vendor.id) == (Category.FUNCTIONAL, "this-site-functional")
    assert (theme.vendor.name, theme.vendor.company) == ("Example Shop", "Example Ltd.")
    assert [one.id for one in own_cookie_vendors(policy)] == [
        "this-site-strictly-necessary",
        "this-site-functional",
    ]
    assert own_cookie_vendors(Policy()) == ()


def test_an_own_cookie_may_have_a_name_that_a_vendors_wildcard_would_match(tmp_path: Path) -> None:
    """The exact name wins, for this one cookie."""
    cookie = Cookie(name="the*", purpose="Counts.", lifetime="1 day", party="first", http_only=False)
    _, catalog = load(tmp_path, FULL, Catalog([ADS, vendor("example-wild", cookies=(cookie,))]))
    theme, other = catalog.match_cookie("theme"), catalog.match_cookie("thermo")
    assert theme is not None
    assert other is not None
    assert (theme.vendor.id, other.vendor.id) == ("this-site-functional", "example-wild")


def test_a_vendor_of_the_file_takes_the_place_of_a_known_one(tmp_path: Path) -> None:
    text = FULL.replace('id = "example-chat"', 'id = "example-stats"')
    policy, catalog = load(tmp_path, text)
    assert catalog.vendors["example-stats"].company == "Example Chat GmbH"
    assert policy.vendors == (ADS, catalog.vendors["example-stats"])
    assert CATALOG.vendors["example-stats"] == STATS


def test_a_vendor_of_the_file_that_is_declared_too_is_listed_once_where_it_was_declared(
    tmp_path: Path,
) -> None:
    text = FULL.replace('declare = ["example-ads"]', 'declare = ["example-chat", "example-ads"]')
    assert [one.id for one in load(tmp_path, text)[0].vendors] == ["example-chat", "example-ads"]


OVERRIDES = """
[override.example-stats]
category = "functional"
hosts = ["stats.shop.example", "stats.example.com"]
urls = ["/ingest/*"]
[override.example-chat]
urls = ["*/chat.js"]
"""


def test_an_override_changes_a_known_vendor_on_this_site_alone(tmp_path: Path) -> None:
    """Its category, and where it is found besides; all else is as it was, and it is not declared by that."""
    policy, catalog = load(tmp_path, FULL + OVERRIDES)
    hosts = (*STATS.hosts, *(h for h in ("stats.shop.example", "stats.example.com") if h not in STATS.hosts))
    changed = dataclasses.replace(
        STATS, category=Category.FUNCTIONAL, hosts=hosts, urls=(*STATS.urls, "/ingest/*")
    )
    assert catalog.vendors["example-stats"] == changed
    assert catalog.vendors["example-chat"].urls == ("*/chat.js",)
    assert [vendor.id for vendor in policy.vendors] == ["example-ads", "example-chat"]
    declared = FULL.replace('["example-ads"]', '["example-stats"]')
    assert load(tmp_path, declared + OVERRIDES)[0].version != load(tmp_path, declared)[0].version


@pytest.mark.parametrize(
    ("text", "line", "key", "message"),
    [
        ("[override.stats]\n", 1, "override.stats", 'the catalog has no vendor "stats": use one of "example-stats", '
         '"example-ads" (or describe it in a [[vendor]] table)'),
        ("[override.example-stats]\nhost = []\n", 2, "override.example-stats.host",
         'unknown key: did you mean "hosts"?'),
        ("[override.example-stats]\ncategory = 'ads'\n", 2, "override.example-stats.category",
         'there is no such category: use one of "strictly-necessary", "performance", "functional", "targeting"'),
        ("[override.example-stats]\nurls = '/x'\n", 2, "override.example-stats.urls",
         "must be a list of URL patterns, not a text"),
        ("[override.example-stats]\nurls = ['/x', '*/']\n", 2, "override.example-stats.urls[1]",
         '"*/" covers every host: name a path'),
        ("[override.example-stats]\nhosts = ['com']\n", 2, "override.example-stats.hosts[0]",
         '"com" is not a host: write a lower-case domain name without scheme or port (an IDN as \'xn--…\')'),
        ("override = 1\n", 1, "override", "must be a table: write [override] on a line of its own"),
        ("[override.example-ads]\nurls = ['/x/y']\n[override.example-stats]\nurls = ['/x/y']\n", 2,
         "override.example-ads.urls",
         "'/x/y' already belongs to the vendor 'example-stats': remove it from one of the two, or give the vendor the "
         "id 'example-stats' to replace that one"),
    ],
)  # fmt: skip
def test_a_mistake_in_an_override_is_told_with_its_line_its_key_and_the_remedy(
    tmp_path: Path, text: str, line: int, key: str, message: str
) -> None:
    assert told(fails(tmp_path, text)) == (line, key, message)


RULES = """
[[rule]]
hosts = ["shop.example.org", "*.partner.example"]
policy = "shop.toml"

[[rule]]
hosts = ["www.example.com"]
paths = ["/members/"]
unclassified = "strip"
refused = "strip"
embeds = "strip"
csp_allow = ["player.example"]
"""
SHOP = """
[site]
name = "Partner"
[override.example-stats]
category = "functional"
[[rule]]
paths = ["/inner/"]
unclassified = "hold"
"""


def test_rules_are_other_policies_for_other_hosts_and_for_sections(tmp_path: Path) -> None:
    """A white label has a file of its own, on the built-in catalog; a section differs in how it is enforced."""
    (tmp_path / "shop.toml").write_text(SHOP)
    policy, catalog = load(tmp_path, FULL + RULES)
    shop, members = policy.rules
    assert shop.hosts == ("shop.example.org", "*.partner.example")
    assert (shop.paths, shop.policy.site, shop.policy.rules[0].paths) == ((), "Partner", ("/inner/",))
    assert shop.catalog is not None
    assert shop.catalog.vendors["example-stats"].category is Category.FUNCTIONAL
    assert "example-chat" not in shop.catalog.vendors
    assert shop.policy.version != policy.version
    assert (members.hosts, members.paths, members.catalog) == (("www.example.com",), ("/members/",), catalog)
    changed: dict[str, Any] = {
        "unclassified": "strip",
        "refused": "strip",
        "embeds": "strip",
        "csp_allow": ("player.example",),
    }
    assert members.policy == dataclasses.replace(policy, rules=(), **changed)
    assert members.policy.version == policy.version == load(tmp_path, FULL)[0].version


def test_changes_of_rules_are_told_by_where_they_hold(tmp_path: Path) -> None:
    """What a section has from the policy around it is no change of its own; a white label has a version of its own."""
    (tmp_path / "shop.toml").write_text(SHOP)
    before = load(tmp_path, FULL + RULES)[0]
    assert policy_changes(before, load(tmp_path, FULL + RULES)[0]) == []
    (tmp_path / "shop.toml").write_text('regime = "notice"\n' + SHOP)
    text = (
        (FULL + RULES)
        .replace('name = "Example Shop"', 'name = "Shop"')
        .replace('ed = "strip"', 'ed = "hold"', 1)
    )
    after = load(tmp_path, text + "[[rule]]\npaths = ['/x']\nrefused = 'strip'\n")[0]
    assert [
        (each.material, each.what, each.before, each.after) for each in policy_changes(before, after)
    ] == [
        (True, "rule for shop.example.org *.partner.example, regime", "opt-in", "notice"),
        (False, "site", "Example Shop", "Shop"),
        (False, "rule for www.example.com /members/, unclassified", "strip", "hold"),
        (False, "rule for /x", None, "Shop"),
    ]


@pytest.mark.parametrize(
    ("text", "line", "key", "message"),
    [
        ("refused = 'hold'", 1, "rule[0]", 'it is about everything: add hosts = ["…"] or paths = ["…"]'),
        ("hosts = ['a.example']", 1, "rule[0]",
         'must have either "policy" or some of "refused", "embeds", "unclassified", "csp_allow"'),
        ("hosts = ['a.example']\npolicy = 'shop.toml'\nrefused = 'hold'", 1, "rule[0]",
         'must have either "policy" or some of "refused", "embeds", "unclassified", "csp_allow"'),
        ("paths = ['/x/']\npolicy = 'shop.toml'", 3, "rule[0].policy",
         'a visitor has one choice for all of a host: below a path use "refused", "embeds", "unclassified", '
         '"csp_allow"'),
        ("hosts = ['A.example']\nrefused = 'hold'", 2, "rule[0].hosts[0]",
         '"A.example" must be a host such as "shop.example.com" or "*.example.com", in lower case, without a port'),
        ("paths = ['/x', 'y']\nrefused = 'hold'", 2, "rule[0].paths[1]", '"y" must be a path such as "/members/"'),
        (
            "paths = ['/a/', '/b']\nrefused = 'hold'\n[[rule]]\npaths = ['/b', '/a/']\nrefused = 'strip'",
            4,
            "rule[1]",
            "an earlier rule is about the same place, so that this one never counts",
        ),
        (
            "paths = ['/%61']\nrefused = 'hold'",
            2,
            "rule[0].paths[0]",
            '"/%61" is compared with what addresses mean: write the characters themselves, without %',
        ),
        ("paths = ['/']\nrefused = 'hold'", 2, "rule[0].paths[0]", '"/" is the whole site: leave it out'),
        ("paths = ['/x']\ncache = 'uniform'", 3, "rule[0].cache",
         "this key does not belong here: move it below [enforcement]"),
        ("paths = ['/x']\nunclassified = 'no'", 3, "rule[0].unclassified", 'must be one of "allow", "hold", "strip"'),
        ("hosts = ['a.example']\npolicy = 'consent.toml'", 3, "rule[0].policy",
         '"consent.toml" has a rule with hosts of its own: move it into this file'),
    ],
)  # fmt: skip
def test_a_mistake_in_a_rule_is_told_with_its_line_its_key_and_the_remedy(
    tmp_path: Path, text: str, line: int, key: str, message: str
) -> None:
    (tmp_path / "shop.toml").write_text("")
    assert told(fails(tmp_path, f"[[rule]]\n{text}\n")) == (line, key, message)


def test_a_rule_that_is_a_value_is_held_to_the_same() -> None:
    """One choice for all of a host, and no rules within rules of sections."""
    with pytest.raises(ConfigurationError, match='give it "hosts" or "paths"'):
        Rule(policy=Policy())
    with pytest.raises(ConfigurationError, match="must be a path such as"):
        Rule(policy=Policy(), paths=("x",))
    with pytest.raises(ConfigurationError, match="a visitor has one choice for all of a host"):
        Policy(rules=(Rule(policy=Policy(site="Another"), paths=("/x",)),))
    inner = Policy(site="Another", rules=(Rule(policy=Policy(site="A third"), hosts=("b.example",)),))
    with pytest.raises(ConfigurationError, match="a rule within a rule"):
        Policy(rules=(Rule(policy=inner, hosts=("a.example",)),))


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm(tmp_path: Path) -> None:
    windows = b"\xef\xbb\xbf" + FULL.replace("\n", "\r\n").encode()
    assert load(tmp_path, windows)[0] == load(tmp_path, FULL)[0]
    broken = windows.replace(b"days = 365", b"days = 999")
    assert fails(tmp_path, broken).line == 17


# --- What is wrong with the file as a whole -----------------------------------------------------------------


def test_a_missing_file_is_named_with_the_folder_that_was_looked_in(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigurationError) as caught:
        load_policy("consent.toml", CATALOG)
    assert str(caught.value) == (
        f"consent.toml: there is no such file in {tmp_path}, where relative paths start: "
        "create it, or correct the path"
    )
    with pytest.raises(
        ConfigurationError, match=r"consent\.toml: there is no such file: create it, or correct"
    ):
        load_policy(tmp_path / "consent.toml", CATALOG)


def test_a_folder_is_not_a_policy(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r": this is a folder: give the path of a file in it$"):
        load_policy(tmp_path, CATALOG)


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigurationError, match=r": this is not a regular file: give the path of one$"):
        load_policy(tmp_path / "pipe", CATALOG)


@pytest.mark.parametrize("path", ["a\x00b", "x" * 5000])
def test_a_path_that_cannot_be_one_is_a_configuration_error(path: str) -> None:
    with pytest.raises(
        ConfigurationError, match=r": cannot be read \(.*\): correct the path, or let this user"
    ):
        load_policy(path, CATALOG)


def test_a_file_that_is_too_large_is_not_parsed(tmp_path: Path) -> None:
    assert MAX_POLICY_BYTES == 1_048_576
    fits = "#" * (MAX_POLICY_BYTES - 1) + "\n"
    assert load(tmp_path, fits)[0] == Policy()
    error = fails(tmp_path, fits + "\n")
    assert told(error) == (None, None, "larger than 1,048,576 bytes: is this really the file?")


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_a_file_that_is_not_utf_8_is_refused_at_the_line(tmp_path: Path, encoding: str) -> None:
    error = fails(tmp_path, '[site]\nname = "Exämple"\n'.encode(encoding))
    line = 2 if encoding == "latin-1" else 1
    assert told(error) == (line, None, "this line is not UTF-8: save the file as UTF-8")


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("[site]\nname = Example\n", 2, "not valid TOML at column 8: Invalid value"),
        ("[site]\n\n[site]\n", 3, "not valid TOML at column 6: Cannot declare ('site',) twice"),
        ('regime = "a"\nregime = "b"\n', 2, "not valid TOML at column 13: Cannot overwrite a value"),
        ('\n\nregime = "opt-in', 3, "not valid TOML"),
        ("\n[site", 2, "not valid TOML"),
        ("\nregime =", 2, "not valid TOML"),
        ("a = 2024-13-45", 1, "not valid TOML"),
    ],
)
def test_a_syntax_error_is_told_with_its_line(tmp_path: Path, text: str, line: int, message: str) -> None:
    error = fails(tmp_path, text)
    assert error.line == line
    assert str(error).startswith(f"{error.source}:{line}: {message}")


@pytest.mark.parametrize(
    "key",
    [
        ".".join(["a"] * 400_000) + " = 1",
        "[" + " . ".join(['"a\\""'] * 100_000) + "]",
        "site = {" + ".".join(["'a'"] * 200_000) + " = 1}",
    ],
    ids=["bare", "header", "inline"],
)
def test_a_key_of_very_many_names_is_refused_before_it_is_parsed(tmp_path: Path, key: str) -> None:
    """The parser would take minutes for it; this takes no measurable time."""
    error = fails(tmp_path, f'jurisdiction = "EU"\n{key}\n')
    assert told(error) == (
        2,
        None,
        "a dotted key of more than 20 names: no key here has so many, so shorten it",
    )


def test_a_key_of_as_many_names_as_are_allowed_is_told_like_any_other(tmp_path: Path) -> None:
    key = ".".join(["a"] * MAX_KEY_NAMES)
    assert fails(tmp_path, f"{key} = 1\n").message.startswith("unknown key: ")


@pytest.mark.parametrize("text", ["declare = " + "[" * 5000 + "]" * 5000, "[choice]\ndays = " + "9" * 5000])
def test_a_hostile_document_is_a_configuration_error_too(tmp_path: Path, text: str) -> None:
    fails(tmp_path, text)


# --- What is wrong with a key -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "line", "key", "message"),
    [
        ("regime =", "regim =", 1, "regim", 'unknown key: did you mean "regime"?'),
        (
            "[choice]",
            "[choices]",
            16,
            "choices",
            'unknown key: did you mean "choice"?',
        ),
        ("contact =", "kontact =", 8, "site.kontact", 'unknown key: did you mean "contact"?'),
        (
            "contact =",
            "zzz =",
            8,
            "site.zzz",
            'unknown key: use one of "name", "controller", "contact", "privacy_url", "language", "languages", '
            '"language_paths", "opt_out_links"',
        ),
        ("contact =", "days =", 8, "site.days", "this key does not belong here: move it below [choice]"),
        (
            'language = "en-GB"',
            "declare = []",
            10,
            "site.declare",
            "this key does not belong here: move it to the top, above the first [section]",
        ),
        ("regime =", "language =", 1, "language", "this key does not belong here: move it below [site]"),
        (
            'lifetime = "1 year"',
            'lifetime = "1 year"\npath = "/"',
            29,
            "cookie[1].path",
            'unknown key: use one of "name", "purpose", "lifetime", "category", "http_only"',
        ),
        ('"opt-out"', '"optout"', 1, "regime", 'there is no such regime: did you mean "opt-out"?'),
        ('"opt-out"', "true", 1, "regime", "must be a text in quotes, not true or false"),
        ('"opt-out"', "2026-01-01", 1, "regime", "must be a text in quotes, not a date or time"),
        ('"Example Shop"', "7", 6, "site.name", "must be a text in quotes, not a whole number"),
        ('"Example Shop"', '""', 6, "site.name", "must not be empty"),
        (
            '"/privacy"',
            '"privacy"',
            9,
            "site.privacy_url",
            'must be an address that starts with "https://", or a path such as "/privacy"',
        ),
        (
            '["targeting", "performance"]',
            '[\n  "targeting",\n  "performence",\n]',
            15,
            "signals.gpc_refuses[1]",
            'there is no such category: did you mean "performance"?',
        ),
        (
            "dnt_refuses = []",
            'dnt_refuses = "all"',
            14,
            "signals.dnt_refuses",
            "must be a list of categories, not a text",
        ),
        (
            "days = 365",
            "days = 0",
            17,
            "choice.days",
            "must be a whole number of days, 1 to 400 (browsers keep no cookie longer)",
        ),
        (
            "days = 365",
            'days = "365"',
            17,
            "choice.days",
            "must be a whole number of days, 1 to 400 (browsers keep no cookie longer)",
        ),
        (
            'declare = ["example-ads"]',
            'declare = [ # ours\n  "example-ads", # "x"\n  "exampel-stats",\n]',
            5,
            "declare[1]",
            'the catalog has no vendor "exampel-stats": did you mean "example-stats"? '
            "(or describe it in a [[vendor]] table)",
        ),
        (
            '["example-ads"]',
            '["EXAMPLE ADS"]',
            3,
            "declare[0]",
            'the catalog has no vendor "EXAMPLE ADS": did you mean "example-ads"? '
            "(or describe it in a [[vendor]] table)",
        ),
        (
            '["example-ads"]',
            '["example-ads", "example-ads"]',
            3,
            "declare[1]",
            'the vendor "example-ads" is listed twice: remove one',
        ),
        ('["example-ads"]', '"example-ads"', 3, "declare", "must be a list of vendor ids, not a text"),
        ('["example-ads"]', "[1]", 3, "declare[0]", "must be a text in quotes, not a whole number"),
        (
            'purpose = "Your colours."\n',
            "",
            25,
            "cookie[1].purpose",
            "missing: every [[cookie]] has a purpose, a sentence that visitors understand",
        ),
        (
            'category = "functional"\nhttp_only',
            'category = "function"\nhttp_only',
            29,
            "cookie[1].category",
            'there is no such category: did you mean "functional"?',
        ),
        (
            "http_only = true",
            'http_only = "yes"',
            30,
            "cookie[1].http_only",
            "must be true or false, without quotes, not a text",
        ),
        (
            'name = "theme"',
            'name = "basket"',
            26,
            "cookie[1].name",
            'the cookie "basket" is there twice: remove one',
        ),
        (
            'name = "theme"',
            'name = "_es"',
            26,
            "cookie[1].name",
            'the catalog has "_es" as a cookie of Example Stats: declare "example-stats" instead, or rename '
            "the cookie",
        ),
        (
            'name = "theme"',
            'name = "th*"',
            26,
            "cookie[1].name",
            'must be a cookie name; one "*" may stand after at least three other characters',
        ),
        (
            'name = "theme"',
            'name = "con*"',
            26,
            "cookie[1].name",
            "is the name of a cookie that keeps the visitor's answer, consent: use another one",
        ),
        (
            'name = "theme"',
            'name = "a; Domain=example.com"',
            26,
            "cookie[1].name",
            'must be a cookie name; one "*" may stand after at least three other characters',
        ),
        ('"bar"', '"cookie wall"', 57, "banner.layout", 'must be one of "bar", "card", "dialog"'),
        ('"enforce"', '"enforced"', 53, "enforcement.csp", 'must be one of "off", "report", "enforce"'),
        (
            '"*.pictures.example/x/"',
            '"https:"',
            54,
            "enforcement.csp_allow[1]",
            'must be a host such as "img.example.com" or "*.example.com", or one with a path',
        ),
        ('"Yes, all of them"', "7", 49, "texts.accept", "must be a text in quotes, not a whole number"),
        (
            'id = "example-chat"',
            'id = "this-site-chat"',
            33,
            "vendor[0].id",
            'ids that start with "this-site-" stand for [[cookie]] tables: choose another id',
        ),
    ],
)
def test_every_mistake_is_told_with_its_line_its_key_and_the_remedy(
    tmp_path: Path, old: str, new: str, line: int, key: str, message: str
) -> None:
    assert FULL.count(old) == 1
    error = fails(tmp_path, FULL.replace(old, new))
    assert (error.line, error.key) == (line, key)
    assert str(error) == f"{error.source}:{line} [{key}]: {message}"


@pytest.mark.parametrize(
    ("old", "new", "line", "key"),
    [
        ('country = "DE"\n', "", 32, "vendor[0].country"),
        ('country = "DE"', 'country = "Germany"', 36, "vendor[0].country"),
        (
            'hosts = ["chat.example.com"]',
            'hosts = [\n"chat.example.com",\n"https://x"]',
            42,
            "vendor[0].hosts[1]",
        ),
        ('party = "first"', 'party = "1st"', 46, "vendor[0].cookie[0].party"),
        (
            'hosts = ["chat.example.com"]',
            'hosts = ["example-ads.example.com"]',
            40,
            "vendor[0].hosts",
        ),
        ('name = "_chat"', 'name = "_es"', 42, "vendor[0].cookie"),
    ],
)
def test_what_the_catalog_finds_wrong_with_a_vendor_is_told_with_its_line_too(
    tmp_path: Path, old: str, new: str, line: int, key: str
) -> None:
    assert FULL.count(old) == 1
    error = fails(tmp_path, FULL.replace(old, new))
    assert (error.line, error.key) == (line, key)
    assert str(error).startswith(f"{error.source}:{line} [{key}]: ")
    assert str(error).count(f"[{key}]") == 1


@pytest.mark.parametrize(
    ("text", "line", "key", "message"),
    [
        ("site = 1", 1, "site", "must be a table: write [site] on a line of its own"),
        ("\ntexts = []", 2, "texts", "must be a table: write [texts] on a line of its own"),
        (
            "[cookie]\nname = 1",
            1,
            "cookie",
            "must be tables: write [[cookie]] above each, in double brackets",
        ),
        ("[vendor]", 1, "vendor", "must be tables: write [[vendor]] above each, in double brackets"),
        ("cookie = [1]", 1, "cookie", "must be tables: write [[cookie]] above each, in double brackets"),
    ],
)
def test_a_section_of_the_wrong_kind_is_told_how_to_be_written(
    tmp_path: Path, text: str, line: int, key: str, message: str
) -> None:
    assert told(fails(tmp_path, text)) == (line, key, message)


def test_more_cookies_than_anybody_would_read_are_refused(tmp_path: Path) -> None:
    one = '[[cookie]]\nname = "c{}"\npurpose = "p"\nlifetime = "l"\ncategory = "functional"\n'
    text = "".join(one.format(n) for n in range(501))
    assert told(fails(tmp_path, text)) == (2501, "cookie[500]", "at most 500 cookies can be listed")


# --- Finding the line, however the file is written ----------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("choice.days = 999", 1),
        ("\n\n  choice . days = 999", 3),
        ('"choice"."days" = 999', 1),
        ("'choice'.days = 999", 1),
        ("choice = { days = 999 }", 1),
        ('[ "choice" ]\ndays = 999', 2),
        ("[choice] # days = 1\n# days = 2\ndays = 999", 3),
        ('[texts]\na = """\n[choice]\ndays = 1\n"""\n[choice]\ndays = 999', 7),
        ("[texts]\na = '''\n[choice]\ndays = 1'''\n[choice]\ndays = 999", 6),
        ('[texts]\na = "[choice] \\" # days = 1"\n[choice]\ndays = 999', 4),
        ("[texts]\na = 'C:\\'\n[choice]\ndays = 999", 4),
        ('[texts]\na = """""two quotes"""""\nb = ""\n[choice]\ndays = 999', 5),
        ('declare = [\n  "example-ads", # ] days = 1\n]\n[choice]\ndays = 999', 5),
        ("[site]\nname = 'days'\n[choice]\ndays = 999", 4),
        ("[choice]\r\n\r\ndays = 999\r\n", 3),
        ("[choice]\ndays = 9.5e3", 2),
    ],
)
def test_the_line_of_a_key_is_found_in_every_way_of_writing_it(tmp_path: Path, text: str, line: int) -> None:
    error = fails(tmp_path, text)
    assert (error.line, error.key) == (line, "choice.days")


def test_a_key_written_with_escapes_is_told_with_the_line_of_its_table(tmp_path: Path) -> None:
    error = fails(tmp_path, '\n[choice]\n\n"d\\u0061ys" = 999')
    assert (error.line, error.key) == (2, "choice.days")


# --- Errors of later checks ---------------------------------------------------------------------------------


def test_an_error_of_a_later_check_is_given_file_and_line(tmp_path: Path) -> None:
    """A text override that does not fit is only found when the texts are loaded."""
    path = tmp_path / "consent.toml"
    path.write_text(FULL)
    for key, line in (("texts.accept", 49), ("language", 10), ("site", 6), ("choice_days", 17)):
        error = locate_in_policy(ConfigurationError("does not fit: shorten it", key=key), path)
        assert (error.source, error.line) == (str(path), line)
        assert str(error).endswith("]: does not fit: shorten it")


def test_an_error_that_cannot_be_placed_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "consent.toml"
    path.write_text(FULL)
    no_key = ConfigurationError("no such language")
    placed = ConfigurationError("wrong", source="elsewhere.toml", line=3, key="site.name")
    other = ConfigurationError("wrong", key="data_folder")
    assert locate_in_policy(no_key, path) is no_key
    assert locate_in_policy(placed, path) is placed
    assert locate_in_policy(other, path) is other
    path.unlink()
    lost = ConfigurationError("wrong", key="texts.accept")
    assert locate_in_policy(lost, path) is lost


# --- Interfaces ---------------------------------------------------------------------------------------------


def test_each_interface_is_a_key_of_its_table(tmp_path: Path) -> None:
    """All are off by default, and none changes what visitors are asked about."""
    policy, _ = load(tmp_path, '[interfaces]\ngoogle = "basic"\nclarity = true\nmeta = false\n')
    assert policy.interfaces == Interfaces(google=GoogleMode.BASIC, clarity=True)
    assert policy == Policy(interfaces={"google": "basic", "clarity": True})  # type: ignore[arg-type]
    assert Policy().interfaces == Interfaces()
    assert {
        getattr(Interfaces(), name) for name in INTERFACE_RULES if not name.startswith(("google_", "gpp_"))
    } == {None, False, "off"}
    assert policy.version == Policy().version


@pytest.mark.parametrize(
    ("text", "line", "key", "message"),
    [
        ("meta = 1", 2, "interfaces.meta", "must be true or false, without quotes, not a whole number"),
        ('clarity = true\ngoogle = "base"', 3, "interfaces.google", 'must be one of "basic"'),
        ("mixpannel = true", 2, "interfaces.mixpannel", 'unknown key: did you mean "mixpanel"?'),
        ("[site]\nclarity = true", 3, "site.clarity", "this key does not belong here: move it below [interfaces]"),
        ("refused = true", 2, "interfaces.refused", "this key does not belong here: move it below [enforcement]"),
        (
            "google_url_passthrough = true", 2, "interfaces.google_url_passthrough",
            '"google_url_passthrough" is nothing without "google": add it, or remove this',
        ),
    ],
)  # fmt: skip
def test_a_wrong_interface_is_named_with_its_line(
    tmp_path: Path, text: str, line: int, key: str, message: str
) -> None:
    """And what to do."""
    found_line, found_key, found = told(fails(tmp_path, f"[interfaces]\n{text}\n"))
    assert (found_line, found_key) == (line, key)
    assert message in found
