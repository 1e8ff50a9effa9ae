"""``consent catalog import``: a site's own copy of a public list becomes a file that its policy can name."""

from __future__ import annotations

import contextlib
import json
import sys
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import click

from consent.catalog import load_catalog
from consent.categories import Category
from consent.cli.failed import Failed
from consent.cli.printable import printable
from consent.errors import ConfigurationError
from consent.guard import MAX_LISTED_RULES
from consent.public_lists.importing import FORMATS, HEAD_LINE, Import, import_list
from consent.public_lists.reading import SourceFile, read_source
from consent.whole_file import write_whole

_STEPS = 100
"""How often the bar is drawn; drawing it takes longer than reading a line."""


@click.command("import")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE...")
@click.option("--as", "kind", type=click.Choice(FORMATS), help="The list's format. Left out: found out.")
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="The file to write, for the policy.",
)
@click.option("--name", default="", help="The list's name. Left out: as it names itself.")
@click.option(
    "--category",
    type=click.Choice([str(category) for category in Category]),
    help="Of all hosts on a list without categories of its own.  [default: targeting]",
)
@click.option("--content", is_flag=True, help="Take Disconnect's category Content too, as functional.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def import_(
    files: tuple[Path, ...],
    kind: str | None,
    out: Path,
    name: str,
    category: str | None,
    content: bool,
    as_json: bool,
) -> None:
    """Read your own copy of a public list, and write a file that the policy can name.

    Formats: easyprivacy (rules about hosts as in EasyPrivacy, hosts files, lists of domains), disconnect
    (Disconnect's services.json), open-cookie-database (its CSV file). Nothing is fetched. The list's licence is
    written into the file and shown: what you may do with your copy, it says.

    What the built-in catalog has an answer for is left out, and so is what our rules cannot say.

    Exits with 2 if a list cannot be read or the file cannot be written; then nothing is changed.
    """
    try:
        _check_target(out)
        sources = [read_source(path) for path in files]
        total = sum(source.text.count("\n") + 1 for source in sources)
        with _progress(total) as progress:
            made = import_list(
                sources,
                load_catalog(),
                kind=kind,
                name=name,
                category=Category(category) if category else None,
                content=content,
                today=_today(),
                progress=progress,
            )
        write_whole(out, made.toml)
    except ConfigurationError as error:
        raise Failed(printable(str(error))) from None
    except OSError as error:
        raise Failed(printable(f"{out} cannot be written: {error.strerror or error}")) from None
    if as_json:
        click.echo(json.dumps(_members(made, out)))
    else:
        _print(made, sources, out)


def _today() -> date:
    return datetime.now(UTC).date()


@contextlib.contextmanager
def _progress(total: int) -> Any:
    """Show on a terminal how far the reading is: on standard error, and nothing where nobody watches."""
    bar = click.progressbar(
        length=total,
        label="Reading",
        file=sys.stderr,
        hidden=not sys.stderr.isatty(),
        update_min_steps=max(1, total // _STEPS),
    )
    with bar:
        yield bar.update


def _check_target(out: Path) -> None:
    """See that no file is overwritten but such a list.

    Raises:
        ConfigurationError: something else is there.
    """
    try:
        with out.open("rb") as file:
            start = file.read(len(HEAD_LINE))
    except FileNotFoundError:
        return
    if start != HEAD_LINE.encode():
        raise ConfigurationError(
            "exists, and is no list that this command wrote: choose another --out", source=str(out)
        )


def _counts(made: Import) -> dict[str, int]:
    return {
        "read": made.read,
        "taken": made.taken,
        "known": made.known,
        "repeated": made.repeated,
        "excepted": made.excepted,
        "let_through": made.let_through,
        "without_effect": made.without_effect,
        "not_taken": made.not_taken,
    }


def _members(made: Import, out: Path) -> dict[str, Any]:
    return {
        "name": made.name,
        "format": made.format,
        "licence": made.licence,
        "version": made.version or None,
        "files": list(made.files),
        **_counts(made),
        "reasons": [
            {"reason": reason, "count": each.count, "examples": each.examples}
            for reason, each in made.skipped.items()
        ],
        "vendors": len(made.vendors),
        "rules": made.rules,
        "in_guard": made.rules <= MAX_LISTED_RULES,
        "out": str(out),
    }


_SAID = {
    "taken": "taken",
    "known": "known already: the built-in catalog has an answer",
    "repeated": "there twice",
    "excepted": "taken back by the list itself",
    "let_through": "exceptions, kept as such",
    "without_effect": "exceptions to nothing that is taken",
    "not_taken": "not taken",
}


def _print(made: Import, sources: list[SourceFile], out: Path) -> None:
    version = f", version {made.version}" if made.version else ""
    click.secho(printable(f"{made.name}{version}"), bold=True)
    click.echo(printable(f"  Licence  {made.licence}"))
    for source in sources:
        click.echo(printable(f"  From     {source.name}, {source.size:,} bytes, SHA-256 {source.digest}"))
    click.echo(f"{made.read:,} rules read:")
    counts = _counts(made)
    for key, said in _SAID.items():
        if counts[key] or key == "taken":
            click.echo(f"{counts[key]:>9,}  {said}")
    for reason, each in made.skipped.items():
        click.echo(f"{each.count:>19,}  {reason}")
        for example in each.examples:
            click.echo(printable(f"                     {example}"))
    click.echo(printable(f"Written to {out}. Its path goes into the policy, from the policy's folder:"))
    click.echo(f"  lists = [{json.dumps(printable(out.as_posix()))}]")
    if made.rules > MAX_LISTED_RULES:
        click.echo(
            f"The server refuses what the list names; the guard does not: more than {MAX_LISTED_RULES:,} rules "
            "would be too much for visitors to load."
        )
