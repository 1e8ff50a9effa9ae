"""From the text of a list to the file for the policy: each form, and what all of them share."""

from __future__ import annotations

import json
import tempfile
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consent.catalog import Catalog, CatalogList, Cookie, load_catalog, read_list
from consent.categories import Category
from consent.errors import ConfigurationError
from consent.public_lists import disconnect, open_cookie_database, reading
from consent.public_lists.importing import FORMATS, Import, detect, import_list
from consent.public_lists.reading import MAX_FILE_BYTES, SourceFile, source_of
from tests.catalog.test_matching import vendor

TODAY = date(2026, 1, 31)
NOTHING = Catalog([])
HEADER = (
    "ID,Platform,Category,Cookie / Data Key name,Domain,Description,Retention period,Data Controller,"
    "User Privacy & GDPR Rights Portals,Wildcard match\n"
)


def source(text: str | bytes, name: str = "list.txt") -> SourceFile:
    return source_of(name, text if isinstance(text, bytes) else text.encode())


def made(text: str | bytes, known: Catalog = NOTHING, **options: Any) -> Import:
    return import_list([source(text)], known, today=TODAY, **options)


def services(categories: dict[str, Any], **more: Any) -> str:
    return json.dumps({**more, "categories": categories})


def site(*domains: str) -> dict[str, list[str]]:
    return {"https://vendor.example/": [*domains]}


def row(name: str, **changes: str) -> str:
    values = {
        "id": "1",
        "platform": "Example Stats",
        "category": "Analytics",
        "name": name,
        "domain": "",
        "purpose": "Counts visits.",
        "lifetime": "2 years",
        "company": "Example Ltd",
        "privacy": "https://stats.example/privacy",
        "wildcard": "0",
        **changes,
    }
    return ",".join(values.values()) + "\n"


def reread(text: str) -> CatalogList:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "list.toml"
        path.write_text(text, encoding="utf-8")
        return read_list(path)


def test_the_file_says_whose_list_it_is_and_under_which_licence() -> None:
    """In its head, before anything else."""
    result = made(
        "! Title: Made Up\n! Licence: https://list.example/licence\n! Version: 7\n||a.example^\n||a.example/px\n"
    )
    assert result.toml == (
        '# A site\'s own copy of a public list, as "consent catalog import" read it. Name this file in the policy:\n'
        '#     lists = ["…"]\n'
        "# The list is its authors' work, under their licence, which is not that of the program:\n"
        "#     https://list.example/licence\n"
        "\n"
        "[list]\n"
        "name = 'Made Up'\n"
        "format = 'easyprivacy'\n"
        "licence = 'https://list.example/licence'\n"
        "version = '7'\n"
        "files = ['list.txt']\n"
        "sha256 = ['c0d0c3b0']\n"
        "imported = 2026-01-31\n"
        "\n"
        "[[vendor]]\n"
        "id = 'list-made-up'\n"
        "name = 'Made Up'\n"
        "category = 'targeting'\n"
        "hosts = [\n"
        "  'a.example',\n"
        "]\n"
        "urls = [\n"
        "  'a.example/px*',\n"
        "]\n"
    ).replace(
        "c0d0c3b0",
        source(
            "! Title: Made Up\n! Licence: https://list.example/licence\n! Version: 7\n||a.example^\n||a.example/px\n"
        ).digest,
    )


def test_every_rule_is_in_one_count() -> None:
    """Taken, known, there twice, taken back, an exception, without effect, or not taken."""
    known = Catalog([vendor("known", hosts=("known.example",), urls=("split.example/px*",))])
    result = made(
        "||new.example^\n||known.example^\n||sub.known.example^\n||split.example^\n||split.example/px.gif\n"
        "||split.example/other\n||new.example^$third-party\n||gone.example^\n@@||gone.example^\n"
        "@@||ok.new.example^\n/px.gif\n",
        known,
    )
    counts = (result.read, result.taken, result.known, result.repeated, result.excepted)
    assert counts == (11, 2, 4, 1, 1)
    assert (result.let_through, result.without_effect, result.not_taken) == (1, 1, 1)
    assert [(each.id, each.category, each.hosts, each.urls) for each in result.vendors] == [
        ("list-list", Category.TARGETING, ("new.example",), ("split.example/other*",)),
        ("list-list-let-through", Category.STRICTLY_NECESSARY, ("ok.new.example",), ()),
    ]


def test_the_built_in_catalog_is_known() -> None:
    """So are the domains below its hosts, and its cookies."""
    assert made("||google-analytics.com^\n||ssl.google-analytics.com^\n", load_catalog()).known == 2
    assert made(HEADER + row("_ga") + row("_ga_", wildcard="1"), load_catalog()).known == 2


def test_the_categories_of_disconnect_become_ours() -> None:
    """One vendor for each of its names and categories. Of a domain in several, one counts; flags are passed over."""
    result = made(
        services(
            {
                "Advertising": [{"Ads Ltd": {**site("ads.example", "both.example"), "dnt": "eff"}}],
                "Analytics": [
                    {"Ads Ltd": site("count.example", "both.example")},
                    {"Count": site("c.example/px")},
                ],
                "Content": [{"Player": site("player.example")}],
                "FingerprintingGeneral": [{"Shield": site("shield.example", "shape.example")}],
                "Anti-fraud": [{"Shield": site("shield.example")}],
                "Whatever": [{"Odd": site("odd.example")}],
            },
            license="GPL,\n version 3",
        )
    )
    assert (result.format, result.name, result.licence) == ("disconnect", "Disconnect", "GPL, version 3")
    assert [(each.id, each.name, str(each.category), each.hosts, each.urls) for each in result.vendors] == [
        ("list-disconnect-shield", "Shield", "strictly-necessary", ("shield.example",), ()),
        ("list-disconnect-ads-ltd", "Ads Ltd", "targeting", ("ads.example", "both.example"), ()),
        ("list-disconnect-ads-ltd-performance", "Ads Ltd", "performance", ("count.example",), ()),
        ("list-disconnect-count", "Count", "performance", (), ("c.example/px*",)),
        ("list-disconnect-shield-targeting", "Shield", "targeting", ("shape.example",), ()),
    ]
    assert (result.read, result.taken, result.repeated, result.not_taken) == (10, 6, 2, 2)
    assert {why: each.examples for why, each in result.skipped.items()} == {
        disconnect.NOT_CONTENT: ["Content: Player: player.example"],
        disconnect.UNKNOWN_CATEGORY: ["Whatever: Odd: odd.example"],
    }


def test_content_is_taken_where_it_is_asked_for() -> None:
    """As functional. What is in another category too has that one."""
    text = services(
        {"Content": [{"Player": site("p.example", "q.example")}], "Social": [{"Net": site("q.example")}]}
    )
    result = made(text, content=True)
    assert [(each.name, str(each.category), each.hosts) for each in result.vendors] == [
        ("Net", "targeting", ("q.example",)),
        ("Player", "functional", ("p.example",)),
    ]
    assert result.licence == disconnect.LICENCE


def test_the_cookies_of_the_database_become_ours() -> None:
    """With what it says of them, for visitors; those that no response of the site sets are left out."""
    result = made(
        HEADER
        + row("_es")
        + row("_es_", wildcard="1", domain="stats.example (3rd party) or website domain (1st party)")
        + row(
            "sid",
            category="Functional",
            lifetime="Session",
            privacy="http://old.example",
            purpose='"One, two"',
        )
        + row("_es", platform="Another")
        + row("third", domain="stats.example (3rd party)")
        + row("cookie_[site-id]")
        + row("ab", wildcard="1")
        + row("two words")
        + row("odd", category="Odd")
        + row("nobody", platform="")
    )
    assert (result.format, result.name, result.licence) == (
        "open-cookie-database",
        "Open Cookie Database",
        "Apache-2.0",
    )
    stats, necessary = result.vendors
    assert (stats.id, stats.name, stats.company) == (
        "list-open-cookie-database-example-stats",
        "Example Stats",
        "Example Ltd",
    )
    assert (stats.privacy_url, stats.country, str(stats.category)) == (
        "https://stats.example/privacy",
        "",
        "performance",
    )
    assert stats.cookies == tuple(
        Cookie(name=name, purpose="Counts visits.", lifetime="2 years", party="first", http_only=False)
        for name in ("_es", "_es_*")
    )
    assert (necessary.id, str(necessary.category), necessary.privacy_url) == (
        "list-open-cookie-database-example-stats-strictly-necessary",
        "strictly-necessary",
        "",
    )
    assert [(each.purpose, each.lifetime) for each in necessary.cookies] == [("One, two", "session")]
    assert {why: each.examples for why, each in result.skipped.items()} == {
        open_cookie_database.NAMELESS: [
            "line 7: Example Stats, Analytics, cookie_[site-id]",
            "line 9: Example Stats, Analytics, two words",
        ],
        open_cookie_database.OF_OTHERS: ["line 6: Example Stats, Analytics, third"],
        open_cookie_database.TOO_MUCH: ["line 8: Example Stats, Analytics, ab"],
        open_cookie_database.UNKNOWN_CATEGORY: ["line 10: Example Stats, Odd, odd"],
        open_cookie_database.NO_PLATFORM: ["line 11: , Analytics, nobody"],
    }
    assert (result.read, result.taken, result.repeated) == (10, 3, 1)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (' {"categories": {}}', "disconnect"),
        (HEADER, "open-cookie-database"),
        ("[Adblock Plus 2.0]\n", "easyprivacy"),
        ("# hosts\n0.0.0.0 a.example\n", "easyprivacy"),
        ("a.example\n", "easyprivacy"),
    ],
)
def test_the_format_is_found_out(text: str, kind: str) -> None:
    assert detect(source(text)) == kind


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        (
            "Hello, world\n",
            {},
            "list.txt: nobody can tell which list this is: say it with --as, one of easyprivacy, disc",
        ),
        ("! nothing\n", {"kind": "easyprivacy"}, "list.txt: there are no rules in it: is this the list?"),
        (b"a.example\nb\xff\n", {}, "list.txt:2: this line is not UTF-8: save the file as UTF-8"),
        (b"#" * (MAX_FILE_BYTES + 1), {}, "list.txt: larger than 16,777,216 bytes: is this really a list?"),
        ('{"categories": {\n"a" 1}}', {}, "list.txt:2: not valid JSON at column 5: Expecting ':' delimiter"),
        ('{"a":' * 100_000, {}, "list.txt: not valid JSON: nested too deeply, or a number too long"),
        (
            '{"a": ' + "1" * 5000 + "}",
            {},
            "list.txt: not valid JSON: nested too deeply, or a number too long",
        ),
        ('{"categories": {"Social": [1]}}', {}, "list.txt: this is not Disconnect's services file: "),
        ("[]", {"kind": "disconnect"}, "list.txt: this is not Disconnect's services file: "),
        (
            "ID,Platform\n",
            {"kind": "open-cookie-database"},
            "list.txt:1: this is not the CSV file of the Open Cookie",
        ),
        (
            HEADER + '"a"b,c\n',
            {},
            "list.txt:2: not valid CSV: ',' expected after '\"': check the quotes of this",
        ),
        (
            HEADER + "a" * 10_001,
            {},
            "list.txt:2: not valid CSV: field larger than field limit (10000): check",
        ),
        (
            HEADER + row("a"),
            {"category": Category.TARGETING},
            "list.txt: this list has categories of its own: ",
        ),
        ("a.example\n", {"content": True}, "list.txt: only Disconnect's list has the category Content"),
        (
            services({"Social": [{f"v{number}": site("a.example")} for number in range(10_001)]}),
            {},
            "list.txt: more than 10,000 vendors can be taken",
        ),
    ],
    ids=range(15),
)
def test_what_is_no_list_is_refused_with_its_line(
    text: str | bytes, options: dict[str, Any], message: str
) -> None:
    """And with what to do."""
    with pytest.raises(ConfigurationError) as caught:
        made(text, **options)
    assert str(caught.value).startswith(message)


def test_a_list_of_very_many_rules_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each takes memory in every process of the site. What is excepted does not count, and patterns count singly."""
    assert reading.MAX_RULES == 100_000
    monkeypatch.setattr(reading, "MAX_RULES", 4)
    rules = "a.example\nb.example\n||c.example/px^\ngone.example\n@@gone.example\n"
    assert made(rules).taken == 3
    with pytest.raises(ConfigurationError) as caught:
        made(rules + "d.example\n")
    assert str(caught.value) == "list.txt: more than 4 rules can be taken: import a shorter list"


def test_several_files_are_one_list_where_it_comes_in_pieces() -> None:
    """An exception in one of them counts for the others; files of several lists are refused."""
    files = [source("||a.example^\n||b.example^\n", "one.txt"), source("@@||a.example^\n", "two.txt")]
    result = import_list(files, NOTHING, today=TODAY)
    assert [each.hosts for each in result.vendors] == [("b.example",)]
    assert result.files == ("one.txt", "two.txt")
    for other, message in (
        (HEADER, "files of several lists (easyprivacy, open-cookie-database): import one after the other"),
        (
            '{"categories": {}}',
            "files of several lists (disconnect, easyprivacy): import one after the other",
        ),
    ):
        with pytest.raises(ConfigurationError) as caught:
            import_list([files[0], source(other)], NOTHING, today=TODAY)
        assert str(caught.value) == message
    with pytest.raises(ConfigurationError, match=r"two\.csv: this list is one file: name that alone"):
        import_list([source(HEADER), source(HEADER, "two.csv")], NOTHING, today=TODAY)


def test_what_would_make_every_look_up_slow_is_not_taken() -> None:
    """Very many patterns for one host, and very many wildcards."""
    result = made("".join(f"||a.example/{number}|\n" for number in range(1_002)))
    assert (result.taken, {why: each.count for why, each in result.skipped.items()}) == (
        1_000,
        {"more than 1,000 rules about paths of one host": 2},
    )
    result = made(HEADER + "".join(row(f"abc{number}_", wildcard="1") for number in range(2_001)))
    assert (result.taken, {why: each.count for why, each in result.skipped.items()}) == (
        2_000,
        {"more than 2,000 wildcards": 1},
    )


def test_nothing_of_a_list_moves_or_hides_words() -> None:
    """What a list says may be shown to visitors and on terminals."""
    result = made(services({"Social": [{"A\u202eb\x1b[1m\n c": site("a.example")}]}))
    assert result.vendors[0].name == "A\ufffdb\ufffd[1m c"
    assert reread(result.toml).vendors[0].name == "A\ufffdb\ufffd[1m c"


_words = st.sampled_from(
    [
        "||", "@@", "a.example", "b.a.example", "^", "*", "/", "|", "$", "script", "domain=", "~", ",", "third-party",
        "?", "&", "=", "0.0.0.0 ", "::1 ", "##", "#", "!", "!#if", "\n", "\r\n", " ", "é", "'", '"', "\\", "px", ".js",
        "\x00", "\u2028",
    ]
)  # fmt: skip
_lists = st.lists(_words, max_size=60).map("".join)
_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=6)
    | st.sampled_from(["a.example", "b.a.example/px"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["categories", "license", "Advertising", "Content", "Anti-fraud", "x", "'", "\u202e"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)
_services = st.dictionaries(
    st.sampled_from(["Advertising", "Content", "Anti-fraud", "?"]),
    st.lists(
        st.dictionaries(st.text(max_size=5), st.dictionaries(st.text(max_size=3), st.lists(_lists))),
        max_size=3,
    ),
)
_rows = st.lists(
    st.lists(_lists | st.sampled_from(["1", "Analytics", "Marketing", "_abc"]), max_size=11), max_size=6
)


def _survives(text: str, kind: str) -> None:
    try:
        result = import_list([source(text.encode("utf-8", "replace"))], NOTHING, kind=kind, today=TODAY)
    except ConfigurationError:
        return
    counted = (result.taken, result.known, result.repeated, result.excepted, result.let_through)
    assert result.read == sum(counted) + result.without_effect + result.not_taken
    again = reread(result.toml)
    assert (again.name, again.rules) == (result.name, result.rules)
    assert [(v.id, v.name, v.hosts, v.urls, v.cookies) for v in again.vendors] == [
        (v.id, v.name, v.hosts, v.urls, v.cookies) for v in result.vendors
    ]
    # It can be used: nothing in it contradicts itself.
    NOTHING.with_lists(again.vendors)


_bounded = settings(max_examples=60, derandomize=True, deadline=None)


@_bounded
@given(_lists | st.text(max_size=200), st.sampled_from(FORMATS))
def test_no_text_breaks_the_reading_of_a_list(text: str, kind: str) -> None:
    """Either it is refused with a message, or a file comes of it that reads as what was taken."""
    _survives(text, kind)


@_bounded
@given(_json.map(json.dumps) | _services.map(lambda categories: json.dumps({"categories": categories})))
def test_no_json_breaks_the_reading_of_services(text: str) -> None:
    """Whatever the shape of it."""
    _survives(text, "disconnect")


@_bounded
@given(_rows)
def test_no_rows_break_the_reading_of_cookies(rows: list[list[str]]) -> None:
    """With too few fields or too many, and whatever is in them."""
    lines = (",".join('"' + field.replace('"', '""') + '"' for field in fields) for fields in rows)
    _survives(HEADER + "\n".join(lines), "open-cookie-database")
