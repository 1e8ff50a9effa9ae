"""The guard: the script that keeps in the browser what the server cannot see, and the tag that loads it.

One file for everybody, made at start-up: the code, and a table of what the catalog knows. What one visitor
allows is written on the tag.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import chain, groupby, islice
from operator import attrgetter
from urllib.parse import unquote

from markupsafe import escape

from consent.assets import asset_dir
from consent.catalog import Catalog, Vendor
from consent.catalog.matching import UrlPattern, with_parents
from consent.categories import OPTIONAL, Category
from consent.decision import Decision, Reason, allowance
from consent.minify import minified_script
from consent.static_files import StaticFile

SOURCES = ("guard.js", "client.js", "interface.js")
"""The files the script is made of, in ``static/``; together they are one block."""
UNIFORM_SOURCES = ("guard.js", "client.js", "uniform.js", "interface.js")
"""... where everybody gets the same page."""
MAX_LISTED_RULES = 1_000
"""Rules of imported lists that go into the table, all of them or none: what visitors load must not grow without end."""
_MAX_MEMO = 256
_DATA = re.compile(r"\b[A-Z][A-Z_]{2,}\b")
"""What stands in the script for data: a name of capitals."""
_FOR_ONE = re.compile(r".*// for one visitor\n")
"""Lines of the script that only pages need that are made for one visitor."""
_CALL = re.compile(r"([A-Za-z_]\w*)\\s\*\+\\\(")
"""How a signature begins that is the call of a function."""
_MARKS = ("", "=", "#", "(")
"""What a rule of each kind begins with in the table: nothing that a host begins with."""
_NEEDLESS = re.compile(r"%(2[de]|3\d|[4-7][\da-f])", re.IGNORECASE)
"""Escapes that guard.js undoes in paths."""
_place = attrgetter("place")
_SPECIAL = re.compile(r"[.+?^$(){}|\[\]\\]")
_BLANK = re.compile(r"[\s\ufeff]")


@dataclass(frozen=True, slots=True)
class ClientPart:
    """What a setting of the policy adds to the script."""

    sources: tuple[str, ...]
    """Files in ``static/``, which go behind the others in the same block."""
    data: Mapping[str, str]
    """What takes the place of names of capitals in them: JavaScript."""
    is_first: bool = False
    """Whether it has to come before anything else in the page, for visitors who refuse nothing, too."""
    tells_silence: bool = False
    """Whether it has to know what is allowed because nobody refused it: in ``data-silent`` on the tag."""


class Guard:
    """The script that guards a page in the browser, and its tag. Safe to share between threads.

    Args:
        catalog: What is known about vendors, with the site's own.
        prefix: Where the visitor endpoints are mounted: a path without a trailing slash.
        uniform: Where everybody gets the same page: what the tag says instead of what is allowed, for the script to
            find that out by itself.
        parts: What the policy adds to the script.

    Raises:
        ConfigurationError: the installation is incomplete.
    """

    def __init__(
        self,
        catalog: Catalog,
        *,
        prefix: str = "/_consent",
        uniform: str | None = None,
        parts: Sequence[ClientPart] = (),
    ) -> None:
        self._catalog = catalog
        self._uniform = uniform
        self.is_first = any(part.is_first for part in parts)
        """Whether pages in which nothing is refused need the tag first, too: else it goes to their end."""
        self._tells_silence = any(part.tells_silence for part in parts)
        sources = UNIFORM_SOURCES if uniform else SOURCES
        content = script(guard_table(catalog), sources, parts).encode()
        digest = sha256(content).hexdigest()[:16]
        self.file = StaticFile(
            name=f"guard.{digest}.js",
            media_type="text/javascript; charset=utf-8",
            content=content,
            etag=f'"{digest}"',
        )
        self.url = f"{prefix}/static/{self.file.name}"
        """Where the script is served, with a hash of its content in the name."""
        self._memo: dict[str, tuple[bytes, bytes]] = {}

    def markup(self, decision: Decision, *, nonce: str | None, defer: bool = False) -> bytes:
        """Return the tag to put before any other script.

        Args:
            decision: What this visitor allows. Two decisions with the same `Decision.key` get the same tag, but
                where it tells silence.
            nonce: The page's CSP nonce.
            defer: Let the page be read and drawn meanwhile. Where both tags are in a page, the first that runs counts.
        """
        silent = _silent(decision) if self._tells_silence else ""
        start, end = self._memo.get(decision.key + silent) or self._tag(decision, silent)
        if defer:
            end = b" defer" + end
        if nonce is None:
            return start + end
        return b'%s nonce="%s"%s' % (start, str(escape(nonce)).encode("utf-8", "replace"), end)

    def _tag(self, decision: Decision, silent: str) -> tuple[bytes, bytes]:
        allowed = escape(self._uniform or allowance(decision, self._catalog))
        start = f'<script src="{escape(self.url)}" data-allowed="{allowed}"{silent}'
        if len(self._memo) >= _MAX_MEMO:  # only vendor exceptions can make so many
            self._memo.clear()
        tag = self._memo[decision.key + silent] = start.encode(), b"></script>"
        return tag


def _silent(decision: Decision) -> str:
    letters = "".join(category[0] for category in OPTIONAL if decision.reason(category) is Reason.REGIME)
    return f' data-silent="{letters}"' if letters else ""


def script(table: str, sources: Sequence[str] = SOURCES, parts: Sequence[ClientPart] = ()) -> str:
    """Return the whole script around ``table``. Without one it is what the byte budget counts as code."""
    folder = asset_dir("static")
    names = chain(sources, *(part.sources for part in parts))
    source = "".join((folder / name).read_text(encoding="utf-8") for name in names)
    if "uniform.js" in sources:
        source = _FOR_ONE.sub("", source)
    # What JSON writes for a text is also how JavaScript writes it (ECMAScript 2019).
    data = {"TABLE": json.dumps(table)}
    for part in parts:
        data |= part.data
    code = _DATA.sub(lambda match: data.get(match[0], match[0]), minified_script(source))
    # An element of that name is no property of the window's own.
    return f'if(!Object.getOwnPropertyDescriptor(window,"consent")){{{code}}}'


def guard_table(catalog: Catalog) -> str:
    """Return what ``catalog`` knows about hosts, URLs, cookies and storage keys, as the guard reads it.

    Each word stands between blanks: the rules of a vendor, and then the first letter of its category with its id. The
    rules are hosts and URL patterns; first-party cookies after ``=``; storage keys after ``#``; and after ``(``
    functions that its snippet defines and the site's own code may call. What follows the host of a URL pattern, and
    each name, is a regular expression for how the text begins, and the letters that it begins with are the text's own.
    The first that fits counts. So where vendors compete, their rules come first, in the catalog's order; all others
    stay together by vendor, which makes the table small when compressed.
    """
    listed = [rule for vendor in catalog.vendors.values() if vendor.listed_by for rule in _rules(vendor)]
    rules = [rule for vendor in catalog.vendors.values() if not vendor.listed_by for rule in _rules(vendor)]
    if len(listed) <= MAX_LISTED_RULES:
        rules += listed
    competing = _competing(rules)
    needed = _near_optional_hosts(rules)
    # A strictly necessary vendor is never refused: it is of interest only where it keeps a refusal off.
    rules = [
        rule
        for rule in rules
        if rule.vendor.category in OPTIONAL or (rule.place in needed if rule.kind == 0 else rule in competing)
    ]
    first = sorted((rule for rule in rules if rule in competing), key=lambda rule: (rule.kind, rule.rank))
    order = {category: number for number, category in enumerate(Category)}
    rest = sorted(
        (rule for rule in rules if rule not in competing), key=lambda rule: order[rule.vendor.category]
    )
    runs = groupby(chain(first, rest), key=lambda rule: rule.vendor.id)
    return " ".join(("", *(_words(list(run)) for _, run in runs), ""))


@dataclass(frozen=True, slots=True, eq=False)
class _Rule:
    """One host, URL pattern, cookie name or storage key."""

    vendor: Vendor
    kind: int
    """0 for hosts and URL patterns, 1 for cookies, 2 for storage keys, 3 for functions."""
    place: str
    """The host; or the literal text that the name begins with."""
    pattern: str
    """The regular expression; empty for a bare host."""
    rank: tuple[int, int]
    """The order in which the catalog tries the URL patterns of one host, or names: not 0 for a wildcard."""

    @property
    def text(self) -> str:
        return _MARKS[self.kind] + (self.pattern if self.kind else self.place + self.pattern)


def _rules(vendor: Vendor) -> Iterator[_Rule]:
    for host in vendor.hosts:
        yield _Rule(vendor, 0, host, "", (0, 0))
    for url in vendor.urls:
        pattern = UrlPattern(url)
        yield _Rule(vendor, 0, pattern.host, _url_expression(pattern, url.partition("?")[2]), pattern.rank)
    names = [(1, cookie.name) for cookie in vendor.cookies if cookie.party == "first"]
    # A vendor may keep the same key in several places.
    names += dict.fromkeys((2, item.key) for item in vendor.storage)
    for kind, name in names:
        stem, star, _ = name.partition("*")
        yield _Rule(vendor, kind, stem, _name_expression(name), (1, -len(name)) if star else (0, 0))
    for function in dict.fromkeys(_called(vendor)):
        yield _Rule(vendor, 3, function, function, (0, 0))


def _called(vendor: Vendor) -> Iterator[str]:
    """Yield the functions that pages call by their name once the vendor's snippet has run."""
    for signature in vendor.inline:
        call = _CALL.match(signature.pattern)
        if call and re.search(rf"(?<![\w$.]){re.escape(call[1])}\(", signature.example):
            yield call[1]


def _words(rules: Sequence[_Rule]) -> str:
    vendor = rules[0].vendor
    texts = (rule.text for rule in sorted(rules, key=lambda rule: rule.kind))
    return " ".join((*texts, vendor.category[0] + vendor.id))


def _competing(rules: Sequence[_Rule]) -> frozenset[_Rule]:
    """Return the rules that may fit the same text as one of another vendor: at least all that do."""
    claims: dict[str, set[str]] = {}
    for rule in rules:
        if rule.kind == 0 and rule.pattern:
            claims.setdefault(rule.place, set()).add(rule.vendor.id)
    found = {rule for rule in rules if rule.kind == 0 and rule.pattern and len(claims[rule.place]) > 1}
    for kind in {rule.kind for rule in rules} - {0}:
        # In this order, all whose texts begin alike stand together.
        named = sorted((rule for rule in rules if rule.kind == kind), key=_place)
        for wild in (rule for rule in named if rule.rank[0]):
            for other in islice(named, bisect_left(named, wild.place, key=_place), None):
                if not other.place.startswith(wild.place):
                    break
                if other.vendor is not wild.vendor:
                    found |= {wild, other}
    return frozenset(found)


def _near_optional_hosts(rules: Sequence[_Rule]) -> frozenset[str]:
    """Return the hosts of rules that are, are above, or are below a host of an optional vendor.

    That of a rule about every host is empty, and near all of them.
    """
    hosts = {rule.place for rule in rules if rule.kind == 0}
    optional = {rule.place for rule in rules if rule.kind == 0 and rule.vendor.category in OPTIONAL}
    above = {parent for host in optional for parent in with_parents(host)}
    return frozenset(
        host for host in hosts if not host or host in above or not optional.isdisjoint(with_parents(host))
    )


def _expression(written: str, anything: str) -> str:
    """Return ``written``, with ``*`` as wildcard, as a regular expression of JavaScript."""
    plain = _BLANK.sub(lambda match: f"\\u{ord(match[0]):04x}", _SPECIAL.sub(r"\\\g<0>", written))
    return plain.replace("*", anything)


def _name_expression(name: str) -> str:
    return _expression(name.removesuffix("*"), "[^]*") + "$" * (not name.endswith("*"))


def _url_expression(pattern: UrlPattern, query: str) -> str:
    # As the guard spells paths. A pattern about every host begins with a slash, too: that ends the host in the table.
    path = _NEEDLESS.sub(lambda match: unquote(match[0]), pattern.path)
    if path.startswith("*/"):
        return "/([^?]*/)?" + _path_expression(path[2:], query)
    return _path_expression(path, query)


def _path_expression(path: str, query: str) -> str:
    if not query:
        end = "" if path.endswith("*") else r"(\?|$)"
        return _expression(path.removesuffix("*"), "[^?]*") + end
    expression = _expression(path, "[^?]*")
    for pair in query.split("&"):
        # A parameter without "=" has an empty value.
        name = _expression(pair, "[^&]*") + "?" * pair.endswith("=")
        expression += rf"(?=\?(.*&)?{name}(&|$))"
    return expression
