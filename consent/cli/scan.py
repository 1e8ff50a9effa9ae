"""``consent scan``: what a site does in a real browser, before a choice and after."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from consent.catalog import Catalog, load_catalog
from consent.cli.failed import Failed
from consent.cli.policy_option import policy_option
from consent.errors import ConsentError
from consent.policy import Policy
from consent.policy_file import load_policy
from consent.scanner import Bounds, Phase, Recording, ScanError, judge
from consent.scanner.crawl import Plan, crawl
from consent.scanner.judging import Finding, Report
from consent.scanner.proposals import counted, propose
from consent.scanner.rendering import PHASES, html_report, json_report, over_phases, shown, verdict

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_MAX_LINES = 60
_WIDTH_OF_LOGS = 120

_BOUNDS: tuple[tuple[str, str, click.ParamType[Any], str], ...] = (
    ("pages", "--pages", click.IntRange(1, 1_000), "Pages to open in each phase, at most."),
    ("depth", "--depth", click.IntRange(0, 20), "How many links away from URL, at most."),
    ("seconds", "--seconds", click.FloatRange(1), "How long in all, at most; each phase has its share."),
    (
        "megabytes",
        "--megabytes",
        click.IntRange(1),
        "What to receive in all, at most; each phase has its share.",
    ),
    ("pause", "--pause", click.FloatRange(0), "Seconds between two pages."),
    (
        "quiet",
        "--wait",
        click.FloatRange(0.05),
        "Seconds without a request after which a page counts as loaded.",
    ),
)
_OPTIONS = (
    *(
        click.option(option, name, type=kind, default=getattr(Bounds(), name), show_default=True, help=about)
        for name, option, kind, about in _BOUNDS
    ),
    click.option(
        "--refuse",
        default="",
        metavar="SELECTOR",
        help="CSS selector of the button that refuses everything, for banners of others.",
    ),
    click.option(
        "--accept",
        default="",
        metavar="SELECTOR",
        help="CSS selector of the button that accepts everything, for banners of others.",
    ),
    click.option(
        "--chromium",
        type=click.Path(path_type=Path, dir_okay=False),
        envvar="CONSENT_CHROMIUM",
        show_envvar=True,
        help="The browser's program. Left out: the system's Chromium, or Playwright's own.",
    ),
    click.option(
        "--chromium-arg",
        "arguments",
        multiple=True,
        metavar="ARG",
        help="Passed to the browser as it is, such as --chromium-arg=--no-sandbox; may be given several times.",
    ),
)


def scan_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that say how to scan."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@click.command()
@click.argument("url")
@policy_option("The site's consent.toml, for the vendors and cookies it adds and declares.")
@click.option(
    "--html",
    "html_file",
    type=click.Path(path_type=Path, dir_okay=False, writable=True),
    help="Write the report there, as one HTML file.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of tables.")
@scan_options
def scan(url: str, policy_file: Path | None, html_file: Path | None, as_json: bool, **how: Any) -> None:
    """Look at a site of yours with a real browser: what it stores and whom it calls.

    Follows the links of the site and opens each page before a choice, after refusing and after accepting, in a
    fresh profile each time. Nothing is stopped: what the site does to visitors, it does to this one.

    Exits with 1 if a tracker that needs consent acts before a choice or after refusing, with 2 if the site cannot be
    scanned, with 0 otherwise.
    """
    try:
        catalog, policy = _knowledge(policy_file)
        report = judge(run_scan(url, how), catalog, policy)
        if html_file is not None:
            html_file.write_text(html_report(report), encoding="utf-8")
    except (ConsentError, OSError) as error:
        raise Failed(shown(error, 1_000)) from None
    if as_json:
        click.echo(json.dumps(json_report(report)))
    else:
        print_report(report)
    if report.leaks:
        raise SystemExit(1)


def _knowledge(policy_file: Path | None) -> tuple[Catalog, Policy | None]:
    catalog = load_catalog()
    if policy_file is None:
        return catalog, None
    policy, catalog = load_policy(policy_file, catalog)
    return catalog, policy


def run_scan(url: str, how: dict[str, Any]) -> Recording:
    """Scan with the options of `scan_options`, before the eyes of whoever waits for it.

    Raises:
        ScanError: it cannot be done.
    """
    bounds = Bounds(
        **{name: how[name] for name in ("pages", "depth", "seconds", "megabytes", "pause", "quiet")}
    )
    plan = Plan(
        url=url,
        bounds=bounds,
        chromium=how["chromium"],
        arguments=how["arguments"],
        accept=how["accept"],
        refuse=how["refuse"],
    )
    try:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
    except ModuleNotFoundError:
        raise ScanError("scanning needs more packages: pip install 'asgi-consent[scan]'") from None

    columns = (
        TextColumn("{task.description:<16}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[page]}", markup=False),
    )
    # On standard error, and nothing of it where nobody watches.
    with Progress(
        *columns, console=_console(sys.stderr), transient=True, disable=not sys.stderr.isatty()
    ) as bar:
        tasks = {}

        def progress(phase: Phase, done: int, expected: int, page: str) -> None:
            if phase not in tasks:
                tasks[phase] = bar.add_task(PHASES[phase].capitalize(), page="")
            bar.update(tasks[phase], completed=done, total=max(expected, done + 1), page=shown(page, 60))

        return asyncio.run(crawl(plan, progress))


def _console(file: Any) -> Console:
    from rich.console import Console

    # A log has no width of its own.
    return Console(file=file, width=None if file.isatty() else _WIDTH_OF_LOGS, highlight=False, emoji=False)


def print_report(report: Report) -> None:
    """Print what matters of a report, as tables."""
    from rich.text import Text

    console = _console(sys.stdout)
    recording = report.recording
    pages = len(recording.phases[0].visits)
    console.print(Text(shown(recording.url, 200), style="bold"))
    phases = ", ".join(PHASES[phase] for phase in report.phases)
    console.print(Text(f"{counted(pages, 'page')}: {phases}"))
    for note in recording.notes:
        console.print(Text(shown(note, 300), style="yellow"))
    for record in recording.phases:
        if record.stopped:
            console.print(
                Text(f"Ended {PHASES[record.phase]} at {shown(record.stopped, 80)}.", style="yellow")
            )
    console.print(_vendors(report))
    for title, style, findings in (
        ("Without consent", "red", report.leaks),
        ("Third parties that nobody has explained", "yellow", report.unclassified),
        ("Own cookies and keys without a purpose", "yellow", report.unknown_own),
    ):
        if findings:
            console.print(_things(title, style, findings))
    for found in report.fingerprinting:
        if found.likely:
            console.print(
                Text(
                    f"{shown(found.script)} looks like fingerprinting, on {shown(found.page, 80)}",
                    style="yellow",
                )
            )
    proposals = propose(report)
    if proposals:
        console.print(Text("Proposed for consent.toml", style="bold"))
        console.print(Text(proposals.toml()))
    console.print(Text(f"{verdict(report)}.", style="bold red" if report.leaks else "bold green"))


def _table(title: str, *columns: str) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(
        title=title or None, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False
    )
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _vendors(report: Report) -> Table:
    from rich.text import Text

    table = _table("", "Vendor", "Category", *(PHASES[phase].capitalize() for phase in report.phases))
    for evidence in report.vendors:
        cells = []
        for phase in report.phases:
            if evidence.leaks_in(phase):
                cells.append(Text("without consent", style="bold red"))
            elif evidence.seen_in(phase):
                cells.append(Text("allowed", style="green"))
            else:
                cells.append(Text("-", style="dim"))
        undeclared = report.with_policy and not evidence.declared and evidence in report.trackers
        name = f"{evidence.vendor.name} (not declared)" if undeclared else evidence.vendor.name
        table.add_row(Text(name), Text(evidence.vendor.category), *cells)
    return table


def _things(title: str, style: str, findings: tuple[Finding, ...]) -> Table:
    from rich.text import Text

    table = _table(title, "Whose", "What", "Page", "By", "When")
    rows = over_phases(findings)
    for finding, phases in rows[:_MAX_LINES]:
        more = f" +{len(finding.pages) - 1}" if len(finding.pages) > 1 else ""
        table.add_row(
            Text(finding.vendor.name if finding.vendor else shown(finding.host, 60), style=style),
            Text(f"{shown(finding.kind, 40)} {shown(finding.subject, 100)}"),
            Text((shown(finding.pages[0], 60) if finding.pages else "") + more),
            Text(shown(finding.initiator, 80)),
            Text(phases),
        )
    if len(rows) > _MAX_LINES:
        table.caption = f"{len(rows) - _MAX_LINES} more: see --html or --json"
    return table
