"""A choice takes effect without a reload, and with one where that is the only way."""

# ruff: noqa: E501 - the long lines are JavaScript and HTML
from __future__ import annotations

from playwright.sync_api import Page, Playwright

from consent.categories import OPTIONAL, Category
from consent.decision import Decision
from tests.browser.chromium import find_chromium
from tests.guard.conftest import CHOICE, Site, Visit, deciding

BANNER = f"""
<section class="consent-root">
<form class="consent-banner" method="post" action="{CHOICE}">
<input type="hidden" name="shown" value="abc"><input type="hidden" name="return_to" value="/page">
<button name="action" value="accept">Accept</button>
<button name="action" value="refuse">Refuse</button>
<button formmethod="get" formaction="/page">Choose</button>
</form>
<div class="consent-control"><button class="consent-pill" type="button" popovertarget="consent-preferences">Privacy</button>
<span class="consent-status" role="status" data-saved="Saved."></span></div>
<div class="consent-preferences" id="consent-preferences" popover>
<form class="consent-form" method="post" action="{CHOICE}">
<input class="consent-switch" type="checkbox" name="performance" value="on">
<input class="consent-switch" type="checkbox" name="functional" value="on">
<input class="consent-switch" type="checkbox" name="targeting" value="on">
<button name="action" value="save">Save</button>
<button name="action" value="withdraw">Withdraw</button>
</form></div>
</section>
"""
EMBED = """
<p><span class="consent-embed" data-consent="functional/youtube"><span class="consent-root">
<button type="button" data-consent-once>Show once</button>
<button form="consent-allow" name="allow" value="youtube 0a">Always allow</button></span>
<template data-consent="functional/youtube"><iframe title="film" src="https://www.youtube.com/embed/x" width="560"></iframe></template>
</span></p>
"""
ALLOW = f"""
<form id="consent-allow" method="post" action="{CHOICE}" hidden><input type="hidden" name="form" value="embed"></form>
"""
LOG = "window.order = (window.order || []).concat"


def outcome(*granted: Category, vendors: str = "") -> dict[str, object]:
    """What the endpoint answers, as far as the client reads it; ``vendors``: each after a blank."""
    return {"allowed": "".join(category[0] for category in OPTIONAL if category in granted) + vendors}


def test_accepting_reloads_where_the_server_kept_things_out(visit: Visit, site: Site) -> None:
    """What is not in the page, held, comes with the next one."""
    site.outcome = outcome(*OPTIONAL)
    visit.open(BANNER)
    with visit.page.expect_navigation():
        visit.page.get_by_role("button", name="Accept").click()
    assert site.submitted == [("json", {"shown": "abc", "return_to": "/page", "action": "accept"})]


def test_accepting_takes_effect_without_a_reload_where_all_is_held(visit: Visit, site: Site) -> None:
    """The banner goes, the control gets the focus, it is announced, and what was refused is not any more."""
    site.outcome = outcome(*OPTIONAL)
    visit.open(
        "<template data-consent='targeting/meta-pixel'></template>"
        + BANNER
        + "<script>document.addEventListener('consent:change', () => window.told = consent.allows('targeting'))</script>"
    )
    visit.page.evaluate("window.here = true")
    visit.page.get_by_role("button", name="Accept").click()
    visit.until("window.told")
    assert site.submitted == [("json", {"shown": "abc", "return_to": "/page", "action": "accept"})]
    assert visit.page.evaluate("window.here") is True
    assert visit.page.locator(".consent-banner").count() == 0
    assert visit.page.evaluate("document.activeElement.className") == "consent-pill"
    assert visit.page.get_by_role("status").inner_text() == "Saved."
    assert (
        visit.page.evaluate("[...document.querySelectorAll('.consent-switch')].map(s => s.checked)")
        == [True] * 3
    )
    visit.page.evaluate("new Image().src = 'https://snap.licdn.com/x'")
    visit.wait_for("snap.licdn.com")


def test_a_page_that_misses_what_was_granted_is_loaded_anew(visit: Visit, site: Site) -> None:
    """What is held in it does not make up for what the server took out, if that is allowed now."""
    held = f"<template data-consent='functional/youtube'><script>{LOG}(1)</script></template>"
    missing = (
        "<template class='consent-missing' data-consent='performance/hotjar targeting/criteo'></template>"
    )
    site.outcome = outcome(Category.FUNCTIONAL)
    visit.open(held + BANNER + missing)
    visit.page.evaluate("window.here = true")
    visit.page.get_by_role("button", name="Accept").click()
    visit.until("window.order")
    assert visit.page.evaluate("window.here") is True
    site.outcome = outcome(Category.TARGETING)
    visit.open(held + BANNER + missing)
    with visit.page.expect_navigation():
        visit.page.get_by_role("button", name="Accept").click()


def test_refusing_what_was_not_allowed_needs_no_reload(visit: Visit, site: Site) -> None:
    """Nothing ran, so there is nothing to take back; what was held stays held."""
    site.outcome = outcome()
    visit.open(f"<template data-consent='targeting/meta-pixel'><script>{LOG}(1)</script></template>{BANNER}")
    visit.page.evaluate("window.here = true")
    visit.page.get_by_role("button", name="Refuse").click()
    visit.until("!document.querySelector('.consent-banner')")
    assert visit.page.evaluate(
        "[window.here, window.order, document.querySelectorAll('template').length]"
    ) == [True, None, 1]


def test_withdrawing_reloads(visit: Visit, site: Site) -> None:
    """What runs cannot be taken back."""
    site.outcome = outcome(Category.PERFORMANCE)
    visit.open(BANNER, decision=deciding(Category.PERFORMANCE, Category.TARGETING))
    visit.page.evaluate("window.here = true")
    visit.page.evaluate("document.getElementById('consent-preferences').showPopover()")
    with visit.page.expect_navigation():
        visit.page.get_by_role("button", name="Withdraw").click()
    assert visit.page.evaluate("window.here") is None
    assert site.submitted == [("json", {"action": "withdraw"})]


def test_when_the_endpoint_fails_the_form_does_its_work(visit: Visit, site: Site) -> None:
    """The same fields go as without scripts, and the visitor sees the server's own page."""
    visit.open(BANNER)
    with visit.page.expect_navigation():
        visit.page.get_by_role("button", name="Accept").click()
    fields = {"shown": "abc", "return_to": "/page", "action": "accept"}
    assert site.submitted == [("json", fields), ("page", fields)]
    assert visit.page.get_by_role("heading").inner_text() == "By the form"


def test_pressing_twice_submits_once(visit: Visit, site: Site) -> None:
    """A choice is one receipt."""
    site.outcome = outcome()
    visit.open(BANNER)
    visit.page.get_by_role("button", name="Refuse").dblclick()
    visit.until("!document.querySelector('.consent-banner')")
    assert len(site.submitted) == 1


def test_a_no_pressed_while_a_yes_is_under_way_wins(visit: Visit, site: Site) -> None:
    """It is sent when the yes is through, and the yes takes no effect: nothing comes, and no page is loaded anew."""
    site.slow, site.outcome = "accept", outcome()
    site.outcomes = {"accept": outcome(*OPTIONAL), "refuse": outcome()}
    visit.open(f"<template data-consent='targeting/meta-pixel'><script>{LOG}(1)</script></template>{BANNER}")
    visit.page.evaluate(
        "window.here = 1; window.told = []; consent.on('change', () => told.push(consent.allows('targeting')))"
    )
    visit.page.get_by_role("button", name="Accept").click()
    visit.page.get_by_role("button", name="Refuse").click()
    assert [fields["action"] for _, fields in site.submitted] == ["accept"]
    visit.until("!document.querySelector('.consent-banner')")
    assert [(kind, fields["action"]) for kind, fields in site.submitted] == [
        ("json", "accept"),
        ("json", "refuse"),
    ]
    assert visit.page.evaluate("[window.here, window.order, window.told]") == [1, None, [False]]
    assert visit.page.locator("[data-saved]").inner_text() == "Saved."


def test_a_no_that_a_script_says_while_a_yes_is_under_way_wins_too(visit: Visit, site: Site) -> None:
    """Whoever says them; each is told what became of its own."""
    site.slow = "accept"
    site.outcomes = {"accept": outcome(*OPTIONAL), "refuse": outcome()}
    visit.open(BANNER)
    said = visit.page.evaluate(
        "(async () => { window.here = 1; return Promise.all([consent.accept(), consent.refuse()]) })()"
    )
    assert [answer["allowed"] for answer in said] == ["pft", ""]
    assert visit.page.evaluate("[window.here, consent.allows('targeting')]") == [1, False]
    assert [fields["action"] for _, fields in site.submitted] == ["accept", "refuse"]


def test_a_no_that_cannot_be_sent_goes_by_the_form_after_a_yes(visit: Visit, site: Site) -> None:
    """And the yes takes no effect before."""
    site.slow, site.outcome = "accept", None
    site.outcomes = {"accept": outcome(*OPTIONAL)}
    visit.open(BANNER)
    with visit.page.expect_navigation():
        visit.page.get_by_role("button", name="Accept").click()
        visit.page.get_by_role("button", name="Refuse").click()
    assert [(kind, fields["action"]) for kind, fields in site.submitted] == [
        ("json", "accept"),
        ("json", "refuse"),
        ("page", "refuse"),
    ]
    assert visit.page.get_by_role("heading").inner_text() == "By the form"


def test_a_yes_that_fails_does_not_stand_in_the_way_of_a_no(visit: Visit, site: Site) -> None:
    """No form of it is sent, either."""
    site.slow, site.outcome = "accept", None
    site.outcomes = {"refuse": outcome()}
    visit.open(BANNER)
    visit.page.get_by_role("button", name="Accept").click()
    visit.page.get_by_role("button", name="Refuse").click()
    visit.until("!document.querySelector('.consent-banner')")
    assert [(kind, fields["action"]) for kind, fields in site.submitted] == [
        ("json", "accept"),
        ("json", "refuse"),
    ]


def test_a_no_pressed_while_the_page_is_about_to_be_loaded_anew_wins(visit: Visit, site: Site) -> None:
    """The form goes before the page's own loading, which would show what was accepted."""
    site.outcomes = {"accept": outcome(*OPTIONAL), "refuse": outcome()}
    visit.open(BANNER)
    visit.page.evaluate(
        """() => {
          const [yes, no] = document.querySelectorAll('.consent-banner button');
          const sent = window.fetch;
          window.fetch = async (...all) => {
            const answer = await sent(...all);
            const read = answer.json.bind(answer);
            answer.json = async () => { const said = await read(); setTimeout(() => no.click()); return said };
            return answer;
          };
          yes.click();
        }"""
    )
    visit.page.get_by_role("heading", name="By the form").wait_for()
    assert [(kind, fields["action"]) for kind, fields in site.submitted] == [
        ("json", "accept"),
        ("page", "refuse"),
    ]


def test_the_same_button_counts_again_when_its_choice_is_through(visit: Visit, site: Site) -> None:
    """Whoever saves twice, with other switches."""
    site.outcome = outcome()
    visit.open(BANNER)
    visit.page.evaluate("document.getElementById('consent-preferences').showPopover()")
    for _ in range(2):
        visit.page.evaluate("document.querySelector('.consent-status').textContent = ''")
        visit.page.evaluate("document.querySelector('.consent-form [value=save]').click()")
        visit.until("(document.querySelector('.consent-status').textContent == 'Saved.')")
    assert [fields["action"] for _, fields in site.submitted] == ["save", "save"]


def test_a_switch_turned_off_while_it_is_being_saved_counts(visit: Visit, site: Site) -> None:
    """The same button with something else is another choice; with the same it is none."""
    site.slow, site.outcome = "save", outcome()
    visit.open(BANNER)
    visit.page.evaluate(
        """() => {
          const [yes, save] = ['[name=targeting]', '[value=save]'].map(name => document.querySelector('.consent-form ' + name));
          yes.checked = true;
          save.click();
          save.click();
          yes.checked = false;
          save.click();
          save.click();
        }"""
    )
    visit.until("(document.querySelector('.consent-status').textContent == 'Saved.')")
    assert [fields for _, fields in site.submitted] == [
        {"targeting": "on", "action": "save"},
        {"action": "save"},
    ]


def test_other_forms_and_the_button_that_leads_elsewhere_are_left_alone(visit: Visit, site: Site) -> None:
    """Only a choice is sent by script."""
    visit.open(BANNER + "<form action='/page'><button name=x value=y>Other</button></form>")
    with visit.page.expect_navigation():
        visit.page.get_by_role("button", name="Choose").click()
    with visit.page.expect_navigation():
        visit.page.get_by_role("button", name="Other").click()
    assert site.submitted == []


def test_held_scripts_come_back_as_if_they_had_never_gone(visit: Visit, site: Site) -> None:
    """In document order, external ones in sequence, deferred ones and modules last; attributes and nonces kept."""
    site.outcome = outcome(*OPTIONAL)
    held = [
        f"<script nonce='n1'>{LOG}('inline 1 ' + document.currentScript.nonce)</script>",
        "<script src='/slow-a.js' id='a' class='x' data-y='z' crossorigin='anonymous'></script>",
        f"<script nonce='n1'>{LOG}('inline 2 ' + !!document.getElementById('a').isConnected)</script>",
        "<script defer src='/deferred.js'></script>",
        f"<script type='module' nonce='n1'>{LOG}('module')</script>",
        "<script src='/missing.html'></script>",
        f"<script nonce='n1'>{LOG}('inline 3')</script><p id='text'>held text</p>",
        "<script src='/b.js'></script><script type='application/json'>{}</script>",
        f"<script nonce='n1'>{LOG}('inline 4')</script>",
    ]
    templates = "".join(f"<template data-consent='performance/hotjar'>{markup}</template>" for markup in held)
    policy = "script-src 'self' 'nonce-n1'"
    visit.open(templates + BANNER, headers={"content-security-policy": policy}, nonce="n1")
    assert visit.page.evaluate("window.order") is None
    visit.page.get_by_role("button", name="Accept").click()
    visit.until("(window.order || []).length == 8")
    assert visit.page.evaluate("order") == [
        "inline 1 n1", "/slow-a.js", "inline 2 true", "inline 3", "/b.js", "inline 4", "/deferred.js", "module",
    ]  # fmt: skip
    assert visit.page.evaluate("[a.className, a.dataset.y, a.crossOrigin, a.async, text.textContent]") == [
        "x", "z", "anonymous", False, "held text",
    ]  # fmt: skip
    assert visit.page.evaluate("document.querySelectorAll('template').length") == 0
    assert visit.errors == []


def test_an_async_script_keeps_nobody_waiting(visit: Visit, site: Site) -> None:
    """It is asked for, and what follows runs at once."""
    site.outcome = outcome(*OPTIONAL)
    visit.open(
        "<template data-consent='performance/hotjar'><script async src='https://static.hotjar.com/c/hotjar-1.js'></script>"
        f"<script>{LOG}(performance.getEntriesByType('resource').some(e => /hotjar/.test(e.name)))</script></template>"
        + BANNER
    )
    visit.page.get_by_role("button", name="Accept").click()
    visit.until("window.order")
    assert visit.page.evaluate("order") == [False]
    visit.wait_for("static.hotjar.com")


def test_only_what_is_allowed_is_given_back(visit: Visit, site: Site) -> None:
    """By category and by vendor; what names several needs them all; a category alone will do."""
    site.outcome = outcome(Category.PERFORMANCE, vendors=" hotjar meta-pixel")
    specs = [
        "performance/hotjar", "performance/matomo", "targeting/meta-pixel", "targeting/criteo", "performance",
        "functional", "performance/matomo targeting/criteo", "performance/matomo targeting/meta-pixel",
    ]  # fmt: skip
    visit.open(
        "".join(
            f"<template data-consent='{spec}'><script>{LOG}('{spec}')</script></template>" for spec in specs
        )
        + BANNER
    )
    visit.page.get_by_role("button", name="Accept").click()
    visit.until("(window.order || []).length == 4")
    assert visit.page.evaluate("order") == [specs[1], specs[2], specs[4], specs[7]]


def test_attributes_of_the_pages_own_are_none_of_ours(visit: Visit, site: Site) -> None:
    """What waits in a template comes back, whatever else the page has with such an attribute."""
    site.outcome = outcome(*OPTIONAL)
    held = "<template data-consent='performance/hotjar'><i>held</i></template>"
    visit.open(
        "<meta data-consent='statistics' content='x'><p data-consent='functional/youtube'></p>"
        f"<div data-consent='statistics' id='own'>{held}</div>" + BANNER
    )
    visit.page.get_by_role("button", name="Accept").click()
    visit.until("document.querySelector('i')")
    assert visit.page.evaluate("document.querySelector('#own').innerHTML") == "<i>held</i>"
    assert visit.errors == []


def test_an_embed_is_shown_once_without_a_choice(visit: Visit, site: Site) -> None:
    """Only that one, with its vendor let through until the page is left; the focus goes into it."""
    visit.open(EMBED + EMBED.replace("film", "other") + BANNER + ALLOW)
    visit.page.get_by_role("button", name="Show once").first.click()
    visit.wait_for("www.youtube.com")
    assert visit.page.evaluate("[...document.querySelectorAll('iframe')].map(f => [f.title, f.width])") == [
        ["film", "560"]
    ]
    assert visit.page.evaluate("document.activeElement.title") == "film"
    assert visit.page.locator(".consent-embed").count() == 1
    assert site.submitted == []
    assert "snap.licdn.com" not in visit.standin.hosts()
    assert visit.page.locator(".consent-banner").count() == 1


def test_an_embed_can_always_be_allowed(visit: Visit, site: Site) -> None:
    """A choice for its vendor, and every embed of the vendor comes back."""
    site.outcome = outcome(vendors=" youtube")
    visit.open(EMBED + EMBED.replace("film", "other") + BANNER + ALLOW)
    visit.page.get_by_role("button", name="Always allow").first.click()
    visit.wait_for("www.youtube.com")
    assert site.submitted == [("json", {"form": "embed", "allow": "youtube 0a"})]
    assert visit.page.evaluate("[...document.querySelectorAll('iframe')].map(f => f.title)") == [
        "film",
        "other",
    ]
    assert visit.page.evaluate("document.activeElement.title") == "film"
    assert visit.page.evaluate("[consent.allows('functional'), consent.allows('functional', 'youtube')]") == [
        False,
        True,
    ]


def test_a_page_without_the_banner_works_too(visit: Visit, site: Site) -> None:
    """As in a frame, or where a site has placed nothing but an embed."""
    site.outcome = outcome(vendors=" youtube")
    visit.open(EMBED + ALLOW)
    visit.page.get_by_role("button", name="Always allow").click()
    visit.wait_for("www.youtube.com")
    assert visit.errors == []


def another_tab(visit: Visit, decision: Decision, body: str = "") -> Page:
    """The site's page once more, in a tab of its own."""
    page = visit.context.new_page()
    tag = visit.site.guard.markup(decision, nonce=None).decode()
    start = f"<!doctype html><html lang=en><head>{tag}</head><body>"
    visit.site.pages["/other"] = ({}, f"{start}{body}</body></html>")
    page.goto(f"http://127.0.0.1:{visit.site.port}/other")
    page.evaluate("window.here = true")
    return page


def test_other_tabs_stop_what_is_taken_back(visit: Visit, site: Site) -> None:
    """They are loaded anew, as the tab of the choice is: what runs there cannot be taken back otherwise."""
    allowed = deciding(Category.PERFORMANCE, Category.TARGETING)
    other = another_tab(visit, allowed)
    site.outcome = outcome(Category.PERFORMANCE)
    visit.open(BANNER, decision=allowed)
    visit.page.evaluate("document.getElementById('consent-preferences').showPopover()")
    with other.expect_navigation(), visit.page.expect_navigation():
        visit.page.get_by_role("button", name="Withdraw").click()
    assert other.evaluate("window.here") is None


def test_other_tabs_go_on_where_nothing_is_taken_back(visit: Visit, site: Site) -> None:
    """What was granted counts there, too, from then on."""
    other = another_tab(visit, deciding(Category.PERFORMANCE))
    site.outcome = outcome(*OPTIONAL)
    visit.open(BANNER, decision=deciding(Category.PERFORMANCE))
    with visit.page.expect_navigation():
        visit.page.get_by_role("button", name="Accept").click()
    other.wait_for_function("consent.allows('targeting')")
    assert other.evaluate("window.here") is True


def test_a_page_kept_from_before_a_withdrawal_is_not_shown_again(
    playwright: Playwright, running_site: Site
) -> None:
    """Going back to it loads it anew; without a withdrawal the browser shows the page it kept."""
    browser = playwright.chromium.launch(
        executable_path=find_chromium(playwright)[0],
        args=["--no-sandbox"],
        ignore_default_args=["--disable-back-forward-cache"],
    )
    try:
        kept: dict[str, bool] = {}
        for button in ("Choose", "Withdraw"):
            site = running_site
            site.outcome = outcome()
            tag = site.guard.markup(deciding(*OPTIONAL), nonce=None).decode()
            for path in ("/first", "/second"):
                site.pages[path] = (
                    {},
                    f"<!doctype html><html lang=en><head>{tag}</head><body>{BANNER}</body></html>",
                )
            page = browser.new_context().new_page()
            page.goto(f"http://127.0.0.1:{site.port}/first")
            page.evaluate("window.here = true")
            page.goto(f"http://127.0.0.1:{site.port}/second")
            if button == "Withdraw":
                page.evaluate("document.getElementById('consent-preferences').showPopover()")
                with page.expect_navigation():
                    page.get_by_role("button", name=button).click()
            page.evaluate("history.back()")
            page.wait_for_url("**/first", wait_until="commit")
            kept[button] = page.evaluate("window.here === true")
        assert kept == {"Choose": True, "Withdraw": False}
    finally:
        browser.close()
