"""Finds a Chromium for the browser tests, and installs one where there is none.

``python -m tests.browser.chromium`` says which one is used; with ``--install`` it installs one if need be.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

from playwright.sync_api import Playwright, sync_playwright

VARIABLE = "CONSENT_CHROMIUM"
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
REMEDY = (
    "no Chromium found: run `python -m tests.browser.chromium --install`, "
    f"or name an executable in the variable {VARIABLE}"
)


class NoChromiumError(Exception):
    """There is none, or the one asked for does not start; the message says what to do."""


def _version(executable: Path) -> str | None:
    """Return what the browser calls itself; ``None`` if it does not even start, like a snap's empty shell."""
    try:
        answer = subprocess.run(
            [str(executable), "--version"], capture_output=True, text=True, timeout=60, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip() if answer.returncode == 0 and answer.stdout.strip() else None


def _candidates(playwright: Playwright) -> Iterator[Path]:
    for name in NAMES:
        found = shutil.which(name)
        if found is not None:
            yield Path(found)
    own = Path(playwright.chromium.executable_path)
    if own.is_file():
        yield own


def find_chromium(playwright: Playwright) -> tuple[Path, str]:
    """Return a Chromium that starts, and its version.

    Raises:
        NoChromiumError: there is none.
    """
    asked = os.environ.get(VARIABLE)
    if asked:
        version = _version(Path(asked))
        if version is None:
            raise NoChromiumError(
                f"{VARIABLE} names {asked}, which does not start: correct it or unset the variable"
            )
        return Path(asked), version
    for candidate in _candidates(playwright):
        version = _version(candidate)
        if version is not None:
            return candidate, version
    raise NoChromiumError(REMEDY)


def run(*command: str, environment: Mapping[str, str] = MappingProxyType({})) -> bool:
    """Run a command before everybody's eyes; return whether it succeeded."""
    print("  " + " ".join(command), flush=True)
    return subprocess.run(command, check=False, env={**os.environ, **environment}).returncode == 0


def as_root() -> tuple[str, ...] | None:
    """Return what to put before a command to run it as root; ``None`` where that is not possible."""
    if os.geteuid() == 0:
        return ()
    if (
        shutil.which("sudo")
        and subprocess.run(["sudo", "-n", "true"], capture_output=True, check=False).returncode == 0
    ):
        return ("sudo", "-n")
    return None


def install_chromium() -> None:
    """Install one: the distribution's package where that is possible, otherwise Playwright's own build."""
    root = as_root()
    if shutil.which("apt-get") and root is not None:
        print("Installing the distribution's Chromium:")
        package = (*root, "apt-get", "install", "--yes", "--no-install-recommends", "chromium")
        if run(*package) or (run(*root, "apt-get", "update") and run(*package)):
            with sync_playwright() as playwright:
                if any(_version(candidate) for candidate in _candidates(playwright)):
                    return
        print("That gave no Chromium that starts.")
    print("Installing Playwright's Chromium:")
    # Its libraries come with it only as root.
    with_libraries = ("--with-deps",) if root is not None and shutil.which("apt-get") else ()
    if not run(sys.executable, "-m", "playwright", "install", *with_libraries, "chromium"):
        run(sys.executable, "-m", "playwright", "install", "chromium")


def main() -> int:
    """Return the exit status: 0 with a Chromium that starts, 1 without."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.browser.chromium", description="Find a Chromium for the browser tests."
    )
    parser.add_argument("--install", action="store_true", help="install one where none is found")
    install: bool = parser.parse_args().install
    for attempt in ("found", "installed"):
        try:
            with sync_playwright() as playwright:
                executable, version = find_chromium(playwright)
        except NoChromiumError as error:
            if not install or attempt == "installed" or os.environ.get(VARIABLE):
                print(error, file=sys.stderr)
                return 1
            install_chromium()
        else:
            print(f"Chromium {attempt}: {executable} ({version})")
            return 0
    return 1


if __name__ == "__main__":
    sys.exit(main())
