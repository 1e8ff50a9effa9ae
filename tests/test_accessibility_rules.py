"""What WCAG 2.2 AA asks of banner and preferences, line by line, and the tests that show each.

Axe runs in every state that the browser tests walk; here are the lines that a program cannot judge alone, too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import pytest

from consent.assets import asset_dir
from tests.test_banner import BANNER, Reader, all_styles, decided, every_decision, read
from tests.test_banner_rules import names_in

EVERYBODY = "browser/test_layouts.py::test_a_banner_is_for_everybody"
STILL = "test_accessibility_rules.py::test_nothing_moves_and_nothing_goes_by_itself"
KEYBOARD = "browser/test_layouts.py::test_with_a_banner_the_page_can_be_used_by_keyboard"
PREFERENCES = "browser/test_layouts.py::test_the_preferences_are_for_everybody"

RULES: Mapping[str, tuple[str, ...]] = {
    "2.1.1 All can be done by keyboard": (
        KEYBOARD,
        PREFERENCES,
        "browser/test_withholding.py::test_an_embed_is_shown_once_by_keyboard_alone",
    ),
    "2.1.2 Nothing keeps the focus": (KEYBOARD, PREFERENCES),
    "2.4.3 The focus goes in, and comes back": (
        PREFERENCES,
        "guard/test_client.py::test_accepting_takes_effect_without_a_reload_where_all_is_held",
    ),
    "2.4.7 What has the focus can be seen": ("test_accessibility_rules.py::test_the_focus_has_a_ring",),
    "2.4.11 Nothing of ours hides what has the focus": (
        KEYBOARD,
        PREFERENCES,
        "browser/test_layouts.py::test_the_page_of_choices_is_for_everybody",
    ),
    "2.5.8 Targets are 24 pixels or more": (
        EVERYBODY,
        PREFERENCES,
        "browser/test_withholding.py::test_placeholders_fit_into_a_narrow_window",
    ),
    "1.4.3, 1.4.11 Contrast is 4.5 to 1 for text and 3 to 1 for controls, in light and in dark": (
        EVERYBODY,
        PREFERENCES,
        "test_accessibility_rules.py::test_the_accent_can_be_told_from_light_and_dark",
    ),
    "1.4.1 Nothing is said by colour alone": (
        "test_accessibility_rules.py::test_what_is_allowed_is_said_in_words_and_by_shape",
        "test_banner.py::test_the_saved_state_is_shown",
    ),
    "1.4.10 At 320 pixels nothing sticks out": (
        EVERYBODY,
        "browser/test_declaration.py::test_the_declaration_fits_every_width",
    ),
    "1.4.4 Text can be twice as large": (EVERYBODY, KEYBOARD),
    "1.4.12 Letters, words and lines can be set wider apart": (EVERYBODY,),
    "4.1.2 Each control has a name, a role and a state": (
        PREFERENCES,
        "test_accessibility_rules.py::test_every_control_has_a_name_and_a_role",
    ),
    "4.1.3 What happened is a status message": (
        PREFERENCES,
        "test_banner.py::test_the_page_of_choices_is_complete",
        "test_opt_out.py::test_after_the_button_and_for_a_signal_it_is_said_that_it_was_heard",
    ),
    "3.1.1, 3.1.2 Language and direction are said": (
        "test_banner.py::test_everything_is_marked_for_search_engines_and_readers",
        "browser/test_languages.py::test_everything_is_in_the_browser_s_language",
    ),
    "2.2.1 Nothing goes away by itself": (
        "test_accessibility_rules.py::test_nothing_moves_and_nothing_goes_by_itself",
    ),
    "2.3.3 Who wants no motion has none": (
        "test_accessibility_rules.py::test_nothing_moves_and_nothing_goes_by_itself",
    ),
    "Forced colours: what can be pressed has an edge": (EVERYBODY,),
    "3.2.1 The dialog takes the focus, and a key pressed by chance answers nothing": (
        KEYBOARD,
        "test_banner.py::test_a_layout_changes_where_the_banner_lies_and_nothing_in_it",
    ),
}
"""Each rule, and where it is shown."""


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_is_shown(rule: str) -> None:
    """By tests that are there."""
    assert RULES[rule]
    for place in RULES[rule]:
        file, _, name = place.partition("::")
        assert name in names_in(file), place


def test_nothing_moves_and_nothing_goes_by_itself() -> None:
    """No style moves anything, so there is nothing to leave out for who prefers that; no script waits for a time."""
    assert re.findall(r"transition|animation|@keyframes|scroll-behavior|marquee", all_styles()) == []
    scripts = "".join(path.read_text(encoding="utf-8") for path in asset_dir("static").glob("*.js"))
    # One puts a link back to what it was, as soon as it has been followed.
    assert re.findall(r"\b(?:set(?:Timeout|Interval)\b.*)", scripts) == [
        "setTimeout(() => link.href = there);"
    ]


def test_the_focus_has_a_ring() -> None:
    """Everything under our root alike; the one place without is no control: the dialog that has the focus at first."""
    assert re.findall(r"(\S+) \{[^}]* outline: 3px solid", all_styles()) == [":focus-visible"]
    assert re.findall(r"(\S+) \{ outline: (?:0|none)", all_styles()) == [".consent-banner:focus"]


def luminance(colour: str) -> float:
    """Relative luminance of ``#rrggbb``. (WCAG 2.2.)"""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one: str, other: str) -> float:
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def test_the_accent_can_be_told_from_light_and_dark() -> None:
    """Buttons, rings and switches against the browser's own pages; and what is written on it."""
    (accent,) = set(re.findall(r"--consent-accent, (#\w+)", all_styles()))
    assert contrast(accent, "#ffffff") >= 4.5  # the text of buttons, and a light page
    assert contrast(accent, "#121212") >= 3  # Canvas in the dark
    assert contrast(accent, "#000000") >= 3


def test_every_control_has_a_name_and_a_role() -> None:
    """In every state; a switch has its words in its label, and what it means beside it."""
    for decision in every_decision():
        page = read(decision)
        for button in page.all("button"):
            assert (button.text.strip() and button.text.strip() != "×") or button.attributes["aria-label"]
        assert len(page.all("input", type="checkbox")) == len(
            [label for label in page.all("label") if label.text.strip()]
        )
        for switch in page.all("input", type="checkbox"):
            assert str(switch.attributes["aria-describedby"]).startswith("consent-about-")
        (panel,) = [element for element in page.elements if "popover" in element.attributes]
        assert (panel.attributes["role"], panel.attributes["aria-labelledby"]) == (
            "dialog",
            "consent-preferences-title",
        )


def test_what_is_allowed_is_said_in_words_and_by_shape() -> None:
    """The knob of a switch is at the other end where it is on, and the developer's panel has marks before its words."""
    css = all_styles()
    places = [
        re.findall(rf"{rule} {{[^}}]*inset-inline-start: ([\d.]+)rem", css)
        for rule in ("switch::before", "checked::before")
    ]
    assert places == [[".25"], ["1.5"]]
    panel = Reader(BANNER.explanation(decided(), ()).decode())
    assert [chip.rpartition(": ")[0] for chip in panel.words("consent-chip")] == [
        "Performance not allowed",
        "Functional not allowed",
        "Targeting not allowed",
    ]
