"""Which attributes of which elements make a browser load something (HTML and SVG standards)."""

from __future__ import annotations

from enum import Enum


class Cut(Enum):
    """What to take out where an attribute leads to a refused tracker."""

    ELEMENT = "element"
    """The whole element: it has no other use, and where it ends is certain."""
    ATTRIBUTE = "attribute"
    """Only the attribute: the element holds other content, or the page needs it."""


LOADS: dict[bytes, tuple[Cut, dict[bytes, str]]] = {
    b"script": (Cut.ELEMENT, {b"src": "url", b"href": "url", b"xlink:href": "url"}),
    b"img": (Cut.ELEMENT, {b"src": "url", b"srcset": "srcset", b"lowsrc": "url", b"dynsrc": "url"}),
    b"iframe": (Cut.ELEMENT, {b"src": "url"}),
    b"frame": (Cut.ELEMENT, {b"src": "url"}),
    # Chromium still reads what an <applet> had.
    b"embed": (Cut.ELEMENT, {b"src": "url", b"code": "url"}),
    b"link": (Cut.ELEMENT, {b"href": "url", b"imagesrcset": "srcset"}),
    b"source": (Cut.ELEMENT, {b"src": "url", b"srcset": "srcset"}),
    b"track": (Cut.ELEMENT, {b"src": "url"}),
    b"base": (Cut.ELEMENT, {b"href": "url"}),
    b"meta": (Cut.ELEMENT, {b"content": "refresh"}),
    b"param": (Cut.ELEMENT, {b"value": "url"}),
    # An <image> in HTML is an <img>; in SVG it is one that may hold other elements.
    b"image": (
        Cut.ATTRIBUTE,
        {b"src": "url", b"srcset": "srcset", b"href": "url", b"xlink:href": "url"},
    ),
    b"object": (Cut.ATTRIBUTE, {b"data": "url"}),
    b"video": (Cut.ATTRIBUTE, {b"src": "url", b"poster": "url"}),
    b"audio": (Cut.ATTRIBUTE, {b"src": "url"}),
    # The button of a form stays, without its picture.
    b"input": (Cut.ATTRIBUTE, {b"src": "url"}),
    b"use": (Cut.ATTRIBUTE, {b"href": "url", b"xlink:href": "url"}),
    b"feimage": (Cut.ATTRIBUTE, {b"href": "url", b"xlink:href": "url"}),
    # Animations give other elements a URL.
    b"set": (Cut.ATTRIBUTE, {b"to": "url"}),
    b"animate": (Cut.ATTRIBUTE, {b"from": "url", b"to": "url", b"by": "url", b"values": "values"}),
}
"""For each element that loads: what to cut, and how to read the URLs in its attributes."""

ANIMATIONS = frozenset((b"set", b"animate"))
"""Those of them whose values may be style declarations of the element that they animate, too."""

FOREIGN_LOADS = frozenset((b"use", b"feimage"))
"""Those of them that are elements of SVG only; of the same name in HTML, they load nothing."""

ANYWHERE: dict[bytes, str] = {b"background": "url", b"ping": "list", b"attributionsrc": "list"}
"""Attributes that load on elements of several kinds; they have no other use, and are cut."""

REFERENCING_STYLES = frozenset(
    b"fill stroke filter mask clip-path cursor marker marker-start marker-mid marker-end".split()
)
"""The attributes of SVG elements that are style declarations with a URL."""

FRAMES = frozenset((b"iframe", b"frame", b"embed", b"object"))
"""Elements that show a document, and run the scripts in it."""

LOADING_LINK_TYPES = frozenset(
    b"stylesheet preload modulepreload prefetch prerender preconnect dns-prefetch icon apple-touch-icon"
    b" apple-touch-icon-precomposed apple-touch-startup-image mask-icon fluid-icon manifest import"
    b" compression-dictionary".split()
)
"""The ``rel`` values that make a browser connect or load; ``canonical``, ``alternate`` and so on do not."""

RUNNING = frozenset(
    b"applet base colgroup embed frame frameset iframe math noembed noframes object plaintext select svg"
    b" template xmp".split()
)
"""Elements that may run scripts of their own, or in which a script put in would be none, or another's."""
NAMING = frozenset((b"form", b"image", b"img"))
"""Further elements that may take the place of what ``document`` has by itself: by their ``name``. A parser makes an
``img`` of an ``image``."""

JAVASCRIPT_TYPES = frozenset(
    b"module application/ecmascript application/javascript application/x-ecmascript application/x-javascript"
    b" text/ecmascript text/javascript text/javascript1.0 text/javascript1.1 text/javascript1.2"
    b" text/javascript1.3 text/javascript1.4 text/javascript1.5 text/jscript text/livescript"
    b" text/x-ecmascript text/x-javascript".split()
)
"""The ``type`` values of scripts that run; any other makes a data block (HTML Standard, 4.12.1)."""
URL_TABLE_TYPES = frozenset((b"importmap", b"speculationrules", b"webbundle"))
"""The ``type`` values of data blocks that make the browser itself load what they name."""

RAW_TEXT = frozenset(
    (b"style", b"title", b"textarea", b"xmp", b"iframe", b"noembed", b"noframes"),
)
"""Elements whose content is text up to their own end tag, ``script`` and ``noscript`` apart."""
ESCAPABLE_RAW_TEXT = frozenset((b"title", b"textarea"))
"""Those of them in which character references are decoded."""

VOID = frozenset(
    b"area base basefont bgsound br col embed frame hr image img input keygen link meta param source track"
    b" wbr".split()
)

FOREIGN_ROOTS = frozenset((b"svg", b"math"))
HTML_INTEGRATION_POINTS = frozenset((b"foreignobject", b"desc", b"title"))
"""SVG elements whose content is HTML again (HTML Standard, 13.2.6)."""
MATHML_TEXT_INTEGRATION_POINTS = frozenset((b"mi", b"mo", b"mn", b"ms", b"mtext"))
LEAVES_FOREIGN_CONTENT = frozenset(
    b"b big blockquote body br center code dd div dl dt em embed h1 h2 h3 h4 h5 h6 head hr i img li listing"
    b" menu meta nobr ol p pre ruby s small span strong strike sub sup table tt u ul var".split()
)
"""Start tags that end SVG and MathML content (HTML Standard, 13.2.6.5)."""
