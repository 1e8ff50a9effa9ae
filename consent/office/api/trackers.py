"""Third-party content that was seen."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Final

from consent.office.api.endpoint import Call, Content, Endpoint
from consent.office.roles import Action

_EPOCH: Final = date(1970, 1, 1)


def _trackers(call: Call) -> Content:
    rows = [
        {
            **sighting._asdict(),
            "first_day": (_EPOCH + timedelta(days=tally.first_day)).isoformat(),
            "last_day": (_EPOCH + timedelta(days=tally.last_day)).isoformat(),
            "times": tally.count,
            "pages": list(tally.pages),
        }
        for sighting, tally in call.desk.inventory.sightings().items()
    ]
    return Content({"trackers": rows})


ENDPOINTS: Final = (
    Endpoint(
        method="GET",
        path="/trackers",
        about="Third-party content that was seen on the site.",
        action=Action.TRACKERS,
        answer=_trackers,
    ),
)
