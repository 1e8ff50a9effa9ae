"""The guard answers what the catalog answers: by shared vectors, and for every rule of the whole catalog."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from consent.catalog import Catalog, Match, Vendor, load_catalog
from consent.categories import OPTIONAL, Category
from consent.guard import Guard
from consent.html.urls import PageURL, resolve
from tests.guard.conftest import Site, Visit, deciding

VECTORS = json.loads((Path(__file__).parent / "vectors.json").read_text(encoding="utf-8"))

ASK = """({urls, cookies, keys}) => {
  const link = document.createElement('link');
  return {
    urls: urls.map(url => (link.href = url, link.getAttribute('href') != url)),
    cookies: cookies.map(name => {
      document.cookie = name + '=1';
      const refused = !('; ' + document.cookie).includes('; ' + name + '=1');
      document.cookie = name + '=; max-age=0';
      return refused;
    }),
    keys: keys.map(key => {
      localStorage.setItem(key, '1');
      const refused = localStorage.getItem(key) == null;
      localStorage.removeItem(key);
      return refused;
    }),
  };
}"""


def optional(match: Match | None) -> str | None:
    """The id of the vendor, where it can be refused."""
    return match.vendor.id if match and match.vendor.category in OPTIONAL else None


def owner_of(catalog: Catalog, url: str, page: str) -> str | None:
    """The optional vendor of a URL in a page, as the server finds it."""
    parts = urlsplit(page)
    base = PageURL(parts.scheme, str(parts.hostname), parts.path)
    return optional(answer(catalog, url, base))


def answer(catalog: Catalog, url: str, base: PageURL) -> Match | None:
    """What the server finds of a URL in a page: of the page's own host only what is somebody's on every host."""
    target = resolve(url, base)
    if target is None:
        return None
    if target.host == base.host:
        return catalog.match_path(target.path)
    return catalog.match_url(target.host, target.path)


def everything(catalog: Catalog) -> dict[str, list[str]]:
    """Texts made of every rule, each as it is, and bent in the ways that rules tell apart."""
    urls: list[str] = []
    cookies: list[str] = []
    keys: list[str] = []
    for vendor in catalog.vendors.values():
        for host in vendor.hosts:
            urls += [f"https://{host}/x?y=1", f"https://a.b.{host}/", f"https://x{host}/"]
        for url in vendor.urls:
            # Those about every host are about this one's own, and about any other's.
            hosts = ("www.shop.example", "x.example") if url[0] in "/*" else ("",)
            for host, wild in product(hosts, ("", "z/9-z")):
                filled = host + (url.removeprefix("*") if host else url).replace("*", wild)
                joint = "&" if "?" in filled else "?"
                urls += [f"https://{filled}", f"https://{filled}{joint}q=1", f"https://{filled}z"]
                urls += [f"https://www.{filled}", f"https://{filled.replace('/', '/folder/', 1)}"]
                urls += [f"https://{filled.replace('?', '?a=b&')}", f"https://{filled.replace('?', '?x')}"]
        for names, known in (
            (cookies, [c.name for c in vendor.cookies]),
            (keys, [s.key for s in vendor.storage]),
        ):
            for name in known:
                names += [
                    name.replace("*", ""),
                    name.replace("*", "z9"),
                    name.replace("*", "") + "_x",
                    name[1:],
                ]
    return {
        "urls": list(dict.fromkeys(urls)),
        # With these the browser itself takes no cookie from a page without TLS.
        "cookies": [name for name in dict.fromkeys(cookies) if name and not name.startswith("__")],
        "keys": [key for key in dict.fromkeys(keys) if key],
    }


def test_the_catalog_answers_the_vectors() -> None:
    """The same file that the browser is asked with."""
    catalog = load_catalog()
    assert [[url, owner_of(catalog, url, VECTORS["page"])] for url, _ in VECTORS["urls"]] == VECTORS["urls"]
    assert [[n, optional(catalog.match_cookie(n))] for n, _ in VECTORS["cookies"]] == VECTORS["cookies"]
    assert [[k, optional(catalog.match_storage(k))] for k, _ in VECTORS["keys"]] == VECTORS["keys"]


def test_the_guard_answers_the_vectors(visit: Visit) -> None:
    """With everything refused, refused is what has an optional vendor."""
    visit.open(host="www.shop.example")
    asked = {kind: [text for text, _ in VECTORS[kind]] for kind in ("urls", "cookies", "keys")}
    answers = visit.page.evaluate(ASK, asked)
    for kind in asked:
        refused = [text for text, vendor in VECTORS[kind] if vendor is not None]
        assert [text for text, no in zip(asked[kind], answers[kind], strict=True) if no] == refused


@pytest.mark.parametrize(
    ("granted", "exceptions"),
    [
        ((), {}),
        ((Category.PERFORMANCE,), {}),
        ((Category.FUNCTIONAL,), {"google-maps": False, "meta-pixel": True}),
        ((Category.TARGETING,), {"google-analytics": True, "google-ads": False, "criteo": False}),
        ((Category.PERFORMANCE, Category.FUNCTIONAL), {"google-signals": True}),
    ],
    ids=["nothing", "performance", "functional", "targeting", "two"],
)
def test_every_rule_of_the_catalog_is_answered_alike(
    visit: Visit, granted: tuple[Category, ...], exceptions: dict[str, bool]
) -> None:
    """Thousands of texts, under different decisions: refused here is refused there."""
    catalog = load_catalog()
    decision = deciding(*granted, vendors=exceptions)
    visit.open(decision=decision, host="www.shop.example")
    asked = everything(catalog)
    assert len(asked["urls"]) > 2000

    def refuses(match: Match | None) -> bool:
        return match is not None and not decision.allows(match.vendor.category, match.vendor.id)

    expected: dict[str, list[bool]] = {"urls": [], "cookies": [], "keys": []}
    base = PageURL("http", "www.shop.example", "/page")
    expected["urls"] = [refuses(answer(catalog, url, base)) for url in asked["urls"]]
    expected["cookies"] = [refuses(catalog.match_cookie(name)) for name in asked["cookies"]]
    expected["keys"] = [refuses(catalog.match_storage(key)) for key in asked["keys"]]
    answers = visit.page.evaluate(ASK, asked)
    for kind, texts in asked.items():
        wrong = [
            text for text, yes, no in zip(texts, expected[kind], answers[kind], strict=True) if yes != no
        ]
        assert wrong == []


def test_a_sites_own_vendors_are_in_the_table(visit: Visit, site: Site) -> None:
    """Even one under a host that is strictly necessary, and one that keeps a part of a refused host."""

    def vendor(number: int, category: Category, hosts: tuple[str, ...], urls: tuple[str, ...]) -> Vendor:
        return Vendor(
            id=f"own-{number}",
            name="Own",
            company="Own",
            country="DE",
            privacy_url="https://example.com/",
            category=category,
            about="Own.",
            hosts=hosts,
            urls=urls,
            inline=(),
            cookies=(),
            storage=(),
        )

    own = load_catalog().with_vendors(
        [
            vendor(1, Category.PERFORMANCE, ("count.unpkg.com",), ()),
            vendor(2, Category.TARGETING, ("example.org",), ("example.com/a*b*c", "example.com/v?x=&y=1*")),
            vendor(3, Category.STRICTLY_NECESSARY, ("pay.example.org",), ("example.org/checkout*",)),
        ]
    )
    before, site.guard = site.guard, Guard(own)
    try:
        visit.open(host="www.shop.example")
        urls = [
            "https://unpkg.com/x", "https://count.unpkg.com/x", "https://example.org/x", "https://pay.example.org/x",
            "https://www.example.org/checkout/1", "https://example.com/a1b2c", "https://example.com/a?b=c",
            "https://example.com/v?y=12&x=", "https://example.com/v?y=1&x", "https://example.com/v?y=1&x=2",
        ]  # fmt: skip
        answers = visit.page.evaluate(ASK, {"urls": urls, "cookies": [], "keys": []})
    finally:
        site.guard = before
    expected = [owner_of(own, url, VECTORS["page"]) is not None for url in urls]
    assert answers["urls"] == expected == [False, True, True, False, False, True, False, True, True, False]
