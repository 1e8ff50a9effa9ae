"""Fernwell's site with the middleware mounted: this is all it takes."""

from __future__ import annotations

from consent import ConsentMiddleware
from demo_site.site import HERE, site

app = ConsentMiddleware(site, policy=HERE / "consent.toml", explain=True)
