"""How the pages of the gallery are written, and how their faults are told."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.gallery.pages import TIERS, GalleryError, load_pages
from tests.gallery.record import Visit
from tests.gallery.run import Answered, Setup, Showing, State, without_insertions
from tests.gallery.summary import faults, remaining, rows

PAGE = '[[page]]\nname = "a"\nabout = "Shows."\n'


def folder(path: Path, markup: str) -> Path:
    """Write a gallery with ``markup`` as its first tier, and nothing in the others."""
    for tier in TIERS:
        (path / f"{tier}.toml").write_text(markup if tier == TIERS[0] else "")
    return path


def test_there_are_more_than_two_hundred_pages_and_each_tier_has_some() -> None:
    """The gallery is as large as it claims to be."""
    pages = load_pages()
    assert len(pages) >= 200
    assert {page.tier for page in pages} == set(TIERS)


def test_the_documentation_names_pages_of_the_gallery_and_all_that_remain() -> None:
    """Whatever a layer does not stop is named there, with the page that shows it."""
    pages = load_pages()
    text = (Path(__file__).parents[2] / "docs" / "layers.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([a-z0-9]+(?:-[a-z0-9]+)+)`", text.partition("## The server")[2]))
    assert named - {page.name for page in pages} <= set(TIERS)
    remaining_pages = {
        page.name for page in pages if page.needs in ("csp", "nothing") and page.tier == "runtime"
    }
    assert remaining_pages <= named
    assert f"{len(pages)} pages" in text


def test_every_url_carries_the_token_of_its_page(tmp_path: Path) -> None:
    """Contacts are told apart by it."""
    text = PAGE + 'tracker = "www.facebook.com/tr?id=1"\nbody = "<img src={{tracker}}>"'
    (page,) = load_pages(folder(tmp_path, text))
    assert b"<img src=https://www.facebook.com/tr?id=1&g=markup.a>" in page.document
    assert page.answers["/markup/a/"].headers == ((b"content-type", b"text/html; charset=utf-8"),)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('tracker = "img.orchard.example/a"\nbody = "x"', "does not refuse img.orchard.example/a"),
        ('tracker = "js.stripe.com/v3/"\nbody = "x"', "does not refuse js.stripe.com/v3/"),
        ('benign = ["www.clarity.ms/a"]\nbody = "x"', "refuses www.clarity.ms/a, which is called benign"),
        ('cookies = ["basket"]\nbody = "x"', "does not refuse the cookie basket"),
        ('storage = ["local:basket"]\nbody = "x"', "does not refuse the storage key local:basket"),
        (
            'tracker = "www.clarity.ms/a"\nneeds = "guard"\nbody = "x"',
            "'needs' is one of guard, csp and nothing",
        ),
        ('tracker = "www.clarity.ms/a"\nhow = "connection"\nbody = "x"', "is recognised by {{name}}"),
        ('body = "x"', "shows nothing"),
        ('tracker = "www.clarity.ms/a"', "has no content"),
        ('trakcer = "www.clarity.ms/a"', "unknown keys ['trakcer']"),
    ],
)
def test_a_page_that_would_show_nothing_is_refused(tmp_path: Path, text: str, complaint: str) -> None:
    """A mistake in the data is an error of the gallery, not a page that passes."""
    with pytest.raises(GalleryError) as caught:
        load_pages(folder(tmp_path, PAGE + text))
    assert complaint in str(caught.value)


def test_two_pages_of_one_name_are_refused(tmp_path: Path) -> None:
    """The name is what contacts are told apart by."""
    text = PAGE + 'tracker = "www.clarity.ms/a"\nbody = "x"\n'
    with pytest.raises(GalleryError, match="two pages have the name a"):
        load_pages(folder(tmp_path, text + text))


def test_a_placeholder_without_a_value_is_refused(tmp_path: Path) -> None:
    """``{{benign.2}}`` of a page with one benign address is a mistake."""
    (page,) = load_pages(folder(tmp_path, PAGE + 'benign = ["x.example/"]\nbody = "{{benign.2}}"'))
    with pytest.raises(GalleryError, match="nothing to fill in"):
        page.document  # noqa: B018 - it is made when it is asked for


def test_only_the_markup_of_the_middleware_counts_as_inserted() -> None:
    """The banner's style sheet and section, and the guard's script; anything else is a change."""
    banner = (
        b'<link rel="stylesheet" href="/_consent/static/consent.0.css">\n'
        b'<section class="consent-root">x</section>'
    )
    guard = b'<script src="/_consent/static/guard.0.js"></script>'
    assert without_insertions(b"<p>" + guard + b"a" + banner + b"</p>", "utf-8") == b"<p>a</p>"
    assert without_insertions(b"<p>a<section>x</section></p>", "utf-8") == b"<p>a<section>x</section></p>"


def shown(folder: Path, *, visit: Visit, body: bytes | None = None, guarded: bool = False) -> Showing:
    """Return what a gallery of one page looks like when ``visit`` is what happened."""
    (page,) = pages = load_pages(folder)
    answer = Answered(200, (), page.document if body is None else body)
    states = (State.BARE, State.BEFORE)
    return Showing(
        pages=pages,
        visits={state: {page.id: visit} for state in states},
        answers={state: {page.id: answer} for state in states},
        guarded=guarded,
        setup=Setup(),
        seconds=1.0,
        chromium="none",
    )


def test_a_contact_is_a_fault_without_a_choice_and_its_absence_otherwise(tmp_path: Path) -> None:
    """The positive control fails when the technique does not work, the others when it does."""
    text = PAGE + 'tracker = "www.clarity.ms/a"\nbody = "x"'
    leaking = shown(folder(tmp_path, text), visit=Visit(contacts=1))
    (page,) = leaking.pages
    assert faults(leaking, page, State.BARE) == []
    assert faults(leaking, page, State.BEFORE) == ["the tracker www.clarity.ms/a was contacted"]
    assert remaining(leaking) == [(page, "NOT ACCOUNTED FOR")]
    silent = shown(tmp_path, visit=Visit())
    assert faults(silent, page, State.BARE) == ["the tracker was not contacted"]
    assert faults(silent, page, State.BEFORE) == []


def test_what_a_layer_must_stop_is_a_fault_when_the_layer_is_there(tmp_path: Path) -> None:
    """Until then it is listed, with the layer and the reason, and counted as awaited."""
    text = PAGE + 'tracker = "www.clarity.ms/a"\nneeds = "guard"\nreason = "hidden"\nbody = "x"'
    without = shown(folder(tmp_path, text), visit=Visit(contacts=1))
    (page,) = without.pages
    assert faults(without, page, State.BEFORE) == []
    assert remaining(without) == [(page, "guard: hidden")]
    assert [(row.before, row.awaited) for row in rows(without)] == [(1, 1), (1, 1)]
    guarded = shown(tmp_path, visit=Visit(contacts=1), guarded=True)
    assert faults(guarded, page, State.BEFORE) == ["the tracker www.clarity.ms/a was contacted"]


def test_what_is_benign_must_neither_be_lost_nor_changed(tmp_path: Path) -> None:
    """Lost contacts, cookies and bytes are faults in every state."""
    text = (
        PAGE + 'tracker = "www.clarity.ms/a"\nlook_alike = true\nbenign = ["x.example/y"]\nown = ["z"]\n'
        'own_cookies = ["basket"]\nbody = "<p>{{benign}}</p>"'
    )
    lost = shown(folder(tmp_path, text), visit=Visit(benign={"x.example/y"}), body=b"changed")
    assert faults(lost, lost.pages[0], State.BEFORE) == [
        "benign contacts lost: z",
        "own cookies lost: basket",
        "the bytes differ from the original by more than insertions",
    ]
