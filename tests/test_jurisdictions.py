"""Which regime a visitor is under: by the place that they are in, from the day on which its rule is in force."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from starlette.types import ASGIApp

from consent import ConfigurationError, ConsentMiddleware, Policy, load_catalog, load_policy
from consent.categories import OPTIONAL, Category
from consent.choice import BrowserSignal
from consent.cli import main
from consent.jurisdictions import STRICTEST, Treatment, place_rules, rule_in_force, treatment, treatments
from consent.policy import CacheMode, Regime, Rule, Unclassified, Whereabouts
from consent.receipts import Artefact, Receipt
from consent.whereabouts import locating
from tests.exchange import Answer, answering, ask, scope_for
from tests.places import database

T = frozenset({Category.TARGETING})
TODAY = date(2026, 11, 26)
NOW = datetime(2026, 11, 26, 12, tzinfo=UTC).timestamp()
TAG = b'<script src="https://connect.facebook.net/en_US/fbevents.js"></script>'
BUTTON = b"Do not sell or share"
BANNER = b'class="consent-banner"'
BY_HEADER = Whereabouts(country_header="CF-IPCountry", region_header="CF-Region-Code")
GPC_SINCE = {
    "US-CA": date(2023, 3, 29),
    "US-CO": date(2024, 7, 1),
    "US-CT": date(2025, 1, 1),
    "US-DE": date(2026, 1, 1),
    "US-MD": date(2025, 10, 1),
    "US-MN": date(2025, 7, 31),
    "US-MT": date(2025, 1, 1),
    "US-NE": date(2025, 1, 1),
    "US-NH": date(2025, 1, 1),
    "US-NJ": date(2025, 7, 15),
    "US-OR": date(2026, 1, 1),
    "US-TX": date(2025, 1, 1),
}


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


class Receipts:
    """A store that keeps them."""

    def __init__(self) -> None:
        self.kept: list[Receipt] = []

    async def append(self, receipt: Receipt, artefacts: Iterable[Artefact] = ()) -> None:
        self.kept.append(receipt)

    async def aclose(self) -> None:
        """Nothing is open."""


class Clock:
    now = NOW

    def __call__(self) -> float:
        return self.now


def site(
    whereabouts: Whereabouts = BY_HEADER,
    *,
    clock: Clock | None = None,
    app: ASGIApp | None = None,
    **policy: Any,
) -> tuple[ConsentMiddleware, Receipts]:
    store = Receipts()
    page = app or answering(b"<html><head>" + TAG + b"</head><body>x</body></html>")
    made = Policy(language="en", jurisdictions=whereabouts, **policy)
    return ConsentMiddleware(page, policy=made, store=store, clock=clock or Clock()), store


def from_(country: str, region: str = "", **headers: str) -> dict[str, str]:
    place = {"cf-ipcountry": country} | ({"cf-region-code": region} if region else {})
    return {**place, **{name.replace("_", "-"): value for name, value in headers.items()}}


# ---- the rules


def test_every_rule_is_whole() -> None:
    """Codes, a name, a law, where it is published, a day; never two for the same place and day."""
    seen = set()
    for rule in place_rules():
        for place in rule.places:
            assert re.fullmatch(r"[A-Z]{2}(-[A-Z]{2})?", place)
            assert (place, rule.since) not in seen
            seen.add((place, rule.since))
        assert rule.name
        assert rule.law
        assert re.fullmatch(r"https://[a-z0-9.-]+/\S+", rule.source)
        assert date(2000, 1, 1) < rule.since <= TODAY
        assert rule.treatment.refuses
        assert rule.treatment.refuses <= set(OPTIONAL)
        assert not rule.treatment.signals or rule.treatment.regime is Regime.OPT_OUT


@pytest.mark.parametrize(("place", "since"), GPC_SINCE.items())
def test_a_state_binds_to_the_signal_from_its_day_on(place: str, since: date) -> None:
    """The day before, opting out is by hand, or there is no rule yet."""
    rule = rule_in_force(place, since)
    assert rule is not None
    assert rule.since == since
    assert rule.treatment == Treatment(Regime.OPT_OUT, T, frozenset({BrowserSignal.GPC}))
    assert rule_in_force(place, TODAY) == rule
    before = rule_in_force(place, since - timedelta(days=1))
    assert before is None or (
        before.treatment.signals == frozenset() and before.treatment.regime is Regime.OPT_OUT
    )


def test_no_other_place_binds_to_a_signal() -> None:
    found = {place for rule in place_rules() if rule.treatment.signals for place in rule.places}
    assert found == set(GPC_SINCE)


@pytest.mark.parametrize(
    ("place", "on", "regime"),
    [
        ("FR", TODAY, Regime.OPT_IN),
        ("NO", TODAY, Regime.OPT_IN),
        ("EU", TODAY, Regime.OPT_IN),
        ("FR-IDF", TODAY, Regime.OPT_IN),
        ("GB", TODAY, Regime.OPT_IN),
        ("GB-SCT", TODAY, Regime.OPT_IN),
        ("CH", TODAY, Regime.NOTICE),
        ("CH-ZH", TODAY, Regime.NOTICE),
        ("BR", TODAY, Regime.OPT_IN),
        ("CA-QC", TODAY, Regime.OPT_IN),
        ("CA-QC", date(2023, 9, 21), None),
        ("CA", TODAY, None),
        ("US", TODAY, None),
        ("US-VA", TODAY, None),
        ("US-CA", TODAY, Regime.OPT_OUT),
        ("US-CA", date(2019, 12, 31), None),
        ("US-CA", date(2020, 1, 1), Regime.OPT_OUT),
        ("JP", TODAY, None),
        ("", TODAY, None),
    ],
)
def test_the_rule_of_a_place_on_a_day(place: str, on: date, regime: Regime | None) -> None:
    """A part of a country has its own, or else the country's; where there is none the strictest holds."""
    rule = rule_in_force(place, on)
    assert (rule and rule.treatment.regime) == regime
    assert treatment(place, on, BY_HEADER) == (rule.treatment if rule else STRICTEST)


def test_a_site_can_have_regimes_of_its_own() -> None:
    """For a country and its parts, or for one of these."""
    where = Whereabouts(everybody="US", regimes={"US": Regime.OPT_OUT, "US-CA": Regime.OPT_IN})
    assert treatment("US-VA", TODAY, where) == Treatment(Regime.OPT_OUT)
    assert treatment("US-CA", TODAY, where) == Treatment(Regime.OPT_IN)
    assert treatment("FR", TODAY, where).regime is Regime.OPT_IN
    assert {Treatment(Regime.OPT_OUT), Treatment(Regime.OPT_IN), STRICTEST} <= set(treatments(where))


def test_a_place_asks_for_more_never_for_less() -> None:
    """What the policy lets a signal refuse is refused everywhere, and what a law binds to, whatever the policy says."""
    own = Policy(
        jurisdictions=BY_HEADER, gpc_refuses=frozenset({Category.PERFORMANCE}), dnt_refuses=frozenset()
    )
    bound = Treatment(Regime.OPT_OUT, T, frozenset({BrowserSignal.GPC})).of(own)
    assert bound.gpc_refuses == {Category.PERFORMANCE, Category.TARGETING}
    assert (bound.regime, bound.opt_out_refuses, bound.dnt_refuses) == (Regime.OPT_OUT, T, frozenset())
    assert STRICTEST.of(own).gpc_refuses == {Category.PERFORMANCE}
    assert bound.version != STRICTEST.of(own).version


def test_sections_of_a_site_are_treated_alike() -> None:
    own = Policy(jurisdictions=BY_HEADER)
    strict = Policy(jurisdictions=BY_HEADER, unclassified=Unclassified.STRIP)
    other = Policy(controller="Another")
    rules = (Rule(policy=strict, paths=("/a/",)), Rule(policy=other, hosts=("b.example",)))
    treated = Treatment(Regime.NOTICE).of(Policy(jurisdictions=BY_HEADER, rules=rules))
    assert own.jurisdictions is not None
    assert [rule.policy.regime for rule in treated.rules] == [Regime.NOTICE, Regime.OPT_IN]
    assert treated.has_section(treated.rules[0].policy)


# ---- where a visitor is


@pytest.mark.parametrize(
    ("headers", "place"),
    [
        ({"CF-IPCountry": "FR"}, "FR"),
        ({"cf-ipcountry": " us ", "CF-Region-Code": "ca"}, "US-CA"),
        ({"CF-IPCountry": "US-CA"}, "US-CA"),
        ({"CF-IPCountry": "US-CA", "CF-Region-Code": "TX"}, "US-CA"),
        ({"CF-IPCountry": "US", "CF-Region-Code": "California"}, "US"),
        ({"CF-IPCountry": "US", "CF-Region-Code": ""}, "US"),
        ({"CF-Region-Code": "CA"}, ""),
        ({"CF-IPCountry": ""}, ""),
        ({"CF-IPCountry": "France"}, ""),
        ({"CF-IPCountry": "FR, US"}, ""),
        ({"CF-IPCountry": "F\xc9"}, ""),
        ({"X-Country": "US", "X-Forwarded-For": "8.8.8.8"}, ""),
        ({}, ""),
    ],
)
def test_only_the_named_fields_are_believed(headers: Mapping[str, str], place: str) -> None:
    """And only what looks like a code."""
    assert locating(BY_HEADER)(scope_for(headers=headers)) == place


def test_who_says_two_things_says_nothing() -> None:
    headers = [(b"cf-ipcountry", b"US-CA"), (b"cf-ipcountry", b"US-CA")]
    assert locating(BY_HEADER)(scope_for(headers=headers)) == ""


RECORD = {"country": {"iso_code": "US"}, "subdivisions": [{"iso_code": "CA"}]}


@pytest.mark.parametrize(
    ("client", "place"),
    [
        (("8.8.8.8", 1), "US-CA"),
        (("::ffff:8.8.8.8", 1), "US-CA"),
        (("9.9.9.9", 1), "CH"),
        (("1.1.1.1", 1), ""),
        (("5.5.5.5", 1), ""),
        (("10.0.0.1", 1), ""),
        (("127.0.0.1", 1), ""),
        (("2001:4860::1", 1), ""),
        (("testclient", 1), ""),
        (None, ""),
    ],
)
def test_an_address_is_looked_up(client: object, place: str, tmp_path: Path) -> None:
    """The one that the server says; of header fields none, and none that is not of the public internet."""
    path = tmp_path / "places.mmdb"
    networks = {
        "8.0.0.0/8": RECORD,
        "9.0.0.0/8": {"country": {"iso_code": "CH"}},
        "5.0.0.0/8": {"continent": {}},
    }
    path.write_bytes(database({**networks, "10.0.0.0/8": RECORD, "127.0.0.0/8": RECORD}))
    locate = locating(Whereabouts(database=str(path)))
    path.unlink()
    assert locate(scope_for(client=client, headers={"x-forwarded-for": "9.9.9.9"})) == place


def test_a_database_that_cannot_be_read_stops_the_start(tmp_path: Path) -> None:
    path = tmp_path / "places.mmdb"
    with pytest.raises(ConfigurationError, match=r"places.mmdb cannot be read as a MaxMind database"):
        locating(Whereabouts(database=str(path)))
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(ConfigurationError, match=r"places.mmdb cannot be read as a MaxMind database"):
        locating(Whereabouts(database=str(path)))


# ---- pages


def test_each_visitor_is_under_the_regime_of_their_place() -> None:
    """Asked, or offered to opt out; from nowhere is the strictest. Caches are told what tells them apart."""
    app, _ = site()
    vary = "Cookie, Sec-GPC, DNT, Sec-Fetch-Dest, HX-Request, Turbo-Frame, X-Up-Version, X-Requested-With"
    for headers, asked, allowed, offered in (
        (from_("FR"), True, False, False),
        (from_("US", "CA"), False, True, True),
        (from_("US", "CA", sec_gpc="1"), False, False, False),
        (from_("US", "VA"), True, False, False),
        (from_("CH"), False, True, False),
        (from_("XX"), True, False, False),
        ({}, True, False, False),
    ):
        answer = ask(app, headers=headers)
        assert (BANNER in answer.body, TAG in answer.body, BUTTON in answer.body) == (asked, allowed, offered)
        assert answer.header("vary") == f"{vary}, CF-IPCountry, CF-Region-Code"
    assert json.loads(ask(app, "/.well-known/gpc.json", headers=from_("CH")).body)["gpc"] is True
    assert ask(app, "/.well-known/gpc.json").header("vary") is None


def test_the_signal_is_supported_for_everybody_where_some_law_binds_to_it() -> None:
    """The resource is the same for every requester."""
    app, _ = site(gpc_refuses=frozenset())
    answers = {ask(app, "/.well-known/gpc.json", headers=headers).body for headers in ({}, from_("US", "CA"))}
    assert [json.loads(answer)["gpc"] for answer in answers] == [True]
    assert TAG in ask(app, headers=from_("CH", sec_gpc="1")).body
    assert TAG not in ask(app, headers=from_("US", "CA", sec_gpc="1")).body


def test_a_rule_begins_to_count_on_its_day_without_a_restart() -> None:
    clock = Clock()
    app, _ = site(clock=clock, gpc_refuses=frozenset())
    clock.now = datetime(2025, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp()
    assert TAG in ask(app, headers=from_("US", "OR", sec_gpc="1")).body
    clock.now += 1
    assert TAG not in ask(app, headers=from_("US", "OR", sec_gpc="1")).body


def test_a_no_goes_along_to_another_place() -> None:
    """And a yes does not: there it is asked for anew, or not needed."""
    app, store = site()
    said = {"sec-fetch-site": "same-origin", "content-type": "application/json"}
    for answer, there, back in (({"action": "refuse"}, False, False), ({"action": "accept"}, False, True)):
        choice = post(app, answer, {**from_("US", "CA"), **said})
        cookie = choice.all("set-cookie")[0].partition(";")[0]
        abroad = ask(app, headers={**from_("FR"), "cookie": cookie})
        assert (TAG in abroad.body, BANNER in abroad.body) == (there, True)
        assert (TAG in ask(app, headers={**from_("US", "CA"), "cookie": cookie}).body) is back
    assert [(receipt.jurisdiction, receipt.regime) for receipt in store.kept] == [
        ("US-CA", Regime.OPT_OUT)
    ] * 2
    post(app, {"action": "refuse"}, {**from_("XX-1"), **said})
    post(app, {"action": "refuse"}, said)
    assert [(r.jurisdiction, r.regime) for r in store.kept[2:]] == [
        ("XX-1", Regime.OPT_IN),
        ("", Regime.OPT_IN),
    ]


def post(app: ASGIApp, content: object, headers: Mapping[str, str]) -> Answer:
    body = json.dumps(content).encode()

    async def posted(scope: Any, receive: Any, send: Any) -> None:
        async def given() -> Any:
            return {"type": "http.request", "body": body}

        await app(scope, given, send)

    return ask(posted, "/_consent/choice", method="POST", headers=headers)


@pytest.mark.parametrize("cache", [CacheMode.VARIANT, CacheMode.UNIFORM])
def test_no_cache_gives_a_page_of_one_place_to_another(cache: CacheMode) -> None:
    """Public pages name the fields, too; another regime makes another page, another tag and another validator."""
    page = answering(
        b"<html><head>" + TAG + b"</head><body>x</body></html>",
        headers=[
            (b"content-type", b"text/html"),
            (b"cache-control", b"public, max-age=60"),
            (b"etag", b'"1"'),
        ],
    )
    app, _ = site(app=page, cache=cache)
    key = {"consent-variant": "none:"}
    there, here = (ask(app, headers={**from_(*place), **key}) for place in (("FR",), ("US", "CA")))
    for answer in (there, here):
        assert "private" not in (answer.header("cache-control") or "")
        assert "CF-IPCountry, CF-Region-Code" in (answer.header("vary") or "")
    assert there.body != here.body
    assert there.header("etag") != here.header("etag")
    image = answering(b"x", headers=[(b"content-type", b"image/png")])
    assert ask(site(app=image, cache=cache)[0], headers=from_("FR")).header("vary") is None


def test_the_place_can_be_the_site_s_word() -> None:
    """Then nothing is looked at, and pages vary by nothing more."""
    app, _ = site(Whereabouts(everybody="US-CA"))
    answer = ask(app, headers=from_("FR"))
    assert (TAG in answer.body, BUTTON in answer.body) == (True, True)
    assert "CF-IPCountry" not in (answer.header("vary") or "")


# ---- the policy


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[jurisdictions]", 'must have exactly one of "country_header", "database" and "everybody"'),
        ('[jurisdictions]\ncountry_header = "X-C"\neverybody = "FR"', "must have exactly one of"),
        ('[jurisdictions]\ncountry_header = "X C"', '"country_header" must be the name of a request field'),
        ('[jurisdictions]\neverybody = "FR"\nregion_header = "X-R"', 'name the "country_header", too'),
        ('[jurisdictions]\ncountry_header = "X-C"\nregion_header = "x-c"', "is the same field"),
        ('[jurisdictions]\neverybody = "France"', "must be a code such as"),
        ('[jurisdictions]\ncontry_header = "X-C"', 'did you mean "country_header"?'),
        ('[jurisdictions]\neverybody = "US"\nregimes = { US = "opt" }', "there is no such regime"),
        ('[jurisdictions]\neverybody = "US"\nregimes = { usa = "opt-in" }', "must be a code such as"),
        ('[jurisdictions]\neverybody = "US"\nregimes = ["US"]', '"regimes" must be a table'),
        ('regime = "opt-out"\n[jurisdictions]\neverybody = "US"', 'remove "regime" and "jurisdiction"'),
        ('jurisdiction = "US"\n[jurisdictions]\neverybody = "US"', 'remove "regime" and "jurisdiction"'),
        ('[jurisdictions]\ndatabase = "a.mmdb"\n[enforcement]\ncache = "variant"', 'use a "country_header"'),
    ],
)
def test_a_mistake_in_the_policy_is_told(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "consent.toml"
    path.write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        load_policy(path, load_catalog())
    assert message in str(caught.value)
    assert caught.value.key == "jurisdictions"


def test_the_database_is_beside_the_policy_file(tmp_path: Path) -> None:
    path = tmp_path / "consent.toml"
    path.write_text('[jurisdictions]\ndatabase = "places.mmdb"\nregimes = { US = "opt-out" }')
    policy, _ = load_policy(path, load_catalog())
    assert policy.jurisdictions == Whereabouts(
        database=str(tmp_path / "places.mmdb"), regimes={"US": Regime.OPT_OUT}
    )


# ---- the command


def test_the_command_says_which_regime_holds_where(tmp_path: Path) -> None:
    run = CliRunner().invoke(main, ["policy", "regimes", "US-CO", "US-VA", "--on", "2024-01-01"])
    assert run.output.splitlines() == [
        "US-CO: opt-out (Colorado), since 2023-07-01",
        "  an opt-out covers targeting",
        "  Colorado Privacy Act, C.R.S. section 6-1-1306",
        "  https://coag.gov/resources/colorado-privacy-act/",
        "  changes on 2024-07-01",
        "US-VA: opt-in, since there is no rule",
    ]
    path = tmp_path / "consent.toml"
    path.write_text('[jurisdictions]\neverybody = "US"\nregimes = { US-VA = "opt-out" }')
    run = CliRunner().invoke(main, ["policy", "regimes", "US-VA", "--policy", str(path)])
    assert run.output == "US-VA: opt-out, as the policy has it\n"
    run = CliRunner().invoke(main, ["policy", "regimes", "--json", "--on", "2026-11-26"])
    told = [json.loads(line) for line in run.output.splitlines()]
    assert {each["place"] for each in told if each["signals"] == ["gpc"]} == set(GPC_SINCE)
    assert len(told) == len({place for rule in place_rules() for place in rule.places})
    assert CliRunner().invoke(main, ["policy", "regimes", "France"]).exit_code == 2
