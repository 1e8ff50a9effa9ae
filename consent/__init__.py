"""Tracking governance for ASGI apps: trackers stay out of responses until the visitor consents.

from consent import ConsentMiddleware

app = ConsentMiddleware(app)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from consent.catalog import Catalog, Vendor, load_catalog
    from consent.categories import Category
    from consent.decision import Decision, Reason
    from consent.declaration import CookieDeclaration
    from consent.errors import ConfigurationError, ConsentError
    from consent.mount import ConsentMiddleware
    from consent.policy import Policy, Regime
    from consent.policy_file import load_policy

__all__ = [
    "Catalog",
    "Category",
    "ConfigurationError",
    "ConsentError",
    "ConsentMiddleware",
    "CookieDeclaration",
    "Decision",
    "Policy",
    "Reason",
    "Regime",
    "Vendor",
    "__version__",
    "load_catalog",
    "load_policy",
]

if not TYPE_CHECKING:
    # What is named above is imported when it is asked for: the command, and pytest at each of its starts, need
    # little of it.
    _MODULES = {
        "Catalog": "consent.catalog",
        "Category": "consent.categories",
        "ConfigurationError": "consent.errors",
        "ConsentError": "consent.errors",
        "ConsentMiddleware": "consent.mount",
        "CookieDeclaration": "consent.declaration",
        "Decision": "consent.decision",
        "Policy": "consent.policy",
        "Reason": "consent.decision",
        "Regime": "consent.policy",
        "Vendor": "consent.catalog",
        "load_catalog": "consent.catalog",
        "load_policy": "consent.policy_file",
    }

    def __getattr__(name):
        module = _MODULES.get(name)
        if module is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(module), name)
        return value

    def __dir__():
        return sorted({*globals(), *_MODULES})
