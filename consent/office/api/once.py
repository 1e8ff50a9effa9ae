"""Writes that are sent twice and done once: the answer to a key is kept for a day, and given again.

draft-ietf-httpapi-idempotency-key-header-07, section 2.
"""

from __future__ import annotations

import base64
import hmac
import json
import re
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any, Final

from consent.errors import SealBrokenError
from consent.office.api.endpoint import Content, Problem
from consent.office.asker import Asker
from consent.office.database import OfficeDatabase
from consent.sealing import LedgerKeys, Sealer

KEEP_HOURS: Final = 24
"""How long an answer is kept."""
MAX_ANSWER_BYTES: Final = 64 * 1024
"""How long an answer is at most that is kept."""
MAX_RUNNING_SECONDS: Final = 300
"""After which what was begun is taken to have ended with its process."""
# A string of RFC 9651, as the draft has it; or the same without quotes, as many send it.
_KEY = re.compile(rb'"([\x20-\x21\x23-\x5b\x5d-\x7e]{1,255})"|([\x21\x23-\x5b\x5d-\x7e]{1,255})')


class Once:
    """Does a write once for each key of somebody. Blocks; safe to share between threads and processes.

    How much is kept is bounded by the calls that somebody has a day.

    Args:
        database: where answers are kept, sealed: they may be about somebody.
        keys: those of the log of receipts; the wrapping ones seal. What was asked is known again by a hash keyed with
            the index key: it may name somebody, and a plain one would confirm a guess.
        clock: returns seconds since 1970.
    """

    def __init__(self, database: OfficeDatabase, keys: LedgerKeys, clock: Callable[[], float]) -> None:
        self._database = database
        self._sealer = Sealer(keys)
        self._naming = keys.index
        self._clock = clock

    def do(self, asker: Asker, key: bytes, fingerprint: bytes, write: Callable[[], Content]) -> Content:
        """Return what ``write`` answers, or what it answered to the same key before.

        What ends with an error is not kept: nothing was done, and it may be sent again.

        Args:
            asker: who writes; keys of different people are different ones.
            key: the field ``Idempotency-Key``.
            fingerprint: of all that was asked.
            write: does it.

        Raises:
            Problem: the key is none, was sent with something else, or is being done.
        """
        found = _KEY.fullmatch(key.strip(b" \t"))
        if found is None:
            raise Problem(
                400, "wrong-key", "Idempotency-Key: 1 to 255 printable characters in quotes, such as a UUID"
            )
        place = self._tag(b"consent-once-key:", asker.id.encode() + b"\0" + (found[1] or found[2]))
        kept = self._begin(place, self._tag(b"consent-once-request:", fingerprint))
        if kept is not None:
            return kept
        try:
            content = write()
        except BaseException:
            self._forget(place)
            raise
        self._keep(place, content)
        return content

    def purge(self) -> None:
        """Forget the answers that are past their time, where no other key comes that would."""
        began = int(self._clock() * 1_000) - KEEP_HOURS * 3_600_000
        with self._database.reading() as connection:
            if (
                connection.execute("SELECT 1 FROM done_once WHERE began_ms < ? LIMIT 1", (began,)).fetchone()
                is None
            ):
                return
        with self._database.writing() as connection:
            connection.execute("DELETE FROM done_once WHERE began_ms < ?", (began,))

    def _begin(self, place: bytes, fingerprint: bytes) -> Content | None:
        now = int(self._clock() * 1_000)
        with self._database.writing() as connection:
            connection.execute(
                "DELETE FROM done_once WHERE began_ms < ? OR (wrapped IS NULL AND began_ms < ?)",
                (now - KEEP_HOURS * 3_600_000, now - MAX_RUNNING_SECONDS * 1_000),
            )
            row = connection.execute(
                "SELECT fingerprint, wrapped, sealed FROM done_once WHERE place = ?", (place,)
            ).fetchone()
            if row is None:
                connection.execute(
                    "INSERT INTO done_once VALUES (?, ?, ?, NULL, NULL)", (place, fingerprint, now)
                )
                return None
        known, wrapped, sealed = row
        if known != fingerprint:
            raise Problem(
                422, "key-used", "this Idempotency-Key was sent with another request: take a new one for each"
            )
        if wrapped is None:
            raise Problem(
                409, "in-progress", "the request with this Idempotency-Key is being done: ask again later",
                (b"retry-after", b"1"),
            )  # fmt: skip
        if not sealed:
            raise Problem(
                409, "not-kept",
                "this was done; its answer was too long, or a visitor was erased since: read what it made",
            )  # fmt: skip
        try:
            return _read(self._sealer.open(self._sealer.unwrap(wrapped, place), sealed, place)[1])
        except SealBrokenError:
            raise Problem(
                409, "not-kept", "this was done; its answer can no longer be opened: read what it made"
            ) from None

    def _keep(self, place: bytes, content: Content) -> None:
        text = _written(content)
        key, wrapped = self._sealer.new_key(place)
        sealed = b"" if text is None else self._sealer.seal(key, self._sealer.salt(), text, place)
        with self._database.writing() as connection:
            connection.execute(
                "UPDATE done_once SET wrapped = ?, sealed = ? WHERE place = ?", (wrapped, sealed, place)
            )

    def _tag(self, what: bytes, data: bytes) -> bytes:
        return hmac.digest(self._naming, what + data, "sha256")

    def _forget(self, place: bytes) -> None:
        with self._database.writing() as connection:
            connection.execute("DELETE FROM done_once WHERE place = ?", (place,))


def fingerprint_of(*parts: object) -> bytes:
    """Return the hash of all that makes two requests the same."""
    return sha256(json.dumps(parts, sort_keys=True).encode()).digest()


def _written(content: Content) -> bytes | None:
    """Return an answer as it is kept; ``None``: it is too long, or comes bit by bit."""
    body = content.body
    if not isinstance(body, (Mapping, bytes)):
        return None
    members = {
        "body": None if isinstance(body, bytes) else body,
        "bytes": base64.b64encode(body).decode() if isinstance(body, bytes) else None,
        "media_type": content.media_type,
        "is_of_a_visitor": content.is_of_a_visitor,
        "filename": content.filename,
        "status": content.status,
        "headers": [[name.decode("latin-1"), value.decode("latin-1")] for name, value in content.headers],
    }
    text = json.dumps(members).encode()
    return text if len(text) <= MAX_ANSWER_BYTES else None


def _read(text: bytes) -> Content:
    members: dict[str, Any] = json.loads(text)
    raw, body = members.pop("bytes"), members.pop("body")
    headers = tuple(
        (name.encode("latin-1"), value.encode("latin-1")) for name, value in members.pop("headers")
    )
    return Content(base64.b64decode(raw) if raw is not None else body, headers=headers, **members)
