"""The option that names the site's policy, alike in every command but for what it is needed for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click


def policy_option(purpose: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return the option ``--policy``, with its help text."""
    return click.option(
        "--policy",
        "policy_file",
        type=click.Path(path_type=Path, dir_okay=False),
        envvar="CONSENT_POLICY",
        show_envvar=True,
        help=purpose,
    )
