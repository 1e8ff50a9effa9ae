"""Inline scripts in the inventory: of few pages, by fingerprint, and nothing of it on the page's way out."""

from __future__ import annotations

from pathlib import Path

import pytest

from consent import ConsentMiddleware, inline_scripts
from consent.data_folder import DataFolder
from consent.inline_scripts import BURST, MAX_PAGE_BYTES, MAX_SCRIPTS, SECONDS_BETWEEN, PickedPages
from consent.inventory import Inventory, Sighting, Source, Tally
from consent.policy import Policy, Rule
from consent.script_shape import ScriptShape, shape_of
from consent.sqlite_inventory import SQLiteInventory
from tests.exchange import CATALOG, NOW, answering, around, ask

DAY = NOW // 86_400
OWN = "window.user = 'jane@example.com'; greet(user);"
PAGE = (
    f"<!doctype html><title>x</title><script>{OWN}</script><script>trackMe('48213')</script>"
    "<script type=application/json>{\"a\": 1}</script><button onclick='say(1)'></button><script src=/x.js></script>"
).encode()


def picked(body: bytes, **headers: str) -> dict[Sighting, Tally]:
    inventory = Inventory()
    scripts = PickedPages(inventory, CATALOG)
    app = around(answering(*(body[at : at + 70] for at in range(0, len(body), 70))), scripts=scripts)
    expected = ask(around(answering(body)), "/shop/48213", headers=headers).body
    assert ask(app, "/shop/48213", headers=headers).body == expected
    scripts.read()
    return inventory.take()


def test_a_page_leaves_the_fingerprints_of_its_scripts() -> None:
    """Whose each is, what it calls, and where; refused ones too, handlers too, data not; the page is as without."""
    assert picked(PAGE) == {
        Sighting(Source.SCRIPT, "inline script", str(shape_of(code)), vendor): Tally(DAY, DAY, 1, ["/shop/*"])
        for code, vendor in ((OWN, ""), ("trackMe('')", "tracker"), ("say(0)", ""))
    }
    assert str(shape_of(OWN)).endswith(" window.user, greet")


def test_what_nobody_may_see_is_not_looked_at() -> None:
    """A page that is only prefetched."""
    assert picked(PAGE, **{"sec-purpose": "prefetch"}) == {}


def test_a_page_that_cannot_be_read_to_its_end_is_read_as_far_as_it_goes() -> None:
    """What is too long is the rewriter's matter; nobody is disturbed."""
    endless = b"<!doctype html><script>say(2)</script><img alt='" + b"x" * (5 << 20)
    inventory = Inventory()
    scripts = PickedPages(inventory, CATALOG)
    stream = scripts.holding(_Passing(), "/", NOW)
    stream.write(endless)
    stream.end()
    scripts.read()
    assert [sighting.subject for sighting in inventory.take()] == [str(shape_of("say(2)"))]


class _Passing:
    def write(self, chunk: bytes) -> bytes:
        return chunk

    def end(self) -> bytes:
        return b""


def test_few_pages_are_picked_and_few_bytes_held() -> None:
    """So many at once, then one after a while; none while those that were picked still wait."""
    woken = []
    scripts = PickedPages(Inventory(lambda: woken.append(1)), CATALOG)
    assert [scripts.is_due(NOW) for _ in range(BURST + 2)] == [True] * (BURST + 2)  # which counts none
    assert [scripts.picks(NOW) for _ in range(BURST + 2)] == [True] * BURST + [False] * 2
    assert not scripts.is_due(NOW + SECONDS_BETWEEN - 1)
    assert not scripts.picks(NOW + SECONDS_BETWEEN - 1)
    assert [scripts.picks(NOW + SECONDS_BETWEEN) for _ in range(2)] == [True, False]
    assert not scripts.picks(NOW - 1_000)
    for _ in range(BURST):
        stream = scripts.holding(_Passing(), "/", NOW)
        for _ in range(3):
            stream.write(b"x" * (MAX_PAGE_BYTES // 2))
        stream.end()
    held = [sum(map(len, page.pieces)) for page in scripts._waiting]
    assert (held, len(woken)) == ([MAX_PAGE_BYTES] * BURST, BURST)
    assert not scripts.picks(NOW + 1_000)
    scripts.read()
    assert scripts.picks(NOW + 2_000)


def test_a_script_that_was_met_before_is_not_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Most of a site's scripts are the same on all its pages."""
    read = []

    def reading(code: str) -> ScriptShape:
        read.append(code)
        return shape_of(code)

    monkeypatch.setattr(inline_scripts, "shape_of", reading)
    inventory = Inventory()
    scripts = PickedPages(inventory, CATALOG)
    app = around(answering(PAGE), scripts=scripts)
    for path in ("/a", "/b"):
        ask(app, path)
        scripts.read()
    assert len(read) == 3
    assert {tuple(tally.pages) for tally in inventory.take().values()} == {("/a", "/b")}


def test_of_a_page_with_very_many_scripts_some_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """And of many pages with ever others no more are remembered than there is room for."""
    monkeypatch.setattr(inline_scripts, "_MAX_KNOWN", 20)
    code = "".join(f"<script>say{number}()</script>" for number in range(MAX_SCRIPTS + 1))
    inventory = Inventory()
    scripts = PickedPages(inventory, CATALOG)
    ask(around(answering(f"<!doctype html>{code}".encode()), scripts=scripts), "/")
    scripts.read()
    assert len(inventory.take()) == MAX_SCRIPTS
    assert len(scripts._known) <= 20


def test_each_part_of_a_site_has_an_inventory_of_its_own(tmp_path: Path) -> None:
    """What is seen on one host is nothing that another uses; sections are no parts."""
    strict = Policy(unclassified="strip")  # type: ignore[arg-type]
    partner = Rule(policy=Policy(site="Partner"), hosts=("partner.example", "*.partner.example"))
    policy = Policy(rules=(partner, Rule(policy=strict, paths=("/in/",))))
    page = b"<!doctype html><script>hello(1)</script><script src=https://www.youtube.com/iframe_api></script>"
    app = ConsentMiddleware(answering(page), policy=policy, data=tmp_path)
    for host, path in (("www.example.com", "/"), ("www.example.com", "/in/"), ("a.partner.example", "/b")):
        ask(app, path, headers=[(b"host", host.encode())])
    app._inventory.close()
    found = SQLiteInventory(DataFolder(tmp_path).inventory_path).sightings()
    assert {(s.source, s.vendor, s.part): (t.count, t.pages) for s, t in found.items()} == {
        (Source.RESPONSE, "youtube", ""): (2, ["/", "/in/"]),
        (Source.SCRIPT, "", ""): (2, ["/", "/in/"]),
        (Source.RESPONSE, "youtube", "partner.example,*.partner.example"): (1, ["/b"]),
        (Source.SCRIPT, "", "partner.example,*.partner.example"): (1, ["/b"]),
    }
