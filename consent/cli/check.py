"""``consent check``: what a visitor without consent gets, and what a site's templates hold."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import click

from consent.catalog import load_catalog
from consent.catalog.lists import LIST_PREFIX
from consent.check import CheckError, Item, PageCheck, check_pages
from consent.check_files import FileCheck, PlacedItem, check_file, files_in
from consent.cli.catalog import place
from consent.cli.failed import Failed
from consent.cli.policy_option import policy_option
from consent.errors import ConfigurationError
from consent.policy import Policy
from consent.policy_file import load_policy


@click.command()
@click.argument("targets", nargs=-1, required=True, metavar="URL|FILE|FOLDER...")
@policy_option(
    "The site's consent.toml, for the vendors it declares, and those and the cookies that it adds."
)
@click.option("--url", "page_url", metavar="URL", help="Where the pages in files will be served.")
@click.option(
    "--strict",
    is_flag=True,
    help="What no catalog entry explains is not accepted either, nor a file that is too large to be read.",
)
@click.option("--timeout", default=20.0, show_default=True, help="Seconds to wait for each answer.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a page or file.")
def check(
    targets: tuple[str, ...],
    policy_file: Path | None,
    page_url: str | None,
    strict: bool,
    timeout: float,
    as_json: bool,
) -> None:
    """Say which trackers are in pages, templates and files.

    A URL is fetched as a visitor without consent gets it. A site that runs the middleware also tells what it
    withheld. Files, and the pages, templates, style sheets and scripts in folders, are read: each tracker in them
    has to be of a vendor that the policy declares.

    Exits with 1 if a page delivers a tracker that needs consent, or a file has one that is not declared, with 2
    if something cannot be read, with 0 otherwise.
    """
    catalog, policy = load_catalog(), Policy()
    url = place(page_url)
    failed = False
    seen: list[FileCheck] = []
    try:
        if policy_file is not None:
            policy, catalog = load_policy(policy_file, catalog)
        for target in targets:
            if _is_url(target):
                for page in check_pages([target], catalog=catalog, policy=policy, timeout_seconds=timeout):
                    failed |= bool(page.leaked or (strict and page.unclassified))
                    if as_json:
                        click.echo(json.dumps({**asdict(page), "found": page.found}))
                    else:
                        _print(page)
                continue
            path = Path(target)
            for file in files_in(path) if path.is_dir() else [path]:
                result = check_file(file, catalog=catalog, policy=policy, url=url)
                if result.skipped and file is path:
                    raise CheckError(f"{path} is {result.skipped}")
                failed |= bool(result.undeclared or (strict and (result.unclassified or result.skipped)))
                seen.append(result)
                if as_json:
                    click.echo(json.dumps(asdict(result)))
                else:
                    _print_file(result)
    except (CheckError, ConfigurationError) as error:
        raise Failed(_printable(str(error))) from None
    if seen and not as_json:
        _print_sum(seen)
    if failed:
        raise SystemExit(1)


def _is_url(target: str) -> bool:
    """Tell whether to fetch ``target``: what is there as a file is read, and what looks like a file is one."""
    if "://" in target:
        return True
    try:
        return not (target.startswith((".", "/")) or "\\" in target or Path(target).exists())
    except (OSError, ValueError):
        return True


def _printable(text: str) -> str:
    """Return what a site says with nothing in it that a terminal obeys, or that moves or hides other words."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _print(page: PageCheck) -> None:
    click.secho(_printable(page.url), bold=True)
    _section("leaked", page.leaked, fg="red")
    _section("withheld", page.withheld, fg="green")
    _section("allowed", page.left)
    _section("unclassified", page.unclassified, fg="yellow")
    trackers = "tracker" if page.found == 1 else "trackers"
    click.echo(
        f"  {page.found} {trackers} found, {len(page.withheld)} withheld, {len(page.leaked)} leaked, "
        f"{len(page.unclassified)} unclassified"
    )
    if page.leaked and not page.governed:
        click.echo("  The site did not say what it withholds: is ConsentMiddleware mounted?")
    elif page.leaked:
        click.echo("  The middleware runs, but these got through: please report the page's markup.")
    click.echo()


def _print_file(file: FileCheck) -> None:
    """Print what is in a file in the order of its lines, each as editors and CI find their way by it."""
    if file.skipped:
        click.echo(f"{_printable(file.file)}: {click.style('skipped', fg='yellow')}: {file.skipped}")
    kinds = (
        (file.undeclared, click.style("not declared", fg="red")),
        (file.declared, click.style("declared", fg="green")),
        (file.allowed, "needs no consent"),
        (file.unclassified, click.style("unclassified", fg="yellow")),
    )
    for item, verdict in sorted(
        ((item, verdict) for items, verdict in kinds for item in items), key=lambda each: each[0].line
    ):
        about = f"{item.name} ({item.category})" if item.category else "unknown"
        what = _printable(f"{about} {item.kind} {item.subject}")
        click.echo(f"{_printable(file.file)}:{item.line}: {what}: {verdict}{_remedy(item, file)}")


def _remedy(item: PlacedItem, file: FileCheck) -> str:
    if item not in file.undeclared:
        return ""
    if (item.vendor or "").startswith(LIST_PREFIX):
        return ": describe it in a [[vendor]] table of the policy, or take it out"
    return f': add "{item.vendor}" to "declare" in the policy, or take it out'


def _print_sum(files: list[FileCheck]) -> None:
    undeclared, declared, unclassified = (
        sum(len(getattr(file, kind)) for file in files) for kind in ("undeclared", "declared", "unclassified")
    )
    trackers = "tracker" if undeclared + declared == 1 else "trackers"
    skipped = sum(bool(file.skipped) for file in files)
    count = "1 file" if len(files) == 1 else f"{len(files)} files"
    click.echo(
        f"{count}: {undeclared + declared} {trackers} found, {declared} declared, {undeclared} not declared, "
        f"{unclassified} unclassified" + (f", {skipped} skipped" if skipped else "")
    )


def _section(title: str, items: Iterable[Item], *, fg: str | None = None) -> None:
    for item, count in Counter(items).items():
        times = f" ×{count}" if count > 1 else ""
        about = _printable(f"{item.name} ({item.category})" if item.category else "unknown")
        what = _printable(f"{item.kind} {item.subject}")
        click.echo(f"  {click.style(f'{title:<12}', fg=fg)} {about:<44} {what}{times}")
