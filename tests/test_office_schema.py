"""The whole API against its own description, with each role: Schemathesis asks what it can think of.

``CONSENT_EXAMPLES`` asks for more questions an endpoint than there is time for in every run, each time others.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings

from consent.office.api.events import MAX_WAIT_SECONDS
from consent.office.api.table import ENDPOINTS
from consent.office.roles import ALLOWED, Role
from tests.test_office_api import Place

MORE = int(os.environ.get("CONSENT_EXAMPLES", "0"))
EXAMPLES = MORE or 3


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("CONSENT_OFFICE_CALLS", "1000000000")
        patched.setenv("CONSENT_OFFICE_SITE_CALLS", "1000000000")
        patched.setattr("consent.office.attempts.LIMIT", 1_000_000_000)
        made = Place(tmp_path_factory.mktemp("schema") / "data")
        yield made
        made.app.stop()


@pytest.fixture(scope="module")
def schema(place: Place) -> Any:
    return schemathesis.openapi.from_asgi("/_consent/api/v1/openapi.json", place.app)


@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize("operation", [f"{each.method} {each.path}" for each in ENDPOINTS])
def test_the_api_answers_as_it_is_described(place: Place, schema: Any, operation: str, role: Role) -> None:
    """Whatever is asked: only with what is described, never with an error of its own; what is right is not refused."""
    method, path = operation.split(" ")
    (endpoint,) = [each for each in ENDPOINTS if (each.method, each.path) == (method, path)]
    allowed = endpoint.action is None or endpoint.action in ALLOWED[role]
    described = schema[path][method]
    headers = {"Authorization": f"Bearer {place.secrets[role]}"}

    @given(case=described.as_strategy())
    @settings(
        max_examples=EXAMPLES if allowed else 1, deadline=None, database=None, derandomize=not MORE,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    def ask(case: Any) -> None:
        for asked in (case.query, case.body.get("filters") if isinstance(case.body, dict) else None):
            # What OpenAPI cannot say of two parameters, their descriptions do.
            if isinstance(asked, dict) and not asked.get("vendor"):
                asked.pop("said", None)
            if isinstance(asked, dict) and path in ("/counts", "/enforcement", "/leaks", "/proof"):
                asked.pop("from", None)
        wait = str(case.query.get("wait", "")) if path == "/stream" and isinstance(case.query, dict) else ""
        if wait.isdigit() and int(wait) <= MAX_WAIT_SECONDS:
            case.query["wait"] = 0  # nobody has the time
        if path == "/webhooks" and isinstance(case.body, dict) and isinstance(case.body.get("url"), str):
            case.body["url"] = case.body["url"].replace(
                "http://", "https://"
            )  # no network of its own is allowed here
        if endpoint.reason_for and "Consent-Reason" not in (case.headers or {}):
            case.headers = {**(case.headers or {}), "Consent-Reason": "complaint 12"}
        if case.headers and "Idempotency-Key" in case.headers:
            case.headers["Idempotency-Key"] = str(uuid.uuid4())  # for each request a new one, as it says
        case.call_and_validate(headers=headers)

    ask()
