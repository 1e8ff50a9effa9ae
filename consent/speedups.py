"""The compiled inner loops, where they were built: :data:`compiled`, or ``None``.

Each has a Python counterpart that gives the same answers. ``CONSENT_SPEEDUPS=0`` in the environment does without.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

compiled: Any = None
if os.environ.get("CONSENT_SPEEDUPS") != "0":
    try:
        compiled = import_module("consent._speedups")
    except ImportError:
        # No compiler was at hand when the package was installed.
        compiled = None
