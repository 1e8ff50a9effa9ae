"""``consent init``: a ``consent.toml`` to begin with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from consent.catalog import load_catalog
from consent.cli.failed import Failed
from consent.cli.scan import run_scan, scan_options
from consent.errors import ConsentError
from consent.scanner import judge
from consent.scanner.draft import drafted_policy, left_to_say, starting_policy
from consent.scanner.proposals import propose
from consent.scanner.rendering import shown


@click.command()
@click.argument("url", required=False)
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("consent.toml"),
    show_default=True,
    help="The file to write.",
)
@click.option("--force", is_flag=True, help="Overwrite it if it exists.")
@scan_options
def init(url: str | None, output: Path, force: bool, **how: Any) -> None:
    """Write a commented consent.toml to begin with.

    With the URL of a site of yours it is scanned first, as by 'consent scan': the vendors found are declared, and
    what nobody has described yet stands there as comments to fill in. Without one, the file shows all that can be
    said in it.

    Exits with 2 if the file exists, or the site cannot be scanned.
    """
    if output.exists() and not force:
        raise Failed(f"{output} exists: name another file with --output, or overwrite it with --force")
    try:
        if url is None:
            text, left = starting_policy(), ["all of it, line by line"]
        else:
            report = judge(run_scan(url, how), load_catalog())
            text, left = drafted_policy(report), left_to_say(propose(report))
        # Somebody may have made one while the site was scanned.
        with output.open("w" if force else "x", encoding="utf-8") as file:
            file.write(text)
    except (ConsentError, OSError) as error:
        raise Failed(shown(error, 1_000)) from None
    click.echo(f"Wrote {output}. Left for you:")
    for line in left:
        click.echo(f"  - {line}")
