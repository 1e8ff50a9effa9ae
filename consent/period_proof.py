"""What a log has of some days, in one file that somebody without database and secrets can check: lines of JSON.

The first line says what it is about and has the checkpoints, then come the leaves in a row, without a gap: by their
hashes, or, where they are opened, with record and salt. Then what records refer to, then the hashes that lead on to the
root. The last line is what the log's keeper states of it, signed with the log's key, with the SHA-256 of all lines
before. It is written and checked in memory that does not grow with it.
"""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from hashlib import sha256
from typing import Final, Protocol

from consent.canonical_json import canonical_json, parse_canonical, parse_json
from consent.checkpoint import Checkpoint, Signer
from consent.erasure import Erasure
from consent.errors import InvalidProofError, InvalidReceiptError, SealBrokenError
from consent.log_export import MAX_LINE_BYTES, json_line
from consent.merkle import HASH_BYTES, TILE_WIDTH, Tiles, split_hashes, tile_width
from consent.merkle_span import Span, hashes_after, hashes_before
from consent.moments import format_moment, midnight_ms
from consent.receipt_search import Position, ReceiptSearch, Sought
from consent.receipts import MAX_RECEIPT_BYTES, Artefact, Receipt
from consent.store import Ledger

FORMAT: Final = "asgi-consent-period-1"
STATEMENT: Final = "asgi-consent period 1"
"""What a statement begins with. No log's name has a blank, so none is ever taken for a checkpoint."""
_PAGE: Final = 5_000


class PeriodLog(Ledger, ReceiptSearch, Protocol):
    """What is needed of a log to prove a period of it."""

    def checkpoints(self) -> Sequence[tuple[str, str]]:
        """Return the last checkpoint of each day, the earliest first: day and signed note."""

    def artefact(self, hash: str) -> Artefact | None:
        """Return the artefact whose content has this SHA-256, or ``None``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """What a proof is about."""

    first_day: str
    """UTC, ``2026-03-01``."""
    last_day: str
    """The same, included."""
    sites: Sequence[str] = ()
    """Only these, as receipts name them; empty: all of the log."""

    @property
    def since_ms(self) -> int:
        """When it begins, milliseconds since 1970."""
        return midnight_ms(date.fromisoformat(self.first_day))

    @property
    def until_ms(self) -> int:
        """When it is over, the same."""
        return midnight_ms(date.fromisoformat(self.last_day)) + 86_400_000

    def has(self, receipt: Receipt) -> bool:
        """Tell whether a receipt is one of it."""
        day = receipt.time[:10]
        return self.first_day <= day <= self.last_day and (not self.sites or receipt.site in self.sites)


def period_lines(
    log: PeriodLog, period: Period, signer: Signer, *, records: bool, now_ms: int
) -> Iterator[bytes]:
    """Yield the lines of a proof, each with its newline. Blocks.

    Nothing is yielded before it is known what is in it. It ends without its last line where it cannot be proven: then
    nobody can take it for whole.

    Args:
        log: the log.
        period: the days, and whose receipts of them.
        signer: signs in the log's name.
        records: whether the receipts are in it as they are, with what they refer to; the erasures, too, where it is
            about all sites.
        now_ms: milliseconds since 1970.

    Raises:
        InvalidProofError: there is no checkpoint yet, or the log is not what was signed.
        InvalidReceiptError, SealBrokenError: a receipt is not what was recorded.
        StoreUnavailable: the log cannot be read.
    """
    note = log.checkpoint()
    if note is None:
        raise InvalidProofError("there is no checkpoint yet: one is signed a second after the first receipt")
    whole = Checkpoint.of_note(note)
    days = [(day, each) for day, each in log.checkpoints() if Checkpoint.of_note(each).size <= whole.size]
    counted = _counted(log, period, whole.size)
    sizes = {day: Checkpoint.of_note(each).size for day, each in days}
    before = [day for day in sizes if day < period.first_day]
    inside = [day for day in sizes if day <= period.last_day]
    first = min(sizes[before[-1]] if before else 0, counted.first)
    end = max(sizes[inside[-1]] if inside else 0, counted.end, first)
    tiles = Tiles(whole.size, lambda level, index, width: log.tile(level, index, width) or b"")
    digest = sha256()

    def line(content: Mapping[str, object]) -> bytes:
        written = json_line(content)
        digest.update(written)
        return written

    left = hashes_before(first, tiles.subtree)
    heading: dict[str, object] = {
        "format": FORMAT,
        "log": whole.origin,
        "from": period.first_day,
        "to": period.last_day,
        "sites": list(period.sites) or None,
        "records": records,
        "first": first,
        "end": end,
        "checkpoint": note,
        "checkpoints": [each for day, each in days if first <= sizes[day] <= end],
        "keys": [str(verifier) for verifier in log.verifiers()],
        "before": list(map(_base64, left)),
    }
    yield line(heading)
    span = Span(first, left)
    seen = Seen(period)
    for piece in (
        _leaves(log, seen, span, end, whole.size) if records else _hashes(log, span, end, whole.size)
    ):
        yield line(piece)
    for name in sorted(seen.referred):
        artefact = log.artefact(name)
        if artefact is None:
            raise InvalidReceiptError(f"artefact {name}: a receipt refers to it, and it is missing")
        content = base64.b64encode(artefact.content).decode()
        yield line({"artefact": name, "media_type": artefact.media_type, "content": content})
    right = hashes_after(end, whole.size, tiles.subtree)
    if span.close(right, whole.size) != whole.root:
        raise InvalidProofError("the log is not what its checkpoint was signed of: see consent ledger verify")
    yield line({"after": list(map(_base64, right))})
    statement = {
        **{name: heading[name] for name in ("log", "from", "to", "sites", "records", "first", "end")},
        "size": whole.size,
        "made": format_moment(now_ms),
        "receipts": dict(sorted((seen.outcomes if records else counted.outcomes).items())),
        "erasures": seen.erasures if records else None,
        "sha256": digest.hexdigest(),
    }
    yield json_line({"statement": signer.sign(f"{STATEMENT}\n{canonical_json(statement).decode()}\n")})


class _Counted:
    """What is found of a period without opening anything."""

    def __init__(self, size: int) -> None:
        self.outcomes: Counter[str] = Counter()
        self.first = size
        self.end = 0


def _counted(log: PeriodLog, period: Period, size: int) -> _Counted:
    counted = _Counted(size)
    # Of all sites: which leaves are of these days does not depend on whose they are.
    sought = Sought(since_ms=period.since_ms, until_ms=period.until_ms)
    after: Position | None = None
    while found := log.found(sought, limit=_PAGE, after=after):
        after = found[-1].position
        for position, kind in found:
            if position.leaf >= size:
                continue  # recorded after the checkpoint
            if not period.sites or kind.site in period.sites:
                counted.outcomes[kind.outcome] += 1
            counted.first = min(counted.first, position.leaf)
            counted.end = max(counted.end, position.leaf + 1)
    return counted


def _hashes(log: PeriodLog, span: Span, end: int, size: int) -> Iterator[dict[str, object]]:
    while span.size < end:
        index, place = divmod(span.size, TILE_WIDTH)
        hashes = log.tile(0, index, tile_width(0, index, size)) or b""
        some = hashes[HASH_BYTES * place : HASH_BYTES * (place + end - span.size)]
        if not some:
            raise InvalidProofError(f"leaf {span.size} is missing")
        for each in split_hashes(some):
            span.add(each)
        yield {"hashes": _base64(some)}


def _leaves(log: PeriodLog, seen: Seen, span: Span, end: int, size: int) -> Iterator[dict[str, object]]:
    while span.size < end:
        hashes: list[bytes] = []
        leaves = log.leaves(span.size, min(TILE_WIDTH, end - span.size))
        if not leaves:
            raise InvalidProofError(f"leaf {span.size} is missing")
        for leaf in leaves:
            if leaf.number != span.size:
                raise InvalidProofError(f"leaf {span.size} is missing")
            if leaf.broken is not None:
                raise SealBrokenError(f"the receipt at leaf {leaf.number} does not open: {leaf.broken}")
            if not leaf.proves_record:
                raise InvalidReceiptError(f"the receipt at leaf {leaf.number} was altered")
            if leaf.record is not None and leaf.salt is not None and seen.counts(leaf.record):
                if hashes:
                    yield {"hashes": _base64(b"".join(hashes))}
                    hashes = []
                record = parse_canonical(leaf.record, max_bytes=MAX_LINE_BYTES)
                yield {"leaf": leaf.number, "salt": leaf.salt.hex(), "record": record}
            else:
                hashes.append(leaf.hash)
            span.add(leaf.hash)
        if hashes:
            yield {"hashes": _base64(b"".join(hashes))}


class Seen:
    """Counts the records of a period, and what they refer to."""

    def __init__(self, period: Period) -> None:
        self._period = period
        self.outcomes: Counter[str] = Counter()
        self.erasures = 0
        self.referred: set[str] = set()

    def counts(self, record: bytes) -> bool:
        """Tell whether a record belongs to the period; count it, then."""
        content = parse_json(record, max_bytes=8 * MAX_RECEIPT_BYTES)
        if isinstance(content, Mapping) and "erasure_id" in content:
            Erasure.from_bytes(record)
            self.erasures += not self._period.sites
            return not self._period.sites
        receipt = Receipt.from_bytes(record)
        if not self._period.has(receipt):
            return False
        self.outcomes[str(receipt.outcome)] += 1
        self.referred.update(receipt.artefact_hashes)
        return True


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
