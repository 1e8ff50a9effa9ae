"""``consent office``: the privacy office for terminals and scripts."""

from __future__ import annotations

import click

from consent.cli.office.access import accesses, revoke, token, tokens
from consent.cli.office.serving import serve


@click.group()
def office() -> None:
    """Let people into the privacy office, and see what they did there.

    \b
    Somebody who answers questions:   consent office token --name "Jo Example" --role officer
    Who may come in:                  consent office tokens
    Nobody any more:                  consent office revoke ID
    What was opened, and why:         consent office accesses
    On a port of its own:             consent office serve
    """


for command in (token, tokens, revoke, accesses, serve):
    office.add_command(command)
