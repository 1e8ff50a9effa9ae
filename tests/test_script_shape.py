"""What tells inline scripts apart: their code, and nothing of the data in it."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consent.catalog import script_text
from consent.script_shape import MAX_CODE, ScriptShape, shape_of

CART = "window.cart = {lines: [{sku: 'A-1', price: 9.5}, {sku: 'B'}], of: \"jane@example.com\"}; start(cart);"
TAG = "function gtag(){dataLayer.push(arguments);}gtag('js', new Date());gtag('config', 'G-1');"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (CART, "window.cart={};start(cart)"),
        (CART, "window.cart = 'none' /* nobody */;\n// jane@example.com\nstart(cart)"),
        (TAG, TAG.replace("G-1", "G-2").replace(";", " ; ").replace("'", '"')),
        ("a.b(-1, !0, true)", "a.b(2.5e3, false, null)"),
        ("log(`Dear ${who}, hello`)", "log(`Hi ${who}`)"),
        ("push({a: 1});push({b: 2});push({});go()", "push({c: [1, 2]}); go()"),
        ("x = /jane/i.test(y)", "x = /joe|jim/.test(y)"),
        ("let q = 'never closed", "let q = 'never ended"),
    ],
)
def test_scripts_that_differ_in_their_data_have_one_fingerprint(one: str, other: str) -> None:
    """Strings, numbers, lists, objects, comments, blanks, and how often the same is called in a row."""
    assert shape_of(one).fingerprint == shape_of(other).fingerprint


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (CART, CART.replace("start", "begin")),
        ("push(1)", "push(1, 2)"),
        ("push(a)", "push(1)"),
        ("x = [1, y]", "x = [1]"),
        ("f(); g()", "g(); f()"),
    ],
)
def test_other_code_has_another(one: str, other: str) -> None:
    """Names, arguments, order."""
    assert shape_of(one).fingerprint != shape_of(other).fingerprint


@pytest.mark.parametrize(
    ("code", "names"),
    [
        (CART, ("window.cart", "start")),
        (TAG, ("dataLayer.push", "gtag", "Date")),
        ("var jane = 1; user48213(); if (a) { b(1) } return(x); " + "x" * 41 + "()", ()),
        ("(function(w){w[l]=w[l]||[];w[l].push(1);d.createElement(s)})(window)", ("push", "d.createElement")),
        ("one.two();three();four();five()", ("one.two", "three", "four")),
        ("'jane@example.com", ()),
    ],
)
def test_what_is_told_of_a_script_is_what_it_calls_and_sets(code: str, names: tuple[str, ...]) -> None:
    """The first three names; none that is short, long or numbered, none of what is no JavaScript."""
    assert shape_of(code).names == names


def test_it_is_written_in_a_few_words() -> None:
    """As the inventory has it."""
    assert str(ScriptShape("0123456789ab", ("a.b", "cd"))) == "0123456789ab a.b, cd"
    assert str(ScriptShape("0123456789ab", ())) == "0123456789ab"


@given(
    st.lists(
        st.sampled_from([*"\"'`/*${}[]();,:=-+! \n\\0aé\u2028", "//", "<!--", "return", "jane"]), max_size=40
    )
)
def test_both_readings_of_a_script_give_one_shape(pieces: list[str]) -> None:
    """Compiled and not; whatever it is, and no name is anything but a name."""
    code = "".join(pieces)
    found = shape_of(code)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(script_text, "compiled", None)
        assert shape_of(code) == found
    assert all(re.fullmatch(r"[A-Za-z_$][\w$]*(\.[A-Za-z_$][\w$]*)*", name, re.ASCII) for name in found.names)


def test_a_long_script_is_looked_at_in_part() -> None:
    """So that it takes no longer than others."""
    assert shape_of("f();" * MAX_CODE + "g()") == shape_of("f();" * MAX_CODE)
