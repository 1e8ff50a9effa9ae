"""``consent office``: the privacy office for terminals and scripts."""

from __future__ import annotations

import click

from consent.cli.office.access import accesses, revoke, sessions, token, tokens
from consent.cli.office.delivery import deliver, stream, webhooks
from consent.cli.office.erasing import erase, expire, hold
from consent.cli.office.exporting import export_
from consent.cli.office.receipts import receipts
from consent.cli.office.report import report
from consent.cli.office.requests import requests
from consent.cli.office.serving import serve


@click.group()
def office() -> None:
    """Answer what visitors, auditors and managers ask; let people into the office, and see what they did.

    \b
    What people asked, and is due:    consent office requests list
    What was chosen:                  consent office receipts
    As a file:                        consent office export
    How a month was:                  consent office report month
    Forget a visitor who asked:       consent office erase HEX --reason "request 7"
    Forget what is past its time:     consent office expire
    Somebody who answers questions:   consent office token --name "Jo Example" --role officer
    Who may come in:                  consent office tokens
    Who is signed in elsewhere:       consent office sessions
    Nobody any more:                  consent office revoke ID
    What was opened, and why:         consent office accesses
    Where events are sent:            consent office webhooks
    Events for a log system:          consent office stream --to tcp://logs.example.com:6514
    On a port of its own:             consent office serve
    """


for command in (
    receipts, export_, report, erase, expire, hold, token, tokens, sessions, revoke, accesses, requests, webhooks,
    deliver, stream, serve,
):  # fmt: skip
    office.add_command(command)
