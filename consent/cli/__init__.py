"""The ``consent`` command: the same questions that the pages answer, for terminals and scripts."""

from __future__ import annotations

import click

from consent import __version__
from consent.cli.catalog import catalog
from consent.cli.catalog_import import import_
from consent.cli.check import check
from consent.cli.db import db
from consent.cli.enforcement import enforcement
from consent.cli.gpp import gpp
from consent.cli.init import init
from consent.cli.inventory import inventory
from consent.cli.ledger import ledger
from consent.cli.office import office
from consent.cli.policy import policy
from consent.cli.scan import scan


@click.group()
@click.version_option(__version__, prog_name="consent")
def main() -> None:
    """Keep trackers out of a website until its visitors consent, and keep proof.

    \b
    Look at a site as a visitor without consent gets it:
        consent check http://127.0.0.1:8000/
    See what it does in a real browser, before a choice, after refusing and after accepting:
        consent scan http://127.0.0.1:8000/
    Write a consent.toml to begin with:
        consent init http://127.0.0.1:8000/
    List the third-party content that was seen on the site:
        consent inventory
    Ask what is known about vendors, and why something belongs to one:
        consent catalog explain https://www.clarity.ms/tag/abc
    Read the receipts of the choices that visitors made:
        consent office receipts
    Check that nothing of them was changed, and prove it to others:
        consent ledger verify

    Every command takes --help; --json is output that scripts can read.
    """


catalog.add_command(import_)
main.add_command(init)
main.add_command(catalog)
main.add_command(check)
main.add_command(policy)
main.add_command(gpp)
main.add_command(scan)
main.add_command(inventory)
main.add_command(enforcement)
main.add_command(ledger)
main.add_command(db)
main.add_command(office)
