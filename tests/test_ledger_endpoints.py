"""The log over HTTP: what a verifier can do who has nothing but the addresses."""

from __future__ import annotations

import json
import time
from base64 import b64decode
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from starlette.applications import Starlette

from consent import ConsentMiddleware
from consent.canonical_json import canonical_json
from consent.checkpoint import Checkpoint, InclusionProof, Verifier, open_checkpoint
from consent.data_folder import DataFolder
from consent.evidence import Evidence
from consent.merkle import Tiles, leaf_hash, tile_path, tree_root, verify_consistency
from consent.sqlite_log import SQLiteReceiptLog
from consent.sqlite_store import SQLiteStore
from tests.live import served
from tests.test_receipts import FIREFOX, make_receipt
from tests.test_sqlite_store import append_all

COUNT = 700


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A site whose log has 700 receipts."""
    folder = tmp_path_factory.mktemp("site") / "data"
    data = DataFolder(folder)
    keys = data.ledger_keys()
    append_all(SQLiteStore(data.receipts_path, keys), *(make_receipt(number) for number in range(COUNT)))
    with served(ConsentMiddleware(Starlette(), data=folder)) as base:
        yield f"{base}/_consent"


def get(url: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
    """Return status, header fields in lower case, and body."""
    request = Request(url, method=method, headers=headers)
    try:
        with urlopen(request, timeout=30) as answer:
            return answer.status, {k.lower(): v for k, v in answer.headers.items()}, answer.read()
    except HTTPError as error:
        with error:
            return error.code, {k.lower(): v for k, v in error.headers.items()}, error.read()


def verifiers(address: str) -> list[Verifier]:
    status, headers, body = get(f"{address}/ledger/keys")
    assert (status, headers["content-type"]) == (200, "text/plain; charset=utf-8")
    return [Verifier.parse(line) for line in body.decode().splitlines()]


def checkpoint(address: str) -> Checkpoint:
    status, headers, body = get(f"{address}/ledger/checkpoint")
    assert (status, headers["content-type"]) == (200, "text/plain; charset=utf-8")
    assert headers["cache-control"] == "public, max-age=1"
    return open_checkpoint(body.decode(), verifiers(address))


def test_the_tree_is_rebuilt_from_its_tiles(address: str) -> None:
    """As tlog-tiles says: from tiles, from entries, and every address within the checkpoint."""
    signed = checkpoint(address)
    assert signed.size == COUNT

    def read(level: int, index: int, width: int) -> bytes:
        status, headers, body = get(f"{address}/ledger/{tile_path(level, index, width)}")
        assert (status, headers["content-type"]) == (200, "application/octet-stream")
        assert headers["cache-control"] == "public, max-age=31536000, immutable"
        return body

    assert Tiles(COUNT, read).root() == signed.root
    leaves = []
    for index, width in ((0, 256), (1, 256), (2, 188)):
        status, _, body = get(f"{address}/ledger/{tile_path('entries', index, width)}")
        assert status == 200
        assert len(body) == 34 * width
        entries = [body[start : start + 34] for start in range(0, len(body), 34)]
        assert {entry[:2] for entry in entries} == {b"\x00\x20"}
        leaves += [leaf_hash(entry[2:]) for entry in entries]
    assert tree_root(leaves) == signed.root


@pytest.mark.parametrize(
    "path",
    [
        "tile/0/002",
        "tile/0/002.p/189",
        "tile/0/003.p/1",
        "tile/1/000",
        "tile/1/000.p/3",
        "tile/2/000.p/1",
        "tile/entries/002",
        "tile/entries/002.p/189",
        "tile/0/0",
        "tile/0/x000/000",
        "tile/0/000.p/256",
        "tile/",
        "nothing",
        "",
        "inclusion",
        "inclusion?index=700",
        "inclusion?index=-1",
        "inclusion?index=1&more=1",
        "inclusion?index=%D9%A1",
        "inclusion?index=99999999999999999999",
        "consistency?old=0",
        "consistency?old=701",
        "consistency?old=x",
    ],
)
def test_what_is_not_in_the_checkpoint_is_not_there(address: str, path: str) -> None:
    """404 in the shape of all errors, and nothing is cached."""
    status, headers, body = get(f"{address}/ledger/{path}")
    assert (status, headers["content-type"], headers["cache-control"]) == (
        404,
        "application/json",
        "no-store",
    )
    assert json.loads(body) == {"error": {"code": "not-found", "message": "there is no such part of the log"}}


def test_proofs_are_made_on_request(address: str) -> None:
    """Of a leaf under the last checkpoint, and from an older size to it."""
    signed = checkpoint(address)
    _, _, bundle = get(f"{address}/ledger/tile/entries/001")
    status, headers, body = get(f"{address}/ledger/inclusion?index=300")
    assert (status, headers["content-type"]) == (200, "text/plain; charset=utf-8")
    proof = InclusionProof.parse(body.decode())
    leaf = leaf_hash(bundle[34 * 44 + 2 : 34 * 45])
    assert proof.verify(leaf, verifiers(address)) == signed

    status, headers, body = get(f"{address}/ledger/consistency?old=256")
    assert (status, headers["content-type"]) == (200, "application/json")
    content: dict[str, Any] = json.loads(body)
    _, _, old_tile = get(f"{address}/ledger/tile/1/000.p/1")
    assert open_checkpoint(content["checkpoint"], verifiers(address)) == signed
    hashes = [b64decode(text) for text in content["hashes"]]
    verify_consistency(content["old"], content["new"], hashes, old_tile, signed.root)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[str]:
    """Another site, whose log is empty."""
    with served(ConsentMiddleware(Starlette(), data=tmp_path / "data")) as base:
        yield f"{base}/_consent"


def test_a_visitor_gets_his_own_receipt_with_its_proof(site: str) -> None:
    """After the choice, within about a second; nobody else does, and it is cached nowhere."""
    address = site
    status, headers, body = get(f"{address}/receipt")
    assert (status, headers["cache-control"], headers["content-type"]) == (
        404,
        "no-store",
        "application/json",
    )
    assert json.loads(body)["error"]["code"] == "no-receipt"
    assert "retry-after" not in headers

    request = Request(
        f"{address}/choice",
        data=b'{"action": "refuse"}',
        headers={
            "Content-Type": "application/json",
            "Origin": address.removesuffix("/_consent"),
            "User-Agent": FIREFOX,  # nothing is recorded of a crawler, which urllib is taken for
        },
    )
    with urlopen(request, timeout=30) as answer:
        cookie = answer.headers["set-cookie"].partition(";")[0]
        receipt_id = json.load(answer)["receipt_id"]
    status, headers, body = get(f"{address}/receipt", Cookie=cookie)
    deadline = time.monotonic() + 10
    while status == 404:
        assert headers["retry-after"] == "2"
        assert time.monotonic() < deadline
        time.sleep(0.1)
        status, headers, body = get(f"{address}/receipt", Cookie=cookie)
    assert (status, headers["content-type"]) == (200, "application/json")
    assert headers["cache-control"] == "no-store"
    assert headers["content-disposition"] == "attachment; filename=consent-receipt.json"
    evidence = Evidence.parse(body)
    assert json.loads(evidence.record)["receipt_id"] == receipt_id
    assert evidence.verify(verifiers(address)).size == 1
    content = json.loads(body)
    assert leaf_hash(
        sha256(bytes.fromhex(content["salt"]) + canonical_json(content["record"])).digest()
    ) == leaf_hash(sha256(evidence.salt + evidence.record).digest())


def test_the_log_is_only_read(address: str) -> None:
    """Other methods are refused; HEAD brings what GET would, without the body."""
    status, headers, body = get(f"{address}/ledger/checkpoint", method="POST")
    assert (status, headers["allow"]) == (405, "GET, HEAD")
    assert json.loads(body)["error"]["code"] == "method-not-allowed"
    status, headers, body = get(f"{address}/ledger/checkpoint", method="HEAD")
    assert (status, body) == (200, b"")
    assert int(headers["content-length"]) == len(get(f"{address}/ledger/checkpoint")[2])


def test_a_log_that_cannot_be_read_is_answered(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """503 while it is so; pages and all else are served, and it is read again when it is there."""
    folder = tmp_path / "data"
    app = ConsentMiddleware(Starlette(), data=folder)
    path = DataFolder(folder).receipts_path
    with served(app) as base:
        path.rename(tmp_path / "away")
        status, headers, body = get(f"{base}/_consent/ledger/checkpoint")
        assert (status, headers["retry-after"]) == (503, "10")
        assert json.loads(body)["error"]["code"] == "unavailable"
        assert get(f"{base}/_consent/choices")[0] == 200
        (tmp_path / "away").rename(path)
        assert get(f"{base}/_consent/ledger/checkpoint")[0] == 200
    assert "could not be answered" in caplog.text


def test_another_store_without_a_log_has_no_such_addresses(tmp_path: Path) -> None:
    """Nothing is promised that the store does not keep; one that has a log is given with it."""
    data = DataFolder(tmp_path / "data")
    store = SQLiteStore(data.receipts_path, data.ledger_keys())
    store.prepare()
    with served(ConsentMiddleware(Starlette(), data=data.path, store=store)) as base:
        assert get(f"{base}/_consent/ledger/checkpoint")[0] == 404
        assert get(f"{base}/_consent/receipt")[0] == 404
    app = ConsentMiddleware(
        Starlette(),
        data=data.path,
        store=store,
        ledger=lambda: SQLiteReceiptLog(data.receipts_path, data.ledger_keys()),
    )
    with served(app) as base:
        assert get(f"{base}/_consent/ledger/checkpoint")[0] == 200
