"""What is opened: what robots.txt allows, and the links of one origin that change nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from consent.scanner.frontier import MAX_WAITING, Frontier, Link
from consent.scanner.netlog import Sent, read_netlog
from consent.scanner.robots import MAX_RULES, Robots

START = "https://www.fernwell.example/"
ROBOTS = """\
User-agent: other
Disallow: /

User-Agent: asgi-consent-scan   # us
User-agent: third
Disallow: /private/
Disallow: /*.php$
Allow: /private/press
Disallow: /exact$
Disallow:
"""


@pytest.mark.parametrize(
    ("target", "allowed"),
    [
        ("/", True),
        ("/private/x", False),
        ("/private/press/1", True),  # the longer rule counts
        ("/a/b.php", False),
        ("/a/b.php?x=1", True),
        ("/exact", False),
        ("/exact/more", True),
    ],
)
def test_the_own_group_of_robots_txt_counts(target: str, allowed: bool) -> None:
    """With wildcards and ends; the groups of others say nothing."""
    assert Robots(ROBOTS).allow(target) is allowed


def test_without_a_group_of_its_own_that_for_everybody_counts() -> None:
    """A longer group of somebody else's does not; nothing at all allows everything."""
    assert not Robots("User-agent: *\nDisallow: /x\nUser-agent: y\nAllow: /").allow("/x/1")
    assert Robots("User-agent: *\nDisallow: /x").allow("/y")
    assert Robots("<html>not a robots file</html>").allow("/")


def test_rules_without_end_have_one() -> None:
    """Beyond a bound those that follow do not count; other groups have a bound of their own."""
    many = "".join(f"Disallow: /{number}/\n" for number in range(MAX_RULES + 1))
    rules = Robots(f"User-agent: other\n{many}User-agent: *\n{many}")
    assert not rules.allow(f"/{MAX_RULES - 1}/")
    assert rules.allow(f"/{MAX_RULES}/")


def frontier(**given: str) -> Frontier:
    return Frontier(START, Robots("User-agent: *\nDisallow: /private"), depth=2, **given)


def opened(pages: Frontier) -> list[str]:
    return [pages.take()[0].removeprefix("https://www.fernwell.example") for _ in range(len(pages))]


@pytest.mark.parametrize(
    "href",
    [
        "https://fernwell.example/",  # another host
        "http://www.fernwell.example/a",  # another scheme
        "https://www.fernwell.example:8443/a",
        "https://www.fernwell.example@evil.example/",
        "https://www.fernwell.example.evil.example/",
        "javascript:alert(1)",
        "mailto:a@b.example",
        "https://www.fernwell.example/account/logout",
        "https://www.fernwell.example/sign_out?next=/",
        "https://www.fernwell.example/cart?do=delete&id=1",
        "https://www.fernwell.example/prices.PDF",
        "https://www.fernwell.example/feed.xml?x=1",
        "https://www.fernwell.example/_consent/choices?language=de",
        "https://www.fernwell.example/private/1",
        "https://www.fernwell.example/" + "x" * 3000,
        START + "#more",
    ],
)
def test_what_leads_off_or_does_something_is_not_followed(href: str) -> None:
    """Other origins, signing out, files, the middleware's own pages, what robots.txt disallows, the page itself."""
    pages = frontier(prefix="/_consent")
    pages.add([Link(href, "More")], 0)
    assert opened(pages) == ["/"]


def test_what_a_link_says_counts_too() -> None:
    """An address may not tell what it does; words that only contain such a word are others."""
    pages = frontier()
    pages.add([Link(f"{START}session", "Log out"), Link(f"{START}cancellation-policy", "Undeleted")], 0)
    assert opened(pages) == ["/", "/cancellation-policy"]


def test_near_pages_come_first_and_what_is_alike_last() -> None:
    """Of addresses that differ in numbers and query only, three are opened, after everything else."""
    pages = frontier()
    pages.take()
    pages.add([Link(f"{START}day/{number}", "") for number in range(9)], 0)
    pages.add([Link(f"{START}far", "")], 1)
    pages.add([Link(f"{START}too-far", "")], 2)
    pages.add([Link(f"{START}near", "")], 0)
    assert opened(pages) == ["/day/0", "/near", "/far", "/day/1", "/day/2"]


def test_links_without_end_have_one() -> None:
    """No more than a bound waits."""
    pages = frontier()
    pages.add((Link(f"{START}{'x' * number}", "") for number in range(1, 1 + MAX_WAITING)), 0)
    pages.add([Link(f"{START}y{'x' * number}", "") for number in range(10)], 0)
    assert len(pages) == MAX_WAITING


def test_the_browsers_log_tells_what_pages_asked_for(tmp_path: Path) -> None:
    """Not what the browser asked for itself; a log that was cut off is read as far as it goes."""
    constants = {
        "logEventTypes": {"URL_REQUEST_START_JOB": 5, "TCP_CLIENT_SOCKET_POOL_REQUESTED_SOCKETS": 6},
        "timeTickOffset": 1_000_000,
    }
    own = "https://fernwell.example https://fernwell.example"
    events: list[dict[str, object]] = [
        {"type": 5, "time": "500", "params": {"url": "https://t.example/x", "network_isolation_key": own}},
        {
            "type": 5,
            "time": "500",
            "params": {"url": "https://own.example/", "network_isolation_key": "null null"},
        },
        {
            "type": 5,
            "time": "500",
            "params": {
                "url": "https://own.example/form",
                "initiator": "not an origin",
                "network_isolation_key": own,
            },
        },
        {
            "type": 6,
            "time": "900",
            "params": {"group_id": "pm/https://early.example <https://fernwell.example s>"},
        },
        {
            "type": 6,
            "time": "900",
            "params": {"group_id": "https://www.google.com <https://google.com same_site>"},
        },
        {"type": 7, "time": "900"},
        {"type": 5},
        {"type": [5], "params": {}},
        {"type": 5, "time": "900", "params": [1]},
        {"type": 5, "time": {}, "params": {"url": 7, "network_isolation_key": [own]}},
        {"type": 6, "time": "soon", "params": {"group_id": ["https://[ <https://[ s>"]}},
        {
            "type": 5,
            "time": [1],
            "params": {"url": "https://timeless.example/", "network_isolation_key": own},
        },
    ]
    log = tmp_path / "network.json"
    head = f'{{"constants":{json.dumps(constants)},\n"events": [\n'
    log.write_text(head + ",\n".join(map(json.dumps, events)) + ',\n[5],\n7,\n{"type":5,"ti')
    assert list(read_netlog(log, "www.fernwell.example")) == [
        Sent("https://t.example/x", False, 1000.5),
        Sent("https://early.example/", True, 1000.9),
        Sent("https://timeless.example/", False, 1000.0),
    ]


@pytest.mark.parametrize(
    "constants",
    ["", "7", "[]", "{}", '{"logEventTypes": []}', '{"logEventTypes": {"URL_REQUEST_START_JOB": [5]}}'],
)
def test_a_log_of_another_form_tells_nothing(tmp_path: Path, constants: str) -> None:
    """Whatever stands where the names of events are expected."""
    log = tmp_path / "network.json"
    log.write_text(f'{{"constants":{constants},\n"events": [\n{{"type":5,"params":{{}}}}')
    assert list(read_netlog(log, "www.fernwell.example")) == []
