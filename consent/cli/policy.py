"""``consent policy``: the version of a policy, and what a change of it means to visitors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import click

from consent.catalog import load_catalog
from consent.cli.failed import Failed
from consent.cli.printable import printable
from consent.errors import ConfigurationError
from consent.jurisdictions import place_rules, rule_in_force, treatment
from consent.policy import Policy, Regime, Whereabouts
from consent.policy_diff import Change, policy_changes
from consent.policy_file import load_policy
from consent.policy_rules import JURISDICTION

_LONGEST = 120
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


@policy.command("regimes")
@click.option(
    "--on", type=click.DateTime(["%Y-%m-%d"]), help="The day that is asked about, instead of today."
)
@click.option(
    "--policy", "file", type=_file, help="A policy file, whose own regimes go before the built-in rules."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object for each place, one a line.")
@click.argument("places", nargs=-1, metavar="[PLACE]...")
def regimes(on: datetime | None, file: Path | None, as_json: bool, places: tuple[str, ...]) -> None:
    """Say which regime holds in a place, by which law and since when; without a place, in all that there are rules for.

    A place is a country, such as FR, or a part of one, such as US-CA. Where there is no rule, the strictest holds:
    opt-in.
    """
    day = (on or datetime.now(UTC)).date()
    where = (_load(file).jurisdictions if file else None) or Whereabouts(everybody="EU")
    known = dict.fromkeys(place for rule in place_rules() for place in rule.places)
    for place in places or known:
        if JURISDICTION.fullmatch(place) is None:
            raise Failed(f"{printable(place)!r} is no place: write FR, US-CA or the like")
        told = _told_of(place, day, where)
        click.echo(json.dumps(told) if as_json else _sentences(told))


def _told_of(place: str, day: date, where: Whereabouts) -> dict[str, Any]:
    found, rule = treatment(place, day, where), rule_in_force(place, day)
    own = any(code in where.regimes for code in (place, place.partition("-")[0]))
    later = [each for each in place_rules() if place in each.places and each.since > day]
    return {
        "place": place,
        "on": day.isoformat(),
        "regime": found.regime,
        "by": "policy" if own else "rule" if rule else "default",
        "refuses": sorted(found.refuses or ()),
        "signals": sorted(found.signals),
        **({"name": rule.name, "law": rule.law, "source": rule.source} if rule and not own else {}),
        **({"since": rule.since.isoformat()} if rule and not own else {}),
        "later": [each.since.isoformat() for each in later],
    }


def _sentences(told: Mapping[str, Any]) -> str:
    regime = f"{told['place']}: {told['regime']}"
    if told["by"] == "policy":
        return f"{regime}, as the policy has it"
    if told["by"] == "default":
        return f"{regime}, since there is no rule" + "".join(f" before {day}" for day in told["later"][:1])
    lines = [f"{regime} ({told['name']}), since {told['since']}"]
    if told["regime"] == Regime.OPT_OUT:
        lines.append(f"an opt-out covers {', '.join(told['refuses'])}")
    if told["signals"]:
        lines.append(f"binding signals: {', '.join(told['signals'])}")
    lines += [told["law"], told["source"], *(f"changes on {day}" for day in told["later"])]
    return "\n  ".join(lines)


def _load(file: Path) -> Policy:
    try:
        return load_policy(file, load_catalog())[0]
    except ConfigurationError as error:
        raise Failed(printable(str(error))) from None


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
