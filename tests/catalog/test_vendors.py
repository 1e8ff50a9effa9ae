"""The built-in vendor files: what holds for every one of them, and the rules the project depends on."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

import consent.catalog
from consent.catalog import Catalog, Vendor, load_catalog
from consent.categories import Category

CATALOG = load_catalog()
VENDORS = tuple(CATALOG.vendors.values())
SIGNATURES = [(vendor, inline) for vendor in VENDORS for inline in vendor.inline]

# Hosts that serve pages, sign-in or content beside trackers: rules for them need a path.
MIXED_HOSTS = (
    "amazon.com", "apple.com", "bing.com", "cloudflare.com", "facebook.com", "github.com", "google.com",
    "google.de", "googleapis.com", "gstatic.com", "hubspot.com", "instagram.com", "linkedin.com", "live.com",
    "mail.ru", "microsoft.com", "naver.com", "openstreetmap.org", "paypal.com", "pinterest.com", "quora.com",
    "reddit.com", "spotify.com", "stripe.com", "t.co", "tiktok.com", "twitter.com", "vimeo.com", "vk.com",
    "wordpress.com", "wp.com", "x.com", "yahoo.com", "yandex.ru", "youtube.com",
)  # fmt: skip

# ISO 3166-1 alpha-2, as far as companies of the catalog are established there, and their neighbours.
COUNTRIES = re.compile(
    "A[DERTU]|B[AEGHRY]|C[AHLNORYZ]|D[EKO]|E[CEGS]|F[IR]|G[BEGIRT]|H[KRU]|I[DELMNST]|J[EOP]|K[ERWZ]|L[IKTUV]|"
    "M[ACDEKTXY]|N[GLOZ]|P[AEHKLT]|QA|R[OSU]|S[AEGIKM]|T[HNRW]|U[ASY]|V[GN]|ZA"
)

# What a visitor's own words or a site's data may well contain, and no tracker.
INNOCENT_SCRIPTS = (
    '{"@context": "https://schema.org", "@type": "Article", "url": "https://www.google-analytics.com/ga.js"}',
    "window.__STATE__ = {body: \"<script>fbq('init', '1'); gtag('config', 'G-ABC');</script>\"};",
    "// s.src = 'https://connect.facebook.net/en_US/fbevents.js';",
    "/* (window, document, 'script', 'https://snap.licdn.com/li.lms-analytics/insight.min.js') */",
    "var allowed = ['https://www.googletagmanager.com/gtag/js', 'https://static.hotjar.com/c/hotjar-1.js'];",
    "const text = `See https://js.hs-scripts.com/1.js and call hj('identify').`;",
    "location.href = 'https://www.facebook.com/example';",
    "window.dataLayer = window.dataLayer || []; function gtag() { dataLayer.push(arguments); }",
    "gtag('consent', 'default', {ad_storage: 'denied', analytics_storage: 'denied'});",
    "img.src = '/pixel.gif'; fetch('/api/track');",
    "analytics.track('own'); clarity.set('x'); drift.update(); heap.push(1); window.s = 1;",
    "",
)


def test_there_are_enough_vendors_in_every_category() -> None:
    """Vendors, hosts and URL patterns, cookies, and each category a good part of them."""
    counts = Counter(vendor.category for vendor in VENDORS)
    assert len(VENDORS) >= 500
    assert sum(len(vendor.hosts) + len(vendor.urls) for vendor in VENDORS) >= 2000
    assert sum(len(vendor.cookies) for vendor in VENDORS) >= 1500
    assert min(counts[category] for category in Category) >= 100


def test_what_visitors_read_is_one_plain_sentence() -> None:
    """About and purposes are sentences: a capital letter, a full stop, no markup."""
    for vendor in VENDORS:
        for text in (
            vendor.about,
            *(c.purpose for c in vendor.cookies),
            *(s.purpose for s in vendor.storage),
        ):
            assert re.fullmatch(r"[A-Z][^<>&]{10,150}\.", text), (vendor.id, text)


def test_every_vendor_says_who_it_is() -> None:
    """A company, a country that exists, and a notice on the web."""
    for vendor in VENDORS:
        assert vendor.company.strip() == vendor.company != "", vendor.id
        assert COUNTRIES.fullmatch(vendor.country), vendor.id
        assert re.fullmatch(r"https://[a-z0-9.-]+\.[a-z]{2,}/[!-~]*", vendor.privacy_url), vendor.id


def test_vendors_lead_to_where_visitors_can_object() -> None:
    """Those of the most used do that have such a page, and it is not their privacy notice."""
    known = {vendor.id: vendor.opt_out_url for vendor in VENDORS if vendor.opt_out_url}
    assert len(known) >= 30
    assert [name for name, url in known.items() if url == CATALOG.vendors[name].privacy_url] == []
    assert known["google-analytics"] == "https://tools.google.com/dlpage/gaoptout"


def test_lifetimes_are_a_number_and_a_unit_or_the_session() -> None:
    """Visitors read ``2 years`` or ``session``, never seconds or an abbreviation."""
    form = re.compile(
        r"session|1 (?:minute|hour|day|year)|\d+ (?:seconds|minutes|hours|days|weeks|months|years)"
    )
    for vendor in VENDORS:
        for cookie in vendor.cookies:
            assert form.fullmatch(cookie.lifetime), (vendor.id, cookie)


def test_every_host_rule_is_found_by_its_host_and_subdomains() -> None:
    """Each host leads to the vendor that lists it, unless a nearer rule of another vendor takes over."""
    owners = {host: vendor.id for vendor in VENDORS for host in vendor.hosts}
    for host, owner in owners.items():
        for name in (host, f"some.{host}"):
            match = CATALOG.match_url(name, "/no-such-path-0")
            assert match is not None
            assert (match.vendor.id, match.rule) == (owner, host)


def test_every_url_rule_is_found() -> None:
    """Each URL pattern, its wildcards filled in, leads to the vendor that lists it."""
    for vendor in VENDORS:
        for url in vendor.urls:
            host, _, rest = url.replace("*", "0").partition("/")
            match = CATALOG.match_url(host or "0", "/" + rest)
            assert match is not None, url
            assert (match.vendor.id, match.rule) == (vendor.id, url)


def test_every_first_party_cookie_and_storage_key_is_found() -> None:
    """Each name, its wildcard filled in, leads to the vendor that lists it."""
    for vendor in VENDORS:
        for cookie in vendor.cookies:
            match = CATALOG.match_cookie(cookie.name.replace("*", "0x"))
            if cookie.party == "first":
                assert match is not None
                assert (match.vendor.id, match.rule) == (vendor.id, cookie.name)
        for item in vendor.storage:
            match = CATALOG.match_storage(item.key.replace("*", "0x"))
            assert match is not None
            assert (match.vendor.id, match.rule) == (vendor.id, item.key)


@pytest.mark.parametrize("host", MIXED_HOSTS)
def test_mixed_hosts_are_split_by_path(host: str) -> None:
    """No rule takes a whole host that also serves what is no tracker."""
    assert CATALOG.match_url(host, "/") is None
    assert CATALOG.match_url(f"www.{host}", "/some/page?utm_source=x") is None


def test_no_host_rule_repeats_another_of_its_vendor() -> None:
    """A host stands for its subdomains, so none of them is listed beside it."""
    for vendor in VENDORS:
        repeated = [
            host
            for host in vendor.hosts
            for other in vendor.hosts
            if host != other and host.endswith(f".{other}")
        ]
        assert repeated == []


@pytest.mark.parametrize(
    ("vendor", "inline"),
    SIGNATURES,
    ids=[f"{vendor.id}-{inline.pattern[:20]}" for vendor, inline in SIGNATURES],
)
def test_examples_match_their_vendor_and_look_alikes_match_nobody(vendor: Vendor, inline: object) -> None:
    """A signature's example names its vendor; its benign look-alikes name no vendor of the whole catalog."""
    assert isinstance(inline, consent.catalog.InlineSignature)
    assert vendor.id in [match.vendor.id for match in CATALOG.match_inline(inline.example)]
    assert inline.benign
    for text in inline.benign:
        assert CATALOG.match_inline(text) == ()


@pytest.mark.parametrize("code", INNOCENT_SCRIPTS)
def test_mentions_in_data_prose_and_comments_match_nobody(code: str) -> None:
    """Naming a tracker is not loading it."""
    assert CATALOG.match_inline(code) == ()


def test_examples_match_no_other_company() -> None:
    """A snippet is not taken for that of another company."""
    for vendor, inline in SIGNATURES:
        companies = {match.vendor.company for match in CATALOG.match_inline(inline.example)}
        assert companies == {vendor.company}, inline.example


@pytest.mark.parametrize(
    ("host", "target", "expected"),
    [
        ("www.googletagmanager.com", "/gtag/js?id=G-ABC123", "google-analytics"),
        ("www.googletagmanager.com", "/gtag/js?l=layer&id=AW-123", "google-ads"),
        ("www.googletagmanager.com", "/gtag/js?id=DC-123", "doubleclick"),
        ("www.googletagmanager.com", "/gtag/js?id=UA-123-1", "google-universal-analytics"),
        ("www.googletagmanager.com", "/gtm.js?id=GTM-ABC", "google-tag-manager"),
        ("www.googletagmanager.com", "/ns.html?id=GTM-ABC", "google-tag-manager"),
        ("region1.google-analytics.com", "/g/collect?v=2", "google-analytics"),
        ("region1.analytics.google.com", "/g/collect?v=2", "google-analytics"),
        ("www.google-analytics.com", "/analytics.js", "google-universal-analytics"),
        ("www.googleadservices.com", "/pagead/conversion.js", "google-ads"),
        ("googleads.g.doubleclick.net", "/pagead/viewthroughconversion/1/", "google-ads"),
        ("www.google.com", "/pagead/1p-user-list/1/", "google-ads"),
        ("www.google.de", "/pagead/1p-user-list/1/", "google-ads"),
        ("www.google.co.uk", "/ads/ga-audiences?t=sr", "google-signals"),
        ("stats.g.doubleclick.net", "/g/collect?v=2", "google-signals"),
        ("1234567.fls.doubleclick.net", "/activityi;src=1;type=a", "doubleclick"),
        ("pagead2.googlesyndication.com", "/pagead/js/adsbygoogle.js", "google-adsense"),
        ("securepubads.g.doubleclick.net", "/tag/js/gpt.js", "google-ad-manager"),
        ("www.google.com", "/recaptcha/api.js", "recaptcha"),
        ("www.google.com", "/maps/embed?pb=1", "google-maps"),
        ("maps.googleapis.com", "/maps/api/js", "google-maps"),
        ("www.google.com", "/search?q=x", None),
        ("www.youtube.com", "/embed/abc", "youtube"),
        ("www.youtube.com", "/watch?v=abc", None),
        ("i.ytimg.com", "/vi/abc/hqdefault.jpg", "youtube"),
        ("accounts.google.com", "/gsi/client", "google-sign-in"),
        ("ajax.googleapis.com", "/ajax/libs/jquery/3.7.1/jquery.min.js", "google-hosted-libraries"),
        ("fonts.googleapis.com", "/css2?family=Roboto", "google-fonts"),
        ("connect.facebook.net", "/en_US/fbevents.js", "meta-pixel"),
        ("connect.facebook.net", "/de_DE/sdk.js", "facebook-social-plugins"),
        ("www.facebook.com", "/tr?id=1&ev=PageView&noscript=1", "meta-pixel"),
        ("www.facebook.com", "/tr/?id=1", "meta-pixel"),
        ("www.facebook.com", "/trending", None),
        ("www.facebook.com", "/plugins/like.php?href=x", "facebook-social-plugins"),
        ("snap.licdn.com", "/li.lms-analytics/insight.min.js", "linkedin-insight"),
        ("px.ads.linkedin.com", "/collect/?pid=1", "linkedin-insight"),
        ("px4.ads.linkedin.com", "/collect/?pid=1", "linkedin-insight"),
        ("p.adsymptotic.com", "/d/px/", "linkedin-insight"),
        ("www.linkedin.com", "/company/example", None),
        ("static.ads-twitter.com", "/uwt.js", "x-pixel"),
        ("t.co", "/i/adsct?txn_id=1", "x-pixel"),
        ("t.co", "/abcdef", None),
        ("platform.twitter.com", "/widgets.js", "x-widgets"),
        ("js.hs-scripts.com", "/123.js", "hubspot"),
        ("track.hubspot.com", "/__ptq.gif?k=1", "hubspot"),
        ("js.hsforms.net", "/forms/v2.js", "hubspot-forms"),
        ("js.usemessages.com", "/conversations-embed.js", "hubspot-chat"),
        ("js.hs-banner.com", "/123.js", "hubspot-banner"),
        ("wchat.freshchat.com", "/js/widget.js", "freshchat"),
        ("widget.freshworks.com", "/widgets/1.js", "freshworks-widget"),
        ("cdn.freshmarketer.com", "/1/2.js", "freshworks-crm"),
        ("eu.fw-cdn.com", "/1/2.js", "freshworks-crm"),
        ("static.hotjar.com", "/c/hotjar-1.js", "hotjar"),
        ("www.clarity.ms", "/tag/abc", "microsoft-clarity"),
        ("bat.bing.com", "/bat.js", "microsoft-advertising"),
        ("www.bing.com", "/maps/embed?x=1", "bing-maps"),
        ("analytics.tiktok.com", "/i18n/pixel/events.js", "tiktok-pixel"),
        ("player.vimeo.com", "/video/1", "vimeo"),
        ("challenges.cloudflare.com", "/turnstile/v0/api.js", "cloudflare-turnstile"),
        ("static.cloudflareinsights.com", "/beacon.min.js", "cloudflare-web-analytics"),
        ("cdnjs.cloudflare.com", "/ajax/libs/x.js", "cdnjs"),
        ("www.openstreetmap.org", "/export/embed.html?bbox=1", "openstreetmap"),
    ],
)
def test_well_known_urls_belong_to_whom_they_should(host: str, target: str, expected: str | None) -> None:
    """The addresses that sites use every day lead to the right product, or to none."""
    match = CATALOG.match_url(host, target)
    assert (match.vendor.id if match else None) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("_ga", "google-analytics"),
        ("_ga_ABC123", "google-analytics"),
        ("_gat_UA-1", "google-universal-analytics"),
        ("_gcl_au", "google-ads"),
        ("_fbp", "meta-pixel"),
        ("hubspotutk", "hubspot"),
        ("messagesUtk", "hubspot-chat"),
        ("_hjSessionUser_123", "hotjar"),
        ("_clck", "microsoft-clarity"),
        ("_uetsid", "microsoft-advertising"),
        ("li_fat_id", "linkedin-insight"),
        ("__cf_bm", "cloudflare-turnstile"),
        ("sessionid", None),
        ("csrftoken", None),
        ("id", None),
        ("uid", None),
        ("cart", None),
        ("lang", None),
        ("_gallery", None),
    ],
)
def test_well_known_cookies_belong_to_whom_they_should(name: str, expected: str | None) -> None:
    """Vendors' first-party cookies are known; names that sites use themselves are not claimed."""
    match = CATALOG.match_cookie(name)
    assert (match.vendor.id if match else None) == expected


@pytest.mark.parametrize(
    ("vendor_id", "category"),
    [
        ("google-analytics", Category.PERFORMANCE),
        ("google-tag-manager", Category.TARGETING),
        ("google-ads", Category.TARGETING),
        ("meta-pixel", Category.TARGETING),
        ("hotjar", Category.PERFORMANCE),
        ("microsoft-clarity", Category.PERFORMANCE),
        ("hubspot", Category.TARGETING),
        ("freshchat", Category.FUNCTIONAL),
        ("freshworks-crm", Category.TARGETING),
        ("youtube", Category.FUNCTIONAL),
        ("vimeo", Category.FUNCTIONAL),
        ("google-maps", Category.FUNCTIONAL),
        ("google-fonts", Category.FUNCTIONAL),
        ("recaptcha", Category.STRICTLY_NECESSARY),
        ("stripe", Category.STRICTLY_NECESSARY),
        ("onetrust", Category.STRICTLY_NECESSARY),
    ],
)
def test_decided_categories_stay_decided(vendor_id: str, category: Category) -> None:
    """A category is a promise to sites that run this version: changing one is a deliberate act."""
    assert CATALOG.vendors[vendor_id].category is category


def test_the_built_in_catalog_is_loaded_once() -> None:
    """Loading again costs nothing."""
    again: Catalog = load_catalog()
    assert again is CATALOG
    assert load_catalog(Path(consent.catalog.__file__).parent / "vendors") is CATALOG
