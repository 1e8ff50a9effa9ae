"""What recorded data mean: the judgement, what is proposed, and the report for people and programs."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from click.testing import CliRunner

from consent.catalog import load_catalog
from consent.cli import main
from consent.cli.scan import print_report
from consent.languages import Languages
from consent.policy_file import _FIELDS, _TOP, load_policy
from consent.scanner import Phase, Recording, judge
from consent.scanner.draft import drafted_policy, starting_policy
from consent.scanner.judging import Report
from consent.scanner.proposals import cookie_stub, lifetime, propose
from consent.scanner.recording import Call, PhaseRecord, Request, StoredCookie, StoredKey, Visit
from consent.scanner.rendering import MAX_ROWS, html_report, json_report, over_phases, summary, verdict
from consent.vendor_stubs import vendor_stub

SITE = "https://www.fernwell.example"
HOSTILE = '"]\n</pre><script src="//evil.example/x.js">\u202e'


def cookie(name: str, *, domain: str = "www.fernwell.example", **given: object) -> StoredCookie:
    values: dict[str, object] = {
        "lifetime_seconds": 30 * 86_400,
        "http_only": False,
        "secure": True,
        "same_site": "Lax",
        "partition": "",
        "page": f"{SITE}/shop",
        "initiator": "",
        **given,
    }
    return StoredCookie(name=name, domain=domain, path="/", **values)  # type: ignore[arg-type]


def request(url: str, kind: str = "script", *pages: str) -> Request:
    return Request(url, kind, "the markup in the page, line 3", [SITE + page for page in pages or ("/",)], 1)


def recorded(*records: PhaseRecord, choice_cookies: tuple[str, ...] = ("consent",)) -> Recording:
    for record in records:
        record.visits = record.visits or [Visit(f"{SITE}/", 200)]
    return Recording(f"{SITE}/", "2026-11-25 21:00", "Chromium 150", 9.5, "", choice_cookies, list(records))


def judged(*records: PhaseRecord, policy: str | None = None, folder: Path | None = None) -> Report:
    catalog = load_catalog()
    if policy is None or folder is None:
        return judge(recorded(*records), catalog)
    path = folder / "site.toml"
    path.write_text(policy)
    loaded, catalog = load_policy(path, catalog)
    return judge(recorded(*records), catalog, loaded)


def test_the_same_request_is_a_leak_or_not_by_the_phase() -> None:
    """Before a choice and after a refusal what needs consent must not be there; after consent it may."""
    tag = "https://www.googletagmanager.com/gtag/js?id=G-1"
    benign = "https://cdn.jsdelivr.net/npm/x.js"
    report = judged(*(PhaseRecord(phase, requests=[request(tag), request(benign)]) for phase in Phase))
    assert [(f.phase, f.kind, f.subject, f.vendor and f.vendor.id, f.pages) for f in report.leaks] == [
        (phase, "script", "www.googletagmanager.com/gtag/js", "google-analytics", ("/",))
        for phase in (Phase.BEFORE, Phase.REFUSED)
    ]
    assert [evidence.vendor.id for evidence in report.vendors] == ["google-analytics", "jsdelivr"]
    assert verdict(report) == "1 tracker acts without consent"


def test_the_policy_says_what_is_allowed_and_declared(tmp_path: Path) -> None:
    """Where silence is consent, only a refusal forbids; vendors and cookies of the site are known."""
    policy = """
regime = "opt-out"
declare = ["hotjar"]
[[cookie]]
name = "fernwell_recent"
purpose = "Reminds you."
lifetime = "30 days"
category = "functional"
"""
    records = [
        PhaseRecord(
            phase,
            requests=[
                request("https://static.hotjar.com/c/hotjar-1.js"),
                request("https://bat.bing.com/bat.js"),
            ],
            cookies=[cookie("fernwell_recent"), cookie("consent")],
        )
        for phase in (Phase.BEFORE, Phase.REFUSED)
    ]
    report = judged(*records, policy=policy, folder=tmp_path)
    assert {(f.phase, f.subject) for f in report.leaks} == {
        (Phase.REFUSED, "static.hotjar.com/c/hotjar-1.js"),
        (Phase.REFUSED, "bat.bing.com/bat.js"),
        (Phase.REFUSED, "fernwell_recent"),
    }
    assert {e.vendor.id: e.declared for e in report.vendors} == {
        "hotjar": True,
        "microsoft-advertising": False,
    }
    assert report.unknown_own == ()


def test_the_rule_about_a_page_says_what_becomes_of_what_nobody_has_explained(tmp_path: Path) -> None:
    """What is to be kept from visitors leaks where it is seen; what is named is explained; all else is listed."""
    policy = """
[[rule]]
paths = ["/in/"]
unclassified = "strip"
[[rule]]
paths = ["/wait"]
unclassified = "hold"
csp_allow = ["named.example/js/"]
"""
    wanted = [
        request("https://odd.example/a.js", "script", "/", "/in/x", "/wait/x"),
        request("https://named.example/js/a.js", "script", "/wait"),
        request("https://named.example/b.js", "script", "/wait"),
    ]
    report = judged(
        *(PhaseRecord(phase, requests=wanted) for phase in (Phase.BEFORE, Phase.ACCEPTED)),
        policy=policy,
        folder=tmp_path,
    )
    assert [(f.phase.value, f.subject, f.pages) for f in report.leaks] == [
        ("before", "odd.example/a.js", ("/in/x", "/wait/x")),
        ("before", "named.example/b.js", ("/wait",)),
        ("accepted", "odd.example/a.js", ("/in/x",)),
    ]
    assert [(f.subject, f.pages) for f in report.findings if f.named] == [
        ("named.example/js/a.js", ("/wait",))
    ] * 2
    assert [finding.host for finding in report.unclassified] == ["odd.example", "named.example"]
    assert verdict(report) == "2 unexplained third parties act without consent"
    assert "odd.example/a.js" in html_report(report)


def test_another_host_has_the_vendors_of_its_own_policy(tmp_path: Path) -> None:
    """Declared there, and described there."""
    (tmp_path / "own.toml").write_text('declare = ["hotjar"]')
    policy = '[[rule]]\nhosts = ["*.fernwell.example"]\npolicy = "own.toml"'
    record = PhaseRecord(Phase.ACCEPTED, requests=[request("https://static.hotjar.com/c/hotjar-1.js")])
    assert [(e.vendor.id, e.declared) for e in judged(record, policy=policy, folder=tmp_path).vendors] == [
        ("hotjar", True)
    ]


def test_cookies_and_keys_are_whose_name_place_or_script_says() -> None:
    """First by name, then by domain, then by the script that wrote it; the rest is the site's own to explain."""
    record = PhaseRecord(
        Phase.BEFORE,
        cookies=[
            cookie("_ga"),
            cookie("fr", domain=".facebook.com", partition=SITE),
            cookie("unheard", domain=".doubleclick.net"),
            cookie("odd", domain=".nobody.example"),
            cookie("odd_own", initiator="static.hotjar.com/c/hotjar-1.js"),
            cookie("basket"),
        ],
        stored=[
            StoredKey(area="local", key="_uetsid", origin=SITE, page=SITE, initiator=""),
            StoredKey(area="indexeddb", key="mine", origin=SITE, page=SITE, initiator=""),
        ],
    )
    report = judged(record)
    assert [(f.subject, f.vendor.id if f.vendor else None) for f in report.findings] == [
        ("_ga", "google-analytics"),
        ("fr", "meta-pixel"),
        ("unheard", "doubleclick"),
        ("odd", None),
        ("odd_own", "hotjar"),
        ("basket", None),
        ("_uetsid", "microsoft-advertising"),
        ("mine", None),
    ]
    assert [f.subject for f in report.unknown_own] == ["basket", "mine"]
    assert [f.subject for f in report.unclassified] == ["odd"]


def test_a_vendors_path_on_the_sites_own_host_is_the_vendors() -> None:
    """A tracker that the site passes on under its own name is one; the site's other files are nobody's."""
    record = PhaseRecord(
        Phase.BEFORE, requests=[request(f"{SITE}/gtag/js?id=G-1"), request(f"{SITE}/site.js")]
    )
    assert [(f.subject, f.leaks) for f in judged(record).findings] == [("www.fernwell.example/gtag/js", True)]


def test_fingerprinting_is_several_techniques_together() -> None:
    """A chart that measures text, and an editor that reads its canvas, are none."""
    tracker, chart = "https://fp.example/fp.js", f"{SITE}/chart.js"
    record = PhaseRecord(
        Phase.BEFORE,
        calls=[
            Call("canvas", tracker, SITE, 2, 1),
            Call("fonts", tracker, SITE, 900, 120),
            Call("canvas", chart, SITE, 40, 1),
            Call("fonts", chart, SITE, 900, 4),
            Call("device", chart, SITE, 1, 1),
        ],
    )
    assert [(f.script, f.likely) for f in judged(record).fingerprinting] == [
        ("fp.example/fp.js", True),
        ("www.fernwell.example/chart.js", False),
    ]


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (None, "session"),
        (0, "1 minute"),
        (1_800, "30 minutes"),
        (86_399, "24 hours"),
        (14 * 86_400 - 1, "14 days"),
        (7_883_999, "91 days"),
        (30 * 86_400, "1 month"),
        (63_072_000, "2 years"),
        (34_559_999, "400 days"),
    ],
)
def test_lifetimes_are_said_in_words(seconds: int | None, said: str) -> None:
    """A second that has passed since does not matter."""
    assert lifetime(seconds) == said


@pytest.fixture
def hostile() -> Report:
    """A site that puts markup, line breaks and hidden characters wherever it can."""
    record = PhaseRecord(
        Phase.BEFORE,
        visits=[Visit(f"{SITE}/{HOSTILE}", 200, HOSTILE)],
        requests=[
            Request(f"https://odd.example/{HOSTILE}", HOSTILE, HOSTILE, [f"{SITE}/{HOSTILE}"], 1),
            request("https://unheard.example/a.js"),
            request("https://bat.bing.com/bat.js"),
        ],
        cookies=[
            cookie(HOSTILE, page=HOSTILE),
            cookie("basket", page=f"{SITE}/{HOSTILE}", initiator=HOSTILE),
        ],
        stored=[StoredKey(area="local", key=HOSTILE * 9, origin=SITE, page=HOSTILE, initiator=HOSTILE)],
        calls=[Call(HOSTILE, f"https://odd.example/{HOSTILE}", HOSTILE, 1, 1)],
        stopped=HOSTILE,
    )
    recording = recorded(record)
    recording.notes.append(HOSTILE)
    return judge(recording, load_catalog())


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.loading: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.loading += [name for name, _ in attrs if name in ("src", "href") or name.startswith("on")]


def test_the_html_report_is_one_file_in_which_nothing_of_the_site_comes_to_life(hostile: Report) -> None:
    """No script, no address, no character that moves words; the same goes for the terminal."""
    page = html_report(hostile)
    reader = _Tags()
    reader.feed(page)
    assert reader.loading == []
    assert "script" not in reader.tags
    assert "&lt;/pre&gt;&lt;script" in page
    assert "\u202e" not in page
    assert '<th scope="row">Microsoft Advertising <span class="quiet">' in page


def test_the_terminal_is_not_obeyed_by_the_site(hostile: Report, capsys: pytest.CaptureFixture[str]) -> None:
    """Control characters and changes of direction are replaced, markup of the tables is text."""
    print_report(hostile)
    printed = capsys.readouterr().out
    assert "\u202e" not in printed
    assert "\x1b" not in printed
    assert printed.endswith("1 tracker acts without consent.\n")


def test_the_summary_says_it_in_sentences(tmp_path: Path) -> None:
    """What leaks, where and when; what is not declared or not explained; and what was fine."""
    leaking = request(
        "https://bat.bing.com/bat.js", "script", "/", "/shop", *(f"/{number}" for number in range(9))
    )
    waiting = [request("https://static.hotjar.com/c/hotjar-1.js"), request("https://odd.example/a.js")]
    policy = '[site]\nname = "Fernwell"'
    records = [
        PhaseRecord(Phase.BEFORE, requests=[leaking], cookies=[cookie("basket"), cookie("seen")]),
        PhaseRecord(Phase.REFUSED, requests=[leaking]),
        PhaseRecord(Phase.ACCEPTED, requests=[leaking, *waiting]),
    ]
    report = judged(*records, policy=policy, folder=tmp_path)
    assert summary(report) == [
        "1 page of the site was opened in a real browser: before a choice, after a refusal and after consent.",
        "Microsoft Advertising was at work before a choice and after a refusal, on /, /shop, /0, /1 and 7 more: "
        "take it out, or keep it back until visitors agree. Nor are visitors told of it.",
        "1 tracker waited for consent.",
        'Visitors are not told of Hotjar: add to "declare" in the policy, or take out.',
        "Nobody has explained odd.example: find out who that is, and describe it in the policy.",
        "2 cookies and keys of the site itself: no policy tells visitors what for.",
    ]
    page = html_report(report)
    assert "<h1>Fernwell</h1>" in page
    assert page.index("In short") < page.index("trackers that need consent")
    assert summary(judged(PhaseRecord(Phase.BEFORE))) == [
        "1 page of the site was opened in a real browser: before a choice.",
        "Every third party is known.",
    ]


def test_what_is_alike_in_several_phases_is_told_once() -> None:
    """With the phases in words; what leaks in some of them is apart."""
    tag, benign = request("https://bat.bing.com/bat.js"), request("https://cdn.jsdelivr.net/npm/x.js")
    report = judged(*(PhaseRecord(phase, requests=[tag, benign]) for phase in Phase))
    assert [(finding.subject, phases) for finding, phases in over_phases(report.findings)] == [
        ("bat.bing.com/bat.js", "before a choice and after a refusal"),
        ("cdn.jsdelivr.net/npm/x.js", "always"),
        ("bat.bing.com/bat.js", "after consent"),
    ]


def test_long_tables_end() -> None:
    """The HTML says how many more there are; the JSON has them."""
    requests = [request(f"https://h{number}.example/") for number in range(MAX_ROWS + 7)]
    report = judged(PhaseRecord(Phase.BEFORE, requests=requests))
    page = html_report(report)
    assert len(re.findall(r'<th scope="row"><bdi>h\d+\.example', page)) == MAX_ROWS
    assert "7 more are in the report as JSON." in page
    assert len(json_report(report)["findings"]) == MAX_ROWS + 7


def test_json_has_all_of_a_finding(hostile: Report) -> None:
    """A cookie has its attributes besides; the whole is JSON."""
    told = json.loads(json.dumps(json_report(hostile)))
    assert told["leaks"] == 1
    assert told["findings"][2] | {"initiator": ""} == {
        "phase": "before",
        "kind": "script",
        "subject": "bat.bing.com/bat.js",
        "host": "bat.bing.com",
        "vendor": "microsoft-advertising",
        "name": "Microsoft Advertising",
        "category": "targeting",
        "rule": "bat.bing.com",
        "allowed": False,
        "declared": False,
        "named": False,
        "pages": ["/"],
        "initiator": "",
        "count": 1,
    }
    assert told["findings"][4]["lifetime_seconds"] == 30 * 86_400
    assert told["proposals"]["declare"] == ["microsoft-advertising"]


def test_a_drafted_policy_loads_and_so_it_does_when_it_is_filled_in(hostile: Report, tmp_path: Path) -> None:
    """Only valid names get in, as comments; with the comments off and the gaps filled, all of it counts."""
    path = tmp_path / "consent.toml"
    text = drafted_policy(hostile)
    path.write_text(text, encoding="utf-8")
    policy, _ = load_policy(path, load_catalog())
    assert [vendor.id for vendor in policy.vendors] == ["microsoft-advertising"]
    assert policy.site == "fernwell.example"
    assert "evil.example" not in "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    assert "\u202e" not in text

    found = propose(hostile)
    stubs = [*map(cookie_stub, found.cookies), *map(vendor_stub, found.companies)]
    tables = "".join(line.removeprefix("# ") for stub in stubs for line in stub.splitlines(keepends=True)[1:])
    for gap, value in (("purpose", "Why."), ("category", "functional"), ("name", "X"), ("company", "X Ltd")):
        tables = tables.replace(f'{gap} = ""', f'{gap} = "{value}"')
    tables = tables.replace('country = ""', 'country = "IE"').replace('about = ""', 'about = "What for."')
    path.write_text(text + tables, encoding="utf-8")
    completed, _ = load_policy(path, load_catalog())
    assert [own.name for own in completed.own_cookies] == ["basket"]
    assert [vendor.id for vendor in completed.vendors] == [
        "microsoft-advertising",
        "odd-example",
        "unheard-example",
    ]


def test_no_company_is_proposed_for_what_is_no_name() -> None:
    """A policy names hosts, and an address belongs to nobody for long."""
    record = PhaseRecord(
        Phase.BEFORE, requests=[request("https://192.0.2.1/a.js"), request("https://[2001:db8::1]/a.js")]
    )
    report = judged(record)
    assert [finding.host for finding in report.unclassified] == ["192.0.2.1", "[2001:db8::1]"]
    assert propose(report).companies == ()


def test_what_a_list_names_is_proposed_as_a_company(tmp_path: Path) -> None:
    """Its id cannot be declared; who it is has to be found out."""
    (tmp_path / "list.toml").write_text(
        "[list]\nname = 'Made Up'\nlicence = 'of its own'\n[[vendor]]\nid = 'list-made-up'\nname = 'Made Up'\n"
        "category = 'targeting'\nhosts = ['stats.example']\n"
    )
    report = judged(
        PhaseRecord(Phase.ACCEPTED, requests=[request("https://a.stats.example/x.js")]),
        policy='lists = ["list.toml"]\n',
        folder=tmp_path,
    )
    assert (
        "Visitors are not told of Made Up: describe it in a [[vendor]] table of the policy, or take out."
        in summary(report)
    )
    found = propose(report)
    assert found.declare == ()
    assert [(company.domain, company.hosts) for company in found.companies] == [
        ("stats.example", ("a.stats.example",))
    ]


def test_the_starting_policy_loads_and_names_every_key(tmp_path: Path) -> None:
    """All that a policy can say is in it, with a comment, and its texts fit."""
    text = starting_policy()
    path = tmp_path / "consent.toml"
    path.write_text(text, encoding="utf-8")
    policy, _ = load_policy(path, load_catalog())
    Languages(policy)
    keys = {str(place[-1]) for place in _FIELDS} | set(_TOP)
    assert {key for key in keys if f"{key} = " not in text and f"[{key}" not in text} == set()


def test_init_writes_what_is_left_and_never_over_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a URL; ``--force`` overwrites."""
    monkeypatch.chdir(tmp_path)
    first = CliRunner().invoke(main, ["init"])
    assert (first.exit_code, first.output) == (
        0,
        "Wrote consent.toml. Left for you:\n  - all of it, line by line\n",
    )
    Path("consent.toml").write_text("mine")
    again = CliRunner().invoke(main, ["init"])
    assert (again.exit_code, Path("consent.toml").read_text()) == (2, "mine")
    assert "--output" in again.stderr
    assert CliRunner().invoke(main, ["init", "--force"]).exit_code == 0
    assert Path("consent.toml").read_text() == starting_policy()


def test_without_the_extra_the_command_says_what_to_install() -> None:
    """And nothing else of the package needs a browser or tables."""
    code = """
import sys
sys.modules["playwright"] = sys.modules["rich"] = None
from click.testing import CliRunner
from consent.cli import main
import consent
result = CliRunner().invoke(main, ["scan", "http://127.0.0.1:9/"])
assert result.exit_code == 2, result
assert result.stderr == "Error: scanning needs more packages: pip install 'asgi-consent[scan]'\\n", result.stderr
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_nothing_to_propose_is_nothing() -> None:
    """A site whose policy says it all."""
    assert not propose(judged(PhaseRecord(Phase.BEFORE)))
