"""What the site's own scripts can ask and do: `window.consent`, and templates that wait in pages that change."""

# ruff: noqa: E501 - the long lines are JavaScript and HTML
from __future__ import annotations

import re
from pathlib import Path

from consent.assets import asset_dir
from consent.categories import OPTIONAL, Category
from tests.guard.conftest import CHOICE, Site, Visit, deciding
from tests.guard.test_client import ALLOW, BANNER, EMBED, LOG, another_tab, outcome

HELD = f"<template data-consent='performance/hotjar'><script>{LOG}('held')</script></template>"


def test_scripts_ask_by_name(visit: Visit) -> None:
    """By category, and by vendor in it; what is not a category is not allowed, and nothing odd is an error."""
    visit.open(decision=deciding(Category.PERFORMANCE, vendors={"hotjar": False, "meta-pixel": True}))
    asked = {
        "['strictly-necessary']": True, "['performance']": True, "['targeting']": False,
        "['performance', 'hotjar']": False, "['performance', 'matomo']": True,
        "['targeting', 'meta-pixel']": True, "['targeting', 'criteo']": False,
        "['performance', '']": True, "['performance', null]": True, "['performance', Symbol()]": True,
        "['statistics']": False, "['preferences']": False, "['p']": False, "['']": False, "[]": False,
        "[null]": False, "[5]": False, "[Symbol()]": False, "[{toString() { throw 1; }}]": False, "[['performance']]": False,
    }  # fmt: skip
    answers = visit.page.evaluate(f"[{','.join(asked)}].map(args => consent.allows(...args))")
    assert answers == list(asked.values())
    odd = "[undefined, null, 5, Symbol(), {}, 'x']"
    assert visit.page.evaluate(
        f"{odd}.map(value => [consent.on(value, value), consent.on('ready', value), consent.when(value)].map("
        " promise => (promise.catch(() => 0), promise instanceof Promise)).every(Boolean))"
    ) == [True] * len(odd.split(","))
    assert visit.errors == []


def test_the_types_name_what_is_there(visit: Visit) -> None:
    """No more, and no less."""
    types = (asset_dir("static") / "consent.d.ts").read_text(encoding="utf-8")
    client = types[types.index("interface Client") : types.index("declare const")]
    visit.open()
    assert set(re.findall(r"^    (\w+)\(", client, re.MULTILINE)) == set(
        visit.page.evaluate("Object.keys(consent)")
    )


def test_a_script_chooses_as_the_banner_does(visit: Visit, site: Site) -> None:
    """Through the endpoint, with its answer; then what was held comes, and whoever waited is told."""
    visit.open(
        HELD
        + BANNER
        + """<script>
        window.told = [];
        consent.on("ready", () => told.push("ready"));
        consent.on("change", () => told.push("change " + consent.allows("performance")));
        document.addEventListener("consent:ready", () => told.push("ready on document"));
        consent.when("performance", "hotjar").then(() => told.push("when"));
        consent.when("targeting").then(() => told.push("never"));
        consent.when("strictly-necessary").then(() => told.push("at once"));
        </script>"""
    )
    visit.until("told.includes('ready on document')")
    assert visit.page.evaluate("told") == ["at once", "ready", "ready on document"]
    visit.page.evaluate("window.here = true; told.length = 0; consent.on('ready', () => told.push('late'))")
    assert visit.page.evaluate("told") == ["late"]
    site.outcome = None
    assert visit.page.evaluate("consent.accept()") is None
    assert visit.page.evaluate("consent.set(null)") is None
    assert visit.page.evaluate("consent.allows('performance')") is False
    assert visit.page.locator(".consent-banner").count() == 1
    site.outcome = outcome(Category.PERFORMANCE)
    answer = visit.page.evaluate("consent.set({performance: true, vendors: {}})")
    visit.until("window.order && told.includes('when')")
    assert answer == site.outcome
    assert visit.page.evaluate("[here, told]") == [True, ["late", "change true", "when"]]
    assert visit.page.locator(".consent-banner").count() == 0
    assert visit.page.evaluate("document.activeElement.className") == ""
    assert visit.page.evaluate("document.querySelector('.consent-switch').checked") is True
    site.outcome = outcome()
    with visit.page.expect_navigation():
        visit.page.evaluate("consent.withdraw()")
    visit.page.evaluate("consent.refuse()")
    assert site.submitted == [
        ("json", {"action": "accept"}),
        ("json", {"action": "save"}),
        ("json", {"action": "save", "performance": True, "vendors": {}}),
        ("json", {"action": "withdraw"}),
        ("json", {"action": "refuse"}),
    ]
    assert visit.errors == []


def test_a_script_cannot_allow_more_than_the_server_did(visit: Visit, site: Site) -> None:
    """Whatever it makes of the interface, the guard goes by the server's answer."""
    site.outcome = outcome()
    visit.open(HELD + BANNER)
    visit.page.evaluate(
        """async () => {
            const {accept} = consent;
            consent.allows = () => true;
            window.consent = {allows: () => true};
            await accept();
            document.dispatchEvent(new Event("consent:change"));
            new Image().src = "https://snap.licdn.com/x";
            new Image().src = "https://pictures.example.net/x";
        }"""
    )
    visit.wait_for("pictures.example.net")
    assert "snap.licdn.com" not in visit.standin.hosts()
    assert visit.page.evaluate("window.order") is None


def test_the_preferences_are_opened(visit: Visit, site: Site) -> None:
    """Where the page has none, as a page of their own."""
    visit.open(BANNER)
    for _ in range(2):
        visit.page.evaluate("consent.open()")
        assert visit.page.locator("#consent-preferences").is_visible()
    site.pages[f"{CHOICE}s"] = ({}, "<!doctype html><title>Choices</title>")
    visit.open()
    with visit.page.expect_navigation(url=f"**{CHOICE}s"):
        visit.page.evaluate("consent.open()")


def test_what_comes_later_waits_and_comes_in_its_turn(visit: Visit) -> None:
    """Templates of the site's own that a script adds: at once where allowed, and one after another. What merely has
    the class of a placeholder is in nobody's way."""
    visit.open(BANNER + f"<template data-consent='performance'><script>{LOG}('parsed')</script></template>",
               decision=deciding(Category.PERFORMANCE))  # fmt: skip
    visit.until("window.order")
    visit.page.evaluate(
        """() => {
            const held = (spec, content) => `<template data-consent="${spec}">${content}</template>`;
            const say = text => `<script>order.push("${text}")</script>`;
            const route = document.createElement("main");
            route.innerHTML = '<p class="consent-embed">own</p>'
                + held("performance", '<script src="/slow.js"></script>') + held("targeting", say("no"))
                + held("social", say("no"));
            document.body.append(route);
            setTimeout(() => route.insertAdjacentHTML("beforeend", held("performance", say("later"))));
        }"""
    )
    visit.until("order.length > 2")
    assert visit.page.evaluate("order") == ["parsed", "/slow.js", "later"]
    assert visit.page.locator("main template").count() == 2


def test_bodies_are_exchanged_and_forms_sent_by_others(visit: Visit, site: Site) -> None:
    """As by Turbo and htmx: they do not get the banner's forms, and a page kept from before asks no more."""
    site.outcome = outcome(Category.PERFORMANCE)
    visit.open(HELD + BANNER)
    visit.page.evaluate(
        """() => {
            window.here = true;
            window.kept = document.body.outerHTML;
            window.taken = 0;
            for (const capture of [true, false])
                document.documentElement.addEventListener("submit", event => { taken++; event.preventDefault(); }, capture);
        }"""
    )
    visit.page.get_by_role("button", name="Accept").click()
    visit.until("window.order")
    visit.page.evaluate(
        "document.documentElement.replaceChild(new DOMParser().parseFromString(kept, 'text/html').body, document.body)"
    )
    visit.until("order.length > 1")
    assert visit.page.evaluate("[here, taken, order]") == [True, 0, ["held", "held"]]
    assert visit.page.locator(".consent-banner").count() == 0
    assert visit.page.locator(".consent-control").count() == 1


def test_an_embed_shown_once_is_not_consent(visit: Visit) -> None:
    """Scripts are told of none, and what comes later of the same vendor waits."""
    visit.open(EMBED + BANNER + ALLOW)
    visit.page.get_by_role("button", name="Show once").click()
    visit.wait_for("www.youtube.com")
    visit.page.evaluate("markup => document.body.insertAdjacentHTML('beforeend', markup)", EMBED)
    visit.page.wait_for_timeout(50)
    assert visit.page.locator("iframe").count() == 1
    assert visit.page.evaluate("consent.allows('functional', 'youtube')") is False


def test_another_tab_goes_on_with_what_was_granted_here(visit: Visit, site: Site) -> None:
    """Its banner goes, and what it held comes."""
    other = another_tab(visit, deciding(), HELD + BANNER)
    site.outcome = outcome(*OPTIONAL)
    visit.open(HELD + BANNER)
    visit.page.evaluate("consent.accept()")
    other.wait_for_function("window.order && !document.querySelector('.consent-banner')")
    assert other.evaluate("window.here") is True


def test_the_snippets_of_the_documentation_run(visit: Visit, site: Site) -> None:
    """In a page of nobody's consent, and after it was given."""
    text = (Path(__file__).parents[2] / "docs" / "client.md").read_text(encoding="utf-8")
    fences = re.findall(r"^```(\w+)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    markup = "".join(code for kind, code in fences if kind == "html")
    calls = ["startCounting", "drawMap", "showPlayer", "sayThatItWasNotStored"]
    stubs = "".join(f"window.{name} = (value) => called.push(['{name}', !!value]);" for name in calls)
    asking = "\n".join(code for kind, code in fences if kind == "js" and "await" not in code)
    (choosing,) = [code for kind, code in fences if kind == "js" and "await" in code]
    visit.open(f"<script>window.called = [];{stubs}{asking}</script>{markup}{BANNER}")
    visit.page.get_by_role("button", name="Cookie settings").click()
    assert visit.page.locator("#consent-preferences").is_visible()
    visit.page.evaluate(f"(async () => {{ {choosing} }})()")
    assert visit.page.evaluate("called") == [["sayThatItWasNotStored", False]]
    site.outcome = outcome(*OPTIONAL)
    visit.page.evaluate(f"called.length = 0; (async () => {{ {choosing} }})()")
    visit.until("window.order && called.length == 3")
    assert visit.page.evaluate("called") == [["showPlayer", True], ["showPlayer", True], ["drawMap", False]]
    assert visit.page.evaluate("order") == ["/count.js"]
    assert visit.page.get_by_text("Films from YouTube are on.").count() == 1
    assert visit.errors == []


def test_paths_that_are_somebodys_on_every_host_are_refused_on_the_pages_own(visit: Visit) -> None:
    """However they are asked for; all else of the page's own host is left alone."""
    asked: list[str] = []
    visit.page.on(
        "request", lambda request: asked.append(request.url.partition("/page")[0].rpartition("/")[2])
    )
    visit.open(host="www.shop.example")
    asked.clear()
    visit.page.evaluate(
        """async () => {
            const paths = ["/cdn-cgi/rum", "/own/gtag/js?id=G-1", "matomo.php?idsite=", "/gtag/js?id=", "/api/rum", "i?q="];
            for (const path of paths) {
                const url = (sign) => path + (path.includes("?") ? "" : "?") + sign;
                await fetch(url("f")).catch(() => 0);
                const request = new XMLHttpRequest();
                request.open("GET", url("x"));
                await new Promise(done => { request.onloadend = done; request.send(); });
                navigator.sendBeacon(url("b"));
                const image = new Image();
                await new Promise(done => { image.onload = image.onerror = done; image.src = url("i"); });
                const box = document.createElement("div");
                box.innerHTML = `<img src='${url("m")}'>`;
                await new Promise(done => { box.firstChild.onload = box.firstChild.onerror = done; });
            }
        }"""
    )
    visit.page.wait_for_timeout(100)
    benign = ("js?id=", "rum?", "i?q=")
    assert set(asked) - {"about:invalid"} == {path + sign for path in benign for sign in "fxbim"}
