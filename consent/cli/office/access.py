"""Who may use the privacy office's console and API, and what they did."""

from __future__ import annotations

import json
import time
from pathlib import Path

import click

from consent.cli.data import data_option, explained
from consent.cli.office.folder import BY, access_log, office_database
from consent.cli.printable import printable
from consent.moments import format_moment
from consent.office.oidc.signed_in import PREFIX, SignedInBook
from consent.office.roles import Role
from consent.office.tokens import MAX_DAYS, TokenBook


@click.command()
@data_option
@click.option(
    "--name", required=True, help="Whose it is, or what for. It is written into the log of accesses."
)
@click.option(
    "--role", type=click.Choice([str(role) for role in Role]), required=True, help="What it is for."
)
@click.option(
    "--site", "sites", multiple=True, help="Only this site, as its receipts name it. May be repeated."
)
@click.option(
    "--days", type=click.IntRange(1, MAX_DAYS), default=90, show_default=True, help="How long it is valid."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object, the token in it.")
def token(folder: Path, name: str, role: str, sites: tuple[str, ...], days: int, as_json: bool) -> None:
    """Make a token, and print it: this once, for it is kept nowhere.

    \b
    reader         counts, trackers
    analyst        and receipts by what they have in common, which names nobody
    officer        and receipts as they are, each time with a reason
    administrator  counts, receipts as an analyst, and the log of accesses
    """
    with explained(folder):
        database = office_database(folder)
        log = access_log(folder, database)
        with log.together():
            secret, made = TokenBook(database, time.time).make(name, Role(role), sites=sites, days=days)
            log.append(BY, "token-made", token=made.id, name=name, role=role, sites=list(sites))
    until = format_moment(made.expires_ms)[:10]
    if as_json:
        members = {"id": made.id, "token": secret, "name": name, "role": role, "sites": sites, "until": until}
        click.echo(json.dumps(members, ensure_ascii=False))
        return
    click.echo(secret)
    click.echo(f"{made.id}: {role}, until {until}. Keep it like a password.", err=True)


@click.command()
@data_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def tokens(folder: Path, as_json: bool) -> None:
    """List all tokens that were ever made, without their secrets."""
    now = int(time.time() * 1_000)
    with explained(folder):
        for each in TokenBook(office_database(folder), time.time).all():
            state = "revoked" if each.revoked_ms is not None else "valid" if each.is_valid(now) else "expired"
            until = format_moment(each.expires_ms)[:10]
            if as_json:
                members = {
                    "id": each.id,
                    "name": each.name,
                    "role": each.role,
                    "sites": each.sites,
                    "until": until,
                }
                click.echo(json.dumps({**members, "state": state}, ensure_ascii=False))
            else:
                sites = ", ".join(each.sites) or "all sites"
                name = printable(f"{each.name} ({sites})")
                click.echo(f"{each.id}  {state:7}  until {until}  {each.role:13}  {name}")


@click.command()
@data_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def sessions(folder: Path, as_json: bool) -> None:
    """List who is signed in through an OpenID Connect provider now."""
    with explained(folder):
        for each in SignedInBook(office_database(folder), None, time.time).all():
            until = format_moment(each.expires_ms)
            if as_json:
                members = {
                    "id": each.id,
                    "name": each.name,
                    "issuer": each.issuer,
                    "subject": each.subject,
                    "role": each.role,
                    "sites": each.sites,
                    "until": until,
                }
                click.echo(json.dumps(members, ensure_ascii=False))
            else:
                sites = ", ".join(each.sites) or "all sites"
                click.echo(f"{each.id}  until {until[11:16]}  {each.role:13}  {each.label} ({sites})")


@click.command()
@data_option
@click.argument("id", metavar="ID")
def revoke(folder: Path, id: str) -> None:
    """Let a token, and whoever is signed in with it, in no longer; or end the sessions of somebody.

    Whoever signed in through a provider can do so again, as long as that knows them and a grant fits.
    """
    with explained(folder):
        database = office_database(folder)
        log = access_log(folder, database)
        with log.together():
            if id.startswith(PREFIX):
                if not SignedInBook(database, None, time.time).end_all(id):
                    raise click.ClickException(f"{id!r} is not signed in: 'sessions' lists who is")
                log.append(BY, "sessions-revoked", person=id)
            else:
                if not TokenBook(database, time.time).revoke(id):
                    raise click.ClickException(
                        f"there is no token {id!r} that could be revoked: 'tokens' lists them"
                    )
                log.append(BY, "token-revoked", token=id)
    click.echo("revoked")


@click.command()
@data_option
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.option(
    "--verify", is_flag=True, help="Check the whole log against what was signed; exits with 1 if it is not."
)
def accesses(folder: Path, limit: int, as_json: bool, verify: bool) -> None:
    """List what was done in the office, the newest first."""
    with explained(folder):
        log = access_log(folder, office_database(folder))
        if verify:
            problems = log.verify()
            for problem in problems:
                click.echo(problem, err=True)
            if problems:
                raise click.ClickException("the log of accesses was altered")
            click.echo("the log of accesses is whole")
            return
        for entry in log.newest(limit=limit):
            if as_json:
                members = {"leaf": entry.leaf, "time": entry.time, "who": entry.who, "what": entry.what}
                more = {"reason": entry.reason, "details": dict(entry.details)}
                click.echo(json.dumps({**members, **more}, ensure_ascii=False))
            else:
                reason = f": {entry.reason}" if entry.reason else ""
                said = printable(f"{entry.who}  {entry.what}{reason}")
                click.echo(f"{entry.time[:19].replace('T', ' ')}  {said}")
