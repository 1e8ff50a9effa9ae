"""What the API answers: one table, which routes requests, decides who may, and is served as OpenAPI."""

from __future__ import annotations

from typing import Final

from consent.office.api import accesses, counts, exports, me, proofs, receipts, reports, trackers

ENDPOINTS: Final = (
    *me.ENDPOINTS,
    *counts.ENDPOINTS,
    *receipts.ENDPOINTS,
    *exports.ENDPOINTS,
    *proofs.ENDPOINTS,
    *trackers.ENDPOINTS,
    *accesses.ENDPOINTS,
    *reports.ENDPOINTS,
)
