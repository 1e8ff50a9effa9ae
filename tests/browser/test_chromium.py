"""Finding a Chromium."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Playwright

from tests.browser.chromium import REMEDY, NoChromiumError, find_chromium


def executable(path: Path, script: str) -> Path:
    """Write a program that stands for a browser."""
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def test_the_variable_goes_before_everything_else(
    playwright: Playwright, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``CONSENT_CHROMIUM`` names the executable."""
    browser = executable(tmp_path / "my-browser", "echo Chromium 1.2.3")
    monkeypatch.setenv("CONSENT_CHROMIUM", str(browser))
    assert find_chromium(playwright) == (browser, "Chromium 1.2.3")


def test_a_variable_that_names_nothing_is_an_error(
    playwright: Playwright, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever sets it wants that one and no other."""
    monkeypatch.setenv("CONSENT_CHROMIUM", str(tmp_path / "none"))
    with pytest.raises(NoChromiumError, match="which does not start: correct it or unset the variable"):
        find_chromium(playwright)


def test_a_browser_that_does_not_start_is_passed_over(
    playwright: Playwright, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as the empty shell that some distributions install until the real one is fetched."""
    executable(tmp_path / "chromium", "echo install the snap >&2; exit 1")
    browser = executable(tmp_path / "google-chrome", "echo Chrome 1.2.3")
    monkeypatch.delenv("CONSENT_CHROMIUM", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_chromium(playwright) == (browser, "Chrome 1.2.3")


def test_without_any_the_message_names_the_command(
    playwright: Playwright, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The remedy is in the error."""
    monkeypatch.delenv("CONSENT_CHROMIUM", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("tests.browser.chromium._candidates", lambda _: iter(()))
    with pytest.raises(NoChromiumError) as raised:
        find_chromium(playwright)
    assert str(raised.value) == REMEDY
    assert "python -m tests.browser.chromium --install" in REMEDY
