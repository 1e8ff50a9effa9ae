"""``consent enforcement``: what the server did about trackers, and whether anything left that was refused."""

from __future__ import annotations

import json
import sys
from datetime import datetime
from pathlib import Path

import click

from consent.cli.data import data_option, open_log


@click.command()
@data_option
@click.option("--from", "first_day", type=click.DateTime(["%Y-%m-%d"]), help="The first day, UTC.")
@click.option("--to", "last_day", type=click.DateTime(["%Y-%m-%d"]), help="The last day, included.")
@click.option(
    "--leaks", is_flag=True, help="Only what left although it was refused; exits with 1 if there is any."
)
def enforcement(folder: Path, first_day: datetime | None, last_day: datetime | None, leaks: bool) -> None:
    """Count what the server did about trackers: one JSON object a line.

    By day, site, rule, vendor, category, action, reason and version of the policy; by no visitor. Pages of visitors
    who allow everything are not looked at, and not counted.
    """
    with open_log(folder) as log:
        first = "0000" if first_day is None else first_day.date().isoformat()
        last = "9999" if last_day is None else last_day.date().isoformat()
        counts = [count for count in log.enforcement(first, last) if count.kind.leaked or not leaks]
    for count in counts:
        click.echo(json.dumps({**count.kind._asdict(), "times": count.times}, ensure_ascii=False))
    if leaks:
        click.echo(f"{sum(count.times for count in counts)} left although they were refused", err=True)
        if counts:
            sys.exit(1)
