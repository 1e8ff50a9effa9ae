"""``consent check``: what a visitor without consent gets."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import click

from consent.catalog import load_catalog
from consent.check import CheckError, Item, PageCheck, check_pages
from consent.errors import ConfigurationError
from consent.policy import Policy
from consent.policy_file import load_policy


class _Failed(click.ClickException):
    """Something could not be looked at: neither clean nor leaking."""

    exit_code = 2


@click.command()
@click.argument("urls", nargs=-1, required=True, metavar="URL...")
@click.option(
    "--policy",
    "policy_file",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="CONSENT_POLICY",
    help="The site's consent.toml, for the vendors and cookies it adds.",
)
@click.option("--timeout", default=20.0, show_default=True, help="Seconds to wait for each answer.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a page.")
def check(urls: tuple[str, ...], policy_file: Path | None, timeout: float, as_json: bool) -> None:
    """Fetch pages as a visitor without consent and say which trackers are in them.

    Exits with 1 if a page delivers a tracker that needs consent, with 2 if a page cannot be fetched, with 0
    otherwise. A site that runs the middleware also tells what it withheld.
    """
    catalog, policy = load_catalog(), Policy()
    try:
        if policy_file is not None:
            policy, catalog = load_policy(policy_file, catalog)
        leaked = 0
        for page in check_pages(list(urls), catalog=catalog, policy=policy, timeout_seconds=timeout):
            leaked += len(page.leaked)
            if as_json:
                click.echo(json.dumps({**asdict(page), "found": page.found}))
            else:
                _print(page)
    except (CheckError, ConfigurationError) as error:
        raise _Failed(_printable(str(error))) from None
    if leaked:
        raise SystemExit(1)


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


def _section(title: str, items: Iterable[Item], *, fg: str | None = None) -> None:
    for item, count in Counter(items).items():
        times = f" ×{count}" if count > 1 else ""
        about = _printable(f"{item.name} ({item.category})" if item.category else "unknown")
        what = _printable(f"{item.kind} {item.subject}")
        click.echo(f"  {click.style(f'{title:<12}', fg=fg)} {about:<44} {what}{times}")
