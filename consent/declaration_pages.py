"""The cookie declaration as it is kept: one page for each language, made again when another vendor is seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import sha256

from consent.answers import LOCKED_DOWN, KeptAnswer
from consent.banner import Banner
from consent.catalog import Catalog


class DeclarationPages:
    """The pages of one site.

    Args:
        catalog: What is known about vendors, the site's own included.
        seen: Returns the ids of vendors to be told of although the policy does not declare them; another object when
            there is a new one. It must not block.
    """

    def __init__(self, catalog: Catalog, seen: Callable[[], Sequence[str]]) -> None:
        self._catalog = catalog
        self._seen = seen
        self._made: dict[str, tuple[Sequence[str], KeptAnswer]] = {}
        """By language, with what was seen when it was made. There are no more than languages are offered."""

    def of(self, banner: Banner) -> KeptAnswer:
        """Return the page in the language that ``banner`` speaks."""
        seen = self._seen()
        made = self._made.get(banner.language)
        if made is None or made[0] is not seen:
            vendors = self._catalog.vendors
            content = banner.declaration_page([vendors[vendor] for vendor in seen if vendor in vendors])
            headers = (
                # It may be kept, but not used without asking: a new policy or a new vendor shows at once.
                (b"cache-control", b"no-cache"),
                (b"content-language", banner.language.encode()),
                *LOCKED_DOWN,
            )
            answer = KeptAnswer(
                content=content,
                etag=f'"{sha256(content).hexdigest()[:16]}"',
                headers=headers,
                media_type="text/html; charset=utf-8",
            )
            made = self._made[banner.language] = seen, answer
        return made[1]
