"""The browser of a scan: which one, and how it is started."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from consent.scanner.recording import ScanError
from consent.scanner.robots import PRODUCT

if TYPE_CHECKING:
    from playwright.async_api import BrowserContext, Playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MAX_LOG_MEGABYTES = 64
"""How much of the browser's own log of the network is kept of each phase."""
_ARGUMENTS = (
    "--disable-quic",
    "--disable-component-update",
    # All frames of a page are seen from one place, whosever they are.
    "--disable-features=IsolateOrigins,site-per-process",
    "--disable-site-isolation-trials",
)
_WIDTH, _HEIGHT = 1280, 800


@asynccontextmanager
async def started() -> AsyncIterator[Playwright]:
    """Start Playwright's driver.

    Raises:
        ScanError: it is not installed.
    """
    try:
        from playwright.async_api import async_playwright
    except ModuleNotFoundError:
        raise ScanError("scanning needs more packages: pip install 'asgi-consent[scan]'") from None
    async with async_playwright() as playwright:
        yield playwright


def find_chromium(playwright: Playwright, asked: Path | None) -> Path:
    """Return the browser that was asked for, the system's, or Playwright's own.

    Raises:
        ScanError: there is none.
    """
    if asked is not None:
        if not os.access(asked, os.X_OK) or asked.is_dir():
            raise ScanError(f"{asked} is no program that can be started: name Chromium's with --chromium")
        return asked
    for name in NAMES:
        if found := shutil.which(name):
            return Path(found)
    own = Path(playwright.chromium.executable_path)
    if own.is_file():
        return own
    raise ScanError(
        "no Chromium was found: install your system's package, or run 'python -m playwright install chromium', "
        "or name one with --chromium"
    )


class Profile:
    """A browser with a fresh profile, as somebody who has never been here has it."""

    def __init__(self, context: BrowserContext, log: Path) -> None:
        self.context = context
        self.log = log
        """What the browser writes of its network; whole when it has ended, and deleted with the profile."""
        self.version = context.browser.version if context.browser else ""
        self._ended = False

    async def end(self) -> None:
        """End the browser; again is harmless."""
        if not self._ended:
            self._ended = True
            await self.context.close()


@asynccontextmanager
async def fresh_profile(
    playwright: Playwright, executable: Path, arguments: Sequence[str]
) -> AsyncIterator[Profile]:
    """Start the browser with an empty profile that is deleted afterwards.

    It is an ordinary window, not a private one: that refuses cookies of third parties by itself.

    Raises:
        ScanError: it does not start.
    """
    from playwright.async_api import Error

    # Root has no sandbox to be had; everybody else has to ask for going without.
    sandboxed = os.geteuid() != 0 and "--no-sandbox" not in arguments
    with tempfile.TemporaryDirectory(prefix="consent-scan-", ignore_cleanup_errors=True) as folder:
        profile, log = Path(folder, "profile"), Path(folder, "network.json")
        preferences = profile / "Default" / "Preferences"
        preferences.parent.mkdir(parents=True)
        preferences.write_text(json.dumps({"profile": {"cookie_controls_mode": 0}}))
        try:
            context = await playwright.chromium.launch_persistent_context(
                profile,
                executable_path=executable,
                chromium_sandbox=sandboxed,
                args=[
                    *_ARGUMENTS,
                    f"--log-net-log={log}",
                    f"--net-log-max-size-mb={MAX_LOG_MEGABYTES}",
                    *arguments,
                ],
                accept_downloads=False,
                viewport={"width": _WIDTH, "height": _HEIGHT},
                timeout=60_000,
            )
        except Error as error:
            raise ScanError(_why_not(error, executable, sandboxed)) from None
        opened = Profile(context, log)
        try:
            yield opened
        finally:
            await opened.end()


def _why_not(error: Exception, executable: Path, sandboxed: bool) -> str:
    said = str(error)
    if sandboxed and re.search(r"(?i)sandbox|user namespace", said):
        return (
            f"{executable} cannot use its sandbox here: allow user namespaces, or do without it by "
            "--chromium-arg=--no-sandbox where nothing else is on the machine"
        )
    first = said.strip().splitlines()[0] if said.strip() else type(error).__name__
    return f"{executable} does not start: {first[:300]}"


def user_agent(own: str) -> str:
    """Return the browser's user agent, with the scanner's name, and as of a browser that somebody looks at."""
    return f"{own.replace('HeadlessChrome', 'Chrome')} {PRODUCT}"
