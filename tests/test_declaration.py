"""The cookie declaration: complete, the same for all who read a language, as a page and in the site's own pages."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from markupsafe import Markup
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.testclient import TestClient

from consent import ConfigurationError, ConsentMiddleware, CookieDeclaration, load_catalog, load_policy
from consent.banner import Banner
from consent.catalog import Cookie, StorageKey, Vendor
from consent.categories import Category
from consent.data_folder import DataFolder
from consent.decision import decide
from consent.declaration_pages import DeclarationPages
from consent.inventory import Inventory, Sighting, Source, Tally
from consent.policy import CacheMode, OptOutLink, OwnCookie, Policy, Rule, Unclassified, own_cookie_vendors
from consent.signals import Signals
from consent.sqlite_inventory import SQLiteInventory
from consent.texts import languages
from tests.test_banner import Reader

STATS = Vendor(
    id="example-stats",
    name="Example Stats",
    company="Example Metrics Ltd",
    country="HU",
    privacy_url="https://stats.example/privacy",
    category=Category.PERFORMANCE,
    about="Counts <visits>.",
    cookies=(
        Cookie(name="_es", purpose="Tells you apart.", lifetime="2 years", party="first", http_only=True),
        Cookie(name="es_t", purpose="Everywhere.", lifetime="session", party="third", http_only=False),
    ),
    storage=(
        StorageKey(key="es:*", area="indexeddb", purpose="Waiting events."),
        StorageKey(key="es-tab", area="session", purpose="This tab."),
    ),
    opt_out_url="https://stats.example/opt-out",
)
POLICY = Policy(
    site="Harbour & Pine",
    vendors=(STATS,),
    own_cookies=(
        OwnCookie(name="theme", purpose="Colours.", lifetime="1 year", category=Category.FUNCTIONAL),
    ),
    languages=("en", "de", "ar"),
    cache=CacheMode.UNIFORM,
    opt_out_links=(OptOutLink("Choices & more", "https://choices.example/"),),
    declare_seen=True,
)
PATH = "/_consent/cookies"
NOW = 1_800_000_000  # 2027-01-15


def _sighting(source: Source, vendor: str, part: str = "") -> Sighting:
    return Sighting(source, "script", f"{vendor}.example", vendor, part)


def rows(page: str) -> list[list[str]]:
    """Return the cells of every row under a heading, as texts."""
    found = re.findall(r'<tr role="row"><th scope="row".*?</tr>', page)
    return [
        [re.sub("<[^>]*>", "|", cell).strip("|") for cell in re.findall("<t[hd] .*?</t[hd]>", row)]
        for row in found
    ]


@pytest.fixture(scope="module")
def banner() -> Banner:
    """What renders the declaration of `POLICY`."""
    return Banner(POLICY, companion_name="consent_variant", in_force_since=date(2026, 11, 25))


def test_it_says_of_each_vendor_cookie_and_key_all_that_is_known(banner: Banner) -> None:
    """Whose, what for, how long, where, whether scripts can read it; who receives the data, and where to object."""
    page = banner.declaration_page().decode()
    assert rows(page) == [
        ["consent", "Remembers your answer, so that you are not asked on every page.",
         "Kept: 400 days|Cookie of this site||Scripts cannot read it"],
        ["consent_variant", "Remembers your answer, so that you are not asked on every page.",
         "Kept: 400 days|Cookie of this site"],
        ["_es", "Tells you apart.", "Kept: 2 years|Cookie of this site||Scripts cannot read it"],
        ["es_t", "Everywhere.", "Kept: until the browser is closed|Cookie of another site"],
        ["es:*", "Waiting events.", "Kept in the browser until deleted||IndexedDB"],
        ["es-tab", "This tab.", "Kept: until the browser is closed||sessionStorage"],
        ["theme", "Colours.", "Kept: 1 year|Cookie of this site"],
    ]  # fmt: skip
    read = Reader(page)
    assert [h.text for h in read.all("h2")] == [
        "Strictly necessary", "Performance", "Functional", "Targeting", "Opting out elsewhere"
    ]  # fmt: skip
    assert "Receives the data: Example Metrics Ltd, Hungary" in page
    assert "Without these the site cannot work" in page
    assert "None listed by the site." in page
    assert [(a.attributes["href"], a.text) for a in read.all("a", rel="noopener noreferrer")] == [
        ("https://stats.example/privacy", "Privacy notice of Example Stats"),
        ("https://stats.example/opt-out", "Opt out at Example Stats"),
        ("https://choices.example/", "Choices & more"),
    ]
    assert f"Version {POLICY.version} &middot; In force since 2026-11-25" in page
    assert "<script" not in page
    assert "style=" not in page


def test_choices_and_preferences_lead_to_it(banner: Banner) -> None:
    """In the language that they are in, lifetimes too; the page of choices refers to the others' pages, too."""
    german = banner.in_language("de")
    silence = decide(POLICY, Signals())
    link = '<a href="/_consent/cookies?language=de">Alle Cookies und Dienste</a>'
    assert link in german.markup(silence, return_to="/", nonce=None).decode()
    choices = german.choices_page(silence, return_to="/").decode()
    assert link in choices
    assert '<a href="https://choices.example/" rel="noopener noreferrer">' in choices
    assert '<a href="/_consent/choices?language=de">' in german.declaration_page().decode()
    assert "Speicherdauer: 2 Jahre<" in german.declaration_page().decode()


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    """A site with the policy, and nothing on it."""
    app = ConsentMiddleware(Starlette(), policy=POLICY, data=tmp_path / "data", clock=lambda: NOW)
    with TestClient(app) as browser:
        yield browser


def test_it_is_kept_and_asked_after_each_time(client: TestClient) -> None:
    """An ETag of its content, compressed or not; no cookie; nothing runs, loads or frames it."""
    plain = client.get(f"{PATH}?language=en", headers={"accept-encoding": "identity", "cookie": "consent=x"})
    assert plain.status_code == 200
    etag = plain.headers["etag"]
    assert re.fullmatch('"[0-9a-f]{16}"', etag)
    assert dict(plain.headers) == {
        "content-type": "text/html; charset=utf-8",
        "cache-control": "no-cache",
        "content-language": "en",
        "content-security-policy": "default-src 'none'; style-src 'self'; form-action 'self'; "
        "frame-ancestors 'none'; base-uri 'none'",
        "referrer-policy": "same-origin",
        "x-content-type-options": "nosniff",
        "x-robots-tag": "noindex, nofollow",
        "etag": etag,
        "vary": "Accept-Encoding",
        "content-length": str(len(plain.content)),
    }
    with client.stream("GET", f"{PATH}?language=en", headers={"accept-encoding": "gzip"}) as zipped:
        assert gzip.decompress(b"".join(zipped.iter_raw())) == plain.content
        assert zipped.headers["etag"] == etag[:-1] + '-gzip"'
    known = client.get(f"{PATH}?language=en", headers={"accept-encoding": "identity", "if-none-match": etag})
    assert (known.status_code, known.content) == (304, b"")
    assert {name: known.headers[name] for name in ("etag", "cache-control", "vary")} == {
        "etag": etag, "cache-control": "no-cache", "vary": "Accept-Encoding"
    }  # fmt: skip
    assert "In force since 2027-01-15" in plain.text
    head = client.head(f"{PATH}?language=en", headers={"accept-encoding": "identity"})
    assert (dict(head.headers), head.content) == (dict(plain.headers), b"")


def test_it_is_in_the_visitor_s_language_and_says_what_that_depends_on(tmp_path: Path) -> None:
    """The address asks for one, or the browser does; what is not offered is passed over."""
    policy = replace(POLICY, cache=CacheMode.PER_VISITOR)
    app = ConsentMiddleware(Starlette(), policy=policy, data=tmp_path / "data")
    with TestClient(app) as browser:
        for query, asked, language, vary in (
            ("?language=ar", "de", "ar", "Accept-Encoding"),
            ("", "de-AT", "de", "Accept-Encoding, Accept-Language"),
            ("?language=xx", "fr", "en", "Accept-Encoding, Accept-Language"),
        ):
            answer = browser.get(PATH + query, headers={"accept-language": asked})
            assert (answer.headers["content-language"], answer.headers["vary"]) == (language, vary)
            assert f'<html lang="{language}"' in answer.text
        assert '<a href="/_consent/cookies?language=ar" hreflang="ar" lang="ar" dir="rtl">' in answer.text


def test_every_language_has_a_page_and_no_more_are_kept() -> None:
    """However many are asked for, each is rendered once."""
    banner = Banner(Policy(vendors=(STATS,)))
    pages = DeclarationPages(load_catalog(), tuple)
    kept = {tag: pages.of(banner.in_language(tag)) for tag in banner.languages.offered}
    assert sorted(kept) == list(languages())
    assert len({answer.etag for answer in kept.values()}) == len(kept)
    assert all(pages.of(banner.in_language(tag)) is answer for tag, answer in kept.items())
    assert len(pages._made) == len(kept)


def test_a_vendor_that_was_only_seen_is_listed_apart_and_at_once(banner: Banner) -> None:
    """As soon as it is in a page; what browsers report is not listed, and neither is what is declared or unknown."""
    catalog = load_catalog().with_vendors((STATS,))
    inventory = Inventory()
    pages = DeclarationPages(catalog, lambda: inventory.seen_in_pages)
    before = pages.of(banner)
    inventory.note(Source.REPORT, [("img", "px.example", "meta-pixel")], "/", NOW)
    inventory.note(
        Source.RESPONSE, [("script", "s.example", "example-stats"), ("img", "x", "gone")], "/", NOW
    )
    assert pages.of(banner).content == before.content
    inventory.note(Source.RESPONSE, [("script", "static.hotjar.com", "hotjar")], "/", NOW)
    after = pages.of(banner)
    text = after.content.decode()
    assert after.etag != before.etag
    assert re.findall(r'<article class="consent-vendor" id="consent-vendor-([a-z-]+)"', text) == [
        "example-stats", "hotjar"
    ]  # fmt: skip
    assert text.index("Seen on this site, and not yet described by it:") < text.index("consent-vendor-hotjar")


def test_the_site_itself_is_not_listed_as_seen(banner: Banner) -> None:
    """Its own cookies are in its pages, and described."""
    catalog = load_catalog().with_vendors((STATS, *own_cookie_vendors(POLICY)))
    pages = DeclarationPages(catalog, lambda: ["this-site-functional"])
    assert catalog.vendors["this-site-functional"].cookies[0].name == "theme"
    assert "consent-vendor-this-site" not in pages.of(banner).content.decode()


@pytest.mark.parametrize("listed", [True, False])
def test_the_policy_says_whether_they_are_listed(tmp_path: Path, listed: bool) -> None:
    """From what the inventory had, and in the site's own pages alike."""
    policy = replace(POLICY, declare_seen=listed)
    data = tmp_path / "data"
    DataFolder(data).keys()
    SQLiteInventory(DataFolder(data).inventory_path).merge(
        {
            _sighting(Source.RESPONSE, "hotjar"): Tally(20_000, 20_000, 1),
            _sighting(Source.REPORT, "meta-pixel"): Tally(20_000, 20_000, 1),
        }
    )
    app = ConsentMiddleware(Starlette(), policy=policy, data=data)
    with TestClient(app) as browser:
        page = browser.get(PATH).text
    part = CookieDeclaration(policy=policy, data=data)()
    for text in (page, part):
        assert ("consent-vendor-hotjar" in text) is listed
        assert "consent-vendor-meta-pixel" not in text


def test_a_page_of_the_site_can_hold_it(client: TestClient, tmp_path: Path) -> None:
    """The same words and tables as in the page of its own, in the language of the request."""
    declaration = CookieDeclaration(policy=POLICY, data=tmp_path / "data", clock=lambda: NOW)
    page = client.get(f"{PATH}?language=de").text
    request = Request({"type": "http", "path": "/", "headers": [(b"accept-language", b"de")]})
    part = declaration(language="de")
    inside = re.search(r"<section[^>]*>\n(.*)\n</section>\n?$", part, re.S)
    assert inside
    assert inside[1] in page
    assert (
        '<section class="consent-root consent-declaration" aria-label="Alle Cookies und Dienste" lang="de"'
        in part
    )
    assert declaration(request) == declaration()  # a page that is everybody's is in the default language
    assert declaration(language="de") is part
    assert declaration(nonce='n"1').count(' nonce="n&#34;1"') == 2
    own = CookieDeclaration(policy=replace(POLICY, cache=CacheMode.PER_VISITOR), data=tmp_path / "other")
    assert 'lang="de"' in own(request)


def test_each_of_the_sites_hosts_has_its_own(tmp_path: Path) -> None:
    """By the request's host: what is declared there, and what was seen there; sections are told the same."""
    known = load_catalog().vendors
    partner = Policy(site="Partner", language="en", vendors=(known["vimeo"],), declare_seen=True)
    strict = replace(POLICY, unclassified=Unclassified.STRIP)
    policy = replace(
        POLICY,
        rules=(Rule(policy=partner, hosts=("partner.example",)), Rule(policy=strict, paths=("/in/",))),
    )
    data = DataFolder(tmp_path / "data")
    data.keys()
    seen = {_sighting(Source.RESPONSE, "hotjar", "partner.example"), _sighting(Source.RESPONSE, "youtube")}
    SQLiteInventory(data.inventory_path).merge({sighting: Tally(1, 1, 1) for sighting in seen})
    declaration = CookieDeclaration(policy=policy, data=data.path, clock=lambda: NOW)

    def at(host: bytes, path: str) -> Markup:
        return declaration(Request({"type": "http", "path": path, "headers": [(b"host", host)]}))

    theirs = at(b"partner.example:8000", "/in/x")
    assert re.findall('id="consent-vendor-([a-z-]+)"', theirs) == ["hotjar", "vimeo"]
    assert at(b"www.example.com", "/in/x") == at(b"www.example.com", "/") == declaration()
    assert "consent-vendor-vimeo" not in declaration()


def test_a_version_s_day_is_that_on_which_it_came_into_force(tmp_path: Path) -> None:
    """It stays as long as the version does, in all processes; another version, another day."""
    folder = DataFolder(tmp_path / "data")
    assert folder.in_force_since("a" * 12, date(2026, 11, 1)) == date(2026, 11, 1)
    assert DataFolder(folder.path).in_force_since("a" * 12, date(2026, 11, 9)) == date(2026, 11, 1)
    assert folder.in_force_since("b" * 12, date(2026, 11, 9)) == date(2026, 11, 9)
    assert folder.in_force_since("a" * 12, date(2026, 11, 11)) == date(2026, 11, 11)
    (folder.path / "policy-version").write_text("a" * 12 + " yesterday\n")
    with pytest.raises(ConfigurationError, match="remove the file"):
        folder.in_force_since("a" * 12, date(2026, 11, 11))


def test_without_a_folder_that_can_be_written_there_is_no_day(tmp_path: Path) -> None:
    """The site starts all the same."""
    folder = DataFolder(tmp_path / "data")
    folder.keys()
    (folder.path / "policy-version.new").mkdir()  # in the way of the new file, for root too
    assert folder.in_force_since("a" * 12, date(2026, 11, 1)) is None
    assert "In force" not in Banner(replace(POLICY, languages=("en",))).declaration()


@pytest.mark.parametrize(
    ("links", "message"),
    [
        ('["edaa"]', 'opt_out_links[0]]: "edaa" is none of "aboutcookies.org"'),
        ('["edaa.eu", { title = "x" }]', "opt_out_links[1]]: must have a title and a url"),
        ('[{ title = "x", url = "javascript:1" }]', "opt_out_links[0]]: the url must be an address that"),
        ('[{ title = "", url = "https://x.example/" }]', "opt_out_links[0]]: must not be empty"),
        ('["edaa.eu", "edaa.eu"]', "is listed twice: remove one"),
        ('"edaa.eu"', "opt_out_links]: must be a list of names and tables, not a text"),
    ],
)
def test_a_wrong_opt_out_link_is_told_with_its_place(tmp_path: Path, links: str, message: str) -> None:
    """A name that is not known, a table that lacks something, an address that is none."""
    path = tmp_path / "consent.toml"
    path.write_text(f"[site]\nopt_out_links = {links}\n")
    with pytest.raises(ConfigurationError) as told:
        load_policy(path, load_catalog())
    assert message in str(told.value)
    assert told.value.line == 2


def test_opt_out_links_go_by_their_names(tmp_path: Path) -> None:
    """The five of the industry, and any others with a title."""
    path = tmp_path / "consent.toml"
    path.write_text(
        '[site]\nopt_out_links = ["aboutcookies.org", "youronlinechoices.com", "optout.aboutads.info", '
        '"optout.networkadvertising.org", "edaa.eu", { title = "T", url = "https://t.example/" }]\n'
    )
    policy, _ = load_policy(path, load_catalog())
    assert [link.url for link in policy.opt_out_links] == [
        "https://aboutcookies.org/",
        "https://www.youronlinechoices.com/",
        "https://optout.aboutads.info/",
        "https://optout.networkadvertising.org/",
        "https://edaa.eu/",
        "https://t.example/",
    ]
    assert policy.version == Policy().version
