"""The inventory of third-party content: what is noted, what is kept of it, and what is not."""

from __future__ import annotations

import threading
import tracemalloc
from collections.abc import Mapping

import pytest

from consent.categories import Category
from consent.enforcement import PageEnforcement
from consent.html.urls import PageURL
from consent.inventory import (
    MAX_COUNT,
    MAX_PAGES,
    MAX_PENDING,
    Inventory,
    Sighting,
    Source,
    Tally,
    page_shape,
    seen_in,
)
from tests.exchange import CATALOG, HTML, NOW, REFUSING, TRACKER, answering, around, ask, chosen

DAY = NOW // 86_400
IMG = ("img", "pics.example", "")


def test_a_thing_is_counted_with_first_and_last_day_and_pages() -> None:
    """Once for each page that has it; taken, it is forgotten."""
    inventory = Inventory()
    inventory.note(Source.RESPONSE, [IMG], "/a", NOW)
    inventory.note(Source.RESPONSE, [IMG], "/b", NOW + 86_400)
    inventory.note(Source.RESPONSE, [IMG], "/a", NOW + 86_400)
    inventory.note(Source.REPORT, [IMG], "", NOW)
    assert inventory.take() == {
        Sighting(Source.RESPONSE, *IMG): Tally(DAY, DAY + 1, 3, ["/a", "/b"]),
        Sighting(Source.REPORT, *IMG): Tally(DAY, DAY, 1, []),
    }
    assert inventory.take() == {}


def test_what_waits_is_bounded_for_each_source_by_itself() -> None:
    """A flood of reports leaves no room for more reports, and all of it for what pages have."""
    inventory = Inventory()
    for number in range(MAX_PENDING + 7):
        inventory.note(Source.REPORT, [("img-src", f"h{number}.example", "")], f"/{number % 9}", NOW)
    inventory.note(Source.REPORT, [("img-src", "h0.example", "")], "/again", NOW)
    inventory.note(Source.RESPONSE, [IMG, ("img", "x" * 300, "")], "/", NOW)
    taken = inventory.take()
    assert len(taken) == MAX_PENDING + 1
    assert taken[Sighting(Source.RESPONSE, *IMG)].count == 1
    assert taken[Sighting(Source.REPORT, "img-src", "h0.example", "")].count == 2
    assert inventory.turned_away == 8


def test_few_pages_are_kept_and_counts_end_somewhere() -> None:
    """Five examples; a count that is added to stays below its bound."""
    inventory = Inventory()
    for number in range(MAX_PAGES + 3):
        inventory.note(Source.RESPONSE, [IMG], f"/{number}", NOW)
    (tally,) = inventory.take().values()
    assert tally.pages == [f"/{number}" for number in range(MAX_PAGES)]
    tally.add(Tally(1, 2, MAX_COUNT, ["/more"]))
    assert (tally.first_day, tally.last_day, tally.count, len(tally.pages)) == (1, DAY, MAX_COUNT, MAX_PAGES)


@pytest.mark.parametrize(
    ("path", "kept"),
    [
        ("/", "/"),
        ("/journal/frost-night", "/journal/frost-night"),
        ("/2026/10/a-day", "/*/10/a-day"),
        ("/users/jane@example.com/edit", "/users/*/edit"),
        ("/users/jane%40example.com", "/users/*"),
        ("/order/48213/pay", "/order/*/pay"),
        ("/reset/" + "x" * 41, "/reset/*"),
        ("/" + "a/" * 100, "/" + "a/" * 59 + "a"),
        ("/v12/x", "/v12/x"),
    ],
)
def test_of_a_path_nothing_is_kept_that_may_tell_who_somebody_is(path: str, kept: str) -> None:
    """Numbers, addresses and keys become a ``*``."""
    assert page_shape(path) == kept


def test_long_paths_are_not_kept_in_memory() -> None:
    """Nor is what they may tell: not even to know them again."""
    inventory = Inventory()
    tracemalloc.start()
    try:
        for number in range(20):
            inventory.note(Source.RESPONSE, [IMG], f"/{number}/" + "x" * 100_000, NOW)
        assert tracemalloc.get_traced_memory()[0] < 200_000
    finally:
        tracemalloc.stop()


def test_vendors_that_were_seen_are_known_those_in_pages_first() -> None:
    """The same object until there is a new one; others' sightings can be learnt."""
    inventory = Inventory()
    inventory.note(Source.REPORT, [("img-src", "b.example", "b")], "/", NOW)
    inventory.note(Source.RESPONSE, [("img", "a.example", "a"), IMG], "/", NOW)
    seen = inventory.seen
    assert list(seen) == ["a", "b"]
    inventory.take()
    inventory.note(Source.RESPONSE, [("img", "b.example", "b"), ("img", "a.example", "a")], "/", NOW)
    assert inventory.seen is seen
    inventory.learn([Sighting(Source.RESPONSE, "img", "c.example", "c"), Sighting(Source.RESPONSE, *IMG)])
    assert list(inventory.seen) == ["a", "b", "c"]
    known = inventory.seen
    inventory.learn([Sighting(Source.REPORT, "img-src", "c.example", "c")])
    assert inventory.seen is known


def test_whoever_takes_is_woken_when_something_waits() -> None:
    """Once until it was taken; nothing found wakes nobody. What is given back waits again."""
    woken = []
    inventory = Inventory(woken=lambda: woken.append(1))
    inventory.note(Source.RESPONSE, [], "/", NOW)
    assert woken == []
    inventory.note(Source.RESPONSE, [IMG], "/", NOW)
    inventory.note(Source.RESPONSE, [IMG], "/", NOW)
    assert woken == [1]
    taken: Mapping[Sighting, Tally] = inventory.take()
    inventory.note(Source.RESPONSE, [IMG], "/x", NOW)
    assert woken == [1, 1]
    inventory.give_back(taken)
    assert inventory.take() == {Sighting(Source.RESPONSE, *IMG): Tally(DAY, DAY, 3, ["/x", "/"])}


def test_nothing_is_lost_between_threads() -> None:
    """Four note and one takes at the same time; the sum is what was noted."""
    inventory = Inventory()
    total = 0

    def noting() -> None:
        for _ in range(2_000):
            inventory.note(Source.RESPONSE, [IMG], "/", NOW)

    threads = [threading.Thread(target=noting) for _ in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        total += sum(tally.count for tally in inventory.take().values())
    total += sum(tally.count for tally in inventory.take().values())
    assert total == 8_000


def test_findings_are_noted_by_host_and_without_what_was_only_cut_off() -> None:
    """Each once, with the vendor; the snippet's name as it is, the cookie's too."""
    page = PageEnforcement(CATALOG, REFUSING, PageURL("https", "www.example.com", "/"))
    for _ in range(2):
        page.refuses_url("img", "https://pics.example/u/1.png?who=me")
        page.refuses_url("script", TRACKER)
    page.refuses_script("trackMe()")
    page.refuses_cookie("_track")
    page.note_undecided("script")
    assert seen_in(page.findings) == {
        IMG,
        ("script", "t.tracker.example", "tracker"),
        ("inline script", "the snippet of Tracker", "tracker"),
        ("cookie", "_track", "tracker"),
    }


PAGE = (
    b"<!doctype html><title>x</title><img src=https://pics.example/a><script src=%b></script>"
    b"<img src=https://cdn.example/a>" % TRACKER.encode()
)


def test_pages_are_noted_when_they_are_read() -> None:
    """Path without query; in pieces each thing once; an answer that is no page costs and leaves nothing."""
    inventory = Inventory()
    pages = around(
        answering(PAGE, b"<img src=https://late.example/>" + PAGE, b"</body>"), inventory=inventory
    )
    ask(pages, "/shop/x", query_string=b"q=me")
    assert inventory.take() == {
        Sighting(Source.RESPONSE, *key): Tally(DAY, DAY, 1, ["/shop/x"])
        for key in (
            IMG,
            ("script", "t.tracker.example", "tracker"),
            ("img", "cdn.example", "cdn"),
            ("img", "late.example", ""),
        )
    }
    script = around(answering(PAGE, headers=[(b"content-type", b"application/json")]), inventory=inventory)
    ask(script)
    allowed = around(answering(PAGE, headers=[HTML]), inventory=inventory)
    ask(allowed, headers={"cookie": chosen()})
    assert inventory.take() == {}


def test_a_decision_category_makes_no_difference_to_what_is_seen() -> None:
    """What is allowed is in the inventory like what is refused."""
    inventory = Inventory()
    ask(
        around(answering(PAGE), inventory=inventory),
        headers={"cookie": chosen([Category.TARGETING])},
    )
    assert Sighting(Source.RESPONSE, "script", "t.tracker.example", "tracker") in inventory.take()
