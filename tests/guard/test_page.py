"""What the page's own scripts see of the guard: as little as may be."""

# ruff: noqa: E501 - the long lines are JavaScript and HTML
from __future__ import annotations

from typing import Any

import pytest

from consent.categories import OPTIONAL, Category
from tests.guard.conftest import NAME, Visit, deciding

TRACKER = "https://snap.licdn.com/x.js"
BENIGN = "https://pictures.example.net/x"


def test_a_refused_script_fails_like_a_network_error(visit: Visit) -> None:
    """Its error event comes later, so that a handler set after insertion hears it; fetch rejects alike."""
    visit.open()
    assert visit.page.evaluate(
        """async url => {
          const script = document.createElement('script');
          script.src = url;
          document.head.append(script);
          const heard = await new Promise(done => {
            script.onload = () => done('load');
            script.onerror = event => done([event.type, event.target === script]);
          });
          const image = await new Promise(done => {
            const image = new Image();
            image.onerror = () => done('error');
            image.src = url;
          });
          const rejected = await fetch(url).catch(error => [error instanceof TypeError, error.message]);
          const asked = await new Promise(done => {
            const request = new XMLHttpRequest();
            request.onloadend = () => done([request.readyState, request.status]);
            request.open('GET', url);
            request.send();
          });
          const socket = await new Promise(done => {
            const socket = new WebSocket('wss://snap.licdn.com/');
            socket.onclose = event => done([socket instanceof WebSocket, event.code]);
          });
          const stream = await new Promise(done => {
            const stream = new EventSource(url);
            stream.onerror = () => done(stream.readyState);
          });
          return [heard, image, rejected, asked, socket, stream, navigator.sendBeacon(url, 'x')];
        }""",
        TRACKER,
    ) == [["error", True], "error", [True, "Failed to fetch"], [4, 0], [True, 1006], 2, True]
    assert visit.standin.hosts().isdisjoint({"snap.licdn.com", "localhost"})


def test_with_everything_allowed_nothing_is_wrapped(visit: Visit) -> None:
    """The browser's own functions are where they were; only the client's listeners are there."""
    visit.open(decision=deciding(*OPTIONAL))
    assert visit.page.evaluate(
        "[fetch, Node.prototype.appendChild, Element.prototype.setAttribute].map(f => f.toString().includes(f.name))"
    ) == [True, True, True]
    assert visit.page.evaluate("consent.allows('targeting', 'meta-pixel')") is True


def test_one_refused_vendor_is_enough_to_guard(visit: Visit) -> None:
    """Everything but one vendor is allowed."""
    visit.open(decision=deciding(*OPTIONAL, vendors={"linkedin-insight": False}))
    assert visit.page.evaluate(
        """urls => urls.map(url => { const e = new Image(); e.src = url; return e.src; })""",
        [TRACKER, "https://px.ads.linkedin.com/x", "https://bat.bing.com/x"],
    ) == ["about:invalid", "about:invalid", "https://bat.bing.com/x"]
    assert visit.page.evaluate(
        "[['targeting', 'linkedin-insight'], ['targeting', 'meta-pixel'], ['targeting'], ['strictly-necessary', 'x']]"
        ".map(names => consent.allows(...names))"
    ) == [False, True, True, True]


ODD = r"""
  const thrower = {toString() { throw new RangeError('mine'); }};
  const calls = {
    'src thrower': () => { new Image().src = thrower; },
    'src symbol': () => { new Image().src = Symbol('x'); },
    'src undefined': () => { const e = new Image(); e.src = undefined; return e.getAttribute('src'); },
    'src null': () => { const e = new Image(); e.src = null; return e.getAttribute('src'); },
    'src number': () => { const e = new Image(); e.src = 7; return e.getAttribute('src'); },
    'setAttribute none': () => document.body.setAttribute(),
    'setAttribute one': () => document.body.setAttribute('src'),
    'setAttribute null': () => { const e = new Image(); e.setAttribute(null, null); return e.outerHTML; },
    'setAttribute bad name': () => document.body.setAttribute('<', 'x'),
    'setAttribute elsewhere': () => Element.prototype.setAttribute.call({}, 'src', 'x'),
    'src elsewhere': () => Object.getOwnPropertyDescriptor(HTMLImageElement.prototype, 'src').set.call({}, 'x'),
    'appendChild null': () => document.body.appendChild(null),
    'appendChild text': () => document.body.appendChild('x'),
    'append many': () => { const e = document.createElement('p'); e.append('a', 1, null, undefined); return e.textContent; },
    'append cycle': () => document.body.appendChild(document.documentElement),
    'innerHTML null': () => { const e = document.createElement('p'); e.innerHTML = null; return e.innerHTML; },
    'innerHTML thrower': () => { document.createElement('p').innerHTML = thrower; },
    'textContent undefined': () => { const e = document.createElement('p'); e.textContent = undefined; return e.textContent; },
    'insertAdjacentHTML bad place': () => document.body.insertAdjacentHTML('nowhere', 'x'),
    'open nothing': () => new XMLHttpRequest().open(),
    'open bad URL': () => new XMLHttpRequest().open('GET', 'http://['),
    'sendBeacon none': () => navigator.sendBeacon(),
    'WebSocket none': () => new WebSocket(),
    'WebSocket called': () => WebSocket('wss://example.com'),
    'WebSocket bad': () => new WebSocket('http://['),
    'cookie symbol': () => { document.cookie = Symbol(); },
    'cookie thrower': () => { document.cookie = thrower; },
    'cookie null': () => { document.cookie = null; },
    'setItem none': () => localStorage.setItem(),
    'setItem thrower': () => localStorage.setItem(thrower, 1),
    'setItem object': () => { localStorage.setItem({}, {}); return localStorage['[object Object]']; },
    'insertRule none': () => new CSSStyleSheet().insertRule(),
    'setProperty null': () => { document.body.style.setProperty('color', null); },
    'FontFace none': () => new FontFace(),
    'indexedDB none': () => indexedDB.open(),
    'animate none': () => document.body.animate(),
    'animate null': () => document.body.animate(null, 1).effect.getKeyframes().length,
    'animate text': () => document.body.animate('abc', 1).effect.getKeyframes(),
    'animate odd': () => document.body.animate([1], 1),
    'animate thrower': () => document.body.animate([{color: thrower}], 1),
    'KeyframeEffect none': () => new KeyframeEffect(),
    'KeyframeEffect subclass': () => { class Mine extends KeyframeEffect {} const k = new Mine(document.body, {color: ['red', 'blue']}, 1); return [k instanceof Mine, k.getKeyframes()[1].color]; },
    'execCommand none': () => document.execCommand(),
    'execCommand odd': () => [document.execCommand('copy', {}), document.execCommand('insertHTML'), document.execCommand(null, null, null)],
    'execCommand thrower': () => document.execCommand('insertHTML', false, thrower),
    'transformToFragment odd': () => new XSLTProcessor().transformToFragment(document, 7),
    'open thrower': () => window.open(thrower),
    'open bad URL': () => window.open('http://['),
    'click elsewhere': () => HTMLElement.prototype.click.call({}),
    'dispatchEvent odd': () => document.body.dispatchEvent({type: 'click'}),
    'frame bad data': () => { const e = document.createElement('iframe'); e.src = 'data:;base64,###'; return e.src; },
    'rule with a rule within': () => {
      const e = document.createElement('style'); e.textContent = 'p { & b { color: red } }'; document.head.append(e);
      return [e.sheet.cssRules[0].style.length, e.sheet.cssRules[0].cssRules[0].style.color];
    },
    'style of a foreign element': () => { const e = document.createElementNS('x', 'y'); document.body.append(e); e.setAttribute('style', 'x'); },
    'rule style elsewhere': () => Object.getOwnPropertyDescriptor(CSSStyleRule.prototype, 'style').get.call({}),
    'Audio none': () => new Audio().src,
    'statics': () => [WebSocket.OPEN, XMLHttpRequest.DONE, EventSource.CLOSED, WebSocket.name, fetch.length],
    'prototypes': () => WebSocket.prototype.isPrototypeOf(new (class extends WebSocket {})('wss://localhost:1')),
    'src string object': () => { const e = new Image(); e.src = new String('x.png'); return e.getAttribute('src'); },
    'src proxy': () => { const e = new Image(); e.src = new Proxy({}, {}); return e.getAttribute('src'); },
    'src bare object': () => { const e = new Image(); e.src = Object.create(null); },
    'innerHTML object': () => { const e = document.createElement('p'); e.innerHTML = {toString: () => '<b>//x</b>'}; return e.innerHTML; },
    'setAttribute object': () => { const e = new Image(); e.setAttribute({toString: () => 'src'}, ['y.png']); return e.outerHTML; },
    'getHTML': () => { const e = document.createElement('p'); e.textContent = 'x'; return e.getHTML({serializableShadowRoots: true}); },
    'setHTML options': () => { const e = document.createElement('p'); e.setHTML('<b>//x</b><i>y</i>', {sanitizer: {elements: ['b']}}); return e.innerHTML; },
    'insertAdjacentHTML none': () => document.body.insertAdjacentHTML('beforeend'),
    'setNamedItem none': () => document.body.attributes.setNamedItem(),
    'detached append': () => { const {appendChild} = document.body; appendChild(document.createElement('p')); },
    'detached open': () => { const {open} = XMLHttpRequest.prototype; open('GET', '/'); },
    'detached setItem': () => { const {setItem} = localStorage; setItem('a', 'b'); },
    'detached fetch': () => { const {fetch: own} = window; return typeof own; },
    'illegal new': () => new Element(),
    'called constructor': () => Audio('x.mp3'),
    'XHR subclass': () => { class Mine extends XMLHttpRequest { open(...args) { this.mine = 1; super.open(...args); } } const x = new Mine(); x.open('GET', '/x'); return [x.mine, x instanceof XMLHttpRequest, x.readyState]; },
    'Request subclass': () => { class Mine extends Request { get mine() { return 1; } } const r = new Mine('/x'); return [r.mine, r instanceof Request, r.method]; },
    'Audio subclass': () => { class Mine extends Audio { get mine() { return 1; } } const a = new Mine('/x.mp3'); return [a.mine, a instanceof HTMLAudioElement]; },
    'EventSource subclass': () => { class Mine extends EventSource { get mine() { return 1; } } const e = new Mine('/x'); e.close(); return [e.mine, e instanceof EventSource]; },
    'custom element': () => {
      const seen = [];
      customElements.define('x-odd', class extends HTMLElement {
        static observedAttributes = ['src'];
        attributeChangedCallback(name, old, value) { seen.push([name, old, value]); }
        set src(value) { this.setAttribute('src', value); }
      });
      const e = document.createElement('x-odd'); e.src = 'https://snap.licdn.com/'; e.innerHTML = '<i>//</i>';
      return [seen, e.outerHTML];
    },
    'names': () => [Node.prototype.appendChild, Element.prototype.setAttribute, fetch, XMLHttpRequest.prototype.open,
      Object.getOwnPropertyDescriptor(Element.prototype, 'innerHTML').set, document.write].map(f => [f.name, f.length, /\[native code\]/.test(f)]),
    'keys': () => [Object.keys(Element.prototype).length, Object.getOwnPropertyNames(Node.prototype).length],
    'URL object': () => { const e = new Image(); e.src = new URL('https://pictures.example.net/'); return e.src; },
  };
  const results = {};
  for (const [name, call] of Object.entries(calls)) {
    try { results[name] = ['returns', call() ?? null]; } catch (error) { results[name] = [error.constructor.name, error.message]; }
  }
  const later = [];
  for (const call of [() => fetch(), () => fetch(thrower), () => fetch('http://['), () => fetch(null)])
    try { later.push(call().then(r => r.status, e => [e.constructor.name, e.message])); } catch (e) { later.push('threw'); }
  return Promise.all(later).then(later => ({...results, later}));
"""


def test_odd_arguments_have_the_browsers_own_answers(visit: Visit) -> None:
    """Every call throws or returns what it does where nothing is wrapped, to the message."""
    results: list[Any] = []
    for decision in (deciding(*OPTIONAL), deciding()):
        visit.open(decision=decision)
        results.append(visit.page.evaluate(f"() => {{ {ODD} }}"))
    assert results[0]["src thrower"] == ["RangeError", "mine"]
    assert results[1] == results[0]


def test_a_value_is_asked_for_its_text_once(visit: Visit) -> None:
    """As often as the browser itself asks."""
    visit.open()
    assert (
        visit.page.evaluate(
            """() => {
              let asked = 0;
              const value = {toString() { asked++; return 'https://pictures.example.net/' }};
              const rule = {toString() { asked++; return 'p { background: url(//pictures.example.net/) }' }};
              new Image().src = value;
              document.body.setAttribute('title', value);
              document.createElement('iframe').setAttribute('src', value);
              document.createElement('p').innerHTML = value;
              document.body.insertAdjacentHTML('beforeend', value);
              new XMLHttpRequest().open('GET', value);
              fetch(value).catch(() => {});
              navigator.sendBeacon(value);
              document.body.style.cssText = rule;
              new CSSStyleSheet().insertRule(rule);
              localStorage.setItem(value, value);
              document.cookie = value;
              document.write(value);
              return asked;
            }"""
        )
        == 14
    )


def test_pages_that_patch_the_same_functions_still_work(visit: Visit) -> None:
    """A patch calls through to the guard, a saved function is the guard's, and `this` stays what it was."""
    visit.open(
        f"""<script>
          window.seen = [];
          const native = window.fetch;
          window.fetch = function (...args) {{ seen.push('fetch'); return native.apply(this, args); }};
          const open = XMLHttpRequest.prototype.open;
          XMLHttpRequest.prototype.open = function () {{ this.mine = arguments[1]; return open.apply(this, arguments); }};
          const property = Object.getOwnPropertyDescriptor(HTMLImageElement.prototype, 'src');
          Object.defineProperty(HTMLImageElement.prototype, 'src', {{
            ...property, set(value) {{ seen.push('src'); property.set.call(this, value); }},
          }});
          const Original = window.WebSocket;
          window.WebSocket = class extends Original {{ mine() {{ return 1; }} }};
          const append = Node.prototype.appendChild;
          Node.prototype.appendChild = function (node) {{ seen.push('append'); return append.call(this, node); }};
          fetch('{TRACKER}').catch(() => seen.push('rejected'));
          const request = new XMLHttpRequest(); request.open('GET', '{TRACKER}'); seen.push(request.mine);
          seen.push(new WebSocket('wss://snap.licdn.com/').mine());
          const image = new Image(); image.src = '{TRACKER}'; document.body.appendChild(image);
          image.src = '{BENIGN}';
        </script>"""
    )
    visit.wait_for("pictures.example.net")
    assert visit.page.evaluate("seen") == [
        "fetch", TRACKER, 1, "src", "append", "src", "rejected",
    ]  # fmt: skip
    assert "snap.licdn.com" not in visit.standin.hosts()
    assert visit.errors == []


@pytest.mark.parametrize(
    "html",
    [
        "<p>Two &amp; three</p><img alt='a > b' src=/x.png><a href=//snap.licdn.com/>a link</a>",
        "<td>x<tr><td>https://snap.licdn.com/ in words",
        "<svg viewBox='0 0 1 1'><clipPath id=a></clipPath><a href='https://snap.licdn.com/'/></svg>",
        "<template><b>//</b></template><x-player src='https://snap.licdn.com/'></x-player>",
        "<pre>\n\nhttps://</pre><textarea>\n<img src=https://snap.licdn.com/></textarea><!-- //x -->",
    ],
)
def test_markup_with_nothing_refused_is_not_touched(visit: Visit, html: str) -> None:
    """The same elements as without the guard: links, words and what only looks like a tracker stay."""
    made: list[str] = []
    for decision in (deciding(*OPTIONAL), deciding()):
        visit.open(decision=decision)
        made.append(
            visit.page.evaluate(
                "html => { const e = document.createElement('table'); e.innerHTML = html; return e.innerHTML; }",
                html,
            )
        )
    assert made[1] == made[0]


def test_markup_with_something_refused_keeps_the_rest(visit: Visit) -> None:
    """Only the refused address gives way; classes, handlers and structure stay."""
    visit.open()
    assert (
        visit.page.evaluate(
            """html => { const e = document.createElement('div'); e.innerHTML = html; return e.innerHTML; }""",
            f'<p class="a">One<img src="{TRACKER}" alt="pixel"><b>two</b></p><i style="background: url({TRACKER})">x</i>',
        )
        == '<p class="a">One<img src="about:invalid" alt="pixel"><b>two</b></p>'
        '<i style="background: url(about:invalid)">x</i>'
    )


def test_markup_is_read_twice_only_where_something_in_it_could_load(visit: Visit) -> None:
    """Rows with classes, data and links are not; whatever has a name that leads to a URL is, however it is written."""
    visit.open()
    url = "https://snap.licdn.com/"
    harmless = "<tr class='row' data-id=\"5\" onclick='f(this)'><td title='src'><a href='/x'>(a = b; @c)</a></td></tr>"
    loading = [
        f"<{element} {name}{equals}'{url} 2x'>"
        for element, name in (
            ("img", "SRC"), ("x", "SrcSet"), ("link imagesizes=x", "imagesrcset"), ("object", "data"),
            ("video", "poster"), ("td", "background"), ("a", "ping"), ("p", "attributionsrc"), ("LINK", "href"),
            ("svg><Image", "href"), ("svg><use", "xlink:href"), ("svg><feImage", "href"), ("base", "href"),
            ("svg><script", "href"), ("svg><set", "to"), ("svg><animate", "values"),
        )
        for equals in ("=", " =\n", "\t=\f ")
    ]  # fmt: skip
    loading += [
        f"<p STYLE = 'background: url({url})'>",
        f"<Style>@import '{url}'</style>",
        f"<svg><style>a {{ fill: url({url}) }}</style></svg>",
        f"<script>import '{url}'</script>",
        f"<iframe srcdoc=\"<img src='{url}'>\"></iframe>",
        f"<template><img src={url}></template>",
    ]
    made = visit.page.evaluate(
        """([harmless, loading]) => {
          let read = 0;
          const make = document.createElement;
          Document.prototype.createElement = function (name) { read += name == 'template'; return make.apply(this, arguments) };
          const set = html => { const e = make.call(document, 'div'); e.innerHTML = html; return e.innerHTML };
          set(harmless.repeat(9));
          return [read, loading.map(set), read];
        }""",
        [harmless, loading],
    )
    assert made[0] == 0
    assert [text for text, kept in zip(loading, made[1], strict=True) if "licdn" in kept] == []
    assert made[2] >= len(loading)


def test_srcset_keeps_its_benign_form(visit: Visit) -> None:
    """Addresses with commas are one address; descriptors are no addresses."""
    visit.open()
    values = [
        "a.jpg 1x, b.jpg 2x", "/w,800/https://pictures.example.net/a.jpg 800w", "a,https://snap.licdn.com/ 1x",
        f"a.jpg 1x,{TRACKER} 2x", f"{TRACKER}", f"a.jpg, {TRACKER}",
    ]  # fmt: skip
    assert visit.page.evaluate(
        "values => values.map(value => { const e = new Image(); e.srcset = value; return e.srcset == value; })",
        values,
    ) == [True, True, True, False, False, False]


def test_refused_cookies_and_keys_are_not_stored(visit: Visit) -> None:
    """By each interface; what belongs to nobody refused is stored as ever."""
    visit.open()
    assert visit.page.evaluate(
        """async () => {
          document.cookie = '_ga=1; path=/; max-age=1000';
          document.cookie = ' _fbp =1';
          document.cookie = 'mine=1';
          await cookieStore.set('_gid', '1');
          await cookieStore.set({name: '_uetsid', value: '1'});
          await cookieStore.set('also', '1');
          localStorage.setItem('li_adsId', '1');
          sessionStorage.setItem('_cltk', '1');
          localStorage.setItem('mine', '1');
          const opened = name => new Promise(done => {
            try {
              const request = indexedDB.open(name, 3);
              request.onerror = request.onsuccess = event => { done(event.type); request.result?.close(); };
            } catch (error) { done(error.name); }
          });
          return [document.cookie, Object.keys(localStorage), Object.keys(sessionStorage),
            await opened('ONE_SIGNAL_SDK_DB'), await opened('mine'), (await indexedDB.databases()).map(d => d.name)];
        }"""
    ) == ["mine=1; also=1", ["mine"], [], "TypeError", "success", ["mine"]]


def test_what_refused_vendors_stored_before_is_cleared(visit: Visit) -> None:
    """Under every Domain and Path a script can reach, and nothing else."""
    visit.open(decision=deciding(*OPTIONAL), host=NAME)
    visit.site.pages["/shop/a/b"] = visit.site.pages["/page"]
    visit.page.goto(f"http://{NAME}/shop/a/b")
    before = visit.page.evaluate(
        """async () => {
          for (const place of ['', '; path=/', '; path=/shop', '; path=/shop/a', '; path=/shop/a/b'])
            for (const domain of ['', '; domain=shop.example', '; domain=www.shop.example'])
              for (const name of ['_ga', '_fbp', 'mine']) document.cookie = name + '=1' + place + domain;
          localStorage.li_adsId = localStorage.mine = sessionStorage._cltk = '1';
          await new Promise(done => indexedDB.open('ONE_SIGNAL_SDK_DB').onsuccess = event => {
            event.target.result.close(); done();
          });
          return document.cookie.split('; ').length;
        }"""
    )
    assert before == 36
    tag = visit.site.guard.markup(deciding(), nonce=None).decode()
    visit.site.pages["/shop/a/b"] = ({}, f"<!doctype html><head>{tag}</head>")
    visit.page.goto(f"http://{NAME}/shop/a/b")
    visit.until("indexedDB.databases().then(found => !found.length)")
    kept = visit.page.evaluate("[document.cookie, Object.keys(localStorage), Object.keys(sessionStorage)]")
    assert set(kept[0].split("; ")) == {"mine=1"}
    assert kept[1:] == [["mine"], []]
    assert {cookie["name"] for cookie in visit.context.cookies()} == {"mine"}


def test_named_properties_of_storage_are_cleared_when_the_page_goes(visit: Visit) -> None:
    """They cannot be refused at once; nothing of them is there on the next page."""
    visit.open()
    visit.page.evaluate("localStorage.li_adsId = localStorage.mine = '1'")
    visit.site.pages["/bare"] = ({}, "<title>bare</title>")
    visit.page.goto(f"http://127.0.0.1:{visit.site.port}/bare")
    assert visit.page.evaluate("Object.keys(localStorage)") == ["mine"]


def test_the_privacy_signal_is_left_alone(visit: Visit) -> None:
    """The guard neither adds nor hides it."""
    states = []
    for decision in (deciding(*OPTIONAL), deciding()):
        visit.open(decision=decision)
        states.append(visit.page.evaluate("[navigator.globalPrivacyControl ?? null, Object.keys(navigator)]"))
    assert states[0] == states[1]


def test_the_guard_runs_under_a_strict_policy_with_a_nonce(visit: Visit) -> None:
    """It needs neither inline code nor eval, and the page's own nonced scripts are not disturbed."""
    policy = "default-src 'none'; script-src 'nonce-r4nd0m' 'strict-dynamic'; img-src *; connect-src 'self'"
    visit.open(
        f"""<script nonce="r4nd0m">
          for (const url of ['{TRACKER}', '{BENIGN}']) new Image().src = url;
          const script = document.createElement('script');
          script.src = '/own.js';
          document.head.append(script);
        </script>""",
        headers={"content-security-policy": policy},
        nonce="r4nd0m",
    )
    visit.wait_for("pictures.example.net")
    visit.until("window.order")
    assert "snap.licdn.com" not in visit.standin.hosts()
    assert visit.page.evaluate("typeof consent.allows") == "function"


def test_without_a_nonce_self_is_enough(visit: Visit) -> None:
    """The guard is a file of the site's own."""
    visit.open(headers={"content-security-policy": "default-src 'self'; img-src *"})
    assert visit.page.evaluate(
        "(() => { const e = new Image(); e.src = 'https://snap.licdn.com/'; return e.src; })()"
    ) == ("about:invalid")


def test_trusted_types_are_passed_as_they_are(visit: Visit) -> None:
    """Where a page must use them, what is benign is set as the trusted object it was."""
    visit.open(
        f"""<script>
          const policy = trustedTypes.createPolicy('mine', {{createScriptURL: x => x, createHTML: x => x}});
          const script = document.createElement('script');
          script.src = policy.createScriptURL('{BENIGN}.js');
          document.head.append(script);
          const box = document.createElement('div');
          box.innerHTML = policy.createHTML('<b>https://x</b>');
          window.made = box.innerHTML;
        </script>""",
        headers={"content-security-policy": "require-trusted-types-for 'script'"},
    )
    visit.wait_for("pictures.example.net")
    assert visit.page.evaluate("made") == "<b>https://x</b>"
    assert visit.errors == []


def test_trusted_types_with_something_refused_stay_trusted(visit: Visit) -> None:
    """What is refused is inert, the rest of the markup is there, and nothing throws."""
    visit.open(
        f"""<script>
          const policy = trustedTypes.createPolicy('mine', {{createScriptURL: x => x, createHTML: x => x, createScript: x => x}});
          const script = document.createElement('script');
          script.src = policy.createScriptURL('{TRACKER}');
          document.head.append(script);
          const box = document.createElement('div');
          box.innerHTML = policy.createHTML('<b>one</b><img src="{TRACKER}"><i>two</i>');
          document.write(policy.createHTML('<u>three</u><img src="{TRACKER}">'));
          const frame = document.createElement('iframe');
          frame.srcdoc = policy.createHTML('<img src="{TRACKER}">');
          window.made = [script.getAttribute('src'), box.innerHTML, document.querySelector('u').textContent, frame.srcdoc];
          new Image().src = '{BENIGN}';
        </script>""",
        headers={"content-security-policy": "require-trusted-types-for 'script'"},
    )
    visit.wait_for("pictures.example.net")
    assert visit.page.evaluate("made") == [
        "about:invalid",
        '<b>one</b><img src="about:invalid"><i>two</i>',
        "three",
        '<img src="about:invalid">',
    ]
    assert "snap.licdn.com" not in visit.standin.hosts()
    assert visit.errors == []


def test_frozen_prototypes_do_not_stop_the_page(visit: Visit) -> None:
    """A page that freezes what it finds freezes the guarded functions."""
    visit.open(
        f"""<script>
          for (const type of [Node, Element, HTMLImageElement, XMLHttpRequest, Storage]) Object.freeze(type.prototype);
          new Image().src = '{TRACKER}'; new Image().src = '{BENIGN}';
          const frame = document.createElement('iframe'); document.body.append(frame);
          new frame.contentWindow.Image().src = '{TRACKER}';
        </script>"""
    )
    visit.wait_for("pictures.example.net")
    assert "snap.licdn.com" not in visit.standin.hosts()
    assert visit.errors == []


def test_libraries_that_wrap_what_is_there_keep_working(visit: Visit) -> None:
    """As zone.js and error reporters do: by prototype, by descriptor, by replacing constructors, keeping originals."""
    visit.open(
        f"""<script>
          window.seen = [];
          for (const [owner, name] of [[Node.prototype, 'appendChild'], [XMLHttpRequest.prototype, 'send'], [window, 'fetch'], [EventTarget.prototype, 'addEventListener']]) {{
            const original = owner[name];
            owner['__zone_symbol__' + name] = original;
            owner[name] = function () {{ seen.push(name); return this['__zone_symbol__' + name] ? original.apply(this, arguments) : original.apply(self, arguments); }};
            Object.defineProperty(owner[name], 'toString', {{value: () => original.toString()}});
          }}
          for (const name of ['innerHTML', 'outerHTML']) {{
            const property = Object.getOwnPropertyDescriptor(Element.prototype, name);
            Object.defineProperty(Element.prototype, name, {{...property, set(html) {{ seen.push(name); property.set.call(this, html); }}}});
          }}
          const Native = WebSocket;
          window.WebSocket = function (url, protocols) {{
            const socket = arguments.length > 1 ? new Native(url, protocols) : new Native(url);
            const proxy = Object.create(socket);
            return proxy;
          }};
          for (const name of ['OPEN', 'CLOSED']) window.WebSocket[name] = Native[name];
          const box = document.createElement('div');
          document.body.appendChild(box);
          box.innerHTML = '<img src="{TRACKER}"><img src="{BENIGN}">';
          fetch('{TRACKER}').catch(() => seen.push('rejected'));
          new WebSocket('wss://snap.licdn.com/');
        </script>"""
    )
    visit.wait_for("pictures.example.net")
    visit.until("seen.includes('rejected')")
    assert visit.page.evaluate("seen") == ["appendChild", "innerHTML", "fetch", "rejected"]
    assert "snap.licdn.com" not in visit.standin.hosts()
    assert visit.errors == []


def test_categories_are_told_apart(visit: Visit) -> None:
    """Performance is granted, targeting is not, on the very same host."""
    visit.open(decision=deciding(Category.PERFORMANCE))
    urls = [f"https://www.googletagmanager.com/gtag/js?id={name}-1" for name in ("G", "AW", "UA", "DC")]
    assert visit.page.evaluate(
        "urls => urls.map(url => { const e = new Image(); e.src = url; return e.src == url; })", urls
    ) == [True, False, True, False]


def test_what_a_refused_snippet_would_define_may_be_called(visit: Visit) -> None:
    """The site's own code goes on; where the vendor is allowed, the name is left to its snippet."""
    call = "<script>fbq('track', 'Lead'); window.went = true;</script>"
    visit.open(call)
    assert visit.page.evaluate("window.went") is True
    assert visit.page.evaluate("[typeof gtag, typeof fbq, 'push' in window]") == [
        "function",
        "function",
        False,
    ]
    visit.open(
        "<script>window.found = [typeof fbq, typeof gtag];</script>",
        decision=deciding(Category.TARGETING),
    )
    # Every vendor that defines gtag must be refused, or the one that is allowed would find it taken.
    assert visit.page.evaluate("window.found") == ["undefined", "undefined"]


def test_the_pages_own_navigation_is_left_alone(visit: Visit) -> None:
    """Within the page, to a page of the site, and back."""
    visit.site.pages["/other"] = ({}, "<title>other</title>")
    visit.open("<script>location.hash = 'x'; history.pushState(0, '', '/page?y');</script>")
    assert visit.page.url.endswith("/page?y")
    with visit.page.expect_navigation(url="**/other"):
        visit.page.evaluate("void setTimeout(() => { location.href = '/other' })")
    with visit.page.expect_navigation(url="**/page?y"):
        visit.page.evaluate("void setTimeout(() => history.back())")
    assert visit.errors == []


# Not by `evaluate`: to the browser, what a test evaluates is what the visitor does.
@pytest.mark.parametrize(
    "link",
    [
        f"<a href='{TRACKER}'>away</a>",
        f"<a href='{TRACKER}' target=_blank>away</a>",
        f"<a href='{TRACKER}' target=sink>away</a><iframe name=sink></iframe>",
        f"""<a onclick="window.open('{TRACKER}')">away</a>""",
        f"""<a onclick="location = '{TRACKER}'">away</a>""",
    ],
)
def test_only_visitors_go_to_what_is_refused(visit: Visit, link: str) -> None:
    """A click of their own leads anywhere, that of a script nowhere."""
    visit.open(link + "<script>document.querySelector('a').click();</script>")
    visit.page.wait_for_timeout(100)
    assert "snap.licdn.com" not in visit.standin.hosts()
    visit.page.get_by_text("away").click()
    visit.wait_for("snap.licdn.com")


def test_a_window_that_is_refused_is_none(visit: Visit) -> None:
    """As where the browser stops a popup; the click of a script is heard by the page."""
    visit.open(
        f"""<a href='{TRACKER}' onclick='window.heard = true; return false'>x</a><script>
          window.found = [open('{TRACKER}'), open('{BENIGN}').closed, document.querySelector('a').click(), window.heard];
        </script>"""
    )
    assert visit.page.evaluate("found") == [None, False, None, True]


def test_what_is_benign_reaches_the_browser_as_it_is(visit: Visit) -> None:
    """Keyframes are the page's own objects, a rule has one style, a frame the address that it was given."""
    visit.open("<style>p { color: red }</style>")
    assert visit.page.evaluate(
        f"""() => {{
          const seen = [];
          const frame = {{get color() {{ seen.push('asked'); return 'red'; }}}};
          const once = (function* () {{ yield frame; yield {{background: 'url({BENIGN})'}}; }})();
          const made = document.body.animate(once, 9).effect.getKeyframes();
          const [rule] = document.styleSheets[0].cssRules;
          const kept = rule.style;
          kept.background = 'url({BENIGN})';
          rule.style.width = '1px';
          const blob = URL.createObjectURL(new Blob(['<img src="{BENIGN}">'], {{type: 'text/html'}}));
          const addresses = [blob, 'data:text/html,<b>x', 'javascript:"{BENIGN}"', 'data:text/plain,{TRACKER}'].map(address => {{
            const e = document.createElement('iframe');
            e.src = address;
            return e.src == address;
          }});
          return [made[0].color, made[1].background.includes('{BENIGN}'), kept === rule.style, kept.width, addresses];
        }}"""
    ) == ["red", True, True, "1px", [True] * 4]


def test_a_page_in_an_address_keeps_what_is_not_refused(visit: Visit) -> None:
    """It stays of the origin that it was of, in its characters, and its own scripts run."""
    visit.open(
        f"""<script>
          window.told = [];
          onmessage = event => told.push(event.data);
          const text = '<p>één</p><img src="{TRACKER}"><img src="{BENIGN}"><script>parent.postMessage(origin + document.querySelector("p").textContent, "*")</scr' + 'ipt>';
          for (const address of ['data:text/html;charset=utf-8,' + encodeURIComponent(text), URL.createObjectURL(new Blob([text], {{type: 'text/html'}}))]) {{
            const frame = document.createElement('iframe');
            frame.src = address;
            document.body.append(frame);
          }}
        </script>"""
    )
    visit.wait_for("pictures.example.net")
    visit.until("told.length == 2")
    assert sorted(visit.page.evaluate("told")) == [f"http://127.0.0.1:{visit.site.port}één", "nulléén"]
    assert "snap.licdn.com" not in visit.standin.hosts()


def test_only_the_attributes_of_a_cookie_tell_that_it_is_deleted(visit: Visit) -> None:
    """A value may have the digits of a year in it, as the numbers of Google's have now and then."""
    visit.open()
    assert (
        visit.page.evaluate(
            """() => {
              document.cookie = '_ga=GA1.1.819704412.1700000000; path=/';
              document.cookie = '_gid=max-age=0; path=/';
              document.cookie = 'mine=1970';
              return document.cookie;
            }"""
        )
        == "mine=1970"
    )


def test_refused_keyframes_leave_the_rest_and_the_pages_objects(visit: Visit) -> None:
    """The animation goes on without the picture; what the page has in hand is as it was."""
    visit.open()
    assert visit.page.evaluate(
        f"""() => {{
          const frames = [{{color: 'red', backgroundImage: 'url("{TRACKER}")'}}, {{color: 'blue'}}];
          const made = document.body.animate(frames, {{duration: 9, id: 'mine'}});
          const [first, second] = made.effect.getKeyframes();
          return [first.backgroundImage, first.color, second.color, made.id, frames[0].backgroundImage];
        }}"""
    ) == ['url("about:invalid")', "red", "blue", "mine", f'url("{TRACKER}")']


def test_a_style_that_cannot_be_set_is_judged_once(visit: Visit) -> None:
    """What is refused within a rule, or in one that cannot be changed, does not keep the page from going on."""
    visit.open(
        f"<style>p {{ & b {{ background: url({TRACKER}) }} }} @font-face {{ font-family: x; src: url({TRACKER}) }}</style>"
        "<script>for (const rule of document.styleSheets[0].cssRules) rule.style.cssText;</script>"
    )
    assert visit.page.title() == "Page"
