"""What the API answers: one table, which routes requests, decides who may, and is served as OpenAPI."""

from __future__ import annotations

from typing import Final

from consent.office.api import (
    accesses,
    counts,
    events,
    exports,
    me,
    policies,
    proofs,
    receipts,
    reports,
    requests,
    trackers,
    webhooks,
)

ENDPOINTS: Final = (
    *me.ENDPOINTS,
    *counts.ENDPOINTS,
    *receipts.ENDPOINTS,
    *exports.ENDPOINTS,
    *proofs.ENDPOINTS,
    *policies.ENDPOINTS,
    *events.ENDPOINTS,
    *webhooks.ENDPOINTS,
    *trackers.ENDPOINTS,
    *requests.ENDPOINTS,
    *accesses.ENDPOINTS,
    *reports.ENDPOINTS,
)
