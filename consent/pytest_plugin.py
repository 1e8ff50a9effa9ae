"""What pytest finds by itself where the package is installed: nothing but a setting and a fixture.

It is loaded at every start of pytest, so what it needs is imported when a test asks for it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addini(
        "consent_policy",
        "The site's consent.toml, for the fixture assert_no_trackers; relative to pytest's root.",
        default="",
    )


@pytest.fixture(scope="session")
def assert_no_trackers(pytestconfig: pytest.Config) -> Callable[..., None]:
    """Return ``consent.testing.assert_no_trackers``, with the policy of the setting ``consent_policy``."""
    from consent.testing import assert_no_trackers as asserting

    path = pytestconfig.getini("consent_policy")
    return partial(asserting, policy=pytestconfig.rootpath / path) if path else asserting
