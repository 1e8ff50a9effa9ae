"""The guard's script and tag, as they are made at start-up."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from consent.assets import asset_dir
from consent.banner import Banner
from consent.catalog import Catalog, Cookie, StorageKey, Vendor, load_catalog
from consent.categories import OPTIONAL, Category
from consent.choice import Choice
from consent.decision import Decision, decide
from consent.gpp import GppScript
from consent.gpp import script as gpp_script
from consent.guard import UNIFORM_SOURCES, ClientPart, Guard, guard_table, script
from consent.interface_rules import INTERFACE_RULES
from consent.minify import minified_script, minified_stylesheet
from consent.policy import GoogleMode, Gpp, Interfaces, Layout, Policy, Regime
from consent.signals import ChoiceState, Signals
from consent.static_files import named, zipped
from consent.vendor_interfaces import REVOCATIONS, interface_parts
from tests.conftest import Tell

BUDGET = 6 * 1024
"""Bytes as served, for what visitors load of banner, preferences and guard, but for the guard's table."""
TABLE_BUDGET_PER_RULE = 7.5
GPP_BUDGET = 1_860
"""... and of what answers ``__gpp``, with all that it can answer."""
CALIFORNIA = Policy(regime=Regime.OPT_OUT, jurisdiction="US-CA", interfaces=Interfaces(gpp=Gpp.BY_STATE))


def deciding(*granted: Category, vendors: dict[str, bool] | None = None, gpc: bool = False) -> Decision:
    """The decision for somebody who granted these categories, with exceptions for single vendors."""
    policy = Policy()
    choice = Choice(
        receipt_id="1f0c6e7e-3c58-4b6e-8f9f-0d3f5d7c2a10",
        subject="0" * 32,
        made_at=1,
        policy_version=policy.version,
        granted=frozenset(granted),
        vendors=vendors or {},
    )
    return decide(policy, Signals(choice=choice, choice_state=ChoiceState.VALID, gpc=gpc, dnt=None))


def vendor(
    vendor_id: str,
    category: Category,
    *,
    hosts: tuple[str, ...] = (),
    urls: tuple[str, ...] = (),
    cookies: tuple[str, ...] = (),
    keys: tuple[str, ...] = (),
) -> Vendor:
    """A vendor of which only the rules matter."""
    return Vendor(
        id=vendor_id,
        name=vendor_id,
        company="Example",
        country="DE",
        privacy_url="https://example.com/",
        category=category,
        about="An example.",
        hosts=hosts,
        urls=urls,
        inline=(),
        cookies=tuple(
            Cookie(name=name, purpose="x", lifetime="x", party="first", http_only=False) for name in cookies
        ),
        storage=tuple(StorageKey(key=key, area="local", purpose="x") for key in keys),
    )


def size(content: bytes) -> int:
    """The bytes a browser loads."""
    return len(zipped(content))


def test_the_code_visitors_load_is_within_the_budget(tell: Tell) -> None:
    """Stylesheet as served in each layout, guard and client; the table is data, and has a budget of its own."""
    code, table = script("").encode(), guard_table(load_catalog()).encode()
    sheets = {
        f"consent.css, layout {layout}": size(
            named(Banner(Policy(layout=layout)).static, "consent.css").content
        )
        for layout in Layout
    }
    sizes = sheets | {
        "the script": size(code),
        "the script in the cache mode uniform": size(script("", UNIFORM_SOURCES).encode()),
        "the table of the catalog": size(table),
        "the script as served": size(Guard(load_catalog()).file.content),
        "__gpp, the script, where it is on": size(gpp_script("").encode()),
        "__gpp, as served in California": size(GppScript(CALIFORNIA, CALIFORNIA, "usca").file.content),
    }
    tell("what visitors load", [f"{count:6} bytes gzip  {name}" for name, count in sizes.items()])
    rules = len(re.findall(rb"[^\w\s-]\S*", table))
    assert rules > 4_000
    assert sizes["the table of the catalog"] / rules <= TABLE_BUDGET_PER_RULE
    for sheet in sheets:
        for which in ("the script", "the script in the cache mode uniform"):
            assert sizes[sheet] + sizes[which] <= BUDGET, (sheet, which)
    assert sizes["__gpp, as served in California"] <= GPP_BUDGET


def test_the_links_of_a_group_cost_what_the_documentation_says(tell: Tell) -> None:
    """Only where there is a group."""
    part = ClientPart(
        ("group.js",), {"GROUP": json.dumps(["https://www.example.com", "https://www.example.org"])}
    )
    cost = size(script("", parts=[part]).encode()) - size(script("").encode())
    tell("what a group adds", [f"{cost:6} bytes gzip  links to its other sites"])
    assert cost <= 150


def test_an_interface_costs_what_the_documentation_says(tell: Tell) -> None:
    """Only where it is on: without a setting and a declared vendor there is nothing of it."""
    catalog = load_catalog()
    plain = size(script("").encode())

    def cost(**policy: Any) -> int:
        return size(script("", parts=interface_parts(Policy(**policy), catalog)).encode()) - plain

    vendors = [name for name in INTERFACE_RULES if not name.startswith(("google_", "gpp"))]
    on = {name: "basic" if name == "google" else True for name in vendors}
    costs = {name: cost(interfaces={name: value}) for name, value in on.items()}
    costs["all"] = cost(interfaces=on)
    costs["none, one vendor declared"] = cost(vendors=(catalog.vendors["meta-pixel"],))
    tell("what interfaces add", [f"{count:6} bytes gzip  {name}" for name, count in costs.items()])
    assert cost(vendors=(catalog.vendors["youtube"],)) == 0
    assert all(costs[name] <= 290 for name in on if name != "google")
    assert (costs["none, one vendor declared"] <= 100, costs["google"] <= 520, costs["all"] <= 1_160) == (
        True,
    ) * 3


def test_a_script_has_what_its_pages_need() -> None:
    """Signals are looked up where everybody gets the same page; elsewhere pages tell what they lack."""
    one, all_ = script(""), script("", UNIFORM_SOURCES)
    assert [("globalPrivacyControl" in code, ".consent-missing" in code) for code in (one, all_)] == [
        (False, True),
        (True, False),
    ]


def test_the_tag_tells_what_everybodys_page_needs() -> None:
    """Instead of what is allowed there: nothing."""
    guard = Guard(load_catalog(), uniform="consent_variant= 0123")
    tag = f'<script src="{guard.url}" data-allowed="consent_variant= 0123"></script>'
    assert guard.markup(decide(Policy(), Signals()), nonce=None).decode() == tag
    assert guard.file != Guard(load_catalog()).file


def test_the_file_is_named_after_its_content() -> None:
    """The same catalog gives the same name on every worker; another catalog another one."""
    one, same = Guard(load_catalog()), Guard(load_catalog())
    other = Guard(load_catalog().with_vendors([vendor("own", Category.TARGETING, hosts=("own.example",))]))
    assert re.fullmatch(r"guard\.[0-9a-f]{16}\.js", one.file.name)
    assert one.file == same.file
    assert one.file.name != other.file.name
    assert one.url == f"/_consent/static/{one.file.name}"
    assert Guard(load_catalog(), prefix="/own/path").url == f"/own/path/static/{one.file.name}"
    assert (one.file.media_type, one.file.etag) == (
        "text/javascript; charset=utf-8",
        f'"{one.file.name[6:22]}"',
    )


def test_the_tag_says_what_is_allowed() -> None:
    """Categories by their first letter, and the vendors whose answer differs from their category's."""
    guard = Guard(load_catalog())
    start = f'<script src="{guard.url}" data-allowed='.encode()
    assert guard.markup(deciding(), nonce=None) == start + b'""></script>'
    assert guard.markup(deciding(*OPTIONAL), nonce=None) == (start + b'"pft"></script>')
    exceptions = {"hotjar": False, "youtube": True, "meta-pixel": True}
    assert guard.markup(deciding(Category.PERFORMANCE, vendors=exceptions), nonce="r4nd0m") == (
        start + b'"p hotjar meta-pixel youtube" nonce="r4nd0m"></script>'
    )


def test_the_tag_tells_silence_from_consent_where_that_is_asked_for() -> None:
    """In the first letters of what nobody refused; in opt-in, and without such an interface, there is nothing."""
    catalog, opt_out = (
        load_catalog(),
        Policy(regime=Regime.OPT_OUT, interfaces=Interfaces(google=GoogleMode.BASIC)),
    )
    guard = Guard(catalog, parts=interface_parts(opt_out, catalog))
    silent, heard = decide(opt_out, Signals()), decide(opt_out, Signals(gpc=True))
    start = f'<script src="{guard.url}" data-allowed='
    for _ in range(2):  # from memory, too
        assert guard.markup(silent, nonce=None).decode() == start + '"pft" data-silent="pft"></script>'
        assert guard.markup(heard, nonce=None).decode() == start + '"pf" data-silent="pf"></script>'
        assert guard.markup(deciding(*OPTIONAL), nonce=None).decode() == start + '"pft"></script>'
    assert guard.is_first
    plain = Guard(
        catalog, parts=interface_parts(Policy(interfaces=Interfaces(google=GoogleMode.BASIC)), catalog)
    )
    assert b"silent" not in plain.markup(silent, nonce=None)
    assert not Guard(catalog).is_first


def test_google_is_told_of_stricter_regions_where_nobody_knows_the_visitors() -> None:
    """Not where the policy is that of the visitor's place, and not in opt-in, where all of it is denied anyway."""
    catalog = load_catalog()

    def regions(regime: Regime, *, is_located: bool = False) -> list[str]:
        policy = Policy(regime=regime, interfaces=Interfaces(google=GoogleMode.BASIC))
        (found,) = [
            p.data for p in interface_parts(policy, catalog, is_located=is_located) if "REGIONS" in p.data
        ]
        return list(json.loads(found["REGIONS"]))

    assert {"DE", "NO", "GB", "BR", "CA-QC"} < {*regions(Regime.OPT_OUT)}
    assert {"US", "US-CA", "CH", "EU"}.isdisjoint(regions(Regime.OPT_OUT))
    assert regions(Regime.OPT_OUT) == regions(Regime.NOTICE)
    assert regions(Regime.OPT_OUT, is_located=True) == regions(Regime.OPT_IN) == []


def test_whoever_is_told_of_a_withdrawal_is_in_the_catalog() -> None:
    """Each by its id."""
    assert REVOCATIONS.keys() <= load_catalog().vendors.keys()


def test_a_signal_overrules_an_exception_on_the_tag() -> None:
    """The tag carries what comes of the choice, not the choice."""
    guard = Guard(load_catalog())
    markup = guard.markup(deciding(vendors={"meta-pixel": True, "youtube": True}, gpc=True), nonce=None)
    assert b'data-allowed=" youtube"' in markup


def test_a_nonce_cannot_end_the_attribute() -> None:
    """It comes from the app's own header, but nothing is taken on trust."""
    markup = Guard(load_catalog()).markup(deciding(), nonce='"><script>')
    assert markup.endswith(b' nonce="&#34;&gt;&lt;script&gt;"></script>')


def test_a_line_of_the_table_is_a_vendor() -> None:
    """Hosts and URL patterns, cookies, keys, then category and id; a key kept in several places is there once."""
    catalog = Catalog(
        [
            vendor(
                "a", Category.TARGETING, hosts=("a.example",), urls=("b.example/x*y?c=1*",), cookies=("a_*",)
            ),
            vendor("b", Category.PERFORMANCE, hosts=("c.example",), keys=("k.v", "q*z", "k.v")),
            vendor("n", Category.STRICTLY_NECESSARY, hosts=("n.example",), cookies=("n",)),
        ]
    )
    assert guard_table(catalog) == (
        " c.example #k\\.v$ #q[^]*z$ pb a.example b.example/x[^?]*y(?=\\?(.*&)?c=1[^&]*(&|$)) =a_ ta "
    )


def test_rules_that_compete_come_in_the_catalogs_order() -> None:
    """With parameters, whole paths, the longest; and whole names before wildcards."""
    catalog = Catalog(
        [
            vendor("a", Category.TARGETING, urls=("x.example/a*",), cookies=("ab_*",)),
            vendor(
                "b",
                Category.PERFORMANCE,
                urls=("x.example/ab*", "x.example/a?b=c"),
                cookies=("ab_c", "ab_c_*"),
            ),
            vendor("c", Category.STRICTLY_NECESSARY, urls=("x.example/abc",), cookies=("ab_d",)),
        ]
    )
    assert guard_table(catalog) == " ".join(
        (
            "",
            "x.example/a(?=\\?(.*&)?b=c(&|$)) pb",
            "x.example/abc(\\?|$) sc",
            "x.example/ab pb",
            "x.example/a ta",
            "=ab_c$ pb",
            "=ab_d$ sc",
            "=ab_c_ pb",
            "=ab_ ta",
            "",
        )
    )


def test_a_strictly_necessary_vendor_is_known_where_it_keeps_a_refusal_off() -> None:
    """Below or above a host of somebody else's, and nowhere else: it is allowed anyhow."""
    catalog = Catalog(
        [
            vendor("t", Category.TARGETING, hosts=("x.example", "deep.y.example")),
            vendor("n", Category.STRICTLY_NECESSARY, hosts=("pay.x.example", "y.example", "z.example")),
        ]
    )
    assert guard_table(catalog) == " ".join(
        (
            "",
            "pay.x.example y.example sn",
            "x.example deep.y.example tt",
            "",
        )
    )


def test_the_first_letters_of_a_rule_are_what_texts_begin_with() -> None:
    """By them alone the guard tells most rules apart: none of them may be optional, or come again."""
    odd = vendor(
        "own", Category.TARGETING, urls=("x.example/a*b?c=*", "x.example/?b="), cookies=("a*", "a.b")
    )
    expressions = [
        re.sub(r"^([=#(]|[^/]*)", "", word)
        for word in guard_table(load_catalog().with_vendors([odd])).split()
    ]
    assert len(expressions) > 4_000
    assert [text for text in expressions if re.match(r"/?\w*[?*+{]", text, re.ASCII)] == []


def test_white_space_in_a_key_ends_no_word_of_the_table() -> None:
    """It is written as an escape."""
    catalog = Catalog([vendor("own", Category.TARGETING, keys=("a b\tc", "d\n\ufeff*"))])
    assert guard_table(catalog) == r" #a\u0020b\u0009c$ #d\u000a\ufeff town "


def test_the_vectors_are_well_formed() -> None:
    """What the browser test asks is what the catalog's test asks."""
    vectors = json.loads((Path(__file__).parent / "guard" / "vectors.json").read_text(encoding="utf-8"))
    assert set(vectors) == {"about", "page", "urls", "cookies", "keys"}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("const first = (one, two) => one + two;\n", "let ti=(t,e)=>t+e;"),
        ("// note\nconst a = 1; /* b */ use(a, b);", "let ti=1;use(ti,b);"),
        ("const x = (value) => { f(value); };", "let ti=t=>{f(t)};"),
        ("const long = 1; call({ long: long }, o.long, [long,],);", "let ti=1;call({long:ti},o.long,[ti]);"),
        (
            'const text = "a // b"; g(text, /"[/]"/g, t ? text : text);',
            'let ti="a // b";g(ti,/"[/]"/g,t?ti:ti);',
        ),
        ("const [first, ...rest] = f(); g(first, rest);", "let[ti,...tt]=f();g(ti,tt);"),
        ("const one = (a) => (b) => a + b + one;", "let ti=t=>e=>t+e+ti;"),
        ("const f = (g) => { const h = g(k); return h; };", "let ti=t=>{let e=t(k);return e};"),
        ("const a = async (b = c) => await b; const c = 2;", "let ti=async(t=tt)=>await t,tt=2;"),
        (
            "let a = () => { const b = 1; let c = b; b; }; const d = 1; a; let e;",
            "let ti=()=>{let t=1,e=t;t},tt=1;ti;let a;",
        ),
        ("for (let a = 1; a; ) { f(); } const b = 1;", "for(let t=1;t;){f()}let ti=1;"),
        (
            "f = { a: 1 }; let b = 1; if (b) { let c = b; } let d = b;",
            "f={a:1};let ti=1;if(ti){let t=ti}let tt=ti;",
        ),
        (
            "const a = new Map(); const b = new A(1); new B().c(); f(new C() < a, new D()[1]);",
            "let ti=new Map,tt=new A(1);new B().c();f(new C<ti,new D()[1]);",
        ),
        ("f(true, { b: false, true: g.true });", "f(!0,{b:!1,true:g.true});"),
        ("for (const item of list) item.f(item);", "for(let t of list)t.f(t);"),
        (
            "for (const a of l) for (const b of a) try { f(a, b); } catch {} for (const c of l) if (c) f(c);",
            "for(let t of l)for(let e of t)try{f(t,e)}catch{}for(let t of l)if(t)f(t);",
        ),
        (
            "const f = (a) => { for (const b of a) { const c = b; g(a, c); } const d = a; h(d); };",
            "let ti=t=>{for(let e of t){let i=e;g(t,i)}let e=t;h(e)};",
        ),
    ],
)
def test_scripts_are_made_smaller(source: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names declared in it become short, properties and the browser's names stay."""
    monkeypatch.setattr("consent.minify.SHARED", ("ti", "tt", "a"))
    monkeypatch.setattr("consent.minify._LETTERS", "teiasln")
    assert minified_script(source) == expected


def test_no_two_names_become_one() -> None:
    """Also where functions share more than there are letters, or names that were chosen for them."""
    names = [f"name{number}" for number in range(300)]
    shared = "".join(f"const {name} = 1; " for name in names)
    inner = "".join(f"const inner{number} = {name}; " for number, name in enumerate(names))
    code = minified_script(f"{shared}const f = (x) => {{ {inner}}};")
    outer, _, inner = code.partition("=>{")
    for block in (outer, inner):
        declared = re.findall(r"(?:let |,)(\w+)=", block)
        assert len(declared) == len(set(declared)) >= 300


@pytest.mark.parametrize("source", ["const a = `x`;", "const a = 'x';"])
def test_a_script_outside_of_the_rules_is_refused(source: str) -> None:
    """Rather than made into something else."""
    with pytest.raises(ValueError, match="cannot be read"):
        minified_script(source)


def test_stylesheets_are_made_smaller() -> None:
    """Comments and needless white space go; what separates something stays, and strings are text."""
    sheet = """
    /* A comment; with { marks } */
    .a :hover > .b, .c::before { content: "a  ;  b /* c */"; margin: 0 auto; }
    @media (min-width: 40rem) and (hover: hover) { .d:not(#_) .e { inline-size: calc(1px + 2vw); } }
    .f {
      --c-on-accent: var(--consent-on-accent, red);
      color: var(--c-on-accent);
    }
    """
    assert minified_stylesheet(sheet) == (
        '.a :hover>.b,.c::before{content:"a  ;  b /* c */";margin:0 auto}'
        "@media (min-width:40rem) and (hover:hover){.d:not(#_) .e{inline-size:calc(1px + 2vw)}}"
        ".f{color:var(--consent-on-accent,red)}"
    )


def test_the_stylesheets_use_the_names_of_one() -> None:
    """And none is left in what is served."""
    for file in Banner(Policy()).static.values():
        assert b"--c-" not in file.content
    own = minified_stylesheet(".a { color: var(--c-x); }", names=".b {\n  --c-x: red;\n}")
    assert own == ".a{color:red}"


def test_the_sources_are_there() -> None:
    """The files of one block."""
    assert set(UNIFORM_SOURCES) <= {path.name for path in asset_dir("static").iterdir()}
