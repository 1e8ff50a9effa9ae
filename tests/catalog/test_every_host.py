"""URL patterns without a host: a vendor's endpoints are known by their path where the site, or a name of its own,
passes them on. No site's own content is taken for one."""

from __future__ import annotations

import pytest

from consent.catalog import Catalog, load_catalog
from consent.decision import Decision, decide
from consent.enforcement import Action, Finding, PageEnforcement
from consent.explain import explain, explain_page
from consent.html import Rewriter
from consent.html.urls import PageURL
from consent.policy import Policy
from consent.signals import Signals
from tests.catalog.test_matching import found_url, vendor

CATALOG = load_catalog()
PAGE = PageURL("https", "www.shop.example", "/articles/matomo.php")
REFUSING = decide(Policy(), Signals())

KNOWN = {
    "google-analytics": [
        "/gtag/js?id=G-ABC123", "/metrics/gtag/js?l=dataLayer&id=G-1", "/gtag/js?id=GT-ABC", "/collect?v=2&tid=G-1",
        "/g/collect?tid=G-ABC&gtm=1&v=2&_p=3",
    ],
    "google-universal-analytics": ["/gtag/js?id=UA-1-1", "/collect?v=1&_v=j9&tid=UA-1-1", "/j/collect?v=1&tid=UA-1-1"],
    "google-tag-manager": ["/gtm.js?id=GTM-ABC", "/t/gtm.js?x=1&id=GTM-1", "/ns.html?id=GTM-ABC"],
    "google-ads": ["/gtag/js?id=AW-1"],
    "doubleclick": ["/gtag/js?id=DC-1"],
    "matomo": [
        "/matomo.js", "/stats/piwik.js?v=3", "/stats/matomo.php?action_name=x&idsite=1&rec=1", "/piwik.php?idsite=2",
    ],
    "piwik-pro": ["/ppms.js", "/x/ppms.php?idsite=0-1"],
    "plausible": [
        "/js/plausible.js", "/js/plausible.hash.js", "/js/plausible.manual.js", "/js/plausible.outbound-links.js",
        "/js/plausible.tagged-events.js",
    ],
    "posthog": [
        "/ingest/static/array.js?v=1", "/ingest/array/phc_Ab1/config.js",
        "/ingest/i/v0/e/?ip=0&_=1764000000000&ver=1.297.0&compression=gzip-js",
        "/ingest/flags/?v=2&config=true&ip=0&_=1764000000000&ver=1.297.0&compression=base64",
        "/ingest/decide/?v=3&ip=1&_=1700000000000&ver=1.96.1", "/ingest/s/?_=1&ver=1.2.3",
    ],
    "umami": ["/u/umami.js"],
    "vercel-analytics": [
        "/_vercel/insights/script.js", "/_vercel/insights/view", "/_vercel/speed-insights/script.js",
        "/_vercel/speed-insights/vitals",
    ],
    "cloudflare-web-analytics": ["/cdn-cgi/rum?"],
    "snowplow": ["/com.snowplowanalytics.snowplow/tp2", "/i?stm=1&e=pv&p=web&tv=js-3.1.0"],
    "shopify-analytics": [
        "/.well-known/shopify/monorail/unstable/produce_batch", "/.well-known/shopify/monorail/v1/produce",
    ],
    "segment": ["/analytics.js/v1/abc/analytics.min.js"],
    "rudderstack": ["/v1.1/rudder-analytics.min.js", "/rudder-analytics.js"],
    "countly": ["/sdk/web/countly.min.js"],
    "yandex-metrica": ["/ya/metrika/tag.js"],
    "tiktok-pixel": ["/tt/i18n/pixel/events.js?sdkid=1&lib=ttq"],
    "meta-pixel": ["/fb/en_US/fbevents.js"],
}  # fmt: skip
OWN = [
    "/collect", "/collect?v=2", "/collect?v=2&tid=42", "/collect?v=3&tid=G-1", "/collect?v=2&tid=g-1", "/collect.html",
    "/collect/G-1?v=2", "/collected?v=2&tid=G-1", "/stamps/collect?item=G-1&v=2", "/collect?v=1&tid=U-1",
    "/gtag/js", "/gtag/js?id=", "/gtag/js?id=12", "/js?id=G-1", "/gtag/js/?id=G-1", "/gtag.js?id=G-1",
    "/xgtag/js?id=G-1",
    "/help/gtag/js.html?id=G-1", "/page?u=/gtag/js?id=G-1", "/gtag/js?x=1#?id=G-1",
    "/gtm.js", "/gtm.js?id=7", "/gtm.js?v=GTM-1", "/ns.html", "/ns.html?id=12", "/dns.html?id=GTM-1",
    "/matomo.php", "/matomo.php?page=2", "/docs/matomo.php.html?idsite=1", "/matomo.js.map", "/matomo-js",
    "/my-matomo.js",
    "/img/matomo.png", "/matomo.js/", "/matomo", "/piwik.php", "/piwik.jpg", "/ppms.php", "/xppms.js",
    "/js/script.js", "/api/event", "/plausible.js", "/js/plausible.js.map", "/js/implausible.js", "/js/plausible.css",
    "/umami.json", "/recipes/umami", "/umami.js.html", "/script.js", "/api/send",
    "/_vercel/image?url=x", "/vercel/insights/script.js", "/insights/view", "/x/_vercel/insights/view", "/vitals",
    "/cdn-cgi/rum/x", "/cdn-cgi/trace", "/rum", "/drinks/rum", "/cdn-cgi/challenge-platform/scripts/jsd/main.js",
    "/i", "/i?p=web", "/i?p=web&tv=4", "/tp2", "/snowplow/tp2",
    "/produce", "/fruit/produce_batch", "/.well-known/shopify/monorail",
    "/analytics.min.js", "/analytics.js", "/js/analytics.min.js", "/v1/analytics.min.js", "/rudder.js",
    "/countly.min.js",
    "/tag.js", "/metrika/tag.json", "/events.js", "/pixel/events.js", "/fbevents.js", "/en_US/events.js",
    "/ingest/e/", "/ingest/decide", "/ingest", "/ingest/decide/?v=3", "/ingest/jobs?_=1", "/ingest/jobs?ver=1.0",
    "/ingest/array/1", "/ingest/static/app.js", "/static/array.js", "/x/ingest/e/?_=1&ver=1.2", "/ingest/e/?_=1&ver=2",
    "/", "", "?id=G-1", "/a.js",
]  # fmt: skip


@pytest.mark.parametrize("vendor_id", KNOWN)
def test_a_vendors_endpoints_are_known_on_every_host(vendor_id: str) -> None:
    """In whatever folder where the pattern says so, and with further parameters."""
    for target in KNOWN[vendor_id]:
        for match in (CATALOG.match_path(target), CATALOG.match_url("s.shop.example", target)):
            assert match is not None, target
            assert match.vendor.id == vendor_id


def test_every_pattern_without_a_host_has_an_example() -> None:
    """So that none is added without a thought of what else it may be."""
    rules = {rule for known in CATALOG.vendors.values() for rule in known.urls if rule[0] in "/*"}
    met = {match.rule for targets in KNOWN.values() for match in map(CATALOG.match_path, targets) if match}
    assert met == rules


@pytest.mark.parametrize("target", OWN)
def test_a_sites_own_content_is_no_endpoint(target: str) -> None:
    """What is written alike but for the part that only a vendor's has."""
    assert CATALOG.match_path(target) is None
    assert CATALOG.match_url("www.shop.example", target or "/") is None


def test_a_hosts_own_patterns_come_first_and_bare_hosts_last() -> None:
    """The nearest rule counts, and no host is nearer than the path."""
    catalog = Catalog(
        [
            vendor("proxied", urls=("*/hit?id=*", "/own/*")),
            vendor("host", hosts=("a.test",), urls=("b.test/x/hit",)),
        ]
    )
    assert found_url(catalog, "a.test", "/hit") == ("host", "a.test")
    assert found_url(catalog, "a.test", "/hit?id=1") == ("proxied", "*/hit?id=*")
    assert found_url(catalog, "b.test", "/x/hit?id=1") == ("host", "b.test/x/hit")
    assert found_url(catalog, "b.test", "/y/hit?id=1") == ("proxied", "*/hit?id=*")
    assert found_url(catalog, "[::1]", "/own/x") == ("proxied", "/own/*")
    assert found_url(catalog, "localhost", "/x/own/x") is None


def rewritten(markup: str, decision: Decision = REFUSING, page: PageURL = PAGE) -> tuple[str, list[Finding]]:
    judge = PageEnforcement(CATALOG, decision, page)
    rewriter = Rewriter(judge)
    result = rewriter.write(markup.encode()) + rewriter.end()
    return result.decode(), judge.findings


@pytest.mark.parametrize(
    "url",
    [
        "/gtag/js?id=G-1", "//www.shop.example/gtag/js?id=G-1", "HTTPS://WWW.SHOP.EXAMPLE.:443/gtag/js?id=G-1",
        "https://u:p@www.shop.example/gtag/js?id=G-1", "../gtag/js?id=G-1", "gtag/js?id=G-1", "\\gtag\\js?id=G-1",
        "/%67tag/%6As?id=G-1", "/x/%2e%2e/gtag/js?id=G-1", "/gtag/js&quest;id=G-1", "/gtag/j\ts?id=G-1 ",
        "https://sst.shop.example/gtag/js?id=G-1", "https://cloaked.example/gtag/js?id=G-1",
        "//xn--bcher-kva.example/gtag/js?id=G-1", "//[2001:db8::1]:8080/gtag/js?id=G-1", "//192.0.2.1/gtag/js?id=G-1",
        "//www.shop.example&#47;gtag/js?id=G-1",
    ],
)  # fmt: skip
def test_no_spelling_hides_an_endpoint_on_the_pages_own_host(url: str) -> None:
    """It is taken out, whoever's host it is written with; a look-alike beside it stays."""
    own = '<script src="/gtag/js?id=12"></script>'
    result, (finding,) = rewritten(f'<script src="{url}"></script>{own}')
    assert result == own
    assert finding.action is Action.STRIPPED
    assert finding.vendor is CATALOG.vendors["google-analytics"]
    assert finding.subject.endswith("/gtag/js")


def test_a_page_is_not_taken_for_an_endpoint_of_its_own() -> None:
    """What leads back to the page loads nothing else; beside it the same path is judged."""
    page = PageURL("https", "www.shop.example", "/matomo.php?idsite=1")
    markup = '<iframe src=""></iframe><iframe src="#x"></iframe><img src="/matomo.php?idsite=1">'
    assert rewritten(markup, page=page) == (markup, [])
    assert rewritten('<img src="/matomo.php?idsite=2">', page=page)[0] == ""
    assert rewritten("<p>Send it to /matomo.php?idsite=1</p><a href='/matomo.js'>read</a>")[1] == []


def test_styles_frames_and_headers_are_judged_alike() -> None:
    """Wherever a URL of the page's own host is read."""
    result, findings = rewritten(
        "<style>a{background:url(/collect?v=2&tid=G-1)}</style><p style='background:url(/piwik.php?idsite=1)'>x</p>"
        "<iframe srcdoc='&lt;img src=/matomo.php?idsite=1>'></iframe><link rel=preload as=script href=/matomo.js>"
        "<img srcset='/a.png 1x, /collect?v=2&amp;tid=G-1 2x'><noscript><img src=/matomo.php?idsite=1></noscript>"
    )
    assert "G-1" not in result
    assert "matomo" not in result
    assert "idsite" not in result
    assert len(findings) == 6
    assert {finding.action for finding in findings} == {Action.STRIPPED}


def test_the_reason_is_told_in_words() -> None:
    """Of an address, and of what is on a page."""
    (found,) = explain(CATALOG, "https://sst.shop.example/g/collect?v=2&tid=G-1")
    assert found.because == (
        "whatever the host is, in whatever folder, the path is /collect, and the query has v=2 and tid=G-*"
    )
    (found,) = explain(CATALOG, "shop.example/cdn-cgi/rum")
    assert found.because == "whatever the host is, the path is /cdn-cgi/rum"
    page = b'<img src="/own.png"><script src="/matomo.js"></script><img src="/matomo.php">'
    assert [
        (one.kind, one.subject, one.match and one.match.rule) for one in explain_page(CATALOG, page, PAGE)
    ] == [("script", "www.shop.example/matomo.js", "*/matomo.js")]
