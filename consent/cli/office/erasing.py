"""``consent office erase``, ``expire`` and ``hold``: what is forgotten, and what must not be."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Final
from uuid import uuid4

import click

from consent.accounts import MAX_ACCOUNT
from consent.catalog import load_catalog
from consent.cli.data import checked_subject, data_option, open_log, with_store
from consent.cli.office.folder import office_desk
from consent.cli.policy_option import policy_option
from consent.cli.printable import printable
from consent.cli.sought import reason_option
from consent.errors import ErasureHeldError
from consent.office.asker import Asker
from consent.office.desk import Desk
from consent.office.visitors import subjects_of
from consent.policy import Policy
from consent.policy_file import load_policy
from consent.receipt_search import MAX_PAGE, Sought
from consent.retention import DAY_MS, Past, past_by_policy, site_policies
from consent.store import Erasing

MAX_VISITORS: Final = 10_000
"""How many visitors of one account are erased in one run."""


@click.command()
@data_option
@reason_option("Why, such as the number of a request")
@click.option(
    "--account",
    metavar="ID",
    help="Instead of HEX: all visitors who were signed in with this account, as the site names it. With '-', it is "
    "asked for, or read from standard input: no history of commands has it then.",
)
@click.option("--json", "as_json", is_flag=True, help="One certificate a line.")
@click.argument(
    "subject", metavar="[HEX]", required=False, callback=lambda _ctx, _option, value: checked_subject(value)
)
def erase(folder: Path, reason: str, account: str | None, as_json: bool, subject: str | None) -> None:
    """Erase all receipts of a visitor, or of an account, and print the certificates.

    HEX is the pseudonym of 32 hexadecimal digits, as 'show' prints it. Key, tag and text are destroyed in the database
    and its log; copies of it are not reached. The register of requests forgets the pseudonym, too. A certificate is the
    record of the erasure with the proof that it is in the log; it does not say whom it was about. Of an account, there
    is one for each pseudonym.
    """
    if (subject is None) is (account is None):
        raise click.UsageError("give the visitor's pseudonym, or --account")
    held = erased = 0
    with office_desk(folder) as (desk, asker):
        reason = desk.require_reason(reason)
        if subject is not None:
            subjects: Sequence[str] = [subject]
        else:
            name = desk.log.account(_account(account or ""))
            subjects = subjects_of(desk.log, Sought(account=name), limit=MAX_VISITORS)
            if len(subjects) > MAX_VISITORS:
                click.echo(f"More than {MAX_VISITORS} visitors: run it again for the rest.", err=True)
        by = "visitor" if account is None else "account"
        some: Iterable[str] = subjects[:MAX_VISITORS]
        shown = (
            nullcontext(some)
            if account is None
            else click.progressbar(some, label="Erasing", file=sys.stderr)
        )
        with shown as bar:
            for each in bar:
                try:
                    erased += _erase(desk, asker, each, reason, by=by, as_json=as_json)
                except ErasureHeldError as error:
                    if account is None:
                        raise
                    held += 1
                    click.echo(f"One of the visitors: {error}", err=True)
    if account is not None and (erased or held):
        click.echo(f"visitors: {erased} erased, {held} held", err=True)
    if not erased and not held:
        what = "visitor" if account is None else "account"
        raise click.ClickException(f"there is nothing of this {what}")
    if held:
        raise click.exceptions.Exit(1)


def _erase(desk: Desk, asker: Asker, subject: str, reason: str, *, by: str, as_json: bool) -> bool:
    """Erase a visitor, and print the certificates; return whether there was anything."""
    # The log of accesses names leaves, and neither pseudonym nor account.
    leaves = [each.position.leaf for each in desk.log.look(Sought(subject=subject), limit=MAX_PAGE).found]
    if not leaves:
        return False
    series = str(uuid4())
    desk.record(asker, "erasing", reason, by=by, found=len(leaves), leaves=leaves[:20], series=series)
    erasures = desk.erase(subject, series)
    desk.register.forget(subject, erasures, asker.label)
    for erasure in erasures:
        evidence = desk.log.evidence(erasure.erasure_id)
        if evidence is None:
            click.echo(
                "Erased. No checkpoint covers the erasure: the site's log of errors says why.", err=True
            )
            click.echo(erasure.canonical_bytes())
        else:
            text = evidence.text()
            click.echo(json.dumps(json.loads(text), ensure_ascii=False) + "\n" if as_json else text, nl=False)
    return True


def _account(given: str) -> str:
    """Return an account's identifier; for ``-`` ask for it, or read a line."""
    if given == "-":
        asked = sys.stdin.isatty()
        given = click.prompt("Account", err=True) if asked else sys.stdin.readline(MAX_ACCOUNT + 2)
        given = given.rstrip("\r\n")
    if not 0 < len(given) <= MAX_ACCOUNT:
        raise click.UsageError(f"an account's identifier has 1 to {MAX_ACCOUNT} characters")
    return given


@click.command()
@data_option
@policy_option("The site's consent.toml, whose [retention] says how long receipts are kept.")
@click.option("--site", help="Another site than those of the policy, as its receipts name it.")
@click.option(
    "--older-than",
    "days",
    type=click.IntRange(min=1),
    metavar="DAYS",
    help="How long those of --site are kept.",
)
@click.option("--dry-run", is_flag=True, help="Count only.")
def expire(folder: Path, policy_file: Path | None, site: str | None, days: int | None, dry_run: bool) -> None:
    """Erase the receipts that are older than the site keeps them.

    How long that is says the policy, for each site and jurisdiction; or --site and --older-than. Those that are held
    stay. Run it every day.
    """
    if (site is None) is not (days is None):
        raise click.UsageError("--site and --older-than go together")
    now_ms = int(time.time() * 1_000)
    due: list[tuple[int, Past]] = []
    if site is not None and days is not None:
        due.append((days, Past(site=site, before_ms=now_ms - days * DAY_MS)))
    else:
        due += _due(folder, policy_file, now_ms)

    async def all_of_it(store: Erasing) -> list[int]:
        return [await store.expire(past, dry_run=dry_run) for _, past in due]

    done = "would be erased" if dry_run else "erased"
    for (kept, past), count in zip(due, with_store(folder, all_of_it), strict=True):
        where = "" if past.only is None else f", {', '.join(sorted(past.only))}"
        click.echo(f"{printable(past.site)}{where}: {count} receipts older than {kept} days {done}")


def _due(folder: Path, policy_file: Path | None, now_ms: int) -> list[tuple[int, Past]]:
    """Return what is past its time by the policy; say which sites it says nothing about."""
    policy = Policy()
    if policy_file is not None:
        policy, _ = load_policy(policy_file, load_catalog())
    with open_log(folder) as log:
        places = sorted(log.places())
    due: dict[str, list[tuple[int, Past]]] = {}
    for each in site_policies(policy):
        found = list(past_by_policy(each, [place for site, place in places if site == each.site], now_ms))
        if due.setdefault(each.site, found) != found:
            raise click.ClickException(
                f"two policies keep receipts of {each.site!r} for different times: give one of the sites another name"
            )
    for site in dict.fromkeys(site for site, _ in places):
        if not due.get(site):
            click.echo(
                f"{printable(site)}: no [retention] says how long its receipts are kept; none were erased",
                err=True,
            )
    return [each for found in due.values() for each in found]


@click.command()
@data_option
@click.option("--reason", help="Why, such as the number of a case. It is kept in plain text.")
@click.option("--release", is_flag=True, help="Hold them no longer.")
@click.argument("subject", metavar="HEX", callback=lambda _ctx, _option, value: checked_subject(value))
def hold(folder: Path, reason: str | None, release: bool, subject: str) -> None:
    """Keep a visitor's receipts from being erased, until they are released."""
    if (reason is None) is not release:
        raise click.UsageError("give a --reason, or --release")
    if not with_store(folder, lambda store: store.hold(subject, reason=reason)):
        raise click.ClickException("there is nothing of this visitor")
    click.echo("released" if release else "held")
