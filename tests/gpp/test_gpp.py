"""What ``__gpp`` is made to answer: by place, regime, choice and signal; the script and the tag that it comes by."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from consent import ConfigurationError, ConsentMiddleware, Policy, load_catalog, load_policy
from consent.catalog import Vendor
from consent.categories import OPTIONAL, Category
from consent.choice import BrowserSignal, Choice
from consent.cli import main
from consent.decision import Decision, decide
from consent.gpp import GppScript, content, section_at, sections_of
from consent.gpp_string import decode, encode, sections
from consent.policy import CacheMode, Gpp, GppMspa, Interfaces, Regime, Rule, Whereabouts
from consent.receipts import Artefact, Receipt
from consent.signals import ChoiceState, Signals
from tests.exchange import HTML, Answer, answering, ask

TARGETING = frozenset({Category.TARGETING})
PAGE = b"<html><head><title>A page</title></head><body>x</body></html>"
CALIFORNIA = Policy(
    regime=Regime.OPT_OUT, jurisdiction="US-CA", interfaces=Interfaces(gpp=Gpp.BY_STATE), language="en"
)
CRITEO = load_catalog().vendors["criteo"]
TAG = re.compile(rb'<script src="/_consent/static/(gpp\.[0-9a-f]{16}\.js)" data-state="(\d)"( data-asks)?')


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


class Receipts:
    """A store that keeps nothing."""

    async def append(self, receipt: Receipt, artefacts: Iterable[Artefact] = ()) -> None:
        """It is forgotten."""

    async def aclose(self) -> None:
        """Nothing is open."""


def deciding(
    policy: Policy, *granted: Category, gpc: bool = False, told: bool = False, **vendors: bool
) -> Decision:
    """The decision for somebody who chose."""
    choice = Choice(
        receipt_id="1f0c6e7e-3c58-4b6e-8f9f-0d3f5d7c2a10",
        subject="0" * 32,
        made_at=1,
        policy_version=policy.version,
        granted=frozenset(granted),
        vendors=vendors,
        told=frozenset({BrowserSignal.GPC} if told else ()),
    )
    return decide(policy, Signals(choice=choice, choice_state=ChoiceState.VALID, gpc=gpc, dnt=None))


def core_of(
    section: str, policy: Policy = CALIFORNIA, mspa: GppMspa = GppMspa.NO, *, opted_out: bool = False
) -> dict[str, Any]:
    return dict(content(policy, mspa, section, opted_out=opted_out, gpc=False)[section][0])


def answers(script: GppScript) -> tuple[str, list[str], dict[str, Any], list[dict[str, Any]]]:
    """What the script can answer: section, vendors, what does not change, and the states."""
    (text,) = re.findall(r'JSON\.parse\(("\[.*?\]")\)', script.file.content.decode())
    section, vendors, always, states = json.loads(json.loads(text))
    return section, vendors, json.loads(always), [json.loads(state) for state in states]


# ---- which section


@pytest.mark.parametrize(
    ("place", "by_state", "national"),
    [
        ("US-CA", "usca", "usnat"),
        ("US-MN", "usmn", "usnat"),
        ("US-NY", "usnat", "usnat"),
        ("US", "usnat", "usnat"),
        ("", "", ""),
        ("FR", "", ""),
        ("CA", "", ""),
        ("CA-QC", "", ""),
        ("UM", "", ""),
    ],
)
def test_the_section_is_that_of_the_place(place: str, by_state: str, national: str) -> None:
    """Of a state that has one, or that of the US; for others, and where nobody knows, none applies."""
    assert section_at(Gpp.BY_STATE, place) == by_state
    assert section_at(Gpp.NATIONAL, place) == national
    assert section_at(Gpp.OFF, place) == ""


def test_all_that_can_come_of_it_is_known() -> None:
    assert sections_of(Gpp.OFF) == ("",)
    assert sections_of(Gpp.NATIONAL) == ("", "usnat")
    assert sections_of(Gpp.BY_STATE) == ("", *sections())


# ---- what is said


@pytest.mark.parametrize(
    ("policy", "opted_out", "notice", "out"),
    [
        (CALIFORNIA, False, 1, 2),
        (CALIFORNIA, True, 1, 1),
        (Policy(regime=Regime.OPT_IN), False, 1, 2),
        (Policy(regime=Regime.OPT_IN), True, 1, 1),
        # Nobody is shown how to opt out: that they did not says nothing.
        (Policy(regime=Regime.NOTICE), False, 2, 0),
        (Policy(regime=Regime.NOTICE), True, 2, 1),
        (Policy(regime=Regime.OPT_OUT, opt_out_refuses=frozenset()), False, 2, 0),
        (Policy(regime=Regime.OPT_OUT, children=True), True, 0, 1),
    ],
)
def test_notices_are_what_the_page_shows_and_outs_what_holds(
    policy: Policy, opted_out: bool, notice: int, out: int
) -> None:
    """Sale, sharing and targeted advertising alike, under every section."""
    for section in sections():
        core = core_of(section, policy, opted_out=opted_out)
        named = {name: value for name, value in core.items() if "OptOut" in name and "Mspa" not in name}
        assert {name for name in named if name.startswith(("Sale", "Targeted"))} >= {"SaleOptOutNotice"}
        for name, value in named.items():
            wanted = notice if name.endswith("Notice") else out
            assert value == (0 if name.startswith("Sensitive") else wanted), (section, name)
        told = [core[name] for name in ("SharingNotice", "ProcessingNotice") if name in core]
        assert told == ([] if section == "usca" else [1])


@pytest.mark.parametrize(("children", "consents"), [(False, 0), (True, 1)])
def test_of_children_no_consent_is_claimed(children: bool, consents: int) -> None:
    """On a site for children every field about them says that there is none."""
    policy = Policy(children=children)
    found = {
        section: core_of(section, policy, opted_out=True).get("KnownChildSensitiveDataConsents")
        for section in sections()
    }
    assert found["usnat"] == [consents] * 3
    assert found["usnj"] == [consents] * 5
    assert found["usva"] == consents
    assert found["usmd"] is None


@pytest.mark.parametrize(
    ("mspa", "covered", "option", "provider", "mode"),
    [
        (GppMspa.NO, 2, 0, 0, 0),
        (GppMspa.OPT_OUT_OPTION, 1, 1, 2, 1),
        (GppMspa.SERVICE_PROVIDER, 1, 2, 1, 2),
    ],
)
def test_the_agreement_is_claimed_where_the_site_says_so(
    mspa: GppMspa, covered: int, option: int, provider: int, mode: int
) -> None:
    for section in sections():
        core = core_of(section, mspa=mspa)
        assert core["MspaCoveredTransaction"] == covered
        if "MspaMode" in core:
            assert core["MspaMode"] == mode
        else:
            assert (core["MspaOptOutOptionMode"], core["MspaServiceProviderMode"]) == (option, provider)


def test_of_what_is_not_asked_nothing_is_said() -> None:
    """Sensitive data, and processing beyond what was told."""
    for section in sections():
        for name, value in core_of(section).items():
            if name.startswith(("Sensitive", "PersonalData", "Additional")):
                assert value == (0 if isinstance(value, int) else [0] * len(value))


# ---- the script


def test_the_script_has_every_answer() -> None:
    """One for each state, each with its string and what is in it."""
    script = GppScript(CALIFORNIA, CALIFORNIA, "usca")
    section, vendors, always, states = answers(script)
    assert (section, vendors) == ("usca", [])
    assert always == {
        "supportedAPIs": [f"{each.id}:{each.name}" for each in sections().values()],
        "cmpId": 1,
        "sectionList": [8],
        "applicableSections": [8],
    }
    assert [state["gppString"] for state in states] == [
        "DBABBg~BUoAAACA.QA",
        "DBABBg~BUUAAACA.QA",
        "DBABBg~BUoAAACA.YA",
        "DBABBg~BUUAAACA.YA",
    ]
    for state in states:
        assert decode(state["gppString"]) == state["parsedSections"]
    national = GppScript(
        Policy(jurisdiction="US", interfaces=Interfaces(gpp=Gpp.NATIONAL)), CALIFORNIA, "usnat"
    )
    assert answers(national)[2]["supportedAPIs"] == ["7:usnat"]


def test_where_no_section_applies_the_script_says_so() -> None:
    script = GppScript(CALIFORNIA, CALIFORNIA, "")
    section, _, always, states = answers(script)
    assert section == ""
    assert always["applicableSections"] == [-1]
    assert always["sectionList"] == []
    assert states == [{"gppString": encode({}), "parsedSections": {}}] * 4


def test_the_tag_says_which_answer_holds() -> None:
    """By what comes of choice and signal: also of a single vendor that the visitor is told of, and refuses."""
    policy = Policy(
        regime=Regime.OPT_OUT,
        jurisdiction="US-CA",
        interfaces=Interfaces(gpp=Gpp.BY_STATE),
        vendors=(CRITEO,),
    )
    script = GppScript(policy, policy, "usca")
    assert answers(script)[1] == ["criteo"]
    for decision, state in (
        (decide(policy, Signals()), 0),
        (decide(policy, Signals(gpc=True)), 3),
        (deciding(policy), 1),
        (deciding(policy, *OPTIONAL), 0),
        (deciding(policy, Category.PERFORMANCE), 1),
        (deciding(policy, *OPTIONAL, criteo=False), 1),
        (deciding(policy, criteo=True), 1),
        (deciding(policy, *OPTIONAL, gpc=True), 3),
        # Told of the signal, the visitor said yes all the same.
        (deciding(policy, *OPTIONAL, gpc=True, told=True), 2),
    ):
        assert script.state(decision) == state
        tag = f'<script src="{script.url}" data-state="{state}"'
        assert script.markup(decision, nonce=None).decode() == tag + "></script>"
        assert script.markup(decision, nonce='r"4').decode() == tag + ' nonce="r&#34;4"></script>'
    asking = Policy(jurisdiction="US-VA", interfaces=Interfaces(gpp=Gpp.BY_STATE))
    markup = GppScript(asking, asking, "usva").markup(decide(asking, Signals()), nonce=None)
    assert markup.endswith(b' data-state="1" data-asks></script>')


def test_a_signal_that_the_site_does_not_heed_is_told_all_the_same() -> None:
    """It is what the browser sends; that nobody opted out is what holds."""
    policy = Policy(
        regime=Regime.OPT_OUT,
        jurisdiction="US-CA",
        interfaces=Interfaces(gpp=Gpp.BY_STATE),
        gpc_refuses=frozenset(),
    )
    assert GppScript(policy, policy, "usca").state(decide(policy, Signals(gpc=True))) == 2


def test_there_is_no_tcf() -> None:
    """Only registered consent managers may answer for it: no name of it is in anything that pages load."""
    everything = GppScript(CALIFORNIA, CALIFORNIA, "usnat").file.content
    static = Path(__file__).resolve().parents[2] / "static"
    for path in static.rglob("*.*"):
        everything += path.read_bytes()
    assert b"__gpp" in everything
    for name in (b"tcfapi", b"tcfeu", b"uspapi", b"__cmp"):
        assert name not in everything.lower()


# ---- in pages


def mounted(policy: Policy, page: bytes = PAGE, **headers: str) -> ConsentMiddleware:
    more = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return ConsentMiddleware(answering(page, headers=[HTML, *more]), policy=policy, store=Receipts())


def visit(app: ConsentMiddleware, path: str = "/", **headers: str) -> Answer:
    return ask(app, path, headers={name.replace("_", "-"): value for name, value in headers.items()})


def told(app: ConsentMiddleware, **headers: str) -> Mapping[str, Any]:
    """What the page's tag leads to: the answers for who asks so."""
    answer = visit(app, **headers)
    (found,) = TAG.finditer(answer.body)
    name, state = found[1].decode(), int(found[2])
    served = visit(app, f"/_consent/static/{name}", **headers)
    assert served.status == 200
    (text,) = re.findall(r'JSON\.parse\(("\[.*?\]")\)', served.body.decode())
    section, _, always, states = json.loads(json.loads(text))
    return {"section": section, "asks": bool(found[3]), **json.loads(always), **json.loads(states[state])}


def test_it_comes_behind_the_guard_and_before_all_else() -> None:
    """In the head, with the page's nonce; for who allows everything, too."""
    policy = "script-src 'nonce-r4nd0m'"
    body = visit(mounted(CALIFORNIA, content_security_policy=policy)).body
    assert re.match(
        rb'<html><head><script src="/_consent/static/guard\.\w+\.js" data-allowed="pft" nonce="r4nd0m"></script>'
        rb'<script src="/_consent/static/gpp\.\w+\.js" data-state="0" nonce="r4nd0m"></script><title>',
        body,
    )
    app = ConsentMiddleware(answering(PAGE), policy=CALIFORNIA, store=Receipts(), guard=False)
    assert visit(app).body.startswith(b'<html><head><script src="/_consent/static/gpp.')
    assert b"gpp." not in visit(mounted(Policy(regime=Regime.OPT_OUT, jurisdiction="US-CA"))).body


def test_each_visitor_is_told_of_their_own_place() -> None:
    """Under the regime there, by a trusted proxy's word."""
    where = Whereabouts(country_header="CF-IPCountry", region_header="CF-Region-Code")
    app = mounted(Policy(jurisdictions=where, interfaces=Interfaces(gpp=Gpp.BY_STATE), language="en"))
    found = told(app, cf_ipcountry="US", cf_region_code="CA")
    assert (found["applicableSections"], found["asks"]) == ([8], False)
    assert found["parsedSections"]["usca"][0]["SaleOptOut"] == 2
    found = told(app, cf_ipcountry="US", cf_region_code="CO", sec_gpc="1")
    core, gpc = found["parsedSections"]["usco"]
    assert (core["SaleOptOut"], core["TargetedAdvertisingOptOut"], gpc["Gpc"]) == (1, 1, True)
    # In Virginia nothing binds to more than an opt-out by hand, and the strictest rule holds.
    found = told(app, cf_ipcountry="US", cf_region_code="VA")
    assert (found["section"], found["asks"]) == ("usva", True)
    assert found["parsedSections"]["usva"][0]["SaleOptOut"] == 1
    found = told(app, cf_ipcountry="US", cf_region_code="NY")
    assert (found["section"], found["applicableSections"]) == ("usnat", [7])
    assert told(app, cf_ipcountry="US")["section"] == "usnat"
    for elsewhere in ({"cf_ipcountry": "FR"}, {}):
        found = told(app, **elsewhere)
        assert (found["applicableSections"], found["gppString"]) == ([-1], "DBAA")


def test_pages_with_other_answers_are_other_pages() -> None:
    """What a browser kept of before the setting was changed is not confirmed."""
    tags = {
        dict(
            visit(
                mounted(replace(CALIFORNIA, interfaces=replace(CALIFORNIA.interfaces, **change)), etag='"1"')
            ).headers
        )[b"etag"]
        for change in ({}, {"gpp": Gpp.NATIONAL}, {"gpp_mspa": GppMspa.OPT_OUT_OPTION}, {"gpp": Gpp.OFF})
    }
    assert len(tags) == 4


def test_in_one_page_for_everybody_nobody_is_told_apart() -> None:
    """By the server; it is told to the browser that nothing is known, which is the same as opted out."""
    uniform = mounted(
        Policy(
            regime=Regime.OPT_OUT,
            jurisdiction="US-CA",
            interfaces=Interfaces(gpp=Gpp.BY_STATE),
            cache=CacheMode.UNIFORM,
            language="en",
        )
    )
    bodies = {visit(uniform, **headers).body for headers in ({}, {"sec_gpc": "1"}, {"dnt": "1"})}
    assert len(bodies) == 1
    assert TAG.findall(bodies.pop())[0][1:] == (b"1", b"")


def test_a_cache_keeps_one_page_for_each_answer() -> None:
    """In the mode ``variant``, under the key that says so."""
    app = mounted(replace(CALIFORNIA, cache=CacheMode.VARIANT), cache_control="public, max-age=60")
    for key, signals, state in (("none:", {}, b"0"), ("none:g", {"sec_gpc": "1"}, b"3")):
        answer = visit(app, consent_variant=key, **signals)
        assert dict(answer.headers)[b"cache-control"] == b"public, max-age=0, s-maxage=60"
        assert TAG.findall(answer.body)[0][1:] == (state, b"")


def test_a_part_of_the_site_has_what_its_own_policy_says() -> None:
    """Another host may have none; what differs below a path is no part of it."""
    other = Policy(regime=Regime.OPT_OUT, jurisdiction="US-CA", language="en")
    rules = (Rule(policy=other, hosts=("other.example",)),)
    app = mounted(
        Policy(
            regime=Regime.OPT_OUT,
            jurisdiction="US-CA",
            interfaces=Interfaces(gpp=Gpp.BY_STATE),
            language="en",
            rules=rules,
        )
    )
    assert TAG.search(visit(app, host="own.example").body)
    assert not TAG.search(visit(app, host="other.example").body)


# ---- the setting


def written(tmp_path: Path, text: str) -> Policy:
    path = tmp_path / "consent.toml"
    path.write_text(text)
    return load_policy(path, load_catalog())[0]


def test_it_is_set_in_the_policy_file(tmp_path: Path) -> None:
    policy = written(
        tmp_path, 'jurisdiction = "US"\n[interfaces]\ngpp = "national"\ngpp_mspa = "service-provider"\n'
    )
    assert policy.interfaces == Interfaces(gpp=Gpp.NATIONAL, gpp_mspa=GppMspa.SERVICE_PROVIDER)
    assert Policy().interfaces == Interfaces(gpp=Gpp.OFF, gpp_mspa=GppMspa.NO)
    # Nothing that a visitor consented to.
    assert policy.version == written(tmp_path, 'jurisdiction = "US"\n').version


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        (
            '[interfaces]\ngpp = "by-state"\n',
            "2 [interfaces.gpp]: its sections are about the United States, where nobody is by this policy: set "
            '"jurisdiction" to "US" or a state such as "US-CA", or say in "jurisdictions" where visitors are',
        ),
        (
            'jurisdiction = "EU"\n[interfaces]\ngpp = "by-state"\n',
            "3 [interfaces.gpp]: its sections are about the United States",
        ),
        (
            '[interfaces]\ngpp = "by-state"\n[jurisdictions]\neverybody = "FR"\n',
            "2 [interfaces.gpp]: its sections are about the United States",
        ),
        (
            "[interfaces]\ngpp = true\n",
            "2 [interfaces.gpp]: must be a text in quotes, not true or false",
        ),
        (
            '[interfaces]\ngpp = "state"\n',
            '2 [interfaces.gpp]: must be one of "off", "by-state", "national"',
        ),
        (
            'jurisdiction = "US"\n[interfaces]\ngpp = "by-state"\ngpp_mspa = "yes"\n',
            '4 [interfaces.gpp_mspa]: must be one of "no", "opt-out-option", "service-provider"',
        ),
        (
            '[interfaces]\ngpp_mspa = "opt-out-option"\n',
            '2 [interfaces.gpp_mspa]: "gpp_mspa" is nothing without "gpp": set that to "by-state" or "national"',
        ),
        ('gpp = "off"\n', "1 [gpp]: this key does not belong here: move it below [interfaces]"),
        ("[interfaces]\ntcf = true\n", "2 [interfaces.tcf]: unknown key"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(tmp_path: Path, text: str, wrong: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        written(tmp_path, text)
    assert str(caught.value).startswith(f"{tmp_path / 'consent.toml'}:{wrong}")


def test_wherever_visitors_may_be_in_the_us_it_can_be_set() -> None:
    for where in (Whereabouts(country_header="X-Country"), Whereabouts(everybody="US-TX")):
        assert (
            Policy(jurisdictions=where, interfaces=Interfaces(gpp=Gpp.BY_STATE)).interfaces.gpp
            is Gpp.BY_STATE
        )


def test_only_vendors_for_targeting_are_asked_about() -> None:
    """Whether somebody is counted is no sale."""
    counter: Vendor = load_catalog().vendors["hotjar"]
    policy = Policy(
        regime=Regime.OPT_OUT,
        jurisdiction="US",
        interfaces=Interfaces(gpp=Gpp.NATIONAL),
        vendors=(counter, CRITEO),
    )
    script = GppScript(policy, policy, "usnat")
    assert answers(script)[1] == ["criteo"]
    assert script.state(deciding(policy, *OPTIONAL, hotjar=False)) == 0


# ---- the command


def test_the_command_says_in_words_what_is_in_a_string() -> None:
    """As the documentation shows; with the numbers for scripts."""
    said = CliRunner().invoke(main, ["gpp", "DBABBg~BUUAAACA.YA"])
    assert said.exit_code == 0
    guide = (Path(__file__).resolve().parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")
    assert f"$ consent gpp DBABBg~BUUAAACA.YA\n{said.output}```" in guide
    maryland = content(CALIFORNIA, GppMspa.SERVICE_PROVIDER, "usmd", opted_out=False, gpc=False)
    numbers = CliRunner().invoke(main, ["gpp", "--json", f" {encode(maryland)}\n"])
    assert json.loads(numbers.output) == maryland
    words = CliRunner().invoke(main, ["gpp", encode(maryland)]).output.split("\n")
    assert [line.split(maxsplit=1)[1] for line in words if line.startswith("  ")] == [
        "1", "yes", "Service Provider Mode", "notice was given", "notice was given", "notice was given",
        "did not opt out", "did not opt out", "not applicable", "1", "off",
    ]  # fmt: skip
    assert CliRunner().invoke(main, ["gpp", "DBAA"]).output == "It says that no section applies.\n"


def test_the_command_fails_with_a_reason() -> None:
    for text, wrong in (("DBABBg~BU", "usca ends too early"), ("\x1b[2J", "the header is not in base64url")):
        said = CliRunner().invoke(main, ["gpp", text])
        assert (said.exit_code, said.output) == (2, f"Error: {wrong}\n")
