"""Scripts that load what a vendor serves, in the ways in which installation pages write it, are the vendor's."""

from __future__ import annotations

import pytest

from consent.catalog import Catalog, load_catalog
from consent.categories import Category
from tests.catalog.test_matching import vendor

CATALOG = load_catalog()
ONE = Catalog([vendor("one", hosts=("tracker.example",))])


def address_of(hosts: tuple[str, ...], urls: tuple[str, ...]) -> str:
    """Return what a vendor serves, without the scheme."""
    return f"{hosts[0]}/lib/x.js" if hosts else urls[0].replace("*", "0")


# Whatever the site may refuse, and a URL that it loads.
REFUSABLE = [
    (vendor.id, address_of(vendor.hosts, tuple(url for url in vendor.urls if url[0] not in "/*")))
    for vendor in CATALOG.vendors.values()
    if vendor.category is not Category.STRICTLY_NECESSARY and (vendor.hosts or vendor.urls)
]

LOADERS = (
    "var s = document.createElement('script'); s.async = true; s.src = 'https://{}'; document.head.appendChild(s);",
    "(function(){var s=document.createElement('script'),x=document.getElementsByTagName('script')[0];"
    "s.src='//{}';x.parentNode.insertBefore(s,x)})();",
    "var e = document.createElement('script'); e.setAttribute('src', 'https://{}');",
    "s.src = `https://{}?id=${id}`;",
    "var url = 'https://{}'; var s = document.createElement('script'); s.src = url; document.head.appendChild(s);",
    "const endpoint = 'https://{}', body = 1; fetch(endpoint, {method: 'POST', body});",
    "let to = \"//{}\"; navigator.sendBeacon(to + '?a=1', data)",
    "Object.assign(document.createElement('script'), {async: true, src: 'https://{}'});",
    # Written into the page
    "document.write('<script src=\"https://{}\"></scr' + 'ipt>');",
    "document.write('<script type=\"text/javascript\" src=\"//{}?r=' + Math.random() + '\"></' + 'script>');",
    "document.write('<script src=\\'https://{}\\'><\\/script>');",
    'document.write("<scr" + "ipt src=\'https://{}\'></scr" + "ipt>");',
    "document.write('\\x3Cscript src=\"https://{}\">\\x3C/script>');",
    "document.write(unescape(\"%3Cscript src='https://{}' type='text/javascript'%3E%3C/script%3E\"));",
    "document.write('<a href=\"/\" target=_blank><img src=\"//{}?r=' + escape(document.referrer) + '\"></a>');",
    "el.innerHTML = '<iframe src=\"https://{}\"></iframe>';",
    "document.body.insertAdjacentHTML('beforeend', '<img src=\"https://{}\">');",
    "$('body').append('<img width=\"1\" src=\"https://{}\">');",
    # Pixels, requests, modules
    "new Image().src = 'https://{}?r=' + Math.random();",
    'var i = new Image(1, 1); i.src = "//{}";',
    "fetch('https://{}', {method: 'POST'});",
    "navigator.sendBeacon('https://{}', data);",
    "var x = new XMLHttpRequest(); x.open('POST', 'https://{}', true); x.send();",
    "$.getScript('https://{}');",
    "$.getJSON('https://{}', show);",
    "axios.post('https://{}', data);",
    "import('https://{}').then(m => m.init());",
    # With the protocol of the page
    "s.src = document.location.protocol + '//{}';",
    "s.src = (location.protocol == 'https:' ? 'https:' : 'http:') + '//{}';",
    "s.src = ('https:' == document.location.protocol ? 'https://' : 'http://') + '{}';",
    "s.src = ('https:' == document.location.protocol ? 'https://ssl' : 'http://www') + '.{}';",
    "s.src = 'https:' == location.protocol ? 'https://{}' : 'http://{}';",
    "var p = (window.location.protocol === 'https:') ? 'https://' : 'http://'; s.src = p + '{}';",
    "var p = (('https:' == document.location.protocol) ? 'https://' : 'http://');"
    "document.write(unescape(\"%3Cscript src='\" + p + \"{}' type='text/javascript'%3E%3C/script%3E\"));",
    # Functions that are called where they stand
    "(function(w,d,s,u){var a=d.createElement(s);a.src=u;d.head.appendChild(a)})(window,document,'script','https://{}');",
    "(function(i,s,o,g,r){i[r]=i[r]||function(){};a=s.createElement(o);a.src=g})"
    '(window, document, "script", "//{}", "x");',
    "(function(d,t,u){var a=d.createElement(t);a.src=u})(document,'script','//{}');",
    "!function(d,u,w){var a=d.createElement('script');a.src=u}(document,'https://{}',window);",
    "!function(w,u){w.load(u)}(window,'https://{}');",
    "(function(u,d){var a=d.createElement('script');a.src=u;w.c=a})('https://{}',document);",
)


@pytest.mark.parametrize("loader", LOADERS)
def test_what_loads_from_a_vendor_is_found_for_every_vendor(loader: str) -> None:
    """Whoever the vendor is, its usual loader needs no signature."""
    codes = [(name, loader.replace("{}", url)) for name, url in REFUSABLE]
    missed = [
        code for name, code in codes if name not in [match.vendor.id for match in CATALOG.match_inline(code)]
    ]
    assert missed == []


def test_all_vendors_that_can_be_refused_are_asked_about() -> None:
    """A vendor without hosts is asked about by its URL patterns."""
    assert len(REFUSABLE) > 1300
    assert all("/" in url for _, url in REFUSABLE)


@pytest.mark.parametrize(
    "code",
    [
        # A name that leads to a link, to something else, or to another host
        "var u = 'https://tracker.example/x'; a.href = u;",
        "var u = 'https://tracker.example/x'; s.src = '/own.js';",
        "var u = 'https://tracker.example/x'; s.src = other;",
        "var u = 'https://tracker.example/x'; s.src = u.own;",
        "var u = 'https://tracker.example/x'; s.src = u(1);",
        "var u = 'https://tracker.example/x'; u = '/own.js'; s.src = u;",
        "var u = 'https://tracker.example/x'; function load(u) { s.src = u; }",
        "var u = 'https://tracker.example/x'; // s.src = u;",
        "var u = 'https://tracker.example/x'; if (s.src == u) go();",
        "var u = 'https://tracker.example/x', src = u;",
        "var t = \"var u = 'https://tracker.example/x'; s.src = u;\", u = '/own.js'; s.src = u;",
        "var links = {u: 'https://tracker.example/x'}; s.src = links.u;",
        # The page's protocol before a link, or before another host
        "location.href = location.protocol + '//tracker.example/x';",
        "a.href = ('https:' == location.protocol ? 'https://' : 'http://') + 'tracker.example/x';",
        "s.src = location.protocol + '//own.example/tracker.example/x';",
        "s.src = location.protocol + '//' + location.host + '/tracker.example/x';",
        "s.src = ('https:' == location.protocol ? 'https://own' : 'http://own') + '.tracker.example.own.example/x';",
        "s.src = base + 'tracker.example/x'; see(location.protocol);",
        "var base = '/static/'; s.src = base + 'tracker.example/x'; see(location.protocol == 'https:' ? 1 : 2);",
        "// s.src = location.protocol + '//tracker.example/x';",
        "var t = \"s.src = location.protocol + '//tracker.example/x';\";",
        # Markup as data or prose
        "var html = '<script src=\"https://tracker.example/x.js\"></script>';",
        "el.textContent = '<img src=\"https://tracker.example/x.gif\">';",
        'el.innerHTML = \'<a href="https://tracker.example/x">src="https://tracker.example/x"</a>\';',
        'el.innerHTML = \'<img src="/own.png" alt="x">\'; // https://tracker.example/x',
        "rewrite('<script src=\"https://tracker.example/x.js\"></script>');",
        "el.dataset.innerHTML2 = '<img src=\"https://tracker.example/x.gif\">';",
        # Arguments of another kind
        "see('https://tracker.example/x', document.title);",
        "(function(u){ see(u) })('https://tracker.example/x');",
        "(function(u, t){ see(u) })('https://tracker.example/x', 'window');",
        "window.open('https://tracker.example/x');",
        "[document, ['https://tracker.example/x']]",
        "var page = {src: 'https://tracker.example/x'};",
        "Object.assign(page, {src: 'https://tracker.example/x'});",
        "Object.assign(document.createElement('a'), {src: 'https://tracker.example/x'});",
        '{"protocol": "https:", "src": "https://tracker.example/x"}',
    ],
)
def test_naming_what_a_vendor_serves_is_not_loading_it(code: str) -> None:
    """Links, data, prose and what leads elsewhere are left alone."""
    assert ONE.match_inline(code) == ()
