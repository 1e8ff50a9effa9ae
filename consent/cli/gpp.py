"""``consent gpp``: what is in a string of the IAB's Global Privacy Platform."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import click

from consent.cli.failed import Failed
from consent.cli.printable import printable
from consent.gpp_string import GppError, decode, sections

_MEANINGS = {
    "OptOut": ("not applicable", "opted out", "did not opt out"),
    "Notice": ("not applicable", "notice was given", "no notice was given"),
    "MspaCoveredTransaction": ("", "yes", "no"),
    "MspaMode": ("not applicable", "Opt-Out Option Mode", "Service Provider Mode"),
    "Mode": ("not applicable", "yes", "no"),
    "": ("not applicable", "no consent", "consent"),
}
"""What 0, 1 and 2 stand for, by the end of a field's name: the first that fits counts."""


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object, as scripts get it of __gpp.")
@click.argument("string")
def gpp(as_json: bool, string: str) -> None:
    """Read a string of the IAB's Global Privacy Platform: the gppString of a page's __gpp.

    Only of sections about the United States. Exits with 2 if it is no such string.
    """
    try:
        found = decode(string.strip())
    except GppError as error:
        raise Failed(printable(str(error))) from None
    if as_json:
        click.echo(json.dumps(found))
        return
    if not found:
        click.echo("It says that no section applies.")
    for name, parts in found.items():
        click.echo(f"{name}, section {sections()[name].id}")
        for field, value in (item for part in parts for item in part.items()):
            click.echo(f"  {field:<36}{', '.join(_told(field, value))}")


def _told(field: str, value: Any) -> Iterator[str]:
    if isinstance(value, list):
        for number in dict.fromkeys(value):
            yield from _told(field, number)
    elif isinstance(value, bool):
        yield "on" if value else "off"
    elif field.endswith(("Version", "Type")):
        yield str(value)
    else:
        yield next(words[value] for end, words in _MEANINGS.items() if field.endswith(end))
