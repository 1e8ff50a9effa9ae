"""What visitors see: fair, complete without scripts, honest about signals, and safe in any page."""

from __future__ import annotations

import gzip
import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path

import pytest

from consent.assets import asset_dir
from consent.banner import Banner
from consent.catalog import Cookie, StorageKey, Vendor
from consent.categories import OPTIONAL, Category
from consent.choice import BrowserSignal, Choice
from consent.decision import Decision, Reason, decide
from consent.enforcement import Action, Finding
from consent.errors import ConfigurationError
from consent.panel import MAX_EXPLAINED
from consent.policy import Layout, OwnCookie, Policy, Regime
from consent.signals import ChoiceState, Signals
from consent.static_files import named

STATS = Vendor(
    id="example-stats",
    name="Example Stats",
    company="Example Metrics Ltd",
    country="IE",
    privacy_url="https://stats.example/privacy?a=1&b=2",
    category=Category.PERFORMANCE,
    about="Counts <visits>.",
    cookies=(
        Cookie(
            name="_es", purpose="Tells visitors apart.", lifetime="2 years", party="first", http_only=False
        ),
        Cookie(name="_es_s", purpose="One visit.", lifetime="session", party="first", http_only=False),
    ),
    storage=(
        StorageKey(key="es:*", area="local", purpose="Waiting events."),
        StorageKey(key="es-tab", area="session", purpose="This tab."),
    ),
)
ADS = Vendor(
    id="example-ads",
    name="Example Ads",
    company="Example Ads Inc",
    country="ZZ",
    privacy_url="https://ads.example/privacy",
    category=Category.TARGETING,
    about="Chooses advertising.",
)
POLICY = Policy(
    site="Harbour & Pine",
    controller="Harbour & Pine Ltd",
    contact="privacy@harbour.example",
    privacy_url="/privacy",
    vendors=(STATS, ADS),
    own_cookies=(
        OwnCookie(
            name="basket", purpose="Your basket.", lifetime="1 week", category=Category.STRICTLY_NECESSARY
        ),
    ),
)
P, F, T = OPTIONAL
BANNER = Banner(POLICY)
NO_VENDORS: Mapping[str, bool] = {}
LAYOUTS = {layout: Banner(replace(POLICY, layout=layout)) for layout in Layout}
SAME = Banner(POLICY)
"""Another worker's."""


class Element:
    """A start tag, and the text up to its end."""

    def __init__(self, name: str, attributes: dict[str, str | None]) -> None:
        self.name = name
        self.attributes = attributes
        self.text = ""


class Reader(HTMLParser):
    """Reads markup strictly: every element is closed in order."""

    VOID = frozenset({"link", "input", "meta", "br"})

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.elements: list[Element] = []
        self._open: list[Element] = []
        self.feed(markup)
        self.close()
        assert [element.name for element in self._open] == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs)
        element = Element(tag, dict(attrs))
        self.elements.append(element)
        if tag not in self.VOID:
            self._open.append(element)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop().name == tag

    def handle_data(self, data: str) -> None:
        for element in self._open:
            element.text += data

    def all(self, tag: str, /, **attributes: str) -> list[Element]:
        return [
            element
            for element in self.elements
            if element.name == tag
            and all(element.attributes.get(key.rstrip("_")) == value for key, value in attributes.items())
        ]

    def words(self, class_: str) -> list[str]:
        return [e.text.strip() for e in self.elements if class_ in (e.attributes.get("class") or "").split()]


def choice(
    *granted: Category, told: Collection[BrowserSignal] = (), vendors: Mapping[str, bool] = NO_VENDORS
) -> Choice:
    return Choice(
        receipt_id="3f2504e0-4f89-41d3-9a0c-0305e82c3301",
        subject="00112233445566778899aabbccddeeff",
        made_at=1_800_000_000,
        policy_version=POLICY.version,
        granted=frozenset(granted),
        vendors=vendors,
        told=frozenset(told),
    )


def decided(
    made: Choice | None = None,
    *,
    policy: Policy = POLICY,
    state: ChoiceState | None = None,
    gpc: bool = False,
    dnt: bool | None = None,
) -> Decision:
    state = state or (ChoiceState.VALID if made else ChoiceState.ABSENT)
    return decide(policy, Signals(choice=made, choice_state=state, gpc=gpc, dnt=dnt))


def read(decision: Decision, banner: Banner | None = None, nonce: str | None = None) -> Reader:
    markup = (banner or BANNER).markup(decision, return_to="/shop?a=1&b=2", nonce=nonce)
    return Reader(markup.decode())


def checked(page: Reader) -> list[str | None]:
    return [
        box.attributes["name"] for box in page.all("input", type="checkbox") if "checked" in box.attributes
    ]


def every_decision() -> list[Decision]:
    """Every state of the banner: answers, their age, and signals."""
    told = frozenset(BrowserSignal)
    made = (
        choice(),
        choice(P),
        choice(*OPTIONAL),
        choice(*OPTIONAL, told=told),
        choice(T, told=told),
    )
    answers = [
        *((None, state) for state in (ChoiceState.ABSENT, ChoiceState.EXPIRED, ChoiceState.FORGED)),
        *((one, state) for one in made for state in (ChoiceState.VALID, ChoiceState.OUTDATED)),
    ]
    return [
        decided(one, state=state, gpc=gpc, dnt=dnt)
        for one, state in answers
        for gpc in (False, True)
        for dnt in (None, False, True)
    ]


# ---- fairness


def test_accept_refuse_and_choose_are_equals() -> None:
    """The same element, the same class, nothing else that could make one of them more: in this order."""
    form = [b for b in read(decided()).all("button") if b.text in ("Accept all", "Refuse all", "Choose")][:3]
    assert [button.text for button in form] == ["Accept all", "Refuse all", "Choose"]
    assert [button.attributes["class"] for button in form] == [
        "consent-button",
        "consent-button",
        "consent-button consent-opener",
    ]
    css = (asset_dir("static") / "consent.css").read_text(encoding="utf-8")
    # The second class only hides the button where popovers are unknown.
    assert [line for line in css.splitlines() if ".consent-opener" in line and "display" not in line] == []
    # No rule singles a button out by its value, its type or its place.
    assert re.findall(r"consent-button[^ ,:{]*(?:\[|:nth|:first|:last)", css) == []


def test_nothing_is_ticked_before_the_visitor_ticked_it() -> None:
    """Without an answer, with a refusal and with an outdated yes alike, every switch is off."""
    for decision in (decided(), decided(choice()), decided(choice(*OPTIONAL), state=ChoiceState.OUTDATED)):
        page = read(decision)
        assert len(page.all("input", type="checkbox")) == 3
        assert checked(page) == []


def test_the_saved_state_is_shown() -> None:
    """What was granted is on and said in words, and can be withdrawn in one step."""
    page = read(decided(choice(P, T)))
    assert checked(page) == ["performance", "targeting"]
    assert page.words("consent-notice") == ["You allowed performance and targeting."]
    assert [b.text for b in page.all("button", name="action")] == [
        "Save choices",
        "Withdraw all",
        "Accept all",
    ]


def test_withdrawing_is_offered_only_where_something_was_granted() -> None:
    """After a refusal there is nothing to withdraw."""
    page = read(decided(choice()))
    assert [b.text for b in page.all("button", name="action")] == ["Save choices", "Refuse all", "Accept all"]


def test_a_single_vendor_that_was_switched_on_can_be_withdrawn() -> None:
    """An exception is a grant too."""
    page = read(decided(choice(vendors={"example-stats": True})))
    assert page.all("button", value="withdraw") != []
    assert "Switched on by you" in page.words("consent-company")


def test_the_banner_is_there_only_while_it_asks() -> None:
    """After any answer only the control with the preferences is left."""
    assert len(read(decided()).all("form", class_="consent-banner")) == 1
    for made in (choice(), choice(*OPTIONAL)):
        assert read(decided(made)).words("consent-banner") == []


@pytest.mark.parametrize("decision", every_decision())
def test_the_control_and_the_preferences_are_on_every_page(decision: Decision) -> None:
    """The small control opens the preferences without a script; without popovers it leads to their page."""
    page = read(decision)
    openers = [
        b
        for b in page.all("button", popovertarget="consent-preferences")
        if "consent-pill" in str(b.attributes)
    ]
    assert [b.attributes["type"] for b in openers] == ["button"]
    assert [p.attributes.get("id") for p in page.elements if "popover" in p.attributes] == [
        "consent-preferences"
    ]
    assert len(page.all("form", method="get", action="/_consent/choices")) == 1


@pytest.mark.parametrize("decision", every_decision())
def test_the_markup_is_well_formed_and_needs_no_script(decision: Decision) -> None:
    """Elements close in order, ids are unique, references lead somewhere; no script, style or handler."""
    page = read(decision)
    assert {element.name for element in page.elements} & {
        "script",
        "style",
        "img",
        "iframe",
        "template",
    } == set()
    names = [name for element in page.elements for name in element.attributes]
    assert [name for name in names if name.startswith("on") or name == "style"] == []
    ids = [element.attributes["id"] for element in page.elements if "id" in element.attributes]
    assert len(ids) == len(set(ids))
    for element in page.elements:
        for name in ("aria-labelledby", "aria-describedby", "popovertarget"):
            for target in (element.attributes.get(name) or "").split():
                assert target in ids


def test_everything_is_marked_for_search_engines_and_readers() -> None:
    """One root: language, direction, a name, and no snippets."""
    root = read(decided()).all("section")[0]
    assert root.attributes == {
        "class": "consent-root",
        "aria-label": "Cookie choices",
        "lang": "en",
        "dir": "ltr",
        "data-nosnippet": None,
    }


# ---- layouts


def test_a_layout_changes_where_the_banner_lies_and_nothing_in_it() -> None:
    """The same words, buttons and fields; the dialog alone takes the focus, and on no button."""
    markups = {}
    for layout, banner in LAYOUTS.items():
        page = read(decided(), banner)
        (form,) = page.all("form", class_="consent-banner")
        assert form.attributes["data-layout"] == layout
        takes = [element for element in page.elements if "autofocus" in element.attributes]
        assert [element.name for element in takes] == ["form", "button"][layout is not Layout.DIALOG :]
        # The other one is in the preferences, which take it when they are opened.
        assert takes[-1].attributes["class"] == "consent-close"
        assert ("tabindex" in form.attributes) is (layout is Layout.DIALOG)
        markup = banner.markup(decided(), return_to="/", nonce=None).decode()
        markup = markup.replace(' tabindex="-1" autofocus method', " method")
        markup = re.sub(r'data-layout="\w+"|[0-9a-f]{64}|consent\.[0-9a-f]{16}', "", markup)
        markups[layout] = markup
    assert len(set(markups.values())) == 1


def test_every_layout_takes_the_theme_and_a_site_s_own_templates(tmp_path: Path) -> None:
    """Each property is in each sheet; a template of the site's own is told the layout."""
    properties = set(re.findall(r"--consent-[a-z-]+", (asset_dir("static") / "consent.css").read_text()))
    assert len(properties) == 10
    (tmp_path / "_pill.html").write_text("<span>In a {{ policy.layout }}</span>", encoding="utf-8")
    for layout, banner in LAYOUTS.items():
        sheet = named(banner.static, "consent.css").content.decode()
        assert set(re.findall(r"--consent-[a-z-]+", sheet)) == properties
        own = Banner(replace(POLICY, layout=layout), templates=tmp_path)
        assert read(decided(), own).words("consent-pill") == [f"In a {layout}"] * 2


def test_the_evidence_says_which_layout_was_shown() -> None:
    """Where the banner asked; without it there is no difference, and the text is the same."""
    asked, answered = [], set()
    for layout, banner in LAYOUTS.items():
        shown = banner.shown_text(decided())
        asked.append(shown.hash)
        assert re.findall(rb'data-layout="(\w+)"', shown.content) == [layout.value.encode()]
        assert banner.shown_by_hash(shown.hash) == shown
        text = banner.shown_text(decided(choice())).content
        assert b"data-layout" not in text
        answered.add(re.sub(rb"consent\.[0-9a-f]{16}", b"", text))
    assert (len(set(asked)), len(answered)) == (3, 1)


# ---- what can be read before choosing


def test_every_vendor_is_listed_with_what_it_does_and_keeps() -> None:
    """Company, country, purpose, cookies with lifetimes, storage, and the vendor's own notice; escaped."""
    page = read(decided())
    text = " ".join(page.all("details")[1].text.split())
    assert text == (
        "Services and cookies (1) Example Stats Counts <visits>. Receives the data: Example Metrics Ltd, Ireland "
        "_es Tells visitors apart. Kept: 2 years _es_s One visit. Kept: until the browser is closed "
        "es:* Waiting events. Kept in the browser until deleted "
        "es-tab This tab. Kept: until the browser is closed "
        "Privacy notice of Example Stats"
    )
    assert [a.attributes["href"] for a in page.all("a", rel="noopener noreferrer")] == [
        "https://stats.example/privacy?a=1&b=2",
        "https://ads.example/privacy",
    ]


def test_what_is_strictly_necessary_is_explained_and_cannot_be_switched() -> None:
    """Its own cookies and ours are listed; it has no switch."""
    page = read(decided())
    assert page.words("consent-always") == ["Always on"]
    assert [box.attributes["name"] for box in page.all("input", type="checkbox")] == list(OPTIONAL)
    text = " ".join(page.all("details")[0].text.split())
    assert "consent Remembers your answer, so that you are not asked on every page. Kept: 400 days" in text
    assert "basket Your basket. Kept: 1 week" in text


def test_a_category_without_declared_services_says_so() -> None:
    """No empty list, and the choice covers it all the same."""
    text = Banner(Policy()).markup(decided(policy=Policy()), return_to="/", nonce=None).decode()
    assert text.count("None listed by the site. Your choice covers this purpose all the same.") == 3


def test_who_is_responsible_and_how_long_the_answer_is_kept() -> None:
    """The second layer names the controller, how to reach it, and the duration."""
    small = read(decided()).words("consent-small")
    assert small == [
        "Your answer, yes or no, is remembered for 180 days in cookies whose names begin with consent. What you "
        "refused stays off after that, too, until you decide otherwise."
        "Responsible: Harbour & Pine LtdContact: privacy@harbour.example"
    ]


# ---- signals


def test_under_gpc_accept_says_that_targeting_stays_off() -> None:
    """The notice names the signal, the button what it leaves out, and the form carries that it told."""
    page = read(decided(gpc=True))
    assert (
        page.words("consent-notice")[0]
        == "Opt-out request honoured\nYour browser sends Global Privacy Control: targeting stays off."
    )
    assert [b.text for b in page.all("button", value="accept")] == ["Accept all except targeting"] * 2
    assert [i.attributes["value"] for i in page.all("input", name="told")] == ["gpc", "gpc"]
    assert page.words("consent-override") == [
        "Global Privacy Control asks for this to be off. Switching it on here overrules the signal, "
        "on this site only."
    ]
    switch = page.all("input", name="targeting")[0]
    assert switch.attributes["aria-describedby"] == "consent-about-targeting consent-override-targeting"


def test_under_dnt_accept_is_the_answer_that_overrules_it() -> None:
    """Do Not Track refuses until the visitor says otherwise, and the notice says how."""
    page = read(decided(dnt=True))
    assert page.words("consent-notice")[0] == (
        "Opt-out request honoured\n"
        "Your browser sends Do Not Track: performance and targeting stay off unless you say yes here."
    )
    assert [b.text for b in page.all("button", value="accept")] == ["Accept all"] * 2
    assert [i.attributes["value"] for i in page.all("input", name="told")] == ["dnt", "dnt"]


def test_a_conflict_with_an_older_yes_is_told_without_a_banner() -> None:
    """The signal wins, the preferences say so, and nothing pops up."""
    page = read(decided(choice(*OPTIONAL), gpc=True))
    assert page.words("consent-banner") == []
    assert page.words("consent-notice") == [
        "Opt-out request honoured\nYour browser sends Global Privacy Control: targeting stays off. "
        "This overrules what you allowed earlier.",
        "You allowed performance and functional.",
    ]
    assert checked(page) == ["performance", "functional"]
    assert page.words("consent-pill-note") == ["Opt-out request honoured"] * 2


def test_a_signal_the_visitor_overruled_is_not_said_to_be_honoured() -> None:
    """Told and allowed all the same: the switch is on, and the notice says why."""
    page = read(decided(choice(T, told=frozenset({BrowserSignal.GPC})), gpc=True))
    assert checked(page) == ["targeting"]
    assert page.words("consent-pill-note") == []
    assert page.words("consent-notice")[0] == (
        "Your browser sends Global Privacy Control. You were told, and what is switched on below is allowed "
        "by you all the same."
    )


def test_a_signal_the_policy_does_not_heed_is_not_mentioned() -> None:
    """Nobody is told that something is honoured which is not."""
    policy = replace(POLICY, gpc_refuses=frozenset(), dnt_refuses=frozenset())
    page = read(decided(policy=policy, gpc=True, dnt=True), Banner(policy))
    assert page.words("consent-notice") == []
    assert page.all("input", name="told") == []


def test_where_a_signal_refuses_everything_there_is_nothing_to_accept() -> None:
    """A button that would do nothing is left out."""
    policy = replace(POLICY, gpc_refuses=frozenset(OPTIONAL))
    page = read(decided(policy=policy, gpc=True), Banner(policy))
    assert page.all("button", value="accept") == []


def test_an_older_policy_s_answer_is_asked_again_with_the_reason() -> None:
    """Visitors read why they are asked twice."""
    page = read(decided(choice(P), state=ChoiceState.OUTDATED))
    assert page.words("consent-notice") == [
        "You answered before. Since then the services or the rules have changed, so we have to ask once "
        "more. What you refused is still off."
    ]


def test_in_an_opt_out_regime_the_switches_show_what_is_in_force() -> None:
    """Silence allows there, so the switches are on, and the words do not say otherwise."""
    policy = replace(POLICY, regime=Regime.OPT_OUT)
    page = read(decided(policy=policy), Banner(policy))
    assert page.words("consent-banner") == []
    assert checked(page) == ["performance", "functional", "targeting"]
    assert "Switch off what you do not want." in page.all("form")[-1].text


# ---- per request


def test_what_differs_per_request_is_escaped() -> None:
    """Neither the address nor the nonce can leave its attribute."""
    hostile = '"><script>alert(1)</script>&amp;'
    markup = Banner(POLICY).markup(decided(), return_to=f"/{hostile}", nonce=hostile).decode()
    assert "<script" not in markup
    page = Reader(markup)
    assert {i.attributes["value"] for i in page.all("input", name="return_to")} == {f"/{hostile}"}
    assert page.all("link")[0].attributes["nonce"] == hostile


def test_an_address_that_is_no_unicode_does_not_fail() -> None:
    """A lone surrogate is replaced: no page breaks because of its own address."""
    assert b'value="/?"' in Banner(POLICY).markup(decided(), return_to="/\ud800", nonce=None)


def test_without_a_nonce_there_is_no_attribute() -> None:
    """The stylesheet is the only thing fetched: the same origin, named by its content."""
    (link,) = read(decided()).all("link")
    content = named(BANNER.static, "consent.css").content
    assert link.attributes == {
        "rel": "stylesheet",
        "href": f"/_consent/static/consent.{sha256(content).hexdigest()[:16]}.css",
    }


def test_the_same_decision_gives_the_same_bytes_in_every_process() -> None:
    """Nothing random is left in the page."""
    first = Banner(POLICY).markup(decided(), return_to="/", nonce="n")
    assert first == Banner(POLICY).markup(decided(), return_to="/", nonce="n")


def test_memory_is_bounded_however_many_exceptions_visitors_have() -> None:
    """A thousand different visitors do not make a thousand pages."""
    banner = Banner(POLICY)
    for number in range(1000):
        banner.markup(decided(choice(vendors={f"vendor-{number}": False})), return_to="/", nonce=None)
    assert len(banner._memo) <= 256


# ---- the evidence of what was shown


def test_the_text_shown_is_evidence_and_nothing_personal() -> None:
    """Its hash is that of its content, the form names it, and no address, nonce or answer is in it."""
    banner = Banner(POLICY)
    shown = banner.shown_text(decided())
    assert shown.hash == sha256(shown.content).hexdigest()
    assert shown.media_type == "text/html; charset=utf-8"
    page = read(decided(), banner, nonce="abc")
    assert {i.attributes["value"] for i in page.all("input", name="shown")} == {shown.hash}
    assert banner.shown_by_hash(shown.hash) == shown
    evidence = Reader(shown.content.decode())
    assert {i.attributes["value"] for i in evidence.all("input", name="return_to")} == {""}
    assert "May Harbour & Pine use optional cookies?" in evidence.elements[1].text
    assert "Example Stats" in evidence.elements[1].text


def test_two_visitors_who_are_shown_the_same_have_the_same_evidence() -> None:
    """What they had chosen before is not part of it; whether they were asked is."""
    banner = Banner(POLICY)
    assert banner.shown_text(decided(choice(P))) == banner.shown_text(
        decided(choice(vendors={"example-stats": False}))
    )
    assert banner.shown_text(decided()) != banner.shown_text(decided(choice()))
    assert banner.shown_text(decided()) != banner.shown_text(decided(gpc=True))


@pytest.mark.parametrize("decision", every_decision())
def test_every_text_is_known_by_its_hash(decision: Decision) -> None:
    """Whichever worker rendered the form, this one knows the text by the hash that comes back."""
    shown = BANNER.shown_text(decision)
    assert SAME.shown_by_hash(shown.hash) == shown


def test_a_text_of_another_policy_is_not_known() -> None:
    """A form from before a new vendor was declared names a text that this policy does not show."""
    older = Banner(replace(POLICY, vendors=(STATS,)))
    assert Banner(POLICY).shown_by_hash(older.shown_text(decided()).hash) is None


# ---- languages, overrides, templates


def test_the_policy_s_language_is_the_visitor_s() -> None:
    """German words, German country names; what the policy itself says of vendors is taken to be German, too."""
    policy = replace(POLICY, language="de")
    banner = Banner(policy)
    page = read(decided(policy=policy), banner)
    assert banner.language == "de"
    assert page.all("section")[0].attributes["lang"] == "de"
    assert [b.text for b in page.all("button", class_="consent-button")][:2] == [
        "Alle erlauben",
        "Alle ablehnen",
    ]
    assert "Erhält die Daten: Example Metrics Ltd, Irland" in page.words("consent-company")
    assert [p.text for p in page.all("p", lang="en")] == []
    assert {"Counts <visits>.", "Chooses advertising."} < {bdi.text for bdi in page.all("bdi")}


def test_a_site_s_own_words_keep_their_direction() -> None:
    """In Arabic the full stop of an English purpose stays at its end: the words are isolated."""
    policy = replace(POLICY, language="ar")
    page = read(decided(policy=policy), Banner(policy))
    own = [(bdi.text, bdi.attributes) for bdi in page.all("bdi")]
    assert own[:2] == [("Your basket.", {}), ("Counts <visits>.", {})]


def test_a_text_of_the_policy_is_shown_and_escaped() -> None:
    """A site's own words cannot become markup."""
    policy = replace(POLICY, texts={"accept": "Yes <b>all</b>"})
    page = read(decided(policy=policy), Banner(policy))
    assert page.all("button", value="accept")[0].text == "Yes <b>all</b>"


def test_a_site_s_own_template_goes_first(tmp_path: Path) -> None:
    """One file is replaced, the others are still the built-in ones."""
    (tmp_path / "_pill.html").write_text("<span>Privacy at {{ policy.site }}</span>", encoding="utf-8")
    page = read(decided(), Banner(POLICY, templates=tmp_path))
    assert page.words("consent-pill") == ["Privacy at Harbour & Pine"] * 2
    assert len(page.words("consent-banner")) == 1


@pytest.mark.parametrize(
    ("template", "content", "line"),
    [
        ("banner.html", "\n{% if %}", 2),
        ("_pill.html", "{{ nothing_of_the_kind }}", None),
        ("error.html", "{{ t.nope }}", None),
    ],
)
def test_a_mistake_in_a_template_stops_the_start(
    tmp_path: Path, template: str, content: str, line: int | None
) -> None:
    """Not the first visitor who would see it."""
    (tmp_path / template).write_text(content, encoding="utf-8")
    with pytest.raises(ConfigurationError, match="the template cannot be used") as caught:
        Banner(POLICY, templates=tmp_path)
    assert caught.value.line == line


@pytest.mark.parametrize("prefix", ["", "/", "consent", "/a/", "/a b", '/"'])
def test_a_prefix_that_is_no_path_is_refused(prefix: str) -> None:
    """The message shows what one looks like."""
    with pytest.raises(ConfigurationError, match="'/_consent'"):
        Banner(POLICY, prefix=prefix)


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """A misspelt folder is not the same as none."""
    with pytest.raises(ConfigurationError, match="there is no folder"):
        Banner(POLICY, templates=tmp_path / "missing")


def test_the_prefix_is_in_every_address() -> None:
    """Mounted elsewhere, nothing points to the default."""
    banner = Banner(POLICY, prefix="/privacy/x")
    markup = banner.markup(decided(), return_to="/", nonce=None) + banner.choices_page(
        decided(), return_to="/"
    )
    assert b"/_consent" not in markup
    assert markup.count(b'action="/privacy/x/choice"') == 3
    assert banner.stylesheet_url.startswith("/privacy/x/static/consent.")


# ---- the developers' panel


def found(
    action: Action, reason: Reason | None, vendor: Vendor | None = STATS, kind: str = "script"
) -> Finding:
    return Finding(action, kind, "stats.example/collect.js", vendor, reason)


@pytest.mark.parametrize(
    ("action", "reason", "why"),
    [
        (Action.STRIPPED, Reason.NO_CHOICE, "withheld because nobody has asked you yet"),
        (Action.STRIPPED, Reason.REFUSED, "withheld because you refused performance"),
        (Action.STRIPPED, Reason.GPC, "withheld because your browser sends Global Privacy Control"),
        (Action.STRIPPED, Reason.DNT, "withheld because your browser sends Do Not Track"),
        (
            Action.STRIPPED,
            Reason.OUTDATED,
            "withheld because the policy changed since you allowed performance",
        ),
        (Action.STRIPPED, Reason.EXPIRED, "withheld because your earlier answer has expired"),
        (Action.STRIPPED, Reason.FORGED, "withheld because your stored answer could not be verified"),
        (Action.ALLOWED, Reason.GRANTED, "let through because you allowed performance"),
        (Action.ALLOWED, Reason.ALWAYS_ON, "let through because it is strictly necessary"),
        (
            Action.ALLOWED,
            Reason.REGIME,
            "let through because this site’s rules allow performance until you refuse",
        ),
    ],
)
def test_every_reason_is_a_sentence(action: Action, reason: Reason, why: str) -> None:
    """Vendor, kind, subject and reason, in plain words."""
    panel = Reader(BANNER.explanation(decided(), [found(action, reason)]).decode())
    assert panel.words("consent-why") == [why]
    assert [code.text for code in panel.all("code")] == ["stats.example/collect.js"]
    assert panel.words("consent-kind") == ["script"]


def test_a_vendor_s_own_exception_is_the_reason() -> None:
    """Not the category's answer, which is another."""
    decision = decided(choice(P, vendors={"example-stats": False}))
    panel = Reader(BANNER.explanation(decision, [found(Action.STRIPPED, Reason.REFUSED)]).decode())
    assert panel.words("consent-why") == ["withheld because you refused this service"]


def test_the_panel_counts_and_sorts_what_was_found() -> None:
    """Withheld, let through, not classified; long lists are cut and the rest counted."""
    findings = [
        *[found(Action.STRIPPED, Reason.NO_CHOICE)] * (MAX_EXPLAINED + 5),
        found(Action.ALLOWED, None, None, kind='<img onerror="x">'),
    ]
    panel = Reader(BANNER.explanation(decided(gpc=True), findings).decode())
    assert panel.words("consent-counts") == ["105 withheld, 0 let through, 1 not classified"]
    assert panel.words("consent-number") == ["105", "0", "1"]
    assert len(panel.words("consent-why")) == MAX_EXPLAINED
    assert "And 5 more." in panel.words("consent-about")
    assert panel.words("consent-kind")[-1] == '<img onerror="x">'
    assert panel.words("consent-chip")[2] == (
        "Targeting not allowed: your browser sends Global Privacy Control"
    )
    assert panel.words("consent-small") == [
        f"Global Privacy Control: on. Policy version {POLICY.version}. "
        "Shown because the setting “explain” is on. Visitors do not see this on a real site."
    ]


# ---- pages and the stylesheet


def test_the_page_of_choices_is_complete() -> None:
    """A document of its own: title, language, the same preferences, the way back, and what just happened."""
    page = Reader(
        Banner(POLICY).choices_page(decided(choice(P)), return_to="/shop", message="saved").decode()
    )
    assert page.all("html")[0].attributes["lang"] == "en"
    assert [h.text for h in page.all("h1")] == ["Your cookie choices"]
    assert page.words("consent-saved") == ["Saved. Your choice is in effect."]
    assert checked(page) == ["performance"]
    assert page.all("a", href="/shop")[0].text == "Back to where you were"
    assert [i.attributes["value"] for i in page.all("input", name="stay")] == ["on"]


def test_an_error_is_a_page_with_a_way_on() -> None:
    """What went wrong in plain words, and where to choose."""
    page = Reader(Banner(POLICY).error_page("error_not_found").decode())
    assert [h.text for h in page.all("h1")] == ["That did not work"]
    assert page.all("a")[0].attributes["href"] == "/_consent/choices"


def all_styles() -> str:
    """The stylesheets that visitors are given."""
    static = asset_dir("static")
    paths = sorted([*static.glob("*.css"), *static.glob("layouts/*.css")])
    return "".join(path.read_text(encoding="utf-8") for path in paths)


def test_every_class_in_the_templates_is_in_the_stylesheet() -> None:
    """And the other way round: no dead rule."""
    css = set(re.findall(r"\.(consent-[a-z-]+)", all_styles()))
    markup = "".join(path.read_text(encoding="utf-8") for path in asset_dir("templates").glob("*.html"))
    used = {
        name
        for names in re.findall(r'class="([^"]*)"', markup)
        for name in re.findall(r"consent-[a-z-]+", names)
    }
    assert css - used == set()
    assert used - css == set()


def test_the_stylesheet_weighs_little() -> None:
    """What every page loads stays under 3 KB compressed."""
    for banner in LAYOUTS.values():
        assert len(gzip.compress(named(banner.static, "consent.css").content)) < 3072


def test_only_the_layout_chosen_is_delivered() -> None:
    """One sheet, with its rules between those of all; its name differs by its content."""
    own = {Layout.BAR: "50% - 40rem", Layout.CARD: "min(30rem,", Layout.DIALOG: "fit-content"}
    for layout, banner in LAYOUTS.items():
        sheet = named(banner.static, "consent.css").content.decode()
        assert [other for other, rule in own.items() if rule in sheet] == [layout]
        assert "@layout" not in sheet
        # What hides the banner, on paper and until it is there, goes on counting.
        assert sheet.index(own[layout]) < sheet.index("display:none") < sheet.index("@media print")
    assert len({banner.stylesheet_url for banner in LAYOUTS.values()}) == 3
    assert len({banner.version for banner in LAYOUTS.values()}) == 3


def test_every_selector_is_under_our_own_root() -> None:
    """No rule of ours touches the site's own elements, and each outweighs the site's rules for elements."""
    css = re.sub(r"/\*.*?\*/|@layout;", "", all_styles(), flags=re.DOTALL)
    selectors = [s.strip() for s in re.findall(r"([^{}]+)\{", css)]
    own = [s for s in selectors if not s.startswith("@")]
    foreign = [s for s in own if "consent-" not in s]
    light = [s for s in own if ":not(#_)" not in s]
    assert foreign == []
    assert light == [":root:has(.consent-banner)", "html.consent-page"]
