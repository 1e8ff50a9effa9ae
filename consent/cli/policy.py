"""``consent policy``: the version of a policy, and what a change of it means to visitors."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from consent.catalog import load_catalog
from consent.cli.receipts import printable
from consent.errors import ConfigurationError
from consent.policy import Policy
from consent.policy_diff import Change, policy_changes
from consent.policy_file import load_policy

_LONGEST = 120


class _Failed(click.ClickException):
    exit_code = 2


_file = click.Path(path_type=Path)


@click.group()
def policy() -> None:
    """Ask what a policy file, and a change of it, means to visitors."""


@policy.command("version")
@click.argument("file", type=_file)
def version_(file: Path) -> None:
    """Print the version of a policy: with another one, visitors are asked again."""
    click.echo(_load(file).version)


@policy.command("diff")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.argument("before", type=_file, metavar="A")
@click.argument("after", type=_file, metavar="B")
def diff(as_json: bool, before: Path, after: Path) -> None:
    """Say what changes from policy A to policy B, and whether visitors are asked again.

    Exits with 0 if the version stays the same, with 1 if visitors are asked again, with 2 if a file is wrong.
    """
    old, new = _load(before), _load(after)
    changes = policy_changes(old, new)
    material = old.version != new.version
    if as_json:
        told = {"material": material, "before": old.version, "after": new.version}
        click.echo(json.dumps({**told, "changes": [asdict(change) for change in changes]}))
    else:
        _print(old, new, changes)
    if material:
        raise SystemExit(1)


def _load(file: Path) -> Policy:
    try:
        return load_policy(file, load_catalog())[0]
    except ConfigurationError as error:
        raise _Failed(printable(str(error))) from None


def _print(old: Policy, new: Policy, changes: list[Change]) -> None:
    if old.version == new.version:
        click.echo(f"Visitors are not asked again: the version stays {old.version}.")
    else:
        click.echo(f"Visitors are asked again: version {old.version} becomes {new.version}.")
    for material, title in ((True, "What matters to them:"), (False, "What does not:")):
        some = [change for change in changes if change.material is material]
        for position, change in enumerate(some):
            if not position:
                click.echo(title)
            click.echo(f"  {_line(change)}")


def _line(change: Change) -> str:
    what, before, after = (_short(each) for each in (change.what, change.before, change.after))
    if change.before is None:
        return f"{what} added: {after}"
    if change.after is None:
        return f"{what} removed: {before}"
    return f"{what}: {before} → {after}"


def _short(text: str | None) -> str:
    shown = printable(text or "nothing")
    return shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]}…"
