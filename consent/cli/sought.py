"""What receipts a command is about: its options for it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import wraps
from typing import Any, TypeVar, cast

import click

from consent.categories import OPTIONAL
from consent.cli.data import checked_subject
from consent.receipt_search import Sought
from consent.receipts import Outcome

_Command = TypeVar("_Command", bound=Callable[..., Any])
DAY = click.DateTime(["%Y-%m-%d"])
_OPTIONS = (
    click.option(
        "--subject",
        metavar="HEX",
        callback=lambda _ctx, _option, value: checked_subject(value),
        help="Only this visitor's: the pseudonym of 32 hexadecimal digits.",
    ),
    click.option("--outcome", type=click.Choice([str(outcome) for outcome in Outcome]), help="Only these."),
    click.option("--from", "first_day", type=DAY, metavar="DAY", help="From this day on, UTC: 2026-03-01."),
    click.option("--to", "last_day", type=DAY, metavar="DAY", help="Until the end of this day, UTC."),
    click.option("--site", help="Only this site's, as its receipts name it."),
    click.option("--jurisdiction", help="Only visitors taken to be there."),
    click.option("--language", help="Only those who were shown a text in this language."),
    click.option("--policy-version", metavar="VERSION", help="Only under this version of the policy."),
    click.option("--shown", "shown_hash", metavar="SHA256", help="Only those who were shown this text."),
    click.option("--vendor", metavar="ID", help="Only with an answer for this vendor alone."),
    click.option(
        "--yes", type=click.Choice([str(each) for each in OPTIONAL]), multiple=True, help="Only a yes to it."
    ),
    click.option(
        "--no", type=click.Choice([str(each) for each in OPTIONAL]), multiple=True, help="Only a no to it."
    ),
    click.option("--gpc/--no-gpc", default=None, help="Only with, or without, Global Privacy Control."),
)


def reason_option(why: str) -> Callable[[_Command], _Command]:
    """Add the option that says why a visitor's data is opened.

    Args:
        why: how its help begins: when it is needed.
    """
    return click.option("--reason", default="", help=f"{why}: it goes into the log of accesses.")


def sought_options(command: _Command) -> _Command:
    """Add the options, and let the command have what they say as ``sought``."""

    @wraps(command)
    def run(
        *arguments: Any,
        first_day: datetime | None,
        last_day: datetime | None,
        yes: tuple[str, ...],
        no: tuple[str, ...],
        **options: Any,
    ) -> Any:
        if both := set(yes) & set(no):
            raise click.UsageError(f"--yes {both.pop()} and --no at once: choose one")
        asked: dict[str, Any] = {name: options.pop(name) for name in _TAKEN_OVER}
        asked |= dict.fromkeys(yes, True) | dict.fromkeys(no, False)
        sought = Sought(
            **asked,
            since_ms=None if first_day is None else _milliseconds(first_day),
            until_ms=None if last_day is None else _milliseconds(last_day + timedelta(days=1)),
        )
        return command(*arguments, sought=sought, **options)

    decorated: Any = run
    for option in reversed(_OPTIONS):
        decorated = option(decorated)
    return cast(_Command, decorated)


_TAKEN_OVER = (
    "subject", "outcome", "site", "jurisdiction", "language", "policy_version", "shown_hash", "vendor", "gpc",
)  # fmt: skip


def _milliseconds(day: datetime) -> int:
    return int(day.replace(tzinfo=UTC).timestamp() * 1_000)
