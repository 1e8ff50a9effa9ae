"""The office on a port of its own."""

from __future__ import annotations

from pathlib import Path

import click

from consent.catalog import load_catalog
from consent.cli.data import data_option, explained
from consent.cli.policy_option import policy_option
from consent.data_folder import DataFolder
from consent.office.app import Office
from consent.office.in_force import InForce
from consent.policy_file import load_policy
from consent.receipts_database import ReceiptsDatabase


@click.command()
@data_option
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen.")
@click.option("--port", type=click.IntRange(0, 65_535), default=8_001, show_default=True)
@click.option(
    "--prefix", default="/_consent", show_default=True, envvar="CONSENT_PREFIX", help="As the site has it."
)
@click.option(
    "--oidc",
    type=click.Path(path_type=Path),
    envvar="CONSENT_OIDC",
    help="The file that says with which OpenID Connect provider people sign in.",
)
@policy_option("The site's consent.toml: what visitors are asked under now.")
def serve(
    folder: Path, host: str, port: int, prefix: str, oidc: Path | None, policy_file: Path | None
) -> None:
    """Serve console and API by themselves, on a port of their own.

    So that they can be behind another proxy than the site, which then has CONSENT_OFFICE=0. Put HTTPS before it, unless
    it is for this machine alone.
    """
    with explained(folder):
        data = DataFolder(folder)
        database = ReceiptsDatabase(data)
        database.log().close()
        in_force = None
        if policy_file is not None:
            in_force = InForce(*load_policy(policy_file, load_catalog()), policy_file)
        app = Office(
            prefix,
            data,
            database.log,
            oidc=oidc,
            in_force=in_force,
            erase=database.erase,
            append=database.append,
        )
    try:
        import uvicorn
    except ModuleNotFoundError:
        raise click.ClickException("this needs one more package: pip install uvicorn") from None
    click.echo(f"http://{host}:{port}{prefix}/office", err=True)
    app.start()
    try:
        # Without a log of requests: it would have the addresses of who works here.
        uvicorn.run(app, host=host, port=port, log_level="warning", access_log=False, lifespan="off")
    finally:
        app.stop()
