"""What real pages load from elsewhere: the catalog says what we say, and few of it is unknown."""

from __future__ import annotations

import os
import tomllib
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import pytest

from consent.catalog import load_catalog
from consent.enforcement import site_of

CATALOG = load_catalog()
JUDGED: dict[str, dict[str, str]] = tomllib.loads(
    Path(__file__).with_name("hosts_of_pages.toml").read_text(encoding="utf-8")
)
_CORPUS = Path(os.environ.get("CONSENT_CORPUS", Path(__file__).parents[3] / "shared" / "corpus"))
_PAGES = sorted((_CORPUS / "pages").glob("*.html"))
_LOADS = {"script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src", "audio": "src",
          "embed": "src", "object": "data", "input": "src", "track": "src", "link": "href"}  # fmt: skip
_LOADING_LINKS = {"stylesheet", "icon", "preload", "prefetch", "preconnect", "dns-prefetch", "apple-touch-icon",
                  "modulepreload", "apple-touch-icon-precomposed"}  # fmt: skip


def category_of(host: str, target: str) -> str:
    """Return what the catalog says of a URL."""
    match = CATALOG.match_url(host, target)
    return match.vendor.category.value if match else "unclassified"


@pytest.mark.parametrize("category", JUDGED)
def test_the_catalog_judges_as_we_do(category: str) -> None:
    """Each address that a real page loads has the category that we gave it by hand."""
    differing = {}
    for url in JUDGED[category]:
        host, _, rest = url.partition("/")
        if (found := category_of(host, f"/{rest}")) != category:
            differing[url] = found
    assert differing == {}


class _Loads(HTMLParser):
    """Collects what a page loads, and where it says it is."""

    def __init__(self) -> None:
        super().__init__()
        self.urls: list[str] = []
        self.own = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        relations = set(values.get("rel", "").lower().split())
        if tag == "meta" and values.get("property") == "og:url":
            self.own = values.get("content", "")
        elif tag == "link" and "canonical" in relations:
            self.own = self.own or values.get("href", "")
        elif tag != "link" or relations & _LOADING_LINKS:
            self.urls.append(values.get(_LOADS.get(tag, ""), "").strip())
            if tag in ("img", "source"):
                self.urls += [part.split()[0] for part in values.get("srcset", "").split(",") if part.strip()]

    def others(self) -> list[tuple[str, str]]:
        """Return host and target of all that comes from another site than the page."""
        own = site_of(urlsplit(urljoin("https:", self.own)).hostname or "")
        found = []
        for url in self.urls:
            at = urlsplit(urljoin("https://own.invalid/", url))
            if at.scheme not in ("http", "https") or not at.hostname:
                continue
            if at.hostname != "own.invalid" and site_of(at.hostname) != own:
                found.append((at.hostname, (at.path or "/") + (f"?{at.query}" if at.query else "")))
        return found


@pytest.mark.skipif(not _PAGES, reason="the folder of real pages is not there")
def test_little_of_real_pages_is_unknown_and_all_of_it_is_judged() -> None:
    """Every host of theirs is in the list with each category it has, and under a tenth of the uses is unknown."""
    judged = {(url.partition("/")[0], category) for category, urls in JUDGED.items() for url in urls}
    uses: Counter[tuple[str, str]] = Counter()
    for page in _PAGES:
        loads = _Loads()
        loads.feed(page.read_text(encoding="utf-8", errors="replace"))
        uses.update((host, category_of(host, target)) for host, target in loads.others())
    assert set(uses) - judged == set()
    unknown = sum(count for (_, category), count in uses.items() if category == "unclassified")
    assert unknown / uses.total() < 0.1
