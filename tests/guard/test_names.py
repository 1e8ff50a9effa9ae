"""Names that a page gives to its forms, fields and pictures stand before the browser's own, and stop nothing of ours."""

# ruff: noqa: E501 - the long lines are JavaScript and HTML
from __future__ import annotations

import pytest

from consent.categories import Category
from tests.guard.conftest import NAME, Site, Visit, deciding
from tests.guard.test_client import BANNER, LOG, outcome
from tests.guard.test_refusals import BENIGN, TRACKER

OF_DOCUMENTS = [
    "activeElement",
    "addEventListener",
    "attributes",
    "baseURI",
    "body",
    "childNodes",
    "cookie",
    "createElement",
    "defaultView",
    "dispatchEvent",
    "documentElement",
    "forms",
    "getRootNode",
    "head",
    "implementation",
    "location",
    "nodeType",
    "ownerDocument",
    "parentNode",
    "querySelector",
    "querySelectorAll",
    "readyState",
]
OF_FORMS = [
    "action",
    "at",
    "attributes",
    "bind",
    "call",
    "children",
    "childNodes",
    "click",
    "closest",
    "cloneNode",
    "content",
    "contains",
    "data",
    "dataset",
    "elements",
    "getAttribute",
    "innerHTML",
    "length",
    "localName",
    "matches",
    "method",
    "name",
    "nodeName",
    "nodeType",
    "nodeValue",
    "ownerDocument",
    "ownerElement",
    "parentNode",
    "querySelector",
    "querySelectorAll",
    "replaceWith",
    "style",
    "submit",
    "tagName",
    "target",
    "textContent",
    "type",
    "value",
]
IMAGE = f"https://{TRACKER}/li.lms-analytics/insight.min.js"
SEEN = f"new Image().src = 'https://{BENIGN}/'"
"""What ends a script: with that, all that went before has been asked for."""


def fields(names: list[str]) -> str:
    return "".join(f"<input name={name}>" for name in names)


def test_a_document_s_names_hide_nothing_from_the_guard(visit: Visit) -> None:
    """Markup is judged, scripts are given back, and what was stored goes, whatever a form or a picture is called."""
    names = "".join(f"<form name={name}></form><img alt name={name}>" for name in OF_DOCUMENTS)
    visit.open("", host=NAME)
    visit.page.evaluate("Reflect.set(Document.prototype, 'cookie', 'mine=1', document)")
    visit.context.add_cookies([{"name": "_fbp", "value": "fb.1", "domain": NAME, "path": "/"}])
    visit.open(
        f"{names}<div id=box></div><script>box.innerHTML = '<img src={IMAGE}>'; {SEEN}</script>", host=NAME
    )
    visit.wait_for(BENIGN)
    assert TRACKER not in visit.standin.hosts()
    assert visit.page.evaluate("typeof document.createElement + typeof document.cookie") == "objectobject"
    visit.until("(Reflect.get(Document.prototype, 'cookie', document) == 'mine=1')")
    assert visit.errors == []


def test_a_document_s_names_keep_no_choice_from_taking_effect(visit: Visit, site: Site) -> None:
    """The banner goes, what was held comes back, and scripts are told."""
    names = "".join(f"<form name={name}></form><img alt name={name}>" for name in OF_DOCUMENTS)
    site.outcome = outcome(Category.TARGETING)
    held = f"<template data-consent='targeting/meta-pixel'><script>window.wasGiven = true;{LOG}(1)</script></template>"
    visit.open(
        f"{names}{held}{BANNER}<script>consent.on('change', () => window.told = consent.allows('targeting'))</script>"
    )
    visit.page.get_by_role("button", name="Accept").click()
    visit.until("window.wasGiven && window.told")
    assert visit.page.locator(".consent-banner").count() == 0
    assert visit.page.locator("[data-saved]").inner_text() == "Saved."
    assert visit.errors == []


@pytest.mark.parametrize("name", OF_FORMS)
def test_a_field_s_name_hides_no_attribute_of_its_form(visit: Visit, name: str) -> None:
    """Nor anything beside the form; and the form is what it was."""
    url = f"url({IMAGE})"
    visit.open(
        f"""<div id=box></div><script>
        const form = `<form style="background: {url}"><input name={name}></form>`;
        const made = document.implementation.createHTMLDocument();
        box.innerHTML = form + "<img alt src='{IMAGE}'>";
        made.body.innerHTML = form + "<img alt src='{IMAGE}'>";
        const parts = [...made.body.childNodes];
        box.append(...parts);
        {SEEN};
        </script>"""
    )
    visit.wait_for(BENIGN)
    assert TRACKER not in visit.standin.hosts()
    # Playwright asks forms by their names, too.
    assert visit.page.evaluate(f"document.querySelectorAll('form > input[name={name}]').length") == 2
    assert visit.errors == []


def test_a_field_s_name_leads_no_form_to_a_refused_host(visit: Visit) -> None:
    """The form is asked what it says, not the field; to another host it goes."""
    visit.open(
        f"""<iframe name=sink title=x></iframe>
        <form target=sink action="{IMAGE}">{fields(["getAttribute", "closest", "attributes"])}</form>
        <form target=sink action="https://{BENIGN}/">{fields(["getAttribute", "closest", "attributes"])}</form>
        <script>for (const form of document.forms) HTMLFormElement.prototype.submit.call(form)</script>"""
    )
    visit.wait_for(BENIGN)
    assert TRACKER not in visit.standin.hosts()


def test_forms_of_the_page_with_such_fields_are_left_alone(visit: Visit) -> None:
    """They are clicked and sent as without us."""
    visit.open(
        f"<form action='/page'>{fields(OF_FORMS)}<p>Words</p><button name=x value=y>Send</button></form>"
    )
    box = visit.page.evaluate(
        "(({x, y}) => [x + 5, y + 5])(document.querySelector('p').getBoundingClientRect())"
    )
    visit.page.mouse.click(*box)
    with visit.page.expect_navigation():
        visit.page.evaluate("document.querySelector('button').click()")
    assert "x=y" in visit.page.url
    assert visit.errors == []


def test_what_stands_beside_a_text_of_another_document_is_judged(visit: Visit) -> None:
    """A text has no elements in it to be asked for."""
    visit.open(
        f"""<script>
        const made = document.implementation.createHTMLDocument();
        made.body.innerHTML = "words<img alt src='{IMAGE}'>";
        const parts = [...made.body.childNodes];
        document.body.append(...parts);
        {SEEN};
        </script>"""
    )
    visit.wait_for(BENIGN)
    assert TRACKER not in visit.standin.hosts()


def test_elements_called_like_properties_of_the_window_change_nothing(visit: Visit) -> None:
    """Nor like what the guard itself puts there."""
    names = [
        "consent",
        "navigation",
        "trustedTypes",
        "fetch",
        "indexedDB",
        "localStorage",
        "length",
        "Node",
        "Document",
        "fbq",
        "gtag",
    ]
    visit.open(
        "".join(f"<a id={name}></a>" for name in names)
        + f"<script>fetch('{IMAGE}').catch(() => {{}}); {SEEN}</script>",
        decision=deciding(Category.PERFORMANCE),
    )
    visit.wait_for(BENIGN)
    assert TRACKER not in visit.standin.hosts()
    assert visit.page.evaluate("[consent.allows('performance'), consent.allows('targeting')]") == [
        True,
        False,
    ]
    assert visit.errors == []
