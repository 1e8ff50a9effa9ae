"""The pages of the gallery, read from ``pages/*.toml``: one file for each tier, one table for each page.

A file begins with ``[tier]``: ``title``, and what ``needs`` and ``reason`` are for pages that do not say.
Each ``[[page]]`` has

``name``, ``about``
    unique in the gallery; one sentence.
``tracker``
    host and path (with query) that the technique contacts. The built-in catalog must refuse it.
``benign``
    those of third parties that the page must still reach; the catalog must not refuse them.
``own``
    paths on the site itself that the page must still ask for.
``works``
    a JavaScript expression that must be true (or a promise of that) in every state.
``cookies``, ``storage``
    names of a tracker's cookies; ``local:key``, ``session:key`` or ``indexeddb:name``.
``own_cookies``
    names of cookies that must be there in every state.
``head``, ``body``, ``script``
    what goes into the usual page; ``script`` becomes a file of the site, ``app.js``, that the server passes.
``page``
    the whole document instead.
``headers``, ``media_type``, ``charset``, ``bom``, ``coding``, ``chunk``
    lines ``Name: value``; the Content-Type; a codec of Python's; whether a byte order mark goes first;
    ``gzip``, ``x-gzip``, ``br``, ``zstd``, ``deflate``, ``raw-deflate`` (without its frame), or several with
    ``, `` between them; how many bytes go out at once.
``[page.files]``
    further files beside the page: ``"name" = { type, body, headers, status }``.
``act``
    what the visitor does: ``click <selector>``, or ``leave``.
``scripting``
    ``false`` for a visitor without JavaScript.
``front``
    ``true`` for what Chromium only does in the foremost tab.
``slow``
    ``true`` for what Chromium starts something for first: a worker, a report.
``how``
    ``connection`` where the technique only connects: it is recognised by the host, which has ``{{name}}``.
``gone``
    texts that the answer has without a choice not, though it has them otherwise. For what is not seen in
    contacts.
``respelt``
    why the bytes may differ from the app's by more than insertions, though nothing is refused.
``needs``, ``reason``
    which layer stops it, ``guard`` or ``csp``, and why those before it cannot; ``nothing`` where none does.
    Without the two the server must.
``inert_in_chromium``
    why Chromium does not perform the technique at all.
``look_alike``
    ``true`` for pages that only look as if: the tracker is never contacted, and not a byte may change.

In texts, ``{{tracker}}`` stands for the tracker's URL (``https``), ``{{host}}`` and ``{{target}}`` for its
parts, ``{{benign}}``, ``{{benign.2}}`` and so on for the benign URLs, ``{{name}}`` and ``{{id}}`` for the
page's own, ``{{long}}`` for a very long word. Every URL ends with ``g=<id>``, so that each contact tells
which page it came from.
"""

from __future__ import annotations

import gzip
import importlib
import re
import sys
import tomllib
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, cast, get_args

import brotli

from consent.catalog import Catalog, load_catalog
from consent.categories import Category

# In the library from Python 3.14 on.
zstd = importlib.import_module("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")

FOLDER = Path(__file__).parent / "pages"
TIERS = (
    "markup",
    "css",
    "inline",
    "obfuscated",
    "runtime",
    "workers",
    "malformed",
    "encoded",
    "xml",
    "headers",
    "cookies",
    "look-alikes",
    "benign",
)
"""In the order in which they are shown; one file each."""

Needs = Literal["", "guard", "csp", "nothing"]
How = Literal["request", "connection"]

_PLACEHOLDER = re.compile(r"\{\{([a-z0-9.]+)\}\}")


def _raw_deflate(data: bytes) -> bytes:
    encoder = zlib.compressobj(wbits=-15)
    return encoder.compress(data) + encoder.flush()


_CODINGS: Mapping[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "br": brotli.compress,
    "deflate": zlib.compress,
    "raw-deflate": _raw_deflate,
    "zstd": lambda data: bytes(zstd.compress(data)),
}
_BOMS = {"utf-8": b"\xef\xbb\xbf", "utf-16-le": b"\xff\xfe", "utf-16-be": b"\xfe\xff"}
_PAGE = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>{title}</title>
{head}</head>
<body>
<h1>{title}</h1>
{body}
</body>
</html>
"""


class GalleryError(Exception):
    """A page of the gallery is not written as it has to be; the message says which and how."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the site answers at one path."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    chunk: int = 0
    """How many bytes go out at once; 0: all."""


@dataclass(frozen=True, kw_only=True)
class Page:
    """One technique."""

    tier: str
    name: str
    about: str
    tracker: str = ""
    benign: tuple[str, ...] = ()
    own: tuple[str, ...] = ()
    works: str = ""
    cookies: tuple[str, ...] = ()
    storage: tuple[str, ...] = ()
    own_cookies: tuple[str, ...] = ()
    head: str = ""
    body: str = ""
    script: str = ""
    page: str = ""
    headers: tuple[str, ...] = ()
    media_type: str = "text/html; charset=utf-8"
    charset: str = "utf-8"
    bom: bool = False
    coding: str = ""
    chunk: int = 0
    files: Mapping[str, Mapping[str, Any]]
    act: str = ""
    scripting: bool = True
    front: bool = False
    slow: bool = False
    how: How = "request"
    gone: tuple[str, ...] = ()
    respelt: str = ""
    needs: Needs = ""
    reason: str = ""
    inert_in_chromium: str = ""
    look_alike: bool = False

    @property
    def id(self) -> str:
        return f"{self.tier}.{self.name}"

    @property
    def path(self) -> str:
        return f"/{self.tier}/{self.name}/"

    def _address(self, written: str) -> tuple[str, str]:
        """Return host and target of a URL as it is written in the data, with the page's token."""
        host, slash, rest = written.replace("{{name}}", self.name).partition("/")
        target = slash + rest or "/"
        return host, f"{target}{'&' if '?' in target else '?'}g={self.id}"

    @cached_property
    def tracker_address(self) -> tuple[str, str]:
        return self._address(self.tracker)

    @cached_property
    def benign_addresses(self) -> tuple[tuple[str, str], ...]:
        return tuple(self._address(written) for written in self.benign)

    @property
    def contacts_tracker(self) -> bool:
        """Whether a visitor's browser contacts the tracker where nobody prevents it."""
        return bool(self.tracker) and not self.inert_in_chromium and not self.look_alike

    def fill(self, text: str) -> str:
        """Return ``text`` with its placeholders filled in."""
        values = {"name": self.name, "id": self.id, "long": "x" * 60_000}
        if self.tracker:
            host, target = self.tracker_address
            values |= {"tracker": f"https://{host}{target}", "host": host, "target": target}
        for number, (host, target) in enumerate(self.benign_addresses, 1):
            values[f"benign.{number}"] = f"https://{host}{target}"
        if self.benign:
            values["benign"] = values["benign.1"]

        def value(match: re.Match[str]) -> str:
            try:
                return values[match[1]]
            except KeyError:
                raise GalleryError(f"{self.id}: nothing to fill in for {match[0]}") from None

        return _PLACEHOLDER.sub(value, text)

    @cached_property
    def document(self) -> bytes:
        """The page as the app answers it, before any content coding."""
        head = self.head + ('<script src="app.js"></script>\n' if self.script and not self.body else "")
        body = self.body + ('\n<script src="app.js"></script>' if self.script and self.body else "")
        text = self.page or _PAGE.format(title=self.name, head=head, body=body)
        encoded = self.fill(text).encode(self.charset)
        return (_BOMS[self.charset] if self.bom else b"") + encoded

    @cached_property
    def answers(self) -> dict[str, Answer]:
        """What the site answers for this page, by path."""
        body = self.document
        headers = [("Content-Type", self.media_type)] if self.media_type else []
        if self.coding:
            for coding in self.coding.lower().split(", "):
                body = _CODINGS[coding](body)
            headers.append(("Content-Encoding", self.coding.removeprefix("raw-")))
        headers += self._header_lines(self.headers)
        found = {self.path: Answer(200, _raw(headers), body, self.chunk)}
        files: dict[str, Mapping[str, Any]] = dict(self.files)
        if self.script:
            files["app.js"] = {"type": "text/javascript; charset=utf-8", "body": self.script}
        for name, file in files.items():
            lines = [("Content-Type", str(file.get("type", "text/plain")))]
            lines += self._header_lines(file.get("headers", ()))
            content = self.fill(file.get("body", "")).encode()
            found[self.path + name] = Answer(file.get("status", 200), _raw(lines), content)
        return found

    def _header_lines(self, lines: tuple[str, ...]) -> list[tuple[str, str]]:
        pairs = []
        for line in lines:
            name, _, value = self.fill(line).partition(":")
            pairs.append((name, value.strip()))
        return pairs


def _raw(headers: list[tuple[str, str]]) -> tuple[tuple[bytes, bytes], ...]:
    return tuple((name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers)


_KEYS = frozenset(Page.__dataclass_fields__) - {"tier"}


def _page(tier: str, defaults: Mapping[str, Any], table: Mapping[str, Any]) -> Page:
    unknown = table.keys() - _KEYS
    if unknown:
        raise GalleryError(f"{tier}.{table.get('name')}: unknown keys {sorted(unknown)}")
    values: dict[str, Any] = {"files": {}, **{k: v for k, v in defaults.items() if k != "title"}, **table}
    if not values.get("needs"):
        values.pop("reason", None)
    for key, value in values.items():
        if isinstance(value, list):
            values[key] = tuple(value)
    return Page(tier=tier, **values)


def _check(page: Page, catalog: Catalog) -> None:
    """Refuse what would show nothing.

    Raises:
        GalleryError: the page's tracker is no tracker, or something like it.
    """

    def wrong(what: str) -> GalleryError:
        return GalleryError(f"{page.id}: {what}")

    if not page.about.endswith("."):
        raise wrong("needs a sentence in 'about'")
    if page.tracker:
        match = catalog.match_url(*page.tracker_address)
        if match is None or match.vendor.category is Category.STRICTLY_NECESSARY:
            raise wrong(f"the catalog does not refuse {page.tracker}")
    for written, address in zip(page.benign, page.benign_addresses, strict=True):
        match = catalog.match_url(*address)
        if match is not None and match.vendor.category is not Category.STRICTLY_NECESSARY:
            raise wrong(f"the catalog refuses {written}, which is called benign")
    for name in page.cookies:
        match = catalog.match_cookie(name)
        if match is None or match.vendor.category is Category.STRICTLY_NECESSARY:
            raise wrong(f"the catalog does not refuse the cookie {name}")
    for written in page.storage:
        area, _, key = written.partition(":")
        if area not in ("local", "session", "indexeddb") or catalog.match_storage(key) is None:
            raise wrong(f"the catalog does not refuse the storage key {written}")
    if page.needs not in get_args(Needs) or bool(page.needs) != bool(page.reason):
        raise wrong("'needs' is one of guard, csp and nothing, with a 'reason', or not there")
    if page.how == "connection" and "{{name}}" not in page.tracker:
        raise wrong("a connection is recognised by {{name}} in the host")
    if page.tier == "benign" and (page.tracker or page.cookies or page.storage):
        raise wrong("is a benign control, and has a tracker")
    if not (page.tracker or page.benign or page.own or page.works or page.cookies or page.storage):
        raise wrong("shows nothing")
    if not (page.page or page.body or page.head or page.script):
        raise wrong("has no content")


def load_pages(folder: Path = FOLDER) -> tuple[Page, ...]:
    """Return every page, in the order of ``TIERS``.

    Raises:
        GalleryError: one is not written as it has to be.
    """
    catalog = load_catalog()
    pages: list[Page] = []
    for tier in TIERS:
        tables = tomllib.loads((folder / f"{tier}.toml").read_text(encoding="utf-8"))
        defaults = cast(Mapping[str, Any], tables.pop("tier", {}))
        for table in tables.pop("page", []):
            page = _page(tier, defaults, table)
            _check(page, catalog)
            pages.append(page)
        if tables:
            raise GalleryError(f"{tier}.toml: unknown tables {sorted(tables)}")
    names = [page.name for page in pages]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise GalleryError(f"two pages have the name {', '.join(twice)}")
    return tuple(pages)
