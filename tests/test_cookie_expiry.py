"""Pages delete refused cookies that no script sees and no choice brings along, wherever those can be."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import count, product

import pytest

from consent.categories import OPTIONAL, Category
from consent.choice import Choice
from consent.cookie_expiry import MAX_EXPIRY_BYTES, MIN_PAGE_EXPIRY_BYTES, expire_on_page
from consent.policy import CacheMode, Policy
from tests.exchange import COOKIE, HTML, NOW, POLICY, answering, around, ask

HOST, ADDRESS = "www.shop.example.com", "/shop/cart/item"
LINE = re.compile(
    r"([^=]+)=; Max-Age=0; Path=([^;]+)(?:; Domain=([^;]+))?(; Secure(?:; SameSite=None; Partitioned)?)?"
)
Kept = tuple[str, str, str, bool]
"""Name, Path, Domain (empty: for the host alone), and whether it is partitioned: what a browser tells cookies by."""


def on_page(kept: Iterable[Kept], *, turn: int, room: int, address: str = ADDRESS) -> list[str]:
    header = "; ".join(f"{name}=1" for name in dict.fromkeys(name for name, *_ in kept))
    headers = [(b"host", HOST.encode()), (b"cookie", header.encode())]
    lines = expire_on_page(
        headers, lambda name: name[0] == "_", address=address, secure=True, room=room, turn=turn
    )
    return [line.decode() for line in lines]


def deleted(lines: Iterable[str]) -> set[Kept]:
    found = [match for line in lines if (match := LINE.fullmatch(line))]
    return {(m[1], m[2], m[3] or "", "Partitioned" in (m[4] or "")) for m in found}


def test_every_cookie_that_comes_with_a_page_is_deleted_within_some_pages() -> None:
    """Each Path that matches, with and without a slash at its end; each Domain; each jar; HttpOnly or not."""
    paths = ("/", "/shop", "/shop/", "/shop/cart", "/shop/cart/", ADDRESS)
    domains = ("", "example.com", "shop.example.com", HOST)
    jar = {
        (f"_{number}", path, domain, partitioned)
        for number, (path, domain, partitioned) in enumerate(product(paths, domains, (False, True)))
    } | {("own", "/", "", False)}
    pages = count()
    while len(jar) > 1:
        page = next(pages)
        assert page < 200
        lines = on_page(sorted(jar), turn=page * 7, room=MAX_EXPIRY_BYTES)
        assert sum(len(line) + len("set-cookie: \r\n") for line in lines) <= MAX_EXPIRY_BYTES
        jar -= deleted(lines)
    assert jar == {("own", "/", "", False)}


def test_a_few_cookies_go_with_one_page() -> None:
    """Whatever one cookie can be is deleted at once, where there is room."""
    assert {place[1:] for place in deleted(on_page([("_a", "/", "", False)], turn=5, room=4000))} == set(
        product(
            ("/", "/shop", "/shop/", "/shop/cart", "/shop/cart/", ADDRESS),
            ("", "example.com", "shop.example.com", HOST),
            (False, True),
        )
    )


@pytest.mark.parametrize("address", ["/", "//", "/" + "a" * 300, "/a;b/c", "/%0d%0ax", "/x" * 50])
def test_no_address_makes_another_field_of_it(address: str) -> None:
    """Attributes are of the page's own path, in one spelling, and bounded."""
    for line in on_page([("_a", "/", "", False)], turn=0, room=10_000, address=address):
        assert LINE.fullmatch(line), line
        assert len(line) < 350


def test_a_cookie_s_prefix_says_where_it_can_be() -> None:
    """Browsers take nothing else under such a name."""
    lines = on_page([("__Host-a", "/", "", False), ("__Secure-a", "/", "", False)], turn=0, room=10_000)
    assert [line for line in lines if line.startswith("__Host-")] == [
        "__Host-a=; Max-Age=0; Path=/; Secure",
        "__Host-a=; Max-Age=0; Path=/; Secure; SameSite=None; Partitioned",
    ]
    assert all("; Secure" in line for line in lines)


def cookie_of(*granted: Category) -> str:
    choice = Choice(
        receipt_id="11111111-1111-4111-8111-111111111111",
        subject="2" * 32,
        made_at=NOW,
        policy_version=POLICY.version,
        granted=frozenset(granted),
    )
    return COOKIE.header(choice, secure=False, now=NOW).decode().partition(";")[0]


PAGE = answering(b"<!doctype html><title>x</title><body>x</body>")
OWN = "; theme=1; consent_variant=x; _cdn=1"


def test_a_page_deletes_what_is_refused_and_nothing_else() -> None:
    """By the visitor's own answer, vendor by vendor; a page for somebody who allows everything deletes nothing."""
    cookies = f"_count=1; _track_7=2; {cookie_of(Category.PERFORMANCE)}{OWN}"
    answer = ask(around(PAGE), "/shop/x", headers={"host": HOST, "cookie": cookies})
    lines = answer.all("set-cookie")
    assert {line.partition("=")[0] for line in lines} == {"_track_7"}
    assert "_track_7=; Max-Age=0; Path=/shop; Domain=example.com" in lines
    assert answer.header("cache-control") == "private"
    every = f"_count=1; _track_7=2; {cookie_of(*OPTIONAL)}"
    assert ask(around(PAGE), headers={"host": HOST, "cookie": every}).all("set-cookie") == []
    silent = ask(around(PAGE), headers={"host": HOST, "cookie": "theme=1"})
    assert silent.all("set-cookie") == []


def test_what_is_no_page_deletes_nothing() -> None:
    """Pictures, data, redirects: there is a page soon enough."""
    for app in (
        answering(b"{}", headers=[(b"content-type", b"application/json")]),
        answering(b"", status=302, headers=[(b"location", b"/")]),
        answering(b"x", headers=[(b"content-type", b"text/css")]),
    ):
        assert ask(around(app), headers={"host": HOST, "cookie": "_track=1"}).all("set-cookie") == []


@pytest.mark.parametrize("cache", [CacheMode.VARIANT, CacheMode.UNIFORM])
def test_a_page_that_others_may_be_given_sets_no_cookie(cache: CacheMode) -> None:
    """Not even one that is over."""
    app = around(PAGE, policy=Policy(site="Example", language="en", cache=cache))
    assert ask(app, headers={"host": HOST, "cookie": "_track=1"}).all("set-cookie") == []


def test_the_fields_of_the_page_are_counted() -> None:
    """Common proxies refuse an answer whose fields are longer than 4 KiB."""
    long = answering(b"<body>x</body>", headers=[HTML, (b"x-long", b"x" * 2_900)])
    names = "; ".join(f"_track_{number}=1" for number in range(40))
    answer = ask(around(long), headers={"host": HOST, "cookie": names})
    size = sum(len(line) + len("set-cookie: \r\n") for line in answer.all("set-cookie"))
    assert MIN_PAGE_EXPIRY_BYTES - 100 < size <= MIN_PAGE_EXPIRY_BYTES
