"""Installs programs that tests need from the distribution's packages."""

from __future__ import annotations

import shutil

from tests.browser.chromium import as_root, run


def install(package: str) -> None:
    """Install a package of Debian or Ubuntu, where that is possible, without starting what is in it."""
    root = as_root()
    if root is None or shutil.which("apt-get") is None:
        return
    command = (*root, "apt-get", "install", "--yes", "--no-install-recommends", package)
    stopped = {"RUNLEVEL": "1"}
    if not run(*command, environment=stopped) and run(*root, "apt-get", "update"):
        run(*command, environment=stopped)
