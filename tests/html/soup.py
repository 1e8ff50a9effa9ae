"""Generated markup: well-formed, malformed, hostile; for property tests."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from hypothesis import strategies as st

GALLERY = Path(__file__).parents[1] / "gallery" / "pages"
_PLACEHOLDER = re.compile(r"\{\{(?:tracker|benign)[.0-9]*\}\}|https://\{\{host\}\}|\{\{[a-z]+\}\}")
_PIECE = re.compile(r"<[^<>]*>?|[^<>]+")

_URLS = [
    "//tracker.example/t.js",
    "https://tracker.example/p.gif",
    "/own.js",
    "own.png",
    "data:text/html,x",
    "//tracker&#46;example/",
    "",
    "x/",
    "javascript:track()",
    "\\\\tracker.example\\x",
    " https:/tracker.example",
    "//\ttracker.example/",
    "https&colon;//tracker.example/",
    "javascript:'<img src=//tracker.example/>'",
    "data:text/html,<img src=//tracker.example/>",
    "//own.example/a, //tracker.example/b 2x",
]
_NAMES = [
    "div",
    "p",
    "a",
    "b",
    "img",
    "script",
    "style",
    "title",
    "textarea",
    "xmp",
    "iframe",
    "noscript",
    "noembed",
    "noframes",
    "svg",
    "math",
    "select",
    "option",
    "template",
    "link",
    "meta",
    "base",
    "object",
    "embed",
    "video",
    "source",
    "input",
    "image",
    "use",
    "path",
    "g",
    "foreignObject",
    "desc",
    "mi",
    "annotation-xml",
    "mo",
    "mtext",
    "mglyph",
    "malignmark",
    "listing",
    "plaintext",
    "button",
    "form",
    "tr",
    "tbody",
    "caption",
    "set",
    "animate",
    "feImage",
    "audio",
    "track",
    "input",
    "table",
    "td",
    "body",
    "html",
    "head",
    "frameset",
    "frame",
    "br",
    "SCRIPT",
    "Svg",
    "scripty",
    "param",
    "li",
    "font",
    "x:y",
]
_ATTRIBUTE_NAMES = [
    "src",
    "href",
    "srcset",
    "style",
    "onload",
    "class",
    "data",
    "content",
    "type",
    "rel",
    "http-equiv",
    "ping",
    "background",
    "srcdoc",
    "xlink:href",
    "poster",
    "alt",
    "encoding",
    "attributionsrc",
    "imagesrcset",
    "name",
    "value",
    "to",
    "values",
    "fill",
    "shadowrootmode",
    "srcset",
    "SRC",
    "=y",
    "a=b",
    'q"',
    "color",
]
_VALUES = [
    *_URLS,
    "a>b",
    "<img src=//tracker.example/>",
    "</script>",
    "</svg>",
    "-->",
    "background:url(//tracker.example/x)",
    "refresh",
    "0;url=//tracker.example/",
    "stylesheet",
    "image",
    "text/html",
    "track()",
    "module",
    "text/plain",
    "&lt;img src=//tracker.example/p&gt;",
    "=",
    "/",
    "importmap",
    "movie",
    "TEXT/HTML",
    "application/xhtml+xml",
    "open",
    "url(//tracker.example/)",
    "red",
]
_TEXTS = [
    "text",
    "<",
    "</",
    "<!",
    "<!-",
    "-",
    "--",
    ">",
    "/",
    "=",
    '"',
    "'",
    "&",
    "&lt;",
    " ",
    "\n",
    "\f",
    "\0",
    "script>",
    "img src=x>",
    "<!--",
    "-->",
    "--!>",
    "<!-->",
    "<!--->",
    "<![CDATA[",
    "]]>",
    "<!doctype html>",
    "<?pi?>",
    "</>",
    "</ x>",
    "</style",
    "</script",
    "track()",
    "@import '//tracker.example/a.css';",
    "url(//tracker.example/)",
    "/*",
    "*/",
    "a<b",
    "é",
    "表\\",
    "\ufeff",
    "&#60;",
    "\\75rl(//tracker.example/)",
    "@import url(//tracker.example/);",
    "<!--<script>",
    "</script/x>",
    "<script/>",
    "<style/>",
    "</p>",
    "</br>",
    "\r\n",
    "\U0001f600",
]

_quoted = st.builds(
    lambda name, space, quote, value: (
        f"{name}{space}={space}{quote}{value.replace(quote, '') if quote else value}{quote}"
    ),
    st.sampled_from(_ATTRIBUTE_NAMES),
    st.sampled_from(["", "", "", " ", "\n"]),
    st.sampled_from(['"', '"', "'", ""]),
    st.sampled_from(_VALUES),
)
_attribute = st.one_of(_quoted, _quoted, _quoted, st.sampled_from(_ATTRIBUTE_NAMES))
_attributes = st.builds(
    lambda parts: "".join(before + attribute for before, attribute in parts),
    st.lists(st.tuples(st.sampled_from([" ", " ", " ", "/", "\t", "", " / "]), _attribute), max_size=4),
)
_start_tag = st.builds(
    lambda name, attributes, end: f"<{name}{attributes}{end}",
    st.sampled_from(_NAMES),
    _attributes,
    st.sampled_from([">", ">", ">", ">", "/>", " />", " >", ""]),
)
_end_tag = st.builds(
    lambda name, end: f"</{name}{end}",
    st.sampled_from(_NAMES),
    st.sampled_from([">", ">", ">", " >", "/>", ' a="', ""]),
)

_LIVE = [
    '<img src="//tracker.example/p">',
    "<script src=//tracker.example/t.js></script>",
    "<script>track()</script>",
    "<style>p{background:url(//tracker.example/b)}</style>",
    '<iframe src="//tracker.example/f"></iframe>',
    '<link rel=stylesheet href="//tracker.example/c">',
    "<svg><image href='//tracker.example/i'/></svg>",
    "<svg><filter><feImage href='//tracker.example/i'/></filter></svg>",
    "<p style='background:url(//tracker.example/b)'>",
]
"""What every reader must find, wherever it is markup at all."""


def _fragments() -> list[str]:
    """Return the pieces of the gallery's malformed pages, with this tracker for theirs."""
    tables = tomllib.loads((GALLERY / "malformed.toml").read_text(encoding="utf-8"))
    bodies = [table.get("body") or table.get("page", "") for table in tables["page"]]
    found: dict[str, None] = {}
    for body in bodies:
        text = _PLACEHOLDER.sub("//tracker.example/g", body)
        # Whole, and cut at every tag: what is odd about it may lie in one of its pieces.
        found.update(dict.fromkeys((text, *_PIECE.findall(text))))
    return [text for text in found if len(text) < 300]


_piece = st.one_of(
    _start_tag,
    _start_tag,
    _start_tag,
    _end_tag,
    _end_tag,
    st.sampled_from(_TEXTS),
    st.sampled_from(_LIVE),
    st.sampled_from(_fragments()),
)
page = st.lists(_piece, max_size=14).map(lambda parts: "".join(parts).encode("utf-8", "replace"))
"""A page, or what is left of one."""

sizes = st.lists(st.integers(1, 12), min_size=1, max_size=10)
"""How to cut it into chunks."""
