"""What all tests share: a PostgreSQL server, started by the first that needs it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.postgresql import stop_shared_server


@pytest.fixture(scope="session", autouse=True)
def _postgresql() -> Iterator[None]:
    yield
    stop_shared_server()
