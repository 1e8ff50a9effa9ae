"""All receipts of a visitor with the texts and proofs that belong to them, for the visitor: as JSON, and as a page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final, Protocol

from jinja2 import Template

from consent.evidence import Evidence
from consent.moments import format_moment
from consent.office.asker import Asker
from consent.office.questions import of_sites
from consent.receipt_search import ReceiptSearch, Sought
from consent.receipts import Artefact, Receipt
from consent.store import Ledger, ReceiptLog
from consent.templates import Templates, template_in

MAX_RECEIPTS: Final = 1_000
"""How many receipts one package holds."""
MAX_TEXT_BYTES: Final = 16 * 1024 * 1024
"""How many bytes of texts; what is beyond is named by its hash."""
_PAGE: Final = 200


class PackagedLog(ReceiptLog, ReceiptSearch, Ledger, Protocol):
    """A log that receipts, texts and proofs are read from."""


@dataclass(frozen=True, slots=True)
class PackagedReceipt:
    """One receipt with its proof."""

    leaf: int
    receipt: Receipt = field(repr=False)
    evidence: Evidence | None = field(repr=False)
    """``None``: no checkpoint covers it yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """What is handed to a visitor."""

    request: str
    """The reference of the request that it answers."""
    time: str
    subjects: Sequence[str] = field(repr=False)
    receipts: Sequence[PackagedReceipt]
    """The oldest first."""
    texts: Mapping[str, Artefact] = field(repr=False)
    """What receipts name: texts that were shown, policies, lists of vendors."""
    keys: Sequence[str]
    """The public keys that the proofs are signed with."""
    is_complete: bool
    """Whether there were no more receipts and texts than fit."""

    def json(self) -> bytes:
        """Return it as JSON, for people to read, too."""
        content: dict[str, Any] = {
            "request": self.request,
            "time": self.time,
            "complete": self.is_complete,
            "subjects": list(self.subjects),
            "keys": list(self.keys),
            "receipts": [
                {
                    "leaf": each.leaf,
                    "receipt": each.receipt.to_json(),
                    "evidence": None if each.evidence is None else json.loads(each.evidence.text()),
                }
                for each in self.receipts
            ],
            "texts": {
                digest: {
                    "media_type": text.media_type,
                    "content": text.content.decode("utf-8", "replace"),
                }
                for digest, text in self.texts.items()
            },
        }
        return json.dumps(content, ensure_ascii=False, indent=1).encode()

    def page(self) -> bytes:
        """Return it as a page that needs nothing else, and does nothing."""
        return _template().render(package=self, shown=_shown(self)).encode()


def packaged(log: PackagedLog, reference: str, sought: Sequence[Sought], asker: Asker, now: float) -> Package:
    """Gather all receipts that are somebody's, as far as they are of the sites of who packs them."""
    found: dict[int, Receipt] = {}
    is_complete = True
    for asked in sought:
        before = None
        while True:
            page = log.find(of_sites(asked, asker), limit=_PAGE, before=before)
            found |= {each.leaf: each.receipt for each in page.receipts}
            before = page.next
            if before is None:
                break
            if len(found) >= MAX_RECEIPTS:
                is_complete = False
                break
    texts: dict[str, Artefact] = {}
    room = MAX_TEXT_BYTES
    receipts = []
    for leaf, receipt in sorted(found.items())[-MAX_RECEIPTS:]:
        receipts.append(PackagedReceipt(leaf, receipt, log.evidence(receipt.receipt_id)))
        for digest in receipt.artefact_hashes:
            if digest in texts or (text := log.artefact(digest)) is None:
                continue
            if len(text.content) > room:
                is_complete = False
                continue
            room -= len(text.content)
            texts[digest] = text
    return Package(
        request=reference,
        time=format_moment(int(now * 1_000)),
        subjects=list(dict.fromkeys(each.subject for each in sought if each.subject is not None)),
        receipts=receipts,
        texts=texts,
        keys=[str(verifier) for verifier in log.verifiers()],
        is_complete=is_complete,
    )


@cache
def _template() -> Template:
    return template_in(Templates(None).environment({}), "office/package.html")


def _shown(package: Package) -> Mapping[str, str]:
    """Return the texts that were shown, by their hashes."""
    shown = {each.receipt.shown_hash for each in package.receipts}
    return {
        digest: text.content.decode("utf-8", "replace")
        for digest, text in package.texts.items()
        if digest in shown
    }
