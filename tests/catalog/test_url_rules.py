"""The compiled reading of the catalog's rules about URLs gives the same answers as `Catalog.match_url`."""

from __future__ import annotations

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consent.catalog import Catalog, load_catalog
from consent.html.urls import PageURL, resolve
from consent.speedups import compiled
from tests.catalog.test_matching import vendor

pytestmark = pytest.mark.skipif(
    compiled is None, reason="there is no compiled reading to be held against Python"
)

_EXAMPLES = os.environ.get("CONSENT_EXAMPLES", "")
_bounded = settings(max_examples=int(_EXAMPLES or "600"), derandomize=not _EXAMPLES, deadline=None)
PAGE = PageURL("https", "www.example.com", "/shop/index.html")
NOBODY, UNCERTAIN = -1, -2

_host = st.sampled_from(["a.test", "b.a.test", "c.b.a.test", "d.c.b.a.test", "other.test", "co.uk", "é.test"])
_path = st.text("/ab*", max_size=8).map(lambda path: f"/{path}")
_url_rules = st.builds(
    "{}{}{}".format, _host.filter(str.isascii), _path, st.sampled_from(["", "", "", "?q=1", "?q=*&p=2"])
)
_rest = st.builds(
    "{}{}".format,
    st.text("/ab", max_size=9).map(lambda path: f"/{path}") | st.sampled_from(
        ["", "", "/", "/a/../b", "/./a", "/a.b", "/%61", "/a%20", "/é", "/a\\b", "/a b", "/a&amp;b", "/a\tb", "/..a",
         "/a\x7f"]
    ),
    st.sampled_from(["", "", "?q=1", "?q=1&amp;p=2", "#a", "?a\\b", "?é", "? ", "#?q=1", "?#", "?q=a b"]),
)  # fmt: skip


def answer(catalog: Catalog, host: str, rest: str) -> int:
    """Return what Python says: the number of a URL's vendor."""
    target = resolve(f"//{host}{rest}".replace("&amp;", "&"), PAGE)
    match = target and catalog.match_url(target.host, target.path)
    return NOBODY if match is None else catalog.number(match.vendor.id)


@_bounded
@given(
    rules=st.lists(st.lists(_url_rules, max_size=4, unique=True), min_size=1, max_size=4),
    hosts=st.lists(_host.filter(str.isascii), max_size=3, unique=True),
    host=_host,
    rest=_rest,
)
def test_both_readings_give_a_url_to_the_same_vendor(
    rules: list[list[str]], hosts: list[str], host: str, rest: str
) -> None:
    """By path, wildcard, parameters and owner of the nearest domain; what is not plain is left to Python."""
    claimed: set[str] = set()
    vendors = []
    for number, urls in enumerate(rules):
        vendors.append(
            vendor(
                f"v{number}",
                urls=tuple(url for url in urls if url not in claimed),
                hosts=tuple(hosts[number:][:1]),
            )
        )
        claimed.update(urls)
    catalog = Catalog(vendors)
    given, by_path = compiled.UrlRules(*catalog.url_rules()).owner(host.encode(), rest.encode())
    assert given in (UNCERTAIN, answer(catalog, host, rest))
    assert bool(by_path) is not catalog.is_of_one(host)


PLAIN = Catalog(
    [
        vendor("owner", hosts=("a.test", "deep.b.test")),
        vendor(
            "paths",
            urls=("a.test/t", "a.test/x/*", "a.test/*/y*z", "a.test/p?q=1", "b.test/*", "l.b.test/only"),
        ),
        vendor("shop", urls=("a.test/x/shop/*",)),
    ]
)


@pytest.mark.parametrize(
    ("host", "rest", "expected"),
    [
        ("a.test", "/t", (1, 1)),
        ("a.test", "/t?x#y", (1, 1)),
        ("a.test", "/tt", (0, 1)),
        ("sub.a.test", "/x/", (1, 1)),
        ("sub.a.test", "/x/shop/cart.js", (2, 1)),
        ("a.test", "/o/y/1z", (1, 1)),
        ("a.test", "/o/y/1zz?", (1, 1)),
        ("a.test", "/o/yz", (1, 1)),
        ("a.test", "/o/zy", (0, 1)),
        ("a.test", "/p?q=2", (UNCERTAIN, 1)),
        ("a.test", "/%74", (UNCERTAIN, 1)),
        ("a.test", "/x/../t", (UNCERTAIN, 1)),
        ("a.test", "", (0, 1)),
        ("l.b.test", "", (1, 1)),
        ("l.b.test", "/only", (1, 1)),
        ("x.deep.b.test", "?a", (1, 1)),
        ("xa.test", "/t", (NOBODY, 0)),
        ("test", "/t", (NOBODY, 0)),
        ("", "", (NOBODY, 0)),
        (".a.test", "/t", (1, 1)),
        ("x" * 247 + ".a.test", "/t", (NOBODY, 0)),
    ],
)
def test_plain_urls_are_settled_without_python(host: str, rest: str, expected: tuple[int, int]) -> None:
    """Whose it is, and whether paths matter on that host."""
    assert compiled.UrlRules(*PLAIN.url_rules()).owner(host.encode(), rest.encode()) == expected


def test_the_built_in_rules_are_given_to_the_vendors_they_are_of() -> None:
    """Each rule, written as a URL, is found, or left to Python where parameters count."""
    catalog = load_catalog()
    rules = compiled.UrlRules(*catalog.url_rules())
    certain = 0
    for known in catalog.vendors.values():
        for rule in (*(f"{host}/" for host in known.hosts), *known.urls):
            host, _, rest = rule.replace("*", "0").partition("/")
            if rule[0] in "/*":
                assert rules.may_be_ruled(f"/{rest}".encode()), rule
                continue
            given, _ = rules.owner(host.encode(), f"/{rest}".encode())
            assert given in (UNCERTAIN, answer(catalog, host, f"/{rest}")), rule
            certain += given != UNCERTAIN
    assert certain > 3000


_path_rules = st.sampled_from(["*/a", "*/b?q=1", "/a/b", "/ab/*", "/aa/*/b*", "*/b/*/a"])
_reference = st.builds(
    "{}{}".format,
    st.text("/ab", max_size=8) | st.sampled_from(
        ["/a/../ab/x", "/./a", "/%61", "/%61b/x", "/a%20", "/a%2", "/a%", "/%e9/a", "/é/a", "\\a", "/a\\b", "/a&amp;b",
         "/a&quest;q=1", "/\ta", "/a\t", "../a", "./ab/", "/a%2fb", "/b/%2E%2e/a"]
    ),
    st.sampled_from(["", "", "?q=1", "?q=1&amp;p=2", "#a", "?x\\/y", "#?q=1", "?q=/a"]),
)  # fmt: skip


@_bounded
@given(rules=st.lists(_path_rules, min_size=1, max_size=3, unique=True), reference=_reference)
def test_no_path_that_is_ruled_on_every_host_is_passed(rules: list[str], reference: str) -> None:
    """What the compiled reading passes on the page's own host, Python finds nobody's, however it is written."""
    catalog = Catalog([vendor("v", urls=tuple(rules))])
    target = resolve(reference.replace("&amp;", "&").replace("&quest;", "?"), PAGE)
    if target is None or target.host != PAGE.host or not reference:
        return
    may_be = compiled.UrlRules(*catalog.url_rules()).may_be_ruled(reference.encode())
    assert may_be or catalog.match_path(target.path) is None


def test_hardly_any_path_needs_a_look() -> None:
    """By its last name, or its first folders, which are compared as they are written."""
    rules = compiled.UrlRules(*Catalog([vendor("v", urls=("*/gtag/js?id=*", "/ingest/*"))]).url_rules())
    passed = (
        b"",
        b"/",
        b"/js.js",
        b"/gtag/js/x",
        b"/x?/js",
        b"/x#/js",
        b"/a%20b%C3%A4/x",
        b"/x/ingest/",
        b"/a b",
    )
    looked = (
        b"/js",
        b"js",
        b"/x/js?y",
        b"/js#",
        b"/j%73",
        b"/ingest/",
        b"/ingest/e?x",
        b"/x/../ingest/e",
        b"/j&#115;",
    )
    assert [rest for rest in passed if rules.may_be_ruled(rest)] == []
    assert [rest for rest in looked if not rules.may_be_ruled(rest)] == []


@pytest.mark.parametrize(
    "wrong", [((b"a.test", 0, [b"/"]),), ((b"a.test", 0, ((b"/", 0),)),), ((b"", 0, ()),)]
)
def test_rules_of_another_form_are_refused(wrong: object) -> None:
    """An exception, and no crash."""
    with pytest.raises((TypeError, ValueError)):
        compiled.UrlRules(wrong, (), ())
