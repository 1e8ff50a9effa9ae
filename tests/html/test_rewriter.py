"""What the rewriter takes out, what it leaves alone, and where it inserts."""

from __future__ import annotations

import html

import pytest

from consent.html import Rewriter, RewriterLimitExceeded
from tests.html.reading import Judging, pieces, rewritten

T = "//tracker.example/t"


def check(page: str, expected: str | None = None) -> Judging:
    """Assert what becomes of ``page`` (by default nothing), whole and byte by byte."""
    judge = Judging()
    result = rewritten(page.encode("utf-8"), judge)
    assert result.decode("utf-8") == (page if expected is None else expected)
    assert rewritten(page.encode("utf-8"), sizes=[1]) == result
    return judge


REMOVED = {
    "external script": f'<script src="{T}"></script>',
    "its content goes too": f"<script async src={T}>var a = '<p>';</script >",
    "module": f'<script type="module" src="{T}"></script>',
    "upper case": f'<SCRIPT SRC="{T}"></SCRIPT>',
    "inline script": "<script>track()</script>",
    "inline with a comment around it": "<script><!--\ntrack()\n//--></script>",
    "inline with an escaped script in it": "<script><!-- <script>track()</script> --></script>",
    "script with attributes in its end tag": '<script>track()</script a=">">',
    "import map": '<script type="importmap">{"imports": {"t": "http:\\/\\/tracker.example\\/t.js"}}</script>',
    "import map, no slash": '<script type="importmap">{"imports": {"t": "https:tracker.example"}}</script>',
    "web bundle": f'<script type="webbundle">{{"source": "{T}", "resources": ["/own.js"]}}</script>',
    "speculation rules": f'<script type="speculationrules">{{"prefetch": [{{"urls": ["{T}"]}}]}}</script>',
    "script in a data URL": '<script src="data:text/javascript,track%28%29"></script>',
    "script in a base64 data URL": '<script src="data:text/javascript;base64,dHJhY2soKQ=="></script>',
    "script in base64 with a blank": '<script src="data:text/javascript;base64,%20dHJhY2soKQ"></script>',
    "img": f'<img src="{T}" alt="">',
    "img by srcset": f'<img src="own.png" srcset="own.png 1x, {T} 2x">',
    "img by srcset without descriptors": f'<img srcset="own.png, {T}">',
    "img by srcset behind parentheses": f'<img srcset="own.png (a, b) 1x, {T}">',
    "img unquoted, closed by a slash": f"<img src={T}/>",
    "img with white space around the equals sign": f"<img src \n=\n '{T}'>",
    "img behind a slash": f'<img/src="{T}"/>',
    "img with a quotation mark in a name": f'<img a"b src="{T}">',
    "img with > in an attribute": f'<img alt=">" src="{T}">',
    "first of two src": f'<img src="{T}" src="own.png">',
    "second of two src, which counts for what looks ahead": f'<script src=" " src="{T}"></script>',
    "iframe with its content": f'<iframe src="{T}"><p>no frames</p></iframe>',
    "frame": f'<frame src="{T}">',
    "embed": f'<embed src="{T}">',
    "source": f'<source srcset="{T}">',
    "track": f'<track src="{T}">',
    "param": f'<param name="movie" value="{T}">',
    "base": f'<base href="{T}/">',
    "stylesheet": f'<link rel="stylesheet" href="{T}">',
    "link with several types": f'<link rel="alternate  PRELOAD" href="{T}">',
    "preconnect": f'<link rel="preconnect" href="{T}">',
    "link by imagesrcset": f'<link rel="preload" as="image" imagesrcset="{T} 1x">',
    "style sheet in a data URL": "<link rel=stylesheet href=\"data:text/css,@import '//tracker.example/'\">",
    "link whose second rel is what looks ahead in a browser takes": f'<link rel=canonical rel=preload href="{T}">',
    "meta refresh": f'<meta http-equiv="Refresh" content="0; URL={T}">',
    "meta refresh in quotes": f"<meta http-equiv=refresh content=\"0;url='{T}' x\">",
    "entity in a host": '<img src="//tracker&#46;example/t">',
    "entity without a semicolon": '<img src="//tracker&#46example/t">',
    "hexadecimal entity": '<img src="//tracker&#x2E;example/t">',
    "named entity": '<img src="//tracker&period;example/t">',
    "markup that a javascript: URL returns": f"<iframe src=\"javascript:'<img src={T}>'\"></iframe>",
    "javascript: in an iframe": '<iframe src=" java\tscript:track()"></iframe>',
    "document in a data URL": f"<iframe src=\"data:text/html,<img src='{T}'>\"></iframe>",
    "encoded document": "<iframe src='data:text/html;base64,PHNjcmlwdD50cmFjaygpPC9zY3JpcHQ+'></iframe>",
    "document in UTF-16 in a data URL": "<iframe src='data:text/html;charset=ucs-2,%3C%00p%00%3E%00'></iframe>",
    "document in ISO-2022-JP in a data URL": "<iframe src='data:text/html,<meta charset=iso-2022-jp>%1b(B'></iframe>",
    "document of XML in a data URL": (
        f"<iframe src=\"data:application/xhtml+xml,<a><![CDATA[<!--]]><h:img src='{T}'/></a>\"></iframe>"
    ),
    "document of XML with a default in a data URL": (
        f"<iframe src=\"data:text/xml,<!DOCTYPE a [<!ATTLIST img src CDATA '{T}'>%5D><a/>\"></iframe>"
    ),
    "embed by the attribute of an applet": f'<embed src="/own" code="{T}">',
    "SVG script": f'<script href="{T}"/>',
}


@pytest.mark.parametrize(
    "element",
    [v for k, v in REMOVED.items() if k != "SVG script"],
    ids=[k for k in REMOVED if k != "SVG script"],
)
def test_an_element_that_tracks_is_removed_and_nothing_else(element: str) -> None:
    """Its neighbours stay to the byte; so does its look-alike that names somebody else."""
    check(f"<p>a</p> {element} <p>b</p>", "<p>a</p>  <p>b</p>")
    check(f"<template>{element}</template>", "<template></template>")
    check(f"<noscript>{element}</noscript>", "<noscript></noscript>")


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        (f'<object data="{T}"><p>instead</p></object>', "<object ><p>instead</p></object>"),
        (
            f'<video src="{T}" controls><source src="own.mp4"></video>',
            '<video  controls><source src="own.mp4"></video>',
        ),
        (f"<video poster={T}>", "<video >"),
        (
            f'<svg><image><set attributeName="href" to="{T}"/><animate values="a;{T}" from="b"/></image></svg>',
            '<svg><image><set attributeName="href" /><animate  from="b"/></image></svg>',
        ),
        (f'<audio src="{T}"></audio>', "<audio ></audio>"),
        (
            f'<input type=" image" src="{T}"><input type="IMAGE" src="{T}">',
            f'<input type=" image" src="{T}"><input type="IMAGE" >',
        ),
        (f'<body background="{T}" class="a">', '<body  class="a">'),
        (f"<td background={T}>", "<td >"),
        (f'<a href="/" attributionsrc="/own {T}">x</a>', '<a href="/" >x</a>'),
        (f'<img src="own.png" attributionsrc="{T}">', '<img src="own.png" >'),
        (f'<a href="{T}" ping="/own {T}">x</a>', f'<a href="{T}" >x</a>'),
        ('<img src="own.png" onerror="track()">', '<img src="own.png" >'),
        ('<div ONCLICK="track&lpar;)" id=a>', "<div  id=a>"),
        (f'<svg><image xlink:href="{T}"/><use href="{T}#a" /></svg>', "<svg><image /><use  /></svg>"),
        (f'<svg><image/href="{T}"><g></g></image></svg>', "<svg><image/ ><g></g></image></svg>"),
        (f'<svg><img src="{T}"><style><i></style></svg>', "<svg><img ><style><i></style></svg>"),
        (f'<svg><script href="{T}"/><script xlink:href="{T}"></script><g/></svg>', "<svg><g/></svg>"),
        # What looks ahead in a browser loads a script's src, wherever the script is.
        (f'<svg><script src="{T}"></script><script src="{T}"/><g/></svg>', "<svg><g/></svg>"),
        (f'<math><script src="{T}"></script><mi></mi></math>', "<math><mi></mi></math>"),
        # It knows no CDATA, and no comments in scripts and style sheets.
        (f'<svg><![CDATA[x><img src="{T}"><b>]]></svg>', "<svg><![CDATA[x><img ><b>]]></svg>"),
        (f'<svg><style><!-- </style><img src="{T}">--></style><g/></svg>', "<svg><style></style><g/></svg>"),
        (f'<math><script><!-- </script><img src="{T}">', "<math><script>"),
        # What a comment, a tag or a section held does not come out of it where the text in it ends.
        (
            f'<svg><textarea>a<!-- </textarea><img alt="" src="{T}"> --></textarea><g/>',
            "<svg><textarea>a&lt;!-- </textarea></textarea><g/>",
        ),
        (f"<svg><textarea><a title='</textarea><img src={T}>'>", "<svg><textarea>&lt;a title='</textarea>"),
        (f"<svg><xmp><![CDATA[ </xmp><img src={T}>x]]>y</xmp>", "<svg><xmp></xmp>y</xmp>"),
        (f"<svg><xmp><!-- </xmp><img src={T}>", "<svg><xmp></xmp>"),
        ("<svg><title><? </title>x<img>", "<svg><title>&lt;? </title>x<img>"),
        # Nor references in style sheets, nor escapes in what they import.
        (
            f"<select><svg><style>@import '&#1;{T}';</style></svg></select>",
            "<select><svg><style></style></svg></select>",
        ),
        (
            f"<svg><style>&#47;* @import '{T}' *&#47;</style></svg>",
            "<svg><style></style></svg>",
        ),
        ("<style>@import '\\\\tracker.example/t';</style>", "<style>@import 'about:invalid';</style>"),
        # What is in both readings harmless stays; a tag that closes itself has another do it, the same to all.
        (
            "<svg><title/><style/><script/></svg><p>x<style>p{}</style><script>a()</script><svg><title>x</title></svg>",
            "<svg><title></title><style></style><script></script></svg>"
            "<p>x<style>p{}</style><script>a()</script><svg><title>x</title></svg>",
        ),
        ("<svg><style>.a{}</svg><p>x<title>y</title><p>z", "<svg><style>.a{}</svg><p>x<title>y</title><p>z"),
        ("<svg><style><!-- a > b {} --></style></svg>", "<svg><style><!-- a > b {} --></style></svg>"),
        ("<svg><style><![CDATA[a>b{}]]></style></svg>", "<svg><style><![CDATA[a>b{}]]></style></svg>"),
        (
            "<svg><script><![CDATA[ a = '</script>'; x > 1 ]]></script></svg>",
            "<svg><script><![CDATA[ a = '</script>'; x > 1 ]]></script></svg>",
        ),
        ("<svg><script>track&#40;)</script></svg>", "<svg></svg>"),
        ("<svg><script><![CDATA[ a = '</script>'; track() ]]></script></svg>", "<svg></svg>"),
        (
            f'<svg><foreignObject><img src="{T}"></foreignObject></svg>',
            "<svg><foreignObject></foreignObject></svg>",
        ),
        (f'<math><mtext><img src="{T}"></mtext></math>', "<math><mtext></mtext></math>"),
        (f'<svg><title><img src="{T}"></title></svg>', "<svg><title><img ></title></svg>"),
        (f'<svg><style><img src="{T}"></style></svg>', "<svg><style><img ></style></svg>"),
        (
            f'<svg fill="url({T}#a)"><g filter="url(#own)"/></svg>',
            '<svg fill="url(about:invalid)"><g filter="url(#own)"/></svg>',
        ),
        (f'<iframe srcdoc="<img src={T}>&lt;p&gt;"></iframe>', '<iframe srcdoc="&lt;p>"></iframe>'),
        (
            f"<iframe srcdoc='&lt;script src=&quot;{T}&quot;>&lt;/script>&eacute;&amp;amp;\"'></iframe>",
            '<iframe srcdoc="&amp;#233;&amp;amp;&quot;"></iframe>',
        ),
    ],
)
def test_only_the_attribute_goes_where_the_element_is_needed(page: str, expected: str) -> None:
    """Containers, buttons, links, and whatever is in foreign content."""
    check(page, expected)


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        (f'<p style="background:url({T})">', '<p style="background:url(about:invalid)">'),
        (
            f"<p style='a:url( \"{T}\" );b:url(own.png)'>",
            "<p style='a:url( \"about:invalid\" );b:url(own.png)'>",
        ),
        (f"<p style=background:url({T})>", "<p style=background:url(about:invalid)>"),
        (
            f'<p style="a:url(&quot;{T}&quot;);b:&#34;é&eacute;&#34;">',
            '<p style="a:url(&quot;about:invalid&quot;);b:&quot;é\\e9 &quot;">',
        ),
        (f'<p style="a:&#117;rl({T})">', '<p style="a:url(about:invalid)">'),
        (f'<p style="a:u\\72 l({T})">', '<p style="a:u\\72 l(about:invalid)">'),
        (
            f'<p style=\'a:image-set("{T}" 1x, "own.png" 2x)\'>',
            '<p style=\'a:image-set("about:invalid" 1x, "own.png" 2x)\'>',
        ),
        (
            f"<style>@import '{T}';@import url({T});a{{}}</style>",
            "<style>@import 'about:invalid';@import url(about:invalid);a{}</style>",
        ),
        (f'<style>a{{b:url("{T}")}}</style>', '<style>a{b:url("about:invalid")}</style>'),
        ('<style>a{b:url("//tr\\61 cker.example/")}</style>', '<style>a{b:url("about:invalid")}</style>'),
        (f"<svg><style>a{{b:url({T})}}</style></svg>", "<svg><style>a{b:url(about:invalid)}</style></svg>"),
        (
            f"<svg><style><![CDATA[a{{b:url({T})}}]]></style></svg>",
            "<svg><style><![CDATA[a{b:url(about:invalid)}]]></style></svg>",
        ),
        (f"<style>a{{b:url({T}", "<style>a{b:url(about:invalid"),
        # A style sheet in a URL is one, whatever imports it.
        (
            f"<style>@import url(\"data:text/css,a{{b:url('{T}')}}\");</style>",
            '<style>@import url("about:invalid");</style>',
        ),
        (
            "<style>@import 'data:text/css,@import%20%22data:text/css,"
            "@import%2520%2527%252F%252Ftracker.example%2527%22';</style>",
            "<style>@import 'about:invalid';</style>",
        ),
        ("<svg><set to='url(//tracker.example/a),auto'/></svg>", "<svg><set /></svg>"),
        ("<svg><animate values='url(//tracker.example/a#b);red'/></svg>", "<svg><animate /></svg>"),
        ("<svg><animate from='a' by='u\\72l(//tracker.example/)'/></svg>", "<svg><animate from='a' /></svg>"),
        # Only a whole @namespace rule names something; all else is a rule like any other.
        *(
            (f"<style>{before}a{{b:url({T})}}</style>", f"<style>{before}a{{b:url(about:invalid)}}</style>")
            for before in (
                "@namespace{}",
                "@namespace x;@media{}@namespace y {}",
                "p{@namespace x}",
                "@namespace url(;);",
                "@namespace ';';",
                "@namespace/*;\"*/x '{';",
            )
        ),
        (f"<p style='@namespace{{}} a:url({T})'>", "<p style='@namespace{} a:url(about:invalid)'>"),
        # A string becomes a URL wherever it comes to stand in a function that loads.
        *(
            (
                f"<style>{sheet.replace('URL', T)}</style>",
                f"<style>{sheet.replace('URL', 'about:invalid')}</style>",
            )
            for sheet in (
                'a{b:image-set(var(--n, "URL") 1x)}',
                'a{b:image-set(if(style(--n:{]}):"a.png";else:"URL") 1x)}',
                'a{b:image-set(--n([)], "URL") 1x)}',
                ':root{--x:"URL"}a{content:"x"}',
                ":root{a:b;/*;*/ --x : c 'URL'}",
                ":root{--x:if(style(--y:1):'a.png';else:'URL')}",
                '@property --s{syntax:"*";inherits:false;initial-value:"URL"}',
                '@function --f(){result: "URL"}',
                '@function --f(--a:"URL"){result:image-set(var(--a) 1x)}',
                'a{b:--f("URL")}',
                'a{b:--long-function-name-of-the-author-s-own("URL")}',
                ':root{\\2d-x:"URL"}',
                ':root{--\\e9 x:"URL"}',
                'a{b:--\\e9 f("URL")}',
            )
        ),
        (f"<p style='--x:\"{T}\"'>", "<p style='--x:\"about:invalid\"'>"),
        (f"<p style=\"--x: '{T}'\">", "<p style=\"--x: 'about:invalid'\">"),
    ],
)
def test_only_the_url_of_a_style_is_replaced(page: str, expected: str) -> None:
    """In attributes and elements, through escapes and character references."""
    check(page, expected)


@pytest.mark.parametrize(
    "page",
    [
        f"<!-- <img src='{T}'> --><p>",
        f"<!--><p title='{T}'><!--->",
        f"<!DOCTYPE html><!bogus {T}><?php {T} ?></ {T}>",
        f"<script type='application/ld+json'>{{'@id': '{T}'; track()}}</script>",
        f"<script type='text/template'><img src='{T}'></script>",
        "<script src='/own.js'>track()</script>",
        "<script src>track()</script>",
        f"<script>var s = '<img src={T}>'</script>",
        f"<textarea><img src='{T}'></textarea><title><img src='{T}'></title><xmp><img src='{T}'></xmp>",
        f"<noembed><img src='{T}'></noembed><noframes><img src='{T}'></noframes>",
        f"<iframe><img src='{T}'></iframe>",
        f"<style><img src='{T}'></style>",
        f"<style>/* url({T}) */ a::before{{content: 'url({T})'}} @namespace url({T});</style>",
        f"<plaintext><img src='{T}'></plaintext>",
        f"<svg><![CDATA[<img src='{T}'>]]></svg>",
        f"<a href='{T}'>link</a><form action='{T}'></form><link rel=canonical href='{T}'>",
        f"<meta name=x content='0;url={T}'><input type=text src='{T}'><param name=x value='{T}'>",
        f"<img alt='<img src={T}>' data-src='{T}' src=own.png>",
        f"<p title=\"<script src='{T}'></script>\">",
        f"<p style='content: \"{T}\"'>",
        f"<style>@import url('data:text/css,a{{content:%22{T}%22}}');</style>",
        "<svg><set attributeName='cursor' to='url(/own.png),auto'/><animate values='red;url(#a)'/></svg>",
        f"<style>a{{b:url('data:image/svg+xml,<image href=%22{T}%22>')}}</style>",
        f"<style>@namespace x url( '{T}' ); a[href='{T}'] {{--x: '/own.png'}} a {{--y: 1; content: '{T}'}}</style>",
        f"<style>a {{--x: url(;); content: '{T}'}} a {{b: --f(1); content: '{T}'}} result [a = '{T}'] {{}}</style>",
        f"<style>a {{b: image-set(var(--x) 1x); c: d(1) '{T}'}} --x: a {{}} x--y: b {{c: '{T}'}}</style>",
        "<iframe src='javascript:own()'></iframe><img src='data:image/svg+xml,<svg/>'>",
        "<iframe srcdoc='&lt;p&gt;&eacute;'></iframe>",
        "<p onclick='own()' background ping style>",
        "a < b </> <3 <- && \0 \f <p\0> é",
        f"<div><img src='{T}",
        f"<script src='{T}'",
        "<script>track()",
    ],
)
def test_what_loads_nothing_is_left_alone(page: str) -> None:
    """Comments, text, data, links, and what never comes to its end."""
    check(page)


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        (f"<<img src={T}>script>", "<<!---->script>"),
        (f"<<img src={T}>/script>", "<<!---->/script>"),
        (f"<<script src={T}></script>!-- x", "<<!---->!-- x"),
        (f"<video a src={T} =y>", "<video a / =y>"),
        (f"<video a src={T}\n\n=y>", "<video a /\n\n=y>"),
        (f'<video a="b"src="{T}"c="d">', '<video a="b"c="d">'),
        (f"<noscript><<img src={T}>b></noscript>", "<noscript><<!---->b></noscript>"),
    ],
)
def test_removing_joins_nothing(page: str, expected: str) -> None:
    """What was around the gap does not become a tag, an attribute or a value."""
    check(page, expected)


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        (f"<noscript><!-- </noscript><img src={T}>", "<noscript></noscript>"),
        (f'<noscript><p a="</noscript><img src={T}>">', '<noscript></noscript>">'),
        (f"<noscript><style></noscript><p></style><img src={T}>", "<noscript></noscript><p></style>"),
        (f"<svg><path></div><style><img src={T}></style>", "<svg><path></div><style><img ></style>"),
        (f"<svg></div><title><img src={T}></title>", "<svg></div><title><img ></title>"),
        # What looks ahead knows no MathML: to it the content of <noembed> is text, and ends in the attribute.
        (
            f'<math><noembed><p title="</noembed><img src={T}>"></noembed>',
            "<math><noembed></noembed></noembed>",
        ),
        # ... and begins with a tag that closes itself, whatever holds the end tag then.
        (
            f"<svg><script/></svg><noembed><p></script><img src={T}>",
            f"<svg><script></script></svg><noembed><p></script><img src={T}>",
        ),
        (
            f'<math><STYLE a=b /></math><p title="</style><img src={T}>">',
            f'<math><STYLE a=b ></style></math><p title="</style><img src={T}>">',
        ),
        # ... unless nobody knows where it is: <img> leaves the drawing here, and <p> keeps </svg> inside there.
        ("<svg><textarea><img></textarea><script/><div>", "<svg><textarea><img></textarea><script/><div>"),
        (
            f"<svg><noembed><desc><p></noembed></svg></p></desc><title><img src={T}></title>",
            "<svg><noembed><desc><p></noembed></svg></p></desc><title><img ></title>",
        ),
        # ... and then all may be a drawing, with what loads in no other place.
        (
            f"<svg><textarea><b></textarea><svg><feImage href={T} />",
            "<svg><textarea><b></textarea><svg><feImage  />",
        ),
        (
            f'<svg><textarea><b></textarea><svg><rect mask="url({T})"/>',
            '<svg><textarea><b></textarea><svg><rect mask="url(about:invalid)"/>',
        ),
        (f"<svg></div><script type=x><use href={T}></script>", "<svg></div><script type=x><use ></script>"),
        ("<svg><title/><desc/><path/></svg>", "<svg><title></title><desc/><path/></svg>"),
        ("<svg><script a=b/></svg>", "<svg><script a=b/></svg>"),
        ("<style/></style><script/></script>", "<style/></style><script/></script>"),
        # Without the tag, what follows would be read as MathML by one who takes this for markup.
        (f"<math><svg></p><title><img src={T}></title><a>", "<math><svg></p><title><img ></title><a>"),
        (f"<svg></div><![CDATA[ > <img src={T}> ]]>", "<svg></div><![CDATA[ > <img > ]]>"),
        (f"<svg></div><p><style><img src={T}></style>", f"<svg></div><p><style><img src={T}></style>"),
        ("<svg></div><script href=own.js>track()</script>", "<svg></div>"),
        (f"<svg></div><script type=x><img src={T}></script>", "<svg></div><script type=x><img ></script>"),
        (f"<select><xmp><img src={T}></xmp></select>", "<select><xmp><img ></xmp></select>"),
        ("<select><script>a<b</script></select>", "<select><script>a<b</script></select>"),
        ("<svg></div><script>a<b</script>", "<svg></div><script></script>"),
    ],
)
def test_what_can_be_read_in_two_ways_is_safe_in_both(page: str, expected: str) -> None:
    """``noscript``, malformed drawings and ``select``."""
    check(page, expected)


def test_the_judge_is_asked_in_document_order_with_decoded_urls() -> None:
    """White space, tabs, backslashes and the page's own references reach it as they are."""
    judge = check(
        '<script src=" /a\t.js "></script><img src="/\\own.example/b?x=1&copy=2&amp;y"><base href="/c/">'
        "<link rel=icon href=d><base href=/e/>"
    )
    assert judge.urls == [
        ("script", " /a\t.js "),
        ("img", "/\\own.example/b?x=1&copy=2&y"),
        ("base", "/c/"),
        ("link", "d"),
        ("base", "/e/"),
    ]
    assert judge.bases == ["/c/"]


@pytest.mark.parametrize("around", ["template", "svg"])
def test_a_base_within_a_template_or_a_drawing_is_none_of_the_page(around: str) -> None:
    """The next one counts."""
    judge = check(f'<{around}><base href="/a/"></{around}><base href="/b/">')
    assert judge.bases == ["/b/"]


def test_an_attribute_that_browsers_do_not_see_is_left_alone() -> None:
    """The second of a name, but behind an empty one."""
    check(
        f'<img src="own.png" src="{T}"><a ping="/own" ping="{T}">',
        f'<img src="own.png" src="{T}"><a ping="/own" ping="{T}">',
    )


@pytest.mark.parametrize("encoding", ["shift_jis", "gbk", "big5"])
def test_a_byte_that_may_be_a_backslash_or_half_a_character_is_read_as_both(encoding: str) -> None:
    """In Shift_JIS, GBK and Big5 the second byte of some characters is that of a backslash."""
    character = next(c for c in map(chr, range(0x4E00, 0x9FFF)) if c.encode(encoding, "ignore")[1:] == b"\\")
    style = f'<style>p {{ content: "{character}" }} q {{ background: url("{T}") }}</style>'
    expected = style.replace(T, "about:invalid")
    assert rewritten(style.encode(encoding)) == expected.encode(encoding)
    script = f'<script>a("{character}"); b("");track()</script>'
    assert rewritten(script.encode(encoding)) == b""


def test_a_page_in_a_page_has_a_base_of_its_own() -> None:
    """``base`` in a ``srcdoc`` changes how its own URLs are resolved, not those of the page around it."""
    inner = "<base href='//cdn.example/x/'><img src='y.png'>"
    judge = check(f'<iframe srcdoc="{html.escape(inner)}"></iframe><img src="//own.example/z.png">')
    assert judge.bases == []
    assert judge.urls == [
        ("base", "//cdn.example/x/"),
        ("img", "//cdn.example/x/y.png"),
        ("img", "//own.example/z.png"),
    ]


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        ("<body>x</body></html>", "<body>x[+]</body></html>"),
        ("<body>x</BODY >", "<body>x[+]</BODY >"),
        ("<p>x", "<p>x[+]"),
        ("<body>x</body></body>", "<body>x[+]</body></body>"),
        ("<body><!-- </body> --></body>", "<body><!-- </body> -->[+]</body>"),
        ("<script>'</body>'</script></body>", "<script>'</body>'</script>[+]</body>"),
        ("<script type=x></body></script></body>", "<script type=x></body></script>[+]</body>"),
        ("<p a='</body>'></body>", "<p a='</body>'>[+]</body>"),
        ("<textarea></body></textarea></body>", "<textarea></body></textarea>[+]</body>"),
        ("<template></body></template></body>", "<template></body></template>[+]</body>"),
        ("<noscript></body></noscript></body>", "<noscript></body></noscript>[+]</body>"),
        ("<svg><desc></body></desc></svg></body>", "<svg><desc></body></desc></svg></body>[+]"),
        ("<svg><g></body>", "<svg><g></body></g></svg>[+]"),
        ("<template><p>", "<template><p></template>[+]"),
        ("<select><option>", "<select><option></select>[+]"),
        ("x<div a='", "x[+]<div a='"),
        ("x<", "x[+]<"),
        ("x</", "x[+]</"),
        ("x</d", "x[+]</d"),
        ("x<!", "x<!>[+]"),
        ("x<!-", "x<!->[+]"),
        ("x<!--", "x<!---->[+]"),
        ("x<!-- y --", "x<!-- y ---->[+]"),
        ("x<?y", "x<?y>[+]"),
        ("x</ y", "x</ y>[+]"),
        ("<title>x", "<title>x</title>[+]"),
        ("<textarea>x</texta", "<textarea>x</texta</textarea>[+]"),
        ("<xmp>x</xmp a='", "<xmp>x</xmp>[+]</xmp a='"),
        ("<script>x", "[+]<script>x"),
        ("<script type=x>x", "<script type=x>x"),
        ("<style>x", "[+]<style>x"),
        ("<noscript>x", "[+]<noscript>x"),
        ("<plaintext>x", "<plaintext>x"),
        ("<svg><![CDATA[x", "<svg><![CDATA[x]]></svg>[+]"),
    ],
)
def test_the_insertion_comes_before_the_end_of_the_body_wherever_that_is(page: str, expected: str) -> None:
    """Not into a comment, script, template or attribute; never so that it finishes what was unfinished."""
    for sizes in ([len(page)], [1], [2], [5]):
        result = rewritten(page.encode(), sizes=sizes, insertion=b"[+]")
        assert result == expected.encode(), sizes


def test_nothing_is_inserted_into_a_piece_of_a_page() -> None:
    """A fragment gets the insertion only when it turns out to be a page."""
    assert rewritten(b"<p>x", insertion=b"[+]", fragment=True) == b"<p>x"
    assert rewritten(b"<html><p>x", insertion=b"[+]", fragment=True) == b"<html><p>x[+]"


@pytest.mark.parametrize(
    ("page", "expected", "element"),
    [
        ("<p><script>" + "x" * 200 + "</script><p>", "<p><p>", "script"),
        ("<p><script><!--<script>" + "x" * 200 + "</script></script><p>", "<p><p>", "script"),
        ("<p><style>" + "x" * 200 + "</style><p>", "<p><p>", "style"),
        ("<p><noscript>" + "x" * 200 + "</noscript><p>", "<p><p>", "noscript"),
        ("<p><script>" + "x" * 200, "<p>", "script"),
        ("<svg><script>" + "x" * 200 + "</script><g>", "<svg><g>", "script"),
        ("<svg></i><![CDATA[" + "x" * 200 + "]]><g>", "<svg></i><g>", "CDATA section"),
        ("<select><xmp>" + "x" * 200 + "</xmp>", "<select>", "xmp"),
    ],
)
def test_what_is_too_long_to_be_judged_is_dropped_and_told(page: str, expected: str, element: str) -> None:
    """It fails closed, and the page goes on; the same for every chunking."""
    for sizes in ([len(page)], [1], [7], [50]):
        judge = Judging()
        assert rewritten(page.encode(), judge, sizes=sizes, max_buffer_bytes=100) == expected.encode(), sizes
        assert judge.undecided == [element]


def test_long_text_that_needs_no_judging_streams_through() -> None:
    """Data blocks with escapes, text areas and comments are never kept back."""
    for begin, end in (
        (b"<script type=x><!--<script>", b"</script>--></script>"),
        (b"<textarea>", b"</textarea>"),
        (b"<!--", b"-->"),
    ):
        page = begin + b"x" * 1000 + end + b"<p>"
        assert rewritten(page, sizes=[50], max_buffer_bytes=100) == page


def _write_all(rewriter: Rewriter, page: bytes, size: int) -> None:
    for chunk in pieces(page, [size]):
        rewriter.write(chunk)


@pytest.mark.parametrize("page", [b'<img a="', b"<p ", b"</p ", b"<title></title "])
def test_an_endless_tag_ends_the_rewriter(page: bytes) -> None:
    """It raises, says why, and refuses reuse."""
    for size in (1, 40):
        rewriter = Rewriter(Judging(), max_buffer_bytes=100)
        with pytest.raises(RewriterLimitExceeded, match=r"a tag of the page is \d+ bytes long"):
            _write_all(rewriter, page + b"x" * 300 + b'">', size)
        with pytest.raises(RewriterLimitExceeded, match="has ended"):
            rewriter.write(b"x")
        assert rewriter.end() == b""


def test_what_is_decided_goes_out_at_once() -> None:
    """Only the open tag, or the script that is not yet whole, is kept back."""
    rewriter = Rewriter(Judging())
    assert rewriter.write(b"<p>a<i") == b"<p>a"
    assert rewriter.write(b">b") == b"<i>b"
    assert rewriter.write(b"<script>x>") == b""
    assert rewriter.write(b"y</scr") == b""
    assert rewriter.write(b"ipt>z") == b"<script>x>y</script>z"
    assert rewriter.write(b"1 <") == b"1 "
    assert rewriter.write(b" 2") == b"< 2"
    assert rewriter.end() == b""


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        ("<html><head><title>x</title></head>", "<html><head>[+]<title>x</title></head>"),
        (
            "<!doctype html><HEAD lang=en ><script>a</script>",
            "<!doctype html><HEAD lang=en >[+]<script>a</script>",
        ),
        ("<!doctype html><p>x<script>a</script>", "<!doctype html><p>x[+]<script>a</script>"),
        ("<html><body onload=a><p>x", "<html>[+]<body onload=a><p>x"),
        ("<html><link rel=icon href=//own.example/i><p>", "<html>[+]<link rel=icon href=//own.example/i><p>"),
        ("<!-- <head> --><html><head></head>", "<!-- <head> --><html><head>[+]</head>"),
        ("<head></head><template><head></template>", "<head>[+]</head><template><head></template>"),
        ("<p>no element that loads", "<p>no element that loads"),
    ],
)
def test_what_goes_first_into_the_head_comes_before_all_that_runs(page: str, expected: str) -> None:
    """Behind the head's start tag, or before the first element that could load or run something."""
    for size in (len(page), 1, 7):
        rewriter = Rewriter(Judging(), at_head_start=lambda: b"[+]")
        data = page.encode()
        written = b"".join(rewriter.write(chunk) for chunk in pieces(data, [size])) + rewriter.end()
        assert written.decode() == expected


def test_a_piece_of_a_page_has_no_head_to_insert_into() -> None:
    """Only where a head or a body begins is a fragment taken for a page."""
    for page, expected in (
        (b"<div><script>a</script></div>", b"<div><script>a</script></div>"),
        (b"<body><script>a</script>", b"[+]<body><script>a</script>"),
    ):
        rewriter = Rewriter(Judging(), at_head_start=lambda: b"[+]", fragment=True)
        assert rewriter.write(page) + rewriter.end() == expected


@pytest.mark.parametrize(
    "where",
    [
        '{"href_matches": "/*"}',
        '{"href_matches": ["/a/*", "?b", {"pathname": "/c"}]}',
        '{"and": [{"href_matches": "/*"}, {"not": {"selector_matches": ".no"}}]}',
        '{"or": [{"href_matches": "/a"}, {"and": [{"href_matches": "/b"}]}]}',
    ],
)
def test_rules_for_links_to_the_site_itself_stay(where: str) -> None:
    """Most sites have some. Where a link elsewhere would do, the rules go, since nobody clicks what they load."""
    page = '<script type="speculationrules">{"prefetch": [{"source": "document", "where": %s}]}</script>'
    check(page % where)
    for wider in (f'{{"or": [{where}, {{"selector_matches": "a"}}]}}', f'{{"not": {where}}}'):
        check(page % wider, "")


@pytest.mark.parametrize(
    "element",
    [
        '<script type="speculationrules">{"prefetch": [{"source": "document"}]}</script>',
        '<script type="speculationrules">{"a": [{"where": {"selector_matches": "a"}}]}</script>',
        f"<iframe src=\"data:text/xml,<?xml-stylesheet href='{T}'?><r/>\"></iframe>",
    ],
)
def test_what_nobodys_consent_brings_back_goes(element: str) -> None:
    """What it would load is not known, so no vendor's consent can give it back."""
    judge = Judging()
    assert (
        rewritten(f"<p>a{element}b".encode(), judge)
        == rewritten(f"<p>a{element}b".encode(), hold=True)
        == b"<p>ab"
    )
    assert judge.undecided != []


def test_a_document_type_too_long_to_be_read_costs_only_its_own_page() -> None:
    """The page around it goes on."""
    drawing = "<!DOCTYPE svg [" + "<!--x-->" * 3000 + "%5D><svg/>"
    page = f'<p><object data="data:image/svg+xml,{drawing}">a</object>'
    assert rewritten(page.encode()) == b"<p><object >a</object>"
