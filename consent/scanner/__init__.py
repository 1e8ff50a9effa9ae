"""Looking at a site with a real browser: what it stores and whom it calls, before a choice and after.

`crawl` drives Chromium and makes a `Recording`; `judge` explains it by catalog and policy. Only
`consent.scanner.crawl` and `consent.scanner.chromium` need a browser, and import Playwright when they are called.
"""

from __future__ import annotations

from consent.scanner.judging import judge
from consent.scanner.recording import Bounds, Phase, Recording, ScanError

__all__ = ["Bounds", "Phase", "Recording", "ScanError", "judge"]
