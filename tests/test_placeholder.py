"""Placeholders: what they say and keep, where they stand, and what comes of "always allow"."""

from __future__ import annotations

import dataclasses
import json
import re
from typing import Any
from urllib.parse import urlencode

import pytest

from consent.banner import Banner
from consent.catalog import load_catalog
from consent.categories import OPTIONAL, Category
from consent.decision import decide
from consent.errors import ConfigurationError
from consent.html.tokenizer import start_tag
from consent.placeholder import Placeholders
from consent.policy import Policy, Refused, Regime
from consent.receipts import CollectionMethod, Outcome
from consent.signals import Signals
from tests.exchange import HTML, Answer, answering, around, ask
from tests.test_visitor import Site

CATALOG = load_catalog()
POLICY = Policy(site="Example", vendors=(CATALOG.vendors["youtube"],))
PLACEHOLDERS = Placeholders(CATALOG, Banner(POLICY), once=True)
REFUSING = decide(POLICY, Signals())
FRAME = b'<iframe width="560" height="315" src="https://www.youtube.com/embed/x?a=1&amp;b"></iframe>'
MAP = b"<iframe src='//www.google.com/maps/embed?pb=1' style='width:50%;color:red' id=map></iframe>"


def placeholder(
    element: bytes, *, vendor: str = "youtube", of: Placeholders = PLACEHOLDERS, language: str = "en"
) -> str:
    tag = start_tag(element, 0)
    assert tag is not None
    return of.markup(REFUSING, tag, element, vendor, language).decode("ascii")


def shown_in(markup: str) -> str:
    found = re.search(r'name="allow" value="[a-z-]+ ([0-9a-f]{64})"', markup)
    assert found is not None
    return found[1]


# ---- what it is


def test_it_says_whose_it_is_what_is_sent_to_whom_and_offers_it() -> None:
    """In the policy's language, with the embed inside as it was."""
    markup = placeholder(FRAME)
    assert markup == (
        '<span class="consent-embed" data-consent="functional/youtube">'
        '<svg width="560" height="315" aria-hidden="true"></svg>'
        '<span class="consent-root" role="group" aria-label="YouTube is switched off" lang="en" dir="ltr"'
        " data-nosnippet>\n"
        '<span class="consent-title">YouTube is switched off</span>\n'
        "<span>To show it, your browser connects to Google LLC, United States, which learns your IP address and"
        " may set cookies.</span>\n"
        '<span class="consent-actions">\n'
        '<button class="consent-button" type="button" data-consent-once>Show once</button>\n'
        '<button class="consent-button" type="submit" form="consent-allow" name="allow"'
        f' value="youtube {shown_in(markup)}">Always allow YouTube</button>\n'
        "</span>\n"
        '<span class="consent-always">Always means on every page, until you change it. Whatever else you have'
        ' not allowed stays off. <a href="https://www.youtube.com/embed/x?a=1&amp;b" rel="noopener noreferrer'
        ' nofollow">Open at YouTube</a></span>\n'
        '</span><template data-consent="functional/youtube">' + FRAME.decode() + "</template></span>"
    )


def test_it_takes_the_place_of_the_embed() -> None:
    """With what its layout depends on; as wide as there is room where nothing says how wide."""
    markup = placeholder(MAP, vendor="google-maps")
    start = '<span class="consent-embed" id="map" style="width:50%" data-consent="functional/google-maps">'
    assert markup.startswith(start + '<svg width="1" height="1" ')
    assert placeholder(b"<iframe src=x class='film big'>").startswith(
        '<span class="consent-embed film big" data-wide data-consent='
    )
    assert '<svg width="1" height="300"' in placeholder(b"<iframe src=x width=100% height=300>")


def test_nothing_of_the_page_gets_out_of_its_place() -> None:
    """The template has the bytes as they are; all else is plain text."""
    hostile = (
        b"<iframe src='https://www.youtube.com/&quot;&gt;&lt;script&gt;' id='\"><script>' class='\"&gt;'"
        b" style='width:1px\"><script>' width='\"><script>'>\xff</iframe>"
    )
    tag = start_tag(hostile, 0)
    assert tag is not None
    outside, _, inside = PLACEHOLDERS.markup(REFUSING, tag, hostile, "youtube", "en").partition(b"<template")
    assert b"<script" not in outside
    assert b'href="https://www.youtube.com/&#34;&gt;&lt;script&gt;"' in outside
    assert inside == b' data-consent="functional/youtube">' + hostile + b"</template></span>"


def test_it_links_only_where_there_is_something_to_link_to() -> None:
    """And shows nothing once without the guard."""
    assert "<a " not in placeholder(b"<iframe src='javascript:x'>")
    bare = placeholder(FRAME, of=Placeholders(CATALOG, Banner(POLICY), once=False))
    assert "data-consent-once" not in bare
    assert "Always allow YouTube" in bare


def test_it_speaks_the_site_s_language_in_any_encoding() -> None:
    """Characters past ASCII are written as references."""
    german = Placeholders(CATALOG, Banner(dataclasses.replace(POLICY, language="de")), once=True)
    markup = placeholder(FRAME, of=german, language="de")
    assert 'lang="de" dir="ltr"' in markup
    assert "Bei YouTube &#246;ffnen" in markup


def test_only_what_visitors_want_to_see_is_offered() -> None:
    """Not an advertisement, and not what nobody knows."""
    assert placeholder(FRAME, vendor="doubleclick") == ""
    assert placeholder(FRAME, vendor="nobody") == ""


def test_a_template_that_cannot_be_rendered_stops_the_start(tmp_path: Any) -> None:
    """With its name."""
    (tmp_path / "placeholder.html").write_text("{{ nothing }}")
    with pytest.raises(ConfigurationError, match="'nothing' is undefined"):
        Placeholders(CATALOG, Banner(POLICY, templates=tmp_path), once=True)


# ---- in a page


def page(*chunks: bytes, policy: Policy = POLICY, **options: Any) -> Answer:
    app = around(
        answering(*chunks, headers=options.pop("fields", [HTML])),
        policy=policy,
        catalog=CATALOG,
        placeholders=PLACEHOLDERS,
        **{name: options.pop(name) for name in ("explain",) if name in options},
    )
    return ask(app, **options)


def test_the_stylesheet_comes_with_the_first_and_the_form_once_at_the_end() -> None:
    """Neither where there is no placeholder."""
    body = page(b"<body>", FRAME, b"<hr>", FRAME, b"</body>", path="/film").body
    link = b'<link rel="stylesheet" href="/_consent/static/consent.'
    assert re.match(rb'<body><link [^>]*/consent\.[^>]*><span class="consent-embed"', body)
    assert body.count(b'<span class="consent-embed"') == 2
    assert body.count(link) == 2  # one is the banner's
    form = b'<form id="consent-allow" method="post" action="/_consent/choice" hidden>'
    assert body.count(form) == 1
    assert b'name="return_to" value="/film"' in body.partition(form)[2]
    assert b"consent-allow" not in page(b"<body><p>").body


def test_a_nonce_and_a_base_elsewhere_count_for_the_stylesheet() -> None:
    """As for the banner's."""
    csp = (b"content-security-policy", b"style-src 'nonce-abc'")
    body = page(
        b"<head><base href='https://elsewhere.example/'></head>", FRAME,
        headers=[(b"host", b"shop.example")], fields=[HTML, csp],
    ).body  # fmt: skip
    assert re.search(rb'<link rel="stylesheet" href="//shop.example/_consent/[^"]*" nonce="abc"><span', body)


@pytest.mark.parametrize("headers", [{"sec-fetch-dest": "iframe"}, {"sec-fetch-dest": "empty"}])
def test_pages_within_pages_and_pieces_have_none(headers: dict[str, str]) -> None:
    """There, no stylesheet and no form is."""
    assert page(b"<p>", FRAME, headers=headers).body == b"<p>"
    holding = dataclasses.replace(POLICY, refused=Refused.HOLD)
    held = page(b"<body>", FRAME, headers={"sec-fetch-dest": "iframe"}, policy=holding).body
    assert held == b'<body><template data-consent="functional/youtube">' + FRAME + b"</template>"


def test_always_is_not_offered_where_a_signal_would_overrule_it() -> None:
    """Showing it once is the visitor's own doing."""
    policy = dataclasses.replace(POLICY, gpc_refuses=frozenset({Category.FUNCTIONAL}))
    body = page(b"<body>", FRAME, headers={"sec-gpc": "1"}, policy=policy).body
    assert b"data-consent-once" in body
    assert b"Always allow" not in body
    assert b"stays off. <a" not in body


def test_what_is_replaced_is_withheld_in_every_account() -> None:
    """In the report, and in the developer's panel."""
    body = page(b"<body>", FRAME, b"</body>", headers={"consent-report": "1"}, explain=True).body.decode()
    report = json.loads(body.partition('id="consent-report">')[2].partition("</script>")[0])
    assert report["withheld"] == 1
    assert report["findings"][0]["action"] == "replaced"
    assert "1 withheld, 0 let through, 0 not classified" in body


def test_other_words_make_another_variant() -> None:
    """What was cached with the old ones is not confirmed."""
    assert PLACEHOLDERS.version != Placeholders(CATALOG, Banner(POLICY), once=False).version


# ---- always


class Embedding(Site):
    """A site with placeholders."""

    def __init__(self, policy: Policy = POLICY) -> None:
        super().__init__(policy, CATALOG, placeholders=PLACEHOLDERS)

    def allow(self, element: bytes = FRAME, *, vendor: str = "youtube", **fields: str) -> Any:
        """Press the button of a placeholder."""
        shown = shown_in(placeholder(element, vendor=vendor))
        form = {"form": "embed", "return_to": "/film", "allow": f"{vendor} {shown}", **fields}
        return self.post(urlencode(form).encode())


@pytest.mark.parametrize("element", [FRAME, b"<iframe src=javascript:x>"])
def test_a_yes_to_one_vendor_is_recorded_with_the_placeholder_s_text(element: bytes) -> None:
    """Where nothing was answered before, all else is a no, as the text says."""
    site = Embedding()
    answer = site.allow(element)
    assert (answer.status, answer.headers["location"]) == (303, "/film")
    (receipt,), (artefact, *_) = site.store.receipts, site.store.artefacts
    assert receipt.collection_method is CollectionMethod.EMBED_FORM
    assert receipt.outcome is Outcome.GIVEN
    assert receipt.shown_hash == shown_in(placeholder(element))
    assert b"Whatever else you have not allowed stays off." in artefact.content
    assert b"youtube.com" not in artefact.content
    assert site.choice is not None
    assert (site.choice.granted, dict(site.choice.vendors)) == (frozenset(), {"youtube": True})


def test_what_was_answered_before_stands() -> None:
    """Grants, refusals, exceptions, and the signals that were told of."""
    site = Embedding()
    gpc = {"sec-gpc": "1"}
    site.choose(
        "save", gpc, on=["performance", "targeting"], vendors={"hotjar": "off", "vimeo": "on"}, told="gpc"
    )
    before = site.choice
    assert before is not None
    site.allow()
    after = site.choice
    assert after is not None
    assert after.granted == before.granted == {Category.PERFORMANCE, Category.TARGETING}
    assert dict(after.vendors) == {"hotjar": False, "vimeo": True, "youtube": True}
    assert (after.told, after.subject) == (before.told, before.subject)
    assert after.told == {"gpc"}
    assert site.store.receipts[1].outcome is Outcome.CHANGED
    assert site.store.receipts[1].previous == before.receipt_id


def test_a_vendor_refused_in_an_allowed_category_is_no_exception_any_more() -> None:
    """It is as the category."""
    site = Embedding()
    site.choose("save", on=["functional"], vendors={"youtube": "off"})
    site.allow()
    assert site.choice is not None
    assert (site.choice.granted, dict(site.choice.vendors)) == (frozenset({Category.FUNCTIONAL}), {})


def test_of_an_outdated_choice_the_refusals_stand() -> None:
    """What it granted is not granted again by this."""
    older = Embedding(dataclasses.replace(POLICY, controller="Somebody else"))
    older.choose("save", on=["performance"], vendors={"vimeo": "on", "hotjar": "off"})
    site = Embedding()
    site.kept = older.kept
    site.allow()
    assert site.choice is not None
    assert (site.choice.granted, dict(site.choice.vendors)) == (frozenset(), {"youtube": True})


def test_where_silence_is_a_yes_one_yes_takes_nothing_back() -> None:
    """Nothing is recorded without an earlier answer; with an outdated one, what it granted stays on."""
    policy = dataclasses.replace(POLICY, regime=Regime.OPT_OUT)
    site = Embedding(policy)
    assert site.allow().status == 400
    assert (site.store.receipts, site.kept) == ([], "")
    older = Embedding(dataclasses.replace(policy, controller="Somebody else"))
    older.choose("save", on=["performance"])
    site.kept = older.kept
    site.allow()
    assert site.choice is not None
    assert (site.choice.granted, dict(site.choice.vendors)) == (
        frozenset({Category.PERFORMANCE}),
        {"youtube": True},
    )


def test_a_yes_to_a_text_that_is_not_shown_is_asked_again() -> None:
    """Another vendor's text is no text for this one; a script may ask in its own words."""
    site = Embedding()
    shown = shown_in(placeholder(FRAME))
    for value in (f"vimeo {shown}", f"youtube {'0' * 64}", "youtube", f"doubleclick {shown}"):
        assert site.post(urlencode({"form": "embed", "allow": value}).encode()).status == 409
    assert site.store.receipts == []
    assert (
        Site(POLICY, CATALOG).post(urlencode({"form": "embed", "allow": f"youtube {shown}"}).encode()).status
        == 409
    )
    answer = site.post_json({"action": "allow", "vendors": {"youtube": True}})
    assert answer.json["vendors"] == {"youtube": True}
    assert site.store.receipts[0].shown_hash is None


@pytest.mark.parametrize(
    "body",
    [
        "form=embed&allow=youtube+0&action=allow",
        "form=embed&allow=youtube+0&shown=0",
        "form=embed&allow=youtube+0&vendor.youtube=on",
        "form=embed&allow=youtube+0&vendor.vimeo=on",
        "form=embed&allow=youtube+0&performance=on",
        "form=banner&allow=youtube+0",
        "form=embed&action=accept",
        "form=embed&allow=nobody+0",
        "form=embed&allow=",
    ],
)
def test_a_form_that_says_more_than_a_placeholder_can_changes_nothing(body: str) -> None:
    """400, and no receipt."""
    site = Embedding()
    assert site.post(body.encode()).status == 400
    assert (site.store.receipts, site.kept) == ([], "")


@pytest.mark.parametrize(
    "content",
    [
        {"action": "allow"},
        {"action": "allow", "vendors": {"youtube": False}},
        {"action": "allow", "vendors": {"youtube": True, "vimeo": True}},
        {"action": "allow", "vendors": {"youtube": True}, "performance": True},
    ],
)
def test_a_script_allows_one_vendor_at_a_time(content: dict[str, object]) -> None:
    """And nothing with it."""
    assert Embedding().post_json(content).status == 400


def test_a_client_is_told_what_holds_now() -> None:
    """As after any choice."""
    site = Embedding()
    form = urlencode({"form": "embed", "allow": f"youtube {shown_in(placeholder(FRAME))}"}).encode()
    outcome = site.post(form, {"accept": "application/json"}).json
    assert outcome["categories"] == {category.value: category not in OPTIONAL for category in Category}
    assert outcome["vendors"] == {"youtube": True}
