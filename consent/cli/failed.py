"""How a command ends that answers by its exit code, and has no answer."""

from __future__ import annotations

import click


class Failed(click.ClickException):
    """What was asked about could not be looked at, or not be written: that is neither a yes nor a no."""

    exit_code = 2
