"""Lookups by URL, cookie name and storage key, on a small catalog of its own."""

from __future__ import annotations

import pytest

from consent.catalog import Catalog, Cookie, StorageKey, Vendor, parse_vendors
from consent.categories import Category
from consent.errors import ConfigurationError


def vendor(
    vendor_id: str,
    *,
    hosts: tuple[str, ...] = (),
    urls: tuple[str, ...] = (),
    cookies: tuple[str, ...] = (),
    third_party_cookies: tuple[str, ...] = (),
    storage: tuple[str, ...] = (),
) -> Vendor:
    """A vendor of which only the rules matter."""
    return Vendor(
        id=vendor_id,
        name=vendor_id.title(),
        company="Example Ltd",
        country="DE",
        privacy_url="https://example.com/privacy",
        category=Category.TARGETING,
        about="Exists for a test.",
        hosts=hosts,
        urls=urls,
        cookies=(
            *(
                Cookie(name=n, purpose="x", lifetime="1 year", party="first", http_only=False)
                for n in cookies
            ),
            *(
                Cookie(name=n, purpose="x", lifetime="1 year", party="third", http_only=False)
                for n in third_party_cookies
            ),
        ),
        storage=tuple(StorageKey(key=key, area="local", purpose="x") for key in storage),
    )


def found_url(catalog: Catalog, host: str, target: str = "/") -> tuple[str, str] | None:
    match = catalog.match_url(host, target)
    return (match.vendor.id, match.rule) if match else None


HOSTS = Catalog(
    [
        vendor("wide", hosts=("google-analytics.com", "tracker.example")),
        vendor("narrow", hosts=("special.tracker.example",)),
    ]
)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("google-analytics.com", ("wide", "google-analytics.com")),
        ("www.google-analytics.com", ("wide", "google-analytics.com")),
        ("a.b.c.google-analytics.com", ("wide", "google-analytics.com")),
        ("notgoogle-analytics.com", None),
        ("google-analytics.com.evil.example", None),
        ("google-analytics.co", None),
        ("analytics.com", None),
        ("com", None),
        ("localhost", None),
        ("", None),
        (".", None),
        ("..google-analytics.com", ("wide", "google-analytics.com")),
        ("special.tracker.example", ("narrow", "special.tracker.example")),
        ("x.special.tracker.example", ("narrow", "special.tracker.example")),
        ("notspecial.tracker.example", ("wide", "tracker.example")),
        ("a." * 130 + "tracker.example", None),
    ],
)
def test_a_host_stands_for_itself_and_its_subdomains_only(
    host: str, expected: tuple[str, str] | None
) -> None:
    """Hosts match on label boundaries, the longest first; what no DNS name can be matches nothing."""
    assert found_url(HOSTS, host) == expected
    assert found_url(HOSTS, host) == expected  # the remembered answer is the same one


URLS = Catalog(
    [
        vendor("bare", hosts=("mixed.example", "shop.mixed.example")),
        vendor("path", urls=("mixed.example/tr", "mixed.example/ads/*")),
        vendor("longer", urls=("mixed.example/ads/video/*",)),
        vendor("query", urls=("mixed.example/ads/video/*?id=AW-*", "mixed.example/js?id=AW-*&x=1")),
        vendor("inner", urls=("mixed.example/*/sdk.js", "mixed.example/v*/plugins/*")),
        vendor("below", urls=("sub.mixed.example/ads/*",)),
    ]
)


@pytest.mark.parametrize(
    ("host", "target", "expected"),
    [
        ("mixed.example", "/", ("bare", "mixed.example")),
        ("mixed.example", "/tr", ("path", "mixed.example/tr")),
        ("mixed.example", "/tr?id=1&x=/tr", ("path", "mixed.example/tr")),
        ("mixed.example", "/trending", ("bare", "mixed.example")),
        ("mixed.example", "/TR", ("bare", "mixed.example")),
        ("www.mixed.example", "/tr", ("path", "mixed.example/tr")),
        ("shop.mixed.example", "/tr", ("path", "mixed.example/tr")),
        ("notmixed.example", "/tr", None),
        ("mixed.example", "/ads/x", ("path", "mixed.example/ads/*")),
        ("mixed.example", "/ads", ("bare", "mixed.example")),
        ("mixed.example", "/ads/video/1", ("longer", "mixed.example/ads/video/*")),
        ("mixed.example", "/ads/video/1?id=AW-1", ("query", "mixed.example/ads/video/*?id=AW-*")),
        ("mixed.example", "/ads/video/1?z&id=AW-1", ("query", "mixed.example/ads/video/*?id=AW-*")),
        ("mixed.example", "/ads/video/1?xid=AW-1", ("longer", "mixed.example/ads/video/*")),
        ("mixed.example", "/js?x=1&id=AW-9", ("query", "mixed.example/js?id=AW-*&x=1")),
        ("mixed.example", "/js?x=12&id=AW-9", ("bare", "mixed.example")),
        ("mixed.example", "/js?id=AW-9", ("bare", "mixed.example")),
        ("mixed.example", "/en_US/sdk.js?v=1", ("inner", "mixed.example/*/sdk.js")),
        ("mixed.example", "/sdk.js", ("bare", "mixed.example")),
        ("mixed.example", "/v19.0/plugins/like", ("inner", "mixed.example/v*/plugins/*")),
        ("mixed.example", "/page?next=/ads/x", ("bare", "mixed.example")),
        ("sub.mixed.example", "/ads/video/1", ("below", "sub.mixed.example/ads/*")),
        ("mixed.example", "", ("bare", "mixed.example")),
    ],
)
def test_the_most_specific_url_rule_wins(host: str, target: str, expected: tuple[str, str] | None) -> None:
    """Patterns before bare hosts, nearer hosts before farther, parameters before paths, long before short."""
    assert found_url(URLS, host, target) == expected


def test_a_hostile_url_takes_linear_time() -> None:
    """A path of a million characters that nearly matches several wildcards is decided in one pass."""
    assert found_url(URLS, "mixed.example", "/v" + "/plugin" * 150_000) == ("bare", "mixed.example")


NAMES = Catalog(
    [
        vendor("exact", cookies=("_ga", "_ga_special"), storage=("abc", "abc_keep")),
        vendor("wild", cookies=("_ga_*", "ph_*_posthog"), storage=("abc_*",)),
        vendor("longest", cookies=("_ga_long_*",), third_party_cookies=("uid", "_ga_third")),
    ]
)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("_ga", ("exact", "_ga")),
        ("_ga_special", ("exact", "_ga_special")),
        ("_ga_ABC", ("wild", "_ga_*")),
        ("_ga_", ("wild", "_ga_*")),
        ("_ga_long_x", ("longest", "_ga_long_*")),
        ("ph_abc_posthog", ("wild", "ph_*_posthog")),
        ("ph_posthog", None),
        ("ph_abc_posthog2", None),
        ("_gab", None),
        ("_GA", None),
        ("x_ga", None),
        ("_g", None),
        ("", None),
        ("uid", None),
        ("_ga_third", ("wild", "_ga_*")),
    ],
)
def test_cookies_match_exactly_then_by_the_longest_wildcard(
    name: str, expected: tuple[str, str] | None
) -> None:
    """Names are case-sensitive; a vendor's third-party names are never taken for the site's own."""
    match = NAMES.match_cookie(name)
    assert ((match.vendor.id, match.rule) if match else None) == expected


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("abc", ("exact", "abc")),
        ("abc_keep", ("exact", "abc_keep")),
        ("abc_x", ("wild", "abc_*")),
        ("ab", None),
    ],
)
def test_storage_keys_match_like_cookies(key: str, expected: tuple[str, str] | None) -> None:
    """Exact first, then the longest wildcard."""
    match = NAMES.match_storage(key)
    assert ((match.vendor.id, match.rule) if match else None) == expected


def test_vendors_are_kept_in_order_and_cannot_be_changed() -> None:
    """The mapping reads like a dictionary and refuses writes."""
    assert list(HOSTS.vendors) == ["wide", "narrow"]
    with pytest.raises(TypeError):
        HOSTS.vendors["x"] = HOSTS.vendors["wide"]  # type: ignore[index]


def test_a_site_adds_vendors_and_replaces_known_ones_by_id() -> None:
    """The new catalog has the site's rules; the old one is as it was."""
    changed = HOSTS.with_vendors(
        [
            vendor("wide", hosts=("other.example",)),
            vendor("own", hosts=("tracker.example",), cookies=("own",)),
        ]
    )
    assert list(changed.vendors) == ["wide", "narrow", "own"]
    assert found_url(changed, "google-analytics.com") is None
    assert found_url(changed, "other.example") == ("wide", "other.example")
    assert found_url(changed, "a.tracker.example") == ("own", "tracker.example")
    assert found_url(HOSTS, "a.tracker.example") == ("wide", "tracker.example")


@pytest.mark.parametrize(
    ("second", "key", "rule"),
    [
        (vendor("second", hosts=("one.example",)), "vendor.second.hosts", "one.example"),
        (vendor("second", urls=("mixed.example/a*",)), "vendor.second.urls", "mixed.example/a*"),
        (vendor("second", cookies=("cookie",)), "vendor.second.cookie", "cookie"),
        (vendor("second", storage=("storage",)), "vendor.second.storage", "storage"),
    ],
    ids=["host", "url", "cookie", "storage"],
)
def test_two_vendors_cannot_claim_the_same_thing(second: Vendor, key: str, rule: str) -> None:
    """The error names the rule, both vendors and the way out."""
    first = vendor(
        "first", hosts=("one.example",), urls=("mixed.example/a*",), cookies=("cookie",), storage=("storage",)
    )
    with pytest.raises(ConfigurationError) as caught:
        Catalog([first]).with_vendors([second])
    assert caught.value.key == key
    assert str(caught.value) == (
        f"[{key}]: {rule!r} already belongs to the vendor 'first': remove it from one of the two, or give "
        "the vendor the id 'first' to replace that one"
    )


def test_two_vendors_with_one_id_are_refused() -> None:
    """Within one list an id is unique."""
    with pytest.raises(ConfigurationError) as caught:
        Catalog([vendor("same"), vendor("same")])
    assert str(caught.value) == "[vendor.same]: two vendors have this id (Same, Same): rename one"


def test_a_rule_repeated_within_one_vendor_is_harmless() -> None:
    """The same key in two storage areas is one rule."""
    tables = {
        "vendor": [
            {
                "id": "both",
                "name": "Both",
                "company": "Example Ltd",
                "country": "DE",
                "privacy": "https://example.com/privacy",
                "category": "functional",
                "about": "Exists for a test.",
                "storage": [
                    {"key": "state", "area": "local", "purpose": "Keeps it."},
                    {"key": "state", "area": "session", "purpose": "Keeps it."},
                ],
            }
        ]
    }
    match = Catalog(parse_vendors(tables, "consent.toml")).match_storage("state")
    assert match is not None
    assert match.vendor.id == "both"
