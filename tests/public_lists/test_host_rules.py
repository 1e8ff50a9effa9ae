"""Rules about hosts, as in EasyPrivacy, hosts files and lists of domains: what is taken, and why the rest is not."""

from __future__ import annotations

import re
from datetime import date

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from consent.catalog import Catalog
from consent.categories import Category
from consent.public_lists import host_rules as said
from consent.public_lists.host_rules import read_host_rules
from consent.public_lists.importing import import_list
from consent.public_lists.reading import MAX_LINE, Draft, source_of


def read(text: str, **options: Category) -> Draft:
    return read_host_rules([source_of("list.txt", text.encode())], lambda done: None, **options)


def taken(draft: Draft) -> dict[str, tuple[str, ...]]:
    """What is refused, by how it is written."""
    return {each.place.text: each.rules for each in draft.entries if not each.is_exception}


@pytest.mark.parametrize(
    ("rule", "hosts"),
    [
        ("||stats.example^", ("stats.example",)),
        ("||Stats.Example^$third-party", ("stats.example",)),
        ("||stats.example", ("stats.example",)),
        ("||stats.example/", ("stats.example",)),
        ("||stats.example/*", ("stats.example",)),
        ("||*.stats.example^", ("stats.example",)),
        ("||stats.example^$important,3p,domain=~news.example|~blog.example", ("stats.example",)),
        ("stats.example", ("stats.example",)),
        ("*.stats.example", ("stats.example",)),
        ("stats.example # counts", ("stats.example",)),
        ("0.0.0.0 stats.example", ("stats.example",)),
        ("127.0.0.1\tstats.example\t# counts", ("stats.example",)),
        (":: stats.example", ("stats.example",)),
        ("||stats.example/px", ("stats.example/px*",)),
        ("||stats.example/px*", ("stats.example/px*",)),
        ("||stats.example/px.gif|", ("stats.example/px.gif",)),
        ("||stats.example/px^", ("stats.example/px", "stats.example/px/*")),
        ("||stats.example^px/", ("stats.example/px/*",)),
        ("||stats.example^*/px/", ("stats.example/*/px/*",)),
        ("||stats.example*/px.", ("stats.example/px.*", "stats.example/*/px.*")),
        ("||stats.example*.gif", ("stats.example/*.gif*",)),
        ("||stats.example/a*b", ("stats.example/a*b*",)),
        ("||stats.example/px?", ("stats.example/px",)),
        ("||stats.example/px?id=", ("stats.example/px?id=*",)),
        ("||stats.example/px?id=7^", ("stats.example/px?id=7",)),
        ("||stats.example/px?a=1&b=*&c=", ("stats.example/px?a=1&b=*&c=*",)),
        ("||stats.example/?id=", ("stats.example/?id=*",)),
        ("||stats.example?id=", ("stats.example/?id=*",)),
        ("||stats.example/px.js$script,third-party", ("stats.example/px.js*",)),
        ("||stats.example/px.gif?$image", ("stats.example/px.gif",)),
        ("||stats.example/a$b/c", ("stats.example/a$b/c*",)),
    ],
)
def test_what_can_be_said_by_our_rules_is_taken(rule: str, hosts: tuple[str, ...]) -> None:
    """Hosts with all below them, and URL patterns."""
    draft = read(rule)
    assert [each.rules for each in draft.entries] == [hosts]
    assert (draft.read, draft.skipped) == (1, {})


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        ("||stats.example^$domain=news.example", said.ONLY_SITES),
        ("||stats.example^$domain=~blog.example|news.example", said.ONLY_SITES),
        ("||stats.example^$~third-party", said.ONLY_OWN),
        ("||stats.example^$script", said.ONLY_KINDS),
        ("||stats.example/lib/$image", said.ONLY_KINDS),
        ("||stats.example/px.gif$script", said.ONLY_KINDS),
        ("||stats.example/px.js$~script", said.ONLY_KINDS),
        ("||stats.example^$csp=script-src 'none'", said.OTHER_OPTION),
        ("||stats.example^$removeparam=id", said.OTHER_OPTION),
        ("||stats.example^$badfilter", said.OTHER_OPTION),
        ("stats.example##.banner", said.HIDING),
        ("##.banner", said.HIDING),
        ("#@#.banner", said.HIDING),
        ("/pixel.gif?", said.EVERY_HOST),
        ("-tracking.js?", said.EVERY_HOST),
        ("-tracking.js", said.NOT_A_HOST),
        ("|https://stats.example/", said.EVERY_HOST),
        ("/banner[0-9]+/$image", said.A_REGULAR_EXPRESSION),
        ("||stats.example:8080^", said.A_PORT),
        ("||stats*.example^", said.NOT_A_HOST),
        ("||stats.", said.NOT_A_HOST),
        ("||stats", said.NOT_A_HOST),
        ("||192.0.2.1^", said.NOT_A_HOST),
        ("||störer.example^", said.NOT_A_HOST),
        ("||^", said.NOT_A_HOST),
        ("||github.io^", said.SHARED),
        ("||co.uk^", said.SHARED),
        ("||stats.example^|", said.NO_PATTERN),
        ("||stats.example/^", said.NO_PATTERN),
        ("||stats.example/a^b", said.SEPARATOR),
        ("||stats.example/px?a^b=", said.SEPARATOR),
        ("||stats.example/px?id", said.NAMELESS),
        ("||stats.example/px?*id=", said.NAMELESS),
        ("||stats.example/%20 ä", said.NO_PATTERN),
        ("||stats.example/" + "x" * 500, said.TOO_LONG),
        ("||stats.example/" + "x" * MAX_LINE, f"the line has more than {MAX_LINE:,} characters"),
        ("192.0.2.7 nas.example", said.LEADS_ELSEWHERE),
    ],
)
def test_what_our_rules_cannot_say_is_counted_with_its_reason(rule: str, reason: str) -> None:
    """And shown with its line, cut to what fits on a terminal."""
    draft = read(f"! a comment\n{rule}\n")
    assert draft.entries == []
    assert {why: (each.count, each.examples) for why, each in draft.skipped.items()} == {
        reason: (1, [f"line 2: {rule}" if len(rule) <= 100 else f"line 2: {rule[:100]}…"])
    }


def test_what_is_no_rule_is_not_read() -> None:
    """Comments, and the names of the machine itself in a hosts file."""
    draft = read(
        "[Adblock Plus 2.0]\n! Title: Made Up\n! License: of its own\n! Version: 7\n\n# a hosts file\n"
        "127.0.0.1 localhost\n::1 ip6-localhost ip6-loopback\n0.0.0.0 one.example two.example\n"
    )
    assert (draft.name, draft.licence, draft.version, draft.read) == ("Made Up", "of its own", "7", 2)
    assert [each.rules for each in draft.entries] == [("one.example",), ("two.example",)]


def test_what_counts_only_under_a_condition_is_not_taken() -> None:
    draft = read("!#if env_chromium\n||a.example^\n!#if x\n!#endif\n||b.example^\n!#endif\n||c.example^\n")
    assert list(taken(draft).values()) == [("c.example",)]
    assert draft.skipped[said.CONDITIONAL].count == 2


def test_what_the_list_takes_back_is_not_taken() -> None:
    """A host with all below it; or a path, on the domains below, too."""
    draft = read(
        "||gone.example^\n||sub.gone.example/x.js\n||a.example/lib/one.js\n||b.a.example/lib/two.js\n"
        "||a.example/px\n||a.example/c?id=1&x=\n@@||gone.example^\n@@||a.example/lib/\n@@||a.example/c?id=1^\n"
    )
    assert taken(draft) == {"||a.example/px": ("a.example/px*",)}
    assert draft.excepted == 5


def test_an_exception_to_a_host_that_is_refused_is_kept_as_such() -> None:
    """Where a path is refused below the excepted host, the path is let through there."""
    draft = read(
        "||all.example^\n||paths.example/px\n@@||cdn.all.example^\n@@||all.example/lib/$script\n"
        "@@||ok.paths.example^\n@@||other.example^\n||sub.top.example^\n@@||top.example/ok\n"
    )
    let_through = {each.place.text: each.rules for each in draft.entries if each.is_exception}
    assert let_through == {
        "@@||cdn.all.example^": ("cdn.all.example",),
        "@@||all.example/lib/$script": ("all.example/lib/*",),
        "@@||ok.paths.example^": ("ok.paths.example/px*",),
        "@@||top.example/ok": ("top.example/ok*",),
    }
    assert draft.without_effect == 1
    assert {each.vendor.category for each in draft.entries if each.is_exception} == {
        Category.STRICTLY_NECESSARY
    }


@pytest.mark.parametrize(
    ("exception", "reason"),
    [
        ("@@||a.example^$domain=news.example", said.ONLY_SITES),
        ("@@||a.example^$generichide", said.OTHER_OPTION),
        ("@@||a.example^$document", said.OTHER_OPTION),
        ("@@||a.example^$~third-party", said.ONLY_OWN),
        ("@@/px.gif", said.EVERY_HOST),
    ],
)
def test_an_exception_for_others_changes_nothing(exception: str, reason: str) -> None:
    """For other sites, for pages as a whole, for what is the site's own."""
    draft = read(f"||a.example^\n{exception}\n")
    assert list(taken(draft).values()) == [("a.example",)]
    assert {why: each.count for why, each in draft.skipped.items()} == {reason: 1}


def test_a_host_with_very_many_exceptions_is_excepted_as_a_whole() -> None:
    """So that no list makes the reading slow."""
    many = "".join(f"@@||a.example/{number}|\n" for number in range(101))
    assert taken(read(f"||a.example/px\n{many}")) == {}


def test_the_category_is_the_one_that_is_asked_for() -> None:
    """Such a list does not tell its rules apart; the strictest is the default."""
    assert read("||a.example^").entries[0].vendor.category is Category.TARGETING
    assert (
        read("||a.example^", category=Category.PERFORMANCE).entries[0].vendor.category is Category.PERFORMANCE
    )


def test_a_rule_that_would_be_tried_before_an_exception_is_not_taken() -> None:
    """Where both may be about the same, what the list lets through passes."""
    draft = read(
        "||a.example/x/*/long.gif\n||b.a.example/x/y\n||a.example/x/y?id=\n||a.example/z/*.gif\n@@||a.example/x/*y\n"
    )
    assert list(taken(draft)) == ["||a.example/z/*.gif"]
    assert draft.excepted == 3


_hosts = st.sampled_from(["a.example", "b.a.example", "c.b.a.example"])
_steps = st.lists(st.sampled_from(["/", "x", "y", ".js", "*", "-"]), max_size=6).map("".join)
_rules = st.builds(
    "||{}{}{}".format, _hosts, st.sampled_from(["^", "/", "^*/", "*/", ""]), _steps | _steps.map("{}^".format)
)
_urls = st.tuples(
    st.sampled_from(["a.example", "b.a.example", "d.c.b.a.example", "xa.example", "other.example"]),
    st.lists(st.sampled_from(["/", "x", "y", ".js", "-"]), max_size=7).map(
        lambda steps: "/" + "".join(steps)
    ),
)


def blocks(rule: str, host: str, path: str) -> bool:
    """Say what a rule means, as the syntax of filter lists is described: another reading of it than ours."""
    expression = "".join(
        {"*": ".*", "^": r"(?:[^\w.%-]|\Z)"}.get(character, re.escape(character)) for character in rule[2:]
    )
    return re.match(rf"(?:[^/]+\.)?{expression}", host + path) is not None


@settings(max_examples=80, derandomize=True, deadline=None)
@given(
    st.lists(_rules, min_size=1, max_size=4),
    st.lists(_rules, max_size=2),
    st.lists(_urls, min_size=1, max_size=8),
)
def test_what_is_taken_means_what_the_list_means(
    rules: list[str], exceptions: list[str], urls: list[tuple[str, str]]
) -> None:
    """Without exceptions the same is refused as the list blocks; with them nothing that it lets through."""
    rules, exceptions = ([each for each in some if not read(each).skipped] for some in (rules, exceptions))
    assume(rules)
    text = "[list]\n" + "\n".join([*rules, *(f"@@{each}" for each in exceptions)])
    result = import_list([source_of("list.txt", text.encode())], Catalog([]), today=date(2026, 1, 31))
    catalog = Catalog([]).with_lists(result.vendors)
    for host, path in urls:
        match = catalog.match_url(host, path)
        refused = match is not None and match.vendor.category is not Category.STRICTLY_NECESSARY
        blocked, excepted = (any(blocks(each, host, path) for each in some) for some in (rules, exceptions))
        assert not refused or (blocked and not excepted), (host, path)
        if not exceptions:
            assert refused is blocked, (host, path)
