"""Where the package's templates and static files are: in a wheel, or in a checkout."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from consent.errors import ConfigurationError


@cache
def asset_dir(kind: str) -> Path:
    """Return the folder of ``kind``, ``"templates"`` or ``"static"``.

    A wheel carries both inside the package; a checkout (editable install) has them beside it.

    Raises:
        ConfigurationError: the installation is incomplete.
    """
    package = Path(__file__).resolve().parent
    for candidate in (package / kind, package.parent / kind):
        if candidate.is_dir():
            return candidate
    raise ConfigurationError(f"the folder of {kind} is missing beside {package}: reinstall asgi-consent")
