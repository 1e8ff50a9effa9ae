"""What every store promises, asked of every store: consent.store says it in words."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any, Protocol, TypeVar

import pytest

from consent.checkpoint import Checkpoint, InclusionProof, Signer, Verifier, open_checkpoint
from consent.erasure import Erasure, ErasureReason, erasure_ids
from consent.errors import ErasureHeldError, OtherReceiptError, StoreError
from consent.evidence import Evidence
from consent.merkle import Tiles, consistency_proof, leaf_hash, tree_root, verify_consistency
from consent.moments import parse_moment
from consent.postgresql_log import PostgreSQLReceiptLog
from consent.postgresql_store import PostgreSQLStore
from consent.receipt_search import ReceiptFinder, ReceiptSearch, Sought
from consent.receipts import Artefact, Receipt
from consent.retention import Past
from consent.sqlite_log import SQLiteReceiptLog
from consent.sqlite_store import SQLiteStore
from consent.store import CHECKPOINT_SECONDS, Erasing, Leaf, Ledger, ReceiptLog, Store
from consent.terms import read_terms, terms_of
from tests.postgresql import shared_server
from tests.test_receipts import KEYS, NAMING_TERMS, SHOWN, TERMS, make_receipt, receipt_id

T = TypeVar("T")


class WholeStore(Store, Erasing, Protocol):
    """Records and forgets."""


class WholeLog(ReceiptLog, ReceiptSearch, Ledger, Protocol):
    """Reads receipts and the tree."""


class Backend(Protocol):
    """One kind of store, on an empty database, with the keys ``KEYS``."""

    def store(self) -> WholeStore:
        """Return another store on the database."""

    def log(self) -> WholeLog:
        """Return what reads it. What was appended before is found, and a checkpoint covers it."""


class SQLiteBackend:
    """A file of its own."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "receipts.sqlite3"

    def store(self) -> SQLiteStore:
        return SQLiteStore(self.path, KEYS)

    def log(self) -> SQLiteReceiptLog:
        return SQLiteReceiptLog(self.path, KEYS)


class PostgreSQLBackend:
    """A database of its own."""

    def __init__(self, folder: Path) -> None:
        self.url = shared_server().new_schema()
        self.store().prepare()

    def store(self) -> PostgreSQLStore:
        return PostgreSQLStore(self.url, KEYS)

    def log(self) -> PostgreSQLReceiptLog:
        return PostgreSQLReceiptLog(self.url, KEYS)


@pytest.fixture(params=[SQLiteBackend, PostgreSQLBackend], ids=["sqlite", "postgresql"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Backend:
    make: Callable[[Path], Backend] = request.param
    return make(tmp_path)


def using(backend: Backend, work: Callable[[WholeStore], Coroutine[Any, Any, T]]) -> T:
    """Run ``work`` with a store, and close it."""

    async def run() -> T:
        store = backend.store()
        try:
            return await work(store)
        finally:
            await store.aclose()

    return asyncio.run(run())


def append_all(backend: Backend, *receipts: Receipt) -> list[BaseException | None]:
    """Append concurrently; return what each append raised, or ``None``."""

    async def work(store: WholeStore) -> list[BaseException | None]:
        appends = (store.append(receipt, [SHOWN]) for receipt in receipts)
        return await asyncio.gather(*appends, return_exceptions=True)

    return using(backend, work)


def test_what_was_appended_is_found(backend: Backend) -> None:
    """By id, and in the list, with the text shown."""
    receipts = [make_receipt(number, shown_hash=SHOWN.hash) for number in range(5)]
    assert append_all(backend, *receipts) == [None] * 5
    log = backend.log()
    for receipt in receipts:
        assert log.get(receipt.receipt_id) == receipt
    assert log.get(receipt_id(99)) is None
    assert log.get("no id") is None
    assert log.artefact(SHOWN.hash) == SHOWN
    assert log.artefact("00" * 32) is None
    assert sorted(entry.receipt.receipt_id for entry in log.list(limit=10)) == [
        receipt_id(number) for number in range(5)
    ]


def test_receipts_are_leaves_in_one_order(backend: Backend) -> None:
    """The first one is leaf 0, none is left out, and the list goes from the newest to the oldest."""
    for number in range(7):
        append_all(backend, make_receipt(number))
    log = backend.log()
    listed = log.list(limit=100)
    assert [entry.leaf for entry in listed] == [6, 5, 4, 3, 2, 1, 0]
    assert [entry.receipt for entry in reversed(listed)] == [make_receipt(number) for number in range(7)]
    assert [entry.leaf for entry in log.list(limit=3)] == [6, 5, 4]
    assert [entry.leaf for entry in log.list(limit=3, before=4)] == [3, 2, 1]
    assert [entry.leaf for entry in log.list(limit=3, before=0)] == []


def test_appending_again_is_acknowledged_and_recorded_once(backend: Backend) -> None:
    """The same id with the same content, at the same moment, later, and through another store."""
    receipt = make_receipt(1)
    assert append_all(backend, receipt, receipt, make_receipt(2)) == [None, None, None]
    assert append_all(backend, make_receipt(3), receipt) == [None, None]
    assert [entry.leaf for entry in backend.log().list(limit=9)] == [2, 1, 0]


def test_another_receipt_under_the_same_id_is_refused(backend: Backend) -> None:
    """The first one stays as it is; the others that came with it are recorded."""
    append_all(backend, make_receipt(1))
    raised = append_all(backend, make_receipt(2), make_receipt(1, site="Another shop"), make_receipt(3))
    assert [type(error) for error in raised] == [type(None), OtherReceiptError, type(None)]
    log = backend.log()
    assert log.get(receipt_id(1)) == make_receipt(1)
    assert len(log.list(limit=9)) == 3


def test_two_receipts_under_one_id_at_the_same_moment_leave_one(backend: Backend) -> None:
    """One of them is acknowledged, and that one is there."""
    candidates = [make_receipt(1), make_receipt(1, site="Another shop")]
    raised = append_all(backend, *candidates)
    assert sorted(type(error).__name__ for error in raised) == ["NoneType", "OtherReceiptError"]
    assert backend.log().get(receipt_id(1)) == candidates[raised.index(None)]


def test_a_receipt_needs_the_text_that_it_names(backend: Backend) -> None:
    """With it or before it; once it is there, it serves any number of receipts."""

    async def work(store: WholeStore) -> None:
        with pytest.raises(StoreError, match="is not in the store and not with the receipt"):
            await store.append(make_receipt(1, shown_hash=SHOWN.hash))
        await store.append(make_receipt(2, shown_hash=SHOWN.hash), [SHOWN])
        await store.append(make_receipt(3, shown_hash=SHOWN.hash))
        other = Artefact(content=SHOWN.content, media_type="text/plain")
        await store.append(make_receipt(4, shown_hash=SHOWN.hash), [other])

    using(backend, work)
    log = backend.log()
    assert [entry.receipt.receipt_id for entry in log.list(limit=9)] == [
        receipt_id(4),
        receipt_id(3),
        receipt_id(2),
    ]
    assert log.artefact(SHOWN.hash) == SHOWN  # the first media type stays: the content is what counts


def test_a_receipt_needs_the_policy_and_the_vendor_list_that_it_names(backend: Backend) -> None:
    """Each of them; they are kept once, and the receipt of an earlier version that names none stays as it is."""

    async def work(store: WholeStore) -> None:
        without_policy = {**NAMING_TERMS, "policy_hash": "ab" * 32}
        for names, artefacts in (
            (NAMING_TERMS, []),
            (NAMING_TERMS, [TERMS.policy]),
            (without_policy, [TERMS.vendor_list]),
        ):
            with pytest.raises(StoreError, match="is not in the store and not with the receipt"):
                await store.append(make_receipt(1, **names), artefacts)
        await store.append(make_receipt(2, **NAMING_TERMS), [TERMS.policy, TERMS.vendor_list])
        await store.append(make_receipt(3, **NAMING_TERMS))
        await store.append(make_receipt(4))

    using(backend, work)
    log = backend.log()
    assert {entry.receipt for entry in log.list(limit=9)} == {
        make_receipt(2, **NAMING_TERMS),
        make_receipt(3, **NAMING_TERMS),
        make_receipt(4),
    }
    assert terms_of(make_receipt(3, **NAMING_TERMS), log.artefact) == read_terms(TERMS)
    assert terms_of(make_receipt(4), log.artefact) is None


def test_a_cancelled_caller_neither_loses_nor_doubles(backend: Backend) -> None:
    """Recorded once or not at all; appending again makes it once."""

    async def work(store: WholeStore) -> None:
        for number in range(20):
            task = asyncio.ensure_future(store.append(make_receipt(number)))
            await asyncio.sleep(0.0001 * number)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await asyncio.gather(*(store.append(make_receipt(number)) for number in range(20)))

    using(backend, work)
    listed = backend.log().list(limit=99)
    assert sorted(entry.receipt.receipt_id for entry in listed) == [
        receipt_id(number) for number in range(20)
    ]


def test_several_stores_write_at_the_same_time(backend: Backend) -> None:
    """None loses anything of the others', and the order is one."""

    async def run() -> None:
        stores = [backend.store() for _ in range(3)]
        await asyncio.gather(
            *(
                stores[number % 3].append(make_receipt(number, shown_hash=SHOWN.hash), [SHOWN])
                for number in range(300)
            )
        )
        await asyncio.gather(*(store.aclose() for store in stores))

    asyncio.run(run())
    listed = backend.log().list(limit=1_000)
    assert [entry.leaf for entry in listed] == list(reversed(range(300)))
    assert {entry.receipt.receipt_id for entry in listed} == {receipt_id(number) for number in range(300)}


def test_closing_may_be_repeated_and_a_later_append_starts_anew(backend: Backend) -> None:
    """A store that was closed is not lost."""

    async def work(store: WholeStore) -> None:
        await store.aclose()
        await store.append(make_receipt(1))
        await store.aclose()
        await store.aclose()
        await store.append(make_receipt(2))

    using(backend, work)
    assert len(backend.log().list(limit=9)) == 2


# ---- the tree


def opened(note: str | None) -> Checkpoint:
    """Check the signature of a checkpoint, and return it."""
    assert note is not None
    return open_checkpoint(note, verifiers(note))


def verifiers(note: str) -> list[Verifier]:
    """Return the key of the log that a note is of: all that an offline verifier has."""
    return [Signer(note.partition("\n")[0], KEYS.signing[0]).verifier]


def check_evidence(evidence: Evidence | None, receipt: Receipt) -> int:
    """Check a receipt's proof as somebody does who has nothing else; return its leaf."""
    assert evidence is not None
    assert evidence.record == receipt.canonical_bytes()
    leaf = leaf_hash(sha256(evidence.salt + evidence.record).digest())
    proof = InclusionProof.parse(evidence.proof.text())
    proof.verify(leaf, verifiers(proof.checkpoint))
    return proof.index


def test_every_receipt_is_proven_by_a_checkpoint(backend: Backend) -> None:
    """Offline, from the receipt, its salt, the proof and the log's key."""
    receipts = [make_receipt(number) for number in range(300)]
    append_all(backend, *receipts)
    log = backend.log()
    assert opened(log.checkpoint()).size == 300
    leaves = {check_evidence(log.evidence(receipt.receipt_id), receipt) for receipt in receipts}
    assert leaves == set(range(300))
    assert log.evidence(receipt_id(999)) is None
    assert log.evidence("no id") is None


def test_a_checkpoint_follows_within_about_a_second(backend: Backend) -> None:
    """While the store goes on, without another receipt; one that no checkpoint covers has no proof yet."""

    async def work(store: WholeStore) -> float:
        await store.append(make_receipt(1))
        start = time.monotonic()
        log = backend.log()
        while True:
            evidence = log.evidence(receipt_id(1))
            if log.checkpoint() is not None:
                break
            assert evidence is None  # there was no checkpoint then, if there is none now
            await asyncio.sleep(0.02)
        return time.monotonic() - start

    assert using(backend, work) < 4 * CHECKPOINT_SECONDS
    assert opened(backend.log().checkpoint()).size == 1


def test_tiles_and_leaves_are_those_of_one_tree(backend: Backend) -> None:
    """The hashes of the leaves give the tiles, and the tiles the root that was signed."""
    append_all(backend, *(make_receipt(number) for number in range(600)))
    log = backend.log()
    leaves = [*log.leaves(0, 250), *log.leaves(250, 1_000)]
    assert [leaf.number for leaf in leaves] == list(range(600))
    assert all(leaf.proves_record for leaf in leaves)
    hashes = [leaf.hash for leaf in leaves]
    checkpoint = opened(log.checkpoint())
    assert checkpoint.root == tree_root(hashes)
    assert log.tile(0, 0, 256) == b"".join(hashes[:256])
    assert log.tile(0, 1, 17) == b"".join(hashes[256:273])
    assert log.tile(0, 2, 88) == b"".join(hashes[512:])
    assert log.tile(1, 0, 2) == tree_root(hashes[:256]) + tree_root(hashes[256:512])
    for level, index, width in ((0, 2, 89), (0, 3, 1), (1, 0, 3), (1, 1, 1), (2, 0, 1), (63, 0, 1)):
        assert log.tile(level, index, width) is None
    assert log.leaves(600, 10) == []

    def read(level: int, index: int, width: int) -> bytes:
        return log.tile(level, index, width) or b""

    assert Tiles(600, read).root() == checkpoint.root


def test_no_two_checkpoints_contradict_each_other(backend: Backend) -> None:
    """Whichever store signed them, and however many wrote: from each there is a proof to every later one."""
    notes = []
    for first in range(0, 100, 10):
        append_all(backend, *(make_receipt(number) for number in range(first, first + 10)))
        notes.append(backend.log().checkpoint())
    checkpoints = [opened(note) for note in notes]
    assert [checkpoint.size for checkpoint in checkpoints] == list(range(10, 101, 10))
    log = backend.log()
    for number, old in enumerate(checkpoints):
        for new in checkpoints[number:]:
            tiles = Tiles(new.size, lambda level, index, width: log.tile(level, index, width) or b"")
            proof = consistency_proof(old.size, new.size, tiles.subtree)
            verify_consistency(old.size, new.size, proof, old.root, new.root)


# ---- forgetting


def of_visitor(number: int, visitor: int, **fields: Any) -> Receipt:
    """Return a receipt of one of several visitors."""
    return make_receipt(number, subject=f"{visitor:032x}", **fields)


def test_erasing_a_visitor_leaves_leaves_and_proofs(backend: Backend) -> None:
    """The records are gone, a leaf says so, all others and all earlier proofs still verify."""
    receipts = [of_visitor(number, number % 3) for number in range(30)]
    append_all(backend, *receipts)
    log = backend.log()
    before = {leaf.number: leaf for leaf in log.leaves(0, 99)}
    proofs = [log.evidence(receipt.receipt_id) for receipt in receipts]
    mine = sorted(entry.leaf for entry in log.find(Sought(subject=receipts[1].subject), limit=99).receipts)
    assert len(mine) == 10

    erasures = using(backend, lambda store: store.erase(receipts[1].subject))
    (erasure,) = erasures
    assert erasure.reason is ErasureReason.REQUEST
    assert list(erasure.erased) == mine

    log = backend.log()
    assert log.find(Sought(subject=receipts[1].subject), limit=99).receipts == []
    assert len(log.list(limit=99)) == 20
    after = {leaf.number: leaf for leaf in log.leaves(0, 99)}
    assert len(after) == 31
    assert after[30].record == erasure.canonical_bytes()
    assert after[30].proves_record
    for number, leaf in before.items():
        assert after[number].commitment == leaf.commitment
        assert (after[number].record is None) == (after[number].salt is None) == (number in mine)
    for receipt, proof in zip(receipts, proofs, strict=True):
        check_evidence(proof, receipt)  # what somebody kept of it is still proven
        if receipt.subject == receipts[1].subject:
            assert log.get(receipt.receipt_id) is None
            assert log.evidence(receipt.receipt_id) is None
        else:
            assert log.get(receipt.receipt_id) == receipt
            check_evidence(log.evidence(receipt.receipt_id), receipt)


def test_erasing_again_finds_nothing(backend: Backend) -> None:
    """Nor does erasing a visitor who was never there; no leaf is appended."""
    append_all(backend, of_visitor(1, 1))

    async def work(store: WholeStore) -> list[int]:
        subjects = (of_visitor(1, 1).subject, of_visitor(1, 1).subject, "ab" * 16)
        return [len(await store.erase(subject)) for subject in subjects]

    assert using(backend, work) == [1, 0, 0]
    assert len(backend.log().leaves(0, 9)) == 2


def test_an_erasure_can_be_asked_for_again(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under the same series, whose ids are known before: also what was erased under it earlier, and nothing else."""
    monkeypatch.setattr("consent.erasure.MAX_ERASED", 4)
    append_all(backend, *(of_visitor(number, number % 2) for number in range(18)))
    visitor, series = of_visitor(1, 1).subject, receipt_id(777)

    async def work(store: WholeStore) -> None:
        first = await store.erase(visitor, series=series)
        assert [len(each.erased) for each in first] == [4, 4, 1]
        assert [each.erasure_id for each in first] == list(islice(erasure_ids(series), 3))
        assert first[0].erasure_id == series
        assert list(await store.erase(visitor, series=series)) == list(first)
        assert await store.erase(visitor, series=receipt_id(778)) == []
        await store.append(of_visitor(30, 1))  # the browser still has the pseudonym
        again = await store.erase(visitor, series=series)
        assert list(again[:3]) == list(first)
        assert [len(each.erased) for each in again[3:]] == [1]

    using(backend, work)
    assert len(backend.log().leaves(0, 99)) == 23


def test_an_erased_receipt_does_not_come_back(backend: Backend) -> None:
    """Appending it again is acknowledged, and changes nothing; the visitor's next choice starts anew."""
    receipt = of_visitor(1, 1)
    append_all(backend, receipt)

    async def work(store: WholeStore) -> None:
        await store.erase(receipt.subject)
        await store.append(receipt)
        await store.append(of_visitor(2, 1, previous=receipt.receipt_id))

    using(backend, work)
    log = backend.log()
    assert log.get(receipt.receipt_id) is None
    assert [leaf.record is None for leaf in log.leaves(0, 9)] == [True, False, False]
    assert [entry.leaf for entry in log.find(Sought(subject=receipt.subject), limit=9).receipts] == [2]


def test_a_visitors_choices_while_he_is_erased(backend: Backend) -> None:
    """Each is recorded under the old key and erased, or under a new one and there: none is unreadable."""

    async def work(store: WholeStore) -> None:
        other = backend.store()
        for number in range(0, 60, 6):
            receipts = [of_visitor(number + offset, 7, previous=receipt_id(0)) for offset in range(6)]
            await asyncio.gather(
                *(
                    stored.append(receipt)
                    for receipt, stored in zip(receipts, [store, other] * 3, strict=True)
                ),
                store.erase(receipts[0].subject),
            )
        await other.aclose()

    using(backend, work)
    log = backend.log()
    leaves = log.leaves(0, 999)
    assert all(leaf.proves_record for leaf in leaves)
    erased = {leaf.number for leaf in leaves if leaf.record is None}
    listed = {entry.leaf for entry in log.list(limit=999)}
    erasures = {leaf.number for leaf in leaves} - erased - listed
    named = [number for leaf in leaves if leaf.number in erasures for number in erased_by(leaf)]
    assert sorted(named) == sorted(erased)
    assert len(erased) + len(listed) == 60


def erased_by(leaf: Leaf) -> Sequence[int]:
    """Return the leaves that an erasure names."""
    assert leaf.record is not None
    return Erasure.from_bytes(leaf.record).erased


def test_what_is_held_is_not_erased(backend: Backend) -> None:
    """Neither on request nor by its age, until it is let go."""
    append_all(backend, of_visitor(1, 1), of_visitor(2, 2))
    held = of_visitor(1, 1).subject
    later = 2_000_000_000_000

    async def work(store: WholeStore) -> None:
        assert await store.hold(held, reason="claim 17") is True
        assert await store.hold("ab" * 16, reason="claim 18") is False
        with pytest.raises(ErasureHeldError, match="held \\(claim 17\\)"):
            await store.erase(held)
        assert await store.expire(Past(site="Example shop", before_ms=later)) == 1
        await store.hold(held, reason=None)
        assert len(await store.erase(held)) == 1

    using(backend, work)
    assert backend.log().list(limit=9) == []


def test_what_is_past_its_time_is_erased(backend: Backend) -> None:
    """Of one site, older than a moment; a dry run only counts; visitors with younger receipts keep those."""
    old = [of_visitor(number, number % 4, time=f"2025-01-01T00:00:{number:02}.000Z") for number in range(20)]
    young = [of_visitor(number, 1, time="2026-01-01T00:00:00.000Z") for number in (20, 21)]
    other = of_visitor(30, 1, time="2025-01-01T00:00:00.000Z", site="Another shop")
    append_all(backend, *old, *young, other)
    before = parse_moment("2025-06-01T00:00:00.000Z")

    async def work(store: WholeStore) -> list[int]:
        return [
            await store.expire(Past(site="Example shop", before_ms=before), dry_run=True),
            await store.expire(Past(site="Example shop", before_ms=parse_moment(old[5].time))),
            await store.expire(Past(site="Example shop", before_ms=before)),
            await store.expire(Past(site="Example shop", before_ms=before)),
        ]

    assert using(backend, work) == [20, 5, 15, 0]
    log = backend.log()
    assert {entry.receipt.receipt_id for entry in log.list(limit=99)} == {
        receipt.receipt_id for receipt in (*young, other)
    }
    leaves = log.leaves(0, 99)
    assert sum(leaf.record is None for leaf in leaves) == 20
    erasures = [Erasure.from_bytes(leaf.record) for leaf in leaves[23:] if leaf.record]
    assert {erasure.reason for erasure in erasures} == {ErasureReason.RETENTION}
    assert sorted(number for erasure in erasures for number in erasure.erased) == [
        leaf.number for leaf in leaves if leaf.record is None
    ]


def test_what_is_past_its_time_can_be_of_some_jurisdictions_or_of_all_others(backend: Backend) -> None:
    """As the receipts name them; the month of all of them goes when the last ones do."""
    places = ("EU", "US-CA", "", "BR")
    receipts = [
        of_visitor(n, n, jurisdiction=places[n % 4], time="2025-01-01T00:00:00.000Z") for n in range(8)
    ]
    append_all(backend, *receipts)
    before = parse_moment("2025-06-01T00:00:00.000Z")
    some = Past(site="Example shop", before_ms=before, only=frozenset({"EU", "BR", "JP"}))
    others = Past(site="Example shop", before_ms=before, but=frozenset({"EU", "BR"}))

    async def work(store: WholeStore) -> list[int]:
        assert await store.expire(Past(site="Example shop", before_ms=before, only=frozenset())) == 0
        return [
            await store.expire(others, dry_run=True),
            await store.expire(some, dry_run=True),
            await store.expire(some),
            await store.expire(others, dry_run=True),
        ]

    assert using(backend, work) == [4, 4, 4, 4]
    log = backend.log()
    assert {entry.receipt.jurisdiction for entry in log.list(limit=99)} == {"US-CA", ""}
    assert isinstance(log, ReceiptFinder)
    assert set(log.places()) == {("Example shop", place) for place in places}
    assert using(backend, lambda store: store.expire(others)) == 4
    assert backend.log().list(limit=99) == []
