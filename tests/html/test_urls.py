"""URLs lead where browsers would go (WHATWG URL Standard), and no spelling hides a host."""

from __future__ import annotations

import time

import pytest

from consent.html.urls import PageURL, Target, resolve, resolve_base

PAGE = PageURL("https", "www.example.com", "/a/b?c")


@pytest.mark.parametrize(
    ("value", "host", "path"),
    [
        ("https://tracker.example/t.js?x=1#y", "tracker.example", "/t.js?x=1"),
        ("//Tracker.EXAMPLE.:443/t", "tracker.example", "/t"),
        ("  //tracker.example\n", "tracker.example", "/"),
        ("ht\ntps:\t//tra\rcker.example/t", "tracker.example", "/t"),
        ("\\\\tracker.example\\t", "tracker.example", "/t"),
        ("/\\tracker.example/t", "tracker.example", "/t"),
        ("/\t/tracker.example/t", "tracker.example", "/t"),
        ("https:tracker.example/t", "tracker.example", "/t"),
        ("https:////tracker.example/t", "tracker.example", "/t"),
        ("https://user:pass@tracker.example/t", "tracker.example", "/t"),
        ("https://own.example@tracker.example", "tracker.example", "/"),
        ("//tracker%2eexample/t", "tracker.example", "/t"),
        ("//tracker。example/t", "tracker.example", "/t"),
        ("//ｔｒａｃｋｅｒ.example/t", "tracker.example", "/t"),
        ("//\U0001d42dracker.example/t", "tracker.example", "/t"),
        ("//\U0001f143racker.example/t", "tracker.example", "/t"),
        ("//tra\u00adcker\u200b.example/t", "tracker.example", "/t"),
        ("//tra\u180fcker\u115f.ex\U000e0100ample/t", "tracker.example", "/t"),
        ("//" + "%C2%AD" * 300 + "tracker.example/t", "tracker.example", "/t"),
        ("//" + "\u00ad" * 1200 + "tracker.example/t", "tracker.example", "/t"),
        ("//tracker.example/a/../%74?q", "tracker.example", "/t?q"),
        ("//bücher.example", "xn--bcher-kva.example", "/"),
        ("//[2001:DB8::1]:8080/t", "[2001:db8::1]", "/t"),
        ("https://u:p@[2001:DB8::1]/t", "[2001:db8::1]", "/t"),
        ("//b%C3%BCcher.example.:80", "xn--bcher-kva.example", "/"),
        ("HTTPS://XN--BCHER-KVA.Example./T", "xn--bcher-kva.example", "/T"),
        ("//own.example@other.example@tracker.example:1/t", "tracker.example", "/t"),
        ("//own.example\\@tracker.example/t", "own.example", "/@tracker.example/t"),
        ("//own.example/@tracker.example/t", "own.example", "/@tracker.example/t"),
        ("//own.example?@tracker.example/t", "own.example", "/?@tracker.example/t"),
        ("//tracker.example:x/t", "tracker.example", "/t"),
        ("//tracker.example/%2E%2e/%7e%2F?%74", "tracker.example", "/~%2F?%74"),
        ("/t", "www.example.com", "/t"),
        ("t", "www.example.com", "/a/t"),
        ("?q", "www.example.com", "/a/b?q"),
    ],
)
def test_a_reference_leads_to_a_host_and_a_path(value: str, host: str, path: str) -> None:
    """Case, white space, slashes, credentials, ports, escapes and look-alike letters are resolved."""
    assert resolve(value, PAGE) == Target(host, path)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "#x",
        "data:,x",
        "mailto:a@b.example",
        "about:blank",
        "//",
        "//a b/",
        "//%zz%/",
        "//%ff\udcff/",
        "//[\udcff]/",
        "//[tracker.example]/",
        "//é" + "a" * 2000,
    ],
)
def test_what_requests_nothing_leads_nowhere(value: str) -> None:
    """Fragments, other schemes, and hosts that are none, undecodable ones among them."""
    assert resolve(value, PAGE) is None


def test_a_base_moves_what_is_relative() -> None:
    """Its own reference is relative to the page; an unusable one changes nothing."""
    base = resolve_base("//cdn.example/x/", PAGE)
    assert base == PageURL("https", "cdn.example", "/x/")
    assert resolve("y", base) == Target("cdn.example", "/x/y")
    assert resolve_base("data:,", PAGE) == PAGE


@pytest.mark.parametrize(
    "run", ["/.", "/..", "%41", "%", "\\", "\t", "@", "//", "é.", ":", "[", "?", "&", "\udcff%"]
)
def test_hostile_urls_take_linear_time(run: str) -> None:
    """Anything quadratic would take a hundred times what is allowed here."""
    started = time.process_time()
    for before in ("", "//", "https://tracker.example/", "https:"):
        resolve(before + run * (100_000 // len(run)), PAGE)
    assert time.process_time() - started < 3
