"""Public lists that a site has imported: they tell of hosts and cookies that nobody has described.

`consent catalog import` writes such a file from a site's own copy of a list; the policy names it. What a list says
counts only where the catalog and the site itself say nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import cast

from consent.catalog.loading import Table, named, web_address, wrong_host, wrong_url_pattern
from consent.catalog.matching import UrlPattern
from consent.catalog.model import Cookie, Party, Vendor
from consent.categories import Category
from consent.errors import ConfigurationError
from consent.toml_file import Place, TomlFile, undotted

MAX_LIST_BYTES = 8 * 1024 * 1024
"""A longer file of a list is not read: 50,000 hosts take some 1.5 MB."""
LIST_PREFIX = "list-"
"""What the ids of vendors begin with that a list names."""
_MAX_NAME = 100
_ID = re.compile(rf"{LIST_PREFIX}[a-z0-9]+(?:-[a-z0-9]+)*")


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogList:
    """One imported list."""

    name: str
    licence: str
    """As the list states it, or where it is stated."""
    source: str
    """The path of the file that it was read from."""
    vendors: tuple[Vendor, ...] = field(hash=False)

    @property
    def rules(self) -> int:
        """How many hosts, URL patterns and cookies it names."""
        return sum(len(v.hosts) + len(v.urls) + len(v.cookies) for v in self.vendors)


def read_list(path: str | Path) -> CatalogList:
    """Read a list as `consent catalog import` writes it.

    Raises:
        ConfigurationError: the file cannot be read, or something in it is wrong; with the file, the 1-based line,
            the dotted key, and what to do.
    """
    return ListFile(path).list


class ListFile:
    """The file of a list, which knows where everything stands.

    Raises:
        ConfigurationError: as of :func:`read_list`.
    """

    def __init__(self, path: str | Path) -> None:
        self._document = document = TomlFile(path, max_bytes=MAX_LIST_BYTES)
        try:
            self.list = _read(document)
        except ConfigurationError as error:
            if error.key is None or error.line is not None:
                raise
            raise document.error(undotted(error.key), error.message) from None

    def line(self, vendor: str, rule: str) -> int | None:
        """Return the 1-based line of a rule, or else of the vendor with that id; ``None`` where it has none."""
        for position, each in enumerate(self.list.vendors):
            if each.id == vendor:
                where: Place = ("vendor", position)
                for key, rules in (("hosts", each.hosts), ("urls", each.urls)):
                    if rule in rules:
                        return self._document.line((*where, key, rules.index(rule)))
                names = [cookie.name for cookie in each.cookies]
                if rule in names:
                    return self._document.line((*where, "cookie", names.index(rule), "name"))
                return self._document.line(where)
        return None


def _read(document: TomlFile) -> CatalogList:
    top = Table(document.data, document.source, "")
    top.only("list", "vendor")
    if not isinstance(document.data.get("list"), dict):
        raise top.error("list", "missing: is this a file that 'consent catalog import' wrote?")
    head = Table(document.data["list"], document.source, "list")
    head.only("name", "format", "licence", "version", "files", "sha256", "imported")
    name = head.text("name", limit=_MAX_NAME)
    licence = head.text("licence")
    for key in ("format", "version"):
        head.text(key, default="-")
    for key in ("files", "sha256"):
        head.texts(key)
    if not isinstance(document.data["list"].get("imported", date.min), date):
        raise head.error("imported", "must be a day without quotes: 2026-01-31")
    vendors = tuple(_vendor(table, name) for table in top.tables("vendor"))
    seen: set[str] = set()
    for position, vendor in enumerate(vendors):
        if vendor.id in seen:
            raise top.error(f"vendor[{position}].id", f"a second vendor with the id {vendor.id!r}: rename it")
        seen.add(vendor.id)
    return CatalogList(name=name, licence=licence, source=document.source, vendors=vendors)


def _vendor(table: Table, list_name: str) -> Vendor:
    table.only("id", "name", "company", "privacy", "category", "hosts", "urls", "cookie")
    vendor_id = table.text("id", limit=120)
    if not _ID.fullmatch(vendor_id):
        raise table.error(
            "id", f"{vendor_id!r} must be {LIST_PREFIX!r} and lower-case letters, digits and hyphens"
        )
    return Vendor(
        id=vendor_id,
        name=table.text("name", limit=_MAX_NAME),
        company=table.text("company", limit=_MAX_NAME) if table.has("company") else "",
        country="",
        privacy_url=web_address(table, "privacy") if table.has("privacy") else "",
        category=Category(table.one_of("category", tuple(Category))),
        about=f"Named by a public list, {list_name}.",
        hosts=table.checked("hosts", wrong_host),
        urls=table.checked("urls", wrong_listed_pattern),
        cookies=tuple(_cookie(item) for item in table.tables("cookie")),
        listed_by=list_name,
    )


def _cookie(table: Table) -> Cookie:
    table.only("name", "purpose", "lifetime", "party")
    return Cookie(
        name=named(table, "name"),
        purpose=table.text("purpose") if table.has("purpose") else "",
        lifetime=table.text("lifetime", limit=60) if table.has("lifetime") else "",
        party=cast(Party, table.one_of("party", ("first", "third"), default="first")),
        http_only=False,
    )


def wrong_listed_pattern(pattern: str) -> str | None:
    """Say what is wrong with a URL pattern of a list, or nothing."""
    wrong = wrong_url_pattern(pattern)
    if wrong is None and not UrlPattern(pattern).host:
        return "names no host: what is on every host, also the site's own, is not for a list to say"
    return wrong
