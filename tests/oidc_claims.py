"""What the provider of the tests says of somebody in an ID token."""

from __future__ import annotations

from typing import Any

from oauth2_provider.oauth2_validators import OAuth2Validator

from tests.oidc_provider import PEOPLE


class Claims(OAuth2Validator):  # type: ignore[misc]
    """Adds a name and groups."""

    oidc_claim_scope = None

    def get_additional_claims(self, request: Any) -> dict[str, object]:
        name, groups = PEOPLE[request.user.username]
        return {"name": name, "groups": groups}
