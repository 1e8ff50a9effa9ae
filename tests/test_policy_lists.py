"""Lists in a policy: what they name is known, and refused in pages; the catalog and the site itself win over them."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from consent import ConfigurationError, ConsentMiddleware, load_catalog, load_policy
from consent.catalog import Catalog, CatalogList, read_list
from consent.catalog.lists import ListFile
from consent.categories import Category
from consent.csp import ClosedWorld
from consent.decision import Decision, decide
from consent.guard import MAX_LISTED_RULES, guard_table
from consent.policy import Policy
from consent.policy_diff import Change, policy_changes
from consent.public_lists.importing import import_list
from consent.public_lists.reading import source_of
from consent.signals import Signals
from consent.testing import assert_no_trackers
from tests.catalog.test_matching import vendor
from tests.test_policy import told

RULES = """! Title: Made Up
||stats.example^
||split.example/px.gif
@@||lib.stats.example^
@@||stats.example/necessary/
"""
COOKIES = (
    "ID,Platform,Category,Cookie / Data Key name,Domain,Description,Retention period,Data Controller,"
    "User Privacy & GDPR Rights Portals,Wildcard match\n"
    "1,Example Stats,Analytics,_es_,,Counts visits.,2 years,Example Ltd,https://stats.example/privacy,1\n"
    "2,Example Stats,Functional,es_basket,,,,,,0\n"
)
PAGE = """<html><head><title>Shop</title></head><body>
<script src="https://www.stats.example/count.js"></script>
<img src="https://split.example/px.gif?id=1"><img src="https://split.example/logo.png">
<script src="https://lib.stats.example/lib.js"></script><img src="https://stats.example/necessary/a.png">
<iframe src="https://stats.example/frame"></iframe>
</body></html>"""


def write(path: Path, text: str, *, name: str = "", known: Catalog | None = None) -> CatalogList:
    """Import a list as the command does."""
    made = import_list(
        [source_of("list", text.encode())], known or load_catalog(), name=name, today=date(2026, 1, 31)
    )
    path.write_text(made.toml, encoding="utf-8")
    return read_list(path)


def load(folder: Path, text: str) -> tuple[Policy, Catalog]:
    (folder / "consent.toml").write_text(text, encoding="utf-8")
    return load_policy(folder / "consent.toml", load_catalog())


def fails(folder: Path, text: str) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as caught:
        load(folder, text)
    return caught.value


async def shop(request: Request) -> HTMLResponse:
    response = HTMLResponse(PAGE)
    response.set_cookie("_es_1", "x")
    response.set_cookie("es_basket", "x")
    return response


def site(folder: Path, **options: object) -> ConsentMiddleware:
    app = Starlette(routes=[Route("/", shop)])
    return ConsentMiddleware(app, data=folder / "data", clock=lambda: 1_770_000_000, **options)  # type: ignore[arg-type]


def loads(page: str) -> list[str]:
    return re.findall(r'(?:src)="(https://[^"]+)"', page)


def test_what_a_list_names_is_kept_out_of_pages_until_it_is_allowed(tmp_path: Path) -> None:
    """Hosts, paths and cookies; what the list lets through passes, and so does what it does not name."""
    (tmp_path / "lists").mkdir()
    write(tmp_path / "lists" / "made-up.toml", RULES)
    write(tmp_path / "lists" / "cookies.toml", COOKIES)
    (tmp_path / "consent.toml").write_text('lists = ["lists/made-up.toml", "lists/cookies.toml"]\n')
    with TestClient(
        site(tmp_path, policy=tmp_path / "consent.toml"), base_url="https://shop.example"
    ) as browser:
        before = browser.get("/")
        assert loads(before.text) == [
            "https://split.example/logo.png",
            "https://lib.stats.example/lib.js",
            "https://stats.example/necessary/a.png",
        ]
        assert [field.partition("=")[0] for field in before.headers.get_list("set-cookie")] == ["es_basket"]
        answer = browser.post(
            "/_consent/choice",
            json={"action": "accept"},
            headers={"origin": "https://shop.example", "sec-fetch-site": "same-origin"},
        )
        assert answer.status_code == 200, answer.text
        after = browser.get("/")
    assert loads(after.text) == loads(PAGE)
    assert {field.partition("=")[0] for field in after.headers.get_list("set-cookie")} == {
        "es_basket",
        "_es_1",
    }


def test_a_policy_in_python_has_lists_too(tmp_path: Path) -> None:
    """As `read_list` returns them; the testing helper knows them."""
    policy = Policy(lists=(write(tmp_path / "made-up.toml", RULES),))
    with TestClient(site(tmp_path, policy=policy)) as browser:
        assert "www.stats.example" not in browser.get("/").text
    with pytest.raises(AssertionError, match=r"Made Up"):
        assert_no_trackers(HTMLResponse('<img src="https://stats.example/a.gif">'), policy=policy)


def test_the_catalog_and_the_site_win_over_a_list(tmp_path: Path) -> None:
    """A list only tells of what nobody has described, also where the catalog came to know it later."""
    hosts = ("google-analytics.com", "own.example", "more.example", "new.example", "facebook.com")
    everything = "! Title: Made Up\n" + "".join(f"||{host}^\n" for host in hosts)
    write(tmp_path / "list.toml", everything, known=Catalog([]))
    write(
        tmp_path / "cookies.toml", COOKIES.replace("_es_", "_ga").replace(",1\n", ",0\n"), known=Catalog([])
    )
    policy, catalog = load(
        tmp_path,
        'lists = ["list.toml", "cookies.toml"]\n[override.hotjar]\nhosts = ["more.example"]\n'
        '[[cookie]]\nname = "es_basket"\npurpose = "Ours."\nlifetime = "1 day"\ncategory = "functional"\n'
        '[[vendor]]\nid = "own"\nname = "Own"\ncompany = "Own Ltd"\ncountry = "IE"\n'
        'privacy = "https://own.example/privacy"\ncategory = "performance"\nabout = "Ours."\nhosts = ["own.example"]\n',
    )

    def owner(host: str) -> str | None:
        match = catalog.match_url(host, "/")
        return None if match is None else match.vendor.id

    assert owner("www.google-analytics.com") == "google-analytics"
    assert (owner("a.own.example"), owner("more.example")) == ("own", "hotjar")
    assert (owner("new.example"), owner("facebook.com")) == ("list-made-up", None)
    match = catalog.match_cookie("es_basket")
    assert match is not None
    assert match.vendor.id == "this-site-functional"
    assert [each.id for each in policy.vendors] == ["own"]


def test_of_two_lists_the_first_has_what_both_name(tmp_path: Path) -> None:
    """That is no mistake: lists overlap."""
    write(tmp_path / "one.toml", "||both.example^\n||one.example^\n", name="One")
    write(tmp_path / "two.toml", "||both.example^\n||two.example^\n", name="Two")
    for first, second in (("one", "two"), ("two", "one")):
        catalog = load(tmp_path, f'lists = ["{first}.toml", "{second}.toml"]\n')[1]
        owners = [catalog.match_url(f"{name}.example", "/") for name in ("both", first, second)]
        assert [match and match.vendor.id for match in owners] == [
            f"list-{first}",
            f"list-{first}",
            f"list-{second}",
        ]


@pytest.mark.parametrize(
    ("rule", "host", "target"),
    [
        ("own.example/*?id=*", "own.example", "/pixel/1?id=1"),
        ("www.own.example/pi*", "www.own.example", "/pixel/1"),
        ("own.example/pixel/one/*", "own.example", "/pixel/one/1"),
    ],
)
def test_a_list_lets_nothing_through_that_the_catalog_refuses(rule: str, host: str, target: str) -> None:
    """Not by a URL pattern that is tried before the catalog's: by parameters, by a nearer host, or by its length."""
    own = replace(vendor("own"), urls=("own.example/pixel/*",))
    listed = replace(
        vendor("list-a"),
        category=Category.STRICTLY_NECESSARY,
        listed_by="A",
        urls=(rule, "own.example/other*"),
    )
    catalog = Catalog([own]).with_lists([listed])
    found = [catalog.match_url(host, each) for each in (target, "/other")]
    assert [match and match.vendor.id for match in found] == ["own", "list-a"]


def test_a_list_says_what_is_beside_what_the_catalog_knows() -> None:
    """A whole path that begins as the catalog's, and is none of them, hides nothing."""
    own = replace(vendor("own"), urls=("own.example/pixel/*",))
    listed = replace(vendor("list-a"), listed_by="A", urls=("www.own.example/pix",))
    catalog = Catalog([own]).with_lists([listed])
    found = [catalog.match_url("www.own.example", each) for each in ("/pix", "/pixel/1")]
    assert [match and match.vendor.id for match in found] == ["list-a", "own"]


def test_visitors_are_not_asked_again_for_a_list(tmp_path: Path) -> None:
    """What a list names is not what they were told: the version stays, and the difference is told."""
    one = write(tmp_path / "one.toml", "||a.example^\n", name="Made Up")
    two = write(tmp_path / "two.toml", "||a.example^\n||b.example^\n", name="Made Up")
    plain, before, after = Policy(), Policy(lists=(one,)), Policy(lists=(two,))
    assert plain.version == before.version == after.version
    licence = "not stated in the file: see where it comes from"
    assert policy_changes(plain, before) == [Change(False, "list Made Up", None, f"1 rules, {licence}")]
    assert policy_changes(before, after) == [
        Change(False, "list Made Up", f"1 rules, {licence}", f"2 rules, {licence}")
    ]
    assert policy_changes(after, replace(after)) == []


@pytest.mark.parametrize(
    ("text", "line", "key", "message"),
    [
        ("lists = 1\n", 1, "lists", "must be a list of files, not a whole number"),
        ('lists = [\n"",\n]\n', 2, "lists[0]", "must not be empty"),
        (
            'lists = ["a.toml",\n"none.toml"]\n',
            2,
            "lists[1]",
            "none.toml: there is no such file: create it, or",
        ),
        ("lists = [" + '"a.toml",\n' * 21 + "]\n", 21, "lists[20]", "at most 20 lists can be used"),
        (
            'lists = ["a.toml",\n"a.toml"]\n',
            2,
            "lists[1]",
            '"{folder}/a.toml" has a vendor "list-a", and so has "{folder}/a.toml": import one of the two again with '
            "another --name",
        ),
        (
            'lists = ["a.toml"]\ndeclare = ["list-a"]\n',
            2,
            "declare[0]",
            "what a list names is nobody's to declare, since a list says too little for visitors: describe it in a "
            "[[vendor]] table, which wins over the list",
        ),
        (
            'lists = ["a.toml"]\n[override.list-a]\ncategory = "functional"\n',
            2,
            "override.list-a",
            "what a list names",
        ),
        (
            '[[vendor]]\nid = "list-a"\nname = "A"\ncompany = "A"\ncountry = "IE"\nprivacy = "https://a.example/"\n'
            'category = "targeting"\nabout = "A."\nhosts = ["a.example"]\n',
            2,
            "vendor[0].id",
            'ids that start with "list-" stand for what lists name: choose another id',
        ),
        (
            '[site]\nlists = ["a.toml"]\n',
            2,
            "site.lists",
            "this key does not belong here: move it to the top, above",
        ),
    ],
)
def test_a_mistake_in_the_policy_is_told_with_its_line(
    tmp_path: Path, text: str, line: int, key: str, message: str
) -> None:
    """And with what to do."""
    write(tmp_path / "a.toml", "||a.example^\n", name="A")
    error = fails(tmp_path, text)
    assert (error.line, error.key) == (line, key)
    expected = message.format(folder=tmp_path)
    assert expected in error.message


GOOD = """[list]
name = 'A'
licence = 'of its own'
[[vendor]]
id = 'list-a'
name = 'A'
category = 'targeting'
hosts = [
  'a.example',
]
"""


@pytest.mark.parametrize(
    ("old", "new", "line", "key", "message"),
    [
        ("[list]\n", "[lst]\n", 1, "lst", "unknown key: known are list, vendor"),
        ("licence = 'of its own'\n", "", 1, "list.licence", 'missing: add licence = "…"'),
        (
            "name = 'A'\nlicence",
            "nam = 'A'\nlicence",
            2,
            "list.nam",
            "unknown key: known are name, format, licence",
        ),
        (
            "licence",
            "imported = 'today'\nlicence",
            3,
            "list.imported",
            "must be a day without quotes: 2026-01-31",
        ),
        (
            "'list-a'",
            "'made-up'",
            5,
            "vendor[0].id",
            "'made-up' must be 'list-' and lower-case letters, digits and",
        ),
        ("'targeting'", "'ads'", 7, "vendor[0].category", "'ads' is none of strictly-necessary, performance"),
        (
            "  'a.example',\n",
            "  'a.example',\n  'A B',\n",
            10,
            "vendor[0].hosts[1]",
            "'A B' is not a host: write a",
        ),
        (
            "\n]\n",
            "\n]\nurls = ['/px.gif']\n",
            11,
            "vendor[0].urls[0]",
            "'/px.gif' names no host: what is on every host",
        ),
        (
            "\n]\n",
            "\n]\ninline = []\n",
            11,
            "vendor[0].inline",
            "unknown key: known are id, name, company, privacy",
        ),
        (
            "\n]\n",
            "\n]\nprivacy = 'x'\n",
            11,
            "vendor[0].privacy",
            "'x' must be the address of a page: 'https://…'",
        ),
        (
            "\n]\n",
            "\n]\n[[vendor]]\nid = 'list-a'\nname = 'B'\ncategory = 'targeting'\n",
            12,
            "vendor[1].id",
            "a second ve",
        ),
    ],
)
def test_a_mistake_in_a_list_is_told_with_its_line(
    tmp_path: Path, old: str, new: str, line: int, key: str, message: str
) -> None:
    """Of the list's file, not of the policy's."""
    assert old in GOOD
    (tmp_path / "a.toml").write_text(GOOD.replace(old, new, 1))
    error = fails(tmp_path, 'lists = ["a.toml"]\n')
    assert (error.source, error.line, error.key) == (str(tmp_path / "a.toml"), line, key)
    assert error.message.startswith(message)


def test_a_file_that_is_no_list_is_told_with_the_policy_that_names_it(tmp_path: Path) -> None:
    """So that one knows which of the two to correct."""
    (tmp_path / "a.toml").write_text("")
    error = fails(tmp_path, 'lists = ["a.toml"]\n')
    assert told(error) == (
        1,
        "lists[0]",
        f"{tmp_path}/a.toml [list]: missing: is this a file that 'consent catalog import' wrote?",
    )


def test_a_list_knows_the_line_of_each_rule(tmp_path: Path) -> None:
    """As editors and CI find their way by it."""
    write(tmp_path / "made-up.toml", RULES)
    write(tmp_path / "cookies.toml", COOKIES)
    for name, vendor_id, rule in (
        ("made-up", "list-made-up", "stats.example"),
        ("made-up", "list-made-up", "split.example/px.gif*"),
        ("made-up", "list-made-up-let-through", "lib.stats.example"),
        ("cookies", "list-open-cookie-database-example-stats", "_es_*"),
    ):
        path = tmp_path / f"{name}.toml"
        line = ListFile(path).line(vendor_id, rule)
        assert line is not None
        assert f"'{rule}'" in path.read_text().splitlines()[line - 1]
    assert ListFile(path).line("list-nobody", "stats.example") is None


def refusing() -> Decision:
    return decide(Policy(), Signals())


def many(count: int) -> Catalog:
    """A catalog with a list of ``count`` hosts."""
    listed = replace(
        vendor(
            "list-made-up",
            hosts=tuple(f"h{number}.example" for number in range(count)),
        ),
        listed_by="Made Up",
    )
    return Catalog([vendor("known", hosts=("known.example",))]).with_lists([listed])


def test_the_guard_has_short_lists_and_no_long_one() -> None:
    """What visitors load does not grow with a list without end."""
    without = guard_table(many(0))
    assert guard_table(many(MAX_LISTED_RULES)).count(".example") == MAX_LISTED_RULES + 1
    assert guard_table(many(MAX_LISTED_RULES + 1)) == without


def test_the_csp_does_not_grow_with_a_list() -> None:
    """Not even where something of it was seen, and is allowed."""
    allowing = decide(replace(Policy(), regime="opt-out"), Signals())  # type: ignore[arg-type]
    for decision in (refusing(), allowing):
        fields = [
            ClosedWorld(catalog, Policy()).added(
                [], decision, variant="v", seen=("known", "list-made-up"), secure=False
            )
            for catalog in (many(0), many(5_000))
        ]
        assert fields[0] == fields[1]


def test_a_place_that_the_page_names_is_not_allowed_where_a_list_refuses_it() -> None:
    """What is refused stays refused, whoever names it."""
    own = [(b"content-security-policy", b"script-src h1.example other.example")]
    world = ClosedWorld(many(10), Policy())
    field = world.added(own, refusing(), variant="v", seen=(), secure=False)[-1][1].decode()
    assert "other.example" in field
    assert "h1.example" not in field


def test_what_a_list_names_leaves_no_placeholder(tmp_path: Path) -> None:
    """Nobody could be told who it is that they would allow."""
    services = '{"categories": {"Content": [{"Player": {"https://p.example/": ["player.example"]}}]}}'
    made = import_list(
        [source_of("list", services.encode())], load_catalog(), content=True, today=date(2026, 1, 31)
    )
    (tmp_path / "content.toml").write_text(made.toml)

    async def page(request: Request) -> HTMLResponse:
        return HTMLResponse('<body><iframe src="https://player.example/1" width="300" height="200"></iframe>')

    policy = Policy(lists=(read_list(tmp_path / "content.toml"),))
    app = ConsentMiddleware(Starlette(routes=[Route("/", page)]), policy=policy, data=tmp_path / "data")
    with TestClient(app) as browser:
        text = browser.get("/").text
    assert "player.example" not in text
    assert "consent-embed" not in text


def test_the_declaration_says_of_a_list_what_it_says_and_no_more(tmp_path: Path) -> None:
    """Its name as the source; no company, country, lifetime or notice that it does not give."""
    policy = Policy(
        lists=(write(tmp_path / "made-up.toml", RULES), write(tmp_path / "cookies.toml", COOKIES)),
        declare_seen=True,
        csp="off",  # type: ignore[arg-type]
    )
    app = site(tmp_path, policy=policy)
    with TestClient(app) as browser:
        browser.get("/")
        text = browser.get("/_consent/cookies").text
        german = browser.get("/_consent/cookies?language=de").text
    # Who names it is said in the visitor's language; what the list itself says stays in English.
    assert "<p>Steht auf einer öffentlichen Liste: Made Up.</p>" in german
    assert '<bdi lang="en" dir="ltr">Counts visits.</bdi>' in german
    blocks = {
        match[1]: re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", match[2])).strip()
        for match in re.finditer(
            r'<article class="consent-vendor" id="consent-vendor-([^"]+)">(.*?)</article>', text, re.S
        )
    }
    assert blocks == {
        "list-made-up": "Made Up Named by a public list, Made Up.",
        "list-made-up-let-through": "Made Up Named by a public list, Made Up.",
        "list-open-cookie-database-example-stats": (
            "Example Stats (Open Cookie Database) Named by a public list, Open Cookie Database. "
            "Receives the data: Example Ltd Name Purpose Storage "
            "_es_* Counts visits. Kept: 2 years Cookie of this site "
            "Privacy notice of Example Stats (Open Cookie Database)"
        ),
        "list-open-cookie-database-example-stats-strictly-necessary": (
            "Example Stats (Open Cookie Database) Named by a public list, Open Cookie Database. "
            "Name Purpose Storage es_basket Cookie of this site"
        ),
    }
