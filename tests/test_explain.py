"""Saying why something belongs to a vendor."""

from __future__ import annotations

import tomllib

import pytest

from consent.catalog import Catalog, load_catalog, parse_vendors
from consent.explain import Explanation, explain, explain_page, search
from consent.html.urls import PageURL

TOML = r"""
[[vendor]]
id = "chat"
name = "Example Chat"
company = "Example Chat GmbH"
country = "DE"
privacy = "https://chat.example/privacy"
category = "functional"
about = "Shows a window to write to the site's staff."
hosts = ["chat.example"]
urls = ["example.net/widgets/chat*", "example.net/collect?kind=chat*&v=2"]
inline = [{ pattern = 'ExampleChat\s*+\.\s*+start\s*+\(', example = "ExampleChat.start()", benign = ["x"] }]
cookie = [
  { name = "_chat_*_id", purpose = "Recognises the visitor.", lifetime = "1 year" },
  { name = "chat.example", purpose = "Recognises the visitor.", lifetime = "1 year" },
]
storage = [{ key = "chat", purpose = "Keeps the conversation." }]
"""


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    """A catalog of one vendor."""
    return Catalog(parse_vendors(tomllib.loads(TOML), "test"))


@pytest.mark.parametrize(
    ("what", "kind", "subject", "because"),
    [
        (
            "https://a.chat.example/x?y=1",
            "URL",
            "a.chat.example/x?y=1",
            "the host is chat.example, or below it",
        ),
        ("//CHAT.example:8443/x", "URL", "chat.example/x", "the host is chat.example, or below it"),
        (
            "example.net/widgets/chat.js",
            "URL",
            "example.net/widgets/chat.js",
            "the host is example.net, or below it, and the path is /widgets/chat*",
        ),
        (
            "https://www.example.net/collect?v=2&kind=chatty",
            "URL",
            "www.example.net/collect?v=2&kind=chatty",
            "the host is example.net, or below it, and the path is /collect, and the query has kind=chat* and v=2",
        ),
        ("_chat_7_id", "cookie", "_chat_7_id", "its name begins with _chat_ and ends with _id"),
        ("chat", "storage key", "chat", "that is its name: chat"),
    ],
)
def test_the_rule_is_said_in_words(
    catalog: Catalog, what: str, kind: str, subject: str, because: str
) -> None:
    """As what it is known, and how the rule was met."""
    (found,) = explain(catalog, what)
    assert (found.kind, found.subject, found.because) == (kind, subject, because)


def test_what_may_be_two_things_is_explained_as_both(catalog: Catalog) -> None:
    """A cookie may be named like a host."""
    assert [(found.kind, found.match is not None) for found in explain(catalog, "chat.example")] == [
        ("URL", True),
        ("cookie", True),
    ]


@pytest.mark.parametrize(
    ("what", "kind"),
    [("https://other.example/", "URL"), ("other.example", "URL"), ("nothing", "cookie"), ("", "cookie")],
)
def test_what_is_unknown_is_unclassified_once(catalog: Catalog, what: str, kind: str) -> None:
    """One reading, the likeliest, and no reason."""
    (found,) = explain(catalog, what)
    assert (found.kind, found.match, found.because) == (kind, None, "")


def test_a_page_is_read_as_the_middleware_reads_it(catalog: Catalog) -> None:
    """Elements in their order, relative to the base, each thing once; comments and the site's own are passed over."""
    page = b"""<!doctype html><base href="https://www.shop.example/in/">
    <script src="//chat.example/a.js"></script><script src=//chat.example/a.js></script>
    <!-- <script src="//chat.example/b.js"></script> -->
    <img src="own.png"><img src="https://static.shop.example/own.png"><img src="https://pics.other/x">
    <script>ExampleChat.start()</script>"""
    found = explain_page(catalog, page, PageURL("https", "www.shop.example", "/"))
    assert [(each.kind, each.subject, each.match is not None) for each in found] == [
        ("script", "chat.example/a.js", True),
        ("img", "pics.other/x", False),
        ("inline script", "the snippet of Example Chat", True),
    ]
    assert found[2].because == "its code sets the vendor's snippet up"


def test_search_wants_all_words_somewhere(catalog: Catalog) -> None:
    """In names and rules, in any case; not in the sentence for visitors."""
    for words in ("CHAT", "gmbh example", "_chat_", "example.net/widgets", "chat collect"):
        assert [vendor.id for vendor in search(catalog, words)] == ["chat"]
    assert list(search(catalog, "chat staff")) == []


def test_every_rule_of_the_built_in_catalog_has_its_reason() -> None:
    """Hosts, patterns, names and keys are all told apart."""
    known = load_catalog()
    for vendor in known.vendors.values():
        for host in vendor.hosts:
            (found, *_) = explain(known, f"https://{host}/no-such-path-0")
            assert found.because == f"the host is {host}, or below it"
        for item in vendor.storage:
            name = item.key.replace("*", "0x")
            match = known.match_storage(name)
            assert match is not None
            told = Explanation("storage key", name, match).because
            assert told.startswith(("that is its name: ", "its name begins with "))
