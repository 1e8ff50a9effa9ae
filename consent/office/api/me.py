"""Who asks."""

from __future__ import annotations

from typing import Final

from consent.moments import format_moment
from consent.office.api.endpoint import Call, Content, Endpoint
from consent.office.roles import ALLOWED


def _me(call: Call) -> Content:
    token = call.asker
    return Content(
        {
            "id": token.id,
            "name": token.name,
            "role": str(token.role),
            "sites": list(token.sites),
            "may": sorted(str(action) for action in ALLOWED[token.role] if token.may(action)),
            "expires": format_moment(token.expires_ms),
            "calls_a_day": call.desk.limits.calls_a_day,
        }
    )


ENDPOINTS: Final = (
    Endpoint(
        method="GET", path="/me", about="The token's own role, sites and limits.", action=None, answer=_me
    ),
)
