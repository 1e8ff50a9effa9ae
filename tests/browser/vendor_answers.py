"""What the stand-in answers: small scripts that behave like the vendors' own, and plausible everything else.

A vendor's loader does here what the real one does that matters for consent: it sets the vendor's cookies and
storage keys in the page's own origin, and reports to the vendor's collection host.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass

GIF = base64.b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7")
"""A transparent pixel."""

PRELUDE = """(function () {
  // Like the vendors': on the widest domain that the browser takes, here the last two labels.
  var host = location.hostname, labels = host.split(".");
  var named = labels.length > 1 && !/^[0-9.]+$/.test(host);
  var domain = named ? "; Domain=" + labels.slice(-2).join(".") : "";
  function cookie(name, value) {
    document.cookie = name + "=" + value + domain + "; Path=/; Max-Age=33696000; SameSite=Lax";
  }
  function keep(key, value) { localStorage.setItem(key, value); }
  function keepForNow(key, value) { sessionStorage.setItem(key, value); }
  function pixel(url) { new Image().src = url; }
  function script(url) {
    var element = document.createElement("script");
    element.async = true; element.src = url;
    document.head.appendChild(element);
  }
  function frame(url) {
    var element = document.createElement("iframe");
    element.hidden = true; element.title = "stand-in"; element.src = url;
    document.body.appendChild(element);
  }
  function post(url) { fetch(url, {method: "POST", mode: "no-cors", keepalive: true, body: "stand-in"}); }
  var own = document.currentScript ? new URL(document.currentScript.src) : location;
"""

SCRIPTS: tuple[tuple[str, str, str], ...] = (
    # Tag Manager's container carries one further tag, as containers do: here Pinterest's.
    ("www.googletagmanager.com", "/gtm.js", """script("https://s.pinimg.com/ct/core.js");"""),
    (
        "www.googletagmanager.com",
        "/gtag/js?id=G-",
        """cookie("_ga", "GA1.1.1000000001.1700000000");
        cookie("_ga_0FERNWELL0", "GS1.1.1700000000");
        post("https://www.google-analytics.com/g/collect?v=2&tid=G-0FERNWELL0");""",
    ),
    (
        "www.googletagmanager.com",
        "/gtag/js?id=AW-",
        """cookie("_gcl_au", "1.1.1000000001.1700000000");
        pixel("https://googleads.g.doubleclick.net/pagead/viewthroughconversion/0012345678/?guid=ON");""",
    ),
    (
        "connect.facebook.net",
        "/en_US/fbevents.js",
        """cookie("_fbp", "fb.1.1700000000.1000000001");
        pixel("https://www.facebook.com/tr/?id=000000123456789&ev=PageView");""",
    ),
    (
        "snap.licdn.com",
        "/li.lms-analytics/insight.min.js",
        """cookie("li_fat_id", "00000000-0000-4000-8000-000000000001"); keep("li_adsId", "stand-in");
        pixel("https://px.ads.linkedin.com/collect?v=2&fmt=js&pid=0012345");""",
    ),
    (
        "static.ads-twitter.com",
        "/uwt.js",
        """cookie("_twpid", "tw.1700000000");
        pixel("https://t.co/i/adsct?txn_id=o0000"); pixel("https://analytics.twitter.com/i/adsct?txn_id=o0000");""",
    ),
    (
        "js.hs-scripts.com",
        "/",
        """script("https://js.hs-analytics.net/analytics/1700000000000/00123456.js");
        script("https://js.hs-banner.com/v2/00123456/banner.js");""",
    ),
    (
        "js.hs-analytics.net",
        "/",
        """cookie("hubspotutk", "stand-in"); cookie("__hstc", "stand-in"); cookie("__hssc", "stand-in");
        cookie("__hssrc", "1"); pixel("https://track.hubspot.com/__ptq.gif?a=00123456");""",
    ),
    (
        "static.hotjar.com",
        "/c/hotjar-",
        """cookie("_hjSessionUser_0012345", "stand-in"); cookie("_hjSession_0012345", "stand-in");
        keepForNow("_hjTLDTest", "1"); script("https://script.hotjar.com/modules.js");""",
    ),
    ("script.hotjar.com", "/", """new WebSocket("wss://ws.hotjar.com/api/v2/client/ws");"""),
    (
        "www.clarity.ms",
        "/tag/",
        """cookie("_clck", "stand-in"); cookie("_clsk", "stand-in");
        post("https://y.clarity.ms/collect"); pixel("https://c.clarity.ms/c.gif");""",
    ),
    (
        "bat.bing.com",
        "/bat.js",
        """window.UET = function () { this.push = function () {}; };
        cookie("_uetsid", "stand-in"); cookie("_uetvid", "stand-in"); keep("_uetsid", "stand-in");
        pixel("https://bat.bing.com/action/0?ti=0012345&evt=pageLoad");""",
    ),
    (
        "analytics.tiktok.com",
        "/i18n/pixel/events.js",
        """cookie("_ttp", "stand-in"); cookie("_tt_enable_cookie", "1");
        keepForNow("tt_sessionId", "stand-in");
        navigator.sendBeacon("https://analytics.tiktok.com/api/v2/pixel", "stand-in");""",
    ),
    (
        "s.pinimg.com",
        "/ct/core.js",
        """cookie("_pin_unauth", "stand-in"); pixel("https://ct.pinterest.com/v3/?tid=0012345");""",
    ),
    (
        "widget.freshworks.com",
        "/widgets/",
        """keep("freshworks-widget", "stand-in");
        frame("https://widget.freshworks.com/widgetBase/frame.html");""",
    ),
    (
        "wchat.freshchat.com",
        "/js/widget.js",
        """window.fcWidget = {init: function () {
          keep("fc_widget", "stand-in"); frame("https://wchat.freshchat.com/widget/?token=stand-in");
        }};""",
    ),
    (
        "cdn.freshmarketer.com",
        "/",
        """cookie("_fw_crm_v", "stand-in"); post("https://events.freshmarketer.com/track");""",
    ),
)
"""(host, how the target starts, what the script does): the longest start wins."""

FRAMES: tuple[tuple[str, str, str], ...] = (
    (
        "www.youtube.com",
        "/embed/",
        '<img alt="" src="https://i.ytimg.com/vi/0FrostNight/hq.jpg"><p>A video, played by the stand-in</p>',
    ),
    (
        "player.vimeo.com",
        "/video/",
        '<img alt="" src="https://i.vimeocdn.com/video/000000001.jpg"><p>A video, played by the stand-in</p>',
    ),
    (
        "www.google.com",
        "/maps/embed",
        '<script src="https://maps.googleapis.com/maps/api/js"></script><p>A map, drawn by the stand-in</p>',
    ),
)

THIRD_PARTY_COOKIES: Mapping[str, str] = {
    "doubleclick.net": "IDE",
    "linkedin.com": "bcookie",
    "facebook.com": "fr",
    "twitter.com": "guest_id",
    "bing.com": "MUID",
    "clarity.ms": "CLID",
    "tiktok.com": "_ttp",
    "youtube.com": "VISITOR_INFO1_LIVE",
    "vimeo.com": "vuid",
    "pinterest.com": "_pinterest_ct_ua",
    "scorecardresearch.com": "UID",
}
"""The cookie that each of these sets on its own domain with whatever it answers."""


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    media_type: str
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()


def _under(host: str, domain: str) -> bool:
    return host == domain or host.endswith("." + domain)


def _longest(table: tuple[tuple[str, str, str], ...], host: str, target: str) -> str | None:
    fitting = [
        (len(start), content) for name, start, content in table if name == host and target.startswith(start)
    ]
    return max(fitting)[1] if fitting else None


def _destination(target: str, headers: Mapping[str, str]) -> str:
    """What the browser wants it for; by the file's extension where the browser does not say."""
    stated = headers.get("sec-fetch-dest", "")
    if stated:
        return stated
    path = target.partition("?")[0].lower()
    for extensions, destination in (
        ((".js", ".mjs"), "script"),
        ((".css",), "style"),
        ((".gif", ".png", ".jpg", ".jpeg", ".webp", ".svg"), "image"),
        ((".html", ".htm"), "iframe"),
    ):
        if path.endswith(extensions):
            return destination
    accept = headers.get("accept", "")
    if accept.startswith("text/html"):
        return "document"
    return "image" if accept.startswith("image/") else "empty"


def answer(host: str, method: str, target: str, headers: Mapping[str, str]) -> Answer:
    """Return what ``host`` would plausibly answer; ``headers`` have lower-case names."""
    origin = headers.get("origin", "*")
    extra = [
        ("Access-Control-Allow-Origin", origin),
        ("Access-Control-Allow-Headers", headers.get("access-control-request-headers", "*")),
        ("Access-Control-Allow-Methods", "GET, HEAD, POST, PUT, OPTIONS"),
        ("Cache-Control", "no-store"),
    ]
    if origin != "*":
        extra.append(("Access-Control-Allow-Credentials", "true"))
    for domain, name in THIRD_PARTY_COOKIES.items():
        if _under(host, domain):
            attributes = f"Domain={domain}; Path=/; Max-Age=31536000; SameSite=None; Secure"
            extra.append(("Set-Cookie", f"{name}=stand-in; {attributes}"))
    fixed = tuple(extra)
    # A report that nobody reads the answer of: without a body, as the vendors' collectors answer.
    reported = method == "POST" and headers.get("sec-fetch-mode") == "no-cors"
    if method == "OPTIONS" or reported:
        return Answer(204, "text/plain", b"", fixed)
    script = _longest(SCRIPTS, host, target)
    if script is not None:
        code = f"{PRELUDE}\n  {script}\n}})();\n"
        return Answer(200, "text/javascript; charset=utf-8", code.encode(), fixed)
    frame = _longest(FRAMES, host, target)
    if frame is not None:
        page = f"<!doctype html><html lang=en><title>{host}</title>{frame}</html>"
        return Answer(200, "text/html; charset=utf-8", page.encode(), fixed)
    match _destination(target, headers):
        case "script" | "worker" | "sharedworker":
            return Answer(200, "text/javascript; charset=utf-8", b"/* stand-in */\n", fixed)
        case "style":
            return Answer(200, "text/css; charset=utf-8", b"/* stand-in */\n", fixed)
        case "image":
            return Answer(200, "image/gif", GIF, fixed)
        case "iframe" | "frame" | "document" | "embed" | "object":
            page = f"<!doctype html><html lang=en><title>{host}</title><p>Stand-in for {host}</p></html>"
            return Answer(200, "text/html; charset=utf-8", page.encode(), fixed)
        case _:
            return Answer(200, "application/json", b"{}", fixed)
