"""Tracking governance for ASGI apps: trackers stay out of responses until the visitor consents.

from consent import ConsentMiddleware

app = ConsentMiddleware(app)
"""

from __future__ import annotations

__version__ = "0.1.0"

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
