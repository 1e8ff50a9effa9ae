"""``consent catalog``: what is known about vendors, and why something belongs to one."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click

from consent.catalog import Catalog, CatalogList, Vendor, load_catalog
from consent.catalog.lists import ListFile
from consent.categories import Category
from consent.cli.policy_option import policy_option
from consent.cli.printable import printable
from consent.errors import ConsentError
from consent.explain import NOWHERE, Explanation, explain, explain_page, search
from consent.html.urls import PageURL, resolve
from consent.parts import part_at
from consent.policy_file import load_policy

_MAX_PAGE_BYTES = 16 * 1024 * 1024
_policy_option = policy_option("The site's consent.toml, for the vendors it adds.")


@click.group()
def catalog() -> None:
    """Ask what is known about vendors.

    \b
    Which rule is about an address, a name, a page:
        consent catalog explain https://www.clarity.ms/tag/abc
        consent catalog explain _fbp
        consent catalog explain page.html
    Find a vendor, and see all that is known of it:
        consent catalog search hotjar
        consent catalog show hotjar
    Read your own copy of a public list:
        consent catalog import easyprivacy.txt --out lists/easyprivacy.toml
    """


@catalog.command("explain")
@_policy_option
@click.option("--url", "page_url", metavar="URL", help="Where the page is served.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.argument("things", nargs=-1, required=True, metavar="URL|NAME|FILE...")
def explain_(policy_file: Path | None, page_url: str | None, as_json: bool, things: tuple[str, ...]) -> None:
    """Say which rule is about a URL, a cookie, a storage key or all that is on a page, and why.

    A file that exists is read as an HTML page. Everything else is looked up under what it may be: a URL, a
    cookie's name, a storage key.

    Exits with 1 if something is in there that nothing in the catalog explains.
    """
    known = _load(policy_file, place(page_url))
    unknown = False
    for thing in things:
        found = _explained(known.catalog, thing, page_url)
        unknown |= any(explanation.match is None for explanation in found)
        for explanation in found:
            match = explanation.match
            listed = known.listed(match.vendor, match.rule) if match else None
            if as_json:
                click.echo(json.dumps(_members(explanation, listed)))
            else:
                _print_explanation(explanation, thing, listed)
        if not found and not as_json:
            click.echo(f"{printable(thing)}: nothing of anybody else's is in it")
    if unknown:
        raise SystemExit(1)


@catalog.command("list")
@_policy_option
@click.option("--category", type=click.Choice([str(category) for category in Category]), help="Only these.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line: everything that is known.")
def list_(policy_file: Path | None, category: str | None, as_json: bool) -> None:
    """List all vendors, in the catalog's order."""
    vendors = _load(policy_file).catalog.vendors.values()
    _print_vendors((v for v in vendors if category in (None, v.category)), as_json)


@catalog.command("search")
@_policy_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line: everything that is known.")
@click.argument("words", nargs=-1, required=True)
def search_(policy_file: Path | None, as_json: bool, words: tuple[str, ...]) -> None:
    """Find vendors by words in their names, hosts, URL patterns, cookies or storage keys.

    Exits with 1 if there is none.
    """
    found = list(search(_load(policy_file).catalog, " ".join(words)))
    if not found:
        raise click.ClickException(
            f"no vendor has {' and '.join(map(repr, words))} in a name or rule: 'consent catalog list' lists all"
        )
    _print_vendors(found, as_json)


@catalog.command()
@_policy_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.argument("vendor_id", metavar="ID")
def show(policy_file: Path | None, as_json: bool, vendor_id: str) -> None:
    """Show everything that is known of one vendor.

    Exits with 1 if there is no such vendor.
    """
    known = _load(policy_file)
    vendor = known.catalog.vendors.get(vendor_id)
    if vendor is None:
        raise click.ClickException(f"no vendor {vendor_id!r}: 'consent catalog search WORD' finds ids")
    listed = known.listed(vendor)
    if as_json:
        click.echo(json.dumps({**asdict(vendor), "list": listed and asdict(listed)}))
    else:
        _print_vendor(vendor, listed)


@dataclass(frozen=True, slots=True)
class _Listed:
    """Where a public list names something."""

    name: str
    licence: str
    file: str
    line: int | None

    def __str__(self) -> str:
        return f"{self.name}, {self.file}:{self.line}"


class _Known:
    """The catalog, and the files of the lists in it."""

    def __init__(self, catalog: Catalog, lists: Iterable[CatalogList] = ()) -> None:
        self.catalog = catalog
        self._lists = {vendor.id: each.source for each in lists for vendor in each.vendors}
        self._files: dict[str, ListFile] = {}

    def listed(self, vendor: Vendor, rule: str = "") -> _Listed | None:
        """Return where a list names a vendor, or the rule of it; ``None`` where no list does."""
        source = self._lists.get(vendor.id)
        if source is None:
            return None
        if source not in self._files:
            self._files[source] = ListFile(source)
        file = self._files[source]
        return _Listed(file.list.name, file.list.licence, source, file.line(vendor.id, rule))


def _load(policy_file: Path | None, page: PageURL = NOWHERE) -> _Known:
    try:
        known = load_catalog()
        if policy_file is None:
            return _Known(known)
        part = part_at(*load_policy(policy_file, known), page)
        return _Known(part.catalog, part.policy.lists)
    except ConsentError as error:
        raise click.ClickException(str(error)) from None


def _explained(known: Catalog, thing: str, page_url: str | None) -> list[Explanation]:
    file = Path(thing)
    try:
        if not file.is_file():
            return explain(known, thing)
        with file.open("rb") as opened:
            page = opened.read(_MAX_PAGE_BYTES + 1)
    except (OSError, ValueError) as error:
        raise click.ClickException(f"{printable(thing)} cannot be read: {error}") from None
    if len(page) > _MAX_PAGE_BYTES:
        raise click.ClickException(f"{printable(thing)} is larger than {_MAX_PAGE_BYTES >> 20} MiB")
    return explain_page(known, page, place(page_url))


def place(url: str | None) -> PageURL:
    """Return where ``--url`` says that a page is; nowhere where it is not given."""
    if url is None:
        return NOWHERE
    target = resolve(url, NOWHERE) if "//" in url else None
    if target is None or target.host == NOWHERE.host:
        raise click.BadParameter("write the page's address: https://www.example.com/", param_hint="--url")
    scheme = url.partition(":")[0].lower()
    return PageURL(scheme if scheme in ("http", "https") else "https", target.host, target.path)


def _print_explanation(explanation: Explanation, thing: str, listed: _Listed | None) -> None:
    where = "" if explanation.line is None else f"{printable(thing)}:{explanation.line}: "
    click.secho(f"{where}{explanation.kind} {printable(explanation.subject)}", bold=True)
    if explanation.match is None:
        click.echo("  unclassified: nothing in the catalog explains it\n")
        return
    vendor = explanation.match.vendor
    rows = {
        "Vendor": f"{vendor.name} ({vendor.id})",
        "Category": str(vendor.category),
        "Use": vendor.about,
        "Rule": explanation.match.rule,
        "Because": explanation.because,
    }
    if listed:
        rows["List"] = str(listed)
    for name, value in rows.items():
        click.echo(f"  {name:<9} {printable(value)}")
    click.echo()


def _members(explanation: Explanation, listed: _Listed | None) -> dict[str, Any]:
    match = explanation.match
    return {
        "line": explanation.line,
        "kind": explanation.kind,
        "subject": explanation.subject,
        "vendor": match.vendor.id if match else None,
        "name": match.vendor.name if match else None,
        "category": match.vendor.category if match else None,
        "rule": match.rule if match else None,
        "because": explanation.because or None,
        "list": listed and asdict(listed),
    }


_ROW = "{:32}  {:18}  {}"


def _print_vendors(vendors: Iterable[Vendor], as_json: bool) -> None:
    if not as_json:
        click.echo(_ROW.format("ID", "CATEGORY", "NAME AND COMPANY"))
    for vendor in vendors:
        if as_json:
            click.echo(json.dumps(asdict(vendor)))
        else:
            about = f"{vendor.name}, {vendor.whose}"
            click.echo(_ROW.format(vendor.id, vendor.category, printable(about)))


def _print_vendor(vendor: Vendor, listed: _Listed | None) -> None:
    rows = {
        "Id": vendor.id,
        "Name": vendor.name,
        "Company": f"{vendor.company} ({vendor.country})" if vendor.country else vendor.company,
        "Category": str(vendor.category),
        "Use": vendor.about,
        "Privacy": vendor.privacy_url,
        "Opt-out": vendor.opt_out_url,
        "List": str(listed or ""),
        "Licence": listed.licence if listed else "",
    }
    for name, value in rows.items():
        if value:
            click.echo(f"{name:<9} {printable(value)}")
    _section("Hosts", vendor.hosts)
    _section("URL patterns", vendor.urls)
    _section("Snippets", [inline.pattern for inline in vendor.inline])
    _section(
        "Cookies",
        [
            " ".join(filter(None, (f"{cookie.name}:", cookie.purpose, cookie.lifetime)))
            + f", {cookie.party} party"
            + (", out of scripts' reach" if cookie.http_only else "")
            for cookie in vendor.cookies
        ],
    )
    _section("Storage", [f"{item.key} ({item.area}): {item.purpose}" for item in vendor.storage])


def _section(title: str, lines: Iterable[str]) -> None:
    for position, line in enumerate(lines):
        if not position:
            click.echo(title)
        click.echo(f"  {printable(line)}")
